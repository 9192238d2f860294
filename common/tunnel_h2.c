/* tunnel_h2: a tunnel that speaks HTTP/2: its streams are channels, PING tells whether it lives. */
#include "common/tunnel_impl.h"

#include "common/h2_session.h"
#include "common/http1.h"
#include "common/loop.h"

#include <stdio.h>
#include <string.h>

/* A channel may be so far ahead of its reader at first: times the channels of a tunnel it is what
 * slow readers can hold of our memory. A busy channel's window grows within a few round trips. */
#define WINDOW_FIRST (64 * 1024)
#define LATE_MS      500 /* no timer of a loop that runs is so late */

_Static_assert(SP_LOOP_SCRATCH == 2 * (SP_H2_PIECE + 4 * 22), "as common/loop.h says");

static void h2_respond(void *tunnel, void *stream, int status, const char *proxy_status)
{
    sp_h2_respond(stream, status, proxy_status);
    sp_conn_want_write(((struct sp_tunnel *)tunnel)->conn);
}

static void h2_resume(void *tunnel, void *stream)
{
    sp_h2_resume(stream);
    sp_conn_want_write(((struct sp_tunnel *)tunnel)->conn);
}

static void h2_consumed(void *tunnel, void *stream, size_t len)
{
    sp_h2_consumed(stream, len);
    sp_conn_want_write(((struct sp_tunnel *)tunnel)->conn);
}

static void h2_reset(void *tunnel, void *stream)
{
    sp_h2_reset(stream, SP_H2_CONNECT_ERROR);
    sp_conn_want_write(((struct sp_tunnel *)tunnel)->conn);
}

const struct sp_carrier sp_tunnel_h2_carrier = {h2_respond, h2_resume, h2_consumed, h2_reset};

static void on_h2_settings(void *ctx)
{
    struct sp_tunnel *t = ctx;

    if (!t->options.client || t->up)
        return;
    t->up = true;
    t->callbacks->on_up(t->ctx);
}

static void refuse_request(struct sp_tunnel *t, struct sp_h2_stream *stream, int status,
                           const char *text)
{
    char value[SP_PROXY_STATUS_MAX];

    t->callbacks->on_bad_request(t->ctx, status, text);
    sp_h2_respond(stream, status, sp_proxy_status(value, "sallyport", "http_request_error", text));
}

static void on_h2_request(void *ctx, struct sp_h2_stream *stream,
                          const struct sp_h2_request *request)
{
    struct sp_tunnel *t = ctx;
    struct sp_target target;
    struct sp_error err;
    struct sp_channel *channel;

    if (strcmp(request->method, "CONNECT") != 0) {
        refuse_request(t, stream, 405, "only CONNECT is served here");
        return;
    }
    if (request->malformed) {
        refuse_request(t, stream, 400, "malformed CONNECT request");
        return;
    }
    if (sp_target_parse(request->authority, request->authority_len, &target, &err) != SP_OK) {
        refuse_request(t, stream, 400, err.text);
        return;
    }
    channel = sp_channel_new(t->loop, &sp_tunnel_h2_carrier, t, stream, &target, true);
    sp_h2_stream_set_ctx(stream, channel);
    t->callbacks->on_channel(t->ctx, channel);
}

static void on_h2_response(void *ctx, struct sp_h2_stream *stream, int status,
                           const char *proxy_status)
{
    struct sp_channel *channel = sp_h2_stream_ctx(stream);

    (void)ctx;
    if (channel)
        sp_channel_stream_reply(channel, status, proxy_status);
}

void sp_tunnel_h2_taken(struct sp_tunnel *t)
{
    struct sp_h2_stream *stream = t->run_stream;
    size_t count = t->run_count;

    if (!stream)
        return;
    t->run_stream = NULL; /* the channel may reset the stream, or end the tunnel */
    t->run_count = 0;
    sp_channel_stream_data(sp_h2_stream_ctx(stream), t->run, count);
    sp_h2_looked(stream);
}

/* A busy stream fills several records: its channel gets them in one piece, since each write to a
 * socket costs as much as some 10 KiB do. */
static void on_h2_data(void *ctx, struct sp_h2_stream *stream, const uint8_t *data, size_t len)
{
    struct sp_tunnel *t = ctx;

    if (!sp_h2_stream_ctx(stream)) {
        sp_h2_consumed(stream, len);
        return;
    }
    if (t->run_stream != stream || t->run_count == SP_TUNNEL_RUN)
        sp_tunnel_h2_taken(t);
    t->run_stream = stream;
    t->run[t->run_count++] = (struct iovec){(void *)(uintptr_t)data, len};
}

static void on_h2_end(void *ctx, struct sp_h2_stream *stream)
{
    struct sp_channel *channel = sp_h2_stream_ctx(stream);

    sp_tunnel_h2_taken(ctx);
    if (channel)
        sp_channel_stream_end(channel);
}

static ssize_t on_h2_pull(void *ctx, struct sp_h2_stream *stream, uint8_t *buf, size_t cap,
                          bool *ret_end)
{
    struct sp_channel *channel = sp_h2_stream_ctx(stream);

    (void)ctx;
    return channel ? sp_channel_stream_pull(channel, buf, cap, ret_end) : SP_H2_PULL_RESET;
}

static void on_h2_close(void *ctx, struct sp_h2_stream *stream, uint32_t error_code)
{
    struct sp_tunnel *t = ctx;
    struct sp_channel *channel = sp_h2_stream_ctx(stream);

    if (t->run_stream == stream)
        sp_tunnel_h2_taken(t);
    if (channel)
        sp_channel_stream_closed(channel, !t->conn                       ? SP_STREAM_TUNNEL_LOST
                                          : error_code == SP_H2_NO_ERROR ? SP_STREAM_CLEAN
                                                                         : SP_STREAM_RESET);
}

static void on_h2_goaway(void *ctx, uint32_t error_code, const char *debug, size_t debug_len)
{
    struct sp_tunnel *t = ctx;

    (void)error_code;
    if (debug_len && !t->goaway_text[0])
        snprintf(t->goaway_text, sizeof t->goaway_text, "%.*s",
                 (int)(debug_len < sizeof t->goaway_text ? debug_len : sizeof t->goaway_text),
                 debug);
    if (t->draining)
        return;
    t->draining = true;
    if (t->callbacks->on_draining)
        t->callbacks->on_draining(t->ctx);
}

static void on_h2_pong(void *ctx)
{
    ((struct sp_tunnel *)ctx)->pinged = false;
}

static const struct sp_h2_callbacks h2_callbacks = {
    on_h2_settings, on_h2_request, on_h2_response, on_h2_data, on_h2_end,
    on_h2_pull,     on_h2_close,   on_h2_goaway,   on_h2_pong,
};

static void ping(struct sp_tunnel *t)
{
    t->pinged = true;
    t->pinged_ms = sp_loop_now_ms(t->loop);
    sp_h2_ping(t->h2);
    sp_conn_want_write(t->conn);
    sp_timer_start(t->timer, t->options.ping_timeout_ms);
}

/* It is we who stood still (a stopped process, a machine that was paused): the answer may be here,
 * and not read yet. */
static bool is_late(const struct sp_tunnel *t)
{
    return sp_loop_now_ms(t->loop) - t->pinged_ms >= t->options.ping_timeout_ms + LATE_MS;
}

/* Nothing heard for a while: ask. A dead peer is found out in ping_idle + ping_timeout. Whatever
 * was heard since is as good as the answer, which may stand behind much else. */
static void on_ping_time(void *ctx)
{
    struct sp_tunnel *t = ctx;
    uint64_t heard = sp_conn_last_read_ms(t->conn);
    uint64_t idle = sp_loop_now_ms(t->loop) - heard;
    struct sp_error why;

    if (t->pinged && heard >= t->pinged_ms)
        t->pinged = false;
    if (!t->pinged && idle < t->options.ping_idle_ms) {
        sp_timer_start(t->timer, t->options.ping_idle_ms - idle);
    } else if (!t->pinged || is_late(t)) {
        ping(t);
    } else {
        sp_error_set(&why, SP_ERR_TIMEOUT, "no answer to PING within %u ms",
                     t->options.ping_timeout_ms);
        sp_conn_abort(t->conn, &why);
    }
}

void sp_tunnel_check(struct sp_tunnel *t)
{
    if (t->mode == SP_TUNNEL_H2 && t->conn && !t->pinged)
        ping(t);
}

uint64_t sp_tunnel_heard_ms(const struct sp_tunnel *t)
{
    return t->conn ? sp_conn_last_read_ms(t->conn) : 0;
}

void sp_tunnel_h2_start(struct sp_tunnel *t)
{
    const struct sp_h2_options options = {
        .server = !t->options.client,
        .max_streams = t->options.max_channels,
        .window_initial = WINDOW_FIRST,
    };
    struct sp_error err;

    t->mode = SP_TUNNEL_H2;
    if (sp_h2_new(&options, &h2_callbacks, t, &t->h2, &err) != SP_OK) {
        sp_conn_close(t->conn, &err);
        return;
    }
    t->timer = sp_timer_new(t->loop, on_ping_time, t);
    sp_timer_start(t->timer, t->options.ping_idle_ms);
    sp_conn_want_write(t->conn);
}

void sp_tunnel_h2_send(struct sp_tunnel *t)
{
    uint8_t record[SP_H2_PIECE];
    struct sp_error err;
    size_t len;

    while (sp_conn_has_room(t->conn)) {
        if (sp_h2_output(t->h2, record, sizeof record, &len, &err) != SP_OK) {
            sp_conn_close(t->conn, &err);
            return;
        }
        if (!len)
            return;
        sp_conn_write(t->conn, record, len);
    }
}

void sp_tunnel_h2_flush(struct sp_tunnel *t)
{
    sp_tunnel_h2_send(t);
    if (!sp_h2_is_alive(t->h2) || (t->draining && !sp_h2_stream_count(t->h2)))
        sp_conn_close(t->conn, NULL);
}

void sp_tunnel_h2_data(struct sp_tunnel *t, const uint8_t *data, size_t len)
{
    struct sp_error err;

    if (sp_h2_feed(t->h2, data, len, &err) == SP_OK) {
        sp_conn_want_write(t->conn);
        return;
    }
    sp_tunnel_h2_send(t); /* nghttp2's GOAWAY says why */
    sp_conn_close(t->conn, &err);
}

void sp_tunnel_h2_free(struct sp_tunnel *t)
{
    sp_h2_free(t->h2);
    t->h2 = NULL;
}
