#include "common/tls_cred_impl.h"

#include "common/file.h"

#include <gnutls/crypto.h>
#include <gnutls/pkcs12.h>
#include <string.h>

#define FILE_MAX_LEN (1024 * 1024)

/* One file on its way into the parts. */
struct reading {
    const struct sp_tls_cred_source *source;
    struct sp_tls_cred_parts *parts;
    const char *password; /* NULL: that of a file without one, as some programs write it */
    unsigned keys;
};

static enum sp_err cannot(struct sp_error *err, int tls, const char *what)
{
    return sp_error_code(err, SP_ERR_CONFIG, tls, "%s: %s", what, gnutls_strerror(tls));
}

static enum sp_err take_key(struct reading *reading, const gnutls_datum_t *der, bool encrypted,
                            struct sp_error *err)
{
    gnutls_x509_privkey_t key;
    enum sp_err rc = SP_OK;
    int tls;

    /* Counted to the end, so that the message has the number. */
    if (reading->keys++ > 0)
        return SP_OK;
    SP_REQUIRE(gnutls_x509_privkey_init(&key) == 0);
    tls = gnutls_x509_privkey_import_pkcs8(key, der, GNUTLS_X509_FMT_DER, reading->password,
                                           encrypted ? 0 : GNUTLS_PKCS_PLAIN);
    if (tls >= 0)
        tls = sp_tls_cred_parts_set_key(reading->parts, key);
    gnutls_x509_privkey_deinit(key); /* wiped by GnuTLS */
    if (tls < 0)
        rc = cannot(err, tls, "the private key in it cannot be read");
    return rc;
}

static enum sp_err take_certificate(struct reading *reading, const gnutls_datum_t *der,
                                    struct sp_error *err)
{
    gnutls_x509_crt_t crt;
    int tls;

    if (reading->parts->count == SP_TLS_CERTS_READ_MAX)
        return sp_error_set(err, SP_ERR_CONFIG, "more than %d certificates are in it",
                            SP_TLS_CERTS_READ_MAX);
    SP_REQUIRE(gnutls_x509_crt_init(&crt) == 0);
    tls = gnutls_x509_crt_import(crt, der, GNUTLS_X509_FMT_DER);
    if (tls < 0) {
        gnutls_x509_crt_deinit(crt);
        return cannot(err, tls, "a certificate in it cannot be read");
    }
    sp_tls_cred_parts_add(reading->parts, crt);
    return SP_OK;
}

static enum sp_err take_elements(struct reading *reading, gnutls_pkcs12_bag_t bag,
                                 struct sp_error *err)
{
    int count = gnutls_pkcs12_bag_get_count(bag);
    enum sp_err rc = SP_OK;

    for (int i = 0; i < count && rc == SP_OK; i++) {
        int type = gnutls_pkcs12_bag_get_type(bag, (unsigned)i);
        gnutls_datum_t der = {NULL, 0};

        if (gnutls_pkcs12_bag_get_data(bag, (unsigned)i, &der) < 0)
            continue;
        if (type == GNUTLS_BAG_CERTIFICATE)
            rc = take_certificate(reading, &der, err);
        else if (type == GNUTLS_BAG_PKCS8_KEY || type == GNUTLS_BAG_PKCS8_ENCRYPTED_KEY)
            rc = take_key(reading, &der, type == GNUTLS_BAG_PKCS8_ENCRYPTED_KEY, err);
        /* The bag is freed as it is, and a key may stand in it in clear. */
        if (type == GNUTLS_BAG_PKCS8_KEY)
            gnutls_memset(der.data, 0, der.size);
    }
    return rc;
}

static enum sp_err take_bags(struct reading *reading, gnutls_pkcs12_t p12, struct sp_error *err)
{
    enum sp_err rc = SP_OK;

    for (int i = 0; rc == SP_OK; i++) {
        gnutls_pkcs12_bag_t bag;
        int tls;

        SP_REQUIRE(gnutls_pkcs12_bag_init(&bag) == 0);
        tls = gnutls_pkcs12_get_bag(p12, i, bag);
        if (tls >= 0 && gnutls_pkcs12_bag_get_type(bag, 0) == GNUTLS_BAG_ENCRYPTED)
            tls = gnutls_pkcs12_bag_decrypt(bag, reading->password);
        if (tls >= 0)
            rc = take_elements(reading, bag, err);
        gnutls_pkcs12_bag_deinit(bag);
        if (tls == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
            break;
        if (tls < 0)
            rc = cannot(err, tls, "a part of it cannot be decrypted with this password");
    }
    return rc;
}

/* A file without a password is made in two ways: with an empty one and with none at all. */
static int verify(struct reading *reading, gnutls_pkcs12_t p12, const struct sp_tls_secret *secret)
{
    int tls;

    reading->password = secret->text;
    tls = gnutls_pkcs12_verify_mac(p12, secret->text);
    if (tls == GNUTLS_E_ASN1_ELEMENT_NOT_FOUND)
        return 0; /* it has none: as good as PEM, and the key is asked for its certificate anyway */
    if (tls != GNUTLS_E_MAC_VERIFY_FAILED || secret->text[0])
        return tls;
    reading->password = NULL;
    return gnutls_pkcs12_verify_mac(p12, NULL);
}

static enum sp_err take_all(struct reading *reading, gnutls_pkcs12_t p12,
                            const struct sp_tls_secret *secret, struct sp_error *err)
{
    int tls = verify(reading, p12, secret);
    enum sp_err rc;

    if (tls == GNUTLS_E_MAC_VERIFY_FAILED && secret->there)
        return sp_error_code(err, SP_ERR_CONFIG, tls, "the password in '%s' is not this file's",
                             reading->source->password_file);
    if (tls == GNUTLS_E_MAC_VERIFY_FAILED)
        return sp_error_code(err, SP_ERR_CONFIG, tls,
                             "is protected by a password; wanted is \"password_file\" with it");
    if (tls < 0)
        return cannot(err, tls, "its integrity cannot be verified");
    rc = take_bags(reading, p12, err);
    if (rc != SP_OK)
        return rc;
    if (reading->keys == 0)
        return sp_error_set(err, SP_ERR_CONFIG, "no private key in it");
    if (reading->keys > 1)
        return sp_error_set(err, SP_ERR_CONFIG,
                            "%u private keys in it; wanted is one, so that it is clear whose this "
                            "is",
                            reading->keys);
    if (reading->parts->count == 0)
        return sp_error_set(err, SP_ERR_CONFIG, "no certificate in it");
    return SP_OK;
}

static enum sp_err parse(struct reading *reading, const struct sp_file *file,
                         const struct sp_tls_secret *secret, struct sp_error *err)
{
    gnutls_datum_t der = {file->data, (unsigned)file->len};
    gnutls_pkcs12_t p12;
    enum sp_err rc;
    int tls;

    SP_REQUIRE(gnutls_pkcs12_init(&p12) == 0);
    tls = gnutls_pkcs12_import(p12, &der, GNUTLS_X509_FMT_DER, 0);
    rc = tls < 0 ? cannot(err, tls, "is no PKCS#12 file") : take_all(reading, p12, secret, err);
    gnutls_pkcs12_deinit(p12);
    return rc;
}

enum sp_err sp_tls_pkcs12_read(const struct sp_tls_cred_source *source,
                               struct sp_tls_cred_parts *parts, enum sp_tls_cred_part *ret_part,
                               struct sp_error *err)
{
    struct reading reading = {.source = source, .parts = parts};
    struct sp_tls_secret secret = {.there = false};
    struct sp_file file = {0};
    enum sp_err rc = sp_tls_secret_read(source->password_file, &secret, err);

    *ret_part = SP_CRED_PASSWORD_FILE;
    if (rc != SP_OK)
        return rc;
    *ret_part = SP_CRED_PKCS12;
    rc = sp_file_read(source->pkcs12, FILE_MAX_LEN, &file, err);
    if (rc == SP_OK) {
        rc = sp_tls_check_private(&file, "the file with the private key", err);
        if (rc == SP_OK)
            rc = parse(&reading, &file, &secret, err);
        if (rc != SP_OK)
            sp_error_where(err, "%s", source->pkcs12);
    }
    sp_tls_secret_done(&secret);
    sp_file_done(&file); /* wiped */
    return rc;
}
