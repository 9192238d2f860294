#include "agent/backoff.h"

#include <check.h>
#include <stdlib.h>

static const struct {
    unsigned failures;
    uint32_t most;
} rows[] = {
    {0, 100},  {1, 100},   {2, 200},   {3, 400},    {4, 800},    {5, 1600},    {6, 3200},
    {7, 6400}, {8, 12800}, {9, 25600}, {10, 30000}, {11, 30000}, {100, 30000}, {4000000000u, 30000},
};

START_TEST(a_wait_doubles_up_to_its_maximum_and_half_of_it_is_chance)
{
    uint32_t most = rows[_i].most;

    ck_assert_uint_eq(agent_backoff_ms(rows[_i].failures, 0), most / 2);
    ck_assert_uint_eq(agent_backoff_ms(rows[_i].failures, most - most / 2), most);
    for (uint32_t random = 0; random < 100000; random += 77) {
        uint32_t ms = agent_backoff_ms(rows[_i].failures, random * 2654435761u);

        ck_assert_uint_ge(ms, most / 2);
        ck_assert_uint_le(ms, most);
    }
}
END_TEST

START_TEST(a_thousand_agents_do_not_come_back_at_once)
{
    unsigned tenths[10] = {0};

    for (uint32_t agent = 0; agent < 1000; agent++) {
        uint32_t ms = agent_backoff_ms(20, (agent + 1) * 2654435761u);
        unsigned tenth = (ms - AGENT_BACKOFF_MAX_MS / 2) * 10 / (AGENT_BACKOFF_MAX_MS / 2 + 1);

        tenths[tenth]++;
    }
    for (unsigned i = 0; i < 10; i++)
        ck_assert_uint_ge(tenths[i], 50);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("backoff");
    TCase *tc = tcase_create("backoff");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(tc, a_wait_doubles_up_to_its_maximum_and_half_of_it_is_chance, 0,
                        (int)(sizeof rows / sizeof rows[0]));
    tcase_add_test(tc, a_thousand_agents_do_not_come_back_at_once);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
