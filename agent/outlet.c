#include "agent/outlet.h"

#include "agent/client.h"
#include "agent/config.h"
#include "agent/direct.h"
#include "agent/hosts.h"
#include "common/loop.h"

#include <stdio.h>
#include <stdlib.h>

struct agent_outlet {
    struct agent_clients *clients;
    struct agent_request *request; /* through the tunnel */
    struct agent_direct *direct;
    struct sp_task refuse_soon; /* without any waiting, but still from the loop */
    const struct agent_request_callbacks *callbacks;
    void *ctx;
    struct agent_way way;
    struct agent_refusal refusal;
    struct sp_target target;
    bool is_fixed;
};

static void on_refuse_soon(void *ctx)
{
    struct agent_outlet *o = ctx;

    o->callbacks->on_refused(o->ctx, &o->refusal);
}

static void refuse_soon(struct agent_outlet *o, int status, const char *error)
{
    o->refusal.status = status;
    snprintf(o->refusal.error, sizeof o->refusal.error, "%s", error);
    sp_task_soon(o->clients->loop, &o->refuse_soon);
}

static void block(struct agent_outlet *o)
{
    char rule[AGENT_RULE_TEXT];

    snprintf(o->refusal.text, sizeof o->refusal.text, "blocked on this machine, by %s",
             agent_route_rule(*o->clients->config, &o->way, rule));
    refuse_soon(o, 403, "http_request_denied");
}

/* ---- directly ---- */

static void on_direct_open(void *ctx, struct sp_channel *channel)
{
    struct agent_outlet *o = ctx;

    o->direct = NULL;
    o->callbacks->on_open(o->ctx, channel);
}

static void on_direct_refused(void *ctx, const struct agent_refusal *refusal)
{
    struct agent_outlet *o = ctx;

    o->direct = NULL;
    o->callbacks->on_refused(o->ctx, refusal);
}

static void go_direct(struct agent_outlet *o)
{
    static const struct agent_request_callbacks callbacks = {on_direct_open, on_direct_refused};
    const struct agent_direct_options options = {
        .loop = o->clients->loop,
        .resolver = o->clients->resolver,
        .hosts = o->clients->hosts,
    };

    o->direct = agent_direct_open(&options, &o->target, &callbacks, o);
}

/* ---- through the tunnel ---- */

static void on_tunnel_open(void *ctx, struct sp_channel *channel)
{
    struct agent_outlet *o = ctx;

    o->request = NULL;
    o->callbacks->on_open(o->ctx, channel);
}

static void on_tunnel_refused(void *ctx, const struct agent_refusal *refusal)
{
    struct agent_outlet *o = ctx;
    struct agent_clients *clients = o->clients;
    const char *rule;

    o->request = NULL;
    if (refusal->no_tunnel && !o->is_fixed && clients->fall_back &&
        clients->fall_back(clients->ctx, &o->target, refusal, &rule)) {
        o->way = (struct agent_way){.via = AGENT_VIA_DIRECT, .route = -1, .words = rule};
        go_direct(o);
        return;
    }
    o->callbacks->on_refused(o->ctx, refusal);
}

static void go_by_tunnel(struct agent_outlet *o)
{
    static const struct agent_request_callbacks callbacks = {on_tunnel_open, on_tunnel_refused};

    if (o->clients->uplink) {
        o->request = agent_uplink_open(o->clients->uplink, &o->target, &callbacks, o);
        return;
    }
    snprintf(o->refusal.text, sizeof o->refusal.text, "the agent is shutting down");
    refuse_soon(o, 503, "destination_unavailable");
}

/* ---- life ---- */

struct agent_outlet *agent_outlet_open(struct agent_clients *clients,
                                       const struct agent_route_question *question,
                                       const struct agent_request_callbacks *callbacks, void *ctx)
{
    struct agent_outlet *o = sp_calloc(1, sizeof *o);
    struct agent_route_question whole = *question;
    const char *rule;

    o->clients = clients;
    o->callbacks = callbacks;
    o->ctx = ctx;
    o->target = *question->target;
    o->is_fixed = question->fixed;
    sp_task_init(&o->refuse_soon, on_refuse_soon, o);
    agent_hosts_refresh(clients->hosts);
    whole.hosts = clients->hosts;
    o->way = agent_route_decide(*clients->config, &whole);
    if (o->way.via == AGENT_VIA_TUNNEL && !o->is_fixed && clients->direct_instead &&
        clients->direct_instead(clients->ctx, &o->target, &o->way, &rule))
        o->way = (struct agent_way){.via = AGENT_VIA_DIRECT, .route = -1, .words = rule};
    switch (o->way.via) {
    case AGENT_VIA_TUNNEL:
        go_by_tunnel(o);
        break;
    case AGENT_VIA_DIRECT:
        go_direct(o);
        break;
    case AGENT_VIA_BLOCK:
        block(o);
        break;
    }
    return o;
}

struct agent_way agent_outlet_way(const struct agent_outlet *o)
{
    return o->way;
}

void agent_outlet_free(struct agent_outlet *o)
{
    if (!o)
        return;
    if (o->request)
        agent_request_cancel(o->request);
    agent_direct_cancel(o->direct);
    sp_task_cancel(&o->refuse_soon);
    free(o);
}
