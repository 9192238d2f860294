/*
 * tls_crl_kept: what is kept of the contents that one URL has given so far, under one set of
 * trusted CAs.
 *
 * What comes from a URL comes from anybody: it takes the place of an older content only when it is
 * proved to be newer. Lists of trusted CAs are proved by their signature. Those of intermediates
 * are proved by the first handshake that presents the intermediate; until then the older content
 * stays beside the newer one, and the list that is signed speaks.
 *
 * Plain data of its owner's; one thread. The contents are shared.
 */
#ifndef SALLYPORT_COMMON_TLS_CRL_KEPT_H
#define SALLYPORT_COMMON_TLS_CRL_KEPT_H
#include "common/error.h"
#include <stdint.h>

struct sp_tls_crl_file;
struct sp_tls_crl_judged;
struct sp_tls_trust;

/* All zero: nothing was fetched. */
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
