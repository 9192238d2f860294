/* uplink_watch: looks after the tunnels of an uplink: whether there is a better place for one,
 * whether those that should answer do, and whether the network is still the same. */
#include "agent/uplink_impl.h"

#include "agent/failure.h"
#include "agent/link.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/net_watch.h"
#include "common/tunnel.h"

/* A gateway at a limit takes a tunnel and closes it at once: a probe has to outlive that. */
#define PROBE_HOLD_MS 1000
#define PULSE_MS      50 /* between two looks at tunnels that were asked */

static uint64_t now_ms(const struct agent_uplink *uplink)
{
    return sp_loop_now_ms(uplink->options.loop);
}

static bool is_serving(const struct attempt *attempt)
{
    return attempt->role == ATTEMPT_SERVES;
}

/* ---- better places ---- */

/* The first in order of the gateways that have a tunnel. */
static size_t first_serving(const struct agent_uplink *uplink)
{
    size_t first = AGENT_GATEWAY_NONE;

    for (const struct attempt *a = uplink->attempts; a; a = a->next) {
        if (is_serving(a) && !a->is_doubted && a->gateway < first)
            first = a->gateway;
    }
    return first;
}

static bool is_being_probed(const struct agent_uplink *uplink, size_t gateway)
{
    for (const struct attempt *a = uplink->attempts; a; a = a->next) {
        if (a->role == ATTEMPT_PROBES && a->gateway == gateway)
            return true;
    }
    return false;
}

/* Builds the new tunnel beside the one that serves. */
static void move_slot(struct slot *slot)
{
    struct agent_uplink *uplink = slot->uplink;
    size_t better;
    uint64_t at;

    if (!slot->serving || slot->serving->is_doubted)
        return;
    better = agent_gateways_better(&uplink->gateways, slot->serving->gateway);
    if (better == AGENT_GATEWAY_NONE && slot->renew == RENEW_WANTED)
        better = agent_gateways_pick(&uplink->gateways, 0, now_ms(uplink), &at);
    if (slot->renew == RENEW_WANTED)
        slot->renew = better == AGENT_GATEWAY_NONE ? RENEW_NO : RENEW_BEGUN;
    if (better != AGENT_GATEWAY_NONE && !(slot->tried >> better & 1))
        agent_uplink_attempt(uplink, slot, better);
}

void agent_uplink_plan(struct agent_uplink *uplink)
{
    uint64_t now = now_ms(uplink), next;
    size_t serving, due;

    if (uplink->retired)
        return;
    agent_gateways_settle(&uplink->gateways, now);
    for (size_t i = 0; i < uplink->slot_count; i++)
        move_slot(&uplink->slots[i]);
    serving = first_serving(uplink);
    while ((due = agent_gateways_probe(&uplink->gateways, serving, now)) != AGENT_GATEWAY_NONE) {
        agent_gateways_probing(&uplink->gateways, due, now, agent_uplink_random());
        if (!is_being_probed(uplink, due))
            agent_uplink_attempt(uplink, NULL, due);
    }
    next = agent_gateways_next_ms(&uplink->gateways, serving, now);
    if (next == AGENT_GATEWAY_NEVER)
        sp_timer_stop(uplink->plan);
    else
        sp_timer_start(uplink->plan, next - now);
}

static void on_plan(void *ctx)
{
    agent_uplink_plan(ctx);
}

static void on_held(void *ctx)
{
    agent_uplink_drop(ctx);
}

void agent_uplink_probed(struct attempt *probe)
{
    probe->hold = sp_timer_new(probe->uplink->options.loop, on_held, probe);
    sp_timer_start(probe->hold, PROBE_HOLD_MS);
}

/* ---- doubts ---- */

static void ask(struct attempt *attempt)
{
    struct agent_uplink *uplink = attempt->uplink;

    if (attempt->asked_ms)
        return;
    attempt->asked_ms = now_ms(uplink);
    sp_tunnel_check(agent_link_tunnel(attempt->link));
    sp_timer_start(uplink->pulse, PULSE_MS);
}

void agent_uplink_doubt(struct agent_uplink *uplink, const struct sp_tunnel *tunnel,
                        uint64_t since_ms)
{
    const struct attempt *silent = NULL;

    for (struct attempt *a = uplink->attempts; a; a = a->next) {
        if (is_serving(a) && agent_link_tunnel(a->link) == tunnel)
            silent = a;
    }
    if (!silent || sp_tunnel_heard_ms(tunnel) > since_ms)
        return;
    for (struct attempt *a = uplink->attempts; a; a = a->next) {
        if (is_serving(a) && a->gateway == silent->gateway)
            ask(a);
    }
}

static void log_silent(const struct attempt *attempt, uint64_t waited_ms)
{
    const struct agent_uplink *uplink = attempt->uplink;
    char text[SP_TARGET_TEXT];
    struct sp_log_line line;

    if (!sp_log_begin(&line, uplink->options.log, SP_LOG_WARNING, "tunnel_silent"))
        return;
    sp_log_str(&line, "gateway",
               sp_target_format(&uplink->config->gateways[attempt->gateway], text));
    sp_log_int(&line, "waited_ms", (int64_t)waited_ms);
    sp_log_int(&line, "channels",
               (int64_t)sp_tunnel_channel_count(agent_link_tunnel(attempt->link)));
    sp_log_end(&line);
}

/* True: it has been silent for too long, which is news. */
static bool look_at(struct attempt *attempt, bool *ret_wait, bool *ret_healed)
{
    struct agent_uplink *uplink = attempt->uplink;
    uint64_t now = now_ms(uplink);
    uint64_t patience = agent_gateways_patience_ms(&uplink->gateways, attempt->gateway);

    if (sp_tunnel_heard_ms(agent_link_tunnel(attempt->link)) >= attempt->asked_ms) {
        attempt->asked_ms = 0;
        *ret_healed = *ret_healed || attempt->is_doubted;
        attempt->is_doubted = false;
        return false;
    }
    *ret_wait = true;
    if (attempt->is_doubted || now - attempt->asked_ms < patience)
        return false;
    attempt->is_doubted = true;
    log_silent(attempt, now - attempt->asked_ms);
    return true;
}

/* What had been silent speaks again: nothing has to take its place. */
static void settle_down(struct agent_uplink *uplink)
{
    const struct agent_observer *observer = agent_uplink_observer(uplink);

    for (size_t i = 0; i < uplink->slot_count; i++) {
        struct slot *slot = &uplink->slots[i];

        if (slot->serving && !slot->serving->is_doubted && slot->renew != RENEW_BEGUN)
            agent_uplink_drop_tries(slot, 0);
    }
    if (observer)
        observer->on_healed(uplink->options.observer_ctx, agent_uplink_tunnels_up(uplink));
    agent_uplink_plan(uplink);
    agent_requests_try(uplink);
}

static void on_pulse(void *ctx)
{
    struct agent_uplink *uplink = ctx;
    bool wait = false, healed = false, news = false;

    for (struct attempt *a = uplink->attempts; a; a = a->next) {
        if (is_serving(a) && a->asked_ms)
            news = look_at(a, &wait, &healed) || news;
    }
    if (wait)
        sp_timer_start(uplink->pulse, PULSE_MS);
    if (healed)
        settle_down(uplink);
    if (!news)
        return;
    /* The same gateway by another connection, and at once the next one beside it. */
    for (size_t i = 0; i < uplink->slot_count; i++) {
        struct slot *slot = &uplink->slots[i];

        if (slot->serving && slot->serving->is_doubted && !slot->tried) {
            agent_uplink_race(slot);
            if (uplink->gateways.count > 1)
                agent_uplink_race(slot);
        }
    }
    agent_uplink_rescue(uplink);
}

void agent_uplink_rescue(struct agent_uplink *uplink)
{
    for (const struct attempt *a = uplink->attempts; a; a = a->next) {
        if (a->is_doubted && agent_link_tunnel(a->link))
            agent_requests_move(uplink, agent_link_tunnel(a->link));
    }
}

/* ---- the network ---- */

static void log_net(const struct agent_uplink *uplink, const struct sp_net_event *event)
{
    struct sp_log_line line;

    if (!sp_log_begin(&line, uplink->options.log, SP_LOG_INFO,
                      event->kind == SP_NET_WOKE ? "woke" : "network_changed"))
        return;
    if (event->kind == SP_NET_WOKE)
        sp_log_int(&line, "slept_s", (int64_t)(event->slept_ms / 1000));
    sp_log_end(&line);
}

/* What is up is asked whether it still is, and gets a successor on the network as it is now; what
 * was being tried began on the old one. */
static void on_net(void *ctx, const struct sp_net_event *event)
{
    struct agent_uplink *uplink = ctx;
    const struct agent_observer *observer = agent_uplink_observer(uplink);

    log_net(uplink, event);
    if (observer)
        observer->on_network(uplink->options.observer_ctx);
    agent_gateways_forgive(&uplink->gateways, now_ms(uplink));
    for (struct attempt *a = uplink->attempts; a; a = a->next) {
        if (is_serving(a))
            ask(a);
    }
    for (size_t i = 0; i < uplink->slot_count; i++) {
        struct slot *slot = &uplink->slots[i];

        agent_uplink_drop_tries(slot, 0);
        if (slot->serving)
            slot->renew = RENEW_WANTED;
        agent_uplink_race(slot);
    }
    agent_uplink_plan(uplink);
}

void agent_uplink_watch_begin(struct agent_uplink *uplink)
{
    struct sp_loop *loop = uplink->options.loop;
    struct sp_error err;

    uplink->plan = sp_timer_new(loop, on_plan, uplink);
    uplink->pulse = sp_timer_new(loop, on_pulse, uplink);
    if (sp_net_watch_new(loop, on_net, uplink, &uplink->net, &err) != SP_OK)
        sp_log_message(uplink->options.log, SP_LOG_WARNING, "trouble",
                       "changes of the network are not noticed: %s", err.text);
}

void agent_uplink_watch_end(struct agent_uplink *uplink)
{
    sp_timer_free(uplink->plan);
    sp_timer_free(uplink->pulse);
    sp_net_watch_free(uplink->net);
    uplink->plan = uplink->pulse = NULL;
    uplink->net = NULL;
}
