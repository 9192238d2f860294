#include "agent/ask.h"

#include "agent/config.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/http1.h"
#include "common/text.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define READ_SIZE 16384

/* One question. */
struct asking {
    int fd;
    int64_t until_ms;
    char name[sizeof((struct sockaddr_un *)0)->sun_path + 24]; /* of the door, for people */
    struct sp_buf answer;
};

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Port 0 and the addresses that stand for all: what an application would connect to. */
static void reachable(struct sp_addr *addr)
{
    static const uint8_t any[16];
    size_t len = addr->ip.family == 4 ? 4 : 16;

    if (memcmp(addr->ip.bytes, any, len) != 0)
        return;
    if (addr->ip.family == 4)
        addr->ip.bytes[0] = 127;
    addr->ip.bytes[len - 1] = 1;
}

enum sp_err agent_ask_parse_door(const char *text, struct agent_ask_door *ret, struct sp_error *err)
{
    *ret = (struct agent_ask_door){.unix_path = NULL};
    if (strncmp(text, "unix:", 5) == 0 && text[5]) {
        ret->unix_path = text + 5;
        return SP_OK;
    }
    if (sp_addr_parse(text, &ret->addr, NULL) == SP_OK && ret->addr.port)
        return SP_OK;
    return sp_error_set(err, SP_ERR_CONFIG,
                        "\"%.100s\" is no door; wanted: an address and a port, as in "
                        "127.0.0.1:3128, or unix:PATH",
                        text);
}

/* Waits until the socket is ready for that. */
static enum sp_err wait_for(struct asking *a, short events, struct sp_error *err)
{
    struct pollfd pfd = {.fd = a->fd, .events = events};
    int64_t left = a->until_ms - now_ms();
    int ready = left > 0 ? poll(&pfd, 1, (int)left) : 0;

    if (ready > 0 || (ready < 0 && errno == EINTR))
        return SP_OK;
    return sp_error_set(err, SP_ERR_TIMEOUT, "no answer in time from %s", a->name);
}

static enum sp_err connect_to(struct asking *a, const struct agent_ask_door *door,
                              struct sp_error *err)
{
    struct sockaddr_storage sa = {.ss_family = AF_UNSPEC};
    struct sockaddr_un *un = (struct sockaddr_un *)&sa;
    struct sp_addr addr = door->addr;
    socklen_t len = sizeof *un;
    int failed = 0;
    socklen_t failed_len = sizeof failed;
    char text[SP_ADDR_TEXT];
    enum sp_err rc = SP_OK;

    if (door->unix_path) {
        un->sun_family = AF_UNIX;
        if (strlen(door->unix_path) >= sizeof un->sun_path)
            return sp_error_set(err, SP_ERR_CONFIG, "the path of the door's socket is too long");
        snprintf(un->sun_path, sizeof un->sun_path, "%s", door->unix_path);
        snprintf(a->name, sizeof a->name, "unix:%s", un->sun_path);
    } else {
        reachable(&addr);
        len = sp_addr_to_sockaddr(&addr, &sa);
        snprintf(a->name, sizeof a->name, "%s", sp_addr_format(&addr, text));
    }
    a->fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (a->fd < 0)
        return sp_error_sys(err, errno, "cannot ask at %s", a->name);
    if (connect(a->fd, (const struct sockaddr *)&sa, len) < 0) {
        failed = errno;
        if (failed == EINPROGRESS)
            rc = wait_for(a, POLLOUT, err);
        if (rc == SP_OK && failed == EINPROGRESS &&
            getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &failed, &failed_len) < 0)
            failed = errno;
    }
    if (rc == SP_OK && failed)
        rc = sp_error_sys(err, failed, "no agent answers at %s: is it running?", a->name);
    return rc;
}

static enum sp_err send_all(struct asking *a, const char *text, size_t len, struct sp_error *err)
{
    while (len) {
        ssize_t n = send(a->fd, text, len, MSG_NOSIGNAL);

        if (n > 0) {
            text += n;
            len -= (size_t)n;
        } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return sp_error_sys(err, errno, "asking at %s", a->name);
        } else if (wait_for(a, POLLOUT, err) != SP_OK) {
            return err->kind;
        }
    }
    return SP_OK;
}

static enum sp_err read_all(struct asking *a, struct sp_error *err)
{
    for (;;) {
        uint8_t *room = sp_buf_reserve(&a->answer, READ_SIZE);
        ssize_t n = room ? recv(a->fd, room, READ_SIZE, 0) : 0;

        if (!room)
            return sp_error_set(err, SP_ERR_LIMIT, "the answer from %s is longer than %d bytes",
                                a->name, AGENT_ASK_MAX);
        if (n == 0)
            return SP_OK;
        if (n > 0)
            sp_buf_commit(&a->answer, (size_t)n);
        else if (errno != EAGAIN && errno != EINTR)
            return sp_error_sys(err, errno, "asking at %s", a->name);
        else if (wait_for(a, POLLIN, err) != SP_OK)
            return err->kind;
    }
}

static bool is_agent(const struct sp_http1_head *head)
{
    static const char name[] = "sallyport-agent/";
    const struct sp_http1_field *server = sp_http1_find(head, "Server", NULL);

    return server && server->value.len > sizeof name - 1 &&
           memcmp(server->value.text, name, sizeof name - 1) == 0;
}

static bool is_whole(const struct sp_http1_head *head, size_t body_len)
{
    const struct sp_http1_field *length = sp_http1_find(head, "Content-Length", NULL);
    char digits[24];

    snprintf(digits, sizeof digits, "%zu", body_len);
    return length && length->value.len == strlen(digits) &&
           memcmp(length->value.text, digits, length->value.len) == 0;
}

static enum sp_err judge(const struct asking *a, char **ret_body, struct sp_error *err)
{
    const char *text = (const char *)sp_buf_data(&a->answer);
    struct sp_http1_head head;
    char quoted[200];
    size_t len, first;

    if (sp_http1_response_head(sp_buf_data(&a->answer), a->answer.len, &head, NULL) != SP_OK ||
        !is_agent(&head))
        return sp_error_set(err, SP_ERR_HTTP, "what answers at %s is no sallyport-agent", a->name);
    text += head.len;
    len = a->answer.len - head.len;
    if (!is_whole(&head, len))
        return sp_error_set(err, SP_ERR_HTTP, "the answer from %s was cut short", a->name);
    if (head.status != 200) {
        for (first = 0; first < len && text[first] != '\n'; first++)
            ;
        return sp_error_code(err, SP_ERR_HTTP, head.status, "the agent at %s refuses (%d): %s",
                             a->name, head.status,
                             sp_text_quote(text, first, quoted, sizeof quoted));
    }
    *ret_body = sp_calloc(1, len + 1);
    memcpy(*ret_body, text, len);
    return SP_OK;
}

enum sp_err agent_ask(const struct agent_ask_door *door, const char *path, const char *accept,
                      unsigned timeout_ms, char **ret_body, struct sp_error *err)
{
    struct asking a = {.fd = -1, .until_ms = now_ms() + timeout_ms};
    char request[512];
    enum sp_err rc;

    sp_buf_init(&a.answer, AGENT_ASK_MAX);
    rc = connect_to(&a, door, err);
    snprintf(request, sizeof request,
             "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: %s\r\nConnection: close\r\n\r\n", path,
             door->unix_path ? "localhost" : a.name, accept);
    if (rc == SP_OK)
        rc = send_all(&a, request, strlen(request), err);
    if (rc == SP_OK)
        rc = read_all(&a, err);
    if (rc == SP_OK)
        rc = judge(&a, ret_body, err);
    sp_buf_done(&a.answer);
    if (a.fd >= 0)
        close(a.fd);
    return rc;
}

/* Port 0 is another one at each start. */
static bool may_ask(const struct agent_door *door)
{
    return (door->type == AGENT_DOOR_HTTP || door->type == AGENT_DOOR_MIXED) &&
           (door->unix_path || door->listen.port);
}

enum sp_err agent_ask_any(const struct agent_config *config, const char *path, const char *accept,
                          unsigned timeout_ms, char **ret_body, struct sp_error *err)
{
    struct sp_error first = {.kind = SP_OK};

    for (size_t i = 0; i < config->door_count; i++) {
        const struct agent_door *row = &config->doors[i];
        const struct agent_ask_door door = {.addr = row->listen, .unix_path = row->unix_path};
        struct sp_error why;

        if (!may_ask(row))
            continue;
        if (agent_ask(&door, path, accept, timeout_ms, ret_body, &why) == SP_OK)
            return SP_OK;
        if (first.kind == SP_OK)
            first = why;
    }
    if (first.kind == SP_OK)
        return sp_error_set(err, SP_ERR_CONFIG,
                            "%.150s has no door of type \"http\" or \"mixed\" whose address is "
                            "known; wanted: --door ADDRESS:PORT",
                            config->path);
    if (err)
        *err = first;
    return first.kind;
}
