#include "common/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/tls_cred.h"
#include "common/tls_crl.h"
#include "common/tls_session.h"
#include "common/tls_trust.h"
#include "common/url.h"

static const char *const level_names[] = {
    [SP_LOG_ERROR] = "error", [SP_LOG_WARNING] = "warning", [SP_LOG_INFO] = "info",
    [SP_LOG_DEBUG] = "debug", [SP_LOG_DEBUG + 1] = NULL,
};

static const char *const format_names[] = {
    [SP_LOG_AUTO] = "auto",
    [SP_LOG_JSON] = "json",
    [SP_LOG_TEXT] = "text",
    [SP_LOG_TEXT + 1] = NULL,
};

static const char *const tls_version_names[] = {
    [SP_TLS_1_2] = "1.2",
    [SP_TLS_1_3] = "1.3",
    [SP_TLS_1_3 + 1] = NULL,
};

const struct sp_json_field sp_settings_log_fields[] = {
    {.key = "level",
     .type = SP_JSON_ENUM,
     .offset = offsetof(struct sp_log_settings, level),
     .default_uint = SP_LOG_INFO,
     .names = level_names},
    {.key = "format",
     .type = SP_JSON_ENUM,
     .offset = offsetof(struct sp_log_settings, format),
     .default_uint = SP_LOG_AUTO,
     .names = format_names},
    {.key = "file", .type = SP_JSON_PATH, .offset = offsetof(struct sp_log_settings, file)},
    {.key = NULL},
};

const struct sp_json_field sp_settings_keepalive_fields[] = {
    {.key = "idle_s",
     .type = SP_JSON_UINT,
     .offset = offsetof(struct sp_keepalive_settings, idle_s),
     .min = 1,
     .max = 86400,
     .default_uint = 30},
    {.key = "timeout_s",
     .type = SP_JSON_UINT,
     .offset = offsetof(struct sp_keepalive_settings, timeout_s),
     .min = 1,
     .max = 3600,
     .default_uint = 10},
    {.key = NULL},
};

const struct sp_json_field sp_settings_stapling_fields[] = {
    {.key = "enabled",
     .type = SP_JSON_BOOL,
     .offset = offsetof(struct sp_stapling_settings, enabled),
     .default_uint = true},
    {.key = "responder",
     .type = SP_JSON_STRING,
     .offset = offsetof(struct sp_stapling_settings, responder),
     .check = sp_url_check},
    {.key = NULL},
};

const struct sp_json_field sp_settings_tls_fields[] = {
    {.key = "min_version",
     .type = SP_JSON_ENUM,
     .offset = offsetof(struct sp_tls_settings, min_version),
     .default_uint = SP_TLS_1_3,
     .names = tls_version_names},
    {.key = NULL},
};

/* 0, or the errno that opening it for writing would meet. */
static int unwritable(const char *path)
{
    const char *slash = strrchr(path, '/');
    SP_AUTO_FREE char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : sp_strdup(".");
    struct stat st;

    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return EISDIR;
    if (faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0)
        return 0;
    if (errno != ENOENT)
        return errno;
    return faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

enum sp_err sp_settings_check_log(const struct sp_log_settings *log, const char *file,
                                  struct sp_error *err)
{
    int errno_value = log->file ? unwritable(log->file) : 0;

    if (!errno_value)
        return SP_OK;
    return sp_json_error(err, file, "$.log.file", "%s: cannot be opened for writing: %s", log->file,
                         strerrordesc_np(errno_value));
}

static enum sp_err check_until(const char *value, struct sp_error *err)
{
    int64_t until;

    if (sp_time_parse(value, &until))
        return SP_OK;
    return sp_error_set(err, SP_ERR_CONFIG,
                        "\"%.60s\" is not a moment in UTC; wanted: one such as "
                        "\"2027-01-31T00:00:00Z\"",
                        value);
}

const struct sp_json_field sp_settings_exception_fields[] = {
    {.key = "fingerprint",
     .type = SP_JSON_STRING,
     .offset = offsetof(struct sp_exception, fingerprint),
     .required = true,
     .check = sp_settings_check_sha256},
    {.key = "reason",
     .type = SP_JSON_ENUM,
     .offset = offsetof(struct sp_exception, reason),
     .required = true,
     .names = sp_reason_names},
    {.key = "until",
     .type = SP_JSON_STRING,
     .offset = offsetof(struct sp_exception, until_text),
     .required = true,
     .check = check_until},
    {.key = "note", .type = SP_JSON_STRING, .offset = offsetof(struct sp_exception, note)},
    {.key = NULL},
};

enum sp_err sp_settings_check_addr(const char *value, struct sp_error *err)
{
    struct sp_addr addr;

    return sp_addr_parse(value, &addr, err);
}

enum sp_err sp_settings_check_target(const char *value, struct sp_error *err)
{
    struct sp_target target;

    return sp_target_parse(value, strlen(value), &target, err);
}

/* Where the host name begins: after the "*." of a wildcard. */
static const char *skip_wildcard(const char *name)
{
    return strncmp(name, "*.", 2) ? name : name + 2;
}

enum sp_err sp_settings_check_server_name(const char *value, struct sp_error *err)
{
    char folded[SP_HOST_MAX + 1];
    const char *host = skip_wildcard(value);

    /* A wildcard takes two more bytes of the 253 that a name may have. */
    if (!sp_host_fold(host, strlen(host), folded) ||
        strlen(folded) + (size_t)(host - value) > SP_HOST_MAX)
        return sp_error_set(err, SP_ERR_CONFIG,
                            "\"%.260s\" is not a host name; wanted: c1.example.net, or "
                            "*.c1.example.net for every name one label below",
                            value);
    return SP_OK;
}

void sp_settings_fold_server_name(char *name)
{
    char folded[SP_HOST_MAX + 1];
    char *host = name + (skip_wildcard(name) - name);

    SP_REQUIRE(sp_host_fold(host, strlen(host), folded));
    SP_REQUIRE(strlen(folded) <= strlen(host));
    memcpy(host, folded, strlen(folded) + 1);
}

enum sp_err sp_settings_check_policy(const struct sp_policy *policy, sp_reason_set never,
                                     const char *why, const char *file, const char *json_path,
                                     struct sp_error *err)
{
    char path[128];
    unsigned reason;

    for (reason = 0; reason < SP_REASON_COUNT; reason++) {
        if (policy->on[reason] != SP_DECIDE_ALLOW || !(never & SP_REASON_BIT(reason)))
            continue;
        snprintf(path, sizeof path, "%s.on.%s", json_path, sp_reason_name(reason));
        return sp_json_error(err, file, path, "cannot be \"allow\": %s", why);
    }
    return SP_OK;
}

#define SHA256_PREFIX "sha256:"
#define SHA256_DIGITS 64

enum sp_err sp_settings_check_sha256(const char *value, struct sp_error *err)
{
    const char *digits = value + strlen(SHA256_PREFIX);

    if (!strncmp(value, SHA256_PREFIX, strlen(SHA256_PREFIX)) && strlen(digits) == SHA256_DIGITS &&
        strspn(digits, "0123456789abcdefABCDEF") == SHA256_DIGITS)
        return SP_OK;
    return sp_error_set(err, SP_ERR_CONFIG,
                        "\"%.100s\" is no SHA-256 digest; wanted: \"sha256:\" and 64 hex digits",
                        value);
}

void sp_settings_fold_sha256(char *value)
{
    for (char *c = value; *c; c++)
        if (*c >= 'A' && *c <= 'F')
            *c = (char)(*c - 'A' + 'a');
}

enum sp_err sp_settings_finish_policy(struct sp_policy *policy, const char *file,
                                      const char *json_path, struct sp_error *err)
{
    struct sp_exception *exceptions = policy->exceptions.items;
    char path[128];

    for (size_t i = 0; i < policy->exceptions.count; i++) {
        enum sp_reason reason = (enum sp_reason)exceptions[i].reason;

        sp_settings_fold_sha256(exceptions[i].fingerprint);
        SP_REQUIRE(sp_time_parse(exceptions[i].until_text, &exceptions[i].until));
        if (sp_reason_is_excusable(reason))
            continue;
        snprintf(path, sizeof path, "%s.exceptions[%zu].reason", json_path, i);
        return sp_json_error(err, file, path,
                             "\"%s\" is not about a certificate that was presented, so there is "
                             "none to make an exception for",
                             sp_reason_name(reason));
    }
    return SP_OK;
}

void sp_settings_warn_exceptions(struct sp_warnings *warnings, const char *file,
                                 const char *json_path, const struct sp_policy *policy, int64_t now)
{
    const struct sp_exception *exceptions = policy->exceptions.items;
    char path[128];

    for (size_t i = 0; i < policy->exceptions.count; i++) {
        if (now < exceptions[i].until)
            continue;
        snprintf(path, sizeof path, "%s.exceptions[%zu]", json_path, i);
        sp_warnings_add(warnings, file, path,
                        "ended at %s: it does nothing any more and can be removed",
                        exceptions[i].until_text);
    }
}

void sp_warnings_add(struct sp_warnings *warnings, const char *file, const char *json_path,
                     const char *fmt, ...)
{
    struct sp_warning *warning;
    va_list args;

    warnings->items = reallocarray(warnings->items, warnings->count + 1, sizeof warnings->items[0]);
    SP_REQUIRE(warnings->items);
    warning = &warnings->items[warnings->count++];
    SP_REQUIRE(asprintf(&warning->where, "%s: %s", file, json_path) >= 0);
    va_start(args, fmt);
    SP_REQUIRE(vasprintf(&warning->text, fmt, args) >= 0);
    va_end(args);
}

void sp_warnings_done(struct sp_warnings *warnings)
{
    size_t i;

    for (i = 0; i < warnings->count; i++) {
        free(warnings->items[i].where);
        free(warnings->items[i].text);
    }
    free(warnings->items);
    *warnings = (struct sp_warnings){.items = NULL};
}

/* The loaders name the file; the reader wants to know, too, which key of which file named that. */
static void blame(struct sp_error *err, const char *file, const char *json_path)
{
    if (err->where[0])
        sp_error_prefix(err, "%s", err->where);
    sp_error_where(err, "%s: %s", file, json_path);
}

static const char *const part_names[] = {
    [SP_CRED_CERTIFICATE] = "certificate", [SP_CRED_PRIVATE_KEY] = "private_key",
    [SP_CRED_PKCS12] = "pkcs12",           [SP_CRED_PASSWORD_FILE] = "password_file",
    [SP_CRED_PIN_FILE] = "pin_file",       [SP_CRED_PKCS11_MODULE] = "pkcs11_module",
};

enum sp_err sp_settings_load_source(const char *file, const char *json_path,
                                    const struct sp_tls_cred_source *source,
                                    struct sp_tls_cred **ret_cred, struct sp_error *err)
{
    struct sp_error why = {.kind = SP_OK};
    enum sp_tls_cred_part part = SP_CRED_CERTIFICATE;
    enum sp_err rc = sp_tls_cred_load_source(source, ret_cred, &part, &why);
    char path[128];

    if (rc == SP_OK)
        return SP_OK;
    snprintf(path, sizeof path, "%s.%s", json_path, part_names[part]);
    blame(&why, file, path);
    if (err)
        *err = why;
    return rc;
}

enum sp_err sp_settings_load_cred(const char *file, const char *json_path, const char *certificate,
                                  const char *private_key, struct sp_tls_cred **ret_cred,
                                  struct sp_error *err)
{
    const struct sp_tls_cred_source source = {
        .certificate = certificate, .private_key = private_key, .plain = true};

    return sp_settings_load_source(file, json_path, &source, ret_cred, err);
}

/* As above for one of an array of paths. */
static void blame_item(struct sp_error *err, const char *file, const char *json_path,
                       const struct sp_json_strings *paths)
{
    char path[128];

    snprintf(path, sizeof path, "%s", json_path);
    for (size_t i = 0; i < paths->count; i++)
        if (!strcmp(err->where, paths->items[i])) {
            snprintf(path, sizeof path, "%s[%zu]", json_path, i);
            break;
        }
    blame(err, file, path);
}

enum sp_err sp_settings_load_trust(const char *file, const char *json_path,
                                   const struct sp_json_strings *ca_paths, bool use_system,
                                   struct sp_tls_trust **ret_trust, struct sp_error *err)
{
    struct sp_error why = {.kind = SP_OK};
    enum sp_err rc = sp_tls_trust_load((const char *const *)ca_paths->items, ca_paths->count,
                                       use_system, ret_trust, &why);

    if (rc == SP_OK)
        return SP_OK;
    blame_item(&why, file, json_path, ca_paths);
    if (err)
        *err = why;
    return rc;
}

enum sp_err sp_settings_check_crl(const char *value, struct sp_error *err)
{
    return sp_json_is_url(value) ? sp_url_check(value, err) : SP_OK;
}

enum sp_err sp_settings_check_cache(const char *cache_dir, const char *file, struct sp_error *err)
{
    struct stat st;

    if (!cache_dir)
        return SP_OK;
    if (stat(cache_dir, &st) < 0)
        return sp_json_error(err, file, "$.cache_dir", "%s: %s; wanted is a folder that is there",
                             cache_dir, strerrordesc_np(errno));
    if (!S_ISDIR(st.st_mode))
        return sp_json_error(err, file, "$.cache_dir", "%s: is not a folder", cache_dir);
    return SP_OK;
}

static void warn_crls(struct sp_warnings *warnings, const char *file, const char *json_path,
                      const struct sp_tls_crl_set *set, int64_t now)
{
    char path[128], remark[1024];

    for (size_t i = 0; sp_tls_crl_set_name(set, i); i++) {
        snprintf(path, sizeof path, "%s[%zu]", json_path, i);
        if (sp_tls_crl_set_remark(set, i, now, remark, sizeof remark))
            sp_warnings_add(warnings, file, path, "%s", remark);
    }
}

enum sp_err sp_settings_load_crls(struct sp_tls_crl_pool *pool, const char *file,
                                  const char *json_path, const struct sp_json_strings *paths,
                                  struct sp_tls_trust *trust, int64_t now,
                                  struct sp_warnings *warnings, struct sp_tls_crl_set **ret_set,
                                  struct sp_error *err)
{
    struct sp_error why = {.kind = SP_OK};
    enum sp_err rc;

    *ret_set = NULL;
    if (!paths->count)
        return SP_OK;
    rc = sp_tls_crl_set_load(pool, (const char *const *)paths->items, paths->count, trust, ret_set,
                             &why);
    if (rc == SP_OK) {
        warn_crls(warnings, file, json_path, *ret_set, now);
        return SP_OK;
    }
    blame_item(&why, file, json_path, paths);
    if (err)
        *err = why;
    return rc;
}

void sp_settings_warn_validity(struct sp_warnings *warnings, const char *file,
                               const char *json_path, const char *certificate_path,
                               const struct sp_tls_cred *cred, int64_t now)
{
    int64_t not_before = sp_tls_cred_not_before(cred);
    int64_t not_after = sp_tls_cred_not_after(cred);
    char span[SP_TIME_LEN], when[SP_TIME_LEN];

    if (now > not_after)
        sp_warnings_add(warnings, file, json_path, "certificate %s expired %s ago (%s)",
                        certificate_path, sp_time_span(now - not_after, span),
                        sp_time_format(not_after, when));
    else if (now < not_before)
        sp_warnings_add(warnings, file, json_path,
                        "certificate %s is not valid for another %s (%s)", certificate_path,
                        sp_time_span(not_before - now, span), sp_time_format(not_before, when));
}
