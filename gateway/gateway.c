#include "gateway/gateway.h"

#include "common/dir_watch.h"
#include "common/fetch.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/resolve.h"
#include "common/sock.h"
#include "common/tls_session.h"
#include "gateway/balance.h"
#include "gateway/config.h"
#include "gateway/crl_feed.h"
#include "gateway/ocsp.h"
#include "gateway/registry.h"
#include "gateway/shadow.h"
#include "gateway/source_rate.h"
#include "gateway/staple_feed.h"
#include "gateway/worker.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define CRL_FIRST_MS 2000  /* how long a start waits for CRLs that are fetched */
#define DESCRIPTORS  65536 /* at once, without growing the table: half a MiB of the kernel's */

struct gateway {
    const char *config_path;
    struct sp_log *log;
    struct sp_tls_params *params[2];
    atomic_size_t connections;
    uint8_t ticket_master[GW_TICKET_MASTER_LEN];
    struct gw_registry *registry;
    struct sp_addr *bound; /* as the registry's config->listen, with real ports */
    struct gw_worker **workers;
    size_t worker_count;
    struct gw_balance *balance;
    struct sp_loop *loop;
    struct sp_signal *on_hup, *on_term, *on_int;
    struct sp_async *drained;
    struct sp_timer *drain_late;
    /* What we fetch for ourselves, on this thread. */
    struct sp_resolver *resolver;
    struct sp_fetcher *fetcher;
    struct gw_crl_feed *crl_feed;
    struct gw_ocsp *ocsp;
    struct sp_dir_watch *watch; /* of the tenants' folder; NULL: not wanted */
    char *watched;              /* which one */
    bool missed;                /* a change while we were starting */
    struct gw_staple_feed *staples;
    struct gw_source_rates *sources;
    bool draining, at_once;
};

enum sp_err gw_gateway_check(const char *config_path, char **ret_summary, struct sp_error *err)
{
    struct gw_registry *registry;
    size_t len;
    FILE *out;
    enum sp_err rc = gw_registry_check(config_path, &registry, err);

    if (rc != SP_OK)
        return sp_error_as_config(err);
    out = open_memstream(ret_summary, &len);
    SP_REQUIRE(out);
    for (size_t i = 0; i < registry->warnings.count; i++)
        fprintf(out, "%s: warning: %s\n", registry->warnings.items[i].where,
                registry->warnings.items[i].text);
    fprintf(out, "%s: good: %zu tenant%s, %zu warning%s\n", config_path, registry->tenant_count,
            registry->tenant_count == 1 ? "" : "s", registry->warnings.count,
            registry->warnings.count == 1 ? "" : "s");
    fclose(out);
    gw_registry_unref(registry);
    return SP_OK;
}

/* What reading many files needed for a moment: the allocator would keep it. Not worth the time
 * for few. */
static void give_back_memory(const struct gw_registry *registry)
{
    if (registry->tenant_count > 1000)
        malloc_trim(0);
}

static void log_warnings(struct gateway *g)
{
    for (size_t i = 0; i < g->registry->warnings.count; i++)
        sp_log_message(g->log, SP_LOG_WARNING, "configuration", "%s: %s",
                       g->registry->warnings.items[i].where, g->registry->warnings.items[i].text);
}

/* ---- listening sockets: one each for every worker at every address ---- */

static void close_fds(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
}

/* fds[worker]; *addr gets the real port. */
static enum sp_err listen_everywhere(struct sp_addr *addr, size_t workers, int *fds,
                                     struct sp_error *err)
{
    for (size_t w = 0; w < workers; w++) {
        enum sp_err rc = sp_listen_fd(addr, true, &fds[w], err);

        if (rc != SP_OK) {
            close_fds(fds, w);
            return rc;
        }
    }
    return SP_OK;
}

/* A row for every address: the index kept, or new sockets. rows: listen count x workers. */
static enum sp_err plan_listeners(const struct gateway *g, const struct gw_config *next,
                                  struct gw_listen_change *rows, struct sp_addr *bound,
                                  struct sp_error *err)
{
    const struct gw_config *now = g->registry ? g->registry->config : NULL;
    int fds[256];

    for (size_t i = 0; i < next->listen_texts.count; i++) {
        int keep = -1;

        for (size_t j = 0; now && j < now->listen_texts.count; j++) {
            bool taken = false; /* port 0 may stand there twice */

            for (size_t k = 0; k < i; k++)
                taken = taken || rows[k * g->worker_count].keep == (int)j;
            if (!taken && !strcmp(now->listen_texts.items[j], next->listen_texts.items[i]))
                keep = (int)j;
        }
        bound[i] = keep >= 0 ? g->bound[keep] : next->listen[i];
        if (keep < 0 && listen_everywhere(&bound[i], g->worker_count, fds, err) != SP_OK) {
            sp_error_where(err, "%s: $.listen[%zu]", g->config_path, i);
            for (size_t k = 0; k < i * g->worker_count; k++)
                close_fds(&rows[k].fd, rows[k].keep < 0);
            return err->kind;
        }
        for (size_t w = 0; w < g->worker_count; w++)
            rows[i * g->worker_count + w] =
                (struct gw_listen_change){.keep = keep, .fd = keep < 0 ? fds[w] : -1};
    }
    return SP_OK;
}

static size_t count_workers(const struct gw_config *config)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    if (config->workers)
        return (size_t)config->workers;
    return cores < 1 ? 1 : cores > 256 ? 256 : (size_t)cores;
}

static enum sp_err start_workers(struct gateway *g, struct sp_error *err)
{
    const struct gw_config *config = g->registry->config;
    size_t listens = config->listen_texts.count, wanted = count_workers(config);
    SP_AUTO_FREE struct gw_listen_change *rows = sp_calloc(listens * wanted, sizeof *rows);
    int fds[SP_LISTEN_MAX];
    struct gw_registry *registry = g->registry;
    enum sp_err rc;

    g->worker_count = wanted;
    g->bound = sp_calloc(listens, sizeof *g->bound);
    g->registry = NULL; /* nothing to keep */
    rc = plan_listeners(g, registry->config, rows, g->bound, err);
    g->registry = registry;
    g->worker_count = 0;
    if (rc != SP_OK)
        return rc;
    g->balance = gw_balance_new(wanted);
    g->workers = sp_calloc(wanted, sizeof(struct gw_worker *));
    for (size_t w = 0; w < wanted; w++) {
        const struct gw_worker_options options = {
            .number = (unsigned)w,
            .log = g->log,
            .params = {g->params[0], g->params[1]},
            .connections = &g->connections,
            .balance = g->balance,
            .sources = g->sources,
            .ocsp = g->ocsp,
            .on_drained = g->drained,
        };

        for (size_t i = 0; i < listens; i++)
            fds[i] = rows[i * wanted + w].fd;
        rc = gw_worker_start(&options, registry, fds, listens, &g->workers[w], err);
        if (rc != SP_OK) {
            for (size_t k = w + 1; k < wanted; k++) {
                for (size_t i = 0; i < listens; i++)
                    close(rows[i * wanted + k].fd);
            }
            return rc;
        }
        g->worker_count++;
    }
    return SP_OK;
}

static void log_ready(struct gateway *g)
{
    char text[SP_ADDR_TEXT];
    struct sp_log_line line;

    if (!sp_log_begin(&line, g->log, SP_LOG_INFO, "ready"))
        return;
    sp_log_array_begin(&line, "listen");
    for (size_t i = 0; i < g->registry->config->listen_texts.count; i++)
        sp_log_item(&line, sp_addr_format(&g->bound[i], text));
    sp_log_array_end(&line);
    sp_log_int(&line, "workers", (int64_t)g->worker_count);
    sp_log_int(&line, "tenants", (int64_t)g->registry->tenant_count);
    sp_log_int(&line, "pid", getpid());
    sp_log_str(&line, "version", SALLYPORT_VERSION);
    sp_log_end(&line);
}

/* ---- reload ---- */

static bool follow_tenants(struct gateway *g);
static void on_tenants_changed(void *ctx, const char *const *names, size_t count);

/* cause NULL: told so by SIGHUP. */
static void log_reload(struct gateway *g, const char *cause, const struct sp_error *err)
{
    char message[sizeof err->where + sizeof err->text + 32];
    struct sp_log_line line;

    if (!sp_log_begin(&line, g->log, err ? SP_LOG_ERROR : SP_LOG_INFO, "reload"))
        return;
    sp_log_bool(&line, "ok", !err);
    sp_log_str(&line, "cause", cause);
    if (err)
        sp_log_str(&line, "error", sp_error_message(err, message, sizeof message));
    else
        sp_log_int(&line, "tenants", (int64_t)g->registry->tenant_count);
    sp_log_end(&line);
}

/* All that can fail, before anything changes. */
static enum sp_err reload_prepare(struct gateway *g, struct gw_registry **ret_next,
                                  struct gw_listen_change **ret_rows, struct sp_addr **ret_bound,
                                  struct sp_error *err)
{
    struct gw_registry *next;
    const struct gw_config *config;
    size_t listens;
    enum sp_err rc = gw_registry_load(g->config_path, g->ticket_master, g->registry, &next, err);

    if (rc != SP_OK)
        return rc;
    config = next->config;
    listens = config->listen_texts.count;
    *ret_rows = sp_calloc(listens * g->worker_count, sizeof **ret_rows);
    *ret_bound = sp_calloc(listens, sizeof **ret_bound);
    rc = plan_listeners(g, config, *ret_rows, *ret_bound, err);
    if (rc == SP_OK) {
        rc = sp_log_reopen(g->log, config->log.file, (enum sp_log_format)config->log.format,
                           (enum sp_log_level)config->log.level, err);
        if (rc != SP_OK) {
            for (size_t k = 0; k < listens * g->worker_count; k++)
                close_fds(&(*ret_rows)[k].fd, (*ret_rows)[k].keep < 0);
        }
    }
    if (rc != SP_OK) {
        free(*ret_rows);
        free(*ret_bound);
        gw_registry_unref(next);
        return rc;
    }
    *ret_next = next;
    return SP_OK;
}

/* Takes the reference to `next`, and `bound`. Nothing in it can fail. cause: as for log_reload;
 * is_quiet: without a cause it is not worth a line. */
static void commit(struct gateway *g, struct gw_registry *next, const struct gw_listen_change *rows,
                   struct sp_addr *bound, const char *cause, bool is_quiet)
{
    size_t listens = next->config->listen_texts.count;
    SP_AUTO_FREE struct gw_listen_change *mine = sp_calloc(listens, sizeof *mine);

    for (size_t w = 0; w < g->worker_count; w++) {
        for (size_t i = 0; i < listens; i++)
            mine[i] = rows[i * g->worker_count + w];
        gw_worker_reload(g->workers[w], next, mine, listens);
    }
    for (size_t w = 0; w < g->worker_count; w++)
        gw_worker_await_reload(g->workers[w]);
    gw_registry_unref(g->registry);
    g->registry = next;
    free(g->bound);
    g->bound = bound;
    gw_crl_feed_follow(g->crl_feed, next);
    gw_staple_feed_follow(g->staples, next);
    if (cause || !is_quiet)
        log_reload(g, cause, NULL);
    log_warnings(g);
    give_back_memory(next);
}

/* cause: as for log_reload. */
static void reload(struct gateway *g, const char *cause)
{
    SP_AUTO_FREE struct gw_listen_change *rows = NULL;
    struct sp_addr *bound;
    struct gw_registry *next;
    struct sp_error err;

    if (reload_prepare(g, &next, &rows, &bound, &err) != SP_OK) {
        rows = NULL;
        log_reload(g, cause, &err);
        return;
    }
    if (!cause)
        gw_shadow_log_counts(g->log, g->registry);
    commit(g, next, rows, bound, cause, false);
    if (follow_tenants(g))
        on_tenants_changed(g, NULL, 0);
    if (count_workers(next->config) != g->worker_count)
        sp_log_message(g->log, SP_LOG_WARNING, "configuration",
                       "%s: $.workers: a new number takes a restart; %zu go on", g->config_path,
                       g->worker_count);
}

static void on_hup(void *ctx)
{
    struct gateway *g = ctx;

    if (!g->draining)
        reload(g, NULL);
}

/* ---- CRLs that change ---- */

static void log_crl_failures(struct gateway *g, const struct sp_warnings *failures)
{
    struct sp_error err;

    for (size_t i = 0; i < failures->count; i++) {
        sp_error_set(&err, SP_ERR_CONFIG, "%s (the CRLs that were read before go on)",
                     failures->items[i].text);
        sp_error_where(&err, "%s", failures->items[i].where);
        log_reload(g, "crl", &err);
    }
}

/* It may be no more than the reason why there is no list yet. */
static bool is_same_trust(const struct gw_registry *a, const struct gw_registry *b)
{
    for (size_t i = 0; i < a->tenant_count; i++)
        if (memcmp(a->tenants[i]->ticket_epoch, b->tenants[i]->ticket_epoch, GW_TICKET_EPOCH_LEN))
            return false;
    return true;
}

static struct gw_registry *next_crls(struct gateway *g)
{
    struct sp_warnings failures = {.items = NULL};
    struct gw_registry *next =
        gw_registry_reload_crls(g->registry, gw_crl_feed_source(g->crl_feed), &failures);

    log_crl_failures(g, &failures);
    sp_warnings_done(&failures);
    return next;
}

/* Like a reload in which nothing but some tenants has changed: the listeners are kept. */
static void commit_tenants(struct gateway *g, struct gw_registry *next, const char *cause)
{
    size_t listens = g->registry->config->listen_texts.count;
    SP_AUTO_FREE struct gw_listen_change *rows = sp_calloc(listens * g->worker_count, sizeof *rows);
    struct sp_addr *bound = sp_calloc(listens, sizeof *bound);

    for (size_t k = 0; k < listens * g->worker_count; k++)
        rows[k] = (struct gw_listen_change){.keep = (int)(k / g->worker_count), .fd = -1};
    memcpy(bound, g->bound, listens * sizeof *bound);
    commit(g, next, rows, bound, cause, true);
}

static void on_crls_changed(void *ctx)
{
    struct gateway *g = ctx;
    struct gw_registry *next = g->draining || !g->worker_count ? NULL : next_crls(g);

    if (next)
        commit_tenants(g, next, is_same_trust(next, g->registry) ? NULL : "crl");
}

/* Before anything is served: the lists that are kept, or can be had soon. */
static void take_first_crls(struct gateway *g)
{
    struct gw_registry *next;

    gw_crl_feed_follow(g->crl_feed, g->registry);
    gw_crl_feed_wait(g->crl_feed, CRL_FIRST_MS);
    next = next_crls(g);
    if (!next)
        return;
    gw_registry_unref(g->registry);
    g->registry = next;
    log_warnings(g);
}

/* ---- tenants that change ---- */

static void on_tenants_changed(void *ctx, const char *const *names, size_t count)
{
    struct gateway *g = ctx;
    struct gw_registry *next = NULL;
    struct sp_error err;
    enum sp_err rc;

    if (g->draining)
        return;
    if (!g->worker_count) { /* not started yet */
        g->missed = true;
        return;
    }
    if (!names) { /* who knows */
        reload(g, "tenants");
        return;
    }
    rc = gw_registry_reload_tenants(g->registry, names, count, &next, &err);
    if (rc != SP_OK)
        log_reload(g, "tenants", &err);
    else if (next)
        commit_tenants(g, next, "tenants");
}

/* Of this configuration, if it is to be watched. */
static enum sp_err watch_tenants(struct gateway *g, const struct gw_config *config,
                                 struct sp_error *err)
{
    enum sp_err rc;

    sp_dir_watch_free(g->watch);
    free(g->watched);
    g->watch = NULL;
    g->watched = NULL;
    if (!config->watch_tenants)
        return SP_OK;
    rc = sp_dir_watch_new(g->loop, config->tenants, on_tenants_changed, g, &g->watch, err);
    if (rc == SP_OK)
        g->watched = sp_strdup(config->tenants);
    else
        sp_error_where(err, "%s: $.watch_tenants", g->config_path);
    return rc;
}

/* After a reload. True: it is watched from now on only, so something may have been missed. */
static bool follow_tenants(struct gateway *g)
{
    const struct gw_config *config = g->registry->config;
    struct sp_error err;

    if (g->watch && config->watch_tenants && !strcmp(g->watched, config->tenants))
        return false;
    if (watch_tenants(g, config, &err) != SP_OK)
        sp_log_message(g->log, SP_LOG_ERROR, "trouble", "%s: %s", err.where, err.text);
    return g->watch != NULL;
}

static void on_status(void *ctx, const struct gw_live_key *key)
{
    struct gateway *g = ctx;

    for (size_t w = 0; w < g->worker_count; w++)
        gw_worker_on_status(g->workers[w], key);
}

static void start_ocsp(struct gateway *g)
{
    const struct gw_ocsp_options options = {
        .loop = g->loop,
        .fetcher = g->fetcher,
        .log = g->log,
        .cache_dir = g->registry->config->cache_dir,
        .on_status = on_status,
        .ctx = g,
    };

    g->ocsp = gw_ocsp_new(&options);
}

static enum sp_err start_fetching(struct gateway *g, struct sp_error *err)
{
    const struct gw_config *config = g->registry->config;
    const struct sp_resolver_options options = {
        .servers = config->resolver_servers, .timeout_ms = (unsigned)config->resolver.timeout_ms};
    enum sp_err rc = sp_resolver_new(g->loop, &options, &g->resolver, err);

    if (rc == SP_OK)
        rc = sp_fetcher_new(g->loop, g->resolver, &g->fetcher, err);
    if (rc != SP_OK)
        return rc;
    g->crl_feed = gw_crl_feed_new(g->loop, g->fetcher, g->log, on_crls_changed, g);
    start_ocsp(g);
    g->staples = gw_staple_feed_new(g->loop, g->fetcher, g->log);
    return SP_OK;
}

/* ---- the end ---- */

static void on_end_signal(void *ctx)
{
    struct gateway *g = ctx;

    if (g->draining) {
        g->at_once = true;
        sp_loop_stop(g->loop);
        return;
    }
    g->draining = true;
    sp_log_message(g->log, SP_LOG_INFO, "draining", "open channels may finish within %llu ms",
                   (unsigned long long)g->registry->config->limits.drain_ms);
    for (size_t w = 0; w < g->worker_count; w++)
        gw_worker_drain(g->workers[w]);
    sp_timer_start(g->drain_late, g->registry->config->limits.drain_ms);
}

static void on_drained(void *ctx)
{
    struct gateway *g = ctx;

    for (size_t w = 0; w < g->worker_count; w++) {
        if (!gw_worker_is_drained(g->workers[w]))
            return;
    }
    sp_loop_stop(g->loop);
}

static void on_drain_late(void *ctx)
{
    struct gateway *g = ctx;

    sp_loop_stop(g->loop);
}

/* ---- start ---- */

/* Before anything is loaded, so that no change falls in between. What else is wrong with the
 * configuration the load says. */
static enum sp_err watch_from_the_start(struct gateway *g, struct sp_error *err)
{
    struct gw_config *config;
    enum sp_err rc;

    if (gw_config_load(g->config_path, &config, NULL) != SP_OK)
        return SP_OK;
    rc = watch_tenants(g, config, err);
    gw_config_unref(config);
    return rc;
}

static enum sp_err start(struct gateway *g, struct sp_error *err)
{
    const struct gw_config *config;
    enum sp_err rc, watching;
    struct sp_error why;

    if (getrandom(g->ticket_master, sizeof g->ticket_master, 0) != sizeof g->ticket_master)
        return sp_error_sys(err, errno, "getrandom");
    rc = sp_loop_new(&g->loop, err);
    if (rc != SP_OK)
        return rc;
    watching = watch_from_the_start(g, &why);
    rc = gw_registry_load(g->config_path, g->ticket_master, NULL, &g->registry, err);
    if (rc == SP_OK && watching != SP_OK) {
        *err = why;
        rc = watching;
    }
    if (rc != SP_OK)
        return sp_error_as_config(err);
    config = g->registry->config;
    rc = sp_log_open(config->log.file, (enum sp_log_format)config->log.format,
                     (enum sp_log_level)config->log.level, &g->log, err);
    for (int v = SP_TLS_1_2; rc == SP_OK && v <= SP_TLS_1_3; v++)
        rc = sp_tls_params_new((enum sp_tls_version)v, &g->params[v], err);
    if (rc == SP_OK)
        rc = start_fetching(g, err);
    if (rc != SP_OK)
        return rc;
    log_warnings(g);
    take_first_crls(g);
    gw_staple_feed_follow(g->staples, g->registry);
    give_back_memory(g->registry);
    g->on_hup = sp_signal_new(g->loop, SIGHUP, on_hup, g);
    g->on_term = sp_signal_new(g->loop, SIGTERM, on_end_signal, g);
    g->on_int = sp_signal_new(g->loop, SIGINT, on_end_signal, g);
    g->drained = sp_async_new(g->loop, on_drained, g);
    g->drain_late = sp_timer_new(g->loop, on_drain_late, g);
    g->sources = gw_source_rates_new();
    return start_workers(g, err);
}

static void gateway_free(struct gateway *g)
{
    for (size_t w = 0; w < g->worker_count; w++)
        gw_worker_end(g->workers[w], g->at_once);
    for (size_t w = 0; w < g->worker_count; w++)
        gw_worker_join(g->workers[w]);
    free(g->workers);
    gw_balance_free(g->balance);
    free(g->bound);
    sp_signal_free(g->on_hup);
    sp_signal_free(g->on_term);
    sp_signal_free(g->on_int);
    sp_async_free(g->drained);
    sp_timer_free(g->drain_late);
    sp_dir_watch_free(g->watch);
    free(g->watched);
    gw_crl_feed_free(g->crl_feed);
    gw_ocsp_free(g->ocsp);
    gw_staple_feed_free(g->staples);
    gw_source_rates_free(g->sources);
    sp_fetcher_free(g->fetcher);
    sp_resolver_free(g->resolver);
    if (g->loop)
        sp_loop_free(g->loop);
    gw_registry_unref(g->registry);
    for (int v = SP_TLS_1_2; v <= SP_TLS_1_3; v++)
        sp_tls_params_free(g->params[v]);
    explicit_bzero(g->ticket_master, sizeof g->ticket_master);
    if (g->log)
        sp_log_close(g->log);
}

enum sp_err gw_gateway_run(const char *config_path, struct sp_error *err)
{
    struct gateway g = {.config_path = config_path};
    enum sp_err rc;

    sp_signals_hold(true); /* until they are ours; of the workers always */
    sp_descriptors_raise(DESCRIPTORS);
    sp_memory_keep_some();
    rc = start(&g, err);
    if (rc == SP_OK) {
        log_ready(&g);
        if (g.missed)
            on_tenants_changed(&g, NULL, 0);
        sp_signals_hold(false);
        sp_loop_run(g.loop);
        sp_signals_hold(true); /* for good: nothing but the end is left */
        gw_shadow_log_counts(g.log, g.registry);
        sp_log_message(g.log, SP_LOG_INFO, "stopping", "%s",
                       g.at_once ? "at once: told twice" : "drained, or out of time");
    }
    gateway_free(&g);
    return rc;
}
