/* A folder is watched: what is told, and what is not yet. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/dir_watch.h"
#include "common/loop.h"

static char folder[64];
static struct sp_loop *loop;
static struct sp_dir_watch *watch;
static struct sp_timer *late;
static char told[256]; /* "a b"; "*": look at all of it */
static unsigned calls;

static void on_change(void *ctx, const char *const *names, size_t count)
{
    (void)ctx;
    calls++;
    if (!names)
        strcat(told, "*");
    for (size_t i = 0; i < count; i++) {
        if (told[0])
            strcat(told, " ");
        strcat(told, names[i]);
    }
    sp_loop_stop(loop);
}

static void on_late(void *ctx)
{
    (void)ctx;
    sp_loop_stop(loop);
}

static void enter(void)
{
    strcpy(folder, "/tmp/sallyport-watch-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
    ck_assert_int_eq(mkdir("d", 0755), 0);
    ck_assert_int_eq(sp_loop_new(&loop, NULL), SP_OK);
    late = sp_timer_new(loop, on_late, NULL);
    ck_assert_int_eq(sp_dir_watch_new(loop, "d", on_change, NULL, &watch, NULL), SP_OK);
    told[0] = '\0';
    calls = 0;
}

static void leave(void)
{
    sp_dir_watch_free(watch);
    sp_timer_free(late);
    sp_loop_free(loop);
    (void)unlink("d/a");
    (void)unlink("d/b");
    (void)unlink("a");
    (void)rmdir("d");
    ck_assert_int_eq(chdir("/"), 0);
    ck_assert_int_eq(rmdir(folder), 0);
}

static void run_for(unsigned at_most_ms)
{
    sp_timer_start(late, at_most_ms);
    sp_loop_run(loop);
    sp_timer_stop(late);
}

static int begin_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, "x", 1), 1);
    return fd;
}

START_TEST(a_file_is_told_when_its_writer_is_done)
{
    int fd = begin_file("d/a");

    run_for(100);
    ck_assert_uint_eq(calls, 0);
    close(fd);
    run_for(10000);
    ck_assert_str_eq(told, "a");
}
END_TEST

START_TEST(renamed_into_it_and_removed_are_told)
{
    close(begin_file("a"));
    ck_assert_int_eq(rename("a", "d/a"), 0);
    run_for(10000);
    ck_assert_str_eq(told, "a");
    told[0] = '\0';
    ck_assert_int_eq(unlink("d/a"), 0);
    run_for(10000);
    ck_assert_str_eq(told, "a");
}
END_TEST

START_TEST(changes_that_come_together_are_one_callback)
{
    close(begin_file("d/a"));
    close(begin_file("d/a"));
    close(begin_file("d/b"));
    run_for(10000);
    ck_assert_uint_eq(calls, 1);
    ck_assert_str_eq(told, "a b");
}
END_TEST

START_TEST(more_changes_than_can_be_told_are_a_look_at_everything)
{
    char path[32];

    for (unsigned i = 0; i <= SP_WATCH_NAMES; i++) {
        snprintf(path, sizeof path, "d/n%u", i);
        close(begin_file(path));
        ck_assert_int_eq(unlink(path), 0);
    }
    run_for(10000);
    ck_assert_str_eq(told, "*");
}
END_TEST

START_TEST(a_folder_that_goes_is_told_and_one_that_is_not_there_is_an_error)
{
    struct sp_dir_watch *other = NULL;
    struct sp_error err;

    ck_assert_int_eq(rmdir("d"), 0);
    run_for(10000);
    ck_assert_str_eq(told, "*");
    ck_assert_int_eq(sp_dir_watch_new(loop, "d", on_change, NULL, &other, &err), SP_ERR_SYS);
    ck_assert_ptr_nonnull(strstr(err.text, "d: cannot be watched"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("watch");
    TCase *tcase = tcase_create("watch");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, enter, leave);
    tcase_add_test(tcase, a_file_is_told_when_its_writer_is_done);
    tcase_add_test(tcase, renamed_into_it_and_removed_are_told);
    tcase_add_test(tcase, changes_that_come_together_are_one_callback);
    tcase_add_test(tcase, more_changes_than_can_be_told_are_a_look_at_everything);
    tcase_add_test(tcase, a_folder_that_goes_is_told_and_one_that_is_not_there_is_an_error);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
