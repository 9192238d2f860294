#include "agent/client.h"

#include "agent/config.h"
#include "agent/outlet.h"
#include "agent/owner.h"
#include "agent/refusal_page.h"
#include "common/channel.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/sock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINGER_MS  1000
#define SURPLUS_MS 1000
#define READ_SIZE  16384
#define ANSWER_MS  10000 /* for the application to take any of it */

enum state { ASKING, WAITING, RELAYING, TAKEN, ANSWERING, HANGING_UP };

struct agent_client {
    struct agent_clients *all;
    struct agent_client *next, **prev;
    const struct agent_door_kind *kind;
    const struct agent_door *door;
    struct agent_config *config;
    struct agent_outlet *outlet; /* until the channel is open */
    struct sp_channel *channel;
    struct sp_sock *sock;
    struct sp_timer *deadline;
    struct sp_buf input;
    struct sp_target target;
    struct agent_visitor visitor; /* without .unwelcome, .user */
    struct agent_way way;         /* if has_way */
    char *user, *alt_name;        /* NULL: unknown */
    struct agent_refusal refusal; /* status 0: not refused */
    uint64_t started_ms;
    enum state state;
    bool has_target, has_way;
    bool unwelcome; /* and `refusal` says why */
    bool too_many;
    bool is_inner, ended_well; /* see agent_client_inner */
    bool asked_before;
    enum agent_form form;
    void *door_state;
    char *answer; /* see agent_client_answer */
    size_t answer_len, answer_sent;
};

/* ---- the log, the end ---- */

static void log_end(const struct agent_client *c, const struct sp_channel_end *end)
{
    char text[SP_TARGET_TEXT], rule[AGENT_RULE_TEXT];
    struct sp_log_line line;

    if (c->refusal.support_id[0])
        agent_tally_refused(&c->all->tally, &c->refusal, c->has_target ? &c->target : NULL,
                            sp_clock_wall_s());
    /* Of those who are too many the `limit` line tells. */
    if (c->too_many || !sp_log_begin(&line, c->all->log, SP_LOG_INFO, "channel"))
        return;
    sp_log_str(&line, "door", c->kind->name);
    sp_log_str(&line, "client",
               c->visitor.addr.ip.family ? sp_addr_format(&c->visitor.addr, text) : "unix");
    if (c->visitor.uid != AGENT_NO_UID)
        sp_log_int(&line, "uid", c->visitor.uid);
    if (c->has_target)
        sp_log_str(&line, "destination", sp_target_format(&c->target, text));
    sp_log_str(&line, "name", c->alt_name);
    sp_log_str(&line, "user", c->user);
    if (c->has_way) {
        sp_log_str(&line, "via", agent_via_name(c->way.via));
        sp_log_str(&line, "rule", agent_route_rule(c->config, &c->way, rule));
    }
    sp_log_int(&line, "bytes_up", end ? (int64_t)end->bytes_out : 0);
    sp_log_int(&line, "bytes_down", end ? (int64_t)end->bytes_in : 0);
    sp_log_int(&line, "duration_ms", (int64_t)(sp_loop_now_ms(c->all->loop) - c->started_ms));
    sp_log_str(&line, "how", sp_channel_how_name(end ? end->how : SP_CHANNEL_REFUSED));
    if (c->refusal.status) {
        sp_log_int(&line, "status", c->refusal.status);
        sp_log_str(&line, "error", c->refusal.error[0] ? c->refusal.error : NULL);
        sp_log_str(&line, "detail", c->refusal.text);
        if (c->refusal.support_id[0])
            sp_log_str(&line, "support_id", c->refusal.support_id);
    }
    sp_log_end(&line);
}

static void client_free(struct agent_client *c)
{
    struct agent_clients *all = c->all;

    *c->prev = c->next;
    if (c->next)
        c->next->prev = c->prev;
    all->count--;
    all->inner_count -= c->is_inner;
    all->unwelcome_count -= c->unwelcome;
    if (c->kind->done)
        c->kind->done(c);
    agent_outlet_free(c->outlet);
    sp_timer_free(c->deadline);
    sp_sock_close(c->sock);
    sp_buf_done(&c->input);
    free(c->answer);
    free(c->user);
    free(c->alt_name);
    agent_config_unref(c->config);
    free(c);
    if (!all->count)
        all->on_empty(all->ctx);
}

static void on_channel_closed(void *ctx, struct sp_channel *channel,
                              const struct sp_channel_end *end)
{
    struct agent_client *c = ctx;

    (void)channel;
    c->ended_well = end->how == SP_CHANNEL_DONE;
    c->all->tally.bytes_up += end->bytes_out;
    c->all->tally.bytes_down += end->bytes_in;
    log_end(c, end);
    client_free(c);
}

static const struct sp_channel_callbacks channel_callbacks = {.on_closed = on_channel_closed};

/* ---- the socket, while it is ours ---- */

static void on_readable(void *ctx)
{
    struct agent_client *c = ctx;
    uint8_t *room = c->state == ASKING ? sp_buf_reserve(&c->input, READ_SIZE) : NULL;
    ssize_t n = sp_sock_read(c->sock, room ? room : sp_loop_scratch(c->all->loop), READ_SIZE);

    if (n == -EAGAIN)
        return;
    if (n == 0 && c->state == ANSWERING) { /* it only listens from now on */
        sp_sock_watch_read(c->sock, false);
        return;
    }
    if (n == 0 && c->state == ASKING && c->kind->on_end) {
        sp_sock_watch_read(c->sock, false);
        c->kind->on_end(c);
        return;
    }
    if (n <= 0) { /* it went before it got anything */
        if (c->state == ASKING && c->unwelcome) {
            log_end(c, NULL);
        } else if (c->state == ASKING && (c->input.len || n < 0)) {
            snprintf(c->refusal.text, sizeof c->refusal.text, "the application went away");
            c->refusal.status = 499;
            log_end(c, NULL);
        }
        client_free(c);
        return;
    }
    if (!room) /* what it still sends is not read by anybody */
        return;
    sp_buf_commit(&c->input, (size_t)n);
    c->kind->on_input(c);
}

static void on_writable(void *ctx)
{
    struct agent_client *c = ctx;

    while (c->answer_sent < c->answer_len) {
        ssize_t n =
            sp_sock_write(c->sock, c->answer + c->answer_sent, c->answer_len - c->answer_sent);

        if (n == -EAGAIN) {
            sp_sock_watch_write(c->sock, true);
            return;
        }
        if (n < 0) {
            client_free(c);
            return;
        }
        c->answer_sent += (size_t)n;
        sp_timer_start(c->deadline, ANSWER_MS);
    }
    agent_client_finish(c);
}

static const struct sp_sock_callbacks sock_callbacks = {on_readable, on_writable};

const struct agent_refusal agent_client_too_many = {
    .status = 503,
    .error = "connection_limit_reached",
    .text = "the agent has as many connections as limits.connections lets it have"};

static void on_deadline(void *ctx)
{
    static const struct agent_refusal late = {
        .status = 408, .error = "http_request_error", .text = "no whole request in time"};
    struct agent_client *c = ctx;

    if (c->state == ASKING && !(c->asked_before && !c->input.len))
        agent_client_refuse(c, c->unwelcome ? &c->refusal : &late);
    else
        client_free(c);
}

void agent_client_read(struct agent_client *c)
{
    sp_timer_start(c->deadline, c->unwelcome ? SURPLUS_MS : AGENT_CLIENT_ASK_MS);
    sp_sock_watch_read(c->sock, true);
}

void agent_client_say(struct agent_client *c, const void *text, size_t len)
{
    /* A fresh socket takes far more than any answer of a door; a peer that is gone shows later. */
    ssize_t n = sp_sock_write(c->sock, text, len);

    (void)n;
}

void agent_client_refuse(struct agent_client *c, const struct agent_refusal *refusal)
{
    c->refusal = *refusal;
    if (!c->refusal.support_id[0])
        agent_refusal_page_id(c->refusal.support_id);
    if (c->kind->on_refused) {
        c->kind->on_refused(c, &c->refusal);
        return;
    }
    log_end(c, NULL);
    sp_sock_reset(c->sock);
    c->sock = NULL;
    client_free(c);
}

void agent_client_finish(struct agent_client *c)
{
    c->state = HANGING_UP;
    sp_sock_set_owner(c->sock, &sock_callbacks, c);
    sp_sock_watch_write(c->sock, false);
    sp_sock_shutdown_write(c->sock);
    sp_sock_watch_read(c->sock, true);
    sp_timer_start(c->deadline, LINGER_MS);
}

void agent_client_hang_up(struct agent_client *c)
{
    log_end(c, NULL);
    agent_client_finish(c);
}

/* ---- the channel ---- */

/* The outlet has done what it can. */
static void leave_outlet(struct agent_client *c)
{
    c->way = agent_outlet_way(c->outlet);
    agent_outlet_free(c->outlet);
    c->outlet = NULL;
}

static void on_open(void *ctx, struct sp_channel *channel)
{
    struct agent_client *c = ctx;
    struct sp_sock *sock = c->sock;

    leave_outlet(c);
    c->channel = channel;
    c->state = RELAYING;
    c->all->tally.channels++;
    c->kind->on_open(c);
    sp_channel_set_owner(channel, &channel_callbacks, c);
    c->sock = NULL;
    sp_channel_attach(channel, sock, sp_buf_data(&c->input), c->input.len);
    sp_buf_done(&c->input);
    sp_timer_free(c->deadline);
    c->deadline = NULL;
}

static void on_refused(void *ctx, const struct agent_refusal *refusal)
{
    struct agent_client *c = ctx;
    struct agent_refusal copy = *refusal;

    leave_outlet(c);
    agent_client_refuse(c, &copy);
}

static const struct agent_request_callbacks request_callbacks = {on_open, on_refused};

static bool refuse_unwelcome(struct agent_client *c)
{
    bool unwelcome = c->unwelcome; /* it may be gone in a moment */

    if (unwelcome)
        agent_client_refuse(c, &c->refusal);
    return unwelcome;
}

void agent_client_answer(struct agent_client *c, char *text, size_t len)
{
    if (refuse_unwelcome(c)) {
        free(text);
        return;
    }
    c->state = ANSWERING;
    c->answer = text;
    c->answer_len = len;
    sp_timer_start(c->deadline, ANSWER_MS);
    on_writable(c);
}

bool agent_client_local(const struct agent_client *c, struct sp_addr *ret_addr)
{
    return c->sock && sp_sock_local(c->sock, ret_addr);
}

void agent_client_connect(struct agent_client *c, const struct sp_target *target)
{
    struct agent_route_question question = {
        .door = c->door->name,
        .user = c->user,
        .alt_name = c->alt_name,
        .fixed = c->door->type == AGENT_DOOR_FORWARD,
    };

    if (refuse_unwelcome(c))
        return;
    c->state = WAITING;
    c->target = *target;
    c->has_target = true;
    sp_timer_stop(c->deadline);
    sp_sock_watch_read(c->sock, false);
    question.target = target;
    c->outlet = agent_outlet_open(c->all, &question, &request_callbacks, c);
    c->way = agent_outlet_way(c->outlet);
    c->has_way = true;
}

/* ---- a door that relays by itself ---- */

struct sp_sock *agent_client_take(struct agent_client *c, const struct sp_sock_callbacks *callbacks,
                                  void *ctx)
{
    if (refuse_unwelcome(c))
        return NULL;
    c->state = TAKEN; /* its socket is guarded since it was accepted, as a channel's is */
    c->asked_before = true;
    sp_timer_stop(c->deadline);
    sp_sock_watch_read(c->sock, false);
    sp_sock_set_owner(c->sock, callbacks, ctx);
    return c->sock;
}

void agent_client_give_back(struct agent_client *c)
{
    if (c->all->ending) {
        agent_client_finish(c);
        return;
    }
    c->state = ASKING;
    sp_sock_set_owner(c->sock, &sock_callbacks, c);
    sp_sock_watch_write(c->sock, false);
    sp_sock_watch_read(c->sock, true);
    sp_timer_start(c->deadline, c->input.len ? AGENT_CLIENT_ASK_MS : AGENT_CLIENT_IDLE_MS);
    if (c->input.len)
        c->kind->on_input(c);
}

void agent_client_cut(struct agent_client *c)
{
    sp_sock_reset(c->sock);
    c->sock = NULL;
    client_free(c);
}

bool agent_client_ended_well(const struct agent_client *c)
{
    return c->ended_well;
}

struct agent_clients *agent_client_all(const struct agent_client *c)
{
    return c->all;
}

/* ---- life ---- */

/* is_inner: fd is an end of a socket pair, which has inherited nothing from any listener. */
static struct agent_client *client_new(struct agent_clients *clients, int fd, bool is_inner,
                                       const struct agent_visitor *visitor,
                                       const struct agent_door_kind *kind,
                                       const struct agent_door *door, struct agent_config *config)
{
    struct agent_client *c = sp_calloc(1, sizeof *c);
    struct sp_error err;
    enum sp_err rc;

    c->all = clients;
    c->kind = kind;
    c->door = door;
    c->started_ms = sp_loop_now_ms(clients->loop);
    rc = is_inner ? sp_sock_new(clients->loop, fd, &sock_callbacks, c, &c->sock, &err)
                  : sp_sock_accepted(clients->loop, fd, true, &sock_callbacks, c, &c->sock, &err);
    if (rc != SP_OK) {
        sp_log_message(clients->log, SP_LOG_ERROR, "trouble", "%s", err.text);
        close(fd);
        free(c);
        return NULL;
    }
    c->config = agent_config_ref(config);
    c->visitor = *visitor;
    c->unwelcome = visitor->unwelcome != NULL;
    if (c->unwelcome)
        c->refusal = *visitor->unwelcome;
    c->too_many = visitor->unwelcome == &agent_client_too_many;
    c->visitor.unwelcome = NULL;
    c->visitor.user = NULL;
    agent_client_set_user(c, visitor->user);
    sp_buf_init(&c->input, AGENT_CLIENT_INPUT_MAX);
    c->deadline = sp_timer_new(clients->loop, on_deadline, c);
    c->next = clients->first;
    c->prev = &clients->first;
    if (c->next)
        c->next->prev = &c->next;
    clients->first = c;
    clients->count++;
    clients->inner_count += is_inner;
    clients->unwelcome_count += c->unwelcome;
    c->is_inner = is_inner;
    return c;
}

struct agent_client *agent_client_inner(struct agent_client *outer,
                                        const struct agent_door_kind *kind, void *state,
                                        const struct sp_target *target, int *ret_fd)
{
    struct agent_client *c;
    int pair[2];

    if (!outer->all->uplink)
        return NULL;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
        return NULL;
    c = client_new(outer->all, pair[0], true, &outer->visitor, kind, outer->door, outer->config);
    if (!c) {
        close(pair[1]);
        return NULL;
    }
    c->door_state = state;
    agent_client_set_user(c, outer->user);
    *ret_fd = pair[1];
    agent_client_connect(c, target);
    return c;
}

void agent_client_start(struct agent_clients *clients, int fd, const struct agent_visitor *visitor,
                        const struct agent_door_kind *kind, const struct agent_door *door,
                        struct agent_config *config)
{
    struct agent_client *c = client_new(clients, fd, false, visitor, kind, door, config);

    if (c && c->unwelcome && !kind->on_refused)
        agent_client_refuse(c, &c->refusal);
    else if (c)
        kind->start(c);
}

void agent_clients_dismiss_idle(struct agent_clients *clients)
{
    struct agent_client *next;

    clients->ending = true;
    for (struct agent_client *c = clients->first; c; c = next) {
        next = c->next;
        if (c->state == ASKING && !c->input.len)
            client_free(c);
    }
}

void agent_clients_close(struct agent_clients *clients)
{
    static const struct agent_refusal ending = {
        .status = 503, .error = "destination_unavailable", .text = "the agent is shutting down"};
    struct agent_client *next;

    for (struct agent_client *c = clients->first; c; c = next) {
        next = c->next;
        if (c->channel) {
            sp_channel_cancel(c->channel); /* on_channel_closed follows */
            continue;
        }
        if (c->state == WAITING) { /* else nothing was asked for, or its line is written */
            c->refusal = ending;
            log_end(c, NULL);
        }
        if (c->state == TAKEN)
            agent_client_cut(c); /* its response is not whole */
        else
            client_free(c);
    }
}

void agent_clients_tally(const struct agent_clients *clients, struct agent_tally *ret)
{
    *ret = clients->tally;
    ret->open = 0;
    for (const struct agent_client *c = clients->first; c; c = c->next) {
        struct sp_channel_end so_far;

        if (!c->channel)
            continue;
        sp_channel_so_far(c->channel, &so_far);
        ret->open++;
        ret->bytes_up += so_far.bytes_out;
        ret->bytes_down += so_far.bytes_in;
    }
}

enum agent_form agent_client_form(const struct agent_client *c)
{
    return c->form;
}

void agent_client_set_form(struct agent_client *c, enum agent_form form)
{
    c->form = form;
}

const struct sp_target *agent_client_target(const struct agent_client *c)
{
    return c->has_target ? &c->target : NULL;
}

const struct agent_config *agent_client_config(const struct agent_client *c)
{
    return c->config;
}

const struct agent_door *agent_client_door(const struct agent_client *c)
{
    return c->door;
}

const struct agent_visitor *agent_client_visitor(const struct agent_client *c)
{
    return &c->visitor;
}

void *agent_client_state(const struct agent_client *c)
{
    return c->door_state;
}

void agent_client_set_state(struct agent_client *c, void *state)
{
    c->door_state = state;
}

void agent_client_become(struct agent_client *c, const struct agent_door_kind *kind)
{
    c->kind = kind;
    kind->on_input(c);
}

struct sp_buf *agent_client_input(struct agent_client *c)
{
    return &c->input;
}

const char *agent_client_user(const struct agent_client *c)
{
    return c->user;
}

void agent_client_set_user(struct agent_client *c, const char *user)
{
    free(c->user);
    c->user = user ? sp_strdup(user) : NULL;
}

void agent_client_set_alt_name(struct agent_client *c, const char *name)
{
    free(c->alt_name);
    c->alt_name = name ? sp_strdup(name) : NULL;
}
