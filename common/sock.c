#include "common/sock.h"
#include "common/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#define ACCEPT_AT_ONCE  32
#define ACCEPT_PAUSE_MS 100
#define ALIVE_IDLE_S    60
#define ALIVE_EVERY_S   15
#define ALIVE_TRIES     4

struct sp_sock {
    uv_poll_t poll;
    struct sp_sock_callbacks callbacks;
    void *ctx;
    int fd;
    int wanted; /* UV_READABLE | UV_WRITABLE, as the owner asked */
    int armed;  /* as libuv was told */
    bool dispatching;
    bool guarded;
    bool closed; /* waits for libuv to let go of it */
};

struct sp_listener {
    uv_poll_t poll;
    struct sp_timer *pause;
    struct sp_listener_callbacks callbacks;
    void *ctx;
    int fd;
    bool in_trouble; /* told; until everything that waited is accepted */
    bool closed;
};

static void on_sock_event(uv_poll_t *poll, int status, int events);

/* Every real change costs two system calls, so that what callbacks change during an event is told
 * to libuv once, after them. */
static void sock_arm(struct sp_sock *sock)
{
    if (sock->closed || sock->dispatching || sock->armed == sock->wanted)
        return;
    sock->armed = sock->wanted;
    if (sock->wanted)
        SP_REQUIRE(uv_poll_start(&sock->poll, sock->wanted, on_sock_event) == 0);
    else
        uv_poll_stop(&sock->poll);
}

static void on_sock_event(uv_poll_t *poll, int status, int events)
{
    struct sp_sock *sock = poll->data;

    if (status < 0) {
        /* An error on the socket: libuv has stopped watching. The owner meets it when it reads. */
        sock->armed = 0;
        events = sock->wanted & UV_READABLE ? UV_READABLE : UV_WRITABLE;
    }
    sock->dispatching = true;
    if (events & sock->wanted & UV_READABLE)
        sock->callbacks.on_readable(sock->ctx);
    if (!sock->closed && (events & sock->wanted & UV_WRITABLE))
        sock->callbacks.on_writable(sock->ctx);
    sock->dispatching = false;
    sock_arm(sock);
}

enum sp_err sp_sock_new(struct sp_loop *loop, int fd, const struct sp_sock_callbacks *callbacks,
                        void *ctx, struct sp_sock **ret_sock, struct sp_error *err)
{
    struct sp_sock *sock;
    int rc, on = 1;

    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return sp_error_sys(err, errno, "cannot use descriptor %d", fd);
    sock = sp_calloc(1, sizeof *sock);
    rc = uv_poll_init(sp_loop_uv(loop), &sock->poll, fd); /* makes it non-blocking */
    if (rc < 0) {
        free(sock);
        return sp_error_code(err, SP_ERR_UV, rc, "cannot watch a socket: %s", uv_strerror(rc));
    }
    /* Fails on what is not TCP, which has no such delay. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    sock->poll.data = sock;
    sock->fd = fd;
    sp_sock_set_owner(sock, callbacks, ctx);
    *ret_sock = sock;
    return SP_OK;
}

void sp_sock_set_owner(struct sp_sock *sock, const struct sp_sock_callbacks *callbacks, void *ctx)
{
    sock->callbacks = *callbacks;
    sock->ctx = ctx;
}

void sp_sock_keep_alive(struct sp_sock *sock)
{
    static const int values[][3] = {
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, ALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, ALIVE_EVERY_S},
        {IPPROTO_TCP, TCP_KEEPCNT, ALIVE_TRIES},
    };

    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) /* not TCP: nobody can vanish */
        (void)setsockopt(sock->fd, values[i][0], values[i][1], &values[i][2], sizeof(int));
}

static void sock_want(struct sp_sock *sock, int event, bool on)
{
    sock->wanted = on ? sock->wanted | event : sock->wanted & ~event;
    sock_arm(sock);
}

void sp_sock_watch_read(struct sp_sock *sock, bool on)
{
    sock_want(sock, UV_READABLE, on);
}

void sp_sock_watch_write(struct sp_sock *sock, bool on)
{
    sock_want(sock, UV_WRITABLE, on);
}

ssize_t sp_sock_read(struct sp_sock *sock, void *buf, size_t cap)
{
    ssize_t len;

    do
        len = recv(sock->fd, buf, cap, MSG_DONTWAIT);
    while (len < 0 && errno == EINTR);
    return len < 0 ? -errno : len;
}

ssize_t sp_sock_write(struct sp_sock *sock, const void *data, size_t len)
{
    ssize_t taken;

    do
        taken = send(sock->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (taken < 0 && errno == EINTR);
    return taken < 0 ? -errno : taken;
}

void sp_sock_shutdown_write(struct sp_sock *sock)
{
    (void)shutdown(sock->fd, SHUT_WR); /* ENOTCONN: the peer was faster; a read will tell */
}

static int fd_error(int fd)
{
    int value = 0;
    socklen_t len = sizeof value;

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &len) < 0)
        return errno;
    return value;
}

int sp_sock_error(struct sp_sock *sock)
{
    return fd_error(sock->fd);
}

static bool sock_name(int fd, int (*name)(int, struct sockaddr *, socklen_t *),
                      struct sp_addr *ret_addr)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;

    if (name(fd, (struct sockaddr *)&sa, &len) < 0)
        return false;
    return sp_addr_from_sockaddr((const struct sockaddr *)&sa, ret_addr);
}

bool sp_sock_peer(const struct sp_sock *sock, struct sp_addr *ret_addr)
{
    return sock_name(sock->fd, getpeername, ret_addr);
}

bool sp_sock_local(const struct sp_sock *sock, struct sp_addr *ret_addr)
{
    return sock_name(sock->fd, getsockname, ret_addr);
}

int sp_sock_fd(const struct sp_sock *sock)
{
    return sock->fd;
}

static void on_sock_closed(uv_handle_t *handle)
{
    free(handle->data);
}

int sp_sock_release(struct sp_sock *sock)
{
    SP_REQUIRE(!sock->closed);
    sock->closed = true;
    uv_close((uv_handle_t *)&sock->poll, on_sock_closed); /* no longer looks at the descriptor */
    return sock->fd;
}

/* Whether a close, ours or the kernel's, drops what was not sent and sends a RST. */
static void close_resets(struct sp_sock *sock, bool on)
{
    struct linger linger = {.l_onoff = on, .l_linger = 0};

    if (sock->guarded == on)
        return;
    sock->guarded = on;
    (void)setsockopt(sock->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

void sp_sock_guard(struct sp_sock *sock)
{
    close_resets(sock, true);
}

void sp_sock_close(struct sp_sock *sock)
{
    if (!sock)
        return;
    close_resets(sock, false);
    close(sp_sock_release(sock));
}

void sp_sock_reset(struct sp_sock *sock)
{
    if (!sock)
        return;
    close_resets(sock, true);
    close(sp_sock_release(sock));
}

void sp_descriptors_raise(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static enum sp_err listen_on(int fd, struct sp_addr *addr, bool reuse_port, struct sp_error *err)
{
    char text[SP_ADDR_TEXT];
    struct sockaddr_storage sa;
    socklen_t len = sp_addr_to_sockaddr(addr, &sa);
    int on = 1;

    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        (reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0) ||
        /* [::] is not 0.0.0.0: each address in the configuration means itself. */
        (addr->ip.family == 6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) < 0) ||
        bind(fd, (const struct sockaddr *)&sa, len) < 0 || listen(fd, SOMAXCONN) < 0)
        return sp_error_sys(err, errno, "cannot listen on %s", sp_addr_format(addr, text));
    if (!sock_name(fd, getsockname, addr))
        return sp_error_sys(err, errno, "cannot tell the address of %s",
                            sp_addr_format(addr, text));
    return SP_OK;
}

enum sp_err sp_listen_fd(struct sp_addr *addr, bool reuse_port, int *ret_fd, struct sp_error *err)
{
    int family = addr->ip.family == 6 ? AF_INET6 : AF_INET;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    enum sp_err rc;

    if (fd < 0)
        return sp_error_sys(err, errno, "cannot make a socket");
    rc = listen_on(fd, addr, reuse_port, err);
    if (rc != SP_OK) {
        close(fd);
        return rc;
    }
    *ret_fd = fd;
    return SP_OK;
}

/* The connection waiting in front is broken, or its network is: the next one may be fine. */
static bool is_this_connections_trouble(int errno_value)
{
    switch (errno_value) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case EPERM: /* a firewall rule */
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
        return true;
    default:
        return false;
    }
}

static void listener_fail(struct sp_listener *listener, int errno_value)
{
    uv_poll_stop(&listener->poll);
    sp_timer_start(listener->pause, ACCEPT_PAUSE_MS);
    if (listener->in_trouble)
        return;
    listener->in_trouble = true;
    listener->callbacks.on_trouble(listener->ctx, errno_value);
}

static void on_listener_event(uv_poll_t *poll, int status, int events)
{
    struct sp_listener *listener = poll->data;

    (void)events;
    if (status < 0) {
        int errno_value = fd_error(listener->fd);

        listener_fail(listener, errno_value ? errno_value : EIO);
        return;
    }
    for (int i = 0; i < ACCEPT_AT_ONCE && !listener->closed; i++) {
        struct sockaddr_storage sa = {.ss_family = AF_UNSPEC};
        socklen_t len = sizeof sa;
        struct sp_addr peer = {.port = 0};
        int fd = accept4(listener->fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            (void)sp_addr_from_sockaddr((const struct sockaddr *)&sa, &peer);
            listener->callbacks.on_accept(listener->ctx, fd, &peer);
        } else if (errno == EAGAIN) {
            listener->in_trouble = false;
            return;
        } else if (!is_this_connections_trouble(errno)) {
            listener_fail(listener, errno);
            return;
        }
    }
}

static void on_pause_over(void *ctx)
{
    struct sp_listener *listener = ctx;

    SP_REQUIRE(uv_poll_start(&listener->poll, UV_READABLE, on_listener_event) == 0);
}

enum sp_err sp_listener_new(struct sp_loop *loop, int fd,
                            const struct sp_listener_callbacks *callbacks, void *ctx,
                            struct sp_listener **ret_listener, struct sp_error *err)
{
    struct sp_listener *listener = sp_calloc(1, sizeof *listener);
    int rc = uv_poll_init(sp_loop_uv(loop), &listener->poll, fd);

    if (rc < 0) {
        free(listener);
        return sp_error_code(err, SP_ERR_UV, rc, "cannot watch a listening socket: %s",
                             uv_strerror(rc));
    }
    listener->poll.data = listener;
    listener->fd = fd;
    listener->callbacks = *callbacks;
    listener->ctx = ctx;
    listener->pause = sp_timer_new(loop, on_pause_over, listener);
    SP_REQUIRE(uv_poll_start(&listener->poll, UV_READABLE, on_listener_event) == 0);
    *ret_listener = listener;
    return SP_OK;
}

static void on_listener_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void sp_listener_free(struct sp_listener *listener)
{
    if (!listener)
        return;
    listener->closed = true;
    sp_timer_free(listener->pause);
    uv_close((uv_handle_t *)&listener->poll, on_listener_closed);
    close(listener->fd);
}
