/*
 * crl_source: the CRLs that configurations name by URL: fetched, fetched again before they are
 * stale, kept in a folder over a restart, and handed to those who load CRLs (tls_crl).
 *
 * Each URL is fetched once, however many sets of trusted CAs ask for it; what comes is judged under
 * each of them by itself, since the CAs of one tenant vouch for nothing of another's. Nothing that
 * comes from a URL or from the folder is believed before that (tls_crl_judged), and nothing takes
 * the place of a list that is proved and newer. Each list that changed, and each failure, is a line
 * in the log (`crl_fetch`).
 *
 * Loop thread only. Owned by a program, which says after each load which URLs it wants.
 */
#ifndef SALLYPORT_COMMON_CRL_SOURCE_H
#define SALLYPORT_COMMON_CRL_SOURCE_H
#include "common/error.h"
#include <stdint.h>

struct sp_crl_source; /* opaque */
struct sp_fetcher;
struct sp_log;
struct sp_loop;
struct sp_tls_crl_pool;
struct sp_tls_crl_set;

#define SP_CRL_FETCH_BYTES_MAX (64 * 1024 * 1024)

struct sp_crl_source_options {
    struct sp_loop *loop;
    struct sp_fetcher *fetcher; /* borrowed, like all here; freed after the source. NULL: nothing is
                                   fetched, what cache_dir keeps is all there is */
    struct sp_log *log;
    void (*on_change)(void *ctx); /* what sp_crl_source_fill gives has changed */
    void *ctx;
};

struct sp_crl_source *sp_crl_source_new(const struct sp_crl_source_options *options);
void sp_crl_source_free(struct sp_crl_source *source); /* NULL is fine */

/* Which URLs are wanted from now on: _begin, _add for each set in use (NULL is fine), _end. What is
 * new is read from cache_dir (NULL: there is none) and then fetched; what nobody wants any more is
 * forgotten. The caller then asks sp_crl_source_fill, as after on_change. */
void sp_crl_source_begin(struct sp_crl_source *source, const char *cache_dir);
void sp_crl_source_add(struct sp_crl_source *source, const struct sp_tls_crl_set *set);
void sp_crl_source_end(struct sp_crl_source *source);

/* Runs the loop until each URL has given a list that is current, or has been asked once, or the
 * time is over; at once where that is so already. For a program that starts, before it serves. */
void sp_crl_source_wait(struct sp_crl_source *source, uint64_t at_most_ms);
/* What there is now; before sp_tls_crl_pool_add. */
void sp_crl_source_fill(const struct sp_crl_source *source, struct sp_tls_crl_pool *pool);
#endif
