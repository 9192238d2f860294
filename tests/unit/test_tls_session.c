/* tls_session: who is let in, as whom, and what a ticket is worth. Loop tests run with _i 0:
 * TLS 1.2 and 1: TLS 1.3. */
#include "common/tls_session.h"

#include "tests/support/tls_pair.h"

#include <check.h>
#include <gnutls/abstract.h>
#include <string.h>

#define P521_FIRST                                                                                 \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-SECP521R1:+GROUP-X25519:+GROUP-SECP256R1"

static struct tls_end server;
static struct tls_raw raw;
static gnutls_datum_t ticket;

static void setup(void)
{
    tls_server(&server, SP_TLS_1_2);
    memset(&raw, 0, sizeof raw);
    memset(&ticket, 0, sizeof ticket);
}

static void teardown(void)
{
    if (raw.gnutls)
        tls_raw_done(&raw);
    tls_end_done(&server);
    gnutls_free(ticket.data);
}

/* A second server, as another connection to the same gateway, with the same orders. */
static void next_connection(void)
{
    struct tls_owner orders = {.one_certificate = server.owner.one_certificate,
                               .refuse = server.owner.refuse,
                               .accept_nobody = server.owner.accept_nobody,
                               .no_tickets = server.owner.no_tickets,
                               .alert = server.owner.alert};

    if (raw.gnutls)
        tls_raw_done(&raw);
    memset(&raw, 0, sizeof raw);
    tls_end_done(&server);
    tls_server(&server, SP_TLS_1_2);
    server.owner = orders;
}

static void come(int tls13, const char *name, gnutls_certificate_credentials_t cred,
                 const gnutls_datum_t *resume)
{
    const struct tls_raw_options options = {
        .tls12 = !tls13, .name = name, .cred = cred, .resume = resume};

    tls_raw_init(&raw, &options);
    tls_meet_raw(&raw, &server);
}

/* Leaves a ticket of this tenant and client in `ticket`, and a fresh connection. */
static void get_ticket(int tls13, const char *name, gnutls_certificate_credentials_t cred)
{
    come(tls13, name, cred, NULL);
    ck_assert_int_eq(server.opens, 1);
    ck_assert_int_eq(raw.tickets, 1);
    tls_raw_session(&raw, &ticket);
    next_connection();
}

static void assert_refused(int tls13, int alert12, int alert13)
{
    ck_assert_int_eq(server.opens, 0);
    ck_assert_int_eq(server.failures, 1);
    ck_assert(!sp_tls_is_open(server.tls));
    ck_assert_int_eq(server.err.kind, SP_ERR_PEER_CERT);
    ck_assert_int_eq(server.err.code, tls13 ? alert13 : alert12);
    ck_assert_int_eq(raw.rc, GNUTLS_E_FATAL_ALERT_RECEIVED);
    ck_assert_int_eq(raw.alert, tls13 ? alert13 : alert12);
    ck_assert_int_eq(raw.tickets, 0);
}

static void assert_no_peer_chain(void)
{
    struct sp_chain chain;

    sp_tls_peer_chain(server.tls, &chain);
    ck_assert_uint_eq(chain.count, 0);
}

/* ---- full handshakes ---- */

START_TEST(a_client_with_a_good_certificate_gets_in_and_is_known)
{
    struct sp_chain chain;

    come(_i, TLS_NAME_A, tls_world.raw_alice, NULL);
    ck_assert_int_eq(server.opens, 1);
    ck_assert_int_eq(server.owner.peers, 1);
    ck_assert_int_eq(server.owner.hellos, 1);
    ck_assert_str_eq(server.owner.name, TLS_NAME_A);
    ck_assert(server.owner.is_alice && !server.owner.resumed);
    ck_assert_uint_eq(server.owner.chain_count, 1);
    sp_tls_peer_chain(server.tls, &chain);
    ck_assert_uint_eq(chain.count, 1);
    ck_assert_str_eq(sp_tls_server_name(server.tls), TLS_NAME_A);
    ck_assert_str_eq(sp_tls_version_name(server.tls), _i ? "TLS1.3" : "TLS1.2");
    ck_assert_str_eq(sp_tls_cipher_name(server.tls), "AES-128-GCM");
    ck_assert_int_eq(sp_tls_alpn(server.tls), SP_ALPN_NONE);
    ck_assert(!sp_tls_is_resumed(server.tls));
}
END_TEST

START_TEST(our_client_and_our_server_meet_and_talk)
{
    struct tls_end client;
    struct sp_chain chain;

    tls_client(&client, _i ? SP_TLS_1_3 : SP_TLS_1_2, TLS_NAME_A, tls_world.alice);
    tls_meet(&client, &server);
    ck_assert_int_eq(client.opens, 1);
    ck_assert_int_eq(server.opens, 1);
    ck_assert_int_eq(client.owner.peers, 1);
    ck_assert_uint_eq(client.owner.chain_count, 1);
    ck_assert(server.owner.is_alice);
    ck_assert_int_eq(sp_tls_alpn(server.tls), SP_ALPN_H2);
    ck_assert_int_eq(sp_tls_alpn(client.tls), SP_ALPN_H2);
    sp_tls_peer_chain(client.tls, &chain);
    ck_assert_uint_eq(chain.count, 1);
    tls_end_write(&client, "ping");
    tls_end_write(&server, "pong");
    tls_meet(&client, &server);
    ck_assert_uint_eq(server.got.len, 4);
    ck_assert_int_eq(memcmp(sp_buf_data(&client.got), "pong", 4), 0);
    tls_end_done(&client);
}
END_TEST

START_TEST(a_client_that_refuses_the_server_says_why_and_never_opens)
{
    struct tls_end client;

    tls_client(&client, SP_TLS_1_3, TLS_NAME_A, tls_world.alice);
    client.owner.refuse = true;
    client.owner.alert = GNUTLS_A_UNKNOWN_CA;
    tls_meet(&client, &server);
    ck_assert_int_eq(client.opens, 0);
    ck_assert_int_eq(client.err.kind, SP_ERR_PEER_CERT);
    ck_assert_int_eq(client.err.code, GNUTLS_A_UNKNOWN_CA);
    ck_assert_int_eq(server.opens, 0);
    ck_assert_int_eq(server.owner.peers, 0);
    ck_assert_int_eq(server.err.kind, SP_ERR_PEER_ALERT);
    ck_assert_int_eq(server.err.code, GNUTLS_A_UNKNOWN_CA);
    tls_end_done(&client);
}
END_TEST

static const int refusal_alerts[] = {
    GNUTLS_A_UNKNOWN_CA,    GNUTLS_A_CERTIFICATE_EXPIRED, GNUTLS_A_CERTIFICATE_REVOKED,
    GNUTLS_A_ACCESS_DENIED, GNUTLS_A_BAD_CERTIFICATE,     GNUTLS_A_UNSUPPORTED_CERTIFICATE};

START_TEST(a_refused_client_gets_the_owners_alert_and_no_ticket)
{
    int tls13 = _i & 1, alert = refusal_alerts[_i / 2];

    server.owner.refuse = true;
    server.owner.alert = alert;
    come(tls13, TLS_NAME_A, tls_world.raw_alice, NULL);
    assert_refused(tls13, alert, alert);
    ck_assert_int_eq(server.owner.peers, 1);
    assert_no_peer_chain();
}
END_TEST

START_TEST(a_client_without_a_certificate_is_judged_as_nobody_and_refused)
{
    come(_i, TLS_NAME_A, NULL, NULL);
    ck_assert_int_eq(server.owner.peers, 1);
    ck_assert_uint_eq(server.owner.chain_count, 0);
    assert_refused(_i, GNUTLS_A_HANDSHAKE_FAILURE, GNUTLS_A_CERTIFICATE_REQUIRED);
}
END_TEST

START_TEST(where_a_certificate_is_required_even_an_owner_that_takes_nobody_gets_nobody)
{
    server.owner.accept_nobody = true;
    come(_i, TLS_NAME_A, NULL, NULL);
    ck_assert_int_eq(server.owner.peers, 1);
    assert_refused(_i, GNUTLS_A_HANDSHAKE_FAILURE, GNUTLS_A_CERTIFICATE_REQUIRED);
}
END_TEST

START_TEST(an_optional_certificate_may_be_missing_and_is_judged_when_it_is_there)
{
    server.owner.accept_nobody = true;
    come(_i, TLS_NAME_O, NULL, NULL);
    ck_assert_int_eq(server.opens, 1);
    ck_assert_int_eq(server.owner.peers, 1);
    ck_assert_uint_eq(server.owner.chain_count, 0);
    assert_no_peer_chain();
    next_connection();
    come(_i, TLS_NAME_O, tls_world.raw_alice, NULL);
    ck_assert_int_eq(server.opens, 1);
    ck_assert_int_eq(server.owner.peers, 1);
    ck_assert(server.owner.is_alice);
}
END_TEST

START_TEST(an_owner_may_refuse_a_client_without_an_optional_certificate)
{
    come(_i, TLS_NAME_O, NULL, NULL);
    ck_assert_int_eq(server.owner.peers, 1);
    assert_refused(_i, GNUTLS_A_HANDSHAKE_FAILURE, GNUTLS_A_CERTIFICATE_REQUIRED);
}
END_TEST

/* Alice's certificate with Bob's key: GnuTLS does not check what it is told not to. */
static gnutls_certificate_credentials_t stolen_certificate(void)
{
    gnutls_certificate_credentials_t stolen;
    gnutls_privkey_t key;
    gnutls_x509_privkey_t bobs;
    gnutls_x509_crt_t *crts;
    unsigned count;
    gnutls_pcert_st pcert;

    ck_assert_int_eq(gnutls_certificate_allocate_credentials(&stolen), 0);
    gnutls_certificate_set_flags(stolen, GNUTLS_CERTIFICATE_SKIP_KEY_CERT_MATCH);
    ck_assert_int_eq(gnutls_certificate_get_x509_crt(tls_world.raw_alice, 0, &crts, &count), 0);
    ck_assert_int_eq(gnutls_pcert_import_x509(&pcert, crts[0], 0), 0);
    for (unsigned i = 0; i < count; i++)
        gnutls_x509_crt_deinit(crts[i]);
    gnutls_free(crts);
    ck_assert_int_eq(gnutls_certificate_get_x509_key(tls_world.raw_bob, 0, &bobs), 0);
    ck_assert_int_eq(gnutls_privkey_init(&key), 0);
    ck_assert_int_eq(gnutls_privkey_import_x509(key, bobs, GNUTLS_PRIVKEY_IMPORT_AUTO_RELEASE), 0);
    ck_assert_int_eq(gnutls_certificate_set_key(stolen, NULL, 0, &pcert, 1, key), 0);
    return stolen;
}

START_TEST(a_certificate_without_its_key_is_never_shown_to_the_owner)
{
    gnutls_certificate_credentials_t stolen = stolen_certificate();

    come(_i % 2, _i / 2 ? TLS_NAME_O : TLS_NAME_A, stolen, NULL);
    ck_assert_int_eq(server.opens, 0);
    ck_assert_int_eq(server.failures, 1);
    ck_assert(!server.owner.is_alice);
    ck_assert_uint_eq(server.owner.chain_count, 0);
    ck_assert_int_eq(raw.rc, GNUTLS_E_FATAL_ALERT_RECEIVED);
    ck_assert_int_eq(raw.tickets, 0);
    assert_no_peer_chain();
    gnutls_certificate_free_credentials(stolen);
}
END_TEST

/* ---- tickets: when ---- */

START_TEST(exactly_one_ticket_is_given_and_only_after_the_verdict)
{
    come(_i, TLS_NAME_A, tls_world.raw_alice, NULL);
    ck_assert_int_eq(raw.tickets, 1);
    /* Whatever had been written before on_peer was asked has left long ago. */
    ck_assert_uint_eq(server.owner.output_at_peer, 0);
}
END_TEST

START_TEST(no_ticket_where_the_owner_wants_none)
{
    server.owner.no_tickets = true;
    come(_i, TLS_NAME_A, tls_world.raw_alice, NULL);
    ck_assert_int_eq(server.opens, 1);
    ck_assert_int_eq(raw.tickets, 0);
}
END_TEST

START_TEST(no_ticket_where_a_certificate_is_optional)
{
    server.owner.accept_nobody = true;
    come(_i % 2, TLS_NAME_O, _i / 2 ? tls_world.raw_alice : NULL, NULL);
    ck_assert_int_eq(server.opens, 1);
    ck_assert_int_eq(raw.tickets, 0);
}
END_TEST

/* ---- tickets: what they are worth ---- */

START_TEST(a_ticket_resumes_at_its_own_tenant_and_is_judged_again)
{
    struct sp_chain chain;

    get_ticket(_i, TLS_NAME_A, tls_world.raw_alice);
    come(_i, TLS_NAME_A, NULL, &ticket);
    ck_assert_int_eq(server.opens, 1);
    ck_assert(sp_tls_is_resumed(server.tls));
    ck_assert(gnutls_session_is_resumed(raw.gnutls));
    ck_assert_int_eq(server.owner.peers, 1);
    ck_assert(server.owner.resumed && server.owner.is_alice);
    sp_tls_peer_chain(server.tls, &chain);
    ck_assert_uint_eq(chain.count, 1);
    ck_assert_str_eq(sp_tls_server_name(server.tls), TLS_NAME_A);
    tls_raw_write(&raw, "hello");
    tls_meet_raw(&raw, &server);
    ck_assert_uint_eq(server.got.len, 5);
}
END_TEST

START_TEST(a_resumed_client_that_is_no_longer_wanted_is_refused_with_the_owners_alert)
{
    get_ticket(_i, TLS_NAME_A, tls_world.raw_alice);
    server.owner.refuse = true;
    server.owner.alert = GNUTLS_A_CERTIFICATE_REVOKED;
    come(_i, TLS_NAME_A, NULL, &ticket);
    ck_assert_int_eq(server.owner.peers, 1);
    ck_assert(server.owner.resumed && server.owner.is_alice);
    assert_refused(_i, GNUTLS_A_CERTIFICATE_REVOKED, GNUTLS_A_CERTIFICATE_REVOKED);
    assert_no_peer_chain();
}
END_TEST

/* _i & 1: TLS 1.3; & 2: the client also has its certificate; & 4: one server certificate for both
 * names; & 8: from B to A. */
START_TEST(a_ticket_of_one_tenant_never_resumes_at_another)
{
    const char *from = _i & 8 ? TLS_NAME_B : TLS_NAME_A, *to = _i & 8 ? TLS_NAME_A : TLS_NAME_B;

    server.owner.one_certificate = _i & 4;
    get_ticket(_i & 1, from, tls_world.raw_alice);
    come(_i & 1, to, _i & 2 ? tls_world.raw_alice : NULL, &ticket);
    ck_assert(!sp_tls_is_resumed(server.tls));
    ck_assert(!server.owner.resumed);
    ck_assert_int_eq(server.owner.peers, 1);
    ck_assert_str_eq(server.owner.name, to);
    if (_i & 2) { /* a full handshake, with its own proof */
        ck_assert_int_eq(server.opens, 1);
        ck_assert(server.owner.is_alice);
        return;
    }
    ck_assert_uint_eq(server.owner.chain_count, 0);
    assert_refused(_i & 1, GNUTLS_A_HANDSHAKE_FAILURE, GNUTLS_A_CERTIFICATE_REQUIRED);
}
END_TEST

START_TEST(a_ticket_is_worth_nothing_where_certificates_are_optional)
{
    get_ticket(_i, TLS_NAME_A, tls_world.raw_alice); /* made with the key that O is given too */
    server.owner.accept_nobody = true;
    come(_i, TLS_NAME_O, NULL, &ticket);
    ck_assert_int_eq(server.opens, 1);
    ck_assert(!sp_tls_is_resumed(server.tls));
    ck_assert_uint_eq(server.owner.chain_count, 0);
    assert_no_peer_chain();
}
END_TEST

/* The ticket is good but not for this; its owner's chain must not stick. */
START_TEST(a_tls12_ticket_of_another_name_of_the_tenant_brings_no_identity)
{
    get_ticket(0, TLS_NAME_A, tls_world.raw_alice);
    come(0, TLS_NAME_A2, NULL, &ticket);
    ck_assert(!server.owner.is_alice);
    ck_assert_uint_eq(server.owner.chain_count, 0);
    assert_refused(0, GNUTLS_A_HANDSHAKE_FAILURE, 0);
    assert_no_peer_chain();
    next_connection();
    come(0, TLS_NAME_A2, tls_world.raw_bob, &ticket);
    ck_assert_int_eq(server.opens, 1);
    ck_assert(server.owner.is_bob && !server.owner.resumed);
}
END_TEST

/* GnuTLS keeps a ticket as lifetime, age_add...: another age_add makes the obfuscated age that it
 * sends a lie. The server never looks at the binder of such a ticket: to know it is enough. */
static void spoil_age(void)
{
    static const uint8_t lifetime[] = {0, 0, 0x54, 0x60};                 /* 6 hours */
    uint8_t *first = memmem(ticket.data, ticket.size, lifetime, 4), *age; /* of the session */

    ck_assert_ptr_nonnull(first);
    age = memmem(first + 4, ticket.size - (size_t)(first + 4 - ticket.data), lifetime, 4);
    ck_assert_ptr_nonnull(age);
    age[4] ^= 0x40;
}

START_TEST(a_tls13_ticket_with_a_stale_age_brings_no_identity)
{
    come(1, TLS_NAME_A, tls_world.raw_alice, NULL);
    tls_raw_session(&raw, &ticket);
    spoil_age();
    next_connection();
    come(1, TLS_NAME_A, NULL, &ticket);
    ck_assert(!sp_tls_is_resumed(server.tls)); /* else the test tests nothing */
    ck_assert(!server.owner.is_alice);
    ck_assert_uint_eq(server.owner.chain_count, 0);
    assert_refused(1, 0, GNUTLS_A_CERTIFICATE_REQUIRED);
    assert_no_peer_chain();
    next_connection();
    come(1, TLS_NAME_A, tls_world.raw_bob, &ticket);
    ck_assert_int_eq(server.opens, 1);
    ck_assert(server.owner.is_bob && !server.owner.resumed);
}
END_TEST

/* A ticket made with our very key, of a session that had no certificate. */
static void get_foreign_ticket(int tls13, bool early_data)
{
    const struct tls_raw_options server_options = {.server = true,
                                                   .tls12 = !tls13,
                                                   .early_data = early_data,
                                                   .cred = tls_world.raw_server,
                                                   .ticket_key = tls_ticket_key(TLS_NAME_A)};
    const struct tls_raw_options client_options = {
        .tls12 = !tls13, .name = TLS_NAME_A, .early_data = early_data};
    struct tls_raw foreign;

    tls_raw_init(&foreign, &server_options);
    tls_raw_init(&raw, &client_options);
    tls_meet_raws(&raw, &foreign);
    ck_assert(raw.done && foreign.done);
    tls_raw_session(&raw, &ticket);
    tls_raw_done(&foreign);
    next_connection();
}

START_TEST(a_ticket_of_a_session_without_a_certificate_resumes_as_nobody)
{
    get_foreign_ticket(_i, false);
    come(_i, TLS_NAME_A, NULL, &ticket);
    ck_assert(sp_tls_is_resumed(server.tls));
    ck_assert_int_eq(server.owner.peers, 1);
    ck_assert_uint_eq(server.owner.chain_count, 0);
    assert_refused(_i, GNUTLS_A_HANDSHAKE_FAILURE, GNUTLS_A_CERTIFICATE_REQUIRED);
}
END_TEST

START_TEST(where_a_certificate_is_required_a_ticket_without_one_is_refused_whatever_the_owner_says)
{
    server.owner.accept_nobody = true;
    get_foreign_ticket(_i, false);
    come(_i, TLS_NAME_A, NULL, &ticket);
    ck_assert_int_eq(server.owner.peers, 1);
    assert_refused(_i, GNUTLS_A_HANDSHAKE_FAILURE, GNUTLS_A_CERTIFICATE_REQUIRED);
}
END_TEST

START_TEST(early_data_is_ignored_and_what_comes_after_it_is_not)
{
    struct tls_raw_options options = {.name = TLS_NAME_A, .early_data = true};

    server.owner.accept_nobody = true;
    get_foreign_ticket(1, true);
    options.resume = &ticket;
    options.cred = tls_world.raw_alice;
    tls_raw_init(&raw, &options);
    ck_assert_int_eq(gnutls_record_send_early_data(raw.gnutls, "EARLY", 5), 0);
    tls_meet_raw(&raw, &server);
    ck_assert(!(gnutls_session_get_flags(raw.gnutls) & GNUTLS_SFLAGS_EARLY_DATA));
    ck_assert_uint_eq(server.got.len, 0);
}
END_TEST

/* ---- a HelloRetryRequest, by a client that goes through with it ---- */

/* Up to the server's HelloRetryRequest, which the client has not read yet. */
static void come_to_the_retry(const gnutls_datum_t *resume)
{
    static const uint8_t retry[] = {0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a}; /* RFC 8446 4.1.3 */
    const struct tls_raw_options options = {.name = TLS_NAME_A,
                                            .priority = P521_FIRST,
                                            .cred = resume ? NULL : tls_world.raw_alice,
                                            .resume = resume,
                                            .flags = GNUTLS_KEY_SHARE_TOP};
    const struct sp_buf *out = sp_tls_output(server.tls);

    tls_raw_init(&raw, &options);
    tls_raw_step(&raw);
    tls_end_feed(&server, sp_buf_data(&raw.out), raw.out.len);
    sp_buf_consume(&raw.out, raw.out.len);
    ck_assert_ptr_nonnull(out->len ? memmem(sp_buf_data(out), out->len, retry, sizeof retry)
                                   : NULL);
}

START_TEST(a_hello_retry_with_the_same_name_goes_on)
{
    come_to_the_retry(NULL);
    tls_meet_raw(&raw, &server);
    ck_assert_int_eq(server.opens, 1);
    ck_assert_int_eq(server.owner.hellos, 1);
    ck_assert(server.owner.is_alice);
    ck_assert_int_eq(raw.tickets, 1);
}
END_TEST

START_TEST(a_ticket_resumes_through_a_hello_retry)
{
    get_ticket(1, TLS_NAME_A, tls_world.raw_alice);
    come_to_the_retry(&ticket);
    tls_meet_raw(&raw, &server);
    ck_assert_int_eq(server.opens, 1);
    ck_assert(sp_tls_is_resumed(server.tls) && server.owner.is_alice);
}
END_TEST

START_TEST(a_hello_retry_does_not_carry_a_ticket_to_another_tenant)
{
    get_ticket(1, TLS_NAME_A, tls_world.raw_alice);
    come_to_the_retry(&ticket);
    ck_assert_int_eq(
        gnutls_server_name_set(raw.gnutls, GNUTLS_NAME_DNS, TLS_NAME_B, strlen(TLS_NAME_B)), 0);
    tls_meet_raw(&raw, &server);
    ck_assert_int_eq(server.opens, 0);
    ck_assert_int_eq(server.failures, 1);
    ck_assert_int_eq(server.owner.hellos, 1);
    ck_assert_int_eq(server.owner.peers, 0);
    ck_assert_int_eq(raw.alert, GNUTLS_A_ILLEGAL_PARAMETER);
}
END_TEST

/* ---- protocol rules ---- */

START_TEST(tls12_is_refused_where_the_minimum_is_higher)
{
    tls_end_done(&server);
    tls_server(&server, SP_TLS_1_3);
    come(0, TLS_NAME_A, tls_world.raw_alice, NULL);
    ck_assert_int_eq(server.opens, 0);
    ck_assert_int_eq(raw.alert, GNUTLS_A_PROTOCOL_VERSION);
    ck_assert_int_eq(server.owner.hellos, 0);
}
END_TEST

START_TEST(tls11_is_refused)
{
    const struct tls_raw_options options = {.name = TLS_NAME_A,
                                            .priority = "NORMAL:-VERS-ALL:+VERS-TLS1.1",
                                            .cred = tls_world.raw_alice};

    tls_raw_init(&raw, &options);
    tls_meet_raw(&raw, &server);
    ck_assert_int_eq(server.opens, 0);
    ck_assert_int_eq(server.failures, 1);
    ck_assert_int_eq(raw.alert, GNUTLS_A_PROTOCOL_VERSION);
}
END_TEST

START_TEST(a_tls12_renegotiation_is_refused)
{
    come(0, TLS_NAME_A, tls_world.raw_alice, NULL);
    ck_assert_int_eq(server.opens, 1);
    ck_assert_int_eq(gnutls_handshake(raw.gnutls), GNUTLS_E_AGAIN); /* a second ClientHello */
    tls_meet_raw(&raw, &server);
    ck_assert_int_eq(server.failures, 1);
    ck_assert_int_eq(server.err.kind, SP_ERR_TLS);
    ck_assert_int_eq(server.owner.hellos, 1);
    ck_assert_int_eq(server.owner.peers, 1);
    ck_assert(!sp_tls_is_open(server.tls));
    ck_assert_int_eq(raw.alert, GNUTLS_A_NO_RENEGOTIATION);
}
END_TEST

START_TEST(a_protocol_that_we_do_not_speak_is_refused)
{
    const struct tls_raw_options options = {
        .tls12 = !_i, .name = TLS_NAME_A, .cred = tls_world.raw_alice};
    const gnutls_datum_t smtp = {(unsigned char[]){"smtp"}, 4};

    tls_raw_init(&raw, &options);
    ck_assert_int_eq(gnutls_alpn_set_protocols(raw.gnutls, &smtp, 1, 0), 0);
    tls_meet_raw(&raw, &server);
    ck_assert_int_eq(server.opens, 0);
    ck_assert_int_eq(raw.alert, GNUTLS_A_NO_APPLICATION_PROTOCOL);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("tls_session");
    TCase *t = tcase_create("tls_session");

    tcase_set_timeout(t, 30);
    tcase_add_unchecked_fixture(t, tls_world_enter, tls_world_leave);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, a_client_with_a_good_certificate_gets_in_and_is_known, 0, 2);
    tcase_add_loop_test(t, our_client_and_our_server_meet_and_talk, 0, 2);
    tcase_add_test(t, a_client_that_refuses_the_server_says_why_and_never_opens);
    tcase_add_loop_test(t, a_refused_client_gets_the_owners_alert_and_no_ticket, 0,
                        2 * (int)(sizeof refusal_alerts / sizeof *refusal_alerts));
    tcase_add_loop_test(t, a_client_without_a_certificate_is_judged_as_nobody_and_refused, 0, 2);
    tcase_add_loop_test(
        t, where_a_certificate_is_required_even_an_owner_that_takes_nobody_gets_nobody, 0, 2);
    tcase_add_loop_test(t, an_optional_certificate_may_be_missing_and_is_judged_when_it_is_there, 0,
                        2);
    tcase_add_loop_test(t, an_owner_may_refuse_a_client_without_an_optional_certificate, 0, 2);
    tcase_add_loop_test(t, a_certificate_without_its_key_is_never_shown_to_the_owner, 0, 4);
    tcase_add_loop_test(t, exactly_one_ticket_is_given_and_only_after_the_verdict, 0, 2);
    tcase_add_loop_test(t, no_ticket_where_the_owner_wants_none, 0, 2);
    tcase_add_loop_test(t, no_ticket_where_a_certificate_is_optional, 0, 4);
    tcase_add_loop_test(t, a_ticket_resumes_at_its_own_tenant_and_is_judged_again, 0, 2);
    tcase_add_loop_test(
        t, a_resumed_client_that_is_no_longer_wanted_is_refused_with_the_owners_alert, 0, 2);
    tcase_add_loop_test(t, a_ticket_of_one_tenant_never_resumes_at_another, 0, 16);
    tcase_add_loop_test(t, a_ticket_is_worth_nothing_where_certificates_are_optional, 0, 2);
    tcase_add_test(t, a_tls12_ticket_of_another_name_of_the_tenant_brings_no_identity);
    tcase_add_test(t, a_tls13_ticket_with_a_stale_age_brings_no_identity);
    tcase_add_loop_test(t, a_ticket_of_a_session_without_a_certificate_resumes_as_nobody, 0, 2);
    tcase_add_loop_test(
        t, where_a_certificate_is_required_a_ticket_without_one_is_refused_whatever_the_owner_says,
        0, 2);
    tcase_add_test(t, early_data_is_ignored_and_what_comes_after_it_is_not);
    tcase_add_test(t, a_hello_retry_with_the_same_name_goes_on);
    tcase_add_test(t, a_ticket_resumes_through_a_hello_retry);
    tcase_add_test(t, a_hello_retry_does_not_carry_a_ticket_to_another_tenant);
    tcase_add_test(t, tls12_is_refused_where_the_minimum_is_higher);
    tcase_add_test(t, tls11_is_refused);
    tcase_add_test(t, a_tls12_renegotiation_is_refused);
    tcase_add_loop_test(t, a_protocol_that_we_do_not_speak_is_refused, 0, 2);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *runner = srunner_create(suite());
    int failed;

    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
