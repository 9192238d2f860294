/*
 * tenant: one customer account as the gateway serves it: its configuration with the certificate,
 * CAs and ticket keys that follow from it.
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
struct gw_cred;
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
    struct gw_tenant_config *config;     /* one reference: enabled, validation, limits; shared */
    const char *id, *path;               /* path: of its file, as given */
    struct sp_json_strings server_names; /* folded; may hold wildcards */
    struct sp_tls_trust *trust;
    struct sp_tls_crl_set *crls; /* NULL: none */
    struct gw_cred *own;         /* its certificate; NULL: the common one */
    bool certificate_optional; /* policy lets no_certificate pass: ask, do not insist, no tickets */
    uint8_t ticket_epoch[GW_TICKET_EPOCH_LEN]; /* over id, CAs, CRLs, policy, enabled */
    struct gw_tenant_counters *counters;
    uint64_t stamp;           /* of its file (sp_file_stamp) */
    _Atomic uint64_t covered; /* the load of `own` (gw_cred_take) that is known to fit its names */
    char text[];              /* id and path */
};

struct gw_tenant_sources {
    struct gw_keyring *keyring;
    struct sp_tls_cred *common_cred; /* NULL: there is none */
    const char *common_certificate;  /* its path, for errors */
    const char *gateway_file;        /* path of gateway.json, for errors */
    int64_t now;                     /* for expiry warnings */
};

/* A tenant as its file says, with the CAs and lists that it names. Takes from `file` what it keeps.
 * own: its certificate, not loaded here; NULL: the common one. The caller owns one reference. */
SP_MUST_USE enum sp_err gw_tenant_new(const char *path, uint64_t stamp, struct gw_tenant_file *file,
                                      struct gw_cred *own, const struct gw_tenant_sources *sources,
                                      struct sp_warnings *warnings, struct gw_tenant **ret_tenant,
                                      struct sp_error *err);
/* The next generation of a tenant whose file has not changed, but something that it names. */
SP_MUST_USE enum sp_err gw_tenant_renew(const struct gw_tenant *older, struct gw_cred *own,
                                        struct sp_tls_trust *trust,
                                        const struct gw_tenant_sources *sources,
                                        struct sp_warnings *warnings, struct gw_tenant **ret_tenant,
                                        struct sp_error *err);
/* What the administrator should know about its configuration. */
void gw_tenant_warn(const struct gw_tenant *tenant, int64_t now, struct sp_warnings *warnings);

/* The certificate to show, loaded now if need be: its own, which must cover its names, or the
 * common one. The caller owns one reference. Any thread. */
SP_MUST_USE enum sp_err gw_tenant_take_cred(struct gw_tenant *tenant, struct sp_tls_cred *common,
                                            struct sp_tls_cred **ret_cred, struct sp_error *err);
/* KDF(master, id, epoch). The caller wipes it. */
void gw_tenant_ticket_key(const struct gw_tenant *tenant,
                          const uint8_t master[GW_TICKET_MASTER_LEN],
                          uint8_t ret_key[SP_TICKET_KEY_LEN]);

/* Its policy, or its shadow's, and whose it is ("tenants.d/a.json: $.client_validation"), which is
 * not kept a hundred thousand times. Returns &view->policy; valid as long as view and tenant. */
struct gw_policy_view {
    struct sp_policy policy;
    char source[512];
};
const struct sp_policy *gw_tenant_policy(const struct gw_tenant *tenant, bool shadow,
                                         struct gw_policy_view *view);

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

/* Without a certificate of its own: the common one is there and covers its names. */
SP_MUST_USE enum sp_err gw_tenant_check_common(const char *path,
                                               const struct sp_json_strings *names,
                                               const struct gw_tenant_sources *sources,
                                               struct sp_error *err);
/* Shared with the registry, for common names: an error at "$PATH.server_names[i]" for the first
 * name that the certificate does not cover. `whose`: "certificate c1.pem". */
SP_MUST_USE enum sp_err gw_tenant_check_coverage(const struct sp_tls_cred *cred, const char *whose,
                                                 const struct sp_json_strings *names,
                                                 const char *file, const char *json_path,
                                                 struct sp_error *err);
#endif
