#include "tests/support/tls_visit.h"

#include <check.h>
#include <string.h>

struct tls_visit visit;

void tls_visit_setup(void)
{
    memset(&visit, 0, sizeof visit);
    tls_server(&visit.server, SP_TLS_1_2);
}

void tls_visit_teardown(void)
{
    if (visit.client.gnutls)
        tls_raw_done(&visit.client);
    tls_end_done(&visit.server);
    gnutls_free(visit.ticket.data);
    visit.ticket.data = NULL;
}

void tls_visit_next(void)
{
    struct tls_owner orders = {.one_certificate = visit.server.owner.one_certificate,
                               .refuse = visit.server.owner.refuse,
                               .accept_nobody = visit.server.owner.accept_nobody,
                               .no_tickets = visit.server.owner.no_tickets,
                               .waits = visit.server.owner.waits,
                               .claim_waits = visit.server.owner.claim_waits,
                               .alert = visit.server.owner.alert};

    if (visit.client.gnutls)
        tls_raw_done(&visit.client);
    memset(&visit.client, 0, sizeof visit.client);
    tls_end_done(&visit.server);
    tls_server(&visit.server, SP_TLS_1_2);
    visit.server.owner = orders;
}

void tls_visit(int tls13, const char *name, gnutls_certificate_credentials_t cred,
               const gnutls_datum_t *resume)
{
    const struct tls_raw_options options = {
        .tls12 = !tls13, .name = name, .cred = cred, .resume = resume};

    tls_raw_init(&visit.client, &options);
    tls_meet_raw(&visit.client, &visit.server);
}

void tls_visit_for_ticket(int tls13, const char *name, gnutls_certificate_credentials_t cred)
{
    tls_visit(tls13, name, cred, NULL);
    ck_assert_int_eq(visit.server.opens, 1);
    ck_assert_int_eq(visit.client.tickets, 1);
    tls_raw_session(&visit.client, &visit.ticket);
    tls_visit_next();
}

void tls_visit_refused(int tls13, int alert12, int alert13)
{
    ck_assert_int_eq(visit.server.opens, 0);
    ck_assert_int_eq(visit.server.failures, 1);
    ck_assert(!sp_tls_is_open(visit.server.tls));
    ck_assert_int_eq(visit.server.err.kind, SP_ERR_PEER_CERT);
    ck_assert_int_eq(visit.server.err.code, tls13 ? alert13 : alert12);
    ck_assert_int_eq(visit.client.rc, GNUTLS_E_FATAL_ALERT_RECEIVED);
    ck_assert_int_eq(visit.client.alert, tls13 ? alert13 : alert12);
    ck_assert_int_eq(visit.client.tickets, 0);
}

void tls_visit_no_identity(void)
{
    struct sp_chain chain;

    sp_tls_peer_chain(visit.server.tls, &chain);
    ck_assert_uint_eq(chain.count, 0);
}

void tls_visit_in(int tls13)
{
    tls_visit(tls13, TLS_NAME_A, tls_world.raw_alice, NULL);
    ck_assert_int_eq(visit.server.opens, 1);
    ck_assert(visit.client.done && !visit.client.rc);
}

void tls_visit_got(const struct sp_buf *got, const char *text)
{
    ck_assert_uint_eq(got->len, strlen(text));
    ck_assert_int_eq(got->len ? memcmp(sp_buf_data(got), text, got->len) : 0, 0);
}

/* GnuTLS keeps a ticket as lifetime, age_add...: another age_add makes the obfuscated age that it
 * sends a lie. The server never looks at the binder of such a ticket: to know it is enough. */
void tls_visit_spoil_age(void)
{
    static const uint8_t lifetime[] = {0, 0, 0x54, 0x60}; /* 6 hours */
    uint8_t *first = memmem(visit.ticket.data, visit.ticket.size, lifetime, 4),
            *age; /* of the session */

    ck_assert_ptr_nonnull(first);
    age =
        memmem(first + 4, visit.ticket.size - (size_t)(first + 4 - visit.ticket.data), lifetime, 4);
    ck_assert_ptr_nonnull(age);
    age[4] ^= 0x40;
}
