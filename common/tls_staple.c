#include "common/tls_impl.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Of a response: in TLS 1.3 it must fit the extensions of one certificate (RFC 8446 4.4.2), with
 * two headers of 4 bytes. */
#define STAPLE_MAX (65535 - 8)

struct sp_tls_staple {
    atomic_uint refs;
    gnutls_ocsp_data_st data; /* points to der */
    uint8_t der[];
};

struct sp_tls_staple *sp_tls_staple_new(const void *der, size_t len)
{
    struct sp_tls_staple *staple;

    if (!len || len > STAPLE_MAX)
        return NULL;
    staple = sp_calloc(1, sizeof *staple + len);
    atomic_init(&staple->refs, 1);
    memcpy(staple->der, der, len);
    staple->data.response.data = staple->der;
    staple->data.response.size = (unsigned)len;
    return staple;
}

void sp_tls_staple_ref(struct sp_tls_staple *staple)
{
    atomic_fetch_add_explicit(&staple->refs, 1, memory_order_relaxed);
}

void sp_tls_staple_unref(struct sp_tls_staple *staple)
{
    if (staple && atomic_fetch_sub_explicit(&staple->refs, 1, memory_order_acq_rel) == 1)
        free(staple);
}

gnutls_ocsp_data_st *sp_tls_staple_data(struct sp_tls_staple *staple)
{
    return &staple->data;
}
