#include "agent/leg.h"

#include "agent/client.h"
#include "common/sock.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* It is freed with its inner client, which may be after its owner has dropped it. */

static void on_refused(struct agent_client *inner, const struct agent_refusal *refusal)
{
    struct agent_leg *leg = agent_client_state(inner);

    if (leg->callbacks)
        leg->callbacks->on_refused(leg->ctx, refusal);
    agent_client_hang_up(inner);
}

static void on_open(struct agent_client *inner)
{
    (void)inner; /* what waits in the socket pair flows by itself */
}

static void done(struct agent_client *inner)
{
    struct agent_leg *leg = agent_client_state(inner);
    const struct agent_leg_callbacks *callbacks = leg->callbacks;
    void *ctx = leg->ctx;

    agent_leg_drop(leg);
    free(leg);
    if (callbacks)
        callbacks->on_gone(ctx, agent_client_ended_well(inner));
}

static const struct agent_door_kind inner_kind = {
    .name = "http",
    .on_open = on_open,
    .on_refused = on_refused,
    .done = done,
};

static void on_readable(void *ctx)
{
    struct agent_leg *leg = ctx;

    leg->callbacks->on_readable(leg->ctx);
}

static void on_writable(void *ctx)
{
    struct agent_leg *leg = ctx;

    leg->callbacks->on_writable(leg->ctx);
}

static const struct sp_sock_callbacks sock_callbacks = {on_readable, on_writable};

struct agent_leg *agent_leg_open(struct agent_client *client, const struct sp_target *target,
                                 const struct agent_leg_callbacks *callbacks, void *ctx)
{
    struct agent_leg *leg = sp_calloc(1, sizeof *leg);
    int fd;

    leg->target = *target;
    if (!agent_client_inner(client, &inner_kind, leg, &leg->target, &fd)) {
        free(leg);
        return NULL;
    }
    if (sp_sock_new(agent_client_all(client)->loop, fd, &sock_callbacks, leg, &leg->sock, NULL) !=
        SP_OK) {
        close(fd); /* which ends the inner client, and with it the leg */
        return NULL;
    }
    leg->callbacks = callbacks;
    leg->ctx = ctx;
    return leg;
}

bool agent_leg_leads_to(const struct agent_leg *leg, const struct sp_target *target)
{
    return leg->target.port == target->port && strcmp(leg->target.host, target->host) == 0;
}

void agent_leg_end(struct agent_leg *leg)
{
    sp_sock_close(leg->sock);
    leg->sock = NULL;
}

void agent_leg_drop(struct agent_leg *leg)
{
    if (!leg)
        return;
    agent_leg_end(leg);
    leg->callbacks = NULL;
}
