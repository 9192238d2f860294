/*
 * uplink_impl: what the two files behind uplink.h share: uplink.c (the tunnels) and request.c (the
 * channels that are asked for). Nobody else includes it.
 */
#ifndef SALLYPORT_AGENT_UPLINK_IMPL_H
#define SALLYPORT_AGENT_UPLINK_IMPL_H
#include "agent/uplink.h"

struct agent_link;
struct sp_timer;
struct sp_tunnel;

/* One place in the pool. */
struct slot {
    struct agent_uplink *uplink;
    struct attempt *attempt; /* NULL: waiting for the timer */
    struct sp_timer *retry;
    uint64_t retry_at_ms;
    unsigned failures; /* in a row, over whole rounds of the gateways */
    size_t gateway;    /* index of the one to try */
};

/* A link and its place. */
struct attempt {
    struct agent_uplink *uplink;
    struct slot *slot; /* NULL: it drains, and has left its place to another */
    struct agent_link *link;
    struct attempt *next, **prev;
    uint64_t up_ms; /* loop time */
    bool is_up;
};

struct agent_uplink {
    struct agent_uplink_options options;
    struct agent_config *config;
    struct slot *slots;
    size_t slot_count;
    struct attempt *attempts;            /* all, those that drain too */
    struct agent_request *first, **last; /* all requests, oldest first; where the next one goes */
    struct sp_timer *recheck;
    struct sp_error last_failure; /* kind SP_OK: none yet */
    size_t next_slot;             /* where the search for the least busy tunnel begins */
    bool retired, held;           /* held: its lists are being walked */
};

/* Frees a retired uplink that nothing is left of. */
void agent_uplink_check_gone(struct agent_uplink *uplink);
/* The open tunnel with the fewest channels; NULL: none takes one now. */
struct sp_tunnel *agent_uplink_least_busy(struct agent_uplink *uplink);
size_t agent_uplink_tunnels_up(const struct agent_uplink *uplink);
/* Somebody waits and nothing is up: a long backoff is cut short. */
void agent_uplink_kick(struct agent_uplink *uplink);

void agent_requests_try(void *uplink); /* all that wait, oldest first */
bool agent_requests_wait(const struct agent_uplink *uplink);
/* What waits goes over to heir, or is refused where that is NULL. */
void agent_requests_leave(struct agent_uplink *uplink, struct agent_uplink *heir);
#endif
