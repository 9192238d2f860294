#include "agent/plain.h"

#include "agent/client.h"
#include "agent/config.h"
#include "agent/leg.h"
#include "agent/refusal_page.h"
#include "agent/state.h"
#include "common/clock.h"
#include "common/loop.h"
#include "common/sock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ_SIZE 16384
#define HEAD_ROOM 1024 /* for what a rewritten head has more than the one before */
#define DOWN_MAX  (SP_HTTP1_RESPONSE_MAX + READ_SIZE)

struct agent_plain {
    struct agent_client *client;
    struct sp_buf *input; /* the client's: from the application */
    struct sp_sock *app;  /* NULL: not ours just now, between two requests */
    struct agent_leg *leg;
    struct sp_task after_leg;
    struct agent_refusal refusal; /* of the leg; status 0: none */

    struct sp_http1_plan plan;
    struct sp_buf
        head; /* of the request, as it is sent on; kept while it may have to be repeated */
    size_t head_sent;
    struct sp_http1_body up;
    size_t up_ready; /* bytes of the input that were scanned */
    bool app_ended;  /* it sends no more */
    bool up_failed;  /* the leg takes no more */

    struct sp_buf out;  /* heads to the application */
    struct sp_buf down; /* from the leg */
    struct sp_http1_answer answer;
    struct sp_http1_body body;
    size_t down_ready;
    bool reused;    /* the leg has served another request */
    bool heard;     /* a byte from the leg */
    bool answered;  /* the final head */
    bool leg_ended; /* the leg sends no more; for a leg that is gone: */
    bool ended_well;
    bool tunnel;  /* both ways are bytes, not HTTP */
    bool serving; /* a request: plan is that of the present one */
    bool closes;  /* the application was told that this is its last response */
};

static void begin(struct agent_plain *p);
static void pump_up(struct agent_plain *p);
static void pump_down(struct agent_plain *p);

/* ---- the leg ---- */

static void drop_leg(struct agent_plain *p)
{
    agent_leg_drop(p->leg);
    p->leg = NULL;
}

static void on_leg_refused(void *ctx, const struct agent_refusal *refusal)
{
    struct agent_plain *p = ctx;

    p->refusal = *refusal;
}

/* From inside the end of its client, when nobody else should end: so the rest comes later. */
static void on_leg_gone(void *ctx, bool ended_well)
{
    struct agent_plain *p = ctx;

    p->leg = NULL;
    p->leg_ended = true;
    p->ended_well = ended_well;
    sp_task_soon(agent_client_all(p->client)->loop, &p->after_leg);
}

static void on_leg_readable(void *ctx)
{
    struct agent_plain *p = ctx;
    struct sp_sock *sock = p->leg->sock;
    uint8_t *room;
    ssize_t n;

    if (!p->app) { /* it was kept for another request, and has ended, or is not as it should be */
        drop_leg(p);
        return;
    }
    room = sp_buf_reserve(&p->down, READ_SIZE);
    if (!room) { /* the application takes none of it */
        sp_sock_watch_read(sock, false);
        return;
    }
    n = sp_sock_read(sock, room, READ_SIZE);
    if (n == -EAGAIN)
        return;
    if (n > 0) {
        p->heard = true;
        sp_buf_commit(&p->down, (size_t)n);
    } else {
        p->leg_ended = true;
        if (n == 0 && p->tunnel) /* the other way is still open */
            sp_sock_watch_read(sock, false);
        else
            agent_leg_end(p->leg); /* how it was, its channel knows: see on_leg_gone */
    }
    pump_down(p);
}

static void on_leg_writable(void *ctx)
{
    pump_up(ctx);
}

static const struct agent_leg_callbacks leg_callbacks = {
    .on_readable = on_leg_readable,
    .on_writable = on_leg_writable,
    .on_refused = on_leg_refused,
    .on_gone = on_leg_gone,
};

/* ---- ends ---- */

static void forget_request(struct agent_plain *p)
{
    sp_buf_consume(&p->head, p->head.len);
    p->head_sent = 0;
    p->app = NULL;
    sp_task_cancel(&p->after_leg);
}

/* The application's connection ends in order, with what was written last. */
static void finish(struct agent_plain *p)
{
    drop_leg(p);
    forget_request(p);
    agent_client_finish(p->client);
}

/* The response is cut short, and must be seen to be. */
static void cut(struct agent_plain *p)
{
    agent_client_cut(p->client); /* frees us */
}

void agent_plain_say_refusal(struct agent_client *client, const struct agent_refusal *refusal,
                             const struct sp_target *destination, bool head_only)
{
    const struct agent_clients *all = agent_client_all(client);
    struct agent_state_view view = {.advice = NULL};
    char where[SP_TARGET_TEXT];
    struct agent_refusal_page page = {
        .refusal = refusal,
        .contact = agent_client_config(client)->contact,
        .destination = destination ? sp_target_format(destination, where) : NULL,
        .time = sp_clock_wall_s(),
        .form = agent_client_form(client),
        .head_only = head_only,
    };
    SP_AUTO_FREE char *text = NULL;
    size_t len;

    if (refusal->no_tunnel && all->state) {
        all->state(all->ctx, &view);
        page.advice = view.advice;
    }
    text = agent_refusal_page_format(&page, &len);
    agent_client_say(client, text, len);
}

/* In place of a response, and with a line in the log. */
static void fail(struct agent_plain *p, int status, const char *error, const char *text)
{
    struct agent_refusal refusal = {.status = status};

    if (p->answered || p->out.len) {
        cut(p);
        return;
    }
    snprintf(refusal.error, sizeof refusal.error, "%s", error);
    snprintf(refusal.text, sizeof refusal.text, "%s", text);
    drop_leg(p);
    forget_request(p);
    agent_client_refuse(p->client, &refusal);
}

static bool request_is_sent(const struct agent_plain *p)
{
    return p->up.done && !p->up_ready && p->head_sent == p->head.len;
}

/* The response is written. */
static void response_done(struct agent_plain *p)
{
    bool sent = request_is_sent(p);
    bool keep_leg =
        p->leg && !p->leg_ended && p->answer.keeps_alive && p->plan.minor > 0 && !p->down.len;

    if (!sent && p->leg && !p->up_failed && !p->app_ended && !p->closes)
        return; /* the rest of the request still goes where it belongs */
    if (!sent || p->closes || (p->app_ended && !p->input->len)) {
        finish(p);
        return;
    }
    if (keep_leg)
        sp_sock_watch_read(p->leg->sock, true);
    else
        drop_leg(p);
    sp_buf_consume(&p->down, p->down.len);
    forget_request(p);
    p->serving = false;
    agent_client_give_back(p->client);
}

static bool response_is_over(const struct agent_plain *p)
{
    return p->answered && !p->tunnel && p->body.done && !p->out.len && !p->down_ready;
}

/* ---- application -> origin ---- */

/* False: the socket takes no more for now, or for good. */
static bool write_leg(struct agent_plain *p, const uint8_t *data, size_t len, size_t *ret_taken)
{
    ssize_t n = sp_sock_write(p->leg->sock, data, len);

    *ret_taken = n > 0 ? (size_t)n : 0;
    if (n == -EAGAIN)
        sp_sock_watch_write(p->leg->sock, true);
    else if (n < 0)
        p->up_failed = true; /* why, is read from the leg or told by its end */
    return n >= 0;
}

static bool send_head(struct agent_plain *p)
{
    while (p->head_sent < p->head.len) {
        size_t taken;

        if (!write_leg(p, sp_buf_data(&p->head) + p->head_sent, p->head.len - p->head_sent, &taken))
            return false;
        p->head_sent += taken;
    }
    return true;
}

/* Scans what has come; false: it is no body. */
static bool scan_up(struct agent_plain *p)
{
    struct sp_error err;

    if (p->up_ready || !p->input->len)
        return true;
    if (p->tunnel) {
        p->up_ready = p->input->len;
        return true;
    }
    return sp_http1_body_scan(&p->up, sp_buf_data(p->input), p->input->len, &p->up_ready, &err) ==
           SP_OK;
}

/* Everything there is, as far as the leg takes it. */
static bool send_body(struct agent_plain *p)
{
    for (;;) {
        size_t taken;
        bool good = scan_up(p);

        if (!p->up_ready)
            return good;
        if (!write_leg(p, sp_buf_data(p->input), p->up_ready, &taken))
            return true;
        sp_buf_consume(p->input, taken);
        p->up_ready -= taken;
    }
}

static void pump_up(struct agent_plain *p)
{
    bool waits;

    if (!p->leg || !p->leg->sock || p->up_failed)
        return;
    sp_sock_watch_write(p->leg->sock, false);
    if (send_head(p) && !send_body(p)) {
        fail(p, 400, "http_request_error", "the body of the request is not framed as it says");
        return;
    }
    waits = p->up_ready || p->head_sent < p->head.len;
    if (p->app_ended && !waits && !p->input->len)
        sp_sock_shutdown_write(p->leg->sock);
    /* Also when the request is whole: the application may end, or send the next one. */
    sp_sock_watch_read(p->app, !p->app_ended && !p->up_failed && !waits && !p->input->len);
    if (response_is_over(p))
        response_done(p);
}

static void on_app_readable(void *ctx)
{
    struct agent_plain *p = ctx;
    uint8_t *room = sp_buf_reserve(p->input, READ_SIZE);
    ssize_t n = room ? sp_sock_read(p->app, room, READ_SIZE) : -EAGAIN;

    if (n == -EAGAIN) {
        sp_sock_watch_read(p->app, room != NULL);
        return;
    }
    if (n < 0) {
        cut(p);
        return;
    }
    if (n > 0)
        sp_buf_commit(p->input, (size_t)n);
    else
        p->app_ended = true;
    if (p->app_ended)
        sp_sock_watch_read(p->app, false);
    pump_up(p);
}

/* ---- origin -> application ---- */

/* False: the application takes no more for now, or is gone, and with it p. */
static bool write_app(struct agent_plain *p, struct sp_buf *buf, size_t *ready)
{
    while (*ready) {
        ssize_t n = sp_sock_write(p->app, sp_buf_data(buf), *ready);

        if (n == -EAGAIN) {
            sp_sock_watch_write(p->app, true);
            if (p->leg && p->leg->sock)
                sp_sock_watch_read(p->leg->sock, false);
            return false;
        }
        if (n < 0) {
            cut(p);
            return false;
        }
        sp_buf_consume(buf, (size_t)n);
        *ready -= (size_t)n;
    }
    return true;
}

static void start_tunnel(struct agent_plain *p)
{
    p->tunnel = true;
    p->answered = true;
    p->up_ready = 0;
    pump_up(p); /* what came behind the request */
}

/* A whole head is at the front of what came. False: it was refused. */
static bool take_head(struct agent_plain *p, const struct sp_http1_head *head)
{
    struct sp_error err;

    if (sp_http1_judge_answer(head, &p->plan, &p->answer, &err) != SP_OK) {
        fail(p, 502, "http_protocol_error", err.text);
        return false;
    }
    p->closes = !p->plan.keeps_alive || p->answer.framing == SP_HTTP1_UNTIL_CLOSE ||
                agent_client_all(p->client)->ending;
    if (head->status < 200 && !p->answer.is_upgrade) {
        if (p->plan.minor > 0 && sp_http1_write_answer(head, &p->answer, false, &p->out) != SP_OK) {
            cut(p);
            return false;
        }
        sp_buf_consume(&p->down, head->len);
        return true;
    }
    if (sp_http1_write_answer(head, &p->answer, p->closes, &p->out) != SP_OK) {
        cut(p);
        return false;
    }
    sp_buf_consume(&p->down, head->len);
    p->answered = true;
    sp_http1_body_init(&p->body, p->answer.framing, p->answer.length);
    if (p->answer.is_upgrade)
        start_tunnel(p);
    return true;
}

/* False: nothing more can be done now. */
static bool read_heads(struct agent_plain *p)
{
    while (!p->answered && p->down.len) {
        struct sp_http1_head head;
        struct sp_error err;
        enum sp_err rc = sp_http1_response_head(sp_buf_data(&p->down), p->down.len, &head, &err);

        if (rc == SP_AGAIN)
            return true;
        if (rc != SP_OK) {
            fail(p, 502, "http_protocol_error", err.text);
            return false;
        }
        if (!take_head(p, &head))
            return false;
    }
    return true;
}

/* False: nothing more can be done now. */
static bool relay_body(struct agent_plain *p)
{
    while (p->answered && p->down.len) {
        struct sp_error err;
        enum sp_err rc = SP_OK;

        if (p->tunnel)
            p->down_ready = p->down.len;
        else if (!p->down_ready)
            rc = sp_http1_body_scan(&p->body, sp_buf_data(&p->down), p->down.len, &p->down_ready,
                                    &err);
        if (p->down_ready && !write_app(p, &p->down, &p->down_ready))
            return false;
        if (rc != SP_OK) {
            cut(p);
            return false;
        }
        if (!p->tunnel && p->body.done)
            return true;
    }
    return true;
}

/* The channel was refused; its own line in the log says so. */
static void tell_refusal(struct agent_plain *p)
{
    agent_plain_say_refusal(p->client, &p->refusal, &p->plan.target, p->plan.is_head);
    finish(p);
}

/* The origin closed a channel that had waited for another request: that request goes by a new one,
 * which does no harm. */
static bool may_try_again(const struct agent_plain *p)
{
    return p->reused && !p->heard && p->plan.may_repeat;
}

/* The leg sends no more, and all that it sent has been dealt with. */
static void leg_is_over(struct agent_plain *p)
{
    if (p->tunnel) {
        sp_sock_shutdown_write(p->app);
        if (!p->leg && !p->ended_well)
            cut(p);
        else if (!p->leg || (p->app_ended && !p->input->len))
            finish(p);
        return;
    }
    if (p->leg) /* how it ended is not known yet */
        return;
    if (p->answered && p->body.framing == SP_HTTP1_UNTIL_CLOSE && p->ended_well)
        finish(p);
    else if (p->answered)
        cut(p);
    else if (may_try_again(p))
        begin(p);
    else if (p->refusal.status && !p->out.len)
        tell_refusal(p);
    else
        fail(p, 502, "connection_terminated",
             p->ended_well ? "the origin closed the connection without a whole answer"
                           : "the connection to the origin was lost before its answer was whole");
}

static void pump_down(struct agent_plain *p)
{
    size_t out;

    if (!read_heads(p))
        return;
    out = p->out.len;
    if (!write_app(p, &p->out, &out) || !relay_body(p))
        return;
    sp_sock_watch_write(p->app, false);
    if (response_is_over(p)) {
        response_done(p);
        return;
    }
    if (p->leg_ended) {
        leg_is_over(p);
        return;
    }
    if (p->leg)
        sp_sock_watch_read(p->leg->sock, true);
}

static void on_app_writable(void *ctx)
{
    pump_down(ctx);
}

static const struct sp_sock_callbacks app_callbacks = {on_app_readable, on_app_writable};

/* ---- life ---- */

static void begin(struct agent_plain *p)
{
    p->head_sent = 0;
    p->heard = p->leg_ended = p->ended_well = p->up_failed = false;
    p->refusal.status = 0;
    p->reused = p->leg != NULL;
    sp_buf_consume(&p->down, p->down.len);
    if (!p->leg)
        p->leg = agent_leg_open(p->client, &p->plan.target, &leg_callbacks, p);
    if (!p->leg) {
        fail(p, 503, "destination_unavailable", "the agent has no descriptors left, or is ending");
        return;
    }
    sp_sock_watch_read(p->leg->sock, true);
    pump_up(p);
}

static void after_leg(void *ctx)
{
    struct agent_plain *p = ctx;

    if (p->app && !p->leg)
        pump_down(p);
}

bool agent_plain_is_head(const struct agent_plain *p)
{
    return p->plan.is_head;
}

const struct sp_target *agent_plain_target(const struct agent_plain *p)
{
    return p->serving ? &p->plan.target : NULL;
}

struct agent_plain *agent_plain_new(struct agent_client *client)
{
    struct agent_plain *p = sp_calloc(1, sizeof *p);

    p->client = client;
    p->input = agent_client_input(client);
    sp_buf_init(&p->head, SP_HTTP1_HEAD_MAX + HEAD_ROOM);
    sp_buf_init(&p->out, 2 * SP_HTTP1_RESPONSE_MAX + HEAD_ROOM);
    sp_buf_init(&p->down, DOWN_MAX);
    sp_task_init(&p->after_leg, after_leg, p);
    return p;
}

void agent_plain_free(struct agent_plain *p)
{
    if (!p)
        return;
    drop_leg(p);
    sp_task_cancel(&p->after_leg);
    sp_buf_done(&p->head);
    sp_buf_done(&p->out);
    sp_buf_done(&p->down);
    free(p);
}

void agent_plain_serve(struct agent_plain *p, const struct sp_http1_head *head,
                       const struct sp_http1_plan *plan)
{
    enum sp_err rc;

    p->plan = *plan;
    p->serving = true;
    p->answered = p->tunnel = p->closes = p->app_ended = false;
    p->up_ready = p->down_ready = 0;
    sp_http1_body_init(&p->up, plan->framing, plan->length);
    rc = sp_http1_write_request(head, plan, &p->head);
    sp_buf_consume(p->input, head->len);
    p->app = agent_client_take(p->client, &app_callbacks, p);
    if (!p->app)
        return;
    if (rc != SP_OK) {
        fail(p, 431, "http_request_error", "the head is too long once it is rewritten");
        return;
    }
    if (p->leg && (!plan->may_repeat || !agent_leg_leads_to(p->leg, &plan->target)))
        drop_leg(p);
    begin(p);
}
