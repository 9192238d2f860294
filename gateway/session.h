/*
 * session: the tunnels of one worker: who each of them is (tenant, verdict), and what becomes of
 * them when the configuration changes.
 *
 *     accepted -> hello (tenant by SNI) -> verdict --allow--> up -> closed
 *                    \ refused              \ block ----------------^
 *
 * Loop thread only; one struct gw_sessions a worker. A session holds a reference to its tenant, so
 * a reload never frees under it. Invariants 1, 2, 3, 5 and 6 are kept here.
 */
#ifndef SALLYPORT_GATEWAY_SESSION_H
#define SALLYPORT_GATEWAY_SESSION_H
#include "gateway/egress.h"
#include <stdatomic.h>

struct gw_balance;
struct gw_live_key;
struct gw_ocsp;
struct gw_registry;
struct gw_sessions; /* opaque */
struct gw_source_rates;
struct sp_log;
struct sp_tls_params;

struct gw_sessions_options {
    struct sp_loop *loop;
    struct sp_log *log;                    /* borrowed */
    const struct sp_tls_params *params[2]; /* by enum sp_tls_version as minimum; borrowed */
    atomic_size_t *connections;            /* of the whole gateway */
    struct gw_balance *balance;            /* borrowed; told of each that has ended */
    struct gw_source_rates *sources;       /* borrowed */
    struct gw_ocsp *ocsp;                  /* borrowed */
    unsigned worker;                       /* number, for the log */
    void (*on_empty)(void *ctx);           /* gw_sessions_count has come down to 0 */
    void *ctx;
};

/* Takes its own reference to the registry. */
SP_MUST_USE enum sp_err gw_sessions_new(const struct gw_sessions_options *options,
                                        struct gw_registry *registry,
                                        struct gw_sessions **ret_sessions, struct sp_error *err);
void gw_sessions_free(struct gw_sessions *sessions); /* must be empty */
/* One that counts in the balance already. */
void gw_sessions_accept(struct gw_sessions *sessions, int fd, const struct sp_addr *peer);
/* New tunnels are judged by the new registry from now on; those that are open are decided again, a
 * few at a time, and what no longer passes is closed with its reason. */
void gw_sessions_reload(struct gw_sessions *sessions, struct gw_registry *registry);
/* Something else is known about this certificate: who waits for it goes on, who is open is decided
 * again. */
void gw_sessions_on_status(struct gw_sessions *sessions, const struct gw_live_key *key);
void gw_sessions_drain(struct gw_sessions *sessions); /* GOAWAY: what is open may finish */
/* Now: GOAWAY, channels reset, an orderly end of TLS (a second or so, if the peer is slow). */
void gw_sessions_close(struct gw_sessions *sessions);
void gw_sessions_abort(struct gw_sessions *sessions); /* at once: RST */
/* Tunnels, and channels that still have last bytes to write. */
size_t gw_sessions_count(const struct gw_sessions *sessions);
#endif
