#include "common/rate.h"

#include <check.h>

static int take_all(struct sp_rate *rate, uint64_t per_s, uint64_t now_us)
{
    int taken = 0;

    while (taken < 200000 && sp_rate_take(rate, per_s, now_us))
        taken++;
    return taken;
}

START_TEST(a_seconds_worth_at_once_and_then_so_many_a_second)
{
    static const uint64_t rates[] = {1, 2, 5, 50, 1000, 100000};
    const uint64_t per_s = rates[_i];
    struct sp_rate rate = {0};
    uint64_t now = 5000000;

    int taken = 0;

    ck_assert_int_eq(take_all(&rate, per_s, now), (int)per_s);
    ck_assert(!sp_rate_take(&rate, per_s, now));
    for (int quarter = 0; quarter < 40; quarter++) {
        now += 250000;
        taken += take_all(&rate, per_s, now);
    }
    ck_assert_int_ge(taken, 10 * (int)per_s - 1);
    ck_assert_int_le(taken, 10 * (int)per_s + 1);
}
END_TEST

START_TEST(a_long_pause_gives_no_more_than_a_second)
{
    struct sp_rate rate = {0};

    ck_assert_int_eq(take_all(&rate, 10, 1), 10);
    ck_assert_int_eq(take_all(&rate, 10, UINT64_C(3600000000)), 10);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rate");
    TCase *tc = tcase_create("rate");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(tc, a_seconds_worth_at_once_and_then_so_many_a_second, 0, 6);
    tcase_add_test(tc, a_long_pause_gives_no_more_than_a_second);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
