#include "gateway/crl_watch.h"

#include <stdlib.h>
#include <string.h>

#include "common/hash.h"
#include "common/tls_crl.h"
#include "gateway/registry.h"

struct gw_crl_watch {
    struct sp_hash *seen; /* by path: struct sp_tls_crl_stamp */
};

static void watch_file(struct gw_crl_watch *watch, const char *path,
                       const struct sp_tls_crl_stamp *stamp)
{
    struct sp_tls_crl_stamp *copy;

    if (sp_hash_get(watch->seen, path, strlen(path)))
        return;
    copy = sp_calloc(1, sizeof *copy);
    *copy = *stamp;
    sp_hash_put(watch->seen, path, strlen(path), copy);
}

struct gw_crl_watch *gw_crl_watch_new(const struct gw_registry *registry,
                                      struct gw_crl_watch *older)
{
    struct gw_crl_watch *watch = sp_calloc(1, sizeof *watch);
    const struct sp_tls_crl_stamp *seen;
    const char *path;

    watch->seen = sp_hash_new();
    for (size_t i = 0; registry->has_crls && i < registry->tenant_count; i++) {
        const struct sp_tls_crl_set *crls = registry->tenants[i]->crls;

        for (size_t k = 0; (path = sp_tls_crl_set_name(crls, k)) != NULL; k++) {
            if (sp_tls_crl_set_kept(crls, k)) /* a URL */
                continue;
            seen = older ? sp_hash_get(older->seen, path, strlen(path)) : NULL;
            watch_file(watch, path, seen ? seen : sp_tls_crl_set_stamp(crls, k));
        }
    }
    gw_crl_watch_free(older);
    return watch;
}

void gw_crl_watch_free(struct gw_crl_watch *watch)
{
    const char *key;
    size_t cursor = 0, key_len;
    void *value;

    if (!watch)
        return;
    while (sp_hash_next(watch->seen, &cursor, &key, &key_len, &value))
        free(value);
    sp_hash_free(watch->seen);
    free(watch);
}

bool gw_crl_watch_look(struct gw_crl_watch *watch)
{
    const char *path;
    size_t cursor = 0, len;
    void *value;
    bool changed = false;

    while (sp_hash_next(watch->seen, &cursor, &path, &len, &value)) {
        struct sp_tls_crl_stamp *seen = value;
        struct sp_tls_crl_stamp now;

        sp_tls_crl_stamp_of(path, &now);
        if (sp_tls_crl_stamp_equal(seen, &now))
            continue;
        *seen = now;
        changed = true;
    }
    return changed;
}
