/*
 * balance: every worker gets as many connections as the others. Which listening socket of an
 * address gets one is the kernel's choice (SO_REUSEPORT, by a hash of the two addresses), and of a
 * few tunnels that live for long it is uneven; so whoever accepts one while another worker has
 * fewer hands it over.
 *
 * Any thread. Loads are read without a lock: two workers may both think of a third.
 */
#ifndef SALLYPORT_GATEWAY_BALANCE_H
#define SALLYPORT_GATEWAY_BALANCE_H
#include "common/addr.h"
#include <stddef.h>

struct gw_balance; /* opaque */
struct sp_async;

struct gw_balance *gw_balance_new(size_t workers);
/* No worker may be left that takes part. NULL is fine. */
void gw_balance_free(struct gw_balance *balance);

/* From now on this worker may be given connections: wake (borrowed) is sent when there is one. */
void gw_balance_join(struct gw_balance *balance, size_t worker, struct sp_async *wake);
/* It is given no more, and those it has not taken yet are closed. Once or more, joined or not. */
void gw_balance_leave(struct gw_balance *balance, size_t worker);

/* The worker has accepted this one. True: it stays, and counts. False: another one has it now. */
bool gw_balance_keeps(struct gw_balance *balance, size_t worker, int fd,
                      const struct sp_addr *peer);
/* The next one this worker was given; it counts already. False: no more. */
bool gw_balance_next(struct gw_balance *balance, size_t worker, int *ret_fd,
                     struct sp_addr *ret_peer);
/* One that counted has ended. */
void gw_balance_gone(struct gw_balance *balance, size_t worker);
#endif
