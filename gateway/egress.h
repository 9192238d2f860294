/*
 * egress: takes a channel to its destination: the name is resolved once, every address is judged by
 * the tenant's rules, and a judged address is dialled (invariant 8).
 *
 * Loop thread only. An attempt ends in exactly one callback, never before gw_egress_start has
 * returned, and in none after gw_egress_cancel.
 */
#ifndef SALLYPORT_GATEWAY_EGRESS_H
#define SALLYPORT_GATEWAY_EGRESS_H
#include "common/addr.h"
#include "common/error.h"
#include "common/http1.h"

struct gw_acl;
struct gw_egress_attempt; /* opaque */
struct sp_loop;
struct sp_resolver;
struct sp_sock;

struct gw_egress_result {
    struct sp_sock *sock;   /* connected, the callee's; NULL: refused */
    struct sp_addr dialled; /* of the sock */
    int status;             /* refused: 403 policy, 502/503/504 network */
    const char *error;      /* refused: RFC 9209 error type */
    const char *text;       /* refused: for people */
};
typedef void (*gw_egress_cb)(void *ctx, const struct gw_egress_result *result);

struct gw_egress_ways { /* borrowed for the attempt's life */
    struct sp_loop *loop;
    struct sp_resolver *resolver;
    unsigned dial_ms;
};

/* acl: borrowed for the attempt's life. target: copied. */
struct gw_egress_attempt *gw_egress_start(const struct gw_egress_ways *ways,
                                          const struct gw_acl *acl, const struct sp_target *target,
                                          gw_egress_cb on_done, void *ctx);
void gw_egress_cancel(struct gw_egress_attempt *attempt);
#endif
