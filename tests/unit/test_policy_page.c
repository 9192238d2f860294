/*
 * The tables of doc/POLICY.md say what is decided: each row is made here from real files, by the
 * programs' own loaders and sp_verdict_decide, and must stand in the page to the letter. SP_SHOW=1
 * prints them.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/config.h"
#include "gateway/tenant_config.h"
#include "tests/support/scene.h"

#define NOW         INT64_C(1800000000) /* 2027-01-15 */
#define FINGERPRINT "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* The columns: keys of a validation object, around the name of the reason. */
static const struct {
    const char *before, *after; /* after NULL: the reason is not named */
} columns[] = {
    {"", NULL},
    {", \"on_failure\": \"allow\"", NULL},
    {", \"on\": {\"", "\": \"allow\"}"},
    {", \"on_failure\": \"allow\", \"on\": {\"", "\": \"block\"}"},
    {", \"exceptions\": [{\"fingerprint\": \"" FINGERPRINT "\", \"reason\": \"",
     "\", \"until\": \"2027-01-31T00:00:00Z\"}]"},
    {", \"exceptions\": [{\"fingerprint\": \"" FINGERPRINT "\", \"reason\": \"",
     "\", \"until\": \"2027-01-01T00:00:00Z\"}]"},
};
#define COLUMNS (sizeof columns / sizeof columns[0])

static char *page, *page_path;

/* ---- one cell ---- */

/* What is decided about this one reason under these keys; NULL: they do not load. */
typedef const char *(*decide_fn)(const char *keys, enum sp_reason reason);

static const char *decide(const struct sp_policy *policy, enum sp_reason reason)
{
    const struct sp_facts facts = {
        .observed = SP_REASON_BIT(reason), .has_certificate = true, .fingerprint = FINGERPRINT};
    struct sp_verdict verdict;

    sp_verdict_decide(&facts, policy, NOW, &verdict);
    return sp_verdict_status(&verdict);
}

static const char *decide_at_gateway(const char *keys, enum sp_reason reason)
{
    struct gw_tenant_file file;
    const char *status;
    char text[1024];

    snprintf(text, sizeof text,
             "{ \"server_names\": [\"t.secure.example.net\"],"
             "  \"client_validation\": { \"trusted_cas\": [\"../client-ca.pem\"]%s } }",
             keys);
    scene_write("tenants.d/t.json", text);
    if (gw_tenant_file_load("tenants.d/t.json", &file, NULL) != SP_OK)
        return NULL;
    status = decide(&file.config->client_validation.policy, reason);
    gw_tenant_file_done(&file);
    return status;
}

static const char *decide_at_agent(const char *keys, enum sp_reason reason)
{
    struct agent_config *config;
    const char *status;
    char text[1024];

    snprintf(
        text, sizeof text,
        "{ \"gateways\": [\"127.0.0.1:8443\"], \"server_name\": \"c1.example\","
        "  \"identity\": { \"certificate\": \"client.pem\", \"private_key\": \"client.key\" },"
        "  \"server_validation\": { \"mode\": \"pinned\", \"ca_files\": [\"service-ca.pem\"]%s },"
        "  \"doors\": [ { \"type\": \"http\", \"listen\": \"127.0.0.1:3128\" } ] }",
        keys);
    scene_write("agent.json", text);
    if (agent_config_load("agent.json", &config, NULL) != SP_OK)
        return NULL;
    status = decide(&config->server_validation.policy, reason);
    agent_config_unref(config);
    return status;
}

static const char *cell(decide_fn decide_at, size_t column, enum sp_reason reason)
{
    char keys[512];
    const char *status;

    snprintf(keys, sizeof keys, "%s%s%s", columns[column].before,
             columns[column].after ? sp_reason_name(reason) : "",
             columns[column].after ? columns[column].after : "");
    status = decide_at(keys, reason);
    if (!status)
        return "not possible";
    return !strcmp(status, "failed") ? "block" : status;
}

/* ---- the page ---- */

static void make_row(decide_fn decide_at, enum sp_reason reason, char *row, size_t size)
{
    int alert = sp_reason_alert(reason);
    size_t used;

    used = (size_t)snprintf(row, size, "| `%s` |", sp_reason_name(reason));
    if (alert < 0)
        used += (size_t)snprintf(row + used, size - used, " none |");
    else
        used +=
            (size_t)snprintf(row + used, size - used, " %s (%d) |", sp_alert_name(alert), alert);
    for (size_t column = 0; column < COLUMNS; column++)
        used += (size_t)snprintf(row + used, size - used, " %s |", cell(decide_at, column, reason));
}

/* The index-th row of the table under that heading; false: there is none. */
static bool find_row(const char *heading, unsigned index, char *row, size_t size)
{
    const char *line = strstr(page, heading);

    if (line)
        line += strlen(heading) - 1;
    while (line && (line = strchr(line, '\n')) != NULL && strncmp(++line, "## ", 3) != 0)
        if (!strncmp(line, "| `", 3) && index-- == 0) {
            snprintf(row, size, "%.*s", (int)strcspn(line, "\n"), line);
            return true;
        }
    return false;
}

static const struct {
    const char *heading;
    decide_fn decide_at;
} tables[] = {
    {"\n## At the gateway\n", decide_at_gateway},
    {"\n## At the agent\n", decide_at_agent},
};

static void check_table(const char *heading, decide_fn decide_at)
{
    char wanted[512], found[512];

    for (unsigned reason = 0; reason < SP_REASON_COUNT; reason++) {
        make_row(decide_at, (enum sp_reason)reason, wanted, sizeof wanted);
        if (getenv("SP_SHOW"))
            fprintf(stderr, "%s\n", wanted);
        ck_assert_msg(find_row(heading, reason, found, sizeof found), "%sno row for: %s", heading,
                      wanted);
        ck_assert_msg(!strcmp(found, wanted), "%s  says   %s\n  wanted %s", heading, found, wanted);
    }
    ck_assert_msg(!find_row(heading, SP_REASON_COUNT, found, sizeof found), "one too many: %s",
                  found);
}

START_TEST(the_page_says_what_is_decided)
{
    scene_clear();
    page = scene_read(page_path);
    check_table(tables[_i].heading, tables[_i].decide_at);
    free(page);
}
END_TEST

/* ---- */

static void find_page(void)
{
    const char *named = getenv("SALLYPORT_SOURCE");
    const char *end = strstr(__FILE__, "tests/unit/");
    char path[512];

    if (named)
        snprintf(path, sizeof path, "%s/doc/POLICY.md", named);
    else
        snprintf(path, sizeof path, "%.*sdoc/POLICY.md", (int)(end - __FILE__), __FILE__);
    page_path = realpath(path, NULL);
    if (!page_path) {
        fprintf(stderr, "%s: not found; set SALLYPORT_SOURCE to the root of the sources\n", path);
        exit(1);
    }
}

int main(void)
{
    Suite *suite = suite_create("policy_page");
    TCase *tcase = tcase_create("policy_page");
    SRunner *runner;
    int failed;

    find_page();
    tcase_set_timeout(tcase, 60);
    tcase_add_unchecked_fixture(tcase, scene_enter, scene_leave);
    tcase_add_loop_test(tcase, the_page_says_what_is_decided, 0, 2);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    free(page_path);
    return failed != 0;
}
