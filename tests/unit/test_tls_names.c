/* The names inside certificates: what a tenant's patterns are compared with, and issuers. */
#include <check.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "certs/mint.h"
#include "common/tls_chain.h"
#include "common/tls_names.h"
#include "common/verdict.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

/* certs/mint makes no such names as these. */
struct raw_name {
    unsigned type;
    const char *data;
    size_t len;
};

/* GnuTLS refuses to write what it does read. Lengths of two bytes throughout. */
static void set_names(gnutls_x509_crt_t crt, const struct raw_name *names, size_t count)
{
    static const uint8_t tags[] = {[GNUTLS_SAN_DNSNAME] = 0x82,
                                   [GNUTLS_SAN_RFC822NAME] = 0x81,
                                   [GNUTLS_SAN_URI] = 0x86,
                                   [GNUTLS_SAN_IPADDRESS] = 0x87};
    static uint8_t der[65536];
    size_t len = 4;

    for (size_t i = 0; i < count; i++) {
        const uint8_t header[] = {tags[names[i].type], 0x82, (uint8_t)(names[i].len >> 8),
                                  (uint8_t)names[i].len};

        memcpy(der + len, header, sizeof header);
        memcpy(der + len + sizeof header, names[i].data, names[i].len);
        len += sizeof header + names[i].len;
    }
    memcpy(der, (uint8_t[]){0x30, 0x82, (uint8_t)((len - 4) >> 8), (uint8_t)(len - 4)}, 4);
    ck_assert_int_eq(gnutls_x509_crt_set_extension_by_oid(crt, "2.5.29.17", der, len, 0), 0);
}

#define NAME(type, text)                                                                           \
    {                                                                                              \
        (type), (text), sizeof(text) - 1                                                           \
    }

static gnutls_x509_privkey_t new_key(void)
{
    gnutls_x509_privkey_t key;

    ck_assert_int_eq(gnutls_x509_privkey_init(&key), 0);
    ck_assert_int_eq(gnutls_x509_privkey_generate(
                         key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0),
                     0);
    return key;
}

/* common_name: raw; the caller frees der->data with gnutls_free. */
static void make(const char *common_name, size_t cn_len, const struct raw_name *names, size_t count,
                 gnutls_datum_t *der)
{
    gnutls_x509_privkey_t key = new_key();
    gnutls_x509_crt_t crt;

    ck_assert_int_eq(gnutls_x509_crt_init(&crt), 0);
    ck_assert_int_eq(gnutls_x509_crt_set_version(crt, 3), 0);
    ck_assert_int_eq(gnutls_x509_crt_set_serial(crt, "\1", 1), 0);
    ck_assert_int_eq(gnutls_x509_crt_set_key(crt, key), 0);
    ck_assert_int_eq(gnutls_x509_crt_set_activation_time(crt, 0), 0);
    ck_assert_int_eq(gnutls_x509_crt_set_expiration_time(crt, 2000000000), 0);
    if (cn_len)
        ck_assert_int_eq(gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0,
                                                       common_name, (unsigned)cn_len),
                         0);
    if (count)
        set_names(crt, names, count);
    ck_assert_int_eq(gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0), 0);
    ck_assert_int_eq(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_DER, der), 0);
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_privkey_deinit(key);
}

static void read_names(const gnutls_datum_t *der, struct sp_tls_names *names)
{
    const struct sp_bytes bytes = {der->data, der->size};

    ck_assert(sp_tls_names_read(&bytes, names));
}

/* "d:a.example|u:urn:x"; a name that is too long is a sole letter. */
static const char *show(const struct sp_tls_names *names, char *buf, size_t buf_len)
{
    buf[0] = '\0';
    for (size_t i = 0; i < names->count; i++) {
        const struct sp_tls_name *name = &names->items[i];
        size_t used = strlen(buf);

        ck_assert(!name->text || strlen(name->text) == name->len);
        snprintf(buf + used, buf_len - used, "%s%c%s%s", used ? "|" : "", "sidue"[name->kind],
                 name -> text ? ":" : "", name->text ? name->text : "");
    }
    return buf;
}

START_TEST(names_are_read_by_kind_and_folded_where_case_says_nothing)
{
    static const struct raw_name raw[] = {
        NAME(GNUTLS_SAN_DNSNAME, "Dev.C1.Example."),
        NAME(GNUTLS_SAN_DNSNAME, "*.C2.example"),
        NAME(GNUTLS_SAN_URI, "urn:Dev:1"),
        NAME(GNUTLS_SAN_IPADDRESS, "\x7f\0\0\1"),
        NAME(GNUTLS_SAN_RFC822NAME, "Bob@Acme.Example"),
    };
    struct sp_tls_names names;
    gnutls_datum_t der;
    char text[512];

    make("Dev 1, or so", 12, raw, COUNT(raw), &der);
    read_names(&der, &names);
    ck_assert_str_eq(show(&names, text, sizeof text),
                     "s:CN=Dev 1\\, or so|i:CN=Dev 1\\, or so|d:dev.c1.example|d:*.c2.example|"
                     "u:urn:Dev:1|e:bob@acme.example");
    ck_assert(!names.too_many);
    sp_tls_names_done(&names);
    ck_assert_uint_eq(names.count, 0);
    gnutls_free(der.data);
}
END_TEST

START_TEST(a_name_with_a_nul_inside_is_left_out)
{
    static const struct raw_name raw[] = {
        NAME(GNUTLS_SAN_DNSNAME, "dev.c1.example\0.evil.example"),
        NAME(GNUTLS_SAN_URI, "urn:dev\0:1"),
        NAME(GNUTLS_SAN_RFC822NAME, "bob@acme.example\0"),
        NAME(GNUTLS_SAN_DNSNAME, "good.example"),
    };
    struct sp_tls_names names;
    gnutls_datum_t der;
    char text[512];

    make("dev\0evil", 8, raw, COUNT(raw), &der);
    read_names(&der, &names);
    ck_assert_str_eq(show(&names, text, sizeof text), "d:good.example");
    sp_tls_names_done(&names);
    gnutls_free(der.data);
    make("dev\\00", 6, NULL, 0, &der); /* a backslash and two zeros, honestly */
    read_names(&der, &names);
    ck_assert_str_eq(show(&names, text, sizeof text), "s:CN=dev\\\\00|i:CN=dev\\\\00");
    sp_tls_names_done(&names);
    gnutls_free(der.data);
}
END_TEST

START_TEST(a_name_that_is_too_long_is_there_without_its_text)
{
    static char longest[SP_TLS_NAME_MAX + 2];
    struct raw_name raw[] = {{GNUTLS_SAN_URI, longest, SP_TLS_NAME_MAX},
                             {GNUTLS_SAN_URI, longest, SP_TLS_NAME_MAX + 1}};
    struct sp_tls_names names;
    gnutls_datum_t der;

    memset(longest, 'u', sizeof longest - 1);
    make("x", 1, raw, COUNT(raw), &der);
    read_names(&der, &names);
    ck_assert_uint_eq(names.count, 4);
    ck_assert_uint_eq(names.items[2].len, SP_TLS_NAME_MAX);
    ck_assert_ptr_null(names.items[3].text);
    ck_assert_int_eq(names.items[3].kind, SP_TLS_NAME_URI);
    sp_tls_names_done(&names);
    gnutls_free(der.data);
}
END_TEST

START_TEST(a_subject_that_the_log_would_cut_is_too_long)
{
    static char cn[600];
    struct sp_tls_names names;
    gnutls_datum_t der;
    size_t len = SP_DN_MAX - 1 - 3 + (size_t)_i; /* "CN=" and this fill the log's buffer */

    memset(cn, 'x', sizeof cn);
    make(cn, len, NULL, 0, &der);
    read_names(&der, &names);
    ck_assert_uint_eq(names.count, 2);
    ck_assert(!names.items[0].text == (_i != 0));
    sp_tls_names_done(&names);
    gnutls_free(der.data);
}
END_TEST

START_TEST(who_has_too_many_alternative_names_has_none)
{
    static struct raw_name raw[SP_TLS_NAMES_MAX + 1];
    static char texts[SP_TLS_NAMES_MAX + 1][16];
    struct sp_tls_names names;
    gnutls_datum_t der;

    for (int i = 0; i < COUNT(raw); i++) {
        snprintf(texts[i], sizeof texts[i], "d%d.example", i);
        raw[i] = (struct raw_name){GNUTLS_SAN_DNSNAME, texts[i], strlen(texts[i])};
    }
    make("x", 1, raw, COUNT(raw) - 1, &der);
    read_names(&der, &names);
    ck_assert_uint_eq(names.count, SP_TLS_NAMES_MAX + 2);
    ck_assert(!names.too_many);
    sp_tls_names_done(&names);
    gnutls_free(der.data);
    make("x", 1, raw, COUNT(raw), &der);
    read_names(&der, &names);
    ck_assert_uint_eq(names.count, 2);
    ck_assert(names.too_many);
    sp_tls_names_done(&names);
    gnutls_free(der.data);
}
END_TEST

START_TEST(what_is_no_certificate_has_no_names)
{
    const struct sp_bytes junk = {(const uint8_t *)"junk", 4}, empty = {NULL, 0};
    struct sp_tls_names names;
    struct sp_tls_link link;

    ck_assert(!sp_tls_names_read(&junk, &names));
    ck_assert_uint_eq(names.count, 0);
    ck_assert(!sp_tls_names_read(&empty, &names));
    ck_assert(!sp_tls_link_read(&junk, &link));
    ck_assert_ptr_null(link.subject);
    ck_assert(!sp_tls_link_read(&empty, &link));
}
END_TEST

START_TEST(a_certificate_and_its_issuer_find_each_other)
{
    const struct certs_spec ca_spec = {.dn = "CN=CA", .ca = true, .path_len = -1};
    const struct certs_spec leaf_spec = {.dn = "CN=leaf", .path_len = -1};
    struct certs_pair *ca, *other, *leaf;
    struct sp_tls_link above, beside, below;
    struct sp_bytes der;

    ck_assert_int_eq(certs_mint(&ca_spec, NULL, &ca, NULL), SP_OK);
    ck_assert_int_eq(certs_mint(&ca_spec, NULL, &other, NULL), SP_OK);
    ck_assert_int_eq(certs_mint(&leaf_spec, ca, &leaf, NULL), SP_OK);
    der.data = certs_pair_der(ca, &der.len);
    ck_assert(sp_tls_link_read(&der, &above));
    der.data = certs_pair_der(other, &der.len);
    ck_assert(sp_tls_link_read(&der, &beside));
    der.data = certs_pair_der(leaf, &der.len);
    ck_assert(sp_tls_link_read(&der, &below));
    ck_assert_uint_eq(below.issuer_len, above.subject_len);
    ck_assert_mem_eq(below.issuer, above.subject, above.subject_len);
    ck_assert_mem_eq(beside.subject, above.subject, above.subject_len);
    ck_assert_uint_ne(above.subject_key, 0);
    ck_assert_uint_eq(below.authority_key, above.subject_key);
    ck_assert_uint_ne(beside.subject_key, above.subject_key);
    sp_tls_link_done(&above);
    sp_tls_link_done(&beside);
    sp_tls_link_done(&below);
    certs_pair_free(ca);
    certs_pair_free(other);
    certs_pair_free(leaf);
}
END_TEST

START_TEST(a_certificate_without_key_identifiers_says_so)
{
    struct sp_tls_link link;
    struct sp_bytes bytes;
    gnutls_datum_t der;

    make("x", 1, NULL, 0, &der);
    bytes = (struct sp_bytes){der.data, der.size};
    ck_assert(sp_tls_link_read(&bytes, &link));
    ck_assert_uint_eq(link.subject_key, 0);
    ck_assert_uint_eq(link.authority_key, 0);
    sp_tls_link_done(&link);
    gnutls_free(der.data);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tls_names");
    TCase *tcase = tcase_create("tls_names");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, names_are_read_by_kind_and_folded_where_case_says_nothing);
    tcase_add_test(tcase, a_name_with_a_nul_inside_is_left_out);
    tcase_add_test(tcase, a_name_that_is_too_long_is_there_without_its_text);
    tcase_add_loop_test(tcase, a_subject_that_the_log_would_cut_is_too_long, 0, 2);
    tcase_add_test(tcase, who_has_too_many_alternative_names_has_none);
    tcase_add_test(tcase, what_is_no_certificate_has_no_names);
    tcase_add_test(tcase, a_certificate_and_its_issuer_find_each_other);
    tcase_add_test(tcase, a_certificate_without_key_identifiers_says_so);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
