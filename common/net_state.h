/*
 * net_state: what net_watch concludes from: clocks side by side, addresses, routes. No loop.
 * Thread-safe: no shared state.
 */
#ifndef SALLYPORT_COMMON_NET_STATE_H
#define SALLYPORT_COMMON_NET_STATE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The three clocks at one moment. */
struct sp_net_clocks {
    uint64_t monotonic_ms; /* stands still while the host sleeps */
    uint64_t boot_ms;      /* does not */
    int64_t wall_ms;       /* may be set */
};
void sp_net_clocks_read(struct sp_net_clocks *ret_clocks);

#define SP_NET_SLEPT_MS 1000  /* less is no sleep */
#define SP_NET_JUMP_MS  10000 /* the wall clock, ahead: less is somebody's adjustment */
#define SP_NET_STALL_MS 3000  /* the loop was to look after so long, and came so much later */
#define SP_NET_LOOK_MS  2000  /* how often it looks */

/* How long the host slept between the two, or stood still; 0: it did not. due_ms: how long after
 * `before` the second look was due at the latest, on the monotonic clock; 0: at no certain time. */
uint64_t sp_net_slept_ms(const struct sp_net_clocks *before, const struct sp_net_clocks *after,
                         uint64_t due_ms);

/* A digest of the addresses by which this host can be reached from elsewhere, whatever their order,
 * each with its interface and whether that is up. 0: they can not be listed. */
uint64_t sp_net_addresses(void);

/* The same of the routes that lead elsewhere: where to, by what, with which metric; how often they
 * are used, and how long they will last, is left out. */
uint64_t sp_net_routes(void);
/* Of tables as /proc/net/route and /proc/net/ipv6_route have them. */
uint64_t sp_net_routes_digest(const char *ipv4, const char *ipv6);
#endif
