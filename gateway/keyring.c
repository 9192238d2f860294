#include "gateway/keyring.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "common/hash.h"
#include "common/settings.h"
#include "common/tls_crl.h"
#include "common/tls_trust.h"
#include "gateway/cred_store.h"
#include "gateway/tenant_config.h"

/* A list of CA files as they were read. */
struct ca_files {
    struct sp_tls_trust *trust; /* one reference */
    bool is_checked;            /* in this load: the stamps still hold */
    uint64_t stamps[];
};

/* Every value in these tables is one reference of the keyring's. */
struct gw_keyring {
    _Atomic size_t refs;
    struct gw_keyring *older; /* borrowed; NULL once it is closed */
    struct gw_cred_store *store;
    pthread_mutex_t lock;             /* of configs */
    struct sp_hash *configs;          /* by their digest */
    struct sp_hash *creds;            /* by certificate path and key path; of this load */
    struct sp_hash *trusts_by_paths;  /* struct ca_files: saves reading the files again */
    struct sp_hash *trusts_by_digest; /* joins sets that are equal under other file names */
    struct sp_tls_crl_pool *crls;     /* of this load */
    size_t closed_count;              /* what was in it when it was closed first */
};

static struct sp_hash *make_if_none(struct sp_hash **table)
{
    if (!*table)
        *table = sp_hash_new();
    return *table;
}

struct gw_keyring *gw_keyring_new(struct gw_keyring *older)
{
    struct gw_keyring *keyring = sp_calloc(1, sizeof *keyring);

    atomic_init(&keyring->refs, 1);
    keyring->older = older;
    keyring->store = older ? gw_cred_store_ref(older->store) : gw_cred_store_new(GW_CREDS_KEPT);
    SP_REQUIRE(pthread_mutex_init(&keyring->lock, NULL) == 0);
    keyring->configs = sp_hash_new();
    keyring->trusts_by_paths = sp_hash_new();
    keyring->trusts_by_digest = sp_hash_new();
    return keyring;
}

/* ---- the end ---- */

static void free_table(struct sp_hash *table, void (*drop)(void *value))
{
    const char *key;
    size_t cursor = 0, key_len;
    void *value;

    while (table && sp_hash_next(table, &cursor, &key, &key_len, &value))
        drop(value);
    sp_hash_free(table);
}

static void drop_cred(void *value)
{
    gw_cred_unref(value);
}

static void drop_config(void *value)
{
    gw_tenant_config_unref(value);
}

static void drop_trust(void *value)
{
    sp_tls_trust_unref(value);
}

static void drop_files(void *value)
{
    struct ca_files *files = value;

    sp_tls_trust_unref(files->trust);
    free(files);
}

static size_t count_entries(const struct gw_keyring *keyring)
{
    return sp_hash_count(keyring->configs) + sp_hash_count(keyring->trusts_by_paths);
}

static void forget_checks(struct gw_keyring *keyring)
{
    const char *key;
    size_t cursor = 0, key_len;
    void *value;

    while (sp_hash_next(keyring->trusts_by_paths, &cursor, &key, &key_len, &value)) {
        struct ca_files *files = value;

        files->is_checked = false;
    }
}

void gw_keyring_close(struct gw_keyring *keyring)
{
    forget_checks(keyring);
    if (keyring->older)
        forget_checks(keyring->older);
    free_table(keyring->creds, drop_cred);
    keyring->creds = NULL;
    sp_tls_crl_pool_free(keyring->crls);
    keyring->crls = NULL;
    keyring->older = NULL;
    if (!keyring->closed_count)
        keyring->closed_count = count_entries(keyring);
}

struct gw_keyring *gw_keyring_ref(struct gw_keyring *keyring)
{
    atomic_fetch_add_explicit(&keyring->refs, 1, memory_order_relaxed);
    return keyring;
}

void gw_keyring_unref(struct gw_keyring *keyring)
{
    if (!keyring || atomic_fetch_sub_explicit(&keyring->refs, 1, memory_order_acq_rel) != 1)
        return;
    gw_keyring_close(keyring);
    free_table(keyring->configs, drop_config);
    free_table(keyring->trusts_by_paths, drop_files);
    free_table(keyring->trusts_by_digest, drop_trust);
    gw_cred_store_unref(keyring->store);
    pthread_mutex_destroy(&keyring->lock);
    free(keyring);
}

size_t gw_keyring_growth(const struct gw_keyring *keyring)
{
    return count_entries(keyring) - keyring->closed_count;
}

/* ---- what it hands out ---- */

/* The paths, each with its NUL: no two lists have the same. */
static char *join_paths(const char *const *paths, size_t count, size_t *ret_len)
{
    size_t len = 0, i;
    char *key, *end;

    for (i = 0; i < count; i++)
        len += strlen(paths[i]) + 1;
    key = end = sp_calloc(len + 1, 1);
    for (i = 0; i < count; i++)
        end = stpcpy(end, paths[i]) + 1;
    *ret_len = len;
    return key;
}

struct gw_cred_store *gw_keyring_store(const struct gw_keyring *keyring)
{
    return keyring->store;
}

struct gw_cred *gw_keyring_cred(struct gw_keyring *keyring, const char *certificate,
                                const char *private_key, bool *ret_new)
{
    const char *const paths[] = {certificate, private_key};
    struct sp_hash *creds = make_if_none(&keyring->creds);
    size_t key_len;
    SP_AUTO_FREE char *key = join_paths(paths, 2, &key_len);
    struct gw_cred *cred = sp_hash_get(creds, key, key_len);

    *ret_new = !cred;
    if (!cred) {
        cred = gw_cred_new(keyring->store, certificate, private_key);
        sp_hash_put(creds, key, key_len, cred);
    }
    return gw_cred_ref(cred);
}

struct gw_cred *gw_keyring_adopt(struct gw_keyring *keyring, struct gw_cred *cred, bool *ret_new)
{
    const char *const paths[] = {gw_cred_certificate(cred), gw_cred_private_key(cred)};
    size_t key_len;
    SP_AUTO_FREE char *key = join_paths(paths, 2, &key_len);
    struct gw_cred *there = sp_hash_put(make_if_none(&keyring->creds), key, key_len, cred);

    *ret_new = !there;
    if (!there)
        gw_cred_ref(cred); /* the table's */
    return gw_cred_ref(there ? there : cred);
}

struct gw_tenant_config *gw_keyring_config(struct gw_keyring *keyring,
                                           struct gw_tenant_config *config)
{
    struct gw_tenant_config *equal;

    if (keyring->older) {
        pthread_mutex_lock(&keyring->older->lock);
        equal = sp_hash_get(keyring->older->configs, config->digest, sizeof config->digest);
        pthread_mutex_unlock(&keyring->older->lock);
        if (equal) {
            gw_tenant_config_ref(equal);
            gw_tenant_config_unref(config);
            config = equal;
        }
    }
    pthread_mutex_lock(&keyring->lock);
    equal = sp_hash_put(keyring->configs, config->digest, sizeof config->digest, config);
    gw_tenant_config_ref(equal ? equal : config); /* the caller's, or the table's */
    pthread_mutex_unlock(&keyring->lock);
    if (!equal)
        return config;
    gw_tenant_config_unref(config);
    return equal;
}

static bool is_unchanged(struct ca_files *files, const struct sp_json_strings *paths)
{
    for (size_t i = 0; i < paths->count && !files->is_checked; i++)
        if (!files->stamps[i] || sp_file_stamp(paths->items[i]) != files->stamps[i])
            return false;
    files->is_checked = true;
    return true;
}

static void know_by_digest(struct gw_keyring *keyring, struct sp_tls_trust *trust)
{
    uint8_t digest[32];

    sp_tls_trust_digest(trust, digest);
    if (!sp_hash_put(keyring->trusts_by_digest, digest, sizeof digest, trust))
        sp_tls_trust_ref(trust);
}

/* Those of this keyring, or the same of before, if the files are as they were. */
static struct sp_tls_trust *known_trust(struct gw_keyring *keyring, const char *key, size_t key_len,
                                        const struct sp_json_strings *paths)
{
    struct ca_files *files = sp_hash_get(keyring->trusts_by_paths, key, key_len);
    struct ca_files *before, *copy;
    size_t size = sizeof *copy + paths->count * sizeof copy->stamps[0];

    if (files)
        return is_unchanged(files, paths) ? files->trust : NULL;
    before = keyring->older ? sp_hash_get(keyring->older->trusts_by_paths, key, key_len) : NULL;
    if (!before || !is_unchanged(before, paths))
        return NULL;
    copy = sp_calloc(1, size);
    memcpy(copy, before, size);
    sp_tls_trust_ref(copy->trust);
    sp_hash_put(keyring->trusts_by_paths, key, key_len, copy);
    know_by_digest(keyring, copy->trust);
    return copy->trust;
}

/* Takes the reference; gives one to the equal set that is there already. */
static struct sp_tls_trust *join_trust(struct gw_keyring *keyring, struct sp_tls_trust *trust)
{
    struct sp_tls_trust *equal = NULL;
    uint8_t digest[32];

    sp_tls_trust_digest(trust, digest);
    if (keyring->older)
        equal = sp_hash_get(keyring->older->trusts_by_digest, digest, sizeof digest);
    if (equal) {
        sp_tls_trust_unref(trust);
        trust = sp_tls_trust_ref(equal);
    }
    equal = sp_hash_put(keyring->trusts_by_digest, digest, sizeof digest, trust);
    sp_tls_trust_ref(equal ? equal : trust);
    if (!equal)
        return trust;
    sp_tls_trust_unref(trust);
    return equal;
}

static void remember_files(struct gw_keyring *keyring, const char *key, size_t key_len,
                           struct ca_files *files)
{
    struct ca_files *old = sp_hash_remove(keyring->trusts_by_paths, key, key_len);

    if (old)
        drop_files(old);
    sp_hash_put(keyring->trusts_by_paths, key, key_len, files);
}

enum sp_err gw_keyring_trust(struct gw_keyring *keyring, const char *file, const char *json_path,
                             const struct sp_json_strings *ca_paths,
                             struct sp_tls_trust **ret_trust, struct sp_error *err)
{
    size_t key_len;
    SP_AUTO_FREE char *key =
        join_paths((const char *const *)ca_paths->items, ca_paths->count, &key_len);
    struct sp_tls_trust *trust = known_trust(keyring, key, key_len, ca_paths);
    struct ca_files *files;
    enum sp_err rc;

    if (!trust) {
        files = sp_calloc(1, sizeof *files + ca_paths->count * sizeof files->stamps[0]);
        for (size_t i = 0; i < ca_paths->count; i++)
            files->stamps[i] = sp_file_stamp(ca_paths->items[i]);
        rc = sp_settings_load_trust(file, json_path, ca_paths, false, &trust, err);
        if (rc != SP_OK) {
            free(files);
            return rc;
        }
        files->trust = trust = join_trust(keyring, trust);
        files->is_checked = true;
        remember_files(keyring, key, key_len, files);
    }
    *ret_trust = sp_tls_trust_ref(trust);
    return SP_OK;
}

struct sp_tls_crl_pool *gw_keyring_crl_pool(struct gw_keyring *keyring)
{
    if (!keyring->crls)
        keyring->crls = sp_tls_crl_pool_new();
    return keyring->crls;
}
