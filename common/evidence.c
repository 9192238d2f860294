#include "common/evidence.h"

#include "common/clock.h"
#include "common/tls_session.h"

#include <stdio.h>
#include <string.h>

static void log_source(struct sp_log_line *line, const char *key, const char *from_key,
                       const struct sp_revocation *r)
{
    char time[SP_TIME_LEN];

    sp_log_object_begin(line, key);
    sp_log_str(line, from_key, r->from);
    if (r->stapled)
        sp_log_bool(line, "stapled", true);
    if (r->signer[0])
        sp_log_str(line, "signer", r->signer);
    if (r->this_update)
        sp_log_str(line, "this_update", sp_time_format(r->this_update, time));
    if (r->next_update)
        sp_log_str(line, "next_update", sp_time_format(r->next_update, time));
    if (r->response_hash[0])
        sp_log_str(line, "response_hash", r->response_hash);
    sp_log_object_end(line);
}

static void log_revocation(struct sp_log_line *line, const struct sp_facts *facts)
{
    if (!facts->crl.from[0] && !facts->ocsp.from[0])
        return;
    sp_log_object_begin(line, "revocation");
    if (facts->crl.from[0])
        log_source(line, "crl", "source", &facts->crl);
    if (facts->ocsp.from[0])
        log_source(line, "ocsp", "responder", &facts->ocsp);
    sp_log_object_end(line);
}

static void log_path(struct sp_log_line *line, const char *path)
{
    char name[SP_PATH_MAX];

    if (!*path)
        return;
    sp_log_array_begin(line, "path");
    while (*path) {
        size_t len = strcspn(path, SP_PATH_STEP);

        snprintf(name, sizeof name, "%.*s", (int)len, path);
        sp_log_item(line, name);
        path += len + (path[len] != '\0');
    }
    sp_log_array_end(line);
}

void sp_evidence_verdict(struct sp_log_line *line, const struct sp_facts *facts,
                         const struct sp_verdict *verdict)
{
    char time[SP_TIME_LEN];

    sp_log_str(line, "action", sp_action_name(verdict->action));
    sp_log_str(line, "validate_status", sp_verdict_status(verdict));
    sp_log_array_begin(line, "observed_errors");
    for (int reason = 0; reason < SP_REASON_COUNT; reason++) {
        if ((verdict->observed | verdict->noted) & SP_REASON_BIT(reason))
            sp_log_item(line, sp_reason_name((enum sp_reason)reason));
    }
    sp_log_array_end(line);
    if (verdict->reason != SP_REASON_COUNT) {
        sp_log_str(line, "reason", sp_reason_name(verdict->reason));
        sp_log_str(line, "rule", verdict->rule);
    }
    if (facts->detail[0])
        sp_log_str(line, "detail", facts->detail);
    if (!facts->has_certificate)
        return;
    sp_log_str(line, "subject", facts->subject);
    sp_log_str(line, "issuer", facts->issuer);
    sp_log_str(line, "serial", facts->serial);
    sp_log_str(line, "fingerprint", facts->fingerprint);
    sp_log_int(line, "chain", facts->chain_len);
    log_path(line, facts->path);
    sp_log_str(line, "not_before", sp_time_format(facts->not_before, time));
    sp_log_str(line, "not_after", sp_time_format(facts->not_after, time));
    log_revocation(line, facts);
}

void sp_evidence_session(struct sp_log_line *line, const struct sp_tls_session *session)
{
    static const char *const alpn[] = {
        [SP_ALPN_NONE] = "none", [SP_ALPN_HTTP1] = "http/1.1", [SP_ALPN_H2] = "h2"};

    sp_log_str(line, "sni", sp_tls_server_name(session));
    if (sp_tls_cipher_name(session)[0]) { /* else nothing is agreed yet */
        sp_log_str(line, "tls", sp_tls_version_name(session));
        sp_log_str(line, "cipher", sp_tls_cipher_name(session));
    }
    sp_log_str(line, "alpn", alpn[sp_tls_alpn(session)]);
    sp_log_bool(line, "resumed", sp_tls_is_resumed(session));
}
