#include "common/h2_window.h"

#define GROW_WITHIN_MS  250u
#define SHRINK_AFTER_MS 1000u
/* Credit goes back early (a quarter of the window), so that the sender never waits for it, and not
 * later than this, so that a large window is of use to its last part. */
#define GRANT_MAX (1u << 20)

static void resize(struct sp_h2_window *w, struct sp_h2_window_budget *budget, uint64_t size)
{
    uint64_t grown;

    if (size > budget->max)
        size = budget->max;
    if (size < budget->initial)
        size = budget->initial;
    grown = budget->grown - w->size + size;
    if (size > w->size && grown > (uint64_t)SP_H2_GROWN_WINDOWS * budget->max)
        return;
    budget->grown = grown;
    w->size = (uint32_t)size;
}

void sp_h2_window_open(struct sp_h2_window *w, const struct sp_h2_window_budget *budget,
                       uint64_t now_ms)
{
    *w = (struct sp_h2_window){.size = budget->initial, .round_start_ms = (uint32_t)now_ms};
}

void sp_h2_window_close(struct sp_h2_window *w, struct sp_h2_window_budget *budget)
{
    budget->grown -= w->size - budget->initial;
    budget->held -= w->backlog;
    w->size = budget->initial;
    w->backlog = 0;
}

uint32_t sp_h2_window_initial(const struct sp_h2_window_budget *budget, size_t streams)
{
    uint32_t least = budget->full < SP_H2_INITIAL_MIN ? budget->full : SP_H2_INITIAL_MIN;
    uint32_t initial = budget->initial;

    while (initial > least && (uint64_t)initial * streams > SP_H2_INITIAL_SUM)
        initial = initial / 2 > least ? initial / 2 : least;
    while (initial < budget->full && (uint64_t)initial * streams < SP_H2_INITIAL_SUM / 8)
        initial = initial * 2 < budget->full ? initial * 2 : budget->full;
    return initial;
}

void sp_h2_window_shift(struct sp_h2_window *w, int64_t delta)
{
    w->size = (uint32_t)((int64_t)w->size + delta);
}

uint32_t sp_h2_window_connection(const struct sp_h2_window_budget *budget, int32_t credit)
{
    uint64_t left = budget->held < SP_H2_HELD_MAX ? SP_H2_HELD_MAX - budget->held : 0;
    int64_t allowed = left < SP_H2_CONNECTION_WINDOW ? (int64_t)left : SP_H2_CONNECTION_WINDOW;
    int64_t due = allowed / 4 > SP_H2_INITIAL_MIN ? allowed / 4 : SP_H2_INITIAL_MIN;

    return allowed - credit >= due ? (uint32_t)(allowed - credit) : 0;
}

void sp_h2_window_peak(struct sp_h2_window *w)
{
    if (w->backlog > w->backlog_peak)
        w->backlog_peak = w->backlog;
}

bool sp_h2_window_consumed(struct sp_h2_window *w, size_t len, uint32_t size_now)
{
    uint32_t due = size_now / 4 < GRANT_MAX ? size_now / 4 : GRANT_MAX;

    w->backlog -= (uint32_t)len;
    w->unacked += (uint32_t)len;
    if (w->unacked < due)
        return false;
    w->round_bytes += w->unacked;
    w->unacked = 0;
    return true;
}

void sp_h2_window_judge(struct sp_h2_window *w, struct sp_h2_window_budget *budget, uint64_t now_ms)
{
    uint32_t half = w->size / 2;
    uint32_t took;

    if (w->round_bytes < half && w->backlog_peak <= half)
        return;
    took = (uint32_t)now_ms - w->round_start_ms;
    if (w->backlog_peak > half || took >= SHRINK_AFTER_MS)
        resize(w, budget, half);
    else if (took <= GROW_WITHIN_MS)
        resize(w, budget, (uint64_t)w->size * 2);
    w->round_bytes = 0;
    w->round_start_ms = (uint32_t)now_ms;
    w->backlog_peak = w->backlog;
}
