#include "common/addr.h"

#include <check.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

static struct sp_ip ip_of(const char *text)
{
    struct sp_ip ip;

    ck_assert_msg(sp_ip_parse(text, strlen(text), &ip), "%s", text);
    return ip;
}

static const struct {
    const char *text, *canonical; /* NULL: refused */
} addresses[] = {
    {"192.0.2.1", "192.0.2.1"},
    {"0.0.0.0", "0.0.0.0"},
    {"255.255.255.255", "255.255.255.255"},
    {"2001:DB8:0:0:0:0:0:1", "2001:db8::1"},
    {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
    {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
    {"::", "::"},
    {"::1", "::1"},
    {"1::", "1::"},
    {"::ffff:192.0.2.1", "::ffff:192.0.2.1"},
    {"64:ff9b::192.0.2.33", "64:ff9b::c000:221"},
    {"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
    {"", NULL},
    {"1.2.3", NULL},
    {"1.2.3.4.5", NULL},
    {"1.2.3.", NULL},
    {"1.2.3.4.", NULL},
    {".1.2.3.4", NULL},
    {"1..2.3", NULL},
    {"01.2.3.4", NULL},
    {"1.2.3.04", NULL},
    {"256.1.1.1", NULL},
    {"1.2.3.4 ", NULL},
    {" 1.2.3.4", NULL},
    {"+1.2.3.4", NULL},
    {"0x7f.0.0.1", NULL},
    {"127.1", NULL},
    {"2130706433", NULL},
    {"1:2:3:4:5:6:7", NULL},
    {"1:2:3:4:5:6:7:8:9", NULL},
    {"1:2:3:4::5:6:7:8", NULL},
    {"1::2::3", NULL},
    {":::", NULL},
    {":1:2:3:4:5:6:7", NULL},
    {"1:2:3:4:5:6:7:", NULL},
    {"00001::", NULL},
    {"g::", NULL},
    {"::1%lo", NULL},
    {"fe80::1%25eth0", NULL},
    {"[::1]", NULL},
    {"::ffff:1.2.3", NULL},
    {"::ffff:01.2.3.4", NULL},
    {"::1.2.3.4:5", NULL},
    {"1111:1111:1111:1111:1111:1111:1111:1111111111111", NULL},
};

START_TEST(an_address_is_read_strictly_and_written_canonically)
{
    struct sp_ip ip, again;
    char buf[SP_IP_TEXT];
    bool ok = sp_ip_parse(addresses[_i].text, strlen(addresses[_i].text), &ip);

    ck_assert_msg(ok == (addresses[_i].canonical != NULL), "\"%s\"", addresses[_i].text);
    if (!ok)
        return;
    ck_assert_str_eq(sp_ip_format(&ip, buf), addresses[_i].canonical);
    again = ip_of(buf);
    ck_assert(sp_ip_equal(&ip, &again));
}
END_TEST

START_TEST(an_address_ends_where_its_length_says)
{
    struct sp_ip ip;

    ck_assert(sp_ip_parse("10.0.0.1/8", 8, &ip));
    ck_assert(!sp_ip_parse("10.0.0.1", 9, &ip)); /* a NUL inside */
    ck_assert(!sp_ip_parse("10.0.0.1\0.9", 11, &ip));
    ck_assert(!sp_ip_parse(NULL, 0, &ip));
}
END_TEST

START_TEST(addresses_of_two_families_are_never_equal)
{
    struct sp_ip v4 = ip_of("127.0.0.1"), mapped = ip_of("::ffff:127.0.0.1");
    struct sp_ip other = ip_of("127.0.0.2"), same_bytes = ip_of("7f00:1::");

    ck_assert(!sp_ip_equal(&v4, &mapped));
    ck_assert(!sp_ip_equal(&v4, &same_bytes));
    ck_assert(!sp_ip_equal(&v4, &other));
    ck_assert(sp_ip_equal(&v4, &v4));
}
END_TEST

static const struct {
    const char *ip, *plain;
} mapped[] = {
    {"::ffff:192.0.2.1", "192.0.2.1"},
    {"::ffff:0.0.0.0", "0.0.0.0"},
    {"192.0.2.1", "192.0.2.1"},
    {"2001:db8::1", "2001:db8::1"},
    {"::192.0.2.1", "::192.0.2.1"},
    {"::ffff:0:192.0.2.1", "::ffff:0:192.0.2.1"},
    {"1::ffff:192.0.2.1", "1::ffff:192.0.2.1"},
};

START_TEST(a_mapped_address_is_the_ipv4_address_it_carries_and_any_other_is_itself)
{
    struct sp_ip ip = ip_of(mapped[_i].ip), plain = ip_of(mapped[_i].plain);
    struct sp_ip found = sp_ip_unmap(&ip);

    ck_assert_msg(sp_ip_equal(&found, &plain), "%s", mapped[_i].ip);
}
END_TEST

static const struct {
    const char *text, *canonical, *error; /* error: what the message contains */
} listens[] = {
    {"192.0.2.1:443", "192.0.2.1:443", NULL},
    {"127.0.0.1:0", "127.0.0.1:0", NULL},
    {"[2001:DB8::1]:65535", "[2001:db8::1]:65535", NULL},
    {"[::]:1", "[::]:1", NULL},
    {"192.0.2.1", NULL, "\"192.0.2.1\" is not an address with a port, such as 192.0.2.1:443"},
    {"::1:443", NULL, "is not an address with a port"},
    {"[::1]", NULL, "is not an address with a port"},
    {"[::1]443", NULL, "is not an address with a port"},
    {"[::1:443", NULL, "is not an address with a port"},
    {"", NULL, "\"\" is not an address with a port"},
    {"localhost:443", NULL, "\"localhost:443\" does not begin with an IP address"},
    {"[192.0.2.1]:443", NULL, "does not begin with an IP address"},
    {"[::1%lo]:443", NULL, "does not begin with an IP address"},
    {":443", NULL, "does not begin with an IP address"},
    {"192.0.2.1:", NULL, "the port of \"192.0.2.1:\" is not a number from 0 to 65535"},
    {"192.0.2.1:65536", NULL, "is not a number from 0 to 65535"},
    {"192.0.2.1:88947", NULL, "is not a number from 0 to 65535"},
    {"192.0.2.1:4294967739", NULL, "is not a number from 0 to 65535"},
    {"192.0.2.1:-1", NULL, "is not a number from 0 to 65535"},
    {"192.0.2.1:+1", NULL, "is not a number from 0 to 65535"},
    {"192.0.2.1: 1", NULL, "is not a number from 0 to 65535"},
    {"192.0.2.1:0443", NULL, "is not a number from 0 to 65535"},
    {"192.0.2.1:https", NULL, "is not a number from 0 to 65535"},
    {"\033[31m:1", NULL, "\"\\u001b[31m:1\" does not begin"},
};

START_TEST(an_address_with_port_is_read_or_refused_with_what_is_wanted)
{
    struct sp_error err = {0};
    struct sp_addr addr;
    char buf[SP_ADDR_TEXT];
    enum sp_err rc = sp_addr_parse(listens[_i].text, &addr, &err);

    if (listens[_i].canonical) {
        ck_assert_int_eq(rc, SP_OK);
        ck_assert_str_eq(sp_addr_format(&addr, buf), listens[_i].canonical);
        return;
    }
    ck_assert_int_eq(rc, SP_ERR_CONFIG);
    ck_assert_int_eq(err.kind, SP_ERR_CONFIG);
    ck_assert_msg(strstr(err.text, listens[_i].error) != NULL, "%s: %s", listens[_i].text,
                  err.text);
    ck_assert_int_eq(sp_addr_parse(listens[_i].text, &addr, NULL), SP_ERR_CONFIG);
}
END_TEST

START_TEST(an_address_survives_the_way_through_a_sockaddr)
{
    static const char *const texts[] = {"192.0.2.1:443", "[2001:db8::1]:65535", "0.0.0.0:0"};
    struct sp_addr in, out;
    struct sockaddr_storage sa;
    char buf[SP_ADDR_TEXT];
    socklen_t len;

    ck_assert_int_eq(sp_addr_parse(texts[_i], &in, NULL), SP_OK);
    len = sp_addr_to_sockaddr(&in, &sa);
    ck_assert_uint_eq(len,
                      in.ip.family == 4 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
    ck_assert(sp_addr_from_sockaddr((struct sockaddr *)&sa, &out));
    ck_assert_str_eq(sp_addr_format(&out, buf), texts[_i]);
    sa.ss_family = AF_UNIX;
    ck_assert(!sp_addr_from_sockaddr((struct sockaddr *)&sa, &out));
}
END_TEST

static const struct {
    const char *cidr, *error;
} networks[] = {
    {"10.1.0.0/16", NULL},
    {"10.1.2.3", NULL},
    {"0.0.0.0/0", NULL},
    {"2001:db8::/32", NULL},
    {"::/0", NULL},
    {"::1", NULL},
    {"10.1.2.0/16", "\"10.1.2.0/16\" has bits set behind its prefix; the network is 10.1.0.0/16"},
    {"10.0.0.1/31", "the network is 10.0.0.0/31"},
    {"2001:db8::1/64", "the network is 2001:db8::/64"},
    {"10.0.0.0/33", "the prefix length of \"10.0.0.0/33\" is not a number from 0 to 32"},
    {"::/129", "is not a number from 0 to 128"},
    {"10.0.0.0/", "is not a number from 0 to 32"},
    {"10.0.0.0/08", "is not a number from 0 to 32"},
    {"10.0.0.0/8/8", "is not a number from 0 to 32"},
    {"10.0.0.0/255.0.0.0", "is not a number from 0 to 32"},
    {"10/8", "is neither an address nor a network"},
    {"/8", "is neither an address nor a network"},
    {"", "is neither an address nor a network"},
    {"*", "is neither an address nor a network"},
};

START_TEST(a_network_is_read_or_refused_with_what_is_wanted)
{
    struct sp_error err = {0};
    struct sp_cidr cidr;
    enum sp_err rc = sp_cidr_parse(networks[_i].cidr, strlen(networks[_i].cidr), &cidr, &err);

    if (!networks[_i].error) {
        ck_assert_int_eq(rc, SP_OK);
        return;
    }
    ck_assert_int_eq(rc, SP_ERR_CONFIG);
    ck_assert_msg(strstr(err.text, networks[_i].error) != NULL, "%s: %s", networks[_i].cidr,
                  err.text);
}
END_TEST

static const struct {
    const char *cidr, *ip;
    bool inside;
} containments[] = {
    {"10.1.0.0/16", "10.1.255.255", true},
    {"10.1.0.0/16", "10.2.0.0", false},
    {"10.1.0.0/16", "::ffff:10.1.0.9", true},
    {"::ffff:10.1.0.0/112", "10.1.0.9", true},
    {"::ffff:10.1.0.0/112", "10.2.0.9", false},
    {"10.1.2.3", "10.1.2.3", true},
    {"10.1.2.3", "10.1.2.2", false},
    {"192.168.0.128/25", "192.168.0.127", false},
    {"192.168.0.128/25", "192.168.0.128", true},
    {"0.0.0.0/0", "255.0.0.1", true},
    {"0.0.0.0/0", "2001:db8::1", false},
    {"::/0", "2001:db8::1", true},
    {"::/0", "192.0.2.1", false},
    {"::/0", "::ffff:192.0.2.1", false},
    {"2001:db8::/33", "2001:db8:7fff::1", true},
    {"2001:db8::/33", "2001:db8:8000::1", false},
    {"127.0.0.1", "64:ff9b::127.0.0.1", false}, /* a translator is not the loopback */
};

START_TEST(a_network_contains_what_its_prefix_says)
{
    struct sp_ip ip = ip_of(containments[_i].ip);
    struct sp_cidr cidr;

    ck_assert_int_eq(
        sp_cidr_parse(containments[_i].cidr, strlen(containments[_i].cidr), &cidr, NULL), SP_OK);
    ck_assert_msg(sp_cidr_contains(&cidr, &ip) == containments[_i].inside, "%s %s",
                  containments[_i].cidr, containments[_i].ip);
}
END_TEST

#define L63 "abcdefghijklmnopqrstuvwxyz0123456789-abcdefghijklmnopqrstuvwxyz"
#define L61 "abcdefghijklmnopqrstuvwxyz0123456789-abcdefghijklmnopqrstuvwx"

static const struct {
    const char *text, *folded; /* NULL: refused */
} hosts[] = {
    {"example.com", "example.com"},
    {"EXAMPLE.Com.", "example.com"},
    {"localhost", "localhost"},
    {"_srv.a-b.example", "_srv.a-b.example"},
    {"1.example", "1.example"},
    {"123.456.example", "123.456.example"},
    {"3com", "3com"},
    {"xn--bcher-kva.example", "xn--bcher-kva.example"},
    {L63 ".example", L63 ".example"},
    {L63 "." L63 "." L63 "." L61, L63 "." L63 "." L63 "." L61},
    {L63 "." L63 "." L63 "." L61 ".", L63 "." L63 "." L63 "." L61},
    {L63 "." L63 "." L63 "." L61 "y", NULL},
    {"a" L63 ".example", NULL},
    {"example.a" L63, NULL},
    {"", NULL},
    {".", NULL},
    {"..", NULL},
    {"example..com", NULL},
    {"example.com..", NULL},
    {".example.com", NULL},
    {"exa mple.com", NULL},
    {"*.example.com", NULL},
    {"example.com:80", NULL},
    {"user@example.com", NULL},
    {"example.com/", NULL},
    {"ex%61mple.com", NULL},
    {"b\xc3\xbc"
     "cher.example",
     NULL},
    {"127.0.0.1", NULL},
    {"::1", NULL},
    {"example.0x1", NULL},
    {"example.123", NULL},
};

START_TEST(a_host_name_is_folded_or_refused)
{
    char folded[SP_HOST_MAX + 1] = "untouched";
    bool ok = sp_host_fold(hosts[_i].text, strlen(hosts[_i].text), folded);

    ck_assert_msg(ok == (hosts[_i].folded != NULL), "%s", hosts[_i].text);
    ck_assert_str_eq(folded, ok ? hosts[_i].folded : "untouched");
}
END_TEST

START_TEST(a_host_name_with_a_nul_inside_is_refused)
{
    char folded[SP_HOST_MAX + 1];

    ck_assert(!sp_host_fold("good.example\0.evil.example", 26, folded));
    ck_assert(!sp_host_fold("good.example", 13, folded));
    ck_assert(sp_host_fold("good.examplezzz", 12, folded));
    ck_assert_str_eq(folded, "good.example");
}
END_TEST

static const struct {
    const char *text, *canonical, *host; /* canonical NULL: refused */
    bool is_ip;
} targets[] = {
    {"Example.COM.:443", "example.com:443", "example.com", false},
    {"192.0.2.1:80", "192.0.2.1:80", "192.0.2.1", true},
    {"[2001:DB8:0::1]:65535", "[2001:db8::1]:65535", "2001:db8::1", true},
    {"[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:1", "::ffff:127.0.0.1", true},
    {"example.com", NULL, NULL, false},
    {"example.com:", NULL, NULL, false},
    {"example.com:0", NULL, NULL, false},
    {"example.com:65536", NULL, NULL, false},
    {"example.com:88947", NULL, NULL, false},
    {"example.com:443443443443443443443", NULL, NULL, false},
    {"example.com:-443", NULL, NULL, false},
    {"example.com:+443", NULL, NULL, false},
    {"example.com:0443", NULL, NULL, false},
    {"example.com: 443", NULL, NULL, false},
    {"example.com:443 ", NULL, NULL, false},
    {"example.com:443/", NULL, NULL, false},
    {"example.com:443:443", NULL, NULL, false},
    {"user@example.com:443", NULL, NULL, false},
    {"user:pass@example.com:443", NULL, NULL, false},
    {"http://example.com:443", NULL, NULL, false},
    {"//example.com:443", NULL, NULL, false},
    {":443", NULL, NULL, false},
    {"", NULL, NULL, false},
    {"::1:443", NULL, NULL, false},
    {"[::1]", NULL, NULL, false},
    {"[::1]:", NULL, NULL, false},
    {"[::1]443", NULL, NULL, false},
    {"[::1:443", NULL, NULL, false},
    {"[]:443", NULL, NULL, false},
    {"[example.com]:443", NULL, NULL, false},
    {"[192.0.2.1]:443", NULL, NULL, false},
    {"[::1%lo]:443", NULL, NULL, false},
    {"[fe80::1%25eth0]:443", NULL, NULL, false},
    {"[v1.fe80::a]:443", NULL, NULL, false},
    {"[::1]x:443", NULL, NULL, false},
    {"[[::1]]:443", NULL, NULL, false},
    {"exa\tmple.com:443", NULL, NULL, false},
    {"exa\r\nmple.com:443", NULL, NULL, false},
    {"*.example.com:443", NULL, NULL, false},
};

START_TEST(a_destination_is_read_or_refused_never_guessed)
{
    struct sp_error err = {0};
    struct sp_target target;
    char buf[SP_TARGET_TEXT];
    enum sp_err rc = sp_target_parse(targets[_i].text, strlen(targets[_i].text), &target, &err);

    if (!targets[_i].canonical) {
        ck_assert_msg(rc == SP_ERR_HTTP, "%s gave %d", targets[_i].text, rc);
        ck_assert_msg(!strpbrk(err.text, "\r\n\t"), "%s", err.text);
        return;
    }
    ck_assert_msg(rc == SP_OK, "%s: %s", targets[_i].text, err.text);
    ck_assert_str_eq(target.host, targets[_i].host);
    ck_assert_int_eq(target.is_ip, targets[_i].is_ip);
    ck_assert_str_eq(sp_target_format(&target, buf), targets[_i].canonical);
}
END_TEST

START_TEST(a_destination_ends_where_its_length_says)
{
    static const char *const cut[] = {"[", "[::1", "[::1]", "[::1]:", "a", "a:", "192.0.2.1:"};
    struct sp_target target;

    for (int i = 0; i < COUNT(cut);
         i++) { /* on the heap, so that a sanitizer sees a step too far */
        char *exact = malloc(strlen(cut[i]));

        memcpy(exact, cut[i], strlen(cut[i]));
        ck_assert_int_eq(sp_target_parse(exact, strlen(cut[i]), &target, NULL), SP_ERR_HTTP);
        free(exact);
    }
    ck_assert_int_eq(sp_target_parse("a.example:443HTTP", 13, &target, NULL), SP_OK);
    ck_assert_uint_eq(target.port, 443);
    ck_assert_int_eq(sp_target_parse("a.example\0.b:443", 16, &target, NULL), SP_ERR_HTTP);
    ck_assert_int_eq(sp_target_parse("a.example:443", 14, &target, NULL), SP_ERR_HTTP);
    ck_assert_int_eq(sp_target_parse("[::1]:443", 5, &target, NULL), SP_ERR_HTTP);
    ck_assert_int_eq(sp_target_parse("[::1]:443", 6, &target, NULL), SP_ERR_HTTP);
}
END_TEST

static const struct {
    const char *text, *canonical; /* NULL: refused */
} authorities[] = {
    {"Example.COM.", "example.com:80"},
    {"example.com:81", "example.com:81"},
    {"192.0.2.1", "192.0.2.1:80"},
    {"192.0.2.1:81", "192.0.2.1:81"},
    {"[2001:DB8:0::1]", "[2001:db8::1]:80"},
    {"[2001:db8::1]:81", "[2001:db8::1]:81"},
    {"", NULL},
    {":", NULL},
    {":81", NULL},
    {"example.com:", NULL},
    {"example.com:0", NULL},
    {"example.com:65536", NULL},
    {"example.com:81:82", NULL},
    {"192.0.2.1:", NULL},
    {"127.1", NULL},
    {"::1", NULL},
    {"::1:81", NULL},
    {"[", NULL},
    {"]", NULL},
    {"[]", NULL},
    {"[:]", NULL},
    {"[::1", NULL},
    {"::1]", NULL},
    {"[::1]:", NULL},
    {"[::1]81", NULL},
    {"[::1]]", NULL},
    {"[[::1]]", NULL},
    {"[::1%lo]", NULL},
    {"[example.com]", NULL},
    {"[192.0.2.1]", NULL},
    {"user@example.com", NULL},
    {"example.com/", NULL},
    {"example .com", NULL},
};

START_TEST(a_destination_may_leave_its_port_out_where_there_is_one_to_fall_back_on)
{
    size_t len = strlen(authorities[_i].text);
    char *exact = malloc(len ? len : 1), buf[SP_TARGET_TEXT]; /* a step too far is seen */
    struct sp_target target;
    bool ok;

    memcpy(exact, authorities[_i].text, len);
    ok = sp_target_parse_default(exact, len, 80, &target);
    free(exact);
    ck_assert_msg(ok == (authorities[_i].canonical != NULL), "%s", authorities[_i].text);
    if (ok)
        ck_assert_str_eq(sp_target_format(&target, buf), authorities[_i].canonical);
    ck_assert(!sp_target_parse_default("a.example\0.b", 12, 80, &target));
}
END_TEST

/* Ways to write 127.0.0.1 and 169.254.169.254 that some resolver or inet_aton understands. Each
 * must be refused before anything can look it up. */
static const char *const disguises[] = {
    "127.1",
    "127.0.1",
    "127.",
    "127",
    "0",
    "2130706433",
    "017700000001",
    "0x7f000001",
    "0X7F000001",
    "0x7f.1",
    "0x7f.0x0.0x0.0x1",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "0177.0.0.01",
    "0177.1",
    "127.0.0.01",
    "127.0.0.001",
    "0000127.0.0.1",
    "127.0.0.0x1",
    "127.0.0.1.",
    "127.0.0.1..",
    "127.00000.0.1",
    "127.0.0.1.1",
    "127.65536",
    "127.0.0.257",
    "4294967297",
    "169.254.43518",
    "169.16689662",
    "2852039166",
    "025177524776",
    "0xa9fea9fe",
    "0xa9.0xfe.0xa9.0xfe",
    "0251.0376.0251.0376",
    "0251.254.169.254",
    "0251.00376.000251.0000376",
    "169.254.169.0xfe",
    "169.254.169.254.",
    "425.510.425.510",
    "127.0.0.1%00",
    "127.0.0.1%20",
    "127%2e0%2e0%2e1",
    "%31%32%37.0.0.1",
    "127\xe3\x80\x82"
    "0\xe3\x80\x82"
    "0\xe3\x80\x82"
    "1",
    "\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.0.0.1",
    "\xe2\x91\xa0\xe2\x91\xa1\xe2\x91\xa6.0.0.1",
    "[::1%1]",
    "[::1%25lo]",
    "[127.0.0.1]",
    "[0:0:0:0:0:0:0:00001]",
    "[::127.1]",
    "[::ffff:127.1]",
    "[::ffff:0x7f.0.0.1]",
    "[::ffff:0177.0.0.1]",
    "[::ffff:2130706433]",
    "user@127.0.0.1",
    "127.0.0.1#",
    "127.0.0.1,",
};

START_TEST(a_disguised_loopback_or_metadata_address_is_no_destination)
{
    struct sp_target target;
    char text[128];

    snprintf(text, sizeof text, "%s:80", disguises[_i]);
    ck_assert_msg(sp_target_parse(text, strlen(text), &target, NULL) == SP_ERR_HTTP, "%s", text);
}
END_TEST

static const struct {
    const char *ip;
    enum sp_ip_class cls;
} classes[] = {
    /* loopback, and what ends there */
    {"127.0.0.1", SP_IP_LOOPBACK},
    {"127.0.0.0", SP_IP_LOOPBACK},
    {"127.255.255.254", SP_IP_LOOPBACK},
    {"::1", SP_IP_LOOPBACK},
    {"0:0:0:0:0:0:0:1", SP_IP_LOOPBACK},
    {"::ffff:127.0.0.1", SP_IP_LOOPBACK},
    {"::ffff:7f00:1", SP_IP_LOOPBACK},
    {"0:0:0:0:0:ffff:7f12:3456", SP_IP_LOOPBACK},
    {"::127.0.0.1", SP_IP_LOOPBACK},
    {"::7f00:1", SP_IP_LOOPBACK},
    {"::ffff:0:127.0.0.1", SP_IP_LOOPBACK},
    {"64:ff9b::127.0.0.1", SP_IP_LOOPBACK},
    {"64:ff9b::7f00:1", SP_IP_LOOPBACK},
    {"64:ff9b:1::127.0.0.1", SP_IP_LOOPBACK}, /* /96 inside the /48 */
    {"64:ff9b:1:abcd::127.0.0.1", SP_IP_LOOPBACK},
    {"64:ff9b:1:7f00:0:100::", SP_IP_LOOPBACK}, /* RFC 6052 with /48 */
    {"64:ff9b:1:127f::1:0:0", SP_IP_LOOPBACK},  /* with /56 and a subnet */
    {"64:ff9b:1::1", SP_IP_RESERVED},           /* no place holds an address */
    {"64:ff9b:1:7f:0:1::", SP_IP_LOOPBACK},     /* with /56 */
    {"64:ff9b:1:0:7f:0:100:0", SP_IP_LOOPBACK}, /* with /64 */
    {"2002:7f00:1::", SP_IP_LOOPBACK},
    {"2002:7f00:1::8.8.8.8", SP_IP_LOOPBACK},
    {"2001:0:808:808:0:0:80ff:fffe", SP_IP_LOOPBACK}, /* Teredo client, inverted */
    {"2001:0:7f00:1:0:0:f7f7:f7f7", SP_IP_LOOPBACK},  /* Teredo server */
    {"2a00:1450::5efe:127.0.0.1", SP_IP_LOOPBACK},    /* ISATAP */
    {"2a00:1450::200:5efe:127.0.0.1", SP_IP_LOOPBACK},
    {"0.0.0.0", SP_IP_RESERVED},
    {"0.1.2.3", SP_IP_RESERVED},
    {"::", SP_IP_RESERVED},
    {"::ffff:0.0.0.0", SP_IP_RESERVED},
    {"::2", SP_IP_RESERVED},
    {"64:ff9b::", SP_IP_RESERVED},
    {"64:ff9b:1::", SP_IP_RESERVED},
    {"2002::", SP_IP_RESERVED},
    /* metadata services */
    {"169.254.169.254", SP_IP_METADATA},
    {"169.254.170.2", SP_IP_METADATA},
    {"169.254.170.23", SP_IP_METADATA},
    {"168.63.129.16", SP_IP_METADATA},
    {"100.100.100.200", SP_IP_METADATA},
    {"192.0.0.192", SP_IP_METADATA},
    {"169.254.42.42", SP_IP_METADATA},
    {"169.254.0.23", SP_IP_METADATA},
    {"fd00:ec2::254", SP_IP_METADATA},
    {"fd00:ec2::23", SP_IP_METADATA},
    {"fd20:ce::254", SP_IP_METADATA},
    {"fd00:42::42", SP_IP_METADATA},
    {"fd00:c1::a9fe:a9fe", SP_IP_METADATA},
    {"fe80::a9fe:a9fe", SP_IP_METADATA},
    {"::ffff:169.254.169.254", SP_IP_METADATA},
    {"::ffff:a9fe:a9fe", SP_IP_METADATA},
    {"::169.254.169.254", SP_IP_METADATA},
    {"::ffff:0:169.254.169.254", SP_IP_METADATA},
    {"64:ff9b::169.254.169.254", SP_IP_METADATA},
    {"64:ff9b:1::a9fe:a9fe", SP_IP_METADATA},
    {"64:ff9b:1:a9fe:a9:fe00::", SP_IP_METADATA},
    {"64:ff9b:1:a9:fe:a9fe::", SP_IP_METADATA},
    {"64:ff9b:1::a9:fea9:fe00:0", SP_IP_METADATA},
    {"2002:a9fe:a9fe::1", SP_IP_METADATA},
    {"2001:0:808:808::5601:5601", SP_IP_METADATA},
    {"2a00:1450::5efe:169.254.169.254", SP_IP_METADATA},
    {"::ffff:168.63.129.16", SP_IP_METADATA},
    {"64:ff9b::100.100.100.200", SP_IP_METADATA},
    /* link-local */
    {"169.254.0.1", SP_IP_LINK_LOCAL},
    {"169.254.255.255", SP_IP_LINK_LOCAL},
    {"169.255.0.0", SP_IP_GLOBAL},
    {"fe80::1", SP_IP_LINK_LOCAL},
    {"febf:ffff::1", SP_IP_LINK_LOCAL},
    {"fe80::5efe:8.8.8.8", SP_IP_LINK_LOCAL},
    {"::ffff:169.254.1.1", SP_IP_LINK_LOCAL},
    /* private */
    {"10.0.0.0", SP_IP_PRIVATE},
    {"10.255.255.255", SP_IP_PRIVATE},
    {"11.0.0.0", SP_IP_GLOBAL},
    {"172.15.255.255", SP_IP_GLOBAL},
    {"172.16.0.0", SP_IP_PRIVATE},
    {"172.31.255.255", SP_IP_PRIVATE},
    {"172.32.0.0", SP_IP_GLOBAL},
    {"192.168.1.1", SP_IP_PRIVATE},
    {"100.64.0.1", SP_IP_PRIVATE},
    {"100.127.255.255", SP_IP_PRIVATE},
    {"100.128.0.0", SP_IP_GLOBAL},
    {"fc00::1", SP_IP_PRIVATE},
    {"fdff::1", SP_IP_PRIVATE},
    {"fec0::1", SP_IP_PRIVATE},
    {"::ffff:10.0.0.1", SP_IP_PRIVATE},
    {"2002:a00:1::", SP_IP_PRIVATE},
    {"64:ff9b::192.168.0.1", SP_IP_PRIVATE},
    /* multicast and broadcast */
    {"224.0.0.1", SP_IP_MULTICAST},
    {"239.255.255.255", SP_IP_MULTICAST},
    {"255.255.255.255", SP_IP_MULTICAST},
    {"ff02::1", SP_IP_MULTICAST},
    {"::ffff:224.0.0.1", SP_IP_MULTICAST},
    /* reserved */
    {"192.0.0.1", SP_IP_RESERVED},
    {"192.0.2.1", SP_IP_RESERVED},
    {"192.88.99.1", SP_IP_RESERVED},
    {"198.17.255.255", SP_IP_GLOBAL},
    {"198.18.0.1", SP_IP_RESERVED},
    {"198.19.255.255", SP_IP_RESERVED},
    {"198.51.100.1", SP_IP_RESERVED},
    {"203.0.113.1", SP_IP_RESERVED},
    {"240.0.0.1", SP_IP_RESERVED},
    {"255.255.255.254", SP_IP_RESERVED},
    {"2001:db8::1", SP_IP_RESERVED},
    {"2001:1::1", SP_IP_RESERVED},
    {"3fff::1", SP_IP_RESERVED},
    {"100::1", SP_IP_RESERVED},
    {"4000::1", SP_IP_RESERVED},
    {"1::", SP_IP_RESERVED},
    {"5f00::1", SP_IP_RESERVED},
    {"fe00::1", SP_IP_RESERVED},
    /* ordinary */
    {"8.8.8.8", SP_IP_GLOBAL},
    {"1.1.1.1", SP_IP_GLOBAL},
    {"223.255.255.255", SP_IP_GLOBAL},
    {"168.63.129.17", SP_IP_GLOBAL},
    {"2606:4700::1111", SP_IP_GLOBAL},
    {"2001:4860:4860::8888", SP_IP_GLOBAL},
    {"2001:200::1", SP_IP_GLOBAL},
    {"::ffff:8.8.8.8", SP_IP_GLOBAL},
    {"::8.8.8.8", SP_IP_GLOBAL},
    {"64:ff9b::8.8.8.8", SP_IP_GLOBAL},
    {"64:ff9b:1::8.8.8.8", SP_IP_GLOBAL},
    {"64:ff9b:1:808:8:800::", SP_IP_GLOBAL},
    {"2002:808:808::1", SP_IP_GLOBAL},
    {"2001:0:808:808::f7f7:f7f7", SP_IP_GLOBAL},
    {"2a00:1450::5efe:8.8.8.8", SP_IP_GLOBAL},
};

START_TEST(an_address_is_judged_by_what_it_reaches)
{
    struct sp_ip ip = ip_of(classes[_i].ip);
    enum sp_ip_class found = sp_ip_classify(&ip);

    ck_assert_msg(found == classes[_i].cls, "%s is %s, not %s", classes[_i].ip,
                  sp_ip_class_name(classes[_i].cls), sp_ip_class_name(found));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("addr");
    TCase *tc = tcase_create("addr");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tc);
    tcase_add_loop_test(tc, an_address_is_read_strictly_and_written_canonically, 0,
                        COUNT(addresses));
    tcase_add_test(tc, an_address_ends_where_its_length_says);
    tcase_add_test(tc, addresses_of_two_families_are_never_equal);
    tcase_add_loop_test(tc, a_mapped_address_is_the_ipv4_address_it_carries_and_any_other_is_itself,
                        0, COUNT(mapped));
    tcase_add_loop_test(tc, an_address_with_port_is_read_or_refused_with_what_is_wanted, 0,
                        COUNT(listens));
    tcase_add_loop_test(tc, an_address_survives_the_way_through_a_sockaddr, 0, 3);
    tcase_add_loop_test(tc, a_network_is_read_or_refused_with_what_is_wanted, 0, COUNT(networks));
    tcase_add_loop_test(tc, a_network_contains_what_its_prefix_says, 0, COUNT(containments));
    tcase_add_loop_test(tc, a_host_name_is_folded_or_refused, 0, COUNT(hosts));
    tcase_add_test(tc, a_host_name_with_a_nul_inside_is_refused);
    tcase_add_loop_test(tc, a_destination_is_read_or_refused_never_guessed, 0, COUNT(targets));
    tcase_add_test(tc, a_destination_ends_where_its_length_says);
    tcase_add_loop_test(tc, a_destination_may_leave_its_port_out_where_there_is_one_to_fall_back_on,
                        0, COUNT(authorities));
    tcase_add_loop_test(tc, a_disguised_loopback_or_metadata_address_is_no_destination, 0,
                        COUNT(disguises));
    tcase_add_loop_test(tc, an_address_is_judged_by_what_it_reaches, 0, COUNT(classes));
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
