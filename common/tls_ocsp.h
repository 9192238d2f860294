/*
 * tls_ocsp: one OCSP response (RFC 6960) judged about one certificate, and the request for it. No
 * sockets and no clock: responses come from a query, a staple or a file, and none is trusted.
 *
 * Read by a parser of our own: GnuTLS looks at the first entry of a response only, takes "unknown"
 * for checked, and leaves freshness to its caller. Only signatures are GnuTLS's work.
 *
 * Everything is borrowed for the call. Pure and thread-safe.
 */
#ifndef SALLYPORT_COMMON_TLS_OCSP_H
#define SALLYPORT_COMMON_TLS_OCSP_H
#include "common/error.h"
#include "common/tls_chain.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_OCSP_RESPONSE_MAX 65536 /* bytes; a longer one is not looked at */
#define SP_OCSP_NONCE_MAX    32    /* RFC 8954 */
#define SP_OCSP_SERIAL_TEXT  41    /* hex of the longest serial number */
#define SP_OCSP_URL_MAX      1024  /* a good buf_len for sp_ocsp_responder_url */

struct sp_ocsp_query {
    struct sp_bytes cert, issuer; /* DER; the caller has verified that this issuer signed the
                                     certificate, and that it is trusted itself */
    int64_t now;
    int64_t max_age_s;    /* an answer older than that is stale; 0: nextUpdate alone decides, and
                             must be there */
    const uint8_t *nonce; /* what the request had */
    size_t nonce_len;     /* 0: none was sent (staple, stored answer): that of the response does not
                             matter */
};

enum sp_ocsp_status {
    SP_OCSP_INVALID, /* nothing is known: broken, foreign, stale, about something else... */
    SP_OCSP_UNKNOWN, /* the responder says that he does not know the certificate: never good */
    SP_OCSP_GOOD,
    SP_OCSP_REVOKED,
};

struct sp_ocsp_answer {
    enum sp_ocsp_status status;
    /* Seconds since 1970. Of an INVALID one they are for the log: 0 unless the signature is good
     * and an entry is about the certificate. */
    int64_t produced_at, this_update;
    int64_t next_update; /* 0: none given */
    int64_t expires;     /* from this second on it is stale: the earlier of nextUpdate and
                            thisUpdate + max_age */
    int64_t revoked_at;  /* if REVOKED */
    const char *cause;   /* if REVOKED: "keyCompromise", as tls_crl says it; "": none given */
    char
        responder[SP_DN_MAX]; /* who signed, RFC 4514; "key " and the hex of the SHA-1 of the key
                                 where he has no name; "" until the signature is known to be good */
    char delegate[SP_OCSP_SERIAL_TEXT]; /* where the issuer let somebody else sign, whose
                                 certificate may be revoked itself (it has no ocsp-nocheck): its
                                 serial number in hex; else "" */
    char hash[72];                      /* "sha256:" and hex, of the response */
    char detail[SP_DN_MAX]; /* INVALID, UNKNOWN: a fragment for people: "stale since 3 hours
                               (2026-11-21T21:46:50Z)"; else "" */
};

void sp_ocsp_examine(const struct sp_bytes *response, const struct sp_ocsp_query *query,
                     struct sp_ocsp_answer *ret_answer);

/* An OCSPRequest with one CertID (SHA-1: the only one that all responders know), and a nonce when
 * nonce_len is not 0. Malloc'd. Errors: a certificate that cannot be read (SP_ERR_CONFIG), a nonce
 * or serial number that is too long (SP_ERR_LIMIT). */
SP_MUST_USE enum sp_err sp_ocsp_request(const struct sp_bytes *cert, const struct sp_bytes *issuer,
                                        const uint8_t *nonce, size_t nonce_len, uint8_t **ret_der,
                                        size_t *ret_len, struct sp_error *err);

/* The first http:// or https:// OCSP address of authorityInfoAccess. False (and "" in buf): there
 * is none, or it is longer than the buffer or has bytes in it that no URL has (NUL, spaces...). */
bool sp_ocsp_responder_url(const struct sp_bytes *cert, char *buf, size_t buf_len);
/* RFC 7633: the TLS feature extension with status_request. */
bool sp_ocsp_must_staple(const struct sp_bytes *cert);
#endif
