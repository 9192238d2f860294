#include "common/stapler.h"

#include "common/clock.h"
#include "common/hash.h"
#include "common/heap.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/tls_cred.h"
#include "common/tls_ocsp.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define RUNNING_MAX     8     /* questions at a time */
#define RUNNING_ONE_MAX 4     /* of them to one responder; 1 while it does not answer */
#define STAPLE_MAX      65527 /* what TLS can carry (tls_cred.h) */
#define TIMEOUT_MS      10000
#define TICK_MAX_MS     1000 /* the wall clock may jump */
#define BACK_MS         5000 /* so far back is a clock that was set */
#define WAIT_MIN_MS     1000
#define WAIT_MAX_MS     (24 * 60 * 60 * 1000)
#define RETRY_MAX_MS    (5 * 60 * 1000)

/* Who is asked. One that hangs must not keep the others waiting. */
struct responder {
    char *url;
    size_t entries;
    size_t running;
    bool is_silent;              /* the last question came to nothing */
    struct entry *first, **last; /* waiting their turn */
    struct responder *next;      /* in turn */
};

/* A credential that is followed. */
struct holder {
    struct sp_tls_cred *cred;
    struct entry *entry;
    uint64_t round; /* the sp_stapler_follow that named it last */
    struct holder *next;
};

enum said { SAID_NOTHING, SAID_STAPLED, SAID_FAILING, SAID_ENDED, SAID_REVOKED };

/* One certificate. */
struct entry {
    struct sp_heap_item ask, end; /* milliseconds since 1970 */
    struct sp_stapler *stapler;
    struct holder *holders;
    struct responder *responder; /* NULL: there is nobody to ask, or nothing to ask with */
    struct sp_fetch *fetch;
    bool in_line;
    struct entry *next_in_line;
    uint8_t *response; /* what is stapled; NULL: nothing */
    size_t response_len;
    int64_t this_update, expires; /* of the response */
    unsigned failures;            /* in a row */
    enum said said;
    struct entry *next, **prev;
};

struct sp_stapler {
    struct sp_stapler_options options;
    char *responder;         /* the administrator's; NULL: those of the certificates */
    struct sp_hash *holders; /* by the credential's address: it cannot change while it is held */
    struct sp_hash *by_fingerprint;
    struct entry *entries;
    struct responder *responders;
    size_t running;
    uint64_t round;
    struct sp_heap asks, ends;
    struct sp_timer *tick;
    int64_t last_tick_ms;
};

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

/* why NULL: it is stapled. Says each thing once, until something else is to be said. */
static void say(struct entry *e, enum said what, const char *why)
{
    const struct sp_tls_cred *cred = e->holders->cred;
    enum sp_log_level level = what == SAID_STAPLED   ? SP_LOG_INFO
                              : what == SAID_REVOKED ? SP_LOG_ERROR
                                                     : SP_LOG_WARNING;
    char time[SP_TIME_LEN];
    struct sp_log_line line;

    if (e->said == what || (what == SAID_FAILING && e->said == SAID_ENDED))
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

static void staple(struct entry *e, const uint8_t *der, size_t len)
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
    for (struct holder *h = e->holders; h; h = h->next)
        sp_tls_cred_set_staple(h->cred, copy, len);
}

static void ended(struct entry *e)
{
    staple(e, NULL, 0);
    say(e, SAID_ENDED, "the response has ended, and there is no newer one: nothing is stapled");
}

/* ---- asking ---- */

static void on_tick(void *ctx);

static void ask_at(struct entry *e, int64_t at_ms)
{
    sp_heap_put(&e->stapler->asks, &e->ask, at_ms);
}

/* False: no file of it has the issuer. */
static bool find_certificates(const struct entry *e, struct sp_bytes *ret_cert,
                              struct sp_bytes *ret_issuer)
{
    for (const struct holder *h = e->holders; h; h = h->next)
        if (sp_tls_cred_leaf(h->cred, ret_cert, ret_issuer))
            return true;
    return false;
}

static void failed(struct entry *e, enum said what, const char *why)
{
    int64_t now_ms = sp_clock_wall_ms();

    if (e->failures < UINT32_MAX)
        e->failures++;
    ask_at(e, now_ms +
                  sp_stapler_wait_bad(now_ms, e->response ? e->expires : 0, e->failures, chance()));
    say(e, what, why);
}

/* The newest of what a responder has said counts, whatever a cache on the way still has. */
static void good(struct entry *e, const struct sp_bytes *response,
                 const struct sp_ocsp_answer *answer)
{
    int64_t now_ms = sp_clock_wall_ms();

    if (!e->response || answer->this_update > e->this_update ||
        (answer->this_update == e->this_update && answer->expires > e->expires)) {
        e->this_update = answer->this_update;
        e->expires = answer->expires;
        staple(e, response->data, response->len);
    }
    e->failures = 0;
    ask_at(e, now_ms + sp_stapler_wait_good(now_ms, e->expires, chance()));
    say(e, SAID_STAPLED, NULL);
}

static void judge(struct entry *e, const struct sp_fetch_result *result)
{
    const struct sp_bytes response = {result->body, result->len};
    struct sp_ocsp_query query = {.now = sp_clock_wall_s()};
    struct sp_ocsp_answer answer;

    SP_REQUIRE(find_certificates(e, &query.cert, &query.issuer));
    sp_ocsp_examine(&response, &query, &answer);
    switch (answer.status) {
    case SP_OCSP_GOOD:
        good(e, &response, &answer);
        return;
    case SP_OCSP_REVOKED: /* what was stapled before is no longer true */
        staple(e, NULL, 0);
        failed(e, SAID_REVOKED, "our own certificate is revoked");
        return;
    case SP_OCSP_UNKNOWN:
    case SP_OCSP_INVALID:
        break;
    }
    failed(e, SAID_FAILING, answer.detail);
}

static void on_fetched(void *ctx, const struct sp_fetch_result *result,
                       const struct sp_error *error)
{
    struct entry *e = ctx;
    struct sp_stapler *s = e->stapler;

    e->fetch = NULL;
    e->responder->running--;
    e->responder->is_silent = !result;
    s->running--;
    if (result)
        judge(e, result);
    else
        failed(e, SAID_FAILING, without_url(e->responder->url, error->text));
    on_tick(s);
}

static void ask(struct entry *e)
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

    SP_REQUIRE(find_certificates(e, &cert, &issuer));
    if (sp_ocsp_request(&cert, &issuer, NULL, 0, &body, &request.body_len, &err) != SP_OK) {
        failed(e, SAID_FAILING, err.text);
        return;
    }
    request.body = body;
    e->responder->running++;
    s->running++;
    e->fetch = sp_fetch_start(s->options.fetcher, &request, on_fetched, e);
    free(body);
}

/* ---- whose turn it is ---- */

static void stand_in_line(struct entry *e)
{
    sp_heap_remove(&e->stapler->asks, &e->ask);
    e->in_line = true;
    e->next_in_line = NULL;
    *e->responder->last = e;
    e->responder->last = &e->next_in_line;
}

static struct entry *take_first(struct responder *r)
{
    struct entry *e = r->first;

    r->first = e->next_in_line;
    if (!r->first)
        r->last = &r->first;
    e->in_line = false;
    return e;
}

static void leave_line(struct entry *e)
{
    struct responder *r = e->responder;
    struct entry **at = &r->first;

    while (*at != e)
        at = &(*at)->next_in_line;
    *at = e->next_in_line;
    if (!*at)
        r->last = at;
    e->in_line = false;
}

/* It goes to the end of the row. NULL: nobody waits who may be asked for. */
static struct responder *next_responder(struct sp_stapler *s)
{
    struct responder **at = &s->responders, *found;

    while (*at && (!(*at)->first || (*at)->running >= ((*at)->is_silent ? 1 : RUNNING_ONE_MAX)))
        at = &(*at)->next;
    found = *at;
    if (!found)
        return NULL;
    *at = found->next;
    while (*at)
        at = &(*at)->next;
    *at = found;
    found->next = NULL;
    return found;
}

/* The clock was set back: what was planned by the other time is asked for now. */
static void plan_anew(struct sp_stapler *s, int64_t now_ms)
{
    for (struct entry *e = s->entries; e; e = e->next)
        if (e->ask.place)
            ask_at(e, now_ms);
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
    ((struct entry *)(void *)((char *)(item)-offsetof(struct entry, member)))

static void on_tick(void *ctx)
{
    struct sp_stapler *s = ctx;
    int64_t now_ms = sp_clock_wall_ms();
    struct sp_heap_item *item;
    struct responder *r;

    if (now_ms < s->last_tick_ms - BACK_MS)
        plan_anew(s, now_ms);
    s->last_tick_ms = now_ms;
    while ((item = sp_heap_first(&s->ends)) && item->due <= now_ms)
        ended(OWNER(item, end));
    while ((item = sp_heap_first(&s->asks)) && item->due <= now_ms)
        stand_in_line(OWNER(item, ask));
    while (s->running < RUNNING_MAX && (r = next_responder(s)))
        ask(take_first(r));
    set_timer(s, now_ms);
}

/* ---- who is asked ---- */

static struct responder *responder_of(struct sp_stapler *s, const char *url)
{
    struct responder *r = s->responders;

    while (r && strcmp(r->url, url) != 0)
        r = r->next;
    if (!r) {
        r = sp_calloc(1, sizeof *r);
        r->url = sp_strdup(url);
        r->last = &r->first;
        r->next = s->responders;
        s->responders = r;
    }
    r->entries++;
    return r;
}

static void part(struct entry *e)
{
    struct sp_stapler *s = e->stapler;
    struct responder *r = e->responder, **at = &s->responders;

    sp_heap_remove(&s->asks, &e->ask);
    if (!r)
        return;
    if (e->in_line)
        leave_line(e);
    if (e->fetch) {
        sp_fetch_cancel(e->fetch);
        e->fetch = NULL;
        r->running--;
        s->running--;
    }
    e->responder = NULL;
    if (--r->entries)
        return;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    free(r->url);
    free(r);
}

static const char *choose_url(const struct entry *e, const struct sp_bytes *cert,
                              char buf[SP_OCSP_URL_MAX])
{
    if (e->stapler->responder)
        return e->stapler->responder;
    return sp_ocsp_responder_url(cert, buf, SP_OCSP_URL_MAX) ? buf : NULL;
}

/* After its holders, or the administrator's responder, may have changed. */
static void choose_responder(struct entry *e)
{
    char buf[SP_OCSP_URL_MAX];
    struct sp_bytes cert = {NULL, 0}, issuer = {NULL, 0};
    bool has_issuer = find_certificates(e, &cert, &issuer), is_own_issuer;
    const char *url = choose_url(e, &cert, buf);

    is_own_issuer =
        has_issuer && issuer.len == cert.len && memcmp(issuer.data, cert.data, cert.len) == 0;
    if (url && !has_issuer)
        say(e, SAID_FAILING,
            "its certificate file does not have the certificate of its issuer, without which "
            "nothing can be asked or verified: append it");
    if (!has_issuer || is_own_issuer)
        url = NULL;
    if (url && e->responder && !strcmp(url, e->responder->url))
        return;
    part(e);
    if (!url)
        return;
    e->responder = responder_of(e->stapler, url);
    e->failures = 0;
    e->said = SAID_NOTHING; /* what becomes of this one is news */
    ask_at(e, sp_clock_wall_ms());
}

/* ---- who is followed ---- */

static struct entry *entry_of(struct sp_stapler *s, const char *fingerprint)
{
    struct entry *e = sp_hash_get(s->by_fingerprint, fingerprint, strlen(fingerprint));

    if (e)
        return e;
    e = sp_calloc(1, sizeof *e);
    e->stapler = s;
    e->next = s->entries;
    e->prev = &s->entries;
    if (e->next)
        e->next->prev = &e->next;
    s->entries = e;
    SP_REQUIRE(!sp_hash_put(s->by_fingerprint, fingerprint, strlen(fingerprint), e));
    return e;
}

static void want(struct sp_stapler *s, struct sp_tls_cred *cred)
{
    struct holder *h = sp_hash_get(s->holders, &cred, sizeof(struct sp_tls_cred *));

    if (!h) {
        h = sp_calloc(1, sizeof *h);
        h->cred = sp_tls_cred_ref(cred);
        h->entry = entry_of(s, sp_tls_cred_fingerprint(cred));
        h->next = h->entry->holders;
        h->entry->holders = h;
        SP_REQUIRE(!sp_hash_put(s->holders, &cred, sizeof(struct sp_tls_cred *), h));
        if (h->entry->response)
            sp_tls_cred_set_staple(cred, h->entry->response, h->entry->response_len);
    }
    h->round = s->round;
}

static void holder_free(struct holder *h)
{
    sp_hash_remove(h->entry->stapler->holders, &h->cred, sizeof(struct sp_tls_cred *));
    sp_tls_cred_set_staple(h->cred, NULL, 0);
    sp_tls_cred_unref(h->cred);
    free(h);
}

static void entry_free(struct entry *e, const char *fingerprint)
{
    struct sp_stapler *s = e->stapler;

    part(e);
    sp_heap_remove(&s->ends, &e->end);
    SP_REQUIRE(sp_hash_remove(s->by_fingerprint, fingerprint, strlen(fingerprint)) == e);
    *e->prev = e->next;
    if (e->next)
        e->next->prev = e->prev;
    free(e->response);
    free(e);
}

static void drop_unwanted(struct entry *e)
{
    SP_AUTO_FREE char *fingerprint = sp_strdup(sp_tls_cred_fingerprint(e->holders->cred));
    struct holder **at = &e->holders, *h;

    while ((h = *at)) {
        if (h->round == e->stapler->round) {
            at = &h->next;
            continue;
        }
        *at = h->next;
        holder_free(h);
    }
    if (e->holders)
        choose_responder(e);
    else
        entry_free(e, fingerprint);
}

void sp_stapler_follow(struct sp_stapler *stapler, struct sp_tls_cred *const *creds, size_t count,
                       const char *responder)
{
    struct entry *e, *next;
    char *copy = responder ? sp_strdup(responder) : NULL;

    free(stapler->responder);
    stapler->responder = copy;
    stapler->round++;
    for (size_t i = 0; i < count; i++)
        want(stapler, creds[i]);
    for (e = stapler->entries; e; e = next) {
        next = e->next;
        drop_unwanted(e);
    }
    on_tick(stapler);
}

struct sp_stapler *sp_stapler_new(const struct sp_stapler_options *options)
{
    struct sp_stapler *s = sp_calloc(1, sizeof *s);

    s->options = *options;
    s->holders = sp_hash_new();
    s->by_fingerprint = sp_hash_new();
    s->tick = sp_timer_new(options->loop, on_tick, s);
    return s;
}

void sp_stapler_free(struct sp_stapler *stapler)
{
    if (!stapler)
        return;
    sp_stapler_follow(stapler, NULL, 0, NULL);
    sp_timer_free(stapler->tick);
    sp_heap_done(&stapler->asks);
    sp_heap_done(&stapler->ends);
    sp_hash_free(stapler->holders);
    sp_hash_free(stapler->by_fingerprint);
    free(stapler);
}
