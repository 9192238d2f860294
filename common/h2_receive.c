#include "common/h2_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WINDOW_UNACKED                                                                             \
    65535u /* RFC 9113's, which a stream has until the peer knows our SETTINGS                     \
            */
/* Frames waiting to leave, beyond which a peer does not read what we send. */
#define QUEUE_MAX            1000u
#define QUEUE_MAX_PER_STREAM 4u

static void drain_calm(struct sp_h2_session *session, const char *what)
{
    if (!sp_token_bucket_take(&session->calm, sp_h2_now_ms()))
        sp_h2_flood(session, what);
}

/* ---- flow control ---- */

void sp_h2_connection_grant(struct sp_h2_session *session)
{
    int32_t credit = nghttp2_session_get_local_window_size(session->ng);
    uint32_t grant = sp_h2_window_connection(&session->windows, credit);

    if (grant && !session->broken)
        sp_h2_check(session, nghttp2_submit_window_update(session->ng, NGHTTP2_FLAG_NONE, 0,
                                                          (int32_t)grant));
}

void sp_h2_windows_fit(struct sp_h2_session *session)
{
    uint32_t wanted = sp_h2_window_initial(&session->windows, session->stream_count);
    const nghttp2_settings_entry entry = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, wanted};

    if (wanted == session->windows.initial || !session->settings_acked || session->initial_asked ||
        session->no_new_streams || session->broken)
        return;
    session->initial_asked = wanted;
    sp_h2_check(session, nghttp2_submit_settings(session->ng, NGHTTP2_FLAG_NONE, &entry, 1));
}

/* nghttp2 has just done the same to its own books (RFC 9113 section 6.9.2). */
static void initial_heeded(struct sp_h2_session *session)
{
    int64_t delta = (int64_t)session->initial_asked - session->windows.initial;

    if (!session->initial_asked)
        return;
    session->windows.initial = session->initial_asked;
    session->initial_asked = 0;
    for (struct sp_h2_stream *stream = session->streams; stream; stream = stream->next)
        sp_h2_window_shift(&stream->window, delta);
    sp_h2_windows_fit(session);
}

/* What the peer may still send on a stream; below 0 after it began with less. */
static int64_t stream_credit(struct sp_h2_stream *stream)
{
    nghttp2_session *ng = stream->session->ng;
    int32_t window = nghttp2_session_get_stream_effective_local_window_size(ng, stream->id);

    return (int64_t)window - nghttp2_session_get_stream_effective_recv_data_length(ng, stream->id);
}

void sp_h2_consumed(struct sp_h2_stream *stream, size_t len)
{
    struct sp_h2_session *session = stream->session;
    bool acked = session->settings_acked;
    uint32_t size = stream->window.size;
    int64_t grant;

    SP_REQUIRE(len <= stream->window.backlog);
    session->windows.held -= len;
    sp_h2_connection_grant(session);
    /* nghttp2 adds the difference to all streams when the ACK comes. */
    if (!acked && size > WINDOW_UNACKED)
        size = WINDOW_UNACKED;
    if (!sp_h2_window_consumed(&stream->window, len, size) || stream->reset || stream->peer_ended)
        return;
    if (acked) {
        sp_h2_window_judge(&stream->window, &session->windows, sp_h2_now_ms());
        size = stream->window.size;
    }
    /* nghttp2 keeps the books (padding counts there too); we only say how much there should be. */
    grant = (int64_t)size - stream_credit(stream) - stream->window.backlog;
    if (grant > 0)
        sp_h2_check(session, nghttp2_submit_window_update(session->ng, NGHTTP2_FLAG_NONE,
                                                          stream->id, (int32_t)grant));
}

void sp_h2_looked(struct sp_h2_stream *stream)
{
    sp_h2_window_peak(&stream->window);
}

/* ---- header blocks ---- */

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct sp_h2_session *session = user;
    struct sp_h2_stream *stream;

    session->head = (struct sp_h2_head){.status = 0};
    if (!session->server || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    stream = sp_h2_stream_new(session, NULL);
    stream->id = frame->hd.stream_id;
    nghttp2_session_set_stream_user_data(ng, stream->id, stream);
    return 0;
}

static bool is_name(const uint8_t *name, size_t len, const char *wanted)
{
    return len == strlen(wanted) && memcmp(name, wanted, len) == 0;
}

static size_t copy_value(char *to, size_t room, const uint8_t *value, size_t len, bool *ret_cut)
{
    if (len >= room) {
        len = room - 1;
        *ret_cut = true;
    }
    memcpy(to, value, len);
    to[len] = '\0';
    return len;
}

/* nghttp2 has refused repeated pseudo fields and hosts, :scheme, :path and :protocol on CONNECT,
 * and the connection's fields (Transfer-Encoding...), each with RST_STREAM (PROTOCOL_ERROR). */
static void add_request_field(struct sp_h2_head *head, const uint8_t *name, size_t name_len,
                              const uint8_t *value, size_t len)
{
    if (is_name(name, name_len, ":authority"))
        head->text_len = copy_value(head->text, sizeof head->text, value, len, &head->bad);
    else if (is_name(name, name_len, ":method"))
        copy_value(head->method, sizeof head->method, value, len, &head->bad);
    else if (is_name(name, name_len, "content-length"))
        head->bad = true;
    else if (is_name(name, name_len, "host") &&
             (len != head->text_len || strncasecmp((const char *)value, head->text, len) != 0))
        head->bad = true;
}

static void add_response_field(struct sp_h2_head *head, const uint8_t *name, size_t name_len,
                               const uint8_t *value, size_t len)
{
    size_t room = sizeof head->text - head->text_len;
    int written;

    if (is_name(name, name_len, ":status")) {
        head->status =
            (int)strtol((const char *)value, NULL, 10); /* three digits, nghttp2 checks */
    } else if (is_name(name, name_len, "proxy-status")) {
        /* A repeated field continues the list (RFC 9110 section 5.3); what is too long is cut. */
        written = snprintf(head->text + head->text_len, room, "%s%.*s", head->text_len ? ", " : "",
                           (int)len, (const char *)value);
        head->text_len += (size_t)written < room ? (size_t)written : room - 1;
    }
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user)
{
    struct sp_h2_session *session = user;
    struct sp_h2_head *head = &session->head;

    (void)ng;
    (void)flags;
    head->list_size += name_len + value_len + 32;
    if (head->list_size > SP_H2_HEADER_LIST_MAX)
        head->bad = true;
    else if (!session->server)
        add_response_field(head, name, name_len, value, value_len);
    else if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        add_request_field(head, name, name_len, value, value_len);
    return 0;
}

/* A field that nghttp2 drops silently: a control character in its value, an impossible name. */
static int on_invalid_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
                             size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                             void *user)
{
    struct sp_h2_session *session = user;

    (void)ng;
    (void)frame;
    (void)name;
    (void)name_len;
    (void)value;
    (void)value_len;
    (void)flags;
    session->head.bad = true;
    return 0;
}

static void request_received(struct sp_h2_session *session, struct sp_h2_stream *stream)
{
    const struct sp_h2_head *head = &session->head;
    bool is_connect = strcmp(head->method, "CONNECT") == 0;
    const struct sp_h2_request request = {
        .method = head->method,
        .authority = head->text,
        .authority_len = head->text_len,
        .malformed = is_connect && (head->bad || head->text_len == 0),
    };

    stream->announced = true;
    session->cb.on_request(session->ctx, stream, &request);
}

static void response_received(struct sp_h2_session *session, struct sp_h2_stream *stream, bool end)
{
    nghttp2_data_provider provider = sp_h2_send_provider(stream);
    int status = session->head.status;

    if (status < 100) {
        sp_h2_reset(stream, NGHTTP2_PROTOCOL_ERROR);
        return;
    }
    if (status < 200)
        return;
    stream->answered = true;
    stream->refused = status / 100 != 2;
    session->cb.on_response(session->ctx, stream, status, session->head.text);
    if (stream->reset)
        return;
    /* After a refusal our side ends too (read_data sees to it); a body that would follow it
     * interests nobody. */
    if (stream->refused && !end)
        sp_h2_reset(stream, SP_H2_CANCEL);
    else
        sp_h2_check(session, nghttp2_submit_data(session->ng, NGHTTP2_FLAG_END_STREAM, stream->id,
                                                 &provider));
}

static void end_received(struct sp_h2_session *session, struct sp_h2_stream *stream)
{
    stream->peer_ended = true;
    if (!stream->reset && !(stream->refused && !session->server))
        session->cb.on_end(session->ctx, stream);
}

static void headers_received(struct sp_h2_session *session, const nghttp2_frame *frame)
{
    struct sp_h2_stream *stream = sp_h2_stream_of(session->ng, frame->hd.stream_id);
    bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

    if (!stream || stream->reset)
        return;
    if (session->server && !stream->announced)
        request_received(session, stream);
    else if (!session->server && !stream->answered)
        response_received(session, stream, end);
    if (end)
        end_received(session, stream);
}

/* ---- the other frames ---- */

static void data_frame_received(struct sp_h2_session *session, const nghttp2_frame *frame)
{
    struct sp_h2_stream *stream;

    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
        stream = sp_h2_stream_of(session->ng, frame->hd.stream_id);
        if (stream)
            end_received(session, stream);
    } else if (frame->hd.length == 0) {
        drain_calm(session, "empty DATA frames");
    }
}

static void settings_received(struct sp_h2_session *session, const nghttp2_frame *frame)
{
    if (frame->hd.flags & NGHTTP2_FLAG_ACK) {
        session->settings_acked = true;
        session->rest_soon = true;
        initial_heeded(session);
        return;
    }
    drain_calm(session, "SETTINGS frames");
    if (session->settings_seen)
        return;
    session->settings_seen = true;
    session->cb.on_settings(session->ctx);
}

static void ping_received(struct sp_h2_session *session, const nghttp2_frame *frame)
{
    if (!(frame->hd.flags & NGHTTP2_FLAG_ACK)) {
        drain_calm(session, "PING frames");
    } else if (session->pings > 0) {
        session->pings--;
        session->rest_soon = true;
        session->cb.on_pong(session->ctx);
    }
}

static int on_frame_recv(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct sp_h2_session *session = user;

    (void)ng;
    switch (frame->hd.type) {
    case NGHTTP2_DATA:
        data_frame_received(session, frame);
        break;
    case NGHTTP2_HEADERS:
        headers_received(session, frame);
        break;
    case NGHTTP2_SETTINGS:
        settings_received(session, frame);
        break;
    case NGHTTP2_PING:
        ping_received(session, frame);
        break;
    case NGHTTP2_PRIORITY:
        drain_calm(session, "PRIORITY frames");
        break;
    case NGHTTP2_GOAWAY:
        session->no_new_streams = true;
        session->cb.on_goaway(session->ctx, frame->goaway.error_code,
                              (const char *)frame->goaway.opaque_data,
                              frame->goaway.opaque_data_len);
        break;
    default:
        break;
    }
    return 0;
}

static int on_data_chunk(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data,
                         size_t len, void *user)
{
    struct sp_h2_session *session = user;
    struct sp_h2_stream *stream = sp_h2_stream_of(ng, id);

    (void)flags;
    if (stream && !stream->reset && !(stream->refused && !session->server)) {
        stream->window.backlog += (uint32_t)len;
        session->windows.held += len;
        session->cb.on_data(session->ctx, stream, data, len);
    }
    sp_h2_connection_grant(session);
    return 0;
}

static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t error_code, void *user)
{
    struct sp_h2_session *session = user;
    struct sp_h2_stream *stream = sp_h2_stream_of(ng, id);
    bool hasty;

    if (!stream)
        return 0;
    hasty = session->server && !stream->answered && !stream->reset;
    sp_h2_stream_drop(stream, error_code);
    if (hasty && !sp_token_bucket_take(&session->haste, sp_h2_now_ms()))
        sp_h2_flood(session, "requests that end before they were answered");
    return 0;
}

void sp_h2_receive_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, on_invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
}

enum sp_err sp_h2_feed(struct sp_h2_session *session, const uint8_t *data, size_t len,
                       struct sp_error *err)
{
    ssize_t rv;

    if (session->failed != SP_OK)
        return sp_h2_report(session, err);
    rv = nghttp2_session_mem_recv(session->ng, data, len);
    if (rv < 0)
        sp_h2_fail_ng(session, (int)rv);
    else if (nghttp2_session_get_outbound_queue_size(session->ng) >
             QUEUE_MAX + QUEUE_MAX_PER_STREAM * session->stream_count)
        sp_h2_flood(session, "requests whose answers are not read");
    return session->failed == SP_OK ? SP_OK : sp_h2_report(session, err);
}
