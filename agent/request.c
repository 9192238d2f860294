/* request: a channel that an application asked for, until it is open or refused. */
#include "agent/uplink_impl.h"

#include "agent/config.h"
#include "common/channel.h"
#include "common/http1.h"
#include "common/loop.h"
#include "common/tunnel.h"

#include <stdio.h>
#include <stdlib.h>

#define REPLY_MS   30000 /* for the gateway to resolve and connect, after it has the request */
#define QUIET_MS   250   /* no answer for so long: is the tunnel alive? */
#define AGAIN_MS   500   /* asked again every so often */
#define TRIES_MAX  3     /* tunnels that may break under a request before it is refused */
#define RECHECK_MS 50    /* while requests wait because every tunnel is at its stream limit */

struct agent_request {
    struct agent_uplink *uplink;
    struct agent_request *next, **prev;
    struct sp_target target;
    const struct agent_request_callbacks *callbacks;
    void *ctx;
    struct sp_channel *channel;     /* NULL: waits for a tunnel */
    const struct sp_tunnel *tunnel; /* of the channel; to be compared only */
    uint64_t sent_ms, asked_ms;     /* asked_ms: when it was looked after last */
    struct sp_timer *deadline;      /* or the next doubt, while there is a channel */
    struct agent_refusal refusal;   /* the gateway's, while the channel ends */
    unsigned tries;
    bool refused;
};

static void try_request(struct agent_request *request);

static void request_link(struct agent_request *request, struct agent_uplink *uplink)
{
    request->uplink = uplink;
    request->next = NULL;
    request->prev = uplink->last;
    *uplink->last = request;
    uplink->last = &request->next;
}

static void request_unlink(struct agent_request *request)
{
    *request->prev = request->next;
    if (request->next)
        request->next->prev = request->prev;
    else
        request->uplink->last = request->prev;
}

static void request_free(struct agent_request *request)
{
    request_unlink(request);
    sp_timer_free(request->deadline);
    free(request);
}

static void request_refuse(struct agent_request *request, const struct agent_refusal *refusal)
{
    const struct agent_request_callbacks *callbacks = request->callbacks;
    struct agent_uplink *uplink = request->uplink;
    void *ctx = request->ctx;

    request_free(request);
    /* Before, since whoever is refused may be the last, and end all. */
    agent_uplink_check_gone(uplink);
    callbacks->on_refused(ctx, refusal);
}

/* Why there is no tunnel, in the words of HTTP. */
static void describe_no_tunnel(const struct agent_uplink *uplink, struct agent_refusal *ret)
{
    const struct sp_error *why = &uplink->last_failure;
    char message[400];

    ret->status = 503;
    ret->no_tunnel = true;
    if (agent_uplink_tunnels_up(uplink)) {
        snprintf(ret->error, sizeof ret->error, "connection_limit_reached");
        snprintf(ret->text, sizeof ret->text,
                 "every tunnel to the gateway has as many channels open as the gateway allows");
        return;
    }
    switch (why->kind) {
    case SP_OK:
        ret->status = 504;
        snprintf(ret->error, sizeof ret->error, "connection_timeout");
        snprintf(ret->text, sizeof ret->text, "no tunnel to the gateway came up within %llu ms",
                 (unsigned long long)uplink->config->limits.wait_ms);
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

/* A destination may take its time, a tunnel not. False: the time is over. */
static bool wait_on(struct agent_request *request)
{
    uint64_t now = sp_loop_now_ms(request->uplink->options.loop), since = request->asked_ms;
    uint64_t waited = now - request->sent_ms;

    if (waited >= REPLY_MS)
        return false;
    /* Not since it was sent: what had been on its way comes in for a while after the end. */
    request->asked_ms = now;
    agent_uplink_doubt(request->uplink, request->tunnel, since);
    sp_timer_start(request->deadline, REPLY_MS - waited < AGAIN_MS ? REPLY_MS - waited : AGAIN_MS);
    return true;
}

static void on_deadline(void *ctx)
{
    struct agent_request *request = ctx;
    struct agent_refusal refusal = {.status = 504};

    if (request->channel) {
        if (wait_on(request))
            return;
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
        agent_uplink_check_gone(uplink);
        callbacks->on_open(owner, channel);
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
    request->channel = NULL;
    if (request->refused) {
        refusal = request->refusal;
        request_refuse(request, &refusal);
    } else if (request->tries < TRIES_MAX && !request->uplink->retired) {
        sp_timer_start(request->deadline, request->uplink->config->limits.wait_ms);
        try_request(request);
    } else {
        snprintf(refusal.text, sizeof refusal.text, "%s before the gateway had answered",
                 end->how == SP_CHANNEL_TUNNEL_LOST ? "the tunnel broke" : "the channel was reset");
        request_refuse(request, &refusal);
    }
}

static const struct sp_channel_callbacks channel_callbacks = {on_reply, on_channel_closed};

static void try_request(struct agent_request *request)
{
    struct agent_uplink *uplink = request->uplink;
    struct sp_tunnel *tunnel = agent_uplink_least_busy(uplink);

    if (tunnel && sp_tunnel_open_channel(tunnel, &request->target, &channel_callbacks, request,
                                         &request->channel, NULL) == SP_OK) {
        request->tries++;
        request->tunnel = tunnel;
        request->sent_ms = request->asked_ms = sp_loop_now_ms(uplink->options.loop);
        sp_timer_start(request->deadline, QUIET_MS);
    } else if (agent_uplink_tunnels_up(uplink)) {
        sp_timer_start(uplink->recheck, RECHECK_MS);
    } else {
        agent_uplink_kick(uplink);
    }
}

void agent_requests_try(void *ctx)
{
    struct agent_uplink *uplink = ctx;

    for (struct agent_request *r = uplink->first; r; r = r->next) {
        if (!r->channel)
            try_request(r);
    }
}

void agent_requests_move(struct agent_uplink *uplink, const struct sp_tunnel *tunnel)
{
    for (struct agent_request *r = uplink->first; r; r = r->next) {
        if (!r->channel || r->tunnel != tunnel || r->refused || r->tries >= TRIES_MAX)
            continue;
        if (uplink->retired || !agent_uplink_least_busy(uplink))
            return;
        sp_channel_set_owner(r->channel, NULL, NULL);
        sp_channel_cancel(r->channel);
        r->channel = NULL;
        sp_timer_start(r->deadline, uplink->config->limits.wait_ms);
        try_request(r);
    }
}

struct agent_request *agent_uplink_open(struct agent_uplink *uplink, const struct sp_target *target,
                                        const struct agent_request_callbacks *callbacks, void *ctx)
{
    struct agent_request *request = sp_calloc(1, sizeof *request);

    request->target = *target;
    request->callbacks = callbacks;
    request->ctx = ctx;
    request->deadline = sp_timer_new(uplink->options.loop, on_deadline, request);
    sp_timer_start(request->deadline, uplink->config->limits.wait_ms);
    request_link(request, uplink);
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
    agent_uplink_check_gone(uplink);
}

bool agent_requests_wait(const struct agent_uplink *uplink)
{
    for (const struct agent_request *r = uplink->first; r; r = r->next) {
        if (!r->channel)
            return true;
    }
    return false;
}

static void hand_over(struct agent_request *request, struct agent_uplink *heir)
{
    request_unlink(request);
    request_link(request, heir);
    try_request(request);
}

void agent_requests_leave(struct agent_uplink *uplink, struct agent_uplink *heir)
{
    const struct agent_refusal refusal = {.status = 503,
                                          .error = "destination_unavailable",
                                          .text = "the agent is shutting down",
                                          .no_tunnel = true};
    struct agent_request *next;

    for (struct agent_request *r = uplink->first; r; r = next) {
        next = r->next;
        if (r->channel)
            continue;
        if (heir)
            hand_over(r, heir);
        else
            request_refuse(r, &refusal);
    }
}

void agent_uplink_end_waits(struct agent_uplink *uplink,
                            bool (*wanted)(void *ctx, const struct sp_target *target), void *ctx)
{
    for (struct agent_request *r = uplink->first; r; r = r->next)
        if (!r->channel && !r->refused && wanted(ctx, &r->target))
            sp_timer_start(r->deadline, 0);
}
