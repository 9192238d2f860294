#include "common/token_bucket.h"

void sp_token_bucket_init(struct sp_token_bucket *b, uint32_t burst, uint32_t rate, uint64_t now_ms)
{
    *b = (struct sp_token_bucket){
        .tokens = burst, .burst = burst, .rate = rate, .filled_ms = now_ms};
}

bool sp_token_bucket_take(struct sp_token_bucket *b, uint64_t now_ms)
{
    uint64_t gained = (now_ms - b->filled_ms) * b->rate / 1000;

    if (gained >= b->burst - b->tokens) {
        b->tokens = b->burst;
        b->filled_ms = now_ms;
    } else if (gained > 0) {
        b->tokens += (uint32_t)gained;
        b->filled_ms += gained * 1000 / b->rate; /* the rest counts towards the next token */
    }
    if (b->tokens == 0)
        return false;
    b->tokens--;
    return true;
}
