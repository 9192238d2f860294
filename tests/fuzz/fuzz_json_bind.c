/* json_bind: any bytes as a configuration file, bound by a table with every type of row. */
#include "common/json_bind.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct item {
    char *name;
    uint64_t size;
};

struct inner {
    char *file;
    struct sp_json_strings files;
    bool on;
};

struct outer {
    char *id;
    uint64_t count, workers;
    int level;
    int slots[3];
    struct sp_json_strings names;
    struct inner inner;
    bool inner_present;
    struct sp_json_array items;
};

static const char *const levels[] = {"error", "warning", "info", NULL};
static const char *const slot_names[] = {"first", "second", "third", NULL};

static enum sp_err check_id(const char *value, struct sp_error *err)
{
    if (strchr(value, '/'))
        return sp_error_set(err, SP_ERR_CONFIG, "a name without '/' is wanted");
    return SP_OK;
}

static const struct sp_json_field item_fields[] = {
    {.key = "name", .type = SP_JSON_STRING, .offset = offsetof(struct item, name), .max = 8},
    {.key = "size",
     .type = SP_JSON_UINT,
     .offset = offsetof(struct item, size),
     .required = true,
     .min = 1,
     .max = 9},
    {.key = NULL},
};

static const struct sp_json_field inner_fields[] = {
    {.key = "file", .type = SP_JSON_PATH, .offset = offsetof(struct inner, file)},
    {.key = "files", .type = SP_JSON_PATHS, .offset = offsetof(struct inner, files), .max = 4},
    {.key = "on", .type = SP_JSON_BOOL, .offset = offsetof(struct inner, on), .default_uint = 1},
    {.key = NULL},
};

static const struct sp_json_field outer_fields[] = {
    {.key = "id",
     .type = SP_JSON_STRING,
     .offset = offsetof(struct outer, id),
     .min = 1,
     .max = 16,
     .default_string = "none",
     .check = check_id},
    {.key = "count",
     .type = SP_JSON_UINT,
     .offset = offsetof(struct outer, count),
     .min = 2,
     .max = UINT64_MAX,
     .default_uint = 7},
    {.key = "workers",
     .type = SP_JSON_UINT_OR_AUTO,
     .offset = offsetof(struct outer, workers),
     .min = 1,
     .max = 64},
    {.key = "level",
     .type = SP_JSON_ENUM,
     .offset = offsetof(struct outer, level),
     .names = levels,
     .default_uint = 2},
    {.key = "slots",
     .type = SP_JSON_ENUM_MAP,
     .offset = offsetof(struct outer, slots),
     .names = levels,
     .key_names = slot_names,
     .default_uint = 1},
    {.key = "names",
     .type = SP_JSON_STRINGS,
     .offset = offsetof(struct outer, names),
     .max = 4,
     .check = check_id},
    {.key = "inner",
     .type = SP_JSON_OBJECT,
     .offset = offsetof(struct outer, inner),
     .fields = inner_fields,
     .present_offset = SP_JSON_PRESENT(struct outer, inner_present)},
    {.key = "items",
     .type = SP_JSON_ARRAY,
     .offset = offsetof(struct outer, items),
     .fields = item_fields,
     .size = sizeof(struct item),
     .max = 4},
    {.key = NULL},
};

static void check_good(const struct outer *outer)
{
    const struct item *items = outer->items.items;

    SP_REQUIRE(outer->id && strlen(outer->id) >= 1 && strlen(outer->id) <= 16);
    SP_REQUIRE(!strchr(outer->id, '/'));
    SP_REQUIRE(outer->count >= 2 && outer->workers <= 64);
    SP_REQUIRE(outer->level >= 0 && outer->level < 3);
    for (int i = 0; i < 3; i++)
        SP_REQUIRE(outer->slots[i] >= 0 && outer->slots[i] < 3);
    SP_REQUIRE(outer->names.count <= 4 && outer->inner.files.count <= 4);
    for (size_t i = 0; i < outer->names.count; i++)
        SP_REQUIRE(!strchr(outer->names.items[i], '/'));
    for (size_t i = 0; i < outer->inner.files.count; i++) {
        const char *file = outer->inner.files.items[i];

        SP_REQUIRE(file[0] == '/' || strncmp(file, "dir/", 4) == 0);
    }
    SP_REQUIRE(outer->items.count <= 4);
    for (size_t i = 0; i < outer->items.count; i++)
        SP_REQUIRE(items[i].size >= 1 && items[i].size <= 9);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const struct outer nothing;
    struct outer outer = nothing;
    struct sp_error err = {.kind = SP_OK};

    if (sp_json_load_text("dir/fuzz.json", (const char *)data, len, outer_fields, &outer, &err) ==
        SP_OK) {
        check_good(&outer);
        sp_json_done(outer_fields, &outer);
    } else {
        SP_REQUIRE(err.kind == SP_ERR_JSON || err.kind == SP_ERR_CONFIG);
        SP_REQUIRE(strncmp(err.where, "dir/fuzz.json", 13) == 0 && err.text[0]);
        for (const char *c = err.text; *c; c++)
            SP_REQUIRE((unsigned char)*c >= ' ' && *c != 0x7f);
        SP_REQUIRE(!outer.id && !outer.names.items && !outer.inner.file &&
                   !outer.inner.files.items && !outer.items.items);
    }
    return 0;
}
