#include "gateway/registry.h"

#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/crl_source.h"
#include "common/hash.h"
#include "common/revocation.h"
#include "common/tls_cred.h"
#include "common/tls_crl.h"
#include "gateway/config.h"
#include "gateway/keyring.h"

/* ---- the tenants' folder ---- */

struct file_list {
    char **names;
    size_t count;
};

static void file_list_done(struct file_list *list)
{
    size_t i;

    for (i = 0; i < list->count; i++)
        free(list->names[i]);
    free(list->names);
}

static bool is_tenant_file(const char *name)
{
    size_t len = strlen(name);

    return name[0] != '.' && len >= 5 && !strcmp(name + len - 5, ".json");
}

static int compare_names(const void *a, const void *b)
{
    const char *const *left = a;
    const char *const *right = b;

    return strcmp(*left, *right);
}

static enum sp_err folder_error(const struct gw_config *config, int errno_value,
                                struct sp_error *err)
{
    return sp_json_error(err, config->path, "$.tenants", "cannot read folder %s: %s",
                         config->tenants, strerrordesc_np(errno_value));
}

/* Sorted, so that of several mistakes the same one is reported every time. */
static enum sp_err list_files(const struct gw_config *config, struct file_list *ret_list,
                              struct sp_error *err)
{
    DIR *dir = opendir(config->tenants);
    const struct dirent *entry;
    int failure;

    if (!dir)
        return folder_error(config, errno, err);
    for (;;) {
        errno = 0;
        entry = readdir(dir);
        failure = errno;
        if (!entry)
            break;
        if (!is_tenant_file(entry->d_name))
            continue;
        ret_list->names =
            reallocarray(ret_list->names, ret_list->count + 1, sizeof ret_list->names[0]);
        SP_REQUIRE(ret_list->names);
        ret_list->names[ret_list->count++] = sp_strdup(entry->d_name);
    }
    closedir(dir);
    if (failure)
        return folder_error(config, failure, err);
    if (ret_list->count)
        qsort(ret_list->names, ret_list->count, sizeof ret_list->names[0], compare_names);
    return SP_OK;
}

/* ---- names ---- */

/* The owner of a name is a struct gw_tenant or, for common names, the registry itself. */
static enum sp_err claim_names(struct gw_registry *registry, void *owner,
                               const struct sp_json_strings *names, const char *file,
                               const char *json_path, struct sp_error *err)
{
    const struct gw_tenant *other;
    const char *name;
    char path[64];
    void *holder;
    size_t i;

    for (i = 0; i < names->count; i++) {
        name = names->items[i];
        holder = sp_hash_put(registry->by_name, name, strlen(name), owner);
        if (!holder)
            continue;
        snprintf(path, sizeof path, "%s.server_names[%zu]", json_path, i);
        if (holder == owner)
            return sp_json_error(err, file, path, "\"%s\" is named twice", name);
        if (holder == registry)
            return sp_json_error(err, file, path, "\"%s\" is already a common name in %s", name,
                                 registry->config->path);
        other = holder;
        return sp_json_error(err, file, path, "\"%s\" is already a name of tenant %s in %s", name,
                             other->id, other->config->path);
    }
    return SP_OK;
}

static struct gw_match match_owner(const struct gw_registry *registry, void *owner)
{
    struct gw_tenant *tenant = owner;

    if (owner == registry)
        return (struct gw_match){.kind = GW_MATCH_COMMON, .cred = registry->common_cred};
    return (struct gw_match){.kind = GW_MATCH_TENANT, .tenant = tenant, .cred = tenant->cred};
}

struct gw_match gw_registry_find(const struct gw_registry *registry, const char *name)
{
    const char *rest = name ? strchr(name, '.') : NULL;
    char wildcard[SP_HOST_MAX + 2];
    void *owner = NULL;

    /* What begins with '*' is a key of the table, but no name that a host can have; nor does a
     * wildcard stand for an empty label. */
    if (name && name[0] != '*' && name[0] != '.' && strlen(name) <= SP_HOST_MAX) {
        owner = sp_hash_get(registry->by_name, name, strlen(name));
        if (!owner && rest) {
            snprintf(wildcard, sizeof wildcard, "*%s", rest);
            owner = sp_hash_get(registry->by_name, wildcard, strlen(wildcard));
        }
    }
    if (owner)
        return match_owner(registry, owner);
    if (registry->config->unknown_server_name == GW_UNKNOWN_NAME_COMMON)
        return (struct gw_match){.kind = GW_MATCH_COMMON, .cred = registry->common_cred};
    return (struct gw_match){.kind = GW_MATCH_NONE};
}

void gw_registry_find_by_chain(const struct gw_registry *registry, const struct sp_chain *chain,
                               int64_t now, struct gw_finding *ret_finding)
{
    if (registry->by_issuer) {
        gw_issuer_index_find(registry->by_issuer, registry->tenants, chain, now, ret_finding);
        return;
    }
    *ret_finding = (struct gw_finding){.kind = GW_FOUND_NONE};
    snprintf(ret_finding->detail, sizeof ret_finding->detail, "there are no common names");
}

struct gw_tenant *gw_registry_tenant(const struct gw_registry *registry, const char *id)
{
    return sp_hash_get(registry->by_id, id, strlen(id));
}

/* ---- loading ---- */

static enum sp_err load_common(struct gw_registry *registry, struct gw_keyring *keyring,
                               int64_t now, struct sp_error *err)
{
    const struct gw_config *config = registry->config;
    const struct gw_config_common *common = &config->common;
    char whose[320];
    bool is_new;
    enum sp_err rc;

    if (!config->has_common)
        return SP_OK;
    rc = gw_keyring_cred(keyring, config->path, "$.common", common->certificate,
                         common->private_key, &registry->common_cred, &is_new, err);
    if (rc != SP_OK)
        return rc;
    sp_settings_warn_validity(&registry->warnings, config->path, "$.common.certificate",
                              common->certificate, registry->common_cred, now);
    snprintf(whose, sizeof whose, "certificate %s", common->certificate);
    rc = gw_tenant_check_coverage(registry->common_cred, whose, &common->server_names, config->path,
                                  "$.common", err);
    if (rc != SP_OK)
        return rc;
    return claim_names(registry, registry, &common->server_names, config->path, "$.common", err);
}

/* Who waits for an answer waits in the handshake. */
static void warn_slow_ocsp(struct gw_registry *registry, const struct gw_tenant_config *tenant)
{
    const struct gw_ocsp_settings *ocsp = &tenant->client_validation.ocsp;

    if (ocsp->mode == SP_OCSP_OFF || ocsp->timeout_ms < registry->config->limits.handshake_ms)
        return;
    sp_warnings_add(&registry->warnings, tenant->path, "$.client_validation.ocsp.timeout_ms",
                    "%llu is not less than limits.handshake_ms (%llu) of %s: a handshake ends "
                    "before a slow responder is given up",
                    (unsigned long long)ocsp->timeout_ms,
                    (unsigned long long)registry->config->limits.handshake_ms,
                    registry->config->path);
}

static enum sp_err load_tenant(struct gw_registry *registry, const char *file_name,
                               const struct gw_tenant_sources *sources,
                               const struct gw_registry *previous, struct sp_error *err)
{
    SP_AUTO_FREE char *path = NULL;
    const struct gw_tenant *older;
    struct gw_tenant *tenant;
    enum sp_err rc;

    SP_REQUIRE(asprintf(&path, "%s/%s", registry->config->tenants, file_name) >= 0);
    rc = gw_tenant_load(path, sources, &registry->warnings, &tenant, err);
    if (rc != SP_OK)
        return rc;
    registry->tenants[registry->tenant_count++] = tenant;
    warn_slow_ocsp(registry, tenant->config);
    older = previous ? gw_registry_tenant(previous, tenant->id) : NULL;
    if (older)
        gw_tenant_share_counters(tenant, older);
    SP_REQUIRE(!sp_hash_put(registry->by_id, tenant->id, strlen(tenant->id), tenant));
    return claim_names(registry, tenant, &tenant->config->server_names, tenant->config->path, "$",
                       err);
}

static enum sp_err load_tenants(struct gw_registry *registry,
                                const struct gw_tenant_sources *sources,
                                const struct gw_registry *previous, struct sp_error *err)
{
    struct file_list files = {.names = NULL};
    enum sp_err rc = list_files(registry->config, &files, err);
    size_t i;

    registry->tenants = sp_calloc(files.count + 1, sizeof registry->tenants[0]);
    for (i = 0; rc == SP_OK && i < files.count; i++)
        rc = load_tenant(registry, files.names[i], sources, previous, err);
    if (rc == SP_OK && !files.count)
        sp_warnings_add(&registry->warnings, registry->config->path, "$.tenants",
                        "there is no tenant (ID.json) in %s", registry->config->tenants);
    file_list_done(&files);
    return rc;
}

static enum sp_err load_all(struct gw_registry *registry, const char *config_path,
                            const uint8_t *ticket_master, const struct gw_registry *previous,
                            struct gw_keyring *keyring, struct sp_error *err)
{
    struct gw_tenant_sources sources = {
        .keyring = keyring,
        .gateway_file = config_path,
        .ticket_master = ticket_master,
        .now = sp_clock_wall_s(),
    };
    enum sp_err rc;

    rc = gw_config_load(config_path, &registry->config, err);
    if (rc != SP_OK)
        return rc;
    rc = load_common(registry, keyring, sources.now, err);
    if (rc != SP_OK)
        return rc;
    sources.common_cred = registry->common_cred;
    sources.common_certificate = registry->config->common.certificate;
    rc = load_tenants(registry, &sources, previous, err);
    if (rc == SP_OK && registry->config->has_common)
        registry->by_issuer = gw_issuer_index_new(registry->tenants, registry->tenant_count);
    return rc;
}

/* Contents that are in use are not parsed again. */
static void know_crls(struct gw_keyring *keyring, const struct gw_registry *previous)
{
    for (size_t i = 0; previous && i < previous->tenant_count; i++)
        sp_tls_crl_pool_add(gw_keyring_crl_pool(keyring), previous->tenants[i]->crls);
}

enum sp_err gw_registry_load(const char *config_path,
                             const uint8_t ticket_master[GW_TICKET_MASTER_LEN],
                             const struct gw_registry *previous, struct gw_registry **ret_registry,
                             struct sp_error *err)
{
    struct gw_registry *registry = sp_calloc(1, sizeof *registry);
    struct gw_keyring *keyring = gw_keyring_new();
    enum sp_err rc;

    atomic_init(&registry->refs, 1);
    registry->by_id = sp_hash_new();
    registry->by_name = sp_hash_new();
    know_crls(keyring, previous);
    rc = load_all(registry, config_path, ticket_master, previous, keyring, err);
    gw_keyring_free(keyring);
    if (rc != SP_OK) {
        gw_registry_unref(registry);
        return rc;
    }
    *ret_registry = registry;
    return SP_OK;
}

/* One reference: the same tenant, or its next generation. */
static struct gw_tenant *renew_tenant(struct gw_tenant *tenant,
                                      const struct gw_tenant_sources *sources,
                                      struct sp_warnings *warnings, struct sp_warnings *failures)
{
    struct gw_tenant *next;
    struct sp_error err;

    if (!sp_tls_crl_set_is_outdated(tenant->crls, gw_keyring_crl_pool(sources->keyring)))
        return gw_tenant_ref(tenant);
    if (gw_tenant_reload_crls(tenant, sources, warnings, &next, &err) == SP_OK)
        return next;
    sp_warnings_add(failures, err.where[0] ? err.where : tenant->config->path, tenant->id, "%s",
                    err.text);
    return gw_tenant_ref(tenant);
}

/* The names are those that were found good. */
static void adopt_names(struct gw_registry *registry)
{
    struct sp_error err;

    if (registry->config->has_common)
        SP_REQUIRE(claim_names(registry, registry, &registry->config->common.server_names, "", "",
                               &err) == SP_OK);
    for (size_t i = 0; i < registry->tenant_count; i++) {
        struct gw_tenant *tenant = registry->tenants[i];

        SP_REQUIRE(!sp_hash_put(registry->by_id, tenant->id, strlen(tenant->id), tenant));
        SP_REQUIRE(claim_names(registry, tenant, &tenant->config->server_names, "", "", &err) ==
                   SP_OK);
    }
}

struct gw_registry *gw_registry_reload_crls(const struct gw_registry *previous,
                                            const uint8_t ticket_master[GW_TICKET_MASTER_LEN],
                                            const struct sp_crl_source *fetched,
                                            struct sp_warnings *failures)
{
    struct gw_registry *next = sp_calloc(1, sizeof *next);
    struct gw_keyring *keyring = gw_keyring_new();
    const struct gw_tenant_sources sources = {
        .keyring = keyring, .ticket_master = ticket_master, .now = sp_clock_wall_s()};
    bool changed = false;

    atomic_init(&next->refs, 1);
    next->config = gw_config_ref(previous->config);
    next->common_cred = previous->common_cred ? sp_tls_cred_ref(previous->common_cred) : NULL;
    next->by_id = sp_hash_new();
    next->by_name = sp_hash_new();
    next->tenants = sp_calloc(previous->tenant_count + 1, sizeof next->tenants[0]);
    if (fetched)
        sp_crl_source_fill(fetched, gw_keyring_crl_pool(keyring));
    know_crls(keyring, previous);
    for (size_t i = 0; i < previous->tenant_count; i++) {
        next->tenants[i] = renew_tenant(previous->tenants[i], &sources, &next->warnings, failures);
        changed |= next->tenants[i] != previous->tenants[i];
        next->tenant_count++;
    }
    gw_keyring_free(keyring);
    if (changed) {
        adopt_names(next);
        /* The same tenants in the same places, with the same CAs and patterns. */
        if (previous->by_issuer)
            next->by_issuer = gw_issuer_index_ref(previous->by_issuer);
        return next;
    }
    gw_registry_unref(next);
    return NULL;
}

struct gw_registry *gw_registry_ref(struct gw_registry *registry)
{
    atomic_fetch_add_explicit(&registry->refs, 1, memory_order_relaxed);
    return registry;
}

void gw_registry_unref(struct gw_registry *registry)
{
    size_t i;

    if (!registry || atomic_fetch_sub_explicit(&registry->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (i = 0; i < registry->tenant_count; i++)
        gw_tenant_unref(registry->tenants[i]);
    free(registry->tenants);
    sp_hash_free(registry->by_id);
    sp_hash_free(registry->by_name);
    gw_issuer_index_unref(registry->by_issuer);
    sp_tls_cred_unref(registry->common_cred);
    sp_warnings_done(&registry->warnings);
    gw_config_unref(registry->config);
    free(registry);
}
