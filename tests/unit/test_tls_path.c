#include "common/tls_chain.h"

#include "common/clock.h"
#include "common/tls_trust.h"
#include "common/tls_upper.h"

#include <check.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509-ext.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Certificates that certs/mint has no business making: forged here with GnuTLS itself, to see the
 * search for a path and what an attacker would send. */

#define BIT(reason) SP_REASON_BIT(SP_REASON_##reason)
#define DAY         INT64_C(86400)
#define CERT_MAX    24

struct ext {
    const char *oid;
    const void *der;
    size_t len;
    bool critical;
};

struct form {
    const char *dn;
    bool ca, no_ids, v1;
    bool rsa;       /* an RSA key, which signs with PSS */
    bool costly_e;  /* its public exponent is as long as the modulus */
    unsigned usage; /* 0: by role */
    int64_t begin, end;
    const struct ext *ext;
    const void *cn;
    size_t cn_len; /* raw common name in place of dn */
    const char *uri;
    const char *aki_issuer;
    int aki_of; /* index + 1 of the certificate whose key identifier it claims for its issuer */
    int same_key_as; /* index + 1 of another certificate */
    int path_len_plus_1;
};

/* All that one test forged; freed together. */
struct forge {
    gnutls_x509_crt_t crt[CERT_MAX];
    gnutls_x509_privkey_t key[CERT_MAX];
    gnutls_datum_t der[CERT_MAX];
    bool rsa[CERT_MAX];
    int count;
    int64_t now;
};

#define OK(call) ck_assert_msg((call) >= 0, #call)

static void set_ids(struct forge *f, int i, int issuer)
{
    uint8_t id[64];
    size_t len = sizeof id;

    OK(gnutls_x509_crt_get_key_id(f->crt[i], 0, id, &len));
    OK(gnutls_x509_crt_set_subject_key_id(f->crt[i], id, len));
    if (issuer == i)
        return;
    len = sizeof id;
    if (gnutls_x509_crt_get_subject_key_id(f->crt[issuer], id, &len, NULL) >= 0)
        OK(gnutls_x509_crt_set_authority_key_id(f->crt[i], id, len));
}

/* authorityCertIssuer with a serial number, by hand: gnutls_x509_aki_set_cert_issuer crashes. */
static void set_aki_issuer(gnutls_x509_crt_t crt, const char *dn)
{
    gnutls_datum_t name;
    gnutls_x509_dn_t parsed;
    uint8_t der[128];
    size_t len;

    OK(gnutls_x509_dn_init(&parsed));
    OK(gnutls_x509_dn_set_str(parsed, dn, NULL));
    OK(gnutls_x509_dn_export2(parsed, GNUTLS_X509_FMT_DER, &name));
    len = name.size;
    ck_assert_uint_lt(len, 100); /* so that every length is one byte */
    memcpy(
        der,
        (const uint8_t[]){0x30, (uint8_t)(len + 7), 0xa1, (uint8_t)(len + 2), 0xa4, (uint8_t)len},
        6);
    memcpy(der + 6, name.data, len);
    memcpy(der + 6 + len, "\x82\x01\x01", 3);
    OK(gnutls_x509_crt_set_extension_by_oid(crt, "2.5.29.35", der, len + 9, 0));
    gnutls_x509_dn_deinit(parsed);
    gnutls_free(name.data);
}

static void set_extensions(struct forge *f, int i, const struct form *form, int issuer)
{
    gnutls_x509_crt_t crt = f->crt[i];
    unsigned usage = form->ca ? GNUTLS_KEY_KEY_CERT_SIGN : GNUTLS_KEY_DIGITAL_SIGNATURE;

    OK(gnutls_x509_crt_set_basic_constraints(crt, form->ca, form->path_len_plus_1 - 1));
    OK(gnutls_x509_crt_set_key_usage(crt, form->usage ? form->usage : usage));
    if (!form->ca) {
        OK(gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_CLIENT, 0));
        OK(gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_SERVER, 0));
    }
    if (form->uri)
        OK(gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_URI, form->uri,
                                                (unsigned)strlen(form->uri), GNUTLS_FSAN_APPEND));
    if (form->ext)
        OK(gnutls_x509_crt_set_extension_by_oid(crt, form->ext->oid, form->ext->der, form->ext->len,
                                                form->ext->critical));
    if (!form->no_ids)
        set_ids(f, i, issuer);
    if (form->aki_of) {
        uint8_t id[64];
        size_t len = sizeof id;

        OK(gnutls_x509_crt_get_subject_key_id(f->crt[form->aki_of - 1], id, &len, NULL));
        OK(gnutls_x509_crt_set_authority_key_id(crt, id, len));
    }
    if (form->aki_issuer)
        set_aki_issuer(crt, form->aki_issuer);
}

/* The public exponent and the private one change places, which makes a key like any other. */
static void exchange_exponents(gnutls_x509_privkey_t *key)
{
    gnutls_datum_t m, e, d, p, q, u;

    OK(gnutls_x509_privkey_export_rsa_raw(*key, &m, &e, &d, &p, &q, &u));
    gnutls_x509_privkey_deinit(*key);
    OK(gnutls_x509_privkey_init(key));
    OK(gnutls_x509_privkey_import_rsa_raw(*key, &m, &d, &e, &p, &q, &u));
    gnutls_free(m.data);
    gnutls_free(e.data);
    gnutls_free(d.data);
    gnutls_free(p.data);
    gnutls_free(q.data);
    gnutls_free(u.data);
}

/* issuer: an index, or -1 for self-signed. Returns the index. */
static int forge(struct forge *f, int issuer, struct form form)
{
    int i = f->count++;
    const uint8_t serial[] = {0, 0x80, (uint8_t)(i + 1)};

    ck_assert_int_lt(i, CERT_MAX);
    if (!f->now)
        f->now = sp_clock_wall_s();
    issuer = issuer < 0 ? i : issuer;
    OK(gnutls_x509_crt_init(&f->crt[i]));
    OK(gnutls_x509_privkey_init(&f->key[i]));
    if (form.same_key_as)
        OK(gnutls_x509_privkey_cpy(f->key[i], f->key[form.same_key_as - 1]));
    else if (form.rsa)
        OK(gnutls_x509_privkey_generate(f->key[i], GNUTLS_PK_RSA, 2048, 0));
    else
        OK(gnutls_x509_privkey_generate(f->key[i], GNUTLS_PK_ECDSA,
                                        GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
    if (form.costly_e)
        exchange_exponents(&f->key[i]);
    OK(gnutls_x509_crt_set_key(f->crt[i], f->key[i]));
    OK(gnutls_x509_crt_set_version(f->crt[i], form.v1 ? 1 : 3));
    OK(gnutls_x509_crt_set_serial(f->crt[i], serial, sizeof serial));
    OK(gnutls_x509_crt_set_activation_time(f->crt[i], f->now + (form.begin ? form.begin : -DAY)));
    OK(gnutls_x509_crt_set_expiration_time(f->crt[i], f->now + (form.end ? form.end : DAY)));
    if (form.dn)
        OK(gnutls_x509_crt_set_dn(f->crt[i], form.dn, NULL));
    if (form.cn)
        OK(gnutls_x509_crt_set_dn_by_oid(f->crt[i], GNUTLS_OID_X520_COMMON_NAME, 0, form.cn,
                                         (unsigned)form.cn_len));
    if (!form.v1)
        set_extensions(f, i, &form, issuer);
    f->rsa[i] = form.rsa;
    OK(gnutls_x509_crt_sign2(f->crt[i], f->crt[issuer], f->key[issuer], GNUTLS_DIG_SHA256,
                             f->rsa[issuer] ? GNUTLS_PRIVKEY_SIGN_FLAG_RSA_PSS : 0));
    OK(gnutls_x509_crt_export2(f->crt[i], GNUTLS_X509_FMT_DER, &f->der[i]));
    return i;
}

/* The last one that was forged is as if it had not been. */
static void unforge(struct forge *f)
{
    int i = --f->count;

    gnutls_x509_crt_deinit(f->crt[i]);
    gnutls_x509_privkey_deinit(f->key[i]);
    gnutls_free(f->der[i].data);
}

static void forge_free(struct forge *f)
{
    while (f->count)
        unforge(f);
}

static struct sp_tls_trust *trust_of(const struct forge *f, const int *trusted, size_t count)
{
    char path[] = "/tmp/sp-path-XXXXXX";
    const char *paths[] = {path};
    struct sp_tls_trust *trust = NULL;
    struct sp_error err = {0};
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    for (size_t i = 0; i < count; i++)
        ck_assert_int_eq(write(fd, f->der[trusted[i]].data, f->der[trusted[i]].size),
                         (ssize_t)f->der[trusted[i]].size);
    close(fd);
    ck_assert_msg(sp_tls_trust_load(paths, 1, false, &trust, &err) == SP_OK, "%s", err.text);
    unlink(path);
    return trust;
}

/* Whatever is remembered of the issuers, nothing else may come out. */
static void expect_the_same_when_issuers_are_known(const struct sp_chain *chain,
                                                   const struct sp_chain_query *query,
                                                   const struct sp_facts *facts)
{
    struct sp_chain_query with = *query;
    struct sp_facts again;

    with.uppers = sp_tls_uppers_new();
    for (int i = 0; i < 2; i++) { /* the first may keep what the second finds */
        memset(&again, 0, sizeof again);
        sp_chain_examine(chain, &with, &again);
        ck_assert_uint_eq(again.observed, facts->observed);
        ck_assert_str_eq(again.detail, facts->detail);
        ck_assert_str_eq(again.path, facts->path);
        ck_assert_str_eq(again.issuer, facts->issuer);
        ck_assert_int_eq(again.not_after, facts->not_after);
        ck_assert(again.steady == facts->steady && again.paths_tried == facts->paths_tried);
    }
    sp_tls_uppers_free(with.uppers);
}

/* sent and trusted end with -1. */
static void examine(const struct forge *f, const int *sent, const int *trusted, const char *name,
                    struct sp_facts *ret_facts)
{
    struct sp_chain_query query = {
        .purpose = name ? SP_PURPOSE_SERVER : SP_PURPOSE_CLIENT, .name = name, .now = f->now};
    struct sp_chain chain = {0};
    struct sp_tls_trust *trust;
    size_t count = 0;

    while (trusted[count] >= 0)
        count++;
    query.trust = trust = trust_of(f, trusted, count);
    for (; sent[chain.count] >= 0; chain.count++)
        chain.certs[chain.count] =
            (struct sp_bytes){f->der[sent[chain.count]].data, f->der[sent[chain.count]].size};
    sp_chain_examine(&chain, &query, ret_facts);
    expect_the_same_when_issuers_are_known(&chain, &query, ret_facts);
    sp_tls_trust_unref(trust);
}

static void expect(const struct sp_facts *facts, sp_reason_set observed, const char *detail)
{
    ck_assert_msg(facts->observed == observed, "found %#x, wanted %#x: %s", facts->observed,
                  observed, facts->detail);
    ck_assert_msg(!detail || strstr(facts->detail, detail), "detail '%s', wanted '%s'",
                  facts->detail, detail);
}

#define INTS(...)                                                                                  \
    (const int[])                                                                                  \
    {                                                                                              \
        __VA_ARGS__, -1                                                                            \
    }

static const struct form acme_root = {.dn = "CN=Acme Root,O=Acme", .ca = true};

START_TEST(a_nul_in_the_common_name_is_refused)
{
    static const char cn[] = "good.example\0.evil.example";
    struct sp_facts facts;
    struct forge f = {0};
    int root = forge(&f, -1, acme_root);
    int leaf = forge(&f, root, (struct form){.cn = cn, .cn_len = sizeof cn - 1});

    examine(&f, INTS(leaf), INTS(root), "good.example", &facts);
    expect(&facts, BIT(CONSTRAINT_VIOLATION) | BIT(NAME_MISMATCH), "NUL");
    ck_assert_str_ne(facts.subject, "CN=good.example"); /* not cut short for the log */
    ck_assert_str_ne(facts.subject, "");
    examine(&f, INTS(leaf), INTS(root), NULL, &facts);
    expect(&facts, BIT(CONSTRAINT_VIOLATION), "NUL");
    forge_free(&f);
}
END_TEST

/* By hand: GnuTLS cuts a name at its NUL when it writes one. */
#define SAN(tag, name)                                                                             \
    "\x30"                                                                                         \
    "\x1c" tag "\x1a" name

static const struct {
    const char *der;
    sp_reason_set observed;
} nul_names[] = {
    {SAN("\x82", "good.example\0.evil.example"), BIT(CONSTRAINT_VIOLATION) | BIT(NAME_MISMATCH)},
    {SAN("\x81", "good@example\0.evil.example"), BIT(CONSTRAINT_VIOLATION) | BIT(NAME_MISMATCH)},
    {SAN("\x86", "http://example\0evil.example"), BIT(CONSTRAINT_VIOLATION) | BIT(NAME_MISMATCH)},
    {SAN("\x82", "good.example.and-an-example"), BIT(NAME_MISMATCH)},
};

START_TEST(a_nul_in_an_alternative_name_fits_no_name)
{
    struct ext ext = {"2.5.29.17", nul_names[_i].der, 30, false};
    struct sp_facts facts;
    struct forge f = {0};
    int root = forge(&f, -1, acme_root);
    int leaf = forge(&f, root, (struct form){.dn = "CN=x", .ext = &ext});

    examine(&f, INTS(leaf), INTS(root), "good.example", &facts);
    expect(&facts, nul_names[_i].observed, NULL);
    forge_free(&f);
}
END_TEST

/* A certificate of a trusted CA's name is a stranger's when one of that very name did sign it. */
START_TEST(only_one_of_the_issuers_name_shows_that_a_borrowed_name_is_a_strangers)
{
    static const struct form plain = {.dn = "CN=leaf", .no_ids = true};
    struct forge f = {.count = 0};
    struct sp_facts facts;
    int trusted = forge(&f, -1, (struct form){.dn = "CN=Root", .ca = true, .no_ids = true});
    int other = forge(&f, -1, (struct form){.dn = "CN=Other", .ca = true, .no_ids = true});
    int twin =
        forge(&f, -1,
              (struct form){.dn = "CN=Root", .ca = true, .no_ids = true, .same_key_as = other + 1});
    int leaf = forge(&f, twin, plain);

    examine(&f, INTS(leaf, other), INTS(trusted), NULL, &facts);
    expect(&facts, BIT(BAD_SIGNATURE), "does not fit the key of its issuer");
    examine(&f, INTS(leaf, twin), INTS(trusted), NULL, &facts);
    expect(&facts, BIT(UNTRUSTED_ISSUER), "has the name of a trusted CA, but another key");
    forge_free(&f);
}
END_TEST

/* NameConstraints with one subtree: permitted or excluded, directoryName O=Acme or a URI. */
static const uint8_t permitted_dn[] = {0x30, 0x17, 0xa0, 0x15, 0x30, 0x13, 0xa4, 0x11, 0x30,
                                       0x0f, 0x31, 0x0d, 0x30, 0x0b, 0x06, 0x03, 0x55, 0x04,
                                       0x0a, 0x0c, 0x04, 'A',  'c',  'm',  'e'};
static const uint8_t excluded_dn[] = {0x30, 0x17, 0xa1, 0x15, 0x30, 0x13, 0xa4, 0x11, 0x30,
                                      0x0f, 0x31, 0x0d, 0x30, 0x0b, 0x06, 0x03, 0x55, 0x04,
                                      0x0a, 0x0c, 0x04, 'A',  'c',  'm',  'e'};
static const uint8_t permitted_uri[] = {0x30, 0x0e, 0xa0, 0x0c, 0x30, 0x0a, 0x86, 0x08,
                                        '.',  'e',  'x',  '.',  'n',  'e',  't',  '.'};
static const uint8_t broken_nc[] = {0x30, 0x05, 0xa0, 0x09, 0x30};

static const struct {
    struct ext ext;
    const char *uri;
    sp_reason_set observed;
    const char *detail;
} constraints[] = {
    {{"2.5.29.30", permitted_dn, sizeof permitted_dn, true},
     NULL,
     BIT(CONSTRAINT_VIOLATION),
     "directory names"},
    {{"2.5.29.30", permitted_dn, sizeof permitted_dn, false},
     NULL,
     BIT(CONSTRAINT_VIOLATION),
     "directory names"},
    {{"2.5.29.30", excluded_dn, sizeof excluded_dn, true},
     NULL,
     BIT(CONSTRAINT_VIOLATION),
     "directory names"},
    {{"2.5.29.30", permitted_uri, sizeof permitted_uri, true},
     "https://x.other.net/",
     BIT(CONSTRAINT_VIOLATION),
     "cannot be checked"},
    {{"2.5.29.30", permitted_uri, sizeof permitted_uri, true}, NULL, 0, NULL},
    {{"2.5.29.30", broken_nc, sizeof broken_nc, true},
     NULL,
     BIT(CONSTRAINT_VIOLATION),
     "cannot be read"},
    {{"1.2.3.4.5", "\x05\x00", 2, true}, NULL, BIT(CONSTRAINT_VIOLATION), NULL},
    {{"1.2.3.4.5", "\x05\x00", 2, false}, NULL, 0, NULL},
};

static void check_constraint(int row, bool in_root)
{
    struct sp_facts facts;
    struct forge f = {0};
    struct form root_form = acme_root;
    struct form mid_form = {.dn = "CN=Acme Issuing,O=Acme", .ca = true};
    int root, mid, leaf;

    if (in_root)
        root_form.ext = &constraints[row].ext;
    else
        mid_form.ext = &constraints[row].ext;
    root = forge(&f, -1, root_form);
    mid = forge(&f, root, mid_form);
    leaf = forge(&f, mid, (struct form){.dn = "CN=alice,O=Acme", .uri = constraints[row].uri});
    examine(&f, INTS(leaf, mid), INTS(root), NULL, &facts);
    expect(&facts, constraints[row].observed, constraints[row].detail);
    forge_free(&f);
}

START_TEST(what_a_ca_limits_and_nobody_can_check_is_refused)
{
    check_constraint(_i, false);
}
END_TEST

START_TEST(constraints_of_the_trusted_root_count_too)
{
    if (strcmp(constraints[_i].ext.oid, "2.5.29.30") == 0)
        check_constraint(_i, true);
}
END_TEST

START_TEST(an_unknown_critical_extension_of_the_leaf_is_refused)
{
    static const struct ext ext = {"1.2.3.4.5", "\x05\x00", 2, true};
    struct sp_facts facts;
    struct forge f = {0};
    int root = forge(&f, -1, acme_root);
    int leaf = forge(&f, root, (struct form){.dn = "CN=alice", .ext = &ext});

    examine(&f, INTS(leaf), INTS(root), NULL, &facts);
    expect(&facts, BIT(CONSTRAINT_VIOLATION), "unknown critical extension"); /* as GnuTLS says it */
    forge_free(&f);
}
END_TEST

START_TEST(a_version_1_root_may_be_trusted_but_a_version_1_intermediate_is_no_ca)
{
    static const struct ext server_only = {
        "2.5.29.37", "\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01", 12, false};
    struct sp_facts facts;
    struct forge f = {0};
    int root = forge(&f, -1, (struct form){.dn = "CN=Old Root", .ca = true, .v1 = true});
    int direct = forge(&f, root, (struct form){.dn = "CN=alice"});
    int mid = forge(&f, root, (struct form){.dn = "CN=Old Mid", .ca = true, .v1 = true});
    int below = forge(&f, mid, (struct form){.dn = "CN=bob"});

    examine(&f, INTS(direct), INTS(root), NULL, &facts);
    expect(&facts, 0, NULL);
    direct = forge(&f, root, (struct form){.dn = "CN=carol", .ext = &server_only});
    examine(&f, INTS(direct), INTS(root), NULL, &facts);
    expect(&facts, BIT(WRONG_PURPOSE), NULL); /* and no more, thoroughly judged */
    examine(&f, INTS(below, mid), INTS(root), NULL, &facts);
    expect(&facts, BIT(CONSTRAINT_VIOLATION), "'CN=Old Mid', which is not a CA");
    forge_free(&f);
}
END_TEST

START_TEST(key_usage_must_fit)
{
    struct sp_facts facts;
    struct forge f = {0};
    int root = forge(&f, -1, acme_root);
    int mid =
        forge(&f, root, (struct form){.dn = "CN=Mid", .ca = true, .usage = GNUTLS_KEY_CRL_SIGN});
    int below = forge(&f, mid, (struct form){.dn = "CN=alice"});
    int leaf = forge(&f, root, (struct form){.dn = "CN=bob", .usage = GNUTLS_KEY_KEY_ENCIPHERMENT});

    examine(&f, INTS(below, mid), INTS(root), NULL, &facts);
    expect(&facts, BIT(CONSTRAINT_VIOLATION), "does not let it sign certificates");
    examine(&f, INTS(leaf), INTS(root), NULL, &facts);
    expect(&facts, BIT(WRONG_PURPOSE), "digitalSignature");
    forge_free(&f);
}
END_TEST

/* --- strangers and look-alikes --- */

START_TEST(a_self_signed_leaf_with_a_valid_chain_as_filler_is_untrusted)
{
    struct sp_facts facts;
    struct forge f = {0};
    int root = forge(&f, -1, acme_root);
    int mid = forge(&f, root, (struct form){.dn = "CN=Acme Issuing,O=Acme", .ca = true});
    int victim = forge(&f, mid, (struct form){.dn = "CN=alice,O=Acme"});
    int fake = forge(&f, -1, (struct form){.dn = "CN=alice,O=Acme"});
    int fake_ca = forge(&f, -1, (struct form){.dn = "CN=mallory", .ca = true});

    examine(&f, INTS(fake, victim, mid), INTS(root), NULL, &facts);
    expect(&facts, BIT(UNTRUSTED_ISSUER), "self-signed");
    examine(&f, INTS(fake, victim, mid, root), INTS(root), NULL, &facts);
    expect(&facts, BIT(UNTRUSTED_ISSUER), "self-signed");
    examine(&f, INTS(fake_ca, victim, mid), INTS(root), NULL, &facts);
    ck_assert(facts.observed & BIT(UNTRUSTED_ISSUER));
    forge_free(&f);
}
END_TEST

/* Whose key identifiers point at the victim, so that only its signature says who issued it. */
START_TEST(a_self_signed_leaf_that_claims_the_victims_key_as_its_issuers_is_untrusted)
{
    struct sp_facts facts;
    struct forge f = {0};
    int root = forge(&f, -1, acme_root);
    int mid = forge(&f, root, (struct form){.dn = "CN=Acme Issuing,O=Acme", .ca = true});
    int victim = forge(&f, mid, (struct form){.dn = "CN=alice,O=Acme"});
    int fake = forge(&f, -1, (struct form){.dn = "CN=alice,O=Acme", .aki_of = victim + 1});
    int fake_root = forge(&f, -1, (struct form){.dn = acme_root.dn, .aki_of = root + 1});

    examine(&f, INTS(fake, victim, mid, root), INTS(root), NULL, &facts);
    expect(&facts, BIT(UNTRUSTED_ISSUER), "self-signed");
    examine(&f, INTS(fake, victim, mid), INTS(mid), NULL, &facts);
    expect(&facts, BIT(UNTRUSTED_ISSUER), "self-signed");
    examine(&f, INTS(fake_root, root), INTS(root), NULL, &facts);
    expect(&facts, BIT(UNTRUSTED_ISSUER), "another key");
    forge_free(&f);
}
END_TEST

START_TEST(a_ca_that_its_former_key_certified_is_climbed_through_not_taken_for_self_signed)
{
    struct sp_facts facts;
    struct forge f = {0};
    struct form issuing = {.dn = "CN=Acme Issuing,O=Acme", .ca = true, .no_ids = true};
    int root = forge(&f, -1, acme_root);
    int old_key = forge(&f, root, issuing);
    int new_key = forge(&f, old_key, issuing);
    int leaf = forge(&f, new_key, (struct form){.dn = "CN=alice,O=Acme", .no_ids = true});

    examine(&f, INTS(leaf, new_key, old_key), INTS(root), NULL, &facts);
    expect(&facts, 0, NULL);
    examine(&f, INTS(leaf, old_key, new_key), INTS(root), NULL, &facts);
    expect(&facts, 0, NULL);
    forge_free(&f);
}
END_TEST

START_TEST(a_leaf_that_signs_another_does_not_make_it_trusted)
{
    struct sp_facts facts;
    struct forge f = {0};
    int root = forge(&f, -1, acme_root);
    int alice = forge(&f, root, (struct form){.dn = "CN=alice,O=Acme"});
    int evil = forge(&f, alice, (struct form){.dn = "CN=admin,O=Acme"});
    int evil_no_ids = forge(&f, alice, (struct form){.dn = "CN=admin,O=Acme", .no_ids = true});

    examine(&f, INTS(evil, alice), INTS(root), NULL, &facts);
    expect(&facts, BIT(CONSTRAINT_VIOLATION), "'CN=alice,O=Acme', which is not a CA");
    examine(&f, INTS(evil_no_ids, alice), INTS(root), NULL, &facts);
    expect(&facts, BIT(CONSTRAINT_VIOLATION), NULL);
    forge_free(&f);
}
END_TEST

START_TEST(a_ca_that_borrows_a_trusted_name_is_untrusted_even_without_key_ids)
{
    struct sp_facts facts;
    struct forge f = {0};
    struct form lookalike = {.dn = acme_root.dn, .ca = true, .no_ids = true};
    int root = forge(&f, -1, lookalike);
    int fake = forge(&f, -1, lookalike);
    int leaf = forge(&f, fake, (struct form){.dn = "CN=alice,O=Acme", .no_ids = true});

    examine(&f, INTS(leaf, fake), INTS(root), NULL, &facts);
    expect(&facts, BIT(UNTRUSTED_ISSUER), "another key");
    /* without the look-alike nobody can tell it from damage */
    examine(&f, INTS(leaf), INTS(root), NULL, &facts);
    expect(&facts, BIT(BAD_SIGNATURE), "does not fit the key");
    /* the look-alike presents itself */
    examine(&f, INTS(fake), INTS(root), NULL, &facts);
    expect(&facts, BIT(UNTRUSTED_ISSUER) | BIT(WRONG_PURPOSE), "another key");
    forge_free(&f);
}
END_TEST

START_TEST(a_damaged_copy_of_a_trusted_name_is_damage_and_not_its_own_issuer)
{
    struct sp_facts facts;
    struct forge f = {0};
    struct form form = {.dn = acme_root.dn, .ca = true, .no_ids = true};
    int root = forge(&f, -1, form);
    int fake = forge(&f, -1, form);

    f.der[fake].data[f.der[fake].size - 1] ^= 1;
    examine(&f, INTS(fake), INTS(root), NULL, &facts);
    expect(&facts, BIT(BAD_SIGNATURE) | BIT(WRONG_PURPOSE), "does not fit the key");
    forge_free(&f);
}
END_TEST

/* In the thorough judgement signatures are verified once more, by hand. */
START_TEST(an_rsa_pss_signature_is_neither_bad_nor_weak)
{
    static const struct ext server_only = {"2.5.29.15", "\x03\x02\x05\x20", 4,
                                           false}; /* keyUsage: keyEncipherment */
    struct sp_facts facts;
    struct forge f = {0};
    int root = forge(&f, -1, (struct form){.dn = "CN=R", .ca = true, .rsa = true});
    int mid =
        forge(&f, root, (struct form){.dn = "CN=M", .ca = true, .path_len_plus_1 = 1, .rsa = true});
    int low = forge(&f, mid, (struct form){.dn = "CN=L", .ca = true});
    int leaf = forge(&f, mid, (struct form){.dn = "CN=alice"});
    int below = forge(&f, low, (struct form){.dn = "CN=bob", .ext = &server_only});

    examine(&f, INTS(leaf, mid), INTS(root), NULL, &facts);
    expect(&facts, 0, NULL);
    examine(&f, INTS(below, low, mid), INTS(root), NULL, &facts);
    expect(&facts, BIT(CONSTRAINT_VIOLATION) | BIT(WRONG_PURPOSE), "allows a path of 0");
    f.der[mid].data[f.der[mid].size - 1] ^= 1;
    examine(&f, INTS(leaf, mid), INTS(root), NULL, &facts);
    expect(&facts, BIT(BAD_SIGNATURE), "'CN=M'");
    forge_free(&f);
}
END_TEST

START_TEST(a_trusted_ca_may_present_itself)
{
    struct sp_facts facts;
    struct forge f = {0};
    struct form form = {.dn = "CN=one machine",
                        .ca = true,
                        .usage = GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_DIGITAL_SIGNATURE};
    int self = forge(&f, -1, form);

    examine(&f, INTS(self), INTS(self), NULL, &facts);
    expect(&facts, 0, NULL);
    form.end = -1;
    self = forge(&f, -1, form);
    examine(&f, INTS(self), INTS(self), NULL, &facts);
    expect(&facts, BIT(EXPIRED), "expired");
    forge_free(&f);
}
END_TEST

START_TEST(a_trusted_intermediate_may_present_itself)
{
    static const struct ext server_only = {
        "2.5.29.37", "\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01", 12, false};
    struct sp_facts facts;
    struct forge f = {0};
    struct form form = {.dn = "CN=Mid",
                        .ca = true,
                        .usage = GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_DIGITAL_SIGNATURE};
    int root = forge(&f, -1, acme_root);
    int mid = forge(&f, root, form);

    examine(&f, INTS(mid), INTS(mid), NULL, &facts);
    expect(&facts, 0, NULL);
    ck_assert_str_eq(facts.serial, "8002"); /* 00 80 02 in DER: the zero is only the sign */
    form.ext = &server_only;
    mid = forge(&f, root, form);
    examine(&f, INTS(mid), INTS(mid), NULL, &facts);
    expect(&facts, BIT(WRONG_PURPOSE), "serverAuth");
    forge_free(&f);
}
END_TEST

/* --- several paths --- */

START_TEST(of_two_roots_with_one_key_the_valid_one_counts)
{
    struct sp_facts facts;
    struct forge f = {0};
    struct form renewed = acme_root;
    struct form old = {.dn = acme_root.dn, .ca = true, .begin = -9 * DAY, .end = -DAY};
    int old_root = forge(&f, -1, old);
    int new_root, leaf;

    renewed.same_key_as = old_root + 1;
    new_root = forge(&f, -1, renewed);
    leaf = forge(&f, old_root, (struct form){.dn = "CN=alice,O=Acme"});
    examine(&f, INTS(leaf), INTS(old_root, new_root), NULL, &facts);
    expect(&facts, 0, NULL);
    examine(&f, INTS(leaf), INTS(new_root, old_root), NULL, &facts);
    expect(&facts, 0, NULL);
    examine(&f, INTS(leaf, old_root), INTS(new_root), NULL, &facts);
    expect(&facts, 0, NULL);
    examine(&f, INTS(leaf), INTS(old_root), NULL, &facts);
    expect(&facts, BIT(EXPIRED), "'CN=Acme Root,O=Acme' expired");
    forge_free(&f);
}
END_TEST

START_TEST(of_two_roots_with_one_name_each_vouches_for_its_own)
{
    struct sp_facts facts;
    struct forge f = {0};
    struct form form = {.dn = acme_root.dn, .ca = true, .no_ids = true};
    int one = forge(&f, -1, form);
    int two = forge(&f, -1, form);
    int of_one = forge(&f, one, (struct form){.dn = "CN=alice", .no_ids = true});
    int of_two = forge(&f, two, (struct form){.dn = "CN=bob", .no_ids = true});

    examine(&f, INTS(of_one), INTS(one, two), NULL, &facts);
    expect(&facts, 0, NULL);
    examine(&f, INTS(of_two), INTS(one, two), NULL, &facts);
    expect(&facts, 0, NULL);
    examine(&f, INTS(of_one), INTS(two), NULL, &facts);
    expect(&facts, BIT(BAD_SIGNATURE), NULL);
    forge_free(&f);
}
END_TEST

/* RFC 4210 4.4: the old key signs the new one under the same name. (Without key identifiers GnuTLS
 * takes the new one for self-signed; that stays refused.) */
START_TEST(a_root_that_rolled_its_key_over_is_followed)
{
    struct sp_facts facts;
    struct forge f = {0};
    int old = forge(&f, -1, acme_root);
    int new_by_old = forge(&f, old, acme_root);
    int leaf = forge(&f, new_by_old, (struct form){.dn = "CN=alice"});

    examine(&f, INTS(leaf, new_by_old), INTS(old), NULL, &facts);
    expect(&facts, 0, NULL);
    examine(&f, INTS(leaf, new_by_old, old), INTS(old), NULL, &facts);
    expect(&facts, 0, NULL);
    examine(&f, INTS(leaf), INTS(new_by_old), NULL, &facts);
    expect(&facts, 0, NULL);
    examine(&f, INTS(leaf), INTS(old), NULL, &facts);
    expect(&facts, BIT(UNTRUSTED_ISSUER), "another key");
    forge_free(&f);
}
END_TEST

START_TEST(when_no_path_is_clean_the_best_one_is_told)
{
    struct sp_facts facts;
    struct forge f = {0};
    int root = forge(&f, -1, acme_root);
    int narrow = forge(&f, -1, (struct form){.dn = "CN=Narrow", .ca = true, .path_len_plus_1 = 1});
    int by_root = forge(&f, root, (struct form){.dn = "CN=Mid", .ca = true});
    int by_narrow =
        forge(&f, narrow, (struct form){.dn = "CN=Mid", .ca = true, .same_key_as = by_root + 1});
    int leaf = forge(&f, by_root, (struct form){.dn = "CN=alice", .end = -1});

    examine(&f, INTS(leaf, by_root, by_narrow), INTS(root, narrow), NULL, &facts);
    expect(&facts, BIT(EXPIRED), NULL);
    ck_assert_str_eq(facts.path,
                     "CN=alice" SP_PATH_STEP "CN=Mid" SP_PATH_STEP "CN=Acme Root,O=Acme");
    ck_assert_uint_eq(facts.paths_tried, 2);
    examine(&f, INTS(leaf, by_narrow, by_root), INTS(root, narrow), NULL, &facts);
    expect(&facts, BIT(EXPIRED), NULL);
    ck_assert_str_eq(facts.path,
                     "CN=alice" SP_PATH_STEP "CN=Mid" SP_PATH_STEP "CN=Acme Root,O=Acme");
    examine(&f, INTS(leaf, by_narrow), INTS(root, narrow), NULL, &facts);
    expect(&facts, BIT(EXPIRED) | BIT(CONSTRAINT_VIOLATION), "allows a path of 0");
    ck_assert_str_eq(facts.path, "CN=alice" SP_PATH_STEP "CN=Mid" SP_PATH_STEP "CN=Narrow");
    forge_free(&f);
}
END_TEST

START_TEST(a_cross_signed_intermediate_is_followed_to_the_root_that_holds)
{
    struct sp_facts facts;
    struct forge f = {0};
    int gone = forge(&f, -1, (struct form){.dn = "CN=Gone", .ca = true, .end = -1});
    int root = forge(&f, -1, acme_root);
    int by_gone = forge(&f, gone, (struct form){.dn = "CN=Mid", .ca = true});
    int by_root =
        forge(&f, root, (struct form){.dn = "CN=Mid", .ca = true, .same_key_as = by_gone + 1});
    int leaf = forge(&f, by_gone, (struct form){.dn = "CN=alice"});

    examine(&f, INTS(leaf, by_gone, by_root), INTS(gone, root), NULL, &facts);
    expect(&facts, 0, NULL);
    examine(&f, INTS(leaf, by_root, by_gone), INTS(gone, root), NULL, &facts);
    expect(&facts, 0, NULL);
    examine(&f, INTS(leaf, by_gone, by_root), INTS(root), NULL, &facts);
    expect(&facts, 0, NULL);
    examine(&f, INTS(leaf, by_gone), INTS(gone, root), NULL, &facts);
    expect(&facts, BIT(EXPIRED), "'CN=Gone' expired");
    forge_free(&f);
}
END_TEST

START_TEST(copies_of_one_certificate_do_not_use_up_the_search)
{
    struct sp_facts facts;
    struct forge f = {0};
    int gone = forge(&f, -1, (struct form){.dn = "CN=Gone", .ca = true, .end = -1});
    int root = forge(&f, -1, acme_root);
    int by_gone = forge(&f, gone, (struct form){.dn = "CN=Mid", .ca = true});
    int by_root =
        forge(&f, root, (struct form){.dn = "CN=Mid", .ca = true, .same_key_as = by_gone + 1});
    int leaf = forge(&f, by_gone, (struct form){.dn = "CN=alice"});

    examine(&f, INTS(leaf, by_gone, by_gone, by_gone, by_gone, by_gone, by_gone, by_gone, by_root),
            INTS(gone, root), NULL, &facts);
    expect(&facts, 0, NULL);
    forge_free(&f);
}
END_TEST

/* Whether the verdict may be kept without asking again as long as all is valid. */
START_TEST(only_a_first_path_without_fault_is_steady)
{
    struct sp_facts facts;
    struct forge f = {0};
    int gone = forge(&f, -1, (struct form){.dn = "CN=Gone", .ca = true, .end = -1});
    int root = forge(&f, -1, acme_root);
    int by_gone = forge(&f, gone, (struct form){.dn = "CN=Mid", .ca = true});
    int by_root =
        forge(&f, root, (struct form){.dn = "CN=Mid", .ca = true, .same_key_as = by_gone + 1});
    int leaf = forge(&f, by_gone, (struct form){.dn = "CN=alice"});
    int late = forge(&f, by_gone, (struct form){.dn = "CN=late", .end = -1});

    examine(&f, INTS(leaf, by_root), INTS(root), NULL, &facts);
    expect(&facts, 0, NULL);
    ck_assert(facts.steady);
    examine(&f, INTS(late, by_root), INTS(root), NULL, &facts);
    expect(&facts, BIT(EXPIRED), NULL);
    ck_assert(!facts.steady);
    examine(&f, INTS(leaf, by_gone, by_root), INTS(gone, root), NULL, &facts);
    expect(&facts, 0, NULL);
    ck_assert(!facts.steady);
    examine(&f, INTS(leaf), INTS(root), NULL, &facts);
    ck_assert(facts.observed && !facts.steady);
    forge_free(&f);
}
END_TEST

/* What was sent (ends with -1), with what is remembered of issuers, for `asked`, where purpose and
 * min_key_bits are. Returns what is observed. */
static sp_reason_set examine_asked(struct sp_tls_uppers *uppers, const struct forge *f,
                                   const int *sent, int root, struct sp_chain_query asked)
{
    struct sp_chain_query query = asked;
    struct sp_chain chain = {.count = 0};
    struct sp_tls_trust *trust = trust_of(f, &root, 1);
    struct sp_facts facts;

    for (; sent[chain.count] >= 0; chain.count++)
        chain.certs[chain.count] =
            (struct sp_bytes){f->der[sent[chain.count]].data, f->der[sent[chain.count]].size};

    query.now = f->now;
    query.uppers = uppers;
    query.trust = trust;
    sp_chain_examine(&chain, &query, &facts);
    sp_tls_trust_unref(trust);
    return facts.observed;
}

static sp_reason_set examine_sent(struct sp_tls_uppers *uppers, const struct forge *f,
                                  const int *sent, int root)
{
    return examine_asked(uppers, f, sent, root,
                         (struct sp_chain_query){.purpose = SP_PURPOSE_CLIENT});
}

/* A leaf below `mid` below `root`. */
static sp_reason_set examine_with(struct sp_tls_uppers *uppers, const struct forge *f, int leaf,
                                  int mid, int root)
{
    return examine_sent(uppers, f, INTS(leaf, mid), root);
}

static bool is_parsed(const struct sp_tls_uppers *uppers, const struct forge *f, int i)
{
    return sp_tls_upper_parsed(uppers, f->der[i].data, f->der[i].size) != NULL;
}

static bool is_known(const struct sp_tls_uppers *uppers, const struct forge *f, int mid, int root)
{
    const struct sp_chain_query query = {.purpose = SP_PURPOSE_CLIENT};
    gnutls_x509_crt_t upper[] = {f->crt[mid], f->crt[root]};
    uint8_t key[SP_TLS_UPPER_KEY];

    ck_assert(sp_tls_upper_key(upper, 2, &query, key));
    return sp_tls_upper_held(uppers, key);
}

START_TEST(issuers_that_held_above_one_leaf_are_known_and_vouch_for_no_forgery)
{
    static const struct form mid_form = {.dn = "CN=Mid,O=Acme", .ca = true, .no_ids = true};
    static const struct form leaf_form = {.dn = "CN=leaf", .no_ids = true};
    struct sp_tls_uppers *uppers = sp_tls_uppers_new();
    struct forge f = {.count = 0};
    int root = forge(&f, -1, acme_root);
    int other_root = forge(&f, -1, acme_root);
    int mid = forge(&f, root, mid_form);
    int stranger = forge(&f, -1, mid_form); /* the same name, another key */
    int first = forge(&f, mid, leaf_form);
    int second = forge(&f, mid, leaf_form);
    int forged = forge(&f, stranger, leaf_form);
    int server = forge(&f, mid, (struct form){.dn = "CN=ca", .ca = true, .no_ids = true});

    ck_assert(examine_with(uppers, &f, forged, mid, root) & BIT(BAD_SIGNATURE));
    ck_assert(!is_known(uppers, &f, mid, root));
    ck_assert(!is_parsed(uppers, &f, mid));
    ck_assert_uint_eq(examine_with(uppers, &f, first, mid, root), 0);
    ck_assert(is_known(uppers, &f, mid, root));
    ck_assert(is_parsed(uppers, &f, mid));
    ck_assert(!is_parsed(uppers, &f, first) && !is_parsed(uppers, &f, root));
    for (unsigned i = 0; i < f.der[mid].size; i++) { /* not another one, at the same place or not */
        f.der[mid].data[i] ^= 1;
        ck_assert(!is_parsed(uppers, &f, mid));
        f.der[mid].data[i] ^= 1;
    }
    ck_assert(!is_known(uppers, &f, mid, other_root));
    ck_assert_uint_eq(examine_with(uppers, &f, second, mid, root), 0);
    ck_assert(examine_with(uppers, &f, forged, mid, root) & BIT(BAD_SIGNATURE));
    ck_assert(examine_with(uppers, &f, server, mid, root) & BIT(WRONG_PURPOSE));
    ck_assert_uint_ne(examine_with(uppers, &f, second, mid, other_root), 0);
    ck_assert_uint_ne(examine_with(uppers, &f, second, stranger, root), 0);
    sp_tls_uppers_free(uppers);
    forge_free(&f);
}
END_TEST

/* Each question is put twice, and the other one in between, so that each finds the answer to the
 * other one remembered. */
START_TEST(issuers_are_known_for_what_was_asked_of_them)
{
    static const uint8_t client_only[] = "\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02";
    static const struct ext eku = {"2.5.29.37", client_only, sizeof client_only - 1, false};
    static const struct {
        struct sp_chain_query asked;
        sp_reason_set observed;
    } rows[] = {
        {{.purpose = SP_PURPOSE_CLIENT}, 0},
        {{.purpose = SP_PURPOSE_SERVER}, BIT(WRONG_PURPOSE)},
        {{.purpose = SP_PURPOSE_CLIENT, .min_key_bits = 2048}, 0},
        {{.purpose = SP_PURPOSE_CLIENT, .min_key_bits = 3072}, BIT(WEAK_ALGORITHM)},
    };
    struct sp_tls_uppers *uppers = sp_tls_uppers_new();
    struct forge f = {.count = 0};
    int root = forge(&f, -1, acme_root);
    int mid = forge(&f, root, (struct form){.dn = "CN=Mid", .ca = true, .rsa = true, .ext = &eku});
    int leaf = forge(&f, mid, (struct form){.dn = "CN=leaf"});

    for (size_t i = 0; i < 2 * sizeof rows / sizeof rows[0]; i++) {
        size_t row = i % (sizeof rows / sizeof rows[0]);

        ck_assert_uint_eq(examine_asked(uppers, &f, INTS(leaf, mid), root, rows[row].asked),
                          rows[row].observed);
    }
    sp_tls_uppers_free(uppers);
    forge_free(&f);
}
END_TEST

START_TEST(a_weak_leaf_below_known_issuers_is_weak)
{
    const struct sp_chain_query asked = {.purpose = SP_PURPOSE_CLIENT, .min_key_bits = 3072};
    struct sp_tls_uppers *uppers = sp_tls_uppers_new();
    struct forge f = {.count = 0};
    int root = forge(&f, -1, acme_root);
    int mid = forge(&f, root, (struct form){.dn = "CN=Mid", .ca = true});
    int strong = forge(&f, mid, (struct form){.dn = "CN=strong"});
    int weak = forge(&f, mid, (struct form){.dn = "CN=weak", .rsa = true});

    ck_assert_uint_eq(examine_asked(uppers, &f, INTS(strong, mid), root, asked), 0);
    ck_assert_uint_eq(examine_asked(uppers, &f, INTS(weak, mid), root, asked), BIT(WEAK_ALGORITHM));
    sp_tls_uppers_free(uppers);
    forge_free(&f);
}
END_TEST

/* A leaf that is refused, and issuers that are past their time, make nothing known; issuers that
 * are known do not outlive their time. */
START_TEST(issuers_are_known_from_paths_without_fault_and_judged_by_the_time_again)
{
    struct sp_tls_uppers *uppers = sp_tls_uppers_new();
    struct forge f = {.count = 0};
    int root = forge(&f, -1, acme_root);
    int mid = forge(&f, root, (struct form){.dn = "CN=Mid", .ca = true, .end = DAY / 2});
    int late = forge(&f, mid, (struct form){.dn = "CN=late", .end = -1});
    int leaf = forge(&f, mid, (struct form){.dn = "CN=leaf"});

    ck_assert_uint_eq(examine_with(uppers, &f, late, mid, root), BIT(EXPIRED));
    ck_assert(!is_known(uppers, &f, mid, root));
    ck_assert_uint_eq(examine_with(uppers, &f, leaf, mid, root), 0);
    ck_assert(is_known(uppers, &f, mid, root));
    ck_assert_uint_eq(examine_with(uppers, &f, late, mid, root), BIT(EXPIRED));
    f.now += DAY / 2 + 1;
    ck_assert_uint_eq(examine_with(uppers, &f, leaf, mid, root), BIT(EXPIRED));
    sp_tls_uppers_free(uppers);
    forge_free(&f);
}
END_TEST

START_TEST(names_are_kept_by_their_bytes)
{
    struct sp_tls_uppers *uppers = sp_tls_uppers_new();
    char buf[8] = "before";

    ck_assert(!sp_tls_upper_name(uppers, (const uint8_t *)"name", 4, buf, sizeof buf));
    for (unsigned char c = 0; c < 200; c++) { /* more than there are places */
        uint8_t dn[] = {'n', c};

        sp_tls_upper_keep_name(uppers, dn, 2, "other");
        sp_tls_upper_keep_name(uppers, dn, 2, "CN=1234");
        ck_assert(!sp_tls_upper_name(uppers, dn, 1, buf, sizeof buf));
        ck_assert(!sp_tls_upper_name(uppers, dn, 2, buf, sizeof buf - 1)); /* nor a part of it */
        ck_assert_str_eq(buf, "before");
        ck_assert(sp_tls_upper_name(uppers, dn, 2, buf, sizeof buf));
        ck_assert_str_eq(buf, "CN=1234");
        strcpy(buf, "before");
        dn[0] ^= 1;
        ck_assert(!sp_tls_upper_name(uppers, dn, 2, buf, sizeof buf));
    }
    sp_tls_uppers_free(uppers);
}
END_TEST

START_TEST(what_was_sent_beside_the_path_is_not_kept_parsed)
{
    struct sp_tls_uppers *uppers = sp_tls_uppers_new();
    struct forge f = {.count = 0};
    int root = forge(&f, -1, acme_root);
    int mid = forge(&f, root, (struct form){.dn = "CN=Mid", .ca = true});
    int stranger = forge(&f, root, (struct form){.dn = "CN=Stranger", .ca = true});
    int leaf = forge(&f, mid, (struct form){.dn = "CN=leaf"});

    ck_assert_uint_eq(examine_sent(uppers, &f, INTS(leaf, stranger, mid), root), 0);
    ck_assert(is_parsed(uppers, &f, mid));
    ck_assert(!is_parsed(uppers, &f, stranger));
    sp_tls_uppers_free(uppers);
    forge_free(&f);
}
END_TEST

/* One that is kept may be in use for the very chain whose other issuer takes its place. */
START_TEST(a_kept_issuer_gives_way_to_another_of_the_same_chain)
{
    struct sp_tls_uppers *uppers = sp_tls_uppers_new();
    struct forge f = {.count = 0};
    int root = forge(&f, -1, acme_root);
    int upper = forge(&f, root, (struct form){.dn = "CN=Upper", .ca = true});
    int first = forge(&f, upper, (struct form){.dn = "CN=first"});
    int tries = 0;

    do {
        int lower = forge(&f, upper, (struct form){.dn = "CN=Lower", .ca = true});
        int leaf = forge(&f, lower, (struct form){.dn = "CN=leaf"});

        ck_assert_int_lt(tries++, 2000); /* one in 64 has the same place */
        ck_assert_uint_eq(examine_with(uppers, &f, first, upper, root), 0);
        ck_assert(is_parsed(uppers, &f, upper));
        ck_assert_uint_eq(examine_sent(uppers, &f, INTS(leaf, lower, upper), root), 0);
        ck_assert(is_parsed(uppers, &f, lower));
        unforge(&f);
        unforge(&f);
    } while (is_parsed(uppers, &f, upper));
    sp_tls_uppers_free(uppers);
    forge_free(&f);
}
END_TEST

/* What is known of the issuers must not lose what they, or the root, say about the leaf. */
START_TEST(issuers_with_name_constraints_are_judged_each_time)
{
    static const uint8_t permitted[] = "\x30\x12\xa0\x10\x30\x0e\x82\x0cgood.example";
    static const uint8_t good[] = "\x30\x0e\x82\x0cgood.example";
    static const uint8_t evil[] = "\x30\x0e\x82\x0c"
                                  "evil.example";
    static const struct ext limit = {"2.5.29.30", permitted, sizeof permitted - 1, true};
    static const struct ext names[] = {{"2.5.29.17", good, sizeof good - 1, false},
                                       {"2.5.29.17", evil, sizeof evil - 1, false}};
    struct sp_tls_uppers *uppers = sp_tls_uppers_new();
    struct forge f = {.count = 0};
    bool by_root = _i;
    int root =
        forge(&f, -1, (struct form){.dn = "CN=Root", .ca = true, .ext = by_root ? &limit : NULL});
    int mid =
        forge(&f, root, (struct form){.dn = "CN=Mid", .ca = true, .ext = by_root ? NULL : &limit});
    int inside = forge(&f, mid, (struct form){.dn = "CN=in", .ext = &names[0]});
    int outside = forge(&f, mid, (struct form){.dn = "CN=out", .ext = &names[1]});

    ck_assert_uint_eq(examine_with(uppers, &f, inside, mid, root), 0);
    ck_assert(!is_known(uppers, &f, mid, root));
    ck_assert_uint_eq(examine_with(uppers, &f, outside, mid, root), BIT(CONSTRAINT_VIOLATION));
    sp_tls_uppers_free(uppers);
    forge_free(&f);
}
END_TEST

START_TEST(issuers_that_exceed_a_path_length_are_never_known)
{
    struct sp_tls_uppers *uppers = sp_tls_uppers_new();
    struct forge f = {.count = 0};
    int narrow = forge(&f, -1, (struct form){.dn = "CN=Narrow", .ca = true, .path_len_plus_1 = 1});
    int mid = forge(&f, narrow, (struct form){.dn = "CN=Mid", .ca = true});
    int leaf = forge(&f, mid, (struct form){.dn = "CN=leaf"});

    for (int i = 0; i < 2; i++) {
        ck_assert(examine_with(uppers, &f, leaf, mid, narrow) & BIT(CONSTRAINT_VIOLATION));
        ck_assert(!is_known(uppers, &f, mid, narrow));
    }
    sp_tls_uppers_free(uppers);
    forge_free(&f);
}
END_TEST

START_TEST(certificates_that_all_name_each_other_cost_little)
{
    struct sp_facts facts;
    struct forge f = {0};
    struct form form = {.dn = "CN=Same", .ca = true, .no_ids = true};
    int root = forge(&f, -1, acme_root);
    int sent[11], other[11];
    struct timespec begin, end;

    for (int i = 9; i >= 0; i--) /* each signed by another of the same name */
        sent[i] = forge(&f, i == 9 ? -1 : sent[i + 1], form);
    sent[10] = -1;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
    examine(&f, sent, INTS(root), NULL, &facts);
    ck_assert(facts.observed & BIT(UNTRUSTED_ISSUER));
    /* all of them name a trusted CA: every way leads there */
    form.dn = acme_root.dn;
    for (int i = 9; i >= 0; i--)
        other[i] = forge(&f, i == 9 ? -1 : other[i + 1], form);
    other[10] = -1;
    examine(&f, other, INTS(root), NULL, &facts);
    ck_assert(facts.observed & (BIT(UNTRUSTED_ISSUER) | BIT(BAD_SIGNATURE)));
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    /* unbounded it would be ten factorial walks; sanitizers are slow, so the bound is wide */
    ck_assert_int_lt(end.tv_sec - begin.tv_sec, 3);
    forge_free(&f);
}
END_TEST

START_TEST(a_strangers_key_that_is_costly_to_use_is_not_used)
{
    struct sp_facts facts;
    struct forge f = {0};
    struct form form = {.dn = "CN=Costly", .ca = true, .rsa = true};
    int root = forge(&f, -1, acme_root);
    int usual = forge(&f, -1, form);
    int leaf = forge(&f, usual, (struct form){.dn = "CN=alice"});

    examine(&f, INTS(leaf, usual), INTS(root), NULL, &facts);
    expect(&facts, BIT(UNTRUSTED_ISSUER), NULL);
    form.costly_e = true;
    usual = forge(&f, -1, form);
    leaf = forge(&f, usual, (struct form){.dn = "CN=alice"});
    examine(&f, INTS(leaf, usual), INTS(root), NULL, &facts);
    expect(&facts, BIT(UNTRUSTED_ISSUER) | BIT(BAD_SIGNATURE), NULL);
    forge_free(&f);
}
END_TEST

START_TEST(a_missing_issuer_that_the_key_identifier_places_under_a_trusted_ca_is_kin)
{
    struct sp_facts facts;
    struct forge f = {0};
    int root = forge(&f, -1, (struct form){.dn = "CN=Initech Root", .ca = true});
    int mid = forge(&f, root, (struct form){.dn = "CN=Unlike", .ca = true});
    struct form form = {.dn = "CN=alice", .no_ids = true, .aki_issuer = "CN=Initech Root"};
    int leaf = forge(&f, mid, form);

    examine(&f, INTS(leaf), INTS(root), NULL, &facts);
    expect(&facts, BIT(MISSING_INTERMEDIATE), "'CN=Unlike'");
    form.aki_issuer = "CN=Umbrella Root";
    leaf = forge(&f, mid, form);
    examine(&f, INTS(leaf), INTS(root), NULL, &facts);
    expect(&facts, BIT(UNTRUSTED_ISSUER), "'CN=Unlike'");
    forge_free(&f);
}
END_TEST

static Suite *path_suite(void)
{
    Suite *suite = suite_create("tls_path");
    TCase *tc = tcase_create("hostile");
    int rows = (int)(sizeof constraints / sizeof constraints[0]);

    tcase_add_test(tc, a_nul_in_the_common_name_is_refused);
    tcase_add_loop_test(tc, a_nul_in_an_alternative_name_fits_no_name, 0,
                        sizeof nul_names / sizeof nul_names[0]);
    tcase_add_loop_test(tc, what_a_ca_limits_and_nobody_can_check_is_refused, 0, rows);
    tcase_add_loop_test(tc, constraints_of_the_trusted_root_count_too, 0, rows);
    tcase_add_test(tc, an_unknown_critical_extension_of_the_leaf_is_refused);
    tcase_add_test(tc, a_version_1_root_may_be_trusted_but_a_version_1_intermediate_is_no_ca);
    tcase_add_test(tc, key_usage_must_fit);
    tcase_add_test(tc, a_self_signed_leaf_with_a_valid_chain_as_filler_is_untrusted);
    tcase_add_test(tc, a_self_signed_leaf_that_claims_the_victims_key_as_its_issuers_is_untrusted);
    tcase_add_test(tc,
                   a_ca_that_its_former_key_certified_is_climbed_through_not_taken_for_self_signed);
    tcase_add_test(tc, a_leaf_that_signs_another_does_not_make_it_trusted);
    tcase_add_test(tc, only_one_of_the_issuers_name_shows_that_a_borrowed_name_is_a_strangers);
    tcase_add_test(tc, a_ca_that_borrows_a_trusted_name_is_untrusted_even_without_key_ids);
    tcase_add_test(tc, a_damaged_copy_of_a_trusted_name_is_damage_and_not_its_own_issuer);
    tcase_add_test(tc, an_rsa_pss_signature_is_neither_bad_nor_weak);
    tcase_add_test(tc, a_trusted_ca_may_present_itself);
    tcase_add_test(tc, a_trusted_intermediate_may_present_itself);
    suite_add_tcase(suite, tc);
    tc = tcase_create("paths");
    tcase_add_test(tc, of_two_roots_with_one_key_the_valid_one_counts);
    tcase_add_test(tc, of_two_roots_with_one_name_each_vouches_for_its_own);
    tcase_add_test(tc, a_root_that_rolled_its_key_over_is_followed);
    tcase_add_test(tc, when_no_path_is_clean_the_best_one_is_told);
    tcase_add_test(tc, a_cross_signed_intermediate_is_followed_to_the_root_that_holds);
    tcase_add_test(tc, copies_of_one_certificate_do_not_use_up_the_search);
    tcase_add_test(tc, only_a_first_path_without_fault_is_steady);
    tcase_add_test(tc, issuers_that_held_above_one_leaf_are_known_and_vouch_for_no_forgery);
    tcase_add_test(tc, issuers_are_known_for_what_was_asked_of_them);
    tcase_add_test(tc, a_weak_leaf_below_known_issuers_is_weak);
    tcase_add_test(tc, issuers_are_known_from_paths_without_fault_and_judged_by_the_time_again);
    tcase_add_test(tc, names_are_kept_by_their_bytes);
    tcase_add_test(tc, what_was_sent_beside_the_path_is_not_kept_parsed);
    tcase_add_test(tc, a_kept_issuer_gives_way_to_another_of_the_same_chain);
    tcase_add_loop_test(tc, issuers_with_name_constraints_are_judged_each_time, 0, 2);
    tcase_add_test(tc, issuers_that_exceed_a_path_length_are_never_known);
    tcase_add_test(tc, certificates_that_all_name_each_other_cost_little);
    tcase_add_test(tc, a_strangers_key_that_is_costly_to_use_is_not_used);
    tcase_add_test(tc, a_missing_issuer_that_the_key_identifier_places_under_a_trusted_ca_is_kin);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(path_suite());
    int failed;

    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
