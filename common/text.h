/*
 * text: bytes from elsewhere (peers, certificates, files) made safe to show in logs and messages.
 *
 * One rule for all of them, that of a JSON string: control characters (C0, DEL, C1), line and
 * paragraph separators and bidirectional overrides become \uXXXX, quotes and backslashes are
 * escaped, what is not UTF-8 becomes U+FFFD. Pure functions, thread-safe.
 */
#ifndef SALLYPORT_COMMON_TEXT_H
#define SALLYPORT_COMMON_TEXT_H
#include <stddef.h>
#include <stdint.h>

#define SP_TEXT_STEP 8 /* no character becomes longer than this */

/* How many bytes at the front stand for themselves, whatever follows them. */
size_t sp_text_plain(const char *text, size_t len);

/* Escapes the character at *pos (*pos < end), moves *pos behind it, returns the bytes written. */
size_t sp_text_escape(const char **pos, const char *end, char out[SP_TEXT_STEP]);

/* The text in double quotes and escaped, NUL-terminated; what does not fit is replaced by "...".
 * buf_len at least 16. Returns buf. */
const char *sp_text_quote(const char *text, size_t len, char *buf, size_t buf_len);
#define SP_TEXT_QUOTE 96 /* a good buf_len for one value inside a message */

/* A number in decimal digits, NUL-terminated; returns their count. For what is written with every
 * channel, where printf shows in a profile. out has room for the digits of this value and the NUL:
 * any value fits SP_TEXT_DECIMAL. */
#define SP_TEXT_DECIMAL 21
size_t sp_text_decimal(uint64_t value, char *out);
#endif
