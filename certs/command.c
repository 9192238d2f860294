#include "certs/command.h"

#include <stdint.h>
#include <string.h>

#define OPTIONS_MAX 64 /* one bit each in `seen` */

/* The row an argument stands for, by its whole name or the part before '='. */
static const struct certs_option *find_option(const struct certs_option *options, const char *word)
{
    size_t len = strcspn(word, "=");

    for (; options->name; options++)
        if (strlen(options->name) == len && !strncmp(options->name, word, len))
            return options;
    return NULL;
}

static enum sp_err take_option(const struct certs_option *option, uint64_t seen_bit,
                               const char *value, void *target, uint64_t *seen,
                               struct sp_error *err)
{
    enum sp_err rc;

    if (!value)
        return sp_error_set(err, SP_ERR_CONFIG, "%s wants %s", option->name, option->argument);
    if (!option->repeatable && (*seen & seen_bit))
        return sp_error_set(err, SP_ERR_CONFIG, "%s is given twice", option->name);
    *seen |= seen_bit;
    rc = option->set(target, value, err);
    if (rc == SP_OK)
        return rc;
    sp_error_prefix(err, "%s", option->name);
    return SP_ERR_CONFIG;
}

static enum sp_err take_operand(const struct certs_command *command, const char *word,
                                const char **operand, struct sp_error *err)
{
    if (*operand)
        return sp_error_set(err, SP_ERR_CONFIG, "'%.200s': one word too many after %s '%.100s'",
                            word, command->operand, *operand);
    if (!*word)
        return sp_error_set(err, SP_ERR_CONFIG, "%s is empty", command->operand);
    *operand = word;
    return SP_OK;
}

enum sp_err certs_command_parse(const struct certs_command *command, int argc, char **argv,
                                void *target, const char **ret_operand, struct sp_error *err)
{
    const char *operand = NULL;
    bool options_end = false;
    uint64_t seen = 0;
    enum sp_err rc = SP_OK;

    for (int i = 1; rc == SP_OK && i < argc; i++) {
        const struct certs_option *option;
        const char *value;

        if (options_end || argv[i][0] != '-') {
            rc = take_operand(command, argv[i], &operand, err);
            continue;
        }
        options_end = !strcmp(argv[i], "--");
        if (options_end)
            continue;
        option = find_option(command->options, argv[i]);
        if (!option)
            return sp_error_set(err, SP_ERR_CONFIG, "unknown option '%.200s'", argv[i]);
        SP_REQUIRE(option - command->options < OPTIONS_MAX);
        value = strchr(argv[i], '=');
        /* argv ends with NULL, which stands for the value that is missing. */
        value = value ? value + 1 : argv[++i];
        rc = take_option(option, UINT64_C(1) << (option - command->options), value, target, &seen,
                         err);
    }
    if (rc == SP_OK && !operand)
        return sp_error_set(err, SP_ERR_CONFIG, "%s is missing", command->operand);
    if (rc == SP_OK)
        *ret_operand = operand;
    return rc;
}

void certs_command_help(const struct certs_command *command, FILE *out)
{
    fprintf(out, "usage: sallyport-certs %s [OPTIONS] %s\n\n%s.\n\n", command->name,
            command->operand, command->summary);
    for (const struct certs_option *o = command->options; o->name; o++)
        fprintf(out, "  %s %s\n      %s%s\n", o->name, o->argument, o->help,
                o->repeatable ? " (repeatable)" : "");
}
