#include "common/log_writer.h"

#include "tests/unit/log_file.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

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

int main(void)
{
    Suite *suite = suite_create("log_writer");
    TCase *tc = tcase_create("log_writer");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tc);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 30);
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
