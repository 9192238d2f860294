#include "common/tls_crl_judged.h"

#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include <stdlib.h>

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

bool sp_tls_crl_judged_is_known(const struct sp_tls_crl_judged *judged, size_t index)
{
    return judged->signers[index] ||
           atomic_load_explicit(&judged->proven[index], memory_order_relaxed);
}
