#include "agent/refusal_page.h"

#include "agent/advice.h"
#include "agent/uplink.h"

#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char hostile[] = "<script>\"x\"</script>&'\r\nSet-Cookie: a=b\x1b[2J";

static struct agent_refusal refusal_of(const char *error, const char *text)
{
    struct agent_refusal refusal = {.status = 403, .support_id = "7KQF-3M2P"};

    snprintf(refusal.error, sizeof refusal.error, "%s", error);
    snprintf(refusal.text, sizeof refusal.text, "%s", text);
    return refusal;
}

static char *page(const struct agent_refusal *refusal, enum agent_form form, bool head_only,
                  const char *other)
{
    const struct agent_refusal_page p = {
        .refusal = refusal,
        .contact = other,
        .destination = other,
        .time = 1795340000,
        .form = form,
        .head_only = head_only,
    };
    size_t len;
    char *text = agent_refusal_page_format(&p, &len);

    ck_assert_uint_eq(strlen(text), len);
    return text;
}

static const char *body_of(const char *text)
{
    const char *end = strstr(text, "\r\n\r\n");

    ck_assert_ptr_nonnull(end);
    return end + 4;
}

START_TEST(nothing_hostile_gets_out_of_its_place)
{
    struct agent_refusal refusal = refusal_of("http_request_denied", hostile);
    char *text = page(&refusal, (enum agent_form)_i, false, hostile);
    const char *body = body_of(text);
    const char *cookie = strstr(text, "\nSet-Cookie");

    ck_assert_ptr_null(cookie);
    ck_assert_ptr_null(strchr(text, '\x1b'));
    if (_i == AGENT_FORM_HTML)
        ck_assert_ptr_null(strstr(body, "<script"));
    ck_assert_ptr_nonnull(strstr(text, "\r\nProxy-Status: sallyport-agent; "
                                       "error=http_request_denied; details=\"<script>"));
    ck_assert_ptr_nonnull(strstr(body, "7KQF-3M2P"));
    free(text);
}
END_TEST

START_TEST(json_has_the_fields_that_are_documented)
{
    struct agent_refusal refusal = refusal_of("http_request_denied", hostile);
    char *text = page(&refusal, AGENT_FORM_JSON, false, hostile);
    json_t *root = json_loads(body_of(text), JSON_REJECT_DUPLICATES, NULL);
    const char *error, *reason, *what, *id, *contact, *destination, *time;
    int status;

    ck_assert_ptr_nonnull(root);
    ck_assert_int_eq(json_unpack(root, "{s:i,s:s,s:s,s:s,s:s,s:s,s:s,s:s!}", "status", &status,
                                 "error", &error, "reason", &reason, "what_to_do", &what,
                                 "support_id", &id, "contact", &contact, "destination",
                                 &destination, "time", &time),
                     0);
    ck_assert_int_eq(status, 403);
    ck_assert_str_eq(error, "http_request_denied");
    ck_assert_str_eq(reason, hostile);
    ck_assert_str_eq(what, agent_advice_refusal(&refusal));
    ck_assert_str_eq(id, "7KQF-3M2P");
    ck_assert_str_eq(contact, hostile);
    ck_assert_str_eq(destination, hostile);
    ck_assert_str_eq(time, "2026-11-22T09:33:20Z");
    json_decref(root);
    free(text);
}
END_TEST

START_TEST(what_is_not_known_is_left_out)
{
    struct agent_refusal refusal = refusal_of("", "x");
    char *text = page(&refusal, AGENT_FORM_JSON, false, NULL);

    ck_assert_ptr_null(strstr(text, "contact"));
    ck_assert_ptr_null(strstr(text, "destination"));
    ck_assert_ptr_null(strstr(text, "\"error\""));
    free(text);
    text = page(&refusal, AGENT_FORM_HTML, false, NULL);
    ck_assert_ptr_null(strstr(text, "Whom to ask"));
    ck_assert_ptr_null(strstr(text, "Destination"));
    free(text);
}
END_TEST

START_TEST(text_begins_with_the_reason)
{
    struct agent_refusal refusal = refusal_of("dns_error", "a.example: no such name");
    char *text = page(&refusal, AGENT_FORM_TEXT, false, "Call 42");

    ck_assert_str_eq(body_of(text), "a.example: no such name\nCheck the spelling of the name.\n"
                                    "Call 42\nsupport id: 7KQF-3M2P\n");
    free(text);
}
END_TEST

START_TEST(the_reason_is_a_sentence_on_the_page)
{
    struct agent_refusal refusal = refusal_of("dns_error", "no such name");
    char *text = page(&refusal, AGENT_FORM_HTML, false, NULL);

    ck_assert_ptr_nonnull(strstr(text, "<p>No such name.</p>"));
    free(text);
    memset(refusal.text, 'a', sizeof refusal.text - 1); /* as long as it can be */
    text = page(&refusal, AGENT_FORM_HTML, false, NULL);
    ck_assert_ptr_nonnull(strstr(text, "aaaa.</p>"));
    free(text);
    refusal.text[0] = '\0';
    text = page(&refusal, AGENT_FORM_HTML, false, NULL);
    free(text);
}
END_TEST

START_TEST(head_has_the_length_of_what_get_would_have_had)
{
    struct agent_refusal refusal = refusal_of("dns_error", "x");
    char *get = page(&refusal, (enum agent_form)_i, false, NULL);
    char *head = page(&refusal, (enum agent_form)_i, true, NULL);
    char wanted[64];

    snprintf(wanted, sizeof wanted, "\r\nContent-Length: %zu\r\n", strlen(body_of(get)));
    ck_assert_ptr_nonnull(strstr(get, wanted));
    ck_assert_ptr_nonnull(strstr(head, wanted));
    ck_assert_str_eq(body_of(head), "");
    free(get);
    free(head);
}
END_TEST

START_TEST(support_ids_are_short_plain_and_not_the_same)
{
    char ids[64][AGENT_SUPPORT_ID_LEN];

    for (size_t i = 0; i < 64; i++) {
        agent_refusal_page_id(ids[i]);
        ck_assert_uint_eq(strlen(ids[i]), 9);
        ck_assert_int_eq(ids[i][4], '-');
        ck_assert_uint_eq(strspn(ids[i], "0123456789ABCDEFGHJKMNPQRSTVWXYZ-"), 9);
        for (size_t k = 0; k < i; k++)
            ck_assert_str_ne(ids[i], ids[k]);
    }
}
END_TEST

/* RFC 9209 2.3, and what our own doors say. */
static const char *const errors[] = {
    "dns_timeout",
    "dns_error",
    "destination_not_found",
    "destination_unavailable",
    "destination_ip_prohibited",
    "destination_ip_unroutable",
    "connection_refused",
    "connection_terminated",
    "connection_timeout",
    "connection_limit_reached",
    "tls_protocol_error",
    "tls_certificate_error",
    "tls_alert_received",
    "http_request_error",
    "http_request_denied",
    "http_protocol_error",
    "socks_login_refused",
    "",
    "what nobody has heard of",
};

START_TEST(every_refusal_has_advice)
{
    struct agent_refusal refusal = refusal_of(errors[_i], "x");

    for (int no_tunnel = 0; no_tunnel < 2; no_tunnel++) {
        const char *advice;

        refusal.no_tunnel = no_tunnel;
        advice = agent_advice_refusal(&refusal);
        ck_assert_uint_gt(strlen(advice), 8);
        ck_assert_int_eq(advice[strlen(advice) - 1], '.');
    }
}
END_TEST

START_TEST(every_state_but_up_has_advice)
{
    for (int state = 0; state < AGENT_STATE_COUNT; state++)
        ck_assert_int_eq(agent_advice_state((enum agent_state)state)[0] == '\0',
                         state == AGENT_STATE_UP);
    ck_assert_str_eq(agent_advice_state(AGENT_STATE_COUNT), "");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("refusal_page");
    TCase *tc = tcase_create("refusal_page");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(tc, nothing_hostile_gets_out_of_its_place, 0, AGENT_FORM_COUNT);
    tcase_add_test(tc, json_has_the_fields_that_are_documented);
    tcase_add_test(tc, what_is_not_known_is_left_out);
    tcase_add_test(tc, text_begins_with_the_reason);
    tcase_add_test(tc, the_reason_is_a_sentence_on_the_page);
    tcase_add_loop_test(tc, head_has_the_length_of_what_get_would_have_had, 0, AGENT_FORM_COUNT);
    tcase_add_test(tc, support_ids_are_short_plain_and_not_the_same);
    tcase_add_loop_test(tc, every_refusal_has_advice, 0, sizeof errors / sizeof errors[0]);
    tcase_add_test(tc, every_state_but_up_has_advice);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
