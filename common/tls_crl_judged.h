/*
 * tls_crl_judged: what is thought of a content under one set of trusted CAs. For tls_crl and
 * tls_crl_kept.
 */
#ifndef SALLYPORT_COMMON_TLS_CRL_JUDGED_H
#define SALLYPORT_COMMON_TLS_CRL_JUDGED_H
#include "common/error.h"
#include "common/tls_crl_parse.h"
#include <stdatomic.h>
#include <stdint.h>

struct gnutls_x509_crt_int;
struct sp_tls_trust;

/* Reference counted, shared by all threads; immutable but for `proven`, which only becomes true. */
struct sp_tls_crl_judged {
    _Atomic size_t refs;
    struct sp_tls_crl_file *file;
    struct sp_tls_trust *trust;           /* owns the signers */
    struct gnutls_x509_crt_int **signers; /* of each list: the trusted CA that signed it; NULL: not
                                             one of them, so perhaps an intermediate */
    _Atomic bool *proven;                 /* of each list: a verified intermediate signed it */
};

/* Errors: a list has a trusted CA's name and not its signature. */
SP_MUST_USE enum sp_err sp_tls_crl_judge(struct sp_tls_crl_file *file, struct sp_tls_trust *trust,
                                         struct sp_tls_crl_judged **ret, struct sp_error *err);
struct sp_tls_crl_judged *sp_tls_crl_judged_ref(struct sp_tls_crl_judged *judged);
void sp_tls_crl_judged_unref(struct sp_tls_crl_judged *judged); /* NULL is fine */
/* Whether that key signed the list. */
bool sp_tls_crl_judged_is_by(const struct sp_tls_crl *crl, struct gnutls_x509_crt_int *issuer);

/* Whether that list is known to be of who it says: of a trusted CA, or proved by a handshake. */
bool sp_tls_crl_judged_is_known(const struct sp_tls_crl_judged *judged, size_t index);
#endif
