/*
 * ask: a command asks the running agent at one of its doors, as `curl http://127.0.0.1:3128/`
 * would. Blocking, with a deadline: for commands, never on a loop. What comes back is whatever
 * answers there: data, until it has said that it is an agent.
 */
#ifndef SALLYPORT_AGENT_ASK_H
#define SALLYPORT_AGENT_ASK_H
#include "common/addr.h"
#include "common/error.h"

struct agent_config;

/* A door to ask at. */
struct agent_ask_door {
    struct sp_addr addr;   /* unless path */
    const char *unix_path; /* borrowed; NULL: TCP */
};
/* "127.0.0.1:3128", "unix:/run/x.sock". SP_ERR_CONFIG: it is neither. */
SP_MUST_USE enum sp_err agent_ask_parse_door(const char *text, struct agent_ask_door *ret_door,
                                             struct sp_error *err);

#define AGENT_ASK_MAX (1 << 20) /* bytes of an answer */
/* *ret_body: the body of a 200, NUL-terminated; the caller frees it. SP_ERR_SYS, SP_ERR_TIMEOUT:
 * nobody answers; SP_ERR_HTTP: who answers is no agent, or refused. */
SP_MUST_USE enum sp_err agent_ask(const struct agent_ask_door *door, const char *path,
                                  const char *accept, unsigned timeout_ms, char **ret_body,
                                  struct sp_error *err);
/* At the HTTP doors of the configuration, in their order, until one answers. */
SP_MUST_USE enum sp_err agent_ask_any(const struct agent_config *config, const char *path,
                                      const char *accept, unsigned timeout_ms, char **ret_body,
                                      struct sp_error *err);
#endif
