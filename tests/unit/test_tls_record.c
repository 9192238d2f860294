/* tls_record: bytes in any pieces, and ends of every kind. Loop tests over versions run with _i 0:
 * TLS 1.2 and 1: TLS 1.3; others take _i as a seed too. */
#include "common/tls_impl.h"

#include "tests/support/tls_visit.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Nothing of ours is held: neither input nor output nor a decrypted record. */
static void assert_idle(const struct tls_end *end)
{
    ck_assert_ptr_null(sp_tls_output(end->tls)->base);
    ck_assert_ptr_null(end->tls->carry.base);
    ck_assert_uint_eq(end->tls->packet_count, 0);
    ck_assert_uint_eq(end->tls->fed.len, 0);
    ck_assert_uint_eq(end->tls->record_left, 0);
}

/* ---- pieces ---- */

/* _i: seeds and ways of feeding; both ends are fed in pieces. */
START_TEST(it_does_not_matter_in_what_pieces_the_bytes_come)
{
    enum { SIZE = 100 * 1000 };
    struct tls_end client;
    struct sp_error err = {.text = ""};
    uint8_t *sent = malloc(SIZE);
    unsigned seed = (unsigned)_i + 1;

    visit.server.chop = _i == 0 ? 1 : (unsigned)_i * 7919;
    visit.server.park_seed = _i & 1 ? (unsigned)_i * 104729 : 0;
    tls_client(&client, _i & 2 ? SP_TLS_1_3 : SP_TLS_1_2, TLS_NAME_A, tls_world.alice);
    client.chop = visit.server.chop;
    client.park_seed = visit.server.park_seed;
    tls_meet(&client, &visit.server);
    ck_assert_int_eq(visit.server.opens, 1);
    ck_assert_int_eq(client.opens, 1);
    for (int i = 0; i < SIZE; i++)
        sent[i] = (uint8_t)tls_random(&seed);
    for (size_t at = 0, n; at < SIZE; at += n) {
        n = 1 + tls_random(&seed) % 40000;
        n = n < SIZE - at ? n : SIZE - at;
        ck_assert_int_eq(sp_tls_write(client.tls, sent + at, n, &err), SP_OK);
        ck_assert_int_eq(sp_tls_write(visit.server.tls, sent + at, n, &err), SP_OK);
        if (tls_random(&seed) % 2) /* else the next records are glued to these */
            tls_meet(&client, &visit.server);
    }
    tls_meet(&client, &visit.server);
    ck_assert_uint_eq(visit.server.got.len, SIZE);
    ck_assert_uint_eq(client.got.len, SIZE);
    ck_assert_int_eq(memcmp(sp_buf_data(&visit.server.got), sent, SIZE), 0);
    ck_assert_int_eq(memcmp(sp_buf_data(&client.got), sent, SIZE), 0);
    assert_idle(&visit.server);
    assert_idle(&client);
    free(sent);
    tls_end_done(&client);
}
END_TEST

/* GnuTLS says AGAIN after a ticket with the data still to be read. */
START_TEST(a_ticket_and_data_in_one_piece_are_both_read)
{
    struct tls_end client;

    tls_client(&client, SP_TLS_1_3, TLS_NAME_A, tls_world.alice);
    tls_meet(&client, &visit.server);
    ck_assert_int_eq(client.opens, 1);
    tls_end_done(&client);
    tls_end_done(&visit.server);
    /* Again, and this time the server speaks as soon as it may. */
    tls_server(&visit.server, SP_TLS_1_2);
    tls_client(&client, SP_TLS_1_3, TLS_NAME_A, tls_world.alice);
    tls_end_feed(&client, "", 0);
    for (int i = 0; i < 10 && !visit.server.opens; i++) {
        struct sp_buf *from = sp_tls_output(i % 2 ? visit.server.tls : client.tls);

        tls_end_feed(i % 2 ? &client : &visit.server, sp_buf_data(from), from->len);
        sp_buf_consume(from, from->len);
    }
    ck_assert_int_eq(visit.server.opens, 1);
    ck_assert_uint_gt(sp_tls_output(visit.server.tls)->len, 500); /* the ticket */
    tls_end_write(&visit.server, "data");
    tls_end_feed(&client, sp_buf_data(sp_tls_output(visit.server.tls)),
                 sp_tls_output(visit.server.tls)->len);
    tls_visit_got(&client.got, "data");
    assert_idle(&client);
    tls_end_done(&client);
}
END_TEST

START_TEST(a_key_update_and_data_in_one_piece_are_both_read)
{
    tls_visit_in(1);
    ck_assert_int_eq(gnutls_session_key_update(visit.client.gnutls, GNUTLS_KU_PEER), 0);
    tls_raw_write(&visit.client, "data");
    ck_assert_int_eq(gnutls_session_key_update(visit.client.gnutls, 0), 0);
    tls_raw_write(&visit.client, " and more");
    tls_meet_raw(&visit.client, &visit.server);
    tls_visit_got(&visit.server.got, "data and more");
    tls_end_write(&visit.server, "answer");
    tls_meet_raw(&visit.client, &visit.server);
    tls_visit_got(&visit.client.got, "answer");
}
END_TEST

START_TEST(an_idle_session_holds_no_buffers)
{
    tls_visit_in(_i);
    tls_raw_write(&visit.client, "ping");
    tls_meet_raw(&visit.client, &visit.server);
    tls_end_write(&visit.server, "pong");
    tls_meet_raw(&visit.client, &visit.server);
    tls_visit_got(&visit.server.got, "ping");
    tls_visit_got(&visit.client.got, "pong");
    assert_idle(&visit.server);
}
END_TEST

/* Several records are passed on at once, so each must outlive the steps after it. */
START_TEST(what_was_handed_out_stays_until_it_is_released)
{
    struct sp_bytes data[SP_TLS_PACKETS], one_more;
    struct sp_error err;
    char text[16];

    tls_visit_in(_i);
    for (int i = 0; i <= SP_TLS_PACKETS; i++) {
        snprintf(text, sizeof text, "record %d", i);
        tls_raw_write(&visit.client, text);
    }
    sp_tls_feed(visit.server.tls, sp_buf_data(&visit.client.out), visit.client.out.len);
    for (int i = 0; i < SP_TLS_PACKETS; i++)
        ck_assert_int_eq(sp_tls_step(visit.server.tls, &data[i], &err), SP_TLS_DATA);
    for (int i = 0; i < SP_TLS_PACKETS; i++) {
        snprintf(text, sizeof text, "record %d", i);
        ck_assert_uint_eq(data[i].len, strlen(text));
        ck_assert_mem_eq(data[i].data, text, strlen(text));
    }
    ck_assert_uint_eq(visit.server.tls->packet_count, SP_TLS_PACKETS);
    ck_assert_int_eq(sp_tls_step(visit.server.tls, &one_more, &err), SP_TLS_DATA);
    ck_assert_uint_eq(visit.server.tls->packet_count, 1);
    sp_tls_release(visit.server.tls);
    ck_assert_uint_eq(visit.server.tls->packet_count, 0);
    ck_assert_int_eq(sp_tls_step(visit.server.tls, &one_more, &err), SP_TLS_NOTHING);
}
END_TEST

START_TEST(a_stalled_record_costs_no_more_than_itself)
{
    char text[16384];

    tls_visit_in(_i);
    memset(text, 'x', sizeof text);
    ck_assert_int_eq(gnutls_record_send(visit.client.gnutls, text, sizeof text),
                     (ssize_t)sizeof text);
    tls_end_feed(&visit.server, sp_buf_data(&visit.client.out), visit.client.out.len - 1);
    ck_assert_uint_eq(visit.server.got.len, 0);
    ck_assert_uint_eq(visit.server.tls->carry.len, visit.client.out.len - 1);
    ck_assert_uint_le(visit.server.tls->carry.cap, 64 * 1024);
    tls_end_feed(&visit.server, sp_buf_data(&visit.client.out) + visit.client.out.len - 1, 1);
    ck_assert_uint_eq(visit.server.got.len, sizeof text);
    assert_idle(&visit.server);
}
END_TEST

START_TEST(parked_input_has_a_limit)
{
    static uint8_t much[600 * 1024];
    struct sp_error err = {.text = ""};

    tls_visit_in(1);
    memset(much, 0x17, sizeof much);
    sp_tls_feed(visit.server.tls, much, sizeof much);
    ck_assert_int_eq(sp_tls_park(visit.server.tls, &err), SP_ERR_LIMIT);
    ck_assert(err.text[0]);
}
END_TEST

/* ---- ends ---- */

START_TEST(the_peer_may_end_first_and_still_listen)
{
    tls_visit_in(_i);
    tls_raw_write(&visit.client, "last");
    ck_assert_int_eq(gnutls_bye(visit.client.gnutls, GNUTLS_SHUT_WR), 0);
    tls_meet_raw(&visit.client, &visit.server);
    tls_visit_got(&visit.server.got, "last");
    ck_assert_int_eq(visit.server.eofs, 1);
    ck_assert(sp_tls_is_open(visit.server.tls));
    tls_end_write(&visit.server, "answer");
    tls_meet_raw(&visit.client, &visit.server);
    tls_visit_got(&visit.client.got, "answer");
    tls_end_fin(&visit.server); /* after close_notify it is no news */
    ck_assert_int_eq(visit.server.eofs, 1);
    ck_assert_int_eq(visit.server.failures, 0);
    sp_tls_close_notify(visit.server.tls);
    tls_meet_raw(&visit.client, &visit.server);
    ck_assert(visit.client.eof && !visit.client.rc);
    assert_idle(&visit.server);
}
END_TEST

START_TEST(we_may_end_first_and_still_listen)
{
    tls_visit_in(_i);
    tls_end_write(&visit.server, "last");
    sp_tls_close_notify(visit.server.tls);
    sp_tls_close_notify(visit.server.tls); /* once is enough */
    tls_meet_raw(&visit.client, &visit.server);
    tls_visit_got(&visit.client.got, "last");
    ck_assert(visit.client.eof && !visit.client.rc);
    tls_raw_write(&visit.client, "answer");
    tls_meet_raw(&visit.client, &visit.server);
    tls_visit_got(&visit.server.got, "answer");
    ck_assert_int_eq(visit.server.eofs, 0);
    ck_assert_int_eq(gnutls_bye(visit.client.gnutls, GNUTLS_SHUT_WR), 0);
    tls_meet_raw(&visit.client, &visit.server);
    ck_assert_int_eq(visit.server.eofs, 1);
    ck_assert_int_eq(visit.server.failures, 0);
}
END_TEST

START_TEST(what_follows_close_notify_is_ignored_and_not_kept)
{
    static const uint8_t junk[3000] = {0x17, 3, 3, 0x40, 0};

    tls_visit_in(_i);
    ck_assert_int_eq(gnutls_bye(visit.client.gnutls, GNUTLS_SHUT_WR), 0);
    ck_assert_int_eq(sp_buf_append(&visit.client.out, junk, sizeof junk), SP_OK);
    visit.server.park_seed = (unsigned)_i + 1;
    tls_meet_raw(&visit.client, &visit.server);
    tls_end_feed(&visit.server, junk, sizeof junk);
    ck_assert_int_eq(visit.server.eofs, 1);
    ck_assert_int_eq(visit.server.failures, 0);
    ck_assert_uint_eq(visit.server.got.len, 0);
    assert_idle(&visit.server);
}
END_TEST

static void assert_cut(void)
{
    ck_assert_int_eq(visit.server.failures, 1);
    ck_assert_int_eq(visit.server.eofs, 0);
    ck_assert_int_eq(visit.server.err.kind, SP_ERR_CLOSED);
    ck_assert(!sp_tls_is_open(visit.server.tls));
}

START_TEST(a_fin_without_close_notify_is_a_cut)
{
    tls_visit_in(_i);
    tls_raw_write(&visit.client, "half a sent");
    tls_meet_raw(&visit.client, &visit.server);
    tls_end_fin(&visit.server);
    tls_visit_got(&visit.server.got, "half a sent");
    assert_cut();
}
END_TEST

/* _i: how many bytes of the record come. */
START_TEST(a_fin_inside_a_record_is_a_cut)
{
    tls_visit_in(_i & 1);
    tls_raw_write(&visit.client, "a sentence");
    ck_assert_uint_lt((size_t)_i / 2, visit.client.out.len);
    if (_i / 2)
        tls_end_feed(&visit.server, sp_buf_data(&visit.client.out), (size_t)_i / 2);
    tls_end_fin(&visit.server);
    ck_assert_uint_eq(visit.server.got.len, 0);
    assert_cut();
}
END_TEST

START_TEST(a_fin_in_the_handshake_is_a_cut)
{
    static const size_t parts[] = {0, 3, 5, 60};
    const struct tls_raw_options options = {
        .tls12 = !(_i & 1), .name = TLS_NAME_A, .cred = tls_world.raw_alice};

    tls_raw_init(&visit.client, &options);
    tls_raw_step(&visit.client);
    if (parts[_i / 2])
        tls_end_feed(&visit.server, sp_buf_data(&visit.client.out), parts[_i / 2]);
    tls_end_fin(&visit.server);
    ck_assert_int_eq(visit.server.opens, 0);
    assert_cut();
}
END_TEST

START_TEST(a_failed_session_stays_failed)
{
    struct sp_bytes data;
    struct sp_error err = {.text = ""};

    tls_visit_in(_i);
    tls_end_fin(&visit.server);
    tls_raw_write(&visit.client, "too late");
    sp_tls_feed(visit.server.tls, sp_buf_data(&visit.client.out), visit.client.out.len);
    ck_assert_int_eq(sp_tls_step(visit.server.tls, &data, &err), SP_TLS_FAILED);
    ck_assert_int_eq(sp_tls_step(visit.server.tls, &data, &err), SP_TLS_FAILED);
    sp_tls_close_notify(visit.server.tls);
    sp_tls_alert(visit.server.tls, GNUTLS_A_ACCESS_DENIED);
    ck_assert_uint_eq(sp_tls_output(visit.server.tls)->len, 0);
}
END_TEST

START_TEST(an_alert_of_the_owners_reaches_the_peer_and_ends_it)
{
    tls_visit_in(_i);
    sp_tls_alert(visit.server.tls, GNUTLS_A_CERTIFICATE_REVOKED);
    ck_assert(!sp_tls_is_open(visit.server.tls));
    tls_meet_raw(&visit.client, &visit.server);
    ck_assert_int_eq(visit.client.alert, GNUTLS_A_CERTIFICATE_REVOKED);
}
END_TEST

START_TEST(a_fatal_alert_of_the_peers_is_told)
{
    tls_visit_in(_i);
    gnutls_alert_send(visit.client.gnutls, GNUTLS_AL_FATAL, GNUTLS_A_UNKNOWN_CA);
    tls_meet_raw(&visit.client, &visit.server);
    ck_assert_int_eq(visit.server.failures, 1);
    ck_assert_int_eq(visit.server.err.kind, SP_ERR_PEER_ALERT);
    ck_assert_int_eq(visit.server.err.code, GNUTLS_A_UNKNOWN_CA);
    ck_assert_ptr_nonnull(strstr(visit.server.err.text, "unknown_ca"));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("tls_record");
    TCase *t = tcase_create("tls_record");

    tcase_set_timeout(t, 30);
    tcase_add_unchecked_fixture(t, tls_world_enter, tls_world_leave);
    tcase_add_checked_fixture(t, tls_visit_setup, tls_visit_teardown);
    tcase_add_loop_test(t, the_peer_may_end_first_and_still_listen, 0, 2);
    tcase_add_loop_test(t, we_may_end_first_and_still_listen, 0, 2);
    tcase_add_loop_test(t, what_follows_close_notify_is_ignored_and_not_kept, 0, 2);
    tcase_add_loop_test(t, a_fin_without_close_notify_is_a_cut, 0, 2);
    tcase_add_loop_test(t, a_fin_inside_a_record_is_a_cut, 0, 16);
    tcase_add_loop_test(t, a_fin_in_the_handshake_is_a_cut, 0, 8);
    tcase_add_loop_test(t, a_failed_session_stays_failed, 0, 2);
    tcase_add_loop_test(t, an_alert_of_the_owners_reaches_the_peer_and_ends_it, 0, 2);
    tcase_add_loop_test(t, a_fatal_alert_of_the_peers_is_told, 0, 2);
    tcase_add_loop_test(t, it_does_not_matter_in_what_pieces_the_bytes_come, 0, 16);
    tcase_add_test(t, a_ticket_and_data_in_one_piece_are_both_read);
    tcase_add_test(t, a_key_update_and_data_in_one_piece_are_both_read);
    tcase_add_loop_test(t, an_idle_session_holds_no_buffers, 0, 2);
    tcase_add_loop_test(t, what_was_handed_out_stays_until_it_is_released, 0, 2);
    tcase_add_loop_test(t, a_stalled_record_costs_no_more_than_itself, 0, 2);
    tcase_add_test(t, parked_input_has_a_limit);
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
