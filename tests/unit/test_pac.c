/* What the file says, as text; what browsers make of it: tests/integration/test_pac.py. */
#include "agent/config.h"
#include "agent/pac.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct sp_json_field fields[] = {
    {.key = "routes",
     .type = SP_JSON_ARRAY,
     .offset = offsetof(struct agent_config, route_rows),
     .max = AGENT_ROUTES_MAX,
     .fields = agent_route_fields,
     .size = sizeof(struct agent_route)},
    {.key = NULL},
};

static char *pac_of(const char *route, const char *door, const char *proxy)
{
    static char path[] = "agent.json", web[] = "web";
    struct agent_door doors[] = {{.name = web}};
    struct agent_config config = {.path = path, .doors = doors, .door_count = 1};
    char json[512], *text;
    struct sp_error err;
    size_t len;
    FILE *out;

    snprintf(json, sizeof json, "{\"routes\": [%s]}", route);
    ck_assert_msg(sp_json_load_text("agent.json", json, strlen(json), fields, &config, &err) ==
                      SP_OK,
                  "%s: %s", err.where, err.text);
    ck_assert_int_eq(agent_routes_finish(&config, &err), SP_OK);
    out = open_memstream(&text, &len);
    agent_pac_write(&config, door, proxy, out);
    fclose(out);
    agent_routes_done(&config);
    sp_json_done(fields, &config);
    return text;
}

static const struct {
    const char *route, *door, *line; /* "": the route is not in the file */
} rows[] = {
    {"{\"via\": \"direct\"}", NULL, "if (true) return \"DIRECT\";"},
    {"{\"via\": \"tunnel\"}", NULL, "if (true) return agent;"},
    {"{\"via\": \"block\"}", NULL, "if (true) return agent;"},
    {"{\"host\": [\"a.example\", \"*.b_c.example\", \"*\"], \"via\": \"direct\"}", NULL,
     "if ((name === \"a.example\" || below(name, \".b_c.example\") || name !== null)) "
     "return \"DIRECT\";"},
    {"{\"cidr\": [\"10.0.0.0/8\", \"fe80::/10\"], \"via\": \"direct\"}", NULL,
     "if ((within(address, [10, 0, 0, 0], 8) || within(address, [254, 128, 0, 0, 0, 0, 0, 0, 0, "
     "0, 0, 0, 0, 0, 0, 0], 10))) return \"DIRECT\";"},
    {"{\"port\": [443, \"80-81\"], \"host\": \"a.example\", \"via\": \"direct\"}", NULL,
     "if ((name === \"a.example\") && (port === 443 || (port >= 80 && port <= 81))) "
     "return \"DIRECT\";"},
    {"{\"user\": \"joe\", \"port\": 1, \"via\": \"direct\"}", NULL,
     "if ((port === 1)) return agent;"},
    {"{\"door\": \"web\", \"via\": \"direct\"}", "web", "if (true) return \"DIRECT\";"},
    {"{\"door\": \"web\", \"via\": \"direct\"}", "other", ""},
    {"{\"door\": \"web\", \"via\": \"direct\"}", NULL, ""},
};

START_TEST(a_route_is_a_line_and_what_only_the_agent_knows_is_asked_of_it)
{
    char *text = pac_of(rows[_i].route, rows[_i].door, "127.0.0.1:3128");
    const char *mark = strstr(text, "// $.routes[0]\n  ");

    if (rows[_i].line[0]) {
        ck_assert_ptr_nonnull(mark);
        mark += strlen("// $.routes[0]\n  ");
        ck_assert_msg(strncmp(mark, rows[_i].line, strlen(rows[_i].line)) == 0 &&
                          mark[strlen(rows[_i].line)] == '\n',
                      "%.*s", (int)strcspn(mark, "\n"), mark);
    } else {
        ck_assert_ptr_null(mark);
    }
    free(text);
}
END_TEST

START_TEST(what_is_near_needs_no_route)
{
    static const char *const lines[] = {
        "if (name === \"localhost\" || below(name, \".localhost\")) return \"DIRECT\";\n",
        "if (within(address, [127, 0, 0, 0], 8)) return \"DIRECT\";\n",
        "if (within(address, [169, 254, 0, 0], 16)) return \"DIRECT\";\n",
        "if (within(address, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 128)) "
        "return \"DIRECT\";\n",
        "if (within(address, [254, 128, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 10)) "
        "return \"DIRECT\";\n",
    };
    char *text = pac_of("", NULL, "127.0.0.1:3128");

    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        ck_assert_msg(strstr(text, lines[i]), "%s", lines[i]);
    free(text);
}
END_TEST

/* Underscore is the only one of a name; the proxy's comes from the request. */
START_TEST(what_comes_from_elsewhere_cannot_leave_its_quotes)
{
    char *text = pac_of("", NULL, "a\"; alert(1); //\\\n</script>");

    ck_assert_ptr_nonnull(
        strstr(text, "var agent = \"PROXY a\\u0022\\u003b\\u0020alert\\u00281\\u0029\\u003b\\u0020"
                     "\\u002f\\u002f\\u005c\\u000a\\u003c\\u002fscript\\u003e\";\n"));
    free(text);
}
END_TEST

int main(void)
{
    SRunner *runner;
    TCase *tcase = tcase_create("pac");
    Suite *suite = suite_create("pac");
    int failed;

    tcase_add_loop_test(tcase, a_route_is_a_line_and_what_only_the_agent_knows_is_asked_of_it, 0,
                        sizeof rows / sizeof rows[0]);
    tcase_add_test(tcase, what_is_near_needs_no_route);
    tcase_add_test(tcase, what_comes_from_elsewhere_cannot_leave_its_quotes);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
