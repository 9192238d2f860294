#include "common/pacing.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>

#define UNPACED "reno"

enum { UNKNOWN, PACES, DOES_NOT };

static bool fd_paces(int fd)
{
    char name[16] = ""; /* TCP_CA_NAME_MAX */
    socklen_t len = sizeof name - 1;

    return getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len) == 0 &&
           strncmp(name, "bbr", 3) == 0;
}

void sp_pacing_spare(int fd, const struct sp_addr *addr)
{
    static atomic_int known = UNKNOWN; /* threads that ask at the same time find the same */
    int paces = atomic_load_explicit(&known, memory_order_relaxed);

    if (paces == DOES_NOT || sp_ip_classify(&addr->ip) != SP_IP_LOOPBACK)
        return;
    if (paces == UNKNOWN) {
        paces = fd_paces(fd) ? PACES : DOES_NOT;
        atomic_store_explicit(&known, paces, memory_order_relaxed);
    }
    if (paces == PACES)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, UNPACED, strlen(UNPACED));
}
