#include "agent/proxy.h"
#include "agent/upstream.h"
#include "common/loop.h"
#include "common/resolve.h"
#include "common/sock.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A proxy is a child process: it says what its row has, each piece when the one before was answered
 * with so many bytes. */

struct piece {
    size_t expects; /* bytes it reads first */
    const char *says;
    size_t len;
    bool whole; /* in one write: what follows must not come later */
};
#define SAYS(expects, text)                                                                        \
    {                                                                                              \
        expects, text, sizeof(text) - 1, false                                                     \
    }

static struct sp_loop *loop;
static struct sp_resolver *resolver;
static struct sp_timer *deadline;

static void on_deadline(void *ctx)
{
    (void)ctx;
    ck_abort_msg("nothing happened for ten seconds");
}

static void make_loop(void)
{
    const struct sp_resolver_options options = {.servers = NULL};

    ck_assert_int_eq(sp_loop_new(&loop, NULL), SP_OK);
    ck_assert_int_eq(sp_resolver_new(loop, &options, &resolver, NULL), SP_OK);
    deadline = sp_timer_new(loop, on_deadline, NULL);
    sp_timer_start(deadline, 10000);
}

static void drop_loop(void)
{
    sp_timer_free(deadline);
    sp_resolver_free(resolver);
    sp_loop_free(loop);
}

static void serve(int listener, const struct piece *pieces, size_t count, bool stays)
{
    int fd = accept(listener, NULL, NULL);
    char heard[4096];

    for (size_t i = 0; i < count && pieces[i].says; i++) {
        size_t got = 0;

        while (got < pieces[i].expects) {
            ssize_t n = read(fd, heard, pieces[i].expects - got);

            if (n <= 0)
                _exit(0);
            got += (size_t)n;
        }
        /* byte by byte: pieces are nobody's promise */
        for (size_t k = 0, step = pieces[i].whole ? pieces[i].len : 1; k < pieces[i].len;
             k += step) {
            if (write(fd, pieces[i].says + k, step) != (ssize_t)step)
                _exit(0);
        }
    }
    if (stays)
        pause();
    shutdown(fd, SHUT_WR); /* an orderly end, though not all was read */
    while (read(fd, heard, sizeof heard) > 0) {
    }
    _exit(0);
}

struct result {
    int calls;
    bool connected;
    struct sp_error error;
};

static void on_done(void *ctx, struct sp_sock *sock, const struct sp_addr *addr,
                    const struct sp_error *error)
{
    struct result *result = ctx;

    (void)addr;
    result->calls++;
    result->connected = sock != NULL;
    result->error = *error;
    sp_sock_close(sock);
    sp_loop_stop(loop);
}

static void ask(const char *scheme, const char *gateway, const struct piece *pieces, size_t count,
                bool stays, unsigned timeout_ms, struct result *result,
                char proxy_text[SP_TARGET_TEXT])
{
    struct sp_addr addr = {.ip = {.family = 4, .bytes = {127, 0, 0, 1}}};
    struct agent_upstream_options options = {
        .loop = loop, .resolver = resolver, .timeout_ms = timeout_ms};
    struct agent_proxy *proxy;
    struct sp_target target;
    char url[100];
    int listener;
    pid_t child;

    memset(result, 0, sizeof *result);
    ck_assert_int_eq(sp_listen_fd(&addr, false, &listener, NULL), SP_OK);
    child = fork();
    if (child == 0) {
        alarm(20);
        /* the listener is non-blocking */
        while (true) {
            fd_set set;

            FD_ZERO(&set);
            FD_SET(listener, &set);
            if (select(listener + 1, &set, NULL, NULL, NULL) == 1)
                serve(listener, pieces, count, stays);
        }
    }
    close(listener);
    snprintf(url, sizeof url, "%s127.0.0.1:%d", scheme, addr.port);
    ck_assert_int_eq(agent_proxy_new(url, &proxy, NULL), SP_OK);
    ck_assert_int_eq(sp_target_parse(gateway, strlen(gateway), &target, NULL), SP_OK);
    sp_target_format(&proxy->at, proxy_text);
    options.proxy = proxy;
    options.gateway = &target;
    ck_assert_ptr_nonnull(agent_upstream_connect(&options, on_done, result));
    ck_assert_int_eq(result->calls, 0);
    sp_loop_run(loop);
    ck_assert_int_eq(result->calls, 1);
    agent_proxy_free(proxy);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

#define HEAD_LEN (sizeof "CONNECT gw.example:443 HTTP/1.1\r\nHost: gw.example:443\r\n\r\n" - 1)

static const struct {
    const char *scheme, *gateway;
    struct piece pieces[3];
    bool stays;
    const char *error; /* behind "the proxy ADDRESS: "; NULL: it connects */
} rows[] = {
    {"http://", "gw.example:443", {SAYS(HEAD_LEN, "HTTP/1.1 200 OK\r\n\r\n")}, true, NULL},
    {"http://",
     "gw.example:443",
     {SAYS(HEAD_LEN, "HTTP/1.0 200 Connection established\r\nVia: 1.0 p\r\n\r\n")},
     true,
     NULL},
    {"http://",
     "gw.example:443",
     {SAYS(HEAD_LEN, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 Yes\r\n\r\n")},
     true,
     NULL},
    {"http://u:hunter2@",
     "gw.example:443",
     {SAYS(HEAD_LEN, "HTTP/1.1 407 Go away\r\nProxy-Authenticate: Basic realm=\"x\x01y\"\r\n\r\n")},
     true,
     "answered CONNECT with what is no HTTP: "},
    {"http://u:hunter2@",
     "gw.example:443",
     {SAYS(HEAD_LEN, "HTTP/1.1 407 Go away\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n")},
     true,
     "refused the login of user \"u\" (407 Proxy Authentication Required; it offers: Basic "
     "realm=\"x\")"},
    {"http://",
     "gw.example:443",
     {SAYS(HEAD_LEN, "HTTP/1.1 407 Go away\r\nProxy-Authenticate: Negotiate\r\n\r\n")},
     true,
     "wants a login (407 Proxy Authentication Required; it offers: Negotiate): put user and "
     "password into upstream_proxy"},
    {"http://u:hunter2@",
     "gw.example:443",
     {SAYS(HEAD_LEN, "HTTP/1.1 401 Unauthorized\r\n\r\n")},
     true,
     "refused the login of user \"u\" (401 Unauthorized)"},
    {"http://",
     "gw.example:443",
     {SAYS(HEAD_LEN, "HTTP/1.1 403 Filtered\r\n\r\n<html>")},
     true,
     "answered CONNECT gw.example:443 with 403 Filtered"},
    {"http://",
     "gw.example:443",
     {{HEAD_LEN, "HTTP/1.1 200 OK\r\n\r\nmore", 23, true}},
     true,
     "sent bytes of its own behind its answer to CONNECT"},
    {"http://",
     "gw.example:443",
     {SAYS(HEAD_LEN, "220 smtp.example ESMTP\r\n")},
     true,
     "answered CONNECT with what is no HTTP: "},
    {"http://", "gw.example:443", {SAYS(HEAD_LEN, "HTTP/1.1 2")}, true, "has not answered within"},
    {"http://",
     "gw.example:443",
     {SAYS(HEAD_LEN, "HTTP/1.1 2")},
     false,
     "closed the connection before it had answered"},
    {"socks5://",
     "gw.example:443",
     {SAYS(3, "\5\0"), SAYS(4 + 1 + 10 + 2, "\5\0\0\1\0\0\0\0\0\0")},
     true,
     NULL},
    {"socks5://",
     "192.0.2.7:443",
     {SAYS(3, "\5\0"), SAYS(10, "\5\0\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")},
     true,
     NULL},
    {"socks5://",
     "[2001:db8::1]:443",
     {SAYS(3, "\5\0"), SAYS(22, "\5\0\0\3\4name\0\0")},
     true,
     NULL},
    {"socks5://u:hunter2@",
     "gw.example:443",
     {SAYS(4, "\5\2"), SAYS(11, "\1\0"), SAYS(17, "\5\0\0\1\0\0\0\0\0\0")},
     true,
     NULL},
    {"socks5://u:hunter2@",
     "gw.example:443",
     {SAYS(4, "\5\2"), SAYS(11, "\1\1")},
     true,
     "refused the login of user \"u\""},
    {"socks5://u:hunter2@",
     "gw.example:443",
     {SAYS(4, "\5\377")},
     true,
     "accepts neither this login nor none"},
    {"socks5://",
     "gw.example:443",
     {SAYS(3, "\5\2")},
     true,
     "wants a login: put user and password into upstream_proxy"},
    {"socks5://",
     "gw.example:443",
     {SAYS(3, "\5\0"), SAYS(17, "\5\5\0\1\0\0\0\0\0\0")},
     true,
     "could not reach gw.example:443: connection refused (5)"},
    {"socks5://",
     "gw.example:443",
     {SAYS(3, "\5\0"), SAYS(17, "\5\0\0\7\0\0\0\0\0\0")},
     true,
     "sent a malformed SOCKS5 reply"},
    {"socks5://",
     "gw.example:443",
     {SAYS(3, "\5\0"), SAYS(17, "\4\0\0\1\0\0\0\0\0\0")},
     true,
     "sent a malformed SOCKS5 reply"},
    {"socks5://",
     "gw.example:443",
     {SAYS(3, "HTTP/1.1 400 Bad Request\r\n\r\n")},
     true,
     "does not speak SOCKS5: its first byte is 72"},
    {"socks5://",
     "gw.example:443",
     {SAYS(3, "\5")},
     false,
     "closed the connection before it had answered"},
};

START_TEST(whatever_a_proxy_answers_is_a_connection_or_told_in_words)
{
    char wanted[400], proxy[SP_TARGET_TEXT];
    struct result result;

    ask(rows[_i].scheme, rows[_i].gateway, rows[_i].pieces, 3, rows[_i].stays,
        rows[_i].error && strstr(rows[_i].error, "has not answered") ? 300 : 9000, &result, proxy);
    ck_assert_msg(result.connected == !rows[_i].error, "%s", result.error.text);
    if (!rows[_i].error)
        return;
    snprintf(wanted, sizeof wanted, "the proxy %s: %s", proxy, rows[_i].error);
    ck_assert_msg(strncmp(result.error.text, wanted, strlen(wanted)) == 0, "%s\nis not\n%s",
                  result.error.text, wanted);
    ck_assert_ptr_null(strstr(result.error.text, "hunter2"));
}
END_TEST

START_TEST(a_head_that_never_ends_is_given_up)
{
    static char endless[20000];
    struct piece piece = {HEAD_LEN, endless, sizeof endless - 1, false};
    char proxy[SP_TARGET_TEXT];
    struct result result;

    memset(endless, 'a', sizeof endless - 1);
    memcpy(endless, "HTTP/1.1 200 OK\r\nX: ", 20);
    ask("http://", "gw.example:443", &piece, 1, true, 9000, &result, proxy);
    ck_assert(!result.connected);
    ck_assert_ptr_nonnull(strstr(result.error.text, "a head of more than 8192 bytes"));
}
END_TEST

START_TEST(a_proxy_that_is_not_there_is_named)
{
    struct agent_upstream_options options = {
        .loop = loop, .resolver = resolver, .timeout_ms = 1000};
    struct agent_proxy *proxy;
    struct sp_target target;
    struct result result = {.calls = 0};

    ck_assert_int_eq(agent_proxy_new("http://255.255.255.255:1", &proxy, NULL), SP_OK);
    ck_assert_int_eq(sp_target_parse("gw:1", 4, &target, NULL), SP_OK);
    options.proxy = proxy;
    options.gateway = &target;
    agent_upstream_cancel(agent_upstream_connect(&options, on_done, &result));
    agent_upstream_cancel(NULL);
    ck_assert_ptr_nonnull(agent_upstream_connect(&options, on_done, &result));
    sp_loop_run(loop);
    ck_assert_int_eq(result.calls, 1);
    ck_assert_ptr_eq(strstr(result.error.text, "the proxy 255.255.255.255:1: "), result.error.text);
    agent_proxy_free(proxy);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("upstream");
    TCase *tc = tcase_create("upstream");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, make_loop, drop_loop);
    tcase_set_timeout(tc, 20);
    tcase_add_loop_test(tc, whatever_a_proxy_answers_is_a_connection_or_told_in_words, 0,
                        (int)(sizeof rows / sizeof rows[0]));
    tcase_add_test(tc, a_head_that_never_ends_is_given_up);
    tcase_add_test(tc, a_proxy_that_is_not_there_is_named);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
