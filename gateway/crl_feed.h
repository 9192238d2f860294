/*
 * crl_feed: tells the gateway that the CRLs which its tenants name have changed, in a file
 * (crl_watch) or at a URL (crl_source).
 *
 * One owner, the gateway's main thread.
 */
#ifndef SALLYPORT_GATEWAY_CRL_FEED_H
#define SALLYPORT_GATEWAY_CRL_FEED_H
#include <stdint.h>

struct gw_crl_feed; /* opaque */
struct gw_registry;
struct sp_crl_source;
struct sp_fetcher;
struct sp_log;
struct sp_loop;

/* on_change: gw_registry_reload_crls may now give another registry. Loop, fetcher and log are
 * borrowed and outlive it. */
struct gw_crl_feed *gw_crl_feed_new(struct sp_loop *loop, struct sp_fetcher *fetcher,
                                    struct sp_log *log, void (*on_change)(void *ctx), void *ctx);
void gw_crl_feed_free(struct gw_crl_feed *feed); /* NULL is fine */
/* What this registry names is what counts from now on. */
void gw_crl_feed_follow(struct gw_crl_feed *feed, const struct gw_registry *registry);
/* Runs the loop until the lists of all URLs are there or have been asked for, or the time is over.
 */
void gw_crl_feed_wait(struct gw_crl_feed *feed, uint64_t at_most_ms);
const struct sp_crl_source *gw_crl_feed_source(const struct gw_crl_feed *feed);
#endif
