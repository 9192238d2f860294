/*
 * h2_session: any bytes as what a peer sends. The first byte chooses the role and how the owner
 * acts; the rest is fed in parts. The owner keeps its promises whatever comes, and holds the
 * session to its own: callbacks only for live streams, one on_close each, no more than a window
 * unread.
 */
#include "common/h2_session.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define WINDOW 65535u

enum act {
    AS_CLIENT = 1,
    KEEP = 2,     /* does not consume */
    REFUSE = 4,   /* 403 */
    LATER = 8,    /* answers only before the end */
    SMALL = 16,   /* fed in small parts */
    RESETS = 32,  /* resets what has sent data */
    GOAWAY = 64,  /* after the first part */
    PREFACE = 128 /* a good beginning is put before the bytes */
};

struct owner {
    struct sp_h2_session *h2;
    unsigned acts;
    int live, opened, closed;
};

struct flow {
    struct sp_h2_stream *stream;
    struct flow *next;
    struct flow **link;
    uint64_t unread;
    unsigned to_send;
    bool answered, ended, sent_end;
};

static struct flow *flow_new(struct owner *owner, struct sp_h2_stream *stream, struct flow **list)
{
    struct flow *flow = sp_calloc(1, sizeof *flow);

    flow->stream = stream;
    flow->to_send = 300;
    flow->next = *list;
    if (flow->next)
        flow->next->link = &flow->next;
    flow->link = list;
    *list = flow;
    sp_h2_stream_set_ctx(stream, flow);
    owner->live++;
    owner->opened++;
    return flow;
}

struct world {
    struct owner owner;
    struct flow *flows;
};

static void answer(struct world *world, struct flow *flow)
{
    if (flow->answered)
        return;
    flow->answered = true;
    sp_h2_respond(flow->stream, world->owner.acts & REFUSE ? 403 : 200,
                  world->owner.acts & REFUSE ? "gw; error=denied" : NULL);
}

static void on_settings(void *ctx)
{
    (void)ctx;
}

static void on_request(void *ctx, struct sp_h2_stream *stream, const struct sp_h2_request *request)
{
    struct world *world = ctx;
    struct flow *flow = flow_new(&world->owner, stream, &world->flows);

    SP_REQUIRE(!(world->owner.acts & AS_CLIENT));
    SP_REQUIRE(strlen(request->authority) == request->authority_len);
    SP_REQUIRE(request->method[0]);
    if (strcmp(request->method, "CONNECT") == 0 && !request->malformed)
        SP_REQUIRE(request->authority_len > 0 && request->authority_len <= 512);
    if (!(world->owner.acts & LATER))
        answer(world, flow);
}

static void on_response(void *ctx, struct sp_h2_stream *stream, int status,
                        const char *proxy_status)
{
    struct flow *flow = sp_h2_stream_ctx(stream);

    (void)ctx;
    SP_REQUIRE(!flow->answered && status >= 200 && status <= 999 && strlen(proxy_status) <= 512);
    flow->answered = true;
}

static void on_data(void *ctx, struct sp_h2_stream *stream, const uint8_t *data, size_t len)
{
    struct world *world = ctx;
    struct flow *flow = sp_h2_stream_ctx(stream);
    volatile uint8_t touched = 0;

    SP_REQUIRE(!flow->ended && len > 0);
    for (size_t i = 0; i < len; i++)
        touched = touched ^ data[i];
    flow->unread += len;
    /* A peer that ignores the window may get one frame through. */
    SP_REQUIRE(flow->unread <= WINDOW + SP_H2_PIECE);
    if (!(world->owner.acts & KEEP)) {
        sp_h2_consumed(stream, flow->unread);
        flow->unread = 0;
    }
    if (world->owner.acts & RESETS)
        sp_h2_reset(stream, SP_H2_CONNECT_ERROR);
    else
        sp_h2_resume(stream);
}

static void on_end(void *ctx, struct sp_h2_stream *stream)
{
    struct flow *flow = sp_h2_stream_ctx(stream);

    (void)ctx;
    SP_REQUIRE(!flow->ended);
    flow->ended = true;
    sp_h2_resume(stream);
}

static ssize_t on_pull(void *ctx, struct sp_h2_stream *stream, uint8_t *buf, size_t cap,
                       bool *ret_end)
{
    struct flow *flow = sp_h2_stream_ctx(stream);
    size_t len = flow->to_send < cap ? flow->to_send : cap;

    (void)ctx;
    SP_REQUIRE(flow->answered && !flow->sent_end && cap > 0);
    memset(buf, 'p', len);
    flow->to_send -= (unsigned)len;
    *ret_end = flow->ended && flow->to_send == 0;
    flow->sent_end = *ret_end;
    return len || *ret_end ? (ssize_t)len : SP_H2_PULL_AGAIN;
}

static void on_close(void *ctx, struct sp_h2_stream *stream, uint32_t error_code)
{
    struct world *world = ctx;
    struct flow *flow = sp_h2_stream_ctx(stream);

    (void)error_code;
    SP_REQUIRE(flow->stream == stream);
    world->owner.live--;
    world->owner.closed++;
    *flow->link = flow->next;
    if (flow->next)
        flow->next->link = flow->link;
    free(flow);
}

static void on_goaway(void *ctx, uint32_t error_code, const char *debug, size_t debug_len)
{
    volatile size_t touched = debug_len;

    (void)ctx;
    (void)error_code;
    for (size_t i = 0; i < debug_len; i++)
        touched = touched + (unsigned char)debug[i];
}

static void on_pong(void *ctx)
{
    (void)ctx;
}

static const struct sp_h2_callbacks callbacks = {
    on_settings, on_request, on_response, on_data, on_end, on_pull, on_close, on_goaway, on_pong,
};

static void drain(struct sp_h2_session *h2)
{
    static const size_t caps[] = {SP_H2_PIECE, 1024, 4000};
    size_t len = 1;

    for (size_t i = 0; len > 0; i++) {
        uint8_t *buf = malloc(caps[i % 3]);

        if (sp_h2_output(h2, buf, caps[i % 3], &len, NULL) != SP_OK)
            len = 0;
        free(buf);
    }
}

static bool feed(struct world *world, const uint8_t *data, size_t len)
{
    size_t part;

    for (size_t at = 0; at < len; at += part) {
        uint8_t *copy;
        enum sp_err rc;

        part = world->owner.acts & SMALL ? 1 + data[at] % 23u : 4096;
        part = part < len - at ? part : len - at;
        copy = malloc(part); /* so that reading beyond a part is seen */
        memcpy(copy, data + at, part);
        rc = sp_h2_feed(world->owner.h2, copy, part, NULL);
        free(copy);
        drain(world->owner.h2);
        if (rc != SP_OK)
            return false;
        if (world->owner.acts & GOAWAY && at == 0)
            sp_h2_goaway(world->owner.h2, SP_H2_NO_ERROR, "bye");
    }
    return true;
}

static void begin(struct world *world)
{
    static const char client_preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    static const char server_preface[] = "\0\0\0\4\0\0\0\0\0";
    struct sp_h2_stream *stream;
    bool ok = true;

    if (world->owner.acts & AS_CLIENT) {
        for (int i = 0; i < 3; i++) {
            ok = sp_h2_connect(world->owner.h2, "h.example:443", NULL, &stream, NULL) == SP_OK;
            SP_REQUIRE(ok);
            flow_new(&world->owner, stream, &world->flows);
        }
        drain(world->owner.h2);
    }
    if (world->owner.acts & PREFACE && world->owner.acts & AS_CLIENT)
        ok = feed(world, (const uint8_t *)server_preface, sizeof server_preface - 1);
    else if (world->owner.acts & PREFACE)
        ok = feed(world, (const uint8_t *)client_preface, sizeof client_preface - 1);
    SP_REQUIRE(ok);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct world world = {.owner = {.acts = len ? data[0] : 0}};
    const struct sp_h2_options options = {
        .server = !(world.owner.acts & AS_CLIENT),
        .max_streams = 10,
        .window_initial = WINDOW,
        .window_max = WINDOW,
    };

    if (sp_h2_new(&options, &callbacks, &world, &world.owner.h2, NULL) != SP_OK)
        return 0;
    begin(&world);
    if (len > 1)
        (void)feed(&world, data + 1, len - 1);
    for (struct flow *flow = world.flows; flow; flow = flow->next) {
        if (options.server)
            answer(&world, flow);
        if (flow->unread)
            sp_h2_consumed(flow->stream, flow->unread);
        flow->unread = 0;
        sp_h2_resume(flow->stream);
    }
    drain(world.owner.h2);
    (void)sp_h2_is_alive(world.owner.h2);
    SP_REQUIRE(sp_h2_stream_count(world.owner.h2) >= (size_t)world.owner.live);
    sp_h2_free(world.owner.h2);
    SP_REQUIRE(world.owner.live == 0 && world.owner.opened == world.owner.closed);
    return 0;
}
