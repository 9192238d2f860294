#include "common/json_bind.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

/* A configuration with a row of every type. */
struct door {
    int type;
    char *listen;
    uint64_t backlog;
};

struct tls {
    char *certificate;
    bool has_certificate;
    int min_version;
};

struct conf {
    char *name;
    char *file, *cache;
    bool on;
    uint64_t limit, small, huge, workers;
    int level;
    struct sp_json_strings names, files, few, places, ports;
    struct tls tls;
    bool has_tls;
    struct sp_json_array doors;
    int on_reason[3];
};

static const char *const levels[] = {"error", "warning", "info", "debug", NULL};
static const char *const door_types[] = {"http", "forward", NULL};
static const char *const versions[] = {"1.2", "1.3", NULL};
static const char *const actions[] = {"", "allow", "block", NULL};
static const char *const reasons[] = {"expired", "revoked", "not_tls", NULL};

static enum sp_err check_listen(const char *value, struct sp_error *err)
{
    if (strchr(value, ':'))
        return SP_OK;
    return sp_error_set(err, SP_ERR_HTTP, "\"%s\" has no port", value);
}

static enum sp_err check_short(const char *value, struct sp_error *err)
{
    return strlen(value) < 6 ? SP_OK : sp_error_set(err, SP_ERR_CONFIG, "\"%s\" is long", value);
}

#define AT(type, member) .offset = offsetof(struct type, member)

static const struct sp_json_field door_fields[] = {
    {.key = "type", .type = SP_JSON_ENUM, AT(door, type), .required = true, .names = door_types},
    {.key = "listen",
     .type = SP_JSON_STRING,
     AT(door, listen),
     .required = true,
     .min = 1,
     .check = check_listen},
    {.key = "backlog", .type = SP_JSON_UINT, AT(door, backlog), .max = 9, .default_uint = 7},
    {0},
};

static const struct sp_json_field tls_fields[] = {
    {.key = "certificate",
     .type = SP_JSON_PATH,
     AT(tls, certificate),
     .required = true,
     .present_offset = SP_JSON_PRESENT(struct tls, has_certificate)},
    {.key = "min_version",
     .type = SP_JSON_ENUM,
     AT(tls, min_version),
     .names = versions,
     .default_uint = 1},
    {0},
};

static const struct sp_json_field fields[] = {
    {.key = "name", .type = SP_JSON_STRING, AT(conf, name), .required = true, .min = 2, .max = 10},
    {.key = "file", .type = SP_JSON_PATH, AT(conf, file)},
    {.key = "cache", .type = SP_JSON_PATH, AT(conf, cache), .default_string = "cache.d"},
    {.key = "on", .type = SP_JSON_BOOL, AT(conf, on), .default_uint = 1},
    {.key = "limit",
     .type = SP_JSON_UINT,
     AT(conf, limit),
     .min = 1000,
     .max = 3600000,
     .default_uint = 5000},
    {.key = "small", .type = SP_JSON_UINT, AT(conf, small)},
    {.key = "huge", .type = SP_JSON_UINT, AT(conf, huge), .max = UINT64_MAX},
    {.key = "workers", .type = SP_JSON_UINT_OR_AUTO, AT(conf, workers), .min = 1, .max = 64},
    {.key = "level", .type = SP_JSON_ENUM, AT(conf, level), .names = levels, .default_uint = 2},
    {.key = "names",
     .type = SP_JSON_STRINGS,
     AT(conf, names),
     .min = 1,
     .max = 3,
     .check = check_listen},
    {.key = "files", .type = SP_JSON_PATHS, AT(conf, files)},
    {.key = "few",
     .type = SP_JSON_STRINGS,
     AT(conf, few),
     .or_one = true,
     .min = 1,
     .check = check_listen},
    {.key = "places", .type = SP_JSON_PATHS, AT(conf, places), .or_one = true},
    {.key = "ports",
     .type = SP_JSON_STRINGS,
     AT(conf, ports),
     .or_one = true,
     .or_number = true,
     .check = check_short},
    {.key = "tls",
     .type = SP_JSON_OBJECT,
     AT(conf, tls),
     .fields = tls_fields,
     .present_offset = SP_JSON_PRESENT(struct conf, has_tls)},
    {.key = "doors",
     .type = SP_JSON_ARRAY,
     AT(conf, doors),
     .fields = door_fields,
     .size = sizeof(struct door),
     .max = 2},
    {.key = "on_reason",
     .type = SP_JSON_ENUM_MAP,
     AT(conf, on_reason),
     .key_names = reasons,
     .names = actions},
    {0},
};

static enum sp_err load(const char *text, struct conf *c, struct sp_error *err)
{
    memset(c, 0, sizeof *c);
    return sp_json_load_text("etc/gateway.json", text, strlen(text), fields, c, err);
}

START_TEST(every_type_reaches_its_member)
{
    static const char text[] =
        "{\"name\": \"ab\", \"file\": \"x/y.pem\", \"cache\": \"/abs/z\", \"on\": false,"
        " \"limit\": 3600000, \"small\": 9223372036854775807, \"workers\": 64,"
        " \"level\": \"debug\", \"names\": [\"a:1\", \"b:2\"], \"files\": [\"p\", \"/q\"],"
        " \"tls\": {\"certificate\": \"c.pem\", \"min_version\": \"1.2\"},"
        " \"doors\": [{\"type\": \"forward\", \"listen\": \"l:1\", \"backlog\": 0},"
        "             {\"type\": \"http\", \"listen\": \"m:2\"}],"
        " \"on_reason\": {\"not_tls\": \"allow\", \"expired\": \"block\"}}";
    struct sp_error err = {0};
    struct conf c;
    struct door *doors;

    ck_assert_msg(load(text, &c, &err) == SP_OK, "%s %s", err.where, err.text);
    ck_assert_str_eq(c.name, "ab");
    ck_assert_str_eq(c.file, "etc/x/y.pem");
    ck_assert_str_eq(c.cache, "/abs/z");
    ck_assert(!c.on);
    ck_assert_uint_eq(c.limit, 3600000);
    ck_assert_uint_eq(c.small, INT64_MAX);
    ck_assert_uint_eq(c.workers, 64);
    ck_assert_int_eq(c.level, 3);
    ck_assert_uint_eq(c.names.count, 2);
    ck_assert_str_eq(c.names.items[1], "b:2");
    ck_assert_uint_eq(c.files.count, 2);
    ck_assert_str_eq(c.files.items[0], "etc/p");
    ck_assert_str_eq(c.files.items[1], "/q");
    ck_assert_str_eq(c.tls.certificate, "etc/c.pem");
    ck_assert(c.tls.has_certificate && c.has_tls);
    ck_assert_int_eq(c.tls.min_version, 0);
    ck_assert_uint_eq(c.doors.count, 2);
    doors = c.doors.items;
    ck_assert_int_eq(doors[0].type, 1);
    ck_assert_uint_eq(doors[0].backlog, 0);
    ck_assert_str_eq(doors[1].listen, "m:2");
    ck_assert_uint_eq(doors[1].backlog, 7); /* the default of an item */
    ck_assert_int_eq(c.on_reason[0], 2);
    ck_assert_int_eq(c.on_reason[1], 0);
    ck_assert_int_eq(c.on_reason[2], 1);
    ck_assert_int_eq(err.kind, 0); /* untouched */
    sp_json_done(fields, &c);
}
END_TEST

START_TEST(what_is_absent_has_its_default_even_in_objects_that_are_absent)
{
    struct conf c;

    ck_assert_int_eq(load("{\"name\": \"ab\"}", &c, NULL), SP_OK);
    ck_assert_ptr_null(c.file);
    ck_assert_str_eq(c.cache, "etc/cache.d");
    ck_assert(c.on);
    ck_assert_uint_eq(c.limit, 5000);
    ck_assert_uint_eq(c.workers, 0);
    ck_assert_int_eq(c.level, 2);
    ck_assert_int_eq(c.tls.min_version, 1);
    ck_assert(!c.has_tls && !c.tls.has_certificate);
    ck_assert_uint_eq(c.doors.count, 0);
    sp_json_done(fields, &c);
}
END_TEST

START_TEST(one_string_stands_for_a_list_of_one_where_the_row_says_so)
{
    struct conf c;

    ck_assert_int_eq(load("{\"name\": \"ab\", \"few\": \"a:1\", \"places\": \"p\"}", &c, NULL),
                     SP_OK);
    ck_assert_uint_eq(c.few.count, 1);
    ck_assert_str_eq(c.few.items[0], "a:1");
    ck_assert_uint_eq(c.places.count, 1);
    ck_assert_str_eq(c.places.items[0], "etc/p");
    sp_json_done(fields, &c);
    ck_assert_int_eq(load("{\"name\": \"ab\", \"few\": [\"a:1\", \"b:2\"]}", &c, NULL), SP_OK);
    ck_assert_uint_eq(c.few.count, 2);
    sp_json_done(fields, &c);
}
END_TEST

START_TEST(a_number_may_stand_for_its_text_where_the_row_says_so)
{
    struct conf c;

    ck_assert_int_eq(load("{\"name\": \"ab\", \"ports\": 443}", &c, NULL), SP_OK);
    ck_assert_uint_eq(c.ports.count, 1);
    ck_assert_str_eq(c.ports.items[0], "443");
    sp_json_done(fields, &c);
    ck_assert_int_eq(load("{\"name\": \"ab\", \"ports\": [1, \"2-3\", -4]}", &c, NULL), SP_OK);
    ck_assert_uint_eq(c.ports.count, 3);
    ck_assert_str_eq(c.ports.items[0], "1");
    ck_assert_str_eq(c.ports.items[1], "2-3");
    ck_assert_str_eq(c.ports.items[2], "-4");
    sp_json_done(fields, &c);
}
END_TEST

START_TEST(auto_is_zero)
{
    struct conf c;

    ck_assert_int_eq(load("{\"name\": \"ab\", \"workers\": \"auto\"}", &c, NULL), SP_OK);
    ck_assert_uint_eq(c.workers, 0);
    sp_json_done(fields, &c);
}
END_TEST

START_TEST(done_frees_and_clears_everything)
{
    struct conf c, zero;

    memset(&zero, 0, sizeof zero);
    ck_assert_int_eq(load("{\"name\":\"ab\",\"names\":[\"a:1\"],\"tls\":{\"certificate\":\"c\"},"
                          "\"doors\":[{\"type\":\"http\",\"listen\":\":\"}],\"workers\":3,"
                          "\"on_reason\":{\"revoked\":\"allow\"}}",
                          &c, NULL),
                     SP_OK);
    sp_json_done(fields, &c);
    ck_assert_mem_eq(&c, &zero, sizeof c);
    sp_json_done(fields, &c);
}
END_TEST

#define NAMED "{\"name\": \"ab\", "

static const struct {
    const char *text, *message;
} bad[] = {
    /* places and values */
    {"{}", "etc/gateway.json: $.name: required, but missing"},
    {NAMED "\"level\": \"loud\"}",
     "etc/gateway.json: $.level: \"loud\" is not one of error, warning, info, debug"},
    {NAMED "\"level\": 1}",
     "etc/gateway.json: $.level: 1 is not one of error, warning, info, debug"},
    {NAMED "\"tls\": {}}", "etc/gateway.json: $.tls.certificate: required, but missing"},
    {NAMED "\"tls\": []}", "etc/gateway.json: $.tls: found an array, wanted is an object"},
    {NAMED "\"doors\": [{\"type\": \"http\", \"listen\": \"a:1\"}, {\"type\": \"http\"}]}",
     "etc/gateway.json: $.doors[1].listen: required, but missing"},
    {NAMED "\"doors\": [{\"type\": \"http\", \"listen\": \"a\"}]}",
     "etc/gateway.json: $.doors[0].listen: \"a\" has no port"},
    {NAMED "\"doors\": [{\"type\": \"http\", \"listen\": \"a:1\", \"backlog\": 10}]}",
     "etc/gateway.json: $.doors[0].backlog: 10 is not in 0..9"},
    {NAMED "\"doors\": [{\"type\": \"http\", \"listen\": \"\"}]}",
     "etc/gateway.json: $.doors[0].listen: must not be empty"},
    {NAMED "\"doors\": [\"a\"]}", "etc/gateway.json: $.doors[0]: found \"a\", wanted is an object"},
    {NAMED "\"doors\": {}}",
     "etc/gateway.json: $.doors: found an object, wanted is an array of objects"},
    {NAMED "\"doors\": [{}, {}, {}]}",
     "etc/gateway.json: $.doors: has 3 items, wanted are at most 2"},
    {NAMED "\"names\": []}", "etc/gateway.json: $.names: has 0 items, wanted is at least 1"},
    {NAMED "\"names\": [\"a:1\", \"a:1\", \"a:1\", \"a:1\"]}",
     "etc/gateway.json: $.names: has 4 items, wanted are at most 3"},
    {NAMED "\"names\": [\"a:1\", \"b\"]}", "etc/gateway.json: $.names[1]: \"b\" has no port"},
    {NAMED "\"names\": [\"a:1\", 2]}", "etc/gateway.json: $.names[1]: found 2, wanted is a string"},
    {NAMED "\"names\": \"a:1\"}",
     "etc/gateway.json: $.names: found \"a:1\", wanted is an array of strings"},
    {NAMED "\"few\": \"a\"}", "etc/gateway.json: $.few: \"a\" has no port"},
    {NAMED "\"few\": [\"a\"]}", "etc/gateway.json: $.few[0]: \"a\" has no port"},
    {NAMED "\"few\": []}", "etc/gateway.json: $.few: has 0 items, wanted is at least 1"},
    {NAMED "\"few\": 1}",
     "etc/gateway.json: $.few: found 1, wanted is a string or an array of strings"},
    {NAMED "\"ports\": 123456}", "etc/gateway.json: $.ports: \"123456\" is long"},
    {NAMED "\"ports\": [1, 1234567]}", "etc/gateway.json: $.ports[1]: \"1234567\" is long"},
    {NAMED "\"ports\": 1.5}",
     "etc/gateway.json: $.ports: found 1.5, wanted is a number, a string or an array of them"},
    {NAMED "\"places\": 5}",
     "etc/gateway.json: $.places: found 5, wanted is a path or an array of paths"},
    {NAMED "\"places\": \"\"}", "etc/gateway.json: $.places: must not be empty"},
    {NAMED "\"places\": {}}",
     "etc/gateway.json: $.places: found an object, wanted is a path or an array of paths"},
    {NAMED "\"files\": [\"\"]}", "etc/gateway.json: $.files[0]: must not be empty"},
    {NAMED "\"files\": [null]}", "etc/gateway.json: $.files[0]: found null, wanted is a path"},
    {NAMED "\"file\": \"\"}", "etc/gateway.json: $.file: must not be empty"},
    {"{\"name\": \"\"}", "etc/gateway.json: $.name: must not be empty"},
    {"{\"name\": \"a\"}", "etc/gateway.json: $.name: is 1 bytes long, wanted are 2 to 10"},
    {"{\"name\": \"abcdefghijk\"}",
     "etc/gateway.json: $.name: is 11 bytes long, wanted are 2 to 10"},
    {"{\"name\": true}", "etc/gateway.json: $.name: found true, wanted is a string"},
    {NAMED "\"on\": \"yes\"}", "etc/gateway.json: $.on: found \"yes\", wanted is true or false"},
    {NAMED "\"on\": 1}", "etc/gateway.json: $.on: found 1, wanted is true or false"},
    {NAMED "\"on\": null}", "etc/gateway.json: $.on: found null, wanted is true or false"},
    {NAMED "\"limit\": 12}", "etc/gateway.json: $.limit: 12 is not in 1000..3600000"},
    {NAMED "\"limit\": 999}", "etc/gateway.json: $.limit: 999 is not in 1000..3600000"},
    {NAMED "\"limit\": 3600001}", "etc/gateway.json: $.limit: 3600001 is not in 1000..3600000"},
    {NAMED "\"limit\": -1}", "etc/gateway.json: $.limit: -1 is not in 1000..3600000"},
    {NAMED "\"limit\": 1000.0}",
     "etc/gateway.json: $.limit: found 1000, wanted is a whole number from 1000 to 3600000"},
    {NAMED "\"limit\": 1e4}",
     "etc/gateway.json: $.limit: found 10000, wanted is a whole number from 1000 to 3600000"},
    {NAMED "\"limit\": \"2000\"}",
     "etc/gateway.json: $.limit: found \"2000\", wanted is a whole number from 1000 to 3600000"},
    {NAMED "\"small\": -1}", "etc/gateway.json: $.small: -1 is not in 0..9223372036854775807"},
    {NAMED "\"huge\": -1}", "etc/gateway.json: $.huge: -1 is not in 0..18446744073709551615"},
    {NAMED "\"workers\": \"many\"}",
     "etc/gateway.json: $.workers: found \"many\", wanted is a whole number from 1 to 64 or "
     "\"auto\""},
    {NAMED "\"workers\": 0}", "etc/gateway.json: $.workers: 0 is not in 1..64 and not \"auto\""},
    {NAMED "\"on_reason\": {\"revoked\": \"maybe\"}}",
     "etc/gateway.json: $.on_reason.revoked: \"maybe\" is not one of allow, block"},
    {NAMED "\"on_reason\": {\"revoked\": \"\"}}",
     "etc/gateway.json: $.on_reason.revoked: \"\" is not one of allow, block"},
    {NAMED "\"on_reason\": 1}", "etc/gateway.json: $.on_reason: found 1, wanted is an object"},
    /* unknown keys, before what is missing */
    {"{\"nmae\": \"ab\"}", "etc/gateway.json: $.nmae: unknown key, did you mean \"name\"?"},
    {NAMED "\"Level\": \"info\"}",
     "etc/gateway.json: $.Level: unknown key, did you mean \"level\"?"},
    {NAMED "\"limits\": 1}", "etc/gateway.json: $.limits: unknown key, did you mean \"limit\"?"},
    {NAMED "\"lvl\": 1}", "etc/gateway.json: $.lvl: unknown key, did you mean \"level\"?"},
    {NAMED "\"tls\": {\"private_key\": 1}}",
     "etc/gateway.json: $.tls.private_key: unknown key; known here: certificate, min_version"},
    {NAMED "\"tls\": {\"if\": 1}}",
     "etc/gateway.json: $.tls.if: unknown key; known here: certificate, min_version"},
    {NAMED "\"on_reason\": {\"expird\": \"allow\"}}",
     "etc/gateway.json: $.on_reason.expird: unknown key, did you mean \"expired\"?"},
    {NAMED "\"a b\\n\": 1}",
     "etc/gateway.json: $[\"a b\\n\"]: unknown key; known here: name, file, cache, on, limit, "
     "small, huge, workers, level, names, files, few, places, ports, tls, doors, on_reason"},
    {NAMED "\"\": 1}", "etc/gateway.json: $[\"\"]: unknown key; known here: name, file, cache, on, "
                       "limit, small, huge, "
                       "workers, level, names, files, few, places, ports, tls, doors, on_reason"},
    /* syntax */
    {"", "etc/gateway.json:1:1: is empty, wanted is a JSON object"},
    {" \n\t", "etc/gateway.json:1:1: is empty, wanted is a JSON object"},
    {"[]", "etc/gateway.json: $: found an array, wanted is an object"},
    {"12", "etc/gateway.json:1:1: '[' or '{' expected near '12'"},
    {"{\n  \"a\": 1\n  xyz\n}", "etc/gateway.json:3:3: '}' expected near 'xyz'"},
    {"{\"\xc3\xbc\": tru}", "etc/gateway.json:1:7: invalid token near 'tru'"},
    {"{\"name\": \"ab\",\n \"name\": \"cd\"}",
     "etc/gateway.json:2:2: duplicate object key near '\"name\"'"},
    {"{\"tls\": {\"a\": 1, \"a\": 1}}", "etc/gateway.json:1:18: duplicate object key near '\"a\"'"},
    {"{\"a\": 1 \"\xc3\xbc\"}", "etc/gateway.json:1:9: '}' expected near '\"\xc3\xbc\"'"},
    {"{\"a\": 1,}", "etc/gateway.json:1:9: string or '}' expected near '}'"},
    {"{\"a\": \"b", "etc/gateway.json:1:7: premature end of input near '\"b'"},
    {"{\"a\": 1} x", "etc/gateway.json:1:10: end of file expected near 'x'"},
    {"{\"a\": 99999999999999999999}",
     "etc/gateway.json:1:7: too big integer near '99999999999999999999'"},
    {"{\"a\": \"\\u0000\"}", "etc/gateway.json:1:7: \\u0000 is not allowed near '\"\\u0000\"'"},
    {"{\"a\": \"\xff\"}", "etc/gateway.json:1:7: unable to decode byte 0xff near '\"'"},
    {"{\"a\": \033[31m}", "etc/gateway.json:1:7: invalid token near '?'"},
};

START_TEST(what_is_wrong_is_told_with_its_place_and_what_is_wanted)
{
    struct sp_error err = {0};
    struct conf c, zero;
    char message[1024];
    enum sp_err rc = load(bad[_i].text, &c, &err);

    memset(&zero, 0, sizeof zero);
    ck_assert_msg(rc != SP_OK, "%s", bad[_i].text);
    ck_assert_int_eq(rc, err.kind);
    ck_assert_int_eq(rc, err.line ? SP_ERR_JSON : SP_ERR_CONFIG);
    ck_assert_str_eq(sp_error_message(&err, message, sizeof message), bad[_i].message);
    ck_assert_mem_eq(&c, &zero, sizeof c);
    ck_assert_int_eq(load(bad[_i].text, &c, NULL), rc);
}
END_TEST

START_TEST(a_line_may_have_keys_that_no_row_names_at_any_depth)
{
    static const struct sp_json_field inner[] = {{.key = NULL}};
    struct {
        char *a;
        bool has_b;
    } got = {NULL, false};
    const struct sp_json_field line_fields[] = {
        {.key = "a", .type = SP_JSON_STRING, .offset = 0, .required = true},
        {.key = "b", .type = SP_JSON_OBJECT, .fields = inner, .present_offset = 1 + sizeof(char *)},
        {.key = NULL},
    };
    static const char text[] = "{\"x\": [1], \"a\": \"y\", \"b\": {\"z\": {}}}";
    struct sp_error err;

    ck_assert_int_eq(sp_json_load_line("l", text, strlen(text), line_fields, &got, &err), SP_OK);
    ck_assert_str_eq(got.a, "y");
    ck_assert(got.has_b);
    sp_json_done(line_fields, &got);
    ck_assert_int_eq(sp_json_load_text("l", text, strlen(text), line_fields, &got, &err),
                     SP_ERR_CONFIG);
    ck_assert_int_eq(sp_json_load_line("l", "{}", 2, line_fields, &got, &err), SP_ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(err.text, "required"));
}
END_TEST

START_TEST(nesting_is_bounded_before_the_parser_recurses)
{
    static char deep[2000000];
    struct sp_error err = {0};
    struct conf c;
    int depths[] = {33, 1000000};

    for (size_t i = 0; i < 2; i++) {
        memset(deep, '[', (size_t)depths[i]);
        memset(deep + depths[i], ']', (size_t)depths[i]);
        deep[depths[i] * 2 - (i == 1)] = '\0';
        ck_assert_int_eq(load(deep, &c, &err), SP_ERR_JSON);
        ck_assert_str_eq(err.text, "nested deeper than 32");
        ck_assert_uint_eq(err.column, 33);
    }
    memset(deep, '[', 32);
    memset(deep + 32, ']', 32);
    deep[64] = '\0';
    ck_assert_int_eq(load(deep, &c, &err), SP_ERR_CONFIG); /* parsed; but no object */
}
END_TEST

START_TEST(brackets_in_strings_are_no_nesting)
{
    struct sp_error err = {0};
    struct conf c;

    ck_assert_int_eq(load("{\"name\": \"ab\", \"file\": \"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["
                          "[[\\\\\"}",
                          &c, &err),
                     SP_OK);
    sp_json_done(fields, &c);
    ck_assert_int_eq(
        load("{\"a\": \"\xc3\xbc\\\\\",\n \"\xc3\xbc\\n\": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[["
             "[[[[",
             &c, &err),
        SP_ERR_JSON);
    ck_assert_uint_eq(err.line, 2);
    ck_assert_uint_eq(err.column, 9 + 31);
}
END_TEST

START_TEST(a_byte_order_mark_is_ignored)
{
    struct conf c;

    ck_assert_int_eq(load("\xef\xbb\xbf{\"name\": \"ab\"}", &c, NULL), SP_OK);
    sp_json_done(fields, &c);
}
END_TEST

START_TEST(paths_start_at_the_folder_of_the_file_that_names_them)
{
    static const struct {
        const char *file, *path, *resolved;
    } cases[] = {
        {"gateway.json", "a.pem", "a.pem"},
        {"/gateway.json", "a.pem", "/a.pem"},
        {"/etc/sp/gateway.json", "a.pem", "/etc/sp/a.pem"},
        {"../x/gateway.json", "../a.pem", "../x/../a.pem"},
        {"/etc/sp/gateway.json", "/a.pem", "/a.pem"},
    };

    for (int i = 0; i < COUNT(cases); i++) {
        struct conf c = {0};
        char text[128];

        snprintf(text, sizeof text, "{\"name\": \"ab\", \"file\": \"%s\"}", cases[i].path);
        ck_assert_int_eq(sp_json_load_text(cases[i].file, text, strlen(text), fields, &c, NULL),
                         SP_OK);
        ck_assert_str_eq(c.file, cases[i].resolved);
        sp_json_done(fields, &c);
    }
}
END_TEST

START_TEST(a_long_file_name_does_not_hide_the_place)
{
    struct sp_error err = {0};
    char name[600];

    memset(name, 'f', sizeof name);
    memcpy(name + sizeof name - 6, ".json", 6);
    ck_assert_int_eq(sp_json_error(&err, name, "$.a.b", "is %d", 1), SP_ERR_CONFIG);
    ck_assert_str_eq(err.text, "is 1");
    ck_assert_uint_eq(strlen(err.where), sizeof err.where - 1);
    ck_assert_msg(!strncmp(err.where, "...fff", 6), "%s", err.where);
    ck_assert_ptr_nonnull(strstr(err.where, "ff.json: $.a.b"));
    ck_assert_int_eq(sp_json_error(&err, "x.json", "$.a.b", "is %d", 1), SP_ERR_CONFIG);
    ck_assert_str_eq(err.where, "x.json: $.a.b");
    ck_assert_int_eq(sp_json_error(NULL, "x.json", "$.a.b", "is %d", 1), SP_ERR_CONFIG);
}
END_TEST

static char dir[] = "/tmp/sallyport-test-json-XXXXXX";
static char path[64];

static void setup(void)
{
    memcpy(dir + sizeof dir - 7, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/c.json", dir);
}

static void teardown(void)
{
    unlink(path);
    rmdir(dir);
}

static void expect_unreadable(const char *file, int code, const char *text)
{
    struct sp_error err = {0};
    struct conf c = {0};

    ck_assert_int_eq(sp_json_load(file, fields, &c, &err), SP_ERR_SYS);
    ck_assert_int_eq(err.code, code);
    ck_assert_str_eq(err.where, file);
    ck_assert_str_eq(err.text, text);
}

START_TEST(a_file_is_read_and_its_errors_name_it)
{
    struct sp_error err = {0};
    struct conf c = {0};
    char resolved[64], where[96];
    FILE *out = fopen(path, "we");

    fputs("{\"name\": \"ab\", \"file\": \"k.pem\"}", out);
    fclose(out);
    ck_assert_int_eq(sp_json_load(path, fields, &c, &err), SP_OK);
    snprintf(resolved, sizeof resolved, "%s/k.pem", dir);
    ck_assert_str_eq(c.file, resolved);
    sp_json_done(fields, &c);

    out = fopen(path, "we");
    fputs("{\"name\": 1}", out);
    fclose(out);
    ck_assert_int_eq(sp_json_load(path, fields, &c, &err), SP_ERR_CONFIG);
    snprintf(where, sizeof where, "%s: $.name", path);
    ck_assert_str_eq(err.where, where);
}
END_TEST

START_TEST(a_file_that_is_none_is_told_as_such)
{
    expect_unreadable(path, ENOENT, "cannot be read: No such file or directory");
    expect_unreadable(dir, EISDIR, "is a folder, wanted is a JSON file");
    expect_unreadable("/dev/null", EINVAL, "is not a regular file, wanted is a JSON file");
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    expect_unreadable(path, EINVAL, "is not a regular file, wanted is a JSON file");
}
END_TEST

START_TEST(a_file_without_permission_is_told_as_such)
{
    FILE *out = fopen(path, "we");

    fclose(out);
    ck_assert_int_eq(chmod(path, 0), 0);
    if (access(path, R_OK) == 0) /* root may read everything */
        return;
    expect_unreadable(path, EACCES, "cannot be read: Permission denied");
}
END_TEST

START_TEST(a_file_above_the_maximum_is_refused)
{
    struct sp_error err = {0};
    struct conf c = {0};
    FILE *out = fopen(path, "we");

    fclose(out);
    ck_assert_int_eq(truncate(path, (16 << 20) + 1), 0);
    ck_assert_int_eq(sp_json_load(path, fields, &c, &err), SP_ERR_LIMIT);
    ck_assert_str_eq(err.text, "is larger than 16 MiB");
    ck_assert_str_eq(err.where, path);
    ck_assert_int_eq(truncate(path, (16 << 20)), 0);
    ck_assert_int_eq(sp_json_load(path, fields, &c, &err), SP_ERR_JSON);
}
END_TEST

/* The same file over and over, but for one value. */
static const struct {
    const char *text;
    bool same;
} flats[] = {
    {"{\"name\": \"ab\"}", true},
    {"{ \"on\": true, \"name\": \"a\\u0062\", \"cache\": \"cache.d\" }", true},
    {"{\"name\": \"ab\", \"on_reason\": {}}", true},
    {"{\"name\": \"ac\"}", false},
    {"{\"name\": \"ab\", \"on\": false}", false},
    {"{\"name\": \"ab\", \"limit\": 5001}", false},
    {"{\"name\": \"ab\", \"workers\": 5}", false},
    {"{\"name\": \"ab\", \"level\": \"debug\"}", false},
    {"{\"name\": \"ab\", \"file\": \"f\"}", false},
    {"{\"name\": \"ab\", \"names\": [\"a:1\", \"b:1\"]}", false},
    {"{\"name\": \"ab\", \"names\": [\"a:1b:1\"]}", false},
    {"{\"name\": \"ab\", \"few\": \"a:1\"}", false},
    {"{\"name\": \"ab\", \"tls\": {\"certificate\": \"c\"}}", false},
    {"{\"name\": \"ab\", \"tls\": {\"certificate\": \"c\", \"min_version\": \"1.2\"}}", false},
    {"{\"name\": \"ab\", \"doors\": [{\"type\": \"http\", \"listen\": \":1\"}]}", false},
    {"{\"name\": \"ab\", \"doors\": [{\"type\": \"http\", \"listen\": \":2\"}]}", false},
    {"{\"name\": \"ab\", \"on_reason\": {\"revoked\": \"allow\"}}", false},
    {"{\"name\": \"ab\", \"on_reason\": {\"expired\": \"allow\"}}", false},
};

static struct sp_json_bytes flatten(const char *text)
{
    struct sp_json_bytes bytes = {.data = NULL};
    struct conf c;

    ck_assert_int_eq(load(text, &c, NULL), SP_OK);
    sp_json_flatten(fields, &c, &bytes);
    sp_json_done(fields, &c);
    return bytes;
}

START_TEST(flattened_are_equal_values_equal_and_all_others_differ)
{
    struct sp_json_bytes a = flatten(flats[_i].text), b;

    for (int k = 0; k < COUNT(flats); k++) {
        b = flatten(flats[k].text);
        ck_assert_msg((a.len == b.len && !memcmp(a.data, b.data, a.len)) ==
                          (k == _i || (flats[k].same && flats[_i].same)),
                      "%s and %s", flats[_i].text, flats[k].text);
        free(b.data);
    }
    free(a.data);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json_bind");
    TCase *tc = tcase_create("json_bind");
    TCase *files = tcase_create("files");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tc);
    tcase_add_test(tc, every_type_reaches_its_member);
    tcase_add_test(tc, what_is_absent_has_its_default_even_in_objects_that_are_absent);
    tcase_add_test(tc, one_string_stands_for_a_list_of_one_where_the_row_says_so);
    tcase_add_test(tc, a_number_may_stand_for_its_text_where_the_row_says_so);
    tcase_add_test(tc, auto_is_zero);
    tcase_add_test(tc, done_frees_and_clears_everything);
    tcase_add_loop_test(tc, what_is_wrong_is_told_with_its_place_and_what_is_wanted, 0, COUNT(bad));
    tcase_add_loop_test(tc, flattened_are_equal_values_equal_and_all_others_differ, 0,
                        COUNT(flats));
    tcase_add_test(tc, a_line_may_have_keys_that_no_row_names_at_any_depth);
    tcase_add_test(tc, nesting_is_bounded_before_the_parser_recurses);
    tcase_add_test(tc, brackets_in_strings_are_no_nesting);
    tcase_add_test(tc, a_byte_order_mark_is_ignored);
    tcase_add_test(tc, paths_start_at_the_folder_of_the_file_that_names_them);
    tcase_add_test(tc, a_long_file_name_does_not_hide_the_place);
    suite_add_tcase(suite, files);
    tcase_add_checked_fixture(files, setup, teardown);
    tcase_add_test(files, a_file_is_read_and_its_errors_name_it);
    tcase_add_test(files, a_file_that_is_none_is_told_as_such);
    tcase_add_test(files, a_file_without_permission_is_told_as_such);
    tcase_add_test(files, a_file_above_the_maximum_is_refused);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
