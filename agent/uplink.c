#include "agent/uplink_impl.h"

#include "agent/backoff.h"
#include "agent/config.h"
#include "agent/failure.h"
#include "agent/link.h"
#include "common/loop.h"
#include "common/tunnel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define KICK_WAIT_MS 1000 /* an application that waits may cut a backoff to this */
#define STEADY_MS    5000 /* a tunnel that lived so long was a success: no backoff after it */

static void slot_connect(struct slot *slot);

/* ---- the end of an uplink ---- */

void agent_uplink_check_gone(struct agent_uplink *uplink)
{
    struct agent_uplink_options options = uplink->options;

    if (!uplink->retired || uplink->held || uplink->attempts || uplink->first)
        return;
    for (size_t i = 0; i < uplink->slot_count; i++)
        sp_timer_free(uplink->slots[i].retry);
    sp_timer_free(uplink->recheck);
    agent_config_unref(uplink->config);
    free(uplink->slots);
    free(uplink);
    options.on_gone(options.ctx);
}

/* ---- the pool ---- */

/* Equals take turns. */
struct sp_tunnel *agent_uplink_least_busy(struct agent_uplink *uplink)
{
    struct sp_tunnel *best = NULL;

    for (size_t i = 0; i < uplink->slot_count; i++) {
        struct slot *slot = &uplink->slots[(uplink->next_slot + i) % uplink->slot_count];
        struct attempt *attempt = slot->attempt;
        struct sp_tunnel *tunnel =
            attempt && attempt->is_up ? agent_link_tunnel(attempt->link) : NULL;

        if (tunnel && sp_tunnel_can_open(tunnel) &&
            (!best || sp_tunnel_channel_count(tunnel) < sp_tunnel_channel_count(best)))
            best = tunnel;
    }
    uplink->next_slot++;
    return best;
}

void agent_uplink_kick(struct agent_uplink *uplink)
{
    uint64_t soon = sp_loop_now_ms(uplink->options.loop) + KICK_WAIT_MS;

    for (size_t i = 0; i < uplink->slot_count; i++) {
        struct slot *slot = &uplink->slots[i];

        if (!slot->attempt && slot->retry_at_ms > soon) {
            slot->retry_at_ms = soon;
            sp_timer_start(slot->retry, KICK_WAIT_MS);
        }
    }
}

void agent_uplink_hope(struct agent_uplink *uplink)
{
    for (size_t i = 0; i < uplink->slot_count && !uplink->retired; i++) {
        struct slot *slot = &uplink->slots[i];

        if (slot->attempt)
            continue;
        slot->failures = 0;
        slot->retry_at_ms = sp_loop_now_ms(uplink->options.loop);
        sp_timer_start(slot->retry, 0);
    }
}

/* Its place is free: the next attempt comes later, at the next gateway. */
static void slot_wait(struct slot *slot)
{
    struct agent_uplink *uplink = slot->uplink;
    uint32_t random = 0;
    uint32_t wait = 1;

    slot->gateway = (slot->gateway + 1) % uplink->config->gateway_texts.count;
    if (slot->gateway == 0 || slot->failures == 0)
        slot->failures++;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) < 0)
        random = (uint32_t)sp_loop_clock_us();
    /* Another gateway is tried at once; a whole round in vain waits longer each time. */
    if (slot->gateway == 0)
        wait = agent_backoff_ms(slot->failures, random);
    if (wait > KICK_WAIT_MS && !agent_uplink_tunnels_up(uplink) && agent_requests_wait(uplink))
        wait = KICK_WAIT_MS;
    slot->retry_at_ms = sp_loop_now_ms(uplink->options.loop) + wait;
    sp_timer_start(slot->retry, wait);
}

/* Takes the attempt out of its place. True: it had been a success, so the next one need not wait.
 * A gateway that takes tunnels and closes them at once (a limit is reached) is no success. */
static bool slot_leave(struct slot *slot)
{
    struct attempt *attempt = slot->attempt;
    uint64_t now = sp_loop_now_ms(slot->uplink->options.loop);
    bool was_steady = attempt->is_up && now - attempt->up_ms >= STEADY_MS;

    if (was_steady)
        slot->failures = 0;
    slot->attempt = NULL;
    attempt->slot = NULL;
    return was_steady;
}

/* NULL: nobody wants to know. */
static const struct agent_observer *observer_of(const struct agent_uplink *uplink)
{
    return uplink->retired ? NULL : uplink->options.observer;
}

static void on_link_failure(void *ctx, struct agent_link *link, const struct agent_failure *failure)
{
    struct attempt *attempt = ctx;
    struct agent_uplink *uplink = attempt->uplink;
    const struct agent_observer *observer = observer_of(uplink);
    size_t up = agent_uplink_tunnels_up(uplink);

    (void)link;
    if (observer)
        observer->on_failure(uplink->options.observer_ctx, failure,
                             up - (attempt->slot && attempt->is_up));
}

static void tell_down(struct agent_uplink *uplink, const struct agent_link *link)
{
    const struct agent_observer *observer = observer_of(uplink);

    if (observer)
        observer->on_down(uplink->options.observer_ctx, agent_link_gateway(link),
                          agent_uplink_tunnels_up(uplink));
}

static void on_link_up(void *ctx, struct agent_link *link, const struct agent_success *success)
{
    struct attempt *attempt = ctx;
    struct agent_uplink *uplink = attempt->uplink;
    const struct agent_observer *observer = observer_of(uplink);

    (void)link;
    attempt->is_up = true;
    attempt->up_ms = sp_loop_now_ms(uplink->options.loop);
    uplink->last_failure.kind = SP_OK;
    if (observer)
        observer->on_up(uplink->options.observer_ctx, success, agent_uplink_tunnels_up(uplink));
    agent_requests_try(uplink);
}

static void on_link_draining(void *ctx, struct agent_link *link)
{
    struct attempt *attempt = ctx;
    struct slot *slot = attempt->slot;

    if (!slot)
        return;
    if (slot_leave(slot))
        slot_connect(slot);
    else if (!slot->uplink->retired)
        slot_wait(slot);
    tell_down(slot->uplink, link);
}

static void on_link_gone(void *ctx, struct agent_link *link, const struct sp_error *why,
                         bool was_up)
{
    struct attempt *attempt = ctx;
    struct agent_uplink *uplink = attempt->uplink;
    struct slot *slot = attempt->slot;

    if (!was_up || why->kind != SP_OK)
        uplink->last_failure = *why;
    if (slot) {
        slot_leave(slot);
        if (!uplink->retired)
            slot_wait(slot);
        if (was_up)
            tell_down(uplink, link);
    }
    *attempt->prev = attempt->next;
    if (attempt->next)
        attempt->next->prev = attempt->prev;
    free(attempt);
    agent_uplink_check_gone(uplink);
}

static const struct agent_link_callbacks link_callbacks = {
    .on_up = on_link_up,
    .on_draining = on_link_draining,
    .on_failure = on_link_failure,
    .on_gone = on_link_gone,
};

static void slot_connect(struct slot *slot)
{
    struct agent_uplink *uplink = slot->uplink;
    struct attempt *attempt;
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
    attempt = sp_calloc(1, sizeof *attempt);
    attempt->uplink = uplink;
    attempt->slot = slot;
    attempt->next = uplink->attempts;
    attempt->prev = &uplink->attempts;
    if (attempt->next)
        attempt->next->prev = &attempt->next;
    uplink->attempts = attempt;
    slot->attempt = attempt;
    attempt->link = agent_link_new(&options, &link_callbacks, attempt);
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
    uplink->last = &uplink->first;
    uplink->slot_count = (size_t)config->tunnels;
    uplink->slots = sp_calloc(uplink->slot_count, sizeof *uplink->slots);
    uplink->recheck = sp_timer_new(options->loop, agent_requests_try, uplink);
    for (size_t i = 0; i < uplink->slot_count; i++) {
        uplink->slots[i].uplink = uplink;
        uplink->slots[i].retry = sp_timer_new(options->loop, on_retry, &uplink->slots[i]);
        slot_connect(&uplink->slots[i]);
    }
    return uplink;
}

void agent_uplink_renew(struct agent_uplink *uplink, struct agent_config *config)
{
    agent_config_ref(config);
    agent_config_unref(uplink->config);
    uplink->config = config;
    for (struct attempt *attempt = uplink->attempts; attempt; attempt = attempt->next)
        agent_link_renew(attempt->link, config);
}

/* ---- its end ---- */

void agent_uplink_retire(struct agent_uplink *uplink, struct agent_uplink *heir)
{
    uplink->retired = uplink->held = true;
    for (size_t i = 0; i < uplink->slot_count; i++) {
        struct slot *slot = &uplink->slots[i];

        sp_timer_stop(slot->retry);
        if (slot->attempt)
            agent_link_retire(slot->attempt->link);
    }
    agent_requests_leave(uplink, heir);
    uplink->held = false;
    agent_uplink_check_gone(uplink);
}

void agent_uplink_close(struct agent_uplink *uplink)
{
    uplink->retired = uplink->held = true;
    for (size_t i = 0; i < uplink->slot_count; i++)
        sp_timer_stop(uplink->slots[i].retry);
    for (struct attempt *attempt = uplink->attempts; attempt; attempt = attempt->next)
        agent_link_close(attempt->link);
    agent_requests_leave(uplink, NULL);
    uplink->held = false;
    agent_uplink_check_gone(uplink);
}

size_t agent_uplink_tunnels_up(const struct agent_uplink *uplink)
{
    size_t up = 0;

    for (size_t i = 0; i < uplink->slot_count; i++)
        up += uplink->slots[i].attempt && uplink->slots[i].attempt->is_up;
    return up;
}

void agent_uplink_visit(const struct agent_uplink *uplink, agent_uplink_visit_cb visit, void *ctx)
{
    for (const struct attempt *a = uplink->attempts; a; a = a->next) {
        if (agent_link_tunnel(a->link))
            visit(ctx, a->link, !a->slot || uplink->retired);
    }
}
