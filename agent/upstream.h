/*
 * upstream: a connection to a gateway by way of a company's proxy: resolves and dials the proxy,
 * asks it for the gateway (HTTP CONNECT, or SOCKS5 with the gateway's name), and hands out the
 * socket as if it were the gateway's own. The gateway's name is resolved by the proxy.
 *
 * Loop thread only. The callback comes exactly once, never before agent_upstream_connect has
 * returned, and not at all after agent_upstream_cancel.
 */
#ifndef SALLYPORT_AGENT_UPSTREAM_H
#define SALLYPORT_AGENT_UPSTREAM_H
#include "common/addr.h"
#include "common/error.h"

struct agent_proxy;
struct agent_upstream; /* opaque */
struct sp_loop;
struct sp_resolver;
struct sp_sock;

struct agent_upstream_options {
    struct sp_loop *loop;
    struct sp_resolver *resolver;
    const struct agent_proxy *proxy; /* borrowed until the callback */
    const struct sp_target *gateway; /* copied */
    unsigned timeout_ms;             /* for the proxy's answer, once it is connected to */
};

/* sock: connected through to the gateway, the callee's; *addr is the proxy's. NULL: error begins
 * with "the proxy HOST:PORT" and never has a password in it: SP_ERR_DENIED for what the proxy says
 * no to (.code: HTTP status, or SOCKS5 reply), else as sp_resolve and sp_dial have it. */
typedef void (*agent_upstream_cb)(void *ctx, struct sp_sock *sock, const struct sp_addr *addr,
                                  const struct sp_error *error);

struct agent_upstream *agent_upstream_connect(const struct agent_upstream_options *options,
                                              agent_upstream_cb on_done, void *ctx);
void agent_upstream_cancel(struct agent_upstream *upstream); /* NULL is fine */
#endif
