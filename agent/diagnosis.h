/*
 * diagnosis: why there is no tunnel, by name, from what happened to the attempts (agent/failure.h)
 * and from what it looks up itself then: the network of this machine, other ports of the gateway,
 * the captive portal's probe. Each change is a `state` line in the log.
 *
 * Two rules follow from what it finds, and nothing else does: when_unreachable (may_go_direct), and
 * a captive portal's own hosts (is_portal). Loop thread only.
 */
#ifndef SALLYPORT_AGENT_DIAGNOSIS_H
#define SALLYPORT_AGENT_DIAGNOSIS_H
#include "agent/failure.h"
#include "agent/state.h"

struct agent_config;
struct agent_diagnosis; /* opaque */
struct sp_fetcher;
struct sp_log;
struct sp_loop;

struct agent_diagnosis_options {
    struct sp_loop *loop;
    struct sp_log *log;
    struct sp_fetcher *fetcher;
    /* What may go direct has changed: those who wait may be asked again. */
    void (*on_change)(void *ctx);
    /* The network was found to be free again: a new attempt at a tunnel need not wait. */
    void (*on_hope)(void *ctx);
    void *ctx;
};

struct agent_diagnosis *agent_diagnosis_new(const struct agent_diagnosis_options *options);
void agent_diagnosis_free(struct agent_diagnosis *diagnosis); /* NULL is fine */
/* A new pool of tunnels begins, of this configuration (a reference is taken): nothing is known of
 * it yet, and the state stays what it was until something is. */
void agent_diagnosis_begin(struct agent_diagnosis *diagnosis, struct agent_config *config);
/* For struct agent_uplink_options; observer_ctx is the diagnosis. */
extern const struct agent_observer agent_diagnosis_observer;

void agent_diagnosis_view(const struct agent_diagnosis *diagnosis,
                          struct agent_state_view *ret_view);
/* when_unreachable is "direct", no tunnel is up, and the last that happened at every gateway is
 * that TCP did not get there. Nothing else ever makes this true (invariant 9). */
bool agent_diagnosis_may_go_direct(const struct agent_diagnosis *diagnosis);
/* A captive portal holds, its minutes are not over, and this is one of its own hosts, at port 80 or
 * 443. The caller sees to it that no route says otherwise. */
bool agent_diagnosis_is_portal(const struct agent_diagnosis *diagnosis,
                               const struct sp_target *target);
#endif
