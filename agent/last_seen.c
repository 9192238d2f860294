#include "agent/last_seen.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/json_bind.h"
#include "common/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_NAME "last-seen.json"
#define FILE_MAX  8192
#define REWRITE_S 3600

/* As bound. */
struct row {
    char *server_name, *subject, *issuer, *fingerprint;
    uint64_t seen;
};

#define TEXT(name, most)                                                                           \
    {                                                                                              \
        .key = #name, .type = SP_JSON_STRING, .offset = offsetof(struct row, name),                \
        .required = true, .max = (most)                                                            \
    }

static const struct sp_json_field row_fields[] = {
    TEXT(server_name, 255),
    TEXT(subject, SP_DN_MAX - 1),
    TEXT(issuer, SP_DN_MAX - 1),
    TEXT(fingerprint, 71),
    {.key = "seen",
     .type = SP_JSON_UINT,
     .offset = offsetof(struct row, seen),
     .required = true,
     .max = 253402300799}, /* the year 9999 */
    {.key = NULL},
};

static char *path_in(const char *cache_dir)
{
    char *path;

    SP_REQUIRE(asprintf(&path, "%s/%s", cache_dir, FILE_NAME) >= 0);
    return path;
}

void agent_last_seen_load(const char *cache_dir, const char *server_name,
                          struct agent_last_seen *ret)
{
    SP_AUTO_FREE char *path = cache_dir ? path_in(cache_dir) : NULL;
    struct sp_file file = {.data = NULL};
    struct row row = {.server_name = NULL};

    *ret = (struct agent_last_seen){.seen = 0};
    if (!path || sp_file_read(path, FILE_MAX, &file, NULL) != SP_OK)
        return;
    if (sp_json_load_line(path, (const char *)file.data, file.len, row_fields, &row, NULL) ==
        SP_OK) {
        if (strcmp(row.server_name, server_name) == 0) {
            snprintf(ret->server_name, sizeof ret->server_name, "%s", row.server_name);
            snprintf(ret->subject, sizeof ret->subject, "%s", row.subject);
            snprintf(ret->issuer, sizeof ret->issuer, "%s", row.issuer);
            snprintf(ret->fingerprint, sizeof ret->fingerprint, "%s", row.fingerprint);
            ret->seen = ret->written = (int64_t)row.seen;
        }
        sp_json_done(row_fields, &row);
    }
    sp_file_done(&file);
}

static enum sp_err save(const char *cache_dir, const struct agent_last_seen *last,
                        struct sp_error *err)
{
    SP_AUTO_FREE char *path = path_in(cache_dir);
    struct sp_log_line line;
    const char *text;

    sp_log_text_begin(&line);
    sp_log_str(&line, "server_name", last->server_name);
    sp_log_str(&line, "subject", last->subject);
    sp_log_str(&line, "issuer", last->issuer);
    sp_log_str(&line, "fingerprint", last->fingerprint);
    sp_log_int(&line, "seen", last->seen);
    text = sp_log_text_end(&line);
    return sp_file_replace(path, text, strlen(text), err);
}

enum sp_err agent_last_seen_note(struct agent_last_seen *last, const char *cache_dir,
                                 const char *server_name, const struct sp_facts *facts, int64_t now,
                                 struct sp_error *err)
{
    bool is_same =
        strcmp(last->issuer, facts->issuer) == 0 && strcmp(last->server_name, server_name) == 0;
    int64_t age = now - last->written;

    snprintf(last->server_name, sizeof last->server_name, "%s", server_name);
    snprintf(last->subject, sizeof last->subject, "%s", facts->subject);
    snprintf(last->issuer, sizeof last->issuer, "%s", facts->issuer);
    snprintf(last->fingerprint, sizeof last->fingerprint, "%s", facts->fingerprint);
    last->seen = now;
    if (!cache_dir || (is_same && age >= 0 && age < REWRITE_S))
        return SP_OK;
    last->written = now; /* also when it fails: not at every tunnel again */
    return save(cache_dir, last, err);
}
