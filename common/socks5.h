/*
 * socks5: what a SOCKS5 server reads and says (RFC 1928, RFC 1929). No sockets: bytes in, result
 * out. One step reads one message; a message that is not whole yet is asked for again, so it makes
 * no difference how the bytes arrive, or that an impatient client sends all of them at once.
 *
 *     greeting -> (login ->) request -> over
 *
 * Only CONNECT is known. What is malformed is refused as soon as its first wrong byte is there.
 * Embedded in its owner, holds no memory. Thread-safe: no shared state.
 */
#ifndef SALLYPORT_COMMON_SOCKS5_H
#define SALLYPORT_COMMON_SOCKS5_H
#include "common/addr.h"
#include "common/error.h"
#include <stddef.h>
#include <stdint.h>

#define SP_SOCKS5_MESSAGE_MAX 513 /* the longest message of a client: a login */
#define SP_SOCKS5_REPLY_MAX   10

/* RFC 1928 6. */
enum sp_socks5_code {
    SP_SOCKS5_SUCCEEDED,
    SP_SOCKS5_FAILED,
    SP_SOCKS5_NOT_ALLOWED,
    SP_SOCKS5_NETWORK_UNREACHABLE,
    SP_SOCKS5_HOST_UNREACHABLE,
    SP_SOCKS5_REFUSED,
    SP_SOCKS5_TTL_EXPIRED,
    SP_SOCKS5_NO_SUCH_COMMAND,
    SP_SOCKS5_NO_SUCH_ADDRESS_TYPE,
};

struct sp_socks5 {
    enum { SP_SOCKS5_GREETING, SP_SOCKS5_LOGIN, SP_SOCKS5_REQUEST, SP_SOCKS5_OVER } phase;
    bool wants_login, is_socks4;
};

enum sp_socks5_event {
    SP_SOCKS5_MORE,    /* nothing was used; more bytes are needed */
    SP_SOCKS5_GREETED, /* say the reply, go on */
    SP_SOCKS5_JUDGE,   /* sp_socks5_admit with what is thought of user and password */
    SP_SOCKS5_CONNECT, /* target is wanted: answer with sp_socks5_reply */
    SP_SOCKS5_WRONG,   /* err says what; sp_socks5_reply with code, and no more */
};

struct sp_socks5_result {
    size_t used; /* bytes of data that are done with */
    uint8_t reply[SP_SOCKS5_REPLY_MAX];
    size_t reply_len;
    const uint8_t *user, *password; /* in data */
    uint8_t user_len, password_len;
    struct sp_target target; /* a name is not resolved here */
    enum sp_socks5_code code;
};

void sp_socks5_init(struct sp_socks5 *socks, bool wants_login);
/* Reads the message at the start of data, if it is whole. err is set for SP_SOCKS5_WRONG
 * (SP_ERR_HTTP). Not to be called after that, nor after SP_SOCKS5_CONNECT. */
enum sp_socks5_event sp_socks5_step(struct sp_socks5 *socks, const uint8_t *data, size_t len,
                                    struct sp_socks5_result *ret_result, struct sp_error *err);
/* After SP_SOCKS5_JUDGE: the answer to the login; returns its length. Refused: it is over. */
size_t sp_socks5_admit(struct sp_socks5 *socks, bool good, uint8_t ret_reply[SP_SOCKS5_REPLY_MAX]);
/* The last word of the negotiation, in the form that the client expects just now: before its
 * request there is only "no" (0: not even that), whatever the code. Returns the length. */
size_t sp_socks5_reply(struct sp_socks5 *socks, enum sp_socks5_code code,
                       uint8_t ret_reply[SP_SOCKS5_REPLY_MAX]);
#endif
