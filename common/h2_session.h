/*
 * h2_session: one HTTP/2 connection that carries CONNECT streams (RFC 9113 section 8.5); both
 * roles. Bytes in, bytes out; no sockets. Only the common/h2_*.c files know nghttp2.
 *
 * Receiving: sp_h2_feed calls the callbacks. Sending is pulled: sp_h2_output fills the caller's
 * buffer with frames, and asks on_pull for a stream's bytes at the moment they can leave, so
 * nothing is buffered here. Flow control is end to end: a stream's bytes count as received only
 * after sp_h2_consumed; the connection's window opens at once, so that a slow stream slows itself
 * alone. A stream's window follows its own rate while the reader keeps up (h2_window.h has the rule
 * and the bounds).
 *
 * One thread. Callbacks may call every function here but sp_h2_free, sp_h2_feed and sp_h2_output.
 * Ownership: a stream is borrowed and lives from sp_h2_connect / on_request until on_close returns.
 */
#ifndef SALLYPORT_COMMON_H2_SESSION_H
#define SALLYPORT_COMMON_H2_SESSION_H
#include "common/error.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct sp_h2_session; /* opaque */
struct sp_h2_stream;  /* opaque */

#define SP_H2_PULL_AGAIN (-1) /* nothing now: sp_h2_resume when there is */
#define SP_H2_PULL_RESET (-2) /* reset the stream (CONNECT_ERROR) */

struct sp_h2_request {
    const char *method;    /* "CONNECT" */
    const char *authority; /* NUL-terminated; "" if absent */
    size_t authority_len;
    /* A CONNECT to be answered 400: Content-Length; a Host that is not the :authority; a field with
     * a forbidden character; more than 16 KiB of fields; an authority over 512 bytes (cut here).
     * What is worse (no or a repeated :authority, :scheme, :path, :protocol, Transfer-Encoding,
     * Connection, ...) was refused with RST_STREAM (PROTOCOL_ERROR) and does not come here. */
    bool malformed;
};

struct sp_h2_callbacks {
    void (*on_settings)(void *ctx); /* the peer's first SETTINGS: the tunnel works */
    /* Server. Answer with sp_h2_respond or sp_h2_reset, now or later. */
    void (*on_request)(void *ctx, struct sp_h2_stream *stream, const struct sp_h2_request *request);
    /* Client: final status; proxy_status "" if absent. status 2xx: the channel is open, on_pull is
     * asked from now on. Others: on_close follows, without on_data and on_end. */
    void (*on_response)(void *ctx, struct sp_h2_stream *stream, int status,
                        const char *proxy_status);
    void (*on_data)(void *ctx, struct sp_h2_stream *stream, const uint8_t *data, size_t len);
    void (*on_end)(void *ctx, struct sp_h2_stream *stream); /* END_STREAM: the peer sends no more */
    /* Up to cap bytes into buf. Returns the count, or SP_H2_PULL_*; *ret_end: nothing follows
     * (with 0 or more bytes). sp_h2_resume of the stream from inside this has no effect. */
    ssize_t (*on_pull)(void *ctx, struct sp_h2_stream *stream, uint8_t *buf, size_t cap,
                       bool *ret_end);
    /* Exactly once; the stream is gone after it. error_code 0 (NO_ERROR) after both ENDs. */
    void (*on_close)(void *ctx, struct sp_h2_stream *stream, uint32_t error_code);
    void (*on_goaway)(void *ctx, uint32_t error_code, const char *debug, size_t debug_len);
    void (*on_pong)(void *ctx);
};

struct sp_h2_options {
    bool server;
    uint32_t max_streams;    /* server: that the peer may have: SETTINGS_MAX_CONCURRENT_STREAMS */
    uint32_t window_initial; /* bytes a stream may be ahead of its reader at first; 0: 256 KiB */
    uint32_t window_max;     /* and after growth; 0: 32 MiB */
};

SP_MUST_USE enum sp_err sp_h2_new(const struct sp_h2_options *options,
                                  const struct sp_h2_callbacks *callbacks, void *ctx,
                                  struct sp_h2_session **ret_session, struct sp_error *err);
/* Streams still there get on_close (error_code CANCEL 8). */
void sp_h2_free(struct sp_h2_session *session);

/* SP_ERR_H2: the peer floods or breaks the protocol, SP_ERR_MEMORY: both for good. sp_h2_output may
 * still have a GOAWAY for it. Some violations are reported by sp_h2_output, after its GOAWAY. */
SP_MUST_USE enum sp_err sp_h2_feed(struct sp_h2_session *session, const uint8_t *data, size_t len,
                                   struct sp_error *err);
/* Fills buf with frames to send; *ret_len 0: nothing now (on an error too). With a cap of
 * SP_H2_PIECE (at least 1 KiB) small frames share a record, and a DATA frame of a busy stream fills
 * it exactly, so one read of its socket does. Frames are as long as that only for a peer that takes
 * them, as this module does (SETTINGS_MAX_FRAME_SIZE).
 *
 * Four TLS records, whose overhead included it is a little less than the 64 KiB that the kernel
 * sends on in one go: the few bytes above them would take a way of their own through TCP (a seventh
 * of the CPU that a byte costs; doc/bench/PROFILE.md). */
#define SP_H2_PIECE 65280
SP_MUST_USE enum sp_err sp_h2_output(struct sp_h2_session *session, uint8_t *buf, size_t cap,
                                     size_t *ret_len, struct sp_error *err);
/* False when there is nothing to send and nothing to wait for: close the connection. */
bool sp_h2_is_alive(const struct sp_h2_session *session);

/* Client: opens a stream. SP_ERR_LIMIT: the peer's stream limit is reached, or GOAWAY was seen. */
SP_MUST_USE enum sp_err sp_h2_connect(struct sp_h2_session *session, const char *authority,
                                      void *stream_ctx, struct sp_h2_stream **ret_stream,
                                      struct sp_error *err);
bool sp_h2_can_connect(const struct sp_h2_session *session);
/* Server, once. 2xx opens the stream for data (on_pull is asked from now on); others end it, both
 * ways. proxy_status NULL: no such field. */
void sp_h2_respond(struct sp_h2_stream *stream, int status, const char *proxy_status);
void sp_h2_resume(struct sp_h2_stream *stream);               /* on_pull has bytes again */
void sp_h2_consumed(struct sp_h2_stream *stream, size_t len); /* received bytes were passed on */
/* The reader has had its first look at what on_data gave: what is not consumed now waits for it. */
void sp_h2_looked(struct sp_h2_stream *stream);
/* on_data, on_end and on_pull stop at once; on_close comes from a later sp_h2_output. */
void sp_h2_reset(struct sp_h2_stream *stream, uint32_t error_code);
#define SP_H2_NO_ERROR      0x0u
#define SP_H2_REFUSED       0x7u
#define SP_H2_CANCEL        0x8u
#define SP_H2_CONNECT_ERROR 0xau
void sp_h2_stream_set_ctx(struct sp_h2_stream *stream, void *ctx);
void *sp_h2_stream_ctx(const struct sp_h2_stream *stream);

/* No new streams from now on; those open may finish. A stream that the peer opened before it heard
 * of this is ignored here and closed as REFUSED there: nothing was done for it, it may be tried
 * again elsewhere. debug: at most 200 bytes, ASCII; may be NULL. */
void sp_h2_goaway(struct sp_h2_session *session, uint32_t error_code, const char *debug);
void sp_h2_ping(struct sp_h2_session *session);
size_t sp_h2_stream_count(const struct sp_h2_session *session);
#endif
