#include "gateway/registry.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/crl_source.h"
#include "common/tls_cred.h"
#include "common/tls_crl.h"
#include "gateway/config.h"
#include "gateway/cred_store.h"
#include "gateway/keyring.h"
#include "gateway/name_index.h"

/* ---- names ---- */

/* The owner of a name is a tenant, by its place, or, for common names, the one behind the last. */
static const struct sp_json_strings *names_of(const struct gw_registry *registry, uint32_t owner)
{
    return owner == registry->tenant_count ? &registry->config->common.server_names
                                           : &registry->tenants[owner]->server_names;
}

static const char *name_text(const void *ctx, uint32_t owner, uint32_t number)
{
    return names_of(ctx, owner)->items[number];
}

static enum sp_err claim_error(const struct gw_registry *registry, uint32_t owner, size_t number,
                               uint32_t holder, struct sp_error *err)
{
    bool is_common = owner == registry->tenant_count;
    const char *file = is_common ? registry->config->path : registry->tenants[owner]->path;
    const char *name = names_of(registry, owner)->items[number];
    char path[64];

    snprintf(path, sizeof path, "%s.server_names[%zu]", is_common ? "$.common" : "$", number);
    if (holder == owner)
        return sp_json_error(err, file, path, "\"%s\" is named twice", name);
    if (holder == registry->tenant_count)
        return sp_json_error(err, file, path, "\"%s\" is already a common name in %s", name,
                             registry->config->path);
    return sp_json_error(err, file, path, "\"%s\" is already a name of tenant %s in %s", name,
                         registry->tenants[holder]->id, registry->tenants[holder]->path);
}

static enum sp_err claim(struct gw_registry *registry, uint32_t owner, struct sp_error *err)
{
    size_t count = names_of(registry, owner)->count;

    for (size_t i = 0; i < count; i++) {
        uint32_t holder = gw_name_index_put(registry->names, registry, owner, (uint32_t)i);

        if (holder != GW_NAME_NONE)
            return claim_error(registry, owner, i, holder, err);
    }
    return SP_OK;
}

static bool is_equal(const struct sp_json_strings *a, const struct sp_json_strings *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->items[i], b->items[i]) != 0)
            return false;
    return true;
}

static bool has_same_names(const struct gw_registry *a, const struct gw_registry *b)
{
    if (a->tenant_count != b->tenant_count || a->config->has_common != b->config->has_common)
        return false;
    for (size_t i = 0; i < a->tenant_count; i++)
        if (a->tenants[i] != b->tenants[i] &&
            !is_equal(&a->tenants[i]->server_names, &b->tenants[i]->server_names))
            return false;
    return !a->config->has_common ||
           is_equal(&a->config->common.server_names, &b->config->common.server_names);
}

enum sp_err gw_registry_claim_names(struct gw_registry *registry,
                                    const struct gw_registry *previous, struct sp_error *err)
{
    uint32_t count = (uint32_t)registry->tenant_count;
    enum sp_err rc = SP_OK;
    size_t total = 1;

    SP_REQUIRE(registry->tenant_count < GW_NAME_NONE);
    if (previous && has_same_names(registry, previous)) {
        registry->names = gw_name_index_ref(previous->names);
        return SP_OK;
    }
    for (uint32_t i = 0; i < count; i++)
        total += names_of(registry, i)->count;
    if (registry->config->has_common)
        total += names_of(registry, count)->count;
    registry->names = gw_name_index_new(total, name_text);
    if (registry->config->has_common)
        rc = claim(registry, count, err);
    for (uint32_t i = 0; rc == SP_OK && i < count; i++)
        rc = claim(registry, i, err);
    return rc;
}

static struct gw_match match_owner(const struct gw_registry *registry, uint32_t owner)
{
    if (owner == registry->tenant_count)
        return (struct gw_match){.kind = GW_MATCH_COMMON};
    return (struct gw_match){.kind = GW_MATCH_TENANT, .tenant = registry->tenants[owner]};
}

struct gw_match gw_registry_find(const struct gw_registry *registry, const char *name)
{
    const char *rest = name ? strchr(name, '.') : NULL;
    char wildcard[SP_HOST_MAX + 2];
    uint32_t owner = GW_NAME_NONE;

    /* What begins with '*' is a key of the table, but no name that a host can have; nor does a
     * wildcard stand for an empty label. */
    if (name && name[0] != '*' && name[0] != '.' && strlen(name) <= SP_HOST_MAX) {
        owner = gw_name_index_get(registry->names, registry, name);
        if (owner == GW_NAME_NONE && rest) {
            snprintf(wildcard, sizeof wildcard, "*%s", rest);
            owner = gw_name_index_get(registry->names, registry, wildcard);
        }
    }
    if (owner != GW_NAME_NONE)
        return match_owner(registry, owner);
    if (registry->config->unknown_server_name == GW_UNKNOWN_NAME_COMMON)
        return (struct gw_match){.kind = GW_MATCH_COMMON};
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

enum sp_err gw_registry_take_cred(const struct gw_registry *registry, const struct gw_match *match,
                                  struct sp_tls_cred **ret_cred, struct sp_error *err)
{
    if (match->kind == GW_MATCH_TENANT)
        return gw_tenant_take_cred(match->tenant, registry->common_cred, ret_cred, err);
    *ret_cred = sp_tls_cred_ref(registry->common_cred);
    return SP_OK;
}

struct gw_tenant *gw_registry_tenant(const struct gw_registry *registry, const char *id)
{
    size_t low = 0, high = registry->tenant_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(registry->tenants[middle]->id, id);

        if (!order)
            return registry->tenants[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* ---- making one ---- */

struct gw_registry *gw_registry_new(const uint8_t ticket_master[GW_TICKET_MASTER_LEN])
{
    struct gw_registry *registry = sp_calloc(1, sizeof *registry);

    atomic_init(&registry->refs, 1);
    memcpy(registry->ticket_master, ticket_master, sizeof registry->ticket_master);
    return registry;
}

static const struct gw_cert_match *match_of(const struct gw_tenant *tenant)
{
    return &tenant->config->client_validation.match;
}

/* The same CAs and patterns: what the index borrows, or what is equal to it. */
static bool is_same_tenant(const struct gw_tenant *a, const struct gw_tenant *b)
{
    return a == b || (a->trust == b->trust &&
                      (a->config == b->config || (!match_of(a)->is_set && !match_of(b)->is_set)));
}

static bool is_same_for_issuers(const struct gw_registry *a, const struct gw_registry *b)
{
    if (a->tenant_count != b->tenant_count)
        return false;
    for (size_t i = 0; i < a->tenant_count; i++)
        if (!is_same_tenant(a->tenants[i], b->tenants[i]))
            return false;
    return true;
}

void gw_registry_index_issuers(struct gw_registry *registry, const struct gw_registry *previous)
{
    if (!registry->config->has_common)
        return;
    if (previous && previous->by_issuer && is_same_for_issuers(registry, previous))
        registry->by_issuer = gw_issuer_index_ref(previous->by_issuer);
    else
        registry->by_issuer = gw_issuer_index_new(registry->tenants, registry->tenant_count);
}

/* ---- CRLs that change ---- */

/* Contents that are in use are not parsed again. */
static void know_crls(struct sp_tls_crl_pool *pool, const struct gw_registry *previous)
{
    for (size_t i = 0; i < previous->tenant_count; i++)
        sp_tls_crl_pool_add(pool, previous->tenants[i]->crls);
}

/* A file that cannot be used holds up nothing else: what was read of it before goes on, and what is
 * new at URLs and in other files counts. One reference: the same tenant where nothing else is. */
static struct gw_tenant *renew_rest(struct gw_tenant *tenant,
                                    const struct gw_tenant_sources *sources,
                                    struct sp_warnings *warnings)
{
    struct sp_tls_crl_pool *pool = gw_keyring_crl_pool(sources->keyring);
    struct gw_tenant *next = NULL;
    struct sp_error err;
    enum sp_err rc;

    sp_tls_crl_pool_fall_back(pool, tenant->crls);
    rc = gw_tenant_renew(tenant, tenant->own, tenant->trust, sources, warnings, &next, &err);
    sp_tls_crl_pool_fall_back(pool, NULL);
    if (rc == SP_OK && memcmp(next->ticket_epoch, tenant->ticket_epoch, GW_TICKET_EPOCH_LEN) != 0)
        return next;
    gw_tenant_unref(next);
    return gw_tenant_ref(tenant);
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
    if (gw_tenant_renew(tenant, tenant->own, tenant->trust, sources, warnings, &next, &err) ==
        SP_OK)
        return next;
    sp_warnings_add(failures, err.where[0] ? err.where : tenant->path, tenant->id, "%s", err.text);
    return renew_rest(tenant, sources, warnings);
}

static bool renew_all(struct gw_registry *next, const struct gw_registry *previous,
                      const struct gw_tenant_sources *sources, struct sp_warnings *failures)
{
    bool changed = false;

    next->tenants = sp_calloc(previous->tenant_count + 1, sizeof(struct gw_tenant *));
    for (size_t i = 0; i < previous->tenant_count; i++) {
        next->tenants[i] = renew_tenant(previous->tenants[i], sources, &next->warnings, failures);
        changed |= next->tenants[i] != previous->tenants[i];
        next->tenant_count++;
    }
    return changed;
}

struct gw_registry *gw_registry_reload_crls(const struct gw_registry *previous,
                                            const struct sp_crl_source *fetched,
                                            struct sp_warnings *failures)
{
    struct gw_registry *next;
    struct gw_tenant_sources sources = {.keyring = previous->keyring, .now = sp_clock_wall_s()};
    struct sp_error err;
    bool changed;

    if (!previous->has_crls)
        return NULL;
    next = gw_registry_new(previous->ticket_master);
    next->config = gw_config_ref(previous->config);
    next->common = previous->common ? gw_cred_ref(previous->common) : NULL;
    next->common_cred = previous->common_cred ? sp_tls_cred_ref(previous->common_cred) : NULL;
    next->keyring = gw_keyring_ref(previous->keyring);
    next->has_crls = true;
    if (fetched)
        sp_crl_source_fill(fetched, gw_keyring_crl_pool(next->keyring));
    know_crls(gw_keyring_crl_pool(next->keyring), previous);
    changed = renew_all(next, previous, &sources, failures);
    gw_keyring_close(next->keyring);
    if (changed) {
        /* The names are those that were found good. */
        SP_REQUIRE(gw_registry_claim_names(next, previous, &err) == SP_OK);
        gw_registry_index_issuers(next, previous);
        return next;
    }
    gw_registry_unref(next);
    return NULL;
}

/* ---- references ---- */

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
    gw_issuer_index_unref(registry->by_issuer);
    gw_name_index_unref(registry->names);
    for (i = 0; i < registry->tenant_count; i++)
        gw_tenant_unref(registry->tenants[i]);
    free(registry->tenants);
    gw_keyring_unref(registry->keyring);
    sp_tls_cred_unref(registry->common_cred);
    gw_cred_unref(registry->common);
    sp_warnings_done(&registry->warnings);
    gw_config_unref(registry->config);
    explicit_bzero(registry->ticket_master, sizeof registry->ticket_master);
    free(registry);
}
