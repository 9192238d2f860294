#include "certs/cmd_init.h"

#include "certs/lab.h"
#include "certs/store.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_GATEWAY "127.0.0.1:8443"
#define DEFAULT_DOOR    "127.0.0.1:3128"

/* What a laboratory needs and no more: servers on this machine, and names that cannot be anybody's
 * (RFC 2606). */
static const char *const default_rules[] = {"127.0.0.0/8:*", "[::1]:*", "*.example:443"};

struct init_options {
    struct certs_lab_plan plan;
    bool has_gateway, has_door;
};

static enum sp_err set_gateway(void *target, const char *value, struct sp_error *err)
{
    struct init_options *options = target;
    enum sp_err rc = sp_addr_parse(value, &options->plan.gateway, err);

    if (rc != SP_OK)
        return rc;
    if (!options->plan.gateway.port)
        return sp_error_set(err, SP_ERR_CONFIG, "'%s' has port 0: the agents need to know the port",
                            value);
    options->has_gateway = true;
    return SP_OK;
}

static enum sp_err set_door(void *target, const char *value, struct sp_error *err)
{
    struct init_options *options = target;

    options->has_door = true;
    return sp_addr_parse(value, &options->plan.door, err);
}

static bool is_port_or_any(const char *text)
{
    char *end;
    unsigned long port;

    if (!strcmp(text, "*"))
        return true;
    if (*text < '1' || *text > '9' || strlen(text) > 5)
        return false;
    port = strtoul(text, &end, 10);
    return !*end && port <= 65535;
}

/* The gateway's own check is the judge; this one says early what could never be a rule. */
static enum sp_err check_rule(const char *rule, struct sp_error *err)
{
    const char *colon = strrchr(rule, ':');
    char host[SP_HOST_MAX + 1];
    struct sp_cidr cidr;
    struct sp_ip ip;
    bool is_cidr = false;
    size_t len;

    if (!colon || colon == rule || !is_port_or_any(colon + 1))
        return sp_error_set(err, SP_ERR_CONFIG,
                            "'%.200s' does not end with ':' and a port or '*', as in "
                            "\"*.example:443\", \"10.1.0.0/16:*\", \"[2001:db8::/32]:443\"",
                            rule);
    len = (size_t)(colon - rule);
    if (*rule == '[' && colon[-1] == ']' && memchr(rule + 1, ':', len - 1))
        return sp_cidr_parse(rule + 1, len - 2, &cidr, err);
    if (memchr(rule, '/', len) || sp_ip_parse(rule, len, &ip))
        is_cidr = !memchr(rule, ':', len); /* without brackets: IPv4 only */
    if (is_cidr)
        return sp_cidr_parse(rule, len, &cidr, err);
    if (len == 1 && *rule == '*')
        return SP_OK;
    if (!strncmp(rule, "*.", 2))
        rule += 2;
    if (!sp_host_fold(rule, (size_t)(colon - rule), host))
        return sp_error_set(err, SP_ERR_CONFIG,
                            "'%.*s' is not a name, a \"*.name\" or an address; IPv6 stands in "
                            "brackets",
                            (int)len, colon - len);
    return SP_OK;
}

static enum sp_err add_rule(void *target, const char *value, struct sp_error *err)
{
    struct init_options *options = target;
    enum sp_err rc = check_rule(value, err);

    if (rc != SP_OK)
        return rc;
    if (options->plan.allow_count == CERTS_LAB_LIST_MAX)
        return sp_error_set(err, SP_ERR_CONFIG, "more than %d rules", CERTS_LAB_LIST_MAX);
    options->plan.allow[options->plan.allow_count++] = value;
    return SP_OK;
}

static enum sp_err add_forward(void *target, const char *value, struct sp_error *err)
{
    struct init_options *options = target;
    struct certs_lab_forward *forward = &options->plan.forwards[options->plan.forward_count];
    const char *equals = strchr(value, '=');
    char listen[SP_ADDR_TEXT];
    enum sp_err rc;

    if (!equals || (size_t)(equals - value) >= sizeof listen)
        return sp_error_set(err, SP_ERR_CONFIG,
                            "'%.200s' is not like \"127.0.0.1:15432=db.acme.example:5432\"", value);
    if (options->plan.forward_count == CERTS_LAB_LIST_MAX)
        return sp_error_set(err, SP_ERR_CONFIG, "more than %d forwards", CERTS_LAB_LIST_MAX);
    memcpy(listen, value, (size_t)(equals - value));
    listen[equals - value] = '\0';
    rc = sp_addr_parse(listen, &forward->listen, err);
    if (rc == SP_OK)
        rc = sp_target_parse(equals + 1, strlen(equals + 1), &forward->to, err);
    if (rc == SP_OK)
        options->plan.forward_count++;
    return rc;
}

static const struct certs_option init_option_table[] = {
    {"--gateway", "ADDRESS:PORT",
     "where the gateway listens and the agents connect; default " DEFAULT_GATEWAY, false,
     set_gateway},
    {"--door", "ADDRESS:PORT",
     "HTTP proxy door of Acme's agent, Globex's has the next port; default " DEFAULT_DOOR, false,
     set_door},
    {"--allow", "RULE",
     "egress rule of both tenants instead of 127.0.0.0/8:*, [::1]:*, *.example:443", true,
     add_rule},
    {"--forward", "LISTEN=TO", "a forward door of Acme's agent: 127.0.0.1:15432=db.example:5432",
     true, add_forward},
    {NULL, NULL, NULL, false, NULL},
};

static bool is_taken(const struct certs_lab_plan *plan, uint16_t port)
{
    bool taken = port == plan->gateway.port || port == plan->door.port;

    for (size_t i = 0; i < plan->forward_count; i++)
        taken = taken || port == plan->forwards[i].listen.port;
    return taken;
}

/* What was not given. Globex's door is the next port nobody else in the laboratory has. */
static enum sp_err complete(struct init_options *options, struct sp_error *err)
{
    struct certs_lab_plan *plan = &options->plan;
    enum sp_err rc = SP_OK;

    if (!options->has_gateway)
        rc = sp_addr_parse(DEFAULT_GATEWAY, &plan->gateway, err);
    if (rc == SP_OK && !options->has_door)
        rc = sp_addr_parse(DEFAULT_DOOR, &plan->door, err);
    for (size_t i = 0; !plan->allow_count && i < sizeof default_rules / sizeof *default_rules; i++)
        plan->allow[i] = default_rules[i];
    if (!plan->allow_count)
        plan->allow_count = sizeof default_rules / sizeof *default_rules;
    plan->globex_door = plan->door;
    while (plan->door.port && is_taken(plan, plan->globex_door.port))
        plan->globex_door.port =
            (uint16_t)(plan->globex_door.port == 65535 ? 1024 : plan->globex_door.port + 1);
    return rc;
}

/* Into single quotes where a shell would see more than a word. */
static void put_shell_word(FILE *out, const char *folder, const char *file)
{
    const char *plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+=,@%:";
    size_t len = strlen(folder);

    while (len > 1 && folder[len - 1] == '/')
        len--;
    if (strspn(folder, plain) >= len) {
        fprintf(out, "%.*s/%s", (int)len, folder, file);
        return;
    }
    fputc('\'', out);
    for (size_t i = 0; i < len; i++) {
        if (folder[i] == '\'')
            fputs("'\\''", out);
        else
            fputc(folder[i], out);
    }
    fprintf(out, "/%s'", file);
}

static void put_report(FILE *out, const char *folder, const struct certs_lab_plan *plan,
                       size_t file_count)
{
    char gateway[SP_ADDR_TEXT], door[SP_ADDR_TEXT], globex_door[SP_ADDR_TEXT];

    sp_addr_format(&plan->gateway, gateway);
    sp_addr_format(&plan->door, door);
    sp_addr_format(&plan->globex_door, globex_door);
    fprintf(out,
            "%s: a laboratory, %zu files:\n"
            "  gateway.json            the gateway, on %s\n"
            "  tenants.d/c123456.json  tenant Acme: c123456.secure.example.net, own certificate\n"
            "  tenants.d/c234567.json  tenant Globex: c234567.secure.example.net, common "
            "certificate\n"
            "  agent.json              Acme's agent as alice, HTTP proxy on %s\n"
            "  agent-globex.json       Globex's agent as carol, HTTP proxy on %s\n"
            "  server/                 common, c123456: the gateway's certificates and keys\n"
            "  clients/                acme-alice, acme-bob, globex-carol, globex-dave\n"
            "  ca/                     service, acme, globex: root and issuing CA of each\n"
            "\n"
            "Next:\n"
            "  sallyport-gateway --config ",
            folder, file_count, gateway, door, globex_door);
    put_shell_word(out, folder, "gateway.json");
    fputs("\n  sallyport-agent --config ", out);
    put_shell_word(out, folder, "agent.json");
    if (!plan->door.port)
        strcpy(strrchr(door, ':'), ":PORT");
    fprintf(out,
            "\n"
            "  curl --proxytunnel --proxy http://%s http://127.0.0.1:8000/\n"
            "The last one fetches from a web server of yours that an egress rule allows%s.\n",
            door, plan->door.port ? "" : "; the agent's \"ready\" line has PORT");
}

static enum sp_err init_run(int argc, char **argv, char **ret_text, struct sp_error *err)
{
    struct init_options options = {0};
    struct certs_lab *lab = NULL;
    const char *folder = NULL;
    const struct certs_store_file *files;
    size_t count, text_len;
    enum sp_err rc = certs_command_parse(&certs_cmd_init, argc, argv, &options, &folder, err);

    if (rc == SP_OK)
        rc = complete(&options, err);
    if (rc == SP_OK)
        rc = certs_lab_new(&options.plan, &lab, err);
    if (rc != SP_OK)
        return rc;
    files = certs_lab_files(lab, &count);
    rc = certs_store_write(folder, files, count, err);
    certs_lab_free(lab);
    if (rc == SP_OK) {
        FILE *out = open_memstream(ret_text, &text_len);

        SP_REQUIRE(out);
        put_report(out, folder, &options.plan, count);
        SP_REQUIRE(fclose(out) == 0);
    }
    return rc;
}

const struct certs_command certs_cmd_init = {
    .name = "init",
    .operand = "DIR",
    .summary = "Makes a complete laboratory: CAs, certificates, keys and configurations that run",
    .options = init_option_table,
    .run = init_run,
};
