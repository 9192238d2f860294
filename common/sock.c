#include "common/sock.h"
#include "common/loop.h"
#include "common/pacing.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#define ACCEPT_AT_ONCE  32
#define ACCEPT_PAUSE_MS 100
#define ALIVE_IDLE_S    60
#define ALIVE_EVERY_S   15
#define ALIVE_TRIES     4

#define READABLE 1u
#define WRITABLE 2u

/*
 * The kernel tells of each change once (edge-triggered), and a change of what the owner wants costs
 * nothing: what was told is kept in `ready` until a read or write finds that it is no longer so.
 */
struct sp_sock {
    struct sp_watch watch; /* first: sp_watch_bury frees it */
    struct sp_loop *loop;
    struct sp_task again; /* wanted and still ready: told once more, after everybody else */
    struct sp_task ask;   /* begins to ask a silent peer whether it lives */
    struct sp_sock_callbacks callbacks;
    void *ctx;
    int fd;
    unsigned wanted : 2;
    unsigned ready : 2;
    bool dispatching : 1;
    bool guarded : 1;
    bool alive : 1;  /* asks a silent peer */
    bool failed : 1; /* an error waits in the socket: the read meets it first */
    bool ending : 1; /* an end or urgent byte was told: a short read does not mean there is no more
                      */
    bool closed : 1;
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

/* ---- readiness ---- */

static void sock_again(struct sp_sock *sock)
{
    if (!sock->closed && !sock->dispatching && sock->ready & sock->wanted)
        sp_task_soon(sock->loop, &sock->again);
}

static void sock_dispatch(struct sp_sock *sock)
{
    unsigned events = sock->ready & sock->wanted;

    if (sock->failed && events & READABLE)
        events = READABLE;
    sock->dispatching = true;
    if (events & READABLE)
        sock->callbacks.on_readable(sock->ctx);
    if (!sock->closed && events & sock->ready & sock->wanted & WRITABLE)
        sock->callbacks.on_writable(sock->ctx);
    sock->dispatching = false;
    sock_again(sock);
}

static void on_again(void *ctx)
{
    sock_dispatch(ctx);
}

static void on_sock_ready(struct sp_watch *watch, uint32_t events)
{
    struct sp_sock *sock = (struct sp_sock *)watch;

    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLHUP | EPOLLERR))
        sock->ready |= READABLE;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        sock->ready |= WRITABLE;
    if (events & EPOLLERR)
        sock->failed = true;
    if (events & (EPOLLRDHUP | EPOLLPRI | EPOLLHUP | EPOLLERR))
        sock->ending = true;
    sock_dispatch(sock);
}

static void sock_want(struct sp_sock *sock, unsigned event, bool on)
{
    unsigned wanted = on ? sock->wanted | event : sock->wanted & ~event;

    if (wanted == sock->wanted)
        return;
    if (!sock->wanted || !wanted)
        sp_loop_hold(sock->loop, wanted != 0);
    sock->wanted = wanted & 3u;
    sock_again(sock);
}

void sp_sock_watch_read(struct sp_sock *sock, bool on)
{
    sock_want(sock, READABLE, on);
}

void sp_sock_watch_write(struct sp_sock *sock, bool on)
{
    sock_want(sock, WRITABLE, on);
}

/* ---- making one ---- */

static void keep_alive(int fd)
{
    static const int values[][3] = {
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, ALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, ALIVE_EVERY_S},
        {IPPROTO_TCP, TCP_KEEPCNT, ALIVE_TRIES},
    };

    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) /* not TCP: nobody can vanish */
        (void)setsockopt(fd, values[i][0], values[i][1], &values[i][2], sizeof(int));
}

static void on_old(void *ctx)
{
    const struct sp_sock *sock = ctx;

    keep_alive(sock->fd);
}

static enum sp_err sock_make(struct sp_loop *loop, int fd,
                             const struct sp_sock_callbacks *callbacks, void *ctx,
                             struct sp_sock **ret_sock, struct sp_error *err)
{
    struct sp_sock *sock = sp_calloc(1, sizeof *sock);
    enum sp_err rc = sp_watch_add(loop, &sock->watch, fd, err);

    if (rc != SP_OK) {
        free(sock);
        return rc;
    }
    sock->watch.on_ready = on_sock_ready;
    sock->loop = loop;
    sock->fd = fd;
    sp_task_init(&sock->again, on_again, sock);
    sp_task_init(&sock->ask, on_old, sock);
    sp_sock_set_owner(sock, callbacks, ctx);
    *ret_sock = sock;
    return SP_OK;
}

static void no_delay(int fd)
{
    int on = 1;

    /* Fails on what is not TCP, which has no such delay. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

enum sp_err sp_sock_new(struct sp_loop *loop, int fd, const struct sp_sock_callbacks *callbacks,
                        void *ctx, struct sp_sock **ret_sock, struct sp_error *err)
{
    int flags;

    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || (flags = fcntl(fd, F_GETFL)) < 0 ||
        fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return sp_error_sys(err, errno, "cannot use descriptor %d", fd);
    no_delay(fd);
    return sock_make(loop, fd, callbacks, ctx, ret_sock, err);
}

enum sp_err sp_sock_accepted(struct sp_loop *loop, int fd, bool guarded,
                             const struct sp_sock_callbacks *callbacks, void *ctx,
                             struct sp_sock **ret_sock, struct sp_error *err)
{
    enum sp_err rc = sock_make(loop, fd, callbacks, ctx, ret_sock, err);

    if (rc == SP_OK) {
        (*ret_sock)->guarded = guarded;
        (*ret_sock)->alive = true;
    }
    return rc;
}

enum sp_err sp_sock_connect(struct sp_loop *loop, const struct sp_addr *addr,
                            const struct sp_sock_callbacks *callbacks, void *ctx,
                            struct sp_sock **ret_sock, struct sp_error *err)
{
    struct sockaddr_storage sa;
    socklen_t len = sp_addr_to_sockaddr(addr, &sa);
    int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    char text[SP_ADDR_TEXT];
    enum sp_err rc;

    if (fd >= 0)
        sp_pacing_spare(fd, addr);
    if (fd >= 0 && (connect(fd, (const struct sockaddr *)&sa, len) == 0 || errno == EINPROGRESS)) {
        no_delay(fd);
        rc = sock_make(loop, fd, callbacks, ctx, ret_sock, err);
    } else {
        rc = sp_error_sys(err, errno, "%s", sp_addr_format(addr, text));
    }
    if (rc != SP_OK && fd >= 0)
        close(fd);
    return rc;
}

void sp_sock_set_owner(struct sp_sock *sock, const struct sp_sock_callbacks *callbacks, void *ctx)
{
    sock->callbacks = *callbacks;
    sock->ctx = ctx;
}

/* Most connections are over before it is time to ask: they are spared these system calls. */
void sp_sock_keep_alive(struct sp_sock *sock)
{
    if (!sock->alive)
        sp_task_when_old(sock->loop, &sock->ask);
    sock->alive = true;
}

/* ---- using it ---- */

ssize_t sp_sock_read(struct sp_sock *sock, void *buf, size_t cap)
{
    ssize_t len;

    do
        len = recv(sock->fd, buf, cap, MSG_DONTWAIT);
    while (len < 0 && errno == EINTR);
    if (len < 0 ? errno == EAGAIN : len && (size_t)len < cap && !sock->ending)
        sock->ready &= ~READABLE & 3u;
    return len < 0 ? -errno : len;
}

size_t sp_sock_waiting(const struct sp_sock *sock)
{
    int len = 0;

    return ioctl(sock->fd, FIONREAD, &len) == 0 && len > 0 ? (size_t)len : 0;
}

/* What the kernel said to an attempt to write len bytes. */
static ssize_t written(struct sp_sock *sock, ssize_t taken, size_t len)
{
    if (taken < 0 ? errno == EAGAIN : (size_t)taken < len)
        sock->ready &= ~WRITABLE & 3u;
    return taken < 0 ? -errno : taken;
}

ssize_t sp_sock_write(struct sp_sock *sock, const void *data, size_t len)
{
    ssize_t taken;

    do
        taken = send(sock->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (taken < 0 && errno == EINTR);
    return written(sock, taken, len);
}

ssize_t sp_sock_write_pieces(struct sp_sock *sock, struct iovec *pieces, size_t count)
{
    const struct msghdr message = {.msg_iov = pieces, .msg_iovlen = count};
    size_t len = 0;
    ssize_t taken;

    if (count == 1)
        return sp_sock_write(sock, pieces->iov_base, pieces->iov_len);
    for (size_t i = 0; i < count; i++)
        len += pieces[i].iov_len;
    do
        taken = sendmsg(sock->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (taken < 0 && errno == EINTR);
    return written(sock, taken, len);
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

bool sp_sock_local(const struct sp_sock *sock, struct sp_addr *ret_addr)
{
    return sock_name(sock->fd, getsockname, ret_addr);
}

int sp_sock_fd(const struct sp_sock *sock)
{
    return sock->fd;
}

bool sp_sock_has_failed(const struct sp_sock *sock)
{
    return sock->failed;
}

/* The end of the object; what becomes of the descriptor is the caller's to say. */
static int sock_gone(struct sp_sock *sock)
{
    SP_REQUIRE(!sock->closed);
    sock_want(sock, READABLE | WRITABLE, false);
    sp_task_cancel(&sock->again);
    sp_task_cancel(&sock->ask);
    sock->closed = true;
    sp_watch_bury(sock->loop, &sock->watch);
    return sock->fd;
}

int sp_sock_release(struct sp_sock *sock)
{
    if (sock->ask.prev)
        keep_alive(sock->fd);
    sp_watch_remove(sock->loop, sock->fd);
    return sock_gone(sock);
}

/* Whether a close, ours or the kernel's, drops what was not sent and sends a RST. */
static int set_linger(int fd, bool resets)
{
    struct linger linger = {.l_onoff = resets, .l_linger = 0};

    return setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

static void close_resets(struct sp_sock *sock, bool on)
{
    if (sock->guarded == on)
        return;
    sock->guarded = on;
    (void)set_linger(sock->fd, on);
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
    close(sock_gone(sock));
}

void sp_sock_reset(struct sp_sock *sock)
{
    if (!sock)
        return;
    close_resets(sock, true);
    close(sock_gone(sock));
}

void sp_descriptors_raise(unsigned at_once)
{
    struct rlimit limit;
    int last;

    if (getrlimit(RLIMIT_NOFILE, &limit))
        return;
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    last = (int)(limit.rlim_cur < at_once ? limit.rlim_cur : at_once) - 1;
    last = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, last);
    if (last >= 0)
        close(last); /* the table stays as large as it took */
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
    no_delay(fd); /* those it accepts inherit what is set here */
    keep_alive(fd);
    sp_pacing_spare(fd, addr);
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

bool sp_listen_guard(int fd)
{
    return set_linger(fd, true) == 0;
}

void sp_turn_away(int fd)
{
    (void)set_linger(fd, false);
    close(fd);
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
