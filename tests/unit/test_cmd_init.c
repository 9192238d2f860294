#include "certs/cmd_init.h"
#include "certs/lab.h"
#include "tests/support/scratch.h"

#include <time.h>
#include <unistd.h>

static struct scratch *scratch;

static void set_up(void)
{
    scratch = scratch_new();
    ck_assert_int_eq(chdir(scratch->path), 0); /* each test is a process of its own */
}

static void tear_down(void)
{
    ck_assert_int_eq(chdir("/"), 0);
    scratch_free(scratch);
}

#define ARGS_MAX 8

/* words ends with NULL and starts behind the command's name. */
static enum sp_err init(const char *const *words, char **ret_text, struct sp_error *err)
{
    char *argv[ARGS_MAX + 2] = {sp_strdup("init")};
    int argc = 1;
    enum sp_err rc;

    for (; *words; words++)
        argv[argc++] = sp_strdup(*words);
    rc = certs_cmd_init.run(argc, argv, ret_text, err);
    /* Options may keep argv's memory only while the command runs. */
    for (int i = 0; i < argc; i++)
        free(argv[i]);
    return rc;
}

static char *init_well(const char *const *words)
{
    struct sp_error err = {0};
    char *text = NULL;

    ck_assert_msg(init(words, &text, &err) == SP_OK, "%s: %s", err.where, err.text);
    ck_assert_ptr_nonnull(text);
    return text;
}

static void make_lab(void)
{
    const char *const words[] = {"lab", NULL};

    free(init_well(words));
}

static void assert_file_has(const char *file, const char *wanted)
{
    ck_assert_int_eq(scratch_run(scratch, "cat %s", file), 0);
    ck_assert_msg(strstr(scratch->output, wanted), "no '%s' in %s:\n%s", wanted, file,
                  scratch->output);
}

/* Trust anchor, certificate, and what openssl says. A leaf's file carries its intermediate. */
static const struct {
    const char *anchor, *certificate, *options, *wanted;
} verdicts[] = {
    {"service-root", "server/common", "-purpose sslserver -verify_hostname secure.example.net",
     "OK"},
    {"service-root", "server/common",
     "-purpose sslserver -verify_hostname c234567.secure.example.net", "OK"},
    {"service-root", "server/common", "-verify_hostname a.b.secure.example.net", "error 62"},
    {"service-root", "server/common", "-purpose sslclient", "error 26"},
    {"service-root", "server/c123456",
     "-purpose sslserver -verify_hostname c123456.secure.example.net", "OK"},
    {"service-root", "server/c123456", "-verify_hostname c234567.secure.example.net", "error 62"},
    {"acme-root", "clients/acme-alice", "-purpose sslclient", "OK"},
    {"acme-root", "clients/acme-bob", "-purpose sslclient", "OK"},
    {"acme-root", "clients/acme-bob", "-purpose sslserver", "error 26"},
    {"globex-root", "clients/globex-carol", "-purpose sslclient", "OK"},
    {"globex-root", "clients/globex-dave", "-purpose sslclient", "OK"},
    {"globex-root", "clients/acme-alice", "-purpose sslclient", "error 20"},
    {"acme-root", "clients/globex-carol", "-purpose sslclient", "error 20"},
    {"service-root", "clients/acme-alice", "-purpose sslclient", "error 20"},
    {"acme-root", "server/common", "-purpose sslserver", "error 20"},
};

START_TEST(openssl_agrees_who_is_trusted_by_whom)
{
    make_lab();
    scratch_run(scratch, "cd lab && openssl verify %s -CAfile ca/%s.pem -untrusted %s.pem %s.pem",
                verdicts[_i].options, verdicts[_i].anchor, verdicts[_i].certificate,
                verdicts[_i].certificate);
    ck_assert_msg(strstr(scratch->output, verdicts[_i].wanted), "wanted '%s', got:\n%s",
                  verdicts[_i].wanted, scratch->output);
}
END_TEST

START_TEST(every_key_is_private_and_fits_its_certificate)
{
    make_lab();
    ck_assert_int_eq(scratch_run(scratch, "find lab -name '*.key' ! -perm 600"), 0);
    ck_assert_str_eq(scratch->output, "");
    ck_assert_msg(scratch_run(scratch,
                              "for k in lab/*/*.key; do "
                              "openssl x509 -in ${k%%.key}.pem -noout -pubkey > a && "
                              "openssl pkey -in $k -pubout > b && cmp a b || exit 1; done") == 0,
                  "%s", scratch->output);
    scratch_run(scratch, "ls lab/*/*.key | wc -l");
    ck_assert_int_eq(atoi(scratch->output), 12);
}
END_TEST

START_TEST(every_file_a_configuration_names_is_there)
{
    make_lab();
    scratch_run(scratch, "for c in lab/*.json lab/tenants.d/*.json; do "
                         "for f in $(grep -oE '\"[^\"]*\\.(pem|key)\"' $c | tr -d '\"'); do "
                         "ls $(dirname $c)/$f; done; done > out 2> missing; cat missing");
    ck_assert_str_eq(scratch->output, "");
    scratch_run(scratch, "wc -l < out");
    ck_assert_int_eq(atoi(scratch->output), 12);
}
END_TEST

START_TEST(defaults_are_written_out)
{
    make_lab();
    assert_file_has("lab/gateway.json", "\"listen\": [\"127.0.0.1:8443\"],");
    assert_file_has("lab/agent.json", "\"gateways\": [\"127.0.0.1:8443\"],");
    assert_file_has("lab/agent.json", "{ \"type\": \"http\", \"listen\": \"127.0.0.1:3128\" }\n");
    assert_file_has("lab/agent-globex.json", "\"listen\": \"127.0.0.1:3129\" }\n");
    assert_file_has("lab/tenants.d/c234567.json",
                    "\"allow\": [\"127.0.0.0/8:*\", \"[::1]:*\", \"*.example:443\"]");
}
END_TEST

START_TEST(options_reach_the_files_and_the_report)
{
    const char *const words[] = {"--gateway=[::1]:9443",
                                 "--door",
                                 "[::1]:65534",
                                 "--allow=[2001:db8::/32]:443",
                                 "--allow=db.acme.example:5432",
                                 "--forward=127.0.0.1:65535=DB.acme.example:5432",
                                 "my lab",
                                 NULL};
    char *text = init_well(words);

    ck_assert_ptr_nonnull(strstr(text, "sallyport-gateway --config 'my lab/gateway.json'\n"));
    ck_assert_ptr_nonnull(strstr(text, "sallyport-agent --config 'my lab/agent.json'\n"));
    ck_assert_ptr_nonnull(strstr(text, "--proxy http://[::1]:65534 "));
    free(text);
    assert_file_has("'my lab/gateway.json'", "\"listen\": [\"[::1]:9443\"],");
    assert_file_has("'my lab/agent.json'", "\"gateways\": [\"[::1]:9443\"],");
    assert_file_has("'my lab/agent.json'",
                    "{ \"type\": \"http\", \"listen\": \"[::1]:65534\" },\n"
                    "    { \"type\": \"forward\", \"listen\": \"127.0.0.1:65535\", "
                    "\"to\": \"db.acme.example:5432\" }\n  ],");
    /* The next port is the forward's, and there is none behind it. */
    assert_file_has("'my lab/agent-globex.json'", "\"listen\": \"[::1]:1024\" }\n  ],");
    assert_file_has("'my lab/tenants.d/c123456.json'",
                    "\"allow\": [\"[2001:db8::/32]:443\", \"db.acme.example:5432\"]");
}
END_TEST

START_TEST(agents_of_a_gateway_that_listens_everywhere_use_loopback)
{
    const char *const v4[] = {"--gateway", "0.0.0.0:8443", "v4", NULL};
    const char *const v6[] = {"--gateway", "[::]:8443", "v6", NULL};

    free(init_well(v4));
    free(init_well(v6));
    assert_file_has("v4/gateway.json", "\"0.0.0.0:8443\"");
    assert_file_has("v4/agent.json", "\"gateways\": [\"127.0.0.1:8443\"]");
    assert_file_has("v6/agent-globex.json", "\"gateways\": [\"[::1]:8443\"]");
}
END_TEST

START_TEST(a_second_time_changes_nothing_and_names_the_file)
{
    const char *const words[] = {"lab", NULL};
    struct sp_error err = {0};
    char *text = NULL;

    make_lab();
    scratch_run(scratch, "find lab -type f | sort | xargs cksum > before; cat before");
    ck_assert_int_eq(init(words, &text, &err), SP_ERR_DENIED);
    ck_assert_ptr_null(text);
    ck_assert_str_eq(err.where, "lab/gateway.json");
    ck_assert_int_eq(scratch_run(scratch, "find lab -type f | sort | xargs cksum | cmp - before"),
                     0);
}
END_TEST

static const struct {
    const char *words[ARGS_MAX];
    const char *wanted; /* how the message begins */
} wrong[] = {
    {{NULL}, "DIR is missing"},
    {{"", NULL}, "DIR is empty"},
    {{"a", "b", NULL}, "'b': one word too many after DIR 'a'"},
    {{"--", "--a", "b", NULL}, "'b': one word too many after DIR '--a'"},
    {{"a", "-x", NULL}, "unknown option '-x'"},
    {{"a", "--gate", "127.0.0.1:1", NULL}, "unknown option '--gate'"},
    {{"a", "--gateway", NULL}, "--gateway wants ADDRESS:PORT"},
    {{"--door=127.0.0.1:1", "--door", "127.0.0.1:2", "a", NULL}, "--door is given twice"},
    {{"a", "--gateway", "localhost:8443", NULL}, "--gateway: "},
    {{"a", "--gateway", "127.0.0.1:0", NULL}, "--gateway: '127.0.0.1:0' has port 0"},
    {{"a", "--door", "127.0.0.1:65536", NULL}, "--door: "},
    {{"a", "--door", "::1:3128", NULL}, "--door: "},
    {{"a", "--allow", "acme.example", NULL}, "--allow: 'acme.example' does not end with"},
    {{"a", "--allow", ":443", NULL}, "--allow: ':443' does not end with"},
    {{"a", "--allow", "x:0", NULL}, "--allow: 'x:0' does not end with"},
    {{"a", "--allow", "x:65536", NULL}, "--allow: 'x:65536' does not end with"},
    {{"a", "--allow", "x:+1", NULL}, "--allow: 'x:+1' does not end with"},
    {{"a", "--allow", "::1:443", NULL}, "--allow: '::1' is not a name"},
    {{"a", "--allow", "[10.0.0.0/8]:1", NULL}, "--allow: "},
    {{"a", "--allow", "10.0.0.1/8:1", NULL}, "--allow: "},
    {{"a", "--allow", "a\"b:1", NULL}, "--allow: 'a\"b' is not a name"},
    {{"a", "--allow", "*.*.x:1", NULL}, "--allow: '*.*.x' is not a name"},
    {{"a", "--forward", "127.0.0.1:1", NULL}, "--forward: '127.0.0.1:1' is not like"},
    {{"a", "--forward", "x:1=y:2", NULL}, "--forward: "},
    {{"a", "--forward", "127.0.0.1:1=y", NULL}, "--forward: "},
    {{"a", "--forward", "127.0.0.1:1=y:0", NULL}, "--forward: "},
};

START_TEST(a_wrong_command_line_is_told_from_a_failure_and_writes_nothing)
{
    struct sp_error err = {0};
    char *text = NULL;

    ck_assert_int_eq(init(wrong[_i].words, &text, &err), SP_ERR_CONFIG);
    ck_assert_ptr_null(text);
    ck_assert_msg(!strncmp(err.text, wrong[_i].wanted, strlen(wrong[_i].wanted)), "got '%s'",
                  err.text);
    scratch_run(scratch, "ls -A");
    ck_assert_str_eq(scratch->output, "");
}
END_TEST

static const char *const good_rules[] = {
    "*:443",   "*.acme.example:443",  "db.acme.example:*", "10.1.0.0/16:*", "127.0.0.1:8080",
    "[::1]:*", "[2001:db8::/32]:443",
};

START_TEST(every_form_of_rule_is_taken_as_it_is)
{
    const char *const words[] = {"--allow", good_rules[_i], "lab", NULL};
    char wanted[64];

    free(init_well(words));
    snprintf(wanted, sizeof wanted, "\"allow\": [\"%s\"]", good_rules[_i]);
    assert_file_has("lab/tenants.d/c123456.json", wanted);
}
END_TEST

START_TEST(help_names_every_option_of_the_table)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    certs_command_help(&certs_cmd_init, out);
    ck_assert_int_eq(fclose(out), 0);
    ck_assert_ptr_nonnull(strstr(text, "usage: sallyport-certs init [OPTIONS] DIR\n"));
    for (const struct certs_option *o = certs_cmd_init.options; o->name; o++)
        ck_assert_msg(strstr(text, o->name), "%s", o->name);
    free(text);
}
END_TEST

static double now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* The claim is "a few milliseconds"; printed and not judged, for a busy machine proves nothing. */
START_TEST(how_long_a_laboratory_takes)
{
    static const struct certs_lab_plan plan = {.gateway = {.ip.family = 4, .port = 8443}};
    double mint_ms = 1e9, all_ms = 1e9;

    for (int i = 0; i < 5; i++) {
        const char *const words[] = {(const char[]){'l', (char)('0' + i), '\0'}, NULL};
        struct certs_lab *lab = NULL;
        double begin = now_ms(), middle, end;

        ck_assert_int_eq(certs_lab_new(&plan, &lab, NULL), SP_OK);
        middle = now_ms();
        certs_lab_free(lab);
        free(init_well(words));
        end = now_ms();
        mint_ms = middle - begin < mint_ms ? middle - begin : mint_ms;
        all_ms = end - middle < all_ms ? end - middle : all_ms;
    }
    printf("a laboratory: minted in %.1f ms, safe on the disk in %.1f ms (best of 5)\n", mint_ms,
           all_ms);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cmd_init");
    TCase *tcase = tcase_create("cmd_init");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_set_timeout(tcase, 30);
    tcase_add_loop_test(tcase, openssl_agrees_who_is_trusted_by_whom, 0,
                        sizeof verdicts / sizeof verdicts[0]);
    tcase_add_test(tcase, every_key_is_private_and_fits_its_certificate);
    tcase_add_test(tcase, every_file_a_configuration_names_is_there);
    tcase_add_test(tcase, defaults_are_written_out);
    tcase_add_test(tcase, options_reach_the_files_and_the_report);
    tcase_add_test(tcase, agents_of_a_gateway_that_listens_everywhere_use_loopback);
    tcase_add_test(tcase, a_second_time_changes_nothing_and_names_the_file);
    tcase_add_loop_test(tcase, a_wrong_command_line_is_told_from_a_failure_and_writes_nothing, 0,
                        sizeof wrong / sizeof wrong[0]);
    tcase_add_loop_test(tcase, every_form_of_rule_is_taken_as_it_is, 0,
                        sizeof good_rules / sizeof good_rules[0]);
    tcase_add_test(tcase, help_names_every_option_of_the_table);
    tcase_add_test(tcase, how_long_a_laboratory_takes);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
