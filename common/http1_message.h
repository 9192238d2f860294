/*
 * http1_message: what an HTTP/1.1 proxy makes of messages: how they are framed, where a request
 * goes, and the head that is sent on in place of the one that came (RFC 9110 7.6, RFC 9112 3.2.2,
 * 6). No sockets: heads in, plans and heads out.
 *
 * Only one reading is ever passed on: what could be framed in two ways is refused. Thread-safe: no
 * shared state.
 */
#ifndef SALLYPORT_COMMON_HTTP1_MESSAGE_H
#define SALLYPORT_COMMON_HTTP1_MESSAGE_H
#include "common/buf.h"
#include "common/http1.h"
#include "common/http1_body.h"

/* Of a request in absolute form. */
struct sp_http1_plan {
    struct sp_target target;
    enum sp_http1_framing framing; /* no body, length, chunked */
    uint64_t length;
    int minor;          /* as the client has it; a 1.0 request is sent on as one */
    bool is_head;       /* its response has no body, whatever its head says */
    bool keeps_alive;   /* the client's connection may serve another request */
    bool may_repeat;    /* sent twice it does no more than once, and there is no body */
    bool wants_upgrade; /* and its Upgrade is sent on */
};

/* Of a final or interim response. */
struct sp_http1_answer {
    enum sp_http1_framing framing;
    uint64_t length;
    int status;
    bool is_upgrade;  /* 101: no HTTP from now on */
    bool keeps_alive; /* the origin's connection may serve another request */
};

/* SP_ERR_HTTP: refuse with *ret_status: 400; 405: not in absolute form; 501: not http://. The head
 * must have been parsed by sp_http1_request_head. */
SP_MUST_USE enum sp_err sp_http1_plan(const struct sp_http1_head *head,
                                      struct sp_http1_plan *ret_plan, int *ret_status,
                                      struct sp_error *err);
/* Appends the request's head as it goes to the origin. SP_ERR_LIMIT, SP_ERR_MEMORY: of `out`. */
SP_MUST_USE enum sp_err sp_http1_write_request(const struct sp_http1_head *head,
                                               const struct sp_http1_plan *plan,
                                               struct sp_buf *out);

SP_MUST_USE enum sp_err sp_http1_judge_answer(const struct sp_http1_head *head,
                                              const struct sp_http1_plan *plan,
                                              struct sp_http1_answer *ret_answer,
                                              struct sp_error *err);
/* closes: the client is told that its connection ends with this response. */
SP_MUST_USE enum sp_err sp_http1_write_answer(const struct sp_http1_head *head,
                                              const struct sp_http1_answer *answer, bool closes,
                                              struct sp_buf *out);
#endif
