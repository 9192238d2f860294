/* How a registry comes to be: the files are read and parsed by all cores, each for itself; then one
 * thread puts it together in the order of the ids, so that of several mistakes the same one is
 * reported every time. */
#include "gateway/registry.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/revocation.h"
#include "common/tls_cred.h"
#include "common/tls_crl.h"
#include "common/tls_trust.h"
#include "gateway/config.h"
#include "gateway/cred_store.h"
#include "gateway/keyring.h"

#define THREADS_MAX 16
#define SLICE       64 /* files that a thread takes at a time */

/* One tenant on its way. */
struct item {
    char *id;
    struct gw_tenant *older; /* borrowed; NULL: it is new */
    uint64_t stamp;
    bool is_same;                /* its file is; then there is no `file` */
    bool is_covered;             /* its names by the common certificate, if it shows that */
    bool is_new_cred, seems_bad; /* own */
    struct gw_tenant_file file;
    struct gw_cred *own;      /* one reference; NULL: the common one */
    struct sp_error *failure; /* NULL: good so far */
};

struct loading {
    struct gw_registry *registry; /* being made */
    struct gw_registry *previous; /* NULL: none */
    struct gw_tenant_sources sources;
    bool check_all;      /* certificates too, however many */
    bool common_changed; /* another common certificate than before */
    struct item *items;
    size_t count;
    atomic_size_t next_slice;
};

static void loading_done(struct loading *l)
{
    for (size_t i = 0; i < l->count; i++) {
        gw_tenant_file_done(&l->items[i].file);
        gw_cred_unref(l->items[i].own);
        free(l->items[i].failure);
        free(l->items[i].id);
    }
    free(l->items);
}

/* ---- the tenants' folder ---- */

/* The length of the id; 0: it is no tenant's file. */
static size_t id_length(const char *name)
{
    size_t len = strlen(name);

    return name[0] != '.' && len >= 5 && !strcmp(name + len - 5, ".json") ? len - 5 : 0;
}

static int item_order(const void *a, const void *b)
{
    const struct item *x = a;
    const struct item *y = b;

    return strcmp(x->id, y->id);
}

static void add_item(struct loading *l, const char *name, size_t id_len, size_t *room)
{
    if (l->count == *room) {
        *room = *room ? 2 * *room : 64;
        l->items = reallocarray(l->items, *room, sizeof *l->items);
        SP_REQUIRE(l->items);
    }
    l->items[l->count] = (struct item){.id = strndup(name, id_len)};
    SP_REQUIRE(l->items[l->count++].id);
}

static enum sp_err folder_error(const struct gw_config *config, int errno_value,
                                struct sp_error *err)
{
    return sp_json_error(err, config->path, "$.tenants", "cannot read folder %s: %s",
                         config->tenants, strerrordesc_np(errno_value));
}

static enum sp_err list_files(struct loading *l, struct sp_error *err)
{
    const struct gw_config *config = l->registry->config;
    DIR *dir = opendir(config->tenants);
    const struct dirent *entry;
    size_t room = 0, id_len;
    int failure;

    if (!dir)
        return folder_error(config, errno, err);
    for (;;) {
        errno = 0;
        entry = readdir(dir);
        failure = errno;
        if (!entry)
            break;
        id_len = id_length(entry->d_name);
        if (id_len)
            add_item(l, entry->d_name, id_len, &room);
    }
    closedir(dir);
    if (failure)
        return folder_error(config, failure, err);
    if (l->count)
        qsort(l->items, l->count, sizeof *l->items, item_order);
    return SP_OK;
}

/* ---- what every core does ---- */

static void read_file(struct loading *l, struct item *item, const char *path)
{
    struct sp_error err = {.kind = SP_OK};

    if (gw_tenant_file_load(path, &item->file, &err) != SP_OK) {
        item->failure = sp_calloc(1, sizeof *item->failure);
        *item->failure = err;
        return;
    }
    item->file.config = gw_keyring_config(l->sources.keyring, item->file.config);
    if (item->file.certificate)
        item->own = gw_cred_new(gw_keyring_store(l->sources.keyring), item->file.certificate,
                                item->file.private_key);
    else
        item->is_covered =
            gw_tenant_check_common(path, &item->file.server_names, &l->sources, NULL) == SP_OK;
}

/* The file is as it was; is what it names? */
static void look_again(struct loading *l, struct item *item)
{
    struct gw_tenant *older = item->older;
    struct gw_cred *own = older->own;

    item->is_same = true;
    if (own && gw_cred_is_current(own))
        item->own = gw_cred_ref(own);
    else if (own)
        item->own = gw_cred_new(gw_keyring_store(l->sources.keyring), gw_cred_certificate(own),
                                gw_cred_private_key(own));
    else
        item->is_covered =
            !l->common_changed ||
            gw_tenant_check_common(older->path, &older->server_names, &l->sources, NULL) == SP_OK;
}

static bool is_older_cred(const struct item *item)
{
    return item->older && item->own == item->older->own;
}

static char *path_of(const struct loading *l, const struct item *item)
{
    char *path;

    SP_REQUIRE(asprintf(&path, "%s/%s.json", l->registry->config->tenants, item->id) >= 0);
    return path;
}

static void read_item(struct loading *l, struct item *item)
{
    SP_AUTO_FREE char *path = path_of(l, item);

    item->older = l->previous ? gw_registry_tenant(l->previous, item->id) : NULL;
    item->stamp = sp_file_stamp(path);
    if (item->older && item->stamp && item->stamp == item->older->stamp &&
        !strcmp(path, item->older->path))
        look_again(l, item);
    else
        read_file(l, item, path);
    if (item->own && !is_older_cred(item))
        item->seems_bad = !gw_cred_seems_loadable(item->own);
}

static void *read_slices(void *arg)
{
    struct loading *l = arg;
    size_t begin;

    while ((begin = atomic_fetch_add(&l->next_slice, SLICE)) < l->count)
        for (size_t i = begin; i < begin + SLICE && i < l->count; i++)
            read_item(l, &l->items[i]);
    return NULL;
}

static void read_all(struct loading *l)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    pthread_t threads[THREADS_MAX];
    size_t wanted = cores < 1 ? 1 : cores > THREADS_MAX ? THREADS_MAX : (size_t)cores, started = 0;

    while (started + 1 < wanted && (started + 1) * SLICE < l->count &&
           pthread_create(&threads[started], NULL, read_slices, l) == 0)
        started++;
    read_slices(l);
    while (started)
        pthread_join(threads[--started], NULL);
}

/* ---- putting it together ---- */

/* Pairs that several tenants name become one. How many were not there before? */
static size_t join_creds(struct loading *l)
{
    size_t new_count = 0;

    for (size_t i = 0; i < l->count; i++) {
        struct item *item = &l->items[i];
        struct gw_cred *own = item->own;

        if (!own)
            continue;
        item->own = gw_keyring_adopt(l->sources.keyring, own, &item->is_new_cred);
        new_count += item->is_new_cred && !is_older_cred(item);
        gw_cred_unref(own);
    }
    return new_count;
}

/* One reference: the tenant of before, where nothing has changed, or a new one. */
static enum sp_err make_tenant(struct loading *l, struct item *item, const char *path,
                               struct gw_tenant **ret_tenant, struct sp_error *err)
{
    struct sp_warnings *warnings = &l->registry->warnings;
    struct gw_tenant *older = item->older;
    struct sp_tls_trust *trust;
    enum sp_err rc;

    if (!item->is_same) {
        rc = gw_tenant_new(path, item->stamp, &item->file, item->own, &l->sources, warnings,
                           ret_tenant, err);
        if (rc == SP_OK && older)
            gw_tenant_share_counters(*ret_tenant, older);
        return rc;
    }
    rc = gw_keyring_trust(l->sources.keyring, path, "$.client_validation.trusted_cas",
                          &older->config->client_validation.trusted_cas, &trust, err);
    if (rc != SP_OK)
        return rc;
    if (trust == older->trust && item->own == older->own && !older->crls)
        *ret_tenant = gw_tenant_ref(older);
    else
        rc = gw_tenant_renew(older, item->own, trust, &l->sources, warnings, ret_tenant, err);
    sp_tls_trust_unref(trust);
    return rc;
}

/* Loads its certificate, or leaves that for later. */
static enum sp_err check_cred(struct loading *l, const struct item *item, struct gw_tenant *tenant,
                              bool later, struct sp_error *err)
{
    struct sp_tls_cred *cred = NULL;
    enum sp_err rc = SP_OK;

    if (is_older_cred(item) && item->is_same)
        cred = gw_cred_peek(item->own);
    else if (!later || item->seems_bad)
        rc = gw_tenant_take_cred(tenant, NULL, &cred, err);
    if (cred && item->is_new_cred)
        sp_settings_warn_validity(&l->registry->warnings, tenant->path, "$.certificate",
                                  gw_cred_certificate(item->own), cred, l->sources.now);
    sp_tls_cred_unref(cred);
    return rc;
}

/* Who waits for an answer waits in the handshake. */
static void warn_slow_ocsp(struct gw_registry *registry, const struct gw_tenant *tenant)
{
    const struct gw_ocsp_settings *ocsp = &tenant->config->client_validation.ocsp;

    if (ocsp->mode == SP_OCSP_OFF || ocsp->timeout_ms < registry->config->limits.handshake_ms)
        return;
    sp_warnings_add(&registry->warnings, tenant->path, "$.client_validation.ocsp.timeout_ms",
                    "%llu is not less than limits.handshake_ms (%llu) of %s: a handshake ends "
                    "before a slow responder is given up",
                    (unsigned long long)ocsp->timeout_ms,
                    (unsigned long long)registry->config->limits.handshake_ms,
                    registry->config->path);
}

static enum sp_err finish_item(struct loading *l, struct item *item, bool later,
                               struct gw_tenant **ret_tenant, struct sp_error *err)
{
    SP_AUTO_FREE char *path = path_of(l, item);
    const struct sp_json_strings *names =
        item->is_same ? &item->older->server_names : &item->file.server_names;
    enum sp_err rc;

    if (item->failure) {
        if (err)
            *err = *item->failure;
        return item->failure->kind;
    }
    if (!item->own && !item->is_covered) {
        rc = gw_tenant_check_common(path, names, &l->sources, err);
        if (rc != SP_OK)
            return rc;
    }
    rc = make_tenant(l, item, path, ret_tenant, err);
    if (rc == SP_OK && item->own) {
        rc = check_cred(l, item, *ret_tenant, later, err);
        if (rc != SP_OK)
            gw_tenant_unref(*ret_tenant);
    }
    if (rc != SP_OK)
        return rc;
    gw_tenant_warn(*ret_tenant, l->sources.now, &l->registry->warnings);
    warn_slow_ocsp(l->registry, *ret_tenant);
    l->registry->has_crls |= (*ret_tenant)->crls != NULL;
    return SP_OK;
}

static enum sp_err load_tenants(struct loading *l, struct sp_error *err)
{
    struct gw_registry *registry = l->registry;
    enum sp_err rc = list_files(l, err);
    bool later;

    registry->tenants = sp_calloc(l->count + 1, sizeof(struct gw_tenant *));
    if (rc != SP_OK)
        return rc;
    read_all(l);
    later = join_creds(l) > GW_CREDS_AT_ONCE && !l->check_all;
    for (size_t i = 0; i < l->count; i++) {
        rc = finish_item(l, &l->items[i], later, &registry->tenants[i], err);
        if (rc != SP_OK)
            return rc;
        registry->tenant_count++;
    }
    if (!l->count)
        sp_warnings_add(&registry->warnings, registry->config->path, "$.tenants",
                        "there is no tenant (ID.json) in %s", registry->config->tenants);
    return SP_OK;
}

/* ---- the whole ---- */

static bool is_same_pair(const struct gw_cred *cred, const struct gw_config_common *common)
{
    return cred && !strcmp(gw_cred_certificate(cred), common->certificate) &&
           !strcmp(gw_cred_private_key(cred), common->private_key);
}

static enum sp_err load_common(struct loading *l, struct sp_error *err)
{
    struct gw_registry *registry = l->registry;
    const struct gw_config *config = registry->config;
    const struct gw_config_common *common = &config->common;
    struct gw_cred *older = l->previous ? l->previous->common : NULL;
    char whose[320];
    uint64_t serial;
    bool is_new;
    enum sp_err rc;

    if (!config->has_common)
        return SP_OK;
    if (is_same_pair(older, common) && gw_cred_is_current(older))
        registry->common = gw_keyring_adopt(l->sources.keyring, older, &is_new);
    else
        registry->common =
            gw_keyring_cred(l->sources.keyring, common->certificate, common->private_key, &is_new);
    if (registry->common == older) {
        registry->common_cred = sp_tls_cred_ref(l->previous->common_cred);
    } else {
        rc = gw_cred_take(registry->common, config->path, "$.common", &registry->common_cred,
                          &serial, err);
        if (rc != SP_OK)
            return rc;
    }
    l->common_changed = !l->previous || registry->common_cred != l->previous->common_cred;
    l->sources.common_cred = registry->common_cred;
    l->sources.common_certificate = common->certificate;
    sp_settings_warn_validity(&registry->warnings, config->path, "$.common.certificate",
                              common->certificate, registry->common_cred, l->sources.now);
    snprintf(whose, sizeof whose, "certificate %s", common->certificate);
    return gw_tenant_check_coverage(registry->common_cred, whose, &common->server_names,
                                    config->path, "$.common", err);
}

/* Contents of lists that are in use are not parsed again. */
static void know_crls(struct loading *l)
{
    for (size_t i = 0; l->previous && l->previous->has_crls && i < l->previous->tenant_count; i++)
        sp_tls_crl_pool_add(gw_keyring_crl_pool(l->sources.keyring), l->previous->tenants[i]->crls);
}

static enum sp_err load_all(struct loading *l, const char *config_path, struct sp_error *err)
{
    enum sp_err rc = gw_config_load(config_path, &l->registry->config, err);

    l->common_changed = true;
    if (rc == SP_OK)
        rc = load_common(l, err);
    if (rc == SP_OK) {
        know_crls(l);
        rc = load_tenants(l, err);
    }
    if (rc == SP_OK)
        rc = gw_registry_claim_names(l->registry, l->previous, err);
    if (rc == SP_OK)
        gw_registry_index_issuers(l->registry, l->previous);
    return rc;
}

static enum sp_err load(const char *config_path, const uint8_t *ticket_master,
                        struct gw_registry *previous, bool check_all,
                        struct gw_registry **ret_registry, struct sp_error *err)
{
    struct gw_registry *registry = gw_registry_new(ticket_master);
    struct loading l = {.registry = registry, .previous = previous, .check_all = check_all};
    enum sp_err rc;

    registry->keyring = gw_keyring_new(previous ? previous->keyring : NULL);
    l.sources = (struct gw_tenant_sources){
        .keyring = registry->keyring, .gateway_file = config_path, .now = sp_clock_wall_s()};
    rc = load_all(&l, config_path, err);
    loading_done(&l);
    gw_keyring_close(registry->keyring);
    if (rc != SP_OK) {
        gw_registry_unref(registry);
        return rc;
    }
    *ret_registry = registry;
    return SP_OK;
}

enum sp_err gw_registry_load(const char *config_path,
                             const uint8_t ticket_master[GW_TICKET_MASTER_LEN],
                             struct gw_registry *previous, struct gw_registry **ret_registry,
                             struct sp_error *err)
{
    return load(config_path, ticket_master, previous, false, ret_registry, err);
}

enum sp_err gw_registry_check(const char *config_path, struct gw_registry **ret_registry,
                              struct sp_error *err)
{
    static const uint8_t master[GW_TICKET_MASTER_LEN]; /* no ticket is ever made with it */

    return load(config_path, master, NULL, true, ret_registry, err);
}

/* ---- a few tenants ---- */

static void list_named(struct loading *l, const char *const *files, size_t count)
{
    size_t room = 0, kept = 0;

    for (size_t i = 0; i < count; i++) {
        size_t id_len = id_length(files[i]);

        if (id_len)
            add_item(l, files[i], id_len, &room);
    }
    if (l->count)
        qsort(l->items, l->count, sizeof *l->items, item_order);
    for (size_t i = 0; i < l->count; i++) {
        if (kept && !strcmp(l->items[kept - 1].id, l->items[i].id))
            free(l->items[i].id);
        else
            l->items[kept++] = l->items[i];
    }
    l->count = kept;
}

static bool is_gone(const struct loading *l, const struct item *item)
{
    SP_AUTO_FREE char *path = path_of(l, item);

    return access(path, F_OK) < 0 && errno == ENOENT;
}

/* Those of before, with the items in their places among them. *ret_changed: another one came, or
 * one went. */
static enum sp_err merge(struct loading *l, bool *ret_changed, struct sp_error *err)
{
    const struct gw_registry *previous = l->previous;
    struct gw_registry *registry = l->registry;
    size_t at = 0;
    enum sp_err rc;

    for (size_t i = 0; i <= l->count; i++) {
        const char *id = i < l->count ? l->items[i].id : NULL;

        while (at < previous->tenant_count && (!id || strcmp(previous->tenants[at]->id, id) < 0))
            registry->tenants[registry->tenant_count++] = gw_tenant_ref(previous->tenants[at++]);
        if (!id)
            break;
        if (at < previous->tenant_count && !strcmp(previous->tenants[at]->id, id))
            at++;
        if (is_gone(l, &l->items[i])) {
            *ret_changed |= gw_registry_tenant(previous, id) != NULL;
            continue;
        }
        read_item(l, &l->items[i]);
        l->items[i].is_new_cred = true;
        rc = finish_item(l, &l->items[i], false, &registry->tenants[registry->tenant_count], err);
        if (rc != SP_OK)
            return rc;
        *ret_changed |= registry->tenants[registry->tenant_count++] != l->items[i].older;
    }
    return SP_OK;
}

static enum sp_err reload_few(struct loading *l, bool *ret_changed, struct sp_error *err)
{
    const struct gw_registry *previous = l->previous;
    struct gw_registry *registry = l->registry;
    enum sp_err rc;

    registry->config = gw_config_ref(previous->config);
    registry->common = previous->common ? gw_cred_ref(previous->common) : NULL;
    registry->common_cred = previous->common_cred ? sp_tls_cred_ref(previous->common_cred) : NULL;
    registry->has_crls = previous->has_crls;
    l->sources.common_cred = registry->common_cred;
    l->sources.common_certificate = registry->config->common.certificate;
    l->sources.gateway_file = registry->config->path;
    know_crls(l);
    registry->tenants =
        sp_calloc(previous->tenant_count + l->count + 1, sizeof(struct gw_tenant *));
    rc = merge(l, ret_changed, err);
    if (rc == SP_OK && *ret_changed)
        rc = gw_registry_claim_names(registry, previous, err);
    if (rc == SP_OK && *ret_changed)
        gw_registry_index_issuers(registry, previous);
    return rc;
}

enum sp_err gw_registry_reload_tenants(struct gw_registry *previous, const char *const *files,
                                       size_t count, struct gw_registry **ret_registry,
                                       struct sp_error *err)
{
    struct gw_registry *registry;
    struct loading l = {.previous = previous};
    bool changed = false;
    enum sp_err rc;

    if (count > GW_CREDS_AT_ONCE || gw_keyring_growth(previous->keyring) > GW_CREDS_AT_ONCE)
        return gw_registry_load(previous->config->path, previous->ticket_master, previous,
                                ret_registry, err);
    registry = l.registry = gw_registry_new(previous->ticket_master);
    registry->keyring = gw_keyring_ref(previous->keyring);
    l.sources = (struct gw_tenant_sources){.keyring = registry->keyring, .now = sp_clock_wall_s()};
    list_named(&l, files, count);
    rc = reload_few(&l, &changed, err);
    loading_done(&l);
    gw_keyring_close(registry->keyring);
    *ret_registry = rc == SP_OK && changed ? registry : NULL;
    if (!*ret_registry)
        gw_registry_unref(registry);
    return rc;
}
