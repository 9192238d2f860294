#include "common/loop.h"
#include "common/sock.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
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

static struct sp_addr loopback(int family)
{
    struct sp_addr addr = {.port = 0};
    const char *text = family == 6 ? "::1" : "127.0.0.1";

    ck_assert(sp_ip_parse(text, strlen(text), &addr.ip));
    return addr;
}

/* A plain blocking connection to addr. */
static int connect_to(const struct sp_addr *addr)
{
    struct sockaddr_storage sa;
    socklen_t len = sp_addr_to_sockaddr(addr, &sa);
    int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&sa, len), 0);
    return fd;
}

/* A TCP connection: far is a plain descriptor, near is a sock. */
struct pair {
    int far;
    struct sp_sock *near;
    int reads, writes; /* callbacks */
    char data[64];
    ssize_t got;
    struct sp_timer *look;
};

static void on_readable(void *ctx)
{
    struct pair *pair = ctx;

    pair->reads++;
    pair->got = sp_sock_read(pair->near, pair->data, sizeof pair->data);
    sp_loop_stop(loop);
}

static void on_writable(void *ctx)
{
    struct pair *pair = ctx;

    pair->writes++;
    sp_loop_stop(loop);
}

static const struct sp_sock_callbacks pair_callbacks = {on_readable, on_writable};

static void make_pair_fds(int *ret_far, int *ret_near)
{
    struct sp_addr addr = loopback(4);
    int listener;

    ck_assert_int_eq(sp_listen_fd(&addr, false, &listener, NULL), SP_OK);
    *ret_far = connect_to(&addr);
    *ret_near = accept(listener, NULL, NULL);
    ck_assert_int_ge(*ret_near, 0);
    close(listener);
}

static void make_pair(struct pair *pair)
{
    int near;

    memset(pair, 0, sizeof *pair);
    make_pair_fds(&pair->far, &near);
    ck_assert_int_eq(sp_sock_new(loop, near, &pair_callbacks, pair, &pair->near, NULL), SP_OK);
}

START_TEST(what_the_peer_sends_is_read_and_then_its_end)
{
    struct pair pair;

    make_pair(&pair);
    ck_assert_int_eq(sp_sock_read(pair.near, pair.data, 1), -EAGAIN);
    ck_assert_int_eq(send(pair.far, "hello", 5, 0), 5);
    sp_sock_watch_read(pair.near, true);
    sp_loop_run(loop);
    ck_assert_int_eq(pair.got, 5);
    ck_assert_mem_eq(pair.data, "hello", 5);
    ck_assert_int_eq(shutdown(pair.far, SHUT_WR), 0);
    sp_loop_run(loop);
    ck_assert_int_eq(pair.got, 0);
    ck_assert_int_eq(pair.reads, 2);
    ck_assert_int_eq(pair.writes, 0);
    sp_sock_close(pair.near);
    close(pair.far);
}
END_TEST

static void on_enough(void *ctx)
{
    (void)ctx;
    sp_loop_stop(loop);
}

START_TEST(nothing_is_told_while_nothing_is_watched)
{
    struct pair pair;
    struct sp_timer *timer;

    make_pair(&pair);
    ck_assert_int_eq(send(pair.far, "x", 1, 0), 1);
    sp_sock_watch_read(pair.near, true);
    sp_sock_watch_write(pair.near, true);
    sp_sock_watch_read(pair.near, false);
    sp_sock_watch_write(pair.near, false);
    timer = sp_timer_new(loop, on_enough, NULL);
    sp_timer_start(timer, 20);
    sp_loop_run(loop);
    ck_assert_int_eq(pair.reads + pair.writes, 0);
    sp_timer_free(timer);
    sp_sock_close(pair.near);
    close(pair.far);
}
END_TEST

START_TEST(a_full_socket_is_writable_again_when_the_peer_reads)
{
    static char block[65536];
    struct pair pair;
    ssize_t sent;
    size_t total = 0;

    make_pair(&pair);
    while ((sent = sp_sock_write(pair.near, block, sizeof block)) > 0)
        total += (size_t)sent;
    ck_assert_int_eq(sent, -EAGAIN);
    sp_sock_watch_write(pair.near, true);
    while (total > 0) {
        sent = recv(pair.far, block, sizeof block, 0);
        ck_assert_int_gt(sent, 0);
        total -= (size_t)sent;
    }
    sp_loop_run(loop);
    ck_assert_int_eq(pair.writes, 1);
    ck_assert_int_eq(pair.reads, 0);
    sp_sock_close(pair.near);
    close(pair.far);
}
END_TEST

START_TEST(what_is_written_arrives_and_then_the_end)
{
    struct pair pair;

    make_pair(&pair);
    ck_assert_int_eq(sp_sock_write(pair.near, "hello world", 11), 11);
    sp_sock_shutdown_write(pair.near);
    ck_assert_int_eq(recv(pair.far, pair.data, sizeof pair.data, MSG_WAITALL), 11);
    ck_assert_mem_eq(pair.data, "hello world", 11);
    ck_assert_int_eq(recv(pair.far, pair.data, sizeof pair.data, 0), 0);
    sp_sock_close(pair.near);
    close(pair.far);
}
END_TEST

static void reset_far(struct pair *pair)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};

    ck_assert_int_eq(setsockopt(pair->far, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    close(pair->far);
}

START_TEST(a_reset_is_met_in_the_read)
{
    struct pair pair;

    make_pair(&pair);
    sp_sock_watch_read(pair.near, true);
    sp_sock_watch_write(pair.near, _i == 1);
    reset_far(&pair);
    sp_loop_run(loop);
    ck_assert_int_eq(pair.reads, 1);
    ck_assert_int_eq(pair.writes, 0);
    ck_assert_int_eq(pair.got, -ECONNRESET);
    sp_sock_close(pair.near);
}
END_TEST

START_TEST(data_sent_before_a_reset_is_told_again_until_the_error_is_met)
{
    struct pair pair;

    make_pair(&pair);
    ck_assert_int_eq(send(pair.far, "last", 4, 0), 4);
    sp_sock_watch_read(pair.near, true);
    reset_far(&pair);
    sp_loop_run(loop);
    if (pair.got == 4)
        sp_loop_run(loop);
    ck_assert_int_eq(pair.got, -ECONNRESET);
    sp_sock_close(pair.near);
}
END_TEST

START_TEST(a_reset_is_told_as_writable_when_only_that_is_watched)
{
    struct pair pair;

    make_pair(&pair);
    reset_far(&pair);
    sp_sock_watch_write(pair.near, true);
    sp_loop_run(loop);
    ck_assert_int_eq(pair.writes, 1);
    ck_assert_int_eq(pair.reads, 0);
    ck_assert_int_eq(sp_sock_error(pair.near), ECONNRESET);
    ck_assert_int_eq(sp_sock_error(pair.near), 0);
    sp_sock_close(pair.near);
}
END_TEST

START_TEST(a_write_after_the_peer_went_is_an_error_and_no_signal)
{
    struct pair pair;

    make_pair(&pair);
    reset_far(&pair);
    ck_assert_int_eq(sp_sock_read(pair.near, pair.data, 1), -ECONNRESET);
    ck_assert_int_eq(sp_sock_write(pair.near, "x", 1), -EPIPE);
    sp_sock_close(pair.near);
}
END_TEST

START_TEST(close_is_a_clean_end_and_reset_is_not)
{
    struct pair pair;

    make_pair(&pair);
    if (_i == 0)
        sp_sock_close(pair.near);
    else
        sp_sock_reset(pair.near);
    errno = 0;
    ck_assert_int_eq(recv(pair.far, pair.data, 1, 0), _i == 0 ? 0 : -1);
    ck_assert_int_eq(errno, _i == 0 ? 0 : ECONNRESET);
    close(pair.far);
    sp_sock_close(NULL);
    sp_sock_reset(NULL);
}
END_TEST

/* close() is what the kernel does when the process dies. */
START_TEST(a_guarded_sock_that_is_lost_is_a_reset_and_one_that_is_closed_is_a_clean_end)
{
    struct pair pair;

    make_pair(&pair);
    sp_sock_guard(pair.near);
    if (_i == 0)
        sp_sock_close(pair.near);
    else
        close(sp_sock_release(pair.near));
    errno = 0;
    ck_assert_int_eq(recv(pair.far, pair.data, 1, 0), _i == 0 ? 0 : -1);
    ck_assert_int_eq(errno, _i == 0 ? 0 : ECONNRESET);
    close(pair.far);
}
END_TEST

/* A guarded listener's guests need no word of ours, and cost no system call. */
START_TEST(what_a_guarded_listener_accepts_is_guarded_and_asked_whether_it_lives)
{
    struct sp_addr addr = loopback(4);
    struct pair pair = {.got = 0};
    int listener, near, on = 0;
    socklen_t len = sizeof on;

    ck_assert_int_eq(sp_listen_fd(&addr, false, &listener, NULL), SP_OK);
    ck_assert(sp_listen_guard(listener));
    pair.far = connect_to(&addr);
    near = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    close(listener);
    ck_assert_int_eq(sp_sock_accepted(loop, near, true, &pair_callbacks, &pair, &pair.near, NULL),
                     SP_OK);
    ck_assert_int_eq(getsockopt(near, SOL_SOCKET, SO_KEEPALIVE, &on, &len), 0);
    ck_assert_int_ne(on, 0);
    ck_assert_int_eq(getsockopt(near, IPPROTO_TCP, TCP_KEEPIDLE, &on, &len), 0);
    ck_assert_int_le(on, 60);
    ck_assert_int_eq(getsockopt(near, IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
    ck_assert_int_ne(on, 0);
    if (_i == 0)
        sp_sock_close(pair.near);
    else
        close(sp_sock_release(pair.near));
    errno = 0;
    ck_assert_int_eq(recv(pair.far, pair.data, 1, 0), _i == 0 ? 0 : -1);
    ck_assert_int_eq(errno, _i == 0 ? 0 : ECONNRESET);
    close(pair.far);
}
END_TEST

static void on_readable_takes_two(void *ctx)
{
    struct pair *pair = ctx;

    pair->reads++;
    pair->got = sp_sock_read(pair->near, pair->data, 2);
    if (pair->got <= 0)
        sp_loop_stop(loop);
}

/* Each arrives before the first look, so the kernel tells of all of it once. */
START_TEST(what_was_told_once_is_told_again_until_all_of_it_is_read)
{
    static const struct sp_sock_callbacks callbacks = {on_readable_takes_two, on_writable};
    struct pair pair;

    make_pair(&pair);
    sp_sock_set_owner(pair.near, &callbacks, &pair);
    ck_assert_int_eq(send(pair.far, "12345", 5, 0), 5);
    if (_i == 1) /* a read stops before an urgent byte though more follows it */
        ck_assert_int_eq(send(pair.far, "!", 1, MSG_OOB), 1);
    if (_i == 1)
        ck_assert_int_eq(send(pair.far, "6", 1, 0), 1);
    ck_assert_int_eq(shutdown(pair.far, SHUT_WR), 0);
    sp_sock_watch_read(pair.near, true);
    sp_loop_run(loop);
    ck_assert_int_eq(pair.got, 0);
    ck_assert_int_eq(pair.reads, _i == 1 ? 5 : 4);
    sp_sock_close(pair.near);
    close(pair.far);
}
END_TEST

/* A door: takes the head of what has come, and leaves the rest to another module. */
static void on_readable_takes_the_head(void *ctx)
{
    struct pair *pair = ctx;

    pair->reads++;
    ck_assert_int_eq(sp_sock_read(pair->near, pair->data, 2), 2);
    sp_sock_set_owner(pair->near, &pair_callbacks, pair);
}

static void on_readable_stops(void *ctx)
{
    struct pair *pair = ctx;

    pair->reads++;
    ck_assert_int_eq(sp_sock_read(pair->near, pair->data, 2), 2);
    sp_sock_watch_read(pair->near, false);
    sp_loop_stop(loop);
}

static void stop_loop(void *ctx)
{
    (void)ctx;
    sp_loop_stop(loop);
}

/* The kernel tells of bytes once, and here the new owner is not the one who was told: the old one
 * hands over while it watches (0), has stopped before (1), or never looked (2). */
START_TEST(a_new_owner_is_told_of_bytes_that_were_there_before_it)
{
    static const struct sp_sock_callbacks handing = {on_readable_takes_the_head, on_writable};
    static const struct sp_sock_callbacks stopping = {on_readable_stops, on_writable};
    struct sp_timer *timer = sp_timer_new(loop, stop_loop, NULL);
    int how = _i % 3, fds[2];
    struct pair pair;

    if (_i < 3) {
        make_pair(&pair);
    } else { /* as the agent's plain HTTP has them */
        memset(&pair, 0, sizeof pair);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        pair.far = fds[1];
        ck_assert_int_eq(sp_sock_new(loop, fds[0], &pair_callbacks, &pair, &pair.near, NULL),
                         SP_OK);
    }
    sp_sock_set_owner(pair.near, how == 0 ? &handing : &stopping, &pair);
    ck_assert_int_eq(send(pair.far, "12345", 5, 0), 5);
    sp_sock_watch_read(pair.near, how != 2);
    if (how == 2)
        sp_timer_start(timer, 1);
    sp_loop_run(loop);
    if (how != 0) {
        ck_assert_int_eq(pair.reads, how == 1 ? 1 : 0);
        sp_sock_set_owner(pair.near, &pair_callbacks, &pair);
        sp_sock_watch_read(pair.near, true);
        sp_loop_run(loop);
    }
    ck_assert_int_eq(pair.got, how == 2 ? 5 : 3);
    ck_assert_mem_eq(pair.data, how == 2 ? "12345" : "345", (size_t)pair.got);
    ck_assert_int_eq(pair.reads, how == 2 ? 1 : 2);
    sp_timer_free(timer);
    sp_sock_close(pair.near);
    close(pair.far);
}
END_TEST

static bool asks_whether_it_lives(int fd)
{
    int on = 0, idle = 0;
    socklen_t len = sizeof on;

    ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, &len), 0);
    ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, &len), 0);
    ck_assert(!on || idle <= 60);
    return on;
}

/* The listener of a pair has it on already. */
static void make_unasked_pair(struct pair *pair)
{
    static const int off = 0, two_hours = 7200;

    make_pair(pair);
    ck_assert_int_eq(setsockopt(sp_sock_fd(pair->near), SOL_SOCKET, SO_KEEPALIVE, &off, sizeof off),
                     0);
    ck_assert_int_eq(
        setsockopt(sp_sock_fd(pair->near), IPPROTO_TCP, TCP_KEEPIDLE, &two_hours, sizeof two_hours),
        0);
}

static void look_for_asking(void *ctx)
{
    struct pair *pair = ctx;

    if (asks_whether_it_lives(sp_sock_fd(pair->near)))
        sp_loop_stop(loop);
    else
        sp_timer_start(pair->look, 50);
}

START_TEST(a_silent_peer_is_asked_whether_it_lives_when_the_connection_has_lasted)
{
    struct pair pair, gone;

    make_unasked_pair(&pair);
    make_unasked_pair(&gone);
    sp_sock_keep_alive(pair.near);
    sp_sock_keep_alive(gone.near);
    ck_assert(!asks_whether_it_lives(sp_sock_fd(pair.near)));
    sp_sock_close(gone.near);
    close(gone.far);
    pair.look = sp_timer_new(loop, look_for_asking, &pair);
    sp_timer_start(pair.look, 50);
    sp_loop_run(loop);
    ck_assert(asks_whether_it_lives(sp_sock_fd(pair.near)));
    sp_timer_free(pair.look);
    sp_sock_close(pair.near);
    close(pair.far);
}
END_TEST

START_TEST(a_descriptor_released_before_that_asks_at_once)
{
    struct pair pair;
    int fd;

    make_unasked_pair(&pair);
    sp_sock_keep_alive(pair.near);
    fd = sp_sock_release(pair.near);
    ck_assert(asks_whether_it_lives(fd));
    close(fd);
    close(pair.far);
}
END_TEST

START_TEST(a_released_descriptor_lives_on_and_may_be_watched_again)
{
    struct pair pair;
    int fd;

    make_pair(&pair);
    sp_sock_watch_read(pair.near, true);
    fd = sp_sock_release(pair.near);
    ck_assert_int_eq(sp_sock_new(loop, fd, &pair_callbacks, &pair, &pair.near, NULL), SP_OK);
    sp_sock_watch_read(pair.near, true);
    ck_assert_int_eq(send(pair.far, "x", 1, 0), 1);
    sp_loop_run(loop);
    ck_assert_int_eq(pair.reads, 1);
    ck_assert_int_eq(pair.got, 1);
    fd = sp_sock_release(pair.near);
    sp_timer_stop(deadline);
    sp_loop_run(loop); /* nothing is watched any more: returns */
    ck_assert_int_eq(send(fd, "y", 1, 0), 1);
    ck_assert_int_eq(recv(pair.far, pair.data, 1, 0), 1);
    close(fd);
    close(pair.far);
}
END_TEST

static void on_readable_closes(void *ctx)
{
    struct pair *pair = ctx;

    pair->reads++;
    sp_sock_close(pair->near);
    sp_loop_stop(loop);
}

START_TEST(no_writable_comes_after_a_close_in_readable)
{
    static const struct sp_sock_callbacks callbacks = {on_readable_closes, on_writable};
    struct pair pair;

    make_pair(&pair);
    sp_sock_set_owner(pair.near, &callbacks, &pair);
    ck_assert_int_eq(send(pair.far, "x", 1, 0), 1);
    sp_sock_watch_read(pair.near, true);
    sp_sock_watch_write(pair.near, true);
    sp_loop_run(loop);
    ck_assert_int_eq(pair.reads, 1);
    ck_assert_int_eq(pair.writes, 0);
    close(pair.far);
}
END_TEST

static void on_readable_unwatches(void *ctx)
{
    struct pair *pair = ctx;

    pair->reads++;
    sp_sock_watch_write(pair->near, false);
    sp_sock_watch_read(pair->near, false);
    sp_loop_stop(loop);
}

START_TEST(no_writable_comes_after_it_was_unwatched_in_readable)
{
    static const struct sp_sock_callbacks callbacks = {on_readable_unwatches, on_writable};
    struct pair pair;

    make_pair(&pair);
    sp_sock_set_owner(pair.near, &callbacks, &pair);
    ck_assert_int_eq(send(pair.far, "x", 1, 0), 1);
    sp_sock_watch_read(pair.near, true);
    sp_sock_watch_write(pair.near, true);
    sp_loop_run(loop);
    ck_assert_int_eq(pair.reads, 1);
    ck_assert_int_eq(pair.writes, 0);
    sp_timer_stop(deadline);
    sp_loop_run(loop); /* nothing is watched: returns */
    sp_sock_close(pair.near);
    close(pair.far);
}
END_TEST

struct handover {
    struct pair pair;
    struct pair heir;
};

static void on_readable_hands_over(void *ctx)
{
    struct handover *handover = ctx;

    handover->pair.reads++;
    handover->heir.near = handover->pair.near;
    sp_sock_set_owner(handover->pair.near, &pair_callbacks, &handover->heir);
}

START_TEST(a_new_owner_gets_what_comes_after_it_was_set)
{
    static const struct sp_sock_callbacks callbacks = {on_readable_hands_over, on_writable};
    struct handover handover = {.heir = {.reads = 0}};

    make_pair(&handover.pair);
    sp_sock_set_owner(handover.pair.near, &callbacks, &handover);
    ck_assert_int_eq(send(handover.pair.far, "x", 1, 0), 1);
    sp_sock_watch_read(handover.pair.near, true);
    sp_loop_run(loop);
    ck_assert_int_eq(handover.pair.reads, 1);
    ck_assert_int_eq(handover.heir.reads, 1);
    ck_assert_int_eq(handover.heir.got, 1);
    sp_sock_close(handover.pair.near);
    close(handover.pair.far);
}
END_TEST

START_TEST(a_sock_is_made_ready_for_the_loop)
{
    struct pair pair;
    int on = 0;
    socklen_t len = sizeof on;

    make_pair(&pair);
    ck_assert(fcntl(sp_sock_fd(pair.near), F_GETFL) & O_NONBLOCK);
    ck_assert(fcntl(sp_sock_fd(pair.near), F_GETFD) & FD_CLOEXEC);
    ck_assert_int_eq(getsockopt(sp_sock_fd(pair.near), IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
    ck_assert_int_ne(on, 0);
    sp_sock_close(pair.near);
    close(pair.far);
}
END_TEST

START_TEST(what_cannot_be_watched_stays_the_callers)
{
    struct pair pair;
    struct sp_error err;
    struct sp_sock *sock = NULL;
    FILE *file = tmpfile();

    ck_assert_int_eq(sp_sock_new(loop, -1, &pair_callbacks, &pair, &sock, &err), SP_ERR_SYS);
    ck_assert_int_eq(sp_sock_new(loop, fileno(file), &pair_callbacks, &pair, &sock, &err),
                     SP_ERR_SYS);
    ck_assert_ptr_null(sock);
    ck_assert_int_eq(fcntl(fileno(file), F_GETFD), FD_CLOEXEC);
    fclose(file);
}
END_TEST

/* ---- listeners ---- */

struct guests {
    struct sp_listener *listener;
    int accepted, wanted;
    int fds[64];
    struct sp_addr peer;
    int troubles, trouble;
    int first_round;
    bool free_at_first;
    struct sp_task count_round;
};

static void on_round_over(void *ctx)
{
    struct guests *guests = ctx;

    guests->first_round = guests->accepted;
}

static void on_accept(void *ctx, int fd, const struct sp_addr *peer)
{
    struct guests *guests = ctx;

    if (!guests->accepted)
        sp_task_soon(loop, &guests->count_round);
    guests->fds[guests->accepted++] = fd;
    guests->peer = *peer;
    if (guests->free_at_first)
        sp_listener_free(guests->listener);
    if (guests->accepted == guests->wanted)
        sp_loop_stop(loop);
}

static void on_trouble(void *ctx, int errno_value)
{
    struct guests *guests = ctx;

    guests->troubles++;
    guests->trouble = errno_value;
}

static const struct sp_listener_callbacks guest_callbacks = {on_accept, on_trouble};

static void open_house(struct guests *guests, struct sp_addr *addr, int wanted)
{
    struct sp_error err;
    int fd;

    memset(guests, 0, sizeof *guests);
    guests->wanted = wanted;
    sp_task_init(&guests->count_round, on_round_over, guests);
    ck_assert_int_eq(sp_listen_fd(addr, false, &fd, &err), SP_OK);
    ck_assert_int_eq(sp_listener_new(loop, fd, &guest_callbacks, guests, &guests->listener, &err),
                     SP_OK);
}

static void close_house(struct guests *guests)
{
    if (!guests->free_at_first)
        sp_listener_free(guests->listener);
    for (int i = 0; i < guests->accepted; i++)
        close(guests->fds[i]);
    sp_task_cancel(&guests->count_round);
}

START_TEST(a_connection_is_accepted_with_the_address_of_its_peer)
{
    struct sp_addr addr = loopback(_i), local;
    struct guests guests;
    struct sp_sock *sock;
    int fd;

    open_house(&guests, &addr, 1);
    ck_assert_uint_ne(addr.port, 0);
    fd = connect_to(&addr);
    sp_loop_run(loop);
    ck_assert_int_eq(guests.accepted, 1);
    ck_assert(fcntl(guests.fds[0], F_GETFL) & O_NONBLOCK);
    ck_assert(fcntl(guests.fds[0], F_GETFD) & FD_CLOEXEC);
    ck_assert_int_eq(sp_sock_new(loop, fd, &pair_callbacks, NULL, &sock, NULL), SP_OK);
    ck_assert(sp_sock_local(sock, &local));
    ck_assert(sp_ip_equal(&guests.peer.ip, &local.ip));
    ck_assert_uint_eq(guests.peer.port, local.port);
    sp_sock_close(sock);
    close_house(&guests);
}
END_TEST

START_TEST(at_most_32_are_accepted_in_one_tick)
{
    struct sp_addr addr = loopback(4);
    struct guests guests;
    int fds[40];

    open_house(&guests, &addr, 40);
    for (int i = 0; i < 40; i++)
        fds[i] = connect_to(&addr);
    sp_loop_run(loop);
    ck_assert_int_eq(guests.first_round, 32);
    ck_assert_int_eq(guests.accepted, 40);
    for (int i = 0; i < 40; i++)
        close(fds[i]);
    close_house(&guests);
}
END_TEST

START_TEST(a_listener_may_be_freed_while_it_accepts)
{
    struct sp_addr addr = loopback(4);
    struct guests guests;
    int first, second;

    open_house(&guests, &addr, 1);
    guests.free_at_first = true;
    first = connect_to(&addr);
    second = connect_to(&addr);
    sp_loop_run(loop);
    ck_assert_int_eq(guests.accepted, 1);
    close(first);
    close(second);
    close_house(&guests);
    sp_listener_free(NULL);
}
END_TEST

static struct rlimit old_limit;

static void on_room_again(void *ctx)
{
    struct guests *guests = ctx;

    ck_assert_int_eq(guests->accepted, 0);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old_limit), 0);
}

START_TEST(without_descriptors_trouble_is_told_once_and_accepting_goes_on_later)
{
    struct sp_addr addr = loopback(4);
    struct guests guests;
    struct rlimit none;
    struct sp_timer *timer = sp_timer_new(loop, on_room_again, &guests);
    int fd;

    open_house(&guests, &addr, 1);
    fd = connect_to(&addr);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old_limit), 0);
    none = (struct rlimit){.rlim_cur = 3, .rlim_max = old_limit.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    sp_timer_start(timer, 250); /* two pauses have passed by then */
    sp_loop_run(loop);
    ck_assert_int_eq(guests.troubles, 1);
    ck_assert_int_eq(guests.trouble, EMFILE);
    ck_assert_int_eq(guests.accepted, 1);
    sp_timer_free(timer);
    close(fd);
    close_house(&guests);
}
END_TEST

START_TEST(an_address_in_use_is_named)
{
    struct sp_addr addr = loopback(4);
    struct sp_error err;
    char wanted[128], text[SP_ADDR_TEXT];
    int fd, second = -1;

    ck_assert_int_eq(sp_listen_fd(&addr, false, &fd, &err), SP_OK);
    ck_assert_int_eq(sp_listen_fd(&addr, false, &second, &err), SP_ERR_SYS);
    ck_assert_int_eq(err.code, EADDRINUSE);
    snprintf(wanted, sizeof wanted, "cannot listen on %s: Address already in use",
             sp_addr_format(&addr, text));
    ck_assert_str_eq(err.text, wanted);
    ck_assert_int_eq(second, -1);
    close(fd);
}
END_TEST

START_TEST(workers_share_one_address)
{
    struct sp_addr addr = loopback(4), same;
    int first, second;

    ck_assert_int_eq(sp_listen_fd(&addr, true, &first, NULL), SP_OK);
    same = addr;
    ck_assert_int_eq(sp_listen_fd(&same, true, &second, NULL), SP_OK);
    ck_assert_uint_eq(same.port, addr.port);
    close(first);
    close(second);
}
END_TEST

static void add_sock_tests(TCase *tc)
{
    tcase_add_test(tc, what_the_peer_sends_is_read_and_then_its_end);
    tcase_add_test(tc, nothing_is_told_while_nothing_is_watched);
    tcase_add_test(tc, a_full_socket_is_writable_again_when_the_peer_reads);
    tcase_add_test(tc, what_is_written_arrives_and_then_the_end);
    tcase_add_loop_test(tc, a_reset_is_met_in_the_read, 0, 2);
    tcase_add_test(tc, data_sent_before_a_reset_is_told_again_until_the_error_is_met);
    tcase_add_test(tc, a_reset_is_told_as_writable_when_only_that_is_watched);
    tcase_add_test(tc, a_write_after_the_peer_went_is_an_error_and_no_signal);
    tcase_add_loop_test(tc, close_is_a_clean_end_and_reset_is_not, 0, 2);
    tcase_add_loop_test(
        tc, a_guarded_sock_that_is_lost_is_a_reset_and_one_that_is_closed_is_a_clean_end, 0, 2);
    tcase_add_loop_test(tc, what_a_guarded_listener_accepts_is_guarded_and_asked_whether_it_lives,
                        0, 2);
    tcase_add_loop_test(tc, what_was_told_once_is_told_again_until_all_of_it_is_read, 0, 2);
    tcase_add_loop_test(tc, a_new_owner_is_told_of_bytes_that_were_there_before_it, 0, 6);
    tcase_add_test(tc, a_silent_peer_is_asked_whether_it_lives_when_the_connection_has_lasted);
    tcase_add_test(tc, a_descriptor_released_before_that_asks_at_once);
    tcase_add_test(tc, a_released_descriptor_lives_on_and_may_be_watched_again);
    tcase_add_test(tc, no_writable_comes_after_a_close_in_readable);
    tcase_add_test(tc, no_writable_comes_after_it_was_unwatched_in_readable);
    tcase_add_test(tc, a_new_owner_gets_what_comes_after_it_was_set);
    tcase_add_test(tc, a_sock_is_made_ready_for_the_loop);
    tcase_add_test(tc, what_cannot_be_watched_stays_the_callers);
}

static void add_listener_tests(TCase *tc)
{
    tcase_add_loop_test(tc, a_connection_is_accepted_with_the_address_of_its_peer, 4, 5);
    tcase_add_loop_test(tc, a_connection_is_accepted_with_the_address_of_its_peer, 6, 7);
    tcase_add_test(tc, at_most_32_are_accepted_in_one_tick);
    tcase_add_test(tc, a_listener_may_be_freed_while_it_accepts);
    tcase_add_test(tc, without_descriptors_trouble_is_told_once_and_accepting_goes_on_later);
    tcase_add_test(tc, an_address_in_use_is_named);
    tcase_add_test(tc, workers_share_one_address);
}

int main(void)
{
    Suite *suite = suite_create("sock");
    TCase *tc = tcase_create("sock");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, make_loop, drop_loop);
    tcase_set_timeout(tc, 20);
    add_sock_tests(tc);
    add_listener_tests(tc);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
