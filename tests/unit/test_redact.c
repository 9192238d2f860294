#include "agent/redact.h"

#include "common/json_bind.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *text, *shown;
} rows[] = {
    {"", ""},
    {"nothing to hide: a@b, http://proxy.corp:3128/x",
     "nothing to hide: a@b, http://proxy.corp:3128/x"},
    {"http://alice:secret@proxy.corp:3128", "http://(removed)@proxy.corp:3128"},
    {"see http://alice:secret@p and https://bob@q/",
     "see http://(removed)@p and https://(removed)@q/"},
    {"socks5://a:se@cr/et@p", "socks5://(removed)@p"}, /* an '@' and a '/' in the password */
    {"\"http://a:b@p\",\"mail\":\"x@y\"", "\"http://(removed)@p\",\"mail\":\"x@y\""},
    {"pkcs11:object=key;type=private?pin-value=1234",
     "pkcs11:object=key;type=private?pin-value=(removed)"},
    {"pkcs11:a?PIN-VALUE=12;34&module-name=x", "pkcs11:a?PIN-VALUE=(removed);34&module-name=x"},
    {"pkcs11:a?pin-source=file:/etc/pin", "pkcs11:a?pin-source=file:/etc/pin"},
    {"Proxy-Authorization: Basic YWxpY2U6c2VjcmV0\r\nx: y",
     "Proxy-Authorization: (removed)\r\nx: y"},
    {"\"authorization: bearer abc.def\"", "\"authorization: (removed)\""},
    {"-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\nmore",
     "-----BEGIN PRIVATE KEY-----(removed)\nmore"},
    {"\"-----BEGIN PRIVATE KEY-----\",\"-----END PRIVATE KEY-----\"",
     "\"-----BEGIN PRIVATE KEY-----(removed)\",\"-----END PRIVATE KEY-----(removed)\""},
    {"\"-----BEGIN EC PRIVATE KEY-----\\nMIIE\"}", "\"-----BEGIN EC PRIVATE KEY-----(removed)\"}"},
};

START_TEST(no_secret_is_shown)
{
    char *shown = agent_redact(rows[_i].text);

    ck_assert_str_eq(shown, rows[_i].shown);
    free(shown);
}
END_TEST

static const struct {
    const char *key;
    enum sp_json_type type;
    bool is_secret;
} keys[] = {
    {"password", SP_JSON_STRING, true},
    {"proxy_password", SP_JSON_STRING, true},
    {"pin", SP_JSON_STRING, true},
    {"token", SP_JSON_STRING, true},
    {"password", SP_JSON_PATH, false},
    {"pins", SP_JSON_PATHS, false},
    {"password_file", SP_JSON_PATH, false},
    {"pin_file", SP_JSON_PATH, false},
    {"listen", SP_JSON_STRING, false},
    {"upstream_proxy", SP_JSON_STRING, false},
    {"", SP_JSON_STRING, false},
};

START_TEST(a_key_that_is_called_like_a_secret_is_one)
{
    const struct sp_json_field field = {.key = keys[_i].key, .type = keys[_i].type};

    ck_assert_int_eq(agent_redact_is_secret(&field), keys[_i].is_secret);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redact");
    TCase *tc = tcase_create("redact");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(tc, no_secret_is_shown, 0, sizeof rows / sizeof rows[0]);
    tcase_add_loop_test(tc, a_key_that_is_called_like_a_secret_is_one, 0,
                        sizeof keys / sizeof keys[0]);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
