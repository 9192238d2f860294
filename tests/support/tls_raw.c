#include "tests/support/tls_raw.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GOT_MAX (4 * 1024 * 1024)

/* ---- a bare GnuTLS session ---- */

static ssize_t on_pull(gnutls_transport_ptr_t ptr, void *data, size_t size)
{
    struct tls_raw *raw = ptr;

    if (!raw->in.len) {
        gnutls_transport_set_errno(raw->gnutls, EAGAIN);
        return -1;
    }
    size = size < raw->in.len ? size : raw->in.len;
    memcpy(data, sp_buf_data(&raw->in), size);
    sp_buf_consume(&raw->in, size);
    return (ssize_t)size;
}

static ssize_t on_push(gnutls_transport_ptr_t ptr, const void *data, size_t size)
{
    struct tls_raw *raw = ptr;

    ck_assert_int_eq(sp_buf_append(&raw->out, data, size), SP_OK);
    return (ssize_t)size;
}

static int on_pull_timeout(gnutls_transport_ptr_t ptr, unsigned ms)
{
    const struct tls_raw *raw = ptr;

    (void)ms;
    return raw->in.len != 0;
}

static int on_ticket(gnutls_session_t gnutls, unsigned type, unsigned when, unsigned incoming,
                     const gnutls_datum_t *msg)
{
    struct tls_raw *raw = gnutls_session_get_ptr(gnutls);

    (void)type;
    (void)when;
    (void)incoming;
    (void)msg;
    raw->tickets++;
    return 0;
}

static int on_replay(void *ctx, time_t until, const gnutls_datum_t *key, const gnutls_datum_t *data)
{
    (void)ctx;
    (void)until;
    (void)key;
    (void)data;
    return 0;
}

static void raw_early_data(struct tls_raw *raw, bool server)
{
    if (!server)
        return;
    ck_assert_int_eq(gnutls_anti_replay_init(&raw->anti_replay), 0);
    gnutls_anti_replay_set_add_function(raw->anti_replay, on_replay);
    gnutls_anti_replay_enable(raw->gnutls, raw->anti_replay);
    ck_assert_int_eq(gnutls_record_set_max_early_data_size(raw->gnutls, 4096), 0);
}

void tls_raw_init(struct tls_raw *raw, const struct tls_raw_options *o)
{
    const char *priority = o->priority;
    unsigned flags = o->flags | GNUTLS_NONBLOCK | (o->server ? GNUTLS_SERVER : GNUTLS_CLIENT);

    memset(raw, 0, sizeof *raw);
    raw->alert = -1;
    sp_buf_init(&raw->in, GOT_MAX);
    sp_buf_init(&raw->out, GOT_MAX);
    sp_buf_init(&raw->got, GOT_MAX);
    flags |= o->early_data ? GNUTLS_ENABLE_EARLY_DATA : 0;
    ck_assert_int_eq(gnutls_init(&raw->gnutls, flags | GNUTLS_FORCE_CLIENT_CERT), 0);
    gnutls_session_set_ptr(raw->gnutls, raw);
    gnutls_transport_set_ptr(raw->gnutls, raw);
    gnutls_transport_set_pull_function(raw->gnutls, on_pull);
    gnutls_transport_set_push_function(raw->gnutls, on_push);
    gnutls_transport_set_pull_timeout_function(raw->gnutls, on_pull_timeout);
    gnutls_handshake_set_hook_function(raw->gnutls, GNUTLS_HANDSHAKE_NEW_SESSION_TICKET,
                                       GNUTLS_HOOK_POST, on_ticket);
    if (!priority)
        priority = o->tls12 ? "NORMAL:-VERS-ALL:+VERS-TLS1.2" : "NORMAL:-VERS-ALL:+VERS-TLS1.3";
    ck_assert_int_eq(gnutls_priority_set_direct(raw->gnutls, priority, NULL), 0);
    ck_assert_int_eq(gnutls_certificate_allocate_credentials(&raw->nobody), 0);
    ck_assert_int_eq(gnutls_credentials_set(raw->gnutls, GNUTLS_CRD_CERTIFICATE,
                                            o->cred ? o->cred : raw->nobody),
                     0);
    if (o->name)
        ck_assert_int_eq(
            gnutls_server_name_set(raw->gnutls, GNUTLS_NAME_DNS, o->name, strlen(o->name)), 0);
    if (o->resume)
        ck_assert_int_eq(gnutls_session_set_data(raw->gnutls, o->resume->data, o->resume->size), 0);
    if (o->ticket_key) {
        gnutls_datum_t key = {NULL, TLS_RAW_KEY_LEN};

        memcpy(&key.data, &o->ticket_key, sizeof key.data); /* it only reads */
        ck_assert_int_eq(gnutls_session_ticket_enable_server(raw->gnutls, &key), 0);
    }
    if (o->early_data)
        raw_early_data(raw, o->server);
}

void tls_raw_done(struct tls_raw *raw)
{
    gnutls_deinit(raw->gnutls);
    gnutls_certificate_free_credentials(raw->nobody);
    if (raw->anti_replay)
        gnutls_anti_replay_deinit(raw->anti_replay);
    sp_buf_done(&raw->in);
    sp_buf_done(&raw->out);
    sp_buf_done(&raw->got);
}

static void raw_failed(struct tls_raw *raw, int rc)
{
    raw->rc = rc;
    if (rc == GNUTLS_E_FATAL_ALERT_RECEIVED)
        raw->alert = (int)gnutls_alert_get(raw->gnutls);
}

void tls_raw_step(struct tls_raw *raw)
{
    char data[16384];

    while (!raw->done && !raw->rc) {
        int rc = gnutls_handshake(raw->gnutls);

        if (rc == GNUTLS_E_AGAIN && !raw->in.len)
            return;
        if (rc == 0)
            raw->done = true;
        else if (gnutls_error_is_fatal(rc))
            raw_failed(raw, rc);
    }
    while (!raw->rc && !raw->eof) {
        ssize_t n = gnutls_record_recv(raw->gnutls, data, sizeof data);

        if (n > 0) {
            ck_assert_int_eq(sp_buf_append(&raw->got, data, (size_t)n), SP_OK);
        } else if (n == 0) {
            raw->eof = true;
        } else if (n == GNUTLS_E_AGAIN && !raw->in.len) {
            return;
        } else if (gnutls_error_is_fatal((int)n)) {
            raw_failed(raw, (int)n);
        }
    }
}

void tls_raw_feed(struct tls_raw *raw, const void *data, size_t len)
{
    ck_assert_int_eq(sp_buf_append(&raw->in, data, len), SP_OK);
    tls_raw_step(raw);
}

void tls_raw_write(struct tls_raw *raw, const char *text)
{
    ck_assert_int_eq(gnutls_record_send(raw->gnutls, text, strlen(text)), (ssize_t)strlen(text));
}

void tls_raw_session(struct tls_raw *raw, gnutls_datum_t *ret_session)
{
    ck_assert_int_gt(raw->tickets, 0); /* else it would wait for one */
    ck_assert_int_eq(gnutls_session_get_data2(raw->gnutls, ret_session), 0);
}

/* ---- ClientHellos by hand ---- */

static uint8_t *put16(uint8_t *at, size_t value)
{
    *at++ = (uint8_t)(value >> 8);
    *at++ = (uint8_t)value;
    return at;
}

static uint8_t *put(uint8_t *at, const void *data, size_t len)
{
    if (len)
        memcpy(at, data, len);
    return at + len;
}

static uint8_t *put_extension(uint8_t *at, unsigned id, const void *body, size_t len)
{
    return put(put16(put16(at, id), len), body, len);
}

size_t tls_sni_build(const void *name, size_t name_len, uint8_t *ret_bytes)
{
    uint8_t *at = put16(put16(ret_bytes, 0), name_len + 5);

    at = put16(at, name_len + 3);
    *at++ = 0; /* host_name */
    return (size_t)(put(put16(at, name_len), name, name_len) - ret_bytes);
}

/* RFC 8446 section 4.1.2; groups: x25519 alone. */
static uint8_t *put_extensions(uint8_t *at, const struct tls_hello *hello)
{
    static const uint8_t groups[] = {0, 2, 0, 29};
    static const uint8_t signatures[] = {0, 6, 4, 3, 8, 4, 4, 1};
    static const uint8_t versions[] = {2, 3, 4}, modes[] = {1, 1}, no_share[] = {0, 0};
    uint8_t share[38] = {0, 36, 0, 29, 0, 32, 9};

    at = put(at, hello->sni, hello->sni_len);
    at = put_extension(at, 10, groups, sizeof groups);
    at = put_extension(at, 13, signatures, sizeof signatures);
    if (hello->tls12)
        return at;
    at = put_extension(at, 43, versions, sizeof versions);
    at = put_extension(at, 45, modes, sizeof modes);
    return hello->no_key_share ? put_extension(at, 51, no_share, sizeof no_share)
                               : put_extension(at, 51, share, sizeof share);
}

size_t tls_hello_build(const struct tls_hello *hello, uint8_t *ret_bytes)
{
    static const uint8_t suites[] = {0, 6, 0x13, 1, 0x13, 2, 0xc0, 0x2b}, no_compression[] = {1, 0};
    uint8_t *at = ret_bytes + 9, *extensions;
    size_t len;

    at = put16(at, 0x0303);
    at = (uint8_t *)memset(at, 7, 32) + 32;
    *at++ = 32;
    at = (uint8_t *)memset(at, 8, 32) + 32;
    at = put(at, suites, sizeof suites);
    at = put(at, no_compression, sizeof no_compression);
    extensions = at;
    at = put_extensions(at + 2, hello);
    put16(extensions, (size_t)(at - extensions) - 2);
    len = (size_t)(at - ret_bytes);
    put16(put(ret_bytes, "\x16\x03\x01", 3), len - 5);
    ret_bytes[5] = 1; /* client_hello */
    ret_bytes[6] = 0;
    put16(ret_bytes + 7, len - 9);
    return len;
}
