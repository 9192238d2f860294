#include "common/tls_upper.h"

#include "common/error.h"
#include "common/hash.h"
#include "common/tls_chain.h"
#include "common/tls_kdf.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>

#define PLACES           1024
#define PARSED_PLACES    64
#define NAME_PLACES      64
#define CRTS_MAX         (SP_CHAIN_MAX_CERTS + 1)
#define NAME_CONSTRAINTS "2.5.29.30"

struct parsed {
    gnutls_x509_crt_t crt; /* NULL: none */
    uint8_t *der;
    size_t len;
};

struct name {
    uint8_t *dn; /* NULL: none */
    size_t len;
    char *text;
};

struct sp_tls_uppers {
    uint8_t (*keys)[SP_TLS_UPPER_KEY]; /* PLACES of them; zeros: none. NULL until the first */
    struct parsed parsed[PARSED_PLACES];
    struct name names[NAME_PLACES];
};

_Static_assert(SP_TLS_UPPER_KEY == SP_SHA256_LEN, "a key is a SHA-256");

struct sp_tls_uppers *sp_tls_uppers_new(void)
{
    return sp_calloc(1, sizeof(struct sp_tls_uppers));
}

static void drop_parsed(struct parsed *parsed)
{
    gnutls_x509_crt_deinit(parsed->crt); /* NULL is none */
    free(parsed->der);
}

static void drop_name(struct name *name)
{
    free(name->dn);
    free(name->text);
}

void sp_tls_uppers_free(struct sp_tls_uppers *uppers)
{
    if (!uppers)
        return;
    for (size_t i = 0; i < PARSED_PLACES; i++)
        drop_parsed(&uppers->parsed[i]);
    for (size_t i = 0; i < NAME_PLACES; i++)
        drop_name(&uppers->names[i]);
    free(uppers->keys);
    free(uppers);
}

bool sp_tls_upper_key(struct gnutls_x509_crt_int *const *crts, size_t count,
                      const struct sp_chain_query *query, uint8_t ret_key[SP_TLS_UPPER_KEY])
{
    const uint32_t asked[] = {(uint32_t)query->purpose, query->min_key_bits};
    gnutls_datum_t der[CRTS_MAX];
    /* DER says its own length, so two lists of certificates never make the same bytes. */
    struct sp_sha256_part parts[1 + CRTS_MAX] = {{asked, sizeof asked}};
    size_t had = 0;

    SP_REQUIRE(count <= CRTS_MAX);
    while (had < count && gnutls_x509_crt_export2(crts[had], GNUTLS_X509_FMT_DER, &der[had]) >= 0) {
        parts[1 + had] = (struct sp_sha256_part){der[had].data, der[had].size};
        had++;
    }
    if (had == count)
        sp_sha256_parts(parts, 1 + count, ret_key);
    for (size_t i = 0; i < had; i++)
        gnutls_free(der[i].data);
    return had == count;
}

static size_t place_of(const uint8_t key[SP_TLS_UPPER_KEY])
{
    return (key[0] | (size_t)key[1] << 8) % PLACES;
}

bool sp_tls_upper_held(const struct sp_tls_uppers *uppers, const uint8_t key[SP_TLS_UPPER_KEY])
{
    return uppers->keys && memcmp(uppers->keys[place_of(key)], key, SP_TLS_UPPER_KEY) == 0;
}

/* Anything but a clear no counts as yes. */
static bool has_name_constraints(gnutls_x509_crt_t crt)
{
    size_t len = 0;

    return gnutls_x509_crt_get_extension_by_oid(crt, NAME_CONSTRAINTS, 0, NULL, &len, NULL) !=
           GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE;
}

void sp_tls_upper_keep(struct sp_tls_uppers *uppers, struct gnutls_x509_crt_int *const *crts,
                       size_t count, const uint8_t key[SP_TLS_UPPER_KEY])
{
    for (size_t i = 0; i < count; i++)
        if (has_name_constraints(crts[i]))
            return;
    if (!uppers->keys)
        uppers->keys = sp_calloc(PLACES, sizeof *uppers->keys);
    memcpy(uppers->keys[place_of(key)], key, SP_TLS_UPPER_KEY);
}

/* Only who has a good chain puts anything in, so whose places these are need be no secret. */
static size_t place_of_bytes(const uint8_t *der, size_t len, size_t places)
{
    static const uint8_t key[16] = {0};

    return sp_hash_siphash(key, der, len) % places;
}

gnutls_x509_crt_t sp_tls_upper_parsed(const struct sp_tls_uppers *uppers, const uint8_t *der,
                                      size_t len)
{
    const struct parsed *parsed = &uppers->parsed[place_of_bytes(der, len, PARSED_PLACES)];

    return parsed->crt && parsed->len == len && memcmp(parsed->der, der, len) == 0 ? parsed->crt
                                                                                   : NULL;
}

void sp_tls_upper_keep_parsed(struct sp_tls_uppers *uppers, gnutls_x509_crt_t crt,
                              const uint8_t *der, size_t len)
{
    struct parsed *parsed = &uppers->parsed[place_of_bytes(der, len, PARSED_PLACES)];

    drop_parsed(parsed);
    *parsed = (struct parsed){.crt = crt, .der = sp_calloc(1, len), .len = len};
    memcpy(parsed->der, der, len);
}

bool sp_tls_upper_name(const struct sp_tls_uppers *uppers, const uint8_t *dn, size_t len, char *buf,
                       size_t room)
{
    const struct name *name = &uppers->names[place_of_bytes(dn, len, NAME_PLACES)];
    size_t text_len;

    if (!name->dn || name->len != len || memcmp(name->dn, dn, len) != 0)
        return false;
    text_len = strlen(name->text);
    if (text_len >= room)
        return false;
    memcpy(buf, name->text, text_len + 1);
    return true;
}

void sp_tls_upper_keep_name(struct sp_tls_uppers *uppers, const uint8_t *dn, size_t len,
                            const char *text)
{
    struct name *name = &uppers->names[place_of_bytes(dn, len, NAME_PLACES)];

    drop_name(name);
    *name =
        (struct name){.dn = sp_calloc(1, len), .len = len, .text = sp_calloc(1, strlen(text) + 1)};
    memcpy(name->dn, dn, len);
    memcpy(name->text, text, strlen(text) + 1);
}
