/*
 * http1_body: where the body of an HTTP/1.1 message ends (RFC 9112 6, 7). No sockets: bytes in, how
 * many of them are body out. The bytes themselves are left as they are, chunks included, so a relay
 * passes on what was scanned and nothing is held back.
 *
 * Chunks are read strictly: a size of hex digits alone, CRLF everywhere, no control characters in
 * extensions, well-formed trailer fields; so no later reader can find another end. Embedded in its
 * owner, holds no memory. Thread-safe: no shared state.
 */
#ifndef SALLYPORT_COMMON_HTTP1_BODY_H
#define SALLYPORT_COMMON_HTTP1_BODY_H
#include "common/error.h"
#include <stddef.h>
#include <stdint.h>

enum sp_http1_framing {
    SP_HTTP1_NO_BODY,
    SP_HTTP1_LENGTH,
    SP_HTTP1_CHUNKED,
    SP_HTTP1_UNTIL_CLOSE,
};

struct sp_http1_body {
    enum sp_http1_framing framing;
    uint64_t left;    /* of the body, or of the chunk */
    unsigned state;   /* in the chunked framing */
    unsigned counted; /* digits of a size; bytes of an extension, of the trailers */
    bool done;        /* nothing that follows belongs to it */
};

void sp_http1_body_init(struct sp_http1_body *body, enum sp_http1_framing framing, uint64_t len);
/* *ret_used of the bytes are body. SP_ERR_HTTP: the byte behind them is wrong. */
SP_MUST_USE enum sp_err sp_http1_body_scan(struct sp_http1_body *body, const uint8_t *data,
                                           size_t len, size_t *ret_used, struct sp_error *err);
#endif
