#include "agent/answer.h"

#include "common/http1.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static enum agent_form form_of(const char *fields)
{
    struct sp_http1_head head;
    struct sp_error err;
    char text[2048];
    int status;

    snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", fields);
    ck_assert_int_eq(
        sp_http1_request_head((const uint8_t *)text, strlen(text), &head, &status, &err), SP_OK);
    return agent_answer_form(&head);
}

static const struct {
    const char *accept;
    enum agent_form form;
} accept_rows[] = {
    {"*/*", AGENT_FORM_TEXT}, /* curl */
    {"", AGENT_FORM_TEXT},
    {"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", AGENT_FORM_HTML},
    {"application/json, text/plain, */*", AGENT_FORM_JSON}, /* axios */
    {"application/json", AGENT_FORM_JSON},
    {"APPLICATION/JSON", AGENT_FORM_JSON},
    {"application/*", AGENT_FORM_JSON},
    {"text/*", AGENT_FORM_TEXT},
    {"text/*;q=0.5, text/html", AGENT_FORM_HTML},
    {"text/html;q=0.4, application/json;q=0.5", AGENT_FORM_JSON},
    {"text/html;q=0.501, application/json;q=0.5", AGENT_FORM_HTML},
    {"text/html ; Q=0.5 , application/json\t;q=0.49", AGENT_FORM_HTML},
    {"text/html;q=0, */*", AGENT_FORM_TEXT},
    {"text/plain;q=0, */*", AGENT_FORM_JSON}, /* not what was ruled out, though all is well */
    {"text/plain;q=0, application/json;q=0.000, */*", AGENT_FORM_HTML},
    {"text/html;q=0", AGENT_FORM_TEXT}, /* there must be some answer */
    {"image/png", AGENT_FORM_TEXT},
    {"text/html;charset=utf-8", AGENT_FORM_HTML},
    {"text/html;level=1, application/json;q=0.1", AGENT_FORM_JSON}, /* another kind of HTML */
    {"text/html;q=1;ext=\"a,b;q=0\", application/json;q=0.9", AGENT_FORM_HTML},
    /* Weights that are none say nothing: */
    {"text/html;q=2, application/json;q=0.1", AGENT_FORM_JSON},
    {"text/html;q=1.001, application/json;q=0.1", AGENT_FORM_JSON},
    {"text/html;q=0.1234, application/json;q=0.1", AGENT_FORM_JSON},
    {"text/html;q=, application/json;q=0.1", AGENT_FORM_JSON},
    {"text/html;q=-1, application/json;q=0.1", AGENT_FORM_JSON},
    {"text/html;q=0,5, application/json;q=0.1", AGENT_FORM_JSON},
    {"text/html;q=1., application/json;q=0.5", AGENT_FORM_HTML},
    /* So do ranges that are none: */
    {"text, */html, application/json;q=0.1", AGENT_FORM_JSON},
    {"text/htmlx, xtext/html, application/json;q=0.1", AGENT_FORM_JSON},
    {",,;,/,;q=1,*,application/json;q=0.1,", AGENT_FORM_JSON},
    {"\"text/html, application/json", AGENT_FORM_TEXT}, /* a quote that does not end */
    /* The more precise range wins over the general one, whatever their order: */
    {"*/*;q=1, text/html;q=0.2, application/json;q=0.3, text/plain;q=0.1", AGENT_FORM_JSON},
    {"application/json;q=0.3, text/html;q=0.2, text/plain;q=0.1, */*;q=1", AGENT_FORM_JSON},
};

START_TEST(accept_chooses_the_form)
{
    char fields[1024];

    snprintf(fields, sizeof fields, "Accept: %s\r\n", accept_rows[_i].accept);
    ck_assert_msg(form_of(fields) == accept_rows[_i].form, "Accept: %s: form %d",
                  accept_rows[_i].accept, (int)form_of(fields));
}
END_TEST

START_TEST(without_accept_it_is_text)
{
    ck_assert_int_eq(form_of(""), AGENT_FORM_TEXT);
    ck_assert_int_eq(form_of("Accept-Language: text/html\r\n"), AGENT_FORM_TEXT);
}
END_TEST

START_TEST(several_fields_are_one_list)
{
    ck_assert_int_eq(form_of("Accept: text/html;q=0.5\r\naccept: application/json\r\n"),
                     AGENT_FORM_JSON);
    ck_assert_int_eq(form_of("Accept: text/html\r\naccept: application/json;q=0.5\r\n"),
                     AGENT_FORM_HTML);
}
END_TEST

static char *written(void (*write)(FILE *, const char *), const char *text)
{
    char *result = NULL;
    size_t len;
    FILE *out = open_memstream(&result, &len);

    ck_assert_ptr_nonnull(out);
    write(out, text);
    fclose(out);
    return result;
}

static const struct {
    const char *text, *html, *plain;
} escape_rows[] = {
    {"a.example:443", "a.example:443", "a.example:443"},
    {"<script>alert('x')</script>", "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;",
     "<script>alert('x')</script>"},
    {"a & \"b\" \\ &amp;", "a &amp; &quot;b&quot; \\ &amp;amp;", "a & \"b\" \\ &amp;"},
    {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
    {"\x1b[31m\r\n\t\x7f", "\\u001b[31m\\r\\n\\t\\u007f", "\\u001b[31m\\r\\n\\t\\u007f"},
    {"\xe2\x80\xae"
     "abc",
     "\\u202eabc", "\\u202eabc"}, /* right-to-left override */
    {"\xff<\xc0\xbc", "\xef\xbf\xbd&lt;\xef\xbf\xbd\xef\xbf\xbd",
     "\xef\xbf\xbd<\xef\xbf\xbd\xef\xbf\xbd"}, /* an overlong '<' is none */
};

START_TEST(text_from_elsewhere_is_no_markup)
{
    char *html = written(agent_answer_html, escape_rows[_i].text);
    char *plain = written(agent_answer_text, escape_rows[_i].text);

    ck_assert_str_eq(html, escape_rows[_i].html);
    ck_assert_str_eq(plain, escape_rows[_i].plain);
    free(html);
    free(plain);
}
END_TEST

START_TEST(a_response_has_a_length_and_what_keeps_a_page_harmless)
{
    struct agent_answer answer = {.status = 503,
                                  .form = AGENT_FORM_HTML,
                                  .proxy_status = "a; error=b",
                                  .body = "<p>x</p>",
                                  .body_len = 8};
    static const char *const wanted[] = {
        "HTTP/1.1 503 Service Unavailable\r\n",
        "\r\nConnection: close\r\n",
        "\r\nContent-Type: text/html; charset=utf-8\r\n",
        "\r\nContent-Length: 8\r\n",
        "\r\nCache-Control: no-store\r\n",
        "\r\nContent-Security-Policy: default-src 'none';",
        "\r\nX-Content-Type-Options: nosniff\r\n",
        "\r\nProxy-Status: a; error=b\r\n",
    };
    size_t len;
    char *text = agent_answer_format(&answer, &len);

    ck_assert_uint_eq(len, strlen(text));
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        ck_assert_msg(strstr(text, wanted[i]) != NULL, "no %s in %s", wanted[i], text);
    ck_assert_str_eq(strstr(text, "\r\n\r\n"), "\r\n\r\n<p>x</p>");
    ck_assert_ptr_null(strstr(text, "Allow"));
    free(text);
    answer.head_only = true;
    answer.status = 405;
    text = agent_answer_format(&answer, &len);
    ck_assert_ptr_nonnull(strstr(text, "\r\nContent-Length: 8\r\n"));
    ck_assert_ptr_nonnull(strstr(text, "\r\nAllow: "));
    ck_assert_str_eq(strstr(text, "\r\n\r\n"), "\r\n\r\n");
    free(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("answer");
    TCase *tc = tcase_create("answer");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(tc, accept_chooses_the_form, 0, sizeof accept_rows / sizeof accept_rows[0]);
    tcase_add_test(tc, without_accept_it_is_text);
    tcase_add_test(tc, several_fields_are_one_list);
    tcase_add_loop_test(tc, text_from_elsewhere_is_no_markup, 0,
                        sizeof escape_rows / sizeof escape_rows[0]);
    tcase_add_test(tc, a_response_has_a_length_and_what_keeps_a_page_harmless);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
