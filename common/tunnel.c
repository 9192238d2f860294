#include "common/tunnel.h"

#include "common/conn.h"
#include "common/h2_session.h"
#include "common/http1.h"
#include "common/loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORD      16384       /* plaintext of a full TLS record */
#define HTTP1_AHEAD (64 * 1024) /* bytes an HTTP/1.1 client may be ahead of the destination */

enum mode {
    MODE_NONE,        /* handshake */
    MODE_H2,          /*                                          */
    MODE_HTTP1_HEAD,  /* reading the CONNECT                      */
    MODE_HTTP1_WAIT,  /* the channel is asked for; nothing is read */
    MODE_HTTP1_RELAY, /* 200 was sent                             */
    MODE_HTTP1_OVER,  /* refused, or the channel has ended        */
};

struct sp_tunnel {
    struct sp_loop *loop;
    struct sp_conn *conn;
    const struct sp_tunnel_callbacks *callbacks;
    void *ctx;
    struct sp_tunnel_options options;
    uint64_t opened_ms;
    struct sp_timer *timer; /* HTTP/2: PING; HTTP/1.1: the request head's deadline */
    enum mode mode;
    struct sp_h2_session *h2;
    bool up, draining;
    bool pinged;
    /* HTTP/1.1: */
    struct sp_buf head;         /* the head, then what came after it before the 200 */
    struct sp_channel *channel; /* NULL: none (yet, any more) */
    size_t ahead;               /* received, not yet taken by the destination */
    bool pull_wanted, sent_end, seen_end;
};

/* ---- HTTP/2 ---- */

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

static const struct sp_carrier h2_carrier = {h2_respond, h2_resume, h2_consumed, h2_reset};

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
    channel = sp_channel_new(t->loop, &h2_carrier, t, stream, &target, true);
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

static void on_h2_data(void *ctx, struct sp_h2_stream *stream, const uint8_t *data, size_t len)
{
    struct sp_channel *channel = sp_h2_stream_ctx(stream);

    (void)ctx;
    if (channel)
        sp_channel_stream_data(channel, data, len);
    else
        sp_h2_consumed(stream, len);
}

static void on_h2_end(void *ctx, struct sp_h2_stream *stream)
{
    struct sp_channel *channel = sp_h2_stream_ctx(stream);

    (void)ctx;
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

    if (channel)
        sp_channel_stream_closed(channel, !t->conn                       ? SP_STREAM_TUNNEL_LOST
                                          : error_code == SP_H2_NO_ERROR ? SP_STREAM_CLEAN
                                                                         : SP_STREAM_RESET);
}

static void on_h2_goaway(void *ctx, uint32_t error_code, const char *debug, size_t debug_len)
{
    struct sp_tunnel *t = ctx;

    (void)error_code;
    (void)debug;
    (void)debug_len;
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

/* Nothing heard for a while: ask. A dead peer is found out in ping_idle + ping_timeout. */
static void on_ping_time(void *ctx)
{
    struct sp_tunnel *t = ctx;
    uint64_t idle = sp_loop_now_ms(t->loop) - sp_conn_last_read_ms(t->conn);
    struct sp_error why;

    if (idle < t->options.ping_idle_ms) {
        t->pinged = false;
        sp_timer_start(t->timer, t->options.ping_idle_ms - idle);
    } else if (!t->pinged) {
        t->pinged = true;
        sp_h2_ping(t->h2);
        sp_conn_want_write(t->conn);
        sp_timer_start(t->timer, t->options.ping_timeout_ms);
    } else {
        sp_error_set(&why, SP_ERR_TIMEOUT, "no answer to PING within %u ms",
                     t->options.ping_timeout_ms);
        sp_conn_abort(t->conn, &why);
    }
}

static void h2_start(struct sp_tunnel *t)
{
    const struct sp_h2_options options = {
        .server = !t->options.client,
        .max_streams = t->options.max_channels,
    };
    struct sp_error err;

    t->mode = MODE_H2;
    if (sp_h2_new(&options, &h2_callbacks, t, &t->h2, &err) != SP_OK) {
        sp_conn_close(t->conn, &err);
        return;
    }
    t->timer = sp_timer_new(t->loop, on_ping_time, t);
    sp_timer_start(t->timer, t->options.ping_idle_ms);
    sp_conn_want_write(t->conn);
}

static void h2_send(struct sp_tunnel *t)
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

static void h2_flush(struct sp_tunnel *t)
{
    h2_send(t);
    if (!sp_h2_is_alive(t->h2) || (t->draining && !sp_h2_stream_count(t->h2)))
        sp_conn_close(t->conn, NULL);
}

/* ---- HTTP/1.1: one CONNECT, then the connection is the channel ---- */

static void http1_over(struct sp_tunnel *t, enum sp_stream_end how)
{
    struct sp_channel *channel = t->channel;

    t->mode = MODE_HTTP1_OVER;
    t->channel = NULL;
    if (channel)
        sp_channel_stream_closed(channel, how);
}

static void http1_done_if_both_ended(struct sp_tunnel *t)
{
    if (t->sent_end && t->seen_end && t->channel) {
        http1_over(t, SP_STREAM_CLEAN);
        sp_conn_close(t->conn, NULL);
    }
}

static void http1_refuse(struct sp_tunnel *t, int status, const char *proxy_status,
                         const char *text)
{
    char answer[2048];

    sp_conn_write(t->conn, answer,
                  sp_http1_refusal(answer, sizeof answer, status, proxy_status, text));
    http1_over(t, SP_STREAM_RESET);
    sp_conn_close(t->conn, NULL);
}

static void http1_respond(void *tunnel, void *stream, int status, const char *proxy_status)
{
    static const char ok[] = "HTTP/1.1 200 Connection established\r\n\r\n";
    struct sp_tunnel *t = tunnel;
    char type[64], details[256];

    (void)stream;
    if (status != 200) {
        sp_proxy_status_parse(proxy_status ? proxy_status : "", type, sizeof type, details,
                              sizeof details);
        http1_refuse(t, status, proxy_status, details);
        return;
    }
    sp_conn_write(t->conn, ok, sizeof ok - 1);
    t->mode = MODE_HTTP1_RELAY;
    t->ahead = t->head.len;
    if (t->head.len) { /* what the client sent without waiting for our answer */
        struct sp_buf early = t->head;

        sp_buf_init(&t->head, SP_HTTP1_HEAD_MAX);
        sp_channel_stream_data(t->channel, sp_buf_data(&early), early.len);
        sp_buf_done(&early);
    }
    sp_conn_pause(t->conn, false);
    sp_conn_want_write(t->conn);
}

static void http1_resume(void *tunnel, void *stream)
{
    struct sp_tunnel *t = tunnel;

    (void)stream;
    t->pull_wanted = true;
    sp_conn_want_write(t->conn);
}

static void http1_consumed(void *tunnel, void *stream, size_t len)
{
    struct sp_tunnel *t = tunnel;

    (void)stream;
    t->ahead -= len < t->ahead ? len : t->ahead;
    if (t->mode == MODE_HTTP1_RELAY && t->ahead < HTTP1_AHEAD)
        sp_conn_pause(t->conn, false);
}

static void http1_reset(void *tunnel, void *stream)
{
    static const struct sp_error why = {.kind = SP_ERR_CLOSED, .text = "the channel was reset"};
    struct sp_tunnel *t = tunnel;

    (void)stream;
    sp_conn_abort(t->conn, &why);
}

static const struct sp_carrier http1_carrier = {http1_respond, http1_resume, http1_consumed,
                                                http1_reset};

static void on_head_late(void *ctx)
{
    struct sp_tunnel *t = ctx;

    if (t->mode != MODE_HTTP1_HEAD)
        return;
    t->callbacks->on_bad_request(t->ctx, 408, "no whole request in time");
    http1_refuse(t, 408, NULL, "No whole request in time.");
}

static void http1_head(struct sp_tunnel *t, const uint8_t *data, size_t len)
{
    struct sp_http1_request request;
    struct sp_error err;
    int status = 400;
    enum sp_err rc;

    if (sp_buf_append(&t->head, data, len) != SP_OK)
        return;
    rc = sp_http1_parse(sp_buf_data(&t->head), t->head.len, &request, &status, &err);
    if (rc == SP_AGAIN)
        return;
    sp_timer_stop(t->timer);
    if (rc != SP_OK) {
        t->callbacks->on_bad_request(t->ctx, status, err.text);
        http1_refuse(t, status, NULL, err.text);
        return;
    }
    sp_buf_consume(&t->head, request.head_len);
    t->mode = MODE_HTTP1_WAIT;
    sp_conn_pause(t->conn, true);
    t->channel = sp_channel_new(t->loop, &http1_carrier, t, t, &request.target, true);
    t->callbacks->on_channel(t->ctx, t->channel);
}

static void http1_start(struct sp_tunnel *t)
{
    t->mode = MODE_HTTP1_HEAD;
    sp_buf_init(&t->head, SP_HTTP1_HEAD_MAX + RECORD);
    t->timer = sp_timer_new(t->loop, on_head_late, t);
    sp_timer_start(t->timer, t->options.request_ms);
}

static void http1_flush(struct sp_tunnel *t)
{
    uint8_t record[RECORD];

    while (t->channel && t->mode == MODE_HTTP1_RELAY && !t->sent_end && t->pull_wanted &&
           sp_conn_has_room(t->conn)) {
        bool end = false;
        ssize_t n = sp_channel_stream_pull(t->channel, record, sizeof record, &end);

        if (n == SP_H2_PULL_RESET) {
            http1_reset(t, t);
            return;
        }
        if (n == SP_H2_PULL_AGAIN)
            t->pull_wanted = false;
        if (n > 0)
            sp_conn_write(t->conn, record, (size_t)n);
        if (end) {
            t->sent_end = true;
            sp_conn_finish(t->conn);
            http1_done_if_both_ended(t);
        }
    }
}

/* ---- the connection ---- */

static void on_conn_open(void *ctx)
{
    struct sp_tunnel *t = ctx;
    struct sp_error err;

    if (sp_tls_alpn(sp_conn_tls(t->conn)) == SP_ALPN_H2) {
        h2_start(t);
    } else if (!t->options.client) {
        http1_start(t);
    } else {
        sp_error_set(&err, SP_ERR_H2, "the gateway does not speak HTTP/2 (no ALPN h2)");
        sp_conn_close(t->conn, &err);
        return;
    }
    if (!t->options.client) {
        t->up = true;
        t->callbacks->on_up(t->ctx);
    }
}

static void on_conn_data(void *ctx, const uint8_t *data, size_t len)
{
    struct sp_tunnel *t = ctx;
    struct sp_error err;

    switch (t->mode) {
    case MODE_H2:
        if (sp_h2_feed(t->h2, data, len, &err) != SP_OK) {
            h2_send(t); /* nghttp2's GOAWAY says why */
            sp_conn_close(t->conn, &err);
            return;
        }
        sp_conn_want_write(t->conn);
        return;
    case MODE_HTTP1_HEAD:
        http1_head(t, data, len);
        return;
    case MODE_HTTP1_RELAY:
        t->ahead += len;
        sp_channel_stream_data(t->channel, data, len);
        if (t->ahead >= HTTP1_AHEAD && t->mode == MODE_HTTP1_RELAY)
            sp_conn_pause(t->conn, true);
        return;
    case MODE_NONE:
    case MODE_HTTP1_WAIT:
    case MODE_HTTP1_OVER:
        return;
    }
}

static void on_conn_eof(void *ctx)
{
    struct sp_tunnel *t = ctx;
    struct sp_error err;

    if (t->mode == MODE_HTTP1_RELAY && t->channel) {
        t->seen_end = true;
        sp_channel_stream_end(t->channel);
        http1_done_if_both_ended(t);
        return;
    }
    if (t->mode == MODE_H2 && sp_h2_stream_count(t->h2)) {
        sp_error_set(&err, SP_ERR_CLOSED, "the other end closed the tunnel with open channels");
        sp_conn_close(t->conn, &err);
        return;
    }
    sp_conn_close(t->conn, NULL);
}

static void on_conn_flush(void *ctx)
{
    struct sp_tunnel *t = ctx;

    if (t->mode == MODE_H2 && t->h2)
        h2_flush(t);
    else
        http1_flush(t);
}

static void on_conn_closed(void *ctx, const struct sp_error *why)
{
    struct sp_tunnel *t = ctx;

    /* A client that goes without close_notify after the destination ended it all: usual, harmless.
     */
    if (t->sent_end && why->kind == SP_ERR_CLOSED)
        http1_over(t, SP_STREAM_CLEAN);
    t->callbacks->on_closed(t->ctx, why); /* may still look at the TLS session */
    t->conn = NULL;
    sp_h2_free(t->h2);
    http1_over(t, SP_STREAM_RESET); /* the connection was the channel */
    sp_timer_free(t->timer);
    sp_buf_done(&t->head);
    free(t);
}

static const struct sp_conn_callbacks conn_callbacks = {
    on_conn_open, on_conn_data, on_conn_eof, on_conn_flush, on_conn_closed,
};

/* tls_session calls back with our ctx; the owner's is another. */
static bool on_tls_hello(void *ctx, const char *name, struct sp_tls_choice *ret_choice)
{
    struct sp_tunnel *t = ctx;

    return t->callbacks->tls.on_hello(t->ctx, name, ret_choice);
}

static void on_tls_bad_name(void *ctx)
{
    struct sp_tunnel *t = ctx;

    t->callbacks->tls.on_bad_name(t->ctx);
}

static bool on_tls_peer(void *ctx, const struct sp_chain *chain, bool resumed, int *ret_alert)
{
    struct sp_tunnel *t = ctx;

    return t->callbacks->tls.on_peer(t->ctx, chain, resumed, ret_alert);
}

static const struct sp_tls_callbacks tls_callbacks = {on_tls_hello, on_tls_bad_name, on_tls_peer};

static void set_default(unsigned *value, unsigned otherwise)
{
    if (!*value)
        *value = otherwise;
}

enum sp_err sp_tunnel_new(struct sp_loop *loop, int fd, const struct sp_tunnel_options *options,
                          const struct sp_tunnel_callbacks *callbacks, void *ctx,
                          struct sp_tunnel **ret_tunnel, struct sp_error *err)
{
    struct sp_tunnel *t = sp_calloc(1, sizeof *t);
    struct sp_conn_options conn_options;
    enum sp_err rc;

    t->loop = loop;
    t->callbacks = callbacks;
    t->ctx = ctx;
    t->options = *options;
    t->opened_ms = sp_loop_now_ms(loop);
    set_default(&t->options.handshake_ms, 5000);
    set_default(&t->options.request_ms, 10000);
    set_default(&t->options.ping_idle_ms, 30000);
    set_default(&t->options.ping_timeout_ms, 10000);
    conn_options = (struct sp_conn_options){
        .handshake_ms = t->options.handshake_ms,
        .params = options->params,
        .client = options->client,
        .tls = &tls_callbacks,
    };
    rc = sp_conn_new(loop, fd, &conn_options, &conn_callbacks, t, &t->conn, err);
    if (rc != SP_OK) {
        free(t);
        return rc;
    }
    *ret_tunnel = t;
    return SP_OK;
}

bool sp_tunnel_can_open(const struct sp_tunnel *t)
{
    return t->up && !t->draining && t->h2 && sp_h2_can_connect(t->h2);
}

enum sp_err sp_tunnel_open_channel(struct sp_tunnel *t, const struct sp_target *target,
                                   const struct sp_channel_callbacks *callbacks, void *ctx,
                                   struct sp_channel **ret_channel, struct sp_error *err)
{
    char authority[SP_TARGET_TEXT];
    struct sp_h2_stream *stream;
    struct sp_channel *channel;
    enum sp_err rc;

    if (!sp_tunnel_can_open(t))
        return sp_error_set(err, SP_ERR_LIMIT, "the tunnel takes no new channel");
    rc = sp_h2_connect(t->h2, sp_target_format(target, authority), NULL, &stream, err);
    if (rc != SP_OK)
        return rc;
    channel = sp_channel_new(t->loop, &h2_carrier, t, stream, target, false);
    sp_channel_set_owner(channel, callbacks, ctx);
    sp_h2_stream_set_ctx(stream, channel);
    sp_conn_want_write(t->conn);
    *ret_channel = channel;
    return SP_OK;
}

size_t sp_tunnel_channel_count(const struct sp_tunnel *t)
{
    return t->h2 ? sp_h2_stream_count(t->h2) : t->channel != NULL;
}

void sp_tunnel_drain(struct sp_tunnel *t, const char *text)
{
    if (t->draining)
        return;
    t->draining = true;
    if (t->mode == MODE_H2 && t->h2) {
        sp_h2_goaway(t->h2, SP_H2_NO_ERROR, text);
        sp_conn_want_write(t->conn);
    } else if (!t->channel) {
        sp_conn_close(t->conn, NULL);
    }
}

void sp_tunnel_close(struct sp_tunnel *t, const struct sp_error *why)
{
    t->draining = true;
    if (t->mode == MODE_H2 && t->h2) {
        sp_h2_goaway(t->h2, SP_H2_NO_ERROR, why->text);
        h2_send(t);
    }
    sp_conn_close(t->conn, why);
}

void sp_tunnel_abort(struct sp_tunnel *t, const struct sp_error *why)
{
    sp_conn_abort(t->conn, why);
}

struct sp_tls_session *sp_tunnel_tls(struct sp_tunnel *t)
{
    return sp_conn_tls(t->conn);
}

const struct sp_addr *sp_tunnel_peer(const struct sp_tunnel *t)
{
    return sp_conn_peer(t->conn);
}

uint64_t sp_tunnel_opened_ms(const struct sp_tunnel *t)
{
    return t->opened_ms;
}
