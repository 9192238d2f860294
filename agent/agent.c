#include "agent/agent.h"

#include "agent/client.h"
#include "agent/config.h"
#include "agent/crls.h"
#include "agent/diagnosis.h"
#include "agent/doors.h"
#include "agent/hosts.h"
#include "agent/identity_watch.h"
#include "agent/status.h"
#include "agent/uplink.h"
#include "common/clock.h"
#include "common/fetch.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/resolve.h"
#include "common/sock.h"
#include "common/stapler.h"
#include "common/tls_cred.h"
#include "common/tls_crl.h"
#include "common/tls_session.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DRAIN_MS    10000
#define CLOSE_MS    2000
#define DESCRIPTORS 4096 /* at once, without growing the kernel's table */

/* An uplink, the present one or one that a reload has retired and that still has channels. */
struct pool {
    struct agent *agent;
    struct agent_uplink *uplink;
    struct pool *next, **prev;
};

struct agent {
    const char *config_path;
    struct sp_log *log;
    struct sp_loop *loop;
    struct sp_resolver *resolver;
    struct sp_fetcher *fetcher;
    struct agent_crls *crls;
    struct agent_identity_watch *identity;
    struct sp_stapler *stapler;
    struct agent_diagnosis *diagnosis;
    struct sp_tls_params *params[2]; /* by enum sp_tls_version as minimum */
    struct agent_config *config;
    struct agent_doors *doors;
    struct pool *pools;
    struct agent_clients clients;
    struct sp_signal *on_hup, *on_term, *on_int;
    struct sp_timer *end_late;
    int64_t started; /* unix seconds */
    enum { SERVING, DRAINING, CLOSING } phase;
};

static void print_warnings(FILE *out, const struct sp_warnings *warnings)
{
    for (size_t i = 0; i < warnings->count; i++)
        fprintf(out, "%s: warning: %s\n", warnings->items[i].where, warnings->items[i].text);
}

enum sp_err agent_check(const char *config_path, char **ret_summary, struct sp_error *err)
{
    struct sp_warnings told = {.items = NULL};
    struct agent_config *config;
    char text[AGENT_OWN_TEXT];
    size_t len;
    FILE *out = open_memstream(ret_summary, &len);
    enum sp_err rc = agent_config_load_told(config_path, &config, &told, err);

    SP_REQUIRE(out);
    if (rc != SP_OK) {
        print_warnings(out, &told);
        sp_warnings_done(&told);
        fclose(out);
        return sp_error_as_config(err);
    }
    print_warnings(out, &config->warnings);
    fprintf(out, "%s: identity: %s\n", config_path,
            agent_own_describe(&config->own, text, sizeof text));
    fprintf(out, "%s: good: %zu door%s, %zu warning%s\n", config_path, config->door_count,
            config->door_count == 1 ? "" : "s", config->warnings.count,
            config->warnings.count == 1 ? "" : "s");
    fclose(out);
    agent_config_unref(config);
    return SP_OK;
}

static void log_warnings(struct agent *a, const struct sp_warnings *warnings)
{
    for (size_t i = 0; i < warnings->count; i++)
        sp_log_message(a->log, SP_LOG_WARNING, "configuration", "%s: %s", warnings->items[i].where,
                       warnings->items[i].text);
}

/* ---- uplinks ---- */

/* While ending: first the channels, then the tunnels, then the loop. */
static void check_over(struct agent *a)
{
    if (a->phase == SERVING || a->clients.count)
        return;
    if (a->clients.uplink) {
        struct agent_uplink *uplink = a->clients.uplink;

        a->clients.uplink = NULL;
        agent_uplink_retire(uplink, NULL);
    } else if (!a->pools) {
        sp_loop_stop(a->loop);
    }
}

static void on_uplink_gone(void *ctx)
{
    struct pool *pool = ctx;
    struct agent *a = pool->agent;

    *pool->prev = pool->next;
    if (pool->next)
        pool->next->prev = pool->prev;
    free(pool);
    check_over(a);
}

static void on_clients_gone(void *ctx)
{
    check_over(ctx);
}

/* Channels from now on take a new uplink; the old one ends when its channels have. */
static void connect_uplink(struct agent *a)
{
    struct agent_uplink *old = a->clients.uplink;
    struct pool *pool = sp_calloc(1, sizeof *pool);
    const struct agent_uplink_options options = {
        .loop = a->loop,
        .log = a->log,
        .params = a->params[a->config->tls.min_version],
        .resolver = a->resolver,
        .on_gone = on_uplink_gone,
        .ctx = pool,
        .observer = &agent_diagnosis_observer,
        .observer_ctx = a->diagnosis,
    };

    pool->agent = a;
    pool->next = a->pools;
    pool->prev = &a->pools;
    if (pool->next)
        pool->next->prev = &pool->next;
    a->pools = pool;
    agent_diagnosis_begin(a->diagnosis, a->config);
    pool->uplink = agent_uplink_new(&options, a->config);
    a->clients.uplink = pool->uplink;
    if (old)
        agent_uplink_retire(old, pool->uplink);
}

/* ---- signals, and CRLs that change ---- */

/* cause NULL: told so by SIGHUP. */
static void log_reload(struct agent *a, const char *cause, const struct sp_error *err)
{
    char message[sizeof err->where + sizeof err->text + 32];
    struct sp_log_line line;

    if (!sp_log_begin(&line, a->log, err ? SP_LOG_ERROR : SP_LOG_INFO, "reload"))
        return;
    sp_log_bool(&line, "ok", !err);
    sp_log_str(&line, "cause", cause);
    if (err)
        sp_log_str(&line, "error", sp_error_message(err, message, sizeof message));
    sp_log_end(&line);
}

/* Of the present configuration. */
static void follow_staple(struct agent *a)
{
    const struct sp_stapling_settings *settings = &a->config->stapling;

    sp_stapler_follow(a->stapler, &a->config->cred, settings->enabled ? 1 : 0, settings->responder);
}

/* The same configuration with other lists: tunnels stay, unless they do not pass any more. */
static void on_crls_changed(void *ctx)
{
    struct agent *a = ctx;
    uint8_t before[32], after[32];
    struct sp_error err;

    if (a->phase != SERVING || !a->clients.uplink)
        return;
    sp_tls_crl_set_digest(a->config->crls, before);
    if (agent_crls_take(a->crls, &a->config, &err) != SP_OK) {
        log_reload(a, "crl", &err);
        return;
    }
    sp_tls_crl_set_digest(a->config->crls, after);
    for (struct pool *pool = a->pools; pool; pool = pool->next)
        agent_uplink_renew(pool->uplink, a->config);
    if (memcmp(before, after, sizeof before) != 0)
        log_reload(a, "crl", NULL);
}

/* The reference passes to the agent. */
static void take_config(struct agent *a, struct agent_config *config,
                        struct agent_open_door **opened)
{
    agent_doors_commit(a->doors, config, opened);
    agent_config_unref(a->config);
    a->config = config;
}

/* The same configuration with a certificate that was renewed: as with a reload, new tunnels are
 * made, and the channels of the old ones may finish. */
static void on_identity_renewed(void *ctx, struct agent_own *own)
{
    struct agent *a = ctx;
    struct agent_config *next;

    if (a->phase != SERVING) {
        agent_own_done(own);
        return;
    }
    next = agent_config_with_own(a->config, own);
    agent_config_unref(a->config);
    a->config = next;
    agent_identity_watch_follow(a->identity, a->config);
    follow_staple(a);
    connect_uplink(a);
}

static void on_hup(void *ctx)
{
    struct agent *a = ctx;
    struct agent_config *next = NULL;
    struct agent_open_door **opened = NULL;
    struct sp_warnings told = {.items = NULL};
    struct sp_error err;
    enum sp_err rc;
    bool other;

    if (a->phase != SERVING)
        return;
    rc = agent_config_load_told(a->config_path, &next, &told, &err);
    if (rc == SP_OK)
        rc = agent_crls_take(a->crls, &next, &err);
    if (rc == SP_OK)
        rc = agent_doors_prepare(a->doors, next, &opened, &err);
    if (rc == SP_OK) {
        rc = sp_log_reopen(a->log, next->log.file, (enum sp_log_format)next->log.format,
                           (enum sp_log_level)next->log.level, &err);
        if (rc != SP_OK)
            agent_doors_forget(a->doors, opened, next->door_count);
    }
    if (rc != SP_OK) {
        agent_config_unref(next);
        log_reload(a, NULL, &err);
        log_warnings(a, &told);
        sp_warnings_done(&told);
        return;
    }
    other = !sp_tls_cred_same(a->config->cred, next->cred);
    take_config(a, next, opened);
    agent_crls_follow(a->crls, a->config);
    agent_identity_watch_follow(a->identity, a->config);
    follow_staple(a);
    connect_uplink(a);
    log_reload(a, NULL, NULL);
    if (other)
        agent_own_log(&a->config->own, a->log, "reload");
    log_warnings(a, &a->config->warnings);
}

static void end_now(struct agent *a)
{
    struct pool *next;

    a->phase = CLOSING;
    a->clients.uplink = NULL;
    agent_clients_close(&a->clients);
    for (struct pool *pool = a->pools; pool; pool = next) {
        next = pool->next;
        agent_uplink_close(pool->uplink);
    }
    check_over(a);
}

static void on_end_late(void *ctx)
{
    struct agent *a = ctx;

    if (a->phase == CLOSING) {
        end_now(a);
        return;
    }
    a->phase = CLOSING;
    sp_timer_start(a->end_late, CLOSE_MS);
    agent_clients_close(&a->clients);
    check_over(a);
}

static void on_end_signal(void *ctx)
{
    struct agent *a = ctx;

    if (a->phase != SERVING) {
        end_now(a);
        return;
    }
    sp_log_message(a->log, SP_LOG_INFO, "draining", "open channels may finish within %d ms",
                   DRAIN_MS);
    a->phase = DRAINING;
    agent_doors_close(a->doors);
    sp_timer_start(a->end_late, DRAIN_MS);
    agent_clients_dismiss_idle(&a->clients);
    check_over(a);
}

/* ---- the status ---- */

static void view_state(void *ctx, struct agent_state_view *ret)
{
    const struct agent *a = ctx;

    agent_diagnosis_view(a->diagnosis, ret);
}

static void collect(void *ctx, struct agent_status *ret)
{
    const struct agent *a = ctx;

    agent_status_begin(ret, a->config, &a->clients, a->started);
    for (const struct pool *pool = a->pools; pool; pool = pool->next)
        agent_uplink_visit(pool->uplink, agent_status_add_tunnel, ret);
    agent_doors_visit(a->doors, agent_status_add_door, ret);
    agent_status_end(ret);
}

/* ---- start ---- */

static void log_ready(struct agent *a)
{
    struct sp_log_line line;

    if (!sp_log_begin(&line, a->log, SP_LOG_INFO, "ready"))
        return;
    agent_doors_log(a->doors, &line);
    sp_log_int(&line, "tunnels", (int64_t)a->config->tunnels);
    sp_log_int(&line, "pid", getpid());
    sp_log_str(&line, "version", SALLYPORT_VERSION);
    sp_log_end(&line);
}

/* What may go direct is another now: who waits for a tunnel may not have to. */
static bool may_fall_back(void *ctx, const struct sp_target *target,
                          const struct agent_refusal *refusal, const char **ret_rule)
{
    struct agent *a = ctx;

    (void)target;
    (void)refusal;
    *ret_rule = "$.when_unreachable";
    return agent_diagnosis_may_go_direct(a->diagnosis);
}

/* A portal's host may be named by whoever runs the network; where the administrator names it too,
 * his word counts. */
static bool may_be_portal(const struct agent *a, const struct sp_target *target,
                          const struct agent_way *way)
{
    if (way->route >= 0 && agent_route_is_particular(&a->config->routes[way->route]))
        return false;
    return agent_diagnosis_is_portal(a->diagnosis, target);
}

static bool is_direct_instead(void *ctx, const struct sp_target *target,
                              const struct agent_way *way, const char **ret_rule)
{
    struct agent *a = ctx;

    *ret_rule = "$.captive_portal";
    return may_be_portal(a, target, way) || may_fall_back(a, target, NULL, ret_rule);
}

static bool is_better_off(void *ctx, const struct sp_target *target)
{
    const char *rule;

    return may_fall_back(ctx, target, NULL, &rule);
}

static void on_ways_changed(void *ctx)
{
    struct agent *a = ctx;

    if (a->clients.uplink)
        agent_uplink_end_waits(a->clients.uplink, is_better_off, a);
}

static void on_hope(void *ctx)
{
    struct agent *a = ctx;

    if (a->clients.uplink)
        agent_uplink_hope(a->clients.uplink);
}

/* All that the agent fetches for itself. */
static enum sp_err start_fetching(struct agent *a, struct sp_error *err)
{
    const struct sp_resolver_options resolver = {0};
    struct sp_stapler_options stapler = {
        .loop = a->loop,
        .log = a->log,
        .reach = SP_FETCH_NOT_LOCAL, /* a company's responder may have a private address */
    };
    struct agent_diagnosis_options diagnosis = {
        .loop = a->loop,
        .log = a->log,
        .on_change = on_ways_changed,
        .on_hope = on_hope,
        .ctx = a,
    };
    enum sp_err rc = sp_resolver_new(a->loop, &resolver, &a->resolver, err);

    if (rc == SP_OK)
        rc = sp_fetcher_new(a->loop, a->resolver, &a->fetcher, err);
    if (rc != SP_OK)
        return rc;
    a->crls = agent_crls_new(a->loop, a->fetcher, a->log, on_crls_changed, a);
    stapler.fetcher = a->fetcher;
    a->stapler = sp_stapler_new(&stapler);
    diagnosis.fetcher = a->fetcher;
    a->diagnosis = agent_diagnosis_new(&diagnosis);
    a->identity = agent_identity_watch_new(a->loop, a->log, on_identity_renewed, a);
    return SP_OK;
}

static void start_clients(struct agent *a)
{
    a->clients.loop = a->loop;
    a->clients.log = a->log;
    a->clients.config = &a->config;
    a->clients.resolver = a->resolver;
    a->clients.hosts = agent_hosts_new(NULL);
    a->clients.direct_instead = is_direct_instead;
    a->clients.fall_back = may_fall_back;
    a->clients.on_empty = on_clients_gone;
    a->clients.ctx = a;
    a->clients.state = view_state;
    a->clients.collect = collect;
    a->started = sp_clock_wall_s();
    a->doors = agent_doors_new(&a->clients);
}

static enum sp_err start(struct agent *a, struct sp_error *err)
{
    struct agent_config *config;
    struct agent_open_door **opened;
    enum sp_err rc = agent_config_load(a->config_path, &config, err);

    if (rc != SP_OK)
        return sp_error_as_config(err);
    rc = sp_log_open(config->log.file, (enum sp_log_format)config->log.format,
                     (enum sp_log_level)config->log.level, &a->log, err);
    for (int v = SP_TLS_1_2; rc == SP_OK && v <= SP_TLS_1_3; v++)
        rc = sp_tls_params_new((enum sp_tls_version)v, &a->params[v], err);
    if (rc == SP_OK)
        rc = sp_loop_new(&a->loop, err);
    if (rc == SP_OK)
        rc = start_fetching(a, err);
    if (rc == SP_OK)
        rc = agent_crls_begin(a->crls, &config, err);
    if (rc == SP_OK) {
        start_clients(a);
        rc = agent_doors_prepare(a->doors, config, &opened, err);
    }
    if (rc != SP_OK) {
        agent_config_unref(config);
        return rc;
    }
    take_config(a, config, opened);
    a->on_hup = sp_signal_new(a->loop, SIGHUP, on_hup, a);
    a->on_term = sp_signal_new(a->loop, SIGTERM, on_end_signal, a);
    a->on_int = sp_signal_new(a->loop, SIGINT, on_end_signal, a);
    a->end_late = sp_timer_new(a->loop, on_end_late, a);
    agent_identity_watch_follow(a->identity, a->config);
    follow_staple(a);
    connect_uplink(a);
    return SP_OK;
}

static void agent_free(struct agent *a)
{
    agent_doors_free(a->doors);
    agent_hosts_free(a->clients.hosts);
    sp_signal_free(a->on_hup);
    sp_signal_free(a->on_term);
    sp_signal_free(a->on_int);
    sp_timer_free(a->end_late);
    agent_diagnosis_free(a->diagnosis);
    agent_identity_watch_free(a->identity);
    agent_crls_free(a->crls);
    sp_stapler_free(a->stapler);
    sp_fetcher_free(a->fetcher);
    sp_resolver_free(a->resolver);
    if (a->loop)
        sp_loop_free(a->loop);
    for (int v = SP_TLS_1_2; v <= SP_TLS_1_3; v++)
        sp_tls_params_free(a->params[v]);
    agent_config_unref(a->config);
    if (a->log)
        sp_log_close(a->log);
}

enum sp_err agent_run(const char *config_path, struct sp_error *err)
{
    struct agent a = {.config_path = config_path};
    enum sp_err rc;

    sp_signals_hold(true); /* until they are ours */
    sp_descriptors_raise(DESCRIPTORS);
    sp_memory_keep_some();
    rc = start(&a, err);
    if (rc == SP_OK) {
        log_warnings(&a, &a.config->warnings);
        agent_own_log(&a.config->own, a.log, "start");
        log_ready(&a);
        sp_signals_hold(false);
        sp_loop_run(a.loop);
        sp_signals_hold(true); /* for good: nothing but the end is left */
        sp_log_message(a.log, SP_LOG_INFO, "stopping", "the agent ends");
    }
    agent_free(&a);
    return rc;
}
