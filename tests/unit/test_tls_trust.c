#include "common/tls_trust.h"

#include "certs/mint.h"

#include <check.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A folder of files, made anew for each test. */
static char folder[64];
static struct certs_pair *acme, *globex, *leaf;

static struct certs_pair *mint(const char *dn, bool ca, const struct certs_pair *issuer)
{
    struct certs_spec spec = {.dn = dn, .ca = ca, .path_len = -1};
    struct certs_pair *pair = NULL;
    struct sp_error err = {0};

    ck_assert_msg(certs_mint(&spec, issuer, &pair, &err) == SP_OK, "%s", err.text);
    return pair;
}

static void setup(void)
{
    strcpy(folder, "/tmp/sp-trust-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    acme = mint("CN=Acme Root CA,O=Acme", true, NULL);
    globex = mint("CN=Globex Root CA", true, NULL);
    leaf = mint("CN=alice", false, acme);
}

static void teardown(void)
{
    char command[128];

    certs_pair_free(acme);
    certs_pair_free(globex);
    certs_pair_free(leaf);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    ck_assert_int_eq(system(command), 0);
}

/* The path of a file in the folder; one of eight static buffers. */
static const char *at(const char *name)
{
    static char paths[8][128];
    static unsigned next;
    char *path = paths[next++ % 8];

    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static const char *write_file(const char *name, const void *data, size_t len)
{
    const char *path = at(name);
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(data, 1, len, file), len);
    fclose(file);
    return path;
}

static const char *write_pem(const char *name, const struct certs_pair *a,
                             const struct certs_pair *b)
{
    char *first = certs_pair_certificate_pem(a);
    char *second = b ? certs_pair_certificate_pem(b) : strdup("");
    char text[8192];
    const char *path;

    snprintf(text, sizeof text, "some words before\n%s%s", first, second);
    path = write_file(name, text, strlen(text));
    free(first);
    free(second);
    return path;
}

static const char *write_der(const char *name, const struct certs_pair *a,
                             const struct certs_pair *b)
{
    size_t a_len, b_len = 0;
    const uint8_t *a_der = certs_pair_der(a, &a_len);
    const uint8_t *b_der = b ? certs_pair_der(b, &b_len) : NULL;
    uint8_t both[8192];

    memcpy(both, a_der, a_len);
    if (b_der)
        memcpy(both + a_len, b_der, b_len);
    return write_file(name, both, a_len + b_len);
}

static struct sp_tls_trust *load(const char *const *paths, size_t count)
{
    struct sp_tls_trust *trust = NULL;
    struct sp_error err = {0};

    ck_assert_msg(sp_tls_trust_load(paths, count, false, &trust, &err) == SP_OK, "%s: %s",
                  err.where, err.text);
    return trust;
}

static void refuse(const char *const *paths, size_t count, const char *where, const char *text)
{
    struct sp_tls_trust *trust = NULL;
    struct sp_error err = {0};

    ck_assert_int_ne(sp_tls_trust_load(paths, count, false, &trust, &err), SP_OK);
    ck_assert_ptr_null(trust);
    ck_assert_str_eq(err.where, where);
    ck_assert_msg(strstr(err.text, text) != NULL, "found '%s', wanted '%s'", err.text, text);
}

START_TEST(pem_and_der_files_with_one_or_more_cas_are_read)
{
    const char *files[][2] = {{write_pem("a.pem", acme, NULL), write_pem("b.pem", globex, NULL)},
                              {write_pem("ab.pem", acme, globex), NULL},
                              {write_der("a.der", acme, NULL), write_der("b.der", globex, NULL)},
                              {write_der("ab.der", acme, globex), NULL}};

    for (size_t i = 0; i < 4; i++) {
        struct sp_tls_trust *trust = load(files[i], files[i][1] ? 2 : 1);

        ck_assert_uint_eq(sp_tls_trust_count(trust), 2);
        ck_assert_ptr_nonnull(sp_tls_trust_ca(trust, 1));
        ck_assert_ptr_null(sp_tls_trust_ca(trust, 2));
        sp_tls_trust_unref(trust);
    }
}
END_TEST

START_TEST(the_digest_depends_on_the_set_alone)
{
    const char *ab[] = {write_pem("ab.pem", acme, globex)};
    const char *ba[] = {write_der("b.der", globex, NULL), write_pem("aa.pem", acme, acme)};
    const char *a[] = {write_pem("a.pem", acme, NULL)};
    struct sp_tls_trust *sets[] = {load(ab, 1), load(ba, 2), load(a, 1)};
    uint8_t digests[3][32];

    for (size_t i = 0; i < 3; i++)
        sp_tls_trust_digest(sets[i], digests[i]);
    ck_assert_mem_eq(digests[0], digests[1], 32);
    ck_assert_mem_ne(digests[0], digests[2], 32);
    ck_assert_uint_eq(sp_tls_trust_count(sets[1]), 2); /* listed twice, counts once */
    for (size_t i = 0; i < 3; i++)
        sp_tls_trust_unref(sets[i]);
}
END_TEST

START_TEST(the_system_store_adds_to_the_set_and_to_its_digest)
{
    const char *a[] = {write_pem("a.pem", acme, NULL)};
    struct sp_tls_trust *listed = load(a, 1);
    struct sp_tls_trust *both = NULL;
    uint8_t digests[2][32];
    struct sp_error err = {0};

    ck_assert_msg(sp_tls_trust_load(a, 1, true, &both, &err) == SP_OK, "%s", err.text);
    ck_assert_uint_ge(sp_tls_trust_count(both), 1);
    ck_assert_ptr_nonnull(sp_tls_trust_ca(both, 0));
    ck_assert_ptr_null(sp_tls_trust_ca(both, 1)); /* the system's are not listed ones */
    for (size_t i = 0; i < sp_tls_trust_count(both); i++)
        ck_assert_ptr_nonnull(sp_tls_trust_any(both, i));
    ck_assert_ptr_null(sp_tls_trust_any(both, sp_tls_trust_count(both)));
    sp_tls_trust_digest(listed, digests[0]);
    sp_tls_trust_digest(both, digests[1]);
    ck_assert_mem_ne(digests[0], digests[1], 32);
    sp_tls_trust_unref(listed);
    sp_tls_trust_unref(both);
}
END_TEST

START_TEST(every_ca_is_found_by_its_name)
{
    struct certs_pair *twin = mint("CN=Acme Root CA,O=Acme", true, NULL);
    const char *paths[] = {write_pem("ab.pem", acme, globex), write_pem("t.pem", twin, NULL)};
    struct sp_tls_trust *sets[2] = {load(paths, 2), NULL};

    ck_assert_int_eq(sp_tls_trust_load(paths, 2, true, &sets[1], NULL), SP_OK);
    for (size_t set = 0; set < 2; set++) {
        for (size_t i = 0; i < sp_tls_trust_count(sets[set]); i++) {
            gnutls_x509_crt_t ca = sp_tls_trust_any(sets[set], i);
            gnutls_x509_crt_t other = NULL;
            gnutls_datum_t dn;
            size_t n = 0;
            bool found = false;

            ck_assert_int_ge(gnutls_x509_crt_get_raw_dn(ca, &dn), 0);
            while ((other = sp_tls_trust_named(sets[set], dn.data, dn.size, n)) != NULL) {
                found = found || other == ca;
                n++;
            }
            ck_assert(found);
            if (i == 0 || i == 2) /* acme and its twin */
                ck_assert_uint_eq(n, 2);
            ck_assert_ptr_null(sp_tls_trust_named(sets[set], dn.data, dn.size - 1, 0));
            gnutls_free(dn.data);
        }
        sp_tls_trust_unref(sets[set]);
    }
    certs_pair_free(twin);
}
END_TEST

START_TEST(a_set_lives_until_its_last_reference)
{
    const char *a[] = {write_pem("a.pem", acme, NULL)};
    struct sp_tls_trust *trust = load(a, 1);
    struct sp_tls_trust *again = sp_tls_trust_ref(trust);

    sp_tls_trust_unref(trust);
    ck_assert_uint_eq(sp_tls_trust_count(again), 1);
    sp_tls_trust_unref(again);
    sp_tls_trust_unref(NULL);
}
END_TEST

START_TEST(a_file_that_is_no_ca_file_is_refused_by_name)
{
    const char *missing[] = {at("missing.pem")};
    const char *empty[] = {write_file("empty.pem", "", 0)};
    const char *words[] = {write_file("words.pem", "-----BEGIN NOTHING-----\n", 24)};
    const char *cut[] = {write_file("cut.der", "\x30\x82\x01", 3)};
    const char *garbage[] = {write_file("garbage.der", "\x30\x03\x02\x01\x01", 5)};
    const char *not_ca[] = {write_pem("leaf.pem", leaf, NULL)};
    const char *second[] = {write_pem("mixed.pem", acme, leaf)};
    const char *good_then_bad[] = {write_pem("a.pem", acme, NULL), not_ca[0]};
    const char *directory[] = {folder};

    refuse(missing, 1, missing[0], "cannot be opened: No such file");
    refuse(empty, 1, empty[0], "no certificate in it");
    refuse(words, 1, words[0], "no certificate in it");
    refuse(cut, 1, cut[0], "no certificate in it");
    refuse(garbage, 1, garbage[0], "a certificate in it cannot be read");
    refuse(not_ca, 1, not_ca[0], "no CA certificate in it: 'CN=alice' is not a CA");
    refuse(second, 1, second[0], "'CN=alice' is not a CA");
    refuse(good_then_bad, 2, not_ca[0], "'CN=alice' is not a CA");
    refuse(directory, 1, folder, "is not a regular file");
    refuse(NULL, 0, "", "no trusted CA is listed");
}
END_TEST

START_TEST(a_damaged_certificate_in_pem_is_refused)
{
    char *pem = certs_pair_certificate_pem(acme);
    const char *paths[1];

    memset(strchr(pem, '\n') + 20, 'A', 40);
    paths[0] = write_file("damaged.pem", pem, strlen(pem));
    refuse(paths, 1, paths[0], "cannot be read");
    free(pem);
}
END_TEST

START_TEST(a_fifo_does_not_hang_and_a_huge_file_is_refused)
{
    const char *fifo[] = {at("fifo")};
    const char *huge[] = {write_file("huge.pem", "x", 1)};

    ck_assert_int_eq(mkfifo(fifo[0], 0600), 0);
    refuse(fifo, 1, fifo[0], "is not a regular file");
    ck_assert_int_eq(truncate(huge[0], 17 * 1024 * 1024), 0);
    refuse(huge, 1, huge[0], "too large");
}
END_TEST

static Suite *trust_suite(void)
{
    Suite *suite = suite_create("tls_trust");
    TCase *tc = tcase_create("load");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, pem_and_der_files_with_one_or_more_cas_are_read);
    tcase_add_test(tc, the_digest_depends_on_the_set_alone);
    tcase_add_test(tc, the_system_store_adds_to_the_set_and_to_its_digest);
    tcase_add_test(tc, every_ca_is_found_by_its_name);
    tcase_add_test(tc, a_set_lives_until_its_last_reference);
    tcase_add_test(tc, a_file_that_is_no_ca_file_is_refused_by_name);
    tcase_add_test(tc, a_damaged_certificate_in_pem_is_refused);
    tcase_add_test(tc, a_fifo_does_not_hang_and_a_huge_file_is_refused);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(trust_suite());
    int failed;

    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
