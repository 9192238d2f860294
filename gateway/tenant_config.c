#include "gateway/tenant_config.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/revocation.h"
#include "common/url.h"
#include "gateway/acl.h"

static const char *const egress_mode_names[] = {[GW_EGRESS_DIRECT] = "direct", NULL};

static const struct sp_json_field shadow_fields[] = {
    SP_SETTINGS_POLICY_ROWS(struct gw_shadow, policy),
    {.key = "require_eku",
     .type = SP_JSON_BOOL,
     .offset = offsetof(struct gw_shadow, require_eku),
     .default_uint = true},
    SP_SETTINGS_CHAIN_ROWS(struct gw_shadow),
    {.key = NULL},
};

static const struct sp_json_field ocsp_fields[] = {
    {.key = "mode",
     .type = SP_JSON_ENUM,
     .offset = offsetof(struct gw_ocsp_settings, mode),
     .default_uint = SP_OCSP_OFF,
     .names = sp_ocsp_mode_names},
    {.key = "responder",
     .type = SP_JSON_STRING,
     .offset = offsetof(struct gw_ocsp_settings, responder),
     .check = sp_url_check},
    {.key = "timeout_ms",
     .type = SP_JSON_UINT,
     .offset = offsetof(struct gw_ocsp_settings, timeout_ms),
     .min = 100,
     .max = 60000,
     .default_uint = 3000},
    {.key = "nonce",
     .type = SP_JSON_BOOL,
     .offset = offsetof(struct gw_ocsp_settings, nonce),
     .default_uint = true},
    {.key = "max_age_s",
     .type = SP_JSON_UINT,
     .offset = offsetof(struct gw_ocsp_settings, max_age_s),
     .min = 1,
     .max = 366 * 86400,
     .default_uint = 86400},
    {.key = NULL},
};

static const struct sp_json_field client_validation_fields[] = {
    {.key = "trusted_cas",
     .type = SP_JSON_PATHS,
     .offset = offsetof(struct gw_client_validation, trusted_cas),
     .required = true,
     .min = 1,
     .max = 1000},
    SP_SETTINGS_CRLS_ROW(struct gw_client_validation, crls),
    {.key = "ocsp",
     .type = SP_JSON_OBJECT,
     .offset = offsetof(struct gw_client_validation, ocsp),
     .fields = ocsp_fields},
    SP_SETTINGS_POLICY_ROWS(struct gw_client_validation, policy),
    {.key = "require_eku",
     .type = SP_JSON_BOOL,
     .offset = offsetof(struct gw_client_validation, require_eku),
     .default_uint = true},
    SP_SETTINGS_CHAIN_ROWS(struct gw_client_validation),
    {.key = "match",
     .type = SP_JSON_OBJECT,
     .offset = offsetof(struct gw_client_validation, match),
     .fields = gw_cert_match_fields,
     .present_offset = SP_JSON_PRESENT(struct gw_client_validation, match.is_set)},
    {.key = "shadow",
     .type = SP_JSON_OBJECT,
     .offset = offsetof(struct gw_client_validation, shadow),
     .fields = shadow_fields,
     .present_offset = SP_JSON_PRESENT(struct gw_client_validation, shadow.is_set)},
    {.key = NULL},
};

static const struct sp_json_field egress_fields[] = {
    {.key = "mode",
     .type = SP_JSON_ENUM,
     .offset = offsetof(struct gw_egress, mode),
     .default_uint = GW_EGRESS_DIRECT,
     .names = egress_mode_names},
    {.key = "allow",
     .type = SP_JSON_STRINGS,
     .offset = offsetof(struct gw_egress, allow),
     .max = 1000},
    {.key = "unvalidated",
     .type = SP_JSON_STRINGS,
     .offset = offsetof(struct gw_egress, unvalidated),
     .max = 1000,
     .present_offset = SP_JSON_PRESENT(struct gw_egress, has_unvalidated)},
    {.key = NULL},
};

static const struct sp_json_field limits_fields[] = {
    {.key = "tunnels",
     .type = SP_JSON_UINT,
     .offset = offsetof(struct gw_tenant_limits, tunnels),
     .min = 1,
     .max = 10000000,
     .default_uint = 1000},
    {.key = "channels",
     .type = SP_JSON_UINT,
     .offset = offsetof(struct gw_tenant_limits, channels),
     .min = 1,
     .max = 100000000,
     .default_uint = 20000},
    {.key = "handshakes_per_s",
     .type = SP_JSON_UINT,
     .offset = offsetof(struct gw_tenant_limits, handshakes_per_s),
     .max = 1000000,
     .default_uint = 0},
    {.key = NULL},
};

static const struct sp_json_field tenant_fields[] = {
    {.key = "enabled",
     .type = SP_JSON_BOOL,
     .offset = offsetof(struct gw_tenant_config, enabled),
     .default_uint = true},
    {.key = "server_names",
     .type = SP_JSON_STRINGS,
     .offset = offsetof(struct gw_tenant_config, server_names),
     .required = true,
     .min = 1,
     .max = 10000,
     .check = sp_settings_check_server_name},
    {.key = "certificate",
     .type = SP_JSON_PATH,
     .offset = offsetof(struct gw_tenant_config, certificate)},
    {.key = "private_key",
     .type = SP_JSON_PATH,
     .offset = offsetof(struct gw_tenant_config, private_key)},
    {.key = "client_validation",
     .type = SP_JSON_OBJECT,
     .offset = offsetof(struct gw_tenant_config, client_validation),
     .required = true,
     .fields = client_validation_fields},
    {.key = "egress",
     .type = SP_JSON_OBJECT,
     .offset = offsetof(struct gw_tenant_config, egress),
     .fields = egress_fields},
    {.key = "limits",
     .type = SP_JSON_OBJECT,
     .offset = offsetof(struct gw_tenant_config, limits),
     .fields = limits_fields},
    {.key = NULL},
};

/* The id goes into logs, ticket keys and, some day, file names: nothing but this. */
static enum sp_err take_id(struct gw_tenant_config *config, struct sp_error *err)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    static const char rest[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";
    const char *slash = strrchr(config->path, '/');
    const char *stem = slash ? slash + 1 : config->path;
    const char *dot = strrchr(stem, '.');
    size_t len = dot ? (size_t)(dot - stem) : strlen(stem);

    if (len < 1 || len > GW_TENANT_ID_MAX || !strchr(first, stem[0]) || strspn(stem, rest) < len) {
        sp_error_set(err, SP_ERR_CONFIG,
                     "\"%.*s\" cannot be a tenant's id; wanted: 1..64 of a-z 0-9 _ -, the first "
                     "one a letter or digit",
                     (int)(len > 100 ? 100 : len), stem);
        sp_error_where(err, "%s", config->path);
        return SP_ERR_CONFIG;
    }
    memcpy(config->id, stem, len);
    return SP_OK;
}

static enum sp_err check_names(struct gw_tenant_config *config, struct sp_error *err)
{
    struct sp_json_strings *names = &config->server_names;
    char path[48];
    size_t i;

    for (i = 0; i < names->count; i++)
        sp_settings_fold_server_name(names->items[i]);
    if (!config->certificate == !config->private_key)
        return SP_OK;
    snprintf(path, sizeof path, "$.%s", config->certificate ? "private_key" : "certificate");
    return sp_json_error(err, config->path, path,
                         "missing, but %s is there; wanted: both, or neither for the common "
                         "certificate",
                         config->certificate ? "certificate" : "private_key");
}

/* The policy at json_path. *ret_source is for its owner to free. */
static enum sp_err check_policy(const struct gw_tenant_config *config, const char *json_path,
                                struct sp_policy *policy, char **ret_source, struct sp_error *err)
{
    enum sp_err rc;

    rc = sp_settings_check_policy(policy, SP_REASON_BIT(SP_REASON_NOT_TLS),
                                  "without TLS there is no tunnel", config->path, json_path, err);
    if (rc == SP_OK)
        rc = sp_settings_check_policy(
            policy,
            SP_REASON_BIT(SP_REASON_UNKNOWN_SERVER_NAME) | SP_REASON_BIT(SP_REASON_TENANT_UNKNOWN) |
                SP_REASON_BIT(SP_REASON_TENANT_AMBIGUOUS),
            "it is found where no tenant, so no tenant's policy, is known", config->path, json_path,
            err);
    if (rc == SP_OK)
        rc = sp_settings_finish_policy(policy, config->path, json_path, err);
    if (rc != SP_OK)
        return rc;
    SP_REQUIRE(asprintf(ret_source, "%s: %s", config->path, json_path) >= 0);
    policy->source = *ret_source;
    return SP_OK;
}

static enum sp_err check_policies(struct gw_tenant_config *config, struct sp_error *err)
{
    struct gw_client_validation *validation = &config->client_validation;
    enum sp_err rc = check_policy(config, "$.client_validation", &validation->policy,
                                  &config->policy_source, err);

    if (rc == SP_OK && validation->shadow.is_set)
        rc = check_policy(config, "$.client_validation.shadow", &validation->shadow.policy,
                          &config->shadow_source, err);
    return rc;
}

static enum sp_err parse_acl(struct gw_tenant_config *config, const char *key,
                             const struct sp_json_strings *rules, struct gw_acl **ret_acl,
                             struct sp_error *err)
{
    struct sp_error why = {.kind = SP_OK};
    char path[48];
    size_t bad = 0;

    if (gw_acl_parse((const char *const *)rules->items, rules->count, ret_acl, &bad, &why) == SP_OK)
        return SP_OK;
    snprintf(path, sizeof path, "$.egress.%s[%zu]", key, bad);
    return sp_json_error(err, config->path, path, "rule \"%.120s\": %s", rules->items[bad],
                         why.text);
}

static enum sp_err parse_acls(struct gw_tenant_config *config, struct sp_error *err)
{
    struct gw_egress *egress = &config->egress;
    enum sp_err rc = parse_acl(config, "allow", &egress->allow, &config->acl, err);

    if (rc == SP_OK && egress->has_unvalidated)
        rc = parse_acl(config, "unvalidated", &egress->unvalidated, &config->unvalidated_acl, err);
    return rc;
}

enum sp_err gw_tenant_config_load(const char *path, struct gw_tenant_config **ret_config,
                                  struct sp_error *err)
{
    struct gw_tenant_config *config = sp_calloc(1, sizeof *config);
    enum sp_err rc;

    atomic_init(&config->refs, 1);
    config->path = sp_strdup(path);
    rc = take_id(config, err);
    if (rc == SP_OK)
        rc = sp_json_load(path, tenant_fields, config, err);
    if (rc == SP_OK)
        rc = check_names(config, err);
    if (rc == SP_OK)
        rc = check_policies(config, err);
    if (rc == SP_OK)
        rc = gw_cert_match_finish(&config->client_validation.match, config->path,
                                  "$.client_validation.match", err);
    if (rc == SP_OK)
        rc = parse_acls(config, err);
    if (rc != SP_OK) {
        gw_tenant_config_unref(config);
        return rc;
    }
    *ret_config = config;
    return SP_OK;
}

struct gw_tenant_config *gw_tenant_config_ref(struct gw_tenant_config *config)
{
    atomic_fetch_add_explicit(&config->refs, 1, memory_order_relaxed);
    return config;
}

void gw_tenant_config_unref(struct gw_tenant_config *config)
{
    if (!config || atomic_fetch_sub_explicit(&config->refs, 1, memory_order_acq_rel) != 1)
        return;
    sp_json_done(tenant_fields, config);
    gw_acl_free(config->acl);
    gw_acl_free(config->unvalidated_acl);
    free(config->policy_source);
    free(config->shadow_source);
    free(config->path);
    free(config);
}
