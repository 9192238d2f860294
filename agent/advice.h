/*
 * advice: what a person can do about a refusal or a state: one sentence each, the same on pages, in
 * `status` and in `diagnose`. Static text; any thread.
 */
#ifndef SALLYPORT_AGENT_ADVICE_H
#define SALLYPORT_AGENT_ADVICE_H
#include "agent/state.h"

struct agent_refusal;

/* "" for none. */
const char *agent_advice_state(enum agent_state state);
/* Never empty. By its error type, or, where it is the way to the gateway that is missing, by why.
 */
const char *agent_advice_refusal(const struct agent_refusal *refusal);
#endif
