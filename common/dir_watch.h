/*
 * watch: which files of one folder were written, added or removed, by name, as the kernel tells
 * (inotify). A file that is being written is told when its writer closes it; what is renamed into
 * the folder, at once.
 *
 * Changes are gathered until nothing more has come for a moment, so that a hundred files of one
 * deployment are one callback. Loop thread only.
 */
#ifndef SALLYPORT_COMMON_DIR_WATCH_H
#define SALLYPORT_COMMON_DIR_WATCH_H
#include "common/error.h"
#include <stddef.h>
#include <stdint.h>

struct sp_loop;
struct sp_dir_watch; /* opaque */

#define SP_WATCH_QUIET_MS 10  /* nothing for so long: the callback */
#define SP_WATCH_MOST_MS  100 /* or so long after the first change */
#define SP_WATCH_NAMES    4096

/* names: NULL: too many to tell, or the folder itself went: look at all of it. Borrowed. */
typedef void (*sp_dir_watch_cb)(void *ctx, const char *const *names, size_t count);

/* The folder must be there. */
SP_MUST_USE enum sp_err sp_dir_watch_new(struct sp_loop *loop, const char *folder,
                                         sp_dir_watch_cb on_change, void *ctx,
                                         struct sp_dir_watch **ret_watch, struct sp_error *err);
void sp_dir_watch_free(struct sp_dir_watch *watch); /* NULL is fine */
#endif
