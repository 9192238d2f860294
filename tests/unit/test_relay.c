#include "agent/relay.h"
#include "common/channel.h"
#include "common/loop.h"
#include "common/sock.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MUCH ((size_t)64 * 1024 * 1024) /* more than any socket of a kernel buffers */

static struct sp_loop *loop;
static struct sp_timer *tick;
static bool (*condition)(void);
static unsigned ticks_left;

static int app, dest; /* the far ends: non-blocking, and the test's */
static struct sp_channel *channel;
static struct sp_channel_end end; /* .duration_ms UINT64_MAX: not yet */

/* ---- the loop, until something is so ---- */

static void on_tick(void *ctx)
{
    (void)ctx;
    ck_assert_msg(ticks_left-- > 0, "it did not come to that");
    if (condition())
        sp_loop_stop(loop);
    else
        sp_timer_start(tick, 1);
}

static void run_until(bool (*is_so)(void))
{
    condition = is_so;
    ticks_left = 20000;
    sp_timer_start(tick, 0);
    sp_loop_run(loop);
}

static bool has_ended(void)
{
    return end.duration_ms != UINT64_MAX;
}

/* ---- two TCP connections, and the relay between them ---- */

static void tcp_pair(int *ret_ours, int *ret_theirs)
{
    struct sp_addr addr = {.ip = {.family = 4, .bytes = {127, 0, 0, 1}}};
    struct sockaddr_storage sa;
    socklen_t len;
    int listener;

    ck_assert_int_eq(sp_listen_fd(&addr, false, &listener, NULL), SP_OK);
    len = sp_addr_to_sockaddr(&addr, &sa);
    *ret_theirs = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(*ret_theirs, (const struct sockaddr *)&sa, len), 0);
    do
        *ret_ours = accept(listener, NULL, NULL);
    while (*ret_ours < 0 && errno == EAGAIN);
    ck_assert_int_ge(*ret_ours, 0);
    close(listener);
}

static void on_closed(void *ctx, struct sp_channel *ch, const struct sp_channel_end *how)
{
    (void)ctx;
    ck_assert_ptr_eq(ch, channel);
    ck_assert(!has_ended());
    end = *how;
}

static void make(void)
{
    static const struct sp_channel_callbacks callbacks = {.on_closed = on_closed};
    static const struct sp_target target = {.host = "db.example", .port = 1};
    static const struct sp_sock_callbacks none;
    struct sp_sock *app_sock, *dest_sock;
    int ours;

    end.duration_ms = UINT64_MAX;
    ck_assert_int_eq(sp_loop_new(&loop, NULL), SP_OK);
    tick = sp_timer_new(loop, on_tick, NULL);
    tcp_pair(&ours, &dest);
    ck_assert_int_eq(sp_sock_new(loop, ours, &none, NULL, &dest_sock, NULL), SP_OK);
    tcp_pair(&ours, &app);
    ck_assert_int_eq(sp_sock_new(loop, ours, &none, NULL, &app_sock, NULL), SP_OK);
    channel = agent_relay_new(loop, dest_sock, &target);
    sp_channel_set_owner(channel, &callbacks, NULL);
    sp_channel_attach(channel, app_sock, "first ", 6);
}

static void drop(void)
{
    ck_assert(has_ended());
    sp_timer_free(tick);
    sp_loop_free(loop);
    close(app);
    close(dest);
}

/* ---- what the far ends see ---- */

static char got[64];
static size_t got_len;
static int got_from;

/* Until the end, which is 0, or an error. */
static bool has_all(void)
{
    ssize_t n = recv(got_from, got + got_len, sizeof got - got_len, MSG_DONTWAIT);

    if (n > 0)
        got_len += (size_t)n;
    return n == 0;
}

static void expect(int fd, const char *text)
{
    got_from = fd;
    got_len = 0;
    run_until(has_all);
    ck_assert_uint_eq(got_len, strlen(text));
    ck_assert_mem_eq(got, text, got_len);
}

static int failure;

static bool has_failed(void)
{
    char byte;
    ssize_t n = recv(got_from, &byte, 1, MSG_DONTWAIT);

    failure = n < 0 ? errno : 0;
    return n == 0 || (n < 0 && errno != EAGAIN);
}

static void expect_reset(int fd)
{
    got_from = fd;
    run_until(has_failed);
    ck_assert_int_eq(failure, ECONNRESET);
}

/* One that has had its end of the stream is told in another way. */
static bool is_broken(void)
{
    struct pollfd p = {.fd = got_from};

    return poll(&p, 1, 0) == 1 && p.revents & POLLERR;
}

static void reset(int *fd)
{
    const struct linger hard = {1, 0};

    setsockopt(*fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(*fd);
    *fd = -1;
}

static void say(int fd, const char *text)
{
    ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* ---- tests ---- */

START_TEST(each_side_may_end_first_and_the_other_still_speaks)
{
    int first = _i ? app : dest, second = _i ? dest : app;

    say(first, "from the one");
    shutdown(first, SHUT_WR);
    expect(second, _i ? "first from the one" : "from the one");
    ck_assert(!has_ended());
    say(second, "from the other");
    shutdown(second, SHUT_WR);
    expect(first, _i ? "from the other" : "first from the other");
    run_until(has_ended);
    ck_assert_int_eq(end.how, SP_CHANNEL_DONE);
    ck_assert_uint_eq(end.bytes_out, _i ? 18 : 20);
    ck_assert_uint_eq(end.bytes_in, _i ? 14 : 12);
    drop();
}
END_TEST

START_TEST(a_reset_of_one_side_is_one_of_the_other)
{
    reset(_i ? &app : &dest);
    expect_reset(_i ? dest : app);
    run_until(has_ended);
    ck_assert_int_eq(end.how, _i ? SP_CHANNEL_LOCAL_RESET : SP_CHANNEL_REMOTE_RESET);
    drop();
}
END_TEST

START_TEST(a_reset_after_the_end_of_what_it_said_is_still_one)
{
    shutdown(_i ? app : dest, SHUT_WR);
    expect(_i ? dest : app, _i ? "first " : "");
    reset(_i ? &app : &dest);
    say(_i ? dest : app, "nobody reads this"); /* which meets the reset */
    got_from = _i ? dest : app;
    run_until(is_broken);
    run_until(has_ended);
    ck_assert_int_eq(end.how, _i ? SP_CHANNEL_LOCAL_RESET : SP_CHANNEL_REMOTE_RESET);
    drop();
}
END_TEST

START_TEST(a_cancelled_channel_is_a_reset_for_both)
{
    sp_channel_cancel(channel);
    run_until(has_ended);
    ck_assert_int_eq(end.how, SP_CHANNEL_CANCELLED);
    expect_reset(dest);
    expect_reset(app);
    drop();
}
END_TEST

/* ---- a reader that stops ---- */

static char block[256 * 1024];
static size_t sent, received;
static int sender, receiver;
static unsigned quiet; /* ticks without a byte */

/* A byte that depends on where in the stream it is. */
static char byte_at(size_t at)
{
    return (char)(at * 31 + at / 251);
}

static void send_some(void)
{
    size_t len = MUCH - sent < sizeof block ? MUCH - sent : sizeof block;
    ssize_t n;

    for (size_t i = 0; i < len; i++)
        block[i] = byte_at(sent + i);
    n = send(sender, block, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    quiet = n > 0 ? 0 : quiet + 1;
    sent += n > 0 ? (size_t)n : 0;
}

static bool is_stuck(void)
{
    send_some();
    return quiet > 300;
}

static bool has_received_all(void)
{
    size_t wrong = 0;
    ssize_t n;

    if (sent < MUCH)
        send_some();
    n = recv(receiver, block, sizeof block, MSG_DONTWAIT);
    for (ssize_t i = 0; i < n; i++, received++)
        wrong += block[i] != byte_at(received);
    ck_assert_uint_eq(wrong, 0);
    return received == MUCH;
}

START_TEST(a_reader_that_stops_stops_the_writer_and_loses_nothing)
{
    char first[6];

    sender = _i ? app : dest;
    receiver = _i ? dest : app;
    run_until(is_stuck);
    ck_assert_uint_lt(sent, MUCH / 2); /* what the kernel's sockets hold, and the window */
    if (_i)
        ck_assert_int_eq(recv(receiver, first, sizeof first, MSG_WAITALL), sizeof first);
    run_until(has_received_all);
    shutdown(app, SHUT_WR);
    shutdown(dest, SHUT_WR);
    run_until(has_ended);
    ck_assert_int_eq(end.how, SP_CHANNEL_DONE);
    ck_assert_uint_eq(_i ? end.bytes_out - 6 : end.bytes_in, MUCH);
    drop();
}
END_TEST

static bool has_something(void)
{
    char byte;

    return recv(got_from, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 1;
}

static bool has_answer(void)
{
    ssize_t n = recv(got_from, got + got_len, sizeof got - got_len, MSG_DONTWAIT);

    if (n > 0)
        got_len += (size_t)n;
    return got_len == strlen("an early answer");
}

static struct sp_sock *bell_sock;

/* Between the tick's look at the sockets and its work: what the destination has said was not seen
 * when the relay goes to write. */
static void on_bell(void *ctx)
{
    (void)ctx;
    say(dest, "an early answer");
    close(dest); /* with something unread: a reset */
    dest = -1;
    sp_sock_close(bell_sock);
}

START_TEST(the_last_words_of_a_destination_that_resets_are_heard)
{
    static const struct sp_sock_callbacks callbacks = {.on_readable = on_bell};
    int bell[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, bell), 0);
    ck_assert_int_eq(sp_sock_new(loop, bell[0], &callbacks, NULL, &bell_sock, NULL), SP_OK);
    sp_sock_watch_read(bell_sock, true);
    got_from = dest;
    run_until(has_something);
    say(app, "more of the request");
    say(bell[1], "now");
    got_from = app;
    run_until(has_answer);
    ck_assert_mem_eq(got, "an early answer", got_len);
    run_until(has_ended);
    ck_assert_int_eq(end.how, SP_CHANNEL_REMOTE_RESET);
    close(bell[1]);
    drop();
}
END_TEST

int main(void)
{
    SRunner *runner;
    TCase *tcase = tcase_create("relay");
    Suite *suite = suite_create("relay");
    int failed;

    tcase_add_checked_fixture(tcase, make, NULL);
    tcase_set_timeout(tcase, 40);
    tcase_add_loop_test(tcase, each_side_may_end_first_and_the_other_still_speaks, 0, 2);
    tcase_add_loop_test(tcase, a_reset_of_one_side_is_one_of_the_other, 0, 2);
    tcase_add_loop_test(tcase, a_reset_after_the_end_of_what_it_said_is_still_one, 0, 2);
    tcase_add_test(tcase, a_cancelled_channel_is_a_reset_for_both);
    tcase_add_loop_test(tcase, a_reader_that_stops_stops_the_writer_and_loses_nothing, 0, 2);
    tcase_add_test(tcase, the_last_words_of_a_destination_that_resets_are_heard);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
