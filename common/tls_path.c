#include "common/tls_path.h"

#include "common/clock.h"
#include "common/tls_crl.h"
#include "common/tls_kin.h"
#include "common/tls_rules.h"
#include "common/tls_trust.h"
#include "common/tls_upper.h"
#include "common/tls_x509.h"

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DN_TEXT          200
#define SIGNATURE_MAX    4096 /* RSA of 32768 bits */
#define RSA_MODULUS_MAX  1024 /* bytes: 8192 bits */
#define RSA_EXPONENT_MAX 8

/* Times are ours (query->now, not the machine's clock), and so is the strength of algorithms as far
 * as GnuTLS's default is too lenient: without a profile an RSA-1024 leaf would pass. */
#define STRICT (GNUTLS_PROFILE_TO_VFLAGS(GNUTLS_PROFILE_MEDIUM) | GNUTLS_VERIFY_DISABLE_TIME_CHECKS)

/* What is above the leaf, as common/tls_upper.h knows it. */
struct upper {
    gnutls_x509_crt_t crts[SP_CHAIN_MAX_CERTS];
    uint8_t key[SP_TLS_UPPER_KEY];
    bool has_key; /* there is something above, and a place to remember it in */
    bool held;    /* nothing was found against it before, but for times and revocation */
};

void sp_tls_findings_init(struct sp_tls_findings *f)
{
    *f = (struct sp_tls_findings){.detail_of = SP_REASON_COUNT,
                                  .not_before = INT64_MIN,
                                  .not_after = INT64_MAX,
                                  .lists_until = INT64_MAX};
}

void sp_tls_findings_add(struct sp_tls_findings *f, enum sp_reason reason, const char *fmt, ...)
{
    va_list args;

    f->observed |= SP_REASON_BIT(reason);
    if (reason >= f->detail_of)
        return;
    f->detail_of = reason;
    va_start(args, fmt);
    vsnprintf(f->detail, sizeof f->detail, fmt, args);
    va_end(args);
}

bool sp_tls_findings_better(const struct sp_tls_findings *a, const struct sp_tls_findings *b)
{
    sp_reason_set only_one = a->observed ^ b->observed;

    return (b->observed & only_one & (0 - only_one)) != 0; /* the lowest bit is the weightiest */
}

/* The issuer of crts[i] on this path; NULL: not known. */
static gnutls_x509_crt_t issuer_of(const struct sp_tls_path *path, unsigned i)
{
    if (path->anchor_is_leaf)
        return NULL;
    return i + 1 < path->count ? path->crts[i + 1] : path->anchor;
}

/* Keys of strangers are used here too, and RSA's cost is theirs to choose: a public exponent as
 * long as the modulus takes seconds. No honest one is near these limits. */
static bool costs_too_much(gnutls_x509_crt_t issuer)
{
    gnutls_datum_t modulus = {NULL, 0}, exponent = {NULL, 0};
    bool too_much;

    if (gnutls_x509_crt_get_pk_rsa_raw(issuer, &modulus, &exponent) < 0)
        return false; /* not RSA */
    too_much = modulus.size > RSA_MODULUS_MAX + 1 || exponent.size > RSA_EXPONENT_MAX + 1;
    gnutls_free(modulus.data);
    gnutls_free(exponent.data);
    return too_much;
}

/* Verified here by hand: GnuTLS's own functions take a certificate that is given as its own issuer
 * for trusted and never look at the signature, and stop at other faults than a forged one. */
static int verify_signature(const gnutls_datum_t *der, gnutls_x509_crt_t crt,
                            gnutls_x509_crt_t issuer)
{
    char bytes[SIGNATURE_MAX];
    size_t len = sizeof bytes;
    size_t header, ignored;
    gnutls_datum_t tbs, signature = {(unsigned char *)bytes, 0};
    int algorithm = gnutls_x509_crt_get_signature_algorithm(crt);
    gnutls_pubkey_t key;
    int rc = gnutls_x509_crt_get_signature(crt, bytes, &len);

    if (rc < 0 || algorithm <= 0 || costs_too_much(issuer) ||
        !sp_tls_x509_element(der->data, der->size, &header))
        return GNUTLS_E_PK_SIG_VERIFY_FAILED;
    signature.size = (unsigned)len;
    tbs.data = der->data + header;
    tbs.size = (unsigned)sp_tls_x509_element(tbs.data, der->size - header, &ignored);
    rc = gnutls_pubkey_init(&key);
    if (rc < 0)
        return rc;
    rc = gnutls_pubkey_import_x509(key, issuer, 0);
    if (rc >= 0) /* weak ones too: that is another rule's finding */
        rc = gnutls_pubkey_verify_data2(
            key, (gnutls_sign_algorithm_t)algorithm,
            GNUTLS_VERIFY_ALLOW_BROKEN | GNUTLS_VERIFY_ALLOW_SIGN_WITH_SHA1, &tbs, &signature);
    gnutls_pubkey_deinit(key);
    return rc;
}

/* Whether the signature on `crt` fits the key of `issuer`; nothing else is asked. */
static bool is_signed_by(gnutls_x509_crt_t crt, gnutls_x509_crt_t issuer)
{
    gnutls_datum_t der = {NULL, 0};
    int rc = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_DER, &der);

    if (rc >= 0)
        rc = verify_signature(&der, crt, issuer);
    gnutls_free(der.data);
    return rc >= 0;
}

/* By name and by signature: key identifiers are what the certificate says of itself. */
bool sp_tls_path_is_self_signed(gnutls_x509_crt_t crt)
{
    gnutls_datum_t subject = {NULL, 0}, issuer = {NULL, 0};
    bool same = gnutls_x509_crt_get_raw_dn(crt, &subject) >= 0 &&
                gnutls_x509_crt_get_raw_issuer_dn(crt, &issuer) >= 0 &&
                subject.size == issuer.size && memcmp(subject.data, issuer.data, subject.size) == 0;

    gnutls_free(subject.data);
    gnutls_free(issuer.data);
    return same && is_signed_by(crt, crt);
}

static void look_up(const struct sp_tls_path *path, const struct sp_chain_query *query,
                    struct upper *ret_upper)
{
    *ret_upper = (struct upper){.has_key = false};
    if (!query->uppers || !path->anchor || path->count == 1)
        return;
    for (unsigned i = 1; i < path->count; i++)
        ret_upper->crts[i - 1] = path->crts[i];
    ret_upper->crts[path->count - 1] = path->anchor;
    ret_upper->has_key = sp_tls_upper_key(ret_upper->crts, path->count, query, ret_upper->key);
    ret_upper->held = ret_upper->has_key && sp_tls_upper_held(query->uppers, ret_upper->key);
}

/* Signatures and all that goes with them, in one call; 0: nothing to say against it. Purposes are
 * asked by our own rules, the leaf's and each CA's. The anchor is given and not looked for in a
 * list again: that would take 70 us more, and of several trusted CAs of one name GnuTLS tries only
 * one. Nor is it asked whether a certificate of the path is the anchor itself, which tls_chain
 * knows: unequal names are costly to compare in GnuTLS. */
static unsigned verify_signers(const struct sp_tls_path *path, const struct upper *upper)
{
    gnutls_x509_crt_t anchor = upper->held ? upper->crts[0] : path->anchor;
    unsigned flags = path->anchor_is_leaf ? STRICT : STRICT | GNUTLS_VERIFY_DO_NOT_ALLOW_SAME;
    unsigned status = 0;
    int rc = gnutls_x509_crt_list_verify(path->crts, upper->held ? 1 : (int)path->count, &anchor, 1,
                                         NULL, 0, flags, &status);

    return rc < 0 ? GNUTLS_CERT_INVALID : status;
}

/* A signature that does not fit the trusted key: damage or forgery, unless another certificate
 * with the same name did sign, which makes this a stranger that borrowed a trusted CA's name. */
static void judge_anchor_signature(const struct sp_tls_path *path, const struct sp_tls_sent *sent,
                                   struct sp_tls_findings *f)
{
    gnutls_x509_crt_t last = path->crts[path->count - 1];
    char crt_dn[DN_TEXT], anchor_dn[DN_TEXT];
    bool is_stranger = sp_tls_path_is_self_signed(last);

    sp_tls_x509_subject(last, crt_dn, sizeof crt_dn);
    sp_tls_x509_subject(path->anchor, anchor_dn, sizeof anchor_dn);
    for (unsigned i = 0; i < sent->count && !is_stranger; i++)
        is_stranger =
            gnutls_x509_crt_check_issuer(last, sent->crts[i]) && is_signed_by(last, sent->crts[i]);
    if (is_stranger)
        sp_tls_findings_add(f, SP_REASON_UNTRUSTED_ISSUER,
                            "issuer '%s' has the name of a trusted CA, but another key", anchor_dn);
    else
        sp_tls_findings_add(f, SP_REASON_BAD_SIGNATURE,
                            "the signature on '%s' does not fit the key of its issuer '%s'", crt_dn,
                            anchor_dn);
}

static void judge_signatures(const struct sp_tls_path *path, const struct sp_tls_sent *sent,
                             struct sp_tls_findings *f)
{
    char crt_dn[DN_TEXT], issuer_dn[DN_TEXT];

    for (unsigned i = 0; i < path->count; i++) {
        gnutls_x509_crt_t issuer = issuer_of(path, i);

        if (!issuer || is_signed_by(path->crts[i], issuer))
            continue;
        if (issuer == path->anchor) {
            judge_anchor_signature(path, sent, f);
            continue;
        }
        sp_tls_findings_add(f, SP_REASON_BAD_SIGNATURE,
                            "the signature on '%s' does not fit the key of its issuer '%s'",
                            sp_tls_x509_subject(path->crts[i], crt_dn, sizeof crt_dn),
                            sp_tls_x509_subject(issuer, issuer_dn, sizeof issuer_dn));
    }
}

/* What GnuTLS refused and our own rules did not see must still count: nothing it refuses passes. */
static void judge_rest(unsigned status, struct sp_tls_findings *f)
{
#define BIT(reason) SP_REASON_BIT(SP_REASON_##reason)
    static const struct {
        unsigned bits;
        enum sp_reason reason;
        sp_reason_set explained_by;
    } rows[] = {
        {GNUTLS_CERT_SIGNATURE_FAILURE, SP_REASON_BAD_SIGNATURE,
         BIT(BAD_SIGNATURE) | BIT(UNTRUSTED_ISSUER)},
        {GNUTLS_CERT_SIGNER_NOT_FOUND, SP_REASON_UNTRUSTED_ISSUER,
         BIT(BAD_SIGNATURE) | BIT(UNTRUSTED_ISSUER)},
        {GNUTLS_CERT_SIGNER_NOT_CA | GNUTLS_CERT_SIGNER_CONSTRAINTS_FAILURE |
             GNUTLS_CERT_UNKNOWN_CRIT_EXTENSIONS,
         SP_REASON_CONSTRAINT_VIOLATION, BIT(CONSTRAINT_VIOLATION)},
        {GNUTLS_CERT_INSECURE_ALGORITHM, SP_REASON_WEAK_ALGORITHM, BIT(WEAK_ALGORITHM)},
        {GNUTLS_CERT_INVALID, SP_REASON_BAD_SIGNATURE,
         BIT(BAD_SIGNATURE) | BIT(UNTRUSTED_ISSUER) | BIT(CONSTRAINT_VIOLATION) |
             BIT(WEAK_ALGORITHM)},
    };
#undef BIT
    gnutls_datum_t text = {NULL, 0};
    const char *shown = "verification failed";

    if (gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0) >= 0)
        shown = (const char *)text.data;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if ((status & rows[i].bits) && !(f->observed & rows[i].explained_by))
            sp_tls_findings_add(f, rows[i].reason, "%s", shown);
    gnutls_free(text.data);
}

/* A list that cannot be relied on is a finding of its own, with what to do about it. */
static void add_crl_stale(const char *whose, const char *issuer, int64_t now,
                          const struct sp_tls_crl_answer *answer, struct sp_tls_findings *f)
{
    char span[SP_TIME_LEN], when[SP_TIME_LEN];

    if (answer->state == SP_TLS_CRL_STALE)
        sp_tls_findings_add(f, SP_REASON_CRL_STALE,
                            "%sthe CRL in %s is stale since %s (%s): put a newer one of '%s' in "
                            "its place",
                            whose, answer->path, sp_time_format(answer->next_update, when),
                            sp_time_span(now - answer->next_update, span), issuer);
    else if (answer->state == SP_TLS_CRL_EARLY)
        sp_tls_findings_add(f, SP_REASON_CRL_STALE,
                            "%sthe CRL in %s is from the future (%s, in %s): see to the clocks of "
                            "this machine and of '%s'",
                            whose, answer->path, sp_time_format(answer->this_update, when),
                            sp_time_span(answer->this_update - now, span), issuer);
    else if (answer->state == SP_TLS_CRL_UNSIGNED)
        sp_tls_findings_add(f, SP_REASON_CRL_STALE,
                            "%sthe CRL in %s has the name of '%s', who did not sign it: put his "
                            "own in its place",
                            whose, answer->path, issuer);
}

static void judge_listed(const struct sp_tls_path *path, unsigned i, int64_t now,
                         const struct sp_tls_crl_answer *answer, struct sp_tls_findings *f)
{
    int weight = answer->is_revoked ? 3 : answer->state != SP_TLS_CRL_CURRENT ? 2 : 1;
    char dn[DN_TEXT], issuer[DN_TEXT], whose[DN_TEXT + 8] = "", when[SP_TIME_LEN];

    if (i > 0)
        snprintf(whose, sizeof whose, "'%s': ", sp_tls_x509_subject(path->crts[i], dn, sizeof dn));
    sp_tls_x509_issuer(path->crts[i], issuer, sizeof issuer);
    if (answer->is_revoked)
        sp_tls_findings_add(f, SP_REASON_REVOKED, "%srevoked on %s%s%s, says the CRL in %s", whose,
                            sp_time_format(answer->revoked_at, when), answer->cause[0] ? ": " : "",
                            answer->cause, answer->path);
    add_crl_stale(whose, issuer, now, answer, f);
    if (answer->holds_until < f->lists_until)
        f->lists_until = answer->holds_until;
    if (weight < f->crl_weight)
        return;
    f->crl_weight = weight;
    f->crl = (struct sp_revocation){.this_update = answer->this_update,
                                    .next_update = answer->next_update};
    snprintf(f->crl.from, sizeof f->crl.from, "%s", answer->path);
}

/* An issuer without a list is not asked about, unless it may be his list that is not there yet. */
static void judge_unlisted(const struct sp_chain_query *query, struct sp_tls_findings *f)
{
    const char *url, *why;

    if (!sp_tls_crl_set_gap(query->crls, &url, &why))
        return;
    if (why)
        sp_tls_findings_add(f, SP_REASON_CRL_STALE, "the CRL of %s was never fetched%s%s", url,
                            why[0] ? ": " : " yet", why);
    else
        sp_tls_findings_add(f, SP_REASON_CRL_STALE,
                            "the CRL of %s is neither from a trusted CA nor from one that the peer "
                            "sent",
                            url);
}

/* From the trusted CA down: nobody's word counts whose own certificate is not verified. Whatever
 * else is wrong with the path does not keep a revocation from being seen. */
static void judge_revocation(const struct sp_tls_path *path, const struct sp_chain_query *query,
                             bool is_verified, struct sp_tls_findings *f)
{
    struct sp_tls_crl_answer answer;
    bool is_unlisted = false;

    for (unsigned i = path->count; i-- > 0;) {
        gnutls_x509_crt_t issuer = issuer_of(path, i);

        if (!issuer || (!is_verified && !is_signed_by(path->crts[i], issuer)))
            break;
        sp_tls_crl_set_ask(query->crls, path->crts[i], issuer, query->now, &answer);
        if (answer.state != SP_TLS_CRL_NONE)
            judge_listed(path, i, query->now, &answer, f);
        else
            is_unlisted = true;
    }
    if (is_unlisted)
        judge_unlisted(query, f);
}

static void judge_anchored(const struct sp_tls_path *path, const struct upper *upper,
                           const struct sp_tls_sent *sent, const struct sp_chain_query *query,
                           struct sp_tls_findings *f)
{
    unsigned status = verify_signers(path, upper);

    if (query->crls)
        judge_revocation(path, query, status == 0, f);
    if (status == 0)
        return;
    sp_tls_rules_authority(path, f);
    sp_tls_rules_names(path, f);
    judge_signatures(path, sent, f);
    judge_rest(status, f);
}

/* The walk ended without a trusted CA: which of the two reasons it is, and whose name to look for.
 * See common/tls_kin.h for the rule of missing_intermediate. */
static void judge_unanchored(const struct sp_tls_path *path, const struct sp_tls_sent *sent,
                             const struct sp_chain_query *query, struct sp_tls_findings *f)
{
    gnutls_x509_crt_t top = path->crts[path->count - 1];
    const char *whose = query->purpose == SP_PURPOSE_CLIENT ? " of this tenant" : "";
    gnutls_datum_t dn = {NULL, 0};
    char issuer[SP_DN_MAX - 100];
    bool name_is_trusted;

    sp_tls_x509_issuer(top, issuer, sizeof issuer);
    if (gnutls_x509_crt_get_raw_issuer_dn(top, &dn) < 0)
        dn = (gnutls_datum_t){NULL, 0};
    name_is_trusted = dn.data && sp_tls_trust_named(query->trust, dn.data, dn.size, 0);
    gnutls_free(dn.data);
    if (name_is_trusted)
        sp_tls_findings_add(f, SP_REASON_UNTRUSTED_ISSUER,
                            "issuer '%s' has the name of a trusted CA%s, but another key", issuer,
                            whose);
    else if (sp_tls_path_is_self_signed(top))
        sp_tls_findings_add(f, SP_REASON_UNTRUSTED_ISSUER,
                            path->count == 1
                                ? "the certificate is self-signed: '%s' is not a trusted CA%s"
                                : "issuer '%s' (self-signed) is not a trusted CA%s",
                            issuer, whose);
    else if (sp_tls_kin_of_trust(top, query->trust))
        sp_tls_findings_add(f, SP_REASON_MISSING_INTERMEDIATE,
                            "the certificate of '%s' is missing: the peer must send it with its "
                            "own",
                            issuer);
    else if (sp_tls_kin_says_no_root(top))
        sp_tls_findings_add(f, SP_REASON_MISSING_INTERMEDIATE,
                            "the certificate of '%s', which by its name is no root, is missing: "
                            "the peer must send it with its own",
                            issuer);
    else
        sp_tls_findings_add(f, SP_REASON_UNTRUSTED_ISSUER, "issuer '%s' is not a trusted CA%s",
                            issuer, whose);
    sp_tls_rules_authority(path, f);
    sp_tls_rules_names(path, f);
    judge_signatures(path, sent, f);
}

static bool is_pinned(const char *key, const struct sp_chain_query *query)
{
    for (size_t i = 0; i < query->pin_count; i++)
        if (!strcmp(query->pins[i], key))
            return true;
    return false;
}

void sp_tls_path_judge_pins(const struct sp_tls_path *path, const struct sp_chain_query *query,
                            struct sp_tls_findings *f)
{
    /* The leaf's key is proved by the handshake. What is above it counts only where the signatures
     * lead there: else anybody could put a pinned certificate on top of his own. */
    bool is_linked = path && !(f->observed & SP_REASON_BIT(SP_REASON_BAD_SIGNATURE));
    unsigned count = !path ? 0 : is_linked ? path->count : 1;
    char found[4 * (SP_TLS_FINGERPRINT_LEN + 2)] = "", key[SP_TLS_FINGERPRINT_LEN];

    if (!query->pin_count)
        return;
    for (unsigned i = 0; i < count + (is_linked && path->anchor); i++) {
        size_t used = strlen(found);

        sp_tls_x509_key_digest(i < count ? path->crts[i] : path->anchor, key);
        if (is_pinned(key, query))
            return;
        if (key[0] && used + strlen(key) + 3 <= sizeof found)
            snprintf(found + used, sizeof found - used, "%s%s", used ? ", " : "", key);
    }
    sp_tls_findings_add(f, SP_REASON_UNTRUSTED_ISSUER, "no pinned key matches: found %s",
                        found[0] ? found : "none");
}

void sp_tls_path_judge(const struct sp_tls_path *path, const struct sp_tls_sent *sent,
                       const struct sp_chain_query *query, struct sp_tls_findings *f)
{
    struct upper upper;

    look_up(path, query, &upper);
    sp_tls_rules_times(path, query->now, f);
    sp_tls_rules_strength(path, upper.held, query->min_key_bits, f);
    if (!upper.held) {
        sp_tls_rules_constraints(path, f);
        sp_tls_rules_ca_purpose(path, query->purpose, f);
    }
    if (path->anchor)
        judge_anchored(path, &upper, sent, query, f);
    else if (query->trust)
        judge_unanchored(path, sent, query, f);
    sp_tls_path_judge_pins(path, query, f);
    if (upper.has_key && !upper.held && f->observed == 0)
        sp_tls_upper_keep(query->uppers, upper.crts, path->count, upper.key);
}
