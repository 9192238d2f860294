/*
 * owner: whose the other end of a local connection is: the kernel knows the user of every socket on
 * this machine, and is asked for one connection at a time (never by a look through /proc).
 *
 * An answer that is not certain is none: who cannot be named is not let in. Loop thread only.
 */
#ifndef SALLYPORT_AGENT_OWNER_H
#define SALLYPORT_AGENT_OWNER_H
#include "common/addr.h"
#include "common/error.h"
#include <stdint.h>

struct agent_owner; /* opaque: a way to ask the kernel */

#define AGENT_NO_UID UINT32_MAX /* (uid_t)-1: nobody has it */

/* listening: the address of one of our own listening sockets, which the kernel must be able to find
 * and name as ours; else it cannot be asked here, and the error says so. */
SP_MUST_USE enum sp_err agent_owner_new(const struct sp_addr *listening,
                                        struct agent_owner **ret_owner, struct sp_error *err);
void agent_owner_free(struct agent_owner *owner); /* NULL is fine */
/* The user of the socket that is bound to `from` and connected to `to`; AGENT_NO_UID: there is none
 * here, or its process has closed it already. */
uint32_t agent_owner_of_tcp(struct agent_owner *owner, const struct sp_addr *from,
                            const struct sp_addr *to);
/* fd: an accepted UNIX socket. The user who connected. */
uint32_t agent_owner_of_unix(int fd);
/* A name of this machine's users, or a number: what a configuration says. Blocking. */
bool agent_owner_find(const char *text, uint32_t *ret_uid);
#endif
