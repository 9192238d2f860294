/*
 * tls_names: the names inside certificates, as bytes: those of a client that a tenant's patterns
 * are compared with, and those by which a certificate and its issuer find each other.
 *
 * What is read belongs to its struct and is freed by its _done. Pure; thread-safe.
 */
#ifndef SALLYPORT_COMMON_TLS_NAMES_H
#define SALLYPORT_COMMON_TLS_NAMES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sp_bytes;     /* common/tls_chain.h */
struct sp_tls_trust; /* common/tls_trust.h */

enum sp_tls_name_kind {
    SP_TLS_NAME_SUBJECT, /* RFC 4514, as the log writes it */
    SP_TLS_NAME_ISSUER,
    SP_TLS_NAME_DNS,   /* folded: ASCII letters lower case, without a dot at the end */
    SP_TLS_NAME_URI,   /* as it is */
    SP_TLS_NAME_EMAIL, /* ASCII letters lower case */
    SP_TLS_NAME_KINDS,
};

#define SP_TLS_NAME_MAX  511 /* bytes of one name, without its NUL; the log's bound of a DN */
#define SP_TLS_NAMES_MAX 64  /* alternative names: who has more of them has none */

struct sp_tls_name {
    enum sp_tls_name_kind kind;
    char *text; /* NUL-terminated, no NUL inside; NULL: there is one, longer than NAME_MAX */
    size_t len;
};

/* A name with a NUL inside is left out: there is nothing that it could mean. */
struct sp_tls_names {
    struct sp_tls_name items[SP_TLS_NAMES_MAX + 2];
    size_t count;
    bool too_many; /* more than NAMES_MAX alternative names of any kind: all left out */
};

/* False: the DER cannot be parsed; ret is empty then, and needs no _done. */
bool sp_tls_names_read(const struct sp_bytes *der, struct sp_tls_names *ret);
void sp_tls_names_done(struct sp_tls_names *names);
/* Folds a text as names of that kind are folded. */
void sp_tls_names_fold(enum sp_tls_name_kind kind, char *text);

/* By what a certificate and its issuer find each other. Key identifiers as digests: equal ones are
 * equal, unequal ones are not by accident. */
struct sp_tls_link {
    uint8_t *subject, *issuer; /* DER */
    size_t subject_len, issuer_len;
    uint64_t subject_key, authority_key; /* 0: none that is usable */
};

/* False: cannot be parsed; ret is empty then, and needs no _done. */
bool sp_tls_link_read(const struct sp_bytes *der, struct sp_tls_link *ret);
/* That of the CA at index of a trust set, the system's included; false: past the last. */
bool sp_tls_link_read_trusted(const struct sp_tls_trust *trust, size_t index,
                              struct sp_tls_link *ret);
void sp_tls_link_done(struct sp_tls_link *link);
#endif
