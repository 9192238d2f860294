/*
 * backoff: how long to wait before the next attempt: doubling from FIRST to MAX, with half of it
 * random, so that a thousand agents do not come back at once. Pure; the caller brings the chance.
 */
#ifndef SALLYPORT_AGENT_BACKOFF_H
#define SALLYPORT_AGENT_BACKOFF_H
#include <stdint.h>

#define AGENT_BACKOFF_FIRST_MS 100
#define AGENT_BACKOFF_MAX_MS   30000

/* failures: attempts that failed in a row, from 1. random: any 32 bits. Returns milliseconds in
 * [d/2, d], d = min(MAX, FIRST * 2^(failures - 1)). */
uint32_t agent_backoff_ms(unsigned failures, uint32_t random);
#endif
