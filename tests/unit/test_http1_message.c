#include "common/http1_message.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define END "\r\n"
#define H   "Host: x\r\n"
#define VIA "Via: 1.1 sallyport-agent\r\n"

/* Plans a request and writes it; `text` is what goes to the origin, or the error's text. */
static enum sp_err forward(const char *request, struct sp_http1_plan *plan, int *status, char *text,
                           size_t text_len)
{
    struct sp_http1_head head;
    struct sp_error err = {.text = ""};
    struct sp_buf out;
    enum sp_err rc;

    *status = 0;
    sp_buf_init(&out, 65536);
    rc = sp_http1_request_head((const uint8_t *)request, strlen(request), &head, status, &err);
    if (rc == SP_OK)
        rc = sp_http1_plan(&head, plan, status, &err);
    if (rc == SP_OK)
        rc = sp_http1_write_request(&head, plan, &out);
    snprintf(text, text_len, "%.*s", rc == SP_OK ? (int)out.len : (int)strlen(err.text),
             rc == SP_OK ? (const char *)sp_buf_data(&out) : err.text);
    sp_buf_done(&out);
    return rc;
}

static const struct {
    const char *request, *target, *forwarded;
    enum sp_http1_framing framing;
    uint64_t length;
    bool keeps_alive, may_repeat, wants_upgrade;
} good[] = {
    {"GET http://a.example/p?q HTTP/1.1\r\n" H END, "a.example:80",
     "GET /p?q HTTP/1.1\r\nHost: a.example\r\n" VIA END, SP_HTTP1_NO_BODY, 0, true, true, false},
    {"GET HTTP://A.Example.:8080 HTTP/1.1\r\n" H END, "a.example:8080",
     "GET / HTTP/1.1\r\nHost: a.example:8080\r\n" VIA END, SP_HTTP1_NO_BODY, 0, true, true, false},
    {"GET http://a.example:80?q HTTP/1.1\r\n" H END, "a.example:80",
     "GET /?q HTTP/1.1\r\nHost: a.example\r\n" VIA END, SP_HTTP1_NO_BODY, 0, true, true, false},
    {"GET http://[2001:DB8::1]/ HTTP/1.1\r\n" H END, "[2001:db8::1]:80",
     "GET / HTTP/1.1\r\nHost: [2001:db8::1]\r\n" VIA END, SP_HTTP1_NO_BODY, 0, true, true, false},
    {"GET http://192.0.2.1:81/http://b@c/ HTTP/1.1\r\n" H END, "192.0.2.1:81",
     "GET /http://b@c/ HTTP/1.1\r\nHost: 192.0.2.1:81\r\n" VIA END, SP_HTTP1_NO_BODY, 0, true, true,
     false},
    {"OPTIONS http://a.example HTTP/1.1\r\n" H END, "a.example:80",
     "OPTIONS * HTTP/1.1\r\nHost: a.example\r\n" VIA END, SP_HTTP1_NO_BODY, 0, true, true, false},
    {"POST http://a.example/ HTTP/1.1\r\n" H "Content-Length: 5\r\n" END "hello", "a.example:80",
     "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n" VIA END, SP_HTTP1_LENGTH, 5,
     true, false, false},
    {"GET http://a.example/ HTTP/1.1\r\n" H "Content-Length: 5\r\n" END "hello", "a.example:80",
     "GET / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n" VIA END, SP_HTTP1_LENGTH, 5, true,
     false, false},
    {"PUT http://a.example/ HTTP/1.1\r\ntransfer-encoding: Chunked\r\nTrailer: X-Sum\r\n"
     "Expect: 100-continue\r\n" H END,
     "a.example:80",
     "PUT / HTTP/1.1\r\nHost: a.example\r\ntransfer-encoding: Chunked\r\nTrailer: X-Sum\r\n"
     "Expect: 100-continue\r\n" VIA END,
     SP_HTTP1_CHUNKED, 0, true, false, false},
    {"GET http://a.example/ HTTP/1.1\r\n" H
     "Connection: X-A ,, close\r\nX-A: 1\r\nx-a: 2\r\nX-B: 3\r\nKeep-Alive: 5\r\n"
     "Proxy-Connection: x\r\nTE: trailers\r\nProxy-Authorization: Basic eA==\r\n"
     "Upgrade: websocket\r\nVia: 1.0 other\r\n" END,
     "a.example:80", "GET / HTTP/1.1\r\nHost: a.example\r\nX-B: 3\r\nVia: 1.0 other\r\n" VIA END,
     SP_HTTP1_NO_BODY, 0, false, true, false},
    {"GET http://a.example/ HTTP/1.1\r\n" H "Proxy-Connection: Close\r\n" END, "a.example:80",
     "GET / HTTP/1.1\r\nHost: a.example\r\n" VIA END, SP_HTTP1_NO_BODY, 0, false, true, false},
    {"GET http://a.example/ HTTP/1.1\r\n" H
     "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" END,
     "a.example:80",
     "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" VIA END,
     SP_HTTP1_NO_BODY, 0, true, false, true},
    {"POST http://a.example/ HTTP/1.1\r\n" H
     "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n" END,
     "a.example:80", "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\n" VIA END,
     SP_HTTP1_LENGTH, 1, true, false, false},
    {"GET http://a.example/ HTTP/1.1\r\n" H
     "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n" END,
     "a.example:80", "GET / HTTP/1.1\r\nHost: a.example\r\n" VIA END, SP_HTTP1_NO_BODY, 0, true,
     true, false},
    {"GET http://a.example/ HTTP/1.0\r\nConnection: keep-alive\r\n" END, "a.example:80",
     "GET / HTTP/1.0\r\nHost: a.example\r\nVia: 1.0 sallyport-agent\r\n" END, SP_HTTP1_NO_BODY, 0,
     false, true, false},
    {"get http://a.example/ HTTP/1.1\r\n" H END, "a.example:80",
     "get / HTTP/1.1\r\nHost: a.example\r\n" VIA END, SP_HTTP1_NO_BODY, 0, true, false, false},
};

START_TEST(a_request_is_sent_on_as_the_origin_should_see_it)
{
    char text[4096], target[SP_TARGET_TEXT];
    struct sp_http1_plan plan;
    int status;

    ck_assert_msg(forward(good[_i].request, &plan, &status, text, sizeof text) == SP_OK, "%s",
                  text);
    ck_assert_str_eq(text, good[_i].forwarded);
    ck_assert_str_eq(sp_target_format(&plan.target, target), good[_i].target);
    ck_assert_int_eq(plan.framing, good[_i].framing);
    ck_assert(plan.length == good[_i].length);
    ck_assert_int_eq(plan.keeps_alive, good[_i].keeps_alive);
    ck_assert_int_eq(plan.may_repeat, good[_i].may_repeat);
    ck_assert_int_eq(plan.wants_upgrade, good[_i].wants_upgrade);
    ck_assert(!plan.is_head);
}
END_TEST

#define GET(url)     "GET " url " HTTP/1.1\r\n" H END
#define POST(fields) "POST http://a.example/ HTTP/1.1\r\n" H fields END

static const struct {
    const char *request;
    int status;
    const char *text;
} bad[] = {
    {GET("/"), 405, "this is a proxy"},
    {GET("*"), 405, "this is a proxy"},
    {GET("https://a.example/"), 501, "only http://"},
    {GET("ftp://a.example/"), 501, "only http://"},
    {GET("a.example:80"), 400, ""},
    {GET("http:a.example"), 400, ""},
    {GET("http:/a.example"), 400, ""},
    {GET("http://"), 400, "no"},
    {GET("http:///"), 400, "no"},
    {GET("http://user@a.example/"), 400, "user info"},
    {GET("http://a.example:80@b.example/"), 400, "user info"},
    {GET("http://a.example\\@b.example/"), 400, ""},
    {GET("http://a.example/\\x"), 400, "backslash"},
    {GET("http://a.example/#f"), 400, "fragment"},
    {GET("http://a.example:0/"), 400, ""},
    {GET("http://a.example:65536/"), 400, ""},
    {GET("http://a.example:/"), 400, ""},
    {GET("http://a.example:8080x/"), 400, ""},
    {GET("http://[fe80::1%25eth0]/"), 400, ""},
    {GET("http://127.1/"), 400, "no host"},
    {GET("http://0x7f000001/"), 400, "no host"},
    {POST("Content-Length: 1\r\nContent-Length: 1\r\n"), 400, ""},
    {POST("Content-Length: 1, 1\r\n"), 400, ""},
    {POST("Content-Length: -1\r\n"), 400, ""},
    {POST("Content-Length: 1 1\r\n"), 400, ""},
    {POST("Content-Length: 1000000000000000000\r\n"), 400, ""},
    {POST("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), 400, "both"},
    {POST("Transfer-Encoding: gzip\r\n"), 400, "other than chunked"},
    {POST("Transfer-Encoding: gzip, chunked\r\n"), 400, "other than chunked"},
    {POST("Transfer-Encoding: chunked, identity\r\n"), 400, "other than chunked"},
    {POST("Transfer-Encoding: \"chunked\"\r\n"), 400, "other than chunked"},
    {POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400,
     "other than chunked"},
    {POST("Connection: Host\r\n"), 400, "frames the request"},
    {POST("Connection: x, CONTENT-LENGTH\r\nContent-Length: 1\r\n"), 400, "frames the request"},
    {"POST http://a.example/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n" END, 400, "HTTP/1.0"},
};

START_TEST(what_could_be_read_in_two_ways_is_refused)
{
    char text[4096];
    struct sp_http1_plan plan;
    int status;

    ck_assert_int_eq(forward(bad[_i].request, &plan, &status, text, sizeof text), SP_ERR_HTTP);
    ck_assert_int_eq(status, bad[_i].status);
    ck_assert(text[0]);
    ck_assert_msg(strstr(text, bad[_i].text), "%s", text);
}
END_TEST

/* ---- responses ---- */

static enum sp_err answer(const char *response, const struct sp_http1_plan *plan, bool closes,
                          struct sp_http1_answer *ret, char *text, size_t text_len)
{
    struct sp_http1_head head;
    struct sp_error err = {.text = ""};
    struct sp_buf out;
    enum sp_err rc;

    sp_buf_init(&out, 65536);
    rc = sp_http1_response_head((const uint8_t *)response, strlen(response), &head, &err);
    if (rc == SP_OK)
        rc = sp_http1_judge_answer(&head, plan, ret, &err);
    if (rc == SP_OK)
        rc = sp_http1_write_answer(&head, ret, closes, &out);
    snprintf(text, text_len, "%.*s", rc == SP_OK ? (int)out.len : (int)strlen(err.text),
             rc == SP_OK ? (const char *)sp_buf_data(&out) : err.text);
    sp_buf_done(&out);
    return rc;
}

static const struct {
    const char *response, *sent;
    struct sp_http1_plan plan;
    bool closes;
    enum sp_http1_framing framing;
    uint64_t length;
    bool keeps_alive;
} answers[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" END,
     "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" VIA END,
     {.minor = 1},
     false,
     SP_HTTP1_LENGTH,
     5,
     true},
    {"HTTP/1.1 200\r\nContent-Length: 5\r\n" END,
     "HTTP/1.1 200 \r\nContent-Length: 5\r\nConnection: close\r\n" VIA END,
     {.minor = 1},
     true,
     SP_HTTP1_LENGTH,
     5,
     true},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close, X\r\nX: 1\r\n"
     "Keep-Alive: 5\r\n" END,
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" VIA END,
     {.minor = 1},
     false,
     SP_HTTP1_CHUNKED,
     0,
     false},
    {"HTTP/1.0 200 OK\r\nServer: x\r\n" END,
     "HTTP/1.1 200 OK\r\nServer: x\r\nConnection: close\r\nVia: 1.0 sallyport-agent\r\n" END,
     {.minor = 1},
     true,
     SP_HTTP1_UNTIL_CLOSE,
     0,
     false},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: Content-Length\r\n" END,
     "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" VIA END,
     {.minor = 1},
     false,
     SP_HTTP1_LENGTH,
     5,
     true},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" END,
     "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" VIA END,
     {.minor = 1, .is_head = true},
     false,
     SP_HTTP1_NO_BODY,
     5,
     true},
    {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n" END,
     "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n" VIA END,
     {.minor = 1},
     false,
     SP_HTTP1_NO_BODY,
     5,
     true},
    {"HTTP/1.1 204 No Content\r\n" END,
     "HTTP/1.1 204 No Content\r\n" VIA END,
     {.minor = 1},
     false,
     SP_HTTP1_NO_BODY,
     0,
     true},
    {"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n" END,
     "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n" VIA END,
     {.minor = 1},
     false,
     SP_HTTP1_NO_BODY,
     0,
     true},
    {"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n" END,
     "HTTP/1.1 407 No\r\nContent-Length: 0\r\n" VIA END,
     {.minor = 1},
     false,
     SP_HTTP1_LENGTH,
     0,
     true},
    {"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" END,
     "HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" VIA END,
     {.minor = 1, .wants_upgrade = true},
     true,
     SP_HTTP1_NO_BODY,
     0,
     true},
};

START_TEST(a_response_is_sent_on_as_the_client_should_see_it)
{
    struct sp_http1_answer got = {.status = 0};
    char text[4096];

    ck_assert_msg(answer(answers[_i].response, &answers[_i].plan, answers[_i].closes, &got, text,
                         sizeof text) == SP_OK,
                  "%s", text);
    ck_assert_str_eq(text, answers[_i].sent);
    ck_assert_int_eq(got.framing, answers[_i].framing);
    ck_assert(got.length == answers[_i].length);
    ck_assert_int_eq(got.keeps_alive, answers[_i].keeps_alive);
    ck_assert_int_eq(got.is_upgrade, got.status == 101);
}
END_TEST

static const struct {
    const char *response;
    int minor;
} bad_answers[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n" END, 1},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n" END, 1},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n" END, 1},
    {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n" END, 1},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" END, 0},
    {"HTTP/1.1 200 OK\r\nContent-Length: x\r\n" END, 1},
    {"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\n" END, 1},
    {"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n" END, 1},
    {"HTTP/1.1 200 OK\r\nX : a\r\n" END, 1},
    {"HTTP/1.1 200 OK\r\nX: a\nb: c\r\n" END, 1},
    {"HTTP/1.1 099 OK\r\n" END, 1},
    {"HTTP/1.1 2000 OK\r\n" END, 1},
    {"HTTP/1.1  200 OK\r\n" END, 1},
    {"HTTP/1.2 200 OK\r\n" END, 1},
    {"ICY 200 OK\r\n" END, 1},
};

START_TEST(a_response_that_could_be_read_in_two_ways_is_none)
{
    const struct sp_http1_plan plan = {.minor = bad_answers[_i].minor};
    struct sp_http1_answer got;
    char text[4096];

    ck_assert_int_eq(answer(bad_answers[_i].response, &plan, false, &got, text, sizeof text),
                     SP_ERR_HTTP);
    ck_assert(text[0]);
}
END_TEST

START_TEST(a_buffer_that_is_full_is_told)
{
    static const char request[] = GET("http://a.example/");
    struct sp_http1_head head;
    struct sp_http1_plan plan;
    struct sp_buf out;
    int status;

    ck_assert_int_eq(
        sp_http1_request_head((const uint8_t *)request, sizeof request - 1, &head, &status, NULL),
        SP_OK);
    ck_assert_int_eq(sp_http1_plan(&head, &plan, &status, NULL), SP_OK);
    sp_buf_init(&out, 20);
    ck_assert_int_eq(sp_http1_write_request(&head, &plan, &out), SP_ERR_LIMIT);
    sp_buf_done(&out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("http1_message");
    TCase *tc = tcase_create("all");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_loop_test(tc, a_request_is_sent_on_as_the_origin_should_see_it, 0,
                        sizeof good / sizeof good[0]);
    tcase_add_loop_test(tc, what_could_be_read_in_two_ways_is_refused, 0,
                        sizeof bad / sizeof bad[0]);
    tcase_add_loop_test(tc, a_response_is_sent_on_as_the_client_should_see_it, 0,
                        sizeof answers / sizeof answers[0]);
    tcase_add_loop_test(tc, a_response_that_could_be_read_in_two_ways_is_none, 0,
                        sizeof bad_answers / sizeof bad_answers[0]);
    tcase_add_test(tc, a_buffer_that_is_full_is_told);
    suite_add_tcase(suite, tc);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
