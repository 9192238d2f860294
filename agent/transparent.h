/*
 * transparent: connections that a firewall rule has brought to a door, which their applications
 * know nothing of (`sallyport-agent rules` prints such rules): where they were meant to go.
 */
#ifndef SALLYPORT_AGENT_TRANSPARENT_H
#define SALLYPORT_AGENT_TRANSPARENT_H
#include "common/addr.h"
#include "common/error.h"

/* How they are brought here. */
enum agent_intercept {
    AGENT_INTERCEPT_REDIRECT, /* nftables `redirect`: the destination was rewritten */
    AGENT_INTERCEPT_TPROXY,   /* nftables `tproxy`: it was not */
};

/* fd: a door's listening socket. TPROXY takes CAP_NET_ADMIN. */
SP_MUST_USE enum sp_err agent_transparent_prepare(int fd, enum agent_intercept intercept,
                                                  const struct sp_addr *bound,
                                                  struct sp_error *err);
/* fd: a connection that was accepted there. False: no rule has brought it, it was made to the door
 * itself. */
bool agent_transparent_destination(int fd, enum agent_intercept intercept,
                                   const struct sp_addr *bound, struct sp_addr *ret_destination);
#endif
