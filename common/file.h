/*
 * file: a whole file in memory, for what is read at start and reload: certificates, keys,
 * configuration; and for what is kept over a restart. Blocking I/O: never on a loop's path.
 * Thread-safe: no shared state.
 */
#ifndef SALLYPORT_COMMON_FILE_H
#define SALLYPORT_COMMON_FILE_H
#include "common/error.h"
#include <stdbool.h>
#include <stdint.h>

/* Owned by its reader, ended with sp_file_done. mode and owner are those of the very file that was
 * read, not of what a path may name a moment later. */
struct sp_file {
    uint8_t *data; /* len bytes, then a NUL */
    size_t len;
    unsigned mode;  /* permission bits, 07777 */
    unsigned owner; /* uid */
};

/* Only regular files, at most max bytes. Errors have the path in .where; SP_ERR_SYS (cannot be
 * opened or read), SP_ERR_CONFIG (not a regular file), SP_ERR_LIMIT (too large). */
SP_MUST_USE enum sp_err sp_file_read(const char *path, size_t max, struct sp_file *ret_file,
                                     struct sp_error *err);
/* What tells whether a file is still the one that was read: of its times, size and inode. Taken
 * before it is read. 0: there is no such file, or it was changed so lately that it may change once
 * more without a trace (the clock of a file system ticks slowly): equal to nothing. */
uint64_t sp_file_stamp(const char *path);
/* The same, with what else can be told without reading it. */
struct sp_file_look {
    uint64_t stamp;
    bool may_read; /* a regular file that is not empty, and we may read it */
    unsigned mode, owner;
};
void sp_file_look(const char *path, struct sp_file_look *ret_look);
/* Overwrites the bytes (they may be a key), frees them; a zeroed struct is fine. */
void sp_file_done(struct sp_file *file);
/* Puts a file in the place of what was there, whole or not at all: written beside it (path +
 * ".new", mode 0600), on the disk, then renamed. */
SP_MUST_USE enum sp_err sp_file_replace(const char *path, const void *data, size_t len,
                                        struct sp_error *err);
#endif
