#include "common/tls_ocsp_signer.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/tls_x509.h"

#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <string.h>

#define SHA1_LEN     20
#define HASH_LEN_MIN 32 /* SHA-256 */
#define WEAK_TEXT    160
#define NAME_TEXT    200
#define KU_SIGNATURE 0x80 /* digitalSignature, in the first byte of keyUsage */
#define DER_NULL     0x05

#define OID_PSS          SP_TLS_OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a")
#define OID_KEY_USAGE    SP_TLS_OID("\x55\x1d\x0f")
#define OID_EKU          SP_TLS_OID("\x55\x1d\x25")
#define OID_NOCHECK      SP_TLS_OID("\x2b\x06\x01\x05\x05\x07\x30\x01\x05")
#define OID_OCSP_SIGNING SP_TLS_OID("\x2b\x06\x01\x05\x05\x07\x03\x09")

static void crt_done(gnutls_x509_crt_t *crt)
{
    gnutls_x509_crt_deinit(*crt); /* NULL is none */
}

#define AUTO_CRT __attribute__((cleanup(crt_done))) gnutls_x509_crt_t

static gnutls_datum_t datum_of(const struct sp_tls_der *d)
{
    /* A datum is not const; GnuTLS only reads these. */
    return (gnutls_datum_t){(unsigned char *)(uintptr_t)d->at, (unsigned)sp_tls_der_len(d)};
}

static gnutls_x509_crt_t import(const struct sp_tls_outline *cert)
{
    gnutls_datum_t der = datum_of(&cert->whole);
    gnutls_x509_crt_t crt;

    SP_REQUIRE(gnutls_x509_crt_init(&crt) == 0);
    if (gnutls_x509_crt_import(crt, &der, GNUTLS_X509_FMT_DER) >= 0)
        return crt;
    gnutls_x509_crt_deinit(crt);
    return NULL;
}

/* ---- signatures ---- */

/* RSASSA-PSS says its hash in its parameters (RFC 4055 3.1). Everybody uses MGF1 of the same hash
 * and a salt of its length, and GnuTLS verifies nothing else: so all parameters there are differ in
 * three bytes, and others are not known. */
static gnutls_sign_algorithm_t pss_algorithm(struct sp_tls_der params)
{
    static const struct {
        uint8_t arc, salt; /* the last byte of its OID; its length */
        gnutls_sign_algorithm_t sign;
    } kinds[] = {{1, 32, GNUTLS_SIGN_RSA_PSS_SHA256},
                 {2, 48, GNUTLS_SIGN_RSA_PSS_SHA384},
                 {3, 64, GNUTLS_SIGN_RSA_PSS_SHA512}};
    uint8_t shape[] = "\x30\x34\xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02?\x05\x00"
                      "\xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\x30\x0d"
                      "\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02?\x05\x00\xa2\x03\x02\x01?";
    const struct sp_tls_der all = {shape, shape + sizeof shape - 1};

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        shape[16] = shape[46] = kinds[i].arc;
        shape[53] = kinds[i].salt;
        if (sp_tls_der_equal(&params, &all))
            return kinds[i].sign;
    }
    return GNUTLS_SIGN_UNKNOWN;
}

static gnutls_sign_algorithm_t algorithm_of(struct sp_tls_der algorithm)
{
    struct sp_tls_der oid, null;
    char text[64];

    if (!sp_tls_der_take(&algorithm, SP_TLS_DER_OID, &oid, NULL))
        return GNUTLS_SIGN_UNKNOWN;
    if (sp_tls_der_equal(&oid, &OID_PSS))
        return pss_algorithm(algorithm);
    if (sp_tls_der_len(&algorithm) && (!sp_tls_der_take(&algorithm, DER_NULL, &null, NULL) ||
                                       sp_tls_der_len(&null) || sp_tls_der_len(&algorithm)))
        return GNUTLS_SIGN_UNKNOWN;
    sp_tls_der_oid_text(&oid, text, sizeof text);
    return gnutls_oid_to_sign(text);
}

/* Below SHA-256, as with certificates. */
static const char *weakness_of(gnutls_sign_algorithm_t sign, char *buf, size_t buf_len)
{
    if (sign == GNUTLS_SIGN_EDDSA_ED25519 || sign == GNUTLS_SIGN_EDDSA_ED448)
        return NULL;
    if (sign == GNUTLS_SIGN_UNKNOWN)
        snprintf(buf, buf_len, "it is signed with an algorithm that is not known");
    else if (gnutls_hash_get_len(gnutls_sign_get_hash_algorithm(sign)) < HASH_LEN_MIN)
        snprintf(buf, buf_len, "it is signed with %s, which is too weak; SHA-256 is the least",
                 gnutls_sign_get_name(sign));
    else
        return NULL;
    return buf;
}

static bool is_signed_by(const struct sp_tls_signed *what, gnutls_x509_crt_t crt)
{
    gnutls_datum_t text = datum_of(&what->text), signature = datum_of(&what->signature);
    gnutls_sign_algorithm_t sign = algorithm_of(what->algorithm);
    gnutls_pubkey_t key;
    int rc;

    if (sign == GNUTLS_SIGN_UNKNOWN)
        return false;
    SP_REQUIRE(gnutls_pubkey_init(&key) == 0);
    rc = gnutls_pubkey_import_x509(key, crt, 0);
    if (rc >= 0)
        rc = gnutls_pubkey_verify_data2(key, sign, 0, &text, &signature);
    gnutls_pubkey_deinit(key);
    return rc >= 0;
}

/* ---- who may ---- */

/* Whether the responderID is this one's. */
static bool is_named(const struct sp_ocsp_basic *basic, const struct sp_tls_outline *cert)
{
    uint8_t hash[SHA1_LEN];
    struct sp_tls_der key = {hash, hash + sizeof hash};

    if (basic->by_name.at)
        return sp_tls_der_equal(&basic->by_name, &cert->subject);
    SP_REQUIRE(gnutls_hash_fast(GNUTLS_DIG_SHA1, cert->key.at, sp_tls_der_len(&cert->key), hash) ==
               0);
    return sp_tls_der_equal(&basic->by_key, &key);
}

/* OCSPSigning itself: a certificate for anything is not one that was made for this. */
static bool has_ocsp_signing(const struct sp_tls_outline *cert)
{
    struct sp_tls_der value, list, oid;
    bool found = false;

    if (sp_tls_outline_extension(cert, OID_EKU, &value) != SP_TLS_FOUND ||
        !sp_tls_der_take(&value, SP_TLS_DER_SEQUENCE, &list, NULL) || sp_tls_der_len(&value))
        return false;
    while (sp_tls_der_len(&list)) {
        if (!sp_tls_der_take(&list, SP_TLS_DER_OID, &oid, NULL))
            return false;
        found |= sp_tls_der_equal(&oid, &OID_OCSP_SIGNING);
    }
    return found;
}

static bool may_sign(const struct sp_tls_outline *cert)
{
    struct sp_tls_der value, bits;
    enum sp_tls_found found = sp_tls_outline_extension(cert, OID_KEY_USAGE, &value);

    if (found != SP_TLS_FOUND)
        return found == SP_TLS_ABSENT;
    return sp_tls_der_take(&value, SP_TLS_DER_BIT_STRING, &bits, NULL) &&
           sp_tls_der_len(&bits) >= 2 && (bits.at[1] & KU_SIGNATURE);
}

/* What a critical extension demands that is not known here, nobody has looked at. */
static bool has_unknown_critical(const struct sp_tls_outline *cert)
{
    struct sp_tls_der list = cert->extensions, oid, value;
    bool critical;

    while (sp_tls_der_take_extension(&list, &oid, &critical, &value))
        switch (critical ? sp_tls_der_standard_oid(&oid) : 0) {
        case 0:  /* not critical */
        case 14: /* subjectKeyIdentifier */
        case 15: /* keyUsage */
        case 17: /* subjectAltName */
        case 19: /* basicConstraints */
        case 32: /* certificatePolicies */
        case 35: /* authorityKeyIdentifier */
        case 37: /* extendedKeyUsage */
            break;
        default:
            return true;
        }
    return sp_tls_der_len(&list) > 0; /* what cannot be read is not known either */
}

/* Why a certificate in the response gives its owner no right to answer for this issuer; NULL: it
 * does. */
static const char *no_delegate(const struct sp_tls_outline *cert, gnutls_x509_crt_t crt,
                               const struct sp_tls_outline *issuer, gnutls_x509_crt_t issuer_crt,
                               int64_t now, char *buf, size_t buf_len)
{
    char dn[NAME_TEXT], at[SP_TIME_LEN], weak[WEAK_TEXT];
    const char *why;

    if (!sp_tls_der_equal(&cert->issuer, &issuer->subject) ||
        !is_signed_by(&cert->sig, issuer_crt)) {
        snprintf(buf, buf_len, "the responder's certificate was not issued by '%s'",
                 sp_tls_x509_subject(issuer_crt, dn, sizeof dn));
        return buf;
    }
    if (now > cert->not_after || now < cert->not_before) {
        snprintf(buf, buf_len, "the responder's certificate %s (%s)",
                 now > cert->not_after ? "has expired" : "is not valid yet",
                 sp_time_format(now > cert->not_after ? cert->not_after : cert->not_before, at));
        return buf;
    }
    if (!has_ocsp_signing(cert))
        return "the responder's certificate lacks OCSPSigning";
    if (!may_sign(cert))
        return "the responder's certificate lacks digitalSignature";
    if (has_unknown_critical(cert))
        return "the responder's certificate has a critical extension that is not known";
    why = sp_tls_x509_weak_key(crt, 0, weak, sizeof weak);
    if (!why)
        why = sp_tls_x509_weak_signature(crt, weak, sizeof weak);
    if (!why)
        return NULL;
    snprintf(buf, buf_len, "the responder's certificate is too weak: %s", why);
    return buf;
}

static void set_responder(const struct sp_tls_outline *cert, gnutls_x509_crt_t crt,
                          char responder[SP_DN_MAX])
{
    uint8_t hash[SHA1_LEN];

    if (*sp_tls_x509_subject(crt, responder, SP_DN_MAX))
        return;
    SP_REQUIRE(gnutls_hash_fast(GNUTLS_DIG_SHA1, cert->key.at, sp_tls_der_len(&cert->key), hash) ==
               0);
    memcpy(responder, "key ", 4);
    for (size_t i = 0; i < sizeof hash; i++)
        snprintf(responder + 4 + 2 * i, 3, "%02x", hash[i]);
}

/* RFC 6960 4.2.2.2.1: unless the issuer says that nobody need look, he may have revoked it. */
static void set_delegate(const struct sp_tls_outline *cert, char delegate[SP_OCSP_SERIAL_TEXT])
{
    size_t len = sp_tls_der_len(&cert->serial);
    struct sp_tls_der value;

    if (sp_tls_outline_extension(cert, OID_NOCHECK, &value) == SP_TLS_FOUND)
        return;
    for (size_t i = 0; i < len && 2 * i + 2 < SP_OCSP_SERIAL_TEXT; i++)
        snprintf(delegate + 2 * i, 3, "%02x", cert->serial.at[i]);
}

static const char *is_by_issuer(const struct sp_ocsp_basic *basic,
                                const struct sp_tls_outline *issuer, gnutls_x509_crt_t crt,
                                char responder[SP_DN_MAX], char *buf, size_t buf_len)
{
    char weak[WEAK_TEXT];

    if (!is_named(basic, issuer))
        return "its signer is unknown: neither the issuer nor one whose certificate is in it";
    if (!is_signed_by(&basic->sig, crt))
        return "its signature is not the issuer's, whose name it has";
    if (sp_tls_x509_weak_key(crt, 0, weak, sizeof weak)) {
        snprintf(buf, buf_len, "the issuer, who signed it, is too weak: %s", weak);
        return buf;
    }
    set_responder(issuer, crt, responder);
    return NULL;
}

const char *sp_ocsp_signer_problem(const struct sp_ocsp_basic *basic,
                                   const struct sp_tls_outline *issuer, int64_t now,
                                   char responder[SP_DN_MAX], char delegate[SP_OCSP_SERIAL_TEXT],
                                   char *buf, size_t buf_len)
{
    struct sp_tls_der certs = basic->certs;
    AUTO_CRT issuer_crt = import(issuer);
    struct sp_tls_outline cert;
    const char *why = weakness_of(algorithm_of(basic->sig.algorithm), buf, buf_len);

    if (why)
        return why;
    if (!issuer_crt)
        return "the issuer's certificate cannot be read";
    why = is_by_issuer(basic, issuer, issuer_crt, responder, buf, buf_len);
    while (why && sp_tls_der_len(&certs)) {
        AUTO_CRT crt = NULL;

        if (!sp_tls_outline_take(&certs, &cert))
            return "a certificate in it is malformed";
        if (!is_named(basic, &cert) || sp_tls_der_equal(&cert.spki, &issuer->spki))
            continue;
        crt = import(&cert);
        if (!crt)
            return "a certificate in it cannot be read";
        /* First, so that no key but the issuer's own, and one he vouched for, is ever computed
         * with: a stranger's may be of any size. */
        why = no_delegate(&cert, crt, issuer, issuer_crt, now, buf, buf_len);
        if (!why && !is_signed_by(&basic->sig, crt))
            why = "its signature is not the responder's, whose name it has";
        if (why)
            continue;
        set_responder(&cert, crt, responder);
        set_delegate(&cert, delegate);
    }
    return why;
}
