/*
 * uplink_impl: what the files behind uplink.h share: uplink.c (places and the tunnels in them),
 * uplink_watch.c (looking after them: probes, doubts, a network that changes) and request.c (the
 * channels that are asked for). Nobody else includes it.
 */
#ifndef SALLYPORT_AGENT_UPLINK_IMPL_H
#define SALLYPORT_AGENT_UPLINK_IMPL_H
#include "agent/gateways.h"
#include "agent/uplink.h"

struct agent_link;
struct sp_net_watch;
struct sp_timer;
struct sp_tunnel;

/* One place in the pool: the tunnel that serves in it, and the attempts that are being made for
 * it. Without a tunnel that can be relied on, gateways are tried beside each other, a moment apart;
 * beside a good one only to change over to a better gateway or a newer network. */
struct slot {
    struct agent_uplink *uplink;
    struct attempt *serving; /* up; NULL: none */
    struct sp_timer *timer;  /* the next attempt */
    uint64_t timer_at_ms;    /* NEVER: it is not running */
    uint32_t tried;          /* a bit a gateway: being tried for this place */
    enum { RENEW_NO, RENEW_WANTED, RENEW_BEGUN } renew; /* for the network is another one */
};

enum attempt_role {
    ATTEMPT_TRIES, /* for a place; not up */
    ATTEMPT_SERVES,
    ATTEMPT_PROBES, /* for the sake of the handshake */
    ATTEMPT_LEAVES, /* up, drains; or given up */
};

/* A link and what it is for. */
struct attempt {
    struct agent_uplink *uplink;
    enum attempt_role role;
    struct slot *slot; /* tries, serves */
    size_t gateway;
    struct agent_link *link;
    struct attempt *next, **prev;
    uint64_t begun_us, up_ms; /* loop time; up_ms 0: not up */
    uint64_t asked_ms;        /* a PING that nothing was heard since; 0: none is out */
    bool is_doubted;          /* for too long: takes no channels */
    struct sp_timer *hold;    /* a probe that is up */
};

struct agent_uplink {
    struct agent_uplink_options options;
    struct agent_config *config;
    struct agent_gateways gateways;
    struct slot *slots;
    size_t slot_count;
    struct attempt *attempts;            /* all of them */
    struct agent_request *first, **last; /* all requests, oldest first; where the next one goes */
    struct sp_timer *recheck;
    struct sp_timer *plan;  /* probes, trials that end */
    struct sp_timer *pulse; /* while a PING is out */
    struct sp_net_watch *net;
    struct sp_error last_failure; /* kind SP_OK: none yet */
    size_t next_slot;             /* where the search for the least busy tunnel begins */
    bool retired, held;           /* held: its lists are being walked */
};

/* ---- uplink.c ---- */

/* NULL: nobody wants to know. */
const struct agent_observer *agent_uplink_observer(const struct agent_uplink *uplink);
/* Frees a retired uplink that nothing is left of. */
void agent_uplink_check_gone(struct agent_uplink *uplink);
/* The open tunnel with the fewest channels; NULL: none takes one now. */
struct sp_tunnel *agent_uplink_least_busy(struct agent_uplink *uplink);
size_t agent_uplink_tunnels_up(const struct agent_uplink *uplink);
/* Somebody waits and nothing is up: a long backoff is cut short. */
void agent_uplink_kick(struct agent_uplink *uplink);
/* Begins to connect; slot NULL: a probe. */
void agent_uplink_attempt(struct agent_uplink *uplink, struct slot *slot, size_t gateway);
/* Gives it up, with GOAWAY if it is up; what it was for forgets it. Its end follows from the loop.
 */
void agent_uplink_drop(struct attempt *attempt);
/* What is being tried for this place, but for those that `keep` (a bit a gateway) names. */
void agent_uplink_drop_tries(struct slot *slot, uint32_t keep);
/* Unless there is a tunnel here that can be relied on, the next gateway is tried now. */
void agent_uplink_race(struct slot *slot);
uint32_t agent_uplink_random(void);

/* ---- uplink_watch.c ---- */

void agent_uplink_watch_begin(struct agent_uplink *uplink);
void agent_uplink_watch_end(struct agent_uplink *uplink);
/* Something is known that was not: moves tunnels that have a better place, begins probes that are
 * due, and sets the timer for the next time. */
void agent_uplink_plan(struct agent_uplink *uplink);
/* A probe is up. */
void agent_uplink_probed(struct attempt *attempt);
/* Something was sent at since_ms that nothing was heard after: asks the tunnel, and those beside it
 * at the same gateway, whether they live. */
void agent_uplink_doubt(struct agent_uplink *uplink, const struct sp_tunnel *tunnel,
                        uint64_t since_ms);
/* What waits for an answer on doubted tunnels goes over to others, if there are. */
void agent_uplink_rescue(struct agent_uplink *uplink);

/* ---- request.c ---- */

void agent_requests_try(void *uplink); /* all that wait, oldest first */
bool agent_requests_wait(const struct agent_uplink *uplink);
/* What has no answer yet on this tunnel, which is doubted, is asked for by another one that is up;
 * where there is none it stays. */
void agent_requests_move(struct agent_uplink *uplink, const struct sp_tunnel *tunnel);
/* What waits goes over to heir, or is refused where that is NULL. */
void agent_requests_leave(struct agent_uplink *uplink, struct agent_uplink *heir);
#endif
