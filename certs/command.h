/*
 * command: one sub-command of sallyport-certs, as a table row that drives dispatch, parsing and
 * --help alike, so that they cannot disagree.
 *
 * Nothing here prints: texts go back to main. SP_ERR_CONFIG from a command means that its command
 * line is wrong. Main thread.
 */
#ifndef SALLYPORT_CERTS_COMMAND_H
#define SALLYPORT_CERTS_COMMAND_H
#include "common/error.h"
#include <stdio.h>

struct certs_option {
    const char *name;     /* "--gateway"; NULL ends the table */
    const char *argument; /* "HOST:PORT"; every option takes one */
    const char *help;     /* one line */
    bool repeatable;
    /* Keeps `value` (argv's memory) in `target`. On failure err says what is wanted; the parser
     * adds the option's name. */
    enum sp_err (*set)(void *target, const char *value, struct sp_error *err);
};

struct certs_command {
    const char *name;
    const char *operand; /* "DIR"; exactly one */
    const char *summary; /* one line, no full stop */
    const struct certs_option *options;
    /* argv[0] is the command's name. *ret_text: what to tell the user, allocated; the caller frees.
     */
    enum sp_err (*run)(int argc, char **argv, char **ret_text, struct sp_error *err);
};

/* "--name VALUE", "--name=VALUE", "--" ends the options; names are never abbreviated. */
SP_MUST_USE enum sp_err certs_command_parse(const struct certs_command *command, int argc,
                                            char **argv, void *target, const char **ret_operand,
                                            struct sp_error *err);
/* The text of "sallyport-certs NAME --help". */
void certs_command_help(const struct certs_command *command, FILE *out);
#endif
