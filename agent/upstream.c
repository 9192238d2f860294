#include "agent/upstream.h"

#include "agent/proxy.h"
#include "common/dial.h"
#include "common/http1.h"
#include "common/loop.h"
#include "common/resolve.h"
#include "common/sock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX 8192
#define TOLD_MAX   120 /* of a foreign text that is shown */

enum phase {
    CONNECT_HEAD, /* the answer to CONNECT */
    SOCKS_METHOD, /* which login is wanted */
    SOCKS_LOGIN,  /* whether it was good */
    SOCKS_REPLY,  /* whether the gateway was reached */
};

struct agent_upstream {
    struct agent_upstream_options options;
    struct sp_target gateway;
    agent_upstream_cb on_done;
    void *ctx;
    struct sp_query *query;
    struct sp_dial *dial;
    struct sp_sock *sock;
    struct sp_timer *deadline;
    struct sp_addr addr;
    enum phase phase;
    uint8_t out[2048]; /* the proxy's login is in it: wiped */
    size_t out_len, out_sent;
    uint8_t in[ANSWER_MAX];
    size_t in_len;
};

static void upstream_free(struct agent_upstream *u)
{
    sp_resolve_cancel(u->query);
    sp_dial_cancel(u->dial);
    sp_sock_close(u->sock);
    sp_timer_free(u->deadline);
    explicit_bzero(u->out, sizeof u->out);
    free(u);
}

static void fail(struct agent_upstream *u, struct sp_error *why)
{
    agent_upstream_cb on_done = u->on_done;
    char proxy[SP_TARGET_TEXT];
    void *ctx = u->ctx;

    sp_error_prefix(why, "the proxy %s", sp_target_format(&u->options.proxy->at, proxy));
    upstream_free(u);
    on_done(ctx, NULL, NULL, why);
}

static void succeed(struct agent_upstream *u)
{
    const struct sp_error none = {.kind = SP_OK};
    agent_upstream_cb on_done = u->on_done;
    struct sp_addr addr = u->addr;
    struct sp_sock *sock = u->sock;
    void *ctx = u->ctx;

    sp_sock_watch_read(sock, false);
    u->sock = NULL;
    upstream_free(u);
    on_done(ctx, sock, &addr, &none);
}

/* ---- what is said to the proxy ---- */

static void put(struct agent_upstream *u, const void *data, size_t len)
{
    SP_REQUIRE(len <= sizeof u->out - u->out_len);
    memcpy(u->out + u->out_len, data, len);
    u->out_len += len;
}

static void put_text(struct agent_upstream *u, const char *text)
{
    put(u, text, strlen(text));
}

static void put_byte(struct agent_upstream *u, size_t byte)
{
    uint8_t b = (uint8_t)byte;

    put(u, &b, 1);
}

static void put_base64(struct agent_upstream *u, const uint8_t *data, size_t len)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < len; i += 3) {
        uint32_t three = (uint32_t)data[i] << 16;

        three |= i + 1 < len ? (uint32_t)data[i + 1] << 8 : 0;
        three |= i + 2 < len ? data[i + 2] : 0;
        put_byte(u, (size_t)letters[three >> 18]);
        put_byte(u, (size_t)letters[three >> 12 & 63]);
        put_byte(u, i + 1 < len ? (size_t)letters[three >> 6 & 63] : '=');
        put_byte(u, i + 2 < len ? (size_t)letters[three & 63] : '=');
    }
}

static void say_connect(struct agent_upstream *u)
{
    const struct agent_proxy *proxy = u->options.proxy;
    char login[2 * AGENT_PROXY_WORD_MAX + 2], gateway[SP_TARGET_TEXT], head[700];

    sp_target_format(&u->gateway, gateway);
    snprintf(head, sizeof head, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", gateway, gateway);
    put_text(u, head);
    if (proxy->user) {
        int len = snprintf(login, sizeof login, "%s:%s", proxy->user, proxy->password);

        put_text(u, "Proxy-Authorization: Basic ");
        put_base64(u, (const uint8_t *)login, (size_t)len);
        put_text(u, "\r\n");
        explicit_bzero(login, sizeof login);
    }
    put_text(u, "\r\n");
    u->phase = CONNECT_HEAD;
}

static void say_greeting(struct agent_upstream *u)
{
    bool has_login = u->options.proxy->user != NULL;

    put_byte(u, 5);
    put_byte(u, has_login ? 2 : 1);
    put_byte(u, 0);
    if (has_login)
        put_byte(u, 2);
    u->phase = SOCKS_METHOD;
}

static void say_login(struct agent_upstream *u)
{
    const struct agent_proxy *proxy = u->options.proxy;

    put_byte(u, 1);
    put_byte(u, strlen(proxy->user));
    put_text(u, proxy->user);
    put_byte(u, strlen(proxy->password));
    put_text(u, proxy->password);
    u->phase = SOCKS_LOGIN;
}

static void say_request(struct agent_upstream *u)
{
    const struct sp_target *gateway = &u->gateway;

    put(u, "\5\1\0", 3);
    if (gateway->is_ip) {
        put_byte(u, gateway->ip.family == 4 ? 1 : 4);
        put(u, gateway->ip.bytes, gateway->ip.family == 4 ? 4 : 16);
    } else {
        put_byte(u, 3);
        put_byte(u, strlen(gateway->host));
        put_text(u, gateway->host);
    }
    put_byte(u, gateway->port >> 8);
    put_byte(u, gateway->port & 255);
    u->phase = SOCKS_REPLY;
}

/* False: it has failed, and is gone. */
static bool flush(struct agent_upstream *u)
{
    struct sp_error err;

    while (u->out_sent < u->out_len) {
        ssize_t n = sp_sock_write(u->sock, u->out + u->out_sent, u->out_len - u->out_sent);

        if (n == -EAGAIN) {
            sp_sock_watch_write(u->sock, true);
            return true;
        }
        if (n < 0) {
            sp_error_sys(&err, (int)-n, "broke the connection");
            fail(u, &err);
            return false;
        }
        u->out_sent += (size_t)n;
    }
    sp_sock_watch_write(u->sock, false);
    u->out_sent = u->out_len = 0;
    return true;
}

/* ---- what it answers ---- */

enum step { MORE, AGAIN, DONE, FAILED };

/* Foreign text: printable ASCII of it. */
static void copy_told(char ret[TOLD_MAX + 1], const struct sp_http1_span *span)
{
    size_t len = span->len < TOLD_MAX ? span->len : TOLD_MAX;

    for (size_t i = 0; i < len; i++)
        ret[i] = span->text[i] >= 0x20 && span->text[i] < 0x7f ? span->text[i] : '?';
    ret[len] = '\0';
}

static void describe_407(const struct agent_upstream *u, const struct sp_http1_head *head,
                         struct sp_error *err)
{
    const struct sp_http1_field *offer = sp_http1_find(head, "Proxy-Authenticate", NULL);
    char offered[TOLD_MAX + 1] = "nothing";

    if (offer)
        copy_told(offered, &offer->value);
    if (u->options.proxy->user)
        sp_error_code(err, SP_ERR_DENIED, 407,
                      "refused the login of user \"%.60s\" (407 Proxy Authentication Required; it "
                      "offers: %s)",
                      u->options.proxy->user, offered);
    else
        sp_error_code(err, SP_ERR_DENIED, 407,
                      "wants a login (407 Proxy Authentication Required; it offers: %s): put user "
                      "and password into upstream_proxy",
                      offered);
}

static enum step read_head(struct agent_upstream *u, struct sp_error *err)
{
    struct sp_http1_head head;
    char gateway[SP_TARGET_TEXT], reason[TOLD_MAX + 1];
    enum sp_err rc = sp_http1_response_head(u->in, u->in_len, &head, err);

    if (rc == SP_AGAIN && u->in_len < ANSWER_MAX)
        return MORE;
    if (rc == SP_AGAIN)
        sp_error_set(err, SP_ERR_HTTP, "answered CONNECT with a head of more than %d bytes",
                     ANSWER_MAX);
    else if (rc != SP_OK)
        sp_error_prefix(err, "answered CONNECT with what is no HTTP");
    if (rc != SP_OK)
        return FAILED;
    if (head.status >= 200 && head.status <= 299) {
        if (head.len == u->in_len)
            return DONE;
        sp_error_set(err, SP_ERR_HTTP, "sent bytes of its own behind its answer to CONNECT");
        return FAILED;
    }
    if (head.status < 200) { /* 100 Continue, 103: more comes */
        memmove(u->in, u->in + head.len, u->in_len - head.len);
        u->in_len -= head.len;
        return u->in_len ? read_head(u, err) : MORE;
    }
    copy_told(reason, &head.reason);
    if (head.status == 407)
        describe_407(u, &head, err);
    else
        sp_error_code(err, SP_ERR_DENIED, head.status, "answered CONNECT %.260s with %d%s%s",
                      sp_target_format(&u->gateway, gateway), head.status, reason[0] ? " " : "",
                      reason);
    return FAILED;
}

static enum step read_method(struct agent_upstream *u, struct sp_error *err)
{
    if (u->in_len < 2)
        return MORE;
    if (u->in[0] != 5) {
        sp_error_set(err, SP_ERR_HTTP, "does not speak SOCKS5: its first byte is %d", u->in[0]);
        return FAILED;
    }
    u->in_len -= 2;
    if (u->in[1] == 2 && u->options.proxy->user) {
        say_login(u);
    } else if (u->in[1] == 0) {
        say_request(u);
    } else {
        sp_error_code(err, SP_ERR_DENIED, u->in[1], "%s",
                      u->options.proxy->user ? "accepts neither this login nor none"
                                             : "wants a login: put user and password into "
                                               "upstream_proxy");
        return FAILED;
    }
    return u->in_len ? FAILED : AGAIN;
}

static enum step read_login(struct agent_upstream *u, struct sp_error *err)
{
    if (u->in_len < 2)
        return MORE;
    u->in_len -= 2;
    if (u->in[1] != 0) {
        sp_error_code(err, SP_ERR_DENIED, u->in[1], "refused the login of user \"%.60s\"",
                      u->options.proxy->user);
        return FAILED;
    }
    say_request(u);
    return u->in_len ? FAILED : AGAIN;
}

static const char *reply_text(uint8_t code)
{
    static const char *const texts[] = {
        [1] = "general failure",       [2] = "not allowed by its rules",
        [3] = "network unreachable",   [4] = "host unreachable",
        [5] = "connection refused",    [6] = "TTL expired",
        [7] = "command not supported", [8] = "address type not supported",
    };

    return code && code < sizeof texts / sizeof texts[0] ? texts[code] : "an unknown code";
}

static enum step read_reply(struct agent_upstream *u, struct sp_error *err)
{
    char gateway[SP_TARGET_TEXT];
    size_t wanted;

    if (u->in_len < 5)
        return MORE;
    if (u->in[0] == 5 && u->in[1] != 0) {
        sp_error_code(err, SP_ERR_DENIED, u->in[1], "could not reach %.260s: %s (%d)",
                      sp_target_format(&u->gateway, gateway), reply_text(u->in[1]), u->in[1]);
        return FAILED;
    }
    wanted = u->in[3] == 1 ? 10 : u->in[3] == 4 ? 22 : u->in[3] == 3 ? 7U + u->in[4] : 0;
    if (u->in[0] != 5 || !wanted) {
        sp_error_set(err, SP_ERR_HTTP, "sent a malformed SOCKS5 reply");
        return FAILED;
    }
    if (u->in_len < wanted)
        return MORE;
    u->in_len -= wanted;
    return u->in_len ? FAILED : DONE;
}

static enum step read_answer(struct agent_upstream *u, struct sp_error *err)
{
    sp_error_set(err, SP_ERR_HTTP, "sent more than was asked for");
    switch (u->phase) {
    case CONNECT_HEAD:
        return read_head(u, err);
    case SOCKS_METHOD:
        return read_method(u, err);
    case SOCKS_LOGIN:
        return read_login(u, err);
    case SOCKS_REPLY:
        return read_reply(u, err);
    }
    return FAILED;
}

static void on_readable(void *ctx)
{
    struct agent_upstream *u = ctx;
    struct sp_error err;
    enum step step = MORE;

    while (step == MORE || step == AGAIN) {
        ssize_t n = sp_sock_read(u->sock, u->in + u->in_len, sizeof u->in - u->in_len);

        if (n == -EAGAIN)
            return;
        if (n <= 0) {
            if (n)
                sp_error_sys(&err, (int)-n, "broke the connection");
            else
                sp_error_set(&err, SP_ERR_CLOSED, "closed the connection before it had answered");
            fail(u, &err);
            return;
        }
        u->in_len += (size_t)n;
        step = read_answer(u, &err);
        if (step == AGAIN && !flush(u))
            return;
    }
    if (step == DONE)
        succeed(u);
    else
        fail(u, &err);
}

static void on_writable(void *ctx)
{
    flush(ctx);
}

static void on_deadline(void *ctx)
{
    struct agent_upstream *u = ctx;
    struct sp_error why;

    sp_error_set(&why, SP_ERR_TIMEOUT, "has not answered within %u ms", u->options.timeout_ms);
    fail(u, &why);
}

static const struct sp_sock_callbacks sock_callbacks = {on_readable, on_writable};

static void on_dialled(void *ctx, struct sp_sock *sock, const struct sp_addr *addr,
                       const struct sp_error *error)
{
    struct agent_upstream *u = ctx;
    struct sp_error why = *error;

    u->dial = NULL;
    if (!sock) {
        fail(u, &why);
        return;
    }
    u->sock = sock;
    u->addr = *addr;
    sp_sock_set_owner(sock, &sock_callbacks, u);
    sp_timer_start(u->deadline, u->options.timeout_ms);
    if (u->options.proxy->kind == AGENT_PROXY_HTTP)
        say_connect(u);
    else
        say_greeting(u);
    sp_sock_watch_read(sock, true);
    flush(u);
}

static void on_resolved(void *ctx, const struct sp_addr *addrs, size_t count,
                        const struct sp_error *error)
{
    struct agent_upstream *u = ctx;
    struct sp_error why = *error;

    u->query = NULL;
    if (why.kind != SP_OK)
        fail(u, &why);
    else
        u->dial = sp_dial(u->options.loop, addrs, count, NULL, on_dialled, u);
}

struct agent_upstream *agent_upstream_connect(const struct agent_upstream_options *options,
                                              agent_upstream_cb on_done, void *ctx)
{
    struct agent_upstream *u = sp_calloc(1, sizeof *u);

    u->options = *options;
    u->gateway = *options->gateway;
    u->options.gateway = &u->gateway;
    u->on_done = on_done;
    u->ctx = ctx;
    u->deadline = sp_timer_new(options->loop, on_deadline, u);
    u->query = sp_resolve(options->resolver, options->proxy->at.host, options->proxy->at.port,
                          on_resolved, u);
    return u;
}

void agent_upstream_cancel(struct agent_upstream *u)
{
    if (u)
        upstream_free(u);
}
