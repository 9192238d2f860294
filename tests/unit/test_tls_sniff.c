/* tls_sniff: the name in a ClientHello that is not for us, however it is cut. */
#include "common/tls_sniff.h"

#include "tests/support/tls_raw.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static uint8_t record[4096];
static char name[SP_HOST_MAX + 1];

static size_t hello_with(const void *sni, size_t sni_len)
{
    const struct tls_hello hello = {.sni = sni, .sni_len = sni_len};

    return tls_hello_build(&hello, record);
}

static size_t hello_for(const char *host)
{
    uint8_t sni[1024];

    return hello_with(sni, tls_sni_build(host, strlen(host), sni));
}

/* In memory of exactly that size. */
static enum sp_tls_sniff sniff(const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    enum sp_tls_sniff found;

    memcpy(copy, data, len);
    memset(name, 'x', sizeof name);
    found = sp_tls_sniff(copy, len, name);
    free(copy);
    return found;
}

START_TEST(the_name_is_found_once_the_hello_is_whole_and_not_before)
{
    size_t len = hello_for("WEB.Acme.example.");

    for (size_t i = 0; i < len; i++)
        ck_assert_int_eq(sniff(record, i), SP_TLS_SNIFF_MORE);
    ck_assert_int_eq(sniff(record, len), SP_TLS_SNIFF_NAME);
    ck_assert_str_eq(name, "web.acme.example");
    memset(record + len, 0xff, 100); /* what follows is not looked at */
    ck_assert_int_eq(sniff(record, len + 100), SP_TLS_SNIFF_NAME);
}
END_TEST

/* _i: bytes a record. */
START_TEST(records_may_cut_the_hello_anywhere)
{
    uint8_t cut[8192];
    size_t len = hello_for("web.acme.example"), made = 0;

    for (size_t at = 5; at < len;) {
        size_t part = len - at < (size_t)_i ? len - at : (size_t)_i;
        const uint8_t header[] = {22, 3, 1, (uint8_t)(part >> 8), (uint8_t)part};

        memcpy(cut + made, header, 5);
        memcpy(cut + made + 5, record + at, part);
        made += 5 + part;
        at += part;
    }
    ck_assert_int_eq(sniff(cut, made - 1), SP_TLS_SNIFF_MORE);
    ck_assert_int_eq(sniff(cut, made), SP_TLS_SNIFF_NAME);
    ck_assert_str_eq(name, "web.acme.example");
}
END_TEST

static const char *const no_names[] = {"", "127.0.0.1", "a..example", "-.1", "a b", "1.2"};

START_TEST(what_is_no_host_name_is_no_name)
{
    size_t len = hello_for(no_names[_i]);

    ck_assert_int_eq(sniff(record, len), SP_TLS_SNIFF_NONE);
}
END_TEST

START_TEST(no_name_or_two_are_none)
{
    uint8_t two[64];
    size_t len = tls_sni_build("a.example", 9, two);

    len += tls_sni_build("b.example", 9, two + len);
    ck_assert_int_eq(sniff(record, hello_with(two, len)), SP_TLS_SNIFF_NONE);
    ck_assert_int_eq(sniff(record, hello_with(NULL, 0)), SP_TLS_SNIFF_NONE);
    ck_assert_int_eq(sniff(record, hello_with("\0\0\0\5\0\3\0\0\0", 9)), SP_TLS_SNIFF_NONE);
    ck_assert_int_eq(sniff(record, hello_with("\0\0\0\x0c\0\x0a\0\0\x07"
                                              "a\0b.exa",
                                              16)),
                     SP_TLS_SNIFF_NONE);
}
END_TEST

static const struct {
    const char *data;
    size_t len;
    enum sp_tls_sniff found;
} starts[] = {
    {"", 0, SP_TLS_SNIFF_MORE},
    {"\x16", 1, SP_TLS_SNIFF_MORE},
    {"\x16\x03\x01\x40\x00", 5, SP_TLS_SNIFF_MORE},
    {"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc", 9, SP_TLS_SNIFF_MORE},
    {"\x16\x03\x01\x40\x00\x01\x00\x40\x00", 9, SP_TLS_SNIFF_MORE},
    {"\x16\x03\x01\x40\x00\x01\x00\x40\x01", 9, SP_TLS_SNIFF_NONE}, /* above the maximum */
    {"\x16\x03\x01\x40\x00\x01\x01", 7, SP_TLS_SNIFF_MORE},
    {"\x16\x03\x01\x40\x00\x01\x01\x00\x00", 9, SP_TLS_SNIFF_NONE},
    {"\x16\x03\x01\x40\x01", 5, SP_TLS_SNIFF_NONE}, /* longer than a record may be */
    {"\x16\x03\x01\x00\x00", 5, SP_TLS_SNIFF_NONE}, /* empty */
    {"\x16\x02", 2, SP_TLS_SNIFF_NONE},
    {"\x15", 1, SP_TLS_SNIFF_NONE},
    {"GET", 3, SP_TLS_SNIFF_NONE},
    {"\x80\x2e\x01\x03\x01", 5, SP_TLS_SNIFF_NONE}, /* SSLv2 */
    {"\x16\x03\x01\x00\x04\x02", 6, SP_TLS_SNIFF_NONE},
    {"\x16\x03\x01\x00\x01\x01\x17", 7, SP_TLS_SNIFF_NONE}, /* another record in between */
    {"\x16\x03\x01\x00\x04\x01\x00\x00\x00", 9, SP_TLS_SNIFF_NONE},
};

START_TEST(what_cannot_be_a_hello_is_known_at_once)
{
    ck_assert_int_eq(sniff((const uint8_t *)starts[_i].data, starts[_i].len), starts[_i].found);
}
END_TEST

START_TEST(a_hello_of_the_largest_size_is_read_and_its_last_byte_too)
{
    size_t len = 9 + SP_TLS_SNIFF_MAX, record_len = SP_TLS_SNIFF_MAX;
    uint8_t *data = calloc(1, len + 10);

    memcpy(data, "\x16\x03\x01\x40\x00\x01\x00\x40\x00", 9);
    memcpy(data + 5 + record_len, "\x16\x03\x01\x00\x04", 5); /* the last four in another record */
    ck_assert_int_eq(sniff(data, len), SP_TLS_SNIFF_MORE);
    ck_assert_int_eq(sniff(data, len + 4), SP_TLS_SNIFF_MORE);
    ck_assert_int_eq(sniff(data, len + 5), SP_TLS_SNIFF_NONE); /* zeroes are no hello */
    free(data);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tls_sniff");
    TCase *tcase = tcase_create("tls_sniff");
    SRunner *runner = srunner_create(suite);
    int failures;

    tcase_add_test(tcase, the_name_is_found_once_the_hello_is_whole_and_not_before);
    tcase_add_loop_test(tcase, records_may_cut_the_hello_anywhere, 1, 20);
    tcase_add_loop_test(tcase, what_is_no_host_name_is_no_name, 0,
                        (int)(sizeof no_names / sizeof *no_names));
    tcase_add_test(tcase, no_name_or_two_are_none);
    tcase_add_loop_test(tcase, what_cannot_be_a_hello_is_known_at_once, 0,
                        (int)(sizeof starts / sizeof *starts));
    tcase_add_test(tcase, a_hello_of_the_largest_size_is_read_and_its_last_byte_too);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_ENV);
    failures = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failures != 0;
}
