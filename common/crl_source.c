#include "common/crl_source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/clock.h"
#include "common/crl_schedule.h"
#include "common/fetch.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/tls_crl.h"
#include "common/tls_crl_file.h"
#include "common/tls_crl_kept.h"
#include "common/tls_kdf.h"
#include "common/tls_trust.h"

#define FETCH_TIMEOUT_MS 30000
#define FETCHES_MAX      64   /* at a time */
#define TICK_MAX_MS      1000 /* the wall clock may jump */
#define TELL_MS          50   /* lists that come together are told of together */

/* What one set of trusted CAs makes of it. */
struct crl_user {
    struct sp_tls_trust *trust;
    struct sp_tls_crl_kept kept;
    bool wanted;
};

struct crl_url {
    struct sp_crl_source *source;
    char *url;
    char *etag;            /* NULL: nobody has taken the content wholly, or the server gives none */
    struct sp_hash *users; /* struct crl_user, by the digest of the trust */
    struct sp_tls_crl_file *last; /* the newest content that somebody took */
    struct sp_fetch *fetch;
    struct sp_crl_schedule schedule;
    bool wanted, is_new, was_asked;
};

struct sp_crl_source {
    struct sp_crl_source_options options;
    struct sp_hash *urls; /* struct crl_url */
    char *cache_dir;
    struct sp_timer *tick, *tell, *waited;
    size_t running;
    bool is_waiting;
};

static uint32_t chance(void)
{
    uint32_t random = 0;

    if (getrandom(&random, sizeof random, GRND_NONBLOCK) < 0)
        random = (uint32_t)sp_loop_clock_us();
    return random;
}

/* ---- walking ---- */

static struct crl_url *next_url(const struct sp_crl_source *source, size_t *cursor)
{
    const char *key;
    size_t len;
    void *value;

    return sp_hash_next(source->urls, cursor, &key, &len, &value) ? value : NULL;
}

static struct crl_user *next_user(const struct crl_url *u, size_t *cursor)
{
    const char *key;
    size_t len;
    void *value;

    return sp_hash_next(u->users, cursor, &key, &len, &value) ? value : NULL;
}

/* ---- the log ---- */

static void log_failure(const struct crl_url *u, const char *why, bool will_retry)
{
    struct sp_log_line line;

    if (!sp_log_begin(&line, u->source->options.log, SP_LOG_WARNING, "crl_fetch"))
        return;
    sp_log_bool(&line, "ok", false);
    sp_log_str(&line, "url", u->url);
    sp_log_str(&line, "error", why);
    if (will_retry) {
        struct sp_crl_schedule schedule = u->schedule;

        sp_log_int(&line, "retry_ms", sp_crl_schedule_wait_ms(&schedule, sp_clock_wall_ms()));
    }
    sp_log_end(&line);
}

static void log_taken(const struct crl_url *u, const struct sp_tls_crl_file *file,
                      const char *cached)
{
    char time[SP_TIME_LEN];
    struct sp_tls_crl_summary summary;
    struct sp_log_line line;

    if (!sp_log_begin(&line, u->source->options.log, SP_LOG_INFO, "crl_fetch"))
        return;
    sp_tls_crl_file_summary(file, &summary);
    sp_log_bool(&line, "ok", true);
    sp_log_str(&line, "url", u->url);
    sp_log_str(&line, "cached", cached);
    sp_log_str(&line, "issuer", summary.issuer);
    sp_log_str(&line, "this_update", sp_time_format(summary.this_update, time));
    sp_log_str(&line, "next_update", sp_time_format(summary.next_update, time));
    sp_log_int(&line, "entries", (int64_t)summary.entries);
    sp_log_end(&line);
}

/* ---- what a content is to each user ---- */

static void tell(struct sp_crl_source *source)
{
    sp_timer_start(source->tell, TELL_MS);
}

static void on_tell(void *ctx)
{
    struct sp_crl_source *source = ctx;

    source->options.on_change(source->options.ctx);
}

static void explain(struct crl_url *u, struct crl_user *user, const char *why)
{
    if (user->kept.good || user->kept.pending || (user->kept.why && !strcmp(user->kept.why, why)))
        return;
    sp_tls_crl_kept_why(&user->kept, why);
    tell(u->source);
}

struct taken {
    bool changed, refused;
    char why[sizeof((struct sp_error *)NULL)->text]; /* of the last one who refused */
};

static void offer(struct crl_url *u, struct crl_user *user, struct sp_tls_crl_file *file,
                  struct taken *taken)
{
    struct sp_error err = {.text = ""};
    bool changed = false;

    if (sp_tls_crl_kept_offer(&user->kept, file, user->trust, sp_clock_wall_s(), &changed, &err) !=
        SP_OK) {
        taken->refused = true;
        snprintf(taken->why, sizeof taken->why, "%s", err.text);
        explain(u, user, err.text);
    }
    taken->changed |= changed;
}

static void offer_all(struct crl_url *u, struct sp_tls_crl_file *file, struct taken *taken)
{
    struct crl_user *user;
    size_t cursor = 0;

    *taken = (struct taken){.changed = false};
    while ((user = next_user(u, &cursor)))
        offer(u, user, file, taken);
    if (!taken->changed)
        return;
    sp_tls_crl_file_unref(u->last);
    u->last = sp_tls_crl_file_ref(file);
    tell(u->source);
}

/* The earliest nextUpdate of all users; INT64_MIN: one has nothing that is known to be his. */
static int64_t good_until(const struct crl_url *u)
{
    int64_t until = INT64_MAX, own;
    const struct crl_user *user;
    size_t cursor = 0;

    while ((user = next_user(u, &cursor))) {
        own = sp_tls_crl_kept_is_known(&user->kept) ? sp_tls_crl_kept_next_update(&user->kept)
                                                    : INT64_MIN;
        until = own < until ? own : until;
    }
    return until;
}

static void plan(struct crl_url *u, bool is_good)
{
    int64_t now_ms = sp_clock_wall_ms(), until = is_good ? good_until(u) : INT64_MIN;

    if (until > now_ms / 1000)
        sp_crl_schedule_good(&u->schedule, now_ms, until, chance());
    else
        sp_crl_schedule_bad(&u->schedule, now_ms, chance());
}

/* ---- the folder ---- */

static char *cache_path(const struct crl_url *u)
{
    uint8_t digest[SP_SHA256_LEN];
    char hex[33], *path;

    sp_sha256(u->url, strlen(u->url), digest);
    for (size_t i = 0; i < 16; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    SP_REQUIRE(asprintf(&path, "%s/crl-%s.crl", u->source->cache_dir, hex) >= 0);
    return path;
}

/* A file that is not there is no failure; one that is refused is no more than a line. */
static void read_cache(struct crl_url *u)
{
    SP_AUTO_FREE char *path = u->source->cache_dir ? cache_path(u) : NULL;
    char why[sizeof((struct sp_error *)NULL)->text + 400];
    struct sp_tls_crl_file *file;
    struct sp_file content;
    struct sp_error err = {.text = ""};
    struct taken taken;
    enum sp_err rc;

    if (!path)
        return;
    rc = sp_file_read(path, SP_CRL_FETCH_BYTES_MAX, &content, &err);
    if (rc == SP_OK) {
        rc = sp_tls_crl_parse(content.data, content.len, &file, &err);
        sp_file_done(&content);
    } else if (err.kind == SP_ERR_SYS && err.code == ENOENT) {
        return;
    }
    if (rc == SP_OK) {
        offer_all(u, file, &taken);
        if (taken.refused)
            sp_error_set(&err, SP_ERR_CONFIG, "%s", taken.why);
        else
            log_taken(u, file, path);
        sp_tls_crl_file_unref(file);
    }
    if (rc == SP_OK && !taken.refused)
        return;
    snprintf(why, sizeof why, "kept file %s is not believed: %s", path, err.text);
    log_failure(u, why, false);
}

static void write_cache(const struct crl_url *u, const void *body, size_t len)
{
    SP_AUTO_FREE char *path = u->source->cache_dir ? cache_path(u) : NULL;
    struct sp_error err = {.text = ""};

    if (path && sp_file_replace(path, body, len, &err) != SP_OK)
        sp_log_message(u->source->options.log, SP_LOG_WARNING, "trouble",
                       "the CRL of %s cannot be kept over a restart: %s", u->url, err.text);
}

/* ---- fetching ---- */

static bool is_settled(const struct sp_crl_source *source)
{
    int64_t now = sp_clock_wall_s();
    const struct crl_url *u;
    size_t cursor = 0;

    while ((u = next_url(source, &cursor)))
        if (!u->was_asked && good_until(u) <= now)
            return false;
    return true;
}

static void on_tick(void *ctx);

static void done(struct crl_url *u)
{
    struct sp_crl_source *source = u->source;

    if (source->is_waiting && is_settled(source))
        sp_loop_stop(source->options.loop);
    on_tick(source);
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

    while ((user = next_user(u, &cursor)))
        explain(u, user, why);
    plan(u, false);
    log_failure(u, why, true);
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
    offer_all(u, file, &taken);
    if (taken.changed)
        write_cache(u, result->body, result->len);
    free(u->etag);
    u->etag = !taken.refused && result->etag[0] ? sp_strdup(result->etag) : NULL;
    plan(u, !taken.refused);
    if (taken.changed || (was_failing && !u->schedule.failures))
        log_taken(u, file, NULL);
    if (taken.refused)
        log_failure(u, taken.why, true);
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
            log_taken(u, u->last, NULL);
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

static void on_tick(void *ctx)
{
    struct sp_crl_source *source = ctx;
    int64_t now_ms = sp_clock_wall_ms(), wait_ms = TICK_MAX_MS, own_ms;
    struct crl_url *u;
    size_t cursor = 0;

    if (!sp_hash_count(source->urls) || !source->options.fetcher)
        return;
    while ((u = next_url(source, &cursor))) {
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

/* ---- which are wanted ---- */

static void user_free(struct crl_user *user)
{
    sp_tls_crl_kept_done(&user->kept);
    sp_tls_trust_unref(user->trust);
    free(user);
}

static void url_free(struct crl_url *u)
{
    const char *key;
    size_t cursor = 0, len;
    void *user;

    if (u->fetch) {
        sp_fetch_cancel(u->fetch);
        u->source->running--;
    }
    while (sp_hash_next(u->users, &cursor, &key, &len, &user))
        user_free(user);
    sp_hash_free(u->users);
    sp_tls_crl_file_unref(u->last);
    free(u->etag);
    free(u->url);
    free(u);
}

void sp_crl_source_begin(struct sp_crl_source *source, const char *cache_dir)
{
    struct crl_user *user;
    struct crl_url *u;
    size_t cursor = 0, inner;

    free(source->cache_dir);
    source->cache_dir = cache_dir ? sp_strdup(cache_dir) : NULL;
    while ((u = next_url(source, &cursor))) {
        u->wanted = false;
        for (inner = 0; (user = next_user(u, &inner));)
            user->wanted = false;
    }
}

static struct crl_url *want_url(struct sp_crl_source *source, const char *url)
{
    struct crl_url *u = sp_hash_get(source->urls, url, strlen(url));

    if (!u) {
        u = sp_calloc(1, sizeof *u);
        u->source = source;
        u->url = sp_strdup(url);
        u->users = sp_hash_new();
        u->is_new = true;
        sp_hash_put(source->urls, url, strlen(url), u);
    }
    u->wanted = true;
    return u;
}

/* Begins with what was loaded: a trust of which this is the first word may have been given what
 * another one had (tls_crl). */
static void want_user(struct crl_url *u, struct sp_tls_trust *trust,
                      const struct sp_tls_crl_kept *kept)
{
    uint8_t digest[SP_SHA256_LEN];
    struct crl_user *user;
    struct taken taken = {.changed = false};

    sp_tls_trust_digest(trust, digest);
    user = sp_hash_get(u->users, digest, sizeof digest);
    if (!user) {
        user = sp_calloc(1, sizeof *user);
        user->trust = sp_tls_trust_ref(trust);
        sp_tls_crl_kept_copy(&user->kept, kept);
        sp_hash_put(u->users, digest, sizeof digest, user);
        if (u->last)
            offer(u, user, u->last, &taken);
        tell(u->source);
    }
    user->wanted = true;
}

void sp_crl_source_add(struct sp_crl_source *source, const struct sp_tls_crl_set *set)
{
    const char *name;

    for (size_t i = 0; (name = sp_tls_crl_set_name(set, i)); i++)
        if (sp_tls_crl_set_kept(set, i))
            want_user(want_url(source, name), sp_tls_crl_set_trust(set),
                      sp_tls_crl_set_kept(set, i));
}

/* One at a time: the table must not change while it is walked. */
static bool forget_a_user(struct crl_url *u)
{
    const char *key;
    size_t cursor = 0, len;
    void *value;

    while (sp_hash_next(u->users, &cursor, &key, &len, &value)) {
        struct crl_user *user = value;
        uint8_t digest[SP_SHA256_LEN];

        if (user->wanted)
            continue;
        memcpy(digest, key, sizeof digest);
        sp_hash_remove(u->users, digest, sizeof digest);
        user_free(user);
        return true;
    }
    return false;
}

static bool forget_a_url(struct sp_crl_source *source)
{
    struct crl_url *u;
    size_t cursor = 0;

    while ((u = next_url(source, &cursor))) {
        if (u->wanted)
            continue;
        sp_hash_remove(source->urls, u->url, strlen(u->url));
        url_free(u);
        return true;
    }
    return false;
}

void sp_crl_source_end(struct sp_crl_source *source)
{
    struct crl_url *u;
    size_t cursor = 0;

    while (forget_a_url(source))
        ;
    while ((u = next_url(source, &cursor))) {
        while (forget_a_user(u))
            ;
        if (u->is_new)
            read_cache(u);
        u->is_new = false;
    }
    on_tick(source);
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

    while ((u = next_url(source, &cursor)))
        for (inner = 0; (user = next_user(u, &inner));)
            sp_tls_crl_pool_keep(pool, u->url, user->trust, &user->kept);
}

struct sp_crl_source *sp_crl_source_new(const struct sp_crl_source_options *options)
{
    struct sp_crl_source *source = sp_calloc(1, sizeof *source);

    source->options = *options;
    source->urls = sp_hash_new();
    source->tick = sp_timer_new(options->loop, on_tick, source);
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
    while ((u = next_url(source, &cursor)))
        url_free(u);
    sp_hash_free(source->urls);
    sp_timer_free(source->tick);
    sp_timer_free(source->tell);
    sp_timer_free(source->waited);
    free(source->cache_dir);
    free(source);
}
