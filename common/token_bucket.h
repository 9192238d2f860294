/*
 * token_bucket: a limit on a rate with room for bursts. Time is the caller's (milliseconds of any
 * clock that does not go back). Embedded in its owner; belongs to one thread.
 */
#ifndef SALLYPORT_COMMON_TOKEN_BUCKET_H
#define SALLYPORT_COMMON_TOKEN_BUCKET_H
#include <stdbool.h>
#include <stdint.h>

struct sp_token_bucket {
    uint32_t tokens;
    uint32_t burst; /* what it holds when full, as it is at first */
    uint32_t rate;  /* tokens a second that it gains */
    uint64_t filled_ms;
};

void sp_token_bucket_init(struct sp_token_bucket *b, uint32_t burst, uint32_t rate,
                          uint64_t now_ms);
bool sp_token_bucket_take(struct sp_token_bucket *b, uint64_t now_ms); /* false: none left */
#endif
