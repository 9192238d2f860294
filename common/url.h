/*
 * url: the URLs we fetch from: http and https, in the one spelling that leaves nothing to guess.
 * Where they come from is a configuration or a certificate, so what is not exactly of this form is
 * refused. Pure functions, thread-safe.
 */
#ifndef SALLYPORT_COMMON_URL_H
#define SALLYPORT_COMMON_URL_H
#include "common/addr.h"
#include "common/error.h"

#define SP_URL_MAX 2000 /* bytes; longer ones are refused */

struct sp_url {
    bool https;
    struct sp_target target; /* the port is the scheme's where the URL has none */
};

/* http or https, a host (a name, or an address as RFC 3986 writes it: none of inet_aton's other
 * spellings), a port of 1..65535 or none. Refused: user info, a fragment, control characters,
 * spaces, backslashes and what is not ASCII. SP_ERR_CONFIG, with the URL in the text. */
SP_MUST_USE enum sp_err sp_url_parse(const char *text, struct sp_url *ret_url,
                                     struct sp_error *err);
/* What `reference` means that a server at `base` (one that sp_url_parse takes) has sent as a
 * Location: an absolute URL as it is, else it is put together with base; without the fragment.
 * Whether the result is a good one is sp_url_parse's matter. False: it is longer than SP_URL_MAX.
 */
bool sp_url_join(const char *base, const char *reference, char ret_url[SP_URL_MAX + 1]);
/* The same as sp_url_parse for configurations (json_bind's check). */
SP_MUST_USE enum sp_err sp_url_check(const char *text, struct sp_error *err);
#endif
