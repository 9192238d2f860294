/*
 * tls_upper: what is above a leaf (its issuers up to the trusted CA, that one included) and held
 * once: of the next leaf below it only its own signature is left to verify. Worth half of an
 * examination, since the clients of a tenant share their issuers.
 *
 * That signatures fit, that the issuers are CAs with the right key usage, purpose, path lengths and
 * strong algorithms is written in those certificates and does not change; so an entry needs no time
 * and no tenant, and is found by a SHA-256 over every byte of them and of what was asked: the
 * purpose and the least key. Who is trusted, times and revocation are not in it: they are judged on
 * each path. An upper part with name constraints is never kept: they are for the leaf, and GnuTLS
 * applies them on the way down only.
 *
 * Certificates above a good leaf are kept parsed, too, and the texts of their names: found by their
 * bytes, a part of what an examination takes is saved, and none of its questions.
 *
 * Of one thread, no lock. Bounded: one entry for each place of a table, the newest. 32 KiB from the
 * first entry on, and 64 parsed certificates, some 20 KiB each, with 64 names.
 */
#ifndef SALLYPORT_COMMON_TLS_UPPER_H
#define SALLYPORT_COMMON_TLS_UPPER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gnutls_x509_crt_int; /* a gnutls_x509_crt_t */
struct sp_chain_query;
struct sp_tls_uppers; /* opaque */

struct sp_tls_uppers *sp_tls_uppers_new(void);
void sp_tls_uppers_free(struct sp_tls_uppers *uppers); /* NULL is fine */

#define SP_TLS_UPPER_KEY 32
/* The key of crts, the leaf's issuer first and the trusted CA last, for this query's purpose and
 * min_key_bits. False: it cannot be told. */
bool sp_tls_upper_key(struct gnutls_x509_crt_int *const *crts, size_t count,
                      const struct sp_chain_query *query, uint8_t ret_key[SP_TLS_UPPER_KEY]);
bool sp_tls_upper_held(const struct sp_tls_uppers *uppers, const uint8_t key[SP_TLS_UPPER_KEY]);
/* Only of a path against which nothing at all was found. Name constraints in it: not kept. */
void sp_tls_upper_keep(struct sp_tls_uppers *uppers, struct gnutls_x509_crt_int *const *crts,
                       size_t count, const uint8_t key[SP_TLS_UPPER_KEY]);

/* A certificate that is kept parsed, or NULL. Borrowed until the next sp_tls_upper_keep_parsed. */
struct gnutls_x509_crt_int *sp_tls_upper_parsed(const struct sp_tls_uppers *uppers,
                                                const uint8_t *der, size_t len);
/* crt was parsed from these bytes; it is taken over. */
void sp_tls_upper_keep_parsed(struct sp_tls_uppers *uppers, struct gnutls_x509_crt_int *crt,
                              const uint8_t *der, size_t len);

/* The text of a name, by its DER. False: it is not kept or does not fit into buf; buf is as before.
 */
bool sp_tls_upper_name(const struct sp_tls_uppers *uppers, const uint8_t *dn, size_t len, char *buf,
                       size_t room);
void sp_tls_upper_keep_name(struct sp_tls_uppers *uppers, const uint8_t *dn, size_t len,
                            const char *text);
#endif
