#include "gateway/ocsp.h"

#include "common/clock.h"
#include "common/fetch.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/url.h"
#include "gateway/ocsp_impl.h"
#include "gateway/tenant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define RUNNING_MAX     8 /* questions of one tenant at a time */
#define TICK_MS         500
#define RETRY_DOUBLINGS 6   /* 1, 2, 4 ... seconds after each failure */
#define FORGET_S        300 /* a failure that nobody asks about any more */
#define NONCE_LEN       16
#define SAVE_EVERY_S    10
#define ENTRIES_PER_S   1000 /* ... and a second more for so many entries */
#define LOG_LINES       20   /* at once; then one a second */

/* A question on its way. */
struct job {
    struct gw_ocsp *ocsp;
    struct gw_ocsp_entry *entry;
    struct job *next, **prev;
    struct sp_fetch *fetch;
    struct gw_tenant_config *config; /* a reference: asked and judged by the same settings */
    uint8_t nonce[NONCE_LEN];
    size_t nonce_len;
    char url[SP_URL_MAX + 1]; /* the administrator's may be that long */
};

static void start_next(struct gw_ocsp *ocsp, struct gw_ocsp_tenant *tenant);

/* ---- the log ---- */

static void log_answer(struct gw_ocsp *ocsp, const struct job *job, const struct sp_status *status,
                       bool ok)
{
    char time[SP_TIME_LEN];
    struct sp_log_line line;

    bool may_log = true;

    pthread_mutex_lock(&ocsp->lock);
    if (!ok)
        may_log = gw_ocsp_may_log(ocsp);
    pthread_mutex_unlock(&ocsp->lock);
    if (!may_log)
        return;
    if (!sp_log_begin(&line, ocsp->options.log, ok ? SP_LOG_DEBUG : SP_LOG_WARNING, "ocsp"))
        return;
    sp_log_bool(&line, "ok", ok);
    sp_log_str(&line, "tenant", job->entry->tenant->id);
    sp_log_str(&line, "responder", job->url);
    if (ok) {
        sp_log_str(&line, "status", status->answer.status == SP_OCSP_GOOD ? "good" : "revoked");
        sp_log_str(&line, "expires", sp_time_format(status->holds_until, time));
    } else {
        sp_log_str(&line, "error", status->answer.detail);
    }
    sp_log_end(&line);
}

/* ---- what an answer changes ---- */

/* Some time before the answer is stale, so that a responder that is slow or away for a moment is
 * not noticed. */
static int64_t refresh_at(const struct gw_ocsp_entry *e, int64_t expires)
{
    int64_t life = expires - e->status_since;
    int64_t lead = life / 10 > 30 ? life / 10 : 30;

    return expires - (lead < life / 2 ? lead : life / 2);
}

/* Under the lock. */
static void put_on_schedule(struct gw_ocsp *ocsp, struct gw_ocsp_entry *e, int64_t now)
{
    int64_t expires = gw_ocsp_entry_expires(e);

    if (e->asking)
        return;
    if (now >= expires)
        sp_heap_put(&ocsp->schedule, &e->due, now + FORGET_S);
    else if (e->failed) /* the refresh failed: once more before it is stale */
        sp_heap_put(&ocsp->schedule, &e->due, e->retry_at < expires ? e->retry_at : expires);
    else
        sp_heap_put(&ocsp->schedule, &e->due, refresh_at(e, expires));
}

static void arm_tick(struct gw_ocsp *ocsp)
{
    if (sp_heap_first(&ocsp->schedule))
        sp_timer_start(ocsp->tick, TICK_MS);
}

static void set(struct sp_status **where, const struct sp_status *status)
{
    if (!*where)
        *where = sp_calloc(1, sizeof **where);
    **where = *status;
}

/* result NULL: nothing that can be relied on; the status says why. */
static void publish(struct gw_ocsp *ocsp, struct gw_ocsp_entry *e, const struct sp_status *status,
                    const struct sp_fetch_result *result)
{
    const struct gw_live_key key = e->key;
    int64_t now = sp_clock_wall_s();

    pthread_mutex_lock(&ocsp->lock);
    e->asking = e->used = false;
    if (result) {
        set(&e->status, status);
        free(e->failed);
        e->failed = NULL;
        e->status_since = now;
        e->failures = 0;
        e->retry_at = 0;
        gw_ocsp_entry_set_response(e, result->body, result->len);
        ocsp->dirty = true;
    } else {
        if (status->answer.status == SP_OCSP_UNKNOWN) {
            gw_ocsp_entry_disown(e, &status->answer);
            ocsp->dirty = true;
        }
        set(&e->failed, status);
        e->retry_at =
            now + (e->failures < RETRY_DOUBLINGS ? 1 << e->failures : GW_OCSP_RETRY_MAX_S);
        e->failures++;
    }
    put_on_schedule(ocsp, e, now);
    pthread_mutex_unlock(&ocsp->lock);
    arm_tick(ocsp);
    ocsp->options.on_status(ocsp->options.ctx, &key);
}

/* ---- asking ---- */

static void job_free(struct job *job)
{
    *job->prev = job->next;
    if (job->next)
        job->next->prev = job->prev;
    gw_tenant_config_unref(job->config);
    free(job);
}

static struct job *job_new(struct gw_ocsp *ocsp, struct gw_ocsp_entry *e)
{
    struct job *job = sp_calloc(1, sizeof *job);

    job->ocsp = ocsp;
    job->entry = e;
    job->next = ocsp->jobs;
    job->prev = &ocsp->jobs;
    if (job->next)
        job->next->prev = &job->next;
    ocsp->jobs = job;
    e->tenant->running++;
    pthread_mutex_lock(&ocsp->lock);
    job->config = gw_tenant_config_ref(e->config);
    pthread_mutex_unlock(&ocsp->lock);
    return job;
}

/* Whether *ret_status can be relied on. Otherwise its detail begins with the URL. */
static bool judge(const struct job *job, const struct sp_fetch_result *result,
                  struct sp_status *ret_status)
{
    const struct gw_ocsp_entry *e = job->entry;
    const struct sp_bytes response = {result->body, result->len};
    const struct sp_ocsp_query query = {
        .cert = {e->cert, e->cert_len},
        .issuer = {e->issuer, e->issuer_len},
        .now = sp_clock_wall_s(),
        .max_age_s = (int64_t)job->config->client_validation.ocsp.max_age_s,
        .nonce = job->nonce,
        .nonce_len = job->nonce_len,
    };
    struct sp_ocsp_answer *answer = &ret_status->answer;
    char detail[sizeof answer->detail];
    bool outdates;

    *ret_status = (struct sp_status){.stapled = false};
    sp_ocsp_examine(&response, &query, answer);
    snprintf(ret_status->from, sizeof ret_status->from, "%.250s", job->url);
    ret_status->holds_until = answer->expires;
    pthread_mutex_lock(&job->ocsp->lock);
    outdates = gw_ocsp_entry_outdates(e, answer);
    pthread_mutex_unlock(&job->ocsp->lock);
    if (outdates) {
        answer->status = SP_OCSP_INVALID;
        snprintf(answer->detail, sizeof answer->detail,
                 "an older answer than the one that said that it is not good");
    }
    if (answer->status == SP_OCSP_GOOD || answer->status == SP_OCSP_REVOKED)
        return true;
    snprintf(detail, sizeof detail, "%.200s: %.300s", job->url, answer->detail);
    memcpy(answer->detail, detail, sizeof detail);
    return false;
}

static void on_fetched(void *ctx, const struct sp_fetch_result *result,
                       const struct sp_error *error)
{
    struct job *job = ctx;
    struct gw_ocsp *ocsp = job->ocsp;
    struct gw_ocsp_entry *e = job->entry;
    struct sp_status status;

    if (!result)
        sp_status_unknown(&status, job->url, INT64_MAX, "%s", error->text);
    else if (!judge(job, result, &status))
        result = NULL;
    log_answer(ocsp, job, &status, result != NULL);
    e->tenant->running--;
    job_free(job);
    publish(ocsp, e, &status, result);
    start_next(ocsp, e->tenant);
}

/* Whom to ask: the administrator's URL may lead anywhere, the certificate's to public addresses. */
static enum sp_fetch_reach choose_url(struct job *job)
{
    const struct gw_ocsp_settings *settings = &job->config->client_validation.ocsp;
    const struct sp_bytes cert = {job->entry->cert, job->entry->cert_len};

    if (settings->responder) {
        snprintf(job->url, sizeof job->url, "%s", settings->responder);
        return SP_FETCH_ANYWHERE;
    }
    if (!sp_ocsp_responder_url(&cert, job->url, sizeof job->url))
        job->url[0] = '\0';
    return SP_FETCH_PUBLIC;
}

/* False: it cannot be asked, and ret_status says why. */
static bool ask(struct gw_ocsp *ocsp, struct gw_ocsp_entry *e, unsigned timeout_ms,
                struct sp_status *ret_status)
{
    const struct sp_bytes cert = {e->cert, e->cert_len}, issuer = {e->issuer, e->issuer_len};
    struct job *job = job_new(ocsp, e);
    struct sp_fetch_request request = {
        .url = job->url,
        .content_type = "application/ocsp-request",
        .accept = "application/ocsp-response",
        .timeout_ms = timeout_ms,
        .max_bytes = SP_OCSP_RESPONSE_MAX,
        .reach = choose_url(job),
    };
    struct sp_error err;
    uint8_t *body = NULL;

    if (job->config->client_validation.ocsp.nonce)
        job->nonce_len = sizeof job->nonce;
    if (!job->url[0])
        sp_error_set(&err, SP_ERR_CONFIG, GW_OCSP_NOBODY);
    else if (getrandom(job->nonce, sizeof job->nonce, 0) != sizeof job->nonce)
        sp_error_set(&err, SP_ERR_SYS, "getrandom failed");
    else if (sp_ocsp_request(&cert, &issuer, job->nonce, job->nonce_len, &body, &request.body_len,
                             &err) == SP_OK)
        request.body = body;
    if (request.body) {
        job->fetch = sp_fetch_start(ocsp->options.fetcher, &request, on_fetched, job);
    } else {
        sp_status_unknown(ret_status, job->url, INT64_MAX, "%s", err.text);
        e->tenant->running--;
        job_free(job);
    }
    free(body);
    return request.body != NULL;
}

static struct gw_ocsp_entry *next_in_line(struct gw_ocsp_tenant *tenant)
{
    struct gw_ocsp_entry *e = tenant->first;

    tenant->first = e->next_in_line;
    if (!tenant->first)
        tenant->last = &tenant->first;
    e->next_in_line = NULL;
    return e;
}

static void start_next(struct gw_ocsp *ocsp, struct gw_ocsp_tenant *tenant)
{
    uint64_t now_ms = sp_loop_clock_us() / 1000;
    struct sp_status status;

    while (tenant->first && tenant->running < RUNNING_MAX) {
        struct gw_ocsp_entry *e = next_in_line(tenant);
        uint64_t timeout, waited = now_ms - e->asked_ms;

        pthread_mutex_lock(&ocsp->lock);
        timeout = e->config->client_validation.ocsp.timeout_ms;
        pthread_mutex_unlock(&ocsp->lock);
        if (waited >= timeout)
            sp_status_unknown(&status, NULL, INT64_MAX,
                              "no answer within %llu ms: the responder was still busy with other "
                              "questions",
                              (unsigned long long)timeout);
        else if (ask(ocsp, e, (unsigned)(timeout - waited), &status))
            continue;
        publish(ocsp, e, &status, NULL);
    }
}

static void stand_in_line(struct gw_ocsp *ocsp, struct gw_ocsp_entry *e)
{
    struct gw_ocsp_tenant *tenant = e->tenant;

    *tenant->last = e;
    tenant->last = &e->next_in_line;
    start_next(ocsp, tenant);
}

/* ---- what workers have left, and what is due ---- */

static void on_wake(void *ctx)
{
    struct gw_ocsp *ocsp = ctx;
    struct gw_ocsp_entry *e, *next;
    int64_t now = sp_clock_wall_s();

    pthread_mutex_lock(&ocsp->lock);
    e = ocsp->news;
    ocsp->news = NULL;
    pthread_mutex_unlock(&ocsp->lock);
    for (; e; e = next) {
        bool wants_ask;

        pthread_mutex_lock(&ocsp->lock);
        next = e->next_news;
        e->is_news = false;
        wants_ask = e->wants_ask;
        e->wants_ask = false;
        if (!wants_ask) /* an answer that a worker has verified */
            put_on_schedule(ocsp, e, now);
        ocsp->dirty = true;
        pthread_mutex_unlock(&ocsp->lock);
        if (wants_ask)
            stand_in_line(ocsp, e);
    }
    arm_tick(ocsp);
}

/* True: ask again. */
static bool decide_due(struct gw_ocsp *ocsp, struct gw_ocsp_entry *e, int64_t now)
{
    int64_t expires = gw_ocsp_entry_expires(e);

    if (e->asking || e->is_news)
        return false;
    if (e->used && e->cert && now < expires) {
        e->asking = true;
        e->asked_ms = sp_loop_clock_us() / 1000;
        return true;
    }
    if (now < expires) {
        sp_heap_put(&ocsp->schedule, &e->due, expires);
    } else if (e->used) {
        e->used = false;
        sp_heap_put(&ocsp->schedule, &e->due, now + FORGET_S);
    } else {
        gw_ocsp_entry_free(ocsp, e);
    }
    return false;
}

static void save_sometimes(struct gw_ocsp *ocsp, int64_t now)
{
    int64_t every;

    if (!ocsp->cache_path || !ocsp->dirty)
        return;
    pthread_mutex_lock(&ocsp->lock);
    every = SAVE_EVERY_S + (int64_t)(sp_hash_count(ocsp->entries) / ENTRIES_PER_S);
    pthread_mutex_unlock(&ocsp->lock);
    if (now < ocsp->saved_at || now >= ocsp->saved_at + every)
        gw_ocsp_file_write(ocsp, now);
}

static void on_tick(void *ctx)
{
    struct gw_ocsp *ocsp = ctx;
    int64_t now = sp_clock_wall_s();
    struct sp_heap_item *first;

    while ((first = sp_heap_first(&ocsp->schedule)) != NULL && first->due <= now) {
        struct gw_ocsp_entry *e = (struct gw_ocsp_entry *)first;
        bool again;

        sp_heap_remove(&ocsp->schedule, first);
        pthread_mutex_lock(&ocsp->lock);
        again = decide_due(ocsp, e, now);
        pthread_mutex_unlock(&ocsp->lock);
        if (again)
            stand_in_line(ocsp, e);
    }
    save_sometimes(ocsp, now);
    arm_tick(ocsp);
}

/* ---- life ---- */

struct gw_ocsp *gw_ocsp_new(const struct gw_ocsp_options *options)
{
    struct gw_ocsp *ocsp = sp_calloc(1, sizeof *ocsp);
    int64_t now = sp_clock_wall_s();

    _Static_assert(offsetof(struct gw_ocsp_entry, due) == 0, "the item is the entry");
    ocsp->options = *options;
    ocsp->options.cache_dir = NULL;
    pthread_mutex_init(&ocsp->lock, NULL);
    ocsp->entries = sp_hash_new();
    ocsp->tenants = sp_hash_new();
    ocsp->wake = sp_async_new(options->loop, on_wake, ocsp);
    ocsp->tick = sp_timer_new(options->loop, on_tick, ocsp);
    sp_token_bucket_init(&ocsp->lines, LOG_LINES, 1, sp_loop_clock_us() / 1000);
    if (options->cache_dir) {
        SP_REQUIRE(asprintf(&ocsp->cache_path, "%s/ocsp.cache", options->cache_dir) >= 0);
        gw_ocsp_file_read(ocsp, now);
        ocsp->saved_at = now;
    }
    arm_tick(ocsp);
    return ocsp;
}

/* Nobody looks any more; what was asked is given up. */
static void drop_entries(struct gw_ocsp *ocsp)
{
    size_t count;
    struct gw_ocsp_entry **all = gw_ocsp_entries(ocsp, &count);

    for (size_t i = 0; i < count; i++) {
        all[i]->asking = all[i]->is_news = false;
        all[i]->tenant->running = 0;
        all[i]->tenant->first = NULL;
    }
    for (size_t i = 0; i < count; i++)
        gw_ocsp_entry_free(ocsp, all[i]);
    free(all);
}

void gw_ocsp_free(struct gw_ocsp *ocsp)
{
    if (!ocsp)
        return;
    while (ocsp->jobs) {
        sp_fetch_cancel(ocsp->jobs->fetch);
        job_free(ocsp->jobs);
    }
    if (ocsp->cache_path && ocsp->dirty)
        gw_ocsp_file_write(ocsp, sp_clock_wall_s());
    drop_entries(ocsp);
    sp_hash_free(ocsp->entries);
    sp_hash_free(ocsp->tenants);
    sp_heap_done(&ocsp->schedule);
    sp_async_free(ocsp->wake);
    sp_timer_free(ocsp->tick);
    pthread_mutex_destroy(&ocsp->lock);
    free(ocsp->cache_path);
    free(ocsp);
}
