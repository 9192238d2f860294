/* A decision with OCSP in it: when a status is wanted, what it makes of the verdict, how long that
 * holds. */
#include "gateway/decision.h"

#include "common/log.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/ocsp_world.h"
#include "tests/support/scratch.h"

#define UNKNOWN SP_REASON_BIT(SP_REASON_REVOCATION_UNKNOWN)
#define REVOKED SP_REASON_BIT(SP_REASON_REVOKED)

static struct sp_policy *policy;

static void setup(void)
{
    ocsp_world_enter();
    policy = &ocsp_world.config.client_validation.policy;
}

static void examine(struct gw_decision *d, const struct certs_pair *leaf, struct sp_chain *chain)
{
    *chain = (struct sp_chain){.count = 0};
    if (leaf)
        chain->certs[chain->count++] = ocsp_der(leaf);
    gw_decision_examine(d, ocsp_world.tenant, NULL, chain, ocsp_world.now, NULL);
}

enum change { NOTHING, MODE_OFF, MODE_SOFT, NO_CERT, DISABLED, STRANGER, STRANGER_ALLOWED };

static const struct {
    enum change change;
    bool wants;
} wishes[] = {{NOTHING, true},   {MODE_OFF, false}, {MODE_SOFT, true},       {NO_CERT, false},
              {DISABLED, false}, {STRANGER, false}, {STRANGER_ALLOWED, true}};

START_TEST(a_status_is_wanted_of_a_leaf_that_is_not_refused_already)
{
    enum change change = wishes[_i].change;
    struct gw_ocsp_settings *ocsp = &ocsp_world.config.client_validation.ocsp;
    const struct certs_spec spec = {.dn = "CN=x", .path_len = -1, .eku = CERTS_EKU_CLIENT};
    struct certs_pair *stranger = NULL;
    struct gw_decision d;
    struct sp_chain chain;

    ck_assert_int_eq(certs_mint(&spec, ocsp_world.other_ca, &stranger, NULL), SP_OK);
    if (change == MODE_OFF || change == MODE_SOFT)
        ocsp->mode = change == MODE_OFF ? SP_OCSP_OFF : SP_OCSP_SOFT;
    if (change == DISABLED)
        ocsp_world.config.enabled = false;
    if (change == STRANGER_ALLOWED)
        policy->on_failure = SP_DECIDE_ALLOW;
    examine(&d,
            change == NO_CERT                                  ? NULL
            : change == STRANGER || change == STRANGER_ALLOWED ? stranger
                                                               : ocsp_world.leaf,
            &chain);
    ck_assert_int_eq(gw_decision_wants_status(&d), wishes[_i].wants);
    certs_pair_free(stranger);
}
END_TEST

START_TEST(without_a_tenant_nobody_is_asked)
{
    struct gw_decision d;
    struct sp_chain chain = {.certs = {ocsp_der(ocsp_world.leaf)}, .count = 1};

    gw_decision_examine(&d, NULL, NULL, &chain, ocsp_world.now, NULL);
    ck_assert(!gw_decision_wants_status(&d));
}
END_TEST

#define OF(status_, mode_, on_, observed_, noted_, action_, rule_)                                 \
    {                                                                                              \
        SP_OCSP_##status_, SP_OCSP_##mode_, SP_DECIDE_##on_, observed_, noted_,                    \
            SP_ACTION_##action_, rule_                                                             \
    }
static const struct {
    enum sp_ocsp_status status;
    enum sp_ocsp_mode mode;
    enum sp_decision on;
    sp_reason_set observed, noted;
    enum sp_action action;
    const char *rule;
} rows[] = {
    OF(GOOD, HARD, UNSET, 0, 0, ALLOW, NULL),
    OF(GOOD, SOFT, UNSET, 0, 0, ALLOW, NULL),
    OF(REVOKED, HARD, UNSET, REVOKED, 0, BLOCK, "built-in: "),
    OF(REVOKED, HARD, ALLOW, REVOKED, 0, BLOCK, "built-in: "),
    OF(REVOKED, SOFT, UNSET, REVOKED, 0, BLOCK, "built-in: "),
    OF(REVOKED, SOFT, ALLOW, REVOKED, 0, BLOCK, "built-in: "),
    OF(UNKNOWN, HARD, UNSET, UNKNOWN, 0, BLOCK, "f: $.client_validation.on_failure"),
    OF(UNKNOWN, HARD, ALLOW, UNKNOWN, 0, ALLOW_UNVALIDATED,
       "f: $.client_validation.on.revocation_unknown"),
    OF(UNKNOWN, HARD, BLOCK, UNKNOWN, 0, BLOCK, "f: $.client_validation.on.revocation_unknown"),
    OF(UNKNOWN, SOFT, UNSET, 0, UNKNOWN, ALLOW, "f: $.client_validation.ocsp.mode"),
    OF(UNKNOWN, SOFT, BLOCK, 0, UNKNOWN, ALLOW, "f: $.client_validation.ocsp.mode"),
    OF(INVALID, HARD, UNSET, UNKNOWN, 0, BLOCK, "f: $.client_validation.on_failure"),
    OF(INVALID, HARD, ALLOW, UNKNOWN, 0, ALLOW_UNVALIDATED,
       "f: $.client_validation.on.revocation_unknown"),
    OF(INVALID, SOFT, UNSET, 0, UNKNOWN, ALLOW, "f: $.client_validation.ocsp.mode"),
};

START_TEST(soft_and_hard_decide_each_answer_as_they_say)
{
    const struct sp_status status = {.answer = {.status = rows[_i].status, .cause = ""},
                                     .from = "http://r/",
                                     .holds_until = ocsp_world.now + 100};
    struct gw_decision d;
    struct sp_chain chain;

    ocsp_world.config.client_validation.ocsp.mode = rows[_i].mode;
    policy->on[SP_REASON_REVOCATION_UNKNOWN] = rows[_i].on;
    examine(&d, ocsp_world.leaf, &chain);
    gw_decision_add_status(&d, &status);
    gw_decision_conclude(&d);
    ck_assert_uint_eq(d.verdict.observed, rows[_i].observed);
    ck_assert_uint_eq(d.verdict.noted, rows[_i].noted);
    ck_assert_int_eq(d.verdict.action, rows[_i].action);
    ck_assert_int_eq(d.holds_until, ocsp_world.now + 100);
    if (rows[_i].rule)
        ck_assert_msg(strstr(d.verdict.rule, rows[_i].rule) == d.verdict.rule, "%s",
                      d.verdict.rule);
    else
        ck_assert_str_eq(d.verdict.rule, "");
}
END_TEST

START_TEST(on_failure_allow_covers_an_unknown_one_and_never_a_revoked_one)
{
    for (int said = SP_OCSP_INVALID; said <= SP_OCSP_REVOKED; said++) {
        const struct sp_status status = {
            .answer = {.status = (enum sp_ocsp_status)said, .cause = ""}, .holds_until = INT64_MAX};
        struct gw_decision d;
        struct sp_chain chain;

        policy->on_failure = SP_DECIDE_ALLOW;
        examine(&d, ocsp_world.leaf, &chain);
        gw_decision_add_status(&d, &status);
        gw_decision_conclude(&d);
        ck_assert_int_eq(d.verdict.action, said == SP_OCSP_GOOD      ? SP_ACTION_ALLOW
                                           : said == SP_OCSP_REVOKED ? SP_ACTION_BLOCK
                                                                     : SP_ACTION_ALLOW_UNVALIDATED);
    }
}
END_TEST

/* The answer, the certificate, an exception: whichever ends first. */
START_TEST(a_decision_holds_until_the_first_of_what_it_rests_on_ends)
{
    struct gw_decision d;
    struct sp_exception exception = {.reason = SP_REASON_REVOCATION_UNKNOWN};
    struct sp_status status = {.answer = {.status = SP_OCSP_INVALID, .cause = ""}};
    char fingerprint[sizeof d.facts.fingerprint];
    struct sp_chain chain;
    int64_t not_after;

    examine(&d, ocsp_world.leaf, &chain);
    not_after = d.facts.not_after;
    status.holds_until = INT64_MAX;
    status.answer.status = SP_OCSP_GOOD;
    gw_decision_add_status(&d, &status);
    gw_decision_conclude(&d);
    ck_assert_int_eq(d.holds_until, not_after + 1);

    exception.fingerprint = fingerprint;
    memcpy(fingerprint, d.facts.fingerprint, sizeof fingerprint);
    exception.until = ocsp_world.now + 50;
    policy->exceptions = (struct sp_json_array){.items = &exception, .count = 1};
    for (int64_t later = -10; later <= 10; later += 20) {
        examine(&d, ocsp_world.leaf, &chain);
        status.answer.status = SP_OCSP_INVALID;
        status.holds_until = exception.until + later;
        gw_decision_add_status(&d, &status);
        gw_decision_conclude(&d);
        ck_assert_int_eq(d.verdict.action, SP_ACTION_ALLOW_UNVALIDATED);
        ck_assert_int_eq(d.holds_until, exception.until + (later < 0 ? later : 0));
    }
}
END_TEST

/* ---- whose it is, and who may be his ---- */

#define BIT(reason) SP_REASON_BIT(SP_REASON_##reason)

START_TEST(who_has_no_tenant_or_too_many_is_told_apart_and_by_what_was_found)
{
    static const struct {
        struct gw_finding finding;
        sp_reason_set wanted;
    } rows_[] = {
        {{.kind = GW_FOUND_NONE, .detail = "nobody's"}, BIT(TENANT_UNKNOWN)},
        {{.kind = GW_FOUND_SEVERAL, .detail = "acme's and globex's"}, BIT(TENANT_AMBIGUOUS)},
    };
    struct sp_chain chain = {.certs = {ocsp_der(ocsp_world.leaf)}, .count = 1};
    sp_reason_set both = BIT(TENANT_UNKNOWN) | BIT(TENANT_AMBIGUOUS) | BIT(TENANT_DISABLED);
    struct gw_decision d;

    for (size_t i = 0; i < sizeof rows_ / sizeof rows_[0]; i++) {
        gw_decision_examine(&d, NULL, &rows_[i].finding, &chain, ocsp_world.now, NULL);
        ck_assert_uint_eq(d.facts.observed & both, rows_[i].wanted);
        ck_assert_ptr_nonnull(strstr(d.facts.detail, rows_[i].finding.detail));
    }
    gw_decision_examine(&d, NULL, NULL, &chain, ocsp_world.now, NULL);
    ck_assert_uint_eq(d.facts.observed & both, BIT(TENANT_UNKNOWN));
    gw_decision_examine(&d, ocsp_world.tenant, &rows_[1].finding, &chain, ocsp_world.now, NULL);
    ck_assert_uint_eq(d.facts.observed, 0);
    ocsp_world.config.enabled = false;
    gw_decision_examine(&d, ocsp_world.tenant, NULL, &chain, ocsp_world.now, NULL);
    ck_assert_uint_eq(d.facts.observed, BIT(TENANT_DISABLED));
}
END_TEST

enum shown { NONE, LEAF, GARBAGE };

static const struct {
    const char *subject; /* NULL: everybody fits */
    enum shown shown;
    sp_reason_set wanted;
    const char *detail;
} matches[] = {
    {NULL, LEAF, 0, ""},
    {"CN=le*", LEAF, 0, ""},
    {"CN=other", LEAF, BIT(NAME_MISMATCH),
     "the subject does not fit client_validation.match.subject"},
    {"CN=other", NONE, BIT(NO_CERTIFICATE), NULL}, /* whoever shows none has no wrong name */
    {NULL, GARBAGE, BIT(BAD_SIGNATURE), NULL},
    {"*", GARBAGE, BIT(BAD_SIGNATURE) | BIT(NAME_MISMATCH), NULL},
};

START_TEST(a_clients_names_must_fit_what_his_tenant_says)
{
    struct gw_cert_match *match = &ocsp_world.config.client_validation.match;
    char subject[16], *items[] = {subject};
    struct gw_decision d;
    struct sp_chain chain;

    match->is_set = matches[_i].subject != NULL;
    snprintf(subject, sizeof subject, "%s", match->is_set ? matches[_i].subject : "");
    match->patterns[SP_TLS_NAME_SUBJECT] =
        (struct sp_json_strings){.items = items, .count = match->is_set ? 1 : 0};
    if (matches[_i].shown == GARBAGE) {
        chain = (struct sp_chain){.certs = {{(const uint8_t *)"garbage", 7}}, .count = 1};
        gw_decision_examine(&d, ocsp_world.tenant, NULL, &chain, ocsp_world.now, NULL);
    } else {
        examine(&d, matches[_i].shown == LEAF ? ocsp_world.leaf : NULL, &chain);
    }
    ck_assert_uint_eq(d.facts.observed, matches[_i].wanted);
    if (matches[_i].detail)
        ck_assert_str_eq(d.facts.detail, matches[_i].detail);
    *match = (struct gw_cert_match){.is_set = false};
}
END_TEST

START_TEST(a_certificate_without_a_purpose_passes_only_where_none_is_required)
{
    const struct certs_spec spec = {.dn = "CN=x", .path_len = -1, .eku = CERTS_EKU_NONE};
    struct certs_pair *leaf = NULL;
    struct gw_decision d;
    struct sp_chain chain;

    ck_assert_int_eq(certs_mint(&spec, ocsp_world.ca, &leaf, NULL), SP_OK);
    for (int required = 0; required < 2; required++) {
        ocsp_world.config.client_validation.require_eku = required;
        examine(&d, leaf, &chain);
        ck_assert_uint_eq(d.facts.observed, required ? BIT(WRONG_PURPOSE) : 0);
    }
    certs_pair_free(leaf);
}
END_TEST

/* ---- what is logged ---- */

static void log_decision(struct scratch *s, const struct gw_decision *d)
{
    struct sp_log *log;
    struct sp_log_line line;
    char path[300];

    snprintf(path, sizeof path, "%s/log", s->path);
    ck_assert_int_eq(sp_log_open(path, SP_LOG_JSON, SP_LOG_DEBUG, &log, NULL), SP_OK);
    ck_assert(sp_log_begin(&line, log, SP_LOG_INFO, "tunnel"));
    gw_decision_log(&line, d);
    sp_log_end(&line);
    sp_log_close(log);
    scratch_run(s, "cat log; rm log");
}

START_TEST(a_line_has_the_alert_that_was_sent_and_none_where_none_was)
{
    struct scratch *s = scratch_new();
    struct gw_decision d;
    struct sp_chain chain;

    examine(&d, NULL, &chain);
    gw_decision_conclude(&d);
    log_decision(s, &d);
    ck_assert_ptr_nonnull(strstr(s->output, "\"action\":\"block\""));
    ck_assert_ptr_nonnull(strstr(s->output, "\"alert\":\"certificate_required\""));
    policy->on_failure = SP_DECIDE_ALLOW; /* what is wrong has an alert, but it is not sent */
    examine(&d, NULL, &chain);
    gw_decision_conclude(&d);
    log_decision(s, &d);
    ck_assert_ptr_nonnull(strstr(s->output, "\"action\":\"allow-unvalidated\""));
    ck_assert_ptr_null(strstr(s->output, "\"alert\""));
    gw_decision_without_chain(&d, SP_REASON_NOT_TLS, "no TLS", ocsp_world.now);
    log_decision(s, &d);
    ck_assert_ptr_nonnull(strstr(s->output, "\"action\":\"block\""));
    ck_assert_ptr_null(strstr(s->output, "\"alert\""));
    scratch_free(s);
}
END_TEST

START_TEST(a_line_tells_of_a_shadow_that_would_decide_otherwise)
{
    struct scratch *s = scratch_new();
    struct gw_decision d;
    struct sp_chain chain;

    examine(&d, ocsp_world.leaf, &chain);
    gw_decision_conclude(&d);
    log_decision(s, &d);
    ck_assert_ptr_null(strstr(s->output, "shadow"));
    d.shadow = (struct gw_shadow_verdict){
        .differs = true,
        .verdict = {.action = SP_ACTION_BLOCK, .reason = SP_REASON_EXPIRED, .rule = "some rule"}};
    log_decision(s, &d);
    ck_assert_ptr_nonnull(strstr(s->output, "\"shadow\":\"would_block\",\"shadow_reason\":"
                                            "\"expired\",\"shadow_rule\":\"some rule\""));
    d.shadow.verdict = (struct sp_verdict){.action = SP_ACTION_ALLOW, .reason = SP_REASON_COUNT};
    log_decision(s, &d);
    ck_assert_ptr_nonnull(strstr(s->output, "\"shadow\":\"would_allow\""));
    ck_assert_ptr_null(strstr(s->output, "shadow_reason"));
    d.shadow.differs = false;
    log_decision(s, &d);
    ck_assert_ptr_null(strstr(s->output, "shadow"));
    scratch_free(s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("decision");
    TCase *tcase = tcase_create("decision");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, ocsp_world_leave);
    tcase_add_loop_test(tcase, a_status_is_wanted_of_a_leaf_that_is_not_refused_already, 0,
                        sizeof wishes / sizeof wishes[0]);
    tcase_add_test(tcase, without_a_tenant_nobody_is_asked);
    tcase_add_loop_test(tcase, soft_and_hard_decide_each_answer_as_they_say, 0,
                        sizeof rows / sizeof rows[0]);
    tcase_add_test(tcase, on_failure_allow_covers_an_unknown_one_and_never_a_revoked_one);
    tcase_add_test(tcase, a_decision_holds_until_the_first_of_what_it_rests_on_ends);
    tcase_add_test(tcase, who_has_no_tenant_or_too_many_is_told_apart_and_by_what_was_found);
    tcase_add_loop_test(tcase, a_clients_names_must_fit_what_his_tenant_says, 0,
                        sizeof matches / sizeof matches[0]);
    tcase_add_test(tcase, a_certificate_without_a_purpose_passes_only_where_none_is_required);
    tcase_add_test(tcase, a_line_has_the_alert_that_was_sent_and_none_where_none_was);
    tcase_add_test(tcase, a_line_tells_of_a_shadow_that_would_decide_otherwise);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
