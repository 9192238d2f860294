/*
 * bundle: one JSON file with what support needs to know about an agent that does not do what it
 * should, and with nothing that must not leave the device: no key, no password, no PIN.
 *
 * Members: bundle ("sallyport-agent"), time, version, system, configuration (or
 * configuration_error), certificate, files (owner, mode, size of what the configuration names),
 * status (of the running agent; or status_error), diagnosis, log (the last lines of log.file). For
 * the command: blocking.
 */
#ifndef SALLYPORT_AGENT_BUNDLE_H
#define SALLYPORT_AGENT_BUNDLE_H
#include "common/error.h"

struct agent_config;
struct agent_report;

struct agent_bundle {
    const char *config_path;
    const struct agent_config *config;   /* NULL: it could not be loaded */
    const struct sp_error *config_error; /* then: why */
    const struct agent_report *report;   /* of `diagnose`; NULL: none */
    const char *door;                    /* where to ask the agent; NULL: by the configuration */
};
/* Written whole or not at all (mode 0600). */
SP_MUST_USE enum sp_err agent_bundle_save(const struct agent_bundle *bundle, const char *path,
                                          struct sp_error *err);
#endif
