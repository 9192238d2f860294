#include "agent/reach.h"

#include "common/dial.h"
#include "common/sock.h"

#include <errno.h>
#include <stdlib.h>

#define WAIT_MS 2500

/* Ports at which a network that lets anything through lets something through. */
static const uint16_t ports[] = {443, 80};
#define PORT_COUNT (sizeof ports / sizeof ports[0])

struct attempt {
    struct agent_reach *reach;
    struct sp_dial *dial;
    uint16_t port;
};

struct agent_reach {
    struct attempt attempts[PORT_COUNT];
    size_t running;
    agent_reach_cb on_done;
    void *ctx;
};

static void on_dialled(void *ctx, struct sp_sock *sock, const struct sp_addr *addr,
                       const struct sp_error *error)
{
    struct attempt *attempt = ctx;
    struct agent_reach *reach = attempt->reach;
    bool answered = sock || (error->kind == SP_ERR_SYS && error->code == ECONNREFUSED);

    (void)addr;
    sp_sock_close(sock);
    attempt->dial = NULL;
    reach->running--;
    if (!answered && reach->running)
        return;
    reach->on_done(reach->ctx, answered ? attempt->port : 0);
    agent_reach_cancel(reach);
}

struct agent_reach *agent_reach_start(struct sp_loop *loop, const struct sp_addr *silent,
                                      agent_reach_cb on_done, void *ctx)
{
    static const struct sp_dial_options options = {.total_ms = WAIT_MS};
    struct agent_reach *reach = sp_calloc(1, sizeof *reach);
    struct sp_addr addr = *silent;

    reach->on_done = on_done;
    reach->ctx = ctx;
    for (size_t i = 0; i < PORT_COUNT; i++) {
        struct attempt *attempt = &reach->attempts[i];

        if (ports[i] == silent->port)
            continue;
        addr.port = attempt->port = ports[i];
        attempt->reach = reach;
        reach->running++;
        attempt->dial = sp_dial(loop, &addr, 1, &options, on_dialled, attempt);
    }
    return reach;
}

void agent_reach_cancel(struct agent_reach *reach)
{
    if (!reach)
        return;
    for (size_t i = 0; i < PORT_COUNT; i++)
        if (reach->attempts[i].dial)
            sp_dial_cancel(reach->attempts[i].dial);
    free(reach);
}
