/* tls_record: bytes in and out of GnuTLS. Only whole records reach it: a peer that stalls inside
 * one would otherwise pin 33 KB of its buffers, and an idle session holds none of ours. */
#include "common/tls_impl.h"

#include <errno.h>
#include <string.h>

#define RECORD_HEADER 5
#define RECORD_MAX    (16384 + 2048) /* RFC 5246 6.2.3, the larger of both versions */
/* GnuTLS collects a handshake message of up to 16 MiB before it looks at its own limit (128 KiB for
 * the whole handshake), from anybody who can connect. So we count what it reads to no effect. */
#define BARREN_MAX (256 * 1024)

static size_t record_size(const uint8_t *header)
{
    return RECORD_HEADER + ((size_t)header[3] << 8 | header[4]);
}

/* Moves fed bytes into the carry until it holds `want` bytes or there are no more. */
static bool carry_fill(struct sp_tls_session *s, size_t want)
{
    size_t missing = want > s->carry.len ? want - s->carry.len : 0;
    size_t n = missing < s->fed.len ? missing : s->fed.len;

    if (n) {
        if (sp_buf_append(&s->carry, s->fed.data, n) != SP_OK)
            return false;
        s->fed.data += n;
        s->fed.len -= n;
    }
    return s->carry.len >= want;
}

/* The size of the record at the front if all of it is there, else 0. A record that claims to be
 * larger than any may be is passed on as far as it is there, for GnuTLS to refuse. */
static size_t front_record(struct sp_tls_session *s)
{
    size_t size;

    if (!s->carry.len) {
        if (s->fed.len < RECORD_HEADER)
            return 0;
        size = record_size(s->fed.data);
        if (size > RECORD_MAX + RECORD_HEADER)
            return s->fed.len;
        return s->fed.len >= size ? size : 0;
    }
    if (!carry_fill(s, RECORD_HEADER))
        return 0;
    size = record_size(sp_buf_data(&s->carry));
    if (size > RECORD_MAX + RECORD_HEADER)
        return s->carry.len;
    return carry_fill(s, size) ? size : 0;
}

static ssize_t on_pull(gnutls_transport_ptr_t ptr, void *data, size_t size)
{
    struct sp_tls_session *s = ptr;

    if (!s->record_left)
        s->record_left = front_record(s);
    if (!s->record_left) {
        if (s->fin)
            return 0;
        gnutls_transport_set_errno(s->gnutls, EAGAIN);
        return -1;
    }
    if (size > s->record_left)
        size = s->record_left;
    s->barren += size;
    if (s->barren > BARREN_MAX) {
        s->too_long = true;
        gnutls_transport_set_errno(s->gnutls, EMSGSIZE);
        return -1;
    }
    if (s->carry.len) {
        memcpy(data, sp_buf_data(&s->carry), size);
        sp_buf_consume(&s->carry, size);
    } else {
        memcpy(data, s->fed.data, size);
        s->fed.data += size;
        s->fed.len -= size;
    }
    s->record_left -= size;
    return (ssize_t)size;
}

/* Never asked in non-blocking mode, but without it GnuTLS would select() on a descriptor 0. */
static int on_pull_timeout(gnutls_transport_ptr_t ptr, unsigned ms)
{
    (void)ptr;
    (void)ms;
    return 1;
}

static ssize_t on_push(gnutls_transport_ptr_t ptr, const giovec_t *iov, int count)
{
    struct sp_tls_session *s = ptr;
    size_t total = 0;

    for (int i = 0; i < count; i++) {
        if (sp_buf_append(&s->output, iov[i].iov_base, iov[i].iov_len) != SP_OK) {
            gnutls_transport_set_errno(s->gnutls, ENOBUFS);
            return -1;
        }
        total += iov[i].iov_len;
    }
    return (ssize_t)total;
}

void sp_tls_feed(struct sp_tls_session *s, const void *data, size_t len)
{
    SP_REQUIRE(!s->fed.len);
    if (!len)
        s->fin = true;
    s->fed = (struct sp_bytes){data, len};
}

enum sp_err sp_tls_park(struct sp_tls_session *s, struct sp_error *err)
{
    enum sp_err rc = sp_buf_append(&s->carry, s->fed.data, s->fed.len);

    s->fed = (struct sp_bytes){0};
    if (rc != SP_OK)
        return sp_error_set(err, rc, "more TLS input than the limit of %zu bytes", s->carry.max);
    return SP_OK;
}

bool sp_tls_record_waits(struct sp_tls_session *s)
{
    return s->record_left || front_record(s);
}

bool sp_tls_has_record(struct sp_tls_session *s)
{
    return sp_tls_record_waits(s);
}

void sp_tls_record_attach(struct sp_tls_session *s)
{
    gnutls_transport_set_ptr(s->gnutls, s);
    gnutls_transport_set_pull_function(s->gnutls, on_pull);
    gnutls_transport_set_pull_timeout_function(s->gnutls, on_pull_timeout);
    gnutls_transport_set_vec_push_function(s->gnutls, on_push);
}
