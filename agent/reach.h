/*
 * reach: does anything answer at other ports of a host whose own port is silent? TCP connections
 * that are closed as soon as they are made; a refusal is an answer too. Loop thread only.
 */
#ifndef SALLYPORT_AGENT_REACH_H
#define SALLYPORT_AGENT_REACH_H
#include "common/addr.h"

struct agent_reach; /* opaque; gone once its callback was called */
struct sp_loop;

/* port 0: none answered. */
typedef void (*agent_reach_cb)(void *ctx, uint16_t port);

/* Never calls back before it has returned, nor after agent_reach_cancel. */
struct agent_reach *agent_reach_start(struct sp_loop *loop, const struct sp_addr *silent,
                                      agent_reach_cb on_done, void *ctx);
void agent_reach_cancel(struct agent_reach *reach); /* NULL is fine */
#endif
