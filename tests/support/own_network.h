/*
 * own_network: a network namespace of this process's own, with nothing in it but loopback, which is
 * up; where there are no rights for it, in a user namespace. Header only; not to be left again.
 */
#ifndef SALLYPORT_TESTS_SUPPORT_OWN_NETWORK_H
#define SALLYPORT_TESTS_SUPPORT_OWN_NETWORK_H
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* False: this machine does not let us. */
static inline bool own_network(void)
{
    struct ifreq up = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd;
    bool ok;

    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0 && unshare(CLONE_NEWNET) < 0)
        return false;
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ok = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &up) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}
#endif
