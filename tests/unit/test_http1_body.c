#include "common/http1_body.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define T(s) s, sizeof(s) - 1 /* with its NULs */

/* Scans data that comes in pieces of `step`; the sum of what was body. */
static enum sp_err scan(struct sp_http1_body *body, const char *data, size_t len, size_t step,
                        size_t *ret_used, struct sp_error *err)
{
    enum sp_err rc = SP_OK;

    *ret_used = 0;
    for (size_t have = 0; rc == SP_OK && !body->done && have < len;) {
        size_t piece = len - have < step ? len - have : step, used;
        uint8_t *copy = malloc(piece); /* exact, for the sanitizer */

        memcpy(copy, data + have, piece);
        rc = sp_http1_body_scan(body, copy, piece, &used, err);
        free(copy);
        *ret_used += used;
        ck_assert(rc != SP_OK || body->done || used == piece);
        have += used;
    }
    return rc;
}

static const struct {
    enum sp_http1_framing framing;
    uint64_t length;
    const char *data;
    size_t len, used;
} whole[] = {
    {SP_HTTP1_NO_BODY, 0, T("GET /"), 0},
    {SP_HTTP1_LENGTH, 0, T("GET /"), 0},
    {SP_HTTP1_LENGTH, 5, T("helloGET /"), 5},
    {SP_HTTP1_CHUNKED, 0, T("0\r\n\r\nGET /"), 5},
    {SP_HTTP1_CHUNKED, 0, T("5\r\nhello\r\n0\r\n\r\nx"), 15},
    {SP_HTTP1_CHUNKED, 0, T("00005\r\nhello\r\n000\r\n\r\n"), 21},
    {SP_HTTP1_CHUNKED, 0,
     T("A\r\n0123456789\r\na\r\n0\r\n\r\n\r\n\0"
       "ab\r\n0\r\n\r\n"),
     35},
    {SP_HTTP1_CHUNKED, 0, T("5;a=b;c=\"d e\"\r\nhello\r\n0;x\r\n\r\n"), 29},
    {SP_HTTP1_CHUNKED, 0, T("0\r\nX-Sum: 5\r\nY:\r\n\r\nx"), 19},
};

START_TEST(a_body_ends_where_its_framing_says_however_it_arrives)
{
    for (size_t step = 1; step <= whole[_i].len; step++) {
        struct sp_http1_body body;
        struct sp_error err;
        size_t used;

        sp_http1_body_init(&body, whole[_i].framing, whole[_i].length);
        ck_assert_int_eq(scan(&body, whole[_i].data, whole[_i].len, step, &used, &err), SP_OK);
        ck_assert(body.done);
        ck_assert_uint_eq(used, whole[_i].used);
    }
}
END_TEST

START_TEST(every_beginning_of_a_body_is_good_and_not_the_end)
{
    for (size_t len = 0; len < whole[_i].used; len++) {
        struct sp_http1_body body;
        struct sp_error err;
        size_t used;

        sp_http1_body_init(&body, whole[_i].framing, whole[_i].length);
        ck_assert_int_eq(scan(&body, whole[_i].data, len, len ? len : 1, &used, &err), SP_OK);
        ck_assert(!body.done);
        ck_assert_uint_eq(used, len);
    }
}
END_TEST

static const struct {
    const char *data;
    size_t len, used;
} bad[] = {
    {T("\r\n"), 0},
    {T(" 5\r\nhello"), 0},
    {T("5 \r\nhello"), 1},
    {T("5\t;x\r\nhello"), 1},
    {T("0x5\r\nhello"), 1},
    {T("+5\r\nhello"), 0},
    {T("-5\r\nhello"), 0},
    {T("g\r\n"), 0},
    {T(";x\r\n"), 0},
    {T("5\nhello"), 1},
    {T("5\r hello"), 2},
    {T("5\r\nhelloX\r\n"), 8},
    {T("5\r\nhello\n"), 8},
    {T("5\r\nhello\rX"), 9},
    {T("5;a\nb\r\nhello"), 3},
    {T("5;a\0b\r\nhello"), 3},
    {T("5;a\rb\r\nhello"), 4},
    {T("1000000000000000\r\n"), 15},
    {T("0000000000000000\r\n"), 15},
    {T("0\r\n X: y\r\n\r\n"), 3},
    {T("0\r\nX : y\r\n\r\n"), 4},
    {T("0\r\n: y\r\n\r\n"), 3},
    {T("0\r\nX\r\n\r\n"), 4},
    {T("0\r\nX: y\n\r\n"), 7},
    {T("0\r\nX: y\0z\r\n\r\n"), 7},
    {T("0\r\nX: y\r\n z\r\n\r\n"), 9},
    {T("0\r\n\rx"), 4},
};

START_TEST(a_chunk_that_could_be_read_in_another_way_is_wrong_at_that_byte)
{
    for (size_t step = 1; step <= bad[_i].len; step++) {
        struct sp_http1_body body;
        struct sp_error err = {.text = ""};
        size_t used;

        sp_http1_body_init(&body, SP_HTTP1_CHUNKED, 0);
        ck_assert_int_eq(scan(&body, bad[_i].data, bad[_i].len, step, &used, &err), SP_ERR_HTTP);
        ck_assert_uint_eq(used, bad[_i].used);
        ck_assert(err.text[0]);
    }
}
END_TEST

START_TEST(a_body_until_the_close_never_ends_by_itself)
{
    struct sp_http1_body body;
    struct sp_error err;
    size_t used;

    sp_http1_body_init(&body, SP_HTTP1_UNTIL_CLOSE, 0);
    ck_assert_int_eq(scan(&body, T("0\r\n\r\n"), 1, &used, &err), SP_OK);
    ck_assert_uint_eq(used, 5);
    ck_assert(!body.done);
}
END_TEST

START_TEST(extensions_and_trailers_have_an_end)
{
    static const char *const starts[] = {"5;", "0\r\nX: "};
    char text[10000];

    for (size_t i = 0; i < 2; i++) {
        struct sp_http1_body body;
        struct sp_error err;
        size_t used;

        memset(text, 'x', sizeof text);
        memcpy(text, starts[i], strlen(starts[i]));
        sp_http1_body_init(&body, SP_HTTP1_CHUNKED, 0);
        ck_assert_int_eq(scan(&body, text, sizeof text, 100, &used, &err), SP_ERR_HTTP);
        ck_assert_uint_eq(used, i ? 8192 + 3 : 1024 + 2);
    }
}
END_TEST

START_TEST(a_length_of_many_gigabytes_is_counted_down)
{
    struct sp_http1_body body;
    static uint8_t piece[65536];
    size_t used;

    sp_http1_body_init(&body, SP_HTTP1_LENGTH, UINT64_C(1) << 40);
    ck_assert_int_eq(sp_http1_body_scan(&body, piece, sizeof piece, &used, NULL), SP_OK);
    ck_assert_uint_eq(used, sizeof piece);
    ck_assert(body.left == (UINT64_C(1) << 40) - sizeof piece && !body.done);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("http1_body");
    TCase *tc = tcase_create("all");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_loop_test(tc, a_body_ends_where_its_framing_says_however_it_arrives, 0,
                        sizeof whole / sizeof whole[0]);
    tcase_add_loop_test(tc, every_beginning_of_a_body_is_good_and_not_the_end, 0,
                        sizeof whole / sizeof whole[0]);
    tcase_add_loop_test(tc, a_chunk_that_could_be_read_in_another_way_is_wrong_at_that_byte, 0,
                        sizeof bad / sizeof bad[0]);
    tcase_add_test(tc, a_body_until_the_close_never_ends_by_itself);
    tcase_add_test(tc, extensions_and_trailers_have_an_end);
    tcase_add_test(tc, a_length_of_many_gigabytes_is_counted_down);
    suite_add_tcase(suite, tc);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
