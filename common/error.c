#include "common/error.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

SP_PRINTF(4, 0)
static void error_fill(struct sp_error *err, enum sp_err kind, int code, const char *fmt,
                       va_list args)
{
    if (!err)
        return;
    err->kind = kind;
    err->code = code;
    err->line = 0;
    err->column = 0;
    err->where[0] = '\0';
    vsnprintf(err->text, sizeof err->text, fmt, args);
}

enum sp_err sp_error_set(struct sp_error *err, enum sp_err kind, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    error_fill(err, kind, 0, fmt, args);
    va_end(args);
    return kind;
}

enum sp_err sp_error_code(struct sp_error *err, enum sp_err kind, int code, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    error_fill(err, kind, code, fmt, args);
    va_end(args);
    return kind;
}

enum sp_err sp_error_sys(struct sp_error *err, int errno_value, const char *fmt, ...)
{
    va_list args;
    size_t used;

    if (!err)
        return SP_ERR_SYS;
    va_start(args, fmt);
    error_fill(err, SP_ERR_SYS, errno_value, fmt, args);
    va_end(args);
    used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, ": %s", strerrordesc_np(errno_value));
    return SP_ERR_SYS;
}

void sp_error_where(struct sp_error *err, const char *fmt, ...)
{
    va_list args;

    if (!err)
        return;
    va_start(args, fmt);
    vsnprintf(err->where, sizeof err->where, fmt, args);
    va_end(args);
}

void sp_error_prefix(struct sp_error *err, const char *fmt, ...)
{
    char old[sizeof err->text];
    va_list args;
    size_t used;

    if (!err)
        return;
    memcpy(old, err->text, sizeof old);
    va_start(args, fmt);
    vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
    used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, ": %s", old);
}

enum sp_err sp_error_as_config(struct sp_error *err)
{
    if (err->kind == SP_ERR_SYS || err->kind == SP_ERR_LIMIT || err->kind == SP_ERR_TLS)
        err->kind = SP_ERR_CONFIG;
    return err->kind;
}

const char *sp_error_message(const struct sp_error *err, char *buf, size_t buf_len)
{
    if (!err->where[0])
        snprintf(buf, buf_len, "%s", err->text);
    else if (err->line)
        snprintf(buf, buf_len, "%s:%u:%u: %s", err->where, err->line, err->column, err->text);
    else
        snprintf(buf, buf_len, "%s: %s", err->where, err->text);
    return buf;
}

void sp_require_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "sallyport: bug: %s:%d: required: %s\n", file, line, condition);
    abort();
}

void sp_memory_keep_some(void)
{
    /* Without them all works, slower. */
    (void)mallopt(M_TRIM_THRESHOLD, 1 << 20);
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
}

void *sp_calloc(size_t count, size_t size)
{
    void *memory = calloc(count, size);

    SP_REQUIRE(memory || !count || !size);
    return memory;
}

char *sp_strdup(const char *text)
{
    char *copy = strdup(text);

    SP_REQUIRE(copy);
    return copy;
}

void sp_free_ptr(void *pointer_to_pointer)
{
    void *memory;

    memcpy(&memory, pointer_to_pointer, sizeof memory);
    free(memory);
}
