#include "common/dir_watch.h"

#include "common/loop.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>
#include <uv.h>

/* Not IN_MODIFY: a file that is half written is nobody's business. */
#define WHAT                                                                                       \
    (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF |    \
     IN_ATTRIB | IN_ONLYDIR)
#define WHOLE (IN_Q_OVERFLOW | IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT)

struct sp_dir_watch {
    struct sp_loop *loop;
    uv_poll_t poll;
    int fd;
    struct sp_timer *quiet;
    sp_dir_watch_cb on_change;
    void *ctx;
    char **names;
    size_t count;
    bool whole;        /* not only these */
    uint64_t first_ms; /* of what is gathered */
};

static void forget(struct sp_dir_watch *w)
{
    for (size_t i = 0; i < w->count; i++)
        free(w->names[i]);
    w->count = 0;
    w->whole = false;
}

static void on_quiet(void *ctx)
{
    struct sp_dir_watch *w = ctx;
    char **names = w->names;
    size_t count = w->count;
    bool whole = w->whole;

    /* Ours no longer: the callback may free us. */
    w->names = NULL;
    w->count = 0;
    w->whole = false;
    w->on_change(w->ctx, whole ? NULL : (const char *const *)names, whole ? 0 : count);
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

static bool is_gathered(const struct sp_dir_watch *w, const char *name)
{
    return w->count && !strcmp(w->names[w->count - 1], name);
}

static void gather(struct sp_dir_watch *w, const struct inotify_event *event)
{
    if (event->mask & WHOLE)
        w->whole = true;
    if (!event->len || w->whole || is_gathered(w, event->name))
        return;
    if (w->count == SP_WATCH_NAMES) {
        forget(w);
        w->whole = true;
        return;
    }
    if (!w->names)
        w->names = sp_calloc(SP_WATCH_NAMES, sizeof(char *));
    w->names[w->count++] = sp_strdup(event->name);
}

static void gather_all(struct sp_dir_watch *w, const char *buf, size_t len)
{
    size_t at = 0;

    while (at < len) {
        const struct inotify_event *event = (const void *)(buf + at);

        gather(w, event);
        at += sizeof *event + event->len;
    }
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct sp_dir_watch *w = poll->data;
    _Alignas(struct inotify_event) char buf[16 * (sizeof(struct inotify_event) + NAME_MAX + 1)];
    bool had_some = w->count || w->whole;
    uint64_t now = sp_loop_now_ms(w->loop), waited;
    ssize_t len;

    (void)status;
    (void)events;
    while ((len = read(w->fd, buf, sizeof buf)) > 0)
        gather_all(w, buf, (size_t)len);
    if (!w->count && !w->whole)
        return;
    if (!had_some)
        w->first_ms = now;
    waited = now - w->first_ms;
    if (waited >= SP_WATCH_MOST_MS)
        waited = SP_WATCH_MOST_MS;
    sp_timer_start(w->quiet, SP_WATCH_MOST_MS - waited < SP_WATCH_QUIET_MS
                                 ? SP_WATCH_MOST_MS - waited
                                 : SP_WATCH_QUIET_MS);
}

enum sp_err sp_dir_watch_new(struct sp_loop *loop, const char *folder, sp_dir_watch_cb on_change,
                             void *ctx, struct sp_dir_watch **ret_watch, struct sp_error *err)
{
    int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    struct sp_dir_watch *w;

    if (fd < 0)
        return sp_error_sys(err, errno, "inotify");
    if (inotify_add_watch(fd, folder, WHAT) < 0) {
        sp_error_sys(err, errno, "%s: cannot be watched", folder);
        close(fd);
        return SP_ERR_SYS;
    }
    w = sp_calloc(1, sizeof *w);
    w->loop = loop;
    w->fd = fd;
    w->on_change = on_change;
    w->ctx = ctx;
    w->quiet = sp_timer_new(loop, on_quiet, w);
    w->poll.data = w;
    SP_REQUIRE(uv_poll_init(sp_loop_uv(loop), &w->poll, fd) == 0);
    SP_REQUIRE(uv_poll_start(&w->poll, UV_READABLE, on_readable) == 0);
    *ret_watch = w;
    return SP_OK;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void sp_dir_watch_free(struct sp_dir_watch *w)
{
    if (!w)
        return;
    forget(w);
    free(w->names);
    sp_timer_free(w->quiet);
    uv_poll_stop(&w->poll);
    close(w->fd);
    uv_close((uv_handle_t *)&w->poll, on_closed);
}
