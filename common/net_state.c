#include "common/net_state.h"

#include "common/addr.h"

#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DIGEST_SEED UINT64_C(0xcbf29ce484222325)

struct field {
    const char *text;
    size_t len;
};

static uint64_t read_ms(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void sp_net_clocks_read(struct sp_net_clocks *ret)
{
    ret->monotonic_ms = read_ms(CLOCK_MONOTONIC);
    ret->boot_ms = read_ms(CLOCK_BOOTTIME);
    ret->wall_ms = (int64_t)read_ms(CLOCK_REALTIME);
}

uint64_t sp_net_slept_ms(const struct sp_net_clocks *before, const struct sp_net_clocks *after,
                         uint64_t due_ms)
{
    int64_t awake = (int64_t)(after->monotonic_ms - before->monotonic_ms);
    int64_t slept = (int64_t)(after->boot_ms - before->boot_ms) - awake;
    int64_t jumped = after->wall_ms - before->wall_ms - awake;

    if (slept >= SP_NET_SLEPT_MS)
        return (uint64_t)slept;
    if (jumped >= SP_NET_JUMP_MS)
        return (uint64_t)jumped;
    if (due_ms && awake >= (int64_t)due_ms + SP_NET_STALL_MS)
        return (uint64_t)awake - due_ms;
    return 0;
}

/* ---- addresses ---- */

static bool is_of_interest(const struct sp_ip *ip)
{
    switch (sp_ip_classify(ip)) {
    case SP_IP_LOOPBACK:
    case SP_IP_LINK_LOCAL:
    case SP_IP_MULTICAST:
        return false;
    case SP_IP_GLOBAL:
    case SP_IP_PRIVATE:
    case SP_IP_METADATA:
    case SP_IP_RESERVED:
        return true;
    }
    return true;
}

/* FNV-1a: nobody has a reason to make two networks look alike. */
static uint64_t digest(uint64_t seed, const void *data, size_t len)
{
    const uint8_t *bytes = data;

    for (size_t i = 0; i < len; i++)
        seed = (seed ^ bytes[i]) * UINT64_C(0x100000001b3);
    return seed;
}

uint64_t sp_net_addresses(void)
{
    struct ifaddrs *all;
    uint64_t sum = 1;

    if (getifaddrs(&all) != 0)
        return 0;
    for (const struct ifaddrs *one = all; one; one = one->ifa_next) {
        unsigned flags = one->ifa_flags & (IFF_UP | IFF_RUNNING);
        struct sp_addr addr = {.port = 0};
        uint64_t hash;

        if (!one->ifa_addr || (one->ifa_flags & IFF_LOOPBACK) ||
            !sp_addr_from_sockaddr(one->ifa_addr, &addr) || !is_of_interest(&addr.ip))
            continue;
        hash = digest(DIGEST_SEED, one->ifa_name, strlen(one->ifa_name));
        hash = digest(hash, &addr.ip, sizeof addr.ip);
        sum += digest(hash, &flags, sizeof flags);
    }
    freeifaddrs(all);
    return sum ? sum : 1;
}

/* ---- routes ---- */

#define TABLE_MAX (256 * 1024) /* who has more routes than this is no workstation */
#define FIELDS    11

/* The fields of one line; returns how many there are. */
static size_t split(const char *line, size_t len, struct field fields[FIELDS])
{
    size_t count = 0, at = 0;

    while (at < len && count < FIELDS) {
        size_t begin;

        while (at < len && (line[at] == ' ' || line[at] == '\t'))
            at++;
        begin = at;
        while (at < len && line[at] != ' ' && line[at] != '\t')
            at++;
        if (at > begin)
            fields[count++] = (struct field){line + begin, at - begin};
    }
    return count;
}

static bool is_text(const struct field *field, const char *text)
{
    return field->len == strlen(text) && memcmp(field->text, text, field->len) == 0;
}

static bool begins(const struct field *field, const char *text)
{
    return field->len >= strlen(text) && memcmp(field->text, text, strlen(text)) == 0;
}

static uint64_t add_fields(const struct field *fields, const uint8_t *which, size_t count)
{
    uint64_t hash = DIGEST_SEED;

    for (size_t i = 0; i < count; i++) {
        hash = digest(hash, fields[which[i]].text, fields[which[i]].len);
        hash = digest(hash, " ", 1);
    }
    return hash;
}

/* Iface Destination Gateway Flags RefCnt Use Metric Mask ... */
static uint64_t route4(const struct field *fields, size_t count)
{
    static const uint8_t which[] = {0, 1, 2, 6, 7};

    if (count < 8 || is_text(&fields[0], "Iface") || is_text(&fields[0], "lo"))
        return 0;
    return add_fields(fields, which, sizeof which);
}

/* Destination its-length source its-length gateway metric refcnt use flags iface */
static uint64_t route6(const struct field *fields, size_t count)
{
    static const uint8_t which[] = {0, 1, 2, 3, 4, 5, 9};

    if (count < 10 || is_text(&fields[9], "lo") || begins(&fields[0], "fe8") ||
        begins(&fields[0], "ff"))
        return 0;
    return add_fields(fields, which, sizeof which);
}

static uint64_t table_digest(const char *table,
                             uint64_t (*route)(const struct field *fields, size_t count))
{
    struct field fields[FIELDS];
    uint64_t sum = 0;

    while (*table) {
        size_t len = strcspn(table, "\n");

        sum += route(fields, split(table, len, fields));
        table += len + (table[len] == '\n');
    }
    return sum;
}

uint64_t sp_net_routes_digest(const char *ipv4, const char *ipv6)
{
    return table_digest(ipv4, route4) + table_digest(ipv6, route6);
}

/* "" where there is none. The caller frees it. */
static char *read_table(const char *path)
{
    char *text = sp_calloc(1, TABLE_MAX + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t used = 0;
    ssize_t len = fd < 0 ? 0 : 1;

    while (len > 0 && used < TABLE_MAX) {
        len = read(fd, text + used, TABLE_MAX - used);
        used += len > 0 ? (size_t)len : 0;
    }
    if (fd >= 0)
        close(fd);
    return text;
}

uint64_t sp_net_routes(void)
{
    char *ipv4 = read_table("/proc/self/net/route");
    char *ipv6 = read_table("/proc/self/net/ipv6_route");
    uint64_t sum = sp_net_routes_digest(ipv4, ipv6);

    free(ipv4);
    free(ipv6);
    return sum;
}
