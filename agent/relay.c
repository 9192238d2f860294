#include "agent/relay.h"

#include "common/buf.h"
#include "common/channel.h"
#include "common/h2_session.h"
#include "common/loop.h"
#include "common/sock.h"

#include <errno.h>
#include <stdlib.h>

#define CHUNK  ((size_t)64 * 1024)
#define ROUNDS 8 /* chunks a turn of the loop, so that others have theirs */

struct relay {
    struct sp_loop *loop;
    struct sp_sock *sock; /* to the destination */
    struct sp_channel *channel;
    struct sp_buf up; /* pulled from the channel, and not yet taken by the destination */
    size_t down;      /* bytes given to the channel that the application has not taken */
    struct sp_task work;
    bool app_ended, dest_ended; /* it sends no more */
    bool broken;                /* the channel wants an end by reset */
};

/* The last thing that happens to it. */
static void relay_end(struct relay *r, enum sp_stream_end how)
{
    struct sp_channel *channel = r->channel;

    if (how == SP_STREAM_CLEAN)
        sp_sock_close(r->sock);
    else
        sp_sock_reset(r->sock);
    sp_task_cancel(&r->work);
    sp_buf_done(&r->up);
    free(r);
    sp_channel_stream_closed(channel, how);
}

static bool is_over(const struct relay *r)
{
    return r->app_ended && r->dest_ended;
}

/* ---- destination -> application ---- */

/* Bytes read, 0 at the end, -errno; the channel has them. */
static ssize_t read_some(struct relay *r)
{
    size_t room = AGENT_RELAY_WINDOW - r->down;
    struct iovec piece = {.iov_base = sp_loop_scratch(r->loop)};
    ssize_t n;

    if (!room) {
        sp_sock_watch_read(r->sock, false);
        return -EAGAIN;
    }
    n = sp_sock_read(r->sock, piece.iov_base, room < CHUNK ? room : CHUNK);
    if (n > 0) {
        piece.iov_len = (size_t)n;
        r->down += (size_t)n;
        sp_channel_stream_data(r->channel, &piece, 1);
    }
    return n;
}

static void on_readable(void *ctx)
{
    struct relay *r = ctx;
    ssize_t n;

    if (r->broken)
        return;
    n = read_some(r);
    if (n > 0 || n == -EAGAIN)
        return;
    if (n < 0) {
        relay_end(r, SP_STREAM_RESET);
        return;
    }
    r->dest_ended = true;
    sp_sock_watch_read(r->sock, false);
    sp_channel_stream_end(r->channel);
    if (is_over(r))
        relay_end(r, SP_STREAM_CLEAN);
}

/* ---- application -> destination ---- */

/* It takes nothing more. What it said before (an answer that came early) goes first. */
static void dest_failed(struct relay *r)
{
    while (!r->dest_ended && read_some(r) > 0)
        ;
    relay_end(r, SP_STREAM_RESET);
}

/* False: it takes no more for now, or the relay is gone. */
static bool write_up(struct relay *r)
{
    while (r->up.len) {
        ssize_t n = sp_sock_write(r->sock, sp_buf_data(&r->up), r->up.len);

        if (n == -EAGAIN) {
            sp_sock_watch_write(r->sock, true);
            return false;
        }
        if (n < 0) {
            dest_failed(r);
            return false;
        }
        sp_buf_consume(&r->up, (size_t)n);
    }
    sp_sock_watch_write(r->sock, false);
    return true;
}

/* False: the application has nothing for now, or the relay is gone. */
static bool pull_up(struct relay *r)
{
    uint8_t *data = sp_loop_scratch(r->loop);
    bool end;
    ssize_t n = sp_channel_stream_pull(r->channel, data, CHUNK, &end), taken;

    if (n == SP_H2_PULL_RESET) {
        relay_end(r, SP_STREAM_RESET);
        return false;
    }
    if (end) {
        r->app_ended = true;
        sp_sock_shutdown_write(r->sock);
        if (is_over(r))
            relay_end(r, SP_STREAM_CLEAN);
        return false;
    }
    if (n <= 0)
        return false;
    taken = sp_sock_write(r->sock, data, (size_t)n);
    if (taken < 0 && taken != -EAGAIN) {
        dest_failed(r);
        return false;
    }
    taken = taken < 0 ? 0 : taken;
    SP_REQUIRE(sp_buf_append(&r->up, data + taken, (size_t)(n - taken)) == SP_OK);
    return true;
}

static void on_work(void *ctx)
{
    struct relay *r = ctx;

    if (r->broken) {
        relay_end(r, SP_STREAM_RESET);
        return;
    }
    for (int i = 0; i < ROUNDS; i++) {
        if (r->app_ended || !write_up(r) || !pull_up(r))
            return;
    }
    sp_task_soon(r->loop, &r->work);
}

static void on_writable(void *ctx)
{
    on_work(ctx);
}

static const struct sp_sock_callbacks sock_callbacks = {on_readable, on_writable};

/* ---- what the channel wants ---- */

static void resume(void *ctx, void *stream)
{
    struct relay *r = ctx;

    (void)stream;
    sp_task_soon(r->loop, &r->work);
}

static void consumed(void *ctx, void *stream, size_t len)
{
    struct relay *r = ctx;

    (void)stream;
    r->down -= len;
    if (!r->dest_ended)
        sp_sock_watch_read(r->sock, true);
}

static void reset(void *ctx, void *stream)
{
    struct relay *r = ctx;

    (void)stream;
    r->broken = true;
    sp_task_soon(r->loop, &r->work);
}

/* No channel of ours came from elsewhere, so that there is nobody to respond to. */
static const struct sp_carrier carrier = {.resume = resume, .consumed = consumed, .reset = reset};

struct sp_channel *agent_relay_new(struct sp_loop *loop, struct sp_sock *sock,
                                   const struct sp_target *target)
{
    struct relay *r = sp_calloc(1, sizeof *r);

    r->loop = loop;
    r->sock = sock;
    r->channel = sp_channel_new(loop, &carrier, r, r, target, false);
    sp_buf_init(&r->up, CHUNK);
    sp_task_init(&r->work, on_work, r);
    sp_sock_set_owner(sock, &sock_callbacks, r);
    sp_sock_keep_alive(sock);
    sp_sock_guard(sock); /* a program that dies has cut its channels, not ended them */
    sp_sock_watch_read(sock, true);
    return r->channel;
}
