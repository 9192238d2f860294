#include "common/loop.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <uv.h>

#define EVENTS_AT_ONCE 256
#define SPARE_TIMERS   64
#define AGE_MS         2000

struct sp_loop {
    uv_loop_t uv;
    uv_prepare_t prepare;    /* runs the tasks, right before the loop waits */
    uv_idle_t idle;          /* active while tasks are queued: the loop must not wait then */
    struct sp_task *queued;  /* last one first: a task can leave without knowing the loop */
    struct sp_task *late;    /* the same; run when those are done */
    struct sp_task *running; /* this round's, in the order they were asked for */
    struct sp_task *young;   /* sp_task_when_old, since the last tick of `age` */
    struct sp_task *old;     /* and from before it: run at the next */
    uv_timer_t age;          /* runs while one of these has tasks */
    uv_poll_t ready;         /* epoll_fd's own readiness, inside libuv's set */
    int epoll_fd;            /* every watch; libuv's would take two system calls for each change */
    size_t holds;
    struct sp_watch *dead;
    struct sp_timer *spare; /* freed ones: to close a handle takes libuv a turn */
    unsigned spares;
    uint8_t *scratch, *outbox;
};

struct sp_timer {
    uv_timer_t uv;
    struct sp_loop *loop;
    void (*on_time)(void *ctx); /* NULL: a spare one */
    void *ctx;
    struct sp_timer *next_spare;
};

struct sp_async {
    uv_async_t uv;
    void (*on_wake)(void *ctx);
    void *ctx;
};

struct sp_signal {
    uv_signal_t uv;
    void (*on_signal)(void *ctx);
    void *ctx;
};

static void free_dead(struct sp_loop *loop)
{
    struct sp_watch *watch;

    while ((watch = loop->dead)) {
        loop->dead = watch->next_dead;
        free(watch);
    }
}

static bool has_tasks(const struct sp_loop *loop)
{
    return loop->queued || loop->late;
}

/* A fixed size, so that two tasks that keep asking for each other cannot starve the sockets: what
 * is queued by a running task waits for the next round. */
static void run_queue(struct sp_loop *loop, struct sp_task **queue)
{
    struct sp_task *task, *next;

    for (task = *queue; task; task = next) {
        next = task->next;
        task->next = loop->running;
        if (task->next)
            task->next->prev = &task->next;
        task->prev = &loop->running;
        loop->running = task;
    }
    *queue = NULL;
    while (loop->running) {
        task = loop->running;
        sp_task_cancel(task); /* not queued any more: it may be asked for again, or go */
        task->run(task->ctx);
    }
}

static void run_tasks(struct sp_loop *loop)
{
    run_queue(loop, &loop->queued);
    if (loop->late) {
        run_queue(loop, &loop->late);
        run_queue(loop, &loop->queued); /* what these have to say goes out before the next wait */
    }
    free_dead(loop);
    if (!has_tasks(loop))
        uv_idle_stop(&loop->idle);
}

static void on_prepare(uv_prepare_t *prepare)
{
    run_tasks(prepare->data);
}

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* being active is all it is for */
}

static void on_age(uv_timer_t *age)
{
    struct sp_loop *loop = age->data;

    run_queue(loop, &loop->old);
    loop->old = loop->young;
    if (loop->old)
        loop->old->prev = &loop->old;
    loop->young = NULL;
    if (!loop->old)
        uv_timer_stop(age);
}

/* ---- descriptors ---- */

static void on_ready(uv_poll_t *poll, int status, int uv_events)
{
    struct sp_loop *loop = poll->data;
    struct epoll_event events[EVENTS_AT_ONCE];
    int count = epoll_wait(loop->epoll_fd, events, EVENTS_AT_ONCE, 0);

    (void)status;
    (void)uv_events;
    for (int i = 0; i < count; i++) {
        struct sp_watch *watch = events[i].data.ptr;

        if (watch->on_ready) /* else an earlier one has buried it */
            watch->on_ready(watch, events[i].events);
    }
    free_dead(loop);
}

enum sp_err sp_watch_add(struct sp_loop *loop, struct sp_watch *watch, int fd, struct sp_error *err)
{
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET,
        .data.ptr = watch,
    };

    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        return sp_error_sys(err, errno, "cannot watch descriptor %d", fd);
    return SP_OK;
}

void sp_watch_remove(struct sp_loop *loop, int fd)
{
    SP_REQUIRE(epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL) == 0);
}

void sp_watch_bury(struct sp_loop *loop, struct sp_watch *watch)
{
    watch->on_ready = NULL;
    watch->next_dead = loop->dead;
    loop->dead = watch;
}

void sp_loop_hold(struct sp_loop *loop, bool hold)
{
    SP_REQUIRE(hold || loop->holds);
    loop->holds += hold ? 1 : -1UL;
    if (hold && loop->holds == 1)
        uv_ref((uv_handle_t *)&loop->ready);
    else if (!loop->holds)
        uv_unref((uv_handle_t *)&loop->ready);
}

/* ---- the loop ---- */

static int loop_init(struct sp_loop *loop)
{
    int rc;

    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0)
        return -errno; /* which is what libuv's codes are */
    rc = uv_loop_init(&loop->uv);
    if (rc < 0)
        close(loop->epoll_fd);
    return rc;
}

enum sp_err sp_loop_new(struct sp_loop **ret_loop, struct sp_error *err)
{
    struct sp_loop *loop = sp_calloc(1, sizeof *loop);
    int rc = loop_init(loop);

    if (rc < 0) {
        free(loop);
        return sp_error_code(err, SP_ERR_UV, rc, "cannot make an event loop: %s", uv_strerror(rc));
    }
    SP_REQUIRE(uv_poll_init(&loop->uv, &loop->ready, loop->epoll_fd) == 0);
    loop->ready.data = loop;
    SP_REQUIRE(uv_poll_start(&loop->ready, UV_READABLE, on_ready) == 0);
    uv_unref((uv_handle_t *)&loop->ready);
    SP_REQUIRE(uv_prepare_init(&loop->uv, &loop->prepare) == 0);
    SP_REQUIRE(uv_idle_init(&loop->uv, &loop->idle) == 0);
    loop->prepare.data = loop;
    SP_REQUIRE(uv_prepare_start(&loop->prepare, on_prepare) == 0);
    uv_unref((uv_handle_t *)&loop->prepare);
    SP_REQUIRE(uv_timer_init(&loop->uv, &loop->age) == 0);
    loop->age.data = loop;
    uv_unref((uv_handle_t *)&loop->age);
    *ret_loop = loop;
    return SP_OK;
}

void sp_loop_run(struct sp_loop *loop)
{
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void sp_loop_stop(struct sp_loop *loop)
{
    uv_stop(&loop->uv);
}

static void require_closing(uv_handle_t *handle, void *ctx)
{
    (void)ctx;
    SP_REQUIRE(uv_is_closing(handle));
}

static void close_spare_timers(struct sp_loop *loop);

void sp_loop_free(struct sp_loop *loop)
{
    if (!loop)
        return;
    while (has_tasks(loop))
        run_tasks(loop);
    SP_REQUIRE(!loop->holds);
    uv_close((uv_handle_t *)&loop->ready, NULL);
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    uv_close((uv_handle_t *)&loop->idle, NULL);
    uv_close((uv_handle_t *)&loop->age, NULL);
    close_spare_timers(loop);
    uv_walk(&loop->uv, require_closing, NULL); /* else the runs below could wait for ever */
    while (uv_run(&loop->uv, UV_RUN_NOWAIT)) {
    }
    SP_REQUIRE(uv_loop_close(&loop->uv) == 0);
    SP_REQUIRE(!has_tasks(loop) && !loop->young && !loop->old);
    free_dead(loop);
    close(loop->epoll_fd);
    free(loop->scratch);
    free(loop->outbox);
    free(loop);
}

uint64_t sp_loop_now_ms(const struct sp_loop *loop)
{
    return uv_now(&loop->uv);
}

uint64_t sp_loop_clock_us(void)
{
    return uv_hrtime() / 1000;
}

struct uv_loop_s *sp_loop_uv(struct sp_loop *loop)
{
    return &loop->uv;
}

uint8_t *sp_loop_scratch(struct sp_loop *loop)
{
    if (!loop->scratch)
        loop->scratch = sp_calloc(1, SP_LOOP_SCRATCH + SP_LOOP_SCRATCH_TAIL);
    return loop->scratch;
}

uint8_t *sp_loop_outbox(struct sp_loop *loop)
{
    if (!loop->outbox)
        loop->outbox = sp_calloc(1, SP_LOOP_OUTBOX);
    return loop->outbox;
}

void sp_task_init(struct sp_task *task, void (*run)(void *ctx), void *ctx)
{
    *task = (struct sp_task){.run = run, .ctx = ctx};
}

static void task_put(struct sp_task **queue, struct sp_task *task)
{
    if (task->prev)
        return;
    task->next = *queue;
    if (task->next)
        task->next->prev = &task->next;
    task->prev = queue;
    *queue = task;
}

static void task_put_now(struct sp_loop *loop, struct sp_task **queue, struct sp_task *task)
{
    if (!task->prev && !has_tasks(loop))
        uv_idle_start(&loop->idle, on_idle);
    task_put(queue, task);
}

void sp_task_soon(struct sp_loop *loop, struct sp_task *task)
{
    task_put_now(loop, &loop->queued, task);
}

void sp_task_late(struct sp_loop *loop, struct sp_task *task)
{
    task_put_now(loop, &loop->late, task);
}

void sp_task_when_old(struct sp_loop *loop, struct sp_task *task)
{
    if (!uv_is_active((uv_handle_t *)&loop->age))
        SP_REQUIRE(uv_timer_start(&loop->age, on_age, AGE_MS, AGE_MS) == 0);
    task_put(&loop->young, task);
}

void sp_task_cancel(struct sp_task *task)
{
    if (!task->prev)
        return;
    *task->prev = task->next;
    if (task->next)
        task->next->prev = task->prev;
    task->next = NULL;
    task->prev = NULL;
}

static void on_timer(uv_timer_t *uv)
{
    struct sp_timer *timer = uv->data;

    timer->on_time(timer->ctx);
}

struct sp_timer *sp_timer_new(struct sp_loop *loop, void (*on_time)(void *ctx), void *ctx)
{
    struct sp_timer *timer = loop->spare;

    if (timer) {
        loop->spare = timer->next_spare;
        loop->spares--;
    } else {
        timer = sp_calloc(1, sizeof *timer);
        SP_REQUIRE(uv_timer_init(&loop->uv, &timer->uv) == 0);
        timer->uv.data = timer;
        timer->loop = loop;
    }
    timer->on_time = on_time;
    timer->ctx = ctx;
    return timer;
}

void sp_timer_start(struct sp_timer *timer, uint64_t in_ms)
{
    SP_REQUIRE(timer->on_time);
    SP_REQUIRE(uv_timer_start(&timer->uv, on_timer, in_ms, 0) == 0);
}

void sp_timer_stop(struct sp_timer *timer)
{
    uv_timer_stop(&timer->uv);
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void sp_timer_free(struct sp_timer *timer)
{
    struct sp_loop *loop;

    if (!timer)
        return;
    SP_REQUIRE(timer->on_time);
    loop = timer->loop;
    timer->on_time = NULL;
    if (loop->spares == SPARE_TIMERS) {
        uv_close((uv_handle_t *)&timer->uv, on_timer_closed);
        return;
    }
    uv_timer_stop(&timer->uv);
    timer->next_spare = loop->spare;
    loop->spare = timer;
    loop->spares++;
}

static void close_spare_timers(struct sp_loop *loop)
{
    for (struct sp_timer *timer = loop->spare; timer; timer = timer->next_spare)
        uv_close((uv_handle_t *)&timer->uv, on_timer_closed);
    loop->spare = NULL;
}

static void on_async(uv_async_t *uv)
{
    struct sp_async *async = uv->data;

    async->on_wake(async->ctx);
}

struct sp_async *sp_async_new(struct sp_loop *loop, void (*on_wake)(void *ctx), void *ctx)
{
    struct sp_async *async = sp_calloc(1, sizeof *async);

    async->uv.data = async;
    async->on_wake = on_wake;
    async->ctx = ctx;
    SP_REQUIRE(uv_async_init(&loop->uv, &async->uv, on_async) == 0);
    return async;
}

void sp_async_send(struct sp_async *async)
{
    SP_REQUIRE(uv_async_send(&async->uv) == 0);
}

static void on_async_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void sp_async_free(struct sp_async *async)
{
    if (async)
        uv_close((uv_handle_t *)&async->uv, on_async_closed);
}

static void on_signal_caught(uv_signal_t *uv, int signum)
{
    struct sp_signal *sig = uv->data;

    (void)signum;
    sig->on_signal(sig->ctx);
}

struct sp_signal *sp_signal_new(struct sp_loop *loop, int signum, void (*on_signal)(void *ctx),
                                void *ctx)
{
    struct sp_signal *sig = sp_calloc(1, sizeof *sig);

    SP_REQUIRE(uv_signal_init(&loop->uv, &sig->uv) == 0);
    sig->uv.data = sig;
    sig->on_signal = on_signal;
    sig->ctx = ctx;
    SP_REQUIRE(uv_signal_start(&sig->uv, on_signal_caught, signum) == 0);
    return sig;
}

void sp_signals_hold(bool hold)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    SP_REQUIRE(pthread_sigmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL) == 0);
}

static void on_signal_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void sp_signal_free(struct sp_signal *sig)
{
    if (sig)
        uv_close((uv_handle_t *)&sig->uv, on_signal_closed);
}
