/*
 * tls_kin: was a chain cut short, or is its CA a stranger? Bytes alone cannot tell a forgotten
 * intermediate from an unknown CA; this is the rule by which we guess. Only the words of the log
 * depend on it: both reasons carry the same alert and neither means trust. Pure; thread-safe.
 */
#ifndef SALLYPORT_COMMON_TLS_KIN_H
#define SALLYPORT_COMMON_TLS_KIN_H
#include <gnutls/x509.h>
#include <stdbool.h>

struct sp_tls_trust;

/* `top` is the last certificate of the walk up from the leaf, not self-issued, whose issuer was
 * neither sent nor trusted. True (missing_intermediate) when that issuer shows kinship with a
 * trusted CA, tried in this order:
 *   1. the authority key identifier of `top` names the issuer's own issuer, and that is a trusted
 *      CA's subject;
 *   2. the issuer's name and a trusted CA's have the same organisation (O);
 *   3. their common names share a distinctive word: three letters or digits at least, and not one
 *      of those that any CA's name may have (ca, root, intermediate, issuing, client, g1...).
 * False: not kin. */
bool sp_tls_kin_of_trust(gnutls_x509_crt_t top, const struct sp_tls_trust *trust);
/* Kin or not: the issuer's common name itself says that it is not a root ("Issuing CA", "Sub CA 3",
 * "Level 2 CA", and no "root" in it), so that the chain is certainly incomplete. True:
 * missing_intermediate as well. */
bool sp_tls_kin_says_no_root(gnutls_x509_crt_t top);
#endif
