/* route_command: `sallyport-agent route`: which way a destination would take, and which rule says
 * so. Nothing is resolved and nothing is connected to. */
#include "agent/command.h"
#include "agent/config.h"
#include "agent/hosts.h"
#include "agent/routes.h"
#include "common/log.h"
#include "common/options.h"

#include <string.h>

#define PROGRAM "sallyport-agent route"

static const char help[] =
    "sallyport-agent route: which way a destination takes, and which rule decides it.\n"
    "\n"
    "usage: sallyport-agent route --config FILE [--door NAME] [--user NAME] [--json] HOST:PORT\n"
    "\n"
    "  --config FILE  the agent's configuration; it is loaded as for --check\n"
    "  --door NAME    as for an application at this door (its \"name\"); without it: at one that\n"
    "                 has no name\n"
    "  --user NAME    as for this user; without it: for one that is unknown\n"
    "  --json         one JSON object in place of text\n"
    "\n"
    "A name is not resolved, here as there: a \"cidr\" matches only what is an address already.\n"
    "Exit status: 0 it was decided (whatever the way), 2 wrong usage or configuration.\n";

struct options {
    const char *config, *door, *user, *target;
    bool json, help;
};

static enum sp_err read_options(int argc, char **argv, struct options *o, struct sp_error *err)
{
    const struct sp_option rows[] = {
        {.name = "--config", .wanted = "FILE", .value = &o->config, .is_required = true},
        {.name = "--door", .wanted = "NAME", .value = &o->door},
        {.name = "--user", .wanted = "NAME", .value = &o->user},
        {.name = "--json", .flag = &o->json},
        {.name = "--help", .flag = &o->help, .ends = true},
        {.name = "HOST:PORT", .value = &o->target, .is_required = true},
        {.name = NULL},
    };

    return sp_options_read(PROGRAM, rows, argc, argv, err);
}

static void print(const struct options *o, const struct agent_config *config,
                  const struct sp_target *target, const struct agent_way *way, FILE *out)
{
    char text[SP_TARGET_TEXT], rule[AGENT_RULE_TEXT];
    struct sp_log_line line;

    sp_target_format(target, text);
    agent_route_rule(config, way, rule);
    if (!o->json) {
        fprintf(out, "%s: %s (%s)\n", text, agent_via_name(way->via), rule);
        return;
    }
    sp_log_text_begin(&line);
    sp_log_str(&line, "destination", text);
    sp_log_str(&line, "door", o->door);
    sp_log_str(&line, "user", o->user);
    sp_log_str(&line, "via", agent_via_name(way->via));
    sp_log_str(&line, "rule", rule);
    fprintf(out, "%s\n", sp_log_text_end(&line));
}

static enum sp_err decide(const struct options *o, const struct agent_config *config, FILE *out,
                          struct sp_error *err)
{
    const struct agent_door *door = o->door ? agent_config_find_door(config, o->door) : NULL;
    struct agent_hosts *hosts;
    struct sp_target target;
    struct agent_route_question question = {.target = &target, .door = o->door, .user = o->user};
    struct agent_way way;

    if (o->door && !door)
        return sp_options_wrong(err, PROGRAM, "no door of the configuration has this name: %.100s",
                                o->door);
    if (sp_target_parse(o->target, strlen(o->target), &target, err) != SP_OK)
        return err->kind = SP_ERR_CONFIG;
    hosts = agent_hosts_new(NULL);
    agent_hosts_refresh(hosts);
    question.hosts = hosts;
    question.fixed = door && door->type == AGENT_DOOR_FORWARD;
    way = agent_route_decide(config, &question);
    print(o, config, &target, &way, out);
    agent_hosts_free(hosts);
    return SP_OK;
}

static enum sp_err run(int argc, char **argv, FILE *out, int *ret_exit, struct sp_error *err)
{
    struct options options = {.config = NULL};
    struct agent_config *config;
    enum sp_err rc = read_options(argc, argv, &options, err);

    *ret_exit = SP_EXIT_OK;
    if (rc != SP_OK)
        return rc;
    if (options.help) {
        fputs(help, out);
        return SP_OK;
    }
    rc = agent_config_load(options.config, &config, err);
    if (rc != SP_OK)
        return sp_error_as_config(err);
    rc = decide(&options, config, out, err);
    agent_config_unref(config);
    return rc;
}

const struct agent_command agent_route_command = {
    .name = "route",
    .purpose = "says which way a destination takes, and by which rule",
    .run = run};
