/*
 * tls_store: the credential of a folder that holds several: which one is meant.
 *
 * A candidate is NAME.pem, .crt or .cer with its private key in the same file or in NAME.key, or
 * NAME.p12 or .pfx; certificates without a key (CAs) are passed over. The one that fits the query
 * is chosen; of several, among those that are valid, the one that was issued last (the latest
 * notBefore, then the latest notAfter). Any thread.
 */
#ifndef SALLYPORT_COMMON_TLS_STORE_H
#define SALLYPORT_COMMON_TLS_STORE_H
#include "common/error.h"
#include <stdint.h>

struct sp_tls_cred;

#define SP_TLS_STORE_MAX 1000 /* candidates; more is an error */

struct sp_tls_store_query {
    const char *folder;
    const char *password_file;    /* of all that is encrypted in it; NULL: none */
    const char *subject_contains; /* in the RFC 4514 text, whatever the case; NULL: any */
    const char *issuer_contains;  /* the same */
    int64_t now;
    /* What is there and cannot be used: `path` is it, `text` says why. */
    void (*on_broken)(void *ctx, const char *path, const char *text);
    /* Where none can be chosen, each that was looked at: who it is, and why it is not the one. */
    void (*on_candidate)(void *ctx, const char *path, const char *text);
    void *ctx;
};

struct sp_tls_store_choice {
    struct sp_tls_cred *cred; /* the caller's reference */
    char *path;               /* of its certificate; free() */
    int64_t again_at; /* from this second on another one may be the right one; INT64_MAX: never */
};

/* Errors: the folder in .where; the text names candidates, as many as it has room for. */
SP_MUST_USE enum sp_err sp_tls_store_choose(const struct sp_tls_store_query *query,
                                            struct sp_tls_store_choice *ret_choice,
                                            struct sp_error *err);
#endif
