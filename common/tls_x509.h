/*
 * tls_x509: what single certificates say, read with their lengths: names, purposes, strength.
 * For the tls_* files of common only. Pure and thread-safe.
 */
#ifndef SALLYPORT_COMMON_TLS_X509_H
#define SALLYPORT_COMMON_TLS_X509_H
#include <gnutls/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The length of the DER SEQUENCE at the front, header and all, and that of its header; 0: there is
 * none, or it is longer than len. */
size_t sp_tls_x509_element(const uint8_t *der, size_t len, size_t *ret_header);

/* RFC 4514 text, cut at a whole character when it is longer than the buffer; "" when it cannot be
 * read. Both return buf. */
const char *sp_tls_x509_subject(gnutls_x509_crt_t crt, char *buf, size_t buf_len);
const char *sp_tls_x509_issuer(gnutls_x509_crt_t crt, char *buf, size_t buf_len);

/* "sha256:" and 64 hex digits: 72 bytes with the NUL. */
#define SP_TLS_FINGERPRINT_LEN 72
void sp_tls_x509_fingerprint(const void *der, size_t der_len, char buf[SP_TLS_FINGERPRINT_LEN]);
/* The same of its SubjectPublicKeyInfo; "" when it has none that can be read. */
void sp_tls_x509_key_digest(gnutls_x509_crt_t crt, char buf[SP_TLS_FINGERPRINT_LEN]);
/* Lower-case hex without leading zero bytes. */
void sp_tls_x509_serial(gnutls_x509_crt_t crt, char *buf, size_t buf_len);

/* Whether `issuer` may have issued it: the name, and the key identifiers where both have one. The
 * signature is not looked at. */
bool sp_tls_x509_is_issued_by(gnutls_x509_crt_t crt, gnutls_x509_crt_t issuer);

/* Whether a subject alternative name fits `name`: a folded DNS name (RFC 6125: a wildcard is the
 * whole left-most label and stands for one label; at least two labels follow it), an IPv4 or IPv6
 * address (iPAddress entries only), or itself a wildcard (the very same entry). The common name is
 * never looked at, and an entry with a NUL in it never fits. */
bool sp_tls_x509_name_fits(gnutls_x509_crt_t crt, const char *name);
/* "a.example, *.b.example, 192.0.2.1"; "" when there are none. Cut at whole entries. */
const char *sp_tls_x509_names(gnutls_x509_crt_t crt, char *buf, size_t buf_len);
bool sp_tls_x509_has_name(gnutls_x509_crt_t crt, gnutls_x509_subject_alt_name_t wanted);
/* Hands over each subject alternative name in turn, of every type, as it is; borrowed. */
void sp_tls_x509_each_name(gnutls_x509_crt_t crt,
                           void (*each)(void *ctx, unsigned type, const gnutls_datum_t *name),
                           void *ctx);
/* A NUL inside a subject attribute or a textual alternative name: no honest CA makes one, and
 * whoever reads it as a C string is led to another name (the CVE-2009-2408 class). */
bool sp_tls_x509_has_nul(gnutls_x509_crt_t crt);
bool sp_tls_x509_dn_has_nul(gnutls_x509_crt_t crt, bool issuer); /* in an attribute of that name */

enum sp_tls_eku { SP_TLS_EKU_ABSENT, SP_TLS_EKU_FITS, SP_TLS_EKU_LACKS };
/* Whether extendedKeyUsage has `oid` or anyExtendedKeyUsage. What it has instead is written to
 * buf ("serverAuth, OCSPSigning"). */
enum sp_tls_eku sp_tls_x509_eku(gnutls_x509_crt_t crt, const char *oid, char *buf, size_t buf_len);

/* The weakness of the key, or of the signature on it, as text ("its RSA key has 1024 bits"); NULL:
 * none. buf is scratch space. min_rsa_bits 0: SP_RSA_BITS_MIN. */
const char *sp_tls_x509_weak_key(gnutls_x509_crt_t crt, unsigned min_rsa_bits, char *buf,
                                 size_t buf_len);
const char *sp_tls_x509_weak_signature(gnutls_x509_crt_t crt, char *buf, size_t buf_len);
#endif
