/* door_forward: a local port that leads to one fixed destination; the application speaks first, or
 * not at all, and nothing is said to it but what the destination says. */
#include "agent/client.h"
#include "agent/config.h"

static void start(struct agent_client *client)
{
    agent_client_connect(client, &agent_client_door(client)->to);
}

static void on_input(struct agent_client *client)
{
    (void)client; /* never reads before the channel is open */
}

static void on_open(struct agent_client *client)
{
    (void)client;
}

const struct agent_door_kind agent_door_forward = {
    .name = "forward",
    .start = start,
    .on_input = on_input,
    .on_open = on_open,
};
