#include "common/tls_ocsp_parse.h"

#include <string.h>

#define TAG_0         0xa0 /* [0] constructed, explicit or not */
#define TAG_1         0xa1
#define TAG_2         0xa2
#define TAG_GOOD      0x80 /* [0] IMPLICIT NULL */
#define TAG_UNKNOWN   0x82 /* [2] IMPLICIT NULL */
#define CAUSE_REASON  21
#define CAUSE_INVALID 24 /* invalidityDate */
#define DER_NULL      0x05

#define OID_OCSP           "\x2b\x06\x01\x05\x05\x07\x30\x01" /* 1.3.6.1.5.5.7.48.1 */
#define OID_BASIC          OID_OCSP "\x01"
#define OID_NONCE          OID_OCSP "\x02"
#define OID_CRL_REFERENCES OID_OCSP "\x03"
#define OID_ARCHIVE_CUTOFF OID_OCSP "\x06"
#define OID_EXTENDED       OID_OCSP "\x09" /* extended revoked definition */

static bool is_oid(const struct sp_tls_der *oid, struct sp_tls_der wanted)
{
    return sp_tls_der_equal(oid, &wanted);
}

/* OCSP knows the one kind of time only; one before 1970 is no time either. */
static bool take_generalized(struct sp_tls_der *d, int64_t *ret)
{
    return sp_tls_der_is(d, SP_TLS_DER_GENERALIZED_TIME) && sp_tls_der_take_time(d, ret) &&
           *ret > 0;
}

/* ---- entries ---- */

/* Those that change nothing in what an entry says, or that this program heeds. */
static bool is_known(const struct sp_tls_der *oid)
{
    int x = sp_tls_der_standard_oid(oid);

    return x == CAUSE_REASON || x == CAUSE_INVALID || is_oid(oid, SP_TLS_OID(OID_NONCE)) ||
           is_oid(oid, SP_TLS_OID(OID_CRL_REFERENCES)) ||
           is_oid(oid, SP_TLS_OID(OID_ARCHIVE_CUTOFF)) || is_oid(oid, SP_TLS_OID(OID_EXTENDED));
}

/* [1] EXPLICIT Extensions at the end of a response and of an entry. */
static bool take_extensions(struct sp_tls_der *d, struct sp_tls_der *ret_critical,
                            struct sp_tls_der *ret_nonce)
{
    struct sp_tls_der list, oid, value;
    unsigned nonces = 0;
    bool critical;

    if (!sp_tls_der_len(d))
        return true;
    if (!sp_tls_der_take_explicit(d, TAG_1, SP_TLS_DER_SEQUENCE, &list) || sp_tls_der_len(d))
        return false;
    while (sp_tls_der_len(&list)) {
        if (!sp_tls_der_take_extension(&list, &oid, &critical, &value))
            return false;
        if (critical && !is_known(&oid))
            *ret_critical = oid;
        if (!ret_nonce || !is_oid(&oid, SP_TLS_OID(OID_NONCE)))
            continue;
        if (nonces++)
            return false;
        if (!sp_tls_der_take(&value, SP_TLS_DER_OCTET_STRING, ret_nonce, NULL) ||
            sp_tls_der_len(&value))
            *ret_nonce = (struct sp_tls_der){NULL, NULL};
    }
    return true;
}

static bool parse_cert_id(struct sp_tls_der id, struct sp_ocsp_single *single)
{
    struct sp_tls_der hash, null;

    if (!sp_tls_der_take(&id, SP_TLS_DER_SEQUENCE, &hash, NULL) ||
        !sp_tls_der_take(&hash, SP_TLS_DER_OID, &single->hash_oid, NULL))
        return false;
    if (sp_tls_der_len(&hash) && (!sp_tls_der_take(&hash, DER_NULL, &null, NULL) ||
                                  sp_tls_der_len(&null) || sp_tls_der_len(&hash)))
        return false;
    return sp_tls_der_take(&id, SP_TLS_DER_OCTET_STRING, &single->name_hash, NULL) &&
           sp_tls_der_take(&id, SP_TLS_DER_OCTET_STRING, &single->key_hash, NULL) &&
           sp_tls_der_take_integer(&id, &single->serial) && !sp_tls_der_len(&id);
}

static bool take_status(struct sp_tls_der *d, struct sp_ocsp_single *single)
{
    struct sp_tls_der inside, cause;

    if (sp_tls_der_is(d, TAG_GOOD) || sp_tls_der_is(d, TAG_UNKNOWN)) {
        single->said = d->at[0] == TAG_GOOD ? SP_OCSP_SAID_GOOD : SP_OCSP_SAID_UNKNOWN;
        return sp_tls_der_take(d, d->at[0], &inside, NULL) && !sp_tls_der_len(&inside);
    }
    single->said = SP_OCSP_SAID_REVOKED;
    if (!sp_tls_der_take(d, TAG_1, &inside, NULL) ||
        !sp_tls_der_is(&inside, SP_TLS_DER_GENERALIZED_TIME) ||
        !sp_tls_der_take_time(&inside, &single->revoked_at))
        return false;
    if (!sp_tls_der_len(&inside))
        return true;
    if (!sp_tls_der_take_explicit(&inside, TAG_0, SP_TLS_DER_ENUMERATED, &cause) ||
        sp_tls_der_len(&cause) != 1 || sp_tls_der_len(&inside))
        return false;
    single->cause = cause.at[0];
    return true;
}

bool sp_ocsp_parse_single(struct sp_tls_der *entries, struct sp_ocsp_single *ret_single)
{
    struct sp_tls_der one, id, next;

    memset(ret_single, 0, sizeof *ret_single);
    if (!sp_tls_der_take(entries, SP_TLS_DER_SEQUENCE, &one, NULL) ||
        !sp_tls_der_take(&one, SP_TLS_DER_SEQUENCE, &id, NULL) || !parse_cert_id(id, ret_single) ||
        !take_status(&one, ret_single) || !take_generalized(&one, &ret_single->this_update))
        return false;
    if (sp_tls_der_is(&one, TAG_0) &&
        (!sp_tls_der_take(&one, TAG_0, &next, NULL) ||
         !take_generalized(&next, &ret_single->next_update) || sp_tls_der_len(&next)))
        return false;
    return take_extensions(&one, &ret_single->critical, NULL);
}

/* ---- the response ---- */

static bool take_responder(struct sp_tls_der *d, struct sp_ocsp_basic *basic)
{
    struct sp_tls_der box, ignored;

    if (sp_tls_der_is(d, TAG_1))
        return sp_tls_der_take(d, TAG_1, &box, NULL) &&
               sp_tls_der_take(&box, SP_TLS_DER_SEQUENCE, &ignored, &basic->by_name) &&
               !sp_tls_der_len(&box);
    return sp_tls_der_take_explicit(d, TAG_2, SP_TLS_DER_OCTET_STRING, &basic->by_key);
}

static const char *parse_tbs(struct sp_tls_der tbs, struct sp_ocsp_basic *basic)
{
    struct sp_tls_der version, walk;
    struct sp_ocsp_single single;

    if (sp_tls_der_is(&tbs, TAG_0) &&
        (!sp_tls_der_take_explicit(&tbs, TAG_0, SP_TLS_DER_INTEGER, &version) ||
         sp_tls_der_len(&version) != 1 || version.at[0] != 0))
        return "its version";
    if (!take_responder(&tbs, basic))
        return "its responderID";
    if (!take_generalized(&tbs, &basic->produced_at))
        return "its producedAt";
    if (!sp_tls_der_take(&tbs, SP_TLS_DER_SEQUENCE, &basic->entries, NULL))
        return "its list of entries";
    walk = basic->entries;
    for (unsigned count = 0; sp_tls_der_len(&walk); count++)
        if (count == SP_OCSP_ENTRIES_MAX || !sp_ocsp_parse_single(&walk, &single))
            return count == SP_OCSP_ENTRIES_MAX ? "its list of entries (128 at most)" : "an entry";
    return take_extensions(&tbs, &basic->critical, &basic->nonce) ? NULL : "its extensions";
}

/* What is in them is read when one is wanted. */
static bool are_certs(struct sp_tls_der walk)
{
    struct sp_tls_der ignored;
    unsigned count = 0;

    while (sp_tls_der_len(&walk))
        if (count++ == SP_OCSP_CERTS_MAX ||
            !sp_tls_der_take(&walk, SP_TLS_DER_SEQUENCE, &ignored, NULL))
            return false;
    return true;
}

static const char *parse_basic(struct sp_tls_der basic, struct sp_ocsp_basic *ret)
{
    struct sp_tls_der inside, tbs;

    if (!sp_tls_der_take(&basic, SP_TLS_DER_SEQUENCE, &inside, NULL) || sp_tls_der_len(&basic))
        return "its BasicOCSPResponse";
    if (!sp_tls_take_signed(&inside, &ret->sig, &tbs))
        return "its signature";
    if (sp_tls_der_len(&inside) &&
        (!sp_tls_der_take_explicit(&inside, TAG_0, SP_TLS_DER_SEQUENCE, &ret->certs) ||
         sp_tls_der_len(&inside) || !are_certs(ret->certs)))
        return "its list of certificates (8 at most)";
    return parse_tbs(tbs, ret);
}

const char *sp_ocsp_parse(const struct sp_bytes *response, struct sp_ocsp_basic *ret_basic)
{
    struct sp_tls_der all = {response->data, response->data + response->len};
    struct sp_tls_der inside, status, body, type, basic;

    memset(ret_basic, 0, sizeof *ret_basic);
    if (!response->len || !sp_tls_der_take(&all, SP_TLS_DER_SEQUENCE, &inside, NULL) ||
        !sp_tls_der_take(&inside, SP_TLS_DER_ENUMERATED, &status, NULL) ||
        sp_tls_der_len(&status) != 1)
        return "its beginning";
    if (sp_tls_der_len(&all))
        return "its end (something follows it)";
    ret_basic->status = status.at[0];
    if (ret_basic->status)
        return NULL;
    if (!sp_tls_der_take_explicit(&inside, TAG_0, SP_TLS_DER_SEQUENCE, &body) ||
        sp_tls_der_len(&inside) || !sp_tls_der_take(&body, SP_TLS_DER_OID, &type, NULL) ||
        !is_oid(&type, SP_TLS_OID(OID_BASIC)) ||
        !sp_tls_der_take(&body, SP_TLS_DER_OCTET_STRING, &basic, NULL) || sp_tls_der_len(&body))
        return "its body";
    return parse_basic(basic, ret_basic);
}
