/*
 * resolve: names to addresses on the loop (c-ares): the hosts file first, then DNS. A name means
 * itself: the system's search list is not used.
 *
 * Loop thread only. A callback never comes before sp_resolve has returned, and never after
 * sp_resolve_cancel.
 */
#ifndef SALLYPORT_COMMON_RESOLVE_H
#define SALLYPORT_COMMON_RESOLVE_H
#include "common/addr.h"
#include "common/error.h"

struct sp_loop;
struct sp_resolver; /* opaque; one a loop */
struct sp_query;    /* opaque */

#define SP_RESOLVE_MAX 16 /* addresses handed out for one name */

struct sp_resolver_options {
    const char *servers;     /* "192.0.2.53,[2001:db8::53]:5353"; NULL: the system's */
    unsigned timeout_ms;     /* for a whole query; 0: 5000 */
    const char *resolv_conf; /* NULL: the system's; read again when it has changed */
};

/* err SP_OK: count >= 1 addresses, IPv6 and IPv4 in turn (RFC 8305 order); .port is the one asked
 * for. Otherwise error: SP_ERR_DNS ("db.example: no such name"; .code ARES_E*) or SP_ERR_TIMEOUT.
 */
typedef void (*sp_resolve_cb)(void *ctx, const struct sp_addr *addrs, size_t count,
                              const struct sp_error *error);

SP_MUST_USE enum sp_err sp_resolver_new(struct sp_loop *loop,
                                        const struct sp_resolver_options *options,
                                        struct sp_resolver **ret_resolver, struct sp_error *err);
/* Queries still running are dropped without a callback. NULL is fine. */
void sp_resolver_free(struct sp_resolver *resolver);
/* host: folded (sp_host_fold) or an address, which is handed back as it is. */
struct sp_query *sp_resolve(struct sp_resolver *resolver, const char *host, uint16_t port,
                            sp_resolve_cb on_done, void *ctx);
/* Of such an error: a name server has answered, so there is a network that leads to one. */
bool sp_resolve_was_answered(const struct sp_error *error);
void sp_resolve_cancel(struct sp_query *query);
#endif
