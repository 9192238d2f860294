/* Egress rules: what parses, what a request may reach, and that nothing else is reachable. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/acl.h"

#define RULES_MAX 4

static size_t count_rules(const char *const *rules)
{
    size_t count = 0;

    while (count < RULES_MAX && rules[count])
        count++;
    return count;
}

static struct gw_acl *parse(const char *const *rules)
{
    struct sp_error err = {.text = ""};
    struct gw_acl *acl = NULL;
    size_t bad;

    ck_assert_msg(gw_acl_parse(rules, count_rules(rules), &acl, &bad, &err) == SP_OK, "%s",
                  err.text);
    return acl;
}

static struct sp_target target_of(const char *text)
{
    struct sp_target target;

    ck_assert_int_eq(sp_target_parse(text, strlen(text), &target, NULL), SP_OK);
    return target;
}

static struct sp_ip ip_of(const char *text)
{
    struct sp_ip ip;

    ck_assert_msg(sp_ip_parse(text, strlen(text), &ip), "%s", text);
    return ip;
}

/* ---- what parses ---- */

static const struct {
    const char *rule, *text; /* text: how the error begins */
} bad_rules[] = {
    {"", "no port in it: wanted host:port, or host:* for every port"},
    {"acme.example", "no port in it: wanted host:port, or host:* for every port"},
    {"[2001:db8::/32]", "no port in it: wanted host:port, or host:* for every port"},
    {"[::1", "\"[\" needs its \"]\" right before \":port\""},
    {":443", "no host in it: wanted host:port"},
    {"acme.example:", "port \"\" is neither 1..65535 nor \"*\""},
    {"acme.example:0", "port \"0\" is neither 1..65535 nor \"*\""},
    {"acme.example:65536", "port \"65536\" is neither 1..65535 nor \"*\""},
    {"acme.example:0443", "port \"0443\" is neither 1..65535 nor \"*\""},
    {"acme.example:+443", "port \"+443\" is neither 1..65535 nor \"*\""},
    {"acme.example:443-445", "port \"443-445\" is neither 1..65535 nor \"*\""},
    {"acme.example:**", "port \"**\" is neither 1..65535 nor \"*\""},
    {"acme.example:https", "port \"https\" is neither 1..65535 nor \"*\""},
    {"acme.example:443 ", "port \"443 \" is neither 1..65535 nor \"*\""},
    {"::1:443", "an IPv6 address goes in brackets, as in [::1]:443"},
    {"2001:db8::/32:443", "an IPv6 address goes in brackets, as in [::1]:443"},
    {"[2001:db8::]/32:443", "\"[\" needs its \"]\" right before \":port\""},
    {"[]:443", "\"[\" needs its \"]\" right before \":port\""},
    {"[10.1.0.0/16]:443", "brackets are for IPv6: write 10.1.0.0/16:443"},
    {"[acme.example]:443", "brackets are for IPv6"},
    {"[2001:db8::1/32]:443", "\"2001:db8::1/32\" has bits set behind its prefix"},
    {"[2001:db8::/129]:443", "the prefix length of \"2001:db8::/129\""},
    {"[fe80::1%eth0]:443", "\"fe80::1%eth0\" is neither an address nor a network"},
    {"10.1.0.1/16:443", "\"10.1.0.1/16\" has bits set behind its prefix"},
    {"10.1.0.0/33:443", "the prefix length of \"10.1.0.0/33\""},
    {"10.1.0.0/:443", "the prefix length of \"10.1.0.0/\""},
    {"10.1/16:443", "\"10.1/16\" is neither an address nor a network"},
    {"127.1:443", "\"127.1\" is neither an address nor a network"},
    {"2130706433:443", "\"2130706433\" is neither an address nor a network"},
    {"0x7f.1:443", "\"0x7f.1\" is not a host name"},
    {"*foo.example:443", "\"*\" stands alone or as the whole first label"},
    {"a.*.example:443", "\"*\" stands alone or as the whole first label"},
    {"*.*.example:443", "\"*\" stands alone or as the whole first label"},
    {"*.:443", "\"*\" stands alone or as the whole first label"},
    {"**:443", "\"*\" stands alone or as the whole first label"},
    {"acme.example/16:443", "a prefix needs an address before it"},
    {"*.10.0.0.1:443", "\"10.0.0.1\" is not a host name"},
    {"acme..example:443", "\"acme..example\" is not a host name"},
    {"user@acme.example:443", "\"user@acme.example\" is not a host name"},
    {"acme example:443", "\"acme example\" is not a host name"},
    {"http://acme.example:443", "an IPv6 address goes in brackets"},
};

START_TEST(a_bad_rule_is_refused_and_the_error_says_what_is_wanted)
{
    const char *const rules[RULES_MAX] = {"good.example:443", bad_rules[_i].rule};
    struct sp_error err = {.text = ""};
    struct gw_acl *acl = NULL;
    size_t bad = 99;

    ck_assert_int_eq(gw_acl_parse(rules, 2, &acl, &bad, &err), SP_ERR_CONFIG);
    ck_assert_uint_eq(bad, 1);
    ck_assert_ptr_null(acl);
    ck_assert_msg(!strncmp(err.text, bad_rules[_i].text, strlen(bad_rules[_i].text)),
                  "%s: said \"%s\"", bad_rules[_i].rule, err.text);
}
END_TEST

/* ---- what is allowed ---- */

static const struct {
    const char *rules[RULES_MAX];
    const char *target, *ip;
    bool maybe;      /* of the request */
    bool allowed;    /* of the address */
    const char *why; /* the rule, or the text */
} rows[] = {
    /* nothing is allowed that no rule names */
    {{NULL}, "a.example:443", "1.1.1.1", false, false, "no egress rule allows a.example:443"},
    {{NULL}, "1.1.1.1:443", "1.1.1.1", false, false, "no egress rule allows 1.1.1.1:443"},

    /* exact names */
    {{"a.example:443"}, "a.example:443", "1.1.1.1", true, true, "a.example:443"},
    {{"a.example:443"}, "A.Example.:443", "1.1.1.1", true, true, "a.example:443"},
    {{"A.EXAMPLE.:443"}, "a.example:443", "1.1.1.1", true, true, "A.EXAMPLE.:443"},
    {{"a.example:443"},
     "a.example:80",
     "1.1.1.1",
     false,
     false,
     "no egress rule allows a.example:80"},
    {{"a.example:*"}, "a.example:80", "2606:4700::1", true, true, "a.example:*"},
    {{"a.example:443"}, "b.example:443", "1.1.1.1", false, false, NULL},
    {{"a.example:443"}, "x.a.example:443", "1.1.1.1", false, false, NULL},
    {{"x.a.example:443"}, "a.example:443", "1.1.1.1", false, false, NULL},
    {{"a.example:443"}, "aa.example:443", "1.1.1.1", false, false, NULL},

    /* patterns: any depth below, not itself, whole labels */
    {{"*.acme.example:443"}, "x.acme.example:443", "1.1.1.1", true, true, NULL},
    {{"*.acme.example:443"}, "x.y.acme.example:443", "1.1.1.1", true, true, NULL},
    {{"*.Acme.Example:443"}, "X.ACME.example:443", "1.1.1.1", true, true, NULL},
    {{"*.acme.example:443"}, "acme.example:443", "1.1.1.1", false, false, NULL},
    {{"*.acme.example:443"}, "xacme.example:443", "1.1.1.1", false, false, NULL},
    {{"*.acme.example:443"}, "acme.example.evil:443", "1.1.1.1", false, false, NULL},
    {{"*.acme.example:443"}, "x.acme.example.evil:443", "1.1.1.1", false, false, NULL},
    {{"*.acme.example:443"}, "x.acme.example:444", "1.1.1.1", false, false, NULL},
    {{"*.example:443"}, "x.example:443", "1.1.1.1", true, true, NULL},
    {{"*:443"}, "anything.example:443", "1.1.1.1", true, true, "*:443"},
    {{"*:443"}, "anything.example:80", "1.1.1.1", false, false, NULL},
    {{"*:*"}, "anything.example:80", "1.1.1.1", true, true, NULL},
    {{"b.example:1", "*.example:443", "a.example:443"},
     "a.example:443",
     "1.1.1.1",
     true,
     true,
     "*.example:443"},

    /* an address that was asked for is matched by address rules only */
    {{"*:*"}, "1.1.1.1:443", "1.1.1.1", false, false, "no egress rule allows 1.1.1.1:443"},
    {{"*:*"},
     "[2606:4700::1]:443",
     "2606:4700::1",
     false,
     false,
     "no egress rule allows [2606:4700::1]:443"},
    {{"1.1.1.0/24:443"}, "1.1.1.1:443", "1.1.1.1", true, true, "1.1.1.0/24:443"},
    {{"1.1.1.0/24:443"}, "1.1.2.1:443", "1.1.2.1", false, false, NULL},
    {{"1.1.1.1:443"}, "1.1.1.1:443", "1.1.1.1", true, true, NULL},
    {{"1.1.1.1:443"}, "1.1.1.1:444", "1.1.1.1", false, false, NULL},
    {{"[2606:4700::/32]:443"}, "[2606:4700::1]:443", "2606:4700::1", true, true, NULL},
    {{"[2606:4700::/32]:443"}, "[2606:4701::1]:443", "2606:4701::1", false, false, NULL},
    {{"[2606:4700::1]:*"}, "[2606:4700:0::1]:9", "2606:4700::1", true, true, NULL},
    {{"1.1.1.0/24:*"},
     "1.1.1.1:443",
     "1.1.1.2",
     true,
     false,
     "1.1.1.2 is not the address asked for"},

    /* a name may lead to an address that a rule names */
    {{"10.1.0.0/16:*"}, "db.example:5432", "10.1.2.3", true, true, "10.1.0.0/16:*"},
    {{"10.1.0.0/16:5432"}, "db.example:5433", "10.1.2.3", false, false, NULL},
    {{"10.1.0.0/16:*"},
     "db.example:5432",
     "1.1.1.1",
     true,
     false,
     "no egress rule allows db.example:5432"},

    /* what is not ordinary is reached by address rules only, whatever name led there */
    {{"*:*"},
     "a.example:80",
     "127.0.0.1",
     true,
     false,
     "127.0.0.1 is a loopback address and no egress rule names it with port 80"},
    {{"localhost:80"}, "localhost:80", "127.0.0.1", true, false, NULL},
    {{"localhost:80"},
     "localhost:80",
     "::1",
     true,
     false,
     "::1 is a loopback address and no egress rule names it with port 80"},
    {{"*:*"},
     "a.example:80",
     "10.0.0.1",
     true,
     false,
     "10.0.0.1 is a private address and no egress rule names it with port 80"},
    {{"*:*"}, "a.example:80", "172.16.0.1", true, false, NULL},
    {{"*:*"}, "a.example:80", "192.168.1.1", true, false, NULL},
    {{"*:*"}, "a.example:80", "100.64.0.1", true, false, NULL},
    {{"*:*"},
     "a.example:80",
     "169.254.1.1",
     true,
     false,
     "169.254.1.1 is a link-local address and no egress rule names it with port 80"},
    {{"*:*"},
     "a.example:80",
     "169.254.169.254",
     true,
     false,
     "169.254.169.254 is a metadata address and no egress rule names it with port 80"},
    {{"*:*"}, "a.example:80", "fd00:ec2::254", true, false, NULL},
    {{"*:*"}, "a.example:80", "224.0.0.1", true, false, NULL},
    {{"*:*"}, "a.example:80", "255.255.255.255", true, false, NULL},
    {{"*:*"}, "a.example:80", "0.0.0.0", true, false, NULL},
    {{"*:*"}, "a.example:80", "::", true, false, NULL},
    {{"*:*"}, "a.example:80", "fe80::1", true, false, NULL},
    {{"*:*"}, "a.example:80", "fc00::1", true, false, NULL},
    {{"*:*"}, "a.example:80", "ff02::1", true, false, NULL},
    {{"*:*"}, "a.example:80", "::ffff:127.0.0.1", true, false, NULL},
    {{"*:*"}, "a.example:80", "::127.0.0.1", true, false, NULL},
    {{"*:*"}, "a.example:80", "64:ff9b::7f00:1", true, false, NULL},
    {{"*:*"}, "a.example:80", "64:ff9b::a9fe:a9fe", true, false, NULL},
    {{"*:*"}, "a.example:80", "2002:7f00:1::", true, false, NULL},
    {{"*:*"}, "a.example:80", "64:ff9b::101:101", true, true, NULL},
    {{"127.0.0.1:8080"}, "a.example:8080", "127.0.0.1", true, true, NULL},
    {{"127.0.0.1:8080"}, "127.0.0.1:8080", "127.0.0.1", true, true, NULL},
    {{"127.0.0.1:8080"},
     "127.0.0.1:8081",
     "127.0.0.1",
     false,
     false,
     "127.0.0.1 is a loopback address and no egress rule names it with port 8081"},
    {{"127.0.0.1:8080", "*:8081"}, "a.example:8081", "127.0.0.1", true, false, NULL},
    {{"127.0.0.1:8080"}, "127.0.0.2:8080", "127.0.0.2", false, false, NULL},
    {{"[::1]:*"}, "[::1]:22", "::1", true, true, NULL},
    {{"[::1]:*"}, "127.0.0.1:22", "127.0.0.1", false, false, NULL},
    {{"10.1.0.0/16:*", "*:443"}, "a.example:443", "10.2.0.1", true, false, NULL},

    /* an IPv4-mapped address is the IPv4 address it stands for, in rules as in answers */
    {{"127.0.0.1:80"}, "[::ffff:127.0.0.1]:80", "::ffff:127.0.0.1", true, true, NULL},
    {{"[::ffff:127.0.0.1]:80"}, "127.0.0.1:80", "127.0.0.1", true, true, NULL},
    {{"[::/0]:*"}, "a.example:80", "::ffff:127.0.0.1", true, false, NULL},
    {{"[::/0]:*"}, "127.0.0.1:80", "127.0.0.1", false, false, NULL},
    {{"10.0.0.0/8:*"}, "a.example:80", "::ffff:10.9.9.9", true, true, NULL},
    {{"127.0.0.1:80"}, "a.example:80", "64:ff9b::7f00:1", true, false, NULL},
};

START_TEST(a_destination_is_reached_only_by_a_rule_that_may_name_it)
{
    struct gw_acl *acl = parse(rows[_i].rules);
    struct sp_target target = target_of(rows[_i].target);
    struct sp_ip ip = ip_of(rows[_i].ip);
    struct gw_acl_answer answer;

    ck_assert_msg((gw_acl_check_request(acl, &target) == GW_ACL_MAYBE) == rows[_i].maybe,
                  "request %s under %s", rows[_i].target, rows[_i].rules[0]);
    gw_acl_check_address(acl, &target, &ip, &answer);
    ck_assert_msg(answer.allowed == rows[_i].allowed, "%s at %s under %s: %s", rows[_i].target,
                  rows[_i].ip, rows[_i].rules[0], answer.text);
    ck_assert_int_eq(answer.ip_class, sp_ip_classify(&ip));
    ck_assert(!answer.rule == !answer.allowed);
    if (rows[_i].why)
        ck_assert_str_eq(answer.allowed ? answer.rule : answer.text, rows[_i].why);
    ck_assert(!answer.allowed || !answer.text[0]);
    gw_acl_free(acl);
}
END_TEST

/* A request that was denied before resolving must be one that no address could have saved: else a
 * working rule would depend on the order of the two questions. */
START_TEST(a_denied_request_is_denied_at_every_address)
{
    static const char *const ips[] = {
        "1.1.1.1", "127.0.0.1",    "10.1.2.3", "169.254.169.254",
        "::1",     "2606:4700::1", "fc00::1",  "::ffff:10.1.2.3",
    };
    struct gw_acl *acl = parse(rows[_i].rules);
    struct sp_target target = target_of(rows[_i].target);
    struct gw_acl_answer answer;
    struct sp_ip ip;
    size_t k;

    for (k = 0; k < sizeof ips / sizeof ips[0]; k++) {
        ip = ip_of(ips[k]);
        gw_acl_check_address(acl, &target, &ip, &answer);
        ck_assert_msg(!answer.allowed || gw_acl_check_request(acl, &target) == GW_ACL_MAYBE,
                      "%s at %s under %s", rows[_i].target, ips[k], rows[_i].rules[0]);
    }
    gw_acl_free(acl);
}
END_TEST

START_TEST(a_rule_that_opens_special_addresses_with_the_internet_is_wide)
{
    static const char *const rules[RULES_MAX] = {"0.0.0.0/0:443", "10.0.0.0/8:443", "[::/0]:*",
                                                 "*:*"};
    struct gw_acl *acl = parse(rules);

    ck_assert(gw_acl_rule_is_wide(acl, 0));
    ck_assert(!gw_acl_rule_is_wide(acl, 1));
    ck_assert(gw_acl_rule_is_wide(acl, 2));
    ck_assert(!gw_acl_rule_is_wide(acl, 3));
    gw_acl_free(acl);
}
END_TEST

START_TEST(the_longest_name_fits_every_message)
{
    char host[SP_HOST_MAX + 1], rule[SP_HOST_MAX + 8], text[SP_TARGET_TEXT];
    const char *const rules[RULES_MAX] = {rule};
    struct sp_ip ip = ip_of("1.1.1.1");
    struct gw_acl_answer answer;
    struct sp_target target;
    struct gw_acl *acl;
    size_t i;

    for (i = 0; i < SP_HOST_MAX; i++)
        host[i] = i % 64 == 63 ? '.' : 'a';
    host[SP_HOST_MAX] = '\0';
    snprintf(rule, sizeof rule, "%s:65535", host);
    snprintf(text, sizeof text, "%s:65535", host);
    acl = parse(rules);
    target = target_of(text);
    gw_acl_check_address(acl, &target, &ip, &answer);
    ck_assert(answer.allowed);
    ck_assert_str_eq(answer.rule, rule);
    gw_acl_free(acl);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("acl");
    TCase *tcase = tcase_create("acl");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(tcase, a_bad_rule_is_refused_and_the_error_says_what_is_wanted, 0,
                        sizeof bad_rules / sizeof bad_rules[0]);
    tcase_add_loop_test(tcase, a_destination_is_reached_only_by_a_rule_that_may_name_it, 0,
                        sizeof rows / sizeof rows[0]);
    tcase_add_loop_test(tcase, a_denied_request_is_denied_at_every_address, 0,
                        sizeof rows / sizeof rows[0]);
    tcase_add_test(tcase, a_rule_that_opens_special_addresses_with_the_internet_is_wide);
    tcase_add_test(tcase, the_longest_name_fits_every_message);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
