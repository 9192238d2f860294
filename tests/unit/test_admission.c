#include "gateway/admission.h"

#include "common/clock.h"
#include "common/loop.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ITEMS 400

struct work {
    struct gw_admission_item item; /* first: the item is the work */
    const char *tenant;
    unsigned cost_us;
    int again; /* so many times more, as one that has begun */
    int order; /* when it ran the last time, 1..; 0: never */
    int late;
    void (*meanwhile)(void); /* while it runs */
};

static struct sp_loop *loop;
static struct gw_admission *admission;
static struct work works[ITEMS];
static char names[8][16];
static int runs, turns;
static struct sp_timer *ticker;

static void burn(unsigned us)
{
    uint64_t end = sp_clock_thread_us() + us;

    while (sp_clock_thread_us() < end)
        continue;
}

static void run(struct gw_admission_item *item)
{
    struct work *w = (struct work *)item;

    w->order = ++runs;
    burn(w->cost_us);
    if (w->meanwhile)
        w->meanwhile();
    w->meanwhile = NULL;
    if (w->again-- > 0)
        gw_admission_put(admission, item, GW_ADMIT_BEGUN, w->tenant);
    else if (!gw_admission_waiting(admission))
        sp_loop_stop(loop);
}

static void too_late(struct gw_admission_item *item)
{
    ((struct work *)item)->late++;
    if (!gw_admission_waiting(admission))
        sp_loop_stop(loop);
}

static const struct gw_admission_callbacks callbacks = {run, too_late};

static void setup(void)
{
    struct sp_error err;

    ck_assert_int_eq(sp_loop_new(&loop, &err), SP_OK);
    admission = gw_admission_new(loop, &callbacks);
    memset(works, 0, sizeof works);
    for (int i = 0; i < 8; i++)
        snprintf(names[i], sizeof names[i], "tenant%d", i);
    runs = 0;
}

static void teardown(void)
{
    gw_admission_free(admission);
    sp_loop_free(loop);
}

static void put(int i, enum gw_admission_kind kind, int tenant, unsigned cost_us)
{
    works[i].tenant = names[tenant];
    works[i].cost_us = cost_us;
    gw_admission_put(admission, &works[i].item, kind, names[tenant]);
}

START_TEST(nothing_runs_at_once)
{
    put(0, GW_ADMIT_FULL, 0, 0);
    ck_assert_int_eq(runs, 0);
    ck_assert_uint_eq(gw_admission_waiting(admission), 1);
    sp_loop_run(loop);
    ck_assert_int_eq(runs, 1);
    ck_assert_uint_eq(gw_admission_waiting(admission), 0);
}
END_TEST

START_TEST(within_a_tenant_begun_come_first_then_tickets_each_in_order)
{
    static const enum gw_admission_kind kinds[] = {GW_ADMIT_FULL,    GW_ADMIT_RESUMED,
                                                   GW_ADMIT_FULL,    GW_ADMIT_BEGUN,
                                                   GW_ADMIT_RESUMED, GW_ADMIT_BEGUN};
    static const int order[] = {5, 3, 6, 1, 4, 2};

    for (int i = 0; i < 6; i++)
        put(i, kinds[i], 0, 0);
    sp_loop_run(loop);
    for (int i = 0; i < 6; i++)
        ck_assert_int_eq(works[i].order, order[i]);
}
END_TEST

/* One tenant's flood is there first; the three others have a few each. */
START_TEST(a_flood_of_one_tenant_does_not_delay_the_others)
{
    for (int i = 0; i < 300; i++)
        put(i, GW_ADMIT_RESUMED, 0, 100);
    for (int i = 300; i < 315; i++)
        put(i, GW_ADMIT_FULL, 1 + i % 3, 100);
    sp_loop_run(loop);
    for (int i = 300; i < 315; i++)
        ck_assert_msg(works[i].order <= 150, "%d ran as number %d", i, works[i].order);
    ck_assert_int_eq(runs, 315);
}
END_TEST

/* Time is shared, not numbers: the one whose steps cost ten times as much gets a tenth of them. */
START_TEST(what_is_shared_is_time)
{
    int dear = 0;

    for (int i = 0; i < 100; i++) {
        put(2 * i, GW_ADMIT_FULL, 0, 50);
        put(2 * i + 1, GW_ADMIT_FULL, 1, 500);
    }
    sp_loop_run(loop);
    for (int i = 0; i < 100; i++)
        dear += works[2 * i + 1].order <= 55;
    ck_assert_int_ge(dear, 2);
    ck_assert_int_le(dear, 22);
}
END_TEST

static void ten_of_another(void)
{
    for (int i = 1; i <= 10; i++)
        put(i, GW_ADMIT_FULL, 1, 500);
}

/* What the thread did before is nobody's debt. */
START_TEST(who_was_alone_begins_even_with_those_who_come)
{
    burn(20000);
    works[0].again = 1;
    works[0].meanwhile = ten_of_another;
    put(0, GW_ADMIT_FULL, 0, 100);
    sp_loop_run(loop);
    ck_assert_int_eq(runs, 12);
    ck_assert_int_le(works[0].order, 3);
}
END_TEST

static void on_tick(void *ctx)
{
    (void)ctx;
    turns++;
    sp_timer_start(ticker, 1);
}

/* What else the loop has to do comes in between, however many handshakes wait. */
START_TEST(a_loop_turn_is_not_filled_with_handshakes)
{
    for (int i = 0; i < ITEMS; i++) {
        works[i].again = 1;
        put(i, GW_ADMIT_FULL, i % 8, 100);
    }
    turns = 0;
    ticker = sp_timer_new(loop, on_tick, NULL);
    sp_timer_start(ticker, 1);
    sp_loop_run(loop);
    sp_timer_free(ticker);
    ck_assert_int_eq(runs, 2 * ITEMS);
    /* 80 ms of work in turns of 1 ms: a turn is at least one step, and ends soon after its time */
    ck_assert_int_ge(turns, 40);
}
END_TEST

static void stop(void *ctx)
{
    (void)ctx;
    sp_loop_stop(loop);
}

START_TEST(who_has_waited_too_long_is_turned_away_unless_he_has_begun)
{
    struct sp_timer *timer = sp_timer_new(loop, stop, NULL);

    gw_admission_set_patience(admission, 20);
    put(0, GW_ADMIT_BEGUN, 0, 60000); /* the loop is held up by it */
    put(1, GW_ADMIT_FULL, 0, 0);
    put(2, GW_ADMIT_RESUMED, 0, 0);
    put(3, GW_ADMIT_BEGUN, 1, 0);
    sp_timer_start(timer, 1);
    sp_loop_run(loop);
    while (gw_admission_waiting(admission))
        sp_loop_run(loop);
    ck_assert_int_eq(works[1].late + works[2].late, 2);
    ck_assert_int_eq(works[0].late + works[3].late, 0);
    ck_assert_int_eq(runs, 2);
    sp_timer_free(timer);
}
END_TEST

START_TEST(what_is_taken_out_never_runs)
{
    for (int i = 0; i < 20; i++)
        put(i, (enum gw_admission_kind)(i % 3), i % 4, 0);
    for (int i = 0; i < 20; i += 2)
        gw_admission_remove(admission, &works[i].item);
    gw_admission_remove(admission, &works[0].item);
    ck_assert_uint_eq(gw_admission_waiting(admission), 10);
    sp_loop_run(loop);
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(works[i].order != 0, i % 2);
    put(0, GW_ADMIT_FULL, 0, 0);
    sp_loop_run(loop);
    ck_assert_int_eq(works[0].order, 11);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("admission");
    TCase *tc = tcase_create("admission");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tc, 120); /* beside whatever else runs here */
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, nothing_runs_at_once);
    tcase_add_test(tc, within_a_tenant_begun_come_first_then_tickets_each_in_order);
    tcase_add_test(tc, a_flood_of_one_tenant_does_not_delay_the_others);
    tcase_add_test(tc, what_is_shared_is_time);
    tcase_add_test(tc, who_was_alone_begins_even_with_those_who_come);
    tcase_add_test(tc, a_loop_turn_is_not_filled_with_handshakes);
    tcase_add_test(tc, who_has_waited_too_long_is_turned_away_unless_he_has_begun);
    tcase_add_test(tc, what_is_taken_out_never_runs);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
