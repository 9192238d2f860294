#include "common/tls_cred.h"

#include "certs/mint.h"
#include "common/tls_impl.h"

#include <check.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* A folder of files and a small PKI, made anew for each test. */
static char folder[64];
static struct certs_pair *root, *issuing, *leaf, *stranger;

static const char *const leaf_dns[] = {"c1.example.net", "*.C1.example.net", "*.tld", NULL};
static const char *const leaf_ips[] = {"192.0.2.7", NULL};

static struct certs_pair *mint(const struct certs_spec *spec, const struct certs_pair *issuer)
{
    struct certs_pair *pair = NULL;
    struct sp_error err = {0};

    ck_assert_msg(certs_mint(spec, issuer, &pair, &err) == SP_OK, "%s", err.text);
    return pair;
}

static void setup(void)
{
    struct certs_spec ca = {.dn = "CN=Root,O=Acme", .ca = true, .path_len = -1};
    struct certs_spec below = {.dn = "CN=Issuing,O=Acme", .ca = true, .path_len = -1};
    struct certs_spec end = {.dn = "CN=leaf,O=Acme",
                             .dns = leaf_dns,
                             .ips = leaf_ips,
                             .not_before = 1700000000,
                             .not_after = 1900000000};

    strcpy(folder, "/tmp/sp-cred-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    root = mint(&ca, NULL);
    issuing = mint(&below, root);
    leaf = mint(&end, issuing);
    stranger = mint(&end, root);
}

static void teardown(void)
{
    char command[128];

    certs_pair_free(root);
    certs_pair_free(issuing);
    certs_pair_free(leaf);
    certs_pair_free(stranger);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    ck_assert_int_eq(system(command), 0);
}

/* Writes the texts one after the other; the path, one of eight static buffers. */
static const char *write_texts(const char *name, mode_t mode, const char *const *texts)
{
    static char paths[8][128];
    static unsigned next;
    char *path = paths[next++ % 8];
    FILE *file;

    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    for (; *texts; texts++)
        fputs(*texts, file);
    fclose(file);
    ck_assert_int_eq(chmod(path, mode), 0);
    return path;
}

#define TEXTS(...)                                                                                 \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

static const char *write_certificates(const char *name, const struct certs_pair *a,
                                      const struct certs_pair *b, const struct certs_pair *c)
{
    char *texts[] = {certs_pair_certificate_pem(a), b ? certs_pair_certificate_pem(b) : NULL,
                     c ? certs_pair_certificate_pem(c) : NULL, NULL};
    const char *path = write_texts(name, 0644, (const char *const *)texts);

    for (size_t i = 0; i < 3; i++)
        free(texts[i]);
    return path;
}

static const char *write_key(const char *name, mode_t mode, const struct certs_pair *pair)
{
    char *pem = certs_pair_key_pem(pair);
    const char *path = write_texts(name, mode, TEXTS(pem));

    certs_secret_free(pem);
    return path;
}

static struct sp_tls_cred *load(const char *certificate, const char *key)
{
    struct sp_tls_cred *cred = NULL;
    struct sp_error err = {0};

    ck_assert_msg(sp_tls_cred_load(certificate, key, &cred, &err) == SP_OK, "%s: %s", err.where,
                  err.text);
    return cred;
}

static void refuse(const char *certificate, const char *key, const char *where, const char *text)
{
    struct sp_tls_cred *cred = NULL;
    struct sp_error err = {0};

    ck_assert_int_ne(sp_tls_cred_load(certificate, key, &cred, &err), SP_OK);
    ck_assert_ptr_null(cred);
    ck_assert_str_eq(err.where, where);
    ck_assert_msg(strstr(err.text, text) != NULL, "found '%s', wanted '%s'", err.text, text);
    ck_assert_ptr_null(strstr(err.text, "BEGIN"));
}

START_TEST(a_credential_says_what_it_is)
{
    struct sp_tls_cred *cred = load(write_certificates("leaf.pem", leaf, issuing, NULL),
                                    write_key("leaf.key", 0600, leaf));
    struct sp_tls_cred *again = sp_tls_cred_ref(cred);

    sp_tls_cred_unref(cred);
    ck_assert_str_eq(sp_tls_cred_subject(again), "CN=leaf,O=Acme");
    ck_assert_str_eq(sp_tls_cred_issuer(again), "CN=Issuing,O=Acme");
    ck_assert_str_eq(sp_tls_cred_names(again),
                     "c1.example.net, *.C1.example.net, *.tld, 192.0.2.7");
    ck_assert_uint_eq(strlen(sp_tls_cred_fingerprint(again)), 71);
    ck_assert_int_eq(strncmp(sp_tls_cred_fingerprint(again), "sha256:", 7), 0);
    ck_assert_int_eq(sp_tls_cred_not_before(again), 1700000000);
    ck_assert_int_eq(sp_tls_cred_not_after(again), 1900000000);
    ck_assert_ptr_nonnull(sp_tls_cred_handle(again));
    sp_tls_cred_unref(again);
    sp_tls_cred_unref(NULL);
}
END_TEST

static const struct {
    const char *name;
    bool covered;
} coverage[] = {
    {"c1.example.net", true},
    {"x.c1.example.net", true},
    {"*.c1.example.net", true},
    {"192.0.2.7", true},
    {"example.net", false},
    {"*.example.net", false},
    {"x.y.c1.example.net", false},
    {"x.tld", false},
    {"*.tld", true},
    {"192.0.2.8", false},
    {"", false},
    {".c1.example.net", false},
    {"c1.example.net.", false},
    {"leaf", false},
    {"*.x.c1.example.net", false},
};

START_TEST(a_credential_covers_exactly_its_names)
{
    struct sp_tls_cred *cred =
        load(write_certificates("leaf.pem", leaf, NULL, NULL), write_key("leaf.key", 0600, leaf));

    ck_assert_msg(sp_tls_cred_covers(cred, coverage[_i].name) == coverage[_i].covered, "'%s'",
                  coverage[_i].name);
    sp_tls_cred_unref(cred);
}
END_TEST

static void expect_chain(struct sp_tls_cred *cred, const struct certs_pair *const *pairs,
                         unsigned count)
{
    gnutls_x509_crt_t *list = NULL;
    unsigned found = 0;

    ck_assert_int_ge(gnutls_certificate_get_x509_crt(sp_tls_cred_handle(cred), 0, &list, &found),
                     0);
    ck_assert_uint_eq(found, count);
    for (unsigned i = 0; i < found; i++) {
        gnutls_datum_t der;
        size_t len;
        const uint8_t *wanted = certs_pair_der(pairs[i], &len);

        ck_assert_int_ge(gnutls_x509_crt_export2(list[i], GNUTLS_X509_FMT_DER, &der), 0);
        ck_assert_uint_eq(der.size, len);
        ck_assert_mem_eq(der.data, wanted, len);
        gnutls_free(der.data);
        gnutls_x509_crt_deinit(list[i]);
    }
    gnutls_free(list);
    sp_tls_cred_unref(cred);
}

START_TEST(the_chain_in_a_file_may_stand_in_any_order)
{
    const struct certs_pair *all[] = {leaf, issuing, root};
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    const int *order = orders[_i];
    const char *key = write_key("leaf.key", 0600, leaf);

    expect_chain(
        load(write_certificates("chain.pem", all[order[0]], all[order[1]], all[order[2]]), key),
        all, 3);
}
END_TEST

START_TEST(certificates_that_belong_to_another_chain_are_not_sent)
{
    const struct certs_pair *wanted[] = {leaf, issuing};
    const char *key = write_key("leaf.key", 0600, leaf);

    expect_chain(load(write_certificates("a.pem", stranger, leaf, issuing), key), wanted, 2);
    expect_chain(load(write_certificates("b.pem", leaf, stranger, leaf), key), wanted, 1);
}
END_TEST

START_TEST(one_file_may_hold_certificate_and_key)
{
    char *chain = certs_pair_chain_pem(leaf);
    char *key = certs_pair_key_pem(leaf);
    const char *path = write_texts("both.pem", 0600, TEXTS(key, chain));

    sp_tls_cred_unref(load(path, path));
    free(chain);
    certs_secret_free(key);
}
END_TEST

START_TEST(keys_of_every_kind_are_read)
{
    struct certs_spec spec = {.dn = "CN=x", .key = (enum certs_key)_i};
    struct certs_pair *pair = mint(&spec, NULL);
    gnutls_x509_privkey_t key;
    char *pem = certs_pair_key_pem(pair);
    gnutls_datum_t in = {(unsigned char *)pem, (unsigned)strlen(pem)}, out;
    const char *certificate = write_certificates("x.pem", pair, NULL, NULL);

    sp_tls_cred_unref(load(certificate, write_key("x.key", 0600, pair)));
    /* the older form of its own kind ("EC PRIVATE KEY"), with the parameters OpenSSL writes before
     */
    gnutls_x509_privkey_init(&key);
    ck_assert_int_ge(gnutls_x509_privkey_import(key, &in, GNUTLS_X509_FMT_PEM), 0);
    ck_assert_int_ge(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &out), 0);
    sp_tls_cred_unref(
        load(certificate, write_texts("old.key", 0400,
                                      TEXTS("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n"
                                            "-----END EC PARAMETERS-----\n",
                                            (const char *)out.data))));
    gnutls_free(out.data);
    gnutls_x509_privkey_deinit(key);
    certs_secret_free(pem);
    certs_pair_free(pair);
}
END_TEST

static const struct {
    mode_t mode;
    bool by_root, by_other; /* accepted when root owns it, when somebody else does */
} modes[] = {
    {0600, true, true},   {0400, true, true},   {0700, true, true},   {0640, true, false},
    {0440, true, false},  {0660, false, false}, {0650, false, false}, {0644, false, false},
    {0604, false, false}, {0602, false, false}, {0601, false, false}, {0620, false, false},
    {0610, false, false}, {0777, false, false},
};

START_TEST(a_key_that_others_can_read_is_refused_with_its_mode)
{
    const char *certificate = write_certificates("leaf.pem", leaf, NULL, NULL);
    const char *key = write_key("leaf.key", modes[_i].mode, leaf);
    bool is_root = geteuid() == 0;
    char wanted[64];

    snprintf(wanted, sizeof wanted, "its mode is %04o, wanted is 0600 or 0400",
             (unsigned)modes[_i].mode);
    if (is_root ? modes[_i].by_root : modes[_i].by_other)
        sp_tls_cred_unref(load(certificate, key));
    else
        refuse(certificate, key, key, wanted);
    if (!is_root)
        return;
    ck_assert_int_eq(chown(key, 65534, (gid_t)-1), 0);
    ck_assert_int_eq(chmod(key, modes[_i].mode), 0);
    if (modes[_i].by_other)
        sp_tls_cred_unref(load(certificate, key));
    else
        refuse(certificate, key, key, wanted);
}
END_TEST

START_TEST(each_bad_file_has_its_own_message)
{
    const char *certificate = write_certificates("leaf.pem", leaf, issuing, NULL);
    const char *key = write_key("leaf.key", 0600, leaf);
    const char *other_key = write_key("other.key", 0600, stranger);
    const char *issuing_only = write_certificates("issuing.pem", issuing, NULL, NULL);
    const char *words = write_texts("words.pem", 0600, TEXTS("no PEM here\n"));
    const char *broken = write_texts("broken.key", 0600,
                                     TEXTS("-----BEGIN PRIVATE KEY-----\nAAAA\n"
                                           "-----END PRIVATE KEY-----\n"));
    char text[256];

    snprintf(text, sizeof text, "the private key does not belong to the certificate in '%s'",
             certificate);
    refuse(certificate, other_key, other_key, text);
    snprintf(text, sizeof text, "does not belong to the certificate in '%s'", issuing_only);
    refuse(issuing_only, key, key, text);
    refuse("/nowhere/leaf.pem", key, "/nowhere/leaf.pem", "cannot be opened: No such file");
    refuse(certificate, "/nowhere/leaf.key", "/nowhere/leaf.key", "cannot be opened: No such file");
    refuse(words, key, words, "no certificate in it");
    refuse(key, key, key, "no certificate in it");
    refuse(certificate, words, words, "no private key in it");
    refuse(certificate, certificate, certificate, "can be read by others"); /* 0644 */
    refuse(certificate, broken, broken, "the private key cannot be read");
    refuse(folder, key, folder, "is not a regular file");
}
END_TEST

START_TEST(an_encrypted_key_is_refused_as_such)
{
    const char *certificate = write_certificates("leaf.pem", leaf, NULL, NULL);
    char *pem = certs_pair_key_pem(leaf);
    gnutls_datum_t in = {(unsigned char *)pem, (unsigned)strlen(pem)}, out;
    gnutls_x509_privkey_t key;
    const char *path;

    gnutls_x509_privkey_init(&key);
    ck_assert_int_ge(gnutls_x509_privkey_import(key, &in, GNUTLS_X509_FMT_PEM), 0);
    ck_assert_int_ge(gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, "secret",
                                                       GNUTLS_PKCS_PBES2_AES_256, &out),
                     0);
    path = write_texts("locked.key", 0600, TEXTS((const char *)out.data));
    refuse(certificate, path, path, "encrypted with a passphrase");
    path = write_texts("old.key", 0600,
                       TEXTS("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
                             "DEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"));
    refuse(certificate, path, path, "encrypted with a passphrase");
    gnutls_free(out.data);
    gnutls_x509_privkey_deinit(key);
    certs_secret_free(pem);
}
END_TEST

/* The public half fits the certificate, the private one does not: found by signing once. */
START_TEST(a_key_whose_private_half_is_wrong_is_refused)
{
    struct certs_spec spec = {.dn = "CN=x"};
    struct certs_pair *pair = mint(&spec, NULL);
    char *pem[2] = {certs_pair_key_pem(pair), certs_pair_key_pem(stranger)};
    gnutls_x509_privkey_t keys[2], mixed;
    gnutls_datum_t x[2], y[2], k[2], out;
    const char *path;

    for (int i = 0; i < 2; i++) {
        gnutls_datum_t in = {(unsigned char *)pem[i], (unsigned)strlen(pem[i])};

        gnutls_x509_privkey_init(&keys[i]);
        ck_assert_int_ge(gnutls_x509_privkey_import(keys[i], &in, GNUTLS_X509_FMT_PEM), 0);
        ck_assert_int_ge(gnutls_x509_privkey_export_ecc_raw(keys[i], NULL, &x[i], &y[i], &k[i]), 0);
    }
    gnutls_x509_privkey_init(&mixed);
    if (gnutls_x509_privkey_import_ecc_raw(mixed, GNUTLS_ECC_CURVE_SECP256R1, &x[0], &y[0],
                                           &k[1]) >= 0 &&
        gnutls_x509_privkey_export2(mixed, GNUTLS_X509_FMT_PEM, &out) >= 0) {
        path = write_texts("mixed.key", 0600, TEXTS((const char *)out.data));
        refuse(write_certificates("x.pem", pair, NULL, NULL), path, path, "private key");
        gnutls_free(out.data);
    }
    for (int i = 0; i < 2; i++) {
        gnutls_free(x[i].data);
        gnutls_free(y[i].data);
        gnutls_free(k[i].data);
        gnutls_x509_privkey_deinit(keys[i]);
        certs_secret_free(pem[i]);
    }
    gnutls_x509_privkey_deinit(mixed);
    certs_pair_free(pair);
}
END_TEST

START_TEST(no_trusted_ca_goes_into_the_handle)
{
    struct sp_tls_cred *cred = load(write_certificates("chain.pem", leaf, issuing, root),
                                    write_key("leaf.key", 0600, leaf));
    gnutls_x509_trust_list_t list = NULL;
    gnutls_x509_trust_list_iter_t iter = NULL;
    gnutls_x509_crt_t ca;

    gnutls_certificate_get_trust_list(sp_tls_cred_handle(cred), &list);
    ck_assert_int_eq(gnutls_x509_trust_list_iter_get_ca(list, &iter, &ca),
                     GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE);
    sp_tls_cred_unref(cred);
}
END_TEST

START_TEST(protected_keys_do_not_reach_a_core_file)
{
    pid_t child = fork();
    int status;

    ck_assert_int_ge(child, 0);
    if (child == 0) {
        struct rlimit limit = {1, 1};
        int wrong = 0;

        sp_tls_protect_keys();
        getrlimit(RLIMIT_CORE, &limit);
        wrong |= limit.rlim_cur != 0 || limit.rlim_max != 0;
        wrong |= prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0;
        sp_tls_keys_gone();
        wrong |= prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 1;
        _exit(wrong);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
END_TEST

/* --- what stays in memory --- */

#define SECRET_LEN 32

/* A sanitizer keeps what is freed, with it the copies that GnuTLS makes while it reads PEM. */
#if defined(__SANITIZE_ADDRESS__)
#define KEPT_FREED 2
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KEPT_FREED 2
#endif
#endif
#ifndef KEPT_FREED
#define KEPT_FREED 0
#endif

/* Forwards as in DER, or backwards as the limbs of a big number on this kind of machine. It is
 * passed masked, so that the search does not find itself. */
static bool is_secret(const uint8_t *at, const uint8_t masked[SECRET_LEN])
{
    size_t forth = 0, back = 0;

    while (forth < SECRET_LEN && (at[forth] ^ 0x5a) == masked[forth])
        forth++;
    while (back < SECRET_LEN && (at[back] ^ 0x5a) == masked[SECRET_LEN - 1 - back])
        back++;
    return forth == SECRET_LEN || back == SECRET_LEN;
}

static unsigned count_in_range(FILE *memory, unsigned long begin, unsigned long end,
                               const uint8_t masked[SECRET_LEN])
{
    static uint8_t page[4096 + SECRET_LEN];
    unsigned found = 0;

    for (unsigned long at = begin; at < end; at += 4096) {
        size_t got;

        memset(page, 0, sizeof page);
        if (fseek(memory, (long)at, SEEK_SET) != 0)
            continue;
        got = fread(page, 1, sizeof page, memory);
        for (size_t i = 0; i < 4096 && i + SECRET_LEN <= got; i++) {
            unsigned long where = at + i;

            if (is_secret(page + i, masked) &&
                (where < (unsigned long)page || where >= (unsigned long)page + sizeof page))
                found++;
        }
    }
    memset(page, 0, sizeof page);
    return found;
}

/* How often the secret stands in this process's writable memory; the sanitizer's terabytes of
 * shadow are left out. */
static unsigned count_in_memory(const uint8_t masked[SECRET_LEN])
{
    FILE *maps = fopen("/proc/self/maps", "r");
    FILE *memory = fopen("/proc/self/mem", "r");
    char line[512];
    unsigned found = 0;

    ck_assert(maps && memory);
    setvbuf(memory, NULL, _IONBF, 0);
    while (fgets(line, sizeof line, maps)) {
        unsigned long begin, end;
        char mode[8];

        if (sscanf(line, "%lx-%lx %7s", &begin, &end, mode) == 3 && mode[1] == 'w' &&
            end - begin <= (256UL << 20))
            found += count_in_range(memory, begin, end, masked);
    }
    fclose(maps);
    fclose(memory);
    return found;
}

static void mask(uint8_t masked[SECRET_LEN], const void *secret)
{
    for (size_t i = 0; i < SECRET_LEN; i++)
        masked[i] = ((const uint8_t *)secret)[i] ^ 0x5a;
}

/* The text of the key file is ours to wipe. Of the number itself GnuTLS 3.7.9 may leave one copy
 * behind in freed memory while it reads PKCS#8; the handle's own must go. */
START_TEST(a_key_is_gone_from_memory_when_its_last_user_is)
{
    const char *certificate = write_certificates("x.pem", stranger, NULL, NULL);
    const char *key_path = write_key("x.key", 0600, stranger);
    char *pem = certs_pair_key_pem(stranger);
    gnutls_datum_t in = {(unsigned char *)pem, (unsigned)strlen(pem)}, k;
    uint8_t text[SECRET_LEN], number[SECRET_LEN];
    gnutls_x509_privkey_t key;
    struct sp_tls_cred *cred;
    unsigned texts, numbers;

    gnutls_x509_privkey_init(&key);
    ck_assert_int_ge(gnutls_x509_privkey_import(key, &in, GNUTLS_X509_FMT_PEM), 0);
    ck_assert_int_ge(gnutls_x509_privkey_export_ecc_raw(key, NULL, NULL, NULL, &k), 0);
    ck_assert_uint_ge(k.size, SECRET_LEN); /* with a zero in front of a high bit */
    mask(number, k.data + k.size - SECRET_LEN);
    mask(text, strchr(pem, '\n') + 65 - SECRET_LEN); /* the end of the first line, in the key */
    gnutls_memset(k.data, 0, k.size);
    gnutls_free(k.data);
    gnutls_x509_privkey_deinit(key);
    certs_secret_free(pem);
    texts = count_in_memory(text);
    numbers = count_in_memory(number);
    cred = load(certificate, key_path);
    ck_assert_uint_le(count_in_memory(text), texts + KEPT_FREED);
    ck_assert_uint_gt(count_in_memory(number), numbers + 1); /* so the search does find it */
    sp_tls_cred_unref(cred);
    ck_assert_uint_le(count_in_memory(number), numbers + 1);
}
END_TEST

/* ---- what an OCSP request is made of ---- */

static bool is_certificate(const struct sp_bytes *bytes, const struct certs_pair *pair)
{
    size_t len;
    const uint8_t *der = certs_pair_der(pair, &len);

    return bytes->len == len && !memcmp(bytes->data, der, len);
}

/* A CA that was renewed with another key: the same name, twice in the file. */
START_TEST(the_issuer_of_the_leaf_is_the_one_that_signed_it)
{
    const struct certs_spec same_name = {.dn = "CN=Issuing,O=Acme", .ca = true, .path_len = -1};
    struct certs_pair *namesake = mint(&same_name, root);
    const struct certs_pair *const orders[][3] = {
        {leaf, issuing, namesake}, {leaf, namesake, issuing}, {namesake, issuing, leaf},
        {issuing, leaf, NULL},     {leaf, namesake, NULL},    {leaf, root, NULL},
        {leaf, NULL, NULL},
    };
    struct sp_bytes cert, issuer;

    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        struct sp_tls_cred *cred =
            load(write_certificates("chain.pem", orders[i][0], orders[i][1], orders[i][2]),
                 write_key("leaf.key", 0600, leaf));

        ck_assert_int_eq(sp_tls_cred_leaf(cred, &cert, &issuer), i < 4);
        ck_assert(is_certificate(&cert, leaf));
        if (i < 4)
            ck_assert(is_certificate(&issuer, issuing));
        else
            ck_assert_uint_eq(issuer.len, 0);
        sp_tls_cred_unref(cred);
    }
    certs_pair_free(namesake);
}
END_TEST

START_TEST(a_self_signed_leaf_has_no_issuer_above_it)
{
    struct sp_tls_cred *cred =
        load(write_certificates("root.pem", root, NULL, NULL), write_key("root.key", 0600, root));
    struct sp_bytes cert, issuer;

    ck_assert(!sp_tls_cred_leaf(cred, &cert, &issuer));
    ck_assert(is_certificate(&cert, root));
    sp_tls_cred_unref(cred);
}
END_TEST

/* ---- the staple ---- */

static void *set_staples(void *ctx)
{
    uint8_t staple[300];

    for (int i = 0; i < 2000; i++) {
        memset(staple, i, sizeof staple);
        sp_tls_cred_set_staple(ctx, staple, i % 300u);
    }
    return NULL;
}

START_TEST(a_staple_may_be_set_while_others_take_it)
{
    struct sp_tls_cred *cred =
        load(write_certificates("leaf.pem", leaf, NULL, NULL), write_key("leaf.key", 0600, leaf));
    struct sp_tls_identity own;
    pthread_t threads[2];

    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, set_staples, cred), 0);
    for (int i = 0; i < 4000; i++) {
        bool whole = true;

        sp_tls_cred_identity(cred, &own);
        if (own.staple) {
            const gnutls_datum_t *der = &sp_tls_staple_data(own.staple)->response;

            for (unsigned j = 0; j < der->size; j++)
                whole = whole && der->data[j] == der->data[0];
            ck_assert_uint_gt(der->size, 0);
            sp_tls_staple_unref(own.staple);
        }
        if (!whole)
            ck_abort_msg("a mixture");
    }
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    sp_tls_cred_unref(cred);
}
END_TEST

static Suite *cred_suite(void)
{
    Suite *suite = suite_create("tls_cred");
    TCase *tc = tcase_create("load");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_credential_says_what_it_is);
    tcase_add_loop_test(tc, a_credential_covers_exactly_its_names, 0,
                        sizeof coverage / sizeof coverage[0]);
    tcase_add_loop_test(tc, the_chain_in_a_file_may_stand_in_any_order, 0, 6);
    tcase_add_test(tc, certificates_that_belong_to_another_chain_are_not_sent);
    tcase_add_test(tc, one_file_may_hold_certificate_and_key);
    tcase_add_loop_test(tc, keys_of_every_kind_are_read, CERTS_P256, CERTS_RSA1024);
    tcase_add_loop_test(tc, a_key_that_others_can_read_is_refused_with_its_mode, 0,
                        sizeof modes / sizeof modes[0]);
    tcase_add_test(tc, each_bad_file_has_its_own_message);
    tcase_add_test(tc, an_encrypted_key_is_refused_as_such);
    tcase_add_test(tc, a_key_whose_private_half_is_wrong_is_refused);
    tcase_add_test(tc, no_trusted_ca_goes_into_the_handle);
    tcase_add_test(tc, a_key_is_gone_from_memory_when_its_last_user_is);
    tcase_add_test(tc, protected_keys_do_not_reach_a_core_file);
    tcase_add_test(tc, the_issuer_of_the_leaf_is_the_one_that_signed_it);
    tcase_add_test(tc, a_self_signed_leaf_has_no_issuer_above_it);
    tcase_add_test(tc, a_staple_may_be_set_while_others_take_it);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(cred_suite());
    int failed;

    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
