/*
 * live: a worker's tunnels, found by what may end them: the tenant and certificate they were
 * decided for, and the time until which that decision holds.
 *
 * Entries are embedded in their owners, who take them out before they go. One thread.
 */
#ifndef SALLYPORT_GATEWAY_LIVE_H
#define SALLYPORT_GATEWAY_LIVE_H
#include "common/heap.h"
#include <stdint.h>

#define GW_LIVE_KEY_LEN 32

/* Of a tenant and a certificate: a digest, since both may be long. */
struct gw_live_key {
    uint8_t bytes[GW_LIVE_KEY_LEN];
};
/* fingerprint: as in struct sp_facts. */
void gw_live_key_of(const char *tenant_id, const char *fingerprint, struct gw_live_key *ret_key);

struct gw_live_entry { /* zeroed at first */
    struct sp_heap_item review;
    struct gw_live_entry *next, **prev; /* of the same key; in the index while prev is set */
    struct gw_live_group *group;
};

struct gw_live; /* opaque */

struct gw_live *gw_live_new(void);
void gw_live_free(struct gw_live *live); /* must be empty; NULL is fine */
/* Puts the entry in, or moves it to another key. */
void gw_live_put(struct gw_live *live, struct gw_live_entry *entry, const struct gw_live_key *key);
void gw_live_remove(struct gw_live *live, struct gw_live_entry *entry); /* fine when not in */
/* The first of that key, the rest by ->next; NULL: none. */
struct gw_live_entry *gw_live_find(const struct gw_live *live, const struct gw_live_key *key);

/* When to look at it again, seconds since 1970; INT64_MAX: not by itself. */
void gw_live_review_at(struct gw_live *live, struct gw_live_entry *entry, int64_t at);
/* One whose time has come, which is put off until it is set anew; NULL: none. */
struct gw_live_entry *gw_live_take_due(struct gw_live *live, int64_t now);
#endif
