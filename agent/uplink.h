/*
 * uplink: the pool of tunnels to the gateway, and the way through it: keeps `tunnels` of them open,
 * spreads channels over them, reconnects, and lets an application wait a bounded time.
 *
 * Loop thread only. TLS failure never falls back to plaintext (invariant 9): without a tunnel there
 * is no way out of here.
 */
#ifndef SALLYPORT_AGENT_UPLINK_H
#define SALLYPORT_AGENT_UPLINK_H
#include "common/addr.h"
#include "common/error.h"

struct agent_config;
struct agent_link;
struct agent_observer; /* agent/failure.h */
struct agent_request;  /* opaque: a channel that was asked for */
struct agent_uplink;   /* opaque */
struct sp_channel;
struct sp_log;
struct sp_loop;
struct sp_resolver;
struct sp_tls_params;

struct agent_uplink_options {
    struct sp_loop *loop;
    struct sp_log *log; /* borrowed, like all here */
    const struct sp_tls_params *params;
    struct sp_resolver *resolver;
    void (*on_gone)(void *ctx); /* after agent_uplink_retire: the uplink is freed after it */
    void *ctx;
    const struct agent_observer *observer; /* NULL: none; not told of anything once retired */
    void *observer_ctx;
};

/* Takes a reference to the configuration; begins to connect. */
struct agent_uplink *agent_uplink_new(const struct agent_uplink_options *options,
                                      struct agent_config *config);
/* The same configuration with other CRLs, for the tunnels that are open and those to come. Of an
 * uplink with an older configuration nothing changes: its tunnels were not made for this one. */
void agent_uplink_renew(struct agent_uplink *uplink, struct agent_config *config);
/* No new tunnels from now on: what is open may finish (GOAWAY), what waits for a tunnel goes over
 * to `heir`, or is refused where that is NULL. Ends in on_gone, which may come from inside this
 * call. */
void agent_uplink_retire(struct agent_uplink *uplink, struct agent_uplink *heir);
/* Each tunnel that is up, or drains. is_draining: it takes no new channels. */
typedef void (*agent_uplink_visit_cb)(void *ctx, struct agent_link *link, bool is_draining);
void agent_uplink_visit(const struct agent_uplink *uplink, agent_uplink_visit_cb visit, void *ctx);
void agent_uplink_close(struct agent_uplink *uplink); /* retire, and cut what is open, at once */

struct agent_refusal {
    int status;          /* what an HTTP client is told: 403, 502, 503, 504 */
    char error[40];      /* RFC 9209 error type */
    char text[512];      /* for people */
    bool no_tunnel;      /* it is the way to the gateway that is missing */
    char support_id[10]; /* by which its line in the log is found; set by agent_client_refuse */
};

struct agent_request_callbacks {
    /* The channel is open: take it over with sp_channel_set_owner and attach. */
    void (*on_open)(void *ctx, struct sp_channel *channel);
    void (*on_refused)(void *ctx, const struct agent_refusal *refusal);
};

/* Exactly one callback follows, not before this has returned, unless cancelled. */
struct agent_request *agent_uplink_open(struct agent_uplink *uplink, const struct sp_target *target,
                                        const struct agent_request_callbacks *callbacks, void *ctx);
void agent_request_cancel(struct agent_request *request);
/* Those that wait for a tunnel and that `wanted` is true of are refused now, as if their time were
 * over (no_tunnel); from the loop. */
void agent_uplink_end_waits(struct agent_uplink *uplink,
                            bool (*wanted)(void *ctx, const struct sp_target *target), void *ctx);
/* There is reason to hope: whoever waits to try again does so now. */
void agent_uplink_hope(struct agent_uplink *uplink);
#endif
