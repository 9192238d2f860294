#include "common/text.h"

#include <check.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

/* What is escaped, and how, is tested where it matters most: in test_log.c. */
static const struct {
    const char *text;
    size_t buf_len;
    const char *quoted;
} quotes[] = {
    {"", 16, "\"\""},
    {"abc", 16, "\"abc\""},
    {"a\"b\n", 16, "\"a\\\"b\\n\""},
    {"0123456789abc", 16, "\"0123456789abc\""},  /* fits to the byte */
    {"0123456789abcd", 16, "\"0123456789...\""}, /* one too many */
    {"0123456789\001bcd", 16, "\"0123456789...\""},
    {"012345678\001", 16, "\"012345678...\""}, /* no half of an escape */
    {"01234567\xe2\x82\xac\xe2\x82\xac", 16, "\"01234567...\""},
    {"012\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac", 16,
     "\"012\xe2\x82\xac\xe2\x82\xac...\""},
    {"\xff\xff\xff\xff\xff\xff\xff", 24,
     "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
};

START_TEST(a_quoted_text_is_escaped_and_cut_between_characters)
{
    char buf[64];

    memset(buf, 0x55, sizeof buf);
    sp_text_quote(quotes[_i].text, strlen(quotes[_i].text), buf, quotes[_i].buf_len);
    ck_assert_str_eq(buf, quotes[_i].quoted);
    for (size_t i = quotes[_i].buf_len; i < sizeof buf; i++)
        ck_assert_int_eq(buf[i], 0x55);
}
END_TEST

START_TEST(every_fill_of_a_buffer_stays_inside_it)
{
    /* On the heap, so that a sanitizer sees each byte too many. */
    for (size_t buf_len = 16; buf_len < 40; buf_len++) {
        for (size_t len = 0; len < 48; len++) {
            for (size_t kind = 0; kind < 4; kind++) {
                char *buf = malloc(buf_len), *text = malloc(len + 1);

                memset(text, "x\"\001\xff"[kind], len);
                sp_text_quote(text, len, buf, buf_len);
                ck_assert_uint_lt(strlen(buf), buf_len);
                ck_assert_int_eq(buf[0], '"');
                ck_assert_int_eq(buf[strlen(buf) - 1], '"');
                free(buf);
                free(text);
            }
        }
    }
}
END_TEST

START_TEST(no_character_reads_behind_the_end)
{
    static const char *const cut[] = {"\xc3", "\xe2", "\xe2\x82", "\xf0", "\xf0\x9f\x98"};

    for (int i = 0; i < COUNT(cut); i++) {
        size_t len = strlen(cut[i]);
        char *exact = malloc(len);
        const char *pos = exact;
        char out[SP_TEXT_STEP];

        memcpy(exact, cut[i], len);
        while (pos < exact + len)
            ck_assert_uint_eq(sp_text_escape(&pos, exact + len, out), 3); /* U+FFFD */
        ck_assert_ptr_eq(pos, exact + len);
        free(exact);
    }
}
END_TEST

START_TEST(of_ascii_only_what_is_printable_stands_for_itself)
{
    for (int c = 0; c < 0x80; c++) {
        const char text[] = {(char)c};
        const char *pos = text;
        char out[SP_TEXT_STEP];
        size_t len = sp_text_escape(&pos, text + 1, out);

        ck_assert_ptr_eq(pos, text + 1);
        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\')
            ck_assert_msg(len == 1 && out[0] == c, "%#x", (unsigned)c);
        else
            ck_assert_msg(len > 1 && out[0] == '\\', "%#x", (unsigned)c);
    }
}
END_TEST

START_TEST(a_number_is_written_in_decimal_digits)
{
    static const uint64_t numbers[] = {
        0, 7, 9, 10, 99, 100, 65535, 4294967296, UINT64_MAX - 1, UINT64_MAX};

    for (int i = 0; i < COUNT(numbers); i++) {
        char wanted[32], found[SP_TEXT_DECIMAL];

        snprintf(wanted, sizeof wanted, "%" PRIu64, numbers[i]);
        ck_assert_uint_eq(sp_text_decimal(numbers[i], found), strlen(wanted));
        ck_assert_str_eq(found, wanted);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("text");
    TCase *tc = tcase_create("text");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tc);
    tcase_add_loop_test(tc, a_quoted_text_is_escaped_and_cut_between_characters, 0, COUNT(quotes));
    tcase_add_test(tc, every_fill_of_a_buffer_stays_inside_it);
    tcase_add_test(tc, no_character_reads_behind_the_end);
    tcase_add_test(tc, of_ascii_only_what_is_printable_stands_for_itself);
    tcase_add_test(tc, a_number_is_written_in_decimal_digits);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
