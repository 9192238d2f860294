/* What a load reads and what it leaves: unchanged tenants, certificates put off, single files. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/file.h"
#include "common/tls_cred.h"
#include "gateway/cred_store.h"
#include "gateway/keyring.h"
#include "gateway/registry.h"
#include "tests/support/scene.h"

#define MANY           (GW_CREDS_AT_ONCE + 1)
#define OWN_W1         ", \"certificate\": \"../mine.pem\", \"private_key\": \"../mine.key\""
#define COUNT_OF(list) (sizeof(list) / sizeof(list)[0])

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

static struct gw_tenant *tenant_of(const struct gw_registry *registry, const char *id)
{
    struct gw_tenant *tenant = gw_registry_tenant(registry, id);

    ck_assert_msg(tenant != NULL, "no tenant %s", id);
    return tenant;
}

/* Until the file system's clock has ticked, a change could go unseen, so nothing counts as
 * unchanged. */
static void settle(const char *path)
{
    const struct timespec little = {.tv_nsec = 5000000};

    ck_assert_msg(access(path, F_OK) == 0, "%s", path);
    while (!sp_file_stamp(path))
        nanosleep(&little, NULL);
}

static void copy(const char *from, const char *to, mode_t mode)
{
    char *text = scene_read(from);

    scene_write(to, text);
    ck_assert_int_eq(chmod(to, mode), 0);
    free(text);
}

static void write_three(void)
{
    scene_clear();
    copy("tenant.pem", "mine.pem", 0644);
    copy("tenant.key", "mine.key", 0600);
    copy("client-ca.pem", "ca.pem", 0644);
    scene_write_gateway("common", "");
    scene_write_tenant("a", "\"a.secure.example.net\"", "");
    scene_write_tenant("b", "\"b.w1.example\"", OWN_W1);
    scene_write("tenants.d/c.json",
                "{ \"server_names\": [\"c.secure.example.net\"],"
                "  \"client_validation\": { \"trusted_cas\": [\"../ca.pem\"] } }");
    settle("tenants.d/c.json");
    settle("ca.pem");
    settle("mine.key");
}

/* Which of a, b and c are the very same objects in both. */
static const char *same_ones(const struct gw_registry *x, const struct gw_registry *y)
{
    static char same[4];
    static const char *const ids[] = {"a", "b", "c"};
    char *end = same;

    for (size_t i = 0; i < COUNT_OF(ids); i++)
        if (gw_registry_tenant(x, ids[i]) == gw_registry_tenant(y, ids[i]))
            *end++ = ids[i][0];
    *end = '\0';
    return same;
}

static void change_nothing(void)
{
}

static void change_a(void)
{
    scene_write_tenant("a", "\"a.secure.example.net\"", ", \"limits\": {\"tunnels\": 3}");
}

static void change_a_long_ago(void)
{
    change_a();
    settle("tenants.d/a.json");
}

static void change_certificate(void)
{
    copy("mine.pem", "next.pem", 0644);
    ck_assert_int_eq(rename("next.pem", "mine.pem"), 0);
}

static void change_ca(void)
{
    copy("other-ca.pem", "ca.pem", 0644);
}

static void touch_ca(void) /* another file, the same CA */
{
    copy("client-ca.pem", "ca.pem", 0644);
}

static void change_common(void)
{
    copy("common.pem", "next.pem", 0644);
    ck_assert_int_eq(rename("next.pem", "common.pem"), 0);
}

static const struct {
    void (*change)(void);
    const char *same;
} changes[] = {
    {change_nothing, "abc"},    {change_a, "bc"},  {change_a_long_ago, "bc"},
    {change_certificate, "ac"}, {change_ca, "ab"}, {touch_ca, "abc"},
    {change_common, "abc"},
};

START_TEST(a_reload_makes_new_only_what_has_changed)
{
    struct gw_registry *registry, *next;

    write_three();
    registry = load_after(NULL);
    ck_assert(gw_tenant_take_tunnel(tenant_of(registry, "a")));
    changes[_i].change();
    next = load_after(registry);
    ck_assert_str_eq(same_ones(registry, next), changes[_i].same);
    ck_assert_uint_eq(tenant_of(next, "a")->counters->tunnels, 1);
    ck_assert_uint_eq(
        tenant_of(next, "a")->config->limits.tunnels,
        changes[_i].change == change_a || changes[_i].change == change_a_long_ago ? 3 : 1000);
    gw_registry_unref(registry);
    ck_assert_ptr_eq(gw_registry_find(next, "a.secure.example.net").tenant, tenant_of(next, "a"));
    ck_assert_ptr_eq(gw_registry_find(next, "b.w1.example").tenant, tenant_of(next, "b"));
    gw_registry_unref(next);
}
END_TEST

START_TEST(a_change_that_a_bad_reload_saw_is_seen_again)
{
    struct gw_registry *registry, *next = NULL;

    write_three();
    registry = load_after(NULL);
    change_ca();
    scene_write("tenants.d/z.json", "{");
    ck_assert_int_ne(gw_registry_load("gateway.json", master, registry, &next, NULL), SP_OK);
    scene_remove("tenants.d/z.json");
    next = load_after(registry);
    ck_assert_str_eq(same_ones(registry, next), "ab");
    gw_registry_unref(registry);
    gw_registry_unref(next);
}
END_TEST

START_TEST(equal_configurations_are_one_object_and_others_are_not)
{
    struct gw_registry *registry;

    write_three();
    scene_write_tenant("d", "\"d.secure.example.net\"", "");
    scene_write_tenant("e", "\"e.secure.example.net\"", ", \"limits\": {\"tunnels\": 3}");
    scene_write_tenant("f", "\"f.secure.example.net\"", ", \"egress\": {\"unvalidated\": []}");
    registry = load_after(NULL);
    ck_assert_ptr_eq(tenant_of(registry, "a")->config, tenant_of(registry, "b")->config);
    ck_assert_ptr_eq(tenant_of(registry, "a")->config, tenant_of(registry, "d")->config);
    ck_assert_ptr_ne(tenant_of(registry, "a")->config, tenant_of(registry, "c")->config);
    ck_assert_ptr_ne(tenant_of(registry, "a")->config, tenant_of(registry, "e")->config);
    ck_assert_ptr_ne(tenant_of(registry, "a")->config, tenant_of(registry, "f")->config);
    gw_registry_unref(registry);
}
END_TEST

/* ---- certificates that are put off ---- */

static void write_many(void)
{
    char id[32], names[64], more[160], pem[32], key[32];

    scene_clear();
    scene_write_gateway("common", "");
    (void)mkdir("own", 0755);
    for (int i = 0; i < MANY; i++) {
        snprintf(id, sizeof id, "t%04d", i);
        snprintf(names, sizeof names, "\"t%04d.w1.example\"", i);
        snprintf(pem, sizeof pem, "own/%04d.pem", i);
        snprintf(key, sizeof key, "own/%04d.key", i);
        (void)unlink(pem);
        (void)unlink(key);
        ck_assert_int_eq(symlink("../tenant.pem", pem), 0);
        ck_assert_int_eq(symlink("../tenant.key", key), 0);
        snprintf(more, sizeof more, ", \"certificate\": \"../%s\", \"private_key\": \"../%s\"", pem,
                 key);
        scene_write_tenant(id, names, more);
    }
}

static void remove_many(void)
{
    char path[32];

    for (int i = 0; i < MANY; i++) {
        snprintf(path, sizeof path, "own/%04d.pem", i);
        scene_remove(path);
        snprintf(path, sizeof path, "own/%04d.key", i);
        scene_remove(path);
    }
    ck_assert_int_eq(rmdir("own"), 0);
}

static size_t count_loaded(const struct gw_registry *registry)
{
    struct sp_tls_cred **creds;
    size_t count = gw_cred_store_list(gw_keyring_store(registry->keyring), &creds);

    for (size_t i = 0; i < count; i++)
        sp_tls_cred_unref(creds[i]);
    free(creds);
    return count;
}

static enum sp_err take(const struct gw_registry *registry, const char *name, struct sp_error *err)
{
    struct gw_match match = gw_registry_find(registry, name);
    struct sp_tls_cred *cred = NULL;
    enum sp_err rc;

    ck_assert_int_eq(match.kind, GW_MATCH_TENANT);
    rc = gw_registry_take_cred(registry, &match, &cred, err);
    if (rc == SP_OK)
        ck_assert(sp_tls_cred_covers(cred, name));
    sp_tls_cred_unref(cred);
    return rc;
}

START_TEST(more_certificates_than_a_thousand_are_loaded_when_they_are_shown)
{
    struct gw_registry *registry;

    write_many();
    registry = load_after(NULL);
    ck_assert_uint_eq(count_loaded(registry), 1); /* the common one */
    ck_assert_int_eq(take(registry, "t0007.w1.example", NULL), SP_OK);
    ck_assert_int_eq(take(registry, "t0007.w1.example", NULL), SP_OK);
    ck_assert_uint_eq(count_loaded(registry), 2);
    gw_registry_unref(registry);
    scene_remove("tenants.d/t0000.json"); /* a thousand are none too many */
    registry = load_after(NULL);
    ck_assert_uint_eq(count_loaded(registry), MANY);
    gw_registry_unref(registry);
    remove_many();
}
END_TEST

START_TEST(a_certificate_that_was_put_off_and_is_bad_is_its_tenants_trouble_alone)
{
    struct gw_registry *registry, *checked;
    struct sp_error err = {.text = ""};
    char message[1024];

    write_many();
    scene_remove("own/0003.pem");
    copy("junk.pem", "own/0003.pem", 0644);
    scene_remove("own/0004.pem");
    copy("common.pem", "own/0004.pem", 0644);
    scene_remove("own/0004.key");
    copy("common.key", "own/0004.key", 0600);
    registry = load_after(NULL);
    ck_assert_int_eq(take(registry, "t0003.w1.example", &err), SP_ERR_CONFIG);
    ck_assert_str_eq(sp_error_message(&err, message, sizeof message),
                     "tenants.d/t0003.json: $.certificate: tenants.d/../own/0003.pem: no "
                     "certificate in it; wanted is PEM");
    ck_assert_int_eq(take(registry, "t0004.w1.example", &err), SP_ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(err.text, "is not covered by the certificate"));
    ck_assert_int_eq(take(registry, "t0005.w1.example", &err), SP_OK);
    ck_assert_int_eq(gw_registry_check("gateway.json", &checked, &err), SP_ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(err.where, "t0003.json"));
    gw_registry_unref(registry);
    remove_many();
}
END_TEST

static void forget_key(void)
{
    scene_remove("own/0003.key");
    ck_assert_int_eq(symlink("nowhere", "own/0003.key"), 0);
}

static void open_key(void)
{
    scene_remove("own/0003.key");
    copy("tenant.key", "own/0003.key", 0644);
}

static const struct {
    void (*spoil)(void);
    const char *text;
} spoilt[] = {
    {forget_key, "No such file"},
    {open_key, "the private key can be read by others: its mode is 0644"},
};

START_TEST(what_can_be_seen_without_reading_stops_the_load_however_many_there_are)
{
    struct gw_registry *registry = NULL;
    struct sp_error err = {.text = ""};

    write_many();
    spoilt[_i].spoil();
    ck_assert_int_ne(gw_registry_load("gateway.json", master, NULL, &registry, &err), SP_OK);
    ck_assert_msg(strstr(err.text, spoilt[_i].text) != NULL, "%s", err.text);
    ck_assert_ptr_nonnull(strstr(err.where, "tenants.d/t0003.json: $.private_key"));
    remove_many();
}
END_TEST

/* ---- single files ---- */

static enum sp_err reload(struct gw_registry *previous, const char *file,
                          struct gw_registry **ret_next, struct sp_error *err)
{
    const char *const files[] = {file, "README", file};

    return gw_registry_reload_tenants(previous, files, COUNT_OF(files), ret_next, err);
}

START_TEST(one_file_that_changed_is_taken_up_alone)
{
    struct gw_registry *registry, *next;

    write_three();
    registry = load_after(NULL);
    change_a();
    change_certificate(); /* nobody asked about that */
    ck_assert_int_eq(reload(registry, "a.json", &next, NULL), SP_OK);
    ck_assert_str_eq(same_ones(registry, next), "bc");
    ck_assert_uint_eq(tenant_of(next, "a")->config->limits.tunnels, 3);
    ck_assert_ptr_eq(tenant_of(next, "a")->counters, tenant_of(registry, "a")->counters);
    gw_registry_unref(registry);
    ck_assert_ptr_eq(gw_registry_find(next, "a.secure.example.net").tenant, tenant_of(next, "a"));
    gw_registry_unref(next);
}
END_TEST

START_TEST(one_file_comes_and_goes)
{
    struct gw_registry *registry, *more, *less;

    write_three();
    registry = load_after(NULL);
    scene_write_tenant("b-1", "\"b-1.secure.example.net\"", "");
    ck_assert_int_eq(reload(registry, "b-1.json", &more, NULL), SP_OK);
    ck_assert_str_eq(same_ones(registry, more), "abc");
    ck_assert_ptr_eq(gw_registry_find(more, "b-1.secure.example.net").tenant,
                     tenant_of(more, "b-1"));
    ck_assert_ptr_eq(gw_registry_find(more, "c.secure.example.net").tenant, tenant_of(more, "c"));
    ck_assert_int_eq(gw_registry_find(registry, "b-1.secure.example.net").kind, GW_MATCH_NONE);
    scene_remove("tenants.d/a.json");
    ck_assert_int_eq(reload(more, "a.json", &less, NULL), SP_OK);
    ck_assert_uint_eq(less->tenant_count, 3);
    ck_assert_int_eq(gw_registry_find(less, "a.secure.example.net").kind, GW_MATCH_NONE);
    ck_assert_ptr_eq(gw_registry_find(less, "c.secure.example.net").tenant, tenant_of(less, "c"));
    gw_registry_unref(registry);
    gw_registry_unref(more);
    gw_registry_unref(less);
}
END_TEST

static const struct {
    const char *file, *text, *error;
} bads[] = {
    {"a.json", "{", "'}' expected"},
    {"d.json",
     "{ \"server_names\": [\"a.secure.example.net\"],"
     "  \"client_validation\": { \"trusted_cas\": [\"../client-ca.pem\"] } }",
     "is already a name of tenant a in tenants.d/a.json"},
    {"d.json",
     "{ \"server_names\": [\"d.secure.example.net\"],"
     "  \"client_validation\": { \"trusted_cas\": [\"../nowhere.pem\"] } }",
     "No such file"},
    {"d.json",
     "{ \"server_names\": [\"d.example\"],"
     "  \"client_validation\": { \"trusted_cas\": [\"../client-ca.pem\"] } }",
     "is not covered by the common certificate"},
    {"d.json",
     "{ \"server_names\": [\"d.example\"], \"certificate\": \"../mine.pem\","
     "  \"private_key\": \"../mine.key\","
     "  \"client_validation\": { \"trusted_cas\": [\"../client-ca.pem\"] } }",
     "is not covered by the certificate"},
};

START_TEST(one_bad_file_changes_nothing_and_says_why)
{
    struct gw_registry *registry, *next = NULL;
    struct sp_error err = {.text = ""};
    char path[64];

    write_three();
    registry = load_after(NULL);
    snprintf(path, sizeof path, "tenants.d/%s", bads[_i].file);
    scene_write(path, bads[_i].text);
    ck_assert_int_ne(reload(registry, bads[_i].file, &next, &err), SP_OK);
    ck_assert_ptr_null(next);
    ck_assert_msg(strstr(err.text, bads[_i].error) != NULL, "%s", err.text);
    ck_assert_uint_eq(registry->tenant_count, 3);
    ck_assert_ptr_eq(gw_registry_find(registry, "a.secure.example.net").tenant,
                     tenant_of(registry, "a"));
    gw_registry_unref(registry);
}
END_TEST

START_TEST(a_file_that_has_not_changed_makes_no_new_registry)
{
    struct gw_registry *registry, *next;

    write_three();
    registry = load_after(NULL);
    ck_assert_int_eq(reload(registry, "a.json", &next, NULL), SP_OK);
    ck_assert_ptr_null(next);
    ck_assert_int_eq(reload(registry, "never.json", &next, NULL), SP_OK);
    ck_assert_ptr_null(next);
    gw_registry_unref(registry);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("registry_load");
    TCase *tcase = tcase_create("registry_load");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 60);
    tcase_add_unchecked_fixture(tcase, scene_enter, scene_leave);
    tcase_add_loop_test(tcase, a_reload_makes_new_only_what_has_changed, 0, (int)COUNT_OF(changes));
    tcase_add_test(tcase, a_change_that_a_bad_reload_saw_is_seen_again);
    tcase_add_test(tcase, equal_configurations_are_one_object_and_others_are_not);
    tcase_add_test(tcase, more_certificates_than_a_thousand_are_loaded_when_they_are_shown);
    tcase_add_test(tcase, a_certificate_that_was_put_off_and_is_bad_is_its_tenants_trouble_alone);
    tcase_add_loop_test(tcase,
                        what_can_be_seen_without_reading_stops_the_load_however_many_there_are, 0,
                        (int)COUNT_OF(spoilt));
    tcase_add_test(tcase, one_file_that_changed_is_taken_up_alone);
    tcase_add_test(tcase, one_file_comes_and_goes);
    tcase_add_loop_test(tcase, one_bad_file_changes_nothing_and_says_why, 0, (int)COUNT_OF(bads));
    tcase_add_test(tcase, a_file_that_has_not_changed_makes_no_new_registry);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
