/*
 * proxy: what `upstream_proxy` says: by which proxy the gateways are reached, and with which login.
 * The password is never part of a text that others see: not of an error, not of a log line.
 *
 * Immutable once made. Thread-safe, but for agent_proxy_new("environment"), which reads the
 * environment.
 */
#ifndef SALLYPORT_AGENT_PROXY_H
#define SALLYPORT_AGENT_PROXY_H
#include "common/addr.h"
#include "common/error.h"

enum agent_proxy_kind {
    AGENT_PROXY_HTTP,   /* CONNECT; Basic */
    AGENT_PROXY_SOCKS5, /* RFC 1928, RFC 1929 */
};

#define AGENT_PROXY_WORD_MAX 255 /* RFC 1929: user, password */

struct agent_proxy {
    enum agent_proxy_kind kind;
    struct sp_target at;
    char *user, *password; /* NULL: no login; else both there, maybe empty */
    char *except;          /* the environment's NO_PROXY; NULL: none */
};

/* For struct sp_json_field.check: what agent_proxy_new would say, but for the environment. */
enum sp_err agent_proxy_check(const char *value, struct sp_error *err);
/* "http://[user:password@]host:port", "socks5://...", where user and password may be
 * percent-encoded; or "environment": the first that is set of https_proxy, HTTPS_PROXY, all_proxy,
 * ALL_PROXY, with no_proxy, NO_PROXY. *ret_proxy NULL: the environment has none.
 * SP_ERR_CONFIG. */
SP_MUST_USE enum sp_err agent_proxy_new(const char *value, struct agent_proxy **ret_proxy,
                                        struct sp_error *err);
void agent_proxy_free(struct agent_proxy *proxy); /* wipes it; NULL is fine */
/* The proxy's exceptions do not name this gateway. NULL: false. */
bool agent_proxy_serves(const struct agent_proxy *proxy, const struct sp_target *gateway);
#endif
