/*
 * log_file: for the tests of the log: a folder with two files of it, and what stands in one. Header
 * only.
 */
#ifndef SALLYPORT_TESTS_UNIT_LOG_FILE_H
#define SALLYPORT_TESTS_UNIT_LOG_FILE_H
#include "common/log.h"

#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

static char dir[] = "/tmp/sallyport-test-log-XXXXXX";
static char path[64], other_path[64];

static inline void setup(void)
{
    memcpy(dir + sizeof dir - 7, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/a.log", dir);
    snprintf(other_path, sizeof other_path, "%s/b.log", dir);
}

static inline void teardown(void)
{
    unlink(path);
    unlink(other_path);
    rmdir(dir);
}

static inline struct sp_log *open_log(const char *file, enum sp_log_format format,
                                      enum sp_log_level level)
{
    struct sp_error err = {0};
    struct sp_log *log = NULL;

    ck_assert_msg(sp_log_open(file, format, level, &log, &err) == SP_OK, "%s", err.text);
    return log;
}

/* The whole file, NUL-terminated; the caller frees it. */
static inline char *contents(const char *file)
{
    FILE *in = fopen(file, "re");
    char *text = calloc(1, 8 << 20);
    size_t len;

    ck_assert_ptr_nonnull(in);
    len = fread(text, 1, (8 << 20) - 1, in);
    fclose(in);
    ck_assert_uint_eq(strlen(text), len); /* no NUL in a log */
    return text;
}

/* The one JSON line in the file, parsed. */
static inline json_t *one_object(const char *file)
{
    char *text = contents(file);
    size_t len = strlen(text);
    json_error_t error;
    json_t *object;

    ck_assert_uint_gt(len, 0);
    ck_assert_ptr_eq(strchr(text, '\n'), text + len - 1);
    object = json_loads(text, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    ck_assert_msg(object != NULL, "%s in: %s", error.text, text);
    free(text);
    return object;
}

static inline const char *str(json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}
#endif
