#include "agent/bundle.h"

#include "agent/ask.h"
#include "agent/config.h"
#include "agent/redact.h"
#include "agent/report.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/json_out.h"
#include "common/tls_cred.h"
#include "common/tls_show.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#define ASK_MS   3000
#define LOG_TAIL (64 * 1024) /* bytes of the log's end */

static void put(struct sp_json_out *json, const char *key, const char *text)
{
    SP_AUTO_FREE char *shown = agent_redact(text);

    sp_json_out_str(json, key, shown);
}

/* ---- the system ---- */

/* PRETTY_NAME="Debian GNU/Linux 12 (bookworm)" */
static void put_distribution(struct sp_json_out *json)
{
    static const char key[] = "PRETTY_NAME=\"";
    struct sp_file file = {.data = NULL};
    struct sp_error err;
    char *found, *end;

    if (sp_file_read("/etc/os-release", 65536, &file, &err) != SP_OK)
        return;
    found = strstr((char *)file.data, key);
    end = found ? strchr(found + sizeof key - 1, '"') : NULL;
    if (end) {
        *end = '\0';
        sp_json_out_str(json, "distribution", found + sizeof key - 1);
    }
    sp_file_done(&file);
}

static void put_system(struct sp_json_out *json)
{
    struct utsname name;
    char library[48];

    sp_json_out_object(json, "system");
    put_distribution(json);
    if (uname(&name) == 0) {
        sp_json_out_str(json, "kernel", name.release);
        sp_json_out_str(json, "machine", name.machine);
    }
    sp_json_out_str(json, "tls", sp_tls_show_library(library));
    sp_json_out_int(json, "uid", geteuid());
    sp_json_out_object_end(json);
}

/* ---- the configuration, and the files that it names ---- */

struct shown {
    char *last; /* what was returned last: freed by the next one */
};

static const char *show(void *ctx, const struct sp_json_field *field, const char *value)
{
    struct shown *shown = ctx;

    if (agent_redact_is_secret(field))
        return AGENT_REDACTED;
    free(shown->last);
    shown->last = agent_redact(value);
    return shown->last;
}

static void put_file(struct sp_json_out *json, const char *key, const char *path)
{
    struct stat st;
    char mode[16];

    sp_json_out_object(json, NULL);
    sp_json_out_str(json, "key", key);
    put(json, "path", path);
    if (stat(path, &st) < 0) {
        sp_json_out_str(json, "error", strerrordesc_np(errno));
    } else {
        snprintf(mode, sizeof mode, "%04o", (unsigned)st.st_mode & 07777U);
        sp_json_out_str(json, "mode", mode);
        sp_json_out_int(json, "owner", st.st_uid);
        sp_json_out_int(json, "group", st.st_gid);
        sp_json_out_int(json, "size", st.st_size);
        sp_json_out_time(json, "modified", st.st_mtime);
        sp_json_out_bool(json, "readable", access(path, R_OK) == 0);
    }
    sp_json_out_object_end(json);
}

struct files {
    struct sp_json_out *to;
};

/* Writes no configuration: only looks for paths among its values. */
static const char *note_file(void *ctx, const struct sp_json_field *field, const char *value)
{
    struct files *files = ctx;
    bool is_path = field->type == SP_JSON_PATH || field->type == SP_JSON_PATHS;

    if (is_path && !(field->or_url && sp_json_is_url(value)))
        put_file(files->to, field->key, value);
    return NULL;
}

static void put_files(const struct agent_bundle *bundle, struct sp_json_out *json)
{
    char *text = NULL;
    size_t len;
    struct sp_json_out nowhere = {.out = open_memstream(&text, &len)};
    struct files files = {json};

    SP_REQUIRE(nowhere.out);
    sp_json_out_array(json, "files");
    put_file(json, "--config", bundle->config_path);
    if (bundle->config)
        agent_config_write(bundle->config, &nowhere, note_file, &files);
    sp_json_out_array_end(json);
    SP_REQUIRE(fclose(nowhere.out) == 0);
    free(text);
}

static void put_config(const struct agent_bundle *bundle, struct sp_json_out *json)
{
    struct shown shown = {.last = NULL};
    char message[768];

    if (bundle->config) {
        sp_json_out_object(json, "configuration");
        agent_config_write(bundle->config, json, show, &shown);
        sp_json_out_object_end(json);
        free(shown.last);
    }
    if (bundle->config_error)
        put(json, "configuration_error",
            sp_error_message(bundle->config_error, message, sizeof message));
}

static void put_certificate(const struct agent_config *config, struct sp_json_out *json)
{
    const struct sp_tls_cred *cred = config ? config->cred : NULL;

    if (!cred)
        return;
    sp_json_out_object(json, "certificate");
    sp_json_out_str(json, "subject", sp_tls_cred_subject(cred));
    sp_json_out_str(json, "issuer", sp_tls_cred_issuer(cred));
    sp_json_out_time(json, "not_before", sp_tls_cred_not_before(cred));
    sp_json_out_time(json, "not_after", sp_tls_cred_not_after(cred));
    sp_json_out_str(json, "fingerprint", sp_tls_cred_fingerprint(cred));
    sp_json_out_object_end(json);
}

/* ---- the running agent, and its log ---- */

/* What answers is data: only what is one JSON object is taken in. */
static bool is_object(const char *text)
{
    static const struct sp_json_field nothing[] = {{.key = NULL}};
    struct sp_error err;
    char none;

    return sp_json_load_line("status", text, strlen(text), nothing, &none, &err) == SP_OK;
}

static enum sp_err ask_status(const struct agent_bundle *bundle, char **ret_body,
                              struct sp_error *err)
{
    static const char path[] = "/status.json", type[] = "application/json";
    struct agent_ask_door door;

    if (!bundle->door)
        return agent_ask_any(bundle->config, path, type, ASK_MS, ret_body, err);
    if (agent_ask_parse_door(bundle->door, &door, err) != SP_OK)
        return err->kind;
    return agent_ask(&door, path, type, ASK_MS, ret_body, err);
}

static void put_status(const struct agent_bundle *bundle, struct sp_json_out *json)
{
    SP_AUTO_FREE char *body = NULL;
    SP_AUTO_FREE char *shown = NULL;
    struct sp_error err;
    char message[768];
    enum sp_err rc;

    if (!bundle->door && !bundle->config)
        return;
    rc = ask_status(bundle, &body, &err);
    if (rc == SP_OK && !is_object(body))
        rc = sp_error_set(&err, SP_ERR_JSON, "the answer is no JSON object");
    if (rc != SP_OK) {
        put(json, "status_error", sp_error_message(&err, message, sizeof message));
        return;
    }
    body[strcspn(body, "\r\n")] = '\0'; /* it is one line */
    shown = agent_redact(body);
    sp_json_out_raw(json, "status", shown);
}

static void put_lines(struct sp_json_out *json, char *text)
{
    char *rest = text, *line;

    sp_json_out_array(json, "lines");
    while ((line = strsep(&rest, "\n"))) {
        if (*line)
            put(json, NULL, line);
    }
    sp_json_out_array_end(json);
}

static void put_log(const struct agent_config *config, struct sp_json_out *json)
{
    SP_AUTO_FREE char *text = NULL;
    const char *path = config ? config->log.file : NULL;
    FILE *in = path ? fopen(path, "re") : NULL;
    size_t len = 0;

    if (!path)
        return;
    sp_json_out_object(json, "log");
    put(json, "file", path);
    if (in) {
        text = sp_calloc(1, LOG_TAIL + 1);
        if (fseek(in, -LOG_TAIL, SEEK_END) < 0)
            rewind(in);
        else
            while (len < LOG_TAIL && getc_unlocked(in) != '\n')
                len++; /* the rest of a line */
        len = fread(text, 1, LOG_TAIL, in);
        text[len] = '\0';
        put_lines(json, text);
        fclose(in);
    } else {
        sp_json_out_str(json, "error", strerrordesc_np(errno));
    }
    sp_json_out_object_end(json);
}

/* ---- all of it ---- */

/* Written apart, so that what was found can be redacted as text. */
static void put_report(const struct agent_report *report, struct sp_json_out *json)
{
    char *text = NULL;
    size_t len;
    struct sp_json_out inner = {.out = open_memstream(&text, &len)};
    SP_AUTO_FREE char *shown = NULL;

    if (!report) {
        fclose(inner.out);
        free(text);
        return;
    }
    SP_REQUIRE(inner.out);
    sp_json_out_object(&inner, NULL);
    agent_report_json(report, &inner);
    sp_json_out_object_end(&inner);
    SP_REQUIRE(fclose(inner.out) == 0);
    shown = agent_redact(text);
    free(text);
    sp_json_out_raw(json, "diagnosis", shown);
}

static void write_bundle(const struct agent_bundle *bundle, FILE *out)
{
    struct sp_json_out json = {.out = out};

    sp_json_out_object(&json, NULL);
    sp_json_out_str(&json, "bundle", "sallyport-agent");
    sp_json_out_str(&json, "version", SALLYPORT_VERSION);
    sp_json_out_time(&json, "time", sp_clock_wall_s());
    put_system(&json);
    put_config(bundle, &json);
    put_certificate(bundle->config, &json);
    put_files(bundle, &json);
    put_status(bundle, &json);
    put_report(bundle->report, &json);
    put_log(bundle->config, &json);
    sp_json_out_object_end(&json);
    fputc('\n', out);
}

enum sp_err agent_bundle_save(const struct agent_bundle *bundle, const char *path,
                              struct sp_error *err)
{
    SP_AUTO_FREE char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    SP_REQUIRE(out);
    write_bundle(bundle, out);
    SP_REQUIRE(fclose(out) == 0);
    return sp_file_replace(path, text, len, err);
}
