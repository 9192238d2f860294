#include "agent/gateways.h"

#include <check.h>
#include <stdlib.h>

#define NONE  AGENT_GATEWAY_NONE
#define NEVER AGENT_GATEWAY_NEVER

static struct agent_gateways g;

static void begin(bool fastest, size_t count)
{
    const struct agent_gateways_options options = {
        .fastest = fastest, .failback_ms = 60000, .probe_ms = 10000, .count = count};

    agent_gateways_init(&g, &options);
}

static size_t pick(uint32_t tried, uint64_t now)
{
    uint64_t at;

    return agent_gateways_pick(&g, tried, now, &at);
}

START_TEST(the_first_of_the_list_is_tried_first_and_the_next_beside_it)
{
    uint64_t at = 1;

    begin(false, 3);
    ck_assert_uint_eq(pick(0, 5), 0);
    ck_assert_uint_eq(pick(1, 5), 1);
    ck_assert_uint_eq(pick(3, 5), 2);
    ck_assert_uint_eq(agent_gateways_pick(&g, 7, 5, &at), NONE);
    ck_assert_uint_eq(at, NEVER);
}
END_TEST

START_TEST(one_that_failed_is_passed_over_until_its_pause_is_over)
{
    uint64_t at;

    begin(false, 2);
    ck_assert(agent_gateways_failed(&g, 0, 1000, 50));
    ck_assert_uint_eq(pick(0, 1000), 1);
    ck_assert(agent_gateways_failed(&g, 1, 1000, 0));
    ck_assert_uint_eq(agent_gateways_pick(&g, 0, 1000, &at), NONE);
    ck_assert_uint_eq(at, 1050); /* half of the first pause, with chance 0 */
    ck_assert_uint_eq(pick(0, 1050), 1);
    ck_assert_uint_eq(pick(0, 1100), 0);
}
END_TEST

START_TEST(attempts_that_fail_together_are_one_failure)
{
    begin(false, 1);
    ck_assert(agent_gateways_failed(&g, 0, 0, 50)); /* until 100 */
    ck_assert(!agent_gateways_failed(&g, 0, 3, 50));
    ck_assert_uint_eq(g.of[0].failures, 1);
    ck_assert_uint_eq(g.of[0].retry_at_ms, 100);
    ck_assert(!agent_gateways_failed(&g, 0, 100, 0));
    ck_assert_uint_eq(g.of[0].failures, 2);
    ck_assert_uint_eq(g.of[0].retry_at_ms, 200);
}
END_TEST

START_TEST(a_better_gateway_has_to_be_good_for_the_whole_interval)
{
    begin(false, 2);
    agent_gateways_failed(&g, 0, 1000, 0);
    agent_gateways_succeeded(&g, 1, 5000, 1100);
    ck_assert_uint_eq(agent_gateways_better(&g, 1), NONE);
    ck_assert(agent_gateways_succeeded(&g, 0, 5000, 2000));
    for (uint64_t now = 2000; now < 62000; now += 1000) {
        agent_gateways_settle(&g, now);
        ck_assert_uint_eq(agent_gateways_better(&g, 1), NONE);
        ck_assert_uint_eq(pick(0, now), 1);
        ck_assert_uint_le(agent_gateways_next_ms(&g, 1, now), 62000);
        agent_gateways_probing(&g, 0, now, 0);
        ck_assert(!agent_gateways_succeeded(&g, 0, 5000, now));
    }
    agent_gateways_settle(&g, 62000);
    ck_assert_uint_eq(agent_gateways_better(&g, 1), 0);
    ck_assert_uint_eq(pick(0, 62000), 0);
}
END_TEST

START_TEST(a_failure_on_trial_begins_the_trial_again)
{
    begin(false, 2);
    agent_gateways_failed(&g, 0, 1000, 0);
    agent_gateways_succeeded(&g, 1, 0, 1100);
    agent_gateways_succeeded(&g, 0, 0, 2000);
    agent_gateways_failed(&g, 0, 40000, 0);
    agent_gateways_settle(&g, 62000);
    ck_assert_uint_eq(agent_gateways_better(&g, 1), NONE);
    agent_gateways_succeeded(&g, 0, 0, 50000);
    agent_gateways_settle(&g, 109999);
    ck_assert_uint_eq(agent_gateways_better(&g, 1), NONE);
    agent_gateways_settle(&g, 110000);
    ck_assert_uint_eq(agent_gateways_better(&g, 1), 0);
}
END_TEST

START_TEST(one_that_was_never_tried_is_better_at_once)
{
    begin(false, 2);
    agent_gateways_succeeded(&g, 1, 0, 10);
    ck_assert_uint_eq(agent_gateways_better(&g, 1), 0);
    ck_assert_uint_eq(agent_gateways_better(&g, 0), NONE);
}
END_TEST

START_TEST(one_on_trial_is_still_better_than_nothing)
{
    begin(false, 2);
    agent_gateways_failed(&g, 0, 1000, 0);
    agent_gateways_succeeded(&g, 0, 0, 2000);
    agent_gateways_failed(&g, 1, 3000, 0);
    ck_assert_uint_eq(pick(0, 3000), 0);
    ck_assert_uint_eq(agent_gateways_better(&g, 0), NONE);
}
END_TEST

START_TEST(a_single_gateway_is_never_on_trial)
{
    begin(false, 1);
    agent_gateways_failed(&g, 0, 1000, 0);
    agent_gateways_succeeded(&g, 0, 0, 2000);
    ck_assert(!g.of[0].on_trial);
    ck_assert_uint_eq(agent_gateways_next_ms(&g, 0, 2000), NEVER);
    ck_assert_uint_eq(agent_gateways_probe(&g, 0, 100000), NONE);
}
END_TEST

START_TEST(a_tunnel_that_ends_soon_is_a_failure_and_after_a_long_life_is_none)
{
    begin(false, 1);
    agent_gateways_succeeded(&g, 0, 0, 1000);
    ck_assert(agent_gateways_ended(&g, 0, 10, 1010, 50));
    ck_assert_uint_eq(pick(0, 1010), NONE);
    agent_gateways_succeeded(&g, 0, 0, 1200);
    ck_assert(agent_gateways_ended(&g, 0, 10, 1210, 100)); /* the pause is longer now */
    ck_assert_uint_eq(g.of[0].retry_at_ms, 1410);
    agent_gateways_succeeded(&g, 0, 0, 1500);
    ck_assert(!agent_gateways_ended(&g, 0, AGENT_GATEWAY_STEADY, 6500, 0));
    ck_assert_uint_eq(pick(0, 6500), 0);
    ck_assert_uint_eq(g.of[0].failures, 0);
}
END_TEST

START_TEST(only_gateways_before_the_one_that_serves_are_probed_and_only_while_they_are_not_well)
{
    begin(false, 3);
    agent_gateways_failed(&g, 0, 1000, 0);
    agent_gateways_failed(&g, 2, 1000, 0);
    ck_assert_uint_eq(agent_gateways_probe(&g, NONE, 5000), NONE);
    ck_assert_uint_eq(agent_gateways_probe(&g, 1, 5000), 0);
    agent_gateways_probing(&g, 0, 5000, 0);
    ck_assert_uint_eq(agent_gateways_probe(&g, 1, 5000), NONE);
    ck_assert_uint_eq(agent_gateways_next_ms(&g, 1, 5000), 5000 + 10000 - 1250);
    ck_assert_uint_eq(agent_gateways_probe(&g, 1, 15000), 0);
    agent_gateways_probing(&g, 0, 15000, 2500);
    ck_assert_uint_eq(agent_gateways_next_ms(&g, 1, 15000), 15000 + 10000 + 1250);
}
END_TEST

START_TEST(hurry_and_forgiveness_shorten_pauses_and_never_lengthen_them)
{
    begin(false, 2);
    for (unsigned i = 0; i < 10; i++)
        agent_gateways_failed(&g, 0, 100000 * i, 0);
    ck_assert_uint_gt(g.of[0].retry_at_ms, 910000);
    agent_gateways_hurry(&g, 901000);
    ck_assert_uint_eq(g.of[0].retry_at_ms, 901000);
    agent_gateways_hurry(&g, 999000);
    ck_assert_uint_eq(g.of[0].retry_at_ms, 901000);
    agent_gateways_forgive(&g, 900500);
    ck_assert_uint_eq(pick(0, 900500), 0);
    ck_assert_uint_eq(agent_gateways_better(&g, 1), 0);
}
END_TEST

/* ---- the fastest ---- */

START_TEST(at_the_start_the_quickest_is_taken_as_soon_as_it_is_measured)
{
    begin(true, 3);
    agent_gateways_succeeded(&g, 0, 50000, 10);
    ck_assert_uint_eq(agent_gateways_better(&g, 0), NONE);
    agent_gateways_succeeded(&g, 2, 10000, 20);
    ck_assert_uint_eq(agent_gateways_better(&g, 0), 2);
    agent_gateways_succeeded(&g, 1, 9000, 30); /* not by enough to be worth it */
    ck_assert_uint_eq(agent_gateways_better(&g, 0), 2);
    ck_assert_uint_eq(pick(0, 30), 2);
    ck_assert_uint_eq(pick(4, 30), 1);
}
END_TEST

START_TEST(who_becomes_quicker_must_stay_so_for_the_whole_interval)
{
    begin(true, 2);
    agent_gateways_succeeded(&g, 0, 10000, 0);
    agent_gateways_succeeded(&g, 1, 40000, 0);
    for (unsigned i = 0; i < 20; i++) /* the smoothed time follows */
        agent_gateways_succeeded(&g, 0, 90000, 1000 + i * 10);
    ck_assert_uint_eq(g.rival, 1);
    agent_gateways_settle(&g, 60000);
    ck_assert_uint_eq(agent_gateways_better(&g, 0), NONE);
    ck_assert_uint_le(agent_gateways_next_ms(&g, NONE, 60000), 61200);
    agent_gateways_settle(&g, 61200);
    ck_assert_uint_eq(agent_gateways_better(&g, 0), 1);
    ck_assert_uint_eq(agent_gateways_better(&g, 1), NONE);
}
END_TEST

START_TEST(one_slow_handshake_or_noise_changes_nothing)
{
    begin(true, 2);
    agent_gateways_succeeded(&g, 0, 10000, 0);
    agent_gateways_succeeded(&g, 1, 12000, 0);
    for (uint64_t now = 0; now < 1000000; now += 10000) {
        agent_gateways_succeeded(&g, 0, 10000 + now % 30000 / 10, now);
        agent_gateways_succeeded(&g, 1, 12000 - now % 40000 / 10, now);
        agent_gateways_settle(&g, now);
        ck_assert_uint_eq(agent_gateways_better(&g, 0), NONE);
    }
    agent_gateways_succeeded(&g, 0, 60000, 1000000);
    for (unsigned i = 0; i < 20; i++)
        agent_gateways_succeeded(&g, 0, 10000, 1010000);
    agent_gateways_settle(&g, 1070000);
    ck_assert_uint_eq(agent_gateways_better(&g, 0), NONE);
}
END_TEST

START_TEST(when_the_favourite_fails_the_next_quickest_is_it_and_its_return_takes_the_interval_once)
{
    begin(true, 3);
    agent_gateways_succeeded(&g, 0, 10000, 0);
    agent_gateways_succeeded(&g, 1, 40000, 0);
    agent_gateways_succeeded(&g, 2, 30000, 0);
    agent_gateways_failed(&g, 0, 1000, 0);
    ck_assert_uint_eq(g.favourite, 2);
    ck_assert_uint_eq(pick(0, 1000), 2);
    agent_gateways_succeeded(&g, 0, 10000, 5000);
    agent_gateways_settle(&g, 64999);
    ck_assert_uint_eq(agent_gateways_better(&g, 2), NONE);
    agent_gateways_settle(&g, 65000);
    ck_assert_uint_eq(agent_gateways_better(&g, 2), 0);
}
END_TEST

START_TEST(everybody_is_probed_when_the_fastest_is_wanted)
{
    begin(true, 2);
    ck_assert_uint_eq(agent_gateways_probe(&g, 0, 1), 0);
    agent_gateways_probing(&g, 0, 1, 0);
    ck_assert_uint_eq(agent_gateways_probe(&g, 0, 1), 1);
    agent_gateways_probing(&g, 1, 1, 0);
    ck_assert_uint_eq(agent_gateways_probe(&g, 0, 1), NONE);
}
END_TEST

START_TEST(patience_and_stagger_follow_the_distance_within_bounds)
{
    begin(false, 3);
    agent_gateways_succeeded(&g, 1, 150000, 0);
    agent_gateways_succeeded(&g, 2, 9000000, 0);
    ck_assert_uint_eq(agent_gateways_stagger_ms(&g, 0), 250);
    ck_assert_uint_eq(agent_gateways_stagger_ms(&g, 1), 300);
    ck_assert_uint_eq(agent_gateways_stagger_ms(&g, 2), 500);
    ck_assert_uint_eq(agent_gateways_patience_ms(&g, 0), 400);
    ck_assert_uint_eq(agent_gateways_patience_ms(&g, 1), 600);
    ck_assert_uint_eq(agent_gateways_patience_ms(&g, 2), 2000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gateways");
    TCase *tc = tcase_create("gateways");
    SRunner *runner;
    int failed;

    tcase_add_test(tc, the_first_of_the_list_is_tried_first_and_the_next_beside_it);
    tcase_add_test(tc, one_that_failed_is_passed_over_until_its_pause_is_over);
    tcase_add_test(tc, attempts_that_fail_together_are_one_failure);
    tcase_add_test(tc, a_better_gateway_has_to_be_good_for_the_whole_interval);
    tcase_add_test(tc, a_failure_on_trial_begins_the_trial_again);
    tcase_add_test(tc, one_that_was_never_tried_is_better_at_once);
    tcase_add_test(tc, one_on_trial_is_still_better_than_nothing);
    tcase_add_test(tc, a_single_gateway_is_never_on_trial);
    tcase_add_test(tc, a_tunnel_that_ends_soon_is_a_failure_and_after_a_long_life_is_none);
    tcase_add_test(
        tc, only_gateways_before_the_one_that_serves_are_probed_and_only_while_they_are_not_well);
    tcase_add_test(tc, hurry_and_forgiveness_shorten_pauses_and_never_lengthen_them);
    tcase_add_test(tc, at_the_start_the_quickest_is_taken_as_soon_as_it_is_measured);
    tcase_add_test(tc, who_becomes_quicker_must_stay_so_for_the_whole_interval);
    tcase_add_test(tc, one_slow_handshake_or_noise_changes_nothing);
    tcase_add_test(
        tc,
        when_the_favourite_fails_the_next_quickest_is_it_and_its_return_takes_the_interval_once);
    tcase_add_test(tc, everybody_is_probed_when_the_fastest_is_wanted);
    tcase_add_test(tc, patience_and_stagger_follow_the_distance_within_bounds);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
