/* What an OCSP answer means for a decision. */
#include "common/revocation.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNKNOWN SP_REASON_BIT(SP_REASON_REVOCATION_UNKNOWN)
#define REVOKED SP_REASON_BIT(SP_REASON_REVOKED)

static const struct {
    enum sp_ocsp_mode mode;
    enum sp_ocsp_status status;
    sp_reason_set observed, noted;
} rows[] = {
    {SP_OCSP_OFF, SP_OCSP_GOOD, 0, 0},           {SP_OCSP_OFF, SP_OCSP_REVOKED, 0, 0},
    {SP_OCSP_OFF, SP_OCSP_UNKNOWN, 0, 0},        {SP_OCSP_OFF, SP_OCSP_INVALID, 0, 0},
    {SP_OCSP_SOFT, SP_OCSP_GOOD, 0, 0},          {SP_OCSP_SOFT, SP_OCSP_REVOKED, REVOKED, 0},
    {SP_OCSP_SOFT, SP_OCSP_UNKNOWN, 0, UNKNOWN}, {SP_OCSP_SOFT, SP_OCSP_INVALID, 0, UNKNOWN},
    {SP_OCSP_HARD, SP_OCSP_GOOD, 0, 0},          {SP_OCSP_HARD, SP_OCSP_REVOKED, REVOKED, 0},
    {SP_OCSP_HARD, SP_OCSP_UNKNOWN, UNKNOWN, 0}, {SP_OCSP_HARD, SP_OCSP_INVALID, UNKNOWN, 0},
};

static struct sp_status status_of(enum sp_ocsp_status said)
{
    struct sp_status status = {.answer = {.status = said,
                                          .this_update = 1000,
                                          .next_update = 3000,
                                          .revoked_at = 900,
                                          .cause = said == SP_OCSP_REVOKED ? "keyCompromise" : "",
                                          .responder = "CN=Responder",
                                          .hash = "sha256:00"},
                               .from = "http://r/",
                               .holds_until = 2000};

    if (said != SP_OCSP_GOOD && said != SP_OCSP_REVOKED)
        snprintf(status.answer.detail, sizeof status.answer.detail, "nobody answered");
    return status;
}

START_TEST(a_status_is_observed_or_noted_by_the_mode)
{
    const struct sp_status status = status_of(rows[_i].status);
    struct sp_facts facts = {.holds_until = 5000, .steady = true};
    bool is_off = rows[_i].mode == SP_OCSP_OFF;

    sp_status_apply(&status, rows[_i].mode, &facts);
    ck_assert_uint_eq(facts.observed, rows[_i].observed);
    ck_assert_uint_eq(facts.noted, rows[_i].noted);
    ck_assert_int_eq(facts.steady, is_off);
    ck_assert_int_eq(facts.holds_until, is_off ? 5000 : 2000);
    ck_assert_str_eq(facts.ocsp.from, is_off ? "" : "http://r/");
    if (is_off)
        return;
    ck_assert_str_eq(facts.ocsp.signer, "CN=Responder");
    ck_assert_str_eq(facts.ocsp.response_hash, "sha256:00");
    ck_assert_int_eq(facts.ocsp.this_update, 1000);
    ck_assert_int_eq(facts.ocsp.next_update, 3000);
    ck_assert_str_eq(facts.detail,
                     rows[_i].status == SP_OCSP_GOOD ? ""
                     : rows[_i].status == SP_OCSP_REVOKED
                         ? "revoked on 1970-01-01T00:15:00Z: keyCompromise, says the OCSP response "
                           "of http://r/"
                         : "whether it is revoked is not known: nobody answered");
}
END_TEST

START_TEST(a_staple_is_named_with_who_signed_it)
{
    struct sp_status status = status_of(SP_OCSP_REVOKED);
    struct sp_facts facts = {.holds_until = 5000};

    status.stapled = true;
    status.answer.cause = "";
    strcpy(status.from, "staple");
    sp_status_apply(&status, SP_OCSP_HARD, &facts);
    ck_assert(facts.ocsp.stapled);
    ck_assert_str_eq(facts.detail,
                     "revoked on 1970-01-01T00:15:00Z, says the stapled OCSP response "
                     "of CN=Responder");
}
END_TEST

START_TEST(an_answer_never_makes_a_decision_hold_longer)
{
    struct sp_status status = status_of(SP_OCSP_GOOD);
    struct sp_facts facts = {.holds_until = 1500};

    sp_status_apply(&status, SP_OCSP_HARD, &facts);
    ck_assert_int_eq(facts.holds_until, 1500);
}
END_TEST

START_TEST(what_weighs_more_keeps_its_detail)
{
    const struct sp_status status = status_of(SP_OCSP_INVALID);

    for (int mode = SP_OCSP_SOFT; mode <= SP_OCSP_HARD; mode++) {
        struct sp_facts facts = {.holds_until = 5000};

        sp_facts_add(&facts, SP_REASON_EXPIRED, "expired");
        sp_status_apply(&status, (enum sp_ocsp_mode)mode, &facts);
        ck_assert_str_eq(facts.detail, "expired");
    }
}
END_TEST

START_TEST(nothing_known_is_never_good_and_says_why)
{
    char from[2000];
    struct sp_status status;
    struct sp_facts facts = {.holds_until = 5000};

    memset(from, 'x', sizeof from - 1);
    from[sizeof from - 1] = '\0';
    sp_status_unknown(&status, from, 77, "%s", from);
    ck_assert_int_eq(status.answer.status, SP_OCSP_INVALID);
    ck_assert_int_eq(status.holds_until, 77);
    ck_assert_uint_eq(strlen(status.from), sizeof status.from - 1);
    ck_assert_uint_eq(strlen(status.answer.detail), sizeof status.answer.detail - 1);
    sp_status_unknown(&status, NULL, 78, "no %s", "responder");
    sp_status_apply(&status, SP_OCSP_HARD, &facts);
    ck_assert_str_eq(facts.ocsp.from, "none");
    ck_assert_str_eq(facts.detail, "whether it is revoked is not known: no responder");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("revocation");
    TCase *tcase = tcase_create("revocation");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(tcase, a_status_is_observed_or_noted_by_the_mode, 0,
                        sizeof rows / sizeof rows[0]);
    tcase_add_test(tcase, a_staple_is_named_with_who_signed_it);
    tcase_add_test(tcase, an_answer_never_makes_a_decision_hold_longer);
    tcase_add_test(tcase, what_weighs_more_keeps_its_detail);
    tcase_add_test(tcase, nothing_known_is_never_good_and_says_why);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
