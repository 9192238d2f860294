/*
 * ocsp_maker: OCSP responses as a responder would sign them, and as none should: for tests and fuzz
 * targets. Written without the code under test (but for its DER headers), with GnuTLS's keys.
 *
 * What is returned is malloc'd; what cannot be made aborts.
 */
#ifndef SALLYPORT_TESTS_SUPPORT_OCSP_MAKER_H
#define SALLYPORT_TESTS_SUPPORT_OCSP_MAKER_H
#include "certs/mint.h"
#include "common/tls_chain.h"
#include <gnutls/gnutls.h>

enum ocsp_said { OCSP_SAYS_GOOD, OCSP_SAYS_REVOKED, OCSP_SAYS_UNKNOWN };

struct ocsp_entry {
    const struct certs_pair *cert, *issuer; /* of the CertID */
    gnutls_digest_algorithm_t hash;         /* 0: SHA-1 */
    bool bad_name_hash, bad_key_hash;       /* one bit of it is another */
    bool short_hashes;                      /* only the first half of each */
    bool longer_serial;                     /* one byte 01 behind it */
    bool padded_serial;                     /* one byte 00 before it */
    const void *serial;                     /* NULL: the certificate's */
    size_t serial_len;
    enum ocsp_said said;
    int64_t revoked_at;
    int cause;                        /* 0: none */
    int64_t this_update, next_update; /* next_update 0: none */
    bool utc_time;                    /* thisUpdate in the form OCSP does not have */
    bool critical;                    /* has a critical extension that nobody knows */
};

struct ocsp_spec {
    unsigned status; /* responseStatus; unless 0 there is nothing else in it */
    const struct ocsp_entry *entries;
    size_t count;
    int64_t produced_at;
    const uint8_t *nonce;
    size_t nonce_len;
    bool raw_nonce;                         /* without the OCTET STRING around it */
    bool two_nonces;                        /* a second one, of zero bytes */
    bool critical, other;                   /* extensions that nobody knows */
    const char *oid;                        /* of that extension; NULL: one that nobody knows */
    unsigned version;                       /* 0: not written; 1: written, which DER would not */
    const struct certs_pair *signer;        /* whose key signs */
    const struct certs_pair *responder;     /* whom responderID names; NULL: signer */
    bool by_key;                            /* names him by his key */
    gnutls_sign_algorithm_t sign;           /* 0: as the key likes it */
    bool bad_signature;                     /* one bit of it is another */
    bool no_signature;                      /* an empty one */
    const struct sp_bytes *certs;           /* included; NULL: none */
    size_t cert_count, cert_copies;         /* cert_copies: each so many times more */
    size_t entry_copies;                    /* of the last entry */
    size_t trailing_outside, trailing_body; /* zero bytes behind the response; behind the
                                               BasicOCSPResponse */
};

uint8_t *ocsp_make(const struct ocsp_spec *spec, size_t *ret_len);
/* Its two steps: what is signed, and the response around (perhaps another) such text. */
uint8_t *ocsp_make_tbs(const struct ocsp_spec *spec, size_t *ret_len);
uint8_t *ocsp_make_around(const struct ocsp_spec *spec, const uint8_t *tbs, size_t tbs_len,
                          size_t *ret_len);

/* A pair's certificate once more, by the same issuer, changed as minting does not know it. */
struct ocsp_change {
    bool bare;           /* first of all, without any extension */
    const char *purpose; /* OID, added to extendedKeyUsage */
    unsigned usage;      /* GNUTLS_KEY_*; 0: as it was */
    const char *oid;     /* of an extension, replaced or added */
    const void *value;   /* DER */
    size_t value_len;
    bool critical;
    const void *serial; /* NULL: as it was */
    size_t serial_len;
};
uint8_t *ocsp_reissue(const struct certs_pair *pair, const struct certs_pair *issuer,
                      const struct ocsp_change *change, size_t *ret_len);
struct sp_bytes ocsp_der(const struct certs_pair *pair); /* borrowed */
#endif
