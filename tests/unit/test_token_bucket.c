#include "common/token_bucket.h"

#include <check.h>

START_TEST(a_full_bucket_gives_its_burst_and_then_nothing)
{
    struct sp_token_bucket b;

    sp_token_bucket_init(&b, 3, 10, 5000);
    for (int i = 0; i < 3; i++)
        ck_assert(sp_token_bucket_take(&b, 5000));
    ck_assert(!sp_token_bucket_take(&b, 5000));
    ck_assert(!sp_token_bucket_take(&b, 5099));
    ck_assert(sp_token_bucket_take(&b, 5100));
    ck_assert(!sp_token_bucket_take(&b, 5100));
}
END_TEST

START_TEST(parts_of_a_token_add_up)
{
    struct sp_token_bucket b;
    int taken = 0;

    sp_token_bucket_init(&b, 2, 10, 0);
    for (uint64_t ms = 0; ms <= 10000; ms += 7)
        taken += sp_token_bucket_take(&b, ms);
    ck_assert_int_eq(taken, 101); /* the two it began with, and 99 in 9,996 ms */
}
END_TEST

START_TEST(a_bucket_never_holds_more_than_its_burst)
{
    struct sp_token_bucket b;

    sp_token_bucket_init(&b, 5, 1000, 0);
    for (int i = 0; i < 5; i++)
        ck_assert(sp_token_bucket_take(&b, UINT32_MAX));
    ck_assert(!sp_token_bucket_take(&b, UINT32_MAX));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("token_bucket");
    TCase *t = tcase_create("token_bucket");

    tcase_add_test(t, a_full_bucket_gives_its_burst_and_then_nothing);
    tcase_add_test(t, parts_of_a_token_add_up);
    tcase_add_test(t, a_bucket_never_holds_more_than_its_burst);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *runner = srunner_create(suite());
    int failed;

    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
