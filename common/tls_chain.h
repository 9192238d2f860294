/*
 * tls_chain: what is true of a certificate chain that a peer presented: everything that is wrong
 * with it (all reasons, not the first), and who it says it is. No policy here; no clock: `now` is
 * a parameter. Pure but for the trust set it reads; thread-safe.
 */
#ifndef SALLYPORT_COMMON_TLS_CHAIN_H
#define SALLYPORT_COMMON_TLS_CHAIN_H
#include "common/verdict.h"
#include <stddef.h>
#include <stdint.h>

struct sp_tls_crl_set;
struct sp_tls_trust;
struct sp_tls_uppers;

#define SP_CHAIN_MAX_CERTS 10
#define SP_CHAIN_MAX_BYTES 65536
#define SP_RSA_BITS_MIN    2048
#define SP_RSA_BITS_MAX    8192 /* the most that min_key_bits may ask for */

struct sp_bytes {
    const uint8_t *data;
    size_t len;
};

/* DER certificates as sent, leaf first; borrowed. */
struct sp_chain {
    struct sp_bytes certs[SP_CHAIN_MAX_CERTS + 1]; /* one more than allowed shows "too large" */
    size_t count;                                  /* as presented, capped at MAX_CERTS + 1 */
};

enum sp_purpose { SP_PURPOSE_CLIENT, SP_PURPOSE_SERVER };

struct sp_chain_query {
    const struct sp_tls_trust *trust;  /* NULL: trusts nothing (no tenant): trust is not judged */
    const struct sp_tls_crl_set *crls; /* loaded with that very trust; NULL: none */
    enum sp_purpose purpose;
    bool require_eku;        /* a leaf without extendedKeyUsage is wrong_purpose */
    const char *name;        /* server: the DNS name or address to match; NULL: not checked */
    int64_t now;             /* seconds since 1970 */
    unsigned max_chain;      /* more certificates than these are chain_too_large; 0: MAX_CERTS */
    unsigned min_key_bits;   /* RSA keys below are weak_algorithm; 0: SP_RSA_BITS_MIN */
    const char *const *pins; /* "sha256:" and hex of a SubjectPublicKeyInfo each; one of them must
                                be on the path, or it is untrusted_issuer */
    size_t pin_count;        /* 0: none is asked for */
    struct sp_tls_uppers *uppers; /* see common/tls_upper.h; NULL: nothing is remembered */
};

/* Fills *ret_facts wholly (it need not be initialised). chain->count 0: no_certificate.
 * Reasons it can observe: no_certificate untrusted_issuer missing_intermediate expired
 * not_yet_valid name_mismatch wrong_purpose revoked crl_stale weak_algorithm (signature hash below
 * SHA-256, RSA below 2048, EC below 224 bits) bad_signature constraint_violation chain_too_large. A
 * chain that does not parse is bad_signature with a detail that says so. Beyond MAX_CERTS or
 * MAX_BYTES nothing but the leaf's identity is looked at; between max_chain and MAX_CERTS
 * everything is.
 *
 * Of the paths to a trusted CA that the sent certificates allow, in any order and with strangers
 * between, the best one counts (bounded search). Times are judged on the whole path, the trusted CA
 * included. Also constraint_violation: directory-name constraints, which nobody checks; a NUL
 * inside a name. missing_intermediate or untrusted_issuer: see common/tls_kin.h. Names are matched
 * against subject alternative names only. trust NULL: no signature is verified either.
 *
 * Revocation: each certificate of a path to a trusted CA whose signatures hold from there down to
 * it is looked up in the list of its issuer, where there is one. The trusted CA itself is not.
 */
void sp_chain_examine(const struct sp_chain *chain, const struct sp_chain_query *query,
                      struct sp_facts *ret_facts);

/* The certificate that issued the leaf, as DER to be freed, on the path that sp_chain_examine finds
 * best: when that path reaches a trusted CA and its signatures and constraints hold, so that the
 * issuer's word counts (for OCSP). NULL: there is none, as for a leaf that is trusted itself. */
uint8_t *sp_chain_issuer(const struct sp_chain *chain, const struct sp_chain_query *query,
                         size_t *ret_len);
#endif
