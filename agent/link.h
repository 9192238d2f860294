/*
 * link: one attempt at a tunnel, from the name of a gateway to its end: resolve, connect, TLS, the
 * verdict on the gateway, and what the gateway told us when it refused.
 *
 *     resolving -> connecting -> handshaking -> up -> draining -> gone
 *
 * Loop thread only. Ends in exactly one on_gone.
 */
#ifndef SALLYPORT_AGENT_LINK_H
#define SALLYPORT_AGENT_LINK_H
#include "agent/failure.h"
#include "common/addr.h"
#include "common/error.h"

struct agent_config;
struct agent_link; /* opaque */
struct sp_log;
struct sp_loop;
struct sp_resolver;
struct sp_tls_params;
struct sp_tunnel;

struct agent_link_options {
    struct sp_loop *loop;
    struct sp_log *log;
    const struct sp_tls_params *params;
    struct sp_resolver *resolver;
    struct agent_config *config;     /* the link takes a reference */
    const struct sp_target *gateway; /* copied */
};

struct agent_link_callbacks {
    void (*on_up)(void *ctx, struct agent_link *link, const struct agent_success *success);
    void (*on_draining)(void *ctx, struct agent_link *link); /* was up; takes no new channels */
    /* It came to nothing, or was up and broke; on_gone follows. Not told when we ended it
     * ourselves, but for the gateway's sake. */
    void (*on_failure)(void *ctx, struct agent_link *link, const struct agent_failure *failure);
    /* why is a sentence for people; kind SP_OK: an orderly end. was_up: it had been up. */
    void (*on_gone)(void *ctx, struct agent_link *link, const struct sp_error *why, bool was_up);
    /* NULL: not told. It has got through this stage: RESOLVE (addrs has all of them), CONNECT
     * or PROXY (addrs is the one), TLS (none; the verdict, too, was good, but the gateway may still
     * refuse us). */
    void (*on_step)(void *ctx, struct agent_link *link, enum agent_stage stage,
                    const struct sp_addr *addrs, size_t count);
};

struct agent_link *agent_link_new(const struct agent_link_options *options,
                                  const struct agent_link_callbacks *callbacks, void *ctx);
const struct sp_target *agent_link_gateway(const struct agent_link *link);
/* Connected to; family 0: not yet. */
const struct sp_addr *agent_link_address(const struct agent_link *link);
struct sp_tunnel *agent_link_tunnel(struct agent_link *link); /* NULL unless up or draining */
/* The same configuration with other CRLs. One that is up is decided again: what no longer passes is
 * closed, with its channels. */
void agent_link_renew(struct agent_link *link, struct agent_config *config);
/* Ends it, with GOAWAY if it is up: channels may finish. */
void agent_link_retire(struct agent_link *link);
void agent_link_close(struct agent_link *link); /* at once; on_gone follows from the loop */
#endif
