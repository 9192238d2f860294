/*
 * past: what is known of one gateway: its last failure, since there is no tunnel to any, and how
 * the last tunnel to it was judged. Copies, since an agent_failure lives only as long as a call.
 * Owned by diagnosis; plain data, zeroed at first.
 */
#ifndef SALLYPORT_AGENT_PAST_H
#define SALLYPORT_AGENT_PAST_H
#include "agent/failure.h"
#include "agent/finding.h"

struct agent_chain {
    struct sp_facts *facts; /* NULL: none */
    struct sp_verdict verdict;
};

struct agent_past {
    struct sp_target target;
    size_t up;                    /* tunnels */
    struct agent_failure failure; /* points at the copies below; .why NULL: none */
    struct sp_error why;
    struct sp_addr addr;
    struct agent_chain failed, passed; /* of that failure, and of the last tunnel that came up */
    enum agent_other_ports other_ports;
    uint16_t answered_port;
    uint64_t ports_ms; /* loop time of that finding */
};

void agent_past_remember(struct agent_past *past, const struct agent_failure *failure);
void agent_past_chain(struct agent_chain *chain, const struct sp_facts *facts,
                      const struct sp_verdict *verdict);
void agent_past_forget(struct agent_past *past); /* its failure, and what was found out about it */
void agent_past_done(struct agent_past *past);   /* frees all that it holds */
#endif
