/*
 * tls_session: one TLS session, bytes in and bytes out. No sockets, so two of them can talk in
 * memory in a test. The only code that drives GnuTLS sessions.
 *
 * Feed what the network gave (sp_tls_feed), then drive sp_tls_step until SP_AGAIN: it runs the
 * handshake, asks the owner (server: which identity for this server name; both: is the peer's
 * chain good), and hands out decrypted records. What is to be sent collects in sp_tls_output.
 * Only whole records are given to GnuTLS, which keeps an idle session small (doc/DESIGN.md, 5).
 * The owner's decision about the peer may have to wait for something (SP_TLS_WAIT): then the
 * session stands still, takes and gives nothing, until sp_tls_continue.
 *
 * One thread at a time. Callbacks must not free the session, nor call sp_tls_continue.
 * Invariants kept here: tickets are bound to one key given by the owner per tenant and exist only
 * where a certificate is required (2, 4); a resumed session asks `on_peer` again with the chain it
 * carries (3); a chain whose key was not proved is no identity (4); a second ClientHello with
 * another name is refused (5); 0-RTT and renegotiation never happen.
 */
#ifndef SALLYPORT_COMMON_TLS_SESSION_H
#define SALLYPORT_COMMON_TLS_SESSION_H
#include "common/addr.h"
#include "common/buf.h"
#include "common/tls_chain.h"
#include <stdint.h>

struct sp_tls_session; /* opaque */
struct sp_tls_cred;
struct sp_tls_params; /* opaque, immutable, shared: versions and ciphers */

enum sp_tls_version { SP_TLS_1_2, SP_TLS_1_3 };
enum sp_tls_protocol { SP_ALPN_NONE, SP_ALPN_HTTP1, SP_ALPN_H2 };

SP_MUST_USE enum sp_err sp_tls_params_new(enum sp_tls_version min_version,
                                          struct sp_tls_params **ret_params, struct sp_error *err);
void sp_tls_params_free(struct sp_tls_params *params); /* after all sessions that use it */

#define SP_TICKET_KEY_LEN 64

/* The server's answer to a ClientHello. */
struct sp_tls_choice {
    struct sp_tls_cred *cred;  /* borrowed until the session is freed */
    bool certificate_optional; /* ask for a client certificate, but do not insist: no tickets */
    bool tickets;
    uint8_t ticket_key[SP_TICKET_KEY_LEN]; /* this tenant's, this trust epoch's */
};

enum sp_tls_judgement { SP_TLS_ACCEPT, SP_TLS_REFUSE, SP_TLS_WAIT };

/* Valid while the callback that is given it runs. */
struct sp_tls_peer {
    const struct sp_chain *chain; /* count 0: none was sent, or its key was not proved */
    bool resumed;
    /* The OCSP response that the peer stapled for its leaf in this handshake, TLS 1.3 both ways,
     * TLS 1.2 of a server; len 0: none, as always when resumed. Nobody has verified it. */
    struct sp_bytes staple;
};

struct sp_tls_callbacks {
    /* Server: once per session, when the first ClientHello is in. name: folded, or NULL when none
     * was sent. False: refuse with unrecognized_name. */
    bool (*on_hello)(void *ctx, const char *name, struct sp_tls_choice *ret_choice);
    /* Server, instead: the name sent was malformed; it is refused with unrecognized_name. */
    void (*on_bad_name)(void *ctx);
    /* Before the session is open, for full handshakes and resumed ones: may the peer go on? Asked
     * until it is decided, then never again. REFUSE sends *ret_alert. WAIT: what the decision needs
     * is being fetched; the session stands still until sp_tls_continue, and is then asked again
     * with the same peer. Where nothing can wait WAIT is refused with internal_error: a server
     * under TLS 1.2 in a full handshake (see on_claim), and a chain that GnuTLS itself refused
     * (count 0 where a certificate is required, count above SP_CHAIN_MAX_CERTS). */
    enum sp_tls_judgement (*on_peer)(void *ctx, const struct sp_tls_peer *peer, int *ret_alert);
    /* Server under TLS 1.2, full handshake: the chain that a client claims, before its key is
     * proved: a chance to fetch what on_peer will need. False: wait for sp_tls_continue, and be
     * asked again. True: go on, not asked again. NULL: not asked. */
    bool (*on_claim)(void *ctx, const struct sp_chain *chain);
};

struct sp_tls_client_options {
    const char *server_name;  /* SNI; an address: none is sent */
    struct sp_tls_cred *cred; /* own identity; NULL: none. Sent whatever CAs the server names */
    bool offer_h2;            /* ALPN h2 (only); false: http/1.1 */
};

SP_MUST_USE enum sp_err sp_tls_server_new(const struct sp_tls_params *params,
                                          const struct sp_tls_callbacks *callbacks, void *ctx,
                                          struct sp_tls_session **ret_session,
                                          struct sp_error *err);
SP_MUST_USE enum sp_err sp_tls_client_new(const struct sp_tls_params *params,
                                          const struct sp_tls_client_options *options,
                                          const struct sp_tls_callbacks *callbacks, void *ctx,
                                          struct sp_tls_session **ret_session,
                                          struct sp_error *err);
void sp_tls_free(struct sp_tls_session *session);

/* Gives bytes from the network; they are borrowed until the step that returns SP_AGAIN (which keeps
 * a copy of an incomplete record) or sp_tls_park. len 0: the peer's FIN. */
void sp_tls_feed(struct sp_tls_session *session, const void *data, size_t len);
/* Copies what was fed and not yet used, so that the caller may reuse its buffer: for a caller that
 * stops stepping early. */
SP_MUST_USE enum sp_err sp_tls_park(struct sp_tls_session *session, struct sp_error *err);

enum sp_tls_event {
    SP_TLS_NOTHING, /* needs more input or, when sp_tls_is_waiting, the owner's word */
    SP_TLS_OPEN,    /* the handshake is done and the peer accepted: returned once */
    SP_TLS_DATA,    /* *ret_data, a record's, valid until sp_tls_release */
    SP_TLS_EOF,     /* close_notify: the peer sends no more; returned once, writing still works */
    SP_TLS_FAILED,  /* err says why; an alert for the peer may be in the output. Final */
};
/* So many SP_TLS_DATA there may be before sp_tls_release; the step after them releases all. Those
 * of one read (SP_LOOP_SCRATCH) and of a short end behind it. */
#define SP_TLS_PACKETS 10
/* SP_TLS_FAILED kinds: SP_ERR_PEER_CERT (on_peer refused; .code alert), SP_ERR_PEER_ALERT (.code
 * alert), SP_ERR_TLS (protocol; .code GNUTLS_E_*), SP_ERR_CLOSED (FIN without close_notify). */
enum sp_tls_event sp_tls_step(struct sp_tls_session *session, struct sp_bytes *ret_data,
                              struct sp_error *err);

/* What was handed out is not used any more. */
void sp_tls_release(struct sp_tls_session *session);

/* Server, before its first step: what the ClientHello that was fed and parked asks for, without any
 * work on it: the name, folded ("": none, or malformed), and whether it brings a ticket. Nothing is
 * verified. False: it is not whole yet, or not in one record. */
bool sp_tls_peek_hello(const struct sp_tls_session *session, char ret_name[SP_HOST_MAX + 1],
                       bool *ret_resumes);
/* A step would have something to do: a whole record is there. */
bool sp_tls_has_record(struct sp_tls_session *session);

/* The owner is asked again at the next step. No effect when the session does not wait. */
void sp_tls_continue(struct sp_tls_session *session);
/* The last word was SP_TLS_WAIT. What is fed meanwhile is kept, up to a limit whose passing ends
 * the session: the caller stops reading. */
bool sp_tls_is_waiting(const struct sp_tls_session *session);

/* Encrypts all of data (after SP_TLS_OPEN). Output may pass its soft limit by one call's records:
 * the caller asks for room first. */
SP_MUST_USE enum sp_err sp_tls_write(struct sp_tls_session *session, const void *data, size_t len,
                                     struct sp_error *err);
/* close_notify: we send no more, still receive. */
void sp_tls_close_notify(struct sp_tls_session *session);
/* Fatal alert into the output; the session is over. */
void sp_tls_alert(struct sp_tls_session *session, int alert);
struct sp_buf *sp_tls_output(struct sp_tls_session *session); /* to be sent, then consumed */

bool sp_tls_is_open(const struct sp_tls_session *session);
bool sp_tls_is_resumed(const struct sp_tls_session *session);
enum sp_tls_protocol sp_tls_alpn(const struct sp_tls_session *session);
const char *sp_tls_server_name(const struct sp_tls_session *session);  /* folded SNI; NULL: none */
const char *sp_tls_version_name(const struct sp_tls_session *session); /* "TLS1.3"; "" before */
const char *sp_tls_cipher_name(const struct sp_tls_session *session); /* "AES-128-GCM"; "" before */
/* The chain that on_peer saw (proved key only), valid for the session's life: for deciding again.
 */
void sp_tls_peer_chain(const struct sp_tls_session *session, struct sp_chain *ret_chain);
/* False when a connection to us that begins with this byte does not speak TLS. */
bool sp_tls_may_begin(const struct sp_tls_session *session, uint8_t first_byte);
#endif
