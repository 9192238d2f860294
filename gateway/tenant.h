/*
 * tenant: one customer account as the gateway serves it: its configuration with the keys, CAs and
 * ticket key that follow from it.
 *
 * Immutable once loaded and reference counted; safe for all threads. A session keeps a reference,
 * so a reload never frees under it: it puts a new struct gw_tenant (a new generation) into the next
 * registry. Only the counters are shared by all generations of one id, so that a limit holds across
 * reloads.
 * Invariants: the trust is this tenant's alone; the ticket key changes with its trust, its
 * CRLs and its policy, so no ticket of another tenant or of an older trust state resumes (invariant
 * 2).
 */
#ifndef SALLYPORT_GATEWAY_TENANT_H
#define SALLYPORT_GATEWAY_TENANT_H
#include "common/error.h"
#include "common/rate.h"
#include "common/settings.h"
#include "common/tls_session.h"
#include "gateway/tenant_config.h"
#include <stdint.h>

struct gw_acl;
struct gw_keyring;
struct sp_tls_cred;
struct sp_tls_crl_set;
struct sp_tls_trust;

#define GW_TICKET_MASTER_LEN 32
#define GW_TICKET_EPOCH_LEN  32

/* What is in use now, over all workers and generations. Reference counted by the tenants. */
struct gw_tenant_counters {
    _Atomic size_t refs;
    _Atomic uint64_t tunnels;
    _Atomic uint64_t channels;
    struct sp_rate handshakes;
    /* Of all decisions so far, those where the shadow policy would have blocked what passed, and
     * the other way round. */
    _Atomic uint64_t shadow_would_block, shadow_would_allow;
};

struct gw_tenant {
    _Atomic size_t refs;
    struct gw_tenant_config *config; /* one reference: enabled, names, validation, limits */
    const char *id;                  /* config->id */
    const struct sp_policy *policy;  /* config->client_validation.policy */
    struct sp_tls_trust *trust;
    struct sp_tls_crl_set *crls; /* NULL: none */
    struct sp_tls_cred *cred;    /* its own, or the common one */
    bool certificate_optional; /* policy lets no_certificate pass: ask, do not insist, no tickets */
    uint8_t ticket_epoch[GW_TICKET_EPOCH_LEN]; /* over id, CAs, CRLs, policy, enabled */
    uint8_t ticket_key[SP_TICKET_KEY_LEN];     /* KDF(master, id, epoch); wiped when freed */
    struct gw_tenant_counters *counters;
};

struct gw_tenant_sources {
    struct gw_keyring *keyring;
    struct sp_tls_cred *common_cred; /* NULL: there is none */
    const char *common_certificate;  /* its path, for errors */
    const char *gateway_file;        /* path of gateway.json, for errors */
    const uint8_t *ticket_master;    /* GW_TICKET_MASTER_LEN bytes */
    int64_t now;                     /* for expiry warnings */
};

/* Loads the file and all it names. Its certificate (or the common one) must cover its names. The
 * caller owns one reference. */
SP_MUST_USE enum sp_err gw_tenant_load(const char *path, const struct gw_tenant_sources *sources,
                                       struct sp_warnings *warnings, struct gw_tenant **ret_tenant,
                                       struct sp_error *err);
/* The next generation of a tenant whose CRL files have changed and nothing else. */
SP_MUST_USE enum sp_err gw_tenant_reload_crls(const struct gw_tenant *older,
                                              const struct gw_tenant_sources *sources,
                                              struct sp_warnings *warnings,
                                              struct gw_tenant **ret_tenant, struct sp_error *err);
/* Goes on counting where an older generation counts; before the tenant is shared with others. */
void gw_tenant_share_counters(struct gw_tenant *tenant, const struct gw_tenant *older);
struct gw_tenant *gw_tenant_ref(struct gw_tenant *tenant);
void gw_tenant_unref(struct gw_tenant *tenant); /* NULL is fine */

/* Counts one more unless that would pass the tenant's limit (false). Each true needs one drop, with
 * the same generation of the tenant or the one that it was moved to: a tenant that was away in
 * between counts anew. */
bool gw_tenant_take_tunnel(struct gw_tenant *tenant);
void gw_tenant_move_tunnel(struct gw_tenant *from, struct gw_tenant *to);
void gw_tenant_drop_tunnel(struct gw_tenant *tenant);
bool gw_tenant_take_channel(struct gw_tenant *tenant);
void gw_tenant_drop_channel(struct gw_tenant *tenant);

/* One more handshake; false: its limits.handshakes_per_s is reached. now_us: of a clock that does
 * not go back. */
bool gw_tenant_take_handshake(struct gw_tenant *tenant, uint64_t now_us);

/* The egress rules for its channels. */
const struct gw_acl *gw_tenant_acl(const struct gw_tenant *tenant, bool unvalidated);

/* Shared with the registry, for common names: an error at "$PATH.server_names[i]" for the first
 * name that the certificate does not cover. `whose`: "certificate c1.pem". */
SP_MUST_USE enum sp_err gw_tenant_check_coverage(const struct sp_tls_cred *cred, const char *whose,
                                                 const struct sp_json_strings *names,
                                                 const char *file, const char *json_path,
                                                 struct sp_error *err);
#endif
