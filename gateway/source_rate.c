#include "gateway/source_rate.h"

#include "common/hash.h"
#include "common/rate.h"

#include <stdlib.h>
#include <sys/random.h>

#define PLACES 65536 /* 512 KiB */

struct gw_source_rates {
    uint8_t key[16];
    struct sp_rate places[PLACES];
};

struct gw_source_rates *gw_source_rates_new(void)
{
    struct gw_source_rates *rates = sp_calloc(1, sizeof *rates);

    SP_REQUIRE(getrandom(rates->key, sizeof rates->key, 0) == sizeof rates->key);
    return rates;
}

void gw_source_rates_free(struct gw_source_rates *rates)
{
    free(rates);
}

bool gw_source_rates_take(struct gw_source_rates *rates, const struct sp_ip *ip, uint64_t per_s,
                          uint64_t now_us)
{
    uint64_t hash;

    if (!per_s)
        return true;
    hash = sp_hash_siphash(rates->key, ip->bytes, ip->family == 4 ? 4 : 8);
    return sp_rate_take(&rates->places[hash % PLACES], per_s, now_us);
}
