/* Certificates that are loaded when needed: how many are kept, and what happens to the bad ones. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/tls_cred.h"
#include "gateway/cred_store.h"
#include "tests/support/scene.h"

static struct sp_tls_cred *take(struct gw_cred *cred, uint64_t *ret_serial)
{
    struct sp_tls_cred *loaded = NULL;

    ck_assert_int_eq(gw_cred_take(cred, "t.json", "$", &loaded, ret_serial, NULL), SP_OK);
    return loaded;
}

static bool is_loaded(struct gw_cred *cred)
{
    struct sp_tls_cred *loaded = gw_cred_peek(cred);

    sp_tls_cred_unref(loaded);
    return loaded != NULL;
}

START_TEST(the_one_used_longest_ago_goes_and_who_holds_it_keeps_it)
{
    struct gw_cred_store *store = gw_cred_store_new(2);
    struct gw_cred *a = gw_cred_new(store, "common.pem", "common.key");
    struct gw_cred *b = gw_cred_new(store, "tenant.pem", "tenant.key");
    struct gw_cred *c = gw_cred_new(store, "expired.pem", "expired.key");
    struct sp_tls_cred *held;
    uint64_t first, again;

    ck_assert(!is_loaded(a));
    sp_tls_cred_unref(take(a, &first));
    held = take(b, &again);
    sp_tls_cred_unref(take(a, &again)); /* b is the oldest now */
    ck_assert_uint_eq(first, again);
    ck_assert_uint_eq(gw_cred_store_changes(store), 2);
    sp_tls_cred_unref(take(c, &again));
    ck_assert_uint_eq(gw_cred_store_changes(store), 4); /* c came, b went */
    ck_assert(is_loaded(a));
    ck_assert(!is_loaded(b));
    ck_assert(is_loaded(c));
    ck_assert(sp_tls_cred_covers(held, "c1.example"));
    sp_tls_cred_unref(held);
    held = take(b, &again);
    ck_assert_uint_eq(again, 4);
    ck_assert(!is_loaded(a));
    ck_assert_uint_eq(gw_cred_store_changes(store), 6);
    gw_cred_unref(c); /* while it is loaded */
    ck_assert_uint_eq(gw_cred_store_changes(store), 7);
    gw_cred_unref(a);
    ck_assert_uint_eq(gw_cred_store_changes(store), 7);
    gw_cred_unref(b);
    gw_cred_store_unref(store);
    ck_assert(sp_tls_cred_covers(held, "c1.example"));
    sp_tls_cred_unref(held);
}
END_TEST

START_TEST(a_bad_one_is_not_tried_at_each_handshake)
{
    struct gw_cred_store *store = gw_cred_store_new(2);
    struct sp_tls_cred *loaded = NULL;
    struct sp_error err = {.text = ""};
    struct gw_cred *bad;
    uint64_t serial;
    char *pem = scene_read("tenant.pem");

    scene_write("bad.pem", "junk");
    bad = gw_cred_new(store, "bad.pem", "tenant.key");
    ck_assert(gw_cred_seems_loadable(bad));
    ck_assert_int_eq(gw_cred_take(bad, "t.json", "$", &loaded, &serial, &err), SP_ERR_CONFIG);
    ck_assert_str_eq(err.where, "t.json: $.certificate");
    scene_write("bad.pem", pem);
    memset(&err, 0, sizeof err);
    ck_assert_int_eq(gw_cred_take(bad, "t.json", "$", &loaded, &serial, &err), SP_ERR_CONFIG);
    ck_assert_str_eq(err.where, "t.json: $.certificate");
    ck_assert_ptr_null(loaded);
    gw_cred_unref(bad);
    gw_cred_store_unref(store);
    free(pem);
}
END_TEST

static const struct {
    const char *certificate, *key;
    bool seems;
} pairs[] = {
    {"tenant.pem", "tenant.key", true},   {"tenant.pem", "readable.key", false},
    {"nowhere.pem", "tenant.key", false}, {"tenant.pem", "nowhere.key", false},
    {"tenants.d", "tenant.key", false},   {"tenant.pem", "common.key", true}, /* must be read */
};

START_TEST(what_can_be_told_without_reading_is_told)
{
    struct gw_cred_store *store = gw_cred_store_new(2);
    struct gw_cred *cred = gw_cred_new(store, pairs[_i].certificate, pairs[_i].key);

    ck_assert_str_eq(gw_cred_certificate(cred), pairs[_i].certificate);
    ck_assert_str_eq(gw_cred_private_key(cred), pairs[_i].key);
    ck_assert_int_eq(gw_cred_seems_loadable(cred), pairs[_i].seems);
    gw_cred_unref(cred);
    gw_cred_store_unref(store);
}
END_TEST

#define THREADS 4
#define ROUNDS  200

static struct gw_cred *shared[3];

static void *take_in_turn(void *arg)
{
    unsigned at = *(unsigned *)arg;
    uint64_t serial;

    for (int i = 0; i < ROUNDS; i++) {
        struct sp_tls_cred *cred = NULL;

        if (gw_cred_take(shared[(at + (unsigned)i) % 3], "t", "$", &cred, &serial, NULL) != SP_OK)
            return arg;
        sp_tls_cred_unref(cred);
    }
    return NULL;
}

START_TEST(threads_that_drive_each_others_out_get_theirs)
{
    struct gw_cred_store *store = gw_cred_store_new(1);
    pthread_t threads[THREADS];
    unsigned starts[THREADS];
    void *failed;

    shared[0] = gw_cred_new(store, "common.pem", "common.key");
    shared[1] = gw_cred_new(store, "tenant.pem", "tenant.key");
    shared[2] = gw_cred_new(store, "early.pem", "early.key");
    for (unsigned i = 0; i < THREADS; i++) {
        starts[i] = i;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, take_in_turn, &starts[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], &failed), 0);
        ck_assert_ptr_null(failed);
    }
    ck_assert_int_eq(is_loaded(shared[0]) + is_loaded(shared[1]) + is_loaded(shared[2]), 1);
    for (unsigned i = 0; i < 3; i++)
        gw_cred_unref(shared[i]);
    gw_cred_store_unref(store);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cred_store");
    TCase *tcase = tcase_create("cred_store");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 60);
    tcase_add_unchecked_fixture(tcase, scene_enter, scene_leave);
    tcase_add_test(tcase, the_one_used_longest_ago_goes_and_who_holds_it_keeps_it);
    tcase_add_test(tcase, a_bad_one_is_not_tried_at_each_handshake);
    tcase_add_loop_test(tcase, what_can_be_told_without_reading_is_told, 0,
                        (int)(sizeof pairs / sizeof pairs[0]));
    tcase_add_test(tcase, threads_that_drive_each_others_out_get_theirs);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
