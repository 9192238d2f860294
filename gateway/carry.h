/*
 * carry: one channel at the gateway, from the CONNECT to its line in the log: the tenant's limits,
 * egress, the relay, the refusal.
 *
 * Loop thread only. Ends by itself; keeps a reference to its tenant until then.
 */
#ifndef SALLYPORT_GATEWAY_CARRY_H
#define SALLYPORT_GATEWAY_CARRY_H
#include "gateway/egress.h"

struct gw_tenant;
struct sp_channel;
struct sp_log;

/* The channels of one worker. Embedded in its owner, zeroed at first. */
struct gw_carries {
    struct carry *first;
    size_t count;
};

struct gw_carry_options {
    struct gw_carries *carries; /* borrowed: the list to be in */
    struct gw_egress_ways ways;
    struct sp_log *log;        /* borrowed */
    struct gw_tenant *tenant;  /* a reference is taken */
    const char *tunnel;        /* the tunnel's id for the log; copied */
    bool unvalidated;          /* the tunnel is open though its peer failed validation */
    void (*on_end)(void *ctx); /* exactly once, when the channel has gone */
    void *ctx;
};

void gw_carry_start(const struct gw_carry_options *options, struct sp_channel *channel);
/* Resets them all; each on_end follows from the loop. */
void gw_carries_cancel(struct gw_carries *carries);
#endif
