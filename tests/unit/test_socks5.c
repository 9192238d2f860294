#include "common/socks5.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define T(s)     s, sizeof(s) - 1 /* with its NULs */
#define HELLO    "\x05\x01\x00"
#define HELLO_PW "\x05\x02\x00\x02"
#define LOGIN                                                                                      \
    "\x01\x05"                                                                                     \
    "alice"                                                                                        \
    "\x06secret"
#define TO_NAME                                                                                    \
    "\x05\x01\x00\x03\x0a"                                                                         \
    "db.example\x01\xbb"
#define NAME_63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

/* A whole conversation: what the client has sent when it ends, and what it was told. */
struct talk {
    enum sp_socks5_event last;
    uint8_t said[64];
    size_t said_len, used;
    struct sp_target target;
    enum sp_socks5_code code;
    char user[256], password[256];
    struct sp_error err;
};

/* Steps as far as the bytes lead. Exact copies on the heap: a sanitizer sees a byte too many. */
static void talk_on(struct talk *talk, struct sp_socks5 *socks, const uint8_t *data, size_t len)
{
    struct sp_socks5_result result;

    for (;;) {
        size_t left = len - talk->used;
        uint8_t *copy = malloc(left ? left : 1);

        if (left)
            memcpy(copy, data + talk->used, left);
        talk->last = sp_socks5_step(socks, copy, left, &result, &talk->err);
        talk->used += result.used;
        memcpy(talk->said + talk->said_len, result.reply, result.reply_len);
        talk->said_len += result.reply_len;
        talk->target = result.target;
        talk->code = result.code;
        if (talk->last == SP_SOCKS5_JUDGE) {
            memcpy(talk->user, result.user, result.user_len);
            memcpy(talk->password, result.password, result.password_len);
            talk->said_len += sp_socks5_admit(socks, true, talk->said + talk->said_len);
        } else if (talk->last == SP_SOCKS5_MORE) {
            ck_assert_uint_eq(result.used, 0);
        }
        free(copy);
        if (talk->last != SP_SOCKS5_GREETED && talk->last != SP_SOCKS5_JUDGE)
            return;
    }
}

static void talk_whole(struct talk *talk, const char *bytes, size_t len, bool wants_login)
{
    struct sp_socks5 socks;

    memset(talk, 0, sizeof *talk);
    sp_socks5_init(&socks, wants_login);
    talk_on(talk, &socks, (const uint8_t *)bytes, len);
}

static void talk_bytewise(struct talk *talk, const char *bytes, size_t len, bool wants_login)
{
    struct sp_socks5 socks;

    memset(talk, 0, sizeof *talk);
    sp_socks5_init(&socks, wants_login);
    for (size_t have = 0; have <= len; have++) {
        talk_on(talk, &socks, (const uint8_t *)bytes, have);
        if (talk->last != SP_SOCKS5_MORE)
            return;
    }
}

static const struct {
    const char *bytes;
    size_t len;
    bool wants_login;
    const char *target;
    const char *said;
    size_t said_len, behind; /* bytes that are the application's */
} good[] = {
    {T(HELLO TO_NAME), false, "db.example:443", T("\x05\x00"), 0},
    {T(HELLO TO_NAME "hello"), false, "db.example:443", T("\x05\x00"), 5},
    {T("\x05\x03\x01\x02\x00" TO_NAME), false, "db.example:443", T("\x05\x00"), 0},
    {T(HELLO "\x05\x01\x00\x03\x0b"
             "DB.Example.\x00\x01"),
     false, "db.example:1", T("\x05\x00"), 0},
    {T(HELLO "\x05\x01\x00\x01\xc0\x00\x02\x01\xff\xff"), false, "192.0.2.1:65535", T("\x05\x00"),
     0},
    {T(HELLO "\x05\x01\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50"), false,
     "[2001:db8::1]:80", T("\x05\x00"), 0},
    {T(HELLO "\x05\x01\x00\x03\x09"
             "192.0.2.1\x00\x50"),
     false, "192.0.2.1:80", T("\x05\x00"), 0},
    {T(HELLO "\x05\x01\x00\x03\x03"
             "::1\x00\x50"),
     false, "[::1]:80", T("\x05\x00"), 0},
    {T(HELLO_PW LOGIN TO_NAME), true, "db.example:443", T("\x05\x02\x01\x00"), 0},
    {T("\x05\x01\x02" LOGIN TO_NAME "x"), true, "db.example:443", T("\x05\x02\x01\x00"), 1},
};

START_TEST(a_good_conversation_gives_its_target_however_the_bytes_arrive)
{
    for (int bytewise = 0; bytewise < 2; bytewise++) {
        size_t len = good[_i].len - (bytewise ? good[_i].behind : 0);
        char text[SP_TARGET_TEXT];
        struct talk talk;

        if (bytewise)
            talk_bytewise(&talk, good[_i].bytes, len, good[_i].wants_login);
        else
            talk_whole(&talk, good[_i].bytes, len, good[_i].wants_login);
        ck_assert_int_eq(talk.last, SP_SOCKS5_CONNECT);
        ck_assert_str_eq(sp_target_format(&talk.target, text), good[_i].target);
        ck_assert_uint_eq(talk.used, good[_i].len - good[_i].behind);
        ck_assert_uint_eq(talk.said_len, good[_i].said_len);
        ck_assert_mem_eq(talk.said, good[_i].said, talk.said_len);
        if (good[_i].wants_login) {
            ck_assert_str_eq(talk.user, "alice");
            ck_assert_str_eq(talk.password, "secret");
        }
    }
}
END_TEST

START_TEST(every_beginning_of_a_good_conversation_asks_for_more)
{
    struct talk talk;

    for (size_t len = 0; len < good[_i].len - good[_i].behind; len++) {
        talk_whole(&talk, good[_i].bytes, len, good[_i].wants_login);
        ck_assert_int_eq(talk.last, SP_SOCKS5_MORE);
    }
}
END_TEST

static const struct {
    const char *bytes;
    size_t len;
    bool wants_login;
    const char *reply; /* the last word */
    size_t reply_len;
    const char *text; /* a part of it */
} bad[] = {
#define NO_METHOD T("\x05\xff")
#define NO_LOGIN  T("\x01\x01")
#define CODE(c)   T("\x05" c "\x00\x01\0\0\0\0\0\0")
    /* the greeting */
    {T("\x04\x01\x00\x50\xc0\x00\x02\x01user\0"), false, T("\x00\x5b\0\0\0\0\0\0"), "SOCKS4"},
    {T("\x00"), false, T(""), "not SOCKS5"},
    {T("\x06\x01\x00"), false, T(""), "not SOCKS5"},
    {T("GET / HTTP/1.1\r\n"), false, T(""), "not SOCKS5"},
    {T("\x16\x03\x01"), false, T(""), "not SOCKS5"},
    {T("\x05\x00"), false, NO_METHOD, "no logins"},
    {T("\x05\x01\x02"), false, NO_METHOD, "no logins"},
    {T("\x05\x01\xff"), false, NO_METHOD, "no logins"},
    {T("\x05\x01\x00"), true, NO_METHOD, "wants a user"},
    /* the login */
    {T("\x05\x01\x02\x05"), true, NO_LOGIN, "not of version 1"},
    {T("\x05\x01\x02\x00"), true, NO_LOGIN, "not of version 1"},
    {T("\x05\x01\x02\x01\x00"), true, NO_LOGIN, "without a user"},
    {T("\x05\x01\x02\x01\x01"
       "a\x00"),
     true, NO_LOGIN, "without a password"},
    {T("\x05\x01\x02" TO_NAME), true, NO_LOGIN, "not of version 1"}, /* it skipped the login */
    /* the request */
    {T(HELLO "\x04"), false, CODE("\x01"), "not of version 5"},
    {T(HELLO "\x05\x00"), false, CODE("\x07"), "does not know"},
    {T(HELLO "\x05\x02"), false, CODE("\x07"), "BIND"},
    {T(HELLO "\x05\x03\x00\x01\0\0\0\0\0\0"), false, CODE("\x07"), "UDP ASSOCIATE"},
    {T(HELLO "\x05\xf0"), false, CODE("\x07"), "does not know"},
    {T(HELLO "\x05\x01\x01"), false, CODE("\x01"), "reserved byte"},
    {T(HELLO "\x05\x01\x00\x00"), false, CODE("\x08"), "address type"},
    {T(HELLO "\x05\x01\x00\x02"), false, CODE("\x08"), "address type"},
    {T(HELLO "\x05\x01\x00\x05"), false, CODE("\x08"), "address type"},
    {T(HELLO "\x05\x01\x00\x03\x00"), false, CODE("\x01"), "without a name"},
    {T(HELLO "\x05\x01\x00\x03\x04"
             "a\0.b\x00\x50"),
     false, CODE("\x01"), "is no host name"},
    {T(HELLO "\x05\x01\x00\x03\x03"
             "a b\x00\x50"),
     false, CODE("\x01"), "is no host name"},
    {T(HELLO "\x05\x01\x00\x03\x03"
             "a\n.\x00\x50"),
     false, CODE("\x01"), "is no host name"},
    {T(HELLO "\x05\x01\x00\x03\x01"
             ".\x00\x50"),
     false, CODE("\x01"), "is no host name"},
    {T(HELLO "\x05\x01\x00\x03\x05"
             "127.1\x00\x50"),
     false, CODE("\x01"), "is no host name"},
    {T(HELLO "\x05\x01\x00\x03\x0a"
             "0x7f000001\x00\x50"),
     false, CODE("\x01"), "is no host name"},
    {T(HELLO "\x05\x01\x00\x03\x0c"
             "fe80::1%eth0\x00\x50"),
     false, CODE("\x01"), "is no host name"},
    {T(HELLO "\x05\x01\x00\x03\x05"
             "[::1]\x00\x50"),
     false, CODE("\x01"), "is no host name"},
    {T(HELLO "\x05\x01\x00\x03\x0d"
             "db.example:80\x00\x50"),
     false, CODE("\x01"), "is no host name"},
    {T(HELLO "\x05\x01\x00\x03\xfe" NAME_63 "." NAME_63 "." NAME_63
             ".aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\x00\x50"),
     false, CODE("\x01"), "is no host name"}, /* 254 bytes */
    {T(HELLO "\x05\x01\x00\x03\x0a"
             "db.example\x00\x00"),
     false, CODE("\x01"), "port 0"},
    {T(HELLO "\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x00"), false, CODE("\x01"), "port 0"},
};

START_TEST(a_bad_conversation_is_refused_in_the_words_that_the_client_waits_for)
{
    for (int bytewise = 0; bytewise < 2; bytewise++) {
        struct sp_socks5 socks;
        uint8_t reply[SP_SOCKS5_REPLY_MAX];
        struct talk talk;
        size_t len;

        memset(&talk, 0, sizeof talk);
        sp_socks5_init(&socks, bad[_i].wants_login);
        for (len = bytewise ? 1 : bad[_i].len; len <= bad[_i].len; len++) {
            talk_on(&talk, &socks, (const uint8_t *)bad[_i].bytes, len);
            if (talk.last != SP_SOCKS5_MORE)
                break;
        }
        ck_assert_int_eq(talk.last, SP_SOCKS5_WRONG);
        ck_assert_int_eq(talk.err.kind, SP_ERR_HTTP);
        ck_assert_msg(strstr(talk.err.text, bad[_i].text), "%s", talk.err.text);
        ck_assert_uint_eq(sp_socks5_reply(&socks, talk.code, reply), bad[_i].reply_len);
        ck_assert_mem_eq(reply, bad[_i].reply, bad[_i].reply_len);
        ck_assert_uint_eq(sp_socks5_reply(&socks, talk.code, reply), 0); /* said once */
    }
}
END_TEST

START_TEST(a_name_of_253_bytes_and_255_methods_are_good)
{
    uint8_t bytes[2 + 255 + 5 + 255 + 2] = {5, 255};
    struct talk talk;
    size_t at = 2 + 255;

    for (size_t i = 2; i < at; i++)
        bytes[i] = (uint8_t)(254 - (i - 2)); /* 0 is the last of them */
    memcpy(bytes + at, "\x05\x01\x00\x03\xfd", 5);
    at += 5;
    memset(bytes + at, 'a', 253);
    for (size_t i = 63; i < 253; i += 64)
        bytes[at + i] = '.';
    at += 253;
    bytes[at++] = 0;
    bytes[at++] = 80;
    talk_whole(&talk, (const char *)bytes, at, false);
    ck_assert_int_eq(talk.last, SP_SOCKS5_CONNECT);
    ck_assert_uint_eq(strlen(talk.target.host), 253);
    talk_whole(&talk, (const char *)bytes, 2 + 254, false);
    ck_assert_int_eq(talk.last, SP_SOCKS5_MORE);
}
END_TEST

START_TEST(the_longest_login_is_read_whole)
{
    uint8_t bytes[4 + SP_SOCKS5_MESSAGE_MAX] = {5, 1, 2, 1, 255};
    struct talk talk;

    memset(bytes + 5, 'u', 255);
    bytes[260] = 255;
    memset(bytes + 261, 'p', 255);
    talk_whole(&talk, (const char *)bytes, 261 + 255, true);
    ck_assert_uint_eq(talk.used, 261 + 255);
    ck_assert_uint_eq(strlen(talk.user), 255);
    ck_assert_uint_eq(strlen(talk.password), 255);
}
END_TEST

START_TEST(after_a_refused_login_nothing_is_read_any_more)
{
    struct sp_socks5 socks;
    struct sp_socks5_result result;
    struct sp_error err;
    uint8_t reply[SP_SOCKS5_REPLY_MAX];

    sp_socks5_init(&socks, true);
    ck_assert_int_eq(sp_socks5_step(&socks, (const uint8_t *)"\x05\x01\x02", 3, &result, &err),
                     SP_SOCKS5_GREETED);
    ck_assert_int_eq(
        sp_socks5_step(&socks, (const uint8_t *)LOGIN, sizeof LOGIN - 1, &result, &err),
        SP_SOCKS5_JUDGE);
    ck_assert_uint_eq(sp_socks5_admit(&socks, false, reply), 2);
    ck_assert_mem_eq(reply, "\x01\x01", 2);
    ck_assert_int_eq(
        sp_socks5_step(&socks, (const uint8_t *)TO_NAME, sizeof TO_NAME - 1, &result, &err),
        SP_SOCKS5_WRONG);
    ck_assert_uint_eq(sp_socks5_reply(&socks, SP_SOCKS5_FAILED, reply), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("socks5");
    TCase *tc = tcase_create("all");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_loop_test(tc, a_good_conversation_gives_its_target_however_the_bytes_arrive, 0,
                        sizeof good / sizeof good[0]);
    tcase_add_loop_test(tc, every_beginning_of_a_good_conversation_asks_for_more, 0,
                        sizeof good / sizeof good[0]);
    tcase_add_loop_test(tc, a_bad_conversation_is_refused_in_the_words_that_the_client_waits_for, 0,
                        sizeof bad / sizeof bad[0]);
    tcase_add_test(tc, a_name_of_253_bytes_and_255_methods_are_good);
    tcase_add_test(tc, the_longest_login_is_read_whole);
    tcase_add_test(tc, after_a_refused_login_nothing_is_read_any_more);
    suite_add_tcase(suite, tc);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
