#include "gateway/decision.h"

#include "common/evidence.h"
#include "common/log.h"
#include "gateway/chain_cache.h"
#include "gateway/tenant.h"

#include <stdio.h>
#include <string.h>

static const struct gw_client_validation *validation_of(const struct gw_tenant *tenant)
{
    return tenant ? &tenant->config->client_validation : NULL;
}

static const struct sp_policy *policy_of(const struct gw_decision *d, struct gw_policy_view *view)
{
    return d->tenant ? gw_tenant_policy(d->tenant, false, view) : NULL;
}

/* What is wrong with the tenant, or with not having one. */
static void add_tenant_reasons(struct gw_decision *d, const struct gw_finding *finding)
{
    if (d->tenant && !d->tenant->config->enabled)
        sp_facts_add(&d->facts, SP_REASON_TENANT_DISABLED, "the tenant is disabled");
    if (d->tenant)
        return;
    sp_facts_add(&d->facts,
                 finding && finding->kind == GW_FOUND_SEVERAL ? SP_REASON_TENANT_AMBIGUOUS
                                                              : SP_REASON_TENANT_UNKNOWN,
                 "%s", finding ? finding->detail : "no tenant is known");
}

/* The names of a certificate that its CA may vouch for, but that is not for this tenant. */
static void add_match(struct gw_decision *d)
{
    const struct gw_client_validation *validation = validation_of(d->tenant);
    struct sp_tls_names names;
    char why[200];

    if (!validation || !validation->match.is_set || !d->facts.has_certificate)
        return;
    if (!sp_tls_names_read(&d->chain->certs[0], &names)) {
        sp_facts_add(&d->facts, SP_REASON_NAME_MISMATCH, "its names cannot be read");
        return;
    }
    if (!gw_cert_match_fits(&validation->match, &names, why, sizeof why))
        sp_facts_add(&d->facts, SP_REASON_NAME_MISMATCH, "%s", why);
    sp_tls_names_done(&names);
}

/* What was found out about a chain may come from the cache; what is done about it never does. */
void gw_decision_examine(struct gw_decision *d, const struct gw_tenant *tenant,
                         const struct gw_finding *finding, const struct sp_chain *chain,
                         int64_t now, struct gw_chain_cache *cache)
{
    const struct gw_client_validation *validation = validation_of(tenant);

    *d = (struct gw_decision){.tenant = tenant, .chain = chain};
    d->query = (struct sp_chain_query){
        .trust = tenant ? tenant->trust : NULL,
        .crls = tenant ? tenant->crls : NULL,
        .purpose = SP_PURPOSE_CLIENT,
        .require_eku = validation && validation->require_eku,
        .max_chain = validation ? (unsigned)validation->max_chain : 0,
        .min_key_bits = validation ? (unsigned)validation->min_key_bits : 0,
        .now = now,
    };
    gw_chain_cache_examine(cache, tenant, chain, &d->query, &d->facts);
    add_match(d);
    add_tenant_reasons(d, finding);
}

bool gw_decision_wants_status(const struct gw_decision *d)
{
    struct gw_policy_view view;
    struct sp_verdict so_far;

    if (!d->tenant || !d->facts.has_certificate ||
        d->tenant->config->client_validation.ocsp.mode == SP_OCSP_OFF)
        return false;
    sp_verdict_decide(&d->facts, policy_of(d, &view), d->query.now, &so_far);
    return so_far.action != SP_ACTION_BLOCK;
}

void gw_decision_add_status(struct gw_decision *d, const struct sp_status *status)
{
    sp_status_apply(status, (enum sp_ocsp_mode)d->tenant->config->client_validation.ocsp.mode,
                    &d->facts);
}

void gw_decision_conclude(struct gw_decision *d)
{
    struct gw_policy_view view;

    sp_verdict_decide(&d->facts, policy_of(d, &view), d->query.now, &d->verdict);
    gw_shadow_decide(d->tenant, d->chain, &d->query, &d->facts, &d->verdict, &d->shadow);
    d->holds_until = d->facts.holds_until < d->verdict.holds_until ? d->facts.holds_until
                                                                   : d->verdict.holds_until;
}

void gw_decision_without_chain(struct gw_decision *d, enum sp_reason reason, const char *detail,
                               int64_t now)
{
    *d = (struct gw_decision){.tenant = NULL};
    sp_facts_add(&d->facts, reason, "%s", detail);
    sp_verdict_decide(&d->facts, NULL, now, &d->verdict);
    d->holds_until = INT64_MAX;
}

void gw_decision_log(struct sp_log_line *line, const struct gw_decision *d)
{
    sp_evidence_verdict(line, &d->facts, &d->verdict);
    if (d->verdict.action == SP_ACTION_BLOCK && d->verdict.alert >= 0)
        sp_log_str(line, "alert", sp_alert_name(d->verdict.alert));
    gw_shadow_log(line, &d->shadow);
}
