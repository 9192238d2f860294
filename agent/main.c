/* sallyport-agent: the command line around agent.c. */
#include "agent/agent.h"
#include "agent/command.h"
#include "common/options.h"
#include "common/tls_cred.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One row each. */
static const struct agent_command *const commands[] = {
    &agent_diagnose_command,
    &agent_route_command,
    &agent_rules_command,
    &agent_status_command,
    NULL,
};

static int exit_status(const struct sp_error *err)
{
    return err->kind == SP_ERR_CONFIG || err->kind == SP_ERR_JSON ? SP_EXIT_USAGE : SP_EXIT_FAILED;
}

static int run_command(const struct agent_command *command, int argc, char **argv)
{
    struct sp_error err;
    char message[768];
    int status;
    enum sp_err rc;

    sp_tls_protect_keys();
    rc = command->run(argc, argv, stdout, &status, &err);
    sp_tls_keys_gone();
    if (rc == SP_OK && (fflush(stdout) != 0 || ferror(stdout)))
        rc = sp_error_set(&err, SP_ERR_CLOSED, "standard output cannot be written");
    if (rc == SP_OK)
        return status;
    fprintf(stderr, "sallyport-agent %s: %s\n", command->name,
            sp_error_message(&err, message, sizeof message));
    return exit_status(&err);
}

/* The table, for --help. */
static void describe_commands(char *text, size_t size)
{
    size_t len = 0;

    for (size_t i = 0; commands[i] && len < size; i++)
        len += (size_t)snprintf(text + len, size - len, "  %-14s %s\n", commands[i]->name,
                                commands[i]->purpose);
}

int main(int argc, char **argv)
{
    struct sp_options options;
    struct sp_error err;
    char message[768];
    char described[512] = "";
    char *summary = NULL;
    enum sp_err rc;

    for (size_t i = 0; argc > 1 && commands[i]; i++) {
        if (strcmp(argv[1], commands[i]->name) != 0)
            continue;
        signal(SIGPIPE, SIG_IGN);
        return run_command(commands[i], argc - 1, argv + 1);
    }
    describe_commands(described, sizeof described);
    sp_options_parse(argc, argv, "sallyport-agent",
                     "carries what applications send in mutual-TLS tunnels to a gateway", described,
                     &options);
    if (options.action == SP_OPTIONS_PRINT || options.action == SP_OPTIONS_WRONG) {
        fputs(options.text, options.action == SP_OPTIONS_PRINT ? stdout : stderr);
        return options.exit_code;
    }
    signal(SIGPIPE, SIG_IGN); /* a log that is a closed pipe */
    sp_tls_protect_keys();
    rc = options.action == SP_OPTIONS_CHECK ? agent_check(options.config_path, &summary, &err)
                                            : agent_run(options.config_path, &err);
    sp_tls_keys_gone();
    if (summary)
        fputs(summary, stdout);
    free(summary);
    if (rc != SP_OK) {
        fprintf(stderr, "sallyport-agent: %s\n", sp_error_message(&err, message, sizeof message));
        return exit_status(&err);
    }
    return SP_EXIT_OK;
}
