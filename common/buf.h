/*
 * buf: a byte queue with a maximum. Bytes are appended at the end and consumed at the front.
 *
 * Embedded in its owner; holds no memory while it is empty (sp_buf_consume of the last byte frees
 * it), so an idle connection costs nothing here. No locking: belongs to one thread.
 * Invariant: len <= max.
 */
#ifndef SALLYPORT_COMMON_BUF_H
#define SALLYPORT_COMMON_BUF_H
#include "common/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sp_buf {
    uint8_t *base; /* NULL while empty */
    size_t head;   /* first unread byte */
    size_t len;    /* unread bytes */
    size_t cap;    /* allocated */
    size_t max;    /* bytes it may ever hold */
    bool lent;     /* base is the lender's */
};

void sp_buf_init(struct sp_buf *b, size_t max);
void sp_buf_done(struct sp_buf *b); /* frees; the struct may be initialised again */
/* All or nothing: SP_ERR_LIMIT when it would pass max, SP_ERR_MEMORY when malloc fails. */
SP_MUST_USE enum sp_err sp_buf_append(struct sp_buf *b, const void *data, size_t len);
/* Room for at least `len` more bytes, contiguous; NULL when it would pass max or no memory.
 * What was written there counts after sp_buf_commit. */
uint8_t *sp_buf_reserve(struct sp_buf *b, size_t len);
void sp_buf_commit(struct sp_buf *b, size_t len);
const uint8_t *
sp_buf_data(const struct sp_buf *b); /* the unread bytes, contiguous; NULL if empty */
void sp_buf_consume(struct sp_buf *b, size_t len);
/* An empty one works in the lender's memory for a while, so that what comes and goes at once costs
 * no allocation. sp_buf_keep gives it back; what is left is copied (SP_ERR_MEMORY: and lost when
 * malloc fails). What outgrows it moves away by itself. */
void sp_buf_lend(struct sp_buf *b, void *memory, size_t cap);
SP_MUST_USE enum sp_err sp_buf_keep(struct sp_buf *b);
/* Overwrites all memory it holds, then frees it: for secrets. */
void sp_buf_wipe(struct sp_buf *b);
#endif
