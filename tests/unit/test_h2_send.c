#include "tests/unit/h2_pair.h"

START_TEST(a_stalled_stream_holds_back_nobody_but_itself)
{
    struct end client, server;
    struct flow *slow, *fast;

    pair_start(&client, &server, 10);
    slow = pair_connect(&client, "slow:1");
    fast = pair_connect(&client, "fast:1");
    pair_pump(&client, &server, 0);
    server.flows[0].keep = true;
    flow_send(slow, 64 << 20, true);
    flow_send(fast, 64 << 20, true);
    pair_pump(&client, &server, 0);
    ck_assert_uint_eq(server.flows[1].got, 64 << 20);
    ck_assert_uint_eq(server.flows[1].got_sum, fast->sent_sum);
    ck_assert_uint_eq(server.flows[0].got, 256 << 10); /* its window, no more */
    while (server.flows[0].got < 64 << 20) {
        struct flow *b = &server.flows[0];
        uint64_t before = b->got;

        sp_h2_consumed(b->stream, b->kept);
        b->kept = 0;
        pair_pump(&client, &server, 0);
        ck_assert_uint_gt(b->got, before);
    }
    ck_assert_uint_eq(server.flows[0].got, 64 << 20);
    ck_assert_uint_eq(server.flows[0].got_sum, slow->sent_sum);
    end_close(&client);
    end_close(&server);
}
END_TEST

START_TEST(a_thousand_streams_carry_random_bytes_both_ways)
{
    struct end client, server;

    pair_start(&client, &server, 1000);
    for (int i = 0; i < 1000; i++)
        flow_send(pair_connect(&client, "h:1"), 1 + (uint64_t)i * 53, true);
    while (pair_move(&client, &server, 0))
        continue;
    ck_assert_uint_eq(server.flow_count, 1000);
    for (int i = 0; i < 1000; i++)
        flow_send(&server.flows[i], 1 + (uint64_t)(999 - i) * 59, true);
    pair_pump(&client, &server, 0);
    for (int i = 0; i < 1000; i++) {
        struct flow *a = &client.flows[i], *b = &server.flows[i];

        ck_assert_uint_eq(b->got, 1 + (uint64_t)i * 53);
        ck_assert_uint_eq(a->got, 1 + (uint64_t)(999 - i) * 59);
        ck_assert_uint_eq(b->got_sum, a->sent_sum);
        ck_assert_uint_eq(a->got_sum, b->sent_sum);
        assert_closed(a, SP_H2_NO_ERROR);
        assert_closed(b, SP_H2_NO_ERROR);
    }
    end_close(&client);
    end_close(&server);
}
END_TEST

START_TEST(a_piece_is_whole_tls_records_and_bulk_fills_it)
{
    struct end client, server;
    uint8_t piece[SP_H2_PIECE];
    size_t len;
    struct sp_error err;
    struct flow *flow;

    pair_start(&client, &server, 1000);
    flow = pair_connect(&client, "h:1");
    pair_pump(&client, &server, 0);
    flow_send(flow, 3 * (SP_H2_PIECE - 9), false);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(sp_h2_output(client.h2, piece, sizeof piece, &len, &err), SP_OK);
        ck_assert_uint_eq(len, SP_H2_PIECE);
        ck_assert_uint_eq(piece[0] << 16 | piece[1] << 8 | piece[2], SP_H2_PIECE - 9);
        ck_assert_uint_eq(piece[3], 0); /* DATA */
        ck_assert(end_feed(&server, piece, len, 0));
    }
    /* Small frames of many streams share a piece. */
    for (int i = 0; i < 900; i++)
        flow_send(pair_connect(&client, "h:1"), 200, true);
    pair_pump(&client, &server, 0);
    ck_assert_uint_le(client.biggest_piece, SP_H2_PIECE);
    ck_assert_uint_gt(client.biggest_piece, SP_H2_PIECE - 2000);
    for (size_t i = 1; i < 900; i++)
        ck_assert_uint_eq(server.flows[i].got_sum, client.flows[i].sent_sum);
    end_close(&client);
    end_close(&server);
}
END_TEST

START_TEST(ten_thousand_streams_open_and_close_in_linear_time)
{
    struct end client, server;
    clock_t begin;

    pair_start(&client, &server, 10000);
    begin = clock();
    for (int i = 0; i < 10000; i++)
        (void)pair_connect(&client, "some-host.acme.example:443");
    pair_pump(&client, &server, 0);
    ck_assert_uint_eq(sp_h2_stream_count(server.h2), 10000);
    ck_assert(!sp_h2_can_connect(client.h2));
    for (size_t i = 0; i < 10000; i++) {
        flow_send(&client.flows[i], 10, true);
        flow_send(&server.flows[i], 10, true);
    }
    pair_pump(&client, &server, 0);
    ck_assert_uint_eq(client.closes, 10000);
    ck_assert_uint_eq(server.closes, 10000);
    /* 0.1 s here; anything quadratic takes minutes. */
    ck_assert_int_lt((clock() - begin) / CLOCKS_PER_SEC, 10);
    end_close(&client);
    end_close(&server);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("h2_send");
    TCase *t = tcase_create("h2_send");

    tcase_set_timeout(t, 120);
    tcase_add_test(t, a_stalled_stream_holds_back_nobody_but_itself);
    tcase_add_test(t, a_thousand_streams_carry_random_bytes_both_ways);
    tcase_add_test(t, a_piece_is_whole_tls_records_and_bulk_fills_it);
    tcase_add_test(t, ten_thousand_streams_open_and_close_in_linear_time);
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
