/*
 * clock: wall-clock time, and what a thread has had of the CPU. Monotonic time is the loop's
 * (sp_loop_now_ms). Decisions never read the clock themselves: they take `now` as a parameter.
 * Thread-safe.
 */
#ifndef SALLYPORT_COMMON_CLOCK_H
#define SALLYPORT_COMMON_CLOCK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int64_t sp_clock_wall_s(void);  /* seconds since 1970, UTC */
int64_t sp_clock_wall_ms(void); /* milliseconds since 1970, UTC */
#define SP_TIME_LEN 32
/* RFC 3339 in UTC: "2026-11-21T21:46:50Z". Returns buf. */
const char *sp_time_format(int64_t seconds, char buf[SP_TIME_LEN]);
/* RFC 3339 with milliseconds: "2026-11-21T21:46:50.123Z". Returns buf. */
const char *sp_time_format_ms(int64_t milliseconds, char buf[SP_TIME_LEN]);
/* The inverse of sp_time_format: exactly "2026-11-21T21:46:50Z", a moment that exists, from 1970
 * to 9999. */
bool sp_time_parse(const char *text, int64_t *ret_seconds);
/* "3 days", "2 hours", "45 seconds": for messages; |seconds|, largest whole unit. Returns buf. */
const char *sp_time_span(int64_t seconds, char buf[SP_TIME_LEN]);
/* What this thread has had of the CPU, in microseconds. A system call: some 0.3 us. */
uint64_t sp_clock_thread_us(void);
#endif
