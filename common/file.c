#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TICK_NS ((int64_t)50 * 1000 * 1000) /* of the slowest clock that stamps files, amply */

static enum sp_err read_all(int fd, size_t max, struct sp_file *file, struct sp_error *err)
{
    struct stat st;
    size_t wanted;

    if (fstat(fd, &st) < 0)
        return sp_error_sys(err, errno, "cannot be examined");
    if (!S_ISREG(st.st_mode))
        return sp_error_set(err, SP_ERR_CONFIG, "is not a regular file");
    if (st.st_size < 0 || (uintmax_t)st.st_size > max)
        return sp_error_set(err, SP_ERR_LIMIT, "is too large: %lld bytes, %zu at most",
                            (long long)st.st_size, max);
    wanted = (size_t)st.st_size;
    file->mode = (unsigned)st.st_mode & 07777;
    file->owner = (unsigned)st.st_uid;
    file->data = sp_calloc(wanted + 1, 1);
    while (file->len < wanted) {
        ssize_t n = read(fd, file->data + file->len, wanted - file->len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return sp_error_sys(err, errno, "cannot be read");
        if (n == 0)
            break;
        file->len += (size_t)n;
    }
    return SP_OK;
}

enum sp_err sp_file_read(const char *path, size_t max, struct sp_file *ret_file,
                         struct sp_error *err)
{
    struct sp_file file = {0};
    enum sp_err rc;
    int fd;

    /* O_NONBLOCK: opening a FIFO must not wait for a writer that never comes. */
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        rc = sp_error_sys(err, errno, "cannot be opened");
    } else {
        rc = read_all(fd, max, &file, err);
        close(fd);
    }
    if (rc != SP_OK) {
        sp_error_where(err, "%s", path);
        sp_file_done(&file);
        return rc;
    }
    *ret_file = file;
    return SP_OK;
}

void sp_file_done(struct sp_file *file)
{
    if (file->data)
        explicit_bzero(file->data, file->len);
    free(file->data);
    *file = (struct sp_file){0};
}

static int64_t in_ns(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint64_t stamp_of(const struct stat *st)
{
    const uint64_t odd = 0x9e3779b97f4a7c15; /* spreads; no secret, nobody gains from a collision */
    struct timespec now;
    uint64_t stamp;

    if (clock_gettime(CLOCK_REALTIME, &now) < 0 || in_ns(st->st_ctim) > in_ns(now) - TICK_NS)
        return 0;
    stamp = (uint64_t)in_ns(st->st_mtim) * odd; /* most often it is the other time too */
    stamp = (stamp ^ stamp >> 32 ^ (uint64_t)in_ns(st->st_ctim)) * odd;
    stamp = (stamp ^ stamp >> 32 ^ (uint64_t)st->st_size) * odd;
    stamp = (stamp ^ stamp >> 32 ^ (uint64_t)st->st_ino ^ (uint64_t)st->st_dev << 40) * odd;
    return stamp ? stamp : 1;
}

uint64_t sp_file_stamp(const char *path)
{
    struct stat st;

    return stat(path, &st) < 0 ? 0 : stamp_of(&st);
}

void sp_file_look(const char *path, struct sp_file_look *ret_look)
{
    struct stat st;

    *ret_look = (struct sp_file_look){.stamp = 0};
    if (stat(path, &st) < 0)
        return;
    ret_look->stamp = stamp_of(&st);
    ret_look->mode = (unsigned)st.st_mode & 07777;
    ret_look->owner = (unsigned)st.st_uid;
    ret_look->may_read = S_ISREG(st.st_mode) && st.st_size > 0 &&
                         (!geteuid() || !faccessat(AT_FDCWD, path, R_OK, AT_EACCESS));
}

static int write_all(int fd, const uint8_t *data, size_t len)
{
    while (len) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n ? errno : EIO;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

enum sp_err sp_file_replace(const char *path, const void *data, size_t len, struct sp_error *err)
{
    SP_AUTO_FREE char *next = NULL;
    int failure = 0, fd;

    SP_REQUIRE(asprintf(&next, "%s.new", path) >= 0);
    unlink(next); /* left by a crash; and no link is followed */
    fd = open(next, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return sp_error_sys(err, errno, "%s: cannot be written", next);
    failure = write_all(fd, data, len);
    if (!failure && fsync(fd) < 0)
        failure = errno;
    if (close(fd) < 0 && !failure)
        failure = errno;
    if (!failure && rename(next, path) < 0)
        failure = errno;
    if (!failure)
        return SP_OK;
    unlink(next);
    return sp_error_sys(err, failure, "%s: cannot be written", path);
}
