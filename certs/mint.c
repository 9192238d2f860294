#include "certs/mint.h"

#include "common/clock.h"

#include <arpa/inet.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>

#define HOUR_S     3600
#define TWO_YEARS  (INT64_C(2) * 365 * 86400)
#define SERIAL_LEN 16
#define KEY_ID_MAX 64

/* Owned by whoever called certs_mint. What stands above it is kept as finished text, so that a pair
 * may outlive its issuer. */
struct certs_pair {
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t crt;
    gnutls_datum_t der;
    char *chain_pem; /* this certificate and the intermediates above it */
    enum certs_key key_kind;
    bool self_signed;
};

static int generate_key(enum certs_key kind, gnutls_x509_privkey_t key)
{
    switch (kind) {
    case CERTS_P256:
        return gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
                                            GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
    case CERTS_P384:
        return gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
                                            GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP384R1), 0);
    case CERTS_ED25519:
        return gnutls_x509_privkey_generate(key, GNUTLS_PK_EDDSA_ED25519,
                                            GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_ED25519), 0);
    case CERTS_ED448:
        return gnutls_x509_privkey_generate(key, GNUTLS_PK_EDDSA_ED448,
                                            GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_ED448), 0);
    case CERTS_RSA2048:
        return gnutls_x509_privkey_generate(key, GNUTLS_PK_RSA, 2048, 0);
    case CERTS_RSA1024:
        return gnutls_x509_privkey_generate(key, GNUTLS_PK_RSA, 1024, 0);
    }
    return GNUTLS_E_INVALID_REQUEST;
}

/* The digest a key of this kind signs with when nothing worse was asked for. */
static gnutls_digest_algorithm_t digest_of(enum certs_key kind)
{
    switch (kind) {
    case CERTS_P384:
        return GNUTLS_DIG_SHA384;
    case CERTS_ED25519:
        return GNUTLS_DIG_SHA512; /* the one that Ed25519 has built in */
    case CERTS_ED448:
        return GNUTLS_DIG_SHAKE_256; /* likewise */
    case CERTS_P256:
    case CERTS_RSA2048:
    case CERTS_RSA1024:
        break;
    }
    return GNUTLS_DIG_SHA256;
}

/* A time of 0 means an hour ago, or two years ahead; shifted where the other end was given such
 * that the certificate would otherwise end before it begins. */
static void resolve_times(int64_t *begin, int64_t *end)
{
    int64_t now = sp_clock_wall_s();

    if (!*begin)
        *begin = (*end && *end < now ? *end : now) - HOUR_S;
    if (!*end)
        *end = (*begin > now ? *begin : now) + TWO_YEARS;
}

static int set_identity(gnutls_x509_crt_t crt, const struct certs_spec *spec)
{
    uint8_t serial[SERIAL_LEN];
    int rc = gnutls_x509_crt_set_version(crt, 3);

    if (rc < 0)
        return rc;
    rc = gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof serial);
    if (rc < 0)
        return rc;
    /* RFC 5280 4.1.2.2: positive, and here of constant length. */
    serial[0] = (uint8_t)((serial[0] & 0x3f) | 0x40);
    rc = gnutls_x509_crt_set_serial(crt, serial, sizeof serial);
    if (rc < 0)
        return rc;
    if (spec->raw_cn)
        return gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, spec->raw_cn,
                                             (unsigned)spec->raw_cn_len);
    return spec->dn ? gnutls_x509_crt_set_dn(crt, spec->dn, NULL) : 0;
}

static int set_times(gnutls_x509_crt_t crt, const struct certs_spec *spec)
{
    int64_t begin = spec->not_before;
    int64_t end = spec->not_after;
    int rc;

    resolve_times(&begin, &end);
    rc = gnutls_x509_crt_set_activation_time(crt, (time_t)begin);
    return rc < 0 ? rc : gnutls_x509_crt_set_expiration_time(crt, (time_t)end);
}

static int set_role(gnutls_x509_crt_t crt, const struct certs_spec *spec)
{
    unsigned usage = GNUTLS_KEY_DIGITAL_SIGNATURE;
    int rc;

    if (spec->ca)
        usage = GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN;
    else if (spec->key == CERTS_RSA2048 || spec->key == CERTS_RSA1024)
        usage |= GNUTLS_KEY_KEY_ENCIPHERMENT;
    rc = gnutls_x509_crt_set_basic_constraints(crt, spec->ca, spec->ca ? spec->path_len : -1);
    return rc < 0 ? rc : gnutls_x509_crt_set_key_usage(crt, usage);
}

static int set_purposes(gnutls_x509_crt_t crt, const struct certs_spec *spec)
{
    static const struct {
        enum certs_eku bit;
        const char *oid;
    } purposes[] = {
        {CERTS_EKU_CLIENT, GNUTLS_KP_TLS_WWW_CLIENT},
        {CERTS_EKU_SERVER, GNUTLS_KP_TLS_WWW_SERVER},
        {CERTS_EKU_ANY, GNUTLS_KP_ANY},
        {CERTS_EKU_OCSP_SIGNING, GNUTLS_KP_OCSP_SIGNING},
    };
    int rc = 0;

    for (size_t i = 0; rc >= 0 && i < sizeof purposes / sizeof purposes[0]; i++)
        if (spec->eku & (unsigned)purposes[i].bit)
            rc = gnutls_x509_crt_set_key_purpose_oid(crt, purposes[i].oid, 0);
    return rc;
}

static int add_names(gnutls_x509_crt_t crt, gnutls_x509_subject_alt_name_t type,
                     const char *const *names)
{
    int rc = 0;

    for (; rc >= 0 && names && *names; names++)
        rc = gnutls_x509_crt_set_subject_alt_name(crt, type, *names, (unsigned)strlen(*names),
                                                  GNUTLS_FSAN_APPEND);
    return rc;
}

static int add_addresses(gnutls_x509_crt_t crt, const char *const *ips)
{
    int rc = 0;

    for (; rc >= 0 && ips && *ips; ips++) {
        uint8_t bytes[16];
        unsigned len = strchr(*ips, ':') ? 16 : 4;

        if (inet_pton(len == 4 ? AF_INET : AF_INET6, *ips, bytes) != 1)
            return GNUTLS_E_INVALID_REQUEST;
        rc = gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, bytes, len,
                                                  GNUTLS_FSAN_APPEND);
    }
    return rc;
}

static int set_alt_names(gnutls_x509_crt_t crt, const struct certs_spec *spec)
{
    int rc = add_names(crt, GNUTLS_SAN_DNSNAME, spec->dns);

    if (rc >= 0)
        rc = add_names(crt, GNUTLS_SAN_URI, spec->uris);
    return rc < 0 ? rc : add_addresses(crt, spec->ips);
}

static int set_constraints(gnutls_x509_crt_t crt, const struct certs_spec *spec)
{
    gnutls_x509_name_constraints_t constraints;
    gnutls_datum_t name;
    char *copy;
    int rc;

    if (!spec->permitted_dns)
        return 0;
    rc = gnutls_x509_name_constraints_init(&constraints);
    if (rc < 0)
        return rc;
    copy = sp_strdup(spec->permitted_dns); /* a datum is not const */
    name.data = (unsigned char *)copy;
    name.size = (unsigned)strlen(copy);
    rc = gnutls_x509_name_constraints_add_permitted(constraints, GNUTLS_SAN_DNSNAME, &name);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_name_constraints(crt, constraints, 1);
    gnutls_x509_name_constraints_deinit(constraints);
    free(copy);
    return rc;
}

static int set_ocsp(gnutls_x509_crt_t crt, const struct certs_spec *spec)
{
    gnutls_datum_t uri;
    char *copy;
    int rc;

    if (!spec->ocsp_uri)
        return 0;
    copy = sp_strdup(spec->ocsp_uri);
    uri.data = (unsigned char *)copy;
    uri.size = (unsigned)strlen(copy);
    rc = gnutls_x509_crt_set_authority_info_access(crt, GNUTLS_IA_OCSP_URI, &uri);
    free(copy);
    return rc;
}

static int set_key_ids(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key,
                       const struct certs_pair *issuer)
{
    uint8_t id[KEY_ID_MAX];
    size_t id_len = sizeof id;
    int rc = gnutls_x509_crt_set_key(crt, key);

    if (rc < 0)
        return rc;
    rc = gnutls_x509_crt_get_key_id(crt, 0, id, &id_len);
    if (rc < 0)
        return rc;
    rc = gnutls_x509_crt_set_subject_key_id(crt, id, id_len);
    if (rc < 0 || !issuer)
        return rc;
    id_len = sizeof id;
    rc = gnutls_x509_crt_get_subject_key_id(issuer->crt, id, &id_len, NULL);
    return rc < 0 ? rc : gnutls_x509_crt_set_authority_key_id(crt, id, id_len);
}

/* Everything the specification says, each part with the name it has in an error message. */
static int apply_spec(gnutls_x509_crt_t crt, const struct certs_spec *spec, const char **ret_part)
{
    static const struct {
        const char *part;
        int (*set)(gnutls_x509_crt_t crt, const struct certs_spec *spec);
    } parts[] = {
        {"subject", set_identity},
        {"validity", set_times},
        {"basic constraints", set_role},
        {"extended key usage", set_purposes},
        {"subject alternative names", set_alt_names},
        {"name constraint", set_constraints},
        {"OCSP address", set_ocsp},
    };
    int rc = 0;

    for (size_t i = 0; rc >= 0 && i < sizeof parts / sizeof parts[0]; i++) {
        *ret_part = parts[i].part;
        rc = parts[i].set(crt, spec);
    }
    return rc;
}

static char *copy_text(const gnutls_datum_t *text)
{
    char *copy = sp_calloc(1, (size_t)text->size + 1);

    memcpy(copy, text->data, text->size);
    return copy;
}

/* The finished forms: DER, and PEM with what is above it. */
static int export_pair(struct certs_pair *pair, const struct certs_pair *issuer)
{
    const char *above = issuer && !issuer->self_signed ? issuer->chain_pem : "";
    gnutls_datum_t pem = {NULL, 0};
    int rc = gnutls_x509_crt_export2(pair->crt, GNUTLS_X509_FMT_DER, &pair->der);

    if (rc < 0)
        return rc;
    rc = gnutls_x509_crt_export2(pair->crt, GNUTLS_X509_FMT_PEM, &pem);
    if (rc < 0)
        return rc;
    pair->chain_pem = sp_calloc(1, pem.size + strlen(above) + 1);
    memcpy(pair->chain_pem, pem.data, pem.size);
    memcpy(pair->chain_pem + pem.size, above, strlen(above));
    gnutls_free(pem.data);
    return 0;
}

static int build_pair(struct certs_pair *pair, const struct certs_spec *spec,
                      const struct certs_pair *issuer, const char **ret_part)
{
    const struct certs_pair *signer = issuer ? issuer : pair;
    gnutls_digest_algorithm_t digest = GNUTLS_DIG_SHA1;
    int rc;

    *ret_part = "key";
    rc = gnutls_x509_privkey_init(&pair->key);
    if (rc < 0)
        return rc;
    rc = generate_key(spec->key, pair->key);
    if (rc < 0)
        return rc;
    *ret_part = "certificate";
    rc = gnutls_x509_crt_init(&pair->crt);
    if (rc < 0)
        return rc;
    rc = apply_spec(pair->crt, spec, ret_part);
    if (rc < 0)
        return rc;
    *ret_part = "key identifiers";
    rc = set_key_ids(pair->crt, pair->key, issuer);
    if (rc < 0)
        return rc;
    *ret_part = "signature";
    if (!spec->sha1)
        digest = digest_of(signer->key_kind);
    rc = gnutls_x509_crt_sign2(pair->crt, signer->crt, signer->key, digest, 0);
    return rc < 0 ? rc : export_pair(pair, issuer);
}

enum sp_err certs_mint(const struct certs_spec *spec, const struct certs_pair *issuer,
                       struct certs_pair **ret_pair, struct sp_error *err)
{
    struct certs_pair *pair = sp_calloc(1, sizeof *pair);
    const char *part = "";
    int rc;

    pair->key_kind = spec->key;
    pair->self_signed = !issuer;
    rc = build_pair(pair, spec, issuer, &part);
    if (rc < 0) {
        certs_pair_free(pair);
        return sp_error_code(err, SP_ERR_TLS, rc, "mint '%s': %s: %s",
                             spec->raw_cn ? "(raw name)" : (spec->dn ? spec->dn : ""), part,
                             gnutls_strerror(rc));
    }
    *ret_pair = pair;
    return SP_OK;
}

void certs_pair_free(struct certs_pair *pair)
{
    if (!pair)
        return;
    if (pair->crt)
        gnutls_x509_crt_deinit(pair->crt);
    if (pair->key)
        gnutls_x509_privkey_deinit(pair->key); /* GnuTLS overwrites the key material */
    gnutls_free(pair->der.data);
    free(pair->chain_pem);
    free(pair);
}

char *certs_pair_certificate_pem(const struct certs_pair *pair)
{
    gnutls_datum_t pem = {NULL, 0};
    char *text;

    if (gnutls_x509_crt_export2(pair->crt, GNUTLS_X509_FMT_PEM, &pem) < 0)
        return NULL;
    text = copy_text(&pem);
    gnutls_free(pem.data);
    return text;
}

char *certs_pair_chain_pem(const struct certs_pair *pair)
{
    return sp_strdup(pair->chain_pem);
}

char *certs_pair_key_pem(const struct certs_pair *pair)
{
    gnutls_datum_t pem = {NULL, 0};
    char *text;

    if (gnutls_x509_privkey_export2_pkcs8(pair->key, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN,
                                          &pem) < 0)
        return NULL;
    text = copy_text(&pem);
    gnutls_memset(pem.data, 0, pem.size);
    gnutls_free(pem.data);
    return text;
}

void certs_secret_free(char *secret)
{
    if (!secret)
        return;
    gnutls_memset(secret, 0, strlen(secret));
    free(secret);
}

const uint8_t *certs_pair_der(const struct certs_pair *pair, size_t *ret_len)
{
    *ret_len = pair->der.size;
    return pair->der.data;
}

static int fill_crl(gnutls_x509_crl_t crl, const struct certs_pair *ca,
                    const struct certs_pair *const *revoked, size_t revoked_count, int64_t begin,
                    int64_t end)
{
    uint8_t id[KEY_ID_MAX];
    size_t id_len = sizeof id;
    uint8_t number[8];
    int rc = gnutls_x509_crl_set_version(crl, 2);

    if (rc >= 0)
        rc = gnutls_x509_crl_set_this_update(crl, (time_t)begin);
    if (rc >= 0)
        rc = gnutls_x509_crl_set_next_update(crl, (time_t)end);
    for (size_t i = 0; rc >= 0 && i < revoked_count; i++)
        rc = gnutls_x509_crl_set_crt(crl, revoked[i]->crt, (time_t)begin);
    if (rc >= 0)
        rc = gnutls_x509_crt_get_subject_key_id(ca->crt, id, &id_len, NULL);
    if (rc >= 0)
        rc = gnutls_x509_crl_set_authority_key_id(crl, id, id_len);
    /* A later list must carry a larger number (RFC 5280 5.2.3): the time does. */
    for (size_t i = 0; i < sizeof number; i++)
        number[i] = (uint8_t)((uint64_t)begin >> (8 * (sizeof number - 1 - i)));
    if (rc >= 0)
        rc = gnutls_x509_crl_set_number(crl, number, sizeof number);
    if (rc >= 0)
        rc = gnutls_x509_crl_sign2(crl, ca->crt, ca->key, digest_of(ca->key_kind), 0);
    return rc;
}

char *certs_mint_crl_pem(const struct certs_pair *ca, const struct certs_pair *const *revoked,
                         size_t revoked_count, int64_t this_update, int64_t next_update)
{
    gnutls_x509_crl_t crl;
    gnutls_datum_t pem = {NULL, 0};
    char *text = NULL;

    resolve_times(&this_update, &next_update);
    if (gnutls_x509_crl_init(&crl) < 0)
        return NULL;
    if (fill_crl(crl, ca, revoked, revoked_count, this_update, next_update) >= 0 &&
        gnutls_x509_crl_export2(crl, GNUTLS_X509_FMT_PEM, &pem) >= 0) {
        text = copy_text(&pem);
        gnutls_free(pem.data);
    }
    gnutls_x509_crl_deinit(crl);
    return text;
}
