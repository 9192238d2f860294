/* stapler: when to ask again. What it does with it: tests/integration/test_stapling.py. */
#include <check.h>
#include <stdlib.h>

#include "common/stapler.h"

#define NOW_S  INT64_C(1800000000)
#define NOW_MS (NOW_S * 1000)
#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define DAY    (24 * 60 * MINUTE)

#define LEAST UINT32_C(0)    /* of chance: all of the wait */
#define MOST  UINT32_C(1023) /* three quarters of it */

START_TEST(a_good_response_is_asked_for_again_at_half_of_what_is_left)
{
    static const struct {
        int64_t left_s, wait_ms;
    } rows[] = {
        {10, 5 * SECOND},  {3, 1500},
        {2, SECOND},       {1, SECOND},
        {0, SECOND},       {-100, SECOND},
        {600, 5 * MINUTE}, {2 * 86400, DAY},
        {7 * 86400, DAY},  {INT64_MAX - NOW_S, DAY},
    };
    int64_t full = sp_stapler_wait_good(NOW_MS, NOW_S + rows[_i].left_s, LEAST);
    int64_t part = sp_stapler_wait_good(NOW_MS, NOW_S + rows[_i].left_s, MOST);

    ck_assert_int_eq(full, rows[_i].wait_ms);
    ck_assert_int_ge(part, SECOND);
    ck_assert_int_ge(part, full * 3 / 4);
    ck_assert_int_le(part, full);
    if (full >= 2 * SECOND)
        ck_assert_int_lt(part, full * 4 / 5);
}
END_TEST

START_TEST(failures_wait_longer_each_time_up_to_five_minutes)
{
    static const int64_t seconds[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300};

    for (unsigned i = 0; i < sizeof seconds / sizeof seconds[0]; i++)
        ck_assert_int_eq(sp_stapler_wait_bad(NOW_MS, 0, i + 1, LEAST), seconds[i] * SECOND);
    ck_assert_int_eq(sp_stapler_wait_bad(NOW_MS, 0, UINT32_MAX, LEAST), 300 * SECOND);
    ck_assert_int_le(sp_stapler_wait_bad(NOW_MS, 0, 8, MOST), 97 * SECOND);
    ck_assert_int_eq(sp_stapler_wait_bad(NOW_MS, 0, 1, MOST), SECOND);
}
END_TEST

START_TEST(failures_do_not_wait_until_what_is_stapled_has_ended)
{
    static const struct {
        int64_t left_s, wait_ms;
    } rows[] = {
        {4000, 300 * SECOND}, {500, 250 * SECOND}, {100, 50 * SECOND},
        {4, 2 * SECOND},      {1, SECOND},         {-5, 300 * SECOND},
    };

    ck_assert_int_eq(sp_stapler_wait_bad(NOW_MS, NOW_S + rows[_i].left_s, 50, LEAST),
                     rows[_i].wait_ms);
}
END_TEST

START_TEST(several_attempts_lie_between_half_of_a_life_and_its_end)
{
    int64_t now_ms = NOW_MS, end_s = NOW_S + 600;
    int attempts = 0;

    now_ms += sp_stapler_wait_good(now_ms, end_s, LEAST);
    while (now_ms < end_s * 1000) {
        attempts++;
        now_ms += sp_stapler_wait_bad(now_ms, end_s, (unsigned)attempts, LEAST);
    }
    ck_assert_int_ge(attempts, 10);
    ck_assert_int_le(attempts, 30);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stapler");
    TCase *schedule = tcase_create("schedule");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(schedule, a_good_response_is_asked_for_again_at_half_of_what_is_left, 0,
                        10);
    tcase_add_test(schedule, failures_wait_longer_each_time_up_to_five_minutes);
    tcase_add_loop_test(schedule, failures_do_not_wait_until_what_is_stapled_has_ended, 0, 6);
    tcase_add_test(schedule, several_attempts_lie_between_half_of_a_life_and_its_end);
    suite_add_tcase(suite, schedule);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
