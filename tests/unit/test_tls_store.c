/* Which of a folder's certificates is meant, at a given time. */
#include "common/tls_store.h"

#include "certs/mint.h"
#include "common/tls_cred.h"
#include "tests/support/scratch.h"

#include <check.h>
#include <sys/stat.h>

#define NOW INT64_C(1800000000)
#define DAY 86400

static struct scratch *scratch;
static struct certs_pair *ca;
static char broken[2000], candidates[4000];

static void enter(void)
{
    const struct certs_spec spec = {.dn = "CN=Store CA", .ca = true, .path_len = -1};

    scratch = scratch_new();
    ck_assert_int_eq(certs_mint(&spec, NULL, &ca, NULL), SP_OK);
}

static void leave(void)
{
    certs_pair_free(ca);
    scratch_free(scratch);
}

static void put(const char *name, const char *dn, int64_t from, int64_t until)
{
    const struct certs_spec spec = {.dn = dn, .not_before = from, .not_after = until};
    struct certs_pair *pair = NULL;
    char file[64], path[400];
    char *pem, *key;

    ck_assert_int_eq(certs_mint(&spec, ca, &pair, NULL), SP_OK);
    pem = certs_pair_certificate_pem(pair);
    key = certs_pair_key_pem(pair);
    snprintf(file, sizeof file, "%s.pem", name);
    scratch_write(scratch, file, pem);
    snprintf(file, sizeof file, "%s.key", name);
    scratch_write(scratch, file, key);
    snprintf(path, sizeof path, "%s/%s", scratch->path, file);
    ck_assert_int_eq(chmod(path, 0600), 0);
    free(pem);
    certs_secret_free(key);
    certs_pair_free(pair);
}

static void note(char *list, size_t size, const char *path, const char *text)
{
    size_t used = strlen(list);

    snprintf(list + used, size - used, "%s: %s\n", strrchr(path, '/') + 1, text);
}

static void on_broken(void *ctx, const char *path, const char *text)
{
    (void)ctx;
    note(broken, sizeof broken, path, text);
}

static void on_candidate(void *ctx, const char *path, const char *text)
{
    (void)ctx;
    note(candidates, sizeof candidates, path, text);
}

/* The name of the file that was chosen; "": none, and err says why. */
static const char *choose(const char *subject, int64_t now, int64_t *ret_again,
                          struct sp_error *err)
{
    const struct sp_tls_store_query query = {
        .folder = scratch->path,
        .subject_contains = subject,
        .now = now,
        .on_broken = on_broken,
        .on_candidate = on_candidate,
    };
    static char name[64];
    struct sp_tls_store_choice choice;

    broken[0] = candidates[0] = name[0] = '\0';
    if (sp_tls_store_choose(&query, &choice, err) != SP_OK)
        return name;
    snprintf(name, sizeof name, "%s", strrchr(choice.path, '/') + 1);
    if (ret_again)
        *ret_again = choice.again_at;
    sp_tls_cred_unref(choice.cred);
    free(choice.path);
    return name;
}

/* The same three all the time: which one counts, and until when. */
static const struct {
    int64_t now;
    const char *name;
    int64_t again;
} moments[] = {
    {NOW - 5 * DAY, "", 0},
    {NOW - 3 * DAY, "a.pem", NOW - DAY},
    {NOW - DAY - 1, "a.pem", NOW - DAY},
    {NOW - DAY, "b.pem", NOW + DAY},
    {NOW, "b.pem", NOW + DAY},
    {NOW + DAY, "c.pem", NOW + 2 * DAY + 1},
    {NOW + 2 * DAY, "c.pem", NOW + 2 * DAY + 1},
    {NOW + 2 * DAY + 1, "b.pem", NOW + 5 * DAY + 1},
    {NOW + 9 * DAY, "", 0},
};

START_TEST(the_newest_valid_one_is_chosen_and_it_is_said_until_when)
{
    int64_t again = 0;
    struct sp_error err = {.text = ""};

    put("a", "CN=me", NOW - 4 * DAY, NOW + 4 * DAY);
    put("b", "CN=me", NOW - DAY, NOW + 5 * DAY);
    put("c", "CN=me", NOW + DAY, NOW + 2 * DAY);
    ck_assert_str_eq(choose("ME", moments[_i].now, &again, &err), moments[_i].name);
    if (moments[_i].name[0])
        ck_assert_int_eq(again, moments[_i].again);
    else
        ck_assert_ptr_nonnull(strstr(err.text, "3 certificates in it fit, none is valid now"));
}
END_TEST

START_TEST(of_two_issued_at_once_the_one_that_lasts_longer_counts_else_neither)
{
    struct sp_error err = {.text = ""};

    put("a", "CN=a", NOW - DAY, NOW + DAY);
    put("b", "CN=b", NOW - DAY, NOW + 2 * DAY);
    ck_assert_str_eq(choose(NULL, NOW, NULL, &err), "b.pem");
    put("c", "CN=c", NOW - DAY, NOW + 2 * DAY);
    ck_assert_str_eq(choose(NULL, NOW, NULL, &err), "");
    ck_assert_ptr_nonnull(strstr(err.text, "3 certificates in it fit, and none is the newest"));
    ck_assert_str_eq(choose("CN=c", NOW, NULL, &err), "c.pem");
    /* A copy of the very same one is no question. */
    ck_assert_int_eq(scratch_run(scratch, "cp -p b.pem d.pem && cp -p b.key d.key && rm c.*"), 0);
    ck_assert_str_eq(choose(NULL, NOW, NULL, &err), "b.pem");
}
END_TEST

START_TEST(a_long_list_is_cut_in_the_error_and_told_whole_beside_it)
{
    struct sp_error err = {.text = ""};
    char name[16], dn[32];

    for (int i = 0; i < 12; i++) {
        snprintf(name, sizeof name, "n%02d", i);
        snprintf(dn, sizeof dn, "CN=number %d", i);
        put(name, dn, NOW - 2 * DAY, NOW - DAY);
    }
    ck_assert_str_eq(choose(NULL, NOW, NULL, &err), "");
    ck_assert_str_eq(err.where, scratch->path);
    ck_assert_msg(strstr(err.text, "n00.pem: \"CN=number 0\", issued by \"CN=Store CA\", ") != NULL,
                  "%s", err.text);
    ck_assert_msg(strstr(err.text, " more (--check lists all)") != NULL, "%s", err.text);
    for (int i = 0; i < 12; i++) {
        snprintf(name, sizeof name, "n%02d.pem: ", i);
        ck_assert_ptr_nonnull(strstr(candidates, name));
    }
}
END_TEST

START_TEST(what_is_no_candidate_is_passed_over_or_named)
{
    char *pem = certs_pair_certificate_pem(ca);
    struct sp_error err = {.text = ""};

    put("good", "CN=good", NOW - DAY, NOW + DAY);
    scratch_write(scratch, "ca.crt", pem);
    scratch_write(scratch, "readme.txt", "hello\n");
    scratch_write(scratch, ".hidden.pem", "hello\n");
    ck_assert_str_eq(choose(NULL, NOW, NULL, &err), "good.pem");
    ck_assert_str_eq(broken, "");
    scratch_write(scratch, "junk.pem", "hello\n");
    scratch_write(scratch, "x.pem", pem);
    ck_assert_int_eq(scratch_run(scratch, "cp -p good.key x.key"), 0);
    ck_assert_int_eq(scratch_run(scratch, "mkdir folder.pem"), 0);
    ck_assert_str_eq(choose(NULL, NOW, NULL, &err), "good.pem");
    ck_assert_ptr_nonnull(strstr(broken, "junk.pem: no certificate in it"));
    ck_assert_ptr_nonnull(strstr(broken, "folder.pem: is not a regular file"));
    ck_assert_ptr_nonnull(strstr(broken, "the private key does not belong to the certificate"));
    ck_assert_int_eq(scratch_run(scratch, "rm good.*"), 0);
    ck_assert_str_eq(choose(NULL, NOW, NULL, &err), "");
    ck_assert_ptr_nonnull(strstr(err.text, "no certificate with its private key is in it"));
    ck_assert_ptr_nonnull(strstr(err.text, "what is there cannot be used"));
    free(pem);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tls_store");
    TCase *tcase = tcase_create("store");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, enter, leave);
    tcase_add_loop_test(tcase, the_newest_valid_one_is_chosen_and_it_is_said_until_when, 0,
                        sizeof moments / sizeof moments[0]);
    tcase_add_test(tcase, of_two_issued_at_once_the_one_that_lasts_longer_counts_else_neither);
    tcase_add_test(tcase, a_long_list_is_cut_in_the_error_and_told_whole_beside_it);
    tcase_add_test(tcase, what_is_no_candidate_is_passed_over_or_named);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
