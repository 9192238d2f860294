/* tunnel_http1: a tunnel whose client speaks HTTP/1.1: one CONNECT, then the connection is the
 * channel. */
#include "common/tunnel_impl.h"

#include "common/h2_session.h"
#include "common/http1.h"
#include "common/loop.h"

#define RECORD      16384       /* plaintext of a full TLS record */
#define HTTP1_AHEAD (64 * 1024) /* bytes a client may be ahead of the destination */

void sp_tunnel_http1_over(struct sp_tunnel *t, enum sp_stream_end how)
{
    struct sp_channel *channel = t->channel;

    t->mode = SP_TUNNEL_HTTP1_OVER;
    t->channel = NULL;
    if (channel)
        sp_channel_stream_closed(channel, how);
}

static void http1_done_if_both_ended(struct sp_tunnel *t)
{
    if (t->sent_end && t->seen_end && t->channel) {
        sp_tunnel_http1_over(t, SP_STREAM_CLEAN);
        sp_conn_close(t->conn, NULL);
    }
}

static void http1_refuse(struct sp_tunnel *t, int status, const char *proxy_status,
                         const char *text)
{
    char answer[2048];

    sp_conn_write(t->conn, answer,
                  sp_http1_refusal(answer, sizeof answer, status, proxy_status, text));
    sp_tunnel_http1_over(t, SP_STREAM_RESET);
    sp_conn_close(t->conn, NULL);
}

static void channel_data(struct sp_tunnel *t, const uint8_t *data, size_t len)
{
    struct iovec piece = {(void *)(uintptr_t)data, len};

    sp_channel_stream_data(t->channel, &piece, 1);
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
    t->mode = SP_TUNNEL_HTTP1_RELAY;
    t->ahead = t->head.len;
    if (t->head.len) { /* what the client sent without waiting for our answer */
        struct sp_buf early = t->head;

        sp_buf_init(&t->head, SP_HTTP1_HEAD_MAX);
        channel_data(t, sp_buf_data(&early), early.len);
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
    if (t->mode == SP_TUNNEL_HTTP1_RELAY && t->ahead < HTTP1_AHEAD)
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

    if (t->mode != SP_TUNNEL_HTTP1_HEAD)
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
    t->mode = SP_TUNNEL_HTTP1_WAIT;
    sp_conn_pause(t->conn, true);
    t->channel = sp_channel_new(t->loop, &http1_carrier, t, t, &request.target, true);
    t->callbacks->on_channel(t->ctx, t->channel);
}

void sp_tunnel_http1_start(struct sp_tunnel *t)
{
    t->mode = SP_TUNNEL_HTTP1_HEAD;
    sp_buf_init(&t->head, SP_HTTP1_HEAD_MAX + RECORD);
    t->timer = sp_timer_new(t->loop, on_head_late, t);
    sp_timer_start(t->timer, t->options.request_ms);
}

void sp_tunnel_http1_flush(struct sp_tunnel *t)
{
    uint8_t record[RECORD];

    while (t->channel && t->mode == SP_TUNNEL_HTTP1_RELAY && !t->sent_end && t->pull_wanted &&
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

void sp_tunnel_http1_data(struct sp_tunnel *t, const uint8_t *data, size_t len)
{
    if (t->mode == SP_TUNNEL_HTTP1_HEAD) {
        http1_head(t, data, len);
    } else if (t->mode == SP_TUNNEL_HTTP1_RELAY) {
        t->ahead += len;
        channel_data(t, data, len);
        if (t->ahead >= HTTP1_AHEAD && t->mode == SP_TUNNEL_HTTP1_RELAY)
            sp_conn_pause(t->conn, true);
    }
}

bool sp_tunnel_http1_eof(struct sp_tunnel *t)
{
    if (t->mode != SP_TUNNEL_HTTP1_RELAY || !t->channel)
        return false;
    t->seen_end = true;
    sp_channel_stream_end(t->channel);
    http1_done_if_both_ended(t);
    return true;
}
