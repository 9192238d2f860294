#include "common/h2_impl.h"
#include "tests/unit/h2_pair.h"

static const size_t chops[] = {0, 1, 7, 1000};

/* ---- life of a stream ---- */

START_TEST(a_stream_opens_carries_bytes_both_ways_and_closes)
{
    struct end client, server;
    struct flow *flow;

    pair_open(&client, &server, 10);
    server.echo = true;
    flow = pair_connect(&client, "db.acme.example:5432");
    flow_send(flow, 100000, true);
    pair_pump(&client, &server, chops[_i]);
    ck_assert_int_eq(client.failed, SP_OK);
    ck_assert_int_eq(server.failed, SP_OK);
    ck_assert_uint_eq(client.settings, 1);
    ck_assert_uint_eq(server.settings, 1);
    ck_assert_uint_eq(server.flow_count, 1);
    ck_assert_str_eq(server.flows[0].method, "CONNECT");
    ck_assert_str_eq(server.flows[0].authority, "db.acme.example:5432");
    ck_assert(!server.flows[0].malformed);
    ck_assert_int_eq(flow->responses, 1);
    ck_assert_int_eq(flow->status, 200);
    ck_assert_str_eq(flow->proxy_status, "");
    ck_assert_uint_eq(flow->got, 100000);
    ck_assert_uint_eq(flow->got_sum, flow->sent_sum);
    ck_assert(flow->ended);
    assert_closed(flow, SP_H2_NO_ERROR);
    assert_closed(&server.flows[0], SP_H2_NO_ERROR);
    ck_assert_uint_eq(sp_h2_stream_count(client.h2), 0);
    ck_assert_uint_eq(sp_h2_stream_count(server.h2), 0);
    end_close(&client);
    end_close(&server);
}
END_TEST

static const struct {
    bool client_first, server_first;
    uint64_t client_bytes, server_bytes;
} half_closes[] = {
    {true, false, 5000, 300000}, {false, true, 300000, 5000}, {true, true, 70000, 70000},
    {true, false, 0, 0},         {false, true, 0, 0},
};

START_TEST(each_direction_ends_by_itself_and_the_other_goes_on)
{
    bool client_first = half_closes[_i].client_first, server_first = half_closes[_i].server_first;
    struct end client, server;
    struct flow *a, *b;

    pair_start(&client, &server, 10);
    a = pair_connect(&client, "h:1");
    pair_pump(&client, &server, 0);
    b = &server.flows[0];
    if (client_first)
        flow_send(a, half_closes[_i].client_bytes, true);
    if (server_first)
        flow_send(b, half_closes[_i].server_bytes, true);
    pair_pump(&client, &server, 7);
    ck_assert_int_eq(b->ended, client_first);
    ck_assert_int_eq(a->ended, server_first);
    ck_assert_int_eq(a->closes, client_first && server_first);
    if (!client_first)
        flow_send(a, half_closes[_i].client_bytes, true);
    if (!server_first)
        flow_send(b, half_closes[_i].server_bytes, true);
    pair_pump(&client, &server, 0);
    assert_closed(a, SP_H2_NO_ERROR);
    assert_closed(b, SP_H2_NO_ERROR);
    ck_assert_uint_eq(b->got, half_closes[_i].client_bytes);
    ck_assert_uint_eq(a->got, half_closes[_i].server_bytes);
    ck_assert_uint_eq(b->got_sum, a->sent_sum);
    ck_assert_uint_eq(a->got_sum, b->sent_sum);
    end_close(&client);
    end_close(&server);
}
END_TEST

START_TEST(a_refusal_carries_its_reason_and_ends_both_sides)
{
    static const char reason[] = "sallyport; error=destination_ip_prohibited; details=\"10.0.0.1\"";
    struct end client, server;
    struct flow *flow;

    pair_start(&client, &server, 10);
    server.answer = 403;
    server.answer_proxy_status = reason;
    flow = pair_connect(&client, "10.0.0.1:22");
    flow_send(flow, 100, false); /* never asked for */
    pair_pump(&client, &server, chops[_i]);
    ck_assert_int_eq(flow->status, 403);
    ck_assert_str_eq(flow->proxy_status, reason);
    ck_assert_uint_eq(flow->pulls, 0);
    assert_closed(flow, SP_H2_NO_ERROR);
    assert_closed(&server.flows[0], SP_H2_NO_ERROR);
    ck_assert_int_eq(client.failed, SP_OK);
    ck_assert_int_eq(server.failed, SP_OK);
    end_close(&client);
    end_close(&server);
}
END_TEST

START_TEST(a_late_answer_finds_the_bytes_that_came_before_it)
{
    struct end client, server;
    struct flow *flow;

    pair_start(&client, &server, 10);
    server.answer = 0;
    flow = pair_connect(&client, "h:1");
    pair_pump(&client, &server, 0);
    ck_assert_int_eq(flow->responses, 0);
    ck_assert_uint_eq(flow->pulls, 0);
    sp_h2_resume(flow->stream); /* of no effect */
    sp_h2_resume(server.flows[0].stream);
    pair_pump(&client, &server, 0);
    ck_assert_uint_eq(flow->pulls, 0);
    ck_assert_uint_eq(server.flows[0].pulls, 0);
    server.flows[0].to_send = 10;
    sp_h2_respond(server.flows[0].stream, 200, NULL);
    pair_pump(&client, &server, 0);
    ck_assert_int_eq(flow->status, 200);
    ck_assert_uint_eq(flow->got, 10);
    end_close(&client);
    end_close(&server);
}
END_TEST

START_TEST(resume_of_a_stream_that_waits_for_nothing_does_no_harm)
{
    struct end client, server;
    struct flow *flow;
    unsigned pulls;

    pair_start(&client, &server, 10);
    flow = pair_connect(&client, "h:1");
    for (int i = 0; i < 5; i++)
        sp_h2_resume(flow->stream);
    pair_pump(&client, &server, 0);
    pulls = flow->pulls;
    ck_assert_uint_ge(pulls, 1);
    for (int i = 0; i < 5; i++)
        sp_h2_resume(flow->stream);
    pair_pump(&client, &server, 0);
    ck_assert_uint_eq(flow->pulls, pulls + 1); /* one wake, one question */
    flow_send(flow, 0, true);
    pair_pump(&client, &server, 0);
    sp_h2_resume(flow->stream); /* after its END */
    pair_pump(&client, &server, 0);
    ck_assert(server.flows[0].ended);
    end_close(&client);
    end_close(&server);
}
END_TEST

/* ---- resets ---- */

enum resetter { CLIENT_RESETS, SERVER_RESETS, CLIENT_PULL, SERVER_PULL, SERVER_ON_DATA };

START_TEST(a_reset_reaches_the_other_end_as_connect_error)
{
    struct end client, server;
    struct flow *a, *b, *other;

    pair_start(&client, &server, 10);
    a = pair_connect(&client, "h:1");
    other = pair_connect(&client, "h:2");
    pair_pump(&client, &server, 0);
    b = &server.flows[0];
    b->keep = true;
    flow_send(a, 50000, false);
    switch ((enum resetter)_i) {
    case CLIENT_RESETS:
        pair_pump(&client, &server, 0);
        sp_h2_reset(a->stream, SP_H2_CONNECT_ERROR);
        sp_h2_reset(a->stream, SP_H2_CANCEL); /* too late */
        sp_h2_resume(a->stream);
        break;
    case SERVER_RESETS:
        pair_pump(&client, &server, 0);
        sp_h2_reset(b->stream, SP_H2_CONNECT_ERROR);
        sp_h2_consumed(b->stream, b->kept);
        break;
    case CLIENT_PULL:
        a->pull_reset = true;
        break;
    case SERVER_PULL:
        b->pull_reset = true;
        sp_h2_resume(b->stream);
        break;
    case SERVER_ON_DATA:
        b->reset_on_data = true;
        break;
    }
    flow_send(other, 20000, true);
    pair_pump(&client, &server, 100);
    assert_closed(a, SP_H2_CONNECT_ERROR);
    assert_closed(b, SP_H2_CONNECT_ERROR);
    ck_assert_uint_eq(server.flows[1].got, 20000); /* the neighbour did not notice */
    ck_assert_uint_eq(server.flows[1].got_sum, other->sent_sum);
    if (_i == SERVER_ON_DATA)
        ck_assert_uint_le(b->got, 100);
    ck_assert_int_eq(client.failed, SP_OK);
    ck_assert_int_eq(server.failed, SP_OK);
    end_close(&client);
    end_close(&server);
}
END_TEST

/* What came with the reset is passed on first, so it is consumed while the stream closes. */
START_TEST(what_a_reset_stream_had_brought_may_be_consumed_when_it_closes)
{
    struct end client, server;
    struct flow *flow, *other;

    pair_start(&client, &server, 10);
    flow = pair_connect(&client, "h:1");
    pair_pump(&client, &server, 0);
    server.flows[0].keep = server.flows[0].late = true;
    flow_send(flow, 50000, false);
    pair_pump(&client, &server, 0);
    ck_assert_uint_eq(server.flows[0].kept, 50000);
    sp_h2_reset(flow->stream, SP_H2_CONNECT_ERROR);
    pair_pump(&client, &server, 0);
    assert_closed(&server.flows[0], SP_H2_CONNECT_ERROR);
    ck_assert_uint_eq(server.h2->windows.held, 0);
    other = pair_connect(&client, "h:2");
    flow_send(other, 50000, true);
    pair_pump(&client, &server, 0);
    ck_assert_uint_eq(server.flows[1].got, 50000);
    end_close(&client);
    end_close(&server);
}
END_TEST

START_TEST(a_stream_that_is_reset_before_it_left_never_reaches_the_server)
{
    struct end client, server;
    struct flow *flow;

    pair_start(&client, &server, 10);
    flow = pair_connect(&client, "h:1");
    sp_h2_reset(flow->stream, SP_H2_CANCEL);
    pair_pump(&client, &server, 0);
    assert_closed(flow, SP_H2_CANCEL);
    ck_assert_uint_eq(server.flow_count, 0);
    ck_assert_uint_eq(sp_h2_stream_count(client.h2), 0);
    end_close(&client);
    end_close(&server);
}
END_TEST

/* ---- the session ---- */

START_TEST(the_peer_s_stream_limit_holds_before_and_after_its_settings)
{
    struct end client, server;
    struct sp_h2_stream *stream;
    struct sp_error err;

    pair_open(&client, &server, 150);
    for (int i = 0; i < 100; i++)
        (void)pair_connect(&client, "h:1");
    ck_assert(!sp_h2_can_connect(client.h2));
    ck_assert_int_eq(sp_h2_connect(client.h2, "h:1", NULL, &stream, &err), SP_ERR_LIMIT);
    ck_assert_str_eq(err.text, "the tunnel is full: 100 channels, 100 allowed");
    pair_pump(&client, &server, 0);
    ck_assert(sp_h2_can_connect(client.h2));
    for (int i = 100; i < 150; i++)
        (void)pair_connect(&client, "h:1");
    ck_assert(!sp_h2_can_connect(client.h2));
    pair_pump(&client, &server, 0);
    ck_assert_uint_eq(server.flow_count, 150);
    sp_h2_reset(client.flows[3].stream, SP_H2_CANCEL);
    pair_pump(&client, &server, 0);
    ck_assert(sp_h2_can_connect(client.h2));
    end_close(&client);
    end_close(&server);
}
END_TEST

START_TEST(goaway_lets_streams_finish_and_then_the_session_is_over)
{
    struct end client, server;
    struct sp_h2_stream *stream;
    struct flow *before;
    struct sp_error err;

    pair_start(&client, &server, 10);
    before = pair_connect(&client, "h:1");
    pair_pump(&client, &server, 0);
    sp_h2_goaway(server.h2, SP_H2_NO_ERROR, "the gateway restarts");
    while (pair_move(&server, &client, 0))
        continue;
    ck_assert_uint_eq(client.goaways, 1);
    ck_assert_str_eq(client.goaway_text, "the gateway restarts");
    ck_assert_uint_eq(client.goaway_code, SP_H2_NO_ERROR);
    ck_assert(!sp_h2_can_connect(client.h2));
    ck_assert_int_eq(sp_h2_connect(client.h2, "h:1", NULL, &stream, &err), SP_ERR_LIMIT);
    ck_assert_str_eq(err.text, "the tunnel takes no new channels (GOAWAY)");
    ck_assert(sp_h2_is_alive(client.h2));
    ck_assert(sp_h2_is_alive(server.h2));
    server.flows[0].to_send = 300000;
    flow_send(&server.flows[0], 0, true);
    flow_send(before, 300000, true);
    pair_pump(&client, &server, 0);
    assert_closed(before, SP_H2_NO_ERROR);
    ck_assert_uint_eq(before->got, 300000);
    ck_assert(!sp_h2_is_alive(client.h2));
    ck_assert(!sp_h2_is_alive(server.h2));
    end_close(&client);
    end_close(&server);
}
END_TEST

START_TEST(a_stream_that_crosses_goaway_is_refused_and_may_be_tried_elsewhere)
{
    struct end client, server;
    struct sp_error err;
    uint8_t goaway[2000];
    size_t goaway_len;
    struct flow *crossing;

    pair_start(&client, &server, 10);
    sp_h2_goaway(server.h2, SP_H2_NO_ERROR, "bye");
    ck_assert_int_eq(sp_h2_output(server.h2, goaway, sizeof goaway, &goaway_len, &err), SP_OK);
    crossing = pair_connect(&client, "h:2");
    while (pair_move(&client, &server, 0))
        continue;
    ck_assert_uint_eq(server.flow_count, 0);
    ck_assert(end_feed(&client, goaway, goaway_len, 0));
    assert_closed(crossing, SP_H2_REFUSED);
    end_close(&client);
    end_close(&server);
}
END_TEST

START_TEST(freeing_a_session_closes_its_streams_as_cancelled)
{
    struct end client, server;

    pair_start(&client, &server, 10);
    for (int i = 0; i < 5; i++)
        flow_send(pair_connect(&client, "h:1"), 1 << 20, false);
    server.keep = true;
    pair_pump(&client, &server, 0);
    (void)pair_connect(&client, "h:1"); /* not sent yet */
    end_close(&client);
    end_close(&server);
    ck_assert_uint_eq(client.closes, 6);
    ck_assert_uint_eq(server.closes, 5);
}
END_TEST

START_TEST(a_ping_is_answered_once)
{
    struct end client, server;

    pair_start(&client, &server, 10);
    sp_h2_ping(client.h2);
    pair_pump(&client, &server, 1);
    ck_assert_uint_eq(client.pongs, 1);
    ck_assert_uint_eq(server.pongs, 0);
    sp_h2_ping(server.h2);
    pair_pump(&client, &server, 0);
    ck_assert_uint_eq(server.pongs, 1);
    ck_assert_uint_eq(client.pongs, 1);
    end_close(&client);
    end_close(&server);
}
END_TEST

START_TEST(an_idle_session_says_nothing)
{
    struct end client, server;
    uint8_t piece[SP_H2_PIECE];
    size_t len;
    struct sp_error err;

    pair_start(&client, &server, 10);
    (void)pair_connect(&client, "h:1");
    pair_pump(&client, &server, 0);
    ck_assert_int_eq(sp_h2_output(client.h2, piece, sizeof piece, &len, &err), SP_OK);
    ck_assert_uint_eq(len, 0);
    ck_assert(sp_h2_is_alive(client.h2));
    end_close(&client);
    end_close(&server);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("h2_session");
    TCase *t = tcase_create("h2_session");

    tcase_add_loop_test(t, a_stream_opens_carries_bytes_both_ways_and_closes, 0, 4);
    tcase_add_loop_test(t, each_direction_ends_by_itself_and_the_other_goes_on, 0, 5);
    tcase_add_loop_test(t, a_refusal_carries_its_reason_and_ends_both_sides, 0, 4);
    tcase_add_test(t, a_late_answer_finds_the_bytes_that_came_before_it);
    tcase_add_test(t, resume_of_a_stream_that_waits_for_nothing_does_no_harm);
    tcase_add_loop_test(t, a_reset_reaches_the_other_end_as_connect_error, 0, 5);
    tcase_add_test(t, what_a_reset_stream_had_brought_may_be_consumed_when_it_closes);
    tcase_add_test(t, a_stream_that_is_reset_before_it_left_never_reaches_the_server);
    tcase_add_test(t, the_peer_s_stream_limit_holds_before_and_after_its_settings);
    tcase_add_test(t, goaway_lets_streams_finish_and_then_the_session_is_over);
    tcase_add_test(t, a_stream_that_crosses_goaway_is_refused_and_may_be_tried_elsewhere);
    tcase_add_test(t, freeing_a_session_closes_its_streams_as_cancelled);
    tcase_add_test(t, a_ping_is_answered_once);
    tcase_add_test(t, an_idle_session_says_nothing);
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
