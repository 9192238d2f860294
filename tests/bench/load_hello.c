/*
 * Handshakes that stop after the server's answer, as those of clients do whose time is up: a
 * ClientHello, the server's whole first flight made for it, and gone. They cost the server most of
 * a handshake and us next to nothing, which is how one machine offers more than it can do.
 */
#include "tests/bench/load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

struct knock {
    int fd; /* -1: free */
    bool said;
    uint64_t begun;
};

struct street {
    const struct load_options *options;
    struct knock *knocks;
    unsigned busy, place;
    int epoll;
    unsigned char hello[512];
    size_t hello_len, random_at, share_at;
    struct load_result result;
};

static void put(struct street *s, const void *data, size_t len)
{
    if (s->hello_len + len > sizeof s->hello)
        load_die("--name is too long");
    memcpy(s->hello + s->hello_len, data, len);
    s->hello_len += len;
}

static void put16(struct street *s, size_t number)
{
    const unsigned char bytes[] = {(unsigned char)(number >> 8), (unsigned char)number};

    put(s, bytes, sizeof bytes);
}

static void set16(struct street *s, size_t at, size_t number)
{
    s->hello[at] = (unsigned char)(number >> 8);
    s->hello[at + 1] = (unsigned char)number;
}

/* RFC 8446, 4.1.2: TLS 1.3, X25519, AES-128-GCM. Any 32 bytes are a share of X25519. */
static void make_hello(struct street *s)
{
    static const unsigned char zeros[32] = {0};
    static const unsigned char head[] = {0x16, 3, 1, 0, 0, 1, 0, 0, 0, 3, 3};
    static const unsigned char fixed[] = {
        0, 10, 0, 4,  0, 2,  0, 29,              /* supported_groups */
        0, 13, 0, 8,  0, 6,  4, 3,  8, 4,  4, 1, /* signature_algorithms */
        0, 43, 0, 3,  2, 3,  4,                  /* supported_versions */
        0, 45, 0, 2,  1, 1,                      /* psk_key_exchange_modes */
        0, 51, 0, 38, 0, 36, 0, 29, 0, 32,       /* key_share, its key follows */
    };
    const char *name = s->options->name;
    size_t extensions;

    put(s, head, sizeof head);
    s->random_at = s->hello_len;
    put(s, zeros, 32);
    put(s, "\x20", 1); /* the session id of middlebox compatibility */
    put(s, zeros, 32);
    put(s, "\0\2\x13\1\1\0", 6); /* TLS_AES_128_GCM_SHA256; no compression */
    extensions = s->hello_len;
    put16(s, 0);
    put16(s, 0); /* server_name */
    put16(s, strlen(name) + 5);
    put16(s, strlen(name) + 3);
    put(s, "", 1);
    put16(s, strlen(name));
    put(s, name, strlen(name));
    put(s, fixed, sizeof fixed);
    s->share_at = s->hello_len;
    put(s, zeros, 32);
    set16(s, extensions, s->hello_len - extensions - 2);
    set16(s, 3, s->hello_len - 5);
    set16(s, 7, s->hello_len - 9);
}

static void begin(struct street *s)
{
    struct epoll_event event = {.events = EPOLLOUT};
    struct knock *k;

    while (s->knocks[s->place].fd >= 0)
        s->place = (s->place + 1) % s->options->at_once;
    k = &s->knocks[s->place];
    event.data.ptr = k;
    s->result.offered++;
    k->fd = load_dial(s->options->port);
    if (k->fd < 0) {
        load_failed(&s->result, strerror(errno));
        return;
    }
    k->said = false;
    k->begun = load_now_us();
    s->busy++;
    epoll_ctl(s->epoll, EPOLL_CTL_ADD, k->fd, &event);
}

static void end(struct street *s, struct knock *k)
{
    close(k->fd);
    k->fd = -1;
    s->busy--;
}

static void step(struct street *s, struct knock *k)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = k};
    unsigned char answer[64];

    if (!k->said) {
        if (getrandom(s->hello + s->random_at, 32, 0) != 32 ||
            getrandom(s->hello + s->share_at, 32, 0) != 32)
            load_die("getrandom: %s", strerror(errno));
        if (send(k->fd, s->hello, s->hello_len, 0) == (ssize_t)s->hello_len) {
            k->said = true;
            epoll_ctl(s->epoll, EPOLL_CTL_MOD, k->fd, &event);
            return;
        }
        load_failed(&s->result, strerror(errno));
    } else if (recv(k->fd, answer, sizeof answer, 0) > 5 && answer[0] == 0x16) {
        s->result.done++;
        load_sample(&s->result, load_now_us() - k->begun);
    } else {
        load_failed(&s->result, "an alert or nothing, in place of a ServerHello");
    }
    end(s, k);
}

static void give_up_late(struct street *s, uint64_t now)
{
    for (unsigned i = 0; i < s->options->at_once; i++)
        if (s->knocks[i].fd >= 0 && now - s->knocks[i].begun > s->options->timeout_ms * 1000ULL) {
            s->result.timed_out++;
            end(s, &s->knocks[i]);
        }
}

void load_hellos(const struct load_options *options)
{
    struct street s = {.options = options};
    uint64_t begun, now, late_check;

    s.knocks = calloc(options->at_once, sizeof *s.knocks);
    s.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!s.knocks || s.epoll < 0 || !options->name || options->rate <= 0)
        load_die("hellos wants --name --rate");
    for (unsigned i = 0; i < options->at_once; i++)
        s.knocks[i].fd = -1;
    make_hello(&s);
    load_ready();
    begun = late_check = load_now_us();
    while ((now = load_now_us()) < begun + (uint64_t)(options->seconds * 1e6)) {
        uint64_t due = (uint64_t)((double)(now - begun) / 1e6 * options->rate);
        struct epoll_event events[256];
        int n;

        for (int i = 0; i < 64 && s.busy < options->at_once && s.result.offered < due; i++)
            begin(&s);
        n = epoll_wait(s.epoll, events, 256, 1);
        for (int i = 0; i < n; i++)
            step(&s, events[i].data.ptr);
        if (now - late_check > 100000) {
            give_up_late(&s, now);
            late_check = now;
        }
    }
    s.result.seconds = (double)(load_now_us() - begun) / 1e6;
    load_print(&s.result);
}
