/*
 * h2_pair: for tests: an HTTP/2 client and server session joined in memory. Each stream has a flow:
 * what it is to send, and what it has seen. Header only, for the test_h2_*.c files.
 */
#ifndef SALLYPORT_TESTS_UNIT_H2_PAIR_H
#define SALLYPORT_TESTS_UNIT_H2_PAIR_H
#include "common/h2_session.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

/* The sessions read the coarse clock only: tests move it instead of sleeping. */
static int64_t clock_ahead_s;
static long clock_ahead_ms;

int clock_gettime(clockid_t id, struct timespec *t)
{
    long rv = syscall(SYS_clock_gettime, id, t);

    if (id == CLOCK_MONOTONIC_COARSE) {
        long ms = t->tv_nsec / 1000000 + clock_ahead_ms;

        t->tv_sec += clock_ahead_s + ms / 1000;
        t->tv_nsec = ms % 1000 * 1000000;
    }
    return (int)rv;
}

struct end;

struct flow {
    struct end *end;
    struct sp_h2_stream *stream; /* NULL once closed */
    /* what it does */
    uint64_t to_send;
    bool end_when_sent;
    bool pull_reset;
    bool reset_on_data;
    bool keep;  /* does not consume */
    bool late;  /* nor does it until the stream closes */
    bool echo;  /* sends back what it gets, and the END */
    bool plain; /* neither random nor summed: for very many bytes */
    uint64_t random;
    /* what it saw */
    char method[24];
    char authority[300];
    char proxy_status[600];
    bool malformed;
    int status;
    int responses;
    uint64_t sent, got, kept;
    uint64_t sent_sum, got_sum;
    unsigned pulls;
    bool sent_end, ended;
    int closes;
    uint32_t error_code;
    uint8_t *echo_bytes;
    size_t echo_len, echo_room;
};

struct end {
    struct sp_h2_session *h2;
    bool server;
    /* how it answers */
    int answer; /* 0: not at all */
    const char *answer_proxy_status;
    bool keep, echo;
    /* what it saw */
    struct flow *flows;
    size_t flow_count, flow_room;
    unsigned settings, pongs, goaways, closes;
    uint32_t goaway_code;
    char goaway_text[256];
    size_t biggest_piece;
    uint64_t bytes_out;
    enum sp_err failed;
    struct sp_error err;
};

static inline uint64_t flow_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* A sanitizer would look at every byte of the many megabytes. */
__attribute__((no_sanitize("address", "undefined"))) static UNUSED void
flow_sum(uint64_t *sum, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        *sum = (*sum ^ data[i]) * 0x100000001b3u;
}

static struct flow *flow_new(struct end *end, struct sp_h2_stream *stream)
{
    struct flow *flow;

    ck_assert_uint_lt(end->flow_count, end->flow_room);
    flow = &end->flows[end->flow_count++];
    *flow = (struct flow){.end = end,
                          .stream = stream,
                          .keep = end->keep,
                          .echo = end->echo,
                          .random = 0x9e3779b97f4a7c15u * (end->flow_count + end->server * 7u)};
    return flow;
}

static void pair_on_settings(void *ctx)
{
    ((struct end *)ctx)->settings++;
}

static void pair_on_request(void *ctx, struct sp_h2_stream *stream,
                            const struct sp_h2_request *request)
{
    struct end *end = ctx;
    struct flow *flow = flow_new(end, stream);

    ck_assert(end->server);
    ck_assert_uint_eq(strlen(request->authority), request->authority_len);
    snprintf(flow->method, sizeof flow->method, "%s", request->method);
    snprintf(flow->authority, sizeof flow->authority, "%s", request->authority);
    flow->malformed = request->malformed;
    sp_h2_stream_set_ctx(stream, flow);
    if (end->answer)
        sp_h2_respond(stream, end->answer, end->answer_proxy_status);
}

static void pair_on_response(void *ctx, struct sp_h2_stream *stream, int status,
                             const char *proxy_status)
{
    struct flow *flow = sp_h2_stream_ctx(stream);

    ck_assert_ptr_eq(flow->end, ctx);
    flow->responses++;
    flow->status = status;
    snprintf(flow->proxy_status, sizeof flow->proxy_status, "%s", proxy_status);
}

static void pair_on_data(void *ctx, struct sp_h2_stream *stream, const uint8_t *data, size_t len)
{
    struct flow *flow = sp_h2_stream_ctx(stream);

    (void)ctx;
    ck_assert(!flow->ended);
    flow->got += len;
    if (!flow->plain)
        flow_sum(&flow->got_sum, data, len);
    if (flow->reset_on_data)
        sp_h2_reset(stream, SP_H2_CONNECT_ERROR);
    if (flow->keep || flow->echo)
        flow->kept += len;
    else
        sp_h2_consumed(stream, len);
    if (flow->echo) {
        if (flow->echo_len + len > flow->echo_room) { /* seldom: bytes may come one by one */
            flow->echo_room = 2 * (flow->echo_len + len);
            flow->echo_bytes = realloc(flow->echo_bytes, flow->echo_room);
        }
        memcpy(flow->echo_bytes + flow->echo_len, data, len);
        flow->echo_len += len;
        sp_h2_resume(stream);
    }
    sp_h2_looked(stream);
}

static void pair_on_end(void *ctx, struct sp_h2_stream *stream)
{
    struct flow *flow = sp_h2_stream_ctx(stream);

    (void)ctx;
    ck_assert(!flow->ended);
    flow->ended = true;
    if (flow->echo)
        sp_h2_resume(stream);
}

static ssize_t flow_echo(struct flow *flow, uint8_t *buf, size_t cap, bool *ret_end)
{
    size_t len = flow->echo_len < cap ? flow->echo_len : cap;

    if (len) {
        memcpy(buf, flow->echo_bytes, len);
        memmove(flow->echo_bytes, flow->echo_bytes + len, flow->echo_len - len);
        flow->echo_len -= len;
        flow->kept -= len;
        sp_h2_consumed(flow->stream, len);
    }
    *ret_end = flow->ended && !flow->echo_len;
    flow->sent_end = *ret_end;
    return len || *ret_end ? (ssize_t)len : SP_H2_PULL_AGAIN;
}

static ssize_t pair_on_pull(void *ctx, struct sp_h2_stream *stream, uint8_t *buf, size_t cap,
                            bool *ret_end)
{
    struct flow *flow = sp_h2_stream_ctx(stream);
    size_t len = flow->to_send < cap ? (size_t)flow->to_send : cap;

    (void)ctx;
    flow->pulls++;
    ck_assert(!flow->sent_end);
    ck_assert_uint_gt(cap, 0);
    if (flow->pull_reset)
        return SP_H2_PULL_RESET;
    if (flow->echo)
        return flow_echo(flow, buf, cap, ret_end);
    if (flow->plain)
        memset(buf, 0, len);
    for (size_t i = 0; i < len && !flow->plain; i += 8) {
        uint64_t word = flow_next(&flow->random);

        memcpy(buf + i, &word, len - i < 8 ? len - i : 8);
    }
    if (!flow->plain)
        flow_sum(&flow->sent_sum, buf, len);
    flow->to_send -= len;
    flow->sent += len;
    *ret_end = flow->end_when_sent && flow->to_send == 0;
    flow->sent_end = *ret_end;
    return len || *ret_end ? (ssize_t)len : SP_H2_PULL_AGAIN;
}

static void pair_on_close(void *ctx, struct sp_h2_stream *stream, uint32_t error_code)
{
    struct flow *flow = sp_h2_stream_ctx(stream);

    ((struct end *)ctx)->closes++;
    if (flow->late)
        sp_h2_consumed(stream, flow->kept);
    flow->closes++;
    flow->error_code = error_code;
    flow->stream = NULL;
}

static void pair_on_goaway(void *ctx, uint32_t error_code, const char *debug, size_t debug_len)
{
    struct end *end = ctx;

    end->goaways++;
    end->goaway_code = error_code;
    snprintf(end->goaway_text, sizeof end->goaway_text, "%.*s", (int)debug_len, debug);
}

static void pair_on_pong(void *ctx)
{
    ((struct end *)ctx)->pongs++;
}

static const struct sp_h2_callbacks pair_callbacks = {
    pair_on_settings, pair_on_request, pair_on_response, pair_on_data, pair_on_end,
    pair_on_pull,     pair_on_close,   pair_on_goaway,   pair_on_pong,
};

static enum sp_err end_open(struct end *end, const struct sp_h2_options *options, size_t flow_room)
{
    *end = (struct end){.server = options->server, .answer = 200, .flow_room = flow_room};
    end->flows = calloc(flow_room, sizeof *end->flows);
    end->failed = sp_h2_new(options, &pair_callbacks, end, &end->h2, &end->err);
    return end->failed;
}

static UNUSED void end_close(struct end *end)
{
    sp_h2_free(end->h2);
    for (size_t i = 0; i < end->flow_count; i++) {
        ck_assert_int_eq(end->flows[i].closes, 1);
        free(end->flows[i].echo_bytes);
    }
    free(end->flows);
}

/* Feeds data in parts of `chop` bytes (0: whole). False once the session failed. */
static bool end_feed(struct end *end, const uint8_t *data, size_t len, size_t chop)
{
    for (size_t at = 0; at < len && end->failed == SP_OK;) {
        size_t part = chop && chop < len - at ? chop : len - at;

        end->failed = sp_h2_feed(end->h2, data + at, part, &end->err);
        at += part;
    }
    return end->failed == SP_OK;
}

/* Moves one piece. False: there was none (or an end failed). */
static bool pair_move(struct end *from, struct end *to, size_t chop)
{
    uint8_t piece[SP_H2_PIECE];
    size_t len = 0;
    enum sp_err rv = sp_h2_output(from->h2, piece, sizeof piece, &len, &from->err);

    if (rv != SP_OK && from->failed == SP_OK)
        from->failed = rv;
    if (len == 0)
        return false;
    ck_assert_int_eq(rv, SP_OK);
    from->bytes_out += len;
    if (len > from->biggest_piece)
        from->biggest_piece = len;
    (void)end_feed(to, piece, len, chop);
    return true;
}

/* Until neither has anything to send. */
static UNUSED void pair_pump(struct end *client, struct end *server, size_t chop)
{
    bool moved = true;

    while (moved) {
        moved = pair_move(client, server, chop);
        moved = pair_move(server, client, chop) || moved;
    }
}

static UNUSED void pair_open(struct end *client, struct end *server, uint32_t streams)
{
    ck_assert_int_eq(end_open(client, &(struct sp_h2_options){.server = false}, streams), SP_OK);
    ck_assert_int_eq(
        end_open(server, &(struct sp_h2_options){.server = true, .max_streams = streams}, streams),
        SP_OK);
}

/* Opened as usual: SETTINGS exchanged, both ends well. */
static UNUSED void pair_start(struct end *client, struct end *server, uint32_t streams)
{
    pair_open(client, server, streams);
    pair_pump(client, server, 0);
    ck_assert_int_eq(client->failed, SP_OK);
    ck_assert_int_eq(server->failed, SP_OK);
}

static UNUSED struct flow *pair_connect(struct end *client, const char *authority)
{
    struct sp_h2_stream *stream;
    struct flow *flow;
    struct sp_error err;

    ck_assert_msg(sp_h2_connect(client->h2, authority, NULL, &stream, &err) == SP_OK, "%s",
                  err.text);
    flow = flow_new(client, stream);
    sp_h2_stream_set_ctx(stream, flow);
    return flow;
}

static UNUSED void flow_send(struct flow *flow, uint64_t bytes, bool end)
{
    flow->to_send += bytes;
    flow->end_when_sent = end;
    sp_h2_resume(flow->stream);
}

static UNUSED void assert_closed(const struct flow *flow, uint32_t error_code)
{
    ck_assert_int_eq(flow->closes, 1);
    ck_assert_uint_eq(flow->error_code, error_code);
}
#endif
