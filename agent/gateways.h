/*
 * gateways: what is known of each gateway of the configuration, and which one a tunnel should go
 * to. Pure: no socket, no clock, no chance of its own; whoever asks brings the time and the random
 * bits, and tells what came of each attempt.
 *
 *     unknown --up--> healthy <--up-- failed        unknown, healthy --failed--> failed
 *                     (on trial for failback_ms, where it had failed)
 *
 * Ordered: the first of the list that is in good standing, which is who has not failed, or has been
 * healthy for failback_ms since. Fastest: of those in good standing the one whose handshakes (TCP,
 * TLS, first answer) are quickest; another one takes its place when it has been quicker by a clear
 * margin for failback_ms. Embedded in its owner; holds no memory.
 */
#ifndef SALLYPORT_AGENT_GATEWAYS_H
#define SALLYPORT_AGENT_GATEWAYS_H
#include "agent/config.h"

#include <stdint.h>

#define AGENT_GATEWAY_NONE   SIZE_MAX
#define AGENT_GATEWAY_NEVER  UINT64_MAX
#define AGENT_GATEWAY_STEADY 5000 /* ms: a tunnel that lived so long was a success */

enum agent_gateway_state { AGENT_GATEWAY_UNKNOWN, AGENT_GATEWAY_HEALTHY, AGENT_GATEWAY_FAILED };

struct agent_gateway {
    enum agent_gateway_state state;
    uint64_t since_ms;     /* in this state */
    bool on_trial;         /* healthy, after it had failed: not settled yet */
    unsigned failures;     /* in a row */
    uint64_t retry_at_ms;  /* failed: no tunnel is tried there before */
    uint64_t probe_at_ms;  /* a handshake for its own sake, if one is wanted */
    uint32_t handshake_us; /* smoothed; 0: not measured yet */
};

struct agent_gateways {
    bool fastest;
    uint64_t failback_ms, probe_ms;
    size_t count;
    size_t favourite;        /* fastest: whom tunnels go to; NONE: not chosen yet */
    size_t rival;            /* fastest: who has been quicker; NONE: nobody */
    uint64_t rival_since_ms; /* since then */
    struct agent_gateway of[AGENT_GATEWAYS_MAX];
};

struct agent_gateways_options {
    bool fastest;
    uint64_t failback_ms; /* how long a better gateway has to be good before tunnels go there */
    uint64_t probe_ms;    /* between two probes of one gateway */
    size_t count;         /* 1..AGENT_GATEWAYS_MAX */
};

void agent_gateways_init(struct agent_gateways *gateways,
                         const struct agent_gateways_options *options);

/* ---- what came of an attempt ---- */

/* took_us: from its beginning until the gateway's SETTINGS; 0: not measured. True: it had failed
 * before, and begins its trial now. */
bool agent_gateways_succeeded(struct agent_gateways *gateways, size_t index, uint64_t took_us,
                              uint64_t now_ms);
/* Attempts beside each other that fail together are one failure. random: any 32 bits. True: it was
 * not failed before. */
bool agent_gateways_failed(struct agent_gateways *gateways, size_t index, uint64_t now_ms,
                           uint32_t random);
/* A tunnel that was up has ended by the gateway's doing, after so long. A short life is a failure
 * (a limit is reached); after a long one the gateway may be asked again at once. True: as above. */
bool agent_gateways_ended(struct agent_gateways *gateways, size_t index, uint64_t lived_ms,
                          uint64_t now_ms, uint32_t random);
/* Nobody waits longer than this any more for another attempt, or a probe. */
void agent_gateways_hurry(struct agent_gateways *gateways, uint64_t at_ms);
/* The network is another one, so what failed did so elsewhere: all may be tried and probed now. */
void agent_gateways_forgive(struct agent_gateways *gateways, uint64_t now_ms);

/* ---- decisions ---- */

/* Where the next tunnel should be tried, `tried` (a bit each) left aside. NONE: nowhere before
 * *ret_at_ms (NEVER: not at all). */
size_t agent_gateways_pick(const struct agent_gateways *gateways, uint32_t tried, uint64_t now_ms,
                           uint64_t *ret_at_ms);
/* Ends trials and contests whose time is over. To be called before should_move, whenever
 * next_ms has come. */
void agent_gateways_settle(struct agent_gateways *gateways, uint64_t now_ms);
/* Where a tunnel at `from` should move to: NONE: it may stay. */
size_t agent_gateways_better(const struct agent_gateways *gateways, size_t from);
/* Which gateway is to be probed now; NONE: no one. serving: the best one that has a tunnel (the
 * first in order), NONE: there is none, and tunnels are being tried anyway. */
size_t agent_gateways_probe(const struct agent_gateways *gateways, size_t serving, uint64_t now_ms);
/* A probe has begun. */
void agent_gateways_probing(struct agent_gateways *gateways, size_t index, uint64_t now_ms,
                            uint32_t random);
/* When settle or probe could have something new to say; NEVER: not by time alone. */
uint64_t agent_gateways_next_ms(const struct agent_gateways *gateways, size_t serving,
                                uint64_t now_ms);
/* How long an attempt at this gateway may go on alone before the next one is tried beside it. */
uint32_t agent_gateways_stagger_ms(const struct agent_gateways *gateways, size_t index);
/* How long the answer to a PING may take there before the tunnel is doubted. */
uint32_t agent_gateways_patience_ms(const struct agent_gateways *gateways, size_t index);
#endif
