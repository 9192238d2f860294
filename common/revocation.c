#include "common/revocation.h"

#include "common/clock.h"
#include "common/tls_crl.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *const sp_ocsp_mode_names[] = {
    [SP_OCSP_OFF] = "off", [SP_OCSP_SOFT] = "soft", [SP_OCSP_HARD] = "hard", NULL};

void sp_status_unknown(struct sp_status *ret_status, const char *from, int64_t holds_until,
                       const char *fmt, ...)
{
    va_list args;

    *ret_status = (struct sp_status){.answer = {.status = SP_OCSP_INVALID, .cause = ""},
                                     .holds_until = holds_until};
    snprintf(ret_status->from, sizeof ret_status->from, "%s", from ? from : "");
    va_start(args, fmt);
    vsnprintf(ret_status->answer.detail, sizeof ret_status->answer.detail, fmt, args);
    va_end(args);
}

bool sp_status_disown(struct sp_status *status, const struct sp_tls_crl_set *crls,
                      const char *issuer, int64_t now)
{
    struct sp_ocsp_answer *answer = &status->answer;
    struct sp_tls_crl_answer list;
    char when[SP_TIME_LEN];

    if (answer->status != SP_OCSP_GOOD)
        return false;
    sp_tls_crl_set_ask_named(crls, issuer, answer->delegate, now, &list);
    if (!list.is_revoked)
        return false;
    answer->status = SP_OCSP_INVALID;
    snprintf(answer->detail, sizeof answer->detail,
             "the certificate of its signer '%.200s' was revoked on %s%s%s, says %.100s",
             answer->responder, sp_time_format(list.revoked_at, when), list.cause[0] ? ": " : "",
             list.cause, list.path);
    return true;
}

static void take_evidence(const struct sp_status *status, struct sp_revocation *ret)
{
    const struct sp_ocsp_answer *answer = &status->answer;

    *ret = (struct sp_revocation){
        .this_update = answer->this_update,
        .next_update = answer->next_update,
        .stapled = status->stapled,
    };
    snprintf(ret->from, sizeof ret->from, "%s", status->from[0] ? status->from : "none");
    snprintf(ret->signer, sizeof ret->signer, "%.250s", answer->responder);
    snprintf(ret->response_hash, sizeof ret->response_hash, "%s", answer->hash);
}

static void observe_revoked(const struct sp_status *status, struct sp_facts *facts)
{
    const struct sp_ocsp_answer *answer = &status->answer;
    char when[SP_TIME_LEN];

    sp_facts_add(facts, SP_REASON_REVOKED, "revoked on %s%s%s, says the %sOCSP response of %s",
                 sp_time_format(answer->revoked_at, when), answer->cause[0] ? ": " : "",
                 answer->cause, status->stapled ? "stapled " : "",
                 status->stapled ? answer->responder : status->from);
}

void sp_status_apply(const struct sp_status *status, enum sp_ocsp_mode mode, struct sp_facts *facts)
{
    const struct sp_ocsp_answer *answer = &status->answer;
    bool is_soft = mode == SP_OCSP_SOFT;

    if (mode == SP_OCSP_OFF)
        return;
    take_evidence(status, &facts->ocsp);
    if (status->holds_until < facts->holds_until)
        facts->holds_until = status->holds_until;
    facts->steady = false;
    if (answer->status == SP_OCSP_GOOD)
        return;
    if (answer->status == SP_OCSP_REVOKED) {
        observe_revoked(status, facts);
        return;
    }
    if (is_soft)
        facts->noted |= SP_REASON_BIT(SP_REASON_REVOCATION_UNKNOWN);
    sp_facts_add(facts, is_soft ? SP_REASON_COUNT : SP_REASON_REVOCATION_UNKNOWN,
                 "whether it is revoked is not known: %s", answer->detail);
}
