#include "common/tls_kdf.h"

#include <string.h>

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include "common/error.h"

void sp_sha256(const void *data, size_t len, uint8_t ret_digest[SP_SHA256_LEN])
{
    SP_REQUIRE(gnutls_hash_fast(GNUTLS_DIG_SHA256, data, len, ret_digest) == 0);
}

void sp_sha256_parts(const struct sp_sha256_part *parts, size_t count,
                     uint8_t ret_digest[SP_SHA256_LEN])
{
    gnutls_hash_hd_t hash;

    SP_REQUIRE(gnutls_hash_init(&hash, GNUTLS_DIG_SHA256) == 0);
    for (size_t i = 0; i < count; i++)
        SP_REQUIRE(gnutls_hash(hash, parts[i].data, parts[i].len) == 0);
    gnutls_hash_deinit(hash, ret_digest);
}

/* gnutls_datum_t has no const; the functions below only read. */
static gnutls_datum_t borrow(const void *data, size_t len)
{
    gnutls_datum_t datum = {.size = (unsigned)len};

    SP_REQUIRE(len <= UINT32_MAX);
    memcpy(&datum.data, &data, sizeof datum.data);
    return datum;
}

void sp_kdf(const void *secret, size_t secret_len, const void *info, size_t info_len,
            uint8_t *ret_key, size_t ret_key_len)
{
    static const uint8_t zero_salt[SP_SHA256_LEN]; /* RFC 5869 2.2: no salt means HashLen zeros */
    gnutls_datum_t ikm = borrow(secret, secret_len);
    gnutls_datum_t salt = borrow(zero_salt, sizeof zero_salt);
    gnutls_datum_t context = borrow(info, info_len);
    uint8_t prk[SP_SHA256_LEN];
    gnutls_datum_t prk_datum = borrow(prk, sizeof prk);

    SP_REQUIRE(gnutls_hkdf_extract(GNUTLS_MAC_SHA256, &ikm, &salt, prk) == 0);
    SP_REQUIRE(gnutls_hkdf_expand(GNUTLS_MAC_SHA256, &prk_datum, &context, ret_key, ret_key_len) ==
               0);
    gnutls_memset(prk, 0, sizeof prk);
}
