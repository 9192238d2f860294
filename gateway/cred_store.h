/*
 * cred_store: the tenants' own certificates with their keys, loaded when they are needed: a hundred
 * thousand of them would take gigabytes and most of a minute to load.
 *
 * A struct gw_cred is one pair of files; it is known from the load of the configuration on, and its
 * credential is loaded then, or at the first handshake that needs it. The store keeps the
 * GW_CREDS_KEPT that were used last; who holds a reference to one that went keeps it. What could
 * not be loaded is not tried again for a second.
 *
 * Reference counted; safe for all threads: one lock, a handshake takes it once. Loading is done
 * outside of it, in the thread that asks (some 0.3 ms).
 */
#ifndef SALLYPORT_GATEWAY_CRED_STORE_H
#define SALLYPORT_GATEWAY_CRED_STORE_H
#include "common/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gw_cred;       /* opaque */
struct gw_cred_store; /* opaque */
struct sp_tls_cred;

#define GW_CREDS_KEPT 1024 /* some 27 KB each */

struct gw_cred_store *gw_cred_store_new(size_t max_kept);
struct gw_cred_store *gw_cred_store_ref(struct gw_cred_store *store);
void gw_cred_store_unref(struct gw_cred_store *store); /* NULL is fine */
/* Those that are loaded now, one reference each, for whoever keeps something fresh in them
 * (staples). *ret_creds: the caller frees; it has room for one more. */
size_t gw_cred_store_list(struct gw_cred_store *store, struct sp_tls_cred ***ret_creds);
/* Another number: the list is another one. */
uint64_t gw_cred_store_changes(struct gw_cred_store *store);

/* Both paths are copied. Takes a stamp of each file (sp_file_stamp); nothing is read. */
struct gw_cred *gw_cred_new(struct gw_cred_store *store, const char *certificate,
                            const char *private_key);
struct gw_cred *gw_cred_ref(struct gw_cred *cred);
void gw_cred_unref(struct gw_cred *cred); /* NULL is fine */
const char *gw_cred_certificate(const struct gw_cred *cred);
const char *gw_cred_private_key(const struct gw_cred *cred);
/* Whether both files are still as they were when it was made. */
bool gw_cred_is_current(const struct gw_cred *cred);

/* sp_tls_cred_seems_loadable, when it was made. */
bool gw_cred_seems_loadable(const struct gw_cred *cred);
/* One reference, if it is loaded; else NULL. */
struct sp_tls_cred *gw_cred_peek(struct gw_cred *cred);
/* The credential; the caller owns one reference. file and json_path: what named it, for the error,
 * as for sp_settings_load_cred. *ret_serial: another number, another load. */
SP_MUST_USE enum sp_err gw_cred_take(struct gw_cred *cred, const char *file, const char *json_path,
                                     struct sp_tls_cred **ret_cred, uint64_t *ret_serial,
                                     struct sp_error *err);
#endif
