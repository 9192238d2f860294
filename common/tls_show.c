#include "common/tls_show.h"

#include "common/tls_ocsp.h"
#include "common/tls_trust.h"
#include "common/tls_x509.h"

#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- files ---- */

static void add(struct sp_tls_certs *certs, const uint8_t *der, size_t len)
{
    uint8_t *copy = sp_calloc(1, len + 1);

    memcpy(copy, der, len);
    certs->items = reallocarray(certs->items, certs->count + 1, sizeof certs->items[0]);
    SP_REQUIRE(certs->items);
    certs->items[certs->count++] = (struct sp_bytes){copy, len};
}

static const uint8_t *find(const uint8_t *at, const uint8_t *end, const char *text)
{
    return at < end ? memmem(at, (size_t)(end - at), text, strlen(text)) : NULL;
}

/* The text between "-----BEGIN " and "-----"; NULL: that is no such line. */
static const uint8_t *label_end(const uint8_t *label, const uint8_t *end)
{
    const uint8_t *dashes = find(label, end, "-----");

    return dashes && dashes - label < 64 && !memchr(label, '\n', (size_t)(dashes - label)) ? dashes
                                                                                           : NULL;
}

static bool is_label(const uint8_t *label, size_t len, const char *text)
{
    return len == strlen(text) && memcmp(label, text, len) == 0;
}

static bool is_key(const uint8_t *label, size_t len)
{
    static const char word[] = "PRIVATE KEY";

    return len >= sizeof word - 1 &&
           !memcmp(label + len - (sizeof word - 1), word, sizeof word - 1);
}

static enum sp_err add_block(struct sp_tls_certs *certs, const uint8_t *begin, const uint8_t *end,
                             const char *label, struct sp_error *err)
{
    gnutls_datum_t pem = {.size = (unsigned)(end - begin)}, der;

    /* GnuTLS reads through a pointer that is not const. */
    memcpy(&pem.data, &begin, sizeof pem.data);
    if (certs->count == SP_TLS_CERTS_MAX)
        return sp_error_set(err, SP_ERR_CONFIG, "has more than %d certificates", SP_TLS_CERTS_MAX);
    if (gnutls_pem_base64_decode2(label, &pem, &der) < 0)
        return sp_error_set(err, SP_ERR_CONFIG,
                            "certificate %zu in it is damaged: between BEGIN and END is no base64",
                            certs->count + 1);
    add(certs, der.data, der.size);
    gnutls_free(der.data);
    return SP_OK;
}

static enum sp_err read_pem(struct sp_tls_certs *certs, const uint8_t *at, const uint8_t *end,
                            struct sp_error *err)
{
    static const char begin_mark[] = "-----BEGIN ", end_mark[] = "-----END ";
    enum sp_err rc = SP_OK;

    while (rc == SP_OK && (at = find(at, end, begin_mark)) != NULL) {
        const uint8_t *label = at + sizeof begin_mark - 1, *dashes = label_end(label, end);
        const uint8_t *last = dashes ? find(dashes, end, end_mark) : NULL;
        bool is_old = dashes && is_label(label, (size_t)(dashes - label), "X509 CERTIFICATE");
        bool is_cert =
            is_old || (dashes && is_label(label, (size_t)(dashes - label), "CERTIFICATE"));

        if (dashes)
            certs->had_key |= is_key(label, (size_t)(dashes - label));
        last = last ? label_end(last + sizeof end_mark - 1, end) : NULL;
        if (is_cert && !last)
            return sp_error_set(err, SP_ERR_CONFIG, "certificate %zu in it has no END line",
                                certs->count + 1);
        if (is_cert)
            rc = add_block(certs, at, last + 5, is_old ? "X509 CERTIFICATE" : "CERTIFICATE", err);
        at = last ? last : label;
    }
    return rc;
}

enum sp_err sp_tls_certs_read(const uint8_t *data, size_t len, struct sp_tls_certs *ret_certs,
                              struct sp_error *err)
{
    struct sp_tls_certs certs = {.items = NULL};
    enum sp_err rc = SP_OK;
    size_t header, whole = sp_tls_x509_element(data, len, &header);

    if (whole && whole == len)
        add(&certs, data, len);
    else
        rc = read_pem(&certs, data, data + len, err);
    if (rc == SP_OK && !certs.count)
        rc = sp_error_set(err, SP_ERR_CONFIG,
                          certs.had_key
                              ? "has a private key and no certificate; wanted: the certificates"
                              : "has no certificate; wanted: PEM (BEGIN CERTIFICATE) or DER");
    if (rc != SP_OK) {
        sp_tls_certs_done(&certs);
        return rc;
    }
    *ret_certs = certs;
    return SP_OK;
}

void sp_tls_certs_done(struct sp_tls_certs *certs)
{
    for (size_t i = 0; i < certs->count; i++)
        free((void *)(uintptr_t)certs->items[i].data);
    free(certs->items);
    *certs = (struct sp_tls_certs){.items = NULL};
}

void sp_tls_certs_chain(const struct sp_tls_certs *certs, struct sp_chain *ret_chain)
{
    size_t most = sizeof ret_chain->certs / sizeof ret_chain->certs[0];

    *ret_chain = (struct sp_chain){.count = certs->count < most ? certs->count : most};
    for (size_t i = 0; i < ret_chain->count; i++)
        ret_chain->certs[i] = certs->items[i];
}

/* ---- one certificate ---- */

static void show_algorithms(gnutls_x509_crt_t crt, struct sp_tls_shown *ret)
{
    unsigned bits = 0;
    int pk = gnutls_x509_crt_get_pk_algorithm(crt, &bits);
    int sign = gnutls_x509_crt_get_signature_algorithm(crt);
    const char *name = sign > 0 ? gnutls_sign_get_name((gnutls_sign_algorithm_t)sign) : "not known";

    snprintf(ret->key, sizeof ret->key, "%s, %u bits",
             pk > 0 ? gnutls_pk_get_name((gnutls_pk_algorithm_t)pk) : "not known", bits);
    snprintf(ret->signature, sizeof ret->signature, "%s", name ? name : "not known");
}

static void show_usage(gnutls_x509_crt_t crt, struct sp_tls_shown *ret)
{
    size_t used;

    /* No purpose is called so, so all are listed; anyExtendedKeyUsage ends the list. */
    if (sp_tls_x509_eku(crt, "", ret->usage, sizeof ret->usage) != SP_TLS_EKU_FITS)
        return;
    used = strlen(ret->usage);
    snprintf(ret->usage + used, sizeof ret->usage - used, "%sanyExtendedKeyUsage",
             used ? ", " : "");
}

bool sp_tls_show(const struct sp_bytes *der, struct sp_tls_shown *ret_shown)
{
    gnutls_datum_t datum = {.size = (unsigned)der->len};
    gnutls_x509_crt_t crt;
    bool is_good;

    *ret_shown = (struct sp_tls_shown){.is_ca = false};
    sp_tls_x509_fingerprint(der->data, der->len, ret_shown->fingerprint);
    memcpy(&datum.data, &der->data, sizeof datum.data);
    SP_REQUIRE(gnutls_x509_crt_init(&crt) == 0);
    is_good = gnutls_x509_crt_import(crt, &datum, GNUTLS_X509_FMT_DER) >= 0;
    if (is_good) {
        sp_tls_x509_subject(crt, ret_shown->subject, sizeof ret_shown->subject);
        sp_tls_x509_issuer(crt, ret_shown->issuer, sizeof ret_shown->issuer);
        sp_tls_x509_serial(crt, ret_shown->serial, sizeof ret_shown->serial);
        sp_tls_x509_names(crt, ret_shown->names, sizeof ret_shown->names);
        ret_shown->not_before = gnutls_x509_crt_get_activation_time(crt);
        ret_shown->not_after = gnutls_x509_crt_get_expiration_time(crt);
        ret_shown->is_ca = gnutls_x509_crt_get_ca_status(crt, NULL) > 0;
        show_algorithms(crt, ret_shown);
        show_usage(crt, ret_shown);
        sp_ocsp_responder_url(der, ret_shown->responder, sizeof ret_shown->responder);
    }
    gnutls_x509_crt_deinit(crt);
    return is_good;
}

/* Names in a path are cut to what room there is: not below this. */
#define CUT_MIN ((SP_PATH_MAX) / (SP_CHAIN_MAX_CERTS + 1) - 4)

bool sp_tls_show_is_trusted_name(const struct sp_tls_trust *trust, const char *name)
{
    size_t len = strlen(name);
    char subject[SP_DN_MAX];
    gnutls_x509_crt_t ca;

    for (size_t i = 0; (ca = sp_tls_trust_any(trust, i)) != NULL; i++) {
        sp_tls_x509_subject(ca, subject, sizeof subject);
        if (strncmp(subject, name, len) == 0 && (!subject[len] || len >= CUT_MIN))
            return true;
    }
    return false;
}

const char *sp_tls_show_library(char buf[48])
{
    snprintf(buf, 48, "GnuTLS %s", gnutls_check_version(NULL));
    return buf;
}
