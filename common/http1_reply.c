#include "common/http1.h"

#include <stdio.h>
#include <string.h>

/* ---- replies ---- */

const char *sp_http1_phrase(int status)
{
    static const struct {
        int status;
        const char *phrase;
    } rows[] = {
        {200, "OK"},
        {400, "Bad Request"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {407, "Proxy Authentication Required"},
        {408, "Request Timeout"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {421, "Misdirected Request"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].status == status)
            return rows[i].phrase;
    }
    return "";
}

static bool is_printable(char c)
{
    return c >= ' ' && c <= '~';
}

/* A value from elsewhere must not end the line it is put into. */
static bool is_line(const char *text)
{
    while (is_printable(*text))
        text++;
    return !*text;
}

static size_t write_refusal(char *buf, size_t buf_len, int status, const char *proxy_status,
                            const char *text, size_t text_len)
{
    int len =
        snprintf(buf, buf_len,
                 "HTTP/1.1 %d %s\r\n"
                 "Connection: close\r\n"
                 "Content-Type: text/plain; charset=utf-8\r\n"
                 "Content-Length: %zu\r\n"
                 "%s%s%s%s"
                 "\r\n"
                 "%.*s\n",
                 status, sp_http1_phrase(status), text_len + 1,
                 status == 405 ? "Allow: CONNECT\r\n" : "", proxy_status ? "Proxy-Status: " : "",
                 proxy_status ? proxy_status : "", proxy_status ? "\r\n" : "", (int)text_len, text);

    return len < 0 ? 0 : (size_t)len;
}

size_t sp_http1_refusal(char *buf, size_t buf_len, int status, const char *proxy_status,
                        const char *text)
{
    size_t text_len = strnlen(text, 65536), len;

    if (proxy_status && !is_line(proxy_status))
        proxy_status = NULL;
    len = write_refusal(buf, buf_len, status, proxy_status, text, text_len);
    if (len >= buf_len && len - buf_len < text_len) { /* a shorter text fits */
        text_len -= len - buf_len + 1;
        len = write_refusal(buf, buf_len, status, proxy_status, text, text_len);
    }
    return len < buf_len ? len : 0;
}

/* ---- Proxy-Status (RFC 9209, in the syntax of RFC 8941) ---- */

struct out {
    char *buf;
    size_t len, cap; /* cap: without what must still follow */
};

static bool put(struct out *out, const char *text, size_t len)
{
    if (out->cap - out->len < len)
        return false;
    memcpy(out->buf + out->len, text, len);
    out->len += len;
    return true;
}

static void put_string(struct out *out, const char *text)
{
    out->cap--; /* the closing quote */
    if (put(out, "\"", 1)) {
        for (; *text; text++) {
            char pair[2] = {'\\', is_printable(*text) ? *text : '?'};
            bool plain = pair[1] != '"' && pair[1] != '\\';

            if (!put(out, pair + plain, plain ? 1 : 2))
                break;
        }
        out->cap++;
        (void)put(out, "\"", 1);
    }
}

static bool is_alpha(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* sf-token: a letter or an asterisk, then what a token may have, ':' and '/'. */
static size_t sf_token_len(const char *text)
{
    size_t len = 0;

    if (*text != '*' && !is_alpha(*text))
        return 0;
    while (text[len] && (is_alpha(text[len]) || strchr("0123456789!#$%&'*+-.^_`|~:/", text[len])))
        len++;
    return len;
}

static bool is_sf_token(const char *text)
{
    return *text && sf_token_len(text) == strlen(text);
}

const char *sp_proxy_status(char buf[SP_PROXY_STATUS_MAX], const char *name, const char *error_type,
                            const char *details)
{
    struct out out = {.buf = buf, .cap = SP_PROXY_STATUS_MAX - 1};

    if (!is_sf_token(name))
        put_string(&out, name);
    else if (!put(&out, name, strlen(name)))
        out.cap = 0; /* nothing can follow */
    if (error_type && is_sf_token(error_type) && strlen(error_type) + 8 <= out.cap - out.len) {
        (void)put(&out, "; error=", 8);
        (void)put(&out, error_type, strlen(error_type));
    }
    if (details && out.cap - out.len > 12) { /* the quotes and a character */
        (void)put(&out, "; details=", 10);
        put_string(&out, details);
    }
    buf[out.len] = '\0';
    return buf;
}

/* ---- reading it back ---- */

struct in {
    const char *at;
    bool bad;
};

/* Where a value goes; NULL: nowhere. What does not fit is cut off. */
struct into {
    char *buf;
    size_t len;
};

static void into_add(struct into *into, char c)
{
    if (into && into->len > 1) {
        *into->buf++ = c;
        *into->buf = '\0';
        into->len--;
    }
}

static void skip_spaces(struct in *in)
{
    while (*in->at == ' ' || *in->at == '\t')
        in->at++;
}

static void read_sf_string(struct in *in, struct into *into)
{
    for (in->at++; is_printable(*in->at) && *in->at != '"'; in->at++) {
        if (*in->at == '\\' && *++in->at != '"' && *in->at != '\\')
            break;
        into_add(into, *in->at);
    }
    in->bad |= *in->at != '"';
    if (!in->bad)
        in->at++;
}

/* A bare item: a string, a token, or a number, boolean or byte sequence, none of which can hold
 * what separates items. */
static void read_item(struct in *in, struct into *into)
{
    size_t len;

    if (*in->at == '"') {
        read_sf_string(in, into);
        return;
    }
    len = sf_token_len(in->at);
    if (!len)
        len =
            strspn(in->at, "0123456789.-?:+/=abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
    in->bad |= !len;
    for (; len; len--)
        into_add(into, *in->at++);
}

/* One member of the list: an item and its parameters. */
static void read_member(struct in *in, struct into type, struct into details)
{
    read_item(in, NULL);
    for (skip_spaces(in); !in->bad && *in->at == ';'; skip_spaces(in)) {
        struct into *into = NULL;
        size_t key_len;

        in->at++;
        skip_spaces(in);
        key_len = strspn(in->at, "abcdefghijklmnopqrstuvwxyz0123456789_-.*");
        if (key_len == 5 && memcmp(in->at, "error", 5) == 0)
            into = &type;
        else if (key_len == 7 && memcmp(in->at, "details", 7) == 0)
            into = &details;
        in->bad |= !key_len;
        in->at += key_len;
        if (*in->at == '=') {
            in->at++;
            read_item(in, into);
        }
    }
}

void sp_proxy_status_parse(const char *value, char *ret_type, size_t type_len, char *ret_details,
                           size_t details_len)
{
    struct in in = {.at = value};
    bool more = true;

    while (more) {
        ret_type[0] = '\0';
        ret_details[0] = '\0';
        skip_spaces(&in);
        read_member(&in, (struct into){ret_type, type_len},
                    (struct into){ret_details, details_len});
        more = !in.bad && *in.at == ',';
        in.at += more;
    }
    if (in.bad || *in.at) {
        ret_type[0] = '\0';
        ret_details[0] = '\0';
    }
}
