#include "agent/routes.h"

#include "agent/config.h"
#include "agent/hosts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BELOW      "*." /* before a name: any below it */
#define LOOPBACK   "built in: loopback"
#define LINK_LOCAL "built in: link-local"

const struct agent_near_network agent_near_networks[AGENT_NEAR_NETWORKS] = {
    {{{4, {127}}, 8}, LOOPBACK},
    {{{4, {169, 254}}, 16}, LINK_LOCAL},
    {{{6, {[15] = 1}}, 128}, LOOPBACK},
    {{{6, {0xfe, 0x80}}, 10}, LINK_LOCAL},
};

static const char *const via_names[] = {
    [AGENT_VIA_TUNNEL] = "tunnel",
    [AGENT_VIA_DIRECT] = "direct",
    [AGENT_VIA_BLOCK] = "block",
    NULL,
};

const char *agent_via_name(enum agent_via via)
{
    return via_names[via];
}

/* ---- the file ---- */

static enum sp_err check_host(const char *value, struct sp_error *err)
{
    const char *name = strncmp(value, BELOW, strlen(BELOW)) == 0 ? value + strlen(BELOW) : value;
    char folded[SP_HOST_MAX + 1];
    struct sp_cidr cidr;

    if (strcmp(value, "*") == 0 || sp_host_fold(name, strlen(name), folded))
        return SP_OK;
    if (sp_cidr_parse(value, strlen(value), &cidr, NULL) == SP_OK)
        return sp_error_set(err, SP_ERR_CONFIG, "\"%.80s\" is an address, which goes in \"cidr\"",
                            value);
    return sp_error_set(err, SP_ERR_CONFIG,
                        "\"%.260s\" is no pattern for names; wanted: \"db.example\", "
                        "\"*.example\" (all below it), or \"*\" (any name)",
                        value);
}

static enum sp_err check_cidr(const char *value, struct sp_error *err)
{
    struct sp_cidr cidr;

    return sp_cidr_parse(value, strlen(value), &cidr, err);
}

/* Up to the end or a '-'; 0: no port. */
static unsigned parse_port(const char **text)
{
    size_t len = strspn(*text, "0123456789");
    unsigned long value = len >= 1 && len <= 5 && **text != '0' ? strtoul(*text, NULL, 10) : 0;

    *text += len;
    return value <= UINT16_MAX ? (unsigned)value : 0;
}

static bool parse_ports(const char *text, struct agent_port_range *ret)
{
    unsigned first = parse_port(&text), last = first;

    if (*text == '-') {
        text++;
        last = parse_port(&text);
    }
    *ret = (struct agent_port_range){(uint16_t)first, (uint16_t)last};
    return !*text && first && first <= last;
}

static enum sp_err check_ports(const char *value, struct sp_error *err)
{
    struct agent_port_range range;

    if (parse_ports(value, &range))
        return SP_OK;
    return sp_error_set(err, SP_ERR_CONFIG,
                        "\"%.40s\" is neither a port (1..65535) nor a range of them, as in "
                        "\"8000-8099\"",
                        value);
}

static enum sp_err check_not_empty(const char *value, struct sp_error *err)
{
    return *value ? SP_OK : sp_error_set(err, SP_ERR_CONFIG, "a name is wanted here");
}

#define CONDITION(name, member, checker)                                                           \
    {                                                                                              \
        .key = (name), .type = SP_JSON_STRINGS, .offset = offsetof(struct agent_route, member),    \
        .or_one = true, .min = 1, .max = 10000, .check = (checker)                                 \
    }

const struct sp_json_field agent_route_fields[] = {
    CONDITION("host", hosts, check_host),
    CONDITION("cidr", cidr_texts, check_cidr),
    {.key = "port",
     .type = SP_JSON_STRINGS,
     .offset = offsetof(struct agent_route, port_texts),
     .or_one = true,
     .or_number = true,
     .min = 1,
     .max = 1000,
     .check = check_ports},
    CONDITION("door", doors, check_not_empty),
    CONDITION("user", users, check_not_empty),
    {.key = "via",
     .type = SP_JSON_ENUM,
     .offset = offsetof(struct agent_route, via),
     .required = true,
     .names = via_names},
    {.key = NULL},
};

/* The checks of the table have seen all of it. */
static void route_finish(struct agent_route *route)
{
    char folded[SP_HOST_MAX + 1];

    for (size_t i = 0; i < route->hosts.count; i++) {
        char *text = route->hosts.items[i];

        if (strncmp(text, BELOW, strlen(BELOW)) == 0)
            text += strlen(BELOW);
        if (strcmp(text, "*") == 0)
            continue;
        SP_REQUIRE(sp_host_fold(text, strlen(text), folded));
        memcpy(text, folded, strlen(folded) + 1); /* never longer */
    }
    route->cidrs = sp_calloc(route->cidr_texts.count + 1, sizeof *route->cidrs);
    for (size_t i = 0; i < route->cidr_texts.count; i++) {
        const char *text = route->cidr_texts.items[i];

        SP_REQUIRE(sp_cidr_parse(text, strlen(text), &route->cidrs[i], NULL) == SP_OK);
    }
    route->ports = sp_calloc(route->port_texts.count + 1, sizeof *route->ports);
    for (size_t i = 0; i < route->port_texts.count; i++)
        SP_REQUIRE(parse_ports(route->port_texts.items[i], &route->ports[i]));
}

enum sp_err agent_routes_finish(struct agent_config *config, struct sp_error *err)
{
    char where[64];

    config->routes = config->route_rows.items;
    config->route_count = config->route_rows.count;
    for (size_t i = 0; i < config->route_count; i++)
        route_finish(&config->routes[i]);
    for (size_t i = 0; i < config->route_count; i++) {
        const struct sp_json_strings *doors = &config->routes[i].doors;

        for (size_t k = 0; k < doors->count; k++) {
            if (agent_config_find_door(config, doors->items[k]))
                continue;
            snprintf(where, sizeof where, "$.routes[%zu].door", i);
            return sp_json_error(err, config->path, where,
                                 "no door has the name \"%.80s\"; wanted: the \"name\" of one of "
                                 "$.doors",
                                 doors->items[k]);
        }
    }
    return SP_OK;
}

void agent_routes_done(struct agent_config *config)
{
    for (size_t i = 0; i < config->route_count; i++) {
        free(config->routes[i].cidrs);
        free(config->routes[i].ports);
    }
}

/* ---- one condition ---- */

/* name: folded. */
static bool host_matches(const char *pattern, const char *name)
{
    size_t pattern_len, name_len;

    if (strcmp(pattern, "*") == 0)
        return true;
    if (strncmp(pattern, BELOW, strlen(BELOW)) != 0)
        return strcmp(pattern, name) == 0;
    pattern++; /* ".example" */
    pattern_len = strlen(pattern);
    name_len = strlen(name);
    return name_len > pattern_len && strcmp(name + name_len - pattern_len, pattern) == 0;
}

static bool has_host(const struct agent_route *route, const struct agent_route_question *q)
{
    for (size_t i = 0; i < route->hosts.count; i++) {
        const char *pattern = route->hosts.items[i];

        if (!q->target->is_ip && host_matches(pattern, q->target->host))
            return true;
        if (q->alt_name && host_matches(pattern, q->alt_name))
            return true;
    }
    return !route->hosts.count;
}

static bool has_address(const struct agent_route *route, const struct sp_target *target)
{
    for (size_t i = 0; i < route->cidr_texts.count; i++) {
        if (target->is_ip && sp_cidr_contains(&route->cidrs[i], &target->ip))
            return true;
    }
    return !route->cidr_texts.count;
}

static bool has_port(const struct agent_route *route, uint16_t port)
{
    for (size_t i = 0; i < route->port_texts.count; i++) {
        if (port >= route->ports[i].first && port <= route->ports[i].last)
            return true;
    }
    return !route->port_texts.count;
}

/* No condition, or one of its items. */
static bool has_word(const struct sp_json_strings *wanted, const char *word)
{
    for (size_t i = 0; i < wanted->count; i++) {
        if (word && strcmp(wanted->items[i], word) == 0)
            return true;
    }
    return !wanted->count;
}

bool agent_route_has_door(const struct agent_route *route, const char *door)
{
    return has_word(&route->doors, door);
}

/* ---- the decision ---- */

bool agent_route_is_localhost(const char *name)
{
    return strcmp(name, "localhost") == 0 || host_matches("*.localhost", name);
}

/* Why it belongs to this machine or its link; NULL: it does not. */
static const char *nearness_of_name(const char *name, const struct agent_hosts *hosts)
{
    if (agent_route_is_localhost(name))
        return "built in: localhost";
    return hosts && agent_hosts_has(hosts, name) ? "built in: a name of the hosts file" : NULL;
}

static const char *nearness(const struct agent_route_question *q)
{
    const struct sp_target *target = q->target;

    if (q->fixed)
        return NULL;
    if (!target->is_ip)
        return nearness_of_name(target->host, q->hosts);
    for (size_t i = 0; i < AGENT_NEAR_NETWORKS; i++) {
        if (sp_cidr_contains(&agent_near_networks[i].cidr, &target->ip))
            return agent_near_networks[i].words;
    }
    return q->alt_name ? nearness_of_name(q->alt_name, q->hosts) : NULL;
}

static bool has_the_rest(const struct agent_route *route, const struct agent_route_question *q)
{
    return has_address(route, q->target) && has_port(route, q->target->port) &&
           has_word(&route->doors, q->door) && has_word(&route->users, q->user);
}

/* The first that would match but for its hosts decides: what stands behind it is not reached
 * without a name. */
bool agent_route_wants_name(const struct agent_config *config, const struct agent_route_question *q)
{
    for (size_t i = 0; i < config->route_count; i++) {
        if (has_the_rest(&config->routes[i], q))
            return config->routes[i].hosts.count > 0;
    }
    return false;
}

struct agent_way agent_route_decide(const struct agent_config *config,
                                    const struct agent_route_question *q)
{
    const char *near;

    for (size_t i = 0; i < config->route_count; i++) {
        const struct agent_route *route = &config->routes[i];

        if (has_host(route, q) && has_the_rest(route, q))
            return (struct agent_way){.via = (enum agent_via)route->via, .route = (int)i};
    }
    near = nearness(q);
    if (near)
        return (struct agent_way){.via = AGENT_VIA_DIRECT, .route = -1, .words = near};
    return (struct agent_way){
        .via = AGENT_VIA_TUNNEL, .route = -1, .words = "built in: everything else"};
}

const char *agent_route_rule(const struct agent_config *config, const struct agent_way *way,
                             char buf[AGENT_RULE_TEXT])
{
    if (way->route >= 0)
        snprintf(buf, AGENT_RULE_TEXT, "%.280s: $.routes[%d]", config->path, way->route);
    else
        snprintf(buf, AGENT_RULE_TEXT, "%s", way->words);
    return buf;
}

bool agent_route_is_particular(const struct agent_route *route)
{
    for (size_t i = 0; i < route->hosts.count; i++)
        if (strcmp(route->hosts.items[i], "*") != 0)
            return true;
    return route->cidr_texts.count > 0;
}
