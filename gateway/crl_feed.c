#include "gateway/crl_feed.h"

#include <stdlib.h>

#include "common/crl_source.h"
#include "common/loop.h"
#include "gateway/config.h"
#include "gateway/crl_watch.h"
#include "gateway/registry.h"

#define LOOK_MS 1000 /* how soon a changed file is noticed */

struct gw_crl_feed {
    struct gw_crl_watch *watch;
    struct sp_crl_source *source;
    struct sp_timer *look;
    void (*on_change)(void *ctx);
    void *ctx;
};

static void on_look(void *ctx)
{
    struct gw_crl_feed *feed = ctx;

    sp_timer_start(feed->look, LOOK_MS);
    if (gw_crl_watch_look(feed->watch))
        feed->on_change(feed->ctx);
}

struct gw_crl_feed *gw_crl_feed_new(struct sp_loop *loop, struct sp_fetcher *fetcher,
                                    struct sp_log *log, void (*on_change)(void *ctx), void *ctx)
{
    struct gw_crl_feed *feed = sp_calloc(1, sizeof *feed);
    const struct sp_crl_source_options options = {
        .loop = loop, .fetcher = fetcher, .log = log, .on_change = on_change, .ctx = ctx};

    feed->on_change = on_change;
    feed->ctx = ctx;
    feed->source = sp_crl_source_new(&options);
    feed->look = sp_timer_new(loop, on_look, feed);
    return feed;
}

void gw_crl_feed_free(struct gw_crl_feed *feed)
{
    if (!feed)
        return;
    sp_timer_free(feed->look);
    gw_crl_watch_free(feed->watch);
    sp_crl_source_free(feed->source);
    free(feed);
}

void gw_crl_feed_follow(struct gw_crl_feed *feed, const struct gw_registry *registry)
{
    if (!feed->watch)
        sp_timer_start(feed->look, LOOK_MS);
    feed->watch = gw_crl_watch_new(registry, feed->watch);
    sp_crl_source_begin(feed->source, registry->config->cache_dir);
    for (size_t i = 0; registry->has_crls && i < registry->tenant_count; i++)
        sp_crl_source_add(feed->source, registry->tenants[i]->crls);
    sp_crl_source_end(feed->source);
}

void gw_crl_feed_wait(struct gw_crl_feed *feed, uint64_t at_most_ms)
{
    sp_crl_source_wait(feed->source, at_most_ms);
}

const struct sp_crl_source *gw_crl_feed_source(const struct gw_crl_feed *feed)
{
    return feed->source;
}
