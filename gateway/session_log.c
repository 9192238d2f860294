#include "gateway/session_impl.h"

#include "common/clock.h"
#include "common/conn.h"
#include "common/evidence.h"
#include "common/log.h"
#include "common/loop.h"
#include "gateway/config.h"
#include "gateway/registry.h"
#include "gateway/tenant.h"

#include <stdarg.h>
#include <stdio.h>

void gw_session_log_decision(struct gw_session *s, const struct gw_decision *d)
{
    char text[SP_ADDR_TEXT];
    struct sp_log_line line;

    s->logged = true;
    if (s->tenant)
        gw_shadow_count(s->tenant, &d->shadow);
    if (!sp_log_begin(&line, s->all->options.log,
                      d->verdict.action == SP_ACTION_ALLOW ? SP_LOG_INFO : SP_LOG_WARNING,
                      "tunnel"))
        return;
    sp_log_str(&line, "tunnel", s->id);
    sp_log_str(&line, "tenant", s->tenant ? s->tenant->id : NULL);
    sp_log_str(&line, "peer", sp_addr_format(&s->peer, text));
    gw_decision_log(&line, d);
    sp_evidence_session(&line, sp_tunnel_tls(s->tunnel));
    sp_log_end(&line);
}

void gw_session_log_bad_request(const struct gw_session *s, int status, const char *text)
{
    char peer[SP_ADDR_TEXT];
    struct sp_log_line line;

    if (!sp_log_begin(&line, s->all->options.log, SP_LOG_WARNING, "bad_request"))
        return;
    sp_log_str(&line, "tunnel", s->id);
    sp_log_str(&line, "tenant", s->tenant ? s->tenant->id : NULL);
    sp_log_str(&line, "peer", sp_addr_format(&s->peer, peer));
    sp_log_int(&line, "status", status);
    sp_log_str(&line, "detail", text);
    sp_log_end(&line);
}

/* The handshake came to nothing before a verdict: it is still one decision, one line. Whoever it
 * was has proved nothing, so no identity is written. */
void gw_session_log_no_handshake(struct gw_session *s, const struct sp_error *why)
{
    char text[SP_ADDR_TEXT], message[512];
    struct sp_log_line line;
    struct gw_decision d;

    if (why->kind == SP_ERR_TLS && why->code == SP_CONN_NOT_TLS) {
        gw_decision_without_chain(&d, SP_REASON_NOT_TLS, why->text, sp_clock_wall_s());
        gw_session_log_decision(s, &d);
        return;
    }
    if (!sp_log_begin(&line, s->all->options.log, SP_LOG_WARNING, "tunnel"))
        return;
    sp_log_str(&line, "tunnel", s->id);
    sp_log_str(&line, "tenant", s->tenant ? s->tenant->id : NULL);
    sp_log_str(&line, "peer", sp_addr_format(&s->peer, text));
    sp_log_str(&line, "action", sp_action_name(SP_ACTION_BLOCK));
    sp_log_str(&line, "validate_status", "failed");
    sp_log_array_begin(&line, "observed_errors");
    sp_log_array_end(&line);
    sp_log_str(&line, "error", sp_error_message(why, message, sizeof message));
    if (why->kind == SP_ERR_PEER_ALERT)
        sp_log_str(&line, "detail", sp_alert_sentence(why->code, false));
    sp_evidence_session(&line, sp_tunnel_tls(s->tunnel));
    sp_log_end(&line);
}

void gw_session_log_closed(const struct gw_session *s, const struct sp_error *why)
{
    char text[SP_ADDR_TEXT], message[512];
    struct sp_log_line line;
    uint64_t now = sp_loop_now_ms(s->all->options.loop);

    if (!sp_log_begin(&line, s->all->options.log, SP_LOG_INFO, "tunnel_closed"))
        return;
    sp_log_str(&line, "tunnel", s->id);
    sp_log_str(&line, "tenant", s->tenant->id);
    sp_log_str(&line, "peer", sp_addr_format(&s->peer, text));
    if (why->kind != SP_OK)
        sp_log_str(&line, "error", sp_error_message(why, message, sizeof message));
    sp_log_int(&line, "channels", (int64_t)s->channels);
    sp_log_int(&line, "cut", (int64_t)sp_tunnel_channel_count(s->tunnel));
    sp_log_int(&line, "duration_ms", (int64_t)(now - sp_tunnel_opened_ms(s->tunnel)));
    sp_log_end(&line);
}

void gw_sessions_log_turned_away(struct gw_sessions *all, const struct sp_addr *peer,
                                 const char *why, ...)
{
    char text[SP_ADDR_TEXT], because[200];
    va_list args;

    all->turned_away++;
    if (!sp_token_bucket_take(&all->limit_lines, sp_loop_now_ms(all->options.loop)))
        return;
    va_start(args, why);
    vsnprintf(because, sizeof because, why, args);
    va_end(args);
    sp_log_message(all->options.log, SP_LOG_WARNING, "limit",
                   "%zu turned away, the last one %s: %s", all->turned_away,
                   sp_addr_format(peer, text), because);
    all->turned_away = 0;
}
