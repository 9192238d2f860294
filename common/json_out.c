#include "common/json_out.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/json_bind.h"
#include "common/text.h"

#include <inttypes.h>
#include <string.h>

static void quoted(FILE *out, const char *text)
{
    const char *end = text + strlen(text);
    char step[SP_TEXT_STEP];

    fputc('"', out);
    while (text < end)
        fwrite(step, 1, sp_text_escape(&text, end, step), out);
    fputc('"', out);
}

/* What stands before a value. */
static void begin(struct sp_json_out *json, const char *key)
{
    if (json->has_member)
        fputc(',', json->out);
    json->has_member = true;
    if (!key)
        return;
    quoted(json->out, key);
    fputc(':', json->out);
}

static void open_with(struct sp_json_out *json, const char *key, char bracket)
{
    SP_REQUIRE(json->depth < SP_JSON_OUT_DEPTH);
    begin(json, key);
    fputc(bracket, json->out);
    json->depth++;
    json->has_member = false;
}

static void close_with(struct sp_json_out *json, char bracket)
{
    SP_REQUIRE(json->depth);
    fputc(bracket, json->out);
    json->depth--;
    json->has_member = true;
}

void sp_json_out_object(struct sp_json_out *json, const char *key)
{
    open_with(json, key, '{');
}

void sp_json_out_object_end(struct sp_json_out *json)
{
    close_with(json, '}');
}

void sp_json_out_array(struct sp_json_out *json, const char *key)
{
    open_with(json, key, '[');
}

void sp_json_out_array_end(struct sp_json_out *json)
{
    close_with(json, ']');
}

void sp_json_out_str(struct sp_json_out *json, const char *key, const char *value)
{
    if (!value)
        return;
    begin(json, key);
    quoted(json->out, value);
}

void sp_json_out_int(struct sp_json_out *json, const char *key, int64_t value)
{
    begin(json, key);
    fprintf(json->out, "%" PRId64, value);
}

void sp_json_out_bool(struct sp_json_out *json, const char *key, bool value)
{
    begin(json, key);
    fputs(value ? "true" : "false", json->out);
}

void sp_json_out_time(struct sp_json_out *json, const char *key, int64_t seconds)
{
    char text[SP_TIME_LEN];

    if (seconds)
        sp_json_out_str(json, key, sp_time_format(seconds, text));
}

void sp_json_out_raw(struct sp_json_out *json, const char *key, const char *text)
{
    begin(json, key);
    fputs(text, json->out);
}

/* ---- what a table has bound ---- */

struct bound {
    struct sp_json_out *json;
    sp_json_out_show show;
    void *ctx;
};

static void write_rows(const struct bound *b, const struct sp_json_field *fields, const void *base);

static void write_string(const struct bound *b, const struct sp_json_field *f, const char *key,
                         const char *value)
{
    if (value)
        sp_json_out_str(b->json, key, b->show ? b->show(b->ctx, f, value) : value);
}

static void write_strings(const struct bound *b, const struct sp_json_field *f,
                          const struct sp_json_strings *strings)
{
    if (!strings->count)
        return;
    sp_json_out_array(b->json, f->key);
    for (size_t i = 0; i < strings->count; i++)
        write_string(b, f, NULL, strings->items[i]);
    sp_json_out_array_end(b->json);
}

static void write_array(const struct bound *b, const struct sp_json_field *f,
                        const struct sp_json_array *array)
{
    if (!array->count)
        return;
    sp_json_out_array(b->json, f->key);
    for (size_t i = 0; i < array->count; i++) {
        sp_json_out_object(b->json, NULL);
        write_rows(b, f->fields, (const char *)array->items + i * f->size);
        sp_json_out_object_end(b->json);
    }
    sp_json_out_array_end(b->json);
}

static void write_map(const struct bound *b, const struct sp_json_field *f, const int *slots)
{
    sp_json_out_object(b->json, f->key);
    for (size_t i = 0; f->key_names[i]; i++) {
        if (slots[i] != (int)f->default_uint)
            sp_json_out_str(b->json, f->key_names[i], f->names[slots[i]]);
    }
    sp_json_out_object_end(b->json);
}

static void write_number(const struct bound *b, const struct sp_json_field *f, uint64_t value)
{
    if (f->type == SP_JSON_UINT_OR_AUTO && !value)
        sp_json_out_str(b->json, f->key, "auto");
    else
        sp_json_out_int(b->json, f->key, (int64_t)value);
}

static void write_row(const struct bound *b, const struct sp_json_field *f, const void *slot)
{
    switch (f->type) {
    case SP_JSON_STRING:
    case SP_JSON_PATH:
        write_string(b, f, f->key, *(char *const *)slot);
        break;
    case SP_JSON_BOOL:
        sp_json_out_bool(b->json, f->key, *(const bool *)slot);
        break;
    case SP_JSON_UINT:
    case SP_JSON_UINT_OR_AUTO:
        write_number(b, f, *(const uint64_t *)slot);
        break;
    case SP_JSON_ENUM:
        sp_json_out_str(b->json, f->key, f->names[*(const int *)slot]);
        break;
    case SP_JSON_ENUM_MAP:
        write_map(b, f, slot);
        break;
    case SP_JSON_STRINGS:
    case SP_JSON_PATHS:
        write_strings(b, f, slot);
        break;
    case SP_JSON_OBJECT:
        sp_json_out_object(b->json, f->key);
        write_rows(b, f->fields, slot);
        sp_json_out_object_end(b->json);
        break;
    case SP_JSON_ARRAY:
        write_array(b, f, slot);
        break;
    }
}

static void write_rows(const struct bound *b, const struct sp_json_field *fields, const void *base)
{
    for (const struct sp_json_field *f = fields; f->key; f++)
        write_row(b, f, (const char *)base + f->offset);
}

void sp_json_out_bound(struct sp_json_out *json, const struct sp_json_field *fields,
                       const void *bound_struct, sp_json_out_show show, void *ctx)
{
    const struct bound b = {json, show, ctx};

    write_rows(&b, fields, bound_struct);
}
