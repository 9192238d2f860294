#include "agent/link.h"

#include "agent/config.h"
#include "agent/failure.h"
#include "agent/proxy.h"
#include "agent/upstream.h"
#include "common/clock.h"
#include "common/conn.h"
#include "common/dial.h"
#include "common/evidence.h"
#include "common/loop.h"
#include "common/resolve.h"
#include "common/revocation.h"
#include "common/sock.h"
#include "common/tls_cred.h"
#include "common/tls_session.h"
#include "common/tunnel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct decision {
    struct sp_facts facts;
    struct sp_verdict verdict;
};

struct agent_link {
    struct agent_link_options options;
    struct sp_target gateway;
    const struct agent_link_callbacks *callbacks;
    void *ctx;
    struct sp_query *query;
    struct sp_dial *dial;
    struct agent_upstream *upstream; /* in place of query and dial */
    struct sp_tunnel *tunnel;
    struct sp_tls_client_options tls;
    struct decision *decision; /* from the verdict until the tunnel is up or gone */
    struct sp_status *status;  /* what the gateway stapled came to, as of the handshake */
    struct sp_addr addr;       /* connected to */
    struct sp_addr last;       /* the last of those that the name led to */
    struct sp_timer *deadline; /* of the gateway's answer: TLS may be through long before it */
    struct sp_task gone_soon, review_soon;
    struct sp_error why;
    bool up, closing; /* closing: we end it ourselves */
    bool renewed;     /* between the verdict and up */
};

static void link_gone(struct agent_link *link, const struct sp_error *why)
{
    link->callbacks->on_gone(link->ctx, link, why, link->up);
    sp_task_cancel(&link->gone_soon);
    sp_task_cancel(&link->review_soon);
    sp_timer_free(link->deadline);
    agent_config_unref(link->options.config);
    free(link->decision);
    free(link->status);
    free(link);
}

static void on_gone_soon(void *ctx)
{
    struct agent_link *link = ctx;

    link_gone(link, &link->why);
}

/* ---- whoever wants to know ---- */

static void tell_failure(struct agent_link *link, enum agent_stage stage,
                         const struct sp_error *why)
{
    const struct decision *d = link->decision;
    const struct sp_addr *addr = link->addr.ip.family ? &link->addr : &link->last;
    const struct agent_failure failure = {
        .stage = stage,
        .why = why,
        .gateway = link->options.gateway,
        .addr = addr->ip.family ? addr : NULL,
        .facts = d ? &d->facts : NULL,
        .verdict = d ? &d->verdict : NULL,
    };

    link->callbacks->on_failure(link->ctx, link, &failure);
}

static void tell_step(struct agent_link *link, enum agent_stage stage, const struct sp_addr *addrs,
                      size_t count)
{
    if (link->callbacks->on_step)
        link->callbacks->on_step(link->ctx, link, stage, addrs, count);
}

/* How far a tunnel had come that ended so. Under TLS 1.3 a gateway's refusal of our certificate
 * comes when our part of the handshake is long done. */
static enum agent_stage stage_of(const struct agent_link *link, const struct sp_error *why)
{
    const struct decision *d = link->decision;

    if (link->up)
        return AGENT_STAGE_UP;
    if (!d || d->verdict.action == SP_ACTION_BLOCK || why->kind == SP_ERR_PEER_ALERT ||
        why->kind == SP_ERR_TLS)
        return AGENT_STAGE_TLS;
    return AGENT_STAGE_ANSWER;
}

/* ---- the log ---- */

static void log_where(struct sp_log_line *line, const struct agent_link *link)
{
    const struct agent_proxy *upstream = link->options.config->upstream;
    char text[SP_TARGET_TEXT];

    sp_log_str(line, "gateway", sp_target_format(link->options.gateway, text));
    if (link->addr.ip.family)
        sp_log_str(line, "address", sp_addr_format(&link->addr, text));
    if (agent_proxy_serves(upstream, link->options.gateway))
        sp_log_str(line, "proxy", sp_target_format(&upstream->at, text));
}

static void log_decision(const struct agent_link *link)
{
    const struct decision *d = link->decision;
    struct sp_log_line line;

    if (!sp_log_begin(&line, link->options.log,
                      d->verdict.action == SP_ACTION_ALLOW ? SP_LOG_INFO : SP_LOG_WARNING,
                      "tunnel"))
        return;
    log_where(&line, link);
    sp_evidence_verdict(&line, &d->facts, &d->verdict);
    if (d->verdict.action == SP_ACTION_BLOCK && d->verdict.alert >= 0)
        sp_log_str(&line, "alert", sp_alert_name(d->verdict.alert));
    sp_evidence_session(&line, sp_tunnel_tls(link->tunnel));
    sp_log_end(&line);
}

static void log_failed(const struct agent_link *link, const struct sp_error *why)
{
    const struct sp_tls_cred *own = link->options.config->cred;
    char time[SP_TIME_LEN], message[700];
    struct sp_log_line line;

    if (!sp_log_begin(&line, link->options.log, SP_LOG_WARNING, "tunnel_failed"))
        return;
    log_where(&line, link);
    sp_log_str(&line, "error", sp_error_message(why, message, sizeof message));
    if (why->kind == SP_ERR_PEER_ALERT) {
        sp_log_str(&line, "alert", sp_alert_name(why->code));
        sp_log_str(&line, "explanation", sp_alert_sentence(why->code, true));
        sp_log_str(&line, "sni", link->options.config->server_name);
        sp_log_str(&line, "our_subject", sp_tls_cred_subject(own));
        sp_log_str(&line, "our_issuer", sp_tls_cred_issuer(own));
        sp_log_str(&line, "our_not_after", sp_time_format(sp_tls_cred_not_after(own), time));
    }
    sp_log_end(&line);
}

/* What the gateway told us in words, when it ended the tunnel. */
static void log_said(struct sp_log_line *line, const struct agent_link *link)
{
    const char *said = sp_tunnel_goaway_text(link->tunnel);

    if (said[0])
        sp_log_str(line, "gateway_said", said);
}

static void log_closed(const struct agent_link *link, const struct sp_error *why)
{
    char message[700];
    struct sp_log_line line;
    uint64_t now = sp_loop_now_ms(link->options.loop);

    if (!sp_log_begin(&line, link->options.log, why->kind == SP_OK ? SP_LOG_INFO : SP_LOG_WARNING,
                      "tunnel_closed"))
        return;
    log_where(&line, link);
    if (why->kind != SP_OK)
        sp_log_str(&line, "error", sp_error_message(why, message, sizeof message));
    log_said(&line, link);
    sp_log_int(&line, "cut", (int64_t)sp_tunnel_channel_count(link->tunnel));
    sp_log_int(&line, "duration_ms", (int64_t)(now - sp_tunnel_opened_ms(link->tunnel)));
    sp_log_end(&line);
}

static void log_draining(const struct agent_link *link)
{
    struct sp_log_line line;

    if (!sp_log_begin(&line, link->options.log, SP_LOG_INFO, "tunnel_draining"))
        return;
    log_where(&line, link);
    log_said(&line, link);
    sp_log_int(&line, "channels", (int64_t)sp_tunnel_channel_count(link->tunnel));
    sp_log_end(&line);
}

/* ---- the tunnel ---- */

/* What is stapled counts when it is good or revoked; otherwise the detail says why it does not. */
static void judge_staple(const struct sp_bytes *staple, const struct sp_chain *chain,
                         const struct sp_chain_query *query, const char *issuer_dn,
                         struct sp_status *ret)
{
    struct sp_ocsp_query ocsp = {.cert = chain->certs[0], .now = query->now};
    char why[sizeof ret->answer.detail];
    uint8_t *issuer;

    if (!staple->len) {
        sp_status_unknown(ret, NULL, INT64_MAX, "the gateway stapled no OCSP response");
        return;
    }
    issuer = sp_chain_issuer(chain, query, &ocsp.issuer.len);
    if (!issuer) {
        sp_status_unknown(ret, "staple", INT64_MAX,
                          "the stapled OCSP response cannot be verified: the certificate's issuer "
                          "is not one that can be believed");
        return;
    }
    ocsp.issuer.data = issuer;
    *ret = (struct sp_status){.from = "staple", .stapled = true};
    sp_ocsp_examine(staple, &ocsp, &ret->answer);
    free(issuer);
    ret->holds_until = ret->answer.expires;
    sp_status_disown(ret, query->crls, issuer_dn, query->now);
    if (ret->answer.status == SP_OCSP_GOOD || ret->answer.status == SP_OCSP_REVOKED)
        return;
    snprintf(why, sizeof why, "the stapled OCSP response does not count: %.400s",
             ret->answer.detail);
    memcpy(ret->answer.detail, why, sizeof why);
}

/* A certificate that demands a staple (RFC 7633) is taken at its word. */
static void add_status(const struct sp_status *status, enum agent_staple staple,
                       const struct sp_bytes *leaf, struct sp_facts *facts)
{
    enum sp_ocsp_status said = status->answer.status;
    bool counts = said == SP_OCSP_GOOD || said == SP_OCSP_REVOKED;
    bool is_demanded = staple == AGENT_STAPLE_USE && !counts && sp_ocsp_must_staple(leaf);
    struct sp_status demanded;

    if (is_demanded) {
        demanded = *status;
        snprintf(demanded.answer.detail, sizeof demanded.answer.detail,
                 "%.400s, which its certificate demands (must-staple)", status->answer.detail);
        sp_status_apply(&demanded, SP_OCSP_HARD, facts);
    } else if (counts || staple == AGENT_STAPLE_REQUIRE) {
        sp_status_apply(status, SP_OCSP_HARD, facts);
    } else if (status->from[0]) { /* nothing is held against it, but it is worth a word */
        sp_facts_add(facts, SP_REASON_COUNT, "%s", status->answer.detail);
    }
}

/* peer NULL: the handshake was long ago. What was stapled in it goes on to count: no more than a
 * list does an answer that grows old cut what is open. */
static void decide(struct agent_link *link, const struct sp_chain *chain,
                   const struct sp_tls_peer *peer)
{
    const struct agent_config *config = link->options.config;
    const struct agent_server_validation *validation = &config->server_validation;
    const int64_t now = sp_clock_wall_s();
    const struct sp_chain_query query = {
        .trust = config->trust,
        .crls = config->crls,
        .purpose = SP_PURPOSE_SERVER,
        .name = config->server_name,
        .now = now,
        .max_chain = (unsigned)validation->max_chain,
        .min_key_bits = (unsigned)validation->min_key_bits,
        .pins = (const char *const *)validation->pinned_keys.items,
        .pin_count = validation->pinned_keys.count,
    };
    struct decision *d = sp_calloc(1, sizeof *d);

    sp_chain_examine(chain, &query, &d->facts);
    if (peer && chain->count && validation->staple != AGENT_STAPLE_IGNORE) {
        link->status = sp_calloc(1, sizeof *link->status);
        judge_staple(&peer->staple, chain, &query, d->facts.issuer, link->status);
    }
    if (link->status && chain->count)
        add_status(link->status, (enum agent_staple)validation->staple, &chain->certs[0],
                   &d->facts);
    sp_verdict_decide(&d->facts, &validation->policy, now, &d->verdict);
    link->decision = d;
}

static enum sp_tls_judgement on_peer(void *ctx, const struct sp_tls_peer *peer, int *ret_alert)
{
    struct agent_link *link = ctx;

    decide(link, peer->chain, peer);
    *ret_alert = link->decision->verdict.alert;
    if (link->decision->verdict.action == SP_ACTION_BLOCK)
        return SP_TLS_REFUSE;
    tell_step(link, AGENT_STAGE_TLS, NULL, 0);
    return SP_TLS_ACCEPT;
}

static void on_up(void *ctx)
{
    struct agent_link *link = ctx;
    const struct agent_success success = {
        .gateway = link->options.gateway,
        .addr = &link->addr,
        .facts = &link->decision->facts,
        .verdict = &link->decision->verdict,
    };

    link->up = true;
    sp_timer_stop(link->deadline);
    log_decision(link);
    link->callbacks->on_up(link->ctx, link, &success);
    free(link->decision);
    link->decision = NULL;
    if (link->renewed) /* not here: HTTP/2 is reading, and to close it would have it write */
        sp_task_soon(link->options.loop, &link->review_soon);
}

static void on_review_soon(void *ctx)
{
    struct agent_link *link = ctx;

    agent_link_renew(link, link->options.config);
}

static void on_draining(void *ctx)
{
    struct agent_link *link = ctx;

    log_draining(link);
    link->callbacks->on_draining(link->ctx, link);
}

/* The error that an application is shown: what happened, as a sentence. */
static void explain(const struct agent_link *link, const struct sp_error *why, struct sp_error *ret)
{
    const struct decision *d = link->decision;
    const char *said = sp_tunnel_goaway_text(link->tunnel);

    *ret = *why;
    if (why->kind == SP_ERR_PEER_ALERT)
        sp_error_code(ret, why->kind, why->code, "the gateway refused the tunnel: %s (alert %s)",
                      sp_alert_sentence(why->code, true), sp_alert_name(why->code));
    else if (d && d->verdict.action == SP_ACTION_BLOCK)
        sp_error_code(ret, d->verdict.reason == SP_REASON_NOT_TLS ? SP_ERR_TLS : SP_ERR_PEER_CERT,
                      why->code, "the gateway failed validation: %s%s%s",
                      sp_reason_name(d->verdict.reason), d->facts.detail[0] ? ": " : "",
                      d->facts.detail);
    else if (said[0] && (why->kind == SP_OK || why->kind == SP_ERR_CLOSED))
        sp_error_code(ret, SP_ERR_CLOSED, why->code, "the gateway closed the tunnel: %s", said);
}

static void decide_not_tls(struct agent_link *link, const struct sp_error *why)
{
    struct decision *d = sp_calloc(1, sizeof *d);

    d->facts.observed = SP_REASON_BIT(SP_REASON_NOT_TLS);
    snprintf(d->facts.detail, sizeof d->facts.detail, "%s", why->text);
    sp_verdict_decide(&d->facts, &link->options.config->server_validation.policy, sp_clock_wall_s(),
                      &d->verdict);
    link->decision = d;
}

static void on_closed(void *ctx, const struct sp_error *why)
{
    struct agent_link *link = ctx;
    struct sp_error told, early;
    bool blocked;

    if (!link->up && why->kind == SP_ERR_CLOSED && !link->closing) {
        early = *why;
        sp_error_prefix(&early, "the gateway ended it before the tunnel was up");
        why = &early;
    }
    if (!link->decision && !link->up && why->kind == SP_ERR_TLS && why->code == SP_CONN_NOT_TLS)
        decide_not_tls(link, why);
    explain(link, why, &told);
    blocked = link->decision && link->decision->verdict.action == SP_ACTION_BLOCK;
    if (link->decision && (blocked || !link->closing))
        log_decision(link); /* every decision is logged, also when the gateway then refused us */
    if (link->up)
        log_closed(link, why);
    else if (!blocked && !link->closing)
        log_failed(link, why);
    link->tunnel = NULL;
    if (!link->closing && (!link->up || told.kind != SP_OK))
        tell_failure(link, stage_of(link, why), &told);
    link_gone(link, &told);
}

static const struct sp_tunnel_callbacks tunnel_callbacks = {
    .tls = {.on_peer = on_peer},
    .on_up = on_up,
    .on_draining = on_draining,
    .on_closed = on_closed,
};

static void on_deadline(void *ctx)
{
    struct agent_link *link = ctx;
    struct sp_error why;

    sp_error_set(&why, SP_ERR_TIMEOUT,
                 "the gateway has not begun to speak HTTP/2 within %u ms: it is stuck, or no "
                 "gateway",
                 (unsigned)link->options.config->limits.handshake_ms);
    sp_tunnel_abort(link->tunnel, &why);
}

/* There was no tunnel yet that could fail. */
static void link_failed(struct agent_link *link, enum agent_stage stage, const struct sp_error *why)
{
    log_failed(link, why);
    tell_failure(link, stage, why);
    link_gone(link, why);
}

static void on_dialled(void *ctx, struct sp_sock *sock, const struct sp_addr *addr,
                       const struct sp_error *error)
{
    struct agent_link *link = ctx;
    const struct agent_config *config = link->options.config;
    const struct sp_tunnel_options options = {
        .params = link->options.params,
        .client = &link->tls,
        .handshake_ms = (unsigned)config->limits.handshake_ms,
        .ping_idle_ms = (unsigned)config->keepalive.idle_s * 1000,
        .ping_timeout_ms = (unsigned)config->keepalive.timeout_s * 1000,
    };
    struct sp_error err;
    enum agent_stage stage = link->upstream ? AGENT_STAGE_PROXY : AGENT_STAGE_CONNECT;
    int fd;

    link->dial = NULL;
    link->upstream = NULL;
    if (!sock) {
        link_failed(link, stage, error);
        return;
    }
    link->addr = *addr;
    tell_step(link, stage, addr, 1);
    fd = sp_sock_release(sock);
    if (sp_tunnel_new(link->options.loop, fd, &options, &tunnel_callbacks, link, &link->tunnel,
                      &err) != SP_OK) {
        close(fd);
        link_failed(link, AGENT_STAGE_TLS, &err);
        return;
    }
    /* Later by a little, so that a handshake that is late ends with its own words. */
    sp_timer_start(link->deadline, config->limits.handshake_ms + 100);
}

static void on_resolved(void *ctx, const struct sp_addr *addrs, size_t count,
                        const struct sp_error *error)
{
    struct agent_link *link = ctx;

    link->query = NULL;
    if (error->kind != SP_OK) {
        link_failed(link, AGENT_STAGE_RESOLVE, error);
        return;
    }
    link->last = addrs[count - 1];
    tell_step(link, AGENT_STAGE_RESOLVE, addrs, count);
    link->dial = sp_dial(link->options.loop, addrs, count, NULL, on_dialled, link);
}

static void connect_upstream(struct agent_link *link)
{
    const struct agent_upstream_options options = {
        .loop = link->options.loop,
        .resolver = link->options.resolver,
        .proxy = link->options.config->upstream,
        .gateway = &link->gateway,
        .timeout_ms = (unsigned)link->options.config->limits.handshake_ms,
    };

    link->upstream = agent_upstream_connect(&options, on_dialled, link);
}

struct agent_link *agent_link_new(const struct agent_link_options *options,
                                  const struct agent_link_callbacks *callbacks, void *ctx)
{
    struct agent_link *link = sp_calloc(1, sizeof *link);

    link->options = *options;
    link->gateway = *options->gateway;
    link->options.gateway = &link->gateway;
    link->options.config = agent_config_ref(options->config);
    link->callbacks = callbacks;
    link->ctx = ctx;
    link->tls = (struct sp_tls_client_options){
        .server_name = options->config->server_name,
        .cred = options->config->cred,
        .offer_h2 = true,
    };
    sp_task_init(&link->gone_soon, on_gone_soon, link);
    sp_task_init(&link->review_soon, on_review_soon, link);
    link->deadline = sp_timer_new(options->loop, on_deadline, link);
    if (agent_proxy_serves(link->options.config->upstream, &link->gateway))
        connect_upstream(link);
    else
        link->query = sp_resolve(options->resolver, options->gateway->host, options->gateway->port,
                                 on_resolved, link);
    return link;
}

void agent_link_renew(struct agent_link *link, struct agent_config *config)
{
    const struct sp_verdict *verdict;
    struct sp_chain chain;
    struct sp_error why;

    agent_config_ref(config);
    agent_config_unref(link->options.config);
    link->options.config = config;
    link->renewed = true; /* heeded by on_up, where that is yet to come */
    if (!link->up || link->closing)
        return;
    sp_tls_peer_chain(sp_tunnel_tls(link->tunnel), &chain);
    decide(link, &chain, NULL);
    verdict = &link->decision->verdict;
    if (verdict->action == SP_ACTION_BLOCK) {
        log_decision(link);
        sp_error_code(&why, SP_ERR_PEER_CERT, verdict->alert, "the gateway's CRLs changed: %s: %s",
                      sp_reason_name(verdict->reason), link->decision->facts.detail);
        tell_failure(link, AGENT_STAGE_UP, &why);
        link->closing = true;
        sp_tunnel_close(link->tunnel, &why);
    }
    free(link->decision);
    link->decision = NULL;
}

const struct sp_target *agent_link_gateway(const struct agent_link *link)
{
    return &link->gateway;
}

const struct sp_addr *agent_link_address(const struct agent_link *link)
{
    return &link->addr;
}

struct sp_tunnel *agent_link_tunnel(struct agent_link *link)
{
    return link->up ? link->tunnel : NULL;
}

void agent_link_retire(struct agent_link *link)
{
    if (link->up)
        sp_tunnel_drain(link->tunnel, "the agent has a new configuration, or is shutting down");
    else
        agent_link_close(link);
}

void agent_link_close(struct agent_link *link)
{
    sp_error_set(&link->why, SP_ERR_CLOSED, "the agent closed the tunnel");
    link->closing = true;
    if (link->tunnel) {
        sp_tunnel_abort(link->tunnel, &link->why);
        return;
    }
    if (link->query)
        sp_resolve_cancel(link->query);
    if (link->dial)
        sp_dial_cancel(link->dial);
    agent_upstream_cancel(link->upstream);
    link->query = NULL;
    link->dial = NULL;
    link->upstream = NULL;
    sp_task_soon(link->options.loop, &link->gone_soon);
}
