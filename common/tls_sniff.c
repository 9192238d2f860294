#include "common/tls_sniff.h"

#include "common/tls_impl.h"

#include <string.h>

#define RECORD_HEADER    5
#define RECORD_MAX       16384 /* of plaintext */
#define RECORD_HANDSHAKE 22
#define HANDSHAKE_HEADER 4
#define CLIENT_HELLO     1

/* The handshake message, put together from its records. */
struct hello {
    uint8_t bytes[HANDSHAKE_HEADER + SP_TLS_SNIFF_MAX];
    size_t len;
};

static size_t body_len(const struct hello *hello)
{
    return (size_t)hello->bytes[1] << 16 | (size_t)hello->bytes[2] << 8 | hello->bytes[3];
}

/* Whether what is there of it may still become one. */
static bool is_possible(const struct hello *hello)
{
    if (hello->len && hello->bytes[0] != CLIENT_HELLO)
        return false;
    return hello->len < HANDSHAKE_HEADER || body_len(hello) <= SP_TLS_SNIFF_MAX;
}

static bool is_whole(const struct hello *hello)
{
    return hello->len >= HANDSHAKE_HEADER && hello->len - HANDSHAKE_HEADER >= body_len(hello);
}

/* Of a record that may not be whole yet: how long its content is; false: it is none. */
static bool read_header(const uint8_t *record, size_t len, size_t *ret_content_len)
{
    *ret_content_len = 1;
    if (record[0] != RECORD_HANDSHAKE || (len > 1 && record[1] != 3))
        return false;
    if (len >= RECORD_HEADER)
        *ret_content_len = (size_t)record[3] << 8 | record[4];
    return *ret_content_len >= 1 && *ret_content_len <= RECORD_MAX;
}

enum sp_tls_sniff sp_tls_sniff(const uint8_t *data, size_t len, char ret_name[SP_HOST_MAX + 1])
{
    struct hello hello;
    size_t content, there;

    hello.len = 0;
    while (len) {
        if (!read_header(data, len, &content))
            return SP_TLS_SNIFF_NONE;
        if (len <= RECORD_HEADER)
            return SP_TLS_SNIFF_MORE;
        there = len - RECORD_HEADER < content ? len - RECORD_HEADER : content;
        if (there > sizeof hello.bytes - hello.len)
            there = sizeof hello.bytes - hello.len;
        memcpy(hello.bytes + hello.len, data + RECORD_HEADER, there);
        hello.len += there;
        if (!is_possible(&hello))
            return SP_TLS_SNIFF_NONE;
        if (is_whole(&hello))
            return sp_tls_hello_name(hello.bytes + HANDSHAKE_HEADER, body_len(&hello), ret_name)
                       ? SP_TLS_SNIFF_NAME
                       : SP_TLS_SNIFF_NONE;
        if (there < content)
            return SP_TLS_SNIFF_MORE;
        data += RECORD_HEADER + content;
        len -= RECORD_HEADER + content;
    }
    return SP_TLS_SNIFF_MORE;
}
