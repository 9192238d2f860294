/* One tenant as it is served: its ticket key, what it asks of clients, its counters. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/acl.h"
#include "gateway/registry.h"
#include "tests/support/scene.h"

static const uint8_t master[GW_TICKET_MASTER_LEN] = {1, 2, 3};

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

/* ---- ticket keys ---- */

/* The tenant `t` as one variant of its file: its ticket key. */
static void ticket_key_of(const char *text, uint8_t ret_key[SP_TICKET_KEY_LEN])
{
    struct gw_registry *registry;

    scene_clear();
    scene_write_gateway("common", "");
    scene_write("tenants.d/t.json", text);
    registry = load();
    gw_tenant_ticket_key(tenant_of(registry, "t"), master, ret_key);
    gw_registry_unref(registry);
}

#define TENANT_T(validation, rest)                                                                 \
    "{ \"server_names\": [\"t.secure.example.net\"], \"client_validation\": {" validation "}" rest \
    "}"
#define CA "\"trusted_cas\": [\"../client-ca.pem\"]"

/* An exception, in a file; the note is no part of any decision. */
#define EXCEPTION(digit, reason, until, note)                                                      \
    ", \"exceptions\": [{\"fingerprint\": \"sha256:"                                               \
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde" digit                        \
    "\", \"reason\": \"" reason "\", \"until\": \"" until "\"" note "}]"

static const struct {
    const char *text;
    bool same; /* as the plain tenant's key */
} variants[] = {
    {TENANT_T(CA, ""), true},
    {TENANT_T(CA, ", \"enabled\": true"), true},
    {TENANT_T(CA ", \"on_failure\": \"block\"", ""), true},
    {TENANT_T("\"trusted_cas\": [\"../client-ca-copy.pem\"]", ""), true},
    {TENANT_T(CA, ", \"egress\": {\"allow\": [\"*:443\"]}, \"limits\": {\"tunnels\": 1}"), true},
    {TENANT_T(CA, ", \"egress\": {\"unvalidated\": [\"*:443\"]}"), true},
    {TENANT_T("\"trusted_cas\": [\"../other-ca.pem\"]", ""), false},
    {TENANT_T("\"trusted_cas\": [\"../client-ca.pem\", \"../other-ca.pem\"]", ""), false},
    {TENANT_T(CA, ", \"enabled\": false"), false},
    {TENANT_T(CA ", \"on_failure\": \"allow\"", ""), false},
    {TENANT_T(CA ", \"on\": {\"expired\": \"allow\"}", ""), false},
    {TENANT_T(CA ", \"on\": {\"expired\": \"block\"}", ""), false},
    {TENANT_T(CA ", \"on\": {\"not_yet_valid\": \"allow\"}", ""), false},
    {TENANT_T(CA ", \"require_eku\": false", ""), false},
    {TENANT_T(CA ", \"exceptions\": []", ""), true},
    {TENANT_T(CA ", \"max_chain\": 10, \"min_key_bits\": 2048", ""), true},
    {TENANT_T(CA ", \"max_chain\": 9", ""), false},
    {TENANT_T(CA ", \"min_key_bits\": 2049", ""), false},
    {TENANT_T(CA ", \"min_key_bits\": 4096", ""), false},
    {TENANT_T(CA ", \"shadow\": {\"on_failure\": \"allow\", \"max_chain\": 1}", ""), true},
    {TENANT_T(CA EXCEPTION("f", "expired", "2999-01-01T00:00:00Z", ""), ""), false},
    {TENANT_T(CA ", \"match\": {\"subject\": \"*\"}", ""), false},
    {TENANT_T(CA ", \"match\": {\"san_dns\": \"*.t.example\"}", ""), false},
};

/* Each from each. */
static const char *const matches[] = {
    TENANT_T(CA ", \"match\": {\"san_dns\": \"*.t.example\"}", ""),
    TENANT_T(CA ", \"match\": {\"san_dns\": \"*.u.example\"}", ""),
    TENANT_T(CA ", \"match\": {\"san_uri\": \"*.t.example\"}", ""),
    TENANT_T(CA ", \"match\": {\"san_dns\": [\"*.t.example\", \"*.u.example\"]}", ""),
};

START_TEST(the_ticket_key_changes_with_whom_a_match_lets_in)
{
    uint8_t key[SP_TICKET_KEY_LEN], other[SP_TICKET_KEY_LEN];

    ticket_key_of(matches[_i], key);
    for (int i = 0; i < _i; i++) {
        ticket_key_of(matches[i], other);
        ck_assert_msg(memcmp(key, other, sizeof key) != 0, "%s", matches[i]);
    }
    ticket_key_of(TENANT_T(CA ", \"match\": {\"san_dns\": [\"*.T.Example\"]}", ""), other);
    ck_assert(!memcmp(key, other, sizeof key) == !_i); /* the same as the first one */
}
END_TEST

START_TEST(the_ticket_key_changes_with_cas_and_policy_and_with_nothing_else)
{
    uint8_t plain[SP_TICKET_KEY_LEN], key[SP_TICKET_KEY_LEN];

    ticket_key_of(variants[0].text, plain);
    ticket_key_of(variants[_i].text, key);
    ck_assert_msg(!memcmp(plain, key, sizeof key) == variants[_i].same, "%s", variants[_i].text);
}
END_TEST

static const struct {
    const char *text;
    bool same;
} exceptions[] = {
    {TENANT_T(CA EXCEPTION("f", "expired", "2999-01-01T00:00:00Z", ""), ""), true},
    {TENANT_T(CA EXCEPTION("F", "expired", "2999-01-01T00:00:00Z", ", \"note\": \"x\""), ""), true},
    {TENANT_T(CA EXCEPTION("e", "expired", "2999-01-01T00:00:00Z", ""), ""), false},
    {TENANT_T(CA EXCEPTION("f", "revoked", "2999-01-01T00:00:00Z", ""), ""), false},
    {TENANT_T(CA EXCEPTION("f", "expired", "2999-01-01T00:00:01Z", ""), ""), false},
};

START_TEST(the_ticket_key_changes_with_all_that_an_exception_decides_by)
{
    uint8_t plain[SP_TICKET_KEY_LEN], key[SP_TICKET_KEY_LEN];

    ticket_key_of(exceptions[0].text, plain);
    ticket_key_of(exceptions[_i].text, key);
    ck_assert_msg(!memcmp(plain, key, sizeof key) == exceptions[_i].same, "%s",
                  exceptions[_i].text);
}
END_TEST

START_TEST(no_two_tenants_and_no_two_masters_have_one_ticket_key)
{
    static const uint8_t other_master[GW_TICKET_MASTER_LEN] = {1, 2, 4};
    struct gw_registry *registry, *other = NULL;
    const struct gw_tenant *a, *b;
    uint8_t key_a[SP_TICKET_KEY_LEN], key_b[SP_TICKET_KEY_LEN];

    scene_clear();
    scene_write_gateway("common", "");
    scene_write_tenant("a", "\"a.secure.example.net\"", "");
    scene_write_tenant("b", "\"b.secure.example.net\"", "");
    registry = load();
    a = tenant_of(registry, "a");
    b = tenant_of(registry, "b");
    ck_assert_mem_ne(a->ticket_epoch, b->ticket_epoch, sizeof a->ticket_epoch);
    gw_tenant_ticket_key(a, master, key_a);
    gw_tenant_ticket_key(b, master, key_b);
    ck_assert_mem_ne(key_a, key_b, sizeof key_a);
    ck_assert_int_eq(gw_registry_load("gateway.json", other_master, NULL, &other, NULL), SP_OK);
    b = tenant_of(other, "a");
    ck_assert_mem_eq(a->ticket_epoch, b->ticket_epoch, sizeof a->ticket_epoch);
    gw_tenant_ticket_key(b, other->ticket_master, key_b);
    ck_assert_mem_ne(key_a, key_b, sizeof key_a);
    gw_registry_unref(other);
    gw_registry_unref(registry);
}
END_TEST

static const struct {
    const char *policy;
    bool optional;
} optionals[] = {
    {"", false},
    {", \"on_failure\": \"block\"", false},
    {", \"on_failure\": \"allow\"", true},
    {", \"on\": {\"no_certificate\": \"allow\"}", true},
    {", \"on\": {\"no_certificate\": \"block\"}", false},
    {", \"on_failure\": \"allow\", \"on\": {\"no_certificate\": \"block\"}", false},
    {", \"on_failure\": \"block\", \"on\": {\"no_certificate\": \"allow\"}", true},
    {", \"on\": {\"expired\": \"allow\"}", false},
};

START_TEST(a_certificate_is_optional_where_the_policy_lets_its_absence_pass)
{
    struct gw_registry *registry;
    char text[512];

    scene_clear();
    scene_write_gateway("common", "");
    snprintf(text, sizeof text, TENANT_T(CA "%s", ""), optionals[_i].policy);
    scene_write("tenants.d/t.json", text);
    registry = load();
    ck_assert_msg(tenant_of(registry, "t")->certificate_optional == optionals[_i].optional, "%s",
                  optionals[_i].policy);
    gw_registry_unref(registry);
}
END_TEST

/* ---- egress of unvalidated tunnels ---- */

static const struct {
    const char *egress;
    bool validated, unvalidated; /* may reach a.example:443 */
} egresses[] = {
    {"{\"allow\": [\"a.example:443\"]}", true, true},
    {"{\"allow\": [\"a.example:443\"], \"unvalidated\": [\"b.example:443\"]}", true, false},
    {"{\"allow\": [\"a.example:443\"], \"unvalidated\": []}", true, false},
    {"{\"allow\": [\"b.example:443\"], \"unvalidated\": [\"a.example:443\"]}", false, true},
    {"{\"unvalidated\": [\"a.example:443\"]}", false, true},
    {"{}", false, false},
};

START_TEST(unvalidated_tunnels_have_their_own_rules_where_there_are_some)
{
    static const char destination[] = "a.example:443";
    struct gw_registry *registry;
    const struct gw_tenant *tenant;
    struct sp_target target;
    char text[512];

    scene_clear();
    scene_write_gateway("common", "");
    snprintf(text, sizeof text, TENANT_T(CA, ", \"egress\": %s"), egresses[_i].egress);
    scene_write("tenants.d/t.json", text);
    registry = load();
    tenant = tenant_of(registry, "t");
    ck_assert_int_eq(sp_target_parse(destination, strlen(destination), &target, NULL), SP_OK);
    ck_assert_msg((gw_acl_check_request(gw_tenant_acl(tenant, false), &target) == GW_ACL_MAYBE) ==
                      egresses[_i].validated,
                  "%s", egresses[_i].egress);
    ck_assert_msg((gw_acl_check_request(gw_tenant_acl(tenant, true), &target) == GW_ACL_MAYBE) ==
                      egresses[_i].unvalidated,
                  "%s", egresses[_i].egress);
    gw_registry_unref(registry);
}
END_TEST

/* ---- references and counters ---- */

START_TEST(counters_go_on_across_a_reload_and_are_each_tenants_own)
{
    struct gw_registry *old, *new;
    struct gw_tenant *before, *after;

    scene_clear();
    scene_write_gateway("common", "");
    scene_write_tenant("a", "\"a.secure.example.net\"", ", \"limits\": {\"tunnels\": 2}");
    scene_write_tenant("b", "\"b.secure.example.net\"", "");
    old = load();
    before = gw_tenant_ref(tenant_of(old, "a"));
    ck_assert(gw_tenant_take_tunnel(before));
    ck_assert(gw_tenant_take_tunnel(before));
    ck_assert(!gw_tenant_take_tunnel(before));
    ck_assert(gw_tenant_take_tunnel(tenant_of(old, "b")));

    scene_write_tenant("a", "\"a.secure.example.net\"", ", \"limits\": {\"tunnels\": 3}");
    new = load_after(old);
    gw_registry_unref(old);
    after = tenant_of(new, "a");
    ck_assert_ptr_ne(after, before);
    ck_assert(gw_tenant_take_tunnel(after));
    ck_assert(!gw_tenant_take_tunnel(after));
    gw_tenant_drop_tunnel(before); /* the tunnel ends under the generation it began with */
    ck_assert(gw_tenant_take_tunnel(after));
    ck_assert_uint_eq(after->counters->tunnels, 3);
    ck_assert_uint_eq(tenant_of(new, "b")->counters->tunnels, 1);
    gw_tenant_unref(before);
    gw_registry_unref(new);
}
END_TEST

START_TEST(a_tenant_outlives_its_registry_while_a_session_holds_it)
{
    struct gw_policy_view view;
    struct gw_registry *registry;
    struct gw_tenant *tenant;

    scene_clear();
    scene_write_gateway("common", "");
    scene_write_tenant("plain", "\"plain.secure.example.net\"", "");
    registry = load();
    tenant = gw_tenant_ref(tenant_of(registry, "plain"));
    gw_registry_unref(gw_registry_ref(registry));
    gw_registry_unref(registry);
    ck_assert_str_eq(tenant->id, "plain");
    ck_assert_str_eq(gw_tenant_policy(tenant, false, &view)->source,
                     "tenants.d/plain.json: $.client_validation");
    ck_assert_str_eq(gw_tenant_policy(tenant, true, &view)->source,
                     "tenants.d/plain.json: $.client_validation.shadow");
    ck_assert_ptr_null(tenant->own);
    ck_assert(gw_tenant_take_tunnel(tenant));
    gw_tenant_drop_tunnel(tenant);
    gw_tenant_unref(tenant);
    gw_registry_unref(NULL);
}
END_TEST

#define THREADS 4
#define ROUNDS  20000
#define LIMIT   3

static void *take_and_drop(void *arg)
{
    struct gw_tenant *tenant = arg;
    uintptr_t taken = 0;
    int i;

    for (i = 0; i < ROUNDS; i++) {
        gw_tenant_ref(tenant);
        if (gw_tenant_take_channel(tenant)) {
            taken++;
            gw_tenant_drop_channel(tenant);
        }
        gw_tenant_unref(tenant);
    }
    return (void *)taken;
}

START_TEST(threads_that_take_and_drop_leave_the_count_where_it_was)
{
    pthread_t threads[THREADS];
    struct gw_registry *registry;
    struct gw_tenant *tenant;
    uintptr_t all = 0;
    void *taken;
    int i;

    scene_clear();
    scene_write_gateway("common", "");
    scene_write_tenant("a", "\"a.secure.example.net\"", ", \"limits\": {\"channels\": 3}");
    registry = load();
    tenant = tenant_of(registry, "a");
    for (i = 0; i < LIMIT - 1; i++)
        ck_assert(gw_tenant_take_channel(tenant));
    for (i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, take_and_drop, tenant), 0);
    for (i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], &taken), 0);
        all += (uintptr_t)taken;
    }
    ck_assert_uint_gt(all, 0); /* one that is put off while it has the place leaves others none */
    ck_assert_uint_eq(tenant->counters->channels, LIMIT - 1);
    gw_registry_unref(registry);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tenant");
    TCase *tcase = tcase_create("tenant");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 60);
    tcase_add_unchecked_fixture(tcase, scene_enter, scene_leave);
    tcase_add_loop_test(tcase, the_ticket_key_changes_with_cas_and_policy_and_with_nothing_else, 0,
                        sizeof variants / sizeof variants[0]);
    tcase_add_loop_test(tcase, the_ticket_key_changes_with_whom_a_match_lets_in, 0,
                        sizeof matches / sizeof matches[0]);
    tcase_add_loop_test(tcase, the_ticket_key_changes_with_all_that_an_exception_decides_by, 0,
                        sizeof exceptions / sizeof exceptions[0]);
    tcase_add_test(tcase, no_two_tenants_and_no_two_masters_have_one_ticket_key);
    tcase_add_loop_test(tcase, a_certificate_is_optional_where_the_policy_lets_its_absence_pass, 0,
                        sizeof optionals / sizeof optionals[0]);
    tcase_add_loop_test(tcase, unvalidated_tunnels_have_their_own_rules_where_there_are_some, 0,
                        sizeof egresses / sizeof egresses[0]);
    tcase_add_test(tcase, counters_go_on_across_a_reload_and_are_each_tenants_own);
    tcase_add_test(tcase, a_tenant_outlives_its_registry_while_a_session_holds_it);
    tcase_add_test(tcase, threads_that_take_and_drop_leave_the_count_where_it_was);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
