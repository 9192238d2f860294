/*
 * tls_impl: what the files behind tls_session.h share: tls_session.c (life and handshake),
 * tls_hello.c (the ClientHello), tls_record.c (bytes in and out). Nobody else includes it.
 */
#ifndef SALLYPORT_COMMON_TLS_IMPL_H
#define SALLYPORT_COMMON_TLS_IMPL_H
#include "common/addr.h"
#include "common/tls_session.h"
#include <gnutls/gnutls.h>

struct sp_tls_params {
    enum sp_tls_version min_version;
    gnutls_priority_t priority;
    gnutls_certificate_credentials_t nobody; /* no certificate: until the tenant is known */
};

enum sp_tls_phase { SP_TLS_IS_HANDSHAKING, SP_TLS_IS_OPEN, SP_TLS_IS_FAILED };

struct sp_tls_session {
    gnutls_session_t gnutls;
    const struct sp_tls_callbacks *callbacks;
    void *ctx;
    struct sp_tls_cred *cred; /* our reference: GnuTLS keeps a raw pointer */

    struct sp_bytes fed; /* borrowed from the caller; follows `carry` */
    struct sp_buf carry; /* owned input: an incomplete record, or what was parked */
    size_t record_left;  /* bytes of the record that GnuTLS is reading now */
    size_t barren;       /* bytes read since the last data: see BARREN_MAX */
    struct sp_buf output;
    gnutls_packet_t packet; /* handed out last; freed at the next step */

    char name[SP_HOST_MAX + 1]; /* folded SNI; "" none */
    enum sp_tls_phase phase;
    int refuse_alert; /* set when on_peer refused */
    unsigned warnings;
    bool server, fin, eof_seen, closed_write, too_long;
    bool tls13_only; /* server */
    bool hello_seen, name_refused, certificate_optional, tickets;
    bool judged, judged_chain; /* on_peer was asked; with a chain that was not empty */
};

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
