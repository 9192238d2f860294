#include "common/evidence.h"

#include "common/clock.h"
#include "common/tls_session.h"

void sp_evidence_verdict(struct sp_log_line *line, const struct sp_facts *facts,
                         const struct sp_verdict *verdict)
{
    char time[SP_TIME_LEN];

    sp_log_str(line, "action", sp_action_name(verdict->action));
    sp_log_str(line, "validate_status", sp_verdict_status(verdict));
    sp_log_array_begin(line, "observed_errors");
    for (int reason = 0; reason < SP_REASON_COUNT; reason++) {
        if (verdict->observed & SP_REASON_BIT(reason))
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
    sp_log_str(line, "not_before", sp_time_format(facts->not_before, time));
    sp_log_str(line, "not_after", sp_time_format(facts->not_after, time));
    if (!facts->revocation.crl_file[0])
        return;
    sp_log_str(line, "revocation", "crl");
    sp_log_str(line, "crl_file", facts->revocation.crl_file);
    sp_log_str(line, "this_update", sp_time_format(facts->revocation.this_update, time));
    sp_log_str(line, "next_update", sp_time_format(facts->revocation.next_update, time));
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
