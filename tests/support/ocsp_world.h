/*
 * ocsp_world: a tenant that trusts one CA, leaves of that CA, and responses about them, for tests
 * of what the gateway makes of OCSP. No files but the CA's, which is gone at once; no network.
 *
 * One a process, between enter and leave. Checks abort the test.
 */
#ifndef SALLYPORT_TESTS_SUPPORT_OCSP_WORLD_H
#define SALLYPORT_TESTS_SUPPORT_OCSP_WORLD_H
#include "gateway/tenant.h"
#include "tests/support/ocsp_maker.h"

#define OCSP_WORLD_URL "http://127.0.0.1:9/"

struct ocsp_world {
    int64_t now;
    struct certs_pair *ca, *other_ca;
    struct certs_pair *leaf, *leaf2;         /* name no responder */
    struct certs_pair *leaf_with_url;        /* names one on loopback */
    struct gw_tenant_config config, config2; /* tenants "acme" and "globex"; mode hard */
    struct gw_tenant *tenant, *tenant2;
};
extern struct ocsp_world ocsp_world;

void ocsp_world_enter(void);
void ocsp_world_leave(void);
struct certs_pair *ocsp_world_mint(const char *dn, const char *url); /* a leaf of the CA */
/* What the CA says: the response, malloc'd. begin, end: seconds from now; end 0: no nextUpdate. */
struct sp_bytes ocsp_world_say(const struct certs_pair *leaf, enum ocsp_said said, int64_t begin,
                               int64_t end);
#endif
