#include "agent/unix_listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};

    SP_REQUIRE(strlen(path) < sizeof sa.sun_path);
    memcpy(sa.sun_path, path, strlen(path) + 1);
    return sa;
}

static bool is_that_file(const char *path, const struct agent_unix_file *file)
{
    struct stat st;

    return lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_dev == file->dev &&
           st.st_ino == file->ino;
}

/* 0: it is answered; else why not. Never waits. */
static int try_connect(const char *path)
{
    struct sockaddr_un sa = address_of(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int rc = fd < 0 || connect(fd, (const struct sockaddr *)&sa, sizeof sa) < 0 ? errno : 0;

    if (fd >= 0)
        close(fd);
    return rc == EAGAIN ? 0 : rc; /* its queue is full */
}

/* Whether the name is free, or held by a socket that has died (*ret_stale). */
static enum sp_err look(const char *path, bool *ret_stale, struct sp_error *err)
{
    struct stat st;
    int why;

    *ret_stale = false;
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? SP_OK : sp_error_sys(err, errno, "cannot look at the socket");
    if (!S_ISSOCK(st.st_mode))
        return sp_error_set(err, SP_ERR_CONFIG,
                            "there is a file of that name which is no socket; it is left alone");
    why = try_connect(path);
    if (!why)
        return sp_error_code(err, SP_ERR_SYS, EADDRINUSE, "another process listens at this socket");
    if (why == ENOENT) /* gone in between */
        return SP_OK;
    if (why != ECONNREFUSED)
        return sp_error_sys(err, why, "cannot tell whether anybody listens at this socket");
    *ret_stale = true;
    return SP_OK;
}

/* Bound under a name of our own, beside its place: nobody meets it before it is complete. */
static enum sp_err bind_beside(int fd, const char *beside, mode_t mode,
                               struct agent_unix_file *ret_file, struct sp_error *err)
{
    struct sockaddr_un sa = address_of(beside);
    struct stat st;

    /* The file takes its mode from the socket's inode, less the umask; chmod gives back what that
     * took. At no time has it more than `mode`. */
    if (fchmod(fd, mode) < 0 || bind(fd, (const struct sockaddr *)&sa, sizeof sa) < 0)
        return sp_error_sys(err, errno, "cannot make the socket");
    if (chmod(beside, mode) < 0 || listen(fd, SOMAXCONN) < 0 || lstat(beside, &st) < 0) {
        enum sp_err rc = sp_error_sys(err, errno, "cannot set up the socket");

        unlink(beside);
        return rc;
    }
    *ret_file = (struct agent_unix_file){.dev = st.st_dev, .ino = st.st_ino};
    return SP_OK;
}

/* A name in the same folder. False: it would be too long. */
static bool name_beside(const char *path, char beside[AGENT_UNIX_PATH_MAX + 1])
{
    const char *slash = strrchr(path, '/');
    size_t folder_len = slash ? (size_t)(slash - path) + 1 : 0;
    char name[16];

    snprintf(name, sizeof name, ".%x", (unsigned)getpid());
    if (folder_len + strlen(name) > AGENT_UNIX_PATH_MAX)
        return false;
    memcpy(beside, path, folder_len);
    memcpy(beside + folder_len, name, strlen(name) + 1);
    return true;
}

static enum sp_err put_in_place(const char *beside, const char *path, bool replaces,
                                struct sp_error *err)
{
    int done = renameat2(AT_FDCWD, beside, AT_FDCWD, path, replaces ? 0 : RENAME_NOREPLACE);
    enum sp_err rc;

    if (done < 0 && errno == EINVAL) /* a file system that cannot promise it */
        done = rename(beside, path);
    if (done == 0)
        return SP_OK;
    rc = sp_error_sys(err, errno, "cannot give the socket its name");
    unlink(beside);
    return rc;
}

enum sp_err agent_unix_listen(const char *path, mode_t mode, int *ret_fd,
                              struct agent_unix_file *ret_file, struct sp_error *err)
{
    char beside[AGENT_UNIX_PATH_MAX + 1];
    bool stale;
    int fd;
    enum sp_err rc = look(path, &stale, err);

    if (rc != SP_OK)
        return rc;
    if (!name_beside(path, beside))
        return sp_error_set(err, SP_ERR_CONFIG, "the name of its folder is too long");
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return sp_error_sys(err, errno, "cannot make a socket");
    rc = bind_beside(fd, beside, mode, ret_file, err);
    if (rc == SP_OK)
        rc = put_in_place(beside, path, stale, err);
    if (rc != SP_OK) {
        close(fd);
        return rc;
    }
    *ret_fd = fd;
    return SP_OK;
}

enum sp_err agent_unix_chmod(const char *path, const struct agent_unix_file *file, mode_t mode,
                             struct sp_error *err)
{
    if (!is_that_file(path, file))
        return sp_error_set(err, SP_ERR_CONFIG, "%s is not this door's socket any more", path);
    if (chmod(path, mode) < 0)
        return sp_error_sys(err, errno, "%s: cannot set its mode", path);
    return SP_OK;
}

void agent_unix_remove(const char *path, const struct agent_unix_file *file)
{
    if (is_that_file(path, file))
        unlink(path);
}
