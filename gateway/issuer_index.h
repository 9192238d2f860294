/*
 * issuer_index: whose device is it? From a client's chain to the tenants whose CAs verify it and
 * whose `client_validation.match` its names fit: for server names that no tenant owns.
 *
 * Three steps, from cheap to dear; none of them goes through all tenants:
 *   1. the issuers named in the chain (DN, and key identifier where there is one), by hash: the
 *      sets of CAs that have one of them. Tenants that trust the same set are one group.
 *   2. within each group (many groups that share a CA's name: in all of them at once) the tenants
 *      whose match fits, by way of a sorted table of their patterns' letters (match_index.h), in
 *      time that grows with the length of the client's names; only tenants in whose every key there
 *      is a pattern of nothing but wildcards are tried one by one.
 *   3. sp_chain_examine with the CAs of those that fit, once for each set of CAs.
 *
 * Made with the registry; immutable, reference counted; borrows its tenants' configuration and
 * trust, so it lives no longer than registries with these or with new generations of them that
 * differ in nothing but CRLs. Safe for all threads.
 */
#ifndef SALLYPORT_GATEWAY_ISSUER_INDEX_H
#define SALLYPORT_GATEWAY_ISSUER_INDEX_H
#include "common/tls_chain.h"

struct gw_issuer_index; /* opaque */
struct gw_tenant;

/* Sets of CAs that do not verify the chain, though they have a CA of a name that it gives as an
 * issuer's and though a tenant's match fits: one more than these, and the search gives up and
 * nobody is found (a stop there could hide that there are two). Each costs one verification. */
#define GW_ISSUER_INDEX_MISSES 8
enum gw_found { GW_FOUND_NONE, GW_FOUND_ONE, GW_FOUND_SEVERAL };

struct gw_finding {
    enum gw_found kind;
    struct gw_tenant *tenants[2]; /* ONE: the first; SEVERAL: the first two, in the registry's
                                     order. Borrowed; may be disabled ones */
    char detail[SP_DN_MAX];       /* for the log alone, never for the client; "" for ONE */
    unsigned examined;            /* how often the chain was examined */
    unsigned tried;               /* tenants whose match was compared */
};

/* tenants: in the registry's order; a tenant is known by its place from here on. */
struct gw_issuer_index *gw_issuer_index_new(struct gw_tenant *const *tenants, size_t count);
struct gw_issuer_index *gw_issuer_index_ref(struct gw_issuer_index *index);
void gw_issuer_index_unref(struct gw_issuer_index *index); /* NULL is fine */

/* tenants: those that the index was made of, or later generations, in the same places.
 *
 * A set of CAs verifies a chain when examination observes none of untrusted_issuer,
 * missing_intermediate, bad_signature, chain_too_large, no_certificate. That a certificate is
 * expired, weak, revoked or of the wrong purpose does not hide whose it is: that tenant's policy
 * is then asked. */
void gw_issuer_index_find(const struct gw_issuer_index *index, struct gw_tenant *const *tenants,
                          const struct sp_chain *chain, int64_t now, struct gw_finding *ret);
#endif
