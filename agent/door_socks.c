/* door_socks: a SOCKS5 proxy (RFC 1928): CONNECT, names resolved at the far side, logins (RFC 1929)
 * where the door has users. */
#include "agent/client.h"
#include "agent/config.h"
#include "agent/socks_code.h"
#include "agent/users.h"
#include "common/socks5.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void start(struct agent_client *client)
{
    agent_client_read(client);
}

static struct sp_socks5 *socks_of(struct agent_client *client)
{
    struct sp_socks5 *socks = agent_client_state(client);

    if (!socks) {
        socks = sp_calloc(1, sizeof *socks);
        sp_socks5_init(socks, agent_client_door(client)->users != NULL);
        agent_client_set_state(client, socks);
    }
    return socks;
}

static void done(struct agent_client *client)
{
    free(agent_client_state(client));
}

static void on_refused(struct agent_client *client, const struct agent_refusal *refusal)
{
    uint8_t reply[SP_SOCKS5_REPLY_MAX];
    size_t len = sp_socks5_reply(socks_of(client), agent_socks_code(refusal), reply);

    agent_client_say(client, reply, len);
    agent_client_hang_up(client);
}

static void on_open(struct agent_client *client)
{
    uint8_t reply[SP_SOCKS5_REPLY_MAX];
    size_t len = sp_socks5_reply(socks_of(client), SP_SOCKS5_SUCCEEDED, reply);

    agent_client_say(client, reply, len);
}

static void refuse(struct agent_client *client, const struct sp_error *err,
                   enum sp_socks5_code code)
{
    struct agent_refusal refusal = {.status = 400, .error = "socks_request_error"};

    if (code == SP_SOCKS5_NO_SUCH_COMMAND)
        snprintf(refusal.error, sizeof refusal.error, "socks_no_such_command");
    else if (code == SP_SOCKS5_NO_SUCH_ADDRESS_TYPE)
        snprintf(refusal.error, sizeof refusal.error, "socks_no_such_address_type");
    snprintf(refusal.text, sizeof refusal.text, "%s", err->text);
    agent_client_refuse(client, &refusal);
}

/* False: it was refused. The name may be anything, hence is not in the log. */
static bool judge(struct agent_client *client, struct sp_socks5 *socks,
                  const struct sp_socks5_result *result)
{
    static const struct agent_refusal unknown = {
        .status = 407, .error = "socks_login_refused", .text = "the user or the password is wrong"};
    bool known = agent_users_know(agent_client_door(client)->users, result->user, result->user_len,
                                  result->password, result->password_len);
    uint8_t reply[SP_SOCKS5_REPLY_MAX];
    char user[UINT8_MAX + 1];

    agent_client_say(client, reply, sp_socks5_admit(socks, known, reply));
    if (!known) {
        agent_client_refuse(client, &unknown);
        return false;
    }
    snprintf(user, sizeof user, "%.*s", (int)result->user_len, (const char *)result->user);
    agent_client_set_user(client, user);
    return true;
}

static void on_input(struct agent_client *client)
{
    struct sp_buf *input = agent_client_input(client);
    struct sp_socks5 *socks = socks_of(client);
    struct sp_socks5_result result;
    struct sp_error err;

    for (;;) {
        switch (sp_socks5_step(socks, sp_buf_data(input), input->len, &result, &err)) {
        case SP_SOCKS5_MORE:
            return;
        case SP_SOCKS5_GREETED:
            agent_client_say(client, result.reply, result.reply_len);
            break;
        case SP_SOCKS5_JUDGE:
            if (!judge(client, socks, &result))
                return;
            break;
        case SP_SOCKS5_CONNECT:
            sp_buf_consume(input, result.used); /* what is left is the application's */
            agent_client_connect(client, &result.target);
            return;
        case SP_SOCKS5_WRONG:
            refuse(client, &err, result.code);
            return;
        }
        sp_buf_consume(input, result.used);
    }
}

const struct agent_door_kind agent_door_socks5 = {
    .name = "socks5",
    .start = start,
    .on_input = on_input,
    .on_open = on_open,
    .on_refused = on_refused,
    .done = done,
};
