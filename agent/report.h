/*
 * report: what `diagnose` has found, step by step, and how it is shown.
 *
 * Grows as the steps are made; owned by the command. One thread.
 */
#ifndef SALLYPORT_AGENT_REPORT_H
#define SALLYPORT_AGENT_REPORT_H
#include "common/error.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct sp_json_out;

struct agent_report_step {
    char *part;         /* what it belongs to: "gateway gw.example:443"; "": this machine */
    const char *name;   /* static: "name", "TCP", "TLS" */
    const char *state;  /* static, of a failure: the name in `status`; NULL: none */
    const char *advice; /* static; NULL or "": none */
    char *text;         /* what was found */
    char *evidence;     /* a JSON object: what the log would say of a verdict; NULL: none */
    int64_t us;         /* how long it took; negative: it was no waiting */
    bool failed;
};

struct agent_report {
    struct agent_report_step *steps;
    size_t count, failed;
};

/* The text is printf's. The step is borrowed, until the next one: fill in what else there is. */
struct agent_report_step *agent_report_add(struct agent_report *report, const char *part,
                                           const char *name, bool failed, int64_t us,
                                           const char *fmt, ...) SP_PRINTF(6, 7);
void agent_report_text(const struct agent_report *report, FILE *out);
/* Members of the object that was begun: "good", "steps". */
void agent_report_json(const struct agent_report *report, struct sp_json_out *json);
void agent_report_done(struct agent_report *report);
#endif
