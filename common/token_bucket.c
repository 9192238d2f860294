#include "common/token_bucket.h"

void sp_token_bucket_init(struct sp_token_bucket *b, uint32_t burst, uint32_t rate, uint64_t now_ms)
{
    *b = (struct sp_token_bucket){
        .tokens = burst, .burst = burst, .rate = rate, .filled_ms = now_ms};
}

bool sp_token_bucket_take(struct sp_token_bucket *b, uint64_t now_ms)
{
    uint64_t gained = (now_ms - b->filled_ms) * b->rate / 1000;

    /* Only when whole tokens were gained, so that parts of one add up. */
    if (gained > 0) {
        b->tokens = gained < b->burst - b->tokens ? b->tokens + (uint32_t)gained : b->burst;
        b->filled_ms = now_ms;
    }
    if (b->tokens == 0)
        return false;
    b->tokens--;
    return true;
}
