/*
 * match_index: of some tenants those whose `client_validation.match` a client's names may fit,
 * without comparing them all.
 *
 * A tenant is entered under one key of its match: under a run of letters of each of that key's
 * patterns, between two wildcards, before the first or after the last one, whichever fewest tenants
 * share. A name is then followed through the sorted table letter by letter, from its front, from
 * its end and, where there are runs between wildcards, from each of its letters; what is met on
 * the way is a candidate. Tenants without a match are candidates always, and so are those whose
 * every key has a pattern of nothing but wildcards.
 *
 * For issuer_index.c. Immutable once made; borrows the patterns.
 */
#ifndef SALLYPORT_GATEWAY_MATCH_INDEX_H
#define SALLYPORT_GATEWAY_MATCH_INDEX_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gw_match_literal;
struct gw_tenant;
struct sp_tls_names;

struct gw_match_index {
    uint32_t *unindexed; /* places: first those without a match, then those to try one by one */
    uint32_t open_count, one_by_one_count;
    struct gw_match_literal *literals; /* sorted */
    uint32_t literal_count;
};

/* places: of the tenants to enter, ascending. */
void gw_match_index_init(struct gw_match_index *ret, struct gw_tenant *const *tenants,
                         const uint32_t *places, size_t count);
void gw_match_index_done(struct gw_match_index *index);

/* Hands over each candidate at least once, list by list; places ascend within a list. False: no
 * more of this list is wanted. */
typedef bool (*gw_match_index_cb)(void *ctx, uint32_t place);
void gw_match_index_walk(const struct gw_match_index *index, const struct sp_tls_names *names,
                         gw_match_index_cb candidate, void *ctx);
#endif
