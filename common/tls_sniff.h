/*
 * tls_sniff: the server name in the first bytes of a stream that may be TLS and is not ours: it is
 * looked at and passed on. Pure; any thread.
 *
 * Whoever sent the bytes chose the name: it tells what is asked for, never who asks.
 */
#ifndef SALLYPORT_COMMON_TLS_SNIFF_H
#define SALLYPORT_COMMON_TLS_SNIFF_H
#include "common/addr.h"
#include <stddef.h>
#include <stdint.h>

enum sp_tls_sniff {
    SP_TLS_SNIFF_MORE, /* so far it could be a ClientHello */
    SP_TLS_SNIFF_NAME, /* the ClientHello names a host: exactly one, well formed */
    SP_TLS_SNIFF_NONE, /* it does not, or it is none, or one above SP_TLS_SNIFF_MAX bytes */
};
#define SP_TLS_SNIFF_MAX 16384

/* The name is folded; set for NAME alone. Records may cut the ClientHello anywhere. */
enum sp_tls_sniff sp_tls_sniff(const uint8_t *data, size_t len, char ret_name[SP_HOST_MAX + 1]);
#endif
