/*
 * tls_crl: the revocation lists (CRLs) that a configuration names, as sets of serial numbers of our
 * own: GnuTLS's trust list never sees them, since it takes a stale list for no list.
 *
 * A file's content is parsed once, however many sets name it, and shared by reference: 32 bytes for
 * each entry (32 MB for a million), looked up by bisection; a list that is signed with EdDSA keeps
 * its text as well (some 40 bytes an entry), since such a signature cannot be verified over a
 * digest. While it is loaded: the file and twice the entries besides.
 *
 * Sets and files are immutable and reference counted; safe for all threads. A pool belongs to one
 * thread and to one load.
 */
#ifndef SALLYPORT_COMMON_TLS_CRL_H
#define SALLYPORT_COMMON_TLS_CRL_H
#include "common/error.h"
#include <stdint.h>

struct sp_tls_crl_kept; /* common/tls_crl_kept.h */
struct sp_tls_trust;
struct sp_tls_crl_set;  /* opaque: the files and URLs that one configuration names */
struct sp_tls_crl_pool; /* opaque: contents already parsed */
struct gnutls_x509_crt_int;

struct sp_tls_crl_pool *sp_tls_crl_pool_new(void);
void sp_tls_crl_pool_free(struct sp_tls_crl_pool *pool); /* NULL is fine */
/* What an older set has parsed is not parsed again where the content is the same, and what it has
 * of URLs is known. NULL is fine. */
void sp_tls_crl_pool_add(struct sp_tls_crl_pool *pool, const struct sp_tls_crl_set *set);

/* Until it is called with NULL: where a file of a set of the same trust cannot be used, what `set`
 * has of it goes on, and that is no error. Borrowed. */
void sp_tls_crl_pool_fall_back(struct sp_tls_crl_pool *pool, const struct sp_tls_crl_set *set);

/* What was fetched from that URL for that trust; copied. The first word for a URL and trust counts,
 * so what is newer comes before sp_tls_crl_pool_add. */
void sp_tls_crl_pool_keep(struct sp_tls_crl_pool *pool, const char *url,
                          const struct sp_tls_trust *trust, const struct sp_tls_crl_kept *kept);

/* Files: PEM or DER, several lists a file, one of them at least. Errors name the file: no list in
 * it, delta, indirect and partial lists, critical extensions that are not known, no nextUpdate, a
 * weak signature, and one that has the name of a CA of `trust` but was not signed by it.
 * URLs (sp_json_is_url) are not fetched here: what the pool has of them is in the set, be it
 * nothing. */
SP_MUST_USE enum sp_err sp_tls_crl_set_load(struct sp_tls_crl_pool *pool, const char *const *names,
                                            size_t count, struct sp_tls_trust *trust,
                                            struct sp_tls_crl_set **ret_set, struct sp_error *err);
struct sp_tls_crl_set *sp_tls_crl_set_ref(struct sp_tls_crl_set *set); /* NULL is fine */
void sp_tls_crl_set_unref(struct sp_tls_crl_set *set);                 /* NULL is fine */
/* SHA-256 over the contents, in their order; all zero for NULL and where nothing was fetched yet.
 */
void sp_tls_crl_set_digest(const struct sp_tls_crl_set *set, uint8_t ret_digest[32]);
/* The path of a file, or the URL; NULL past the last one. */
const char *sp_tls_crl_set_name(const struct sp_tls_crl_set *set, size_t index);
/* What that URL has given; NULL: it is a file. Borrowed. */
const struct sp_tls_crl_kept *sp_tls_crl_set_kept(const struct sp_tls_crl_set *set, size_t index);
struct sp_tls_trust *sp_tls_crl_set_trust(const struct sp_tls_crl_set *set); /* borrowed */
/* What the administrator should know about that file: stale, or issued by nobody known. False:
 * nothing. */
bool sp_tls_crl_set_remark(const struct sp_tls_crl_set *set, size_t index, int64_t now, char *buf,
                           size_t buf_len);

/* When a file looked how: another stamp, another content (or none: all zero). */
struct sp_tls_crl_stamp {
    int64_t mtime_ns, size;
    uint64_t inode;
};
void sp_tls_crl_stamp_of(const char *path, struct sp_tls_crl_stamp *ret_stamp);
bool sp_tls_crl_stamp_equal(const struct sp_tls_crl_stamp *a, const struct sp_tls_crl_stamp *b);
/* That of the file as it was read for this set; all zero for a URL. */
const struct sp_tls_crl_stamp *sp_tls_crl_set_stamp(const struct sp_tls_crl_set *set, size_t index);
/* Whether a file of it has another stamp now, or the pool (NULL: none) keeps something
 * else of a URL. */
bool sp_tls_crl_set_is_outdated(const struct sp_tls_crl_set *set,
                                const struct sp_tls_crl_pool *pool);

enum sp_tls_crl_state {
    SP_TLS_CRL_NONE, /* no list of this issuer: nothing is known, and nothing was asked for */
    SP_TLS_CRL_CURRENT,
    SP_TLS_CRL_STALE,    /* past its nextUpdate */
    SP_TLS_CRL_EARLY,    /* its thisUpdate is in the future */
    SP_TLS_CRL_UNSIGNED, /* it has the issuer's name, but neither he nor a trusted CA signed it */
};

struct sp_tls_crl_answer {
    enum sp_tls_crl_state state;
    bool is_revoked;     /* listed; a stale list counts here too */
    int64_t revoked_at;  /* if revoked */
    const char *cause;   /* if revoked: "keyCompromise"; "" when the list gives none */
    const char *path;    /* or URL; borrowed from the set; NULL: NONE */
    int64_t this_update; /* unless NONE */
    int64_t next_update;
    int64_t holds_until; /* from this second on the answer may be another; INT64_MAX: never */
};

/* What the newest list of this issuer says of the certificate. `issuer` must have been verified by
 * the caller; a list counts when that very key signed it. */
void sp_tls_crl_set_ask(const struct sp_tls_crl_set *set, struct gnutls_x509_crt_int *crt,
                        struct gnutls_x509_crt_int *issuer, int64_t now,
                        struct sp_tls_crl_answer *ret_answer);

/* The same for a certificate of which only the names are left, as in a line of the log: the text of
 * its issuer (RFC 4514), its serial number in hex. Only lists count that are known to be of who
 * they say, so SP_TLS_CRL_UNSIGNED is not answered; two issuers of one name are not told apart. */
void sp_tls_crl_set_ask_named(const struct sp_tls_crl_set *set, const char *issuer,
                              const char *serial, int64_t now,
                              struct sp_tls_crl_answer *ret_answer);

/* Whether there is a URL of which nobody knows whose list it is: then none of the issuers without a
 * list of their own can be taken for one that was not asked about. To be asked after all the
 * certificates of a path: an intermediate among them may prove that the list is its own.
 * *ret_why: why there is none ("": not known yet), or NULL: a list is there, by nobody known. */
bool sp_tls_crl_set_gap(const struct sp_tls_crl_set *set, const char **ret_url,
                        const char **ret_why);
#endif
