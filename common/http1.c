#include "common/http1.h"

#include <http_parser.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define REQUEST_LINE_MAX 8192
#define FIELDS_MAX       100

/* A piece of the head. */
struct span {
    const char *text;
    size_t len;
};

/* What our own scan found. http_parser then reads the same bytes and must agree: it knows the
 * grammar, but forgives what we do not (bare LF, folded lines, odd versions). */
struct head {
    struct span method, target, version;
    struct span host;
    unsigned fields, hosts;
    bool has_content_length, has_transfer_encoding;
    size_t len;
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

static bool is_token(struct span span)
{
    for (size_t i = 0; i < span.len; i++) {
        if (!is_token_char((unsigned char)span.text[i]))
            return false;
    }
    return span.len > 0;
}

static bool span_is(struct span span, const char *text)
{
    return span.len == strlen(text) && memcmp(span.text, text, span.len) == 0;
}

static bool span_is_name(struct span span, const char *name)
{
    return span.len == strlen(name) && strncasecmp(span.text, name, span.len) == 0;
}

/* ---- our scan ---- */

/* The line at text, without its CRLF. SP_AGAIN: no end yet; *ret_line is what is there. */
static enum sp_err read_line(const char *text, size_t len, struct span *ret_line, int *ret_status,
                             struct sp_error *err)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        *ret_line = (struct span){text, i};
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
    *ret_line = (struct span){text, len};
    return SP_AGAIN;
}

/* The bytes up to the next space; *rest becomes what is behind it. */
static struct span cut_word(struct span *rest)
{
    const char *space = rest->len ? memchr(rest->text, ' ', rest->len) : NULL;
    struct span word = *rest;

    if (space) {
        word.len = (size_t)(space - rest->text);
        rest->text += word.len + 1;
        rest->len -= word.len + 1;
    } else {
        *rest = (struct span){rest->text + rest->len, 0};
    }
    return word;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static enum sp_err scan_request_line(struct span line, struct head *head, int *ret_status,
                                     struct sp_error *err)
{
    struct span rest = line;
    const char *version;

    head->method = cut_word(&rest);
    head->target = cut_word(&rest);
    head->version = rest;
    version = head->version.text;
    if (!is_token(head->method) || head->method.len >= sizeof((struct sp_http1_request *)0)->method)
        return refuse(ret_status, 400, err, "the request line has no method");
    if (!head->target.len || memchr(head->target.text, '\t', head->target.len))
        return refuse(ret_status, 400, err, "the request line has no target");
    if (head->version.len != 8 || memcmp(version, "HTTP/", 5) != 0 || !is_digit(version[5]) ||
        version[6] != '.' || !is_digit(version[7]))
        return refuse(ret_status, 400, err, "the request line does not end in an HTTP version");
    if (!span_is(head->version, "HTTP/1.1") && !span_is(head->version, "HTTP/1.0"))
        return refuse(ret_status, 505, err, "not HTTP/1.1");
    return SP_OK;
}

static enum sp_err scan_field(struct span line, struct head *head, int *ret_status,
                              struct sp_error *err)
{
    const char *colon = memchr(line.text, ':', line.len);
    const char *end = line.text + line.len;
    struct span name, value;

    if (line.text[0] == ' ' || line.text[0] == '\t')
        return refuse(ret_status, 400, err, "a folded header line");
    if (!colon)
        return refuse(ret_status, 400, err, "a header line without a colon");
    name = (struct span){line.text, (size_t)(colon - line.text)};
    if (!is_token(name))
        return refuse(ret_status, 400, err,
                      name.len && (colon[-1] == ' ' || colon[-1] == '\t')
                          ? "a space before the colon of a header"
                          : "a header name that is none");
    if (++head->fields > FIELDS_MAX)
        return refuse(ret_status, 431, err, "more than 100 headers");
    value.text = colon + 1;
    while (value.text < end && (*value.text == ' ' || *value.text == '\t'))
        value.text++;
    while (end > value.text && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    value.len = (size_t)(end - value.text);
    if (span_is_name(name, "Host")) {
        head->host = value;
        head->hosts++;
    }
    head->has_content_length |= span_is_name(name, "Content-Length");
    head->has_transfer_encoding |= span_is_name(name, "Transfer-Encoding");
    return SP_OK;
}

/* Whether a head that has no end so far may still get one. */
static enum sp_err scan_unfinished(struct span line, bool is_first, size_t len, int *ret_status,
                                   struct sp_error *err)
{
    if (is_first && line.len > REQUEST_LINE_MAX)
        return refuse(ret_status, 414, err, "the request line is longer than 8192 bytes");
    if (len >= SP_HTTP1_HEAD_MAX)
        return refuse(ret_status, 431, err, "the head is longer than 16384 bytes");
    return SP_AGAIN;
}

static enum sp_err scan_head(const char *text, size_t len, struct head *head, int *ret_status,
                             struct sp_error *err)
{
    size_t at = 0;
    struct span line = {text, 0};
    enum sp_err rc = SP_OK;

    if (len > SP_HTTP1_HEAD_MAX)
        len = SP_HTTP1_HEAD_MAX;
    while (rc == SP_OK) {
        line = (struct span){text + at, 0};
        rc = read_line(text + at, len - at, &line, ret_status, err);
        if (rc == SP_AGAIN)
            return scan_unfinished(line, at == 0, len, ret_status, err);
        if (rc == SP_OK && at == 0 && line.len > REQUEST_LINE_MAX)
            return scan_unfinished(line, true, len, ret_status, err);
        if (rc == SP_OK && at > 0 && !line.len) {
            head->len = at + 2;
            return SP_OK;
        }
        if (rc == SP_OK)
            rc = at == 0 ? scan_request_line(line, head, ret_status, err)
                         : scan_field(line, head, ret_status, err);
        at += line.len + 2;
    }
    return rc;
}

/* ---- http_parser's opinion ---- */

struct opinion {
    struct span url;
    unsigned fields;
};

static int on_url(http_parser *parser, const char *at, size_t len)
{
    struct opinion *opinion = parser->data;

    opinion->url = (struct span){at, len};
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

static bool parsers_agree(const char *text, const struct head *head)
{
    struct opinion opinion = {.fields = 0};
    http_parser_settings settings;
    http_parser parser;

    http_parser_settings_init(&settings);
    settings.on_url = on_url;
    settings.on_header_field = on_header_field;
    settings.on_headers_complete = on_headers_complete;
    http_parser_init(&parser, HTTP_REQUEST);
    parser.data = &opinion;
    http_parser_execute(&parser, &settings, text, head->len);
    if (HTTP_PARSER_ERRNO(&parser) == HPE_INVALID_METHOD && !span_is(head->method, "CONNECT"))
        return true; /* one it does not know */
    return HTTP_PARSER_ERRNO(&parser) == HPE_PAUSED && opinion.fields == head->fields &&
           span_is(head->method, http_method_str((enum http_method)parser.method)) &&
           opinion.url.text == head->target.text && opinion.url.len == head->target.len &&
           parser.http_major == 1 && parser.http_minor == head->version.text[7] - '0';
}

/* ---- what it means ---- */

/* Host is the target, its port possibly left out. */
static bool is_host_of(struct span host, const struct sp_target *target)
{
    char with_port[SP_TARGET_TEXT + 8];
    struct sp_target named;
    int len;

    if (!host.len || host.len > SP_TARGET_TEXT)
        return false;
    if (sp_target_parse(host.text, host.len, &named, NULL) != SP_OK) {
        len = snprintf(with_port, sizeof with_port, "%.*s:%u", (int)host.len, host.text,
                       (unsigned)target->port);
        if (len < 0 || (size_t)len >= sizeof with_port ||
            sp_target_parse(with_port, (size_t)len, &named, NULL) != SP_OK)
            return false;
    }
    return named.port == target->port && strcmp(named.host, target->host) == 0;
}

static enum sp_err check_connect(const struct head *head, struct sp_target *ret_target,
                                 int *ret_status, struct sp_error *err)
{
    if (head->has_content_length || head->has_transfer_encoding)
        return refuse(ret_status, 400, err, "CONNECT with a body");
    if (sp_target_parse(head->target.text, head->target.len, ret_target, err) != SP_OK) {
        if (err) {
            err->kind = SP_ERR_HTTP;
            err->code = 400;
        }
        *ret_status = 400;
        return SP_ERR_HTTP;
    }
    if (head->hosts && !is_host_of(head->host, ret_target))
        return refuse(ret_status, 400, err, "Host is not the target of CONNECT");
    return SP_OK;
}

enum sp_err sp_http1_parse(const uint8_t *data, size_t len, struct sp_http1_request *ret_request,
                           int *ret_status, struct sp_error *err)
{
    struct sp_http1_request request = {.head_len = 0};
    struct head head = {.len = 0};
    const char *text = (const char *)data;
    enum sp_err rc;

    if (!len)
        return SP_AGAIN;
    rc = scan_head(text, len, &head, ret_status, err);
    if (rc != SP_OK)
        return rc;
    if (head.hosts > 1)
        return refuse(ret_status, 400, err, "more than one Host");
    request.minor = head.version.text[7] - '0';
    if (!head.hosts && request.minor > 0)
        return refuse(ret_status, 400, err, "no Host");
    if (head.has_content_length && head.has_transfer_encoding)
        return refuse(ret_status, 400, err, "both Content-Length and Transfer-Encoding");
    if (!parsers_agree(text, &head))
        return refuse(ret_status, 400, err, "not an HTTP/1.1 request");
    request.head_len = head.len;
    memcpy(request.method, head.method.text, head.method.len);
    request.is_connect = span_is(head.method, "CONNECT");
    if (request.is_connect)
        rc = check_connect(&head, &request.target, ret_status, err);
    else
        rc = refuse(ret_status, 405, err, "only CONNECT is served");
    *ret_request = request;
    return rc;
}
