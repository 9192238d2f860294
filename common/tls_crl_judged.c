#include "common/tls_crl_judged.h"

#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/tls_trust.h"

/* ---- signatures ---- */

/* Where there is a key usage at all, cRLSign must be in it (RFC 5280 6.3.3 f). */
static bool may_sign_crls(gnutls_x509_crt_t issuer)
{
    unsigned usage, critical;

    return gnutls_x509_crt_get_key_usage(issuer, &usage, &critical) < 0 ||
           (usage & GNUTLS_KEY_CRL_SIGN);
}

bool sp_tls_crl_judged_is_by(const struct sp_tls_crl *crl, struct gnutls_x509_crt_int *issuer)
{
    gnutls_pubkey_t key;
    int rc = gnutls_pubkey_init(&key);

    SP_REQUIRE(rc == 0);
    rc = gnutls_pubkey_import_x509(key, issuer, 0);
    if (rc >= 0 && crl->is_digest)
        rc = gnutls_pubkey_verify_hash2(key, crl->sign, 0, &crl->signed_part, &crl->signature);
    else if (rc >= 0)
        rc = gnutls_pubkey_verify_data2(key, crl->sign, 0, &crl->signed_part, &crl->signature);
    gnutls_pubkey_deinit(key);
    return rc >= 0 && may_sign_crls(issuer);
}

/* Finds the trusted CA that signed it. One that has a trusted CA's name and not its signature is
 * forged, damaged or made with another key: nothing to go on with. */
static enum sp_err find_signer(const struct sp_tls_crl *crl, const struct sp_tls_trust *trust,
                               gnutls_x509_crt_t *ret_signer, struct sp_error *err)
{
    gnutls_x509_crt_t ca = NULL;
    bool lacks_usage = false;
    size_t i;

    *ret_signer = NULL;
    for (i = 0; (ca = sp_tls_trust_named(trust, crl->issuer.data, crl->issuer.size, i)); i++) {
        if (sp_tls_crl_judged_is_by(crl, ca)) {
            *ret_signer = ca;
            return SP_OK;
        }
        lacks_usage |= !may_sign_crls(ca);
    }
    if (!i)
        return SP_OK;
    return sp_error_set(err, SP_ERR_CONFIG,
                        lacks_usage
                            ? "a CRL in it is from '%s', a trusted CA that must not sign CRLs (its "
                              "key usage has no cRLSign)"
                            : "a CRL in it says it is from '%s', but the trusted CA of that name "
                              "did not sign it: it is damaged, forged or made with another key",
                        crl->issuer_text);
}

/* ---- one content ---- */

enum sp_err sp_tls_crl_judge(struct sp_tls_crl_file *file, struct sp_tls_trust *trust,
                             struct sp_tls_crl_judged **ret, struct sp_error *err)
{
    struct sp_tls_crl_judged *judged = sp_calloc(1, sizeof *judged);
    enum sp_err rc = SP_OK;

    atomic_init(&judged->refs, 1);
    judged->file = sp_tls_crl_file_ref(file);
    judged->trust = sp_tls_trust_ref(trust);
    judged->signers = sp_calloc(file->count, sizeof judged->signers[0]);
    judged->proven = sp_calloc(file->count, sizeof judged->proven[0]);
    for (size_t i = 0; rc == SP_OK && i < file->count; i++)
        rc = find_signer(&file->crls[i], trust, &judged->signers[i], err);
    if (rc != SP_OK) {
        sp_tls_crl_judged_unref(judged);
        return rc;
    }
    *ret = judged;
    return SP_OK;
}

struct sp_tls_crl_judged *sp_tls_crl_judged_ref(struct sp_tls_crl_judged *judged)
{
    atomic_fetch_add_explicit(&judged->refs, 1, memory_order_relaxed);
    return judged;
}

void sp_tls_crl_judged_unref(struct sp_tls_crl_judged *judged)
{
    if (!judged || atomic_fetch_sub_explicit(&judged->refs, 1, memory_order_acq_rel) != 1)
        return;
    sp_tls_crl_file_unref(judged->file);
    free(judged->signers);
    free(judged->proven);
    sp_tls_trust_unref(judged->trust);
    free(judged);
}

static bool is_known(const struct sp_tls_crl_judged *judged, size_t i)
{
    return judged->signers[i] || atomic_load_explicit(&judged->proven[i], memory_order_relaxed);
}

static bool has_known(const struct sp_tls_crl_judged *judged)
{
    for (size_t i = 0; judged && i < judged->file->count; i++)
        if (is_known(judged, i))
            return true;
    return false;
}

static bool is_same_file(const struct sp_tls_crl_judged *judged, const struct sp_tls_crl_file *file)
{
    return judged && !memcmp(judged->file->digest, file->digest, sizeof file->digest);
}

/* ---- what a URL has given ---- */

/* The newest list of that issuer; NULL: none. */
static const struct sp_tls_crl *newest_of(const struct sp_tls_crl_judged *judged,
                                          const gnutls_datum_t *issuer, bool only_known)
{
    const struct sp_tls_crl *best = NULL;

    for (size_t i = 0; i < judged->file->count; i++) {
        const struct sp_tls_crl *crl = &judged->file->crls[i];

        if (crl->issuer.size == issuer->size && (is_known(judged, i) || !only_known) &&
            !memcmp(crl->issuer.data, issuer->data, issuer->size) &&
            (!best || crl->this_update > best->this_update))
            best = crl;
    }
    return best;
}

/* For each list of `old` that is proved there must be one of the same issuer that is not older. */
static enum sp_err check_not_older(const struct sp_tls_crl_judged *next, bool only_known,
                                   const struct sp_tls_crl_judged *old, struct sp_error *err)
{
    char then[SP_TIME_LEN], had[SP_TIME_LEN];

    for (size_t i = 0; old && i < old->file->count; i++) {
        const struct sp_tls_crl *crl = &old->file->crls[i];
        const struct sp_tls_crl *other = newest_of(next, &crl->issuer, only_known);

        if (!is_known(old, i))
            continue;
        if (!other)
            return sp_error_set(err, SP_ERR_CONFIG,
                                "there is no CRL of '%s' in it, as there was before",
                                crl->issuer_text);
        if (other->this_update < crl->this_update)
            return sp_error_set(err, SP_ERR_CONFIG,
                                "the CRL of '%s' in it is of %s, older than the one of %s that was "
                                "there before: it is replayed, or a cache serves what is old",
                                crl->issuer_text, sp_time_format(other->this_update, then),
                                sp_time_format(crl->this_update, had));
    }
    return SP_OK;
}

static enum sp_err check_not_early(const struct sp_tls_crl_file *file, int64_t now,
                                   struct sp_error *err)
{
    char when[SP_TIME_LEN];

    for (size_t i = 0; i < file->count; i++)
        if (file->crls[i].this_update > now)
            return sp_error_set(err, SP_ERR_CONFIG,
                                "the CRL of '%s' in it is from the future (%s): see to the clocks "
                                "of this machine and of the CA",
                                file->crls[i].issuer_text,
                                sp_time_format(file->crls[i].this_update, when));
    return SP_OK;
}

/* Handshakes may have proved it meanwhile. */
static void settle(struct sp_tls_crl_kept *kept)
{
    if (!kept->pending || !has_known(kept->pending) ||
        check_not_older(kept->pending, true, kept->good, NULL) != SP_OK)
        return;
    sp_tls_crl_judged_unref(kept->good);
    kept->good = kept->pending;
    kept->pending = NULL;
}

static void keep(struct sp_tls_crl_kept *kept, struct sp_tls_crl_judged *next)
{
    bool all = true;

    for (size_t i = 0; i < next->file->count; i++)
        all = all && next->signers[i];
    sp_tls_crl_judged_unref(kept->pending);
    kept->pending = NULL;
    if (all) {
        sp_tls_crl_judged_unref(kept->good);
        kept->good = next;
    } else {
        kept->pending = next;
    }
}

enum sp_err sp_tls_crl_kept_offer(struct sp_tls_crl_kept *kept, struct sp_tls_crl_file *file,
                                  struct sp_tls_trust *trust, int64_t now, bool *ret_changed,
                                  struct sp_error *err)
{
    struct sp_tls_crl_judged *next;
    enum sp_err rc;

    settle(kept);
    *ret_changed = false;
    if (is_same_file(kept->pending, file) || (!kept->pending && is_same_file(kept->good, file)))
        return SP_OK;
    rc = check_not_early(file, now, err);
    if (rc == SP_OK)
        rc = sp_tls_crl_judge(file, trust, &next, err);
    if (rc != SP_OK)
        return rc;
    rc = check_not_older(next, false, kept->good, err);
    if (rc == SP_OK)
        rc = check_not_older(next, false, kept->pending, err);
    if (rc != SP_OK) {
        sp_tls_crl_judged_unref(next);
        return rc;
    }
    keep(kept, next);
    sp_tls_crl_kept_why(kept, NULL);
    *ret_changed = true;
    return SP_OK;
}

bool sp_tls_crl_kept_is_known(const struct sp_tls_crl_kept *kept)
{
    return has_known(kept->good) || has_known(kept->pending);
}

int64_t sp_tls_crl_kept_next_update(const struct sp_tls_crl_kept *kept)
{
    const struct sp_tls_crl_judged *judged = kept->pending ? kept->pending : kept->good;
    int64_t earliest = INT64_MIN;

    for (size_t i = 0; judged && i < judged->file->count; i++)
        if (earliest == INT64_MIN || judged->file->crls[i].next_update < earliest)
            earliest = judged->file->crls[i].next_update;
    return earliest;
}

bool sp_tls_crl_kept_equal(const struct sp_tls_crl_kept *a, const struct sp_tls_crl_kept *b)
{
    return a->good == b->good && a->pending == b->pending &&
           !strcmp(a->why ? a->why : "", b->why ? b->why : "");
}

void sp_tls_crl_kept_copy(struct sp_tls_crl_kept *to, const struct sp_tls_crl_kept *from)
{
    *to = (struct sp_tls_crl_kept){
        .good = from->good ? sp_tls_crl_judged_ref(from->good) : NULL,
        .pending = from->pending ? sp_tls_crl_judged_ref(from->pending) : NULL,
        .why = from->why ? sp_strdup(from->why) : NULL,
    };
}

void sp_tls_crl_kept_why(struct sp_tls_crl_kept *kept, const char *why)
{
    free(kept->why);
    kept->why = why ? sp_strdup(why) : NULL;
}

void sp_tls_crl_kept_done(struct sp_tls_crl_kept *kept)
{
    sp_tls_crl_judged_unref(kept->good);
    sp_tls_crl_judged_unref(kept->pending);
    free(kept->why);
    *kept = (struct sp_tls_crl_kept){.good = NULL};
}
