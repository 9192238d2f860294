#include "common/text.h"

#include "common/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* Decodes one character by RFC 3629 (no overlong forms, no surrogates, at most U+10FFFF). Returns
 * its length in bytes; 0 when the bytes are not UTF-8. */
static size_t utf8_decode(const uint8_t *p, size_t avail, uint32_t *ret_code)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = p[0] < 0x80 ? 1 : p[0] < 0xc0 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    uint32_t code;

    if (!len || len > avail || p[0] > 0xf4)
        return 0;
    code = len == 1 ? p[0] : p[0] & (0xffU >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3f);
    }
    if (code < smallest[len] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return 0;
    *ret_code = code;
    return len;
}

/* Characters a terminal obeys or that reorder a line: a peer could fake log entries with them. */
static bool is_unsafe(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code <= 0x9f) || code == 0x61c ||
           (code >= 0x200e && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069) || code == 0xfeff;
}

static const char *short_escape(uint32_t code)
{
    switch (code) {
    case '"':
        return "\\\"";
    case '\\':
        return "\\\\";
    case '\n':
        return "\\n";
    case '\r':
        return "\\r";
    case '\t':
        return "\\t";
    default:
        return NULL;
    }
}

/* Nearly all there is: ASCII that stands for itself. */
static bool is_harmless(const char *at)
{
    uint8_t byte = (uint8_t)*at;

    return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
}

size_t sp_text_plain(const char *text, size_t len)
{
    size_t n = 0;

    while (n < len && is_harmless(text + n))
        n++;
    return n;
}

size_t sp_text_escape(const char **pos, const char *end, char out[SP_TEXT_STEP])
{
    uint8_t raw[4] = {0};
    size_t avail = (size_t)(end - *pos);
    uint32_t code = 0;
    const char *escape;
    size_t len;

    SP_REQUIRE(avail);
    if (is_harmless(*pos)) {
        *out = *(*pos)++;
        return 1;
    }
    avail = avail < sizeof raw ? avail : sizeof raw;
    memcpy(raw, *pos, avail);
    len = utf8_decode(raw, avail, &code);
    if (!len) {
        (*pos)++;
        memcpy(out, REPLACEMENT, sizeof REPLACEMENT - 1);
        return sizeof REPLACEMENT - 1;
    }
    *pos += len;
    escape = short_escape(code);
    if (escape) {
        memcpy(out, escape, 2);
        return 2;
    }
    if (is_unsafe(code))
        return (size_t)snprintf(out, SP_TEXT_STEP, "\\u%04x", (unsigned)code);
    memcpy(out, raw, len);
    return len;
}

const char *sp_text_quote(const char *text, size_t len, char *buf, size_t buf_len)
{
    static const char cut[] = "...\"";
    const char *pos = text;
    const char *end = text + len;
    char step[SP_TEXT_STEP];
    size_t used = 1;
    size_t safe = 1; /* the last place where the cut mark would still fit */

    SP_REQUIRE(buf_len >= 16);
    buf[0] = '"';
    while (pos < end) {
        size_t step_len = sp_text_escape(&pos, end, step);

        if (used + step_len + sizeof "\"" > buf_len) {
            memcpy(buf + safe, cut, sizeof cut);
            return buf;
        }
        memcpy(buf + used, step, step_len);
        used += step_len;
        if (used + sizeof cut <= buf_len)
            safe = used;
    }
    memcpy(buf + used, "\"", sizeof "\"");
    return buf;
}

size_t sp_text_decimal(uint64_t value, char *out)
{
    char backwards[SP_TEXT_DECIMAL];
    size_t len = 0;

    do
        backwards[len++] = (char)('0' + value % 10);
    while (value /= 10);
    for (size_t i = 0; i < len; i++)
        out[i] = backwards[len - 1 - i];
    out[len] = '\0';
    return len;
}
