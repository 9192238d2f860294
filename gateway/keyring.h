/*
 * keyring: loads each credential, CA set and CRL file once per configuration load, however many
 * tenants name it, so that a thousand tenants of one CA cost one CA.
 *
 * Lives while a registry is built, in one thread; what it hands out is reference counted and
 * outlives it.
 */
#ifndef SALLYPORT_GATEWAY_KEYRING_H
#define SALLYPORT_GATEWAY_KEYRING_H
#include "common/error.h"
#include "common/json_bind.h"

struct gw_keyring; /* opaque */
struct sp_tls_cred;
struct sp_tls_crl_pool;
struct sp_tls_trust;

struct gw_keyring *gw_keyring_new(void);
void gw_keyring_free(struct gw_keyring *keyring); /* NULL is fine */

/* One object for one pair of paths. file and json_path: what named them, for the error. *ret_new:
 * it was not loaded before. The caller owns one reference. */
SP_MUST_USE enum sp_err gw_keyring_cred(struct gw_keyring *keyring, const char *file,
                                        const char *json_path, const char *certificate,
                                        const char *private_key, struct sp_tls_cred **ret_cred,
                                        bool *ret_new, struct sp_error *err);
/* One object for one set of CAs, whatever files it is spread over. The caller owns one reference.
 */
SP_MUST_USE enum sp_err gw_keyring_trust(struct gw_keyring *keyring, const char *file,
                                         const char *json_path,
                                         const struct sp_json_strings *ca_paths,
                                         struct sp_tls_trust **ret_trust, struct sp_error *err);
/* Borrowed. */
struct sp_tls_crl_pool *gw_keyring_crl_pool(struct gw_keyring *keyring);
#endif
