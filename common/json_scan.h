/*
 * json_scan: JSON text before a parser sees it: read from its file, within bounds of size and
 * depth. Thread-safe. For json_bind.c alone.
 */
#ifndef SALLYPORT_COMMON_JSON_SCAN_H
#define SALLYPORT_COMMON_JSON_SCAN_H
#include "common/error.h"

#define SP_JSON_FILE_MAX  (16U << 20)
#define SP_JSON_DEPTH_MAX 32

/* Reads a regular file; the caller frees *ret_text. SP_ERR_SYS or SP_ERR_LIMIT with .where. */
SP_MUST_USE enum sp_err sp_json_scan_file(const char *path, char **ret_text, size_t *ret_len,
                                          struct sp_error *err);
/* Checks size and depth, and leaves out a byte order mark at the beginning. SP_ERR_JSON with line
 * and column, or SP_ERR_LIMIT. */
SP_MUST_USE enum sp_err sp_json_scan(const char *name, const char **text, size_t *len,
                                     struct sp_error *err);
#endif
