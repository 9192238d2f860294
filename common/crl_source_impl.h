/*
 * crl_source_impl: what the files behind crl_source.h share: crl_source.c (fetching),
 * crl_source_judge.c (what a content is to whom, the log and the folder), crl_source_want.c (which
 * URLs). Nobody else includes it.
 */
#ifndef SALLYPORT_COMMON_CRL_SOURCE_IMPL_H
#define SALLYPORT_COMMON_CRL_SOURCE_IMPL_H
#include "common/crl_schedule.h"
#include "common/crl_source.h"
#include "common/tls_crl_kept.h"

struct sp_fetch;
struct sp_hash;
struct sp_timer;
struct sp_tls_crl_file;
struct sp_tls_trust;

/* What one set of trusted CAs makes of it. */
struct crl_user {
    struct sp_tls_trust *trust;
    struct sp_tls_crl_kept kept;
    bool wanted;
};

struct crl_url {
    struct sp_crl_source *source;
    char *url;
    char *etag;            /* NULL: nobody has taken the content wholly, or the server gives none */
    struct sp_hash *users; /* struct crl_user, by the digest of the trust */
    struct sp_tls_crl_file *last; /* the newest content that somebody took */
    struct sp_fetch *fetch;
    struct sp_crl_schedule schedule;
    bool wanted, is_new, was_asked;
};

struct sp_crl_source {
    struct sp_crl_source_options options;
    struct sp_hash *urls; /* struct crl_url */
    char *cache_dir;
    struct sp_timer *tick, *tell, *waited;
    size_t running;
    bool is_waiting;
};

/* Walk all: start with *cursor = 0; NULL at the end. */
struct crl_url *sp_crl_source_next_url(const struct sp_crl_source *source, size_t *cursor);
struct crl_user *sp_crl_source_next_user(const struct crl_url *u, size_t *cursor);

/* What the users have changed: on_change follows from the loop. */
void sp_crl_source_tell(struct sp_crl_source *source);
struct taken {
    bool changed, refused;
    char why[sizeof((struct sp_error *)NULL)->text]; /* of the last one who refused */
};
void sp_crl_source_offer(struct crl_url *u, struct crl_user *user, struct sp_tls_crl_file *file,
                         struct taken *taken); /* adds to taken */
void sp_crl_source_offer_all(struct crl_url *u, struct sp_tls_crl_file *file, struct taken *taken);
/* Why there is nothing, to those who have nothing. */
void sp_crl_source_explain(struct crl_url *u, struct crl_user *user, const char *why);
/* The earliest nextUpdate of all users; INT64_MIN: one has nothing that is known to be his. */
int64_t sp_crl_source_good_until(const struct crl_url *u);

void sp_crl_source_log_failure(const struct crl_url *u, const char *why, bool will_retry);
void sp_crl_source_log_taken(const struct crl_url *u, const struct sp_tls_crl_file *file,
                             const char *cached); /* the path it was read from; NULL: fetched */
void sp_crl_source_read_cache(struct crl_url *u);
void sp_crl_source_write_cache(const struct crl_url *u, const void *body, size_t len);

void sp_crl_source_tick(void *source); /* fetches what is due */
void sp_crl_source_url_free(struct crl_url *u);
#endif
