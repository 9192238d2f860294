#include "common/buf.h"

#include <stdlib.h>
#include <string.h>

void sp_buf_init(struct sp_buf *b, size_t max)
{
    *b = (struct sp_buf){.max = max};
}

void sp_buf_done(struct sp_buf *b)
{
    if (!b->lent)
        free(b->base);
    *b = (struct sp_buf){.max = b->max};
}

void sp_buf_lend(struct sp_buf *b, void *memory, size_t cap)
{
    SP_REQUIRE(!b->base);
    b->base = memory;
    b->cap = cap;
    b->lent = true;
}

enum sp_err sp_buf_keep(struct sp_buf *b)
{
    const uint8_t *from = b->base + b->head;
    size_t len = b->len;

    if (!b->lent)
        return SP_OK;
    sp_buf_done(b);
    return sp_buf_append(b, from, len);
}

uint8_t *sp_buf_reserve(struct sp_buf *b, size_t len)
{
    size_t cap = b->cap ? b->cap : 512;
    uint8_t *base;

    if (len > b->max - b->len)
        return NULL;
    if (b->base && b->cap - b->head - b->len >= len)
        return b->base + b->head + b->len;
    /* Moving the rest to the front pays when at least half of the block was consumed. */
    if (b->cap - b->len >= len && b->head >= b->cap / 2) {
        memmove(b->base, b->base + b->head, b->len);
        b->head = 0;
        return b->base + b->len;
    }
    while (cap < b->len + len)
        cap *= 2;
    base = malloc(cap);
    if (!base)
        return NULL;
    if (b->len)
        memcpy(base, b->base + b->head, b->len);
    if (!b->lent)
        free(b->base);
    b->lent = false;
    b->base = base;
    b->head = 0;
    b->cap = cap;
    return base + b->len;
}

void sp_buf_commit(struct sp_buf *b, size_t len)
{
    SP_REQUIRE(len <= b->cap - b->head - b->len);
    b->len += len;
}

enum sp_err sp_buf_append(struct sp_buf *b, const void *data, size_t len)
{
    uint8_t *room;

    if (!len)
        return SP_OK;
    if (len > b->max - b->len)
        return SP_ERR_LIMIT;
    room = sp_buf_reserve(b, len);
    if (!room)
        return SP_ERR_MEMORY;
    memcpy(room, data, len);
    b->len += len;
    return SP_OK;
}

const uint8_t *sp_buf_data(const struct sp_buf *b)
{
    return b->len ? b->base + b->head : NULL;
}

void sp_buf_consume(struct sp_buf *b, size_t len)
{
    SP_REQUIRE(len <= b->len);
    b->head += len;
    b->len -= len;
    if (!b->len && b->lent)
        b->head = 0;
    else if (!b->len)
        sp_buf_done(b);
}

void sp_buf_wipe(struct sp_buf *b)
{
    if (b->base)
        explicit_bzero(b->base, b->cap);
    sp_buf_done(b);
}
