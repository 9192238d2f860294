#include "agent/socks_code.h"

#include "agent/uplink.h"

#include <check.h>
#include <stdio.h>

static const struct {
    const char *error;
    bool no_tunnel;
    int code; /* as it stands on the wire */
} rows[] = {
    {"http_request_denied", false, 2},
    {"destination_ip_prohibited", false, 2},
    {"dns_error", false, 4},
    {"dns_timeout", false, 4},
    {"destination_not_found", false, 4},
    {"destination_unavailable", false, 4},
    {"destination_ip_unroutable", false, 3},
    {"connection_refused", false, 5},
    {"connection_timeout", false, 6},
    {"connection_read_timeout", false, 6},
    {"socks_no_such_command", false, 7},
    {"socks_no_such_address_type", false, 8},
    {"connection_terminated", false, 1},
    {"connection_limit_reached", false, 1},
    {"socks_request_error", false, 1},
    {"http_request_error", false, 1},
    {"", false, 1},
    {"what nobody has heard of", false, 1},
    /* Without a tunnel it is the network that is missing, whatever the attempt came to: */
    {"dns_error", true, 3},
    {"connection_timeout", true, 3},
    {"connection_limit_reached", true, 3},
    {"tls_certificate_error", true, 3},
    {"tls_alert_received", true, 3},
    {"tls_protocol_error", true, 3},
    {"destination_unavailable", true, 3},
};

START_TEST(each_cause_has_its_reply)
{
    struct agent_refusal refusal = {.status = 502, .no_tunnel = rows[_i].no_tunnel};

    snprintf(refusal.error, sizeof refusal.error, "%s", rows[_i].error);
    ck_assert_msg((int)agent_socks_code(&refusal) == rows[_i].code, "%s: %d", rows[_i].error,
                  (int)agent_socks_code(&refusal));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("socks_code");
    TCase *tc = tcase_create("socks_code");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(tc, each_cause_has_its_reply, 0, sizeof rows / sizeof rows[0]);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
