/*
 * der_pieces: for tests: DER put together by hand from pieces, of which one is swapped.
 */
#ifndef SALLYPORT_TESTS_UNIT_DER_PIECES_H
#define SALLYPORT_TESTS_UNIT_DER_PIECES_H
#include "common/tls_der.h"

#include <check.h>
#include <string.h>

struct piece {
    const char *bytes;
    size_t len;
};
#define P(bytes)                                                                                   \
    {                                                                                              \
        (bytes), sizeof(bytes) - 1                                                                 \
    }

struct swap {
    size_t index;
    struct piece other;
    bool is_taken;
};

/* The pieces in a row within a SEQUENCE, all of which are short. */
static size_t enclose(const struct piece *pieces, size_t count, const struct swap *swap,
                      uint8_t *out)
{
    size_t len = 2;

    for (size_t i = 0; i < count; i++) {
        const struct piece *one = swap && swap->index == i ? &swap->other : &pieces[i];

        memcpy(out + len, one->bytes, one->len);
        len += one->len;
    }
    ck_assert_uint_lt(len, 0x80);
    out[0] = SP_TLS_DER_SEQUENCE;
    out[1] = (uint8_t)(len - 2);
    return len;
}
#endif
