#include "agent/local.h"

#include "agent/client.h"
#include "agent/config.h"
#include "agent/pac.h"
#include "agent/status.h"
#include "common/http1.h"

#include <stdlib.h>
#include <string.h>

/* The browser that has it from this door will come in by it. */
static void write_pac(const struct agent_local_request *request, FILE *out)
{
    const struct agent_config *config = *agent_client_all(request->client)->config;
    char proxy[SP_TARGET_TEXT];

    agent_pac_write(config, agent_client_door(request->client)->name,
                    sp_target_format(&request->self, proxy), out);
}

static const struct agent_local_page pages[] = {
    {.path = "/", .write = agent_status_page, .refresh_s = 5},
    {.path = "/status.json", .content_type = "application/json", .write = agent_status_page_json},
    {.path = "/proxy.pac", .content_type = "application/x-ns-proxy-autoconfig", .write = write_pac},
    {.path = NULL},
};

static bool is_word(struct sp_http1_span span, const char *word)
{
    return span.len == strlen(word) && memcmp(span.text, word, span.len) == 0;
}

static void refuse(struct agent_client *client, int status, const char *text)
{
    struct agent_refusal refusal = {.status = status, .error = "http_request_error"};

    snprintf(refusal.text, sizeof refusal.text, "%s", text);
    agent_client_refuse(client, &refusal);
}

/* ---- whom the request is meant for ---- */

/* The Host with a port; one without is that of port 80. */
static bool parse_host(const struct sp_http1_head *head, struct sp_target *ret_host)
{
    const struct sp_http1_field *host = sp_http1_find(head, "Host", NULL);

    return host && sp_target_parse_default(host->value.text, host->value.len, 80, ret_host);
}

/* Its port may be another, where something forwards to the door. */
static bool is_own(const struct agent_client *client, const struct sp_target *host)
{
    struct sp_addr local;

    if (!host->is_ip)
        return strcmp(host->host, "localhost") == 0;
    return sp_ip_classify(&host->ip) == SP_IP_LOOPBACK ||
           (agent_client_local(client, &local) && sp_ip_equal(&local.ip, &host->ip));
}

static const struct agent_local_page *find_page(struct sp_http1_span target)
{
    const char *query = memchr(target.text, '?', target.len);

    if (query)
        target.len = (size_t)(query - target.text);
    for (const struct agent_local_page *page = pages; page->path; page++) {
        if (is_word(target, page->path))
            return page;
    }
    return NULL;
}

/* ---- the answer ---- */

/* No script runs in any page, and none of another origin may read them. */
static void write_head(FILE *out, const char *content_type, size_t body_len)
{
    fprintf(out,
            "HTTP/1.1 200 OK\r\n"
            "Server: sallyport-agent/%s\r\n"
            "Content-Type: %s\r\n"
            "Content-Length: %zu\r\n"
            "Cache-Control: no-store\r\n"
            "Content-Security-Policy: default-src 'none'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
            "Cross-Origin-Resource-Policy: same-origin\r\n"
            "Referrer-Policy: no-referrer\r\n"
            "X-Content-Type-Options: nosniff\r\n"
            "Connection: close\r\n",
            SALLYPORT_VERSION, content_type, body_len);
}

static void answer(const struct agent_local_request *request, const struct agent_local_page *page)
{
    char *body = NULL, *text = NULL;
    size_t body_len, len;
    enum agent_form form;
    FILE *out = open_memstream(&body, &body_len);

    SP_REQUIRE(out);
    page->write(request, out);
    SP_REQUIRE(fclose(out) == 0);
    out = open_memstream(&text, &len);
    SP_REQUIRE(out);
    form = agent_answer_form(request->head);
    write_head(out, page->content_type ? page->content_type : agent_answer_content_type(form),
               body_len);
    if (page->refresh_s && form == AGENT_FORM_HTML)
        fprintf(out, "Refresh: %u\r\n", page->refresh_s);
    fputs("\r\n", out);
    if (!is_word(request->head->method, "HEAD"))
        fwrite(body, 1, body_len, out);
    SP_REQUIRE(fclose(out) == 0);
    free(body);
    agent_client_answer(request->client, text, len);
}

bool agent_local_serve(struct agent_client *client, const struct sp_http1_head *head)
{
    struct agent_local_request request = {.client = client, .head = head};
    const struct agent_local_page *page;

    if (head->target.text[0] != '/' ||
        (!is_word(head->method, "GET") && !is_word(head->method, "HEAD")))
        return false;
    if (!parse_host(head, &request.self)) {
        refuse(client, 400, "the Host is none, or not as it should be");
        return true;
    }
    if (!is_own(client, &request.self)) {
        refuse(client, 421,
               "this is a proxy, and not the server that the Host names: its own pages are served "
               "under its own address alone");
        return true;
    }
    page = find_page(head->target);
    if (page)
        answer(&request, page);
    else
        refuse(client, 404,
               "this is a proxy: it serves CONNECT and requests for http:// URLs, and has no page "
               "of its own here");
    return true;
}
