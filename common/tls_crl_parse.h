/*
 * tls_crl_parse: a file of revocation lists, read by a parser of our own: GnuTLS's takes a gigabyte
 * for a million entries. For tls_crl only.
 *
 * Its result is immutable and reference counted. Bounded by the file's size; nothing in it is
 * trusted: signatures are verified later, when the issuer is known.
 */
#ifndef SALLYPORT_COMMON_TLS_CRL_PARSE_H
#define SALLYPORT_COMMON_TLS_CRL_PARSE_H
#include "common/tls_crl_file.h"
#include <gnutls/gnutls.h>
#include <stdint.h>

#define SP_TLS_CRL_SERIAL_MAX 20 /* RFC 5280 4.1.2.2 */

struct sp_tls_crl_entry {
    uint8_t serial[SP_TLS_CRL_SERIAL_MAX]; /* without leading zero bytes */
    uint8_t len, cause;
    int64_t revoked_at;
};

struct sp_tls_crl {
    gnutls_datum_t issuer; /* DER name */
    char *issuer_text;     /* RFC 4514 */
    int64_t this_update, next_update;
    gnutls_sign_algorithm_t sign;
    gnutls_datum_t signature;
    gnutls_datum_t signed_part; /* what is verified: the digest, or with EdDSA the whole text */
    bool is_digest;
    struct sp_tls_crl_entry *entries; /* sorted */
    size_t count;
};

struct sp_tls_crl_file {
    _Atomic size_t refs;
    uint8_t digest[32]; /* of the content */
    struct sp_tls_crl *crls;
    size_t count;
};

/* Strips leading zero bytes. NULL: it is not listed. */
const struct sp_tls_crl_entry *sp_tls_crl_find(const struct sp_tls_crl *crl, const uint8_t *serial,
                                               size_t len);
#endif
