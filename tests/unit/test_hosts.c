#include "agent/hosts.h"

#include <check.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[64];

static void write_file(const char *text)
{
    FILE *out = fopen(path, "w");

    ck_assert_ptr_nonnull(out);
    fputs(text, out);
    fclose(out);
}

static void make_path(void)
{
    snprintf(path, sizeof path, "/tmp/sallyport-hosts-%d", (int)getpid());
}

static void remove_file(void)
{
    unlink(path);
}

static const struct {
    const char *name;
    bool is_there;
} names[] = {
    {"localhost", true},  {"db.example", true}, {"db", true},         {"v6.example", true},
    {"last", true},       {"cr", true},         {"commented", false}, {"behind", false},
    {"127.0.0.1", false}, {"alone", true},      {"bad*name", false},  {"", false},
};

START_TEST(every_name_of_a_line_counts_and_no_comment)
{
    struct agent_hosts *hosts = agent_hosts_new(path);

    write_file("127.0.0.1 localhost\n"
               "# 192.0.2.1 commented\n"
               "\n"
               "   192.0.2.2\tDB.Example.  db # behind\n"
               "2001:db8::1 v6.example\r\n"
               "192.0.2.3\n"
               "192.0.2.4 bad*name alone\n"
               "192.0.2.5 cr\r\n"
               "192.0.2.6 last");
    agent_hosts_refresh(hosts);
    ck_assert_int_eq(agent_hosts_has(hosts, names[_i].name), names[_i].is_there);
    agent_hosts_free(hosts);
}
END_TEST

START_TEST(a_file_that_changes_comes_or_goes_is_read_again)
{
    struct agent_hosts *hosts = agent_hosts_new(path);

    agent_hosts_refresh(hosts);
    ck_assert(!agent_hosts_has(hosts, "a.example"));
    write_file("192.0.2.1 a.example\n");
    agent_hosts_refresh(hosts);
    ck_assert(agent_hosts_has(hosts, "a.example"));
    write_file("192.0.2.1 b.example\n"); /* of the same length */
    agent_hosts_refresh(hosts);
    ck_assert(!agent_hosts_has(hosts, "a.example"));
    ck_assert(agent_hosts_has(hosts, "b.example"));
    agent_hosts_refresh(hosts);
    ck_assert(agent_hosts_has(hosts, "b.example"));
    unlink(path);
    agent_hosts_refresh(hosts);
    ck_assert(!agent_hosts_has(hosts, "b.example"));
    agent_hosts_free(hosts);
}
END_TEST

int main(void)
{
    SRunner *runner;
    TCase *tcase = tcase_create("hosts");
    Suite *suite = suite_create("hosts");
    int failed;

    tcase_add_checked_fixture(tcase, make_path, remove_file);
    tcase_add_loop_test(tcase, every_name_of_a_line_counts_and_no_comment, 0,
                        sizeof names / sizeof names[0]);
    tcase_add_test(tcase, a_file_that_changes_comes_or_goes_is_read_again);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
