#include "agent/status.h"

#include "agent/advice.h"
#include "agent/client.h"
#include "agent/config.h"
#include "agent/link.h"
#include "agent/local.h"
#include "common/clock.h"
#include "common/loop.h"
#include "common/tls_session.h"
#include "common/traffic.h"
#include "common/tunnel.h"

#include <stdlib.h>
#include <string.h>

void agent_status_begin(struct agent_status *s, const struct agent_config *config,
                        const struct agent_clients *clients, int64_t started)
{
    *s = (struct agent_status){
        .config = config,
        .now = sp_clock_wall_s(),
        .now_ms = sp_loop_now_ms(clients->loop),
        .started = started,
        .state.state = AGENT_STATE_COUNT,
    };
    agent_clients_tally(clients, &s->tally);
    if (clients->state)
        clients->state(clients->ctx, &s->state);
}

void agent_status_add_tunnel(void *ctx, struct agent_link *link, bool is_draining)
{
    struct agent_status *s = ctx;
    struct sp_tunnel *tunnel = agent_link_tunnel(link);
    struct sp_tls_session *tls = sp_tunnel_tls(tunnel);
    struct sp_traffic traffic;
    struct agent_status_tunnel *t;

    s->tunnels = reallocarray(s->tunnels, s->tunnel_count + 1, sizeof *s->tunnels);
    SP_REQUIRE(s->tunnels);
    t = &s->tunnels[s->tunnel_count++];
    *t = (struct agent_status_tunnel){
        .since = (sp_clock_wall_ms() - (int64_t)(s->now_ms - sp_tunnel_opened_ms(tunnel))) / 1000,
        .channels = sp_tunnel_channel_count(tunnel),
        .is_draining = is_draining,
    };
    sp_target_format(agent_link_gateway(link), t->gateway);
    if (agent_link_address(link)->ip.family)
        sp_addr_format(agent_link_address(link), t->address);
    snprintf(t->tls, sizeof t->tls, "%s", sp_tls_version_name(tls));
    snprintf(t->cipher, sizeof t->cipher, "%s", sp_tls_cipher_name(tls));
    if (sp_tunnel_traffic(tunnel, &traffic)) {
        t->bytes_up = traffic.sent;
        t->bytes_down = traffic.received;
        t->round_trip_us = traffic.round_trip_us;
    }
}

void agent_status_add_door(void *ctx, const char *door)
{
    struct agent_status *s = ctx;

    s->doors = reallocarray(s->doors, s->door_count + 1, sizeof *s->doors);
    SP_REQUIRE(s->doors);
    snprintf(s->doors[s->door_count++], sizeof *s->doors, "%s", door);
}

void agent_status_end(struct agent_status *s)
{
    if (s->state.state != AGENT_STATE_COUNT)
        return;
    s->state.state = s->tunnel_count ? AGENT_STATE_UP : AGENT_STATE_STARTING;
    s->state.advice = agent_advice_state(s->state.state);
}

void agent_status_done(struct agent_status *s)
{
    free(s->tunnels);
    free(s->doors);
    *s = (struct agent_status){.now = 0};
}

/* ---- pages ---- */

static void write_page(const struct agent_local_request *request, enum agent_form form, FILE *out)
{
    const struct agent_clients *all = agent_client_all(request->client);
    struct agent_status status;

    all->collect(all->ctx, &status);
    agent_status_write(&status, form, out);
    agent_status_done(&status);
}

void agent_status_page(const struct agent_local_request *request, FILE *out)
{
    write_page(request, agent_answer_form(request->head), out);
}

void agent_status_page_json(const struct agent_local_request *request, FILE *out)
{
    write_page(request, AGENT_FORM_JSON, out);
}
