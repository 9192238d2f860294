/* tls_hello: server names, as they should be and as they should not. Loop tests run each row with
 * TLS 1.2 (even) and 1.3 (odd). */
#include "common/tls_session.h"

#include "tests/support/tls_pair.h"

#include <check.h>
#include <string.h>

#define COUNT(table) (2 * (int)(sizeof(table) / sizeof *(table)))
#define A50          "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa." /* 49 and a dot */

struct bytes {
    const char *data;
    size_t len;
};
#define B(literal)                                                                                 \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }

static struct tls_end server;

static void setup(void)
{
    tls_server(&server, SP_TLS_1_2);
}

static void teardown(void)
{
    tls_end_done(&server);
}

static void send_hello(struct tls_hello *hello, const void *sni, size_t sni_len)
{
    uint8_t record[4096];

    hello->sni = sni;
    hello->sni_len = sni_len;
    tls_end_feed(&server, record, tls_hello_build(hello, record));
}

static void send_name(struct tls_hello *hello, struct bytes name)
{
    uint8_t sni[1024];

    send_hello(hello, sni, tls_sni_build(name.data, name.len, sni));
}

/* The type of the handshake message that the server's output begins with; -1: none. */
static int first_answer(void)
{
    const struct sp_buf *out = sp_tls_output(server.tls);

    return out->len > 5 && sp_buf_data(out)[0] == 0x16 ? sp_buf_data(out)[5] : -1;
}

static const struct bytes good_names[] = {
    B("a.example"), B("A.EXAMPLE"), B("a.example."), B("A.Example."), B("a.exAmplE"),
};

START_TEST(case_and_a_trailing_dot_are_folded)
{
    struct tls_hello hello = {.tls12 = !(_i & 1)};

    send_name(&hello, good_names[_i / 2]);
    ck_assert_int_eq(server.failures, 0);
    ck_assert_int_eq(server.owner.hellos, 1);
    ck_assert_int_eq(server.owner.bad_names, 0);
    ck_assert_str_eq(server.owner.name, "a.example");
    ck_assert_str_eq(sp_tls_server_name(server.tls), "a.example");
    ck_assert_int_eq(first_answer(), GNUTLS_HANDSHAKE_SERVER_HELLO);
}
END_TEST

static void assert_unrecognized(void)
{
    ck_assert_int_eq(server.failures, 1);
    ck_assert_int_eq(server.opens, 0);
    ck_assert_int_eq(server.owner.peers, 0);
    ck_assert_int_eq(server.err.kind, SP_ERR_TLS);
    ck_assert_int_eq(tls_end_clear_alert(&server), GNUTLS_A_UNRECOGNIZED_NAME);
    ck_assert_uint_eq(sp_tls_output(server.tls)->len, 7); /* the alert, and nothing else */
}

START_TEST(a_name_that_the_owner_does_not_know_is_unrecognized)
{
    struct tls_hello hello = {.tls12 = !_i};

    send_name(&hello, (struct bytes)B("nobody.example"));
    ck_assert_int_eq(server.owner.hellos, 1);
    ck_assert_int_eq(server.owner.bad_names, 0);
    ck_assert_str_eq(server.owner.name, "nobody.example");
    assert_unrecognized();
}
END_TEST

START_TEST(no_name_is_the_owners_to_decide)
{
    struct tls_hello hello = {.tls12 = !_i};

    send_hello(&hello, NULL, 0);
    ck_assert_int_eq(server.owner.hellos, 1);
    ck_assert_int_eq(server.owner.bad_names, 0);
    ck_assert_str_eq(server.owner.name, "(none)");
    ck_assert_ptr_null(sp_tls_server_name(server.tls));
    assert_unrecognized();
}
END_TEST

/* Well-formed extensions around what is no name. */
static const struct bytes bad_names[] = {
    B(""),
    B("."),
    B(".."),
    B(".a.example"),
    B("a..example"),
    B("a.example.."),
    B("a.example\0"),
    B("a.example\0.b.example"),
    B("\0a.example"),
    B(" a.example"),
    B("a.example "),
    B("a.example\r\nx: y"),
    B("*.example"),
    B("a.example:443"),
    B("a/example"),
    B("\xc3\xa4.example"),
    B("127.0.0.1"),
    B("127.0.0.1."),
    B("127.1"),
    B("0x7f000001"),
    B("::1"),
    B("[::1]"),
    B("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example"), /* 64 */
    B(A50 A50 A50 A50 A50 "exam"),                                                 /* 254 */
    B(A50 A50 A50 A50 A50 A50 A50 A50 "example"),
};

START_TEST(what_is_no_name_is_refused_and_reaches_no_tenant)
{
    struct tls_hello hello = {.tls12 = !(_i & 1)};

    send_name(&hello, bad_names[_i / 2]);
    ck_assert_int_eq(server.owner.hellos, 0);
    ck_assert_int_eq(server.owner.bad_names, 1);
    ck_assert_ptr_null(sp_tls_server_name(server.tls));
    assert_unrecognized();
}
END_TEST

START_TEST(the_longest_name_is_one)
{
    struct tls_hello hello = {.tls12 = false};

    send_name(&hello, (struct bytes)B(A50 A50 A50 A50 A50 "exa.")); /* 253 and a dot */
    ck_assert_int_eq(server.owner.bad_names, 0);
    ck_assert_uint_eq(strlen(server.owner.name), 253);
}
END_TEST

/* Whole extensions: 00 00, length, list length, type 0, name length, name. */
#define GOOD "\0\0\0\x0e\0\x0c\0\0\x09"
static const struct bytes broken_extensions[] = {
    B("\0\0\0\0"),               /* empty */
    B("\0\0\0\2\0\0"),           /* no name in the list */
    B("\0\0\0\5\0\3\0\0\0"),     /* an empty one */
    B("\0\0\0\x0e\0\x0d\0\0\x09" /* list longer */
      "a.example"),
    B("\0\0\0\x0e\0\x0b\0\0\x09" /* list shorter */
      "a.example"),
    B("\0\0\0\x0e\0\x0c\0\0\x0a" /* name longer */
      "a.example"),
    B("\0\0\0\x0e\0\x0c\0\0\x08" /* name shorter */
      "a.example"),
    B("\0\0\0\x0e\0\x0c\0\xff\xff" /* name very long */
      "a.example"),
    B("\0\0\0\x0f\0\x0c\0\0\x09" /* a byte after the list */
      "a.exampleX"),
    B("\0\0\0\x0e\0\x0c\1\0\x09" /* of another type */
      "a.example"),
    B("\0\0\0\x1a\0\x18\0\0\x09" /* two names */
      "a.example"
      "\0\0\x09"
      "b.example"),
    B("\0\0\0\x1a\0\x18\0\0\x09" /* the same twice */
      "a.example"
      "\0\0\x09"
      "a.example"),
    B("\0\0\0\x1a\0\x18\1\0\x09" /* of another type, then a name */
      "b.example"
      "\0\0\x09"
      "a.example"),
    B(GOOD "a.example" GOOD "b.example"), /* the extension twice */
    B(GOOD "a.example" GOOD "a.example"),
    B("\0\0\xff\xff\0\x0c\0\0\x09" /* longer than the hello */
      "a.example"),
};

START_TEST(a_broken_server_name_extension_is_refused_and_reaches_no_tenant)
{
    struct tls_hello hello = {.tls12 = !(_i & 1)};
    const struct bytes *row = &broken_extensions[_i / 2];

    send_hello(&hello, row->data, row->len);
    ck_assert_int_eq(server.owner.hellos, 0);
    ck_assert_int_eq(server.owner.bad_names, 1);
    assert_unrecognized();
}
END_TEST

/* ---- the second hello (invariant 5) ---- */

static void come_to_the_retry(void)
{
    struct tls_hello hello = {.no_key_share = true};

    send_name(&hello, (struct bytes)B("a.example"));
    ck_assert_int_eq(server.failures, 0);
    ck_assert_int_eq(server.owner.hellos, 1);
    ck_assert_int_eq(first_answer(), GNUTLS_HANDSHAKE_SERVER_HELLO); /* a retry looks like one */
    sp_buf_consume(sp_tls_output(server.tls), sp_tls_output(server.tls)->len);
}

static const struct bytes same_names[] = {B("a.example"), B("A.example."), B("a.EXAMPLE")};

START_TEST(a_second_hello_with_the_same_name_goes_on)
{
    struct tls_hello hello = {0};

    come_to_the_retry();
    send_name(&hello, same_names[_i]);
    ck_assert_int_eq(server.failures, 0);
    ck_assert_int_eq(server.owner.hellos, 1);
    ck_assert_uint_gt(sp_tls_output(server.tls)->len, 500); /* up to its Finished */
}
END_TEST

static const struct bytes other_names[] = {
    B("b.example"), B("a2.example"), B("nobody.example"), B("a.example\0"), B(""), B("127.0.0.1"),
};

static void assert_illegal(void)
{
    ck_assert_int_eq(server.failures, 1);
    ck_assert_int_eq(server.owner.hellos, 1);
    ck_assert_int_eq(server.owner.bad_names, 0); /* it was asked about the first one */
    ck_assert_int_eq(server.owner.peers, 0);
    ck_assert_int_eq(tls_end_clear_alert(&server), GNUTLS_A_ILLEGAL_PARAMETER);
    ck_assert_str_eq(sp_tls_server_name(server.tls), "a.example");
}

START_TEST(a_second_hello_with_another_name_is_refused)
{
    struct tls_hello hello = {0};

    come_to_the_retry();
    send_name(&hello, other_names[_i]);
    assert_illegal();
}
END_TEST

START_TEST(a_second_hello_with_no_name_is_refused)
{
    struct tls_hello hello = {0};

    come_to_the_retry();
    send_hello(&hello, NULL, 0);
    assert_illegal();
}
END_TEST

START_TEST(a_second_hello_with_a_second_name_is_refused)
{
    static const char both[] = GOOD "a.example" GOOD "b.example";
    struct tls_hello hello = {0};

    come_to_the_retry();
    send_hello(&hello, both, sizeof both - 1);
    assert_illegal();
}
END_TEST

START_TEST(a_second_retry_is_not_granted)
{
    struct tls_hello hello = {.no_key_share = true};

    come_to_the_retry();
    send_name(&hello, (struct bytes)B("a.example"));
    ck_assert_int_eq(server.failures, 1);
    ck_assert_int_eq(server.owner.hellos, 1);
}
END_TEST

/* ---- versions ---- */

START_TEST(a_tls12_hello_is_refused_where_the_minimum_is_higher_before_anybody_is_asked)
{
    struct tls_hello hello = {.tls12 = true};

    tls_end_done(&server);
    tls_server(&server, SP_TLS_1_3);
    send_name(&hello, (struct bytes)B("a.example"));
    ck_assert_int_eq(server.failures, 1);
    ck_assert_int_eq(server.owner.hellos, 0);
    ck_assert_int_eq(tls_end_clear_alert(&server), GNUTLS_A_PROTOCOL_VERSION);
}
END_TEST

/* SSL 2.0 format, offering 3.3: it has no place for a name. */
START_TEST(a_hello_in_ssl2_format_reaches_nobody)
{
    uint8_t hello[] = {0x80, 31, 1, 3, 3, 0, 6, 0, 0, 0, 16, 0, 0x13, 1, 0, 0xc0, 0x2b,
                       1,    2,  3, 4, 5, 6, 7, 8, 9, 1, 2,  3, 4,    5, 6, 7};

    tls_end_feed(&server, hello, sizeof hello);
    tls_end_fin(&server);
    ck_assert_int_eq(server.failures, 1);
    ck_assert_int_eq(server.opens, 0);
    ck_assert_int_eq(server.owner.hellos, 0);
    ck_assert(!sp_tls_may_begin(server.tls, hello[0])); /* conn does not even feed it */
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("tls_hello");
    TCase *t = tcase_create("tls_hello");

    tcase_set_timeout(t, 30);
    tcase_add_unchecked_fixture(t, tls_world_enter, tls_world_leave);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, case_and_a_trailing_dot_are_folded, 0, COUNT(good_names));
    tcase_add_loop_test(t, a_name_that_the_owner_does_not_know_is_unrecognized, 0, 2);
    tcase_add_loop_test(t, no_name_is_the_owners_to_decide, 0, 2);
    tcase_add_loop_test(t, what_is_no_name_is_refused_and_reaches_no_tenant, 0, COUNT(bad_names));
    tcase_add_test(t, the_longest_name_is_one);
    tcase_add_loop_test(t, a_broken_server_name_extension_is_refused_and_reaches_no_tenant, 0,
                        COUNT(broken_extensions));
    tcase_add_loop_test(t, a_second_hello_with_the_same_name_goes_on, 0, COUNT(same_names) / 2);
    tcase_add_loop_test(t, a_second_hello_with_another_name_is_refused, 0, COUNT(other_names) / 2);
    tcase_add_test(t, a_second_hello_with_no_name_is_refused);
    tcase_add_test(t, a_second_hello_with_a_second_name_is_refused);
    tcase_add_test(t, a_second_retry_is_not_granted);
    tcase_add_test(t, a_tls12_hello_is_refused_where_the_minimum_is_higher_before_anybody_is_asked);
    tcase_add_test(t, a_hello_in_ssl2_format_reaches_nobody);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *runner = srunner_create(suite());
    int failed;

    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
