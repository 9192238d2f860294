#include "common/crl_schedule.h"

/* Up to a quarter less: those who fetched together do not come again together. */
static int64_t jitter(int64_t wait_ms, uint32_t random)
{
    return wait_ms - wait_ms / 4 * (int64_t)(random % 1024) / 1024;
}

static int64_t clamp(int64_t value, int64_t least, int64_t most)
{
    return value < least ? least : value > most ? most : value;
}

void sp_crl_schedule_good(struct sp_crl_schedule *schedule, int64_t now_ms, int64_t next_update,
                          uint32_t random)
{
    int64_t now_s = now_ms / 1000, half_ms = 0;

    if (next_update > now_s)
        half_ms = (clamp(next_update, now_s, now_s + 3 * 3600) * 1000 - now_ms) / 2;
    schedule->failures = 0;
    schedule->at_ms = now_ms + clamp(jitter(clamp(half_ms, 0, SP_CRL_SCHEDULE_MAX_MS), random),
                                     SP_CRL_SCHEDULE_MIN_MS, SP_CRL_SCHEDULE_MAX_MS);
}

void sp_crl_schedule_bad(struct sp_crl_schedule *schedule, int64_t now_ms, uint32_t random)
{
    unsigned doublings = schedule->failures < 10 ? schedule->failures : 10;
    int64_t wait_ms = clamp((int64_t)1000 << doublings, 1000, SP_CRL_SCHEDULE_RETRY_MS);

    if (schedule->failures < UINT32_MAX)
        schedule->failures++;
    schedule->at_ms =
        now_ms + clamp(jitter(wait_ms, random), SP_CRL_SCHEDULE_MIN_MS, SP_CRL_SCHEDULE_RETRY_MS);
}

int64_t sp_crl_schedule_wait_ms(struct sp_crl_schedule *schedule, int64_t now_ms)
{
    if (schedule->at_ms > now_ms + SP_CRL_SCHEDULE_MAX_MS)
        schedule->at_ms = now_ms + SP_CRL_SCHEDULE_MAX_MS;
    return schedule->at_ms > now_ms ? schedule->at_ms - now_ms : 0;
}
