#include "common/rate.h"

#include <stdatomic.h>

#define SECOND_US 1000000u

bool sp_rate_take(struct sp_rate *rate, uint64_t per_s, uint64_t now_us)
{
    const uint64_t interval = SECOND_US / per_s;
    uint64_t next = atomic_load_explicit(&rate->next_us, memory_order_relaxed);

    for (;;) {
        uint64_t from = next > now_us ? next : now_us;

        if (from - now_us > SECOND_US - interval)
            return false;
        if (atomic_compare_exchange_weak_explicit(&rate->next_us, &next, from + interval,
                                                  memory_order_relaxed, memory_order_relaxed))
            return true;
    }
}
