/* door_http: an HTTP proxy for CONNECT (RFC 9110 9.3.6). */
#include "agent/client.h"
#include "common/http1.h"

static void start(struct agent_client *client)
{
    agent_client_read(client);
}

static void answer(struct agent_client *client, int status, const char *proxy_status,
                   const char *text)
{
    char buf[2048];

    agent_client_say(client, buf, sp_http1_refusal(buf, sizeof buf, status, proxy_status, text));
    agent_client_hang_up(client, text);
}

static void on_refused(struct agent_client *client, const struct agent_refusal *refusal)
{
    char value[SP_PROXY_STATUS_MAX];

    answer(client, refusal->status,
           sp_proxy_status(value, "sallyport-agent", refusal->error, refusal->text), refusal->text);
}

static void on_input(struct agent_client *client)
{
    struct sp_buf *input = agent_client_input(client);
    struct sp_http1_request request;
    struct sp_error err;
    int status = 400;
    enum sp_err rc = sp_http1_parse(sp_buf_data(input), input->len, &request, &status, &err);

    if (rc == SP_AGAIN)
        return;
    if (rc != SP_OK) {
        answer(client, status, NULL, err.text);
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
