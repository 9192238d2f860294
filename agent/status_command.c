/* status_command: `sallyport-agent status`: asks the running agent how it is, at one of its doors.
 */
#include "agent/answer.h"
#include "agent/ask.h"
#include "agent/command.h"
#include "agent/config.h"
#include "common/json_out.h"
#include "common/options.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM "sallyport-agent status"

#define ANSWER_MS     5000
#define WATCH_EVERY_S 2

static const char help[] =
    "sallyport-agent status: how the running agent is: state, gateway, tunnels, channels, bytes,\n"
    "certificate, last refusal.\n"
    "\n"
    "usage: sallyport-agent status {--config FILE | --door ADDRESS} [--json] [--watch]\n"
    "\n"
    "  --config FILE   the agent's configuration: it is asked at the first door of type \"http\"\n"
    "                  or \"mixed\" that answers. No key is read\n"
    "  --door ADDRESS  asks at this one: 127.0.0.1:3128, [::1]:3128, unix:PATH\n"
    "  --json          one JSON object in place of text\n"
    "  --watch         again every 2 seconds, until SIGINT (Ctrl-C)\n"
    "\n"
    "Exit status: 0 it answered, 1 it did not, 2 wrong usage or configuration.\n";

struct options {
    const char *config, *door;
    bool json, watch, help;
};

static enum sp_err read_options(int argc, char **argv, struct options *o, struct sp_error *err)
{
    const struct sp_option rows[] = {
        {.name = "--config", .wanted = "FILE", .value = &o->config},
        {.name = "--door", .wanted = "ADDRESS", .value = &o->door},
        {.name = "--json", .flag = &o->json},
        {.name = "--watch", .flag = &o->watch},
        {.name = "--help", .flag = &o->help, .ends = true},
        {.name = NULL},
    };
    enum sp_err rc = sp_options_read(PROGRAM, rows, argc, argv, err);

    if (rc == SP_OK && !o->help && !o->config && !o->door)
        return sp_options_wrong(err, PROGRAM, "--config FILE or --door ADDRESS is needed");
    return rc;
}

static enum sp_err ask(const struct options *o, const struct agent_config *config, char **ret_body,
                       struct sp_error *err)
{
    const char *path = o->json ? "/status.json" : "/";
    const char *accept = o->json ? "application/json" : "text/plain";
    struct agent_ask_door door;

    if (!o->door)
        return agent_ask_any(config, path, accept, ANSWER_MS, ret_body, err);
    if (agent_ask_parse_door(o->door, &door, err) != SP_OK)
        return err->kind;
    return agent_ask(&door, path, accept, ANSWER_MS, ret_body, err);
}

/* True: told to end. The signals are blocked, so none is missed between two looks. */
static bool wait_a_while(const sigset_t *ends)
{
    const struct timespec every = {.tv_sec = WATCH_EVERY_S};

    return sigtimedwait(ends, NULL, &every) > 0;
}

/* It is whatever answered: a terminal must not obey it. */
static void show(char *body, FILE *out)
{
    for (char *line = body; *line;) {
        size_t len = strcspn(line, "\n");
        bool has_end = line[len];

        line[len] = '\0';
        agent_answer_text(out, line);
        fputc('\n', out);
        line += len + has_end;
    }
}

static void show_trouble(const struct options *o, const char *text, FILE *out)
{
    struct sp_json_out json = {.out = out};

    if (o->json) {
        sp_json_out_object(&json, NULL);
        sp_json_out_str(&json, "trouble", text);
        sp_json_out_object_end(&json);
    } else {
        agent_answer_text(out, text);
    }
    fputc('\n', out);
}

/* An agent that does not answer may be there again a moment later. */
static enum sp_err watch(const struct options *o, const struct agent_config *config, FILE *out,
                         struct sp_error *err)
{
    bool is_terminal = isatty(fileno(out));
    sigset_t ends;

    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    do {
        SP_AUTO_FREE char *body = NULL;
        char message[768];
        enum sp_err rc = ask(o, config, &body, err);

        if (rc == SP_ERR_CONFIG)
            return rc;
        if (is_terminal && !o->json)
            fputs("\033[H\033[2J", out);
        if (rc == SP_OK)
            show(body, out);
        else
            show_trouble(o, sp_error_message(err, message, sizeof message), out);
        if (!is_terminal && !o->json)
            fputc('\n', out);
        if (fflush(out) != 0)
            break; /* nobody reads it any more: main says so */
    } while (!wait_a_while(&ends));
    return SP_OK;
}

static enum sp_err run(int argc, char **argv, FILE *out, int *ret_exit, struct sp_error *err)
{
    struct agent_config *config = NULL;
    SP_AUTO_FREE char *body = NULL;
    struct options o = {.config = NULL};
    enum sp_err rc = read_options(argc, argv, &o, err);

    *ret_exit = SP_EXIT_OK;
    if (rc == SP_OK && o.help) {
        fputs(help, out);
        return SP_OK;
    }
    if (rc == SP_OK && o.config && !o.door && agent_config_read(o.config, &config, err) != SP_OK)
        rc = sp_error_as_config(err);
    if (rc == SP_OK)
        rc = o.watch ? watch(&o, config, out, err) : ask(&o, config, &body, err);
    if (rc == SP_OK && body)
        show(body, out);
    agent_config_unref(config);
    return rc;
}

const struct agent_command agent_status_command = {
    .name = "status",
    .purpose = "tells how the running agent is",
    .run = run,
};
