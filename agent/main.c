/* sallyport-agent: the command line around agent.c. */
#include "agent/agent.h"
#include "common/options.h"
#include "common/tls_cred.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static int exit_status(const struct sp_error *err)
{
    return err->kind == SP_ERR_CONFIG || err->kind == SP_ERR_JSON ? SP_EXIT_USAGE : SP_EXIT_FAILED;
}

int main(int argc, char **argv)
{
    struct sp_options options;
    struct sp_error err;
    char message[768];
    char *summary = NULL;
    enum sp_err rc;

    sp_options_parse(argc, argv, "sallyport-agent",
                     "carries what applications send in mutual-TLS tunnels to a gateway", &options);
    if (options.action == SP_OPTIONS_PRINT || options.action == SP_OPTIONS_WRONG) {
        fputs(options.text, options.action == SP_OPTIONS_PRINT ? stdout : stderr);
        return options.exit_code;
    }
    signal(SIGPIPE, SIG_IGN); /* a log that is a closed pipe */
    sp_tls_protect_keys();
    rc = options.action == SP_OPTIONS_CHECK ? agent_check(options.config_path, &summary, &err)
                                            : agent_run(options.config_path, &err);
    sp_tls_keys_gone();
    if (rc != SP_OK) {
        fprintf(stderr, "sallyport-agent: %s\n", sp_error_message(&err, message, sizeof message));
        return exit_status(&err);
    }
    if (summary)
        fputs(summary, stdout);
    free(summary);
    return SP_EXIT_OK;
}
