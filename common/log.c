#include "common/log.h"

#include "common/clock.h"
#include "common/log_writer.h"
#include "common/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct sp_log {
    int fd; /* the writer's; never changes, a reopen puts another file behind it */
    struct sp_log_writer *writer;
    atomic_uint settings; /* level, and SETTING_JSON: one word, so both change at once */
};

#define SETTING_JSON  0x100U
#define SETTING_LEVEL 0xffU

/* What must always fit behind the last field: `]}}}},"truncated":true}` and a newline. */
#define TAIL_ROOM (24 + SP_LOG_OBJECTS_MAX)

static const char *const level_names[] = {"error", "warning", "info", "debug"};

/* The sink for `path`, as a descriptor of our own. */
static enum sp_err open_sink(const char *path, int *ret_fd, struct sp_error *err)
{
    int fd = -1;

    if (path) {
        /* O_NONBLOCK: a FIFO that nobody reads must not stop the program, neither here nor at a
         * write; it means nothing for files. */
        fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
        if (fd < 0)
            return sp_error_sys(err, errno, "cannot open the log file \"%s\"", path);
    } else {
        fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
            return sp_error_sys(err, errno, "cannot log to stderr");
    }
    *ret_fd = fd;
    return SP_OK;
}

static unsigned settings_of(int fd, enum sp_log_format format, enum sp_log_level level)
{
    bool json = format == SP_LOG_JSON || (format == SP_LOG_AUTO && !isatty(fd));

    return (unsigned)level | (json ? SETTING_JSON : 0);
}

/* The event that tells how many lines were lost. */
static size_t notice_of(void *ctx, unsigned long long lost, char buf[SP_LOG_NOTICE_MAX])
{
    struct sp_log *log = ctx;
    char ts[SP_TIME_LEN];

    sp_time_format_ms(sp_clock_wall_ms(), ts);
    if (atomic_load(&log->settings) & SETTING_JSON)
        return (size_t)snprintf(
            buf, SP_LOG_NOTICE_MAX,
            "{\"ts\":\"%s\",\"level\":\"warning\",\"event\":\"log_lost\",\"lines\":%llu}\n", ts,
            lost);
    return (size_t)snprintf(buf, SP_LOG_NOTICE_MAX, "%.12s warning log_lost lines=%llu\n",
                            strlen(ts) > 13 ? ts + strlen(ts) - 13 : ts, lost);
}

enum sp_err sp_log_open(const char *path, enum sp_log_format format, enum sp_log_level level,
                        struct sp_log **ret_log, struct sp_error *err)
{
    struct sp_log *log;
    int fd = -1;
    enum sp_err rc = open_sink(path, &fd, err);

    if (rc)
        return rc;
    log = sp_calloc(1, sizeof *log);
    log->fd = fd;
    atomic_init(&log->settings, settings_of(fd, format, level));
    rc = sp_log_writer_new(fd, notice_of, log, &log->writer, err);
    if (rc) {
        close(fd);
        free(log);
        return rc;
    }
    *ret_log = log;
    return SP_OK;
}

enum sp_err sp_log_reopen(struct sp_log *log, const char *path, enum sp_log_format format,
                          enum sp_log_level level, struct sp_error *err)
{
    int fd = -1, error;
    enum sp_err rc = open_sink(path, &fd, err);

    if (rc)
        return rc;
    error = sp_log_writer_switch(log->writer, fd);
    close(fd);
    if (error)
        return sp_error_sys(err, error, "cannot switch the log to \"%s\"", path ? path : "stderr");
    atomic_store(&log->settings, settings_of(log->fd, format, level));
    return SP_OK;
}

bool sp_log_wants(const struct sp_log *log, enum sp_log_level level)
{
    return log && (unsigned)level <= (atomic_load(&log->settings) & SETTING_LEVEL);
}

/* Appends all or nothing, so that a line never ends inside a character or an escape. */
static bool put(struct sp_log_line *line, const char *bytes, size_t len)
{
    if (line->len + len > sizeof line->text - TAIL_ROOM)
        return false;
    memcpy(line->text + line->len, bytes, len);
    line->len += len;
    return true;
}

static bool put_text(struct sp_log_line *line, const char *text)
{
    return put(line, text, strlen(text));
}

static bool put_escaped(struct sp_log_line *line, const char *text, size_t len)
{
    const char *end = text + len;
    char step[SP_TEXT_STEP];

    while (text < end) {
        size_t plain = sp_text_plain(text, (size_t)(end - text));

        if (!put(line, text, plain))
            return false;
        text += plain;
        if (text < end && !put(line, step, sp_text_escape(&text, end, step)))
            return false;
    }
    return true;
}

static bool put_quoted(struct sp_log_line *line, const char *text, size_t len)
{
    return put(line, "\"", 1) && put_escaped(line, text, len) && put(line, "\"", 1);
}

/* Text format: can the value stand without quotes and still be told from what is around it? */
static bool is_plain(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] >= 0x7f || strchr("\"\\=,", text[i]))
            return false;
    return len > 0;
}

static bool put_value(struct sp_log_line *line, const char *text, size_t len)
{
    return line->json || !is_plain(text, len) ? put_quoted(line, text, len) : put(line, text, len);
}

static bool put_key(struct sp_log_line *line, const char *key)
{
    if (line->skipped)
        return false;
    if (!line->json)
        return put(line, " ", 1) && put(line, line->prefix, line->prefix_len) &&
               put_text(line, key) && put(line, "=", 1);
    return (line->need_comma ? put(line, ",\"", 2) : put(line, "\"", 1)) && put_text(line, key) &&
           put(line, "\":", 2);
}

/* Ends a field that began at `start`: one that did not fit wholly leaves no trace but a mark. */
static void settle(struct sp_log_line *line, size_t start, bool fits)
{
    if (fits) {
        line->need_comma = true;
        return;
    }
    line->len = start;
    line->truncated = true;
}

bool sp_log_begin(struct sp_log_line *line, struct sp_log *log, enum sp_log_level level,
                  const char *event)
{
    char ts[SP_TIME_LEN];

    if (!sp_log_wants(log, level))
        return false;
    line->log = log;
    line->len = 0;
    line->objects = line->skipped = 0;
    line->prefix_len = 0;
    line->json = atomic_load(&log->settings) & SETTING_JSON;
    line->need_comma = line->truncated = line->in_array = line->skip_array = false;
    sp_time_format_ms(sp_clock_wall_ms(), ts);
    if (line->json) {
        put_text(line, "{");
        sp_log_str(line, "ts", ts);
        sp_log_str(line, "level", level_names[level]);
        sp_log_str(line, "event", event);
    } else {
        char head[SP_TIME_LEN + 16];
        size_t ts_len = strlen(ts);

        /* Only the time of day: whoever reads this on a terminal knows the date. */
        snprintf(head, sizeof head, "%.12s %-5s ", ts_len > 13 ? ts + ts_len - 13 : ts,
                 level_names[level]);
        put_text(line, head);
        put_escaped(line, event, strlen(event));
    }
    return true;
}

void sp_log_strn(struct sp_log_line *line, const char *key, const char *value, size_t len)
{
    size_t start = line->len;

    settle(line, start, put_key(line, key) && put_value(line, value, len));
}

void sp_log_str(struct sp_log_line *line, const char *key, const char *value)
{
    if (value)
        sp_log_strn(line, key, value, strlen(value));
}

/* A value that is the same in both formats. */
static void bare_value(struct sp_log_line *line, const char *key, const char *value)
{
    size_t start = line->len;

    settle(line, start, put_key(line, key) && put_text(line, value));
}

void sp_log_int(struct sp_log_line *line, const char *key, int64_t value)
{
    char text[1 + SP_TEXT_DECIMAL] = "-";

    sp_text_decimal(value < 0 ? 0 - (uint64_t)value : (uint64_t)value, text + 1);
    bare_value(line, key, value < 0 ? text : text + 1);
}

void sp_log_bool(struct sp_log_line *line, const char *key, bool value)
{
    bare_value(line, key, value ? "true" : "false");
}

void sp_log_array_begin(struct sp_log_line *line, const char *key)
{
    size_t start = line->len;

    SP_REQUIRE(!line->in_array);
    line->in_array = true;
    line->skip_array = !(put_key(line, key) && (!line->json || put_text(line, "[")));
    settle(line, start, !line->skip_array);
    if (!line->skip_array)
        line->need_comma = false;
}

void sp_log_item(struct sp_log_line *line, const char *value)
{
    size_t start = line->len;

    SP_REQUIRE(line->in_array);
    if (!line->skip_array && value)
        settle(line, start,
               (!line->need_comma || put_text(line, ",")) && put_value(line, value, strlen(value)));
}

void sp_log_array_end(struct sp_log_line *line)
{
    SP_REQUIRE(line->in_array);
    line->in_array = false;
    if (line->skip_array)
        return;
    if (line->json)
        line->text[line->len++] = ']'; /* from TAIL_ROOM */
    line->need_comma = true;
}

static bool begin_object(struct sp_log_line *line, const char *key)
{
    size_t len = strlen(key);

    if (line->json)
        return put_key(line, key) && put_text(line, "{");
    if (line->skipped)
        return false;
    SP_REQUIRE(line->prefix_len + len + 1 <= sizeof line->prefix); /* keys are ours */
    memcpy(line->prefix + line->prefix_len, key, len);
    line->prefix[line->prefix_len + len] = '.';
    line->prefix_len += len + 1;
    return true;
}

void sp_log_object_begin(struct sp_log_line *line, const char *key)
{
    size_t start = line->len;
    bool fits;

    SP_REQUIRE(!line->in_array && line->objects < SP_LOG_OBJECTS_MAX);
    fits = begin_object(line, key);
    line->objects++;
    settle(line, start, fits);
    if (fits)
        line->need_comma = false;
    else
        line->skipped++;
}

void sp_log_object_end(struct sp_log_line *line)
{
    SP_REQUIRE(line->objects && !line->in_array);
    line->objects--;
    if (line->skipped) {
        line->skipped--;
        return;
    }
    if (line->json) {
        line->text[line->len++] = '}'; /* from TAIL_ROOM */
    } else {
        line->prefix_len--;
        while (line->prefix_len && line->prefix[line->prefix_len - 1] != '.')
            line->prefix_len--;
    }
    line->need_comma = true;
}

void sp_log_text_begin(struct sp_log_line *line)
{
    memset(line, 0, offsetof(struct sp_log_line, text));
    line->json = true;
    put_text(line, "{");
}

/* Closes what is open. */
static void finish(struct sp_log_line *line)
{
    static const char json_tail[] = ",\"truncated\":true";
    static const char text_tail[] = " truncated=true";

    if (line->in_array)
        sp_log_array_end(line);
    while (line->objects)
        sp_log_object_end(line);
    if (line->truncated) { /* from TAIL_ROOM, as is the rest */
        const char *tail = line->json ? json_tail : text_tail;
        size_t len = strlen(tail);

        memcpy(line->text + line->len, tail, len);
        line->len += len;
    }
    if (line->json)
        line->text[line->len++] = '}';
}

const char *sp_log_text_end(struct sp_log_line *line)
{
    finish(line);
    line->text[line->len] = '\0'; /* from TAIL_ROOM, in place of the newline */
    return line->text;
}

void sp_log_end(struct sp_log_line *line)
{
    finish(line);
    line->text[line->len++] = '\n';
    sp_log_writer_put(line->log->writer, line->text, line->len);
}

void sp_log_flush(struct sp_log *log)
{
    sp_log_writer_flush(log->writer);
}

void sp_log_close(struct sp_log *log)
{
    if (!log)
        return;
    sp_log_writer_free(log->writer);
    free(log);
}

void sp_log_message(struct sp_log *log, enum sp_log_level level, const char *event, const char *fmt,
                    ...)
{
    struct sp_log_line line;
    char text[1024]; /* fits in any case, even when every byte is escaped */
    va_list args;
    int len;

    if (!sp_log_begin(&line, log, level, event))
        return;
    va_start(args, fmt);
    len = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (len >= (int)sizeof text)
        line.truncated = true;
    sp_log_str(&line, "message", len < 0 ? "" : text);
    sp_log_end(&line);
}
