/* tls_session: who is let in, and as whom. Loop tests run with _i 0: TLS 1.2 and 1: TLS 1.3. */
#include "common/tls_session.h"

#include "certs/mint.h"
#include "common/tls_cred.h"
#include "tests/support/tls_visit.h"

#include <check.h>
#include <gnutls/abstract.h>
#include <string.h>

/* ---- full handshakes ---- */

START_TEST(a_client_with_a_good_certificate_gets_in_and_is_known)
{
    struct sp_chain chain;

    tls_visit(_i, TLS_NAME_A, tls_world.raw_alice, NULL);
    ck_assert_int_eq(visit.server.opens, 1);
    ck_assert_int_eq(visit.server.owner.peers, 1);
    ck_assert_int_eq(visit.server.owner.hellos, 1);
    ck_assert_str_eq(visit.server.owner.name, TLS_NAME_A);
    ck_assert(visit.server.owner.is_alice && !visit.server.owner.resumed);
    ck_assert_uint_eq(visit.server.owner.chain_count, 1);
    sp_tls_peer_chain(visit.server.tls, &chain);
    ck_assert_uint_eq(chain.count, 1);
    ck_assert_str_eq(sp_tls_server_name(visit.server.tls), TLS_NAME_A);
    ck_assert_str_eq(sp_tls_version_name(visit.server.tls), _i ? "TLS1.3" : "TLS1.2");
    ck_assert_str_eq(sp_tls_cipher_name(visit.server.tls), "AES-128-GCM");
    ck_assert_int_eq(sp_tls_alpn(visit.server.tls), SP_ALPN_NONE);
    ck_assert(!sp_tls_is_resumed(visit.server.tls));
}
END_TEST

START_TEST(our_client_and_our_server_meet_and_talk)
{
    struct tls_end client;
    struct sp_chain chain;

    tls_client(&client, _i ? SP_TLS_1_3 : SP_TLS_1_2, TLS_NAME_A, tls_world.alice);
    tls_meet(&client, &visit.server);
    ck_assert_int_eq(client.opens, 1);
    ck_assert_int_eq(visit.server.opens, 1);
    ck_assert_int_eq(client.owner.peers, 1);
    ck_assert_uint_eq(client.owner.chain_count, 1);
    ck_assert(visit.server.owner.is_alice);
    ck_assert_int_eq(sp_tls_alpn(visit.server.tls), SP_ALPN_H2);
    ck_assert_int_eq(sp_tls_alpn(client.tls), SP_ALPN_H2);
    sp_tls_peer_chain(client.tls, &chain);
    ck_assert_uint_eq(chain.count, 1);
    tls_end_write(&client, "ping");
    tls_end_write(&visit.server, "pong");
    tls_meet(&client, &visit.server);
    ck_assert_uint_eq(visit.server.got.len, 4);
    ck_assert_int_eq(memcmp(sp_buf_data(&client.got), "pong", 4), 0);
    tls_end_done(&client);
}
END_TEST

START_TEST(a_client_that_refuses_the_server_says_why_and_never_opens)
{
    struct tls_end client;

    tls_client(&client, SP_TLS_1_2, TLS_NAME_A, tls_world.alice);
    if (!_i)
        tls_only_tls12(client.tls);
    client.owner.refuse = true;
    client.owner.alert = GNUTLS_A_UNKNOWN_CA;
    tls_meet(&client, &visit.server);
    ck_assert_int_eq(client.opens, 0);
    ck_assert_int_eq(client.err.kind, SP_ERR_PEER_CERT);
    ck_assert_int_eq(client.err.code, GNUTLS_A_UNKNOWN_CA);
    ck_assert_int_eq(visit.server.opens, 0);
    ck_assert_int_eq(visit.server.owner.peers, 0);
    ck_assert_int_eq(visit.server.err.kind, SP_ERR_PEER_ALERT);
    ck_assert_int_eq(visit.server.err.code, GNUTLS_A_UNKNOWN_CA);
    tls_end_done(&client);
}
END_TEST

static const enum certs_key key_kinds[] = {CERTS_P256, CERTS_P384, CERTS_ED25519, CERTS_RSA2048};

/* _i & 1: TLS 1.3; & 2: the client has it. */
START_TEST(every_kind_of_key_proves_its_owner)
{
    const struct certs_spec spec = {.dn = "CN=any",
                                    .path_len = -1,
                                    .key = key_kinds[_i / 4],
                                    .eku = CERTS_EKU_CLIENT | CERTS_EKU_SERVER};
    struct certs_pair *pair;
    struct sp_tls_cred *cred;
    struct tls_end client;
    struct sp_error err;

    ck_assert_int_eq(certs_mint(&spec, NULL, &pair, &err), SP_OK);
    tls_load(pair, &cred, NULL);
    visit.server.owner.cred = _i & 2 ? NULL : cred;
    tls_client(&client, SP_TLS_1_2, TLS_NAME_A, _i & 2 ? cred : tls_world.alice);
    if (!(_i & 1))
        tls_only_tls12(client.tls);
    tls_meet(&client, &visit.server);
    ck_assert_msg(visit.server.opens == 1, "%s", visit.server.err.text);
    ck_assert_int_eq(client.opens, 1);
    ck_assert_uint_eq(client.owner.chain_count, 1);
    ck_assert_uint_eq(visit.server.owner.chain_count, 1);
    tls_end_done(&client);
    sp_tls_cred_unref(cred);
    certs_pair_free(pair);
}
END_TEST

static const int refusal_alerts[] = {
    GNUTLS_A_UNKNOWN_CA,    GNUTLS_A_CERTIFICATE_EXPIRED, GNUTLS_A_CERTIFICATE_REVOKED,
    GNUTLS_A_ACCESS_DENIED, GNUTLS_A_BAD_CERTIFICATE,     GNUTLS_A_UNSUPPORTED_CERTIFICATE};

START_TEST(a_refused_client_gets_the_owners_alert_and_no_ticket)
{
    int tls13 = _i & 1, alert = refusal_alerts[_i / 2];

    visit.server.owner.refuse = true;
    visit.server.owner.alert = alert;
    tls_visit(tls13, TLS_NAME_A, tls_world.raw_alice, NULL);
    tls_visit_refused(tls13, alert, alert);
    ck_assert_int_eq(visit.server.owner.peers, 1);
    tls_visit_no_identity();
}
END_TEST

START_TEST(a_client_without_a_certificate_is_judged_as_nobody_and_refused)
{
    tls_visit(_i, TLS_NAME_A, NULL, NULL);
    ck_assert_int_eq(visit.server.owner.peers, 1);
    ck_assert_uint_eq(visit.server.owner.chain_count, 0);
    tls_visit_refused(_i, GNUTLS_A_HANDSHAKE_FAILURE, GNUTLS_A_CERTIFICATE_REQUIRED);
}
END_TEST

START_TEST(where_a_certificate_is_required_even_an_owner_that_takes_nobody_gets_nobody)
{
    visit.server.owner.accept_nobody = true;
    tls_visit(_i, TLS_NAME_A, NULL, NULL);
    ck_assert_int_eq(visit.server.owner.peers, 1);
    tls_visit_refused(_i, GNUTLS_A_HANDSHAKE_FAILURE, GNUTLS_A_CERTIFICATE_REQUIRED);
}
END_TEST

START_TEST(an_optional_certificate_may_be_missing_and_is_judged_when_it_is_there)
{
    visit.server.owner.accept_nobody = true;
    tls_visit(_i, TLS_NAME_O, NULL, NULL);
    ck_assert_int_eq(visit.server.opens, 1);
    ck_assert_int_eq(visit.server.owner.peers, 1);
    ck_assert_uint_eq(visit.server.owner.chain_count, 0);
    tls_visit_no_identity();
    tls_visit_next();
    tls_visit(_i, TLS_NAME_O, tls_world.raw_alice, NULL);
    ck_assert_int_eq(visit.server.opens, 1);
    ck_assert_int_eq(visit.server.owner.peers, 1);
    ck_assert(visit.server.owner.is_alice);
}
END_TEST

START_TEST(an_owner_may_refuse_a_client_without_an_optional_certificate)
{
    tls_visit(_i, TLS_NAME_O, NULL, NULL);
    ck_assert_int_eq(visit.server.owner.peers, 1);
    tls_visit_refused(_i, GNUTLS_A_HANDSHAKE_FAILURE, GNUTLS_A_CERTIFICATE_REQUIRED);
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

    tls_visit(_i % 2, _i / 2 ? TLS_NAME_O : TLS_NAME_A, stolen, NULL);
    ck_assert_int_eq(visit.server.opens, 0);
    ck_assert_int_eq(visit.server.failures, 1);
    ck_assert(!visit.server.owner.is_alice);
    ck_assert_uint_eq(visit.server.owner.chain_count, 0);
    ck_assert_int_eq(visit.client.rc, GNUTLS_E_FATAL_ALERT_RECEIVED);
    ck_assert_int_eq(visit.client.tickets, 0);
    tls_visit_no_identity();
    gnutls_certificate_free_credentials(stolen);
}
END_TEST

/* ---- protocol rules ---- */

START_TEST(tls12_is_refused_where_the_minimum_is_higher)
{
    tls_end_done(&visit.server);
    tls_server(&visit.server, SP_TLS_1_3);
    tls_visit(0, TLS_NAME_A, tls_world.raw_alice, NULL);
    ck_assert_int_eq(visit.server.opens, 0);
    ck_assert_int_eq(visit.client.alert, GNUTLS_A_PROTOCOL_VERSION);
    ck_assert_int_eq(visit.server.owner.hellos, 0);
}
END_TEST

START_TEST(tls11_is_refused)
{
    const struct tls_raw_options options = {.name = TLS_NAME_A,
                                            .priority = "NORMAL:-VERS-ALL:+VERS-TLS1.1",
                                            .cred = tls_world.raw_alice};

    tls_raw_init(&visit.client, &options);
    tls_meet_raw(&visit.client, &visit.server);
    ck_assert_int_eq(visit.server.opens, 0);
    ck_assert_int_eq(visit.server.failures, 1);
    ck_assert_int_eq(visit.client.alert, GNUTLS_A_PROTOCOL_VERSION);
}
END_TEST

START_TEST(a_tls12_renegotiation_is_refused)
{
    tls_visit(0, TLS_NAME_A, tls_world.raw_alice, NULL);
    ck_assert_int_eq(visit.server.opens, 1);
    ck_assert_int_eq(gnutls_handshake(visit.client.gnutls),
                     GNUTLS_E_AGAIN); /* a second ClientHello */
    tls_meet_raw(&visit.client, &visit.server);
    ck_assert_int_eq(visit.server.failures, 1);
    ck_assert_int_eq(visit.server.err.kind, SP_ERR_TLS);
    ck_assert_int_eq(visit.server.owner.hellos, 1);
    ck_assert_int_eq(visit.server.owner.peers, 1);
    ck_assert(!sp_tls_is_open(visit.server.tls));
    ck_assert_int_eq(visit.client.alert, GNUTLS_A_NO_RENEGOTIATION);
}
END_TEST

START_TEST(a_protocol_that_we_do_not_speak_is_refused)
{
    const struct tls_raw_options options = {
        .tls12 = !_i, .name = TLS_NAME_A, .cred = tls_world.raw_alice};
    const gnutls_datum_t smtp = {(unsigned char[]){"smtp"}, 4};

    tls_raw_init(&visit.client, &options);
    ck_assert_int_eq(gnutls_alpn_set_protocols(visit.client.gnutls, &smtp, 1, 0), 0);
    tls_meet_raw(&visit.client, &visit.server);
    ck_assert_int_eq(visit.server.opens, 0);
    ck_assert_int_eq(visit.client.alert, GNUTLS_A_NO_APPLICATION_PROTOCOL);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("tls_session");
    TCase *t = tcase_create("tls_session");

    tcase_set_timeout(t, 30);
    tcase_add_unchecked_fixture(t, tls_world_enter, tls_world_leave);
    tcase_add_checked_fixture(t, tls_visit_setup, tls_visit_teardown);
    tcase_add_loop_test(t, a_client_with_a_good_certificate_gets_in_and_is_known, 0, 2);
    tcase_add_loop_test(t, our_client_and_our_server_meet_and_talk, 0, 2);
    tcase_add_loop_test(t, every_kind_of_key_proves_its_owner, 0, 16);
    tcase_add_loop_test(t, a_client_that_refuses_the_server_says_why_and_never_opens, 0, 2);
    tcase_add_loop_test(t, a_refused_client_gets_the_owners_alert_and_no_ticket, 0,
                        2 * (int)(sizeof refusal_alerts / sizeof *refusal_alerts));
    tcase_add_loop_test(t, a_client_without_a_certificate_is_judged_as_nobody_and_refused, 0, 2);
    tcase_add_loop_test(
        t, where_a_certificate_is_required_even_an_owner_that_takes_nobody_gets_nobody, 0, 2);
    tcase_add_loop_test(t, an_optional_certificate_may_be_missing_and_is_judged_when_it_is_there, 0,
                        2);
    tcase_add_loop_test(t, an_owner_may_refuse_a_client_without_an_optional_certificate, 0, 2);
    tcase_add_loop_test(t, a_certificate_without_its_key_is_never_shown_to_the_owner, 0, 4);
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
