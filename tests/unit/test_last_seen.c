#include "agent/last_seen.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/scratch.h"

#define NOW  1800000000
#define NAME "gw.example"

static const struct sp_facts first = {
    .subject = "CN=gw", .issuer = "CN=\"odd\\ \x01 \xc3\xa4", .fingerprint = "sha256:01"};
static const struct sp_facts second = {
    .subject = "CN=gw", .issuer = "CN=Other", .fingerprint = "sha256:02"};

static struct scratch *scratch;

static void enter(void)
{
    scratch = scratch_new();
    ck_assert_int_eq(chdir(scratch->path), 0);
}

static void leave(void)
{
    ck_assert_int_eq(chdir("/"), 0);
    scratch_free(scratch);
}

static void note(struct agent_last_seen *last, const struct sp_facts *facts, int64_t now)
{
    ck_assert_int_eq(agent_last_seen_note(last, ".", NAME, facts, now, NULL), SP_OK);
}

START_TEST(what_was_seen_is_known_after_a_restart)
{
    struct agent_last_seen last = {.seen = 0}, again;

    note(&last, &first, NOW);
    agent_last_seen_load(".", NAME, &again);
    ck_assert_str_eq(again.subject, first.subject);
    ck_assert_str_eq(again.issuer, first.issuer);
    ck_assert_str_eq(again.fingerprint, first.fingerprint);
    ck_assert_int_eq(again.seen, NOW);
}
END_TEST

START_TEST(another_gateways_is_not_taken)
{
    struct agent_last_seen last = {.seen = 0}, again;

    note(&last, &first, NOW);
    agent_last_seen_load(".", "other.example", &again);
    ck_assert_int_eq(again.seen, 0);
}
END_TEST

START_TEST(it_is_written_when_the_issuer_changes_or_once_an_hour)
{
    struct agent_last_seen last = {.seen = 0};

    note(&last, &first, NOW);
    ck_assert_int_eq(unlink("last-seen.json"), 0);
    note(&last, &first, NOW + 3599);
    ck_assert_int_ne(access("last-seen.json", F_OK), 0);
    ck_assert_int_eq(last.seen, NOW + 3599);
    note(&last, &first, NOW + 3600);
    ck_assert_int_eq(unlink("last-seen.json"), 0);
    note(&last, &second, NOW + 3601);
    ck_assert_int_eq(unlink("last-seen.json"), 0);
}
END_TEST

START_TEST(without_a_folder_it_is_kept_in_memory)
{
    struct agent_last_seen last = {.seen = 0};

    ck_assert_int_eq(agent_last_seen_note(&last, NULL, NAME, &first, NOW, NULL), SP_OK);
    ck_assert_int_eq(last.seen, NOW);
    ck_assert_int_ne(access("last-seen.json", F_OK), 0);
    agent_last_seen_load(NULL, NAME, &last);
    ck_assert_int_eq(last.seen, 0);
}
END_TEST

START_TEST(a_folder_that_cannot_be_written_is_an_error)
{
    struct agent_last_seen last = {.seen = 0};
    struct sp_error err;

    ck_assert_int_ne(agent_last_seen_note(&last, "./none", NAME, &first, NOW, &err), SP_OK);
    ck_assert_int_eq(last.seen, NOW);
}
END_TEST

/* Whatever is in the file, it is no more than text to be shown. */
START_TEST(a_damaged_file_is_as_good_as_none)
{
    struct agent_last_seen last = {.seen = 0};
    char whole[4096];
    size_t len;
    FILE *file;

    note(&last, &second, NOW);
    file = fopen("last-seen.json", "r");
    ck_assert_ptr_nonnull(file);
    len = fread(whole, 1, sizeof whole, file);
    fclose(file);
    for (size_t cut = 0; cut < len; cut++) {
        file = fopen("last-seen.json", "w");
        ck_assert_uint_eq(fwrite(whole, 1, cut, file), cut);
        fclose(file);
        agent_last_seen_load(".", NAME, &last);
        ck_assert_int_eq(last.seen, 0);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("last_seen");
    TCase *tc = tcase_create("all");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_checked_fixture(tc, enter, leave);
    tcase_add_test(tc, what_was_seen_is_known_after_a_restart);
    tcase_add_test(tc, another_gateways_is_not_taken);
    tcase_add_test(tc, it_is_written_when_the_issuer_changes_or_once_an_hour);
    tcase_add_test(tc, without_a_folder_it_is_kept_in_memory);
    tcase_add_test(tc, a_folder_that_cannot_be_written_is_an_error);
    tcase_add_test(tc, a_damaged_file_is_as_good_as_none);
    suite_add_tcase(suite, tc);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
