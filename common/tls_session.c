#include "common/tls_impl.h"

#include "common/tls_cred.h"

#include <stdlib.h>
#include <string.h>

#define INPUT_MAX                  (512 * 1024) /* parked input: a loop's scratch and a record */
#define OUTPUT_MAX                 (1024 * 1024)
#define WARNINGS_MAX               8 /* warning alerts we put up with: more is a flood */
#define ALERT_TLS12_NO_CERTIFICATE GNUTLS_A_HANDSHAKE_FAILURE

/* TLS 1.3 and 1.2, AEAD only, fastest first (with nettle AES-128-GCM is ten times ChaCha20);
 * RSA-SHA256 stays because a 3.7.9 client with an RSA certificate sends none without it. */
#define PRIORITY_CIPHERS                                                                           \
    ":+AEAD:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:+ECDHE-ECDSA:+ECDHE-RSA"                  \
    ":+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1"                                             \
    ":+SIGN-ECDSA-SECP256R1-SHA256:+SIGN-ECDSA-SHA256:+SIGN-EDDSA-ED25519"                         \
    ":+SIGN-RSA-PSS-RSAE-SHA256:+SIGN-RSA-PSS-SHA256:+SIGN-RSA-SHA256"                             \
    ":+SIGN-ECDSA-SECP384R1-SHA384:+SIGN-ECDSA-SHA384:+SIGN-RSA-PSS-RSAE-SHA384:+SIGN-RSA-SHA384"  \
    ":+CTYPE-X509:%SERVER_PRECEDENCE:%PROFILE_MEDIUM"

/* ---- our own certificate ---- */

/* GnuTLS asks each session what to present, so that a staple can change under a credential that
 * many use. Everything is lent, not given: *ret_flags stays 0. */
static int on_retrieve(gnutls_session_t gnutls, const struct gnutls_cert_retr_st *info,
                       gnutls_pcert_st **ret_certs, unsigned *ret_count,
                       gnutls_ocsp_data_st **ret_ocsp, unsigned *ret_ocsp_count,
                       gnutls_privkey_t *ret_key, unsigned *ret_flags)
{
    struct sp_tls_session *s = gnutls_session_get_ptr(gnutls);
    struct sp_tls_identity own = {0};

    (void)info;
    (void)ret_flags;
    if (!s->cred) { /* a client that has none */
        *ret_count = *ret_ocsp_count = 0;
        return 0;
    }
    sp_tls_cred_identity(s->cred, &own);
    *ret_certs = own.certs;
    *ret_count = own.count;
    *ret_key = own.key;
    if (s->staple)
        sp_tls_staple_unref(own.staple); /* asked a second time: GnuTLS has the first */
    else
        s->staple = own.staple;
    *ret_ocsp_count = s->staple ? 1 : 0;
    if (s->staple)
        *ret_ocsp = sp_tls_staple_data(s->staple);
    return 0;
}

/* ---- parameters ---- */

enum sp_err sp_tls_params_new(enum sp_tls_version min_version, struct sp_tls_params **ret_params,
                              struct sp_error *err)
{
    struct sp_tls_params *params = sp_calloc(1, sizeof *params);
    int rc = gnutls_priority_init2(&params->priority,
                                   min_version == SP_TLS_1_3
                                       ? "NONE:+VERS-TLS1.3" PRIORITY_CIPHERS
                                       : "NONE:+VERS-TLS1.3:+VERS-TLS1.2" PRIORITY_CIPHERS,
                                   NULL, 0);

    if (rc == 0)
        rc = gnutls_certificate_allocate_credentials(&params->asks);
    if (rc < 0) {
        sp_tls_params_free(params);
        return sp_error_code(err, SP_ERR_TLS, rc, "TLS parameters: %s", gnutls_strerror(rc));
    }
    gnutls_certificate_set_retrieve_function3(params->asks, on_retrieve);
    params->min_version = min_version;
    *ret_params = params;
    return SP_OK;
}

void sp_tls_params_free(struct sp_tls_params *params)
{
    if (!params)
        return;
    if (params->asks)
        gnutls_certificate_free_credentials(params->asks);
    if (params->priority)
        gnutls_priority_deinit(params->priority);
    free(params);
}

/* ---- making a session ---- */

static enum sp_err session_new(const struct sp_tls_params *params, unsigned flags,
                               const struct sp_tls_callbacks *callbacks, void *ctx,
                               struct sp_tls_session **ret_session, struct sp_error *err)
{
    struct sp_tls_session *s = sp_calloc(1, sizeof *s);
    int rc = gnutls_init(&s->gnutls, flags | GNUTLS_NONBLOCK);

    if (rc < 0) {
        free(s);
        return sp_error_code(err, SP_ERR_TLS, rc, "TLS session: %s", gnutls_strerror(rc));
    }
    s->server = (flags & GNUTLS_SERVER) != 0;
    s->callbacks = callbacks;
    s->ctx = ctx;
    sp_buf_init(&s->carry, INPUT_MAX);
    sp_buf_init(&s->output, OUTPUT_MAX);
    gnutls_session_set_ptr(s->gnutls, s);
    sp_tls_record_attach(s);
    gnutls_session_set_verify_function(s->gnutls, sp_tls_on_verify);
    rc = gnutls_priority_set(s->gnutls, params->priority);
    if (rc == 0)
        rc = gnutls_credentials_set(s->gnutls, GNUTLS_CRD_CERTIFICATE, params->asks);
    if (rc < 0) {
        sp_tls_free(s);
        return sp_error_code(err, SP_ERR_TLS, rc, "TLS session: %s", gnutls_strerror(rc));
    }
    *ret_session = s;
    return SP_OK;
}

static const gnutls_datum_t alpn_h2 = {(unsigned char *)(uintptr_t) "h2", 2};
static const gnutls_datum_t alpn_http1 = {(unsigned char *)(uintptr_t) "http/1.1", 8};

enum sp_err sp_tls_server_new(const struct sp_tls_params *params,
                              const struct sp_tls_callbacks *callbacks, void *ctx,
                              struct sp_tls_session **ret_session, struct sp_error *err)
{
    const gnutls_datum_t protocols[] = {alpn_h2, alpn_http1};
    struct sp_tls_session *s;
    enum sp_err rc =
        session_new(params, GNUTLS_SERVER | GNUTLS_NO_AUTO_SEND_TICKET, callbacks, ctx, &s, err);

    if (rc != SP_OK)
        return rc;
    gnutls_alpn_set_protocols(s->gnutls, protocols, 2,
                              GNUTLS_ALPN_MANDATORY | GNUTLS_ALPN_SERVER_PRECEDENCE);
    s->tls13_only = params->min_version == SP_TLS_1_3;
    sp_tls_hello_attach(s);
    *ret_session = s;
    return SP_OK;
}

enum sp_err sp_tls_client_new(const struct sp_tls_params *params,
                              const struct sp_tls_client_options *options,
                              const struct sp_tls_callbacks *callbacks, void *ctx,
                              struct sp_tls_session **ret_session, struct sp_error *err)
{
    struct sp_tls_session *s;
    struct sp_ip ip;
    size_t name_len = strlen(options->server_name);
    /* Without FORCE GnuTLS sends no certificate when none of the server's CAs fits, and the
     * gateway could say only "certificate required". */
    enum sp_err kind =
        session_new(params, GNUTLS_CLIENT | GNUTLS_FORCE_CLIENT_CERT, callbacks, ctx, &s, err);
    int rc = 0;

    if (kind != SP_OK)
        return kind;
    if (!sp_ip_parse(options->server_name, name_len, &ip)) {
        sp_host_fold(options->server_name, name_len, s->name);
        rc = gnutls_server_name_set(s->gnutls, GNUTLS_NAME_DNS, options->server_name, name_len);
    }
    if (rc == 0)
        rc = gnutls_alpn_set_protocols(s->gnutls, options->offer_h2 ? &alpn_h2 : &alpn_http1, 1,
                                       GNUTLS_ALPN_MANDATORY);
    if (options->cred)
        s->cred = sp_tls_cred_ref(options->cred);
    if (rc < 0) {
        sp_tls_free(s);
        return sp_error_code(err, SP_ERR_TLS, rc, "TLS session: %s", gnutls_strerror(rc));
    }
    *ret_session = s;
    return SP_OK;
}

void sp_tls_free(struct sp_tls_session *s)
{
    if (!s)
        return;
    sp_tls_release(s);
    gnutls_deinit(s->gnutls);
    sp_tls_staple_unref(s->staple);
    sp_tls_cred_unref(s->cred);
    sp_buf_wipe(&s->carry);
    sp_buf_done(&s->output);
    free(s);
}

/* ---- driving it ---- */

void sp_tls_alert(struct sp_tls_session *s, int alert)
{
    if (s->phase == SP_TLS_IS_FAILED || alert < 0)
        return;
    s->phase = SP_TLS_IS_FAILED;
    gnutls_alert_send(s->gnutls, GNUTLS_AL_FATAL, (gnutls_alert_description_t)alert);
}

static enum sp_tls_event fail_refused(struct sp_tls_session *s, struct sp_error *err)
{
    int alert = s->refuse_alert;

    if (s->too_late) {
        sp_tls_alert(s, alert);
        sp_error_code(err, SP_ERR_TLS, GNUTLS_E_INTERNAL_ERROR,
                      "the verdict on the peer's certificate was not there in time");
        return SP_TLS_FAILED;
    }
    /* certificate_required exists since TLS 1.3 (RFC 8446 6.2). */
    if (alert == GNUTLS_A_CERTIFICATE_REQUIRED &&
        gnutls_protocol_get_version(s->gnutls) < GNUTLS_TLS1_3)
        alert = ALERT_TLS12_NO_CERTIFICATE;
    sp_tls_alert(s, alert);
    s->phase = SP_TLS_IS_FAILED;
    sp_error_code(err, SP_ERR_PEER_CERT, alert, "the peer's certificate was refused");
    return SP_TLS_FAILED;
}

static enum sp_tls_event fail(struct sp_tls_session *s, int rc, struct sp_error *err)
{
    if (s->refuse_alert)
        return fail_refused(s, err);
    if (s->too_long)
        rc = GNUTLS_E_HANDSHAKE_TOO_LARGE;
    switch (rc) {
    case GNUTLS_E_FATAL_ALERT_RECEIVED: {
        int alert = gnutls_alert_get(s->gnutls);

        s->phase = SP_TLS_IS_FAILED;
        sp_error_code(err, SP_ERR_PEER_ALERT, alert, "the peer sent the alert %s",
                      sp_alert_name(alert));
        return SP_TLS_FAILED;
    }
    case GNUTLS_E_PREMATURE_TERMINATION:
        s->phase = SP_TLS_IS_FAILED;
        sp_error_code(err, SP_ERR_CLOSED, rc,
                      "the peer closed the connection without close_notify");
        return SP_TLS_FAILED;
    case GNUTLS_E_UNRECOGNIZED_NAME:
        sp_error_code(err, SP_ERR_TLS, rc, "no tenant has the server name that was asked for");
        break;
    case GNUTLS_E_UNSUPPORTED_VERSION_PACKET:
        sp_error_code(err, SP_ERR_TLS, rc, "the peer offers no TLS version that is allowed here");
        break;
    case GNUTLS_E_REHANDSHAKE:
        sp_error_code(err, SP_ERR_TLS, rc, "the peer asked for a renegotiation, which is refused");
        sp_tls_alert(s, GNUTLS_A_NO_RENEGOTIATION);
        break;
    case GNUTLS_E_NO_APPLICATION_PROTOCOL:
        sp_error_code(err, SP_ERR_TLS, rc, "no common application protocol (ALPN)");
        break;
    default:
        sp_error_code(err, SP_ERR_TLS, rc, "TLS: %s", gnutls_strerror(rc));
        break;
    }
    if (s->phase != SP_TLS_IS_FAILED) {
        s->phase = SP_TLS_IS_FAILED;
        gnutls_alert_send_appropriate(s->gnutls, rc);
    }
    return SP_TLS_FAILED;
}

/* The handshake is through: on_peer was not asked yet when the session is resumed, or when an
 * optional certificate did not come; and may have to be asked more than once. */
static enum sp_tls_event finish_handshake(struct sp_tls_session *s, struct sp_error *err)
{
    struct sp_chain chain;

    if (!s->judged) {
        sp_tls_chain_of_peer(s, &chain);
        if (!sp_tls_key_was_proved(s))
            chain.count = 0;
        switch (sp_tls_judge(s, &chain)) {
        case SP_TLS_WAIT:
            s->phase = SP_TLS_IS_SHAKEN;
            return SP_TLS_NOTHING;
        case SP_TLS_REFUSE:
            return fail_refused(s, err);
        case SP_TLS_ACCEPT:
            break;
        }
        if (s->server && !s->certificate_optional && !chain.count) {
            /* GnuTLS does not enforce GNUTLS_CERT_REQUIRE on a resumed session. */
            s->refuse_alert = GNUTLS_A_CERTIFICATE_REQUIRED;
            return fail_refused(s, err);
        }
    }
    if (s->judged_chain && !sp_tls_key_was_proved(s)) { /* invariant 4 */
        s->refuse_alert = GNUTLS_A_DECRYPT_ERROR;
        return fail_refused(s, err);
    }
    s->phase = SP_TLS_IS_OPEN;
    s->barren = 0;
    /* One ticket, and only after the verdict; TLS 1.2 has sent its own inside the handshake. */
    if (s->tickets && gnutls_protocol_get_version(s->gnutls) >= GNUTLS_TLS1_3 &&
        sp_tls_peer_fits_ticket(s))
        gnutls_session_ticket_send(s->gnutls, 1, 0);
    return SP_TLS_OPEN;
}

/* True when GnuTLS may go on: it had a reason of its own to stop. */
static bool is_passing(struct sp_tls_session *s, int rc)
{
    if (s->waiting)
        return false;
    if (rc == GNUTLS_E_INTERRUPTED)
        return true;
    /* After a ticket or KeyUpdate it says AGAIN though more is there. */
    if (rc == GNUTLS_E_AGAIN)
        return sp_tls_record_waits(s);
    return rc == GNUTLS_E_WARNING_ALERT_RECEIVED && s->warnings++ < WARNINGS_MAX;
}

static enum sp_tls_event step_handshake(struct sp_tls_session *s, struct sp_error *err)
{
    struct sp_chain none = {0};
    int rc;

    do
        rc = gnutls_handshake(s->gnutls);
    while (rc != 0 && is_passing(s, rc));
    if (rc == 0)
        return finish_handshake(s, err);
    if (rc == GNUTLS_E_AGAIN)
        return SP_TLS_NOTHING;
    /* Under TLS 1.2 it takes an alert in the certificate's place for a client that has none. */
    if (rc == GNUTLS_E_NO_CERTIFICATE_FOUND && !s->warnings && gnutls_alert_get(s->gnutls))
        rc = GNUTLS_E_FATAL_ALERT_RECEIVED;
    /* GnuTLS ends these itself, without asking on_verify; the owner's decision is still the one
     * that is logged and whose alert is sent. */
    if (s->server && !s->judged && !s->name_refused) {
        if (rc == GNUTLS_E_CERTIFICATE_REQUIRED || rc == GNUTLS_E_NO_CERTIFICATE_FOUND) {
            if (sp_tls_judge_now(s, &none))
                s->refuse_alert = GNUTLS_A_CERTIFICATE_REQUIRED;
        } else if ((rc == GNUTLS_E_HANDSHAKE_TOO_LARGE || s->too_long) && s->cred) {
            none.count = SP_CHAIN_MAX_CERTS + 1; /* too large to have been read at all */
            if (sp_tls_judge_now(s, &none))
                s->refuse_alert = GNUTLS_A_BAD_CERTIFICATE;
        }
    }
    return fail(s, rc, err);
}

static enum sp_tls_event step_data(struct sp_tls_session *s, struct sp_bytes *ret_data,
                                   struct sp_error *err)
{
    ssize_t n;

    if (s->eof_seen) { /* RFC 8446 6.1: whatever follows close_notify is ignored */
        s->fed.len = 0;
        s->record_left = 0;
        sp_buf_consume(&s->carry, s->carry.len);
        return SP_TLS_NOTHING;
    }
    do
        n = gnutls_record_recv_packet(s->gnutls, &s->packets[s->packet_count]);
    while (n < 0 && is_passing(s, (int)n));
    if (n > 0) {
        gnutls_datum_t data;

        gnutls_packet_get(s->packets[s->packet_count++], &data, NULL);
        *ret_data = (struct sp_bytes){data.data, data.size};
        s->barren = 0;
        return SP_TLS_DATA;
    }
    if (n == 0) {
        s->eof_seen = true;
        return SP_TLS_EOF;
    }
    return n == GNUTLS_E_AGAIN ? SP_TLS_NOTHING : fail(s, (int)n, err);
}

static enum sp_tls_event step_phase(struct sp_tls_session *s, struct sp_bytes *ret_data,
                                    struct sp_error *err)
{
    if (sp_tls_is_waiting(s))
        return SP_TLS_NOTHING;
    switch (s->phase) {
    case SP_TLS_IS_HANDSHAKING:
        return step_handshake(s, err);
    case SP_TLS_IS_SHAKEN:
        return finish_handshake(s, err);
    case SP_TLS_IS_OPEN:
        return step_data(s, ret_data, err);
    case SP_TLS_IS_FAILED:
        break;
    }
    sp_error_set(err, SP_ERR_TLS, "the TLS session has ended");
    return SP_TLS_FAILED;
}

void sp_tls_release(struct sp_tls_session *s)
{
    while (s->packet_count)
        gnutls_packet_deinit(s->packets[--s->packet_count]);
}

enum sp_tls_event sp_tls_step(struct sp_tls_session *s, struct sp_bytes *ret_data,
                              struct sp_error *err)
{
    enum sp_tls_event event;

    if (s->packet_count == SP_TLS_PACKETS)
        sp_tls_release(s);
    event = step_phase(s, ret_data, err);
    if (event == SP_TLS_NOTHING && sp_tls_park(s, err) != SP_OK) {
        s->phase = SP_TLS_IS_FAILED;
        return SP_TLS_FAILED;
    }
    return event;
}

void sp_tls_continue(struct sp_tls_session *s)
{
    s->waiting = false;
}

bool sp_tls_is_waiting(const struct sp_tls_session *s)
{
    return s->waiting && s->phase != SP_TLS_IS_FAILED;
}

enum sp_err sp_tls_write(struct sp_tls_session *s, const void *data, size_t len,
                         struct sp_error *err)
{
    const uint8_t *at = data;

    SP_REQUIRE(s->phase == SP_TLS_IS_OPEN && !s->closed_write);
    while (len) {
        ssize_t n = gnutls_record_send(s->gnutls, at, len);

        if (n <= 0) {
            s->phase = SP_TLS_IS_FAILED;
            return sp_error_code(err, SP_ERR_TLS, (int)n, "TLS: %s", gnutls_strerror((int)n));
        }
        at += n;
        len -= (size_t)n;
    }
    return SP_OK;
}

void sp_tls_close_notify(struct sp_tls_session *s)
{
    if (s->phase != SP_TLS_IS_OPEN || s->closed_write)
        return;
    s->closed_write = true;
    gnutls_bye(s->gnutls, GNUTLS_SHUT_WR);
}

/* ---- what it is ---- */

struct sp_buf *sp_tls_output(struct sp_tls_session *s)
{
    return &s->output;
}

bool sp_tls_is_open(const struct sp_tls_session *s)
{
    return s->phase == SP_TLS_IS_OPEN;
}

bool sp_tls_is_resumed(const struct sp_tls_session *s)
{
    return gnutls_session_is_resumed(s->gnutls) != 0;
}

enum sp_tls_protocol sp_tls_alpn(const struct sp_tls_session *s)
{
    gnutls_datum_t chosen;

    if (gnutls_alpn_get_selected_protocol(s->gnutls, &chosen) < 0)
        return SP_ALPN_NONE;
    return chosen.size == 2 ? SP_ALPN_H2 : SP_ALPN_HTTP1;
}

const char *sp_tls_server_name(const struct sp_tls_session *s)
{
    return s->name[0] ? s->name : NULL;
}

const char *sp_tls_version_name(const struct sp_tls_session *s)
{
    const char *name = gnutls_protocol_get_name(gnutls_protocol_get_version(s->gnutls));

    return s->hello_seen || !s->server ? (name ? name : "") : "";
}

const char *sp_tls_cipher_name(const struct sp_tls_session *s)
{
    const char *name = gnutls_cipher_get_name(gnutls_cipher_get(s->gnutls));

    return name && strcmp(name, "NULL") ? name : "";
}

bool sp_tls_may_begin(const struct sp_tls_session *s, uint8_t first_byte)
{
    /* RFC 8446 5.1, ContentType: handshake; a server may also begin with an alert. */
    return first_byte == 0x16 || (!s->server && first_byte == 0x15);
}
