/*
 * Every file of tests/data/config-bad: KIND/NAME.json is put where KIND says, among otherwise good
 * files, and loading must end with the message in KIND/NAME.expect, to the letter. An .expect that
 * begins with "warning: " means: it loads, with this one warning.
 *     gateway   gateway.json
 *     tenant    tenants.d/NAME.json, beside tenants.d/good.json
 *     agent     agent.json
 */
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/config.h"
#include "gateway/registry.h"
#include "tests/support/scene.h"

#define CASES_MAX 512
#define CASES_MIN 60 /* the folder was found, and nobody emptied it */

struct bad_case {
    const char *kind;
    char *name; /* without .json */
};

static struct bad_case cases[CASES_MAX];
static int case_count;
static char *data_folder; /* absolute */

/* ---- finding the cases ---- */

static void find_data_folder(void)
{
    const char *named = getenv("SALLYPORT_SOURCE");
    char path[512];
    const char *end = strstr(__FILE__, "tests/unit/");

    if (named)
        snprintf(path, sizeof path, "%s/tests/data/config-bad", named);
    else
        snprintf(path, sizeof path, "%.*stests/data/config-bad", (int)(end - __FILE__), __FILE__);
    data_folder = realpath(path, NULL);
    if (!data_folder) {
        fprintf(stderr, "%s: not found; set SALLYPORT_SOURCE to the root of the sources\n", path);
        exit(1);
    }
}

static void find_cases(const char *kind)
{
    char path[1024];
    const struct dirent *entry;
    const char *dot;
    DIR *dir;

    snprintf(path, sizeof path, "%s/%s", data_folder, kind);
    dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        dot = strrchr(entry->d_name, '.');
        if (!dot || strcmp(dot, ".json") || case_count == CASES_MAX)
            continue;
        cases[case_count].kind = kind;
        cases[case_count++].name = strndup(entry->d_name, (size_t)(dot - entry->d_name));
    }
    if (dir)
        closedir(dir);
}

static int compare_cases(const void *a, const void *b)
{
    const struct bad_case *left = a;
    const struct bad_case *right = b;
    int by_kind = strcmp(left->kind, right->kind);

    return by_kind ? by_kind : strcmp(left->name, right->name);
}

/* ---- running one ---- */

static void write_good_files(void)
{
    scene_clear();
    scene_write("gateway.json",
                "{ \"listen\": [\"127.0.0.1:0\"], \"tenants\": \"tenants.d\",\n"
                "  \"common\": { \"server_names\": [\"secure.example.net\"],\n"
                "    \"certificate\": \"common.pem\", \"private_key\": \"common.key\" } }");
    scene_write("tenants.d/good.json",
                "{ \"server_names\": [\"good.secure.example.net\"],\n"
                "  \"client_validation\": { \"trusted_cas\": [\"../client-ca.pem\"] } }");
}

static void copy_case(const struct bad_case *bad)
{
    char from[1024], to[256];
    char *text;

    snprintf(from, sizeof from, "%s/%s/%s.json", data_folder, bad->kind, bad->name);
    if (!strcmp(bad->kind, "tenant"))
        snprintf(to, sizeof to, "tenants.d/%s.json", bad->name);
    else
        snprintf(to, sizeof to, "%s.json", bad->kind);
    text = scene_read(from);
    scene_write(to, text);
    free(text);
}

/* What loading said: an error's message, "warning: ..." lines, or "loads without a word". */
static void say(char *said, size_t size, bool loaded, const struct sp_error *err,
                const struct sp_warnings *warnings)
{
    size_t used = 0, i;

    if (!loaded) {
        sp_error_message(err, said, size);
        return;
    }
    snprintf(said, size, "loads without a word");
    for (i = 0; i < warnings->count && used < size; i++)
        used += (size_t)snprintf(said + used, size - used, "%swarning: %s: %s", i ? "\n" : "",
                                 warnings->items[i].where, warnings->items[i].text);
}

static void load_gateway(char *said, size_t size)
{
    static const uint8_t master[GW_TICKET_MASTER_LEN];
    struct gw_registry *registry = NULL;
    struct sp_error err = {.text = ""};
    bool loaded = gw_registry_load("gateway.json", master, NULL, &registry, &err) == SP_OK;

    ck_assert(loaded == (registry != NULL));
    say(said, size, loaded, &err, registry ? &registry->warnings : NULL);
    gw_registry_unref(registry);
}

static void load_agent(char *said, size_t size)
{
    struct agent_config *config = NULL;
    struct sp_error err = {.text = ""};
    bool loaded = agent_config_load("agent.json", &config, &err) == SP_OK;

    ck_assert(loaded == (config != NULL));
    say(said, size, loaded, &err, config ? &config->warnings : NULL);
    agent_config_unref(config);
}

/* Dates in messages depend on the day of the test; the files write DATE. */
static void hide_dates(char *text)
{
    char *open = text;
    size_t len = sizeof "2026-11-21T21:46:50Z" - 1;

    while ((open = strchr(open, '('))) {
        open++;
        if (strlen(open) > len && open[len] == ')' && open[len - 1] == 'Z' && open[10] == 'T') {
            memcpy(open, "DATE", 4);
            memmove(open + 4, open + len, strlen(open + len) + 1);
        }
    }
}

START_TEST(a_bad_file_is_refused_with_its_message)
{
    const struct bad_case *bad = &cases[_i];
    char path[1024], said[2048];
    char *wanted;

    write_good_files();
    copy_case(bad);
    if (!strcmp(bad->kind, "agent"))
        load_agent(said, sizeof said);
    else
        load_gateway(said, sizeof said);
    hide_dates(said);
    snprintf(path, sizeof path, "%s/%s/%s.expect", data_folder, bad->kind, bad->name);
    wanted = scene_read(path);
    wanted[strcspn(wanted, "\n")] = '\0';
    ck_assert_msg(!strcmp(said, wanted), "%s/%s.json\n  said   %s\n  wanted %s", bad->kind,
                  bad->name, said, wanted);
    free(wanted);
}
END_TEST

START_TEST(the_files_around_a_case_are_good)
{
    char said[2048];

    write_good_files();
    load_gateway(said, sizeof said);
    ck_assert_str_eq(said, "loads without a word");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config_bad");
    TCase *tcase = tcase_create("config_bad");
    SRunner *runner;
    int failed;

    find_data_folder();
    find_cases("agent");
    find_cases("gateway");
    find_cases("tenant");
    qsort(cases, (size_t)case_count, sizeof cases[0], compare_cases);
    tcase_add_unchecked_fixture(tcase, scene_enter, scene_leave);
    tcase_add_test(tcase, the_files_around_a_case_are_good);
    tcase_add_loop_test(tcase, a_bad_file_is_refused_with_its_message, 0, case_count);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    if (case_count < CASES_MIN) {
        fprintf(stderr, "only %d cases in %s\n", case_count, data_folder);
        failed = 1;
    }
    while (case_count)
        free(cases[--case_count].name);
    free(data_folder);
    return failed != 0;
}
