#include "gateway/egress.h"

#include "common/dial.h"
#include "common/loop.h"
#include "common/resolve.h"
#include "gateway/acl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct gw_egress_attempt {
    struct gw_egress_ways ways;
    const struct gw_acl *acl;
    struct sp_target target;
    gw_egress_cb on_done;
    void *ctx;
    struct sp_query *query;
    struct sp_dial *dial;
    struct sp_task refuse_soon; /* a refusal without any waiting still comes from the loop */
    char text[256];
};

static void done(struct gw_egress_attempt *a, const struct gw_egress_result *result)
{
    a->on_done(a->ctx, result);
    free(a);
}

static void refuse(struct gw_egress_attempt *a, int status, const char *error, const char *text)
{
    done(a, &(struct gw_egress_result){.status = status, .error = error, .text = text});
}

static void on_dialled(void *ctx, struct sp_sock *sock, const struct sp_addr *addr,
                       const struct sp_error *error)
{
    struct gw_egress_attempt *a = ctx;

    a->dial = NULL;
    if (sock)
        done(a, &(struct gw_egress_result){.sock = sock, .dialled = *addr});
    else if (error->kind == SP_ERR_TIMEOUT || error->code == ETIMEDOUT)
        refuse(a, 504, "connection_timeout", error->text);
    else if (error->code == ECONNREFUSED)
        refuse(a, 502, "connection_refused", error->text);
    else if (error->code == ENETUNREACH || error->code == EHOSTUNREACH)
        refuse(a, 502, "destination_ip_unroutable", error->text);
    else
        refuse(a, 502, "destination_unavailable", error->text);
}

static void on_resolved(void *ctx, const struct sp_addr *addrs, size_t count,
                        const struct sp_error *error)
{
    struct gw_egress_attempt *a = ctx;
    struct sp_addr allowed[SP_RESOLVE_MAX];
    struct gw_acl_answer answer, refused = {0};
    const struct sp_dial_options options = {.total_ms = a->ways.dial_ms};
    size_t allowed_count = 0;

    a->query = NULL;
    if (error->kind != SP_OK) {
        if (error->kind == SP_ERR_TIMEOUT)
            refuse(a, 504, "dns_timeout", error->text);
        else
            refuse(a, 502, "dns_error", error->text);
        return;
    }
    for (size_t i = 0; i < count && i < SP_RESOLVE_MAX; i++) {
        gw_acl_check_address(a->acl, &a->target, &addrs[i].ip, &answer);
        if (answer.allowed)
            allowed[allowed_count++] = addrs[i];
        else
            refused = answer;
    }
    if (!allowed_count) {
        refuse(a, 403, "destination_ip_prohibited", refused.text);
        return;
    }
    a->dial = sp_dial(a->ways.loop, allowed, allowed_count, &options, on_dialled, a);
}

static void on_refuse_soon(void *ctx)
{
    struct gw_egress_attempt *a = ctx;

    refuse(a, 403, "http_request_denied", a->text);
}

struct gw_egress_attempt *gw_egress_start(const struct gw_egress_ways *ways,
                                          const struct gw_acl *acl, const struct sp_target *target,
                                          gw_egress_cb on_done, void *ctx)
{
    struct gw_egress_attempt *a = sp_calloc(1, sizeof *a);
    char text[SP_TARGET_TEXT];

    a->ways = *ways;
    a->acl = acl;
    a->target = *target;
    a->on_done = on_done;
    a->ctx = ctx;
    sp_task_init(&a->refuse_soon, on_refuse_soon, a);
    if (gw_acl_check_request(acl, target) == GW_ACL_DENY) {
        snprintf(a->text, sizeof a->text, "no egress rule of the tenant allows %.200s",
                 sp_target_format(target, text));
        sp_task_soon(ways->loop, &a->refuse_soon);
    } else {
        a->query = sp_resolve(ways->resolver, target->host, target->port, on_resolved, a);
    }
    return a;
}

void gw_egress_cancel(struct gw_egress_attempt *a)
{
    sp_task_cancel(&a->refuse_soon);
    if (a->query)
        sp_resolve_cancel(a->query);
    if (a->dial)
        sp_dial_cancel(a->dial);
    free(a);
}
