/*
 * tls_ocsp_parse: the outline of an OCSP response. For tls_ocsp_* only.
 *
 * Everything is borrowed from the caller's bytes; nothing in it is verified. Trailing bytes are an
 * error at every depth, and so are numbers of entries and certificates that no honest responder
 * sends. Pure and thread-safe.
 */
#ifndef SALLYPORT_COMMON_TLS_OCSP_PARSE_H
#define SALLYPORT_COMMON_TLS_OCSP_PARSE_H
#include "common/tls_chain.h"
#include "common/tls_outline.h"

#define SP_OCSP_ENTRIES_MAX 128
#define SP_OCSP_CERTS_MAX   8

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
    struct sp_tls_signed sig;
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
#endif
