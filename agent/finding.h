/*
 * finding: from a failure, and from what else was found out, to the name of a state and a sentence.
 * Pure: no clock, no I/O. Says what was seen, and no more than follows from it.
 */
#ifndef SALLYPORT_AGENT_FINDING_H
#define SALLYPORT_AGENT_FINDING_H
#include "agent/failure.h"
#include "agent/last_seen.h"
#include "agent/network.h"
#include "agent/state.h"

/* What the captive portal's probe came to. */
enum agent_probe_result {
    AGENT_PROBE_NONE,   /* none is configured, or there is no answer yet */
    AGENT_PROBE_GOOD,   /* the answer that is expected */
    AGENT_PROBE_PORTAL, /* somebody else's */
    AGENT_PROBE_FAILED, /* none, or one that says nothing */
};

/* What the other ports of the gateway's host did when its own was silent. */
enum agent_other_ports { AGENT_PORTS_UNTRIED, AGENT_PORTS_ANSWERED, AGENT_PORTS_SILENT };

/* Whatever is known beside the failure; borrowed. */
struct agent_evidence {
    int64_t now; /* of this machine's clock */
    const char *server_name;
    struct agent_network network;
    int route_errno; /* asking the kernel for a route to the failure's address */
    enum agent_probe_result probe;
    const char *probe_url;             /* not NULL unless the result is NONE */
    const char *portal_url;            /* where the portal wants people to go; "": not known */
    const char *probe_text;            /* why it failed */
    int64_t probe_date, probe_date_at; /* an answer's Date, and our clock then; 0: none */
    enum agent_other_ports other_ports;
    uint16_t answered_port;
    const struct agent_last_seen *last;
    const char *own_subject, *own_issuer; /* of our client certificate */
    int64_t own_not_before, own_not_after;
};

/* .since is left alone. */
void agent_finding_make(const struct agent_failure *failure, const struct agent_evidence *evidence,
                        struct agent_state_view *ret_view);
/* evidence->probe is AGENT_PROBE_PORTAL, and no gateway was heard of yet. */
void agent_finding_portal(const struct agent_evidence *evidence, struct agent_state_view *ret_view);
/* Of a tunnel that is up. warn_s: how long before its end our certificate is worth a word. */
void agent_finding_up(const struct agent_success *success, const struct agent_evidence *evidence,
                      int64_t warn_s, struct agent_state_view *ret_view);
/* Whether other ports of that address are worth a try: it did not answer. */
bool agent_finding_wants_ports(const struct agent_failure *failure);
/* Of several gateways' states, the one a person should be told of. */
bool agent_finding_outweighs(enum agent_state a, enum agent_state b);
/* TCP did not get there: what when_unreachable is about. */
bool agent_finding_is_tcp(const struct agent_failure *failure);
#endif
