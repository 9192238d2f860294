/*
 * ocsp_impl: what the files of gateway/ocsp share: the table of answers that workers read (under
 * its lock) and the main thread fills. Private to ocsp*.c.
 */
#ifndef SALLYPORT_GATEWAY_OCSP_IMPL_H
#define SALLYPORT_GATEWAY_OCSP_IMPL_H
#include "common/heap.h"
#include "common/token_bucket.h"
#include "gateway/ocsp.h"

#include <pthread.h>

struct sp_async;
struct sp_hash;
struct sp_timer;

#define GW_OCSP_ENTRIES_MAX 200000 /* some 3 KB each */
#define GW_OCSP_TENANT_MAX  20000  /* of one tenant, so that none can fill the table */

#define GW_OCSP_RETRY_MAX_S 64 /* after a failure */

#define GW_OCSP_NOBODY                                                                             \
    "the certificate names no OCSP responder, and client_validation.ocsp.responder is not set"

/* One certificate of one tenant. Freed by the main thread alone. */
struct gw_ocsp_entry {
    struct sp_heap_item due; /* main thread: when to ask again, or to forget it */
    struct gw_live_key key;
    /* All below: under the lock. */
    struct gw_ocsp_tenant *tenant;
    struct gw_tenant_config *config; /* of the last look: whom to ask and how. A reference; NULL:
                                        from the cache file, and nobody has looked yet */
    /* Set once, before it is asked for the first time, and then left alone: DER. */
    uint8_t *cert, *issuer;
    size_t cert_len, issuer_len;
    uint8_t *response; /* of the status; without a status: from the cache file, not verified yet */
    size_t response_len;
    struct sp_status *status; /* NULL: nothing was ever known */
    int64_t status_since;
    int64_t unknown_at;       /* thisUpdate of the newest answer that said unknown; 0: none did */
    struct sp_status *failed; /* what came of the last question; NULL: all is well */
    int64_t retry_at;
    unsigned failures;
    bool used;   /* somebody has looked since the last news of it */
    bool asking; /* a question is on its way, or waits its turn */
    bool is_news, wants_ask;
    struct gw_ocsp_entry *next_news, *next_in_line;
    uint64_t asked_ms; /* monotonic */
};

/* What belongs to one tenant: its share of the table; its questions, a few at a time. */
struct gw_ocsp_tenant {
    size_t entries; /* under the lock */
    /* Main thread: */
    size_t running;
    struct gw_ocsp_entry *first, **last; /* waiting */
    char id[];
};

struct gw_ocsp {
    struct gw_ocsp_options options;
    pthread_mutex_t lock;
    struct sp_hash *entries; /* by key */
    struct sp_hash *tenants; /* by id; gone with the last entry */
    struct gw_ocsp_entry *news;
    struct sp_token_bucket lines; /* of the log; under the lock */
    struct sp_async *wake;
    /* Main thread: */
    struct sp_heap schedule;
    struct sp_timer *tick;
    struct job *jobs;
    char *cache_path;
    bool dirty;
    int64_t saved_at;
};

/* Under the lock. NULL: the table, or the tenant's share of it, is full. */
struct gw_ocsp_entry *gw_ocsp_entry_new(struct gw_ocsp *ocsp, const struct gw_live_key *key,
                                        const char *tenant_id);
void gw_ocsp_entry_free(struct gw_ocsp *ocsp, struct gw_ocsp_entry *e); /* main thread */
/* Main thread, which alone frees them: all that there are now. Malloc'd. */
struct gw_ocsp_entry **gw_ocsp_entries(struct gw_ocsp *ocsp, size_t *ret_count);
/* Under the lock; copies. */
void gw_ocsp_entry_set_response(struct gw_ocsp_entry *e, const uint8_t *der, size_t len);
/* Under the lock. The responder has said `unknown`, signed and fresh: unless that is older than the
 * `good` that is known, it takes its place. A `revoked` stays. */
void gw_ocsp_entry_disown(struct gw_ocsp_entry *e, const struct sp_ocsp_answer *unknown);
/* Whether it is an old `good` that would undo a `revoked` or an `unknown`: replayed, or out of a
 * slow cache. */
bool gw_ocsp_entry_outdates(const struct gw_ocsp_entry *e, const struct sp_ocsp_answer *answer);
/* Under the lock: a line of the log about trouble may be written now. */
bool gw_ocsp_may_log(struct gw_ocsp *ocsp);
/* From this second on the entry's status says nothing any more; 0: it has none. */
int64_t gw_ocsp_entry_expires(const struct gw_ocsp_entry *e);

/* The cache file. Reading makes entries that nobody believes yet; what is no cache file of ours, or
 * ends too early, is said in the log. */
void gw_ocsp_file_read(struct gw_ocsp *ocsp, int64_t now);
void gw_ocsp_file_write(struct gw_ocsp *ocsp, int64_t now);
#endif
