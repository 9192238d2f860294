/*
 * shadow: what a tenant's second policy would have decided, beside the live one: for the log and
 * the counters, to see what a change would do before it is made. Acts on nothing.
 *
 * Pure but for the trust set it reads; gw_shadow_count adds to the tenant's counters. Thread-safe.
 */
#ifndef SALLYPORT_GATEWAY_SHADOW_H
#define SALLYPORT_GATEWAY_SHADOW_H
#include "common/tls_chain.h"
#include "common/verdict.h"

struct gw_registry;
struct gw_tenant;
struct sp_log;
struct sp_log_line;

struct gw_shadow_verdict {
    bool differs; /* one of the two policies blocks and the other does not */
    struct sp_verdict verdict;
};

/* query, facts and live: those of the live decision. The chain is examined again only where the
 * shadow's rules for chains are others. tenant NULL, or one without shadow: nothing differs. */
void gw_shadow_decide(const struct gw_tenant *tenant, const struct sp_chain *chain,
                      const struct sp_chain_query *query, const struct sp_facts *facts,
                      const struct sp_verdict *live, struct gw_shadow_verdict *ret_shadow);
/* Where it differs, else nothing: counts it; adds shadow shadow_reason shadow_rule to the line. */
void gw_shadow_count(const struct gw_tenant *tenant, const struct gw_shadow_verdict *shadow);
void gw_shadow_log(struct sp_log_line *line, const struct gw_shadow_verdict *shadow);
/* What was counted since the start: an event `shadow` for each tenant that has a shadow. */
void gw_shadow_log_counts(struct sp_log *log, const struct gw_registry *registry);
#endif
