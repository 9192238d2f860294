/*
 * mint: keys and certificates in memory, by specification: the laboratory's PKI and the tests' one.
 * No files here (certs/store.h) and no policy: it mints what it is told, wrong certificates too.
 *
 * A struct certs_pair is owned by its maker and freed with certs_pair_free; issuers are borrowed
 * for the call.
 */
#ifndef SALLYPORT_CERTS_MINT_H
#define SALLYPORT_CERTS_MINT_H
#include "common/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct certs_pair; /* opaque: a private key, its certificate, and the issuers above it */

enum certs_key { CERTS_P256, CERTS_P384, CERTS_ED25519, CERTS_ED448, CERTS_RSA2048, CERTS_RSA1024 };
enum certs_eku {
    CERTS_EKU_NONE = 0,
    CERTS_EKU_CLIENT = 1,
    CERTS_EKU_SERVER = 2,
    CERTS_EKU_ANY = 4,
    CERTS_EKU_OCSP_SIGNING = 8,
};

struct certs_spec {
    const char *dn;     /* RFC 4514: "CN=Acme root CA,O=Acme"; raw_cn instead when set */
    const void *raw_cn; /* common name as raw bytes (NUL, CRLF...), for hostile tests */
    size_t raw_cn_len;
    const char *const *dns;  /* SAN dNSName, NULL-terminated; NULL: none */
    const char *const *uris; /* SAN URI */
    const char *const *ips;  /* SAN iPAddress, as text */
    enum certs_key key;
    unsigned eku; /* of enum certs_eku */
    bool ca;      /* basicConstraints CA, keyCertSign, cRLSign */
    int path_len; /* of a CA; -1: none */
    /* Seconds since 1970; 0: an hour ago / two years ahead, moved aside where the other one is
     * given so that the period stays one. */
    int64_t not_before, not_after;
    bool sha1;                 /* signed with SHA-1 */
    const char *permitted_dns; /* name constraint of a CA; NULL: none */
    const char *ocsp_uri;      /* AIA; NULL: none */
};

/* issuer NULL: self-signed. */
SP_MUST_USE enum sp_err certs_mint(const struct certs_spec *spec, const struct certs_pair *issuer,
                                   struct certs_pair **ret_pair, struct sp_error *err);
void certs_pair_free(struct certs_pair *pair); /* wipes the key; NULL is fine */

/* PEM texts, NUL-terminated, allocated: the caller frees (keys: certs_secret_free). */
char *certs_pair_certificate_pem(const struct certs_pair *pair); /* the leaf alone */
/* Leaf and the intermediates above it, without the self-signed root. */
char *certs_pair_chain_pem(const struct certs_pair *pair);
char *certs_pair_key_pem(const struct certs_pair *pair); /* PKCS#8, unencrypted */
void certs_secret_free(char *secret);                    /* overwrites, frees; NULL is fine */
/* DER of the leaf; borrowed, valid for the pair's life. */
const uint8_t *certs_pair_der(const struct certs_pair *pair, size_t *ret_len);

/* A CRL of this CA with the given pairs revoked; PEM, allocated. Times as in certs_spec. */
char *certs_mint_crl_pem(const struct certs_pair *ca, const struct certs_pair *const *revoked,
                         size_t revoked_count, int64_t this_update, int64_t next_update);
#endif
