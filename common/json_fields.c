#include "common/json_fields.h"

#include <stdlib.h>
#include <string.h>

static void *slot_of(const struct sp_json_field *f, void *base)
{
    return (char *)base + f->offset;
}

char *sp_json_fields_path(const char *file, const char *value)
{
    const char *slash = strrchr(file, '/');
    size_t folder_len = slash && value[0] != '/' ? (size_t)(slash - file) + 1 : 0;
    size_t value_len = strlen(value);
    char *path = sp_calloc(1, folder_len + value_len + 1);

    memcpy(path, file, folder_len);
    memcpy(path + folder_len, value, value_len);
    return path;
}

static size_t name_count(const char *const *names)
{
    size_t count = 0;

    while (names[count])
        count++;
    return count;
}

static void set_default(const struct sp_json_field *f, const char *file, void *slot)
{
    switch (f->type) {
    case SP_JSON_STRING:
        *(char **)slot = f->default_string ? sp_strdup(f->default_string) : NULL;
        break;
    case SP_JSON_PATH:
        *(char **)slot = f->default_string ? sp_json_fields_path(file, f->default_string) : NULL;
        break;
    case SP_JSON_BOOL:
        *(bool *)slot = f->default_uint != 0;
        break;
    case SP_JSON_UINT:
    case SP_JSON_UINT_OR_AUTO:
        *(uint64_t *)slot = f->default_uint;
        break;
    case SP_JSON_ENUM:
        *(int *)slot = (int)f->default_uint;
        break;
    case SP_JSON_ENUM_MAP:
        for (size_t i = name_count(f->key_names); i > 0; i--)
            ((int *)slot)[i - 1] = (int)f->default_uint;
        break;
    case SP_JSON_OBJECT:
        sp_json_fields_defaults(f->fields, file, slot);
        break;
    case SP_JSON_STRINGS:
    case SP_JSON_PATHS:
    case SP_JSON_ARRAY:
        break; /* empty */
    }
}

void sp_json_fields_defaults(const struct sp_json_field *fields, const char *file, void *base)
{
    for (const struct sp_json_field *f = fields; f->key; f++)
        set_default(f, file, slot_of(f, base));
}

/* ---- as bytes ---- */

static void put(struct sp_json_bytes *to, const void *data, size_t len)
{
    if (to->room - to->len < len) {
        to->room = 2 * to->room + len + 512;
        to->data = realloc(to->data, to->room);
        SP_REQUIRE(to->data);
    }
    if (len)
        memcpy(to->data + to->len, data, len);
    to->len += len;
}

/* A length first, so that no two lists are the same; NULL is no empty string. */
static void put_string(struct sp_json_bytes *to, const char *text)
{
    size_t len = text ? strlen(text) : SIZE_MAX;

    put(to, &len, sizeof len);
    put(to, text, text ? len : 0);
}

static void put_strings(struct sp_json_bytes *to, const struct sp_json_strings *strings)
{
    put(to, &strings->count, sizeof strings->count);
    for (size_t i = 0; i < strings->count; i++)
        put_string(to, strings->items[i]);
}

static void put_array(struct sp_json_bytes *to, const struct sp_json_field *f,
                      const struct sp_json_array *array)
{
    put(to, &array->count, sizeof array->count);
    for (size_t i = 0; i < array->count; i++)
        sp_json_flatten(f->fields, (const char *)array->items + i * f->size, to);
}

static void put_value(struct sp_json_bytes *to, const struct sp_json_field *f, const void *slot)
{
    switch (f->type) {
    case SP_JSON_STRING:
    case SP_JSON_PATH:
        put_string(to, *(char *const *)slot);
        break;
    case SP_JSON_BOOL:
        put(to, slot, sizeof(bool));
        break;
    case SP_JSON_UINT:
    case SP_JSON_UINT_OR_AUTO:
        put(to, slot, sizeof(uint64_t));
        break;
    case SP_JSON_ENUM:
        put(to, slot, sizeof(int));
        break;
    case SP_JSON_ENUM_MAP:
        put(to, slot, name_count(f->key_names) * sizeof(int));
        break;
    case SP_JSON_OBJECT:
        sp_json_flatten(f->fields, slot, to);
        break;
    case SP_JSON_STRINGS:
    case SP_JSON_PATHS:
        put_strings(to, slot);
        break;
    case SP_JSON_ARRAY:
        put_array(to, f, slot);
        break;
    }
}

void sp_json_flatten(const struct sp_json_field *fields, const void *bound_struct,
                     struct sp_json_bytes *bytes)
{
    for (const struct sp_json_field *f = fields; f->key; f++) {
        put_value(bytes, f, (const char *)bound_struct + f->offset);
        if (f->present_offset)
            put(bytes, (const bool *)bound_struct + f->present_offset - 1, sizeof(bool));
    }
}

/* ---- the end ---- */

static void strings_done(struct sp_json_strings *strings)
{
    for (size_t i = 0; i < strings->count; i++)
        free(strings->items[i]);
    free(strings->items);
    *strings = (struct sp_json_strings){0};
}

static void array_done(const struct sp_json_field *f, struct sp_json_array *array)
{
    for (size_t i = 0; i < array->count; i++)
        sp_json_done(f->fields, (char *)array->items + i * f->size);
    free(array->items);
    *array = (struct sp_json_array){0};
}

static void field_done(const struct sp_json_field *f, void *slot)
{
    switch (f->type) {
    case SP_JSON_STRING:
    case SP_JSON_PATH:
        free(*(char **)slot);
        *(char **)slot = NULL;
        break;
    case SP_JSON_BOOL:
        *(bool *)slot = false;
        break;
    case SP_JSON_UINT:
    case SP_JSON_UINT_OR_AUTO:
        *(uint64_t *)slot = 0;
        break;
    case SP_JSON_ENUM:
        *(int *)slot = 0;
        break;
    case SP_JSON_STRINGS:
    case SP_JSON_PATHS:
        strings_done(slot);
        break;
    case SP_JSON_OBJECT:
        sp_json_done(f->fields, slot);
        break;
    case SP_JSON_ARRAY:
        array_done(f, slot);
        break;
    case SP_JSON_ENUM_MAP:
        memset(slot, 0, name_count(f->key_names) * sizeof(int));
        break;
    }
}

void sp_json_done(const struct sp_json_field *fields, void *bound_struct)
{
    for (const struct sp_json_field *f = fields; f->key; f++) {
        field_done(f, slot_of(f, bound_struct));
        if (f->present_offset)
            *((bool *)bound_struct + f->present_offset - 1) = false;
    }
}
