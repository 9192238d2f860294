/* Certificates for people: what is read from a file, and what one says of itself. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "certs/mint.h"
#include "common/tls_show.h"
#include "common/tls_trust.h"
#include "tests/support/scene.h"

static struct certs_pair *root, *leaf;
static char *root_pem, *leaf_pem, *key_pem;

static void setup(void)
{
    static const char *const dns[] = {"a.example", NULL};
    const struct certs_spec ca = {.dn = "CN=Root,O=Show", .ca = true, .path_len = -1};
    const struct certs_spec end = {.dn = "CN=leaf",
                                   .path_len = -1,
                                   .eku = CERTS_EKU_CLIENT | CERTS_EKU_SERVER,
                                   .dns = dns,
                                   .not_before = 1700000000,
                                   .not_after = 1800000000,
                                   .ocsp_uri = "http://ocsp.example/"};

    scene_enter();
    ck_assert_int_eq(certs_mint(&ca, NULL, &root, NULL), SP_OK);
    ck_assert_int_eq(certs_mint(&end, root, &leaf, NULL), SP_OK);
    root_pem = certs_pair_certificate_pem(root);
    leaf_pem = certs_pair_certificate_pem(leaf);
    key_pem = certs_pair_key_pem(leaf);
}

static void teardown(void)
{
    free(root_pem);
    free(leaf_pem);
    certs_secret_free(key_pem);
    certs_pair_free(root);
    certs_pair_free(leaf);
    scene_leave();
}

/* k key, l leaf, r root, t text, e no END line, b no base64, B half a BEGIN line */
static char *compose(const char *what)
{
    char *text = sp_calloc(1, 32768);

    for (const char *c = what; *c; c++) {
        strcat(text, *c == 'k'   ? key_pem
                     : *c == 'l' ? leaf_pem
                     : *c == 'r' ? root_pem
                     : *c == 'e' ? "-----BEGIN CERTIFICATE-----\nAAAA\n"
                     : *c == 'b' ? "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"
                     : *c == 'B' ? "-----BEGIN "
                                 : "subject=CN = leaf\n");
    }
    return text;
}

static const struct {
    const char *what;
    size_t count;
    bool had_key;
    const char *wrong; /* NULL: good */
} files[] = {
    {"l", 1, false, NULL},
    {"lr", 2, false, NULL},
    {"rl", 2, false, NULL},
    {"ttltrt", 2, false, NULL},
    {"kl", 1, true, NULL},
    {"lkr", 2, true, NULL},
    {"lB", 1, false, NULL},
    {"ll", 2, false, NULL},
    {"", 0, false, "has no certificate"},
    {"t", 0, false, "has no certificate"},
    {"B", 0, false, "has no certificate"},
    {"k", 0, true, "private key and no certificate"},
    {"e", 0, false, "certificate 1 in it has no END line"},
    {"le", 0, false, "certificate 2 in it has no END line"},
    {"rb", 0, false, "certificate 2 in it is damaged"},
};

START_TEST(a_file_gives_its_certificates_in_order_and_nothing_else)
{
    char *text = compose(files[_i].what);
    struct sp_tls_certs certs;
    struct sp_error err = {.text = ""};
    enum sp_err rc = sp_tls_certs_read((const uint8_t *)text, strlen(text), &certs, &err);
    struct sp_tls_shown shown;
    size_t at = 0;

    ck_assert_msg((rc == SP_OK) == !files[_i].wrong, "%s: %s", files[_i].what, err.text);
    if (rc != SP_OK) {
        ck_assert_msg(strstr(err.text, files[_i].wrong), "%s", err.text);
    } else {
        ck_assert_uint_eq(certs.count, files[_i].count);
        ck_assert_int_eq(certs.had_key, files[_i].had_key);
        for (const char *c = files[_i].what; *c; c++) {
            if (*c != 'l' && *c != 'r')
                continue;
            ck_assert(sp_tls_show(&certs.items[at++], &shown));
            ck_assert_str_eq(shown.subject, *c == 'l' ? "CN=leaf" : "CN=Root,O=Show");
        }
        sp_tls_certs_done(&certs);
    }
    free(text);
}
END_TEST

START_TEST(der_is_one_certificate_and_nothing_behind_it)
{
    size_t len;
    const uint8_t *der = certs_pair_der(leaf, &len);
    uint8_t *longer = sp_calloc(1, len + 1);
    struct sp_tls_certs certs;

    memcpy(longer, der, len);
    ck_assert_int_eq(sp_tls_certs_read(der, len, &certs, NULL), SP_OK);
    ck_assert_uint_eq(certs.count, 1);
    ck_assert_uint_eq(certs.items[0].len, len);
    sp_tls_certs_done(&certs);
    ck_assert_int_eq(sp_tls_certs_read(longer, len + 1, &certs, NULL), SP_ERR_CONFIG);
    ck_assert_int_eq(sp_tls_certs_read(longer, len - 1, &certs, NULL), SP_ERR_CONFIG);
    free(longer);
}
END_TEST

START_TEST(a_chain_has_one_more_than_allowed_at_most)
{
    struct sp_bytes items[20] = {{NULL, 0}};
    struct sp_tls_certs certs = {.items = items, .count = 20};
    struct sp_chain chain;

    sp_tls_certs_chain(&certs, &chain);
    ck_assert_uint_eq(chain.count, SP_CHAIN_MAX_CERTS + 1);
    certs.count = 3;
    sp_tls_certs_chain(&certs, &chain);
    ck_assert_uint_eq(chain.count, 3);
}
END_TEST

START_TEST(a_certificate_tells_what_it_is)
{
    struct sp_tls_shown shown;
    struct sp_bytes der;
    static const uint8_t junk[] = "junk";

    der.data = certs_pair_der(leaf, &der.len);
    ck_assert(sp_tls_show(&der, &shown));
    ck_assert_str_eq(shown.issuer, "CN=Root,O=Show");
    ck_assert_str_eq(shown.names, "a.example");
    ck_assert_ptr_nonnull(strstr(shown.usage, "clientAuth"));
    ck_assert_ptr_nonnull(strstr(shown.usage, "serverAuth"));
    ck_assert_ptr_nonnull(strstr(shown.key, "256 bits"));
    ck_assert_str_eq(shown.signature, "ECDSA-SHA256");
    ck_assert_str_eq(shown.responder, "http://ocsp.example/");
    ck_assert_int_eq(shown.not_before, 1700000000);
    ck_assert_int_eq(shown.not_after, 1800000000);
    ck_assert(!shown.is_ca);
    der.data = certs_pair_der(root, &der.len);
    ck_assert(sp_tls_show(&der, &shown));
    ck_assert(shown.is_ca);
    ck_assert_str_eq(shown.usage, "");
    der = (struct sp_bytes){junk, 4};
    ck_assert(!sp_tls_show(&der, &shown));
    ck_assert_uint_eq(strlen(shown.fingerprint), 71);
    ck_assert_str_eq(shown.subject, "");
}
END_TEST

START_TEST(a_trusted_ca_is_known_by_its_whole_name_or_by_a_long_beginning)
{
    static const char *const paths[] = {"show.pem"};
    struct sp_tls_trust *trust;

    scene_write("show.pem", root_pem);
    ck_assert_int_eq(sp_tls_trust_load(paths, 1, false, &trust, NULL), SP_OK);
    ck_assert(sp_tls_show_is_trusted_name(trust, "CN=Root,O=Show"));
    ck_assert(!sp_tls_show_is_trusted_name(trust, "CN=Root"));
    ck_assert(!sp_tls_show_is_trusted_name(trust, "CN=Root,O=Show,C=XX"));
    ck_assert(!sp_tls_show_is_trusted_name(trust, "CN=leaf"));
    ck_assert(!sp_tls_show_is_trusted_name(trust, ""));
    sp_tls_trust_unref(trust);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tls_show");
    TCase *tc = tcase_create("tls_show");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tc);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, a_file_gives_its_certificates_in_order_and_nothing_else, 0,
                        sizeof files / sizeof files[0]);
    tcase_add_test(tc, der_is_one_certificate_and_nothing_behind_it);
    tcase_add_test(tc, a_chain_has_one_more_than_allowed_at_most);
    tcase_add_test(tc, a_certificate_tells_what_it_is);
    tcase_add_test(tc, a_trusted_ca_is_known_by_its_whole_name_or_by_a_long_beginning);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
