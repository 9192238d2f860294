/*
 * error: how a function says what went wrong.
 *
 * Fallible functions return `enum sp_err` and, where a person needs to know more, fill a
 * caller-owned `struct sp_error` (always the last parameter; may be NULL). Its size is fixed, so
 * reporting an error never allocates. On success the struct is left untouched.
 * Only programs log and exit: nothing in common/ prints. Thread-safe: no shared state.
 */
#ifndef SALLYPORT_COMMON_ERROR_H
#define SALLYPORT_COMMON_ERROR_H
#include <stdbool.h>
#include <stddef.h>

#define SP_MUST_USE                     __attribute__((warn_unused_result))
#define SP_PRINTF(fmt_index, first_arg) __attribute__((format(printf, fmt_index, first_arg)))

/* The kind decides the reaction (retry, refuse, exit status). */
enum sp_err {
    SP_OK = 0,
    SP_AGAIN,          /* not an error: needs more input, or would block; no text */
    SP_ERR_SYS,        /* errno in .code */
    SP_ERR_UV,         /* libuv, negative code in .code */
    SP_ERR_TLS,        /* TLS failed for another reason than a certificate; GNUTLS_E_* in .code */
    SP_ERR_PEER_CERT,  /* we refused the peer's certificate; alert number in .code */
    SP_ERR_PEER_ALERT, /* the peer refused us; alert number in .code */
    SP_ERR_H2,         /* HTTP/2 error; code in .code */
    SP_ERR_HTTP,       /* malformed HTTP/1.1 */
    SP_ERR_DNS,        /* name resolution */
    SP_ERR_JSON,       /* syntax; line and column are set */
    SP_ERR_CONFIG,     /* well-formed, but not what is wanted; .where has file and JSON path */
    SP_ERR_DENIED,     /* policy */
    SP_ERR_TIMEOUT,
    SP_ERR_LIMIT,
    SP_ERR_CLOSED, /* the peer went away */
    SP_ERR_MEMORY,
};

struct sp_error {
    enum sp_err kind;
    int code;
    unsigned line, column; /* JSON syntax only, from 1; 0 = unknown */
    char where[256]; /* "gateway.json: $.common.private_key", "peer 10.0.0.7:443"; may be "" */
    char text[384];  /* one fragment: no full stop, no newline */
};

/* Sets kind and text, clears the rest, returns `kind`, so that
 * `return sp_error_set(err, SP_ERR_CONFIG, "...")` is one line. err may be NULL. */
enum sp_err sp_error_set(struct sp_error *err, enum sp_err kind, const char *fmt, ...)
    SP_PRINTF(3, 4);
/* As above with a raw cause in .code (errno, alert, GNUTLS_E_*...). Adds no text for it. */
enum sp_err sp_error_code(struct sp_error *err, enum sp_err kind, int code, const char *fmt, ...)
    SP_PRINTF(4, 5);
/* SP_ERR_SYS; appends ": " and strerror(errno_value). */
enum sp_err sp_error_sys(struct sp_error *err, int errno_value, const char *fmt, ...)
    SP_PRINTF(3, 4);
/* Sets .where (replacing it). */
void sp_error_where(struct sp_error *err, const char *fmt, ...) SP_PRINTF(2, 3);
/* Puts "fmt: " before .text. */
void sp_error_prefix(struct sp_error *err, const char *fmt, ...) SP_PRINTF(2, 3);
/* A file that a configuration names and that can not be had is an error of the configuration: makes
 * SP_ERR_SYS an SP_ERR_CONFIG and leaves the other kinds. Returns the kind. */
enum sp_err sp_error_as_config(struct sp_error *err);
/* The whole message: "where:line:col: text", "where: text" or "text". Returns `buf`. */
const char *sp_error_message(const struct sp_error *err, char *buf, size_t buf_len);

/* A broken promise of our own code: prints the place and aborts; never compiled out. The one place
 * below main that writes to stderr. */
#define SP_REQUIRE(condition)                                                                      \
    ((condition) ? (void)0 : sp_require_failed(#condition, __FILE__, __LINE__))
void sp_require_failed(const char *condition, const char *file, int line) __attribute__((noreturn));

/* malloc that never returns NULL: out of memory is fatal for objects of fixed size (a bounded set
 * of small structs); large or peer-sized buffers use plain malloc and report SP_ERR_MEMORY. */
void *sp_calloc(size_t count, size_t size);
char *sp_strdup(const char *text);
/* The C library gives freed memory back to the system only above 1 MiB, not 128 KiB, and makes
 * mappings of their own only for pieces above that: else busy tunnels take and give back memory
 * with each read, and have a page fault for every 4 KiB they carry. For the whole process, before
 * it has threads. */
void sp_memory_keep_some(void);

void sp_free_ptr(void *pointer_to_pointer); /* for SP_AUTO_FREE */
#define SP_AUTO_FREE __attribute__((cleanup(sp_free_ptr)))

#endif
