/*
 * load: the load that no tool of Debian can give: client certificates with new handshakes, idle
 * tunnels and channels, requests at a steady rate. A program of the bench only, built by
 * tests/bench/run with OpenSSL, so that it shares no TLS code with what it measures.
 *
 * Every mode speaks the same way with its driver: it makes itself ready, prints "ready", waits for
 * a line on its standard input, works, and prints one line of JSON. One thread; exits on any error
 * of its own.
 */
#ifndef SALLYPORT_TESTS_BENCH_LOAD_H
#define SALLYPORT_TESTS_BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOAD_BODY_MAX 4096

struct load_options {
    unsigned port;          /* to connect to, on 127.0.0.1 */
    const char *name;       /* server name, also verified */
    const char *ca;         /* PEM: roots of the server's certificate */
    const char *cert, *key; /* PEM: the client's chain and key; what issues for `fresh` */
    const char *connect;    /* "host:port": a CONNECT before the request; NULL: none */
    const char *path;       /* of the request */
    const char *out;        /* mint: folder */
    const char *tenants;    /* handshakes: folder that mint made; a client and a name for each */
    unsigned at_once, count, first, fresh, cas, clients;
    unsigned timeout_ms;
    double seconds, rate;
    bool resume, cycle;
};

/* What was measured: one line of JSON. Latencies in microseconds, in the order they came. */
struct load_result {
    uint64_t offered, done, failed, resumed, timed_out;
    double seconds;
    float *latency;
    size_t latency_count, latency_size;
    char error[160]; /* the first failure in words */
};

/* An HTTP/1.1 response as it comes in; zeroed at its start. */
struct load_response {
    char head[1024];
    size_t head_len, body_left;
    int status; /* 0: head not complete */
    bool no_body;
};

enum load_progress { LOAD_MORE, LOAD_DONE, LOAD_BAD };

_Noreturn void load_die(const char *what, ...) __attribute__((format(printf, 1, 2)));
uint64_t load_now_us(void);
/* Nonblocking, TCP_NODELAY, connecting or connected. */
int load_dial(unsigned port);
/* Prints "ready", waits for the line that says go. */
void load_ready(void);
void load_sample(struct load_result *result, uint64_t latency_us);
void load_failed(struct load_result *result, const char *why);
void load_print(struct load_result *result);
enum load_progress load_response_feed(struct load_response *response, const char *data, size_t len);
size_t load_request(const struct load_options *options, char *out, size_t size);

void load_handshakes(const struct load_options *options);
void load_hellos(const struct load_options *options);
void load_tunnels(const struct load_options *options);
void load_channels(const struct load_options *options);
void load_steady(const struct load_options *options);
void load_mint(const struct load_options *options);

#endif
