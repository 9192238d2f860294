#include "common/loop.h"
#include "common/net_watch.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Each test is a process of its own (check forks), with a network of its own. */

static struct sp_loop *loop;
static struct sp_net_watch *watch;
static struct sp_timer *deadline, *step;
static int changes, wakes, control;

static void on_event(void *ctx, const struct sp_net_event *event)
{
    (void)ctx;
    *(event->kind == SP_NET_WOKE ? &wakes : &changes) += 1;
    sp_loop_stop(loop);
}

static void on_deadline(void *ctx)
{
    (void)ctx;
    sp_loop_stop(loop);
}

static bool enter_network(void)
{
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0 && unshare(CLONE_NEWNET) < 0)
        return false;
    control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return control >= 0;
}

static void set_flags(const char *name, int flags)
{
    struct ifreq request = {.ifr_flags = (short)flags};

    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    ck_assert_int_eq(ioctl(control, SIOCSIFFLAGS, &request), 0);
}

static void set_address(const char *name, const char *address)
{
    struct ifreq request = {.ifr_flags = 0};
    struct sockaddr_in in = {.sin_family = AF_INET};

    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    ck_assert_int_eq(inet_pton(AF_INET, address, &in.sin_addr), 1);
    memcpy(&request.ifr_addr, &in, sizeof in);
    ck_assert_int_eq(ioctl(control, SIOCSIFADDR, &request), 0);
}

static bool make_dummy(void)
{
    return system("ip link add d0 type dummy 2>/dev/null") == 0;
}

static void begin(void)
{
    struct sp_error err;

    ck_assert_int_eq(sp_loop_new(&loop, NULL), SP_OK);
    deadline = sp_timer_new(loop, on_deadline, NULL);
    ck_assert_int_eq(sp_net_watch_new(loop, on_event, NULL, &watch, &err), SP_OK);
}

static void run(unsigned ms)
{
    sp_timer_start(deadline, ms);
    sp_loop_run(loop);
}

static void end(void)
{
    sp_net_watch_free(watch);
    sp_net_watch_free(NULL);
    sp_timer_free(deadline);
    sp_loop_free(loop);
}

START_TEST(an_address_or_a_route_that_comes_is_told_once)
{
    if (!enter_network() || !make_dummy())
        return;
    set_flags("lo", IFF_UP);
    begin();
    set_address("d0", "192.0.2.7");
    set_flags("d0", IFF_UP);
    run(10000);
    ck_assert_int_eq(changes, 1);
    ck_assert_int_eq(system("ip route add default dev d0"), 0);
    run(10000);
    ck_assert_int_eq(changes, 2);
    set_flags("d0", 0); /* takes its routes with it */
    run(10000);
    ck_assert_int_eq(changes, 3);
    end();
}
END_TEST

START_TEST(what_does_not_lead_elsewhere_is_not_told)
{
    if (!enter_network() || !make_dummy())
        return;
    begin();
    set_flags("lo", IFF_UP);
    set_address("lo", "127.0.0.2");
    set_flags("d0", IFF_UP); /* link-local at most */
    run(1500);
    ck_assert_int_eq(changes, 0);
    end();
}
END_TEST

static void on_step(void *ctx)
{
    (void)ctx;
    sleep(6); /* nobody looks after the loop meanwhile */
}

START_TEST(a_loop_that_stood_still_has_slept)
{
    begin();
    step = sp_timer_new(loop, on_step, NULL);
    sp_timer_start(step, 0);
    run(20000);
    ck_assert_int_eq(wakes, 1);
    sp_timer_free(step);
    end();
}
END_TEST

START_TEST(an_ordinary_moment_is_no_news)
{
    begin();
    run(2500); /* it has looked at the clocks once */
    ck_assert_int_eq(wakes, 0);
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("net_watch");
    TCase *tc = tcase_create("net_watch");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tc, 50);
    tcase_add_test(tc, an_address_or_a_route_that_comes_is_told_once);
    tcase_add_test(tc, what_does_not_lead_elsewhere_is_not_told);
    tcase_add_test(tc, a_loop_that_stood_still_has_slept);
    tcase_add_test(tc, an_ordinary_moment_is_no_news);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
