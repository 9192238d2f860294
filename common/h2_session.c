#include "common/h2_impl.h"
#include "common/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WINDOW_INITIAL  (256u << 10)
#define WINDOW_MAX      (32u << 20)
#define GOAWAY_TEXT_MAX 200u
/* PING, SETTINGS, PRIORITY and empty DATA frames of the peer: far more than anybody needs. */
#define CALM_BURST 1000u
#define CALM_RATE  100u
/* Requests that end before they were answered make a "rapid reset" expensive. Resets of streams
 * that were open are ordinary (applications abort), so nghttp2's limit on all resets is set aside.
 */
#define HASTE_BURST_MIN 1000u
#define HASTE_RATE      200u
/* CONTINUATION frames of a header block. 16 KiB would need one, but Debian's nghttp2 also counts
 * each time it is fed a part of such a frame's head. */
#define CONTINUATIONS_MAX 32u

/* ---- failing ---- */

uint64_t sp_h2_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void sp_h2_fail(struct sp_h2_session *session, enum sp_err kind, int code, const char *fmt, ...)
{
    va_list args;

    if (session->failed != SP_OK)
        return;
    session->failed = kind;
    session->failed_code = code;
    va_start(args, fmt);
    vsnprintf(session->failed_text, sizeof session->failed_text, fmt, args);
    va_end(args);
}

void sp_h2_fail_ng(struct sp_h2_session *session, int rv)
{
    session->broken = true;
    if (rv == NGHTTP2_ERR_NOMEM)
        sp_h2_fail(session, SP_ERR_MEMORY, rv, "out of memory in the HTTP/2 session");
    else if (rv == NGHTTP2_ERR_BAD_CLIENT_MAGIC)
        sp_h2_fail(session, SP_ERR_H2, NGHTTP2_PROTOCOL_ERROR,
                   "the peer does not speak HTTP/2: no connection preface");
    else if (rv == NGHTTP2_ERR_FLOODED)
        sp_h2_fail(session, SP_ERR_H2, NGHTTP2_ENHANCE_YOUR_CALM,
                   "flood: PING or SETTINGS frames whose answers are not read");
    else if (rv == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS)
        sp_h2_fail(session, SP_ERR_H2, NGHTTP2_ENHANCE_YOUR_CALM,
                   "flood: a header block in too many CONTINUATION frames");
    else
        sp_h2_fail(session, SP_ERR_H2, NGHTTP2_INTERNAL_ERROR, "HTTP/2 failed: %s",
                   nghttp2_strerror(rv));
}

void sp_h2_check(struct sp_h2_session *session, int rv)
{
    if (rv < 0 && nghttp2_is_fatal(rv))
        sp_h2_fail_ng(session, rv);
}

void sp_h2_flood(struct sp_h2_session *session, const char *what)
{
    sp_h2_fail(session, SP_ERR_H2, NGHTTP2_ENHANCE_YOUR_CALM, "flood: %s", what);
    sp_h2_check(session, nghttp2_session_terminate_session(session->ng, NGHTTP2_ENHANCE_YOUR_CALM));
}

enum sp_err sp_h2_report(const struct sp_h2_session *session, struct sp_error *err)
{
    return sp_error_code(err, session->failed, session->failed_code, "%s", session->failed_text);
}

/* ---- streams ---- */

struct sp_h2_stream *sp_h2_stream_new(struct sp_h2_session *session, void *ctx)
{
    struct sp_h2_stream *stream = sp_calloc(1, sizeof *stream);

    stream->session = session;
    stream->ctx = ctx;
    sp_h2_window_open(&stream->window, &session->windows, sp_h2_now_ms());
    stream->next = session->streams;
    if (stream->next)
        stream->next->prev = stream;
    session->streams = stream;
    session->stream_count++;
    sp_h2_windows_fit(session);
    return stream;
}

void sp_h2_stream_drop(struct sp_h2_stream *stream, uint32_t error_code)
{
    struct sp_h2_session *session = stream->session;

    if (stream->prev)
        stream->prev->next = stream->next;
    else
        session->streams = stream->next;
    if (stream->next)
        stream->next->prev = stream->prev;
    session->stream_count--;
    stream->reset = true; /* what on_close may still call with it has no effect, */
    if (stream->announced)
        session->cb.on_close(session->ctx, stream, error_code);
    sp_h2_window_close(&stream->window, &session->windows); /* but sp_h2_consumed has */
    sp_h2_connection_grant(session);
    sp_h2_windows_fit(session);
    free(stream);
}

struct sp_h2_stream *sp_h2_stream_of(nghttp2_session *ng, int32_t id)
{
    return nghttp2_session_get_stream_user_data(ng, id);
}

static nghttp2_nv field(const char *name, const char *value)
{
    /* nghttp2 does not write through these pointers; its struct only lacks the const. */
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .namelen = strlen(name),
                        .value = (uint8_t *)(uintptr_t)value,
                        .valuelen = strlen(value),
                        .flags = NGHTTP2_NV_FLAG_NO_COPY_NAME};
}

static uint32_t peer_limit(const struct sp_h2_session *session)
{
    return nghttp2_session_get_remote_settings(session->ng,
                                               NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

bool sp_h2_can_connect(const struct sp_h2_session *session)
{
    return !session->server && !session->no_new_streams && session->failed == SP_OK &&
           session->stream_count < peer_limit(session) &&
           nghttp2_session_check_request_allowed(session->ng);
}

enum sp_err sp_h2_connect(struct sp_h2_session *session, const char *authority, void *stream_ctx,
                          struct sp_h2_stream **ret_stream, struct sp_error *err)
{
    const nghttp2_nv fields[] = {field(":method", "CONNECT"), field(":authority", authority)};
    struct sp_h2_stream *stream;
    int32_t id;

    SP_REQUIRE(!session->server);
    if (session->failed != SP_OK)
        return sp_h2_report(session, err);
    if (session->no_new_streams)
        return sp_error_set(err, SP_ERR_LIMIT, "the tunnel takes no new channels (GOAWAY)");
    if (!sp_h2_can_connect(session))
        return sp_error_set(err, SP_ERR_LIMIT, "the tunnel is full: %zu channels, %u allowed",
                            session->stream_count, peer_limit(session));
    stream = sp_h2_stream_new(session, stream_ctx);
    id = nghttp2_submit_headers(session->ng, NGHTTP2_FLAG_NONE, -1, NULL, fields, 2, stream);
    if (id < 0) {
        sp_h2_stream_drop(stream, SP_H2_CANCEL);
        sp_h2_check(session, id);
        return session->failed == SP_OK
                   ? sp_error_set(err, SP_ERR_LIMIT, "the tunnel takes no new channels: %s",
                                  nghttp2_strerror(id))
                   : sp_h2_report(session, err);
    }
    stream->id = id;
    stream->announced = true;
    *ret_stream = stream;
    return SP_OK;
}

void sp_h2_respond(struct sp_h2_stream *stream, int status, const char *proxy_status)
{
    struct sp_h2_session *session = stream->session;
    nghttp2_data_provider provider = sp_h2_send_provider(stream);
    char digits[SP_TEXT_DECIMAL];
    nghttp2_nv fields[2];

    SP_REQUIRE(session->server && !stream->answered && status >= 200 && status <= 999);
    if (stream->reset)
        return;
    sp_text_decimal((uint64_t)status, digits);
    fields[0] = field(":status", digits);
    fields[1] = field("proxy-status", proxy_status ? proxy_status : "");
    stream->answered = true;
    stream->refused = status / 100 != 2;
    sp_h2_check(session,
                nghttp2_submit_response(session->ng, stream->id, fields, proxy_status ? 2 : 1,
                                        stream->refused ? NULL : &provider));
}

void sp_h2_reset(struct sp_h2_stream *stream, uint32_t error_code)
{
    struct sp_h2_session *session = stream->session;

    if (stream->reset)
        return;
    stream->reset = true;
    sp_h2_check(session,
                nghttp2_submit_rst_stream(session->ng, NGHTTP2_FLAG_NONE, stream->id, error_code));
}

void sp_h2_stream_set_ctx(struct sp_h2_stream *stream, void *ctx)
{
    stream->ctx = ctx;
}

void *sp_h2_stream_ctx(const struct sp_h2_stream *stream)
{
    return stream->ctx;
}

/* ---- the session ---- */

size_t sp_h2_stream_count(const struct sp_h2_session *session)
{
    return session->stream_count;
}

bool sp_h2_is_alive(const struct sp_h2_session *session)
{
    if (session->control_len > 0)
        return true;
    return !session->broken &&
           (nghttp2_session_want_read(session->ng) || nghttp2_session_want_write(session->ng));
}

void sp_h2_goaway(struct sp_h2_session *session, uint32_t error_code, const char *debug)
{
    size_t queued = nghttp2_session_get_outbound_queue_size(session->ng);
    int32_t last = nghttp2_session_get_last_proc_stream_id(session->ng);

    session->no_new_streams = true;
    sp_h2_check(session, nghttp2_submit_goaway(session->ng, NGHTTP2_FLAG_NONE, last, error_code,
                                               (const uint8_t *)debug,
                                               debug ? strnlen(debug, GOAWAY_TEXT_MAX) : 0));
    /* nghttp2 drops it when it has a GOAWAY of its own on the way. */
    if (nghttp2_session_get_outbound_queue_size(session->ng) > queued)
        session->own_goaways++;
}

void sp_h2_ping(struct sp_h2_session *session)
{
    session->pings++;
    sp_h2_check(session, nghttp2_submit_ping(session->ng, NGHTTP2_FLAG_NONE, NULL));
}

static int make_ng(struct sp_h2_session *session)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    nghttp2_mem memory = sp_h2_memory(session);
    int rv = nghttp2_session_callbacks_new(&callbacks);

    if (rv == 0)
        rv = nghttp2_option_new(&option);
    if (rv == 0) {
        sp_h2_receive_callbacks(callbacks);
        sp_h2_send_callbacks(callbacks);
        nghttp2_option_set_no_auto_window_update(option, 1);
        nghttp2_option_set_no_closed_streams(option, 1);
        nghttp2_option_set_peer_max_concurrent_streams(option, 100);
        nghttp2_option_set_stream_reset_rate_limit(option, UINT32_MAX, UINT32_MAX);
        nghttp2_option_set_max_continuations(option, CONTINUATIONS_MAX);
        /* A status is in the static table, and a refusal's reason is seldom said twice. */
        if (session->server)
            nghttp2_option_set_max_deflate_dynamic_table_size(option, 0);
        rv = session->server
                 ? nghttp2_session_server_new3(&session->ng, callbacks, session, option, &memory)
                 : nghttp2_session_client_new3(&session->ng, callbacks, session, option, &memory);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return rv;
}

static int send_settings(struct sp_h2_session *session, uint32_t max_streams)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, session->server ? max_streams : 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, session->windows.initial},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, SP_H2_HEADER_LIST_MAX},
        {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, SP_H2_PIECE},
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}, /* a client's only */
    };
    int rv =
        nghttp2_submit_settings(session->ng, NGHTTP2_FLAG_NONE, settings, session->server ? 4 : 5);

    return rv != 0 ? rv
                   : nghttp2_session_set_local_window_size(session->ng, NGHTTP2_FLAG_NONE, 0,
                                                           SP_H2_CONNECTION_WINDOW);
}

enum sp_err sp_h2_new(const struct sp_h2_options *options, const struct sp_h2_callbacks *callbacks,
                      void *ctx, struct sp_h2_session **ret_session, struct sp_error *err)
{
    struct sp_h2_session *session = sp_calloc(1, sizeof *session);
    uint32_t haste =
        options->max_streams > HASTE_BURST_MIN ? options->max_streams : HASTE_BURST_MIN;
    enum sp_err failed;
    int rv;

    session->cb = *callbacks;
    session->ctx = ctx;
    session->server = options->server;
    session->windows.full = options->window_initial ? options->window_initial : WINDOW_INITIAL;
    session->windows.initial = session->windows.full;
    session->windows.max = options->window_max ? options->window_max : WINDOW_MAX;
    if (session->windows.max < session->windows.initial)
        session->windows.max = session->windows.initial;
    sp_token_bucket_init(&session->calm, CALM_BURST, CALM_RATE, sp_h2_now_ms());
    sp_token_bucket_init(&session->haste, haste, HASTE_RATE, sp_h2_now_ms());
    rv = make_ng(session);
    if (rv == 0)
        rv = send_settings(session, options->max_streams);
    if (rv == 0) {
        *ret_session = session;
        return SP_OK;
    }
    sp_h2_fail_ng(session, rv);
    failed = sp_h2_report(session, err);
    sp_h2_free(session);
    return failed;
}

void sp_h2_free(struct sp_h2_session *session)
{
    if (!session)
        return;
    session->no_new_streams = true;
    while (session->streams)
        sp_h2_stream_drop(session->streams, SP_H2_CANCEL);
    nghttp2_session_del(session->ng);
    free(session);
}
