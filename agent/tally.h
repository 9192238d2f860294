/*
 * tally: what the agent has carried and refused since it began. Counted when a channel ends, so
 * that nothing on the way of its bytes counts for us. Plain data; loop thread only.
 */
#ifndef SALLYPORT_AGENT_TALLY_H
#define SALLYPORT_AGENT_TALLY_H
#include "agent/uplink.h"

struct agent_tally {
    uint64_t channels;             /* opened so far */
    uint64_t open;                 /* now; see agent_clients_tally */
    uint64_t bytes_up, bytes_down; /* from and to the applications */
    uint64_t refused;
    int64_t last_time; /* of the last refusal; unix seconds, 0: none yet */
    struct agent_refusal last;
    char last_destination[SP_TARGET_TEXT]; /* "": it had named none */
};

/* target NULL: it had named none. */
void agent_tally_refused(struct agent_tally *tally, const struct agent_refusal *refusal,
                         const struct sp_target *target, int64_t now);
#endif
