/*
 * dial: TCP connections to a list of addresses, one after the other until one answers.
 *
 * Loop thread only. The callback comes exactly once, never before sp_dial has returned, and not at
 * all after sp_dial_cancel.
 */
#ifndef SALLYPORT_COMMON_DIAL_H
#define SALLYPORT_COMMON_DIAL_H
#include "common/addr.h"
#include "common/error.h"
#include "common/resolve.h"

struct sp_loop;
struct sp_dial; /* opaque */
struct sp_sock;

struct sp_dial_options {
    unsigned attempt_ms; /* for one address while others are left; 0: 2000 */
    unsigned total_ms;   /* for all; 0: 10000 */
};

/* sock: connected, the callee's, who gives it an owner; *addr is the address that answered. NULL:
 * error is the last failure, prefixed with its address: SP_ERR_SYS (ECONNREFUSED, EHOSTUNREACH...)
 * or SP_ERR_TIMEOUT. */
typedef void (*sp_dial_cb)(void *ctx, struct sp_sock *sock, const struct sp_addr *addr,
                           const struct sp_error *error);

struct sp_dial *sp_dial(struct sp_loop *loop, const struct sp_addr *addrs, size_t count,
                        const struct sp_dial_options *options, sp_dial_cb on_done, void *ctx);
void sp_dial_cancel(struct sp_dial *dial);
#endif
