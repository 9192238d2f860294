#include "common/options.h"

#include "common/spelling.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NAME_MAX_LEN 40

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

static enum sp_err refuse_unknown(const struct reader *r, const char *word, size_t name_len)
{
    char name[NAME_MAX_LEN + 1];
    struct sp_spelling spelling;

    /* Without the dashes, which all have alike: "--x" is not nearly "--ip". */
    snprintf(name, sizeof name, "%.*s", (int)(name_len < NAME_MAX_LEN ? name_len : NAME_MAX_LEN),
             word);
    sp_spelling_init(&spelling, name + strspn(name, "-"));
    for (const struct sp_option *row = r->rows; row->name; row++)
        if (is_option(row))
            sp_spelling_offer(&spelling, row->name + 2);
    if (spelling.nearest)
        return sp_options_wrong(r->err, r->program, "unknown option '%.200s', did you mean --%s?",
                                word, spelling.nearest);
    return sp_options_wrong(r->err, r->program, "unknown option '%.200s'", word);
}

/* By its whole name, or by how the name of one row alone begins. */
static enum sp_err find_option(const struct reader *r, const char *word, size_t name_len,
                               const struct sp_option **ret_row)
{
    const struct sp_option *first = NULL, *second = NULL;

    for (const struct sp_option *row = r->rows; row->name; row++) {
        if (strncmp(row->name, word, name_len) != 0)
            continue;
        if (!row->name[name_len]) {
            *ret_row = row;
            return SP_OK;
        }
        if (!first)
            first = row;
        else if (!second)
            second = row;
    }
    if (second)
        return sp_options_wrong(r->err, r->program, "'%.200s' may be %s or %s", word, first->name,
                                second->name);
    if (!first)
        return refuse_unknown(r, word, name_len);
    *ret_row = first;
    return SP_OK;
}

static enum sp_err take_value(const struct reader *r, const struct sp_option *row,
                              const char *value)
{
    if (!value)
        return sp_options_wrong(r->err, r->program, "%s wants a value: %s", row->name, row->wanted);
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

/* *place: of the option in argv; then of the last word that belongs to it. argv ends with NULL,
 * which stands for the value that is missing. */
static enum sp_err take_option(const struct reader *r, char **argv, int *place, bool *ret_ends)
{
    const char *word = argv[*place];
    size_t name_len = strcspn(word, "=");
    bool has_value = word[name_len] == '=';
    const struct sp_option *row = NULL;
    enum sp_err rc = find_option(r, word, name_len, &row);

    if (rc != SP_OK)
        return rc;
    if (row->value)
        return take_value(r, row, has_value ? word + name_len + 1 : argv[++*place]);
    if (has_value)
        return sp_options_wrong(r->err, r->program, "%.200s takes no value", word);
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

enum sp_err sp_options_read(const char *program, const struct sp_option *rows, int argc,
                            char **argv, struct sp_error *err)
{
    const struct reader r = {.program = program, .rows = rows, .err = err};
    bool only_words = false, ends = false;

    for (int i = 1; i < argc; i++) {
        enum sp_err rc = SP_OK;

        if (only_words || argv[i][0] != '-' || !argv[i][1])
            rc = take_word(&r, argv[i]);
        else if (strcmp(argv[i], "--") == 0)
            only_words = true;
        else
            rc = take_option(&r, argv, &i, &ends);
        if (rc != SP_OK || ends)
            return rc;
    }
    return check_required(&r);
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
