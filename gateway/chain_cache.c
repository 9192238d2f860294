#include "gateway/chain_cache.h"

#include "common/hash.h"
#include "common/tls_kdf.h"
#include "common/tls_upper.h"
#include "gateway/tenant.h"

#include <stdlib.h>
#include <string.h>

#define TEXTS 5

/* One allocation: the texts of the facts stand behind it, each with its NUL. */
struct entry {
    struct entry *newer, *older;
    uint8_t key[SP_SHA256_LEN];
    int64_t not_before, not_after;
    unsigned chain_len;
    char texts[];
};

struct gw_chain_cache {
    struct sp_hash *entries; /* by their keys */
    struct entry *newest, *oldest;
    struct sp_tls_uppers *uppers;
    size_t max_entries;
};

/* ---- entries ---- */

struct text {
    char *at;
    size_t room;
};

static void texts_of(struct sp_facts *facts, struct text ret_texts[TEXTS])
{
    ret_texts[0] = (struct text){facts->subject, sizeof facts->subject};
    ret_texts[1] = (struct text){facts->issuer, sizeof facts->issuer};
    ret_texts[2] = (struct text){facts->serial, sizeof facts->serial};
    ret_texts[3] = (struct text){facts->fingerprint, sizeof facts->fingerprint};
    ret_texts[4] = (struct text){facts->path, sizeof facts->path};
}

static struct entry *entry_new(const uint8_t key[SP_SHA256_LEN], struct sp_facts *facts)
{
    struct text texts[TEXTS];
    struct entry *e;
    size_t len = 0;

    texts_of(facts, texts);
    for (size_t i = 0; i < TEXTS; i++)
        len += strlen(texts[i].at) + 1;
    e = sp_calloc(1, sizeof *e + len);
    memcpy(e->key, key, sizeof e->key);
    e->not_before = facts->not_before;
    e->not_after = facts->not_after;
    e->chain_len = facts->chain_len;
    len = 0;
    for (size_t i = 0; i < TEXTS; i++) {
        size_t one = strlen(texts[i].at) + 1;

        memcpy(e->texts + len, texts[i].at, one);
        len += one;
    }
    return e;
}

static void entry_facts(const struct entry *e, struct sp_facts *ret_facts)
{
    const char *at = e->texts;
    struct text texts[TEXTS];

    *ret_facts = (struct sp_facts){
        .has_certificate = true,
        .chain_len = e->chain_len,
        .not_before = e->not_before,
        .not_after = e->not_after,
        .holds_until = e->not_after + 1,
        .steady = true,
    };
    texts_of(ret_facts, texts);
    for (size_t i = 0; i < TEXTS; i++) {
        size_t one = strlen(at) + 1;

        SP_REQUIRE(one <= texts[i].room);
        memcpy(texts[i].at, at, one);
        at += one;
    }
}

/* ---- the order of use ---- */

static void take_out(struct gw_chain_cache *cache, struct entry *e)
{
    *(e->newer ? &e->newer->older : &cache->newest) = e->older;
    *(e->older ? &e->older->newer : &cache->oldest) = e->newer;
}

static void put_first(struct gw_chain_cache *cache, struct entry *e)
{
    e->newer = NULL;
    e->older = cache->newest;
    *(e->older ? &e->older->newer : &cache->oldest) = e;
    cache->newest = e;
}

static void drop(struct gw_chain_cache *cache, struct entry *e)
{
    SP_REQUIRE(sp_hash_remove(cache->entries, e->key, sizeof e->key) == e);
    take_out(cache, e);
    free(e);
}

/* ---- looking up ---- */

/* All that a result depends on belongs into the key: trust, by the epoch; purpose, require_eku,
 * max_chain and min_key_bits; a name, pinned keys and CRLs (which grow stale) are never asked for;
 * the time is compared; nothing depends on uppers.
 * Whoever adds a field adds it there too. */
struct all_of_a_query {
    const struct sp_tls_trust *trust;
    const struct sp_tls_crl_set *crls;
    enum sp_purpose purpose;
    bool require_eku;
    const char *name;
    int64_t now;
    unsigned max_chain, min_key_bits;
    const char *const *pins;
    size_t pin_count;
    struct sp_tls_uppers *uppers;
};
_Static_assert(sizeof(struct all_of_a_query) == sizeof(struct sp_chain_query),
               "struct sp_chain_query has another field: put it into the key");

/* False: a chain that no entry is made of. */
static bool make_key(const struct gw_tenant *tenant, const struct sp_chain *chain,
                     const struct sp_chain_query *query, uint8_t ret_key[SP_SHA256_LEN])
{
    struct {
        char id[GW_TENANT_ID_MAX + 1];
        uint8_t epoch[GW_TICKET_EPOCH_LEN];
        uint8_t purpose, require_eku;
        uint8_t max_chain[4], min_key_bits[4];
        uint8_t count;
        uint8_t lens[SP_CHAIN_MAX_CERTS][4];
    } head; /* bytes only: no padding */
    struct sp_sha256_part parts[1 + SP_CHAIN_MAX_CERTS] = {{&head, sizeof head}};

    if (query->name || query->crls || query->pin_count || chain->count == 0 ||
        chain->count > SP_CHAIN_MAX_CERTS)
        return false;
    memset(&head, 0, sizeof head);
    strncpy(head.id, tenant->id, sizeof head.id - 1);
    memcpy(head.epoch, tenant->ticket_epoch, sizeof head.epoch);
    head.purpose = (uint8_t)query->purpose;
    head.require_eku = query->require_eku;
    memcpy(head.max_chain, &query->max_chain, sizeof head.max_chain);
    memcpy(head.min_key_bits, &query->min_key_bits, sizeof head.min_key_bits);
    head.count = (uint8_t)chain->count;
    for (size_t i = 0; i < chain->count; i++) {
        uint32_t len = (uint32_t)chain->certs[i].len;

        if (chain->certs[i].len > SP_CHAIN_MAX_BYTES) /* nor is it worth hashing */
            return false;
        memcpy(head.lens[i], &len, sizeof len);
        parts[1 + i] = (struct sp_sha256_part){chain->certs[i].data, chain->certs[i].len};
    }
    sp_sha256_parts(parts, 1 + chain->count, ret_key);
    return true;
}

/* The entry, if it speaks for this moment. Outside its time it goes: if the clock was set, the
 * examination that follows says so. */
static struct entry *find(struct gw_chain_cache *cache, const uint8_t key[SP_SHA256_LEN],
                          int64_t now)
{
    struct entry *e = sp_hash_get(cache->entries, key, SP_SHA256_LEN);

    if (!e)
        return NULL;
    if (now < e->not_before || now > e->not_after) {
        drop(cache, e);
        return NULL;
    }
    take_out(cache, e);
    put_first(cache, e);
    return e;
}

static void keep(struct gw_chain_cache *cache, const uint8_t key[SP_SHA256_LEN],
                 struct sp_facts *facts)
{
    struct entry *e = entry_new(key, facts);

    if (sp_hash_count(cache->entries) == cache->max_entries)
        drop(cache, cache->oldest);
    SP_REQUIRE(!sp_hash_put(cache->entries, e->key, sizeof e->key, e));
    put_first(cache, e);
}

/* Also where the whole is not to be kept: the issuers' signatures are what they are. */
static void examine(struct gw_chain_cache *cache, const struct sp_chain *chain,
                    const struct sp_chain_query *query, struct sp_facts *ret_facts)
{
    struct sp_chain_query with = *query;

    if (cache)
        with.uppers = cache->uppers;
    sp_chain_examine(chain, &with, ret_facts);
}

bool gw_chain_cache_examine(struct gw_chain_cache *cache, const struct gw_tenant *tenant,
                            const struct sp_chain *chain, const struct sp_chain_query *query,
                            struct sp_facts *ret_facts)
{
    uint8_t key[SP_SHA256_LEN];
    const struct entry *e;

    if (!cache || !tenant || !make_key(tenant, chain, query, key)) {
        examine(cache, chain, query, ret_facts);
        return false;
    }
    SP_REQUIRE(query->trust == tenant->trust);
    e = find(cache, key, query->now);
    if (e) {
        entry_facts(e, ret_facts);
        return true;
    }
    examine(cache, chain, query, ret_facts);
    if (ret_facts->observed == 0 && ret_facts->steady && ret_facts->has_certificate)
        keep(cache, key, ret_facts);
    return false;
}

/* ---- all of them ---- */

struct gw_chain_cache *gw_chain_cache_new(size_t max_entries)
{
    struct gw_chain_cache *cache = sp_calloc(1, sizeof *cache);

    SP_REQUIRE(max_entries > 0);
    cache->entries = sp_hash_new();
    cache->uppers = sp_tls_uppers_new();
    cache->max_entries = max_entries;
    return cache;
}

void gw_chain_cache_clear(struct gw_chain_cache *cache)
{
    while (cache->oldest)
        drop(cache, cache->oldest);
}

void gw_chain_cache_free(struct gw_chain_cache *cache)
{
    if (!cache)
        return;
    gw_chain_cache_clear(cache);
    sp_hash_free(cache->entries);
    sp_tls_uppers_free(cache->uppers);
    free(cache);
}

size_t gw_chain_cache_count(const struct gw_chain_cache *cache)
{
    return sp_hash_count(cache->entries);
}
