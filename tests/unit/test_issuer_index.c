/* Whose device is it: tenants found by a client's chain. */
#include <check.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "certs/mint.h"
#include "common/clock.h"
#include "common/tls_trust.h"
#include "gateway/issuer_index.h"
#include "gateway/tenant.h"
#include "tests/support/scene.h"

#define MANY  20000
#define DAY_S 86400

/* ---- a registry's tenants, without their files ---- */

static struct gw_tenant *tenants[MANY];
static size_t tenant_count;
static struct gw_issuer_index *all;

static void add_tenant(const char *id, struct sp_tls_trust *trust, const char *match)
{
    struct gw_tenant *tenant = sp_calloc(1, sizeof *tenant + strlen(id) + 1);
    struct gw_cert_match *to;

    ck_assert_uint_lt(tenant_count, MANY);
    tenant->config = sp_calloc(1, sizeof *tenant->config);
    tenant->path = "tenants.d/x.json";
    tenant->id = strcpy(tenant->text, id);
    tenant->trust = sp_tls_trust_ref(trust);
    to = &tenant->config->client_validation.match;
    if (match) {
        to->is_set = true;
        ck_assert_int_eq(
            sp_json_load_text("x", match, strlen(match), gw_cert_match_fields, to, NULL), SP_OK);
        ck_assert_int_eq(gw_cert_match_finish(to, "x", "$", NULL), SP_OK);
    }
    tenants[tenant_count++] = tenant;
}

static void remove_tenants(void)
{
    gw_issuer_index_unref(all);
    all = NULL;
    for (size_t i = 0; i < tenant_count; i++) {
        sp_json_done(gw_cert_match_fields, &tenants[i]->config->client_validation.match);
        sp_tls_trust_unref(tenants[i]->trust);
        free(tenants[i]->config);
        free(tenants[i]);
    }
    tenant_count = 0;
}

static struct certs_pair *mint(const struct certs_spec *spec, const struct certs_pair *issuer)
{
    struct sp_error err = {.text = ""};
    struct certs_pair *pair = NULL;

    ck_assert_msg(certs_mint(spec, issuer, &pair, &err) == SP_OK, "%s", err.text);
    return pair;
}

static struct certs_pair *mint_ca(const char *dn, const struct certs_pair *issuer)
{
    const struct certs_spec spec = {.dn = dn, .ca = true, .path_len = -1};

    return mint(&spec, issuer);
}

static struct certs_pair *mint_leaf(const char *dn, const char *dns,
                                    const struct certs_pair *issuer)
{
    const char *const names[] = {dns, NULL};
    const struct certs_spec spec = {
        .dn = dn, .dns = dns ? names : NULL, .eku = CERTS_EKU_CLIENT, .path_len = -1};

    return mint(&spec, issuer);
}

/* A set of the CAs that are given, up to NULL. */
static struct sp_tls_trust *trust_of(const struct certs_pair *first, ...)
{
    const char *paths[8];
    char names[8][16];
    struct sp_tls_trust *trust = NULL;
    struct sp_error err = {.text = ""};
    size_t count = 0;
    va_list pairs;

    va_start(pairs, first);
    for (const struct certs_pair *pair = first; pair; pair = va_arg(pairs, struct certs_pair *)) {
        char *pem = certs_pair_certificate_pem(pair);

        snprintf(names[count], sizeof names[count], "ca-%zu.pem", count);
        paths[count] = names[count];
        scene_write(names[count++], pem);
        free(pem);
    }
    va_end(pairs);
    ck_assert_msg(sp_tls_trust_load(paths, count, false, &trust, &err) == SP_OK, "%s", err.text);
    return trust;
}

static void put_cert(struct sp_chain *chain, const struct certs_pair *pair)
{
    struct sp_bytes *cert = &chain->certs[chain->count++];

    cert->data = certs_pair_der(pair, &cert->len);
}

/* Asks for the chain of the pairs given, up to NULL. */
static struct gw_finding find_at(int64_t now, const struct certs_pair *leaf, va_list more)
{
    struct sp_chain chain = {.count = 0};
    struct gw_finding finding;

    for (const struct certs_pair *pair = leaf; pair; pair = va_arg(more, struct certs_pair *))
        put_cert(&chain, pair);
    if (!all)
        all = gw_issuer_index_new(tenants, tenant_count);
    gw_issuer_index_find(all, tenants, &chain, now, &finding);
    return finding;
}

static struct gw_finding find(const struct certs_pair *leaf, ...)
{
    struct gw_finding finding;
    va_list more;

    va_start(more, leaf);
    finding = find_at(sp_clock_wall_s(), leaf, more);
    va_end(more);
    return finding;
}

/* ids: "" nobody, "a" one, "a b" several. */
static void check_found(const struct gw_finding *finding, const char *ids)
{
    static const enum gw_found kinds[] = {GW_FOUND_NONE, GW_FOUND_ONE, GW_FOUND_SEVERAL};
    char found[2 * GW_TENANT_ID_MAX + 2] = "";
    int count = !!finding->tenants[0] + !!finding->tenants[1];

    snprintf(found, sizeof found, "%s%s%s", count ? finding->tenants[0]->id : "",
             count > 1 ? " " : "", count > 1 ? finding->tenants[1]->id : "");
    ck_assert_msg(!strcmp(found, ids), "found \"%s\", not \"%s\": %s", found, ids, finding->detail);
    ck_assert_int_eq(finding->kind, kinds[count]);
    ck_assert(!finding->detail[0] == (count == 1));
}

/* ---- by the CA ---- */

START_TEST(a_client_belongs_to_the_tenant_whose_ca_vouches_for_it)
{
    struct certs_pair *a = mint_ca("CN=A", NULL), *b = mint_ca("CN=B", NULL),
                      *c = mint_ca("CN=C", NULL);
    struct sp_tls_trust *trust_a = trust_of(a, NULL), *trust_b = trust_of(b, NULL);
    struct certs_pair *of_a = mint_leaf("CN=x", NULL, a), *of_b = mint_leaf("CN=x", NULL, b),
                      *of_c = mint_leaf("CN=x", NULL, c);
    struct gw_finding finding;

    add_tenant("a", trust_a, NULL);
    add_tenant("b", trust_b, NULL);
    finding = find(of_a, NULL);
    check_found(&finding, "a");
    ck_assert_uint_eq(finding.examined, 1);
    finding = find(of_b, NULL);
    check_found(&finding, "b");
    finding = find(of_c, NULL);
    check_found(&finding, "");
    ck_assert_str_eq(finding.detail, "no tenant has a CA 'CN=C'");
    ck_assert_uint_eq(finding.examined, 0); /* strangers cost no signature */
    finding = find(of_c, a, b, NULL);       /* CAs that are only sent along do not help */
    check_found(&finding, "");
    finding = find(NULL);
    check_found(&finding, "");
    ck_assert_str_eq(finding.detail, "no certificate was presented");
    sp_tls_trust_unref(trust_a);
    sp_tls_trust_unref(trust_b);
    remove_tenants();
    certs_pair_free(of_a);
    certs_pair_free(of_b);
    certs_pair_free(of_c);
    certs_pair_free(a);
    certs_pair_free(b);
    certs_pair_free(c);
}
END_TEST

START_TEST(a_path_may_go_over_what_was_sent)
{
    struct certs_pair *root = mint_ca("CN=Root", NULL), *sub = mint_ca("CN=Sub", root),
                      *leaf = mint_leaf("CN=x", NULL, sub), *other = mint_ca("CN=Other", NULL);
    struct sp_tls_trust *trust_root = trust_of(root, NULL), *trust_sub = trust_of(sub, NULL);
    struct gw_finding finding;

    add_tenant("of-root", trust_root, NULL);
    finding = find(leaf, sub, NULL);
    check_found(&finding, "of-root");
    finding = find(leaf, other, sub, root, NULL); /* any order, strangers between */
    check_found(&finding, "of-root");
    finding = find(leaf, NULL); /* nothing leads to the root */
    check_found(&finding, "");
    gw_issuer_index_unref(all);
    all = NULL;
    add_tenant("of-sub", trust_sub, NULL);
    finding = find(leaf, NULL);
    check_found(&finding, "of-sub");
    finding = find(leaf, sub, NULL);
    check_found(&finding, "of-root of-sub");
    finding = find(sub, NULL); /* a trusted CA that comes itself */
    check_found(&finding, "of-root of-sub");
    finding = find(root, NULL);
    check_found(&finding, "of-root");
    sp_tls_trust_unref(trust_root);
    sp_tls_trust_unref(trust_sub);
    remove_tenants();
    certs_pair_free(leaf);
    certs_pair_free(sub);
    certs_pair_free(root);
    certs_pair_free(other);
}
END_TEST

START_TEST(what_a_policy_may_forgive_does_not_hide_the_owner)
{
    const int64_t now = sp_clock_wall_s();
    struct certs_pair *ca = mint_ca("CN=A", NULL);
    struct sp_tls_trust *trust = trust_of(ca, NULL);
    const struct certs_spec specs[] = {
        {.dn = "CN=x", .path_len = -1, .not_after = now - DAY_S},
        {.dn = "CN=x", .path_len = -1, .not_before = now + DAY_S},
        {.dn = "CN=x", .path_len = -1, .eku = CERTS_EKU_SERVER},
        {.dn = "CN=x", .path_len = -1, .key = CERTS_RSA1024},
        {.dn = "CN=x", .path_len = -1, .sha1 = true},
        {.raw_cn = "a\0b", .raw_cn_len = 3, .path_len = -1},
    };

    add_tenant("a", trust, NULL);
    tenants[0]->config->enabled = false; /* found too: tenant_disabled says more than unknown */
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        struct certs_pair *leaf = mint(&specs[i], ca);
        struct gw_finding finding = find(leaf, NULL);

        check_found(&finding, "a");
        certs_pair_free(leaf);
    }
    sp_tls_trust_unref(trust);
    remove_tenants();
    certs_pair_free(ca);
}
END_TEST

START_TEST(a_name_alone_is_worth_nothing)
{
    struct certs_pair *ca = mint_ca("CN=A", NULL), *liar = mint_ca("CN=A", NULL);
    struct sp_tls_trust *trust = trust_of(ca, NULL);
    struct certs_pair *of_liar = mint_leaf("CN=x", NULL, liar), *good = mint_leaf("CN=x", NULL, ca);
    struct sp_chain chain = {.count = 0};
    struct gw_finding finding;
    uint8_t forged[4096];

    add_tenant("a", trust, NULL);
    finding = find(of_liar, NULL);
    check_found(&finding, "");
    ck_assert_uint_eq(finding.examined, 0); /* another key identifier */
    finding = find(of_liar, liar, NULL);
    check_found(&finding, "");
    put_cert(&chain, good);
    memcpy(forged, chain.certs[0].data, chain.certs[0].len);
    forged[chain.certs[0].len - 1] ^= 1;
    chain.certs[0].data = forged;
    gw_issuer_index_find(all, tenants, &chain, sp_clock_wall_s(), &finding);
    check_found(&finding, "");
    ck_assert_uint_eq(finding.examined, 1);
    ck_assert_ptr_nonnull(strstr(finding.detail, "verify the chain"));
    chain.certs[0].len -= 100; /* no certificate at all */
    gw_issuer_index_find(all, tenants, &chain, sp_clock_wall_s(), &finding);
    check_found(&finding, "");
    sp_tls_trust_unref(trust);
    remove_tenants();
    certs_pair_free(of_liar);
    certs_pair_free(good);
    certs_pair_free(liar);
    certs_pair_free(ca);
}
END_TEST

START_TEST(a_chain_that_is_too_long_is_nobodys)
{
    struct certs_pair *ca = mint_ca("CN=A", NULL), *leaf = mint_leaf("CN=x", NULL, ca);
    struct sp_tls_trust *trust = trust_of(ca, NULL);
    struct gw_finding finding;

    add_tenant("a", trust, NULL);
    finding = find(leaf, ca, ca, ca, ca, ca, ca, ca, ca, ca, NULL);
    check_found(&finding, "a");
    finding = find(leaf, ca, ca, ca, ca, ca, ca, ca, ca, ca, ca, NULL);
    check_found(&finding, "");
    ck_assert_uint_eq(finding.examined, 0);
    sp_tls_trust_unref(trust);
    remove_tenants();
    certs_pair_free(leaf);
    certs_pair_free(ca);
}
END_TEST

/* ---- by the match ---- */

START_TEST(tenants_of_one_ca_are_told_apart_by_their_match)
{
    struct certs_pair *ca = mint_ca("CN=A", NULL);
    struct sp_tls_trust *trust = trust_of(ca, NULL);
    static const struct {
        const char *dn, *dns, *ids;
    } cases[] = {
        {"CN=x,O=One", NULL, "one"},
        {"CN=x,O=Two", NULL, ""},
        {"CN=x,O=Two", "dev.c2.example", "two"},
        {"CN=x,O=Two", "dev.c3.example", "three"},
        {"CN=x", "dev.c3.example", "three"},
        {"CN=x,O=One", "dev.c3.example", "one three"},
        {"CN=x", "dev.c4.example", "four"},
        {"CN=x", "c4.c4.c4.example", "four"}, /* met thrice, and one all the same */
        {"CN=x\\,O=One", NULL, ""},           /* all of it is the common name */
        {"CN=x", NULL, ""},
        {"CN=lab", NULL, "five six"}, /* of three */
        {"CN=lab,O=One", NULL, "five one"},
        {"CN=x", "a.c8.example", "eight"}, /* found by the same letters, of which both have more */
        {"CN=x", "ab.c8.example", "nine"},
        {"CN=x", "abc.c8.example", "ten"},
        {"CN=x", "abcd.c8.example", ""},
    };

    add_tenant("five", trust, "{\"subject\": \"CN=lab*\"}");
    add_tenant("four", trust, "{\"san_dns\": \"*c4*\"}");
    add_tenant("one", trust, "{\"subject\": \"*,O=One\"}");
    add_tenant("six", trust, "{\"subject\": \"CN=lab\"}");
    add_tenant("seven", trust, "{\"subject\": \"*lab\"}");
    add_tenant("three", trust, "{\"san_dns\": [\"*.c3.example\", \"*.c3.test\"]}");
    add_tenant("two", trust, "{\"subject\": \"*,O=Two\", \"san_dns\": \"*.c2.example\"}");
    add_tenant("eight", trust, "{\"san_dns\": \"?.c8.example\"}");
    add_tenant("nine", trust, "{\"san_dns\": \"??.c8.example\"}");
    add_tenant("ten", trust, "{\"san_dns\": \"???.c8.example\"}");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct certs_pair *leaf = mint_leaf(cases[i].dn, cases[i].dns, ca);
        struct gw_finding finding = find(leaf, NULL);

        check_found(&finding, cases[i].ids);
        if (!cases[i].ids[0])
            ck_assert_ptr_nonnull(strstr(finding.detail, "client_validation.match does not fit"));
        ck_assert_uint_le(finding.examined, 1);
        certs_pair_free(leaf);
    }
    sp_tls_trust_unref(trust);
    remove_tenants();
    certs_pair_free(ca);
}
END_TEST

START_TEST(tenants_without_a_match_are_ambiguous_and_two_are_named)
{
    struct certs_pair *ca = mint_ca("CN=A", NULL), *leaf = mint_leaf("CN=x,O=One", NULL, ca);
    struct sp_tls_trust *trust = trust_of(ca, NULL);
    struct gw_finding finding;
    char id[16];

    add_tenant("a", trust, "{\"subject\": \"*,O=One\"}");
    for (int i = 0; i < 1000; i++) {
        snprintf(id, sizeof id, "t%04d", i);
        add_tenant(id, trust, NULL);
    }
    finding = find(leaf, NULL);
    check_found(&finding, "a t0000");
    ck_assert_str_eq(finding.detail, "tenants a and t0000 trust its CA, and it fits both");
    ck_assert_uint_le(finding.tried, 4);
    ck_assert_uint_eq(finding.examined, 1);
    sp_tls_trust_unref(trust);
    remove_tenants();
    certs_pair_free(leaf);
    certs_pair_free(ca);
}
END_TEST

/* ---- many ---- */

/* Every second one by its subject, the others by a name, all under one more pattern that tells
 * nothing. */
static void add_many(struct sp_tls_trust *const *trusts, size_t trust_count, int count)
{
    char id[16], match[160];

    for (int i = 0; i < count; i++) {
        snprintf(id, sizeof id, "t%05d", i);
        if (i % 2)
            snprintf(match, sizeof match,
                     "{\"subject\": \"*,O=Tenant %d\", \"issuer\": \"CN=CA *\"}", i);
        else
            snprintf(match, sizeof match,
                     "{\"san_dns\": [\"*.c%d.example\", \"*.c%d.test\"], \"subject\": \"CN=*\"}", i,
                     i);
        add_tenant(id, trusts[(size_t)i % trust_count], match);
    }
}

START_TEST(twenty_thousand_tenants_are_searched_like_ten)
{
    struct certs_pair *cas[10];
    struct sp_tls_trust *trusts[10];
    int count = _i ? MANY : 10;

    for (int i = 0; i < 10; i++) {
        char dn[16];

        snprintf(dn, sizeof dn, "CN=CA %d", i);
        cas[i] = mint_ca(dn, NULL);
        trusts[i] = trust_of(cas[i], NULL);
    }
    add_many(trusts, _i == 2 ? 1 : 10, count); /* 2: all of one CA */
    for (int k = 0; k < 12; k++) {
        int i = (int)((unsigned)k * 7919u % (unsigned)count);
        char dn[32], dns[32];
        struct certs_pair *leaf;
        struct gw_finding finding;

        snprintf(dn, sizeof dn, "CN=x,O=Tenant %d", i % 2 ? i : -1);
        snprintf(dns, sizeof dns, "d.c%d.%s", i % 2 ? -1 : i, k % 3 ? "example" : "test");
        leaf = mint_leaf(dn, dns, cas[_i == 2 ? 0 : i % 10]);
        finding = find(leaf, NULL);
        check_found(&finding, tenants[i]->id);
        ck_assert_uint_eq(finding.tried, 1);
        ck_assert_uint_eq(finding.examined, 1);
        certs_pair_free(leaf);
    }
    remove_tenants();
    for (int i = 0; i < 10; i++) {
        sp_tls_trust_unref(trusts[i]);
        certs_pair_free(cas[i]);
    }
}
END_TEST

/* Each tenant trusts a CA of its own and one that all have: as many sets as tenants. */
START_TEST(tenants_with_a_ca_in_common_and_one_of_their_own_are_found_under_both)
{
    enum { SETS = 300 };
    struct certs_pair *corp = mint_ca("CN=Corporate", NULL), *own[SETS], *leaf;
    struct gw_finding finding;
    char id[16], dn[32], match[64];

    for (int i = 0; i < SETS; i++) {
        struct sp_tls_trust *trust;

        own[i] = mint_ca("CN=Issuing CA", NULL); /* they all have this name */
        trust = trust_of(own[i], corp, NULL);
        snprintf(id, sizeof id, "t%03d", i);
        snprintf(match, sizeof match, "{\"subject\": \"*,O=Tenant %d\"}", i);
        add_tenant(id, trust, match);
        sp_tls_trust_unref(trust);
    }
    for (int i = 0; i < SETS; i += 7) {
        snprintf(dn, sizeof dn, "CN=x,O=Tenant %d", i);
        leaf = mint_leaf(dn, NULL, own[i]);
        finding = find(leaf, NULL);
        check_found(&finding, tenants[i]->id);
        ck_assert_uint_eq(finding.tried, 1);
        ck_assert_uint_eq(finding.examined, 1);
        certs_pair_free(leaf);
    }
    leaf = mint_leaf("CN=x,O=Tenant 299", NULL, corp);
    finding = find(leaf, NULL);
    check_found(&finding, "t299");
    ck_assert_uint_eq(finding.tried, 1);
    ck_assert_uint_eq(finding.examined, 1);
    gw_issuer_index_unref(all);
    all = NULL;
    for (int i = 0; i < 3; i++) {
        struct sp_tls_trust *trust = trust_of(own[i], own[i + 1], corp, NULL);

        add_tenant(i == 0 ? "x" : i == 1 ? "y" : "z", trust, NULL);
        sp_tls_trust_unref(trust);
    }
    finding = find(leaf, NULL);
    check_found(&finding, "t299 x");
    ck_assert_uint_le(finding.examined, 3);
    certs_pair_free(leaf);
    remove_tenants();
    for (int i = 0; i < SETS; i++)
        certs_pair_free(own[i]);
    certs_pair_free(corp);
}
END_TEST

START_TEST(of_many_sets_too_the_first_two_tenants_are_named)
{
    enum { SETS = 10 };
    struct certs_pair *corp = mint_ca("CN=Corporate", NULL), *own, *leaf;
    struct sp_tls_trust *trust, *first = NULL;
    struct gw_finding finding;
    char id[16];

    for (int i = 0; i < SETS; i++) {
        own = mint_ca("CN=Own", NULL);
        trust = trust_of(own, corp, NULL);
        snprintf(id, sizeof id, "t%d", i);
        add_tenant(id, trust, NULL);
        if (i == 0)
            first = sp_tls_trust_ref(trust);
        sp_tls_trust_unref(trust);
        certs_pair_free(own);
    }
    add_tenant("x", first, NULL); /* together with t0, but far behind it */
    add_tenant("y", first, NULL);
    leaf = mint_leaf("CN=x", NULL, corp);
    finding = find(leaf, NULL);
    check_found(&finding, "t0 t1");
    sp_tls_trust_unref(first);
    certs_pair_free(leaf);
    certs_pair_free(corp);
    remove_tenants();
}
END_TEST

/* ---- CAs that pretend ---- */

static gnutls_x509_privkey_t new_key(void)
{
    gnutls_x509_privkey_t key;

    ck_assert_int_eq(gnutls_x509_privkey_init(&key), 0);
    ck_assert_int_eq(gnutls_x509_privkey_generate(
                         key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0),
                     0);
    return key;
}

/* A CA that has somebody's name and, unless NULL, his key identifier, but a key of its own. */
static struct sp_tls_trust *trust_in_impostor(const char *dn, const char *key_id)
{
    static const char path[] = "impostor.pem";
    const char *const paths[] = {path};
    gnutls_x509_privkey_t key = new_key();
    struct sp_tls_trust *trust;
    gnutls_x509_crt_t crt;
    gnutls_datum_t pem;

    ck_assert_int_eq(gnutls_x509_crt_init(&crt), 0);
    ck_assert_int_eq(gnutls_x509_crt_set_version(crt, 3), 0);
    ck_assert_int_eq(gnutls_x509_crt_set_serial(crt, "\1", 1), 0);
    ck_assert_int_eq(gnutls_x509_crt_set_dn(crt, dn, NULL), 0);
    ck_assert_int_eq(gnutls_x509_crt_set_key(crt, key), 0);
    ck_assert_int_eq(gnutls_x509_crt_set_basic_constraints(crt, 1, -1), 0);
    ck_assert_int_eq(gnutls_x509_crt_set_activation_time(crt, 0), 0);
    ck_assert_int_eq(gnutls_x509_crt_set_expiration_time(crt, 4000000000), 0);
    if (key_id)
        ck_assert_int_eq(gnutls_x509_crt_set_subject_key_id(crt, key_id, 20), 0);
    ck_assert_int_eq(gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0), 0);
    ck_assert_int_eq(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem), 0);
    scene_write(path, (const char *)pem.data);
    ck_assert_int_eq(sp_tls_trust_load(paths, 1, false, &trust, NULL), SP_OK);
    gnutls_free(pem.data);
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_privkey_deinit(key);
    return trust;
}

static void key_id_of(const struct certs_pair *pair, char id[20])
{
    gnutls_x509_crt_t crt;
    gnutls_datum_t der;
    size_t len, id_len = 20;
    const uint8_t *bytes = certs_pair_der(pair, &len);

    der.data = malloc(len);
    der.size = (unsigned)len;
    memcpy(der.data, bytes, len);
    ck_assert_int_eq(gnutls_x509_crt_init(&crt), 0);
    ck_assert_int_eq(gnutls_x509_crt_import(crt, &der, GNUTLS_X509_FMT_DER), 0);
    ck_assert_int_eq(gnutls_x509_crt_get_subject_key_id(crt, id, &id_len, NULL), 0);
    ck_assert_uint_eq(id_len, 20);
    gnutls_x509_crt_deinit(crt);
    free(der.data);
}

static void add_impostors(int count, const char *key_id, const char *match)
{
    char id[16];

    for (int i = 0; i < count; i++) {
        struct sp_tls_trust *trust = trust_in_impostor("CN=A", key_id);

        snprintf(id, sizeof id, "i%03d", i);
        add_tenant(id, trust, match);
        sp_tls_trust_unref(trust);
    }
}

/* Signed by the CA, but without a word on its key. */
static void sign_without_key_id(const struct certs_pair *ca, gnutls_datum_t *ret_der)
{
    char *ca_pem = certs_pair_certificate_pem(ca), *key_pem = certs_pair_key_pem(ca);
    const gnutls_datum_t ca_text = {(unsigned char *)ca_pem, (unsigned)strlen(ca_pem)};
    const gnutls_datum_t key_text = {(unsigned char *)key_pem, (unsigned)strlen(key_pem)};
    gnutls_x509_privkey_t key, own_key = new_key();
    gnutls_x509_crt_t crt, ca_crt;

    ck_assert_int_eq(gnutls_x509_crt_init(&ca_crt), 0);
    ck_assert_int_eq(gnutls_x509_crt_import(ca_crt, &ca_text, GNUTLS_X509_FMT_PEM), 0);
    ck_assert_int_eq(gnutls_x509_privkey_init(&key), 0);
    ck_assert_int_eq(
        gnutls_x509_privkey_import2(key, &key_text, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN),
        0);
    ck_assert_int_eq(gnutls_x509_crt_init(&crt), 0);
    ck_assert_int_eq(gnutls_x509_crt_set_version(crt, 3), 0);
    ck_assert_int_eq(gnutls_x509_crt_set_serial(crt, "\1", 1), 0);
    ck_assert_int_eq(gnutls_x509_crt_set_dn(crt, "CN=x", NULL), 0);
    ck_assert_int_eq(gnutls_x509_crt_set_key(crt, own_key), 0);
    ck_assert_int_eq(gnutls_x509_crt_set_activation_time(crt, 0), 0);
    ck_assert_int_eq(gnutls_x509_crt_set_expiration_time(crt, 4000000000), 0);
    ck_assert_int_eq(gnutls_x509_crt_sign2(crt, ca_crt, key, GNUTLS_DIG_SHA256, 0), 0);
    ck_assert_int_eq(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_DER, ret_der), 0);
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_crt_deinit(ca_crt);
    gnutls_x509_privkey_deinit(key);
    gnutls_x509_privkey_deinit(own_key);
    certs_secret_free(key_pem);
    free(ca_pem);
}

/* Such a leaf may be of any CA of that name: the match tells, or the signatures of a few. */
START_TEST(without_a_key_identifier_all_cas_of_the_name_are_asked)
{
    enum { CAS = 100 };
    static const char *const ids[] = {"t099", ""};
    struct certs_pair *ca = NULL;
    struct sp_chain chain = {.count = 1};
    struct gw_finding finding;
    gnutls_datum_t der;
    char id[16], match[48];

    for (int i = 0; i < CAS; i++) {
        struct sp_tls_trust *trust;

        certs_pair_free(ca);
        ca = mint_ca("CN=A", NULL);
        trust = trust_of(ca, NULL);
        snprintf(id, sizeof id, "t%03d", i);
        snprintf(match, sizeof match, "{\"subject\": \"CN=%s\"}", i == CAS - 1 || _i ? "x" : id);
        add_tenant(id, trust, match);
        sp_tls_trust_unref(trust);
    }
    sign_without_key_id(ca, &der);
    chain.certs[0] = (struct sp_bytes){der.data, der.size};
    all = gw_issuer_index_new(tenants, tenant_count);
    gw_issuer_index_find(all, tenants, &chain, sp_clock_wall_s(), &finding);
    check_found(&finding, ids[_i]);
    ck_assert_uint_eq(finding.examined, _i ? GW_ISSUER_INDEX_MISSES + 1 : 1);
    gnutls_free(der.data);
    certs_pair_free(ca);
    remove_tenants();
}
END_TEST

/* how many impostors, with the key identifier, with a match that does not fit; found or not */
static const struct {
    int count;
    bool same_key_id, other_match;
    const char *ids;
} impostors[] = {
    {GW_ISSUER_INDEX_MISSES, true, false, "true"},
    {GW_ISSUER_INDEX_MISSES + 1, true, false, ""},
    {100, true, false, ""},
    {100, true, true, "true"},
    {GW_ISSUER_INDEX_MISSES, false, false, "true"}, /* without one: may be anybody */
    {GW_ISSUER_INDEX_MISSES + 1, false, false, ""},
    {100, false, true, "true"},
};

START_TEST(impostors_of_a_name_cost_a_bounded_search_and_let_nobody_in)
{
    struct certs_pair *ca = mint_ca("CN=A", NULL), *leaf = mint_leaf("CN=x,O=One", NULL, ca);
    struct sp_tls_trust *trust = trust_of(ca, NULL);
    struct gw_finding finding;
    char key_id[20];

    key_id_of(ca, key_id);
    add_impostors(impostors[_i].count, impostors[_i].same_key_id ? key_id : NULL,
                  impostors[_i].other_match ? "{\"subject\": \"*,O=Two\"}" : NULL);
    add_tenant("true", trust, "{\"subject\": \"*,O=One\"}");
    finding = find(leaf, NULL);
    check_found(&finding, impostors[_i].ids);
    ck_assert_uint_le(finding.examined, GW_ISSUER_INDEX_MISSES + 1);
    if (!impostors[_i].ids[0])
        ck_assert_str_eq(finding.detail, "the search for its tenant was given up: too many tenants "
                                         "have a CA of that name, with other keys");
    sp_tls_trust_unref(trust);
    remove_tenants();
    certs_pair_free(leaf);
    certs_pair_free(ca);
}
END_TEST

/* The order is such that the true one is found first: a stop afterwards may hide another one. */
START_TEST(one_that_was_found_before_the_search_was_given_up_is_not_let_in)
{
    struct certs_pair *ca = mint_ca("CN=A", NULL), *leaf = mint_leaf("CN=x", NULL, ca);
    struct sp_tls_trust *trust = trust_of(ca, NULL);
    struct gw_finding finding;
    char key_id[20];

    key_id_of(ca, key_id);
    add_tenant("a", trust, NULL);
    add_impostors(GW_ISSUER_INDEX_MISSES + 1, key_id, NULL);
    finding = find(leaf, NULL);
    check_found(&finding, "");
    gw_issuer_index_unref(all);
    all = NULL;
    add_tenant("b", trust, NULL); /* and one too many is as well known as it ever was */
    finding = find(leaf, NULL);
    ck_assert_int_ne(finding.kind, GW_FOUND_ONE);
    sp_tls_trust_unref(trust);
    remove_tenants();
    certs_pair_free(leaf);
    certs_pair_free(ca);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("issuer_index");
    TCase *tcase = tcase_create("issuer_index");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 60);
    tcase_add_unchecked_fixture(tcase, scene_enter, scene_leave);
    tcase_add_test(tcase, a_client_belongs_to_the_tenant_whose_ca_vouches_for_it);
    tcase_add_test(tcase, a_path_may_go_over_what_was_sent);
    tcase_add_test(tcase, what_a_policy_may_forgive_does_not_hide_the_owner);
    tcase_add_test(tcase, a_name_alone_is_worth_nothing);
    tcase_add_test(tcase, a_chain_that_is_too_long_is_nobodys);
    tcase_add_test(tcase, tenants_of_one_ca_are_told_apart_by_their_match);
    tcase_add_test(tcase, tenants_without_a_match_are_ambiguous_and_two_are_named);
    tcase_add_loop_test(tcase, twenty_thousand_tenants_are_searched_like_ten, 0, 3);
    tcase_add_test(tcase, tenants_with_a_ca_in_common_and_one_of_their_own_are_found_under_both);
    tcase_add_test(tcase, of_many_sets_too_the_first_two_tenants_are_named);
    tcase_add_loop_test(tcase, impostors_of_a_name_cost_a_bounded_search_and_let_nobody_in, 0,
                        (int)(sizeof impostors / sizeof impostors[0]));

    tcase_add_loop_test(tcase, without_a_key_identifier_all_cas_of_the_name_are_asked, 0, 2);
    tcase_add_test(tcase, one_that_was_found_before_the_search_was_given_up_is_not_let_in);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
