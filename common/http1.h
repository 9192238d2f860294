/*
 * http1: heads of HTTP/1.1 messages, strictly parsed (RFC 9112). No sockets: bytes in, result out.
 *
 * Strict: lines end in CRLF, no bare CR or LF, no NUL, no folded lines, no space before the colon,
 * exactly one Host (HTTP/1.0: at most one), at most 100 fields, at most SP_HTTP1_HEAD_MAX bytes.
 * What is doubtful is 400, never guessed. Pure functions; thread-safe. Wraps http_parser, which
 * nothing else includes.
 */
#ifndef SALLYPORT_COMMON_HTTP1_H
#define SALLYPORT_COMMON_HTTP1_H
#include "common/addr.h"
#include "common/error.h"
#include <stddef.h>
#include <stdint.h>

#define SP_HTTP1_HEAD_MAX     16384
#define SP_HTTP1_RESPONSE_MAX 65536 /* the head of a response */
#define SP_HTTP1_FIELDS_MAX   100

/* Pieces of the bytes that were parsed. */
struct sp_http1_span {
    const char *text;
    size_t len;
};
struct sp_http1_field {
    struct sp_http1_span name, value; /* the value without the blanks around it */
};
struct sp_http1_head {
    size_t len;                          /* with its empty line */
    int minor;                           /* HTTP/1.minor */
    struct sp_http1_span method, target; /* a request's */
    int status;                          /* a response's: 100..999 */
    struct sp_http1_span reason;         /* may be empty */
    size_t field_count;
    struct sp_http1_field fields[SP_HTTP1_FIELDS_MAX];
};

/* Looks for a whole head at the start of data. SP_AGAIN: not yet whole (and nothing wrong so far).
 * SP_ERR_HTTP: refuse with *ret_status (400, 414, 431, 505). Framing: both Content-Length and
 * Transfer-Encoding are 400 here; the rest is http1_message's. */
SP_MUST_USE enum sp_err sp_http1_request_head(const uint8_t *data, size_t len,
                                              struct sp_http1_head *ret_head, int *ret_status,
                                              struct sp_error *err);
SP_MUST_USE enum sp_err sp_http1_response_head(const uint8_t *data, size_t len,
                                               struct sp_http1_head *ret_head,
                                               struct sp_error *err);
/* The first field of that name, in any case of its letters; NULL: none. ret_count may be NULL. */
const struct sp_http1_field *sp_http1_find(const struct sp_http1_head *head, const char *name,
                                           unsigned *ret_count);
/* What a CONNECT asks for. Content-Length or Transfer-Encoding is 400. Host is not looked at: as a
 * proxy does (RFC 9112 section 3.2.2), since programs put their proxy there (node). */
SP_MUST_USE enum sp_err sp_http1_connect(const struct sp_http1_head *head,
                                         struct sp_target *ret_target, int *ret_status,
                                         struct sp_error *err);

struct sp_http1_request {
    size_t head_len; /* bytes of the head, with its empty line */
    char method[24]; /* "CONNECT" */
    bool is_connect;
    struct sp_target target; /* if is_connect */
    int minor;               /* HTTP/1.minor */
};

/* For who serves CONNECT only: both of the above in one; a Host that is not the target is 400. 405:
 * well-formed but not CONNECT
 * (*ret_request is filled in, too). */
SP_MUST_USE enum sp_err sp_http1_parse(const uint8_t *data, size_t len,
                                       struct sp_http1_request *ret_request, int *ret_status,
                                       struct sp_error *err);
/* The reason phrase for a status; "" if unknown. */
const char *sp_http1_phrase(int status);
/* A refusal with a short text body and Connection: close; proxy_status NULL: none. Returns its
 * length, less than buf_len; a text too long is cut. 0: not even the head fits. */
size_t sp_http1_refusal(char *buf, size_t buf_len, int status, const char *proxy_status,
                        const char *text);

/* A Proxy-Status value (RFC 9209): `name; error=type; details="..."`, details escaped as an
 * sf-string (ASCII only, others replaced). type/details NULL: left out. Returns buf. */
#define SP_PROXY_STATUS_MAX 512
const char *sp_proxy_status(char buf[SP_PROXY_STATUS_MAX], const char *name, const char *error_type,
                            const char *details);
/* Reads error type and details back from such a value (the last member of the list); buffers are
 * always terminated, "" when absent or malformed. */
void sp_proxy_status_parse(const char *value, char *ret_type, size_t type_len, char *ret_details,
                           size_t details_len);
#endif
