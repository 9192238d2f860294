#include "common/tls_cred_impl.h"

#include "common/clock.h"

#include <gnutls/crypto.h>
#include <gnutls/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCHEME     "pkcs11:"
#define TOKENS_MAX 64 /* looked at for a message */

bool sp_tls_cred_is_uri(const char *text)
{
    return !strncmp(text, SCHEME, strlen(SCHEME));
}

/* Whether the URI (RFC 7512) has this attribute. */
static bool has_attribute(const char *uri, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = uri + strlen(SCHEME); *at; at += strspn(at, ";?&")) {
        if (!strncmp(at, name, len) && at[len] == '=')
            return true;
        at += strcspn(at, ";?&");
    }
    return false;
}

enum sp_err sp_tls_cred_check_uri(const char *text, struct sp_error *err)
{
    if (sp_tls_cred_is_uri(text) &&
        (has_attribute(text, "pin-value") || has_attribute(text, "pin-source")))
        return sp_error_set(err, SP_ERR_CONFIG,
                            "the PIN does not belong into the URI, which is shown in messages; "
                            "wanted is \"pin_file\" with it");
    return SP_OK;
}

/* ---- the PIN ---- */

/* The file is read each time the token wants its PIN: at loading, and when it was pulled out and
 * put back. So no PIN stays in memory. */
struct sp_tls_pin {
    char *path; /* NULL: there is none */
    enum { PIN_FINE, PIN_NO_FILE, PIN_UNREADABLE, PIN_WRONG, PIN_LAST_TRY } state;
    struct sp_error why; /* PIN_UNREADABLE */
};

void sp_tls_pin_free(struct sp_tls_pin *pin)
{
    if (!pin)
        return;
    free(pin->path);
    free(pin);
}

/* A token locks itself after a few wrong PINs: never the same twice, and never the last try. */
static int on_pin(void *ctx, int attempt, const char *token_url, const char *token_label,
                  unsigned flags, char *ret_pin, size_t pin_max)
{
    struct sp_tls_pin *pin = ctx;
    struct sp_tls_secret secret;
    bool fits;

    (void)token_url;
    (void)token_label;
    pin->state = PIN_FINE;
    if (!pin->path)
        pin->state = PIN_NO_FILE;
    else if (attempt > 0 || flags & GNUTLS_PIN_WRONG)
        pin->state = PIN_WRONG;
    else if (flags & GNUTLS_PIN_FINAL_TRY)
        pin->state = PIN_LAST_TRY;
    else if (sp_tls_secret_read(pin->path, &secret, &pin->why) != SP_OK)
        pin->state = PIN_UNREADABLE;
    if (pin->state != PIN_FINE)
        return GNUTLS_E_PKCS11_PIN_ERROR;
    fits = strlen(secret.text) < pin_max;
    if (fits)
        memcpy(ret_pin, secret.text, strlen(secret.text) + 1);
    else
        pin->state = PIN_WRONG;
    sp_tls_secret_done(&secret);
    return fits ? 0 : GNUTLS_E_PKCS11_PIN_ERROR;
}

/* ---- what went wrong ---- */

/* "'lab', 'yubikey'"; or "none". */
static const char *list_tokens(char *buf, size_t size)
{
    size_t used = 0;

    for (unsigned i = 0; i < TOKENS_MAX && used < size; i++) {
        char label[64];
        size_t len = sizeof label;
        char *url = NULL;
        int tls = gnutls_pkcs11_token_get_url(i, 0, &url);

        if (tls < 0)
            break;
        if (gnutls_pkcs11_token_get_info(url, GNUTLS_PKCS11_TOKEN_LABEL, label, &len) >= 0)
            used += (size_t)snprintf(buf + used, size - used, "%s'%.*s'", used ? ", " : "",
                                     (int)sizeof label, label);
        gnutls_free(url);
    }
    if (!used)
        snprintf(buf, size, "none");
    return buf;
}

static bool token_is_there(const char *uri)
{
    unsigned flags;

    return gnutls_pkcs11_token_get_flags(uri, &flags) >= 0;
}

static enum sp_err say_missing(const char *uri, const char *what, int tls, struct sp_error *err)
{
    char tokens[200];

    if (!token_is_there(uri))
        return sp_error_code(err, SP_ERR_CONFIG, tls, "no such token is there; those that are: %s",
                             list_tokens(tokens, sizeof tokens));
    return sp_error_code(err, SP_ERR_CONFIG, tls, "the token has no such %s", what);
}

/* .where and *ret_part are those of the PIN file, where that is to blame. */
static enum sp_err say_pin(const struct sp_tls_cred_source *source, const struct sp_tls_pin *pin,
                           int tls, enum sp_tls_cred_part *ret_part, struct sp_error *err)
{
    switch (pin->state) {
    case PIN_NO_FILE:
        return sp_error_code(err, SP_ERR_CONFIG, tls,
                             "the token wants a PIN; wanted is \"pin_file\" with it");
    case PIN_UNREADABLE:
        if (err)
            *err = pin->why;
        break;
    case PIN_LAST_TRY:
        sp_error_code(err, SP_ERR_CONFIG, tls,
                      "the token takes one more wrong PIN before it locks itself, so this one was "
                      "not tried; log in to it once with another program");
        break;
    case PIN_FINE:
    case PIN_WRONG:
        sp_error_code(err, SP_ERR_CONFIG, tls, "the PIN in it is not the token's: %s",
                      gnutls_strerror(tls));
        break;
    }
    *ret_part = SP_CRED_PIN_FILE;
    sp_error_where(err, "%s", source->pin_file);
    return SP_ERR_CONFIG;
}

static enum sp_err say_why(const struct sp_tls_cred_source *source, const struct sp_tls_pin *pin,
                           int tls, enum sp_tls_cred_part *ret_part, struct sp_error *err)
{
    if (pin->state != PIN_FINE || (tls == GNUTLS_E_PKCS11_PIN_ERROR && source->pin_file))
        return say_pin(source, pin, tls, ret_part, err);
    if (tls == GNUTLS_E_PKCS11_PIN_LOCKED)
        return sp_error_code(err, SP_ERR_CONFIG, tls, "the token is locked: %s",
                             gnutls_strerror(tls));
    if (tls == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE ||
        tls == GNUTLS_E_PKCS11_REQUESTED_OBJECT_NOT_AVAILBLE)
        return say_missing(source->private_key, "private key", tls, err);
    return sp_error_code(err, SP_ERR_CONFIG, tls, "the token's key cannot be used: %s",
                         gnutls_strerror(tls));
}

/* ---- the key ---- */

/* Without a module GnuTLS loads what p11-kit knows at the first URI that it sees; until then, no
 * library of a token is in the process. */
static enum sp_err load_module(const struct sp_tls_cred_source *source,
                               enum sp_tls_cred_part *ret_part, struct sp_error *err)
{
    int tls;

    if (!source->pkcs11_module)
        return SP_OK;
    tls = gnutls_pkcs11_init(GNUTLS_PKCS11_FLAG_MANUAL, NULL);
    if (tls >= 0)
        tls = gnutls_pkcs11_add_provider(source->pkcs11_module, NULL); /* once, however often */
    if (tls >= 0)
        return SP_OK;
    *ret_part = SP_CRED_PKCS11_MODULE;
    sp_error_code(err, SP_ERR_CONFIG, tls, "cannot be loaded as a PKCS#11 library: %s",
                  gnutls_strerror(tls));
    sp_error_where(err, "%s", source->pkcs11_module);
    return SP_ERR_CONFIG;
}

static void free_objects(gnutls_pkcs11_obj_t *objects, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        gnutls_pkcs11_obj_deinit(objects[i]);
    gnutls_free(objects);
}

/* GnuTLS takes the first that fits. Once the key is there the token is open, so that all are seen.
 */
static enum sp_err check_only(const char *uri, struct sp_error *err)
{
    gnutls_pkcs11_obj_t *objects = NULL;
    unsigned count = 0;
    int tls =
        gnutls_pkcs11_obj_list_import_url4(&objects, &count, uri, GNUTLS_PKCS11_OBJ_FLAG_PRIVKEY);

    if (tls < 0)
        return SP_OK;
    free_objects(objects, count);
    if (count <= 1)
        return SP_OK;
    return sp_error_set(err, SP_ERR_CONFIG,
                        "%u private keys of the token fit; wanted is a URI that names one, by "
                        "\"object\" (its label), \"id\" or both",
                        count);
}

static enum sp_err import_key(const struct sp_tls_cred_source *source,
                              struct sp_tls_cred_parts *parts, enum sp_tls_cred_part *ret_part,
                              struct sp_error *err)
{
    const char *uri = source->private_key;
    int tls;

    if (!has_attribute(uri, "object") && !has_attribute(uri, "id"))
        return sp_error_set(err, SP_ERR_CONFIG,
                            "names no key; wanted is one by \"object\" (its label) or \"id\", as "
                            "in pkcs11:token=work;object=laptop");
    parts->pin = sp_calloc(1, sizeof *parts->pin);
    parts->pin->path = source->pin_file ? sp_strdup(source->pin_file) : NULL;
    SP_REQUIRE(gnutls_privkey_init(&parts->key) == 0);
    gnutls_privkey_set_pin_function(parts->key, on_pin, parts->pin);
    tls = gnutls_privkey_import_url(parts->key, uri, 0);
    if (tls < 0)
        return say_why(source, parts->pin, tls, ret_part, err);
    return check_only(uri, err);
}

enum sp_err sp_tls_pkcs11_key(const struct sp_tls_cred_source *source,
                              struct sp_tls_cred_parts *parts, enum sp_tls_cred_part *ret_part,
                              struct sp_error *err)
{
    enum sp_err rc = load_module(source, ret_part, err);

    if (rc != SP_OK)
        return rc;
    rc = import_key(source, parts, ret_part, err);
    if (rc != SP_OK && *ret_part != SP_CRED_PIN_FILE)
        sp_error_where(err, "%s", source->private_key);
    return rc;
}

/* ---- certificates ---- */

static bool is_better(gnutls_x509_crt_t a, gnutls_x509_crt_t b, int64_t now)
{
    int64_t a_from = gnutls_x509_crt_get_activation_time(a);
    int64_t b_from = gnutls_x509_crt_get_activation_time(b);
    bool a_valid = a_from <= now && now <= gnutls_x509_crt_get_expiration_time(a);
    bool b_valid = b_from <= now && now <= gnutls_x509_crt_get_expiration_time(b);

    return a_valid != b_valid ? a_valid : a_from > b_from;
}

/* A token keeps the certificate of before a renewal, of the same key: the first that fits the key
 * counts, so the best come first. */
static void sort_best_first(struct sp_tls_cred_parts *parts)
{
    int64_t now = sp_clock_wall_s();

    for (unsigned i = 1; i < parts->count; i++) {
        gnutls_x509_crt_t crt = parts->crts[i];
        unsigned k = i;

        for (; k > 0 && is_better(crt, parts->crts[k - 1], now); k--)
            parts->crts[k] = parts->crts[k - 1];
        parts->crts[k] = crt;
    }
}

/* One object, if it is wanted. */
static enum sp_err import_object(gnutls_pkcs11_obj_t object, bool only_ca,
                                 struct sp_tls_cred_parts *parts, struct sp_error *err)
{
    gnutls_x509_crt_t crt;
    int tls;

    SP_REQUIRE(gnutls_x509_crt_init(&crt) == 0);
    tls = gnutls_x509_crt_import_pkcs11(crt, object);
    if (tls < 0 || (only_ca && gnutls_x509_crt_get_ca_status(crt, NULL) <= 0)) {
        gnutls_x509_crt_deinit(crt);
        if (tls >= 0 || only_ca)
            return SP_OK;
        return sp_error_code(err, SP_ERR_CONFIG, tls,
                             "a certificate of the token cannot be read: %s", gnutls_strerror(tls));
    }
    sp_tls_cred_parts_add(parts, crt);
    return SP_OK;
}

static enum sp_err import_objects(const char *uri, bool only_ca, struct sp_tls_cred_parts *parts,
                                  struct sp_error *err)
{
    gnutls_pkcs11_obj_t *objects = NULL;
    unsigned count = 0;
    int tls = gnutls_pkcs11_obj_list_import_url4(&objects, &count, uri, GNUTLS_PKCS11_OBJ_FLAG_CRT);
    enum sp_err rc = SP_OK;

    if (tls < 0 || !count)
        return only_ca ? SP_OK : say_missing(uri, "certificate", tls, err);
    if (count > SP_TLS_CERTS_READ_MAX)
        rc = sp_error_set(err, SP_ERR_CONFIG, "%u certificates of the token fit, %d at most", count,
                          SP_TLS_CERTS_READ_MAX);
    for (unsigned i = 0; i < count && rc == SP_OK; i++)
        rc = import_object(objects[i], only_ca, parts, err);
    free_objects(objects, count);
    return rc;
}

/* The same token, whatever object of it was named. */
static char *token_of(const char *uri)
{
    static const char *const of_object[] = {"object=", "id=", "type=", NULL};
    char *token = sp_calloc(strlen(uri) + 1, 1);
    size_t used = strlen(SCHEME);

    memcpy(token, SCHEME, used);
    for (const char *at = uri + used; *at && *at != '?'; at += *at == ';') {
        size_t len = strcspn(at, ";?");
        bool keep = len > 0;

        for (size_t i = 0; of_object[i]; i++)
            keep = keep && strncmp(at, of_object[i], strlen(of_object[i])) != 0;
        if (keep) {
            if (used > strlen(SCHEME))
                token[used++] = ';';
            memcpy(token + used, at, len);
            used += len;
        }
        at += len;
    }
    return token;
}

enum sp_err sp_tls_pkcs11_certificates(const struct sp_tls_cred_source *source,
                                       struct sp_tls_cred_parts *parts,
                                       enum sp_tls_cred_part *ret_part, struct sp_error *err)
{
    SP_AUTO_FREE char *token = token_of(source->certificate);
    enum sp_err rc = load_module(source, ret_part, err);

    if (rc != SP_OK)
        return rc;
    rc = import_objects(source->certificate, false, parts, err);
    if (rc == SP_OK)
        sort_best_first(parts);
    /* What stands above the leaf are objects with names of their own. */
    if (rc == SP_OK)
        rc = import_objects(token, true, parts, err);
    if (rc != SP_OK)
        sp_error_where(err, "%s", source->certificate);
    return rc;
}

void sp_tls_pkcs11_end(void)
{
    gnutls_pkcs11_deinit();
}
