/*
 * tls_path: the judgement on one path of certificates, from a leaf up to an anchor (a trusted CA)
 * or to where no issuer was found. tls_chain finds the paths; it and tls_rules alone include this.
 * Pure but for the trust set it reads; thread-safe.
 */
#ifndef SALLYPORT_COMMON_TLS_PATH_H
#define SALLYPORT_COMMON_TLS_PATH_H
#include "common/tls_chain.h"

#include <gnutls/x509.h>

/* Everything borrowed from tls_chain for the time of one examination. */
struct sp_tls_path {
    gnutls_x509_crt_t crts[SP_CHAIN_MAX_CERTS]; /* leaf first, each issued by the next */
    unsigned count;
    gnutls_x509_crt_t anchor; /* the trusted CA that issued the last one, or, when count is 1, may
                                 be the leaf itself; NULL: the walk ended without one */
    bool anchor_is_leaf;
};

/* The certificates that were sent, parsed: who may have signed in place of an anchor. */
struct sp_tls_sent {
    gnutls_x509_crt_t crts[SP_CHAIN_MAX_CERTS];
    unsigned count;
};

/* What was found. `detail` belongs to the weightiest reason. */
struct sp_tls_findings {
    sp_reason_set observed;
    enum sp_reason detail_of; /* SP_REASON_COUNT: none yet */
    char detail[SP_DN_MAX];
    int64_t not_before, not_after;
    bool all_times_off;  /* see struct sp_facts */
    int64_t lists_until; /* when the first of the lists asked may say something else, or nothing */
    struct sp_revocation crl;
    int crl_weight; /* of what `crl` is about */
};

void sp_tls_findings_init(struct sp_tls_findings *f);
void sp_tls_findings_add(struct sp_tls_findings *f, enum sp_reason reason, const char *fmt, ...)
    SP_PRINTF(3, 4);
/* Whether the path that was found `a` is a better one than that of `b`: the weightiest reason that
 * only one of them has decides. */
bool sp_tls_findings_better(const struct sp_tls_findings *a, const struct sp_tls_findings *b);

/* Adds everything that is wrong with the path as a path (not the leaf's own purpose and names).
 * query->trust NULL: trust and signatures are not judged. */
void sp_tls_path_judge(const struct sp_tls_path *path, const struct sp_tls_sent *sent,
                       const struct sp_chain_query *query, struct sp_tls_findings *f);
/* untrusted_issuer: none of the query's pinned keys is on the path. path NULL: there is nothing to
 * look for them on. */
void sp_tls_path_judge_pins(const struct sp_tls_path *path, const struct sp_chain_query *query,
                            struct sp_tls_findings *f);
/* Whether its own key made its signature and its own name is its issuer's: nothing is above it,
 * whatever its key identifiers claim and whoever else has the same name. */
bool sp_tls_path_is_self_signed(gnutls_x509_crt_t crt);
#endif
