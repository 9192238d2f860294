/*
 * stapler: keeps the OCSP responses that we staple for our own certificates fresh: asks for them,
 * verifies them, puts them into the credentials, asks again before they end, and takes them out
 * when they have ended. Nothing is stapled that does not verify as good.
 *
 * One response for each distinct certificate, however many credentials hold it. A certificate whose
 * issuer is not in its file, or that has no responder, has no staple. Requests have no nonce, so
 * that responders that sign in advance can answer; what binds a response to now is its nextUpdate,
 * which must be there. Responses are not kept over a restart: they are there again as soon as one
 * that is not vital can be.
 *
 * Each change for better or worse is a line in the log (`staple`), repeated failures are not.
 *
 * Loop thread only; it uses nothing of a credential that other threads may not use meanwhile.
 */
#ifndef SALLYPORT_COMMON_STAPLER_H
#define SALLYPORT_COMMON_STAPLER_H
#include "common/fetch.h"
#include <stddef.h>
#include <stdint.h>

struct sp_log;
struct sp_loop;
struct sp_stapler; /* opaque */
struct sp_tls_cred;

struct sp_stapler_options {
    struct sp_loop *loop;
    struct sp_fetcher *fetcher; /* borrowed, like all here; freed after the stapler */
    struct sp_log *log;
    enum sp_fetch_reach reach; /* of the URLs that certificates name */
};

struct sp_stapler *sp_stapler_new(const struct sp_stapler_options *options);
void sp_stapler_free(struct sp_stapler *stapler); /* as if nobody were followed; NULL is fine */

/* Which credentials are kept stapled from now on (each takes a reference; one may stand in the list
 * more than once). Those that are not there any more lose their staple; another credential with a
 * certificate that is known has its staple at once. responder: copied, asked instead of what the
 * certificates name, wherever it may lead; NULL: none. */
void sp_stapler_follow(struct sp_stapler *stapler, struct sp_tls_cred *const *creds, size_t count,
                       const char *responder);

/* When to ask again, in milliseconds from now: pure. random: any 32 bits.
 * Of a response that is good until `expires` (seconds): at half of what is left of it, less up to a
 * quarter so that those who asked together do not come again together; a second at least, a day at
 * most. */
int64_t sp_stapler_wait_good(int64_t now_ms, int64_t expires, uint32_t random);
/* After so many failures in a row (1 at least): 1, 2, 4 ... seconds, five minutes at most, but not
 * beyond half of what is left of the response that is stapled (expires 0: there is none). */
int64_t sp_stapler_wait_bad(int64_t now_ms, int64_t expires, unsigned failures, uint32_t random);
#endif
