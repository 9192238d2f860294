#include "common/dial.h"
#include "common/loop.h"
#include "common/sock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_ATTEMPT_MS 2000
#define DEFAULT_TOTAL_MS   10000

struct sp_dial {
    struct sp_loop *loop;
    struct sp_timer *timer; /* the attempt's end, or the whole dial's */
    struct sp_task tell;    /* the end is always told from here */
    struct sp_sock *sock;   /* connecting; NULL at the end: it failed */
    sp_dial_cb on_done;
    void *ctx;
    unsigned attempt_ms, total_ms;
    uint64_t started_ms;
    struct sp_error error;
    size_t count, current;
    struct sp_addr addrs[];
};

static void dial_next(struct sp_dial *dial);

static void dial_free(struct sp_dial *dial)
{
    sp_task_cancel(&dial->tell);
    sp_timer_free(dial->timer);
    sp_sock_close(dial->sock);
    free(dial);
}

/* From the loop only. */
static void dial_tell(struct sp_dial *dial)
{
    struct sp_addr addr = {.port = 0};
    struct sp_error error = {.kind = SP_OK};
    sp_dial_cb on_done = dial->on_done;
    void *owner = dial->ctx;
    struct sp_sock *sock = dial->sock;

    if (sock) {
        addr = dial->addrs[dial->current];
        sp_sock_watch_write(sock, false);
        dial->sock = NULL;
    } else {
        error = dial->error;
    }
    dial_free(dial);
    on_done(owner, sock, sock ? &addr : NULL, &error);
}

static void on_tell(void *ctx)
{
    dial_tell(ctx);
}

static void dial_end(struct sp_dial *dial)
{
    sp_timer_stop(dial->timer);
    sp_task_soon(dial->loop, &dial->tell);
}

static void dial_failed(struct sp_dial *dial, int errno_value)
{
    char text[SP_ADDR_TEXT];

    sp_error_sys(&dial->error, errno_value, "%s",
                 sp_addr_format(&dial->addrs[dial->current], text));
    if (errno_value == ETIMEDOUT) /* the kernel gave up before we did */
        dial->error.kind = SP_ERR_TIMEOUT;
    dial->current++;
}

static void on_time(void *ctx)
{
    struct sp_dial *dial = ctx;
    uint64_t spent = sp_loop_now_ms(dial->loop) - dial->started_ms;
    bool all = spent >= dial->total_ms;
    char text[SP_ADDR_TEXT];

    sp_sock_close(dial->sock);
    dial->sock = NULL;
    sp_error_code(&dial->error, SP_ERR_TIMEOUT, ETIMEDOUT, "%s: no answer within %u ms",
                  sp_addr_format(&dial->addrs[dial->current], text),
                  all ? dial->total_ms : dial->attempt_ms);
    dial->current++;
    if (all)
        dial_end(dial);
    else
        dial_next(dial);
}

/* A connection to a free port of this host's own ephemeral range can meet itself: nobody listens
 * there, and while it lives nobody can. */
static bool is_connected_to_itself(const struct sp_sock *sock, const struct sp_addr *peer)
{
    struct sp_addr local;

    return sp_sock_local(sock, &local) && local.port == peer->port &&
           sp_ip_equal(&local.ip, &peer->ip);
}

static void on_connected(void *ctx)
{
    struct sp_dial *dial = ctx;
    int errno_value = sp_sock_has_failed(dial->sock) ? sp_sock_error(dial->sock) : 0;

    if (!errno_value && is_connected_to_itself(dial->sock, &dial->addrs[dial->current]))
        errno_value = ECONNREFUSED;
    if (!errno_value) {
        dial_tell(dial);
        return;
    }
    sp_sock_close(dial->sock);
    dial->sock = NULL;
    dial_failed(dial, errno_value);
    dial_next(dial);
}

/* Starts to connect to the current address: 0, or the errno that ended it at once. */
static int dial_start(struct sp_dial *dial)
{
    static const struct sp_sock_callbacks callbacks = {.on_writable = on_connected};
    struct sp_error err;

    if (sp_sock_connect(dial->loop, &dial->addrs[dial->current], &callbacks, dial, &dial->sock,
                        &err) != SP_OK)
        return err.code;
    sp_sock_watch_write(dial->sock, true);
    return 0;
}

static void dial_next(struct sp_dial *dial)
{
    uint64_t left_ms;

    while (dial->current < dial->count) {
        int errno_value = dial_start(dial);
        uint64_t spent = sp_loop_now_ms(dial->loop) - dial->started_ms;

        if (errno_value) {
            dial_failed(dial, errno_value);
            continue;
        }
        left_ms = spent < dial->total_ms ? dial->total_ms - spent : 0;
        if (dial->current + 1 < dial->count && dial->attempt_ms < left_ms)
            left_ms = dial->attempt_ms;
        sp_timer_start(dial->timer, left_ms);
        return;
    }
    dial_end(dial);
}

struct sp_dial *sp_dial(struct sp_loop *loop, const struct sp_addr *addrs, size_t count,
                        const struct sp_dial_options *options, sp_dial_cb on_done, void *ctx)
{
    struct sp_dial *dial = sp_calloc(1, sizeof *dial + count * sizeof *addrs);

    dial->loop = loop;
    dial->on_done = on_done;
    dial->ctx = ctx;
    dial->attempt_ms = options && options->attempt_ms ? options->attempt_ms : DEFAULT_ATTEMPT_MS;
    dial->total_ms = options && options->total_ms ? options->total_ms : DEFAULT_TOTAL_MS;
    dial->started_ms = sp_loop_now_ms(loop);
    dial->count = count;
    if (count)
        memcpy(dial->addrs, addrs, count * sizeof *addrs);
    dial->timer = sp_timer_new(loop, on_time, dial);
    sp_task_init(&dial->tell, on_tell, dial);
    sp_error_set(&dial->error, SP_ERR_DNS, "no address to connect to");
    dial_next(dial);
    return dial;
}

void sp_dial_cancel(struct sp_dial *dial)
{
    if (dial)
        dial_free(dial);
}
