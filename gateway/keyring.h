/*
 * keyring: what several tenants name is one object: each CA set and CRL file is loaded once, equal
 * configurations and pairs of certificate and key are one, so that a thousand tenants of one CA
 * cost one CA. What is unchanged since an older keyring, by the stamps of its files, is taken from
 * there and not read again.
 *
 * Belongs to a registry and to the main thread, which may change it; gw_keyring_config alone takes
 * any thread. What it hands out is reference counted and outlives it.
 */
#ifndef SALLYPORT_GATEWAY_KEYRING_H
#define SALLYPORT_GATEWAY_KEYRING_H
#include "common/error.h"
#include "common/json_bind.h"

struct gw_cred;
struct gw_cred_store;
struct gw_keyring; /* opaque */
struct gw_tenant_config;
struct sp_tls_crl_pool;
struct sp_tls_trust;

/* older: NULL, or one that lives at least until gw_keyring_close. */
struct gw_keyring *gw_keyring_new(struct gw_keyring *older);
/* The load is over: what only it needs is dropped, and the older keyring may go. */
void gw_keyring_close(struct gw_keyring *keyring);
struct gw_keyring *gw_keyring_ref(struct gw_keyring *keyring);
void gw_keyring_unref(struct gw_keyring *keyring); /* NULL is fine */
/* How much was put into it that nobody may need any more: time for a new one. */
size_t gw_keyring_growth(const struct gw_keyring *keyring);

struct gw_cred_store *gw_keyring_store(const struct gw_keyring *keyring); /* borrowed */
/* One object for one pair of paths, within a load. Nothing is read. *ret_new: it is the first time
 * that it is asked for. The caller owns one reference. */
struct gw_cred *gw_keyring_cred(struct gw_keyring *keyring, const char *certificate,
                                const char *private_key, bool *ret_new);
/* The same for one that an older registry has and that is unchanged. */
struct gw_cred *gw_keyring_adopt(struct gw_keyring *keyring, struct gw_cred *cred, bool *ret_new);
/* Takes the reference to `config` and gives one to its equal. */
struct gw_tenant_config *gw_keyring_config(struct gw_keyring *keyring,
                                           struct gw_tenant_config *config);
/* One object for one set of CAs, whatever files it is spread over. The caller owns one reference.
 */
SP_MUST_USE enum sp_err gw_keyring_trust(struct gw_keyring *keyring, const char *file,
                                         const char *json_path,
                                         const struct sp_json_strings *ca_paths,
                                         struct sp_tls_trust **ret_trust, struct sp_error *err);
/* Borrowed; of this load alone. */
struct sp_tls_crl_pool *gw_keyring_crl_pool(struct gw_keyring *keyring);
#endif
