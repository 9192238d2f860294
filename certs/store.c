#include "certs/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One file on its way: the descriptors stay open until all are written, so that the disk is waited
 * for once and not for every file. */
struct entry {
    const struct certs_store_file *file;
    const char *name; /* the last part of file->path */
    int dir_fd;       /* of the folder it is in; -1: not opened yet */
    int fd;           /* -1: not open */
    bool made_dir;    /* its folder did not exist before */
    bool made_file;
};

struct batch {
    const char *folder;
    int root_fd; /* -1: not open */
    bool made_root;
    struct entry *entries;
    size_t count;
};

static enum sp_err fail(const struct batch *b, const char *path, int errno_value, const char *what,
                        struct sp_error *err)
{
    sp_error_sys(err, errno_value, "%s", what);
    if (path)
        sp_error_where(err, "%s/%s", b->folder, path);
    else
        sp_error_where(err, "%s", b->folder);
    return SP_ERR_SYS;
}

/* "folder" of "folder/name" into buf; false: the file stands at the top. */
static bool folder_of(const char *path, char *buf, size_t buf_len)
{
    const char *slash = strchr(path, '/');

    if (!slash)
        return false;
    SP_REQUIRE((size_t)(slash - path) < buf_len && !strchr(slash + 1, '/'));
    memcpy(buf, path, (size_t)(slash - path));
    buf[slash - path] = '\0';
    return true;
}

static enum sp_err open_root(struct batch *b, struct sp_error *err)
{
    if (mkdir(b->folder, 0755) == 0)
        b->made_root = true;
    else if (errno != EEXIST)
        return fail(b, NULL, errno, "make folder", err);
    b->root_fd = open(b->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (b->root_fd < 0)
        return fail(b, NULL, errno, "open folder", err);
    return SP_OK;
}

static enum sp_err check_free(const struct batch *b, const struct certs_store_file *file,
                              struct sp_error *err)
{
    struct stat st;

    /* Not followed: a dangling link is in the way too. */
    if (fstatat(b->root_fd, file->path, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        sp_error_set(err, SP_ERR_DENIED,
                     "exists already and is not overwritten; nothing was written: move it away or "
                     "choose another folder");
        sp_error_where(err, "%s/%s", b->folder, file->path);
        return SP_ERR_DENIED;
    }
    return errno == ENOENT ? SP_OK : fail(b, file->path, errno, "look for it", err);
}

static enum sp_err open_folder(struct batch *b, struct entry *e, struct sp_error *err)
{
    char folder[256];

    if (!folder_of(e->file->path, folder, sizeof folder)) {
        e->dir_fd = fcntl(b->root_fd, F_DUPFD_CLOEXEC, 0);
        return e->dir_fd < 0 ? fail(b, NULL, errno, "open folder", err) : SP_OK;
    }
    if (mkdirat(b->root_fd, folder, 0755) == 0)
        e->made_dir = true;
    else if (errno != EEXIST)
        return fail(b, folder, errno, "make folder", err);
    /* Not followed: a link planted here would carry keys to where it points. */
    e->dir_fd = openat(b->root_fd, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return e->dir_fd < 0 ? fail(b, folder, errno, "open folder", err) : SP_OK;
}

static enum sp_err write_entry(struct batch *b, struct entry *e, struct sp_error *err)
{
    const char *rest = e->file->text;
    size_t len = strlen(rest);
    enum sp_err rc = open_folder(b, e, err);

    if (rc != SP_OK)
        return rc;
    e->fd = openat(e->dir_fd, e->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                   e->file->secret ? 0600 : 0644);
    if (e->fd < 0)
        return fail(b, e->file->path, errno, "create", err);
    e->made_file = true;
    while (len) {
        ssize_t n = write(e->fd, rest, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(b, e->file->path, errno, "write", err);
        rest += n;
        len -= (size_t)n;
    }
    return SP_OK;
}

/* Some file systems find out only here that the disk is full. EINVAL: one that cannot sync. */
static enum sp_err finish_entry(struct batch *b, struct entry *e, struct sp_error *err)
{
    int fd = e->fd;

    if (fsync(fd) < 0 && errno != EINVAL)
        return fail(b, e->file->path, errno, "write to disk", err);
    e->fd = -1;
    if (close(fd) < 0)
        return fail(b, e->file->path, errno, "close", err);
    if (fsync(e->dir_fd) < 0 && errno != EINVAL)
        return fail(b, e->file->path, errno, "write its folder to disk", err);
    return SP_OK;
}

static enum sp_err write_all(struct batch *b, struct sp_error *err)
{
    enum sp_err rc = open_root(b, err);

    for (size_t i = 0; rc == SP_OK && i < b->count; i++)
        rc = check_free(b, b->entries[i].file, err);
    for (size_t i = 0; rc == SP_OK && i < b->count; i++)
        rc = write_entry(b, &b->entries[i], err);
    for (size_t i = 0; rc == SP_OK && i < b->count; i++)
        rc = finish_entry(b, &b->entries[i], err);
    return rc;
}

/* Removes only what this call made; a folder somebody else put a file into meanwhile stays. */
static void undo(struct batch *b)
{
    for (size_t i = b->count; i-- > 0;) {
        struct entry *e = &b->entries[i];
        char folder[256];

        if (e->made_file)
            unlinkat(e->dir_fd, e->name, 0);
        if (e->made_dir && folder_of(e->file->path, folder, sizeof folder))
            unlinkat(b->root_fd, folder, AT_REMOVEDIR);
    }
    if (b->made_root)
        rmdir(b->folder);
}

static void close_all(struct batch *b)
{
    for (size_t i = 0; i < b->count; i++) {
        if (b->entries[i].fd >= 0)
            close(b->entries[i].fd);
        if (b->entries[i].dir_fd >= 0)
            close(b->entries[i].dir_fd);
    }
    if (b->root_fd >= 0)
        close(b->root_fd);
}

enum sp_err certs_store_write(const char *folder, const struct certs_store_file *files,
                              size_t count, struct sp_error *err)
{
    SP_AUTO_FREE struct entry *entries = sp_calloc(count, sizeof *entries);
    struct batch b = {.folder = folder, .root_fd = -1, .entries = entries, .count = count};
    enum sp_err rc;

    for (size_t i = 0; i < count; i++) {
        const char *slash = strrchr(files[i].path, '/');

        entries[i] = (struct entry){.file = &files[i], .dir_fd = -1, .fd = -1};
        entries[i].name = slash ? slash + 1 : files[i].path;
    }
    rc = write_all(&b, err);
    if (rc != SP_OK)
        undo(&b);
    close_all(&b);
    return rc;
}
