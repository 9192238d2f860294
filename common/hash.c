#include "common/hash.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct slot {
    char *key; /* NULL: empty; with a NUL behind it that does not count */
    size_t key_len;
    uint64_t hash;
    void *value;
};

struct sp_hash {
    struct slot *slots;
    size_t mask; /* slots - 1; their number is a power of two */
    size_t count;
    uint8_t key[16];
};

static uint64_t rotate(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static void sip_rounds(uint64_t v[4], unsigned rounds)
{
    while (rounds--) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] = rotate(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] = rotate(v[2], 32);
    }
}

static uint64_t little_endian(const uint8_t *p, size_t len)
{
    uint64_t value = 0;

    for (size_t i = 0; i < len; i++)
        value |= (uint64_t)p[i] << (8 * i);
    return value;
}

static void sip_absorb(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_rounds(v, 2);
    v[0] ^= word;
}

uint64_t sp_hash_siphash(const uint8_t key[16], const void *data, size_t len)
{
    const uint8_t *p = data;
    uint64_t k0 = little_endian(key, 8);
    uint64_t k1 = little_endian(key + 8, 8);
    uint64_t v[4] = {k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261,
                     k1 ^ 0x7465646279746573};
    size_t left = len;

    for (; left >= 8; left -= 8, p += 8)
        sip_absorb(v, little_endian(p, 8));
    sip_absorb(v, (uint64_t)(len & 0xff) << 56 | little_endian(p, left));
    v[2] ^= 0xff;
    sip_rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

struct sp_hash *sp_hash_new(void)
{
    struct sp_hash *h = sp_calloc(1, sizeof *h);

    h->mask = 15;
    h->slots = sp_calloc(h->mask + 1, sizeof *h->slots);
    /* A key a peer could guess would let it choose names that all collide. */
    SP_REQUIRE(getrandom(h->key, sizeof h->key, 0) == (ssize_t)sizeof h->key);
    return h;
}

void sp_hash_free(struct sp_hash *h)
{
    if (!h)
        return;
    for (size_t i = 0; i <= h->mask; i++)
        free(h->slots[i].key);
    free(h->slots);
    free(h);
}

/* The slot of the key, or the empty one where it would go. There always is an empty one. */
static size_t find_slot(const struct sp_hash *h, const void *key, size_t key_len, uint64_t hash)
{
    size_t i = hash & h->mask;

    for (; h->slots[i].key; i = (i + 1) & h->mask) {
        const struct slot *s = &h->slots[i];

        if (s->hash == hash && s->key_len == key_len && (!key_len || !memcmp(s->key, key, key_len)))
            break;
    }
    return i;
}

static void grow(struct sp_hash *h)
{
    struct slot *old = h->slots;
    size_t old_count = h->mask + 1;

    h->mask = old_count * 2 - 1;
    h->slots = sp_calloc(h->mask + 1, sizeof *h->slots);
    for (size_t i = 0; i < old_count; i++)
        if (old[i].key)
            h->slots[find_slot(h, old[i].key, old[i].key_len, old[i].hash)] = old[i];
    free(old);
}

void *sp_hash_put(struct sp_hash *h, const void *key, size_t key_len, void *value)
{
    uint64_t hash = sp_hash_siphash(h->key, key, key_len);
    size_t i = find_slot(h, key, key_len, hash);
    struct slot *s = &h->slots[i];

    SP_REQUIRE(value); /* NULL could not be told from "none" */
    if (s->key)
        return s->value;
    if ((h->count + 1) * 4 > (h->mask + 1) * 3) {
        grow(h);
        s = &h->slots[find_slot(h, key, key_len, hash)];
    }
    s->key = sp_calloc(1, key_len + 1);
    if (key_len)
        memcpy(s->key, key, key_len);
    s->key_len = key_len;
    s->hash = hash;
    s->value = value;
    h->count++;
    return NULL;
}

void *sp_hash_get(const struct sp_hash *h, const void *key, size_t key_len)
{
    size_t i = find_slot(h, key, key_len, sp_hash_siphash(h->key, key, key_len));

    return h->slots[i].value;
}

void *sp_hash_remove(struct sp_hash *h, const void *key, size_t key_len)
{
    size_t hole = find_slot(h, key, key_len, sp_hash_siphash(h->key, key, key_len));
    void *value = h->slots[hole].value;

    if (!h->slots[hole].key)
        return NULL;
    free(h->slots[hole].key);
    h->count--;
    /* Entries behind the hole that only stand there because it was taken move up; so a search may
     * go on stopping at the first empty slot, and no tombstones pile up. */
    for (size_t i = (hole + 1) & h->mask; h->slots[i].key; i = (i + 1) & h->mask) {
        size_t home = h->slots[i].hash & h->mask;

        if (((i - home) & h->mask) >= ((i - hole) & h->mask)) {
            h->slots[hole] = h->slots[i];
            hole = i;
        }
    }
    h->slots[hole] = (struct slot){0};
    return value;
}

size_t sp_hash_count(const struct sp_hash *h)
{
    return h->count;
}

bool sp_hash_next(const struct sp_hash *h, size_t *cursor, const char **ret_key,
                  size_t *ret_key_len, void **ret_value)
{
    for (; *cursor <= h->mask; (*cursor)++) {
        const struct slot *s = &h->slots[*cursor];

        if (s->key) {
            (*cursor)++;
            *ret_key = s->key;
            *ret_key_len = s->key_len;
            *ret_value = s->value;
            return true;
        }
    }
    return false;
}
