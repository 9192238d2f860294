/*
 * ocsp_rows: a small PKI, and rows of a response, a question, and what must come of it: for the
 * tests of tls_ocsp_*. Header only.
 */
#ifndef SALLYPORT_TESTS_UNIT_OCSP_ROWS_H
#define SALLYPORT_TESTS_UNIT_OCSP_ROWS_H
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "certs/mint.h"
#include "common/clock.h"
#include "common/tls_ocsp.h"
#include "tests/support/ocsp_maker.h"

#define HOUR      INT64_C(3600)
#define DAY       INT64_C(86400)
#define NONE      (-1) /* of a time: really none, where 0 is the default */
#define CERTS_MAX 4

static int64_t now;
static struct certs_pair *ca, *twin, *other, *rsa, *ed, *small, *leaf, *leaf2, *rsa_leaf, *ed_leaf,
    *small_leaf;
static struct certs_pair *delegate, *elder, *nobody, *any, *client, *expired, *early, *foreign,
    *forged, *grandchild, *weak, *sha1, *in_time[2], *nameless;

static inline struct certs_pair *mint(const struct certs_spec *spec,
                                      const struct certs_pair *issuer)
{
    struct certs_pair *pair = NULL;

    ck_assert_int_eq(certs_mint(spec, issuer, &pair, NULL), SP_OK);
    return pair;
}

static inline struct certs_pair *mint_ca(const char *dn, enum certs_key key)
{
    return mint(&(struct certs_spec){.dn = dn, .ca = true, .path_len = -1, .key = key}, NULL);
}

static inline struct certs_pair *mint_for(unsigned eku, const struct certs_pair *issuer,
                                          enum certs_key key, int64_t begin, int64_t end)
{
    return mint(&(struct certs_spec){.dn = "CN=Responder",
                                     .path_len = -1,
                                     .key = key,
                                     .eku = eku,
                                     .not_before = begin,
                                     .not_after = end},
                issuer);
}

static inline void setup(void)
{
    const struct certs_spec leaf_spec = {.dn = "CN=leaf", .path_len = -1, .eku = CERTS_EKU_CLIENT};
    const struct certs_spec sha1_spec = {
        .dn = "CN=Responder", .path_len = -1, .eku = CERTS_EKU_OCSP_SIGNING, .sha1 = true};

    const struct certs_spec grandchild_spec = {
        .dn = "CN=Grandchild", .path_len = -1, .eku = CERTS_EKU_OCSP_SIGNING};

    now = sp_clock_wall_s();
    ca = mint_ca("CN=CA", CERTS_P256);
    twin = mint_ca("CN=CA", CERTS_P256);
    other = mint_ca("CN=Other", CERTS_P256);
    rsa = mint_ca("CN=RSA", CERTS_RSA2048);
    ed = mint_ca("CN=Ed", CERTS_ED25519);
    small = mint_ca("CN=Small", CERTS_RSA1024);
    leaf = mint(&leaf_spec, ca);
    leaf2 = mint(&leaf_spec, ca);
    rsa_leaf = mint(&leaf_spec, rsa);
    ed_leaf = mint(&leaf_spec, ed);
    small_leaf = mint(&leaf_spec, small);
    delegate = mint_for(CERTS_EKU_OCSP_SIGNING, ca, CERTS_P256, 0, 0);
    elder = mint_for(CERTS_EKU_OCSP_SIGNING, ca, CERTS_P256, 0, 0);
    nobody = mint_for(0, ca, CERTS_P256, 0, 0);
    any = mint_for(CERTS_EKU_ANY, ca, CERTS_P256, 0, 0);
    client = mint_for(CERTS_EKU_CLIENT | CERTS_EKU_SERVER, ca, CERTS_P256, 0, 0);
    expired = mint_for(CERTS_EKU_OCSP_SIGNING, ca, CERTS_P256, now - DAY, now - 1);
    early = mint_for(CERTS_EKU_OCSP_SIGNING, ca, CERTS_P256, now + 1, now + DAY);
    foreign = mint_for(CERTS_EKU_OCSP_SIGNING, other, CERTS_P256, 0, 0);
    forged = mint_for(CERTS_EKU_OCSP_SIGNING, twin, CERTS_P256, 0, 0);
    grandchild = mint(&grandchild_spec, delegate);
    weak = mint_for(CERTS_EKU_OCSP_SIGNING, ca, CERTS_RSA1024, 0, 0);
    sha1 = mint(&sha1_spec, ca);
    in_time[0] = mint_for(CERTS_EKU_OCSP_SIGNING, ca, CERTS_P256, now, now + DAY);
    in_time[1] = mint_for(CERTS_EKU_OCSP_SIGNING, ca, CERTS_P256, now - DAY, now);
    nameless = mint(&(struct certs_spec){.path_len = -1, .eku = CERTS_EKU_OCSP_SIGNING}, ca);
}

static inline void teardown(void)
{
    struct certs_pair *const all[] = {
        in_time[0], in_time[1], nameless, rsa_leaf, ed_leaf, small_leaf, ca,    twin,   other,
        rsa,        ed,         small,    leaf,     leaf2,   delegate,   elder, nobody, any,
        client,     expired,    early,    foreign,  forged,  grandchild, weak,  sha1};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        certs_pair_free(all[i]);
}

/* ---- rows: a response, a question, and what comes of it ---- */

struct row {
    const char *name;
    enum sp_ocsp_status status;
    const char *says;       /* how the detail begins */
    struct ocsp_spec spec;  /* signer: the CA; times: an hour ago */
    struct ocsp_entry e[3]; /* the leaf of the CA, from an hour ago to tomorrow; those that have a
                               certificate, and always the first unless its issuer is the leaf */
    const struct certs_pair *certs[CERTS_MAX];
    int64_t max_age;
    const char *nonce;
    const struct certs_pair *issuer, *leaf; /* NULL: the CA and its leaf */
};

static inline int64_t time_or(int64_t at, int64_t otherwise)
{
    return at == NONE ? 0 : at ? at : otherwise;
}

static inline uint8_t *make(const struct row *row, size_t *ret_len)
{
    struct ocsp_spec spec = row->spec;
    struct sp_bytes certs[CERTS_MAX];
    struct ocsp_entry e[3];

    memcpy(e, row->e, sizeof e);
    spec.entries = e;
    for (size_t i = 0; i < 3 && (!i || e[i].cert); i++) {
        if (e[i].issuer == leaf)
            break;
        e[i].cert = e[i].cert ? e[i].cert : row->leaf ? row->leaf : leaf;
        e[i].issuer = e[i].issuer ? e[i].issuer : row->issuer ? row->issuer : ca;
        e[i].this_update = time_or(e[i].this_update, now - HOUR);
        e[i].next_update = time_or(e[i].next_update, now + DAY);
        spec.count++;
    }
    for (size_t i = 0; i < CERTS_MAX && row->certs[i]; i++)
        certs[spec.cert_count++] = ocsp_der(row->certs[i]);
    if (spec.cert_count)
        spec.certs = certs;
    spec.produced_at = time_or(spec.produced_at, now - HOUR);
    spec.signer = spec.signer ? spec.signer : row->issuer ? row->issuer : ca;
    return ocsp_make(&spec, ret_len);
}

static inline void ask(const struct row *row, const uint8_t *der, size_t len,
                       struct sp_ocsp_answer *ret)
{
    uint8_t *exact = malloc(len ? len : 1); /* so that a sanitizer sees one read too many */
    const struct sp_bytes response = {exact, len};
    const struct sp_ocsp_query query = {.cert = ocsp_der(row->leaf ? row->leaf : leaf),
                                        .issuer = ocsp_der(row->issuer ? row->issuer : ca),
                                        .now = now,
                                        .max_age_s = row->max_age,
                                        .nonce = (const uint8_t *)row->nonce,
                                        .nonce_len = row->nonce ? strlen(row->nonce) : 0};

    ck_assert_ptr_nonnull(exact);
    memcpy(exact, der, len);
    sp_ocsp_examine(&response, &query, ret);
    free(exact);
}

static inline void check_rows(const struct row *rows, size_t count)
{
    struct sp_ocsp_answer a;

    for (size_t i = 0; i < count; i++) {
        size_t len;
        uint8_t *der = make(&rows[i], &len);
        const char *says = rows[i].says ? rows[i].says : "";

        ask(&rows[i], der, len, &a);
        free(der);
        ck_assert_msg(a.status == rows[i].status, "%s: status %d (%s)", rows[i].name, a.status,
                      a.detail);
        ck_assert_msg(!strncmp(a.detail, says, strlen(says)) && !*says == !*a.detail, "%s: '%s'",
                      rows[i].name, a.detail);
        ck_assert_ptr_nonnull(a.cause);
        ck_assert_msg(strlen(a.hash) == 71, "%s", a.hash);
        if (a.status == SP_OCSP_GOOD || a.status == SP_OCSP_REVOKED)
            ck_assert_msg(*a.responder && a.expires > now, "%s", rows[i].name);
    }
}

#define CHECK_ROWS(rows) check_rows(rows, sizeof(rows) / sizeof(rows)[0])
#define BAD              SP_OCSP_INVALID
#endif
