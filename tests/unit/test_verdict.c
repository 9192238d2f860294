#include "common/verdict.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The decision table, written out by hand from the design, not from the code: name, alert, and
 * whether `on_failure: allow` may cover it. */
static const struct {
    enum sp_reason reason;
    const char *name;
    int alert;
    bool blanket;
} table[] = {
    {SP_REASON_NOT_TLS, "not_tls", -1, false},
    {SP_REASON_UNKNOWN_SERVER_NAME, "unknown_server_name", 112, false},
    {SP_REASON_TENANT_DISABLED, "tenant_disabled", 49, false},
    {SP_REASON_TENANT_UNKNOWN, "tenant_unknown", 49, false},
    {SP_REASON_TENANT_AMBIGUOUS, "tenant_ambiguous", 49, false},
    {SP_REASON_NO_CERTIFICATE, "no_certificate", 116, true},
    {SP_REASON_CHAIN_TOO_LARGE, "chain_too_large", 42, true},
    {SP_REASON_REVOKED, "revoked", 44, false},
    {SP_REASON_BAD_SIGNATURE, "bad_signature", 42, true},
    {SP_REASON_UNTRUSTED_ISSUER, "untrusted_issuer", 48, true},
    {SP_REASON_MISSING_INTERMEDIATE, "missing_intermediate", 48, true},
    {SP_REASON_CONSTRAINT_VIOLATION, "constraint_violation", 42, true},
    {SP_REASON_WEAK_ALGORITHM, "weak_algorithm", 42, true},
    {SP_REASON_EXPIRED, "expired", 45, true},
    {SP_REASON_NOT_YET_VALID, "not_yet_valid", 45, true},
    {SP_REASON_WRONG_PURPOSE, "wrong_purpose", 43, true},
    {SP_REASON_NAME_MISMATCH, "name_mismatch", 42, true},
    {SP_REASON_CRL_STALE, "crl_stale", 46, true},
    {SP_REASON_REVOCATION_UNKNOWN, "revocation_unknown", 46, true},
};
#define ROWS (sizeof table / sizeof table[0])

#define NOW         INT64_C(1800000000)
#define FINGERPRINT "sha256:0011"

static struct sp_facts facts_with(sp_reason_set observed)
{
    struct sp_facts facts = {
        .observed = observed, .has_certificate = true, .fingerprint = FINGERPRINT};

    return facts;
}

START_TEST(reasons_have_their_name_alert_and_cover)
{
    ck_assert_uint_eq(ROWS, SP_REASON_COUNT);
    ck_assert_uint_eq(table[_i].reason, (unsigned)_i);
    ck_assert_str_eq(sp_reason_name(table[_i].reason), table[_i].name);
    ck_assert_str_eq(sp_reason_names[_i], table[_i].name);
    ck_assert_int_eq(sp_reason_alert(table[_i].reason), table[_i].alert);
    ck_assert_int_eq(sp_reason_in_blanket(table[_i].reason), table[_i].blanket);
    ck_assert_ptr_null(sp_reason_names[SP_REASON_COUNT]);
}
END_TEST

START_TEST(a_number_that_is_no_reason_has_no_alert_and_no_cover)
{
    ck_assert_str_eq(sp_reason_name(SP_REASON_COUNT), "none");
    ck_assert_int_eq(sp_reason_alert(SP_REASON_COUNT), -1);
    ck_assert(!sp_reason_in_blanket(SP_REASON_COUNT));
    ck_assert(!sp_reason_is_excusable(SP_REASON_COUNT));
    ck_assert(!sp_reason_is_excusable((enum sp_reason)(SP_REASON_COUNT + 1)));
}
END_TEST

START_TEST(the_detail_is_that_of_the_weightiest_reason)
{
    struct sp_facts facts = facts_with(0);

    sp_facts_add(&facts, SP_REASON_COUNT, "only a %s", "note");
    ck_assert_uint_eq(facts.observed, 0);
    ck_assert_str_eq(facts.detail, "only a note");
    sp_facts_add(&facts, SP_REASON_NAME_MISMATCH, "names");
    ck_assert_str_eq(facts.detail, "names");
    sp_facts_add(&facts, SP_REASON_REVOKED, "revoked");
    ck_assert_str_eq(facts.detail, "revoked");
    sp_facts_add(&facts, SP_REASON_EXPIRED, "expired");
    ck_assert_str_eq(facts.detail, "revoked");
    sp_facts_add(&facts, SP_REASON_COUNT, "a note");
    ck_assert_str_eq(facts.detail, "revoked");
    ck_assert_uint_eq(facts.observed, SP_REASON_BIT(SP_REASON_NAME_MISMATCH) |
                                          SP_REASON_BIT(SP_REASON_REVOKED) |
                                          SP_REASON_BIT(SP_REASON_EXPIRED));
}
END_TEST

START_TEST(what_is_noted_passes_and_is_named)
{
    struct sp_policy policy = {.on_failure = SP_DECIDE_BLOCK, .source = "t.json: $.p"};
    struct sp_facts facts = facts_with(0);
    struct sp_verdict v;

    policy.on[SP_REASON_REVOCATION_UNKNOWN] = SP_DECIDE_BLOCK;
    facts.noted = SP_REASON_BIT(SP_REASON_REVOCATION_UNKNOWN);
    sp_verdict_decide(&facts, &policy, NOW, &v);
    ck_assert_int_eq(v.action, SP_ACTION_ALLOW);
    ck_assert_uint_eq(v.observed, 0);
    ck_assert_uint_eq(v.noted, facts.noted);
    ck_assert_int_eq(v.reason, SP_REASON_REVOCATION_UNKNOWN);
    ck_assert_str_eq(v.rule, "t.json: $.p.ocsp.mode (soft)");
    ck_assert_str_eq(sp_verdict_status(&v), "valid");
    /* It excuses nothing else, and nothing else hides behind it. */
    facts.observed = SP_REASON_BIT(SP_REASON_EXPIRED);
    sp_verdict_decide(&facts, &policy, NOW, &v);
    ck_assert_int_eq(v.action, SP_ACTION_BLOCK);
    ck_assert_int_eq(v.reason, SP_REASON_EXPIRED);
    facts.observed = SP_REASON_BIT(SP_REASON_REVOCATION_UNKNOWN);
    facts.noted = 0;
    sp_verdict_decide(&facts, &policy, NOW, &v);
    ck_assert_int_eq(v.action, SP_ACTION_BLOCK);
}
END_TEST

START_TEST(a_verdict_holds_until_the_first_exception_it_used_ends)
{
    struct sp_exception exceptions[] = {
        {.fingerprint = (char[]){FINGERPRINT}, .reason = SP_REASON_EXPIRED, .until = NOW + 50},
        {.fingerprint = (char[]){FINGERPRINT}, .reason = SP_REASON_REVOKED, .until = NOW + 20},
        {.fingerprint = (char[]){FINGERPRINT}, .reason = SP_REASON_NAME_MISMATCH, .until = NOW + 9},
    };
    struct sp_policy policy = {.exceptions = {.items = exceptions, .count = 3}, .source = "p"};
    struct sp_facts facts = facts_with(0);
    struct sp_verdict v;

    sp_verdict_decide(&facts, &policy, NOW, &v);
    ck_assert_int_eq(v.holds_until, INT64_MAX);
    facts.observed = SP_REASON_BIT(SP_REASON_EXPIRED);
    sp_verdict_decide(&facts, &policy, NOW, &v);
    ck_assert_int_eq(v.action, SP_ACTION_ALLOW_UNVALIDATED);
    ck_assert_int_eq(v.holds_until, NOW + 50);
    facts.observed |= SP_REASON_BIT(SP_REASON_REVOKED);
    sp_verdict_decide(&facts, &policy, NOW, &v);
    ck_assert_int_eq(v.holds_until, NOW + 20);
    facts.observed |= SP_REASON_BIT(SP_REASON_NAME_MISMATCH); /* weighs least, ends first */
    sp_verdict_decide(&facts, &policy, NOW, &v);
    ck_assert_int_eq(v.holds_until, NOW + 9);
    sp_verdict_decide(&facts, &policy, NOW + 20, &v);
    ck_assert_int_eq(v.action, SP_ACTION_BLOCK);
}
END_TEST

/* Every reason x on_failure x on: exactly these and no others are let through. */
static void check_cell(size_t row, int on_failure, int on)
{
    struct sp_policy policy = {.on_failure = on_failure, .source = "t.json: $.client_validation"};
    struct sp_facts facts = facts_with(SP_REASON_BIT(table[row].reason));
    bool let_through = on == SP_DECIDE_ALLOW || (on == SP_DECIDE_UNSET && table[row].blanket &&
                                                 on_failure == SP_DECIDE_ALLOW);
    struct sp_verdict v;
    char rule[256];

    policy.on[table[row].reason] = on;
    sp_verdict_decide(&facts, &policy, NOW, &v);
    ck_assert_uint_eq(v.observed, facts.observed);
    ck_assert_int_eq(v.reason, table[row].reason);
    ck_assert_int_eq(v.action, let_through ? SP_ACTION_ALLOW_UNVALIDATED : SP_ACTION_BLOCK);
    ck_assert_int_eq(v.alert, let_through ? -1 : table[row].alert);
    ck_assert_str_eq(sp_verdict_status(&v), let_through ? "unvalidated" : "failed");
    if (on != SP_DECIDE_UNSET)
        snprintf(rule, sizeof rule, "t.json: $.client_validation.on.%s", table[row].name);
    else if (!table[row].blanket)
        snprintf(rule, sizeof rule, "built-in: %s is never covered by on_failure", table[row].name);
    else
        snprintf(rule, sizeof rule, "t.json: $.client_validation.on_failure%s",
                 on_failure == SP_DECIDE_UNSET ? " (default: block)" : "");
    ck_assert_str_eq(v.rule, rule);
}

START_TEST(each_reason_is_decided_by_its_own_rule_or_the_blanket)
{
    static const int decisions[] = {SP_DECIDE_UNSET, SP_DECIDE_ALLOW, SP_DECIDE_BLOCK};

    for (size_t failure = 0; failure < 3; failure++)
        for (size_t on = 0; on < 3; on++)
            check_cell((size_t)_i, decisions[failure], decisions[on]);
}
END_TEST

START_TEST(without_a_tenant_everything_observed_is_blocked)
{
    struct sp_facts facts = facts_with(SP_REASON_BIT(table[_i].reason));
    struct sp_verdict v;

    sp_verdict_decide(&facts, NULL, NOW, &v);
    ck_assert_int_eq(v.action, SP_ACTION_BLOCK);
    ck_assert_int_eq(v.reason, table[_i].reason);
    ck_assert_int_eq(v.alert, table[_i].alert);
    ck_assert_str_eq(v.rule, "built-in: no tenant is known, so nothing is allowed");
}
END_TEST

/* All pairs: the weightier one that blocks is named; an allowed one never hides a blocked one. */
START_TEST(of_two_reasons_the_weightiest_that_blocks_is_the_cause)
{
    for (size_t second = (size_t)_i + 1; second < ROWS; second++) {
        for (unsigned allowed = 0; allowed < 4; allowed++) {
            struct sp_facts facts =
                facts_with(SP_REASON_BIT(table[_i].reason) | SP_REASON_BIT(table[second].reason));
            struct sp_policy policy = {.on_failure = SP_DECIDE_BLOCK, .source = "p"};
            enum sp_reason cause = table[allowed & 1 ? second : (size_t)_i].reason;
            struct sp_verdict v;

            policy.on[table[_i].reason] = allowed & 1 ? SP_DECIDE_ALLOW : SP_DECIDE_BLOCK;
            policy.on[table[second].reason] = allowed & 2 ? SP_DECIDE_ALLOW : SP_DECIDE_BLOCK;
            if (allowed == 3)
                cause = table[_i].reason;
            sp_verdict_decide(&facts, &policy, NOW, &v);
            ck_assert_int_eq(v.action,
                             allowed == 3 ? SP_ACTION_ALLOW_UNVALIDATED : SP_ACTION_BLOCK);
            ck_assert_int_eq(v.reason, cause);
            ck_assert_int_eq(v.alert, allowed == 3 ? -1 : sp_reason_alert(cause));
            ck_assert_uint_eq(v.observed, facts.observed);
            ck_assert_ptr_nonnull(strstr(v.rule, sp_reason_name(cause)));
        }
    }
}
END_TEST

START_TEST(all_reasons_at_once_pass_only_when_each_is_allowed)
{
    struct sp_facts facts = facts_with((SP_REASON_BIT(SP_REASON_COUNT)) - 1);
    struct sp_policy policy = {.on_failure = SP_DECIDE_ALLOW, .source = "p"};
    struct sp_verdict v;

    for (size_t i = 0; i < ROWS; i++)
        policy.on[i] = SP_DECIDE_ALLOW;
    sp_verdict_decide(&facts, &policy, NOW, &v);
    ck_assert_int_eq(v.action, SP_ACTION_ALLOW_UNVALIDATED);
    ck_assert_int_eq(v.reason, SP_REASON_NOT_TLS);
    policy.on[_i] = SP_DECIDE_BLOCK;
    sp_verdict_decide(&facts, &policy, NOW, &v);
    ck_assert_int_eq(v.action, SP_ACTION_BLOCK);
    ck_assert_int_eq(v.reason, table[_i].reason);
}
END_TEST

START_TEST(nothing_observed_is_valid_and_names_no_rule)
{
    struct sp_policy policy = {.on_failure = SP_DECIDE_BLOCK, .source = "p"};
    struct sp_facts facts = facts_with(0);
    struct sp_verdict v;

    sp_verdict_decide(&facts, &policy, NOW, &v);
    ck_assert_int_eq(v.action, SP_ACTION_ALLOW);
    ck_assert_int_eq(v.reason, SP_REASON_COUNT);
    ck_assert_int_eq(v.alert, -1);
    ck_assert_str_eq(v.rule, "");
    ck_assert_str_eq(sp_verdict_status(&v), "valid");
    ck_assert_str_eq(sp_action_name(v.action), "allow");
}
END_TEST

START_TEST(facts_that_were_never_filled_are_blocked)
{
    struct sp_policy policy = {.on_failure = SP_DECIDE_UNSET, .source = "p"};
    struct sp_facts facts = {0};
    struct sp_verdict v;

    sp_verdict_decide(&facts, &policy, NOW, &v);
    ck_assert_int_eq(v.action, SP_ACTION_BLOCK);
    ck_assert_int_eq(v.reason, SP_REASON_NO_CERTIFICATE);
    ck_assert_uint_eq(v.observed, SP_REASON_BIT(SP_REASON_NO_CERTIFICATE));
}
END_TEST

START_TEST(a_clean_chain_without_a_tenant_is_blocked)
{
    struct sp_facts facts = facts_with(0);
    struct sp_verdict v;

    sp_verdict_decide(&facts, NULL, NOW, &v);
    ck_assert_int_eq(v.action, SP_ACTION_BLOCK);
    ck_assert_int_eq(v.reason, SP_REASON_TENANT_UNKNOWN);
    ck_assert_int_eq(v.alert, 49);
}
END_TEST

START_TEST(a_decision_that_is_no_decision_blocks)
{
    struct sp_facts facts = facts_with(SP_REASON_BIT(SP_REASON_EXPIRED));
    struct sp_policy policy = {.on_failure = 77, .source = NULL};
    struct sp_verdict v;

    sp_verdict_decide(&facts, &policy, NOW, &v);
    ck_assert_int_eq(v.action, SP_ACTION_BLOCK);
    policy.on_failure = SP_DECIDE_ALLOW;
    policy.on[SP_REASON_EXPIRED] = -1;
    sp_verdict_decide(&facts, &policy, NOW, &v);
    ck_assert_int_eq(v.action, SP_ACTION_BLOCK);
    ck_assert_str_eq(v.rule, "policy.on.expired");
}
END_TEST

START_TEST(a_long_source_keeps_its_end_and_the_key)
{
    struct sp_facts facts = facts_with(SP_REASON_BIT(SP_REASON_MISSING_INTERMEDIATE));
    struct sp_policy policy = {.on[SP_REASON_MISSING_INTERMEDIATE] = SP_DECIDE_BLOCK};
    struct sp_verdict v;
    char source[1000];
    const char *end = "c9.json: $.client_validation.on.missing_intermediate";

    memset(source, 'x', sizeof source);
    strcpy(source + sizeof source - 40, "/c9.json: $.client_validation");
    policy.source = source;
    sp_verdict_decide(&facts, &policy, NOW, &v);
    ck_assert_str_eq(v.rule + strlen(v.rule) - strlen(end), end);
    ck_assert(strncmp(v.rule, "...xxx", 6) == 0);
}
END_TEST

/* What an exception may be made for, written out from the design. */
static bool is_excusable(enum sp_reason reason)
{
    return reason == SP_REASON_REVOKED ||
           (table[reason].blanket && reason != SP_REASON_NO_CERTIFICATE);
}

static char fingerprint[] = FINGERPRINT;
static char other_fingerprint[] = "sha256:0012";

START_TEST(an_exception_lets_its_reason_pass_until_it_ends)
{
    static const int64_t offsets[] = {-86400, -1, 0, 1, 86400};
    enum sp_reason reason = table[_i].reason;
    struct sp_facts facts = facts_with(SP_REASON_BIT(reason));
    struct sp_exception exception = {
        .fingerprint = fingerprint, .reason = (int)reason, .until = NOW};
    struct sp_policy policy = {.source = "t.json: $.client_validation",
                               .exceptions = {&exception, 1}};
    struct sp_verdict v;

    ck_assert_int_eq(sp_reason_is_excusable(reason), is_excusable(reason));
    for (size_t on = SP_DECIDE_UNSET; on <= SP_DECIDE_BLOCK; on += SP_DECIDE_BLOCK)
        for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
            bool passes = is_excusable(reason) && offsets[i] < 0;

            policy.on[reason] = (int)on;
            sp_verdict_decide(&facts, &policy, NOW + offsets[i], &v);
            ck_assert_int_eq(v.action, passes ? SP_ACTION_ALLOW_UNVALIDATED : SP_ACTION_BLOCK);
            ck_assert_int_eq(v.reason, reason);
            ck_assert_int_eq(v.alert, passes ? -1 : table[_i].alert);
            ck_assert(passes == !strcmp(v.rule, "t.json: $.client_validation.exceptions[0]"));
        }
}
END_TEST

START_TEST(an_exception_is_for_its_certificate_and_its_reason_only)
{
    struct sp_exception exceptions[] = {
        {.fingerprint = other_fingerprint, .reason = SP_REASON_EXPIRED, .until = NOW + 1},
        {.fingerprint = fingerprint, .reason = SP_REASON_WRONG_PURPOSE, .until = NOW + 1},
        {.fingerprint = fingerprint, .reason = SP_REASON_EXPIRED, .until = NOW},
        {.fingerprint = fingerprint, .reason = SP_REASON_EXPIRED, .until = NOW + 1},
    };
    struct sp_facts facts = facts_with(SP_REASON_BIT(SP_REASON_EXPIRED));
    struct sp_policy policy = {.source = "p", .exceptions = {exceptions, 3}};
    struct sp_verdict v;

    sp_verdict_decide(&facts, &policy, NOW, &v);
    ck_assert_int_eq(v.action, SP_ACTION_BLOCK);
    ck_assert_str_eq(v.rule, "p.on_failure (default: block)");
    policy.exceptions.count = 4;
    sp_verdict_decide(&facts, &policy, NOW, &v);
    ck_assert_int_eq(v.action, SP_ACTION_ALLOW_UNVALIDATED);
    ck_assert_str_eq(v.rule, "p.exceptions[3]");
    facts.has_certificate = false; /* nobody has proved anything */
    sp_verdict_decide(&facts, &policy, NOW, &v);
    ck_assert_int_eq(v.action, SP_ACTION_BLOCK);
}
END_TEST

START_TEST(an_exception_for_one_reason_does_not_excuse_another)
{
    struct sp_exception exception = {
        .fingerprint = fingerprint, .reason = SP_REASON_REVOKED, .until = NOW + 1};
    struct sp_facts facts =
        facts_with(SP_REASON_BIT(SP_REASON_REVOKED) | SP_REASON_BIT(SP_REASON_EXPIRED));
    struct sp_policy policy = {.source = "p", .exceptions = {&exception, 1}};
    struct sp_verdict v;

    sp_verdict_decide(&facts, &policy, NOW, &v);
    ck_assert_int_eq(v.action, SP_ACTION_BLOCK);
    ck_assert_int_eq(v.reason, SP_REASON_EXPIRED);
    policy.on[SP_REASON_EXPIRED] = SP_DECIDE_ALLOW;
    sp_verdict_decide(&facts, &policy, NOW, &v);
    ck_assert_int_eq(v.action, SP_ACTION_ALLOW_UNVALIDATED);
    ck_assert_str_eq(v.rule, "p.exceptions[0]");
}
END_TEST

static const struct {
    int alert;
    const char *name, *to_agent, *to_gateway; /* a word each sentence must contain */
} alerts[] = {
    {40, "handshake_failure", "common", "common"},
    {42, "bad_certificate", "our certificate", "our certificate"},
    {43, "unsupported_certificate", "client authentication", "server"},
    {44, "certificate_revoked", "revoked", "revoked"},
    {45, "certificate_expired", "expired", "expired"},
    {46, "certificate_unknown", "revoked", "does not accept"},
    {48, "unknown_ca", "the gateway does not know the CA that issued our certificate, or",
     "trust the CA"},
    {48, "unknown_ca", "intermediate CA is missing from our file", "intermediate CA is missing"},
    {49, "access_denied", "tenant", "will not go on"},
    {51, "decrypt_error", "key", "key"},
    {70, "protocol_version", "version", "version"},
    {80, "internal_error", "its log", "its log"},
    {112, "unrecognized_name", "server name", "name"},
    {113, "bad_certificate_status_response", "OCSP", "OCSP"},
    {116, "certificate_required", "we sent none", "we sent none"},
    {120, "no_application_protocol", "ALPN", "ALPN"},
};

START_TEST(alerts_are_sentences_for_people)
{
    ck_assert_str_eq(sp_alert_name(alerts[_i].alert), alerts[_i].name);
    ck_assert_ptr_nonnull(strstr(sp_alert_sentence(alerts[_i].alert, true), alerts[_i].to_agent));
    ck_assert_ptr_nonnull(
        strstr(sp_alert_sentence(alerts[_i].alert, false), alerts[_i].to_gateway));
}
END_TEST

START_TEST(every_alert_number_has_a_sentence_of_the_right_side)
{
    for (int alert = -1; alert < 256; alert++) {
        const char *to_agent = sp_alert_sentence(alert, true);
        const char *to_gateway = sp_alert_sentence(alert, false);

        ck_assert(strstr(to_agent, "the gateway") || strstr(to_agent, "our certificate"));
        ck_assert_ptr_nonnull(strstr(to_gateway, "the client"));
        ck_assert_ptr_null(strchr(to_agent, '\n'));
        ck_assert_uint_lt(strlen(to_agent), 384); /* fits struct sp_error.text */
        ck_assert_uint_lt(strlen(to_gateway), 384);
    }
    ck_assert_str_eq(sp_alert_name(255), "alert");
}
END_TEST

START_TEST(every_alert_we_send_has_a_name)
{
    for (size_t i = 0; i < ROWS; i++)
        if (table[i].alert >= 0)
            ck_assert_str_ne(sp_alert_name(table[i].alert), "alert");
}
END_TEST

static Suite *verdict_suite(void)
{
    Suite *suite = suite_create("verdict");
    TCase *tc = tcase_create("decide");

    tcase_add_test(tc, the_detail_is_that_of_the_weightiest_reason);
    tcase_add_test(tc, what_is_noted_passes_and_is_named);
    tcase_add_test(tc, a_verdict_holds_until_the_first_exception_it_used_ends);
    tcase_add_loop_test(tc, reasons_have_their_name_alert_and_cover, 0, ROWS);
    tcase_add_test(tc, a_number_that_is_no_reason_has_no_alert_and_no_cover);
    tcase_add_loop_test(tc, each_reason_is_decided_by_its_own_rule_or_the_blanket, 0, ROWS);
    tcase_add_loop_test(tc, without_a_tenant_everything_observed_is_blocked, 0, ROWS);
    tcase_add_loop_test(tc, of_two_reasons_the_weightiest_that_blocks_is_the_cause, 0, ROWS);
    tcase_add_loop_test(tc, all_reasons_at_once_pass_only_when_each_is_allowed, 0, ROWS);
    tcase_add_test(tc, nothing_observed_is_valid_and_names_no_rule);
    tcase_add_test(tc, facts_that_were_never_filled_are_blocked);
    tcase_add_test(tc, a_clean_chain_without_a_tenant_is_blocked);
    tcase_add_test(tc, a_decision_that_is_no_decision_blocks);
    tcase_add_test(tc, a_long_source_keeps_its_end_and_the_key);
    tcase_add_loop_test(tc, an_exception_lets_its_reason_pass_until_it_ends, 0, ROWS);
    tcase_add_test(tc, an_exception_is_for_its_certificate_and_its_reason_only);
    tcase_add_test(tc, an_exception_for_one_reason_does_not_excuse_another);
    suite_add_tcase(suite, tc);
    tc = tcase_create("alerts");
    tcase_add_loop_test(tc, alerts_are_sentences_for_people, 0, sizeof alerts / sizeof alerts[0]);
    tcase_add_test(tc, every_alert_number_has_a_sentence_of_the_right_side);
    tcase_add_test(tc, every_alert_we_send_has_a_name);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(verdict_suite());
    int failed;

    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
