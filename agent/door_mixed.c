/* door_mixed: SOCKS5 and HTTP on one port. No HTTP request begins with a byte that is a version of
 * SOCKS. */
#include "agent/client.h"
#include "common/buf.h"

static void start(struct agent_client *client)
{
    agent_client_read(client);
}

static void on_input(struct agent_client *client)
{
    uint8_t first = *sp_buf_data(agent_client_input(client));

    /* 4 goes to SOCKS too, which has an answer that a SOCKS4 client understands. */
    agent_client_become(client, first == 4 || first == 5 ? &agent_door_socks5 : &agent_door_http);
}

/* It has not said a byte: nothing is known that it would understand. */
static void on_refused(struct agent_client *client, const struct agent_refusal *refusal)
{
    (void)refusal;
    agent_client_hang_up(client);
}

static void on_open(struct agent_client *client)
{
    (void)client;
}

const struct agent_door_kind agent_door_mixed = {
    .name = "mixed",
    .start = start,
    .on_input = on_input,
    .on_open = on_open,
    .on_refused = on_refused,
};
