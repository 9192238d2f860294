/*
 * tls_show: certificates for people: read from a file that somebody hands in, and what one says of
 * itself. Nothing here judges: tls_chain does.
 *
 * Pure; thread-safe. What is read belongs to its struct and is freed by its _done.
 */
#ifndef SALLYPORT_COMMON_TLS_SHOW_H
#define SALLYPORT_COMMON_TLS_SHOW_H
#include "common/error.h"
#include "common/tls_chain.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_TLS_CERTS_MAX 1000 /* of one file */

struct sp_tls_certs {
    struct sp_bytes *items; /* DER, in the order of the file */
    size_t count;
    bool had_key; /* a private key was there too, and was passed over */
};

/* PEM (whatever else is in it is passed over, keys too) or DER (one certificate). Whether the
 * certificates can be parsed is not asked: that is for a verdict. Errors (SP_ERR_CONFIG): none in
 * it; a block that is no base64; too many. */
SP_MUST_USE enum sp_err sp_tls_certs_read(const uint8_t *data, size_t len,
                                          struct sp_tls_certs *ret_certs, struct sp_error *err);
void sp_tls_certs_done(struct sp_tls_certs *certs);
/* As a peer would have sent them: borrowed, and not more than a chain holds. */
void sp_tls_certs_chain(const struct sp_tls_certs *certs, struct sp_chain *ret_chain);

struct sp_tls_shown {
    char subject[SP_DN_MAX], issuer[SP_DN_MAX]; /* RFC 4514; as found, escape where shown */
    char serial[64], fingerprint[72];           /* as in struct sp_facts */
    int64_t not_before, not_after;
    char key[48];        /* "RSA, 2048 bits" */
    char signature[48];  /* "RSA-SHA256" */
    char usage[200];     /* extended key usage: "clientAuth, serverAuth"; "": none */
    char names[256];     /* alternative names that are a host's; "": none */
    char responder[256]; /* the OCSP address of authorityInfoAccess; "": none */
    bool is_ca;
};

/* Whether one of these CAs is called so: the whole of its RFC 4514 text, or its beginning as it
 * stands in the path of a line of the log. By the name alone: another key is not noticed. */
bool sp_tls_show_is_trusted_name(const struct sp_tls_trust *trust, const char *name);

/* The TLS library and its version: "GnuTLS 3.7.9". */
const char *sp_tls_show_library(char buf[48]);

/* False: it cannot be parsed; the fingerprint is there all the same. */
bool sp_tls_show(const struct sp_bytes *der, struct sp_tls_shown *ret_shown);
#endif
