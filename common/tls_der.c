#include "common/tls_der.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

size_t sp_tls_der_len(const struct sp_tls_der *d)
{
    return (size_t)(d->end - d->at);
}

bool sp_tls_der_is(const struct sp_tls_der *d, int tag)
{
    return d->at < d->end && d->at[0] == tag;
}

bool sp_tls_der_take(struct sp_tls_der *d, int tag, struct sp_tls_der *ret_content,
                     struct sp_tls_der *ret_whole)
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
    *ret_content = (struct sp_tls_der){p, p + len};
    if (ret_whole)
        *ret_whole = (struct sp_tls_der){d->at, p + len};
    d->at = p + len;
    return true;
}

bool sp_tls_der_take_explicit(struct sp_tls_der *d, int outer, int inner, struct sp_tls_der *ret)
{
    struct sp_tls_der box;

    return sp_tls_der_take(d, outer, &box, NULL) && sp_tls_der_take(&box, inner, ret, NULL) &&
           !sp_tls_der_len(&box);
}

bool sp_tls_der_take_integer(struct sp_tls_der *d, struct sp_tls_der *ret)
{
    if (!sp_tls_der_take(d, SP_TLS_DER_INTEGER, ret, NULL) || !sp_tls_der_len(ret))
        return false;
    while (sp_tls_der_len(ret) > 1 && !ret->at[0] && ret->at[1] < 0x80)
        ret->at++;
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

bool sp_tls_der_take_time(struct sp_tls_der *d, int64_t *ret)
{
    bool is_utc = sp_tls_der_is(d, SP_TLS_DER_UTC_TIME);
    struct sp_tls_der text;
    struct tm tm = {.tm_sec = 0};
    const uint8_t *p;
    int century = 19, year;

    if (!sp_tls_der_take(d, is_utc ? SP_TLS_DER_UTC_TIME : SP_TLS_DER_GENERALIZED_TIME, &text,
                         NULL) ||
        sp_tls_der_len(&text) != (is_utc ? 13 : 15) || text.end[-1] != 'Z')
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

void sp_tls_der_oid_text(const struct sp_tls_der *oid, char *buf, size_t buf_len)
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

bool sp_tls_der_take_extension(struct sp_tls_der *list, struct sp_tls_der *ret_oid,
                               bool *ret_critical, struct sp_tls_der *ret_value)
{
    struct sp_tls_der ext, flag;

    *ret_critical = false;
    if (!sp_tls_der_take(list, SP_TLS_DER_SEQUENCE, &ext, NULL) ||
        !sp_tls_der_take(&ext, SP_TLS_DER_OID, ret_oid, NULL))
        return false;
    if (sp_tls_der_is(&ext, SP_TLS_DER_BOOLEAN)) {
        if (!sp_tls_der_take(&ext, SP_TLS_DER_BOOLEAN, &flag, NULL) || sp_tls_der_len(&flag) != 1 ||
            (flag.at[0] && flag.at[0] != 0xff)) /* X.690 11.1 */
            return false;
        *ret_critical = flag.at[0];
    }
    return sp_tls_der_take(&ext, SP_TLS_DER_OCTET_STRING, ret_value, NULL) && !sp_tls_der_len(&ext);
}

const char *sp_tls_der_cause_text(unsigned cause)
{
    static const char *const names[] = {
        "",           "keyCompromise",        "cACompromise",    "affiliationChanged",
        "superseded", "cessationOfOperation", "certificateHold", "",
        "",           "privilegeWithdrawn",   "aACompromise",
    };

    return cause < sizeof names / sizeof names[0] ? names[cause] : "";
}

bool sp_tls_der_equal(const struct sp_tls_der *a, const struct sp_tls_der *b)
{
    size_t len = sp_tls_der_len(a);

    return len == sp_tls_der_len(b) && (!len || memcmp(a->at, b->at, len) == 0);
}

int sp_tls_der_standard_oid(const struct sp_tls_der *oid)
{
    return sp_tls_der_len(oid) == 3 && oid->at[0] == 0x55 && oid->at[1] == 0x1d ? oid->at[2] : -1;
}

size_t sp_tls_der_put_header(uint8_t *at, size_t len)
{
    size_t octets = len < 0x80 ? 0 : len < 0x100 ? 1 : len < 0x10000 ? 2 : len < 0x1000000 ? 3 : 4;

    at[0] = SP_TLS_DER_SEQUENCE;
    at[1] = (uint8_t)(octets ? 0x80 | octets : len);
    for (size_t i = 0; i < octets; i++)
        at[2 + i] = (uint8_t)(len >> (8 * (octets - 1 - i)));
    return 2 + octets;
}
