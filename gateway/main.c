/* sallyport-gateway: the command line around gateway.c. */
#include "common/options.h"
#include "common/tls_cred.h"
#include "gateway/explain.h"
#include "gateway/gateway.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int exit_status(const struct sp_error *err)
{
    return err->kind == SP_ERR_CONFIG || err->kind == SP_ERR_JSON ? SP_EXIT_USAGE : SP_EXIT_FAILED;
}

/* sallyport-gateway explain ...: every error is one of usage or configuration. */
static int explain(int argc, char **argv)
{
    struct gw_explain_answer answer;
    struct sp_error err;
    char message[768];
    bool is_written;
    enum sp_err rc;

    sp_tls_protect_keys();
    rc = gw_explain(argc, argv, &answer, &err);
    sp_tls_keys_gone();
    if (rc != SP_OK) {
        fprintf(stderr, "sallyport-gateway explain: %s\n",
                sp_error_message(&err, message, sizeof message));
        return SP_EXIT_USAGE;
    }
    is_written = fputs(answer.text, stdout) >= 0 && fflush(stdout) == 0;
    free(answer.text);
    if (is_written)
        return answer.exit_status;
    fputs("sallyport-gateway explain: standard output cannot be written\n", stderr);
    return SP_EXIT_USAGE;
}

int main(int argc, char **argv)
{
    struct sp_options options;
    struct sp_error err;
    char message[768];
    char *summary = NULL;
    enum sp_err rc;

    if (argc > 1 && !strcmp(argv[1], "explain")) {
        signal(SIGPIPE, SIG_IGN);
        return explain(argc - 1, argv + 1);
    }
    sp_options_parse(argc, argv, "sallyport-gateway",
                     "ends mutual-TLS tunnels of many tenants and carries their channels on",
                     "  explain        says what would be decided about a client, and why\n",
                     &options);
    if (options.action == SP_OPTIONS_PRINT || options.action == SP_OPTIONS_WRONG) {
        fputs(options.text, options.action == SP_OPTIONS_PRINT ? stdout : stderr);
        return options.exit_code;
    }
    signal(SIGPIPE, SIG_IGN); /* a log that is a closed pipe */
    sp_tls_protect_keys();
    rc = options.action == SP_OPTIONS_CHECK ? gw_gateway_check(options.config_path, &summary, &err)
                                            : gw_gateway_run(options.config_path, &err);
    sp_tls_keys_gone();
    if (rc != SP_OK) {
        fprintf(stderr, "sallyport-gateway: %s\n", sp_error_message(&err, message, sizeof message));
        return exit_status(&err);
    }
    if (summary)
        fputs(summary, stdout);
    free(summary);
    return SP_EXIT_OK;
}
