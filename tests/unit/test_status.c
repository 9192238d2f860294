#include "agent/status.h"

#include "agent/config.h"
#include "common/tls_cred.h"
#include "tests/support/scene.h"

#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char hostile[] = "<script>\"x\"</script>&'\r\n\x1b[2J";
static struct agent_config config;
static struct agent_status status;
static struct agent_status_tunnel tunnels[2];

static void setup(void)
{
    static char name[] = "c1.example", contact[sizeof hostile];
    struct sp_error err;

    scene_enter();
    memset(&config, 0, sizeof config);
    memcpy(contact, hostile, sizeof hostile);
    config.server_name = name;
    config.contact = contact;
    ck_assert_int_eq(sp_tls_cred_load("client.pem", "client.key", &config.cred, &err), SP_OK);
    memset(tunnels, 0, sizeof tunnels);
    snprintf(tunnels[0].gateway, sizeof tunnels[0].gateway, "old.example:443");
    tunnels[0].is_draining = true;
    snprintf(tunnels[1].gateway, sizeof tunnels[1].gateway, "gw.example:443");
    snprintf(tunnels[1].address, sizeof tunnels[1].address, "192.0.2.1:443");
    tunnels[1].bytes_up = 1ULL << 40;
    tunnels[1].since = 1795340000;
    status = (struct agent_status){
        .config = &config,
        .now = 1795340060,
        .started = 1795340000,
        .state = {.state = AGENT_STATE_CAPTIVE_PORTAL, .since = 1795340001, .advice = hostile},
        .tally = {.channels = 5, .open = 2, .bytes_up = 10, .bytes_down = 20, .refused = 1},
        .tunnels = tunnels,
        .tunnel_count = 2,
    };
    memcpy(status.state.detail, hostile, sizeof hostile);
}

static void teardown(void)
{
    sp_tls_cred_unref(config.cred);
    scene_leave();
}

static void add_refusal(void)
{
    status.tally.last_time = 1795340030;
    status.tally.last.status = 403;
    memcpy(status.tally.last.error, "http_request_denied", 20);
    memcpy(status.tally.last.text, hostile, sizeof hostile);
    memcpy(status.tally.last.support_id, "7KQF-3M2P", 10);
    memcpy(status.tally.last_destination, hostile, sizeof hostile);
}

static char *written(enum agent_form form)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    agent_status_write(&status, form, out);
    fclose(out);
    ck_assert_uint_eq(strlen(text), len);
    return text;
}

START_TEST(nothing_hostile_gets_out_of_its_place)
{
    char *text;

    add_refusal();
    text = written((enum agent_form)_i);
    ck_assert_ptr_null(strchr(text, '\x1b'));
    ck_assert_ptr_null(strchr(text, '\r'));
    if (_i == AGENT_FORM_HTML)
        ck_assert_ptr_null(strstr(text, "<script"));
    ck_assert_ptr_nonnull(strstr(text, "captive_portal"));
    ck_assert_ptr_nonnull(strstr(text, "7KQF-3M2P"));
    free(text);
}
END_TEST

static const char *string_at(json_t *root, const char *object, const char *key)
{
    return json_string_value(json_object_get(object ? json_object_get(root, object) : root, key));
}

static json_int_t number_at(json_t *root, const char *object, const char *key)
{
    return json_integer_value(json_object_get(object ? json_object_get(root, object) : root, key));
}

START_TEST(json_says_all_of_it)
{
    char *text;
    json_t *root;

    add_refusal();
    text = written(AGENT_FORM_JSON);
    root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    ck_assert_ptr_nonnull(root);
    ck_assert_int_eq(number_at(root, NULL, "uptime_s"), 60);
    ck_assert_str_eq(string_at(root, "state", "name"), "captive_portal");
    ck_assert_str_eq(string_at(root, "state", "detail"), hostile);
    ck_assert_str_eq(string_at(root, "state", "since"), "2026-11-22T09:33:21Z");
    ck_assert_str_eq(string_at(root, "gateway", "name"), "gw.example:443");
    ck_assert_str_eq(string_at(root, "gateway", "address"), "192.0.2.1:443");
    ck_assert_uint_eq(json_array_size(json_object_get(root, "tunnels")), 2);
    ck_assert_int_eq(
        number_at(json_array_get(json_object_get(root, "tunnels"), 1), NULL, "bytes_up"),
        1LL << 40);
    ck_assert_int_eq(number_at(root, "channels", "open"), 2);
    ck_assert_int_eq(number_at(root, "channels", "total"), 5);
    ck_assert_int_eq(number_at(root, "channels", "bytes_down"), 20);
    ck_assert_str_eq(string_at(root, "certificate", "subject"), sp_tls_cred_subject(config.cred));
    ck_assert_str_eq(string_at(root, "last_refusal", "reason"), hostile);
    ck_assert_str_eq(string_at(root, "last_refusal", "destination"), hostile);
    ck_assert_str_eq(string_at(root, NULL, "contact"), hostile);
    json_decref(root);
    free(text);
}
END_TEST

START_TEST(what_is_not_there_is_left_out)
{
    char *text;
    json_t *root;

    status.tunnel_count = 0;
    config.contact = NULL;
    text = written(AGENT_FORM_JSON);
    root = json_loads(text, 0, NULL);
    ck_assert_ptr_null(json_object_get(root, "gateway"));
    ck_assert_ptr_null(json_object_get(root, "last_refusal"));
    ck_assert_ptr_null(json_object_get(root, "contact"));
    ck_assert_uint_eq(json_array_size(json_object_get(root, "tunnels")), 0);
    json_decref(root);
    free(text);
    text = written(AGENT_FORM_TEXT);
    ck_assert_ptr_null(strstr(text, "Last refusal"));
    free(text);
}
END_TEST

START_TEST(days_left_are_whole_and_below_zero_once_it_has_expired)
{
    static const struct {
        int64_t before_end;
        json_int_t days;
    } rows[] = {{86400, 1}, {86399, 0}, {0, 0}, {-1, -1}, {-86400, -1}, {-86401, -2}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *text;
        json_t *root;

        status.now = sp_tls_cred_not_after(config.cred) - rows[i].before_end;
        text = written(AGENT_FORM_JSON);
        root = json_loads(text, 0, NULL);
        ck_assert_int_eq(number_at(root, "certificate", "days_left"), rows[i].days);
        json_decref(root);
        free(text);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("status");
    TCase *tc = tcase_create("status");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, nothing_hostile_gets_out_of_its_place, 0, AGENT_FORM_COUNT);
    tcase_add_test(tc, json_says_all_of_it);
    tcase_add_test(tc, what_is_not_there_is_left_out);
    tcase_add_test(tc, days_left_are_whole_and_below_zero_once_it_has_expired);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
