/* tls_peer: a verdict that has to wait, and OCSP staples. Loop tests over versions run with _i 0:
 * TLS 1.2 and 1: TLS 1.3. */
#include "common/tls_impl.h"

#include "common/tls_cred.h"
#include "tests/support/tls_visit.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define EARLY "said before anybody listened"

/* ---- a server that waits ---- */

/* Where a server can wait. */
enum where { FULL12, FULL13, RESUMED12, RESUMED13, WHERES };

/* Has alice come to a server that will wait so often; it does. chop: see struct tls_end. */
static void come_in_pieces(enum where where, int waits, unsigned chop)
{
    const int tls13 = where == FULL13 || where == RESUMED13;
    const bool resumed = where == RESUMED12 || where == RESUMED13;

    if (resumed)
        tls_visit_for_ticket(tls13, TLS_NAME_A, tls_world.raw_alice);
    visit.server.chop = chop;
    *(where == FULL12 ? &visit.server.owner.claim_waits : &visit.server.owner.waits) = waits;
    tls_visit(tls13, TLS_NAME_A, tls_world.raw_alice, resumed ? &visit.ticket : NULL);
    ck_assert_int_eq(sp_tls_is_resumed(visit.server.tls), resumed);
}

static void come(enum where where, int waits)
{
    come_in_pieces(where, waits, 0);
}

static int times_asked(enum where where)
{
    return where == FULL12 ? visit.server.owner.claims : visit.server.owner.asked;
}

/* It was asked so often, and nothing at all has come of it. */
static void assert_waits(enum where where, int asked)
{
    struct sp_chain chain;

    ck_assert(sp_tls_is_waiting(visit.server.tls));
    ck_assert(!sp_tls_is_open(visit.server.tls));
    ck_assert_int_eq(times_asked(where), asked);
    ck_assert_int_eq(visit.server.owner.peers, 0);
    ck_assert_int_eq(visit.server.opens + visit.server.failures, 0);
    ck_assert_uint_eq(visit.server.got.len, 0);
    ck_assert_uint_eq(sp_tls_output(visit.server.tls)->len, 0);
    sp_tls_peer_chain(visit.server.tls, &chain);
    ck_assert_uint_eq(chain.count, 0);
    ck_assert_int_eq(visit.client.tickets, 0);
    ck_assert_int_eq(visit.client.rc, 0);
    /* All but the TLS 1.2 client, whose server still owes it a Finished, believe to be through. */
    ck_assert_int_eq(visit.client.done, where != FULL12);
}

/* _i / 4: how the bytes come: whole, one by one. */
START_TEST(a_server_that_waits_stands_still_until_it_may_accept)
{
    const enum where where = (enum where)(_i % WHERES);

    come_in_pieces(where, 2, (unsigned)(_i / WHERES));
    assert_waits(where, 1);
    for (int i = 0; i < 3; i++) /* stepping is no answer */
        tls_end_feed(&visit.server, "", 0);
    assert_waits(where, 1);
    tls_end_continue(&visit.server);
    assert_waits(where, 2);
    tls_end_continue(&visit.server);
    ck_assert(!sp_tls_is_waiting(visit.server.tls));
    tls_meet_raw(&visit.client, &visit.server);
    ck_assert_int_eq(visit.server.opens, 1);
    ck_assert_int_eq(visit.server.owner.peers, 1);
    ck_assert_int_eq(times_asked(where), 3);
    ck_assert(visit.server.owner.is_alice);
    ck_assert(visit.client.done);
    ck_assert_int_eq(visit.client.tickets, where == RESUMED12 ? 0 : 1);
    tls_end_continue(&visit.server); /* once more than asked for */
    ck_assert_int_eq(times_asked(where), 3);
    tls_raw_write(&visit.client, "hello");
    tls_end_write(&visit.server, "world");
    tls_meet_raw(&visit.client, &visit.server);
    tls_visit_got(&visit.server.got, "hello");
    tls_visit_got(&visit.client.got, "world");
}
END_TEST

START_TEST(a_server_that_waited_refuses_with_the_exact_alert)
{
    const enum where where = (enum where)_i;

    visit.server.owner.refuse = true;
    if (where >= RESUMED12) /* the ticket was given in better times */
        visit.server.owner.refuse = false;
    visit.server.owner.alert = GNUTLS_A_CERTIFICATE_REVOKED;
    come(where, 1);
    assert_waits(where, 1);
    visit.server.owner.refuse = true;
    tls_end_continue(&visit.server);
    ck_assert(!sp_tls_is_waiting(visit.server.tls));
    tls_meet_raw(&visit.client, &visit.server);
    ck_assert_int_eq(visit.server.owner.peers, 1);
    tls_visit_refused(where == FULL13 || where == RESUMED13, GNUTLS_A_CERTIFICATE_REVOKED,
                      GNUTLS_A_CERTIFICATE_REVOKED);
    tls_end_continue(&visit.server);
    ck_assert_int_eq(visit.server.owner.peers, 1);
    tls_visit_no_identity();
}
END_TEST

/* _i / 4: how the bytes come: whole, one by one, in pieces. */
START_TEST(what_a_client_says_during_the_wait_arrives_once_and_in_order_after_it)
{
    const enum where where = (enum where)(_i % WHERES);

    if (where == FULL12)
        return; /* its client is not through yet */
    come_in_pieces(where, 1, _i / WHERES == 2 ? 7919 : (unsigned)(_i / WHERES));
    for (int i = 0; i < 3; i++) {
        tls_raw_write(&visit.client, EARLY);
        tls_meet_raw(&visit.client, &visit.server);
        assert_waits(where, 1);
    }
    tls_end_continue(&visit.server);
    ck_assert_int_eq(visit.server.opens, 1);
    tls_visit_got(&visit.server.got, EARLY EARLY EARLY);
    tls_raw_write(&visit.client, "and after");
    tls_meet_raw(&visit.client, &visit.server);
    tls_visit_got(&visit.server.got, EARLY EARLY EARLY "and after");
}
END_TEST

START_TEST(what_a_refused_client_said_during_the_wait_never_arrives)
{
    const enum where where = (enum where)_i;

    if (where == FULL12)
        return;
    come(where, 1);
    tls_raw_write(&visit.client, EARLY);
    tls_meet_raw(&visit.client, &visit.server);
    visit.server.owner.refuse = true;
    tls_end_continue(&visit.server);
    tls_meet_raw(&visit.client, &visit.server);
    ck_assert_int_eq(visit.server.failures, 1);
    ck_assert_uint_eq(visit.server.got.len, 0);
    ck_assert_int_eq(visit.client.alert, GNUTLS_A_CERTIFICATE_REQUIRED - (where == RESUMED12) * 76);
}
END_TEST

/* The caller of sp_tls_feed should have stopped reading: there is an end to what is kept. */
START_TEST(a_flood_during_the_wait_ends_the_session_and_not_the_memory)
{
    static uint8_t record[5 + 16384] = {0x17, 3, 3, 0x40, 0};

    come((enum where)_i, 1);
    for (int i = 0; i < 100 && !visit.server.failures; i++) {
        tls_end_feed(&visit.server, record, sizeof record);
        ck_assert_uint_le(visit.server.tls->carry.cap, 512 * 1024);
    }
    ck_assert_int_eq(visit.server.failures, 1);
    ck_assert_int_eq(visit.server.err.kind, SP_ERR_LIMIT);
    ck_assert(!sp_tls_is_waiting(visit.server.tls));
    tls_end_continue(&visit.server);
    ck_assert_int_eq(times_asked((enum where)_i), 1);
    ck_assert_int_eq(visit.server.opens, 0);
}
END_TEST

START_TEST(a_client_that_leaves_during_the_wait_is_noticed_after_it)
{
    const enum where where = (enum where)_i;

    come(where, 1);
    tls_end_fin(&visit.server);
    tls_end_feed(&visit.server, "", 0);
    assert_waits(where, 1);
    tls_end_continue(&visit.server);
    ck_assert_int_eq(visit.server.opens, 1); /* all that it needs is there */
    ck_assert_int_eq(visit.server.failures, 1);
    ck_assert_int_eq(visit.server.err.kind, SP_ERR_CLOSED);
}
END_TEST

START_TEST(a_waiting_session_may_be_ended_with_an_alert_or_freed)
{
    const enum where where = (enum where)(_i / 2);

    come(where, 1);
    if (_i % 2)
        return; /* freed as it stands */
    sp_tls_alert(visit.server.tls, GNUTLS_A_USER_CANCELED);
    ck_assert(!sp_tls_is_waiting(visit.server.tls));
    tls_end_continue(&visit.server);
    tls_meet_raw(&visit.client, &visit.server);
    ck_assert_int_eq(visit.client.alert, GNUTLS_A_USER_CANCELED);
    ck_assert_int_eq(visit.server.opens, 0);
    ck_assert_int_eq(visit.server.owner.peers, 0);
}
END_TEST

/* ---- where nothing can wait ---- */

static void assert_too_late(int expected_asked)
{
    ck_assert_int_eq(visit.server.owner.asked, expected_asked);
    ck_assert_int_eq(visit.server.opens, 0);
    ck_assert_int_eq(visit.server.failures, 1);
    ck_assert(!sp_tls_is_waiting(visit.server.tls));
    ck_assert_int_eq(visit.server.err.kind, SP_ERR_TLS);
    ck_assert_ptr_nonnull(strstr(visit.server.err.text, "not there in time"));
    ck_assert_int_eq(visit.client.alert, GNUTLS_A_INTERNAL_ERROR);
    ck_assert_int_eq(visit.client.tickets, 0);
    tls_visit_no_identity();
}

START_TEST(under_tls12_a_verdict_that_waits_past_the_claim_is_an_internal_error)
{
    visit.server.owner.waits = 1;
    tls_visit(0, TLS_NAME_A, tls_world.raw_alice, NULL);
    ck_assert_int_eq(visit.server.owner.claims, 1);
    assert_too_late(1);
}
END_TEST

START_TEST(a_verdict_on_a_certificate_that_did_not_come_cannot_wait)
{
    visit.server.owner.waits = 1;
    tls_visit(_i, TLS_NAME_A, NULL, NULL);
    assert_too_late(1);
}
END_TEST

/* But where none was insisted on, nothing has been lost yet. */
START_TEST(a_verdict_on_nobody_may_wait_where_a_certificate_is_optional)
{
    visit.server.owner.accept_nobody = true;
    visit.server.owner.waits = 1;
    tls_visit(_i, TLS_NAME_O, NULL, NULL);
    ck_assert(sp_tls_is_waiting(visit.server.tls));
    ck_assert_int_eq(visit.server.opens, 0);
    ck_assert_int_eq(visit.server.owner.claims, 0);
    tls_end_continue(&visit.server);
    ck_assert_int_eq(visit.server.opens, 1);
    ck_assert_uint_eq(visit.server.owner.chain_count, 0);
}
END_TEST

/* ---- the claim ---- */

START_TEST(a_claim_is_heard_under_tls12_alone_and_once)
{
    tls_visit_for_ticket(_i, TLS_NAME_A, tls_world.raw_alice);
    tls_visit(_i, TLS_NAME_A, tls_world.raw_alice, NULL);
    ck_assert_int_eq(visit.server.opens, 1);
    ck_assert_int_eq(visit.server.owner.claims, !_i);
    ck_assert_int_eq(visit.server.owner.claim_is_alice, !_i);
    tls_visit_next();
    tls_visit(_i, TLS_NAME_A, tls_world.raw_alice, &visit.ticket);
    ck_assert(visit.server.owner.resumed);
    ck_assert_int_eq(visit.server.owner.claims, 0);
}
END_TEST

static enum sp_tls_judgement accept_anybody(void *ctx, const struct sp_tls_peer *peer,
                                            int *ret_alert)
{
    (void)ctx;
    (void)peer;
    (void)ret_alert;
    return SP_TLS_ACCEPT;
}

START_TEST(an_owner_need_not_hear_claims)
{
    struct sp_tls_callbacks callbacks = *visit.server.tls->callbacks;

    callbacks.on_claim = NULL;
    callbacks.on_peer = accept_anybody;
    visit.server.tls->callbacks = &callbacks;
    tls_visit(0, TLS_NAME_A, tls_world.raw_alice, NULL);
    ck_assert_int_eq(visit.server.opens, 1);
    ck_assert_int_eq(visit.server.owner.claims, 0);
}
END_TEST

/* ---- a client that waits ---- */

/* Our client and a bare server that asks for its certificate. */
static void client_comes(int tls13, struct tls_end *client, struct tls_raw *server)
{
    const struct tls_raw_options options = {
        .server = true, .tls12 = !tls13, .cred = tls_world.raw_server};

    tls_client(client, SP_TLS_1_2, TLS_NAME_A, tls_world.alice);
    client->owner.waits = 1;
    tls_raw_init(server, &options);
    gnutls_certificate_server_set_request(server->gnutls, GNUTLS_CERT_REQUIRE);
    tls_end_feed(client, "", 0);
    tls_meet_raw(server, client);
    ck_assert(sp_tls_is_waiting(client->tls));
    ck_assert_int_eq(client->opens, 0);
    ck_assert_int_eq(client->owner.asked, 1);
    ck_assert_int_eq(client->owner.claims, 0);
    ck_assert_uint_eq(sp_tls_output(client->tls)->len, 0);
    ck_assert(!server->done);
    /* Our certificate is not shown to whom we may not trust. */
    ck_assert_ptr_null(gnutls_certificate_get_peers(server->gnutls, &(unsigned){0}));
}

START_TEST(a_client_that_waits_shows_nothing_until_it_accepts)
{
    struct tls_end client;
    struct tls_raw server;

    client_comes(_i, &client, &server);
    tls_end_continue(&client);
    tls_meet_raw(&server, &client);
    ck_assert_int_eq(client.opens, 1);
    ck_assert_int_eq(client.owner.peers, 1);
    ck_assert(server.done);
    ck_assert_ptr_nonnull(gnutls_certificate_get_peers(server.gnutls, &(unsigned){0}));
    tls_end_write(&client, "hello");
    tls_meet_raw(&server, &client);
    tls_visit_got(&server.got, "hello");
    tls_raw_done(&server);
    tls_end_done(&client);
}
END_TEST

START_TEST(a_client_that_waited_refuses_with_the_exact_alert)
{
    struct tls_end client;
    struct tls_raw server;

    client_comes(_i, &client, &server);
    client.owner.refuse = true;
    client.owner.alert = GNUTLS_A_CERTIFICATE_REVOKED;
    tls_end_continue(&client);
    tls_meet_raw(&server, &client);
    ck_assert_int_eq(client.opens, 0);
    ck_assert_int_eq(client.err.kind, SP_ERR_PEER_CERT);
    /* A GnuTLS server takes the alert for a certificate that did not come. */
    ck_assert_int_eq(gnutls_alert_get(server.gnutls), GNUTLS_A_CERTIFICATE_REVOKED);
    ck_assert(!server.done);
    tls_raw_done(&server);
    tls_end_done(&client);
}
END_TEST

/* ---- staples ---- */

static void assert_staple(const struct tls_end *end, const void *der, size_t len)
{
    ck_assert_int_eq(end->owner.peers, 1);
    ck_assert_uint_eq(end->owner.staple_len, len);
    if (len)
        ck_assert_int_eq(memcmp(end->owner.staple, der, len), 0);
}

/* Sizes of responses that are none; the largest that fits, and one that does not. */
static const size_t staple_sizes[] = {1, 2, 1500, 17000, 65527, 65528};
enum { STAPLE_SIZES = sizeof staple_sizes / sizeof staple_sizes[0] };

static uint8_t *garbage(size_t len)
{
    uint8_t *data = malloc(len);
    unsigned seed = (unsigned)len;

    ck_assert_ptr_nonnull(data);
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)tls_random(&seed);
    return data;
}

/* Whatever it is: to look at it is the owner's. _i & 1: TLS 1.3; & 2: it waits. */
START_TEST(a_servers_staple_reaches_the_client_as_it_is)
{
    const size_t size = staple_sizes[_i / 4], expected = size > 65527 ? 0 : size;
    uint8_t *staple = garbage(size);
    struct tls_end client;
    gnutls_datum_t got;

    sp_tls_cred_set_staple(tls_world.server, staple, size);
    if (_i & 1) {
        tls_client(&client, SP_TLS_1_3, TLS_NAME_A, tls_world.alice);
        client.owner.waits = _i & 2 ? 1 : 0;
        tls_meet(&client, &visit.server);
        if (_i & 2)
            tls_end_continue(&client);
        tls_meet(&client, &visit.server);
        ck_assert_int_eq(client.opens, 1);
        ck_assert_int_eq(visit.server.opens, 1);
        assert_staple(&client, staple, expected);
        assert_staple(&visit.server, NULL, 0);
        tls_end_done(&client);
    } else { /* as a client of another make sees it, with a credential that changes meanwhile */
        tls_visit(0, TLS_NAME_A, tls_world.raw_alice, NULL);
        ck_assert_int_eq(visit.server.opens, 1);
        if (gnutls_ocsp_status_request_get2(visit.client.gnutls, 0, &got) < 0)
            got.size = 0;
        ck_assert_uint_eq(got.size, expected);
        ck_assert_int_eq(expected ? memcmp(got.data, staple, expected) : 0, 0);
    }
    sp_tls_cred_set_staple(tls_world.server, NULL, 0);
    free(staple);
}
END_TEST

static struct sp_tls_identity lent;

/* alice with a staple: what our own client does, for a client that can resume and speak TLS 1.2. */
static int lend_alice(gnutls_session_t gnutls, const struct gnutls_cert_retr_st *info,
                      gnutls_pcert_st **ret_certs, unsigned *ret_count,
                      gnutls_ocsp_data_st **ret_ocsp, unsigned *ret_ocsp_count,
                      gnutls_privkey_t *ret_key, unsigned *ret_flags)
{
    (void)gnutls;
    (void)info;
    (void)ret_flags;
    *ret_certs = lent.certs;
    *ret_count = lent.count;
    *ret_key = lent.key;
    *ret_ocsp = sp_tls_staple_data(lent.staple);
    *ret_ocsp_count = 1;
    return 0;
}

static gnutls_certificate_credentials_t alice_with_staple(const void *der, size_t len)
{
    gnutls_certificate_credentials_t cred;

    sp_tls_cred_set_staple(tls_world.alice, der, len);
    sp_tls_cred_identity(tls_world.alice, &lent);
    sp_tls_cred_set_staple(tls_world.alice, NULL, 0);
    ck_assert_int_eq(gnutls_certificate_allocate_credentials(&cred), 0);
    gnutls_certificate_set_retrieve_function3(cred, lend_alice);
    return cred;
}

static void alice_leaves(gnutls_certificate_credentials_t cred)
{
    tls_raw_done(&visit.client);
    memset(&visit.client, 0, sizeof visit.client);
    gnutls_certificate_free_credentials(cred);
    sp_tls_staple_unref(lent.staple);
}

/* Under TLS 1.2 a client has no way to staple. */
START_TEST(a_clients_staple_reaches_the_server_as_it_is)
{
    const size_t size = staple_sizes[_i / 4], expected = size > 65527 || !(_i & 1) ? 0 : size;
    uint8_t *staple = garbage(size);
    struct tls_end client;

    sp_tls_cred_set_staple(tls_world.alice, staple, size);
    tls_client(&client, SP_TLS_1_2, TLS_NAME_A, tls_world.alice);
    if (!(_i & 1))
        tls_only_tls12(client.tls);
    visit.server.owner.waits = _i & 1 && _i & 2 ? 1 : 0;
    tls_meet(&client, &visit.server);
    if (visit.server.owner.waits)
        tls_end_continue(&visit.server);
    tls_meet(&client, &visit.server);
    ck_assert_str_eq(sp_tls_version_name(client.tls), _i & 1 ? "TLS1.3" : "TLS1.2");
    ck_assert_int_eq(client.opens, 1);
    ck_assert_int_eq(visit.server.opens, 1);
    ck_assert(visit.server.owner.is_alice);
    assert_staple(&visit.server, staple, expected);
    assert_staple(&client, NULL, 0);
    ck_assert_msg(!client.failures && !visit.server.failures, "client: %s server: %s",
                  client.err.text, visit.server.err.text);
    tls_end_write(&client, "hello");
    tls_meet(&client, &visit.server);
    tls_visit_got(&visit.server.got, "hello");
    sp_tls_cred_set_staple(tls_world.alice, NULL, 0);
    free(staple);
    tls_end_done(&client);
}
END_TEST

START_TEST(a_staple_counts_for_handshakes_that_begin_after_it_was_set)
{
    struct tls_end clients[3];
    static const char *const staples[] = {"first", "second", ""};

    for (int i = 0; i < 3; i++) {
        if (i)
            tls_visit_next();
        sp_tls_cred_set_staple(tls_world.server, staples[i], strlen(staples[i]));
        tls_client(&clients[i], SP_TLS_1_3, TLS_NAME_A, tls_world.alice);
        clients[i].owner.waits = 1;
        tls_meet(&clients[i], &visit.server);
        sp_tls_cred_set_staple(tls_world.server, "too late", 8);
        tls_end_continue(&clients[i]);
        tls_meet(&clients[i], &visit.server);
        ck_assert_int_eq(visit.server.opens, 1);
        assert_staple(&clients[i], staples[i], strlen(staples[i]));
        tls_end_done(&clients[i]);
    }
    sp_tls_cred_set_staple(tls_world.server, NULL, 0);
}
END_TEST

/* GnuTLS keeps it in the ticket, and would say it again hours later. */
START_TEST(a_staple_does_not_outlive_its_handshake_in_a_ticket)
{
    gnutls_certificate_credentials_t cred = alice_with_staple("response", 8);

    tls_visit(1, TLS_NAME_A, cred, NULL);
    assert_staple(&visit.server, "response", 8);
    ck_assert_int_eq(visit.client.tickets, 1);
    tls_raw_session(&visit.client, &visit.ticket);
    tls_visit_next();
    tls_visit(1, TLS_NAME_A, cred, &visit.ticket);
    ck_assert_int_eq(visit.server.opens, 1);
    ck_assert(visit.server.owner.resumed && visit.server.owner.is_alice);
    assert_staple(&visit.server, NULL, 0);
    alice_leaves(cred);
}
END_TEST

START_TEST(a_staple_of_an_unusable_ticket_is_nobodys)
{
    gnutls_certificate_credentials_t cred = alice_with_staple("response", 8);

    tls_visit(1, TLS_NAME_A, cred, NULL);
    tls_raw_session(&visit.client, &visit.ticket);
    alice_leaves(cred);
    tls_visit_spoil_age();
    tls_visit_next();
    tls_visit(1, TLS_NAME_A, tls_world.raw_bob, &visit.ticket);
    ck_assert_int_eq(visit.server.opens, 1);
    ck_assert(visit.server.owner.is_bob && !visit.server.owner.resumed);
    assert_staple(&visit.server, NULL, 0);
}
END_TEST

/* Tickets and an optional certificate, which the product never has together: there alone the
 * leftovers of an unusable ticket meet a client that sends nothing. */
START_TEST(a_staple_of_an_unusable_ticket_is_not_that_of_a_client_without_a_certificate)
{
    gnutls_certificate_credentials_t cred = alice_with_staple("response", 8);
    uint8_t stek[TLS_RAW_KEY_LEN];
    const gnutls_datum_t key = {stek, sizeof stek};

    tls_visit(1, TLS_NAME_A, cred, NULL);
    tls_raw_session(&visit.client, &visit.ticket);
    alice_leaves(cred);
    tls_visit_spoil_age();
    tls_visit_next();
    visit.server.owner.accept_nobody = true;
    memcpy(stek, tls_ticket_key(TLS_NAME_A), sizeof stek);
    ck_assert_int_eq(gnutls_session_ticket_enable_server(visit.server.tls->gnutls, &key), 0);
    tls_visit(1, TLS_NAME_O, NULL, &visit.ticket);
    ck_assert_int_eq(visit.server.opens, 1);
    ck_assert_uint_eq(visit.server.owner.chain_count, 0);
    assert_staple(&visit.server, NULL, 0);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("tls_peer");
    TCase *t = tcase_create("tls_peer");

    tcase_set_timeout(t, 30);
    tcase_add_unchecked_fixture(t, tls_world_enter, tls_world_leave);
    tcase_add_checked_fixture(t, tls_visit_setup, tls_visit_teardown);
    tcase_add_loop_test(t, a_server_that_waits_stands_still_until_it_may_accept, 0, 2 * WHERES);
    tcase_add_loop_test(t, a_server_that_waited_refuses_with_the_exact_alert, 0, WHERES);
    tcase_add_loop_test(t, what_a_client_says_during_the_wait_arrives_once_and_in_order_after_it, 0,
                        3 * WHERES);
    tcase_add_loop_test(t, what_a_refused_client_said_during_the_wait_never_arrives, 0, WHERES);
    tcase_add_loop_test(t, a_flood_during_the_wait_ends_the_session_and_not_the_memory, 0, WHERES);
    tcase_add_loop_test(t, a_client_that_leaves_during_the_wait_is_noticed_after_it, 0, WHERES);
    tcase_add_loop_test(t, a_waiting_session_may_be_ended_with_an_alert_or_freed, 0, 2 * WHERES);
    tcase_add_test(t, under_tls12_a_verdict_that_waits_past_the_claim_is_an_internal_error);
    tcase_add_loop_test(t, a_verdict_on_a_certificate_that_did_not_come_cannot_wait, 0, 2);
    tcase_add_loop_test(t, a_verdict_on_nobody_may_wait_where_a_certificate_is_optional, 0, 2);
    tcase_add_loop_test(t, a_claim_is_heard_under_tls12_alone_and_once, 0, 2);
    tcase_add_test(t, an_owner_need_not_hear_claims);
    tcase_add_loop_test(t, a_client_that_waits_shows_nothing_until_it_accepts, 0, 2);
    tcase_add_loop_test(t, a_client_that_waited_refuses_with_the_exact_alert, 0, 2);
    tcase_add_loop_test(t, a_servers_staple_reaches_the_client_as_it_is, 0, 4 * STAPLE_SIZES);
    tcase_add_loop_test(t, a_clients_staple_reaches_the_server_as_it_is, 0, 4 * STAPLE_SIZES);
    tcase_add_test(t, a_staple_counts_for_handshakes_that_begin_after_it_was_set);
    tcase_add_test(t, a_staple_does_not_outlive_its_handshake_in_a_ticket);
    tcase_add_test(t, a_staple_of_an_unusable_ticket_is_nobodys);
    tcase_add_test(t, a_staple_of_an_unusable_ticket_is_not_that_of_a_client_without_a_certificate);
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
