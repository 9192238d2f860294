#include "common/verdict.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct reason_row {
    const char *name;
    int alert;
    bool blanket;
};

static const struct reason_row reason_rows[SP_REASON_COUNT] = {
#define XX(id, name, alert, blanket) [SP_REASON_##id] = {name, alert, blanket},
    SP_REASON_MAP(XX)
#undef XX
};

const char *const sp_reason_names[SP_REASON_COUNT + 1] = {
#define XX(id, name, alert, blanket) name,
    SP_REASON_MAP(XX)
#undef XX
        NULL,
};

const char *const sp_decision_names[] = {"", "allow", "block", NULL};

const char *sp_reason_name(enum sp_reason reason)
{
    return (unsigned)reason < SP_REASON_COUNT ? reason_rows[reason].name : "none";
}

int sp_reason_alert(enum sp_reason reason)
{
    return (unsigned)reason < SP_REASON_COUNT ? reason_rows[reason].alert : -1;
}

bool sp_reason_in_blanket(enum sp_reason reason)
{
    return (unsigned)reason < SP_REASON_COUNT && reason_rows[reason].blanket;
}

bool sp_reason_is_excusable(enum sp_reason reason)
{
    switch (reason) {
    case SP_REASON_NOT_TLS:
    case SP_REASON_UNKNOWN_SERVER_NAME:
    case SP_REASON_TENANT_DISABLED:
    case SP_REASON_TENANT_UNKNOWN:
    case SP_REASON_TENANT_AMBIGUOUS:
    case SP_REASON_NO_CERTIFICATE:
    case SP_REASON_COUNT:
        return false;
    case SP_REASON_CHAIN_TOO_LARGE:
    case SP_REASON_REVOKED:
    case SP_REASON_BAD_SIGNATURE:
    case SP_REASON_UNTRUSTED_ISSUER:
    case SP_REASON_MISSING_INTERMEDIATE:
    case SP_REASON_CONSTRAINT_VIOLATION:
    case SP_REASON_WEAK_ALGORITHM:
    case SP_REASON_EXPIRED:
    case SP_REASON_NOT_YET_VALID:
    case SP_REASON_WRONG_PURPOSE:
    case SP_REASON_NAME_MISMATCH:
    case SP_REASON_CRL_STALE:
    case SP_REASON_REVOCATION_UNKNOWN:
        return true;
    }
    return false;
}

const char *sp_action_name(enum sp_action action)
{
    switch (action) {
    case SP_ACTION_BLOCK:
        return "block";
    case SP_ACTION_ALLOW_UNVALIDATED:
        return "allow-unvalidated";
    case SP_ACTION_ALLOW:
        return "allow";
    }
    return "block";
}

const char *sp_verdict_status(const struct sp_verdict *verdict)
{
    switch (verdict->action) {
    case SP_ACTION_BLOCK:
        return "failed";
    case SP_ACTION_ALLOW_UNVALIDATED:
        return "unvalidated";
    case SP_ACTION_ALLOW:
        return "valid";
    }
    return "failed";
}

void sp_facts_add(struct sp_facts *facts, enum sp_reason reason, const char *fmt, ...)
{
    bool is_weightiest = !(facts->observed & (SP_REASON_BIT(reason) - 1));
    va_list args;

    if (reason < SP_REASON_COUNT)
        facts->observed |= SP_REASON_BIT(reason);
    if (!is_weightiest)
        return;
    va_start(args, fmt);
    vsnprintf(facts->detail, sizeof facts->detail, fmt, args);
    va_end(args);
}

/* The end of a source says more than its beginning ("...c1.json: $.client_validation"), and the
 * key behind it must never be cut off: it is what decided. */
#define RULE_SOURCE_MAX 200

static void rule_name(struct sp_verdict *v, const struct sp_policy *policy, const char *key,
                      const char *key_end)
{
    const char *source = policy->source ? policy->source : "policy";
    size_t len = strlen(source);
    bool cut = len > RULE_SOURCE_MAX;

    if (cut)
        source += len - RULE_SOURCE_MAX;
    snprintf(v->rule, sizeof v->rule, "%s%s%s%s", cut ? "..." : "", source, key, key_end);
}

/* Whether the peer's certificate has an exception for this reason that has not ended. Loading
 * refuses exceptions for other reasons; one that stands here all the same excuses nothing. */
static bool is_excused(enum sp_reason reason, const struct sp_facts *facts,
                       const struct sp_policy *policy, int64_t now, struct sp_verdict *v)
{
    const struct sp_exception *exceptions = policy->exceptions.items;
    char key[48];

    if (!facts->has_certificate || !facts->fingerprint[0] || !sp_reason_is_excusable(reason))
        return false;
    for (size_t i = 0; i < policy->exceptions.count; i++) {
        if (exceptions[i].reason != (int)reason || now >= exceptions[i].until ||
            strcmp(exceptions[i].fingerprint, facts->fingerprint) != 0)
            continue;
        snprintf(key, sizeof key, ".exceptions[%zu]", i);
        rule_name(v, policy, key, "");
        if (exceptions[i].until < v->holds_until)
            v->holds_until = exceptions[i].until;
        return true;
    }
    return false;
}

/* Whether this one reason blocks, and the rule that says so. Only the exact value ALLOW allows:
 * anything else that could stand in a policy blocks. */
static bool reason_blocks(enum sp_reason reason, const struct sp_facts *facts,
                          const struct sp_policy *policy, int64_t now, struct sp_verdict *v)
{
    if (!policy) {
        snprintf(v->rule, sizeof v->rule, "built-in: no tenant is known, so nothing is allowed");
        return true;
    }
    if (is_excused(reason, facts, policy, now, v))
        return false;
    if (policy->on[reason] != SP_DECIDE_UNSET) {
        rule_name(v, policy, ".on.", reason_rows[reason].name);
        return policy->on[reason] != SP_DECIDE_ALLOW;
    }
    if (!reason_rows[reason].blanket) {
        snprintf(v->rule, sizeof v->rule, "built-in: %s is never covered by on_failure",
                 reason_rows[reason].name);
        return true;
    }
    rule_name(v, policy, ".on_failure",
              policy->on_failure == SP_DECIDE_UNSET ? " (default: block)" : "");
    return policy->on_failure != SP_DECIDE_ALLOW;
}

/* Facts that are silent are not good news: a caller that never examined a chain, or never found a
 * tenant, must not end in `allow` (invariant 1). */
static sp_reason_set observed_at_least(const struct sp_facts *facts, const struct sp_policy *policy)
{
    sp_reason_set observed = facts->observed;

    if (!observed && !facts->has_certificate)
        observed |= SP_REASON_BIT(SP_REASON_NO_CERTIFICATE);
    if (!observed && !policy)
        observed |= SP_REASON_BIT(SP_REASON_TENANT_UNKNOWN);
    return observed;
}

void sp_verdict_decide(const struct sp_facts *facts, const struct sp_policy *policy, int64_t now,
                       struct sp_verdict *ret_verdict)
{
    struct sp_verdict v = {.observed = observed_at_least(facts, policy),
                           .action = SP_ACTION_ALLOW,
                           .noted = facts->noted,
                           .reason = SP_REASON_COUNT,
                           .alert = -1,
                           .holds_until = INT64_MAX};

    SP_REQUIRE(v.observed >> SP_REASON_COUNT == 0);
    SP_REQUIRE((v.noted & ~SP_REASON_BIT(SP_REASON_REVOCATION_UNKNOWN)) == 0);
    for (unsigned r = 0; r < SP_REASON_COUNT; r++) {
        struct sp_verdict one = v;

        if (!(v.observed & SP_REASON_BIT(r)))
            continue;
        if (reason_blocks((enum sp_reason)r, facts, policy, now, &one)) {
            v = one;
            v.action = SP_ACTION_BLOCK;
            v.reason = (enum sp_reason)r;
            v.alert = reason_rows[r].alert;
            break;
        }
        if (v.action == SP_ACTION_ALLOW) { /* the weightiest allowed one, unless a later blocks */
            v = one;
            v.action = SP_ACTION_ALLOW_UNVALIDATED;
            v.reason = (enum sp_reason)r;
        }
        if (one.holds_until < v.holds_until)
            v.holds_until = one.holds_until;
    }
    if (v.reason == SP_REASON_COUNT && v.noted) {
        v.reason = SP_REASON_REVOCATION_UNKNOWN;
        rule_name(&v, policy, SP_RULE_OCSP_SOFT, "");
    }
    *ret_verdict = v;
}

/* Alerts by number: the RFC 8446 (or, for those it dropped, RFC 5246, 6066 or 4346) name, what it
 * means to the agent when the gateway sent it, and to the gateway when the agent sent it. */
#define ALERT_MAP(XX)                                                                              \
    XX(0, "close_notify", "the gateway closed the connection in good order",                       \
       "the client closed the connection in good order")                                           \
    XX(10, "unexpected_message", "the gateway got a TLS message it did not expect",                \
       "the client got a TLS message it did not expect")                                           \
    XX(20, "bad_record_mac",                                                                       \
       "the gateway got damaged data: something on the way changes the connection",                \
       "the client got damaged data: something on the way changes the connection")                 \
    XX(21, "decryption_failed", "the gateway could not decrypt what we sent",                      \
       "the client could not decrypt what we sent")                                                \
    XX(22, "record_overflow", "the gateway got a TLS record that is too long",                     \
       "the client got a TLS record that is too long")                                             \
    XX(30, "decompression_failure", "the gateway could not decompress what we sent",               \
       "the client could not decompress what we sent")                                             \
    XX(40, "handshake_failure",                                                                    \
       "the gateway and we have no TLS version, cipher or key type in common, or it wants a "      \
       "certificate that we did not send",                                                         \
       "the client and we have no cipher, group or key type in common")                            \
    XX(41, "no_certificate", "the gateway has no certificate for us",                              \
       "the client has no certificate for us")                                                     \
    XX(42, "bad_certificate",                                                                      \
       "the gateway rejects our certificate: its signature, a constraint, a weak algorithm or "    \
       "the length of its chain",                                                                  \
       "the client rejects our certificate: damaged, weak, or not for the name it asked for")      \
    XX(43, "unsupported_certificate",                                                              \
       "our certificate is not made for this use: the gateway wants one for client "               \
       "authentication",                                                                           \
       "the client says our certificate is not made for a server, or of a kind it cannot use")     \
    XX(44, "certificate_revoked", "our certificate has been revoked by its CA",                    \
       "the client says our certificate has been revoked")                                         \
    XX(45, "certificate_expired",                                                                  \
       "our certificate has expired or is not valid yet, by the gateway's clock",                  \
       "the client says our certificate has expired or is not valid yet, by its clock")            \
    XX(46, "certificate_unknown",                                                                  \
       "the gateway does not accept our certificate, or cannot find out whether it is revoked",    \
       "the client does not accept our certificate for a reason it does not name")                 \
    XX(47, "illegal_parameter", "the gateway finds a value in our handshake that is not allowed",  \
       "the client finds a value in our handshake that is not allowed")                            \
    XX(48, "unknown_ca",                                                                           \
       "the gateway does not know the CA that issued our certificate, or the certificate of an "   \
       "intermediate CA is missing from our file",                                                 \
       "the client does not trust the CA that issued our certificate, or the certificate of an "   \
       "intermediate CA is missing from our file")                                                 \
    XX(49, "access_denied",                                                                        \
       "the gateway read our certificate but gives it no access: the tenant is disabled, or "      \
       "none fits the certificate",                                                                \
       "the client read our certificate but will not go on")                                       \
    XX(50, "decode_error", "the gateway could not read a TLS message of ours",                     \
       "the client could not read a TLS message of ours")                                          \
    XX(51, "decrypt_error",                                                                        \
       "the gateway could not verify our handshake signature: does our key belong to our "         \
       "certificate?",                                                                             \
       "the client could not verify our handshake signature: does our key belong to our "          \
       "certificate?")                                                                             \
    XX(60, "export_restriction", "the gateway refuses under an export restriction",                \
       "the client refuses under an export restriction")                                           \
    XX(70, "protocol_version", "the gateway does not speak the TLS version we offer",              \
       "the client does not speak the TLS version we chose")                                       \
    XX(71, "insufficient_security", "the gateway wants stronger ciphers than we offer",            \
       "the client wants stronger ciphers than we offer")                                          \
    XX(80, "internal_error", "the gateway had an error of its own: its log says more",             \
       "the client had an error of its own: its log says more")                                    \
    XX(86, "inappropriate_fallback", "the gateway refuses an older TLS version than it could use", \
       "the client refuses an older TLS version than it could use")                                \
    XX(90, "user_canceled", "the gateway gave up the handshake",                                   \
       "the client gave up the handshake: its user cancelled it")                                  \
    XX(100, "no_renegotiation", "the gateway refuses to negotiate again",                          \
       "the client refuses to negotiate again")                                                    \
    XX(109, "missing_extension", "the gateway misses a TLS extension in our handshake",            \
       "the client misses a TLS extension in our handshake")                                       \
    XX(110, "unsupported_extension", "the gateway got a TLS extension it never asked for",         \
       "the client got a TLS extension it never asked for")                                        \
    XX(111, "certificate_unobtainable", "the gateway could not fetch our certificate",             \
       "the client could not fetch our certificate")                                               \
    XX(112, "unrecognized_name",                                                                   \
       "the gateway serves no tenant under the server name we asked for",                          \
       "the client does not recognise the name we serve")                                          \
    XX(113, "bad_certificate_status_response",                                                     \
       "the gateway rejects the revocation status (OCSP) sent with our certificate",               \
       "the client rejects the revocation status (OCSP) sent with our certificate")                \
    XX(114, "bad_certificate_hash_value", "the gateway got another certificate than it expected",  \
       "the client got another certificate than it expected")                                      \
    XX(115, "unknown_psk_identity", "the gateway does not know the pre-shared key we named",       \
       "the client does not know the pre-shared key we named")                                     \
    XX(116, "certificate_required", "the gateway wants a client certificate and we sent none",     \
       "the client wants a certificate and we sent none")                                          \
    XX(120, "no_application_protocol",                                                             \
       "the gateway speaks none of the protocols (ALPN) that we offer",                            \
       "the client speaks none of the protocols (ALPN) that we offer")

struct alert_row {
    int number;
    const char *name, *from_gateway, *from_client;
};

static const struct alert_row *alert_find(int alert)
{
    static const struct alert_row rows[] = {
#define XX(number, name, from_gateway, from_client) {number, name, from_gateway, from_client},
        ALERT_MAP(XX)
#undef XX
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].number == alert)
            return &rows[i];
    return NULL;
}

const char *sp_alert_sentence(int alert, bool we_are_client)
{
    const struct alert_row *row = alert_find(alert);

    if (row)
        return we_are_client ? row->from_gateway : row->from_client;
    return we_are_client ? "the gateway refused the connection with an alert unknown to us"
                         : "the client refused the connection with an alert unknown to us";
}

const char *sp_alert_name(int alert)
{
    const struct alert_row *row = alert_find(alert);

    return row ? row->name : "alert";
}
