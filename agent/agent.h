/*
 * agent: the whole program: doors, the uplink they lead to, signals.
 *
 * SIGHUP loads the configuration anew, whole or not at all: new channels take the new uplink, open
 * ones finish on the old. SIGTERM and SIGINT drain for at most ten seconds; a second one ends at
 * once. One thread.
 */
#ifndef SALLYPORT_AGENT_AGENT_H
#define SALLYPORT_AGENT_AGENT_H
#include "common/error.h"

/* As gw_gateway_check: loads everything, starts nothing; the caller frees *ret_summary. */
SP_MUST_USE enum sp_err agent_check(const char *config_path, char **ret_summary,
                                    struct sp_error *err);
/* Serves until told to end. An error is one of starting. */
SP_MUST_USE enum sp_err agent_run(const char *config_path, struct sp_error *err);
#endif
