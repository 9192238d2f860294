/*
 * delay: a TCP relay on loopback that hands each byte on so many milliseconds after it came, in
 * both directions: where the kernel has no netem, this makes a long way out of a short one.
 *
 *   delay TO-PORT DELAY-MS     listens on a port of its own, prints "port N"; ends with its stdin
 *
 * What it does not do: TCP's own windows do not see the delay (each half of the way is short), only
 * what runs end to end above TCP does. Each direction holds at most RING bytes; a ring that fills
 * would make it the bottleneck, at RING / delay bytes a second: 1.3 GB/s at 50 ms.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define RING   (64u << 20)
#define PIECE  (256u << 10)
#define PIECES 65536u

struct piece {
    struct timespec due;
    size_t len; /* 0: the end */
};

/* One reader thread fills, one writer thread empties; the lock is for the two counts. */
struct direction {
    int from, to;
    char *ring;
    struct piece *pieces;
    size_t head, tail, used; /* bytes: filled at head, emptied at tail */
    unsigned first, last, pieces_waiting;
    bool dead; /* the writer is gone */
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static long delay_ms;
static unsigned to_port;

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "delay: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void push(struct direction *d, size_t len)
{
    struct piece *piece = &d->pieces[d->last++ % PIECES];

    clock_gettime(CLOCK_MONOTONIC, &piece->due);
    piece->due.tv_nsec += delay_ms % 1000 * 1000000;
    piece->due.tv_sec += delay_ms / 1000 + piece->due.tv_nsec / 1000000000;
    piece->due.tv_nsec %= 1000000000;
    piece->len = len;
    pthread_mutex_lock(&d->lock);
    d->used += len;
    d->pieces_waiting++;
    pthread_cond_signal(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

static void *read_side(void *arg)
{
    struct direction *d = arg;
    ssize_t n = 1;

    while (n > 0) {
        size_t room;

        pthread_mutex_lock(&d->lock);
        while (!d->dead && (RING - d->used < PIECE || d->pieces_waiting >= PIECES - 1))
            pthread_cond_wait(&d->changed, &d->lock);
        room = d->dead ? 0 : PIECE;
        pthread_mutex_unlock(&d->lock);
        if (!room)
            break;
        if (room > RING - d->head)
            room = RING - d->head;
        n = recv(d->from, d->ring + d->head, room, 0);
        if (n > 0)
            d->head = (d->head + (size_t)n) % RING;
        push(d, n > 0 ? (size_t)n : 0);
    }
    return NULL;
}

static bool write_all(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

        if (n < 0)
            return false;
        data += n;
        len -= (size_t)n;
    }
    return true;
}

static void *write_side(void *arg)
{
    struct direction *d = arg;

    for (;;) {
        struct piece piece;

        pthread_mutex_lock(&d->lock);
        while (!d->pieces_waiting)
            pthread_cond_wait(&d->changed, &d->lock);
        piece = d->pieces[d->first % PIECES];
        pthread_mutex_unlock(&d->lock);
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &piece.due, NULL);
        if (!piece.len || !write_all(d->to, d->ring + d->tail, piece.len))
            break;
        d->tail = (d->tail + piece.len) % RING;
        pthread_mutex_lock(&d->lock);
        d->first++;
        d->pieces_waiting--;
        d->used -= piece.len;
        pthread_cond_signal(&d->changed);
        pthread_mutex_unlock(&d->lock);
    }
    shutdown(d->to, SHUT_WR);
    pthread_mutex_lock(&d->lock);
    d->dead = true;
    pthread_cond_signal(&d->changed);
    pthread_mutex_unlock(&d->lock);
    shutdown(d->from, SHUT_RD); /* wakes the reader */
    return NULL;
}

static struct direction *direction_new(int from, int to, pthread_t threads[2])
{
    struct direction *d = calloc(1, sizeof *d);

    if (!d || !(d->ring = malloc(RING)) || !(d->pieces = calloc(PIECES, sizeof *d->pieces)))
        die("memory");
    d->from = from;
    d->to = to;
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->changed, NULL);
    if (pthread_create(&threads[0], NULL, read_side, d) ||
        pthread_create(&threads[1], NULL, write_side, d))
        die("thread");
    return d;
}

static void direction_free(struct direction *d)
{
    pthread_mutex_destroy(&d->lock);
    pthread_cond_destroy(&d->changed);
    free(d->ring);
    free(d->pieces);
    free(d);
}

/* One connection from its accept to its end. */
static void *relay(void *arg)
{
    int in = (int)(intptr_t)arg, on = 1;
    int out = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)to_port)};

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (out >= 0 && connect(out, (struct sockaddr *)&to, sizeof to) == 0) {
        struct direction *there, *back;
        pthread_t threads[4];

        setsockopt(in, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(out, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        there = direction_new(in, out, threads);
        back = direction_new(out, in, threads + 2);
        for (int i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
        direction_free(there);
        direction_free(back);
    }
    if (out >= 0)
        close(out);
    close(in);
    return NULL;
}

static void *end_with_stdin(void *unused)
{
    char byte;

    (void)unused;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    exit(0);
}

int main(int argc, char **argv)
{
    struct sockaddr_in here = {.sin_family = AF_INET};
    socklen_t len = sizeof here;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pthread_t thread;

    if (argc != 3 || (to_port = (unsigned)atoi(argv[1])) == 0 || (delay_ms = atol(argv[2])) < 0) {
        fputs("usage: delay TO-PORT DELAY-MS\n", stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (listener < 0 || bind(listener, (struct sockaddr *)&here, sizeof here) < 0 ||
        listen(listener, 128) < 0 || getsockname(listener, (struct sockaddr *)&here, &len) < 0)
        die("listen");
    printf("port %u\n", ntohs(here.sin_port));
    fflush(stdout);
    if (pthread_create(&thread, NULL, end_with_stdin, NULL))
        die("thread");
    for (;;) {
        int fd = accept(listener, NULL, NULL);

        if (fd < 0)
            continue;
        if (pthread_create(&thread, NULL, relay, (void *)(intptr_t)fd))
            die("thread");
        pthread_detach(thread);
    }
}
