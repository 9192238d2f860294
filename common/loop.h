/*
 * loop: one event loop a thread, with what hangs on it: timers, signals, wake-ups from other
 * threads, and work put off to the end of the tick.
 *
 * Only level 3 of common/ knows libuv, and only these wrappers own its handles: each object frees
 * itself after libuv is done with it, so an owner calls _free and forgets; no callback comes after
 * that. Everything here belongs to the loop's thread except sp_async_send.
 */
#ifndef SALLYPORT_COMMON_LOOP_H
#define SALLYPORT_COMMON_LOOP_H
#include "common/error.h"
#include <stddef.h>
#include <stdint.h>

struct sp_loop;   /* opaque */
struct sp_timer;  /* opaque */
struct sp_async;  /* opaque */
struct sp_signal; /* opaque */
struct uv_loop_s;

SP_MUST_USE enum sp_err sp_loop_new(struct sp_loop **ret_loop, struct sp_error *err);
/* Runs until sp_loop_stop or until nothing is left to wait for. */
void sp_loop_run(struct sp_loop *loop);
void sp_loop_stop(struct sp_loop *loop);
/* Everything on it must have been freed before: a handle left open aborts (a leak is a bug). */
void sp_loop_free(struct sp_loop *loop);
uint64_t sp_loop_now_ms(const struct sp_loop *loop); /* monotonic; as of this tick */
uint64_t sp_loop_clock_us(void);                     /* monotonic; now */
struct uv_loop_s *sp_loop_uv(struct sp_loop *loop);  /* level 3 only */

/* One buffer a loop, for a read whose bytes are used up before the callback returns. As long as two
 * pieces of a busy tunnel (SP_H2_PIECE in four records, 22 bytes of overhead each), so that a
 * reader that cannot keep up ends where a frame ends. */
#define SP_LOOP_SCRATCH (2 * (65280 + 4 * 22))
/* And there is room behind it for what a writer of powers of two leaves after its last whole piece:
 * 561 bytes of 128 KiB, 4,271 of 1 MiB. */
#define SP_LOOP_SCRATCH_TAIL 4608
uint8_t *sp_loop_scratch(struct sp_loop *loop);
/* Another, for what is written out and mostly taken at once. */
#define SP_LOOP_OUTBOX (160 * 1024)
uint8_t *sp_loop_outbox(struct sp_loop *loop);

/* Work at the end of this tick, before the loop waits again; once, however often it was asked for.
 * Embedded in its owner, who calls sp_task_cancel before it goes. */
struct sp_task {
    void (*run)(void *ctx);
    void *ctx;
    struct sp_task *next, **prev; /* queued while prev is set */
};
void sp_task_init(struct sp_task *task, void (*run)(void *ctx), void *ctx);
void sp_task_soon(struct sp_loop *loop, struct sp_task *task);
/* The same, when all that was asked for with sp_task_soon is done: for work that takes long. What
 * it asks for with sp_task_soon is still done in this tick. A task that is queued already stays
 * where it is. */
void sp_task_late(struct sp_loop *loop, struct sp_task *task);
/* Two to four seconds from now, without a timer of its own: for what most owners do not live to
 * need. Does not keep the loop running. */
void sp_task_when_old(struct sp_loop *loop, struct sp_task *task);
void sp_task_cancel(struct sp_task *task);

/* Readiness of a descriptor, edge-triggered: told once for each change, and at first what is there
 * already. Registered for both directions for its whole life, which costs one system call: what the
 * owner is not interested in at the moment he remembers. For sock.c.
 * Embedded at the very front of its owner, who is freed by sp_watch_bury. */
struct sp_watch {
    void (*on_ready)(struct sp_watch *watch, uint32_t epoll_events);
    struct sp_watch *next_dead;
};
SP_MUST_USE enum sp_err sp_watch_add(struct sp_loop *loop, struct sp_watch *watch, int fd,
                                     struct sp_error *err);
void sp_watch_remove(struct sp_loop *loop, int fd); /* not needed before a close */
/* free(watch), as soon as nobody can look at it any more. */
void sp_watch_bury(struct sp_loop *loop, struct sp_watch *watch);
/* Counts what the loop has to wait for: while nothing is, descriptors do not keep it running. */
void sp_loop_hold(struct sp_loop *loop, bool hold);

/* One-shot; start again in the callback for a period. A started timer is moved by a new start. */
struct sp_timer *sp_timer_new(struct sp_loop *loop, void (*on_time)(void *ctx), void *ctx);
void sp_timer_start(struct sp_timer *timer, uint64_t in_ms);
void sp_timer_stop(struct sp_timer *timer);
void sp_timer_free(struct sp_timer *timer); /* NULL is fine */

/* sp_async_send wakes the loop from any thread; sends may fold into one callback. */
struct sp_async *sp_async_new(struct sp_loop *loop, void (*on_wake)(void *ctx), void *ctx);
void sp_async_send(struct sp_async *async);
void sp_async_free(struct sp_async *async);

struct sp_signal *sp_signal_new(struct sp_loop *loop, int signum, void (*on_signal)(void *ctx),
                                void *ctx);
void sp_signal_free(struct sp_signal *sig);
/* SIGHUP, SIGTERM and SIGINT wait, in this thread and those it makes from now on: while there is no
 * sp_signal for them yet, or no more, they would end the program in their own rude way. */
void sp_signals_hold(bool hold);
#endif
