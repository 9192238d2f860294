/* tls_record: bytes in any pieces, ends of every kind, floods and garbage. Loop tests over versions
 * run with _i 0: TLS 1.2 and 1: TLS 1.3; others take _i as a seed too. */
#include "common/tls_impl.h"

#include "tests/support/tls_pair.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct tls_end server, client;
static struct tls_raw raw;

static void setup(void)
{
    tls_server(&server, SP_TLS_1_2);
    memset(&client, 0, sizeof client);
    memset(&raw, 0, sizeof raw);
}

static void teardown(void)
{
    if (raw.gnutls)
        tls_raw_done(&raw);
    if (client.tls)
        tls_end_done(&client);
    tls_end_done(&server);
}

static void come(int tls13)
{
    const struct tls_raw_options options = {
        .tls12 = !tls13, .name = TLS_NAME_A, .cred = tls_world.raw_alice};

    tls_raw_init(&raw, &options);
    tls_meet_raw(&raw, &server);
}

static void come_in(int tls13)
{
    come(tls13);
    ck_assert_int_eq(server.opens, 1);
    ck_assert(raw.done && !raw.rc);
}

static void assert_got(const struct sp_buf *got, const char *text)
{
    ck_assert_uint_eq(got->len, strlen(text));
    ck_assert_int_eq(got->len ? memcmp(sp_buf_data(got), text, got->len) : 0, 0);
}

/* Nothing of ours is held: neither input nor output nor a decrypted record. */
static void assert_idle(const struct tls_end *end)
{
    ck_assert_ptr_null(sp_tls_output(end->tls)->base);
    ck_assert_ptr_null(end->tls->carry.base);
    ck_assert_ptr_null(end->tls->packet);
    ck_assert_uint_eq(end->tls->fed.len, 0);
    ck_assert_uint_eq(end->tls->record_left, 0);
}

/* ---- pieces ---- */

/* _i: seeds and ways of feeding; both ends are fed in pieces. */
START_TEST(it_does_not_matter_in_what_pieces_the_bytes_come)
{
    enum { SIZE = 300 * 1000 };
    struct sp_error err = {.text = ""};
    uint8_t *sent = malloc(SIZE);
    unsigned seed = (unsigned)_i + 1;

    server.chop = _i == 0 ? 1 : (unsigned)_i * 7919;
    server.park_seed = _i & 1 ? (unsigned)_i * 104729 : 0;
    tls_client(&client, _i & 2 ? SP_TLS_1_3 : SP_TLS_1_2, TLS_NAME_A, tls_world.alice);
    client.chop = server.chop;
    client.park_seed = server.park_seed;
    tls_meet(&client, &server);
    ck_assert_int_eq(server.opens, 1);
    ck_assert_int_eq(client.opens, 1);
    for (int i = 0; i < SIZE; i++)
        sent[i] = (uint8_t)tls_random(&seed);
    for (size_t at = 0, n; at < SIZE; at += n) {
        n = 1 + tls_random(&seed) % 40000;
        n = n < SIZE - at ? n : SIZE - at;
        ck_assert_int_eq(sp_tls_write(client.tls, sent + at, n, &err), SP_OK);
        ck_assert_int_eq(sp_tls_write(server.tls, sent + at, n, &err), SP_OK);
        if (tls_random(&seed) % 2) /* else the next records are glued to these */
            tls_meet(&client, &server);
    }
    tls_meet(&client, &server);
    ck_assert_uint_eq(server.got.len, SIZE);
    ck_assert_uint_eq(client.got.len, SIZE);
    ck_assert_int_eq(memcmp(sp_buf_data(&server.got), sent, SIZE), 0);
    ck_assert_int_eq(memcmp(sp_buf_data(&client.got), sent, SIZE), 0);
    assert_idle(&server);
    assert_idle(&client);
    free(sent);
}
END_TEST

/* GnuTLS says AGAIN after a ticket with the data still to be read. */
START_TEST(a_ticket_and_data_in_one_piece_are_both_read)
{
    tls_client(&client, SP_TLS_1_3, TLS_NAME_A, tls_world.alice);
    tls_meet(&client, &server);
    ck_assert_int_eq(client.opens, 1);
    tls_end_done(&client);
    tls_end_done(&server);
    /* Again, and this time the server speaks as soon as it may. */
    tls_server(&server, SP_TLS_1_2);
    tls_client(&client, SP_TLS_1_3, TLS_NAME_A, tls_world.alice);
    tls_end_feed(&client, "", 0);
    for (int i = 0; i < 10 && !server.opens; i++) {
        struct sp_buf *from = sp_tls_output(i % 2 ? server.tls : client.tls);

        tls_end_feed(i % 2 ? &client : &server, sp_buf_data(from), from->len);
        sp_buf_consume(from, from->len);
    }
    ck_assert_int_eq(server.opens, 1);
    ck_assert_uint_gt(sp_tls_output(server.tls)->len, 500); /* the ticket */
    tls_end_write(&server, "data");
    tls_end_feed(&client, sp_buf_data(sp_tls_output(server.tls)), sp_tls_output(server.tls)->len);
    assert_got(&client.got, "data");
    assert_idle(&client);
}
END_TEST

START_TEST(a_key_update_and_data_in_one_piece_are_both_read)
{
    come_in(1);
    ck_assert_int_eq(gnutls_session_key_update(raw.gnutls, GNUTLS_KU_PEER), 0);
    tls_raw_write(&raw, "data");
    ck_assert_int_eq(gnutls_session_key_update(raw.gnutls, 0), 0);
    tls_raw_write(&raw, " and more");
    tls_meet_raw(&raw, &server);
    assert_got(&server.got, "data and more");
    tls_end_write(&server, "answer");
    tls_meet_raw(&raw, &server);
    assert_got(&raw.got, "answer");
}
END_TEST

START_TEST(an_idle_session_holds_no_buffers)
{
    come_in(_i);
    tls_raw_write(&raw, "ping");
    tls_meet_raw(&raw, &server);
    tls_end_write(&server, "pong");
    tls_meet_raw(&raw, &server);
    assert_got(&server.got, "ping");
    assert_got(&raw.got, "pong");
    assert_idle(&server);
}
END_TEST

START_TEST(a_stalled_record_costs_no_more_than_itself)
{
    char text[16384];

    come_in(_i);
    memset(text, 'x', sizeof text);
    ck_assert_int_eq(gnutls_record_send(raw.gnutls, text, sizeof text), (ssize_t)sizeof text);
    tls_end_feed(&server, sp_buf_data(&raw.out), raw.out.len - 1);
    ck_assert_uint_eq(server.got.len, 0);
    ck_assert_uint_eq(server.tls->carry.len, raw.out.len - 1);
    ck_assert_uint_le(server.tls->carry.cap, 64 * 1024);
    tls_end_feed(&server, sp_buf_data(&raw.out) + raw.out.len - 1, 1);
    ck_assert_uint_eq(server.got.len, sizeof text);
    assert_idle(&server);
}
END_TEST

START_TEST(parked_input_has_a_limit)
{
    static uint8_t much[600 * 1024];
    struct sp_error err = {.text = ""};

    come_in(1);
    memset(much, 0x17, sizeof much);
    sp_tls_feed(server.tls, much, sizeof much);
    ck_assert_int_eq(sp_tls_park(server.tls, &err), SP_ERR_LIMIT);
    ck_assert(err.text[0]);
}
END_TEST

/* Padding without content: TLS 1.3 alone has a way to send that with GnuTLS. */
static void send_empty(int count)
{
    for (int i = 0; i < count; i++)
        ck_assert_int_eq(gnutls_record_send2(raw.gnutls, "", 0, 20, 0), 0);
}

START_TEST(empty_records_are_no_end)
{
    come_in(1);
    send_empty(20);
    tls_raw_write(&raw, "still here");
    tls_meet_raw(&raw, &server);
    ck_assert_int_eq(server.eofs, 0);
    ck_assert_int_eq(server.failures, 0);
    assert_got(&server.got, "still here");
}
END_TEST

/* ---- ends ---- */

START_TEST(the_peer_may_end_first_and_still_listen)
{
    come_in(_i);
    tls_raw_write(&raw, "last");
    ck_assert_int_eq(gnutls_bye(raw.gnutls, GNUTLS_SHUT_WR), 0);
    tls_meet_raw(&raw, &server);
    assert_got(&server.got, "last");
    ck_assert_int_eq(server.eofs, 1);
    ck_assert(sp_tls_is_open(server.tls));
    tls_end_write(&server, "answer");
    tls_meet_raw(&raw, &server);
    assert_got(&raw.got, "answer");
    tls_end_fin(&server); /* after close_notify it is no news */
    ck_assert_int_eq(server.eofs, 1);
    ck_assert_int_eq(server.failures, 0);
    sp_tls_close_notify(server.tls);
    tls_meet_raw(&raw, &server);
    ck_assert(raw.eof && !raw.rc);
    assert_idle(&server);
}
END_TEST

START_TEST(we_may_end_first_and_still_listen)
{
    come_in(_i);
    tls_end_write(&server, "last");
    sp_tls_close_notify(server.tls);
    sp_tls_close_notify(server.tls); /* once is enough */
    tls_meet_raw(&raw, &server);
    assert_got(&raw.got, "last");
    ck_assert(raw.eof && !raw.rc);
    tls_raw_write(&raw, "answer");
    tls_meet_raw(&raw, &server);
    assert_got(&server.got, "answer");
    ck_assert_int_eq(server.eofs, 0);
    ck_assert_int_eq(gnutls_bye(raw.gnutls, GNUTLS_SHUT_WR), 0);
    tls_meet_raw(&raw, &server);
    ck_assert_int_eq(server.eofs, 1);
    ck_assert_int_eq(server.failures, 0);
}
END_TEST

START_TEST(what_follows_close_notify_is_ignored_and_not_kept)
{
    static const uint8_t junk[3000] = {0x17, 3, 3, 0x40, 0};

    come_in(_i);
    ck_assert_int_eq(gnutls_bye(raw.gnutls, GNUTLS_SHUT_WR), 0);
    ck_assert_int_eq(sp_buf_append(&raw.out, junk, sizeof junk), SP_OK);
    server.park_seed = (unsigned)_i + 1;
    tls_meet_raw(&raw, &server);
    tls_end_feed(&server, junk, sizeof junk);
    ck_assert_int_eq(server.eofs, 1);
    ck_assert_int_eq(server.failures, 0);
    ck_assert_uint_eq(server.got.len, 0);
    assert_idle(&server);
}
END_TEST

static void assert_cut(void)
{
    ck_assert_int_eq(server.failures, 1);
    ck_assert_int_eq(server.eofs, 0);
    ck_assert_int_eq(server.err.kind, SP_ERR_CLOSED);
    ck_assert(!sp_tls_is_open(server.tls));
}

START_TEST(a_fin_without_close_notify_is_a_cut)
{
    come_in(_i);
    tls_raw_write(&raw, "half a sent");
    tls_meet_raw(&raw, &server);
    tls_end_fin(&server);
    assert_got(&server.got, "half a sent");
    assert_cut();
}
END_TEST

/* _i: how many bytes of the record come. */
START_TEST(a_fin_inside_a_record_is_a_cut)
{
    come_in(_i & 1);
    tls_raw_write(&raw, "a sentence");
    ck_assert_uint_lt((size_t)_i / 2, raw.out.len);
    if (_i / 2)
        tls_end_feed(&server, sp_buf_data(&raw.out), (size_t)_i / 2);
    tls_end_fin(&server);
    ck_assert_uint_eq(server.got.len, 0);
    assert_cut();
}
END_TEST

START_TEST(a_fin_in_the_handshake_is_a_cut)
{
    static const size_t parts[] = {0, 3, 5, 60};
    const struct tls_raw_options options = {
        .tls12 = !(_i & 1), .name = TLS_NAME_A, .cred = tls_world.raw_alice};

    tls_raw_init(&raw, &options);
    tls_raw_step(&raw);
    if (parts[_i / 2])
        tls_end_feed(&server, sp_buf_data(&raw.out), parts[_i / 2]);
    tls_end_fin(&server);
    ck_assert_int_eq(server.opens, 0);
    assert_cut();
}
END_TEST

START_TEST(a_failed_session_stays_failed)
{
    struct sp_bytes data;
    struct sp_error err = {.text = ""};

    come_in(_i);
    tls_end_fin(&server);
    tls_raw_write(&raw, "too late");
    sp_tls_feed(server.tls, sp_buf_data(&raw.out), raw.out.len);
    ck_assert_int_eq(sp_tls_step(server.tls, &data, &err), SP_TLS_FAILED);
    ck_assert_int_eq(sp_tls_step(server.tls, &data, &err), SP_TLS_FAILED);
    sp_tls_close_notify(server.tls);
    sp_tls_alert(server.tls, GNUTLS_A_ACCESS_DENIED);
    ck_assert_uint_eq(sp_tls_output(server.tls)->len, 0);
}
END_TEST

START_TEST(an_alert_of_the_owners_reaches_the_peer_and_ends_it)
{
    come_in(_i);
    sp_tls_alert(server.tls, GNUTLS_A_CERTIFICATE_REVOKED);
    ck_assert(!sp_tls_is_open(server.tls));
    tls_meet_raw(&raw, &server);
    ck_assert_int_eq(raw.alert, GNUTLS_A_CERTIFICATE_REVOKED);
}
END_TEST

START_TEST(a_fatal_alert_of_the_peers_is_told)
{
    come_in(_i);
    gnutls_alert_send(raw.gnutls, GNUTLS_AL_FATAL, GNUTLS_A_UNKNOWN_CA);
    tls_meet_raw(&raw, &server);
    ck_assert_int_eq(server.failures, 1);
    ck_assert_int_eq(server.err.kind, SP_ERR_PEER_ALERT);
    ck_assert_int_eq(server.err.code, GNUTLS_A_UNKNOWN_CA);
    ck_assert_ptr_nonnull(strstr(server.err.text, "unknown_ca"));
}
END_TEST

/* ---- hostile bytes ---- */

START_TEST(a_few_warnings_pass_and_a_flood_of_them_does_not)
{
    come_in(0); /* in TLS 1.3 GnuTLS takes the first one for fatal */
    for (int i = 0; i < 8; i++)
        gnutls_alert_send(raw.gnutls, GNUTLS_AL_WARNING, GNUTLS_A_USER_CANCELED);
    tls_raw_write(&raw, "hello");
    tls_meet_raw(&raw, &server);
    ck_assert_msg(server.failures == 0, "%s", server.err.text);
    assert_got(&server.got, "hello");
    gnutls_alert_send(raw.gnutls, GNUTLS_AL_WARNING, GNUTLS_A_USER_CANCELED);
    tls_meet_raw(&raw, &server);
    ck_assert_int_eq(server.failures, 1);
    ck_assert_int_eq(server.err.kind, SP_ERR_TLS);
}
END_TEST

START_TEST(a_flood_of_warnings_before_the_hello_ends_it)
{
    static const uint8_t warning[] = {0x15, 3, 1, 0, 2, 1, 90};
    int sent = 0;

    while (!server.failures && sent < 1000) {
        tls_end_feed(&server, warning, sizeof warning);
        sent++;
    }
    ck_assert_int_le(sent, 16);
    ck_assert_int_eq(server.owner.hellos, 0);
}
END_TEST

START_TEST(a_flood_of_key_updates_ends_it)
{
    come_in(1);
    for (int i = 0; i < 200; i++)
        ck_assert_int_eq(gnutls_session_key_update(raw.gnutls, 0), 0);
    tls_meet_raw(&raw, &server);
    ck_assert_int_eq(server.failures, 1);
}
END_TEST

START_TEST(a_flood_of_empty_records_ends_it)
{
    come_in(1);
    send_empty(8000); /* more than 256 KiB */
    tls_meet_raw(&raw, &server);
    ck_assert_int_eq(server.failures, 1);
    ck_assert_int_eq(server.eofs, 0);
}
END_TEST

/* _i: before the hello, or on an open session of each version; the record claims 64 KiB. */
START_TEST(a_record_larger_than_any_may_be_is_refused_at_its_header)
{
    static const uint8_t types[] = {0x16, 0x17, 0x17};
    uint8_t header[] = {types[_i], 3, _i ? 3 : 1, 0xff, 0xff};

    if (_i)
        come_in(_i - 1);
    server.chop = 1;
    tls_end_feed(&server, header, sizeof header);
    ck_assert_int_eq(server.failures, 1);
    ck_assert_int_eq(server.err.kind, SP_ERR_TLS);
    ck_assert_uint_eq(server.owner.hellos, _i ? 1 : 0);
}
END_TEST

START_TEST(a_hello_larger_than_any_may_be_is_refused)
{
    static uint8_t piece[5 + 16384] = {0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff};
    int sent = 0;

    while (!server.failures && sent < 100) {
        tls_end_feed(&server, piece, sizeof piece);
        sent++;
    }
    ck_assert_int_eq(server.failures, 1);
    ck_assert_int_eq(server.err.code, GNUTLS_E_HANDSHAKE_TOO_LARGE);
    ck_assert_int_le(sent, 17); /* 256 KiB */
    ck_assert_int_eq(server.owner.hellos, 0);
}
END_TEST

static void send_random(int round)
{
    unsigned seed = (unsigned)round * 31 + 7;
    uint8_t bytes[2000];

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)tls_random(&seed);
    if (round & 1) { /* a plausible beginning */
        memcpy(bytes, "\x16\x03\x01\x00\xf0\x01\x00\x00\xec\x03\x03", 11);
        bytes[43] = 0;
    }
    server.chop = (unsigned)round;
    tls_end_feed(&server, bytes, sizeof bytes);
    if (!server.failures)
        tls_end_fin(&server);
    ck_assert_int_eq(server.failures, 1);
    ck_assert_int_eq(server.owner.hellos + server.owner.peers + server.opens, 0);
}

/* Fixtures and processes cost more than what is tested: many rounds in one test. */
static void again(void)
{
    teardown();
    setup();
}

START_TEST(random_bytes_open_nothing)
{
    for (int round = 0; round < 100; round++) {
        send_random(round);
        again();
    }
}
END_TEST

/* Where a changed byte is not covered by any check: the version in record headers and, in TLS 1.3,
 * the change_cipher_spec records that mean nothing. */
static bool is_unchecked(const uint8_t *data, size_t len, size_t at)
{
    size_t record = 0;

    while (record + 5 <= len) {
        size_t end = record + 5 + ((size_t)data[record + 3] << 8 | data[record + 4]);

        if (at < end)
            return data[record] == 0x14 || at == record + 1 || at == record + 2;
        record = end;
    }
    return false;
}

/* One flight of the client's as it is, or with one bit of one byte changed; true when that bit is
 * one that nothing checks. */
static bool pass_on(unsigned *seed, bool change)
{
    struct sp_buf *out = sp_tls_output(server.tls);
    size_t len = raw.out.len, at = tls_random(seed) % len;
    uint8_t *data = malloc(len);
    bool unchecked = change && is_unchecked(sp_buf_data(&raw.out), len, at);

    memcpy(data, sp_buf_data(&raw.out), len);
    sp_buf_consume(&raw.out, len);
    if (change)
        data[at] ^= (uint8_t)(1u << tls_random(seed) % 8);
    tls_end_feed(&server, data, len);
    free(data);
    if (out->len) {
        tls_raw_feed(&raw, sp_buf_data(out), out->len);
        sp_buf_consume(out, out->len);
    }
    return unchecked;
}

static void handshake_with_a_changed_byte(unsigned seed)
{
    const struct tls_raw_options options = {
        .tls12 = !(seed & 1), .name = TLS_NAME_A, .cred = tls_world.raw_alice};
    bool in_first = tls_random(&seed) & 1, unchecked;

    tls_raw_init(&raw, &options);
    tls_raw_step(&raw);
    unchecked = pass_on(&seed, in_first);
    if (raw.out.len && !server.failures)
        unchecked |= pass_on(&seed, !in_first);
    if (!server.failures)
        tls_end_fin(&server);
    ck_assert_int_eq(server.failures, 1);
    if (!unchecked) {
        ck_assert_int_eq(server.opens, 0);
        ck_assert_int_eq(raw.tickets, 0);
        ck_assert_uint_eq(server.got.len, 0);
    }
}

START_TEST(a_handshake_with_a_changed_byte_never_opens)
{
    for (int round = 0; round < 60; round++) {
        handshake_with_a_changed_byte((unsigned)(_i * 60 + round));
        again();
    }
}
END_TEST

START_TEST(a_changed_byte_in_an_open_session_ends_it_and_is_not_handed_out)
{
    unsigned seed = (unsigned)_i + 99;
    uint8_t *data;
    size_t len;

    come_in(_i & 1);
    tls_raw_write(&raw, "transfer 100 to alice");
    len = raw.out.len;
    data = malloc(len);
    memcpy(data, sp_buf_data(&raw.out), len);
    data[5 + tls_random(&seed) % (len - 5)] ^= (uint8_t)(1u << tls_random(&seed) % 8);
    tls_end_feed(&server, data, len);
    free(data);
    ck_assert_int_eq(server.failures, 1);
    ck_assert_int_eq(server.err.kind, SP_ERR_TLS);
    ck_assert_uint_eq(server.got.len, 0);
    ck_assert_uint_gt(sp_tls_output(server.tls)->len, 0); /* an alert */
}
END_TEST

START_TEST(data_before_the_handshake_is_done_is_not_taken)
{
    static const uint8_t data[] = {0x17, 3, 3, 0, 5, 'h', 'e', 'l', 'l', 'o'};

    tls_end_feed(&server, data, sizeof data);
    ck_assert_int_eq(server.failures, 1);
    ck_assert_uint_eq(server.got.len, 0);
    ck_assert_int_eq(tls_end_clear_alert(&server), GNUTLS_A_UNEXPECTED_MESSAGE);
}
END_TEST

static void add_ends(TCase *t)
{
    tcase_add_loop_test(t, the_peer_may_end_first_and_still_listen, 0, 2);
    tcase_add_loop_test(t, we_may_end_first_and_still_listen, 0, 2);
    tcase_add_loop_test(t, what_follows_close_notify_is_ignored_and_not_kept, 0, 2);
    tcase_add_loop_test(t, a_fin_without_close_notify_is_a_cut, 0, 2);
    tcase_add_loop_test(t, a_fin_inside_a_record_is_a_cut, 0, 16);
    tcase_add_loop_test(t, a_fin_in_the_handshake_is_a_cut, 0, 8);
    tcase_add_loop_test(t, a_failed_session_stays_failed, 0, 2);
    tcase_add_loop_test(t, an_alert_of_the_owners_reaches_the_peer_and_ends_it, 0, 2);
    tcase_add_loop_test(t, a_fatal_alert_of_the_peers_is_told, 0, 2);
}

static void add_hostile(TCase *t)
{
    tcase_add_test(t, a_few_warnings_pass_and_a_flood_of_them_does_not);
    tcase_add_test(t, a_flood_of_warnings_before_the_hello_ends_it);
    tcase_add_test(t, a_flood_of_key_updates_ends_it);
    tcase_add_test(t, a_flood_of_empty_records_ends_it);
    tcase_add_loop_test(t, a_record_larger_than_any_may_be_is_refused_at_its_header, 0, 3);
    tcase_add_test(t, a_hello_larger_than_any_may_be_is_refused);
    tcase_add_test(t, random_bytes_open_nothing);
    tcase_add_loop_test(t, a_handshake_with_a_changed_byte_never_opens, 0, 6);
    tcase_add_loop_test(t, a_changed_byte_in_an_open_session_ends_it_and_is_not_handed_out, 0, 20);
    tcase_add_test(t, data_before_the_handshake_is_done_is_not_taken);
}

static Suite *suite(void)
{
    Suite *s = suite_create("tls_record");
    TCase *t = tcase_create("tls_record");

    tcase_set_timeout(t, 30);
    tcase_add_unchecked_fixture(t, tls_world_enter, tls_world_leave);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, it_does_not_matter_in_what_pieces_the_bytes_come, 0, 16);
    tcase_add_test(t, a_ticket_and_data_in_one_piece_are_both_read);
    tcase_add_test(t, a_key_update_and_data_in_one_piece_are_both_read);
    tcase_add_loop_test(t, an_idle_session_holds_no_buffers, 0, 2);
    tcase_add_loop_test(t, a_stalled_record_costs_no_more_than_itself, 0, 2);
    tcase_add_test(t, parked_input_has_a_limit);
    tcase_add_test(t, empty_records_are_no_end);
    add_ends(t);
    add_hostile(t);
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
