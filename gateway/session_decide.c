#include "gateway/session_impl.h"

#include "common/clock.h"
#include "common/log.h"
#include "gateway/ocsp.h"
#include "gateway/registry.h"
#include "gateway/tenant.h"

#include <stdlib.h>
#include <string.h>

static const struct sp_bytes no_staple;

/* ---- one decision ---- */

static void remember(struct gw_session *s, const struct gw_decision *d)
{
    s->observed = d->facts.observed | d->facts.noted;
    s->action = d->verdict.action;
    s->unvalidated = d->verdict.action == SP_ACTION_ALLOW_UNVALIDATED;
}

/* False: what is to be known about the leaf is being asked; s is found when it comes. */
static bool add_status(struct gw_session *s, const struct sp_bytes *staple, bool may_wait,
                       struct gw_decision *d)
{
    struct gw_ocsp *ocsp = s->all->options.ocsp;
    struct gw_live_key key;
    struct sp_status status;

    if (!gw_decision_wants_status(d))
        return true;
    if (gw_ocsp_look(ocsp, d, staple, may_wait, &key, &status) == GW_OCSP_LATER) {
        gw_live_put(s->all->live, &s->live, &key);
        return false;
    }
    gw_decision_add_status(d, &status);
    return true;
}

static void find_tenant(struct gw_session *s, const struct sp_chain *chain, int64_t now,
                        struct gw_finding *ret_finding)
{
    s->decided_under = s->all->generation;
    gw_registry_find_by_chain(s->all->registry, chain, now, ret_finding);
    if (ret_finding->kind == GW_FOUND_ONE)
        s->tenant = gw_tenant_ref(ret_finding->tenants[0]);
}

/* False: later. */
static bool decide(struct gw_session *s, const struct sp_chain *chain,
                   const struct sp_bytes *staple, bool may_wait, struct gw_decision *d)
{
    const int64_t now = sp_clock_wall_s();
    struct gw_finding finding = {.kind = GW_FOUND_NONE};

    if (s->by_certificate && !s->tenant)
        find_tenant(s, chain, now, &finding);
    gw_decision_examine(d, s->tenant, &finding, chain, now, s->all->chains);
    if (!add_status(s, staple, may_wait, d))
        return false;
    gw_decision_conclude(d);
    return true;
}

/* ---- the handshake ---- */

static void refuse_name(struct gw_session *s, const char *detail)
{
    struct gw_decision d;

    gw_decision_without_chain(&d, SP_REASON_UNKNOWN_SERVER_NAME, detail, sp_clock_wall_s());
    gw_session_log_decision(s, &d);
}

void gw_session_on_bad_name(void *ctx)
{
    refuse_name(ctx, "the server name sent is malformed");
}

/* A certificate that was not loaded with the configuration may turn out to be unusable: then its
 * tenant alone has nothing to show, and whoever serves it has to know why. */
static bool take_cred(struct gw_session *s, const struct gw_match *match)
{
    struct sp_error err = {.kind = SP_OK};
    char message[sizeof err.where + sizeof err.text + 32];

    if (gw_registry_take_cred(s->all->registry, match, &s->cred, &err) == SP_OK)
        return true;
    sp_log_message(s->all->options.log, SP_LOG_ERROR, "trouble", "no certificate to show: %s",
                   sp_error_message(&err, message, sizeof message));
    s->tenant = gw_tenant_ref(match->tenant);
    refuse_name(s, "the certificate of the tenant cannot be used");
    return false;
}

bool gw_session_on_hello(void *ctx, const char *name, struct sp_tls_choice *choice)
{
    struct gw_session *s = ctx;
    struct gw_match match = gw_registry_find(s->all->registry, name);

    s->decided_under = s->all->generation;
    if (match.kind == GW_MATCH_NONE) {
        refuse_name(s, name ? "no tenant has this server name" : "no server name was sent");
        return false;
    }
    if (!take_cred(s, &match))
        return false;
    choice->cred = s->cred;
    if (match.kind == GW_MATCH_COMMON) {
        /* The tenant is not known before the certificate is: so there is no ticket key of his
         * either, and who sends none gets the same answer as one whom nobody knows. */
        s->by_certificate = true;
        choice->certificate_optional = true;
        return true;
    }
    s->tenant = gw_tenant_ref(match.tenant);
    choice->certificate_optional = match.tenant->certificate_optional;
    choice->tickets = true;
    gw_tenant_ticket_key(match.tenant, s->all->registry->ticket_master, choice->ticket_key);
    return true;
}

bool gw_session_on_claim(void *ctx, const struct sp_chain *chain)
{
    struct gw_session *s = ctx;
    struct gw_decision d;
    bool is_ready = decide(s, chain, &no_staple, true, &d);

    if (s->by_certificate) { /* it is only a claim yet */
        gw_tenant_unref(s->tenant);
        s->tenant = NULL;
    }
    return is_ready;
}

/* TLS 1.2 has had its chance to wait, in gw_session_on_claim. */
static bool can_wait(const struct gw_session *s, const struct sp_tls_peer *peer)
{
    return peer->resumed || strcmp(sp_tls_version_name(sp_tunnel_tls(s->tunnel)), "TLS1.2") != 0;
}

enum sp_tls_judgement gw_session_on_peer(void *ctx, const struct sp_tls_peer *peer, int *ret_alert)
{
    struct gw_session *s = ctx;
    struct gw_decision *d = sp_calloc(1, sizeof *d);

    s->has_news = false;
    if (!decide(s, peer->chain, &peer->staple, true, d)) { /* resumed: like any (invariant 3) */
        struct sp_status status;

        if (can_wait(s, peer)) {
            free(d);
            return SP_TLS_WAIT;
        }
        sp_status_unknown(&status, NULL, 0, "the answer was stale before the handshake ended");
        gw_decision_add_status(d, &status);
        gw_decision_conclude(d);
    }
    s->decision = d;
    remember(s, d);
    if (d->verdict.action != SP_ACTION_BLOCK)
        return SP_TLS_ACCEPT; /* logged in on_up, when the handshake is through */
    gw_session_log_decision(s, d);
    *ret_alert = d->verdict.alert;
    return SP_TLS_REFUSE;
}

/* ---- an open tunnel ---- */

static void keep_under_review(struct gw_session *s, const struct gw_decision *d)
{
    struct gw_live_key key;

    if (d->facts.has_certificate) {
        gw_live_key_of(s->tenant->id, d->facts.fingerprint, &key);
        gw_live_put(s->all->live, &s->live, &key);
    }
    gw_live_review_at(s->all->live, &s->live, d->holds_until);
}

void gw_session_decided(struct gw_session *s)
{
    gw_session_log_decision(s, s->decision);
    keep_under_review(s, s->decision);
    free(s->decision);
    s->decision = NULL;
}

/* Moves to the next generation of its tenant. True: another trust or another policy. */
static bool take_up_tenant(struct gw_session *s, struct gw_tenant *next)
{
    struct gw_tenant *old = s->tenant;
    bool changed = memcmp(next->ticket_epoch, old->ticket_epoch, sizeof old->ticket_epoch) != 0;

    gw_tenant_move_tunnel(old, next);
    s->tenant = gw_tenant_ref(next);
    gw_tenant_unref(old);
    return changed;
}

static void close_failed(struct gw_session *s, const struct gw_decision *d, const char *occasion)
{
    struct sp_error why;

    s->closing = true;
    gw_live_remove(s->all->live, &s->live);
    sp_error_code(&why, SP_ERR_PEER_CERT, d->verdict.alert, "%s: %s%s%s", occasion,
                  sp_reason_name(d->verdict.reason), d->facts.detail[0] ? ": " : "",
                  d->facts.detail);
    sp_tunnel_close(s->tunnel, &why);
}

static void decide_again(struct gw_session *s, const char *occasion, bool tell_always)
{
    sp_reason_set observed = s->observed;
    enum sp_action action = s->action;
    struct sp_chain chain;
    struct gw_decision d;

    sp_tls_peer_chain(sp_tunnel_tls(s->tunnel), &chain);
    if (!decide(s, &chain, &no_staple, false, &d))
        return; /* it goes on as it is until the answer comes */
    remember(s, &d);
    if (tell_always || s->action != action || s->observed != observed)
        gw_session_log_decision(s, &d);
    if (d.verdict.action == SP_ACTION_BLOCK)
        close_failed(s, &d, occasion);
    else
        keep_under_review(s, &d);
}

/* Whose the tunnel would be under the present registry. NULL: nobody's, and *ret says why. */
static struct gw_tenant *tenant_now(struct gw_session *s, struct gw_decision *ret)
{
    const int64_t now = sp_clock_wall_s();
    struct gw_match match =
        gw_registry_find(s->all->registry, sp_tls_server_name(sp_tunnel_tls(s->tunnel)));
    struct gw_finding finding = {.kind = GW_FOUND_NONE};
    struct sp_chain chain;

    if (match.kind == GW_MATCH_COMMON && s->by_certificate) {
        sp_tls_peer_chain(sp_tunnel_tls(s->tunnel), &chain);
        gw_registry_find_by_chain(s->all->registry, &chain, now, &finding);
        match.tenant = finding.tenants[0];
        if (finding.kind != GW_FOUND_ONE) {
            gw_decision_examine(ret, NULL, &finding, &chain, now, NULL);
            gw_decision_conclude(ret);
            return NULL;
        }
    }
    if (match.kind != GW_MATCH_NONE && match.tenant &&
        (match.kind == GW_MATCH_COMMON) == s->by_certificate &&
        !strcmp(match.tenant->id, s->tenant->id))
        return match.tenant;
    if (match.kind == GW_MATCH_COMMON && s->by_certificate)
        gw_decision_without_chain(ret, SP_REASON_TENANT_UNKNOWN,
                                  "the certificate is another tenant's now", now);
    else
        gw_decision_without_chain(ret, SP_REASON_UNKNOWN_SERVER_NAME,
                                  "the server name is no longer this tenant's", now);
    return NULL;
}

void gw_session_after_reload(struct gw_session *s)
{
    static const char occasion[] = "after a reload";
    struct gw_tenant *next;
    struct gw_decision d;

    s->decided_under = s->all->generation;
    if (s->closing)
        return;
    next = tenant_now(s, &d);
    if (!next) {
        gw_session_log_decision(s, &d);
        close_failed(s, &d, occasion);
    } else if (take_up_tenant(s, next)) {
        decide_again(s, occasion, true);
    }
}

void gw_session_review(struct gw_session *s)
{
    /* After a reload that the sweep has not come to yet, under the state before; then once more. */
    if (!s->closing && s->up)
        decide_again(s, "while it was open", false);
}
