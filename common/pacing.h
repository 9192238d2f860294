/*
 * pacing: a congestion control that spaces packets by a timer (BBR, where an administrator or the
 * kernel's maker has made it the default) suits a network. Between two programs of one machine each
 * packet then waits for an interrupt of that timer, which in a virtual machine is dear: 1.4 to 1.7
 * times the CPU of a bulk transfer and half to two thirds of its rate. So connections over loopback
 * are given Reno, which every Linux has and lets everybody choose (tcp_allowed_congestion_control,
 * ip-sysctl). Where the default does not pace nothing is done; the default is looked at once.
 *
 * From any thread.
 */
#ifndef SALLYPORT_COMMON_PACING_H
#define SALLYPORT_COMMON_PACING_H
#include "common/addr.h"

/* fd: a TCP socket, before it is connected to addr, or listens there (what it accepts inherits). */
void sp_pacing_spare(int fd, const struct sp_addr *addr);
#endif
