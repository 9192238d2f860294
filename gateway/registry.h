/*
 * registry: one loaded state of the gateway: its configuration, all tenants, and who owns which
 * server name. Loaded whole or not at all (invariant 6).
 *
 * An immutable, reference-counted snapshot: workers read it without locks, a reload builds the next
 * one. Invariants: every server name has one owner; ids are unique (they are file names); every
 * name is covered by the certificate that is shown for it (of a certificate that is loaded later:
 * seen then, and not shown otherwise).
 */
#ifndef SALLYPORT_GATEWAY_REGISTRY_H
#define SALLYPORT_GATEWAY_REGISTRY_H
#include "common/error.h"
#include "common/settings.h"
#include "gateway/issuer_index.h"
#include "gateway/tenant.h"
#include <stdint.h>

struct gw_config;
struct gw_cred;
struct gw_keyring;
struct gw_name_index;
struct sp_crl_source;
struct sp_tls_cred;

struct gw_registry {
    _Atomic size_t refs;
    struct gw_config *config;
    struct gw_cred *common;          /* NULL: no common names */
    struct sp_tls_cred *common_cred; /* the same, loaded */
    struct gw_tenant **tenants;      /* in the order of their ids */
    size_t tenant_count;
    bool has_crls;                     /* some tenant names one */
    struct sp_warnings warnings;       /* found while loading; for the caller to log */
    struct gw_keyring *keyring;        /* private, and the main thread's: for the next load */
    struct gw_name_index *names;       /* private: gw_registry_find */
    struct gw_issuer_index *by_issuer; /* private: gw_registry_find_by_chain; NULL: no common names,
                                          so nobody can ask */
    uint8_t ticket_master[GW_TICKET_MASTER_LEN]; /* private; wiped when freed */
};

/* More new or changed certificates than these in one load are not loaded with it, but at their
 * first handshake. What can be said without reading them is checked all the same. */
#define GW_CREDS_AT_ONCE 1000

/* previous: the registry in use, or NULL: its tenants' counters go on, and what is unchanged, by
 * the stamps of its files (sp_file_stamp), is shared with it and not read again. It is not changed,
 * whatever the outcome. The caller owns one reference. Uses all cores for a moment. */
SP_MUST_USE enum sp_err gw_registry_load(const char *config_path,
                                         const uint8_t ticket_master[GW_TICKET_MASTER_LEN],
                                         struct gw_registry *previous,
                                         struct gw_registry **ret_registry, struct sp_error *err);
/* A first load, every certificate included. */
SP_MUST_USE enum sp_err gw_registry_check(const char *config_path,
                                          struct gw_registry **ret_registry, struct sp_error *err);
/* The next state after these files of the tenants' folder ("a.json") were written, added or
 * removed: nothing else is looked at. *ret_registry NULL: nothing has changed. Otherwise as
 * gw_registry_load, which it leaves the work to where there are many. */
SP_MUST_USE enum sp_err gw_registry_reload_tenants(struct gw_registry *previous,
                                                   const char *const *files, size_t count,
                                                   struct gw_registry **ret_registry,
                                                   struct sp_error *err);
/* The next state after some CRL files, or what was fetched from URLs (NULL: nothing), have changed:
 * the tenants that name them are new, all else is that of `previous`. A tenant whose files cannot
 * be used goes on as it is and is put into `failures`. NULL: nothing has changed (for the better).
 */
struct gw_registry *gw_registry_reload_crls(const struct gw_registry *previous,
                                            const struct sp_crl_source *fetched,
                                            struct sp_warnings *failures);
struct gw_registry *gw_registry_ref(struct gw_registry *registry);
void gw_registry_unref(struct gw_registry *registry); /* NULL is fine */

enum gw_match_kind {
    GW_MATCH_NONE,   /* unknown_server_name */
    GW_MATCH_COMMON, /* a common name: the tenant is not known yet */
    GW_MATCH_TENANT,
};

struct gw_match {
    enum gw_match_kind kind;
    struct gw_tenant *tenant; /* TENANT; borrowed from the registry, may be a disabled one */
};

/* name: folded (sp_host_fold); NULL: the client sent none. An exact name beats a wildcard; a
 * wildcard stands for one label. With `unknown_server_name: common` an unknown or missing name is
 * answered as a common one. (A malformed name is not for this function: refuse it.) */
struct gw_match gw_registry_find(const struct gw_registry *registry, const char *name);

/* The certificate to show to who is found (not NONE), as gw_tenant_take_cred. */
SP_MUST_USE enum sp_err gw_registry_take_cred(const struct gw_registry *registry,
                                              const struct gw_match *match,
                                              struct sp_tls_cred **ret_cred, struct sp_error *err);

/* For a client that came under a common name: whose is it, by its chain (issuer_index.h)? Every
 * tenant takes part, disabled ones too. */
void gw_registry_find_by_chain(const struct gw_registry *registry, const struct sp_chain *chain,
                               int64_t now, struct gw_finding *ret_finding);

/* The tenant of that id in this generation; borrowed; NULL: none. */
struct gw_tenant *gw_registry_tenant(const struct gw_registry *registry, const char *id);

/* ---- for registry_load.c ---- */

struct gw_registry *gw_registry_new(const uint8_t ticket_master[GW_TICKET_MASTER_LEN]);
/* Once the tenants are in: who owns which name; shared with `previous` (or NULL) where it can. */
SP_MUST_USE enum sp_err gw_registry_claim_names(struct gw_registry *registry,
                                                const struct gw_registry *previous,
                                                struct sp_error *err);
/* The same: who finds tenants by chains. */
void gw_registry_index_issuers(struct gw_registry *registry, const struct gw_registry *previous);
#endif
