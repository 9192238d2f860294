/* Whose list it is: nobody's but his whose key signed it and may sign lists. */
#include "common/tls_crl_judged.h"

#include <check.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>

#include "certs/mint.h"
#include "common/clock.h"
#include "common/tls_crl_file.h"
#include "common/tls_trust.h"
#include "tests/support/ocsp_maker.h"
#include "tests/support/scene.h"

#define DAY INT64_C(86400)

static struct certs_pair *mint_ca(enum certs_key key)
{
    const struct certs_spec spec = {.dn = "CN=Root", .ca = true, .path_len = -1, .key = key};
    struct certs_pair *pair = NULL;

    ck_assert_int_eq(certs_mint(&spec, NULL, &pair, NULL), SP_OK);
    return pair;
}

static struct sp_tls_crl_file *list_of(const struct certs_pair *ca)
{
    int64_t now = sp_clock_wall_s();
    char *pem = certs_mint_crl_pem(ca, NULL, 0, now - DAY, now + DAY);
    struct sp_tls_crl_file *file = NULL;

    ck_assert_int_eq(sp_tls_crl_parse((const uint8_t *)pem, strlen(pem), &file, NULL), SP_OK);
    free(pem);
    return file;
}

static gnutls_x509_crt_t import(const uint8_t *der, size_t len)
{
    gnutls_datum_t datum = {.size = (unsigned)len};
    gnutls_x509_crt_t crt;

    memcpy(&datum.data, &der, sizeof der); /* it is not const; GnuTLS only reads it */
    ck_assert_int_ge(gnutls_x509_crt_init(&crt), 0);
    ck_assert_int_ge(gnutls_x509_crt_import(crt, &datum, GNUTLS_X509_FMT_DER), 0);
    return crt;
}

/* NULL: taken, and by one of the trusted; else why not. */
static const char *judge(struct sp_tls_crl_file *file, const uint8_t *ca, size_t ca_len)
{
    static const char *const path = "ca.pem";
    static struct sp_error err;
    gnutls_x509_crt_t crt = import(ca, ca_len);
    struct sp_tls_crl_judged *judged = NULL;
    struct sp_tls_trust *trust = NULL;
    gnutls_datum_t pem;
    enum sp_err rc;

    ck_assert_int_ge(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem), 0);
    scene_write(path, (char *)pem.data);
    gnutls_free(pem.data);
    gnutls_x509_crt_deinit(crt);
    err = (struct sp_error){.text = ""};
    ck_assert_msg(sp_tls_trust_load(&path, 1, false, &trust, &err) == SP_OK, "%s", err.text);
    rc = sp_tls_crl_judge(file, trust, &judged, &err);
    sp_tls_trust_unref(trust);
    if (rc != SP_OK)
        return err.text;
    ck_assert(sp_tls_crl_judged_is_known(judged, 0));
    sp_tls_crl_judged_unref(judged);
    return NULL;
}

START_TEST(a_list_is_signed_by_that_very_key)
{
    static const enum certs_key keys[] = {CERTS_P256, CERTS_P384, CERTS_ED25519, CERTS_ED448,
                                          CERTS_RSA2048};
    struct certs_pair *ca = mint_ca(keys[_i]), *twin = mint_ca(keys[_i]);
    struct sp_tls_crl_file *own = list_of(ca), *forged = list_of(twin);
    const struct sp_bytes der = ocsp_der(ca);
    gnutls_x509_crt_t crt = import(der.data, der.len);

    ck_assert(sp_tls_crl_judged_is_by(&own->crls[0], crt));
    ck_assert(!sp_tls_crl_judged_is_by(&forged->crls[0], crt));
    ck_assert_ptr_null(judge(own, der.data, der.len));
    ck_assert_ptr_nonnull(strstr(judge(forged, der.data, der.len), "did not sign it"));
    /* Nettle reads Ed448's last byte, which is always zero, as nothing. */
    own->crls[0].signature.data[own->crls[0].signature.size - 2] ^= 1;
    ck_assert(!sp_tls_crl_judged_is_by(&own->crls[0], crt));
    gnutls_x509_crt_deinit(crt);
    sp_tls_crl_file_unref(own);
    sp_tls_crl_file_unref(forged);
    sp_tls_crl_file_unref(NULL);
    certs_pair_free(ca);
    certs_pair_free(twin);
}
END_TEST

START_TEST(a_ca_whose_key_usage_lacks_it_signs_no_lists)
{
    static const struct {
        struct ocsp_change change;
        bool may;
    } rows[] = {
        {{.usage = GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN}, true},
        {{.usage = GNUTLS_KEY_CRL_SIGN}, true},
        {{.usage = GNUTLS_KEY_KEY_CERT_SIGN}, false},
        {{.usage = GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_DIGITAL_SIGNATURE}, false},
        {{.bare = true}, true}, /* says nothing of its usage */
        {{.bare = true,
          .oid = "2.5.29.19",
          .value = "\x30\x03\x01\x01\xff",
          .value_len = 5,
          .critical = true},
         true},
    };
    struct certs_pair *ca = mint_ca(CERTS_P256);
    struct sp_tls_crl_file *file = list_of(ca);

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t len;
        uint8_t *der = ocsp_reissue(ca, ca, &rows[i].change, &len);
        gnutls_x509_crt_t crt = import(der, len);
        const char *why = NULL;

        ck_assert_msg(sp_tls_crl_judged_is_by(&file->crls[0], crt) == rows[i].may, "row %zu", i);
        if (!rows[i].change.bare || rows[i].change.oid) /* others are not trusted as CAs */
            why = judge(file, der, len);
        ck_assert_msg(!why == rows[i].may, "row %zu: %s", i, why);
        ck_assert(!why || strstr(why, "must not sign CRLs (its key usage has no cRLSign)"));
        gnutls_x509_crt_deinit(crt);
        free(der);
    }
    sp_tls_crl_file_unref(file);
    certs_pair_free(ca);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tls_crl_judged");
    TCase *tcase = tcase_create("tls_crl_judged");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, scene_enter, scene_leave);
    tcase_add_loop_test(tcase, a_list_is_signed_by_that_very_key, 0, 5);
    tcase_add_test(tcase, a_ca_whose_key_usage_lacks_it_signs_no_lists);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
