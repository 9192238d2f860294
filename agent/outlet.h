/*
 * outlet: the way out for one channel: asks the routes, then opens it through the tunnel or
 * directly, or refuses it.
 *
 * Loop thread only. TLS failure never falls back to anything (invariant 9): only where
 * agent_clients.fall_back says so does a channel that had no tunnel go directly.
 */
#ifndef SALLYPORT_AGENT_OUTLET_H
#define SALLYPORT_AGENT_OUTLET_H
#include "agent/routes.h"
#include "agent/uplink.h"

struct agent_clients;
struct agent_outlet; /* opaque; its owner frees it */

/* The question is used in the call alone. Exactly one callback follows, not before this has
 * returned, unless it is freed; the owner may free it there. */
struct agent_outlet *agent_outlet_open(struct agent_clients *clients,
                                       const struct agent_route_question *question,
                                       const struct agent_request_callbacks *callbacks, void *ctx);
/* The way it has taken so far, and what for. */
struct agent_way agent_outlet_way(const struct agent_outlet *outlet);
/* Cancels what is not open yet; NULL is fine. */
void agent_outlet_free(struct agent_outlet *outlet);
#endif
