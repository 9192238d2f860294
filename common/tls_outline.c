#include "common/tls_outline.h"

#include <string.h>

#define TAG_VERSION    0xa0 /* [0] EXPLICIT */
#define TAG_EXTENSIONS 0xa3 /* [3] EXPLICIT */
#define TAG_ISSUER_UID 0x81
#define TAG_OWNER_UID  0x82

bool sp_tls_take_signed(struct sp_tls_der *d, struct sp_tls_signed *ret,
                        struct sp_tls_der *ret_text)
{
    if (!sp_tls_der_take(d, SP_TLS_DER_SEQUENCE, ret_text, &ret->text) ||
        !sp_tls_der_take(d, SP_TLS_DER_SEQUENCE, &ret->algorithm, NULL) ||
        !sp_tls_der_take(d, SP_TLS_DER_BIT_STRING, &ret->signature, NULL) ||
        sp_tls_der_len(&ret->signature) < 2 || ret->signature.at[0] != 0)
        return false;
    ret->signature.at++;
    return true;
}

static bool parse_spki(struct sp_tls_der spki, struct sp_tls_outline *cert)
{
    struct sp_tls_der ignored;

    if (!sp_tls_der_take(&spki, SP_TLS_DER_SEQUENCE, &ignored, NULL) ||
        !sp_tls_der_take(&spki, SP_TLS_DER_BIT_STRING, &cert->key, NULL) || sp_tls_der_len(&spki) ||
        !sp_tls_der_len(&cert->key))
        return false;
    cert->key.at++; /* the number of unused bits is no part of what is hashed */
    return true;
}

/* What may be there and says nothing here. One that is cut short stays, where it is refused: it is
 * not what must come next. */
static void skip(struct sp_tls_der *d, int tag)
{
    struct sp_tls_der ignored;

    sp_tls_der_take(d, tag, &ignored, NULL);
}

static bool parse_tbs_cert(struct sp_tls_der tbs, struct sp_tls_outline *cert)
{
    struct sp_tls_der ignored, algorithm, validity, spki;

    skip(&tbs, TAG_VERSION);
    if (!sp_tls_der_take_integer(&tbs, &cert->serial) ||
        !sp_tls_der_take(&tbs, SP_TLS_DER_SEQUENCE, &algorithm, NULL) ||
        !sp_tls_der_equal(&algorithm, &cert->sig.algorithm) ||
        !sp_tls_der_take(&tbs, SP_TLS_DER_SEQUENCE, &ignored, &cert->issuer) ||
        !sp_tls_der_take(&tbs, SP_TLS_DER_SEQUENCE, &validity, NULL) ||
        !sp_tls_der_take_time(&validity, &cert->not_before) ||
        !sp_tls_der_take_time(&validity, &cert->not_after) || sp_tls_der_len(&validity) ||
        !sp_tls_der_take(&tbs, SP_TLS_DER_SEQUENCE, &ignored, &cert->subject) ||
        !sp_tls_der_take(&tbs, SP_TLS_DER_SEQUENCE, &spki, &cert->spki) || !parse_spki(spki, cert))
        return false;
    skip(&tbs, TAG_ISSUER_UID);
    skip(&tbs, TAG_OWNER_UID);
    if (sp_tls_der_is(&tbs, TAG_EXTENSIONS) &&
        !sp_tls_der_take_explicit(&tbs, TAG_EXTENSIONS, SP_TLS_DER_SEQUENCE, &cert->extensions))
        return false;
    return !sp_tls_der_len(&tbs);
}

bool sp_tls_outline_take(struct sp_tls_der *certs, struct sp_tls_outline *ret)
{
    struct sp_tls_der cert, tbs;

    memset(ret, 0, sizeof *ret);
    return sp_tls_der_take(certs, SP_TLS_DER_SEQUENCE, &cert, &ret->whole) &&
           sp_tls_take_signed(&cert, &ret->sig, &tbs) && !sp_tls_der_len(&cert) &&
           parse_tbs_cert(tbs, ret);
}

bool sp_tls_outline_of(const struct sp_bytes *der, struct sp_tls_outline *ret)
{
    struct sp_tls_der all = {der->data, der->data + der->len};

    return der->len && sp_tls_outline_take(&all, ret) && !sp_tls_der_len(&all);
}

enum sp_tls_found sp_tls_outline_extension(const struct sp_tls_outline *cert, struct sp_tls_der oid,
                                           struct sp_tls_der *ret_value)
{
    struct sp_tls_der list = cert->extensions, one, value;
    enum sp_tls_found found = SP_TLS_ABSENT;
    bool critical;

    while (sp_tls_der_len(&list)) {
        if (!sp_tls_der_take_extension(&list, &one, &critical, &value))
            return SP_TLS_BROKEN;
        if (!sp_tls_der_equal(&one, &oid))
            continue;
        if (found == SP_TLS_FOUND)
            return SP_TLS_BROKEN;
        found = SP_TLS_FOUND;
        *ret_value = value;
    }
    return found;
}
