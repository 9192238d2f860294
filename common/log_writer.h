/*
 * log_writer: puts the lines of a log into its file from a thread of its own, so that a disk that
 * is slow, or another thread in the middle of a write, holds up nobody who has something to say.
 *
 * Lines wait in memory for 5 ms at most before they are written, many at a time; a program that is
 * killed loses these. SP_LOG_WAITING_MAX bytes may wait for a disk that hangs; beyond them, and
 * when the file takes no more (full disk, closed pipe), lines are lost and counted. Any thread.
 */
#ifndef SALLYPORT_COMMON_LOG_WRITER_H
#define SALLYPORT_COMMON_LOG_WRITER_H
#include "common/error.h"
#include <stddef.h>

struct sp_log_writer; /* opaque */

#define SP_LOG_WAITING_MAX (4 * 1024 * 1024)
#define SP_LOG_NOTICE_MAX  160

/* Makes the line that tells how many were lost; called by the writer's thread, which holds the
 * lock: it must not log. */
typedef size_t sp_log_notice(void *ctx, unsigned long long lost, char buf[SP_LOG_NOTICE_MAX]);

/* fd is taken over, but on an error. */
SP_MUST_USE enum sp_err sp_log_writer_new(int fd, sp_log_notice *notice, void *ctx,
                                          struct sp_log_writer **ret_writer, struct sp_error *err);
/* A whole line with its newline; copied. */
void sp_log_writer_put(struct sp_log_writer *writer, const char *line, size_t len);
/* Returns when everything put so far is written, or lost; after two seconds in any case. */
void sp_log_writer_flush(struct sp_log_writer *writer);
/* Flushes, then puts the file of new_fd behind fd in one step (dup3); new_fd stays the caller's.
 * 0, or errno. */
SP_MUST_USE int sp_log_writer_switch(struct sp_log_writer *writer, int new_fd);
/* Flushes, the notice of lines lost last included, and ends the thread; where it hangs in a write
 * for two seconds it is left to itself. NULL is fine. */
void sp_log_writer_free(struct sp_log_writer *writer);
#endif
