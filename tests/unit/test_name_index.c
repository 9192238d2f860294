/* The table of names that stay with their owners. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/name_index.h"

#define OWNERS 5000
#define EACH   3

static const char *text_of(const void *ctx, uint32_t owner, uint32_t number)
{
    static char name[2][32];
    static unsigned turn; /* one may be compared with another */

    turn = !turn;
    snprintf(name[turn], sizeof name[turn], "%s%u.%u", (const char *)ctx, number, owner);
    return name[turn];
}

START_TEST(each_name_finds_its_owner_and_no_other_does)
{
    struct gw_name_index *index = gw_name_index_new((size_t)OWNERS * EACH, text_of);
    char name[32];

    for (uint32_t owner = 0; owner < OWNERS; owner++)
        for (uint32_t number = 0; number < EACH; number++)
            ck_assert_uint_eq(gw_name_index_put(index, "n", owner, number), GW_NAME_NONE);
    for (uint32_t owner = 0; owner < OWNERS; owner++)
        for (uint32_t number = 0; number < EACH; number++) {
            snprintf(name, sizeof name, "n%u.%u", number, owner);
            ck_assert_uint_eq(gw_name_index_get(index, "n", name), owner);
        }
    ck_assert_uint_eq(gw_name_index_get(index, "n", "n3.0"), GW_NAME_NONE);
    ck_assert_uint_eq(gw_name_index_get(index, "n", ""), GW_NAME_NONE);
    gw_name_index_unref(gw_name_index_ref(index));
    gw_name_index_unref(index);
}
END_TEST

static const char *same_text(const void *ctx, uint32_t owner, uint32_t number)
{
    (void)owner;
    (void)number;
    return ctx;
}

START_TEST(a_name_that_is_taken_tells_who_has_it)
{
    struct gw_name_index *index = gw_name_index_new(2, same_text);

    ck_assert_uint_eq(gw_name_index_put(index, "x", 7, 0), GW_NAME_NONE);
    ck_assert_uint_eq(gw_name_index_put(index, "x", 8, 0), 7);
    ck_assert_uint_eq(gw_name_index_get(index, "x", "x"), 7);
    gw_name_index_unref(index);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("name_index");
    TCase *tcase = tcase_create("name_index");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, each_name_finds_its_owner_and_no_other_does);
    tcase_add_test(tcase, a_name_that_is_taken_tells_who_has_it);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
