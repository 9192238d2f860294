#include "tests/unit/h2_pair.h"

#include <nghttp2/nghttp2.h>

/* ---- a peer made of raw bytes ---- */

struct raw {
    uint8_t bytes[1 << 18];
    size_t len;
};

static void raw_bytes(struct raw *raw, const void *data, size_t len)
{
    ck_assert_uint_le(raw->len + len, sizeof raw->bytes);
    memcpy(raw->bytes + raw->len, data, len);
    raw->len += len;
}

static void raw_frame(struct raw *raw, int type, int flags, uint32_t id, const void *payload,
                      size_t len)
{
    const uint8_t head[9] = {(uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len,
                             (uint8_t)type,        (uint8_t)flags,      (uint8_t)(id >> 24),
                             (uint8_t)(id >> 16),  (uint8_t)(id >> 8),  (uint8_t)id};

    raw_bytes(raw, head, sizeof head);
    raw_bytes(raw, payload, len);
}

static void hpack_text(struct raw *block, const char *text)
{
    size_t len = strlen(text);
    uint8_t byte = len < 127 ? (uint8_t)len : 127;

    raw_bytes(block, &byte, 1);
    if (len >= 127) {
        size_t rest = len - 127;

        for (; rest >= 128; rest /= 128) {
            byte = (uint8_t)(rest % 128 + 128);
            raw_bytes(block, &byte, 1);
        }
        byte = (uint8_t)rest;
        raw_bytes(block, &byte, 1);
    }
    raw_bytes(block, text, len);
}

/* fields: name, value, ..., NULL. Literal fields, never indexed; CONTINUATION where it is long. */
static void raw_headers(struct raw *raw, int flags, uint32_t id, const char *const *fields)
{
    struct raw *block = calloc(1, sizeof *block);
    uint8_t type = NGHTTP2_HEADERS;

    for (; *fields; fields += 2) {
        raw_bytes(block, "\x10", 1);
        hpack_text(block, fields[0]);
        hpack_text(block, fields[1]);
    }
    for (size_t at = 0, part; at < block->len || type == NGHTTP2_HEADERS; at += part) {
        part = block->len - at < 16384 ? block->len - at : 16384;
        if (at + part == block->len)
            flags |= NGHTTP2_FLAG_END_HEADERS;
        raw_frame(raw, type, type == NGHTTP2_HEADERS ? flags : flags & NGHTTP2_FLAG_END_HEADERS, id,
                  block->bytes + at, part);
        type = NGHTTP2_CONTINUATION;
    }
    free(block);
}

static void raw_connect(struct raw *raw, uint32_t id)
{
    static const char *const fields[] = {":method", "CONNECT", ":authority", "h:1", NULL};

    raw_headers(raw, 0, id, fields);
}

static void raw_u32(struct raw *raw, int type, uint32_t id, uint32_t value)
{
    const uint8_t payload[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16),
                                (uint8_t)(value >> 8), (uint8_t)value};

    raw_frame(raw, type, 0, id, payload, 4);
}

static void raw_preface(struct raw *raw)
{
    raw_bytes(raw, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
    raw_frame(raw, NGHTTP2_SETTINGS, 0, 0, "", 0);
}

static bool raw_feed(struct raw *raw, struct end *end, size_t chop)
{
    bool well = end_feed(end, raw->bytes, raw->len, chop);

    raw->len = 0;
    return well;
}

/* All that the session has to send. */
static void raw_drain(struct end *end, struct raw *ret_out)
{
    uint8_t piece[SP_H2_PIECE];
    enum sp_err rv;
    size_t len;

    ret_out->len = 0;
    for (;;) {
        rv = sp_h2_output(end->h2, piece, sizeof piece, &len, &end->err);
        if (rv != SP_OK)
            end->failed = rv;
        if (!len)
            return;
        raw_bytes(ret_out, piece, len);
    }
}

/* The last frame of that type and stream: its first 4 payload bytes (after `skip`); -1: none. */
static int64_t raw_find(const struct raw *out, int type, uint32_t id, size_t skip)
{
    int64_t found = -1;

    for (size_t at = 0; at + 9 <= out->len;) {
        const uint8_t *f = out->bytes + at;
        size_t len = (size_t)f[0] << 16 | (size_t)f[1] << 8 | f[2];
        uint32_t stream = (uint32_t)f[5] << 24 | (uint32_t)f[6] << 16 | (uint32_t)f[7] << 8 | f[8];
        const uint8_t *p = f + 9 + skip;

        if (f[3] == type && stream == id)
            found = len >= skip + 4 ? (int64_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3] : 0;
        at += 9 + len;
    }
    return found;
}

static struct raw raw, out; /* one test a process */

static void server_start(struct end *server, uint32_t streams)
{
    const struct sp_h2_options options = {.server = true, .max_streams = streams};

    ck_assert_int_eq(end_open(server, &options, 20000), SP_OK);
    raw_preface(&raw);
    ck_assert(raw_feed(&raw, server, 0));
    raw_drain(server, &out);
    raw_frame(&raw, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, "", 0);
    ck_assert(raw_feed(&raw, server, 0));
}

static struct flow *client_start(struct end *client)
{
    struct flow *flow;

    ck_assert_int_eq(end_open(client, &(struct sp_h2_options){.server = false}, 10), SP_OK);
    flow = pair_connect(client, "h:1");
    raw_drain(client, &out);
    raw_frame(&raw, NGHTTP2_SETTINGS, 0, 0, "", 0);
    raw_frame(&raw, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, "", 0);
    ck_assert(raw_feed(&raw, client, 0));
    return flow;
}

/* ---- requests ---- */

enum outcome { FINE, MALFORMED, RESET };
#define CONNECT   ":method", "CONNECT"
#define AUTHORITY ":authority", "h.example:443"

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

/* ---- peers that are broken or hostile ---- */

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
int nghttp2_session_server_new2(nghttp2_session **ret, const nghttp2_session_callbacks *callbacks,
                                void *user, const nghttp2_option *option)
{
    return nghttp2_session_server_new3(ret, callbacks, user, option, &limited_mem);
}

int nghttp2_session_client_new2(nghttp2_session **ret, const nghttp2_session_callbacks *callbacks,
                                void *user, const nghttp2_option *option)
{
    return nghttp2_session_client_new3(ret, callbacks, user, option, &limited_mem);
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
    Suite *s = suite_create("h2_receive");
    TCase *messages = tcase_create("messages");
    TCase *hostile = tcase_create("hostile");

    tcase_set_timeout(hostile, 60);
    tcase_add_loop_test(messages, no_malformed_connect_is_taken_for_a_good_one, 0,
                        sizeof requests / sizeof *requests);
    tcase_add_test(messages, data_before_the_answer_is_handed_on);
    tcase_add_test(messages, a_request_may_end_at_once_and_trailers_are_ignored);
    tcase_add_test(messages, padding_does_not_use_up_a_window);
    tcase_add_loop_test(messages, interim_answers_and_trailers_are_passed_over, 0, 2);
    tcase_add_test(messages, the_body_of_a_refusal_is_not_read);
    tcase_add_test(messages, a_long_proxy_status_is_cut);
    tcase_add_loop_test(hostile, garbage_ends_the_session_with_a_clear_text, 0, GARBAGE_COUNT);
    tcase_add_test(hostile, a_sender_that_ignores_a_window_loses_its_stream);
    tcase_add_loop_test(hostile, a_flood_ends_the_session, 0, FLOOD_COUNT);
    tcase_add_loop_test(hostile, the_same_frames_at_a_human_pace_are_no_flood, 0, FLOOD_COUNT);
    tcase_add_test(hostile, resets_of_open_streams_are_no_flood);
    tcase_add_test(hostile, requests_whose_answers_are_not_read_end_the_session);
    tcase_add_test(hostile, every_failing_allocation_ends_in_an_error_not_in_a_crash);
    suite_add_tcase(s, messages);
    suite_add_tcase(s, hostile);
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
