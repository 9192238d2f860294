#include "certs/store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDERS_MAX 16
#define NAME_LEN    256

struct folder {
    char name[NAME_LEN]; /* "" is the top */
    int fd;              /* -1: not opened yet */
    bool made;           /* did not exist before */
};

/* One file on its way: descriptors stay open until all files are written, so that the disk is
 * waited for once and not for every file. */
struct entry {
    const struct certs_store_file *file;
    const char *name; /* the last part of file->path */
    struct folder *folder;
    int fd; /* -1: not open */
    bool made;
};

struct batch {
    const char *path;
    struct folder folders[FOLDERS_MAX]; /* the top is the first */
    size_t folder_count;
    struct entry *entries;
    size_t count;
};

static enum sp_err fail(const struct batch *b, const char *name, int errno_value, const char *what,
                        struct sp_error *err)
{
    sp_error_sys(err, errno_value, "%s", what);
    sp_error_where(err, *name ? "%s/%s" : "%s", b->path, name);
    return SP_ERR_SYS;
}

static struct folder *add_folder(struct batch *b, const char *name, size_t len)
{
    struct folder *folder;

    for (size_t i = 0; i < b->folder_count; i++)
        if (strlen(b->folders[i].name) == len && !memcmp(b->folders[i].name, name, len))
            return &b->folders[i];
    SP_REQUIRE(b->folder_count < FOLDERS_MAX && len < NAME_LEN);
    folder = &b->folders[b->folder_count++];
    memcpy(folder->name, name, len);
    folder->fd = -1;
    return folder;
}

static void add_entry(struct batch *b, const struct certs_store_file *file)
{
    const char *slash = strchr(file->path, '/');
    struct entry *e = &b->entries[b->count++];

    SP_REQUIRE(!slash || !strchr(slash + 1, '/'));
    e->file = file;
    e->name = slash ? slash + 1 : file->path;
    e->folder = add_folder(b, file->path, slash ? (size_t)(slash - file->path) : 0);
    e->fd = -1;
}

static enum sp_err open_top(struct batch *b, struct sp_error *err)
{
    struct folder *top = &b->folders[0];

    if (mkdir(b->path, 0755) == 0)
        top->made = true;
    else if (errno != EEXIST)
        return fail(b, "", errno, "make folder", err);
    top->fd = open(b->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return top->fd < 0 ? fail(b, "", errno, "open folder", err) : SP_OK;
}

static enum sp_err open_folder(struct batch *b, struct folder *folder, struct sp_error *err)
{
    int top = b->folders[0].fd;

    if (folder->fd >= 0)
        return SP_OK;
    if (mkdirat(top, folder->name, 0755) == 0)
        folder->made = true;
    else if (errno != EEXIST)
        return fail(b, folder->name, errno, "make folder", err);
    /* Not followed: a link planted here would carry keys to where it points. */
    folder->fd = openat(top, folder->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return folder->fd < 0 ? fail(b, folder->name, errno, "open folder", err) : SP_OK;
}

static enum sp_err check_free(const struct batch *b, const struct certs_store_file *file,
                              struct sp_error *err)
{
    struct stat st;

    /* Not followed: a dangling link is in the way too. */
    if (fstatat(b->folders[0].fd, file->path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? SP_OK : fail(b, file->path, errno, "look for it", err);
    sp_error_set(err, SP_ERR_DENIED,
                 "exists already and is not overwritten; nothing was written: move it away or "
                 "choose another folder");
    sp_error_where(err, "%s/%s", b->path, file->path);
    return SP_ERR_DENIED;
}

static enum sp_err write_entry(struct batch *b, struct entry *e, struct sp_error *err)
{
    const char *rest = e->file->text;
    size_t len = strlen(rest);
    enum sp_err rc = open_folder(b, e->folder, err);

    if (rc != SP_OK)
        return rc;
    e->fd = openat(e->folder->fd, e->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                   e->file->secret ? 0600 : 0644);
    if (e->fd < 0)
        return fail(b, e->file->path, errno, "create", err);
    e->made = true;
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
static enum sp_err sync_and_close(const struct batch *b, const char *name, int *fd,
                                  struct sp_error *err)
{
    int closing = *fd;

    if (fsync(closing) < 0 && errno != EINVAL)
        return fail(b, name, errno, "write to disk", err);
    *fd = -1;
    return close(closing) < 0 ? fail(b, name, errno, "close", err) : SP_OK;
}

static enum sp_err write_all(struct batch *b, struct sp_error *err)
{
    enum sp_err rc = open_top(b, err);

    for (size_t i = 0; rc == SP_OK && i < b->count; i++)
        rc = check_free(b, b->entries[i].file, err);
    for (size_t i = 0; rc == SP_OK && i < b->count; i++)
        rc = write_entry(b, &b->entries[i], err);
    for (size_t i = 0; rc == SP_OK && i < b->count; i++)
        rc = sync_and_close(b, b->entries[i].file->path, &b->entries[i].fd, err);
    /* The names are in the folders, which stay open: undo may still need them. */
    for (size_t i = 0; rc == SP_OK && i < b->folder_count; i++)
        if (fsync(b->folders[i].fd) < 0 && errno != EINVAL)
            rc = fail(b, b->folders[i].name, errno, "write folder to disk", err);
    return rc;
}

/* Removes only what this call made; a folder somebody else put a file into meanwhile stays. */
static void undo(struct batch *b)
{
    for (size_t i = 0; i < b->count; i++)
        if (b->entries[i].made)
            unlinkat(b->entries[i].folder->fd, b->entries[i].name, 0);
    for (size_t i = 1; i < b->folder_count; i++)
        if (b->folders[i].made)
            unlinkat(b->folders[0].fd, b->folders[i].name, AT_REMOVEDIR);
    if (b->folders[0].made)
        rmdir(b->path);
}

static void close_all(struct batch *b)
{
    for (size_t i = 0; i < b->count; i++)
        if (b->entries[i].fd >= 0)
            close(b->entries[i].fd);
    for (size_t i = 0; i < b->folder_count; i++)
        if (b->folders[i].fd >= 0)
            close(b->folders[i].fd);
}

enum sp_err certs_store_write(const char *folder, const struct certs_store_file *files,
                              size_t count, struct sp_error *err)
{
    SP_AUTO_FREE struct entry *entries = sp_calloc(count, sizeof *entries);
    struct batch b = {.path = folder, .entries = entries};
    enum sp_err rc;

    add_folder(&b, "", 0);
    for (size_t i = 0; i < count; i++)
        add_entry(&b, &files[i]);
    rc = write_all(&b, err);
    if (rc != SP_OK)
        undo(&b);
    close_all(&b);
    return rc;
}
