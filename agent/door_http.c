/* door_http: an HTTP proxy: CONNECT (RFC 9110 9.3.6), and requests for http:// URLs (plain.h). */
#include "agent/client.h"
#include "agent/local.h"
#include "agent/plain.h"
#include "common/http1.h"

#include <stdio.h>
#include <string.h>

static void start(struct agent_client *client)
{
    agent_client_read(client);
}

static void done(struct agent_client *client)
{
    agent_plain_free(agent_client_state(client));
}

static void on_refused(struct agent_client *client, const struct agent_refusal *refusal)
{
    const struct agent_plain *plain = agent_client_state(client);

    if (plain)
        agent_plain_say_refusal(client, refusal, agent_plain_target(plain),
                                agent_plain_is_head(plain));
    else
        agent_plain_say_refusal(client, refusal, agent_client_target(client), false);
    agent_client_hang_up(client);
}

static void refuse(struct agent_client *client, int status, const struct sp_error *err)
{
    struct agent_refusal refusal = {.status = status, .error = "http_request_error"};

    snprintf(refusal.text, sizeof refusal.text, "%s", err->text);
    agent_client_refuse(client, &refusal);
}

static void serve_plain(struct agent_client *client, const struct sp_http1_head *head,
                        const struct sp_http1_plan *plan)
{
    struct agent_plain *plain = agent_client_state(client);

    if (!plain) {
        plain = agent_plain_new(client);
        agent_client_set_state(client, plain);
    }
    agent_plain_serve(plain, head, plan);
}

static bool is_connect(const struct sp_http1_head *head)
{
    return head->method.len == 7 && memcmp(head->method.text, "CONNECT", 7) == 0;
}

static void on_input(struct agent_client *client)
{
    struct sp_buf *input = agent_client_input(client);
    struct sp_http1_head head;
    struct sp_http1_plan plan;
    struct sp_error err;
    int status;
    enum sp_err rc = sp_http1_request_head(sp_buf_data(input), input->len, &head, &status, &err);

    if (rc == SP_AGAIN)
        return;
    agent_client_set_form(client, rc == SP_OK ? agent_answer_form(&head) : AGENT_FORM_TEXT);
    if (rc == SP_OK && agent_local_serve(client, &head))
        return;
    if (rc == SP_OK)
        rc = is_connect(&head) ? sp_http1_connect(&head, &plan.target, &status, &err)
                               : sp_http1_plan(&head, &plan, &status, &err);
    if (rc != SP_OK) {
        refuse(client, status, &err);
    } else if (is_connect(&head)) {
        sp_buf_consume(input, head.len);
        agent_plain_free(agent_client_state(client)); /* no plain request comes any more */
        agent_client_set_state(client, NULL);
        agent_client_connect(client, &plan.target);
    } else {
        serve_plain(client, &head, &plan);
    }
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
    .done = done,
};
