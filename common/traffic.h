/*
 * traffic: what a TCP connection has carried, as the kernel has counted it: so that nobody else has
 * to, byte for byte. Thread-safe.
 */
#ifndef SALLYPORT_COMMON_TRAFFIC_H
#define SALLYPORT_COMMON_TRAFFIC_H
#include <stdbool.h>
#include <stdint.h>

struct sp_traffic {
    uint64_t sent, received; /* bytes; of those sent, what was acknowledged */
    uint32_t round_trip_us;  /* smoothed */
};
/* False: it is no TCP socket. */
bool sp_traffic_read(int fd, struct sp_traffic *ret_traffic);
#endif
