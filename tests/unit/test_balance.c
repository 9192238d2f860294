#include "gateway/balance.h"

#include "common/loop.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define WORKERS   3
#define CROWD     200
#define ROOM      64 /* so many may wait for a worker */
#define EACH_TIME 20000

static struct sp_loop *loop;
static struct gw_balance *balance;
static struct sp_async *wakes[WORKERS];
static atomic_int woken[WORKERS];

static void on_wake(void *ctx)
{
    atomic_fetch_add((atomic_int *)ctx, 1);
    sp_loop_stop(loop);
}

static void setup(void)
{
    struct sp_error err;

    ck_assert_int_eq(sp_loop_new(&loop, &err), SP_OK);
    balance = gw_balance_new(WORKERS);
    for (size_t i = 0; i < WORKERS; i++) {
        atomic_store(&woken[i], 0);
        wakes[i] = sp_async_new(loop, on_wake, &woken[i]);
    }
}

static void teardown(void)
{
    for (size_t i = 0; i < WORKERS; i++) {
        gw_balance_leave(balance, i);
        sp_async_free(wakes[i]);
    }
    gw_balance_free(balance);
    gw_balance_free(NULL);
    sp_loop_free(loop);
}

static int some_fd(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    return fd;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0 || errno != EBADF;
}

static void join_all(void)
{
    for (size_t i = 0; i < WORKERS; i++)
        gw_balance_join(balance, i, wakes[i]);
}

static struct sp_addr peer_of(uint16_t port)
{
    return (struct sp_addr){.port = port};
}

/* As a worker does it; the descriptor stands for the connection until it ends. */
static bool arrive(size_t worker, uint16_t port)
{
    struct sp_addr peer = peer_of(port);
    int fd = some_fd();
    bool keeps = gw_balance_keeps(balance, worker, fd, &peer);

    if (keeps)
        close(fd);
    return keeps;
}

/* So many more than the others have: nobody else takes part yet. */
static void fill(size_t worker, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ck_assert(arrive(worker, 1));
}

static size_t take_all(size_t worker)
{
    struct sp_addr peer;
    size_t count = 0;
    int fd;

    for (; gw_balance_next(balance, worker, &fd, &peer); count++)
        close(fd);
    return count;
}

START_TEST(the_first_stays_and_the_next_go_to_who_has_fewer)
{
    join_all();
    ck_assert(arrive(0, 1));
    ck_assert(!arrive(0, 2));
    ck_assert(!arrive(0, 3));
    ck_assert(arrive(0, 4));
    ck_assert_uint_eq(take_all(0), 0);
    ck_assert_uint_eq(take_all(1), 1);
    ck_assert_uint_eq(take_all(2), 1);
}
END_TEST

START_TEST(all_that_one_accepts_is_shared_evenly)
{
    size_t kept = 0;

    join_all();
    for (uint16_t i = 0; i < ROOM * WORKERS; i++)
        kept += arrive(1, i);
    ck_assert_uint_eq(kept, ROOM);
    ck_assert_uint_eq(take_all(0), ROOM);
    ck_assert_uint_eq(take_all(2), ROOM);
}
END_TEST

START_TEST(who_lost_one_gets_the_next)
{
    join_all();
    for (size_t i = 0; i < WORKERS; i++)
        ck_assert(arrive(i, 1));
    gw_balance_gone(balance, 2);
    ck_assert(!arrive(0, 2));
    ck_assert_uint_eq(take_all(1), 0);
    ck_assert_uint_eq(take_all(2), 1);
    ck_assert(arrive(0, 3)); /* all have one again */
}
END_TEST

START_TEST(they_come_out_in_their_order_with_their_peer)
{
    struct sp_addr peer;
    int fd;

    fill(1, 10);
    fill(2, 10);
    join_all(); /* now all go to the first, until it has as many */
    for (uint16_t port = 1; port <= 2 * ROOM; port++) {
        ck_assert(!arrive(1, port));
        ck_assert(gw_balance_next(balance, 0, &fd, &peer));
        ck_assert_uint_eq(peer.port, port);
        ck_assert(is_open(fd));
        close(fd);
        gw_balance_gone(balance, 0);
    }
    for (uint16_t port = 1; port <= 3; port++)
        ck_assert(!arrive(1, port));
    for (uint16_t port = 1; port <= 3; port++) {
        ck_assert(gw_balance_next(balance, 0, &fd, &peer));
        ck_assert_uint_eq(peer.port, port);
        close(fd);
    }
}
END_TEST

START_TEST(whoever_is_given_one_is_woken)
{
    join_all();
    ck_assert(arrive(0, 1));
    ck_assert(!arrive(0, 2));
    sp_loop_run(loop);
    ck_assert_int_eq(woken[0], 0);
    ck_assert_int_eq(woken[1], 1);
    ck_assert_int_eq(woken[2], 0);
}
END_TEST

START_TEST(a_worker_that_does_not_take_them_is_given_only_so_many)
{
    size_t kept = 0;

    fill(0, CROWD);
    gw_balance_join(balance, 1, wakes[1]);
    for (uint16_t i = 0; i < CROWD; i++)
        kept += arrive(0, i);
    ck_assert_uint_eq(kept, CROWD - ROOM);
    ck_assert_uint_eq(take_all(1), ROOM);
}
END_TEST

START_TEST(before_it_joins_and_after_it_leaves_a_worker_is_given_none)
{
    for (uint16_t i = 0; i < 5; i++)
        ck_assert(arrive(0, i));
    gw_balance_join(balance, 1, wakes[1]);
    ck_assert(!arrive(0, 6));
    gw_balance_leave(balance, 1);
    ck_assert(arrive(0, 7));
    ck_assert_uint_eq(take_all(1), 0);
}
END_TEST

START_TEST(what_waits_for_a_worker_that_leaves_is_closed_and_counts_no_more)
{
    struct sp_addr peer = peer_of(1);
    int fds[2] = {some_fd(), some_fd()};

    fill(0, 2);
    gw_balance_join(balance, 1, wakes[1]);
    for (int i = 0; i < 2; i++)
        ck_assert(!gw_balance_keeps(balance, 0, fds[i], &peer));
    gw_balance_leave(balance, 1);
    for (int i = 0; i < 2; i++)
        ck_assert(!is_open(fds[i]));
    gw_balance_join(balance, 1, wakes[1]);
    for (int i = 0; i < 2; i++)
        ck_assert(!arrive(0, 4)); /* none of them counts: fewer than the two here */
    ck_assert(arrive(0, 6));
}
END_TEST

static void *accept_many(void *arg)
{
    size_t worker = *(const size_t *)arg;
    struct sp_addr peer;
    int fd;

    for (int i = 0; i < EACH_TIME; i++) {
        if (arrive(worker, 1))
            gw_balance_gone(balance, worker);
        if (i % 3 == 0 && gw_balance_next(balance, worker, &fd, &peer)) {
            close(fd);
            gw_balance_gone(balance, worker);
        }
    }
    gw_balance_leave(balance, worker);
    return NULL;
}

START_TEST(threads_that_hand_over_to_each_other_lose_none)
{
    static size_t numbers[WORKERS] = {0, 1, 2};
    pthread_t threads[WORKERS];
    int first = some_fd(), last;

    close(first);
    join_all();
    for (size_t i = 0; i < WORKERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, accept_many, &numbers[i]), 0);
    for (size_t i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    last = some_fd();
    ck_assert_int_eq(last, first); /* every descriptor was closed */
    close(last);
    join_all();
    for (size_t i = 0; i < WORKERS; i++) /* and none counts */
        ck_assert(arrive(i, 1));
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("balance");
    Suite *suite = suite_create("balance");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, the_first_stays_and_the_next_go_to_who_has_fewer);
    tcase_add_test(tcase, all_that_one_accepts_is_shared_evenly);
    tcase_add_test(tcase, who_lost_one_gets_the_next);
    tcase_add_test(tcase, they_come_out_in_their_order_with_their_peer);
    tcase_add_test(tcase, whoever_is_given_one_is_woken);
    tcase_add_test(tcase, a_worker_that_does_not_take_them_is_given_only_so_many);
    tcase_add_test(tcase, before_it_joins_and_after_it_leaves_a_worker_is_given_none);
    tcase_add_test(tcase, what_waits_for_a_worker_that_leaves_is_closed_and_counts_no_more);
    tcase_add_test(tcase, threads_that_hand_over_to_each_other_lose_none);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
