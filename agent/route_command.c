/* route_command: `sallyport-agent route`: which way a destination would take, and which rule says
 * so. Nothing is resolved and nothing is connected to. */
#include "agent/command.h"
#include "agent/config.h"
#include "agent/hosts.h"
#include "agent/routes.h"
#include "common/log.h"
#include "common/options.h"

#include <getopt.h>
#include <string.h>

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

static enum sp_err wrong(struct sp_error *err, const char *what, const char *which)
{
    return sp_error_set(err, SP_ERR_CONFIG, "%s%.100s (see: sallyport-agent route --help)", what,
                        which);
}

static enum sp_err parse_options(int argc, char **argv, struct options *o, struct sp_error *err)
{
    static const struct option long_options[] = {
        {"config", required_argument, NULL, 'c'}, {"door", required_argument, NULL, 'd'},
        {"user", required_argument, NULL, 'u'},   {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    int code;

    optind = 1;
    while ((code = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
        const char **slot = code == 'c'   ? &o->config
                            : code == 'd' ? &o->door
                            : code == 'u' ? &o->user
                                          : NULL;

        if (slot && *slot)
            return wrong(err, "given twice: ", argv[optind - 1]);
        if (slot)
            *slot = optarg;
        else if (code == 'j')
            o->json = true;
        else if (code == 'h')
            o->help = true;
        else
            return wrong(err, code == ':' ? "a value is missing behind " : "unknown option: ",
                         argv[optind - 1]);
    }
    if (o->help)
        return SP_OK;
    if (!o->config)
        return wrong(err, "--config is missing", "");
    if (optind + 1 != argc)
        return wrong(err, "wanted is one destination, HOST:PORT", "");
    o->target = argv[optind];
    return SP_OK;
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
        return wrong(err, "no door of the configuration has this name: ", o->door);
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
    enum sp_err rc = parse_options(argc, argv, &options, err);

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
