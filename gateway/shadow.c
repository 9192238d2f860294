#include "gateway/shadow.h"

#include "common/log.h"
#include "gateway/registry.h"
#include "gateway/tenant.h"

#include <stdatomic.h>

/* Found elsewhere than in the chain: true whatever the rules for chains are. */
#define FOUND_ELSEWHERE                                                                            \
    (SP_REASON_BIT(SP_REASON_NOT_TLS) | SP_REASON_BIT(SP_REASON_UNKNOWN_SERVER_NAME) |             \
     SP_REASON_BIT(SP_REASON_TENANT_DISABLED) | SP_REASON_BIT(SP_REASON_TENANT_UNKNOWN) |          \
     SP_REASON_BIT(SP_REASON_TENANT_AMBIGUOUS) | SP_REASON_BIT(SP_REASON_NAME_MISMATCH) |          \
     SP_REASON_BIT(SP_REASON_REVOKED) | SP_REASON_BIT(SP_REASON_CRL_STALE) |                       \
     SP_REASON_BIT(SP_REASON_REVOCATION_UNKNOWN))

void gw_shadow_decide(const struct gw_tenant *tenant, const struct sp_chain *chain,
                      const struct sp_chain_query *query, const struct sp_facts *facts,
                      const struct sp_verdict *live, struct gw_shadow_verdict *ret_shadow)
{
    const struct gw_shadow *rules = tenant ? &tenant->config->client_validation.shadow : NULL;
    struct sp_chain_query own = *query;
    struct gw_policy_view view;
    struct sp_facts own_facts;

    ret_shadow->differs = false;
    if (!rules || !rules->is_set)
        return;
    own.require_eku = rules->require_eku;
    own.max_chain = (unsigned)rules->max_chain;
    own.min_key_bits = (unsigned)rules->min_key_bits;
    if (own.require_eku != query->require_eku || own.max_chain != query->max_chain ||
        own.min_key_bits != query->min_key_bits) {
        sp_chain_examine(chain, &own, &own_facts);
        own_facts.observed |= facts->observed & FOUND_ELSEWHERE;
        own_facts.noted = facts->noted;
        facts = &own_facts;
    }
    sp_verdict_decide(facts, gw_tenant_policy(tenant, true, &view), query->now,
                      &ret_shadow->verdict);
    ret_shadow->differs =
        (ret_shadow->verdict.action == SP_ACTION_BLOCK) != (live->action == SP_ACTION_BLOCK);
}

void gw_shadow_count(const struct gw_tenant *tenant, const struct gw_shadow_verdict *shadow)
{
    if (shadow->differs)
        atomic_fetch_add_explicit(shadow->verdict.action == SP_ACTION_BLOCK
                                      ? &tenant->counters->shadow_would_block
                                      : &tenant->counters->shadow_would_allow,
                                  1, memory_order_relaxed);
}

void gw_shadow_log(struct sp_log_line *line, const struct gw_shadow_verdict *shadow)
{
    const struct sp_verdict *verdict = &shadow->verdict;

    if (!shadow->differs)
        return;
    sp_log_str(line, "shadow", verdict->action == SP_ACTION_BLOCK ? "would_block" : "would_allow");
    if (verdict->reason == SP_REASON_COUNT)
        return;
    sp_log_str(line, "shadow_reason", sp_reason_name(verdict->reason));
    sp_log_str(line, "shadow_rule", verdict->rule);
}

void gw_shadow_log_counts(struct sp_log *log, const struct gw_registry *registry)
{
    struct sp_log_line line;

    for (size_t i = 0; i < registry->tenant_count; i++) {
        const struct gw_tenant *tenant = registry->tenants[i];
        struct gw_tenant_counters *counters = tenant->counters;

        if (!tenant->config->client_validation.shadow.is_set ||
            !sp_log_begin(&line, log, SP_LOG_INFO, "shadow"))
            continue;
        sp_log_str(&line, "tenant", tenant->id);
        sp_log_int(&line, "would_block", (int64_t)atomic_load(&counters->shadow_would_block));
        sp_log_int(&line, "would_allow", (int64_t)atomic_load(&counters->shadow_would_allow));
        sp_log_end(&line);
    }
}
