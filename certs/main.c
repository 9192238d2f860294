#include "certs/cmd_init.h"
#include "certs/command.h"
#include "common/error.h"
#include "common/tls_cred.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATUS_WELL   0
#define STATUS_FAILED 1
#define STATUS_USAGE  2

/* One row a sub-command; usage and dispatch come from here. */
static const struct certs_command *const commands[] = {&certs_cmd_init};

#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

static void print_usage(FILE *out)
{
    fputs("usage: sallyport-certs COMMAND ...\n"
          "       sallyport-certs COMMAND --help\n"
          "       sallyport-certs --help | --version\n"
          "\nKeys and certificates for Sallyport. Commands:\n",
          out);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(out, "  %s %s\n      %s.\n", commands[i]->name, commands[i]->operand,
                commands[i]->summary);
    fputs("\nExit status: 0 well, 2 wrong usage, 1 anything else.\n", out);
}

static const struct certs_command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (!strcmp(commands[i]->name, name))
            return commands[i];
    return NULL;
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
        if (!strcmp(argv[i], "--help"))
            return true;
    return false;
}

static int run_command(const struct certs_command *command, int argc, char **argv)
{
    char *text = NULL;
    struct sp_error err;
    char message[1024];
    enum sp_err rc;

    if (wants_help(argc, argv)) {
        certs_command_help(command, stdout);
        return STATUS_WELL;
    }
    sp_tls_protect_keys();
    rc = command->run(argc, argv, &text, &err);
    sp_tls_keys_gone();
    if (rc == SP_OK) {
        fputs(text, stdout);
        free(text);
        return STATUS_WELL;
    }
    fprintf(stderr, "sallyport-certs %s: %s\n", command->name,
            sp_error_message(&err, message, sizeof message));
    if (rc != SP_ERR_CONFIG)
        return STATUS_FAILED;
    fprintf(stderr, "Try 'sallyport-certs %s --help'.\n", command->name);
    return STATUS_USAGE;
}

static int dispatch(int argc, char **argv)
{
    const struct certs_command *command;

    if (argc < 2) {
        print_usage(stderr);
        return STATUS_USAGE;
    }
    if (!strcmp(argv[1], "--help")) {
        print_usage(stdout);
        return STATUS_WELL;
    }
    if (!strcmp(argv[1], "--version")) {
        puts("sallyport-certs " SALLYPORT_VERSION);
        return STATUS_WELL;
    }
    command = find_command(argv[1]);
    if (command)
        return run_command(command, argc - 1, argv + 1);
    fprintf(stderr, "sallyport-certs: unknown command '%s'\nTry 'sallyport-certs --help'.\n",
            argv[1]);
    return STATUS_USAGE;
}

int main(int argc, char **argv)
{
    int status = dispatch(argc, argv);

    /* A text that did not reach its reader is a failure too: a full disk behind a redirection. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("sallyport-certs: standard output");
        return STATUS_FAILED;
    }
    return status;
}
