#include "common/loop.h"

#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct sp_loop *loop;

static void make_loop(void)
{
    ck_assert_int_eq(sp_loop_new(&loop, NULL), SP_OK);
}

static void drop_loop(void)
{
    sp_loop_free(loop); /* aborts on a handle left open */
}

/* What happened, in order: each callback adds its letter. */
static char story[64];

static void tell(char letter)
{
    size_t len = strlen(story);

    ck_assert_uint_lt(len + 1, sizeof story);
    story[len] = letter;
    story[len + 1] = '\0';
}

static void on_tell(void *ctx)
{
    tell(*(const char *)ctx);
}

static char a[] = "a", b[] = "b", c[] = "c";

START_TEST(a_loop_with_nothing_on_it_returns_at_once)
{
    sp_loop_run(loop);
    sp_loop_run(loop);
}
END_TEST

START_TEST(tasks_run_in_order_and_once_however_often_asked_for)
{
    struct sp_task first, second;

    sp_task_init(&first, on_tell, a);
    sp_task_init(&second, on_tell, b);
    sp_task_soon(loop, &first);
    sp_task_soon(loop, &second);
    sp_task_soon(loop, &first);
    sp_loop_run(loop);
    ck_assert_str_eq(story, "ab");
    sp_task_soon(loop, &second);
    sp_loop_run(loop);
    ck_assert_str_eq(story, "abb");
}
END_TEST

START_TEST(a_late_task_runs_after_all_that_were_asked_for_soon)
{
    struct sp_task late, soon, cancelled;

    sp_task_init(&late, on_tell, a);
    sp_task_init(&soon, on_tell, b);
    sp_task_init(&cancelled, on_tell, c);
    sp_task_late(loop, &late);
    sp_task_late(loop, &cancelled);
    sp_task_soon(loop, &soon);
    sp_task_soon(loop, &late); /* it is queued already */
    sp_task_cancel(&cancelled);
    sp_loop_run(loop);
    ck_assert_str_eq(story, "ba");
    sp_task_late(loop, &late); /* alone, it keeps the loop awake too */
    sp_loop_run(loop);
    ck_assert_str_eq(story, "baa");
}
END_TEST

struct late {
    struct sp_task task, said;
    struct sp_timer *timer;
};

static void on_latecomer(void *ctx)
{
    struct late *late = ctx;

    tell('l');
    sp_timer_start(late->timer, 0);
    sp_task_soon(loop, &late->said);
}

START_TEST(what_a_late_task_asks_for_is_done_before_the_loop_looks_around)
{
    struct late late;

    late.timer = sp_timer_new(loop, on_tell, b);
    sp_task_init(&late.task, on_latecomer, &late);
    sp_task_init(&late.said, on_tell, a);
    sp_task_late(loop, &late.task);
    sp_loop_run(loop);
    ck_assert_str_eq(story, "lab");
    sp_timer_free(late.timer);
}
END_TEST

START_TEST(a_cancelled_task_does_not_run)
{
    struct sp_task tasks[3];
    static char *const names[] = {a, b, c};

    for (int i = 0; i < 3; i++) {
        sp_task_init(&tasks[i], on_tell, names[i]);
        sp_task_soon(loop, &tasks[i]);
    }
    sp_task_cancel(&tasks[_i]);
    sp_task_cancel(&tasks[_i]);
    sp_loop_run(loop);
    ck_assert_str_eq(story, _i == 0 ? "bc" : _i == 1 ? "ac" : "ab");
}
END_TEST

struct chain {
    struct sp_task task;
    struct sp_task other;
    int left;
};

static void on_chain(void *ctx)
{
    struct chain *chain = ctx;

    tell('t');
    if (--chain->left > 0)
        sp_task_soon(loop, &chain->task);
}

static void on_chain_cancels(void *ctx)
{
    struct chain *chain = ctx;

    tell('x');
    sp_task_cancel(&chain->other);
}

START_TEST(a_task_may_cancel_the_next_one_of_its_round)
{
    struct chain chain;

    sp_task_init(&chain.task, on_chain_cancels, &chain);
    sp_task_init(&chain.other, on_tell, a);
    sp_task_soon(loop, &chain.task);
    sp_task_soon(loop, &chain.other);
    sp_loop_run(loop);
    ck_assert_str_eq(story, "x");
}
END_TEST

static void on_late(void *ctx)
{
    (void)ctx;
    tell('!');
    sp_loop_stop(loop);
}

/* A loop that waited in poll with a task queued would show the timer before the second 't'. */
START_TEST(a_task_asked_for_by_a_task_runs_next_round_without_waiting)
{
    struct chain chain = {.left = 3};
    struct sp_timer *timer = sp_timer_new(loop, on_late, NULL);
    uint64_t start = sp_loop_clock_us();

    sp_task_init(&chain.task, on_chain, &chain);
    sp_task_init(&chain.other, on_tell, b);
    sp_timer_start(timer, 300);
    sp_task_soon(loop, &chain.task);
    sp_task_soon(loop, &chain.other);
    sp_loop_run(loop);
    ck_assert_str_eq(story, "tbtt!");
    ck_assert_uint_ge(sp_loop_clock_us() - start, 290 * 1000);
    sp_timer_free(timer);
}
END_TEST

static void on_endless(void *ctx)
{
    struct chain *chain = ctx;

    chain->left++;
    sp_task_soon(loop, &chain->task);
}

START_TEST(an_endless_task_does_not_starve_timers)
{
    struct chain chain = {.left = 0};
    struct sp_timer *timer = sp_timer_new(loop, on_late, NULL);

    sp_task_init(&chain.task, on_endless, &chain);
    sp_timer_start(timer, 2);
    sp_task_soon(loop, &chain.task);
    sp_loop_run(loop);
    ck_assert_str_eq(story, "!");
    ck_assert_int_ge(chain.left, 2);
    sp_task_cancel(&chain.task);
    sp_timer_free(timer);
}
END_TEST

struct shot {
    struct sp_timer *timer;
    int count;
};

static void on_shot(void *ctx)
{
    struct shot *shot = ctx;

    if (++shot->count < 3)
        sp_timer_start(shot->timer, 1);
}

START_TEST(a_timer_fires_once_and_may_start_itself_again)
{
    struct shot shot = {.count = 0};

    shot.timer = sp_timer_new(loop, on_shot, &shot);
    sp_timer_start(shot.timer, 0);
    sp_loop_run(loop);
    ck_assert_int_eq(shot.count, 3);
    sp_timer_free(shot.timer);
}
END_TEST

START_TEST(a_new_start_moves_a_timer_and_stop_ends_it)
{
    struct sp_timer *first = sp_timer_new(loop, on_tell, a);
    struct sp_timer *second = sp_timer_new(loop, on_tell, b);
    struct sp_timer *third = sp_timer_new(loop, on_tell, c);

    sp_timer_start(first, 1);
    sp_timer_start(second, 10);
    sp_timer_start(third, 5);
    sp_timer_start(first, 30);
    sp_timer_stop(third);
    sp_loop_run(loop);
    ck_assert_str_eq(story, "ba");
    sp_timer_free(first);
    sp_timer_free(second);
    sp_timer_free(third);
    sp_timer_free(NULL);
}
END_TEST

static void on_time_frees(void *ctx)
{
    struct shot *shot = ctx;

    shot->count++;
    sp_timer_free(shot->timer);
}

START_TEST(a_timer_may_be_freed_in_its_own_callback)
{
    struct shot shot = {.count = 0};

    shot.timer = sp_timer_new(loop, on_time_frees, &shot);
    sp_timer_start(shot.timer, 0);
    sp_loop_run(loop);
    ck_assert_int_eq(shot.count, 1);
}
END_TEST

/* More of them than are kept for the next who wants one. */
START_TEST(a_freed_timer_is_silent_and_the_next_ones_are_new)
{
    enum { MANY = 100 };
    struct sp_timer *timers[MANY];

    for (int i = 0; i < MANY; i++) {
        timers[i] = sp_timer_new(loop, on_tell, a);
        sp_timer_start(timers[i], 1);
    }
    for (int i = 0; i < MANY; i++)
        sp_timer_free(timers[i]);
    timers[0] = sp_timer_new(loop, on_tell, b);
    timers[1] = sp_timer_new(loop, on_tell, c);
    ck_assert_ptr_ne(timers[0], timers[1]);
    sp_timer_start(timers[0], 5);
    sp_loop_run(loop);
    ck_assert_str_eq(story, "b");
    sp_timer_free(timers[0]);
    sp_timer_free(timers[1]);
}
END_TEST

static void on_late_enough(void *ctx)
{
    (void)ctx;
    tell('.');
}

static void on_born(void *ctx)
{
    tell('!');
    sp_task_when_old(loop, ctx);
}

START_TEST(a_task_for_when_its_owner_is_old_waits_two_to_four_seconds)
{
    struct sp_task old, cancelled, younger;
    struct sp_timer *born = sp_timer_new(loop, on_born, &younger);
    struct sp_timer *between = sp_timer_new(loop, on_late_enough, NULL);
    struct sp_timer *after = sp_timer_new(loop, on_late_enough, NULL);

    sp_task_init(&old, on_tell, a);
    sp_task_init(&cancelled, on_tell, b);
    sp_task_init(&younger, on_tell, c);
    sp_timer_start(born, 1800);
    sp_timer_start(between, 3000);
    sp_timer_start(after, 6000);
    sp_task_when_old(loop, &cancelled);
    sp_task_when_old(loop, &old);
    sp_task_when_old(loop, &old);
    sp_task_cancel(&cancelled);
    sp_loop_run(loop);
    ck_assert_str_eq(story, "!.ac.");
    sp_timer_free(born);
    sp_timer_free(between);
    sp_timer_free(after);
}
END_TEST

START_TEST(what_waits_to_be_old_does_not_keep_the_loop_and_starts_anew_when_all_are_gone)
{
    struct sp_timer *after = sp_timer_new(loop, on_late_enough, NULL);
    struct sp_task first, second;

    sp_task_init(&first, on_tell, a);
    sp_task_init(&second, on_tell, b);
    sp_task_when_old(loop, &first);
    sp_loop_run(loop); /* returns at once */
    ck_assert_str_eq(story, "");
    sp_task_cancel(&first);
    sp_timer_start(after, 4300); /* the clock has come to a stop by then */
    sp_loop_run(loop);
    sp_task_when_old(loop, &second);
    sp_timer_start(after, 6000);
    sp_loop_run(loop);
    ck_assert_str_eq(story, ".b.");
    sp_timer_free(after);
}
END_TEST

struct waker {
    struct sp_async *async;
    int wakes;
};

static void *send_wakes(void *ctx)
{
    struct waker *waker = ctx;

    for (int i = 0; i < 100; i++)
        sp_async_send(waker->async);
    return NULL;
}

static void on_wake(void *ctx)
{
    struct waker *waker = ctx;

    waker->wakes++;
    sp_loop_stop(loop);
}

START_TEST(another_thread_wakes_the_loop)
{
    struct waker waker = {.wakes = 0};
    pthread_t thread;

    waker.async = sp_async_new(loop, on_wake, &waker);
    ck_assert_int_eq(pthread_create(&thread, NULL, send_wakes, &waker), 0);
    sp_loop_run(loop);
    ck_assert_int_ge(waker.wakes, 1);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    sp_async_free(waker.async);
    sp_async_free(NULL);
}
END_TEST

static void on_signal(void *ctx)
{
    struct sp_signal **sig = ctx;

    tell('s');
    sp_signal_free(*sig);
}

START_TEST(a_signal_is_told_in_the_loop)
{
    struct sp_signal *sig = NULL;

    sig = sp_signal_new(loop, SIGUSR1, on_signal, &sig);
    ck_assert_int_eq(kill(getpid(), SIGUSR1), 0);
    ck_assert_str_eq(story, "");
    sp_loop_run(loop);
    ck_assert_str_eq(story, "s");
    sp_signal_free(NULL);
}
END_TEST

START_TEST(a_stopped_loop_can_be_freed_and_stop_before_run_counts)
{
    struct sp_timer *timer = sp_timer_new(loop, on_tell, a);

    sp_timer_start(timer, 3600 * 1000);
    sp_loop_stop(loop);
    sp_loop_run(loop);
    sp_loop_stop(loop);
    sp_timer_free(timer);
    ck_assert_str_eq(story, "");
}
END_TEST

START_TEST(freeing_a_loop_runs_the_tasks_still_queued)
{
    struct sp_task task;

    sp_task_init(&task, on_tell, a);
    sp_task_soon(loop, &task);
    drop_loop();
    ck_assert_str_eq(story, "a");
    make_loop();
}
END_TEST

START_TEST(freeing_a_loop_with_a_live_handle_aborts)
{
    struct sp_timer *timer = sp_timer_new(loop, on_tell, a);

    ck_assert_ptr_nonnull(timer);
    ck_assert_ptr_nonnull(freopen("/dev/null", "w", stderr));
    sp_loop_free(loop);
}
END_TEST

START_TEST(time_passes_and_the_scratch_buffer_stays)
{
    struct sp_timer *timer = sp_timer_new(loop, on_tell, a);
    uint64_t tick = sp_loop_now_ms(loop);
    uint64_t clock = sp_loop_clock_us();
    uint8_t *scratch = sp_loop_scratch(loop);

    memset(scratch, 'x', SP_LOOP_SCRATCH);
    sp_timer_start(timer, 5);
    sp_loop_run(loop);
    ck_assert_uint_ge(sp_loop_now_ms(loop) - tick, 5);
    ck_assert_uint_ge(sp_loop_clock_us() - clock, 4000);
    ck_assert_ptr_eq(sp_loop_scratch(loop), scratch);
    sp_timer_free(timer);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loop");
    TCase *tc = tcase_create("loop");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, make_loop, drop_loop);
    tcase_add_test(tc, a_loop_with_nothing_on_it_returns_at_once);
    tcase_add_test(tc, tasks_run_in_order_and_once_however_often_asked_for);
    tcase_add_test(tc, a_late_task_runs_after_all_that_were_asked_for_soon);
    tcase_add_test(tc, what_a_late_task_asks_for_is_done_before_the_loop_looks_around);
    tcase_add_loop_test(tc, a_cancelled_task_does_not_run, 0, 3);
    tcase_add_test(tc, a_task_may_cancel_the_next_one_of_its_round);
    tcase_add_test(tc, a_task_asked_for_by_a_task_runs_next_round_without_waiting);
    tcase_add_test(tc, an_endless_task_does_not_starve_timers);
    tcase_add_test(tc, a_timer_fires_once_and_may_start_itself_again);
    tcase_add_test(tc, a_new_start_moves_a_timer_and_stop_ends_it);
    tcase_add_test(tc, a_timer_may_be_freed_in_its_own_callback);
    tcase_add_test(tc, a_freed_timer_is_silent_and_the_next_ones_are_new);
    tcase_add_test(tc, a_task_for_when_its_owner_is_old_waits_two_to_four_seconds);
    tcase_add_test(tc,
                   what_waits_to_be_old_does_not_keep_the_loop_and_starts_anew_when_all_are_gone);
    tcase_add_test(tc, another_thread_wakes_the_loop);
    tcase_add_test(tc, a_signal_is_told_in_the_loop);
    tcase_add_test(tc, a_stopped_loop_can_be_freed_and_stop_before_run_counts);
    tcase_add_test(tc, freeing_a_loop_runs_the_tasks_still_queued);
    tcase_add_test_raise_signal(tc, freeing_a_loop_with_a_live_handle_aborts, SIGABRT);
    tcase_add_test(tc, time_passes_and_the_scratch_buffer_stays);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
