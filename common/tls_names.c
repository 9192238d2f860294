#include "common/tls_names.h"

#include "common/error.h"
#include "common/hash.h"
#include "common/tls_chain.h"
#include "common/tls_trust.h"
#include "common/tls_x509.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>

/* GnuTLS compares identifiers of up to so many bytes when it looks for an issuer; longer ones it
 * passes over, and so must we. */
#define KEY_ID_MAX 512

static gnutls_x509_crt_t parse(const struct sp_bytes *der)
{
    gnutls_datum_t datum = {.size = (unsigned)der->len};
    gnutls_x509_crt_t crt;

    if (der->len > SP_CHAIN_MAX_BYTES)
        return NULL;
    /* GnuTLS reads through a pointer that is not const. */
    memcpy(&datum.data, &der->data, sizeof datum.data);
    SP_REQUIRE(gnutls_x509_crt_init(&crt) == 0);
    if (gnutls_x509_crt_import(crt, &datum, GNUTLS_X509_FMT_DER) >= 0)
        return crt;
    gnutls_x509_crt_deinit(crt);
    return NULL;
}

/* ---- names for people ---- */

void sp_tls_names_fold(enum sp_tls_name_kind kind, char *text)
{
    size_t len = strlen(text);

    if (kind != SP_TLS_NAME_DNS && kind != SP_TLS_NAME_EMAIL)
        return;
    for (char *c = text; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
    if (kind == SP_TLS_NAME_DNS && len && text[len - 1] == '.')
        text[len - 1] = '\0';
}

static void add(struct sp_tls_names *names, enum sp_tls_name_kind kind, const gnutls_datum_t *name)
{
    struct sp_tls_name *item = &names->items[names->count];

    if (name->size && memchr(name->data, '\0', name->size))
        return;
    names->count++;
    *item = (struct sp_tls_name){.kind = kind};
    if (name->size > SP_TLS_NAME_MAX)
        return;
    item->text = sp_calloc(name->size + 1, 1);
    if (name->size)
        memcpy(item->text, name->data, name->size);
    sp_tls_names_fold(kind, item->text);
    item->len = strlen(item->text);
}

static void add_dn(struct sp_tls_names *names, enum sp_tls_name_kind kind, gnutls_x509_crt_t crt)
{
    bool issuer = kind == SP_TLS_NAME_ISSUER;
    gnutls_datum_t dn = {NULL, 0};

    /* GnuTLS writes such a value in hexadecimal, so the text alone does not show it. */
    if (sp_tls_x509_dn_has_nul(crt, issuer) ||
        (issuer ? gnutls_x509_crt_get_issuer_dn3 : gnutls_x509_crt_get_dn3)(crt, &dn, 0) < 0)
        return;
    add(names, kind, &dn);
    gnutls_free(dn.data);
}

struct alternatives {
    struct sp_tls_names *names;
    size_t seen;
};

static void on_alternative(void *ctx, unsigned type, const gnutls_datum_t *name)
{
    struct alternatives *a = ctx;

    if (++a->seen > SP_TLS_NAMES_MAX)
        return;
    if (type == GNUTLS_SAN_DNSNAME)
        add(a->names, SP_TLS_NAME_DNS, name);
    else if (type == GNUTLS_SAN_URI)
        add(a->names, SP_TLS_NAME_URI, name);
    else if (type == GNUTLS_SAN_RFC822NAME)
        add(a->names, SP_TLS_NAME_EMAIL, name);
}

static void drop_from(struct sp_tls_names *names, size_t first)
{
    for (size_t i = first; i < names->count; i++)
        free(names->items[i].text);
    names->count = first;
}

bool sp_tls_names_read(const struct sp_bytes *der, struct sp_tls_names *ret)
{
    gnutls_x509_crt_t crt = parse(der);
    struct alternatives a = {.names = ret};
    size_t dn_count;

    ret->count = 0;
    ret->too_many = false;
    if (!crt)
        return false;
    add_dn(ret, SP_TLS_NAME_SUBJECT, crt);
    add_dn(ret, SP_TLS_NAME_ISSUER, crt);
    dn_count = ret->count;
    sp_tls_x509_each_name(crt, on_alternative, &a);
    gnutls_x509_crt_deinit(crt);
    ret->too_many = a.seen > SP_TLS_NAMES_MAX;
    if (ret->too_many) /* a part of them could fit one tenant and the rest another one */
        drop_from(ret, dn_count);
    return true;
}

void sp_tls_names_done(struct sp_tls_names *names)
{
    drop_from(names, 0);
}

/* ---- names for finding issuers ---- */

static uint64_t digest(const uint8_t *id, size_t len)
{
    static const uint8_t key[16] = "key identifiers";
    uint64_t value = sp_hash_siphash(key, id, len);

    return value ? value : 1;
}

static uint8_t *copy_of(gnutls_datum_t *datum, size_t *ret_len)
{
    uint8_t *copy = sp_calloc(datum->size + 1, 1);

    if (datum->size)
        memcpy(copy, datum->data, datum->size);
    *ret_len = datum->size;
    gnutls_free(datum->data);
    return copy;
}

static bool link_of(gnutls_x509_crt_t crt, struct sp_tls_link *ret)
{
    gnutls_datum_t subject = {NULL, 0}, issuer = {NULL, 0};
    uint8_t id[KEY_ID_MAX];
    size_t len = sizeof id;

    *ret = (struct sp_tls_link){.subject = NULL};
    if (gnutls_x509_crt_get_raw_dn(crt, &subject) < 0)
        return false;
    if (gnutls_x509_crt_get_raw_issuer_dn(crt, &issuer) < 0) {
        gnutls_free(subject.data);
        return false;
    }
    ret->subject = copy_of(&subject, &ret->subject_len);
    ret->issuer = copy_of(&issuer, &ret->issuer_len);
    if (gnutls_x509_crt_get_subject_key_id(crt, id, &len, NULL) >= 0)
        ret->subject_key = digest(id, len);
    len = sizeof id;
    if (gnutls_x509_crt_get_authority_key_id(crt, id, &len, NULL) >= 0)
        ret->authority_key = digest(id, len);
    return true;
}

bool sp_tls_link_read(const struct sp_bytes *der, struct sp_tls_link *ret)
{
    gnutls_x509_crt_t crt = parse(der);
    bool read = crt && link_of(crt, ret);

    if (crt)
        gnutls_x509_crt_deinit(crt);
    if (!read)
        *ret = (struct sp_tls_link){.subject = NULL};
    return read;
}

bool sp_tls_link_read_trusted(const struct sp_tls_trust *trust, size_t index,
                              struct sp_tls_link *ret)
{
    gnutls_x509_crt_t crt = sp_tls_trust_any(trust, index);

    if (!crt)
        return false;
    /* Its subject was read when it was loaded. */
    SP_REQUIRE(link_of(crt, ret));
    return true;
}

void sp_tls_link_done(struct sp_tls_link *link)
{
    free(link->subject);
    free(link->issuer);
    *link = (struct sp_tls_link){.subject = NULL};
}
