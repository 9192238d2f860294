#include "common/url.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *text, *host;
    bool https;
    uint16_t port;
} good_rows[] = {
    {"http://ca.example", "ca.example", false, 80},
    {"http://ca.example/", "ca.example", false, 80},
    {"https://ca.example/acme.crl?a=b:c@d", "ca.example", true, 443},
    {"http://ca.example?x", "ca.example", false, 80},
    {"HTTP://CA.Example./x", "ca.example", false, 80},
    {"hTTps://ca.example:8443/x:y", "ca.example", true, 8443},
    {"http://ca.example:1/", "ca.example", false, 1},
    {"http://ca.example:65535", "ca.example", false, 65535},
    {"http://192.0.2.1/", "192.0.2.1", false, 80},
    {"http://192.0.2.1:81/", "192.0.2.1", false, 81},
    {"http://[2001:DB8::0:1]/", "2001:db8::1", false, 80},
    {"https://[::1]:8443/", "::1", true, 8443},
    {"http://localhost/a%20b//c/../d", "localhost", false, 80},
};

START_TEST(a_url_is_read)
{
    struct sp_url url;
    struct sp_error err = {.kind = SP_OK};

    ck_assert_int_eq(sp_url_parse(good_rows[_i].text, &url, &err), SP_OK);
    ck_assert_str_eq(err.text, "");
    ck_assert_str_eq(url.target.host, good_rows[_i].host);
    ck_assert_int_eq(url.https, good_rows[_i].https);
    ck_assert_uint_eq(url.target.port, good_rows[_i].port);
    ck_assert_int_eq(sp_url_check(good_rows[_i].text, &err), SP_OK);
}
END_TEST

#define WANTED "; wanted is a URL such as http://ca.example/acme"
#define NO_HOST                                                                                    \
    "has no host (a name, or an address as RFC 3986 writes it) with a port from 1 to 65535 or "    \
    "none"

static const struct {
    const char *text, *why;
} bad_rows[] = {
    {"", "does not begin with http:// or https://"},
    {"ca.example", "does not begin with http:// or https://"},
    {"//ca.example/", "does not begin with http:// or https://"},
    {"http:/ca.example/", "does not begin with http:// or https://"},
    {"http:ca.example/", "does not begin with http:// or https://"},
    {"ftp://ca.example/", "does not begin with http:// or https://"},
    {"file:///etc/passwd", "does not begin with http:// or https://"},
    {"ldap://ca.example/cn=x", "does not begin with http:// or https://"},
    {" http://ca.example/", "does not begin with http:// or https://"},
    {"http://", "has no host"},
    {"http:///x", "has no host"},
    {"https://?x", "has no host"},
    {"http://:80/", NO_HOST},
    {"http://ca.example:/", NO_HOST},
    {"http://ca.example:0/", NO_HOST},
    {"http://ca.example:65536/", NO_HOST},
    {"http://ca.example:4294967376/", NO_HOST},
    {"http://ca.example:+80/", NO_HOST},
    {"http://ca.example:8x/", NO_HOST},
    {"http://ca.example:80:80/", NO_HOST},
    {"http://user@ca.example/", "has user info in it"},
    {"http://ca.example:80@127.0.0.1/", "has user info in it"},
    {"http://ca.example/x#y", "has a fragment, which is never sent"},
    {"http://127.0.0.1#@ca.example/", "has a fragment, which is never sent"},
    {"http://ca.example/a b", "has a space in it"},
    {"http://ca.example /", "has a space in it"},
    {"http://ca.example/a\nb", "has a control character in it"},
    {"http://ca.example/\r\nHost: x", "has a control character in it"},
    {"http://ca.example/\x7f", "has a control character in it"},
    {"http://127.0.0.1\\@ca.example/", "has a backslash in it"},
    {"http://caf\xc3\xa9.example/", "has a character in it that is not ASCII"},
    {"http://ca.example/\xc3\xa9", "has a character in it that is not ASCII"},
    /* libcurl takes all of these for an address, and most for 127.0.0.1. */
    {"http://2130706433/", NO_HOST},
    {"http://0x7f.0.0.1/", NO_HOST},
    {"http://0x7f000001/", NO_HOST},
    {"http://127.1/", NO_HOST},
    {"http://127.0.1/", NO_HOST},
    {"http://0177.0.0.1/", NO_HOST},
    {"http://127.0.0.1./", NO_HOST},
    {"http://127.0.0.256/", NO_HOST},
    {"http://%31%32%37.0.0.1/", NO_HOST},
    {"http://ca%2eexample/", NO_HOST},
    {"http://::1/", NO_HOST},
    {"http://[::1/", NO_HOST},
    {"http://[::1]x/", NO_HOST},
    {"http://[fe80::1%25eth0]/", NO_HOST},
    {"http://[127.0.0.1]/", NO_HOST},
    {"http://[ca.example]/", NO_HOST},
    {"http://ca..example/", NO_HOST},
    {"http://-;,/", NO_HOST},
};

START_TEST(what_is_no_url_of_ours_is_refused)
{
    struct sp_url url = {.https = true, .target = {.port = 7}};
    struct sp_error err = {.kind = SP_OK};
    const char *quote;

    ck_assert_int_eq(sp_url_parse(bad_rows[_i].text, &url, &err), SP_ERR_CONFIG);
    ck_assert_int_eq(err.text[0], '"');
    quote = strrchr(err.text, '"');
    ck_assert_mem_eq(quote, "\" ", 2);
    ck_assert_mem_eq(quote + 2, bad_rows[_i].why, strlen(bad_rows[_i].why));
    ck_assert_str_eq(quote + 2 + strlen(bad_rows[_i].why), WANTED);
    ck_assert(url.https && url.target.port == 7); /* untouched */
    ck_assert_int_eq(sp_url_check(bad_rows[_i].text, NULL), SP_ERR_CONFIG);
}
END_TEST

START_TEST(a_url_has_at_most_2000_bytes)
{
    char text[SP_URL_MAX + 2] = "http://ca.example/";
    struct sp_error err;

    memset(text + strlen(text), 'x', sizeof text - strlen(text));
    text[SP_URL_MAX] = '\0';
    ck_assert_int_eq(sp_url_check(text, NULL), SP_OK);
    text[SP_URL_MAX] = 'x';
    text[SP_URL_MAX + 1] = '\0';
    ck_assert_int_eq(sp_url_check(text, &err), SP_ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(err.text, "has more than 2000 bytes"));
}
END_TEST

START_TEST(an_authority_of_2000_bytes_is_refused_whole)
{
    char text[SP_URL_MAX + 1] = "http://";

    memset(text + 7, 'a', sizeof text - 8);
    text[SP_URL_MAX] = '\0';
    ck_assert_int_eq(sp_url_check(text, NULL), SP_ERR_CONFIG);
}
END_TEST

static const struct {
    const char *base, *reference, *joined;
} join_rows[] = {
    {"http://a.example/x", "http://b.example/login", "http://b.example/login"},
    {"http://a.example/x", "HTTPS://b.example", "HTTPS://b.example"},
    {"http://a.example/x", "ftp://b.example/", "ftp://b.example/"},
    {"https://a.example:8443/x/y?z=/w", "//b.example/q", "https://b.example/q"},
    {"https://a.example:8443/x/y?z=/w", "/q?r", "https://a.example:8443/q?r"},
    {"http://a.example/x/y?z=/w", "q", "http://a.example/x/q"},
    {"http://a.example", "q", "http://a.example/q"},
    {"http://a.example?z=/w", "q", "http://a.example/q"},
    {"http://a.example?z", "/q", "http://a.example/q"},
    {"http://a.example/x", "/q#here", "http://a.example/q"},
    {"http://a.example/x", "", "http://a.example/"},
    {"http://a.example/x", "http:q", "http:q"},
    {"http://[2001:db8::1]:80/x", "/q", "http://[2001:db8::1]:80/q"},
    {"http://a.example/x", "q@b.example", "http://a.example/q@b.example"},
};

START_TEST(a_location_is_seen_from_where_it_was_said)
{
    char url[SP_URL_MAX + 1];

    ck_assert(sp_url_join(join_rows[_i].base, join_rows[_i].reference, url));
    ck_assert_str_eq(url, join_rows[_i].joined);
}
END_TEST

START_TEST(a_location_that_makes_it_too_long_is_none)
{
    char url[SP_URL_MAX + 1], reference[SP_URL_MAX + 1];

    memset(reference, 'x', sizeof reference);
    reference[SP_URL_MAX - 17] = '\0';
    ck_assert(sp_url_join("http://a.example/", reference, url));
    ck_assert_uint_eq(strlen(url), SP_URL_MAX);
    reference[SP_URL_MAX - 17] = 'x';
    reference[SP_URL_MAX - 16] = '\0';
    ck_assert(!sp_url_join("http://a.example/", reference, url));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("url");
    TCase *tc = tcase_create("url");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(tc, a_url_is_read, 0, sizeof good_rows / sizeof good_rows[0]);
    tcase_add_loop_test(tc, what_is_no_url_of_ours_is_refused, 0,
                        sizeof bad_rows / sizeof bad_rows[0]);
    tcase_add_test(tc, a_url_has_at_most_2000_bytes);
    tcase_add_loop_test(tc, a_location_is_seen_from_where_it_was_said, 0,
                        sizeof join_rows / sizeof join_rows[0]);
    tcase_add_test(tc, a_location_that_makes_it_too_long_is_none);
    tcase_add_test(tc, an_authority_of_2000_bytes_is_refused_whole);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
