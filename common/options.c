#include "common/options.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum option_code { OPTION_CONFIG = 256, OPTION_CHECK, OPTION_VERSION, OPTION_HELP };

static const struct option long_options[] = {
    {"config", required_argument, NULL, OPTION_CONFIG},
    {"check", no_argument, NULL, OPTION_CHECK},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static void print_version(const char *program, struct sp_options *options)
{
    options->action = SP_OPTIONS_PRINT;
    options->exit_code = SP_EXIT_OK;
    snprintf(options->text, sizeof options->text, "%s %s\n", program, SALLYPORT_VERSION);
}

static void print_help(const char *program, const char *purpose, struct sp_options *options)
{
    options->action = SP_OPTIONS_PRINT;
    options->exit_code = SP_EXIT_OK;
    snprintf(options->text, sizeof options->text,
             "%s: %s.\n"
             "\n"
             "usage: %s --config FILE [--check]\n"
             "\n"
             "  --config FILE  the configuration to run with (JSON)\n"
             "  --check        read it and load every key and certificate it names,\n"
             "                 say what is wrong, start nothing\n"
             "  --version      print the version\n"
             "  --help         print this\n"
             "\n"
             "Exit status: 0 well, 2 wrong usage or configuration, 1 anything else.\n"
             "Signals: SIGHUP reloads the configuration, SIGTERM drains and stops.\n",
             program, purpose, program);
}

static void SP_PRINTF(3, 4)
    wrong(struct sp_options *options, const char *program, const char *fmt, ...)
{
    char what[256];
    va_list args;

    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    options->action = SP_OPTIONS_WRONG;
    options->exit_code = SP_EXIT_USAGE;
    options->config_path = NULL;
    snprintf(options->text, sizeof options->text, "%s: %s\nTry '%s --help'.\n", program, what,
             program);
}

/* True: go on with the next option. */
static bool take_option(int code, char **argv, const char *program, const char *purpose,
                        struct sp_options *options)
{
    switch (code) {
    case OPTION_CONFIG:
        if (options->config_path) {
            wrong(options, program, "--config is given twice");
            return false;
        }
        if (!*optarg) {
            wrong(options, program, "--config wants the name of a file");
            return false;
        }
        options->config_path = optarg;
        return true;
    case OPTION_CHECK:
        options->action = SP_OPTIONS_CHECK;
        return true;
    case OPTION_VERSION:
        print_version(program, options);
        return false;
    case OPTION_HELP:
        print_help(program, purpose, options);
        return false;
    case ':':
        wrong(options, program, "%.200s wants a value", argv[optind - 1]);
        return false;
    default:
        /* A bad short option leaves optind where it was when more letters follow in its word. */
        if (optopt && optopt < 256)
            wrong(options, program, "unknown option '-%c'", optopt);
        else if (optopt)
            wrong(options, program, "%.200s takes no value", argv[optind - 1]);
        else
            wrong(options, program, "unknown or ambiguous option '%.200s'", argv[optind - 1]);
        return false;
    }
}

void sp_options_parse(int argc, char **argv, const char *program, const char *purpose,
                      struct sp_options *ret_options)
{
    int code;

    *ret_options = (struct sp_options){.action = SP_OPTIONS_RUN};
    opterr = 0;
    optind = 0; /* glibc: start afresh, so that a second call works */
    for (;;) {
        /* '+': stop at the first word that is no option; ':': a missing value is told apart. */
        code = getopt_long(argc, argv, "+:", long_options, NULL);
        if (code == -1)
            break;
        if (!take_option(code, argv, program, purpose, ret_options))
            return;
    }
    if (optind < argc)
        wrong(ret_options, program, "'%.200s' is not an option", argv[optind]);
    else if (!ret_options->config_path)
        wrong(ret_options, program, "--config FILE is needed");
}
