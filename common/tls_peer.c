/* tls_peer: who the peer is, and the owner's verdict on that: the moments at which it is asked. */
#include "common/tls_impl.h"

#include <string.h>

#define TICKET_PEER_MAX (32 * 1024)

bool sp_tls_key_was_proved(const struct sp_tls_session *s)
{
    if (gnutls_session_is_resumed(s->gnutls))
        return true;
    if (!s->server)
        return true; /* a full handshake does not end without the server's CertificateVerify */
    return gnutls_sign_algorithm_get_client(s->gnutls) != GNUTLS_SIGN_UNKNOWN;
}

void sp_tls_chain_of_peer(const struct sp_tls_session *s, struct sp_chain *ret_chain)
{
    unsigned count = 0;
    const gnutls_datum_t *list = gnutls_certificate_get_peers(s->gnutls, &count);

    memset(ret_chain, 0, sizeof *ret_chain);
    for (unsigned i = 0; list && i < count && i <= SP_CHAIN_MAX_CERTS; i++)
        ret_chain->certs[ret_chain->count++] = (struct sp_bytes){list[i].data, list[i].size};
}

/* Of the leaf. GnuTLS keeps it in tickets too, where it is as old as they are. */
static struct sp_bytes staple_of_peer(const struct sp_tls_session *s,
                                      const struct sp_tls_peer *peer)
{
    gnutls_datum_t der;

    if (!peer->chain->count || peer->resumed ||
        gnutls_ocsp_status_request_get2(s->gnutls, 0, &der) < 0)
        return (struct sp_bytes){0};
    return (struct sp_bytes){der.data, der.size};
}

/* GnuTLS puts all of it into the ticket, whose length has 16 bits, and does not look: what is more
 * would be sent cut, and end the connection. */
bool sp_tls_peer_fits_ticket(const struct sp_tls_session *s)
{
    unsigned count = 0;
    const gnutls_datum_t *list = gnutls_certificate_get_peers(s->gnutls, &count);
    gnutls_datum_t der;
    size_t total = 0;

    for (unsigned i = 0; list && i < count; i++) {
        total += list[i].size;
        if (gnutls_ocsp_status_request_get2(s->gnutls, i, &der) >= 0)
            total += der.size;
    }
    return total <= TICKET_PEER_MAX;
}

enum sp_tls_judgement sp_tls_judge(struct sp_tls_session *s, const struct sp_chain *chain)
{
    struct sp_tls_peer peer = {.chain = chain,
                               .resumed = gnutls_session_is_resumed(s->gnutls) != 0};
    int alert = GNUTLS_A_ACCESS_DENIED;
    enum sp_tls_judgement judgement;

    SP_REQUIRE(!s->judged);
    peer.staple = staple_of_peer(s, &peer);
    judgement = s->callbacks->on_peer(s->ctx, &peer, &alert);
    s->waiting = judgement == SP_TLS_WAIT;
    if (s->waiting)
        return judgement;
    s->judged = true;
    s->judged_chain = chain->count != 0;
    if (judgement == SP_TLS_REFUSE)
        s->refuse_alert = alert;
    return judgement;
}

bool sp_tls_judge_now(struct sp_tls_session *s, const struct sp_chain *chain)
{
    enum sp_tls_judgement judgement = sp_tls_judge(s, chain);

    if (judgement == SP_TLS_WAIT) {
        s->waiting = false;
        s->judged = s->too_late = true;
        s->refuse_alert = GNUTLS_A_INTERNAL_ERROR;
    }
    return judgement == SP_TLS_ACCEPT;
}

/* For GnuTLS: it passes AGAIN on to who drives the handshake and calls on_verify again the next
 * time. */
static int code_of(enum sp_tls_judgement judgement)
{
    switch (judgement) {
    case SP_TLS_ACCEPT:
        return 0;
    case SP_TLS_WAIT:
        return GNUTLS_E_AGAIN;
    case SP_TLS_REFUSE:
        break;
    }
    return GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR;
}

/* A server under TLS 1.2 is asked before CertificateVerify, where the chain is only a claim and the
 * verdict waits for Finished; but there, in a hook, nothing can wait. Here it can. */
static int consider_claim(struct sp_tls_session *s)
{
    struct sp_chain chain;

    if (s->claimed || !s->callbacks->on_claim)
        return 0;
    sp_tls_chain_of_peer(s, &chain);
    s->claimed = !chain.count || s->callbacks->on_claim(s->ctx, &chain);
    s->waiting = !s->claimed;
    return s->waiting ? GNUTLS_E_AGAIN : 0;
}

/* In a full handshake, when the chain is in; TLS 1.3: after CertificateVerify. */
int sp_tls_on_verify(gnutls_session_t gnutls)
{
    struct sp_tls_session *s = gnutls_session_get_ptr(gnutls);
    struct sp_chain chain;

    if (s->waiting)
        return GNUTLS_E_AGAIN;
    if (s->judged)
        return s->refuse_alert ? GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR : 0;
    if (s->server && gnutls_protocol_get_version(gnutls) < GNUTLS_TLS1_3)
        return consider_claim(s);
    sp_tls_chain_of_peer(s, &chain);
    if (!sp_tls_key_was_proved(s))
        chain.count = 0;
    return code_of(sp_tls_judge(s, &chain));
}

int sp_tls_on_finished(gnutls_session_t gnutls, unsigned type, unsigned when, unsigned incoming,
                       const gnutls_datum_t *msg)
{
    struct sp_tls_session *s = gnutls_session_get_ptr(gnutls);
    struct sp_chain chain;

    (void)type;
    (void)when;
    (void)msg;
    /* Resumed, or nobody: finish_handshake. */
    if (!incoming || s->judged || gnutls_session_is_resumed(gnutls) || !sp_tls_key_was_proved(s))
        return 0;
    sp_tls_chain_of_peer(s, &chain);
    return sp_tls_judge_now(s, &chain) ? 0 : GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR;
}

void sp_tls_peer_chain(const struct sp_tls_session *s, struct sp_chain *ret_chain)
{
    memset(ret_chain, 0, sizeof *ret_chain);
    if (s->phase == SP_TLS_IS_OPEN && s->judged_chain)
        sp_tls_chain_of_peer(s, ret_chain);
}
