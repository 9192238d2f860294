/* tls_session, tls_record: floods, oversize and garbage. */
#include "common/tls_session.h"

#include "tests/support/tls_visit.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* Padding without content: TLS 1.3 alone has a way to send that with GnuTLS. */
static void send_empty(int count)
{
    for (int i = 0; i < count; i++)
        ck_assert_int_eq(gnutls_record_send2(visit.client.gnutls, "", 0, 20, 0), 0);
}

START_TEST(empty_records_are_no_end)
{
    tls_visit_in(1);
    send_empty(20);
    tls_raw_write(&visit.client, "still here");
    tls_meet_raw(&visit.client, &visit.server);
    ck_assert_int_eq(visit.server.eofs, 0);
    ck_assert_int_eq(visit.server.failures, 0);
    tls_visit_got(&visit.server.got, "still here");
}
END_TEST

START_TEST(a_few_warnings_pass_and_a_flood_of_them_does_not)
{
    tls_visit_in(0); /* in TLS 1.3 GnuTLS takes the first one for fatal */
    for (int i = 0; i < 8; i++)
        gnutls_alert_send(visit.client.gnutls, GNUTLS_AL_WARNING, GNUTLS_A_USER_CANCELED);
    tls_raw_write(&visit.client, "hello");
    tls_meet_raw(&visit.client, &visit.server);
    ck_assert_msg(visit.server.failures == 0, "%s", visit.server.err.text);
    tls_visit_got(&visit.server.got, "hello");
    gnutls_alert_send(visit.client.gnutls, GNUTLS_AL_WARNING, GNUTLS_A_USER_CANCELED);
    tls_meet_raw(&visit.client, &visit.server);
    ck_assert_int_eq(visit.server.failures, 1);
    ck_assert_int_eq(visit.server.err.kind, SP_ERR_TLS);
}
END_TEST

START_TEST(a_flood_of_warnings_before_the_hello_ends_it)
{
    static const uint8_t warning[] = {0x15, 3, 1, 0, 2, 1, 90};
    int sent = 0;

    while (!visit.server.failures && sent < 1000) {
        tls_end_feed(&visit.server, warning, sizeof warning);
        sent++;
    }
    ck_assert_int_le(sent, 16);
    ck_assert_int_eq(visit.server.owner.hellos, 0);
}
END_TEST

START_TEST(a_flood_of_key_updates_ends_it)
{
    tls_visit_in(1);
    for (int i = 0; i < 200; i++)
        ck_assert_int_eq(gnutls_session_key_update(visit.client.gnutls, 0), 0);
    tls_meet_raw(&visit.client, &visit.server);
    ck_assert_int_eq(visit.server.failures, 1);
}
END_TEST

START_TEST(a_flood_of_empty_records_ends_it)
{
    tls_visit_in(1);
    send_empty(8000); /* more than 256 KiB */
    tls_meet_raw(&visit.client, &visit.server);
    ck_assert_int_eq(visit.server.failures, 1);
    ck_assert_int_eq(visit.server.eofs, 0);
}
END_TEST

/* _i: before the hello, or on an open session of each version; the record claims 64 KiB. */
START_TEST(a_record_larger_than_any_may_be_is_refused_at_its_header)
{
    static const uint8_t types[] = {0x16, 0x17, 0x17};
    uint8_t header[] = {types[_i], 3, _i ? 3 : 1, 0xff, 0xff};

    if (_i)
        tls_visit_in(_i - 1);
    visit.server.chop = 1;
    tls_end_feed(&visit.server, header, sizeof header);
    ck_assert_int_eq(visit.server.failures, 1);
    ck_assert_int_eq(visit.server.err.kind, SP_ERR_TLS);
    ck_assert_uint_eq(visit.server.owner.hellos, _i ? 1 : 0);
}
END_TEST

START_TEST(a_hello_larger_than_any_may_be_is_refused)
{
    static uint8_t piece[5 + 16384] = {0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff};
    int sent = 0;

    while (!visit.server.failures && sent < 100) {
        tls_end_feed(&visit.server, piece, sizeof piece);
        sent++;
    }
    ck_assert_int_eq(visit.server.failures, 1);
    ck_assert_int_eq(visit.server.err.code, GNUTLS_E_HANDSHAKE_TOO_LARGE);
    ck_assert_int_le(sent, 17); /* 256 KiB */
    ck_assert_int_eq(visit.server.owner.hellos, 0);
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
    visit.server.chop = (unsigned)round;
    tls_end_feed(&visit.server, bytes, sizeof bytes);
    if (!visit.server.failures)
        tls_end_fin(&visit.server);
    ck_assert_int_eq(visit.server.failures, 1);
    ck_assert_int_eq(visit.server.owner.hellos + visit.server.owner.peers + visit.server.opens, 0);
}

/* Fixtures and processes cost more than what is tested: many rounds in one test. */
static void again(void)
{
    tls_visit_teardown();
    tls_visit_setup();
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
    struct sp_buf *out = sp_tls_output(visit.server.tls);
    size_t len = visit.client.out.len, at = tls_random(seed) % len;
    uint8_t *data = malloc(len);
    bool unchecked = change && is_unchecked(sp_buf_data(&visit.client.out), len, at);

    memcpy(data, sp_buf_data(&visit.client.out), len);
    sp_buf_consume(&visit.client.out, len);
    if (change)
        data[at] ^= (uint8_t)(1u << tls_random(seed) % 8);
    tls_end_feed(&visit.server, data, len);
    free(data);
    if (out->len) {
        tls_raw_feed(&visit.client, sp_buf_data(out), out->len);
        sp_buf_consume(out, out->len);
    }
    return unchecked;
}

static void handshake_with_a_changed_byte(unsigned seed)
{
    const struct tls_raw_options options = {
        .tls12 = !(seed & 1), .name = TLS_NAME_A, .cred = tls_world.raw_alice};
    bool in_first = tls_random(&seed) & 1, unchecked;

    tls_raw_init(&visit.client, &options);
    tls_raw_step(&visit.client);
    unchecked = pass_on(&seed, in_first);
    if (visit.client.out.len && !visit.server.failures)
        unchecked |= pass_on(&seed, !in_first);
    if (!visit.server.failures)
        tls_end_fin(&visit.server);
    ck_assert_int_eq(visit.server.failures, 1);
    if (!unchecked) {
        ck_assert_int_eq(visit.server.opens, 0);
        ck_assert_int_eq(visit.client.tickets, 0);
        ck_assert_uint_eq(visit.server.got.len, 0);
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

    tls_visit_in(_i & 1);
    tls_raw_write(&visit.client, "transfer 100 to alice");
    len = visit.client.out.len;
    data = malloc(len);
    memcpy(data, sp_buf_data(&visit.client.out), len);
    data[5 + tls_random(&seed) % (len - 5)] ^= (uint8_t)(1u << tls_random(&seed) % 8);
    tls_end_feed(&visit.server, data, len);
    free(data);
    ck_assert_int_eq(visit.server.failures, 1);
    ck_assert_int_eq(visit.server.err.kind, SP_ERR_TLS);
    ck_assert_uint_eq(visit.server.got.len, 0);
    ck_assert_uint_gt(sp_tls_output(visit.server.tls)->len, 0); /* an alert */
}
END_TEST

START_TEST(data_before_the_handshake_is_done_is_not_taken)
{
    static const uint8_t data[] = {0x17, 3, 3, 0, 5, 'h', 'e', 'l', 'l', 'o'};

    tls_end_feed(&visit.server, data, sizeof data);
    ck_assert_int_eq(visit.server.failures, 1);
    ck_assert_uint_eq(visit.server.got.len, 0);
    ck_assert_int_eq(tls_end_clear_alert(&visit.server), GNUTLS_A_UNEXPECTED_MESSAGE);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("tls_hostile");
    TCase *t = tcase_create("tls_hostile");

    tcase_set_timeout(t, 30);
    tcase_add_unchecked_fixture(t, tls_world_enter, tls_world_leave);
    tcase_add_checked_fixture(t, tls_visit_setup, tls_visit_teardown);
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
    tcase_add_test(t, empty_records_are_no_end);
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
