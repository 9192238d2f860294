#include "common/json_out.h"

#include "common/json_bind.h"

#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static char *text;
static size_t len;

static struct sp_json_out begin(void)
{
    return (struct sp_json_out){.out = open_memstream(&text, &len)};
}

static const char *end(struct sp_json_out *json)
{
    ck_assert_uint_eq(json->depth, 0);
    ck_assert_int_eq(fclose(json->out), 0);
    return text;
}

START_TEST(members_are_written_with_their_commas)
{
    struct sp_json_out json = begin();

    sp_json_out_object(&json, NULL);
    sp_json_out_str(&json, "a", "x");
    sp_json_out_str(&json, "left out", NULL);
    sp_json_out_int(&json, "b", -5);
    sp_json_out_array(&json, "c");
    sp_json_out_str(&json, NULL, "y");
    sp_json_out_object(&json, NULL);
    sp_json_out_object_end(&json);
    sp_json_out_raw(&json, NULL, "[1]");
    sp_json_out_array_end(&json);
    sp_json_out_bool(&json, "d", true);
    sp_json_out_array(&json, "e");
    sp_json_out_array_end(&json);
    sp_json_out_time(&json, "f", 1795340000);
    sp_json_out_time(&json, "g", 0);
    sp_json_out_object_end(&json);
    ck_assert_str_eq(end(&json), "{\"a\":\"x\",\"b\":-5,\"c\":[\"y\",{},[1]],\"d\":true,\"e\":[],"
                                 "\"f\":\"2026-11-22T09:33:20Z\"}");
    free(text);
}
END_TEST

START_TEST(what_is_written_reads_back)
{
    static const char hostile[] = "\"\\\b\n\x1f</script>\xe2\x80\xa8 gr\xc3\xbc\xc3\x9f";
    struct sp_json_out json = begin();
    json_t *root;

    sp_json_out_object(&json, NULL);
    sp_json_out_str(&json, hostile, hostile);
    sp_json_out_object_end(&json);
    root = json_loads(end(&json), 0, NULL);
    ck_assert_ptr_nonnull(root);
    ck_assert_str_eq(json_string_value(json_object_get(root, hostile)), hostile);
    json_decref(root);
    free(text);
}
END_TEST

struct inner {
    char *name;
};
struct outer {
    char *name, *none;
    bool flag;
    uint64_t number, automatic;
    int choice, map[2];
    struct sp_json_strings list, empty;
    struct inner inner;
    struct sp_json_array rows;
};
static const char *const choices[] = {"unset", "yes", "no", NULL};
static const char *const slots[] = {"first", "second", NULL};
static const struct sp_json_field inner_fields[] = {
    {.key = "name", .type = SP_JSON_STRING, .offset = offsetof(struct inner, name)},
    {.key = NULL},
};
#define AT(member) .offset = offsetof(struct outer, member)
static const struct sp_json_field outer_fields[] = {
    {.key = "name", .type = SP_JSON_STRING, AT(name)},
    {.key = "none", .type = SP_JSON_STRING, AT(none)},
    {.key = "flag", .type = SP_JSON_BOOL, AT(flag)},
    {.key = "number", .type = SP_JSON_UINT, AT(number), .max = 100},
    {.key = "automatic", .type = SP_JSON_UINT_OR_AUTO, AT(automatic), .min = 1, .max = 9},
    {.key = "choice", .type = SP_JSON_ENUM, AT(choice), .names = choices},
    {.key = "map", .type = SP_JSON_ENUM_MAP, AT(map), .names = choices, .key_names = slots},
    {.key = "list", .type = SP_JSON_STRINGS, AT(list), .max = 9},
    {.key = "empty", .type = SP_JSON_STRINGS, AT(empty), .max = 9},
    {.key = "inner", .type = SP_JSON_OBJECT, AT(inner), .fields = inner_fields},
    {.key = "rows",
     .type = SP_JSON_ARRAY,
     AT(rows),
     .max = 9,
     .fields = inner_fields,
     .size = sizeof(struct inner)},
    {.key = NULL},
};
static const char document[] =
    "{\"name\":\"a\",\"flag\":true,\"number\":7,\"automatic\":\"auto\",\"choice\":\"no\","
    "\"map\":{\"second\":\"yes\"},\"list\":[\"x\",\"y\"],\"inner\":{\"name\":\"b\"},"
    "\"rows\":[{\"name\":\"c\"},{\"name\":\"d\"}]}";

static void load(struct outer *ret)
{
    struct sp_error err;

    memset(ret, 0, sizeof *ret);
    ck_assert_int_eq(sp_json_load_text("t", document, strlen(document), outer_fields, ret, &err),
                     SP_OK);
}

START_TEST(what_a_table_has_bound_is_written_as_it_was_read)
{
    struct sp_json_out json = begin();
    struct outer outer;

    load(&outer);
    sp_json_out_object(&json, NULL);
    sp_json_out_bound(&json, outer_fields, &outer, NULL, NULL);
    sp_json_out_object_end(&json);
    ck_assert_str_eq(end(&json), document);
    sp_json_done(outer_fields, &outer);
    free(text);
}
END_TEST

static const char *hide(void *ctx, const struct sp_json_field *field, const char *value)
{
    unsigned *count = ctx;

    ck_assert_ptr_nonnull(value);
    (*count)++;
    return strcmp(field->key, "list") == 0 ? NULL : "hidden";
}

START_TEST(every_string_goes_through_show)
{
    struct sp_json_out json = begin();
    struct outer outer;
    unsigned count = 0;

    load(&outer);
    sp_json_out_object(&json, NULL);
    sp_json_out_bound(&json, outer_fields, &outer, hide, &count);
    sp_json_out_object_end(&json);
    ck_assert_str_eq(
        end(&json),
        "{\"name\":\"hidden\",\"flag\":true,\"number\":7,\"automatic\":\"auto\",\"choice\":\"no\","
        "\"map\":{\"second\":\"yes\"},\"list\":[],\"inner\":{\"name\":\"hidden\"},"
        "\"rows\":[{\"name\":\"hidden\"},{\"name\":\"hidden\"}]}");
    ck_assert_uint_eq(count, 6);
    sp_json_done(outer_fields, &outer);
    free(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json_out");
    TCase *tc = tcase_create("json_out");
    SRunner *runner;
    int failed;

    tcase_add_test(tc, members_are_written_with_their_commas);
    tcase_add_test(tc, what_is_written_reads_back);
    tcase_add_test(tc, what_a_table_has_bound_is_written_as_it_was_read);
    tcase_add_test(tc, every_string_goes_through_show);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
