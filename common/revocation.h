/*
 * revocation: what an OCSP answer means for a decision: from an answer about the leaf to what is
 * observed. For both sides. Pure and thread-safe; level 2.
 */
#ifndef SALLYPORT_COMMON_REVOCATION_H
#define SALLYPORT_COMMON_REVOCATION_H
#include "common/tls_ocsp.h"
#include "common/verdict.h"

struct sp_tls_crl_set;

enum sp_ocsp_mode {
    SP_OCSP_OFF,  /* nobody is asked */
    SP_OCSP_SOFT, /* no answer: revocation_unknown is noted, and passes */
    SP_OCSP_HARD, /* no answer: revocation_unknown is observed, and the policy decides */
};
extern const char *const sp_ocsp_mode_names[]; /* "off", "soft", "hard", NULL */

/* What is known about a leaf. */
struct sp_status {
    struct sp_ocsp_answer answer;
    char from[256];      /* the responder's URL, "staple", "cache"; "": nobody was asked */
    bool stapled;        /* the peer sent it */
    int64_t holds_until; /* from this second on something else may be known */
};

/* Nothing is known, and why: a fragment for people, ("%s" of a fetch's error). */
void sp_status_unknown(struct sp_status *ret_status, const char *from, int64_t holds_until,
                       const char *fmt, ...) SP_PRINTF(4, 5);

/* A good answer whose signer is revoked himself, says one of these lists (NULL: there are none; a
 * stale one counts), is no answer: true, and the status is INVALID now. issuer: who issued the
 * leaf, and so the signer, as sp_facts has it. */
bool sp_status_disown(struct sp_status *status, const struct sp_tls_crl_set *crls,
                      const char *issuer, int64_t now);

/* mode OFF: adds nothing. The evidence goes to facts->ocsp. */
void sp_status_apply(const struct sp_status *status, enum sp_ocsp_mode mode,
                     struct sp_facts *facts);
#endif
