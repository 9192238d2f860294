/* client_validation.match: one pattern, all patterns of a tenant, and the file they stand in. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gateway/cert_match.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))
#define SUBJECT      SP_TLS_NAME_SUBJECT
#define ISSUER       SP_TLS_NAME_ISSUER
#define DNS          SP_TLS_NAME_DNS
#define URI          SP_TLS_NAME_URI
#define EMAIL        SP_TLS_NAME_EMAIL

/* ---- one pattern ---- */

static const struct {
    enum sp_tls_name_kind kind;
    const char *pattern, *text;
    bool fits;
} globs[] = {
    {DNS, "a", "a", true},
    {DNS, "a", "b", false},
    {DNS, "a", "", false},
    {DNS, "a", "aa", false},
    {DNS, "ab", "a", false},
    {DNS, "*", "", true},
    {DNS, "*", "x.y.z", true},
    {DNS, "**", "x", true},
    {DNS, "?", "", false},
    {DNS, "?", "x", true},
    {DNS, "??", "x", false},
    {DNS, "?*", "", false},
    {DNS, "*?", "x", true},
    {DNS, "*.c1.example", "dev.c1.example", true},
    {DNS, "*.c1.example", "a.b.c1.example", true}, /* crosses dots */
    {DNS, "*.c1.example", ".c1.example", true},
    {DNS, "*.c1.example", "c1.example", false},
    {DNS, "*.c1.example", "dev.c1.example.evil", false},
    {DNS, "*.c1.example", "devxc1.example", false}, /* a dot is a dot */
    {DNS, "dev-*.c1.example", "dev-7.c1.example", true},
    {DNS, "dev-*.c1.example", "dev-.c1.example", true},
    {DNS, "dev-*.c1.example", "dev.c1.example", false},
    {DNS, "a*b*c", "a-b-b-c", true},
    {DNS, "a*b*c", "a-c-b", false},
    {DNS, "*aab", "aaaab", true}, /* goes back to the star */
    {DNS, "*ab*ab", "abab", true},
    {DNS, "*ab*ab", "abb", false},
    {DNS, "a[b]", "ab", false}, /* no other letter means anything */
    {DNS, "a[b]", "a[b]", true},
    {DNS, "a\\*", "a*", false},
    {DNS, "*", "*.c1.example", true},
    {DNS, "\\?", "\\x", true},                    /* outside of a DN a backslash is a letter */
    {URI, "urn:dev:?", "urn:dev:\xc3\xa9", true}, /* one character, two bytes */
    {URI, "urn:dev:??", "urn:dev:\xc3\xa9", false},
    {URI, "urn:dev:\xc3?", "urn:dev:\xc3\xa9", false}, /* half a character is none */
    {URI, "urn:dev:?", "urn:dev:\xff", true},
    {URI, "URN:*", "urn:x", false},
    {SUBJECT, "CN=dev,O=Acme", "CN=dev,O=Acme", true},
    {SUBJECT, "CN=dev,O=Acme", "CN=dev,O=acme", false},
    {SUBJECT, "*,O=Acme", "CN=dev,O=Acme", true},
    {SUBJECT, "*,O=Acme", "CN=dev\\,O=Acme", false}, /* inside the common name */
    {SUBJECT, "*,O=Acme", "CN=dev\\\\,O=Acme", true},
    {SUBJECT, "*,O=Acme", "CN=dev\\\\\\,O=Acme", false},
    {ISSUER, "*,O=Acme", "CN=dev\\,O=Acme", false},
    {SUBJECT, "*\\,O=Acme", "CN=dev\\,O=Acme", true},
    {SUBJECT, "CN=?,O=Acme", "CN=\\+,O=Acme", true}, /* what is escaped is one character */
    {SUBJECT, "CN=?,O=Acme", "CN=\\2B,O=Acme", true},
    {SUBJECT, "CN=?B,O=Acme", "CN=\\2B,O=Acme", false},
    {SUBJECT, "CN=??,O=Acme", "CN=\\+,O=Acme", false},
    {SUBJECT, "CN=*B,O=Acme", "CN=\\2B,O=Acme", false},
    {SUBJECT, "CN=x\\", "CN=x\\", true},
    {SUBJECT, "CN=x\\", "CN=x\\,", false},
    {EMAIL, "*@acme.example", "bob@acme.example", true},
    {EMAIL, "*@acme.example", "bob@evil.example", false},
    {EMAIL, "*@acme.example", "x@acme.example@evil.example", false},
};

START_TEST(a_pattern_fits_whole_names_character_by_character)
{
    ck_assert_msg(gw_cert_match_glob(globs[_i].kind, globs[_i].pattern, globs[_i].text,
                                     strlen(globs[_i].text)) == globs[_i].fits,
                  "\"%s\" and \"%s\"", globs[_i].pattern, globs[_i].text);
}
END_TEST

START_TEST(a_name_is_as_long_as_it_is_said_to_be)
{
    ck_assert(gw_cert_match_glob(DNS, "ab", "abc", 2));
    ck_assert(!gw_cert_match_glob(DNS, "abc", "abc", 2));
    ck_assert(gw_cert_match_glob(URI, "a?", "a\xc3\xa9", 2)); /* cut inside a character */
    ck_assert(gw_cert_match_glob(SUBJECT, "a?", "a\\,", 2));
}
END_TEST

/* What takes other matchers years: many stars and a name that fits to the last letter but one. */
START_TEST(no_pattern_takes_long)
{
    char pattern[SP_TLS_NAME_MAX + 1], text[SP_TLS_NAME_MAX + 1];
    clock_t begin = clock();
    size_t i;

    for (i = 0; i + 2 < sizeof pattern; i += 2)
        memcpy(pattern + i, "*a", 2);
    memcpy(pattern + i, "b", 2);
    memset(text, 'a', sizeof text - 1);
    for (i = 0; i < 100; i++)
        ck_assert(!gw_cert_match_glob(DNS, pattern, text, sizeof text - 1));
    ck_assert_int_lt((clock() - begin) / CLOCKS_PER_SEC, 10); /* milliseconds, if all is well */
}
END_TEST

/* ---- all of a tenant's ---- */

static void load(const char *json, struct gw_cert_match *match)
{
    struct sp_error err = {.text = ""};

    *match = (struct gw_cert_match){.is_set = true};
    ck_assert_msg(
        sp_json_load_text("t.json", json, strlen(json), gw_cert_match_fields, match, &err) == SP_OK,
        "%s", err.text);
    ck_assert_msg(gw_cert_match_finish(match, "t.json", "$", &err) == SP_OK, "%s", err.text);
}

/* Names as sp_tls_names_read has them: "s:" "i:" "d:" "u:" "e:" and the text, by '|'; a sole letter
 * is a name that is too long. Nothing in them needs to be freed. */
static void name(char *text, struct sp_tls_names *ret)
{
    static const char letters[] = "sidue";
    char *save = NULL;

    *ret = (struct sp_tls_names){.count = 0};
    for (char *part = strtok_r(text, "|", &save); part; part = strtok_r(NULL, "|", &save)) {
        struct sp_tls_name *item = &ret->items[ret->count++];

        item->kind = (enum sp_tls_name_kind)(strchr(letters, part[0]) - letters);
        item->text = part[1] ? part + 2 : NULL;
        item->len = part[1] ? strlen(part + 2) : 0;
    }
}

static const struct {
    const char *match, *names;
    const char *why; /* NULL: fits */
} sets[] = {
    {"{\"san_dns\": \"*.c1.example\"}", "d:a.c1.example", NULL},
    {"{\"san_dns\": \"*.C1.example.\"}", "d:a.c1.example", NULL}, /* folded when it is loaded */
    {"{\"san_dns\": [\"x\", \"*.c1.example\"]}", "d:b|d:a.c1.example", NULL},
    {"{\"san_dns\": \"*.c1.example\"}", "d:a.c2.example|u:a.c1.example|e:a.c1.example",
     "no dNSName fits client_validation.match.san_dns"},
    {"{\"san_dns\": \"*\"}", "s:CN=x|i:CN=y", "no dNSName fits client_validation.match.san_dns"},
    {"{\"san_uri\": \"urn:*\"}", "d:urn:x|u:URN:x", "no URI fits client_validation.match.san_uri"},
    {"{\"san_uri\": \"urn:*\"}", "u:urn:x", NULL},
    {"{\"san_email\": \"*@Acme.example\"}", "e:bob@acme.example", NULL},
    {"{\"san_email\": \"*@acme.example\"}", "d:bob@acme.example",
     "no rfc822Name fits client_validation.match.san_email"},
    {"{\"subject\": \"*,O=Acme\"}", "s:CN=x,O=Acme|i:CN=ca", NULL},
    {"{\"subject\": \"*,O=Acme\"}", "s:CN=x|i:CN=ca,O=Acme",
     "the subject does not fit client_validation.match.subject"},
    {"{\"issuer\": \"*,O=Acme\"}", "s:CN=x|i:CN=ca,O=Acme", NULL},
    {"{\"issuer\": \"*,O=Acme\"}", "s:CN=x,O=Acme|i:CN=ca",
     "the issuer does not fit client_validation.match.issuer"},
    /* every key */
    {"{\"subject\": \"CN=x\", \"san_dns\": \"d\"}", "s:CN=x|d:d", NULL},
    {"{\"subject\": \"CN=x\", \"san_dns\": \"d\"}", "s:CN=y|d:d",
     "the subject does not fit client_validation.match.subject"},
    {"{\"subject\": \"CN=x\", \"san_dns\": \"d\"}", "s:CN=x|d:e",
     "no dNSName fits client_validation.match.san_dns"},
    /* longer than is looked at */
    {"{\"subject\": \"*\"}", "s", NULL},
    {"{\"subject\": \"?*\"}", "s", "the subject does not fit client_validation.match.subject"},
    {"{\"subject\": [\"?*\", \"*\"]}", "s", NULL},
    {"{\"san_dns\": \"*.c1.example\"}", "d|d:a.c1.example", NULL},
    /* empty, and not there */
    {"{\"subject\": \"*\"}", "s:|i:CN=y", NULL},
    {"{\"subject\": \"*\"}", "i:CN=y", "the subject does not fit client_validation.match.subject"},
};

START_TEST(every_key_must_fit_and_one_pattern_of_it_is_enough)
{
    struct gw_cert_match match;
    struct sp_tls_names names;
    char text[128], why[128] = "";

    load(sets[_i].match, &match);
    strcpy(text, sets[_i].names);
    name(text, &names);
    ck_assert_msg(gw_cert_match_fits(&match, &names, why, sizeof why) == !sets[_i].why, "%s: %s",
                  sets[_i].match, why);
    ck_assert_str_eq(why, sets[_i].why ? sets[_i].why : "");
    ck_assert(gw_cert_match_fits(&match, &names, NULL, 0) == !sets[_i].why);
    sp_json_done(gw_cert_match_fields, &match);
}
END_TEST

START_TEST(who_has_too_many_names_is_told_so)
{
    const struct sp_tls_names names = {.too_many = true};
    struct gw_cert_match match;
    char why[160];

    load("{\"san_uri\": \"*\"}", &match);
    ck_assert(!gw_cert_match_fits(&match, &names, why, sizeof why));
    ck_assert_str_eq(why, "no URI fits client_validation.match.san_uri: the certificate has too "
                          "many alternative names for any to count");
    sp_json_done(gw_cert_match_fields, &match);
}
END_TEST

START_TEST(without_a_match_everybody_fits)
{
    const struct gw_cert_match match = {.is_set = false};
    const struct sp_tls_names names = {.count = 0};

    ck_assert(gw_cert_match_fits(&match, &names, NULL, 0));
}
END_TEST

static const char *const different[] = {
    "{\"subject\": \"a\"}",
    "{\"issuer\": \"a\"}",
    "{\"subject\": [\"a\", \"b\"]}",
    "{\"subject\": \"ab\"}",
    "{\"subject\": \"a\", \"issuer\": \"b\"}",
    "{\"subject\": [\"a\", \"1b\"]}",
    "{\"san_dns\": \"a\"}",
};

START_TEST(a_pattern_is_as_long_as_a_name_may_be_and_no_longer)
{
    char json[SP_TLS_NAME_MAX + 64], pattern[SP_TLS_NAME_MAX + 2];
    struct gw_cert_match match = {.is_set = true};
    struct sp_error err = {.text = ""};

    memset(pattern, 'a', sizeof pattern);
    pattern[SP_TLS_NAME_MAX] = '\0';
    snprintf(json, sizeof json, "{\"san_uri\": \"%s\"}", pattern);
    load(json, &match);
    ck_assert_str_eq(match.patterns[URI].items[0], pattern);
    sp_json_done(gw_cert_match_fields, &match);
    match = (struct gw_cert_match){.is_set = true};
    snprintf(json, sizeof json, "{\"san_uri\": \"%sa\"}", pattern);
    ck_assert_int_eq(
        sp_json_load_text("t.json", json, strlen(json), gw_cert_match_fields, &match, &err),
        SP_ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(err.text, "bytes long, wanted are 1 to"));
    sp_json_done(gw_cert_match_fields, &match);
}
END_TEST

START_TEST(a_match_must_say_something)
{
    static const struct {
        const char *json, *says; /* NULL: is taken */
        bool is_set;
    } rows[] = {
        {"{}", NULL, false},
        {"{}", "is empty, which nobody needs", true},
        {"{\"san_dns\": \".\"}", "a sole dot is no pattern", true},
        {"{\"san_dns\": [\"a\", \".\"]}", "a sole dot is no pattern", true},
        {"{\"san_uri\": \".\"}", NULL, true},
    };

    for (int i = 0; i < COUNT(rows); i++) {
        struct gw_cert_match match = {.is_set = rows[i].is_set};
        struct sp_error err = {.text = ""};
        enum sp_err rc;

        ck_assert_int_eq(sp_json_load_text("t.json", rows[i].json, strlen(rows[i].json),
                                           gw_cert_match_fields, &match, &err),
                         SP_OK);
        rc = gw_cert_match_finish(&match, "t.json", "$", &err);
        ck_assert_msg((rc == SP_OK) == !rows[i].says, "row %d: %s", i, err.text);
        ck_assert(!rows[i].says || strstr(err.text, rows[i].says));
        sp_json_done(gw_cert_match_fields, &match);
    }
}
END_TEST

START_TEST(different_patterns_have_different_digests)
{
    uint8_t digests[COUNT(different)][GW_CERT_MATCH_DIGEST], again[GW_CERT_MATCH_DIGEST];
    struct gw_cert_match match;

    for (int i = 0; i < COUNT(different); i++) {
        load(different[i], &match);
        gw_cert_match_digest(&match, digests[i]);
        gw_cert_match_digest(&match, again);
        ck_assert_mem_eq(digests[i], again, sizeof again);
        for (int k = 0; k < i; k++)
            ck_assert_msg(memcmp(digests[i], digests[k], sizeof again) != 0, "%s and %s",
                          different[i], different[k]);
        sp_json_done(gw_cert_match_fields, &match);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cert_match");
    TCase *tcase = tcase_create("cert_match");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, a_pattern_fits_whole_names_character_by_character, 0, COUNT(globs));
    tcase_add_test(tcase, a_name_is_as_long_as_it_is_said_to_be);
    tcase_add_test(tcase, no_pattern_takes_long);
    tcase_add_loop_test(tcase, every_key_must_fit_and_one_pattern_of_it_is_enough, 0, COUNT(sets));
    tcase_add_test(tcase, who_has_too_many_names_is_told_so);
    tcase_add_test(tcase, without_a_match_everybody_fits);
    tcase_add_test(tcase, a_pattern_is_as_long_as_a_name_may_be_and_no_longer);
    tcase_add_test(tcase, a_match_must_say_something);
    tcase_add_test(tcase, different_patterns_have_different_digests);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
