/* pacing: whose congestion control is changed, and whose is not. Each test is a process of its own,
 * since the default is looked at once a process. */
#include "common/loop.h"
#include "common/pacing.h"
#include "common/sock.h"
#include "tests/support/own_network.h"

#include <check.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SETTING "/proc/sys/net/ipv4/tcp_congestion_control"

static char known[16]; /* the default in this test */

/* A network of its own with that default; where the kernel has no such congestion control, or gives
 * no network, the default is what it was. */
static void begin(const char *wanted)
{
    int fd;
    ssize_t len;

    if (own_network()) {
        fd = open(SETTING, O_WRONLY | O_CLOEXEC);
        if (fd >= 0 && write(fd, wanted, strlen(wanted)) < 0)
            fprintf(stderr, "test_pacing: no %s here; with the default\n", wanted);
        close(fd);
    }
    fd = open(SETTING, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    len = read(fd, known, sizeof known - 1);
    close(fd);
    ck_assert_int_gt(len, 1);
    known[len - 1] = '\0'; /* the end of the line */
}

static void assert_control(int fd, const char *wanted)
{
    char name[16] = "";
    socklen_t len = sizeof name - 1;

    ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len), 0);
    ck_assert_str_eq(name, wanted);
}

static struct sp_addr address(const char *text)
{
    struct sp_addr addr = {.port = 0};

    ck_assert(sp_ip_parse(text, strlen(text), &addr.ip));
    return addr;
}

static int plain_socket(int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    return fd;
}

START_TEST(a_connection_over_loopback_is_not_paced)
{
    static const struct sp_sock_callbacks unasked = {NULL, NULL};
    struct sp_addr addr = address("127.0.0.1");
    struct sp_loop *loop;
    struct sp_sock *near;
    const char *wanted;
    int listener, far;

    begin(_i ? "cubic" : "bbr");
    wanted = strncmp(known, "bbr", 3) == 0 ? "reno" : known;
    ck_assert_int_eq(sp_loop_new(&loop, NULL), SP_OK);
    ck_assert_int_eq(sp_listen_fd(&addr, false, &listener, NULL), SP_OK);
    ck_assert_int_eq(sp_sock_connect(loop, &addr, &unasked, NULL, &near, NULL), SP_OK);
    fcntl(listener, F_SETFL, 0); /* so that accept waits */
    far = accept(listener, NULL, NULL);
    ck_assert_int_ge(far, 0);
    assert_control(sp_sock_fd(near), wanted);
    assert_control(listener, wanted);
    assert_control(far, wanted);
    sp_sock_close(near);
    close(far);
    close(listener);
    sp_loop_run(loop);
    sp_loop_free(loop);
}
END_TEST

START_TEST(what_goes_elsewhere_keeps_the_default)
{
    static const char *const texts[] = {"192.0.2.1", "10.0.0.1", "2001:db8::1", "0.0.0.0"};

    begin("bbr");
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct sp_addr addr = address(texts[i]), local = address("127.0.0.1");
        int fd = plain_socket(addr.ip.family == 6 ? AF_INET6 : AF_INET),
            other = plain_socket(AF_INET);

        sp_pacing_spare(fd, &addr);
        assert_control(fd, known);
        sp_pacing_spare(other, &local); /* and the next one is asked anew */
        close(fd);
        close(other);
    }
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pacing");
    TCase *t = tcase_create("pacing");

    tcase_add_loop_test(t, a_connection_over_loopback_is_not_paced, 0, 2);
    tcase_add_test(t, what_goes_elsewhere_keeps_the_default);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *runner = srunner_create(suite());
    int failed;

    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
