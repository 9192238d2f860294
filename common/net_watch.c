#include "common/net_watch.h"

#include "common/loop.h"
#include "common/net_state.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <uv.h>

#define GROUPS                                                                                     \
    (RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE)

struct sp_net_watch {
    struct sp_loop *loop;
    uv_poll_t net, clock;
    int net_fd, clock_fd; /* clock_fd: the kernel tells of each jump of the wall clock by it */
    struct sp_timer *quiet;
    struct sp_timer *look; /* for what no clock tells: that the loop stood still */
    sp_net_watch_cb on_event;
    void *ctx;
    uint64_t addresses; /* as they were told last */
    uint64_t routes;    /* the same */
    bool gathers;
    uint64_t first_ms; /* of what is gathered */
    struct sp_net_clocks clocks;
    unsigned open; /* handles of libuv */
};

/* ---- the network ---- */

static void on_quiet(void *ctx)
{
    struct sp_net_watch *w = ctx;
    const struct sp_net_event event = {.kind = SP_NET_CHANGED};
    uint64_t addresses = sp_net_addresses(), routes = sp_net_routes();
    bool is_news = addresses != w->addresses || routes != w->routes;

    w->addresses = addresses;
    w->routes = routes;
    w->gathers = false;
    if (is_news)
        w->on_event(w->ctx, &event); /* may free us */
}

static void on_net(uv_poll_t *poll, int status, int events)
{
    struct sp_net_watch *w = poll->data;
    char buf[16384];
    uint64_t now = sp_loop_now_ms(w->loop), waited;
    ssize_t len;

    (void)status;
    (void)events;
    /* What they say is of no interest: the state is looked at when it has settled. ENOBUFS: some
     * were lost, which is no loss then. */
    do
        len = recv(w->net_fd, buf, sizeof buf, MSG_DONTWAIT);
    while (len > 0 || (len < 0 && (errno == ENOBUFS || errno == EINTR)));
    if (!w->gathers)
        w->first_ms = now;
    w->gathers = true;
    waited = now - w->first_ms < SP_NET_MOST_MS ? now - w->first_ms : SP_NET_MOST_MS;
    sp_timer_start(w->quiet, SP_NET_MOST_MS - waited < SP_NET_QUIET_MS ? SP_NET_MOST_MS - waited
                                                                       : SP_NET_QUIET_MS);
}

/* ---- the clocks ---- */

static void look(struct sp_net_watch *w, uint64_t due_ms)
{
    struct sp_net_event event = {.kind = SP_NET_WOKE};
    struct sp_net_clocks now;

    sp_net_clocks_read(&now);
    event.slept_ms = sp_net_slept_ms(&w->clocks, &now, due_ms);
    w->clocks = now;
    sp_timer_start(w->look, SP_NET_LOOK_MS);
    if (event.slept_ms)
        w->on_event(w->ctx, &event); /* may free us */
}

static void on_look(void *ctx)
{
    look(ctx, SP_NET_LOOK_MS);
}

/* A time that never comes, cancelled by whatever sets the clock, waking included. */
static bool arm_clock(int fd)
{
    const struct itimerspec never = {.it_value = {.tv_sec = INT32_MAX}};

    return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) == 0;
}

static void on_clock(uv_poll_t *poll, int status, int events)
{
    struct sp_net_watch *w = poll->data;
    uint64_t times;

    (void)status;
    (void)events;
    if (read(w->clock_fd, &times, sizeof times) >= 0 || errno != ECANCELED)
        return;
    if (!arm_clock(w->clock_fd))
        uv_poll_stop(&w->clock);
    look(w, 0);
}

/* ---- its life ---- */

static int open_net(struct sp_error *err)
{
    struct sockaddr_nl here = {.nl_family = AF_NETLINK, .nl_groups = GROUPS};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

    if (fd >= 0 && bind(fd, (const struct sockaddr *)&here, sizeof here) == 0)
        return fd;
    sp_error_sys(err, errno, "rtnetlink");
    if (fd >= 0)
        close(fd);
    return -1;
}

static void watch(struct sp_net_watch *w, uv_poll_t *poll, int fd, uv_poll_cb on_readable)
{
    poll->data = w;
    SP_REQUIRE(uv_poll_init(sp_loop_uv(w->loop), poll, fd) == 0);
    SP_REQUIRE(uv_poll_start(poll, UV_READABLE, on_readable) == 0);
    w->open++;
}

enum sp_err sp_net_watch_new(struct sp_loop *loop, sp_net_watch_cb on_event, void *ctx,
                             struct sp_net_watch **ret_watch, struct sp_error *err)
{
    int net_fd = open_net(err);
    struct sp_net_watch *w;

    if (net_fd < 0)
        return SP_ERR_SYS;
    w = sp_calloc(1, sizeof *w);
    w->loop = loop;
    w->on_event = on_event;
    w->ctx = ctx;
    w->addresses = sp_net_addresses();
    w->routes = sp_net_routes();
    w->quiet = sp_timer_new(loop, on_quiet, w);
    w->look = sp_timer_new(loop, on_look, w);
    w->net_fd = net_fd;
    watch(w, &w->net, net_fd, on_net);
    w->clock_fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (w->clock_fd >= 0 && arm_clock(w->clock_fd))
        watch(w, &w->clock, w->clock_fd, on_clock);
    sp_net_clocks_read(&w->clocks);
    sp_timer_start(w->look, SP_NET_LOOK_MS);
    *ret_watch = w;
    return SP_OK;
}

static void on_closed(uv_handle_t *handle)
{
    struct sp_net_watch *w = handle->data;

    if (--w->open == 0)
        free(w);
}

void sp_net_watch_free(struct sp_net_watch *w)
{
    if (!w)
        return;
    sp_timer_free(w->quiet);
    sp_timer_free(w->look);
    uv_poll_stop(&w->net);
    close(w->net_fd);
    uv_close((uv_handle_t *)&w->net, on_closed);
    if (w->clock_fd < 0)
        return;
    if (w->open > 1) {
        uv_poll_stop(&w->clock);
        uv_close((uv_handle_t *)&w->clock, on_closed);
    }
    close(w->clock_fd);
}
