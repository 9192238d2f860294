#include "gateway/explain_impl.h"

#include "common/clock.h"
#include "common/evidence.h"
#include "common/log.h"
#include "common/text.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define MARGIN 24 /* where what was found begins */

/* ---- steps ---- */

SP_PRINTF(3, 0)
static void add(struct gw_explain_steps *steps, const char *name, const char *fmt, va_list args)
{
    struct gw_explain_step step = {.name = name};

    SP_REQUIRE(vasprintf(&step.text, fmt, args) >= 0);
    steps->items = reallocarray(steps->items, steps->count + 1, sizeof steps->items[0]);
    SP_REQUIRE(steps->items);
    steps->items[steps->count++] = step;
}

void gw_explain_step(struct gw_explain_steps *steps, const char *name, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    add(steps, name, fmt, args);
    va_end(args);
}

void gw_explain_more(struct gw_explain_steps *steps, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    add(steps, NULL, fmt, args);
    va_end(args);
}

void gw_explain_steps_done(struct gw_explain_steps *steps)
{
    for (size_t i = 0; i < steps->count; i++)
        free(steps->items[i].text);
    free(steps->items);
    *steps = (struct gw_explain_steps){.items = NULL};
}

/* ---- the last steps ---- */

/* What the policy says of this reason alone, by the decision itself. */
static void decide_one(const struct gw_explained *e, int reason, struct sp_verdict *ret)
{
    struct sp_facts one = *e->facts;

    one.observed = SP_REASON_BIT(reason);
    one.noted = 0;
    sp_verdict_decide(&one, e->policy, e->now, ret);
}

static void conclude_reasons(struct gw_explained *e)
{
    struct sp_verdict one;
    const char *name = "reasons";

    for (int reason = 0; reason < SP_REASON_COUNT; reason++) {
        if (!(e->verdict->observed & SP_REASON_BIT(reason)))
            continue;
        decide_one(e, reason, &one);
        gw_explain_step(&e->steps, name, "%s: %s, by %s", sp_reason_name((enum sp_reason)reason),
                        one.action == SP_ACTION_BLOCK ? "blocks" : "is allowed", one.rule);
        name = NULL;
    }
    if (e->verdict->noted)
        gw_explain_step(&e->steps, name, "%s: is noted and passes, by %s",
                        sp_reason_name(SP_REASON_REVOCATION_UNKNOWN),
                        e->verdict->observed ? "client_validation.ocsp.mode (soft)"
                                             : e->verdict->rule);
    else if (name)
        gw_explain_step(&e->steps, name, "none: nothing is wrong");
    if (e->facts->detail[0])
        gw_explain_more(&e->steps, "the weightiest: %s", e->facts->detail);
}

static void conclude_open(struct gw_explained *e)
{
    if (!e->is_open)
        return;
    gw_explain_more(&e->steps,
                    "whether it is revoked is not asked here: this is what comes of no answer");
    gw_explain_more(&e->steps, "if the responder says good: %s", sp_action_name(e->if_good.action));
}

static void conclude_verdict(struct gw_explained *e)
{
    const struct sp_verdict *v = e->verdict;
    char time[SP_TIME_LEN];

    gw_explain_step(&e->steps, "verdict", "%s (%s)%s%s%s%s", sp_action_name(v->action),
                    sp_verdict_status(v), v->reason == SP_REASON_COUNT ? "" : ": ",
                    v->reason == SP_REASON_COUNT ? "" : sp_reason_name(v->reason),
                    v->rule[0] ? ", by " : "", v->rule);
    conclude_open(e);
    if (e->was_action)
        gw_explain_more(&e->steps, "in the log: %s%s%s", e->was_action, e->was_reason ? ": " : "",
                        e->was_reason ? e->was_reason : "");
    if (v->action == SP_ACTION_BLOCK && v->alert >= 0 && !e->any_chain)
        gw_explain_step(&e->steps, "the client is told", "alert %s (%d): %s",
                        sp_alert_name(v->alert), v->alert, sp_alert_sentence(v->alert, true));
    if (e->shadow && e->shadow->differs)
        gw_explain_step(&e->steps, "shadow policy", "would %s%s%s%s%s",
                        e->shadow->verdict.action == SP_ACTION_BLOCK ? "block" : "allow",
                        e->shadow->verdict.reason == SP_REASON_COUNT ? "" : ": ",
                        e->shadow->verdict.reason == SP_REASON_COUNT
                            ? ""
                            : sp_reason_name(e->shadow->verdict.reason),
                        e->shadow->verdict.rule[0] ? ", by " : "", e->shadow->verdict.rule);
    if (e->holds_until != INT64_MAX)
        gw_explain_step(&e->steps, "holds until", "%s: then it may be decided otherwise",
                        sp_time_format(e->holds_until, time));
}

void gw_explain_conclude(struct gw_explained *e)
{
    conclude_reasons(e);
    conclude_verdict(e);
}

/* ---- printing ---- */

void gw_explain_escaped(FILE *out, const char *text)
{
    const char *end = text + strlen(text);
    char step[SP_TEXT_STEP];

    while (text < end)
        fwrite(step, 1, sp_text_escape(&text, end, step), out);
}

/* For people: as above, but what is harmless on a terminal stays as it is written in files. */
static void plain(FILE *out, const char *text)
{
    const char *end = text + strlen(text);
    char step[SP_TEXT_STEP];

    while (text < end) {
        if (*text == '"' || *text == '\\') {
            fputc(*text++, out);
            continue;
        }
        fwrite(step, 1, sp_text_escape(&text, end, step), out);
    }
}

void gw_explain_json_string(FILE *out, const char *text)
{
    fputc('"', out);
    gw_explain_escaped(out, text);
    fputc('"', out);
}

static bool blocks(const struct gw_explained *e, int reason)
{
    struct sp_verdict one;

    if (!(e->verdict->observed & SP_REASON_BIT(reason)))
        return false;
    decide_one(e, reason, &one);
    return one.action == SP_ACTION_BLOCK;
}

static void print_text(const struct gw_explained *e, FILE *out)
{
    const struct gw_explain_steps *steps = &e->steps;
    const char *title = "\nWhat to do:\n";
    unsigned number = 0;

    for (size_t i = 0; i < steps->count; i++) {
        const struct gw_explain_step *step = &steps->items[i];

        if (step->name)
            fprintf(out, "%2u. %-*s", ++number, MARGIN - 4, step->name);
        else
            fprintf(out, "%*s", MARGIN, "");
        plain(out, step->text);
        fputc('\n', out);
    }
    for (size_t i = 0; e->unknown && e->unknown[i]; i++)
        fprintf(out, "%sNot recomputed: %s.\n", i ? "" : "\n", e->unknown[i]);
    for (int reason = 0; reason < SP_REASON_COUNT; reason++) {
        if (!blocks(e, reason))
            continue;
        fprintf(out, "%s- %s: %s.\n", title, sp_reason_name((enum sp_reason)reason),
                gw_explain_advice((enum sp_reason)reason, e->any_chain));
        title = "";
    }
}

static void json_member(FILE *out, const char *key, const char *value)
{
    fprintf(out, ",\"%s\":", key);
    if (value)
        gw_explain_json_string(out, value);
    else
        fputs("null", out);
}

static void json_time(FILE *out, const char *key, int64_t at)
{
    char time[SP_TIME_LEN];

    json_member(out, key, at == INT64_MAX ? NULL : sp_time_format(at, time));
}

static void json_reasons(const struct gw_explained *e, FILE *out)
{
    struct sp_verdict one;
    const char *comma = "";

    fputs(",\"reasons\":[", out);
    for (int reason = 0; reason < SP_REASON_COUNT; reason++) {
        if (!(e->verdict->observed & SP_REASON_BIT(reason)))
            continue;
        decide_one(e, reason, &one);
        fprintf(out, "%s{\"reason\":\"%s\",\"outcome\":\"%s\"", comma,
                sp_reason_name((enum sp_reason)reason),
                one.action == SP_ACTION_BLOCK ? "block" : "allow");
        json_member(out, "rule", one.rule);
        if (one.action == SP_ACTION_BLOCK)
            json_member(out, "advice", gw_explain_advice((enum sp_reason)reason, e->any_chain));
        fputc('}', out);
        comma = ",";
    }
    fputc(']', out);
}

static void json_steps(const struct gw_explain_steps *steps, FILE *out)
{
    fputs(",\"steps\":[", out);
    for (size_t i = 0; i < steps->count;) {
        fputs(i ? ",{\"step\":" : "{\"step\":", out);
        gw_explain_json_string(out, steps->items[i].name);
        json_member(out, "found", steps->items[i].text);
        fputs(",\"more\":[", out);
        for (const char *comma = ""; ++i < steps->count && !steps->items[i].name; comma = ",") {
            fputs(comma, out);
            gw_explain_json_string(out, steps->items[i].text);
        }
        fputs("]}", out);
    }
    fputc(']', out);
}

/* First what a line of the log has, by the very code that writes it. */
static void print_json(const struct gw_explained *e, FILE *out)
{
    static const struct gw_shadow_verdict no_shadow;
    struct gw_decision d = {
        .facts = *e->facts, .verdict = *e->verdict, .shadow = e->shadow ? *e->shadow : no_shadow};
    struct sp_log_line line;
    const char *text;

    sp_log_text_begin(&line);
    sp_log_str(&line, "event", "explain");
    sp_log_str(&line, "tenant", e->tenant);
    sp_log_str(&line, "sni", e->sni);
    gw_decision_log(&line, &d);
    text = sp_log_text_end(&line);
    fwrite(text, 1, strlen(text) - 1, out); /* without its last brace */
    json_time(out, "at", e->now);
    json_time(out, "holds_until", e->holds_until);
    if (e->verdict->action == SP_ACTION_BLOCK && e->verdict->alert >= 0) {
        fprintf(out, ",\"alert_number\":%d", e->verdict->alert);
        json_member(out, "alert_sentence", sp_alert_sentence(e->verdict->alert, true));
    }
    if (e->is_open)
        json_member(out, "action_if_good", sp_action_name(e->if_good.action));
    if (e->was_action) {
        json_member(out, "logged_action", e->was_action);
        json_member(out, "logged_reason", e->was_reason);
    }
    json_reasons(e, out);
    json_steps(&e->steps, out);
    if (e->unknown) {
        fputs(",\"not_recomputed\":[", out);
        for (size_t i = 0; e->unknown[i]; i++) {
            fputs(i ? "," : "", out);
            gw_explain_json_string(out, e->unknown[i]);
        }
        fputc(']', out);
    }
    fputs("}\n", out);
}

void gw_explain_print(const struct gw_explained *e, bool json, FILE *out)
{
    if (json)
        print_json(e, out);
    else
        print_text(e, out);
}
