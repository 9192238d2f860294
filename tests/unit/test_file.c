/* What tells that a file is still the one that was read. */
#include "common/file.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char folder[64];

static void enter(void)
{
    strcpy(folder, "/tmp/sallyport-file-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
}

static void leave(void)
{
    (void)unlink("a");
    (void)unlink("b");
    ck_assert_int_eq(chdir("/"), 0);
    ck_assert_int_eq(rmdir(folder), 0);
}

static void write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static uint64_t settled(const char *path)
{
    const struct timespec little = {.tv_nsec = 5000000};
    uint64_t stamp;

    while (!(stamp = sp_file_stamp(path)))
        nanosleep(&little, NULL);
    return stamp;
}

static void rewrite(void)
{
    write_text("a", "two"); /* as long as before */
}

static void replace(void)
{
    write_text("b", "one");
    ck_assert_int_eq(rename("b", "a"), 0);
}

static void rewrite_with_old_time(void)
{
    struct timespec times[2];
    struct stat st;

    ck_assert_int_eq(stat("a", &st), 0);
    times[0] = st.st_atim;
    times[1] = st.st_mtim;
    write_text("a", "two");
    ck_assert_int_eq(utimensat(AT_FDCWD, "a", times, 0), 0);
}

static void change_mode(void)
{
    ck_assert_int_eq(chmod("a", 0644), 0);
}

static void (*const changes[])(void) = {rewrite, replace, rewrite_with_old_time, change_mode};

START_TEST(a_stamp_stays_while_the_file_does_and_changes_with_it)
{
    uint64_t before;

    write_text("a", "one");
    ck_assert_uint_eq(sp_file_stamp("a"), 0); /* just written: it may be written once more */
    before = settled("a");
    ck_assert_uint_eq(settled("a"), before);
    changes[_i]();
    ck_assert_uint_eq(sp_file_stamp("a"), 0);
    ck_assert_uint_ne(settled("a"), before);
}
END_TEST

START_TEST(a_look_tells_what_can_be_told_without_reading)
{
    struct sp_file_look look;

    sp_file_look("a", &look);
    ck_assert_uint_eq(look.stamp, 0);
    ck_assert(!look.may_read);
    write_text("a", "");
    sp_file_look("a", &look);
    ck_assert(!look.may_read); /* there is nothing in it */
    write_text("a", "x");
    (void)settled("a");
    sp_file_look("a", &look);
    ck_assert(look.may_read);
    ck_assert_uint_eq(look.stamp, sp_file_stamp("a"));
    ck_assert_uint_eq(look.mode, 0600);
    ck_assert_uint_eq(look.owner, getuid());
    sp_file_look(".", &look);
    ck_assert(!look.may_read);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("file");
    TCase *tcase = tcase_create("file");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, enter, leave);
    tcase_add_loop_test(tcase, a_stamp_stays_while_the_file_does_and_changes_with_it, 0,
                        (int)(sizeof changes / sizeof changes[0]));
    tcase_add_test(tcase, a_look_tells_what_can_be_told_without_reading);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
