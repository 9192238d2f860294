#include "common/socks5.h"

#include <string.h>

#include "common/text.h"

#define VERSION       5
#define LOGIN_VERSION 1

enum method { METHOD_NONE = 0, METHOD_PASSWORD = 2, METHOD_REFUSED = 0xff };
enum address_type { TYPE_IPV4 = 1, TYPE_NAME = 3, TYPE_IPV6 = 4 };

void sp_socks5_init(struct sp_socks5 *socks, bool wants_login)
{
    *socks = (struct sp_socks5){.phase = SP_SOCKS5_GREETING, .wants_login = wants_login};
}

static enum sp_socks5_event wrong(struct sp_socks5_result *result, enum sp_socks5_code code,
                                  struct sp_error *err, const char *text)
{
    result->code = code;
    (void)sp_error_set(err, SP_ERR_HTTP, "%s", text);
    return SP_SOCKS5_WRONG;
}

/* ---- greeting: version, count, methods ---- */

static enum sp_socks5_event read_greeting(struct sp_socks5 *socks, const uint8_t *data, size_t len,
                                          struct sp_socks5_result *result, struct sp_error *err)
{
    uint8_t method = socks->wants_login ? METHOD_PASSWORD : METHOD_NONE;
    size_t count;

    if (data[0] != VERSION) {
        socks->is_socks4 = data[0] == 4;
        if (!socks->is_socks4)
            socks->phase = SP_SOCKS5_OVER; /* whatever it speaks, our words are none of it */
        return wrong(result, SP_SOCKS5_FAILED, err,
                     socks->is_socks4 ? "SOCKS4, which is not served; wanted is SOCKS5"
                                      : "not SOCKS5: the first byte is not its version");
    }
    if (len < 2)
        return SP_SOCKS5_MORE;
    count = data[1];
    if (len < 2 + count)
        return SP_SOCKS5_MORE;
    if (!memchr(data + 2, method, count))
        return wrong(result, SP_SOCKS5_FAILED, err,
                     socks->wants_login ? "this door wants a user and a password, which the client "
                                          "does not offer"
                                        : "this door knows no logins, and the client offers "
                                          "nothing else");
    result->used = 2 + count;
    result->reply[0] = VERSION;
    result->reply[1] = method;
    result->reply_len = 2;
    socks->phase = socks->wants_login ? SP_SOCKS5_LOGIN : SP_SOCKS5_REQUEST;
    return SP_SOCKS5_GREETED;
}

/* ---- login: version, user, password, each with its length ---- */

static enum sp_socks5_event read_login(const uint8_t *data, size_t len,
                                       struct sp_socks5_result *result, struct sp_error *err)
{
    size_t at;

    if (data[0] != LOGIN_VERSION)
        return wrong(result, SP_SOCKS5_FAILED, err, "a login that is not of version 1");
    if (len < 2)
        return SP_SOCKS5_MORE;
    result->user_len = data[1];
    if (!result->user_len)
        return wrong(result, SP_SOCKS5_FAILED, err, "a login without a user");
    at = 2 + (size_t)result->user_len;
    if (len < at + 1)
        return SP_SOCKS5_MORE;
    result->password_len = data[at];
    if (!result->password_len)
        return wrong(result, SP_SOCKS5_FAILED, err, "a login without a password");
    if (len < at + 1 + result->password_len)
        return SP_SOCKS5_MORE;
    result->user = data + 2;
    result->password = data + at + 1;
    result->used = at + 1 + result->password_len;
    return SP_SOCKS5_JUDGE;
}

size_t sp_socks5_admit(struct sp_socks5 *socks, bool good, uint8_t ret_reply[SP_SOCKS5_REPLY_MAX])
{
    socks->phase = good ? SP_SOCKS5_REQUEST : SP_SOCKS5_OVER;
    ret_reply[0] = LOGIN_VERSION;
    ret_reply[1] = !good;
    return 2;
}

/* ---- request: version, command, reserved, type, address, port ---- */

/* A name; some clients write an address as one. */
static bool read_name(const char *text, size_t len, struct sp_target *target)
{
    target->is_ip = sp_ip_parse(text, len, &target->ip);
    if (target->is_ip)
        sp_ip_format(&target->ip, target->host);
    return target->is_ip || sp_host_fold(text, len, target->host);
}

static void read_ip(const uint8_t *bytes, uint8_t family, struct sp_target *target)
{
    target->is_ip = true;
    target->ip.family = family;
    memcpy(target->ip.bytes, bytes, family == 4 ? 4 : 16);
    sp_ip_format(&target->ip, target->host);
}

static enum sp_socks5_event read_address(const uint8_t *data, size_t address_at, size_t address_len,
                                         struct sp_socks5_result *result, struct sp_error *err)
{
    const uint8_t *address = data + address_at, *port = address + address_len;
    char quoted[SP_TEXT_QUOTE];

    if (data[3] == TYPE_NAME) {
        if (!read_name((const char *)address, address_len, &result->target)) {
            result->code = SP_SOCKS5_FAILED;
            sp_text_quote((const char *)address, address_len, quoted, sizeof quoted);
            (void)sp_error_set(err, SP_ERR_HTTP, "the destination %s is no host name", quoted);
            return SP_SOCKS5_WRONG;
        }
    } else {
        read_ip(address, data[3] == TYPE_IPV4 ? 4 : 6, &result->target);
    }
    result->target.port = (uint16_t)(port[0] << 8 | port[1]);
    if (!result->target.port)
        return wrong(result, SP_SOCKS5_FAILED, err, "port 0 is no destination");
    result->used = address_at + address_len + 2;
    return SP_SOCKS5_CONNECT;
}

static enum sp_socks5_event read_request(const uint8_t *data, size_t len,
                                         struct sp_socks5_result *result, struct sp_error *err)
{
    size_t at = 4, address_len;

    if (data[0] != VERSION)
        return wrong(result, SP_SOCKS5_FAILED, err, "a request that is not of version 5");
    if (len > 1 && data[1] != 1)
        return wrong(result, SP_SOCKS5_NO_SUCH_COMMAND, err,
                     data[1] == 2   ? "BIND is not served, only CONNECT"
                     : data[1] == 3 ? "UDP ASSOCIATE is not served, only CONNECT"
                                    : "a command that SOCKS5 does not know");
    if (len > 2 && data[2] != 0)
        return wrong(result, SP_SOCKS5_FAILED, err, "the reserved byte of the request is not 0");
    if (len < 4)
        return SP_SOCKS5_MORE;
    if (data[3] == TYPE_IPV4 || data[3] == TYPE_IPV6) {
        address_len = data[3] == TYPE_IPV4 ? 4 : 16;
    } else if (data[3] == TYPE_NAME) {
        if (len < 5)
            return SP_SOCKS5_MORE;
        address_len = data[at++];
        if (!address_len)
            return wrong(result, SP_SOCKS5_FAILED, err, "a destination without a name");
    } else {
        return wrong(result, SP_SOCKS5_NO_SUCH_ADDRESS_TYPE, err,
                     "an address type that SOCKS5 does not know");
    }
    if (len < at + address_len + 2)
        return SP_SOCKS5_MORE;
    return read_address(data, at, address_len, result, err);
}

/* ---- */

enum sp_socks5_event sp_socks5_step(struct sp_socks5 *socks, const uint8_t *data, size_t len,
                                    struct sp_socks5_result *ret_result, struct sp_error *err)
{
    memset(ret_result, 0, sizeof *ret_result);
    if (!len)
        return SP_SOCKS5_MORE;
    switch (socks->phase) {
    case SP_SOCKS5_GREETING:
        return read_greeting(socks, data, len, ret_result, err);
    case SP_SOCKS5_LOGIN:
        return read_login(data, len, ret_result, err);
    case SP_SOCKS5_REQUEST:
        return read_request(data, len, ret_result, err);
    case SP_SOCKS5_OVER:
        break;
    }
    return wrong(ret_result, SP_SOCKS5_FAILED, err, "nothing more was expected");
}

size_t sp_socks5_reply(struct sp_socks5 *socks, enum sp_socks5_code code,
                       uint8_t ret_reply[SP_SOCKS5_REPLY_MAX])
{
    static const uint8_t no_socks4[8] = {0, 91}; /* "request rejected or failed" */
    size_t len = 0;

    memset(ret_reply, 0, SP_SOCKS5_REPLY_MAX);
    switch (socks->phase) {
    case SP_SOCKS5_GREETING:
        len = socks->is_socks4 ? sizeof no_socks4 : 2;
        if (socks->is_socks4)
            memcpy(ret_reply, no_socks4, sizeof no_socks4);
        else
            memcpy(ret_reply, (const uint8_t[]){VERSION, METHOD_REFUSED}, 2);
        break;
    case SP_SOCKS5_LOGIN:
        memcpy(ret_reply, (const uint8_t[]){LOGIN_VERSION, 1}, 2);
        len = 2;
        break;
    case SP_SOCKS5_REQUEST: /* bound to 0.0.0.0:0: the socket is the gateway's, and its business */
        memcpy(ret_reply, (const uint8_t[]){VERSION, (uint8_t)code, 0, TYPE_IPV4}, 4);
        len = 10;
        break;
    case SP_SOCKS5_OVER:
        break;
    }
    socks->phase = SP_SOCKS5_OVER;
    return len;
}
