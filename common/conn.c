#include "common/conn.h"

#include "common/http1.h"
#include "common/loop.h"
#include "common/sock.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_LIMIT      (128 * 1024) /* output above this waits for the socket */
#define FLUSH_ROUNDS    8            /* writes a tick, so that one tunnel does not starve others */
#define CLOSE_FLUSH_MS  5000         /* for the last bytes to leave */
#define CLOSE_LINGER_MS 1000         /* for the peer to read our last words before a RST could */
#define TICKET_HOLD_MS  20           /* at most, for the owner's first words */

enum state { HANDSHAKING, OPEN, CLOSING, CLOSED };

struct sp_conn {
    struct sp_loop *loop;
    struct sp_sock *sock;
    struct sp_tls_session *tls;
    const struct sp_conn_callbacks *callbacks;
    void *ctx;
    struct sp_timer *deadline;
    struct sp_task task;
    struct sp_error why;
    uint64_t last_read_ms;
    unsigned handshake_ms;
    size_t held; /* bytes of a ticket that wait for the owner's first words, to go with them */
    enum state state;
    int write_errno; /* writing failed; what the peer said last may still be read */
    bool server, started, paused, stands_still, resume_soon, continue_soon, fin_sent, fin_seen;
};

static void conn_fail(struct sp_conn *c, const struct sp_error *why);

static void conn_gone(struct sp_conn *c)
{
    c->state = CLOSED;
    sp_sock_close(c->sock);
    c->sock = NULL;
    sp_timer_stop(c->deadline);
    sp_task_soon(c->loop, &c->task);
}

static struct sp_buf *output(const struct sp_conn *c)
{
    return sp_tls_output(c->tls);
}

/* ---- out ---- */

static void on_write_error(struct sp_conn *c, int errno_value)
{
    struct sp_error why;

    sp_sock_watch_write(c->sock, false);
    sp_buf_consume(output(c), output(c)->len);
    c->write_errno = errno_value;
    if (c->state == CLOSING) {
        conn_gone(c);
        return;
    }
    /* The peer may have said why before it closed: read on for that. */
    if (c->paused || sp_tls_is_waiting(c->tls)) {
        sp_error_sys(&why, errno_value, "write");
        conn_fail(c, &why);
        return;
    }
    sp_timer_start(c->deadline, CLOSE_LINGER_MS);
}

/* Gives the socket what it takes. False when it is full, or broken. */
static bool write_out(struct sp_conn *c)
{
    struct sp_buf *out = output(c);

    while (out->len) {
        ssize_t n = sp_sock_write(c->sock, sp_buf_data(out), out->len);

        if (n == -EAGAIN) {
            sp_sock_watch_write(c->sock, true);
            return false;
        }
        if (n < 0) {
            on_write_error(c, (int)-n);
            return false;
        }
        sp_buf_consume(out, (size_t)n);
    }
    sp_sock_watch_write(c->sock, false);
    return true;
}

static void flush_closing(struct sp_conn *c)
{
    if (!write_out(c) || c->fin_sent)
        return;
    c->fin_sent = true;
    if (c->fin_seen) { /* the close sends the FIN */
        conn_gone(c);
        return;
    }
    sp_sock_shutdown_write(c->sock);
    sp_timer_start(c->deadline, CLOSE_LINGER_MS);
}

/* A ticket by itself would be a segment and a system call, at both ends. */
static void hold_ticket(struct sp_conn *c)
{
    if (!c->server || c->write_errno || strcmp(sp_tls_version_name(c->tls), "TLS1.3") != 0)
        return; /* under TLS 1.2 the peer waits for what stands beside it */
    c->held = output(c)->len;
    if (c->held)
        sp_timer_start(c->deadline, TICKET_HOLD_MS);
}

/* Whether there is more than the ticket now, so that all of it may go. */
static bool release_ticket(struct sp_conn *c)
{
    if (c->held && output(c)->len == c->held)
        c->callbacks->on_flush(c->ctx);
    if (c->state != OPEN || (c->held && output(c)->len == c->held))
        return false;
    if (c->held)
        sp_timer_stop(c->deadline);
    c->held = 0;
    return true;
}

static void flush_open(struct sp_conn *c)
{
    if (c->write_errno || (c->state == OPEN && !release_ticket(c)))
        return;
    for (int round = 0; round < FLUSH_ROUNDS; round++) {
        if (!write_out(c) || c->state != OPEN)
            return;
        if (!output(c)->base) /* free again before anybody else can flush: see flush */
            sp_buf_lend(output(c), sp_loop_outbox(c->loop), SP_LOOP_OUTBOX);
        c->callbacks->on_flush(c->ctx);
        if (c->state != OPEN || !output(c)->len) /* it may have closed or aborted */
            return;
    }
    sp_task_soon(c->loop, &c->task);
}

static void flush(struct sp_conn *c)
{
    struct sp_error why;

    if (c->state == CLOSING)
        flush_closing(c);
    else if (c->state != CLOSED)
        flush_open(c);
    if (c->state == CLOSING && !c->fin_sent)
        flush_closing(c);
    if (sp_buf_keep(output(c)) != SP_OK) {
        sp_error_set(&why, SP_ERR_MEMORY, "no memory for output");
        sp_conn_abort(c, &why);
    }
}

static void on_writable(void *ctx)
{
    flush(ctx);
}

/* ---- in ---- */

/* What on_data was given in this run of records. */
static void data_taken(struct sp_conn *c, unsigned *count)
{
    if (!*count)
        return;
    *count = 0;
    if (c->callbacks->on_taken)
        c->callbacks->on_taken(c->ctx);
    sp_tls_release(c->tls);
}

static void pump(struct sp_conn *c)
{
    struct sp_error err;
    struct sp_bytes data;
    unsigned given = 0;
    enum sp_tls_event event;

    while (c->state != CLOSING && c->state != CLOSED && !c->paused) {
        event = sp_tls_step(c->tls, &data, &err);
        if (event != SP_TLS_DATA)
            data_taken(c, &given);
        switch (event) {
        case SP_TLS_NOTHING:
            /* Nothing is taken while the verdict is awaited: TCP holds an eager client. */
            if (c->state == HANDSHAKING || c->state == OPEN) /* on_peer may have closed it */
                sp_sock_watch_read(c->sock, !c->fin_seen && !sp_tls_is_waiting(c->tls));
            return;
        case SP_TLS_OPEN:
            if (c->state != HANDSHAKING) /* the same */
                break;
            c->state = OPEN;
            if (!c->write_errno) /* else it waits for the peer's last words */
                sp_timer_stop(c->deadline);
            hold_ticket(c);
            sp_task_soon(c->loop, &c->task);
            c->callbacks->on_open(c->ctx);
            break;
        case SP_TLS_DATA:
            given++;
            c->callbacks->on_data(c->ctx, data.data, data.len);
            if (given == SP_TLS_PACKETS)
                data_taken(c, &given);
            break;
        case SP_TLS_EOF:
            c->callbacks->on_eof(c->ctx);
            break;
        case SP_TLS_FAILED:
            conn_fail(c, &err);
            return;
        }
    }
    data_taken(c, &given);
    if (sp_tls_park(c->tls, &err) != SP_OK && c->state == OPEN)
        conn_fail(c, &err);
}

/* Somebody speaks plain HTTP to us: the one case where an answer without TLS helps a person. */
static void refuse_not_tls(struct sp_conn *c, uint8_t first)
{
    char text[512];
    struct sp_error why;

    if (c->server && isupper(first)) {
        size_t len =
            sp_http1_refusal(text, sizeof text, 400, NULL, "This port speaks TLS; use https.");

        if (sp_buf_append(output(c), text, len) != SP_OK)
            sp_buf_consume(output(c), output(c)->len);
    }
    sp_error_code(&why, SP_ERR_TLS, SP_CONN_NOT_TLS,
                  "the peer does not speak TLS: its first byte is 0x%02x", first);
    conn_fail(c, &why);
}

static void read_closing(struct sp_conn *c)
{
    ssize_t n = sp_sock_read(c->sock, sp_loop_scratch(c->loop), SP_LOOP_SCRATCH);

    if (n > 0 || n == -EAGAIN)
        return;
    c->fin_seen = true;
    sp_sock_watch_read(c->sock, false);
    if (c->fin_sent || n < 0)
        conn_gone(c);
}

static void stand_still(struct sp_conn *c)
{
    struct sp_error err;

    if (sp_tls_park(c->tls, &err) != SP_OK) {
        conn_fail(c, &err);
        return;
    }
    c->stands_still = true;
    sp_sock_watch_read(c->sock, false);
    c->callbacks->on_step(c->ctx);
}

void sp_conn_step(struct sp_conn *c)
{
    if (!c->stands_still || c->state != HANDSHAKING)
        return;
    c->stands_still = false;
    sp_sock_watch_read(c->sock, !c->fin_seen);
    pump(c);
    if (output(c)->len)
        sp_task_soon(c->loop, &c->task);
}

/* Into the loop's scratch. Two whole pieces may have a short end behind them: with it they are one
 * write to the destination, by itself it would be another one, and wake the reader once more. */
static ssize_t read_in(struct sp_conn *c, uint8_t *scratch)
{
    ssize_t n = sp_sock_read(c->sock, scratch, SP_LOOP_SCRATCH);
    size_t waiting = n == SP_LOOP_SCRATCH ? sp_sock_waiting(c->sock) : 0;

    if (waiting > 0 && waiting <= SP_LOOP_SCRATCH_TAIL) {
        ssize_t tail = sp_sock_read(c->sock, scratch + n, SP_LOOP_SCRATCH_TAIL);

        n += tail > 0 ? tail : 0;
    }
    return n;
}

static void on_readable(void *ctx)
{
    struct sp_conn *c = ctx;
    uint8_t *scratch = sp_loop_scratch(c->loop);
    struct sp_error why;
    ssize_t n;

    if (c->state == CLOSING) {
        read_closing(c);
        return;
    }
    n = read_in(c, scratch);
    if (n == -EAGAIN)
        return;
    if (n < 0) {
        sp_error_sys(&why, c->write_errno ? c->write_errno : (int)-n, "the connection broke");
        conn_fail(c, &why);
        return;
    }
    c->last_read_ms = sp_loop_now_ms(c->loop);
    if (n > 0 && !c->started && !sp_tls_may_begin(c->tls, scratch[0])) {
        refuse_not_tls(c, scratch[0]);
        return;
    }
    c->started = true;
    if (n == 0) {
        c->fin_seen = true;
        sp_sock_watch_read(c->sock, false);
    }
    sp_tls_feed(c->tls, scratch, (size_t)n);
    if (n > 0 && c->state == HANDSHAKING && c->callbacks->on_step && sp_tls_has_record(c->tls)) {
        stand_still(c);
        return;
    }
    pump(c);
    if (output(c)->len)
        sp_task_soon(c->loop, &c->task);
}

/* ---- life ---- */

static const struct sp_sock_callbacks sock_callbacks = {on_readable, on_writable};

static void on_task(void *ctx)
{
    struct sp_conn *c = ctx;

    if (c->state == CLOSED) {
        const struct sp_conn_callbacks *callbacks = c->callbacks;
        struct sp_error why = c->why;
        void *owner = c->ctx;

        sp_timer_free(c->deadline);
        callbacks->on_closed(owner, &why); /* may still look at the TLS session */
        sp_tls_free(c->tls);
        free(c);
        return;
    }
    if (c->continue_soon)
        sp_tls_continue(c->tls);
    if (c->resume_soon || c->continue_soon) {
        c->resume_soon = c->continue_soon = false;
        pump(c);
    }
    if (c->state != CLOSED)
        flush(c);
}

static void on_deadline(void *ctx)
{
    struct sp_conn *c = ctx;
    struct sp_error why;

    if (c->state == CLOSING) {
        conn_gone(c);
        return;
    }
    if (c->held) {
        c->held = 0;
        flush(c);
        return;
    }
    if (c->write_errno)
        sp_error_sys(&why, c->write_errno, "write");
    else
        sp_error_set(&why, SP_ERR_TIMEOUT, "the TLS handshake was not done within %u ms",
                     c->handshake_ms);
    conn_fail(c, &why);
}

static void conn_fail(struct sp_conn *c, const struct sp_error *why)
{
    if (c->state == CLOSING || c->state == CLOSED)
        return;
    c->state = CLOSING;
    c->why = *why;
    c->paused = false;
    sp_sock_watch_read(c->sock, !c->fin_seen);
    sp_timer_start(c->deadline, CLOSE_FLUSH_MS);
    sp_task_soon(c->loop, &c->task);
}

enum sp_err sp_conn_new(struct sp_loop *loop, int fd, const struct sp_conn_options *options,
                        const struct sp_conn_callbacks *callbacks, void *ctx,
                        struct sp_conn **ret_conn, struct sp_error *err)
{
    struct sp_conn *c = sp_calloc(1, sizeof *c);
    enum sp_err rc;

    c->loop = loop;
    c->callbacks = callbacks;
    c->ctx = ctx;
    c->handshake_ms = options->handshake_ms;
    c->server = !options->client;
    c->last_read_ms = sp_loop_now_ms(loop);
    sp_task_init(&c->task, on_task, c);
    rc = options->client
             ? sp_tls_client_new(options->params, options->client, options->tls, ctx, &c->tls, err)
             : sp_tls_server_new(options->params, options->tls, ctx, &c->tls, err);
    if (rc == SP_OK)
        rc = options->accepted
                 ? sp_sock_accepted(loop, fd, false, &sock_callbacks, c, &c->sock, err)
                 : sp_sock_new(loop, fd, &sock_callbacks, c, &c->sock, err);
    if (rc != SP_OK) {
        sp_tls_free(c->tls);
        free(c);
        return rc;
    }
    sp_sock_keep_alive(c->sock); /* HTTP/1.1 has no PING */
    c->deadline = sp_timer_new(loop, on_deadline, c);
    sp_timer_start(c->deadline, c->handshake_ms);
    sp_sock_watch_read(c->sock, true);
    if (!c->server) { /* the ClientHello */
        c->resume_soon = true;
        sp_task_soon(loop, &c->task);
    }
    *ret_conn = c;
    return SP_OK;
}

void sp_conn_want_write(struct sp_conn *c)
{
    if (c->state == OPEN)
        sp_task_soon(c->loop, &c->task);
}

bool sp_conn_has_room(const struct sp_conn *c)
{
    return c->state == OPEN && !c->write_errno && output(c)->len < ROOM_LIMIT;
}

void sp_conn_write(struct sp_conn *c, const void *data, size_t len)
{
    struct sp_error err;

    if (c->state != OPEN || c->write_errno)
        return;
    if (sp_tls_write(c->tls, data, len, &err) != SP_OK)
        conn_fail(c, &err);
}

void sp_conn_pause(struct sp_conn *c, bool pause)
{
    if (c->state != OPEN || c->paused == pause)
        return;
    c->paused = pause;
    if (pause) {
        sp_sock_watch_read(c->sock, false);
    } else { /* what was parked comes first; when all of that is given, pump reads on */
        c->resume_soon = true;
        sp_task_soon(c->loop, &c->task);
    }
}

void sp_conn_continue(struct sp_conn *c)
{
    if (c->state != HANDSHAKING)
        return;
    c->continue_soon = true;
    sp_task_soon(c->loop, &c->task);
}

void sp_conn_finish(struct sp_conn *c)
{
    if (c->state != OPEN)
        return;
    sp_tls_close_notify(c->tls);
    sp_task_soon(c->loop, &c->task);
}

void sp_conn_close(struct sp_conn *c, const struct sp_error *why)
{
    static const struct sp_error none = {0};

    if (c->state == OPEN)
        sp_tls_close_notify(c->tls);
    conn_fail(c, why ? why : &none);
}

void sp_conn_refuse(struct sp_conn *c, int alert, const struct sp_error *why)
{
    if (c->state != CLOSING && c->state != CLOSED)
        sp_tls_alert(c->tls, alert);
    conn_fail(c, why);
}

void sp_conn_abort(struct sp_conn *c, const struct sp_error *why)
{
    if (c->state == CLOSED)
        return;
    if (c->state != CLOSING)
        c->why = *why;
    sp_sock_reset(c->sock);
    c->sock = NULL;
    c->state = CLOSED;
    sp_timer_stop(c->deadline);
    sp_task_soon(c->loop, &c->task);
}

struct sp_tls_session *sp_conn_tls(struct sp_conn *c)
{
    return c->tls;
}

struct sp_sock *sp_conn_sock(struct sp_conn *c)
{
    return c->sock;
}

uint64_t sp_conn_last_read_ms(const struct sp_conn *c)
{
    return c->last_read_ms;
}
