/*
 * diagnose: goes the whole way to each gateway once, as the agent would (agent_link): resolve, TCP,
 * TLS, the verdict, the gateway's answer, a channel. On a loop of its own, which it runs: for the
 * command, not inside an agent.
 */
#ifndef SALLYPORT_AGENT_DIAGNOSE_H
#define SALLYPORT_AGENT_DIAGNOSE_H
#include "common/error.h"

struct agent_config;
struct agent_report;
struct sp_target;

/* Adds the steps to the report. target NULL: a name that no gateway leads to, since any answer to
 * it shows that channels are answered. An error: there is no loop to run on. */
SP_MUST_USE enum sp_err agent_diagnose(struct agent_config *config, const struct sp_target *target,
                                       struct agent_report *report, struct sp_error *err);
#endif
