/*
 * h2_window: how far a sender may be ahead of the reader of one stream, and when it is told so.
 * Arithmetic only: no nghttp2, no clock (milliseconds are the caller's).
 *
 * A window follows half a second of its stream's own rate. It is judged once a round, that is each
 * time half of it was consumed: it doubles when the round took at most 250 ms, and halves (down to
 * the initial size) when the round took a second or more, or when more than half of the window lay
 * waiting for the reader. A sender that the window holds back on a path of up to 500 ms passes the
 * test; a slow stream, or one whose reader is slower than the path, does not. So a reader that
 * stops leaves at most half a second of what it read before, and all streams of a session together
 * hold at most SP_H2_GROWN_WINDOWS * max above their initial windows.
 *
 * Embedded in its owner; belongs to one thread.
 */
#ifndef SALLYPORT_COMMON_H2_WINDOW_H
#define SALLYPORT_COMMON_H2_WINDOW_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_H2_GROWN_WINDOWS 4u

struct sp_h2_window_budget { /* one a session */
    uint32_t initial;
    uint32_t max;
    uint64_t grown; /* sum of what the windows are larger than `initial` */
};

struct sp_h2_window {
    uint32_t size;         /* most bytes that may be on the way or waiting for the reader */
    uint32_t backlog;      /* received, not consumed */
    uint32_t backlog_peak; /* in this round */
    uint32_t unacked;      /* consumed since the last grant */
    uint32_t round_bytes;
    uint32_t round_start_ms;
};

void sp_h2_window_open(struct sp_h2_window *w, const struct sp_h2_window_budget *budget,
                       uint64_t now_ms);
void sp_h2_window_close(struct sp_h2_window *w, struct sp_h2_window_budget *budget);
/* Bytes came in and the reader had its first look at them (consumed is called before or after). */
void sp_h2_window_peak(struct sp_h2_window *w);
/* The reader took len bytes. True: credit is due; size_now is the window in force. */
bool sp_h2_window_consumed(struct sp_h2_window *w, size_t len, uint32_t size_now);
/* To be called when credit is due: ends the round if it is over, and resizes the window. */
void sp_h2_window_judge(struct sp_h2_window *w, struct sp_h2_window_budget *budget,
                        uint64_t now_ms);
#endif
