/*
 * ocsp: what the tenants' OCSP responders say about their clients' certificates: asked once for
 * each certificate, however many tunnels want to know, and remembered until the answer is stale.
 *
 * One for the whole gateway. Workers look (gw_ocsp_look, any thread, never blocks on the network);
 * the main thread asks, refreshes what is in use before it is stale, and keeps the answers over a
 * restart in CACHE_DIR/ocsp.cache, of which nothing is believed that is not verified again.
 *
 * An answer is found by tenant and certificate: no tenant's responder speaks for another's clients.
 * It is stored only after its signature was verified with the issuer of a chain that holds under
 * that tenant's CAs.
 */
#ifndef SALLYPORT_GATEWAY_OCSP_H
#define SALLYPORT_GATEWAY_OCSP_H
#include "gateway/decision.h"
#include "gateway/live.h"

struct gw_ocsp; /* opaque */
struct sp_fetcher;
struct sp_log;
struct sp_loop;

struct gw_ocsp_options {
    struct sp_loop *loop;       /* of the main thread */
    struct sp_fetcher *fetcher; /* borrowed, as is the log; of that loop */
    struct sp_log *log;
    const char *cache_dir; /* NULL: nothing is kept over a restart */
    /* Main thread: something else is known about this certificate than before. */
    void (*on_status)(void *ctx, const struct gw_live_key *key);
    void *ctx;
};

struct gw_ocsp *gw_ocsp_new(const struct gw_ocsp_options *options);
/* After the last look. Writes the cache file. NULL is fine. */
void gw_ocsp_free(struct gw_ocsp *ocsp);

enum gw_ocsp_reply {
    GW_OCSP_KNOWN, /* *ret_status is all that can be said now */
    GW_OCSP_LATER, /* it is being asked: on_status will come for *ret_key */
};

/* For a decision that wants a status. staple: what the peer sent; len 0: nothing. may_wait: the
 * tunnel is not open yet, so that an answer that is not there, or stale, can be waited for; without
 * it LATER comes only when nothing was ever known. */
enum gw_ocsp_reply gw_ocsp_look(struct gw_ocsp *ocsp, const struct gw_decision *d,
                                const struct sp_bytes *staple, bool may_wait,
                                struct gw_live_key *ret_key, struct sp_status *ret_status);
#endif
