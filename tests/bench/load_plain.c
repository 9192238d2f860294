/* Plain TCP through a pair: channels that stand idle, and requests at a steady rate. */
#include "tests/bench/load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct channel {
    int fd;
    bool busy;      /* a request is on its way */
    uint64_t asked; /* requests so far */
    struct load_response response;
};

struct group {
    const struct load_options *options;
    struct channel *channels;
    int epoll;
    char request[256];
    size_t request_len;
    struct load_result result;
};

static void group_init(struct group *g, const struct load_options *options)
{
    memset(g, 0, sizeof *g);
    g->options = options;
    g->request_len = load_request(options, g->request, sizeof g->request);
    g->channels = calloc(options->count, sizeof *g->channels);
    g->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!g->channels || g->epoll < 0)
        load_die("out of memory or descriptors");
}

static void ask(struct group *g, struct channel *c)
{
    memset(&c->response, 0, sizeof c->response);
    c->busy = true;
    c->asked++;
    /* A request fits the socket's buffer: there is one at a time. */
    if (send(c->fd, g->request, g->request_len, 0) != (ssize_t)g->request_len)
        load_die("send: %s", strerror(errno));
}

/* True when a response is complete. */
static bool hear(struct group *g, struct channel *c)
{
    char data[8192];
    ssize_t n = recv(c->fd, data, sizeof data, 0);

    if (n < 0 && errno == EAGAIN)
        return false;
    if (n <= 0)
        load_die("a channel was closed from the other side: %s", n ? strerror(errno) : "EOF");
    switch (load_response_feed(&c->response, data, (size_t)n)) {
    case LOAD_BAD:
        load_die("not the answer that was wanted: status %d", c->response.status);
    case LOAD_DONE:
        c->busy = false;
        g->result.done++;
        return true;
    case LOAD_MORE:
        break;
    }
    return false;
}

static void open_one(struct group *g, struct channel *c)
{
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = c};

    c->fd = load_dial(g->options->port);
    if (c->fd < 0)
        load_die("connect: %s", strerror(errno));
    epoll_ctl(g->epoll, EPOLL_CTL_ADD, c->fd, &event);
}

/* All channels, each seen to carry a request; so many in the making at once. */
static void open_all(struct group *g)
{
    const unsigned count = g->options->count;
    unsigned begun = 0, open = 0;
    uint64_t deadline = load_now_us() + 120000000;

    while (open < count) {
        struct epoll_event events[64];
        int n;

        while (begun < count && begun - open < g->options->at_once)
            open_one(g, &g->channels[begun++]);
        n = epoll_wait(g->epoll, events, 64, 1000);
        for (int i = 0; i < n; i++) {
            struct channel *c = events[i].data.ptr;

            if (!c->asked) {
                struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
                int error = 0;
                socklen_t len = sizeof error;

                getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
                if (error)
                    load_die("connect: %s", strerror(error));
                epoll_ctl(g->epoll, EPOLL_CTL_MOD, c->fd, &event);
                ask(g, c);
            } else if (hear(g, c)) {
                open++;
            }
        }
        if (load_now_us() > deadline)
            load_die("%u of %u channels were open after two minutes", open, count);
    }
}

void load_channels(const struct load_options *options)
{
    struct group g;

    group_init(&g, options);
    open_all(&g);
    load_ready();
    load_print(&g.result);
}

/* When a channel's nth request is due: they take turns, at the rate of all together. The one that
 * opened it does not count. */
static uint64_t due_us(const struct group *g, const struct channel *c, uint64_t nth, uint64_t begin)
{
    uint64_t turn = (uint64_t)(c - g->channels) + (nth - 1) * g->options->count;

    return begin + (uint64_t)((double)turn * 1e6 / g->options->rate);
}

/* Asks what is due; returns when the next one is. A channel whose answer is late asks late, but its
 * latency counts from when it was due: else a stall would hide the requests it kept back. */
static uint64_t ask_due(struct group *g, uint64_t begin, uint64_t now)
{
    uint64_t next = now + 100000;

    for (unsigned i = 0; i < g->options->count; i++) {
        struct channel *c = &g->channels[i];
        uint64_t due;

        if (c->busy)
            continue;
        due = due_us(g, c, c->asked, begin);
        if (due <= now)
            ask(g, c);
        else if (due < next)
            next = due;
    }
    return next;
}

void load_steady(const struct load_options *options)
{
    struct group g;
    uint64_t begin, end, now;

    group_init(&g, options);
    open_all(&g);
    if (options->rate <= 0)
        load_die("steady wants --rate");
    load_ready();
    g.result.done = 0;
    begin = load_now_us();
    end = begin + (uint64_t)(options->seconds * 1e6);
    while ((now = load_now_us()) < end) {
        struct epoll_event events[64];
        uint64_t next = ask_due(&g, begin, now);
        uint64_t wait_us = (next < end ? next : end) - now;
        struct timespec wait = {.tv_sec = (time_t)(wait_us / 1000000),
                                .tv_nsec = (long)(wait_us % 1000000) * 1000};
        int n = epoll_pwait2(g.epoll, events, 64, &wait, NULL);

        for (int i = 0; i < n; i++) {
            struct channel *c = events[i].data.ptr;

            if (hear(&g, c))
                load_sample(&g.result, load_now_us() - due_us(&g, c, c->asked - 1, begin));
        }
    }
    /* What is still on its way has taken so long at least. */
    for (unsigned i = 0; i < options->count; i++)
        if (g.channels[i].busy)
            load_sample(&g.result,
                        now - due_us(&g, &g.channels[i], g.channels[i].asked - 1, begin));
    g.result.seconds = (double)(load_now_us() - begin) / 1e6;
    g.result.offered = (uint64_t)(g.result.seconds * options->rate);
    load_print(&g.result);
}
