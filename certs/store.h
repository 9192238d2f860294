/*
 * store: a set of files written into a folder, all of them or none.
 *
 * Nothing that exists is ever replaced, followed or changed. Secret files have mode 0600 from their
 * first byte. What is reported as written has reached the disk. Blocking; any thread.
 */
#ifndef SALLYPORT_CERTS_STORE_H
#define SALLYPORT_CERTS_STORE_H
#include "common/error.h"
#include <stddef.h>

struct certs_store_file {
    const char *path; /* "name" or "folder/name", below the folder given to certs_store_write */
    const char *text; /* borrowed; NUL-terminated */
    bool secret;      /* mode 0600 instead of 0644 (before the umask) */
};

/* Makes `folder` (its parent must exist) and the folders below it where they are missing. All names
 * are looked at before the first is written: one that is taken is SP_ERR_DENIED and err names it.
 * On any failure every file and folder this call made is removed again. */
SP_MUST_USE enum sp_err certs_store_write(const char *folder, const struct certs_store_file *files,
                                          size_t count, struct sp_error *err);
#endif
