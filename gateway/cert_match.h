/*
 * cert_match: `client_validation.match`: patterns that the names of a tenant's clients must fit.
 * They tell tenants apart that trust the same CA, and keep a CA's other clients out of a tenant.
 *
 * A pattern is compared with the whole of a name: `*` stands for any run of characters (also none),
 * `?` for one character, everything else for itself. A character is one of UTF-8, not a byte; in a
 * DN a backslash and what it escapes are one character together, so that no value can pass for two:
 * the comma of "*,O=Acme" is never the one inside "CN=x\,O=Acme".
 * Within a key one pattern that fits one name is enough; every key that is there must fit.
 *
 * Part of the configuration: immutable once loaded. Pure; thread-safe.
 */
#ifndef SALLYPORT_GATEWAY_CERT_MATCH_H
#define SALLYPORT_GATEWAY_CERT_MATCH_H
#include "common/error.h"
#include "common/json_bind.h"
#include "common/tls_names.h"

struct gw_cert_match {
    bool is_set;
    struct sp_json_strings patterns[SP_TLS_NAME_KINDS]; /* folded as the names are; count 0: any */
};

extern const struct sp_json_field gw_cert_match_fields[]; /* of struct gw_cert_match */

/* After binding: an object without a key is an error; folds the patterns. */
SP_MUST_USE enum sp_err gw_cert_match_finish(struct gw_cert_match *match, const char *file,
                                             const char *json_path, struct sp_error *err);

/* Not set: everybody fits. Otherwise *why, where it does not: "no dNSName fits
 * client_validation.match.san_dns". why may be NULL. */
bool gw_cert_match_fits(const struct gw_cert_match *match, const struct sp_tls_names *names,
                        char *why, size_t why_len);

/* One pattern, one name. */
bool gw_cert_match_glob(enum sp_tls_name_kind kind, const char *pattern, const char *text,
                        size_t len);

#define GW_CERT_MATCH_DIGEST 32
/* Equal for equal patterns in the same order. */
void gw_cert_match_digest(const struct gw_cert_match *match,
                          uint8_t ret_digest[GW_CERT_MATCH_DIGEST]);
#endif
