#include "common/stapler_impl.h"

#include "common/clock.h"
#include "common/hash.h"
#include "common/loop.h"
#include "common/tls_cred.h"

#include <stdlib.h>
#include <string.h>

/* ---- who is asked ---- */

static const char *choose_url(const struct sp_stapler_entry *e, const struct sp_bytes *cert,
                              char buf[SP_OCSP_URL_MAX])
{
    if (e->stapler->responder)
        return e->stapler->responder;
    return sp_ocsp_responder_url(cert, buf, SP_OCSP_URL_MAX) ? buf : NULL;
}

/* After its holders, or the administrator's responder, may have changed. */
static void choose_responder(struct sp_stapler_entry *e)
{
    char buf[SP_OCSP_URL_MAX];
    struct sp_bytes cert = {NULL, 0}, issuer = {NULL, 0};
    bool has_issuer = sp_stapler_certificates(e, &cert, &issuer), is_own_issuer;
    const char *url = choose_url(e, &cert, buf);

    is_own_issuer =
        has_issuer && issuer.len == cert.len && memcmp(issuer.data, cert.data, cert.len) == 0;
    if (url && !has_issuer)
        sp_stapler_say(
            e, SP_STAPLER_FAILING,
            "its certificate file does not have the certificate of its issuer, without which "
            "nothing can be asked or verified: append it");
    if (!has_issuer || is_own_issuer)
        url = NULL;
    if (url && e->responder && !strcmp(url, e->responder->url))
        return;
    sp_stapler_part(e);
    if (!url)
        return;
    e->responder = sp_stapler_responder_of(e->stapler, url);
    e->failures = 0;
    e->said = SP_STAPLER_NOTHING; /* what becomes of this one is news */
    sp_stapler_ask_at(e, sp_clock_wall_ms());
}

/* ---- who is followed ---- */

static struct sp_stapler_entry *entry_of(struct sp_stapler *s, const char *fingerprint)
{
    struct sp_stapler_entry *e = sp_hash_get(s->by_fingerprint, fingerprint, strlen(fingerprint));

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
    struct sp_stapler_holder *h = sp_hash_get(s->holders, &cred, sizeof(struct sp_tls_cred *));

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

static void holder_free(struct sp_stapler_holder *h)
{
    sp_hash_remove(h->entry->stapler->holders, &h->cred, sizeof(struct sp_tls_cred *));
    sp_tls_cred_set_staple(h->cred, NULL, 0);
    sp_tls_cred_unref(h->cred);
    free(h);
}

static void entry_free(struct sp_stapler_entry *e, const char *fingerprint)
{
    struct sp_stapler *s = e->stapler;

    sp_stapler_part(e);
    sp_heap_remove(&s->ends, &e->end);
    SP_REQUIRE(sp_hash_remove(s->by_fingerprint, fingerprint, strlen(fingerprint)) == e);
    *e->prev = e->next;
    if (e->next)
        e->next->prev = e->prev;
    free(e->response);
    free(e);
}

static void drop_unwanted(struct sp_stapler_entry *e)
{
    SP_AUTO_FREE char *fingerprint = sp_strdup(sp_tls_cred_fingerprint(e->holders->cred));
    struct sp_stapler_holder **at = &e->holders, *h;

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
    struct sp_stapler_entry *e, *next;
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
    sp_stapler_tick(stapler);
}

struct sp_stapler *sp_stapler_new(const struct sp_stapler_options *options)
{
    struct sp_stapler *s = sp_calloc(1, sizeof *s);

    s->options = *options;
    s->holders = sp_hash_new();
    s->by_fingerprint = sp_hash_new();
    s->tick = sp_timer_new(options->loop, sp_stapler_tick, s);
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
