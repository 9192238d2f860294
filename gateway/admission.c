#include "gateway/admission.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/hash.h"
#include "common/heap.h"
#include "common/loop.h"

#include <stdlib.h>
#include <string.h>

#define TURN_US 300 /* of handshakes in one go; one step may take longer, and is the last then */

struct queue {
    struct gw_admission_item *first, **last;
};

/* The handshakes of one tenant. Gone when none waits. */
struct gw_admission_line {
    struct sp_heap_item turn; /* due: the CPU time it has had, microseconds */
    struct queue queues[GW_ADMIT_KINDS];
    size_t count;
    size_t name_len;
    char name[];
};

struct gw_admission {
    struct sp_loop *loop;
    const struct gw_admission_callbacks *callbacks;
    struct sp_hash *lines; /* by name */
    struct sp_heap turns;
    struct sp_task task;
    uint64_t patience_ms;
    int64_t floor_us; /* what the line that was served last had had: a new one begins there */
    size_t waiting;
    bool running;
};

/* ---- lines ---- */

static struct gw_admission_line *line_of(struct gw_admission *a, const char *name)
{
    size_t len = strlen(name);
    struct gw_admission_line *line = sp_hash_get(a->lines, name, len);

    if (line)
        return line;
    line = sp_calloc(1, sizeof *line + len + 1);
    memcpy(line->name, name, len + 1);
    line->name_len = len;
    for (int k = 0; k < GW_ADMIT_KINDS; k++)
        line->queues[k].last = &line->queues[k].first;
    sp_hash_put(a->lines, name, len, line);
    sp_heap_put(&a->turns, &line->turn, a->floor_us);
    return line;
}

static void line_drop(struct gw_admission *a, struct gw_admission_line *line)
{
    sp_heap_remove(&a->turns, &line->turn);
    sp_hash_remove(a->lines, line->name, line->name_len);
    free(line);
}

/* Leaves the line in place, though it may be empty now. */
static void take_out(struct gw_admission *a, struct gw_admission_item *item)
{
    struct queue *queue = &item->line->queues[item->kind];

    *item->prev = item->next;
    if (item->next)
        item->next->prev = item->prev;
    else
        queue->last = item->prev;
    item->next = NULL;
    item->prev = NULL;
    item->line->count--;
    a->waiting--;
}

static struct gw_admission_item *next_of(struct gw_admission_line *line)
{
    for (int k = 0; k < GW_ADMIT_KINDS; k++)
        if (line->queues[k].first)
            return line->queues[k].first;
    return NULL;
}

/* ---- turns ---- */

/* Serves the line that has had the least. What it pays for is CPU time, since *spent_us, which
 * moves on: that the thread was preempted meanwhile is nobody's fault. NULL: nobody else waits, and
 * nobody asks what it has had (that clock is a system call). */
static void serve_one(struct gw_admission *a, uint64_t *spent_us)
{
    struct gw_admission_line *line = (struct gw_admission_line *)sp_heap_first(&a->turns);
    struct gw_admission_item *item = next_of(line);
    bool too_late =
        item->kind != GW_ADMIT_BEGUN && sp_loop_now_ms(a->loop) - item->since_ms > a->patience_ms;
    uint64_t now_us;

    take_out(a, item);
    a->floor_us = line->turn.due;
    line->count++; /* so that it stays while its handshake is at work */
    if (too_late)
        a->callbacks->too_late(item);
    else
        a->callbacks->run(item);
    line->count--;
    if (spent_us) {
        now_us = sp_clock_thread_us();
        sp_heap_put(&a->turns, &line->turn, line->turn.due + (int64_t)(now_us - *spent_us));
        *spent_us = now_us;
    }
    if (!line->count)
        line_drop(a, line);
}

static void on_turn(void *ctx)
{
    struct gw_admission *a = ctx;
    uint64_t end = sp_loop_clock_us() + TURN_US;
    uint64_t spent = 0; /* 0: not looked at */

    a->running = true;
    while (a->waiting && sp_loop_clock_us() < end) {
        if (a->waiting == 1)
            spent = 0;
        else if (!spent)
            spent = sp_clock_thread_us();
        serve_one(a, spent ? &spent : NULL);
    }
    a->running = false;
    if (a->waiting) /* after the loop has looked at its sockets */
        sp_task_late(a->loop, &a->task);
}

void gw_admission_put(struct gw_admission *a, struct gw_admission_item *item,
                      enum gw_admission_kind kind, const char *tenant)
{
    struct gw_admission_line *line = line_of(a, tenant);
    struct queue *queue = &line->queues[kind];

    SP_REQUIRE(!item->prev);
    item->line = line;
    item->kind = kind;
    item->since_ms = sp_loop_now_ms(a->loop);
    item->prev = queue->last;
    *queue->last = item;
    queue->last = &item->next;
    line->count++;
    a->waiting++;
    if (!a->running)
        sp_task_late(a->loop, &a->task);
}

void gw_admission_remove(struct gw_admission *a, struct gw_admission_item *item)
{
    if (!item->prev)
        return;
    take_out(a, item);
    if (!item->line->count)
        line_drop(a, item->line);
}

size_t gw_admission_waiting(const struct gw_admission *a)
{
    return a->waiting;
}

void gw_admission_set_patience(struct gw_admission *a, uint64_t ms)
{
    a->patience_ms = ms;
}

struct gw_admission *gw_admission_new(struct sp_loop *loop,
                                      const struct gw_admission_callbacks *callbacks)
{
    struct gw_admission *a = sp_calloc(1, sizeof *a);

    _Static_assert(offsetof(struct gw_admission_line, turn) == 0, "the item is the line");
    a->loop = loop;
    a->callbacks = callbacks;
    a->lines = sp_hash_new();
    sp_task_init(&a->task, on_turn, a);
    a->patience_ms = UINT64_MAX;
    return a;
}

void gw_admission_free(struct gw_admission *a)
{
    if (!a)
        return;
    SP_REQUIRE(!a->waiting);
    sp_task_cancel(&a->task);
    sp_hash_free(a->lines);
    sp_heap_done(&a->turns);
    free(a);
}
