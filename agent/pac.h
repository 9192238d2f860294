/*
 * pac: the routes as a proxy auto-config file, for browsers: what goes directly need not come to
 * the agent at all. Pure.
 *
 * It never says "DIRECT" where the agent would say another thing: what only the agent knows (the
 * user, the hosts file) is asked of it, by way of the proxy; so is what is blocked, so that the
 * browser gets an answer that says why.
 */
#ifndef SALLYPORT_AGENT_PAC_H
#define SALLYPORT_AGENT_PAC_H
#include <stdio.h>

struct agent_config;

/* door: name of the door that the browser will use; NULL: it has none. proxy: "host:port" of that
 * door, as the browser reaches it. */
void agent_pac_write(const struct agent_config *config, const char *door, const char *proxy,
                     FILE *out);
#endif
