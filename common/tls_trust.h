/*
 * tls_trust: a set of trusted CAs. One tenant's set vouches for that tenant alone (invariant 2).
 *
 * Immutable and reference counted; safe for concurrent use once loaded.
 */
#ifndef SALLYPORT_COMMON_TLS_TRUST_H
#define SALLYPORT_COMMON_TLS_TRUST_H
#include "common/error.h"
#include <stdint.h>

struct sp_tls_trust; /* opaque */

/* PEM or DER files, several certificates each. use_system adds the device's trust store. Errors
 * name the file: missing, no certificate in it, "no CA certificate in it" when a certificate is not
 * a CA (basicConstraints; a self-signed v1 root passes), and which subject that was. A set that
 * would be empty is an error too. A CA listed twice counts once. */
SP_MUST_USE enum sp_err sp_tls_trust_load(const char *const *ca_paths, size_t count,
                                          bool use_system, struct sp_tls_trust **ret_trust,
                                          struct sp_error *err);
struct sp_tls_trust *sp_tls_trust_ref(struct sp_tls_trust *trust);
void sp_tls_trust_unref(struct sp_tls_trust *trust);
size_t sp_tls_trust_count(const struct sp_tls_trust *trust); /* with the system store's */
/* SHA-256 over the sorted fingerprints of the listed files' CAs (the system store counts as one
 * constant): equal sets give equal digests, whatever their files and order. */
void sp_tls_trust_digest(const struct sp_tls_trust *trust, uint8_t ret_digest[32]);

struct gnutls_x509_crt_int;
/* The listed CA at index (not the system store's), NULL past the end. Borrowed. */
struct gnutls_x509_crt_int *sp_tls_trust_ca(const struct sp_tls_trust *trust, size_t index);
/* The CA at index of all there are, the system store's too; NULL past the end. Borrowed. */
struct gnutls_x509_crt_int *sp_tls_trust_any(const struct sp_tls_trust *trust, size_t index);
/* The index-th of the CAs whose subject is exactly this DER name; NULL past the last. Found by
 * bisection: a large system store costs a handshake nothing. Borrowed. */
struct gnutls_x509_crt_int *sp_tls_trust_named(const struct sp_tls_trust *trust, const void *dn,
                                               size_t dn_len, size_t index);
#endif
