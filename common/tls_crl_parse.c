#include "common/tls_crl_parse.h"

#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PEM_BEGIN    "-----BEGIN X509 CRL-----"
#define PEM_END      "-----END X509 CRL-----"
#define HASH_LEN_MIN 32 /* SHA-256 */
#define DIGEST_MAX   64
#define CAUSE_MAX    10

enum {
    TAG_BOOLEAN = 0x01,
    TAG_INTEGER = 0x02,
    TAG_BIT_STRING = 0x03,
    TAG_OCTET_STRING = 0x04,
    TAG_OID = 0x06,
    TAG_ENUMERATED = 0x0a,
    TAG_UTC_TIME = 0x17,
    TAG_GENERALIZED_TIME = 0x18,
    TAG_SEQUENCE = 0x30,
    TAG_EXTENSIONS = 0xa0,   /* [0] of a list */
    TAG_INDIRECT_CRL = 0x84, /* [4] of issuingDistributionPoint */
};

/* ---- DER ---- */

struct der {
    const uint8_t *at, *end;
};

static size_t der_len(const struct der *d)
{
    return (size_t)(d->end - d->at);
}

static bool der_is(const struct der *d, int tag)
{
    return d->at < d->end && d->at[0] == tag;
}

/* Takes the element at the front when it has this tag; its content, and (unless NULL) the whole. */
static bool der_take(struct der *d, int tag, struct der *ret_content, struct der *ret_whole)
{
    const uint8_t *p = d->at;
    size_t len;

    if (d->end - p < 2 || p[0] != tag)
        return false;
    len = p[1];
    p += 2;
    if (len >= 0x80) {
        size_t octets = len & 0x7f;

        if (octets < 1 || octets > 4 || (size_t)(d->end - p) < octets)
            return false;
        for (len = 0; octets; octets--)
            len = len << 8 | *p++;
    }
    if ((size_t)(d->end - p) < len)
        return false;
    *ret_content = (struct der){p, p + len};
    if (ret_whole)
        *ret_whole = (struct der){d->at, p + len};
    d->at = p + len;
    return true;
}

static bool two_digits(const uint8_t **at, int *ret)
{
    const uint8_t *p = *at;

    if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
        return false;
    *ret = (p[0] - '0') * 10 + p[1] - '0';
    *at += 2;
    return true;
}

/* UTCTime YYMMDDHHMMSSZ or GeneralizedTime YYYYMMDDHHMMSSZ, as RFC 5280 allows them. */
static bool take_time(struct der *d, int64_t *ret)
{
    bool is_utc = der_is(d, TAG_UTC_TIME);
    struct der text;
    struct tm tm = {.tm_sec = 0};
    const uint8_t *p;
    int century = 19, year;

    if (!der_take(d, is_utc ? TAG_UTC_TIME : TAG_GENERALIZED_TIME, &text, NULL) ||
        der_len(&text) != (is_utc ? 13 : 15) || text.end[-1] != 'Z')
        return false;
    p = text.at;
    if ((!is_utc && !two_digits(&p, &century)) || !two_digits(&p, &year) ||
        !two_digits(&p, &tm.tm_mon) || !two_digits(&p, &tm.tm_mday) ||
        !two_digits(&p, &tm.tm_hour) || !two_digits(&p, &tm.tm_min) || !two_digits(&p, &tm.tm_sec))
        return false;
    if (is_utc && year < 50)
        century = 20;
    if (tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 ||
        tm.tm_min > 59 || tm.tm_sec > 60)
        return false;
    tm.tm_year = century * 100 + year - 1900;
    tm.tm_mon--;
    *ret = (int64_t)timegm(&tm);
    return true;
}

/* "2.5.29.28", for messages: what does not fit is left out. */
static void oid_text(const struct der *oid, char *buf, size_t buf_len)
{
    unsigned long arc = 0;
    size_t used = 0;

    buf[0] = '\0';
    for (const uint8_t *p = oid->at; p < oid->end && used < buf_len; p++) {
        arc = arc << 7 | (*p & 0x7f);
        if (*p & 0x80)
            continue;
        if (!used)
            used = (size_t)snprintf(buf, buf_len, "%lu.%lu", arc < 80 ? arc / 40 : 2,
                                    arc < 80 ? arc % 40 : arc - 80);
        else
            used += (size_t)snprintf(buf + used, buf_len - used, ".%lu", arc);
        arc = 0;
    }
}

/* One of the extensions 2.5.29.x that X.509 itself defines: its x; otherwise -1. */
static int standard_oid(const struct der *oid)
{
    return der_len(oid) == 3 && oid->at[0] == 0x55 && oid->at[1] == 0x1d ? oid->at[2] : -1;
}

static enum sp_err broken(struct sp_error *err, const char *where)
{
    return sp_error_set(err, SP_ERR_CONFIG, "a CRL in it cannot be read: %s is malformed", where);
}

static bool take_extension(struct der *list, struct der *ret_oid, bool *ret_critical,
                           struct der *ret_value)
{
    struct der ext, flag;

    *ret_critical = false;
    if (!der_take(list, TAG_SEQUENCE, &ext, NULL) || !der_take(&ext, TAG_OID, ret_oid, NULL))
        return false;
    if (der_take(&ext, TAG_BOOLEAN, &flag, NULL))
        *ret_critical = der_len(&flag) == 1 && flag.at[0];
    return der_take(&ext, TAG_OCTET_STRING, ret_value, NULL) && !der_len(&ext);
}

/* ---- entries ---- */

static int entry_order(const void *a, const void *b)
{
    const struct sp_tls_crl_entry *x = a;
    const struct sp_tls_crl_entry *y = b;

    if (x->len != y->len)
        return x->len < y->len ? -1 : 1;
    return memcmp(x->serial, y->serial, x->len);
}

/* An entry's critical extension that is not known makes the list unfit (RFC 5280 5.3): it may say
 * that the entry is about another issuer's certificate. */
static enum sp_err parse_entry_extensions(struct der *rest, struct sp_tls_crl_entry *entry,
                                          struct sp_error *err)
{
    struct der list, oid, value, cause;
    char text[64];
    bool critical;

    if (!der_take(rest, TAG_SEQUENCE, &list, NULL) || der_len(rest))
        return broken(err, "an entry's extensions");
    while (der_len(&list)) {
        if (!take_extension(&list, &oid, &critical, &value))
            return broken(err, "an entry's extension");
        if (standard_oid(&oid) == 21) {
            if (!der_take(&value, TAG_ENUMERATED, &cause, NULL) || der_len(&cause) != 1)
                return broken(err, "an entry's reason code");
            entry->cause = cause.at[0] <= CAUSE_MAX ? cause.at[0] : 0;
        } else if (standard_oid(&oid) == 29) {
            return sp_error_set(err, SP_ERR_CONFIG,
                                "a CRL in it is an indirect one (an entry has certificateIssuer), "
                                "which is not supported; wanted is the issuer's own CRL");
        } else if (critical) {
            oid_text(&oid, text, sizeof text);
            return sp_error_set(err, SP_ERR_CONFIG,
                                "a CRL in it has an entry with the critical extension %s, which is "
                                "not known",
                                text);
        }
    }
    return SP_OK;
}

static enum sp_err parse_entry(struct der *list, struct sp_tls_crl_entry *entry,
                               struct sp_error *err)
{
    struct der one, serial;

    if (!der_take(list, TAG_SEQUENCE, &one, NULL) || !der_take(&one, TAG_INTEGER, &serial, NULL) ||
        !der_len(&serial))
        return broken(err, "an entry");
    while (der_len(&serial) > 1 && !serial.at[0])
        serial.at++;
    if (der_len(&serial) > SP_TLS_CRL_SERIAL_MAX)
        return sp_error_set(err, SP_ERR_CONFIG,
                            "a CRL in it has a serial number of %zu bytes; %d are the most",
                            der_len(&serial), SP_TLS_CRL_SERIAL_MAX);
    memset(entry, 0, sizeof *entry);
    entry->len = (uint8_t)der_len(&serial);
    memcpy(entry->serial, serial.at, entry->len);
    if (!take_time(&one, &entry->revoked_at))
        return broken(err, "an entry's revocation date");
    return der_len(&one) ? parse_entry_extensions(&one, entry, err) : SP_OK;
}

static enum sp_err parse_entries(struct der list, struct sp_tls_crl *crl, struct sp_error *err)
{
    struct der walk = list, one;
    size_t count = 0;
    enum sp_err rc;

    for (; der_len(&walk); count++) {
        if (!der_take(&walk, TAG_SEQUENCE, &one, NULL))
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
static enum sp_err refuse_partial(struct der value, struct sp_error *err)
{
    struct der point;
    bool indirect = false;

    if (!der_take(&value, TAG_SEQUENCE, &point, NULL))
        return broken(err, "issuingDistributionPoint");
    while (der_len(&point)) {
        struct der field;
        bool is_flag = der_is(&point, TAG_INDIRECT_CRL);

        if (!der_take(&point, point.at[0], &field, NULL))
            return broken(err, "issuingDistributionPoint");
        indirect |= is_flag && der_len(&field) == 1 && field.at[0];
    }
    return sp_error_set(err, SP_ERR_CONFIG,
                        indirect ? "a CRL in it is an indirect one (issuingDistributionPoint), "
                                   "which is not supported; wanted is the issuer's own CRL"
                                 : "a CRL in it is for one distribution point or one kind of "
                                   "certificate only (issuingDistributionPoint), which is not "
                                   "supported; wanted is the issuer's complete CRL");
}

static enum sp_err parse_extensions(struct der field, struct sp_error *err)
{
    struct der list, oid, value;
    char text[64];
    bool critical;

    if (!der_take(&field, TAG_SEQUENCE, &list, NULL) || der_len(&field))
        return broken(err, "its extensions");
    while (der_len(&list)) {
        if (!take_extension(&list, &oid, &critical, &value))
            return broken(err, "an extension");
        if (standard_oid(&oid) == 27)
            return sp_error_set(err, SP_ERR_CONFIG,
                                "a CRL in it is a delta CRL, which is not supported; wanted is the "
                                "complete one");
        if (standard_oid(&oid) == 28)
            return refuse_partial(value, err);
        if (critical && standard_oid(&oid) != 20 && standard_oid(&oid) != 35) {
            oid_text(&oid, text, sizeof text);
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

/* The header of a SEQUENCE, at most 6 bytes; its length. */
static size_t put_header(uint8_t *at, size_t len)
{
    size_t octets = len < 0x80 ? 0 : len < 0x100 ? 1 : len < 0x10000 ? 2 : len < 0x1000000 ? 3 : 4;

    at[0] = TAG_SEQUENCE;
    at[1] = (uint8_t)(octets ? 0x80 | octets : len);
    for (size_t i = 0; i < octets; i++)
        at[2 + i] = (uint8_t)(len >> (8 * (octets - 1 - i)));
    return 2 + octets;
}

/* What GnuTLS reads better than we would (the algorithm with its parameters, the name as text) it
 * reads from a list without entries, made of the head and the tail of this one. */
static enum sp_err read_head(struct sp_tls_crl *crl, struct der head, struct der tail,
                             struct sp_error *err)
{
    uint8_t inner[6], outer[6];
    size_t inner_len = put_header(inner, der_len(&head));
    size_t len = inner_len + der_len(&head) + der_len(&tail);
    size_t outer_len = put_header(outer, len);
    SP_AUTO_FREE uint8_t *der = sp_calloc(outer_len + len, 1);
    gnutls_datum_t datum = {.data = der, .size = (unsigned)(outer_len + len)}, dn = {NULL, 0};
    gnutls_x509_crl_t short_one;
    uint8_t *end = mempcpy(der, outer, outer_len);
    int rc;

    end = mempcpy(end, inner, inner_len);
    end = mempcpy(end, head.at, der_len(&head));
    memcpy(end, tail.at, der_len(&tail));
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
static enum sp_err keep_signed_part(struct sp_tls_crl *crl, struct der tbs, struct sp_error *err)
{
    uint8_t digest[DIGEST_MAX];
    gnutls_digest_algorithm_t hash = gnutls_sign_get_hash_algorithm(crl->sign);
    const char *name = gnutls_sign_get_name(crl->sign);

    if (crl->sign == GNUTLS_SIGN_EDDSA_ED25519 || crl->sign == GNUTLS_SIGN_EDDSA_ED448) {
        crl->signed_part = copy_of(tbs.at, der_len(&tbs));
        return SP_OK;
    }
    if (gnutls_hash_get_len(hash) < HASH_LEN_MIN || gnutls_hash_get_len(hash) > DIGEST_MAX)
        return sp_error_set(
            err, SP_ERR_CONFIG,
            "a CRL in it is signed with %s, which is too weak; SHA-256 is the least",
            name ? name : "an algorithm that is not known");
    SP_REQUIRE(gnutls_hash_fast(hash, tbs.at, der_len(&tbs), digest) == 0);
    crl->signed_part = copy_of(digest, gnutls_hash_get_len(hash));
    crl->is_digest = true;
    return SP_OK;
}

struct outline {
    struct der tbs, tail; /* with their headers; the tail is algorithm and signature */
    struct der head;      /* of tbs: all before the entries */
    struct der entries, extensions;
    struct der algorithm, inner_algorithm, issuer, signature;
};

static enum sp_err outline_tbs(struct der rest, struct outline *o, struct sp_tls_crl *crl,
                               struct sp_error *err)
{
    struct der version, ignored;

    o->head.at = rest.at;
    if (der_is(&rest, TAG_INTEGER) && (!der_take(&rest, TAG_INTEGER, &version, NULL) ||
                                       der_len(&version) != 1 || version.at[0] != 1))
        return broken(err, "its version");
    if (!der_take(&rest, TAG_SEQUENCE, &ignored, &o->inner_algorithm) ||
        !der_take(&rest, TAG_SEQUENCE, &ignored, &o->issuer))
        return broken(err, "its beginning");
    if (!take_time(&rest, &crl->this_update))
        return broken(err, "its thisUpdate");
    if (!der_is(&rest, TAG_UTC_TIME) && !der_is(&rest, TAG_GENERALIZED_TIME))
        return sp_error_set(err, SP_ERR_CONFIG,
                            "a CRL in it has no nextUpdate: nobody could know when it is stale");
    if (!take_time(&rest, &crl->next_update))
        return broken(err, "its nextUpdate");
    o->head.end = rest.at;
    if (der_is(&rest, TAG_SEQUENCE) && !der_take(&rest, TAG_SEQUENCE, &o->entries, NULL))
        return broken(err, "the list of entries");
    if (der_is(&rest, TAG_EXTENSIONS) && !der_take(&rest, TAG_EXTENSIONS, &o->extensions, NULL))
        return broken(err, "its extensions");
    return der_len(&rest) ? broken(err, "its end") : SP_OK;
}

static enum sp_err outline_of(struct der all, struct outline *o, struct sp_tls_crl *crl,
                              struct sp_error *err)
{
    struct der tbs, ignored;

    if (!der_take(&all, TAG_SEQUENCE, &tbs, &o->tbs))
        return broken(err, "its beginning");
    o->tail = all;
    if (!der_take(&all, TAG_SEQUENCE, &ignored, &o->algorithm) ||
        !der_take(&all, TAG_BIT_STRING, &o->signature, NULL) || der_len(&all) ||
        der_len(&o->signature) < 2 || o->signature.at[0] != 0)
        return broken(err, "its signature");
    o->signature.at++;
    return outline_tbs(tbs, o, crl, err);
}

static enum sp_err parse_one(struct der all, struct sp_tls_crl *crl, struct sp_error *err)
{
    struct outline o = {.tbs = {NULL, NULL}};
    enum sp_err rc = outline_of(all, &o, crl, err);

    if (rc != SP_OK)
        return rc;
    if (der_len(&o.algorithm) != der_len(&o.inner_algorithm) ||
        memcmp(o.algorithm.at, o.inner_algorithm.at, der_len(&o.algorithm)) != 0)
        return broken(err, "its signature algorithm");
    if (o.extensions.at)
        rc = parse_extensions(o.extensions, err);
    if (rc == SP_OK)
        rc = read_head(crl, o.head, o.tail, err);
    if (rc == SP_OK)
        rc = keep_signed_part(crl, o.tbs, err);
    if (rc == SP_OK && o.entries.at)
        rc = parse_entries(o.entries, crl, err);
    crl->issuer = copy_of(o.issuer.at, der_len(&o.issuer));
    crl->signature = copy_of(o.signature.at, der_len(&o.signature));
    return rc;
}

/* ---- a file ---- */

/* One or more lists, one behind the other. */
static enum sp_err parse_der(struct der all, struct sp_tls_crl_file *file, struct sp_error *err)
{
    struct der one;
    enum sp_err rc = SP_OK;

    while (rc == SP_OK && der_len(&all)) {
        if (!der_take(&all, TAG_SEQUENCE, &one, NULL))
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

static enum sp_err parse_pem(struct der text, struct sp_tls_crl_file *file, struct sp_error *err)
{
    enum sp_err rc = SP_OK;

    while (rc == SP_OK) {
        uint8_t *begin = memmem(text.at, der_len(&text), PEM_BEGIN, sizeof PEM_BEGIN - 1);
        gnutls_datum_t pem = {.data = begin}, der;
        const uint8_t *end;
        int tls;

        if (!begin)
            return SP_OK;
        text.at = begin;
        end = memmem(text.at, der_len(&text), PEM_END, sizeof PEM_END - 1);
        if (!end)
            return sp_error_set(err, SP_ERR_CONFIG, "a CRL in it has no \"" PEM_END "\"");
        text.at = end + sizeof PEM_END - 1;
        pem.size = (unsigned)(text.at - begin);
        tls = gnutls_pem_base64_decode2("X509 CRL", &pem, &der);
        if (tls < 0)
            return sp_error_code(err, SP_ERR_CONFIG, tls, "a CRL in it cannot be read: %s",
                                 gnutls_strerror(tls));
        rc = parse_der((struct der){der.data, der.data + der.size}, file, err);
        gnutls_free(der.data);
    }
    return rc;
}

enum sp_err sp_tls_crl_parse(const uint8_t *data, size_t len, struct sp_tls_crl_file **ret_file,
                             struct sp_error *err)
{
    struct sp_tls_crl_file *file = sp_calloc(1, sizeof *file);
    struct der all = {data, data + len};
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
