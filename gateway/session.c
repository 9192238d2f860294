#include "gateway/session_impl.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/resolve.h"
#include "common/tls_cred.h"
#include "gateway/balance.h"
#include "gateway/chain_cache.h"
#include "gateway/config.h"
#include "gateway/registry.h"
#include "gateway/source_rate.h"
#include "gateway/tenant.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_CHANNELS   20000 /* a tunnel's; the tenant's own limit is counted apart */
#define LIMIT_LINES    5     /* at once; then one a second */
#define SWEEP_SLICE_US 1000  /* of deciding again in one go: other tunnels go on meanwhile */
#define WAKE_SLICE     8     /* waiting handshakes that go on in one go: each costs as much again */
#define REVIEW_MS      400   /* how often the clock is looked at for decisions that have run out */

static const char shutting_down[] = "the gateway is shutting down";

static void session_unref(struct gw_session *s)
{
    if (--s->refs)
        return;
    gw_tenant_unref(s->tenant);
    sp_tls_cred_unref(s->cred);
    free(s->decision);
    free(s);
}

/* ---- its life ---- */

static void on_up(void *ctx)
{
    struct gw_session *s = ctx;
    struct sp_error why;

    s->up = true;
    gw_session_decided(s);
    s->counted = gw_tenant_take_tunnel(s->tenant);
    if (!s->counted) {
        s->closing = true;
        sp_error_set(&why, SP_ERR_LIMIT, "the tenant's limit of %llu tunnels is reached",
                     (unsigned long long)s->tenant->config->limits.tunnels);
        sp_tunnel_close(s->tunnel, &why);
    } else if (s->all->draining) {
        sp_tunnel_drain(s->tunnel, shutting_down);
    } else if (s->decided_under != s->all->generation) { /* a reload came during the handshake */
        gw_session_after_reload(s);
    } else if (s->has_news) {
        gw_session_review(s);
    }
}

/* ---- its turns ---- */

static struct gw_session *session_of(struct gw_admission_item *item)
{
    return (struct gw_session *)(void *)((char *)item - offsetof(struct gw_session, admission));
}

static void run_step(struct gw_admission_item *item)
{
    struct gw_session *s = session_of(item);

    s->begun = true;
    sp_tunnel_step(s->tunnel);
}

/* Without a word: whoever is turned away must cost less than whoever is let in. */
static void turn_away(struct gw_session *s)
{
    struct sp_error why;

    sp_error_set(&why, SP_ERR_LIMIT, "turned away");
    s->logged = true;
    sp_tunnel_abort(s->tunnel, &why);
}

static void too_late(struct gw_admission_item *item)
{
    struct gw_session *s = session_of(item);

    gw_sessions_log_turned_away(s->all, &s->peer,
                                "more handshakes than this machine can do: it waited for more than "
                                "half of limits.handshake_ms");
    turn_away(s);
}

static const struct gw_admission_callbacks admission_callbacks = {run_step, too_late};

static void on_step(void *ctx)
{
    struct gw_session *s = ctx;
    struct gw_admission *admission = s->all->admission;
    char name[SP_HOST_MAX + 1];
    struct gw_tenant *tenant;
    bool resumes;

    if (s->begun) {
        gw_admission_put(admission, &s->admission, GW_ADMIT_BEGUN, s->tenant ? s->tenant->id : "");
        return;
    }
    sp_tls_peek_hello(sp_tunnel_tls(s->tunnel), name, &resumes);
    tenant = gw_registry_find(s->all->registry, name[0] ? name : NULL).tenant;
    if (tenant && !gw_tenant_take_handshake(tenant, sp_loop_clock_us())) {
        gw_sessions_log_turned_away(s->all, &s->peer,
                                    "limits.handshakes_per_s (%zu) of tenant %s is reached",
                                    (size_t)tenant->config->limits.handshakes_per_s, tenant->id);
        turn_away(s);
        return;
    }
    gw_admission_put(admission, &s->admission, resumes ? GW_ADMIT_RESUMED : GW_ADMIT_FULL,
                     tenant ? tenant->id : "");
}

/* ---- its channels ---- */

static void tell_if_empty(struct gw_sessions *all)
{
    if (!all->count && !all->carries.count)
        all->options.on_empty(all->options.ctx);
}

static void on_carry_end(void *ctx)
{
    struct gw_session *s = ctx;
    struct gw_sessions *all = s->all;

    session_unref(s);
    tell_if_empty(all);
}

static void on_channel(void *ctx, struct sp_channel *channel)
{
    struct gw_session *s = ctx;
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
    gw_session_log_bad_request(ctx, status, text);
}

/* ---- the end ---- */

static void count_out(struct gw_sessions *all)
{
    atomic_fetch_sub_explicit(all->options.connections, 1, memory_order_relaxed);
    gw_balance_gone(all->options.balance, all->options.worker);
}

static void on_closed(void *ctx, const struct sp_error *why)
{
    struct gw_session *s = ctx;
    struct gw_sessions *all = s->all;

    if (s->up)
        gw_session_log_closed(s, why);
    else if (!s->logged)
        gw_session_log_no_handshake(s, why);
    if (s->counted)
        gw_tenant_drop_tunnel(s->tenant);
    count_out(all);
    if (all->sweep_next == s)
        all->sweep_next = s->next;
    gw_live_remove(all->live, &s->live);
    gw_admission_remove(all->admission, &s->admission);
    *s->prev = s->next;
    if (s->next)
        s->next->prev = s->prev;
    s->tunnel = NULL;
    session_unref(s);
    all->count--;
    tell_if_empty(all);
}

static const struct sp_tunnel_callbacks callbacks = {
    .tls = {.on_hello = gw_session_on_hello,
            .on_bad_name = gw_session_on_bad_name,
            .on_peer = gw_session_on_peer,
            .on_claim = gw_session_on_claim},
    .on_step = on_step,
    .on_up = on_up,
    .on_channel = on_channel,
    .on_bad_request = on_bad_request,
    .on_closed = on_closed,
};

/* ---- all of them ---- */

static bool may_come_in(struct gw_sessions *all, const struct sp_addr *peer)
{
    const struct gw_config_limits *limits = &all->registry->config->limits;

    if (!gw_source_rates_take(all->options.sources, &peer->ip, limits->handshakes_per_s,
                              sp_loop_clock_us())) {
        gw_sessions_log_turned_away(all, peer,
                                    "limits.handshakes_per_s (%zu) of a source address is reached",
                                    (size_t)limits->handshakes_per_s);
        return false;
    }
    if (atomic_fetch_add_explicit(all->options.connections, 1, memory_order_relaxed) <
        limits->connections)
        return true;
    atomic_fetch_sub_explicit(all->options.connections, 1, memory_order_relaxed);
    gw_sessions_log_turned_away(all, peer, "limits.connections (%zu) is reached",
                                (size_t)limits->connections);
    return false;
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
        .accepted = true,
    };
    struct gw_session *s;
    struct sp_error err;
    char text[SP_ADDR_TEXT];

    if (!may_come_in(all, peer)) {
        gw_balance_gone(all->options.balance, all->options.worker);
        close(fd);
        return;
    }
    s = sp_calloc(1, sizeof *s);
    s->all = all;
    s->peer = *peer;
    s->refs = 1;
    snprintf(s->id, sizeof s->id, "%u-%llu", all->options.worker,
             (unsigned long long)++all->next_id);
    if (sp_tunnel_new(all->options.loop, fd, &options, &callbacks, s, &s->tunnel, &err) != SP_OK) {
        count_out(all);
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
    if (!all->count++)
        sp_timer_start(all->review_timer, REVIEW_MS);
}

/* A decision holds for whole seconds: looked at often enough, none is kept a second too long. The
 * clock is asked, not a timer set for the moment: it may be put forward. */
static void on_review(void *ctx)
{
    struct gw_sessions *all = ctx;
    uint64_t start = sp_loop_clock_us();
    int64_t now = sp_clock_wall_s();
    struct gw_live_entry *due = NULL;
    unsigned woken = 0;

    while (sp_loop_clock_us() - start <= SWEEP_SLICE_US && woken < WAKE_SLICE) {
        struct gw_session *s;

        due = gw_live_take_due(all->live, now);
        if (!due)
            break;
        s = (struct gw_session *)due;
        if (s->up) {
            gw_session_review(s);
        } else {
            sp_tunnel_continue(s->tunnel);
            woken++;
        }
    }
    if (all->count)
        sp_timer_start(all->review_timer, due ? 1 : REVIEW_MS);
}

void gw_sessions_on_status(struct gw_sessions *all, const struct gw_live_key *key)
{
    struct gw_live_entry *first = gw_live_find(all->live, key);

    for (struct gw_live_entry *e = first; e; e = e->next) {
        struct gw_session *s = (struct gw_session *)e;

        s->has_news = !s->up;
        gw_live_review_at(all->live, e, 0);
    }
    if (first)
        sp_timer_start(all->review_timer, 0);
}

static void raise_to(uint64_t *highest, uint64_t value)
{
    if (value > *highest)
        *highest = value;
}

/* How long the others were kept waiting for it. */
static void log_sweep(const struct gw_sessions *all, uint64_t now_us)
{
    struct sp_log_line line;

    if (!all->sweep.decided || !sp_log_begin(&line, all->options.log, SP_LOG_DEBUG, "sweep"))
        return;
    sp_log_int(&line, "worker", (int64_t)all->options.worker);
    sp_log_int(&line, "tunnels", (int64_t)all->sweep.decided);
    sp_log_int(&line, "slices", (int64_t)all->sweep.slices);
    sp_log_int(&line, "longest_us", (int64_t)all->sweep.longest_us);
    sp_log_int(&line, "busiest_us", (int64_t)all->sweep.busiest_us);
    sp_log_int(&line, "duration_ms", (int64_t)(now_us - all->sweep.begun_us) / 1000);
    sp_log_end(&line);
}

static void on_sweep(void *ctx)
{
    struct gw_sessions *all = ctx;
    uint64_t start = sp_loop_clock_us(), cpu = sp_clock_thread_us(), now;

    while (all->sweep_next) {
        struct gw_session *s = all->sweep_next;

        all->sweep_next = s->next;
        if (s->up && s->decided_under != all->generation) {
            gw_session_after_reload(s);
            all->sweep.decided++;
        }
        if (sp_loop_clock_us() - start > SWEEP_SLICE_US)
            break;
    }
    now = sp_loop_clock_us();
    all->sweep.slices++;
    raise_to(&all->sweep.longest_us, now - start);
    raise_to(&all->sweep.busiest_us, sp_clock_thread_us() - cpu);
    if (all->sweep_next)
        sp_timer_start(all->sweep_timer, 1);
    else
        log_sweep(all, now);
}

void gw_sessions_reload(struct gw_sessions *all, struct gw_registry *registry)
{
    struct gw_registry *old = all->registry;

    all->registry = gw_registry_ref(registry);
    all->generation++;
    gw_chain_cache_clear(all->chains);
    gw_admission_set_patience(all->admission, registry->config->limits.handshake_ms / 2);
    gw_registry_unref(old);
    all->sweep_next = all->first;
    memset(&all->sweep, 0, sizeof all->sweep);
    all->sweep.begun_us = sp_loop_clock_us();
    on_sweep(all);
}

void gw_sessions_drain(struct gw_sessions *all)
{
    struct gw_session *next;

    all->draining = true;
    for (struct gw_session *s = all->first; s; s = next) {
        next = s->next;
        sp_tunnel_drain(s->tunnel, shutting_down);
    }
}

void gw_sessions_close(struct gw_sessions *all)
{
    struct gw_session *next;
    struct sp_error why;

    sp_error_set(&why, SP_ERR_CLOSED, "%s", shutting_down);
    all->draining = true;
    for (struct gw_session *s = all->first; s; s = next) {
        next = s->next;
        sp_tunnel_close(s->tunnel, &why);
    }
}

void gw_sessions_abort(struct gw_sessions *all)
{
    struct sp_error why;

    sp_error_set(&why, SP_ERR_CLOSED, "%s", shutting_down);
    all->draining = true;
    for (struct gw_session *s = all->first; s; s = s->next)
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
    all->live = gw_live_new();
    all->admission = gw_admission_new(options->loop, &admission_callbacks);
    gw_admission_set_patience(all->admission, config->limits.handshake_ms / 2);
    all->review_timer = sp_timer_new(options->loop, on_review, all);
    *ret_sessions = all;
    return SP_OK;
}

void gw_sessions_free(struct gw_sessions *all)
{
    if (!all)
        return;
    SP_REQUIRE(!gw_sessions_count(all));
    sp_timer_free(all->sweep_timer);
    sp_timer_free(all->review_timer);
    gw_live_free(all->live);
    gw_admission_free(all->admission);
    sp_resolver_free(all->resolver);
    gw_registry_unref(all->registry);
    gw_chain_cache_free(all->chains);
    free(all);
}
