#include "common/stapler_impl.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/tls_cred.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define RUNNING_MAX  8     /* questions at a time */
#define STAPLE_MAX   65527 /* what TLS can carry (tls_cred.h) */
#define TIMEOUT_MS   10000
#define TICK_MAX_MS  1000 /* the wall clock may jump */
#define BACK_MS      5000 /* so far back is a clock that was set */
#define WAIT_MIN_MS  1000
#define WAIT_MAX_MS  (24 * 60 * 60 * 1000)
#define RETRY_MAX_MS (5 * 60 * 1000)

/* ---- when ---- */

static int64_t clamp(int64_t value, int64_t least, int64_t most)
{
    return value < least ? least : value > most ? most : value;
}

static int64_t half_of_rest(int64_t now_ms, int64_t expires)
{
    int64_t now_s = now_ms / 1000;

    if (expires <= now_s)
        return 0;
    return (clamp(expires, now_s, now_s + 10 * 24 * 3600) * 1000 - now_ms) / 2;
}

static int64_t jitter(int64_t wait_ms, uint32_t random)
{
    return wait_ms - wait_ms / 4 * (int64_t)(random % 1024) / 1024;
}

int64_t sp_stapler_wait_good(int64_t now_ms, int64_t expires, uint32_t random)
{
    int64_t half_ms = clamp(half_of_rest(now_ms, expires), WAIT_MIN_MS, WAIT_MAX_MS);

    return clamp(jitter(half_ms, random), WAIT_MIN_MS, WAIT_MAX_MS);
}

int64_t sp_stapler_wait_bad(int64_t now_ms, int64_t expires, unsigned failures, uint32_t random)
{
    unsigned doublings = failures < 10 ? (failures ? failures - 1 : 0) : 10;
    int64_t wait_ms = clamp((int64_t)1000 << doublings, WAIT_MIN_MS, RETRY_MAX_MS);

    if (expires > now_ms / 1000)
        wait_ms = clamp(wait_ms, 0, half_of_rest(now_ms, expires));
    return clamp(jitter(wait_ms, random), WAIT_MIN_MS, RETRY_MAX_MS);
}

static uint32_t chance(void)
{
    uint32_t random = 0;

    if (getrandom(&random, sizeof random, GRND_NONBLOCK) < 0)
        random = (uint32_t)sp_loop_clock_us();
    return random;
}

/* ---- the log ---- */

/* What the fetcher says begins with the URL, which stands in the line already. */
static const char *without_url(const char *url, const char *text)
{
    size_t len = strlen(url);

    return !strncmp(text, url, len) && !strncmp(text + len, ": ", 2) ? text + len + 2 : text;
}

void sp_stapler_say(struct sp_stapler_entry *e, enum sp_stapler_word what, const char *why)
{
    const struct sp_tls_cred *cred = e->holders->cred;
    enum sp_log_level level = what == SP_STAPLER_STAPLED   ? SP_LOG_INFO
                              : what == SP_STAPLER_REVOKED ? SP_LOG_ERROR
                                                           : SP_LOG_WARNING;
    char time[SP_TIME_LEN];
    struct sp_log_line line;

    if (e->said == what || (what == SP_STAPLER_FAILING && e->said == SP_STAPLER_ENDED))
        return;
    e->said = what;
    if (!sp_log_begin(&line, e->stapler->options.log, level, "staple"))
        return;
    sp_log_bool(&line, "ok", !why);
    sp_log_str(&line, "subject", sp_tls_cred_subject(cred));
    sp_log_str(&line, "fingerprint", sp_tls_cred_fingerprint(cred));
    sp_log_str(&line, "responder", e->responder ? e->responder->url : NULL);
    sp_log_str(&line, "error", why);
    if (e->response)
        sp_log_str(&line, "expires", sp_time_format(e->expires, time));
    sp_log_end(&line);
}

/* ---- what is stapled ---- */

static void staple(struct sp_stapler_entry *e, const uint8_t *der, size_t len)
{
    uint8_t *copy = NULL;

    if (len) {
        copy = sp_calloc(1, len);
        memcpy(copy, der, len);
        sp_heap_put(&e->stapler->ends, &e->end, e->expires * 1000);
    } else {
        sp_heap_remove(&e->stapler->ends, &e->end);
    }
    free(e->response);
    e->response = copy;
    e->response_len = len;
    for (struct sp_stapler_holder *h = e->holders; h; h = h->next)
        sp_tls_cred_set_staple(h->cred, copy, len);
}

static void ended(struct sp_stapler_entry *e)
{
    staple(e, NULL, 0);
    sp_stapler_say(e, SP_STAPLER_ENDED,
                   "the response has ended, and there is no newer one: nothing is stapled");
}

/* ---- asking ---- */

void sp_stapler_ask_at(struct sp_stapler_entry *e, int64_t at_ms)
{
    sp_heap_put(&e->stapler->asks, &e->ask, at_ms);
}

bool sp_stapler_certificates(const struct sp_stapler_entry *e, struct sp_bytes *ret_cert,
                             struct sp_bytes *ret_issuer)
{
    for (const struct sp_stapler_holder *h = e->holders; h; h = h->next)
        if (sp_tls_cred_leaf(h->cred, ret_cert, ret_issuer))
            return true;
    return false;
}

static void failed(struct sp_stapler_entry *e, enum sp_stapler_word what, const char *why)
{
    int64_t now_ms = sp_clock_wall_ms();

    if (e->failures < UINT32_MAX)
        e->failures++;
    sp_stapler_ask_at(e, now_ms + sp_stapler_wait_bad(now_ms, e->response ? e->expires : 0,
                                                      e->failures, chance()));
    sp_stapler_say(e, what, why);
}

/* What lasts longest stays, whatever a cache on the way still has. */
static void good(struct sp_stapler_entry *e, const struct sp_bytes *response,
                 const struct sp_ocsp_answer *answer)
{
    int64_t now_ms = sp_clock_wall_ms();

    if (!e->response || answer->expires > e->expires) {
        e->expires = answer->expires;
        staple(e, response->data, response->len);
    }
    e->failures = 0;
    sp_stapler_ask_at(e, now_ms + sp_stapler_wait_good(now_ms, e->expires, chance()));
    sp_stapler_say(e, SP_STAPLER_STAPLED, NULL);
}

static void judge(struct sp_stapler_entry *e, const struct sp_fetch_result *result)
{
    const struct sp_bytes response = {result->body, result->len};
    struct sp_ocsp_query query = {.now = sp_clock_wall_s()};
    struct sp_ocsp_answer answer;

    SP_REQUIRE(sp_stapler_certificates(e, &query.cert, &query.issuer));
    sp_ocsp_examine(&response, &query, &answer);
    if (answer.status == SP_OCSP_REVOKED) { /* what was stapled before is no longer true */
        e->revoked_as_of = answer.this_update;
        staple(e, NULL, 0);
    }
    if (answer.status == SP_OCSP_REVOKED ||
        (answer.status == SP_OCSP_GOOD && answer.this_update < e->revoked_as_of))
        failed(e, SP_STAPLER_REVOKED, "our own certificate is revoked");
    else if (answer.status == SP_OCSP_GOOD)
        good(e, &response, &answer);
    else
        failed(e, SP_STAPLER_FAILING, answer.detail);
}

static void on_fetched(void *ctx, const struct sp_fetch_result *result,
                       const struct sp_error *error)
{
    struct sp_stapler_entry *e = ctx;
    struct sp_stapler *s = e->stapler;

    e->fetch = NULL;
    e->responder->running--;
    e->responder->is_silent = !result;
    s->running--;
    if (result)
        judge(e, result);
    else
        failed(e, SP_STAPLER_FAILING, without_url(e->responder->url, error->text));
    sp_stapler_tick(s);
}

static void ask(struct sp_stapler_entry *e)
{
    struct sp_stapler *s = e->stapler;
    struct sp_fetch_request request = {
        .url = e->responder->url,
        .content_type = "application/ocsp-request",
        .accept = "application/ocsp-response",
        .timeout_ms = TIMEOUT_MS,
        .max_bytes = STAPLE_MAX,
        .reach = s->responder ? SP_FETCH_ANYWHERE : s->options.reach,
    };
    struct sp_bytes cert, issuer;
    struct sp_error err;
    uint8_t *body;

    SP_REQUIRE(sp_stapler_certificates(e, &cert, &issuer));
    if (sp_ocsp_request(&cert, &issuer, NULL, 0, &body, &request.body_len, &err) != SP_OK) {
        failed(e, SP_STAPLER_FAILING, err.text);
        return;
    }
    request.body = body;
    e->responder->running++;
    s->running++;
    e->fetch = sp_fetch_start(s->options.fetcher, &request, on_fetched, e);
    free(body);
}

/* ---- what is due ---- */

/* The clock was set back: what was planned by the other time is asked for now. */
static void plan_anew(struct sp_stapler *s, int64_t now_ms)
{
    for (struct sp_stapler_entry *e = s->entries; e; e = e->next)
        if (e->ask.place)
            sp_stapler_ask_at(e, now_ms);
}

static void set_timer(struct sp_stapler *s, int64_t now_ms)
{
    const struct sp_heap_item *ask_first = sp_heap_first(&s->asks),
                              *end_first = sp_heap_first(&s->ends);
    int64_t at_ms = now_ms + TICK_MAX_MS;

    if (!ask_first && !end_first)
        return;
    if (ask_first && ask_first->due < at_ms)
        at_ms = ask_first->due;
    if (end_first && end_first->due < at_ms)
        at_ms = end_first->due;
    sp_timer_start(s->tick, (uint64_t)(at_ms > now_ms ? at_ms - now_ms : 0));
}

#define OWNER(item, member)                                                                        \
    ((struct sp_stapler_entry *)(void *)((char *)(item)-offsetof(struct sp_stapler_entry, member)))

void sp_stapler_tick(void *ctx)
{
    struct sp_stapler *s = ctx;
    int64_t now_ms = sp_clock_wall_ms();
    struct sp_heap_item *item;
    struct sp_stapler_responder *r;

    if (now_ms < s->last_tick_ms - BACK_MS)
        plan_anew(s, now_ms);
    s->last_tick_ms = now_ms;
    while ((item = sp_heap_first(&s->ends)) && item->due <= now_ms)
        ended(OWNER(item, end));
    while ((item = sp_heap_first(&s->asks)) && item->due <= now_ms)
        sp_stapler_stand_in_line(OWNER(item, ask));
    while (s->running < RUNNING_MAX && (r = sp_stapler_next_responder(s)))
        ask(sp_stapler_take_first(r));
    set_timer(s, now_ms);
}
