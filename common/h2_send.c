#include "common/h2_impl.h"

#include <string.h>

#define FRAME_HEAD 9u
#define CAP_MIN    1024u
#define ROOM_MIN   512u /* less than this left: no further frame, DATA would be cut too small */

static size_t room(const struct sp_h2_session *session)
{
    return session->out_cap - session->out_len;
}

static ssize_t read_length(nghttp2_session *ng, uint8_t type, int32_t id, int32_t connection_window,
                           int32_t stream_window, uint32_t frame_max, void *user)
{
    const struct sp_h2_session *session = user;
    size_t len = room(session) - FRAME_HEAD;

    (void)ng;
    (void)type;
    (void)id;
    (void)connection_window; /* nghttp2 heeds the windows, but not the last */
    (void)stream_window;
    return (ssize_t)(len < frame_max ? len : frame_max);
}

/* nghttp2 asks for the payload of the next DATA frame. It goes straight to its place in the buffer
 * that is being filled; send_data puts the frame's head before it. */
static ssize_t read_data(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t cap, uint32_t *flags,
                         nghttp2_data_source *source, void *user)
{
    struct sp_h2_session *session = user;
    struct sp_h2_stream *stream = source->ptr;
    bool end = false;
    ssize_t got = SP_H2_PULL_AGAIN;

    (void)ng;
    (void)id;
    (void)buf;
    if (stream->refused) {
        got = 0;
        end = true;
    } else if (!stream->reset) {
        got = session->cb.on_pull(session->ctx, stream,
                                  session->out + session->out_len + FRAME_HEAD, cap, &end);
    }
    if (got == SP_H2_PULL_RESET)
        sp_h2_reset(stream, SP_H2_CONNECT_ERROR);
    if (got < 0 || stream->reset || (got == 0 && !end)) {
        stream->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    SP_REQUIRE((size_t)got <= cap);
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (end)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return got;
}

static int send_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head, size_t len,
                     nghttp2_data_source *source, void *user)
{
    struct sp_h2_session *session = user;

    (void)ng;
    (void)frame;
    (void)source;
    memcpy(session->out + session->out_len, head, FRAME_HEAD);
    session->out_len += FRAME_HEAD + len;
    return room(session) < ROOM_MIN ? NGHTTP2_ERR_PAUSE : 0;
}

static int on_frame_send(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct sp_h2_session *session = user;
    struct sp_h2_stream *stream;

    if (frame->hd.type == NGHTTP2_HEADERS && session->server) {
        /* Refused: the peer need not end its side, the stream is over (RFC 9113 section 8.1). Only
         * now, because nghttp2 would not send the answer of a stream that is being reset. */
        stream = sp_h2_stream_of(ng, frame->hd.stream_id);
        if (stream && stream->refused && !stream->peer_ended)
            sp_h2_reset(stream, SP_H2_NO_ERROR);
    } else if (frame->hd.type == NGHTTP2_GOAWAY && session->own_goaways > 0) {
        session->own_goaways--;
    } else if (frame->hd.type == NGHTTP2_GOAWAY) {
        /* nghttp2's own: the peer broke the protocol, and here it says how. */
        sp_h2_fail(session, SP_ERR_H2, (int)frame->goaway.error_code,
                   "the peer broke the HTTP/2 protocol: %s%s%.*s",
                   nghttp2_http2_strerror(frame->goaway.error_code),
                   frame->goaway.opaque_data_len ? ": " : "", (int)frame->goaway.opaque_data_len,
                   frame->goaway.opaque_data_len ? (const char *)frame->goaway.opaque_data : "");
    }
    return 0;
}

void sp_h2_send_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
    nghttp2_session_callbacks_set_data_source_read_length_callback(callbacks, read_length);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);
}

nghttp2_data_provider sp_h2_send_provider(struct sp_h2_stream *stream)
{
    return (nghttp2_data_provider){.source = {.ptr = stream}, .read_callback = read_data};
}

static void take_control(struct sp_h2_session *session)
{
    size_t len = session->control_len;

    if (len > room(session))
        len = room(session);
    if (len == 0)
        return;
    memcpy(session->out + session->out_len, session->control, len);
    session->out_len += len;
    session->control += len;
    session->control_len -= len;
}

/* Control frames as nghttp2 hands them out, DATA through read_data and send_data. */
static void fill(struct sp_h2_session *session)
{
    ssize_t len;

    for (;;) {
        take_control(session);
        if (session->control_len > 0 || room(session) < ROOM_MIN || session->broken)
            return;
        len = nghttp2_session_mem_send(session->ng, &session->control);
        if (len < 0)
            sp_h2_fail_ng(session, (int)len);
        if (len <= 0)
            return;
        session->control_len = (size_t)len;
    }
}

enum sp_err sp_h2_output(struct sp_h2_session *session, uint8_t *buf, size_t cap, size_t *ret_len,
                         struct sp_error *err)
{
    SP_REQUIRE(cap >= CAP_MIN);
    session->out = buf;
    session->out_cap = cap;
    session->out_len = 0;
    if (session->control_len > 0 || (!session->broken && nghttp2_session_want_write(session->ng)))
        fill(session);
    session->out = NULL;
    if (session->rest_soon && session->out_len == 0 && session->control_len == 0) {
        session->rest_soon = false;
        if (!session->stream_count)
            sp_h2_memory_rest(session);
    }
    *ret_len = session->out_len;
    return *ret_len > 0 || session->failed == SP_OK ? SP_OK : sp_h2_report(session, err);
}

void sp_h2_resume(struct sp_h2_stream *stream)
{
    if (!stream->deferred || stream->reset)
        return;
    stream->deferred = false;
    sp_h2_check(stream->session, nghttp2_session_resume_data(stream->session->ng, stream->id));
}
