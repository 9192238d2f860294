#include "gateway/staple_feed.h"

#include <stdint.h>
#include <stdlib.h>

#include "common/loop.h"
#include "common/stapler.h"
#include "common/tls_cred.h"
#include "gateway/config.h"
#include "gateway/cred_store.h"
#include "gateway/keyring.h"
#include "gateway/registry.h"

#define LOOK_MS 1000 /* how soon one that was loaded is noticed */

struct gw_staple_feed {
    struct sp_stapler *stapler;
    struct sp_timer *look;
    struct gw_registry *registry; /* one reference; NULL: none yet */
    uint64_t changes;             /* of its store, when it was looked at last */
};

/* The common one may stand there twice: the store may have dropped it for others, the registry
 * never does. */
static void tell_stapler(struct gw_staple_feed *feed)
{
    const struct gw_registry *registry = feed->registry;
    struct gw_cred_store *store = gw_keyring_store(registry->keyring);
    struct sp_tls_cred **creds;
    size_t count;

    feed->changes = gw_cred_store_changes(store); /* before: what comes in between is seen again */
    count = gw_cred_store_list(store, &creds);
    if (registry->common_cred)
        creds[count++] = sp_tls_cred_ref(registry->common_cred);
    sp_stapler_follow(feed->stapler, creds, count, registry->config->stapling.responder);
    while (count)
        sp_tls_cred_unref(creds[--count]);
    free(creds);
}

static void on_look(void *ctx)
{
    struct gw_staple_feed *feed = ctx;

    sp_timer_start(feed->look, LOOK_MS);
    if (gw_cred_store_changes(gw_keyring_store(feed->registry->keyring)) != feed->changes)
        tell_stapler(feed);
}

struct gw_staple_feed *gw_staple_feed_new(struct sp_loop *loop, struct sp_fetcher *fetcher,
                                          struct sp_log *log)
{
    struct gw_staple_feed *feed = sp_calloc(1, sizeof *feed);
    const struct sp_stapler_options options = {
        .loop = loop, .fetcher = fetcher, .log = log, .reach = SP_FETCH_PUBLIC};

    feed->stapler = sp_stapler_new(&options);
    feed->look = sp_timer_new(loop, on_look, feed);
    return feed;
}

void gw_staple_feed_free(struct gw_staple_feed *feed)
{
    if (!feed)
        return;
    sp_timer_free(feed->look);
    sp_stapler_free(feed->stapler);
    gw_registry_unref(feed->registry);
    free(feed);
}

void gw_staple_feed_follow(struct gw_staple_feed *feed, struct gw_registry *registry)
{
    gw_registry_ref(registry);
    gw_registry_unref(feed->registry); /* first: its certificates that nobody has any more go */
    feed->registry = registry;
    if (registry->config->stapling.enabled) {
        sp_timer_start(feed->look, LOOK_MS);
        tell_stapler(feed);
    } else {
        sp_timer_stop(feed->look);
        sp_stapler_follow(feed->stapler, NULL, 0, NULL);
    }
}
