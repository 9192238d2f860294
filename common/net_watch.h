/*
 * net_watch: the network of this host is another one, or the host has slept.
 *
 * Changed: an address that can be reached from elsewhere came or went, or its interface went up or
 * down; or a route of the main table did (rtnetlink). Loopback and link-local ones are nobody's
 * business. What comes together is told together: when nothing more has come for a moment.
 * Woke: the clock that counts sleep has gone ahead of the one that does not, or the wall clock has
 * jumped ahead (a virtual machine that was paused), or this very loop has stood still (the process
 * was stopped, or frozen).
 *
 * Loop thread only.
 */
#ifndef SALLYPORT_COMMON_NET_WATCH_H
#define SALLYPORT_COMMON_NET_WATCH_H
#include "common/error.h"
#include <stdint.h>

struct sp_loop;
struct sp_net_watch; /* opaque */

#define SP_NET_QUIET_MS 200  /* nothing for so long: it is told */
#define SP_NET_MOST_MS  1000 /* or so long after the first change */

enum sp_net_kind { SP_NET_CHANGED, SP_NET_WOKE };

struct sp_net_event {
    enum sp_net_kind kind;
    uint64_t slept_ms; /* SP_NET_WOKE: roughly */
};

typedef void (*sp_net_watch_cb)(void *ctx, const struct sp_net_event *event);

/* The callback may free the watch. SP_ERR_SYS: the kernel does not tell (a container). */
SP_MUST_USE enum sp_err sp_net_watch_new(struct sp_loop *loop, sp_net_watch_cb on_event, void *ctx,
                                         struct sp_net_watch **ret_watch, struct sp_error *err);
void sp_net_watch_free(struct sp_net_watch *watch); /* NULL is fine */
#endif
