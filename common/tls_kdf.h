/*
 * tls_kdf: the two primitives that the gateway's registry needs for ticket keys (invariant 2).
 * Here, because GnuTLS is included in common/tls_*.c only. Pure; thread-safe.
 * Neither can fail on valid arguments: a library that refuses them is unusable, and aborts.
 */
#ifndef SALLYPORT_COMMON_TLS_KDF_H
#define SALLYPORT_COMMON_TLS_KDF_H
#include <stddef.h>
#include <stdint.h>

#define SP_SHA256_LEN 32

void sp_sha256(const void *data, size_t len, uint8_t ret_digest[SP_SHA256_LEN]);

struct sp_sha256_part {
    const void *data;
    size_t len;
};
/* Over the parts one after the other, as if they were one text: where one ends is not seen. */
void sp_sha256_parts(const struct sp_sha256_part *parts, size_t count,
                     uint8_t ret_digest[SP_SHA256_LEN]);

/* HKDF-SHA256 (RFC 5869) without salt: ret_key_len bytes (at most 255 * 32) from `secret`, bound to
 * `info`. The caller makes info unambiguous: a label first, then fields of known length. */
void sp_kdf(const void *secret, size_t secret_len, const void *info, size_t info_len,
            uint8_t *ret_key, size_t ret_key_len);
#endif
