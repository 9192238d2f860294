/*
 * fetch_impl: what the files behind fetch.h share: fetch.c (the loop, a fetch's life),
 * fetch_transfer.c (what libcurl is told, and what it hands back), fetch_error.c (what is said when
 * it fails). Nobody else includes it.
 */
#ifndef SALLYPORT_COMMON_FETCH_IMPL_H
#define SALLYPORT_COMMON_FETCH_IMPL_H
#include "common/addr.h"
#include "common/fetch.h"
#include "common/loop.h"
#include "common/resolve.h"
#include "common/url.h"
#include <curl/curl.h>

#define SP_FETCH_HEADERS_MAX (32 * 1024) /* a server may send header lines for ever */
#define SP_FETCH_TEXT        160         /* of a URL, or of the server's words, in a message */

/* What makes us hang up on a server that would have gone on. */
enum sp_fetch_stop {
    SP_FETCH_STOP_NONE,
    SP_FETCH_STOP_STATUS,
    SP_FETCH_STOP_BODY,
    SP_FETCH_STOP_ENOUGH, /* any_status: max_bytes of the body are here */
    SP_FETCH_STOP_HEADERS,
    SP_FETCH_STOP_MEMORY,
};

struct sp_fetch {
    struct sp_fetcher *fetcher;
    struct sp_fetch *next, **prev;
    sp_fetch_cb on_done;
    void *ctx;
    struct sp_query *query;
    struct sp_timer *deadline;
    struct sp_task tell; /* the end is always told from here: never from inside libcurl */
    unsigned timeout_ms;
    size_t max_bytes;
    enum sp_fetch_reach reach;
    bool has_etag, any_status;
    bool in_multi;
    CURL *easy;
    CURLSH *share; /* for its names: in the multi each host of a hostile certificate would stay */
    CURLU *curl_url;
    struct curl_slist *headers, *resolved;
    struct sp_url url;
    struct sp_addr addrs[SP_RESOLVE_MAX]; /* judged good */
    size_t addr_count;
    struct sp_ip refused; /* at the moment of dialling; family 0: none */
    enum sp_fetch_stop stop;
    size_t header_bytes;
    uint8_t *body;
    size_t len, cap;
    int status;
    struct sp_error error;
    char content_type[128], etag[256];
    char location[SP_URL_MAX + 1];
    int64_t date;
    char shown[SP_FETCH_TEXT]; /* the URL for messages */
    char detail[CURL_ERROR_SIZE];
};

/* ---- fetch_transfer.c ---- */

/* Makes everything of the request but the addresses. False: .error says why it can not be. */
bool sp_fetch_transfer_prepare(struct sp_fetch *f, const struct sp_fetch_request *request);
/* Takes the addresses that may be reached. False: there is none, .error says why. */
bool sp_fetch_transfer_reach(struct sp_fetch *f, const struct sp_addr *addrs, size_t count);
/* It has ended: fills the result or .error. */
void sp_fetch_transfer_done(struct sp_fetch *f, CURLcode code);
void sp_fetch_transfer_drop(struct sp_fetch *f); /* not in the multi any more */
bool sp_fetch_transfer_is_wanted(const struct sp_fetch *f, long status);

/* ---- fetch_error.c: each sets .error ---- */

const char *sp_fetch_error_show(const char *text, char buf[SP_FETCH_TEXT]); /* escaped, cut */
void sp_fetch_error_set(struct sp_fetch *f, enum sp_err kind, const char *text);
void sp_fetch_error_timeout(struct sp_fetch *f);
void sp_fetch_error_reach(struct sp_fetch *f, const struct sp_ip *ip);
void sp_fetch_error_explain(struct sp_fetch *f, CURLcode code); /* a transfer that failed */
#endif
