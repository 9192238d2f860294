#include "common/h2_window.h"
#include "tests/unit/h2_pair.h"

/* ---- the rule by itself ---- */

static const struct {
    uint32_t size, took_ms, waiting;
    uint32_t wanted;
} rounds[] = {
    {2000, 0, 0, 4000},    {2000, 250, 0, 4000}, {2000, 251, 0, 2000},  {2000, 999, 0, 2000},
    {2000, 1000, 0, 1000}, {8000, 0, 0, 8000},   {1000, 5000, 0, 1000}, {4000, 0, 2000, 8000},
    {4000, 0, 2001, 2000}, {4000, 500, 0, 4000}, {1000, 0, 501, 1000},  {5000, 0, 0, 8000},
};

/* A round of a window: half of it came in and was taken, `waiting` bytes lay there at most. */
static void run_round(struct sp_h2_window *w, struct sp_h2_window_budget *budget, uint64_t begin_ms,
                      uint32_t took_ms, uint32_t waiting)
{
    uint32_t half = w->size / 2;

    w->round_start_ms = (uint32_t)begin_ms;
    w->backlog += waiting;
    sp_h2_window_peak(w);
    w->backlog += half;
    ck_assert(sp_h2_window_consumed(w, half + waiting, w->size));
    sp_h2_window_judge(w, budget, begin_ms + took_ms);
}

START_TEST(a_round_doubles_halves_or_keeps_the_window)
{
    struct sp_h2_window_budget budget = {.full = 1000, .initial = 1000, .max = 8000};
    struct sp_h2_window w;

    sp_h2_window_open(&w, &budget, 7);
    ck_assert_uint_eq(w.size, 1000);
    w.size = rounds[_i].size;
    budget.grown = w.size - 1000;
    run_round(&w, &budget, UINT32_MAX - 100u, rounds[_i].took_ms, rounds[_i].waiting);
    ck_assert_uint_eq(w.size, rounds[_i].wanted);
    ck_assert_uint_eq(budget.grown, rounds[_i].wanted - 1000);
    sp_h2_window_close(&w, &budget);
    ck_assert_uint_eq(budget.grown, 0);
}
END_TEST

START_TEST(a_window_is_judged_only_when_its_round_is_over)
{
    struct sp_h2_window_budget budget = {.full = 1000, .initial = 1000, .max = 8000};
    struct sp_h2_window w;

    sp_h2_window_open(&w, &budget, 0);
    w.backlog = 250;
    ck_assert(sp_h2_window_consumed(&w, 250, w.size));
    sp_h2_window_judge(&w, &budget, 0);
    ck_assert_uint_eq(w.size, 1000);
    w.backlog = 250;
    ck_assert(sp_h2_window_consumed(&w, 250, w.size));
    sp_h2_window_judge(&w, &budget, 0);
    ck_assert_uint_eq(w.size, 2000);
}
END_TEST

START_TEST(credit_is_due_for_a_quarter_of_the_window_or_a_mebibyte)
{
    struct sp_h2_window w = {.backlog = 8 << 20};

    ck_assert(!sp_h2_window_consumed(&w, 249, 1000));
    ck_assert(sp_h2_window_consumed(&w, 1, 1000));
    ck_assert(!sp_h2_window_consumed(&w, 249, 1000));
    w.unacked = 0;
    ck_assert(!sp_h2_window_consumed(&w, (1 << 20) - 1, 16 << 20));
    ck_assert(sp_h2_window_consumed(&w, 1, 16 << 20));
    ck_assert_uint_eq(w.backlog, (8 << 20) - (1 << 20) - 250 - 249);
}
END_TEST

static const struct {
    uint32_t now;
    size_t streams;
    uint32_t wanted;
} initials[] = {{65536, 0, 65536},   {65536, 256, 65536},  {65536, 257, 32768},
                {32768, 256, 32768}, {32768, 512, 32768},  {32768, 65, 32768},
                {32768, 63, 65536},  {65536, 4096, 4096},  {4096, 100000, 4096},
                {4096, 1, 65536},    {65536, 100000, 4096}};

START_TEST(the_more_streams_there_are_the_less_each_begins_with)
{
    struct sp_h2_window_budget budget = {.full = 65536, .initial = initials[_i].now};

    ck_assert_uint_eq(sp_h2_window_initial(&budget, initials[_i].streams), initials[_i].wanted);
}
END_TEST

START_TEST(a_stream_that_begins_with_little_is_left_alone)
{
    struct sp_h2_window_budget budget = {.full = 1000, .initial = 1000};

    ck_assert_uint_eq(sp_h2_window_initial(&budget, 100000), 1000);
}
END_TEST

static const struct {
    uint64_t held;
    int32_t credit;
    uint32_t wanted;
} credits[] = {
    {0, SP_H2_CONNECTION_WINDOW, 0},  {0, 48 << 20, 16 << 20},       {0, (48 << 20) + 1, 0},
    {128 << 20, 0, 64 << 20},         {160 << 20, 0, 32 << 20},      {160 << 20, 40 << 20, 0},
    {SP_H2_HELD_MAX - 4096, 0, 4096}, {SP_H2_HELD_MAX - 4095, 0, 0}, {SP_H2_HELD_MAX, 0, 0},
    {SP_H2_HELD_MAX + 1, 0, 0},
};

START_TEST(the_connections_credit_ends_where_too_much_waits)
{
    struct sp_h2_window_budget budget = {.held = credits[_i].held};

    ck_assert_uint_eq(sp_h2_window_connection(&budget, credits[_i].credit), credits[_i].wanted);
}
END_TEST

/* ---- in a session ---- */

/* How far ahead of a reader that stopped a sender may get: the window. */
static uint64_t window_of(struct end *client, struct end *server, size_t index)
{
    struct flow *b = &server->flows[index];
    uint64_t before = b->got;

    b->keep = true;
    flow_send(&client->flows[index], 1 << 30, false);
    pair_pump(client, server, 0);
    client->flows[index].to_send = 0;
    return b->got - before;
}

static void send_prompt(struct end *client, struct end *server, size_t index, uint64_t bytes)
{
    client->flows[index].plain = true;
    pair_pump(client, server, 0);
    server->flows[index].plain = true;
    flow_send(&client->flows[index], bytes, false);
    pair_pump(client, server, 0);
}

START_TEST(a_window_grows_to_its_maximum_while_the_reader_keeps_up)
{
    struct end client, server;

    pair_start(&client, &server, 10);
    (void)pair_connect(&client, "h:1");
    pair_pump(&client, &server, 0);
    send_prompt(&client, &server, 0, 1 << 20);
    send_prompt(&client, &server, 0, 80 << 20);
    /* Up to a quarter of it (1 MiB at most) may not have been given back yet. */
    ck_assert_uint_le(window_of(&client, &server, 0), 32 << 20);
    ck_assert_uint_ge(server.flows[0].kept, 31 << 20);
    end_close(&client);
    end_close(&server);
}
END_TEST

START_TEST(a_window_does_not_grow_while_the_reader_lags)
{
    struct end client, server;
    struct flow *b;

    pair_start(&client, &server, 10);
    flow_send(pair_connect(&client, "h:1"), 40 << 20, false);
    server.keep = true;
    pair_pump(&client, &server, 0);
    b = &server.flows[0];
    /* The reader takes 10 kB at a time and the sender always has more. */
    for (int i = 0; i < 500; i++) {
        sp_h2_consumed(b->stream, 10000);
        b->kept -= 10000;
        pair_pump(&client, &server, 0);
        ck_assert_uint_le(b->kept, 256 << 10);
    }
    ck_assert_uint_gt(b->got, 4000000);
    end_close(&client);
    end_close(&server);
}
END_TEST

START_TEST(a_window_does_not_grow_for_a_slow_stream_and_shrinks_again_after_a_fast_one)
{
    struct end client, server;

    pair_start(&client, &server, 10);
    (void)pair_connect(&client, "h:1");
    (void)pair_connect(&client, "h:2");
    pair_pump(&client, &server, 0);
    for (int i = 0; i < 100; i++) {
        clock_ahead_ms += 300;
        send_prompt(&client, &server, 0, 128 << 10); /* 430 kB a second */
    }
    ck_assert_uint_le(window_of(&client, &server, 0), 256 << 10);
    send_prompt(&client, &server, 1, 40 << 20);
    for (int i = 0; i < 100; i++) {
        clock_ahead_s += 2;
        send_prompt(&client, &server, 1, 1 << 20);
    }
    ck_assert_uint_le(window_of(&client, &server, 1), 4 << 20);
    end_close(&client);
    end_close(&server);
}
END_TEST

START_TEST(all_windows_together_stay_within_the_session_s_budget)
{
    struct end client, server;
    uint64_t sum = 0;

    pair_start(&client, &server, 20);
    for (size_t i = 0; i < 10; i++) {
        (void)pair_connect(&client, "h:1");
        send_prompt(&client, &server, i, 40 << 20);
    }
    for (size_t i = 0; i < 10; i++)
        sum += window_of(&client, &server, i);
    ck_assert_uint_le(sum, (2 * 32 << 20) + 10 * (256 << 10));
    ck_assert_uint_ge(sum, 4 * 15 << 20);
    for (size_t i = 0; i < 10; i++)
        sp_h2_reset(client.flows[i].stream, SP_H2_CANCEL);
    pair_pump(&client, &server, 0);
    /* What closed streams held is free again. */
    (void)pair_connect(&client, "h:1");
    send_prompt(&client, &server, 10, 40 << 20);
    ck_assert_uint_ge(window_of(&client, &server, 10), 15 << 20);
    end_close(&client);
    end_close(&server);
}
END_TEST

START_TEST(a_small_window_works_too)
{
    const struct sp_h2_options options = {
        .server = true, .max_streams = 10, .window_initial = 1000, .window_max = 2000};
    struct end client, server;
    struct flow *flow;

    ck_assert_int_eq(end_open(&client, &(struct sp_h2_options){.server = false}, 10), SP_OK);
    ck_assert_int_eq(end_open(&server, &options, 10), SP_OK);
    flow = pair_connect(&client, "h:1");
    flow_send(flow, 1000000, true);
    pair_pump(&client, &server, 13);
    ck_assert_uint_eq(server.flows[0].got, 1000000);
    ck_assert_uint_eq(server.flows[0].got_sum, flow->sent_sum);
    end_close(&client);
    end_close(&server);
}
END_TEST

START_TEST(a_reset_gives_the_unread_bytes_back_to_the_connection)
{
    const struct sp_h2_options options = {
        .server = true, .max_streams = 10, .window_initial = 8 << 20};
    struct end client, server;

    ck_assert_int_eq(end_open(&client, &(struct sp_h2_options){.server = false}, 200), SP_OK);
    ck_assert_int_eq(end_open(&server, &options, 200), SP_OK);
    pair_pump(&client, &server, 0);
    server.keep = true;
    /* 1.25 GiB that nobody reads: more than the connection's window. */
    for (int i = 0; i < 160; i++) {
        struct flow *flow = pair_connect(&client, "h:1");

        flow->plain = true;
        pair_pump(&client, &server, 0);
        server.flows[i].plain = true;
        flow_send(flow, 100 << 20, false);
        pair_pump(&client, &server, 0);
        ck_assert_uint_eq(server.flows[i].got, 8 << 20);
        sp_h2_reset(i % 2 ? flow->stream : server.flows[i].stream, SP_H2_CANCEL);
        pair_pump(&client, &server, 0);
        assert_closed(flow, SP_H2_CANCEL);
    }
    ck_assert_int_eq(client.failed, SP_OK);
    end_close(&client);
    end_close(&server);
}
END_TEST

#define STUCK 1000

START_TEST(readers_that_never_read_hold_little_however_many_they_are)
{
    const struct sp_h2_options options = {
        .server = true, .max_streams = STUCK + 10, .window_initial = 65536};
    struct end client, server;
    uint64_t held = 0;

    ck_assert_int_eq(end_open(&client, &(struct sp_h2_options){.server = false}, STUCK + 10),
                     SP_OK);
    ck_assert_int_eq(end_open(&server, &options, STUCK + 10), SP_OK);
    pair_pump(&client, &server, 0);
    server.keep = true;
    for (int i = 0; i < STUCK; i++) {
        (void)pair_connect(&client, "h:1");
        pair_pump(&client, &server, 0);
        flow_send(&client.flows[i], 1 << 18, true);
        pair_pump(&client, &server, 0);
        held += server.flows[i].got;
    }
    ck_assert_uint_le(held, 34 << 20); /* 16 MiB, and 8 more for each doubling of their number */
    ck_assert_uint_ge(server.flows[STUCK - 1].got, 16384);
    /* One that reads is as fast as ever. */
    server.keep = false;
    (void)pair_connect(&client, "h:1");
    pair_pump(&client, &server, 0);
    send_prompt(&client, &server, STUCK, 40 << 20);
    ck_assert_uint_ge(window_of(&client, &server, STUCK), 15 << 20);
    /* And those that stood still go on: nothing was lost, no window is stuck below zero. */
    for (int i = 0; i < STUCK; i++) {
        server.flows[i].keep = false;
        sp_h2_consumed(server.flows[i].stream, server.flows[i].kept);
        server.flows[i].kept = 0;
    }
    pair_pump(&client, &server, 0);
    for (int i = 0; i < STUCK; i++) {
        ck_assert_uint_eq(server.flows[i].got, 1 << 18);
        ck_assert_uint_eq(server.flows[i].got_sum, client.flows[i].sent_sum);
    }
    ck_assert_int_eq(client.failed, SP_OK);
    ck_assert_int_eq(server.failed, SP_OK);
    end_close(&client);
    end_close(&server);
}
END_TEST

START_TEST(streams_begin_with_all_of_it_again_when_they_are_few)
{
    const struct sp_h2_options options = {
        .server = true, .max_streams = 1000, .window_initial = 65536};
    struct end client, server;

    ck_assert_int_eq(end_open(&client, &(struct sp_h2_options){.server = false}, 1000), SP_OK);
    ck_assert_int_eq(end_open(&server, &options, 1000), SP_OK);
    pair_pump(&client, &server, 0);
    for (int i = 0; i < 600; i++)
        (void)pair_connect(&client, "h:1");
    pair_pump(&client, &server, 0);
    ck_assert_uint_eq(window_of(&client, &server, 0), 16384);
    sp_h2_consumed(server.flows[0].stream, server.flows[0].kept);
    server.flows[0].kept = 0;
    ck_assert_uint_le(window_of(&client, &server, 0), 16384);
    for (int i = 1; i < 600; i++)
        sp_h2_reset(client.flows[i].stream, SP_H2_CANCEL);
    pair_pump(&client, &server, 0);
    (void)pair_connect(&client, "h:1");
    pair_pump(&client, &server, 0);
    ck_assert_uint_eq(window_of(&client, &server, 600), 65536);
    end_close(&client);
    end_close(&server);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("h2_window");
    TCase *t = tcase_create("h2_window");

    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, a_round_doubles_halves_or_keeps_the_window, 0,
                        sizeof rounds / sizeof *rounds);
    tcase_add_loop_test(t, the_more_streams_there_are_the_less_each_begins_with, 0,
                        sizeof initials / sizeof initials[0]);
    tcase_add_test(t, a_stream_that_begins_with_little_is_left_alone);
    tcase_add_loop_test(t, the_connections_credit_ends_where_too_much_waits, 0,
                        sizeof credits / sizeof credits[0]);
    tcase_add_test(t, readers_that_never_read_hold_little_however_many_they_are);
    tcase_add_test(t, streams_begin_with_all_of_it_again_when_they_are_few);
    tcase_add_test(t, a_window_is_judged_only_when_its_round_is_over);
    tcase_add_test(t, credit_is_due_for_a_quarter_of_the_window_or_a_mebibyte);
    tcase_add_test(t, a_window_grows_to_its_maximum_while_the_reader_keeps_up);
    tcase_add_test(t, a_window_does_not_grow_while_the_reader_lags);
    tcase_add_test(t, a_window_does_not_grow_for_a_slow_stream_and_shrinks_again_after_a_fast_one);
    tcase_add_test(t, all_windows_together_stay_within_the_session_s_budget);
    tcase_add_test(t, a_small_window_works_too);
    tcase_add_test(t, a_reset_gives_the_unread_bytes_back_to_the_connection);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *runner = srunner_create(suite());
    int failed;

    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
