/*
 * options: the command line that the agent and the gateway share:
 *     --config FILE  --check  --version  --help
 *
 * Nothing is printed here: the text for main to print, and the status to exit with, come back in a
 * struct. Main thread only (getopt_long keeps its place in globals of the C library).
 */
#ifndef SALLYPORT_COMMON_OPTIONS_H
#define SALLYPORT_COMMON_OPTIONS_H
#include "common/error.h"

#define SP_EXIT_OK     0
#define SP_EXIT_FAILED 1 /* anything that is neither of the others */
#define SP_EXIT_USAGE  2 /* command line or configuration */

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
    char text[1024];         /* PRINT and WRONG: whole lines, with the last newline */
};

/* program: "sallyport-gateway"; purpose: one sentence for --help, without a full stop. */
void sp_options_parse(int argc, char **argv, const char *program, const char *purpose,
                      struct sp_options *ret_options);
#endif
