/* When a CRL is fetched again: the clock and chance are parameters. */
#include "common/crl_schedule.h"

#include <check.h>
#include <stdbool.h>

#define NOW    INT64_C(1800000000000)
#define SECOND INT64_C(1000)
#define HOUR   (3600 * SECOND)

static const uint32_t chances[] = {0, 1, 511, 1023, 1024, UINT32_MAX};

START_TEST(a_good_list_is_asked_for_at_half_of_its_life_at_most_hourly_at_most_each_second)
{
    static const struct {
        int64_t life_s, wait_ms; /* without chance */
    } rows[] = {
        {-5, SECOND},
        {0, SECOND},
        {1, SECOND},
        {2, SECOND},
        {6, 3 * SECOND},
        {600, 300 * SECOND},
        {2 * 3600, HOUR},
        {2 * 3600 + 1, HOUR},
        {30 * 86400, HOUR},
        {INT64_MAX / 2, HOUR},
        {INT64_MIN / 2, SECOND},
    };

    for (size_t i = 0; i < sizeof chances / sizeof chances[0]; i++) {
        struct sp_crl_schedule s = {.failures = 7};
        int64_t wait;

        sp_crl_schedule_good(&s, NOW, NOW / 1000 + rows[_i].life_s, chances[i]);
        wait = sp_crl_schedule_wait_ms(&s, NOW);
        ck_assert_uint_eq(s.failures, 0);
        ck_assert_msg(wait <= rows[_i].wait_ms && wait >= SECOND &&
                          wait >= rows[_i].wait_ms - rows[_i].wait_ms / 4,
                      "row %d: %lld ms", _i, (long long)wait);
        ck_assert(chances[i] % 1024 || wait == rows[_i].wait_ms);
        ck_assert_int_eq(sp_crl_schedule_wait_ms(&s, NOW + wait), 0);
    }
}
END_TEST

START_TEST(failures_wait_twice_as_long_each_time_and_five_minutes_at_most)
{
    struct sp_crl_schedule s = {.failures = 0}, full;
    int64_t wanted = SECOND;

    for (unsigned n = 1; n < 5000; n++) {
        int64_t wait;

        full = s;
        sp_crl_schedule_bad(&full, NOW, 0);
        ck_assert_int_eq(sp_crl_schedule_wait_ms(&full, NOW), wanted);
        sp_crl_schedule_bad(&s, NOW, 12345 * n);
        wait = sp_crl_schedule_wait_ms(&s, NOW);
        ck_assert(wait <= wanted && wait >= wanted - wanted / 4 && wait >= SECOND);
        ck_assert_uint_eq(s.failures, n);
        wanted = wanted * 2 < 300 * SECOND ? wanted * 2 : 300 * SECOND;
    }
    sp_crl_schedule_good(&s, NOW, NOW / 1000 + 8, 0);
    sp_crl_schedule_bad(&s, NOW, 0);
    ck_assert_int_eq(sp_crl_schedule_wait_ms(&s, NOW), SECOND);
}
END_TEST

START_TEST(several_attempts_lie_before_the_end_of_a_list_and_none_is_hot)
{
    struct sp_crl_schedule s = {.failures = 0};
    int64_t now = NOW, end = NOW / 1000 + 6 * 3600;
    unsigned asked = 0, last_hour = 0;

    while (now / 1000 < end) {
        int64_t wait;

        sp_crl_schedule_good(&s, now, end, (uint32_t)now);
        wait = sp_crl_schedule_wait_ms(&s, now);
        ck_assert(wait >= SECOND && wait <= HOUR);
        now += wait;
        asked++;
        last_hour += end - now / 1000 <= 3600;
    }
    ck_assert_uint_ge(asked, 8);
    ck_assert_uint_le(asked, 60);
    ck_assert_uint_ge(last_hour, 5);
}
END_TEST

START_TEST(a_clock_that_is_set_does_not_stop_the_fetching)
{
    struct sp_crl_schedule s = {.failures = 0};

    ck_assert_int_eq(sp_crl_schedule_wait_ms(&s, NOW), 0); /* the first time: at once */
    sp_crl_schedule_good(&s, NOW, NOW / 1000 + 9 * 3600, 0);
    ck_assert_int_eq(sp_crl_schedule_wait_ms(&s, NOW - 100 * HOUR), HOUR);
    ck_assert_int_eq(sp_crl_schedule_wait_ms(&s, NOW - 99 * HOUR), 0);
    sp_crl_schedule_good(&s, NOW, NOW / 1000 + 9 * 3600, 0);
    ck_assert_int_eq(sp_crl_schedule_wait_ms(&s, NOW + 100 * HOUR), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("crl_schedule");
    TCase *tcase = tcase_create("crl_schedule");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(
        tcase, a_good_list_is_asked_for_at_half_of_its_life_at_most_hourly_at_most_each_second, 0,
        11);
    tcase_add_test(tcase, failures_wait_twice_as_long_each_time_and_five_minutes_at_most);
    tcase_add_test(tcase, several_attempts_lie_before_the_end_of_a_list_and_none_is_hot);
    tcase_add_test(tcase, a_clock_that_is_set_does_not_stop_the_fetching);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
