/*
 * tls_crl_judged: what is thought of the content of a CRL file or URL under one set of trusted CAs,
 * and what is kept of the contents that one URL has given so far. For tls_crl and crl_source.
 *
 * What comes from a URL comes from anybody: it takes the place of an older content only when it is
 * proved to be newer. Lists of trusted CAs are proved by their signature. Those of intermediates
 * are proved by the first handshake that presents the intermediate; until then the older content
 * stays beside the newer one, and the list that is signed speaks.
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

/* Of one URL, under one trust. Plain, owned by whoever embeds it; all zero: nothing was fetched. */
struct sp_tls_crl_kept {
    struct sp_tls_crl_judged *good;
    struct sp_tls_crl_judged *pending; /* newer, but not all of it is proved yet */
    char *why; /* NULL, or why there is nothing, or nothing that is proved, yet */
};

/* On success *ret_changed says whether it differs from what is kept. Errors, which leave `kept`
 * what it was: see sp_tls_crl_judge; a list that was there is missing, or older than it was; a list
 * of the future. */
SP_MUST_USE enum sp_err sp_tls_crl_kept_offer(struct sp_tls_crl_kept *kept,
                                              struct sp_tls_crl_file *file,
                                              struct sp_tls_trust *trust, int64_t now,
                                              bool *ret_changed, struct sp_error *err);
/* Whether the URL has given a list that is proved to be of a trusted CA or of an intermediate. */
bool sp_tls_crl_kept_is_known(const struct sp_tls_crl_kept *kept);
/* The earliest nextUpdate of the newest content; INT64_MIN: there is none. */
int64_t sp_tls_crl_kept_next_update(const struct sp_tls_crl_kept *kept);
bool sp_tls_crl_kept_equal(const struct sp_tls_crl_kept *a, const struct sp_tls_crl_kept *b);
void sp_tls_crl_kept_copy(struct sp_tls_crl_kept *to, const struct sp_tls_crl_kept *from);
void sp_tls_crl_kept_why(struct sp_tls_crl_kept *kept, const char *why); /* copies; NULL: clears */
void sp_tls_crl_kept_done(struct sp_tls_crl_kept *kept);
#endif
