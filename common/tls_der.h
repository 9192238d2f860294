/*
 * tls_der: a walk through DER, element by element, for what GnuTLS reads too dearly. Knows lengths
 * of at most four bytes and tags of one.
 *
 * Everything is borrowed: pointers into the caller's bytes. Nothing is read past their end. Pure.
 */
#ifndef SALLYPORT_COMMON_TLS_DER_H
#define SALLYPORT_COMMON_TLS_DER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SP_TLS_DER_BOOLEAN = 0x01,
    SP_TLS_DER_INTEGER = 0x02,
    SP_TLS_DER_BIT_STRING = 0x03,
    SP_TLS_DER_OCTET_STRING = 0x04,
    SP_TLS_DER_OID = 0x06,
    SP_TLS_DER_ENUMERATED = 0x0a,
    SP_TLS_DER_UTC_TIME = 0x17,
    SP_TLS_DER_GENERALIZED_TIME = 0x18,
    SP_TLS_DER_SEQUENCE = 0x30,
    SP_TLS_DER_EXTENSIONS = 0xa0,   /* [0] of a list */
    SP_TLS_DER_INDIRECT_CRL = 0x84, /* [4] of issuingDistributionPoint */
};

/* What is left. */
struct sp_tls_der {
    const uint8_t *at, *end;
};

size_t sp_tls_der_len(const struct sp_tls_der *d);
bool sp_tls_der_is(const struct sp_tls_der *d, int tag); /* the tag of the element at the front */
/* Takes the element at the front when it has this tag; its content, and (unless NULL) the whole. */
bool sp_tls_der_take(struct sp_tls_der *d, int tag, struct sp_tls_der *ret_content,
                     struct sp_tls_der *ret_whole);
/* Takes a tag around exactly one element. */
bool sp_tls_der_take_explicit(struct sp_tls_der *d, int outer, int inner, struct sp_tls_der *ret);
/* Takes an INTEGER; zero bytes that do not change its value are left out, so that equal numbers are
 * equal bytes. The sign stays: 00 80 is not 80. */
bool sp_tls_der_take_integer(struct sp_tls_der *d, struct sp_tls_der *ret);
/* UTCTime YYMMDDHHMMSSZ or GeneralizedTime YYYYMMDDHHMMSSZ, as RFC 5280 allows them. */
bool sp_tls_der_take_time(struct sp_tls_der *d, int64_t *ret);
/* "2.5.29.28", for messages: what does not fit is left out. */
void sp_tls_der_oid_text(const struct sp_tls_der *oid, char *buf, size_t buf_len);
/* Takes an X.509 extension; its value is what the OCTET STRING holds. */
bool sp_tls_der_take_extension(struct sp_tls_der *list, struct sp_tls_der *ret_oid,
                               bool *ret_critical, struct sp_tls_der *ret_value);
/* The same bytes; of two that are not there (NULL) too. */
bool sp_tls_der_equal(const struct sp_tls_der *a, const struct sp_tls_der *b);
/* An OID as DER has it: SP_TLS_OID("\x55\x1d\x0f"). */
#define SP_TLS_OID(bytes)                                                                          \
    ((struct sp_tls_der){(const uint8_t *)(bytes), (const uint8_t *)(bytes) + sizeof(bytes) - 1})
/* One of the extensions 2.5.29.x that X.509 itself defines: its x; otherwise -1. */
int sp_tls_der_standard_oid(const struct sp_tls_der *oid);
/* A CRLReason (RFC 5280 5.3.1): "keyCompromise"; "" for unspecified and unknown ones. */
const char *sp_tls_der_cause_text(unsigned cause);
/* The header of a SEQUENCE, at most 6 bytes; its length. */
size_t sp_tls_der_put_header(uint8_t *at, size_t len);
#endif
