/*
 * chain_cache: what sp_chain_examine found out about the chains of clients that come again: two
 * signatures less to verify, and the same facts, byte for byte. Of a chain that is new, the issuers
 * may still be known (common/tls_upper.h): one signature less.
 *
 * Only good news is kept: chains with nothing observed, whose facts are `steady`. The key is a
 * SHA-256 over the tenant's id and ticket epoch (its CAs and policy), what is asked of the chain,
 * and every certificate with its length, so no tenant and no older trust state shares an entry
 * (invariant 2).
 * The time is compared on every hit with that of the path; outside of it the chain is examined. No
 * policy, no revocation and no `enabled` in here: they are the caller's, each time.
 *
 * Of one worker's thread, no lock. Bounded: when it is full the entry that was not used for longest
 * goes. An entry takes about 0.5 KiB for names of usual length, 1.5 KiB at most: 4096 of them 2 MiB
 * (6 at most) a worker; empty, next to nothing.
 */
#ifndef SALLYPORT_GATEWAY_CHAIN_CACHE_H
#define SALLYPORT_GATEWAY_CHAIN_CACHE_H
#include "common/tls_chain.h"

struct gw_chain_cache; /* opaque */
struct gw_tenant;

#define GW_CHAIN_CACHE_ENTRIES 4096

struct gw_chain_cache *gw_chain_cache_new(size_t max_entries);
void gw_chain_cache_free(struct gw_chain_cache *cache);  /* NULL is fine */
void gw_chain_cache_clear(struct gw_chain_cache *cache); /* forgets all chains */
size_t gw_chain_cache_count(const struct gw_chain_cache *cache);

/* sp_chain_examine, remembered or done now. query->trust is the tenant's. cache or tenant NULL, or
 * a name to match, keys to pin or CRLs (which grow stale): done now, and not kept. Returns whether
 * it was remembered. */
bool gw_chain_cache_examine(struct gw_chain_cache *cache, const struct gw_tenant *tenant,
                            const struct sp_chain *chain, const struct sp_chain_query *query,
                            struct sp_facts *ret_facts);
#endif
