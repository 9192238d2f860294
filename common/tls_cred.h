/*
 * tls_cred: a certificate chain with its private key: of PEM files, of a PKCS#12 file, or with the
 * key in a PKCS#11 token. The only files that touch private keys and passwords are those behind
 * this header (tls_cred*.c): they refuse one that group or others can read, wipe what they read,
 * and keep the key in GnuTLS's own (zeroised) storage (invariant 10).
 *
 * Reference counted, immutable but for its OCSP staple: sessions keep a reference, so a reload
 * never frees under them. Loading takes any thread; a loaded credential may be shared by all
 * threads, but one of a token: its signatures are made in the thread that shakes hands, which waits
 * for the token.
 */
#ifndef SALLYPORT_COMMON_TLS_CRED_H
#define SALLYPORT_COMMON_TLS_CRED_H
#include "common/error.h"
#include <stdint.h>

struct sp_tls_cred;  /* opaque */
struct sp_bytes;     /* common/tls_chain.h */
struct sp_file_look; /* common/file.h */

/* Where it comes from: certificate and private_key, or pkcs12. The others may be NULL. */
struct sp_tls_cred_source {
    const char *certificate;   /* PEM file, or a pkcs11: URI */
    const char *private_key;   /* the same; both may be in one file */
    const char *pkcs12;        /* file */
    const char *password_file; /* of an encrypted private_key, of pkcs12: one line */
    const char *pin_file;      /* of the token: one line */
    const char *pkcs11_module; /* the token's library; NULL: all that p11-kit knows */
    bool plain;                /* certificate and private_key are PEM files, and there is no more */
};

/* What an error is about. */
enum sp_tls_cred_part {
    SP_CRED_CERTIFICATE,
    SP_CRED_PRIVATE_KEY,
    SP_CRED_PKCS12,
    SP_CRED_PASSWORD_FILE,
    SP_CRED_PIN_FILE,
    SP_CRED_PKCS11_MODULE,
};

/* Whether it is a URI of a token, not a path. */
bool sp_tls_cred_is_uri(const char *text);
/* A URI must not have the PIN in it. For struct sp_json_field.check; paths are fine. */
enum sp_err sp_tls_cred_check_uri(const char *text, struct sp_error *err);

/* Errors have the file or URI in .where: missing, unreadable, no certificate in it, key readable by
 * others (mode shown and wanted: 0600 or 0400, 0640 when owned by root; so for .p12, password and
 * PIN), wrong password, wrong PIN, key does not belong to the certificate. The order of the
 * certificates does not matter: the chain is sorted, leaf first. */
SP_MUST_USE enum sp_err sp_tls_cred_load_source(const struct sp_tls_cred_source *source,
                                                struct sp_tls_cred **ret_cred,
                                                enum sp_tls_cred_part *ret_part,
                                                struct sp_error *err);
/* Plain PEM files. Errors name the file: missing, unreadable, no certificate in it, key readable by
 * others (mode shown and wanted: 0600 or 0400, 0640 when owned by root), key encrypted, key does
 * not belong to the certificate. */
SP_MUST_USE enum sp_err sp_tls_cred_load(const char *certificate_path, const char *key_path,
                                         struct sp_tls_cred **ret_cred, struct sp_error *err);
/* What can be said without reading them, for a load that is put off: both are files that we may
 * read, and the key's mode is as wanted. False: sp_tls_cred_load has the error. */
bool sp_tls_cred_seems_loadable(const struct sp_file_look *certificate,
                                const struct sp_file_look *key);
struct sp_tls_cred *sp_tls_cred_ref(struct sp_tls_cred *cred);
void sp_tls_cred_unref(struct sp_tls_cred *cred);

/* RFC 6125 match of the leaf's SAN dNSName entries against `name` (folded); a `name` that is itself
 * a wildcard ("*.c1.example") needs the very same wildcard in the certificate. */
bool sp_tls_cred_covers(const struct sp_tls_cred *cred, const char *name);
const char *sp_tls_cred_subject(const struct sp_tls_cred *cred);     /* RFC 4514 */
const char *sp_tls_cred_issuer(const struct sp_tls_cred *cred);      /* RFC 4514 */
const char *sp_tls_cred_names(const struct sp_tls_cred *cred);       /* "a.example, *.b.example" */
const char *sp_tls_cred_serial(const struct sp_tls_cred *cred);      /* lower-case hex */
const char *sp_tls_cred_fingerprint(const struct sp_tls_cred *cred); /* "sha256:..." */
int64_t sp_tls_cred_not_before(const struct sp_tls_cred *cred);      /* seconds since 1970 */
int64_t sp_tls_cred_not_after(const struct sp_tls_cred *cred);

/* The same certificates in the same order; the keys are the same then, too. */
bool sp_tls_cred_same(const struct sp_tls_cred *a, const struct sp_tls_cred *b);

/* DER of the leaf and of the certificate in the file that signed it, owned by the credential. False
 * when the file does not have that one: *ret_issuer is empty then, *ret_cert is there always. */
bool sp_tls_cred_leaf(const struct sp_tls_cred *cred, struct sp_bytes *ret_cert,
                      struct sp_bytes *ret_issuer);
/* The OCSP response (a copy is kept) to be stapled for the leaf in handshakes that begin later:
 * server under TLS 1.2 and 1.3 for clients that ask, client under TLS 1.3. None from now on: len 0,
 * or more than TLS can carry (65527).
 * It is not looked at: whoever sets it takes it away when it has expired. Any thread. */
void sp_tls_cred_set_staple(struct sp_tls_cred *cred, const void *der, size_t len);

struct gnutls_certificate_credentials_st;
/* What the certificates and the key are kept in, for tests to look into. Borrowed. */
struct gnutls_certificate_credentials_st *sp_tls_cred_handle(const struct sp_tls_cred *cred);

/* Keeps the process's memory out of core files and ptrace (PR_SET_DUMPABLE 0, RLIMIT_CORE 0);
 * called once by each program's main before the first key is read. sp_tls_keys_gone(), after the
 * last credential was freed, undoes the first part, so that leak checkers can attach at exit, and
 * ends the libraries of tokens, which do not clean up by themselves. */
void sp_tls_protect_keys(void);
void sp_tls_keys_gone(void);
#endif
