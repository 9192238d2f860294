/*
 * log: one event a line, as JSON or as text for people.
 *
 * A `struct sp_log` is one sink (a file, or stderr). Lines are built in a buffer on the stack; a
 * thread of the sink's writes them, a few milliseconds later (common/log_writer.h), so that no disk
 * holds up a loop. A line that cannot be written (disk full, pipe closed) is counted; the next line
 * that can be is preceded by a `log_lost` event with that count. Nothing a peer sent can break a
 * line: control bytes, quotes and invalid UTF-8 are escaped (U+FFFD). Never give it a key or
 * payload.
 *
 *     struct sp_log_line l;
 *     if (sp_log_begin(&l, log, SP_LOG_INFO, "channel")) {
 *         sp_log_str(&l, "tenant", tenant);
 *         sp_log_int(&l, "bytes_up", n);
 *         sp_log_end(&l);
 *     }
 *
 * JSON: {"ts":"2026-11-21T21:46:50.123Z","level":"info","event":"channel","tenant":"c123456",...}
 * Text: 21:46:50.123 info  channel tenant=c123456 bytes_up=12   (values quoted when they need it)
 */
#ifndef SALLYPORT_COMMON_LOG_H
#define SALLYPORT_COMMON_LOG_H
#include "common/error.h"
#include <stdbool.h>
#include <stdint.h>

enum sp_log_level { SP_LOG_ERROR, SP_LOG_WARNING, SP_LOG_INFO, SP_LOG_DEBUG };
enum sp_log_format { SP_LOG_AUTO, SP_LOG_JSON, SP_LOG_TEXT }; /* auto: text on a terminal */

struct sp_log; /* opaque; thread-safe */

#define SP_LOG_LINE_MAX 8192
struct sp_log_line {
    struct sp_log *log;
    size_t len;
    unsigned objects, skipped; /* open objects; the innermost so many did not fit */
    size_t prefix_len;
    char prefix[64]; /* text format: "revocation.ocsp." */
    bool json, need_comma, truncated, in_array, skip_array;
    char text[SP_LOG_LINE_MAX];
};

/* path NULL: stderr. File mode 0640, O_APPEND | O_CREAT | O_CLOEXEC. */
SP_MUST_USE enum sp_err sp_log_open(const char *path, enum sp_log_format format,
                                    enum sp_log_level level, struct sp_log **ret_log,
                                    struct sp_error *err);
/* Reopens (log rotation) with new settings, atomically for the other threads; on failure the old
 * sink stays. */
SP_MUST_USE enum sp_err sp_log_reopen(struct sp_log *log, const char *path,
                                      enum sp_log_format format, enum sp_log_level level,
                                      struct sp_error *err);
void sp_log_flush(struct sp_log *log); /* returns when what was said so far is written, or lost */
void sp_log_close(struct sp_log *log); /* after such a flush; NULL is fine */
bool sp_log_wants(const struct sp_log *log, enum sp_log_level level);

/* False when the level is not wanted: skip the rest. log may be NULL (false). */
bool sp_log_begin(struct sp_log_line *line, struct sp_log *log, enum sp_log_level level,
                  const char *event);
/* Keys are ours: letters, digits, `_`; they are not escaped. */
void sp_log_str(struct sp_log_line *line, const char *key, const char *value); /* NULL: left out */
void sp_log_strn(struct sp_log_line *line, const char *key, const char *value, size_t len);
void sp_log_int(struct sp_log_line *line, const char *key, int64_t value);
void sp_log_bool(struct sp_log_line *line, const char *key, bool value);
/* An array of strings: begin, sp_log_item for each, end. Text format: a,b,c */
void sp_log_array_begin(struct sp_log_line *line, const char *key);
void sp_log_item(struct sp_log_line *line, const char *value);
void sp_log_array_end(struct sp_log_line *line);
/* What is put in until its end belongs to that key; at most SP_LOG_OBJECTS_MAX within each other,
 * none inside an array. Text format: key.inner=value */
#define SP_LOG_OBJECTS_MAX 4
void sp_log_object_begin(struct sp_log_line *line, const char *key);
void sp_log_object_end(struct sp_log_line *line);
void sp_log_end(struct sp_log_line *line);

/* The same fields without a log: a JSON object in memory, "{...}" without a newline, for who has
 * them to show elsewhere. The text is the line's; NUL-terminated. */
void sp_log_text_begin(struct sp_log_line *line);
const char *sp_log_text_end(struct sp_log_line *line);

/* One event with one field "message": for errors and the like. */
void sp_log_message(struct sp_log *log, enum sp_log_level level, const char *event, const char *fmt,
                    ...) SP_PRINTF(4, 5);
#endif
