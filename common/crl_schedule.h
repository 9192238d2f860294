/*
 * crl_schedule: when a CRL is to be fetched again. Pure: time and chance are parameters.
 *
 * A list that is good is asked for again at half of what is left of its life, so that several
 * attempts lie before its nextUpdate; at least every hour, since one that revokes more may be
 * published before; at most every second. After a failure: 1, 2, 4 ... seconds, up to five minutes.
 */
#ifndef SALLYPORT_COMMON_CRL_SCHEDULE_H
#define SALLYPORT_COMMON_CRL_SCHEDULE_H
#include <stdint.h>

#define SP_CRL_SCHEDULE_MIN_MS   1000
#define SP_CRL_SCHEDULE_MAX_MS   (60 * 60 * 1000)
#define SP_CRL_SCHEDULE_RETRY_MS (5 * 60 * 1000)

struct sp_crl_schedule { /* all zero: at once */
    int64_t at_ms;       /* wall clock: a machine that sleeps is late, and then asks at once */
    unsigned failures;   /* in a row */
};

/* A list that is good until next_update (seconds). random: any 32 bits. */
void sp_crl_schedule_good(struct sp_crl_schedule *schedule, int64_t now_ms, int64_t next_update,
                          uint32_t random);
/* Nothing good was had: an error, or a list that is stale already or of nobody known. */
void sp_crl_schedule_bad(struct sp_crl_schedule *schedule, int64_t now_ms, uint32_t random);
/* How long from now_ms; 0: it is due. When the clock was set back, an hour from then at most. */
int64_t sp_crl_schedule_wait_ms(struct sp_crl_schedule *schedule, int64_t now_ms);
#endif
