#include "common/channel.h"

#include "common/buf.h"
#include "common/h2_session.h"
#include "common/loop.h"
#include "common/sock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A clean stream's last bytes wait so long for a local reader that takes none of them. */
#define LAST_BYTES_MS 60000
/* Above any stream window (h2_session), which is what really bounds it. */
#define PENDING_MAX (64 * 1024 * 1024)
#define FIRST_MAX   (64 * 1024)

struct sp_channel {
    struct sp_loop *loop;
    const struct sp_carrier *carrier;
    void *tunnel, *stream; /* stream NULL: closed */
    const struct sp_channel_callbacks *callbacks;
    void *ctx;
    struct sp_sock *sock;   /* NULL: not yet attached, or closed */
    struct sp_buf first;    /* read before the channel was open; goes before the socket's bytes */
    struct sp_buf to_local; /* what the socket did not take at once */
    struct sp_timer *last_bytes;
    struct sp_task gone;
    struct sp_target target;
    uint64_t bytes_in, bytes_out, started_ms;
    enum sp_channel_how how;
    bool inbound, refused, ended; /* ended: `how` is final */
    bool stream_end;              /* the stream sends no more */
    bool local_end;               /* the socket sends no more */
    bool pull_asked;              /* readable was told to the stream, which has not pulled yet */
    bool drained; /* the last read emptied the socket: ask again when it is readable */
};

static const char *const how_names[] = {
#define XX(id, name) [SP_CHANNEL_##id] = name,
    SP_CHANNEL_END_MAP(XX)
#undef XX
};

const char *sp_channel_how_name(enum sp_channel_how how)
{
    return how_names[how];
}

void sp_channel_so_far(const struct sp_channel *ch, struct sp_channel_end *ret)
{
    *ret = (struct sp_channel_end){
        .how = ch->how,
        .bytes_in = ch->bytes_in,
        .bytes_out = ch->bytes_out,
        .duration_ms = sp_loop_now_ms(ch->loop) - ch->started_ms,
    };
}

static void on_gone(void *ctx)
{
    struct sp_channel *ch = ctx;
    struct sp_channel_end end;

    sp_channel_so_far(ch, &end);
    if (ch->callbacks)
        ch->callbacks->on_closed(ch->ctx, ch, &end);
    sp_timer_free(ch->last_bytes);
    sp_buf_done(&ch->first);
    sp_buf_done(&ch->to_local);
    free(ch);
}

/* The first cause is the one that is told. */
static void set_how(struct sp_channel *ch, enum sp_channel_how how)
{
    if (ch->ended)
        return;
    ch->ended = true;
    ch->how = how;
}

static void drop_socket(struct sp_channel *ch, bool clean)
{
    if (clean)
        sp_sock_close(ch->sock);
    else if (ch->sock)
        sp_sock_reset(ch->sock);
    ch->sock = NULL;
}

/* Both ties are cut: on_closed follows. A stream that closed well without having said that it sends
 * no more (its client went without a word when it had all it wanted) may have been cut short. */
static void finish(struct sp_channel *ch, bool clean)
{
    drop_socket(ch, clean && ch->stream_end);
    sp_task_soon(ch->loop, &ch->gone);
}

/* The local side is beyond use; the stream is reset, and the rest follows from that. */
static void local_failed(struct sp_channel *ch)
{
    set_how(ch, SP_CHANNEL_LOCAL_RESET);
    drop_socket(ch, false);
    if (ch->stream)
        ch->carrier->reset(ch->tunnel, ch->stream);
    else
        finish(ch, false);
}

static void consumed(struct sp_channel *ch, size_t len)
{
    if (ch->stream)
        ch->carrier->consumed(ch->tunnel, ch->stream, len);
}

/* ---- stream -> socket ---- */

static void all_written(struct sp_channel *ch)
{
    if (!ch->stream)
        finish(ch, true);
    else if (ch->stream_end)
        sp_sock_shutdown_write(ch->sock);
}

static void write_pending(struct sp_channel *ch)
{
    while (ch->to_local.len) {
        ssize_t n = sp_sock_write(ch->sock, sp_buf_data(&ch->to_local), ch->to_local.len);

        if (n == -EAGAIN) {
            sp_sock_watch_write(ch->sock, true);
            return;
        }
        if (n < 0) {
            local_failed(ch);
            return;
        }
        sp_buf_consume(&ch->to_local, (size_t)n);
        ch->bytes_in += (size_t)n;
        if (ch->last_bytes)
            sp_timer_start(ch->last_bytes, LAST_BYTES_MS);
        consumed(ch, (size_t)n);
    }
    sp_sock_watch_write(ch->sock, false);
    all_written(ch);
}

static void on_writable(void *ctx)
{
    write_pending(ctx);
}

/* What the socket did not take of the pieces, whose first `written` bytes it took. */
static bool keep_rest(struct sp_channel *ch, const struct iovec *pieces, size_t count,
                      size_t written)
{
    for (size_t i = 0; i < count; i++) {
        size_t skip = written < pieces[i].iov_len ? written : pieces[i].iov_len;

        written -= skip;
        if (sp_buf_append(&ch->to_local, (const uint8_t *)pieces[i].iov_base + skip,
                          pieces[i].iov_len - skip) != SP_OK)
            return false;
    }
    return true;
}

void sp_channel_stream_data(struct sp_channel *ch, struct iovec *pieces, size_t count)
{
    size_t len = 0;
    ssize_t n = 0;

    for (size_t i = 0; i < count; i++)
        len += pieces[i].iov_len;
    if (ch->ended) {
        consumed(ch, len);
        return;
    }
    if (ch->sock && !ch->to_local.len) {
        n = sp_sock_write_pieces(ch->sock, pieces, count);
        if (n < 0 && n != -EAGAIN) {
            local_failed(ch);
            return;
        }
        n = n < 0 ? 0 : n;
        ch->bytes_in += (size_t)n;
        if (n)
            consumed(ch, (size_t)n);
        if ((size_t)n == len)
            return;
        sp_sock_watch_write(ch->sock, true);
    }
    if (!keep_rest(ch, pieces, count, (size_t)n))
        local_failed(ch);
}

void sp_channel_stream_end(struct sp_channel *ch)
{
    ch->stream_end = true;
    if (ch->sock && !ch->to_local.len)
        sp_sock_shutdown_write(ch->sock);
}

/* ---- socket -> stream ---- */

static void on_readable(void *ctx)
{
    struct sp_channel *ch = ctx;

    if (!ch->stream) { /* only last bytes are left to write; a reset shows there */
        sp_sock_watch_read(ch->sock, false);
        return;
    }
    /* The tunnel has not come to it since we last told it: the loop need not tell us again. */
    if (ch->pull_asked) {
        sp_sock_watch_read(ch->sock, false);
        return;
    }
    ch->pull_asked = true;
    ch->drained = false;
    ch->carrier->resume(ch->tunnel, ch->stream);
}

ssize_t sp_channel_stream_pull(struct sp_channel *ch, uint8_t *buf, size_t cap, bool *ret_end)
{
    ssize_t n;

    ch->pull_asked = false;
    *ret_end = false;
    if (ch->first.len) {
        n = (ssize_t)(cap < ch->first.len ? cap : ch->first.len);
        memcpy(buf, sp_buf_data(&ch->first), (size_t)n);
        sp_buf_consume(&ch->first, (size_t)n);
        ch->bytes_out += (size_t)n;
        return n;
    }
    if (ch->local_end) {
        *ret_end = true;
        return 0;
    }
    if (!ch->sock)
        return ch->ended ? SP_H2_PULL_RESET : SP_H2_PULL_AGAIN;
    if (ch->drained)
        return SP_H2_PULL_AGAIN;
    n = sp_sock_read(ch->sock, buf, cap);
    if (n > 0) {
        ch->bytes_out += (size_t)n;
        if ((size_t)n < cap) {
            ch->drained = true;
            sp_sock_watch_read(ch->sock, true);
        }
        return n;
    }
    if (n == 0) {
        ch->local_end = true;
        sp_sock_watch_read(ch->sock, false);
        *ret_end = true;
        return 0;
    }
    if (n == -EAGAIN) {
        sp_sock_watch_read(ch->sock, true);
        return SP_H2_PULL_AGAIN;
    }
    set_how(ch, SP_CHANNEL_LOCAL_RESET);
    drop_socket(ch, false);
    return SP_H2_PULL_RESET;
}

/* ---- life ---- */

static void on_last_bytes_late(void *ctx)
{
    struct sp_channel *ch = ctx;

    set_how(ch, SP_CHANNEL_LOCAL_RESET);
    finish(ch, false);
}

void sp_channel_stream_closed(struct sp_channel *ch, enum sp_stream_end how)
{
    ch->stream = NULL;
    if (ch->refused)
        set_how(ch, SP_CHANNEL_REFUSED);
    if (how != SP_STREAM_CLEAN || ch->ended || !ch->sock) {
        set_how(ch, how == SP_STREAM_TUNNEL_LOST ? SP_CHANNEL_TUNNEL_LOST
                    : how == SP_STREAM_RESET     ? SP_CHANNEL_REMOTE_RESET
                                                 : SP_CHANNEL_DONE);
        finish(ch, false);
        return;
    }
    ch->how = SP_CHANNEL_DONE;
    if (!ch->to_local.len) {
        finish(ch, true);
        return;
    }
    ch->last_bytes = sp_timer_new(ch->loop, on_last_bytes_late, ch);
    sp_timer_start(ch->last_bytes, LAST_BYTES_MS);
}

void sp_channel_stream_reply(struct sp_channel *ch, int status, const char *proxy_status)
{
    if (status < 200 || status > 299)
        ch->refused = true;
    if (ch->callbacks)
        ch->callbacks->on_reply(ch->ctx, ch, status, proxy_status);
}

struct sp_channel *sp_channel_new(struct sp_loop *loop, const struct sp_carrier *carrier,
                                  void *tunnel, void *stream, const struct sp_target *target,
                                  bool inbound)
{
    struct sp_channel *ch = sp_calloc(1, sizeof *ch);

    ch->loop = loop;
    ch->carrier = carrier;
    ch->tunnel = tunnel;
    ch->stream = stream;
    ch->target = *target;
    ch->inbound = inbound;
    ch->started_ms = sp_loop_now_ms(loop);
    sp_buf_init(&ch->first, FIRST_MAX);
    sp_buf_init(&ch->to_local, PENDING_MAX);
    sp_task_init(&ch->gone, on_gone, ch);
    return ch;
}

void sp_channel_set_owner(struct sp_channel *ch, const struct sp_channel_callbacks *callbacks,
                          void *ctx)
{
    ch->callbacks = callbacks;
    ch->ctx = ctx;
}

const struct sp_target *sp_channel_target(const struct sp_channel *ch)
{
    return &ch->target;
}

static const struct sp_sock_callbacks sock_callbacks = {on_readable, on_writable};

void sp_channel_attach(struct sp_channel *ch, struct sp_sock *sock, const void *first,
                       size_t first_len)
{
    SP_REQUIRE(!ch->sock);
    if (!ch->stream || ch->ended) {
        sp_sock_close(sock);
        sp_channel_cancel(ch);
        return;
    }
    ch->sock = sock;
    sp_sock_set_owner(sock, &sock_callbacks, ch);
    sp_sock_keep_alive(ch->sock);
    sp_sock_guard(ch->sock); /* a program that dies has cut its channels, not ended them */
    if (sp_buf_append(&ch->first, first, first_len) != SP_OK) {
        sp_channel_cancel(ch);
        return;
    }
    if (ch->inbound)
        ch->carrier->respond(ch->tunnel, ch->stream, 200, NULL);
    if (!ch->sock) /* it did not take what the stream had waiting */
        return;
    if (first_len) /* else there is hardly anything to pull yet */
        ch->carrier->resume(ch->tunnel, ch->stream);
    else
        sp_sock_watch_read(ch->sock, true);
    if (ch->to_local.len)
        write_pending(ch);
    else if (ch->stream_end)
        sp_sock_shutdown_write(ch->sock);
}

void sp_channel_refuse(struct sp_channel *ch, int status, const char *proxy_status)
{
    ch->refused = true;
    if (ch->stream)
        ch->carrier->respond(ch->tunnel, ch->stream, status, proxy_status);
}

void sp_channel_cancel(struct sp_channel *ch)
{
    set_how(ch, SP_CHANNEL_CANCELLED);
    drop_socket(ch, false);
    if (ch->stream)
        ch->carrier->reset(ch->tunnel, ch->stream);
    else
        finish(ch, false);
}
