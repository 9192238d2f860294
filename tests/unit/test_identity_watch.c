/* A renewed certificate is taken up: what no folder's watch tells is found by looking, what is not
 * right is left. Whole agents: tests/integration/test_identity.py. */
#include "agent/identity_watch.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/config.h"
#include "certs/mint.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/tls_cred.h"
#include "tests/support/scene.h"

#define LOOK_MS 300

static struct sp_loop *loop;
static struct sp_log *log_;
static struct agent_config *config;
static struct agent_identity_watch *watch;
static struct sp_timer *late;
static unsigned renewals;
static bool was_late;

static void on_renewed(void *ctx, struct agent_own *own)
{
    struct agent_config *next = agent_config_with_own(config, own);

    (void)ctx;
    renewals++;
    agent_config_unref(config);
    config = next;
    agent_identity_watch_follow(watch, config);
    agent_identity_watch_set_pace(watch, LOOK_MS);
    sp_loop_stop(loop);
}

static void on_late(void *ctx)
{
    (void)ctx;
    was_late = true;
    sp_loop_stop(loop);
}

/* elsewhere/me.pem and .key, under the names that the configuration has. */
static void put(const char *dn)
{
    const struct certs_spec spec = {.dn = dn};
    struct certs_pair *pair = NULL;
    char *pem, *key;

    ck_assert_int_eq(certs_mint(&spec, NULL, &pair, NULL), SP_OK);
    pem = certs_pair_certificate_pem(pair);
    key = certs_pair_key_pem(pair);
    scene_write("elsewhere/me.pem", pem);
    scene_write("elsewhere/me.key", key);
    ck_assert_int_eq(chmod("elsewhere/me.key", 0600), 0);
    free(pem);
    certs_secret_free(key);
    certs_pair_free(pair);
}

static void enter(void)
{
    scene_enter();
    ck_assert_int_eq(mkdir("elsewhere", 0755), 0);
    ck_assert_int_eq(mkdir("live", 0755), 0);
    ck_assert_int_eq(symlink("../elsewhere/me.pem", "live/me.pem"), 0);
    ck_assert_int_eq(symlink("../elsewhere/me.key", "live/me.key"), 0);
    put("CN=first");
    scene_write("agent.json",
                "{ \"gateways\": [\"127.0.0.1:1\"], \"server_name\": \"c1.example\",\n"
                "  \"identity\": {\"certificate\": \"live/me.pem\", "
                "\"private_key\": \"live/me.key\"},\n"
                "  \"server_validation\": {\"mode\": \"pinned\", "
                "\"ca_files\": [\"service-ca.pem\"]},\n"
                "  \"doors\": [{\"type\": \"http\", \"listen\": \"127.0.0.1:0\"}] }");
    ck_assert_int_eq(agent_config_load("agent.json", &config, NULL), SP_OK);
    ck_assert_int_eq(sp_loop_new(&loop, NULL), SP_OK);
    ck_assert_int_eq(sp_log_open("log", SP_LOG_JSON, SP_LOG_DEBUG, &log_, NULL), SP_OK);
    watch = agent_identity_watch_new(loop, log_, on_renewed, NULL);
    late = sp_timer_new(loop, on_late, NULL);
    agent_identity_watch_follow(watch, config);
    agent_identity_watch_set_pace(watch, LOOK_MS);
    renewals = 0;
    was_late = false;
}

static void leave(void)
{
    agent_identity_watch_free(watch);
    sp_timer_free(late);
    sp_loop_free(loop);
    sp_log_close(log_);
    agent_config_unref(config);
    ck_assert_int_eq(system("rm -rf elsewhere live log"), 0);
    scene_leave();
}

static void run(unsigned most_ms)
{
    was_late = false;
    sp_timer_start(late, most_ms);
    sp_loop_run(loop);
}

START_TEST(what_the_folders_do_not_tell_is_found_by_looking)
{
    run(3 * LOOK_MS); /* past what is read at the beginning */
    ck_assert(was_late);
    put("CN=second");
    run(30000);
    ck_assert(!was_late);
    ck_assert_str_eq(sp_tls_cred_subject(config->cred), "CN=second");
    run(3 * LOOK_MS);
    put("CN=third");
    run(30000);
    ck_assert(!was_late);
    ck_assert_str_eq(sp_tls_cred_subject(config->cred), "CN=third");
    ck_assert_uint_eq(renewals, 2);
}
END_TEST

START_TEST(what_stays_as_it_is_is_no_renewal)
{
    struct stat st;

    ck_assert_int_eq(system("touch elsewhere/me.pem live"), 0);
    run(6 * LOOK_MS);
    ck_assert(was_late);
    ck_assert_uint_eq(renewals, 0);
    sp_log_flush(log_);
    ck_assert_int_eq(stat("log", &st), 0);
    ck_assert_int_eq(st.st_size, 0);
}
END_TEST

START_TEST(a_folder_that_went_and_came_again_is_watched_again)
{
    ck_assert_int_eq(system("rm -r live"), 0);
    run(3 * LOOK_MS);
    ck_assert(was_late);
    ck_assert_int_eq(system("mkdir live && cp -p elsewhere/* live/"), 0);
    put("CN=second");
    ck_assert_int_eq(system("mv elsewhere/* live/"), 0);
    run(30000);
    ck_assert(!was_late);
    ck_assert_str_eq(sp_tls_cred_subject(config->cred), "CN=second");
}
END_TEST

static void on_peep(void *ctx)
{
    struct stat st;

    if (stat("log", &st) == 0 && st.st_size)
        sp_loop_stop(loop);
    else
        sp_timer_start(*(struct sp_timer **)ctx, 50);
}

START_TEST(what_stays_bad_is_told_once_and_not_at_once)
{
    uint64_t begun = sp_loop_now_ms(loop);
    struct sp_timer *peep;
    char *text, *first;

    peep = sp_timer_new(loop, on_peep, &peep);
    sp_timer_start(peep, 50);
    ck_assert_int_eq(unlink("elsewhere/me.key"), 0);
    run(60000); /* until it is told; then some looks more */
    ck_assert(!was_late);
    ck_assert_uint_ge(sp_loop_now_ms(loop) - begun, 3000);
    sp_timer_free(peep);
    run(3000);
    ck_assert_uint_eq(renewals, 0);
    sp_log_flush(log_);
    text = scene_read("log");
    first = strstr(text, "\"event\":\"identity\",\"ok\":false");
    ck_assert_msg(first != NULL, "%s", text);
    ck_assert_ptr_nonnull(strstr(text, "live/me.key: cannot be opened: No such file"));
    ck_assert_ptr_nonnull(strstr(text, "\"our_subject\":\"CN=first\""));
    ck_assert_ptr_null(strstr(first + 1, "\"event\""));
    free(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("identity_watch");
    TCase *tcase = tcase_create("identity_watch");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 90);
    tcase_add_checked_fixture(tcase, enter, leave);
    tcase_add_test(tcase, what_the_folders_do_not_tell_is_found_by_looking);
    tcase_add_test(tcase, what_stays_as_it_is_is_no_renewal);
    tcase_add_test(tcase, a_folder_that_went_and_came_again_is_watched_again);
    tcase_add_test(tcase, what_stays_bad_is_told_once_and_not_at_once);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
