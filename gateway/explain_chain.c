#include "gateway/explain_impl.h"

#include "common/clock.h"
#include "common/tls_crl.h"
#include "common/tls_trust.h"
#include "gateway/config.h"
#include "gateway/ocsp.h"

#include <stdlib.h>
#include <string.h>

#define CHAIN_FILE_MAX (1024 * 1024)

/* One question about a chain. */
struct question {
    const struct gw_explain_options *options;
    struct gw_explain_state state;
    struct sp_tls_trust *trust; /* any chain */
    struct sp_tls_crl_set *crls;
    struct sp_tls_certs certs;
    struct sp_chain chain;
    struct gw_explain_input response;
    struct gw_finding finding;
    struct gw_decision d;
    struct gw_explained e;
    char name[SP_HOST_MAX + 1];
    bool is_decided; /* without the chain */
};

/* ---- whose client is it ---- */

static void refuse_name(struct question *q, const char *detail)
{
    gw_decision_without_chain(&q->d, SP_REASON_UNKNOWN_SERVER_NAME, detail, q->e.now);
    q->is_decided = true;
    gw_explain_step(&q->e.steps, "server name", "%s%s%s: %s", q->options->sni[0] ? "'" : "",
                    q->options->sni[0] ? q->options->sni : "none", q->options->sni[0] ? "'" : "",
                    detail);
}

/* As for a client under a common name; NULL: nobody's, or not one's. */
static struct gw_tenant *find_by_chain(struct question *q)
{
    struct gw_finding *f = &q->finding;

    gw_registry_find_by_chain(q->state.registry, &q->chain, q->e.now, f);
    gw_explain_step(&q->e.steps, "server name", "'%s' is a common one: the chain tells the tenant",
                    q->options->sni);
    if (f->kind == GW_FOUND_ONE)
        gw_explain_step(&q->e.steps, "tenant by chain", "%s (%s)", f->tenants[0]->id,
                        f->tenants[0]->config->path);
    else
        gw_explain_step(&q->e.steps, "tenant by chain", "%s", f->detail);
    if (f->kind == GW_FOUND_SEVERAL)
        for (int i = 0; i < 2; i++)
            gw_explain_more(&q->e.steps, "%s (%s)", f->tenants[i]->id, f->tenants[i]->config->path);
    gw_explain_more(&q->e.steps, "%u tenants' patterns compared, the chain verified %u times",
                    f->tried, f->examined);
    return f->kind == GW_FOUND_ONE ? f->tenants[0] : NULL;
}

/* What a ClientHello with that name leads to. */
static struct gw_tenant *find_by_name(struct question *q)
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
        gw_explain_step(&q->e.steps, "server name", "'%s' is tenant %s's (%s)", sni,
                        match.tenant->id, match.tenant->config->path);
        return match.tenant;
    }
    return NULL;
}

static enum sp_err contradiction(const struct question *q, const struct gw_tenant *found,
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

static enum sp_err find_tenant(struct question *q, struct gw_tenant **ret, struct sp_error *err)
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
        gw_explain_step(&q->e.steps, "tenant", "%s (%s)", given->id, given->config->path);
    if (*ret && !(*ret)->config->enabled)
        gw_explain_more(&q->e.steps, "he is disabled");
    return SP_OK;
}

/* ---- what was sent ---- */

static void describe_sent(struct question *q)
{
    struct sp_tls_shown shown;
    char begin[SP_TIME_LEN], end[SP_TIME_LEN];

    if (!q->chain.count) {
        gw_explain_step(&q->e.steps, "chain sent", "no certificate");
        return;
    }
    gw_explain_step(&q->e.steps, "chain sent", "%zu certificate%s%s", q->certs.count,
                    q->certs.count == 1 ? "" : "s",
                    q->certs.had_key ? " (and a private key, which is passed over)" : "");
    for (size_t i = 0; i < q->chain.count; i++) {
        if (!sp_tls_show(&q->chain.certs[i], &shown)) {
            gw_explain_more(&q->e.steps, "[%zu] cannot be parsed, %s", i + 1, shown.fingerprint);
            continue;
        }
        gw_explain_more(&q->e.steps, "[%zu] '%s', issued by '%s'", i + 1, shown.subject,
                        shown.issuer);
        gw_explain_more(&q->e.steps, "    %s to %s, serial %s, %s, signed with %s",
                        sp_time_format(shown.not_before, begin),
                        sp_time_format(shown.not_after, end), shown.serial, shown.key,
                        shown.signature);
        gw_explain_more(&q->e.steps, "    %s", shown.fingerprint);
    }
    if (q->certs.count > q->chain.count)
        gw_explain_more(&q->e.steps, "and %zu more", q->certs.count - q->chain.count);
}

/* ---- what was found ---- */

/* Which of these files the path's last name is from; NULL: none that is found by its name. */
static const char *anchor_file(const char *name, const char *const *files, size_t count)
{
    struct gw_explain_input file;
    struct sp_tls_certs certs;
    struct sp_tls_shown shown;
    const char *found = NULL;

    for (size_t i = 0; i < count && !found; i++) {
        if (gw_explain_input_read(files[i], CHAIN_FILE_MAX, &file, NULL) != SP_OK)
            continue;
        if (sp_tls_certs_read(file.data, file.len, &certs, NULL) == SP_OK) {
            for (size_t k = 0; k < certs.count && !found; k++)
                if (sp_tls_show(&certs.items[k], &shown) &&
                    !strncmp(shown.subject, name, strlen(name)))
                    found = files[i];
            sp_tls_certs_done(&certs);
        }
        gw_explain_input_done(&file);
    }
    return found;
}

static void describe_path(struct question *q)
{
    const struct gw_tenant *tenant = q->d.tenant;
    const struct sp_facts *f = &q->d.facts;
    const char *last = strrchr(f->path, SP_PATH_STEP[0]), *file;
    char text[4 * SP_PATH_MAX] = "";
    size_t used = 0;

    if (!f->path[0]) {
        gw_explain_step(&q->e.steps, "path", "none was looked for");
        return;
    }
    for (const char *c = f->path; *c; c++)
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 *c == SP_PATH_STEP[0] ? " <- " : "%c", *c);
    gw_explain_step(&q->e.steps, "path", "%s", text);
    if (f->paths_tried > 1)
        gw_explain_more(&q->e.steps, "the best of %u that were tried", f->paths_tried);
    if (!f->path_is_trusted) {
        gw_explain_more(&q->e.steps, "%s",
                        q->d.query.trust ? "no trusted CA is reached"
                                         : "no tenant, so no CA is trusted");
        return;
    }
    if (tenant)
        file = anchor_file(last ? last + 1 : f->path,
                           (const char *const *)tenant->config->client_validation.trusted_cas.items,
                           tenant->config->client_validation.trusted_cas.count);
    else
        file = anchor_file(last ? last + 1 : f->path, q->options->cas, q->options->ca_count);
    gw_explain_more(&q->e.steps, "the last is a trusted CA%s%s", file ? ", from " : "",
                    file ? file : "");
}

static const char *outcome(const struct question *q, sp_reason_set reasons)
{
    return q->d.facts.observed & reasons ? "no" : "yes"; /* nothing was found against it */
}

#define BIT(reason) SP_REASON_BIT(SP_REASON_##reason)

static void describe_times(struct question *q)
{
    const struct sp_facts *f = &q->d.facts;
    char begin[SP_TIME_LEN], end[SP_TIME_LEN], now[SP_TIME_LEN], span[SP_TIME_LEN];

    sp_time_format(q->e.now, now);
    if (!f->not_after) {
        gw_explain_step(&q->e.steps, "times", "judged at %s; nothing to compare it with", now);
        return;
    }
    gw_explain_step(&q->e.steps, "times", "the whole path is valid from %s to %s",
                    sp_time_format(f->not_before, begin), sp_time_format(f->not_after, end));
    if (q->e.now > f->not_after)
        gw_explain_more(&q->e.steps, "at %s: expired, by %s", now,
                        sp_time_span(q->e.now - f->not_after, span));
    if (q->e.now < f->not_before)
        gw_explain_more(&q->e.steps, "at %s: not valid yet, by %s", now,
                        sp_time_span(f->not_before - q->e.now, span));
    if (q->e.now >= f->not_before && q->e.now <= f->not_after)
        gw_explain_more(&q->e.steps, "at %s: yes, for another %s", now,
                        sp_time_span(f->not_after - q->e.now, span));
}

/* What a verdict rests on besides: a reason that is not the weightiest is found here with its
 * cause. */
static void describe_checks(struct question *q)
{
    struct sp_tls_shown leaf;
    bool client = q->d.query.purpose == SP_PURPOSE_CLIENT;
    const char *wanted = client ? "clientAuth" : "serverAuth";
    struct gw_explain_steps *steps = &q->e.steps;

    if (!q->chain.count || !sp_tls_show(&q->chain.certs[0], &leaf))
        return;
    gw_explain_step(steps, "purpose", "%s: extended key usage is %s, %s is wanted%s",
                    outcome(q, BIT(WRONG_PURPOSE)), leaf.usage[0] ? leaf.usage : "absent", wanted,
                    q->d.query.require_eku ? "" : " where there is one");
    gw_explain_step(steps, "keys, signatures", "strong: %s; as they should be: %s",
                    outcome(q, BIT(WEAK_ALGORITHM)), outcome(q, BIT(BAD_SIGNATURE)));
    gw_explain_step(steps, "constraints", "kept: %s", outcome(q, BIT(CONSTRAINT_VIOLATION)));
    if (q->d.query.name)
        gw_explain_step(steps, "name", "%s: '%s' is wanted, it has: %s",
                        outcome(q, BIT(NAME_MISMATCH)), q->d.query.name,
                        leaf.names[0] ? leaf.names : "none");
    else if (q->d.tenant && q->d.tenant->config->client_validation.match.is_set)
        gw_explain_step(steps, "name", "%s: client_validation.match%s%s",
                        outcome(q, BIT(NAME_MISMATCH)), leaf.names[0] ? "; its host names: " : "",
                        leaf.names);
}

static void describe_lists(struct question *q)
{
    const struct sp_tls_crl_set *set = q->d.query.crls;
    const struct sp_revocation *r = &q->d.facts.crl;
    char begin[SP_TIME_LEN], end[SP_TIME_LEN], remark[600];

    if (!set) {
        gw_explain_step(&q->e.steps, "revocation list", "none is configured");
        return;
    }
    if (r->from[0])
        gw_explain_step(&q->e.steps, "revocation list", "%s, of %s, next due %s: %s", r->from,
                        sp_time_format(r->this_update, begin), sp_time_format(r->next_update, end),
                        q->d.facts.observed & BIT(REVOKED)     ? "revoked"
                        : q->d.facts.observed & BIT(CRL_STALE) ? "stale"
                                                               : "not listed");
    else
        gw_explain_step(&q->e.steps, "revocation list", "%s",
                        q->d.facts.observed & BIT(CRL_STALE)
                            ? "one that is configured was not there"
                            : "none is about a certificate of this path");
    for (size_t i = 0; sp_tls_crl_set_name(set, i); i++)
        if (sp_tls_crl_set_remark(set, i, q->e.now, remark, sizeof remark))
            gw_explain_more(&q->e.steps, "%s", remark);
}

/* ---- OCSP ---- */

/* As for an answer that was asked for, but for the nonce. */
static void judge_response(struct question *q, int64_t max_age_s, struct sp_status *ret)
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
    struct sp_ocsp_answer answer;

    if (!issuer) {
        sp_status_unknown(ret, NULL, INT64_MAX, "its issuer is not one that can be believed");
        return;
    }
    sp_ocsp_examine(&response, &query, &answer);
    if (answer.status != SP_OCSP_GOOD && answer.status != SP_OCSP_REVOKED) {
        sp_status_unknown(ret, file, INT64_MAX, "%.200s: %.300s", file, answer.detail);
        return;
    }
    *ret = (struct sp_status){.answer = answer, .holds_until = answer.expires};
    snprintf(ret->from, sizeof ret->from, "%.250s", file);
}

/* What the gateway has in its memory after a start is what its cache file had. */
static void look_into_cache(struct question *q, struct sp_status *ret)
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

static void describe_status(struct question *q, const struct sp_status *status, const char *mode)
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

static void decide_status(struct question *q)
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

static enum sp_err read_inputs(struct question *q, struct sp_error *err)
{
    const struct gw_explain_options *o = q->options;
    struct gw_explain_input file = {.data = NULL};
    enum sp_err rc = SP_OK;

    if (o->ocsp_response && o->chain && !strcmp(o->ocsp_response, "-") && !strcmp(o->chain, "-"))
        return sp_error_set(err, SP_ERR_CONFIG,
                            "--chain and --ocsp-response cannot both be standard input");
    if (strcmp(o->chain, "none") != 0) {
        rc = gw_explain_input_read(o->chain, CHAIN_FILE_MAX, &file, err);
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

static void take_decision(struct question *q)
{
    const struct gw_tenant *tenant = q->d.tenant;

    q->e.facts = &q->d.facts;
    q->e.verdict = &q->d.verdict;
    q->e.shadow = &q->d.shadow;
    q->e.holds_until = q->d.holds_until;
    q->e.tenant = tenant ? tenant->id : NULL;
    q->e.sni = q->name[0] ? q->name : NULL;
    if (tenant)
        q->e.policy = tenant->policy;
}

static enum sp_err explain_tenant(struct question *q, struct sp_error *err)
{
    struct gw_tenant *tenant = NULL;
    enum sp_err rc = gw_explain_load(q->options->config, &q->state, err);

    if (rc == SP_OK)
        rc = find_tenant(q, &tenant, err);
    if (rc != SP_OK)
        return rc;
    describe_sent(q);
    if (q->is_decided)
        return SP_OK;
    gw_decision_examine(&q->d, tenant, &q->finding, &q->chain, q->e.now, NULL);
    describe_path(q);
    describe_times(q);
    describe_checks(q);
    describe_lists(q);
    decide_status(q);
    gw_decision_conclude(&q->d);
    return SP_OK;
}

static enum sp_err load_any(struct question *q, struct sp_error *err)
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

static enum sp_err check_name(struct question *q, struct sp_error *err)
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
static enum sp_err explain_any(struct question *q, struct sp_error *err)
{
    static const struct sp_policy policy = {.on_failure = SP_DECIDE_BLOCK,
                                            .source = "explain without a tenant"};
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
    describe_sent(q);
    describe_path(q);
    describe_times(q);
    describe_checks(q);
    describe_lists(q);
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
    struct question *q = sp_calloc(1, sizeof *q);
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
