#include "tests/unit/log_file.h"

#include <check.h>

START_TEST(a_json_line_holds_every_field_with_its_type)
{
    struct sp_log *log = open_log(path, SP_LOG_JSON, SP_LOG_INFO);
    struct sp_log_line l;
    json_t *o, *items;

    ck_assert(sp_log_begin(&l, log, SP_LOG_WARNING, "channel"));
    sp_log_str(&l, "tenant", "c123456");
    sp_log_str(&l, "absent", NULL);
    sp_log_array_begin(&l, "observed_errors");
    sp_log_item(&l, "expired");
    sp_log_item(&l, "name_mismatch");
    sp_log_array_end(&l);
    sp_log_array_begin(&l, "none");
    sp_log_array_end(&l);
    sp_log_int(&l, "bytes", INT64_MIN);
    sp_log_bool(&l, "resumed", true);
    sp_log_strn(&l, "cut", "abcdef", 3);
    sp_log_end(&l);
    sp_log_close(log);

    o = one_object(path);
    ck_assert_uint_eq(json_object_size(o), 9);
    ck_assert_uint_eq(strlen(str(o, "ts")), strlen("2026-11-21T21:46:50.123Z"));
    ck_assert_str_eq(str(o, "level"), "warning");
    ck_assert_str_eq(str(o, "event"), "channel");
    ck_assert_str_eq(str(o, "tenant"), "c123456");
    items = json_object_get(o, "observed_errors");
    ck_assert_uint_eq(json_array_size(items), 2);
    ck_assert_str_eq(json_string_value(json_array_get(items, 1)), "name_mismatch");
    ck_assert_uint_eq(json_array_size(json_object_get(o, "none")), 0);
    ck_assert(json_integer_value(json_object_get(o, "bytes")) == INT64_MIN);
    ck_assert(json_is_true(json_object_get(o, "resumed")));
    ck_assert_str_eq(str(o, "cut"), "abc");
    json_decref(o);
}
END_TEST

START_TEST(a_text_line_quotes_values_only_when_they_need_it)
{
    struct sp_log *log = open_log(path, SP_LOG_TEXT, SP_LOG_INFO);
    struct sp_log_line l;
    char *text;

    ck_assert(sp_log_begin(&l, log, SP_LOG_INFO, "channel"));
    sp_log_str(&l, "tenant", "c123456");
    sp_log_int(&l, "bytes_up", 12);
    sp_log_str(&l, "to", "[::1]:443");
    sp_log_str(&l, "why", "two words");
    sp_log_str(&l, "empty", "");
    sp_log_str(&l, "fake", "a level=error");
    sp_log_str(&l, "sign", "a=b");
    sp_log_str(&l, "quote", "\"");
    sp_log_array_begin(&l, "list");
    sp_log_item(&l, "a");
    sp_log_item(&l, "b,c");
    sp_log_array_end(&l);
    sp_log_bool(&l, "ok", false);
    sp_log_end(&l);
    sp_log_close(log);

    text = contents(path);
    ck_assert_uint_gt(strlen(text), 12);
    ck_assert_int_eq(text[2], ':');
    ck_assert_int_eq(text[8], '.');
    ck_assert_str_eq(text + 12, " info  channel tenant=c123456 bytes_up=12 to=[::1]:443 "
                                "why=\"two words\" empty=\"\" fake=\"a level=error\" "
                                "sign=\"a=b\" quote=\"\\\"\" list=a,\"b,c\" ok=false\n");
    free(text);
}
END_TEST

/* What a peer may send, and how it stands in the log. */
static const struct {
    const char *value;
    size_t len;
    const char *escaped; /* inside the quotes */
} nasty[] = {
    {"a\nb", 3, "a\\nb"},
    {"a\r\n{\"level\":\"error\"}", 20, "a\\r\\n{\\\"level\\\":\\\"error\\\"}"},
    {"\t\"\\/", 4, "\\t\\\"\\\\/"},
    {"\033[2J\007", 5, "\\u001b[2J\\u0007"},
    {"a\0b", 3, "a\\u0000b"},
    {"\x7f", 1, "\\u007f"},
    {"\xc2\x9b"
     "31m",
     5, "\\u009b31m"}, /* C1: a terminal's one-byte CSI */
    {"\xe2\x80\xae"
     "gpj",
     6, "\\u202egpj"},              /* right-to-left override */
    {"\xe2\x80\xa8", 3, "\\u2028"}, /* line separator */
    {"\xe2\x81\xa6", 3, "\\u2066"},
    {"\xef\xbb\xbf", 3, "\\ufeff"},
    {"Z\xc3\xbcrich \xe2\x82\xac \xf0\x9f\x98\x80", 16,
     "Z\xc3\xbcrich \xe2\x82\xac \xf0\x9f\x98\x80"},
    {"\xff\xfe", 2, "\xef\xbf\xbd\xef\xbf\xbd"},
    {"\x80", 1, "\xef\xbf\xbd"},
    {"\xc3", 1, "\xef\xbf\xbd"}, /* cut off */
    {"\xc3(", 2, "\xef\xbf\xbd("},
    {"\xe2\x82", 2, "\xef\xbf\xbd\xef\xbf\xbd"},
    {"\xe2\x82\"", 3, "\xef\xbf\xbd\xef\xbf\xbd\\\""}, /* does not swallow the quote */
    {"\xf0\x9f\x98\n", 4, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\\n"},
    {"\xc0\xaf", 2, "\xef\xbf\xbd\xef\xbf\xbd"}, /* overlong */
    {"\xe0\x80\xaf", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    {"\xf0\x80\x80\xaf", 4, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    {"\xed\xa0\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},                 /* surrogate */
    {"\xf4\x90\x80\x80", 4, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* > U+10FFFF */
    {"\xf4\x8f\xbf\xbf", 4, "\xf4\x8f\xbf\xbf"},
    {"\xf8\x88\x80\x80\x80", 5, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
};

START_TEST(nothing_a_peer_sent_can_break_a_line)
{
    enum sp_log_format format = _i % 2 ? SP_LOG_TEXT : SP_LOG_JSON;
    struct sp_log *log = open_log(path, format, SP_LOG_INFO);
    struct sp_log_line l;
    char expected[128], *text;

    ck_assert(sp_log_begin(&l, log, SP_LOG_INFO, "e"));
    sp_log_strn(&l, "k", nasty[_i / 2].value, nasty[_i / 2].len);
    sp_log_int(&l, "after", 1);
    sp_log_end(&l);
    sp_log_close(log);

    text = contents(path);
    if (format == SP_LOG_JSON)
        snprintf(expected, sizeof expected, ",\"k\":\"%s\",\"after\":1}\n", nasty[_i / 2].escaped);
    else
        snprintf(expected, sizeof expected, " k=\"%s\" after=1\n", nasty[_i / 2].escaped);
    ck_assert_msg(strstr(text, expected) != NULL, "%s wanted in %s", expected, text);
    free(text);
    if (format == SP_LOG_JSON)
        json_decref(one_object(path));
}
END_TEST

START_TEST(a_line_cut_at_its_maximum_is_valid_json_of_whole_fields)
{
    /* Every fill near the limit, with a value of one byte, of two (escaped) and of six. */
    static const char *const fillers[] = {"x", "\"", "\001"};
    static char filler[SP_LOG_LINE_MAX + 100];
    size_t cost = (size_t[]){1, 2, 6}[_i];
    size_t from = (SP_LOG_LINE_MAX - 400) / cost;

    for (size_t fill = from; fill < from + 420 / cost; fill++) {
        struct sp_log *log = open_log(path, SP_LOG_JSON, SP_LOG_INFO);
        struct sp_log_line l;
        json_t *o, *list;

        ck_assert_int_eq(truncate(path, 0), 0);
        memset(filler, fillers[_i][0], fill);
        ck_assert(sp_log_begin(&l, log, SP_LOG_INFO, "e"));
        sp_log_strn(&l, "filler", filler, fill);
        sp_log_str(&l, "next", "0123456789");
        sp_log_array_begin(&l, "list");
        for (int i = 0; i < 20; i++)
            sp_log_item(&l, "item");
        sp_log_array_end(&l);
        sp_log_array_begin(&l, "another");
        sp_log_item(&l, "item");
        sp_log_array_end(&l);
        sp_log_int(&l, "last", 7);
        ck_assert_uint_le(l.len, sizeof l.text);
        sp_log_end(&l);
        ck_assert_uint_le(l.len, sizeof l.text);
        sp_log_close(log);

        o = one_object(path);
        list = json_object_get(o, "list");
        if (str(o, "filler"))
            ck_assert_uint_eq(strlen(str(o, "filler")), fill);
        if (json_array_size(list) < 20)
            ck_assert(json_is_true(json_object_get(o, "truncated")));
        if (!json_object_get(o, "truncated"))
            ck_assert_uint_eq(json_object_size(o), 8);
        for (size_t i = 0; i < json_array_size(list); i++)
            ck_assert_str_eq(json_string_value(json_array_get(list, i)), "item");
        json_decref(o);
    }
}
END_TEST

START_TEST(only_the_field_that_does_not_fit_is_dropped)
{
    static char big[SP_LOG_LINE_MAX + 100];
    struct sp_log *log = open_log(path, _i ? SP_LOG_TEXT : SP_LOG_JSON, SP_LOG_INFO);
    struct sp_log_line l;
    char *text;

    memset(big, 'x', sizeof big - 1);
    ck_assert(sp_log_begin(&l, log, SP_LOG_INFO, "e"));
    sp_log_str(&l, "before", "1");
    sp_log_str(&l, "big", big);
    sp_log_array_begin(&l, big);
    sp_log_item(&l, "unseen");
    sp_log_array_end(&l);
    sp_log_str(&l, "after", "2");
    sp_log_end(&l);
    sp_log_close(log);
    text = contents(path);
    ck_assert_msg(strstr(text, _i ? " e before=1 after=2 truncated=true\n"
                                  : ",\"before\":\"1\",\"after\":\"2\",\"truncated\":true}\n"),
                  "%s", text);
    free(text);
}
END_TEST

START_TEST(a_line_left_inside_an_array_is_closed)
{
    struct sp_log *log = open_log(path, SP_LOG_JSON, SP_LOG_INFO);
    struct sp_log_line l;

    ck_assert(sp_log_begin(&l, log, SP_LOG_INFO, "e"));
    sp_log_array_begin(&l, "list");
    sp_log_item(&l, "item");
    sp_log_end(&l);
    sp_log_close(log);
    json_decref(one_object(path));
}
END_TEST

START_TEST(objects_nest_in_json_and_prefix_in_text)
{
    struct sp_log *log = open_log(path, _i ? SP_LOG_TEXT : SP_LOG_JSON, SP_LOG_INFO);
    struct sp_log_line l;
    char *text;

    ck_assert(sp_log_begin(&l, log, SP_LOG_INFO, "e"));
    sp_log_object_begin(&l, "outer");
    sp_log_object_begin(&l, "inner");
    sp_log_str(&l, "a", "1");
    sp_log_array_begin(&l, "list");
    sp_log_item(&l, "x");
    sp_log_array_end(&l);
    sp_log_object_end(&l);
    sp_log_int(&l, "b", 2);
    sp_log_object_begin(&l, "other");
    sp_log_object_end(&l);
    sp_log_object_end(&l);
    sp_log_int(&l, "c", 3);
    sp_log_object_begin(&l, "left");
    sp_log_object_begin(&l, "open");
    sp_log_int(&l, "d", 4);
    sp_log_end(&l);
    sp_log_close(log);
    text = contents(path);
    ck_assert_msg(
        strstr(text, _i ? " e outer.inner.a=1 outer.inner.list=x outer.b=2 c=3 left.open.d=4\n"
                        : "\"outer\":{\"inner\":{\"a\":\"1\",\"list\":[\"x\"]},\"b\":2,"
                          "\"other\":{}},\"c\":3,\"left\":{\"open\":{\"d\":4}}}\n"),
        "%s", text);
    free(text);
}
END_TEST

/* Whatever the length of what is before it. */
START_TEST(an_object_that_does_not_fit_leaves_no_trace)
{
    static char fill[SP_LOG_LINE_MAX];

    for (size_t len = SP_LOG_LINE_MAX - 400; len < SP_LOG_LINE_MAX; len++) {
        struct sp_log *log = open_log(path, SP_LOG_JSON, SP_LOG_INFO);
        struct sp_log_line l;
        json_t *o;

        ck_assert_int_eq(truncate(path, 0), 0);
        memset(fill, 'x', len);
        fill[len] = '\0';
        ck_assert(sp_log_begin(&l, log, SP_LOG_INFO, "e"));
        sp_log_str(&l, "fill", fill);
        for (int i = 0; i < SP_LOG_OBJECTS_MAX; i++)
            sp_log_object_begin(&l, "object_of_ours");
        sp_log_str(&l, "inside", "value");
        for (int i = 0; i < SP_LOG_OBJECTS_MAX; i++)
            sp_log_object_end(&l);
        sp_log_int(&l, "z", 1);
        sp_log_end(&l);
        sp_log_close(log);
        o = one_object(path);
        ck_assert(json_object_get(o, "z") || json_is_true(json_object_get(o, "truncated")));
        ck_assert_ptr_null(json_object_get(o, "inside"));
        json_decref(o);
    }
}
END_TEST

START_TEST(a_level_that_is_not_wanted_writes_nothing)
{
    struct sp_log *log = open_log(path, SP_LOG_JSON, SP_LOG_WARNING);
    struct sp_log_line l;
    char *text;

    ck_assert(sp_log_wants(log, SP_LOG_ERROR));
    ck_assert(sp_log_wants(log, SP_LOG_WARNING));
    ck_assert(!sp_log_wants(log, SP_LOG_INFO));
    ck_assert(!sp_log_wants(NULL, SP_LOG_ERROR));
    ck_assert(!sp_log_begin(&l, log, SP_LOG_INFO, "e"));
    ck_assert(!sp_log_begin(&l, NULL, SP_LOG_ERROR, "e"));
    sp_log_message(log, SP_LOG_DEBUG, "e", "unseen");
    sp_log_message(NULL, SP_LOG_ERROR, "e", "unseen");
    sp_log_message(log, SP_LOG_ERROR, "e", "seen %d", 1);
    sp_log_close(log);
    sp_log_close(NULL);
    text = contents(path);
    ck_assert_ptr_null(strstr(text, "unseen"));
    ck_assert_ptr_nonnull(strstr(text, "\"message\":\"seen 1\"}\n"));
    free(text);
}
END_TEST

START_TEST(a_long_message_is_cut_not_dropped)
{
    static char big[4000];
    struct sp_log *log = open_log(path, SP_LOG_JSON, SP_LOG_INFO);
    json_t *o;

    memset(big, 1, sizeof big - 1); /* each byte becomes six */
    sp_log_message(log, SP_LOG_INFO, "e", "%s", big);
    sp_log_close(log);
    o = one_object(path);
    ck_assert_uint_eq(strlen(str(o, "message")), 1023);
    ck_assert(json_is_true(json_object_get(o, "truncated")));
    json_decref(o);
}
END_TEST

START_TEST(the_same_fields_can_be_had_as_text_without_a_log)
{
    struct sp_log_line line;
    char many[6000];

    sp_log_text_begin(&line);
    sp_log_str(&line, "a", "x\"y");
    sp_log_array_begin(&line, "b");
    sp_log_item(&line, "c");
    sp_log_array_end(&line);
    ck_assert_str_eq(sp_log_text_end(&line), "{\"a\":\"x\\\"y\",\"b\":[\"c\"]}");
    sp_log_text_begin(&line);
    ck_assert_str_eq(sp_log_text_end(&line), "{}");
    memset(many, 'm', sizeof many);
    sp_log_text_begin(&line);
    sp_log_strn(&line, "a", many, sizeof many);
    sp_log_strn(&line, "b", many, sizeof many);
    ck_assert_ptr_nonnull(strstr(sp_log_text_end(&line), "\"truncated\":true}"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log");
    TCase *tc = tcase_create("log");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tc);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, a_json_line_holds_every_field_with_its_type);
    tcase_add_test(tc, a_text_line_quotes_values_only_when_they_need_it);
    tcase_add_loop_test(tc, nothing_a_peer_sent_can_break_a_line, 0, COUNT(nasty) * 2);
    tcase_add_loop_test(tc, a_line_cut_at_its_maximum_is_valid_json_of_whole_fields, 0, 3);
    tcase_add_loop_test(tc, only_the_field_that_does_not_fit_is_dropped, 0, 2);
    tcase_add_test(tc, a_line_left_inside_an_array_is_closed);
    tcase_add_loop_test(tc, objects_nest_in_json_and_prefix_in_text, 0, 2);
    tcase_add_test(tc, an_object_that_does_not_fit_leaves_no_trace);
    tcase_add_test(tc, the_same_fields_can_be_had_as_text_without_a_log);
    tcase_add_test(tc, a_level_that_is_not_wanted_writes_nothing);
    tcase_add_test(tc, a_long_message_is_cut_not_dropped);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
