#include "common/spelling.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

static const struct {
    const char *a, *b;
    unsigned distance;
} pairs[] = {
    {"", "", 0},           {"level", "level", 0},  {"level", "", 5},      {"", "abc", 3},
    {"levl", "level", 1},  {"llevel", "level", 1}, {"lebel", "level", 1}, {"levle", "level", 1},
    {"lveel", "level", 1}, {"lvle", "level", 2},   {"Level", "level", 1}, {"kitten", "sitting", 3},
    {"ab", "ba", 1},       {"tls", "doors", 4},
};

START_TEST(a_distance_is_the_number_of_mistakes)
{
    ck_assert_uint_eq(sp_spelling_distance(pairs[_i].a, pairs[_i].b), pairs[_i].distance);
    ck_assert_uint_eq(sp_spelling_distance(pairs[_i].b, pairs[_i].a), pairs[_i].distance);
}
END_TEST

START_TEST(a_very_long_word_is_far_from_everything)
{
    char word[66];

    memset(word, 'x', 65);
    word[65] = '\0';
    ck_assert_uint_gt(sp_spelling_distance(word, word), 2);
    ck_assert_uint_eq(sp_spelling_distance(word + 1, word + 1), 0);
}
END_TEST

START_TEST(the_nearest_word_is_offered_if_it_is_near_enough)
{
    static const struct {
        const char *word, *nearest;
    } cases[] = {
        {"levle", "level"}, {"names", "name"}, {"nmaes2", "names2"},
        {"xyz", NULL},      {"levxyz", NULL},  {"to", NULL},
        {"o", "on"},        {"", NULL},        {"private-key", "private_key"},
    };
    static const char *const known[] = {"name", "level", "names2", "on", "private_key"};

    for (int i = 0; i < COUNT(cases); i++) {
        struct sp_spelling s;

        sp_spelling_init(&s, cases[i].word);
        for (int k = 0; k < COUNT(known); k++)
            sp_spelling_offer(&s, known[k]);
        if (!cases[i].nearest)
            ck_assert_msg(!s.nearest, "%s: %s", cases[i].word, s.nearest);
        else
            ck_assert_msg(s.nearest && !strcmp(s.nearest, cases[i].nearest), "%s: %s",
                          cases[i].word, s.nearest ? s.nearest : "none");
        ck_assert_str_eq(s.known, "name, level, names2, on, private_key");
    }
}
END_TEST

START_TEST(a_list_that_is_too_long_says_that_it_goes_on)
{
    struct sp_spelling s;
    char word[32];

    sp_spelling_init(&s, "x");
    for (int i = 0; i < 100; i++) {
        snprintf(word, sizeof word, "word-%d", i);
        sp_spelling_offer(&s, word);
        ck_assert_uint_lt(strlen(s.known), sizeof s.known);
    }
    ck_assert(!strncmp(s.known, "word-0, word-1, ", 16));
    ck_assert_str_eq(s.known + strlen(s.known) - 5, ", ...");
    ck_assert_ptr_eq(strstr(s.known, "..."), s.known + strlen(s.known) - 3);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("spelling");
    TCase *tc = tcase_create("spelling");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tc);
    tcase_add_loop_test(tc, a_distance_is_the_number_of_mistakes, 0, COUNT(pairs));
    tcase_add_test(tc, a_very_long_word_is_far_from_everything);
    tcase_add_test(tc, the_nearest_word_is_offered_if_it_is_near_enough);
    tcase_add_test(tc, a_list_that_is_too_long_says_that_it_goes_on);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
