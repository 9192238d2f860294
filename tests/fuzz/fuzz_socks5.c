/* socks5: any bytes as a client's side of the conversation; the first byte says whether the door
 * wants a login and what it thinks of it. */
#include "common/socks5.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct outcome {
    enum sp_socks5_event event;
    enum sp_socks5_code code;
    size_t used, replies;
    struct sp_target target;
};

static void check_target(const struct sp_target *target)
{
    struct sp_target again;
    char text[SP_TARGET_TEXT];

    sp_target_format(target, text);
    SP_REQUIRE(sp_target_parse(text, strlen(text), &again, NULL) == SP_OK);
    SP_REQUIRE(again.port == target->port && strcmp(again.host, target->host) == 0);
    SP_REQUIRE(again.is_ip == target->is_ip);
}

static enum sp_socks5_event one_step(struct sp_socks5 *socks, const uint8_t *data, size_t len,
                                     struct sp_socks5_result *result)
{
    uint8_t *copy = malloc(len ? len : 1);
    struct sp_error err = {.text = ""};
    enum sp_socks5_event event;

    if (len)
        memcpy(copy, data, len);
    event = sp_socks5_step(socks, copy, len, result, &err);
    SP_REQUIRE(result->used <= len && result->used <= SP_SOCKS5_MESSAGE_MAX);
    SP_REQUIRE((event == SP_SOCKS5_WRONG) == (err.text[0] != '\0'));
    if (event == SP_SOCKS5_MORE)
        SP_REQUIRE(!result->used && len < SP_SOCKS5_MESSAGE_MAX);
    else
        SP_REQUIRE(event == SP_SOCKS5_WRONG || result->used);
    if (event == SP_SOCKS5_JUDGE) {
        SP_REQUIRE(result->user >= copy && result->user + result->user_len <= copy + len);
        SP_REQUIRE(result->password + result->password_len == copy + result->used);
    }
    free(copy);
    return event;
}

/* Everything up to `len`, which arrives in steps of `step`. */
static struct outcome converse(const uint8_t *data, size_t len, size_t step, bool login, bool good)
{
    struct outcome out = {.event = SP_SOCKS5_MORE};
    struct sp_socks5_result result;
    struct sp_socks5 socks;
    uint8_t reply[SP_SOCKS5_REPLY_MAX];

    sp_socks5_init(&socks, login);
    for (size_t have = step < len ? step : len;;) {
        out.event = one_step(&socks, data + out.used, have - out.used, &result);
        out.used += result.used;
        out.replies += result.reply_len;
        if (out.event == SP_SOCKS5_JUDGE) {
            out.replies += sp_socks5_admit(&socks, good, reply);
            if (!good)
                break;
        } else if (out.event == SP_SOCKS5_MORE) {
            if (have == len)
                break;
            have = have + step < len ? have + step : len;
        } else if (out.event != SP_SOCKS5_GREETED) {
            break;
        }
    }
    out.code = result.code;
    if (out.event == SP_SOCKS5_CONNECT) {
        out.target = result.target;
        check_target(&out.target);
    }
    out.replies += sp_socks5_reply(&socks, result.code, reply);
    SP_REQUIRE(sp_socks5_reply(&socks, result.code, reply) == 0);
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct outcome whole, bytewise;
    bool login, good;

    if (!len)
        return 0;
    login = data[0] & 1;
    good = !(data[0] & 2);
    whole = converse(data + 1, len - 1, len, login, good);
    bytewise = converse(data + 1, len - 1, 1, login, good);
    /* However the bytes arrive. */
    SP_REQUIRE(whole.event == bytewise.event && whole.used == bytewise.used);
    SP_REQUIRE(whole.code == bytewise.code && whole.replies == bytewise.replies);
    SP_REQUIRE(memcmp(&whole.target, &bytewise.target, sizeof whole.target) == 0);
    return 0;
}
