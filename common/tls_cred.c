#include "common/tls_cred.h"

#include "common/file.h"
#include "common/tls_impl.h"
#include "common/tls_x509.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define CERT_FILE_MAX (1024 * 1024)
#define KEY_FILE_MAX  (256 * 1024)
#define CHAIN_MAX     16
#define DN_TEXT       512
#define NAMES_TEXT    4096
#define KEY_ID_LEN    32
/* Of a response: in TLS 1.3 it must fit the extensions of one certificate (RFC 8446 4.4.2), with
 * two headers of 4 bytes. */
#define STAPLE_MAX (65535 - 8)
/* The times and all the rest are judged elsewhere. */
#define ONLY_SIGNATURE                                                                             \
    (GNUTLS_VERIFY_DISABLE_TIME_CHECKS | GNUTLS_VERIFY_DISABLE_TRUSTED_TIME_CHECKS |               \
     GNUTLS_VERIFY_ALLOW_BROKEN)

struct sp_tls_staple {
    atomic_uint refs;
    gnutls_ocsp_data_st data; /* points to der */
    uint8_t der[];
};

/* Shared by everybody who holds a reference; nothing but the staple changes after sp_tls_cred_load.
 * The private key lives in `handle` alone. */
struct sp_tls_cred {
    atomic_uint refs;
    gnutls_certificate_credentials_t handle; /* owns what certs and key point to */
    gnutls_pcert_st certs[CHAIN_MAX];
    unsigned cert_count;
    gnutls_privkey_t key;
    gnutls_x509_crt_t leaf;
    gnutls_datum_t leaf_der, issuer_der; /* issuer: data NULL: not in the file */
    pthread_mutex_t staple_lock;
    struct sp_tls_staple *staple; /* under the lock; NULL: none */
    char *subject, *issuer, *names;
    char fingerprint[SP_TLS_FINGERPRINT_LEN];
    int64_t not_before, not_after;
};

/* What was read from the certificate file, in the order found. */
struct cert_list {
    gnutls_x509_crt_t *crts;
    unsigned count;
};

static void list_done(struct cert_list *list)
{
    for (unsigned i = 0; i < list->count; i++)
        gnutls_x509_crt_deinit(list->crts[i]);
    gnutls_free(list->crts);
}

static enum sp_err read_certificates(const char *path, struct cert_list *list, struct sp_error *err)
{
    struct sp_file file = {0};
    enum sp_err rc = sp_file_read(path, CERT_FILE_MAX, &file, err);
    gnutls_datum_t pem;
    int tls;

    if (rc != SP_OK)
        return rc;
    pem.data = file.data;
    pem.size = (unsigned)file.len;
    tls = gnutls_x509_crt_list_import2(&list->crts, &list->count, &pem, GNUTLS_X509_FMT_PEM, 0);
    sp_file_done(&file);
    if (tls == GNUTLS_E_NO_CERTIFICATE_FOUND || (tls >= 0 && list->count == 0))
        rc = sp_error_set(err, SP_ERR_CONFIG, "no certificate in it; wanted is PEM");
    else if (tls < 0)
        rc = sp_error_code(err, SP_ERR_CONFIG, tls, "a certificate in it cannot be read: %s",
                           gnutls_strerror(tls));
    if (rc != SP_OK)
        sp_error_where(err, "%s", path);
    return rc;
}

/* A key that others can read is no secret any more. 0640 is how a distribution gives a service's
 * group its key, which is safe only when nobody but root could have chosen that group. */
static bool key_is_private(unsigned mode, unsigned owner)
{
    unsigned others = mode & 077;

    return others == 0 || (others == 040 && owner == 0);
}

static bool key_is_encrypted(const struct sp_file *file)
{
    return memmem(file->data, file->len, "BEGIN ENCRYPTED PRIVATE KEY", 27) ||
           memmem(file->data, file->len, "Proc-Type: 4,ENCRYPTED", 22);
}

static enum sp_err parse_key(const struct sp_file *file, gnutls_x509_privkey_t *ret_key,
                             struct sp_error *err)
{
    gnutls_datum_t pem = {file->data, (unsigned)file->len};
    gnutls_x509_privkey_t key;
    int tls;

    if (!key_is_private(file->mode, file->owner))
        return sp_error_set(err, SP_ERR_CONFIG,
                            "the private key can be read by others: its mode is %04o, wanted is "
                            "0600 or 0400 (0640 when root owns it)",
                            file->mode);
    if (key_is_encrypted(file))
        return sp_error_set(err, SP_ERR_CONFIG,
                            "the private key is encrypted with a passphrase; wanted is a key "
                            "without one, protected by its file mode");
    if (!memmem(file->data, file->len, "PRIVATE KEY-----", 16))
        return sp_error_set(err, SP_ERR_CONFIG, "no private key in it; wanted is PEM");
    tls = gnutls_x509_privkey_init(&key);
    SP_REQUIRE(tls == 0);
    tls = gnutls_x509_privkey_import2(key, &pem, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN);
    if (tls < 0) {
        gnutls_x509_privkey_deinit(key);
        return sp_error_code(err, SP_ERR_CONFIG, tls, "the private key cannot be read: %s",
                             gnutls_strerror(tls));
    }
    *ret_key = key;
    return SP_OK;
}

static enum sp_err read_key(const char *path, gnutls_x509_privkey_t *ret_key, struct sp_error *err)
{
    struct sp_file file = {0};
    enum sp_err rc = sp_file_read(path, KEY_FILE_MAX, &file, err);

    if (rc != SP_OK)
        return rc;
    rc = parse_key(&file, ret_key, err);
    sp_file_done(&file); /* wiped: it held the key */
    if (rc != SP_OK)
        sp_error_where(err, "%s", path);
    return rc;
}

static bool same_key(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key)
{
    uint8_t of_crt[KEY_ID_LEN], of_key[KEY_ID_LEN];
    size_t crt_len = sizeof of_crt, key_len = sizeof of_key;

    return gnutls_x509_crt_get_key_id(crt, GNUTLS_KEYID_USE_SHA256, of_crt, &crt_len) >= 0 &&
           gnutls_x509_privkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, of_key, &key_len) >= 0 &&
           crt_len == key_len && memcmp(of_crt, of_key, crt_len) == 0;
}

/* The leaf is the certificate of the key, wherever it stands in the file; above it comes its issuer
 * and so on. What does not belong to that path is not sent. Returns the length; 0: no leaf. */
static unsigned sort_chain(const struct cert_list *list, gnutls_x509_privkey_t key,
                           gnutls_x509_crt_t sorted[CHAIN_MAX])
{
    unsigned count = 0;

    for (unsigned i = 0; i < list->count && count == 0; i++)
        if (same_key(list->crts[i], key))
            sorted[count++] = list->crts[i];
    while (count && count < CHAIN_MAX) {
        gnutls_x509_crt_t below = sorted[count - 1];
        unsigned was = count;

        for (unsigned i = 0; i < list->count && count == was; i++) {
            bool used = false;

            for (unsigned j = 0; j < count; j++)
                used = used || gnutls_x509_crt_equals(sorted[j], list->crts[i]);
            if (!used && gnutls_x509_crt_check_issuer(below, list->crts[i]))
                sorted[count++] = list->crts[i];
        }
        if (count == was)
            break;
    }
    return count;
}

static void describe(struct sp_tls_cred *cred)
{
    char dn[DN_TEXT];
    char names[NAMES_TEXT];

    cred->subject = sp_strdup(sp_tls_x509_subject(cred->leaf, dn, sizeof dn));
    cred->issuer = sp_strdup(sp_tls_x509_issuer(cred->leaf, dn, sizeof dn));
    cred->names = sp_strdup(sp_tls_x509_names(cred->leaf, names, sizeof names));
    cred->not_before = gnutls_x509_crt_get_activation_time(cred->leaf);
    cred->not_after = gnutls_x509_crt_get_expiration_time(cred->leaf);
    SP_REQUIRE(gnutls_x509_crt_export2(cred->leaf, GNUTLS_X509_FMT_DER, &cred->leaf_der) >= 0);
    sp_tls_x509_fingerprint(cred->leaf_der.data, cred->leaf_der.size, cred->fingerprint);
}

/* By signature: several CAs may have the name, after a renewal. */
static void find_issuer(struct sp_tls_cred *cred, const struct cert_list *list)
{
    for (unsigned i = 0; i < list->count && !cred->issuer_der.data; i++) {
        unsigned status = 0;

        if (gnutls_x509_crt_check_issuer(cred->leaf, list->crts[i]) &&
            gnutls_x509_crt_verify(cred->leaf, &list->crts[i], 1, ONLY_SIGNATURE, &status) >= 0 &&
            !status)
            SP_REQUIRE(gnutls_x509_crt_export2(list->crts[i], GNUTLS_X509_FMT_DER,
                                               &cred->issuer_der) >= 0);
    }
}

/* Copies the key and the certificates into the handle, which owns them if all goes well. */
static int import_into_handle(struct sp_tls_cred *cred, gnutls_x509_crt_t *sorted, unsigned count,
                              gnutls_x509_privkey_t key)
{
    int tls;

    SP_REQUIRE(gnutls_privkey_init(&cred->key) == 0);
    tls = gnutls_privkey_import_x509(cred->key, key, GNUTLS_PRIVKEY_IMPORT_COPY);
    while (tls >= 0 && cred->cert_count < count) {
        tls = gnutls_pcert_import_x509(&cred->certs[cred->cert_count], sorted[cred->cert_count], 0);
        if (tls >= 0)
            cred->cert_count++;
    }
    /* Signs once and verifies: a key file with the right public half and a wrong private one is
     * found here and not in the first handshake. */
    if (tls >= 0)
        tls = gnutls_certificate_set_key(cred->handle, NULL, 0, cred->certs, (int)count, cred->key);
    if (tls >= 0)
        return 0;
    for (unsigned i = 0; i < cred->cert_count; i++)
        gnutls_pcert_deinit(&cred->certs[i]);
    gnutls_privkey_deinit(cred->key);
    return tls;
}

/* No CA goes into the handle: verification is tls_chain's, and CAs in it would be told to every
 * peer in the CertificateRequest. */
static enum sp_err fill_handle(struct sp_tls_cred *cred, struct cert_list *list,
                               gnutls_x509_privkey_t key, const char *certificate_path,
                               struct sp_error *err)
{
    gnutls_x509_crt_t sorted[CHAIN_MAX];
    unsigned count = sort_chain(list, key, sorted);
    int tls;

    if (count == 0)
        return sp_error_set(err, SP_ERR_CONFIG,
                            "the private key does not belong to the certificate in '%s'",
                            certificate_path);
    gnutls_certificate_set_flags(cred->handle, GNUTLS_CERTIFICATE_API_V2);
    tls = import_into_handle(cred, sorted, count, key);
    if (tls == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
        return sp_error_code(err, SP_ERR_CONFIG, tls,
                             "the private key does not belong to the certificate in '%s'",
                             certificate_path);
    if (tls < 0)
        return sp_error_code(err, SP_ERR_CONFIG, tls, "the private key cannot be used: %s",
                             gnutls_strerror(tls));
    for (unsigned i = 0; i < list->count; i++) {
        if (list->crts[i] == sorted[0]) { /* kept: ours now */
            cred->leaf = sorted[0];
            list->crts[i] = list->crts[--list->count];
            break;
        }
    }
    return SP_OK;
}

static void cred_free(struct sp_tls_cred *cred)
{
    if (cred->handle)
        gnutls_certificate_free_credentials(cred->handle); /* GnuTLS overwrites the key */
    if (cred->leaf)
        gnutls_x509_crt_deinit(cred->leaf);
    gnutls_free(cred->leaf_der.data);
    gnutls_free(cred->issuer_der.data);
    sp_tls_staple_unref(cred->staple);
    pthread_mutex_destroy(&cred->staple_lock);
    free(cred->subject);
    free(cred->issuer);
    free(cred->names);
    free(cred);
}

enum sp_err sp_tls_cred_load(const char *certificate_path, const char *key_path,
                             struct sp_tls_cred **ret_cred, struct sp_error *err)
{
    struct cert_list list = {0};
    gnutls_x509_privkey_t key = NULL;
    struct sp_tls_cred *cred;
    enum sp_err rc = read_certificates(certificate_path, &list, err);

    if (rc != SP_OK)
        return rc;
    rc = read_key(key_path, &key, err);
    if (rc != SP_OK) {
        list_done(&list);
        return rc;
    }
    cred = sp_calloc(1, sizeof *cred);
    atomic_init(&cred->refs, 1);
    SP_REQUIRE(pthread_mutex_init(&cred->staple_lock, NULL) == 0);
    SP_REQUIRE(gnutls_certificate_allocate_credentials(&cred->handle) == 0);
    rc = fill_handle(cred, &list, key, certificate_path, err);
    gnutls_x509_privkey_deinit(key); /* wiped by GnuTLS; the handle has its own */
    if (rc == SP_OK)
        find_issuer(cred, &list);
    list_done(&list);
    if (rc != SP_OK) {
        sp_error_where(err, "%s", key_path);
        cred_free(cred);
        return rc;
    }
    describe(cred);
    *ret_cred = cred;
    return SP_OK;
}

bool sp_tls_cred_seems_loadable(const struct sp_file_look *certificate,
                                const struct sp_file_look *key)
{
    return certificate->may_read && key->may_read && key_is_private(key->mode, key->owner);
}

struct sp_tls_cred *sp_tls_cred_ref(struct sp_tls_cred *cred)
{
    atomic_fetch_add_explicit(&cred->refs, 1, memory_order_relaxed);
    return cred;
}

void sp_tls_cred_unref(struct sp_tls_cred *cred)
{
    if (cred && atomic_fetch_sub_explicit(&cred->refs, 1, memory_order_acq_rel) == 1)
        cred_free(cred);
}

bool sp_tls_cred_covers(const struct sp_tls_cred *cred, const char *name)
{
    return sp_tls_x509_name_fits(cred->leaf, name);
}

const char *sp_tls_cred_subject(const struct sp_tls_cred *cred)
{
    return cred->subject;
}

const char *sp_tls_cred_issuer(const struct sp_tls_cred *cred)
{
    return cred->issuer;
}

const char *sp_tls_cred_names(const struct sp_tls_cred *cred)
{
    return cred->names;
}

const char *sp_tls_cred_fingerprint(const struct sp_tls_cred *cred)
{
    return cred->fingerprint;
}

int64_t sp_tls_cred_not_before(const struct sp_tls_cred *cred)
{
    return cred->not_before;
}

int64_t sp_tls_cred_not_after(const struct sp_tls_cred *cred)
{
    return cred->not_after;
}

bool sp_tls_cred_leaf(const struct sp_tls_cred *cred, struct sp_bytes *ret_cert,
                      struct sp_bytes *ret_issuer)
{
    *ret_cert = (struct sp_bytes){cred->leaf_der.data, cred->leaf_der.size};
    *ret_issuer = (struct sp_bytes){cred->issuer_der.data, cred->issuer_der.size};
    return cred->issuer_der.data != NULL;
}

/* ---- the staple ---- */

static struct sp_tls_staple *staple_new(const void *der, size_t len)
{
    struct sp_tls_staple *staple = sp_calloc(1, sizeof *staple + len);

    atomic_init(&staple->refs, 1);
    memcpy(staple->der, der, len);
    staple->data.response.data = staple->der;
    staple->data.response.size = (unsigned)len;
    return staple;
}

void sp_tls_staple_unref(struct sp_tls_staple *staple)
{
    if (staple && atomic_fetch_sub_explicit(&staple->refs, 1, memory_order_acq_rel) == 1)
        free(staple);
}

gnutls_ocsp_data_st *sp_tls_staple_data(struct sp_tls_staple *staple)
{
    return &staple->data;
}

void sp_tls_cred_set_staple(struct sp_tls_cred *cred, const void *der, size_t len)
{
    struct sp_tls_staple *next = len && len <= STAPLE_MAX ? staple_new(der, len) : NULL, *last;

    pthread_mutex_lock(&cred->staple_lock);
    last = cred->staple;
    cred->staple = next;
    pthread_mutex_unlock(&cred->staple_lock);
    sp_tls_staple_unref(last);
}

void sp_tls_cred_identity(struct sp_tls_cred *cred, struct sp_tls_identity *ret_identity)
{
    ret_identity->certs = cred->certs;
    ret_identity->count = cred->cert_count;
    ret_identity->key = cred->key;
    pthread_mutex_lock(&cred->staple_lock);
    ret_identity->staple = cred->staple;
    if (cred->staple)
        atomic_fetch_add_explicit(&cred->staple->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&cred->staple_lock);
}

struct gnutls_certificate_credentials_st *sp_tls_cred_handle(const struct sp_tls_cred *cred)
{
    return cred->handle;
}

void sp_tls_protect_keys(void)
{
    const struct rlimit none = {0, 0};

    /* Two walls: a kernel that pipes cores to a collector ignores RLIMIT_CORE. */
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)setrlimit(RLIMIT_CORE, &none);
}

void sp_tls_keys_gone(void)
{
    (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}
