#include "common/json_bind.h"

#include "common/json_fields.h"
#include "common/json_scan.h"
#include "common/spelling.h"
#include "common/text.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_STRING_MAX 4096
#define KEY_MAX            64 /* longer ones are shown cut */

/* One load under way. */
struct binder {
    const char *file;
    struct sp_error *err; /* never NULL */
    char path[160];       /* "$.doors[1].listen": where in the file we are */
    size_t path_len;
    bool any_keys; /* unknown ones are passed over */
};

static bool is_identifier(const char *key)
{
    for (const char *c = key; *c; c++)
        if (!(*c >= 'a' && *c <= 'z') && !(*c >= 'A' && *c <= 'Z') && *c != '_' &&
            (c == key || !((*c >= '0' && *c <= '9') || *c == '-')))
            return false;
    return *key != '\0';
}

SP_PRINTF(2, 3) static size_t path_push(struct binder *b, const char *fmt, ...)
{
    size_t before = b->path_len;
    size_t room = sizeof b->path - before;
    va_list args;
    int len;

    va_start(args, fmt);
    len = vsnprintf(b->path + before, room, fmt, args);
    va_end(args);
    b->path_len += len < 0 ? 0 : (size_t)len < room ? (size_t)len : room - 1;
    return before;
}

static size_t path_push_key(struct binder *b, const char *key)
{
    char quoted[SP_TEXT_QUOTE];

    if (is_identifier(key) && strlen(key) <= KEY_MAX)
        return path_push(b, ".%s", key);
    return path_push(b, "[%s]", sp_text_quote(key, strlen(key), quoted, sizeof quoted));
}

static void path_pop(struct binder *b, size_t before)
{
    b->path_len = before;
    b->path[before] = '\0';
}

/* The end of the place is what tells most, so a long file name loses its beginning. */
static void set_where(struct sp_error *err, const char *file, const char *json_path)
{
    size_t room = sizeof err->where - sizeof "...: ";
    size_t path_len = strlen(json_path);
    size_t file_len = strlen(file);

    room -= path_len < room ? path_len : room;
    if (file_len > room)
        sp_error_where(err, "...%s: %s", file + file_len - room, json_path);
    else
        sp_error_where(err, "%s: %s", file, json_path);
}

SP_PRINTF(2, 3) static enum sp_err reject(struct binder *b, const char *fmt, ...)
{
    char text[sizeof b->err->text];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return sp_json_error(b->err, b->file, b->path, "%s", text);
}

enum sp_err sp_json_error(struct sp_error *err, const char *file, const char *json_path,
                          const char *fmt, ...)
{
    va_list args;

    if (!err)
        return SP_ERR_CONFIG;
    sp_error_set(err, SP_ERR_CONFIG, "%s", "");
    va_start(args, fmt);
    vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
    set_where(err, file, json_path);
    return SP_ERR_CONFIG;
}

/* A value as the person who wrote it would recognise it. */
static const char *describe(const json_t *value, char *buf, size_t buf_len)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return sp_text_quote(json_string_value(value), json_string_length(value), buf, buf_len);
    case JSON_INTEGER:
        snprintf(buf, buf_len, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return buf;
    case JSON_REAL:
        snprintf(buf, buf_len, "%.15g", json_real_value(value));
        return buf;
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        return "null";
    }
    return "nothing";
}

static enum sp_err wrong_type(struct binder *b, const json_t *value, const char *wanted)
{
    char found[SP_TEXT_QUOTE];

    return reject(b, "found %s, wanted is %s", describe(value, found, sizeof found), wanted);
}

/* Names that are "" stand for a value that cannot be written down. */
static enum sp_err parse_name(struct binder *b, const json_t *value, const char *const *names,
                              int *ret_index)
{
    const char *text = json_string_value(value);
    char found[SP_TEXT_QUOTE];
    struct sp_spelling s;

    for (int i = 0; text && names[i]; i++)
        if (names[i][0] && !strcmp(text, names[i])) {
            *ret_index = i;
            return SP_OK;
        }
    sp_spelling_init(&s, text ? text : "");
    for (int i = 0; names[i]; i++)
        if (names[i][0])
            sp_spelling_offer(&s, names[i]);
    return reject(b, "%s is not one of %s", describe(value, found, sizeof found), s.known);
}

static enum sp_err unknown_key(struct binder *b, const struct sp_spelling *s)
{
    path_push_key(b, s->word);
    if (s->nearest)
        return reject(b, "unknown key, did you mean \"%s\"?", s->nearest);
    return reject(b, "unknown key; known here: %s", s->known[0] ? s->known : "none");
}

static enum sp_err run_check(struct binder *b, const struct sp_json_field *f, const char *value)
{
    struct sp_error why = {0};

    if (!f->check || f->check(value, &why) == SP_OK)
        return SP_OK;
    return reject(b, "%s", why.text);
}

bool sp_json_is_url(const char *value)
{
    size_t len = strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");

    return (len > 1 && !strncmp(value + len, ":/", 2)) || !strncmp(value, "pkcs11:", 7);
}

/* A string or path; min and max are its lengths. */
static enum sp_err parse_string(struct binder *b, const struct sp_json_field *f, bool is_path,
                                const json_t *value, uint64_t min, uint64_t max, char **ret_text)
{
    SP_AUTO_FREE char *text = NULL;
    size_t len = json_string_length(value);
    enum sp_err rc;

    if (!json_is_string(value))
        return wrong_type(b, value, is_path ? "a path" : "a string");
    max = max ? max : DEFAULT_STRING_MAX;
    if (!len && (min || is_path))
        return reject(b, "must not be empty");
    if (len < min || len > max)
        return reject(b, "is %zu bytes long, wanted are %" PRIu64 " to %" PRIu64, len, min, max);
    text = is_path && !(f->or_url && sp_json_is_url(json_string_value(value)))
               ? sp_json_fields_path(b->file, json_string_value(value))
               : sp_strdup(json_string_value(value));
    rc = run_check(b, f, text);
    if (rc)
        return rc;
    *ret_text = text;
    text = NULL;
    return SP_OK;
}

static enum sp_err bind_string(struct binder *b, const struct sp_json_field *f, const json_t *value,
                               char **slot)
{
    char *text = NULL;
    enum sp_err rc = parse_string(b, f, f->type == SP_JSON_PATH, value, f->min, f->max, &text);

    if (rc)
        return rc;
    free(*slot); /* the default */
    *slot = text;
    return SP_OK;
}

static enum sp_err bind_uint(struct binder *b, const struct sp_json_field *f, const json_t *value,
                             uint64_t *slot)
{
    bool or_auto = f->type == SP_JSON_UINT_OR_AUTO;
    uint64_t max = f->max ? f->max : INT64_MAX;
    char wanted[96];

    if (or_auto && json_is_string(value) && !strcmp(json_string_value(value), "auto")) {
        *slot = 0;
        return SP_OK;
    }
    if (!json_is_integer(value)) {
        snprintf(wanted, sizeof wanted, "a whole number from %" PRIu64 " to %" PRIu64 "%s", f->min,
                 max, or_auto ? " or \"auto\"" : "");
        return wrong_type(b, value, wanted);
    }
    if (json_integer_value(value) < 0 || (uint64_t)json_integer_value(value) < f->min ||
        (uint64_t)json_integer_value(value) > max)
        return reject(b, "%" JSON_INTEGER_FORMAT " is not in %" PRIu64 "..%" PRIu64 "%s",
                      json_integer_value(value), f->min, max, or_auto ? " and not \"auto\"" : "");
    *slot = (uint64_t)json_integer_value(value);
    return SP_OK;
}

static enum sp_err check_count(struct binder *b, const struct sp_json_field *f, size_t count)
{
    if (count < f->min)
        return reject(b, "has %zu items, wanted %s at least %" PRIu64, count,
                      f->min == 1 ? "is" : "are", f->min);
    if (f->max && count > f->max)
        return reject(b, "has %zu items, wanted %s at most %" PRIu64, count,
                      f->max == 1 ? "is" : "are", f->max);
    return SP_OK;
}

static const char *wanted_strings(const struct sp_json_field *f)
{
    if (f->or_number)
        return "a number, a string or an array of them";
    if (f->type == SP_JSON_PATHS)
        return f->or_one ? "a path or an array of paths" : "an array of paths";
    return f->or_one ? "a string or an array of strings" : "an array of strings";
}

/* One of a list of strings or paths. */
static enum sp_err parse_item(struct binder *b, const struct sp_json_field *f, const json_t *value,
                              char **ret_text)
{
    SP_AUTO_FREE char *text = NULL;
    enum sp_err rc;

    if (!f->or_number || !json_is_integer(value))
        return parse_string(b, f, f->type == SP_JSON_PATHS, value, 0, 0, ret_text);
    SP_REQUIRE(asprintf(&text, "%" JSON_INTEGER_FORMAT, json_integer_value(value)) > 0);
    rc = run_check(b, f, text);
    if (rc)
        return rc;
    *ret_text = text;
    text = NULL;
    return SP_OK;
}

static enum sp_err bind_strings(struct binder *b, const struct sp_json_field *f,
                                const json_t *value, struct sp_json_strings *slot)
{
    size_t count = json_array_size(value);
    enum sp_err rc;

    if (f->or_one && (json_is_string(value) || (f->or_number && json_is_integer(value)))) {
        slot->items = sp_calloc(2, sizeof *slot->items);
        rc = parse_item(b, f, value, &slot->items[0]);
        slot->count = rc == SP_OK;
        return rc;
    }
    if (!json_is_array(value))
        return wrong_type(b, value, wanted_strings(f));
    rc = check_count(b, f, count);
    slot->items = sp_calloc(count + 1, sizeof *slot->items);
    for (size_t i = 0; i < count && !rc; i++) {
        size_t before = path_push(b, "[%zu]", i);

        rc = parse_item(b, f, json_array_get(value, i), &slot->items[i]);
        if (rc)
            return rc;
        slot->count = i + 1;
        path_pop(b, before);
    }
    return rc;
}

static enum sp_err bind_object(struct binder *b, const struct sp_json_field *fields, json_t *object,
                               void *base);

static enum sp_err bind_array(struct binder *b, const struct sp_json_field *f, const json_t *value,
                              struct sp_json_array *slot)
{
    size_t count = json_array_size(value);
    enum sp_err rc;

    if (!json_is_array(value))
        return wrong_type(b, value, "an array of objects");
    rc = check_count(b, f, count);
    if (rc || !count)
        return rc;
    SP_REQUIRE(f->size);
    slot->items = calloc(count, f->size);
    if (!slot->items)
        return sp_error_set(b->err, SP_ERR_MEMORY, "out of memory");
    for (; slot->count < count; slot->count++) {
        char *item = (char *)slot->items + slot->count * f->size;
        size_t before = path_push(b, "[%zu]", slot->count);

        sp_json_fields_defaults(f->fields, b->file, item);
        rc = bind_object(b, f->fields, json_array_get(value, slot->count), item);
        if (rc) {
            sp_json_done(f->fields, item);
            return rc;
        }
        path_pop(b, before);
    }
    return SP_OK;
}

static enum sp_err bind_enum_map(struct binder *b, const struct sp_json_field *f, json_t *object,
                                 int *slots)
{
    const char *key;
    json_t *value;

    if (!json_is_object(object))
        return wrong_type(b, object, "an object");
    json_object_foreach(object, key, value)
    {
        struct sp_spelling s;
        size_t i = 0, before;
        enum sp_err rc;

        while (f->key_names[i] && strcmp(f->key_names[i], key) != 0)
            i++;
        if (!f->key_names[i]) {
            sp_spelling_init(&s, key);
            for (i = 0; f->key_names[i]; i++)
                sp_spelling_offer(&s, f->key_names[i]);
            return unknown_key(b, &s);
        }
        before = path_push_key(b, key);
        rc = parse_name(b, value, f->names, &slots[i]);
        if (rc)
            return rc;
        path_pop(b, before);
    }
    return SP_OK;
}

static enum sp_err bind_bool(struct binder *b, const json_t *value, bool *slot)
{
    if (!json_is_boolean(value))
        return wrong_type(b, value, "true or false");
    *slot = json_is_true(value);
    return SP_OK;
}

static enum sp_err bind_value(struct binder *b, const struct sp_json_field *f, json_t *value,
                              void *slot)
{
    switch (f->type) {
    case SP_JSON_STRING:
    case SP_JSON_PATH:
        return bind_string(b, f, value, slot);
    case SP_JSON_BOOL:
        return bind_bool(b, value, slot);
    case SP_JSON_UINT:
    case SP_JSON_UINT_OR_AUTO:
        return bind_uint(b, f, value, slot);
    case SP_JSON_ENUM:
        return parse_name(b, value, f->names, slot);
    case SP_JSON_STRINGS:
    case SP_JSON_PATHS:
        return bind_strings(b, f, value, slot);
    case SP_JSON_OBJECT:
        return bind_object(b, f->fields, value, slot);
    case SP_JSON_ARRAY:
        return bind_array(b, f, value, slot);
    case SP_JSON_ENUM_MAP:
        return bind_enum_map(b, f, value, slot);
    }
    return SP_ERR_CONFIG;
}

static enum sp_err check_keys(struct binder *b, const struct sp_json_field *fields, json_t *object)
{
    const char *key;
    json_t *value;

    json_object_foreach(object, key, value)
    {
        struct sp_spelling s; /* dear: only for who needs it */
        const struct sp_json_field *f = fields;

        while (f->key && strcmp(f->key, key) != 0)
            f++;
        if (f->key)
            continue;
        sp_spelling_init(&s, key);
        for (f = fields; f->key; f++)
            sp_spelling_offer(&s, f->key);
        return unknown_key(b, &s);
    }
    return SP_OK;
}

static enum sp_err bind_object(struct binder *b, const struct sp_json_field *fields, json_t *object,
                               void *base)
{
    enum sp_err rc;

    if (!json_is_object(object))
        return wrong_type(b, object, "an object");
    /* Before the rows: a misspelt key would otherwise be told as a missing one. */
    rc = b->any_keys ? SP_OK : check_keys(b, fields, object);
    if (rc)
        return rc;
    for (const struct sp_json_field *f = fields; f->key; f++) {
        json_t *value = json_object_get(object, f->key);
        size_t before;

        if (!value && !f->required)
            continue;
        before = path_push_key(b, f->key);
        if (!value)
            return reject(b, "required, but missing");
        rc = bind_value(b, f, value, (char *)base + f->offset);
        if (rc)
            return rc;
        if (f->present_offset)
            *((bool *)base + f->present_offset - 1) = true;
        path_pop(b, before);
    }
    return SP_OK;
}

/* jansson tells where a token ends; a person looks for where it begins. */
static unsigned token_column(const json_error_t *error)
{
    static const char near[] = " near '";
    const char *token = strstr(error->text, near);
    unsigned column = error->column > 0 ? (unsigned)error->column : 1;
    unsigned letters = 0;

    for (token = token ? token + sizeof near - 1 : "'"; token[0] && token[1]; token++)
        letters += (token[0] & 0xc0) != 0x80;
    return letters > 1 && letters <= column ? column - letters + 1 : column;
}

static enum sp_err syntax_error(struct binder *b, const json_error_t *error)
{
    static const char flag[] = " without JSON_ALLOW_NUL"; /* means nothing to who writes the file */
    const char *at = strstr(error->text, flag);

    sp_error_set(b->err, SP_ERR_JSON, "%.*s%s", at ? (int)(at - error->text) : -1, error->text,
                 at ? at + sizeof flag - 1 : "");
    for (char *c = b->err->text; *c; c++) /* it quotes the file as it is */
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    sp_error_where(b->err, "%s", b->file);
    b->err->line = error->line > 0 ? (unsigned)error->line : 1;
    b->err->column = token_column(error);
    return SP_ERR_JSON;
}

static enum sp_err load_text(const char *name, const char *text, size_t len, bool any_keys,
                             const struct sp_json_field *fields, void *ret_struct,
                             struct sp_error *err)
{
    struct sp_error unseen;
    struct binder b = {.file = name, .err = err ? err : &unseen, .any_keys = any_keys};
    json_error_t error;
    json_t *root;
    /* First, because jansson recurses, when it parses and again when it frees. */
    enum sp_err rc = sp_json_scan(name, &text, &len, b.err);

    if (rc)
        return rc;
    root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return syntax_error(&b, &error);
    path_push(&b, "$");
    sp_json_fields_defaults(fields, name, ret_struct);
    rc = bind_object(&b, fields, root, ret_struct);
    if (rc)
        sp_json_done(fields, ret_struct);
    json_decref(root);
    return rc;
}

enum sp_err sp_json_load_text(const char *name, const char *text, size_t len,
                              const struct sp_json_field *fields, void *ret_struct,
                              struct sp_error *err)
{
    return load_text(name, text, len, false, fields, ret_struct, err);
}

enum sp_err sp_json_load_line(const char *name, const char *text, size_t len,
                              const struct sp_json_field *fields, void *ret_struct,
                              struct sp_error *err)
{
    return load_text(name, text, len, true, fields, ret_struct, err);
}

enum sp_err sp_json_load(const char *path, const struct sp_json_field *fields, void *ret_struct,
                         struct sp_error *err)
{
    SP_AUTO_FREE char *text = NULL;
    size_t len = 0;
    enum sp_err rc = sp_json_scan_file(path, &text, &len, err);

    return rc ? rc : sp_json_load_text(path, text, len, fields, ret_struct, err);
}
