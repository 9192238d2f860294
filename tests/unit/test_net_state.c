#include "common/net_state.h"

#include <check.h>
#include <stdlib.h>

/* Seconds between two looks on each clock; due: when the second one was due, 0: at no certain time.
 */
static const struct {
    const char *what;
    int64_t monotonic, boot, wall, due, slept;
} naps[] = {
    {"nothing", 2, 2, 2, 2, 0},
    {"nothing for long, at no certain time", 9000, 9000, 9000, 0, 0},
    {"a night's sleep", 3, 28803, 28803, 2, 28800},
    {"a sleep while the loop was elsewhere", 5000, 5060, 5060, 0, 60},
    {"a sleep, and the wall clock was set back", 3, 63, -7000, 2, 60},
    {"the wall clock was set back", 2, 2, -3600, 2, 0},
    {"a small adjustment", 2, 2, 11, 2, 0},
    {"a virtual machine that was paused", 2, 2, 602, 0, 600},
    {"the process was stopped", 30, 30, 30, 2, 28},
    {"a busy machine", 4, 4, 4, 2, 0},
};

START_TEST(sleep_is_told_from_time_that_goes_by)
{
    const struct sp_net_clocks before = {
        .monotonic_ms = 5000, .boot_ms = 700000, .wall_ms = 1700000000000};
    const struct sp_net_clocks after = {
        .monotonic_ms = before.monotonic_ms + (uint64_t)(naps[_i].monotonic * 1000),
        .boot_ms = before.boot_ms + (uint64_t)(naps[_i].boot * 1000),
        .wall_ms = before.wall_ms + naps[_i].wall * 1000,
    };

    ck_assert_msg((int64_t)sp_net_slept_ms(&before, &after, (uint64_t)naps[_i].due * 1000) ==
                      naps[_i].slept * 1000,
                  "%s", naps[_i].what);
}
END_TEST

START_TEST(the_clocks_of_this_host_say_that_it_did_not_sleep)
{
    struct sp_net_clocks before, after;

    sp_net_clocks_read(&before);
    sp_net_clocks_read(&after);
    ck_assert_uint_ge(after.monotonic_ms, before.monotonic_ms);
    ck_assert_uint_ge(after.boot_ms, after.monotonic_ms);
    ck_assert_uint_eq(sp_net_slept_ms(&before, &after, 0), 0);
}
END_TEST

/* ---- routes ---- */

#define HEAD4                                                                                      \
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
#define LAN4 "eth0\t000200C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0  \n"
#define OUT4 "eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0  \n"
#define OUT6                                                                                       \
    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "                     \
    "fd000000000000000000000000000001 00000400 00000003 00000000 00000003     eth0\n"

START_TEST(a_table_says_the_same_in_any_order_and_however_often_it_is_used)
{
    uint64_t digest = sp_net_routes_digest(HEAD4 LAN4 OUT4, OUT6);

    ck_assert_uint_eq(digest, sp_net_routes_digest(HEAD4 OUT4 LAN4, OUT6));
    ck_assert_uint_eq(digest,
                      sp_net_routes_digest(HEAD4 LAN4 OUT4,
                                           "00000000000000000000000000000000 00 "
                                           "00000000000000000000000000000000 00 "
                                           "fd000000000000000000000000000001 00000400 00000009 "
                                           "00000777 00400003     eth0\n"));
    ck_assert_uint_eq(
        digest, sp_net_routes_digest(HEAD4 LAN4 OUT4
                                     "lo\t0000007F\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n",
                                     OUT6 "fe800000000000000000000000000000 40 "
                                          "00000000000000000000000000000000 00 "
                                          "00000000000000000000000000000000 00000100 00000002 "
                                          "00000000 00000001     eth1\n"
                                          "ff000000000000000000000000000000 08 "
                                          "00000000000000000000000000000000 00 "
                                          "00000000000000000000000000000000 00000100 00000002 "
                                          "00000000 00000001     eth1\n"));
}
END_TEST

START_TEST(another_gateway_metric_interface_or_one_route_less_is_another_network)
{
    static const char *const others[][2] = {
        {HEAD4 OUT4, OUT6},
        {HEAD4 LAN4 OUT4, ""},
        {HEAD4 LAN4 "eth0\t00000000\t020200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n", OUT6},
        {HEAD4 LAN4 "eth0\t00000000\t010200C0\t0003\t0\t0\t200\t00000000\t0\t0\t0\n", OUT6},
        {HEAD4 LAN4 "wlan0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n", OUT6},
        {HEAD4 LAN4 OUT4 OUT4, OUT6},
        {"", ""},
    };
    uint64_t digest = sp_net_routes_digest(HEAD4 LAN4 OUT4, OUT6);

    ck_assert_uint_ne(digest, sp_net_routes_digest(others[_i][0], others[_i][1]));
}
END_TEST

START_TEST(what_is_no_table_does_no_harm)
{
    ck_assert_uint_eq(sp_net_routes_digest("\n\n  \t\n", "x"), 0);
    ck_assert_uint_eq(sp_net_routes_digest("a b c d e f g h i j k l m n o p", ""),
                      sp_net_routes_digest("a b c d e f g h i j k l m n o p\n", ""));
    sp_net_routes();
    ck_assert_uint_eq(sp_net_addresses(), sp_net_addresses());
}
END_TEST

#define ROWS(table) ((int)(sizeof(table) / sizeof(table)[0]))

int main(void)
{
    Suite *suite = suite_create("net_state");
    TCase *tc = tcase_create("net_state");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(tc, sleep_is_told_from_time_that_goes_by, 0, ROWS(naps));
    tcase_add_test(tc, the_clocks_of_this_host_say_that_it_did_not_sleep);
    tcase_add_test(tc, a_table_says_the_same_in_any_order_and_however_often_it_is_used);
    tcase_add_loop_test(tc, another_gateway_metric_interface_or_one_route_less_is_another_network,
                        0, 7);
    tcase_add_test(tc, what_is_no_table_does_no_harm);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
