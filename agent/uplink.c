#include "agent/uplink_impl.h"

#include "agent/config.h"
#include "agent/failure.h"
#include "agent/link.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/tunnel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define KICK_WAIT_MS 1000 /* an application that waits may cut a backoff to this */
#define BIT(index)   (UINT32_C(1) << (index))

static uint64_t now_ms(const struct agent_uplink *uplink)
{
    return sp_loop_now_ms(uplink->options.loop);
}

uint32_t agent_uplink_random(void)
{
    uint32_t random = 0;

    if (getrandom(&random, sizeof random, GRND_NONBLOCK) < 0)
        random = (uint32_t)sp_loop_clock_us();
    return random;
}

/* ---- the end of an uplink ---- */

void agent_uplink_check_gone(struct agent_uplink *uplink)
{
    struct agent_uplink_options options = uplink->options;

    if (!uplink->retired || uplink->held || uplink->attempts || uplink->first)
        return;
    for (size_t i = 0; i < uplink->slot_count; i++)
        sp_timer_free(uplink->slots[i].timer);
    sp_timer_free(uplink->recheck);
    agent_config_unref(uplink->config);
    free(uplink->slots);
    free(uplink);
    options.on_gone(options.ctx);
}

/* ---- the pool ---- */

static bool is_reliable(const struct attempt *attempt)
{
    return attempt && !attempt->is_doubted;
}

/* Equals take turns. */
struct sp_tunnel *agent_uplink_least_busy(struct agent_uplink *uplink)
{
    struct sp_tunnel *best = NULL;

    for (size_t i = 0; i < uplink->slot_count; i++) {
        const struct slot *slot = &uplink->slots[(uplink->next_slot + i) % uplink->slot_count];
        struct sp_tunnel *tunnel =
            is_reliable(slot->serving) ? agent_link_tunnel(slot->serving->link) : NULL;

        if (tunnel && sp_tunnel_can_open(tunnel) &&
            (!best || sp_tunnel_channel_count(tunnel) < sp_tunnel_channel_count(best)))
            best = tunnel;
    }
    uplink->next_slot++;
    return best;
}

size_t agent_uplink_tunnels_up(const struct agent_uplink *uplink)
{
    size_t up = 0;

    for (size_t i = 0; i < uplink->slot_count; i++)
        up += is_reliable(uplink->slots[i].serving);
    return up;
}

/* ---- attempts ---- */

static void slot_timer(struct slot *slot, uint64_t at_ms)
{
    uint64_t now = now_ms(slot->uplink);

    slot->timer_at_ms = at_ms;
    if (at_ms == AGENT_GATEWAY_NEVER)
        sp_timer_stop(slot->timer);
    else
        sp_timer_start(slot->timer, at_ms > now ? at_ms - now : 0);
}

void agent_uplink_kick(struct agent_uplink *uplink)
{
    uint64_t soon = now_ms(uplink) + KICK_WAIT_MS;

    agent_gateways_hurry(&uplink->gateways, soon);
    for (size_t i = 0; i < uplink->slot_count; i++) {
        struct slot *slot = &uplink->slots[i];

        if (slot->timer_at_ms != AGENT_GATEWAY_NEVER && slot->timer_at_ms > soon)
            slot_timer(slot, soon);
    }
}

void agent_uplink_hope(struct agent_uplink *uplink)
{
    uint64_t now = now_ms(uplink);

    agent_gateways_hurry(&uplink->gateways, now);
    for (size_t i = 0; i < uplink->slot_count && !uplink->retired; i++) {
        struct slot *slot = &uplink->slots[i];

        if (!slot->serving && !slot->tried)
            slot_timer(slot, now);
    }
}

const struct agent_observer *agent_uplink_observer(const struct agent_uplink *uplink)
{
    return uplink->retired ? NULL : uplink->options.observer;
}

static void tell_down(struct agent_uplink *uplink, const struct agent_link *link)
{
    const struct agent_observer *observer = agent_uplink_observer(uplink);

    if (observer)
        observer->on_down(uplink->options.observer_ctx, agent_link_gateway(link),
                          agent_uplink_tunnels_up(uplink));
}

/* Out of its place. */
static void leave(struct attempt *attempt)
{
    struct slot *slot = attempt->slot;

    if (slot && attempt->role == ATTEMPT_TRIES)
        slot->tried &= ~BIT(attempt->gateway);
    if (slot && slot->serving == attempt)
        slot->serving = NULL;
    attempt->slot = NULL;
    attempt->role = ATTEMPT_LEAVES;
    attempt->asked_ms = 0;
    sp_timer_free(attempt->hold);
    attempt->hold = NULL;
}

void agent_uplink_drop(struct attempt *attempt)
{
    bool served = attempt->role == ATTEMPT_SERVES;

    leave(attempt);
    if (served)
        tell_down(attempt->uplink, attempt->link);
    agent_link_retire(attempt->link);
}

void agent_uplink_drop_tries(struct slot *slot, uint32_t keep)
{
    for (struct attempt *a = slot->uplink->attempts; a; a = a->next) {
        if (a->slot == slot && a->role == ATTEMPT_TRIES && !(keep & BIT(a->gateway)))
            agent_uplink_drop(a);
    }
}

void agent_uplink_race(struct slot *slot)
{
    struct agent_uplink *uplink = slot->uplink;
    uint64_t now = now_ms(uplink), at;
    size_t next;

    if (uplink->retired || is_reliable(slot->serving))
        return;
    next = agent_gateways_pick(&uplink->gateways, slot->tried, now, &at);
    if (next != AGENT_GATEWAY_NONE) {
        agent_uplink_attempt(uplink, slot, next);
        at = uplink->gateways.count > 1 ? now + agent_gateways_stagger_ms(&uplink->gateways, next)
                                        : AGENT_GATEWAY_NEVER;
    }
    slot_timer(slot, at);
}

static void on_slot_time(void *ctx)
{
    struct slot *slot = ctx;

    slot->timer_at_ms = AGENT_GATEWAY_NEVER;
    agent_uplink_race(slot);
}

/* The gateway's fault. */
static void note_failure(struct agent_uplink *uplink, size_t gateway)
{
    agent_gateways_failed(&uplink->gateways, gateway, now_ms(uplink), agent_uplink_random());
    if (!agent_uplink_tunnels_up(uplink) && agent_requests_wait(uplink))
        agent_gateways_hurry(&uplink->gateways, now_ms(uplink) + KICK_WAIT_MS);
}

/* A tunnel that served, or a probe, is over by the gateway's doing. */
static void note_end(struct attempt *attempt)
{
    struct agent_uplink *uplink = attempt->uplink;
    uint64_t now = now_ms(uplink);

    agent_gateways_ended(&uplink->gateways, attempt->gateway, now - attempt->up_ms, now,
                         agent_uplink_random());
}

static void log_moved(const struct attempt *from, const struct attempt *to)
{
    const struct agent_uplink *uplink = from->uplink;
    char text[SP_TARGET_TEXT];
    struct sp_log_line line;

    if (from->gateway == to->gateway ||
        !sp_log_begin(&line, uplink->options.log, SP_LOG_INFO, "tunnel_moved"))
        return;
    sp_log_str(&line, "from", sp_target_format(&uplink->config->gateways[from->gateway], text));
    sp_log_str(&line, "gateway", sp_target_format(&uplink->config->gateways[to->gateway], text));
    sp_log_str(&line, "cause",
               from->is_doubted                              ? "silent"
               : uplink->config->selection == AGENT_FASTEST  ? "faster"
               : from->slot && from->slot->renew != RENEW_NO ? "network"
                                                             : "preferred");
    sp_log_end(&line);
}

/* Whether a tunnel that has just come up takes this place. */
static bool is_worth_it(const struct slot *slot, const struct attempt *fresh)
{
    const struct attempt *old = slot->serving;

    return !is_reliable(old) || slot->renew == RENEW_BEGUN ||
           agent_gateways_better(&slot->uplink->gateways, old->gateway) == fresh->gateway;
}

/* Make before break: the old tunnel drains from now on. What is still being tried goes on only
 * where it would be better still. */
static void slot_take(struct slot *slot, struct attempt *fresh)
{
    struct agent_uplink *uplink = slot->uplink;
    struct attempt *old = slot->serving;
    size_t better;

    if (!is_worth_it(slot, fresh)) {
        agent_uplink_drop(fresh);
        return;
    }
    slot->tried &= ~BIT(fresh->gateway);
    fresh->role = ATTEMPT_SERVES;
    slot->serving = fresh;
    if (old) {
        log_moved(old, fresh);
        if (old->is_doubted && old->gateway != fresh->gateway)
            note_failure(uplink, old->gateway);
        agent_uplink_drop(old);
    }
    slot->renew = RENEW_NO;
    slot_timer(slot, AGENT_GATEWAY_NEVER);
    better = agent_gateways_better(&uplink->gateways, fresh->gateway);
    agent_uplink_drop_tries(slot, better == AGENT_GATEWAY_NONE ? 0 : BIT(better));
}

static void on_link_failure(void *ctx, struct agent_link *link, const struct agent_failure *failure)
{
    struct attempt *attempt = ctx;
    struct agent_uplink *uplink = attempt->uplink;
    const struct agent_observer *observer = agent_uplink_observer(uplink);
    size_t up = agent_uplink_tunnels_up(uplink);

    (void)link;
    if (observer)
        observer->on_failure(uplink->options.observer_ctx, failure,
                             up - (attempt->role == ATTEMPT_SERVES && is_reliable(attempt)));
}

static void on_link_up(void *ctx, struct agent_link *link, const struct agent_success *success)
{
    struct attempt *attempt = ctx;
    struct agent_uplink *uplink = attempt->uplink;
    const struct agent_observer *observer = agent_uplink_observer(uplink);

    (void)link;
    attempt->up_ms = now_ms(uplink);
    if (attempt->role == ATTEMPT_LEAVES)
        return;
    agent_gateways_succeeded(&uplink->gateways, attempt->gateway,
                             sp_loop_clock_us() - attempt->begun_us, attempt->up_ms);
    uplink->last_failure.kind = SP_OK;
    if (attempt->role == ATTEMPT_PROBES)
        agent_uplink_probed(attempt);
    else
        slot_take(attempt->slot, attempt);
    if (observer && attempt->role == ATTEMPT_SERVES)
        observer->on_up(uplink->options.observer_ctx, success, agent_uplink_tunnels_up(uplink));
    agent_uplink_plan(uplink);
    agent_uplink_rescue(uplink);
    agent_requests_try(uplink);
}

/* Its place, if it had one, needs another. */
static void attempt_lost(struct attempt *attempt, bool was_up)
{
    struct agent_uplink *uplink = attempt->uplink;
    struct slot *slot = attempt->slot;
    bool served = attempt->role == ATTEMPT_SERVES;

    if (attempt->role == ATTEMPT_LEAVES)
        return;
    if (uplink->retired) {
        leave(attempt);
        return;
    }
    if (was_up)
        note_end(attempt);
    else
        note_failure(uplink, attempt->gateway);
    if (slot && slot->renew == RENEW_BEGUN)
        slot->renew = RENEW_NO;
    leave(attempt);
    if (slot)
        agent_uplink_race(slot);
    agent_uplink_plan(uplink);
    if (served)
        tell_down(uplink, attempt->link);
}

static void on_link_draining(void *ctx, struct agent_link *link)
{
    (void)link;
    attempt_lost(ctx, true);
}

static void on_link_gone(void *ctx, struct agent_link *link, const struct sp_error *why,
                         bool was_up)
{
    struct attempt *attempt = ctx;
    struct agent_uplink *uplink = attempt->uplink;

    (void)link;
    if (attempt->role != ATTEMPT_LEAVES && (!was_up || why->kind != SP_OK))
        uplink->last_failure = *why;
    *attempt->prev = attempt->next;
    if (attempt->next)
        attempt->next->prev = attempt->prev;
    attempt_lost(attempt, was_up);
    sp_timer_free(attempt->hold);
    free(attempt);
    agent_uplink_check_gone(uplink);
}

static const struct agent_link_callbacks link_callbacks = {
    .on_up = on_link_up,
    .on_draining = on_link_draining,
    .on_failure = on_link_failure,
    .on_gone = on_link_gone,
};

void agent_uplink_attempt(struct agent_uplink *uplink, struct slot *slot, size_t gateway)
{
    struct attempt *attempt = sp_calloc(1, sizeof *attempt);
    const struct agent_link_options options = {
        .loop = uplink->options.loop,
        .log = uplink->options.log,
        .params = uplink->options.params,
        .resolver = uplink->options.resolver,
        .config = uplink->config,
        .gateway = &uplink->config->gateways[gateway],
    };

    attempt->uplink = uplink;
    attempt->slot = slot;
    attempt->role = slot ? ATTEMPT_TRIES : ATTEMPT_PROBES;
    attempt->gateway = gateway;
    attempt->begun_us = sp_loop_clock_us();
    attempt->next = uplink->attempts;
    attempt->prev = &uplink->attempts;
    if (attempt->next)
        attempt->next->prev = &attempt->next;
    uplink->attempts = attempt;
    if (slot)
        slot->tried |= BIT(gateway);
    attempt->link = agent_link_new(&options, &link_callbacks, attempt);
}

/* ---- its life ---- */

struct agent_uplink *agent_uplink_new(const struct agent_uplink_options *options,
                                      struct agent_config *config)
{
    struct agent_uplink *uplink = sp_calloc(1, sizeof *uplink);
    const struct agent_gateways_options gateways = {
        .fastest = config->selection == AGENT_FASTEST,
        .failback_ms = config->failback_s * 1000,
        .probe_ms = config->probe_s * 1000,
        .count = config->gateway_texts.count,
    };

    uplink->options = *options;
    uplink->config = agent_config_ref(config);
    uplink->last = &uplink->first;
    uplink->slot_count = (size_t)config->tunnels;
    uplink->slots = sp_calloc(uplink->slot_count, sizeof *uplink->slots);
    uplink->recheck = sp_timer_new(options->loop, agent_requests_try, uplink);
    agent_gateways_init(&uplink->gateways, &gateways);
    agent_uplink_watch_begin(uplink);
    for (size_t i = 0; i < uplink->slot_count; i++) {
        struct slot *slot = &uplink->slots[i];

        slot->uplink = uplink;
        slot->timer = sp_timer_new(options->loop, on_slot_time, slot);
        agent_uplink_race(slot);
    }
    return uplink;
}

void agent_uplink_renew(struct agent_uplink *uplink, struct agent_config *config)
{
    if (!agent_config_is_same(uplink->config, config))
        return;
    agent_config_ref(config);
    agent_config_unref(uplink->config);
    uplink->config = config;
    for (struct attempt *attempt = uplink->attempts; attempt; attempt = attempt->next)
        agent_link_renew(attempt->link, config);
}

static void stop_trying(struct agent_uplink *uplink)
{
    uplink->retired = uplink->held = true;
    agent_uplink_watch_end(uplink);
    for (size_t i = 0; i < uplink->slot_count; i++)
        slot_timer(&uplink->slots[i], AGENT_GATEWAY_NEVER);
}

void agent_uplink_retire(struct agent_uplink *uplink, struct agent_uplink *heir)
{
    stop_trying(uplink);
    for (struct attempt *attempt = uplink->attempts; attempt; attempt = attempt->next) {
        if (attempt->role != ATTEMPT_LEAVES)
            agent_uplink_drop(attempt);
    }
    agent_requests_leave(uplink, heir);
    uplink->held = false;
    agent_uplink_check_gone(uplink);
}

void agent_uplink_close(struct agent_uplink *uplink)
{
    stop_trying(uplink);
    for (struct attempt *attempt = uplink->attempts; attempt; attempt = attempt->next) {
        leave(attempt);
        agent_link_close(attempt->link);
    }
    agent_requests_leave(uplink, NULL);
    uplink->held = false;
    agent_uplink_check_gone(uplink);
}

void agent_uplink_visit(const struct agent_uplink *uplink, agent_uplink_visit_cb visit, void *ctx)
{
    for (const struct attempt *a = uplink->attempts; a; a = a->next) {
        if (agent_link_tunnel(a->link))
            visit(ctx, a->link, !a->slot || uplink->retired);
    }
}
