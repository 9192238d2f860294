#include "gateway/name_index.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/error.h"
#include "common/hash.h"

struct slot {
    uint32_t tag;   /* of the hash, to read few names in vain */
    uint32_t owner; /* GW_NAME_NONE: empty */
    uint32_t number;
};

struct gw_name_index {
    _Atomic size_t refs;
    struct slot *slots;
    size_t mask, count;
    gw_name_text text;
    uint8_t key[16];
};

struct gw_name_index *gw_name_index_new(size_t room, gw_name_text text)
{
    struct gw_name_index *index = sp_calloc(1, sizeof *index);
    size_t size = 16;

    while (size < room * 3 / 2)
        size *= 2;
    index->slots = sp_calloc(size, sizeof *index->slots);
    memset(index->slots, 0xff, size * sizeof *index->slots);
    index->mask = size - 1;
    index->text = text;
    atomic_init(&index->refs, 1);
    SP_REQUIRE(getrandom(index->key, sizeof index->key, 0) == (ssize_t)sizeof index->key);
    return index;
}

struct gw_name_index *gw_name_index_ref(struct gw_name_index *index)
{
    atomic_fetch_add_explicit(&index->refs, 1, memory_order_relaxed);
    return index;
}

void gw_name_index_unref(struct gw_name_index *index)
{
    if (!index || atomic_fetch_sub_explicit(&index->refs, 1, memory_order_acq_rel) != 1)
        return;
    free(index->slots);
    free(index);
}

/* The slot of the name, or the empty one where it would go. There always is an empty one. */
static size_t find_slot(const struct gw_name_index *index, const void *ctx, const char *name,
                        uint64_t hash)
{
    size_t i = hash & index->mask;

    for (; index->slots[i].owner != GW_NAME_NONE; i = (i + 1) & index->mask) {
        const struct slot *slot = &index->slots[i];

        if (slot->tag == (uint32_t)(hash >> 32) &&
            !strcmp(index->text(ctx, slot->owner, slot->number), name))
            break;
    }
    return i;
}

uint32_t gw_name_index_put(struct gw_name_index *index, const void *ctx, uint32_t owner,
                           uint32_t number)
{
    const char *name = index->text(ctx, owner, number);
    uint64_t hash = sp_hash_siphash(index->key, name, strlen(name));
    struct slot *slot = &index->slots[find_slot(index, ctx, name, hash)];

    if (slot->owner != GW_NAME_NONE)
        return slot->owner;
    SP_REQUIRE(index->count++ < index->mask);
    *slot = (struct slot){(uint32_t)(hash >> 32), owner, number};
    return GW_NAME_NONE;
}

uint32_t gw_name_index_get(const struct gw_name_index *index, const void *ctx, const char *name)
{
    uint64_t hash = sp_hash_siphash(index->key, name, strlen(name));

    return index->slots[find_slot(index, ctx, name, hash)].owner;
}
