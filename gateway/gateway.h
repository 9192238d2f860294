/*
 * gateway: the whole program: workers, the registry they serve, signals.
 *
 * SIGHUP loads the configuration anew: prepared whole, then committed, or dropped with a line in
 * the log while the old state serves on (invariant 6). SIGTERM and SIGINT drain; a second one ends
 * at once. Main thread only.
 */
#ifndef SALLYPORT_GATEWAY_GATEWAY_H
#define SALLYPORT_GATEWAY_GATEWAY_H
#include "common/error.h"

/* Loads everything config_path names and starts nothing. ret_summary: what was found, and the
 * warnings, in whole lines; the caller frees. */
SP_MUST_USE enum sp_err gw_gateway_check(const char *config_path, char **ret_summary,
                                         struct sp_error *err);
/* Serves until told to end. An error is one of starting. */
SP_MUST_USE enum sp_err gw_gateway_run(const char *config_path, struct sp_error *err);
#endif
