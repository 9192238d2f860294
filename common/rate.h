/*
 * rate: a limit of so many a second, with a second's worth at once, in one atomic number: for what
 * all threads share. (token_bucket is the one for one thread, with a burst of its own.)
 */
#ifndef SALLYPORT_COMMON_RATE_H
#define SALLYPORT_COMMON_RATE_H
#include <stdbool.h>
#include <stdint.h>

struct sp_rate {
    _Atomic uint64_t
        next_us; /* when the next one would be due, were they evenly spread; 0 at first */
};

/* per_s at least 1. now_us: of a clock that does not go back. False: too many. */
bool sp_rate_take(struct sp_rate *rate, uint64_t per_s, uint64_t now_us);
#endif
