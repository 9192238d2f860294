#include "agent/identity.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/settings.h"
#include "common/text.h"
#include "common/tls_cred.h"
#include "common/tls_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACE "$.identity"

#define PATH(name)                                                                                 \
    {                                                                                              \
        .key = #name, .type = SP_JSON_PATH, .offset = offsetof(struct agent_identity, name)        \
    }
#define PATH_OR_URI(name)                                                                          \
    {                                                                                              \
        .key = #name, .type = SP_JSON_PATH, .offset = offsetof(struct agent_identity, name),       \
        .or_url = true, .check = sp_tls_cred_check_uri                                             \
    }
#define WORDS(name)                                                                                \
    {                                                                                              \
        .key = #name, .type = SP_JSON_STRING, .offset = offsetof(struct agent_identity, name),     \
        .min = 1, .max = 500                                                                       \
    }

const struct sp_json_field agent_identity_fields[] = {
    PATH_OR_URI(certificate),
    PATH_OR_URI(private_key),
    PATH(pin_file),
    PATH(pkcs11_module),
    PATH(pkcs12),
    PATH(password_file),
    PATH(store),
    WORDS(subject_contains),
    WORDS(issuer_contains),
    {.key = "warn_days",
     .type = SP_JSON_UINT,
     .offset = offsetof(struct agent_identity, warn_days),
     .max = 3650,
     .default_uint = 14},
    {.key = NULL},
};

/* ---- which kind it is ---- */

#define WANTED                                                                                     \
    "wanted is one of: \"certificate\" with \"private_key\"; \"pkcs12\"; \"store\" (a folder)"

static enum sp_err check_kind(const struct agent_identity *identity, const char *file,
                              struct sp_error *err)
{
    const char *pair = identity->certificate ? "certificate" : "private_key";
    bool is_pair = identity->certificate || identity->private_key;

    if (!is_pair && !identity->pkcs12 && !identity->store)
        return sp_json_error(err, file, PLACE, "says no certificate; " WANTED);
    if (is_pair && (identity->pkcs12 || identity->store))
        return sp_json_error(err, file, identity->pkcs12 ? PLACE ".pkcs12" : PLACE ".store",
                             "beside \"%s\" it is not clear which is meant; " WANTED, pair);
    if (identity->pkcs12 && identity->store)
        return sp_json_error(err, file, PLACE ".store",
                             "beside \"pkcs12\" it is not clear which is meant; " WANTED);
    if (is_pair && !identity->certificate)
        return sp_json_error(err, file, PLACE ".certificate", "required, but missing");
    if (is_pair && !identity->private_key)
        return sp_json_error(err, file, PLACE ".private_key", "required, but missing");
    return SP_OK;
}

static bool is_in_token(const struct agent_identity *identity)
{
    return identity->private_key && sp_tls_cred_is_uri(identity->private_key);
}

static bool has_uri(const struct agent_identity *identity)
{
    return is_in_token(identity) ||
           (identity->certificate && sp_tls_cred_is_uri(identity->certificate));
}

enum sp_err agent_identity_check(const struct agent_identity *identity, const char *file,
                                 struct sp_error *err)
{
    enum sp_err rc = check_kind(identity, file, err);

    if (rc != SP_OK)
        return rc;
    if (identity->pin_file && !is_in_token(identity))
        return sp_json_error(err, file, PLACE ".pin_file",
                             "is for a \"private_key\" in a token, a pkcs11: URI");
    if (identity->pkcs11_module && !has_uri(identity))
        return sp_json_error(err, file, PLACE ".pkcs11_module",
                             "is for a \"private_key\" in a token, a pkcs11: URI");
    if (identity->password_file && is_in_token(identity))
        return sp_json_error(err, file, PLACE ".password_file",
                             "is for an encrypted file; a token's PIN is \"pin_file\"");
    if (!identity->store && (identity->subject_contains || identity->issuer_contains))
        return sp_json_error(err, file,
                             identity->subject_contains ? PLACE ".subject_contains"
                                                        : PLACE ".issuer_contains",
                             "chooses among several certificates and is for \"store\"");
    return SP_OK;
}

/* ---- loading ---- */

struct telling {
    struct sp_warnings *warnings;
    const char *file;
};

static void on_store_remark(void *ctx, const char *path, const char *text)
{
    const struct telling *telling = ctx;

    sp_warnings_add(telling->warnings, telling->file, PLACE ".store", "%s: %s", path, text);
}

static enum sp_err choose(const struct agent_identity *identity, const char *file, int64_t now,
                          struct sp_warnings *warnings, struct agent_own *own, struct sp_error *err)
{
    struct telling telling = {warnings, file};
    const struct sp_tls_store_query query = {
        .folder = identity->store,
        .password_file = identity->password_file,
        .subject_contains = identity->subject_contains,
        .issuer_contains = identity->issuer_contains,
        .now = now,
        .on_broken = on_store_remark,
        .on_candidate = on_store_remark,
        .ctx = &telling,
    };
    struct sp_tls_store_choice choice;
    struct sp_error why = {.kind = SP_OK};
    enum sp_err rc = sp_tls_store_choose(&query, &choice, &why);

    if (rc != SP_OK) {
        sp_error_where(&why, "%s: %s: %s", file, PLACE ".store", identity->store);
        if (err)
            *err = why;
        return rc;
    }
    own->cred = choice.cred;
    own->path = choice.path;
    own->again_at = choice.again_at;
    return SP_OK;
}

enum sp_err agent_identity_load(const struct agent_identity *identity, const char *file,
                                int64_t now, struct sp_warnings *warnings,
                                struct agent_own *ret_own, struct sp_error *err)
{
    const struct sp_tls_cred_source source = {
        .certificate = identity->certificate,
        .private_key = identity->private_key,
        .pkcs12 = identity->pkcs12,
        .password_file = identity->password_file,
        .pin_file = identity->pin_file,
        .pkcs11_module = identity->pkcs11_module,
    };
    struct agent_own own = {.again_at = INT64_MAX};
    const char *place = PLACE ".certificate";
    enum sp_err rc;

    if (identity->store) {
        place = PLACE;
        rc = choose(identity, file, now, warnings, &own, err);
    } else {
        rc = sp_settings_load_source(file, PLACE, &source, &own.cred, err);
    }
    if (rc != SP_OK)
        return rc;
    if (identity->pkcs12)
        place = PLACE ".pkcs12";
    if (!own.path)
        own.path = sp_strdup(identity->pkcs12 ? identity->pkcs12 : identity->certificate);
    sp_settings_warn_validity(warnings, file, place, own.path, own.cred, now);
    *ret_own = own;
    return SP_OK;
}

void agent_own_copy(const struct agent_own *own, struct agent_own *ret_copy)
{
    *ret_copy = *own;
    ret_copy->cred = sp_tls_cred_ref(own->cred);
    ret_copy->path = sp_strdup(own->path);
}

void agent_own_done(struct agent_own *own)
{
    sp_tls_cred_unref(own->cred);
    free(own->path);
    *own = (struct agent_own){.cred = NULL};
}

/* ---- what it is ---- */

const char *agent_own_describe(const struct agent_own *own, char *buf, size_t size)
{
    const char *subject = sp_tls_cred_subject(own->cred), *issuer = sp_tls_cred_issuer(own->cred);
    char quoted[2][600], until[SP_TIME_LEN];

    snprintf(buf, size, "%s, issued by %s, valid until %s, %s, of %s",
             sp_text_quote(subject, strlen(subject), quoted[0], sizeof quoted[0]),
             sp_text_quote(issuer, strlen(issuer), quoted[1], sizeof quoted[1]),
             sp_time_format(sp_tls_cred_not_after(own->cred), until),
             sp_tls_cred_fingerprint(own->cred), own->path);
    return buf;
}

void agent_own_log(const struct agent_own *own, struct sp_log *log, const char *cause)
{
    char from[SP_TIME_LEN], until[SP_TIME_LEN];
    struct sp_log_line line;

    if (!sp_log_begin(&line, log, SP_LOG_INFO, "identity"))
        return;
    sp_log_bool(&line, "ok", true);
    sp_log_str(&line, "cause", cause);
    sp_log_str(&line, "subject", sp_tls_cred_subject(own->cred));
    sp_log_str(&line, "issuer", sp_tls_cred_issuer(own->cred));
    sp_log_str(&line, "serial", sp_tls_cred_serial(own->cred));
    sp_log_str(&line, "fingerprint", sp_tls_cred_fingerprint(own->cred));
    sp_log_str(&line, "not_before", sp_time_format(sp_tls_cred_not_before(own->cred), from));
    sp_log_str(&line, "not_after", sp_time_format(sp_tls_cred_not_after(own->cred), until));
    sp_log_str(&line, "of", own->path);
    sp_log_end(&line);
}
