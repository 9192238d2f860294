/* OCSP requests, and what a certificate says about how its status is to be had. */
#include "common/tls_ocsp.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "certs/mint.h"
#include "tests/support/ocsp_maker.h"
#include "tests/support/scratch.h"

static struct certs_pair *ca, *leaf;

static struct certs_pair *mint(const char *dn, bool is_ca, const struct certs_pair *issuer)
{
    const struct certs_spec spec = {.dn = dn, .ca = is_ca, .path_len = -1};
    struct certs_pair *pair = NULL;

    ck_assert_int_eq(certs_mint(&spec, issuer, &pair, NULL), SP_OK);
    return pair;
}

static void setup(void)
{
    ca = mint("CN=CA", true, NULL);
    leaf = mint("CN=leaf", false, ca);
}

static void teardown(void)
{
    certs_pair_free(ca);
    certs_pair_free(leaf);
}

START_TEST(the_address_is_the_first_one_on_the_web)
{
#define METHOD           "\x06\x08\x2b\x06\x01\x05\x05\x07\x30"
#define OCSP(n, size)    "\x30" n METHOD "\x01\x86" size
#define ISSUERS(n, size) "\x30" n METHOD "\x02\x86" size
    static const struct {
        const char *aia;
        size_t len;
        const char *url; /* NULL: none */
    } rows[] = {
#define ROW(text, url) {text, sizeof(text) - 1, url}
        ROW("\x30\x17" OCSP("\x15", "\x09") "http://a/", "http://a/"),
        ROW("\x30\x18" OCSP("\x16", "\x0a") "HTTPS://a/", "HTTPS://a/"),
        ROW("\x30\x17" ISSUERS("\x15", "\x09") "http://a/", NULL),
        ROW("\x30\x2e" ISSUERS("\x15", "\x09") "http://a/" OCSP("\x15", "\x09") "http://b/",
            "http://b/"),
        ROW("\x30\x2e" OCSP("\x15", "\x09") "ldap://a/" OCSP("\x15", "\x09") "http://b/",
            "http://b/"),
        ROW("\x30\x2e" OCSP("\x15", "\x09") "http://a/" OCSP("\x15", "\x09") "http://b/",
            "http://a/"),
        ROW("\x30\x17" OCSP("\x15", "\x09") "http://\0/", NULL),
        ROW("\x30\x17" OCSP("\x15", "\x09") "http://\n/", NULL),
        ROW("\x30\x17" OCSP("\x15", "\x09") "http:// /", NULL),
        ROW("\x30\x17" OCSP("\x15", "\x09") "http://\x7f/", NULL),
        ROW("\x30\x17" OCSP("\x15", "\x09") "http://\xc3/", NULL),
        ROW("\x30\x1c" OCSP("\x1a", "\x0e") "http://fifteen", "http://fifteen"),
        ROW("\x30\x1d" OCSP("\x1b", "\x0f") "http://sixteen/", NULL), /* no room for its end */
        ROW("\x30\x15" OCSP("\x13", "\x07") "http://", NULL),
        ROW("\x30\x00", NULL),
        ROW("\x04\x00", NULL),
        ROW("\x30\x17" OCSP("\x15", "\x0a") "http://a/", NULL),
    };
    struct sp_bytes plain = ocsp_der(leaf);
    char buf[15];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct ocsp_change change = {
            .oid = "1.3.6.1.5.5.7.1.1", .value = rows[i].aia, .value_len = rows[i].len};
        struct sp_bytes cert;
        uint8_t *der = ocsp_reissue(leaf, ca, &change, &cert.len);
        bool found;

        cert.data = der;
        memset(buf, 'x', sizeof buf);
        found = sp_ocsp_responder_url(&cert, buf, sizeof buf);
        ck_assert_msg(found == !!rows[i].url, "row %zu: %d", i, found);
        ck_assert_msg(!strcmp(buf, rows[i].url ? rows[i].url : ""), "row %zu: %s", i, buf);
        free(der);
    }
    ck_assert(!sp_ocsp_responder_url(&plain, buf, sizeof buf));
}
END_TEST

START_TEST(must_staple_is_the_feature_status_request)
{
    static const struct {
        const char *value;
        size_t len;
        bool must;
    } rows[] = {
        {"\x30\x03\x02\x01\x05", 5, true},
        {"\x30\x06\x02\x01\x11\x02\x01\x05", 8, true},
        {"\x30\x03\x02\x01\x11", 5, false},
        {"\x30\x04\x02\x02\x05\x05", 6, false},
        {"\x30\x00", 2, false},
        {"\x02\x01\x05", 3, false},
    };
    struct sp_bytes plain = ocsp_der(leaf);

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct ocsp_change change = {
            .oid = "1.3.6.1.5.5.7.1.24", .value = rows[i].value, .value_len = rows[i].len};
        struct sp_bytes cert;
        uint8_t *der = ocsp_reissue(leaf, ca, &change, &cert.len);

        cert.data = der;
        ck_assert_msg(sp_ocsp_must_staple(&cert) == rows[i].must, "row %zu", i);
        free(der);
    }
    ck_assert(!sp_ocsp_must_staple(&plain));
}
END_TEST

static void write_file(struct scratch *s, const char *name, const void *data, size_t len)
{
    char path[512];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", s->path, name);
    file = fopen(path, "w");
    ck_assert(file && fwrite(data, 1, len, file) == len && fclose(file) == 0);
}

/* The request of a certificate with this serial number, as openssl and as we write it. */
static void compare_requests(struct scratch *s, const void *serial, size_t serial_len)
{
    const struct ocsp_change change = {.serial = serial, .serial_len = serial_len};
    const struct sp_bytes issuer = ocsp_der(ca);
    struct sp_bytes cert;
    uint8_t *der = ocsp_reissue(leaf, ca, &change, &cert.len), *ours;
    size_t len;

    cert.data = der;
    write_file(s, "leaf.der", der, cert.len);
    ck_assert_int_eq(sp_ocsp_request(&cert, &issuer, NULL, 0, &ours, &len, NULL), SP_OK);
    write_file(s, "ours.der", ours, len);
    ck_assert_msg(scratch_run(s, "openssl x509 -inform DER -in leaf.der -out leaf.pem && "
                                 "openssl ocsp -issuer ca.pem -cert leaf.pem -no_nonce "
                                 "-reqout theirs.der && cmp ours.der theirs.der") == 0,
                  "%s", s->output);
    free(ours);
    free(der);
}

START_TEST(openssl_would_have_asked_the_same)
{
    static const uint8_t plain[] = {0x12, 0x34}, high[] = {0x00, 0x80, 0x01}, one[] = {0x7f},
                         longest[20] = {0x7f, 1, 2, 3};
    struct scratch *s = scratch_new();
    char *pem = certs_pair_certificate_pem(ca);

    scratch_write(s, "ca.pem", pem);
    free(pem);
    compare_requests(s, plain, sizeof plain);
    compare_requests(s, high, sizeof high);
    compare_requests(s, one, sizeof one);
    compare_requests(s, longest, sizeof longest);
    scratch_free(s);
}
END_TEST

START_TEST(the_nonce_stands_in_the_request_unless_it_is_too_long)
{
    const struct sp_bytes cert = ocsp_der(leaf), issuer = ocsp_der(ca);
    uint8_t nonce[SP_OCSP_NONCE_MAX + 1] = {1}, *ours;
    struct scratch *s = scratch_new();
    struct sp_error err;
    size_t len;

    ck_assert_int_eq(sp_ocsp_request(&cert, &issuer, nonce, sizeof nonce, &ours, &len, &err),
                     SP_ERR_LIMIT);
    ck_assert_str_eq(err.text, "a nonce of 33 bytes; 32 are the most");
    memcpy(nonce, "all of thirty-two bytes, no more", SP_OCSP_NONCE_MAX);
    ck_assert_int_eq(sp_ocsp_request(&cert, &issuer, nonce, SP_OCSP_NONCE_MAX, &ours, &len, &err),
                     SP_OK);
    ck_assert_ptr_nonnull(memmem(ours, len, "all of thirty-two bytes, no more", 32));
    write_file(s, "request.der", ours, len);
    free(ours);
    ck_assert_msg(scratch_run(s, "openssl ocsp -reqin request.der -req_text -noverify") == 0, "%s",
                  s->output);
    ck_assert_ptr_nonnull(strstr(s->output, "OCSP Nonce"));
    scratch_free(s);
}
END_TEST

START_TEST(a_serial_number_beyond_all_bounds_is_not_asked_about)
{
    static const uint8_t serial[65] = {1};
    const struct sp_bytes issuer = ocsp_der(ca);
    struct sp_bytes cert;
    struct sp_error err;
    uint8_t *ours, *der;
    size_t len;

    for (size_t n = 64; n <= 65; n++) {
        const struct ocsp_change change = {.serial = serial, .serial_len = n};

        der = ocsp_reissue(leaf, ca, &change, &cert.len);
        cert.data = der;
        if (n == 64) {
            ck_assert_int_eq(sp_ocsp_request(&cert, &issuer, serial, 32, &ours, &len, &err), SP_OK);
            free(ours);
        } else {
            ck_assert_int_eq(sp_ocsp_request(&cert, &issuer, serial, 32, &ours, &len, &err),
                             SP_ERR_LIMIT);
            ck_assert_str_eq(err.text, "its serial number has 65 bytes; 64 are the most");
        }
        free(der);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tls_ocsp_request");
    TCase *all = tcase_create("all");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_unchecked_fixture(all, setup, teardown);
    tcase_add_test(all, the_address_is_the_first_one_on_the_web);
    tcase_add_test(all, must_staple_is_the_feature_status_request);
    tcase_add_test(all, openssl_would_have_asked_the_same);
    tcase_add_test(all, the_nonce_stands_in_the_request_unless_it_is_too_long);
    tcase_add_test(all, a_serial_number_beyond_all_bounds_is_not_asked_about);
    suite_add_tcase(suite, all);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
