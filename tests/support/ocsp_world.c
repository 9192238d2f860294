#include "tests/support/ocsp_world.h"

#include "common/clock.h"
#include "common/revocation.h"
#include "common/tls_trust.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct ocsp_world ocsp_world;

static struct certs_pair *mint(const struct certs_spec *spec, const struct certs_pair *issuer)
{
    struct certs_pair *pair = NULL;
    struct sp_error err = {.text = ""};

    ck_assert_msg(certs_mint(spec, issuer, &pair, &err) == SP_OK, "%s", err.text);
    return pair;
}

static struct certs_pair *mint_ca(const char *dn)
{
    return mint(&(struct certs_spec){.dn = dn, .ca = true, .path_len = -1}, NULL);
}

struct certs_pair *ocsp_world_mint(const char *dn, const char *url)
{
    const struct certs_spec spec = {
        .dn = dn, .path_len = -1, .eku = CERTS_EKU_CLIENT, .ocsp_uri = url};

    return mint(&spec, ocsp_world.ca);
}

static struct sp_tls_trust *trust_of(const struct certs_pair *ca)
{
    char path[] = "/tmp/sallyport-test-XXXXXX";
    const char *paths[] = {path};
    int fd = mkstemp(path);
    char *pem = certs_pair_certificate_pem(ca);
    struct sp_tls_trust *trust = NULL;
    struct sp_error err = {.text = ""};

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, pem, strlen(pem)), (ssize_t)strlen(pem));
    close(fd);
    free(pem);
    ck_assert_msg(sp_tls_trust_load(paths, 1, false, &trust, &err) == SP_OK, "%s", err.text);
    unlink(path);
    return trust;
}

static struct gw_tenant *make_tenant(const char *id, struct gw_tenant_config *config)
{
    struct gw_client_validation *validation = &config->client_validation;
    struct gw_tenant *tenant = sp_calloc(1, sizeof *tenant);

    memset(config, 0, sizeof *config);
    config->refs = 1; /* ours: it is never freed */
    config->enabled = true;
    validation->ocsp =
        (struct gw_ocsp_settings){.mode = SP_OCSP_HARD, .timeout_ms = 60000, .max_age_s = 86400};
    tenant->config = config;
    tenant->id = id;
    tenant->path = "f";
    tenant->trust = trust_of(ocsp_world.ca);
    return tenant;
}

void ocsp_world_enter(void)
{
    static char url[] = OCSP_WORLD_URL;
    struct ocsp_world *w = &ocsp_world;

    w->now = sp_clock_wall_s();
    w->ca = mint_ca("CN=CA");
    w->other_ca = mint_ca("CN=Other");
    w->leaf = ocsp_world_mint("CN=leaf", NULL);
    w->leaf2 = ocsp_world_mint("CN=leaf 2", NULL);
    w->leaf_with_url = ocsp_world_mint("CN=leaf 3", OCSP_WORLD_URL);
    w->tenant = make_tenant("acme", &w->config);
    w->tenant2 = make_tenant("globex", &w->config2);
    w->config.client_validation.ocsp.responder = url;
}

void ocsp_world_leave(void)
{
    struct ocsp_world *w = &ocsp_world;

    ck_assert_uint_eq(w->config.refs, 1);
    ck_assert_uint_eq(w->config2.refs, 1);
    sp_tls_trust_unref(w->tenant->trust);
    sp_tls_trust_unref(w->tenant2->trust);
    free(w->tenant);
    free(w->tenant2);
    certs_pair_free(w->leaf);
    certs_pair_free(w->leaf2);
    certs_pair_free(w->leaf_with_url);
    certs_pair_free(w->ca);
    certs_pair_free(w->other_ca);
}

struct sp_bytes ocsp_world_say(const struct certs_pair *leaf, enum ocsp_said said, int64_t begin,
                               int64_t end)
{
    const int64_t now = sp_clock_wall_s();
    const struct ocsp_entry entry = {.cert = leaf,
                                     .issuer = ocsp_world.ca,
                                     .said = said,
                                     .revoked_at = now - 60,
                                     .this_update = now + begin,
                                     .next_update = end ? now + end : 0};
    const struct ocsp_spec spec = {
        .entries = &entry, .count = 1, .produced_at = now + begin, .signer = ocsp_world.ca};
    struct sp_bytes response;

    response.data = ocsp_make(&spec, &response.len);
    return response;
}
