/* The gateway's loaded state: who owns a name, what tenants share, what a reload keeps. */
#include <check.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "certs/mint.h"
#include "common/clock.h"
#include "common/tls_cred.h"
#include "gateway/config.h"
#include "gateway/registry.h"
#include "tests/support/scene.h"

static const uint8_t master[GW_TICKET_MASTER_LEN] = {1, 2, 3};

#define OWN_CERT ", \"certificate\": \"../tenant.pem\", \"private_key\": \"../tenant.key\""

static struct gw_registry *load_after(struct gw_registry *previous)
{
    struct gw_registry *registry = NULL;
    struct sp_error err = {.text = ""};
    char message[1024];

    ck_assert_msg(gw_registry_load("gateway.json", master, previous, &registry, &err) == SP_OK,
                  "%s", sp_error_message(&err, message, sizeof message));
    return registry;
}

static struct gw_registry *load(void)
{
    return load_after(NULL);
}

static struct gw_tenant *tenant_of(const struct gw_registry *registry, const char *id)
{
    struct gw_tenant *tenant = gw_registry_tenant(registry, id);

    ck_assert_msg(tenant != NULL, "no tenant %s", id);
    return tenant;
}

/* ---- names ---- */

static const struct {
    const char *name;
    enum gw_match_kind kind;
    const char *id;
} look_ups[] = {
    {"c1.example", GW_MATCH_TENANT, "own"},
    {"a.w1.example", GW_MATCH_TENANT, "own"},
    {"exact.w1.example", GW_MATCH_TENANT, "exact"},
    {"a.b.w1.example", GW_MATCH_NONE, NULL},
    {"w1.example", GW_MATCH_NONE, NULL},
    {"*.w1.example", GW_MATCH_NONE, NULL},
    {"*", GW_MATCH_NONE, NULL},
    {".w1.example", GW_MATCH_NONE, NULL},
    {"", GW_MATCH_NONE, NULL},
    {"c1", GW_MATCH_NONE, NULL},
    {"c2.example", GW_MATCH_NONE, NULL},
    {"xc1.example", GW_MATCH_NONE, NULL},
    {"c1.example.evil", GW_MATCH_NONE, NULL},
    {"c3.secure.example.net", GW_MATCH_TENANT, "plain"},
    {"off.secure.example.net", GW_MATCH_TENANT, "off"},
    {"secure.example.net", GW_MATCH_COMMON, NULL},
    {"c4.secure.example.net", GW_MATCH_NONE, NULL},
    {NULL, GW_MATCH_NONE, NULL},
};

/* Which certificate is: a tenant's own one, or the common one? */
static void check_shown(const struct gw_registry *registry, const struct gw_match *match, bool own)
{
    struct sp_tls_cred *cred = NULL;

    ck_assert_int_eq(gw_registry_take_cred(registry, match, &cred, NULL), SP_OK);
    ck_assert(own == (cred != registry->common_cred));
    ck_assert(!own || sp_tls_cred_covers(cred, "c1.example"));
    sp_tls_cred_unref(cred);
}

static void write_names(const char *more)
{
    scene_clear();
    scene_write_gateway("common", more);
    scene_write_tenant("own", "\"c1.example\", \"*.w1.example\"", OWN_CERT);
    scene_write_tenant("exact", "\"exact.w1.example\"", OWN_CERT);
    scene_write_tenant("plain", "\"C3.Secure.Example.net.\"", "");
    scene_write_tenant("off", "\"off.secure.example.net\"", ", \"enabled\": false");
}

START_TEST(a_name_finds_its_owner_exactly_or_by_one_label)
{
    struct gw_registry *registry;
    struct gw_match match;

    write_names("");
    registry = load();
    match = gw_registry_find(registry, look_ups[_i].name);
    ck_assert_int_eq(match.kind, look_ups[_i].kind);
    ck_assert(!match.tenant == !look_ups[_i].id);
    if (match.tenant)
        ck_assert_str_eq(match.tenant->id, look_ups[_i].id);
    if (match.tenant)
        check_shown(registry, &match, match.tenant->own != NULL);
    if (match.kind == GW_MATCH_COMMON)
        check_shown(registry, &match, false);
    gw_registry_unref(registry);
}
END_TEST

START_TEST(unknown_names_are_common_ones_where_the_configuration_says_so)
{
    struct gw_registry *registry;
    struct gw_match match;

    write_names(", \"unknown_server_name\": \"common\"");
    registry = load();
    match = gw_registry_find(registry, look_ups[_i].name);
    if (look_ups[_i].kind == GW_MATCH_TENANT)
        ck_assert_str_eq(match.tenant->id, look_ups[_i].id);
    else
        ck_assert_int_eq(match.kind, GW_MATCH_COMMON);
    check_shown(registry, &match, match.tenant && match.tenant->own);
    gw_registry_unref(registry);
}
END_TEST

START_TEST(a_name_longer_than_any_is_nobodys)
{
    char name[400];
    struct gw_registry *registry;

    write_names("");
    registry = load();
    memset(name, 'a', sizeof name);
    memcpy(name + sizeof name - sizeof ".w1.example", ".w1.example", sizeof ".w1.example");
    ck_assert_int_eq(gw_registry_find(registry, name).kind, GW_MATCH_NONE);
    gw_registry_unref(registry);
}
END_TEST

START_TEST(a_thousand_tenants_are_found_each_by_its_name)
{
    struct gw_registry *registry;
    char id[32], name[64];
    int i;

    scene_clear();
    scene_write_gateway("common", "");
    for (i = 0; i < 1000; i++) {
        snprintf(id, sizeof id, "t%d", i);
        snprintf(name, sizeof name, "\"t%d.secure.example.net\"", i);
        scene_write_tenant(id, name, "");
    }
    registry = load();
    ck_assert_uint_eq(registry->tenant_count, 1000);
    for (i = 0; i < 1000; i++) {
        snprintf(id, sizeof id, "t%d", i);
        snprintf(name, sizeof name, "t%d.secure.example.net", i);
        ck_assert_str_eq(gw_registry_find(registry, name).tenant->id, id);
        ck_assert_ptr_eq(tenant_of(registry, id)->trust, registry->tenants[0]->trust);
    }
    gw_registry_unref(registry);
}
END_TEST

START_TEST(only_json_files_without_a_dot_in_front_are_tenants)
{
    struct gw_registry *registry;

    scene_clear();
    scene_write_gateway("common", "");
    scene_write_tenant("a", "\"a.secure.example.net\"", "");
    scene_write("tenants.d/README", "not JSON");
    scene_write("tenants.d/b.json.bak", "not JSON");
    scene_write("tenants.d/json", "not JSON");
    scene_write("tenants.d/.c.json", "not JSON");
    registry = load();
    ck_assert_uint_eq(registry->tenant_count, 1);
    ck_assert_str_eq(registry->tenants[0]->id, "a");
    ck_assert_ptr_null(gw_registry_tenant(registry, "b"));
    gw_registry_unref(registry);
}
END_TEST

/* ---- what is shared ---- */

START_TEST(tenants_without_a_certificate_show_the_common_one)
{
    struct gw_registry *registry;

    write_names("");
    registry = load();
    ck_assert_ptr_null(tenant_of(registry, "plain")->own);
    ck_assert_ptr_nonnull(tenant_of(registry, "own")->own);
    ck_assert_ptr_eq(tenant_of(registry, "own")->own, tenant_of(registry, "exact")->own);
    gw_registry_unref(registry);
}
END_TEST

START_TEST(equal_ca_sets_are_one_object_and_others_are_not)
{
    struct gw_registry *registry;

    scene_clear();
    scene_write_gateway("common", "");
    scene_write_tenant("a", "\"a.secure.example.net\"", "");
    scene_write("tenants.d/b.json",
                "{ \"server_names\": [\"b.secure.example.net\"],"
                "  \"client_validation\": { \"trusted_cas\": [\"../client-ca-copy.pem\"] } }");
    scene_write("tenants.d/c.json",
                "{ \"server_names\": [\"c.secure.example.net\"],"
                "  \"client_validation\": { \"trusted_cas\": [\"../other-ca.pem\"] } }");
    scene_write("tenants.d/d.json", "{ \"server_names\": [\"d.secure.example.net\"],"
                                    "  \"client_validation\": { \"trusted_cas\":"
                                    "    [\"../client-ca.pem\", \"../other-ca.pem\"] } }");
    registry = load();
    ck_assert_ptr_eq(tenant_of(registry, "a")->trust, tenant_of(registry, "b")->trust);
    ck_assert_ptr_ne(tenant_of(registry, "a")->trust, tenant_of(registry, "c")->trust);
    ck_assert_ptr_ne(tenant_of(registry, "a")->trust, tenant_of(registry, "d")->trust);
    ck_assert_ptr_ne(tenant_of(registry, "c")->trust, tenant_of(registry, "d")->trust);
    gw_registry_unref(registry);
}
END_TEST

/* ---- by the client's chain ---- */

/* What client.pem is found to be; the id, or "" for nobody, or both of two. */
static const char *owner_of_client(const struct gw_registry *registry)
{
    static char ids[2 * GW_TENANT_ID_MAX + 2];
    char *pem = scene_read("client.pem");
    const gnutls_datum_t text = {(unsigned char *)pem, (unsigned)strlen(pem)};
    struct sp_chain chain = {.count = 1};
    struct gw_finding finding;
    gnutls_datum_t der;

    ck_assert_int_eq(gnutls_pem_base64_decode2("CERTIFICATE", &text, &der), 0);
    chain.certs[0] = (struct sp_bytes){der.data, der.size};
    gw_registry_find_by_chain(registry, &chain, sp_clock_wall_s(), &finding);
    snprintf(ids, sizeof ids, "%s%s%s", finding.tenants[0] ? finding.tenants[0]->id : "",
             finding.tenants[1] ? " " : "", finding.tenants[1] ? finding.tenants[1]->id : "");
    gnutls_free(der.data);
    free(pem);
    return ids;
}

static void write_matching(const char *id, const char *ca, const char *match)
{
    char path[64], text[512];

    snprintf(path, sizeof path, "tenants.d/%s.json", id);
    snprintf(text, sizeof text,
             "{ \"server_names\": [\"%s.secure.example.net\"], \"client_validation\":"
             "  { \"trusted_cas\": [\"../%s.pem\"] %s } }",
             id, ca, match);
    scene_write(path, text);
}

START_TEST(a_client_is_found_by_its_ca_and_names)
{
    struct gw_registry *registry, *next;

    scene_clear();
    scene_write_gateway("common", "");
    write_matching("a", "client-ca", ", \"match\": {\"subject\": \"CN=cl*\"}");
    write_matching("b", "client-ca-copy", ", \"match\": {\"subject\": [\"CN=other\", \"*,O=X\"]}");
    write_matching("c", "other-ca", "");
    registry = load();
    ck_assert_str_eq(owner_of_client(registry), "a");
    write_matching("b", "client-ca-copy", ", \"match\": {\"issuer\": \"CN=Client CA\"}");
    next = load_after(registry);
    ck_assert_str_eq(owner_of_client(next), "a b");
    gw_registry_unref(next);
    ck_assert_str_eq(owner_of_client(registry), "a"); /* as before */
    scene_remove("tenants.d/a.json");
    next = load_after(registry);
    ck_assert_str_eq(owner_of_client(next), "b");
    ck_assert_ptr_eq(gw_registry_tenant(next, "b"), next->tenants[0]);
    gw_registry_unref(registry);
    gw_registry_unref(next);
}
END_TEST

static void write_crl(const struct certs_pair *ca, const struct certs_pair *revoked)
{
    char *pem = certs_mint_crl_pem(ca, &revoked, revoked != NULL, 0, 0);

    scene_write("list.crl", pem);
    free(pem);
}

START_TEST(a_changed_crl_leaves_clients_with_their_tenants)
{
    const struct certs_spec ca_spec = {.dn = "CN=CA", .ca = true, .path_len = -1};
    const struct certs_spec spec = {.dn = "CN=x", .path_len = -1};
    struct sp_warnings failures = {.items = NULL};
    struct sp_chain chain = {.count = 1};
    struct gw_registry *registry, *next;
    struct certs_pair *ca, *leaf;
    struct gw_finding finding;
    char *pem;

    ck_assert_int_eq(certs_mint(&ca_spec, NULL, &ca, NULL), SP_OK);
    ck_assert_int_eq(certs_mint(&spec, ca, &leaf, NULL), SP_OK);
    chain.certs[0].data = certs_pair_der(leaf, &chain.certs[0].len);
    pem = certs_pair_certificate_pem(ca);
    scene_clear();
    scene_write_gateway("common", "");
    scene_write("minted.pem", pem);
    write_crl(ca, NULL);
    write_matching("a", "client-ca", "");
    write_matching("b", "minted", ", \"crls\": [\"../list.crl\"]");
    registry = load();
    write_crl(ca, leaf);
    next = gw_registry_reload_crls(registry, NULL, &failures);
    ck_assert_ptr_nonnull(next);
    gw_registry_unref(registry); /* the next one lives on without it */
    gw_registry_find_by_chain(next, &chain, sp_clock_wall_s(), &finding);
    ck_assert_int_eq(finding.kind, GW_FOUND_ONE); /* revoked or not: it is b's to say so */
    ck_assert_ptr_eq(finding.tenants[0], tenant_of(next, "b"));
    gw_registry_unref(next);
    certs_pair_free(leaf);
    certs_pair_free(ca);
    free(pem);
}
END_TEST

START_TEST(where_there_are_no_common_names_nobody_is_found_by_a_chain)
{
    struct gw_registry *registry;

    scene_clear();
    scene_write("gateway.json", "{ \"listen\": [\"127.0.0.1:0\"], \"tenants\": \"tenants.d\" }");
    scene_write_tenant("own", "\"c1.example\"", OWN_CERT);
    registry = load();
    ck_assert_str_eq(owner_of_client(registry), "");
    ck_assert_ptr_null(registry->by_issuer);
    gw_registry_unref(registry);
}
END_TEST

/* ---- reload ---- */

START_TEST(a_bad_reload_changes_nothing)
{
    struct gw_registry *registry, *result;
    struct sp_error err = {.text = ""};

    scene_clear();
    scene_write_gateway("common", "");
    scene_write_tenant("a", "\"a.secure.example.net\"", "");
    registry = load();
    result = registry;
    ck_assert(gw_tenant_take_channel(tenant_of(registry, "a")));
    scene_write_tenant("b", "\"a.secure.example.net\"", ""); /* a's name */
    ck_assert_int_eq(gw_registry_load("gateway.json", master, registry, &result, &err),
                     SP_ERR_CONFIG);
    ck_assert_ptr_eq(result, registry);
    ck_assert_uint_eq(registry->tenant_count, 1);
    ck_assert_str_eq(gw_registry_find(registry, "a.secure.example.net").tenant->id, "a");
    ck_assert_uint_eq(tenant_of(registry, "a")->counters->channels, 1);
    gw_tenant_drop_channel(tenant_of(registry, "a"));
    gw_registry_unref(registry);
}
END_TEST

/* ---- warnings ---- */

static void check_warning(const struct gw_registry *registry, size_t index, const char *where,
                          const char *text)
{
    ck_assert_uint_lt(index, registry->warnings.count);
    ck_assert_str_eq(registry->warnings.items[index].where, where);
    ck_assert_msg(!strncmp(registry->warnings.items[index].text, text, strlen(text)), "%s",
                  registry->warnings.items[index].text);
}

START_TEST(what_does_not_stop_the_load_is_a_warning)
{
    struct gw_registry *registry;

    scene_clear();
    scene_write_gateway("expired", "");
    registry = load();
    ck_assert_uint_eq(registry->warnings.count, 2);
    check_warning(registry, 0, "gateway.json: $.common.certificate",
                  "certificate expired.pem expired 3 days ago (");
    check_warning(registry, 1, "gateway.json: $.tenants",
                  "there is no tenant (ID.json) in tenants.d");
    gw_registry_unref(registry);

    scene_write_gateway("common", "");
    scene_write_tenant("a", "\"a.secure.example.net\"",
                       ", \"certificate\": \"../early.pem\", \"private_key\": \"../early.key\","
                       "  \"egress\": {\"allow\": [\"*:443\", \"0.0.0.0/0:443\"]}");
    scene_write_tenant("b", "\"b.secure.example.net\"",
                       ", \"certificate\": \"../early.pem\", \"private_key\": \"../early.key\"");
    registry = load();
    ck_assert_uint_eq(registry->warnings.count, 2); /* one a certificate, not one a tenant */
    check_warning(registry, 0, "tenants.d/a.json: $.certificate",
                  "certificate tenants.d/../early.pem is not valid for another 5 days (");
    check_warning(registry, 1, "tenants.d/a.json: $.egress.allow[1]",
                  "rule \"0.0.0.0/0:443\" opens loopback, private and metadata addresses too");
    gw_registry_unref(registry);
}
END_TEST

START_TEST(a_good_configuration_has_no_warnings)
{
    struct gw_registry *registry;

    write_names("");
    registry = load();
    ck_assert_uint_eq(registry->warnings.count, 0);
    gw_registry_unref(registry);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("registry");
    TCase *tcase = tcase_create("registry");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 60);
    tcase_add_unchecked_fixture(tcase, scene_enter, scene_leave);
    tcase_add_loop_test(tcase, a_name_finds_its_owner_exactly_or_by_one_label, 0,
                        sizeof look_ups / sizeof look_ups[0]);
    tcase_add_loop_test(tcase, unknown_names_are_common_ones_where_the_configuration_says_so, 0,
                        sizeof look_ups / sizeof look_ups[0]);
    tcase_add_test(tcase, a_name_longer_than_any_is_nobodys);
    tcase_add_test(tcase, a_thousand_tenants_are_found_each_by_its_name);
    tcase_add_test(tcase, only_json_files_without_a_dot_in_front_are_tenants);
    tcase_add_test(tcase, tenants_without_a_certificate_show_the_common_one);
    tcase_add_test(tcase, equal_ca_sets_are_one_object_and_others_are_not);
    tcase_add_test(tcase, a_client_is_found_by_its_ca_and_names);
    tcase_add_test(tcase, a_changed_crl_leaves_clients_with_their_tenants);
    tcase_add_test(tcase, where_there_are_no_common_names_nobody_is_found_by_a_chain);
    tcase_add_test(tcase, a_bad_reload_changes_nothing);
    tcase_add_test(tcase, what_does_not_stop_the_load_is_a_warning);
    tcase_add_test(tcase, a_good_configuration_has_no_warnings);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
