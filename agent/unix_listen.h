/*
 * unix_listen: listening UNIX sockets with a name in the file system. The file has its mode from
 * its first moment, takes the place of one at which nobody listens any more, and goes with its
 * socket. Blocking, at start and reload only; no shared state.
 */
#ifndef SALLYPORT_AGENT_UNIX_LISTEN_H
#define SALLYPORT_AGENT_UNIX_LISTEN_H
#include "common/error.h"
#include <sys/types.h>

#define AGENT_UNIX_PATH_MAX 107 /* struct sockaddr_un, with its NUL */

/* The very file that was made: who removes it sees to it that no other has taken its place. */
struct agent_unix_file {
    dev_t dev;
    ino_t ino;
};

/* mode: permission bits. Somebody listens there, or there is something that is no socket: an error
 * that says so (without the path). */
SP_MUST_USE enum sp_err agent_unix_listen(const char *path, mode_t mode, int *ret_fd,
                                          struct agent_unix_file *ret_file, struct sp_error *err);
/* Another mode for the same file. */
SP_MUST_USE enum sp_err agent_unix_chmod(const char *path, const struct agent_unix_file *file,
                                         mode_t mode, struct sp_error *err);
/* Unless another file has its name now. */
void agent_unix_remove(const char *path, const struct agent_unix_file *file);
#endif
