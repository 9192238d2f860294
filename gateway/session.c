#include "gateway/session.h"

#include "common/clock.h"
#include "common/conn.h"
#include "common/evidence.h"
#include "common/loop.h"
#include "common/resolve.h"
#include "common/token_bucket.h"
#include "common/tunnel.h"
#include "gateway/carry.h"
#include "gateway/chain_cache.h"
#include "gateway/config.h"
#include "gateway/registry.h"
#include "gateway/shadow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_CHANNELS   20000 /* a tunnel's; the tenant's own limit is counted apart */
#define LIMIT_LINES    5     /* at once; then one a second */
#define SWEEP_SLICE_US 2000  /* of deciding again in one go: other tunnels go on meanwhile */

static const char shutting_down[] = "the gateway is shutting down";

/* Facts and verdict together: kept only from the verdict until it is logged. */
struct decision {
    struct sp_facts facts;
    struct sp_verdict verdict;
    struct gw_shadow_verdict shadow;
};

struct gw_sessions {
    struct gw_sessions_options options;
    struct gw_registry *registry;
    uint64_t generation; /* of the registry: its address may be that of one that is gone */
    struct sp_resolver *resolver;
    struct session *first;      /* newest first */
    struct session *sweep_next; /* the next to be decided again; NULL: no sweep */
    struct sp_timer *sweep_timer;
    size_t count;
    struct gw_carries carries;
    struct gw_chain_cache *chains; /* of this generation */
    uint64_t next_id;
    size_t turned_away; /* since the last line that said so */
    struct sp_token_bucket limit_lines;
    bool draining;
};

struct session {
    struct gw_sessions *all;
    struct session *next, **prev;
    struct sp_tunnel *tunnel; /* NULL: gone; channels may still hold the session */
    struct gw_tenant *tenant; /* NULL: not known (yet) */
    uint64_t decided_under;   /* the registry's generation */
    struct decision *decision;
    struct sp_addr peer;
    char id[32];
    size_t refs; /* the tunnel, and each channel */
    uint64_t channels;
    bool up, logged, unvalidated, counted;
};

static void session_unref(struct session *s)
{
    if (--s->refs)
        return;
    gw_tenant_unref(s->tenant);
    free(s->decision);
    free(s);
}

/* ---- the decision ---- */

/* What was found out about a chain may come from the cache; what is done about it never does. */
static void decide(const struct session *s, const struct sp_chain *chain, struct decision *ret)
{
    const struct gw_tenant *tenant = s->tenant;
    const struct gw_client_validation *validation =
        tenant ? &tenant->config->client_validation : NULL;
    const int64_t now = sp_clock_wall_s();
    /* A tenant of an older generation (a reload during the handshake) has no place in it. */
    bool is_current = s->decided_under == s->all->generation;
    const struct sp_chain_query query = {
        .trust = tenant ? tenant->trust : NULL,
        .crls = tenant ? tenant->crls : NULL,
        .purpose = SP_PURPOSE_CLIENT,
        .require_eku = validation && validation->require_eku,
        .max_chain = validation ? (unsigned)validation->max_chain : 0,
        .min_key_bits = validation ? (unsigned)validation->min_key_bits : 0,
        .now = now,
    };

    gw_chain_cache_examine(is_current ? s->all->chains : NULL, tenant, chain, &query, &ret->facts);
    if (!tenant)
        ret->facts.observed |= SP_REASON_BIT(SP_REASON_TENANT_UNKNOWN);
    else if (!tenant->config->enabled)
        ret->facts.observed |= SP_REASON_BIT(SP_REASON_TENANT_DISABLED);
    sp_verdict_decide(&ret->facts, tenant ? tenant->policy : NULL, now, &ret->verdict);
    gw_shadow_decide(tenant, chain, &query, &ret->facts, &ret->verdict, &ret->shadow);
}

/* A reason that is known without a certificate. */
static void decide_without_chain(enum sp_reason reason, const char *detail, struct decision *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->facts.observed = SP_REASON_BIT(reason);
    snprintf(ret->facts.detail, sizeof ret->facts.detail, "%s", detail);
    sp_verdict_decide(&ret->facts, NULL, sp_clock_wall_s(), &ret->verdict);
}

static void log_decision(struct session *s, const struct decision *d)
{
    char text[SP_ADDR_TEXT];
    struct sp_log_line line;

    s->logged = true;
    if (s->tenant)
        gw_shadow_count(s->tenant, &d->shadow);
    if (!sp_log_begin(&line, s->all->options.log,
                      d->verdict.action == SP_ACTION_ALLOW ? SP_LOG_INFO : SP_LOG_WARNING,
                      "tunnel"))
        return;
    sp_log_str(&line, "tunnel", s->id);
    sp_log_str(&line, "tenant", s->tenant ? s->tenant->id : NULL);
    sp_log_str(&line, "peer", sp_addr_format(&s->peer, text));
    sp_evidence_verdict(&line, &d->facts, &d->verdict);
    if (d->verdict.action == SP_ACTION_BLOCK && d->verdict.alert >= 0)
        sp_log_str(&line, "alert", sp_alert_name(d->verdict.alert));
    gw_shadow_log(&line, &d->shadow);
    sp_evidence_session(&line, sp_tunnel_tls(s->tunnel));
    sp_log_end(&line);
}

static void on_bad_name(void *ctx)
{
    struct decision d;

    decide_without_chain(SP_REASON_UNKNOWN_SERVER_NAME, "the server name sent is malformed", &d);
    log_decision(ctx, &d);
}

static bool on_hello(void *ctx, const char *name, struct sp_tls_choice *choice)
{
    struct session *s = ctx;
    struct gw_match match = gw_registry_find(s->all->registry, name);
    struct decision d;

    s->decided_under = s->all->generation;
    if (match.kind == GW_MATCH_NONE) {
        decide_without_chain(SP_REASON_UNKNOWN_SERVER_NAME,
                             name ? "no tenant has this server name" : "no server name was sent",
                             &d);
        log_decision(s, &d);
        return false;
    }
    choice->cred = match.cred;
    if (match.kind == GW_MATCH_COMMON) {
        /* No tenant, so no CA could vouch for anybody: whoever it is gets the same answer, with or
         * without a certificate. */
        choice->certificate_optional = true;
        return true;
    }
    s->tenant = gw_tenant_ref(match.tenant);
    choice->certificate_optional = match.tenant->certificate_optional;
    choice->tickets = true;
    memcpy(choice->ticket_key, match.tenant->ticket_key, sizeof choice->ticket_key);
    return true;
}

static enum sp_tls_judgement on_peer(void *ctx, const struct sp_tls_peer *peer, int *ret_alert)
{
    struct session *s = ctx;
    struct decision *d = sp_calloc(1, sizeof *d);

    decide(s, peer->chain, d); /* resumed: like any other (invariant 3) */
    s->decision = d;
    if (d->verdict.action != SP_ACTION_BLOCK)
        return SP_TLS_ACCEPT; /* logged in on_up, when the handshake is through */
    log_decision(s, d);
    *ret_alert = d->verdict.alert;
    return SP_TLS_REFUSE;
}

/* Moves to the next generation of its tenant. True: another trust or another policy. */
static bool take_up_tenant(struct session *s, struct gw_tenant *next)
{
    struct gw_tenant *old = s->tenant;
    bool changed = memcmp(next->ticket_epoch, old->ticket_epoch, sizeof old->ticket_epoch) != 0;

    if (s->counted)
        gw_tenant_move_tunnel(old, next);
    s->tenant = gw_tenant_ref(next);
    gw_tenant_unref(old);
    return changed;
}

/* Decides an open tunnel again under the present registry (invariant 6). */
static void decide_again(struct session *s)
{
    const char *name = sp_tls_server_name(sp_tunnel_tls(s->tunnel));
    struct gw_match match = gw_registry_find(s->all->registry, name);
    struct sp_chain chain;
    struct sp_error why;
    struct decision d;

    s->decided_under = s->all->generation;
    if (match.kind != GW_MATCH_TENANT || strcmp(match.tenant->id, s->tenant->id) != 0) {
        decide_without_chain(SP_REASON_UNKNOWN_SERVER_NAME,
                             "the server name is no longer this tenant's", &d);
    } else {
        if (!take_up_tenant(s, match.tenant))
            return;
        sp_tls_peer_chain(sp_tunnel_tls(s->tunnel), &chain);
        decide(s, &chain, &d);
        s->unvalidated = d.verdict.action == SP_ACTION_ALLOW_UNVALIDATED;
    }
    log_decision(s, &d);
    if (d.verdict.action != SP_ACTION_BLOCK)
        return;
    sp_error_code(&why, SP_ERR_PEER_CERT, d.verdict.alert, "after a reload: %s%s%s",
                  sp_reason_name(d.verdict.reason), d.facts.detail[0] ? ": " : "", d.facts.detail);
    sp_tunnel_close(s->tunnel, &why);
}

static void on_up(void *ctx)
{
    struct session *s = ctx;
    struct sp_error why;

    s->up = true;
    s->unvalidated = s->decision->verdict.action == SP_ACTION_ALLOW_UNVALIDATED;
    log_decision(s, s->decision);
    free(s->decision);
    s->decision = NULL;
    s->counted = gw_tenant_take_tunnel(s->tenant);
    if (!s->counted) {
        sp_error_set(&why, SP_ERR_LIMIT, "the tenant's limit of %llu tunnels is reached",
                     (unsigned long long)s->tenant->config->limits.tunnels);
        sp_tunnel_close(s->tunnel, &why);
    } else if (s->all->draining) {
        sp_tunnel_drain(s->tunnel, shutting_down);
    } else if (s->decided_under != s->all->generation) { /* a reload came during the handshake */
        decide_again(s);
    }
}

/* ---- its channels ---- */

static void tell_if_empty(struct gw_sessions *all)
{
    if (!all->count && !all->carries.count)
        all->options.on_empty(all->options.ctx);
}

static void on_carry_end(void *ctx)
{
    struct session *s = ctx;
    struct gw_sessions *all = s->all;

    session_unref(s);
    tell_if_empty(all);
}

static void on_channel(void *ctx, struct sp_channel *channel)
{
    struct session *s = ctx;
    const struct gw_config *config = s->all->registry->config;
    const struct gw_carry_options options = {
        .carries = &s->all->carries,
        .ways = {s->all->options.loop, s->all->resolver, (unsigned)config->limits.dial_ms},
        .log = s->all->options.log,
        .tenant = s->tenant,
        .tunnel = s->id,
        .unvalidated = s->unvalidated,
        .on_end = on_carry_end,
        .ctx = s,
    };

    s->refs++;
    s->channels++;
    gw_carry_start(&options, channel);
}

static void on_bad_request(void *ctx, int status, const char *text)
{
    struct session *s = ctx;
    char peer[SP_ADDR_TEXT];
    struct sp_log_line line;

    if (!sp_log_begin(&line, s->all->options.log, SP_LOG_WARNING, "bad_request"))
        return;
    sp_log_str(&line, "tunnel", s->id);
    sp_log_str(&line, "tenant", s->tenant ? s->tenant->id : NULL);
    sp_log_str(&line, "peer", sp_addr_format(&s->peer, peer));
    sp_log_int(&line, "status", status);
    sp_log_str(&line, "detail", text);
    sp_log_end(&line);
}

/* ---- the end ---- */

/* The handshake came to nothing before a verdict: it is still one decision, one line. Whoever it
 * was has proved nothing, so no identity is written. */
static void log_no_handshake(struct session *s, const struct sp_error *why)
{
    char text[SP_ADDR_TEXT], message[512];
    struct sp_log_line line;
    struct decision d;

    if (why->kind == SP_ERR_TLS && why->code == SP_CONN_NOT_TLS) {
        decide_without_chain(SP_REASON_NOT_TLS, why->text, &d);
        log_decision(s, &d);
        return;
    }
    if (!sp_log_begin(&line, s->all->options.log, SP_LOG_WARNING, "tunnel"))
        return;
    sp_log_str(&line, "tunnel", s->id);
    sp_log_str(&line, "tenant", s->tenant ? s->tenant->id : NULL);
    sp_log_str(&line, "peer", sp_addr_format(&s->peer, text));
    sp_log_str(&line, "action", sp_action_name(SP_ACTION_BLOCK));
    sp_log_str(&line, "validate_status", "failed");
    sp_log_array_begin(&line, "observed_errors");
    sp_log_array_end(&line);
    sp_log_str(&line, "error", sp_error_message(why, message, sizeof message));
    if (why->kind == SP_ERR_PEER_ALERT)
        sp_log_str(&line, "detail", sp_alert_sentence(why->code, false));
    sp_evidence_session(&line, sp_tunnel_tls(s->tunnel));
    sp_log_end(&line);
}

static void log_closed(struct session *s, const struct sp_error *why)
{
    char text[SP_ADDR_TEXT], message[512];
    struct sp_log_line line;
    uint64_t now = sp_loop_now_ms(s->all->options.loop);

    if (!sp_log_begin(&line, s->all->options.log, SP_LOG_INFO, "tunnel_closed"))
        return;
    sp_log_str(&line, "tunnel", s->id);
    sp_log_str(&line, "tenant", s->tenant->id);
    sp_log_str(&line, "peer", sp_addr_format(&s->peer, text));
    if (why->kind != SP_OK)
        sp_log_str(&line, "error", sp_error_message(why, message, sizeof message));
    sp_log_int(&line, "channels", (int64_t)s->channels);
    sp_log_int(&line, "cut", (int64_t)sp_tunnel_channel_count(s->tunnel));
    sp_log_int(&line, "duration_ms", (int64_t)(now - sp_tunnel_opened_ms(s->tunnel)));
    sp_log_end(&line);
}

static void on_closed(void *ctx, const struct sp_error *why)
{
    struct session *s = ctx;
    struct gw_sessions *all = s->all;

    if (s->up)
        log_closed(s, why);
    else if (!s->logged)
        log_no_handshake(s, why);
    if (s->counted)
        gw_tenant_drop_tunnel(s->tenant);
    atomic_fetch_sub_explicit(all->options.connections, 1, memory_order_relaxed);
    if (all->sweep_next == s)
        all->sweep_next = s->next;
    *s->prev = s->next;
    if (s->next)
        s->next->prev = s->prev;
    s->tunnel = NULL;
    session_unref(s);
    all->count--;
    tell_if_empty(all);
}

static const struct sp_tunnel_callbacks callbacks = {
    .tls = {.on_hello = on_hello, .on_bad_name = on_bad_name, .on_peer = on_peer},
    .on_up = on_up,
    .on_channel = on_channel,
    .on_bad_request = on_bad_request,
    .on_closed = on_closed,
};

/* ---- all of them ---- */

/* A flood of connections must not be a flood of lines. */
static void log_turned_away(struct gw_sessions *all, const struct sp_addr *peer)
{
    char text[SP_ADDR_TEXT];

    all->turned_away++;
    if (!sp_token_bucket_take(&all->limit_lines, sp_loop_now_ms(all->options.loop)))
        return;
    sp_log_message(all->options.log, SP_LOG_WARNING, "limit",
                   "%zu turned away, the last one %s: limits.connections (%zu) is reached",
                   all->turned_away, sp_addr_format(peer, text),
                   (size_t)all->registry->config->limits.connections);
    all->turned_away = 0;
}

void gw_sessions_accept(struct gw_sessions *all, int fd, const struct sp_addr *peer)
{
    const struct gw_config *config = all->registry->config;
    const struct sp_tunnel_options options = {
        .params = all->options.params[config->tls.min_version],
        .handshake_ms = (unsigned)config->limits.handshake_ms,
        .request_ms = (unsigned)config->limits.request_ms,
        .ping_idle_ms = (unsigned)config->keepalive.idle_s * 1000,
        .ping_timeout_ms = (unsigned)config->keepalive.timeout_s * 1000,
        .max_channels = MAX_CHANNELS,
    };
    struct session *s;
    struct sp_error err;
    char text[SP_ADDR_TEXT];

    if (atomic_fetch_add_explicit(all->options.connections, 1, memory_order_relaxed) >=
        config->limits.connections) {
        atomic_fetch_sub_explicit(all->options.connections, 1, memory_order_relaxed);
        close(fd);
        log_turned_away(all, peer);
        return;
    }
    s = sp_calloc(1, sizeof *s);
    s->all = all;
    s->peer = *peer;
    s->refs = 1;
    snprintf(s->id, sizeof s->id, "%u-%llu", all->options.worker,
             (unsigned long long)++all->next_id);
    if (sp_tunnel_new(all->options.loop, fd, &options, &callbacks, s, &s->tunnel, &err) != SP_OK) {
        atomic_fetch_sub_explicit(all->options.connections, 1, memory_order_relaxed);
        sp_log_message(all->options.log, SP_LOG_ERROR, "trouble", "tunnel from %s: %s",
                       sp_addr_format(peer, text), err.text);
        close(fd);
        free(s);
        return;
    }
    s->next = all->first;
    s->prev = &all->first;
    if (s->next)
        s->next->prev = &s->next;
    all->first = s;
    all->count++;
}

static void on_sweep(void *ctx)
{
    struct gw_sessions *all = ctx;
    uint64_t start = sp_loop_clock_us();

    while (all->sweep_next) {
        struct session *s = all->sweep_next;

        all->sweep_next = s->next;
        if (s->up && s->decided_under != all->generation)
            decide_again(s);
        if (sp_loop_clock_us() - start > SWEEP_SLICE_US)
            break;
    }
    if (all->sweep_next)
        sp_timer_start(all->sweep_timer, 1);
}

void gw_sessions_reload(struct gw_sessions *all, struct gw_registry *registry)
{
    struct gw_registry *old = all->registry;

    all->registry = gw_registry_ref(registry);
    all->generation++;
    gw_chain_cache_clear(all->chains);
    gw_registry_unref(old);
    all->sweep_next = all->first;
    on_sweep(all);
}

void gw_sessions_drain(struct gw_sessions *all)
{
    struct session *next;

    all->draining = true;
    for (struct session *s = all->first; s; s = next) {
        next = s->next;
        sp_tunnel_drain(s->tunnel, shutting_down);
    }
}

void gw_sessions_close(struct gw_sessions *all)
{
    struct session *next;
    struct sp_error why;

    sp_error_set(&why, SP_ERR_CLOSED, "%s", shutting_down);
    all->draining = true;
    for (struct session *s = all->first; s; s = next) {
        next = s->next;
        sp_tunnel_close(s->tunnel, &why);
    }
}

void gw_sessions_abort(struct gw_sessions *all)
{
    struct sp_error why;

    sp_error_set(&why, SP_ERR_CLOSED, "%s", shutting_down);
    all->draining = true;
    for (struct session *s = all->first; s; s = s->next)
        sp_tunnel_abort(s->tunnel, &why);
    gw_carries_cancel(&all->carries);
}

size_t gw_sessions_count(const struct gw_sessions *all)
{
    return all->count + all->carries.count;
}

enum sp_err gw_sessions_new(const struct gw_sessions_options *options, struct gw_registry *registry,
                            struct gw_sessions **ret_sessions, struct sp_error *err)
{
    const struct gw_config *config = registry->config;
    const struct sp_resolver_options resolver = {
        .servers = config->resolver_servers,
        .timeout_ms = (unsigned)config->resolver.timeout_ms,
    };
    struct gw_sessions *all = sp_calloc(1, sizeof *all);
    enum sp_err rc = sp_resolver_new(options->loop, &resolver, &all->resolver, err);

    if (rc != SP_OK) {
        free(all);
        return rc;
    }
    all->options = *options;
    all->registry = gw_registry_ref(registry);
    all->chains = gw_chain_cache_new(GW_CHAIN_CACHE_ENTRIES);
    sp_token_bucket_init(&all->limit_lines, LIMIT_LINES, 1, sp_loop_now_ms(options->loop));
    all->sweep_timer = sp_timer_new(options->loop, on_sweep, all);
    *ret_sessions = all;
    return SP_OK;
}

void gw_sessions_free(struct gw_sessions *all)
{
    if (!all)
        return;
    SP_REQUIRE(!gw_sessions_count(all));
    sp_timer_free(all->sweep_timer);
    sp_resolver_free(all->resolver);
    gw_registry_unref(all->registry);
    gw_chain_cache_free(all->chains);
    free(all);
}
