#include "gateway/explain_impl.h"

#include "common/clock.h"
#include "common/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXAMPLES 3 /* devices of a tenant that are named */

/* The last line about one certificate of one tenant: where it stands. */
struct device {
    int64_t offset;
    uint32_t len;
};

struct example {
    char *subject, *fingerprint;
    enum sp_reason reason;
};

struct row {
    char *tenant;
    size_t devices, cut, freed, unsure;
    size_t by_reason[SP_REASON_COUNT]; /* of the cut ones */
    struct example examples[EXAMPLES];
    size_t example_count;
};

struct against {
    const struct gw_explain_options *options;
    FILE *file;
    struct sp_hash *devices; /* by tenant, NUL, fingerprint */
    struct sp_hash *rows;    /* by tenant */
    struct row **sorted;
    size_t lines, tunnels, malformed, nobodys;
    char first_wrong[400];
    unsigned unsure;
    char *buf; /* GW_LINE_MAX */
};

/* ---- the log ---- */

/* The second look needs a file that can be read again: what comes through a pipe is put into one
 * that has no name. */
static FILE *spool(FILE *in)
{
    FILE *out = tmpfile();
    char bytes[65536];
    size_t n;

    while (out && (n = fread(bytes, 1, sizeof bytes, in)) > 0)
        if (fwrite(bytes, 1, n, out) != n) {
            fclose(out);
            return NULL;
        }
    if (out && (ferror(in) || fflush(out) != 0)) {
        fclose(out);
        return NULL;
    }
    if (out)
        rewind(out);
    return out;
}

static enum sp_err open_log(struct against *a, struct sp_error *err)
{
    const char *path = a->options->against;
    bool is_stdin = !strcmp(path, "-");
    FILE *in = is_stdin ? stdin : fopen(path, "re");
    struct stat st = {.st_mode = 0};

    if (!in)
        return sp_error_sys(err, errno, "--against %.200s: cannot be opened", path);
    if (fstat(fileno(in), &st) == 0 && S_ISDIR(st.st_mode)) {
        fclose(in);
        return sp_error_set(err, SP_ERR_CONFIG, "--against %.200s: is a folder; wanted is a log",
                            path);
    }
    if (S_ISREG(st.st_mode)) {
        a->file = in;
        if (is_stdin)
            rewind(in);
        return SP_OK;
    }
    a->file = spool(in);
    if (!is_stdin)
        fclose(in);
    return a->file ? SP_OK : sp_error_sys(err, errno, "--against %.200s: cannot be kept", path);
}

/* A line of ours about something else is known by its beginning, without being parsed. */
static bool is_plainly_other(const char *line, size_t len)
{
    static const char key[] = "\"event\":\"", tunnel[] = "tunnel\"";
    const char *at =
        len > 200 ? memmem(line, 200, key, sizeof key - 1) : memmem(line, len, key, sizeof key - 1);

    if (!at || len < 2 || line[0] != '{' || line[len - 1] != '}')
        return false;
    at += sizeof key - 1;
    return (size_t)(line + len - at) > sizeof tunnel && memcmp(at, tunnel, sizeof tunnel - 1) != 0;
}

static void note_device(struct against *a, const struct gw_logged *line, int64_t offset, size_t len)
{
    size_t tenant_len = strlen(line->tenant), print_len = strlen(line->fingerprint);
    size_t key_len = tenant_len + 1 + print_len;
    SP_AUTO_FREE char *key = sp_calloc(1, key_len + 1);
    struct device *device;

    memcpy(key, line->tenant, tenant_len);
    memcpy(key + tenant_len + 1, line->fingerprint, print_len);
    device = sp_hash_get(a->devices, key, key_len);
    if (!device) {
        device = sp_calloc(1, sizeof *device);
        sp_hash_put(a->devices, key, key_len, device);
    }
    *device = (struct device){.offset = offset, .len = (uint32_t)len};
}

static void note_wrong(struct against *a, const char *why)
{
    if (!a->malformed++)
        snprintf(a->first_wrong, sizeof a->first_wrong, "line %zu: %.350s", a->lines, why);
}

static void take_line(struct against *a, int64_t offset, size_t len, bool is_whole)
{
    struct gw_logged line;
    char message[700];
    struct sp_error err;
    bool is_other;

    a->lines++;
    if (!is_whole) {
        note_wrong(a, "it is longer than any line of ours");
        return;
    }
    if (!len || is_plainly_other(a->buf, len))
        return;
    if (gw_logged_read(a->buf, len, &line, &is_other, &err) != SP_OK) {
        note_wrong(a, sp_error_message(&err, message, sizeof message));
        return;
    }
    if (is_other)
        return;
    a->tunnels++;
    if (line.tenant && line.fingerprint)
        note_device(a, &line, offset, len);
    else
        a->nobodys++;
    gw_logged_done(&line);
}

static void read_log(struct against *a)
{
    int64_t offset = 0;
    bool is_whole;
    size_t len;

    while (gw_explain_next_line(a->file, a->buf, &len, &is_whole)) {
        take_line(a, offset, len, is_whole);
        offset += (int64_t)len + 1;
    }
}

/* ---- each device again ---- */

static struct row *row_of(struct against *a, const char *tenant)
{
    struct row *row = sp_hash_get(a->rows, tenant, strlen(tenant));

    if (!row) {
        row = sp_calloc(1, sizeof *row);
        row->tenant = sp_strdup(tenant);
        sp_hash_put(a->rows, tenant, strlen(tenant), row);
    }
    return row;
}

static void count_cut(struct row *row, const struct gw_logged *line, enum sp_reason reason)
{
    row->cut++;
    row->by_reason[reason]++;
    if (row->example_count == EXAMPLES)
        return;
    row->examples[row->example_count++] =
        (struct example){.subject = sp_strdup(line->subject ? line->subject : ""),
                         .fingerprint = sp_strdup(line->fingerprint),
                         .reason = reason};
}

static bool again(struct against *a, const struct gw_registry *registry,
                  const struct device *device)
{
    struct gw_recomputed r;
    struct gw_logged line;
    struct row *row;
    bool is_other, blocks;

    if (pread(fileno(a->file), a->buf, device->len, device->offset) != (ssize_t)device->len ||
        gw_logged_read(a->buf, device->len, &line, &is_other, NULL) != SP_OK)
        return false; /* it was there a moment ago: somebody writes over the file */
    if (is_other)
        return false;
    gw_recompute(registry, &line, a->options->has_at ? a->options->at : line.at, &r);
    row = row_of(a, line.tenant);
    blocks = r.verdict.action == SP_ACTION_BLOCK;
    row->devices++;
    if (blocks && !line.was_blocked)
        count_cut(row, &line, r.verdict.reason);
    row->freed += !blocks && line.was_blocked;
    row->unsure += !blocks && line.was_blocked && (r.unsure & GW_UNSURE_TRUST);
    a->unsure |= r.unsure;
    gw_logged_done(&line);
    return true;
}

static int compare_devices(const void *a, const void *b)
{
    const struct device *const *left = a;
    const struct device *const *right = b;

    return ((*left)->offset > (*right)->offset) - ((*left)->offset < (*right)->offset);
}

/* In the order of the log: the examples are then the same ones each time. */
static enum sp_err decide_all(struct against *a, const struct gw_registry *registry,
                              struct sp_error *err)
{
    SP_AUTO_FREE struct device **all =
        sp_calloc(sp_hash_count(a->devices) + 1, sizeof(struct device *));
    size_t cursor = 0, count = 0, len;
    const char *key;
    void *device;

    while (sp_hash_next(a->devices, &cursor, &key, &len, &device))
        all[count++] = device;
    qsort(all, count, sizeof(struct device *), compare_devices);
    for (size_t i = 0; i < count; i++)
        if (!again(a, registry, all[i]))
            return sp_error_set(err, SP_ERR_CONFIG,
                                "--against %.200s: it changed while it was read",
                                a->options->against);
    return SP_OK;
}

/* ---- telling ---- */

static int compare_rows(const void *a, const void *b)
{
    const struct row *const *left = a;
    const struct row *const *right = b;

    return strcmp((*left)->tenant, (*right)->tenant);
}

static size_t sort_rows(struct against *a)
{
    size_t cursor = 0, count = 0, len;
    const char *key;
    void *row;

    a->sorted = sp_calloc(sp_hash_count(a->rows) + 1, sizeof *a->sorted);
    while (sp_hash_next(a->rows, &cursor, &key, &len, &row))
        a->sorted[count++] = row;
    qsort(a->sorted, count, sizeof(struct row *), compare_rows);
    return count;
}

static void print_row(const struct row *row, FILE *out)
{
    const char *comma = "";

    gw_explain_escaped(out, row->tenant);
    fprintf(out, "%*s %8zu %8zu %8zu  ",
            strlen(row->tenant) < 20 ? 20 - (int)strlen(row->tenant) : 0, "", row->devices,
            row->cut, row->freed);
    for (int reason = 0; reason < SP_REASON_COUNT; reason++) {
        if (!row->by_reason[reason])
            continue;
        fprintf(out, "%s%s %zu", comma, sp_reason_name((enum sp_reason)reason),
                row->by_reason[reason]);
        comma = ", ";
    }
    fputs(row->cut ? "\n" : "-\n", out);
}

static void print_text(const struct against *a, size_t count, size_t cut, FILE *out)
{
    fprintf(out, "%-20s %8s %8s %8s  %s\n", "tenant", "devices", "cut", "let in",
            "the cut ones, by reason");
    for (size_t i = 0; i < count; i++)
        print_row(a->sorted[i], out);
    fprintf(out,
            "\n%zu device%s would be cut: the last decision in the log let %s in, the present "
            "configuration does not.\n",
            cut, cut == 1 ? "" : "s", cut == 1 ? "it" : "them");
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < a->sorted[i]->example_count; k++) {
            const struct example *e = &a->sorted[i]->examples[k];

            gw_explain_escaped(out, a->sorted[i]->tenant);
            fprintf(out, ": %s: ", sp_reason_name(e->reason));
            gw_explain_escaped(out, e->subject);
            fputs(", ", out);
            gw_explain_escaped(out, e->fingerprint);
            fputs(k + 1 == EXAMPLES && a->sorted[i]->cut > EXAMPLES ? ", and others\n" : "\n", out);
        }
    fprintf(out, "\n%zu lines, %zu of them decisions", a->lines, a->tunnels);
    if (a->nobodys)
        fprintf(out, ", %zu of these about no device (no tenant, or no certificate)", a->nobodys);
    fputs(".\n", out);
    if (a->malformed) {
        fprintf(out, "%zu lines could not be read; the first: ", a->malformed);
        gw_explain_escaped(out, a->first_wrong);
        fputs("\n", out);
    }
    for (int kind = 0; kind < GW_UNSURE_KINDS; kind++)
        if (a->unsure & 1U << kind)
            fprintf(out, "Not recomputed: %s.\n", gw_unsure_texts[kind]);
}

static void print_json_row(const struct row *row, FILE *out)
{
    const char *comma = "";

    fputs("{\"tenant\":", out);
    gw_explain_json_string(out, row->tenant);
    fprintf(out, ",\"devices\":%zu,\"cut\":%zu,\"let_in\":%zu,\"by_reason\":{", row->devices,
            row->cut, row->freed);
    for (int reason = 0; reason < SP_REASON_COUNT; reason++) {
        if (!row->by_reason[reason])
            continue;
        fprintf(out, "%s\"%s\":%zu", comma, sp_reason_name((enum sp_reason)reason),
                row->by_reason[reason]);
        comma = ",";
    }
    fputs("},\"examples\":[", out);
    for (size_t k = 0; k < row->example_count; k++) {
        fprintf(out, "%s{\"reason\":\"%s\",\"subject\":", k ? "," : "",
                sp_reason_name(row->examples[k].reason));
        gw_explain_json_string(out, row->examples[k].subject);
        fputs(",\"fingerprint\":", out);
        gw_explain_json_string(out, row->examples[k].fingerprint);
        fputc('}', out);
    }
    fputs("]}", out);
}

static void print_json(const struct against *a, size_t count, size_t cut, FILE *out)
{
    const char *comma = "";

    fprintf(out,
            "{\"event\":\"explain_against\",\"cut\":%zu,\"lines\":%zu,\"decisions\":%zu,"
            "\"about_no_device\":%zu,\"malformed\":%zu,\"tenants\":[",
            cut, a->lines, a->tunnels, a->nobodys, a->malformed);
    for (size_t i = 0; i < count; i++) {
        fputs(i ? "," : "", out);
        print_json_row(a->sorted[i], out);
    }
    fputs("],\"not_recomputed\":[", out);
    for (int kind = 0; kind < GW_UNSURE_KINDS; kind++) {
        if (!(a->unsure & 1U << kind))
            continue;
        fputs(comma, out);
        gw_explain_json_string(out, gw_unsure_texts[kind]);
        comma = ",";
    }
    fputs("]}\n", out);
}

static void tell(struct against *a, struct gw_explain_answer *ret_answer)
{
    size_t len, cut = 0, count = sort_rows(a);
    FILE *out = open_memstream(&ret_answer->text, &len);

    SP_REQUIRE(out);
    for (size_t i = 0; i < count; i++)
        cut += a->sorted[i]->cut;
    if (a->options->json)
        print_json(a, count, cut, out);
    else
        print_text(a, count, cut, out);
    fclose(out);
    ret_answer->exit_status = cut > 0;
}

/* ---- all of it ---- */

static void done(struct against *a)
{
    size_t cursor = 0, len;
    const char *key;
    void *value;

    while (sp_hash_next(a->devices, &cursor, &key, &len, &value))
        free(value);
    cursor = 0;
    while (sp_hash_next(a->rows, &cursor, &key, &len, &value)) {
        struct row *row = value;

        for (size_t i = 0; i < row->example_count; i++) {
            free(row->examples[i].subject);
            free(row->examples[i].fingerprint);
        }
        free(row->tenant);
        free(row);
    }
    sp_hash_free(a->devices);
    sp_hash_free(a->rows);
    free(a->sorted);
    free(a->buf);
    if (a->file && a->file != stdin)
        fclose(a->file);
}

enum sp_err gw_explain_against(const struct gw_explain_options *options,
                               struct gw_explain_answer *ret_answer, struct sp_error *err)
{
    struct against a = {
        .options = options,
        .devices = sp_hash_new(),
        .rows = sp_hash_new(),
        .buf = sp_calloc(1, GW_LINE_MAX),
    };
    struct gw_explain_state state = {.registry = NULL};
    enum sp_err rc = gw_explain_load(options->config, &state, err);

    if (rc == SP_OK)
        rc = open_log(&a, err);
    if (rc == SP_OK) {
        read_log(&a);
        if (a.lines && a.malformed == a.lines)
            rc = sp_error_set(err, SP_ERR_CONFIG,
                              "--against %.100s: no line of it is one of a log in JSON; %s",
                              options->against, a.first_wrong);
    }
    if (rc == SP_OK)
        rc = decide_all(&a, state.registry, err);
    if (rc == SP_OK)
        tell(&a, ret_answer);
    gw_explain_unload(&state);
    done(&a);
    return rc == SP_OK ? rc : sp_error_as_config(err);
}
