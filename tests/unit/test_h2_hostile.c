#include "common/h2_impl.h"
#include "tests/unit/h2_raw.h"

/* ---- broken peers ---- */

enum garbage {
    NOT_HTTP2,
    NO_SETTINGS,
    HUGE_FRAME,
    DATA_ON_0,
    DATA_ON_IDLE,
    BAD_HPACK,
    WINDOW_OVERFLOW,
    LONE_CONTINUATION,
    EVEN_STREAM,
    PUSH,
    TOO_MANY_CONTINUATIONS,
    GARBAGE_COUNT
};

static const struct {
    int code;
    const char *text;
} garbage_errors[GARBAGE_COUNT] = {
    [NOT_HTTP2] = {NGHTTP2_PROTOCOL_ERROR, "the peer does not speak HTTP/2: no connection preface"},
    [NO_SETTINGS] = {NGHTTP2_PROTOCOL_ERROR,
                     "the peer broke the HTTP/2 protocol: PROTOCOL_ERROR: SETTINGS expected"},
    [HUGE_FRAME] = {NGHTTP2_FRAME_SIZE_ERROR,
                    "the peer broke the HTTP/2 protocol: FRAME_SIZE_ERROR: too large frame size"},
    [DATA_ON_0] = {NGHTTP2_PROTOCOL_ERROR,
                   "the peer broke the HTTP/2 protocol: PROTOCOL_ERROR: DATA: stream_id == 0"},
    [DATA_ON_IDLE] = {NGHTTP2_PROTOCOL_ERROR,
                      "the peer broke the HTTP/2 protocol: PROTOCOL_ERROR: DATA: stream in idle"},
    [BAD_HPACK] = {NGHTTP2_COMPRESSION_ERROR,
                   "the peer broke the HTTP/2 protocol: COMPRESSION_ERROR"},
    [WINDOW_OVERFLOW] = {NGHTTP2_FLOW_CONTROL_ERROR,
                         "the peer broke the HTTP/2 protocol: FLOW_CONTROL_ERROR"},
    [LONE_CONTINUATION] = {NGHTTP2_PROTOCOL_ERROR,
                           "the peer broke the HTTP/2 protocol: PROTOCOL_ERROR: CONTINUATION: "
                           "unexpected"},
    [EVEN_STREAM] = {NGHTTP2_PROTOCOL_ERROR, "the peer broke the HTTP/2 protocol: PROTOCOL_ERROR: "
                                             "request HEADERS: invalid stream_id"},
    [PUSH] = {NGHTTP2_PROTOCOL_ERROR, NULL},
    [TOO_MANY_CONTINUATIONS] = {NGHTTP2_ENHANCE_YOUR_CALM,
                                "flood: a header block in too many CONTINUATION frames"},
};

static void raw_garbage(enum garbage kind)
{
    static uint8_t zeros[20000];

    switch (kind) {
    case NOT_HTTP2:
    case NO_SETTINGS:
    case GARBAGE_COUNT:
        break;
    case HUGE_FRAME:
        raw_frame(&raw, NGHTTP2_DATA, 0, 1, zeros, sizeof zeros);
        break;
    case DATA_ON_0:
        raw_frame(&raw, NGHTTP2_DATA, 0, 0, "x", 1);
        break;
    case DATA_ON_IDLE:
        raw_frame(&raw, NGHTTP2_DATA, 0, 7, "x", 1);
        break;
    case BAD_HPACK:
        raw_frame(&raw, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, "\xff\xff\xff", 3);
        break;
    case WINDOW_OVERFLOW:
        raw_u32(&raw, NGHTTP2_WINDOW_UPDATE, 0, 0x7fffffff);
        break;
    case LONE_CONTINUATION:
        raw_frame(&raw, NGHTTP2_CONTINUATION, 0, 1, "", 0);
        break;
    case EVEN_STREAM:
        raw_connect(&raw, 2);
        break;
    case PUSH:
        raw_frame(&raw, NGHTTP2_PUSH_PROMISE, NGHTTP2_FLAG_END_HEADERS, 1, "\0\0\0\2", 4);
        break;
    case TOO_MANY_CONTINUATIONS:
        raw_frame(&raw, NGHTTP2_HEADERS, 0, 1, "", 0);
        for (int i = 0; i < 50; i++)
            raw_frame(&raw, NGHTTP2_CONTINUATION, 0, 1, "", 0);
        break;
    }
}

START_TEST(garbage_ends_the_session_with_a_clear_text)
{
    const struct sp_h2_options options = {
        .server = true, .max_streams = 10, .window_initial = 65535, .window_max = 65535};
    struct end server;

    for (size_t chop = 0; chop < 2; chop++) {
        ck_assert_int_eq(end_open(&server, &options, 10), SP_OK);
        server.keep = true;
        if (_i == NOT_HTTP2) {
            raw_bytes(&raw, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 27);
        } else if (_i == NO_SETTINGS) {
            raw_bytes(&raw, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
            raw_frame(&raw, NGHTTP2_PING, 0, 0, "12345678", 8);
        } else {
            raw_preface(&raw);
            ck_assert(raw_feed(&raw, &server, chop));
        }
        raw_garbage((enum garbage)_i);
        (void)raw_feed(&raw, &server, chop);
        raw_drain(&server, &out);
        ck_assert_int_eq(server.failed, SP_ERR_H2);
        ck_assert_int_eq(server.err.code, garbage_errors[_i].code);
        if (garbage_errors[_i].text)
            ck_assert_str_eq(server.err.text, garbage_errors[_i].text);
        if (_i != NOT_HTTP2 && _i != TOO_MANY_CONTINUATIONS)
            ck_assert_int_eq(raw_find(&out, NGHTTP2_GOAWAY, 0, 4), garbage_errors[_i].code);
        ck_assert(!sp_h2_is_alive(server.h2));
        ck_assert_int_eq(sp_h2_feed(server.h2, out.bytes, out.len, NULL), SP_ERR_H2);
        end_close(&server);
    }
}
END_TEST

START_TEST(a_sender_that_ignores_a_window_loses_its_stream)
{
    static const uint8_t zeros[16384];
    struct end server;

    server_start(&server, 10);
    server.keep = true;
    raw_connect(&raw, 1);
    ck_assert(raw_feed(&raw, &server, 0));
    for (int i = 0; i < 20; i++) {
        raw_frame(&raw, NGHTTP2_DATA, 0, 1, zeros, sizeof zeros);
        ck_assert(raw_feed(&raw, &server, 0));
    }
    raw_drain(&server, &out);
    ck_assert_int_eq(server.failed, SP_OK);
    ck_assert_uint_le(server.flows[0].got, (256 << 10) + 16384); /* one frame may be too much */
    ck_assert_int_eq(server.flows[0].closes, 1);
    ck_assert_int_eq(raw_find(&out, NGHTTP2_RST_STREAM, 1, 0), NGHTTP2_FLOW_CONTROL_ERROR);
    end_close(&server);
}
END_TEST

enum flood { PINGS, SETTINGS, PRIORITIES, EMPTY_DATA, RAPID_RESET, MADE_TO_RESET, FLOOD_COUNT };

static const char *const flood_texts[FLOOD_COUNT] = {
    [PINGS] = "flood: PING frames",
    [SETTINGS] = "flood: SETTINGS frames",
    [PRIORITIES] = "flood: PRIORITY frames",
    [EMPTY_DATA] = "flood: empty DATA frames",
    [RAPID_RESET] = "flood: requests that end before they were answered",
    [MADE_TO_RESET] = "flood: requests that end before they were answered",
};

static void raw_flood(enum flood kind, uint32_t id)
{
    switch (kind) {
    case PINGS:
        raw_frame(&raw, NGHTTP2_PING, 0, 0, "12345678", 8);
        break;
    case SETTINGS:
        raw_frame(&raw, NGHTTP2_SETTINGS, 0, 0, "", 0);
        break;
    case PRIORITIES:
        raw_frame(&raw, NGHTTP2_PRIORITY, 0, 1, "\0\0\0\0\1", 5);
        break;
    case EMPTY_DATA:
        raw_frame(&raw, NGHTTP2_DATA, 0, 1, "", 0);
        break;
    case RAPID_RESET:
        raw_connect(&raw, id);
        raw_u32(&raw, NGHTTP2_RST_STREAM, id, NGHTTP2_CANCEL);
        break;
    case MADE_TO_RESET:
        raw_headers(&raw, 0, id, (const char *const[]){CONNECT, AUTHORITY, ":path", "/", NULL});
        break;
    case FLOOD_COUNT:
        break;
    }
}

START_TEST(a_flood_ends_the_session)
{
    struct end server;
    int64_t goaway = -1;
    int sent = 0;

    server_start(&server, 100);
    server.answer = _i == EMPTY_DATA ? 200 : 0;
    raw_connect(&raw, 1);
    ck_assert(raw_feed(&raw, &server, 0));
    for (; goaway < 0 && sent < 5000; sent++) {
        raw_flood((enum flood)_i, (uint32_t)sent * 2 + 3);
        (void)raw_feed(&raw, &server, 0);
        raw_drain(&server, &out); /* so it is not the unread answers that count */
        goaway = raw_find(&out, NGHTTP2_GOAWAY, 0, 4);
    }
    ck_assert_int_ge(sent, 1000);
    ck_assert_int_eq(server.failed, SP_ERR_H2);
    ck_assert_int_eq(server.err.code, NGHTTP2_ENHANCE_YOUR_CALM);
    ck_assert_str_eq(server.err.text, flood_texts[_i]);
    ck_assert_int_eq(goaway, NGHTTP2_ENHANCE_YOUR_CALM);
    ck_assert(!sp_h2_is_alive(server.h2));
    end_close(&server);
}
END_TEST

START_TEST(the_same_frames_at_a_human_pace_are_no_flood)
{
    struct end server;

    server_start(&server, 100);
    server.answer = _i == EMPTY_DATA ? 200 : 0;
    raw_connect(&raw, 1);
    for (uint32_t i = 0; i < 5000; i++) {
        clock_ahead_ms += 20;
        raw_flood((enum flood)_i, i * 2 + 3);
        ck_assert(raw_feed(&raw, &server, 0));
        raw_drain(&server, &out);
    }
    ck_assert_int_eq(server.failed, SP_OK);
    ck_assert_uint_eq(server.settings, 1);
    end_close(&server);
}
END_TEST

START_TEST(resets_of_open_streams_are_no_flood)
{
    struct end server;

    server_start(&server, 100);
    for (uint32_t i = 0; i < 15000; i++) {
        raw_connect(&raw, i * 2 + 1);
        ck_assert(raw_feed(&raw, &server, 0));
        raw_drain(&server, &out);
        raw_u32(&raw, NGHTTP2_RST_STREAM, i * 2 + 1, NGHTTP2_CONNECT_ERROR);
    }
    ck_assert_int_eq(server.failed, SP_OK);
    ck_assert_uint_eq(server.flow_count, 15000);
    end_close(&server);
}
END_TEST

START_TEST(requests_whose_answers_are_not_read_end_the_session)
{
    struct end server;
    bool well = true;

    ck_assert_int_eq(
        end_open(&server, &(struct sp_h2_options){.server = true, .max_streams = 1}, 10), SP_OK);
    raw_preface(&raw);
    ck_assert(raw_feed(&raw, &server, 0));
    /* Our SETTINGS never acknowledged: nghttp2 refuses each with RST_STREAM. */
    for (uint32_t i = 0; well && i < 5000; i++) {
        raw_connect(&raw, i * 2 + 1);
        well = raw_feed(&raw, &server, 0);
    }
    ck_assert(!well);
    ck_assert_str_eq(server.err.text, "flood: requests whose answers are not read");
    end_close(&server);
}
END_TEST

/* ---- out of memory ---- */

static long allocations_left = -1; /* -1: no limit */

static void *limited(void *memory, size_t size)
{
    if (allocations_left == 0)
        return NULL;
    if (allocations_left > 0)
        allocations_left--;
    return realloc(memory, size);
}

static void *limited_malloc(size_t size, void *user)
{
    (void)user;
    return limited(NULL, size);
}

static void *limited_calloc(size_t count, size_t size, void *user)
{
    void *memory = limited(NULL, count * size);

    (void)user;
    if (memory)
        memset(memory, 0, count * size);
    return memory;
}

static void *limited_realloc(void *memory, size_t size, void *user)
{
    (void)user;
    return limited(memory, size);
}

static void unlimited_free(void *memory, void *user)
{
    (void)user;
    free(memory);
}

static nghttp2_mem limited_mem = {NULL, limited_malloc, unlimited_free, limited_calloc,
                                  limited_realloc};

/* In place of the library's, so that the code under test needs no hook. */
/* In place of common/h2_memory.c's. */
nghttp2_mem sp_h2_memory(struct sp_h2_session *session)
{
    (void)session;
    return limited_mem;
}

void sp_h2_memory_rest(struct sp_h2_session *session)
{
    (void)session;
}

/* A conversation with everything in it. False: it failed somewhere. */
static bool converse(struct end *client, struct end *server)
{
    struct sp_h2_stream *stream;
    struct sp_error err;

    for (int i = 0; i < 3; i++) {
        struct flow *flow;

        if (sp_h2_connect(client->h2, "h:1", NULL, &stream, &err) != SP_OK) {
            client->failed = err.kind;
            return false;
        }
        flow = flow_new(client, stream);
        sp_h2_stream_set_ctx(stream, flow);
        flow->to_send = 200000;
        flow->end_when_sent = i < 2;
    }
    server->echo = true;
    pair_pump(client, server, 0);
    server->answer = 403;
    if (client->flows[2].stream)
        sp_h2_reset(client->flows[2].stream, SP_H2_CONNECT_ERROR);
    sp_h2_ping(client->h2);
    sp_h2_goaway(server->h2, SP_H2_NO_ERROR, "over");
    pair_pump(client, server, 0);
    return client->failed == SP_OK && server->failed == SP_OK && client->pongs == 1 &&
           client->closes == 3 && server->closes == 3;
}

START_TEST(every_failing_allocation_ends_in_an_error_not_in_a_crash)
{
    bool whole = false;
    long n = 0;

    for (; !whole; n++) {
        struct end client = {0}, server = {0};
        enum sp_err rv;

        ck_assert_int_lt(n, 5000);
        allocations_left = n;
        rv = end_open(&client, &(struct sp_h2_options){.server = false}, 10);
        if (rv == SP_OK)
            rv = end_open(&server, &(struct sp_h2_options){.server = true, .max_streams = 10}, 10);
        if (rv != SP_OK)
            ck_assert_int_eq(rv, SP_ERR_MEMORY);
        else
            whole = converse(&client, &server);
        if (!whole)
            ck_assert(client.failed == SP_ERR_MEMORY || server.failed == SP_ERR_MEMORY);
        allocations_left = -1;
        end_close(&client);
        end_close(&server);
    }
    ck_assert_int_gt(n, 50);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("h2_hostile");
    TCase *t = tcase_create("h2_hostile");

    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, garbage_ends_the_session_with_a_clear_text, 0, GARBAGE_COUNT);
    tcase_add_test(t, a_sender_that_ignores_a_window_loses_its_stream);
    tcase_add_loop_test(t, a_flood_ends_the_session, 0, FLOOD_COUNT);
    tcase_add_loop_test(t, the_same_frames_at_a_human_pace_are_no_flood, 0, FLOOD_COUNT);
    tcase_add_test(t, resets_of_open_streams_are_no_flood);
    tcase_add_test(t, requests_whose_answers_are_not_read_end_the_session);
    tcase_add_test(t, every_failing_allocation_ends_in_an_error_not_in_a_crash);
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
