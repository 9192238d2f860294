#include "common/traffic.h"

#include <linux/tcp.h> /* that of the C library ends before the counts */
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

bool sp_traffic_read(int fd, struct sp_traffic *ret)
{
    struct tcp_info info = {.tcpi_state = 0};
    socklen_t len = sizeof info;

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
        len < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof info.tcpi_bytes_received)
        return false;
    *ret = (struct sp_traffic){info.tcpi_bytes_acked, info.tcpi_bytes_received, info.tcpi_rtt};
    return true;
}
