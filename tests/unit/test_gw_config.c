/* gateway.json as values: what is bound, what is preset. Wrong files: tests/data/config-bad. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/tls_session.h"
#include "gateway/config.h"
#include "tests/support/scene.h"

static struct gw_config *load(const char *path, const char *text)
{
    struct gw_config *config = NULL;
    struct sp_error err = {.text = ""};
    char message[1024];

    scene_write(path, text);
    ck_assert_msg(gw_config_load(path, &config, &err) == SP_OK, "%s",
                  sp_error_message(&err, message, sizeof message));
    return config;
}

START_TEST(all_that_a_file_says_is_bound)
{
    struct gw_config *config = load(
        "tenants.d/gateway.json",
        "{ \"listen\": [\"127.0.0.1:8443\", \"[::1]:0\"], \"workers\": 3,\n"
        "  \"common\": { \"server_names\": [\"Secure.Example.NET.\", \"*.Secure.example.net\"],\n"
        "              \"certificate\": \"../common.pem\", \"private_key\": \"/k/common.key\" },\n"
        "  \"unknown_server_name\": \"common\", \"tenants\": \"t.d\",\n"
        "  \"tls\": { \"min_version\": \"1.2\" },\n"
        "  \"log\": { \"level\": \"debug\", \"format\": \"text\", \"file\": \"g.log\" },\n"
        "  \"limits\": { \"handshake_ms\": 100, \"request_ms\": 200, \"dial_ms\": 300,\n"
        "              \"drain_ms\": 0, \"connections\": 7 },\n"
        "  \"keepalive\": { \"idle_s\": 1, \"timeout_s\": 2 },\n"
        "  \"stapling\": { \"enabled\": false, \"responder\": \"http://ocsp.acme.example/\" },\n"
        "  \"resolver\": { \"servers\": [\"127.0.0.1:5353\", \"::1\", \"[::1]:53\"],\n"
        "                \"timeout_ms\": 400 } }");
    char text[SP_ADDR_TEXT];

    ck_assert_str_eq(config->path, "tenants.d/gateway.json");
    ck_assert_uint_eq(config->listen_texts.count, 2);
    ck_assert_str_eq(sp_addr_format(&config->listen[0], text), "127.0.0.1:8443");
    ck_assert_str_eq(sp_addr_format(&config->listen[1], text), "[::1]:0");
    ck_assert_uint_eq(config->workers, 3);
    ck_assert(config->has_common);
    ck_assert_uint_eq(config->common.server_names.count, 2);
    ck_assert_str_eq(config->common.server_names.items[0], "secure.example.net");
    ck_assert_str_eq(config->common.server_names.items[1], "*.secure.example.net");
    ck_assert_str_eq(config->common.certificate, "tenants.d/../common.pem");
    ck_assert_str_eq(config->common.private_key, "/k/common.key");
    ck_assert_int_eq(config->unknown_server_name, GW_UNKNOWN_NAME_COMMON);
    ck_assert_str_eq(config->tenants, "tenants.d/t.d");
    ck_assert_int_eq(config->tls.min_version, SP_TLS_1_2);
    ck_assert_int_eq(config->log.level, SP_LOG_DEBUG);
    ck_assert_int_eq(config->log.format, SP_LOG_TEXT);
    ck_assert_str_eq(config->log.file, "tenants.d/g.log");
    ck_assert_uint_eq(config->limits.handshake_ms, 100);
    ck_assert_uint_eq(config->limits.request_ms, 200);
    ck_assert_uint_eq(config->limits.dial_ms, 300);
    ck_assert_uint_eq(config->limits.drain_ms, 0);
    ck_assert_uint_eq(config->limits.connections, 7);
    ck_assert_uint_eq(config->keepalive.idle_s, 1);
    ck_assert_uint_eq(config->keepalive.timeout_s, 2);
    ck_assert_str_eq(config->resolver_servers, "127.0.0.1:5353,::1,[::1]:53");
    ck_assert_uint_eq(config->resolver.timeout_ms, 400);
    ck_assert(!config->stapling.enabled);
    ck_assert_str_eq(config->stapling.responder, "http://ocsp.acme.example/");
    gw_config_unref(config);
}
END_TEST

START_TEST(what_a_file_leaves_out_has_its_preset)
{
    struct gw_config *config =
        load("gateway.json", "{ \"listen\": [\"127.0.0.1:0\"], \"tenants\": \"tenants.d\" }");

    ck_assert_uint_eq(config->workers, 0);
    ck_assert(!config->has_common);
    ck_assert_int_eq(config->unknown_server_name, GW_UNKNOWN_NAME_REJECT);
    ck_assert_str_eq(config->tenants, "tenants.d");
    ck_assert_int_eq(config->tls.min_version, SP_TLS_1_3);
    ck_assert_int_eq(config->log.level, SP_LOG_INFO);
    ck_assert_int_eq(config->log.format, SP_LOG_AUTO);
    ck_assert_ptr_null(config->log.file);
    ck_assert_uint_eq(config->limits.handshake_ms, 5000);
    ck_assert_uint_eq(config->limits.request_ms, 10000);
    ck_assert_uint_eq(config->limits.dial_ms, 10000);
    ck_assert_uint_eq(config->limits.drain_ms, 10000);
    ck_assert_uint_eq(config->limits.connections, 100000);
    ck_assert_uint_eq(config->keepalive.idle_s, 30);
    ck_assert_uint_eq(config->keepalive.timeout_s, 10);
    ck_assert_ptr_null(config->resolver_servers);
    ck_assert(config->stapling.enabled);
    ck_assert_ptr_null(config->stapling.responder);
    ck_assert_uint_eq(config->resolver.timeout_ms, 5000);
    gw_config_unref(config);
}
END_TEST

START_TEST(an_object_that_is_there_but_empty_has_its_presets_too)
{
    struct gw_config *config =
        load("gateway.json", "{ \"listen\": [\"127.0.0.1:0\"], \"tenants\": \"tenants.d\","
                             "  \"workers\": \"auto\", \"tls\": {}, \"log\": {}, \"limits\": {},"
                             "  \"keepalive\": {}, \"resolver\": {} }");

    ck_assert_uint_eq(config->workers, 0);
    ck_assert_int_eq(config->tls.min_version, SP_TLS_1_3);
    ck_assert_int_eq(config->log.level, SP_LOG_INFO);
    ck_assert_uint_eq(config->limits.connections, 100000);
    ck_assert_uint_eq(config->keepalive.idle_s, 30);
    ck_assert_uint_eq(config->resolver.timeout_ms, 5000);
    gw_config_unref(config);
}
END_TEST

START_TEST(one_address_may_be_listened_at_under_two_ports_and_under_any_port_twice)
{
    struct gw_config *config =
        load("gateway.json", "{ \"tenants\": \"tenants.d\", \"listen\": [\"127.0.0.1:8443\","
                             "  \"127.0.0.1:8444\", \"[::1]:8443\", \"127.0.0.1:0\","
                             "  \"127.0.0.1:0\"] }");

    ck_assert_uint_eq(config->listen_texts.count, 5);
    gw_config_unref(config);
}
END_TEST

START_TEST(a_file_that_does_not_exist_is_an_error_that_names_it)
{
    struct gw_config *config = NULL;
    struct sp_error err = {.text = ""};
    char message[1024];

    ck_assert_int_ne(gw_config_load("nowhere/gateway.json", &config, &err), SP_OK);
    ck_assert_ptr_null(config);
    ck_assert_ptr_nonnull(
        strstr(sp_error_message(&err, message, sizeof message), "nowhere/gateway.json"));
    ck_assert_ptr_nonnull(strstr(message, "No such file"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gw_config");
    TCase *tcase = tcase_create("gw_config");
    SRunner *runner;
    int failed;

    tcase_add_unchecked_fixture(tcase, scene_enter, scene_leave);
    tcase_add_test(tcase, all_that_a_file_says_is_bound);
    tcase_add_test(tcase, what_a_file_leaves_out_has_its_preset);
    tcase_add_test(tcase, an_object_that_is_there_but_empty_has_its_presets_too);
    tcase_add_test(tcase, one_address_may_be_listened_at_under_two_ports_and_under_any_port_twice);
    tcase_add_test(tcase, a_file_that_does_not_exist_is_an_error_that_names_it);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
