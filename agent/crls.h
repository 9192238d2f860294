/*
 * crls: the CRLs that the agent's configuration names by URL, and configurations that have them.
 *
 * Loop thread only.
 */
#ifndef SALLYPORT_AGENT_CRLS_H
#define SALLYPORT_AGENT_CRLS_H
#include "common/error.h"

struct agent_config;
struct agent_crls; /* opaque */
struct sp_fetcher;
struct sp_log;
struct sp_loop;

/* on_change: agent_crls_take may now give another configuration. The rest is borrowed. */
struct agent_crls *agent_crls_new(struct sp_loop *loop, struct sp_fetcher *fetcher,
                                  struct sp_log *log, void (*on_change)(void *ctx), void *ctx);
void agent_crls_free(struct agent_crls *crls); /* NULL is fine */
/* What this configuration names is what counts from now on. */
void agent_crls_follow(struct agent_crls *crls, const struct agent_config *config);
/* Puts the same configuration with what has been fetched so far in the place of *config (whose
 * reference it takes). Files are read with it: where one cannot be used, all stays as it was. */
SP_MUST_USE enum sp_err agent_crls_take(struct agent_crls *crls, struct agent_config **config,
                                        struct sp_error *err);
/* Both, before the first tunnel: runs the loop for two seconds at most, until the lists are there.
 */
SP_MUST_USE enum sp_err agent_crls_begin(struct agent_crls *crls, struct agent_config **config,
                                         struct sp_error *err);
#endif
