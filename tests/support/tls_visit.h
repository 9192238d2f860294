/*
 * tls_visit: a bare GnuTLS client's visits to our server: the scene of most TLS tests.
 *
 * One visit at a time, in `visit`; fixtures: tls_visit_setup, tls_visit_teardown. Checks abort the
 * test. tls13: 0 or 1.
 */
#ifndef SALLYPORT_TESTS_SUPPORT_TLS_VISIT_H
#define SALLYPORT_TESTS_SUPPORT_TLS_VISIT_H
#include "tests/support/tls_pair.h"

struct tls_visit {
    struct tls_end server; /* from TLS 1.2 on */
    struct tls_raw client; /* not there before tls_visit or the test made it */
    gnutls_datum_t ticket;
};
extern struct tls_visit visit;

void tls_visit_setup(void);
void tls_visit_teardown(void);
/* Another connection to the same gateway: a new server whose owner has the same orders. */
void tls_visit_next(void);
/* A client comes, and both talk until they are silent. */
void tls_visit(int tls13, const char *name, gnutls_certificate_credentials_t cred,
               const gnutls_datum_t *resume);
/* alice comes to tenant A and gets in. */
void tls_visit_in(int tls13);
/* Leaves a ticket of this tenant and client in visit.ticket, and a fresh connection. */
void tls_visit_for_ticket(int tls13, const char *name, gnutls_certificate_credentials_t cred);
/* Makes visit.ticket, of TLS 1.3, one whose age is not believed. */
void tls_visit_spoil_age(void);
/* The certificate was refused, both ends know the alert, and there was no ticket. */
void tls_visit_refused(int tls13, int alert12, int alert13);
void tls_visit_no_identity(void); /* sp_tls_peer_chain is empty */
void tls_visit_got(const struct sp_buf *got, const char *text);
#endif
