/* `sallyport-gateway explain`: its command line; a line of the log under another configuration. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/explain_impl.h"
#include "tests/support/scene.h"

#define BIT(reason) SP_REASON_BIT(SP_REASON_##reason)
#define NOW         INT64_C(1800000000) /* 2027-01-15T08:00:00Z */
#define FINGERPRINT "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* ---- the command line ---- */

static enum sp_err parse(const char *words, struct gw_explain_options *ret, struct sp_error *err)
{
    static char text[400];
    char *argv[24], *save = NULL;
    int argc = 0;

    snprintf(text, sizeof text, "explain %s", words);
    for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save))
        argv[argc++] = word;
    argv[argc] = NULL;
    return gw_explain_options_parse(argc, argv, ret, err);
}

static const struct {
    const char *words;
    enum gw_explain_mode mode;
} good[] = {
    {"--help", GW_EXPLAIN_HELP},
    {"--config c --tenant t --chain f", GW_EXPLAIN_TENANT},
    {"--config=c --sni s --chain - --json --at 2026-11-21", GW_EXPLAIN_TENANT},
    {"--config c --sni s --tenant t --chain none --ocsp-response r", GW_EXPLAIN_TENANT},
    {"--trusted-ca a --trusted-ca b --crl c --chain f --purpose client", GW_EXPLAIN_ANY},
    {"--trusted-ca a --chain f --name n --at 2026-11-21T21:46:50Z", GW_EXPLAIN_ANY},
    {"--config c --from-log -", GW_EXPLAIN_FROM_LOG},
    {"--config c --from-log {} --at 2026-11-21 --json", GW_EXPLAIN_FROM_LOG},
    {"--config c --against f", GW_EXPLAIN_AGAINST},
};

START_TEST(a_good_command_line_is_one_of_four_questions)
{
    struct gw_explain_options o;
    struct sp_error err = {.text = ""};
    enum sp_err rc = parse(good[_i].words, &o, &err);

    ck_assert_msg(rc == SP_OK, "%s: %s", good[_i].words, err.text);
    ck_assert_int_eq(o.mode, good[_i].mode);
    ck_assert_int_eq(o.has_at, strstr(good[_i].words, "--at") != NULL);
    if (o.has_at)
        ck_assert_int_eq(o.at, strchr(good[_i].words, 'T') ? 1795297610 : 1795219200);
    ck_assert_int_eq(o.purpose,
                     strstr(good[_i].words, "--name") ? SP_PURPOSE_SERVER : SP_PURPOSE_CLIENT);
}
END_TEST

static const struct {
    const char *words, *wanted;
} bad[] = {
    {"", "--config FILE is needed"},
    {"--config c", "--tenant ID or --sni NAME is needed"},
    {"--config c --tenant t", "--chain FILE is needed"},
    {"--tenant t --chain f", "--config FILE is needed"},
    {"--config c --config c", "--config is given twice"},
    {"--config c --tenant t --chain f --at now", "--at now is no time"},
    {"--config c --tenant t --chain f --at 2026-13-01", "is no time"},
    {"--config c --tenant t --chain f --at 2026-11-21T21:46:50", "is no time"},
    {"--config c --tenant t --chain f --at 2026-11-21 --at 2026-11-21", "--at is given twice"},
    {"--config c --tenant t --chain f --name n", "--name does not go together with --config"},
    {"--config c --tenant t --chain f --crl x", "--crl does not go together"},
    {"--config c --tenant t --chain f --trusted-ca x", "--config does not go together"},
    {"--trusted-ca a --chain f --sni s", "--sni does not go together with --trusted-ca"},
    {"--trusted-ca a", "--chain FILE is needed"},
    {"--trusted-ca a --chain f --purpose both", "neither client nor server"},
    {"--trusted-ca http://x/y --chain f", "nothing is fetched"},
    {"--config c --from-log x --chain f", "--chain does not go together with --from-log"},
    {"--config c --against x --tenant t", "--tenant does not go together with --against"},
    {"--config c --against x --from-log y", "--against does not go together with --from-log"},
    {"--from-log x", "--config FILE is needed"},
    {"--name n --chain f", "wants --trusted-ca FILE"},
    {"--config", "--config wants a value"},
    {"--config= --tenant t", "--config wants a value that is not empty"},
    {"--config c -x", "unknown option '-x'"},
    {"--json=yes", "takes no value"},
    {"more", "'more' is not an option"},
    {"--wrong --help", "--wrong"}, /* the first mistake is told, whatever follows */
};

START_TEST(wrong_usage_is_told)
{
    struct gw_explain_options o;
    struct sp_error err = {.text = ""};

    ck_assert_int_eq(parse(bad[_i].words, &o, &err), SP_ERR_CONFIG);
    ck_assert_msg(strstr(err.text, bad[_i].wanted), "%s: %s", bad[_i].words, err.text);
}
END_TEST

/* ---- lines of the log ---- */

#define LINE(errors, more)                                                                         \
    "{\"ts\":\"2027-01-15T08:00:00.123Z\",\"level\":\"info\",\"event\":\"tunnel\",\"new\":[1]"     \
    "," more "\"action\":\"allow\",\"observed_errors\":[" errors "],\"subject\":\"CN=a\","         \
    "\"issuer\":\"CN=Client CA\",\"serial\":\"01\",\"fingerprint\":\"" FINGERPRINT "\","           \
    "\"chain\":2,\"not_before\":\"2026-01-01T00:00:00Z\",\"not_after\":\"2028-01-01T00:00:00Z\","  \
    "\"sni\":\"a.secure.example.net\",\"tenant\":\"a\"}"

static enum sp_err read_line(const char *text, struct gw_logged *ret, bool *ret_other,
                             struct sp_error *err)
{
    return gw_logged_read(text, strlen(text), ret, ret_other, err);
}

START_TEST(a_line_is_read_and_keys_of_other_versions_are_passed_over)
{
    struct gw_logged line;
    bool is_other = true;

    ck_assert_int_eq(
        read_line(LINE("\"expired\",\"revoked\"", "\"revocation\":{\"ocsp\":{\"x\":1}},"), &line,
                  &is_other, NULL),
        SP_OK);
    ck_assert(!is_other);
    ck_assert_uint_eq(line.observed, BIT(EXPIRED) | BIT(REVOKED));
    ck_assert_int_eq(line.at, NOW);
    ck_assert(line.has_ocsp && !line.has_crl && !line.was_blocked);
    gw_logged_done(&line);
    ck_assert_int_eq(read_line("{\"event\":\"ready\",\"tenants\":3}", &line, &is_other, NULL),
                     SP_OK);
    ck_assert(is_other);
}
END_TEST

START_TEST(no_cut_of_a_line_is_taken_for_one_or_crashes)
{
    static const char text[] = LINE("\"expired\"", "");
    struct gw_logged line;
    struct sp_error err;
    bool is_other;

    for (size_t len = 0; len < sizeof text - 1; len++) {
        char *exact = sp_calloc(1, len ? len : 1); /* so that ASan sees a step too far */

        memcpy(exact, text, len);
        ck_assert_int_ne(gw_logged_read(exact, len, &line, &is_other, &err), SP_OK);
        free(exact);
    }
}
END_TEST

/* What another policy makes of a line: the tenant's file, what is different in the line. */
static const struct {
    const char *tenant, *line;
    int64_t at; /* 0: that of the line */
    sp_reason_set observed;
    enum sp_action action;
    unsigned unsure; /* in it */
} rows[] = {
    {"", LINE("", ""), 0, 0, SP_ACTION_ALLOW, GW_UNSURE_TRUST | GW_UNSURE_RULES},
    {"", LINE("", ""), NOW + 86400 * 400, BIT(EXPIRED), SP_ACTION_BLOCK, 0},
    {"", LINE("", ""), NOW - 86400 * 400, BIT(NOT_YET_VALID), SP_ACTION_BLOCK, 0},
    {"", LINE("\"expired\"", ""), 0, 0, SP_ACTION_ALLOW, 0}, /* its own times say otherwise */
    {", \"enabled\": false", LINE("", ""), 0, BIT(TENANT_DISABLED), SP_ACTION_BLOCK, 0},
    {"", LINE("\"tenant_disabled\"", ""), 0, 0, SP_ACTION_ALLOW, 0},
    {"", LINE("\"wrong_purpose\"", ""), 0, BIT(WRONG_PURPOSE), SP_ACTION_BLOCK, 0},
    {"", LINE("\"untrusted_issuer\"", ""), 0, BIT(UNTRUSTED_ISSUER), SP_ACTION_BLOCK,
     GW_UNSURE_TRUST},
    {"", LINE("", "\"path\":[\"CN=a\",\"CN=Nobody\"],"), 0, BIT(UNTRUSTED_ISSUER), SP_ACTION_BLOCK,
     GW_UNSURE_PATH},
    {"", LINE("\"revocation_unknown\"", ""), 0, 0, SP_ACTION_ALLOW, 0}, /* nobody is asked now */
    {"", LINE("\"crl_stale\"", ""), 0, 0, SP_ACTION_ALLOW, 0},
    {"", LINE("\"name_mismatch\"", ""), 0, 0, SP_ACTION_ALLOW, 0},
    {"", LINE("\"not_tls\"", ""), 0, BIT(NOT_TLS), SP_ACTION_BLOCK, 0},
};

static struct gw_registry *load(const char *more)
{
    static const uint8_t master[GW_TICKET_MASTER_LEN];
    struct gw_registry *registry;
    struct sp_error err = {.text = ""};

    scene_clear();
    scene_write_gateway("common", "");
    scene_write_tenant("a", "\"a.secure.example.net\"", more);
    ck_assert_msg(gw_registry_load("gateway.json", master, NULL, &registry, &err) == SP_OK, "%s",
                  err.text);
    return registry;
}

START_TEST(a_line_is_decided_again_as_far_as_it_tells)
{
    struct gw_registry *registry = load(rows[_i].tenant);
    struct gw_recomputed r;
    struct gw_logged line;
    bool is_other;

    ck_assert_int_eq(read_line(rows[_i].line, &line, &is_other, NULL), SP_OK);
    gw_recompute(registry, &line, rows[_i].at ? rows[_i].at : line.at, &r);
    ck_assert_msg(r.verdict.observed == rows[_i].observed, "row %d: %x, %s", _i, r.verdict.observed,
                  r.facts.detail);
    ck_assert_int_eq(r.verdict.action, rows[_i].action);
    ck_assert_uint_eq(r.unsure & rows[_i].unsure, rows[_i].unsure);
    gw_logged_done(&line);
    gw_registry_unref(registry);
}
END_TEST

START_TEST(every_reason_has_advice)
{
    for (int reason = 0; reason < SP_REASON_COUNT; reason++) {
        ck_assert_uint_gt(strlen(gw_explain_advice((enum sp_reason)reason, false)), 20);
        ck_assert_uint_gt(strlen(gw_explain_advice((enum sp_reason)reason, true)), 20);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("explain");
    TCase *tc = tcase_create("explain");
    TCase *files = tcase_create("files");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tc);
    tcase_add_loop_test(tc, a_good_command_line_is_one_of_four_questions, 0,
                        sizeof good / sizeof good[0]);
    tcase_add_loop_test(tc, wrong_usage_is_told, 0, sizeof bad / sizeof bad[0]);
    tcase_add_test(tc, a_line_is_read_and_keys_of_other_versions_are_passed_over);
    tcase_add_test(tc, no_cut_of_a_line_is_taken_for_one_or_crashes);
    tcase_add_test(tc, every_reason_has_advice);
    suite_add_tcase(suite, files);
    tcase_add_checked_fixture(files, scene_enter, scene_leave);
    tcase_add_loop_test(files, a_line_is_decided_again_as_far_as_it_tells, 0,
                        sizeof rows / sizeof rows[0]);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
