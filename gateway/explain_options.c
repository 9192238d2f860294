#include "gateway/explain_impl.h"

#include "common/clock.h"
#include "common/json_bind.h"
#include "common/options.h"

#include <string.h>

#define PROGRAM "sallyport-gateway explain"

const char gw_explain_help[] =
    "sallyport-gateway explain: what the gateway would decide about a client, and why.\n"
    "\n"
    "usage: sallyport-gateway explain --config FILE {--tenant ID | --sni NAME} --chain FILE\n"
    "                                 [--at TIME] [--ocsp-response FILE] [--json]\n"
    "       sallyport-gateway explain --trusted-ca FILE... [--crl FILE...] --chain FILE\n"
    "                                 [--purpose client|server] [--name HOST] [--at TIME]\n"
    "                                 [--ocsp-response FILE] [--json]\n"
    "       sallyport-gateway explain --config FILE --from-log LINE [--at TIME] [--json]\n"
    "       sallyport-gateway explain --config FILE --against FILE [--at TIME] [--json]\n"
    "\n"
    "  --config FILE         the gateway's configuration; it is loaded as for --check. Nothing is\n"
    "                        fetched: of lists and OCSP answers only cache_dir is read\n"
    "  --tenant ID           the tenant: the name of his file without .json\n"
    "  --sni NAME            the server name of the handshake; \"\": none was sent. A common name\n"
    "                        finds the tenant by the chain\n"
    "  --chain FILE          what the client sent, leaf first: PEM or DER; '-': standard input;\n"
    "                        'none': no certificate. Private keys in it are passed over\n"
    "  --at TIME             when: 2026-11-21T21:46:50Z or 2026-11-21 (its first second, UTC);\n"
    "                        without it now, or the time in the line of the log\n"
    "  --ocsp-response FILE  the responder's answer (DER), as if it had been asked\n"
    "  --trusted-ca FILE     judges any chain, without a tenant, by these CAs\n"
    "  --crl FILE            ... and by these revocation lists (files)\n"
    "  --purpose WHAT        ... of a client (the default) or a server\n"
    "  --name HOST           ... whose certificate must be for this name; a server then, unless\n"
    "                        --purpose says otherwise\n"
    "  --from-log LINE       decides a `tunnel` line of the JSON log again, under the present\n"
    "                        configuration; '-': the first line of standard input\n"
    "  --against FILE        does that with the last line of every device in a log; tells who\n"
    "                        would be cut now, by tenant and reason; '-': standard input\n"
    "  --json                one JSON object in place of text\n"
    "\n"
    "Exit status: 0 allowed (--against: nobody is cut), 1 blocked (somebody is), 2 wrong usage or\n"
    "configuration.\n";

/* What is more than a text. */
struct given {
    const char *at, *purpose;
    bool help;
};

static enum sp_err refuse_urls(const char *option, const char *const *files, size_t count,
                               struct sp_error *err)
{
    for (size_t i = 0; i < count; i++)
        if (sp_json_is_url(files[i]))
            return sp_options_wrong(err, PROGRAM,
                                    "%s %.100s: nothing is fetched here; wanted is a file", option,
                                    files[i]);
    return SP_OK;
}

static enum sp_err take_time(const char *text, struct gw_explain_options *o, struct sp_error *err)
{
    char whole[SP_TIME_LEN];

    if (!text)
        return SP_OK;
    snprintf(whole, sizeof whole, "%.12sT00:00:00Z", text);
    if (!sp_time_parse(text, &o->at) && (strlen(text) != 10 || !sp_time_parse(whole, &o->at)))
        return sp_options_wrong(err, PROGRAM,
                                "--at %.60s is no time; wanted: 2026-11-21T21:46:50Z or 2026-11-21",
                                text);
    o->has_at = true;
    return SP_OK;
}

static enum sp_err take_purpose(const char *text, struct gw_explain_options *o,
                                struct sp_error *err)
{
    if (!text)
        return SP_OK;
    if (strcmp(text, "client") != 0 && strcmp(text, "server") != 0)
        return sp_options_wrong(err, PROGRAM, "--purpose %.60s is neither client nor server", text);
    o->purpose = *text == 'c' ? SP_PURPOSE_CLIENT : SP_PURPOSE_SERVER;
    return SP_OK;
}

static enum sp_err read_options(int argc, char **argv, struct gw_explain_options *o,
                                struct given *given, struct sp_error *err)
{
    const struct sp_option rows[] = {
        {.name = "--config", .wanted = "FILE", .value = &o->config},
        {.name = "--tenant", .wanted = "ID", .value = &o->tenant},
        {.name = "--sni", .wanted = "NAME", .value = &o->sni, .may_be_empty = true},
        {.name = "--chain", .wanted = "FILE", .value = &o->chain},
        {.name = "--at", .wanted = "TIME", .value = &given->at},
        {.name = "--ocsp-response", .wanted = "FILE", .value = &o->ocsp_response},
        {.name = "--from-log", .wanted = "LINE", .value = &o->from_log},
        {.name = "--against", .wanted = "FILE", .value = &o->against},
        {.name = "--trusted-ca",
         .wanted = "FILE",
         .value = o->cas,
         .count = &o->ca_count,
         .max = GW_EXPLAIN_FILES},
        {.name = "--crl",
         .wanted = "FILE",
         .value = o->crls,
         .count = &o->crl_count,
         .max = GW_EXPLAIN_FILES},
        {.name = "--purpose", .wanted = "WHAT", .value = &given->purpose},
        {.name = "--name", .wanted = "HOST", .value = &o->name},
        {.name = "--json", .flag = &o->json},
        {.name = "--help", .flag = &given->help, .ends = true},
        {.name = NULL},
    };
    enum sp_err rc = sp_options_read(PROGRAM, rows, argc, argv, err);

    if (rc != SP_OK || given->help)
        return rc;
    rc = take_time(given->at, o, err);
    if (rc == SP_OK)
        rc = take_purpose(given->purpose, o, err);
    if (rc == SP_OK)
        rc = refuse_urls("--trusted-ca", o->cas, o->ca_count, err);
    return rc == SP_OK ? refuse_urls("--crl", o->crls, o->crl_count, err) : rc;
}

/* What of the rest does not go with the mode. */
static const char *misfit(const struct gw_explain_options *o, bool has_purpose)
{
    bool any = o->mode == GW_EXPLAIN_ANY;
    bool logged = o->mode == GW_EXPLAIN_FROM_LOG || o->mode == GW_EXPLAIN_AGAINST;
    const struct {
        bool given, fits;
        const char *option;
    } rows[] = {
        {o->config, !any, "--config"},
        {o->tenant, !any && !logged, "--tenant"},
        {o->sni, !any && !logged, "--sni"},
        {o->chain, !logged, "--chain"},
        {o->ocsp_response, !logged, "--ocsp-response"},
        {o->against, o->mode == GW_EXPLAIN_AGAINST, "--against"},
        {o->ca_count > 0, any, "--trusted-ca"},
        {o->crl_count > 0, any, "--crl"},
        {o->name, any, "--name"},
        {has_purpose, any, "--purpose"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].given && !rows[i].fits)
            return rows[i].option;
    return NULL;
}

static enum sp_err check(struct gw_explain_options *o, bool has_purpose, struct sp_error *err)
{
    static const char *const modes[] = {
        [GW_EXPLAIN_HELP] = "--help",       [GW_EXPLAIN_TENANT] = "--config",
        [GW_EXPLAIN_ANY] = "--trusted-ca",  [GW_EXPLAIN_FROM_LOG] = "--from-log",
        [GW_EXPLAIN_AGAINST] = "--against",
    };
    const char *stranger;

    o->mode = o->from_log   ? GW_EXPLAIN_FROM_LOG
              : o->against  ? GW_EXPLAIN_AGAINST
              : o->ca_count ? GW_EXPLAIN_ANY
                            : GW_EXPLAIN_TENANT;
    stranger = misfit(o, has_purpose);
    if (stranger && o->mode == GW_EXPLAIN_TENANT && !o->config)
        return sp_options_wrong(err, PROGRAM, "%s wants --trusted-ca FILE (any chain)", stranger);
    if (stranger)
        return sp_options_wrong(err, PROGRAM, "%s does not go together with %s", stranger,
                                modes[o->mode]);
    if (o->mode != GW_EXPLAIN_ANY && !o->config)
        return sp_options_wrong(err, PROGRAM,
                                "--config FILE is needed (or --trusted-ca FILE for any chain)");
    if (o->mode == GW_EXPLAIN_TENANT && !o->tenant && !o->sni)
        return sp_options_wrong(err, PROGRAM, "--tenant ID or --sni NAME is needed");
    if ((o->mode == GW_EXPLAIN_TENANT || o->mode == GW_EXPLAIN_ANY) && !o->chain)
        return sp_options_wrong(err, PROGRAM,
                                "--chain FILE is needed ('none': the client sends no certificate)");
    if (o->mode == GW_EXPLAIN_ANY && o->name && !has_purpose)
        o->purpose = SP_PURPOSE_SERVER;
    return SP_OK;
}

enum sp_err gw_explain_options_parse(int argc, char **argv, struct gw_explain_options *ret_options,
                                     struct sp_error *err)
{
    struct gw_explain_options o = {.purpose = SP_PURPOSE_CLIENT};
    struct given given = {.at = NULL};
    enum sp_err rc = read_options(argc, argv, &o, &given, err);

    if (rc == SP_OK && given.help)
        o = (struct gw_explain_options){.mode = GW_EXPLAIN_HELP};
    else if (rc == SP_OK)
        rc = check(&o, given.purpose, err);
    *ret_options = o;
    return rc;
}
