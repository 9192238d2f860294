/* diagnose_command: `sallyport-agent diagnose`: the whole way to each gateway once, step by step.
 */
#include "agent/bundle.h"
#include "agent/command.h"
#include "agent/config.h"
#include "agent/diagnose.h"
#include "agent/report.h"
#include "common/json_out.h"
#include "common/options.h"

#include <string.h>

#define PROGRAM "sallyport-agent diagnose"

static const char help[] =
    "sallyport-agent diagnose: goes the whole way to each gateway once - name, TCP, TLS, verdict,\n"
    "the gateway's answer, a channel - and tells of each step how long it took and what is wrong.\n"
    "\n"
    "usage: sallyport-agent diagnose --config FILE [--json] [--bundle FILE] [--door ADDRESS]\n"
    "                                [HOST:PORT]\n"
    "\n"
    "  --config FILE   the agent's configuration, with its certificate and key\n"
    "  HOST:PORT       the channel goes there; without it, any answer of the gateway will do\n"
    "  --json          one JSON object in place of text\n"
    "  --bundle FILE   writes what support needs to this file (JSON): versions, configuration,\n"
    "                  certificate, files, status of the running agent, these steps, the end of\n"
    "                  the log; no keys, no passwords\n"
    "  --door ADDRESS  where the running agent is asked for its status: 127.0.0.1:3128, "
    "unix:PATH;\n"
    "                  without it, at the doors of the configuration\n"
    "\n"
    "Exit status: 0 all is well, 1 something failed, 2 wrong usage or configuration.\n";

struct options {
    const char *config, *bundle, *door;
    struct sp_target target;
    bool has_target, json, help;
};

static enum sp_err read_options(int argc, char **argv, struct options *o, struct sp_error *err)
{
    const char *target = NULL;
    const struct sp_option rows[] = {
        {.name = "--config", .wanted = "FILE", .value = &o->config, .is_required = true},
        {.name = "--bundle", .wanted = "FILE", .value = &o->bundle},
        {.name = "--door", .wanted = "ADDRESS", .value = &o->door},
        {.name = "--json", .flag = &o->json},
        {.name = "--help", .flag = &o->help, .ends = true},
        {.name = "HOST:PORT", .value = &target},
        {.name = NULL},
    };
    struct sp_error why;
    enum sp_err rc = sp_options_read(PROGRAM, rows, argc, argv, err);

    if (rc != SP_OK || o->help || !target)
        return rc;
    o->has_target = true;
    if (sp_target_parse(target, strlen(target), &o->target, &why) != SP_OK)
        return sp_options_wrong(err, PROGRAM, "\"%.80s\" is no HOST:PORT: %.180s", target,
                                why.text);
    return SP_OK;
}

static void show(const struct agent_report *report, bool as_json, FILE *out)
{
    struct sp_json_out json = {.out = out};

    if (!as_json) {
        agent_report_text(report, out);
        return;
    }
    sp_json_out_object(&json, NULL);
    agent_report_json(report, &json);
    sp_json_out_object_end(&json);
    fputc('\n', out);
}

/* A configuration that cannot be used is a reason for a bundle, not against it. */
static enum sp_err save_broken(const struct options *o, struct sp_error *err)
{
    struct agent_config *config = NULL;
    struct sp_error ignored;
    const struct sp_error why = *err;
    const bool is_readable = agent_config_read(o->config, &config, &ignored) == SP_OK;
    const struct agent_bundle bundle = {
        .config_path = o->config,
        .config = is_readable ? config : NULL,
        .config_error = &why,
        .door = o->door,
    };
    enum sp_err rc = agent_bundle_save(&bundle, o->bundle, err);

    if (is_readable)
        agent_config_unref(config);
    if (rc == SP_OK)
        *err = why;
    return err->kind;
}

static enum sp_err diagnose(const struct options *o, FILE *out, int *ret_exit, struct sp_error *err)
{
    struct agent_report report = {.steps = NULL};
    struct agent_config *config;
    struct agent_bundle bundle = {.config_path = o->config, .report = &report, .door = o->door};
    enum sp_err rc = agent_config_load(o->config, &config, err);

    if (rc != SP_OK) {
        sp_error_as_config(err);
        return o->bundle ? save_broken(o, err) : err->kind;
    }
    bundle.config = config;
    rc = agent_diagnose(config, o->has_target ? &o->target : NULL, &report, err);
    if (rc == SP_OK) {
        show(&report, o->json, out);
        *ret_exit = report.failed ? SP_EXIT_FAILED : SP_EXIT_OK;
    }
    if (rc == SP_OK && o->bundle)
        rc = agent_bundle_save(&bundle, o->bundle, err);
    agent_report_done(&report);
    agent_config_unref(config);
    return rc;
}

static enum sp_err run(int argc, char **argv, FILE *out, int *ret_exit, struct sp_error *err)
{
    struct options o = {.config = NULL};
    enum sp_err rc = read_options(argc, argv, &o, err);

    *ret_exit = SP_EXIT_OK;
    if (rc != SP_OK)
        return rc;
    if (o.help) {
        fputs(help, out);
        return SP_OK;
    }
    return diagnose(&o, out, ret_exit, err);
}

const struct agent_command agent_diagnose_command = {
    .name = "diagnose",
    .purpose = "goes the whole way to each gateway once, and tells what is wrong",
    .run = run,
};
