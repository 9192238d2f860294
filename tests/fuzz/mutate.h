/*
 * mutate: fuzz input as a script of changes to something genuine that the target made at its start.
 * So the fuzzer gets behind a signature or a length, and no corpus holds a certificate. Header
 * only.
 */
#ifndef SALLYPORT_TESTS_FUZZ_MUTATE_H
#define SALLYPORT_TESTS_FUZZ_MUTATE_H
#include "common/error.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The input, read from its front. */
struct script {
    const uint8_t *at;
    size_t left;
};

static inline unsigned script_next(struct script *script)
{
    if (!script->left)
        return 0;
    script->left--;
    return *script->at++;
}

static inline unsigned script_next2(struct script *script)
{
    unsigned high = script_next(script);

    return high << 8 | script_next(script);
}

/* Bytes of exactly their size, so that a sanitizer sees one read too many. */
struct bytes {
    uint8_t *data;
    size_t len;
};

static inline struct bytes bytes_copy(const void *data, size_t len)
{
    struct bytes copy = {malloc(len ? len : 1), len};

    SP_REQUIRE(copy.data);
    if (len)
        memcpy(copy.data, data, len);
    return copy;
}

/* Replaces `gone` bytes at `pos` by others. */
static inline void bytes_splice(struct bytes *b, size_t pos, size_t gone, const void *with,
                                size_t len)
{
    struct bytes made = {malloc(b->len - gone + len + 1), b->len - gone + len};

    SP_REQUIRE(made.data && gone <= b->len - pos);
    memcpy(made.data, b->data, pos);
    if (len)
        memcpy(made.data + pos, with, len);
    memcpy(made.data + pos + len, b->data + pos + gone, b->len - pos - gone);
    free(b->data);
    *b = bytes_copy(made.data, made.len);
    free(made.data);
}

/* One change: a byte, some cut out, some put in, some twice. */
static inline void bytes_change(struct bytes *b, struct script *script)
{
    unsigned op = script_next(script);
    size_t pos = b->len ? script_next2(script) % b->len : 0;
    size_t len = 1 + (op >> 2) % 32;

    if (op % 4 == 0 && b->len) {
        b->data[pos] = (uint8_t)script_next(script);
    } else if (op % 4 == 1) {
        bytes_splice(b, pos, len < b->len - pos ? len : b->len - pos, NULL, 0);
    } else if (op % 4 == 2) {
        len = len < script->left ? len : script->left;
        bytes_splice(b, pos, 0, script->at, len);
        script->at += len;
        script->left -= len;
    } else if (b->len < 100000) {
        struct bytes twice;

        len = len * 8 < b->len - pos ? len * 8 : b->len - pos;
        twice = bytes_copy(b->data + pos, len);
        bytes_splice(b, pos, 0, twice.data, len);
        free(twice.data);
    }
}
#endif
