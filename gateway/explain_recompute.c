#include "gateway/explain_impl.h"

#include "common/clock.h"
#include "common/tls_crl.h"
#include "gateway/config.h"

#include <stdlib.h>
#include <string.h>

#define BIT(reason) SP_REASON_BIT(SP_REASON_##reason)

const char *const gw_unsure_texts[GW_UNSURE_KINDS] = {
    "which tenant the chain leads to: a line of the log has no certificates",
    "trust: whether a CA that is trusted now would reach it",
    "other paths to a trusted CA that the client's certificates may allow",
    "require_eku, min_key_bits and the signatures: as they were found then",
    "the patterns of client_validation.match for alternative names: as they were found then",
    "the revocation lists of intermediates, and of lists that are not there: as they were then",
    "what the OCSP responder says now: as it was then",
};

/* ---- one line under one configuration ---- */

struct again {
    const struct gw_logged *line;
    struct gw_recomputed *ret;
    int64_t now;
};

static bool was(const struct again *a, sp_reason_set reasons)
{
    return (a->line->observed & reasons) != 0;
}

static void keep(struct again *a, sp_reason_set reasons)
{
    for (int reason = 0; reason < SP_REASON_COUNT; reason++) {
        const char *name = sp_reason_name((enum sp_reason)reason);
        bool is_told = a->line->reason && a->line->detail && !strcmp(a->line->reason, name);

        if (a->line->observed & reasons & SP_REASON_BIT(reason))
            sp_facts_add(&a->ret->facts, (enum sp_reason)reason, "%s",
                         is_told ? a->line->detail : "as in the log");
    }
}

/* A name in the log is one that a ClientHello had: folded. */
static const struct gw_tenant *find_tenant(struct again *a, const struct gw_registry *registry)
{
    const struct gw_logged *line = a->line;
    struct gw_match match = gw_registry_find(registry, line->sni);
    struct gw_recomputed *ret = a->ret;
    const char *name = line->sni ? line->sni : "none";

    switch (match.kind) {
    case GW_MATCH_NONE:
        snprintf(ret->name, sizeof ret->name, "%.254s: no tenant has it", name);
        sp_facts_add(&ret->facts, SP_REASON_UNKNOWN_SERVER_NAME, "%s",
                     line->sni ? "no tenant has this server name" : "no server name was sent");
        return NULL;
    case GW_MATCH_TENANT:
        snprintf(ret->name, sizeof ret->name, "%.200s is tenant %s's", name, match.tenant->id);
        return match.tenant;
    case GW_MATCH_COMMON:
        break;
    }
    ret->unsure |= GW_UNSURE_TENANT;
    match.tenant = line->tenant ? gw_registry_tenant(registry, line->tenant) : NULL;
    snprintf(ret->name, sizeof ret->name, "%.200s is a common one", name);
    if (!match.tenant)
        sp_facts_add(&ret->facts, SP_REASON_TENANT_UNKNOWN,
                     line->tenant ? "tenant %s is no longer there" : "no tenant was found",
                     line->tenant);
    return match.tenant;
}

static void recompute_times(struct again *a)
{
    const struct gw_logged *line = a->line;
    char span[SP_TIME_LEN], at[SP_TIME_LEN];

    if (!line->end) {
        keep(a, BIT(EXPIRED) | BIT(NOT_YET_VALID));
        return;
    }
    if (a->now > line->end)
        sp_facts_add(&a->ret->facts, SP_REASON_EXPIRED, "expired %s ago (%s)",
                     sp_time_span(a->now - line->end, span), sp_time_format(line->end, at));
    if (a->now < line->begin)
        sp_facts_add(&a->ret->facts, SP_REASON_NOT_YET_VALID, "not valid before %s (in %s)",
                     sp_time_format(line->begin, at), sp_time_span(line->begin - a->now, span));
}

static void recompute_trust(struct again *a)
{
    const struct gw_logged *line = a->line;
    struct gw_recomputed *ret = a->ret;
    bool is_moved = !line->tenant || strcmp(line->tenant, ret->tenant->id) != 0;
    const char *root = line->path.count ? line->path.items[line->path.count - 1] : NULL;

    keep(a, BIT(UNTRUSTED_ISSUER) | BIT(MISSING_INTERMEDIATE));
    if (!root || was(a, BIT(UNTRUSTED_ISSUER) | BIT(MISSING_INTERMEDIATE) | BIT(BAD_SIGNATURE))) {
        ret->unsure |= GW_UNSURE_TRUST;
        if (is_moved)
            sp_facts_add(&ret->facts, SP_REASON_UNTRUSTED_ISSUER,
                         "it was another tenant's then; whether this one's CAs know it is not "
                         "known");
        return;
    }
    if (sp_tls_show_is_trusted_name(ret->tenant->trust, root)) {
        snprintf(ret->trust, sizeof ret->trust, "'%.250s' is a trusted CA, by its name", root);
        return;
    }
    ret->unsure |= GW_UNSURE_PATH;
    snprintf(ret->trust, sizeof ret->trust, "'%.250s' is not a trusted CA%s", root,
             is_moved ? " of this tenant" : " any more");
    sp_facts_add(&ret->facts, SP_REASON_UNTRUSTED_ISSUER, "issuer %s", ret->trust);
}

static void recompute_length(struct again *a)
{
    uint64_t most = a->ret->tenant->config->client_validation.max_chain;

    /* Without times the chain was too large to be looked at. */
    if (!a->line->end || !a->line->has_chain)
        keep(a, BIT(CHAIN_TOO_LARGE));
    else if (a->line->chain > most)
        sp_facts_add(&a->ret->facts, SP_REASON_CHAIN_TOO_LARGE,
                     "%llu certificates were presented, %llu are the most",
                     (unsigned long long)a->line->chain, (unsigned long long)most);
}

static struct sp_tls_name name_of(enum sp_tls_name_kind kind, char *text)
{
    return (struct sp_tls_name){.kind = kind, .text = text, .len = strlen(text)};
}

/* Subject and issuer stand in the line, alternative names do not. */
static void recompute_names(struct again *a)
{
    struct gw_cert_match match = a->ret->tenant->config->client_validation.match;
    struct sp_tls_names names = {.count = 2};
    bool has_more = false;
    char why[200];

    if (!match.is_set || !a->line->subject || !a->line->issuer)
        return;
    names.items[0] = name_of(SP_TLS_NAME_SUBJECT, a->line->subject);
    names.items[1] = name_of(SP_TLS_NAME_ISSUER, a->line->issuer);
    for (int kind = SP_TLS_NAME_DNS; kind < SP_TLS_NAME_KINDS; kind++) {
        has_more |= match.patterns[kind].count > 0;
        match.patterns[kind].count = 0;
    }
    if (!gw_cert_match_fits(&match, &names, why, sizeof why)) {
        sp_facts_add(&a->ret->facts, SP_REASON_NAME_MISMATCH, "%s", why);
    } else if (has_more) {
        a->ret->unsure |= GW_UNSURE_NAMES;
        keep(a, BIT(NAME_MISMATCH));
    }
}

static void take_list(struct again *a, const struct sp_tls_crl_answer *answer)
{
    struct gw_recomputed *ret = a->ret;
    const char *state = answer->state == SP_TLS_CRL_CURRENT ? "" : ", though it is stale";
    char when[SP_TIME_LEN];

    if (answer->is_revoked)
        snprintf(ret->list, sizeof ret->list, "revoked on %s%s%s, says the CRL in %.400s%s",
                 sp_time_format(answer->revoked_at, when), answer->cause[0] ? ": " : "",
                 answer->cause, answer->path, state);
    else
        snprintf(ret->list, sizeof ret->list, "not in the CRL in %.400s%s", answer->path, state);
    if (answer->is_revoked)
        sp_facts_add(&ret->facts, SP_REASON_REVOKED, "%s", ret->list);
    if (answer->state == SP_TLS_CRL_CURRENT)
        return;
    snprintf(ret->list, sizeof ret->list, "the CRL in %.400s is stale since %s", answer->path,
             sp_time_format(answer->next_update, when));
    sp_facts_add(&ret->facts, SP_REASON_CRL_STALE, "%s", ret->list);
}

/* The list of the leaf's issuer can be asked by name; those of others cannot. */
static void recompute_lists(struct again *a)
{
    const struct sp_tls_crl_set *set = a->ret->tenant->crls;
    bool is_direct = a->line->path.count == 2, by_ocsp;
    struct sp_tls_crl_answer answer;

    by_ocsp =
        a->line->has_ocsp && a->ret->tenant->config->client_validation.ocsp.mode != SP_OCSP_OFF;
    if (!set) {
        keep(a, by_ocsp ? BIT(REVOKED) : 0);
        return;
    }
    sp_tls_crl_set_ask_named(set, a->line->issuer ? a->line->issuer : "",
                             a->line->serial ? a->line->serial : "", a->now, &answer);
    if (answer.state != SP_TLS_CRL_NONE) {
        take_list(a, &answer);
        if (is_direct) { /* no other list was asked */
            keep(a, by_ocsp ? BIT(REVOKED) : 0);
            return;
        }
    }
    a->ret->unsure |= GW_UNSURE_LISTS;
    keep(a, BIT(REVOKED) | BIT(CRL_STALE));
}

static void recompute_status(struct again *a)
{
    int mode = a->ret->tenant->config->client_validation.ocsp.mode;

    if (mode == SP_OCSP_OFF)
        return;
    a->ret->unsure |= GW_UNSURE_OCSP;
    if (!was(a, BIT(REVOCATION_UNKNOWN)))
        return;
    if (mode == SP_OCSP_HARD)
        keep(a, BIT(REVOCATION_UNKNOWN));
    else
        a->ret->facts.noted |= BIT(REVOCATION_UNKNOWN);
}

static void identify(const struct gw_logged *line, struct sp_facts *facts)
{
    facts->has_certificate = line->fingerprint != NULL;
    snprintf(facts->fingerprint, sizeof facts->fingerprint, "%s",
             line->fingerprint ? line->fingerprint : "");
    snprintf(facts->subject, sizeof facts->subject, "%s", line->subject ? line->subject : "");
    snprintf(facts->issuer, sizeof facts->issuer, "%s", line->issuer ? line->issuer : "");
    snprintf(facts->serial, sizeof facts->serial, "%s", line->serial ? line->serial : "");
    facts->chain_len = (unsigned)line->chain;
    facts->not_before = line->begin;
    facts->not_after = line->end;
    facts->holds_until = INT64_MAX;
}

/* With a tenant that the line was about as well: what is known of the chain is known. */
static void recompute_all(struct again *a)
{
    struct gw_recomputed *ret = a->ret;

    if (!ret->tenant->config->enabled)
        sp_facts_add(&ret->facts, SP_REASON_TENANT_DISABLED, "the tenant is disabled");
    keep(a, BIT(NO_CERTIFICATE) | BIT(BAD_SIGNATURE) | BIT(CONSTRAINT_VIOLATION) |
                BIT(WEAK_ALGORITHM) | BIT(WRONG_PURPOSE));
    if (!a->line->fingerprint)
        return;
    ret->unsure |= GW_UNSURE_RULES;
    recompute_times(a);
    recompute_trust(a);
    recompute_length(a);
    recompute_names(a);
    recompute_lists(a);
    recompute_status(a);
}

void gw_recompute(const struct gw_registry *registry, const struct gw_logged *logged, int64_t now,
                  struct gw_recomputed *ret)
{
    struct again a = {.line = logged, .ret = ret, .now = now};
    const struct sp_policy *policy = NULL;
    struct gw_policy_view view;
    bool is_malformed = logged->detail && !logged->sni && strstr(logged->detail, "malformed");

    *ret = (struct gw_recomputed){.tenant = NULL};
    identify(logged, &ret->facts);
    if (was(&a, BIT(NOT_TLS)) || is_malformed)
        keep(&a, BIT(NOT_TLS) | BIT(UNKNOWN_SERVER_NAME));
    else
        ret->tenant = find_tenant(&a, registry);
    if (ret->tenant && !logged->tenant) { /* nothing is known of its chain under this tenant */
        ret->tenant = NULL;
        ret->unsure |= GW_UNSURE_TENANT;
        keep(&a, ~(sp_reason_set)0);
    }
    if (ret->tenant) {
        recompute_all(&a);
        policy = gw_tenant_policy(ret->tenant, false, &view);
    }
    sp_verdict_decide(&ret->facts, policy, now, &ret->verdict);
}
