#include "common/tls_ocsp.h"

#include "common/clock.h"
#include "common/tls_der.h"
#include "common/tls_ocsp_parse.h"
#include "common/tls_ocsp_signer.h"
#include "common/tls_x509.h"

#include <gnutls/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SKEW_S     300 /* that the clocks of honest machines may differ by */
#define DIGEST_MAX 32

#define OID_SHA1   SP_TLS_OID("\x2b\x0e\x03\x02\x1a")
#define OID_SHA256 SP_TLS_OID("\x60\x86\x48\x01\x65\x03\x04\x02\x01")
#define HASH_KINDS 2

/* What an entry about the certificate must have. */
struct wanted {
    struct sp_tls_der serial;
    uint8_t name[HASH_KINDS][DIGEST_MAX], key[HASH_KINDS][DIGEST_MAX];
};

static const gnutls_digest_algorithm_t hash_kinds[HASH_KINDS] = {GNUTLS_DIG_SHA1,
                                                                 GNUTLS_DIG_SHA256};

static void __attribute__((format(printf, 3, 4)))
say(struct sp_ocsp_answer *a, enum sp_ocsp_status status, const char *fmt, ...)
{
    va_list args;

    a->status = status;
    va_start(args, fmt);
    vsnprintf(a->detail, sizeof a->detail, fmt, args);
    va_end(args);
}

static void say_status(struct sp_ocsp_answer *a, unsigned status)
{
    static const char *const names[] = {
        [1] = "malformedRequest", [2] = "internalError", [3] = "tryLater",
        [5] = "sigRequired",      [6] = "unauthorized",
    };

    if (status < sizeof names / sizeof names[0] && names[status])
        say(a, SP_OCSP_INVALID, "the responder says %s", names[status]);
    else
        say(a, SP_OCSP_INVALID, "the responder says %u, which means nothing", status);
}

/* ---- which entry ---- */

static void want(const struct sp_tls_outline *cert, const struct sp_tls_outline *issuer,
                 struct wanted *ret)
{
    ret->serial = cert->serial;
    for (int i = 0; i < HASH_KINDS; i++) {
        SP_REQUIRE(gnutls_hash_fast(hash_kinds[i], cert->issuer.at, sp_tls_der_len(&cert->issuer),
                                    ret->name[i]) == 0);
        SP_REQUIRE(gnutls_hash_fast(hash_kinds[i], issuer->key.at, sp_tls_der_len(&issuer->key),
                                    ret->key[i]) == 0);
    }
}

static bool has_digest(const struct sp_tls_der *found, int kind, const uint8_t *digest)
{
    size_t len = gnutls_hash_get_len(hash_kinds[kind]);

    return sp_tls_der_len(found) == len && memcmp(found->at, digest, len) == 0;
}

static bool is_about(const struct sp_ocsp_single *one, const struct wanted *w)
{
    int kind = sp_tls_der_equal(&one->hash_oid, &OID_SHA1)     ? 0
               : sp_tls_der_equal(&one->hash_oid, &OID_SHA256) ? 1
                                                               : -1;

    return kind >= 0 && sp_tls_der_equal(&one->serial, &w->serial) &&
           has_digest(&one->name_hash, kind, w->name[kind]) &&
           has_digest(&one->key_hash, kind, w->key[kind]);
}

/* Which of two entries about the certificate speaks: revoked is never outvoted; then the newest; of
 * the same age the one that does not say good. */
static bool is_better(const struct sp_ocsp_single *a, const struct sp_ocsp_single *b)
{
    bool a_revoked = a->said == SP_OCSP_SAID_REVOKED, b_revoked = b->said == SP_OCSP_SAID_REVOKED;

    if (a_revoked != b_revoked)
        return a_revoked;
    if (a->this_update != b->this_update)
        return a->this_update > b->this_update;
    return a->said == SP_OCSP_SAID_UNKNOWN;
}

static const char *serial_text(const struct sp_tls_der *serial, char buf[SP_OCSP_SERIAL_TEXT])
{
    size_t len = sp_tls_der_len(serial), used = 0;

    buf[0] = '\0';
    for (size_t i = 0; i < len && used + 2 < SP_OCSP_SERIAL_TEXT; i++)
        if (i || len == 1 || serial->at[i]) /* 00 that stands for the sign only */
            used += (size_t)snprintf(buf + used, SP_OCSP_SERIAL_TEXT - used, "%02x", serial->at[i]);
    return buf;
}

static bool find(const struct sp_ocsp_basic *basic, const struct wanted *w,
                 struct sp_ocsp_single *ret, struct sp_ocsp_answer *a)
{
    struct sp_tls_der entries = basic->entries;
    struct sp_ocsp_single one, other;
    char text[SP_OCSP_SERIAL_TEXT];
    bool found = false, any = false;

    while (sp_tls_der_len(&entries) && sp_ocsp_parse_single(&entries, &one)) {
        if (!any || sp_tls_der_equal(&one.serial, &w->serial))
            other = one; /* the most telling one, should none fit */
        any = true;
        if (!is_about(&one, w) || (found && !is_better(&one, ret)))
            continue;
        *ret = one;
        found = true;
    }
    if (found)
        return true;
    if (!any)
        say(a, SP_OCSP_INVALID, "it has no entry");
    else if (!sp_tls_der_equal(&other.serial, &w->serial))
        say(a, SP_OCSP_INVALID, "it is about another certificate (serial %s)",
            serial_text(&other.serial, text));
    else if (!sp_tls_der_equal(&other.hash_oid, &OID_SHA1) &&
             !sp_tls_der_equal(&other.hash_oid, &OID_SHA256))
        say(a, SP_OCSP_INVALID, "it names its issuer by a hash other than SHA-1 and SHA-256");
    else
        say(a, SP_OCSP_INVALID,
            "it is about the certificate with this serial of another issuer (%s)",
            serial_text(&other.serial, text));
    return false;
}

/* ---- whether it counts now ---- */

static int64_t add(int64_t a, int64_t b)
{
    int64_t sum;

    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

/* Bad news that does not count is still worth a word. */
static const char *yet_revoked(const struct sp_ocsp_single *one)
{
    return one->said == SP_OCSP_SAID_REVOKED ? "; it said revoked" : "";
}

static void not_now(struct sp_ocsp_answer *a, const struct sp_ocsp_single *one, const char *what,
                    int64_t span, int64_t moment)
{
    char text[SP_TIME_LEN], at[SP_TIME_LEN];

    say(a, SP_OCSP_INVALID, "%s %s (%s)%s", what, sp_time_span(span, text),
        sp_time_format(moment, at), yet_revoked(one));
}

static bool is_fresh(const struct sp_ocsp_query *q, const struct sp_ocsp_single *one,
                     struct sp_ocsp_answer *a)
{
    int64_t newest = a->this_update > a->produced_at ? a->this_update : a->produced_at;

    if (!one->next_update && !q->max_age_s) {
        say(a, SP_OCSP_INVALID, "it does not say when it ends (no nextUpdate)%s", yet_revoked(one));
        return false;
    }
    if (one->next_update && one->next_update < one->this_update) {
        say(a, SP_OCSP_INVALID, "it ends before it begins (nextUpdate before thisUpdate)%s",
            yet_revoked(one));
        return false;
    }
    a->expires = one->next_update ? one->next_update : INT64_MAX;
    if (q->max_age_s && add(one->this_update, q->max_age_s) < a->expires)
        a->expires = add(one->this_update, q->max_age_s);
    if (newest > add(q->now, SKEW_S)) {
        not_now(a, one, "it is from the future, by", newest - q->now, newest);
        return false;
    }
    if (q->now >= a->expires) {
        not_now(a, one, "stale since", q->now - a->expires, a->expires);
        return false;
    }
    return true;
}

static bool is_our_nonce(const struct sp_ocsp_query *q, const struct sp_ocsp_basic *basic,
                         struct sp_ocsp_answer *a)
{
    const char *hint = "(responders that sign in advance cannot: \"nonce\": false)";
    const struct sp_tls_der ours = {q->nonce, q->nonce + q->nonce_len};

    if (!q->nonce_len || (basic->nonce.at && sp_tls_der_equal(&basic->nonce, &ours)))
        return true;
    say(a, SP_OCSP_INVALID, "it %s the nonce that we sent %s",
        basic->nonce.at ? "has another nonce, perhaps replayed: it must repeat" : "must repeat",
        hint);
    return false;
}

static bool is_known(const struct sp_tls_der *critical, const char *whose, struct sp_ocsp_answer *a)
{
    char oid[64];

    if (!critical->at)
        return true;
    sp_tls_der_oid_text(critical, oid, sizeof oid);
    say(a, SP_OCSP_INVALID, "%s has the critical extension %s, which is not known", whose, oid);
    return false;
}

static void conclude(const struct sp_ocsp_single *one, struct sp_ocsp_answer *a)
{
    switch (one->said) {
    case SP_OCSP_SAID_GOOD:
        a->status = SP_OCSP_GOOD;
        break;
    case SP_OCSP_SAID_REVOKED:
        a->status = SP_OCSP_REVOKED;
        a->revoked_at = one->revoked_at;
        a->cause = sp_tls_der_cause_text(one->cause);
        break;
    case SP_OCSP_SAID_UNKNOWN:
        say(a, SP_OCSP_UNKNOWN, "the responder does not know the certificate");
        break;
    }
}

static void judge(const struct sp_ocsp_basic *basic, const struct sp_ocsp_query *q,
                  struct sp_ocsp_answer *a)
{
    struct sp_tls_outline cert, issuer;
    struct sp_ocsp_single one;
    struct wanted w;
    char text[sizeof a->detail - 8];
    const char *why;

    if (!sp_tls_outline_of(&q->cert, &cert) || !sp_tls_outline_of(&q->issuer, &issuer)) {
        say(a, SP_OCSP_INVALID, "the certificate or its issuer's cannot be read");
        return;
    }
    why = sp_ocsp_signer_problem(basic, &issuer, q->now, a->responder, a->delegate, text,
                                 sizeof text);
    if (why) {
        say(a, SP_OCSP_INVALID, "%s", why);
        return;
    }
    if (!is_known(&basic->critical, "it", a) || !is_our_nonce(q, basic, a))
        return;
    want(&cert, &issuer, &w);
    if (!find(basic, &w, &one, a))
        return;
    a->produced_at = basic->produced_at;
    a->this_update = one.this_update;
    a->next_update = one.next_update;
    if (is_known(&one.critical, "its entry", a) && is_fresh(q, &one, a))
        conclude(&one, a);
}

void sp_ocsp_examine(const struct sp_bytes *response, const struct sp_ocsp_query *query,
                     struct sp_ocsp_answer *ret_answer)
{
    struct sp_ocsp_basic basic;
    const char *broken;

    SP_REQUIRE(query->max_age_s >= 0);
    memset(ret_answer, 0, sizeof *ret_answer);
    ret_answer->cause = "";
    sp_tls_x509_fingerprint(response->data, response->len, ret_answer->hash);
    if (response->len > SP_OCSP_RESPONSE_MAX) {
        say(ret_answer, SP_OCSP_INVALID, "it has %zu bytes; %d are the most", response->len,
            SP_OCSP_RESPONSE_MAX);
        return;
    }
    broken = sp_ocsp_parse(response, &basic);
    if (broken)
        say(ret_answer, SP_OCSP_INVALID, "it is malformed: %s", broken);
    else if (basic.status)
        say_status(ret_answer, basic.status);
    else
        judge(&basic, query, ret_answer);
}
