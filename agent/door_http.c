/* door_http: an HTTP proxy for CONNECT (RFC 9110 9.3.6). */
#include "agent/client.h"
#include "common/http1.h"

#include <stdio.h>

static void start(struct agent_client *client)
{
    agent_client_read(client);
}

static void on_refused(struct agent_client *client, const struct agent_refusal *refusal)
{
    char value[SP_PROXY_STATUS_MAX], buf[2048];
    size_t len;

    sp_proxy_status(value, "sallyport-agent", refusal->error, refusal->text);
    len = sp_http1_refusal(buf, sizeof buf, refusal->status, value, refusal->text);
    agent_client_say(client, buf, len);
    agent_client_hang_up(client);
}

static void on_input(struct agent_client *client)
{
    struct sp_buf *input = agent_client_input(client);
    struct sp_http1_request request;
    struct agent_refusal refusal = {.status = 400, .error = "http_request_error"};
    struct sp_error err;
    enum sp_err rc =
        sp_http1_parse(sp_buf_data(input), input->len, &request, &refusal.status, &err);

    if (rc == SP_AGAIN)
        return;
    if (rc != SP_OK) {
        snprintf(refusal.text, sizeof refusal.text, "%s", err.text);
        agent_client_refuse(client, &refusal);
        return;
    }
    sp_buf_consume(input, request.head_len);
    agent_client_connect(client, &request.target);
}

static void on_open(struct agent_client *client)
{
    static const char ok[] = "HTTP/1.1 200 Connection established\r\n\r\n";

    agent_client_say(client, ok, sizeof ok - 1);
}

const struct agent_door_kind agent_door_http = {
    .name = "http",
    .start = start,
    .on_input = on_input,
    .on_open = on_open,
    .on_refused = on_refused,
};
