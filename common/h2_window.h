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
 * The more streams there are the smaller is what each begins with (sp_h2_window_initial), so that
 * readers that never read hold little however many they are. And whatever the windows allow, the
 * connection's credit ends where SP_H2_HELD_MAX bytes of a session wait for readers: a peer that
 * does not heed our SETTINGS stops itself. Those that heed them never come there.
 *
 * Embedded in its owner; belongs to one thread.
 */
#ifndef SALLYPORT_COMMON_H2_WINDOW_H
#define SALLYPORT_COMMON_H2_WINDOW_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_H2_GROWN_WINDOWS     2u
#define SP_H2_INITIAL_SUM       (16u << 20) /* initial windows are whole until there are so many */
#define SP_H2_INITIAL_MIN       4096u
#define SP_H2_CONNECTION_WINDOW (64u << 20) /* so that no path is too long for it */
#define SP_H2_HELD_MAX          (192u << 20)

struct sp_h2_window_budget { /* one a session */
    uint32_t full;           /* what a stream begins with while there are few */
    uint32_t initial;        /* what it begins with now */
    uint32_t max;
    uint64_t held;  /* received and not consumed, of all streams */
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
/* What streams should begin with when there are so many: budget->initial while that is near enough,
 * since the peer is told of each change. */
uint32_t sp_h2_window_initial(const struct sp_h2_window_budget *budget, size_t streams);
/* What a stream begins with has changed by delta, so all windows of the session have. */
void sp_h2_window_shift(struct sp_h2_window *w, int64_t delta);
/* Credit to give the connection now, which has `credit` left; 0: none, yet. */
uint32_t sp_h2_window_connection(const struct sp_h2_window_budget *budget, int32_t credit);
/* Bytes came in and the reader has had its first look at them. */
void sp_h2_window_peak(struct sp_h2_window *w);
/* The reader took len bytes. True: credit is due; size_now is the window in force. */
bool sp_h2_window_consumed(struct sp_h2_window *w, size_t len, uint32_t size_now);
/* To be called when credit is due: ends the round if it is over, and resizes the window. */
void sp_h2_window_judge(struct sp_h2_window *w, struct sp_h2_window_budget *budget,
                        uint64_t now_ms);
#endif
