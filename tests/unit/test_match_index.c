/* The table of patterns: it must propose every tenant that fits, and few that do not. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/match_index.h"
#include "gateway/tenant.h"

#define TENANTS 200
#define LETTERS "ab.,"

/* Reproducible: what is red once stays red. */
static uint32_t state;

static unsigned below(unsigned bound)
{
    state = state * 1664525u + 1013904223u;
    return (state >> 16) % bound;
}

static char *random_text(const char *letters, unsigned min, unsigned max)
{
    unsigned len = min + below(max - min + 1);
    char *text = sp_calloc(len + 1, 1);

    for (unsigned i = 0; i < len; i++)
        text[i] = letters[below((unsigned)strlen(letters))];
    return text;
}

static void randomize(struct gw_cert_match *match)
{
    for (int kind = 0; kind < SP_TLS_NAME_KINDS; kind++) {
        struct sp_json_strings *patterns = &match->patterns[kind];

        if (below(3))
            continue;
        patterns->items = sp_calloc(3, sizeof patterns->items[0]);
        for (unsigned i = below(2); i < 2; i++)
            patterns->items[patterns->count++] = random_text(LETTERS "**?", 1, 4);
        match->is_set = true;
    }
}

static struct gw_tenant *tenants[TENANTS];

static void make_tenants(void)
{
    for (size_t i = 0; i < TENANTS; i++) {
        tenants[i] = sp_calloc(1, sizeof *tenants[i]);
        tenants[i]->config = sp_calloc(1, sizeof *tenants[i]->config);
        randomize(&tenants[i]->config->client_validation.match);
    }
}

static void free_tenants(void)
{
    for (size_t i = 0; i < TENANTS; i++) {
        sp_json_done(gw_cert_match_fields, &tenants[i]->config->client_validation.match);
        free(tenants[i]->config);
        free(tenants[i]);
    }
}

static void random_names(struct sp_tls_names *names)
{
    *names = (struct sp_tls_names){.count = 0};
    for (int kind = 0; kind < SP_TLS_NAME_KINDS; kind++)
        for (unsigned i = below(3); i < 2; i++) {
            struct sp_tls_name *name = &names->items[names->count++];

            name->kind = (enum sp_tls_name_kind)kind;
            name->text = below(10) ? random_text(LETTERS, 0, 5) : NULL;
            name->len = name->text ? strlen(name->text) : 0;
        }
}

struct seen {
    bool proposed[TENANTS];
    unsigned calls;
    int list_limit; /* of one list so many are taken; 0: all */
};

static bool on_candidate(void *ctx, uint32_t place)
{
    struct seen *seen = ctx;

    ck_assert_uint_lt(place, TENANTS);
    seen->proposed[place] = true;
    seen->calls++;
    return seen->list_limit != 1;
}

/* Against the plain question, asked of each. */
START_TEST(whoever_fits_is_proposed)
{
    uint32_t places[TENANTS / 2];
    struct gw_match_index index;
    unsigned fitting = 0, proposed = 0;

    state = (uint32_t)_i;
    make_tenants();
    for (uint32_t i = 0; i < TENANTS / 2; i++)
        places[i] = 2 * i + 1; /* only every other one is in it */
    gw_match_index_init(&index, tenants, places, TENANTS / 2);
    for (int round = 0; round < 100; round++) {
        struct sp_tls_names names;
        struct seen seen = {.calls = 0};

        random_names(&names);
        gw_match_index_walk(&index, &names, on_candidate, &seen);
        for (size_t i = 0; i < TENANTS; i++) {
            bool fits =
                gw_cert_match_fits(&tenants[i]->config->client_validation.match, &names, NULL, 0);

            ck_assert_msg(!(i % 2 == 0 && seen.proposed[i]), "%zu is not in it", i);
            ck_assert_msg(!(i % 2 && fits && !seen.proposed[i]), "%zu is forgotten", i);
            fitting += i % 2 && fits;
            proposed += seen.proposed[i];
        }
        sp_tls_names_done(&names);
    }
    ck_assert_uint_gt(fitting, 500); /* the letters are such that this tests something */
    ck_assert_uint_lt(proposed, 100 * TENANTS / 2 * 4 / 5);
    gw_match_index_done(&index);
    free_tenants();
}
END_TEST

static void put(size_t place, int kind, const char *pattern)
{
    struct gw_cert_match *match = &tenants[place]->config->client_validation.match;
    struct sp_json_strings *patterns = &match->patterns[kind];

    match->is_set = true;
    patterns->items = reallocarray(patterns->items, patterns->count + 1, sizeof(char *));
    patterns->items[patterns->count++] = sp_strdup(pattern);
}

static void make_empty_tenants(void)
{
    for (size_t i = 0; i < TENANTS; i++) {
        tenants[i] = sp_calloc(1, sizeof *tenants[i]);
        tenants[i]->config = sp_calloc(1, sizeof *tenants[i]->config);
    }
}

static void propose(struct sp_tls_names *names, struct seen *seen)
{
    uint32_t places[TENANTS];
    struct gw_match_index index;

    for (uint32_t i = 0; i < TENANTS; i++)
        places[i] = i;
    gw_match_index_init(&index, tenants, places, TENANTS);
    gw_match_index_walk(&index, names, on_candidate, seen);
    gw_match_index_done(&index);
}

/* kind and how the tenants' patterns differ (%d); the first pattern is the same for all */
static const struct {
    int same_kind;
    const char *same;
    int kind;
    const char *format, *name;
} selective[] = {
    {SP_TLS_NAME_SUBJECT, "*", SP_TLS_NAME_DNS, "*.c%d.example", "dev.c17.example"},
    {SP_TLS_NAME_SUBJECT, "*,O=Acme", SP_TLS_NAME_DNS, "dev%d-*", "dev17-x"},
    {SP_TLS_NAME_ISSUER, "CN=Ca*", SP_TLS_NAME_SUBJECT, "*,OU=%d,O=Acme", "CN=x,OU=17,O=Acme"},
    {SP_TLS_NAME_URI, "urn:acme:*", SP_TLS_NAME_SUBJECT, "CN=device %d", "CN=device 17"},
    {SP_TLS_NAME_URI, "urn:*:x", SP_TLS_NAME_EMAIL, "*@c%d.example", "bob@c17.example"},
    {SP_TLS_NAME_EMAIL, "*@acme.example", SP_TLS_NAME_URI, "spiffe://c%d/*", "spiffe://c17/x"},
    /* the same beginning, the end tells; and the other way round */
    {SP_TLS_NAME_SUBJECT, "*", SP_TLS_NAME_DNS, "device-*.c%d.example", "device-x.c17.example"},
    {SP_TLS_NAME_SUBJECT, "*", SP_TLS_NAME_DNS, "c%d.*.acme.example", "c17.x.acme.example"},
    /* the middle, behind and before what tells nothing */
    {SP_TLS_NAME_ISSUER, "*", SP_TLS_NAME_SUBJECT, "*,O=Tenant %d,*", "CN=x,O=Tenant 17,C=DE"},
    {SP_TLS_NAME_ISSUER, "*", SP_TLS_NAME_SUBJECT, "CN=*,O=c%d,?=*,C=DE", "CN=x,O=c17,L=y,C=DE"},
};

START_TEST(a_tenant_is_found_by_what_tells_it_apart)
{
    struct sp_tls_names names = {.count = 2};
    struct seen seen = {.calls = 0};
    const char *format = selective[_i].format, *number = strstr(format, "%d");
    char pattern[64], name[64];

    make_empty_tenants();
    for (int i = 0; i < TENANTS; i++) {
        put((size_t)i, selective[_i].same_kind, selective[_i].same);
        snprintf(pattern, sizeof pattern, "%.*s%d%s", (int)(number - format), format, i,
                 number + 2);
        put((size_t)i, selective[_i].kind, pattern);
    }
    snprintf(name, sizeof name, "%s", selective[_i].name);
    names.items[0] = (struct sp_tls_name){
        .kind = (enum sp_tls_name_kind)selective[_i].kind, .text = name, .len = strlen(name)};
    names.items[1] = (struct sp_tls_name){.kind = (enum sp_tls_name_kind)selective[_i].same_kind};
    propose(&names, &seen);
    ck_assert(seen.proposed[17]);
    ck_assert_uint_eq(seen.calls, 1);
    free_tenants();
}
END_TEST

START_TEST(every_pattern_of_the_key_leads_to_the_tenant_and_once_is_enough)
{
    char name[] = "x.two.example", long_name[] = "a.one.one.example";
    struct sp_tls_names names = {.items = {{SP_TLS_NAME_DNS, name, sizeof name - 1}}, .count = 1};
    struct seen seen = {.calls = 0};

    make_empty_tenants();
    for (size_t i = 0; i < TENANTS; i++)
        put(i, SP_TLS_NAME_DNS, i == 5 ? "*.one.example" : "*.none.example");
    put(5, SP_TLS_NAME_DNS, "*.two.example");
    put(5, SP_TLS_NAME_DNS, "?.two.example");
    propose(&names, &seen);
    ck_assert(seen.proposed[5]);
    ck_assert_uint_eq(seen.calls, 1);
    names.items[0] = (struct sp_tls_name){SP_TLS_NAME_DNS, long_name, sizeof long_name - 1};
    seen = (struct seen){.calls = 0};
    propose(&names, &seen);
    ck_assert(seen.proposed[5]);
    ck_assert_uint_eq(seen.calls, 1);
    free_tenants();
}
END_TEST

START_TEST(a_key_with_one_pattern_that_leads_nowhere_is_not_used)
{
    char name[] = "xmidx";
    struct sp_tls_names names = {.items = {{SP_TLS_NAME_DNS, name, sizeof name - 1}}, .count = 1};
    struct seen seen = {.calls = 0};

    make_empty_tenants();
    for (size_t i = 0; i < TENANTS; i++)
        put(i, SP_TLS_NAME_DNS, "*.none.example");
    put(9, SP_TLS_NAME_DNS, "*????");
    propose(&names, &seen);
    ck_assert(seen.proposed[9]);
    ck_assert_uint_eq(seen.calls, 1);
    free_tenants();
}
END_TEST

START_TEST(of_letters_that_are_as_rare_the_longer_ones_are_looked_for)
{
    static const struct {
        const char *pattern, *short_fits, *long_fits;
    } rows[] = {
        {"a*.long.example", "abc", "x.long.example"},
        {"long.example.*a", "cba", "long.example.x"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sp_tls_names names = {.count = 1};
        struct seen seen = {.calls = 0};
        char text[32];

        make_empty_tenants();
        for (size_t k = 0; k < TENANTS; k++)
            put(k, SP_TLS_NAME_DNS, k == 5 ? rows[i].pattern : "none.example");
        strcpy(text, rows[i].short_fits);
        names.items[0] = (struct sp_tls_name){SP_TLS_NAME_DNS, text, strlen(text)};
        propose(&names, &seen);
        ck_assert_uint_eq(seen.calls, 0);
        strcpy(text, rows[i].long_fits);
        names.items[0].len = strlen(text);
        propose(&names, &seen);
        ck_assert(seen.proposed[5] && seen.calls == 1);
        free_tenants();
    }
}
END_TEST

START_TEST(a_list_ends_where_no_more_of_it_is_wanted)
{
    char name[] = "x.example";
    struct sp_tls_names names = {.items = {{SP_TLS_NAME_DNS, name, sizeof name - 1}}, .count = 1};
    struct seen seen = {.list_limit = 1};

    make_empty_tenants();
    for (size_t i = 0; i < TENANTS; i++) { /* three lists of a third each */
        if (i % 3 == 1)
            put(i, SP_TLS_NAME_DNS, "*.example");
        if (i % 3 == 2)
            put(i, SP_TLS_NAME_DNS, "*?*");
    }
    propose(&names, &seen);
    ck_assert_uint_eq(seen.calls, 3);
    ck_assert(seen.proposed[0] && seen.proposed[1] && seen.proposed[2]);
    free_tenants();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("match_index");
    TCase *tcase = tcase_create("match_index");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, whoever_fits_is_proposed, 0, 10);
    tcase_add_loop_test(tcase, a_tenant_is_found_by_what_tells_it_apart, 0,
                        (int)(sizeof selective / sizeof selective[0]));
    tcase_add_test(tcase, every_pattern_of_the_key_leads_to_the_tenant_and_once_is_enough);
    tcase_add_test(tcase, a_key_with_one_pattern_that_leads_nowhere_is_not_used);
    tcase_add_test(tcase, of_letters_that_are_as_rare_the_longer_ones_are_looked_for);
    tcase_add_test(tcase, a_list_ends_where_no_more_of_it_is_wanted);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
