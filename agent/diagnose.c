#include "agent/diagnose.h"

#include "agent/advice.h"
#include "agent/config.h"
#include "agent/finding.h"
#include "agent/link.h"
#include "agent/report.h"
#include "agent/uplink.h"
#include "common/channel.h"
#include "common/clock.h"
#include "common/evidence.h"
#include "common/http1.h"
#include "common/loop.h"
#include "common/resolve.h"
#include "common/tls_cred.h"
#include "common/tls_session.h"
#include "common/tunnel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLY_MS 30000
#define DAY      86400
#define SOON     (14 * DAY) /* our certificate's end is worth a word */
#define NOWHERE  "sallyport-diagnose.invalid"

/* What runs it all; one a diagnosis. */
struct bench {
    struct agent_config *config;
    struct agent_report *report;
    const struct sp_target *target;
    bool any_answer; /* the target is none: a refusal is as good as a channel */
    struct sp_loop *loop;
    struct sp_resolver *resolver;
    struct sp_tls_params *params;
};

/* One gateway. */
struct probe {
    struct bench *bench;
    struct agent_link *link; /* NULL: gone */
    struct sp_channel *channel;
    struct sp_timer *deadline; /* of the channel's answer */
    char part[SP_TARGET_TEXT + 16];
    uint64_t since_us; /* when the present stage began */
};

/* ---- this machine ---- */

static void look_at_certificate(struct bench *b)
{
    const struct sp_tls_cred *cred = b->config->cred;
    const int64_t now = sp_clock_wall_s(), end = sp_tls_cred_not_after(cred);
    char from[SP_TIME_LEN], until[SP_TIME_LEN], span[SP_TIME_LEN];
    struct agent_report_step *step;
    bool is_early = now<sp_tls_cred_not_before(cred), is_over = now> end;

    step = agent_report_add(b->report, "This device", "certificate", is_early || is_over, -1,
                            "%s, issued by %s, valid from %s to %s: %s%s",
                            sp_tls_cred_subject(cred), sp_tls_cred_issuer(cred),
                            sp_time_format(sp_tls_cred_not_before(cred), from),
                            sp_time_format(end, until),
                            is_early  ? "not valid yet"
                            : is_over ? "expired since "
                                      : "still for ",
                            is_early ? "" : sp_time_span(end - now, span));
    if (is_early)
        step->advice = agent_advice_state(AGENT_STATE_CLOCK_SKEW);
    else if (is_over || end - now < SOON)
        step->advice = agent_advice_state(is_over ? AGENT_STATE_CLIENT_CERTIFICATE_REFUSED
                                                  : AGENT_STATE_CLIENT_CERTIFICATE_EXPIRING);
}

static void look_at_lists(struct bench *b)
{
    const struct sp_json_strings *crls = &b->config->server_validation.crls;
    size_t urls = 0;

    for (size_t i = 0; i < crls->count; i++)
        urls += sp_json_is_url(crls->items[i]);
    if (urls)
        agent_report_add(b->report, "This device", "revocation", false, -1,
                         "of %zu revocation lists %zu are at URLs; the running agent asks for "
                         "them, this diagnosis does not",
                         crls->count, urls);
}

static void look_here(struct bench *b)
{
    const struct sp_warnings *warnings = &b->config->warnings;
    struct agent_network network;

    agent_report_add(b->report, "This device", "config", false, -1, "%s: good, %zu warning%s",
                     b->config->path, warnings->count, warnings->count == 1 ? "" : "s");
    for (size_t i = 0; i < warnings->count; i++)
        agent_report_add(b->report, "This device", "warning", false, -1, "%s: %s",
                         warnings->items[i].where, warnings->items[i].text);
    look_at_certificate(b);
    look_at_lists(b);
    agent_network_look(&network);
    if (!network.has_address) /* no failure by itself: the gateway may be on this very machine */
        agent_report_add(b->report, "This device", "network", false, -1, "no network: %s",
                         network.found);
}

/* ---- a gateway ---- */

static int64_t take_time(struct probe *p)
{
    uint64_t now = sp_loop_clock_us();
    int64_t took = (int64_t)(now - p->since_us);

    p->since_us = now;
    return took;
}

static void on_step(void *ctx, struct agent_link *link, enum agent_stage stage,
                    const struct sp_addr *addrs, size_t count)
{
    struct probe *p = ctx;
    char list[SP_RESOLVE_MAX * (SP_ADDR_TEXT + 2)] = "", text[SP_ADDR_TEXT];
    size_t len = 0;

    (void)link;
    for (size_t i = 0; i < count && len < sizeof list; i++)
        len += (size_t)snprintf(list + len, sizeof list - len, "%s%s", i ? ", " : "",
                                sp_addr_format(&addrs[i], text));
    if (stage == AGENT_STAGE_RESOLVE)
        agent_report_add(p->bench->report, p->part, "name", false, take_time(p), "%s", list);
    else if (stage == AGENT_STAGE_PROXY)
        agent_report_add(p->bench->report, p->part, "proxy", false, take_time(p),
                         "the proxy has connected us: %s", list);
    else if (stage == AGENT_STAGE_CONNECT)
        agent_report_add(p->bench->report, p->part, "TCP", false, take_time(p), "%s answered",
                         list);
    else
        agent_report_add(p->bench->report, p->part, "TLS", false, take_time(p),
                         "the gateway's part of the handshake is done");
}

static char *evidence_of(const struct sp_facts *facts, const struct sp_verdict *verdict)
{
    struct sp_log_line *line = sp_calloc(1, sizeof *line);
    char *text;

    sp_log_text_begin(line);
    sp_evidence_verdict(line, facts, verdict);
    text = sp_strdup(sp_log_text_end(line));
    free(line);
    return text;
}

/* What the gateway showed, and what was made of it. */
static void add_verdict(struct probe *p, const struct sp_facts *facts,
                        const struct sp_verdict *verdict)
{
    char observed[600] = "nothing wrong", rule[400] = "", time[SP_TIME_LEN];
    size_t len = 0;
    struct agent_report_step *step;

    for (int reason = 0; reason < SP_REASON_COUNT; reason++) {
        if (verdict->observed & SP_REASON_BIT(reason))
            len += (size_t)snprintf(observed + len, sizeof observed - len, "%s%s", len ? ", " : "",
                                    sp_reason_name((enum sp_reason)reason));
    }
    if (verdict->reason != SP_REASON_COUNT)
        snprintf(rule, sizeof rule, " by %s", verdict->rule);
    step =
        agent_report_add(p->bench->report, p->part, "verdict", verdict->action == SP_ACTION_BLOCK,
                         -1, "%s%s: %s%s%s; shown was %s%s%s%s%s", sp_action_name(verdict->action),
                         rule, observed, facts->detail[0] ? ": " : "", facts->detail,
                         facts->has_certificate ? facts->subject : "no certificate",
                         facts->has_certificate ? ", issued by " : "", facts->issuer,
                         facts->has_certificate ? ", its path valid until " : "",
                         facts->has_certificate ? sp_time_format(facts->not_after, time) : "");
    step->evidence = evidence_of(facts, verdict);
}

/* ---- a channel ---- */

static void end_probe(struct probe *p)
{
    sp_timer_stop(p->deadline);
    agent_link_close(p->link); /* on_gone follows */
}

static void on_reply(void *ctx, struct sp_channel *channel, int status, const char *proxy_status)
{
    struct probe *p = ctx;
    struct agent_refusal refusal = {.status = status};
    char where[SP_TARGET_TEXT];
    bool is_open = status >= 200 && status <= 299;
    struct agent_report_step *step;

    (void)channel;
    sp_proxy_status_parse(proxy_status, refusal.error, sizeof refusal.error, refusal.text,
                          sizeof refusal.text);
    sp_target_format(p->bench->target, where);
    sp_channel_set_owner(p->channel, NULL, NULL);
    if (is_open) {
        agent_report_add(p->bench->report, p->part, "channel", false, take_time(p),
                         "%s is connected", where);
    } else if (p->bench->any_answer) {
        agent_report_add(p->bench->report, p->part, "channel", false, take_time(p),
                         "the gateway answers (%d), as to any name that leads nowhere", status);
    } else {
        step = agent_report_add(p->bench->report, p->part, "channel", true, take_time(p),
                                "%s: the gateway says %d%s%s%s%s", where, status,
                                refusal.error[0] ? ", " : "", refusal.error,
                                refusal.text[0] ? ": " : "", refusal.text);
        step->advice = agent_advice_refusal(&refusal);
    }
    if (is_open)
        sp_channel_cancel(p->channel);
    p->channel = NULL;
    end_probe(p);
}

static void on_channel_closed(void *ctx, struct sp_channel *channel,
                              const struct sp_channel_end *end)
{
    struct probe *p = ctx;

    (void)channel;
    (void)end;
    p->channel = NULL;
    agent_report_add(p->bench->report, p->part, "channel", true, take_time(p),
                     "it was reset before the gateway had answered");
    if (p->link)
        end_probe(p);
}

static const struct sp_channel_callbacks channel_callbacks = {on_reply, on_channel_closed};

static void on_deadline(void *ctx)
{
    struct probe *p = ctx;

    agent_report_add(p->bench->report, p->part, "channel", true, take_time(p),
                     "the gateway did not answer within %d s", REPLY_MS / 1000);
    sp_channel_set_owner(p->channel, NULL, NULL);
    sp_channel_cancel(p->channel);
    p->channel = NULL;
    end_probe(p);
}

/* ---- the tunnel ---- */

static void on_up(void *ctx, struct agent_link *link, const struct agent_success *success)
{
    struct probe *p = ctx;
    struct sp_tunnel *tunnel = agent_link_tunnel(link);
    const struct sp_tls_session *tls = sp_tunnel_tls(tunnel);
    int64_t took = take_time(p);
    struct sp_error err;

    add_verdict(p, success->facts, success->verdict);
    agent_report_add(p->bench->report, p->part, "answer", false, took,
                     "the gateway has accepted us: %s, %s, HTTP/2", sp_tls_version_name(tls),
                     sp_tls_cipher_name(tls));
    if (sp_tunnel_open_channel(tunnel, p->bench->target, &channel_callbacks, p, &p->channel,
                               &err) == SP_OK) {
        sp_timer_start(p->deadline, REPLY_MS);
        return;
    }
    agent_report_add(p->bench->report, p->part, "channel", true, -1, "%s", err.text);
    end_probe(p);
}

static void on_draining(void *ctx, struct agent_link *link)
{
    (void)ctx;
    (void)link;
}

static void on_failure(void *ctx, struct agent_link *link, const struct agent_failure *failure)
{
    static const char *const names[] = {
        [AGENT_STAGE_RESOLVE] = "name",  [AGENT_STAGE_CONNECT] = "TCP",
        [AGENT_STAGE_PROXY] = "proxy",   [AGENT_STAGE_TLS] = "TLS",
        [AGENT_STAGE_ANSWER] = "answer", [AGENT_STAGE_UP] = "tunnel",
    };
    struct probe *p = ctx;
    const struct sp_tls_cred *own = p->bench->config->cred;
    struct agent_evidence evidence = {
        .now = sp_clock_wall_s(),
        .server_name = p->bench->config->server_name,
        .own_subject = sp_tls_cred_subject(own),
        .own_issuer = sp_tls_cred_issuer(own),
        .own_not_after = sp_tls_cred_not_after(own),
    };
    const struct agent_last_seen none = {.seen = 0};
    struct agent_state_view view = {.since = 0};
    struct agent_report_step *step;
    char message[700];
    int64_t took = take_time(p);
    bool is_told;

    (void)link;
    evidence.last = &none;
    agent_network_look(&evidence.network);
    if (failure->addr)
        evidence.route_errno = agent_network_route(failure->addr);
    agent_finding_make(failure, &evidence, &view);
    if (failure->facts)
        add_verdict(p, failure->facts, failure->verdict);
    sp_error_message(failure->why, message, sizeof message);
    is_told = strstr(view.detail, failure->why->text) != NULL; /* the finding has it in it */
    step = agent_report_add(p->bench->report, p->part, names[failure->stage], true, took, "%s%s%s",
                            view.detail, is_told || !view.detail[0] ? "" : "; ",
                            is_told ? "" : message);
    step->state = agent_state_name(view.state);
    step->advice = view.advice;
}

static void on_gone(void *ctx, struct agent_link *link, const struct sp_error *why, bool was_up)
{
    struct probe *p = ctx;

    (void)link;
    (void)why;
    (void)was_up;
    p->link = NULL;
    sp_loop_stop(p->bench->loop);
}

static const struct agent_link_callbacks link_callbacks = {
    .on_up = on_up,
    .on_draining = on_draining,
    .on_failure = on_failure,
    .on_gone = on_gone,
    .on_step = on_step,
};

static void try_gateway(struct bench *b, const struct sp_target *gateway)
{
    struct probe p = {.bench = b};
    char text[SP_TARGET_TEXT];
    const struct agent_link_options options = {
        .loop = b->loop,
        .params = b->params,
        .resolver = b->resolver,
        .config = b->config,
        .gateway = gateway,
    };

    snprintf(p.part, sizeof p.part, "Gateway %s", sp_target_format(gateway, text));
    p.deadline = sp_timer_new(b->loop, on_deadline, &p);
    p.since_us = sp_loop_clock_us();
    p.link = agent_link_new(&options, &link_callbacks, &p);
    while (p.link)
        sp_loop_run(b->loop);
    sp_timer_free(p.deadline);
}

enum sp_err agent_diagnose(struct agent_config *config, const struct sp_target *target,
                           struct agent_report *report, struct sp_error *err)
{
    const struct sp_target nowhere = {.host = NOWHERE, .port = 443};
    const struct sp_resolver_options resolver = {0};
    struct bench b = {
        .config = config,
        .report = report,
        .target = target ? target : &nowhere,
        .any_answer = !target,
    };
    enum sp_err rc = sp_loop_new(&b.loop, err);

    if (rc == SP_OK)
        rc = sp_resolver_new(b.loop, &resolver, &b.resolver, err);
    if (rc == SP_OK)
        rc = sp_tls_params_new((enum sp_tls_version)config->tls.min_version, &b.params, err);
    if (rc == SP_OK)
        look_here(&b);
    for (size_t i = 0; rc == SP_OK && i < config->gateway_texts.count; i++)
        try_gateway(&b, &config->gateways[i]);
    sp_resolver_free(b.resolver);
    if (b.loop)
        sp_loop_free(b.loop);
    sp_tls_params_free(b.params);
    return rc;
}
