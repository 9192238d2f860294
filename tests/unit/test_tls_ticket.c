/* tls_session: when a ticket is given, and what it is worth. Loop tests run with _i 0: TLS 1.2 and
 * 1: TLS 1.3. */
#include "common/tls_impl.h"

#include "tests/support/tls_visit.h"

#include <check.h>
#include <string.h>

#define P521_FIRST                                                                                 \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-SECP521R1:+GROUP-X25519:+GROUP-SECP256R1"

/* ---- tickets: when ---- */

START_TEST(exactly_one_ticket_is_given_and_only_after_the_verdict)
{
    tls_visit(_i, TLS_NAME_A, tls_world.raw_alice, NULL);
    ck_assert_int_eq(visit.client.tickets, 1);
    /* Whatever had been written before on_peer was asked has left long ago. */
    ck_assert_uint_eq(visit.server.owner.output_at_peer, 0);
}
END_TEST

START_TEST(no_ticket_where_the_owner_wants_none)
{
    visit.server.owner.no_tickets = true;
    tls_visit(_i, TLS_NAME_A, tls_world.raw_alice, NULL);
    ck_assert_int_eq(visit.server.opens, 1);
    ck_assert_int_eq(visit.client.tickets, 0);
}
END_TEST

START_TEST(no_ticket_where_a_certificate_is_optional)
{
    visit.server.owner.accept_nobody = true;
    tls_visit(_i % 2, TLS_NAME_O, _i / 2 ? tls_world.raw_alice : NULL, NULL);
    ck_assert_int_eq(visit.server.opens, 1);
    ck_assert_int_eq(visit.client.tickets, 0);
}
END_TEST

/* ---- tickets: what they are worth ---- */

START_TEST(a_ticket_resumes_at_its_own_tenant_and_is_judged_again)
{
    struct sp_chain chain;

    tls_visit_for_ticket(_i, TLS_NAME_A, tls_world.raw_alice);
    tls_visit(_i, TLS_NAME_A, NULL, &visit.ticket);
    ck_assert_int_eq(visit.server.opens, 1);
    ck_assert(sp_tls_is_resumed(visit.server.tls));
    ck_assert(gnutls_session_is_resumed(visit.client.gnutls));
    ck_assert_int_eq(visit.server.owner.peers, 1);
    ck_assert(visit.server.owner.resumed && visit.server.owner.is_alice);
    sp_tls_peer_chain(visit.server.tls, &chain);
    ck_assert_uint_eq(chain.count, 1);
    ck_assert_str_eq(sp_tls_server_name(visit.server.tls), TLS_NAME_A);
    tls_raw_write(&visit.client, "hello");
    tls_meet_raw(&visit.client, &visit.server);
    ck_assert_uint_eq(visit.server.got.len, 5);
}
END_TEST

START_TEST(a_resumed_client_that_is_no_longer_wanted_is_refused_with_the_owners_alert)
{
    tls_visit_for_ticket(_i, TLS_NAME_A, tls_world.raw_alice);
    visit.server.owner.refuse = true;
    visit.server.owner.alert = GNUTLS_A_CERTIFICATE_REVOKED;
    tls_visit(_i, TLS_NAME_A, NULL, &visit.ticket);
    ck_assert_int_eq(visit.server.owner.peers, 1);
    ck_assert(visit.server.owner.resumed && visit.server.owner.is_alice);
    tls_visit_refused(_i, GNUTLS_A_CERTIFICATE_REVOKED, GNUTLS_A_CERTIFICATE_REVOKED);
    tls_visit_no_identity();
}
END_TEST

/* _i & 1: TLS 1.3; & 2: the client also has its certificate; & 4: one server certificate for both
 * names; & 8: from B to A. */
START_TEST(a_ticket_of_one_tenant_never_resumes_at_another)
{
    const char *from = _i & 8 ? TLS_NAME_B : TLS_NAME_A, *to = _i & 8 ? TLS_NAME_A : TLS_NAME_B;

    visit.server.owner.one_certificate = _i & 4;
    tls_visit_for_ticket(_i & 1, from, tls_world.raw_alice);
    tls_visit(_i & 1, to, _i & 2 ? tls_world.raw_alice : NULL, &visit.ticket);
    ck_assert(!sp_tls_is_resumed(visit.server.tls));
    ck_assert(!visit.server.owner.resumed);
    ck_assert_int_eq(visit.server.owner.peers, 1);
    ck_assert_str_eq(visit.server.owner.name, to);
    if (_i & 2) { /* a full handshake, with its own proof */
        ck_assert_int_eq(visit.server.opens, 1);
        ck_assert(visit.server.owner.is_alice);
        return;
    }
    ck_assert_uint_eq(visit.server.owner.chain_count, 0);
    tls_visit_refused(_i & 1, GNUTLS_A_HANDSHAKE_FAILURE, GNUTLS_A_CERTIFICATE_REQUIRED);
}
END_TEST

START_TEST(a_ticket_is_worth_nothing_where_certificates_are_optional)
{
    tls_visit_for_ticket(_i, TLS_NAME_A,
                         tls_world.raw_alice); /* made with the key that O is given too */
    visit.server.owner.accept_nobody = true;
    tls_visit(_i, TLS_NAME_O, NULL, &visit.ticket);
    ck_assert_int_eq(visit.server.opens, 1);
    ck_assert(!sp_tls_is_resumed(visit.server.tls));
    ck_assert_uint_eq(visit.server.owner.chain_count, 0);
    tls_visit_no_identity();
}
END_TEST

/* The ticket is good but not for this; its owner's chain must not stick. */
START_TEST(a_tls12_ticket_of_another_name_of_the_tenant_brings_no_identity)
{
    tls_visit_for_ticket(0, TLS_NAME_A, tls_world.raw_alice);
    tls_visit(0, TLS_NAME_A2, NULL, &visit.ticket);
    ck_assert(!visit.server.owner.is_alice);
    ck_assert_uint_eq(visit.server.owner.chain_count, 0);
    tls_visit_refused(0, GNUTLS_A_HANDSHAKE_FAILURE, 0);
    tls_visit_no_identity();
    tls_visit_next();
    tls_visit(0, TLS_NAME_A2, tls_world.raw_bob, &visit.ticket);
    ck_assert_int_eq(visit.server.opens, 1);
    ck_assert(visit.server.owner.is_bob && !visit.server.owner.resumed);
}
END_TEST

START_TEST(a_tls13_ticket_with_a_stale_age_brings_no_identity)
{
    tls_visit(1, TLS_NAME_A, tls_world.raw_alice, NULL);
    tls_raw_session(&visit.client, &visit.ticket);
    tls_visit_spoil_age();
    tls_visit_next();
    tls_visit(1, TLS_NAME_A, NULL, &visit.ticket);
    ck_assert(!sp_tls_is_resumed(visit.server.tls)); /* else the test tests nothing */
    ck_assert(!visit.server.owner.is_alice);
    ck_assert_uint_eq(visit.server.owner.chain_count, 0);
    tls_visit_refused(1, 0, GNUTLS_A_CERTIFICATE_REQUIRED);
    tls_visit_no_identity();
    tls_visit_next();
    tls_visit(1, TLS_NAME_A, tls_world.raw_bob, &visit.ticket);
    ck_assert_int_eq(visit.server.opens, 1);
    ck_assert(visit.server.owner.is_bob && !visit.server.owner.resumed);
}
END_TEST

/* Tickets and optional certificates never meet. If they did: the chain that an unusable ticket left
 * behind is still no identity without its key. */
START_TEST(even_with_tickets_an_optional_certificate_must_be_proved)
{
    uint8_t stek[TLS_RAW_KEY_LEN];
    const gnutls_datum_t key = {stek, sizeof stek};

    tls_visit(_i, TLS_NAME_A, tls_world.raw_alice, NULL);
    tls_raw_session(&visit.client, &visit.ticket);
    if (_i)
        tls_visit_spoil_age();
    tls_visit_next();
    visit.server.owner.accept_nobody = true;
    memcpy(stek, tls_ticket_key(TLS_NAME_A), sizeof stek);
    ck_assert_int_eq(gnutls_session_ticket_enable_server(visit.server.tls->gnutls, &key), 0);
    tls_visit(_i, TLS_NAME_O, NULL, &visit.ticket);
    ck_assert_int_eq(visit.server.opens, 1);
    ck_assert(!sp_tls_is_resumed(visit.server.tls));
    ck_assert(!visit.server.owner.is_alice);
    ck_assert_uint_eq(visit.server.owner.chain_count, 0);
    tls_visit_no_identity();
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
    tls_raw_init(&visit.client, &client_options);
    tls_meet_raws(&visit.client, &foreign);
    ck_assert(visit.client.done && foreign.done);
    tls_raw_session(&visit.client, &visit.ticket);
    tls_raw_done(&foreign);
    tls_visit_next();
}

START_TEST(a_ticket_of_a_session_without_a_certificate_resumes_as_nobody)
{
    get_foreign_ticket(_i, false);
    tls_visit(_i, TLS_NAME_A, NULL, &visit.ticket);
    ck_assert(sp_tls_is_resumed(visit.server.tls));
    ck_assert_int_eq(visit.server.owner.peers, 1);
    ck_assert_uint_eq(visit.server.owner.chain_count, 0);
    tls_visit_refused(_i, GNUTLS_A_HANDSHAKE_FAILURE, GNUTLS_A_CERTIFICATE_REQUIRED);
}
END_TEST

START_TEST(where_a_certificate_is_required_a_ticket_without_one_is_refused_whatever_the_owner_says)
{
    visit.server.owner.accept_nobody = true;
    get_foreign_ticket(_i, false);
    tls_visit(_i, TLS_NAME_A, NULL, &visit.ticket);
    ck_assert_int_eq(visit.server.owner.peers, 1);
    tls_visit_refused(_i, GNUTLS_A_HANDSHAKE_FAILURE, GNUTLS_A_CERTIFICATE_REQUIRED);
}
END_TEST

START_TEST(early_data_is_ignored_and_what_comes_after_it_is_not)
{
    struct tls_raw_options options = {.name = TLS_NAME_A, .early_data = true};

    visit.server.owner.accept_nobody = true;
    get_foreign_ticket(1, true);
    options.resume = &visit.ticket;
    options.cred = tls_world.raw_alice;
    tls_raw_init(&visit.client, &options);
    ck_assert_int_eq(gnutls_record_send_early_data(visit.client.gnutls, "EARLY", 5), 0);
    tls_meet_raw(&visit.client, &visit.server);
    ck_assert(!(gnutls_session_get_flags(visit.client.gnutls) & GNUTLS_SFLAGS_EARLY_DATA));
    ck_assert_uint_eq(visit.server.got.len, 0);
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
    const struct sp_buf *out = sp_tls_output(visit.server.tls);

    tls_raw_init(&visit.client, &options);
    tls_raw_step(&visit.client);
    tls_end_feed(&visit.server, sp_buf_data(&visit.client.out), visit.client.out.len);
    sp_buf_consume(&visit.client.out, visit.client.out.len);
    ck_assert_ptr_nonnull(out->len ? memmem(sp_buf_data(out), out->len, retry, sizeof retry)
                                   : NULL);
}

START_TEST(a_hello_retry_with_the_same_name_goes_on)
{
    come_to_the_retry(NULL);
    tls_meet_raw(&visit.client, &visit.server);
    ck_assert_int_eq(visit.server.opens, 1);
    ck_assert_int_eq(visit.server.owner.hellos, 1);
    ck_assert(visit.server.owner.is_alice);
    ck_assert_int_eq(visit.client.tickets, 1);
}
END_TEST

START_TEST(a_ticket_resumes_through_a_hello_retry)
{
    tls_visit_for_ticket(1, TLS_NAME_A, tls_world.raw_alice);
    come_to_the_retry(&visit.ticket);
    tls_meet_raw(&visit.client, &visit.server);
    ck_assert_int_eq(visit.server.opens, 1);
    ck_assert(sp_tls_is_resumed(visit.server.tls) && visit.server.owner.is_alice);
}
END_TEST

START_TEST(a_hello_retry_does_not_carry_a_ticket_to_another_tenant)
{
    tls_visit_for_ticket(1, TLS_NAME_A, tls_world.raw_alice);
    come_to_the_retry(&visit.ticket);
    ck_assert_int_eq(gnutls_server_name_set(visit.client.gnutls, GNUTLS_NAME_DNS, TLS_NAME_B,
                                            strlen(TLS_NAME_B)),
                     0);
    tls_meet_raw(&visit.client, &visit.server);
    ck_assert_int_eq(visit.server.opens, 0);
    ck_assert_int_eq(visit.server.failures, 1);
    ck_assert_int_eq(visit.server.owner.hellos, 1);
    ck_assert_int_eq(visit.server.owner.peers, 0);
    ck_assert_int_eq(visit.client.alert, GNUTLS_A_ILLEGAL_PARAMETER);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("tls_ticket");
    TCase *t = tcase_create("tls_ticket");

    tcase_set_timeout(t, 30);
    tcase_add_unchecked_fixture(t, tls_world_enter, tls_world_leave);
    tcase_add_checked_fixture(t, tls_visit_setup, tls_visit_teardown);
    tcase_add_loop_test(t, even_with_tickets_an_optional_certificate_must_be_proved, 0, 2);
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
