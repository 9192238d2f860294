/* Which way a destination takes. Rows that cannot be: tests/data/config-bad. */
#include "agent/config.h"
#include "agent/hosts.h"
#include "agent/routes.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct sp_json_field fields[] = {
    {.key = "routes",
     .type = SP_JSON_ARRAY,
     .offset = offsetof(struct agent_config, route_rows),
     .max = AGENT_ROUTES_MAX,
     .fields = agent_route_fields,
     .size = sizeof(struct agent_route)},
    {.key = NULL},
};

static char config_path[] = "agent.json", web[] = "web", ssh[] = "ssh";
static struct agent_door doors[] = {{.name = NULL}, {.name = web}, {.name = ssh}};
static struct agent_config config;

static enum sp_err load(const char *routes, struct sp_error *err)
{
    char text[4096];
    enum sp_err rc;

    snprintf(text, sizeof text, "{\"routes\": [%s]}", routes);
    config = (struct agent_config){
        .path = config_path, .doors = doors, .door_count = sizeof doors / sizeof doors[0]};
    rc = sp_json_load_text("agent.json", text, strlen(text), fields, &config, err);
    return rc == SP_OK ? agent_routes_finish(&config, err) : rc;
}

static void unload(void)
{
    agent_routes_done(&config);
    sp_json_done(fields, &config);
}

static void must_load(const char *routes)
{
    struct sp_error err = {.text = ""};

    ck_assert_msg(load(routes, &err) == SP_OK, "%s: %s", err.where, err.text);
}

/* "tunnel: built in: everything else" */
static const char *decide(const char *destination, struct agent_route_question q)
{
    static char text[AGENT_RULE_TEXT + 16];
    char rule[AGENT_RULE_TEXT];
    struct sp_target target;
    struct agent_way way;

    ck_assert_int_eq(sp_target_parse(destination, strlen(destination), &target, NULL), SP_OK);
    q.target = &target;
    way = agent_route_decide(&config, &q);
    snprintf(text, sizeof text, "%s: %s", agent_via_name(way.via),
             agent_route_rule(&config, &way, rule));
    return text;
}

/* ---- what is built in ---- */

#define TUNNEL   "tunnel: built in: everything else"
#define LOOPBACK "direct: built in: loopback"
#define LINK     "direct: built in: link-local"
#define LOCAL    "direct: built in: localhost"
#define HOSTS    "direct: built in: a name of the hosts file"

static const struct {
    const char *destination, *expected;
} without_routes[] = {
    {"db.example:443", TUNNEL},
    {"127.0.0.1:443", LOOPBACK},
    {"127.255.255.254:1", LOOPBACK},
    {"128.0.0.1:1", TUNNEL},
    {"[::1]:443", LOOPBACK},
    {"[::ffff:127.0.0.1]:443", LOOPBACK},
    {"[::2]:443", TUNNEL},
    {"169.254.10.1:80", LINK},
    {"169.255.0.1:80", TUNNEL},
    {"[fe80::1]:80", LINK},
    {"[febf::1]:80", LINK},
    {"[fec0::1]:80", TUNNEL},
    {"10.0.0.1:80", TUNNEL},
    {"0.0.0.0:80", TUNNEL},
    {"localhost:80", LOCAL},
    {"LocalHost.:80", LOCAL},
    {"a.b.localhost:80", LOCAL},
    {"notlocalhost:80", TUNNEL},
    {"localhost.example:80", TUNNEL},
    {"printer:631", HOSTS},
    {"Printer.Office.Example:631", HOSTS},
    {"office.example:631", TUNNEL},
    {"other:631", TUNNEL},
};

static struct agent_hosts *hosts_of(const char *text, char path[32])
{
    struct agent_hosts *hosts;
    int fd;

    strcpy(path, "/tmp/sallyport-hosts-XXXXXX");
    fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    hosts = agent_hosts_new(path);
    agent_hosts_refresh(hosts);
    return hosts;
}

START_TEST(without_routes_what_is_near_goes_directly_and_the_rest_by_the_tunnel)
{
    char path[32];
    struct agent_hosts *hosts =
        hosts_of("192.0.2.9 printer PRINTER.office.example # other\n", path);

    must_load("");
    ck_assert_str_eq(
        decide(without_routes[_i].destination, (struct agent_route_question){.hosts = hosts}),
        without_routes[_i].expected);
    unload();
    agent_hosts_free(hosts);
    unlink(path);
}
END_TEST

START_TEST(a_destination_of_the_configuration_is_never_taken_for_this_machine)
{
    must_load("{\"cidr\": \"127.0.0.2\", \"via\": \"direct\"}");
    ck_assert_str_eq(decide("127.0.0.1:5432", (struct agent_route_question){.fixed = true}),
                     TUNNEL);
    ck_assert_str_eq(decide("localhost:5432", (struct agent_route_question){.fixed = true}),
                     TUNNEL);
    ck_assert_str_eq(decide("127.0.0.2:5432", (struct agent_route_question){.fixed = true}),
                     "direct: agent.json: $.routes[0]");
    unload();
}
END_TEST

START_TEST(a_name_beside_the_address_counts_as_the_name)
{
    char path[32];
    struct agent_hosts *hosts = hosts_of("192.0.2.9 printer\n", path);
    struct agent_route_question q = {.alt_name = "www.db.example", .hosts = hosts};

    must_load("{\"host\": \"*.db.example\", \"via\": \"block\"},"
              "{\"cidr\": \"192.0.2.0/24\", \"via\": \"direct\"}");
    ck_assert_str_eq(decide("192.0.2.9:443", q), "block: agent.json: $.routes[0]");
    q.alt_name = "db.example";
    ck_assert_str_eq(decide("192.0.2.9:443", q), "direct: agent.json: $.routes[1]");
    ck_assert_str_eq(decide("203.0.113.9:443", q), TUNNEL);
    q.alt_name = "printer";
    ck_assert_str_eq(decide("203.0.113.9:443", q), HOSTS);
    unload();
    agent_hosts_free(hosts);
    unlink(path);
}
END_TEST

/* ---- each condition ---- */

static const struct {
    const char *route; /* without its "via" */
    const char *destination, *door, *user;
    bool matches;
} conditions[] = {
    {"", "db.example:1", NULL, NULL, true},
    {"\"host\": \"DB.Example.\"", "db.example:1", NULL, NULL, true},
    {"\"host\": \"db.example\"", "a.db.example:1", NULL, NULL, false},
    {"\"host\": \"db.example\"", "xdb.example:1", NULL, NULL, false},
    {"\"host\": \"*.Example\"", "db.example:1", NULL, NULL, true},
    {"\"host\": \"*.example\"", "a.b.c.example:1", NULL, NULL, true},
    {"\"host\": \"*.example\"", "example:1", NULL, NULL, false},
    {"\"host\": \"*.example\"", "dbexample:1", NULL, NULL, false},
    {"\"host\": \"*.example\"", "db.example.com:1", NULL, NULL, false},
    {"\"host\": \"*\"", "db.example:1", NULL, NULL, true},
    {"\"host\": \"*\"", "192.0.2.1:1", NULL, NULL, false},
    {"\"host\": [\"a.example\", \"b.example\"]", "b.example:1", NULL, NULL, true},
    {"\"host\": [\"a.example\", \"b.example\"]", "c.example:1", NULL, NULL, false},
    {"\"cidr\": \"192.0.2.0/25\"", "192.0.2.127:1", NULL, NULL, true},
    {"\"cidr\": \"192.0.2.0/25\"", "192.0.2.128:1", NULL, NULL, false},
    {"\"cidr\": \"192.0.2.0/25\"", "[::ffff:192.0.2.1]:1", NULL, NULL, true},
    {"\"cidr\": \"192.0.2.1\"", "192.0.2.1:1", NULL, NULL, true},
    {"\"cidr\": \"0.0.0.0/0\"", "[2001:db8::1]:1", NULL, NULL, false},
    {"\"cidr\": \"0.0.0.0/0\"", "db.example:1", NULL, NULL, false},
    {"\"cidr\": [\"10.0.0.0/8\", \"2001:db8::/32\"]", "[2001:db8:1::1]:1", NULL, NULL, true},
    {"\"port\": 443", "db.example:443", NULL, NULL, true},
    {"\"port\": 443", "db.example:444", NULL, NULL, false},
    {"\"port\": \"443\"", "db.example:443", NULL, NULL, true},
    {"\"port\": \"8000-8099\"", "db.example:8000", NULL, NULL, true},
    {"\"port\": \"8000-8099\"", "db.example:8099", NULL, NULL, true},
    {"\"port\": \"8000-8099\"", "db.example:8100", NULL, NULL, false},
    {"\"port\": \"8000-8099\"", "db.example:7999", NULL, NULL, false},
    {"\"port\": [22, \"1-2\", 65535]", "db.example:65535", NULL, NULL, true},
    {"\"port\": [22, \"1-2\", 65535]", "db.example:2", NULL, NULL, true},
    {"\"port\": [22, \"1-2\", 65535]", "db.example:3", NULL, NULL, false},
    {"\"door\": \"web\"", "db.example:1", "web", NULL, true},
    {"\"door\": \"web\"", "db.example:1", "ssh", NULL, false},
    {"\"door\": \"web\"", "db.example:1", NULL, NULL, false},
    {"\"door\": [\"ssh\", \"web\"]", "db.example:1", "web", NULL, true},
    {"\"user\": \"alice\"", "db.example:1", NULL, "alice", true},
    {"\"user\": \"alice\"", "db.example:1", NULL, "Alice", false},
    {"\"user\": \"alice\"", "db.example:1", NULL, NULL, false},
    {"\"user\": [\"bob\", \"alice\"]", "db.example:1", NULL, "alice", true},
    {"\"host\": \"*.example\", \"port\": 22, \"door\": \"ssh\", \"user\": \"bob\"", "a.example:22",
     "ssh", "bob", true},
    {"\"host\": \"*.example\", \"port\": 22, \"door\": \"ssh\", \"user\": \"bob\"", "a.example:23",
     "ssh", "bob", false},
    {"\"host\": \"*.example\", \"port\": 22, \"door\": \"ssh\", \"user\": \"bob\"", "a.test:22",
     "ssh", "bob", false},
    {"\"host\": \"*.example\", \"port\": 22, \"door\": \"ssh\", \"user\": \"bob\"", "a.example:22",
     "web", "bob", false},
    {"\"host\": \"*.example\", \"port\": 22, \"door\": \"ssh\", \"user\": \"bob\"", "a.example:22",
     "ssh", "eve", false},
    {"\"host\": \"*.example\", \"cidr\": \"10.0.0.0/8\"", "10.0.0.1:22", NULL, NULL, false},
};

START_TEST(all_conditions_of_a_route_must_hold_and_one_item_of_each)
{
    char route[256];

    snprintf(route, sizeof route, "{%s%s\"via\": \"block\"}", conditions[_i].route,
             conditions[_i].route[0] ? ", " : "");
    must_load(route);
    ck_assert_str_eq(decide(conditions[_i].destination,
                            (struct agent_route_question){.door = conditions[_i].door,
                                                          .user = conditions[_i].user}),
                     conditions[_i].matches ? "block: agent.json: $.routes[0]" : TUNNEL);
    unload();
}
END_TEST

START_TEST(the_first_match_wins_over_later_ones_and_over_what_is_built_in)
{
    must_load("{\"host\": \"a.b.example\", \"via\": \"tunnel\"},"
              "{\"host\": \"*.b.example\", \"via\": \"block\"},"
              "{\"host\": \"*.example\", \"via\": \"direct\"},"
              "{\"cidr\": \"127.0.0.0/8\", \"port\": 80, \"via\": \"tunnel\"}");
    ck_assert_str_eq(decide("a.b.example:1", (struct agent_route_question){0}),
                     "tunnel: agent.json: $.routes[0]");
    ck_assert_str_eq(decide("c.b.example:1", (struct agent_route_question){0}),
                     "block: agent.json: $.routes[1]");
    ck_assert_str_eq(decide("b.example:1", (struct agent_route_question){0}),
                     "direct: agent.json: $.routes[2]");
    ck_assert_str_eq(decide("127.0.0.1:80", (struct agent_route_question){0}),
                     "tunnel: agent.json: $.routes[3]");
    ck_assert_str_eq(decide("127.0.0.1:81", (struct agent_route_question){0}), LOOPBACK);
    unload();
}
END_TEST

START_TEST(a_door_that_is_named_must_be_there)
{
    struct sp_error err;

    ck_assert_int_eq(load("{\"via\": \"tunnel\"}, {\"door\": [\"web\", \"wbe\"], "
                          "\"via\": \"direct\"}",
                          &err),
                     SP_ERR_CONFIG);
    ck_assert_str_eq(err.where, "agent.json: $.routes[1].door");
    ck_assert_ptr_nonnull(strstr(err.text, "\"wbe\""));
    unload();
}
END_TEST

int main(void)
{
    SRunner *runner;
    TCase *tcase = tcase_create("routes");
    Suite *suite = suite_create("routes");
    int failed;

    tcase_add_loop_test(tcase, without_routes_what_is_near_goes_directly_and_the_rest_by_the_tunnel,
                        0, sizeof without_routes / sizeof without_routes[0]);
    tcase_add_test(tcase, a_destination_of_the_configuration_is_never_taken_for_this_machine);
    tcase_add_test(tcase, a_name_beside_the_address_counts_as_the_name);
    tcase_add_loop_test(tcase, all_conditions_of_a_route_must_hold_and_one_item_of_each, 0,
                        sizeof conditions / sizeof conditions[0]);
    tcase_add_test(tcase, the_first_match_wins_over_later_ones_and_over_what_is_built_in);
    tcase_add_test(tcase, a_door_that_is_named_must_be_there);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
