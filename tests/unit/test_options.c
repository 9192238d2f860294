/* The command line of agent and gateway. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/options.h"

#define WORDS_MAX 6

static void parse(const char *const *words, struct sp_options *options)
{
    char *argv[WORDS_MAX + 2];
    char copies[WORDS_MAX][64];
    char program[] = "prog";
    int argc = 0;

    argv[argc++] = program;
    for (; argc <= WORDS_MAX && words[argc - 1]; argc++) {
        ck_assert_uint_lt(strlen(words[argc - 1]), sizeof copies[0]);
        argv[argc] = strcpy(copies[argc - 1], words[argc - 1]);
    }
    argv[argc] = NULL;
    sp_options_parse(argc, argv, "sallyport-test", "Tests things", options);
    if (options->config_path) /* it points into copies */
        options->config_path = words[options->config_path == argv[1] + 9 ? 0 : 1];
}

static const struct {
    const char *words[WORDS_MAX];
    enum sp_options_action action;
} good[] = {
    {{"--config", "a.json"}, SP_OPTIONS_RUN},
    {{"--config=a.json"}, SP_OPTIONS_RUN},
    {{"--config", "a.json", "--check"}, SP_OPTIONS_CHECK},
    {{"--config=a.json", "--check", "--"}, SP_OPTIONS_CHECK},
};

START_TEST(a_good_command_line_gives_the_file_and_what_to_do)
{
    struct sp_options options;

    parse(good[_i].words, &options);
    ck_assert_int_eq(options.action, good[_i].action);
    ck_assert_ptr_nonnull(options.config_path);
    ck_assert_ptr_nonnull(strstr(options.config_path, "a.json"));
    ck_assert_str_eq(options.text, "");
}
END_TEST

START_TEST(check_comes_before_or_after_the_file)
{
    char program[] = "prog", check[] = "--check", config[] = "--config", file[] = "a.json";
    char *argv[] = {program, check, config, file, NULL};
    struct sp_options options;

    sp_options_parse(4, argv, "sallyport-test", "Tests things", &options);
    ck_assert_int_eq(options.action, SP_OPTIONS_CHECK);
    ck_assert_ptr_eq(options.config_path, file);
}
END_TEST

static const struct {
    const char *words[WORDS_MAX];
    const char *text;
} wrong_lines[] = {
    {{NULL}, "--config FILE is needed"},
    {{"--check"}, "--config FILE is needed"},
    {{"--config"}, "--config wants a value"},
    {{"--config="}, "--config wants the name of a file"},
    {{"--config", "a", "--config", "b"}, "--config is given twice"},
    {{"--config", "a", "b"}, "'b' is not an option"},
    {{"a.json"}, "'a.json' is not an option"},
    {{"--config", "a", "--", "--check"}, "'--check' is not an option"},
    {{"--verbose"}, "unknown or ambiguous option '--verbose'"},
    {{"--c"}, "unknown or ambiguous option '--c'"},
    {{"--check=yes", "--config", "a"}, "--check=yes takes no value"},
    {{"-c", "a"}, "unknown option '-c'"},
    {{"-xyz"}, "unknown option '-x'"},
};

START_TEST(a_wrong_command_line_exits_with_2_and_says_why)
{
    struct sp_options options;
    char wanted[256];

    parse(wrong_lines[_i].words, &options);
    snprintf(wanted, sizeof wanted, "sallyport-test: %s\nTry 'sallyport-test --help'.\n",
             wrong_lines[_i].text);
    ck_assert_int_eq(options.action, SP_OPTIONS_WRONG);
    ck_assert_int_eq(options.exit_code, 2);
    ck_assert_ptr_null(options.config_path);
    ck_assert_str_eq(options.text, wanted);
}
END_TEST

START_TEST(version_and_help_are_printed_whatever_else_is_missing)
{
    struct sp_options options;

    parse((const char *const[WORDS_MAX]){"--version"}, &options);
    ck_assert_int_eq(options.action, SP_OPTIONS_PRINT);
    ck_assert_int_eq(options.exit_code, 0);
    ck_assert_str_eq(options.text, "sallyport-test " SALLYPORT_VERSION "\n");

    parse((const char *const[WORDS_MAX]){"--help"}, &options);
    ck_assert_int_eq(options.action, SP_OPTIONS_PRINT);
    ck_assert_int_eq(options.exit_code, 0);
    ck_assert_int_eq(strncmp(options.text, "sallyport-test: Tests things.\n", 30), 0);
    ck_assert_uint_lt(strlen(options.text), sizeof options.text - 1);
    ck_assert_ptr_nonnull(strstr(options.text, "--config FILE"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("options");
    TCase *tcase = tcase_create("options");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(tcase, a_good_command_line_gives_the_file_and_what_to_do, 0,
                        sizeof good / sizeof good[0]);
    tcase_add_test(tcase, check_comes_before_or_after_the_file);
    tcase_add_loop_test(tcase, a_wrong_command_line_exits_with_2_and_says_why, 0,
                        sizeof wrong_lines / sizeof wrong_lines[0]);
    tcase_add_test(tcase, version_and_help_are_printed_whatever_else_is_missing);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
