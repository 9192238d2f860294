/*
 * tls_outline: where the parts of a certificate lie in its DER. For what is asked of every
 * certificate and what GnuTLS answers by a walk through its tree, an allocation and a printed path
 * for each step: ten times as dear as here.
 *
 * Everything is borrowed from the caller's bytes; nothing in it is verified, and names and
 * extensions are not opened. What is not as RFC 5280 4.1 has it has no outline. Pure and
 * thread-safe.
 */
#ifndef SALLYPORT_COMMON_TLS_OUTLINE_H
#define SALLYPORT_COMMON_TLS_OUTLINE_H
#include "common/tls_chain.h"
#include "common/tls_der.h"

/* What a signature is on. */
struct sp_tls_signed {
    struct sp_tls_der text;      /* with its header */
    struct sp_tls_der algorithm; /* the inside of the AlgorithmIdentifier */
    struct sp_tls_der signature;
};

struct sp_tls_outline {
    struct sp_tls_der whole;
    struct sp_tls_signed sig;
    struct sp_tls_der serial;          /* without zero bytes that say nothing */
    struct sp_tls_der issuer, subject; /* with their headers */
    int64_t not_before, not_after;
    struct sp_tls_der spki;       /* with its header */
    struct sp_tls_der key;        /* its bits */
    struct sp_tls_der extensions; /* {NULL, NULL}: none */
};

/* The three parts of whatever is signed in X.509's way; the text is opened in `ret_text`. */
bool sp_tls_take_signed(struct sp_tls_der *d, struct sp_tls_signed *ret,
                        struct sp_tls_der *ret_text);
/* Takes the certificate at the front. */
bool sp_tls_outline_take(struct sp_tls_der *certs, struct sp_tls_outline *ret);
/* One certificate and nothing behind it. */
bool sp_tls_outline_of(const struct sp_bytes *der, struct sp_tls_outline *ret);

enum sp_tls_found { SP_TLS_ABSENT, SP_TLS_FOUND, SP_TLS_BROKEN };
/* BROKEN: the list is malformed, or has it twice. */
enum sp_tls_found sp_tls_outline_extension(const struct sp_tls_outline *cert, struct sp_tls_der oid,
                                           struct sp_tls_der *ret_value);
#endif
