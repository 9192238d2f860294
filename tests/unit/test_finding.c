#include "agent/finding.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOW 1800000000
#define DAY 86400

/* One situation. What a row leaves out is as good as it can be. */
struct row {
    const char *what;
    enum agent_stage stage;
    enum sp_err kind;
    int code;
    const char *text;
    sp_reason_set reasons; /* that block */
    enum agent_probe_result probe;
    enum agent_other_ports ports;
    int route_errno;
    int64_t skew; /* what the probe's Date shows */
    bool no_address, no_route, has_last, all_times_off, own_expired, path_is_trusted, at_loopback;
    enum agent_state state;
    const char *says;
};

#define R(x) SP_REASON_BIT(SP_REASON_##x)

static const struct row rows[] = {
    {.what = "refused by its host",
     .stage = AGENT_STAGE_CONNECT,
     .kind = SP_ERR_SYS,
     .code = ECONNREFUSED,
     .state = AGENT_STATE_GATEWAY_DOWN,
     .says = "192.0.2.7:8443 refuses connections"},
    {.what = "silent, while its host is not",
     .stage = AGENT_STAGE_CONNECT,
     .kind = SP_ERR_TIMEOUT,
     .ports = AGENT_PORTS_ANSWERED,
     .state = AGENT_STATE_PORT_BLOCKED,
     .says = "the same host answers at port 443: a firewall on the way seems to block port 8443"},
    {.what = "rejected by a router, while its host answers",
     .stage = AGENT_STAGE_CONNECT,
     .kind = SP_ERR_SYS,
     .code = EHOSTUNREACH,
     .ports = AGENT_PORTS_ANSWERED,
     .state = AGENT_STATE_PORT_BLOCKED},
    {.what = "silent altogether, in a good network",
     .stage = AGENT_STAGE_CONNECT,
     .kind = SP_ERR_TIMEOUT,
     .ports = AGENT_PORTS_SILENT,
     .probe = AGENT_PROBE_GOOD,
     .state = AGENT_STATE_GATEWAY_DOWN,
     .says = "other ports of its host do not answer either; the network itself works (http://p/ "
             "answers)"},
    {.what = "silent altogether, as all else is",
     .stage = AGENT_STAGE_CONNECT,
     .kind = SP_ERR_TIMEOUT,
     .ports = AGENT_PORTS_SILENT,
     .probe = AGENT_PROBE_FAILED,
     .state = AGENT_STATE_GATEWAY_DOWN,
     .says =
         "nor does the probe succeed (http://p/: no answer), so it may be this network's fault"},
    {.what = "silent, and nothing is known",
     .stage = AGENT_STAGE_CONNECT,
     .kind = SP_ERR_TIMEOUT,
     .state = AGENT_STATE_GATEWAY_DOWN,
     .says = "whether the network itself works is not known"},
    {.what = "no interface",
     .stage = AGENT_STAGE_CONNECT,
     .kind = SP_ERR_SYS,
     .code = ENETUNREACH,
     .no_address = true,
     .state = AGENT_STATE_NO_NETWORK,
     .says = "eth0 is down"},
    {.what = "no interface, noticed by a timeout",
     .stage = AGENT_STAGE_CONNECT,
     .kind = SP_ERR_TIMEOUT,
     .no_address = true,
     .state = AGENT_STATE_NO_NETWORK},
    {.what = "no interface, but the gateway is on this machine",
     .stage = AGENT_STAGE_CONNECT,
     .kind = SP_ERR_SYS,
     .code = ECONNREFUSED,
     .no_address = true,
     .at_loopback = true,
     .state = AGENT_STATE_GATEWAY_DOWN},
    {.what = "no route to it",
     .stage = AGENT_STAGE_CONNECT,
     .kind = SP_ERR_SYS,
     .code = ENETUNREACH,
     .route_errno = ENETUNREACH,
     .state = AGENT_STATE_NO_NETWORK,
     .says = "no route to the gateway 192.0.2.7:8443"},
    {.what = "a router says that it is unreachable",
     .stage = AGENT_STAGE_CONNECT,
     .kind = SP_ERR_SYS,
     .code = ENETUNREACH,
     .state = AGENT_STATE_GATEWAY_DOWN},
    {.what = "no answer from a name server",
     .stage = AGENT_STAGE_RESOLVE,
     .kind = SP_ERR_TIMEOUT,
     .text = "gw.example: no answer",
     .state = AGENT_STATE_DNS_FAILURE,
     .says = "cannot be looked up: gw.example: no answer"},
    {.what = "no answer from a name server, and no default route",
     .stage = AGENT_STAGE_RESOLVE,
     .kind = SP_ERR_TIMEOUT,
     .no_route = true,
     .state = AGENT_STATE_NO_NETWORK,
     .says = "no default route"},
    {.what = "a name server on this machine, without a network",
     .stage = AGENT_STAGE_RESOLVE,
     .kind = SP_ERR_DNS,
     .no_address = true,
     .state = AGENT_STATE_NO_NETWORK},
    {.what = "a portal, behind which nothing is reached",
     .stage = AGENT_STAGE_CONNECT,
     .kind = SP_ERR_TIMEOUT,
     .probe = AGENT_PROBE_PORTAL,
     .state = AGENT_STATE_CAPTIVE_PORTAL,
     .says = "http://portal.example/login"},
    {.what = "a portal that answers in the gateway's place",
     .stage = AGENT_STAGE_TLS,
     .kind = SP_ERR_PEER_CERT,
     .reasons = R(UNTRUSTED_ISSUER),
     .probe = AGENT_PROBE_PORTAL,
     .state = AGENT_STATE_CAPTIVE_PORTAL},
    {.what = "a portal needs a network",
     .stage = AGENT_STAGE_CONNECT,
     .kind = SP_ERR_SYS,
     .code = ENETUNREACH,
     .no_address = true,
     .probe = AGENT_PROBE_PORTAL,
     .state = AGENT_STATE_NO_NETWORK},
    {.what = "a proxy's refusal",
     .stage = AGENT_STAGE_PROXY,
     .kind = SP_ERR_DENIED,
     .text = "407",
     .no_address = true,
     .state = AGENT_STATE_PROXY_REFUSED,
     .says = "did not let us through: 407"},
    {.what = "a proxy that is not there",
     .stage = AGENT_STAGE_PROXY,
     .kind = SP_ERR_SYS,
     .text = "refused",
     .state = AGENT_STATE_PROXY_REFUSED,
     .says = "is no way to the gateway: refused"},
    {.what = "a proxy, and no network",
     .stage = AGENT_STAGE_PROXY,
     .kind = SP_ERR_SYS,
     .no_address = true,
     .state = AGENT_STATE_NO_NETWORK},
    {.what = "a stranger's certificate for our name, at the first sight",
     .stage = AGENT_STAGE_TLS,
     .kind = SP_ERR_PEER_CERT,
     .reasons = R(UNTRUSTED_ISSUER),
     .state = AGENT_STATE_TLS_INSPECTION,
     .says = "a certificate for the gateway's name that was issued by somebody whom we do not "
             "trust: 'CN=Now'. No good one"},
    {.what = "a stranger's certificate, unlike yesterday's",
     .stage = AGENT_STAGE_TLS,
     .kind = SP_ERR_PEER_CERT,
     .reasons = R(UNTRUSTED_ISSUER) | R(NAME_MISMATCH),
     .has_last = true,
     .state = AGENT_STATE_TLS_INSPECTION,
     .says = "for another name that was issued by somebody whom we do not trust: 'CN=Now'. It last "
             "passed at 2027-01-14T08:00:00Z, issued by 'CN=Before' (sha256:abcdef"},
    {.what = "a trusted CA's, but none of the pinned keys",
     .stage = AGENT_STAGE_TLS,
     .kind = SP_ERR_PEER_CERT,
     .reasons = R(UNTRUSTED_ISSUER),
     .path_is_trusted = true,
     .state = AGENT_STATE_TLS_INSPECTION,
     .says = "none of the pinned keys"},
    {.what = "an intermediate of somebody else's is missing",
     .stage = AGENT_STAGE_TLS,
     .kind = SP_ERR_PEER_CERT,
     .reasons = R(MISSING_INTERMEDIATE),
     .has_last = true,
     .state = AGENT_STATE_TLS_INSPECTION},
    {.what = "an intermediate is missing",
     .stage = AGENT_STAGE_TLS,
     .kind = SP_ERR_PEER_CERT,
     .reasons = R(MISSING_INTERMEDIATE),
     .state = AGENT_STATE_GATEWAY_REFUSED},
    {.what = "a good CA, another name",
     .stage = AGENT_STAGE_TLS,
     .kind = SP_ERR_PEER_CERT,
     .reasons = R(NAME_MISMATCH),
     .state = AGENT_STATE_GATEWAY_REFUSED},
    {.what = "a revoked certificate",
     .stage = AGENT_STAGE_TLS,
     .kind = SP_ERR_PEER_CERT,
     .reasons = R(REVOKED) | R(EXPIRED),
     .state = AGENT_STATE_GATEWAY_REFUSED},
    {.what = "not valid yet",
     .stage = AGENT_STAGE_TLS,
     .kind = SP_ERR_PEER_CERT,
     .reasons = R(NOT_YET_VALID),
     .state = AGENT_STATE_CLOCK_SKEW,
     .says = "is not valid before 2027-01-18T08:00:00Z (3 days from now): our clock seems to be "
             "behind by 3 days or more"},
    {.what = "not valid yet, and another clock says why",
     .stage = AGENT_STAGE_TLS,
     .kind = SP_ERR_PEER_CERT,
     .reasons = R(NOT_YET_VALID),
     .probe = AGENT_PROBE_GOOD,
     .skew = -5 * DAY,
     .state = AGENT_STATE_CLOCK_SKEW,
     .says = "by the clock of http://p/ ours is 5 days behind"},
    {.what = "not valid yet, by another clock too",
     .stage = AGENT_STAGE_TLS,
     .kind = SP_ERR_PEER_CERT,
     .reasons = R(NOT_YET_VALID),
     .probe = AGENT_PROBE_GOOD,
     .skew = 5,
     .state = AGENT_STATE_GATEWAY_REFUSED},
    {.what = "expired alone",
     .stage = AGENT_STAGE_TLS,
     .kind = SP_ERR_PEER_CERT,
     .reasons = R(EXPIRED),
     .state = AGENT_STATE_GATEWAY_REFUSED},
    {.what = "expired with all of its chain",
     .stage = AGENT_STAGE_TLS,
     .kind = SP_ERR_PEER_CERT,
     .reasons = R(EXPIRED),
     .all_times_off = true,
     .state = AGENT_STATE_CLOCK_SKEW,
     .says = "our clock seems to be ahead by 2 days or more"},
    {.what = "expired, as our own has",
     .stage = AGENT_STAGE_TLS,
     .kind = SP_ERR_PEER_CERT,
     .reasons = R(EXPIRED),
     .own_expired = true,
     .state = AGENT_STATE_CLOCK_SKEW,
     .says = "ahead by 2 days or more; our own certificate has expired too"},
    {.what = "expired by a clock that is ahead",
     .stage = AGENT_STAGE_TLS,
     .kind = SP_ERR_PEER_CERT,
     .reasons = R(EXPIRED),
     .probe = AGENT_PROBE_GOOD,
     .skew = 9 * DAY,
     .state = AGENT_STATE_CLOCK_SKEW,
     .says = "ours is 9 days ahead"},
    {.what = "expired by a clock that is behind",
     .stage = AGENT_STAGE_TLS,
     .kind = SP_ERR_PEER_CERT,
     .reasons = R(EXPIRED),
     .probe = AGENT_PROBE_GOOD,
     .skew = -9 * DAY,
     .all_times_off = true,
     .state = AGENT_STATE_GATEWAY_REFUSED},
    {.what = "our certificate has expired",
     .stage = AGENT_STAGE_TLS,
     .kind = SP_ERR_PEER_ALERT,
     .code = 45,
     .own_expired = true,
     .state = AGENT_STATE_CLIENT_CERTIFICATE_REFUSED,
     .says = "(alert certificate_expired). Ours is 'CN=alice', issued by 'CN=Ours', expired "
             "2027-01-12T08:00:00Z (3 days ago)"},
    {.what = "our certificate is unknown",
     .stage = AGENT_STAGE_TLS,
     .kind = SP_ERR_PEER_ALERT,
     .code = 48,
     .state = AGENT_STATE_CLIENT_CERTIFICATE_REFUSED,
     .says = "(alert unknown_ca). Ours is 'CN=alice', issued by 'CN=Ours', valid until "
             "2027-01-25T08:00:00Z (10 days)"},
    {.what = "we have none",
     .stage = AGENT_STAGE_TLS,
     .kind = SP_ERR_PEER_ALERT,
     .code = 116,
     .state = AGENT_STATE_CLIENT_CERTIFICATE_REFUSED},
    {.what = "an alert that is about the name",
     .stage = AGENT_STAGE_TLS,
     .kind = SP_ERR_PEER_ALERT,
     .code = 112,
     .text = "unrecognized_name",
     .state = AGENT_STATE_GATEWAY_REFUSED,
     .says = "unrecognized_name"},
    {.what = "an alert about versions",
     .stage = AGENT_STAGE_TLS,
     .kind = SP_ERR_PEER_ALERT,
     .code = 70,
     .state = AGENT_STATE_GATEWAY_REFUSED},
    {.what = "it hangs in the handshake",
     .stage = AGENT_STAGE_TLS,
     .kind = SP_ERR_TIMEOUT,
     .text = "nothing for 5 s",
     .state = AGENT_STATE_GATEWAY_DOWN,
     .says = "192.0.2.7:8443 takes connections, but no tunnel comes of them: nothing for 5 s"},
    {.what = "it hangs after the handshake",
     .stage = AGENT_STAGE_ANSWER,
     .kind = SP_ERR_TIMEOUT,
     .state = AGENT_STATE_GATEWAY_DOWN},
    {.what = "it is no TLS",
     .stage = AGENT_STAGE_TLS,
     .kind = SP_ERR_TLS,
     .reasons = R(NOT_TLS),
     .state = AGENT_STATE_GATEWAY_REFUSED},
};

static void look(const struct row *row, struct agent_state_view *ret)
{
    struct sp_facts facts = {
        .observed = row->reasons,
        .issuer = "CN=Now",
        .not_before = row->reasons & R(NOT_YET_VALID) ? NOW + 3 * DAY : NOW - 100 * DAY,
        .not_after = row->reasons & R(EXPIRED) ? NOW - 2 * DAY : NOW + 100 * DAY,
        .all_times_off = row->all_times_off,
        .path_is_trusted = row->path_is_trusted,
    };
    const struct sp_policy policy = {.source = "test"};
    struct sp_verdict verdict;
    const struct agent_last_seen last = {.issuer = "CN=Before",
                                         .fingerprint = "sha256:abcdef0123456789abcdef",
                                         .seen = row->has_last ? NOW - DAY : 0};
    struct sp_error why = {.kind = row->kind, .code = row->code};
    struct sp_target gateway;
    struct sp_addr addr;
    const char *at = row->at_loopback ? "127.0.0.1:8443" : "192.0.2.7:8443";
    struct agent_failure failure = {.stage = row->stage, .why = &why, .gateway = &gateway};
    struct agent_evidence evidence = {
        .now = NOW,
        .server_name = "gw.example",
        .network = {.has_address = !row->no_address,
                    .has_route = !row->no_route,
                    .found = "eth0 is down"},
        .route_errno = row->route_errno,
        .probe = row->probe,
        .probe_url = "http://p/",
        .portal_url = "http://portal.example/login",
        .probe_text = "http://p/: no answer",
        .probe_date = row->probe == AGENT_PROBE_GOOD ? NOW - row->skew : 0,
        .probe_date_at = NOW,
        .other_ports = row->ports,
        .answered_port = 443,
        .last = &last,
        .own_subject = "CN=alice",
        .own_issuer = "CN=Ours",
        .own_not_before = NOW - 30 * DAY,
        .own_not_after = row->own_expired ? NOW - 3 * DAY : NOW + 10 * DAY,
    };

    snprintf(why.text, sizeof why.text, "%s", row->text ? row->text : "why");
    ck_assert_int_eq(sp_target_parse("gw.example:8443", 15, &gateway, NULL), SP_OK);
    ck_assert_int_eq(sp_addr_parse(at, &addr, NULL), SP_OK);
    if (row->stage != AGENT_STAGE_RESOLVE)
        failure.addr = &addr;
    if (row->reasons) {
        facts.has_certificate = true;
        sp_verdict_decide(&facts, &policy, NOW, &verdict);
        failure.facts = &facts;
        failure.verdict = &verdict;
    }
    agent_finding_make(&failure, &evidence, ret);
}

START_TEST(each_situation_has_its_name_and_sentence)
{
    const struct row *row = &rows[_i];
    struct agent_state_view view;

    look(row, &view);
    ck_assert_msg(view.state == row->state, "%s: is %s, wanted %s (%s)", row->what,
                  agent_state_name(view.state), agent_state_name(row->state), view.detail);
    if (row->says)
        ck_assert_msg(strstr(view.detail, row->says), "%s: says \"%s\"", row->what, view.detail);
    ck_assert_str_ne(view.detail, "");
    ck_assert_str_ne(view.advice, "");
}
END_TEST

START_TEST(only_tcp_that_does_not_get_there_counts_as_unreachable)
{
    for (int stage = AGENT_STAGE_RESOLVE; stage <= AGENT_STAGE_UP; stage++) {
        const struct agent_failure failure = {.stage = (enum agent_stage)stage};

        ck_assert_int_eq(agent_finding_is_tcp(&failure), stage == AGENT_STAGE_CONNECT);
    }
}
END_TEST

static const struct {
    bool unvalidated;
    int64_t left; /* of our certificate */
    enum agent_state state;
    const char *says;
} up_rows[] = {
    {false, 15 * DAY, AGENT_STATE_UP, "connected to gw.example:8443"},
    {false, 14 * DAY - 1, AGENT_STATE_CLIENT_CERTIFICATE_EXPIRING, "'CN=alice' expires 2027-01-29"},
    {false, -2 * DAY, AGENT_STATE_CLIENT_CERTIFICATE_EXPIRING, "(2 days ago)"},
    {true, 15 * DAY, AGENT_STATE_UP_UNVALIDATED, "failed validation: untrusted_issuer: who"},
    {true, DAY, AGENT_STATE_UP_UNVALIDATED, ". And our client certificate 'CN=alice' expires"},
};

START_TEST(what_is_up_may_still_need_a_word)
{
    struct sp_target gateway;
    struct agent_state_view view;
    const struct sp_facts facts = {.detail = "who"};
    const struct sp_verdict verdict = {
        .action = up_rows[_i].unvalidated ? SP_ACTION_ALLOW_UNVALIDATED : SP_ACTION_ALLOW,
        .reason = up_rows[_i].unvalidated ? SP_REASON_UNTRUSTED_ISSUER : SP_REASON_COUNT,
    };
    const struct agent_success success = {
        .gateway = &gateway, .facts = &facts, .verdict = &verdict};
    const struct agent_evidence evidence = {
        .now = NOW, .own_subject = "CN=alice", .own_not_after = NOW + up_rows[_i].left};

    ck_assert_int_eq(sp_target_parse("gw.example:8443", 15, &gateway, NULL), SP_OK);
    agent_finding_up(&success, &evidence, 14 * DAY, &view);
    ck_assert_str_eq(agent_state_name(view.state), agent_state_name(up_rows[_i].state));
    ck_assert_msg(strstr(view.detail, up_rows[_i].says), "says \"%s\"", view.detail);
}
END_TEST

START_TEST(texts_of_any_length_fit)
{
    struct row row = {.stage = AGENT_STAGE_TLS, .kind = SP_ERR_PEER_ALERT, .code = 42};
    struct agent_state_view view;
    char text[384];

    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    row.text = text;
    for (int stage = AGENT_STAGE_RESOLVE; stage <= AGENT_STAGE_UP; stage++) {
        row.stage = (enum agent_stage)stage;
        row.kind = SP_ERR_TIMEOUT;
        look(&row, &view);
        ck_assert_uint_lt(strlen(view.detail), sizeof view.detail);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("finding");
    TCase *tc = tcase_create("all");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_loop_test(tc, each_situation_has_its_name_and_sentence, 0,
                        sizeof rows / sizeof rows[0]);
    tcase_add_test(tc, only_tcp_that_does_not_get_there_counts_as_unreachable);
    tcase_add_loop_test(tc, what_is_up_may_still_need_a_word, 0,
                        sizeof up_rows / sizeof up_rows[0]);
    tcase_add_test(tc, texts_of_any_length_fit);
    suite_add_tcase(suite, tc);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
