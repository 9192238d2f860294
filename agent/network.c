#include "agent/network.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int agent_network_route(const struct sp_addr *addr)
{
    struct sockaddr_storage sa;
    socklen_t len = sp_addr_to_sockaddr(addr, &sa);
    int fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int errno_value = 0;

    if (fd < 0)
        return errno == EAFNOSUPPORT ? ENETUNREACH : 0; /* out of descriptors says nothing */
    /* For a datagram socket this is a look at the routes and no more. */
    if (connect(fd, (const struct sockaddr *)&sa, len) < 0)
        errno_value = errno;
    close(fd);
    return errno_value;
}

/* Addresses that no network has (RFC 5737, RFC 3849): only a default route leads there. */
static bool has_default_route(void)
{
    static const char *const nowhere[] = {"192.0.2.1:9", "[2001:db8::1]:9"};
    struct sp_addr addr;
    bool found = false;

    for (size_t i = 0; i < sizeof nowhere / sizeof nowhere[0]; i++) {
        SP_REQUIRE(sp_addr_parse(nowhere[i], &addr, NULL) == SP_OK);
        found = found || agent_network_route(&addr) == 0;
    }
    return found;
}

static bool is_address(const struct ifaddrs *row)
{
    struct sp_addr addr;

    if (!row->ifa_addr || !sp_addr_from_sockaddr(row->ifa_addr, &addr))
        return false;
    return sp_ip_classify(&addr.ip) != SP_IP_LINK_LOCAL;
}

static bool is_up(const struct ifaddrs *row)
{
    return (row->ifa_flags & IFF_UP) && (row->ifa_flags & IFF_RUNNING);
}

/* Each interface has one row of its link, also where it has no address. */
static void describe(const struct ifaddrs *rows, char *buf, size_t buf_len)
{
    size_t used = 0;

    for (const struct ifaddrs *row = rows; row && used < buf_len; row = row->ifa_next) {
        if ((row->ifa_flags & IFF_LOOPBACK) || !row->ifa_addr ||
            row->ifa_addr->sa_family != AF_PACKET)
            continue;
        used += (size_t)snprintf(buf + used, buf_len - used, "%s%.16s %s", used ? ", " : "",
                                 row->ifa_name,
                                 !(row->ifa_flags & IFF_UP)        ? "is down"
                                 : !(row->ifa_flags & IFF_RUNNING) ? "has no carrier"
                                                                   : "has no address");
    }
    if (!used)
        snprintf(buf, buf_len, "there is none but the loopback");
}

void agent_network_look(struct agent_network *ret)
{
    struct ifaddrs *rows;

    *ret = (struct agent_network){.has_route = has_default_route()};
    if (getifaddrs(&rows) < 0) { /* nothing is claimed that was not seen */
        ret->has_address = true;
        return;
    }
    for (const struct ifaddrs *row = rows; row; row = row->ifa_next)
        if (!(row->ifa_flags & IFF_LOOPBACK) && is_up(row) && is_address(row))
            ret->has_address = true;
    if (!ret->has_address)
        describe(rows, ret->found, sizeof ret->found);
    freeifaddrs(rows);
}
