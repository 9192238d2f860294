#include "gateway/explain_impl.h"

#include "common/clock.h"
#include "common/json_bind.h"

#include <getopt.h>
#include <stdarg.h>
#include <string.h>

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

enum code {
    CODE_CONFIG = 256,
    CODE_TENANT,
    CODE_SNI,
    CODE_CHAIN,
    CODE_AT,
    CODE_OCSP_RESPONSE,
    CODE_FROM_LOG,
    CODE_AGAINST,
    CODE_TRUSTED_CA,
    CODE_CRL,
    CODE_PURPOSE,
    CODE_NAME,
    CODE_JSON,
    CODE_HELP,
};

static const struct option long_options[] = {
    {"config", required_argument, NULL, CODE_CONFIG},
    {"tenant", required_argument, NULL, CODE_TENANT},
    {"sni", required_argument, NULL, CODE_SNI},
    {"chain", required_argument, NULL, CODE_CHAIN},
    {"at", required_argument, NULL, CODE_AT},
    {"ocsp-response", required_argument, NULL, CODE_OCSP_RESPONSE},
    {"from-log", required_argument, NULL, CODE_FROM_LOG},
    {"against", required_argument, NULL, CODE_AGAINST},
    {"trusted-ca", required_argument, NULL, CODE_TRUSTED_CA},
    {"crl", required_argument, NULL, CODE_CRL},
    {"purpose", required_argument, NULL, CODE_PURPOSE},
    {"name", required_argument, NULL, CODE_NAME},
    {"json", no_argument, NULL, CODE_JSON},
    {"help", no_argument, NULL, CODE_HELP},
    {NULL, 0, NULL, 0},
};

SP_PRINTF(2, 3) static enum sp_err wrong(struct sp_error *err, const char *fmt, ...)
{
    char what[300];
    va_list args;

    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    return sp_error_set(err, SP_ERR_CONFIG, "%s (see: sallyport-gateway explain --help)", what);
}

static enum sp_err take_once(const char **slot, const char *option, struct sp_error *err)
{
    if (*slot)
        return wrong(err, "%s is given twice", option);
    if (!*optarg && slot && strcmp(option, "--sni") != 0)
        return wrong(err, "%s wants a value that is not empty", option);
    *slot = optarg;
    return SP_OK;
}

static enum sp_err take_file(const char **list, size_t *count, const char *option,
                             struct sp_error *err)
{
    if (!*optarg)
        return wrong(err, "%s wants the name of a file", option);
    if (sp_json_is_url(optarg))
        return wrong(err, "%s %.100s: nothing is fetched here; wanted is a file", option, optarg);
    if (*count == GW_EXPLAIN_FILES)
        return wrong(err, "%s is given more than %d times", option, GW_EXPLAIN_FILES);
    list[(*count)++] = optarg;
    return SP_OK;
}

static enum sp_err take_time(struct gw_explain_options *o, struct sp_error *err)
{
    char whole[SP_TIME_LEN];

    if (o->has_at)
        return wrong(err, "--at is given twice");
    snprintf(whole, sizeof whole, "%.12sT00:00:00Z", optarg);
    if (!sp_time_parse(optarg, &o->at) && (strlen(optarg) != 10 || !sp_time_parse(whole, &o->at)))
        return wrong(err, "--at %.60s is no time; wanted: 2026-11-21T21:46:50Z or 2026-11-21",
                     optarg);
    o->has_at = true;
    return SP_OK;
}

static enum sp_err take_purpose(struct gw_explain_options *o, bool *has_purpose,
                                struct sp_error *err)
{
    if (*has_purpose)
        return wrong(err, "--purpose is given twice");
    *has_purpose = true;
    if (strcmp(optarg, "client") != 0 && strcmp(optarg, "server") != 0)
        return wrong(err, "--purpose %.60s is neither client nor server", optarg);
    o->purpose = *optarg == 'c' ? SP_PURPOSE_CLIENT : SP_PURPOSE_SERVER;
    return SP_OK;
}

static enum sp_err refuse_unknown(int code, char **argv, struct sp_error *err)
{
    if (code == ':')
        return wrong(err, "%.200s wants a value", argv[optind - 1]);
    if (optopt && optopt < 256)
        return wrong(err, "unknown option '-%c'", optopt);
    if (optopt)
        return wrong(err, "%.200s takes no value", argv[optind - 1]);
    return wrong(err, "unknown or ambiguous option '%.200s'", argv[optind - 1]);
}

static enum sp_err take(int code, char **argv, struct gw_explain_options *o, bool *has_purpose,
                        struct sp_error *err)
{
    switch (code) {
    case CODE_CONFIG:
        return take_once(&o->config, "--config", err);
    case CODE_TENANT:
        return take_once(&o->tenant, "--tenant", err);
    case CODE_SNI:
        return take_once(&o->sni, "--sni", err);
    case CODE_CHAIN:
        return take_once(&o->chain, "--chain", err);
    case CODE_AT:
        return take_time(o, err);
    case CODE_OCSP_RESPONSE:
        return take_once(&o->ocsp_response, "--ocsp-response", err);
    case CODE_FROM_LOG:
        return take_once(&o->from_log, "--from-log", err);
    case CODE_AGAINST:
        return take_once(&o->against, "--against", err);
    case CODE_TRUSTED_CA:
        return take_file(o->cas, &o->ca_count, "--trusted-ca", err);
    case CODE_CRL:
        return take_file(o->crls, &o->crl_count, "--crl", err);
    case CODE_PURPOSE:
        return take_purpose(o, has_purpose, err);
    case CODE_NAME:
        return take_once(&o->name, "--name", err);
    case CODE_JSON:
        o->json = true;
        return SP_OK;
    default:
        return refuse_unknown(code, argv, err);
    }
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
        return wrong(err, "%s wants --trusted-ca FILE (any chain)", stranger);
    if (stranger)
        return wrong(err, "%s does not go together with %s", stranger, modes[o->mode]);
    if (o->mode != GW_EXPLAIN_ANY && !o->config)
        return wrong(err, "--config FILE is needed (or --trusted-ca FILE for any chain)");
    if (o->mode == GW_EXPLAIN_TENANT && !o->tenant && !o->sni)
        return wrong(err, "--tenant ID or --sni NAME is needed");
    if ((o->mode == GW_EXPLAIN_TENANT || o->mode == GW_EXPLAIN_ANY) && !o->chain)
        return wrong(err, "--chain FILE is needed ('none': the client sends no certificate)");
    if (o->mode == GW_EXPLAIN_ANY && o->name && !has_purpose)
        o->purpose = SP_PURPOSE_SERVER;
    return SP_OK;
}

enum sp_err gw_explain_options_parse(int argc, char **argv, struct gw_explain_options *ret_options,
                                     struct sp_error *err)
{
    struct gw_explain_options o = {.purpose = SP_PURPOSE_CLIENT};
    bool has_purpose = false;
    enum sp_err rc = SP_OK;
    int code;

    opterr = 0;
    optind = 0; /* glibc: start afresh */
    while (rc == SP_OK && (code = getopt_long(argc, argv, "+:", long_options, NULL)) != -1) {
        if (code == CODE_HELP) {
            *ret_options = (struct gw_explain_options){.mode = GW_EXPLAIN_HELP};
            return SP_OK;
        }
        rc = take(code, argv, &o, &has_purpose, err);
    }
    if (rc == SP_OK && optind < argc)
        rc = wrong(err, "'%.200s' is not an option", argv[optind]);
    if (rc == SP_OK)
        rc = check(&o, has_purpose, err);
    *ret_options = o;
    return rc;
}
