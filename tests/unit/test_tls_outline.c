/* Where the parts of a certificate lie, and what is told from them without GnuTLS. */
#include "common/tls_outline.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/tls_x509.h"
#include "tests/support/forge.h"
#include "tests/unit/der_pieces.h"

enum {
    C_VERSION,
    C_SERIAL,
    C_ALGORITHM,
    C_ISSUER,
    C_VALIDITY,
    C_SUBJECT,
    C_KEY,
    C_ISSUER_UID,
    C_OWNER_UID,
    C_EXTENSIONS,
    C_TBS,
    C_SIGNED_WITH,
    C_SIGNATURE,
    C_END
};

#define TIME(tag)                                                                                  \
    tag "\x0d"                                                                                     \
        "260101000000Z"
static const struct piece good_cert[] = {
    [C_VERSION] = P("\xa0\x03\x02\x01\x02"),
    [C_SERIAL] = P("\x02\x01\x05"),
    [C_ALGORITHM] = P("\x30\x03\x06\x01\x2a"),
    [C_ISSUER] = P("\x30\x00"),
    [C_VALIDITY] = P("\x30\x1e" TIME("\x17") TIME("\x17")),
    [C_SUBJECT] = P("\x30\x00"),
    [C_KEY] = P("\x30\x06\x30\x00\x03\x02\x00k"),
    [C_ISSUER_UID] = P("\x81\x01\x00"),
    [C_OWNER_UID] = P("\x82\x01\x00"),
    [C_EXTENSIONS] = P("\xa3\x02\x30\x00"),
    [C_TBS] = P(""), /* is put in */
    [C_SIGNED_WITH] = P("\x30\x03\x06\x01\x2a"),
    [C_SIGNATURE] = P("\x03\x02\x00s"),
    [C_END] = P(""),
};
static const struct swap cert_swaps[] = {
    {C_END, P(""), true},
    {C_VERSION, P(""), true},
    {C_VERSION, P("\xa0\x7f"), false},
    {C_VERSION, P("\xa1\x03\x02\x01\x02"), false},
    {C_SERIAL, P(""), false},
    {C_SERIAL, P("\x02\x00"), false},
    {C_SERIAL, P("\x04\x01\x05"), false},
    {C_ALGORITHM, P(""), false},
    {C_ALGORITHM, P("\x30\x03\x06\x01\x2b"), false},
    {C_ISSUER, P(""), false},
    {C_ISSUER, P("\x31\x00"), false},
    {C_VALIDITY, P(""), false},
    {C_VALIDITY, P("\x30\x00"), false},
    {C_VALIDITY, P("\x30\x0f" TIME("\x17")), false},
    {C_VALIDITY, P("\x30\x20" TIME("\x17") TIME("\x17") "\x05\x00"), false},
    {C_VALIDITY, P("\x30\x1e" TIME("\x16") TIME("\x17")), false},
    {C_VALIDITY, P("\x30\x1e" TIME("\x17") TIME("\x16")), false},
    {C_SUBJECT, P("\x31\x00"), false},
    {C_KEY, P(""), false},
    {C_KEY, P("\x30\x00"), false},
    {C_KEY, P("\x30\x06\x31\x00\x03\x02\x00k"), false},
    {C_KEY, P("\x30\x02\x30\x00"), false},
    {C_KEY, P("\x30\x06\x30\x00\x04\x02\x00k"), false},
    {C_KEY, P("\x30\x04\x30\x00\x03\x00"), false},
    {C_KEY, P("\x30\x08\x30\x00\x03\x02\x00k\x05\x00"), false},
    {C_ISSUER_UID, P(""), true},
    {C_ISSUER_UID, P("\x81\x7f"), false},
    {C_ISSUER_UID, P("\x83\x01\x00"), false},
    {C_OWNER_UID, P(""), true},
    {C_OWNER_UID, P("\x82\x7f"), false},
    {C_OWNER_UID, P("\x81\x01\x00"), false},
    {C_EXTENSIONS, P(""), true},
    {C_EXTENSIONS, P("\xa3\x00"), false},
    {C_EXTENSIONS, P("\xa3\x7f"), false},
    {C_EXTENSIONS, P("\xa3\x02\x31\x00"), false},
    {C_EXTENSIONS, P("\xa3\x04\x30\x00\x05\x00"), false},
    {C_EXTENSIONS, P("\xa3\x02\x30\x00\x05\x00"), false},
    {C_TBS, P(""), false},
    {C_TBS, P("\x30\x00"), false},
    {C_SIGNED_WITH, P(""), false},
    {C_SIGNED_WITH, P("\x30\x03\x06\x01\x2b"), false},
    {C_SIGNATURE, P(""), false},
    {C_SIGNATURE, P("\x03\x01\x00"), false},
    {C_SIGNATURE, P("\x03\x02\x01s"), false},
    {C_SIGNATURE, P("\x04\x02\x00s"), false},
    {C_END, P("\x05\x00"), false},
};
#undef TIME

START_TEST(a_certificate_has_each_of_its_parts)
{
    for (size_t i = 0; i < sizeof cert_swaps / sizeof cert_swaps[0]; i++) {
        uint8_t tbs[128], bytes[130];
        const struct swap by = {cert_swaps[i].index - C_TBS, cert_swaps[i].other, true};
        struct piece outer[C_END - C_TBS + 1];
        struct sp_tls_outline cert;
        struct sp_bytes der = {bytes, 0};

        memcpy(outer, good_cert + C_TBS, sizeof outer);
        outer[0] = (struct piece){(char *)tbs, enclose(good_cert, C_TBS, &cert_swaps[i], tbs)};
        der.len =
            enclose(outer, C_END - C_TBS + 1, cert_swaps[i].index < C_TBS ? NULL : &by, bytes);
        ck_assert_msg(sp_tls_outline_of(&der, &cert) == cert_swaps[i].is_taken, "row %zu", i);
        bytes[der.len++] = 0; /* nothing may follow */
        ck_assert(!sp_tls_outline_of(&der, &cert));
        if (!cert_swaps[i].is_taken)
            continue;
        ck_assert(sp_tls_der_len(&cert.key) == 1 && cert.key.at[0] == 'k' &&
                  cert.serial.at[0] == 5 && cert.not_before == INT64_C(1767225600));
        ck_assert((cert.extensions.at == NULL) ==
                  (cert_swaps[i].index == C_EXTENSIONS && !cert_swaps[i].other.len));
    }
}
END_TEST

START_TEST(an_extension_that_is_there_twice_or_behind_a_broken_one_is_broken)
{
#define USAGE "\x30\x09\x06\x03\x55\x1d\x0f\x04\x02\x05\x00"
#define OTHER "\x30\x09\x06\x03\x55\x1d\x10\x04\x02\x05\x00"
    static const struct {
        struct piece list;
        enum sp_tls_found found;
    } rows[] = {
        {P(""), SP_TLS_ABSENT},
        {P(OTHER), SP_TLS_ABSENT},
        {P(OTHER OTHER), SP_TLS_ABSENT},
        {P(USAGE), SP_TLS_FOUND},
        {P(OTHER USAGE OTHER), SP_TLS_FOUND},
        {P(USAGE USAGE), SP_TLS_BROKEN},
        {P(USAGE OTHER USAGE), SP_TLS_BROKEN},
        {P(USAGE "\x05\x00"), SP_TLS_BROKEN},
        {P("\x05\x00" USAGE), SP_TLS_BROKEN},
        {P("\x05\x00"), SP_TLS_BROKEN},
    };
#undef USAGE
#undef OTHER

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const uint8_t *at = (const uint8_t *)rows[i].list.bytes;
        const struct sp_tls_outline cert = {.extensions = {at, at + rows[i].list.len}};
        struct sp_tls_der value = {NULL, NULL};

        ck_assert_msg(sp_tls_outline_extension(&cert, SP_TLS_OID("\x55\x1d\x0f"), &value) ==
                          rows[i].found,
                      "row %zu", i);
        if (rows[i].found == SP_TLS_FOUND)
            ck_assert(sp_tls_der_len(&value) == 2 && value.at[0] == 0x05);
    }
}
END_TEST

/* ---- who issued it ---- */

static const struct forge_form acme = {.dn = "CN=Acme", .ca = true};

struct parsed {
    gnutls_x509_crt_t crt[FORGE_MAX];
    int count;
};

/* As they come from a peer: what GnuTLS made itself has no raw names. */
static void parse(const struct forge *f, struct parsed *ret)
{
    ret->count = f->count;
    for (int i = 0; i < f->count; i++) {
        ck_assert_int_eq(gnutls_x509_crt_init(&ret->crt[i]), 0);
        ck_assert_int_eq(gnutls_x509_crt_import(ret->crt[i], &f->der[i], GNUTLS_X509_FMT_DER), 0);
    }
}

static void parsed_free(struct parsed *p)
{
    for (int i = 0; i < p->count; i++)
        gnutls_x509_crt_deinit(p->crt[i]);
}

/* A shortcut says yes, or nothing. */
static void expect_as_gnutls_says(const struct parsed *p)
{
    for (int i = 0; i < p->count; i++)
        for (int j = 0; j < p->count; j++)
            ck_assert_msg(sp_tls_x509_is_issued_by(p->crt[i], p->crt[j]) ==
                              (gnutls_x509_crt_check_issuer(p->crt[i], p->crt[j]) != 0),
                          "%d by %d", i, j);
}

START_TEST(an_issuer_has_the_name_and_the_key)
{
    struct forge f = {0};
    struct parsed p;
    int ca = forge_cert(&f, -1, acme);
    int same_name = forge_cert(&f, -1, acme);
    int same_key = forge_cert(
        &f, -1, (struct forge_form){.dn = "CN=Globex", .ca = true, .same_key_as = ca + 1});
    int beside = forge_cert(
        &f, ca, (struct forge_form){.dn = "CN=Globex", .ca = true, .same_key_as = ca + 1});
    int leaf = forge_cert(&f, ca, (struct forge_form){.dn = "CN=alice"});
    int no_ids = forge_cert(&f, ca, (struct forge_form){.dn = "CN=bob", .no_ids = true});
    int claims = forge_cert(
        &f, ca, (struct forge_form){.dn = "CN=carol", .no_ids = true, .aki_of = same_name + 1});

    parse(&f, &p);
    expect_as_gnutls_says(&p);
    ck_assert(sp_tls_x509_is_issued_by(p.crt[leaf], p.crt[ca]));
    ck_assert(!sp_tls_x509_is_issued_by(p.crt[leaf], p.crt[same_name]));
    ck_assert(!sp_tls_x509_is_issued_by(p.crt[leaf], p.crt[same_key]));
    ck_assert(!sp_tls_x509_is_issued_by(p.crt[leaf], p.crt[beside]));
    ck_assert(sp_tls_x509_is_issued_by(p.crt[no_ids], p.crt[ca]));
    ck_assert(sp_tls_x509_is_issued_by(p.crt[no_ids], p.crt[same_name]));
    ck_assert(!sp_tls_x509_is_issued_by(p.crt[claims], p.crt[ca]));
    parsed_free(&p);
    forge_free(&f);
}
END_TEST

/* What its key identifier is written in is no matter of ours: then GnuTLS is asked. */
START_TEST(odd_key_identifiers_are_left_to_gnutls)
{
    static const struct forge_ext odd[] = {
        {"2.5.29.35", "\x30\x00", 2, false},
        {"2.5.29.35", "\x30\x02\x80\x00", 4, false},
        {"2.5.29.35", "\x30\x06\x80\x01k\x82\x01\x01", 8, false},
        {"2.5.29.35", "\x30\x03\x81\x01k", 5, false},
        {"2.5.29.35", "\x04\x01k", 3, false},
        {"2.5.29.35", "\x30\x03\x80\x01k", 5, false},
        {"2.5.29.14", "\x04\x01k", 3, false},
        {"2.5.29.14", "\x04\x00", 2, false},
        {"2.5.29.14", "\x80\x01k", 3, false},
        {"2.5.29.14", "\x04\x01k\x05\x00", 5, false},
    };
    struct forge f = {0};
    struct parsed p;

    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        struct forge_form form = acme;

        form.no_ids = true;
        form.ext = &odd[i];
        forge_cert(&f, -1, form);
    }
    forge_cert(&f, -1, acme);
    parse(&f, &p);
    expect_as_gnutls_says(&p);
    parsed_free(&p);
    forge_free(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tls_outline");
    TCase *all = tcase_create("all");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(all, a_certificate_has_each_of_its_parts);
    tcase_add_test(all, an_extension_that_is_there_twice_or_behind_a_broken_one_is_broken);
    tcase_add_test(all, an_issuer_has_the_name_and_the_key);
    tcase_add_test(all, odd_key_identifiers_are_left_to_gnutls);
    suite_add_tcase(suite, all);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
