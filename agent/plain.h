/*
 * plain: a door's requests for http:// URLs: one application's connection, one request after
 * another, each through a channel to its origin.
 *
 *     application ─ sock ─ plain ─ leg (a socket pair) ─ channel ─ ...
 *
 * Bodies are relayed as they come, each direction at the pace of its reader: nothing is read while
 * what was read before has not been taken. A channel is used again only by requests to the same
 * origin that may be sent twice, since the origin may close it at that very moment. Loop thread
 * only.
 */
#ifndef SALLYPORT_AGENT_PLAIN_H
#define SALLYPORT_AGENT_PLAIN_H
#include "common/http1_message.h"

struct agent_client;
struct agent_plain; /* opaque */
struct agent_refusal;

/* Tells the application, in HTTP and in the form that it likes; head_only: without the body that
 * HEAD has none of. destination NULL: not known. */
void agent_plain_say_refusal(struct agent_client *client, const struct agent_refusal *refusal,
                             const struct sp_target *destination, bool head_only);

struct agent_plain *agent_plain_new(struct agent_client *client);
void agent_plain_free(struct agent_plain *plain); /* the client goes; NULL is fine */
/* Whether the present request is answered by a head alone. */
bool agent_plain_is_head(const struct agent_plain *plain);
/* Where it goes; NULL: none is being served. */
const struct sp_target *agent_plain_target(const struct agent_plain *plain);
/* Serves the request whose head is at the front of the client's input, and consumes it; its body
 * follows there. The client may be gone when this returns. */
void agent_plain_serve(struct agent_plain *plain, const struct sp_http1_head *head,
                       const struct sp_http1_plan *plan);
#endif
