/*
 * worker: one thread with a loop, its listening sockets (SO_REUSEPORT) and its tunnels. Nothing is
 * shared between workers but immutable snapshots, atomic counters and the log; a connection may be
 * handed over when it has just been accepted (gateway/balance.h).
 *
 * The functions here belong to the main thread; they leave a message and wake the worker.
 */
#ifndef SALLYPORT_GATEWAY_WORKER_H
#define SALLYPORT_GATEWAY_WORKER_H
#include "common/error.h"
#include <stdatomic.h>
#include <stddef.h>

struct gw_balance;
struct gw_live_key;
struct gw_ocsp;
struct gw_registry;
struct gw_source_rates;
struct gw_worker; /* opaque */
struct sp_async;
struct sp_log;
struct sp_tls_params;

struct gw_worker_options {
    unsigned number;
    struct sp_log *log;                    /* borrowed, like all that follows */
    const struct sp_tls_params *params[2]; /* by enum sp_tls_version as minimum */
    atomic_size_t *connections;
    struct gw_balance *balance;
    struct gw_source_rates *sources;
    struct gw_ocsp *ocsp;
    struct sp_async *on_drained; /* sent when the last tunnel has gone after gw_worker_drain */
};

/* fds: its own listening sockets, taken over whatever the outcome. Starts the thread. */
SP_MUST_USE enum sp_err gw_worker_start(const struct gw_worker_options *options,
                                        struct gw_registry *registry, const int *fds,
                                        size_t fd_count, struct gw_worker **ret_worker,
                                        struct sp_error *err);

/* One listening socket after a reload: the one at index `keep` until now or, keep < 0, a new fd. */
struct gw_listen_change {
    int keep;
    int fd;
};
/* A reference to the registry is taken. Listening sockets that no change keeps are closed. */
void gw_worker_reload(struct gw_worker *worker, struct gw_registry *registry,
                      const struct gw_listen_change *changes, size_t change_count);
/* Waits until the worker has taken it up: each reload is followed by one of these. */
void gw_worker_await_reload(struct gw_worker *worker);
/* Something else is known about this certificate than before. */
void gw_worker_on_status(struct gw_worker *worker, const struct gw_live_key *key);
void gw_worker_drain(struct gw_worker *worker); /* stops accepting; tunnels may finish */
bool gw_worker_is_drained(const struct gw_worker *worker);
/* What is open is closed in order within two seconds, or at once; then the thread ends. */
void gw_worker_end(struct gw_worker *worker, bool at_once);
/* After gw_worker_end: waits for the thread and frees the worker. */
void gw_worker_join(struct gw_worker *worker);
#endif
