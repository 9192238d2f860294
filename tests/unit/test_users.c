#include "agent/users.h"

#include <check.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/scene.h"

static enum sp_err load(const char *text, size_t len, unsigned mode, struct agent_users **users,
                        struct sp_error *err)
{
    FILE *out = fopen("users", "w");

    ck_assert_ptr_nonnull(out);
    ck_assert_uint_eq(fwrite(text, 1, len, out), len);
    fclose(out);
    ck_assert_int_eq(chmod("users", mode), 0);
    *users = NULL;
    return agent_users_load("users", users, err);
}

static bool know(const struct agent_users *users, const char *user, const char *password)
{
    return agent_users_know(users, (const uint8_t *)user, strlen(user), (const uint8_t *)password,
                            strlen(password));
}

START_TEST(a_user_is_known_by_its_own_password_alone)
{
    static const char text[] = "# who\n\nalice:secret\r\nbob:se:cr et\nlast:one";
    struct agent_users *users;
    struct sp_error err;

    ck_assert_int_eq(load(text, sizeof text - 1, 0600, &users, &err), SP_OK);
    ck_assert(know(users, "alice", "secret"));
    ck_assert(know(users, "bob", "se:cr et"));
    ck_assert(know(users, "last", "one"));
    ck_assert(!know(users, "alice", "se:cr et"));
    ck_assert(!know(users, "alice", "secre"));
    ck_assert(!know(users, "alice", "secret\r"));
    ck_assert(!know(users, "alic", "secret"));
    ck_assert(!know(users, "Alice", "secret"));
    ck_assert(!know(users, "alice", ""));
    ck_assert(!know(users, "", ""));
    ck_assert(!know(users, "# who", ""));
    ck_assert(
        !agent_users_know(users, (const uint8_t *)"alice\0", 6, (const uint8_t *)"secret", 6));
    agent_users_free(users);
}
END_TEST

#define T(s) s, sizeof(s) - 1

static const struct {
    const char *text;
    size_t len;
    unsigned mode;
    const char *says;
} bad[] = {
    {T("alice:secret\n"), 0644, "can be read by others: the mode is 0644"},
    {T("alice:secret\n"), 0640, "can be read by others"},
    {T("alice:secret\n"), 0604, "can be read by others"},
    {T(""), 0600, "no user in it"},
    {T("# nobody\n"), 0600, "no user in it"},
    {T("alice\n"), 0600, "line 1 is not user:password"},
    {T("alice:secret\n:secret\n"), 0600, "line 2 is not user:password"},
    {T("alice:\n"), 0600, "line 1 is not user:password"},
    {T("alice:a\nbob:b\nalice:c\n"), 0600, "line 3 names a user a second time"},
    {T("al\0ice:secret\n"), 0600, "line 1 has a NUL"},
};

START_TEST(a_bad_file_is_an_error_that_never_shows_a_password)
{
    struct agent_users *users;
    struct sp_error err = {.text = ""};

    ck_assert_int_eq(load(bad[_i].text, bad[_i].len, bad[_i].mode, &users, &err), SP_ERR_CONFIG);
    ck_assert_msg(strstr(err.text, bad[_i].says), "%s", err.text);
    ck_assert_ptr_null(strstr(err.text, "secret"));
    ck_assert_ptr_nonnull(strstr(err.where, "users"));
    ck_assert_ptr_null(users);
}
END_TEST

START_TEST(words_of_255_bytes_are_the_longest)
{
    char text[600];
    char word[257];
    struct agent_users *users;
    struct sp_error err;

    for (size_t len = 255; len <= 256; len++) {
        memset(word, 'w', len);
        word[len] = '\0';
        snprintf(text, sizeof text, "%s:%s\n", word, word);
        if (len == 256) {
            ck_assert_int_eq(load(text, strlen(text), 0600, &users, &err), SP_ERR_CONFIG);
        } else {
            ck_assert_int_eq(load(text, strlen(text), 0400, &users, &err), SP_OK);
            ck_assert(know(users, word, word));
            word[254] = 'x';
            ck_assert(!know(users, word, word));
            agent_users_free(users);
            ck_assert_int_eq(chmod("users", 0600), 0);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("users");
    TCase *tc = tcase_create("all");
    SRunner *runner;
    int failed;

    tcase_add_unchecked_fixture(tc, scene_enter, scene_leave);
    tcase_add_test(tc, a_user_is_known_by_its_own_password_alone);
    tcase_add_loop_test(tc, a_bad_file_is_an_error_that_never_shows_a_password, 0,
                        sizeof bad / sizeof bad[0]);
    tcase_add_test(tc, words_of_255_bytes_are_the_longest);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
