#include "agent/direct.h"

#include "agent/hosts.h"
#include "agent/relay.h"
#include "agent/routes.h"
#include "agent/uplink.h"
#include "common/dial.h"
#include "common/loop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct agent_direct {
    struct sp_loop *loop;
    struct sp_query *query;
    struct sp_dial *dial;
    const struct agent_request_callbacks *callbacks;
    void *ctx;
    bool may_be_near; /* this machine and its link are where it may lead */
    struct sp_target target;
};

static void direct_free(struct agent_direct *d)
{
    if (d->query)
        sp_resolve_cancel(d->query);
    if (d->dial)
        sp_dial_cancel(d->dial);
    free(d);
}

static void refuse(struct agent_direct *d, int status, const char *error, const char *text)
{
    struct agent_refusal refusal = {.status = status};
    const struct agent_request_callbacks *callbacks = d->callbacks;
    void *ctx = d->ctx;

    snprintf(refusal.error, sizeof refusal.error, "%s", error);
    snprintf(refusal.text, sizeof refusal.text, "directly, not through the tunnel: %s", text);
    direct_free(d);
    callbacks->on_refused(ctx, &refusal);
}

static void refuse_dial(struct agent_direct *d, const struct sp_error *error)
{
    if (error->kind == SP_ERR_TIMEOUT || error->code == ETIMEDOUT)
        refuse(d, 504, "connection_timeout", error->text);
    else if (error->code == ECONNREFUSED)
        refuse(d, 502, "connection_refused", error->text);
    else if (error->code == ENETUNREACH || error->code == EHOSTUNREACH)
        refuse(d, 502, "destination_ip_unroutable", error->text);
    else
        refuse(d, 502, "destination_unavailable", error->text);
}

static void on_dialled(void *ctx, struct sp_sock *sock, const struct sp_addr *addr,
                       const struct sp_error *error)
{
    struct agent_direct *d = ctx;
    const struct agent_request_callbacks *callbacks = d->callbacks;
    struct sp_channel *channel;
    void *owner = d->ctx;

    (void)addr;
    d->dial = NULL;
    if (!sock) {
        refuse_dial(d, error);
        return;
    }
    channel = agent_relay_new(d->loop, sock, &d->target);
    direct_free(d);
    callbacks->on_open(owner, channel);
}

/* "This host" (0.0.0.0, ::) is no destination for anybody: a hosts file that says so wants the name
 * to lead nowhere, and the kernel would take it for a loopback address. */
static bool is_allowed(const struct agent_direct *d, const struct sp_ip *ip)
{
    static const uint8_t zero[sizeof ip->bytes];
    size_t len = ip->family == 4 ? 1 : sizeof ip->bytes;

    if (memcmp(ip->bytes, zero, len) == 0)
        return false;
    if (d->may_be_near)
        return true;
    switch (sp_ip_classify(ip)) {
    case SP_IP_LOOPBACK:
    case SP_IP_LINK_LOCAL:
    case SP_IP_METADATA:
    case SP_IP_MULTICAST:
        return false;
    case SP_IP_GLOBAL:
    case SP_IP_PRIVATE:
    case SP_IP_RESERVED:
        return true;
    }
    return false;
}

static void dial(struct agent_direct *d, const struct sp_addr *addrs, size_t count)
{
    struct sp_addr allowed[SP_RESOLVE_MAX];
    size_t allowed_count = 0;
    char text[SP_IP_TEXT + SP_HOST_MAX + 160], ip[SP_IP_TEXT];

    for (size_t i = 0; i < count && i < SP_RESOLVE_MAX; i++) {
        if (is_allowed(d, &addrs[i].ip))
            allowed[allowed_count++] = addrs[i];
    }
    if (!allowed_count) {
        snprintf(text, sizeof text,
                 "%s leads to %s, which no name but one of the hosts file may lead to",
                 d->target.host, sp_ip_format(&addrs[0].ip, ip));
        refuse(d, 403, "destination_ip_prohibited", text);
        return;
    }
    d->dial = sp_dial(d->loop, allowed, allowed_count, NULL, on_dialled, d);
}

static void on_resolved(void *ctx, const struct sp_addr *addrs, size_t count,
                        const struct sp_error *error)
{
    struct agent_direct *d = ctx;

    d->query = NULL;
    if (error->kind == SP_ERR_TIMEOUT)
        refuse(d, 504, "dns_timeout", error->text);
    else if (error->kind != SP_OK)
        refuse(d, 502, "dns_error", error->text);
    else
        dial(d, addrs, count);
}

/* No name server is asked about this machine (RFC 6761 6.3). */
static void dial_localhost(struct agent_direct *d)
{
    const struct sp_addr addrs[] = {
        {.ip = {.family = 6, .bytes = {[15] = 1}}, .port = d->target.port},
        {.ip = {.family = 4, .bytes = {127, 0, 0, 1}}, .port = d->target.port},
    };

    d->dial = sp_dial(d->loop, addrs, sizeof addrs / sizeof addrs[0], NULL, on_dialled, d);
}

struct agent_direct *agent_direct_open(const struct agent_direct_options *options,
                                       const struct sp_target *target,
                                       const struct agent_request_callbacks *callbacks, void *ctx)
{
    struct agent_direct *d = sp_calloc(1, sizeof *d);
    bool in_file =
        !target->is_ip && options->hosts && agent_hosts_has(options->hosts, target->host);

    d->loop = options->loop;
    d->callbacks = callbacks;
    d->ctx = ctx;
    d->target = *target;
    d->may_be_near = target->is_ip || in_file;
    if (!target->is_ip && !in_file && agent_route_is_localhost(target->host))
        dial_localhost(d);
    else
        d->query = sp_resolve(options->resolver, target->host, target->port, on_resolved, d);
    return d;
}

void agent_direct_cancel(struct agent_direct *d)
{
    if (d)
        direct_free(d);
}
