#include "common/crl_source_impl.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/clock.h"
#include "common/fetch.h"
#include "common/hash.h"
#include "common/loop.h"
#include "common/tls_crl.h"
#include "common/tls_crl_file.h"

#define FETCH_TIMEOUT_MS 30000
#define FETCHES_MAX      64   /* at a time */
#define TICK_MAX_MS      1000 /* the wall clock may jump */
#define TELL_MS          50   /* lists that come together are told of together */

/* ---- telling ---- */

void sp_crl_source_tell(struct sp_crl_source *source)
{
    sp_timer_start(source->tell, TELL_MS);
}

static void on_tell(void *ctx)
{
    struct sp_crl_source *source = ctx;

    source->options.on_change(source->options.ctx);
}

/* ---- fetching ---- */

static uint32_t chance(void)
{
    uint32_t random = 0;

    if (getrandom(&random, sizeof random, GRND_NONBLOCK) < 0)
        random = (uint32_t)sp_loop_clock_us();
    return random;
}

static void plan(struct crl_url *u, bool is_good)
{
    int64_t now_ms = sp_clock_wall_ms(), until = is_good ? sp_crl_source_good_until(u) : INT64_MIN;

    if (until > now_ms / 1000)
        sp_crl_schedule_good(&u->schedule, now_ms, until, chance());
    else
        sp_crl_schedule_bad(&u->schedule, now_ms, chance());
}

static bool is_settled(const struct sp_crl_source *source)
{
    int64_t now = sp_clock_wall_s();
    const struct crl_url *u;
    size_t cursor = 0;

    while ((u = sp_crl_source_next_url(source, &cursor)))
        if (!u->was_asked && sp_crl_source_good_until(u) <= now)
            return false;
    return true;
}

static void done(struct crl_url *u)
{
    struct sp_crl_source *source = u->source;

    if (source->is_waiting && is_settled(source))
        sp_loop_stop(source->options.loop);
    sp_crl_source_tick(source);
}

/* What the fetcher says begins with the URL, which stands in the line already. */
static const char *without_url(const struct crl_url *u, const char *text)
{
    size_t len = strlen(u->url);

    return !strncmp(text, u->url, len) && !strncmp(text + len, ": ", 2) ? text + len + 2 : text;
}

static void failed(struct crl_url *u, const char *why)
{
    struct crl_user *user;
    size_t cursor = 0;

    while ((user = sp_crl_source_next_user(u, &cursor)))
        sp_crl_source_explain(u, user, why);
    plan(u, false);
    sp_crl_source_log_failure(u, why, true);
}

/* The content is as it was, or somebody has taken it. */
static void came(struct crl_url *u, const struct sp_fetch_result *result)
{
    bool was_failing = u->schedule.failures > 0;
    struct sp_tls_crl_file *file;
    struct sp_error err = {.text = ""};
    struct taken taken;

    if (sp_tls_crl_parse(result->body, result->len, &file, &err) != SP_OK) {
        failed(u, err.text);
        return;
    }
    sp_crl_source_offer_all(u, file, &taken);
    if (taken.changed)
        sp_crl_source_write_cache(u, result->body, result->len);
    free(u->etag);
    u->etag = !taken.refused && result->etag[0] ? sp_strdup(result->etag) : NULL;
    plan(u, !taken.refused);
    if (taken.changed || (was_failing && !u->schedule.failures))
        sp_crl_source_log_taken(u, file, NULL);
    if (taken.refused)
        sp_crl_source_log_failure(u, taken.why, true);
    sp_tls_crl_file_unref(file);
}

static void on_fetched(void *ctx, const struct sp_fetch_result *result,
                       const struct sp_error *error)
{
    struct crl_url *u = ctx;
    bool was_failing = u->schedule.failures > 0;

    u->fetch = NULL;
    u->source->running--;
    u->was_asked = true;
    if (!result) {
        failed(u, without_url(u, error->text));
    } else if (result->status == 304) {
        plan(u, true);
        if (was_failing && !u->schedule.failures && u->last)
            sp_crl_source_log_taken(u, u->last, NULL);
    } else {
        came(u, result);
    }
    done(u);
}

static void fetch(struct crl_url *u)
{
    struct sp_crl_source *source = u->source;
    const struct sp_fetch_request request = {
        .url = u->url,
        .accept = "application/pkix-crl, application/x-pem-file, */*",
        .etag = u->etag,
        .timeout_ms = FETCH_TIMEOUT_MS,
        .max_bytes = SP_CRL_FETCH_BYTES_MAX,
        .reach = SP_FETCH_ANYWHERE,
    };

    source->running++;
    u->fetch = sp_fetch_start(source->options.fetcher, &request, on_fetched, u);
}

void sp_crl_source_tick(void *ctx)
{
    struct sp_crl_source *source = ctx;
    int64_t now_ms = sp_clock_wall_ms(), wait_ms = TICK_MAX_MS, own_ms;
    struct crl_url *u;
    size_t cursor = 0;

    if (!sp_hash_count(source->urls) || !source->options.fetcher)
        return;
    while ((u = sp_crl_source_next_url(source, &cursor))) {
        if (u->fetch)
            continue;
        own_ms = sp_crl_schedule_wait_ms(&u->schedule, now_ms);
        if (own_ms == 0 && source->running < FETCHES_MAX)
            fetch(u);
        else if (own_ms > 0 && own_ms < wait_ms)
            wait_ms = own_ms;
    }
    sp_timer_start(source->tick, (uint64_t)wait_ms);
}

/* ---- the rest ---- */

static void on_waited(void *ctx)
{
    struct sp_crl_source *source = ctx;

    if (source->is_waiting)
        sp_loop_stop(source->options.loop);
}

void sp_crl_source_wait(struct sp_crl_source *source, uint64_t at_most_ms)
{
    if (is_settled(source))
        return;
    source->is_waiting = true;
    sp_timer_start(source->waited, at_most_ms);
    sp_loop_run(source->options.loop);
    sp_timer_stop(source->waited);
    source->is_waiting = false;
}

void sp_crl_source_fill(const struct sp_crl_source *source, struct sp_tls_crl_pool *pool)
{
    const struct crl_user *user;
    const struct crl_url *u;
    size_t cursor = 0, inner;

    while ((u = sp_crl_source_next_url(source, &cursor)))
        for (inner = 0; (user = sp_crl_source_next_user(u, &inner));)
            sp_tls_crl_pool_keep(pool, u->url, user->trust, &user->kept);
}

struct sp_crl_source *sp_crl_source_new(const struct sp_crl_source_options *options)
{
    struct sp_crl_source *source = sp_calloc(1, sizeof *source);

    source->options = *options;
    source->urls = sp_hash_new();
    source->tick = sp_timer_new(options->loop, sp_crl_source_tick, source);
    source->tell = sp_timer_new(options->loop, on_tell, source);
    source->waited = sp_timer_new(options->loop, on_waited, source);
    return source;
}

void sp_crl_source_free(struct sp_crl_source *source)
{
    struct crl_url *u;
    size_t cursor = 0;

    if (!source)
        return;
    while ((u = sp_crl_source_next_url(source, &cursor)))
        sp_crl_source_url_free(u);
    sp_hash_free(source->urls);
    sp_timer_free(source->tick);
    sp_timer_free(source->tell);
    sp_timer_free(source->waited);
    free(source->cache_dir);
    free(source);
}
