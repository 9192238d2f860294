#include "agent/portal.h"

#include "agent/config.h"
#include "common/clock.h"
#include "common/fetch.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/url.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROBE_MS  4000
#define CHAIN_MS  6000 /* then no other redirect is followed: somebody waits for the result */
#define BODY_MAX  16384
#define STEPS_MAX AGENT_PORTAL_HOSTS /* redirects that are followed */

struct agent_portal {
    struct agent_portal_options options;
    const struct agent_config *config;
    struct sp_fetch *fetch;
    unsigned steps;           /* redirects that were followed in this probe */
    char at[SP_URL_MAX + 1];  /* what is being fetched */
    struct sp_timer *closing; /* the end of the minutes */
    struct sp_target hosts[AGENT_PORTAL_HOSTS];
    size_t host_count;
    bool is_open;                 /* the hosts may go direct */
    bool was_opened, has_refused; /* since the last time that there was no portal */
    enum agent_probe_result result;
    char url[SP_URL_MAX + 1]; /* where the portal wants people to go */
    char text[SP_DN_MAX];     /* why the probe failed */
    int64_t date, date_at;
    uint64_t begun_ms, told_ms;
};

/* ---- its hosts ---- */

static bool is_same_place(const struct sp_target *a, const struct sp_target *b)
{
    return a->is_ip == b->is_ip && strcmp(a->host, b->host) == 0;
}

/* Nobody but the tunnel has business with our gateways, and an address of this machine or of its
 * link is no portal. */
static bool may_be_portal(const struct agent_portal *p, const struct sp_target *host)
{
    enum sp_ip_class cls = host->is_ip ? sp_ip_classify(&host->ip) : SP_IP_GLOBAL;

    for (size_t i = 0; i < p->config->gateway_texts.count; i++)
        if (is_same_place(host, &p->config->gateways[i]))
            return false;
    if (strcmp(host->host, p->config->server_name) == 0 || strcmp(host->host, "localhost") == 0)
        return false;
    return (cls == SP_IP_GLOBAL || cls == SP_IP_PRIVATE) && (host->port == 80 || host->port == 443);
}

static void log_host(const struct agent_portal *p, const char *what, const char *host)
{
    struct sp_log_line line;

    if (!sp_log_begin(&line, p->options.log, SP_LOG_WARNING, "captive_portal"))
        return;
    sp_log_str(&line, "what", what);
    sp_log_str(&line, "host", host);
    sp_log_str(&line, "url", p->at);
    if (host)
        sp_log_int(&line, "minutes", (int64_t)p->config->captive_portal.minutes);
    sp_log_end(&line);
}

static void add_host(struct agent_portal *p, const struct sp_target *host)
{
    for (size_t i = 0; i < p->host_count; i++)
        if (is_same_place(host, &p->hosts[i]))
            return;
    /* Once the minutes are over nothing is added: they are one run. */
    if (p->was_opened && !p->is_open)
        return;
    if (!may_be_portal(p, host) || p->host_count == AGENT_PORTAL_HOSTS) {
        if (!p->has_refused) /* a probe comes every few seconds, a line need not */
            log_host(p, "refused", host->host);
        p->has_refused = true;
        return;
    }
    p->hosts[p->host_count++] = *host;
    if (!p->was_opened)
        sp_timer_start(p->closing, p->config->captive_portal.minutes * 60 * 1000);
    p->was_opened = p->is_open = true;
    log_host(p, "direct", host->host);
    p->options.on_hosts(p->options.ctx);
}

static void close_hosts(struct agent_portal *p, const char *what)
{
    if (!p->is_open)
        return;
    sp_timer_stop(p->closing);
    p->is_open = false;
    p->host_count = 0;
    log_host(p, what, NULL);
    p->options.on_hosts(p->options.ctx);
}

static void on_closing(void *ctx)
{
    close_hosts(ctx, "minutes are over");
}

/* ---- the probe ---- */

static void fetch_next(struct agent_portal *p);

static void probe_end(struct agent_portal *p, enum agent_probe_result result)
{
    p->result = result;
    p->told_ms = sp_loop_now_ms(p->options.loop);
    if (result == AGENT_PROBE_GOOD) {
        close_hosts(p, "gone");
        p->was_opened = p->has_refused = false;
    }
    if (result != AGENT_PROBE_PORTAL)
        p->url[0] = '\0';
    p->options.on_result(p->options.ctx);
}

static bool is_expected(const struct agent_portal_settings *settings,
                        const struct sp_fetch_result *result)
{
    const uint8_t *body = result->body;
    size_t len = result->len;

    if ((uint64_t)result->status != settings->expect_status)
        return false;
    if (!settings->expect_body)
        return true;
    while (len && isspace(body[len - 1]))
        len--;
    return len == strlen(settings->expect_body) && memcmp(body, settings->expect_body, len) == 0;
}

/* Somebody who is not the probe's server has answered, or a portal's host has: on to where it sends
 * us. */
static void follow(struct agent_portal *p, const struct sp_fetch_result *result)
{
    char next[SP_URL_MAX + 1] = "";
    struct sp_url url;
    bool redirects = result->status / 100 == 3 && result->location[0];

    if (redirects && sp_url_join(p->at, result->location, next) &&
        sp_url_parse(next, &url, NULL) == SP_OK) {
        memcpy(p->at, next, sizeof next);
        memcpy(p->url, next, sizeof next);
        add_host(p, &url.target);
        if (p->steps++ < STEPS_MAX && may_be_portal(p, &url.target) &&
            sp_loop_now_ms(p->options.loop) - p->begun_ms < CHAIN_MS) {
            fetch_next(p);
            return;
        }
    } else if (!p->url[0] && sp_url_parse(p->at, &url, NULL) == SP_OK) {
        /* Its page came in the place of the probe's: that name is the only way to see it. */
        memcpy(p->url, p->at, sizeof p->url);
        add_host(p, &url.target);
    }
    probe_end(p, AGENT_PROBE_PORTAL);
}

static void probe_failed(struct agent_portal *p, const char *text)
{
    snprintf(p->text, sizeof p->text, "%s", text);
    probe_end(p, AGENT_PROBE_FAILED);
}

static void on_fetched(void *ctx, const struct sp_fetch_result *result,
                       const struct sp_error *error)
{
    struct agent_portal *p = ctx;
    char text[SP_DN_MAX];

    p->fetch = NULL;
    if (p->steps) { /* a portal's own page, or what became of it */
        if (result)
            follow(p, result);
        else
            probe_end(p, AGENT_PROBE_PORTAL);
        return;
    }
    if (!result) {
        probe_failed(p, error->text);
        return;
    }
    p->date = result->date;
    p->date_at = sp_clock_wall_s();
    if (is_expected(&p->config->captive_portal, result)) {
        probe_end(p, AGENT_PROBE_GOOD);
    } else if (result->status / 100 == 2 || result->status / 100 == 3 || result->status == 511) {
        p->url[0] = '\0';
        follow(p, result);
    } else { /* the probe's server may have troubles of its own */
        snprintf(text, sizeof text, "%.400s: answered %d", p->at, result->status);
        probe_failed(p, text);
    }
}

static void fetch_next(struct agent_portal *p)
{
    const struct sp_fetch_request request = {
        .url = p->at,
        .accept = "*/*",
        .timeout_ms = PROBE_MS,
        .max_bytes = BODY_MAX,
        /* The network chose where to go on, and must not lead us into this machine. */
        .reach = p->steps ? SP_FETCH_NOT_LOCAL : SP_FETCH_ANYWHERE,
        .any_status = true,
    };

    p->fetch = sp_fetch_start(p->options.fetcher, &request, on_fetched, p);
}

bool agent_portal_probe(struct agent_portal *p)
{
    const char *url = p->config ? p->config->captive_portal.probe_url : NULL;

    if (!url || p->fetch)
        return url;
    p->begun_ms = sp_loop_now_ms(p->options.loop);
    p->steps = 0;
    p->date = 0;
    snprintf(p->at, sizeof p->at, "%s", url);
    fetch_next(p);
    return true;
}

bool agent_portal_is_probing(const struct agent_portal *p)
{
    return p->fetch;
}

/* ---- life ---- */

struct agent_portal *agent_portal_new(const struct agent_portal_options *options)
{
    struct agent_portal *p = sp_calloc(1, sizeof *p);

    p->options = *options;
    p->closing = sp_timer_new(options->loop, on_closing, p);
    return p;
}

void agent_portal_over(struct agent_portal *p)
{
    sp_fetch_cancel(p->fetch);
    p->fetch = NULL;
    close_hosts(p, "gone");
    p->was_opened = p->has_refused = false;
    p->result = AGENT_PROBE_NONE;
    p->url[0] = '\0';
    p->told_ms = 0;
}

void agent_portal_begin(struct agent_portal *p, const struct agent_config *config)
{
    agent_portal_over(p);
    p->config = config;
}

void agent_portal_free(struct agent_portal *p)
{
    sp_fetch_cancel(p->fetch);
    sp_timer_free(p->closing);
    free(p);
}

void agent_portal_tell(const struct agent_portal *p, struct agent_evidence *e)
{
    e->probe = p->result;
    e->probe_url = p->config->captive_portal.probe_url;
    e->portal_url = p->url;
    e->probe_text = p->text;
    e->probe_date = p->result == AGENT_PROBE_GOOD ? p->date : 0;
    e->probe_date_at = p->date_at;
}

enum agent_probe_result agent_portal_result(const struct agent_portal *p)
{
    return p->result;
}

uint64_t agent_portal_told_ms(const struct agent_portal *p)
{
    return p->told_ms;
}

bool agent_portal_is_host(const struct agent_portal *p, const struct sp_target *target)
{
    if (!p->is_open || (target->port != 80 && target->port != 443))
        return false;
    for (size_t i = 0; i < p->host_count; i++)
        if (is_same_place(target, &p->hosts[i]))
            return true;
    return false;
}
