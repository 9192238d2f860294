#include "gateway/carry.h"

#include "common/channel.h"
#include "common/log.h"
#include "gateway/tenant.h"

#include <stdio.h>
#include <stdlib.h>

struct carry {
    struct carry *next, **prev;
    struct gw_carry_options options;
    char tunnel[32];
    struct sp_channel *channel;
    struct gw_egress_attempt *attempt; /* NULL: not yet, or over */
    struct sp_addr dialled;
    bool counted, connected;
    int status; /* refused with; 0: not refused */
    char error[40], why[256];
};

static void log_end(const struct carry *c, const struct sp_channel_end *end)
{
    char text[SP_TARGET_TEXT];
    struct sp_log_line line;

    if (!sp_log_begin(&line, c->options.log, SP_LOG_INFO, "channel"))
        return;
    sp_log_str(&line, "tenant", c->options.tenant->id);
    sp_log_str(&line, "tunnel", c->tunnel);
    sp_log_str(&line, "destination", sp_target_format(sp_channel_target(c->channel), text));
    if (c->connected)
        sp_log_str(&line, "dialled", sp_addr_format(&c->dialled, text));
    if (c->options.unvalidated)
        sp_log_bool(&line, "unvalidated", true);
    sp_log_int(&line, "bytes_up", (int64_t)end->bytes_in);
    sp_log_int(&line, "bytes_down", (int64_t)end->bytes_out);
    sp_log_int(&line, "duration_ms", (int64_t)end->duration_ms);
    sp_log_str(&line, "how", sp_channel_how_name(end->how));
    if (c->status) {
        sp_log_int(&line, "status", c->status);
        sp_log_str(&line, "error", c->error);
        sp_log_str(&line, "detail", c->why);
    }
    sp_log_end(&line);
}

static void on_closed(void *ctx, struct sp_channel *channel, const struct sp_channel_end *end)
{
    struct carry *c = ctx;

    (void)channel;
    if (c->attempt)
        gw_egress_cancel(c->attempt);
    log_end(c, end);
    if (c->counted)
        gw_tenant_drop_channel(c->options.tenant);
    gw_tenant_unref(c->options.tenant);
    *c->prev = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->options.carries->count--;
    c->options.on_end(c->options.ctx);
    free(c);
}

/* A channel that came to us has no reply to wait for. */
static const struct sp_channel_callbacks callbacks = {.on_closed = on_closed};

static void refuse(struct carry *c, int status, const char *error, const char *text)
{
    char value[SP_PROXY_STATUS_MAX];

    c->status = status;
    snprintf(c->error, sizeof c->error, "%s", error);
    snprintf(c->why, sizeof c->why, "%s", text);
    sp_channel_refuse(c->channel, status, sp_proxy_status(value, "sallyport-gateway", error, text));
}

static void on_egress(void *ctx, const struct gw_egress_result *result)
{
    struct carry *c = ctx;

    c->attempt = NULL;
    if (!result->sock) {
        refuse(c, result->status, result->error, result->text);
        return;
    }
    c->connected = true;
    c->dialled = result->dialled;
    sp_channel_attach(c->channel, result->sock, NULL, 0);
}

void gw_carry_start(const struct gw_carry_options *options, struct sp_channel *channel)
{
    struct carry *c = sp_calloc(1, sizeof *c);
    struct gw_tenant *tenant = gw_tenant_ref(options->tenant);

    c->options = *options;
    snprintf(c->tunnel, sizeof c->tunnel, "%s", options->tunnel);
    c->channel = channel;
    c->next = options->carries->first;
    c->prev = &options->carries->first;
    if (c->next)
        c->next->prev = &c->next;
    options->carries->first = c;
    options->carries->count++;
    sp_channel_set_owner(channel, &callbacks, c);
    c->counted = gw_tenant_take_channel(tenant);
    if (!c->counted) {
        refuse(c, 503, "connection_limit_reached",
               "the tenant's limit of open channels is reached");
        return;
    }
    c->attempt = gw_egress_start(&options->ways, gw_tenant_acl(tenant, options->unvalidated),
                                 sp_channel_target(channel), on_egress, c);
}

void gw_carries_cancel(struct gw_carries *carries)
{
    for (struct carry *c = carries->first; c; c = c->next)
        sp_channel_cancel(c->channel);
}
