#include "common/error.h"

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

START_TEST(setting_an_error_clears_what_was_there_and_returns_the_kind)
{
    struct sp_error err;

    memset(&err, 0x55, sizeof err);
    ck_assert_int_eq(sp_error_set(&err, SP_ERR_DENIED, "no %s", "way"), SP_ERR_DENIED);
    ck_assert_int_eq(err.kind, SP_ERR_DENIED);
    ck_assert_int_eq(err.code, 0);
    ck_assert_uint_eq(err.line, 0);
    ck_assert_uint_eq(err.column, 0);
    ck_assert_str_eq(err.where, "");
    ck_assert_str_eq(err.text, "no way");
}
END_TEST

START_TEST(a_raw_cause_is_kept)
{
    struct sp_error err;

    ck_assert_int_eq(sp_error_code(&err, SP_ERR_TLS, -50, "handshake"), SP_ERR_TLS);
    ck_assert_int_eq(err.code, -50);
    ck_assert_str_eq(err.text, "handshake");
}
END_TEST

START_TEST(a_system_error_ends_with_its_meaning)
{
    struct sp_error err;

    ck_assert_int_eq(sp_error_sys(&err, ENOENT, "open %s", "x"), SP_ERR_SYS);
    ck_assert_int_eq(err.code, ENOENT);
    ck_assert_str_eq(err.text, "open x: No such file or directory");
}
END_TEST

START_TEST(a_prefix_stands_before_the_text_and_leaves_the_rest)
{
    struct sp_error err;

    sp_error_code(&err, SP_ERR_UV, -111, "refused");
    sp_error_where(&err, "peer %d", 1);
    sp_error_prefix(&err, "dial %s", "x");
    ck_assert_str_eq(err.text, "dial x: refused");
    ck_assert_str_eq(err.where, "peer 1");
    ck_assert_int_eq(err.code, -111);
}
END_TEST

START_TEST(a_message_shows_place_line_and_text)
{
    struct sp_error err;
    char buf[64];

    sp_error_set(&err, SP_ERR_JSON, "'}' expected");
    ck_assert_str_eq(sp_error_message(&err, buf, sizeof buf), "'}' expected");
    sp_error_where(&err, "gateway.json");
    ck_assert_str_eq(sp_error_message(&err, buf, sizeof buf), "gateway.json: '}' expected");
    err.line = 12;
    err.column = 7;
    ck_assert_str_eq(sp_error_message(&err, buf, sizeof buf), "gateway.json:12:7: '}' expected");
    ck_assert_str_eq(sp_error_message(&err, buf, 8), "gateway");
}
END_TEST

START_TEST(text_that_is_too_long_is_cut_not_overrun)
{
    struct sp_error err;
    char big[2000];

    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    sp_error_sys(&err, ENOENT, "%s", big);
    ck_assert_uint_eq(strlen(err.text), sizeof err.text - 1);
    sp_error_where(&err, "%s", big);
    ck_assert_uint_eq(strlen(err.where), sizeof err.where - 1);
    sp_error_set(&err, SP_ERR_SYS, "short");
    sp_error_prefix(&err, "%s", big);
    ck_assert_uint_eq(strlen(err.text), sizeof err.text - 1);
    sp_error_prefix(&err, "p");
    ck_assert_uint_eq(strlen(err.text), sizeof err.text - 1);
    ck_assert(!strncmp(err.text, "p: xxx", 6));
}
END_TEST

START_TEST(nobody_need_listen)
{
    ck_assert_int_eq(sp_error_set(NULL, SP_ERR_DNS, "x"), SP_ERR_DNS);
    ck_assert_int_eq(sp_error_code(NULL, SP_ERR_H2, 1, "x"), SP_ERR_H2);
    ck_assert_int_eq(sp_error_sys(NULL, EIO, "x"), SP_ERR_SYS);
    sp_error_where(NULL, "x");
    sp_error_prefix(NULL, "x");
}
END_TEST

START_TEST(a_broken_promise_aborts)
{
    SP_REQUIRE(_i != 0);
}
END_TEST

START_TEST(memory_for_small_things_is_zeroed)
{
    SP_AUTO_FREE uint64_t *numbers = sp_calloc(4, sizeof *numbers);
    SP_AUTO_FREE char *copy = sp_strdup("text");

    for (int i = 0; i < 4; i++)
        ck_assert_uint_eq(numbers[i], 0);
    ck_assert_str_eq(copy, "text");
}
END_TEST

/* Sanitizers would end the program before our own code can. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

START_TEST(memory_that_is_not_there_is_fatal)
{
    sp_free_ptr(&(void *){sp_calloc(SIZE_MAX / 4, 3)});
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("error");
    TCase *tc = tcase_create("error");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tc);
    tcase_add_test(tc, setting_an_error_clears_what_was_there_and_returns_the_kind);
    tcase_add_test(tc, a_raw_cause_is_kept);
    tcase_add_test(tc, a_system_error_ends_with_its_meaning);
    tcase_add_test(tc, a_prefix_stands_before_the_text_and_leaves_the_rest);
    tcase_add_test(tc, a_message_shows_place_line_and_text);
    tcase_add_test(tc, text_that_is_too_long_is_cut_not_overrun);
    tcase_add_test(tc, nobody_need_listen);
    tcase_add_test(tc, memory_for_small_things_is_zeroed);
    if (srunner_fork_status(runner) == CK_FORK) { /* these abort */
        tcase_add_loop_test_raise_signal(tc, a_broken_promise_aborts, SIGABRT, 0, 1);
        tcase_add_test_raise_signal(tc, memory_that_is_not_there_is_fatal, SIGABRT);
    }
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
