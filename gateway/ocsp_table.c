#include "gateway/ocsp_impl.h"

#include "common/hash.h"
#include "common/log.h"
#include "common/loop.h"
#include "gateway/tenant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- entries ---- */

static struct gw_ocsp_tenant *tenant_of(struct gw_ocsp *ocsp, const char *id)
{
    size_t len = strlen(id);
    struct gw_ocsp_tenant *tenant = sp_hash_get(ocsp->tenants, id, len);

    if (tenant)
        return tenant;
    tenant = sp_calloc(1, sizeof *tenant + len + 1);
    memcpy(tenant->id, id, len + 1);
    tenant->last = &tenant->first;
    sp_hash_put(ocsp->tenants, id, len, tenant);
    return tenant;
}

static void tenant_drop(struct gw_ocsp *ocsp, struct gw_ocsp_tenant *tenant)
{
    if (--tenant->entries)
        return;
    SP_REQUIRE(!tenant->running && !tenant->first);
    sp_hash_remove(ocsp->tenants, tenant->id, strlen(tenant->id));
    free(tenant);
}

struct gw_ocsp_entry *gw_ocsp_entry_new(struct gw_ocsp *ocsp, const struct gw_live_key *key,
                                        const char *tenant_id)
{
    struct gw_ocsp_tenant *tenant;
    struct gw_ocsp_entry *e;

    if (sp_hash_count(ocsp->entries) >= GW_OCSP_ENTRIES_MAX)
        return NULL;
    tenant = tenant_of(ocsp, tenant_id);
    if (tenant->entries >= GW_OCSP_TENANT_MAX)
        return NULL;
    tenant->entries++;
    e = sp_calloc(1, sizeof *e);
    e->key = *key;
    e->tenant = tenant;
    SP_REQUIRE(!sp_hash_put(ocsp->entries, e->key.bytes, sizeof e->key.bytes, e));
    return e;
}

void gw_ocsp_entry_free(struct gw_ocsp *ocsp, struct gw_ocsp_entry *e)
{
    SP_REQUIRE(!e->asking && !e->is_news);
    SP_REQUIRE(sp_hash_remove(ocsp->entries, e->key.bytes, sizeof e->key.bytes) == e);
    sp_heap_remove(&ocsp->schedule, &e->due);
    tenant_drop(ocsp, e->tenant);
    gw_tenant_config_unref(e->config);
    free(e->cert);
    free(e->issuer);
    free(e->response);
    free(e->status);
    free(e->failed);
    free(e);
}

struct gw_ocsp_entry **gw_ocsp_entries(struct gw_ocsp *ocsp, size_t *ret_count)
{
    size_t cursor = 0, len, i = 0;
    struct gw_ocsp_entry **all;
    const char *key;
    void *value;

    pthread_mutex_lock(&ocsp->lock);
    *ret_count = sp_hash_count(ocsp->entries);
    all = sp_calloc(*ret_count + 1, sizeof(struct gw_ocsp_entry *));
    while (sp_hash_next(ocsp->entries, &cursor, &key, &len, &value))
        all[i++] = value;
    pthread_mutex_unlock(&ocsp->lock);
    return all;
}

void gw_ocsp_entry_set_response(struct gw_ocsp_entry *e, const uint8_t *der, size_t len)
{
    uint8_t *copy = sp_calloc(1, len);

    memcpy(copy, der, len);
    free(e->response);
    e->response = copy;
    e->response_len = len;
}

int64_t gw_ocsp_entry_expires(const struct gw_ocsp_entry *e)
{
    int64_t expires, oldest;

    if (!e->status)
        return 0;
    expires = e->status->holds_until;
    if (!e->config)
        return expires;
    oldest = e->status->answer.this_update + (int64_t)e->config->client_validation.ocsp.max_age_s;
    return oldest < expires ? oldest : expires;
}

void gw_ocsp_entry_disown(struct gw_ocsp_entry *e, const struct sp_ocsp_answer *unknown)
{
    if (unknown->this_update > e->unknown_at)
        e->unknown_at = unknown->this_update;
    if (!e->status || e->status->answer.status == SP_OCSP_REVOKED ||
        unknown->this_update < e->status->answer.this_update)
        return;
    free(e->status);
    e->status = NULL;
    free(e->response); /* without a status it would be one from the cache file */
    e->response = NULL;
    e->response_len = 0;
}

bool gw_ocsp_entry_outdates(const struct gw_ocsp_entry *e, const struct sp_ocsp_answer *answer)
{
    if (answer->status != SP_OCSP_GOOD)
        return false;
    return answer->this_update < e->unknown_at ||
           (e->status && e->status->answer.status == SP_OCSP_REVOKED &&
            answer->this_update < e->status->answer.this_update);
}

bool gw_ocsp_may_log(struct gw_ocsp *ocsp)
{
    return sp_token_bucket_take(&ocsp->lines, sp_loop_clock_us() / 1000);
}

/* ---- what workers do ---- */

static void tell_main(struct gw_ocsp *ocsp, struct gw_ocsp_entry *e)
{
    if (e->is_news)
        return;
    e->is_news = true;
    e->next_news = ocsp->news;
    ocsp->news = e;
    sp_async_send(ocsp->wake);
}

static bool asks_the_same(const struct gw_tenant_config *a, const struct gw_tenant_config *b)
{
    const struct gw_ocsp_settings *x = &a->client_validation.ocsp, *y = &b->client_validation.ocsp;

    return x->nonce == y->nonce && x->timeout_ms == y->timeout_ms && x->max_age_s == y->max_age_s &&
           !x->responder == !y->responder && (!x->responder || !strcmp(x->responder, y->responder));
}

static void note_use(struct gw_ocsp_entry *e, struct gw_tenant_config *config)
{
    e->used = true;
    if (e->config == config)
        return;
    if (e->config && !asks_the_same(e->config, config)) { /* what failed may work now */
        e->retry_at = 0;
        e->failures = 0;
    }
    gw_tenant_config_unref(e->config);
    e->config = gw_tenant_config_ref(config);
}

static bool is_current(const struct gw_ocsp_entry *e, int64_t now)
{
    return now < gw_ocsp_entry_expires(e);
}

static bool disown(const struct gw_decision *d, struct sp_status *status)
{
    return sp_status_disown(status, d->query.crls, d->facts.issuer, d->query.now);
}

/* Of an answer whose signer is revoked it is asked again soon: he may have a new certificate. */
static void copy_status(struct gw_ocsp_entry *e, const struct gw_decision *d, struct sp_status *ret)
{
    *ret = *e->status;
    ret->holds_until = gw_ocsp_entry_expires(e);
    if (!disown(d, ret))
        return;
    if (ret->holds_until > d->query.now + GW_OCSP_RETRY_MAX_S)
        ret->holds_until = e->status->holds_until = d->query.now + GW_OCSP_RETRY_MAX_S;
}

/* What a look needs of the chain, found once it is wanted: that costs as much as a handshake. */
struct evidence {
    const struct gw_decision *d;
    bool searched;
    uint8_t *issuer; /* DER; NULL: none to be believed */
    size_t issuer_len;
};

static bool find_issuer(struct evidence *ev)
{
    if (!ev->searched)
        ev->issuer = sp_chain_issuer(ev->d->chain, &ev->d->query, &ev->issuer_len);
    ev->searched = true;
    return ev->issuer != NULL;
}

/* A response that came without a question of ours: with the handshake, or from the cache file. */
static bool is_usable(struct evidence *ev, const struct sp_bytes *response, bool stapled,
                      struct sp_status *ret)
{
    const struct gw_ocsp_settings *settings = &ev->d->tenant->config->client_validation.ocsp;
    struct sp_ocsp_query query = {
        .cert = ev->d->chain->certs[0],
        .now = ev->d->query.now,
        .max_age_s = (int64_t)settings->max_age_s,
    };

    if (!response->len || !find_issuer(ev))
        return false;
    query.issuer = (struct sp_bytes){ev->issuer, ev->issuer_len};
    *ret = (struct sp_status){.stapled = stapled};
    sp_ocsp_examine(response, &query, &ret->answer);
    ret->holds_until = ret->answer.expires;
    snprintf(ret->from, sizeof ret->from, "%s", stapled ? "staple" : "cache");
    disown(ev->d, ret);
    return ret->answer.status == SP_OCSP_GOOD || ret->answer.status == SP_OCSP_REVOKED;
}

/* The cache file may have said anything about whose it is. Before the first question. */
static void own_tenant(struct gw_ocsp *ocsp, struct gw_ocsp_entry *e, const char *id)
{
    if (e->cert || !strcmp(e->tenant->id, id))
        return;
    tenant_drop(ocsp, e->tenant);
    e->tenant = tenant_of(ocsp, id);
    e->tenant->entries++;
}

/* An answer from the cache file that nobody has verified yet. */
static struct sp_bytes raw_copy(const struct gw_ocsp_entry *e)
{
    uint8_t *copy;

    if (!e || !e->response || e->status)
        return (struct sp_bytes){NULL, 0};
    copy = sp_calloc(1, e->response_len);
    memcpy(copy, e->response, e->response_len);
    return (struct sp_bytes){copy, e->response_len};
}

/* It did not come true: nobody need look at it again. */
static void drop_raw(struct gw_ocsp *ocsp, const struct gw_decision *d,
                     const struct gw_live_key *key, const struct sp_ocsp_answer *answer)
{
    struct gw_ocsp_entry *e;
    struct sp_log_line line;
    bool may_log;

    pthread_mutex_lock(&ocsp->lock);
    e = sp_hash_get(ocsp->entries, key->bytes, sizeof key->bytes);
    may_log = e && e->response && !e->status;
    if (may_log) {
        free(e->response);
        e->response = NULL;
        e->response_len = 0;
        may_log = gw_ocsp_may_log(ocsp);
    }
    pthread_mutex_unlock(&ocsp->lock);
    if (!may_log || !sp_log_begin(&line, ocsp->options.log, SP_LOG_WARNING, "ocsp"))
        return;
    sp_log_bool(&line, "ok", false);
    sp_log_str(&line, "tenant", d->tenant->id);
    sp_log_str(&line, "responder", "cache");
    sp_log_str(&line, "error", answer->detail);
    sp_log_end(&line);
}

static void take_answer(struct gw_ocsp *ocsp, struct gw_ocsp_entry *e, const struct sp_bytes *der,
                        const struct sp_status *status, int64_t now)
{
    if (!e->status)
        e->status = sp_calloc(1, sizeof *e->status);
    *e->status = *status;
    e->status_since = now;
    gw_ocsp_entry_set_response(e, der->data, der->len);
    tell_main(ocsp, e);
}

static bool take_certificates(struct gw_ocsp_entry *e, struct evidence *ev)
{
    const struct sp_bytes *leaf = &ev->d->chain->certs[0];

    if (e->cert)
        return true;
    if (!find_issuer(ev))
        return false;
    e->cert = sp_calloc(1, leaf->len);
    memcpy(e->cert, leaf->data, leaf->len);
    e->cert_len = leaf->len;
    e->issuer = ev->issuer;
    e->issuer_len = ev->issuer_len;
    ev->issuer = NULL;
    ev->searched = false;
    return true;
}

/* Whom to ask is decided when it is asked; whether there is anybody, here. */
static bool has_responder(const struct gw_decision *d)
{
    char url[SP_OCSP_URL_MAX];

    return d->tenant->config->client_validation.ocsp.responder ||
           sp_ocsp_responder_url(&d->chain->certs[0], url, sizeof url);
}

/* What is to be said while nothing current is known. A certificate that was revoked does not become
 * an unknown one because nobody answers any more. */
static void say_failed(const struct gw_ocsp_entry *e, int64_t holds_until, struct sp_status *ret)
{
    if (e->status && e->status->answer.status == SP_OCSP_REVOKED)
        *ret = *e->status;
    else if (e->failed)
        *ret = *e->failed;
    else
        sp_status_unknown(ret, e->status->from, INT64_MAX, "the last answer is stale");
    ret->holds_until = holds_until;
}

/* The clock may have been set back since. */
static bool is_too_soon(const struct gw_ocsp_entry *e, int64_t now)
{
    return e->failed && now < e->retry_at && e->retry_at - now <= GW_OCSP_RETRY_MAX_S;
}

/* Under the lock: the entry has no status that counts now. */
static enum gw_ocsp_reply ask(struct gw_ocsp *ocsp, struct gw_ocsp_entry *e, int64_t now,
                              bool may_wait, struct sp_status *ret)
{
    if (!e->asking && is_too_soon(e, now)) {
        say_failed(e, e->retry_at, ret);
        return GW_OCSP_KNOWN;
    }
    if (!e->asking) {
        e->asking = e->wants_ask = true;
        e->asked_ms = sp_loop_clock_us() / 1000;
        tell_main(ocsp, e);
    }
    if (may_wait || (!e->status && !e->failed))
        return GW_OCSP_LATER;
    say_failed(e, INT64_MAX, ret); /* until the answer */
    return GW_OCSP_KNOWN;
}

/* Under the lock: nothing current was there when it was looked the first time. `offered`: another
 * answer that is good; len 0: none. */
static enum gw_ocsp_reply look_again(struct gw_ocsp *ocsp, struct evidence *ev, bool may_wait,
                                     const struct sp_bytes *offered, const struct gw_live_key *key,
                                     struct sp_status *ret)
{
    const struct gw_decision *d = ev->d;
    int64_t now = d->query.now;
    struct gw_ocsp_entry *e = sp_hash_get(ocsp->entries, key->bytes, sizeof key->bytes);

    if (!e && !offered->len && !find_issuer(ev)) {
        sp_status_unknown(ret, NULL, INT64_MAX, "its issuer is not one that can be believed");
        return GW_OCSP_KNOWN;
    }
    if (!e && !offered->len && !has_responder(d)) {
        sp_status_unknown(ret, NULL, INT64_MAX, GW_OCSP_NOBODY);
        return GW_OCSP_KNOWN;
    }
    if (!e)
        e = gw_ocsp_entry_new(ocsp, key, d->tenant->id);
    if (!e) {
        sp_status_unknown(ret, NULL, now + 10, "too many certificates are being asked about");
        return GW_OCSP_KNOWN;
    }
    note_use(e, d->tenant->config);
    if (is_current(e, now)) { /* it came meanwhile */
        copy_status(e, d, ret);
        return GW_OCSP_KNOWN;
    }
    if (!take_certificates(e, ev)) {
        sp_status_unknown(ret, NULL, INT64_MAX, "its issuer is not one that can be believed");
        return GW_OCSP_KNOWN;
    }
    if (offered->len && !gw_ocsp_entry_outdates(e, &ret->answer)) {
        take_answer(ocsp, e, offered, ret, now);
        return GW_OCSP_KNOWN;
    }
    return ask(ocsp, e, now, may_wait, ret);
}

enum gw_ocsp_reply gw_ocsp_look(struct gw_ocsp *ocsp, const struct gw_decision *d,
                                const struct sp_bytes *staple, bool may_wait,
                                struct gw_live_key *ret_key, struct sp_status *ret_status)
{
    struct evidence ev = {.d = d};
    struct sp_bytes raw, offered = {NULL, 0};
    struct gw_ocsp_entry *e;
    enum gw_ocsp_reply reply;
    bool is_prepared;

    gw_live_key_of(d->tenant->id, d->facts.fingerprint, ret_key);
    pthread_mutex_lock(&ocsp->lock);
    e = sp_hash_get(ocsp->entries, ret_key->bytes, sizeof ret_key->bytes);
    if (e)
        note_use(e, d->tenant->config);
    if (e && is_current(e, d->query.now)) {
        copy_status(e, d, ret_status);
        pthread_mutex_unlock(&ocsp->lock);
        return GW_OCSP_KNOWN;
    }
    raw = raw_copy(e);
    if (e)
        own_tenant(ocsp, e, d->tenant->id);
    is_prepared = e && e->cert;
    pthread_mutex_unlock(&ocsp->lock);
    if (is_usable(&ev, staple, true, ret_status))
        offered = *staple;
    else if (is_usable(&ev, &raw, false, ret_status))
        offered = raw;
    else if (raw.len && ev.issuer)
        drop_raw(ocsp, d, ret_key, &ret_status->answer);
    if (!is_prepared) /* costly, so not under the lock */
        find_issuer(&ev);
    pthread_mutex_lock(&ocsp->lock);
    reply = look_again(ocsp, &ev, may_wait, &offered, ret_key, ret_status);
    pthread_mutex_unlock(&ocsp->lock);
    free((void *)(uintptr_t)raw.data);
    free(ev.issuer);
    return reply;
}
