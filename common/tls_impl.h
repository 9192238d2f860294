/*
 * tls_impl: what the files behind tls_session.h share: tls_session.c (life and handshake),
 * tls_hello.c (the ClientHello), tls_peer.c (the owner's verdict), tls_record.c (bytes in and out);
 * and what tls_cred.c gives them to present. Nobody else includes it.
 */
#ifndef SALLYPORT_COMMON_TLS_IMPL_H
#define SALLYPORT_COMMON_TLS_IMPL_H
#include "common/addr.h"
#include "common/tls_session.h"
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>

struct sp_tls_params {
    enum sp_tls_version min_version;
    gnutls_priority_t priority;
    gnutls_certificate_credentials_t asks; /* for every session: asks for its own identity */
};

/* An OCSP response, shared by the credential and the sessions that staple it; from any thread. */
struct sp_tls_staple;

/* What GnuTLS is told to present; borrowed from the credential, but for the staple, NULL or the
 * caller's reference. */
struct sp_tls_identity {
    gnutls_pcert_st *certs;
    unsigned count;
    gnutls_privkey_t key;
    struct sp_tls_staple *staple;
};
void sp_tls_cred_identity(struct sp_tls_cred *cred, struct sp_tls_identity *ret_identity);
/* As GnuTLS wants it, valid while the reference is held. */
gnutls_ocsp_data_st *sp_tls_staple_data(struct sp_tls_staple *staple);
void sp_tls_staple_unref(struct sp_tls_staple *staple);

enum sp_tls_phase {
    SP_TLS_IS_HANDSHAKING,
    SP_TLS_IS_SHAKEN, /* for GnuTLS the handshake is through, but the owner has not decided */
    SP_TLS_IS_OPEN,
    SP_TLS_IS_FAILED,
};

struct sp_tls_session {
    gnutls_session_t gnutls;
    const struct sp_tls_callbacks *callbacks;
    void *ctx;
    struct sp_tls_cred *cred;     /* our reference: GnuTLS borrows its certificates and key */
    struct sp_tls_staple *staple; /* ours, that GnuTLS borrows; NULL: none */

    struct sp_bytes fed; /* borrowed from the caller; follows `carry` */
    struct sp_buf carry; /* owned input: an incomplete record, or what was parked */
    size_t record_left;  /* bytes of the record that GnuTLS is reading now */
    size_t barren;       /* bytes read since the last data: see BARREN_MAX */
    struct sp_buf output;
    gnutls_packet_t packets[SP_TLS_PACKETS]; /* handed out, and not yet released */
    unsigned packet_count;

    char name[SP_HOST_MAX + 1]; /* folded SNI; "" none */
    enum sp_tls_phase phase;
    int refuse_alert; /* set when on_peer refused */
    unsigned warnings;
    bool server, fin, eof_seen, closed_write, too_long;
    bool tls13_only; /* server */
    bool hello_seen, name_refused, certificate_optional, tickets;
    bool judged, judged_chain; /* on_peer has decided; about a chain that was not empty */
    bool claimed;              /* on_claim was content */
    bool waiting;              /* for sp_tls_continue */
    bool too_late;             /* on_peer would wait where nothing can */
};

/* The body of a ClientHello, as its sender wrote it: true when it names exactly one host, well
 * formed; folded. For one that is none of our sessions'. */
bool sp_tls_hello_name(const uint8_t *body, size_t len, char ret_name[SP_HOST_MAX + 1]);
/* Whether the peer has proved that the chain is its own, in this handshake or, when resumed, in the
 * one that the ticket is of. */
bool sp_tls_key_was_proved(const struct sp_tls_session *session);
void sp_tls_chain_of_peer(const struct sp_tls_session *session, struct sp_chain *ret_chain);
/* Whether the peer's certificates and staples leave a ticket small enough to be sent. */
bool sp_tls_peer_fits_ticket(const struct sp_tls_session *session);
/* Asks on_peer. WAIT: `waiting` is set. REFUSE: refuse_alert is. */
enum sp_tls_judgement sp_tls_judge(struct sp_tls_session *session, const struct sp_chain *chain);
/* The same where nothing can wait: true when accepted. */
bool sp_tls_judge_now(struct sp_tls_session *session, const struct sp_chain *chain);
/* GnuTLS's verify callback. */
int sp_tls_on_verify(gnutls_session_t gnutls);

/* Lets GnuTLS read and write by way of carry, fed and output. */
void sp_tls_record_attach(struct sp_tls_session *session);
/* A whole record, or the rest of one, is there for GnuTLS to read. */
bool sp_tls_record_waits(struct sp_tls_session *session);
/* Server under TLS 1.2, a GnuTLS hook: the client's Finished is in, so its CertificateVerify was
 * good and its ticket is not sent yet: the moment to ask on_peer. */
int sp_tls_on_finished(gnutls_session_t gnutls, unsigned type, unsigned when, unsigned incoming,
                       const gnutls_datum_t *msg);
/* Server: reads the name from each ClientHello, asks on_hello, sets credentials and ticket key. */
void sp_tls_hello_attach(struct sp_tls_session *session);
#endif
