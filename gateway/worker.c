#include "gateway/worker.h"

#include "common/log.h"
#include "common/loop.h"
#include "common/sock.h"
#include "gateway/balance.h"
#include "gateway/live.h"
#include "gateway/registry.h"
#include "gateway/session.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLOSE_MS 2000 /* for an orderly end, before it is a quick one */

enum end { END_NONE, END_DRAIN, END_CLOSE, END_ABORT };

/* What the main thread wants. */
struct mail {
    struct gw_registry *registry; /* NULL: no reload */
    struct gw_listen_change *changes;
    size_t change_count;
    struct gw_live_key *statuses;
    size_t status_count, status_room;
    enum end end;
};

struct gw_worker {
    struct gw_worker_options options;
    pthread_t thread;
    pthread_mutex_t mail_lock; /* control path only */
    pthread_cond_t mail_done;
    struct mail mail;
    struct sp_async *wake;
    atomic_bool drained;
    /* The worker's thread alone: */
    struct sp_loop *loop;
    struct gw_sessions *sessions;
    struct sp_listener **listeners;
    size_t listener_count;
    struct sp_timer *closing;
    enum end end;
};

static void on_accept(void *ctx, int fd, const struct sp_addr *peer)
{
    struct gw_worker *w = ctx;

    if (gw_balance_keeps(w->options.balance, w->options.number, fd, peer))
        gw_sessions_accept(w->sessions, fd, peer);
}

static void on_trouble(void *ctx, int errno_value)
{
    struct gw_worker *w = ctx;

    sp_log_message(w->options.log, SP_LOG_ERROR, "trouble", "accept: %s",
                   strerrordesc_np(errno_value));
}

static const struct sp_listener_callbacks listener_callbacks = {on_accept, on_trouble};

static struct sp_listener *listen_on(struct gw_worker *w, int fd)
{
    struct sp_listener *listener = NULL;
    struct sp_error err;

    if (sp_listener_new(w->loop, fd, &listener_callbacks, w, &listener, &err) != SP_OK) {
        sp_log_message(w->options.log, SP_LOG_ERROR, "trouble", "listen: %s", err.text);
        close(fd);
    }
    return listener;
}

static void free_listeners(struct gw_worker *w)
{
    for (size_t i = 0; i < w->listener_count; i++)
        sp_listener_free(w->listeners[i]);
    free(w->listeners);
    w->listeners = NULL;
    w->listener_count = 0;
}

static void change_listeners(struct gw_worker *w, const struct gw_listen_change *changes,
                             size_t count)
{
    struct sp_listener **kept = sp_calloc(count, sizeof(struct sp_listener *));

    for (size_t i = 0; i < count; i++) {
        if (changes[i].keep < 0) {
            kept[i] = listen_on(w, changes[i].fd);
        } else {
            kept[i] = w->listeners[changes[i].keep];
            w->listeners[changes[i].keep] = NULL;
        }
    }
    free_listeners(w);
    w->listeners = kept;
    w->listener_count = count;
}

static void check_over(struct gw_worker *w)
{
    if (w->end == END_NONE || gw_sessions_count(w->sessions))
        return;
    atomic_store(&w->drained, true);
    sp_async_send(w->options.on_drained);
    if (w->end >= END_CLOSE)
        sp_loop_stop(w->loop);
}

static void on_empty(void *ctx)
{
    check_over(ctx);
}

static void on_closing_late(void *ctx)
{
    struct gw_worker *w = ctx;

    gw_sessions_abort(w->sessions);
}

static void begin_end(struct gw_worker *w, enum end end)
{
    w->end = end;
    free_listeners(w);
    gw_balance_leave(w->options.balance, w->options.number);
    if (end == END_DRAIN) {
        gw_sessions_drain(w->sessions);
    } else if (end == END_CLOSE) {
        gw_sessions_close(w->sessions);
        sp_timer_start(w->closing, CLOSE_MS);
    } else {
        gw_sessions_abort(w->sessions);
    }
    check_over(w);
}

static void take_given(struct gw_worker *w)
{
    struct sp_addr peer;
    int fd;

    while (gw_balance_next(w->options.balance, w->options.number, &fd, &peer))
        gw_sessions_accept(w->sessions, fd, &peer);
}

static void on_wake(void *ctx)
{
    struct gw_worker *w = ctx;
    struct mail mail;

    pthread_mutex_lock(&w->mail_lock);
    mail = w->mail;
    w->mail.statuses = NULL;
    w->mail.status_count = w->mail.status_room = 0;
    pthread_mutex_unlock(&w->mail_lock);
    for (size_t i = 0; i < mail.status_count; i++)
        gw_sessions_on_status(w->sessions, &mail.statuses[i]);
    free(mail.statuses);
    if (mail.registry) {
        change_listeners(w, mail.changes, mail.change_count);
        gw_sessions_reload(w->sessions, mail.registry);
        gw_registry_unref(mail.registry);
        free(mail.changes);
        pthread_mutex_lock(&w->mail_lock);
        w->mail.registry = NULL;
        w->mail.changes = NULL;
        w->mail.change_count = 0;
        pthread_cond_signal(&w->mail_done);
        pthread_mutex_unlock(&w->mail_lock);
    }
    if (mail.end > w->end)
        begin_end(w, mail.end);
    take_given(w);
}

static void *worker_main(void *arg)
{
    struct gw_worker *w = arg;

    sp_loop_run(w->loop);
    return NULL;
}

/* Undoes everything but the thread: of a worker that did not start, or has ended. */
static void worker_free(struct gw_worker *w)
{
    gw_balance_leave(w->options.balance, w->options.number);
    free_listeners(w);
    gw_sessions_free(w->sessions);
    sp_timer_free(w->closing);
    sp_async_free(w->wake);
    if (w->loop)
        sp_loop_free(w->loop);
    gw_registry_unref(w->mail.registry);
    for (size_t i = 0; i < w->mail.change_count; i++) {
        if (w->mail.changes[i].keep < 0)
            close(w->mail.changes[i].fd);
    }
    free(w->mail.changes);
    free(w->mail.statuses);
    pthread_cond_destroy(&w->mail_done);
    pthread_mutex_destroy(&w->mail_lock);
    free(w);
}

enum sp_err gw_worker_start(const struct gw_worker_options *options, struct gw_registry *registry,
                            const int *fds, size_t fd_count, struct gw_worker **ret_worker,
                            struct sp_error *err)
{
    struct gw_worker *w = sp_calloc(1, sizeof *w);
    struct gw_sessions_options sessions = {
        .log = options->log,
        .params = {options->params[0], options->params[1]},
        .connections = options->connections,
        .balance = options->balance,
        .sources = options->sources,
        .ocsp = options->ocsp,
        .worker = options->number,
        .on_empty = on_empty,
        .ctx = w,
    };
    enum sp_err rc;
    int thread_rc;

    w->options = *options;
    pthread_mutex_init(&w->mail_lock, NULL);
    pthread_cond_init(&w->mail_done, NULL);
    rc = sp_loop_new(&w->loop, err);
    if (rc == SP_OK) {
        sessions.loop = w->loop;
        w->wake = sp_async_new(w->loop, on_wake, w);
        w->closing = sp_timer_new(w->loop, on_closing_late, w);
        rc = gw_sessions_new(&sessions, registry, &w->sessions, err);
    }
    if (rc != SP_OK) {
        for (size_t i = 0; i < fd_count; i++)
            close(fds[i]);
        worker_free(w);
        return rc;
    }
    w->listeners = sp_calloc(fd_count, sizeof(struct sp_listener *));
    w->listener_count = fd_count;
    for (size_t i = 0; i < fd_count; i++)
        w->listeners[i] = listen_on(w, fds[i]);
    gw_balance_join(options->balance, options->number, w->wake);
    thread_rc = pthread_create(&w->thread, NULL, worker_main, w);
    if (thread_rc) {
        worker_free(w);
        return sp_error_sys(err, thread_rc, "worker thread");
    }
    *ret_worker = w;
    return SP_OK;
}

void gw_worker_reload(struct gw_worker *w, struct gw_registry *registry,
                      const struct gw_listen_change *changes, size_t change_count)
{
    struct gw_listen_change *copy = sp_calloc(change_count, sizeof *copy);

    memcpy(copy, changes, change_count * sizeof *copy);
    pthread_mutex_lock(&w->mail_lock);
    w->mail.registry = gw_registry_ref(registry);
    w->mail.changes = copy;
    w->mail.change_count = change_count;
    pthread_mutex_unlock(&w->mail_lock);
    sp_async_send(w->wake);
}

void gw_worker_await_reload(struct gw_worker *w)
{
    pthread_mutex_lock(&w->mail_lock);
    while (w->mail.registry)
        pthread_cond_wait(&w->mail_done, &w->mail_lock);
    pthread_mutex_unlock(&w->mail_lock);
}

void gw_worker_on_status(struct gw_worker *w, const struct gw_live_key *key)
{
    struct mail *mail = &w->mail;

    pthread_mutex_lock(&w->mail_lock);
    if (mail->status_count == mail->status_room) {
        mail->status_room = mail->status_room ? 2 * mail->status_room : 16;
        mail->statuses = reallocarray(mail->statuses, mail->status_room, sizeof mail->statuses[0]);
        SP_REQUIRE(mail->statuses);
    }
    mail->statuses[mail->status_count++] = *key;
    pthread_mutex_unlock(&w->mail_lock);
    sp_async_send(w->wake);
}

static void ask_end(struct gw_worker *w, enum end end)
{
    pthread_mutex_lock(&w->mail_lock);
    if (end > w->mail.end)
        w->mail.end = end;
    pthread_mutex_unlock(&w->mail_lock);
    sp_async_send(w->wake);
}

void gw_worker_drain(struct gw_worker *w)
{
    ask_end(w, END_DRAIN);
}

bool gw_worker_is_drained(const struct gw_worker *w)
{
    return atomic_load(&w->drained);
}

void gw_worker_end(struct gw_worker *w, bool at_once)
{
    ask_end(w, at_once ? END_ABORT : END_CLOSE);
}

void gw_worker_join(struct gw_worker *w)
{
    pthread_join(w->thread, NULL);
    worker_free(w);
}
