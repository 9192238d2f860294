#include "gateway/explain_question.h"

#include "common/clock.h"
#include "common/tls_cred.h"
#include "common/tls_crl.h"
#include "common/tls_trust.h"
#include "gateway/config.h"
#include "gateway/ocsp.h"

#include <stdlib.h>
#include <string.h>

/* ---- whose client is it ---- */

static void refuse_name(struct gw_question *q, const char *detail)
{
    gw_decision_without_chain(&q->d, SP_REASON_UNKNOWN_SERVER_NAME, detail, q->e.now);
    q->is_decided = true;
    gw_explain_step(&q->e.steps, "server name", "%s%s%s: %s", q->options->sni[0] ? "'" : "",
                    q->options->sni[0] ? q->options->sni : "none", q->options->sni[0] ? "'" : "",
                    detail);
}

/* As for a client under a common name; NULL: nobody's, or not one's. */
static struct gw_tenant *find_by_chain(struct gw_question *q)
{
    struct gw_finding *f = &q->finding;

    gw_registry_find_by_chain(q->state.registry, &q->chain, q->e.now, f);
    gw_explain_step(&q->e.steps, "server name", "'%s' is a common one: the chain tells the tenant",
                    q->options->sni);
    if (f->kind == GW_FOUND_ONE)
        gw_explain_step(&q->e.steps, "tenant by chain", "%s (%s)", f->tenants[0]->id,
                        f->tenants[0]->path);
    else
        gw_explain_step(&q->e.steps, "tenant by chain", "%s", f->detail);
    if (f->kind == GW_FOUND_SEVERAL)
        for (int i = 0; i < 2; i++)
            gw_explain_more(&q->e.steps, "%s (%s)", f->tenants[i]->id, f->tenants[i]->path);
    gw_explain_more(&q->e.steps, "%u tenants' patterns compared, the chain verified %u times",
                    f->tried, f->examined);
    return f->kind == GW_FOUND_ONE ? f->tenants[0] : NULL;
}

/* A certificate that was not loaded with the configuration may be unusable: refused like a name
 * that nobody has. */
static struct gw_tenant *take_match(struct gw_question *q, const struct gw_match *match)
{
    struct sp_tls_cred *cred = NULL;
    struct sp_error err = {.kind = SP_OK};
    char message[sizeof err.where + sizeof err.text + 32];

    if (gw_registry_take_cred(q->state.registry, match, &cred, &err) != SP_OK) {
        refuse_name(q, "the certificate of the tenant cannot be used");
        gw_explain_more(&q->e.steps, "%s", sp_error_message(&err, message, sizeof message));
        return NULL;
    }
    sp_tls_cred_unref(cred);
    gw_explain_step(&q->e.steps, "server name", "'%s' is tenant %s's (%s)", q->options->sni,
                    match->tenant->id, match->tenant->path);
    return match->tenant;
}

/* What a ClientHello with that name leads to. */
static struct gw_tenant *find_by_name(struct gw_question *q)
{
    const char *sni = q->options->sni;
    struct gw_match match;

    if (*sni && !sp_host_fold(sni, strlen(sni), q->name)) {
        refuse_name(q, "the server name sent is malformed");
        return NULL;
    }
    match = gw_registry_find(q->state.registry, *sni ? q->name : NULL);
    switch (match.kind) {
    case GW_MATCH_NONE:
        refuse_name(q, *sni ? "no tenant has this server name" : "no server name was sent");
        return NULL;
    case GW_MATCH_COMMON:
        return find_by_chain(q);
    case GW_MATCH_TENANT:
        return take_match(q, &match);
    }
    return NULL;
}

static enum sp_err contradiction(const struct gw_question *q, const struct gw_tenant *found,
                                 struct sp_error *err)
{
    const char *who = q->options->tenant;

    if (found)
        return sp_error_set(err, SP_ERR_CONFIG,
                            "--sni %.100s leads to tenant %s, not to --tenant %.64s; leave one out",
                            q->options->sni, found->id, who);
    return sp_error_set(
        err, SP_ERR_CONFIG, "--sni %.100s does not lead to --tenant %.64s: %.200s; leave one out",
        q->options->sni, who, q->is_decided ? q->d.facts.detail : q->finding.detail);
}

static enum sp_err find_tenant(struct gw_question *q, struct gw_tenant **ret, struct sp_error *err)
{
    struct gw_tenant *given = NULL;
    enum sp_err rc = SP_OK;

    *ret = NULL;
    if (q->options->tenant)
        rc = gw_explain_tenant(q->state.registry, q->options->tenant, &given, err);
    if (rc != SP_OK)
        return rc;
    *ret = q->options->sni ? find_by_name(q) : given;
    if (given && *ret != given)
        return contradiction(q, *ret, err);
    if (!q->options->sni)
        gw_explain_step(&q->e.steps, "tenant", "%s (%s)", given->id, given->path);
    if (*ret && !(*ret)->config->enabled)
        gw_explain_more(&q->e.steps, "he is disabled");
    return SP_OK;
}

/* ---- OCSP ---- */

/* As for an answer that was asked for, but for the nonce. */
static void judge_response(struct gw_question *q, int64_t max_age_s, struct sp_status *ret)
{
    const struct sp_bytes response = {q->response.data, q->response.len};
    const char *file = q->options->ocsp_response;
    size_t len = 0;
    SP_AUTO_FREE uint8_t *issuer = sp_chain_issuer(&q->chain, &q->d.query, &len);
    struct sp_ocsp_query query = {
        .cert = q->chain.certs[0],
        .issuer = {issuer, len},
        .now = q->e.now,
        .max_age_s = max_age_s,
    };
    struct sp_status status = {.stapled = false};
    const struct sp_ocsp_answer *answer = &status.answer;

    if (!issuer) {
        sp_status_unknown(ret, NULL, INT64_MAX, "its issuer is not one that can be believed");
        return;
    }
    sp_ocsp_examine(&response, &query, &status.answer);
    sp_status_disown(&status, q->d.query.crls, q->d.facts.issuer, q->e.now);
    if (answer->status != SP_OCSP_GOOD && answer->status != SP_OCSP_REVOKED) {
        sp_status_unknown(ret, file, INT64_MAX, "%.200s: %.300s", file, answer->detail);
        return;
    }
    *ret = status;
    ret->holds_until = answer->expires;
    snprintf(ret->from, sizeof ret->from, "%.250s", file);
}

/* What the gateway has in its memory after a start is what its cache file had. */
static void look_into_cache(struct gw_question *q, struct sp_status *ret)
{
    static const struct sp_bytes no_staple;
    struct gw_decision open = q->d;
    struct sp_status good = {.answer = {.status = SP_OCSP_GOOD, .cause = ""},
                             .holds_until = INT64_MAX};
    struct gw_live_key key;

    if (gw_ocsp_look(q->state.ocsp, &q->d, &no_staple, true, &key, ret) == GW_OCSP_KNOWN)
        return;
    sp_status_unknown(ret, NULL, INT64_MAX, "not asked: give --ocsp-response");
    q->e.is_open = true;
    gw_decision_add_status(&open, &good);
    gw_decision_conclude(&open);
    q->e.if_good = open.verdict;
}

static void describe_status(struct gw_question *q, const struct sp_status *status, const char *mode)
{
    static const char *const words[] = {
        [SP_OCSP_INVALID] = "not known",
        [SP_OCSP_UNKNOWN] = "not known",
        [SP_OCSP_GOOD] = "good",
        [SP_OCSP_REVOKED] = "revoked",
    };
    const struct sp_ocsp_answer *a = &status->answer;
    char begin[SP_TIME_LEN], end[SP_TIME_LEN];

    gw_explain_step(&q->e.steps, "OCSP", "%s (mode %s)%s%s", words[a->status], mode,
                    a->detail[0] ? ": " : "", a->detail);
    if (!a->responder[0])
        return;
    gw_explain_more(&q->e.steps, "%s, signed by '%s', of %s, stale from %s",
                    status->from[0] ? status->from : "an answer", a->responder,
                    sp_time_format(a->this_update, begin), sp_time_format(a->expires, end));
}

static void decide_status(struct gw_question *q)
{
    const struct gw_tenant *tenant = q->d.tenant;
    const struct gw_ocsp_settings *settings =
        tenant ? &tenant->config->client_validation.ocsp : NULL;
    struct sp_status status;
    const char *given = q->options->ocsp_response ? "; --ocsp-response is not looked at" : "";

    if (!tenant || !q->chain.count) {
        gw_explain_step(&q->e.steps, "OCSP", "not asked: there is no %s%s",
                        tenant ? "certificate" : "tenant", given);
    } else if (settings->mode == SP_OCSP_OFF) {
        gw_explain_step(&q->e.steps, "OCSP", "off (client_validation.ocsp.mode)%s", given);
    } else if (!gw_decision_wants_status(&q->d)) {
        gw_explain_step(&q->e.steps, "OCSP", "not asked: what is known already blocks%s", given);
    } else {
        if (q->options->ocsp_response)
            judge_response(q, (int64_t)settings->max_age_s, &status);
        else
            look_into_cache(q, &status);
        describe_status(q, &status, sp_ocsp_mode_names[settings->mode]);
        gw_decision_add_status(&q->d, &status);
    }
}

/* ---- the two kinds ---- */

static enum sp_err read_inputs(struct gw_question *q, struct sp_error *err)
{
    const struct gw_explain_options *o = q->options;
    struct gw_explain_input file = {.data = NULL};
    enum sp_err rc = SP_OK;

    if (o->ocsp_response && o->chain && !strcmp(o->ocsp_response, "-") && !strcmp(o->chain, "-"))
        return sp_error_set(err, SP_ERR_CONFIG,
                            "--chain and --ocsp-response cannot both be standard input");
    if (strcmp(o->chain, "none") != 0) {
        rc = gw_explain_input_read(o->chain, GW_CHAIN_FILE_MAX, &file, err);
        if (rc == SP_OK) {
            rc = sp_tls_certs_read(file.data, file.len, &q->certs, err);
            if (rc != SP_OK)
                sp_error_where(err, "%s", strcmp(o->chain, "-") ? o->chain : "standard input");
        }
        gw_explain_input_done(&file);
    }
    if (rc == SP_OK && o->ocsp_response)
        rc = gw_explain_input_read(o->ocsp_response, SP_OCSP_RESPONSE_MAX, &q->response, err);
    sp_tls_certs_chain(&q->certs, &q->chain);
    return rc;
}

static void take_decision(struct gw_question *q)
{
    const struct gw_tenant *tenant = q->d.tenant;

    q->e.facts = &q->d.facts;
    q->e.verdict = &q->d.verdict;
    q->e.shadow = &q->d.shadow;
    q->e.holds_until = q->d.holds_until;
    q->e.tenant = tenant ? tenant->id : NULL;
    q->e.sni = q->name[0] ? q->name : NULL;
    if (tenant)
        q->e.policy = gw_tenant_policy(tenant, false, &q->policy);
}

static enum sp_err explain_tenant(struct gw_question *q, struct sp_error *err)
{
    struct gw_tenant *tenant = NULL;
    enum sp_err rc = gw_explain_load(q->options->config, &q->state, err);

    if (rc == SP_OK)
        rc = find_tenant(q, &tenant, err);
    if (rc != SP_OK)
        return rc;
    gw_question_describe_sent(q);
    if (q->is_decided)
        return SP_OK;
    gw_decision_examine(&q->d, tenant, &q->finding, &q->chain, q->e.now, NULL);
    gw_question_describe_path(q);
    gw_question_describe_times(q);
    gw_question_describe_checks(q);
    gw_question_describe_lists(q);
    decide_status(q);
    gw_decision_conclude(&q->d);
    return SP_OK;
}

static enum sp_err load_any(struct gw_question *q, struct sp_error *err)
{
    const struct gw_explain_options *o = q->options;
    struct sp_tls_crl_pool *pool;
    enum sp_err rc = sp_tls_trust_load(o->cas, o->ca_count, false, &q->trust, err);

    if (rc != SP_OK || !o->crl_count)
        return rc;
    pool = sp_tls_crl_pool_new();
    rc = sp_tls_crl_set_load(pool, o->crls, o->crl_count, q->trust, &q->crls, err);
    sp_tls_crl_pool_free(pool);
    return rc;
}

static enum sp_err check_name(struct gw_question *q, struct sp_error *err)
{
    const char *name = q->options->name;
    struct sp_ip ip;

    if (!name)
        return SP_OK;
    if (sp_ip_parse(name, strlen(name), &ip))
        snprintf(q->name, sizeof q->name, "%s", name);
    else if (!sp_host_fold(name, strlen(name), q->name))
        return sp_error_set(err, SP_ERR_CONFIG,
                            "--name %.100s is neither a host name nor an "
                            "address",
                            name);
    return SP_OK;
}

/* The rules are those of a tenant, or of an agent, whose configuration says nothing else. */
static enum sp_err explain_any(struct gw_question *q, struct sp_error *err)
{
    static const struct sp_policy policy = {.on_failure = SP_DECIDE_BLOCK,
                                            .source = "the default rules"};
    bool client = q->options->purpose == SP_PURPOSE_CLIENT;
    enum sp_err rc = check_name(q, err);
    struct sp_status status;

    if (rc == SP_OK)
        rc = load_any(q, err);
    if (rc != SP_OK)
        return rc;
    q->e.policy = &policy;
    q->e.any_chain = true;
    q->d.chain = &q->chain;
    q->d.query = (struct sp_chain_query){
        .trust = q->trust,
        .crls = q->crls,
        .purpose = q->options->purpose,
        .require_eku = client,
        .name = q->name[0] ? q->name : NULL,
        .now = q->e.now,
    };
    sp_chain_examine(&q->chain, &q->d.query, &q->d.facts);
    gw_question_describe_sent(q);
    gw_question_describe_path(q);
    gw_question_describe_times(q);
    gw_question_describe_checks(q);
    gw_question_describe_lists(q);
    if (q->options->ocsp_response && q->chain.count) {
        judge_response(q, 0, &status);
        describe_status(q, &status, "hard, since there is a response");
        sp_status_apply(&status, SP_OCSP_HARD, &q->d.facts);
    }
    sp_verdict_decide(&q->d.facts, &policy, q->e.now, &q->d.verdict);
    q->d.holds_until = q->d.facts.holds_until;
    return SP_OK;
}

enum sp_err gw_explain_chain(const struct gw_explain_options *options,
                             struct gw_explain_answer *ret_answer, struct sp_error *err)
{
    struct gw_question *q = sp_calloc(1, sizeof *q);
    enum sp_err rc;

    q->options = options;
    q->e.now = options->has_at ? options->at : sp_clock_wall_s();
    rc = read_inputs(q, err);
    if (rc == SP_OK)
        rc = options->mode == GW_EXPLAIN_ANY ? explain_any(q, err) : explain_tenant(q, err);
    if (rc == SP_OK) {
        take_decision(q);
        if (q->e.any_chain)
            q->e.sni = NULL;
        gw_explain_answer(&q->e, options->json, ret_answer);
    }
    gw_explain_steps_done(&q->e.steps);
    gw_explain_unload(&q->state);
    sp_tls_crl_set_unref(q->crls);
    sp_tls_trust_unref(q->trust);
    sp_tls_certs_done(&q->certs);
    gw_explain_input_done(&q->response);
    free(q);
    return rc == SP_OK ? rc : sp_error_as_config(err);
}
