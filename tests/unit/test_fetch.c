#include "certs/mint.h"
#include "common/fetch.h"
#include "common/loop.h"
#include "common/resolve.h"
#include "common/sock.h"
#include "tests/support/fetch_world.h"
#include "tests/support/own_network.h"
#include "tests/support/scratch.h"

#include <check.h>
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#define CA_STORE  "/etc/ssl/certs/ca-certificates.crt"
#define FETCHES   50
#define MAX_BYTES 65536

/* ---- what came back ---- */

struct result {
    int calls;
    bool good;
    int status;
    uint8_t *body;
    size_t len;
    char content_type[128], etag[256], location[256];
    int64_t date;
    struct sp_error error;
    struct sp_fetch *to_cancel;
    struct sp_fetcher **to_free;
    int *left; /* the loop stops at 0; NULL: at once */
};

static void on_done(void *ctx, const struct sp_fetch_result *result, const struct sp_error *error)
{
    struct result *r = ctx;

    r->calls++;
    r->good = result != NULL;
    if (result) {
        ck_assert_ptr_nonnull(result->body);
        r->status = result->status;
        r->len = result->len;
        r->body = malloc(result->len + 1);
        ck_assert_ptr_nonnull(r->body);
        memcpy(r->body, result->body, result->len);
        r->body[result->len] = '\0';
        snprintf(r->content_type, sizeof r->content_type, "%s", result->content_type);
        snprintf(r->etag, sizeof r->etag, "%s", result->etag);
        snprintf(r->location, sizeof r->location, "%s", result->location);
        r->date = result->date;
    } else {
        r->error = *error;
        ck_assert_int_ne(error->kind, SP_OK);
    }
    sp_fetch_cancel(r->to_cancel);
    if (r->to_free) {
        sp_fetcher_free(*r->to_free);
        *r->to_free = NULL;
    }
    if (!r->left || !--*r->left)
        sp_loop_stop(fetch_world.loop);
}

/* "http://HOST:PORT/x" of the server, or as it is when host is a whole URL. */
static const char *url_of(const char *host)
{
    static char text[512];

    if (strstr(host, "://"))
        return host;
    snprintf(text, sizeof text, "%s://%s:%u/x", fetch_server.cred ? "https" : "http", host,
             (unsigned)fetch_server.port);
    return text;
}

static const struct sp_fetch_request plain = {
    .timeout_ms = 5000, .max_bytes = MAX_BYTES, .reach = SP_FETCH_ANYWHERE};

static struct sp_fetch *start(const char *host, const struct sp_fetch_request *like,
                              struct result *r)
{
    struct sp_fetch_request request = *like;
    struct sp_fetch *fetch;

    request.url = url_of(host);
    fetch = sp_fetch_start(fetch_world.fetcher, &request, on_done, r);
    ck_assert_ptr_nonnull(fetch);
    ck_assert_int_eq(r->calls, 0);
    return fetch;
}

static void fetch(const char *host, const struct sp_fetch_request *like, struct result *r)
{
    free(r->body);
    memset(r, 0, sizeof *r);
    start(host, like, r);
    sp_loop_run(fetch_world.loop);
    ck_assert_int_eq(r->calls, 1);
}

/* The error without the URL and ": " before it. */
static const char *reason(const struct result *r)
{
    const char *url = url_of("127.0.0.1");

    ck_assert(!r->good);
    ck_assert_mem_eq(r->error.text, url, strlen(url));
    ck_assert_mem_eq(r->error.text + strlen(url), ": ", 2);
    return r->error.text + strlen(url) + 2;
}

/* ---- what goes out ---- */

START_TEST(a_get_says_no_more_than_it_must)
{
    struct result r = {.calls = 0};
    char wanted[512];

    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("all_proxy", "http://127.0.0.1:1", 1);
    fetch_server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/x\r\nETag: "
                          "\"e1\"\r\nSet-Cookie: a=b\r\n\r\nhello";
    fetch("127.0.0.1", &plain, &r);
    ck_assert_msg(r.good, "%s", r.error.text);
    ck_assert_int_eq(r.status, 200);
    ck_assert_uint_eq(r.len, 5);
    ck_assert_mem_eq(r.body, "hello", 5);
    ck_assert_str_eq(r.content_type, "text/x");
    ck_assert_str_eq(r.etag, "\"e1\"");
    snprintf(wanted, sizeof wanted,
             "GET /x HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUser-Agent: sallyport/%s\r\n\r\n",
             (unsigned)fetch_server.port, SALLYPORT_VERSION);
    ck_assert_str_eq(fetch_server.last, wanted);
    fetch("127.0.0.1", &plain, &r); /* with no cookie, by another connection */
    ck_assert_str_eq(fetch_server.last, wanted);
    ck_assert_int_eq(fetch_server.accepted, 2);
    free(r.body);
}
END_TEST

START_TEST(a_post_arrives_whole)
{
    static uint8_t body[60000];
    struct result r = {.calls = 0};
    struct sp_fetch_request request = plain;
    const char *sent;

    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (uint8_t)(i * 7);
    request.body = body;
    request.body_len = sizeof body;
    request.content_type = "application/ocsp-request";
    request.accept = "application/ocsp-response";
    fetch_server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    start("127.0.0.1", &request, &r);
    memset(body, 0xff, sizeof body); /* it was copied */
    sp_loop_run(fetch_world.loop);
    ck_assert_msg(r.good, "%s", r.error.text);
    ck_assert_uint_eq(r.len, 0);
    ck_assert_mem_eq(fetch_server.last, "POST /x HTTP/1.1\r\n", 18);
    ck_assert_ptr_nonnull(
        strstr(fetch_server.last, "\r\nContent-Type: application/ocsp-request\r\n"));
    ck_assert_ptr_nonnull(strstr(fetch_server.last, "\r\nAccept: application/ocsp-response\r\n"));
    ck_assert_ptr_nonnull(strstr(fetch_server.last, "\r\nContent-Length: 60000\r\n"));
    ck_assert_ptr_null(strstr(fetch_server.last, "Expect"));
    sent = strstr(fetch_server.last, "\r\n\r\n") + 4;
    ck_assert_uint_eq(fetch_server.last_len, (size_t)(sent - fetch_server.last) + sizeof body);
    for (size_t i = 0; i < sizeof body; i++)
        ck_assert_uint_eq((uint8_t)sent[i], (uint8_t)(i * 7));
    free(r.body);
}
END_TEST

START_TEST(an_empty_body_is_posted_too)
{
    struct result r = {.calls = 0};
    struct sp_fetch_request request = plain;

    request.body = "";
    fetch_server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    fetch("127.0.0.1", &request, &r);
    ck_assert_msg(r.good, "%s", r.error.text);
    ck_assert_mem_eq(fetch_server.last, "POST /x", 7);
    ck_assert_ptr_nonnull(strstr(fetch_server.last, "\r\nContent-Length: 0\r\n"));
    ck_assert_ptr_null(strstr(fetch_server.last, "Content-Type"));
    free(r.body);
}
END_TEST

START_TEST(what_is_not_modified_is_told_as_such)
{
    static const char *const answers[] = {
        "HTTP/1.1 304 Not Modified\r\nETag: \"e2\"\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nETag: \"e2\"\r\nContent-Length: 70000000\r\n\r\n",
    };
    struct result r = {.calls = 0};
    struct sp_fetch_request request = plain;

    request.etag = "\"e1\"";
    fetch_server.answer = answers[_i];
    fetch("127.0.0.1", &request, &r);
    ck_assert_msg(r.good, "%s", r.error.text);
    ck_assert_int_eq(r.status, 304);
    ck_assert_uint_eq(r.len, 0);
    ck_assert_str_eq(r.etag, "\"e2\"");
    ck_assert_ptr_nonnull(strstr(fetch_server.last, "\r\nIf-None-Match: \"e1\"\r\n"));
    fetch("127.0.0.1", &plain, &r);
    ck_assert_str_eq(reason(&r), "answered 304");
    ck_assert_ptr_null(strstr(fetch_server.last, "If-None-Match"));
    free(r.body);
}
END_TEST

START_TEST(an_etag_that_would_break_the_request_is_not_sent)
{
    struct result r = {.calls = 0};
    struct sp_fetch_request request = plain;

    request.etag = "\"e1\"\r\nX-Mine: yes";
    fetch_server.answer = "HTTP/1.1 304 Not Modified\r\n\r\n";
    fetch("127.0.0.1", &request, &r);
    ck_assert_str_eq(reason(&r), "answered 304");
    ck_assert_ptr_null(strstr(fetch_server.last, "X-Mine"));
    ck_assert_ptr_null(strstr(fetch_server.last, "If-None-Match"));
}
END_TEST

/* ---- what comes back ---- */

static const struct {
    const char *answer, *body;
} good_rows[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", "abc"},
    {"HTTP/1.0 200 OK\r\n\r\nabc", "abc"},
    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc"},
    /* Not asked for, so not decoded. */
    {"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", "abc"},
};

START_TEST(an_answer_is_taken_however_its_end_is_told)
{
    struct result r = {.calls = 0};

    fetch_server.answer = good_rows[_i].answer;
    fetch_server.close = true;
    fetch("127.0.0.1", &plain, &r);
    ck_assert_msg(r.good, "%s", r.error.text);
    ck_assert_uint_eq(r.len, strlen(good_rows[_i].body));
    ck_assert_str_eq((char *)r.body, good_rows[_i].body);
    free(r.body);
}
END_TEST

static const struct {
    const char *answer;
    bool close;
    enum sp_err kind;
    int code;
    const char *reason; /* its beginning */
} bad_rows[] = {
    {"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabc", false, SP_ERR_HTTP, 404,
     "answered 404"},
    /* Nobody waits for such a body. */
    {"HTTP/1.1 503 No\r\nContent-Length: 90000000\r\n\r\n", false, SP_ERR_HTTP, 503,
     "answered 503"},
    {"HTTP/1.1 503 No\r\n\r\n", false, SP_ERR_HTTP, 503, "answered 503"},
    {"HTTP/1.1 204 No Content\r\n\r\n", false, SP_ERR_HTTP, 204, "answered 204"},
    {"HTTP/1.1 206 Partial\r\nContent-Length: 1\r\n\r\na", false, SP_ERR_HTTP, 206, "answered 206"},
    {"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=x\r\n\r\n", false, SP_ERR_HTTP, 401,
     "answered 401"},
    {"HTTP/1.1 302 Found\r\n\r\n", false, SP_ERR_HTTP, 302, "answered 302"},
    {"HTTP/1.1 302 Found\r\nLocation: http://x/\x1b[2J\"\r\n\r\n", false, SP_ERR_HTTP, 302,
     "redirects to http://x/\\u001b[2J\\\" (302), which is not followed"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\n", false, SP_ERR_LIMIT, 0,
     "more than 65536 bytes"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n", false, SP_ERR_LIMIT, 0,
     "more than 65536 bytes"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", true, SP_ERR_CLOSED, 0,
     "the connection was closed before the answer was complete"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", true, SP_ERR_CLOSED, 0,
     "the connection was closed before the answer was complete"},
    {NULL, true, SP_ERR_CLOSED, 0, "the connection was closed without an answer"},
    {"SSH-2.0-OpenSSH_9.2\r\n", false, SP_ERR_HTTP, 0, "what answered does not speak HTTP ("},
    {"just the body", true, SP_ERR_HTTP, 0, "what answered does not speak HTTP ("},
    {"HTTP/1.1 2\r\n\r\n", false, SP_ERR_HTTP, 0, "what answered does not speak HTTP ("},
    {"HTTP/7.0 200 OK\r\n\r\n", false, SP_ERR_HTTP, 0, "what answered does not speak HTTP ("},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", false, SP_ERR_CLOSED, 0,
     "the exchange broke off ("},
    {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc", false, SP_ERR_HTTP, 0,
     "what answered does not speak HTTP ("},
};

START_TEST(any_other_answer_is_an_error_that_says_so)
{
    struct result r = {.calls = 0};
    const char *text;

    fetch_server.answer = bad_rows[_i].answer;
    fetch_server.close = bad_rows[_i].close;
    fetch("127.0.0.1", &plain, &r);
    text = reason(&r);
    ck_assert_msg(strncmp(text, bad_rows[_i].reason, strlen(bad_rows[_i].reason)) == 0, "%s", text);
    ck_assert_int_eq(r.error.kind, bad_rows[_i].kind);
    ck_assert_int_eq(r.error.code, bad_rows[_i].code);
    ck_assert_int_eq(fetch_server.asked, 1);
}
END_TEST

/* Where a mere end would be well, and where all that was promised came before it. */
START_TEST(a_reset_connection_is_an_error_unless_the_answer_is_whole)
{
    struct result r = {.calls = 0};

    fetch_server.answer =
        _i ? "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc" : "HTTP/1.1 200 OK\r\n\r\nabc";
    fetch_server.close = fetch_server.reset = true;
    fetch("127.0.0.1", &plain, &r);
    if (_i) {
        ck_assert_msg(r.good, "%s", r.error.text);
        ck_assert_str_eq((char *)r.body, "abc");
    } else {
        ck_assert_str_eq(reason(&r),
                         "the exchange broke off (Recv failure: Connection reset by peer)");
        ck_assert_int_eq(r.error.kind, SP_ERR_CLOSED);
    }
    free(r.body);
}
END_TEST

START_TEST(a_redirect_is_not_followed)
{
    static const int codes[] = {301, 302, 303, 307, 308};
    struct result r = {.calls = 0};
    struct sp_listener *target;
    struct sp_addr addr = fetch_server_listen("127.0.0.1", 0, &target);
    char answer[256], wanted[256];

    snprintf(answer, sizeof answer,
             "HTTP/1.1 %d Go\r\nLocation: http://127.0.0.1:%u/y\r\nContent-Length: 0\r\n\r\n",
             codes[_i], (unsigned)addr.port);
    snprintf(wanted, sizeof wanted,
             "redirects to http://127.0.0.1:%u/y (%d), which is not followed", (unsigned)addr.port,
             codes[_i]);
    fetch_server.answer = answer;
    fetch("127.0.0.1", &plain, &r);
    ck_assert_str_eq(reason(&r), wanted);
    ck_assert_int_eq(r.error.code, codes[_i]);
    fetch("127.0.0.1", &plain, &r); /* whoever came would have come by now */
    ck_assert_int_eq(fetch_server.accepted, 2);
    sp_listener_free(target);
}
END_TEST

static const struct {
    const char *answer, *drip;
    int status;
    const char *body, *location;
    int64_t date;
} any_rows[] = {
    {"HTTP/1.1 302 Go\r\nLocation: http://portal.example/login?a=b\r\nDate: Sun, 06 Nov 1994 "
     "08:49:37 GMT\r\nContent-Length: 3\r\n\r\nabc",
     NULL, 302, "abc", "http://portal.example/login?a=b", 784111777},
    {"HTTP/1.1 204 No\r\n\r\n", NULL, 204, "", "", 0},
    {"HTTP/1.1 511 Sign in\r\nDate: soon\r\nContent-Length: 0\r\n\r\n", NULL, 511, "", "", 0},
    {"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n0123456789abcdef", NULL, 200, "0123456789",
     "", 0},
    {"HTTP/1.1 404 No\r\nLocation: a\x01z\r\n\r\n", "0123456789abcdef", 404, "0123456789", "", 0},
};

/* Of what is longer the beginning is taken, and no more is read. */
START_TEST(who_takes_any_answer_gets_it_as_it_is)
{
    struct result r = {.calls = 0};
    struct sp_fetch_request request = plain;

    request.any_status = true;
    request.max_bytes = 10;
    fetch_server.answer = any_rows[_i].answer;
    fetch_server.drip = any_rows[_i].drip;
    fetch("127.0.0.1", &request, &r);
    ck_assert_msg(r.good, "%s", r.error.text);
    ck_assert_int_eq(r.status, any_rows[_i].status);
    ck_assert_str_eq((char *)r.body, any_rows[_i].body);
    ck_assert_str_eq(r.location, any_rows[_i].location);
    ck_assert_int_eq(r.date, any_rows[_i].date);
    ck_assert_int_eq(fetch_server.accepted, 1);
    free(r.body);
}
END_TEST

/* What it sends goes on for ever, and every part of it is well-formed. */
START_TEST(an_endless_answer_is_cut_where_it_is_too_long)
{
    static const struct {
        const char *answer, *drip, *reason;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\n\r\n", "0123456789abcdef", "more than 2000 bytes"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "10\r\n0123456789abcdef\r\n",
         "more than 2000 bytes"},
        {"HTTP/1.1 200 OK\r\n", NULL, "more than 32768 bytes of headers"},
        {"HTTP/1.1 100 Continue\r\n\r\n", NULL, "more than 32768 bytes of headers"},
    };
    static char lines[5000];
    struct result r = {.calls = 0};
    struct sp_fetch_request request = plain;
    const char *line = _i == 3 ? "HTTP/1.1 102 Wait\r\n\r\n" : "X-More: and more\r\n";

    lines[0] = '\0';
    while (strlen(lines) < 4900)
        strcat(lines, line);
    request.max_bytes = 2000;
    fetch_server.answer = rows[_i].answer;
    fetch_server.drip = rows[_i].drip ? rows[_i].drip : lines;
    fetch("127.0.0.1", &request, &r);
    ck_assert_str_eq(reason(&r), rows[_i].reason);
    ck_assert_int_eq(r.error.kind, SP_ERR_LIMIT);
}
END_TEST

START_TEST(a_body_may_have_exactly_the_most_bytes)
{
    static const char *const heads[] = {"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n",
                                        "HTTP/1.1 200 OK\r\n\r\n"};
    struct result r = {.calls = 0};
    struct sp_fetch_request request = plain;
    size_t head = strlen(heads[_i]);
    char *answer = malloc(head + 300000);

    ck_assert_ptr_nonnull(answer);
    memcpy(answer, heads[_i], head);
    for (size_t i = 0; i < 300000; i++)
        answer[head + i] = (char)(i * 13);
    fetch_server.answer = answer;
    fetch_server.answer_len = head + 300000;
    fetch_server.close = true;
    request.max_bytes = 300000;
    fetch("127.0.0.1", &request, &r);
    ck_assert_msg(r.good, "%s", r.error.text);
    ck_assert_uint_eq(r.len, 300000);
    ck_assert_mem_eq(r.body, answer + head, 300000);
    request.max_bytes = 299999;
    fetch("127.0.0.1", &request, &r);
    ck_assert_str_eq(reason(&r), "more than 299999 bytes");
    request.max_bytes = SIZE_MAX;
    request.timeout_ms = UINT_MAX;
    fetch("127.0.0.1", &request, &r);
    ck_assert_msg(r.good, "%s", r.error.text);
    free(answer);
    free(r.body);
}
END_TEST

START_TEST(nothing_but_an_empty_body_fits_into_nothing)
{
    struct result r = {.calls = 0};
    struct sp_fetch_request request = plain;

    request.max_bytes = 0;
    fetch_server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";
    fetch("127.0.0.1", &request, &r);
    ck_assert_str_eq(reason(&r), "more than 0 bytes");
    fetch_server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    fetch("127.0.0.1", &request, &r);
    ck_assert_msg(r.good, "%s", r.error.text);
    free(r.body);
}
END_TEST

/* ---- time ---- */

START_TEST(time_is_up_whatever_the_server_does)
{
    static const struct {
        const char *answer, *drip, *reason;
    } rows[] = {
        {NULL, NULL, "no answer within 300 ms"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", "x",
         "the answer was not complete within 300 ms"},
        {"HTTP/1.1 200 OK\r\n", "X: y\r\n", "the answer was not complete within 300 ms"},
        {"HTTP/1.1 200 OK\r\n\r\n", NULL, "the answer was not complete within 300 ms"},
        {"HTTP/1.1 100 Continue\r\n\r\n", NULL, "the answer was not complete within 300 ms"},
    };
    struct result r = {.calls = 0};
    struct sp_fetch_request request = plain;
    uint64_t begin = sp_loop_clock_us();

    request.timeout_ms = 300;
    fetch_server.answer = rows[_i].answer;
    fetch_server.drip = rows[_i].drip;
    fetch("127.0.0.1", &request, &r);
    ck_assert_str_eq(reason(&r), rows[_i].reason);
    ck_assert_int_eq(r.error.kind, SP_ERR_TIMEOUT);
    ck_assert_uint_ge(sp_loop_clock_us() - begin, 200 * 1000);
    ck_assert_uint_lt(sp_loop_clock_us() - begin, 2000 * 1000);
}
END_TEST

START_TEST(time_is_up_for_a_silent_name_server_too)
{
    struct result r = {.calls = 0};
    struct sp_fetch_request request = plain;

    request.timeout_ms = 100;
    fetch_world.names_silent = true;
    fetch("http://loop.example/", &request, &r);
    ck_assert_str_eq(r.error.text, "http://loop.example/: its name was not found within 100 ms");
    ck_assert_int_eq(r.error.kind, SP_ERR_TIMEOUT);
}
END_TEST

START_TEST(a_name_without_an_address_says_so)
{
    struct result r = {.calls = 0};

    fetch("http://none.example/", &plain, &r);
    ck_assert_str_eq(r.error.text, "http://none.example/: none.example: the name has no address");
    ck_assert_int_eq(r.error.kind, SP_ERR_DNS);
}
END_TEST

START_TEST(a_refused_connection_says_so)
{
    struct result r = {.calls = 0};
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    fetch_server.port = ntohs(sa.sin_port);
    fetch("127.0.0.1", &plain, &r);
    ck_assert_str_eq(reason(&r), "connection refused");
    ck_assert_int_eq(r.error.kind, SP_ERR_SYS);
    ck_assert_int_eq(r.error.code, ECONNREFUSED);
    close(fd);
}
END_TEST

START_TEST(a_url_that_is_none_is_told_from_the_loop)
{
    static const char *const urls[] = {"ftp://127.0.0.1/", "http://", "http://a@b/",
                                       "file:///etc/x"};
    struct result r = {.calls = 0};

    fetch(urls[_i], &plain, &r);
    ck_assert_int_eq(r.error.kind, SP_ERR_CONFIG);
    ck_assert_mem_eq(r.error.text + 1, urls[_i], strlen(urls[_i]));
}
END_TEST

/* ---- many, cancelled, freed ---- */

START_TEST(fifty_at_a_time_all_get_their_own)
{
    static struct result results[FETCHES];
    int left = FETCHES;

    memset(results, 0, sizeof results);
    fetch_server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    for (int i = 0; i < FETCHES; i++) {
        results[i].left = &left;
        start(i % 2 ? "127.0.0.1" : "loop.example", &plain, &results[i]);
    }
    sp_loop_run(fetch_world.loop);
    for (int i = 0; i < FETCHES; i++) {
        ck_assert_int_eq(results[i].calls, 1);
        ck_assert_msg(results[i].good, "%s", results[i].error.text);
        ck_assert_str_eq((char *)results[i].body, "hello");
        free(results[i].body);
    }
    ck_assert_int_eq(fetch_server.accepted, FETCHES);
}
END_TEST

/* As long as this fetch takes, others may still be told. */
static void let_time_pass(void)
{
    struct result r = {.calls = 0};

    fetch_server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    fetch("127.0.0.1", &plain, &r);
    ck_assert_msg(r.good, "%s", r.error.text);
    free(r.body);
}

START_TEST(a_cancelled_fetch_is_not_told)
{
    static const char *const hosts[] = {"127.0.0.1", "loop.example", "ftp://x/",
                                        "http://none.example/"};
    struct result r = {.calls = 0};

    sp_fetch_cancel(start(hosts[_i], &plain, &r));
    sp_fetch_cancel(NULL);
    let_time_pass();
    ck_assert_int_eq(r.calls, 0);
    ck_assert_int_eq(fetch_server.accepted, 1);
}
END_TEST

START_TEST(a_fetch_may_be_cancelled_while_it_waits_for_the_answer)
{
    static const char *const starts[] = {NULL, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"};
    struct result first = {.calls = 0}, second = {.calls = 0};
    struct sp_fetch_request request = plain;

    fetch_server.answer = starts[_i];
    request.timeout_ms = 100;
    first.to_cancel = start("127.0.0.1", &plain, &second);
    start("127.0.0.1", &request, &first);
    sp_loop_run(fetch_world.loop);
    ck_assert_int_eq(first.error.kind, SP_ERR_TIMEOUT);
    ck_assert_int_eq(fetch_server.asked, 2);
    let_time_pass();
    ck_assert_int_eq(second.calls, 0);
}
END_TEST

/* Both have ended in one tick: the second waits to be told when it is cancelled. */
START_TEST(a_fetch_may_be_cancelled_in_the_callback_of_another)
{
    struct result first = {.calls = 0}, second = {.calls = 0};
    struct sp_fetch *last;

    start("ftp://x/", &plain, &first);
    last = start("ftp://x/", &plain, &second);
    first.to_cancel = last;
    sp_loop_run(fetch_world.loop);
    let_time_pass();
    ck_assert_int_eq(first.calls, 1);
    ck_assert_int_eq(second.calls, 0);
}
END_TEST

START_TEST(a_fetcher_freed_with_fetches_drops_them_silently)
{
    struct result first = {.calls = 0}, second = {.calls = 0};
    struct sp_fetch_request request = plain;

    request.timeout_ms = 100;
    start("ftp://x/", &plain, &second);
    start("http://none.example/", &plain, &second);
    sp_fetcher_free(fetch_world.fetcher);
    ck_assert_int_eq(
        sp_fetcher_new(fetch_world.loop, fetch_world.resolver, &fetch_world.fetcher, NULL), SP_OK);
    for (int i = 0; i < 10; i++)
        start(i % 2 ? "127.0.0.1" : "loop.example", &plain, &second);
    first.to_free = &fetch_world.fetcher;
    start("127.0.0.1", &request, &first);
    sp_loop_run(fetch_world.loop); /* the server is silent until the first has no time left */
    ck_assert_int_eq(first.calls, 1);
    ck_assert_int_eq(fetch_server.asked, 11);
    ck_assert_ptr_null(fetch_world.fetcher);
    ck_assert_int_eq(
        sp_fetcher_new(fetch_world.loop, fetch_world.resolver, &fetch_world.fetcher, NULL), SP_OK);
    let_time_pass();
    ck_assert_int_eq(second.calls, 0);
    sp_fetcher_free(NULL);
}
END_TEST

/* Nothing of a fetcher without fetches keeps a program from ending. */
START_TEST(an_idle_fetcher_does_not_hold_the_loop)
{
    let_time_pass();
    fetch_server_stop();
    sp_sock_watch_read(fetch_world.names, false);
    sp_timer_stop(fetch_world.deadline);
    sp_loop_run(fetch_world.loop);
}
END_TEST

/* ---- where a URL may lead ---- */

#define BARRED          ", which a URL from a certificate may not lead to"
#define BARRED_HERE     ", which this URL may not lead to"
#define LOOPBACK_REASON ": 127.0.0.1 is a loopback address" BARRED

static const struct {
    const char *url; /* PORT: the server's port */
    enum sp_fetch_reach reach;
    enum sp_err kind;
    const char *reason; /* its end */
} reach_rows[] = {
    {"http://127.0.0.1:PORT/", SP_FETCH_PUBLIC, SP_ERR_DENIED, LOOPBACK_REASON},
    {"http://loop.example:PORT/", SP_FETCH_PUBLIC, SP_ERR_DENIED, LOOPBACK_REASON},
    {"http://LOOP.example.:PORT/", SP_FETCH_PUBLIC, SP_ERR_DENIED, LOOPBACK_REASON},
    {"https://loop.example:PORT/", SP_FETCH_PUBLIC, SP_ERR_DENIED, LOOPBACK_REASON},
    {"http://localhost:PORT/", SP_FETCH_PUBLIC, SP_ERR_DENIED, " is a loopback address" BARRED},
    {"http://[::1]:PORT/", SP_FETCH_PUBLIC, SP_ERR_DENIED, ": ::1 is a loopback address" BARRED},
    {"http://[::ffff:127.0.0.1]:PORT/", SP_FETCH_PUBLIC, SP_ERR_DENIED,
     ": ::ffff:127.0.0.1 is a loopback address" BARRED},
    {"http://[::ffff:7f00:1]:PORT/", SP_FETCH_PUBLIC, SP_ERR_DENIED,
     " is a loopback address" BARRED},
    {"http://[::127.0.0.1]:PORT/", SP_FETCH_PUBLIC, SP_ERR_DENIED, " is a loopback address" BARRED},
    {"http://[64:ff9b::127.0.0.1]:PORT/", SP_FETCH_PUBLIC, SP_ERR_DENIED,
     " is a loopback address" BARRED},
    {"http://[2002:7f00:1::]:PORT/", SP_FETCH_PUBLIC, SP_ERR_DENIED,
     " is a loopback address" BARRED},
    {"http://[64:ff9b::10.0.0.1]:PORT/", SP_FETCH_PUBLIC, SP_ERR_DENIED,
     " is a private address" BARRED},
    {"http://127.255.0.9:PORT/", SP_FETCH_PUBLIC, SP_ERR_DENIED, " is a loopback address" BARRED},
    {"http://0.0.0.0:PORT/", SP_FETCH_PUBLIC, SP_ERR_DENIED,
     ": 0.0.0.0 is a reserved address" BARRED},
    {"http://[::]:PORT/", SP_FETCH_PUBLIC, SP_ERR_DENIED, ": :: is a reserved address" BARRED},
    {"http://169.254.169.254/latest/", SP_FETCH_PUBLIC, SP_ERR_DENIED,
     ": 169.254.169.254 is a metadata address" BARRED},
    {"http://10.0.0.1:PORT/", SP_FETCH_PUBLIC, SP_ERR_DENIED,
     ": 10.0.0.1 is a private address" BARRED},
    {"http://private.example:PORT/", SP_FETCH_PUBLIC, SP_ERR_DENIED,
     ": 10.0.0.1 is a private address" BARRED},
    {"http://192.168.1.1:PORT/", SP_FETCH_PUBLIC, SP_ERR_DENIED, " is a private address" BARRED},
    {"http://[fd00::1]:PORT/", SP_FETCH_PUBLIC, SP_ERR_DENIED, " is a private address" BARRED},
    {"http://[fe80::1]:PORT/", SP_FETCH_PUBLIC, SP_ERR_DENIED, " is a link-local address" BARRED},
    {"http://224.0.0.1:PORT/", SP_FETCH_PUBLIC, SP_ERR_DENIED, " is a multicast address" BARRED},
    {"http://127.0.0.1:PORT/", SP_FETCH_NOT_LOCAL, SP_ERR_DENIED,
     ": 127.0.0.1 is a loopback address" BARRED_HERE},
    {"http://loop.example:PORT/", SP_FETCH_NOT_LOCAL, SP_ERR_DENIED,
     ": 127.0.0.1 is a loopback address" BARRED_HERE},
    {"http://0.0.0.0:PORT/", SP_FETCH_NOT_LOCAL, SP_ERR_DENIED,
     " is a reserved address" BARRED_HERE},
    {"http://169.254.1.1:PORT/", SP_FETCH_NOT_LOCAL, SP_ERR_DENIED,
     " is a link-local address" BARRED_HERE},
    {"http://169.254.169.254/", SP_FETCH_NOT_LOCAL, SP_ERR_DENIED,
     " is a metadata address" BARRED_HERE},
    {"http://224.0.0.1:PORT/", SP_FETCH_NOT_LOCAL, SP_ERR_DENIED,
     " is a multicast address" BARRED_HERE},
    /* Other spellings of loopback are none of ours, whoever wrote them. */
    {"http://2130706433:PORT/", SP_FETCH_PUBLIC, SP_ERR_CONFIG, NULL},
    {"http://0x7f.0.0.1:PORT/", SP_FETCH_PUBLIC, SP_ERR_CONFIG, NULL},
    {"http://0177.0.0.1:PORT/", SP_FETCH_PUBLIC, SP_ERR_CONFIG, NULL},
    {"http://127.1:PORT/", SP_FETCH_PUBLIC, SP_ERR_CONFIG, NULL},
    {"http://127.0.0.1.:PORT/", SP_FETCH_PUBLIC, SP_ERR_CONFIG, NULL},
    {"http://public.example@127.0.0.1:PORT/", SP_FETCH_PUBLIC, SP_ERR_CONFIG, NULL},
    {"http://127.0.0.1:PORT#@public.example/", SP_FETCH_PUBLIC, SP_ERR_CONFIG, NULL},
    {"http://127.0.0.1:PORT\\@public.example/", SP_FETCH_PUBLIC, SP_ERR_CONFIG, NULL},
    {"http://127.1:PORT/", SP_FETCH_ANYWHERE, SP_ERR_CONFIG, NULL},
};

static void put_port(const char *text, char url[256])
{
    const char *at = strstr(text, "PORT");

    if (at)
        snprintf(url, 256, "%.*s%u%s", (int)(at - text), text, (unsigned)fetch_server.port, at + 4);
    else
        snprintf(url, 256, "%s", text);
}

/* The server listens at all addresses of this host and sees nobody. */
START_TEST(a_url_leads_only_where_it_may)
{
    struct sp_fetch_request request = plain;
    struct result r = {.calls = 0};
    char url[256];
    size_t len;

    put_port(reach_rows[_i].url, url);
    request.reach = reach_rows[_i].reach;
    fetch_server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nloose";
    fetch(url, &request, &r);
    ck_assert(!r.good);
    ck_assert_msg(r.error.kind == reach_rows[_i].kind, "%s", r.error.text);
    if (reach_rows[_i].reason) {
        len = strlen(reach_rows[_i].reason);
        ck_assert_mem_eq(r.error.text, url, strlen(url));
        ck_assert_uint_gt(strlen(r.error.text), len);
        ck_assert_str_eq(r.error.text + strlen(r.error.text) - len, reach_rows[_i].reason);
    }
    fetch_server.close = true;
    let_time_pass(); /* whoever came would have come by now */
    ck_assert_int_eq(fetch_server.accepted, 1);
}
END_TEST

static void make_open_world(void)
{
    fetch_world_enter_at("0.0.0.0");
    fetch_server_listen("::", fetch_server.port, &fetch_server.listener6);
}

/* A network of our own, in which all of these addresses are ours. False: this machine does not let
 * us. */
static bool enter_network(void)
{
    static const char *const addrs[] = {"8.8.8.8", "10.0.0.1", "169.254.169.254"};
    struct ifreq request;
    struct sockaddr_storage sa;
    struct sp_addr addr = {.port = 0};
    int fd;
    bool ok;

    if (!own_network())
        return false;
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ok = fd >= 0;
    for (int i = 0; ok && i < 3; i++) {
        memset(&request, 0, sizeof request);
        snprintf(request.ifr_name, sizeof request.ifr_name, "lo:%d", i + 1);
        ck_assert(sp_ip_parse(addrs[i], strlen(addrs[i]), &addr.ip));
        sp_addr_to_sockaddr(&addr, &sa);
        memcpy(&request.ifr_addr, &sa, sizeof request.ifr_addr);
        ok = ioctl(fd, SIOCSIFADDR, &request) == 0;
    }
    close(fd);
    return ok;
}

START_TEST(of_several_addresses_only_those_that_may_be_reached_are_dialled)
{
    static const struct {
        const char *host;
        enum sp_fetch_reach reach;
        const char *dialled; /* NULL: any of them */
    } rows[] = {
        {"both.example", SP_FETCH_PUBLIC, "8.8.8.8"},
        {"both.example", SP_FETCH_NOT_LOCAL, "8.8.8.8"},
        {"both.example", SP_FETCH_ANYWHERE, NULL},
        {"public.example", SP_FETCH_PUBLIC, "8.8.8.8"},
        {"8.8.8.8", SP_FETCH_PUBLIC, "8.8.8.8"},
        {"private.example", SP_FETCH_NOT_LOCAL, "10.0.0.1"},
        {"10.0.0.1", SP_FETCH_NOT_LOCAL, "10.0.0.1"},
        {"private.example", SP_FETCH_ANYWHERE, "10.0.0.1"},
        {"169.254.169.254", SP_FETCH_ANYWHERE, "169.254.169.254"},
        {"localhost", SP_FETCH_ANYWHERE, "127.0.0.1"},
    };
    struct sp_fetch_request request = plain;
    struct result r = {.calls = 0};
    char text[SP_IP_TEXT], host[64];

    if (!enter_network())
        return;
    fetch_world_enter_at("0.0.0.0");
    fetch_server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    request.reach = rows[_i].reach;
    fetch(rows[_i].host, &request, &r);
    ck_assert_msg(r.good, "%s", r.error.text);
    ck_assert_int_eq(fetch_server.accepted, 1);
    if (rows[_i].dialled)
        ck_assert_str_eq(sp_ip_format(&fetch_server.dialled.ip, text), rows[_i].dialled);
    snprintf(host, sizeof host, "\r\nHost: %s:%u\r\n", rows[_i].host, (unsigned)fetch_server.port);
    ck_assert_ptr_nonnull(strstr(fetch_server.last, host));
    free(r.body);
    fetch_world_leave();
}
END_TEST

/* What one fetch is allowed must not help another: no shared connections, no shared names. */
START_TEST(a_fetch_that_may_go_anywhere_opens_no_way_for_others)
{
    struct sp_fetch_request request = plain;
    struct result anywhere[3] = {{.calls = 0}}, r = {.calls = 0};
    int left = 4;

    fetch_server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    request.reach = SP_FETCH_PUBLIC;
    fetch("loop.example", &plain, &anywhere[0]);
    ck_assert(anywhere[0].good);
    anywhere[1].left = anywhere[2].left = r.left = &left;
    start("loop.example", &plain, &anywhere[1]);
    start("loop.example", &request, &r);
    start("loop.example", &plain, &anywhere[2]);
    left = 3;
    sp_loop_run(fetch_world.loop);
    ck_assert(anywhere[1].good && anywhere[2].good);
    ck_assert(!r.good);
    ck_assert_int_eq(r.error.kind, SP_ERR_DENIED);
    ck_assert_int_eq(fetch_server.accepted, 3);
    for (int i = 0; i < 3; i++)
        free(anywhere[i].body);
}
END_TEST

/* ---- https ---- */

START_TEST(an_https_server_that_nobody_vouches_for_is_refused)
{
    struct certs_pair *ca = fetch_server_tls("loop.example");
    struct result r = {.calls = 0};

    fetch("loop.example", &plain, &r);
    ck_assert(!r.good);
    ck_assert_int_eq(r.error.kind, SP_ERR_PEER_CERT);
    ck_assert_ptr_nonnull(strstr(r.error.text, "/x: the server's certificate is not good ("));
    ck_assert_int_eq(fetch_server.accepted, 1);
    ck_assert_int_eq(fetch_server.asked, 0);
    fetch_server_tls_done(ca);
}
END_TEST

/* Makes the CA the only one of this system, for this process. False: this machine does not let us.
 */
static bool trust(struct scratch *s, const struct certs_pair *ca)
{
    char *pem = certs_pair_certificate_pem(ca), path[512];
    bool ok;

    scratch_write(s, "ca.pem", pem);
    snprintf(path, sizeof path, "%s/ca.pem", s->path);
    ok = unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 &&
         mount(path, CA_STORE, NULL, MS_BIND, NULL) == 0;
    free(pem);
    return ok;
}

START_TEST(an_https_server_must_be_the_one_of_the_url)
{
    static const char *const dns_names[] = {"loop.example", "other.example"};
    struct certs_pair *ca = fetch_server_tls(dns_names[_i]);
    struct scratch *s = scratch_new();
    struct result r = {.calls = 0};

    if (trust(s, ca)) {
        fetch("loop.example", &plain, &r);
        if (_i == 0) {
            ck_assert_msg(r.good, "%s", r.error.text);
            ck_assert_str_eq((char *)r.body, "hello");
        } else {
            ck_assert(!r.good);
            ck_assert_int_eq(r.error.kind, SP_ERR_PEER_CERT);
            ck_assert_int_eq(fetch_server.asked, 0);
        }
    }
    free(r.body);
    scratch_free(s);
    fetch_server_tls_done(ca);
}
END_TEST

START_TEST(https_to_a_server_without_tls_says_so)
{
    struct result r = {.calls = 0};
    char url[64];

    fetch_server.answer = "HTTP/1.1 400 Bad Request\r\n\r\n";
    fetch_server.at_once = true;
    snprintf(url, sizeof url, "https://127.0.0.1:%u/", (unsigned)fetch_server.port);
    fetch(url, &plain, &r);
    ck_assert_int_eq(r.error.kind, SP_ERR_TLS);
    ck_assert_ptr_nonnull(strstr(r.error.text, "/: no TLS ("));
}
END_TEST

#define COUNT(rows) (int)(sizeof(rows) / sizeof(rows)[0])

static TCase *make_cases(void)
{
    TCase *tc = tcase_create("fetch");

    tcase_add_checked_fixture(tc, fetch_world_enter, fetch_world_leave);
    tcase_set_timeout(tc, 20);
    tcase_add_test(tc, a_get_says_no_more_than_it_must);
    tcase_add_test(tc, a_post_arrives_whole);
    tcase_add_test(tc, an_empty_body_is_posted_too);
    tcase_add_loop_test(tc, what_is_not_modified_is_told_as_such, 0, 2);
    tcase_add_test(tc, an_etag_that_would_break_the_request_is_not_sent);
    tcase_add_loop_test(tc, an_answer_is_taken_however_its_end_is_told, 0, COUNT(good_rows));
    tcase_add_loop_test(tc, any_other_answer_is_an_error_that_says_so, 0, COUNT(bad_rows));
    tcase_add_loop_test(tc, a_reset_connection_is_an_error_unless_the_answer_is_whole, 0, 2);
    tcase_add_loop_test(tc, a_redirect_is_not_followed, 0, 5);
    tcase_add_loop_test(tc, who_takes_any_answer_gets_it_as_it_is, 0, COUNT(any_rows));
    tcase_add_loop_test(tc, an_endless_answer_is_cut_where_it_is_too_long, 0, 4);
    tcase_add_loop_test(tc, a_body_may_have_exactly_the_most_bytes, 0, 2);
    tcase_add_test(tc, nothing_but_an_empty_body_fits_into_nothing);
    tcase_add_loop_test(tc, time_is_up_whatever_the_server_does, 0, 5);
    tcase_add_test(tc, time_is_up_for_a_silent_name_server_too);
    tcase_add_test(tc, a_name_without_an_address_says_so);
    tcase_add_test(tc, a_refused_connection_says_so);
    tcase_add_loop_test(tc, a_url_that_is_none_is_told_from_the_loop, 0, 4);
    tcase_add_test(tc, fifty_at_a_time_all_get_their_own);
    tcase_add_loop_test(tc, a_cancelled_fetch_is_not_told, 0, 4);
    tcase_add_loop_test(tc, a_fetch_may_be_cancelled_while_it_waits_for_the_answer, 0, 2);
    tcase_add_test(tc, a_fetch_may_be_cancelled_in_the_callback_of_another);
    tcase_add_test(tc, a_fetcher_freed_with_fetches_drops_them_silently);
    tcase_add_test(tc, an_idle_fetcher_does_not_hold_the_loop);
    tcase_add_test(tc, a_fetch_that_may_go_anywhere_opens_no_way_for_others);
    tcase_add_test(tc, an_https_server_that_nobody_vouches_for_is_refused);
    tcase_add_loop_test(tc, an_https_server_must_be_the_one_of_the_url, 0, 2);
    tcase_add_test(tc, https_to_a_server_without_tls_says_so);
    return tc;
}

static TCase *make_reach_cases(void)
{
    TCase *tc = tcase_create("reach");

    tcase_add_checked_fixture(tc, make_open_world, fetch_world_leave);
    tcase_set_timeout(tc, 20);
    tcase_add_loop_test(tc, a_url_leads_only_where_it_may, 0, COUNT(reach_rows));
    return tc;
}

static TCase *make_network_cases(void)
{
    TCase *tc = tcase_create("network");

    tcase_set_timeout(tc, 20);
    tcase_add_loop_test(tc, of_several_addresses_only_those_that_may_be_reached_are_dialled, 0, 10);
    return tc;
}

int main(void)
{
    Suite *suite = suite_create("fetch");
    SRunner *runner;
    int failed;

    suite_add_tcase(suite, make_cases());
    suite_add_tcase(suite, make_reach_cases());
    suite_add_tcase(suite, make_network_cases());
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
