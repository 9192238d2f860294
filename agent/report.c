#include "agent/report.h"

#include "agent/answer.h"
#include "common/json_out.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define MARGIN 35

struct agent_report_step *agent_report_add(struct agent_report *report, const char *part,
                                           const char *name, bool failed, int64_t us,
                                           const char *fmt, ...)
{
    struct agent_report_step *step;
    va_list args;

    report->steps = reallocarray(report->steps, report->count + 1, sizeof *report->steps);
    SP_REQUIRE(report->steps);
    step = &report->steps[report->count++];
    *step = (struct agent_report_step){
        .part = sp_strdup(part), .name = name, .failed = failed, .us = us};
    va_start(args, fmt);
    SP_REQUIRE(vasprintf(&step->text, fmt, args) >= 0);
    va_end(args);
    report->failed += failed;
    return step;
}

static void write_step(const struct agent_report_step *step, FILE *out)
{
    char time[32] = "";

    if (step->us >= 0)
        snprintf(time, sizeof time, "%.1f ms", (double)step->us / 1000);
    fprintf(out, "  %-6s %10s  %-12s ", step->failed ? "FAILED" : "ok", time, step->name);
    if (step->state)
        fprintf(out, "%s: ", step->state);
    agent_answer_text(out, step->text);
    fputc('\n', out);
    if (step->advice && step->advice[0])
        fprintf(out, "%*sWhat to do: %s\n", MARGIN - 1, "", step->advice);
}

void agent_report_text(const struct agent_report *report, FILE *out)
{
    const char *part = NULL;

    for (size_t i = 0; i < report->count; i++) {
        const struct agent_report_step *step = &report->steps[i];

        if (!part || strcmp(part, step->part) != 0) {
            fprintf(out, "%s", part ? "\n" : "");
            agent_answer_text(out, step->part);
            fputc('\n', out);
        }
        part = step->part;
        write_step(step, out);
    }
    if (report->failed)
        fprintf(out, "\n%zu of %zu steps failed.\n", report->failed, report->count);
    else
        fputs("\nAll is well.\n", out);
}

void agent_report_json(const struct agent_report *report, struct sp_json_out *json)
{
    sp_json_out_bool(json, "good", !report->failed);
    sp_json_out_array(json, "steps");
    for (size_t i = 0; i < report->count; i++) {
        const struct agent_report_step *step = &report->steps[i];

        sp_json_out_object(json, NULL);
        sp_json_out_str(json, "part", step->part);
        sp_json_out_str(json, "name", step->name);
        sp_json_out_bool(json, "ok", !step->failed);
        if (step->us >= 0)
            sp_json_out_int(json, "time_us", step->us);
        sp_json_out_str(json, "state", step->state);
        sp_json_out_str(json, "found", step->text);
        if (step->advice && step->advice[0])
            sp_json_out_str(json, "advice", step->advice);
        if (step->evidence)
            sp_json_out_raw(json, "evidence", step->evidence);
        sp_json_out_object_end(json);
    }
    sp_json_out_array_end(json);
}

void agent_report_done(struct agent_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        free(report->steps[i].part);
        free(report->steps[i].text);
        free(report->steps[i].evidence);
    }
    free(report->steps);
    *report = (struct agent_report){.count = 0};
}
