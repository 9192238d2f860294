/*
 * tls_raw: a bare GnuTLS session in memory, client or server, that may do what ours never would;
 * and ClientHellos built byte by byte. See tls_pair.h for our own end.
 *
 * Owned by the test, freed with tls_raw_done. Checks abort the test.
 */
#ifndef SALLYPORT_TESTS_SUPPORT_TLS_RAW_H
#define SALLYPORT_TESTS_SUPPORT_TLS_RAW_H
#include "common/buf.h"
#include <gnutls/gnutls.h>
#include <stdint.h>

#define TLS_RAW_KEY_LEN 64 /* of a ticket key */

struct tls_raw_options {
    bool server, tls12, early_data;
    const char *name;                      /* SNI; NULL: none */
    const char *priority;                  /* NULL: NORMAL with the one version */
    gnutls_certificate_credentials_t cred; /* NULL: no certificate */
    const gnutls_datum_t *resume;          /* client */
    const uint8_t *ticket_key;             /* server */
    unsigned flags;
};
struct tls_raw {
    gnutls_session_t gnutls;
    gnutls_anti_replay_t anti_replay;
    gnutls_certificate_credentials_t nobody;
    struct sp_buf in, out, got;
    int rc;      /* the last failure; 0 */
    int alert;   /* received; -1 */
    int tickets; /* NewSessionTickets received */
    bool done, eof;
};
void tls_raw_init(struct tls_raw *raw, const struct tls_raw_options *options);
void tls_raw_done(struct tls_raw *raw);
void tls_raw_feed(struct tls_raw *raw, const void *data, size_t len);
void tls_raw_step(struct tls_raw *raw); /* also: starts it */
void tls_raw_write(struct tls_raw *raw, const char *text);
/* What a client needs to resume; freed by the caller with gnutls_free(ret->data). */
void tls_raw_session(struct tls_raw *raw, gnutls_datum_t *ret_session);
/* ---- ClientHellos by hand ---- */

struct tls_hello {
    bool tls12;
    bool no_key_share; /* makes the server ask again */
    const void *sni;   /* whole server_name extensions, header included; len 0: none */
    size_t sni_len;
};
/* A record; bytes in ret_bytes[1024 + sni_len at least], returns the length. Random and session id
 * are constant, as a second hello needs them. */
size_t tls_hello_build(const struct tls_hello *hello, uint8_t *ret_bytes);
/* A whole well-formed server_name extension with this one host name. */
size_t tls_sni_build(const void *name, size_t name_len, uint8_t *ret_bytes);
#endif
