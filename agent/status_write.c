/* status_write: a snapshot of the agent as JSON, as a page, as text. */
#include "agent/status.h"

#include "agent/config.h"
#include "common/clock.h"
#include "common/error.h"
#include "common/json_out.h"
#include "common/tls_cred.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#define DAY 86400

static const char *or_null(const char *text)
{
    return text && text[0] ? text : NULL;
}

/* The tunnel that stands for all: one that takes channels, if there is any. */
static const struct agent_status_tunnel *main_tunnel(const struct agent_status *s)
{
    for (size_t i = 0; i < s->tunnel_count; i++) {
        if (!s->tunnels[i].is_draining)
            return &s->tunnels[i];
    }
    return s->tunnel_count ? &s->tunnels[0] : NULL;
}

/* Whole days; negative: it has expired. */
static int64_t days_left(const struct agent_status *s)
{
    int64_t left = sp_tls_cred_not_after(s->config->cred) - s->now;

    return left >= 0 ? left / DAY : -((DAY - 1 - left) / DAY);
}

/* ---- JSON ---- */

static void json_state(const struct agent_status *s, struct sp_json_out *json)
{
    sp_json_out_object(json, "state");
    sp_json_out_str(json, "name", agent_state_name(s->state.state));
    sp_json_out_time(json, "since", s->state.since);
    sp_json_out_str(json, "detail", or_null(s->state.detail));
    sp_json_out_str(json, "advice", or_null(s->state.advice));
    sp_json_out_object_end(json);
}

static void json_tunnels(const struct agent_status *s, struct sp_json_out *json)
{
    const struct agent_status_tunnel *first = main_tunnel(s);

    if (first) {
        sp_json_out_object(json, "gateway");
        sp_json_out_str(json, "name", first->gateway);
        sp_json_out_str(json, "address", or_null(first->address));
        sp_json_out_str(json, "server_name", s->config->server_name);
        sp_json_out_object_end(json);
    }
    sp_json_out_array(json, "tunnels");
    for (size_t i = 0; i < s->tunnel_count; i++) {
        const struct agent_status_tunnel *t = &s->tunnels[i];

        sp_json_out_object(json, NULL);
        sp_json_out_str(json, "gateway", t->gateway);
        sp_json_out_str(json, "address", or_null(t->address));
        sp_json_out_time(json, "since", t->since);
        sp_json_out_bool(json, "draining", t->is_draining);
        sp_json_out_str(json, "tls", t->tls);
        sp_json_out_str(json, "cipher", t->cipher);
        sp_json_out_int(json, "channels", (int64_t)t->channels);
        sp_json_out_int(json, "bytes_up", (int64_t)t->bytes_up);
        sp_json_out_int(json, "bytes_down", (int64_t)t->bytes_down);
        if (t->round_trip_us)
            sp_json_out_int(json, "round_trip_us", (int64_t)t->round_trip_us);
        sp_json_out_object_end(json);
    }
    sp_json_out_array_end(json);
}

static void json_channels(const struct agent_status *s, struct sp_json_out *json)
{
    const struct agent_tally *t = &s->tally;

    sp_json_out_object(json, "channels");
    sp_json_out_int(json, "open", (int64_t)t->open);
    sp_json_out_int(json, "total", (int64_t)t->channels);
    sp_json_out_int(json, "refused", (int64_t)t->refused);
    sp_json_out_int(json, "bytes_up", (int64_t)t->bytes_up);
    sp_json_out_int(json, "bytes_down", (int64_t)t->bytes_down);
    sp_json_out_object_end(json);
    if (!t->last_time)
        return;
    sp_json_out_object(json, "last_refusal");
    sp_json_out_time(json, "time", t->last_time);
    sp_json_out_str(json, "destination", or_null(t->last_destination));
    sp_json_out_int(json, "status", t->last.status);
    sp_json_out_str(json, "error", or_null(t->last.error));
    sp_json_out_str(json, "reason", t->last.text);
    sp_json_out_str(json, "support_id", t->last.support_id);
    sp_json_out_object_end(json);
}

static void json_certificate(const struct agent_status *s, struct sp_json_out *json)
{
    const struct sp_tls_cred *cred = s->config->cred;

    sp_json_out_object(json, "certificate");
    sp_json_out_str(json, "subject", sp_tls_cred_subject(cred));
    sp_json_out_str(json, "issuer", sp_tls_cred_issuer(cred));
    sp_json_out_time(json, "not_before", sp_tls_cred_not_before(cred));
    sp_json_out_time(json, "not_after", sp_tls_cred_not_after(cred));
    sp_json_out_int(json, "days_left", days_left(s));
    sp_json_out_str(json, "fingerprint", sp_tls_cred_fingerprint(cred));
    sp_json_out_object_end(json);
}

static void write_json(const struct agent_status *s, FILE *out)
{
    struct sp_json_out json = {.out = out};

    sp_json_out_object(&json, NULL);
    sp_json_out_str(&json, "version", SALLYPORT_VERSION);
    sp_json_out_int(&json, "pid", getpid());
    sp_json_out_time(&json, "time", s->now);
    sp_json_out_time(&json, "started", s->started);
    sp_json_out_int(&json, "uptime_s", s->now - s->started);
    json_state(s, &json);
    json_tunnels(s, &json);
    json_channels(s, &json);
    json_certificate(s, &json);
    sp_json_out_array(&json, "doors");
    for (size_t i = 0; i < s->door_count; i++)
        sp_json_out_str(&json, NULL, s->doors[i]);
    sp_json_out_array_end(&json);
    sp_json_out_str(&json, "contact", or_null(s->config->contact));
    sp_json_out_object_end(&json);
    fputc('\n', out);
}

/* ---- for people: the same lines on a page and in text ---- */

struct sheet {
    FILE *out;
    bool is_html, is_open;
};

static void section(struct sheet *sheet, const char *title)
{
    if (sheet->is_html)
        fprintf(sheet->out, "%s<h2>%s</h2>\n<table>\n", sheet->is_open ? "</table>\n" : "", title);
    else
        fprintf(sheet->out, "\n%s\n", title);
    sheet->is_open = true;
}

static void row(struct sheet *sheet, const char *heading, const char *text)
{
    if (!or_null(text))
        return;
    if (sheet->is_html) {
        agent_answer_row(sheet->out, heading, text);
        return;
    }
    fprintf(sheet->out, "  %-13s ", heading);
    agent_answer_text(sheet->out, text);
    fputc('\n', sheet->out);
}

static void row_time(struct sheet *sheet, const char *heading, int64_t seconds)
{
    char text[SP_TIME_LEN];

    if (seconds)
        row(sheet, heading, sp_time_format(seconds, text));
}

SP_PRINTF(3, 4)
static void row_fmt(struct sheet *sheet, const char *heading, const char *fmt, ...)
{
    char text[1600];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    row(sheet, heading, text);
}

/* "1.4 MiB" */
static const char *size_text(uint64_t bytes, char buf[32])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;

    if (bytes < 1024) {
        snprintf(buf, 32, "%" PRIu64 " bytes", bytes);
        return buf;
    }
    for (value /= 1024; value >= 1024 && unit + 1 < sizeof units / sizeof units[0]; unit++)
        value /= 1024;
    snprintf(buf, 32, "%.1f %s", value, units[unit]);
    return buf;
}

static void row_bytes(struct sheet *sheet, uint64_t up, uint64_t down)
{
    char a[32], b[32];

    row_fmt(sheet, "Bytes", "%s up, %s down", size_text(up, a), size_text(down, b));
}

static void show_state(const struct agent_status *s, struct sheet *sheet)
{
    char span[SP_TIME_LEN];

    section(sheet, "State");
    row(sheet, "State", agent_state_name(s->state.state));
    row_time(sheet, "Since", s->state.since);
    row(sheet, "Found", s->state.detail);
    row(sheet, "What to do", s->state.advice);
    row(sheet, "Whom to ask", s->config->contact);
    row_fmt(sheet, "Agent", "version %s, process %d, running for %s", SALLYPORT_VERSION, getpid(),
            sp_time_span(s->now - s->started, span));
    for (size_t i = 0; i < s->door_count; i++)
        row(sheet, "Door", s->doors[i]);
}

static void show_tunnels(const struct agent_status *s, struct sheet *sheet)
{
    if (!s->tunnel_count) {
        section(sheet, "Tunnels");
        row(sheet, "Open", "none");
    }
    for (size_t i = 0; i < s->tunnel_count; i++) {
        const struct agent_status_tunnel *t = &s->tunnels[i];
        char title[48];

        snprintf(title, sizeof title, "Tunnel %zu%s", i + 1, t->is_draining ? ", draining" : "");
        section(sheet, title);
        row(sheet, "Gateway", t->gateway);
        row(sheet, "Address", t->address);
        row_time(sheet, "Since", t->since);
        row_fmt(sheet, "TLS", "%s, %s", t->tls, t->cipher);
        row_fmt(sheet, "Channels", "%" PRIu64, t->channels);
        row_bytes(sheet, t->bytes_up, t->bytes_down);
        if (t->round_trip_us)
            row_fmt(sheet, "Round trip", "%.1f ms", (double)t->round_trip_us / 1000);
    }
}

static void show_channels(const struct agent_status *s, struct sheet *sheet)
{
    const struct agent_tally *t = &s->tally;

    section(sheet, "Channels");
    row_fmt(sheet, "Open", "%" PRIu64, t->open);
    row_fmt(sheet, "Since start", "%" PRIu64 " opened, %" PRIu64 " refused", t->channels,
            t->refused);
    row_bytes(sheet, t->bytes_up, t->bytes_down);
    if (!t->last_time)
        return;
    section(sheet, "Last refusal");
    row_time(sheet, "Time", t->last_time);
    row(sheet, "Destination", t->last_destination);
    row_fmt(sheet, "Status", "%d %s", t->last.status, t->last.error);
    row(sheet, "Reason", t->last.text);
    row(sheet, "Support id", t->last.support_id);
}

static void show_certificate(const struct agent_status *s, struct sheet *sheet)
{
    const struct sp_tls_cred *cred = s->config->cred;

    section(sheet, "This device's certificate");
    row(sheet, "Subject", sp_tls_cred_subject(cred));
    row(sheet, "Issuer", sp_tls_cred_issuer(cred));
    row_time(sheet, "Valid until", sp_tls_cred_not_after(cred));
    row_fmt(sheet, "Days left", "%" PRId64, days_left(s));
    row(sheet, "Fingerprint", sp_tls_cred_fingerprint(cred));
}

static void write_sheet(const struct agent_status *s, bool is_html, FILE *out)
{
    struct sheet sheet = {.out = out, .is_html = is_html};
    char title[64];

    snprintf(title, sizeof title, "Sallyport: %s", agent_state_name(s->state.state));
    if (is_html)
        agent_answer_page(out, title);
    else
        fprintf(out, "%s\n", title);
    show_state(s, &sheet);
    show_tunnels(s, &sheet);
    show_channels(s, &sheet);
    show_certificate(s, &sheet);
    if (!is_html)
        return;
    fputs("</table>\n<p>The same for programs: <a href=\"/status.json\">status.json</a></p>\n",
          out);
    agent_answer_page_end(out);
}

void agent_status_write(const struct agent_status *s, enum agent_form form, FILE *out)
{
    if (form == AGENT_FORM_JSON)
        write_json(s, out);
    else
        write_sheet(s, form == AGENT_FORM_HTML, out);
}
