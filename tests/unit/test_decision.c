/* A decision with OCSP in it: when a status is wanted, what it makes of the verdict, how long that
 * holds. */
#include "gateway/decision.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/ocsp_world.h"

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
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
