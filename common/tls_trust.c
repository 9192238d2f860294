#include "common/tls_trust.h"

#include "common/file.h"
#include "common/tls_x509.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define CA_FILE_MAX   (16 * 1024 * 1024)
#define DIGEST_LEN    32
#define DN_TEXT       256
#define SYSTEM_MARKER "the system's trust store"

struct trust_ca {
    gnutls_x509_crt_t crt;
    gnutls_datum_t dn; /* DER subject */
    uint8_t fingerprint[DIGEST_LEN];
};

/* Shared by everybody who holds a reference; nothing in it changes after sp_tls_trust_load. */
struct sp_tls_trust {
    atomic_uint refs;
    struct trust_ca *cas; /* the listed ones in the order of their files, then the system's */
    size_t count, room, listed;
    const struct trust_ca **by_dn; /* all of them, sorted by subject */
    bool has_system;
};

static int dn_compare(const void *a, size_t a_len, const void *b, size_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);

    return order ? order : (a_len > b_len) - (a_len < b_len);
}

static int by_dn_order(const void *a, const void *b)
{
    const struct trust_ca *const *x = a;
    const struct trust_ca *const *y = b;

    return dn_compare((*x)->dn.data, (*x)->dn.size, (*y)->dn.data, (*y)->dn.size);
}

/* Takes crt in every case. A certificate that is there already is dropped: two listed files may
 * well share a CA. */
static enum sp_err trust_put(struct sp_tls_trust *t, gnutls_x509_crt_t crt, struct sp_error *err)
{
    struct trust_ca ca = {.crt = crt};
    size_t len = sizeof ca.fingerprint;
    int rc = gnutls_x509_crt_get_fingerprint(crt, GNUTLS_DIG_SHA256, ca.fingerprint, &len);

    if (rc >= 0)
        rc = gnutls_x509_crt_get_raw_dn(crt, &ca.dn);
    if (rc < 0) {
        gnutls_x509_crt_deinit(crt);
        return sp_error_code(err, SP_ERR_TLS, rc, "a certificate in it cannot be read: %s",
                             gnutls_strerror(rc));
    }
    for (size_t i = 0; i < t->count; i++) {
        if (memcmp(t->cas[i].fingerprint, ca.fingerprint, DIGEST_LEN) == 0) {
            gnutls_x509_crt_deinit(crt);
            gnutls_free(ca.dn.data);
            return SP_OK;
        }
    }
    if (t->count == t->room) {
        t->room = t->room ? 2 * t->room : 4;
        t->cas = realloc(t->cas, t->room * sizeof *t->cas);
        SP_REQUIRE(t->cas);
    }
    t->cas[t->count++] = ca;
    return SP_OK;
}

/* basicConstraints decides; a self-signed version 1 certificate is from before there were any. */
static bool is_ca(gnutls_x509_crt_t crt)
{
    if (gnutls_x509_crt_get_ca_status(crt, NULL) > 0)
        return true;
    return gnutls_x509_crt_get_version(crt) == 1 && gnutls_x509_crt_check_issuer(crt, crt) != 0;
}

static enum sp_err put_listed(struct sp_tls_trust *t, gnutls_x509_crt_t crt, struct sp_error *err)
{
    char subject[DN_TEXT];

    if (is_ca(crt))
        return trust_put(t, crt, err);
    sp_tls_x509_subject(crt, subject, sizeof subject);
    gnutls_x509_crt_deinit(crt);
    return sp_error_set(err, SP_ERR_CONFIG,
                        "no CA certificate in it: '%s' is not a CA (basicConstraints); wanted is "
                        "the certificate of the CA that issues the peers' certificates",
                        subject);
}

static enum sp_err load_pem(struct sp_tls_trust *t, const gnutls_datum_t *pem, struct sp_error *err)
{
    gnutls_x509_crt_t *crts = NULL;
    enum sp_err rc = SP_OK;
    unsigned count = 0;
    int tls = gnutls_x509_crt_list_import2(&crts, &count, pem, GNUTLS_X509_FMT_PEM, 0);

    if (tls == GNUTLS_E_NO_CERTIFICATE_FOUND || (tls >= 0 && count == 0))
        return sp_error_set(err, SP_ERR_CONFIG, "no certificate in it");
    if (tls < 0)
        return sp_error_code(err, SP_ERR_CONFIG, tls, "a certificate in it cannot be read: %s",
                             gnutls_strerror(tls));
    for (unsigned i = 0; i < count; i++) {
        if (rc == SP_OK)
            rc = put_listed(t, crts[i], err);
        else
            gnutls_x509_crt_deinit(crts[i]);
    }
    gnutls_free(crts);
    return rc;
}

static enum sp_err load_der(struct sp_tls_trust *t, const uint8_t *der, size_t len,
                            struct sp_error *err)
{
    size_t header;

    if (len == 0 || !sp_tls_x509_element(der, len, &header))
        return sp_error_set(err, SP_ERR_CONFIG, "no certificate in it: neither PEM nor DER");
    while (len) {
        size_t one = sp_tls_x509_element(der, len, &header);
        gnutls_datum_t datum = {.size = (unsigned)one};
        SP_AUTO_FREE uint8_t *copy = sp_calloc(one ? one : 1, 1); /* a datum is not const */
        gnutls_x509_crt_t crt;
        enum sp_err rc;
        int tls;

        memcpy(copy, der, one);
        datum.data = copy;
        tls = gnutls_x509_crt_init(&crt);
        SP_REQUIRE(tls == 0);
        tls = gnutls_x509_crt_import(crt, &datum, GNUTLS_X509_FMT_DER);
        if (tls < 0) {
            gnutls_x509_crt_deinit(crt);
            return sp_error_code(err, SP_ERR_CONFIG, tls, "a certificate in it cannot be read: %s",
                                 gnutls_strerror(tls));
        }
        rc = put_listed(t, crt, err);
        if (rc != SP_OK)
            return rc;
        der += one;
        len -= one;
    }
    return SP_OK;
}

static enum sp_err load_file(struct sp_tls_trust *t, const char *path, struct sp_error *err)
{
    struct sp_file file = {0};
    enum sp_err rc = sp_file_read(path, CA_FILE_MAX, &file, err);
    gnutls_datum_t datum;

    if (rc != SP_OK)
        return rc;
    datum.data = file.data;
    datum.size = (unsigned)file.len;
    if (memmem(file.data, file.len, "-----BEGIN", 10))
        rc = load_pem(t, &datum, err);
    else
        rc = load_der(t, file.data, file.len, err);
    sp_file_done(&file);
    if (rc != SP_OK)
        sp_error_where(err, "%s", path);
    return rc;
}

/* GnuTLS keeps the store's certificates to itself, and replaces ours by its own where both have
 * the same: so they are read into a list of their own, copied out and put beside the listed ones.
 */
static enum sp_err load_system(struct sp_tls_trust *t, struct sp_error *err)
{
    gnutls_x509_trust_list_t system;
    gnutls_x509_trust_list_iter_t iter = NULL;
    gnutls_x509_crt_t crt = NULL;
    size_t before = t->count;
    enum sp_err rc = SP_OK;
    int tls = gnutls_x509_trust_list_init(&system, 0);

    SP_REQUIRE(tls == 0);
    tls = gnutls_x509_trust_list_add_system_trust(system, 0, 0);
    while (tls > 0 && rc == SP_OK &&
           gnutls_x509_trust_list_iter_get_ca(system, &iter, &crt) == GNUTLS_E_SUCCESS)
        rc = trust_put(t, crt, err);
    if (rc != SP_OK)
        gnutls_x509_trust_list_iter_deinit(iter);
    gnutls_x509_trust_list_deinit(system, 1);
    if (rc == SP_OK && t->count == before && t->listed == 0)
        rc = sp_error_code(err, SP_ERR_CONFIG, tls < 0 ? tls : 0,
                           "it is empty or cannot be read%s%s; is the package ca-certificates "
                           "installed",
                           tls < 0 ? ": " : "", tls < 0 ? gnutls_strerror(tls) : "");
    if (rc != SP_OK)
        sp_error_where(err, SYSTEM_MARKER);
    t->has_system = true;
    return rc;
}

static void build_index(struct sp_tls_trust *t)
{
    t->by_dn = sp_calloc(t->count, sizeof *t->by_dn);
    for (size_t i = 0; i < t->count; i++)
        t->by_dn[i] = &t->cas[i];
    qsort(t->by_dn, t->count, sizeof *t->by_dn, by_dn_order);
}

static void trust_free(struct sp_tls_trust *t)
{
    for (size_t i = 0; i < t->count; i++) {
        gnutls_x509_crt_deinit(t->cas[i].crt);
        gnutls_free(t->cas[i].dn.data);
    }
    free(t->by_dn);
    free(t->cas);
    free(t);
}

enum sp_err sp_tls_trust_load(const char *const *ca_paths, size_t count, bool use_system,
                              struct sp_tls_trust **ret_trust, struct sp_error *err)
{
    struct sp_tls_trust *t = sp_calloc(1, sizeof *t);
    enum sp_err rc = SP_OK;

    atomic_init(&t->refs, 1);
    if (count == 0 && !use_system)
        rc = sp_error_set(err, SP_ERR_CONFIG, "no trusted CA is listed: at least one is wanted");
    for (size_t i = 0; rc == SP_OK && i < count; i++)
        rc = load_file(t, ca_paths[i], err);
    t->listed = t->count;
    if (rc == SP_OK && use_system)
        rc = load_system(t, err);
    if (rc != SP_OK) {
        trust_free(t);
        return rc;
    }
    build_index(t);
    *ret_trust = t;
    return SP_OK;
}

struct sp_tls_trust *sp_tls_trust_ref(struct sp_tls_trust *trust)
{
    atomic_fetch_add_explicit(&trust->refs, 1, memory_order_relaxed);
    return trust;
}

void sp_tls_trust_unref(struct sp_tls_trust *trust)
{
    if (trust && atomic_fetch_sub_explicit(&trust->refs, 1, memory_order_acq_rel) == 1)
        trust_free(trust);
}

size_t sp_tls_trust_count(const struct sp_tls_trust *trust)
{
    return trust->count;
}

static int fingerprint_order(const void *a, const void *b)
{
    return memcmp(a, b, DIGEST_LEN);
}

void sp_tls_trust_digest(const struct sp_tls_trust *trust, uint8_t ret_digest[32])
{
    size_t len = trust->listed * DIGEST_LEN;
    SP_AUTO_FREE uint8_t *all = sp_calloc(len + sizeof SYSTEM_MARKER, 1);

    for (size_t i = 0; i < trust->listed; i++)
        memcpy(all + i * DIGEST_LEN, trust->cas[i].fingerprint, DIGEST_LEN);
    qsort(all, trust->listed, DIGEST_LEN, fingerprint_order);
    if (trust->has_system) {
        memcpy(all + len, SYSTEM_MARKER, sizeof SYSTEM_MARKER);
        len += sizeof SYSTEM_MARKER;
    }
    SP_REQUIRE(gnutls_hash_fast(GNUTLS_DIG_SHA256, all, len, ret_digest) == 0);
}

struct gnutls_x509_crt_int *sp_tls_trust_ca(const struct sp_tls_trust *trust, size_t index)
{
    return index < trust->listed ? trust->cas[index].crt : NULL;
}

struct gnutls_x509_crt_int *sp_tls_trust_any(const struct sp_tls_trust *trust, size_t index)
{
    return index < trust->count ? trust->cas[index].crt : NULL;
}

struct gnutls_x509_crt_int *sp_tls_trust_named(const struct sp_tls_trust *trust, const void *dn,
                                               size_t dn_len, size_t index)
{
    size_t low = 0;
    size_t high = trust->count;

    while (low < high) { /* the first that is not below dn */
        size_t middle = low + (high - low) / 2;
        const gnutls_datum_t *at = &trust->by_dn[middle]->dn;

        if (dn_compare(at->data, at->size, dn, dn_len) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (index >= trust->count - low)
        return NULL;
    return dn_compare(trust->by_dn[low + index]->dn.data, trust->by_dn[low + index]->dn.size, dn,
                      dn_len) == 0
               ? trust->by_dn[low + index]->crt
               : NULL;
}
