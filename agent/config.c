#include "agent/config.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/users.h"
#include "common/clock.h"
#include "common/crl_source.h"
#include "common/tls_crl.h"
#include "common/tls_trust.h"

static enum sp_err check_server_name(const char *value, struct sp_error *err);

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

static const char *const door_type_names[] = {
    [AGENT_DOOR_HTTP] = "http",
    [AGENT_DOOR_SOCKS5] = "socks5",
    [AGENT_DOOR_MIXED] = "mixed",
    [AGENT_DOOR_FORWARD] = "forward",
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

static const struct sp_json_field door_fields[] = {
    {.key = "type",
     .type = SP_JSON_ENUM,
     .offset = offsetof(struct agent_door, type),
     .required = true,
     .names = door_type_names},
    {.key = "listen",
     .type = SP_JSON_STRING,
     .offset = offsetof(struct agent_door, listen_text),
     .required = true,
     .check = sp_settings_check_addr},
    {.key = "to",
     .type = SP_JSON_STRING,
     .offset = offsetof(struct agent_door, to_text),
     .check = sp_settings_check_target},
    {.key = "users_file", .type = SP_JSON_PATH, .offset = offsetof(struct agent_door, users_file)},
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
     .fields = door_fields,
     .size = sizeof(struct agent_door)},
    {.key = "tunnels",
     .type = SP_JSON_UINT,
     .offset = offsetof(struct agent_config, tunnels),
     .min = 1,
     .max = AGENT_TUNNELS_MAX,
     .default_uint = 2},
    {.key = "cache_dir", .type = SP_JSON_PATH, .offset = offsetof(struct agent_config, cache_dir)},
    OBJECT(tls, false, sp_settings_tls_fields),
    OBJECT(log, false, sp_settings_log_fields),
    OBJECT(keepalive, false, sp_settings_keepalive_fields),
    OBJECT(limits, false, limits_fields),
    OBJECT(stapling, false, sp_settings_stapling_fields),
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

static bool same_listen(const struct sp_addr *a, const struct sp_addr *b)
{
    return a->port && a->port == b->port && sp_ip_equal(&a->ip, &b->ip);
}

/* A door with users has them as they are now. */
static enum sp_err load_users(struct agent_config *config, size_t index, struct sp_error *err)
{
    struct agent_door *door = &config->doors[index];
    struct sp_error why;
    enum sp_err rc;
    char path[48];

    if (!door->users_file)
        return SP_OK;
    snprintf(path, sizeof path, "$.doors[%zu].users_file", index);
    if (door->type != AGENT_DOOR_SOCKS5)
        return sp_json_error(err, config->path, path,
                             "a door of type \"%s\" knows no logins; \"users_file\" is for type "
                             "\"socks5\"",
                             door_type_names[door->type]);
    rc = agent_users_load(door->users_file, &door->users, &why);
    if (rc == SP_OK)
        return SP_OK;
    if (why.where[0])
        sp_error_prefix(&why, "%s", why.where);
    sp_error_where(&why, "%s: %s", config->path, path);
    if (err)
        *err = why;
    return rc;
}

static enum sp_err finish_door(struct agent_config *config, size_t index, struct sp_error *err)
{
    struct agent_door *door = &config->doors[index];
    const char *file = config->path;
    char path[48];
    size_t k;

    SP_REQUIRE(sp_addr_parse(door->listen_text, &door->listen, NULL) == SP_OK);
    if (door->to_text)
        SP_REQUIRE(sp_target_parse(door->to_text, strlen(door->to_text), &door->to, NULL) == SP_OK);
    snprintf(path, sizeof path, "$.doors[%zu].to", index);
    if (door->type == AGENT_DOOR_FORWARD && !door->to_text)
        return sp_json_error(err, file, path,
                             "required for a door of type \"forward\", but missing; wanted: "
                             "\"host:port\"");
    if (door->type != AGENT_DOOR_FORWARD && door->to_text)
        return sp_json_error(err, file, path,
                             "a door of type \"%s\" takes the destination from each request; "
                             "\"to\" is for type \"forward\"",
                             door_type_names[door->type]);
    snprintf(path, sizeof path, "$.doors[%zu].listen", index);
    for (k = 0; k < index; k++)
        if (same_listen(&door->listen, &config->doors[k].listen))
            return sp_json_error(err, file, path, "\"%s\" is already that of $.doors[%zu]",
                                 door->listen_text, k);
    if (sp_ip_classify(&door->listen.ip) != SP_IP_LOOPBACK)
        sp_warnings_add(&config->warnings, file, path,
                        "%s is not a loopback address: whoever can reach it can use the tunnel "
                        "under this agent's identity",
                        door->listen_text);
    return load_users(config, index, err);
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

static enum sp_err finish(struct agent_config *config, struct sp_error *err)
{
    enum sp_err rc;
    size_t i;

    parse_texts(config);
    config->doors = config->door_rows.items;
    config->door_count = config->door_rows.count;
    for (i = 0; i < config->door_count; i++) {
        rc = finish_door(config, i, err);
        if (rc != SP_OK)
            return rc;
    }
    rc = agent_identity_check(&config->identity, config->path, err);
    if (rc == SP_OK)
        rc = check_validation(config, err);
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
        agent_users_free(config->doors[i].users);
    sp_json_done(agent_fields, config);
    sp_warnings_done(&config->warnings);
    sp_tls_trust_unref(config->trust);
    free(config->policy_source);
    free(config->path);
    free(config);
}
