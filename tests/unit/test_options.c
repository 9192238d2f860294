/* Command lines: one that a table describes, and that of agent and gateway. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/options.h"

#define WORDS_MAX 6
#define TAGS_MAX  2

/* What is read points into it. */
static int make_argv(const char *const *words, char ***ret_argv)
{
    static char *argv[WORDS_MAX + 2];
    static char copies[WORDS_MAX][64];
    static char program[] = "prog";
    int argc = 0;

    argv[argc++] = program;
    for (; argc <= WORDS_MAX && words[argc - 1]; argc++) {
        ck_assert_uint_lt(strlen(words[argc - 1]), sizeof copies[0]);
        argv[argc] = strcpy(copies[argc - 1], words[argc - 1]);
    }
    argv[argc] = NULL;
    *ret_argv = argv;
    return argc;
}

static void parse(const char *const *words, struct sp_options *options)
{
    char **argv;
    int argc = make_argv(words, &argv);

    sp_options_parse(argc, argv, "sallyport-test", "Tests things", "  walk  goes away\n", options);
}

static const struct {
    const char *words[WORDS_MAX];
    enum sp_options_action action;
} good[] = {
    {{"--config", "a.json"}, SP_OPTIONS_RUN},
    {{"--config=a.json"}, SP_OPTIONS_RUN},
    {{"--config", "a.json", "--check"}, SP_OPTIONS_CHECK},
    {{"--config=a.json", "--check", "--"}, SP_OPTIONS_CHECK},
    {{"--conf=a.json", "--check"}, SP_OPTIONS_CHECK}, /* no other begins so */
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

    sp_options_parse(4, argv, "sallyport-test", "Tests things", "", &options);
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
    {{"--config"}, "--config wants a value: FILE"},
    {{"--config="}, "--config wants a value that is not empty: FILE"},
    {{"--config", "a", "--config", "b"}, "--config is given twice"},
    {{"--config", "a", "b"}, "'b' is not an option"},
    {{"a.json"}, "'a.json' is not an option"},
    {{"--config", "a", "--", "--check"}, "'--check' is not an option"},
    {{"--verbose"}, "unknown option '--verbose'"},
    {{"--c"}, "'--c' may be --config or --check"},
    {{"--check=yes", "--config", "a"}, "--check=yes takes no value"},
    {{"-c", "a"}, "unknown option '-c'"},
    {{"-xyz"}, "unknown option '-xyz'"},
};

START_TEST(a_wrong_command_line_exits_with_2_and_says_why)
{
    struct sp_options options;
    char wanted[256];

    parse(wrong_lines[_i].words, &options);
    snprintf(wanted, sizeof wanted, "sallyport-test: %s (see: sallyport-test --help)\n",
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
    ck_assert_ptr_nonnull(strstr(options.text, "\nCommands:\n  walk  goes away\n"));
}
END_TEST

/* ---- a table of one's own ---- */

struct trip {
    const char *from, *note, *to;
    const char *tags[TAGS_MAX + 1]; /* one more, to see that it stays NULL */
    size_t tag_count;
    bool fast, force, force_all, help;
};

static enum sp_err read_trip(const char *const *words, bool has_to, struct trip *ret,
                             struct sp_error *err)
{
    const struct sp_option rows[] = {
        {.name = "--from", .wanted = "PLACE", .value = &ret->from, .is_required = true},
        {.name = "--note", .wanted = "TEXT", .value = &ret->note, .may_be_empty = true},
        {.name = "--tag",
         .wanted = "WORD",
         .value = ret->tags,
         .count = &ret->tag_count,
         .max = TAGS_MAX},
        {.name = "--fast", .flag = &ret->fast},
        {.name = "--force-all", .flag = &ret->force_all},
        {.name = "--force", .flag = &ret->force},
        {.name = "--help", .flag = &ret->help, .ends = true},
        {.name = has_to ? "TO" : NULL, .value = &ret->to, .is_required = true},
        {.name = NULL},
    };
    char **argv;
    int argc = make_argv(words, &argv);

    *ret = (struct trip){.from = NULL};
    return sp_options_read("prog walk", rows, argc, argv, err);
}

static bool equal(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static const struct {
    const char *words[WORDS_MAX];
    struct trip wanted;
} trips[] = {
    {{"--from", "a", "b"}, {.from = "a", .to = "b"}},
    {{"b", "--from=a", "--fast"}, {.from = "a", .to = "b", .fast = true}},
    {{"--from", "--to", "b"}, {.from = "--to", .to = "b"}}, /* whatever the value looks like */
    {{"--from=a=b", "--", "--fast"}, {.from = "a=b", .to = "--fast"}},
    {{"--from", "a", "-"}, {.from = "a", .to = "-"}},
    {{"--from", "a", "b", "--note="}, {.from = "a", .to = "b", .note = ""}},
    {{"--fr=a", "--fa", "--force", "b"}, {.from = "a", .to = "b", .fast = true, .force = true}},
    {{"--fast", "--from=a", "--fast", "b"}, {.from = "a", .to = "b", .fast = true}},
    {{"--tag", "x", "--tag=y", "--from=a", "b"},
     {.from = "a", .to = "b", .tags = {"x", "y"}, .tag_count = 2}},
    {{"--fast", "--help", "--wrong"}, {.fast = true, .help = true}}, /* not looked at any more */
};

START_TEST(a_table_says_where_each_word_goes)
{
    const struct trip *wanted = &trips[_i].wanted;
    struct trip trip;
    struct sp_error err = {.text = ""};

    ck_assert_msg(read_trip(trips[_i].words, true, &trip, &err) == SP_OK, "%s", err.text);
    ck_assert(equal(trip.from, wanted->from));
    ck_assert(equal(trip.to, wanted->to));
    ck_assert(equal(trip.note, wanted->note));
    ck_assert_uint_eq(trip.tag_count, wanted->tag_count);
    for (size_t i = 0; i <= TAGS_MAX; i++)
        ck_assert(equal(trip.tags[i], wanted->tags[i]));
    ck_assert_int_eq(trip.fast, wanted->fast);
    ck_assert_int_eq(trip.force, wanted->force);
    ck_assert_int_eq(trip.force_all, wanted->force_all);
    ck_assert_int_eq(trip.help, wanted->help);
}
END_TEST

static const struct {
    const char *words[WORDS_MAX];
    const char *text;
} wrong_trips[] = {
    {{"b"}, "--from PLACE is needed"},
    {{"--from=a"}, "TO is needed"},
    {{"--from"}, "--from wants a value: PLACE"},
    {{"--fr"}, "--from wants a value: PLACE"},
    {{"--from="}, "--from wants a value that is not empty: PLACE"},
    {{"--from", ""}, "--from wants a value that is not empty: PLACE"},
    {{"--from=a", "--from=a"}, "--from is given twice"},
    {{"--note=", "--note="}, "--note is given twice"},
    {{"--tag=x", "--tag=y", "--tag=z"}, "--tag is given more than 2 times"},
    {{"--fast=1"}, "--fast=1 takes no value"},
    {{"--from=a", "b", "c"}, "'c' is one word too many after TO 'b'"},
    {{"--from=a", ""}, "TO is empty"},
    {{"--f"}, "'--f' may be --from or --fast"},
    {{"--faster"}, "unknown option '--faster', did you mean --fast?"},
    {{"--form=a"}, "unknown option '--form=a', did you mean --from?"},
    {{"-fast"}, "unknown option '-fast', did you mean --fast?"},
    {{"--sideways"}, "unknown option '--sideways'"},
    {{"--TO"}, "unknown option '--TO'"},
    {{"-f"}, "unknown option '-f'"},
    {{"--wrong", "--help"}, "unknown option '--wrong'"}, /* the first mistake is told */
};

START_TEST(what_a_table_has_no_place_for_is_refused)
{
    struct trip trip;
    struct sp_error err = {.text = ""};
    char wanted[256];

    ck_assert_int_eq(read_trip(wrong_trips[_i].words, true, &trip, &err), SP_ERR_CONFIG);
    snprintf(wanted, sizeof wanted, "%s (see: prog walk --help)", wrong_trips[_i].text);
    ck_assert_str_eq(err.text, wanted);
    ck_assert_int_eq(err.kind, SP_ERR_CONFIG);
}
END_TEST

START_TEST(without_a_row_for_it_a_word_is_refused)
{
    struct trip trip;
    struct sp_error err = {.text = ""};

    ck_assert_int_eq(read_trip((const char *const[WORDS_MAX]){"--from=a", "b"}, false, &trip, &err),
                     SP_ERR_CONFIG);
    ck_assert_str_eq(err.text, "'b' is not an option (see: prog walk --help)");
}
END_TEST

START_TEST(however_long_a_word_is_the_message_tells_where_help_is)
{
    char program[] = "prog", word[4096] = "--";
    char *argv[] = {program, word, NULL};
    const struct sp_option rows[] = {{.name = NULL}};
    struct sp_error err;

    memset(word + 2, 'x', sizeof word - 3);
    ck_assert_int_eq(sp_options_read("prog walk", rows, 2, argv, &err), SP_ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(err.text, " (see: prog walk --help)"));
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
    tcase_add_loop_test(tcase, a_table_says_where_each_word_goes, 0,
                        sizeof trips / sizeof trips[0]);
    tcase_add_loop_test(tcase, what_a_table_has_no_place_for_is_refused, 0,
                        sizeof wrong_trips / sizeof wrong_trips[0]);
    tcase_add_test(tcase, without_a_row_for_it_a_word_is_refused);
    tcase_add_test(tcase, however_long_a_word_is_the_message_tells_where_help_is);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
