/* OCSP: which responses count, and what they say. */
#include "common/tls_ocsp.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/scratch.h"
#include "tests/unit/ocsp_rows.h"

#define NONCE_HINT " (responders that sign in advance cannot: \"nonce\": false)"

START_TEST(what_a_responder_says_is_what_is_answered)
{
    const struct row rows[] = {
        {"good", SP_OCSP_GOOD, .e = {{0}}},
        {"revoked", SP_OCSP_REVOKED, .e = {{.said = OCSP_SAYS_REVOKED, .revoked_at = now - DAY}}},
        {"unknown is never good", SP_OCSP_UNKNOWN, "the responder does not know the certificate",
         .e = {{.said = OCSP_SAYS_UNKNOWN}}},
        {"by key", SP_OCSP_GOOD, .spec = {.by_key = true}},
        {"SHA-256 in the CertID", SP_OCSP_GOOD, .e = {{.hash = GNUTLS_DIG_SHA256}}},
        {"an extension that is not critical", SP_OCSP_GOOD, .spec = {.other = true}},
        {"its version, though it is the ordinary one", SP_OCSP_GOOD, .spec = {.version = 1}},
        {"critical, but known: nonce", SP_OCSP_GOOD,
         .spec = {.critical = true, .oid = "1.3.6.1.5.5.7.48.1.2"}},
        {"critical, but known: CRL references", SP_OCSP_GOOD,
         .spec = {.critical = true, .oid = "1.3.6.1.5.5.7.48.1.3"}},
        {"critical, but known: archive cutoff", SP_OCSP_GOOD,
         .spec = {.critical = true, .oid = "1.3.6.1.5.5.7.48.1.6"}},
        {"critical, but known: extended revocation", SP_OCSP_GOOD,
         .spec = {.critical = true, .oid = "1.3.6.1.5.5.7.48.1.9"}},
        {"critical, but known: reason code", SP_OCSP_GOOD,
         .spec = {.critical = true, .oid = "2.5.29.21"}},
        {"critical, but known: invalidity date", SP_OCSP_GOOD,
         .spec = {.critical = true, .oid = "2.5.29.24"}},
        {"RSA", SP_OCSP_GOOD, .issuer = rsa, .leaf = rsa_leaf},
        {"RSA-PSS", SP_OCSP_GOOD, .issuer = rsa, .leaf = rsa_leaf,
         .spec = {.sign = GNUTLS_SIGN_RSA_PSS_SHA256}},
        {"RSA-PSS with SHA-384", SP_OCSP_GOOD, .issuer = rsa, .leaf = rsa_leaf,
         .spec = {.sign = GNUTLS_SIGN_RSA_PSS_SHA384}},
        {"RSA-PSS with SHA-512", SP_OCSP_GOOD, .issuer = rsa, .leaf = rsa_leaf,
         .spec = {.sign = GNUTLS_SIGN_RSA_PSS_SHA512}},
        {"Ed25519", SP_OCSP_GOOD, .issuer = ed, .leaf = ed_leaf},
        {"ECDSA with SHA-512", SP_OCSP_GOOD, .spec = {.sign = GNUTLS_SIGN_ECDSA_SHA512}},
        {"delegated", SP_OCSP_GOOD, .spec = {.signer = delegate}, .certs = {delegate}},
        {"delegated, by key", SP_OCSP_GOOD, .spec = {.signer = delegate, .by_key = true},
         .certs = {delegate}},
        {"delegated, one of several of that name", SP_OCSP_GOOD, .spec = {.signer = delegate},
         .certs = {ca, nobody, elder, delegate}},
        {"delegated, from this second on", SP_OCSP_GOOD, .spec = {.signer = in_time[0]},
         .certs = {in_time[0]}},
        {"delegated, until this second", SP_OCSP_GOOD, .spec = {.signer = in_time[1]},
         .certs = {in_time[1]}},
        {"the issuer, who needs no certificate but sends it", SP_OCSP_GOOD, .certs = {ca}},
        {"a serial number padded with a zero", SP_OCSP_GOOD, .e = {{.padded_serial = true}}},
    };

    CHECK_ROWS(rows);
}
END_TEST

START_TEST(the_times_cause_and_signer_are_told)
{
    const struct row row = {"",
                            SP_OCSP_REVOKED,
                            .e = {{.said = OCSP_SAYS_REVOKED,
                                   .revoked_at = now - 5 * DAY,
                                   .cause = 1,
                                   .this_update = now - 2 * HOUR,
                                   .next_update = now + 2 * HOUR}},
                            .spec = {.signer = delegate, .produced_at = now - 7},
                            .certs = {delegate},
                            .max_age = 3 * HOUR};
    static const struct {
        int cause;
        const char *name;
    } causes[] = {{0, ""}, {1, "keyCompromise"}, {6, "certificateHold"},
                  {7, ""}, {10, "aACompromise"}, {11, ""}};
    struct row one = row;
    struct sp_ocsp_answer a;
    size_t len;

    for (size_t i = 0; i < sizeof causes / sizeof causes[0]; i++) {
        uint8_t *der;

        one.e[0].cause = causes[i].cause;
        der = make(&one, &len);
        ask(&row, der, len, &a);
        free(der);
        ck_assert_int_eq(a.status, SP_OCSP_REVOKED);
        ck_assert_str_eq(a.cause, causes[i].name);
    }
    ck_assert_int_eq(a.produced_at, now - 7);
    ck_assert_int_eq(a.this_update, now - 2 * HOUR);
    ck_assert_int_eq(a.next_update, now + 2 * HOUR);
    ck_assert_int_eq(a.expires, now + HOUR);
    ck_assert_int_eq(a.revoked_at, now - 5 * DAY);
    ck_assert_str_eq(a.responder, "CN=Responder");
    ck_assert_str_eq(a.detail, "");
}
END_TEST

/* GnuTLS looks at entry 0 only. */
START_TEST(only_an_entry_about_this_very_certificate_counts)
{
    const struct row rows[] = {
        {"no entry", BAD, "it has no entry", .e = {{.issuer = leaf}}},
        {"another certificate", BAD, "it is about another certificate (serial ",
         .e = {{.cert = leaf2}}},
        {"others first", SP_OCSP_REVOKED,
         .e = {{.cert = leaf2},
               {.cert = delegate},
               {.cert = leaf, .said = OCSP_SAYS_REVOKED, .revoked_at = now}}},
        {"others' revocation", SP_OCSP_GOOD,
         .e = {{.cert = leaf2, .said = OCSP_SAYS_REVOKED, .revoked_at = now}, {.cert = leaf}}},
        {"others' unknown extension", SP_OCSP_GOOD,
         .e = {{.cert = leaf2, .critical = true}, {.cert = leaf}}},
        {"another issuer's name", BAD,
         "it is about the certificate with this serial of another issuer",
         .e = {{.bad_name_hash = true}}},
        {"another issuer's key", BAD,
         "it is about the certificate with this serial of another issuer",
         .e = {{.bad_key_hash = true}}},
        {"another issuer, same name", BAD,
         "it is about the certificate with this serial of another issuer", .e = {{.issuer = twin}}},
        {"another issuer, SHA-256", BAD,
         "it is about the certificate with this serial of another issuer",
         .e = {{.hash = GNUTLS_DIG_SHA256, .bad_key_hash = true}}},
        {"half of the hashes", BAD,
         "it is about the certificate with this serial of another issuer",
         .e = {{.short_hashes = true}}},
        {"a hash we do not take", BAD, "it names its issuer by a hash other than",
         .e = {{.hash = GNUTLS_DIG_SHA512}}},
        {"a serial number that begins with ours", BAD, "it is about another certificate",
         .e = {{.longer_serial = true}}},
        {"the second fits", SP_OCSP_GOOD, .e = {{.cert = leaf, .issuer = twin}, {.cert = leaf}}},
    };

    CHECK_ROWS(rows);
}
END_TEST

START_TEST(an_answer_about_another_certificate_names_the_most_telling_one)
{
    static const uint8_t high[] = {0x00, 0x80, 0x0a}, zero[] = {0x00}, inner[] = {0x01, 0x00, 0x02},
                         longest[40] = {0x7f, 0xff};
    const struct row rows[] = {
        {"", BAD, "it is about another certificate (serial 800a)",
         .e = {{.serial = high, .serial_len = 3}}},
        {"", BAD, "it is about another certificate (serial 00)",
         .e = {{.serial = zero, .serial_len = 1}}},
        {"", BAD, "it is about another certificate (serial 010002)",
         .e = {{.serial = inner, .serial_len = 3}}},
        {"", BAD,
         "it is about another certificate (serial 7fff000000000000000000000000000000000000)",
         .e = {{.serial = longest, .serial_len = 40}}},
        {"", BAD, "it is about another certificate (serial 010002)",
         .e = {{.serial = inner, .serial_len = 3}, {.cert = leaf2}, {.cert = delegate}}},
        {"", BAD, "it names its issuer by a hash",
         .e = {{.cert = leaf2}, {.cert = leaf, .hash = GNUTLS_DIG_SHA512}, {.cert = delegate}}},
    };
    struct sp_ocsp_answer a;
    size_t len;
    uint8_t *der;

    CHECK_ROWS(rows);
    for (size_t i = 0; i < 4; i++) { /* wholly */
        der = make(&rows[i], &len);
        ask(&rows[i], der, len, &a);
        ck_assert_str_eq(a.detail, rows[i].says);
        free(der);
    }
}
END_TEST

START_TEST(of_several_entries_a_revoked_one_wins_then_the_newest)
{
    const struct row rows[] = {
        {"revoked, then a newer good", SP_OCSP_REVOKED,
         .e = {{.said = OCSP_SAYS_REVOKED, .revoked_at = now, .this_update = now - DAY},
               {.cert = leaf}}},
        {"good, then an older revoked", SP_OCSP_REVOKED,
         .e = {{0},
               {.cert = leaf,
                .said = OCSP_SAYS_REVOKED,
                .revoked_at = now,
                .this_update = now - DAY}}},
        {"revoked before unknown", SP_OCSP_REVOKED,
         .e = {{.said = OCSP_SAYS_UNKNOWN},
               {.cert = leaf,
                .said = OCSP_SAYS_REVOKED,
                .revoked_at = now,
                .this_update = now - DAY}}},
        {"the newer one", SP_OCSP_GOOD,
         .e = {{.said = OCSP_SAYS_UNKNOWN, .this_update = now - DAY}, {.cert = leaf}}},
        {"the newer one, in front", SP_OCSP_UNKNOWN, "the responder does not know",
         .e = {{.said = OCSP_SAYS_UNKNOWN}, {.cert = leaf, .this_update = now - DAY}}},
        {"as old: not the good one", SP_OCSP_UNKNOWN, "the responder does not know",
         .e = {{0}, {.cert = leaf, .said = OCSP_SAYS_UNKNOWN}}},
        {"as old: not the good one, behind", SP_OCSP_UNKNOWN, "the responder does not know",
         .e = {{.said = OCSP_SAYS_UNKNOWN}, {.cert = leaf}}},
        {"a stale one when a newer one is there", SP_OCSP_GOOD,
         .e = {{.this_update = now - 2 * DAY, .next_update = now - DAY}, {.cert = leaf}}},
        {"a stale revoked one", BAD, "stale since 1 day",
         .e = {{.said = OCSP_SAYS_REVOKED,
                .revoked_at = now,
                .this_update = now - 2 * DAY,
                .next_update = now - DAY},
               {.cert = leaf}}},
        {"the newest of two revocations is stale", BAD, "stale since",
         .e = {{.said = OCSP_SAYS_REVOKED, .revoked_at = now, .this_update = now - DAY},
               {.cert = leaf,
                .said = OCSP_SAYS_REVOKED,
                .revoked_at = now,
                .next_update = now - 60}}},
    };

    CHECK_ROWS(rows);
}
END_TEST

START_TEST(an_answer_counts_in_its_own_time_only)
{
    const struct row rows[] = {
        {"the last second", SP_OCSP_GOOD, .e = {{.next_update = now + 1}}},
        {"past nextUpdate", BAD, "stale since 0 seconds", .e = {{.next_update = now}}},
        {"long past", BAD, "stale since 3 hours (2",
         .e = {{.this_update = now - DAY, .next_update = now - 3 * HOUR - 5}}},
        {"no nextUpdate", BAD, "it does not say when it ends", .e = {{.next_update = NONE}}},
        {"no nextUpdate, but a maximal age", SP_OCSP_GOOD, .max_age = HOUR + 1,
         .e = {{.next_update = NONE}}},
        {"no nextUpdate, and older than that", BAD, "stale since", .max_age = HOUR,
         .e = {{.next_update = NONE}}},
        {"older than the maximal age", BAD, "stale since", .max_age = HOUR, .e = {{0}}},
        {"within the maximal age, past nextUpdate", BAD, "stale since", .max_age = 2 * DAY,
         .e = {{.next_update = now - 1}}},
        {"a maximal age beyond all time", SP_OCSP_GOOD, .max_age = INT64_MAX, .e = {{0}}},
        {"this second", SP_OCSP_GOOD, .e = {{.this_update = now}}},
        {"another clock", SP_OCSP_GOOD, .e = {{.this_update = now + 300}},
         .spec = {.produced_at = now + 300}},
        {"from the future", BAD, "it is from the future, by 5 minutes (",
         .e = {{.this_update = now + 301}}},
        {"made in the future", BAD, "it is from the future, by 5 minutes (", .e = {{0}},
         .spec = {.produced_at = now + 301}},
        {"ends before it begins", BAD, "it ends before it begins",
         .e = {{.this_update = now + 60, .next_update = now + 59}}},
        {"ends as it begins", SP_OCSP_GOOD,
         .e = {{.this_update = now + 60, .next_update = now + 60}}},
        {"stale and revoked", BAD, "stale since 1 minute (",
         .e = {{.said = OCSP_SAYS_REVOKED, .revoked_at = now, .next_update = now - 60}}},
        {"unknown, but stale", BAD, "stale since",
         .e = {{.said = OCSP_SAYS_UNKNOWN, .next_update = now - 60}}},
    };

    CHECK_ROWS(rows);
}
END_TEST

START_TEST(bad_news_out_of_its_time_is_told_and_only_bad_news)
{
    const struct ocsp_entry ways[] = {
        {.next_update = NONE},
        {.this_update = now + 60, .next_update = now + 59},
        {.this_update = now + 301},
        {.next_update = now - 60},
    };

    for (size_t i = 0; i < 2 * sizeof ways / sizeof ways[0]; i++) {
        struct row row = {.e = {ways[i / 2]}};
        struct sp_ocsp_answer a;
        uint8_t *der;
        size_t len;

        row.e[0].said = i % 2 ? OCSP_SAYS_REVOKED : OCSP_SAYS_GOOD;
        row.e[0].revoked_at = i % 2 ? now : 0;
        der = make(&row, &len);
        ask(&row, der, len, &a);
        free(der);
        ck_assert_int_eq(a.status, SP_OCSP_INVALID);
        ck_assert_msg((strstr(a.detail, "; it said revoked") != NULL) == i % 2, "way %zu: %s",
                      i / 2, a.detail);
        ck_assert_int_eq(a.next_update, time_or(ways[i / 2].next_update, now + DAY));
    }
}
END_TEST

START_TEST(a_nonce_that_was_sent_must_come_back)
{
    static const uint8_t nonce[] = "0123456789abcdef", longer[] = "0123456789abcdefX";
    const struct ocsp_spec same = {.nonce = nonce, .nonce_len = 16};
    const struct row rows[] = {
        {"the same", SP_OCSP_GOOD, .nonce = "0123456789abcdef", .spec = same},
        {"none came", BAD, "it must repeat the nonce that we sent" NONCE_HINT,
         .nonce = "0123456789abcdef"},
        {"another", BAD,
         "it has another nonce, perhaps replayed: it must repeat the nonce that we sent" NONCE_HINT,
         .nonce = "0123456789abcdeF", .spec = same},
        {"a shorter one", BAD, "it has another nonce", .nonce = "0123456789abcdef",
         .spec = {.nonce = nonce, .nonce_len = 15}},
        {"a longer one", BAD, "it has another nonce", .nonce = "0123456789abcdef",
         .spec = {.nonce = longer, .nonce_len = 17}},
        {"not in its wrapping", BAD, "it must repeat the nonce", .nonce = "0123456789abcdef",
         .spec = {.nonce = nonce, .nonce_len = 16, .raw_nonce = true}},
        {"two", BAD, "it is malformed: its extensions", .nonce = "0123456789abcdef",
         .spec = {.nonce = nonce, .nonce_len = 16, .two_nonces = true}},
        {"none was sent, one came", SP_OCSP_GOOD, .spec = same},
        {"the same, but a bad signature", BAD, "its signature", .nonce = "0123456789abcdef",
         .spec = {.nonce = nonce, .nonce_len = 16, .bad_signature = true}},
    };

    CHECK_ROWS(rows);
}
END_TEST

START_TEST(a_certificate_that_cannot_be_read_is_no_reason_to_pass)
{
    static const uint8_t junk[] = {0x30, 0x03, 0x02, 0x01, 0x05};
    const struct sp_bytes bad[] = {
        {junk, sizeof junk}, {junk, 0}, {ocsp_der(leaf).data, ocsp_der(leaf).len - 1}};
    const struct row row = {.name = ""};
    char url[64];
    uint8_t *request;
    struct sp_error err;
    size_t len, n;
    uint8_t *der = make(&row, &len);
    const struct sp_bytes response = {der, len};

    for (size_t i = 0; i < 2 * 3; i++) {
        struct sp_ocsp_query q = {.cert = ocsp_der(leaf), .issuer = ocsp_der(ca), .now = now};
        struct sp_ocsp_answer a;

        *(i % 2 ? &q.cert : &q.issuer) = bad[i / 2];
        sp_ocsp_examine(&response, &q, &a);
        ck_assert_int_eq(a.status, SP_OCSP_INVALID);
        ck_assert_str_eq(a.detail, "the certificate or its issuer's cannot be read");
        ck_assert_int_eq(sp_ocsp_request(&q.cert, &q.issuer, NULL, 0, &request, &n, &err),
                         SP_ERR_CONFIG);
        ck_assert(!sp_ocsp_responder_url(&bad[i / 2], url, sizeof url));
        ck_assert(!sp_ocsp_must_staple(&bad[i / 2]));
    }
    free(der);
}
END_TEST

/* ---- the real thing ---- */

static void write_file(struct scratch *s, const char *name, const void *data, size_t len)
{
    char path[512];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", s->path, name);
    file = fopen(path, "w");
    ck_assert(file && fwrite(data, 1, len, file) == len && fclose(file) == 0);
}

static size_t read_file(struct scratch *s, const char *name, uint8_t *buf, size_t buf_len)
{
    char path[512];
    FILE *file;
    size_t len;

    snprintf(path, sizeof path, "%s/%s", s->path, name);
    file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    len = fread(buf, 1, buf_len, file);
    ck_assert_int_eq(fclose(file), 0);
    return len;
}

static void write_pem(struct scratch *s, const char *name, char *pem)
{
    scratch_write(s, name, pem);
    certs_secret_free(pem);
}

/* A line of openssl's index of what a CA has issued; the serial number in upper case. */
static void write_index(struct scratch *s, const char *status, const char *revoked)
{
    char text[256], serial[64];

    ck_assert_int_eq(scratch_run(s, "openssl x509 -in leaf.pem -noout -serial"), 0);
    ck_assert_int_eq(sscanf(s->output, "serial=%63s", serial), 1);
    snprintf(text, sizeof text, "%s\t491231235959Z\t%s\t%s\tunknown\t/CN=leaf\n", status, revoked,
             serial);
    scratch_write(s, "index.txt", *status ? text : "");
}

START_TEST(openssl_understands_the_request_and_is_understood)
{
    static const struct {
        const char *index, *revoked, *signer, *more;
        enum sp_ocsp_status status;
        const char *cause, *responder, *detail;
    } rows[] = {
        {"V", "", "ca", "", SP_OCSP_GOOD, "", "CN=CA", ""},
        {"V", "", "delegate", "", SP_OCSP_GOOD, "", "CN=Responder", ""},
        {"V", "", "delegate", "-resp_key_id", SP_OCSP_GOOD, "", "CN=Responder", ""},
        {"R", "260101000000Z,keyCompromise", "delegate", "", SP_OCSP_REVOKED, "keyCompromise",
         "CN=Responder", ""},
        {"R", "260101000000Z", "ca", "", SP_OCSP_REVOKED, "", "CN=CA", ""},
        {"", "", "ca", "", SP_OCSP_UNKNOWN, "", "CN=CA",
         "the responder does not know the certificate"},
        {"V", "", "nobody", "", SP_OCSP_INVALID, "", "",
         "the responder's certificate lacks OCSPSigning"},
        {"V", "", "delegate", "-resp_no_certs", SP_OCSP_INVALID, "", "",
         "its signer is unknown: neither the issuer nor one whose certificate is in it"},
        {"V", "", "ca", "-rmd sha1", SP_OCSP_INVALID, "", "",
         "it is signed with ECDSA-SHA1, which is too weak; SHA-256 is the least"},
    };
    static const uint8_t nonce[] = "sixteen of bytes";
    const struct sp_bytes cert = ocsp_der(leaf), issuer = ocsp_der(ca);
    static uint8_t buf[65536];
    struct scratch *s = scratch_new();
    struct sp_ocsp_answer a;
    uint8_t *request;
    size_t len;

    write_pem(s, "ca.pem", certs_pair_certificate_pem(ca));
    write_pem(s, "ca.key", certs_pair_key_pem(ca));
    write_pem(s, "leaf.pem", certs_pair_certificate_pem(leaf));
    write_pem(s, "delegate.pem", certs_pair_certificate_pem(delegate));
    write_pem(s, "delegate.key", certs_pair_key_pem(delegate));
    write_pem(s, "nobody.pem", certs_pair_certificate_pem(nobody));
    write_pem(s, "nobody.key", certs_pair_key_pem(nobody));
    ck_assert_int_eq(sp_ocsp_request(&cert, &issuer, nonce, 16, &request, &len, NULL), SP_OK);
    write_file(s, "request.der", request, len);
    free(request);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sp_ocsp_query q = {.cert = cert, .issuer = issuer, .nonce = nonce, .nonce_len = 16};
        struct sp_bytes response = {buf, 0};

        write_index(s, rows[i].index, rows[i].revoked);
        ck_assert_msg(scratch_run(s,
                                  "openssl ocsp -index index.txt -CA ca.pem -rsigner %s.pem -rkey "
                                  "%s.key -reqin request.der -respout response.der -ndays 1 %s",
                                  rows[i].signer, rows[i].signer, rows[i].more) == 0,
                      "%s", s->output);
        response.len = read_file(s, "response.der", buf, sizeof buf);
        q.now = sp_clock_wall_s();
        sp_ocsp_examine(&response, &q, &a);
        ck_assert_msg(a.status == rows[i].status, "row %zu: %d, %s", i, a.status, a.detail);
        ck_assert_str_eq(a.cause, rows[i].cause);
        ck_assert_str_eq(a.responder, rows[i].responder);
        ck_assert_str_eq(a.detail, rows[i].detail);
        if (a.status == SP_OCSP_REVOKED)
            ck_assert_int_eq(a.revoked_at, INT64_C(1767225600));
        if (a.status == SP_OCSP_GOOD)
            ck_assert_int_eq(a.next_update, a.this_update + DAY);
    }
    scratch_free(s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tls_ocsp");
    TCase *all = tcase_create("all");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_unchecked_fixture(all, setup, teardown);
    tcase_add_test(all, what_a_responder_says_is_what_is_answered);
    tcase_add_test(all, the_times_cause_and_signer_are_told);
    tcase_add_test(all, only_an_entry_about_this_very_certificate_counts);
    tcase_add_test(all, an_answer_about_another_certificate_names_the_most_telling_one);
    tcase_add_test(all, of_several_entries_a_revoked_one_wins_then_the_newest);
    tcase_add_test(all, an_answer_counts_in_its_own_time_only);
    tcase_add_test(all, bad_news_out_of_its_time_is_told_and_only_bad_news);
    tcase_add_test(all, a_nonce_that_was_sent_must_come_back);
    tcase_add_test(all, a_certificate_that_cannot_be_read_is_no_reason_to_pass);
    tcase_add_test(all, openssl_understands_the_request_and_is_understood);
    suite_add_tcase(suite, all);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
