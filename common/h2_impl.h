/*
 * h2_impl: what h2_session.c, h2_receive.c and h2_send.c share. Nobody else includes this.
 */
#ifndef SALLYPORT_COMMON_H2_IMPL_H
#define SALLYPORT_COMMON_H2_IMPL_H
#include "common/h2_session.h"
#include "common/h2_window.h"
#include "common/token_bucket.h"

#include <nghttp2/nghttp2.h>

#define SP_H2_FIELD_MAX       512u /* :authority and Proxy-Status; a host:port is at most 261 */
#define SP_H2_HEADER_LIST_MAX 16384u
/* The header block that is being received: there is one at a time on a connection. */
struct sp_h2_head {
    char method[24];
    char text[SP_H2_FIELD_MAX + 1]; /* request: :authority; response: Proxy-Status */
    size_t text_len;
    size_t list_size; /* as SETTINGS_MAX_HEADER_LIST_SIZE counts */
    int status;
    bool bad; /* a field that must not be there, or one that is too long */
};

struct sp_h2_pages {
    void *at; /* NULL: not there */
    size_t len;
};

struct sp_h2_stream {
    struct sp_h2_session *session;
    struct sp_h2_stream *prev, *next;
    void *ctx;
    int32_t id;
    bool announced : 1; /* the owner knows it: on_close is owed */
    bool answered : 1;  /* the final response was sent or received */
    bool refused : 1;   /* ... and was not 2xx */
    bool deferred : 1;  /* nghttp2 asks no more until sp_h2_resume */
    bool reset : 1;     /* our RST_STREAM is on its way */
    bool peer_ended : 1;
    struct sp_h2_window window;
};

struct sp_h2_session {
    nghttp2_session *ng;
    struct sp_h2_callbacks cb;
    void *ctx;
    struct sp_h2_stream *streams;
    size_t stream_count;
    bool server : 1;
    bool settings_seen : 1;
    bool settings_acked : 1;
    bool no_new_streams : 1;
    bool broken : 1;        /* nghttp2 reported a fatal error: it is not called again */
    unsigned pings;         /* sent, not answered */
    unsigned own_goaways;   /* queued by sp_h2_goaway, not yet sent */
    uint32_t initial_asked; /* our SETTINGS with it is on its way; 0: none */
    struct sp_h2_window_budget windows;
    struct sp_token_bucket calm;  /* frames that cost work and move no bytes */
    struct sp_token_bucket haste; /* requests that end before they were answered */
    enum sp_err failed;           /* SP_OK: not */
    int failed_code;
    char failed_text[120];
    uint8_t *out; /* the caller's buffer, while sp_h2_output fills it */
    size_t out_cap;
    size_t out_len;
    const uint8_t *control; /* nghttp2's bytes that did not fit into the last buffer */
    size_t control_len;
    struct sp_h2_pages frame_pages, table_pages; /* h2_memory's */
    bool rest_soon; /* the tunnel has just begun, or was asked whether it lives: likely idle */
    struct sp_h2_head head;
};

uint64_t sp_h2_now_ms(void);
/* The first failure is kept; feed and output report it. */
void sp_h2_fail(struct sp_h2_session *session, enum sp_err kind, int code, const char *fmt, ...)
    SP_PRINTF(4, 5);
/* A negative answer of nghttp2 that ends the session. */
void sp_h2_fail_ng(struct sp_h2_session *session, int rv);
/* For calls of nghttp2 from functions that cannot fail: only memory can be missing. */
void sp_h2_check(struct sp_h2_session *session, int rv);
/* Ends the session: GOAWAY (ENHANCE_YOUR_CALM) is queued, whatever else comes is ignored. */
void sp_h2_flood(struct sp_h2_session *session, const char *what);
enum sp_err sp_h2_report(const struct sp_h2_session *session, struct sp_error *err);

/* Streams have come or gone, or the peer has heeded our SETTINGS. */
void sp_h2_windows_fit(struct sp_h2_session *session);
void sp_h2_connection_grant(struct sp_h2_session *session);
struct sp_h2_stream *sp_h2_stream_new(struct sp_h2_session *session, void *ctx);
void sp_h2_stream_drop(struct sp_h2_stream *stream, uint32_t error_code);
struct sp_h2_stream *sp_h2_stream_of(nghttp2_session *ng, int32_t id);

/* Every block of the session's nghttp2 goes through it, to the last. */
nghttp2_mem sp_h2_memory(struct sp_h2_session *session);
/* Nothing is on its way out: memory that is needed only for that goes until it is needed again. */
void sp_h2_memory_rest(struct sp_h2_session *session);
void sp_h2_receive_callbacks(nghttp2_session_callbacks *callbacks);
void sp_h2_send_callbacks(nghttp2_session_callbacks *callbacks);
nghttp2_data_provider sp_h2_send_provider(struct sp_h2_stream *stream);
#endif
