/* tls_hello: the ClientHello: the server name, and what follows from it before GnuTLS goes on. */
#include "common/tls_impl.h"

#include "common/tls_cred.h"

#include <string.h>

#define EXT_SERVER_NAME        0
#define EXT_SESSION_TICKET     35
#define EXT_PRE_SHARED_KEY     41
#define EXT_SUPPORTED_VERSIONS 43

/* What we read of a ClientHello ourselves. */
struct hello {
    struct sp_bytes name; /* as sent; data NULL: none */
    bool offers_tls13, has_ticket;
};

/* RFC 6066 section 3: a list that holds exactly one host_name. */
static int read_server_name(struct hello *hello, const uint8_t *data, unsigned len)
{
    if (hello->name.data || len < 6 || ((size_t)data[0] << 8 | data[1]) != len - 2u ||
        data[2] != 0 || ((size_t)data[3] << 8 | data[4]) != len - 5u)
        return GNUTLS_E_RECEIVED_ILLEGAL_PARAMETER;
    hello->name = (struct sp_bytes){data + 5, len - 5};
    return 0;
}

static int on_hello_extension(void *ctx, unsigned id, const uint8_t *data, unsigned len)
{
    struct hello *hello = ctx;

    if (id == EXT_SERVER_NAME)
        return read_server_name(hello, data, len);
    if (id == EXT_PRE_SHARED_KEY || (id == EXT_SESSION_TICKET && len > 0))
        hello->has_ticket = true;
    for (unsigned i = 1; id == EXT_SUPPORTED_VERSIONS && i + 1 < len; i += 2)
        hello->offers_tls13 |= data[i] == 3 && data[i + 1] == 4;
    return 0;
}

/* Called with the body of each ClientHello before GnuTLS reads it. We parse the server name
 * ourselves: GnuTLS takes the first of several, folds nothing, and answers what it does not like
 * with alerts of its own choice. */
static int on_client_hello(gnutls_session_t gnutls, unsigned type, unsigned when, unsigned incoming,
                           const gnutls_datum_t *msg)
{
    struct sp_tls_session *s = gnutls_session_get_ptr(gnutls);
    struct hello hello = {0};
    char name[SP_HOST_MAX + 1] = "";
    bool bad;

    (void)type;
    (void)when;
    if (!incoming)
        return 0;
    bad = gnutls_ext_raw_parse(&hello, on_hello_extension, msg,
                               GNUTLS_EXT_RAW_FLAG_TLS_CLIENT_HELLO) < 0;
    if (!bad && hello.name.data &&
        !sp_host_fold((const char *)hello.name.data, hello.name.len, name))
        bad = true;
    if (s->hello_seen) /* after a HelloRetryRequest: the tenant is fixed (invariant 5) */
        return !bad && !strcmp(name, s->name) ? 0 : GNUTLS_E_RECEIVED_ILLEGAL_PARAMETER;
    s->hello_seen = true;
    if (!bad) {
        memcpy(s->name, name, sizeof s->name);
        return s->tls13_only && !hello.offers_tls13 ? GNUTLS_E_UNSUPPORTED_VERSION_PACKET : 0;
    }
    s->name_refused = true;
    s->callbacks->on_bad_name(s->ctx);
    return GNUTLS_E_UNRECOGNIZED_NAME;
}

/* The one place where credentials and ticket key may still be chosen: any earlier
 * GnuTLS has not read the name, any later it has used them. */
static int on_hello_read(gnutls_session_t gnutls)
{
    struct sp_tls_session *s = gnutls_session_get_ptr(gnutls);
    struct sp_tls_choice choice = {0};
    int rc = 0;

    if (s->cred)
        return 0; /* second hello: on_client_hello has compared the names */
    if (!s->callbacks->on_hello(s->ctx, s->name[0] ? s->name : NULL, &choice)) {
        s->name_refused = true;
        return GNUTLS_E_UNRECOGNIZED_NAME;
    }
    s->cred = sp_tls_cred_ref(choice.cred);
    s->certificate_optional = choice.certificate_optional;
    gnutls_certificate_server_set_request(
        gnutls, choice.certificate_optional ? GNUTLS_CERT_REQUEST : GNUTLS_CERT_REQUIRE);
    /* Invariant 4: an unusable ticket can leave its owner's chain behind, which only
     * GNUTLS_CERT_REQUIRE makes harmless. */
    s->tickets = choice.tickets && !choice.certificate_optional;
    if (s->tickets) {
        const gnutls_datum_t key = {choice.ticket_key, sizeof choice.ticket_key};

        rc = gnutls_session_ticket_enable_server(gnutls, &key);
    }
    if (gnutls_protocol_get_version(gnutls) < GNUTLS_TLS1_3) /* no second hello to come */
        gnutls_handshake_set_hook_function(gnutls, GNUTLS_HANDSHAKE_FINISHED, GNUTLS_HOOK_PRE,
                                           sp_tls_on_finished);
    gnutls_memset(choice.ticket_key, 0, sizeof choice.ticket_key);
    return rc;
}

void sp_tls_hello_attach(struct sp_tls_session *s)
{
    gnutls_handshake_set_hook_function(s->gnutls, GNUTLS_HANDSHAKE_CLIENT_HELLO, GNUTLS_HOOK_PRE,
                                       on_client_hello);
    gnutls_handshake_set_post_client_hello_function(s->gnutls, on_hello_read);
}

#define RECORD_HEADER    5
#define HANDSHAKE_HEADER 4

bool sp_tls_peek_hello(const struct sp_tls_session *s, char ret_name[SP_HOST_MAX + 1],
                       bool *ret_resumes)
{
    const uint8_t *at = sp_buf_data(&s->carry);
    struct hello hello = {0};
    size_t record, len;
    gnutls_datum_t body;

    ret_name[0] = '\0';
    *ret_resumes = false;
    if (s->carry.len < RECORD_HEADER + HANDSHAKE_HEADER || at[0] != 22 || at[RECORD_HEADER] != 1)
        return false;
    record = (size_t)at[3] << 8 | at[4];
    len = (size_t)at[6] << 16 | (size_t)at[7] << 8 | at[8];
    if (record > s->carry.len - RECORD_HEADER || len + HANDSHAKE_HEADER > record)
        return false;
    body.size = (unsigned)len;
    at += RECORD_HEADER + HANDSHAKE_HEADER;
    memcpy(&body.data, &at, sizeof body.data); /* GnuTLS's datum has no const */
    if (gnutls_ext_raw_parse(&hello, on_hello_extension, &body,
                             GNUTLS_EXT_RAW_FLAG_TLS_CLIENT_HELLO) < 0)
        return true; /* and what is wrong with it is found out when it is its turn */
    if (hello.name.data && !sp_host_fold((const char *)hello.name.data, hello.name.len, ret_name))
        ret_name[0] = '\0';
    *ret_resumes = hello.has_ticket;
    return true;
}

bool sp_tls_hello_name(const uint8_t *body, size_t len, char ret_name[SP_HOST_MAX + 1])
{
    struct hello hello = {0};
    gnutls_datum_t datum = {.size = (unsigned)len};

    memcpy(&datum.data, &body, sizeof datum.data); /* GnuTLS's datum has no const */
    return gnutls_ext_raw_parse(&hello, on_hello_extension, &datum,
                                GNUTLS_EXT_RAW_FLAG_TLS_CLIENT_HELLO) >= 0 &&
           hello.name.data && sp_host_fold((const char *)hello.name.data, hello.name.len, ret_name);
}
