#include "agent/diagnosis.h"

#include "agent/config.h"
#include "agent/finding.h"
#include "agent/last_seen.h"
#include "agent/network.h"
#include "agent/past.h"
#include "agent/portal.h"
#include "agent/reach.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/tls_cred.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GRACE_MS 3000          /* without a tunnel, and not every gateway was heard of */
#define FRESH_MS 5000          /* a probe so young need not be made again */
#define AGAIN_MS 5000          /* between the probes while a portal holds */
#define PORTS_MS 60000         /* so long what other ports did is believed */
#define LOOK_MS  (3600 * 1000) /* does our certificate end soon? */
#define DAY_S    86400

struct agent_diagnosis {
    struct agent_diagnosis_options options;
    struct agent_config *config;
    struct agent_portal *portal;
    struct agent_reach *reach;
    size_t reached; /* the gateway that reach is about */
    struct agent_past gateways[AGENT_GATEWAYS_MAX];
    size_t gateway_count, tunnels_up;
    struct agent_last_seen last;
    struct agent_state_view view;
    struct sp_error broke; /* how the last tunnel ended; kind SP_OK: in order */
    struct sp_task look_soon;
    struct sp_timer *grace, *again, *hourly;
    bool grace_runs;
    bool only_tcp; /* see agent_diagnosis_may_go_direct */
};

/* ---- what is known ---- */

static struct agent_past *find(struct agent_diagnosis *d, const struct sp_target *target)
{
    for (size_t i = 0; i < d->gateway_count; i++) {
        const struct sp_target *own = &d->gateways[i].target;

        if (own->port == target->port && strcmp(own->host, target->host) == 0)
            return &d->gateways[i];
    }
    return NULL;
}

/* All that does not depend on one gateway. */
static void gather(const struct agent_diagnosis *d, struct agent_evidence *e)
{
    const struct sp_tls_cred *own = d->config->cred;

    *e = (struct agent_evidence){
        .now = sp_clock_wall_s(),
        .server_name = d->config->server_name,
        .last = &d->last,
        .own_subject = sp_tls_cred_subject(own),
        .own_issuer = sp_tls_cred_issuer(own),
        .own_not_before = sp_tls_cred_not_before(own),
        .own_not_after = sp_tls_cred_not_after(own),
    };
    agent_network_look(&e->network);
    agent_portal_tell(d->portal, e);
}

/* ---- the state ---- */

static void log_state(const struct agent_diagnosis *d, const struct agent_state_view *before)
{
    const struct agent_state_view *view = &d->view;
    bool is_good = view->state == AGENT_STATE_UP || view->state == AGENT_STATE_STARTING;
    char time[SP_TIME_LEN];
    struct sp_log_line line;

    if (!sp_log_begin(&line, d->options.log, is_good ? SP_LOG_INFO : SP_LOG_WARNING, "state"))
        return;
    sp_log_str(&line, "state", agent_state_name(view->state));
    sp_log_str(&line, "detail", view->detail);
    sp_log_str(&line, "advice", view->advice[0] ? view->advice : NULL);
    sp_log_str(&line, "before", agent_state_name(before->state));
    sp_log_str(&line, "before_since", sp_time_format(before->since, time));
    sp_log_end(&line);
}

/* The words may change while the state stays; that is no event. */
static void set_state(struct agent_diagnosis *d, const struct agent_state_view *next)
{
    struct agent_state_view before = d->view;

    d->view = *next;
    d->view.since = before.since;
    if (next->state == before.state)
        return;
    d->view.since = sp_clock_wall_s();
    log_state(d, &before);
}

/* Every gateway, and no portal that would have us believe so. */
static bool is_only_tcp(const struct agent_diagnosis *d)
{
    for (size_t i = 0; i < d->gateway_count; i++)
        if (!d->gateways[i].failure.why || !agent_finding_is_tcp(&d->gateways[i].failure))
            return false;
    return agent_portal_result(d->portal) != AGENT_PROBE_PORTAL;
}

static void set_only_tcp(struct agent_diagnosis *d, bool only_tcp)
{
    bool could = agent_diagnosis_may_go_direct(d);

    d->only_tcp = only_tcp;
    if (could != agent_diagnosis_may_go_direct(d))
        d->options.on_change(d->options.ctx);
}

/* ---- without a tunnel: looking around, then a conclusion ---- */

static bool is_all_known(const struct agent_diagnosis *d)
{
    for (size_t i = 0; i < d->gateway_count; i++)
        if (!d->gateways[i].failure.why)
            return false;
    return true;
}

static void conclude_unknown(struct agent_diagnosis *d)
{
    struct agent_state_view view = {.state = AGENT_STATE_STARTING, .advice = ""};

    if (d->broke.kind != SP_OK)
        snprintf(view.detail, sizeof view.detail,
                 "no tunnel is up; the last one broke: %.380s. Connecting again", d->broke.text);
    else
        snprintf(view.detail, sizeof view.detail, "no tunnel is up yet; connecting");
    set_state(d, &view);
}

static void conclude(struct agent_diagnosis *d)
{
    struct agent_evidence e;
    struct agent_state_view view, best = {.state = AGENT_STATE_STARTING};

    gather(d, &e);
    for (size_t i = 0; i < d->gateway_count; i++) {
        struct agent_past *g = &d->gateways[i];

        if (!g->failure.why)
            continue;
        e.other_ports = g->other_ports;
        e.answered_port = g->answered_port;
        e.route_errno = g->failure.addr ? agent_network_route(g->failure.addr) : 0;
        agent_finding_make(&g->failure, &e, &view);
        if (best.state == AGENT_STATE_STARTING || agent_finding_outweighs(view.state, best.state))
            best = view;
    }
    if (best.state == AGENT_STATE_STARTING && e.probe == AGENT_PROBE_PORTAL)
        agent_finding_portal(&e, &best);
    if (best.state == AGENT_STATE_STARTING)
        conclude_unknown(d);
    else
        set_state(d, &best);
    if (best.state == AGENT_STATE_CAPTIVE_PORTAL)
        sp_timer_start(d->again, AGAIN_MS);
}

static void on_reached(void *ctx, uint16_t port);

/* One gateway at a time; the first that has something to be found out. */
static bool reach_next(struct agent_diagnosis *d)
{
    uint64_t now = sp_loop_now_ms(d->options.loop);

    for (size_t i = 0; i < d->gateway_count && !d->reach; i++) {
        struct agent_past *g = &d->gateways[i];

        if (g->other_ports != AGENT_PORTS_UNTRIED && now - g->ports_ms >= PORTS_MS)
            g->other_ports = AGENT_PORTS_UNTRIED;
        if (!g->failure.why || g->other_ports != AGENT_PORTS_UNTRIED ||
            !agent_finding_wants_ports(&g->failure) || agent_network_route(g->failure.addr) != 0)
            continue;
        d->reached = i;
        d->reach = agent_reach_start(d->options.loop, g->failure.addr, on_reached, d);
    }
    return d->reach;
}

/* All that has to be found out first is on its way, or the state is told. */
static void look(void *ctx)
{
    struct agent_diagnosis *d = ctx;
    uint64_t now = sp_loop_now_ms(d->options.loop);
    uint64_t told = agent_portal_told_ms(d->portal);

    if (d->tunnels_up)
        return;
    if (!told || now - told >= FRESH_MS)
        agent_portal_probe(d->portal);
    if (agent_portal_is_probing(d->portal))
        return;
    set_only_tcp(d, is_only_tcp(d));
    if (!reach_next(d))
        conclude(d);
}

static void start_grace(struct agent_diagnosis *d)
{
    if (!d->grace_runs)
        sp_timer_start(d->grace, GRACE_MS);
    d->grace_runs = true;
}

static void stop_grace(struct agent_diagnosis *d)
{
    sp_timer_stop(d->grace);
    d->grace_runs = false;
}

static void look_again(struct agent_diagnosis *d)
{
    stop_grace(d);
    sp_task_soon(d->options.loop, &d->look_soon);
}

static void on_reached(void *ctx, uint16_t port)
{
    struct agent_diagnosis *d = ctx;
    struct agent_past *g = &d->gateways[d->reached];

    d->reach = NULL;
    g->other_ports = port ? AGENT_PORTS_ANSWERED : AGENT_PORTS_SILENT;
    g->answered_port = port;
    g->ports_ms = sp_loop_now_ms(d->options.loop);
    look_again(d);
}

static void stop_looking(struct agent_diagnosis *d)
{
    sp_task_cancel(&d->look_soon);
    stop_grace(d);
    sp_timer_stop(d->again);
    agent_reach_cancel(d->reach);
    d->reach = NULL;
}

static void forget_all(struct agent_diagnosis *d)
{
    stop_looking(d);
    for (size_t i = 0; i < d->gateway_count; i++) {
        agent_past_forget(&d->gateways[i]);
    }
}

static void on_probed(void *ctx)
{
    struct agent_diagnosis *d = ctx;

    if (d->view.state != AGENT_STATE_CAPTIVE_PORTAL ||
        agent_portal_result(d->portal) != AGENT_PROBE_GOOD) {
        look_again(d);
        return;
    }
    forget_all(d); /* what failed behind the portal says nothing about now */
    start_grace(d);
    d->options.on_hope(d->options.ctx);
}

static void on_hosts(void *ctx)
{
    struct agent_diagnosis *d = ctx;

    d->options.on_change(d->options.ctx);
}

static void on_grace(void *ctx)
{
    struct agent_diagnosis *d = ctx;

    d->grace_runs = false;
    look(d);
}

static void on_again(void *ctx)
{
    struct agent_diagnosis *d = ctx;

    if (!d->tunnels_up)
        agent_portal_probe(d->portal);
}

/* ---- what happens to tunnels ---- */

static void on_failure(void *ctx, const struct agent_failure *failure, size_t tunnels_up)
{
    struct agent_diagnosis *d = ctx;
    struct agent_past *g = find(d, failure->gateway);

    d->tunnels_up = tunnels_up;
    if (failure->stage == AGENT_STAGE_UP) { /* the next attempt will tell what is the matter */
        d->broke = *failure->why;
        return;
    }
    if (!g || tunnels_up)
        return;
    agent_past_remember(g, failure);
    if (!agent_finding_is_tcp(failure))
        set_only_tcp(d, false); /* at once: this is no time for one more plain connection */
    if (is_all_known(d))
        look_again(d);
    else
        start_grace(d);
}

/* Of several gateways the worst is told: one that is not validated, before all. */
static void show_up(struct agent_diagnosis *d)
{
    struct agent_evidence e;
    struct agent_state_view view, worst = {.state = AGENT_STATE_STARTING};

    gather(d, &e);
    for (size_t i = 0; i < d->gateway_count; i++) {
        const struct agent_past *g = &d->gateways[i];
        const struct agent_success success = {&g->target, &g->addr, g->passed.facts,
                                              &g->passed.verdict};

        if (!g->up)
            continue;
        agent_finding_up(&success, &e, (int64_t)d->config->identity.warn_days * DAY_S, &view);
        if (worst.state == AGENT_STATE_STARTING || view.state == AGENT_STATE_UP_UNVALIDATED)
            worst = view;
    }
    if (worst.state != AGENT_STATE_STARTING)
        set_state(d, &worst);
}

static void note_good(struct agent_diagnosis *d, const struct sp_facts *facts)
{
    struct sp_error err;
    char message[700];

    if (agent_last_seen_note(&d->last, d->config->cache_dir, d->config->server_name, facts,
                             sp_clock_wall_s(), &err) != SP_OK)
        sp_log_message(d->options.log, SP_LOG_WARNING, "trouble",
                       "cannot keep what the gateway's certificate was: %s",
                       sp_error_message(&err, message, sizeof message));
}

/* There is a way again: what stood in it is of no interest any more. */
static void found(struct agent_diagnosis *d, size_t tunnels_up)
{
    d->tunnels_up = tunnels_up;
    d->broke.kind = SP_OK;
    forget_all(d);
    agent_portal_over(d->portal);
    set_only_tcp(d, false);
}

static void on_up(void *ctx, const struct agent_success *success, size_t tunnels_up)
{
    struct agent_diagnosis *d = ctx;
    struct agent_past *g = find(d, success->gateway);

    found(d, tunnels_up);
    if (!g)
        return;
    agent_past_chain(&g->passed, success->facts, success->verdict);
    g->up++;
    if (success->verdict->action == SP_ACTION_ALLOW)
        note_good(d, success->facts);
    show_up(d);
}

static void on_healed(void *ctx, size_t tunnels_up)
{
    struct agent_diagnosis *d = ctx;

    if (!tunnels_up)
        return;
    found(d, tunnels_up);
    show_up(d);
}

static void on_network(void *ctx)
{
    struct agent_diagnosis *d = ctx;

    if (d->tunnels_up)
        return;
    set_only_tcp(d, false);
    forget_all(d);
    agent_portal_begin(d->portal, d->config);
    start_grace(d);
}

static void on_down(void *ctx, const struct sp_target *gateway, size_t tunnels_up)
{
    struct agent_diagnosis *d = ctx;
    struct agent_past *g = find(d, gateway);

    d->tunnels_up = tunnels_up;
    if (g && g->up)
        g->up--;
    if (tunnels_up)
        show_up(d);
    else
        start_grace(d);
}

const struct agent_observer agent_diagnosis_observer = {on_failure, on_up, on_down, on_healed,
                                                        on_network};

/* ---- life ---- */

/* A tunnel may live longer than the days that its certificate had left. */
static void on_hour(void *ctx)
{
    struct agent_diagnosis *d = ctx;

    show_up(d);
    sp_timer_start(d->hourly, LOOK_MS);
}

struct agent_diagnosis *agent_diagnosis_new(const struct agent_diagnosis_options *options)
{
    struct agent_diagnosis *d = sp_calloc(1, sizeof *d);
    const struct agent_portal_options portal = {
        .loop = options->loop,
        .log = options->log,
        .fetcher = options->fetcher,
        .on_result = on_probed,
        .on_hosts = on_hosts,
        .ctx = d,
    };

    d->options = *options;
    d->portal = agent_portal_new(&portal);
    d->grace = sp_timer_new(options->loop, on_grace, d);
    d->again = sp_timer_new(options->loop, on_again, d);
    d->hourly = sp_timer_new(options->loop, on_hour, d);
    sp_timer_start(d->hourly, LOOK_MS);
    sp_task_init(&d->look_soon, look, d);
    d->view.since = sp_clock_wall_s();
    d->view.advice = "";
    snprintf(d->view.detail, sizeof d->view.detail, "no tunnel is up yet; connecting");
    return d;
}

void agent_diagnosis_begin(struct agent_diagnosis *d, struct agent_config *config)
{
    set_only_tcp(d, false);
    forget_all(d);
    for (size_t i = 0; i < d->gateway_count; i++)
        agent_past_done(&d->gateways[i]);
    agent_portal_begin(d->portal, config);
    agent_config_ref(config);
    agent_config_unref(d->config);
    d->config = config;
    d->tunnels_up = 0;
    d->broke.kind = SP_OK;
    d->gateway_count = config->gateway_texts.count;
    memset(d->gateways, 0, sizeof d->gateways);
    for (size_t i = 0; i < d->gateway_count; i++)
        d->gateways[i].target = config->gateways[i];
    agent_last_seen_load(config->cache_dir, config->server_name, &d->last);
    start_grace(d);
}

void agent_diagnosis_free(struct agent_diagnosis *d)
{
    if (!d)
        return;
    forget_all(d);
    for (size_t i = 0; i < d->gateway_count; i++)
        agent_past_done(&d->gateways[i]);
    agent_portal_free(d->portal);
    sp_timer_free(d->grace);
    sp_timer_free(d->again);
    sp_timer_free(d->hourly);
    agent_config_unref(d->config);
    free(d);
}

/* ---- who asks ---- */

void agent_diagnosis_view(const struct agent_diagnosis *d, struct agent_state_view *ret)
{
    *ret = d->view;
}

bool agent_diagnosis_may_go_direct(const struct agent_diagnosis *d)
{
    return d->only_tcp && !d->tunnels_up && d->config &&
           d->config->when_unreachable == AGENT_UNREACHABLE_DIRECT;
}

bool agent_diagnosis_is_portal(const struct agent_diagnosis *d, const struct sp_target *target)
{
    return !d->tunnels_up && agent_portal_is_host(d->portal, target);
}
