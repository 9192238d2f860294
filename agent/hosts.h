/*
 * hosts: the names that the hosts file gives addresses to.
 *
 * The file is read when it is first needed and again when it has changed. Loop thread only, except
 * that agent_hosts_has is pure.
 */
#ifndef SALLYPORT_AGENT_HOSTS_H
#define SALLYPORT_AGENT_HOSTS_H
#include "common/error.h"
#include <stdbool.h>

struct agent_hosts; /* opaque */

struct agent_hosts *agent_hosts_new(const char *path); /* NULL: /etc/hosts */
void agent_hosts_free(struct agent_hosts *hosts);      /* NULL is fine */
/* Looks whether the file has changed; one that cannot be read has no names. */
void agent_hosts_refresh(struct agent_hosts *hosts);
/* name: folded (sp_host_fold). */
bool agent_hosts_has(const struct agent_hosts *hosts, const char *name);
#endif
