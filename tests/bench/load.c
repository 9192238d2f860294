#include "tests/bench/load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void load_die(const char *what, ...)
{
    va_list args;

    va_start(args, what);
    fputs("load: ", stderr);
    vfprintf(stderr, what, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

uint64_t load_now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

int load_dial(unsigned port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0)
        load_die("socket: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

void load_ready(void)
{
    char line[8];

    puts("ready");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        exit(1); /* the driver is gone */
}

void load_sample(struct load_result *result, uint64_t latency_us)
{
    if (result->latency_count == result->latency_size) {
        result->latency_size = result->latency_size ? 2 * result->latency_size : 4096;
        result->latency = realloc(result->latency, result->latency_size * sizeof *result->latency);
        if (!result->latency)
            load_die("out of memory");
    }
    result->latency[result->latency_count++] = (float)latency_us;
}

void load_failed(struct load_result *result, const char *why)
{
    result->failed++;
    if (!*result->error)
        snprintf(result->error, sizeof result->error, "%s", why);
    for (char *c = result->error; *c; c++)
        if (*c == '"' || *c == '\\' || (unsigned char)*c < 0x20)
            *c = '\'';
}

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

static double percentile(const struct load_result *result, double share)
{
    if (!result->latency_count)
        return 0;
    return (double)result->latency[(size_t)(share * (double)(result->latency_count - 1) + 0.5)];
}

void load_print(struct load_result *result)
{
    double sum = 0;

    for (size_t i = 0; i < result->latency_count; i++)
        sum += (double)result->latency[i];
    if (result->latency_count)
        qsort(result->latency, result->latency_count, sizeof *result->latency, compare);
    printf("{\"offered\": %llu, \"done\": %llu, \"failed\": %llu, \"resumed\": %llu, "
           "\"timed_out\": %llu, \"seconds\": %.6f, \"mean_us\": %.1f, \"p50_us\": %.1f, "
           "\"p99_us\": %.1f, \"max_us\": %.1f, \"error\": \"%s\"}\n",
           (unsigned long long)result->offered, (unsigned long long)result->done,
           (unsigned long long)result->failed, (unsigned long long)result->resumed,
           (unsigned long long)result->timed_out, result->seconds,
           result->latency_count ? sum / (double)result->latency_count : 0,
           percentile(result, 0.50), percentile(result, 0.99), percentile(result, 1),
           result->error);
    fflush(stdout);
}

static void read_head(struct load_response *response)
{
    const char *length = strcasestr(response->head, "\r\ncontent-length:");

    if (sscanf(response->head, "HTTP/1.%*1[01] %3d", &response->status) != 1)
        response->status = -1;
    response->body_left = length && !response->no_body ? strtoul(length + 17, NULL, 10) : 0;
}

enum load_progress load_response_feed(struct load_response *response, const char *data, size_t len)
{
    while (len && !response->status) {
        if (response->head_len == sizeof response->head - 1)
            return LOAD_BAD;
        response->head[response->head_len++] = *data++;
        response->head[response->head_len] = '\0';
        len--;
        if (response->head_len >= 4 && !strcmp(response->head + response->head_len - 4, "\r\n\r\n"))
            read_head(response);
    }
    if (!response->status)
        return LOAD_MORE;
    if (response->status != 200 || len > response->body_left)
        return LOAD_BAD;
    response->body_left -= len;
    return response->body_left ? LOAD_MORE : LOAD_DONE;
}

size_t load_request(const struct load_options *options, char *out, size_t size)
{
    int len = snprintf(out, size, "GET %s HTTP/1.1\r\nHost: bench.example\r\n\r\n", options->path);

    if (len < 0 || (size_t)len >= size)
        load_die("--path is too long");
    return (size_t)len;
}

static double number(const char *option, const char *value)
{
    char *end;
    double n = value ? strtod(value, &end) : 0;

    if (!value || !*value || *end || n < 0)
        load_die("%s wants a number", option);
    return n;
}

static bool set_text(struct load_options *o, const char *option, const char *value)
{
    const struct {
        const char *name;
        const char **target;
    } texts[] = {{"--name", &o->name},       {"--ca", &o->ca},          {"--cert", &o->cert},
                 {"--key", &o->key},         {"--path", &o->path},      {"--out", &o->out},
                 {"--connect", &o->connect}, {"--tenants", &o->tenants}};

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!strcmp(option, texts[i].name)) {
            if (!value)
                load_die("%s wants a value", option);
            *texts[i].target = value;
            return true;
        }
    return false;
}

static bool set_number(struct load_options *o, const char *option, const char *value)
{
    const struct {
        const char *name;
        unsigned *target;
    } numbers[] = {{"--port", &o->port},       {"--at-once", &o->at_once},
                   {"--count", &o->count},     {"--first", &o->first},
                   {"--fresh", &o->fresh},     {"--cas", &o->cas},
                   {"--clients", &o->clients}, {"--timeout-ms", &o->timeout_ms}};

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!strcmp(option, numbers[i].name)) {
            *numbers[i].target = (unsigned)number(option, value);
            return true;
        }
    if (!strcmp(option, "--seconds"))
        o->seconds = number(option, value);
    else if (!strcmp(option, "--rate"))
        o->rate = number(option, value);
    else
        return false;
    return true;
}

/* Stands for other machines: whoever wakes up here need not wait until a whole slice of the
 * scheduler's (4 ms with 250 ticks a second) is over. What it gets of the CPU stays the same. Linux
 * 6.12 and later; older ones ignore it. */
static void give_way(void)
{
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t slice_ns, deadline, period;
    } attributes = {.size = sizeof attributes, .slice_ns = 100000};

    attributes.nice = getpriority(PRIO_PROCESS, 0);
    (void)syscall(SYS_sched_setattr, 0, &attributes, 0);
}

static void parse(struct load_options *options, int argc, char **argv)
{
    for (int i = 2; i < argc; i++) {
        if (!strcmp(argv[i], "--resume"))
            options->resume = true;
        else if (!strcmp(argv[i], "--cycle"))
            options->cycle = true;
        else if (!strcmp(argv[i], "--elsewhere"))
            give_way();
        else if (set_text(options, argv[i], argv[i + 1]) ||
                 set_number(options, argv[i], argv[i + 1]))
            i++;
        else
            load_die("unknown option '%s'", argv[i]);
    }
    if (!options->at_once)
        load_die("--at-once 0 does nothing");
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(const struct load_options *options);
    } modes[] = {{"handshakes", load_handshakes}, {"hellos", load_hellos},
                 {"tunnels", load_tunnels},       {"channels", load_channels},
                 {"steady", load_steady},         {"mint", load_mint}};
    struct load_options options = {.path = "/", .at_once = 1, .timeout_ms = 5000, .seconds = 1};

    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; argc > 1 && i < sizeof modes / sizeof *modes; i++)
        if (!strcmp(argv[1], modes[i].name)) {
            parse(&options, argc, argv);
            modes[i].run(&options);
            return 0;
        }
    load_die("usage: load handshakes|hellos|tunnels|channels|steady|mint OPTION...");
}
