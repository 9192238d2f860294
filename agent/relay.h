/*
 * relay: a channel whose other end is no stream of a tunnel but a socket: what is said directly to
 * a destination. Half-close and reset cross it unchanged, each direction goes at the pace of its
 * reader, and no more than AGENT_RELAY_WINDOW bytes wait on either side. Loop thread only.
 */
#ifndef SALLYPORT_AGENT_RELAY_H
#define SALLYPORT_AGENT_RELAY_H
#include <stddef.h>

struct sp_channel;
struct sp_loop;
struct sp_sock;
struct sp_target;

#define AGENT_RELAY_WINDOW ((size_t)128 * 1024)

/* Takes over sock, which is connected to the target. The channel is open (common/channel.h): set
 * its owner and attach the application's socket before the loop goes on. */
struct sp_channel *agent_relay_new(struct sp_loop *loop, struct sp_sock *sock,
                                   const struct sp_target *target);
#endif
