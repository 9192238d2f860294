#include "gateway/live.h"

#include "common/error.h"
#include "common/hash.h"
#include "common/tls_kdf.h"

#include <stdlib.h>
#include <string.h>

/* The entries of one key. */
struct gw_live_group {
    struct gw_live_key key;
    struct gw_live_entry *first;
};

struct gw_live {
    struct sp_hash *groups; /* by their keys */
    struct sp_heap reviews;
};

void gw_live_key_of(const char *tenant_id, const char *fingerprint, struct gw_live_key *ret_key)
{
    const struct sp_sha256_part parts[] = {
        {tenant_id, strlen(tenant_id) + 1}, /* its NUL keeps the two apart */
        {fingerprint, strlen(fingerprint)},
    };

    _Static_assert(sizeof ret_key->bytes == SP_SHA256_LEN, "a key is a digest");
    sp_sha256_parts(parts, 2, ret_key->bytes);
}

struct gw_live *gw_live_new(void)
{
    struct gw_live *live = sp_calloc(1, sizeof *live);

    live->groups = sp_hash_new();
    return live;
}

void gw_live_free(struct gw_live *live)
{
    if (!live)
        return;
    SP_REQUIRE(!sp_hash_count(live->groups) && !live->reviews.count);
    sp_hash_free(live->groups);
    sp_heap_done(&live->reviews);
    free(live);
}

static struct gw_live_group *group_of(struct gw_live *live, const struct gw_live_key *key)
{
    struct gw_live_group *group = sp_hash_get(live->groups, key->bytes, sizeof key->bytes);

    if (group)
        return group;
    group = sp_calloc(1, sizeof *group);
    group->key = *key;
    sp_hash_put(live->groups, key->bytes, sizeof key->bytes, group);
    return group;
}

static void take_out(struct gw_live *live, struct gw_live_entry *entry)
{
    struct gw_live_group *group = entry->group;

    *entry->prev = entry->next;
    if (entry->next)
        entry->next->prev = entry->prev;
    entry->next = NULL;
    entry->prev = NULL;
    entry->group = NULL;
    if (group->first)
        return;
    sp_hash_remove(live->groups, group->key.bytes, sizeof group->key.bytes);
    free(group);
}

void gw_live_put(struct gw_live *live, struct gw_live_entry *entry, const struct gw_live_key *key)
{
    struct gw_live_group *group;

    if (entry->prev && !memcmp(entry->group->key.bytes, key->bytes, sizeof key->bytes))
        return;
    if (entry->prev)
        take_out(live, entry);
    group = group_of(live, key);
    entry->group = group;
    entry->next = group->first;
    entry->prev = &group->first;
    if (entry->next)
        entry->next->prev = &entry->next;
    group->first = entry;
}

void gw_live_remove(struct gw_live *live, struct gw_live_entry *entry)
{
    sp_heap_remove(&live->reviews, &entry->review);
    if (entry->prev)
        take_out(live, entry);
}

struct gw_live_entry *gw_live_find(const struct gw_live *live, const struct gw_live_key *key)
{
    const struct gw_live_group *group = sp_hash_get(live->groups, key->bytes, sizeof key->bytes);

    return group ? group->first : NULL;
}

void gw_live_review_at(struct gw_live *live, struct gw_live_entry *entry, int64_t at)
{
    if (at == INT64_MAX)
        sp_heap_remove(&live->reviews, &entry->review);
    else
        sp_heap_put(&live->reviews, &entry->review, at);
}

struct gw_live_entry *gw_live_take_due(struct gw_live *live, int64_t now)
{
    struct sp_heap_item *first = sp_heap_first(&live->reviews);

    if (!first || first->due > now)
        return NULL;
    sp_heap_remove(&live->reviews, first);
    _Static_assert(offsetof(struct gw_live_entry, review) == 0, "the item is the entry");
    return (struct gw_live_entry *)first;
}
