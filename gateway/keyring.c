#include "gateway/keyring.h"

#include <stdlib.h>
#include <string.h>

#include "common/hash.h"
#include "common/settings.h"
#include "common/tls_cred.h"
#include "common/tls_crl.h"
#include "common/tls_trust.h"

/* Every value in these tables is one reference of the keyring's. */
struct gw_keyring {
    struct sp_hash *creds;            /* by certificate path and key path */
    struct sp_hash *trusts_by_paths;  /* saves reading the files again */
    struct sp_hash *trusts_by_digest; /* joins sets that are equal under other file names */
    struct sp_tls_crl_pool *crls;
};

struct gw_keyring *gw_keyring_new(void)
{
    struct gw_keyring *keyring = sp_calloc(1, sizeof *keyring);

    keyring->creds = sp_hash_new();
    keyring->trusts_by_paths = sp_hash_new();
    keyring->trusts_by_digest = sp_hash_new();
    keyring->crls = sp_tls_crl_pool_new();
    return keyring;
}

static void free_trusts(struct sp_hash *table)
{
    const char *key;
    size_t cursor = 0, key_len;
    void *value;

    while (sp_hash_next(table, &cursor, &key, &key_len, &value))
        sp_tls_trust_unref(value);
    sp_hash_free(table);
}

void gw_keyring_free(struct gw_keyring *keyring)
{
    const char *key;
    size_t cursor = 0, key_len;
    void *value;

    if (!keyring)
        return;
    while (sp_hash_next(keyring->creds, &cursor, &key, &key_len, &value))
        sp_tls_cred_unref(value);
    sp_hash_free(keyring->creds);
    free_trusts(keyring->trusts_by_paths);
    free_trusts(keyring->trusts_by_digest);
    sp_tls_crl_pool_free(keyring->crls);
    free(keyring);
}

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

enum sp_err gw_keyring_cred(struct gw_keyring *keyring, const char *file, const char *json_path,
                            const char *certificate, const char *private_key,
                            struct sp_tls_cred **ret_cred, bool *ret_new, struct sp_error *err)
{
    const char *const paths[] = {certificate, private_key};
    size_t key_len;
    SP_AUTO_FREE char *key = join_paths(paths, 2, &key_len);
    struct sp_tls_cred *cred = sp_hash_get(keyring->creds, key, key_len);
    enum sp_err rc;

    *ret_new = !cred;
    if (!cred) {
        rc = sp_settings_load_cred(file, json_path, certificate, private_key, &cred, err);
        if (rc != SP_OK)
            return rc;
        sp_hash_put(keyring->creds, key, key_len, cred);
    }
    *ret_cred = sp_tls_cred_ref(cred);
    return SP_OK;
}

enum sp_err gw_keyring_trust(struct gw_keyring *keyring, const char *file, const char *json_path,
                             const struct sp_json_strings *ca_paths,
                             struct sp_tls_trust **ret_trust, struct sp_error *err)
{
    size_t key_len;
    SP_AUTO_FREE char *key =
        join_paths((const char *const *)ca_paths->items, ca_paths->count, &key_len);
    struct sp_tls_trust *trust = sp_hash_get(keyring->trusts_by_paths, key, key_len);
    struct sp_tls_trust *equal;
    uint8_t digest[32];
    enum sp_err rc;

    if (!trust) {
        rc = sp_settings_load_trust(file, json_path, ca_paths, false, &trust, err);
        if (rc != SP_OK)
            return rc;
        sp_tls_trust_digest(trust, digest);
        equal = sp_hash_put(keyring->trusts_by_digest, digest, sizeof digest, trust);
        if (equal) {
            sp_tls_trust_unref(trust);
            trust = equal;
        }
        sp_hash_put(keyring->trusts_by_paths, key, key_len, sp_tls_trust_ref(trust));
    }
    *ret_trust = sp_tls_trust_ref(trust);
    return SP_OK;
}

struct sp_tls_crl_pool *gw_keyring_crl_pool(struct gw_keyring *keyring)
{
    return keyring->crls;
}
