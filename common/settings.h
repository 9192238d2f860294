/*
 * settings: what agent and gateway configure alike: the json_bind tables of `log`, `keepalive` and
 * `tls`, checks of single values, and the list of warnings that loading a configuration collects.
 *
 * Plain data, owned by the configuration it is embedded in. Nothing here prints or reads a clock.
 */
#ifndef SALLYPORT_COMMON_SETTINGS_H
#define SALLYPORT_COMMON_SETTINGS_H
#include "common/addr.h"
#include "common/error.h"
#include "common/json_bind.h"
#include "common/tls_chain.h"
#include "common/verdict.h"
#include <stdint.h>

struct sp_tls_cred;
struct sp_tls_cred_source;
struct sp_tls_crl_pool;
struct sp_tls_crl_set;
struct sp_tls_trust;

struct sp_log_settings {
    int level;  /* enum sp_log_level; default info */
    int format; /* enum sp_log_format; default auto */
    char *file; /* NULL: stderr */
};
extern const struct sp_json_field sp_settings_log_fields[];
/* Whether log.file could be opened, as far as that can be said without making it: so that --check
 * and a reload find out what a start would. */
SP_MUST_USE enum sp_err sp_settings_check_log(const struct sp_log_settings *log, const char *file,
                                              struct sp_error *err);

struct sp_keepalive_settings {
    uint64_t idle_s;    /* nothing heard for so long: PING */
    uint64_t timeout_s; /* no answer for so long: the tunnel is dead */
};
extern const struct sp_json_field sp_settings_keepalive_fields[];

struct sp_tls_settings {
    int min_version; /* enum sp_tls_version; default 1.3 */
};
extern const struct sp_json_field sp_settings_tls_fields[];

/* Our own certificates' OCSP responses (common/stapler.h). */
struct sp_stapling_settings {
    bool enabled;    /* default true */
    char *responder; /* NULL: the one that the certificate names */
};
extern const struct sp_json_field sp_settings_stapling_fields[];

/* A door or a gateway listens at 1..SP_LISTEN_MAX addresses. */
#define SP_LISTEN_MAX 64

/* For struct sp_json_field.check. */
enum sp_err sp_settings_check_addr(const char *value, struct sp_error *err);   /* "ip:port" */
enum sp_err sp_settings_check_target(const char *value, struct sp_error *err); /* "host:port" */
/* A host name, or "*." and a host name (one label). */
enum sp_err sp_settings_check_server_name(const char *value, struct sp_error *err);

/* Folds names that sp_settings_check_server_name has passed, in place. */
void sp_settings_fold_server_name(char *name);

/* What a chain may be like; the rows `max_chain` and `min_key_bits` of a table whose struct has
 * these two members. */
#define SP_SETTINGS_CHAIN_ROWS(owner)                                                              \
    {.key = "max_chain",                                                                           \
     .type = SP_JSON_UINT,                                                                         \
     .offset = offsetof(owner, max_chain),                                                         \
     .min = 1,                                                                                     \
     .max = SP_CHAIN_MAX_CERTS,                                                                    \
     .default_uint = SP_CHAIN_MAX_CERTS},                                                          \
    {                                                                                              \
        .key = "min_key_bits", .type = SP_JSON_UINT, .offset = offsetof(owner, min_key_bits),      \
        .min = SP_RSA_BITS_MIN, .max = SP_RSA_BITS_MAX, .default_uint = SP_RSA_BITS_MIN            \
    }

extern const struct sp_json_field sp_settings_exception_fields[];
#define SP_EXCEPTIONS_MAX 1000

/* The rows `on_failure`, `on` and `exceptions` of a table whose struct has a struct sp_policy as
 * `member`. Loading ends with sp_settings_finish_policy. */
#define SP_SETTINGS_POLICY_ROWS(owner, member)                                                     \
    {.key = "on_failure",                                                                          \
     .type = SP_JSON_ENUM,                                                                         \
     .offset = offsetof(owner, member.on_failure),                                                 \
     .default_uint = SP_DECIDE_BLOCK,                                                              \
     .names = sp_decision_names},                                                                  \
        {.key = "on",                                                                              \
         .type = SP_JSON_ENUM_MAP,                                                                 \
         .offset = offsetof(owner, member.on),                                                     \
         .default_uint = SP_DECIDE_UNSET,                                                          \
         .names = sp_decision_names,                                                               \
         .key_names = sp_reason_names},                                                            \
    {                                                                                              \
        .key = "exceptions", .type = SP_JSON_ARRAY, .offset = offsetof(owner, member.exceptions),  \
        .max = SP_EXCEPTIONS_MAX, .fields = sp_settings_exception_fields,                          \
        .size = sizeof(struct sp_exception)                                                        \
    }

/* The reasons of `never` are not this policy's to allow: an error at json_path + ".on.<reason>"
 * that says so and goes on with `why` ("it is found before a tenant is known"). */
SP_MUST_USE enum sp_err sp_settings_check_policy(const struct sp_policy *policy,
                                                 sp_reason_set never, const char *why,
                                                 const char *file, const char *json_path,
                                                 struct sp_error *err);

/* "sha256:" and 64 hex digits; folding is in place. For struct sp_json_field.check. */
enum sp_err sp_settings_check_sha256(const char *value, struct sp_error *err);
void sp_settings_fold_sha256(char *value);

/* Once bound: reads what the exceptions say; one for a reason that has no certificate to excuse is
 * an error. */
SP_MUST_USE enum sp_err sp_settings_finish_policy(struct sp_policy *policy, const char *file,
                                                  const char *json_path, struct sp_error *err);

/* What the person should know, though it does not stop the load. */
struct sp_warning {
    char *where; /* "gateway.json: $.common.certificate" */
    char *text;
};
struct sp_warnings {
    struct sp_warning *items;
    size_t count;
};
void sp_warnings_add(struct sp_warnings *warnings, const char *file, const char *json_path,
                     const char *fmt, ...) SP_PRINTF(4, 5);
void sp_warnings_done(struct sp_warnings *warnings);

/* Load what a configuration names, and put the place that named it before the error:
 *     gateway.json: $.common.private_key: common.key: ...
 * json_path is that of the object that holds `certificate` and `private_key`, or of the array. */
SP_MUST_USE enum sp_err sp_settings_load_cred(const char *file, const char *json_path,
                                              const char *certificate, const char *private_key,
                                              struct sp_tls_cred **ret_cred, struct sp_error *err);
/* The same of any kind; json_path is that of the object whose keys are called as the members of
 * struct sp_tls_cred_source. */
SP_MUST_USE enum sp_err sp_settings_load_source(const char *file, const char *json_path,
                                                const struct sp_tls_cred_source *source,
                                                struct sp_tls_cred **ret_cred,
                                                struct sp_error *err);
SP_MUST_USE enum sp_err sp_settings_load_trust(const char *file, const char *json_path,
                                               const struct sp_json_strings *ca_paths,
                                               bool use_system, struct sp_tls_trust **ret_trust,
                                               struct sp_error *err);

/* A path, or a URL that can be fetched. */
enum sp_err sp_settings_check_crl(const char *value, struct sp_error *err);
/* The row `crls` of a table whose struct has a struct sp_json_strings as `member`. */
#define SP_SETTINGS_CRLS_ROW(owner, member)                                                        \
    {                                                                                              \
        .key = "crls", .type = SP_JSON_PATHS, .offset = offsetof(owner, member), .max = 1000,      \
        .check = sp_settings_check_crl, .or_url = true                                             \
    }
/* The key `cache_dir`: it must be a folder. NULL: none is wanted. */
SP_MUST_USE enum sp_err sp_settings_check_cache(const char *cache_dir, const char *file,
                                                struct sp_error *err);
/* No paths: *ret_set is NULL. Warnings: what is stale now, and what no trusted CA issued. */
SP_MUST_USE enum sp_err
sp_settings_load_crls(struct sp_tls_crl_pool *pool, const char *file, const char *json_path,
                      const struct sp_json_strings *paths, struct sp_tls_trust *trust, int64_t now,
                      struct sp_warnings *warnings, struct sp_tls_crl_set **ret_set,
                      struct sp_error *err);

/* Warns of each exception that has ended by `now`. */
void sp_settings_warn_exceptions(struct sp_warnings *warnings, const char *file,
                                 const char *json_path, const struct sp_policy *policy,
                                 int64_t now);

/* Warns when the leaf is expired or not yet valid at `now`. */
void sp_settings_warn_validity(struct sp_warnings *warnings, const char *file,
                               const char *json_path, const char *certificate_path,
                               const struct sp_tls_cred *cred, int64_t now);
#endif
