#include "common/tls_cred_impl.h"

#include "common/file.h"

#include <gnutls/crypto.h>
#include <string.h>

#define CERT_FILE_MAX (1024 * 1024)
#define KEY_FILE_MAX  (256 * 1024)

/* ---- who else may read it ---- */

/* A key that others can read is no secret any more. 0640 is how a distribution gives a service's
 * group its key, which is safe only when nobody but root could have chosen that group. */
static bool mode_is_private(unsigned mode, unsigned owner)
{
    unsigned others = mode & 077;

    return others == 0 || (others == 040 && owner == 0);
}

enum sp_err sp_tls_check_private(const struct sp_file *file, const char *what, struct sp_error *err)
{
    if (mode_is_private(file->mode, file->owner))
        return SP_OK;
    return sp_error_set(err, SP_ERR_CONFIG,
                        "%s can be read by others: its mode is %04o, wanted is 0600 or 0400 (0640 "
                        "when root owns it)",
                        what, file->mode);
}

bool sp_tls_cred_seems_loadable(const struct sp_file_look *certificate,
                                const struct sp_file_look *key)
{
    return certificate->may_read && key->may_read && mode_is_private(key->mode, key->owner);
}

/* ---- passwords ---- */

static enum sp_err take_line(const struct sp_file *file, struct sp_tls_secret *secret,
                             struct sp_error *err)
{
    size_t len = file->len;
    enum sp_err rc = sp_tls_check_private(file, "the password", err);

    if (rc != SP_OK)
        return rc;
    if (len && file->data[len - 1] == '\n')
        len--;
    if (len && file->data[len - 1] == '\r')
        len--;
    if (memchr(file->data, '\n', len) || memchr(file->data, '\0', len))
        return sp_error_set(err, SP_ERR_CONFIG,
                            "has more than one line, or a NUL; wanted is the password alone, on "
                            "one line");
    if (len > SP_TLS_SECRET_MAX)
        return sp_error_set(err, SP_ERR_CONFIG, "is too long for a password: %d bytes at most",
                            SP_TLS_SECRET_MAX);
    memcpy(secret->text, file->data, len);
    secret->text[len] = '\0';
    secret->there = true;
    return SP_OK;
}

enum sp_err sp_tls_secret_read(const char *path, struct sp_tls_secret *ret_secret,
                               struct sp_error *err)
{
    struct sp_file file = {0};
    enum sp_err rc;

    ret_secret->there = false;
    if (!path)
        return SP_OK;
    rc = sp_file_read(path, SP_TLS_SECRET_MAX + 2, &file, err);
    if (rc != SP_OK)
        return rc;
    rc = take_line(&file, ret_secret, err);
    sp_file_done(&file); /* wiped */
    if (rc != SP_OK)
        sp_error_where(err, "%s", path);
    return rc;
}

void sp_tls_secret_done(struct sp_tls_secret *secret)
{
    gnutls_memset(secret, 0, sizeof *secret);
}

/* ---- PEM ---- */

static enum sp_err read_certificates(const char *path, struct sp_tls_cred_parts *parts,
                                     struct sp_error *err)
{
    struct sp_file file = {0};
    enum sp_err rc = sp_file_read(path, CERT_FILE_MAX, &file, err);
    gnutls_x509_crt_t *crts = NULL;
    unsigned count = 0;
    gnutls_datum_t pem;
    int tls;

    if (rc != SP_OK)
        return rc;
    pem.data = file.data;
    pem.size = (unsigned)file.len;
    tls = gnutls_x509_crt_list_import2(&crts, &count, &pem, GNUTLS_X509_FMT_PEM, 0);
    sp_file_done(&file);
    if (tls == GNUTLS_E_NO_CERTIFICATE_FOUND || (tls >= 0 && count == 0))
        rc = sp_error_set(err, SP_ERR_CONFIG, "no certificate in it; wanted is PEM");
    else if (tls < 0)
        rc = sp_error_code(err, SP_ERR_CONFIG, tls, "a certificate in it cannot be read: %s",
                           gnutls_strerror(tls));
    if (rc != SP_OK) {
        sp_error_where(err, "%s", path);
        return rc;
    }
    for (unsigned i = 0; i < count; i++)
        sp_tls_cred_parts_add(parts, crts[i]);
    gnutls_free(crts);
    return SP_OK;
}

static bool key_is_encrypted(const struct sp_file *file)
{
    return memmem(file->data, file->len, "BEGIN ENCRYPTED PRIVATE KEY", 27) ||
           memmem(file->data, file->len, "Proc-Type: 4,ENCRYPTED", 22);
}

static enum sp_err check_key_file(const struct sp_file *file,
                                  const struct sp_tls_cred_source *source, struct sp_error *err)
{
    enum sp_err rc = sp_tls_check_private(file, "the private key", err);

    if (rc != SP_OK)
        return rc;
    if (key_is_encrypted(file) && !source->password_file)
        return sp_error_set(err, SP_ERR_CONFIG,
                            "the private key is encrypted with a passphrase; wanted is a key "
                            "without one, protected by its file mode%s",
                            source->plain ? "" : ", or \"password_file\" with its passphrase");
    if (!memmem(file->data, file->len, "PRIVATE KEY-----", 16))
        return sp_error_set(err, SP_ERR_CONFIG, "no private key in it; wanted is PEM");
    return SP_OK;
}

/* `secret` opens it, where it is encrypted. */
static enum sp_err parse_key(const struct sp_file *file, const struct sp_tls_cred_source *source,
                             const struct sp_tls_secret *secret, struct sp_tls_cred_parts *parts,
                             struct sp_error *err)
{
    gnutls_datum_t pem = {file->data, (unsigned)file->len};
    bool encrypted = key_is_encrypted(file);
    gnutls_x509_privkey_t key;
    int tls;

    SP_REQUIRE(gnutls_x509_privkey_init(&key) == 0);
    tls =
        gnutls_x509_privkey_import2(key, &pem, GNUTLS_X509_FMT_PEM, encrypted ? secret->text : NULL,
                                    encrypted ? 0 : GNUTLS_PKCS_PLAIN);
    if (tls >= 0)
        tls = sp_tls_cred_parts_set_key(parts, key);
    gnutls_x509_privkey_deinit(key); /* wiped by GnuTLS */
    if (tls >= 0)
        return SP_OK;
    /* A wrong password is seen by what comes out: not always the same kind of nonsense. */
    if (encrypted)
        return sp_error_code(err, SP_ERR_CONFIG, tls,
                             "the private key cannot be decrypted with the password in '%s': %s",
                             source->password_file, gnutls_strerror(tls));
    return sp_error_code(err, SP_ERR_CONFIG, tls, "the private key cannot be read: %s",
                         gnutls_strerror(tls));
}

static enum sp_err read_key(const struct sp_tls_cred_source *source,
                            struct sp_tls_cred_parts *parts, enum sp_tls_cred_part *part,
                            struct sp_error *err)
{
    struct sp_tls_secret secret = {.there = false};
    struct sp_file file = {0};
    enum sp_err rc = sp_file_read(source->private_key, KEY_FILE_MAX, &file, err);

    if (rc != SP_OK)
        return rc;
    rc = check_key_file(&file, source, err);
    if (rc == SP_OK && key_is_encrypted(&file)) {
        rc = sp_tls_secret_read(source->password_file, &secret, err);
        if (rc != SP_OK) {
            *part = SP_CRED_PASSWORD_FILE;
            sp_file_done(&file);
            return rc;
        }
    }
    if (rc == SP_OK)
        rc = parse_key(&file, source, &secret, parts, err);
    sp_tls_secret_done(&secret);
    sp_file_done(&file); /* wiped: it held the key */
    if (rc != SP_OK)
        sp_error_where(err, "%s", source->private_key);
    return rc;
}

/* ---- all kinds ---- */

static enum sp_err read_pair(const struct sp_tls_cred_source *source,
                             struct sp_tls_cred_parts *parts, enum sp_tls_cred_part *part,
                             struct sp_error *err)
{
    bool is_token = !source->plain && sp_tls_cred_is_uri(source->private_key);
    bool is_in_token = !source->plain && sp_tls_cred_is_uri(source->certificate);
    enum sp_err rc = SP_OK;

    *part = SP_CRED_CERTIFICATE;
    if (!is_in_token)
        rc = read_certificates(source->certificate, parts, err);
    if (rc != SP_OK)
        return rc;
    *part = SP_CRED_PRIVATE_KEY;
    rc =
        is_token ? sp_tls_pkcs11_key(source, parts, part, err) : read_key(source, parts, part, err);
    if (rc != SP_OK || !is_in_token)
        return rc;
    *part = SP_CRED_CERTIFICATE;
    return sp_tls_pkcs11_certificates(source, parts, part, err);
}

enum sp_err sp_tls_cred_load_source(const struct sp_tls_cred_source *source,
                                    struct sp_tls_cred **ret_cred, enum sp_tls_cred_part *ret_part,
                                    struct sp_error *err)
{
    struct sp_tls_cred_parts parts = {0};
    enum sp_tls_cred_part part = SP_CRED_PKCS12;
    enum sp_err rc = source->pkcs12 ? sp_tls_pkcs12_read(source, &parts, &part, err)
                                    : read_pair(source, &parts, &part, err);

    if (rc == SP_OK) {
        part = source->pkcs12 ? SP_CRED_PKCS12 : SP_CRED_PRIVATE_KEY;
        rc = sp_tls_cred_new(&parts, source->pkcs12 ? source->pkcs12 : source->certificate,
                             ret_cred, err);
        if (rc != SP_OK)
            sp_error_where(err, "%s", source->pkcs12 ? source->pkcs12 : source->private_key);
    }
    sp_tls_cred_parts_done(&parts);
    if (rc != SP_OK && ret_part)
        *ret_part = part;
    return rc;
}

enum sp_err sp_tls_cred_load(const char *certificate_path, const char *key_path,
                             struct sp_tls_cred **ret_cred, struct sp_error *err)
{
    const struct sp_tls_cred_source source = {
        .certificate = certificate_path, .private_key = key_path, .plain = true};

    return sp_tls_cred_load_source(&source, ret_cred, NULL, err);
}
