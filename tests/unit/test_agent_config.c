/* agent.json with its credential and trust. Wrong files: tests/data/config-bad. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "agent/config.h"
#include "common/log.h"
#include "common/tls_cred.h"
#include "common/tls_session.h"
#include "common/tls_trust.h"
#include "tests/support/scene.h"

#define IDENTITY "\"identity\": {\"certificate\": \"client.pem\", \"private_key\": \"client.key\"}"
#define PINNED   "\"server_validation\": {\"mode\": \"pinned\", \"ca_files\": [\"service-ca.pem\"]}"
#define DOOR     "\"doors\": [{\"type\": \"http\", \"listen\": \"127.0.0.1:0\"}]"
#define SMALL                                                                                      \
    "\"gateways\": [\"127.0.0.1:8443\"], \"server_name\": \"c1.example\"," IDENTITY "," PINNED

static struct agent_config *load(const char *text)
{
    struct agent_config *config = NULL;
    struct sp_error err = {.text = ""};
    char message[1024];

    scene_write("agent.json", text);
    ck_assert_msg(agent_config_load("agent.json", &config, &err) == SP_OK, "%s",
                  sp_error_message(&err, message, sizeof message));
    return config;
}

START_TEST(all_that_a_file_says_is_bound)
{
    struct agent_config *config = load(
        "{ \"gateways\": [\"127.0.0.1:8443\", \"GW.example.:443\", \"[::1]:1\"],\n"
        "  \"server_name\": \"C1.Example.\"," IDENTITY ",\n"
        "  \"server_validation\": {\"mode\": \"pinned\", \"on_failure\": \"allow\",\n"
        "     \"staple\": \"require\",\n"
        "     \"ca_files\": [\"service-ca.pem\", \"other-ca.pem\"],\n"
        "     \"on\": {\"expired\": \"block\", \"revoked\": \"allow\"}},\n"
        "  \"doors\": [{\"type\": \"http\", \"listen\": \"127.0.0.1:3128\"},\n"
        "     {\"type\": \"forward\", \"listen\": \"[::1]:15432\", \"to\": \"DB.acme:5432\"}],\n"
        "  \"tunnels\": 64, \"tls\": {\"min_version\": \"1.2\"},\n"
        "  \"log\": {\"level\": \"error\", \"format\": \"json\", \"file\": \"a.log\"},\n"
        "  \"stapling\": {\"enabled\": false, \"responder\": \"https://ocsp.acme.example/a\"},\n"
        "  \"keepalive\": {\"idle_s\": 3, \"timeout_s\": 4},\n"
        "  \"limits\": {\"handshake_ms\": 100, \"wait_ms\": 0, \"connections\": 5} }");
    const struct sp_policy *policy = &config->server_validation.policy;
    char text[SP_TARGET_TEXT];

    ck_assert_uint_eq(config->gateway_texts.count, 3);
    ck_assert_str_eq(sp_target_format(&config->gateways[0], text), "127.0.0.1:8443");
    ck_assert_str_eq(sp_target_format(&config->gateways[1], text), "gw.example:443");
    ck_assert_str_eq(sp_target_format(&config->gateways[2], text), "[::1]:1");
    ck_assert_str_eq(config->server_name, "c1.example");
    ck_assert_str_eq(sp_tls_cred_subject(config->cred), "CN=client");
    ck_assert_uint_eq(sp_tls_trust_count(config->trust), 2);
    ck_assert_int_eq(policy->on_failure, SP_DECIDE_ALLOW);
    ck_assert_int_eq(policy->on[SP_REASON_EXPIRED], SP_DECIDE_BLOCK);
    ck_assert_int_eq(policy->on[SP_REASON_REVOKED], SP_DECIDE_ALLOW);
    ck_assert_int_eq(policy->on[SP_REASON_NAME_MISMATCH], SP_DECIDE_UNSET);
    ck_assert_str_eq(policy->source, "agent.json: $.server_validation");
    ck_assert_uint_eq(config->door_count, 2);
    ck_assert_int_eq(config->doors[0].type, AGENT_DOOR_HTTP);
    ck_assert_uint_eq(config->doors[0].listen.port, 3128);
    ck_assert_int_eq(config->doors[1].type, AGENT_DOOR_FORWARD);
    ck_assert_uint_eq(config->doors[1].listen.ip.family, 6);
    ck_assert_str_eq(sp_target_format(&config->doors[1].to, text), "db.acme:5432");
    ck_assert_uint_eq(config->tunnels, 64);
    ck_assert_int_eq(config->tls.min_version, SP_TLS_1_2);
    ck_assert_int_eq(config->log.level, SP_LOG_ERROR);
    ck_assert_int_eq(config->log.format, SP_LOG_JSON);
    ck_assert_str_eq(config->log.file, "a.log");
    ck_assert_uint_eq(config->keepalive.idle_s, 3);
    ck_assert_uint_eq(config->keepalive.timeout_s, 4);
    ck_assert_uint_eq(config->limits.handshake_ms, 100);
    ck_assert_uint_eq(config->limits.wait_ms, 0);
    ck_assert_uint_eq(config->limits.connections, 5);
    ck_assert_int_eq(config->server_validation.staple, AGENT_STAPLE_REQUIRE);
    ck_assert(!config->stapling.enabled);
    ck_assert_str_eq(config->stapling.responder, "https://ocsp.acme.example/a");
    ck_assert_uint_eq(config->warnings.count, 0);
    agent_config_unref(config);
}
END_TEST

START_TEST(what_a_file_leaves_out_has_its_preset)
{
    struct agent_config *config = load("{" SMALL "," DOOR "}");
    const struct sp_policy *policy = &config->server_validation.policy;
    size_t i;

    ck_assert_int_eq(config->server_validation.mode, AGENT_PINNED);
    ck_assert_int_eq(policy->on_failure, SP_DECIDE_BLOCK);
    for (i = 0; i < SP_REASON_COUNT; i++)
        ck_assert_int_eq(policy->on[i], SP_DECIDE_UNSET);
    ck_assert_uint_eq(config->tunnels, 2);
    ck_assert_int_eq(config->tls.min_version, SP_TLS_1_3);
    ck_assert_int_eq(config->log.level, SP_LOG_INFO);
    ck_assert_int_eq(config->log.format, SP_LOG_AUTO);
    ck_assert_ptr_null(config->log.file);
    ck_assert_uint_eq(config->keepalive.idle_s, 30);
    ck_assert_uint_eq(config->keepalive.timeout_s, 10);
    ck_assert_uint_eq(config->limits.handshake_ms, 5000);
    ck_assert_uint_eq(config->limits.wait_ms, 5000);
    ck_assert_uint_eq(config->limits.connections, 10000);
    ck_assert_int_eq(config->server_validation.staple, AGENT_STAPLE_USE);
    ck_assert(config->stapling.enabled);
    ck_assert_ptr_null(config->stapling.responder);
    agent_config_unref(config);
}
END_TEST

START_TEST(the_trust_store_needs_no_ca_files_and_takes_more)
{
    struct agent_config *config =
        load("{ \"gateways\": [\"gw.example:443\"], \"server_name\": \"192.0.2.1\"," IDENTITY
             ", \"server_validation\": {\"mode\": \"trust_store\","
             "  \"ca_files\": [\"service-ca.pem\"]}," DOOR "}");
    size_t with_file = sp_tls_trust_count(config->trust);

    ck_assert_str_eq(config->server_name, "192.0.2.1");
    agent_config_unref(config);
    config = load("{ \"gateways\": [\"gw.example:443\"], \"server_name\": \"c1.example\"," IDENTITY
                  ", \"server_validation\": {\"mode\": \"trust_store\"}," DOOR "}");
    ck_assert_uint_eq(sp_tls_trust_count(config->trust) + 1, with_file);
    agent_config_unref(config);
}
END_TEST

START_TEST(doors_may_share_an_address_and_all_ask_for_any_port)
{
    struct agent_config *config =
        load("{" SMALL ", \"doors\": [{\"type\": \"http\", \"listen\": \"127.0.0.1:0\"},"
             "  {\"type\": \"http\", \"listen\": \"127.0.0.1:0\"},"
             "  {\"type\": \"http\", \"listen\": \"127.0.0.1:3128\"},"
             "  {\"type\": \"http\", \"listen\": \"127.0.0.1:3129\"},"
             "  {\"type\": \"http\", \"listen\": \"[::1]:3128\"}]}");

    ck_assert_uint_eq(config->door_count, 5);
    ck_assert_uint_eq(config->warnings.count, 0);
    agent_config_unref(config);
}
END_TEST

START_TEST(a_configuration_lives_as_long_as_its_last_reference)
{
    struct agent_config *config = load("{" SMALL "," DOOR "}");
    struct agent_config *second = agent_config_ref(config);

    agent_config_unref(config);
    ck_assert_str_eq(second->server_name, "c1.example");
    ck_assert_str_eq(sp_tls_cred_subject(second->cred), "CN=client");
    agent_config_unref(second);
    agent_config_unref(NULL);
}
END_TEST

START_TEST(a_failed_load_leaves_the_result_alone)
{
    struct agent_config *config = load("{" SMALL "," DOOR "}");
    struct agent_config *result = config;
    struct sp_error err = {.text = ""};

    scene_write("agent.json", "{" SMALL "," DOOR ", \"tunnels\": 0}");
    ck_assert_int_eq(agent_config_load("agent.json", &result, &err), SP_ERR_CONFIG);
    ck_assert_ptr_eq(result, config);
    ck_assert_int_ne(agent_config_load("missing.json", &result, NULL), SP_OK);
    ck_assert_ptr_eq(result, config);
    agent_config_unref(config);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("agent_config");
    TCase *tcase = tcase_create("agent_config");
    SRunner *runner;
    int failed;

    tcase_add_unchecked_fixture(tcase, scene_enter, scene_leave);
    tcase_add_test(tcase, all_that_a_file_says_is_bound);
    tcase_add_test(tcase, what_a_file_leaves_out_has_its_preset);
    tcase_add_test(tcase, the_trust_store_needs_no_ca_files_and_takes_more);
    tcase_add_test(tcase, doors_may_share_an_address_and_all_ask_for_any_port);
    tcase_add_test(tcase, a_configuration_lives_as_long_as_its_last_reference);
    tcase_add_test(tcase, a_failed_load_leaves_the_result_alone);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
