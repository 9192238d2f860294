#include "common/json_scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum sp_err too_large(struct sp_error *err, const char *name)
{
    sp_error_set(err, SP_ERR_LIMIT, "is larger than %u MiB", SP_JSON_FILE_MAX >> 20);
    sp_error_where(err, "%s", name);
    return SP_ERR_LIMIT;
}

static enum sp_err unreadable(struct sp_error *err, const char *path, int errno_value)
{
    sp_error_sys(err, errno_value, "cannot be read");
    sp_error_where(err, "%s", path);
    return SP_ERR_SYS;
}

/* Reads all of fd into one block, which grows as long as the file does; likely: what it has now. */
static enum sp_err read_all(int fd, const char *path, size_t likely, char **ret_text,
                            size_t *ret_len, struct sp_error *err)
{
    SP_AUTO_FREE char *text = NULL;
    size_t len = 0, cap = 0;

    for (;;) {
        ssize_t got;

        if (len == cap) {
            char *grown;

            if (len > SP_JSON_FILE_MAX)
                return too_large(err, path);
            cap = cap ? cap * 2 : likely + 1;
            grown = realloc(text, cap);
            if (!grown)
                return sp_error_set(err, SP_ERR_MEMORY, "out of memory");
            text = grown;
        }
        got = read(fd, text + len, cap - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return unreadable(err, path, errno);
        len += (size_t)got;
        if (len < cap) /* a regular file gives all that it has */
            break;
    }
    *ret_text = text;
    *ret_len = len;
    text = NULL;
    return SP_OK;
}

static enum sp_err check_file(int fd, const char *path, size_t *ret_size, struct sp_error *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return unreadable(err, path, errno);
    *ret_size = st.st_size > 0 && st.st_size <= SP_JSON_FILE_MAX ? (size_t)st.st_size : 0;
    if (S_ISREG(st.st_mode))
        return SP_OK;
    sp_error_code(err, SP_ERR_SYS, S_ISDIR(st.st_mode) ? EISDIR : EINVAL,
                  S_ISDIR(st.st_mode) ? "is a folder, wanted is a JSON file"
                                      : "is not a regular file, wanted is a JSON file");
    sp_error_where(err, "%s", path);
    return SP_ERR_SYS;
}

enum sp_err sp_json_scan_file(const char *path, char **ret_text, size_t *ret_len,
                              struct sp_error *err)
{
    /* O_NONBLOCK: a FIFO in the place of a file must be an error, not a wait without end. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    size_t size;
    enum sp_err rc;

    if (fd < 0)
        return unreadable(err, path, errno);
    rc = check_file(fd, path, &size, err);
    if (!rc)
        rc = read_all(fd, path, size, ret_text, ret_len, err);
    close(fd);
    return rc;
}

static enum sp_err syntax(struct sp_error *err, const char *name, unsigned line, unsigned column,
                          const char *text)
{
    sp_error_set(err, SP_ERR_JSON, "%s", text);
    sp_error_where(err, "%s", name);
    if (err) {
        err->line = line;
        err->column = column;
    }
    return SP_ERR_JSON;
}

enum sp_err sp_json_scan(const char *name, const char **text, size_t *len, struct sp_error *err)
{
    static const char bom[] = "\xef\xbb\xbf";
    unsigned line = 1, column = 0, depth = 0;
    bool in_string = false;

    if (*len > SP_JSON_FILE_MAX)
        return too_large(err, name);
    if (*len >= 3 && !memcmp(*text, bom, 3)) {
        *text += 3;
        *len -= 3;
    }
    for (size_t i = 0; i < *len; i++) {
        char c = (*text)[i];

        column += (c & 0xc0) != 0x80; /* letters, not bytes */
        if (c == '\n') {
            line++;
            column = 0;
            in_string = false; /* no string goes on there: the parser will say so */
        } else if (c == '"') {
            in_string = !in_string;
        } else if (in_string && c == '\\') {
            i++; /* what follows is ASCII, or an error anyway */
            column++;
        } else if (!in_string && (c == '{' || c == '[')) {
            if (++depth > SP_JSON_DEPTH_MAX)
                return syntax(err, name, line, column, "nested deeper than 32");
        } else if (!in_string && (c == '}' || c == ']') && depth) {
            depth--;
        }
    }
    for (size_t i = 0; i < *len; i++)
        if (!strchr(" \t\r\n", (*text)[i]) || !(*text)[i])
            return SP_OK;
    return syntax(err, name, 1, 1, "is empty, wanted is a JSON object");
}
