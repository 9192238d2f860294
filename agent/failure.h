/*
 * failure: why an attempt at a tunnel came to nothing, or a tunnel broke: how far it had come, and
 * what was seen. Lives only as long as the call that passes it.
 */
#ifndef SALLYPORT_AGENT_FAILURE_H
#define SALLYPORT_AGENT_FAILURE_H
#include "common/addr.h"
#include "common/error.h"

struct sp_facts;
struct sp_verdict;

enum agent_stage {
    AGENT_STAGE_RESOLVE, /* the gateway's name */
    AGENT_STAGE_CONNECT, /* TCP */
    AGENT_STAGE_PROXY,   /* what the upstream proxy answered */
    AGENT_STAGE_TLS,     /* handshake; why->kind says whose refusal: PEER_CERT ours, PEER_ALERT the
                            gateway's */
    AGENT_STAGE_ANSWER,  /* after TLS: no HTTP/2 came */
    AGENT_STAGE_UP,      /* it had been up; with a verdict: it does not pass any more */
};

struct agent_failure {
    enum agent_stage stage;
    const struct sp_error *why; /* a sentence for people */
    const struct sp_target *gateway;
    const struct sp_addr *addr;       /* connected to, or last tried; NULL: none */
    const struct sp_facts *facts;     /* of the gateway's chain; NULL: none was seen */
    const struct sp_verdict *verdict; /* with facts */
};

/* A tunnel that came up: through which gateway, and what was thought of it. */
struct agent_success {
    const struct sp_target *gateway;
    const struct sp_addr *addr;
    const struct sp_facts *facts;
    const struct sp_verdict *verdict; /* allow, or allow-unvalidated */
};

/* Who wants to hear of both, from a pool that is not retired; loop thread. tunnels_up: of that
 * pool, after the event. Nothing may be closed from inside. */
struct agent_observer {
    void (*on_failure)(void *ctx, const struct agent_failure *failure, size_t tunnels_up);
    void (*on_up)(void *ctx, const struct agent_success *success, size_t tunnels_up);
    /* One to that gateway is gone that had been up, or takes no new channels any more. A failure
     * was told before, unless its end was an orderly one. */
    void (*on_down)(void *ctx, const struct sp_target *gateway, size_t tunnels_up);
    /* One that had been silent, and was not counted as up meanwhile, speaks again. */
    void (*on_healed)(void *ctx, size_t tunnels_up);
    /* Another network than before, or a wake from sleep: what comes now is news. */
    void (*on_network)(void *ctx);
};
#endif
