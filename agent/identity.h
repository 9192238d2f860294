/*
 * identity: who the agent is: what `identity` of agent.json may say, and the credential that it
 * comes to: of PEM files, of a PKCS#12 file, with its key in a token, or one of a folder.
 *
 * Blocking (files, tokens): at start, at a reload, and when files change. Loop thread.
 */
#ifndef SALLYPORT_AGENT_IDENTITY_H
#define SALLYPORT_AGENT_IDENTITY_H
#include "common/error.h"
#include "common/json_bind.h"
#include <stdint.h>

struct sp_log;
struct sp_tls_cred;
struct sp_warnings;

/* certificate and private_key, or pkcs12, or store; agent_identity_check sees to it. */
struct agent_identity {
    char *certificate, *private_key; /* paths, or pkcs11: URIs */
    char *pin_file, *pkcs11_module;  /* of those; NULL: none, all that p11-kit knows */
    char *pkcs12;
    char *password_file; /* of whatever is encrypted */
    char *store;
    char *subject_contains, *issuer_contains; /* of the store's; NULL: any */
    uint64_t warn_days;                       /* before its end the state says so */
};
extern const struct sp_json_field agent_identity_fields[];
/* What no table row can say. */
SP_MUST_USE enum sp_err agent_identity_check(const struct agent_identity *identity,
                                             const char *file, struct sp_error *err);

/* The credential, and where it was found. */
struct agent_own {
    struct sp_tls_cred *cred;
    char *path;       /* of the certificate, or its URI */
    int64_t again_at; /* from this second on another of the store may be the right one; or never */
};
/* Warnings: that the certificate is not valid at `now`; what of a store cannot be used, and where
 * none of it can be chosen, its candidates. Errors have file and JSON path. */
SP_MUST_USE enum sp_err agent_identity_load(const struct agent_identity *identity, const char *file,
                                            int64_t now, struct sp_warnings *warnings,
                                            struct agent_own *ret_own, struct sp_error *err);
void agent_own_copy(const struct agent_own *own, struct agent_own *ret_copy);
void agent_own_done(struct agent_own *own);

#define AGENT_OWN_TEXT 2048
/* For people, on one line. Returns buf. */
const char *agent_own_describe(const struct agent_own *own, char *buf, size_t size);
/* The event `identity`. cause: "start", "reload", "renewed". */
void agent_own_log(const struct agent_own *own, struct sp_log *log, const char *cause);
#endif
