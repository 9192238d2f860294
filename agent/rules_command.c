/* rules_command: `sallyport-agent rules`: the firewall rules that bring what this machine's
 * applications connect to to the transparent doors. Nothing is changed here. */
#include "agent/command.h"
#include "agent/config.h"
#include "agent/owner.h"
#include "agent/routes.h"
#include "agent/transparent.h"
#include "common/options.h"

#include <inttypes.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM "sallyport-agent rules"

#define MARK  "0x5a11" /* of packets on their way to a tproxy door */
#define TABLE "23057"  /* of routes for them: 0x5a11 */

static const char help[] =
    "sallyport-agent rules: the firewall rules that the transparent doors need, for nft -f.\n"
    "\n"
    "usage: sallyport-agent rules --config FILE [--user USER] [--door NAME] [--ip]\n"
    "\n"
    "  --config FILE  the agent's configuration; it is loaded as for --check\n"
    "  --user USER    name or uid that the agent runs as: what this user connects to is left\n"
    "                 alone. Without it: the user who asks\n"
    "  --door NAME    for this transparent door alone (its \"name\")\n"
    "  --ip           in place of the rules: the ip(8) commands that tproxy needs beside them\n"
    "\n"
    "They catch TCP of this machine, IPv4 and IPv6 as far as there is a door for it, but for what\n"
    "stays on it or its link, and what goes to the gateways. To take them back:\n"
    "nft delete table inet sallyport\n";

struct options {
    const char *config, *user, *door;
    bool ip, help;
    uint32_t uid;
};

/* A door for each family; NULL: none. */
struct plan {
    const struct agent_door *v4, *v6;
};

static enum sp_err read_options(int argc, char **argv, struct options *o, struct sp_error *err)
{
    const struct sp_option rows[] = {
        {.name = "--config", .wanted = "FILE", .value = &o->config, .is_required = true},
        {.name = "--user", .wanted = "USER", .value = &o->user},
        {.name = "--door", .wanted = "NAME", .value = &o->door},
        {.name = "--ip", .flag = &o->ip},
        {.name = "--help", .flag = &o->help, .ends = true},
        {.name = NULL},
    };
    enum sp_err rc = sp_options_read(PROGRAM, rows, argc, argv, err);

    if (rc != SP_OK || o->help)
        return rc;
    o->uid = geteuid();
    if (o->user && !agent_owner_find(o->user, &o->uid))
        return sp_options_wrong(err, PROGRAM, "no user of this machine: %.100s", o->user);
    return SP_OK;
}

/* ---- which doors ---- */

static bool is_meant(const struct options *o, const struct agent_door *door)
{
    return door->type == AGENT_DOOR_TRANSPARENT &&
           (!o->door || (door->name && strcmp(door->name, o->door) == 0));
}

static enum sp_err make_plan(const struct options *o, const struct agent_config *config,
                             struct plan *plan, struct sp_error *err)
{
    for (size_t i = 0; i < config->door_count; i++) {
        const struct agent_door *door = &config->doors[i];
        const struct agent_door **slot = door->listen.ip.family == 6 ? &plan->v6 : &plan->v4;
        char path[48];

        if (!is_meant(o, door))
            continue;
        snprintf(path, sizeof path, "$.doors[%zu].listen", i);
        if (!door->listen.port)
            return sp_json_error(err, config->path, path,
                                 "rules need a port that stays; wanted: one other than 0");
        if (*slot)
            return sp_json_error(err, config->path, path,
                                 "a second transparent door for IPv%u, beside $.doors[%zu]; "
                                 "wanted: --door NAME, with the \"name\" of one of them",
                                 door->listen.ip.family, (size_t)(*slot - config->doors));
        *slot = door;
    }
    if (plan->v4 || plan->v6)
        return SP_OK;
    return sp_json_error(err, config->path, "$.doors",
                         o->door ? "no door of type \"transparent\" has this name"
                                 : "no door of type \"transparent\", so no rules are needed");
}

/* ---- the rules ---- */

static void print_address(FILE *out, const struct sp_addr *addr)
{
    char ip[SP_IP_TEXT];

    fprintf(out, "        %s daddr %s tcp dport %u return\n", addr->ip.family == 6 ? "ip6" : "ip",
            sp_ip_format(&addr->ip, ip), (unsigned)addr->port);
}

static void print_gateway(FILE *out, const struct sp_target *gateway)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *found = NULL;
    struct sp_addr addr = {.ip = gateway->ip, .port = gateway->port};

    if (gateway->is_ip) {
        print_address(out, &addr);
        return;
    }
    if (getaddrinfo(gateway->host, NULL, &hints, &found) != 0) {
        fprintf(out, "        # %s has no address now\n", gateway->host);
        return;
    }
    fprintf(out, "        # %s\n", gateway->host);
    for (const struct addrinfo *each = found; each; each = each->ai_next) {
        if (sp_addr_from_sockaddr(each->ai_addr, &addr)) {
            addr.port = gateway->port;
            print_address(out, &addr);
        }
    }
    freeaddrinfo(found);
}

static void print_near(FILE *out, uint8_t family, const char *multicast)
{
    char ip[SP_IP_TEXT];

    fprintf(out, "        %s daddr { ", family == 6 ? "ip6" : "ip");
    for (size_t i = 0; i < AGENT_NEAR_NETWORKS; i++) {
        const struct sp_cidr *cidr = &agent_near_networks[i].cidr;

        if (cidr->base.family == family)
            fprintf(out, "%s/%u, ", sp_ip_format(&cidr->base, ip), (unsigned)cidr->prefix);
    }
    fprintf(out, "%s } return\n", multicast);
}

/* What is left alone, in a chain that sees connections begin. */
static void print_exceptions(FILE *out, const struct options *o, const struct agent_config *config)
{
    fprintf(out, "        meta skuid %" PRIu32 " return\n", o->uid);
    fputs("        fib daddr type { local, broadcast, multicast } return\n", out);
    print_near(out, 4, "224.0.0.0/4");
    print_near(out, 6, "ff00::/8");
    for (size_t i = 0; i < config->gateway_texts.count; i++)
        print_gateway(out, &config->gateways[i]);
}

static bool has(const struct plan *plan, enum agent_intercept intercept)
{
    return (plan->v4 && plan->v4->intercept == (int)intercept) ||
           (plan->v6 && plan->v6->intercept == (int)intercept);
}

/* `redirect` leads to the loopback address of its family, and to no other. */
static bool is_where_redirect_leads(const struct sp_ip *ip)
{
    static const struct sp_ip v4 = {.family = 4, .bytes = {127, 0, 0, 1}};
    static const struct sp_ip v6 = {.family = 6, .bytes = {[15] = 1}};
    static const struct sp_ip any4 = {.family = 4}, any6 = {.family = 6};

    return sp_ip_equal(ip, &v4) || sp_ip_equal(ip, &v6) || sp_ip_equal(ip, &any4) ||
           sp_ip_equal(ip, &any6);
}

static void print_redirect(FILE *out, const struct agent_door *door)
{
    char text[SP_ADDR_TEXT];
    bool v6;

    if (!door || door->intercept != AGENT_INTERCEPT_REDIRECT)
        return;
    v6 = door->listen.ip.family == 6;
    fprintf(out, "        meta nfproto ipv%d meta l4proto tcp ", v6 ? 6 : 4);
    if (is_where_redirect_leads(&door->listen.ip))
        fprintf(out, "redirect to :%u\n", (unsigned)door->listen.port);
    else
        fprintf(out, "dnat ip%s to %s\n", v6 ? "6" : "", sp_addr_format(&door->listen, text));
}

static void print_divert(FILE *out, const struct agent_door *door)
{
    if (!door || door->intercept != AGENT_INTERCEPT_TPROXY)
        return;
    fprintf(out,
            "        meta nfproto ipv%d meta l4proto tcp ct mark set " MARK " meta mark set " MARK
            "\n",
            door->listen.ip.family);
}

static void print_tproxy(FILE *out, const struct agent_door *door)
{
    char text[SP_ADDR_TEXT];

    if (!door || door->intercept != AGENT_INTERCEPT_TPROXY)
        return;
    fprintf(out,
            "        meta mark " MARK " meta nfproto ipv%d meta l4proto tcp tproxy ip%s to %s "
            "accept\n",
            door->listen.ip.family, door->listen.ip.family == 6 ? "6" : "",
            sp_addr_format(&door->listen, text));
}

static void print_ip(FILE *out, const char *before, const struct plan *plan)
{
    const struct agent_door *const doors[] = {plan->v4, plan->v6};

    for (size_t i = 0; i < 2; i++) {
        const char *family = i ? " -6" : "";

        if (!doors[i] || doors[i]->intercept != AGENT_INTERCEPT_TPROXY)
            continue;
        fprintf(out, "%sip%s rule add fwmark " MARK " lookup " TABLE "\n", before, family);
        fprintf(out, "%sip%s route add local %s dev lo table " TABLE "\n", before, family,
                i ? "::/0" : "0.0.0.0/0");
    }
}

static void print_rules(FILE *out, const struct options *o, const struct agent_config *config,
                        const struct plan *plan)
{
    bool tproxy = has(plan, AGENT_INTERCEPT_TPROXY);

    if (tproxy) {
        fputs("# Beside these rules (sallyport-agent rules --ip):\n", out);
        print_ip(out, "#   ", plan);
    }
    fputs("table inet sallyport\n"
          "delete table inet sallyport\n"
          "table inet sallyport {\n",
          out);
    if (has(plan, AGENT_INTERCEPT_REDIRECT)) {
        fputs("    chain catch {\n"
              "        type nat hook output priority -100; policy accept;\n",
              out);
        print_exceptions(out, o, config);
        print_redirect(out, plan->v4);
        print_redirect(out, plan->v6);
        fputs("    }\n", out);
    }
    if (tproxy) {
        /* A connection is judged by its first packet, which has a socket and so an owner; the last
         * ones may have none any more, and must not lose their way. */
        fputs("    chain divert {\n"
              "        type route hook output priority mangle; policy accept;\n"
              "        ct direction original ct mark " MARK " meta mark set " MARK " accept\n"
              "        ct state != new return\n",
              out);
        print_exceptions(out, o, config);
        print_divert(out, plan->v4);
        print_divert(out, plan->v6);
        fputs("    }\n"
              "    chain hand_over {\n"
              "        type filter hook prerouting priority mangle; policy accept;\n",
              out);
        print_tproxy(out, plan->v4);
        print_tproxy(out, plan->v6);
        fputs("    }\n", out);
    }
    fputs("}\n", out);
}

static enum sp_err run(int argc, char **argv, FILE *out, int *ret_exit, struct sp_error *err)
{
    struct options options = {.config = NULL};
    struct plan plan = {.v4 = NULL};
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
    rc = make_plan(&options, config, &plan, err);
    if (rc == SP_OK && options.ip)
        print_ip(out, "", &plan);
    else if (rc == SP_OK)
        print_rules(out, &options, config, &plan);
    agent_config_unref(config);
    return rc;
}

const struct agent_command agent_rules_command = {
    .name = "rules",
    .purpose = "prints the firewall rules that the transparent doors need",
    .run = run};
