/*
 * tls_cred: a certificate chain with its private key, loaded from PEM files. The only file that
 * touches private keys: it refuses one that group or others can read, wipes what it read, and
 * keeps the key in GnuTLS's own (zeroised) storage (invariant 10).
 *
 * Reference counted, immutable but for its OCSP staple: sessions keep a reference, so a reload
 * never frees under them. Loading takes any thread; a loaded credential may be shared by all
 * threads.
 */
#ifndef SALLYPORT_COMMON_TLS_CRED_H
#define SALLYPORT_COMMON_TLS_CRED_H
#include "common/error.h"
#include <stdint.h>

struct sp_tls_cred;  /* opaque */
struct sp_bytes;     /* common/tls_chain.h */
struct sp_file_look; /* common/file.h */

/* Errors name the file: missing, unreadable, no certificate in it, key readable by others (mode
 * shown and wanted: 0600 or 0400, 0640 when owned by root), key encrypted, key does not belong to
 * the certificate. Chain order in the file does not matter: it is sorted, leaf first. */
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
const char *sp_tls_cred_fingerprint(const struct sp_tls_cred *cred); /* "sha256:..." */
int64_t sp_tls_cred_not_before(const struct sp_tls_cred *cred);      /* seconds since 1970 */
int64_t sp_tls_cred_not_after(const struct sp_tls_cred *cred);

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
 * called once by each program's main before the first key is read. sp_tls_keys_gone() undoes the
 * first part after the last key was wiped, so that leak checkers can attach at exit. */
void sp_tls_protect_keys(void);
void sp_tls_keys_gone(void);
#endif
