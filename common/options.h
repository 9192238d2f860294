/*
 * options: command lines: one that is described by a table, and the one that the agent and the
 * gateway share:
 *     --config FILE  --check  --version  --help
 *
 * Nothing is printed here: texts and values come back in the caller's structs. getopt_long has
 * variables of the process: for the main thread, while there is no other.
 */
#ifndef SALLYPORT_COMMON_OPTIONS_H
#define SALLYPORT_COMMON_OPTIONS_H
#include "common/error.h"

#define SP_EXIT_OK     0
#define SP_EXIT_FAILED 1 /* anything that is neither of the others */
#define SP_EXIT_USAGE  2 /* command line or configuration */

/* A row of the table. Values are borrowed from argv; the slots are NULL or false before. */
struct sp_option {
    const char *name;   /* "--config"; without "--": the one word that is no option; NULL: end */
    const char *wanted; /* "FILE", for messages; NULL: a flag, or that word */
    bool *flag;         /* exactly one of flag and value */
    const char **value;
    size_t *count, max; /* may be given again: value is an array of max; NULL: once */
    bool is_required;
    bool may_be_empty;
    bool ends; /* what follows is not looked at, nothing is required any more: --help */
};

/* Reads argv behind argv[0]: "--name VALUE", "--name=VALUE", options and the word in any order,
 * "--" ends the options. A name may be cut short as long as one row alone begins so.
 * SP_ERR_CONFIG: sp_options_wrong. */
SP_MUST_USE enum sp_err sp_options_read(const char *program, const struct sp_option *rows, int argc,
                                        char **argv, struct sp_error *err);
/* SP_ERR_CONFIG: what is wrong with a command line, and where help is. program: "prog command". */
enum sp_err sp_options_wrong(struct sp_error *err, const char *program, const char *fmt, ...)
    SP_PRINTF(3, 4);

enum sp_options_action {
    SP_OPTIONS_RUN,   /* start with .config_path */
    SP_OPTIONS_CHECK, /* load everything that .config_path names, start nothing */
    SP_OPTIONS_PRINT, /* --version, --help: .text to stdout, exit with .exit_code (0) */
    SP_OPTIONS_WRONG, /* .text to stderr, exit with .exit_code (2) */
};

struct sp_options {
    enum sp_options_action action;
    const char *config_path; /* borrowed from argv; RUN and CHECK: not NULL */
    int exit_code;           /* PRINT and WRONG */
    char text[2048];         /* PRINT and WRONG: whole lines, with the last newline */
};

/* program: "sallyport-gateway"; purpose: one sentence for --help, without a full stop; commands:
 * whole lines, what `program COMMAND` does beside this. */
void sp_options_parse(int argc, char **argv, const char *program, const char *purpose,
                      const char *commands, struct sp_options *ret_options);
#endif
