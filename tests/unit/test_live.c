/* A worker's tunnels: by certificate, and by when they are to be looked at again. */
#include "gateway/live.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define MANY 10000
#define KEYS 20

static struct gw_live *live;

static void setup(void)
{
    live = gw_live_new();
}

static void teardown(void)
{
    gw_live_free(live); /* aborts unless it is empty */
    gw_live_free(NULL);
}

static struct gw_live_key key_of(unsigned number)
{
    struct gw_live_key key = {.bytes = {(uint8_t)number, (uint8_t)(number >> 8)}};

    return key;
}

static size_t count_of(unsigned number)
{
    struct gw_live_key key = key_of(number);
    size_t count = 0;

    for (struct gw_live_entry *e = gw_live_find(live, &key); e; e = e->next)
        count++;
    return count;
}

START_TEST(a_key_is_of_tenant_and_certificate_and_neither_runs_into_the_other)
{
    struct gw_live_key a, b;

    gw_live_key_of("acme", "sha256:1", &a);
    gw_live_key_of("acme", "sha256:1", &b);
    ck_assert_mem_eq(a.bytes, b.bytes, sizeof a.bytes);
    gw_live_key_of("acme", "sha256:2", &b);
    ck_assert_mem_ne(a.bytes, b.bytes, sizeof a.bytes);
    gw_live_key_of("acmes", "ha256:1", &b);
    ck_assert_mem_ne(a.bytes, b.bytes, sizeof a.bytes);
}
END_TEST

START_TEST(an_entry_is_found_by_its_key_until_it_moves_or_goes)
{
    struct gw_live_entry a = {.next = NULL}, b = {.next = NULL};
    struct gw_live_key one = key_of(1), two = key_of(2);

    ck_assert_ptr_null(gw_live_find(live, &one));
    gw_live_put(live, &a, &one);
    gw_live_put(live, &b, &one);
    gw_live_put(live, &a, &one); /* twice is once */
    ck_assert_uint_eq(count_of(1), 2);
    gw_live_put(live, &a, &two);
    ck_assert_uint_eq(count_of(1), 1);
    ck_assert_ptr_eq(gw_live_find(live, &two), &a);
    gw_live_remove(live, &a);
    gw_live_remove(live, &a);
    ck_assert_uint_eq(count_of(2), 0);
    gw_live_remove(live, &b);
    ck_assert_uint_eq(count_of(1), 0);
}
END_TEST

START_TEST(a_review_comes_at_its_second_once_and_moves_when_set_anew)
{
    struct gw_live_entry a = {.next = NULL}, b = {.next = NULL};
    struct gw_live_key one = key_of(1);

    gw_live_put(live, &a, &one);
    gw_live_review_at(live, &a, 100);
    gw_live_review_at(live, &b, 90); /* without a certificate it is in no group */
    ck_assert_ptr_null(gw_live_take_due(live, 89));
    ck_assert_ptr_eq(gw_live_take_due(live, 90), &b);
    ck_assert_ptr_null(gw_live_take_due(live, 99));
    gw_live_review_at(live, &a, 200);
    ck_assert_ptr_null(gw_live_take_due(live, 199));
    ck_assert_ptr_eq(gw_live_take_due(live, 200), &a);
    ck_assert_ptr_null(gw_live_take_due(live, INT64_MAX));
    gw_live_review_at(live, &a, 300);
    gw_live_review_at(live, &a, INT64_MAX);
    ck_assert_ptr_null(gw_live_take_due(live, INT64_MAX));
    gw_live_review_at(live, &a, 400);
    gw_live_remove(live, &a);
    ck_assert_ptr_null(gw_live_take_due(live, INT64_MAX));
}
END_TEST

START_TEST(ten_thousand_are_grouped_and_come_in_order_whoever_goes_meanwhile)
{
    struct gw_live_entry *all = calloc(MANY, sizeof *all);
    int64_t last = 0;
    size_t taken = 0, gone = 0, grouped = 0;

    srandom(1);
    for (unsigned i = 0; i < MANY; i++) {
        struct gw_live_key key = key_of(i % KEYS);

        gw_live_put(live, &all[i], &key);
        gw_live_review_at(live, &all[i], random() % 5000);
    }
    for (unsigned i = 0; i < MANY; i += 3, gone++)
        gw_live_remove(live, &all[i]);
    for (unsigned k = 0; k < KEYS; k++)
        grouped += count_of(k);
    ck_assert_uint_eq(grouped, MANY - gone);
    for (int64_t now = 0; now < 5000; now += 50) {
        for (struct gw_live_entry *e; (e = gw_live_take_due(live, now)) != NULL; taken++) {
            size_t i = (size_t)(e - all);

            ck_assert_uint_ne(i % 3, 0);
            ck_assert_int_ge(e->review.due, last);
            ck_assert_int_le(e->review.due, now);
            last = e->review.due;
        }
    }
    while (gw_live_take_due(live, 5000))
        taken++;
    ck_assert_uint_eq(taken, MANY - gone);
    for (unsigned i = 0; i < MANY; i++)
        gw_live_remove(live, &all[i]);
    free(all);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live");
    TCase *tcase = tcase_create("live");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_key_is_of_tenant_and_certificate_and_neither_runs_into_the_other);
    tcase_add_test(tcase, an_entry_is_found_by_its_key_until_it_moves_or_goes);
    tcase_add_test(tcase, a_review_comes_at_its_second_once_and_moves_when_set_anew);
    tcase_add_test(tcase, ten_thousand_are_grouped_and_come_in_order_whoever_goes_meanwhile);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
