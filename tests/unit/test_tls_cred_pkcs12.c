/* PKCS#12 files of every make: GnuTLS puts them together here, openssl in test_identity.py. */
#include "common/tls_cred.h"

#include "certs/mint.h"
#include "tests/support/scratch.h"

#include <check.h>
#include <gnutls/pkcs12.h>
#include <gnutls/x509.h>
#include <sys/stat.h>
#include <unistd.h>

#define PASSWORD "sesame"

static struct scratch *scratch;
static struct certs_pair *root, *issuing, *leaf, *other;
static char p12_path[300], password_path[300];

static struct certs_pair *mint(const char *dn, bool ca, enum certs_key key,
                               const struct certs_pair *issuer)
{
    const struct certs_spec spec = {.dn = dn, .ca = ca, .path_len = -1, .key = key};
    struct certs_pair *pair = NULL;

    ck_assert_int_eq(certs_mint(&spec, issuer, &pair, NULL), SP_OK);
    return pair;
}

static void enter(void)
{
    scratch = scratch_new();
    root = mint("CN=Root", true, CERTS_P256, NULL);
    issuing = mint("CN=Issuing", true, CERTS_P256, root);
    leaf = mint("CN=leaf", false, CERTS_P256, issuing);
    other = mint("CN=other", false, CERTS_P256, issuing);
    snprintf(p12_path, sizeof p12_path, "%s/x.p12", scratch->path);
    snprintf(password_path, sizeof password_path, "%s/password", scratch->path);
    scratch_write(scratch, "password", PASSWORD "\n");
    ck_assert_int_eq(chmod(password_path, 0600), 0);
}

static void leave(void)
{
    certs_pair_free(root);
    certs_pair_free(issuing);
    certs_pair_free(leaf);
    certs_pair_free(other);
    scratch_free(scratch);
}

/* ---- making one ---- */

static void put(gnutls_pkcs12_t p12, gnutls_pkcs12_bag_t bag, unsigned encrypted)
{
    if (encrypted)
        ck_assert_int_ge(gnutls_pkcs12_bag_encrypt(bag, PASSWORD, encrypted), 0);
    ck_assert_int_ge(gnutls_pkcs12_set_bag(p12, bag), 0);
    gnutls_pkcs12_bag_deinit(bag);
}

static void add_certificates(gnutls_pkcs12_t p12, const struct certs_pair *const *pairs,
                             unsigned encrypted)
{
    gnutls_pkcs12_bag_t bag;

    gnutls_pkcs12_bag_init(&bag);
    for (; *pairs; pairs++) {
        gnutls_x509_crt_t crt;
        gnutls_datum_t der;
        size_t len;

        der.data = (unsigned char *)(uintptr_t)certs_pair_der(*pairs, &len);
        der.size = (unsigned)len;
        gnutls_x509_crt_init(&crt);
        ck_assert_int_ge(gnutls_x509_crt_import(crt, &der, GNUTLS_X509_FMT_DER), 0);
        ck_assert_int_ge(gnutls_pkcs12_bag_set_crt(bag, crt), 0);
        gnutls_x509_crt_deinit(crt);
    }
    put(p12, bag, encrypted);
}

/* flags 0: the key stands in clear in its bag, which may be encrypted as a whole. */
static void add_key(gnutls_pkcs12_t p12, const struct certs_pair *pair, unsigned flags,
                    unsigned bag_encrypted)
{
    char *pem = certs_pair_key_pem(pair);
    gnutls_datum_t in = {(unsigned char *)pem, (unsigned)strlen(pem)}, out;
    gnutls_x509_privkey_t key;
    gnutls_pkcs12_bag_t bag;

    gnutls_x509_privkey_init(&key);
    ck_assert_int_ge(gnutls_x509_privkey_import(key, &in, GNUTLS_X509_FMT_PEM), 0);
    ck_assert_int_ge(gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_DER,
                                                       flags ? PASSWORD : NULL,
                                                       flags ? flags : GNUTLS_PKCS_PLAIN, &out),
                     0);
    gnutls_pkcs12_bag_init(&bag);
    ck_assert_int_ge(gnutls_pkcs12_bag_set_data(
                         bag, flags ? GNUTLS_BAG_PKCS8_ENCRYPTED_KEY : GNUTLS_BAG_PKCS8_KEY, &out),
                     0);
    put(p12, bag, bag_encrypted);
    gnutls_free(out.data);
    gnutls_x509_privkey_deinit(key);
    certs_secret_free(pem);
}

static gnutls_pkcs12_t begin(void)
{
    gnutls_pkcs12_t p12;

    ck_assert_int_ge(gnutls_pkcs12_init(&p12), 0);
    return p12;
}

static void finish(gnutls_pkcs12_t p12)
{
    gnutls_datum_t der;
    FILE *file;

    ck_assert_int_ge(gnutls_pkcs12_generate_mac2(p12, GNUTLS_MAC_SHA256, PASSWORD), 0);
    ck_assert_int_ge(gnutls_pkcs12_export2(p12, GNUTLS_X509_FMT_DER, &der), 0);
    file = fopen(p12_path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(der.data, 1, der.size, file), der.size);
    fclose(file);
    ck_assert_int_eq(chmod(p12_path, 0600), 0);
    gnutls_free(der.data);
    gnutls_pkcs12_deinit(p12);
}

static enum sp_err load(struct sp_tls_cred **ret_cred, struct sp_error *err)
{
    const struct sp_tls_cred_source source = {.pkcs12 = p12_path, .password_file = password_path};

    return sp_tls_cred_load_source(&source, ret_cred, NULL, err);
}

static void expect_good(unsigned chain_len)
{
    struct sp_tls_cred *cred = NULL;
    struct sp_error err = {.text = ""};
    gnutls_x509_crt_t *list = NULL;
    unsigned found = 0;

    ck_assert_msg(load(&cred, &err) == SP_OK, "%s: %s", err.where, err.text);
    ck_assert_str_eq(sp_tls_cred_subject(cred), "CN=leaf");
    ck_assert_int_ge(gnutls_certificate_get_x509_crt(sp_tls_cred_handle(cred), 0, &list, &found),
                     0);
    ck_assert_uint_eq(found, chain_len);
    for (unsigned i = 1; i < found; i++)
        ck_assert(gnutls_x509_crt_check_issuer(list[i - 1], list[i]));
    for (unsigned i = 0; i < found; i++)
        gnutls_x509_crt_deinit(list[i]);
    gnutls_free(list);
    sp_tls_cred_unref(cred);
}

static void expect_bad(const char *text)
{
    struct sp_tls_cred *cred = NULL;
    struct sp_error err = {.text = ""};

    ck_assert_int_ne(load(&cred, &err), SP_OK);
    ck_assert_ptr_null(cred);
    ck_assert_str_eq(err.where, p12_path);
    ck_assert_msg(strstr(err.text, text) != NULL, "found '%s', wanted '%s'", err.text, text);
    ck_assert_ptr_null(strstr(err.text, PASSWORD " "));
}

/* ---- tests ---- */

static const unsigned char orders[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                          {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

START_TEST(the_chain_is_sorted_and_what_does_not_belong_to_it_stays_out)
{
    const struct certs_pair *const all[] = {leaf, issuing, root};
    const struct certs_pair *list[] = {all[orders[_i][0]], other, all[orders[_i][1]],
                                       all[orders[_i][2]], NULL};
    gnutls_pkcs12_t p12 = begin();

    add_certificates(p12, list, GNUTLS_PKCS_PBES2_AES_256);
    add_key(p12, leaf, GNUTLS_PKCS_PBES2_AES_256, 0);
    finish(p12);
    expect_good(3);
}
END_TEST

static const struct {
    unsigned key, key_bag, certificates;
} ciphers[] = {
    {GNUTLS_PKCS_PBES2_AES_256, 0, GNUTLS_PKCS_PBES2_AES_256},
    {GNUTLS_PKCS_PBES2_AES_128, 0, 0},
    {GNUTLS_PKCS_PKCS12_3DES, 0, GNUTLS_PKCS_PKCS12_RC2_40},
    {GNUTLS_PKCS_PKCS12_3DES, 0, GNUTLS_PKCS_PKCS12_3DES},
    {0, 0, 0},
    {0, GNUTLS_PKCS_PBES2_AES_256, GNUTLS_PKCS_PBES2_AES_256},
};

START_TEST(every_cipher_in_use_is_read)
{
    const struct certs_pair *const list[] = {issuing, leaf, NULL};
    gnutls_pkcs12_t p12 = begin();

    add_certificates(p12, list, ciphers[_i].certificates);
    add_key(p12, leaf, ciphers[_i].key, ciphers[_i].key_bag);
    finish(p12);
    expect_good(2);
}
END_TEST

START_TEST(several_keys_none_and_that_of_another_are_told)
{
    const struct certs_pair *const both[] = {leaf, other, NULL}, *const none[] = {NULL};
    const struct certs_pair *const one[] = {other, NULL};
    gnutls_pkcs12_t p12 = begin();

    add_certificates(p12, both, 0);
    add_key(p12, leaf, GNUTLS_PKCS_PBES2_AES_256, 0);
    add_key(p12, other, GNUTLS_PKCS_PBES2_AES_256, 0);
    finish(p12);
    expect_bad("2 private keys in it");

    p12 = begin();
    add_certificates(p12, both, 0);
    finish(p12);
    expect_bad("no private key in it");

    p12 = begin();
    add_certificates(p12, none, 0);
    add_key(p12, leaf, GNUTLS_PKCS_PBES2_AES_256, 0);
    finish(p12);
    expect_bad("no certificate in it");

    p12 = begin();
    add_certificates(p12, one, 0);
    add_key(p12, leaf, GNUTLS_PKCS_PBES2_AES_256, 0);
    finish(p12);
    expect_bad("the private key does not belong to the certificate");
}
END_TEST

START_TEST(a_damaged_file_is_refused)
{
    const struct certs_pair *const list[] = {leaf, issuing, NULL};
    struct sp_tls_cred *cred = NULL;
    struct sp_error err = {.text = ""};
    gnutls_pkcs12_t p12 = begin();
    struct stat st;
    FILE *file;

    add_certificates(p12, list, GNUTLS_PKCS_PBES2_AES_256);
    add_key(p12, leaf, GNUTLS_PKCS_PBES2_AES_256, 0);
    finish(p12);
    ck_assert_int_eq(stat(p12_path, &st), 0);
    for (long at = _i; at < st.st_size; at += 397) {
        int byte;

        file = fopen(p12_path, "r+");
        fseek(file, at, SEEK_SET);
        byte = fgetc(file);
        fseek(file, at, SEEK_SET);
        fputc(byte ^ 0x10, file);
        fclose(file);
        /* What is damaged in the fields that no MAC covers (its own name, iterations) may be the
         * one or the other, but never a crash, and never another certificate. */
        if (load(&cred, &err) == SP_OK) {
            ck_assert_str_eq(sp_tls_cred_subject(cred), "CN=leaf");
            sp_tls_cred_unref(cred);
        }
        file = fopen(p12_path, "r+");
        fseek(file, at, SEEK_SET);
        fputc(byte, file);
        fclose(file);
    }
    ck_assert_int_eq(truncate(p12_path, st.st_size / 2), 0);
    expect_bad("is no PKCS#12 file");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tls_cred_pkcs12");
    TCase *tcase = tcase_create("pkcs12");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, enter, leave);
    tcase_add_loop_test(tcase, the_chain_is_sorted_and_what_does_not_belong_to_it_stays_out, 0,
                        sizeof orders / sizeof orders[0]);
    tcase_add_loop_test(tcase, every_cipher_in_use_is_read, 0, sizeof ciphers / sizeof ciphers[0]);
    tcase_add_test(tcase, several_keys_none_and_that_of_another_are_told);
    tcase_add_loop_test(tcase, a_damaged_file_is_refused, 0, 3);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
