/*
 * tls_rules: the single rules a path of certificates is judged by, each adding what it finds.
 * Those of tls_path; nobody else includes this. Pure; thread-safe.
 */
#ifndef SALLYPORT_COMMON_TLS_RULES_H
#define SALLYPORT_COMMON_TLS_RULES_H
#include "common/tls_path.h"

/* expired, not_yet_valid: every certificate of the path and the anchor, against `now`. Fills the
 * path's validity in. */
void sp_tls_rules_times(const struct sp_tls_path *path, int64_t now, struct sp_tls_findings *f);
/* weak_algorithm: every key, and every signature somebody relies on (not an anchor's own, nor that
 * of a self-issued certificate at the top). min_key_bits: of RSA; 0: the default. leaf_only: what
 * is above it was found strong enough before. */
void sp_tls_rules_strength(const struct sp_tls_path *path, bool leaf_only, unsigned min_key_bits,
                           struct sp_tls_findings *f);
/* constraint_violation: a CA has name constraints of a kind that GnuTLS ignores and we do not
 * compare (directory names above all), or that cannot be read: what cannot be checked is refused.
 */
void sp_tls_rules_constraints(const struct sp_tls_path *path, struct sp_tls_findings *f);
/* wrong_purpose: a CA whose extendedKeyUsage does not have the purpose cannot pass it on. */
void sp_tls_rules_ca_purpose(const struct sp_tls_path *path, enum sp_purpose purpose,
                             struct sp_tls_findings *f);
/* constraint_violation: an issuer that is not a CA, may not sign certificates, or has more CAs
 * below it than it allows. */
void sp_tls_rules_authority(const struct sp_tls_path *path, struct sp_tls_findings *f);
/* constraint_violation: a name outside the name constraints of a CA above it. */
void sp_tls_rules_names(const struct sp_tls_path *path, struct sp_tls_findings *f);
#endif
