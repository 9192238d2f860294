/*
 * tls_ocsp_parse: the outline of an OCSP response, and of a certificate as far as OCSP needs it.
 * For tls_ocsp_* only.
 *
 * Everything is borrowed from the caller's bytes; nothing in it is verified. Trailing bytes are an
 * error at every depth, and so are numbers of entries and certificates that no honest responder
 * sends. Pure and thread-safe.
 */
#ifndef SALLYPORT_COMMON_TLS_OCSP_PARSE_H
#define SALLYPORT_COMMON_TLS_OCSP_PARSE_H
#include "common/tls_chain.h"
#include "common/tls_der.h"

#define SP_OCSP_ENTRIES_MAX 128
#define SP_OCSP_CERTS_MAX   8

/* What a signature is on. */
struct sp_ocsp_signed {
    struct sp_tls_der text;      /* with its header */
    struct sp_tls_der algorithm; /* the inside of the AlgorithmIdentifier */
    struct sp_tls_der signature;
};

struct sp_ocsp_cert {
    struct sp_tls_der whole;
    struct sp_ocsp_signed sig;
    struct sp_tls_der serial;          /* without zero bytes that say nothing */
    struct sp_tls_der issuer, subject; /* with their headers */
    int64_t not_before, not_after;
    struct sp_tls_der spki;       /* with its header */
    struct sp_tls_der key;        /* its bits */
    struct sp_tls_der extensions; /* {NULL, NULL}: none */
};

enum sp_ocsp_said { SP_OCSP_SAID_GOOD, SP_OCSP_SAID_REVOKED, SP_OCSP_SAID_UNKNOWN };

struct sp_ocsp_single {
    struct sp_tls_der hash_oid, name_hash, key_hash, serial;
    enum sp_ocsp_said said;
    int64_t revoked_at, this_update, next_update; /* next_update 0: none */
    unsigned cause;
    struct sp_tls_der critical; /* OID of an extension that must be known and is not */
};

struct sp_ocsp_basic {
    unsigned status; /* responseStatus; unless 0 nothing else is set */
    struct sp_ocsp_signed sig;
    struct sp_tls_der by_name, by_key; /* one of them; a name has its header */
    int64_t produced_at;
    struct sp_tls_der entries; /* for sp_ocsp_parse_single; all of them can be read */
    struct sp_tls_der certs;   /* a row of certificates; {NULL, NULL}: none */
    struct sp_tls_der nonce;   /* {NULL, NULL}: none, or not as RFC 8954 has it */
    struct sp_tls_der critical;
};

/* NULL: read; else what is malformed ("its signature"). */
const char *sp_ocsp_parse(const struct sp_bytes *response, struct sp_ocsp_basic *ret_basic);
/* Takes the entry at the front. */
bool sp_ocsp_parse_single(struct sp_tls_der *entries, struct sp_ocsp_single *ret_single);
/* Takes the certificate at the front. */
bool sp_ocsp_parse_cert(struct sp_tls_der *certs, struct sp_ocsp_cert *ret_cert);
/* One certificate and nothing behind it. */
bool sp_ocsp_parse_only_cert(const struct sp_bytes *der, struct sp_ocsp_cert *ret_cert);

/* OIDs as DER has them. */
#define SP_OCSP_OID(bytes)                                                                         \
    ((struct sp_tls_der){(const uint8_t *)(bytes), (const uint8_t *)(bytes) + sizeof(bytes) - 1})
enum sp_ocsp_found { SP_OCSP_ABSENT, SP_OCSP_FOUND, SP_OCSP_BROKEN };
/* BROKEN: the list is malformed, or has it twice. */
enum sp_ocsp_found sp_ocsp_extension(const struct sp_ocsp_cert *cert, struct sp_tls_der oid,
                                     struct sp_tls_der *ret_value);
#endif
