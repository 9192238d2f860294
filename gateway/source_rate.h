/*
 * source_rate: how many connections a source address makes, over all workers. A fixed table of
 * rates, by a keyed hash of the address (IPv6: its /64): two sources may share a place, and then a
 * rate; nobody can choose whose. Any thread.
 */
#ifndef SALLYPORT_GATEWAY_SOURCE_RATE_H
#define SALLYPORT_GATEWAY_SOURCE_RATE_H
#include "common/addr.h"

struct gw_source_rates; /* opaque */

struct gw_source_rates *gw_source_rates_new(void);
void gw_source_rates_free(struct gw_source_rates *rates); /* NULL is fine */
/* per_s 0: no limit. False: too many. */
bool gw_source_rates_take(struct gw_source_rates *rates, const struct sp_ip *ip, uint64_t per_s,
                          uint64_t now_us);
#endif
