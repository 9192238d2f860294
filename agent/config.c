#include "agent/config.h"

#include "agent/config_impl.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/proxy.h"
#include "common/clock.h"
#include "common/crl_source.h"
#include "common/json_out.h"
#include "common/tls_crl.h"
#include "common/tls_trust.h"
#include "common/url.h"

static enum sp_err check_server_name(const char *value, struct sp_error *err);

static enum sp_err check_probe_url(const char *value, struct sp_error *err);

static const char *const mode_names[] = {
    [AGENT_PINNED] = "pinned",
    [AGENT_TRUST_STORE] = "trust_store",
    NULL,
};

static const char *const staple_names[] = {
    [AGENT_STAPLE_USE] = "use",
    [AGENT_STAPLE_REQUIRE] = "require",
    [AGENT_STAPLE_IGNORE] = "ignore",
    NULL,
};

static const char *const selection_names[] = {
    [AGENT_ORDERED] = "ordered",
    [AGENT_FASTEST] = "fastest",
    NULL,
};

static const struct sp_json_field server_validation_fields[] = {
    {.key = "mode",
     .type = SP_JSON_ENUM,
     .offset = offsetof(struct agent_server_validation, mode),
     .required = true,
     .names = mode_names},
    {.key = "ca_files",
     .type = SP_JSON_PATHS,
     .offset = offsetof(struct agent_server_validation, ca_files),
     .max = 100},
    SP_SETTINGS_CRLS_ROW(struct agent_server_validation, crls),
    {.key = "staple",
     .type = SP_JSON_ENUM,
     .offset = offsetof(struct agent_server_validation, staple),
     .default_uint = AGENT_STAPLE_USE,
     .names = staple_names},
    SP_SETTINGS_POLICY_ROWS(struct agent_server_validation, policy),
    SP_SETTINGS_CHAIN_ROWS(struct agent_server_validation),
    {.key = "pinned_keys",
     .type = SP_JSON_STRINGS,
     .offset = offsetof(struct agent_server_validation, pinned_keys),
     .min = 1,
     .max = 100,
     .check = sp_settings_check_sha256},
    {.key = NULL},
};

#define LIMIT(name, least, most, preset)                                                           \
    {                                                                                              \
        .key = #name, .type = SP_JSON_UINT, .offset = offsetof(struct agent_limits, name),         \
        .min = (least), .max = (most), .default_uint = (preset)                                    \
    }

static const struct sp_json_field limits_fields[] = {
    LIMIT(handshake_ms, 100, 60000, 5000),
    LIMIT(wait_ms, 0, 600000, 5000),
    LIMIT(connections, 1, 1000000, 10000),
    {.key = NULL},
};

static const char *const unreachable_names[] = {
    [AGENT_UNREACHABLE_BLOCK] = "block",
    [AGENT_UNREACHABLE_DIRECT] = "direct",
    NULL,
};

static const struct sp_json_field portal_fields[] = {
    {.key = "probe_url",
     .type = SP_JSON_STRING,
     .offset = offsetof(struct agent_portal_settings, probe_url),
     .required = true,
     .check = check_probe_url},
    {.key = "expect_status",
     .type = SP_JSON_UINT,
     .offset = offsetof(struct agent_portal_settings, expect_status),
     .min = 200,
     .max = 299,
     .default_uint = 204},
    {.key = "expect_body",
     .type = SP_JSON_STRING,
     .offset = offsetof(struct agent_portal_settings, expect_body),
     .min = 1,
     .max = 1024},
    {.key = "minutes",
     .type = SP_JSON_UINT,
     .offset = offsetof(struct agent_portal_settings, minutes),
     .min = 1,
     .max = 1440,
     .default_uint = 10},
    {.key = NULL},
};

#define OBJECT(name, needed, table)                                                                \
    {                                                                                              \
        .key = #name, .type = SP_JSON_OBJECT, .offset = offsetof(struct agent_config, name),       \
        .required = (needed), .fields = (table)                                                    \
    }

static const struct sp_json_field agent_fields[] = {
    {.key = "gateways",
     .type = SP_JSON_STRINGS,
     .offset = offsetof(struct agent_config, gateway_texts),
     .required = true,
     .min = 1,
     .max = AGENT_GATEWAYS_MAX,
     .check = sp_settings_check_target},
    {.key = "selection",
     .type = SP_JSON_ENUM,
     .offset = offsetof(struct agent_config, selection),
     .default_uint = AGENT_ORDERED,
     .names = selection_names},
    {.key = "failback_s",
     .type = SP_JSON_UINT,
     .offset = offsetof(struct agent_config, failback_s),
     .max = 86400,
     .default_uint = 60},
    {.key = "probe_s",
     .type = SP_JSON_UINT,
     .offset = offsetof(struct agent_config, probe_s),
     .min = 1,
     .max = 3600,
     .default_uint = 15},
    {.key = "upstream_proxy",
     .type = SP_JSON_STRING,
     .offset = offsetof(struct agent_config, upstream_text),
     .check = agent_proxy_check},
    {.key = "server_name",
     .type = SP_JSON_STRING,
     .offset = offsetof(struct agent_config, server_name),
     .required = true,
     .check = check_server_name},
    OBJECT(identity, true, agent_identity_fields),
    OBJECT(server_validation, true, server_validation_fields),
    {.key = "doors",
     .type = SP_JSON_ARRAY,
     .offset = offsetof(struct agent_config, door_rows),
     .required = true,
     .min = 1,
     .max = SP_LISTEN_MAX,
     .fields = agent_config_door_fields,
     .size = sizeof(struct agent_door)},
    {.key = "routes",
     .type = SP_JSON_ARRAY,
     .offset = offsetof(struct agent_config, route_rows),
     .max = AGENT_ROUTES_MAX,
     .fields = agent_route_fields,
     .size = sizeof(struct agent_route)},
    {.key = "tunnels",
     .type = SP_JSON_UINT,
     .offset = offsetof(struct agent_config, tunnels),
     .min = 1,
     .max = AGENT_TUNNELS_MAX,
     .default_uint = 2},
    {.key = "contact",
     .type = SP_JSON_STRING,
     .offset = offsetof(struct agent_config, contact),
     .max = AGENT_CONTACT_MAX},
    {.key = "cache_dir", .type = SP_JSON_PATH, .offset = offsetof(struct agent_config, cache_dir)},
    OBJECT(tls, false, sp_settings_tls_fields),
    OBJECT(log, false, sp_settings_log_fields),
    OBJECT(keepalive, false, sp_settings_keepalive_fields),
    OBJECT(limits, false, limits_fields),
    OBJECT(stapling, false, sp_settings_stapling_fields),
    {.key = "when_unreachable",
     .type = SP_JSON_ENUM,
     .offset = offsetof(struct agent_config, when_unreachable),
     .default_uint = AGENT_UNREACHABLE_BLOCK,
     .names = unreachable_names},
    OBJECT(captive_portal, false, portal_fields),
    {.key = NULL},
};

static enum sp_err check_server_name(const char *value, struct sp_error *err)
{
    char folded[SP_HOST_MAX + 1];
    struct sp_ip ip;

    if (sp_ip_parse(value, strlen(value), &ip) || sp_host_fold(value, strlen(value), folded))
        return SP_OK;
    return sp_error_set(err, SP_ERR_CONFIG,
                        "\"%.260s\" is neither a host name nor an address; wanted: the name in the "
                        "gateway's certificate, as in c1.example.net",
                        value);
}

/* A portal cannot answer in the place of an https server; that is what https is for. */
static enum sp_err check_probe_url(const char *value, struct sp_error *err)
{
    struct sp_url url;
    enum sp_err rc = sp_url_parse(value, &url, err);

    if (rc != SP_OK || !url.https)
        return rc;
    return sp_error_set(err, SP_ERR_CONFIG,
                        "\"%.260s\" is https, in whose place no portal can answer; wanted: an "
                        "http URL, as in http://probe.example.net/generate_204",
                        value);
}

/* ---- what no table row can say ---- */

static void parse_texts(struct agent_config *config)
{
    char folded[SP_HOST_MAX + 1];
    const char *text;
    size_t i;

    for (i = 0; i < config->gateway_texts.count; i++) {
        text = config->gateway_texts.items[i];
        SP_REQUIRE(sp_target_parse(text, strlen(text), &config->gateways[i], NULL) == SP_OK);
    }
    if (sp_host_fold(config->server_name, strlen(config->server_name), folded))
        memcpy(config->server_name, folded, strlen(folded) + 1);
}

static enum sp_err check_validation(struct agent_config *config, struct sp_error *err)
{
    struct agent_server_validation *validation = &config->server_validation;
    const sp_reason_set gateway_only =
        SP_REASON_BIT(SP_REASON_UNKNOWN_SERVER_NAME) | SP_REASON_BIT(SP_REASON_TENANT_UNKNOWN) |
        SP_REASON_BIT(SP_REASON_TENANT_AMBIGUOUS) | SP_REASON_BIT(SP_REASON_TENANT_DISABLED);
    enum sp_err rc;

    if (validation->mode == AGENT_PINNED && !validation->ca_files.count)
        return sp_json_error(err, config->path, "$.server_validation.ca_files",
                             "mode \"pinned\" trusts these files alone and needs at least one");
    rc = sp_settings_check_policy(&validation->policy, SP_REASON_BIT(SP_REASON_NOT_TLS),
                                  "without TLS there is no tunnel", config->path,
                                  "$.server_validation", err);
    if (rc == SP_OK)
        rc = sp_settings_check_policy(&validation->policy, gateway_only,
                                      "the gateway finds it, not the agent", config->path,
                                      "$.server_validation", err);
    if (rc == SP_OK)
        rc = sp_settings_finish_policy(&validation->policy, config->path, "$.server_validation",
                                       err);
    if (rc != SP_OK)
        return rc;
    for (size_t i = 0; i < validation->pinned_keys.count; i++)
        sp_settings_fold_sha256(validation->pinned_keys.items[i]);
    sp_settings_warn_exceptions(&config->warnings, config->path, "$.server_validation",
                                &validation->policy, sp_clock_wall_s());
    SP_REQUIRE(asprintf(&config->policy_source, "%s: $.server_validation", config->path) >= 0);
    validation->policy.source = config->policy_source;
    return SP_OK;
}

/* The login of a proxy stands in the file itself. */
static enum sp_err load_upstream(struct agent_config *config, struct sp_error *err)
{
    struct sp_error why;
    struct stat st;

    if (!config->upstream_text)
        return SP_OK;
    if (agent_proxy_new(config->upstream_text, &config->upstream, &why) != SP_OK)
        return sp_json_error(err, config->path, "$.upstream_proxy", "%s", why.text);
    if (strchr(config->upstream_text, '@') && stat(config->path, &st) == 0 &&
        (st.st_mode & (S_IRWXG | S_IRWXO)))
        sp_warnings_add(&config->warnings, config->path, "$.upstream_proxy",
                        "there is a password in this file, and others than its owner may read it");
    return SP_OK;
}

static enum sp_err finish(struct agent_config *config, struct sp_error *err)
{
    enum sp_err rc;
    size_t i;

    parse_texts(config);
    config->doors = config->door_rows.items;
    config->door_count = config->door_rows.count;
    for (i = 0; i < config->door_count; i++) {
        rc = agent_config_finish_door(config, i, err);
        if (rc != SP_OK)
            return rc;
    }
    if (config->when_unreachable == AGENT_UNREACHABLE_DIRECT)
        sp_warnings_add(&config->warnings, config->path, "$.when_unreachable",
                        "\"direct\": while no gateway can be connected to, applications go "
                        "straight to their destinations, in the clear and from this machine's own "
                        "address");
    rc = agent_identity_check(&config->identity, config->path, err);
    if (rc == SP_OK)
        rc = agent_routes_finish(config, err);
    if (rc == SP_OK)
        rc = check_validation(config, err);
    if (rc == SP_OK)
        rc = load_upstream(config, err);
    if (rc == SP_OK)
        rc = sp_settings_check_cache(config->cache_dir, config->path, err);
    return rc == SP_OK ? sp_settings_check_log(&config->log, config->path, err) : rc;
}

static enum sp_err load_crls(const struct agent_config *config, const struct sp_crl_source *fetched,
                             struct sp_warnings *warnings, struct sp_tls_crl_set **ret_crls,
                             struct sp_error *err)
{
    struct sp_tls_crl_pool *pool = sp_tls_crl_pool_new();
    enum sp_err rc;

    if (fetched)
        sp_crl_source_fill(fetched, pool);
    sp_tls_crl_pool_add(pool, config->crls);
    rc = sp_settings_load_crls(pool, config->path, "$.server_validation.crls",
                               &config->server_validation.crls, config->trust, sp_clock_wall_s(),
                               warnings, ret_crls, err);
    sp_tls_crl_pool_free(pool);
    return rc;
}

static enum sp_err load_keys(struct agent_config *config, struct sp_error *err)
{
    const struct agent_server_validation *validation = &config->server_validation;
    enum sp_err rc = agent_identity_load(&config->identity, config->path, sp_clock_wall_s(),
                                         &config->warnings, &config->own, err);

    if (rc != SP_OK)
        return rc;
    config->cred = config->own.cred;
    rc = sp_settings_load_trust(config->path, "$.server_validation.ca_files", &validation->ca_files,
                                validation->mode == AGENT_TRUST_STORE, &config->trust, err);
    return rc == SP_OK ? load_crls(config, NULL, &config->warnings, &config->crls, err) : rc;
}

enum sp_err agent_config_load_told(const char *path, struct agent_config **ret_config,
                                   struct sp_warnings *ret_told, struct sp_error *err)
{
    struct agent_config *config = sp_calloc(1, sizeof *config);
    enum sp_err rc = sp_json_load(path, agent_fields, config, err);

    atomic_init(&config->refs, 1);
    config->path = sp_strdup(path);
    if (rc == SP_OK)
        rc = finish(config, err);
    if (rc == SP_OK)
        rc = load_keys(config, err);
    if (rc != SP_OK) {
        *ret_told = config->warnings;
        config->warnings = (struct sp_warnings){.items = NULL};
        agent_config_unref(config);
        return rc;
    }
    *ret_config = config;
    return SP_OK;
}

enum sp_err agent_config_read(const char *path, struct agent_config **ret_config,
                              struct sp_error *err)
{
    struct agent_config *config = sp_calloc(1, sizeof *config);
    enum sp_err rc = sp_json_load(path, agent_fields, config, err);

    atomic_init(&config->refs, 1);
    config->path = sp_strdup(path);
    if (rc == SP_OK) {
        parse_texts(config);
        config->doors = config->door_rows.items;
        config->door_count = config->door_rows.count;
    }
    for (size_t i = 0; rc == SP_OK && i < config->door_count; i++)
        rc = agent_config_finish_listen(config, i, err);
    if (rc != SP_OK) {
        agent_config_unref(config);
        return rc;
    }
    *ret_config = config;
    return SP_OK;
}

enum sp_err agent_config_load(const char *path, struct agent_config **ret_config,
                              struct sp_error *err)
{
    struct sp_warnings told = {.items = NULL};
    enum sp_err rc = agent_config_load_told(path, ret_config, &told, err);

    sp_warnings_done(&told);
    return rc;
}

/* The new one borrows from the origin, which lives as long; so there is never a chain of them. Its
 * lists and its credential are its own. */
static struct agent_config *derive(struct agent_config *config, struct agent_own *own,
                                   struct sp_tls_crl_set *crls)
{
    struct agent_config *origin = config->origin ? config->origin : config;
    struct agent_config *next = sp_calloc(1, sizeof *next);

    memcpy(next, origin, sizeof *next);
    atomic_init(&next->refs, 1);
    next->own = *own;
    next->cred = own->cred;
    next->crls = crls;
    next->origin = agent_config_ref(origin);
    return next;
}

bool agent_config_is_same(const struct agent_config *a, const struct agent_config *b)
{
    return (a->origin ? a->origin : a) == (b->origin ? b->origin : b);
}

struct agent_config *agent_config_with_own(struct agent_config *config, struct agent_own *own)
{
    return derive(config, own, sp_tls_crl_set_ref(config->crls));
}

enum sp_err agent_config_renew_crls(struct agent_config *config,
                                    const struct sp_crl_source *fetched,
                                    struct agent_config **ret_config, struct sp_error *err)
{
    struct sp_warnings warnings = {.items = NULL};
    struct sp_tls_crl_set *crls;
    struct agent_own own;
    enum sp_err rc = load_crls(config, fetched, &warnings, &crls, err);

    sp_warnings_done(&warnings);
    if (rc != SP_OK)
        return rc;
    agent_own_copy(&config->own, &own);
    *ret_config = derive(config, &own, crls);
    return SP_OK;
}

void agent_config_write(const struct agent_config *config, struct sp_json_out *json,
                        agent_config_show_cb show, void *ctx)
{
    sp_json_out_bound(json, agent_fields, config, show, ctx);
}

struct agent_config *agent_config_ref(struct agent_config *config)
{
    atomic_fetch_add_explicit(&config->refs, 1, memory_order_relaxed);
    return config;
}

void agent_config_unref(struct agent_config *config)
{
    if (!config || atomic_fetch_sub_explicit(&config->refs, 1, memory_order_acq_rel) != 1)
        return;
    sp_tls_crl_set_unref(config->crls);
    agent_own_done(&config->own);
    if (config->origin) {
        agent_config_unref(config->origin);
        free(config);
        return;
    }
    for (size_t i = 0; i < config->door_count; i++)
        agent_config_done_door(&config->doors[i]);
    if (config->upstream_text)
        explicit_bzero(config->upstream_text, strlen(config->upstream_text));
    agent_proxy_free(config->upstream);
    agent_routes_done(config);
    sp_json_done(agent_fields, config);
    sp_warnings_done(&config->warnings);
    sp_tls_trust_unref(config->trust);
    free(config->policy_source);
    free(config->path);
    free(config);
}
