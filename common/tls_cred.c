#include "common/tls_cred_impl.h"

#include "common/file.h"
#include "common/tls_impl.h"
#include "common/tls_x509.h"

#include <gnutls/crypto.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define CHAIN_MAX   16
#define DN_TEXT     512
#define NAMES_TEXT  4096
#define SERIAL_TEXT 64
#define KEY_ID_LEN  32
/* The times and all the rest are judged elsewhere. */
#define ONLY_SIGNATURE                                                                             \
    (GNUTLS_VERIFY_DISABLE_TIME_CHECKS | GNUTLS_VERIFY_DISABLE_TRUSTED_TIME_CHECKS |               \
     GNUTLS_VERIFY_ALLOW_BROKEN)

/* Shared by everybody who holds a reference; nothing but the staple changes once it is made. The
 * private key lives in `handle` alone, or in a token that the handle knows how to ask. */
struct sp_tls_cred {
    atomic_uint refs;
    gnutls_certificate_credentials_t handle; /* owns what certs and key point to */
    gnutls_pcert_st certs[CHAIN_MAX];
    unsigned cert_count;
    gnutls_privkey_t key;
    struct sp_tls_pin *pin; /* NULL: the key is in no token */
    gnutls_x509_crt_t leaf;
    gnutls_datum_t leaf_der, issuer_der; /* issuer: data NULL: not in the file */
    pthread_mutex_t staple_lock;
    struct sp_tls_staple *staple; /* under the lock; NULL: none */
    char *subject, *issuer, *names, *serial;
    char fingerprint[SP_TLS_FINGERPRINT_LEN];
    int64_t not_before, not_after;
};

/* ---- what it is made of ---- */

void sp_tls_cred_parts_done(struct sp_tls_cred_parts *parts)
{
    for (unsigned i = 0; i < parts->count; i++)
        gnutls_x509_crt_deinit(parts->crts[i]);
    gnutls_free(parts->crts);
    if (parts->key)
        gnutls_privkey_deinit(parts->key); /* GnuTLS overwrites what it has of it */
    sp_tls_pin_free(parts->pin);
    *parts = (struct sp_tls_cred_parts){0};
}

void sp_tls_cred_parts_add(struct sp_tls_cred_parts *parts, gnutls_x509_crt_t crt)
{
    parts->crts = gnutls_realloc(parts->crts, (parts->count + 1) * sizeof(gnutls_x509_crt_t));
    SP_REQUIRE(parts->crts);
    parts->crts[parts->count++] = crt;
}

int sp_tls_cred_parts_set_key(struct sp_tls_cred_parts *parts, gnutls_x509_privkey_t key)
{
    SP_REQUIRE(!parts->key && gnutls_privkey_init(&parts->key) == 0);
    return gnutls_privkey_import_x509(parts->key, key, GNUTLS_PRIVKEY_IMPORT_COPY);
}

/* ---- which certificate is the key's ---- */

/* By what the key can do: for a token that shows no public half. */
static bool key_signs_for(gnutls_privkey_t key, gnutls_pubkey_t public)
{
    const gnutls_datum_t words = {(unsigned char *)(uintptr_t) "sallyport", 9};
    gnutls_digest_algorithm_t hash = GNUTLS_DIG_SHA256;
    gnutls_datum_t signature = {NULL, 0};
    int pk = gnutls_pubkey_get_pk_algorithm(public, NULL);
    bool fits;

    if (pk != gnutls_privkey_get_pk_algorithm(key, NULL) ||
        gnutls_pubkey_get_preferred_hash_algorithm(public, &hash, NULL) < 0 ||
        gnutls_privkey_sign_data(key, hash, 0, &words, &signature) < 0)
        return false;
    fits =
        gnutls_pubkey_verify_data2(public, gnutls_pk_to_sign(pk, hash), 0, &words, &signature) >= 0;
    gnutls_free(signature.data);
    return fits;
}

static bool same_public(gnutls_pubkey_t a, gnutls_pubkey_t b)
{
    uint8_t of_a[KEY_ID_LEN], of_b[KEY_ID_LEN];
    size_t a_len = sizeof of_a, b_len = sizeof of_b;

    return gnutls_pubkey_get_key_id(a, GNUTLS_KEYID_USE_SHA256, of_a, &a_len) >= 0 &&
           gnutls_pubkey_get_key_id(b, GNUTLS_KEYID_USE_SHA256, of_b, &b_len) >= 0 &&
           a_len == b_len && memcmp(of_a, of_b, a_len) == 0;
}

static bool is_of_key(gnutls_x509_crt_t crt, gnutls_privkey_t key, gnutls_pubkey_t of_key)
{
    gnutls_pubkey_t public;
    bool fits;

    SP_REQUIRE(gnutls_pubkey_init(&public) == 0);
    fits = gnutls_pubkey_import_x509(public, crt, 0) >= 0 &&
           (of_key ? same_public(public, of_key) : key_signs_for(key, public));
    gnutls_pubkey_deinit(public);
    return fits;
}

static gnutls_x509_crt_t find_leaf(const struct sp_tls_cred_parts *parts)
{
    gnutls_x509_crt_t leaf = NULL;
    gnutls_pubkey_t of_key = NULL;

    SP_REQUIRE(gnutls_pubkey_init(&of_key) == 0);
    if (gnutls_pubkey_import_privkey(of_key, parts->key, 0, 0) < 0) {
        gnutls_pubkey_deinit(of_key);
        of_key = NULL;
    }
    for (unsigned i = 0; i < parts->count && !leaf; i++)
        if (is_of_key(parts->crts[i], parts->key, of_key))
            leaf = parts->crts[i];
    if (of_key)
        gnutls_pubkey_deinit(of_key);
    return leaf;
}

/* The leaf is the certificate of the key, wherever it stands in the file; above it comes its issuer
 * and so on. What does not belong to that path is not sent. Returns the length; 0: no leaf. */
static unsigned sort_chain(const struct sp_tls_cred_parts *parts,
                           gnutls_x509_crt_t sorted[CHAIN_MAX])
{
    unsigned count = 0;

    sorted[0] = find_leaf(parts);
    if (sorted[0])
        count = 1;
    while (count && count < CHAIN_MAX) {
        gnutls_x509_crt_t below = sorted[count - 1];
        unsigned was = count;

        for (unsigned i = 0; i < parts->count && count == was; i++) {
            bool used = false;

            for (unsigned j = 0; j < count; j++)
                used = used || gnutls_x509_crt_equals(sorted[j], parts->crts[i]);
            if (!used && gnutls_x509_crt_check_issuer(below, parts->crts[i]))
                sorted[count++] = parts->crts[i];
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
    char serial[SERIAL_TEXT];

    cred->subject = sp_strdup(sp_tls_x509_subject(cred->leaf, dn, sizeof dn));
    cred->issuer = sp_strdup(sp_tls_x509_issuer(cred->leaf, dn, sizeof dn));
    cred->names = sp_strdup(sp_tls_x509_names(cred->leaf, names, sizeof names));
    sp_tls_x509_serial(cred->leaf, serial, sizeof serial);
    cred->serial = sp_strdup(serial);
    cred->not_before = gnutls_x509_crt_get_activation_time(cred->leaf);
    cred->not_after = gnutls_x509_crt_get_expiration_time(cred->leaf);
    SP_REQUIRE(gnutls_x509_crt_export2(cred->leaf, GNUTLS_X509_FMT_DER, &cred->leaf_der) >= 0);
    sp_tls_x509_fingerprint(cred->leaf_der.data, cred->leaf_der.size, cred->fingerprint);
}

/* By signature: several CAs may have the name, after a renewal. */
static void find_issuer(struct sp_tls_cred *cred, const struct sp_tls_cred_parts *parts)
{
    for (unsigned i = 0; i < parts->count && !cred->issuer_der.data; i++) {
        unsigned status = 0;

        if (gnutls_x509_crt_check_issuer(cred->leaf, parts->crts[i]) &&
            gnutls_x509_crt_verify(cred->leaf, &parts->crts[i], 1, ONLY_SIGNATURE, &status) >= 0 &&
            !status)
            SP_REQUIRE(gnutls_x509_crt_export2(parts->crts[i], GNUTLS_X509_FMT_DER,
                                               &cred->issuer_der) >= 0);
    }
}

/* Gives the key and copies of the certificates to the handle, which owns them if all goes well. */
static int import_into_handle(struct sp_tls_cred *cred, gnutls_x509_crt_t *sorted, unsigned count,
                              struct sp_tls_cred_parts *parts)
{
    int tls = 0;

    while (tls >= 0 && cred->cert_count < count) {
        tls = gnutls_pcert_import_x509(&cred->certs[cred->cert_count], sorted[cred->cert_count], 0);
        if (tls >= 0)
            cred->cert_count++;
    }
    /* Signs once and verifies: a key with the right public half and a wrong private one is found
     * here and not in the first handshake. */
    if (tls >= 0)
        tls =
            gnutls_certificate_set_key(cred->handle, NULL, 0, cred->certs, (int)count, parts->key);
    if (tls >= 0) {
        cred->key = parts->key;
        cred->pin = parts->pin;
        parts->key = NULL;
        parts->pin = NULL;
        return 0;
    }
    for (unsigned i = 0; i < cred->cert_count; i++)
        gnutls_pcert_deinit(&cred->certs[i]);
    return tls;
}

/* No CA goes into the handle: verification is tls_chain's, and CAs in it would be told to every
 * peer in the CertificateRequest. */
static enum sp_err fill_handle(struct sp_tls_cred *cred, struct sp_tls_cred_parts *parts,
                               const char *certificate_name, struct sp_error *err)
{
    gnutls_x509_crt_t sorted[CHAIN_MAX];
    unsigned count = sort_chain(parts, sorted);
    int tls;

    if (count == 0)
        return sp_error_set(err, SP_ERR_CONFIG,
                            "the private key does not belong to the certificate in '%s'",
                            certificate_name);
    gnutls_certificate_set_flags(cred->handle, GNUTLS_CERTIFICATE_API_V2);
    tls = import_into_handle(cred, sorted, count, parts);
    if (tls == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
        return sp_error_code(err, SP_ERR_CONFIG, tls,
                             "the private key does not belong to the certificate in '%s'",
                             certificate_name);
    if (tls < 0)
        return sp_error_code(err, SP_ERR_CONFIG, tls, "the private key cannot be used: %s",
                             gnutls_strerror(tls));
    for (unsigned i = 0; i < parts->count; i++) {
        if (parts->crts[i] == sorted[0]) { /* kept: ours now */
            cred->leaf = sorted[0];
            parts->crts[i] = parts->crts[--parts->count];
            break;
        }
    }
    return SP_OK;
}

static void cred_free(struct sp_tls_cred *cred)
{
    if (cred->handle)
        gnutls_certificate_free_credentials(cred->handle); /* GnuTLS overwrites the key */
    sp_tls_pin_free(cred->pin);
    if (cred->leaf)
        gnutls_x509_crt_deinit(cred->leaf);
    gnutls_free(cred->leaf_der.data);
    gnutls_free(cred->issuer_der.data);
    sp_tls_staple_unref(cred->staple);
    pthread_mutex_destroy(&cred->staple_lock);
    free(cred->subject);
    free(cred->issuer);
    free(cred->names);
    free(cred->serial);
    free(cred);
}

enum sp_err sp_tls_cred_new(struct sp_tls_cred_parts *parts, const char *certificate_name,
                            struct sp_tls_cred **ret_cred, struct sp_error *err)
{
    struct sp_tls_cred *cred = sp_calloc(1, sizeof *cred);
    enum sp_err rc;

    atomic_init(&cred->refs, 1);
    SP_REQUIRE(pthread_mutex_init(&cred->staple_lock, NULL) == 0);
    SP_REQUIRE(gnutls_certificate_allocate_credentials(&cred->handle) == 0);
    rc = fill_handle(cred, parts, certificate_name, err);
    if (rc != SP_OK) {
        cred_free(cred);
        return rc;
    }
    find_issuer(cred, parts);
    describe(cred);
    *ret_cred = cred;
    return SP_OK;
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

const char *sp_tls_cred_serial(const struct sp_tls_cred *cred)
{
    return cred->serial;
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

bool sp_tls_cred_same(const struct sp_tls_cred *a, const struct sp_tls_cred *b)
{
    bool same = a->cert_count == b->cert_count;

    for (unsigned i = 0; same && i < a->cert_count; i++)
        same = a->certs[i].cert.size == b->certs[i].cert.size &&
               !memcmp(a->certs[i].cert.data, b->certs[i].cert.data, a->certs[i].cert.size);
    return same;
}

/* ---- the staple ---- */

void sp_tls_cred_set_staple(struct sp_tls_cred *cred, const void *der, size_t len)
{
    struct sp_tls_staple *next = sp_tls_staple_new(der, len), *last;

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
        sp_tls_staple_ref(cred->staple);
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
    sp_tls_pkcs11_end();
    (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}
