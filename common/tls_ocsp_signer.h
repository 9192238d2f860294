/*
 * tls_ocsp_signer: who signed an OCSP response, and whether he may: the issuer of the certificate,
 * or one to whom that very issuer has delegated it (RFC 6960 4.2.2.2). For tls_ocsp only.
 *
 * Pure and thread-safe. Costs at most two signature checks for each certificate in the response.
 */
#ifndef SALLYPORT_COMMON_TLS_OCSP_SIGNER_H
#define SALLYPORT_COMMON_TLS_OCSP_SIGNER_H
#include "common/tls_ocsp.h"
#include "common/tls_ocsp_parse.h"

/* NULL: signed by one who may; his name is in `responder`, and in `delegate` the serial number of
 * his certificate if it may be revoked (struct sp_ocsp_answer). Else why not, in buf. */
const char *sp_ocsp_signer_problem(const struct sp_ocsp_basic *basic,
                                   const struct sp_tls_outline *issuer, int64_t now,
                                   char responder[SP_DN_MAX], char delegate[SP_OCSP_SERIAL_TEXT],
                                   char *buf, size_t buf_len);
#endif
