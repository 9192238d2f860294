/* The walk through DER: what is not an element, a time or an extension is not taken for one. */
#include "common/tls_der.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define TEXT(bytes) (bytes), sizeof(bytes) - 1

/* A copy of exact size, so that a sanitizer sees one read too many. */
static struct sp_tls_der open_copy(const char *bytes, size_t len, uint8_t **ret_copy)
{
    *ret_copy = malloc(len ? len : 1);
    ck_assert_ptr_nonnull(*ret_copy);
    memcpy(*ret_copy, bytes, len);
    return (struct sp_tls_der){*ret_copy, *ret_copy + len};
}

START_TEST(only_the_two_forms_of_time_are_times)
{
    static const struct {
        int tag;
        const char *text;
        int64_t time; /* -1: not taken */
    } rows[] = {
        {0x17, "700101000001Z", 1},
        {0x17, "491231235959Z", 2524607999},
        {0x17, "500101000000Z", -631152000},
        {0x18, "20260228010203Z", 1772240523},
        {0x18, "20161231235960Z", 1483228800}, /* a leap second */
        {0x18, "19500101000000Z", -631152000},
        {0x18, "", -1},
        {0x18, "20260228010203", -1},
        {0x18, "202602280102030", -1},
        {0x18, "20260228010203", -1},
        {0x18, "20260228010203.1Z", -1},
        {0x18, "260228010203Z", -1},
        {0x17, "20260228010203Z", -1},
        {0x17, "2602280102Z", -1},
        {0x16, "260228010203Z", -1},
        {0x18, "2x260228010203Z", -1},
        {0x18, "/0260228010203Z", -1},
        {0x18, "20:60228010203Z", -1},
        {0x18, "2026/228010203Z", -1},
        {0x18, "202602 8010203Z", -1},
        {0x18, "202602280x0203Z", -1},
        {0x18, "2026022801 203Z", -1},
        {0x18, "202602280102-3Z", -1},
        {0x18, "20260028010203Z", -1},
        {0x18, "20261328010203Z", -1},
        {0x18, "20260200010203Z", -1},
        {0x18, "20260132010203Z", -1},
        {0x18, "20260228240203Z", -1},
        {0x18, "20260228016003Z", -1},
        {0x18, "20260228010261Z", -1},
    };

    struct sp_tls_der nothing = {NULL, NULL};
    int64_t ignored;

    ck_assert(!sp_tls_der_take_time(&nothing, &ignored));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t len = strlen(rows[i].text);
        char bytes[32] = {(char)rows[i].tag, (char)len};
        int64_t time = -1;
        struct sp_tls_der d;
        uint8_t *copy;
        bool taken;

        memcpy(bytes + 2, rows[i].text, len);
        d = open_copy(bytes, 2 + len, &copy);
        taken = sp_tls_der_take_time(&d, &time);

        ck_assert_msg(taken == (rows[i].time != -1) && time == rows[i].time, "row %zu: %d %lld", i,
                      taken, (long long)time);
        ck_assert(!taken || sp_tls_der_len(&d) == 0);
        free(copy);
    }
}
END_TEST

START_TEST(an_element_is_taken_whole_or_not_at_all)
{
    static const struct {
        const char *bytes;
        size_t len;
        size_t content; /* its length; NOT_TAKEN */
    } rows[] = {
#define NOT_TAKEN 9999
        {TEXT("\x04\x00"), 0},
        {TEXT("\x04\x02xy"), 2},
        {TEXT("\x04\x02xyz"), 2},
        {TEXT("\x04\x81\x02xy"), 2},
        {TEXT("\x04\x84\x00\x00\x00\x02xy"), 2},
        {TEXT(""), NOT_TAKEN},
        {TEXT("\x04"), NOT_TAKEN},
        {TEXT("\x05\x02xy"), NOT_TAKEN},
        {TEXT("\x04\x03xy"), NOT_TAKEN},
        {TEXT("\x04\x80xy"), NOT_TAKEN},
        {TEXT("\x04\x81"), NOT_TAKEN},
        {TEXT("\x04\x82\x00"), NOT_TAKEN},
        {TEXT("\x04\x81\x03xy"), NOT_TAKEN},
        {TEXT("\x04\x84\xff\xff\xff\xffxy"), NOT_TAKEN},
        {TEXT("\x04\x85\x00\x00\x00\x00\x02xy"), NOT_TAKEN},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sp_tls_der content = {NULL, NULL}, whole = {NULL, NULL};
        uint8_t *copy;
        struct sp_tls_der d = open_copy(rows[i].bytes, rows[i].len, &copy);
        const uint8_t *begin = d.at;
        bool taken = sp_tls_der_take(&d, SP_TLS_DER_OCTET_STRING, &content, &whole);

        ck_assert_msg(taken == (rows[i].content != NOT_TAKEN), "row %zu", i);
        if (taken) {
            ck_assert_uint_eq(sp_tls_der_len(&content), rows[i].content);
            ck_assert(whole.at == begin && whole.end == content.end && d.at == content.end);
        } else {
            ck_assert(d.at == begin && !content.at && !whole.at);
        }
        free(copy);
    }
}
END_TEST

START_TEST(an_extension_has_its_parts_in_their_order_and_no_more)
{
    static const struct {
        const char *bytes;
        size_t len;
        bool taken, critical;
    } rows[] = {
        {TEXT("\x30\x08\x06\x03\x55\x1d\x0f\x04\x01v"), true, false},
        {TEXT("\x30\x0b\x06\x03\x55\x1d\x0f\x01\x01\xff\x04\x01v"), true, true},
        {TEXT("\x30\x0b\x06\x03\x55\x1d\x0f\x01\x01\x01\x04\x01v"), false, false}, /* no DER */
        {TEXT("\x30\x0b\x06\x03\x55\x1d\x0f\x01\x01\x00\x04\x01v"), true, false},
        {TEXT("\x31\x08\x06\x03\x55\x1d\x0f\x04\x01v"), false, false},
        {TEXT("\x30\x08\x05\x03\x55\x1d\x0f\x04\x01v"), false, false},
        {TEXT("\x30\x05\x06\x03\x55\x1d\x0f"), false, false},
        {TEXT("\x30\x03\x04\x01v"), false, false},
        {TEXT("\x30\x08\x06\x03\x55\x1d\x0f\x0c\x01v"), false, false},
        {TEXT("\x30\x0a\x06\x03\x55\x1d\x0f\x04\x01v\x05\x00"), false, false},
        {TEXT("\x30\x0a\x06\x03\x55\x1d\x0f\x01\x00\x04\x01v"), false, false},
        {TEXT("\x30\x0c\x06\x03\x55\x1d\x0f\x01\x02\xff\xff\x04\x01v"), false, false},
        {TEXT("\x30\x07\x06\x03\x55\x1d\x0f\x01\x7f"), false, false},
        {TEXT("\x30\x08\x06\x03\x55\x1d\x0f\x01\x01\xff"), false, false},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sp_tls_der oid, value;
        bool critical = !rows[i].critical;
        uint8_t *copy;
        struct sp_tls_der d = open_copy(rows[i].bytes, rows[i].len, &copy);
        bool taken = sp_tls_der_take_extension(&d, &oid, &critical, &value);

        ck_assert_msg(taken == rows[i].taken, "row %zu", i);
        if (taken) {
            ck_assert_msg(critical == rows[i].critical, "row %zu", i);
            ck_assert_int_eq(sp_tls_der_standard_oid(&oid), 15);
            ck_assert(sp_tls_der_len(&value) == 1 && value.at[0] == 'v' && !sp_tls_der_len(&d));
        }
        free(copy);
    }
}
END_TEST

START_TEST(only_three_bytes_below_2_5_29_are_standard)
{
    static const struct {
        const char *bytes;
        size_t len;
        int wanted;
    } rows[] = {
        {TEXT("\x55\x1d\x0f"), 15},     {TEXT("\x55\x1d"), -1},     {TEXT(""), -1},
        {TEXT("\x55\x1d\x0f\x01"), -1}, {TEXT("\x55\x1e\x0f"), -1}, {TEXT("\x56\x1d\x0f"), -1},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t *copy;
        struct sp_tls_der d = open_copy(rows[i].bytes, rows[i].len, &copy);

        ck_assert_msg(sp_tls_der_standard_oid(&d) == rows[i].wanted, "row %zu", i);
        free(copy);
    }
}
END_TEST

START_TEST(bytes_are_equal_when_all_are_and_as_many)
{
    const uint8_t a[] = "abc", b[] = "abd";
    const struct sp_tls_der none = {NULL, NULL}, empty = {a, a}, abc = {a, a + 3}, ab = {a, a + 2},
                            abd = {b, b + 3}, other_ab = {b, b + 2};

    ck_assert(sp_tls_der_equal(&none, &none) && sp_tls_der_equal(&none, &empty));
    ck_assert(sp_tls_der_equal(&ab, &other_ab));
    ck_assert(!sp_tls_der_equal(&abc, &abd) && !sp_tls_der_equal(&abc, &ab));
    ck_assert(!sp_tls_der_equal(&none, &abc) && !sp_tls_der_equal(&ab, &abc));
}
END_TEST

START_TEST(a_header_has_the_shortest_length_there_is)
{
    static const struct {
        size_t len;
        const char *header;
        size_t header_len;
    } rows[] = {
        {0, TEXT("\x30\x00")},
        {0x7f, TEXT("\x30\x7f")},
        {0x80, TEXT("\x30\x81\x80")},
        {0xff, TEXT("\x30\x81\xff")},
        {0x100, TEXT("\x30\x82\x01\x00")},
        {0xffff, TEXT("\x30\x82\xff\xff")},
        {0x10000, TEXT("\x30\x83\x01\x00\x00")},
        {0xffffff, TEXT("\x30\x83\xff\xff\xff")},
        {0x1000000, TEXT("\x30\x84\x01\x00\x00\x00")},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t at[8];
        size_t n = sp_tls_der_put_header(at, rows[i].len);

        ck_assert_msg(n == rows[i].header_len && !memcmp(at, rows[i].header, n), "%#zx",
                      rows[i].len);
    }
}
END_TEST

START_TEST(an_oid_is_written_with_points_and_cut_where_there_is_no_room)
{
    static const struct {
        const char *bytes;
        size_t len, room;
        const char *text;
    } rows[] = {
        {TEXT("\x55\x1d\x0f"), 64, "2.5.29.15"},
        {TEXT("\x2b\x06\x01\x04\x01\x86\x8d\x1f\x03"), 64, "1.3.6.1.4.1.99999.3"},
        {TEXT("\x00"), 64, "0.0"},
        {TEXT("\x27"), 64, "0.39"},
        {TEXT("\x28"), 64, "1.0"},
        {TEXT("\x4f"), 64, "1.39"},
        {TEXT("\x50"), 64, "2.0"},
        {TEXT("\x88\x37\x03"), 64, "2.999.3"},
        {TEXT(""), 64, ""},
        {TEXT("\x55\x1d\x0f"), 6, "2.5.2"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t *copy;
        struct sp_tls_der d = open_copy(rows[i].bytes, rows[i].len, &copy);
        char text[64];

        sp_tls_der_oid_text(&d, text, rows[i].room);
        ck_assert_str_eq(text, rows[i].text);
        free(copy);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tls_der");
    TCase *all = tcase_create("all");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(all, only_the_two_forms_of_time_are_times);
    tcase_add_test(all, an_element_is_taken_whole_or_not_at_all);
    tcase_add_test(all, an_extension_has_its_parts_in_their_order_and_no_more);
    tcase_add_test(all, only_three_bytes_below_2_5_29_are_standard);
    tcase_add_test(all, bytes_are_equal_when_all_are_and_as_many);
    tcase_add_test(all, a_header_has_the_shortest_length_there_is);
    tcase_add_test(all, an_oid_is_written_with_points_and_cut_where_there_is_no_room);
    suite_add_tcase(suite, all);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
