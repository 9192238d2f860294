#include "common/crl_source_impl.h"

#include <stdlib.h>
#include <string.h>

#include "common/fetch.h"
#include "common/hash.h"
#include "common/tls_crl.h"
#include "common/tls_crl_file.h"
#include "common/tls_kdf.h"
#include "common/tls_trust.h"

static void user_free(struct crl_user *user)
{
    sp_tls_crl_kept_done(&user->kept);
    sp_tls_trust_unref(user->trust);
    free(user);
}

void sp_crl_source_url_free(struct crl_url *u)
{
    const char *key;
    size_t cursor = 0, len;
    void *user;

    if (u->fetch) {
        sp_fetch_cancel(u->fetch);
        u->source->running--;
    }
    while (sp_hash_next(u->users, &cursor, &key, &len, &user))
        user_free(user);
    sp_hash_free(u->users);
    sp_tls_crl_file_unref(u->last);
    free(u->etag);
    free(u->url);
    free(u);
}

void sp_crl_source_begin(struct sp_crl_source *source, const char *cache_dir)
{
    struct crl_user *user;
    struct crl_url *u;
    size_t cursor = 0, inner;

    free(source->cache_dir);
    source->cache_dir = cache_dir ? sp_strdup(cache_dir) : NULL;
    while ((u = sp_crl_source_next_url(source, &cursor))) {
        u->wanted = false;
        for (inner = 0; (user = sp_crl_source_next_user(u, &inner));)
            user->wanted = false;
    }
}

static struct crl_url *want_url(struct sp_crl_source *source, const char *url)
{
    struct crl_url *u = sp_hash_get(source->urls, url, strlen(url));

    if (!u) {
        u = sp_calloc(1, sizeof *u);
        u->source = source;
        u->url = sp_strdup(url);
        u->users = sp_hash_new();
        u->is_new = true;
        sp_hash_put(source->urls, url, strlen(url), u);
    }
    u->wanted = true;
    return u;
}

/* Begins with what was loaded: a trust of which this is the first word may have been given what
 * another one had (tls_crl). */
static void want_user(struct crl_url *u, struct sp_tls_trust *trust,
                      const struct sp_tls_crl_kept *kept)
{
    uint8_t digest[SP_SHA256_LEN];
    struct crl_user *user;
    struct taken taken = {.changed = false};

    sp_tls_trust_digest(trust, digest);
    user = sp_hash_get(u->users, digest, sizeof digest);
    if (!user) {
        user = sp_calloc(1, sizeof *user);
        user->trust = sp_tls_trust_ref(trust);
        sp_tls_crl_kept_copy(&user->kept, kept);
        sp_hash_put(u->users, digest, sizeof digest, user);
        if (u->last)
            sp_crl_source_offer(u, user, u->last, &taken);
        sp_crl_source_tell(u->source);
    }
    user->wanted = true;
}

void sp_crl_source_add(struct sp_crl_source *source, const struct sp_tls_crl_set *set)
{
    const char *name;

    for (size_t i = 0; (name = sp_tls_crl_set_name(set, i)); i++)
        if (sp_tls_crl_set_kept(set, i))
            want_user(want_url(source, name), sp_tls_crl_set_trust(set),
                      sp_tls_crl_set_kept(set, i));
}

/* One at a time: the table must not change while it is walked. */
static bool forget_a_user(struct crl_url *u)
{
    const char *key;
    size_t cursor = 0, len;
    void *value;

    while (sp_hash_next(u->users, &cursor, &key, &len, &value)) {
        struct crl_user *user = value;
        uint8_t digest[SP_SHA256_LEN];

        if (user->wanted)
            continue;
        memcpy(digest, key, sizeof digest);
        sp_hash_remove(u->users, digest, sizeof digest);
        user_free(user);
        return true;
    }
    return false;
}

static bool forget_a_url(struct sp_crl_source *source)
{
    struct crl_url *u;
    size_t cursor = 0;

    while ((u = sp_crl_source_next_url(source, &cursor))) {
        if (u->wanted)
            continue;
        sp_hash_remove(source->urls, u->url, strlen(u->url));
        sp_crl_source_url_free(u);
        return true;
    }
    return false;
}

void sp_crl_source_end(struct sp_crl_source *source)
{
    struct crl_url *u;
    size_t cursor = 0;

    while (forget_a_url(source))
        ;
    while ((u = sp_crl_source_next_url(source, &cursor))) {
        while (forget_a_user(u))
            ;
        if (u->is_new)
            sp_crl_source_read_cache(u);
        u->is_new = false;
    }
    sp_crl_source_tick(source);
}
