/*
 * load_mint: certificates for the bench, in numbers that sallyport-certs is not made for: client
 * chains never seen before, and the thousands of a big folder of tenants. P-256 all of them.
 */
#ifndef SALLYPORT_TESTS_BENCH_LOAD_MINT_H
#define SALLYPORT_TESTS_BENCH_LOAD_MINT_H

#include <openssl/ssl.h>

struct load_identity {
    X509 *cert;
    EVP_PKEY *key;
    STACK_OF(X509) * chain; /* intermediates; shared by those of one issuer */
    char name[64];          /* the server name to ask for */
};

/* A PEM file with leaf and intermediates, and its key (the same file, perhaps). */
void load_identity_read(struct load_identity *identity, const char *cert, const char *key);

/* A new leaf for a client, issued by `issuer`, whose certificate becomes the chain. */
void load_identity_fresh(struct load_identity *identity, const struct load_identity *issuer,
                         unsigned number);

#endif
