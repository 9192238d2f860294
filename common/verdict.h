/*
 * verdict: the one decision about a tunnel, for both sides. A pure function of facts and policy:
 * no clock (`now` is a parameter), no I/O, no TLS library. Nothing is relayed but as its result
 * says (invariant 1).
 *
 * Facts come from tls_chain (the certificate chain) and from the caller (tenant, server name);
 * policy comes from the configuration.
 */
#ifndef SALLYPORT_COMMON_VERDICT_H
#define SALLYPORT_COMMON_VERDICT_H
#include "common/error.h"
#include "common/json_bind.h"
#include <stdbool.h>
#include <stdint.h>

/* id, name, TLS alert (RFC 8446 section 6.2; -1: no alert), covered by `on_failure: allow`.
 * The order is the order of weight: of several reasons that block, the first one here is the one
 * that is named as the cause and whose alert is sent. */
#define SP_REASON_MAP(XX)                                                                          \
    XX(NOT_TLS, "not_tls", -1, false)                                                              \
    XX(UNKNOWN_SERVER_NAME, "unknown_server_name", 112, false)                                     \
    XX(TENANT_DISABLED, "tenant_disabled", 49, false)                                              \
    XX(TENANT_UNKNOWN, "tenant_unknown", 49, false)                                                \
    XX(TENANT_AMBIGUOUS, "tenant_ambiguous", 49, false)                                            \
    XX(NO_CERTIFICATE, "no_certificate", 116, true)                                                \
    XX(CHAIN_TOO_LARGE, "chain_too_large", 42, true)                                               \
    XX(REVOKED, "revoked", 44, false)                                                              \
    XX(BAD_SIGNATURE, "bad_signature", 42, true)                                                   \
    XX(UNTRUSTED_ISSUER, "untrusted_issuer", 48, true)                                             \
    XX(MISSING_INTERMEDIATE, "missing_intermediate", 48, true)                                     \
    XX(CONSTRAINT_VIOLATION, "constraint_violation", 42, true)                                     \
    XX(WEAK_ALGORITHM, "weak_algorithm", 42, true)                                                 \
    XX(EXPIRED, "expired", 45, true)                                                               \
    XX(NOT_YET_VALID, "not_yet_valid", 45, true)                                                   \
    XX(WRONG_PURPOSE, "wrong_purpose", 43, true)                                                   \
    XX(NAME_MISMATCH, "name_mismatch", 42, true)                                                   \
    XX(CRL_STALE, "crl_stale", 46, true)                                                           \
    XX(REVOCATION_UNKNOWN, "revocation_unknown", 46, true)

enum sp_reason {
#define XX(id, name, alert, blanket) SP_REASON_##id,
    SP_REASON_MAP(XX)
#undef XX
        SP_REASON_COUNT
};

const char *sp_reason_name(enum sp_reason reason);
int sp_reason_alert(enum sp_reason reason);
bool sp_reason_in_blanket(enum sp_reason reason);
/* NULL-terminated, in enum order: for json_bind tables. */
extern const char *const sp_reason_names[SP_REASON_COUNT + 1];

typedef uint32_t sp_reason_set; /* bit (1 << reason) */
#define SP_REASON_BIT(reason) ((sp_reason_set)1 << (reason))

/* What is known about the peer's chain, for the decision and for the log. Filled by
 * sp_chain_examine (common/tls_chain.h). Text is UTF-8 as found: escape it where it is shown. */
#define SP_DN_MAX 512
/* What said whether a certificate is revoked. */
struct sp_revocation {
    char from[256];   /* the list's file, the list's or the responder's URL; "": nobody said */
    char signer[256]; /* of an OCSP response; "": the issuer of the list */
    char response_hash[72];           /* of an OCSP response: "sha256:" + hex of its DER */
    int64_t this_update, next_update; /* 0: none is given */
    bool stapled;                     /* the peer sent it in the handshake */
};
#define SP_PATH_MAX  1024
#define SP_PATH_STEP "\x1f" /* between the names of a path; replaced where a name has one */
struct sp_facts {
    sp_reason_set observed;
    bool has_certificate; /* the fields below are about a leaf that was presented */
    char subject[SP_DN_MAX], issuer[SP_DN_MAX]; /* RFC 4514 */
    char serial[64];                            /* hex, lower case, no separators */
    char fingerprint[72];                       /* "sha256:" + hex, of the leaf's DER */
    unsigned chain_len;                         /* certificates presented */
    char path[SP_PATH_MAX]; /* the path that was judged: subjects (long ones are cut) from the
                               leaf up, SP_PATH_STEP between them; "": none was looked for */
    bool path_is_trusted;   /* it ends with a trusted CA */
    unsigned paths_tried;   /* of which this one is the best */
    int64_t not_before, not_after; /* of the path: latest notBefore, earliest notAfter; seconds */
    bool all_times_off; /* every certificate of the path (of more than one) has expired, or none of
                           them is valid yet: rather the clock than they */
    struct sp_revocation crl;  /* the list of the leaf's issuer; where another one decided, that */
    struct sp_revocation ocsp; /* about the leaf */
    /* Observed too, but nothing that could block: the administrator asked for it in so many words
     * (revocation_unknown under `ocsp.mode: soft`). */
    sp_reason_set noted;
    int64_t
        holds_until; /* from this second on the same chain may be found worse: a certificate
                        of the path expires, a list or an answer grows stale; INT64_MAX: never */
    bool steady;     /* nothing observed, and the same would be found at any time of not_before to
                        not_after, both included: what a cache of these facts may rely on */
    char detail[SP_DN_MAX]; /* a sentence fragment on the weightiest reason: "issuer 'CN=x' is not
                               known", "expired 3 days ago"; "" when nothing is observed */
};

/* Observes one more; the detail is kept if it belongs to the weightiest reason now, or if there is
 * none yet. SP_REASON_COUNT: only the detail, for what is noted. */
void sp_facts_add(struct sp_facts *facts, enum sp_reason reason, const char *fmt, ...)
    SP_PRINTF(3, 4);

enum sp_decision { SP_DECIDE_UNSET, SP_DECIDE_ALLOW, SP_DECIDE_BLOCK };
extern const char *const sp_decision_names[]; /* "", "allow", "block", NULL */

/* One reason forgiven to one certificate for some time. Beats `on` and `on_failure`. */
struct sp_exception {
    char *fingerprint; /* as in struct sp_facts, lower case */
    int reason;        /* enum sp_reason */
    char *until_text;  /* RFC 3339, UTC */
    int64_t until;     /* the same; from this second on the exception does nothing */
    char *note;        /* for people; NULL: none */
};

struct sp_policy {
    int on_failure;                  /* enum sp_decision; UNSET is BLOCK */
    int on[SP_REASON_COUNT];         /* enum sp_decision; UNSET: on_failure decides, where it may */
    struct sp_json_array exceptions; /* of struct sp_exception */
    const char *source;              /* borrowed: "tenants.d/c123456.json: $.client_validation" */
};

/* Reasons that are about a certificate that was presented: what an exception may name. */
bool sp_reason_is_excusable(enum sp_reason reason);

enum sp_action { SP_ACTION_BLOCK, SP_ACTION_ALLOW_UNVALIDATED, SP_ACTION_ALLOW };
const char *sp_action_name(enum sp_action action); /* "block", "allow-unvalidated", "allow" */

struct sp_verdict {
    sp_reason_set observed; /* what was noted is not in it */
    sp_reason_set noted;
    enum sp_action action;
    enum sp_reason reason; /* the weightiest one that decided, or was noted where nothing was
                              observed; SP_REASON_COUNT: none */
    int alert;             /* to send when blocked; -1: none */
    char rule[256]; /* "<source>.exceptions[0]", "<source>.on.expired", "<source>.on_failure" ("
                       (default: block)" after it where it is not set), "built-in: revoked is never
                       covered by on_failure", "" when nothing was observed; a long source keeps its
                       end */
    int64_t holds_until; /* from this second on the same facts may be decided otherwise, since an
                            exception ends; INT64_MAX: never */
};

/* The one policy key that makes a reason a noted one. */
#define SP_RULE_OCSP_SOFT ".ocsp.mode (soft)"

/* validate_status of the log: "valid" (nothing observed), "unvalidated" (observed, allowed by
 * policy), "failed" (blocked). */
const char *sp_verdict_status(const struct sp_verdict *verdict);

/* Of the rules for a reason the most particular one decides: an exception for this certificate that
 * has not ended by `now`, else `on`, else on_failure where it may.
 *
 * policy NULL: no tenant is known, so everything observed blocks. Silent facts are not good news:
 * nothing observed and no certificate counts as no_certificate, nothing observed and no policy as
 * tenant_unknown. */
void sp_verdict_decide(const struct sp_facts *facts, const struct sp_policy *policy, int64_t now,
                       struct sp_verdict *ret_verdict);

/* What an alert from the peer means, for people ("the gateway does not know the CA that issued our
 * certificate"); never NULL. `we_are_client`: the agent's view of a gateway's alert. */
const char *sp_alert_sentence(int alert, bool we_are_client);
const char *sp_alert_name(int alert); /* RFC 8446 name, "unknown_ca"; "alert" if unknown */
#endif
