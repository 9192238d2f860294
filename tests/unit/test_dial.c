#include "common/dial.h"
#include "common/loop.h"
#include "common/sock.h"
#include "tests/support/own_network.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static struct sp_loop *loop;
static struct sp_timer *deadline;

static void on_deadline(void *ctx)
{
    (void)ctx;
    ck_abort_msg("nothing happened for ten seconds");
}

static void make_loop(void)
{
    ck_assert_int_eq(sp_loop_new(&loop, NULL), SP_OK);
    deadline = sp_timer_new(loop, on_deadline, NULL);
    sp_timer_start(deadline, 10000);
}

static void drop_loop(void)
{
    sp_timer_free(deadline);
    sp_loop_free(loop);
}

/* ---- addresses of every kind, all on loopback ---- */

struct place {
    struct sp_addr addr;
    int fd;
};

static struct place open_place(int family)
{
    struct place place = {.addr = {.port = 0}};
    const char *text = family == 6 ? "::1" : "127.0.0.1";

    ck_assert(sp_ip_parse(text, strlen(text), &place.addr.ip));
    ck_assert_int_eq(sp_listen_fd(&place.addr, false, &place.fd, NULL), SP_OK);
    return place;
}

/* Bound but not listening: refuses, and nobody else can get the port meanwhile. */
static struct place refusing_place(void)
{
    struct place place = {.addr = {.port = 0}};
    struct sockaddr_storage sa;
    socklen_t len;

    ck_assert(sp_ip_parse("127.0.0.1", 9, &place.addr.ip));
    len = sp_addr_to_sockaddr(&place.addr, &sa);
    place.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(place.fd, (const struct sockaddr *)&sa, len), 0);
    ck_assert_int_eq(getsockname(place.fd, (struct sockaddr *)&sa, &len), 0);
    ck_assert(sp_addr_from_sockaddr((const struct sockaddr *)&sa, &place.addr));
    return place;
}

/* Listens, but a filter on its socket drops every packet, so that no SYN is ever answered. */
static struct place silent_place(void)
{
    struct sock_filter drop[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
    struct sock_fprog program = {.len = 1, .filter = drop};
    struct place place = open_place(4);

    ck_assert_int_eq(setsockopt(place.fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program),
                     0);
    return place;
}

/* No route: the kernel refuses at once. */
static struct place unroutable_place(void)
{
    struct place place = {.addr = {.port = 1}, .fd = -1};

    ck_assert(sp_ip_parse("255.255.255.255", 15, &place.addr.ip));
    return place;
}

static void close_place(struct place *place)
{
    if (place->fd >= 0)
        close(place->fd);
}

/* ---- what came back ---- */

struct result {
    int calls, fd; /* fd: -1 after a failure */
    struct sp_addr addr;
    struct sp_error error;
};

static void on_done(void *ctx, struct sp_sock *sock, const struct sp_addr *addr,
                    const struct sp_error *error)
{
    struct result *result = ctx;

    result->calls++;
    result->fd = sock ? sp_sock_release(sock) : -1;
    if (addr)
        result->addr = *addr;
    result->error = *error;
    sp_loop_stop(loop);
}

static void dial_and_run(const struct sp_addr *addrs, size_t count,
                         const struct sp_dial_options *options, struct result *result)
{
    memset(result, 0, sizeof *result);
    ck_assert_ptr_nonnull(sp_dial(loop, addrs, count, options, on_done, result));
    ck_assert_int_eq(result->calls, 0);
    while (!result->calls) /* another dial's end may stop the loop first */
        sp_loop_run(loop);
    ck_assert_int_eq(result->calls, 1);
}

static void assert_connected(const struct result *result, const struct place *place)
{
    int far;

    ck_assert_int_eq(result->error.kind, SP_OK);
    ck_assert_int_ge(result->fd, 0);
    ck_assert(sp_ip_equal(&result->addr.ip, &place->addr.ip));
    ck_assert_uint_eq(result->addr.port, place->addr.port);
    far = accept(place->fd, NULL, NULL);
    ck_assert_int_ge(far, 0);
    ck_assert_int_eq(send(result->fd, "x", 1, 0), 1);
    close(far);
    close(result->fd);
}

static void assert_text(const struct result *result, const struct place *place, const char *reason)
{
    char wanted[256], text[SP_ADDR_TEXT];

    snprintf(wanted, sizeof wanted, "%s: %s", sp_addr_format(&place->addr, text), reason);
    ck_assert_str_eq(result->error.text, wanted);
}

static int open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    ck_assert_ptr_nonnull(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

START_TEST(a_listener_is_reached)
{
    struct place place = open_place(_i);
    struct result result;

    dial_and_run(&place.addr, 1, NULL, &result);
    assert_connected(&result, &place);
    close_place(&place);
}
END_TEST

START_TEST(the_next_address_is_tried_when_one_fails)
{
    struct place bad = _i == 0 ? refusing_place() : _i == 1 ? silent_place() : unroutable_place();
    struct place good = open_place(6);
    struct sp_addr addrs[] = {bad.addr, bad.addr, good.addr};
    struct sp_dial_options options = {.delay_ms = 30};
    struct result result;

    dial_and_run(addrs, 3, &options, &result);
    assert_connected(&result, &good);
    close_place(&bad);
    close_place(&good);
}
END_TEST

START_TEST(when_all_fail_the_last_failure_is_told)
{
    struct place first = unroutable_place(), last = refusing_place();
    struct sp_addr addrs[] = {first.addr, last.addr};
    struct result result;

    dial_and_run(addrs, 2, NULL, &result);
    ck_assert_int_eq(result.fd, -1);
    ck_assert_int_eq(result.error.kind, SP_ERR_SYS);
    ck_assert_int_eq(result.error.code, ECONNREFUSED);
    assert_text(&result, &last, "Connection refused");
    close_place(&last);
}
END_TEST

START_TEST(a_failure_at_once_is_told_later)
{
    struct place place = unroutable_place();
    struct result result;

    dial_and_run(&place.addr, 1, NULL, &result);
    ck_assert_int_eq(result.fd, -1);
    ck_assert_int_eq(result.error.kind, SP_ERR_SYS);
    ck_assert_int_ne(result.error.code, 0);
}
END_TEST

START_TEST(the_last_address_has_all_the_time_that_is_left)
{
    struct place silent = silent_place();
    struct sp_addr addrs[] = {silent.addr, silent.addr};
    struct sp_dial_options options = {.delay_ms = 20, .total_ms = 120};
    uint64_t start = sp_loop_clock_us();
    struct result result;

    dial_and_run(addrs, _i, &options, &result);
    ck_assert_int_eq(result.fd, -1);
    ck_assert_int_eq(result.error.kind, SP_ERR_TIMEOUT);
    assert_text(&result, &silent, "no answer within 120 ms");
    ck_assert_uint_ge(sp_loop_clock_us() - start, 110 * 1000);
    close_place(&silent);
}
END_TEST

static void on_heard_again(void *ctx)
{
    const struct place *place = ctx;
    int none = 0;

    ck_assert_int_eq(setsockopt(place->fd, SOL_SOCKET, SO_DETACH_FILTER, &none, sizeof none), 0);
}

/* The kernel asks again after a second. */
START_TEST(an_address_that_answers_late_still_counts_while_others_are_tried)
{
    struct place late = silent_place(), silent = silent_place(), refusing = refusing_place();
    struct sp_addr addrs[] = {late.addr, refusing.addr, silent.addr};
    struct sp_dial_options options = {.delay_ms = 20};
    struct sp_timer *timer = sp_timer_new(loop, on_heard_again, &late);
    struct result result;

    sp_timer_start(timer, 200);
    dial_and_run(addrs, 3, &options, &result);
    assert_connected(&result, &late);
    sp_timer_free(timer);
    close_place(&late);
    close_place(&silent);
    close_place(&refusing);
}
END_TEST

START_TEST(a_silent_address_costs_no_more_than_the_delay)
{
    struct place silent = silent_place(), good = open_place(4);
    struct sp_addr addrs[] = {silent.addr, good.addr};
    uint64_t start = sp_loop_clock_us(), took;
    int before = open_descriptors();
    struct result result;

    dial_and_run(addrs, 2, NULL, &result);
    took = sp_loop_clock_us() - start;
    assert_connected(&result, &good);
    ck_assert_uint_ge(took, 240 * 1000);
    ck_assert_uint_lt(took, 2000 * 1000);
    ck_assert_int_eq(open_descriptors(), before);
    close_place(&silent);
    close_place(&good);
}
END_TEST

START_TEST(a_failure_is_not_told_while_another_address_may_answer)
{
    struct place silent = silent_place(), refusing = refusing_place();
    struct sp_addr addrs[] = {silent.addr, refusing.addr};
    struct sp_dial_options options = {.delay_ms = 10, .total_ms = 150};
    struct result result;

    dial_and_run(addrs, 2, &options, &result);
    ck_assert_int_eq(result.fd, -1);
    ck_assert_int_eq(result.error.kind, SP_ERR_TIMEOUT);
    assert_text(&result, &silent, "no answer within 150 ms");
    close_place(&silent);
    close_place(&refusing);
}
END_TEST

START_TEST(the_whole_time_ends_a_dial_with_addresses_left)
{
    struct place silent = silent_place(), good = open_place(4);
    struct sp_addr addrs[] = {silent.addr, silent.addr, good.addr};
    struct sp_dial_options options = {.delay_ms = 60, .total_ms = 80};
    struct result result;

    dial_and_run(addrs, 3, &options, &result);
    ck_assert_int_eq(result.fd, -1);
    ck_assert_int_eq(result.error.kind, SP_ERR_TIMEOUT);
    assert_text(&result, &silent, "no answer within 80 ms");
    close_place(&silent);
    close_place(&good);
}
END_TEST

static void on_busy(void *ctx)
{
    uint64_t start = sp_loop_clock_us();

    (void)ctx;
    while (sp_loop_clock_us() - start < 30 * 1000) {
    }
}

/* The task runs between the timers and the sockets, so that the connection is noticed after its
 * time is over, but before the timer is. */
START_TEST(a_connection_noticed_before_the_timer_counts)
{
    struct place place = open_place(4);
    struct sp_dial_options options = {.total_ms = 20};
    struct sp_task busy;
    struct result result;

    sp_task_init(&busy, on_busy, NULL);
    sp_task_soon(loop, &busy);
    dial_and_run(&place.addr, 1, &options, &result);
    assert_connected(&result, &place);
    close_place(&place);
}
END_TEST

START_TEST(no_address_is_a_failure_told_later)
{
    struct result result;

    dial_and_run(NULL, 0, NULL, &result);
    ck_assert_int_eq(result.fd, -1);
    ck_assert_str_eq(result.error.text, "no address to connect to");
}
END_TEST

/* A network of our own in which every connection starts from the one port 40000. False: this
 * machine does not let us. */
static bool enter_network_of_one_port(void)
{
    int ports;
    bool ok;

    if (!own_network())
        return false;
    ports = open("/proc/sys/net/ipv4/ip_local_port_range", O_WRONLY | O_CLOEXEC);
    ok = ports >= 0 && write(ports, "40000 40000", 11) == 11;
    if (ports >= 0)
        close(ports);
    return ok;
}

START_TEST(a_connection_that_met_itself_is_refused)
{
    struct place place = {.addr = {.port = 40000}, .fd = -1};
    struct result result;

    if (!enter_network_of_one_port())
        return;
    ck_assert(sp_ip_parse("127.0.0.1", 9, &place.addr.ip));
    dial_and_run(&place.addr, 1, NULL, &result);
    ck_assert_int_eq(result.fd, -1);
    assert_text(&result, &place, "Connection refused");
}
END_TEST

/* ---- cancelling ---- */

static void run_for_a_moment(void)
{
    struct place place = open_place(4);
    struct result result;

    dial_and_run(&place.addr, 1, NULL, &result);
    assert_connected(&result, &place);
    close_place(&place);
}

START_TEST(a_cancelled_dial_is_not_told_and_leaves_no_descriptor)
{
    struct place places[] = {open_place(4), refusing_place(), silent_place(), unroutable_place()};
    struct place *place = &places[_i % 4];
    struct sp_dial *dial;
    struct result result = {.calls = 0};
    int before = open_descriptors();

    dial = sp_dial(loop, &place->addr, 1, NULL, on_done, &result);
    if (_i < 4)
        sp_dial_cancel(dial);
    run_for_a_moment();
    run_for_a_moment();
    if (_i >= 4 && !result.calls)
        sp_dial_cancel(dial);
    ck_assert_int_eq(result.calls, _i >= 4 && _i != 6);
    if (result.calls && result.fd >= 0)
        close(result.fd);
    ck_assert_int_eq(open_descriptors(), before);
    for (int i = 0; i < 4; i++)
        close_place(&places[i]);
    sp_dial_cancel(NULL);
}
END_TEST

struct canceller {
    struct sp_dial *dial;
    struct sp_task task;
    int rounds;
};

static void on_round(void *ctx)
{
    struct canceller *canceller = ctx;

    if (--canceller->rounds > 0)
        sp_task_soon(loop, &canceller->task);
    else
        sp_dial_cancel(canceller->dial);
}

/* A dial that has failed at once, or has just begun: nothing was told yet. */
START_TEST(a_dial_may_be_cancelled_before_anything_was_told)
{
    struct place place = _i == 1 ? unroutable_place() : open_place(4);
    struct canceller canceller = {.rounds = 1};
    struct result result = {.calls = 0};
    int before = open_descriptors();

    sp_task_init(&canceller.task, on_round, &canceller);
    sp_task_soon(loop, &canceller.task);
    canceller.dial = sp_dial(loop, &place.addr, 1, NULL, on_done, &result);
    run_for_a_moment();
    ck_assert_int_eq(result.calls, 0);
    ck_assert_int_eq(open_descriptors(), before);
    close_place(&place);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dial");
    TCase *tc = tcase_create("dial");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, make_loop, drop_loop);
    tcase_set_timeout(tc, 20);
    tcase_add_loop_test(tc, a_listener_is_reached, 4, 5);
    tcase_add_loop_test(tc, a_listener_is_reached, 6, 7);
    tcase_add_loop_test(tc, the_next_address_is_tried_when_one_fails, 0, 3);
    tcase_add_test(tc, when_all_fail_the_last_failure_is_told);
    tcase_add_test(tc, a_failure_at_once_is_told_later);
    tcase_add_loop_test(tc, the_last_address_has_all_the_time_that_is_left, 1, 3);
    tcase_add_test(tc, an_address_that_answers_late_still_counts_while_others_are_tried);
    tcase_add_test(tc, a_silent_address_costs_no_more_than_the_delay);
    tcase_add_test(tc, a_failure_is_not_told_while_another_address_may_answer);
    tcase_add_test(tc, the_whole_time_ends_a_dial_with_addresses_left);
    tcase_add_test(tc, a_connection_noticed_before_the_timer_counts);
    tcase_add_test(tc, no_address_is_a_failure_told_later);
    tcase_add_test(tc, a_connection_that_met_itself_is_refused);
    tcase_add_loop_test(tc, a_cancelled_dial_is_not_told_and_leaves_no_descriptor, 0, 8);
    tcase_add_loop_test(tc, a_dial_may_be_cancelled_before_anything_was_told, 1, 3);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
