#include "agent/uplink.h"

#include "agent/backoff.h"
#include "agent/config.h"
#include "agent/link.h"
#include "common/channel.h"
#include "common/http1.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/tunnel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define REPLY_MS     30000 /* for the gateway to resolve and connect, after it has the request */
#define TRIES_MAX    3     /* tunnels that may break under a request before it is refused */
#define RECHECK_MS   50    /* while requests wait because every tunnel is at its stream limit */
#define KICK_WAIT_MS 1000  /* an application that waits may cut a backoff to this */

/* One place in the pool. Its link may be up; a link that drains has left it. */
struct slot {
    struct agent_uplink *uplink;
    struct agent_link *link; /* NULL: waiting for the timer */
    struct sp_timer *retry;
    uint64_t retry_at_ms;
    unsigned failures; /* in a row, over whole rounds of the gateways */
    size_t gateway;    /* index of the one to try */
    bool is_up;
};

struct agent_uplink {
    struct agent_uplink_options options;
    struct agent_config *config;
    struct slot *slots;
    size_t slot_count;
    size_t link_count;           /* all, those that drain too */
    struct agent_request *first; /* all requests, newest first */
    struct sp_timer *recheck;
    struct sp_error last_failure; /* kind SP_OK: none yet */
    size_t next_slot;             /* where the search for the least busy tunnel begins */
    bool retired;
};

struct agent_request {
    struct agent_uplink *uplink;
    struct agent_request *next, **prev;
    struct sp_target target;
    const struct agent_request_callbacks *callbacks;
    void *ctx;
    struct sp_channel *channel; /* NULL: waits for a tunnel */
    struct sp_timer *deadline;
    struct agent_refusal refusal; /* the gateway's, while the channel ends */
    unsigned tries;
    bool refused;
};

static void try_request(struct agent_request *request);
static void slot_connect(struct slot *slot);

/* ---- the end of an uplink ---- */

static void check_gone(struct agent_uplink *uplink)
{
    struct agent_uplink_options options = uplink->options;

    if (!uplink->retired || uplink->link_count || uplink->first)
        return;
    for (size_t i = 0; i < uplink->slot_count; i++)
        sp_timer_free(uplink->slots[i].retry);
    sp_timer_free(uplink->recheck);
    agent_config_unref(uplink->config);
    free(uplink->slots);
    free(uplink);
    options.on_gone(options.ctx);
}

/* ---- requests ---- */

static void request_free(struct agent_request *request)
{
    *request->prev = request->next;
    if (request->next)
        request->next->prev = request->prev;
    sp_timer_free(request->deadline);
    free(request);
}

static void request_refuse(struct agent_request *request, const struct agent_refusal *refusal)
{
    const struct agent_request_callbacks *callbacks = request->callbacks;
    struct agent_uplink *uplink = request->uplink;
    void *ctx = request->ctx;

    request_free(request);
    callbacks->on_refused(ctx, refusal);
    check_gone(uplink);
}

/* Why there is no tunnel, in the words of HTTP. */
static void describe_no_tunnel(const struct agent_uplink *uplink, struct agent_refusal *ret)
{
    const struct sp_error *why = &uplink->last_failure;
    char message[400];

    ret->status = 503;
    switch (why->kind) {
    case SP_OK:
        ret->status = 504;
        snprintf(ret->error, sizeof ret->error, "connection_timeout");
        snprintf(ret->text, sizeof ret->text, "no tunnel to the gateway came up in time");
        return;
    case SP_ERR_TIMEOUT:
        ret->status = 504;
        snprintf(ret->error, sizeof ret->error, "connection_timeout");
        break;
    case SP_ERR_PEER_CERT:
        snprintf(ret->error, sizeof ret->error, "tls_certificate_error");
        break;
    case SP_ERR_PEER_ALERT:
        snprintf(ret->error, sizeof ret->error, "tls_alert_received");
        break;
    case SP_ERR_TLS:
        snprintf(ret->error, sizeof ret->error, "tls_protocol_error");
        break;
    case SP_ERR_DNS:
        snprintf(ret->error, sizeof ret->error, "dns_error");
        break;
    case SP_AGAIN:
    case SP_ERR_SYS:
    case SP_ERR_UV:
    case SP_ERR_H2:
    case SP_ERR_HTTP:
    case SP_ERR_JSON:
    case SP_ERR_CONFIG:
    case SP_ERR_DENIED:
    case SP_ERR_LIMIT:
    case SP_ERR_CLOSED:
    case SP_ERR_MEMORY:
        snprintf(ret->error, sizeof ret->error, "destination_unavailable");
        break;
    }
    snprintf(ret->text, sizeof ret->text, "no tunnel to the gateway: %s",
             sp_error_message(why, message, sizeof message));
}

static void on_deadline(void *ctx)
{
    struct agent_request *request = ctx;
    struct agent_refusal refusal = {.status = 504};

    if (request->channel) {
        snprintf(refusal.error, sizeof refusal.error, "connection_timeout");
        snprintf(refusal.text, sizeof refusal.text, "the gateway did not answer within %d s",
                 REPLY_MS / 1000);
        sp_channel_set_owner(request->channel, NULL, NULL);
        sp_channel_cancel(request->channel);
    } else {
        describe_no_tunnel(request->uplink, &refusal);
    }
    request_refuse(request, &refusal);
}

static void on_reply(void *ctx, struct sp_channel *channel, int status, const char *proxy_status)
{
    struct agent_request *request = ctx;
    struct agent_uplink *uplink = request->uplink;
    const struct agent_request_callbacks *callbacks = request->callbacks;
    struct agent_refusal *refusal = &request->refusal;
    void *owner = request->ctx;

    if (status >= 200 && status <= 299) {
        sp_channel_set_owner(channel, NULL, NULL);
        request_free(request);
        callbacks->on_open(owner, channel);
        check_gone(uplink);
        return;
    }
    request->refused = true;
    refusal->status = status >= 400 && status <= 599 ? status : 502;
    sp_proxy_status_parse(proxy_status, refusal->error, sizeof refusal->error, refusal->text,
                          sizeof refusal->text);
    if (!refusal->error[0])
        snprintf(refusal->error, sizeof refusal->error, "http_request_error");
    if (!refusal->text[0])
        snprintf(refusal->text, sizeof refusal->text, "the gateway answered %d", status);
}

/* Refused, or the tunnel broke before the gateway answered: then nothing was sent, and another
 * tunnel may serve. */
static void on_channel_closed(void *ctx, struct sp_channel *channel,
                              const struct sp_channel_end *end)
{
    struct agent_request *request = ctx;
    struct agent_refusal refusal = {.status = 502, .error = "connection_terminated"};

    (void)channel;
    (void)end;
    request->channel = NULL;
    if (request->refused) {
        refusal = request->refusal;
        request_refuse(request, &refusal);
    } else if (request->tries < TRIES_MAX && !request->uplink->retired) {
        sp_timer_start(request->deadline, request->uplink->config->limits.wait_ms);
        try_request(request);
    } else {
        snprintf(refusal.text, sizeof refusal.text,
                 "the tunnel broke before the gateway had answered");
        request_refuse(request, &refusal);
    }
}

static const struct sp_channel_callbacks channel_callbacks = {on_reply, on_channel_closed};

/* The open tunnel with the fewest channels; equals take turns. */
static struct sp_tunnel *least_busy(struct agent_uplink *uplink)
{
    struct sp_tunnel *best = NULL;

    for (size_t i = 0; i < uplink->slot_count; i++) {
        struct slot *slot = &uplink->slots[(uplink->next_slot + i) % uplink->slot_count];
        struct sp_tunnel *tunnel = slot->is_up ? agent_link_tunnel(slot->link) : NULL;

        if (tunnel && sp_tunnel_can_open(tunnel) &&
            (!best || sp_tunnel_channel_count(tunnel) < sp_tunnel_channel_count(best)))
            best = tunnel;
    }
    uplink->next_slot++;
    return best;
}

static size_t tunnels_up(const struct agent_uplink *uplink)
{
    size_t up = 0;

    for (size_t i = 0; i < uplink->slot_count; i++)
        up += uplink->slots[i].is_up;
    return up;
}

/* Somebody waits and nothing is up: a long backoff is cut short. */
static void kick(struct agent_uplink *uplink)
{
    uint64_t soon = sp_loop_now_ms(uplink->options.loop) + KICK_WAIT_MS;

    for (size_t i = 0; i < uplink->slot_count; i++) {
        struct slot *slot = &uplink->slots[i];

        if (!slot->link && slot->retry_at_ms > soon) {
            slot->retry_at_ms = soon;
            sp_timer_start(slot->retry, KICK_WAIT_MS);
        }
    }
}

static void try_request(struct agent_request *request)
{
    struct agent_uplink *uplink = request->uplink;
    struct sp_tunnel *tunnel = least_busy(uplink);

    if (tunnel && sp_tunnel_open_channel(tunnel, &request->target, &channel_callbacks, request,
                                         &request->channel, NULL) == SP_OK) {
        request->tries++;
        sp_timer_start(request->deadline, REPLY_MS);
    } else if (tunnels_up(uplink)) {
        sp_timer_start(uplink->recheck, RECHECK_MS);
    } else {
        kick(uplink);
    }
}

static void try_waiting(void *ctx)
{
    struct agent_uplink *uplink = ctx;

    for (struct agent_request *r = uplink->first; r; r = r->next) {
        if (!r->channel)
            try_request(r);
    }
}

struct agent_request *agent_uplink_open(struct agent_uplink *uplink, const struct sp_target *target,
                                        const struct agent_request_callbacks *callbacks, void *ctx)
{
    struct agent_request *request = sp_calloc(1, sizeof *request);

    request->uplink = uplink;
    request->target = *target;
    request->callbacks = callbacks;
    request->ctx = ctx;
    request->deadline = sp_timer_new(uplink->options.loop, on_deadline, request);
    sp_timer_start(request->deadline, uplink->config->limits.wait_ms);
    request->next = uplink->first;
    request->prev = &uplink->first;
    if (request->next)
        request->next->prev = &request->next;
    uplink->first = request;
    try_request(request);
    return request;
}

void agent_request_cancel(struct agent_request *request)
{
    struct agent_uplink *uplink = request->uplink;

    if (request->channel) {
        sp_channel_set_owner(request->channel, NULL, NULL);
        sp_channel_cancel(request->channel);
    }
    request_free(request);
    check_gone(uplink);
}

/* ---- the pool ---- */

static void on_link_up(void *ctx, struct agent_link *link)
{
    struct slot *slot = ctx;

    (void)link;
    slot->is_up = true;
    slot->failures = 0;
    slot->uplink->last_failure.kind = SP_OK;
    try_waiting(slot->uplink);
}

static void on_link_draining(void *ctx, struct agent_link *link)
{
    struct slot *slot = ctx;

    if (slot->link != link)
        return;
    slot->link = NULL; /* goes on by itself until its channels have ended */
    slot->is_up = false;
    slot_connect(slot);
}

static void slot_wait(struct slot *slot)
{
    size_t gateways = slot->uplink->config->gateway_texts.count;
    uint32_t random = 0;
    uint32_t wait;

    slot->gateway = (slot->gateway + 1) % gateways;
    if (slot->gateway == 0 || slot->failures == 0)
        slot->failures++;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) < 0)
        random = (uint32_t)sp_loop_clock_us();
    /* Another gateway is tried at once; a whole round in vain waits longer each time. */
    wait = slot->gateway == 0 ? agent_backoff_ms(slot->failures, random) : 1;
    slot->retry_at_ms = sp_loop_now_ms(slot->uplink->options.loop) + wait;
    sp_timer_start(slot->retry, wait);
}

static void on_link_gone(void *ctx, struct agent_link *link, const struct sp_error *why,
                         bool was_up)
{
    struct slot *slot = ctx;
    struct agent_uplink *uplink = slot->uplink;

    uplink->link_count--;
    if (slot->link == link) {
        slot->link = NULL;
        slot->is_up = false;
        if (!was_up || why->kind != SP_OK)
            uplink->last_failure = *why;
        if (was_up)
            slot->failures = 0;
        if (!uplink->retired)
            slot_wait(slot);
    }
    check_gone(uplink);
}

static const struct agent_link_callbacks link_callbacks = {on_link_up, on_link_draining,
                                                           on_link_gone};

static void slot_connect(struct slot *slot)
{
    struct agent_uplink *uplink = slot->uplink;
    const struct agent_link_options options = {
        .loop = uplink->options.loop,
        .log = uplink->options.log,
        .params = uplink->options.params,
        .resolver = uplink->options.resolver,
        .config = uplink->config,
        .gateway = &uplink->config->gateways[slot->gateway],
    };

    if (uplink->retired)
        return;
    uplink->link_count++;
    slot->link = agent_link_new(&options, &link_callbacks, slot);
}

static void on_retry(void *ctx)
{
    slot_connect(ctx);
}

struct agent_uplink *agent_uplink_new(const struct agent_uplink_options *options,
                                      struct agent_config *config)
{
    struct agent_uplink *uplink = sp_calloc(1, sizeof *uplink);

    uplink->options = *options;
    uplink->config = agent_config_ref(config);
    uplink->slot_count = (size_t)config->tunnels;
    uplink->slots = sp_calloc(uplink->slot_count, sizeof *uplink->slots);
    uplink->recheck = sp_timer_new(options->loop, try_waiting, uplink);
    for (size_t i = 0; i < uplink->slot_count; i++) {
        uplink->slots[i].uplink = uplink;
        uplink->slots[i].retry = sp_timer_new(options->loop, on_retry, &uplink->slots[i]);
        slot_connect(&uplink->slots[i]);
    }
    return uplink;
}

static void stop(struct agent_uplink *uplink, bool now)
{
    struct agent_refusal refusal = {.status = 503, .error = "destination_unavailable"};
    struct agent_request *next;

    uplink->link_count++; /* holds it while we walk its lists */
    for (size_t i = 0; i < uplink->slot_count; i++) {
        struct slot *slot = &uplink->slots[i];

        sp_timer_stop(slot->retry);
        if (slot->link && now)
            agent_link_close(slot->link);
        else if (slot->link && !uplink->retired)
            agent_link_retire(slot->link);
    }
    uplink->retired = true;
    snprintf(refusal.text, sizeof refusal.text,
             "the agent is shutting down, or has taken up a new configuration");
    for (struct agent_request *r = uplink->first; r; r = next) {
        next = r->next;
        if (!r->channel)
            request_refuse(r, &refusal);
    }
    uplink->link_count--;
    check_gone(uplink);
}

void agent_uplink_retire(struct agent_uplink *uplink)
{
    stop(uplink, false);
}

void agent_uplink_close(struct agent_uplink *uplink)
{
    stop(uplink, true);
}
