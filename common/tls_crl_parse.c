#include "common/tls_crl_parse.h"

#include "common/tls_der.h"

#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PEM_BEGIN    "-----BEGIN X509 CRL-----"
#define PEM_END      "-----END X509 CRL-----"
#define HASH_LEN_MIN 32 /* SHA-256 */
#define DIGEST_MAX   64
#define CAUSE_MAX    10

static enum sp_err broken(struct sp_error *err, const char *where)
{
    return sp_error_set(err, SP_ERR_CONFIG, "a CRL in it cannot be read: %s is malformed", where);
}

/* ---- entries ---- */

static int entry_order(const void *a, const void *b)
{
    const struct sp_tls_crl_entry *x = a;
    const struct sp_tls_crl_entry *y = b;

    if (x->len != y->len)
        return x->len - y->len;
    return memcmp(x->serial, y->serial, x->len);
}

/* An entry's critical extension that is not known makes the list unfit (RFC 5280 5.3): it may say
 * that the entry is about another issuer's certificate. */
static enum sp_err parse_entry_extensions(struct sp_tls_der *rest, struct sp_tls_crl_entry *entry,
                                          struct sp_error *err)
{
    struct sp_tls_der list, oid, value, cause;
    char text[64];
    bool critical;

    if (!sp_tls_der_take(rest, SP_TLS_DER_SEQUENCE, &list, NULL) || sp_tls_der_len(rest))
        return broken(err, "an entry's extensions");
    while (sp_tls_der_len(&list)) {
        if (!sp_tls_der_take_extension(&list, &oid, &critical, &value))
            return broken(err, "an entry's extension");
        if (sp_tls_der_standard_oid(&oid) == 21) {
            if (!sp_tls_der_take(&value, SP_TLS_DER_ENUMERATED, &cause, NULL) ||
                sp_tls_der_len(&cause) != 1)
                return broken(err, "an entry's reason code");
            entry->cause = cause.at[0] <= CAUSE_MAX ? cause.at[0] : 0;
        } else if (sp_tls_der_standard_oid(&oid) == 29) {
            return sp_error_set(err, SP_ERR_CONFIG,
                                "a CRL in it is an indirect one (an entry has certificateIssuer), "
                                "which is not supported; wanted is the issuer's own CRL");
        } else if (critical) {
            sp_tls_der_oid_text(&oid, text, sizeof text);
            return sp_error_set(err, SP_ERR_CONFIG,
                                "a CRL in it has an entry with the critical extension %s, which is "
                                "not known",
                                text);
        }
    }
    return SP_OK;
}

static enum sp_err parse_entry(struct sp_tls_der *list, struct sp_tls_crl_entry *entry,
                               struct sp_error *err)
{
    struct sp_tls_der one, serial;

    if (!sp_tls_der_take(list, SP_TLS_DER_SEQUENCE, &one, NULL) ||
        !sp_tls_der_take(&one, SP_TLS_DER_INTEGER, &serial, NULL) || !sp_tls_der_len(&serial))
        return broken(err, "an entry");
    while (sp_tls_der_len(&serial) > 1 && !serial.at[0])
        serial.at++;
    if (sp_tls_der_len(&serial) > SP_TLS_CRL_SERIAL_MAX)
        return sp_error_set(err, SP_ERR_CONFIG,
                            "a CRL in it has a serial number of %zu bytes; %d are the most",
                            sp_tls_der_len(&serial), SP_TLS_CRL_SERIAL_MAX);
    memset(entry, 0, sizeof *entry);
    entry->len = (uint8_t)sp_tls_der_len(&serial);
    memcpy(entry->serial, serial.at, entry->len);
    if (!sp_tls_der_take_time(&one, &entry->revoked_at))
        return broken(err, "an entry's revocation date");
    return sp_tls_der_len(&one) ? parse_entry_extensions(&one, entry, err) : SP_OK;
}

static enum sp_err parse_entries(struct sp_tls_der list, struct sp_tls_crl *crl,
                                 struct sp_error *err)
{
    struct sp_tls_der walk = list, one;
    size_t count = 0;
    enum sp_err rc;

    for (; sp_tls_der_len(&walk); count++) {
        if (!sp_tls_der_take(&walk, SP_TLS_DER_SEQUENCE, &one, NULL))
            return broken(err, "the list of entries");
    }
    if (!count)
        return SP_OK;
    crl->entries = calloc(count, sizeof *crl->entries);
    if (!crl->entries)
        return sp_error_set(err, SP_ERR_MEMORY, "no memory for its %zu entries", count);
    while (crl->count < count) {
        rc = parse_entry(&list, &crl->entries[crl->count++], err);
        if (rc != SP_OK)
            return rc;
    }
    qsort(crl->entries, count, sizeof *crl->entries, entry_order);
    return SP_OK;
}

const struct sp_tls_crl_entry *sp_tls_crl_find(const struct sp_tls_crl *crl, const uint8_t *serial,
                                               size_t len)
{
    struct sp_tls_crl_entry key = {.len = 0};

    while (len > 1 && !serial[0]) {
        serial++;
        len--;
    }
    if (len > SP_TLS_CRL_SERIAL_MAX || !crl->count)
        return NULL;
    key.len = (uint8_t)len;
    memcpy(key.serial, serial, len);
    return bsearch(&key, crl->entries, crl->count, sizeof key, entry_order);
}

/* ---- a list ---- */

/* A list that speaks of a part of the certificates only must not pass for the whole. */
static enum sp_err refuse_partial(struct sp_tls_der value, struct sp_error *err)
{
    struct sp_tls_der point;
    bool indirect = false;

    if (!sp_tls_der_take(&value, SP_TLS_DER_SEQUENCE, &point, NULL))
        return broken(err, "issuingDistributionPoint");
    while (sp_tls_der_len(&point)) {
        struct sp_tls_der field;
        bool is_flag = sp_tls_der_is(&point, SP_TLS_DER_INDIRECT_CRL);

        if (!sp_tls_der_take(&point, point.at[0], &field, NULL))
            return broken(err, "issuingDistributionPoint");
        indirect |= is_flag && sp_tls_der_len(&field) == 1 && field.at[0];
    }
    return sp_error_set(err, SP_ERR_CONFIG,
                        indirect ? "a CRL in it is an indirect one (issuingDistributionPoint), "
                                   "which is not supported; wanted is the issuer's own CRL"
                                 : "a CRL in it is for one distribution point or one kind of "
                                   "certificate only (issuingDistributionPoint), which is not "
                                   "supported; wanted is the issuer's complete CRL");
}

static enum sp_err parse_extensions(struct sp_tls_der field, struct sp_error *err)
{
    struct sp_tls_der list, oid, value;
    char text[64];
    bool critical;

    if (!sp_tls_der_take(&field, SP_TLS_DER_SEQUENCE, &list, NULL) || sp_tls_der_len(&field))
        return broken(err, "its extensions");
    while (sp_tls_der_len(&list)) {
        if (!sp_tls_der_take_extension(&list, &oid, &critical, &value))
            return broken(err, "an extension");
        if (sp_tls_der_standard_oid(&oid) == 27)
            return sp_error_set(err, SP_ERR_CONFIG,
                                "a CRL in it is a delta CRL, which is not supported; wanted is the "
                                "complete one");
        if (sp_tls_der_standard_oid(&oid) == 28)
            return refuse_partial(value, err);
        if (critical && sp_tls_der_standard_oid(&oid) != 20 &&
            sp_tls_der_standard_oid(&oid) != 35) {
            sp_tls_der_oid_text(&oid, text, sizeof text);
            return sp_error_set(err, SP_ERR_CONFIG,
                                "a CRL in it has the critical extension %s, which is not known",
                                text);
        }
    }
    return SP_OK;
}

static gnutls_datum_t copy_of(const void *data, size_t len)
{
    gnutls_datum_t copy = {.data = sp_calloc(len + 1, 1), .size = (unsigned)len};

    memcpy(copy.data, data, len);
    return copy;
}

/* What GnuTLS reads better than we would (the algorithm with its parameters, the name as text) it
 * reads from a list without entries, made of the head and the tail of this one. */
static enum sp_err read_head(struct sp_tls_crl *crl, struct sp_tls_der head, struct sp_tls_der tail,
                             struct sp_error *err)
{
    uint8_t inner[6], outer[6];
    size_t inner_len = sp_tls_der_put_header(inner, sp_tls_der_len(&head));
    size_t len = inner_len + sp_tls_der_len(&head) + sp_tls_der_len(&tail);
    size_t outer_len = sp_tls_der_put_header(outer, len);
    SP_AUTO_FREE uint8_t *der = sp_calloc(outer_len + len, 1);
    gnutls_datum_t datum = {.data = der, .size = (unsigned)(outer_len + len)}, dn = {NULL, 0};
    gnutls_x509_crl_t short_one;
    uint8_t *end = mempcpy(der, outer, outer_len);
    int rc;

    end = mempcpy(end, inner, inner_len);
    end = mempcpy(end, head.at, sp_tls_der_len(&head));
    memcpy(end, tail.at, sp_tls_der_len(&tail));
    SP_REQUIRE(gnutls_x509_crl_init(&short_one) == 0);
    rc = gnutls_x509_crl_import(short_one, &datum, GNUTLS_X509_FMT_DER);
    if (rc >= 0) {
        rc = gnutls_x509_crl_get_signature_algorithm(short_one);
        crl->sign = rc > 0 ? (gnutls_sign_algorithm_t)rc : GNUTLS_SIGN_UNKNOWN;
        rc = gnutls_x509_crl_get_issuer_dn3(short_one, &dn, 0);
    }
    if (rc >= 0)
        crl->issuer_text = sp_strdup((const char *)dn.data);
    gnutls_free(dn.data);
    gnutls_x509_crl_deinit(short_one);
    if (rc < 0)
        return sp_error_code(err, SP_ERR_CONFIG, rc, "a CRL in it cannot be read: %s",
                             gnutls_strerror(rc));
    return SP_OK;
}

/* Keeps what the signature is over: its digest is enough for all but EdDSA. */
static enum sp_err keep_signed_part(struct sp_tls_crl *crl, struct sp_tls_der tbs,
                                    struct sp_error *err)
{
    uint8_t digest[DIGEST_MAX];
    gnutls_digest_algorithm_t hash = gnutls_sign_get_hash_algorithm(crl->sign);
    const char *name = gnutls_sign_get_name(crl->sign);

    if (crl->sign == GNUTLS_SIGN_EDDSA_ED25519 || crl->sign == GNUTLS_SIGN_EDDSA_ED448) {
        crl->signed_part = copy_of(tbs.at, sp_tls_der_len(&tbs));
        return SP_OK;
    }
    if (gnutls_hash_get_len(hash) < HASH_LEN_MIN || gnutls_hash_get_len(hash) > DIGEST_MAX)
        return sp_error_set(
            err, SP_ERR_CONFIG,
            "a CRL in it is signed with %s, which is too weak; SHA-256 is the least",
            name ? name : "an algorithm that is not known");
    SP_REQUIRE(gnutls_hash_fast(hash, tbs.at, sp_tls_der_len(&tbs), digest) == 0);
    crl->signed_part = copy_of(digest, gnutls_hash_get_len(hash));
    crl->is_digest = true;
    return SP_OK;
}

struct outline {
    struct sp_tls_der tbs, tail; /* with their headers; the tail is algorithm and signature */
    struct sp_tls_der head;      /* of tbs: all before the entries */
    struct sp_tls_der entries, extensions;
    struct sp_tls_der algorithm, inner_algorithm, issuer, signature;
};

static enum sp_err outline_tbs(struct sp_tls_der rest, struct outline *o, struct sp_tls_crl *crl,
                               struct sp_error *err)
{
    struct sp_tls_der version, ignored;

    o->head.at = rest.at;
    if (sp_tls_der_is(&rest, SP_TLS_DER_INTEGER) &&
        (!sp_tls_der_take(&rest, SP_TLS_DER_INTEGER, &version, NULL) ||
         sp_tls_der_len(&version) != 1 || version.at[0] != 1))
        return broken(err, "its version");
    if (!sp_tls_der_take(&rest, SP_TLS_DER_SEQUENCE, &ignored, &o->inner_algorithm) ||
        !sp_tls_der_take(&rest, SP_TLS_DER_SEQUENCE, &ignored, &o->issuer))
        return broken(err, "its beginning");
    if (!sp_tls_der_take_time(&rest, &crl->this_update))
        return broken(err, "its thisUpdate");
    if (!sp_tls_der_is(&rest, SP_TLS_DER_UTC_TIME) &&
        !sp_tls_der_is(&rest, SP_TLS_DER_GENERALIZED_TIME))
        return sp_error_set(err, SP_ERR_CONFIG,
                            "a CRL in it has no nextUpdate: nobody could know when it is stale");
    if (!sp_tls_der_take_time(&rest, &crl->next_update))
        return broken(err, "its nextUpdate");
    o->head.end = rest.at;
    if (sp_tls_der_is(&rest, SP_TLS_DER_SEQUENCE) &&
        !sp_tls_der_take(&rest, SP_TLS_DER_SEQUENCE, &o->entries, NULL))
        return broken(err, "the list of entries");
    if (sp_tls_der_is(&rest, SP_TLS_DER_EXTENSIONS) &&
        !sp_tls_der_take(&rest, SP_TLS_DER_EXTENSIONS, &o->extensions, NULL))
        return broken(err, "its extensions");
    return sp_tls_der_len(&rest) ? broken(err, "its end") : SP_OK;
}

static enum sp_err outline_of(struct sp_tls_der all, struct outline *o, struct sp_tls_crl *crl,
                              struct sp_error *err)
{
    struct sp_tls_der tbs, ignored;

    if (!sp_tls_der_take(&all, SP_TLS_DER_SEQUENCE, &tbs, &o->tbs))
        return broken(err, "its beginning");
    o->tail = all;
    if (!sp_tls_der_take(&all, SP_TLS_DER_SEQUENCE, &ignored, &o->algorithm) ||
        !sp_tls_der_take(&all, SP_TLS_DER_BIT_STRING, &o->signature, NULL) ||
        sp_tls_der_len(&all) || sp_tls_der_len(&o->signature) < 2 || o->signature.at[0] != 0)
        return broken(err, "its signature");
    o->signature.at++;
    return outline_tbs(tbs, o, crl, err);
}

static enum sp_err parse_one(struct sp_tls_der all, struct sp_tls_crl *crl, struct sp_error *err)
{
    struct outline o = {.tbs = {NULL, NULL}};
    enum sp_err rc = outline_of(all, &o, crl, err);

    if (rc != SP_OK)
        return rc;
    if (sp_tls_der_len(&o.algorithm) != sp_tls_der_len(&o.inner_algorithm) ||
        memcmp(o.algorithm.at, o.inner_algorithm.at, sp_tls_der_len(&o.algorithm)) != 0)
        return broken(err, "its signature algorithm");
    if (o.extensions.at)
        rc = parse_extensions(o.extensions, err);
    if (rc == SP_OK)
        rc = read_head(crl, o.head, o.tail, err);
    if (rc == SP_OK)
        rc = keep_signed_part(crl, o.tbs, err);
    if (rc == SP_OK && o.entries.at)
        rc = parse_entries(o.entries, crl, err);
    crl->issuer = copy_of(o.issuer.at, sp_tls_der_len(&o.issuer));
    crl->signature = copy_of(o.signature.at, sp_tls_der_len(&o.signature));
    return rc;
}

/* ---- a file ---- */

/* One or more lists, one behind the other. */
static enum sp_err parse_der(struct sp_tls_der all, struct sp_tls_crl_file *file,
                             struct sp_error *err)
{
    struct sp_tls_der one;
    enum sp_err rc = SP_OK;

    while (rc == SP_OK && sp_tls_der_len(&all)) {
        if (!sp_tls_der_take(&all, SP_TLS_DER_SEQUENCE, &one, NULL))
            return sp_error_set(err, SP_ERR_CONFIG,
                                file->count ? "something follows the CRL in it"
                                            : "no CRL in it: neither PEM (X509 CRL) nor DER");
        file->crls = reallocarray(file->crls, file->count + 1, sizeof *file->crls);
        SP_REQUIRE(file->crls);
        memset(&file->crls[file->count], 0, sizeof *file->crls);
        rc = parse_one(one, &file->crls[file->count++], err);
    }
    return rc;
}

static enum sp_err parse_pem(struct sp_tls_der text, struct sp_tls_crl_file *file,
                             struct sp_error *err)
{
    enum sp_err rc = SP_OK;

    while (rc == SP_OK) {
        uint8_t *begin = memmem(text.at, sp_tls_der_len(&text), PEM_BEGIN, sizeof PEM_BEGIN - 1);
        gnutls_datum_t pem = {.data = begin}, der;
        const uint8_t *end;
        int tls;

        if (!begin)
            return SP_OK;
        text.at = begin;
        end = memmem(text.at, sp_tls_der_len(&text), PEM_END, sizeof PEM_END - 1);
        if (!end)
            return sp_error_set(err, SP_ERR_CONFIG, "a CRL in it has no \"" PEM_END "\"");
        text.at = end + sizeof PEM_END - 1;
        pem.size = (unsigned)(text.at - begin);
        tls = gnutls_pem_base64_decode2("X509 CRL", &pem, &der);
        if (tls < 0)
            return sp_error_code(err, SP_ERR_CONFIG, tls, "a CRL in it cannot be read: %s",
                                 gnutls_strerror(tls));
        rc = parse_der((struct sp_tls_der){der.data, der.data + der.size}, file, err);
        gnutls_free(der.data);
    }
    return rc;
}

enum sp_err sp_tls_crl_parse(const uint8_t *data, size_t len, struct sp_tls_crl_file **ret_file,
                             struct sp_error *err)
{
    struct sp_tls_crl_file *file = sp_calloc(1, sizeof *file);
    struct sp_tls_der all = {data, data + len};
    enum sp_err rc;

    atomic_init(&file->refs, 1);
    SP_REQUIRE(gnutls_hash_fast(GNUTLS_DIG_SHA256, data, len, file->digest) == 0);
    if (len && memmem(data, len, PEM_BEGIN, sizeof PEM_BEGIN - 1))
        rc = parse_pem(all, file, err);
    else
        rc = parse_der(all, file, err);
    if (rc == SP_OK && !file->count)
        rc = sp_error_set(err, SP_ERR_CONFIG, "no CRL in it: neither PEM (X509 CRL) nor DER");
    if (rc != SP_OK) {
        sp_tls_crl_file_unref(file);
        return rc;
    }
    *ret_file = file;
    return SP_OK;
}

struct sp_tls_crl_file *sp_tls_crl_file_ref(struct sp_tls_crl_file *file)
{
    atomic_fetch_add_explicit(&file->refs, 1, memory_order_relaxed);
    return file;
}

void sp_tls_crl_file_unref(struct sp_tls_crl_file *file)
{
    if (!file || atomic_fetch_sub_explicit(&file->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < file->count; i++) {
        free(file->crls[i].issuer.data);
        free(file->crls[i].issuer_text);
        free(file->crls[i].signature.data);
        free(file->crls[i].signed_part.data);
        free(file->crls[i].entries);
    }
    free(file->crls);
    free(file);
}

void sp_tls_crl_file_summary(const struct sp_tls_crl_file *file, struct sp_tls_crl_summary *ret)
{
    *ret = (struct sp_tls_crl_summary){
        .issuer = file->crls[0].issuer_text,
        .this_update = file->crls[0].this_update,
        .next_update = file->crls[0].next_update,
    };
    for (size_t i = 0; i < file->count; i++)
        ret->entries += file->crls[i].count;
}
