#include "gateway/config.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum sp_err check_resolver_server(const char *value, struct sp_error *err);

static const char *const unknown_name_names[] = {
    [GW_UNKNOWN_NAME_REJECT] = "reject",
    [GW_UNKNOWN_NAME_COMMON] = "common",
    NULL,
};

static const struct sp_json_field common_fields[] = {
    {.key = "server_names",
     .type = SP_JSON_STRINGS,
     .offset = offsetof(struct gw_config_common, server_names),
     .required = true,
     .min = 1,
     .max = 10000,
     .check = sp_settings_check_server_name},
    {.key = "certificate",
     .type = SP_JSON_PATH,
     .offset = offsetof(struct gw_config_common, certificate),
     .required = true},
    {.key = "private_key",
     .type = SP_JSON_PATH,
     .offset = offsetof(struct gw_config_common, private_key),
     .required = true},
    {.key = NULL},
};

#define LIMIT(name, least, most, preset)                                                           \
    {                                                                                              \
        .key = #name, .type = SP_JSON_UINT, .offset = offsetof(struct gw_config_limits, name),     \
        .min = (least), .max = (most), .default_uint = (preset)                                    \
    }

static const struct sp_json_field limits_fields[] = {
    LIMIT(handshake_ms, 100, 60000, 5000),
    LIMIT(request_ms, 100, 600000, 10000),
    LIMIT(dial_ms, 100, 600000, 10000),
    LIMIT(drain_ms, 0, 600000, 10000),
    LIMIT(connections, 1, 10000000, 100000),
    LIMIT(handshakes_per_s, 0, 1000000, 0),
    {.key = NULL},
};

static const struct sp_json_field resolver_fields[] = {
    {.key = "servers",
     .type = SP_JSON_STRINGS,
     .offset = offsetof(struct gw_config_resolver, servers),
     .min = 1,
     .max = 16,
     .check = check_resolver_server},
    {.key = "timeout_ms",
     .type = SP_JSON_UINT,
     .offset = offsetof(struct gw_config_resolver, timeout_ms),
     .min = 100,
     .max = 60000,
     .default_uint = 5000},
    {.key = NULL},
};

#define OBJECT(name, table)                                                                        \
    {                                                                                              \
        .key = #name, .type = SP_JSON_OBJECT, .offset = offsetof(struct gw_config, name),          \
        .fields = (table)                                                                          \
    }

static const struct sp_json_field gateway_fields[] = {
    {.key = "listen",
     .type = SP_JSON_STRINGS,
     .offset = offsetof(struct gw_config, listen_texts),
     .required = true,
     .min = 1,
     .max = SP_LISTEN_MAX,
     .check = sp_settings_check_addr},
    {.key = "workers",
     .type = SP_JSON_UINT_OR_AUTO,
     .offset = offsetof(struct gw_config, workers),
     .min = 1,
     .max = 256},
    {.key = "common",
     .type = SP_JSON_OBJECT,
     .offset = offsetof(struct gw_config, common),
     .fields = common_fields,
     .present_offset = SP_JSON_PRESENT(struct gw_config, has_common)},
    {.key = "unknown_server_name",
     .type = SP_JSON_ENUM,
     .offset = offsetof(struct gw_config, unknown_server_name),
     .default_uint = GW_UNKNOWN_NAME_REJECT,
     .names = unknown_name_names},
    {.key = "tenants",
     .type = SP_JSON_PATH,
     .offset = offsetof(struct gw_config, tenants),
     .required = true},
    {.key = "watch_tenants",
     .type = SP_JSON_BOOL,
     .offset = offsetof(struct gw_config, watch_tenants),
     .default_uint = false},
    {.key = "cache_dir", .type = SP_JSON_PATH, .offset = offsetof(struct gw_config, cache_dir)},
    OBJECT(tls, sp_settings_tls_fields),
    OBJECT(log, sp_settings_log_fields),
    OBJECT(limits, limits_fields),
    OBJECT(keepalive, sp_settings_keepalive_fields),
    OBJECT(stapling, sp_settings_stapling_fields),
    OBJECT(resolver, resolver_fields),
    {.key = NULL},
};

/* "192.0.2.53", "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]:5353". */
static enum sp_err check_resolver_server(const char *value, struct sp_error *err)
{
    struct sp_addr addr;
    struct sp_ip ip;

    if (sp_ip_parse(value, strlen(value), &ip))
        return SP_OK;
    if (sp_addr_parse(value, &addr, NULL) == SP_OK && addr.port)
        return SP_OK;
    return sp_error_set(err, SP_ERR_CONFIG,
                        "\"%.100s\" is not a name server's address; wanted: 192.0.2.53, "
                        "192.0.2.53:5353 or [2001:db8::53]:5353",
                        value);
}

static enum sp_err parse_listen(struct gw_config *config, struct sp_error *err)
{
    const struct sp_json_strings *texts = &config->listen_texts;
    char path[32];
    size_t i, k;

    config->listen = sp_calloc(texts->count, sizeof config->listen[0]);
    for (i = 0; i < texts->count; i++) {
        SP_REQUIRE(sp_addr_parse(texts->items[i], &config->listen[i], NULL) == SP_OK);
        for (k = 0; k < i && config->listen[i].port; k++)
            if (sp_ip_equal(&config->listen[i].ip, &config->listen[k].ip) &&
                config->listen[i].port == config->listen[k].port) {
                snprintf(path, sizeof path, "$.listen[%zu]", i);
                return sp_json_error(err, config->path, path, "\"%s\" is already $.listen[%zu]",
                                     texts->items[i], k);
            }
    }
    return SP_OK;
}

static void join_resolver_servers(struct gw_config *config)
{
    const struct sp_json_strings *servers = &config->resolver.servers;
    size_t size = 1, i;
    char *end;

    if (!servers->count)
        return;
    for (i = 0; i < servers->count; i++)
        size += strlen(servers->items[i]) + 1;
    config->resolver_servers = end = sp_calloc(size, 1);
    for (i = 0; i < servers->count; i++) {
        if (i)
            *end++ = ',';
        end = stpcpy(end, servers->items[i]);
    }
}

static enum sp_err finish(struct gw_config *config, struct sp_error *err)
{
    enum sp_err rc = parse_listen(config, err);
    size_t i;

    if (rc != SP_OK)
        return rc;
    for (i = 0; i < config->common.server_names.count; i++)
        sp_settings_fold_server_name(config->common.server_names.items[i]);
    if (config->unknown_server_name == GW_UNKNOWN_NAME_COMMON && !config->has_common)
        return sp_json_error(err, config->path, "$.unknown_server_name",
                             "\"common\" needs $.common with a certificate to show");
    join_resolver_servers(config);
    rc = sp_settings_check_cache(config->cache_dir, config->path, err);
    if (rc != SP_OK)
        return rc;
    return sp_settings_check_log(&config->log, config->path, err);
}

enum sp_err gw_config_load(const char *path, struct gw_config **ret_config, struct sp_error *err)
{
    struct gw_config *config = sp_calloc(1, sizeof *config);
    enum sp_err rc = sp_json_load(path, gateway_fields, config, err);

    if (rc != SP_OK) {
        free(config);
        return rc;
    }
    atomic_init(&config->refs, 1);
    config->path = sp_strdup(path);
    rc = finish(config, err);
    if (rc != SP_OK) {
        gw_config_unref(config);
        return rc;
    }
    *ret_config = config;
    return SP_OK;
}

struct gw_config *gw_config_ref(struct gw_config *config)
{
    atomic_fetch_add_explicit(&config->refs, 1, memory_order_relaxed);
    return config;
}

void gw_config_unref(struct gw_config *config)
{
    if (!config || atomic_fetch_sub_explicit(&config->refs, 1, memory_order_acq_rel) != 1)
        return;
    sp_json_done(gateway_fields, config);
    free(config->path);
    free(config->listen);
    free(config->resolver_servers);
    free(config);
}
