/*
 * tenant_config: one tenant's file, tenants.d/ID.json, as values. No key, certificate or CA is read
 * here (tenant.h does); the egress rules are parsed, since they are text.
 *
 * The file's name is the tenant's id. Loading takes any thread. A configuration is immutable once
 * loaded and reference counted.
 */
#ifndef SALLYPORT_GATEWAY_TENANT_CONFIG_H
#define SALLYPORT_GATEWAY_TENANT_CONFIG_H
#include "common/error.h"
#include "common/settings.h"
#include "common/verdict.h"
#include "gateway/cert_match.h"

struct gw_acl; /* gateway/acl.h */

#define GW_TENANT_ID_MAX 64

/* A second policy, decided beside the live one and acting on nothing. Same CAs. */
struct gw_shadow {
    bool is_set;             /* there is one */
    struct sp_policy policy; /* without .source: gw_tenant_policy */
    bool require_eku;
    uint64_t max_chain, min_key_bits;
};

/* Whether the client's certificate is revoked, by OCSP. */
struct gw_ocsp_settings {
    int mode;        /* enum sp_ocsp_mode; default off */
    char *responder; /* URL; NULL: the certificate's own */
    uint64_t timeout_ms;
    bool nonce;         /* sent, and wanted back */
    uint64_t max_age_s; /* of an answer, since its thisUpdate */
};

struct gw_client_validation {
    struct sp_json_strings trusted_cas; /* paths; at least one */
    struct sp_json_strings crls;        /* paths, URLs */
    struct gw_ocsp_settings ocsp;
    struct sp_policy policy;          /* without .source: gw_tenant_policy */
    bool require_eku;                 /* a leaf without extendedKeyUsage is wrong_purpose */
    uint64_t max_chain, min_key_bits; /* see struct sp_chain_query */
    struct gw_cert_match match;       /* what the names of its clients must fit */
    struct gw_shadow shadow;
};

enum gw_egress_mode { GW_EGRESS_DIRECT };

struct gw_egress {
    int mode;                           /* enum gw_egress_mode */
    struct sp_json_strings allow;       /* as written; parsed in gw_tenant_config.acl */
    struct sp_json_strings unvalidated; /* the same, in place of `allow` for unvalidated tunnels */
    bool has_unvalidated;               /* the list is there, though it may be empty */
};

struct gw_tenant_limits {
    uint64_t tunnels;
    uint64_t channels;         /* of all its tunnels together */
    uint64_t handshakes_per_s; /* 0: no limit */
};

/* What the file says but for the tenant's own names and certificate: many tenants may share one
 * (keyring.h), so it does not say whose it is. */
struct gw_tenant_config {
    _Atomic size_t refs;
    bool enabled;
    struct gw_client_validation client_validation;
    struct gw_egress egress;
    struct gw_acl *acl;
    struct gw_acl *unvalidated_acl; /* NULL: acl is for unvalidated tunnels too */
    struct gw_tenant_limits limits;
    uint8_t digest[32]; /* over all of it: equal for equal ones */
    uint8_t rules[32]; /* over what decides whom it lets in, but for the CAs and lists themselves */
};

/* One file as it was read. Owned by its reader. */
struct gw_tenant_file {
    char id[GW_TENANT_ID_MAX + 1];
    struct sp_json_strings server_names; /* folded; may hold wildcards */
    char *certificate, *private_key;     /* both NULL: the common certificate */
    struct gw_tenant_config *config;     /* one reference */
};

SP_MUST_USE enum sp_err gw_tenant_file_load(const char *path, struct gw_tenant_file *ret_file,
                                            struct sp_error *err);
void gw_tenant_file_done(struct gw_tenant_file *file); /* a zeroed one is fine */
struct gw_tenant_config *gw_tenant_config_ref(struct gw_tenant_config *config);
void gw_tenant_config_unref(struct gw_tenant_config *config); /* drops one; NULL is fine */
#endif
