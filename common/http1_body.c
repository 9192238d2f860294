#include "common/http1_body.h"

#include <string.h>

#define DIGITS_MAX    15 /* so that a size never overflows */
#define EXTENSION_MAX 1024
#define TRAILERS_MAX  8192

enum chunk_state {
    SIZE,
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_START,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF,
};

void sp_http1_body_init(struct sp_http1_body *body, enum sp_http1_framing framing, uint64_t len)
{
    *body = (struct sp_http1_body){.framing = framing, .left = len, .state = SIZE};
    body->done = framing == SP_HTTP1_NO_BODY || (framing == SP_HTTP1_LENGTH && !len);
}

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool is_text(uint8_t c)
{
    return c == '\t' || (c >= ' ' && c != 0x7f);
}

static bool is_name(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* What is wrong with the byte; NULL: nothing. */
static const char *step_size(struct sp_http1_body *body, uint8_t c)
{
    int value = hex_value(c);

    if (value >= 0) {
        if (++body->counted > DIGITS_MAX)
            return "a chunk larger than any";
        body->left = body->left << 4 | (unsigned)value;
        return NULL;
    }
    if (!body->counted || (c != ';' && c != '\r'))
        return "a chunk whose size is no number";
    body->counted = 0;
    body->state = c == ';' ? EXTENSION : SIZE_LF;
    return NULL;
}

static const char *step_extension(struct sp_http1_body *body, uint8_t c)
{
    if (c == '\r') {
        body->counted = 0;
        body->state = SIZE_LF;
        return NULL;
    }
    if (!is_text(c) || ++body->counted > EXTENSION_MAX)
        return "a chunk extension that is none";
    return NULL;
}

static const char *step_trailer(struct sp_http1_body *body, uint8_t c)
{
    if (++body->counted > TRAILERS_MAX)
        return "trailers of more than 8192 bytes";
    if (body->state == TRAILER_START && c == '\r') {
        body->state = LAST_LF;
    } else if (body->state == TRAILER_VALUE) {
        if (c == '\r')
            body->state = TRAILER_LF;
        else if (!is_text(c))
            return "a control character in a trailer";
    } else if (c == ':' && body->state == TRAILER_NAME) {
        body->state = TRAILER_VALUE;
    } else if (is_name(c)) {
        body->state = TRAILER_NAME;
    } else {
        return "a trailer that is none";
    }
    return NULL;
}

static const char *expect(struct sp_http1_body *body, uint8_t c, char wanted, unsigned next)
{
    if (c != (uint8_t)wanted)
        return "a chunk that does not end in CR LF";
    body->state = next;
    return NULL;
}

static const char *step_chunked(struct sp_http1_body *body, uint8_t c)
{
    switch ((enum chunk_state)body->state) {
    case SIZE:
        return step_size(body, c);
    case EXTENSION:
        return step_extension(body, c);
    case SIZE_LF:
        return expect(body, c, '\n', body->left ? DATA : TRAILER_START);
    case DATA: /* skipped as a whole */
    case DATA_CR:
        return expect(body, c, '\r', DATA_LF);
    case DATA_LF:
        return expect(body, c, '\n', SIZE);
    case TRAILER_START:
    case TRAILER_NAME:
    case TRAILER_VALUE:
        return step_trailer(body, c);
    case TRAILER_LF:
        return expect(body, c, '\n', TRAILER_START);
    case LAST_LF:
        body->done = c == '\n';
        return expect(body, c, '\n', LAST_LF);
    }
    return "no state";
}

static size_t take(struct sp_http1_body *body, size_t len)
{
    size_t taken = body->left < len ? (size_t)body->left : len;

    body->left -= taken;
    return taken;
}

static enum sp_err scan_chunked(struct sp_http1_body *body, const uint8_t *data, size_t len,
                                size_t *ret_used, struct sp_error *err)
{
    size_t at = 0;

    while (at < len && !body->done) {
        const char *wrong;

        if (body->state == DATA) {
            at += take(body, len - at);
            if (!body->left)
                body->state = DATA_CR;
            continue;
        }
        wrong = step_chunked(body, data[at]);
        if (wrong) {
            *ret_used = at;
            return sp_error_set(err, SP_ERR_HTTP, "%s", wrong);
        }
        at++;
    }
    *ret_used = at;
    return SP_OK;
}

enum sp_err sp_http1_body_scan(struct sp_http1_body *body, const uint8_t *data, size_t len,
                               size_t *ret_used, struct sp_error *err)
{
    *ret_used = 0;
    if (body->done)
        return SP_OK;
    if (body->framing == SP_HTTP1_CHUNKED)
        return scan_chunked(body, data, len, ret_used, err);
    *ret_used = body->framing == SP_HTTP1_LENGTH ? take(body, len) : len;
    body->done = body->framing == SP_HTTP1_LENGTH && !body->left;
    return SP_OK;
}
