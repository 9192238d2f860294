#include "tests/support/ocsp_maker.h"

#include "common/tls_der.h"

#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROOM (1 << 18)

/* DER is written from its end to its beginning: a length is known when its header is due. */
struct maker {
    uint8_t bytes[ROOM];
    size_t begin;
};

static struct maker *maker_new(void)
{
    struct maker *m = sp_calloc(1, sizeof *m);

    m->begin = sizeof m->bytes;
    return m;
}

/* Takes what was written, and frees the maker. */
static uint8_t *finish(struct maker *m, size_t *ret_len)
{
    uint8_t *copy;

    *ret_len = sizeof m->bytes - m->begin;
    copy = sp_calloc(*ret_len + 1, 1);
    memcpy(copy, m->bytes + m->begin, *ret_len);
    free(m);
    return copy;
}

static void put(struct maker *m, const void *data, size_t len)
{
    SP_REQUIRE(len <= m->begin);
    m->begin -= len;
    if (len)
        memcpy(m->bytes + m->begin, data, len);
}

static void put_byte(struct maker *m, int byte)
{
    put(m, &(uint8_t){(uint8_t)byte}, 1);
}

static void wrap(struct maker *m, int tag, size_t end)
{
    uint8_t header[6];
    size_t len = sp_tls_der_put_header(header, end - m->begin);

    header[0] = (uint8_t)tag;
    put(m, header, len);
}

static void put_all(struct maker *m, int tag, const void *data, size_t len)
{
    size_t end = m->begin;

    put(m, data, len);
    wrap(m, tag, end);
}

static void put_oid(struct maker *m, const char *text)
{
    size_t end = m->begin, count = 0;
    unsigned long arcs[20];
    char *rest;

    for (; *text && count < 20; text = *rest ? rest + 1 : rest)
        arcs[count++] = strtoul(text, &rest, 10);
    SP_REQUIRE(count >= 2);
    arcs[1] += arcs[0] * 40;
    while (--count) {
        put_byte(m, arcs[count] & 0x7f);
        for (arcs[count] >>= 7; arcs[count]; arcs[count] >>= 7)
            put_byte(m, (int)(arcs[count] & 0x7f) | 0x80);
    }
    wrap(m, 0x06, end);
}

static void put_time(struct maker *m, int64_t at, bool utc)
{
    time_t seconds = (time_t)at;
    char text[32];
    struct tm tm;

    SP_REQUIRE(gmtime_r(&seconds, &tm) && strftime(text, sizeof text, "%Y%m%d%H%M%SZ", &tm));
    put_all(m, utc ? 0x17 : 0x18, text + (utc ? 2 : 0), strlen(text) - (utc ? 2 : 0));
}

static void put_extension(struct maker *m, const char *oid, bool critical, const void *value,
                          size_t len)
{
    size_t end = m->begin;

    put_all(m, 0x04, value, len);
    if (critical)
        put_all(m, 0x01, "\xff", 1);
    put_oid(m, oid);
    wrap(m, 0x30, end);
}

/* ---- certificates ---- */

static gnutls_x509_crt_t import(const struct certs_pair *pair)
{
    gnutls_datum_t der = {NULL, 0};
    gnutls_x509_crt_t crt;
    size_t len;
    const uint8_t *data = certs_pair_der(pair, &len);

    der.data = sp_calloc(len, 1);
    memcpy(der.data, data, len);
    der.size = (unsigned)len;
    SP_REQUIRE(gnutls_x509_crt_init(&crt) == 0 &&
               gnutls_x509_crt_import(crt, &der, GNUTLS_X509_FMT_DER) == 0);
    free(der.data);
    return crt;
}

static gnutls_privkey_t key_of(const struct certs_pair *pair)
{
    char *pem = certs_pair_key_pem(pair);
    gnutls_datum_t text = {(unsigned char *)pem, (unsigned)strlen(pem)};
    gnutls_privkey_t key;

    SP_REQUIRE(gnutls_privkey_init(&key) == 0 &&
               gnutls_privkey_import_x509_raw(key, &text, GNUTLS_X509_FMT_PEM, NULL, 0) == 0);
    certs_secret_free(pem);
    return key;
}

/* The bits of its key: the last element of SubjectPublicKeyInfo, without the count of unused. */
static struct sp_tls_der key_bits(gnutls_x509_crt_t crt, gnutls_datum_t *ret_owner)
{
    struct sp_tls_der spki, inside, ignored, bits;
    gnutls_pubkey_t key;

    SP_REQUIRE(gnutls_pubkey_init(&key) == 0 && gnutls_pubkey_import_x509(key, crt, 0) == 0 &&
               gnutls_pubkey_export2(key, GNUTLS_X509_FMT_DER, ret_owner) == 0);
    gnutls_pubkey_deinit(key);
    spki = (struct sp_tls_der){ret_owner->data, ret_owner->data + ret_owner->size};
    SP_REQUIRE(sp_tls_der_take(&spki, 0x30, &inside, NULL) &&
               sp_tls_der_take(&inside, 0x30, &ignored, NULL) &&
               sp_tls_der_take(&inside, 0x03, &bits, NULL));
    bits.at++;
    return bits;
}

struct sp_bytes ocsp_der(const struct certs_pair *pair)
{
    struct sp_bytes der;

    der.data = certs_pair_der(pair, &der.len);
    return der;
}

/* The same identity, period and key, and nothing else. */
static gnutls_x509_crt_t bare_copy(gnutls_x509_crt_t from)
{
    uint8_t serial[64];
    size_t len = sizeof serial, dn_len = 256;
    gnutls_x509_crt_t crt;
    gnutls_pubkey_t key;
    char dn[256];

    SP_REQUIRE(gnutls_x509_crt_init(&crt) == 0 && gnutls_pubkey_init(&key) == 0 &&
               gnutls_pubkey_import_x509(key, from, 0) == 0 &&
               gnutls_x509_crt_get_serial(from, serial, &len) == 0 &&
               gnutls_x509_crt_get_dn(from, dn, &dn_len) == 0);
    SP_REQUIRE(gnutls_x509_crt_set_version(crt, 3) == 0 &&
               gnutls_x509_crt_set_serial(crt, serial, len) == 0 &&
               gnutls_x509_crt_set_dn(crt, dn, NULL) == 0 &&
               gnutls_pubkey_set_key_usage(key, 0) == 0 && /* or it would be written with the key */
               gnutls_x509_crt_set_pubkey(crt, key) == 0);
    gnutls_x509_crt_set_activation_time(crt, gnutls_x509_crt_get_activation_time(from));
    gnutls_x509_crt_set_expiration_time(crt, gnutls_x509_crt_get_expiration_time(from));
    gnutls_pubkey_deinit(key);
    gnutls_x509_crt_deinit(from);
    return crt;
}

uint8_t *ocsp_reissue(const struct certs_pair *pair, const struct certs_pair *issuer,
                      const struct ocsp_change *change, size_t *ret_len)
{
    gnutls_x509_crt_t crt = import(pair), by = import(issuer);
    gnutls_privkey_t key = key_of(issuer);
    gnutls_datum_t der = {NULL, 0};
    uint8_t *copy;

    if (change->bare)
        crt = bare_copy(crt);
    if (change->purpose)
        SP_REQUIRE(gnutls_x509_crt_set_key_purpose_oid(crt, change->purpose, 0) == 0);
    if (change->usage)
        SP_REQUIRE(gnutls_x509_crt_set_key_usage(crt, change->usage) == 0);
    if (change->oid)
        SP_REQUIRE(gnutls_x509_crt_set_extension_by_oid(crt, change->oid, change->value,
                                                        change->value_len, change->critical) == 0);
    if (change->serial)
        SP_REQUIRE(gnutls_x509_crt_set_serial(crt, change->serial, change->serial_len) == 0);
    SP_REQUIRE(gnutls_x509_crt_privkey_sign(crt, by, key, GNUTLS_DIG_SHA256, 0) == 0 &&
               gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_DER, &der) == 0);
    copy = sp_calloc(der.size, 1);
    memcpy(copy, der.data, der.size);
    *ret_len = der.size;
    gnutls_free(der.data);
    gnutls_privkey_deinit(key);
    gnutls_x509_crt_deinit(by);
    gnutls_x509_crt_deinit(crt);
    return copy;
}

/* ---- entries ---- */

static void put_hash(struct maker *m, gnutls_digest_algorithm_t kind, const void *data, size_t len,
                     bool bad, bool half)
{
    uint8_t digest[64];

    SP_REQUIRE(gnutls_hash_fast(kind, data, len, digest) == 0);
    digest[0] ^= bad;
    put_all(m, 0x04, digest, gnutls_hash_get_len(kind) / (half ? 2 : 1));
}

static void put_cert_id(struct maker *m, const struct ocsp_entry *e)
{
    gnutls_digest_algorithm_t kind = e->hash ? e->hash : GNUTLS_DIG_SHA1;
    gnutls_x509_crt_t crt = import(e->cert), issuer = import(e->issuer);
    gnutls_datum_t owner, dn;
    struct sp_tls_der bits = key_bits(issuer, &owner);
    size_t end = m->begin, part;
    uint8_t serial[64];
    size_t len = sizeof serial;

    SP_REQUIRE(gnutls_x509_crt_get_serial(crt, serial, &len) == 0 &&
               gnutls_x509_crt_get_raw_dn(issuer, &dn) == 0);
    if (e->longer_serial)
        put_byte(m, 1);
    put(m, e->serial ? e->serial : serial, e->serial ? e->serial_len : len);
    if (e->padded_serial)
        put_byte(m, 0);
    wrap(m, 0x02, end);
    put_hash(m, kind, bits.at, sp_tls_der_len(&bits), e->bad_key_hash, e->short_hashes);
    put_hash(m, kind, dn.data, dn.size, e->bad_name_hash, e->short_hashes);
    part = m->begin;
    put(m, "\x05\x00", 2);
    put_oid(m, gnutls_digest_get_oid(kind));
    wrap(m, 0x30, part);
    wrap(m, 0x30, end);
    gnutls_free(dn.data);
    gnutls_free(owner.data);
    gnutls_x509_crt_deinit(issuer);
    gnutls_x509_crt_deinit(crt);
}

static void put_status(struct maker *m, const struct ocsp_entry *e)
{
    size_t end = m->begin, box;

    switch (e->said) {
    case OCSP_SAYS_GOOD:
        put(m, "\x80\x00", 2);
        return;
    case OCSP_SAYS_UNKNOWN:
        put(m, "\x82\x00", 2);
        return;
    case OCSP_SAYS_REVOKED:
        break;
    }
    if (e->cause) {
        box = m->begin;
        put_all(m, 0x0a, &(uint8_t){(uint8_t)e->cause}, 1);
        wrap(m, 0xa0, box);
    }
    put_time(m, e->revoked_at, false);
    wrap(m, 0xa1, end);
}

static void put_entry(struct maker *m, const struct ocsp_entry *e)
{
    size_t end = m->begin;

    if (e->critical) {
        put_extension(m, "1.3.6.1.4.1.99999.1", true, "\x05\x00", 2);
        wrap(m, 0x30, end);
        wrap(m, 0xa1, end);
    }
    if (e->next_update) {
        size_t box = m->begin;

        put_time(m, e->next_update, false);
        wrap(m, 0xa0, box);
    }
    put_time(m, e->this_update, e->utc_time);
    put_status(m, e);
    put_cert_id(m, e);
    wrap(m, 0x30, end);
}

/* ---- the response ---- */

static void put_responder(struct maker *m, const struct ocsp_spec *spec)
{
    gnutls_x509_crt_t crt = import(spec->responder ? spec->responder : spec->signer);
    gnutls_datum_t owner, dn;
    struct sp_tls_der bits = key_bits(crt, &owner);
    size_t end = m->begin;

    SP_REQUIRE(gnutls_x509_crt_get_raw_dn(crt, &dn) == 0);
    if (spec->by_key)
        put_hash(m, GNUTLS_DIG_SHA1, bits.at, sp_tls_der_len(&bits), false, false);
    else
        put(m, dn.data, dn.size);
    wrap(m, spec->by_key ? 0xa2 : 0xa1, end);
    gnutls_free(dn.data);
    gnutls_free(owner.data);
    gnutls_x509_crt_deinit(crt);
}

static void put_extensions(struct maker *m, const struct ocsp_spec *spec)
{
    static const char nonce_oid[] = "1.3.6.1.5.5.7.48.1.2";
    uint8_t boxed[130] = {0x04, (uint8_t)spec->nonce_len};
    size_t end = m->begin;

    if (spec->critical || spec->other)
        put_extension(m, spec->oid ? spec->oid : "1.3.6.1.4.1.99999.2", spec->critical, "\x05\x00",
                      2);
    if (spec->two_nonces)
        put_extension(m, nonce_oid, false, "\x04\x02\x00\x00", 4);
    if (spec->nonce_len) {
        memcpy(boxed + 2, spec->nonce, spec->nonce_len);
        put_extension(m, nonce_oid, false, boxed + (spec->raw_nonce ? 2 : 0),
                      spec->nonce_len + (spec->raw_nonce ? 0 : 2));
    }
    if (m->begin == end)
        return;
    wrap(m, 0x30, end);
    wrap(m, 0xa1, end);
}

uint8_t *ocsp_make_tbs(const struct ocsp_spec *spec, size_t *ret_len)
{
    struct maker *m = maker_new();
    size_t end = m->begin, entries;

    put_extensions(m, spec);
    entries = m->begin;
    for (size_t i = spec->count; i-- > 0;)
        for (size_t n = 0; n <= (i + 1 == spec->count ? spec->entry_copies : 0); n++)
            put_entry(m, &spec->entries[i]);
    wrap(m, 0x30, entries);
    put_time(m, spec->produced_at, false);
    put_responder(m, spec);
    if (spec->version) {
        put_byte(m, (int)spec->version - 1);
        put(m, "\xa0\x03\x02\x01", 4);
    }
    wrap(m, 0x30, end);
    return finish(m, ret_len);
}

static void put_algorithm(struct maker *m, gnutls_sign_algorithm_t sign)
{
    uint8_t pss[] = /* MGF1 of the same hash, 32 bytes of salt */
        {0x30, 0x34, 0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03,
         0x04, 0x02, 0x01, 0x05, 0x00, 0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48,
         0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
         0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0xa2, 0x03, 0x02, 0x01, 0x20};
    gnutls_pk_algorithm_t pk = gnutls_sign_get_pk_algorithm(sign);
    size_t end = m->begin;

    if (pk == GNUTLS_PK_RSA_PSS) {
        size_t len = gnutls_hash_get_len(gnutls_sign_get_hash_algorithm(sign));

        pss[16] = pss[46] = (uint8_t)(len / 16 - 1);
        pss[53] = (uint8_t)len;
        put(m, pss, sizeof pss);
    }
    if (pk == GNUTLS_PK_RSA)
        put(m, "\x05\x00", 2);
    put_oid(m, gnutls_sign_get_oid(sign));
    wrap(m, 0x30, end);
}

static void put_signature(struct maker *m, const struct ocsp_spec *spec, const uint8_t *tbs,
                          size_t tbs_len)
{
    gnutls_privkey_t key = key_of(spec->signer);
    gnutls_pk_algorithm_t pk = (gnutls_pk_algorithm_t)gnutls_privkey_get_pk_algorithm(key, NULL);
    gnutls_sign_algorithm_t sign = spec->sign                      ? spec->sign
                                   : pk == GNUTLS_PK_EDDSA_ED25519 ? GNUTLS_SIGN_EDDSA_ED25519
                                   : pk == GNUTLS_PK_RSA           ? GNUTLS_SIGN_RSA_SHA256
                                                                   : GNUTLS_SIGN_ECDSA_SHA256;
    gnutls_datum_t text = {sp_calloc(tbs_len + 1, 1), (unsigned)tbs_len}, signature = {NULL, 0};
    size_t end = m->begin;

    memcpy(text.data, tbs, tbs_len);
    SP_REQUIRE(gnutls_privkey_sign_data2(key, sign, 0, &text, &signature) == 0);
    signature.data[signature.size - 1] ^= spec->bad_signature;
    put(m, signature.data, spec->no_signature ? 0 : signature.size);
    put_byte(m, 0);
    wrap(m, 0x03, end);
    put_algorithm(m, sign);
    gnutls_free(signature.data);
    free(text.data);
    gnutls_privkey_deinit(key);
}

static void put_basic(struct maker *m, const struct ocsp_spec *spec, const uint8_t *tbs,
                      size_t tbs_len)
{
    size_t end = m->begin;

    for (size_t i = spec->cert_count; i-- > 0;)
        for (size_t n = 0; n <= spec->cert_copies; n++)
            put(m, spec->certs[i].data, spec->certs[i].len);
    if (spec->cert_count) {
        wrap(m, 0x30, end);
        wrap(m, 0xa0, end);
    }
    put_signature(m, spec, tbs, tbs_len);
    put(m, tbs, tbs_len);
    wrap(m, 0x30, end);
}

uint8_t *ocsp_make_around(const struct ocsp_spec *spec, const uint8_t *tbs, size_t tbs_len,
                          size_t *ret_len)
{
    struct maker *m = maker_new();
    size_t end;

    m->begin -= spec->trailing_outside;
    end = m->begin;
    if (!spec->status) {
        size_t body = m->begin;

        m->begin -= spec->trailing_body;
        put_basic(m, spec, tbs, tbs_len);
        wrap(m, 0x04, body);
        put_oid(m, "1.3.6.1.5.5.7.48.1.1");
        wrap(m, 0x30, body);
        wrap(m, 0xa0, body);
    }
    put_all(m, 0x0a, &(uint8_t){(uint8_t)spec->status}, 1);
    wrap(m, 0x30, end);
    return finish(m, ret_len);
}

uint8_t *ocsp_make(const struct ocsp_spec *spec, size_t *ret_len)
{
    uint8_t *tbs, *response;
    size_t tbs_len;

    if (spec->status)
        return ocsp_make_around(spec, NULL, 0, ret_len);
    tbs = ocsp_make_tbs(spec, &tbs_len);
    response = ocsp_make_around(spec, tbs, tbs_len, ret_len);
    free(tbs);
    return response;
}
