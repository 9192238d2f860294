#include "common/log.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

static char dir[] = "/tmp/sallyport-test-log-XXXXXX";
static char path[64], other_path[64];

static void setup(void)
{
    memcpy(dir + sizeof dir - 7, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/a.log", dir);
    snprintf(other_path, sizeof other_path, "%s/b.log", dir);
}

static void teardown(void)
{
    unlink(path);
    unlink(other_path);
    rmdir(dir);
}

static struct sp_log *open_log(const char *file, enum sp_log_format format, enum sp_log_level level)
{
    struct sp_error err = {0};
    struct sp_log *log = NULL;

    ck_assert_msg(sp_log_open(file, format, level, &log, &err) == SP_OK, "%s", err.text);
    return log;
}

/* The whole file, NUL-terminated; the caller frees it. */
static char *contents(const char *file)
{
    FILE *in = fopen(file, "re");
    char *text = calloc(1, 8 << 20);
    size_t len;

    ck_assert_ptr_nonnull(in);
    len = fread(text, 1, (8 << 20) - 1, in);
    fclose(in);
    ck_assert_uint_eq(strlen(text), len); /* no NUL in a log */
    return text;
}

/* The one JSON line in the file, parsed. */
static json_t *one_object(const char *file)
{
    char *text = contents(file);
    size_t len = strlen(text);
    json_error_t error;
    json_t *object;

    ck_assert_uint_gt(len, 0);
    ck_assert_ptr_eq(strchr(text, '\n'), text + len - 1);
    object = json_loads(text, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    ck_assert_msg(object != NULL, "%s in: %s", error.text, text);
    free(text);
    return object;
}

static const char *str(json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

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

START_TEST(lines_lost_to_a_full_disk_are_counted_and_told)
{
    struct sp_log *log = open_log("/dev/full", SP_LOG_JSON, SP_LOG_INFO);
    char *text, *first_end;
    json_t *o;

    for (int i = 0; i < 5; i++)
        sp_log_message(log, SP_LOG_INFO, "e", "lost");
    ck_assert_int_eq(sp_log_reopen(log, path, SP_LOG_JSON, SP_LOG_INFO, NULL), SP_OK);
    sp_log_message(log, SP_LOG_INFO, "e", "first");
    sp_log_message(log, SP_LOG_INFO, "e", "second");
    sp_log_close(log);

    text = contents(path);
    first_end = strchr(text, '\n');
    ck_assert_ptr_nonnull(first_end);
    o = json_loadb(text, (size_t)(first_end - text), JSON_REJECT_DUPLICATES, NULL);
    ck_assert_ptr_nonnull(o);
    ck_assert_str_eq(str(o, "event"), "log_lost");
    ck_assert_str_eq(str(o, "level"), "warning");
    ck_assert_int_eq(json_integer_value(json_object_get(o, "lines")), 5);
    json_decref(o);
    ck_assert_ptr_null(strstr(first_end, "log_lost")); /* told once */
    ck_assert_ptr_nonnull(strstr(first_end, "first"));
    ck_assert_ptr_nonnull(strstr(first_end, "second"));
    free(text);
}
END_TEST

START_TEST(a_lost_line_at_the_very_end_is_told_when_the_log_closes)
{
    struct sp_log *log = open_log("/dev/full", SP_LOG_TEXT, SP_LOG_INFO);
    char *text;

    sp_log_message(log, SP_LOG_INFO, "e", "lost");
    ck_assert_int_eq(sp_log_reopen(log, path, SP_LOG_TEXT, SP_LOG_INFO, NULL), SP_OK);
    sp_log_close(log);
    text = contents(path);
    ck_assert_ptr_nonnull(strstr(text, " warning log_lost lines=1\n"));
    free(text);
}
END_TEST

START_TEST(a_line_torn_by_a_full_disk_does_not_spoil_the_next)
{
    /* A file size limit makes the kernel write a part, then nothing. */
    struct rlimit old, limit;
    struct sp_log *log = open_log(path, SP_LOG_JSON, SP_LOG_INFO);
    char *text, *line;
    int good = 0, bad = 0, lost = 0;

    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = old;
    limit.rlim_cur = 100; /* in the middle of the second line */
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (int i = 0; i < 3; i++) {
        sp_log_message(log, SP_LOG_INFO, "e", "line %d", i);
        if (_i || i == 2) /* each by itself, or all in one write */
            sp_log_flush(log);
    }
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    sp_log_message(log, SP_LOG_INFO, "e", "after");
    sp_log_close(log);

    text = contents(path);
    for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *o = json_loads(line, 0, NULL);

        if (o)
            good++;
        else
            bad++;
        if (o && !strcmp(str(o, "event"), "log_lost"))
            lost = (int)json_integer_value(json_object_get(o, "lines"));
        json_decref(o);
    }
    free(text);
    ck_assert_int_eq(bad, 1);
    ck_assert_int_eq(good, 3); /* the first, log_lost, the last */
    ck_assert_int_eq(lost, 2);
}
END_TEST

START_TEST(a_line_torn_in_one_file_leaves_no_trace_in_the_next)
{
    struct rlimit old, limit;
    struct sp_log *log = open_log(path, SP_LOG_JSON, SP_LOG_INFO);
    char *text;

    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = old;
    limit.rlim_cur = 50;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    sp_log_message(log, SP_LOG_INFO, "e", "torn");
    sp_log_flush(log);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    ck_assert_int_eq(sp_log_reopen(log, other_path, SP_LOG_JSON, SP_LOG_INFO, NULL), SP_OK);
    sp_log_message(log, SP_LOG_INFO, "e", "new");
    sp_log_close(log);
    text = contents(other_path);
    ck_assert_int_eq(text[0], '{'); /* and not a newline */
    free(text);
}
END_TEST

/* A log to a pipe, as stderr may be one; *ret_end is where it comes out. */
static struct sp_log *open_pipe(enum sp_log_format format, int *ret_end)
{
    int ends[2], saved = dup(STDERR_FILENO);
    struct sp_log *log;

    ck_assert_int_eq(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    log = open_log(NULL, format, SP_LOG_INFO);
    dup2(saved, STDERR_FILENO);
    close(saved);
    *ret_end = ends[0];
    return log;
}

static void say_much(struct sp_log *log, unsigned lines) /* of nearly a KiB each */
{
    char text[900];

    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    for (unsigned i = 0; i < lines; i++)
        sp_log_message(log, SP_LOG_INFO, "e", "%s", text);
}

START_TEST(a_closed_pipe_counts_as_lost)
{
    struct sp_log *log;
    char *text;
    int end;

    signal(SIGPIPE, SIG_IGN);
    log = open_pipe(SP_LOG_AUTO, &end);
    close(end);
    sp_log_message(log, SP_LOG_INFO, "e", "lost");
    sp_log_message(log, SP_LOG_INFO, "e", "lost");
    ck_assert_int_eq(sp_log_reopen(log, path, SP_LOG_AUTO, SP_LOG_INFO, NULL), SP_OK);
    sp_log_message(log, SP_LOG_INFO, "e", "kept");
    sp_log_close(log);
    text = contents(path);
    ck_assert_ptr_nonnull(strstr(text, "\"lines\":2}\n{\"ts\"")); /* auto: JSON when no terminal */
    free(text);
}
END_TEST

struct reader {
    int fd;
    unsigned lines, lost;
};

/* Counts the lines of a pipe until its end. */
static void *read_lines(void *arg)
{
    struct reader *r = arg;
    FILE *in = fdopen(r->fd, "r");
    char line[2048];

    while (fgets(line, sizeof line, in)) {
        json_t *o = json_loads(line, 0, NULL);

        ck_assert_ptr_nonnull(o); /* whole lines only */
        if (!strcmp(str(o, "event"), "log_lost"))
            r->lost += (unsigned)json_integer_value(json_object_get(o, "lines"));
        else
            r->lines++;
        json_decref(o);
    }
    fclose(in);
    return NULL;
}

START_TEST(a_sink_that_hangs_holds_nobody_up_and_what_is_lost_is_counted)
{
    const unsigned said = 10000; /* more than may wait */
    struct reader reader = {.lines = 0};
    struct sp_log *log = open_pipe(SP_LOG_JSON, &reader.fd);
    pthread_t thread;

    say_much(log, said); /* nobody reads: were it written here, it would never end */
    ck_assert_int_eq(pthread_create(&thread, NULL, read_lines, &reader), 0);
    sp_log_message(log, SP_LOG_INFO, "e", "last");
    sp_log_close(log);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(reader.lines + reader.lost, said + 1);
    ck_assert_uint_gt(reader.lost, said / 4);
    ck_assert_uint_gt(reader.lines, said / 4);
}
END_TEST

START_TEST(a_sink_that_hangs_for_good_does_not_keep_a_reopen_or_the_end)
{
    int end;
    struct sp_log *log = open_pipe(SP_LOG_JSON, &end);

    say_much(log, 200); /* more than a pipe has room for */
    if (_i)
        ck_assert_int_eq(sp_log_reopen(log, path, SP_LOG_JSON, SP_LOG_INFO, NULL), SP_OK);
    sp_log_close(log);
    close(end);
}
END_TEST

START_TEST(a_fifo_whose_reader_comes_late_loses_nothing)
{
    const unsigned said = 500; /* a pipe has room for 64 KiB */
    struct reader reader = {.lines = 0};
    struct sp_log *log;
    pthread_t thread;

    ck_assert_int_eq(mkfifo(path, 0600), 0);
    reader.fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ck_assert_int_ge(reader.fd, 0);
    fcntl(reader.fd, F_SETFL, 0);
    log = open_log(path, SP_LOG_JSON, SP_LOG_INFO);
    say_much(log, said);
    ck_assert_int_eq(pthread_create(&thread, NULL, read_lines, &reader), 0);
    sp_log_close(log);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(reader.lines, said);
}
END_TEST

START_TEST(a_flush_returns_when_all_is_in_the_file)
{
    struct sp_log *log = open_log(path, SP_LOG_JSON, SP_LOG_INFO);
    json_t *o;

    sp_log_flush(log); /* nothing to wait for */
    sp_log_message(log, SP_LOG_INFO, "e", "said");
    sp_log_flush(log);
    o = one_object(path);
    ck_assert_str_eq(str(o, "message"), "said");
    json_decref(o);
    sp_log_close(log);
}
END_TEST

START_TEST(what_was_said_before_a_reopen_is_in_the_old_file)
{
    struct sp_log *log = open_log(path, SP_LOG_JSON, SP_LOG_INFO);
    json_t *o;

    sp_log_message(log, SP_LOG_INFO, "e", "old");
    ck_assert_int_eq(sp_log_reopen(log, other_path, SP_LOG_JSON, SP_LOG_INFO, NULL), SP_OK);
    sp_log_message(log, SP_LOG_INFO, "e", "new");
    sp_log_close(log);
    o = one_object(path);
    ck_assert_str_eq(str(o, "message"), "old");
    json_decref(o);
    o = one_object(other_path);
    ck_assert_str_eq(str(o, "message"), "new");
    json_decref(o);
}
END_TEST

START_TEST(a_log_that_cannot_be_opened_says_why)
{
    char file[96];
    struct sp_error err = {0};
    struct sp_log *log = NULL;

    snprintf(file, sizeof file, "%s/absent/x.log", dir);
    ck_assert_int_eq(sp_log_open(file, SP_LOG_JSON, SP_LOG_INFO, &log, &err), SP_ERR_SYS);
    ck_assert_int_eq(err.code, ENOENT);
    ck_assert_msg(strstr(err.text, "absent/x.log\": No such file") != NULL, "%s", err.text);
    ck_assert_int_eq(sp_log_open(dir, SP_LOG_JSON, SP_LOG_INFO, &log, &err), SP_ERR_SYS);
    ck_assert_int_eq(err.code, EISDIR);
    ck_assert_ptr_null(log);

    /* A FIFO without a reader is refused, it does not hang. */
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    ck_assert_int_eq(sp_log_open(path, SP_LOG_JSON, SP_LOG_INFO, &log, &err), SP_ERR_SYS);
    ck_assert_int_eq(err.code, ENXIO);
}
END_TEST

START_TEST(a_new_log_file_is_not_for_others_and_an_old_one_is_continued)
{
    struct sp_log *log;
    struct stat st;
    mode_t old = umask(0);
    char *text;

    log = open_log(path, SP_LOG_JSON, SP_LOG_INFO);
    umask(old);
    sp_log_message(log, SP_LOG_INFO, "e", "one");
    sp_log_close(log);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0640);
    log = open_log(path, SP_LOG_JSON, SP_LOG_INFO);
    sp_log_message(log, SP_LOG_INFO, "e", "two");
    sp_log_close(log);
    text = contents(path);
    ck_assert_ptr_nonnull(strstr(text, "one"));
    ck_assert_ptr_nonnull(strstr(text, "two"));
    free(text);
}
END_TEST

START_TEST(a_reopen_follows_a_rotated_file_and_takes_the_new_settings)
{
    struct sp_log *log = open_log(path, SP_LOG_JSON, SP_LOG_INFO);
    char *text;

    sp_log_message(log, SP_LOG_INFO, "e", "old");
    ck_assert_int_eq(rename(path, other_path), 0);
    sp_log_message(log, SP_LOG_INFO, "e", "still old");
    ck_assert_int_eq(sp_log_reopen(log, path, SP_LOG_TEXT, SP_LOG_DEBUG, NULL), SP_OK);
    sp_log_message(log, SP_LOG_DEBUG, "e", "new");
    sp_log_close(log);
    text = contents(other_path);
    ck_assert_ptr_nonnull(strstr(text, "still old"));
    free(text);
    text = contents(path);
    ck_assert_ptr_null(strstr(text, "old"));
    ck_assert_ptr_nonnull(strstr(text, " debug e message=new\n"));
    free(text);
}
END_TEST

START_TEST(a_failed_reopen_leaves_the_old_sink)
{
    struct sp_log *log = open_log(path, SP_LOG_JSON, SP_LOG_INFO);
    struct sp_error err = {0};
    char *text;

    ck_assert_int_eq(sp_log_reopen(log, dir, SP_LOG_TEXT, SP_LOG_ERROR, &err), SP_ERR_SYS);
    ck_assert_int_eq(err.code, EISDIR);
    sp_log_message(log, SP_LOG_INFO, "e", "still here");
    sp_log_close(log);
    text = contents(path);
    ck_assert_ptr_nonnull(strstr(text, "\"message\":\"still here\"}\n"));
    free(text);
}
END_TEST

#define THREADS          4
#define LINES_PER_THREAD 2000

static void *write_lines(void *log)
{
    for (int i = 0; i < LINES_PER_THREAD; i++)
        sp_log_message(log, SP_LOG_INFO, "e", "%0300d", i);
    return NULL;
}

static int whole_lines(const char *file)
{
    char *text = contents(file);
    int count = 0;

    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        ck_assert_uint_eq(strlen(line), strlen("{\"ts\":\"2026-11-21T21:46:50.123Z\",\"level\":"
                                               "\"info\",\"event\":\"e\",\"message\":\"\"}") +
                                            300);
        count++;
    }
    free(text);
    return count;
}

START_TEST(threads_that_share_a_log_lose_no_line_while_it_is_reopened)
{
    struct sp_log *log = open_log(path, SP_LOG_JSON, SP_LOG_INFO);
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, write_lines, log), 0);
    for (int i = 0; i < 200; i++)
        ck_assert_int_eq(
            sp_log_reopen(log, i % 2 ? path : other_path, SP_LOG_JSON, SP_LOG_INFO, NULL), SP_OK);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    sp_log_close(log);
    ck_assert_int_eq(whole_lines(path) + whole_lines(other_path), THREADS * LINES_PER_THREAD);
}
END_TEST

START_TEST(a_log_holds_its_own_descriptor_and_gives_it_back)
{
    int before = dup(STDERR_FILENO), after;
    struct sp_log *log = open_log(NULL, SP_LOG_TEXT, SP_LOG_ERROR);

    close(before);
    ck_assert_int_eq(sp_log_reopen(log, path, SP_LOG_TEXT, SP_LOG_ERROR, NULL), SP_OK);
    ck_assert_int_eq(sp_log_reopen(log, NULL, SP_LOG_TEXT, SP_LOG_ERROR, NULL), SP_OK);
    sp_log_close(log);
    ck_assert_int_ne(fcntl(STDERR_FILENO, F_GETFD), -1);
    after = dup(STDERR_FILENO);
    ck_assert_int_eq(before, after);
    close(after);
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
    tcase_add_test(tc, lines_lost_to_a_full_disk_are_counted_and_told);
    tcase_add_test(tc, a_lost_line_at_the_very_end_is_told_when_the_log_closes);
    tcase_add_loop_test(tc, a_line_torn_by_a_full_disk_does_not_spoil_the_next, 0, 2);
    tcase_add_test(tc, a_line_torn_in_one_file_leaves_no_trace_in_the_next);
    tcase_add_test(tc, a_closed_pipe_counts_as_lost);
    tcase_add_test(tc, a_sink_that_hangs_holds_nobody_up_and_what_is_lost_is_counted);
    tcase_add_loop_test(tc, a_sink_that_hangs_for_good_does_not_keep_a_reopen_or_the_end, 0, 2);
    tcase_add_test(tc, a_fifo_whose_reader_comes_late_loses_nothing);
    tcase_add_test(tc, a_flush_returns_when_all_is_in_the_file);
    tcase_add_test(tc, what_was_said_before_a_reopen_is_in_the_old_file);
    tcase_add_test(tc, a_log_that_cannot_be_opened_says_why);
    tcase_add_test(tc, a_new_log_file_is_not_for_others_and_an_old_one_is_continued);
    tcase_add_test(tc, a_reopen_follows_a_rotated_file_and_takes_the_new_settings);
    tcase_add_test(tc, a_failed_reopen_leaves_the_old_sink);
    tcase_add_test(tc, threads_that_share_a_log_lose_no_line_while_it_is_reopened);
    tcase_add_test(tc, a_log_holds_its_own_descriptor_and_gives_it_back);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
