/* OCSP: who may sign a response. */
#include "common/tls_ocsp_signer.h"
#include "common/tls_x509.h"

#include <check.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/ocsp_rows.h"

START_TEST(a_responder_without_a_name_is_told_by_his_key)
{
    const struct row row = {"", .spec = {.signer = nameless, .by_key = true}, .certs = {nameless}};
    char key[72], hash[45];
    struct sp_ocsp_answer a;
    size_t len;
    uint8_t *der = make(&row, &len);
    const uint8_t *id = memmem(der, len, "\xa2\x16\x04\x14", 4); /* responderID byKey */

    ask(&row, der, len, &a);
    ck_assert_int_eq(a.status, SP_OCSP_GOOD);
    ck_assert_ptr_nonnull(id);
    for (int i = 0; i < 20; i++)
        snprintf(hash + 2 * i, 3, "%02x", id[4 + i]);
    snprintf(key, sizeof key, "key %s", hash);
    ck_assert_str_eq(a.responder, key);
    free(der);
}
END_TEST

START_TEST(nobody_but_the_issuer_and_his_own_delegates_signs)
{
    const struct row rows[] = {
        {"bad signature", BAD, "its signature is not the issuer's, whose name it has",
         .spec = {.bad_signature = true}},
        {"bad signature, by key", BAD, "its signature is not the issuer's, whose name it has",
         .spec = {.bad_signature = true, .by_key = true}},
        {"bad signature of a delegate", BAD, "its signature is not the responder's",
         .spec = {.bad_signature = true, .signer = delegate}, .certs = {delegate}},
        {"no signature", BAD, "it is malformed: its signature", .spec = {.no_signature = true}},
        {"CA of the same name", BAD, "its signature is not the issuer's", .spec = {.signer = twin}},
        {"CA of the same name, with its certificate", BAD,
         "the responder's certificate was not issued by 'CN=CA'", .spec = {.signer = twin},
         .certs = {twin}},
        {"another CA", BAD, "its signer is unknown", .spec = {.signer = other}},
        {"another CA, with its certificate", BAD, "the responder's certificate was not issued by",
         .spec = {.signer = other}, .certs = {other}},
        {"another CA in the issuer's name", BAD, "its signature is not the issuer's",
         .spec = {.signer = other, .responder = ca}, .certs = {other}},
        {"another CA's delegate", BAD, "the responder's certificate was not issued by",
         .spec = {.signer = foreign}, .certs = {foreign, other}},
        {"the delegate of a CA of the same name", BAD,
         "the responder's certificate was not issued by", .spec = {.signer = forged},
         .certs = {forged, twin}},
        {"a delegate's delegate", BAD, "the responder's certificate was not issued by",
         .spec = {.signer = grandchild}, .certs = {grandchild, delegate}},
        {"delegate without its certificate", BAD, "its signer is unknown",
         .spec = {.signer = delegate}},
        {"a delegate in the name of the issuer", BAD, "its signature is not the issuer's",
         .spec = {.signer = delegate, .responder = ca}, .certs = {delegate}},
        {"a delegate of the same name and another key", BAD, "its signature is not the responder's",
         .spec = {.signer = delegate}, .certs = {elder}},
        {"a delegate of the same name, by key", BAD, "its signer is unknown",
         .spec = {.signer = delegate, .by_key = true}, .certs = {elder}},
        {"no purpose", BAD, "the responder's certificate lacks OCSPSigning",
         .spec = {.signer = nobody}, .certs = {nobody}},
        {"any purpose", BAD, "the responder's certificate lacks OCSPSigning",
         .spec = {.signer = any}, .certs = {any}},
        {"other purposes", BAD, "the responder's certificate lacks OCSPSigning",
         .spec = {.signer = client}, .certs = {client}},
        {"the certificate itself", BAD, "the responder's certificate lacks OCSPSigning",
         .spec = {.signer = leaf}, .certs = {leaf}},
        {"expired delegate", BAD, "the responder's certificate has expired (",
         .spec = {.signer = expired}, .certs = {expired}},
        {"early delegate", BAD, "the responder's certificate is not valid yet (",
         .spec = {.signer = early}, .certs = {early}},
        {"a good delegate's certificate beside an unfit signer's", BAD,
         "the responder's certificate lacks OCSPSigning",
         .spec = {.signer = nobody, .by_key = true}, .certs = {delegate, nobody}},
    };

    CHECK_ROWS(rows);
}
END_TEST

static void serial_of(const struct sp_bytes *der, char text[SP_OCSP_SERIAL_TEXT])
{
    gnutls_datum_t datum = {(unsigned char *)(uintptr_t)der->data, (unsigned)der->len};
    gnutls_x509_crt_t crt;

    ck_assert_int_eq(gnutls_x509_crt_init(&crt), 0);
    ck_assert_int_eq(gnutls_x509_crt_import(crt, &datum, GNUTLS_X509_FMT_DER), 0);
    sp_tls_x509_serial(crt, text, SP_OCSP_SERIAL_TEXT);
    gnutls_x509_crt_deinit(crt);
}

/* Whom to look for in the lists of the issuer (RFC 6960 4.2.2.2.1). */
START_TEST(a_delegate_is_named_by_his_serial_number_unless_nobody_need_look)
{
    static const struct ocsp_change no_check = {
        .oid = "1.3.6.1.5.5.7.48.1.5", .value = "\x05\x00", .value_len = 2};
    const struct ocsp_entry entry = {.cert = leaf, .issuer = ca, .this_update = now - HOUR};
    struct sp_bytes certs[2] = {ocsp_der(delegate), {NULL, 0}};
    const struct sp_bytes *const sent[] = {NULL, &certs[0], &certs[1]};
    const struct sp_ocsp_query query = {
        .cert = ocsp_der(leaf), .issuer = ocsp_der(ca), .now = now, .max_age_s = DAY};
    char serial[SP_OCSP_SERIAL_TEXT];
    struct sp_ocsp_answer answer;

    certs[1].data = ocsp_reissue(delegate, ca, &no_check, &certs[1].len);
    serial_of(&certs[0], serial);
    for (size_t i = 0; i < 3; i++) {
        const struct ocsp_spec spec = {.entries = &entry,
                                       .count = 1,
                                       .produced_at = now - HOUR,
                                       .signer = sent[i] ? delegate : ca,
                                       .certs = sent[i],
                                       .cert_count = sent[i] ? 1 : 0};
        struct sp_bytes response;

        response.data = ocsp_make(&spec, &response.len);
        sp_ocsp_examine(&response, &query, &answer);
        ck_assert_msg(answer.status == SP_OCSP_GOOD, "%zu: %s", i, answer.detail);
        ck_assert_str_eq(answer.delegate, i == 1 ? serial : "");
        free((void *)(uintptr_t)response.data);
    }
    free((void *)(uintptr_t)certs[1].data);
}
END_TEST

START_TEST(weak_signatures_and_keys_do_not_count)
{
    const struct row rows[] = {
        {"ECDSA with SHA-1", BAD, "it is signed with ECDSA-SHA1, which is too weak",
         .spec = {.sign = GNUTLS_SIGN_ECDSA_SHA1}},
        {"ECDSA with SHA-224", BAD, "it is signed with ECDSA-SHA224, which is too weak",
         .spec = {.sign = GNUTLS_SIGN_ECDSA_SHA224}},
        {"RSA with SHA-1", BAD, "it is signed with RSA-SHA1, which is too weak", .issuer = rsa,
         .leaf = rsa_leaf, .spec = {.sign = GNUTLS_SIGN_RSA_SHA1}},
        {"a small issuer's key", BAD,
         "the issuer, who signed it, is too weak: its RSA key has 1024 bits", .issuer = small,
         .leaf = small_leaf},
        {"a small delegate's key", BAD,
         "the responder's certificate is too weak: its RSA key has 1024 bits",
         .spec = {.signer = weak}, .certs = {weak}},
        {"a delegate's certificate signed with SHA-1", BAD,
         "the responder's certificate is too weak: it is signed with ECDSA-SHA1",
         .spec = {.signer = sha1}, .certs = {sha1}},
    };

    CHECK_ROWS(rows);
}
END_TEST

static const struct {
    const char *name;
    struct ocsp_change change;
    const char *says;
} certificates[] = {
    {"OCSPSigning", {.purpose = GNUTLS_KP_OCSP_SIGNING}, ""},
    {"OCSPSigning after others",
     {.purpose = GNUTLS_KP_OCSP_SIGNING,
      .usage = GNUTLS_KEY_DIGITAL_SIGNATURE | GNUTLS_KEY_NON_REPUDIATION},
     ""},
    {"OCSPSigning and then others",
     {.oid = "2.5.29.37",
      .value = "\x30\x14\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x09"
               "\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01",
      .value_len = 22},
     ""},
    {"nothing else", {.bare = true, .purpose = GNUTLS_KP_OCSP_SIGNING}, ""},
    {"nothing at all", {.bare = true}, "the responder's certificate lacks OCSPSigning"},
    {"purposes that are none",
     {.oid = "2.5.29.37",
      .value = "\x30\x0d\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x09\x02\x01\x05",
      .value_len = 15},
     "the responder's certificate lacks OCSPSigning"},
    {"a longer OID",
     {.purpose = "1.3.6.1.5.5.7.3.9.1"},
     "the responder's certificate lacks OCSPSigning"},
    {"a shorter OID",
     {.purpose = "1.3.6.1.5.5.7.3"},
     "the responder's certificate lacks OCSPSigning"},
    {"a similar OID",
     {.purpose = "1.3.6.1.5.5.7.3.90"},
     "the responder's certificate lacks OCSPSigning"},
    {"no digitalSignature",
     {.purpose = GNUTLS_KP_OCSP_SIGNING, .usage = GNUTLS_KEY_KEY_ENCIPHERMENT},
     "the responder's certificate lacks digitalSignature"},
    {"CA's usage",
     {.purpose = GNUTLS_KP_OCSP_SIGNING, .usage = GNUTLS_KEY_CRL_SIGN | GNUTLS_KEY_KEY_CERT_SIGN},
     "the responder's certificate lacks digitalSignature"},
    {"unknown critical",
     {.purpose = GNUTLS_KP_OCSP_SIGNING,
      .oid = "1.3.6.1.4.1.99999.3",
      .value = "\x05",
      .value_len = 2,
      .critical = true},
     "the responder's certificate has a critical extension that is not known"},
    {"unknown, not critical",
     {.purpose = GNUTLS_KP_OCSP_SIGNING,
      .oid = "1.3.6.1.4.1.99999.3",
      .value = "\x05",
      .value_len = 2},
     ""},
    {"empty purposes",
     {.oid = "2.5.29.37", .value = "\x30", .value_len = 2},
     "the responder's certificate lacks OCSPSigning"},
    {"purposes with bytes behind",
     {.oid = "2.5.29.37",
      .value = "\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x09\x05",
      .value_len = 14},
     "the responder's certificate lacks OCSPSigning"},
};

START_TEST(a_delegates_certificate_must_say_so_exactly)
{
    for (size_t i = 0; i < sizeof certificates / sizeof certificates[0]; i++) {
        struct ocsp_entry e = {
            .cert = leaf, .issuer = ca, .this_update = now - 1, .next_update = now + DAY};
        struct sp_bytes cert;
        uint8_t *again = ocsp_reissue(nobody, ca, &certificates[i].change, &cert.len), *der;
        const struct ocsp_spec spec = {.entries = &e,
                                       .count = 1,
                                       .produced_at = now,
                                       .signer = nobody,
                                       .certs = &cert,
                                       .cert_count = 1};
        struct sp_ocsp_answer a;
        size_t len;

        cert.data = again;
        der = ocsp_make(&spec, &len);
        ask(&(struct row){.name = ""}, der, len, &a);
        ck_assert_msg(a.status == (*certificates[i].says ? SP_OCSP_INVALID : SP_OCSP_GOOD) &&
                          !strcmp(a.detail, certificates[i].says),
                      "%s: %d '%s'", certificates[i].name, a.status, a.detail);
        free(der);
        free(again);
    }
}
END_TEST

/* A delegate's response whose certificate has every `from` turned to `to`. */
static void ask_altered(const char *oid, const char *from, const char *to, size_t n,
                        struct sp_ocsp_answer *ret)
{
    const struct ocsp_change change = {
        .purpose = GNUTLS_KP_OCSP_SIGNING, .oid = oid, .value = "\x03\x02\x07\x80", .value_len = 4};
    struct ocsp_entry e = {
        .cert = leaf, .issuer = ca, .this_update = now - 1, .next_update = now + DAY};
    struct sp_bytes cert;
    uint8_t *again = ocsp_reissue(nobody, ca, &change, &cert.len), *der, *at = again;
    const struct ocsp_spec spec = {.entries = &e,
                                   .count = 1,
                                   .produced_at = now,
                                   .signer = nobody,
                                   .certs = &cert,
                                   .cert_count = 1};
    size_t len, altered = 0;

    for (; (at = memmem(at, cert.len - (size_t)(at - again), from, n)) != NULL; altered++)
        memcpy(at, to, n);
    ck_assert_uint_gt(altered, 0);
    cert.data = again;
    der = ocsp_make(&spec, &len);
    ask(&(struct row){.name = ""}, der, len, ret);
    free(der);
    free(again);
}

START_TEST(a_delegate_whose_certificate_is_signed_in_an_unknown_way_is_nobodys)
{
    struct sp_ocsp_answer a;

    ask_altered(NULL, "\x2a\x86\x48\xce\x3d\x04\x03\x02", "\x2a\x86\x48\xce\x3d\x04\x03\x09", 8,
                &a);
    ck_assert_int_eq(a.status, SP_OCSP_INVALID);
    ck_assert_str_eq(a.detail, "the responder's certificate was not issued by 'CN=CA'");
}
END_TEST

START_TEST(a_delegate_whose_certificate_says_its_usage_twice_is_refused)
{
    struct sp_ocsp_answer a;

    ask_altered("2.5.29.99", "\x06\x03\x55\x1d\x63", "\x06\x03\x55\x1d\x0f", 5, &a);
    ck_assert_int_eq(a.status, SP_OCSP_INVALID);
    ck_assert_str_eq(a.detail, "a certificate in it cannot be read");
}
END_TEST

START_TEST(when_a_delegate_is_out_of_his_time_the_end_that_matters_is_told)
{
    const struct {
        const struct certs_pair *who;
        const char *says;
        int64_t at;
    } rows[] = {{expired, "has expired", now - 1}, {early, "is not valid yet", now + 1}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct row row = {"", .spec = {.signer = rows[i].who}, .certs = {rows[i].who}};
        char at[SP_TIME_LEN], wanted[128];
        struct sp_ocsp_answer a;
        size_t len;
        uint8_t *der = make(&row, &len);

        ask(&row, der, len, &a);
        free(der);
        snprintf(wanted, sizeof wanted, "the responder's certificate %s (%s)", rows[i].says,
                 sp_time_format(rows[i].at, at));
        ck_assert_str_eq(a.detail, wanted);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tls_ocsp_signer");
    TCase *all = tcase_create("all");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_unchecked_fixture(all, setup, teardown);
    tcase_add_test(all, a_delegate_is_named_by_his_serial_number_unless_nobody_need_look);
    tcase_add_test(all, a_responder_without_a_name_is_told_by_his_key);
    tcase_add_test(all, nobody_but_the_issuer_and_his_own_delegates_signs);
    tcase_add_test(all, weak_signatures_and_keys_do_not_count);
    tcase_add_test(all, a_delegates_certificate_must_say_so_exactly);
    tcase_add_test(all, a_delegate_whose_certificate_is_signed_in_an_unknown_way_is_nobodys);
    tcase_add_test(all, a_delegate_whose_certificate_says_its_usage_twice_is_refused);
    tcase_add_test(all, when_a_delegate_is_out_of_his_time_the_end_that_matters_is_told);
    suite_add_tcase(suite, all);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
