#include "agent/proxy.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *text;
    enum agent_proxy_kind kind;
    const char *at, *user, *password;
} good[] = {
    {"http://proxy.corp:3128", AGENT_PROXY_HTTP, "proxy.corp:3128", NULL, NULL},
    {"HTTP://Proxy.Corp:3128/", AGENT_PROXY_HTTP, "proxy.corp:3128", NULL, NULL},
    {"http://alice:s3cret@10.0.0.1:8080", AGENT_PROXY_HTTP, "10.0.0.1:8080", "alice", "s3cret"},
    {"http://alice@10.0.0.1:8080", AGENT_PROXY_HTTP, "10.0.0.1:8080", "alice", ""},
    {"http://alice:a:b@c@[2001:db8::1]:1", AGENT_PROXY_HTTP, "[2001:db8::1]:1", "alice", "a:b@c"},
    {"socks5://DOM%5cbob:p%40ss%3A@socks:1080", AGENT_PROXY_SOCKS5, "socks:1080", "DOM\\bob",
     "p@ss:"},
    {"socks5h://socks:1080", AGENT_PROXY_SOCKS5, "socks:1080", NULL, NULL},
};

START_TEST(a_good_url_is_taken_apart)
{
    struct agent_proxy *proxy = NULL;
    char text[SP_TARGET_TEXT];

    ck_assert_int_eq(agent_proxy_check(good[_i].text, NULL), SP_OK);
    ck_assert_int_eq(agent_proxy_new(good[_i].text, &proxy, NULL), SP_OK);
    ck_assert_int_eq((int)proxy->kind, (int)good[_i].kind);
    ck_assert_str_eq(sp_target_format(&proxy->at, text), good[_i].at);
    ck_assert_pstr_eq(proxy->user, good[_i].user);
    ck_assert_pstr_eq(proxy->password, good[_i].password);
    agent_proxy_free(proxy);
}
END_TEST

#define WANTED                                                                                     \
    "wanted: \"http://[user:password@]host:port\", \"socks5://[user:password@]host:port\" or "     \
    "\"environment\""
#define BAD_LOGIN                                                                                  \
    "the proxy's user or password is longer than 255 bytes, or has a control character or a "      \
    "broken %-escape in it"

static const struct {
    const char *text, *error;
} bad[] = {
    {"", "not a proxy's URL; " WANTED},
    {"proxy:3128", "not a proxy's URL; " WANTED},
    {"https://alice:hunter2@proxy:3128", "not a proxy's URL; " WANTED},
    {"http://", "no host and port of a proxy behind the scheme; " WANTED},
    {"http://proxy", "no host and port of a proxy behind the scheme; " WANTED},
    {"http://proxy:0", "no host and port of a proxy behind the scheme; " WANTED},
    {"http://proxy:65536", "no host and port of a proxy behind the scheme; " WANTED},
    {"http://alice:hunter2@proxy", "no host and port of a proxy behind the scheme; " WANTED},
    {"http://proxy:3128/path", "no host and port of a proxy behind the scheme; " WANTED},
    {"http://alice:hunter2%@proxy:1", BAD_LOGIN},
    {"http://alice:hunter2%4@proxy:1", BAD_LOGIN},
    {"http://alice:hunter2%zz@proxy:1", BAD_LOGIN},
    {"http://alice:hunter2%00@proxy:1", BAD_LOGIN},
    {"http://alice:hunter2%0d%0aX: y@proxy:1", BAD_LOGIN},
    {"http://:hunter2@proxy:1", "the proxy's login has an empty user"},
    {"socks5://alice@proxy:1", "the proxy's login has an empty user or password"},
    {"http://a%3ab:hunter2@proxy:1", "a user with a colon in its name cannot log in by Basic"},
};

START_TEST(a_bad_url_is_refused_and_no_password_is_told)
{
    struct agent_proxy *proxy = NULL;
    struct sp_error err;

    ck_assert_int_eq(agent_proxy_new(bad[_i].text, &proxy, &err), SP_ERR_CONFIG);
    ck_assert_str_eq(err.text, bad[_i].error);
    ck_assert_ptr_null(strstr(err.text, "hunter2"));
    ck_assert_ptr_null(proxy);
    ck_assert_int_eq(agent_proxy_check(bad[_i].text, &err), SP_ERR_CONFIG);
}
END_TEST

START_TEST(a_word_of_255_bytes_is_the_longest)
{
    char url[700] = "http://";
    struct agent_proxy *proxy = NULL;
    struct sp_error err;

    memset(url + 7, 'a', 255);
    strcpy(url + 7 + 255, ":b@proxy:1");
    ck_assert_int_eq(agent_proxy_new(url, &proxy, &err), SP_OK);
    agent_proxy_free(proxy);
    memset(url + 7, 'a', 256);
    strcpy(url + 7 + 256, ":b@proxy:1");
    ck_assert_int_eq(agent_proxy_new(url, &proxy, &err), SP_ERR_CONFIG);
}
END_TEST

/* ---- the environment ---- */

static void clear_environment(void)
{
    static const char *const names[] = {"https_proxy", "HTTPS_PROXY", "all_proxy",
                                        "ALL_PROXY",   "no_proxy",    "NO_PROXY"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
}

START_TEST(the_environment_is_looked_through_in_its_order)
{
    static const char *const order[] = {"ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy"};
    struct agent_proxy *proxy = NULL;
    struct sp_error err;
    char value[40];

    clear_environment();
    ck_assert_int_eq(agent_proxy_check("environment", NULL), SP_OK);
    ck_assert_int_eq(agent_proxy_new("environment", &proxy, &err), SP_OK);
    ck_assert_ptr_null(proxy);
    ck_assert(!agent_proxy_serves(NULL, NULL));
    for (size_t i = 0; i < 4; i++) {
        snprintf(value, sizeof value, i % 2 ? "http://p%zu:3128" : "p%zu:3128", i);
        setenv(order[i], value, 1);
        ck_assert_int_eq(agent_proxy_new("environment", &proxy, &err), SP_OK);
        ck_assert_int_eq(proxy->at.host[1], '0' + (int)i);
        agent_proxy_free(proxy);
    }
    setenv("https_proxy", "gopher://u:hunter2@p:1", 1);
    ck_assert_int_eq(agent_proxy_new("environment", &proxy, &err), SP_ERR_CONFIG);
    ck_assert_str_eq(err.text, "the environment's https_proxy: not a proxy's URL; " WANTED);
    setenv("https_proxy", "", 1); /* as good as not set */
    ck_assert_int_eq(agent_proxy_new("environment", &proxy, &err), SP_OK);
    ck_assert_str_eq(proxy->at.host, "p2");
    agent_proxy_free(proxy);
    clear_environment();
}
END_TEST

static const struct {
    const char *except, *gateway;
    bool serves;
} exceptions[] = {
    {"", "gw.corp.example:443", true},
    {"*", "gw.corp.example:443", false},
    {"other.example", "gw.corp.example:443", true},
    {"corp.example", "gw.corp.example:443", false},
    {".corp.example", "gw.corp.example:443", false},
    {"*.corp.example", "gw.corp.example:443", false},
    {"CORP.example", "gw.corp.example:443", false},
    {"rp.example", "gw.corp.example:443", true},
    {"a, gw.corp.example ,b", "gw.corp.example:443", false},
    {"gw.corp.example:443", "gw.corp.example:443", false},
    {"gw.corp.example:8443", "gw.corp.example:443", true},
    {"10.0.0.0/8", "10.1.2.3:443", false},
    {"10.0.0.0/8", "11.1.2.3:443", true},
    {"10.1.2.3", "10.1.2.3:443", false},
    {"10.1.2.3:8443", "10.1.2.3:443", true},
    {"0.0.3", "10.0.0.3:443", true},
    {"2001:db8::/32", "[2001:db8::1]:443", false},
    {"[2001:db8::1]", "[2001:db8::1]:443", false},
    {"[]", "[2001:db8::1]:443", true},
    {"*.", "gw.corp.example:443", true},
};

START_TEST(no_proxy_keeps_gateways_from_the_proxy)
{
    struct agent_proxy *proxy = NULL;
    struct sp_target gateway;

    clear_environment();
    setenv("ALL_PROXY", "socks5://p:1080", 1);
    setenv(_i % 2 ? "no_proxy" : "NO_PROXY", exceptions[_i].except, 1);
    ck_assert_int_eq(agent_proxy_new("environment", &proxy, NULL), SP_OK);
    ck_assert_int_eq(
        sp_target_parse(exceptions[_i].gateway, strlen(exceptions[_i].gateway), &gateway, NULL),
        SP_OK);
    ck_assert_msg(agent_proxy_serves(proxy, &gateway) == exceptions[_i].serves, "%s for %s",
                  exceptions[_i].except, exceptions[_i].gateway);
    agent_proxy_free(proxy);
    clear_environment();
}
END_TEST

#define ROWS(table) ((int)(sizeof(table) / sizeof(table)[0]))

int main(void)
{
    Suite *suite = suite_create("proxy");
    TCase *tc = tcase_create("proxy");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(tc, a_good_url_is_taken_apart, 0, ROWS(good));
    tcase_add_loop_test(tc, a_bad_url_is_refused_and_no_password_is_told, 0, ROWS(bad));
    tcase_add_test(tc, a_word_of_255_bytes_is_the_longest);
    tcase_add_test(tc, the_environment_is_looked_through_in_its_order);
    tcase_add_loop_test(tc, no_proxy_keeps_gateways_from_the_proxy, 0, ROWS(exceptions));
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
