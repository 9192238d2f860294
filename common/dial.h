/*
 * dial: a TCP connection to the first of several addresses that answers (Happy Eyeballs, RFC 8305):
 * they are tried in their order, the next one beside those before it when these have not answered
 * for a moment, or at once when one has failed. Whoever connects first is taken, the others are
 * closed. The order is the caller's; sp_resolve hands out IPv6 and IPv4 in turn.
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
    unsigned delay_ms; /* nobody has answered for so long: the next one is tried too; 0: 250 */
    unsigned total_ms; /* for all; 0: 10000 */
};

/* sock: connected, the callee's, who gives it an owner; *addr is the address that answered. NULL:
 * error is the last failure, prefixed with its address: SP_ERR_SYS (ECONNREFUSED, EHOSTUNREACH...)
 * or SP_ERR_TIMEOUT. */
typedef void (*sp_dial_cb)(void *ctx, struct sp_sock *sock, const struct sp_addr *addr,
                           const struct sp_error *error);

struct sp_dial *sp_dial(struct sp_loop *loop, const struct sp_addr *addrs, size_t count,
                        const struct sp_dial_options *options, sp_dial_cb on_done, void *ctx);
void sp_dial_cancel(struct sp_dial *dial); /* NULL is fine */
#endif
