#include "common/tls_x509.h"

#include "common/error.h"
#include "common/tls_chain.h"
#include "common/tls_outline.h"

#include <arpa/inet.h>
#include <gnutls/crypto.h>
#include <gnutls/x509-ext.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define SHA256_LEN   32
#define SERIAL_MAX   64
#define OID_SAN      "2.5.29.17"
#define EXT_SKI      SP_TLS_OID("\x55\x1d\x0e")
#define EXT_AKI      SP_TLS_OID("\x55\x1d\x23")
#define AKI_KEY_ID   0x80 /* [0] IMPLICIT OCTET STRING */
#define HASH_LEN_MIN 32   /* SHA-256 */
#define EC_BITS_MIN  224

size_t sp_tls_x509_element(const uint8_t *der, size_t len, size_t *ret_header)
{
    size_t header = 2;
    size_t body;

    if (len < 2 || der[0] != 0x30)
        return 0;
    body = der[1];
    if (body & 0x80) {
        size_t digits = body & 0x7f;

        if (digits == 0 || digits > 4 || len < 2 + digits)
            return 0;
        body = 0;
        for (size_t i = 0; i < digits; i++)
            body = body << 8 | der[2 + i];
        header += digits;
    }
    *ret_header = header;
    return body <= len - header ? header + body : 0;
}

/* Appends text that is not NUL-terminated and may have NULs inside; cuts at a whole UTF-8
 * character. */
static void put_text(char *buf, size_t buf_len, const uint8_t *text, size_t len)
{
    size_t used = strlen(buf);

    for (size_t i = 0; i < len; i++) {
        size_t step = text[i] ? 1 : 3;

        if (used + step >= buf_len) {
            if ((text[i] & 0xc0) == 0x80) { /* the character this byte ends is already half there */
                while (used && ((uint8_t)buf[used - 1] & 0xc0) == 0x80)
                    used--;
                used -= used ? 1 : 0;
            }
            break;
        }
        memcpy(buf + used, text[i] ? (const char *)text + i : "\\00", step);
        used += step;
    }
    buf[used] = '\0';
}

static const char *dn_text(int rc, gnutls_datum_t *dn, char *buf, size_t buf_len)
{
    buf[0] = '\0';
    if (rc < 0)
        return buf;
    put_text(buf, buf_len, dn->data, dn->size);
    gnutls_free(dn->data);
    return buf;
}

const char *sp_tls_x509_subject(gnutls_x509_crt_t crt, char *buf, size_t buf_len)
{
    gnutls_datum_t dn = {NULL, 0};

    return dn_text(gnutls_x509_crt_get_dn3(crt, &dn, 0), &dn, buf, buf_len);
}

const char *sp_tls_x509_issuer(gnutls_x509_crt_t crt, char *buf, size_t buf_len)
{
    gnutls_datum_t dn = {NULL, 0};

    return dn_text(gnutls_x509_crt_get_issuer_dn3(crt, &dn, 0), &dn, buf, buf_len);
}

static void put_hex(char *buf, size_t buf_len, const uint8_t *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    size_t used = strlen(buf);

    for (size_t i = 0; i < len && used + 2 < buf_len; i++) {
        buf[used++] = digits[bytes[i] >> 4];
        buf[used++] = digits[bytes[i] & 15];
    }
    buf[used] = '\0';
}

void sp_tls_x509_fingerprint(const void *der, size_t der_len, char buf[SP_TLS_FINGERPRINT_LEN])
{
    uint8_t digest[SHA256_LEN];

    SP_REQUIRE(gnutls_hash_fast(GNUTLS_DIG_SHA256, der, der_len, digest) == 0);
    strcpy(buf, "sha256:");
    put_hex(buf, SP_TLS_FINGERPRINT_LEN, digest, sizeof digest);
}

void sp_tls_x509_key_digest(gnutls_x509_crt_t crt, char buf[SP_TLS_FINGERPRINT_LEN])
{
    uint8_t digest[SHA256_LEN];
    size_t len = sizeof digest;

    buf[0] = '\0';
    if (gnutls_x509_crt_get_key_id(crt, GNUTLS_KEYID_USE_SHA256, digest, &len) < 0 ||
        len != sizeof digest)
        return;
    strcpy(buf, "sha256:");
    put_hex(buf, SP_TLS_FINGERPRINT_LEN, digest, sizeof digest);
}

void sp_tls_x509_serial(gnutls_x509_crt_t crt, char *buf, size_t buf_len)
{
    uint8_t serial[SERIAL_MAX];
    size_t len = sizeof serial;
    size_t skip = 0;

    buf[0] = '\0';
    if (gnutls_x509_crt_get_serial(crt, serial, &len) < 0)
        return;
    while (skip + 1 < len && serial[skip] == 0)
        skip++;
    put_hex(buf, buf_len, serial + skip, len - skip);
}

/* The outline lies in *ret_der, which is to be freed in either case. False: there is none. */
static bool outline_of(gnutls_x509_crt_t crt, gnutls_datum_t *ret_der, struct sp_tls_outline *ret)
{
    *ret_der = (gnutls_datum_t){NULL, 0};
    return gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_DER, ret_der) >= 0 &&
           sp_tls_outline_of(&(struct sp_bytes){ret_der->data, ret_der->size}, ret);
}

static bool has_authority_key_id(const struct sp_tls_outline *cert, struct sp_tls_der *ret_id)
{
    struct sp_tls_der value, inside;

    return sp_tls_outline_extension(cert, EXT_AKI, &value) == SP_TLS_FOUND &&
           sp_tls_der_take(&value, SP_TLS_DER_SEQUENCE, &inside, NULL) &&
           sp_tls_der_take(&inside, AKI_KEY_ID, ret_id, NULL);
}

static bool has_subject_key_id(const struct sp_tls_outline *cert, struct sp_tls_der *ret_id)
{
    struct sp_tls_der value;

    return sp_tls_outline_extension(cert, EXT_SKI, &value) == SP_TLS_FOUND &&
           sp_tls_der_take(&value, SP_TLS_DER_OCTET_STRING, ret_id, NULL);
}

/* The same name, byte for byte, and the same key identifier: what GnuTLS says yes to as well, but
 * only after it has walked through both, which takes ten times as long. */
static bool is_plainly_issued_by(gnutls_x509_crt_t crt, gnutls_x509_crt_t issuer)
{
    struct sp_tls_outline below, above;
    struct sp_tls_der wanted, has;
    gnutls_datum_t der, issuer_der = {NULL, 0};
    bool is_plain = outline_of(crt, &der, &below) && outline_of(issuer, &issuer_der, &above) &&
                    sp_tls_der_equal(&below.issuer, &above.subject) &&
                    has_authority_key_id(&below, &wanted) && has_subject_key_id(&above, &has) &&
                    sp_tls_der_equal(&wanted, &has);

    gnutls_free(der.data);
    gnutls_free(issuer_der.data);
    return is_plain;
}

bool sp_tls_x509_is_issued_by(gnutls_x509_crt_t crt, gnutls_x509_crt_t issuer)
{
    return is_plainly_issued_by(crt, issuer) || gnutls_x509_crt_check_issuer(crt, issuer);
}

/* NULL when they cannot be read. */
static gnutls_subject_alt_names_t sans_from(const gnutls_datum_t *der)
{
    gnutls_subject_alt_names_t sans = NULL;

    if (gnutls_subject_alt_names_init(&sans) >= 0 &&
        gnutls_x509_ext_import_subject_alt_names(der, sans, 0) < 0) {
        gnutls_subject_alt_names_deinit(sans);
        sans = NULL;
    }
    return sans;
}

/* The subject alternative names; NULL when there are none that can be read. */
static gnutls_subject_alt_names_t sans_of(gnutls_x509_crt_t crt)
{
    gnutls_subject_alt_names_t sans;
    gnutls_datum_t der = {NULL, 0};

    if (gnutls_x509_crt_get_extension_by_oid2(crt, OID_SAN, 0, &der, NULL) < 0)
        return NULL;
    sans = sans_from(&der);
    gnutls_free(der.data);
    return sans;
}

static bool sans_next(gnutls_subject_alt_names_t sans, unsigned *index, unsigned *ret_type,
                      gnutls_datum_t *ret_name)
{
    return sans && gnutls_subject_alt_names_get(sans, (*index)++, ret_type, ret_name, NULL) >= 0;
}

static void sans_free(gnutls_subject_alt_names_t sans)
{
    if (sans)
        gnutls_subject_alt_names_deinit(sans);
}

static bool dns_fits(const gnutls_datum_t *pattern, const char *name, size_t name_len)
{
    const char *text = (const char *)pattern->data;
    const char *dot;
    size_t skip;

    if (memchr(text, '\0', pattern->size))
        return false;
    if (pattern->size == name_len && strncasecmp(text, name, name_len) == 0)
        return true;
    if (pattern->size < 3 || text[0] != '*' || text[1] != '.')
        return false;
    /* "*.example" would cover a whole top-level domain */
    if (!memchr(text + 2, '.', pattern->size - 2) || memchr(text + 1, '*', pattern->size - 1))
        return false;
    dot = strchr(name, '.');
    if (!dot || dot == name)
        return false;
    skip = (size_t)(dot - name);
    return pattern->size - 1 == name_len - skip && strncasecmp(text + 1, dot, name_len - skip) == 0;
}

bool sp_tls_x509_name_fits(gnutls_x509_crt_t crt, const char *name)
{
    gnutls_subject_alt_names_t sans = sans_of(crt);
    size_t name_len = strlen(name);
    uint8_t ip[16];
    size_t ip_len = inet_pton(AF_INET, name, ip) == 1    ? 4
                    : inet_pton(AF_INET6, name, ip) == 1 ? 16
                                                         : 0;
    gnutls_datum_t entry;
    unsigned type, index = 0;
    bool fits = false;

    while (!fits && sans_next(sans, &index, &type, &entry)) {
        if (ip_len)
            fits = type == GNUTLS_SAN_IPADDRESS && entry.size == ip_len &&
                   memcmp(entry.data, ip, ip_len) == 0;
        else
            fits = type == GNUTLS_SAN_DNSNAME && name_len && dns_fits(&entry, name, name_len);
    }
    sans_free(sans);
    return fits;
}

const char *sp_tls_x509_names(gnutls_x509_crt_t crt, char *buf, size_t buf_len)
{
    gnutls_subject_alt_names_t sans = sans_of(crt);
    gnutls_datum_t entry;
    unsigned type, index = 0;

    buf[0] = '\0';
    while (sans_next(sans, &index, &type, &entry)) {
        char ip[INET6_ADDRSTRLEN] = "";
        size_t used = strlen(buf);

        if (type == GNUTLS_SAN_IPADDRESS && (entry.size == 4 || entry.size == 16))
            inet_ntop(entry.size == 4 ? AF_INET : AF_INET6, entry.data, ip, sizeof ip);
        else if (type != GNUTLS_SAN_DNSNAME)
            continue;
        if (used + entry.size + sizeof ip + 8 > buf_len) {
            snprintf(buf + used, buf_len - used, used ? ", ..." : "...");
            break;
        }
        if (used)
            put_text(buf, buf_len, (const uint8_t *)", ", 2);
        put_text(buf, buf_len, ip[0] ? (const uint8_t *)ip : entry.data,
                 ip[0] ? strlen(ip) : entry.size);
    }
    sans_free(sans);
    return buf;
}

bool sp_tls_x509_has_name(gnutls_x509_crt_t crt, gnutls_x509_subject_alt_name_t wanted)
{
    gnutls_subject_alt_names_t sans = sans_of(crt);
    gnutls_datum_t entry;
    unsigned type, index = 0;
    bool found = false;

    while (!found && sans_next(sans, &index, &type, &entry))
        found = type == (unsigned)wanted;
    sans_free(sans);
    return found;
}

void sp_tls_x509_each_name(gnutls_x509_crt_t crt,
                           void (*each)(void *ctx, unsigned type, const gnutls_datum_t *name),
                           void *ctx)
{
    gnutls_subject_alt_names_t sans = sans_of(crt);
    gnutls_datum_t entry;
    unsigned type, index = 0;

    while (sans_next(sans, &index, &type, &entry))
        each(ctx, type, &entry);
    sans_free(sans);
}

/* Of the ASN.1 string types those whose characters are single bytes or UTF-8: in the wide ones
 * (BMPString, UniversalString) a zero byte is half of an ordinary character. */
static bool is_bytewise(unsigned tag)
{
    return tag == 12 || tag == 18 || tag == 19 || tag == 20 || tag == 22 || tag == 26;
}

/* Whether there is anything to look for: to take names apart costs ten times as much. */
static bool has_zero_byte(const gnutls_datum_t *der)
{
    return der->size && memchr(der->data, 0, der->size);
}

bool sp_tls_x509_dn_has_nul(gnutls_x509_crt_t crt, bool issuer)
{
    gnutls_datum_t der = {NULL, 0};
    gnutls_x509_dn_t dn;
    gnutls_x509_ava_st ava;
    bool may_have;

    if ((issuer ? gnutls_x509_crt_get_raw_issuer_dn : gnutls_x509_crt_get_raw_dn)(crt, &der) < 0)
        return false;
    may_have = has_zero_byte(&der);
    gnutls_free(der.data);
    if (!may_have ||
        (issuer ? gnutls_x509_crt_get_issuer : gnutls_x509_crt_get_subject)(crt, &dn) < 0)
        return false;
    for (int rdn = 0;; rdn++) {
        int i = 0;

        while (gnutls_x509_dn_get_rdn_ava(dn, rdn, i, &ava) >= 0) {
            if (is_bytewise((unsigned)ava.value_tag) &&
                memchr(ava.value.data, '\0', ava.value.size))
                return true;
            i++;
        }
        if (i == 0)
            return false;
    }
}

static bool sans_have_nul(gnutls_x509_crt_t crt)
{
    gnutls_subject_alt_names_t sans = NULL;
    gnutls_datum_t der = {NULL, 0}, entry;
    unsigned type, index = 0;
    bool found = false;

    if (gnutls_x509_crt_get_extension_by_oid2(crt, OID_SAN, 0, &der, NULL) < 0)
        return false;
    if (has_zero_byte(&der))
        sans = sans_from(&der);
    gnutls_free(der.data);
    while (!found && sans_next(sans, &index, &type, &entry))
        found = (type == GNUTLS_SAN_DNSNAME || type == GNUTLS_SAN_URI ||
                 type == GNUTLS_SAN_RFC822NAME) &&
                memchr(entry.data, '\0', entry.size);
    sans_free(sans);
    return found;
}

bool sp_tls_x509_has_nul(gnutls_x509_crt_t crt)
{
    return sp_tls_x509_dn_has_nul(crt, false) || sans_have_nul(crt);
}

static const char *purpose_name(const char *oid)
{
    static const struct {
        const char *oid, *name;
    } names[] = {
        {GNUTLS_KP_TLS_WWW_SERVER, "serverAuth"},
        {GNUTLS_KP_TLS_WWW_CLIENT, "clientAuth"},
        {GNUTLS_KP_CODE_SIGNING, "codeSigning"},
        {GNUTLS_KP_EMAIL_PROTECTION, "emailProtection"},
        {GNUTLS_KP_TIME_STAMPING, "timeStamping"},
        {GNUTLS_KP_OCSP_SIGNING, "OCSPSigning"},
        {GNUTLS_KP_IPSEC_IKE, "ipsecIKE"},
        {GNUTLS_KP_ANY, "anyExtendedKeyUsage"},
        {GNUTLS_KP_MS_SMART_CARD_LOGON, "smartcardLogon"},
    };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i].oid, oid) == 0)
            return names[i].name;
    return oid;
}

enum sp_tls_eku sp_tls_x509_eku(gnutls_x509_crt_t crt, const char *oid, char *buf, size_t buf_len)
{
    char found[128];
    unsigned index = 0;

    buf[0] = '\0';
    for (;; index++) {
        size_t len = sizeof found;
        size_t used = strlen(buf);
        int rc = gnutls_x509_crt_get_key_purpose_oid(crt, index, found, &len, NULL);

        if (rc == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
            break;
        if (rc < 0) { /* what cannot be read grants nothing */
            snprintf(buf + used, buf_len - used, "%s", used ? ", unreadable" : "unreadable");
            return SP_TLS_EKU_LACKS;
        }
        if (strcmp(found, oid) == 0 || strcmp(found, GNUTLS_KP_ANY) == 0)
            return SP_TLS_EKU_FITS;
        snprintf(buf + used, buf_len - used, "%s%s", used ? ", " : "", purpose_name(found));
    }
    return index == 0 ? SP_TLS_EKU_ABSENT : SP_TLS_EKU_LACKS;
}

const char *sp_tls_x509_weak_key(gnutls_x509_crt_t crt, unsigned min_rsa_bits, char *buf,
                                 size_t buf_len)
{
    unsigned bits = 0;
    int pk = gnutls_x509_crt_get_pk_algorithm(crt, &bits);
    bool is_ec = pk == GNUTLS_PK_ECDSA;
    bool is_rsa = pk == GNUTLS_PK_RSA || pk == GNUTLS_PK_RSA_PSS;
    unsigned least = is_ec                    ? EC_BITS_MIN
                     : is_rsa && min_rsa_bits ? min_rsa_bits
                                              : SP_RSA_BITS_MIN; /* DSA's too */

    if (pk <= 0) {
        snprintf(buf, buf_len, "its key is of a kind that is not known");
        return buf;
    }
    if ((is_ec || is_rsa || pk == GNUTLS_PK_DSA) && bits < least) {
        snprintf(buf, buf_len, "its %s key has %u bits, %u are the least",
                 gnutls_pk_get_name((gnutls_pk_algorithm_t)pk), bits, least);
        return buf;
    }
    return NULL;
}

const char *sp_tls_x509_weak_signature(gnutls_x509_crt_t crt, char *buf, size_t buf_len)
{
    int sign = gnutls_x509_crt_get_signature_algorithm(crt);
    gnutls_digest_algorithm_t hash;

    if (sign <= 0 || sign == GNUTLS_SIGN_UNKNOWN) {
        snprintf(buf, buf_len, "it is signed with an algorithm that is not known");
        return buf;
    }
    if (sign == GNUTLS_SIGN_EDDSA_ED25519 || sign == GNUTLS_SIGN_EDDSA_ED448)
        return NULL;
    hash = gnutls_sign_get_hash_algorithm((gnutls_sign_algorithm_t)sign);
    if (gnutls_hash_get_len(hash) < HASH_LEN_MIN) {
        snprintf(buf, buf_len, "it is signed with %s",
                 gnutls_sign_get_name((gnutls_sign_algorithm_t)sign));
        return buf;
    }
    return NULL;
}
