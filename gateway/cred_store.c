#include "gateway/cred_store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/file.h"
#include "common/settings.h"
#include "common/tls_cred.h"

#define RETRY_MS 1000

/* What is kept of a loaded or failed one; under the store's lock. */
struct gw_cred {
    _Atomic size_t refs;
    struct gw_cred_store *store;
    struct sp_tls_cred *loaded;    /* NULL: not now; one reference */
    struct gw_cred *newer, *older; /* while it is loaded */
    struct sp_error *failure;      /* of the last attempt, until retry_ms */
    uint64_t serial, retry_ms;
    uint64_t stamps[2];
    bool seems_loadable;
    char *private_key; /* behind the certificate's path, in the same block */
    char certificate[];
};

struct gw_cred_store {
    _Atomic size_t refs;
    pthread_mutex_t lock;
    size_t max_kept, kept;
    struct gw_cred *newest, *oldest;
    uint64_t loads, losses;
};

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

struct gw_cred_store *gw_cred_store_new(size_t max_kept)
{
    struct gw_cred_store *store = sp_calloc(1, sizeof *store);

    atomic_init(&store->refs, 1);
    SP_REQUIRE(pthread_mutex_init(&store->lock, NULL) == 0);
    store->max_kept = max_kept;
    return store;
}

struct gw_cred_store *gw_cred_store_ref(struct gw_cred_store *store)
{
    atomic_fetch_add_explicit(&store->refs, 1, memory_order_relaxed);
    return store;
}

void gw_cred_store_unref(struct gw_cred_store *store)
{
    if (!store || atomic_fetch_sub_explicit(&store->refs, 1, memory_order_acq_rel) != 1)
        return;
    SP_REQUIRE(!store->newest); /* each of them held a reference */
    pthread_mutex_destroy(&store->lock);
    free(store);
}

/* ---- which were used last; under the lock ---- */

static void unlink_cred(struct gw_cred_store *store, struct gw_cred *cred)
{
    *(cred->newer ? &cred->newer->older : &store->newest) = cred->older;
    *(cred->older ? &cred->older->newer : &store->oldest) = cred->newer;
    cred->newer = cred->older = NULL;
    store->kept--;
}

static void link_newest(struct gw_cred_store *store, struct gw_cred *cred)
{
    cred->older = store->newest;
    cred->newer = NULL;
    *(store->newest ? &store->newest->newer : &store->oldest) = cred;
    store->newest = cred;
    store->kept++;
}

/* What has to go. The caller drops it, without the lock: it may be the last reference. */
static struct sp_tls_cred *make_room(struct gw_cred_store *store)
{
    struct gw_cred *oldest = store->oldest;
    struct sp_tls_cred *gone;

    if (store->kept <= store->max_kept)
        return NULL;
    unlink_cred(store, oldest);
    store->losses++;
    gone = oldest->loaded;
    oldest->loaded = NULL;
    return gone;
}

size_t gw_cred_store_list(struct gw_cred_store *store, struct sp_tls_cred ***ret_creds)
{
    struct sp_tls_cred **creds;
    size_t count = 0;

    pthread_mutex_lock(&store->lock);
    creds = sp_calloc(store->kept + 1, sizeof(struct sp_tls_cred *));
    for (struct gw_cred *cred = store->newest; cred; cred = cred->older)
        creds[count++] = sp_tls_cred_ref(cred->loaded);
    pthread_mutex_unlock(&store->lock);
    *ret_creds = creds;
    return count;
}

uint64_t gw_cred_store_changes(struct gw_cred_store *store)
{
    uint64_t changes;

    pthread_mutex_lock(&store->lock);
    changes = store->loads + store->losses;
    pthread_mutex_unlock(&store->lock);
    return changes;
}

/* ---- one pair of files ---- */

struct gw_cred *gw_cred_new(struct gw_cred_store *store, const char *certificate,
                            const char *private_key)
{
    size_t certificate_size = strlen(certificate) + 1, key_size = strlen(private_key) + 1;
    struct gw_cred *cred = sp_calloc(1, sizeof *cred + certificate_size + key_size);
    struct sp_file_look looks[2];

    atomic_init(&cred->refs, 1);
    cred->store = gw_cred_store_ref(store);
    cred->private_key = cred->certificate + certificate_size;
    memcpy(cred->certificate, certificate, certificate_size);
    memcpy(cred->private_key, private_key, key_size);
    sp_file_look(certificate, &looks[0]);
    sp_file_look(private_key, &looks[1]);
    cred->stamps[0] = looks[0].stamp;
    cred->stamps[1] = looks[1].stamp;
    cred->seems_loadable = sp_tls_cred_seems_loadable(&looks[0], &looks[1]);
    return cred;
}

struct gw_cred *gw_cred_ref(struct gw_cred *cred)
{
    atomic_fetch_add_explicit(&cred->refs, 1, memory_order_relaxed);
    return cred;
}

void gw_cred_unref(struct gw_cred *cred)
{
    if (!cred || atomic_fetch_sub_explicit(&cred->refs, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_lock(&cred->store->lock);
    if (cred->loaded) {
        unlink_cred(cred->store, cred);
        cred->store->losses++;
    }
    pthread_mutex_unlock(&cred->store->lock);
    sp_tls_cred_unref(cred->loaded);
    gw_cred_store_unref(cred->store);
    free(cred->failure);
    free(cred);
}

const char *gw_cred_certificate(const struct gw_cred *cred)
{
    return cred->certificate;
}

const char *gw_cred_private_key(const struct gw_cred *cred)
{
    return cred->private_key;
}

static bool is_stamp(const char *path, uint64_t stamp)
{
    return stamp && sp_file_stamp(path) == stamp;
}

bool gw_cred_is_current(const struct gw_cred *cred)
{
    return is_stamp(cred->certificate, cred->stamps[0]) &&
           is_stamp(cred->private_key, cred->stamps[1]);
}

bool gw_cred_seems_loadable(const struct gw_cred *cred)
{
    return cred->seems_loadable;
}

struct sp_tls_cred *gw_cred_peek(struct gw_cred *cred)
{
    struct sp_tls_cred *loaded;

    pthread_mutex_lock(&cred->store->lock);
    loaded = cred->loaded ? sp_tls_cred_ref(cred->loaded) : NULL;
    pthread_mutex_unlock(&cred->store->lock);
    return loaded;
}

/* True: there is an answer, good or bad. */
static bool is_known(struct gw_cred *cred, struct sp_tls_cred **ret_cred, uint64_t *ret_serial,
                     struct sp_error *err)
{
    struct gw_cred_store *store = cred->store;
    bool known = true;

    pthread_mutex_lock(&store->lock);
    if (cred->loaded) {
        unlink_cred(store, cred);
        link_newest(store, cred);
        *ret_cred = sp_tls_cred_ref(cred->loaded);
        *ret_serial = cred->serial;
    } else if (cred->failure && now_ms() < cred->retry_ms) {
        *err = *cred->failure;
    } else {
        known = false;
    }
    pthread_mutex_unlock(&store->lock);
    return known;
}

/* Takes the reference to `loaded`. Another thread may have been faster: then his counts. */
static void keep(struct gw_cred *cred, struct sp_tls_cred *loaded, struct sp_tls_cred **ret_cred,
                 uint64_t *ret_serial)
{
    struct gw_cred_store *store = cred->store;
    struct sp_tls_cred *gone = loaded;

    pthread_mutex_lock(&store->lock);
    if (!cred->loaded) {
        cred->loaded = loaded;
        cred->serial = ++store->loads;
        link_newest(store, cred);
        gone = make_room(store);
    }
    *ret_cred = sp_tls_cred_ref(cred->loaded);
    *ret_serial = cred->serial;
    pthread_mutex_unlock(&store->lock);
    sp_tls_cred_unref(gone);
}

static void keep_failure(struct gw_cred *cred, const struct sp_error *why)
{
    pthread_mutex_lock(&cred->store->lock);
    if (!cred->failure)
        cred->failure = sp_calloc(1, sizeof *cred->failure);
    *cred->failure = *why;
    cred->retry_ms = now_ms() + RETRY_MS;
    pthread_mutex_unlock(&cred->store->lock);
}

enum sp_err gw_cred_take(struct gw_cred *cred, const char *file, const char *json_path,
                         struct sp_tls_cred **ret_cred, uint64_t *ret_serial, struct sp_error *err)
{
    struct sp_error why = {.kind = SP_OK};
    struct sp_tls_cred *loaded = NULL;

    if (!is_known(cred, ret_cred, ret_serial, &why)) {
        if (sp_settings_load_cred(file, json_path, cred->certificate, cred->private_key, &loaded,
                                  &why) == SP_OK)
            keep(cred, loaded, ret_cred, ret_serial);
        else
            keep_failure(cred, &why);
    }
    if (err && why.kind != SP_OK)
        *err = why;
    return why.kind;
}
