#include "gateway/explain_question.h"

#include "common/clock.h"
#include "common/tls_crl.h"

#include <stdio.h>
#include <string.h>

/* ---- what was sent ---- */

void gw_question_describe_sent(struct gw_question *q)
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
        if (gw_explain_input_read(files[i], GW_CHAIN_FILE_MAX, &file, NULL) != SP_OK)
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

void gw_question_describe_path(struct gw_question *q)
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

static const char *outcome(const struct gw_question *q, sp_reason_set reasons)
{
    return q->d.facts.observed & reasons ? "no" : "yes"; /* nothing was found against it */
}

#define BIT(reason) SP_REASON_BIT(SP_REASON_##reason)

void gw_question_describe_times(struct gw_question *q)
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
void gw_question_describe_checks(struct gw_question *q)
{
    struct sp_tls_shown leaf;
    bool client = q->d.query.purpose == SP_PURPOSE_CLIENT;
    const char *wanted = client ? "clientAuth" : "serverAuth";
    struct gw_explain_steps *steps = &q->e.steps;

    /* Without a path nothing of this was looked at. */
    if (!q->d.facts.path[0] || !sp_tls_show(&q->chain.certs[0], &leaf))
        return;
    gw_explain_step(steps, "purpose", "%s: extended key usage is %s, %s is wanted%s",
                    outcome(q, BIT(WRONG_PURPOSE)), leaf.usage[0] ? leaf.usage : "absent", wanted,
                    q->d.query.require_eku ? "" : " where there is one");
    gw_explain_step(steps, "keys, signatures", "strong enough: %s; nothing forged or damaged: %s",
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

void gw_question_describe_lists(struct gw_question *q)
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
