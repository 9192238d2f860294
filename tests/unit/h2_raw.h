/*
 * h2_raw: for tests: the other end of an HTTP/2 session as raw bytes, which no library would send.
 * Header only, for the test_h2_*.c files.
 */
#ifndef SALLYPORT_TESTS_UNIT_H2_RAW_H
#define SALLYPORT_TESTS_UNIT_H2_RAW_H
#include "tests/unit/h2_pair.h"

#include <nghttp2/nghttp2.h>

struct raw {
    uint8_t bytes[1 << 18];
    size_t len;
};

static UNUSED void raw_bytes(struct raw *raw, const void *data, size_t len)
{
    ck_assert_uint_le(raw->len + len, sizeof raw->bytes);
    memcpy(raw->bytes + raw->len, data, len);
    raw->len += len;
}

static UNUSED void raw_frame(struct raw *raw, int type, int flags, uint32_t id, const void *payload,
                             size_t len)
{
    const uint8_t head[9] = {(uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len,
                             (uint8_t)type,        (uint8_t)flags,      (uint8_t)(id >> 24),
                             (uint8_t)(id >> 16),  (uint8_t)(id >> 8),  (uint8_t)id};

    raw_bytes(raw, head, sizeof head);
    raw_bytes(raw, payload, len);
}

static UNUSED void hpack_text(struct raw *block, const char *text)
{
    size_t len = strlen(text);
    uint8_t byte = len < 127 ? (uint8_t)len : 127;

    raw_bytes(block, &byte, 1);
    if (len >= 127) {
        size_t rest = len - 127;

        for (; rest >= 128; rest /= 128) {
            byte = (uint8_t)(rest % 128 + 128);
            raw_bytes(block, &byte, 1);
        }
        byte = (uint8_t)rest;
        raw_bytes(block, &byte, 1);
    }
    raw_bytes(block, text, len);
}

/* fields: name, value, ..., NULL. Literal fields, never indexed; CONTINUATION where it is long. */
static UNUSED void raw_headers(struct raw *raw, int flags, uint32_t id, const char *const *fields)
{
    struct raw *block = calloc(1, sizeof *block);
    uint8_t type = NGHTTP2_HEADERS;

    for (; *fields; fields += 2) {
        raw_bytes(block, "\x10", 1);
        hpack_text(block, fields[0]);
        hpack_text(block, fields[1]);
    }
    for (size_t at = 0, part; at < block->len || type == NGHTTP2_HEADERS; at += part) {
        part = block->len - at < 16384 ? block->len - at : 16384;
        if (at + part == block->len)
            flags |= NGHTTP2_FLAG_END_HEADERS;
        raw_frame(raw, type, type == NGHTTP2_HEADERS ? flags : flags & NGHTTP2_FLAG_END_HEADERS, id,
                  block->bytes + at, part);
        type = NGHTTP2_CONTINUATION;
    }
    free(block);
}

static UNUSED void raw_connect(struct raw *raw, uint32_t id)
{
    static const char *const fields[] = {":method", "CONNECT", ":authority", "h:1", NULL};

    raw_headers(raw, 0, id, fields);
}

static UNUSED void raw_u32(struct raw *raw, int type, uint32_t id, uint32_t value)
{
    const uint8_t payload[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16),
                                (uint8_t)(value >> 8), (uint8_t)value};

    raw_frame(raw, type, 0, id, payload, 4);
}

static UNUSED void raw_preface(struct raw *raw)
{
    raw_bytes(raw, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
    raw_frame(raw, NGHTTP2_SETTINGS, 0, 0, "", 0);
}

static UNUSED bool raw_feed(struct raw *raw, struct end *end, size_t chop)
{
    bool well = end_feed(end, raw->bytes, raw->len, chop);

    raw->len = 0;
    return well;
}

/* All that the session has to send. */
static UNUSED void raw_drain(struct end *end, struct raw *ret_out)
{
    uint8_t piece[SP_H2_PIECE];
    enum sp_err rv;
    size_t len;

    ret_out->len = 0;
    for (;;) {
        rv = sp_h2_output(end->h2, piece, sizeof piece, &len, &end->err);
        if (rv != SP_OK)
            end->failed = rv;
        if (!len)
            return;
        raw_bytes(ret_out, piece, len);
    }
}

/* The last frame of that type and stream: its first 4 payload bytes (after `skip`); -1: none. */
static UNUSED int64_t raw_find(const struct raw *out, int type, uint32_t id, size_t skip)
{
    int64_t found = -1;

    for (size_t at = 0; at + 9 <= out->len;) {
        const uint8_t *f = out->bytes + at;
        size_t len = (size_t)f[0] << 16 | (size_t)f[1] << 8 | f[2];
        uint32_t stream = (uint32_t)f[5] << 24 | (uint32_t)f[6] << 16 | (uint32_t)f[7] << 8 | f[8];
        const uint8_t *p = f + 9 + skip;

        if (f[3] == type && stream == id)
            found = len >= skip + 4 ? (int64_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3] : 0;
        at += 9 + len;
    }
    return found;
}

static UNUSED struct raw raw, out; /* one test a process */

static UNUSED void server_start(struct end *server, uint32_t streams)
{
    const struct sp_h2_options options = {.server = true, .max_streams = streams};

    ck_assert_int_eq(end_open(server, &options, 20000), SP_OK);
    raw_preface(&raw);
    ck_assert(raw_feed(&raw, server, 0));
    raw_drain(server, &out);
    raw_frame(&raw, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, "", 0);
    ck_assert(raw_feed(&raw, server, 0));
}

static UNUSED struct flow *client_start(struct end *client)
{
    struct flow *flow;

    ck_assert_int_eq(end_open(client, &(struct sp_h2_options){.server = false}, 10), SP_OK);
    flow = pair_connect(client, "h:1");
    raw_drain(client, &out);
    raw_frame(&raw, NGHTTP2_SETTINGS, 0, 0, "", 0);
    raw_frame(&raw, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, "", 0);
    ck_assert(raw_feed(&raw, client, 0));
    return flow;
}

#define CONNECT   ":method", "CONNECT"
#define AUTHORITY ":authority", "h.example:443"
#endif
