/* What is read from a certificate, or made from it, in order to ask for its status. */
#include "common/tls_ocsp.h"
#include "common/tls_ocsp_parse.h"

#include <gnutls/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SHA1_LEN       20
#define SERIAL_MAX     64
#define REQUEST_MAX    512
#define TAG_URI        0x86 /* GeneralName uniformResourceIdentifier */
#define TAG_EXTENSIONS 0xa2 /* requestExtensions [2] */
#define STATUS_REQUEST 5

#define OID_AIA         SP_TLS_OID("\x2b\x06\x01\x05\x05\x07\x01\x01")
#define OID_AD_OCSP     SP_TLS_OID("\x2b\x06\x01\x05\x05\x07\x30\x01")
#define OID_TLS_FEATURE SP_TLS_OID("\x2b\x06\x01\x05\x05\x07\x01\x18")

/* SEQUENCE { SHA-1, NULL } and OBJECT IDENTIFIER nonce, as they stand in a request. */
static const uint8_t sha1_algorithm[] = {0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e,
                                         0x03, 0x02, 0x1a, 0x05, 0x00};
static const uint8_t nonce_oid[] = {0x06, 0x09, 0x2b, 0x06, 0x01, 0x05,
                                    0x05, 0x07, 0x30, 0x01, 0x02};

/* DER is written from its end to its beginning: a length is known when its header is due. */
struct writer {
    uint8_t bytes[REQUEST_MAX];
    size_t begin;
};

static void put(struct writer *w, const void *data, size_t len)
{
    SP_REQUIRE(len <= w->begin); /* the limits of nonce and serial number see to that */
    w->begin -= len;
    memcpy(w->bytes + w->begin, data, len);
}

/* A header over everything written since `end` was w->begin. */
static void wrap(struct writer *w, int tag, size_t end)
{
    uint8_t header[6];
    size_t len = sp_tls_der_put_header(header, end - w->begin);

    header[0] = (uint8_t)tag;
    put(w, header, len);
}

static void put_octets(struct writer *w, const void *data, size_t len)
{
    size_t end = w->begin;

    put(w, data, len);
    wrap(w, SP_TLS_DER_OCTET_STRING, end);
}

static void put_nonce(struct writer *w, const uint8_t *nonce, size_t len)
{
    size_t end = w->begin;

    put_octets(w, nonce, len);
    wrap(w, SP_TLS_DER_OCTET_STRING, end);
    put(w, nonce_oid, sizeof nonce_oid);
    wrap(w, SP_TLS_DER_SEQUENCE, end);
    wrap(w, SP_TLS_DER_SEQUENCE, end);
    wrap(w, TAG_EXTENSIONS, end);
}

static void put_cert_id(struct writer *w, const struct sp_tls_outline *cert,
                        const struct sp_tls_outline *issuer)
{
    uint8_t name[SHA1_LEN], key[SHA1_LEN];
    size_t end = w->begin;

    SP_REQUIRE(gnutls_hash_fast(GNUTLS_DIG_SHA1, cert->issuer.at, sp_tls_der_len(&cert->issuer),
                                name) == 0);
    SP_REQUIRE(
        gnutls_hash_fast(GNUTLS_DIG_SHA1, issuer->key.at, sp_tls_der_len(&issuer->key), key) == 0);
    put(w, cert->serial.at, sp_tls_der_len(&cert->serial));
    wrap(w, SP_TLS_DER_INTEGER, end);
    put_octets(w, key, sizeof key);
    put_octets(w, name, sizeof name);
    put(w, sha1_algorithm, sizeof sha1_algorithm);
    wrap(w, SP_TLS_DER_SEQUENCE, end);
}

enum sp_err sp_ocsp_request(const struct sp_bytes *cert, const struct sp_bytes *issuer,
                            const uint8_t *nonce, size_t nonce_len, uint8_t **ret_der,
                            size_t *ret_len, struct sp_error *err)
{
    struct writer w = {.begin = sizeof w.bytes};
    size_t all = w.begin, list;
    struct sp_tls_outline c, i;

    if (!sp_tls_outline_of(cert, &c) || !sp_tls_outline_of(issuer, &i))
        return sp_error_set(err, SP_ERR_CONFIG, "the certificate or its issuer's cannot be read");
    if (sp_tls_der_len(&c.serial) > SERIAL_MAX)
        return sp_error_set(err, SP_ERR_LIMIT, "its serial number has %zu bytes; %d are the most",
                            sp_tls_der_len(&c.serial), SERIAL_MAX);
    if (nonce_len > SP_OCSP_NONCE_MAX)
        return sp_error_set(err, SP_ERR_LIMIT, "a nonce of %zu bytes; %d are the most", nonce_len,
                            SP_OCSP_NONCE_MAX);
    if (nonce_len)
        put_nonce(&w, nonce, nonce_len);
    list = w.begin;
    put_cert_id(&w, &c, &i);
    wrap(&w, SP_TLS_DER_SEQUENCE, list); /* Request */
    wrap(&w, SP_TLS_DER_SEQUENCE, list); /* requestList */
    wrap(&w, SP_TLS_DER_SEQUENCE, all);  /* TBSRequest */
    wrap(&w, SP_TLS_DER_SEQUENCE, all);
    *ret_len = sizeof w.bytes - w.begin;
    *ret_der = sp_calloc(*ret_len, 1);
    memcpy(*ret_der, w.bytes + w.begin, *ret_len);
    return SP_OK;
}

/* ---- what the certificate says ---- */

static bool is_web(const struct sp_tls_der *uri)
{
    size_t len = sp_tls_der_len(uri);

    return (len > 7 && strncasecmp((const char *)uri->at, "http://", 7) == 0) ||
           (len > 8 && strncasecmp((const char *)uri->at, "https://", 8) == 0);
}

static bool copy_url(const struct sp_tls_der *uri, char *buf, size_t buf_len)
{
    size_t len = sp_tls_der_len(uri);

    if (len >= buf_len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (uri->at[i] <= 0x20 || uri->at[i] >= 0x7f)
            return false;
    memcpy(buf, uri->at, len);
    buf[len] = '\0';
    return true;
}

bool sp_ocsp_responder_url(const struct sp_bytes *cert, char *buf, size_t buf_len)
{
    struct sp_tls_der value, list, one, method;
    struct sp_tls_outline c;

    buf[0] = '\0';
    if (!sp_tls_outline_of(cert, &c) ||
        sp_tls_outline_extension(&c, OID_AIA, &value) != SP_TLS_FOUND ||
        !sp_tls_der_take(&value, SP_TLS_DER_SEQUENCE, &list, NULL) || sp_tls_der_len(&value))
        return false;
    while (sp_tls_der_take(&list, SP_TLS_DER_SEQUENCE, &one, NULL)) {
        struct sp_tls_der uri;

        if (sp_tls_der_take(&one, SP_TLS_DER_OID, &method, NULL) &&
            sp_tls_der_equal(&method, &OID_AD_OCSP) && sp_tls_der_take(&one, TAG_URI, &uri, NULL) &&
            is_web(&uri))
            return copy_url(&uri, buf, buf_len);
    }
    return false;
}

bool sp_ocsp_must_staple(const struct sp_bytes *cert)
{
    struct sp_tls_der value, list, feature;
    struct sp_tls_outline c;

    if (!sp_tls_outline_of(cert, &c) ||
        sp_tls_outline_extension(&c, OID_TLS_FEATURE, &value) != SP_TLS_FOUND ||
        !sp_tls_der_take(&value, SP_TLS_DER_SEQUENCE, &list, NULL))
        return false;
    while (sp_tls_der_take(&list, SP_TLS_DER_INTEGER, &feature, NULL))
        if (sp_tls_der_len(&feature) == 1 && feature.at[0] == STATUS_REQUEST)
            return true;
    return false;
}
