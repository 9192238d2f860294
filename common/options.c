#include "common/options.h"

#include "common/spelling.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NAME_MAX_LEN 40
#define ROWS_MAX     20
#define FIRST_ROW    256 /* getopt_long's value of the table's first; letters are below */

enum sp_err sp_options_wrong(struct sp_error *err, const char *program, const char *fmt, ...)
{
    char what[300];
    va_list args;

    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    return sp_error_set(err, SP_ERR_CONFIG, "%s (see: %.60s --help)", what, program);
}

/* ---- a table ---- */

struct reader {
    const char *program;
    const struct sp_option *rows;
    struct sp_error *err;
};

static bool is_option(const struct sp_option *row)
{
    return row->name[0] == '-';
}

/* Neither a name in the table nor how just one of them begins. */
static enum sp_err refuse_name(const struct reader *r, const char *word)
{
    size_t len = strcspn(word, "=");
    const char *first = NULL;
    char name[NAME_MAX_LEN + 1];
    struct sp_spelling spelling;

    /* Without the dashes, which all have alike: "--x" is not nearly "--ip". */
    snprintf(name, sizeof name, "%.*s", (int)(len < NAME_MAX_LEN ? len : NAME_MAX_LEN), word);
    sp_spelling_init(&spelling, name + strspn(name, "-"));
    for (const struct sp_option *row = r->rows; row->name; row++) {
        if (!is_option(row))
            continue;
        sp_spelling_offer(&spelling, row->name + 2);
        if (strncmp(row->name, word, len) != 0)
            continue;
        if (first)
            return sp_options_wrong(r->err, r->program, "'%.200s' may be %s or %s", word, first,
                                    row->name);
        first = row->name;
    }
    if (spelling.nearest)
        return sp_options_wrong(r->err, r->program, "unknown option '%.200s', did you mean --%s?",
                                word, spelling.nearest);
    return sp_options_wrong(r->err, r->program, "unknown option '%.200s'", word);
}

static enum sp_err take_value(const struct reader *r, const struct sp_option *row,
                              const char *value)
{
    if (!*value && !row->may_be_empty)
        return sp_options_wrong(r->err, r->program, "%s wants a value that is not empty: %s",
                                row->name, row->wanted);
    if (!row->count && *row->value)
        return sp_options_wrong(r->err, r->program, "%s is given twice", row->name);
    if (row->count && *row->count == row->max)
        return sp_options_wrong(r->err, r->program, "%s is given more than %zu times", row->name,
                                row->max);
    row->value[row->count ? (*row->count)++ : 0] = value;
    return SP_OK;
}

static enum sp_err take_word(const struct reader *r, const char *word)
{
    const struct sp_option *row = r->rows;

    while (row->name && is_option(row))
        row++;
    if (!row->name)
        return sp_options_wrong(r->err, r->program, "'%.200s' is not an option", word);
    if (*row->value)
        return sp_options_wrong(r->err, r->program,
                                "'%.100s' is one word too many after %s '%.100s'", word, row->name,
                                *row->value);
    if (!*word)
        return sp_options_wrong(r->err, r->program, "%s is empty", row->name);
    *row->value = word;
    return SP_OK;
}

/* What getopt_long made of `word`. */
static enum sp_err take(const struct reader *r, int code, const char *word, bool *ret_ends)
{
    const struct sp_option *row;

    if (code == 1) /* '-' in the short options: words come in their places */
        return take_word(r, optarg);
    if (code == '?' && optopt < FIRST_ROW)
        return refuse_name(r, word);
    if (code == '?')
        return sp_options_wrong(r->err, r->program, "%.200s takes no value", word);
    row = &r->rows[(code == ':' ? optopt : code) - FIRST_ROW];
    if (code == ':')
        return sp_options_wrong(r->err, r->program, "%s wants a value: %s", row->name, row->wanted);
    if (row->value)
        return take_value(r, row, optarg);
    *row->flag = true;
    *ret_ends = row->ends;
    return SP_OK;
}

static enum sp_err check_required(const struct reader *r)
{
    for (const struct sp_option *row = r->rows; row->name; row++)
        if (row->is_required && !*row->value)
            return sp_options_wrong(r->err, r->program, "%s%s%s is needed", row->name,
                                    row->wanted ? " " : "", row->wanted ? row->wanted : "");
    return SP_OK;
}

/* The names as getopt_long wants them; all zeros end them. */
static void list_names(const struct sp_option *rows, struct option names[ROWS_MAX + 1])
{
    size_t count = 0;

    for (const struct sp_option *row = rows; row->name; row++) {
        SP_REQUIRE(count < ROWS_MAX);
        if (is_option(row))
            names[count++] = (struct option){
                .name = row->name + 2,
                .has_arg = row->value ? required_argument : no_argument,
                .val = FIRST_ROW + (int)(row - rows),
            };
    }
}

enum sp_err sp_options_read(const char *program, const struct sp_option *rows, int argc,
                            char **argv, struct sp_error *err)
{
    const struct reader r = {.program = program, .rows = rows, .err = err};
    struct option names[ROWS_MAX + 1] = {{.name = NULL}};
    enum sp_err rc = SP_OK;
    bool ends = false;

    list_names(rows, names);
    opterr = 0;
    optind = 0; /* glibc: start afresh, so that a second call works */
    while (rc == SP_OK && !ends) {
        const char *word = argv[optind ? optind : 1];
        int code = getopt_long(argc, argv, "-:", names, NULL);

        if (code == -1)
            break;
        rc = take(&r, code, word, &ends);
    }
    if (rc != SP_OK || ends)
        return rc;
    for (; rc == SP_OK && optind < argc; optind++) /* behind "--" */
        rc = take_word(&r, argv[optind]);
    return rc == SP_OK ? check_required(&r) : rc;
}

/* ---- what the programs share ---- */

static void end_with(struct sp_options *options, enum sp_options_action action, int exit_code)
{
    options->action = action;
    options->exit_code = exit_code;
    options->config_path = NULL;
}

static void print_help(const char *program, const char *purpose, const char *commands,
                       struct sp_options *options)
{
    snprintf(options->text, sizeof options->text,
             "%s: %s.\n"
             "\n"
             "usage: %s --config FILE [--check]\n"
             "       %s COMMAND ...\n"
             "       %s COMMAND --help\n"
             "\n"
             "  --config FILE  the configuration to run with (JSON)\n"
             "  --check        read it and load every key and certificate it names,\n"
             "                 say what is wrong, start nothing\n"
             "  --version      print the version\n"
             "  --help         print this\n"
             "\n"
             "Commands:\n"
             "%s"
             "\n"
             "Exit status: 0 well, 2 wrong usage or configuration, 1 anything else.\n"
             "Signals: SIGHUP reloads the configuration, SIGTERM drains and stops.\n",
             program, purpose, program, program, program, commands);
}

void sp_options_parse(int argc, char **argv, const char *program, const char *purpose,
                      const char *commands, struct sp_options *ret_options)
{
    struct sp_options *options = ret_options;
    bool check = false, version = false, help = false;
    const struct sp_option rows[] = {
        {.name = "--config", .wanted = "FILE", .value = &options->config_path, .is_required = true},
        {.name = "--check", .flag = &check},
        {.name = "--version", .flag = &version, .ends = true},
        {.name = "--help", .flag = &help, .ends = true},
        {.name = NULL},
    };
    struct sp_error err;
    char message[512];

    *options = (struct sp_options){.action = SP_OPTIONS_RUN};
    if (sp_options_read(program, rows, argc, argv, &err) != SP_OK) {
        end_with(options, SP_OPTIONS_WRONG, SP_EXIT_USAGE);
        snprintf(options->text, sizeof options->text, "%s: %s\n", program,
                 sp_error_message(&err, message, sizeof message));
    } else if (version) {
        end_with(options, SP_OPTIONS_PRINT, SP_EXIT_OK);
        snprintf(options->text, sizeof options->text, "%s %s\n", program, SALLYPORT_VERSION);
    } else if (help) {
        end_with(options, SP_OPTIONS_PRINT, SP_EXIT_OK);
        print_help(program, purpose, commands, options);
    } else if (check) {
        options->action = SP_OPTIONS_CHECK;
    }
}
