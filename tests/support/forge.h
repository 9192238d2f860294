/*
 * forge: for tests: certificates that certs/mint has no business making, made with GnuTLS itself,
 * to see the search for a path and what an attacker would send. What fails, fails the test.
 */
#ifndef SALLYPORT_TESTS_SUPPORT_FORGE_H
#define SALLYPORT_TESTS_SUPPORT_FORGE_H
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sp_chain;
struct sp_tls_trust;

#define FORGE_MAX 24
#define FORGE_DAY INT64_C(86400)

struct forge_ext {
    const char *oid;
    const void *der;
    size_t len;
    bool critical;
};

struct forge_form {
    const char *dn;
    bool ca, no_ids, v1;
    bool rsa;           /* an RSA key, which signs with PSS */
    bool costly_e;      /* its public exponent is as long as the modulus */
    unsigned usage;     /* 0: by role */
    int64_t begin, end; /* seconds from now; 0: a day ago, a day ahead */
    const struct forge_ext *ext;
    const void *cn;
    size_t cn_len; /* raw common name in place of dn */
    const char *uri;
    const char *aki_issuer;
    int aki_of; /* index + 1 of the certificate whose key identifier it claims for its issuer */
    int same_key_as; /* index + 1 of another certificate */
    int path_len_plus_1;
};

/* All that one test forged, zeroed at first; freed together. */
struct forge {
    gnutls_x509_crt_t crt[FORGE_MAX];
    gnutls_x509_privkey_t key[FORGE_MAX];
    gnutls_datum_t der[FORGE_MAX];
    bool rsa[FORGE_MAX];
    int issuer[FORGE_MAX]; /* an index; its own: self-signed */
    int count;
    int64_t now;
};

/* A list of indices that ends with -1. */
#define INTS(...)                                                                                  \
    (const int[])                                                                                  \
    {                                                                                              \
        __VA_ARGS__, -1                                                                            \
    }

/* issuer: an index, or -1 for self-signed. Returns the index. */
int forge_cert(struct forge *f, int issuer, struct forge_form form);
/* The last one that was forged is as if it had not been. */
void forge_undo(struct forge *f);
void forge_free(struct forge *f);
/* What is sent: the certificates of these indices, the leaf first, -1 at the end. Borrowed. */
void forge_chain(const struct forge *f, const int *sent, struct sp_chain *ret_chain);
/* The certificates of these indices, trusted. The caller has a reference. */
struct sp_tls_trust *forge_trust(const struct forge *f, const int *trusted, size_t count);
#endif
