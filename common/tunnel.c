#include "common/tunnel_impl.h"

#include "common/h2_session.h"
#include "common/loop.h"
#include "common/sock.h"
#include "common/traffic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INTERNAL_ERROR 80 /* the alert (RFC 8446 6.2) for an end that is not the peer's fault */

/* ---- the connection ---- */

static void on_conn_open(void *ctx)
{
    struct sp_tunnel *t = ctx;
    struct sp_error err;

    if (sp_tls_alpn(sp_conn_tls(t->conn)) == SP_ALPN_H2) {
        sp_tunnel_h2_start(t);
    } else if (!t->options.client) {
        sp_tunnel_http1_start(t);
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

    if (t->mode == SP_TUNNEL_H2)
        sp_tunnel_h2_data(t, data, len);
    else
        sp_tunnel_http1_data(t, data, len);
}

static void on_conn_taken(void *ctx)
{
    struct sp_tunnel *t = ctx;

    if (t->mode == SP_TUNNEL_H2)
        sp_tunnel_h2_taken(t);
}

static void on_conn_eof(void *ctx)
{
    struct sp_tunnel *t = ctx;
    struct sp_error err;

    if (sp_tunnel_http1_eof(t))
        return;
    if (t->mode == SP_TUNNEL_H2 && sp_h2_stream_count(t->h2)) {
        sp_error_set(&err, SP_ERR_CLOSED, "the other end closed the tunnel with open channels");
        sp_conn_close(t->conn, &err);
        return;
    }
    sp_conn_close(t->conn, NULL);
}

static void on_conn_flush(void *ctx)
{
    struct sp_tunnel *t = ctx;

    if (t->mode == SP_TUNNEL_H2 && t->h2)
        sp_tunnel_h2_flush(t);
    else
        sp_tunnel_http1_flush(t);
}

static void on_conn_closed(void *ctx, const struct sp_error *why)
{
    struct sp_tunnel *t = ctx;

    /* A client that goes without close_notify after the destination ended it all: usual, harmless.
     */
    if (t->sent_end && why->kind == SP_ERR_CLOSED)
        sp_tunnel_http1_over(t, SP_STREAM_CLEAN);
    t->callbacks->on_closed(t->ctx, why); /* may still look at the TLS session */
    t->conn = NULL;
    sp_tunnel_h2_free(t);
    sp_tunnel_http1_over(t, SP_STREAM_RESET); /* the connection was the channel */
    sp_timer_free(t->timer);
    sp_buf_done(&t->head);
    free(t);
}

static void on_conn_step(void *ctx)
{
    struct sp_tunnel *t = ctx;

    t->callbacks->on_step(t->ctx);
}

void sp_tunnel_step(struct sp_tunnel *t)
{
    sp_conn_step(t->conn);
}

#define CONN_CALLBACKS                                                                             \
    .on_open = on_conn_open, .on_data = on_conn_data, .on_taken = on_conn_taken,                   \
    .on_eof = on_conn_eof, .on_flush = on_conn_flush, .on_closed = on_conn_closed
static const struct sp_conn_callbacks conn_callbacks = {CONN_CALLBACKS};
static const struct sp_conn_callbacks stepped_callbacks = {CONN_CALLBACKS, .on_step = on_conn_step};

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

static enum sp_tls_judgement on_tls_peer(void *ctx, const struct sp_tls_peer *peer, int *ret_alert)
{
    struct sp_tunnel *t = ctx;

    return t->callbacks->tls.on_peer(t->ctx, peer, ret_alert);
}

static bool on_tls_claim(void *ctx, const struct sp_chain *chain)
{
    struct sp_tunnel *t = ctx;

    return !t->callbacks->tls.on_claim || t->callbacks->tls.on_claim(t->ctx, chain);
}

static const struct sp_tls_callbacks tls_callbacks = {on_tls_hello, on_tls_bad_name, on_tls_peer,
                                                      on_tls_claim};

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
    rc = sp_conn_new(loop, fd, &conn_options,
                     callbacks->on_step ? &stepped_callbacks : &conn_callbacks, t, &t->conn, err);
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
    channel = sp_channel_new(t->loop, &sp_tunnel_h2_carrier, t, stream, target, false);
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
    if (t->mode == SP_TUNNEL_H2 && t->h2) {
        sp_h2_goaway(t->h2, SP_H2_NO_ERROR, text);
        sp_conn_want_write(t->conn);
    } else if (!t->channel) {
        sp_conn_close(t->conn, NULL);
    }
}

void sp_tunnel_close(struct sp_tunnel *t, const struct sp_error *why)
{
    t->draining = true;
    if (t->mode == SP_TUNNEL_H2 && t->h2) {
        sp_h2_goaway(t->h2, SP_H2_NO_ERROR, why->text);
        sp_tunnel_h2_send(t);
    }
    /* HTTP/1.1: close_notify would tell the client that its channel has ended well. */
    if (t->channel && !t->sent_end)
        sp_conn_refuse(t->conn, why->kind == SP_ERR_PEER_CERT ? why->code : INTERNAL_ERROR, why);
    else
        sp_conn_close(t->conn, why);
}

void sp_tunnel_abort(struct sp_tunnel *t, const struct sp_error *why)
{
    sp_conn_abort(t->conn, why);
}

void sp_tunnel_continue(struct sp_tunnel *t)
{
    if (t->conn)
        sp_conn_continue(t->conn);
}

struct sp_tls_session *sp_tunnel_tls(struct sp_tunnel *t)
{
    return sp_conn_tls(t->conn);
}

const char *sp_tunnel_goaway_text(const struct sp_tunnel *t)
{
    return t->goaway_text;
}

bool sp_tunnel_traffic(const struct sp_tunnel *t, struct sp_traffic *ret)
{
    const struct sp_sock *sock = sp_conn_sock(t->conn);

    return sock && sp_traffic_read(sp_sock_fd(sock), ret);
}

uint64_t sp_tunnel_opened_ms(const struct sp_tunnel *t)
{
    return t->opened_ms;
}
