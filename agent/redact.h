/*
 * redact: text without the secrets that may be in it, for what leaves this device (a support
 * bundle): user information of URLs, PINs of PKCS#11 URIs, credentials of HTTP, private keys. Takes
 * away too much rather than too little. Pure; any thread.
 */
#ifndef SALLYPORT_AGENT_REDACT_H
#define SALLYPORT_AGENT_REDACT_H
#include <stdbool.h>

struct sp_json_field;

#define AGENT_REDACTED "(removed)"

/* The caller frees it. */
char *agent_redact(const char *text);
/* Whether a key of the configuration is called like a secret; one that names a file is none. */
bool agent_redact_is_secret(const struct sp_json_field *field);
#endif
