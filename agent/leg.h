/*
 * leg: a channel that a door opens for itself, on behalf of one of its applications: our end is a
 * socket, of a pair whose other end is an inner client's (client.h). Loop thread only.
 */
#ifndef SALLYPORT_AGENT_LEG_H
#define SALLYPORT_AGENT_LEG_H
#include "common/addr.h"

struct agent_client;
struct agent_refusal;
struct sp_sock;

struct agent_leg_callbacks {
    void (*on_readable)(void *ctx);
    void (*on_writable)(void *ctx);
    void (*on_refused)(void *ctx, const struct agent_refusal *refusal); /* the end follows */
    /* The channel is over, and so is the leg. ended_well: both sides had sent everything. */
    void (*on_gone)(void *ctx, bool ended_well);
};

struct agent_leg {
    const struct agent_leg_callbacks *callbacks;
    void *ctx;
    struct sp_sock *sock; /* what is written waits for the channel; NULL after agent_leg_end */
    struct sp_target target;
};

/* NULL: no descriptors, or the agent is ending. */
struct agent_leg *agent_leg_open(struct agent_client *client, const struct sp_target *target,
                                 const struct agent_leg_callbacks *callbacks, void *ctx);
bool agent_leg_leads_to(const struct agent_leg *leg, const struct sp_target *target);
/* Closes our side; on_gone tells how the channel ended. */
void agent_leg_end(struct agent_leg *leg);
void agent_leg_drop(struct agent_leg *leg); /* the same, and no callback comes; NULL is fine */
#endif
