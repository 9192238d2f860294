/*
 * tls_cred_impl: what the files behind tls_cred.h share: tls_cred.c (a credential's life),
 * tls_cred_read.c (files: PEM, passwords), tls_cred_pkcs12.c, tls_cred_pkcs11.c. Nobody else
 * includes it.
 */
#ifndef SALLYPORT_COMMON_TLS_CRED_IMPL_H
#define SALLYPORT_COMMON_TLS_CRED_IMPL_H
#include "common/tls_cred.h"
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#define SP_TLS_CERTS_READ_MAX 1000 /* of one source */

/* What a token asks for its PIN with, as long as its key is in use. */
struct sp_tls_pin;
void sp_tls_pin_free(struct sp_tls_pin *pin); /* NULL is fine */

/* What was read, in the order found; the reader's caller owns it all. */
struct sp_tls_cred_parts {
    gnutls_x509_crt_t *crts; /* gnutls_malloc */
    unsigned count;
    gnutls_privkey_t key;   /* NULL: none yet */
    struct sp_tls_pin *pin; /* of the key; must outlive it; NULL: none */
};
void sp_tls_cred_parts_done(struct sp_tls_cred_parts *parts);
/* Takes crt over. */
void sp_tls_cred_parts_add(struct sp_tls_cred_parts *parts, gnutls_x509_crt_t crt);
/* Copies the key; `key` stays the caller's. Returns what GnuTLS said: 0 well. */
int sp_tls_cred_parts_set_key(struct sp_tls_cred_parts *parts, gnutls_x509_privkey_t key);

/* A password or PIN: one line of a file. Wiped by its _done. */
#define SP_TLS_SECRET_MAX 1024
struct sp_tls_secret {
    char text[SP_TLS_SECRET_MAX + 1];
    bool there;
};
/* path NULL: none. Errors have the path in .where. */
SP_MUST_USE enum sp_err sp_tls_secret_read(const char *path, struct sp_tls_secret *ret_secret,
                                           struct sp_error *err);
void sp_tls_secret_done(struct sp_tls_secret *secret);

/* A file that no other may read (invariant 10); `what` is "the private key", "the password". */
struct sp_file;
SP_MUST_USE enum sp_err sp_tls_check_private(const struct sp_file *file, const char *what,
                                             struct sp_error *err);

/* Adds all certificates and the one key to *parts. Errors have the file in .where. */
SP_MUST_USE enum sp_err sp_tls_pkcs12_read(const struct sp_tls_cred_source *source,
                                           struct sp_tls_cred_parts *parts,
                                           enum sp_tls_cred_part *ret_part, struct sp_error *err);

/* The key of a token, and the certificates of one, by URI. The key first: what a token shows
 * depends on its PIN. Errors have URI, PIN file or module in .where. */
SP_MUST_USE enum sp_err sp_tls_pkcs11_key(const struct sp_tls_cred_source *source,
                                          struct sp_tls_cred_parts *parts,
                                          enum sp_tls_cred_part *ret_part, struct sp_error *err);
SP_MUST_USE enum sp_err sp_tls_pkcs11_certificates(const struct sp_tls_cred_source *source,
                                                   struct sp_tls_cred_parts *parts,
                                                   enum sp_tls_cred_part *ret_part,
                                                   struct sp_error *err);
void sp_tls_pkcs11_end(void); /* of the tokens' libraries */

/* Makes a credential of the parts. The certificates that are its own leave them, the key and the
 * PIN do. *ret_part and .where are left to the caller, who knows what the key was called;
 * certificate_name is for messages. */
SP_MUST_USE enum sp_err sp_tls_cred_new(struct sp_tls_cred_parts *parts,
                                        const char *certificate_name, struct sp_tls_cred **ret_cred,
                                        struct sp_error *err);
#endif
