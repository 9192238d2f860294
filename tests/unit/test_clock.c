#include "common/clock.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

START_TEST(wall_time_is_the_systems_in_both_units)
{
    time_t before = time(NULL);
    int64_t ms = sp_clock_wall_ms();
    int64_t s = sp_clock_wall_s();

    /* time() may lag behind clock_gettime() by a tick of the kernel. */
    ck_assert_int_ge(ms / 1000, (int64_t)before);
    ck_assert_int_le(ms / 1000, (int64_t)time(NULL) + 1);
    ck_assert_int_ge(s, (int64_t)before);
    ck_assert_int_le(s, (int64_t)time(NULL));
}
END_TEST

static const struct {
    int64_t ms;
    const char *seconds, *milliseconds;
} times[] = {
    {0, "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"},
    {1795297610123, "2026-11-21T21:46:50Z", "2026-11-21T21:46:50.123Z"},
    {951782400007, "2000-02-29T00:00:00Z", "2000-02-29T00:00:00.007Z"},
    {253402300799999, "9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999Z"},
    {-1000, "1969-12-31T23:59:59Z", "1969-12-31T23:59:59.000Z"},
    {-1, NULL, "1969-12-31T23:59:59.999Z"},
};

START_TEST(times_are_written_as_rfc_3339_in_utc)
{
    char buf[SP_TIME_LEN];

    setenv("TZ", "Asia/Kathmandu", 1); /* must not matter */
    tzset();
    if (times[_i].seconds)
        ck_assert_str_eq(sp_time_format(times[_i].ms / 1000, buf), times[_i].seconds);
    ck_assert_str_eq(sp_time_format_ms(times[_i].ms, buf), times[_i].milliseconds);
}
END_TEST

/* One after the other: what a thread wrote last is not what it writes next. */
START_TEST(a_time_is_written_whatever_was_written_before_it)
{
    char buf[SP_TIME_LEN];

    for (int round = 0; round < 2; round++)
        for (int i = 0; i < COUNT(times); i++) {
            ck_assert_str_eq(sp_time_format_ms(times[i].ms, buf), times[i].milliseconds);
            sp_time_format_ms(times[i].ms, buf);
            ck_assert_str_eq(buf, times[i].milliseconds);
        }
    ck_assert_str_eq(sp_time_format_ms(1999, buf), "1970-01-01T00:00:01.999Z");
    ck_assert_str_eq(sp_time_format_ms(1040, buf), "1970-01-01T00:00:01.040Z");
    ck_assert_str_eq(sp_time_format_ms(2000, buf), "1970-01-01T00:00:02.000Z");
}
END_TEST

START_TEST(a_time_beyond_the_calendar_is_still_text)
{
    char buf[SP_TIME_LEN];

    ck_assert_str_eq(sp_time_format(INT64_MAX, buf), "@9223372036854775807");
    ck_assert_str_eq(sp_time_format(INT64_MIN, buf), "@-9223372036854775808");
    ck_assert_uint_lt(strlen(sp_time_format_ms(INT64_MAX, buf)), sizeof buf);
    ck_assert_uint_lt(strlen(sp_time_format_ms(INT64_MIN, buf)), sizeof buf);
}
END_TEST

static const struct {
    int64_t seconds;
    const char *text;
} spans[] = {
    {0, "0 seconds"},          {1, "1 second"},        {45, "45 seconds"},
    {59, "59 seconds"},        {60, "1 minute"},       {7199, "1 hour"},
    {7200, "2 hours"},         {86399, "23 hours"},    {86400, "1 day"},
    {3 * 86400 + 1, "3 days"}, {-3 * 86400, "3 days"}, {INT64_MIN, "106751991167300 days"},
};

START_TEST(a_span_is_told_in_its_largest_whole_unit)
{
    char buf[SP_TIME_LEN];

    ck_assert_str_eq(sp_time_span(spans[_i].seconds, buf), spans[_i].text);
}
END_TEST

static const struct {
    const char *text;
    int64_t seconds; /* -1: refused */
} moments[] = {
    {"1970-01-01T00:00:00Z", 0},
    {"2026-11-21T21:46:50Z", 1795297610},
    {"2024-02-29T00:00:00Z", 1709164800},
    {"9999-12-31T23:59:59Z", 253402300799},
    {"2023-02-29T00:00:00Z", -1},
    {"2026-11-31T00:00:00Z", -1},
    {"2026-13-01T00:00:00Z", -1},
    {"2026-00-01T00:00:00Z", -1},
    {"2026-11-21T24:00:00Z", -1},
    {"2026-11-21T23:59:60Z", -1},
    {"1969-12-31T23:59:59Z", -1},
    {"2026-11-21T21:46:50", -1},
    {"2026-11-21T21:46:50z", -1},
    {"2026-11-21 21:46:50Z", -1},
    {"2026-11-21T21:46:50+01:00", -1},
    {"2026-11-21T21:46:50Z ", -1},
    {" 026-11-21T21:46:50Z", -1},
    {"2026-11-21", -1},
    {"", -1},
};

START_TEST(a_moment_is_read_back_as_it_is_written_and_nothing_else_is_one)
{
    int64_t seconds = -1;
    bool ok = sp_time_parse(moments[_i].text, &seconds);

    ck_assert_msg(ok == (moments[_i].seconds >= 0), "%s", moments[_i].text);
    ck_assert_msg(seconds == moments[_i].seconds, "%s", moments[_i].text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("clock");
    TCase *tc = tcase_create("clock");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tc);
    tcase_add_test(tc, wall_time_is_the_systems_in_both_units);
    tcase_add_loop_test(tc, times_are_written_as_rfc_3339_in_utc, 0, COUNT(times));
    tcase_add_test(tc, a_time_is_written_whatever_was_written_before_it);
    tcase_add_test(tc, a_time_beyond_the_calendar_is_still_text);
    tcase_add_loop_test(tc, a_span_is_told_in_its_largest_whole_unit, 0, COUNT(spans));
    tcase_add_loop_test(tc, a_moment_is_read_back_as_it_is_written_and_nothing_else_is_one, 0,
                        sizeof moments / sizeof moments[0]);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
