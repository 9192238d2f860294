/*
 * session_impl: what the files of gateway/session share. Private to session*.c.
 */
#ifndef SALLYPORT_GATEWAY_SESSION_IMPL_H
#define SALLYPORT_GATEWAY_SESSION_IMPL_H
#include "common/token_bucket.h"
#include "common/tunnel.h"
#include "gateway/admission.h"
#include "gateway/carry.h"
#include "gateway/decision.h"
#include "gateway/live.h"
#include "gateway/session.h"

struct gw_sessions {
    struct gw_sessions_options options;
    struct gw_registry *registry;
    uint64_t generation; /* of the registry: its address may be that of one that is gone */
    struct sp_resolver *resolver;
    struct gw_session *first;      /* newest first */
    struct gw_session *sweep_next; /* the next to be decided again; NULL: no sweep */
    struct sp_timer *sweep_timer;
    struct {
        uint64_t begun_us, longest_us, busiest_us; /* of its slices: by the clock, of CPU time */
        size_t decided, slices;
    } sweep; /* for a line of the log at its end */
    struct gw_live *live;
    struct sp_timer *review_timer;
    size_t count;
    struct gw_carries carries;
    struct gw_chain_cache *chains; /* of this generation */
    uint64_t next_id;
    struct gw_admission *admission;
    size_t turned_away; /* since the last line that said so */
    struct sp_token_bucket limit_lines;
    bool draining;
};

struct gw_session {
    struct gw_live_entry live; /* first: the entry is the session */
    struct gw_sessions *all;
    struct gw_session *next, **prev;
    struct sp_tunnel *tunnel;     /* NULL: gone; channels may still hold the session */
    struct gw_tenant *tenant;     /* NULL: not known (yet) */
    uint64_t decided_under;       /* the registry's generation */
    struct sp_tls_cred *cred;     /* that was shown: held, since it may be dropped elsewhere */
    struct gw_decision *decision; /* from the verdict until it is logged */
    /* What was decided last, to tell whether a new decision is news. */
    sp_reason_set observed;
    enum sp_action action;
    struct sp_addr peer;
    char id[32];
    size_t refs; /* the tunnel, and each channel */
    uint64_t channels;
    struct gw_admission_item admission; /* whose turn it is, while it handshakes */
    bool begun;                         /* its handshake had its first turn */
    bool by_certificate; /* the server name is a common one: the chain says whose client it is */
    bool up, logged, unvalidated, counted;
    bool closing;  /* it failed a decision, or was one too many */
    bool has_news; /* something else became known about its certificate before it was up */
};

/* ---- session_decide.c ---- */

bool gw_session_on_hello(void *ctx, const char *name, struct sp_tls_choice *ret_choice);
void gw_session_on_bad_name(void *ctx);
bool gw_session_on_claim(void *ctx, const struct sp_chain *chain);
enum sp_tls_judgement gw_session_on_peer(void *ctx, const struct sp_tls_peer *peer, int *ret_alert);
/* The tunnel is up: what was decided is logged and holds for some time. */
void gw_session_decided(struct gw_session *s);
/* Decides an open tunnel under the present registry (invariant 6). Closes what no longer passes. */
void gw_session_after_reload(struct gw_session *s);
/* The same, since the last decision does not hold any longer. */
void gw_session_review(struct gw_session *s);

/* ---- session_log.c ---- */

void gw_session_log_decision(struct gw_session *s, const struct gw_decision *d);
void gw_session_log_bad_request(const struct gw_session *s, int status, const char *text);
/* The handshake came to nothing before a verdict: it is still one decision, one line. */
void gw_session_log_no_handshake(struct gw_session *s, const struct sp_error *why);
void gw_session_log_closed(const struct gw_session *s, const struct sp_error *why);
/* A flood of connections must not be a flood of lines: counts it, and now and then says how many
 * there were and why the last one was. */
void gw_sessions_log_turned_away(struct gw_sessions *all, const struct sp_addr *peer,
                                 const char *why, ...) SP_PRINTF(3, 4);
#endif
