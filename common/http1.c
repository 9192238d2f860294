#include "common/http1.h"

#include <http_parser.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define REQUEST_LINE_MAX 8192

/* A head is scanned here; http_parser then reads the same bytes and must agree: it knows the
 * grammar, but forgives what we do not (bare LF, folded lines, odd versions). */
struct scan {
    enum sp_err (*first_line)(struct sp_http1_span line, struct sp_http1_head *head,
                              int *ret_status, struct sp_error *err);
    size_t max, line_max;
};

static enum sp_err refuse(int *ret_status, int status, struct sp_error *err, const char *text)
{
    *ret_status = status;
    return sp_error_code(err, SP_ERR_HTTP, status, "%s", text);
}

static bool is_token_char(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(struct sp_http1_span span)
{
    for (size_t i = 0; i < span.len; i++) {
        if (!is_token_char((unsigned char)span.text[i]))
            return false;
    }
    return span.len > 0;
}

static bool span_is(struct sp_http1_span span, const char *text)
{
    return span.len == strlen(text) && memcmp(span.text, text, span.len) == 0;
}

static bool span_is_name(struct sp_http1_span span, const char *name)
{
    return span.len == strlen(name) && strncasecmp(span.text, name, span.len) == 0;
}

/* ---- our scan ---- */

/* The line at text, without its CRLF. SP_AGAIN: no end yet; *ret_line is what is there. */
static enum sp_err read_line(const char *text, size_t len, struct sp_http1_span *ret_line,
                             int *ret_status, struct sp_error *err)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        *ret_line = (struct sp_http1_span){text, i};
        if (c == '\r' && i + 1 == len)
            return SP_AGAIN;
        if (c == '\r' && text[i + 1] == '\n')
            return SP_OK;
        if (c == '\r')
            return refuse(ret_status, 400, err, "a carriage return that ends no line");
        if (c == '\n')
            return refuse(ret_status, 400, err, "a line that does not end in CR LF");
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return refuse(ret_status, 400, err, "a control character in the head");
    }
    *ret_line = (struct sp_http1_span){text, len};
    return SP_AGAIN;
}

/* The bytes up to the next space; *rest becomes what is behind it. */
static struct sp_http1_span cut_word(struct sp_http1_span *rest)
{
    const char *space = rest->len ? memchr(rest->text, ' ', rest->len) : NULL;
    struct sp_http1_span word = *rest;

    if (space) {
        word.len = (size_t)(space - rest->text);
        rest->text += word.len + 1;
        rest->len -= word.len + 1;
    } else {
        *rest = (struct sp_http1_span){rest->text + rest->len, 0};
    }
    return word;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_version(struct sp_http1_span span)
{
    return span.len == 8 && memcmp(span.text, "HTTP/", 5) == 0 && is_digit(span.text[5]) &&
           span.text[6] == '.' && is_digit(span.text[7]);
}

/* 1.0 or 1.1. */
static bool take_version(struct sp_http1_span span, struct sp_http1_head *head)
{
    head->minor = span.text[7] - '0';
    return span_is(span, "HTTP/1.1") || span_is(span, "HTTP/1.0");
}

static enum sp_err scan_request_line(struct sp_http1_span line, struct sp_http1_head *head,
                                     int *ret_status, struct sp_error *err)
{
    struct sp_http1_span rest = line;

    head->method = cut_word(&rest);
    head->target = cut_word(&rest);
    if (!is_token(head->method) || head->method.len >= sizeof((struct sp_http1_request *)0)->method)
        return refuse(ret_status, 400, err, "the request line has no method");
    if (!head->target.len || memchr(head->target.text, '\t', head->target.len))
        return refuse(ret_status, 400, err, "the request line has no target");
    if (!is_version(rest))
        return refuse(ret_status, 400, err, "the request line does not end in an HTTP version");
    if (!take_version(rest, head))
        return refuse(ret_status, 505, err, "not HTTP/1.1");
    return SP_OK;
}

/* Some leave out the reason with the space before it. */
static enum sp_err scan_status_line(struct sp_http1_span line, struct sp_http1_head *head,
                                    int *ret_status, struct sp_error *err)
{
    struct sp_http1_span rest = line;
    struct sp_http1_span version = cut_word(&rest);
    struct sp_http1_span code = cut_word(&rest);

    if (!is_version(version) || !take_version(version, head))
        return refuse(ret_status, 502, err, "the status line does not begin with HTTP/1.1");
    if (code.len != 3 || code.text[0] < '1' || code.text[0] > '9' || !is_digit(code.text[1]) ||
        !is_digit(code.text[2]))
        return refuse(ret_status, 502, err, "the status line has no status");
    head->status = (code.text[0] - '0') * 100 + (code.text[1] - '0') * 10 + code.text[2] - '0';
    head->reason = rest;
    return SP_OK;
}

static enum sp_err scan_field(struct sp_http1_span line, struct sp_http1_head *head,
                              int *ret_status, struct sp_error *err)
{
    const char *colon = memchr(line.text, ':', line.len);
    const char *end = line.text + line.len;
    struct sp_http1_span name, value;

    if (line.text[0] == ' ' || line.text[0] == '\t')
        return refuse(ret_status, 400, err, "a folded header line");
    if (!colon)
        return refuse(ret_status, 400, err, "a header line without a colon");
    name = (struct sp_http1_span){line.text, (size_t)(colon - line.text)};
    if (!is_token(name))
        return refuse(ret_status, 400, err,
                      name.len && (colon[-1] == ' ' || colon[-1] == '\t')
                          ? "a space before the colon of a header"
                          : "a header name that is none");
    if (head->field_count == SP_HTTP1_FIELDS_MAX)
        return refuse(ret_status, 431, err, "more than 100 headers");
    value.text = colon + 1;
    while (value.text < end && (*value.text == ' ' || *value.text == '\t'))
        value.text++;
    while (end > value.text && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    value.len = (size_t)(end - value.text);
    head->fields[head->field_count++] = (struct sp_http1_field){name, value};
    return SP_OK;
}

/* Whether a head that has no end so far may still get one. */
static enum sp_err scan_unfinished(const struct scan *scan, struct sp_http1_span line,
                                   bool is_first, size_t len, int *ret_status, struct sp_error *err)
{
    char text[64];

    if (is_first && line.len > scan->line_max)
        return refuse(ret_status, 414, err, "the request line is longer than 8192 bytes");
    if (len < scan->max)
        return SP_AGAIN;
    snprintf(text, sizeof text, "the head is longer than %zu bytes", scan->max);
    return refuse(ret_status, 431, err, text);
}

static enum sp_err scan_head(const struct scan *scan, const char *text, size_t len,
                             struct sp_http1_head *head, int *ret_status, struct sp_error *err)
{
    size_t at = 0;
    struct sp_http1_span line = {text, 0};
    enum sp_err rc = SP_OK;

    if (len > scan->max)
        len = scan->max;
    while (rc == SP_OK) {
        line = (struct sp_http1_span){text + at, 0};
        rc = read_line(text + at, len - at, &line, ret_status, err);
        if (rc == SP_AGAIN)
            return scan_unfinished(scan, line, at == 0, len, ret_status, err);
        if (rc == SP_OK && at == 0 && line.len > scan->line_max)
            return scan_unfinished(scan, line, true, len, ret_status, err);
        if (rc == SP_OK && at > 0 && !line.len) {
            head->len = at + 2;
            return SP_OK;
        }
        if (rc == SP_OK)
            rc = at == 0 ? scan->first_line(line, head, ret_status, err)
                         : scan_field(line, head, ret_status, err);
        at += line.len + 2;
    }
    return rc;
}

/* ---- http_parser's opinion ---- */

struct opinion {
    struct sp_http1_span url;
    unsigned fields;
};

static int on_url(http_parser *parser, const char *at, size_t len)
{
    struct opinion *opinion = parser->data;

    opinion->url = (struct sp_http1_span){at, len};
    return 0;
}

static int on_header_field(http_parser *parser, const char *at, size_t len)
{
    struct opinion *opinion = parser->data;

    (void)at;
    (void)len;
    opinion->fields++;
    return 0;
}

static int on_headers_complete(http_parser *parser)
{
    http_parser_pause(parser, 1); /* a body is none of its business */
    return 0;
}

static bool parsers_agree(const char *text, const struct sp_http1_head *head)
{
    bool is_request = head->method.text;
    struct opinion opinion = {.fields = 0};
    http_parser_settings settings;
    http_parser parser;

    http_parser_settings_init(&settings);
    settings.on_url = on_url;
    settings.on_header_field = on_header_field;
    settings.on_headers_complete = on_headers_complete;
    http_parser_init(&parser, is_request ? HTTP_REQUEST : HTTP_RESPONSE);
    parser.data = &opinion;
    http_parser_execute(&parser, &settings, text, head->len);
    if (is_request && HTTP_PARSER_ERRNO(&parser) == HPE_INVALID_METHOD &&
        !span_is(head->method, "CONNECT"))
        return true; /* one it does not know */
    if (HTTP_PARSER_ERRNO(&parser) != HPE_PAUSED || opinion.fields != head->field_count ||
        parser.http_major != 1 || parser.http_minor != head->minor)
        return false;
    if (!is_request)
        return parser.status_code == (unsigned)head->status;
    return span_is(head->method, http_method_str((enum http_method)parser.method)) &&
           opinion.url.text == head->target.text && opinion.url.len == head->target.len;
}

const struct sp_http1_field *sp_http1_find(const struct sp_http1_head *head, const char *name,
                                           unsigned *ret_count)
{
    const struct sp_http1_field *found = NULL;
    unsigned count = 0;

    for (size_t i = 0; i < head->field_count; i++) {
        if (!span_is_name(head->fields[i].name, name))
            continue;
        found = found ? found : &head->fields[i];
        count++;
    }
    if (ret_count)
        *ret_count = count;
    return found;
}

enum sp_err sp_http1_request_head(const uint8_t *data, size_t len, struct sp_http1_head *ret_head,
                                  int *ret_status, struct sp_error *err)
{
    static const struct scan scan = {scan_request_line, SP_HTTP1_HEAD_MAX, REQUEST_LINE_MAX};
    const char *text = (const char *)data;
    unsigned hosts;
    enum sp_err rc;

    *ret_head = (struct sp_http1_head){.len = 0};
    if (!len)
        return SP_AGAIN;
    rc = scan_head(&scan, text, len, ret_head, ret_status, err);
    if (rc != SP_OK)
        return rc;
    (void)sp_http1_find(ret_head, "Host", &hosts);
    if (hosts > 1)
        return refuse(ret_status, 400, err, "more than one Host");
    if (!hosts && ret_head->minor > 0)
        return refuse(ret_status, 400, err, "no Host");
    if (sp_http1_find(ret_head, "Content-Length", NULL) &&
        sp_http1_find(ret_head, "Transfer-Encoding", NULL))
        return refuse(ret_status, 400, err, "both Content-Length and Transfer-Encoding");
    if (!parsers_agree(text, ret_head))
        return refuse(ret_status, 400, err, "not an HTTP/1.1 request");
    return SP_OK;
}

enum sp_err sp_http1_response_head(const uint8_t *data, size_t len, struct sp_http1_head *ret_head,
                                   struct sp_error *err)
{
    static const struct scan scan = {scan_status_line, SP_HTTP1_RESPONSE_MAX,
                                     SP_HTTP1_RESPONSE_MAX};
    const char *text = (const char *)data;
    int status;
    enum sp_err rc;

    *ret_head = (struct sp_http1_head){.len = 0};
    if (!len)
        return SP_AGAIN;
    rc = scan_head(&scan, text, len, ret_head, &status, err);
    if (rc == SP_OK && !parsers_agree(text, ret_head))
        rc = refuse(&status, 502, err, "not an HTTP/1.1 response");
    return rc;
}

/* ---- what it means ---- */

/* Host is the target, its port possibly left out. */
static bool is_host_of(struct sp_http1_span host, const struct sp_target *target)
{
    struct sp_target named;

    return sp_target_parse_default(host.text, host.len, target->port, &named) &&
           named.port == target->port && strcmp(named.host, target->host) == 0;
}

enum sp_err sp_http1_connect(const struct sp_http1_head *head, struct sp_target *ret_target,
                             int *ret_status, struct sp_error *err)
{
    if (sp_http1_find(head, "Content-Length", NULL) ||
        sp_http1_find(head, "Transfer-Encoding", NULL))
        return refuse(ret_status, 400, err, "CONNECT with a body");
    if (sp_target_parse(head->target.text, head->target.len, ret_target, err) != SP_OK) {
        if (err) {
            err->kind = SP_ERR_HTTP;
            err->code = 400;
        }
        *ret_status = 400;
        return SP_ERR_HTTP;
    }
    return SP_OK;
}

enum sp_err sp_http1_parse(const uint8_t *data, size_t len, struct sp_http1_request *ret_request,
                           int *ret_status, struct sp_error *err)
{
    struct sp_http1_request request = {.head_len = 0};
    const struct sp_http1_field *host;
    struct sp_http1_head head;
    enum sp_err rc = sp_http1_request_head(data, len, &head, ret_status, err);

    if (rc != SP_OK)
        return rc;
    host = sp_http1_find(&head, "Host", NULL);
    request.minor = head.minor;
    request.head_len = head.len;
    memcpy(request.method, head.method.text, head.method.len);
    request.is_connect = span_is(head.method, "CONNECT");
    if (request.is_connect)
        rc = sp_http1_connect(&head, &request.target, ret_status, err);
    else
        rc = refuse(ret_status, 405, err, "only CONNECT is served");
    if (rc == SP_OK && host && !is_host_of(host->value, &request.target))
        rc = refuse(ret_status, 400, err, "Host is not the target of CONNECT");
    *ret_request = request;
    return rc;
}
