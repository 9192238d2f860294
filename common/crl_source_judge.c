#include "common/crl_source_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/tls_crl_file.h"
#include "common/tls_kdf.h"

/* ---- walking ---- */

struct crl_url *sp_crl_source_next_url(const struct sp_crl_source *source, size_t *cursor)
{
    const char *key;
    size_t len;
    void *value;

    return sp_hash_next(source->urls, cursor, &key, &len, &value) ? value : NULL;
}

struct crl_user *sp_crl_source_next_user(const struct crl_url *u, size_t *cursor)
{
    const char *key;
    size_t len;
    void *value;

    return sp_hash_next(u->users, cursor, &key, &len, &value) ? value : NULL;
}

/* ---- the log ---- */

void sp_crl_source_log_failure(const struct crl_url *u, const char *why, bool will_retry)
{
    struct sp_log_line line;

    if (!sp_log_begin(&line, u->source->options.log, SP_LOG_WARNING, "crl_fetch"))
        return;
    sp_log_bool(&line, "ok", false);
    sp_log_str(&line, "url", u->url);
    sp_log_str(&line, "error", why);
    if (will_retry) {
        struct sp_crl_schedule schedule = u->schedule;

        sp_log_int(&line, "retry_ms", sp_crl_schedule_wait_ms(&schedule, sp_clock_wall_ms()));
    }
    sp_log_end(&line);
}

void sp_crl_source_log_taken(const struct crl_url *u, const struct sp_tls_crl_file *file,
                             const char *cached)
{
    char time[SP_TIME_LEN];
    struct sp_tls_crl_summary summary;
    struct sp_log_line line;

    if (!sp_log_begin(&line, u->source->options.log, SP_LOG_INFO, "crl_fetch"))
        return;
    sp_tls_crl_file_summary(file, &summary);
    sp_log_bool(&line, "ok", true);
    sp_log_str(&line, "url", u->url);
    sp_log_str(&line, "cached", cached);
    sp_log_str(&line, "issuer", summary.issuer);
    sp_log_str(&line, "this_update", sp_time_format(summary.this_update, time));
    sp_log_str(&line, "next_update", sp_time_format(summary.next_update, time));
    sp_log_int(&line, "entries", (int64_t)summary.entries);
    sp_log_end(&line);
}

/* ---- what a content is to each user ---- */

void sp_crl_source_explain(struct crl_url *u, struct crl_user *user, const char *why)
{
    if (user->kept.good || user->kept.pending || (user->kept.why && !strcmp(user->kept.why, why)))
        return;
    sp_tls_crl_kept_why(&user->kept, why);
    sp_crl_source_tell(u->source);
}

void sp_crl_source_offer(struct crl_url *u, struct crl_user *user, struct sp_tls_crl_file *file,
                         struct taken *taken)
{
    struct sp_error err = {.text = ""};
    bool changed = false;

    if (sp_tls_crl_kept_offer(&user->kept, file, user->trust, sp_clock_wall_s(), &changed, &err) !=
        SP_OK) {
        taken->refused = true;
        snprintf(taken->why, sizeof taken->why, "%s", err.text);
        sp_crl_source_explain(u, user, err.text);
    }
    taken->changed |= changed;
}

void sp_crl_source_offer_all(struct crl_url *u, struct sp_tls_crl_file *file, struct taken *taken)
{
    struct crl_user *user;
    size_t cursor = 0;

    *taken = (struct taken){.changed = false};
    while ((user = sp_crl_source_next_user(u, &cursor)))
        sp_crl_source_offer(u, user, file, taken);
    if (!taken->changed)
        return;
    sp_tls_crl_file_unref(u->last);
    u->last = sp_tls_crl_file_ref(file);
    sp_crl_source_tell(u->source);
}

int64_t sp_crl_source_good_until(const struct crl_url *u)
{
    int64_t until = INT64_MAX, own;
    const struct crl_user *user;
    size_t cursor = 0;

    while ((user = sp_crl_source_next_user(u, &cursor))) {
        own = sp_tls_crl_kept_is_known(&user->kept) ? sp_tls_crl_kept_next_update(&user->kept)
                                                    : INT64_MIN;
        until = own < until ? own : until;
    }
    return until;
}

/* ---- the folder ---- */

static char *cache_path(const struct crl_url *u)
{
    uint8_t digest[SP_SHA256_LEN];
    char hex[33], *path;

    sp_sha256(u->url, strlen(u->url), digest);
    for (size_t i = 0; i < 16; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    SP_REQUIRE(asprintf(&path, "%s/crl-%s.crl", u->source->cache_dir, hex) >= 0);
    return path;
}

/* A file that is not there is no failure; one that is refused is no more than a line. */
void sp_crl_source_read_cache(struct crl_url *u)
{
    SP_AUTO_FREE char *path = u->source->cache_dir ? cache_path(u) : NULL;
    char why[sizeof((struct sp_error *)NULL)->text + 400];
    struct sp_tls_crl_file *file;
    struct sp_file content;
    struct sp_error err = {.text = ""};
    struct taken taken;
    enum sp_err rc;

    if (!path)
        return;
    rc = sp_file_read(path, SP_CRL_FETCH_BYTES_MAX, &content, &err);
    if (rc == SP_OK) {
        rc = sp_tls_crl_parse(content.data, content.len, &file, &err);
        sp_file_done(&content);
    } else if (err.kind == SP_ERR_SYS && err.code == ENOENT) {
        return;
    }
    if (rc == SP_OK) {
        sp_crl_source_offer_all(u, file, &taken);
        if (taken.refused)
            sp_error_set(&err, SP_ERR_CONFIG, "%s", taken.why);
        else
            sp_crl_source_log_taken(u, file, path);
        sp_tls_crl_file_unref(file);
    }
    if (rc == SP_OK && !taken.refused)
        return;
    snprintf(why, sizeof why, "kept file %s is not believed: %s", path, err.text);
    sp_crl_source_log_failure(u, why, false);
}

void sp_crl_source_write_cache(const struct crl_url *u, const void *body, size_t len)
{
    SP_AUTO_FREE char *path = u->source->cache_dir ? cache_path(u) : NULL;
    struct sp_error err = {.text = ""};

    if (path && sp_file_replace(path, body, len, &err) != SP_OK)
        sp_log_message(u->source->options.log, SP_LOG_WARNING, "trouble",
                       "the CRL of %s cannot be kept over a restart: %s", u->url, err.text);
}
