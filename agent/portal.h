/*
 * portal: is there a captive portal between us and the world, and which hosts are its own? Asks one
 * plain-HTTP URL of the configuration; another answer than the expected one is a portal's. Whoever
 * the answer redirects to is followed, some steps, and these hosts alone may go direct for some
 * minutes.
 *
 * The network that answers may be hostile, so what it can gain is bounded: AGENT_PORTAL_HOSTS hosts
 * at ports 80 and 443, in one run of minutes, which begins anew only after the portal was seen to
 * have gone. Loop thread only.
 */
#ifndef SALLYPORT_AGENT_PORTAL_H
#define SALLYPORT_AGENT_PORTAL_H
#include "agent/finding.h"
#include "common/addr.h"

struct agent_config;
struct agent_portal; /* opaque */
struct sp_fetcher;
struct sp_log;
struct sp_loop;

#define AGENT_PORTAL_HOSTS 8

struct agent_portal_options {
    struct sp_loop *loop;
    struct sp_log *log;
    struct sp_fetcher *fetcher;
    void (*on_result)(void *ctx); /* a probe that was asked for is done */
    void (*on_hosts)(void *ctx);  /* other hosts than before may go direct */
    void *ctx;
};

struct agent_portal *agent_portal_new(const struct agent_portal_options *options);
void agent_portal_free(struct agent_portal *portal);
/* Another configuration, or another network: what was found is forgotten. The config is borrowed
 * until the next call. */
void agent_portal_begin(struct agent_portal *portal, const struct agent_config *config);
/* Begins a probe, if one is configured and none runs. False: none is configured. */
bool agent_portal_probe(struct agent_portal *portal);
bool agent_portal_is_probing(const struct agent_portal *portal);
/* A tunnel is up: whatever there was, it is gone. */
void agent_portal_over(struct agent_portal *portal);
/* Of the last probe: fills the fields of the evidence that are about it. */
void agent_portal_tell(const struct agent_portal *portal, struct agent_evidence *evidence);
enum agent_probe_result agent_portal_result(const struct agent_portal *portal);
uint64_t agent_portal_told_ms(const struct agent_portal *portal); /* loop time; 0: nothing yet */
bool agent_portal_is_host(const struct agent_portal *portal, const struct sp_target *target);
#endif
