/*
 * staple_feed: tells the stapler which certificates the gateway has: the common one, and those of
 * tenants that are loaded now (cred_store): one that is loaded at its first handshake is stapled
 * from a moment after it on.
 *
 * One owner, the gateway's main thread.
 */
#ifndef SALLYPORT_GATEWAY_STAPLE_FEED_H
#define SALLYPORT_GATEWAY_STAPLE_FEED_H

struct gw_registry;
struct gw_staple_feed; /* opaque */
struct sp_fetcher;
struct sp_log;
struct sp_loop;

/* Loop, fetcher and log are borrowed and outlive it. */
struct gw_staple_feed *gw_staple_feed_new(struct sp_loop *loop, struct sp_fetcher *fetcher,
                                          struct sp_log *log);
void gw_staple_feed_free(struct gw_staple_feed *feed); /* NULL is fine */
/* What this registry shows is what counts from now on. Takes a reference. */
void gw_staple_feed_follow(struct gw_staple_feed *feed, struct gw_registry *registry);
#endif
