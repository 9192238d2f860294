#include "gateway/tenant_config.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/revocation.h"
#include "common/tls_kdf.h"
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

/* What is bound: the configuration, and what is the tenant's alone beside it. */
struct bound {
    struct gw_tenant_config config;
    struct gw_tenant_file own;
};

/* What tenants may share; the same rows as below. */
static const struct sp_json_field config_fields[] = {
    {.key = "enabled",
     .type = SP_JSON_BOOL,
     .offset = offsetof(struct gw_tenant_config, enabled),
     .default_uint = true},
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

static const struct sp_json_field tenant_fields[] = {
    {.key = "enabled",
     .type = SP_JSON_BOOL,
     .offset = offsetof(struct bound, config.enabled),
     .default_uint = true},
    {.key = "server_names",
     .type = SP_JSON_STRINGS,
     .offset = offsetof(struct bound, own.server_names),
     .required = true,
     .min = 1,
     .max = 10000,
     .check = sp_settings_check_server_name},
    {.key = "certificate", .type = SP_JSON_PATH, .offset = offsetof(struct bound, own.certificate)},
    {.key = "private_key", .type = SP_JSON_PATH, .offset = offsetof(struct bound, own.private_key)},
    {.key = "client_validation",
     .type = SP_JSON_OBJECT,
     .offset = offsetof(struct bound, config.client_validation),
     .required = true,
     .fields = client_validation_fields},
    {.key = "egress",
     .type = SP_JSON_OBJECT,
     .offset = offsetof(struct bound, config.egress),
     .fields = egress_fields},
    {.key = "limits",
     .type = SP_JSON_OBJECT,
     .offset = offsetof(struct bound, config.limits),
     .fields = limits_fields},
    {.key = NULL},
};

/* The id goes into logs, ticket keys and, some day, file names: nothing but this. */
static enum sp_err take_id(const char *path, char ret_id[GW_TENANT_ID_MAX + 1],
                           struct sp_error *err)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    static const char rest[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";
    const char *slash = strrchr(path, '/');
    const char *stem = slash ? slash + 1 : path;
    const char *dot = strrchr(stem, '.');
    size_t len = dot ? (size_t)(dot - stem) : strlen(stem);

    if (len < 1 || len > GW_TENANT_ID_MAX || !strchr(first, stem[0]) || strspn(stem, rest) < len) {
        sp_error_set(err, SP_ERR_CONFIG,
                     "\"%.*s\" cannot be a tenant's id; wanted: 1..64 of a-z 0-9 _ -, the first "
                     "one a letter or digit",
                     (int)(len > 100 ? 100 : len), stem);
        sp_error_where(err, "%s", path);
        return SP_ERR_CONFIG;
    }
    memcpy(ret_id, stem, len);
    return SP_OK;
}

static enum sp_err check_names(struct gw_tenant_file *own, const char *file, struct sp_error *err)
{
    struct sp_json_strings *names = &own->server_names;
    char path[48];
    size_t i;

    for (i = 0; i < names->count; i++)
        sp_settings_fold_server_name(names->items[i]);
    if (!own->certificate == !own->private_key)
        return SP_OK;
    snprintf(path, sizeof path, "$.%s", own->certificate ? "private_key" : "certificate");
    return sp_json_error(err, file, path,
                         "missing, but %s is there; wanted: both, or neither for the common "
                         "certificate",
                         own->certificate ? "certificate" : "private_key");
}

static enum sp_err check_policy(const char *file, const char *json_path, struct sp_policy *policy,
                                struct sp_error *err)
{
    enum sp_err rc;

    rc = sp_settings_check_policy(policy, SP_REASON_BIT(SP_REASON_NOT_TLS),
                                  "without TLS there is no tunnel", file, json_path, err);
    if (rc == SP_OK)
        rc = sp_settings_check_policy(
            policy,
            SP_REASON_BIT(SP_REASON_UNKNOWN_SERVER_NAME) | SP_REASON_BIT(SP_REASON_TENANT_UNKNOWN) |
                SP_REASON_BIT(SP_REASON_TENANT_AMBIGUOUS),
            "it is found where no tenant, so no tenant's policy, is known", file, json_path, err);
    return rc == SP_OK ? sp_settings_finish_policy(policy, file, json_path, err) : rc;
}

static enum sp_err check_policies(struct gw_tenant_config *config, const char *file,
                                  struct sp_error *err)
{
    struct gw_client_validation *validation = &config->client_validation;
    enum sp_err rc = check_policy(file, "$.client_validation", &validation->policy, err);

    if (rc == SP_OK && validation->shadow.is_set)
        rc = check_policy(file, "$.client_validation.shadow", &validation->shadow.policy, err);
    return rc;
}

static enum sp_err parse_acl(const char *file, const char *key, const struct sp_json_strings *rules,
                             struct gw_acl **ret_acl, struct sp_error *err)
{
    struct sp_error why = {.kind = SP_OK};
    char path[48];
    size_t bad = 0;

    if (gw_acl_parse((const char *const *)rules->items, rules->count, ret_acl, &bad, &why) == SP_OK)
        return SP_OK;
    snprintf(path, sizeof path, "$.egress.%s[%zu]", key, bad);
    return sp_json_error(err, file, path, "rule \"%.120s\": %s", rules->items[bad], why.text);
}

static enum sp_err parse_acls(struct gw_tenant_config *config, const char *file,
                              struct sp_error *err)
{
    struct gw_egress *egress = &config->egress;
    enum sp_err rc = parse_acl(file, "allow", &egress->allow, &config->acl, err);

    if (rc == SP_OK && egress->has_unvalidated)
        rc = parse_acl(file, "unvalidated", &egress->unvalidated, &config->unvalidated_acl, err);
    return rc;
}

static enum sp_err check_bound(struct bound *bound, const char *path, struct sp_error *err)
{
    enum sp_err rc = check_names(&bound->own, path, err);

    if (rc == SP_OK)
        rc = check_policies(&bound->config, path, err);
    if (rc == SP_OK)
        rc = gw_cert_match_finish(&bound->config.client_validation.match, path,
                                  "$.client_validation.match", err);
    if (rc == SP_OK)
        rc = parse_acls(&bound->config, path, err);
    return rc;
}

/* What the exceptions say, without their notes; bytes only, like the state below. */
static void digest_exceptions(const struct sp_policy *policy, uint8_t ret_digest[SP_SHA256_LEN])
{
    struct record {
        char fingerprint[72];
        uint8_t reason, until[8];
    };
    const struct sp_exception *exceptions = policy->exceptions.items;
    size_t count = policy->exceptions.count;
    struct record *records = sp_calloc(count + 1, sizeof *records);

    for (size_t i = 0; i < count; i++) {
        strncpy(records[i].fingerprint, exceptions[i].fingerprint,
                sizeof records[i].fingerprint - 1);
        records[i].reason = (uint8_t)exceptions[i].reason;
        memcpy(records[i].until, &exceptions[i].until, sizeof records[i].until);
    }
    sp_sha256(records, count * sizeof *records, ret_digest);
    free(records);
}

static void digest_ocsp(const struct gw_ocsp_settings *ocsp, uint8_t ret_digest[SP_SHA256_LEN])
{
    const struct sp_sha256_part parts[] = {
        {&ocsp->mode, sizeof ocsp->mode},
        {&ocsp->max_age_s, sizeof ocsp->max_age_s},
        {&ocsp->nonce, sizeof ocsp->nonce},
        {ocsp->responder, ocsp->responder ? strlen(ocsp->responder) : 0},
    };

    sp_sha256_parts(parts, sizeof parts / sizeof parts[0], ret_digest);
}

static void make_rules(struct gw_tenant_config *config)
{
    const struct gw_client_validation *validation = &config->client_validation;
    const struct sp_policy *policy = &validation->policy;
    struct {
        uint8_t exceptions[SP_SHA256_LEN], ocsp[SP_SHA256_LEN], match[GW_CERT_MATCH_DIGEST];
        uint8_t enabled, require_eku, on_failure, on[SP_REASON_COUNT];
        uint8_t max_chain, min_key_bits[2];
    } state; /* bytes only: no padding */

    memset(&state, 0, sizeof state);
    digest_exceptions(policy, state.exceptions);
    digest_ocsp(&validation->ocsp, state.ocsp);
    gw_cert_match_digest(&validation->match, state.match);
    state.enabled = config->enabled;
    state.require_eku = validation->require_eku;
    state.max_chain = (uint8_t)validation->max_chain;
    state.min_key_bits[0] = (uint8_t)(validation->min_key_bits >> 8);
    state.min_key_bits[1] = (uint8_t)validation->min_key_bits;
    state.on_failure = (uint8_t)policy->on_failure;
    for (size_t i = 0; i < SP_REASON_COUNT; i++)
        state.on[i] = (uint8_t)policy->on[i];
    sp_sha256(&state, sizeof state, config->rules);
}

static void make_digest(struct gw_tenant_config *config)
{
    struct sp_json_bytes bytes = {.data = NULL};

    sp_json_flatten(config_fields, config, &bytes);
    sp_sha256(bytes.data, bytes.len, config->digest);
    free(bytes.data);
}

enum sp_err gw_tenant_file_load(const char *path, struct gw_tenant_file *ret_file,
                                struct sp_error *err)
{
    struct bound bound = {.config.enabled = false};
    enum sp_err rc = take_id(path, bound.own.id, err);

    if (rc == SP_OK)
        rc = sp_json_load(path, tenant_fields, &bound, err);
    if (rc != SP_OK)
        return rc;
    rc = check_bound(&bound, path, err);
    if (rc != SP_OK) {
        sp_json_done(tenant_fields, &bound);
        gw_acl_free(bound.config.acl);
        gw_acl_free(bound.config.unvalidated_acl);
        return rc;
    }
    make_digest(&bound.config);
    make_rules(&bound.config);
    atomic_init(&bound.config.refs, 1);
    bound.own.config = sp_calloc(1, sizeof bound.config);
    memcpy(bound.own.config, &bound.config, sizeof bound.config);
    *ret_file = bound.own;
    return SP_OK;
}

void gw_tenant_file_done(struct gw_tenant_file *file)
{
    for (size_t i = 0; i < file->server_names.count; i++)
        free(file->server_names.items[i]);
    free(file->server_names.items);
    free(file->certificate);
    free(file->private_key);
    gw_tenant_config_unref(file->config);
    *file = (struct gw_tenant_file){.config = NULL};
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
    sp_json_done(config_fields, config);
    gw_acl_free(config->acl);
    gw_acl_free(config->unvalidated_acl);
    free(config);
}
