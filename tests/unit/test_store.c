#include "certs/store.h"
#include "tests/support/scratch.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static struct scratch *scratch;
static char lab[300]; /* the folder to write into; does not exist yet */

static void set_up(void)
{
    scratch = scratch_new();
    snprintf(lab, sizeof lab, "%s/lab", scratch->path);
}

static void tear_down(void)
{
    scratch_free(scratch);
}

static const struct certs_store_file three[] = {
    {"top.json", "{}\n", false},
    {"keys/a.key", "secret\n", true},
    {"keys/a.pem", "public\n", false},
};

/* One line "mode path" for everything below the scratch folder, sorted. */
static const char *listing(void)
{
    ck_assert_int_eq(scratch_run(scratch, "find . -mindepth 1 -printf '%%m %%P\\n' | sort -k2"), 0);
    return scratch->output;
}

START_TEST(files_and_folders_are_made_and_keys_are_private)
{
    umask(0); /* what the modes are must not hang on it */
    ck_assert_int_eq(certs_store_write(lab, three, 3, NULL), SP_OK);
    ck_assert_str_eq(listing(), "755 lab\n755 lab/keys\n600 lab/keys/a.key\n644 lab/keys/a.pem\n"
                                "644 lab/top.json\n");
    ck_assert_int_eq(scratch_run(scratch, "cat lab/top.json lab/keys/a.key lab/keys/a.pem"), 0);
    ck_assert_str_eq(scratch->output, "{}\nsecret\npublic\n");
}
END_TEST

START_TEST(a_folder_that_exists_is_used_and_what_is_in_it_stays)
{
    scratch_run(scratch, "mkdir -p lab/keys && echo mine > lab/keys/b.key");
    ck_assert_int_eq(certs_store_write(lab, three, 3, NULL), SP_OK);
    scratch_run(scratch, "cat lab/keys/b.key lab/keys/a.key");
    ck_assert_str_eq(scratch->output, "mine\nsecret\n");
}
END_TEST

/* What may stand where a file or a folder of ours should go. */
static const struct {
    const char *prepare; /* shell */
    enum sp_err kind;
    const char *where, *text;
} obstacles[] = {
    {"mkdir lab && echo mine > lab/top.json", SP_ERR_DENIED, "/lab/top.json", "exists already"},
    {"mkdir -p lab/keys && echo mine > lab/keys/a.pem", SP_ERR_DENIED, "/lab/keys/a.pem",
     "exists already"},
    {"mkdir -p lab/top.json", SP_ERR_DENIED, "/lab/top.json", "exists already"},
    {"mkdir lab && ln -s nowhere lab/top.json", SP_ERR_DENIED, "/lab/top.json", "exists already"},
    {"mkdir -p lab/keys && ln -s ../../elsewhere lab/keys/a.key", SP_ERR_DENIED, "/lab/keys/a.key",
     "exists already"},
    {"mkdir lab && echo mine > lab/keys", SP_ERR_SYS, "/lab/keys/a.key", "Not a directory"},
    {"mkdir lab elsewhere && ln -s ../elsewhere lab/keys", SP_ERR_SYS, "/lab/keys",
     "Not a directory"},
    {"echo mine > lab", SP_ERR_SYS, "/lab", "Not a directory"},
    {"ln -s nowhere/lab lab", SP_ERR_SYS, "/lab", "No such file or directory"},
};

START_TEST(what_is_in_the_way_is_named_and_nothing_is_written)
{
    struct sp_error err = {0};
    SP_AUTO_FREE char *before = NULL;
    char where[400];

    ck_assert_int_eq(scratch_run(scratch, "%s", obstacles[_i].prepare), 0);
    before = sp_strdup(listing());
    ck_assert_int_eq(certs_store_write(lab, three, 3, &err), obstacles[_i].kind);
    ck_assert_int_eq(err.kind, obstacles[_i].kind);
    snprintf(where, sizeof where, "%s%s", scratch->path, obstacles[_i].where);
    ck_assert_str_eq(err.where, where);
    ck_assert_msg(strstr(err.text, obstacles[_i].text), "%s", err.text);
    ck_assert_str_eq(listing(), before);
    scratch_run(scratch,
                "cat lab lab/top.json lab/keys lab/keys/a.pem 2> /dev/null | grep -v mine");
    ck_assert_str_eq(scratch->output, "");
}
END_TEST

START_TEST(a_missing_parent_folder_is_an_error)
{
    struct sp_error err = {0};
    char deep[400];

    snprintf(deep, sizeof deep, "%s/not/there", scratch->path);
    ck_assert_int_eq(certs_store_write(deep, three, 3, &err), SP_ERR_SYS);
    ck_assert_int_eq(err.code, ENOENT);
    ck_assert_str_eq(err.where, deep);
}
END_TEST

/* RLIMIT_FSIZE stops a write half-way exactly as a full disk does, and needs no root. */
static enum sp_err write_large(size_t limit, struct sp_error *err)
{
    struct rlimit old, small;
    char *large = sp_calloc(1, 100001);
    enum sp_err rc;

    memset(large, 'x', 100000);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = limit;
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    {
        struct certs_store_file files[] = {three[0], three[1], {"keys/large", large, true}};

        rc = certs_store_write(lab, files, 3, err);
    }
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    free(large);
    return rc;
}

START_TEST(a_full_disk_leaves_no_half_file_and_no_half_laboratory)
{
    struct sp_error err = {0};

    ck_assert_int_eq(write_large(50000, &err), SP_ERR_SYS);
    ck_assert_int_eq(err.code, EFBIG);
    ck_assert_msg(strstr(err.where, "/lab/keys/large"), "%s", err.where);
    ck_assert_msg(!strncmp(err.text, "write: ", 7), "%s", err.text);
    ck_assert_str_eq(listing(), "");
    ck_assert_int_eq(write_large(200000, &err), SP_OK);
    scratch_run(scratch, "wc -c < lab/keys/large");
    ck_assert_str_eq(scratch->output, "100000\n");
}
END_TEST

START_TEST(a_full_disk_takes_nothing_away_that_was_there)
{
    scratch_run(scratch, "mkdir -p lab/keys && echo mine > lab/keys/b.key");
    ck_assert_int_eq(write_large(50000, NULL), SP_ERR_SYS);
    ck_assert_str_eq(listing(), "755 lab\n755 lab/keys\n644 lab/keys/b.key\n");
}
END_TEST

START_TEST(a_folder_that_cannot_be_written_is_an_error_with_its_cause)
{
    struct sp_error err = {0};

    ck_assert_int_eq(certs_store_write("/proc/self", three, 3, &err), SP_ERR_SYS);
    ck_assert_str_eq(err.where, "/proc/self/top.json");
    ck_assert_msg(!strncmp(err.text, "create: ", 8), "%s", err.text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store");
    TCase *tcase = tcase_create("store");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, files_and_folders_are_made_and_keys_are_private);
    tcase_add_test(tcase, a_folder_that_exists_is_used_and_what_is_in_it_stays);
    tcase_add_loop_test(tcase, what_is_in_the_way_is_named_and_nothing_is_written, 0,
                        sizeof obstacles / sizeof obstacles[0]);
    tcase_add_test(tcase, a_missing_parent_folder_is_an_error);
    tcase_add_test(tcase, a_full_disk_leaves_no_half_file_and_no_half_laboratory);
    tcase_add_test(tcase, a_full_disk_takes_nothing_away_that_was_there);
    tcase_add_test(tcase, a_folder_that_cannot_be_written_is_an_error_with_its_cause);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
