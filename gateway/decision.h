/*
 * decision: how the gateway decides about one client: everything from the chain to the verdict, for
 * a tunnel that comes, for one that is decided again, and for `explain`, which has no tunnel.
 *
 *     gw_decision_examine --> wants_status? --add_status--> gw_decision_conclude
 *
 * No I/O and no clock. What a step needs is borrowed until gw_decision_conclude.
 */
#ifndef SALLYPORT_GATEWAY_DECISION_H
#define SALLYPORT_GATEWAY_DECISION_H
#include "common/revocation.h"
#include "common/tls_chain.h"
#include "gateway/issuer_index.h"
#include "gateway/shadow.h"

struct gw_chain_cache;
struct gw_tenant;
struct sp_log_line;

struct gw_decision {
    const struct gw_tenant *tenant; /* NULL: none is known */
    const struct sp_chain *chain;
    struct sp_chain_query query;
    struct sp_facts facts;
    /* After gw_decision_conclude: */
    struct sp_verdict verdict;
    struct gw_shadow_verdict shadow;
    int64_t holds_until; /* from this second on it may be another one */
};

/* tenant NULL: none is known, and finding, where not NULL, says why. cache NULL: everything is
 * looked at anew. */
void gw_decision_examine(struct gw_decision *d, const struct gw_tenant *tenant,
                         const struct gw_finding *finding, const struct sp_chain *chain,
                         int64_t now, struct gw_chain_cache *cache);
/* Whether the tenant wants to know from OCSP about the leaf: not when there is none, nor when what
 * is known already blocks. */
bool gw_decision_wants_status(const struct gw_decision *d);
void gw_decision_add_status(struct gw_decision *d, const struct sp_status *status);
void gw_decision_conclude(struct gw_decision *d);

/* The whole of it, for a reason that is known without a certificate. */
void gw_decision_without_chain(struct gw_decision *d, enum sp_reason reason, const char *detail,
                               int64_t now);

/* The fields of a log line that are about it. */
void gw_decision_log(struct sp_log_line *line, const struct gw_decision *d);
#endif
