#include "tests/unit/h2_raw.h"

/* ---- requests ---- */

enum outcome { FINE, MALFORMED, RESET };

static char long_value[17000], long_authority[600];

static const struct {
    enum outcome outcome;
    const char *fields[13];
} requests[] = {
    {FINE, {CONNECT, AUTHORITY}},
    {FINE, {CONNECT, AUTHORITY, "user-agent", "curl/8", "proxy-connection2", "x"}},
    {FINE, {CONNECT, AUTHORITY, "host", "H.example:443"}},
    {FINE, {":method", "GET", ":scheme", "https", ":path", "/", AUTHORITY, "content-length", "0"}},
    {MALFORMED, {CONNECT, AUTHORITY, "host", "other.example:443"}},
    {MALFORMED, {CONNECT, AUTHORITY, "host", "h.example:44"}},
    {MALFORMED, {CONNECT, AUTHORITY, "content-length", "0"}},
    {MALFORMED, {CONNECT, AUTHORITY, "x-control", "a\001b"}},
    {MALFORMED, {CONNECT, AUTHORITY, "x-long", long_value}},
    {MALFORMED, {CONNECT, ":authority", long_authority}},
    {RESET, {CONNECT, ":authority", ""}},
    {RESET, {CONNECT}},
    {RESET, {CONNECT, AUTHORITY, ":scheme", "https"}},
    {RESET, {CONNECT, AUTHORITY, ":path", "/"}},
    {RESET, {CONNECT, AUTHORITY, ":scheme", "https", ":path", "/"}},
    {RESET, {CONNECT, AUTHORITY, ":authority", "h.example:443"}},
    {RESET, {CONNECT, CONNECT, AUTHORITY}},
    {RESET, {CONNECT, AUTHORITY, ":scheme", "https", ":path", "/", ":protocol", "websocket"}},
    {RESET, {CONNECT, AUTHORITY, ":x", "y"}},
    {RESET, {CONNECT, "x-early", "1", AUTHORITY}},
    {RESET, {CONNECT, AUTHORITY, "transfer-encoding", "chunked"}},
    {RESET, {CONNECT, AUTHORITY, "connection", "keep-alive"}},
    {RESET, {CONNECT, AUTHORITY, "te", "gzip"}},
    {RESET, {CONNECT, AUTHORITY, "X-Upper", "1"}},
    {RESET, {CONNECT, AUTHORITY, "content-length", "1", "content-length", "1"}},
    {RESET, {CONNECT, AUTHORITY, "host", "h.example:443", "host", "h.example:443"}},
    {RESET, {CONNECT, ":authority", "a b:1"}},
    {RESET, {CONNECT, ":authority", "h\001:1"}},
    {RESET, {":method", "", AUTHORITY}},
    {RESET, {":method", "GET", AUTHORITY}},
};

START_TEST(no_malformed_connect_is_taken_for_a_good_one)
{
    struct end server;

    memset(long_value, 'v', sizeof long_value - 1);
    memset(long_authority, 'a', sizeof long_authority - 1);
    for (size_t chop = 0; chop < 2; chop++) {
        server_start(&server, 10);
        server.answer = 0;
        raw_headers(&raw, 0, 1, requests[_i].fields);
        raw_connect(&raw, 3); /* the next one is served in any case */
        ck_assert_msg(raw_feed(&raw, &server, chop), "%s", server.err.text);
        raw_drain(&server, &out);
        ck_assert_int_eq(server.failed, SP_OK);
        if (requests[_i].outcome == RESET) {
            ck_assert_int_eq(raw_find(&out, NGHTTP2_RST_STREAM, 1, 0), NGHTTP2_PROTOCOL_ERROR);
            ck_assert_uint_eq(server.flow_count, 1);
        } else {
            ck_assert_int_eq(raw_find(&out, NGHTTP2_RST_STREAM, 1, 0), -1);
            ck_assert_uint_eq(server.flow_count, 2);
            ck_assert_int_eq(server.flows[0].malformed, requests[_i].outcome == MALFORMED);
            ck_assert_str_eq(server.flows[0].method, requests[_i].fields[1]);
        }
        ck_assert(!server.flows[server.flow_count - 1].malformed);
        end_close(&server);
    }
}
END_TEST

START_TEST(data_before_the_answer_is_handed_on)
{
    struct end server;

    server_start(&server, 10);
    server.answer = 0;
    server.keep = true;
    raw_connect(&raw, 1);
    raw_frame(&raw, NGHTTP2_DATA, 0, 1, "early", 5);
    raw_frame(&raw, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, "!", 1);
    ck_assert(raw_feed(&raw, &server, 1));
    ck_assert_uint_eq(server.flows[0].got, 6);
    ck_assert(server.flows[0].ended);
    sp_h2_respond(server.flows[0].stream, 200, NULL);
    sp_h2_consumed(server.flows[0].stream, 6);
    flow_send(&server.flows[0], 4, true);
    raw_drain(&server, &out);
    ck_assert_int_ge(raw_find(&out, NGHTTP2_DATA, 1, 0), 0);
    ck_assert_int_eq(server.flows[0].closes, 1);
    ck_assert_uint_eq(server.flows[0].error_code, 0);
    end_close(&server);
}
END_TEST

START_TEST(a_request_may_end_at_once_and_trailers_are_ignored)
{
    static const char *const trailer[] = {"x-sum", "1", "proxy-status", "x", NULL};
    static const char *const fields[] = {CONNECT, AUTHORITY, NULL};
    struct end server;

    server_start(&server, 10);
    raw_headers(&raw, NGHTTP2_FLAG_END_STREAM, 1, fields);
    raw_headers(&raw, 0, 3, fields);
    raw_frame(&raw, NGHTTP2_DATA, 0, 3, "abc", 3);
    raw_headers(&raw, NGHTTP2_FLAG_END_STREAM, 3, trailer);
    ck_assert(raw_feed(&raw, &server, 0));
    ck_assert_uint_eq(server.flow_count, 2);
    ck_assert(server.flows[0].ended);
    ck_assert(server.flows[1].ended);
    ck_assert_uint_eq(server.flows[1].got, 3);
    end_close(&server);
}
END_TEST

START_TEST(a_refused_request_is_over_though_the_client_does_not_end_it)
{
    struct end server;

    server_start(&server, 10);
    server.answer = 403;
    raw_connect(&raw, 1);
    ck_assert(raw_feed(&raw, &server, 0));
    raw_drain(&server, &out);
    ck_assert_int_ge(raw_find(&out, NGHTTP2_HEADERS, 1, 0), 0);
    ck_assert_int_eq(raw_find(&out, NGHTTP2_RST_STREAM, 1, 0), NGHTTP2_NO_ERROR);
    assert_closed(&server.flows[0], NGHTTP2_NO_ERROR);
    raw_frame(&raw, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, "late", 4); /* it had left already */
    ck_assert(raw_feed(&raw, &server, 0));
    raw_drain(&server, &out);
    ck_assert_int_eq(server.failed, SP_OK);
    end_close(&server);
}
END_TEST

START_TEST(padding_does_not_use_up_a_window)
{
    uint8_t padded[257] = {255, 'x'};
    struct end server;
    int64_t credit = 65535;

    server_start(&server, 10);
    raw_connect(&raw, 1);
    /* Sent before the sender knew of a larger window, so it keeps to the small one. */
    for (int i = 0; i < 20000; i++) {
        ck_assert_int_ge(credit, (int64_t)sizeof padded);
        raw_frame(&raw, NGHTTP2_DATA, NGHTTP2_FLAG_PADDED, 1, padded, sizeof padded);
        credit -= (int64_t)sizeof padded;
        ck_assert(raw_feed(&raw, &server, 0));
        raw_drain(&server, &out);
        if (raw_find(&out, NGHTTP2_WINDOW_UPDATE, 1, 0) > 0)
            credit += raw_find(&out, NGHTTP2_WINDOW_UPDATE, 1, 0);
        if (i == 0)
            credit += (256 << 10) - 65535;
    }
    ck_assert_uint_eq(server.flows[0].got, 20000);
    end_close(&server);
}
END_TEST

/* ---- responses ---- */

START_TEST(interim_answers_and_trailers_are_passed_over)
{
    static const char *const early[] = {":status", "103", "proxy-status", "early", NULL};
    static const char *const final[] = {
        ":status", "200", "content-length", "0", "proxy-status", "a; x=1", "proxy-status",
        "b",       NULL};
    static const char *const trailer[] = {"proxy-status", "late", NULL};
    struct end client;
    struct flow *flow = client_start(&client);

    raw_headers(&raw, 0, 1, early);
    raw_headers(&raw, 0, 1, early);
    ck_assert(raw_feed(&raw, &client, (size_t)_i));
    ck_assert_int_eq(flow->responses, 0);
    raw_headers(&raw, 0, 1, final);
    raw_frame(&raw, NGHTTP2_DATA, 0, 1, "abc", 3);
    raw_headers(&raw, NGHTTP2_FLAG_END_STREAM, 1, trailer);
    ck_assert(raw_feed(&raw, &client, (size_t)_i));
    ck_assert_int_eq(flow->responses, 1);
    ck_assert_int_eq(flow->status, 200);
    ck_assert_str_eq(flow->proxy_status, "a; x=1, b");
    ck_assert_uint_eq(flow->got, 3);
    ck_assert(flow->ended);
    flow_send(flow, 7, true);
    raw_drain(&client, &out);
    ck_assert_int_eq(flow->closes, 1);
    ck_assert_uint_eq(flow->error_code, 0);
    end_close(&client);
}
END_TEST

START_TEST(an_impossible_status_resets_the_stream)
{
    static const char *const response[] = {":status", "053", NULL};
    struct end client;
    struct flow *flow = client_start(&client);

    raw_headers(&raw, _i ? NGHTTP2_FLAG_END_STREAM : 0, 1, response);
    ck_assert(raw_feed(&raw, &client, 0));
    raw_drain(&client, &out);
    ck_assert_int_eq(flow->responses, 0);
    assert_closed(flow, NGHTTP2_PROTOCOL_ERROR);
    end_close(&client);
}
END_TEST

START_TEST(the_body_of_a_refusal_is_not_read)
{
    static const char *const refusal[] = {":status", "502", "content-length", "3", NULL};
    struct end client;
    struct flow *flow = client_start(&client);

    raw_headers(&raw, 0, 1, refusal);
    raw_frame(&raw, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, "sad", 3);
    ck_assert(raw_feed(&raw, &client, 0));
    raw_drain(&client, &out);
    ck_assert_int_eq(flow->status, 502);
    ck_assert_uint_eq(flow->got, 0);
    ck_assert(!flow->ended);
    ck_assert_int_eq(flow->closes, 1);
    ck_assert_int_eq(raw_find(&out, NGHTTP2_RST_STREAM, 1, 0), SP_H2_CANCEL);
    end_close(&client);
}
END_TEST

START_TEST(a_long_proxy_status_is_cut)
{
    static char value[2000];
    const char *fields[] = {":status", "502", "proxy-status", value, "proxy-status", value, NULL};
    struct end client;
    struct flow *flow = client_start(&client);

    memset(value, 'p', sizeof value - 1);
    raw_headers(&raw, NGHTTP2_FLAG_END_STREAM, 1, fields);
    ck_assert(raw_feed(&raw, &client, 0));
    ck_assert_uint_eq(strlen(flow->proxy_status), 512);
    end_close(&client);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("h2_receive");
    TCase *t = tcase_create("h2_receive");

    tcase_add_loop_test(t, no_malformed_connect_is_taken_for_a_good_one, 0,
                        sizeof requests / sizeof *requests);
    tcase_add_test(t, data_before_the_answer_is_handed_on);
    tcase_add_test(t, a_request_may_end_at_once_and_trailers_are_ignored);
    tcase_add_test(t, a_refused_request_is_over_though_the_client_does_not_end_it);
    tcase_add_test(t, padding_does_not_use_up_a_window);
    tcase_add_loop_test(t, interim_answers_and_trailers_are_passed_over, 0, 2);
    tcase_add_loop_test(t, an_impossible_status_resets_the_stream, 0, 2);
    tcase_add_test(t, the_body_of_a_refusal_is_not_read);
    tcase_add_test(t, a_long_proxy_status_is_cut);
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
