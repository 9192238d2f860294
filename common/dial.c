#include "common/dial.h"
#include "common/loop.h"
#include "common/sock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_DELAY_MS 250 /* RFC 8305 section 8: Connection Attempt Delay */
#define DEFAULT_TOTAL_MS 10000

/* One address. */
struct
try {
    struct sp_dial *dial;
    struct sp_sock *sock; /* connecting; NULL: not begun, or failed */
    struct sp_addr addr;
};

struct sp_dial {
    struct sp_loop *loop;
    struct sp_timer *timer; /* the next attempt's beginning, or the whole dial's end */
    struct sp_task tell;    /* a failure is always told from here */
    struct try *winner;     /* connected; NULL: it failed */
    sp_dial_cb on_done;
    void *ctx;
    unsigned delay_ms, total_ms;
    uint64_t started_ms;
    struct sp_error error;
    size_t count, begun, live; /* begun: of count; live: of these, still connecting */
    struct try tries[];
};

static void dial_go_on(struct sp_dial *dial);

static void dial_free(struct sp_dial *dial)
{
    sp_task_cancel(&dial->tell);
    sp_timer_free(dial->timer);
    for (size_t i = 0; i < dial->begun; i++)
        sp_sock_close(dial->tries[i].sock);
    free(dial);
}

/* From the loop only. */
static void dial_tell(struct sp_dial *dial)
{
    struct sp_addr addr = {.port = 0};
    struct sp_error error = {.kind = SP_OK};
    sp_dial_cb on_done = dial->on_done;
    void *owner = dial->ctx;
    struct sp_sock *sock = NULL;

    if (dial->winner) {
        addr = dial->winner->addr;
        sock = dial->winner->sock;
        sp_sock_watch_write(sock, false);
        dial->winner->sock = NULL;
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

static void note_failure(struct try *try, int errno_value)
{
    struct sp_error *error = &try->dial->error;
    char text[SP_ADDR_TEXT];

    sp_error_sys(error, errno_value, "%s", sp_addr_format(&try->addr, text));
    if (errno_value == ETIMEDOUT) /* the kernel gave up before we did */
        error->kind = SP_ERR_TIMEOUT;
}

/* The time of all is over. */
static void dial_is_late(struct sp_dial *dial)
{
    const struct try *waits = NULL;
    char text[SP_ADDR_TEXT];

    for (size_t i = 0; i < dial->begun; i++) {
        if (dial->tries[i].sock && !waits)
            waits = &dial->tries[i];
    }
    SP_REQUIRE(waits);
    sp_error_code(&dial->error, SP_ERR_TIMEOUT, ETIMEDOUT, "%s: no answer within %u ms",
                  sp_addr_format(&waits->addr, text), dial->total_ms);
    dial_end(dial);
}

static void on_time(void *ctx)
{
    struct sp_dial *dial = ctx;

    if (sp_loop_now_ms(dial->loop) - dial->started_ms >= dial->total_ms)
        dial_is_late(dial);
    else
        dial_go_on(dial);
}

/* A connection to a free port of this host's own ephemeral range can meet itself: nobody listens
 * there, and while it lives nobody can. */
static bool is_connected_to_itself(const struct try *try)
{
    struct sp_addr local;

    return sp_sock_local(try->sock, &local) && local.port == try->addr.port &&
           sp_ip_equal(&local.ip, &try->addr.ip);
}

static void on_connected(void *ctx)
{
    struct try *try = ctx;
    struct sp_dial *dial = try->dial;
    int errno_value = sp_sock_has_failed(try->sock) ? sp_sock_error(try->sock) : 0;

    if (dial->tell.prev)
        return; /* it is over, and will be told at once */
    if (!errno_value && is_connected_to_itself(try))
        errno_value = ECONNREFUSED;
    if (!errno_value) {
        dial->winner = try;
        dial_tell(dial);
        return;
    }
    sp_sock_close(try->sock);
    try->sock = NULL;
    dial->live--;
    note_failure(try, errno_value);
    dial_go_on(dial);
}

/* Starts to connect: 0, or the errno that ended it at once. */
static int try_begin(struct try *try)
{
    static const struct sp_sock_callbacks callbacks = {.on_writable = on_connected};
    struct sp_error err;

    if (sp_sock_connect(try->dial->loop, &try->addr, &callbacks, try, &try->sock, &err) != SP_OK)
        return err.code;
    sp_sock_watch_write(try->sock, true);
    return 0;
}

/* Begins with the next address that does not fail at once, if there is one. */
static void dial_go_on(struct sp_dial *dial)
{
    uint64_t spent = sp_loop_now_ms(dial->loop) - dial->started_ms;
    uint64_t wait_ms = spent < dial->total_ms ? dial->total_ms - spent : 0;
    bool has_begun = false;

    while (!has_begun && dial->begun < dial->count) {
        struct try *try = &dial->tries[dial->begun++];
        int errno_value = try_begin(try);

        if (errno_value)
            note_failure(try, errno_value);
        has_begun = !errno_value;
        dial->live += has_begun;
    }
    if (!dial->live) {
        dial_end(dial);
        return;
    }
    if (dial->begun < dial->count && dial->delay_ms < wait_ms)
        wait_ms = dial->delay_ms;
    sp_timer_start(dial->timer, wait_ms);
}

struct sp_dial *sp_dial(struct sp_loop *loop, const struct sp_addr *addrs, size_t count,
                        const struct sp_dial_options *options, sp_dial_cb on_done, void *ctx)
{
    struct sp_dial *dial = sp_calloc(1, sizeof *dial + count * sizeof dial->tries[0]);

    dial->loop = loop;
    dial->on_done = on_done;
    dial->ctx = ctx;
    dial->delay_ms = options && options->delay_ms ? options->delay_ms : DEFAULT_DELAY_MS;
    dial->total_ms = options && options->total_ms ? options->total_ms : DEFAULT_TOTAL_MS;
    dial->started_ms = sp_loop_now_ms(loop);
    dial->count = count;
    for (size_t i = 0; i < count; i++) {
        dial->tries[i].dial = dial;
        dial->tries[i].addr = addrs[i];
    }
    dial->timer = sp_timer_new(loop, on_time, dial);
    sp_task_init(&dial->tell, on_tell, dial);
    if (!count)
        sp_error_set(&dial->error, SP_ERR_DNS, "no address to connect to");
    dial_go_on(dial);
    return dial;
}

void sp_dial_cancel(struct sp_dial *dial)
{
    if (dial)
        dial_free(dial);
}
