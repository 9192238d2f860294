/*
 * network: what this machine's own kernel says about its network, without a packet sent. Any
 * thread; a few system calls.
 */
#ifndef SALLYPORT_AGENT_NETWORK_H
#define SALLYPORT_AGENT_NETWORK_H
#include "common/addr.h"

struct agent_network {
    bool has_address; /* an interface that is no loopback is up, and has more than a link-local one
                       */
    bool has_route;   /* there is a default route, of IPv4 or IPv6 */
    char found[200];  /* "eth0 is down, wlan0 has no address"; "" when there is an address */
};

void agent_network_look(struct agent_network *ret_network);
/* 0: there is a route to it; else the errno of who asks for one (ENETUNREACH...). */
int agent_network_route(const struct sp_addr *addr);
#endif
