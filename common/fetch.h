/*
 * fetch: small documents over HTTP for ourselves (OCSP answers, CRLs), on the loop: libcurl's multi
 * interface does HTTP and TLS, our own resolver the names.
 *
 * Every address a URL leads to is judged before it is dialled, and judged again at the moment of
 * dialling. Each request has a connection of its own: one made for an administrator's URL must not
 * serve a certificate's. Redirects are never followed, no proxy and nothing of the user's (.netrc,
 * cookies) is used; https verifies the server by the system's store.
 *
 * Loop thread only. The callback comes exactly once, from the loop, never before sp_fetch_start has
 * returned, and never after sp_fetch_cancel. An idle fetcher does not hold the loop.
 */
#ifndef SALLYPORT_COMMON_FETCH_H
#define SALLYPORT_COMMON_FETCH_H
#include "common/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sp_loop;
struct sp_resolver;
struct sp_fetcher; /* opaque; one a loop */
struct sp_fetch;   /* opaque; gone once its callback was called */

enum sp_fetch_reach {
    SP_FETCH_ANYWHERE,  /* the administrator wrote this URL */
    SP_FETCH_NOT_LOCAL, /* ordinary and private addresses */
    SP_FETCH_PUBLIC,    /* ordinary addresses only: the URL came from a certificate */
};

struct sp_fetch_request {
    const char *url;  /* as sp_url_check wants it */
    const void *body; /* NULL: GET; otherwise POST; copied */
    size_t body_len;
    const char *content_type, *accept; /* NULL: none; no control characters */
    const char *etag;                  /* NULL: none; sent as If-None-Match */
    unsigned timeout_ms;               /* for all of it: name, connection, answer */
    size_t max_bytes;                  /* a longer body is an error */
    enum sp_fetch_reach reach;
    bool any_status; /* every answer is a result, and a longer body is cut: to see what is there */
};

/* Borrowed for the callback. */
struct sp_fetch_result {
    int status; /* 200, or 304 when an etag was given; any_status: 200 to 999 */
    const uint8_t *body;
    size_t len;
    const char *content_type, *etag; /* "": none */
    const char *location;            /* "": none; as the server wrote it */
    int64_t date;                    /* of its Date header, seconds since 1970; 0: none */
};

/* result NULL: error says why, for people, and begins with the URL ("http://ocsp.example/: answered
 * 503"). SP_ERR_TIMEOUT; SP_ERR_DENIED: reach; SP_ERR_LIMIT: max_bytes; SP_ERR_HTTP: another answer
 * than wanted (.code: its status, 0: none); SP_ERR_DNS; SP_ERR_SYS: no connection (.code: errno);
 * SP_ERR_CLOSED; SP_ERR_PEER_CERT, SP_ERR_TLS; SP_ERR_CONFIG: no URL of ours. */
typedef void (*sp_fetch_cb)(void *ctx, const struct sp_fetch_result *result,
                            const struct sp_error *error);

/* The resolver is borrowed, and freed after the fetcher. */
SP_MUST_USE enum sp_err sp_fetcher_new(struct sp_loop *loop, struct sp_resolver *resolver,
                                       struct sp_fetcher **ret_fetcher, struct sp_error *err);
/* Drops what runs, without a callback. NULL is fine. */
void sp_fetcher_free(struct sp_fetcher *fetcher);
/* How many run at a time is the caller's matter. */
struct sp_fetch *sp_fetch_start(struct sp_fetcher *fetcher, const struct sp_fetch_request *request,
                                sp_fetch_cb on_done, void *ctx);
void sp_fetch_cancel(struct sp_fetch *fetch); /* NULL is fine */
#endif
