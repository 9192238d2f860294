#include "certs/mint.h"
#include "common/clock.h"
#include "tests/support/scratch.h"

/* The judge is the openssl command: GnuTLS must not be asked about GnuTLS. */

#define DAY 86400

static struct scratch *scratch;

static void set_up(void)
{
    scratch = scratch_new();
}

static void tear_down(void)
{
    scratch_free(scratch);
}

static struct certs_pair *mint(const struct certs_spec *spec, const struct certs_pair *issuer)
{
    struct certs_pair *pair = NULL;
    struct sp_error err = {0};

    ck_assert_msg(certs_mint(spec, issuer, &pair, &err) == SP_OK, "%s", err.text);
    return pair;
}

static struct certs_pair *mint_ca(const char *dn, int path_len, const struct certs_pair *issuer)
{
    return mint(&(struct certs_spec){.dn = dn, .ca = true, .path_len = path_len}, issuer);
}

/* Takes the text over. */
static void save(const char *name, char *text)
{
    ck_assert_ptr_nonnull(text);
    scratch_write(scratch, name, text);
    certs_secret_free(text);
}

static void assert_output_has(const char *wanted)
{
    ck_assert_msg(strstr(scratch->output, wanted), "no '%s' in:\n%s", wanted, scratch->output);
}

static void assert_output_lacks(const char *unwanted)
{
    ck_assert_msg(!strstr(scratch->output, unwanted), "'%s' in:\n%s", unwanted, scratch->output);
}

enum issuing { PLAIN, TOO_DEEP, CONSTRAINED, A_LEAF };

/* Each kind of wrong certificate, and the error number openssl finds in it. */
static const struct {
    const char *what;
    int64_t begins_in, ends_in; /* seconds from now; 0: default */
    const char *dns;
    enum certs_key key;
    unsigned eku;
    enum issuing issuing;
    bool sha1;
    const char *options; /* of openssl verify */
    const char *wanted;
} verdicts[] = {
    {.what = "good client",
     .eku = CERTS_EKU_CLIENT,
     .options = "-purpose sslclient",
     .wanted = "leaf.pem: OK"},
    {.what = "good server",
     .eku = CERTS_EKU_SERVER,
     .dns = "s.acme.example",
     .options = "-purpose sslserver -verify_hostname s.acme.example",
     .wanted = "leaf.pem: OK"},
    {.what = "no usage at all", .options = "-purpose sslclient", .wanted = "leaf.pem: OK"},
    {.what = "wrong usage",
     .eku = CERTS_EKU_SERVER,
     .options = "-purpose sslclient",
     .wanted = "error 26 at 0 depth"},
    {.what = "several usages",
     .eku = CERTS_EKU_SERVER | CERTS_EKU_CLIENT | CERTS_EKU_ANY,
     .options = "-purpose sslclient",
     .wanted = "leaf.pem: OK"},
    {.what = "wrong name",
     .dns = "s.acme.example",
     .options = "-verify_hostname t.acme.example",
     .wanted = "error 62 at 0 depth"},
    {.what = "expired, both times given",
     .begins_in = -3 * DAY,
     .ends_in = -DAY,
     .options = "",
     .wanted = "error 10 at 0 depth"},
    {.what = "expired, only the end given",
     .ends_in = -DAY,
     .options = "",
     .wanted = "error 10 at 0 depth"},
    {.what = "not yet valid, both given",
     .begins_in = DAY,
     .ends_in = 2 * DAY,
     .options = "",
     .wanted = "error 9 at 0 depth"},
    {.what = "not yet valid, beyond the default end",
     .begins_in = 1000 * DAY,
     .options = "",
     .wanted = "error 9 at 0 depth"},
    {.what = "SHA-1 signature",
     .sha1 = true,
     .options = "-auth_level 1",
     .wanted = "error 68 at 0 depth"},
    {.what = "RSA-1024",
     .key = CERTS_RSA1024,
     .options = "-auth_level 2",
     .wanted = "error 66 at 0 depth"},
    {.what = "path length exceeded",
     .issuing = TOO_DEEP,
     .options = "",
     .wanted = "error 25 at 2 depth"},
    {.what = "name constraint kept",
     .issuing = CONSTRAINED,
     .dns = "s.acme.example",
     .options = "",
     .wanted = "leaf.pem: OK"},
    {.what = "name constraint violated",
     .issuing = CONSTRAINED,
     .dns = "s.globex.example",
     .options = "",
     .wanted = "error 47 at 0 depth"},
    {.what = "issued by a leaf", .issuing = A_LEAF, .options = "", .wanted = "error 79 at 1 depth"},
};

static struct certs_pair *mint_issuer(enum issuing how, const struct certs_pair *intermediate)
{
    switch (how) {
    case TOO_DEEP:
        return mint_ca("CN=Below", -1, intermediate);
    case CONSTRAINED:
        return mint(&(struct certs_spec){.dn = "CN=Only acme.example",
                                         .ca = true,
                                         .path_len = -1,
                                         .permitted_dns = "acme.example"},
                    intermediate);
    case A_LEAF:
        return mint(&(struct certs_spec){.dn = "CN=leaf"}, intermediate);
    case PLAIN:
        break;
    }
    return NULL;
}

START_TEST(openssl_finds_the_very_fault_that_was_ordered)
{
    const char *dns[] = {verdicts[_i].dns, NULL};
    int64_t now = sp_clock_wall_s();
    struct certs_pair *root = mint_ca("CN=Root,O=Acme", -1, NULL);
    struct certs_pair *intermediate =
        mint_ca("CN=Issuing,O=Acme", verdicts[_i].issuing == TOO_DEEP ? 0 : -1, root);
    struct certs_pair *extra = mint_issuer(verdicts[_i].issuing, intermediate);
    struct certs_spec spec = {
        .dn = "CN=x",
        .dns = verdicts[_i].dns ? dns : NULL,
        .key = verdicts[_i].key,
        .eku = verdicts[_i].eku,
        .sha1 = verdicts[_i].sha1,
        .not_before = verdicts[_i].begins_in ? now + verdicts[_i].begins_in : 0,
        .not_after = verdicts[_i].ends_in ? now + verdicts[_i].ends_in : 0,
    };
    struct certs_pair *leaf = mint(&spec, extra ? extra : intermediate);

    save("root.pem", certs_pair_certificate_pem(root));
    save("leaf.pem", certs_pair_chain_pem(leaf));
    scratch_run(scratch, "openssl verify %s -CAfile root.pem -untrusted leaf.pem leaf.pem",
                verdicts[_i].options);
    ck_assert_msg(strstr(scratch->output, verdicts[_i].wanted), "%s: wanted '%s', got:\n%s",
                  verdicts[_i].what, verdicts[_i].wanted, scratch->output);
    certs_pair_free(leaf);
    certs_pair_free(extra);
    certs_pair_free(intermediate);
    certs_pair_free(root);
}
END_TEST

static const struct {
    enum certs_key key;
    const char *wanted, *signature;
} keys[] = {
    {CERTS_P256, "NIST CURVE: P-256", "ecdsa-with-SHA256"},
    {CERTS_P384, "NIST CURVE: P-384", "ecdsa-with-SHA384"},
    {CERTS_ED25519, "ED25519 Public-Key", "Signature Algorithm: ED25519"},
    {CERTS_ED448, "ED448 Public-Key", "Signature Algorithm: ED448"},
    {CERTS_RSA2048, "Public-Key: (2048 bit)", "sha256WithRSAEncryption"},
    {CERTS_RSA1024, "Public-Key: (1024 bit)", "sha256WithRSAEncryption"},
};

START_TEST(every_kind_of_key_signs_and_fits_its_certificate)
{
    struct certs_pair *root = mint(
        &(struct certs_spec){.dn = "CN=r", .ca = true, .path_len = -1, .key = keys[_i].key}, NULL);
    struct certs_pair *leaf = mint(&(struct certs_spec){.dn = "CN=l", .key = keys[_i].key}, root);

    save("root.pem", certs_pair_certificate_pem(root));
    save("leaf.pem", certs_pair_certificate_pem(leaf));
    save("leaf.key", certs_pair_key_pem(leaf));
    ck_assert_msg(scratch_run(scratch, "openssl verify -CAfile root.pem leaf.pem") == 0, "%s",
                  scratch->output);
    ck_assert_int_eq(scratch_run(scratch, "openssl x509 -in leaf.pem -noout -text"), 0);
    assert_output_has(keys[_i].wanted);
    assert_output_has(keys[_i].signature);
    ck_assert_msg(scratch_run(scratch, "openssl x509 -in leaf.pem -noout -pubkey > a && "
                                       "openssl pkey -in leaf.key -pubout > b && cmp a b") == 0,
                  "%s", scratch->output);
    ck_assert_int_eq(scratch_run(scratch, "head -1 leaf.key"), 0);
    ck_assert_str_eq(scratch->output, "-----BEGIN PRIVATE KEY-----\n");
    certs_pair_free(leaf);
    certs_pair_free(root);
}
END_TEST

START_TEST(a_certificate_says_what_was_specified)
{
    const char *const dns[] = {"a.example", "*.b.example", NULL};
    const char *const uris[] = {"spiffe://acme/x", NULL};
    const char *const ips[] = {"192.0.2.7", "2001:db8::1", NULL};
    struct certs_pair *root = mint_ca("CN=Root\\, the first,O=Acme", 3, NULL);
    struct certs_pair *leaf = mint(&(struct certs_spec){.dn = "CN=leaf,OU=Unit,O=Acme",
                                                        .dns = dns,
                                                        .uris = uris,
                                                        .ips = ips,
                                                        .eku = CERTS_EKU_OCSP_SIGNING,
                                                        .not_before = 1700000000,
                                                        .not_after = 1800000000,
                                                        .ocsp_uri = "http://ocsp.example/x"},
                                   root);

    save("root.pem", certs_pair_certificate_pem(root));
    save("leaf.pem", certs_pair_certificate_pem(leaf));
    scratch_run(scratch, "openssl x509 -in root.pem -noout -text -nameopt RFC2253");
    assert_output_has("Subject: CN=Root\\, the first,O=Acme");
    assert_output_has("CA:TRUE, pathlen:3");
    assert_output_has("Certificate Sign, CRL Sign");
    scratch_run(scratch, "openssl x509 -in leaf.pem -noout -text -nameopt RFC2253");
    assert_output_has("Version: 3");
    assert_output_has("Issuer: CN=Root\\, the first,O=Acme");
    assert_output_has("Subject: CN=leaf,OU=Unit,O=Acme");
    assert_output_has("DNS:a.example, DNS:*.b.example, URI:spiffe://acme/x, IP Address:192.0.2.7, "
                      "IP Address:2001:DB8:0:0:0:0:0:1");
    assert_output_has("CA:FALSE");
    assert_output_has("OCSP Signing");
    assert_output_has("OCSP - URI:http://ocsp.example/x");
    assert_output_has("Not Before: Nov 14 22:13:20 2023 GMT");
    assert_output_has("Not After : Jan 15 08:00:00 2027 GMT");
    assert_output_lacks("Key Encipherment");
    certs_pair_free(leaf);
    certs_pair_free(root);
}
END_TEST

static const struct {
    int64_t not_before, not_after;
    const char *wanted;
} periods[] = {
    {1700000000, 1800000000, "Nov 14 22:13:20 2023 GMT\nJan 15 08:00:00 2027 GMT\n"},
    {0, 1700000000, "Nov 14 21:13:20 2023 GMT\nNov 14 22:13:20 2023 GMT\n"},
    {4000000000, 0, "Oct  2 07:06:40 2096 GMT\nOct  2 07:06:40 2098 GMT\n"},
};

START_TEST(a_period_with_one_end_given_still_begins_before_it_ends)
{
    struct certs_pair *pair = mint(&(struct certs_spec){.dn = "CN=x",
                                                        .not_before = periods[_i].not_before,
                                                        .not_after = periods[_i].not_after},
                                   NULL);

    save("leaf.pem", certs_pair_certificate_pem(pair));
    scratch_run(scratch, "openssl x509 -in leaf.pem -noout -startdate -enddate | cut -d= -f2");
    ck_assert_str_eq(scratch->output, periods[_i].wanted);
    certs_pair_free(pair);
}
END_TEST

START_TEST(a_raw_common_name_keeps_its_hostile_bytes)
{
    static const char raw[] = "good.example\0.evil\r\nX: y";
    struct certs_pair *pair =
        mint(&(struct certs_spec){.dn = "CN=not used", .raw_cn = raw, .raw_cn_len = sizeof raw - 1},
             NULL);
    const uint8_t *der;
    size_t len;

    der = certs_pair_der(pair, &len);
    ck_assert_ptr_nonnull(memmem(der, len, raw, sizeof raw - 1));
    ck_assert_ptr_null(memmem(der, len, "not used", 8));
    save("leaf.pem", certs_pair_certificate_pem(pair));
    scratch_run(scratch, "openssl x509 -in leaf.pem -noout -subject");
    ck_assert_str_eq(scratch->output, "subject=CN = good.example\\00.evil\\0D\\0AX: y\n");
    certs_pair_free(pair);
}
END_TEST

START_TEST(a_chain_ends_below_the_root)
{
    struct certs_pair *root = mint_ca("CN=one", -1, NULL);
    struct certs_pair *middle = mint_ca("CN=two", -1, root);
    struct certs_pair *low = mint_ca("CN=three", -1, middle);
    struct certs_pair *leaf = mint(&(struct certs_spec){.dn = "CN=four"}, low);

    certs_pair_free(low); /* issuers are only borrowed for the call */
    certs_pair_free(middle);
    save("chain.pem", certs_pair_chain_pem(leaf));
    save("leaf.pem", certs_pair_certificate_pem(leaf));
    save("root.pem", certs_pair_chain_pem(root));
    scratch_run(scratch, "openssl storeutl -noout -text chain.pem | grep Subject: | tr -d ' '");
    ck_assert_str_eq(scratch->output, "Subject:CN=four\nSubject:CN=three\nSubject:CN=two\n");
    scratch_run(scratch, "grep -c BEGIN leaf.pem root.pem");
    ck_assert_str_eq(scratch->output, "leaf.pem:1\nroot.pem:1\n");
    certs_pair_free(leaf);
    certs_pair_free(root);
}
END_TEST

START_TEST(the_der_is_the_leaf_itself)
{
    struct certs_pair *root = mint_ca("CN=one", -1, NULL);
    struct certs_pair *leaf = mint(&(struct certs_spec){.dn = "CN=two"}, root);
    const uint8_t *der;
    size_t len;

    der = certs_pair_der(leaf, &len);
    save("leaf.pem", certs_pair_chain_pem(leaf));
    ck_assert_int_eq(scratch_run(scratch, "openssl x509 -in leaf.pem -outform DER | od -An -v -tx1 "
                                          "| tr -d ' \\n'"),
                     0);
    ck_assert_uint_eq(strlen(scratch->output), 2 * len);
    for (size_t i = 0; i < len; i++) {
        char hex[3];

        snprintf(hex, sizeof hex, "%02x", der[i]);
        ck_assert_int_eq(memcmp(hex, scratch->output + 2 * i, 2), 0);
    }
    certs_pair_free(leaf);
    certs_pair_free(root);
}
END_TEST

START_TEST(a_crl_revokes_the_listed_and_nobody_else)
{
    struct certs_pair *root = mint_ca("CN=root", -1, NULL);
    struct certs_pair *bad = mint(&(struct certs_spec){.dn = "CN=bad"}, root);
    struct certs_pair *good = mint(&(struct certs_spec){.dn = "CN=good"}, root);
    const struct certs_pair *revoked[] = {bad};
    int64_t now = sp_clock_wall_s();

    save("root.pem", certs_pair_certificate_pem(root));
    save("bad.pem", certs_pair_certificate_pem(bad));
    save("good.pem", certs_pair_certificate_pem(good));
    save("now.crl", certs_mint_crl_pem(root, revoked, 1, 0, 0));
    save("old.crl", certs_mint_crl_pem(root, revoked, 1, now - 2 * DAY, now - DAY));
    save("early.crl", certs_mint_crl_pem(root, NULL, 0, now + DAY, 0));
    scratch_run(scratch, "openssl verify -crl_check -CAfile root.pem -CRLfile now.crl bad.pem");
    assert_output_has("error 23 at 0 depth");
    scratch_run(scratch, "openssl verify -crl_check -CAfile root.pem -CRLfile now.crl good.pem");
    assert_output_has("good.pem: OK");
    scratch_run(scratch, "openssl verify -crl_check -CAfile root.pem -CRLfile old.crl good.pem");
    assert_output_has("error 12 at 0 depth");
    scratch_run(scratch, "openssl verify -crl_check -CAfile root.pem -CRLfile early.crl good.pem");
    assert_output_has("error 11 at 0 depth");
    scratch_run(scratch, "openssl crl -in now.crl -noout -crlnumber");
    assert_output_has("crlNumber=");
    certs_pair_free(good);
    certs_pair_free(bad);
    certs_pair_free(root);
}
END_TEST

START_TEST(two_certificates_never_share_a_serial_number)
{
    struct certs_pair *root = mint_ca("CN=root", -1, NULL);
    struct certs_pair *a = mint(&(struct certs_spec){.dn = "CN=same"}, root);
    struct certs_pair *b = mint(&(struct certs_spec){.dn = "CN=same"}, root);

    save("a.pem", certs_pair_certificate_pem(a));
    save("b.pem", certs_pair_certificate_pem(b));
    ck_assert_int_eq(scratch_run(scratch, "openssl x509 -in a.pem -noout -serial > a && "
                                          "openssl x509 -in b.pem -noout -serial > b && cat a"),
                     0);
    ck_assert_uint_eq(strlen(scratch->output), strlen("serial=\n") + 32);
    ck_assert_int_ne(scratch_run(scratch, "cmp -s a b"), 0);
    certs_pair_free(b);
    certs_pair_free(a);
    certs_pair_free(root);
}
END_TEST

static const struct {
    const char *dn, *ip, *wanted;
} impossible[] = {
    {"nonsense", NULL, "mint 'nonsense': subject: "},
    {"CN=x", "300.1.2.3", "mint 'CN=x': subject alternative names: "},
    {"CN=x", "2001:db8::g", "mint 'CN=x': subject alternative names: "},
};

START_TEST(what_cannot_be_minted_is_an_error_that_names_the_part)
{
    const char *ips[] = {impossible[_i].ip, NULL};
    struct certs_pair *pair = NULL;
    struct sp_error err = {0};

    ck_assert_int_eq(
        certs_mint(&(struct certs_spec){.dn = impossible[_i].dn, .ips = ips}, NULL, &pair, &err),
        SP_ERR_TLS);
    ck_assert_ptr_null(pair);
    ck_assert_int_lt(err.code, 0);
    ck_assert_msg(!strncmp(err.text, impossible[_i].wanted, strlen(impossible[_i].wanted)), "%s",
                  err.text);
}
END_TEST

START_TEST(freeing_nothing_is_fine)
{
    certs_pair_free(NULL);
    certs_secret_free(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mint");
    TCase *tcase = tcase_create("mint");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_set_timeout(tcase, 30);
    tcase_add_loop_test(tcase, openssl_finds_the_very_fault_that_was_ordered, 0,
                        sizeof verdicts / sizeof verdicts[0]);
    tcase_add_loop_test(tcase, every_kind_of_key_signs_and_fits_its_certificate, 0,
                        sizeof keys / sizeof keys[0]);
    tcase_add_test(tcase, a_certificate_says_what_was_specified);
    tcase_add_loop_test(tcase, a_period_with_one_end_given_still_begins_before_it_ends, 0,
                        sizeof periods / sizeof periods[0]);
    tcase_add_test(tcase, a_raw_common_name_keeps_its_hostile_bytes);
    tcase_add_test(tcase, a_chain_ends_below_the_root);
    tcase_add_test(tcase, the_der_is_the_leaf_itself);
    tcase_add_test(tcase, a_crl_revokes_the_listed_and_nobody_else);
    tcase_add_test(tcase, two_certificates_never_share_a_serial_number);
    tcase_add_loop_test(tcase, what_cannot_be_minted_is_an_error_that_names_the_part, 0,
                        sizeof impossible / sizeof impossible[0]);
    tcase_add_test(tcase, freeing_nothing_is_fine);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
