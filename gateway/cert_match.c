#include "gateway/cert_match.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/tls_kdf.h"

static const struct {
    const char *key, *noun;
} kinds[SP_TLS_NAME_KINDS] = {
    [SP_TLS_NAME_SUBJECT] = {"subject", "the subject does not fit"},
    [SP_TLS_NAME_ISSUER] = {"issuer", "the issuer does not fit"},
    [SP_TLS_NAME_DNS] = {"san_dns", "no dNSName fits"},
    [SP_TLS_NAME_URI] = {"san_uri", "no URI fits"},
    [SP_TLS_NAME_EMAIL] = {"san_email", "no rfc822Name fits"},
};

static enum sp_err check_pattern(const char *value, struct sp_error *err)
{
    if (!*value)
        return sp_error_set(err, SP_ERR_CONFIG,
                            "is an empty pattern, which no name fits; wanted: *.c1.example, or * "
                            "for any");
    if (strlen(value) > SP_TLS_NAME_MAX)
        return sp_error_set(err, SP_ERR_CONFIG, "is %zu bytes long, wanted are 1 to %d",
                            strlen(value), SP_TLS_NAME_MAX);
    return SP_OK;
}

#define ROW(name, kind)                                                                            \
    {                                                                                              \
        .key = (name), .type = SP_JSON_STRINGS, .or_one = true, .min = 1, .max = 1000,             \
        .offset =                                                                                  \
            offsetof(struct gw_cert_match, patterns) + (kind) * sizeof(struct sp_json_strings),    \
        .check = check_pattern                                                                     \
    }

const struct sp_json_field gw_cert_match_fields[] = {
    ROW("subject", SP_TLS_NAME_SUBJECT), ROW("issuer", SP_TLS_NAME_ISSUER),
    ROW("san_dns", SP_TLS_NAME_DNS),     ROW("san_uri", SP_TLS_NAME_URI),
    ROW("san_email", SP_TLS_NAME_EMAIL), {.key = NULL},
};

enum sp_err gw_cert_match_finish(struct gw_cert_match *match, const char *file,
                                 const char *json_path, struct sp_error *err)
{
    size_t total = 0;
    char path[96];

    for (int kind = 0; kind < SP_TLS_NAME_KINDS; kind++) {
        struct sp_json_strings *patterns = &match->patterns[kind];

        total += patterns->count;
        for (size_t i = 0; i < patterns->count; i++) {
            sp_tls_names_fold((enum sp_tls_name_kind)kind, patterns->items[i]);
            if (!patterns->items[i][0]) {
                snprintf(path, sizeof path, "%s.%s", json_path, kinds[kind].key);
                return sp_json_error(err, file, path, "a sole dot is no pattern");
            }
        }
    }
    if (match->is_set && !total)
        return sp_json_error(err, file, json_path,
                             "is empty, which nobody needs; wanted: subject, issuer, san_dns, "
                             "san_uri or san_email, or no such key");
    return SP_OK;
}

/* ---- one pattern ---- */

static size_t utf8_step(const char *at, const char *end)
{
    size_t step = 1;

    while (step < 4 && at + step < end && ((unsigned char)at[step] & 0xc0) == 0x80)
        step++;
    return step;
}

/* The length of the character at `at` (< end). */
static size_t char_step(const char *at, const char *end, bool is_dn)
{
    if (!is_dn || *at != '\\' || end - at < 2)
        return utf8_step(at, end);
    if (end - at >= 3 && isxdigit((unsigned char)at[1]) && isxdigit((unsigned char)at[2]))
        return 3;
    return 1 + utf8_step(at + 1, end);
}

/* One character against one: neither is past its end. */
static bool same_char(const char *p, size_t p_step, const char *t, size_t t_step)
{
    return (p_step == 1 && *p == '?') || (p_step == t_step && memcmp(p, t, t_step) == 0);
}

/* Goes back to the last star only, so the time is bounded by the product of both lengths. */
bool gw_cert_match_glob(enum sp_tls_name_kind kind, const char *pattern, const char *text,
                        size_t len)
{
    bool is_dn = kind == SP_TLS_NAME_SUBJECT || kind == SP_TLS_NAME_ISSUER;
    const char *p = pattern, *p_end = pattern + strlen(pattern);
    const char *t = text, *t_end = text + len;
    const char *after_star = NULL, *star_took = NULL;

    while (t < t_end) {
        size_t t_step = char_step(t, t_end, is_dn);
        size_t p_step = p < p_end ? char_step(p, p_end, is_dn) : 0;

        if (p_step == 1 && *p == '*') {
            after_star = ++p;
            star_took = t;
        } else if (p_step && same_char(p, p_step, t, t_step)) {
            p += p_step;
            t += t_step;
        } else if (after_star) {
            p = after_star;
            star_took += char_step(star_took, t_end, is_dn);
            t = star_took;
        } else {
            return false;
        }
    }
    return strspn(p, "*") == (size_t)(p_end - p);
}

/* ---- all of them ---- */

static bool name_fits(const struct sp_json_strings *patterns, const struct sp_tls_name *name)
{
    for (size_t i = 0; i < patterns->count; i++) {
        const char *pattern = patterns->items[i];

        if (!name->text ? strcmp(pattern, "*") == 0
                        : gw_cert_match_glob(name->kind, pattern, name->text, name->len))
            return true;
    }
    return false;
}

static bool kind_fits(const struct sp_json_strings *patterns, const struct sp_tls_names *names,
                      int kind)
{
    for (size_t i = 0; i < names->count; i++)
        if ((int)names->items[i].kind == kind && name_fits(patterns, &names->items[i]))
            return true;
    return false;
}

bool gw_cert_match_fits(const struct gw_cert_match *match, const struct sp_tls_names *names,
                        char *why, size_t why_len)
{
    for (int kind = 0; kind < SP_TLS_NAME_KINDS; kind++) {
        if (!match->patterns[kind].count || kind_fits(&match->patterns[kind], names, kind))
            continue;
        if (why)
            snprintf(why, why_len, "%s client_validation.match.%s%s", kinds[kind].noun,
                     kinds[kind].key,
                     names->too_many && kind >= SP_TLS_NAME_DNS
                         ? ": the certificate has too many alternative names for any to count"
                         : "");
        return false;
    }
    return true;
}

void gw_cert_match_digest(const struct gw_cert_match *match,
                          uint8_t ret_digest[GW_CERT_MATCH_DIGEST])
{
    SP_AUTO_FREE char *all = NULL;
    size_t len = 1;
    char *end;

    for (int kind = 0; kind < SP_TLS_NAME_KINDS; kind++)
        for (size_t i = 0; i < match->patterns[kind].count; i++)
            len += strlen(match->patterns[kind].items[i]) + 2;
    all = end = sp_calloc(len, 1);
    for (int kind = 0; kind < SP_TLS_NAME_KINDS; kind++)
        for (size_t i = 0; i < match->patterns[kind].count; i++) {
            *end++ = (char)('0' + kind); /* and each with its NUL: no two lists have the same */
            end = stpcpy(end, match->patterns[kind].items[i]) + 1;
        }
    sp_sha256(all, len, ret_digest);
}
