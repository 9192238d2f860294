#include "gateway/explain_impl.h"

#include "common/clock.h"
#include "common/json_bind.h"
#include "common/text.h"
#include "gateway/config.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- a line ---- */

static const struct sp_json_field nothing_fields[] = {{.key = NULL}};

static const struct sp_json_field revocation_fields[] = {
    {.key = "ocsp",
     .type = SP_JSON_OBJECT,
     .fields = nothing_fields,
     .present_offset = SP_JSON_PRESENT(struct gw_logged, has_ocsp)},
    {.key = "crl",
     .type = SP_JSON_OBJECT,
     .fields = nothing_fields,
     .present_offset = SP_JSON_PRESENT(struct gw_logged, has_crl)},
    {.key = NULL},
};

#define STRING(name)                                                                               \
    {                                                                                              \
        .key = #name, .type = SP_JSON_STRING, .offset = offsetof(struct gw_logged, name),          \
        .max = GW_LINE_MAX                                                                         \
    }

static const struct sp_json_field line_fields[] = {
    {.key = "event",
     .type = SP_JSON_STRING,
     .offset = offsetof(struct gw_logged, event),
     .required = true},
    STRING(ts),
    STRING(tenant),
    STRING(sni),
    STRING(action),
    STRING(reason),
    STRING(detail),
    STRING(subject),
    STRING(issuer),
    STRING(serial),
    STRING(fingerprint),
    STRING(not_before),
    STRING(not_after),
    {.key = "chain",
     .type = SP_JSON_UINT,
     .offset = offsetof(struct gw_logged, chain),
     .present_offset = SP_JSON_PRESENT(struct gw_logged, has_chain)},
    {.key = "observed_errors",
     .type = SP_JSON_STRINGS,
     .offset = offsetof(struct gw_logged, observed_errors),
     .max = 100,
     .present_offset = SP_JSON_PRESENT(struct gw_logged, has_observed)},
    {.key = "path",
     .type = SP_JSON_STRINGS,
     .offset = offsetof(struct gw_logged, path),
     .max = 100},
    {.key = "revocation", .type = SP_JSON_OBJECT, .fields = revocation_fields},
    {.key = NULL},
};

SP_PRINTF(3, 4)
static enum sp_err wrong(struct sp_error *err, const char *key, const char *fmt, ...)
{
    char text[300], path[80];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    snprintf(path, sizeof path, "$.%s", key);
    return sp_json_error(err, "the line of the log", path, "%s", text);
}

/* With or without the milliseconds that the log writes. */
static bool read_time(const char *text, int64_t *ret)
{
    const char *dot = strchr(text, '.');
    char whole[SP_TIME_LEN];

    snprintf(whole, sizeof whole, "%.*sZ", dot ? (int)(dot - text) : 0, text);
    return sp_time_parse(dot && dot - text < 25 ? whole : text, ret);
}

static enum sp_err read_reasons(struct gw_logged *line, struct sp_error *err)
{
    char quoted[SP_TEXT_QUOTE];

    for (size_t i = 0; i < line->observed_errors.count; i++) {
        const char *name = line->observed_errors.items[i];
        int reason = 0;

        while (reason < SP_REASON_COUNT && strcmp(sp_reason_names[reason], name) != 0)
            reason++;
        if (reason == SP_REASON_COUNT)
            return wrong(err, "observed_errors", "%s is no reason that is known here",
                         sp_text_quote(name, strlen(name), quoted, sizeof quoted));
        line->observed |= SP_REASON_BIT(reason);
    }
    return SP_OK;
}

static enum sp_err read_times(struct gw_logged *line, struct sp_error *err)
{
    if (!line->ts || !read_time(line->ts, &line->at))
        return wrong(err, "ts", "is missing, or no time such as 2026-11-21T21:46:50.123Z");
    if (line->not_before && !read_time(line->not_before, &line->begin))
        return wrong(err, "not_before", "is no time such as 2026-11-21T21:46:50Z");
    if (line->not_after && !read_time(line->not_after, &line->end))
        return wrong(err, "not_after", "is no time such as 2026-11-21T21:46:50Z");
    return SP_OK;
}

static enum sp_err read_rest(struct gw_logged *line, struct sp_error *err)
{
    enum sp_err rc = read_times(line, err);

    if (rc == SP_OK && !line->has_observed)
        rc = wrong(err, "observed_errors", "required, but missing");
    if (rc == SP_OK)
        rc = read_reasons(line, err);
    if (rc == SP_OK && (!line->action ||
                        (strcmp(line->action, "block") != 0 && strcmp(line->action, "allow") != 0 &&
                         strcmp(line->action, "allow-unvalidated") != 0)))
        rc = wrong(err, "action", "is missing, or none of allow, allow-unvalidated, block");
    line->was_blocked = rc == SP_OK && !strcmp(line->action, "block");
    return rc;
}

enum sp_err gw_logged_read(const char *text, size_t len, struct gw_logged *ret, bool *ret_other,
                           struct sp_error *err)
{
    struct gw_logged line = {.event = NULL};
    enum sp_err rc = sp_json_load_line("the line of the log", text, len, line_fields, &line, err);

    if (rc != SP_OK)
        return rc;
    *ret_other = strcmp(line.event, "tunnel") != 0;
    if (!*ret_other)
        rc = read_rest(&line, err);
    if (rc == SP_OK && !*ret_other)
        *ret = line;
    else
        gw_logged_done(&line);
    return rc;
}

void gw_logged_done(struct gw_logged *line)
{
    sp_json_done(line_fields, line);
}

bool gw_explain_next_line(FILE *in, char buf[GW_LINE_MAX], size_t *ret_len, bool *ret_whole)
{
    size_t len = 0;
    int c = getc_unlocked(in);

    if (c == EOF)
        return false;
    *ret_whole = true;
    for (; c != EOF && c != '\n'; c = getc_unlocked(in)) {
        if (len < GW_LINE_MAX)
            buf[len] = (char)c;
        len++;
    }
    *ret_whole = len <= GW_LINE_MAX;
    *ret_len = len;
    return true;
}

/* ---- the answer about one line ---- */

static void describe(const struct gw_logged *line, const struct gw_recomputed *r,
                     struct gw_explained *e)
{
    char time[SP_TIME_LEN], end[SP_TIME_LEN];

    gw_explain_step(&e->steps, "line of the log", "%s, tenant %s: %s", line->ts,
                    line->tenant ? line->tenant : "unknown", line->action);
    if (line->fingerprint)
        gw_explain_more(&e->steps, "'%s', issued by '%s', %s", line->subject ? line->subject : "",
                        line->issuer ? line->issuer : "", line->fingerprint);
    gw_explain_step(&e->steps, "decided again", "at %s, under %s", sp_time_format(e->now, time),
                    r->tenant ? r->tenant->path : "no tenant's policy");
    if (r->name[0])
        gw_explain_step(&e->steps, "server name", "%s", r->name);
    if (line->end)
        gw_explain_step(&e->steps, "times", "the path is valid from %s to %s",
                        sp_time_format(line->begin, time), sp_time_format(line->end, end));
    if (r->trust[0])
        gw_explain_step(&e->steps, "trust", "%s", r->trust);
    if (r->list[0])
        gw_explain_step(&e->steps, "revocation list", "%s", r->list);
}

static void explain(const struct gw_logged *line, const struct gw_recomputed *r, int64_t now,
                    bool json, struct gw_explain_answer *ret_answer)
{
    const char *unknown[GW_UNSURE_KINDS + 1] = {NULL};
    struct gw_policy_view view;
    struct gw_explained e = {
        .now = now,
        .tenant = r->tenant ? r->tenant->id : line->tenant,
        .sni = line->sni,
        .policy = r->tenant ? gw_tenant_policy(r->tenant, false, &view) : NULL,
        .facts = &r->facts,
        .verdict = &r->verdict,
        .holds_until = INT64_MAX,
        .unknown = unknown,
        .was_action = line->action,
        .was_reason = line->reason,
    };
    size_t count = 0;

    for (int kind = 0; kind < GW_UNSURE_KINDS; kind++)
        if (r->unsure & 1U << kind)
            unknown[count++] = gw_unsure_texts[kind];
    describe(line, r, &e);
    gw_explain_answer(&e, json, ret_answer);
}

static enum sp_err read_line(const char *text, struct gw_logged *ret, struct sp_error *err)
{
    SP_AUTO_FREE char *buf = sp_calloc(1, GW_LINE_MAX);
    bool is_other = false, is_whole = true;
    size_t len = strlen(text);
    enum sp_err rc;

    if (!strcmp(text, "-")) {
        if (!gw_explain_next_line(stdin, buf, &len, &is_whole))
            return sp_error_set(err, SP_ERR_CONFIG, "--from-log -: standard input is empty");
        text = buf;
    }
    if (!is_whole || len >= GW_LINE_MAX)
        return sp_error_set(err, SP_ERR_CONFIG, "--from-log: the line is longer than %d bytes",
                            GW_LINE_MAX);
    rc = gw_logged_read(text, len, ret, &is_other, err);
    if (rc == SP_OK && is_other)
        rc = sp_error_set(err, SP_ERR_CONFIG,
                          "--from-log: that line is about something else; wanted is one with "
                          "\"event\":\"tunnel\"");
    return rc;
}

enum sp_err gw_explain_from_log(const struct gw_explain_options *options,
                                struct gw_explain_answer *ret_answer, struct sp_error *err)
{
    struct gw_explain_state state = {.registry = NULL};
    struct gw_recomputed *r;
    struct gw_logged line;
    enum sp_err rc = read_line(options->from_log, &line, err);
    int64_t now;

    if (rc != SP_OK)
        return sp_error_as_config(err);
    now = options->has_at ? options->at : line.at;
    rc = gw_explain_load(options->config, &state, err);
    if (rc == SP_OK) {
        r = sp_calloc(1, sizeof *r);
        gw_recompute(state.registry, &line, now, r);
        explain(&line, r, now, options->json, ret_answer);
        free(r);
    }
    gw_explain_unload(&state);
    gw_logged_done(&line);
    return rc;
}
