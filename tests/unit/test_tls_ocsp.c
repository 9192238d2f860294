/* OCSP: which responses count, what they say, and what is asked. */
#include "common/tls_ocsp.h"

#include <check.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "certs/mint.h"
#include "common/clock.h"
#include "common/tls_der.h"
#include "tests/support/ocsp_maker.h"
#include "tests/support/scratch.h"

#define HOUR       INT64_C(3600)
#define DAY        INT64_C(86400)
#define NONE       (-1) /* of a time: really none, where 0 is the default */
#define CERTS_MAX  4
#define NONCE_HINT " (responders that sign in advance cannot: \"nonce\": false)"

static int64_t now;
static struct certs_pair *ca, *twin, *other, *rsa, *ed, *small, *leaf, *leaf2, *rsa_leaf, *ed_leaf,
    *small_leaf;
static struct certs_pair *delegate, *elder, *nobody, *any, *client, *expired, *early, *foreign,
    *forged, *grandchild, *weak, *sha1;

static struct certs_pair *mint(const struct certs_spec *spec, const struct certs_pair *issuer)
{
    struct certs_pair *pair = NULL;

    ck_assert_int_eq(certs_mint(spec, issuer, &pair, NULL), SP_OK);
    return pair;
}

static struct certs_pair *mint_ca(const char *dn, enum certs_key key)
{
    return mint(&(struct certs_spec){.dn = dn, .ca = true, .path_len = -1, .key = key}, NULL);
}

static struct certs_pair *mint_for(unsigned eku, const struct certs_pair *issuer,
                                   enum certs_key key, int64_t begin, int64_t end)
{
    return mint(&(struct certs_spec){.dn = "CN=Responder",
                                     .path_len = -1,
                                     .key = key,
                                     .eku = eku,
                                     .not_before = begin,
                                     .not_after = end},
                issuer);
}

static void setup(void)
{
    const struct certs_spec leaf_spec = {.dn = "CN=leaf", .path_len = -1, .eku = CERTS_EKU_CLIENT};
    const struct certs_spec sha1_spec = {
        .dn = "CN=Responder", .path_len = -1, .eku = CERTS_EKU_OCSP_SIGNING, .sha1 = true};

    const struct certs_spec grandchild_spec = {
        .dn = "CN=Grandchild", .path_len = -1, .eku = CERTS_EKU_OCSP_SIGNING};

    now = sp_clock_wall_s();
    ca = mint_ca("CN=CA", CERTS_P256);
    twin = mint_ca("CN=CA", CERTS_P256);
    other = mint_ca("CN=Other", CERTS_P256);
    rsa = mint_ca("CN=RSA", CERTS_RSA2048);
    ed = mint_ca("CN=Ed", CERTS_ED25519);
    small = mint_ca("CN=Small", CERTS_RSA1024);
    leaf = mint(&leaf_spec, ca);
    leaf2 = mint(&leaf_spec, ca);
    rsa_leaf = mint(&leaf_spec, rsa);
    ed_leaf = mint(&leaf_spec, ed);
    small_leaf = mint(&leaf_spec, small);
    delegate = mint_for(CERTS_EKU_OCSP_SIGNING, ca, CERTS_P256, 0, 0);
    elder = mint_for(CERTS_EKU_OCSP_SIGNING, ca, CERTS_P256, 0, 0);
    nobody = mint_for(0, ca, CERTS_P256, 0, 0);
    any = mint_for(CERTS_EKU_ANY, ca, CERTS_P256, 0, 0);
    client = mint_for(CERTS_EKU_CLIENT | CERTS_EKU_SERVER, ca, CERTS_P256, 0, 0);
    expired = mint_for(CERTS_EKU_OCSP_SIGNING, ca, CERTS_P256, now - DAY, now - 1);
    early = mint_for(CERTS_EKU_OCSP_SIGNING, ca, CERTS_P256, now + 1, now + DAY);
    foreign = mint_for(CERTS_EKU_OCSP_SIGNING, other, CERTS_P256, 0, 0);
    forged = mint_for(CERTS_EKU_OCSP_SIGNING, twin, CERTS_P256, 0, 0);
    grandchild = mint(&grandchild_spec, delegate);
    weak = mint_for(CERTS_EKU_OCSP_SIGNING, ca, CERTS_RSA1024, 0, 0);
    sha1 = mint(&sha1_spec, ca);
}

static void teardown(void)
{
    struct certs_pair *const all[] = {rsa_leaf, ed_leaf, small_leaf, ca,     twin,    other,
                                      rsa,      ed,      small,      leaf,   leaf2,   delegate,
                                      elder,    nobody,  any,        client, expired, early,
                                      foreign,  forged,  grandchild, weak,   sha1};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        certs_pair_free(all[i]);
}

/* ---- rows: a response, a question, and what comes of it ---- */

struct row {
    const char *name;
    enum sp_ocsp_status status;
    const char *says;       /* how the detail begins */
    struct ocsp_spec spec;  /* signer: the CA; times: an hour ago */
    struct ocsp_entry e[3]; /* the leaf of the CA, from an hour ago to tomorrow; those that have a
                               certificate, and always the first unless its issuer is the leaf */
    const struct certs_pair *certs[CERTS_MAX];
    int64_t max_age;
    const char *nonce;
    const struct certs_pair *issuer, *leaf; /* NULL: the CA and its leaf */
};

static int64_t time_or(int64_t at, int64_t otherwise)
{
    return at == NONE ? 0 : at ? at : otherwise;
}

static uint8_t *make(const struct row *row, size_t *ret_len)
{
    struct ocsp_spec spec = row->spec;
    struct sp_bytes certs[CERTS_MAX];
    struct ocsp_entry e[3];

    memcpy(e, row->e, sizeof e);
    spec.entries = e;
    for (size_t i = 0; i < 3 && (!i || e[i].cert); i++) {
        if (e[i].issuer == leaf)
            break;
        e[i].cert = e[i].cert ? e[i].cert : row->leaf ? row->leaf : leaf;
        e[i].issuer = e[i].issuer ? e[i].issuer : row->issuer ? row->issuer : ca;
        e[i].this_update = time_or(e[i].this_update, now - HOUR);
        e[i].next_update = time_or(e[i].next_update, now + DAY);
        spec.count++;
    }
    for (size_t i = 0; i < CERTS_MAX && row->certs[i]; i++)
        certs[spec.cert_count++] = ocsp_der(row->certs[i]);
    if (spec.cert_count)
        spec.certs = certs;
    spec.produced_at = time_or(spec.produced_at, now - HOUR);
    spec.signer = spec.signer ? spec.signer : row->issuer ? row->issuer : ca;
    return ocsp_make(&spec, ret_len);
}

static void ask(const struct row *row, const uint8_t *der, size_t len, struct sp_ocsp_answer *ret)
{
    uint8_t *exact = malloc(len ? len : 1); /* so that a sanitizer sees one read too many */
    const struct sp_bytes response = {exact, len};
    const struct sp_ocsp_query query = {.cert = ocsp_der(row->leaf ? row->leaf : leaf),
                                        .issuer = ocsp_der(row->issuer ? row->issuer : ca),
                                        .now = now,
                                        .max_age_s = row->max_age,
                                        .nonce = (const uint8_t *)row->nonce,
                                        .nonce_len = row->nonce ? strlen(row->nonce) : 0};

    ck_assert_ptr_nonnull(exact);
    memcpy(exact, der, len);
    sp_ocsp_examine(&response, &query, ret);
    free(exact);
}

static void check_rows(const struct row *rows, size_t count)
{
    struct sp_ocsp_answer a;

    for (size_t i = 0; i < count; i++) {
        size_t len;
        uint8_t *der = make(&rows[i], &len);
        const char *says = rows[i].says ? rows[i].says : "";

        ask(&rows[i], der, len, &a);
        free(der);
        ck_assert_msg(a.status == rows[i].status, "%s: status %d (%s)", rows[i].name, a.status,
                      a.detail);
        ck_assert_msg(!strncmp(a.detail, says, strlen(says)) && !*says == !*a.detail, "%s: '%s'",
                      rows[i].name, a.detail);
        ck_assert_ptr_nonnull(a.cause);
        ck_assert_msg(strlen(a.hash) == 71, "%s", a.hash);
        if (a.status == SP_OCSP_GOOD || a.status == SP_OCSP_REVOKED)
            ck_assert_msg(*a.responder && a.expires > now, "%s", rows[i].name);
    }
}

#define CHECK_ROWS(rows) check_rows(rows, sizeof(rows) / sizeof(rows)[0])
#define BAD              SP_OCSP_INVALID

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
        {"Ed25519", SP_OCSP_GOOD, .issuer = ed, .leaf = ed_leaf},
        {"ECDSA with SHA-512", SP_OCSP_GOOD, .spec = {.sign = GNUTLS_SIGN_ECDSA_SHA512}},
        {"delegated", SP_OCSP_GOOD, .spec = {.signer = delegate}, .certs = {delegate}},
        {"delegated, by key", SP_OCSP_GOOD, .spec = {.signer = delegate, .by_key = true},
         .certs = {delegate}},
        {"delegated, one of several of that name", SP_OCSP_GOOD, .spec = {.signer = delegate},
         .certs = {ca, nobody, elder, delegate}},
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

START_TEST(nobody_but_the_issuer_and_his_own_delegates_signs)
{
    const struct row rows[] = {
        {"bad signature", BAD, "its signature is not the issuer's, whose name it has",
         .spec = {.bad_signature = true}},
        {"bad signature, by key", BAD, "its signature is not the issuer's, whose name it has",
         .spec = {.bad_signature = true, .by_key = true}},
        {"bad signature of a delegate", BAD, "its signature is not the responder's",
         .spec = {.bad_signature = true, .signer = delegate}, .certs = {delegate}},
        {"no signature", BAD, "it is malformed: its signature", .spec = {.no_signature = true}},
        {"CA of the same name", BAD, "its signature is not the issuer's", .spec = {.signer = twin}},
        {"CA of the same name, with its certificate", BAD,
         "the responder's certificate was not issued by 'CN=CA'", .spec = {.signer = twin},
         .certs = {twin}},
        {"another CA", BAD, "its signer is unknown", .spec = {.signer = other}},
        {"another CA, with its certificate", BAD, "the responder's certificate was not issued by",
         .spec = {.signer = other}, .certs = {other}},
        {"another CA in the issuer's name", BAD, "its signature is not the issuer's",
         .spec = {.signer = other, .responder = ca}, .certs = {other}},
        {"another CA's delegate", BAD, "the responder's certificate was not issued by",
         .spec = {.signer = foreign}, .certs = {foreign, other}},
        {"the delegate of a CA of the same name", BAD,
         "the responder's certificate was not issued by", .spec = {.signer = forged},
         .certs = {forged, twin}},
        {"a delegate's delegate", BAD, "the responder's certificate was not issued by",
         .spec = {.signer = grandchild}, .certs = {grandchild, delegate}},
        {"delegate without its certificate", BAD, "its signer is unknown",
         .spec = {.signer = delegate}},
        {"a delegate in the name of the issuer", BAD, "its signature is not the issuer's",
         .spec = {.signer = delegate, .responder = ca}, .certs = {delegate}},
        {"a delegate of the same name and another key", BAD, "its signature is not the responder's",
         .spec = {.signer = delegate}, .certs = {elder}},
        {"a delegate of the same name, by key", BAD, "its signer is unknown",
         .spec = {.signer = delegate, .by_key = true}, .certs = {elder}},
        {"no purpose", BAD, "the responder's certificate lacks OCSPSigning",
         .spec = {.signer = nobody}, .certs = {nobody}},
        {"any purpose", BAD, "the responder's certificate lacks OCSPSigning",
         .spec = {.signer = any}, .certs = {any}},
        {"other purposes", BAD, "the responder's certificate lacks OCSPSigning",
         .spec = {.signer = client}, .certs = {client}},
        {"the certificate itself", BAD, "the responder's certificate lacks OCSPSigning",
         .spec = {.signer = leaf}, .certs = {leaf}},
        {"expired delegate", BAD, "the responder's certificate has expired (",
         .spec = {.signer = expired}, .certs = {expired}},
        {"early delegate", BAD, "the responder's certificate is not valid yet (",
         .spec = {.signer = early}, .certs = {early}},
        {"a good delegate's certificate beside an unfit signer's", BAD,
         "the responder's certificate lacks OCSPSigning",
         .spec = {.signer = nobody, .by_key = true}, .certs = {delegate, nobody}},
    };

    CHECK_ROWS(rows);
}
END_TEST

START_TEST(weak_signatures_and_keys_do_not_count)
{
    const struct row rows[] = {
        {"ECDSA with SHA-1", BAD, "it is signed with ECDSA-SHA1, which is too weak",
         .spec = {.sign = GNUTLS_SIGN_ECDSA_SHA1}},
        {"ECDSA with SHA-224", BAD, "it is signed with ECDSA-SHA224, which is too weak",
         .spec = {.sign = GNUTLS_SIGN_ECDSA_SHA224}},
        {"RSA with SHA-1", BAD, "it is signed with RSA-SHA1, which is too weak", .issuer = rsa,
         .leaf = rsa_leaf, .spec = {.sign = GNUTLS_SIGN_RSA_SHA1}},
        {"a small issuer's key", BAD,
         "the issuer, who signed it, is too weak: its RSA key has 1024 bits", .issuer = small,
         .leaf = small_leaf},
        {"a small delegate's key", BAD,
         "the responder's certificate is too weak: its RSA key has 1024 bits",
         .spec = {.signer = weak}, .certs = {weak}},
        {"a delegate's certificate signed with SHA-1", BAD,
         "the responder's certificate is too weak: it is signed with ECDSA-SHA1",
         .spec = {.signer = sha1}, .certs = {sha1}},
    };

    CHECK_ROWS(rows);
}
END_TEST

START_TEST(a_delegates_certificate_must_say_so_exactly)
{
    static const struct {
        const char *name;
        struct ocsp_change change;
        const char *says;
    } rows[] = {
        {"OCSPSigning", {.purpose = GNUTLS_KP_OCSP_SIGNING}, ""},
        {"OCSPSigning after others",
         {.purpose = GNUTLS_KP_OCSP_SIGNING,
          .usage = GNUTLS_KEY_DIGITAL_SIGNATURE | GNUTLS_KEY_NON_REPUDIATION},
         ""},
        {"a longer OID",
         {.purpose = "1.3.6.1.5.5.7.3.9.1"},
         "the responder's certificate lacks OCSPSigning"},
        {"a shorter OID",
         {.purpose = "1.3.6.1.5.5.7.3"},
         "the responder's certificate lacks OCSPSigning"},
        {"a similar OID",
         {.purpose = "1.3.6.1.5.5.7.3.90"},
         "the responder's certificate lacks OCSPSigning"},
        {"no digitalSignature",
         {.purpose = GNUTLS_KP_OCSP_SIGNING, .usage = GNUTLS_KEY_KEY_ENCIPHERMENT},
         "the responder's certificate lacks digitalSignature"},
        {"CA's usage",
         {.purpose = GNUTLS_KP_OCSP_SIGNING,
          .usage = GNUTLS_KEY_CRL_SIGN | GNUTLS_KEY_KEY_CERT_SIGN},
         "the responder's certificate lacks digitalSignature"},
        {"unknown critical",
         {.purpose = GNUTLS_KP_OCSP_SIGNING,
          .oid = "1.3.6.1.4.1.99999.3",
          .value = "\x05",
          .value_len = 2,
          .critical = true},
         "the responder's certificate has a critical extension that is not known"},
        {"unknown, not critical",
         {.purpose = GNUTLS_KP_OCSP_SIGNING,
          .oid = "1.3.6.1.4.1.99999.3",
          .value = "\x05",
          .value_len = 2},
         ""},
        {"empty purposes",
         {.oid = "2.5.29.37", .value = "\x30", .value_len = 2},
         "the responder's certificate lacks OCSPSigning"},
        {"purposes with bytes behind",
         {.oid = "2.5.29.37",
          .value = "\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x09\x05",
          .value_len = 14},
         "the responder's certificate lacks OCSPSigning"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ocsp_entry e = {
            .cert = leaf, .issuer = ca, .this_update = now - 1, .next_update = now + DAY};
        struct sp_bytes cert;
        uint8_t *again = ocsp_reissue(nobody, ca, &rows[i].change, &cert.len), *der;
        const struct ocsp_spec spec = {.entries = &e,
                                       .count = 1,
                                       .produced_at = now,
                                       .signer = nobody,
                                       .certs = &cert,
                                       .cert_count = 1};
        struct sp_ocsp_answer a;
        size_t len;

        cert.data = again;
        der = ocsp_make(&spec, &len);
        ask(&(struct row){.name = ""}, der, len, &a);
        ck_assert_msg(a.status == (*rows[i].says ? SP_OCSP_INVALID : SP_OCSP_GOOD) &&
                          !strcmp(a.detail, rows[i].says),
                      "%s: %d '%s'", rows[i].name, a.status, a.detail);
        free(der);
        free(again);
    }
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
    const struct row revoked = {
        "", .e = {{.said = OCSP_SAYS_REVOKED, .revoked_at = now, .next_update = now - 60}}};
    struct sp_ocsp_answer a;
    size_t len;
    uint8_t *der;

    CHECK_ROWS(rows);
    der = make(&revoked, &len);
    ask(&revoked, der, len, &a);
    ck_assert_ptr_nonnull(strstr(a.detail, "; it said revoked"));
    ck_assert_int_eq(a.next_update, now - 60);
    free(der);
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

START_TEST(what_is_not_a_plain_response_is_refused)
{
    const struct row rows[] = {
        {"malformedRequest", BAD, "the responder says malformedRequest", .spec = {.status = 1}},
        {"internalError", BAD, "the responder says internalError", .spec = {.status = 2}},
        {"tryLater", BAD, "the responder says tryLater", .spec = {.status = 3}},
        {"4", BAD, "the responder says 4, which", .spec = {.status = 4}},
        {"sigRequired", BAD, "the responder says sigRequired", .spec = {.status = 5}},
        {"unauthorized", BAD, "the responder says unauthorized", .spec = {.status = 6}},
        {"7", BAD, "the responder says 7, which", .spec = {.status = 7}},
        {"99", BAD, "the responder says 99, which", .spec = {.status = 99}},
        {"critical", BAD, "it has the critical extension 1.3.6.1.4.1.99999.2, which is not known",
         .spec = {.critical = true}},
        {"certificateIssuer", BAD, "it has the critical extension 2.5.29.29",
         .spec = {.critical = true, .oid = "2.5.29.29"}},
        {"critical in the entry", BAD,
         "its entry has the critical extension 1.3.6.1.4.1.99999.1, which is not known",
         .e = {{.critical = true}}},
        {"critical in a revoked entry", BAD, "its entry has the critical",
         .e = {{.critical = true, .said = OCSP_SAYS_REVOKED, .revoked_at = now}}},
        {"version 2", BAD, "it is malformed: its version", .spec = {.version = 2}},
        {"a UTCTime", BAD, "it is malformed: an entry", .e = {{.utc_time = true}}},
        {"trailing", BAD, "it is malformed: its end", .spec = {.trailing_outside = 1}},
        {"trailing inside", BAD, "it is malformed: its BasicOCSPResponse",
         .spec = {.trailing_body = 2}},
        {"huge", BAD, "it has 65", .spec = {.trailing_outside = 65500}},
        {"128 entries", SP_OCSP_GOOD, .spec = {.entry_copies = 127}},
        {"129 entries", BAD, "it is malformed: its list of entries (128 at most)",
         .spec = {.entry_copies = 128}},
        {"8 certificates", SP_OCSP_GOOD, .spec = {.signer = delegate, .cert_copies = 3},
         .certs = {nobody, delegate}},
        {"9 certificates", BAD, "it is malformed: its list of certificates (8",
         .spec = {.signer = delegate, .cert_copies = 8}, .certs = {nobody}},
    };

    CHECK_ROWS(rows);
}
END_TEST

/* Each cut, and each single bit that is another: never good. What stands outside of what is signed
 * may change some (a length in another form), so the text must then be the same. */
START_TEST(nothing_damaged_is_taken)
{
    const struct row row = {"", .spec = {.signer = delegate}, .certs = {delegate}};
    struct sp_ocsp_answer a;
    size_t len;
    uint8_t *der = make(&row, &len);

    for (size_t cut = 0; cut < len; cut++) {
        ask(&row, der, cut, &a);
        ck_assert_msg(a.status == SP_OCSP_INVALID && *a.detail, "%zu bytes of %zu", cut, len);
    }
    for (size_t bit = 0; bit < 8 * len; bit += 3) {
        der[bit / 8] ^= (uint8_t)(1 << bit % 8);
        ask(&row, der, len, &a);
        ck_assert_msg(a.status == SP_OCSP_INVALID && *a.detail, "bit %zu of byte %zu", bit % 8,
                      bit / 8);
        der[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    ask(&row, der, len, &a);
    ck_assert_int_eq(a.status, SP_OCSP_GOOD);
    free(der);
}
END_TEST

/* ---- each element of a response, spoilt in turn ---- */

enum spoil { DROP, EMPTY, RETAG, APPEND, SPOILS };
static const char *const spoil_names[] = {"dropped", "empty", "of another tag", "with more in it"};

struct edit {
    enum spoil how;
    int target, seen;
    int tag; /* of what was spoilt; -1: there was nothing to spoil */
};

static bool holds_elements(int tag, struct sp_tls_der content)
{
    struct sp_tls_der inside;

    if (tag & 0x20)
        return true;
    return tag == SP_TLS_DER_OCTET_STRING &&
           sp_tls_der_take(&content, SP_TLS_DER_SEQUENCE, &inside, NULL) &&
           !sp_tls_der_len(&content);
}

/* Copies a row of elements with one change; returns the bytes written. */
static size_t rewrite(struct sp_tls_der in, uint8_t *out, struct edit *e)
{
    uint8_t *begin = out;

    while (sp_tls_der_len(&in)) {
        int tag = in.at[0];
        struct sp_tls_der content;
        bool is_it = e->seen++ == e->target;
        uint8_t *inner = calloc(1, 8192);
        size_t len;

        ck_assert(inner && sp_tls_der_take(&in, tag, &content, NULL));
        if (holds_elements(tag, content) && !is_it) {
            len = rewrite(content, inner, e);
        } else {
            len = sp_tls_der_len(&content);
            memcpy(inner, content.at, len);
        }
        if (is_it && (e->how != EMPTY || len) && (e->how != APPEND || holds_elements(tag, content)))
            e->tag = tag;
        if (e->tag >= 0 && is_it && e->how == APPEND) {
            memcpy(inner + len, "\x05", 2);
            len += 2;
        }
        len = is_it && e->how == EMPTY ? 0 : len;
        if (!is_it || e->how != DROP) {
            size_t header = sp_tls_der_put_header(out, len);

            out[0] = (uint8_t)(is_it && e->how == RETAG ? tag ^ 0x40 : tag);
            memcpy(out + header, inner, len);
            out += header + len;
        }
        free(inner);
    }
    return (size_t)(out - begin);
}

/* Signed as it is: only the NULL of an algorithm and the cause of a revocation may go. */
static bool may_be_spoilt(const struct edit *e, bool is_revoked)
{
    return e->how == DROP && (e->tag == 0x05 || (is_revoked && e->tag == 0xa0));
}

START_TEST(each_element_of_the_signed_part_must_be_in_its_place)
{
    const struct row rows[] = {
        {"good", SP_OCSP_GOOD, .spec = {.by_key = true}, .nonce = "0123456789abcdef"},
        {"revoked", SP_OCSP_REVOKED, .nonce = "0123456789abcdef",
         .e = {{.said = OCSP_SAYS_REVOKED, .revoked_at = now, .cause = 1}}},
        {"unknown", SP_OCSP_UNKNOWN, .nonce = "0123456789abcdef",
         .e = {{.said = OCSP_SAYS_UNKNOWN}}},
    };
    static uint8_t out[16384];
    const struct row *row = &rows[_i];
    struct ocsp_entry e = row->e[0];
    struct ocsp_spec spec = row->spec;
    struct sp_ocsp_answer a;
    size_t tbs_len, len, spoilt = 0;
    uint8_t *tbs, *der;

    e.cert = leaf;
    e.issuer = ca;
    e.this_update = now;
    e.next_update = now + DAY;
    spec.entries = &e;
    spec.count = 1;
    spec.produced_at = now;
    spec.signer = ca;
    spec.nonce = (const uint8_t *)row->nonce;
    spec.nonce_len = strlen(row->nonce);
    tbs = ocsp_make_tbs(&spec, &tbs_len);
    for (int how = -1; how < SPOILS; how++) {
        struct edit edit = {.how = (enum spoil)how, .target = -1};
        int count = 0;

        do {
            edit.seen = 0;
            edit.tag = -1;
            len = rewrite((struct sp_tls_der){tbs, tbs + tbs_len}, out, &edit);
            der = ocsp_make_around(&spec, out, len, &len);
            ask(row, der, len, &a);
            free(der);
            if (edit.tag < 0)
                ck_assert_msg(a.status == row->status, "%s: %s", row->name, a.detail);
            else if (!may_be_spoilt(&edit, row->status == SP_OCSP_REVOKED))
                ck_assert_msg(a.status == SP_OCSP_INVALID, "%s: element %d (tag %02x) %s: %d",
                              row->name, edit.target, (unsigned)edit.tag, spoil_names[how],
                              a.status);
            spoilt += edit.tag >= 0;
            count = edit.target < 0 ? edit.seen : count;
        } while (how >= 0 && ++edit.target < count);
    }
    ck_assert_uint_gt(spoilt, 60);
    free(tbs);
}
END_TEST

START_TEST(each_element_around_it_must_be_in_its_place)
{
    const struct row row = {"", .spec = {.signer = delegate}, .certs = {delegate}};
    static uint8_t out[16384];
    struct sp_ocsp_answer a;
    size_t len, spoilt = 0, excused = 0;
    uint8_t *der = make(&row, &len);

    for (int how = 0; how < SPOILS; how++) {
        struct edit edit = {.how = (enum spoil)how, .target = -1};
        int count = 0;

        do {
            size_t out_len;

            edit.seen = 0;
            edit.tag = -1;
            out_len = rewrite((struct sp_tls_der){der, der + len}, out, &edit);
            ask(&row, out, out_len, &a);
            /* A NULL behind the signature's algorithm says nothing, and some write it. */
            excused += edit.tag >= 0 && a.status == SP_OCSP_GOOD && how == APPEND;
            ck_assert_msg((a.status == SP_OCSP_GOOD) == (edit.tag < 0) || excused == 1,
                          "element %d (tag %02x) %s: %d", edit.target, (unsigned)edit.tag,
                          spoil_names[how], a.status);
            spoilt += edit.tag >= 0;
            count = edit.target < 0 ? edit.seen : count;
        } while (++edit.target < count);
    }
    ck_assert_uint_gt(spoilt, 150);
    free(der);
}
END_TEST

START_TEST(an_empty_and_a_huge_response_are_refused)
{
    const struct sp_ocsp_query q = {.cert = ocsp_der(leaf), .issuer = ocsp_der(ca), .now = now};
    struct sp_bytes response = {NULL, 0};
    uint8_t *huge = calloc(SP_OCSP_RESPONSE_MAX + 1, 1);
    struct sp_ocsp_answer a;

    ck_assert_ptr_nonnull(huge);
    sp_ocsp_examine(&response, &q, &a);
    ck_assert_int_eq(a.status, SP_OCSP_INVALID);
    ck_assert_str_eq(a.detail, "it is malformed: its beginning");
    response = (struct sp_bytes){huge, SP_OCSP_RESPONSE_MAX};
    sp_ocsp_examine(&response, &q, &a);
    ck_assert_str_eq(a.detail, "it is malformed: its beginning");
    response.len++;
    sp_ocsp_examine(&response, &q, &a);
    ck_assert_int_eq(a.status, SP_OCSP_INVALID);
    ck_assert_str_eq(a.detail, "it has 65537 bytes; 65536 are the most");
    free(huge);
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
    TCase *answers = tcase_create("answers");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_unchecked_fixture(answers, setup, teardown);
    tcase_add_test(answers, what_a_responder_says_is_what_is_answered);
    tcase_add_test(answers, the_times_cause_and_signer_are_told);
    tcase_add_test(answers, only_an_entry_about_this_very_certificate_counts);
    tcase_add_test(answers, an_answer_about_another_certificate_names_the_most_telling_one);
    tcase_add_test(answers, of_several_entries_a_revoked_one_wins_then_the_newest);
    tcase_add_test(answers, nobody_but_the_issuer_and_his_own_delegates_signs);
    tcase_add_test(answers, weak_signatures_and_keys_do_not_count);
    tcase_add_test(answers, a_delegates_certificate_must_say_so_exactly);
    tcase_add_test(answers, an_answer_counts_in_its_own_time_only);
    tcase_add_test(answers, a_nonce_that_was_sent_must_come_back);
    tcase_add_test(answers, what_is_not_a_plain_response_is_refused);
    tcase_add_test(answers, nothing_damaged_is_taken);
    tcase_add_loop_test(answers, each_element_of_the_signed_part_must_be_in_its_place, 0, 3);
    tcase_add_test(answers, each_element_around_it_must_be_in_its_place);
    tcase_add_test(answers, an_empty_and_a_huge_response_are_refused);
    tcase_add_test(answers, a_certificate_that_cannot_be_read_is_no_reason_to_pass);
    tcase_add_test(answers, openssl_understands_the_request_and_is_understood);
    suite_add_tcase(suite, answers);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
