/*
 * direct: a channel that goes to its destination without a tunnel: resolves, connects, relays.
 *
 * A name may lead anywhere but to this machine or its link (loopback, link-local, the address of a
 * cloud's metadata): whoever owns it could otherwise let a page in the browser talk to what listens
 * here. What the application itself names (an address, localhost) and what the hosts file has may.
 * Loop thread only.
 */
#ifndef SALLYPORT_AGENT_DIRECT_H
#define SALLYPORT_AGENT_DIRECT_H
#include "common/addr.h"
#include <stdbool.h>

struct agent_direct; /* opaque: until its channel is open */
struct agent_hosts;
struct agent_request_callbacks; /* uplink.h */
struct sp_loop;
struct sp_resolver;

struct agent_direct_options {
    struct sp_loop *loop;
    struct sp_resolver *resolver;
    const struct agent_hosts *hosts; /* looked at in the call alone */
};

/* Exactly one callback follows, not before this has returned, unless cancelled; it is gone when
 * that returns. */
struct agent_direct *agent_direct_open(const struct agent_direct_options *options,
                                       const struct sp_target *target,
                                       const struct agent_request_callbacks *callbacks, void *ctx);
void agent_direct_cancel(struct agent_direct *direct); /* NULL is fine */
#endif
