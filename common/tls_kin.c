#include "common/tls_kin.h"

#include "common/tls_trust.h"

#include <ctype.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509-ext.h>
#include <string.h>
#include <strings.h>

#define NAME_MAX_LEN 256
#define WORD_MIN     3
#define OID_AKI      "2.5.29.35"

/* What many CAs have in their names without being kin. "tenant" and "customer" are among them:
 * a provider names the CAs of all its customers alike. */
static bool is_common_word(const char *word, size_t len)
{
    static const char *const words[] = {
        "ca",          "root",     "intermediate", "issuing",      "issuer",        "sub",
        "subordinate", "client",   "clients",      "server",       "servers",       "test",
        "tests",       "testing",  "demo",         "example",      "authority",     "authorities",
        "cert",        "certs",    "certificate",  "certificates", "certification", "signing",
        "policy",      "global",   "trust",        "trusted",      "secure",        "security",
        "tls",         "ssl",      "rsa",          "ecc",          "ecdsa",         "sha256",
        "sha384",      "service",  "services",     "device",       "devices",       "user",
        "users",       "internal", "external",     "private",      "public",        "primary",
        "pki",         "level",    "class",        "tenant",       "tenants",       "customer",
        "customers",   "company",  "corporate",    "corp",         "inc",           "ltd",
        "gmbh",        "the",      "and",          "for",          "new",           "old",
        "agent",       "agents",   "gateway",      "network",      "online",        "offline",
        "production",  "prod",     "staging",
    };
    size_t letters = 0;

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strlen(words[i]) == len && strncasecmp(words[i], word, len) == 0)
            return true;
    while (letters < len && !isdigit((unsigned char)word[letters]))
        letters++;
    /* generations and years: g1, r10, x3, 2026 */
    return letters <= 1 && len - letters <= 4;
}

/* The length of the next word at *text (moved to it); 0: no more. Bytes of UTF-8 letters count as
 * letters. */
static size_t next_word(const char **text)
{
    size_t len = 0;

    while (**text && !isalnum((unsigned char)**text) && !((unsigned char)**text & 0x80))
        (*text)++;
    while (isalnum((unsigned char)(*text)[len]) || ((unsigned char)(*text)[len] & 0x80))
        len++;
    return len;
}

static bool shares_word(const char *a, const char *b)
{
    for (size_t a_len = next_word(&a); a_len; a += a_len, a_len = next_word(&a)) {
        const char *other = b;

        if (a_len < WORD_MIN || is_common_word(a, a_len))
            continue;
        for (size_t len = next_word(&other); len; other += len, len = next_word(&other))
            if (len == a_len && strncasecmp(a, other, len) == 0)
                return true;
    }
    return false;
}

static bool word_is(const char *word, size_t len, const char *wanted)
{
    return strlen(wanted) == len && strncasecmp(word, wanted, len) == 0;
}

/* A number above 1, as in "Level 2". */
static bool is_lower_level(const char *word, size_t len)
{
    return len && strspn(word, "0123456789") >= len && !(len == 1 && *word <= '1');
}

static const char *issuer_part(gnutls_x509_crt_t crt, const char *oid, char buf[NAME_MAX_LEN])
{
    size_t len = NAME_MAX_LEN;

    if (gnutls_x509_crt_get_issuer_dn_by_oid(crt, oid, 0, 0, buf, &len) < 0)
        buf[0] = '\0';
    return buf;
}

static const char *subject_part(gnutls_x509_crt_t crt, const char *oid, char buf[NAME_MAX_LEN])
{
    size_t len = NAME_MAX_LEN;

    if (gnutls_x509_crt_get_dn_by_oid(crt, oid, 0, 0, buf, &len) < 0)
        buf[0] = '\0';
    return buf;
}

/* GnuTLS gives a directory name in an extension as text, in one of two orders by version: both of
 * the CA's are tried. */
static bool subject_reads(gnutls_x509_crt_t ca, const gnutls_datum_t *text)
{
    static const unsigned flags[] = {0, GNUTLS_X509_DN_FLAG_COMPAT};
    bool same = false;

    for (size_t i = 0; !same && i < 2; i++) {
        gnutls_datum_t dn = {NULL, 0};

        if (gnutls_x509_crt_get_dn3(ca, &dn, flags[i]) < 0)
            continue;
        same = dn.size == text->size && memcmp(dn.data, text->data, dn.size) == 0;
        gnutls_free(dn.data);
    }
    return same;
}

static bool aki_names(gnutls_x509_aki_t aki, gnutls_x509_crt_t ca)
{
    gnutls_datum_t name, serial;
    unsigned type;

    for (unsigned i = 0; gnutls_x509_aki_get_cert_issuer(aki, i, &type, &name, NULL, &serial) >= 0;
         i++)
        if (type == GNUTLS_SAN_DN && subject_reads(ca, &name))
            return true;
    return false;
}

/* NULL when the certificate has none that can be read. */
static gnutls_x509_aki_t aki_of(gnutls_x509_crt_t crt)
{
    gnutls_datum_t der = {NULL, 0};
    gnutls_x509_aki_t aki = NULL;

    if (gnutls_x509_crt_get_extension_by_oid2(crt, OID_AKI, 0, &der, NULL) < 0)
        return NULL;
    if (gnutls_x509_aki_init(&aki) >= 0 &&
        gnutls_x509_ext_import_authority_key_id(&der, aki, 0) < 0) {
        gnutls_x509_aki_deinit(aki);
        aki = NULL;
    }
    gnutls_free(der.data);
    return aki;
}

bool sp_tls_kin_of_trust(gnutls_x509_crt_t top, const struct sp_tls_trust *trust)
{
    char organisation[NAME_MAX_LEN], common_name[NAME_MAX_LEN], other[NAME_MAX_LEN];
    gnutls_x509_aki_t aki = aki_of(top);
    gnutls_x509_crt_t ca;
    bool kin = false;

    issuer_part(top, GNUTLS_OID_X520_ORGANIZATION_NAME, organisation);
    issuer_part(top, GNUTLS_OID_X520_COMMON_NAME, common_name);
    for (size_t i = 0; !kin && (ca = sp_tls_trust_any(trust, i)) != NULL; i++) {
        kin = aki && aki_names(aki, ca);
        if (!kin && organisation[0])
            kin = strcasecmp(organisation,
                             subject_part(ca, GNUTLS_OID_X520_ORGANIZATION_NAME, other)) == 0;
        if (!kin)
            kin = shares_word(common_name, subject_part(ca, GNUTLS_OID_X520_COMMON_NAME, other));
    }
    if (aki)
        gnutls_x509_aki_deinit(aki);
    return kin;
}

bool sp_tls_kin_says_no_root(gnutls_x509_crt_t top)
{
    static const char *const words[] = {"intermediate", "intermediary", "issuing",    "issuer",
                                        "sub",          "subca",        "subordinate"};
    char common_name[NAME_MAX_LEN];
    const char *text = issuer_part(top, GNUTLS_OID_X520_COMMON_NAME, common_name);
    bool after_level = false, says_so = false;

    for (size_t len = next_word(&text); len; text += len, len = next_word(&text)) {
        if (word_is(text, len, "root"))
            return false;
        says_so = says_so || (after_level && is_lower_level(text, len));
        for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
            says_so = says_so || word_is(text, len, words[i]);
        after_level = word_is(text, len, "level");
    }
    return says_so;
}
