#include "common/tls_chain.h"

#include "common/tls_path.h"
#include "common/tls_trust.h"
#include "common/tls_upper.h"
#include "common/tls_x509.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <string.h>

/* The search for a path is bounded in steps and in paths judged: certificates that all name each
 * other must not buy their sender our time. */
#define SEARCH_STEPS 32
#define SEARCH_PATHS 4

struct search {
    const struct sp_chain_query *query;
    struct sp_tls_sent sent;
    const struct sp_tls_findings *leaf; /* what is wrong with the leaf on any path */
    struct sp_tls_path path;
    struct sp_tls_path dead_end; /* the first walk that ended without an anchor; count 0: none */
    struct sp_tls_findings best;
    struct sp_tls_path best_path;
    gnutls_x509_crt_t best_issuer; /* the leaf's on the best path; NULL: not one to be believed */
    unsigned judged, steps;
};

/* What makes it doubtful whether the leaf's issuer is who it seems to be. */
#define ISSUER_IN_DOUBT                                                                            \
    (SP_REASON_BIT(SP_REASON_UNTRUSTED_ISSUER) | SP_REASON_BIT(SP_REASON_MISSING_INTERMEDIATE) |   \
     SP_REASON_BIT(SP_REASON_BAD_SIGNATURE) | SP_REASON_BIT(SP_REASON_CONSTRAINT_VIOLATION))

static gnutls_x509_crt_t issuer_on(const struct sp_tls_path *path, const struct sp_tls_findings *f)
{
    if (!path->anchor || path->anchor_is_leaf || (f->observed & ISSUER_IN_DOUBT))
        return NULL;
    return path->count > 1 ? path->crts[1] : path->anchor;
}

static void judge(struct search *s, const struct sp_tls_path *path)
{
    struct sp_tls_findings f = *s->leaf;

    sp_tls_path_judge(path, &s->sent, s->query, &f);
    if (s->judged++ == 0 || sp_tls_findings_better(&f, &s->best)) {
        s->best = f;
        s->best_path = *path;
        s->best_issuer = issuer_on(path, &f);
    }
}

static bool is_finished(const struct search *s)
{
    return s->steps >= SEARCH_STEPS || s->judged >= SEARCH_PATHS ||
           (s->judged && s->best.observed == s->leaf->observed);
}

/* The index-th trusted CA that has this name; NULL: no more. */
static gnutls_x509_crt_t trusted_named(const struct search *s, gnutls_x509_crt_t crt,
                                       bool its_issuer, unsigned index)
{
    gnutls_datum_t dn = {NULL, 0};
    gnutls_x509_crt_t found = NULL;
    int rc = its_issuer ? gnutls_x509_crt_get_raw_issuer_dn(crt, &dn)
                        : gnutls_x509_crt_get_raw_dn(crt, &dn);

    if (rc < 0)
        return NULL;
    found = sp_tls_trust_named(s->query->trust, dn.data, dn.size, index);
    gnutls_free(dn.data);
    return found;
}

static gnutls_x509_crt_t trusted_copy(const struct search *s, gnutls_x509_crt_t crt)
{
    gnutls_x509_crt_t ca;

    if (!s->query->trust)
        return NULL;
    for (unsigned i = 0; (ca = trusted_named(s, crt, false, i)) != NULL; i++)
        if (gnutls_x509_crt_equals(crt, ca))
            return ca;
    return NULL;
}

/* Ends the walk at each trusted CA that may have issued its last certificate. */
static void try_anchors(struct search *s)
{
    gnutls_x509_crt_t last = s->path.crts[s->path.count - 1];
    gnutls_x509_crt_t ca;

    if (!s->query->trust)
        return;
    for (unsigned i = 0; !is_finished(s) && (ca = trusted_named(s, last, true, i)) != NULL; i++) {
        if (!sp_tls_x509_is_issued_by(last, ca)) /* another key, by the key identifiers */
            continue;
        s->path.anchor = ca;
        judge(s, &s->path);
    }
    s->path.anchor = NULL;
}

static bool is_on_path(const struct sp_tls_path *path, gnutls_x509_crt_t crt)
{
    for (unsigned i = 0; i < path->count; i++)
        if (path->crts[i] == crt) /* nothing that was sent is there twice */
            return true;
    return false;
}

/* Every way up from the walk's last certificate, those to a trusted CA first. A sent copy of a
 * trusted CA is passed over: the trusted one itself was tried. */
static void search_up(struct search *s)
{
    gnutls_x509_crt_t last = s->path.crts[s->path.count - 1];
    unsigned before = s->judged;
    bool went_on = false;
    bool at_end;

    s->steps++;
    try_anchors(s);
    /* A leaf that copies somebody's name must not climb his chain; a CA certified by its former key
     * of the same name is no such case, hence the look at the signature. */
    at_end = !is_finished(s) && sp_tls_path_is_self_signed(last);
    for (unsigned i = 0; i < s->sent.count && !is_finished(s) && !at_end; i++) {
        gnutls_x509_crt_t next = s->sent.crts[i];

        /* the cheapest question first: unequal names are costly to compare in GnuTLS */
        if (s->path.count == SP_CHAIN_MAX_CERTS || is_on_path(&s->path, next) ||
            !sp_tls_x509_is_issued_by(last, next) || trusted_copy(s, next))
            continue;
        went_on = true;
        s->path.crts[s->path.count++] = next;
        search_up(s);
        s->path.count--;
    }
    if (!went_on && s->judged == before && s->dead_end.count == 0)
        s->dead_end = s->path;
}

static void examine_paths(struct search *s)
{
    gnutls_x509_crt_t leaf = s->sent.crts[0];

    s->path.crts[0] = leaf;
    s->path.count = 1;
    s->path.anchor = trusted_copy(s, leaf);
    if (s->path.anchor) { /* a CA that presents itself */
        s->path.anchor_is_leaf = true;
        judge(s, &s->path);
        return;
    }
    search_up(s);
    if (s->judged)
        return;
    if (s->dead_end.count == 0) /* the search ran out of steps before it got anywhere */
        s->dead_end = s->path;
    judge(s, &s->dead_end);
}

/* --- the leaf --- */

static void judge_purpose(gnutls_x509_crt_t leaf, const struct sp_chain_query *query,
                          struct sp_tls_findings *f)
{
    bool client = query->purpose == SP_PURPOSE_CLIENT;
    const char *wanted = client ? "clientAuth" : "serverAuth";
    char has[200];
    unsigned usage, critical;

    switch (sp_tls_x509_eku(leaf, client ? GNUTLS_KP_TLS_WWW_CLIENT : GNUTLS_KP_TLS_WWW_SERVER, has,
                            sizeof has)) {
    case SP_TLS_EKU_FITS:
        break;
    case SP_TLS_EKU_LACKS:
        sp_tls_findings_add(f, SP_REASON_WRONG_PURPOSE, "extended key usage is %s, %s is wanted",
                            has, wanted);
        break;
    case SP_TLS_EKU_ABSENT:
        if (query->require_eku)
            sp_tls_findings_add(f, SP_REASON_WRONG_PURPOSE,
                                "there is no extended key usage, %s is wanted", wanted);
        break;
    }
    /* RFC 8446 4.4.2.2: who signs the handshake needs this bit where the extension is there */
    if (gnutls_x509_crt_get_key_usage(leaf, &usage, &critical) >= 0 &&
        !(usage & GNUTLS_KEY_DIGITAL_SIGNATURE))
        sp_tls_findings_add(f, SP_REASON_WRONG_PURPOSE,
                            "key usage does not have digitalSignature, which TLS wants");
}

static void judge_leaf(gnutls_x509_crt_t leaf, const struct sp_chain_query *query,
                       struct sp_tls_findings *f)
{
    char names[256];

    judge_purpose(leaf, query, f);
    if (sp_tls_x509_has_nul(leaf))
        sp_tls_findings_add(f, SP_REASON_CONSTRAINT_VIOLATION,
                            "a name in it has a NUL byte inside");
    if (!query->name || sp_tls_x509_name_fits(leaf, query->name))
        return;
    if (sp_tls_x509_names(leaf, names, sizeof names)[0])
        sp_tls_findings_add(f, SP_REASON_NAME_MISMATCH,
                            "the certificate is for '%s', '%.200s' is wanted", names, query->name);
    else
        sp_tls_findings_add(f, SP_REASON_NAME_MISMATCH,
                            "the certificate names no server (a common name does not count), "
                            "'%.200s' is wanted",
                            query->name);
}

static gnutls_x509_crt_t parse(const struct sp_bytes *der, int *ret_rc)
{
    gnutls_datum_t datum = {.size = (unsigned)der->len};
    gnutls_x509_crt_t crt;

    /* GnuTLS reads through a pointer that is not const. */
    memcpy(&datum.data, &der->data, sizeof datum.data);
    SP_REQUIRE(gnutls_x509_crt_init(&crt) == 0);
    *ret_rc = gnutls_x509_crt_import(crt, &datum, GNUTLS_X509_FMT_DER);
    if (*ret_rc >= 0)
        return crt;
    gnutls_x509_crt_deinit(crt);
    return NULL;
}

/* The text of a CA's name, which may be known: to make it costs as much as a system call. */
static void name_ca(gnutls_x509_crt_t crt, bool its_issuer, const struct sp_tls_uppers *uppers,
                    char *name, size_t room)
{
    gnutls_datum_t dn = {NULL, 0};
    bool is_known;

    if (uppers)
        (void)(its_issuer ? gnutls_x509_crt_get_raw_issuer_dn : gnutls_x509_crt_get_raw_dn)(crt,
                                                                                            &dn);
    is_known = dn.data && sp_tls_upper_name(uppers, dn.data, dn.size, name, room);
    gnutls_free(dn.data);
    if (!is_known)
        (its_issuer ? sp_tls_x509_issuer : sp_tls_x509_subject)(crt, name, room);
}

static void identify(const struct sp_bytes *der, gnutls_x509_crt_t leaf,
                     const struct sp_tls_uppers *uppers, struct sp_facts *facts)
{
    facts->has_certificate = true;
    sp_tls_x509_fingerprint(der->data, der->len, facts->fingerprint);
    if (!leaf)
        return;
    sp_tls_x509_subject(leaf, facts->subject, sizeof facts->subject);
    name_ca(leaf, true, uppers, facts->issuer, sizeof facts->issuer);
    sp_tls_x509_serial(leaf, facts->serial, sizeof facts->serial);
}

/* --- the whole --- */

/* Adds what is too large. True: too large to be looked at further. */
static bool is_too_large(const struct sp_chain *chain, const struct sp_chain_query *query,
                         struct sp_tls_findings *f)
{
    unsigned most = query->max_chain ? query->max_chain : SP_CHAIN_MAX_CERTS;
    size_t bytes = 0;

    for (size_t i = 0; i < chain->count && i <= SP_CHAIN_MAX_CERTS; i++)
        bytes += chain->certs[i].len;
    if (chain->count > SP_CHAIN_MAX_CERTS)
        sp_tls_findings_add(f, SP_REASON_CHAIN_TOO_LARGE,
                            "more than %d certificates were presented", SP_CHAIN_MAX_CERTS);
    else if (bytes > SP_CHAIN_MAX_BYTES)
        sp_tls_findings_add(f, SP_REASON_CHAIN_TOO_LARGE,
                            "the certificates presented have %zu bytes, %d are the most", bytes,
                            SP_CHAIN_MAX_BYTES);
    else if (chain->count > most)
        sp_tls_findings_add(f, SP_REASON_CHAIN_TOO_LARGE,
                            "%zu certificates were presented, %u are the most", chain->count, most);
    return chain->count > SP_CHAIN_MAX_CERTS || bytes > SP_CHAIN_MAX_BYTES;
}

/* What was sent, parsed. */
struct parsed {
    struct sp_tls_sent sent;
    const struct sp_bytes *der[SP_CHAIN_MAX_CERTS]; /* each one's */
    bool is_borrowed[SP_CHAIN_MAX_CERTS];           /* from the uppers */
};

/* Of all that is above the leaf. */
static void keep_names(const struct sp_tls_path *path, struct sp_tls_uppers *uppers)
{
    char text[SP_DN_MAX];

    for (unsigned i = 1; i < path->count + (path->anchor != NULL); i++) {
        gnutls_x509_crt_t crt = i < path->count ? path->crts[i] : path->anchor;
        gnutls_datum_t dn = {NULL, 0};

        if (gnutls_x509_crt_get_raw_dn(crt, &dn) >= 0 &&
            !sp_tls_upper_name(uppers, dn.data, dn.size, text, sizeof text))
            sp_tls_upper_keep_name(uppers, dn.data, dn.size,
                                   sp_tls_x509_subject(crt, text, sizeof text));
        gnutls_free(dn.data);
    }
}

/* good: the path on which it holds, whose issuers are worth keeping; NULL: there is none. */
static void release(struct parsed *parsed, const struct sp_tls_path *good,
                    struct sp_tls_uppers *uppers)
{
    for (unsigned i = 0; i < parsed->sent.count; i++) {
        gnutls_x509_crt_t crt = parsed->sent.crts[i];

        if (parsed->is_borrowed[i])
            continue;
        if (good && uppers && i > 0 && is_on_path(good, crt))
            sp_tls_upper_keep_parsed(uppers, crt, parsed->der[i]->data, parsed->der[i]->len);
        else
            gnutls_x509_crt_deinit(crt);
    }
}

static bool was_sent_before(const struct sp_chain *chain, size_t index)
{
    const struct sp_bytes *this = &chain->certs[index];

    for (size_t i = 0; i < index; i++)
        if (chain->certs[i].len == this->len &&
            (!this->len || memcmp(chain->certs[i].data, this->data, this->len) == 0))
            return true;
    return false;
}

/* Parses all, each once; what cannot be parsed is a finding and is left out. Returns the leaf, or
 * NULL. */
static gnutls_x509_crt_t parse_all(const struct sp_chain *chain, struct sp_tls_uppers *uppers,
                                   struct parsed *ret_parsed, struct sp_tls_findings *f)
{
    struct sp_tls_sent *sent = &ret_parsed->sent;
    gnutls_x509_crt_t leaf = NULL;

    for (size_t i = 0; i < chain->count; i++) {
        const struct sp_bytes *der = &chain->certs[i];
        gnutls_x509_crt_t crt;
        int rc = 0;

        if (was_sent_before(chain, i))
            continue;
        crt = uppers && i > 0 ? sp_tls_upper_parsed(uppers, der->data, der->len) : NULL;
        ret_parsed->is_borrowed[sent->count] = crt != NULL;
        ret_parsed->der[sent->count] = der;
        if (!crt)
            crt = parse(der, &rc);
        if (!crt) {
            sp_tls_findings_add(f, SP_REASON_BAD_SIGNATURE,
                                "certificate %zu of %zu cannot be parsed: %s", i + 1, chain->count,
                                gnutls_strerror(rc));
            continue;
        }
        sent->crts[sent->count++] = crt;
        if (i == 0)
            leaf = crt;
    }
    return leaf;
}

static void examine_parsed(struct search *ret_search, const struct sp_tls_sent *sent,
                           const struct sp_chain_query *query, struct sp_tls_findings *f)
{
    *ret_search = (struct search){.query = query, .sent = *sent, .leaf = f};
    judge_leaf(sent->crts[0], query, f);
    examine_paths(ret_search);
    *f = ret_search->best;
}

static void name_of(const struct sp_tls_path *path, unsigned i, const struct sp_tls_uppers *uppers,
                    const struct sp_facts *facts, char *name, size_t room)
{
    if (i == 0 && strlen(facts->subject) < room)
        memcpy(name, facts->subject, strlen(facts->subject) + 1);
    else
        name_ca(i < path->count ? path->crts[i] : path->anchor, false, uppers, name, room);
}

/* Each name gets its share of the room, so that the last one, the trusted CA, is always there. */
static void name_path(const struct search *s, struct sp_facts *facts)
{
    const struct sp_tls_path *path = &s->best_path;
    unsigned count = path->count + (path->anchor && !path->anchor_is_leaf);
    size_t share = sizeof facts->path / count, used = 0;
    char name[200];

    for (unsigned i = 0; i < count; i++) {
        char *at = facts->path + used;

        name_of(path, i, s->query->uppers, facts, name, share < sizeof name ? share : sizeof name);
        for (char *c = name; (c = strchr(c, SP_PATH_STEP[0])) != NULL;)
            *c = '?';
        used += (size_t)snprintf(at, sizeof facts->path - used, "%s%s", i ? SP_PATH_STEP : "",
                                 name[0] ? name : "-");
    }
    facts->path_is_trusted = path->anchor != NULL;
    facts->paths_tried = s->judged;
}

/* For the log: who it is, not what it is worth. */
static void identify_only(const struct sp_bytes *der, struct sp_facts *facts)
{
    int rc;
    gnutls_x509_crt_t leaf = der->len <= SP_CHAIN_MAX_BYTES ? parse(der, &rc) : NULL;

    identify(der, leaf, NULL, facts);
    gnutls_x509_crt_deinit(leaf); /* NULL is none */
}

static void examine_all(const struct sp_chain *chain, const struct sp_chain_query *query,
                        struct sp_tls_findings *f, struct sp_facts *facts)
{
    struct parsed parsed = {.sent.count = 0};
    gnutls_x509_crt_t leaf = parse_all(chain, query->uppers, &parsed, f);
    struct search s;

    identify(&chain->certs[0], leaf, query->uppers, facts);
    if (leaf) {
        examine_parsed(&s, &parsed.sent, query, f);
        name_path(&s, facts);
        /* The first path tried was good. The walk to it does not depend on the time, so it will be
         * the first and good for as long as it is valid; one found later might then come second. */
        facts->steady = s.judged == 1 && f->observed == 0;
    } else {
        sp_tls_path_judge_pins(NULL, query, f);
    }
    if (facts->steady && query->uppers)
        keep_names(&s.best_path, query->uppers);
    release(&parsed, facts->steady ? &s.best_path : NULL, query->uppers);
}

void sp_chain_examine(const struct sp_chain *chain, const struct sp_chain_query *query,
                      struct sp_facts *ret_facts)
{
    struct sp_tls_findings f;

    *ret_facts = (struct sp_facts){.chain_len = (unsigned)chain->count};
    sp_tls_findings_init(&f);
    if (chain->count == 0) {
        sp_tls_findings_add(&f, SP_REASON_NO_CERTIFICATE, "no certificate was presented");
        sp_tls_path_judge_pins(NULL, query, &f);
    } else if (is_too_large(chain, query, &f)) {
        identify_only(&chain->certs[0], ret_facts);
        sp_tls_path_judge_pins(NULL, query, &f);
    } else {
        examine_all(chain, query, &f, ret_facts);
    }
    ret_facts->observed = f.observed;
    ret_facts->crl = f.crl;
    memcpy(ret_facts->detail, f.detail, sizeof f.detail);
    ret_facts->all_times_off = f.all_times_off;
    ret_facts->not_before = f.not_before == INT64_MIN ? 0 : f.not_before;
    ret_facts->not_after = f.not_after == INT64_MAX ? 0 : f.not_after;
    ret_facts->holds_until = f.lists_until;
    if (query->now <= f.not_after && f.not_after < ret_facts->holds_until)
        ret_facts->holds_until = f.not_after + 1;
}

static uint8_t *der_of(gnutls_x509_crt_t crt, size_t *ret_len)
{
    gnutls_datum_t der;
    uint8_t *copy;

    if (gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_DER, &der) < 0)
        return NULL;
    copy = sp_calloc(1, der.size);
    memcpy(copy, der.data, der.size);
    *ret_len = der.size;
    gnutls_free(der.data);
    return copy;
}

uint8_t *sp_chain_issuer(const struct sp_chain *chain, const struct sp_chain_query *query,
                         size_t *ret_len)
{
    struct parsed parsed = {.sent.count = 0};
    struct search s = {.best_issuer = NULL};
    struct sp_tls_findings f;
    uint8_t *der = NULL;

    sp_tls_findings_init(&f);
    if (chain->count == 0 || is_too_large(chain, query, &f))
        return NULL;
    if (parse_all(chain, query->uppers, &parsed, &f))
        examine_parsed(&s, &parsed.sent, query, &f);
    if (s.best_issuer)
        der = der_of(s.best_issuer, ret_len);
    release(&parsed, NULL, NULL);
    return der;
}
