#include "common/http1.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Parses an exact copy on the heap, so that a sanitizer sees a byte read too many. */
static enum sp_err parse(const char *text, size_t len, struct sp_http1_request *request,
                         int *status, struct sp_error *err)
{
    uint8_t *copy = malloc(len ? len : 1);
    enum sp_err rc;

    memcpy(copy, text, len);
    *status = 0;
    memset(err, 0, sizeof *err);
    rc = sp_http1_parse(copy, len, request, status, err);
    free(copy);
    return rc;
}

#define LINE "CONNECT db.example:443 HTTP/1.1\r\n"
#define HOST "Host: db.example:443\r\n"
#define END  "\r\n"
#define T(s) s, sizeof(s) - 1 /* with its NULs */

static const struct {
    const char *head;
    size_t len;
    const char *host; /* of the target, folded */
    uint16_t port;
    int minor;
} good[] = {
    {T(LINE HOST END), "db.example", 443, 1},
    {T(LINE HOST END "\x16\x03\x01 bytes behind the head\n"), "db.example", 443, 1},
    {T(LINE "Host: db.example\r\n" END), "db.example", 443, 1},
    {T(LINE "hOST:db.example:443\r\n" END), "db.example", 443, 1},
    {T(LINE "Host: \t db.example:443 \t \r\n" END), "db.example", 443, 1},
    {T(LINE "Host: DB.Example.:443\r\n" END), "db.example", 443, 1},
    {T("CONNECT DB.EXAMPLE.:443 HTTP/1.1\r\n" HOST END), "db.example", 443, 1},
    {T("CONNECT a_b-c.example:65535 HTTP/1.1\r\nHost: a_b-c.example\r\n" END), "a_b-c.example",
     65535, 1},
    {T("CONNECT 192.0.2.1:1 HTTP/1.1\r\nHost: 192.0.2.1:1\r\n" END), "192.0.2.1", 1, 1},
    {T("CONNECT 192.0.2.1:80 HTTP/1.1\r\nHost: 192.0.2.1\r\n" END), "192.0.2.1", 80, 1},
    {T("CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n" END), "2001:db8::1", 443,
     1},
    {T("CONNECT [2001:DB8:0::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]\r\n" END), "2001:db8::1", 443,
     1},
    {T("CONNECT db.example:443 HTTP/1.0\r\n" HOST END), "db.example", 443, 0},
    {T("CONNECT db.example:443 HTTP/1.0\r\n" END), "db.example", 443, 0},
    {T(LINE HOST "Proxy-Connection: keep-alive\r\nUser-Agent: x/1 (\xc3\xa4; \"y\")\r\n" END),
     "db.example", 443, 1},
    {T(LINE "X-Empty:\r\nX-Blank: \t \r\n" HOST END), "db.example", 443, 1},
    {T(LINE HOST "Connection: upgrade\r\nUpgrade: websocket\r\n" END), "db.example", 443, 1},
};

START_TEST(a_good_head_gives_its_target)
{
    struct sp_http1_request request;
    struct sp_error err;
    const char *end = strstr(good[_i].head, "\r\n\r\n");
    int status;

    ck_assert_msg(parse(good[_i].head, good[_i].len, &request, &status, &err) == SP_OK, "%d: %s",
                  status, err.text);
    ck_assert_str_eq(request.target.host, good[_i].host);
    ck_assert_uint_eq(request.target.port, good[_i].port);
    ck_assert_uint_eq(request.head_len, (size_t)(end - good[_i].head) + 4);
    ck_assert_str_eq(request.method, "CONNECT");
    ck_assert(request.is_connect);
    ck_assert_int_eq(request.minor, good[_i].minor);
    ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(every_beginning_of_a_good_head_asks_for_more)
{
    struct sp_http1_request request;
    struct sp_error err;
    size_t head_len = (size_t)(strstr(good[_i].head, "\r\n\r\n") - good[_i].head) + 4;
    int status;

    for (size_t len = 0; len < head_len; len++) {
        ck_assert_int_eq(parse(good[_i].head, len, &request, &status, &err), SP_AGAIN);
        ck_assert_int_eq(status, 0);
    }
    for (size_t len = head_len; len <= good[_i].len; len++)
        ck_assert_int_eq(parse(good[_i].head, len, &request, &status, &err), SP_OK);
}
END_TEST

static const struct {
    const char *head;
    size_t len;
    int status;
    const char *text; /* a part of it */
} bad[] = {
    /* how lines end, and what is in them */
    {T("CONNECT db.example:443 HTTP/1.1\n" HOST END), 400, "does not end in CR LF"},
    {T(LINE "Host: db.example:443\n\r\n"), 400, "does not end in CR LF"},
    {T(LINE HOST "\n"), 400, "does not end in CR LF"},
    {T(LINE "X: a\rb\r\n" HOST END), 400, "carriage return"},
    {T(LINE "X: a\r\r\n" HOST END), 400, "carriage return"},
    {T("CONNECT db.example:443 HTTP/1.1\rHost: x\r\n" END), 400, "carriage return"},
    {T(LINE "X: a\0b\r\n" HOST END), 400, "control character"},
    {T("CONNECT db.example:443\0 HTTP/1.1\r\n" HOST END), 400, "control character"},
    {T(LINE "X: a\x7f\r\n" HOST END), 400, "control character"},
    {T(LINE "X: \x1b[31m\r\n" HOST END), 400, "control character"},
    {T("\x16\x03\x01\x02"), 400, "control character"},
    {T(LINE HOST " folded\r\n" END), 400, "folded"},
    {T(LINE HOST "\tfolded\r\n" END), 400, "folded"},
    {T(LINE " " HOST END), 400, "folded"},
    {T(LINE HOST "X : y\r\n" END), 400, "space before the colon"},
    {T(LINE "Host : db.example:443\r\n" END), 400, "space before the colon"},
    {T(LINE HOST "X\t: y\r\n" END), 400, "space before the colon"},
    {T(LINE HOST ": y\r\n" END), 400, "header name"},
    {T(LINE HOST "X(y): z\r\n" END), 400, "header name"},
    {T(LINE HOST "X\xc3\xa4: z\r\n" END), 400, "header name"},
    {T(LINE HOST "no colon\r\n" END), 400, "without a colon"},
    /* the request line */
    {T("\r\n" LINE HOST END), 400, "no method"},
    {T(" " LINE HOST END), 400, "no method"},
    {T("CONNECT\r\n" HOST END), 400, "no target"},
    {T("CONNECT \r\n" HOST END), 400, "no target"},
    {T("CONNECT  db.example:443 HTTP/1.1\r\n" HOST END), 400, "no target"},
    {T("CONNECT\tdb.example:443 HTTP/1.1\r\n" HOST END), 400, "no method"},
    {T("CONNECT db.example:443\tx HTTP/1.1\r\n" HOST END), 400, "no target"},
    {T("CONNECT db.example:443  HTTP/1.1\r\n" HOST END), 400, "HTTP version"},
    {T("CONNECT db.example:443 HTTP/1.1 \r\n" HOST END), 400, "HTTP version"},
    {T("CONNECT db.example:443\r\n" HOST END), 400, "HTTP version"},
    {T("CONNECT db.example:443 http/1.1\r\n" HOST END), 400, "HTTP version"},
    {T("CONNECT db.example:443 HTTP/11\r\n" HOST END), 400, "HTTP version"},
    {T("CONNECT db.example:443 HTTP/1.10\r\n" HOST END), 400, "HTTP version"},
    {T("CONNECT db.example:443 HTTP/1.+\r\n" HOST END), 400, "HTTP version"},
    {T("CON(NECT db.example:443 HTTP/1.1\r\n" HOST END), 400, "no method"},
    {T("ABCDEFGHIJKLMNOPQRSTUVWX db.example:443 HTTP/1.1\r\n" HOST END), 400, "no method"},
    {T("CONNECT db.example:443 HTTP/2.0\r\n" HOST END), 505, "not HTTP/1.1"},
    {T("CONNECT db.example:443 HTTP/0.9\r\n" HOST END), 505, "not HTTP/1.1"},
    {T("CONNECT db.example:443 HTTP/1.2\r\n" HOST END), 505, "not HTTP/1.1"},
    {T("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505, "not HTTP/1.1"},
    /* the target */
    {T("CONNECT db.example HTTP/1.1\r\nHost: db.example\r\n" END), 400, "db.example"},
    {T("CONNECT db.example: HTTP/1.1\r\nHost: db.example\r\n" END), 400, "db.example"},
    {T("CONNECT db.example:0 HTTP/1.1\r\nHost: db.example\r\n" END), 400, "port"},
    {T("CONNECT db.example:88947 HTTP/1.1\r\nHost: db.example\r\n" END), 400, "port"},
    {T("CONNECT db.example:+443 HTTP/1.1\r\nHost: db.example\r\n" END), 400, "port"},
    {T("CONNECT user@db.example:443 HTTP/1.1\r\nHost: db.example\r\n" END), 400, ""},
    {T("CONNECT user:pw@db.example:443 HTTP/1.1\r\nHost: db.example\r\n" END), 400, ""},
    {T("CONNECT https://db.example:443 HTTP/1.1\r\nHost: db.example\r\n" END), 400, ""},
    {T("CONNECT https://db.example/ HTTP/1.1\r\nHost: db.example\r\n" END), 400, ""},
    {T("CONNECT / HTTP/1.1\r\nHost: db.example\r\n" END), 400, ""},
    {T("CONNECT * HTTP/1.1\r\nHost: db.example\r\n" END), 400, ""},
    {T("CONNECT [fe80::1%25eth0]:443 HTTP/1.1\r\nHost: [fe80::1]\r\n" END), 400, ""},
    {T("CONNECT 2001:db8::1:443 HTTP/1.1\r\nHost: [2001:db8::1]\r\n" END), 400, ""},
    {T("CONNECT 127.1:443 HTTP/1.1\r\nHost: 127.1:443\r\n" END), 400, ""},
    {T("CONNECT d\xc3\xa4.example:443 HTTP/1.1\r\n" HOST END), 400, ""},
    /* Host */
    {T(LINE END), 400, "no Host"},
    {T(LINE HOST HOST END), 400, "more than one Host"},
    {T("CONNECT db.example:443 HTTP/1.0\r\n" HOST HOST END), 400, "more than one Host"},
    {T(LINE HOST "X: y\r\nhost: other.example\r\n" END), 400, "more than one Host"},
    {T(LINE "Host:\r\n" END), 400, "not the target"},
    {T(LINE "Host: other.example:443\r\n" END), 400, "not the target"},
    {T(LINE "Host: db.example:444\r\n" END), 400, "not the target"},
    {T(LINE "Host: db.example:\r\n" END), 400, "not the target"},
    {T(LINE "Host: user@db.example\r\n" END), 400, "not the target"},
    {T(LINE "Host: db.example:443, other.example\r\n" END), 400, "not the target"},
    {T(LINE "Host: http://db.example\r\n" END), 400, "not the target"},
    {T("CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: 2001:db8::1\r\n" END), 400, "not the target"},
    /* a body */
    {T(LINE HOST "Content-Length: 0\r\n" END), 400, "with a body"},
    {T(LINE HOST "content-length: 5\r\n" END "hello"), 400, "with a body"},
    {T(LINE HOST "Transfer-Encoding: chunked\r\n" END), 400, "with a body"},
    {T(LINE HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n" END), 400, "both"},
    {T("POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n" END), 400,
     "both"},
    {T("POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 6\r\n" END), 400,
     "not an HTTP/1.1"},
    {T("POST / HTTP/1.1\r\n" HOST "Content-Length: +5\r\n" END), 400, "not an HTTP/1.1"},
    /* well-formed, but not for us */
    {T("GET / HTTP/1.1\r\n" HOST END), 405, "only CONNECT"},
    {T("GET http://db.example/ HTTP/1.1\r\nHost: db.example\r\n" END), 405, "only CONNECT"},
    {T("POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n" END "hello"), 405, "only CONNECT"},
    {T("connect db.example:443 HTTP/1.1\r\n" HOST END), 405, "only CONNECT"},
    {T("BREW / HTTP/1.1\r\n" HOST END), 405, "only CONNECT"},
    {T("GET / HTTP/1.1\r\n" END), 400, "no Host"},
};

START_TEST(a_bad_head_is_refused_with_status_and_reason)
{
    struct sp_http1_request request;
    struct sp_error err;
    int status;

    ck_assert_int_eq(parse(bad[_i].head, bad[_i].len, &request, &status, &err), SP_ERR_HTTP);
    ck_assert_msg(status == bad[_i].status, "%d, not %d: %s", status, bad[_i].status, err.text);
    ck_assert_int_eq(err.kind, SP_ERR_HTTP);
    ck_assert_int_eq(err.code, status);
    ck_assert_msg(strstr(err.text, bad[_i].text) != NULL, "\"%s\" is not in \"%s\"", bad[_i].text,
                  err.text);
    ck_assert_int_eq(
        sp_http1_parse((const uint8_t *)bad[_i].head, bad[_i].len, &request, &status, NULL),
        SP_ERR_HTTP);
}
END_TEST

/* Whatever comes in pieces ends in the same verdict, and never in SP_OK on the way. */
START_TEST(a_bad_head_is_never_good_in_pieces)
{
    struct sp_http1_request request;
    struct sp_error err;
    enum sp_err rc = SP_AGAIN;
    int status;

    for (size_t len = 0; len <= bad[_i].len && rc == SP_AGAIN; len++)
        rc = parse(bad[_i].head, len, &request, &status, &err);
    ck_assert_int_eq(rc, SP_ERR_HTTP);
    ck_assert_int_eq(status, bad[_i].status);
}
END_TEST

START_TEST(a_request_that_is_not_connect_is_still_described)
{
    static const char head[] = "GET / HTTP/1.0\r\n\r\nmore";
    struct sp_http1_request request;
    struct sp_error err;
    int status;

    ck_assert_int_eq(parse(T(head), &request, &status, &err), SP_ERR_HTTP);
    ck_assert_int_eq(status, 405);
    ck_assert_str_eq(request.method, "GET");
    ck_assert(!request.is_connect);
    ck_assert_uint_eq(request.head_len, sizeof head - 1 - 4);
    ck_assert_int_eq(request.minor, 0);
}
END_TEST

/* A head with one field so long that the whole has this length. */
static char *padded_head(size_t head_len)
{
    static const char start[] = LINE HOST "X: ", end[] = "\r\n\r\n";
    char *head = malloc(head_len + 1);

    ck_assert_ptr_nonnull(head);
    memset(head, 'x', head_len);
    memcpy(head, start, sizeof start - 1);
    memcpy(head + head_len - 4, end, sizeof end);
    return head;
}

START_TEST(a_head_may_have_16_kib_and_no_more)
{
    size_t len = SP_HTTP1_HEAD_MAX + (size_t)_i;
    char *head = padded_head(len);
    struct sp_http1_request request;
    struct sp_error err;
    int status;

    ck_assert_int_eq(parse(head, len, &request, &status, &err), _i ? SP_ERR_HTTP : SP_OK);
    ck_assert_int_eq(status, _i ? 431 : 0);
    ck_assert_int_eq(parse(head, SP_HTTP1_HEAD_MAX - 1, &request, &status, &err), SP_AGAIN);
    ck_assert_int_eq(parse(head, SP_HTTP1_HEAD_MAX, &request, &status, &err),
                     _i ? SP_ERR_HTTP : SP_OK);
    free(head);
}
END_TEST

START_TEST(a_request_line_may_have_8192_bytes_and_no_more)
{
    static const char start[] = "GET /", end[] = " HTTP/1.1\r\nHost: x\r\n\r\n";
    size_t line_len = 8192 + (size_t)_i;
    size_t len = line_len - 9 + sizeof end - 1;
    char *head = malloc(len + 1);
    struct sp_http1_request request;
    struct sp_error err;
    int status;

    memset(head, 'x', len);
    memcpy(head, start, sizeof start - 1);
    memcpy(head + line_len - 9, end, sizeof end);
    ck_assert_int_eq(parse(head, len, &request, &status, &err), SP_ERR_HTTP);
    ck_assert_int_eq(status, _i ? 414 : 405);
    ck_assert_int_eq(parse(head, 8192, &request, &status, &err), SP_AGAIN);
    memset(head, 'x', len);
    ck_assert_int_eq(parse(head, 8192, &request, &status, &err), SP_AGAIN);
    ck_assert_int_eq(parse(head, 8193, &request, &status, &err), SP_ERR_HTTP);
    ck_assert_int_eq(status, 414);
    free(head);
}
END_TEST

START_TEST(a_head_may_have_100_fields_and_no_more)
{
    char head[4096] = LINE HOST;
    struct sp_http1_request request;
    struct sp_error err;
    int status;

    for (int i = 1; i < 100 + _i; i++)
        strcat(head, "X: y\r\n");
    strcat(head, END);
    ck_assert_int_eq(parse(head, strlen(head), &request, &status, &err), _i ? SP_ERR_HTTP : SP_OK);
    ck_assert_int_eq(status, _i ? 431 : 0);
}
END_TEST

/* ---- replies ---- */

START_TEST(a_refusal_has_reason_proxy_status_and_text)
{
    char buf[1024];
    size_t len = sp_http1_refusal(buf, sizeof buf, 403, "gw; error=http_request_denied",
                                  "no rule allows db.example:443");

    ck_assert_uint_eq(len, strlen(buf));
    ck_assert_str_eq(buf, "HTTP/1.1 403 Forbidden\r\n"
                          "Connection: close\r\n"
                          "Content-Type: text/plain; charset=utf-8\r\n"
                          "Content-Length: 30\r\n"
                          "Proxy-Status: gw; error=http_request_denied\r\n"
                          "\r\n"
                          "no rule allows db.example:443\n");
}
END_TEST

START_TEST(a_refusal_without_proxy_status_has_none_and_405_names_connect)
{
    char buf[1024];

    ck_assert_uint_gt(sp_http1_refusal(buf, sizeof buf, 405, NULL, "x"), 0);
    ck_assert_ptr_null(strstr(buf, "Proxy-Status"));
    ck_assert_ptr_nonnull(strstr(buf, "\r\nAllow: CONNECT\r\n"));
    ck_assert_uint_gt(sp_http1_refusal(buf, sizeof buf, 502, "a\r\nSet-Cookie: b", "x"), 0);
    ck_assert_ptr_null(strstr(buf, "Set-Cookie"));
    ck_assert_ptr_null(strstr(buf, "Allow"));
}
END_TEST

/* Any size of buffer: the result is whole, its Content-Length true, or there is none. */
START_TEST(a_refusal_fits_into_any_buffer_or_is_none)
{
    char text[300], *buf;
    size_t fitted = 0;

    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    for (size_t size = 1; size < 600; size++) {
        const char *body, *length;
        size_t len;

        buf = malloc(size);
        len = sp_http1_refusal(buf, size, 504, "gw", text);
        ck_assert_uint_lt(len, size);
        if (len) {
            body = strstr(buf, "\r\n\r\n");
            length = strstr(buf, "Content-Length: ");
            ck_assert_uint_eq(strlen(body + 4), strtoul(length + 16, NULL, 10));
            ck_assert_uint_eq(strlen(buf), len);
            fitted++;
        } else {
            ck_assert_uint_eq(fitted, 0);
        }
        free(buf);
    }
    ck_assert_uint_gt(fitted, 400);
}
END_TEST

START_TEST(every_status_we_send_has_a_phrase)
{
    static const int statuses[] = {200, 400, 403, 405, 414, 431, 500, 502, 503, 504, 505};

    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
        ck_assert_str_ne(sp_http1_phrase(statuses[i]), "");
    ck_assert_str_eq(sp_http1_phrase(299), "");
}
END_TEST

static const struct {
    const char *name, *type, *details, *value;
    const char *read_type, *read_details;
} statuses[] = {
    {"gw", "dns_error", "no such name", "gw; error=dns_error; details=\"no such name\"",
     "dns_error", "no such name"},
    {"gw", "dns_error", NULL, "gw; error=dns_error", "dns_error", ""},
    {"gw", NULL, NULL, "gw", "", ""},
    {"gw", NULL, "x", "gw; details=\"x\"", "", "x"},
    {"gw", "dns_error", "", "gw; error=dns_error; details=\"\"", "dns_error", ""},
    {"a b", "t", "say \"no\" \\ never", "\"a b\"; error=t; details=\"say \\\"no\\\" \\\\ never\"",
     "t", "say \"no\" \\ never"},
    {"gw", "t", "l\xc3\xa4nger\r\nX: y\x7f\t", "gw; error=t; details=\"l??nger??X: y??\"", "t",
     "l??nger??X: y??"},
    {"gw", "not a token", "x", "gw; details=\"x\"", "", "x"},
    {"gw", "t", "a, b; error=c", "gw; error=t; details=\"a, b; error=c\"", "t", "a, b; error=c"},
};

START_TEST(proxy_status_is_written_and_read_back)
{
    char buf[SP_PROXY_STATUS_MAX], type[64], details[256];

    ck_assert_ptr_eq(
        sp_proxy_status(buf, statuses[_i].name, statuses[_i].type, statuses[_i].details), buf);
    ck_assert_str_eq(buf, statuses[_i].value);
    sp_proxy_status_parse(buf, type, sizeof type, details, sizeof details);
    ck_assert_str_eq(type, statuses[_i].read_type);
    ck_assert_str_eq(details, statuses[_i].read_details);
}
END_TEST

static const struct {
    const char *value, *type, *details;
} lists[] = {
    {"a; error=x, b; error=y; details=\"z\"", "y", "z"},
    {"a; error=x; details=\"1, 2\",b", "", ""},
    {"\"far, away\"; error=x , gw;error=y", "y", ""},
    {"gw;error=y;received-status=503;next-hop=\"h:1\";details=\"d\"", "y", "d"},
    {"gw; error=y; flag; more=?1; bin=:YQ==:; n=-1.5; details=\"d\"", "y", "d"},
    {"gw; details=\"d\"; error=y", "y", "d"},
    {"gw; error=y; details=d", "y", "d"},
    {"gw; error=y; details=\"open", "", ""},
    {"gw; error=y; details=\"bad \\n escape\"", "", ""},
    {"gw; error=y; details=\"\xc3\xa4\"", "", ""},
    {"gw; error=y; details=\"d\\", "", ""},
    {"gw; error=y;", "", ""},
    {"gw; error=", "", ""},
    {"gw error=y", "", ""},
    {"gw; error=y junk", "", ""},
    {"gw; error=y,", "", ""},
    {", gw; error=y", "", ""},
    {"", "", ""},
    {"   ", "", ""},
};

START_TEST(the_last_member_of_a_proxy_status_list_counts)
{
    char type[64], details[64];

    sp_proxy_status_parse(lists[_i].value, type, sizeof type, details, sizeof details);
    ck_assert_str_eq(type, lists[_i].type);
    ck_assert_str_eq(details, lists[_i].details);
}
END_TEST

START_TEST(long_details_are_cut_and_still_well_formed)
{
    char buf[SP_PROXY_STATUS_MAX], type[8], details[8], text[1024];

    memset(text, _i ? '"' : 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    sp_proxy_status(buf, "gw", "error_type", text);
    ck_assert_uint_ge(strlen(buf), SP_PROXY_STATUS_MAX - 2);
    ck_assert_uint_lt(strlen(buf), SP_PROXY_STATUS_MAX);
    ck_assert_int_eq(buf[strlen(buf) - 1], '"');
    sp_proxy_status_parse(buf, type, sizeof type, details, sizeof details);
    ck_assert_str_eq(type, "error_t");
    ck_assert_str_eq(details, _i ? "\"\"\"\"\"\"\"" : "xxxxxxx");
    sp_proxy_status(buf, text, text, text);
    ck_assert_uint_lt(strlen(buf), SP_PROXY_STATUS_MAX);
}
END_TEST

START_TEST(what_has_no_room_in_a_proxy_status_is_left_out)
{
    char buf[SP_PROXY_STATUS_MAX], name[600], type[32], details[64];

    memset(name, _i ? ' ' : 'x', sizeof name);
    for (size_t len = 1; len < sizeof name; len++) {
        name[len] = '\0';
        sp_proxy_status(buf, name, "dns_error", "some details");
        sp_proxy_status_parse(buf, type, sizeof type, details, sizeof details);
        ck_assert_msg((strstr(buf, "error=") != NULL) == (type[0] != '\0'), "%s", buf);
        ck_assert_msg((strstr(buf, "details=") != NULL) == (details[0] != '\0'), "%s", buf);
        ck_assert(type[0] || len > 480);
        ck_assert(strncmp(details, "some details", strlen(details)) == 0);
        ck_assert(buf[0] == (_i ? '"' : 'x') || !buf[0]);
        name[len] = _i ? ' ' : 'x';
    }
}
END_TEST

#define COUNT(rows) (int)(sizeof(rows) / sizeof(rows)[0])

static TCase *make_cases(void)
{
    TCase *tc = tcase_create("http1");

    tcase_add_loop_test(tc, a_good_head_gives_its_target, 0, COUNT(good));
    tcase_add_loop_test(tc, every_beginning_of_a_good_head_asks_for_more, 0, COUNT(good));
    tcase_add_loop_test(tc, a_bad_head_is_refused_with_status_and_reason, 0, COUNT(bad));
    tcase_add_loop_test(tc, a_bad_head_is_never_good_in_pieces, 0, COUNT(bad));
    tcase_add_test(tc, a_request_that_is_not_connect_is_still_described);
    tcase_add_loop_test(tc, a_head_may_have_16_kib_and_no_more, 0, 2);
    tcase_add_loop_test(tc, a_request_line_may_have_8192_bytes_and_no_more, 0, 2);
    tcase_add_loop_test(tc, a_head_may_have_100_fields_and_no_more, 0, 2);
    tcase_add_test(tc, a_refusal_has_reason_proxy_status_and_text);
    tcase_add_test(tc, a_refusal_without_proxy_status_has_none_and_405_names_connect);
    tcase_add_test(tc, a_refusal_fits_into_any_buffer_or_is_none);
    tcase_add_test(tc, every_status_we_send_has_a_phrase);
    tcase_add_loop_test(tc, proxy_status_is_written_and_read_back, 0, COUNT(statuses));
    tcase_add_loop_test(tc, the_last_member_of_a_proxy_status_list_counts, 0, COUNT(lists));
    tcase_add_loop_test(tc, what_has_no_room_in_a_proxy_status_is_left_out, 0, 2);
    tcase_add_loop_test(tc, long_details_are_cut_and_still_well_formed, 0, 2);
    return tc;
}

int main(void)
{
    Suite *suite = suite_create("http1");
    SRunner *runner;
    int failed;

    suite_add_tcase(suite, make_cases());
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
