/*
 * tls_crl_file: the content of a CRL file or URL, parsed (tls_crl_parse), for those who carry it
 * about without looking into it.
 *
 * Immutable and reference counted; all threads.
 */
#ifndef SALLYPORT_COMMON_TLS_CRL_FILE_H
#define SALLYPORT_COMMON_TLS_CRL_FILE_H
#include "common/error.h"
#include <stdint.h>

struct sp_tls_crl_file; /* common/tls_crl_parse.h */

/* PEM or DER, several lists, one at least. What it says is not verified here. */
SP_MUST_USE enum sp_err sp_tls_crl_parse(const uint8_t *data, size_t len,
                                         struct sp_tls_crl_file **ret_file, struct sp_error *err);
struct sp_tls_crl_file *sp_tls_crl_file_ref(struct sp_tls_crl_file *file);
void sp_tls_crl_file_unref(struct sp_tls_crl_file *file); /* NULL is fine */

struct sp_tls_crl_summary {
    const char *issuer; /* of the first list, like the times; borrowed */
    int64_t this_update, next_update;
    size_t entries; /* of all lists */
};
void sp_tls_crl_file_summary(const struct sp_tls_crl_file *file, struct sp_tls_crl_summary *ret);
#endif
