#include "common/tls_chain.h"

#include "common/tls_trust.h"
#include "common/tls_upper.h"
#include "tests/support/forge.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BIT(reason) SP_REASON_BIT(SP_REASON_##reason)
#define DAY         FORGE_DAY

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
    struct sp_chain chain;
    struct sp_tls_trust *trust;
    size_t count = 0;

    while (trusted[count] >= 0)
        count++;
    query.trust = trust = forge_trust(f, trusted, count);
    forge_chain(f, sent, &chain);
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

static const struct forge_form acme_root = {.dn = "CN=Acme Root,O=Acme", .ca = true};

START_TEST(a_nul_in_the_common_name_is_refused)
{
    static const char cn[] = "good.example\0.evil.example";
    struct sp_facts facts;
    struct forge f = {0};
    int root = forge_cert(&f, -1, acme_root);
    int leaf = forge_cert(&f, root, (struct forge_form){.cn = cn, .cn_len = sizeof cn - 1});

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
    struct forge_ext ext = {"2.5.29.17", nul_names[_i].der, 30, false};
    struct sp_facts facts;
    struct forge f = {0};
    int root = forge_cert(&f, -1, acme_root);
    int leaf = forge_cert(&f, root, (struct forge_form){.dn = "CN=x", .ext = &ext});

    examine(&f, INTS(leaf), INTS(root), "good.example", &facts);
    expect(&facts, nul_names[_i].observed, NULL);
    forge_free(&f);
}
END_TEST

/* A certificate of a trusted CA's name is a stranger's when one of that very name did sign it. */
START_TEST(only_one_of_the_issuers_name_shows_that_a_borrowed_name_is_a_strangers)
{
    static const struct forge_form plain = {.dn = "CN=leaf", .no_ids = true};
    struct forge f = {.count = 0};
    struct sp_facts facts;
    int trusted =
        forge_cert(&f, -1, (struct forge_form){.dn = "CN=Root", .ca = true, .no_ids = true});
    int other =
        forge_cert(&f, -1, (struct forge_form){.dn = "CN=Other", .ca = true, .no_ids = true});
    int twin = forge_cert(
        &f, -1,
        (struct forge_form){.dn = "CN=Root", .ca = true, .no_ids = true, .same_key_as = other + 1});
    int leaf = forge_cert(&f, twin, plain);

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
    struct forge_ext ext;
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
    struct forge_form root_form = acme_root;
    struct forge_form mid_form = {.dn = "CN=Acme Issuing,O=Acme", .ca = true};
    int root, mid, leaf;

    if (in_root)
        root_form.ext = &constraints[row].ext;
    else
        mid_form.ext = &constraints[row].ext;
    root = forge_cert(&f, -1, root_form);
    mid = forge_cert(&f, root, mid_form);
    leaf = forge_cert(&f, mid,
                      (struct forge_form){.dn = "CN=alice,O=Acme", .uri = constraints[row].uri});
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
    static const struct forge_ext ext = {"1.2.3.4.5", "\x05\x00", 2, true};
    struct sp_facts facts;
    struct forge f = {0};
    int root = forge_cert(&f, -1, acme_root);
    int leaf = forge_cert(&f, root, (struct forge_form){.dn = "CN=alice", .ext = &ext});

    examine(&f, INTS(leaf), INTS(root), NULL, &facts);
    expect(&facts, BIT(CONSTRAINT_VIOLATION), "unknown critical extension"); /* as GnuTLS says it */
    forge_free(&f);
}
END_TEST

/* A tenant may make an exception for the one, and gets none for the other with it. */
START_TEST(a_wrong_purpose_explains_no_unknown_critical_extension)
{
    static const struct forge_ext ext = {"1.2.3.4.5", "\x05\x00", 2, true};
    struct sp_facts facts;
    struct forge f = {0};
    int root = forge_cert(&f, -1, acme_root);
    int leaf = forge_cert(
        &f, root,
        (struct forge_form){.dn = "CN=alice", .usage = GNUTLS_KEY_KEY_ENCIPHERMENT, .ext = &ext});

    examine(&f, INTS(leaf), INTS(root), NULL, &facts);
    expect(&facts, BIT(WRONG_PURPOSE) | BIT(CONSTRAINT_VIOLATION), NULL);
    forge_free(&f);
}
END_TEST

START_TEST(a_version_1_root_may_be_trusted_but_a_version_1_intermediate_is_no_ca)
{
    static const struct forge_ext server_only = {
        "2.5.29.37", "\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01", 12, false};
    struct sp_facts facts;
    struct forge f = {0};
    int root = forge_cert(&f, -1, (struct forge_form){.dn = "CN=Old Root", .ca = true, .v1 = true});
    int direct = forge_cert(&f, root, (struct forge_form){.dn = "CN=alice"});
    int mid = forge_cert(&f, root, (struct forge_form){.dn = "CN=Old Mid", .ca = true, .v1 = true});
    int below = forge_cert(&f, mid, (struct forge_form){.dn = "CN=bob"});

    examine(&f, INTS(direct), INTS(root), NULL, &facts);
    expect(&facts, 0, NULL);
    direct = forge_cert(&f, root, (struct forge_form){.dn = "CN=carol", .ext = &server_only});
    examine(&f, INTS(direct), INTS(root), NULL, &facts);
    expect(&facts, BIT(WRONG_PURPOSE), NULL); /* and no more, thoroughly judged */
    examine(&f, INTS(below, mid), INTS(root), NULL, &facts);
    expect(&facts, BIT(CONSTRAINT_VIOLATION), "'CN=Old Mid', which is not a CA");
    forge_free(&f);
}
END_TEST

START_TEST(a_purpose_that_cannot_be_read_grants_nothing)
{
    static const struct forge_ext garbage = {"2.5.29.37", "\x05\x00", 2, false};
    struct sp_facts facts;
    struct forge f = {0};
    int root = forge_cert(&f, -1, acme_root);
    int mid =
        forge_cert(&f, root, (struct forge_form){.dn = "CN=Mid", .ca = true, .ext = &garbage});
    int leaf = forge_cert(&f, root, (struct forge_form){.dn = "CN=alice", .ext = &garbage});
    int below = forge_cert(&f, mid, (struct forge_form){.dn = "CN=bob"});

    examine(&f, INTS(leaf), INTS(root), NULL, &facts);
    expect(&facts, BIT(WRONG_PURPOSE), "extended key usage is unreadable, clientAuth is wanted");
    examine(&f, INTS(below, mid), INTS(root), NULL, &facts);
    expect(&facts, BIT(WRONG_PURPOSE), "extended key usage of the CA 'CN=Mid' is unreadable");
    forge_free(&f);
}
END_TEST

START_TEST(key_usage_must_fit)
{
    struct sp_facts facts;
    struct forge f = {0};
    int root = forge_cert(&f, -1, acme_root);
    int mid = forge_cert(
        &f, root, (struct forge_form){.dn = "CN=Mid", .ca = true, .usage = GNUTLS_KEY_CRL_SIGN});
    int below = forge_cert(&f, mid, (struct forge_form){.dn = "CN=alice"});
    int leaf = forge_cert(
        &f, root, (struct forge_form){.dn = "CN=bob", .usage = GNUTLS_KEY_KEY_ENCIPHERMENT});

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
    int root = forge_cert(&f, -1, acme_root);
    int mid = forge_cert(&f, root, (struct forge_form){.dn = "CN=Acme Issuing,O=Acme", .ca = true});
    int victim = forge_cert(&f, mid, (struct forge_form){.dn = "CN=alice,O=Acme"});
    int fake = forge_cert(&f, -1, (struct forge_form){.dn = "CN=alice,O=Acme"});
    int fake_ca = forge_cert(&f, -1, (struct forge_form){.dn = "CN=mallory", .ca = true});

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
    int root = forge_cert(&f, -1, acme_root);
    int mid = forge_cert(&f, root, (struct forge_form){.dn = "CN=Acme Issuing,O=Acme", .ca = true});
    int victim = forge_cert(&f, mid, (struct forge_form){.dn = "CN=alice,O=Acme"});
    int fake =
        forge_cert(&f, -1, (struct forge_form){.dn = "CN=alice,O=Acme", .aki_of = victim + 1});
    int fake_root = forge_cert(&f, -1, (struct forge_form){.dn = acme_root.dn, .aki_of = root + 1});

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
    struct forge_form issuing = {.dn = "CN=Acme Issuing,O=Acme", .ca = true, .no_ids = true};
    int root = forge_cert(&f, -1, acme_root);
    int old_key = forge_cert(&f, root, issuing);
    int new_key = forge_cert(&f, old_key, issuing);
    int leaf =
        forge_cert(&f, new_key, (struct forge_form){.dn = "CN=alice,O=Acme", .no_ids = true});

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
    int root = forge_cert(&f, -1, acme_root);
    int alice = forge_cert(&f, root, (struct forge_form){.dn = "CN=alice,O=Acme"});
    int evil = forge_cert(&f, alice, (struct forge_form){.dn = "CN=admin,O=Acme"});
    int evil_no_ids =
        forge_cert(&f, alice, (struct forge_form){.dn = "CN=admin,O=Acme", .no_ids = true});

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
    struct forge_form lookalike = {.dn = acme_root.dn, .ca = true, .no_ids = true};
    int root = forge_cert(&f, -1, lookalike);
    int fake = forge_cert(&f, -1, lookalike);
    int leaf = forge_cert(&f, fake, (struct forge_form){.dn = "CN=alice,O=Acme", .no_ids = true});

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
    struct forge_form form = {.dn = acme_root.dn, .ca = true, .no_ids = true};
    int root = forge_cert(&f, -1, form);
    int fake = forge_cert(&f, -1, form);

    f.der[fake].data[f.der[fake].size - 1] ^= 1;
    examine(&f, INTS(fake), INTS(root), NULL, &facts);
    expect(&facts, BIT(BAD_SIGNATURE) | BIT(WRONG_PURPOSE), "does not fit the key");
    forge_free(&f);
}
END_TEST

/* In the thorough judgement signatures are verified once more, by hand. */
START_TEST(an_rsa_pss_signature_is_neither_bad_nor_weak)
{
    static const struct forge_ext server_only = {"2.5.29.15", "\x03\x02\x05\x20", 4,
                                                 false}; /* keyUsage: keyEncipherment */
    struct sp_facts facts;
    struct forge f = {0};
    int root = forge_cert(&f, -1, (struct forge_form){.dn = "CN=R", .ca = true, .rsa = true});
    int mid = forge_cert(
        &f, root, (struct forge_form){.dn = "CN=M", .ca = true, .path_len_plus_1 = 1, .rsa = true});
    int low = forge_cert(&f, mid, (struct forge_form){.dn = "CN=L", .ca = true});
    int leaf = forge_cert(&f, mid, (struct forge_form){.dn = "CN=alice"});
    int below = forge_cert(&f, low, (struct forge_form){.dn = "CN=bob", .ext = &server_only});

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
    struct forge_form form = {.dn = "CN=one machine",
                              .ca = true,
                              .usage = GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_DIGITAL_SIGNATURE};
    int self = forge_cert(&f, -1, form);

    examine(&f, INTS(self), INTS(self), NULL, &facts);
    expect(&facts, 0, NULL);
    form.end = -1;
    self = forge_cert(&f, -1, form);
    examine(&f, INTS(self), INTS(self), NULL, &facts);
    expect(&facts, BIT(EXPIRED), "expired");
    forge_free(&f);
}
END_TEST

START_TEST(a_trusted_intermediate_may_present_itself)
{
    static const struct forge_ext server_only = {
        "2.5.29.37", "\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01", 12, false};
    struct sp_facts facts;
    struct forge f = {0};
    struct forge_form form = {.dn = "CN=Mid",
                              .ca = true,
                              .usage = GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_DIGITAL_SIGNATURE};
    int root = forge_cert(&f, -1, acme_root);
    int mid = forge_cert(&f, root, form);

    examine(&f, INTS(mid), INTS(mid), NULL, &facts);
    expect(&facts, 0, NULL);
    ck_assert_str_eq(facts.serial, "8002"); /* 00 80 02 in DER: the zero is only the sign */
    form.ext = &server_only;
    mid = forge_cert(&f, root, form);
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
    struct forge_form renewed = acme_root;
    struct forge_form old = {.dn = acme_root.dn, .ca = true, .begin = -9 * DAY, .end = -DAY};
    int old_root = forge_cert(&f, -1, old);
    int new_root, leaf;

    renewed.same_key_as = old_root + 1;
    new_root = forge_cert(&f, -1, renewed);
    leaf = forge_cert(&f, old_root, (struct forge_form){.dn = "CN=alice,O=Acme"});
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
    struct forge_form form = {.dn = acme_root.dn, .ca = true, .no_ids = true};
    int one = forge_cert(&f, -1, form);
    int two = forge_cert(&f, -1, form);
    int of_one = forge_cert(&f, one, (struct forge_form){.dn = "CN=alice", .no_ids = true});
    int of_two = forge_cert(&f, two, (struct forge_form){.dn = "CN=bob", .no_ids = true});

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
    int old = forge_cert(&f, -1, acme_root);
    int new_by_old = forge_cert(&f, old, acme_root);
    int leaf = forge_cert(&f, new_by_old, (struct forge_form){.dn = "CN=alice"});

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
    int root = forge_cert(&f, -1, acme_root);
    int narrow = forge_cert(
        &f, -1, (struct forge_form){.dn = "CN=Narrow", .ca = true, .path_len_plus_1 = 1});
    int by_root = forge_cert(&f, root, (struct forge_form){.dn = "CN=Mid", .ca = true});
    int by_narrow = forge_cert(
        &f, narrow, (struct forge_form){.dn = "CN=Mid", .ca = true, .same_key_as = by_root + 1});
    int leaf = forge_cert(&f, by_root, (struct forge_form){.dn = "CN=alice", .end = -1});

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
    int gone = forge_cert(&f, -1, (struct forge_form){.dn = "CN=Gone", .ca = true, .end = -1});
    int root = forge_cert(&f, -1, acme_root);
    int by_gone = forge_cert(&f, gone, (struct forge_form){.dn = "CN=Mid", .ca = true});
    int by_root = forge_cert(
        &f, root, (struct forge_form){.dn = "CN=Mid", .ca = true, .same_key_as = by_gone + 1});
    int leaf = forge_cert(&f, by_gone, (struct forge_form){.dn = "CN=alice"});

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
    int gone = forge_cert(&f, -1, (struct forge_form){.dn = "CN=Gone", .ca = true, .end = -1});
    int root = forge_cert(&f, -1, acme_root);
    int by_gone = forge_cert(&f, gone, (struct forge_form){.dn = "CN=Mid", .ca = true});
    int by_root = forge_cert(
        &f, root, (struct forge_form){.dn = "CN=Mid", .ca = true, .same_key_as = by_gone + 1});
    int leaf = forge_cert(&f, by_gone, (struct forge_form){.dn = "CN=alice"});

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
    int gone = forge_cert(&f, -1, (struct forge_form){.dn = "CN=Gone", .ca = true, .end = -1});
    int root = forge_cert(&f, -1, acme_root);
    int by_gone = forge_cert(&f, gone, (struct forge_form){.dn = "CN=Mid", .ca = true});
    int by_root = forge_cert(
        &f, root, (struct forge_form){.dn = "CN=Mid", .ca = true, .same_key_as = by_gone + 1});
    int leaf = forge_cert(&f, by_gone, (struct forge_form){.dn = "CN=alice"});
    int late = forge_cert(&f, by_gone, (struct forge_form){.dn = "CN=late", .end = -1});

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

START_TEST(certificates_that_all_name_each_other_cost_little)
{
    struct sp_facts facts;
    struct forge f = {0};
    struct forge_form form = {.dn = "CN=Same", .ca = true, .no_ids = true};
    int root = forge_cert(&f, -1, acme_root);
    int sent[11], other[11];
    struct timespec begin, end;

    for (int i = 9; i >= 0; i--) /* each signed by another of the same name */
        sent[i] = forge_cert(&f, i == 9 ? -1 : sent[i + 1], form);
    sent[10] = -1;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
    examine(&f, sent, INTS(root), NULL, &facts);
    ck_assert(facts.observed & BIT(UNTRUSTED_ISSUER));
    /* all of them name a trusted CA: every way leads there */
    form.dn = acme_root.dn;
    for (int i = 9; i >= 0; i--)
        other[i] = forge_cert(&f, i == 9 ? -1 : other[i + 1], form);
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
    struct forge_form form = {.dn = "CN=Costly", .ca = true, .rsa = true};
    int root = forge_cert(&f, -1, acme_root);
    int usual = forge_cert(&f, -1, form);
    int leaf = forge_cert(&f, usual, (struct forge_form){.dn = "CN=alice"});

    examine(&f, INTS(leaf, usual), INTS(root), NULL, &facts);
    expect(&facts, BIT(UNTRUSTED_ISSUER), NULL);
    form.costly_e = true;
    usual = forge_cert(&f, -1, form);
    leaf = forge_cert(&f, usual, (struct forge_form){.dn = "CN=alice"});
    examine(&f, INTS(leaf, usual), INTS(root), NULL, &facts);
    expect(&facts, BIT(UNTRUSTED_ISSUER) | BIT(BAD_SIGNATURE), NULL);
    forge_free(&f);
}
END_TEST

START_TEST(a_missing_issuer_that_the_key_identifier_places_under_a_trusted_ca_is_kin)
{
    struct sp_facts facts;
    struct forge f = {0};
    int root = forge_cert(&f, -1, (struct forge_form){.dn = "CN=Initech Root", .ca = true});
    int mid = forge_cert(&f, root, (struct forge_form){.dn = "CN=Unlike", .ca = true});
    struct forge_form form = {.dn = "CN=alice", .no_ids = true, .aki_issuer = "CN=Initech Root"};
    int leaf = forge_cert(&f, mid, form);

    examine(&f, INTS(leaf), INTS(root), NULL, &facts);
    expect(&facts, BIT(MISSING_INTERMEDIATE), "'CN=Unlike'");
    form.aki_issuer = "CN=Umbrella Root";
    leaf = forge_cert(&f, mid, form);
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
    tcase_add_test(tc, a_wrong_purpose_explains_no_unknown_critical_extension);
    tcase_add_test(tc, a_version_1_root_may_be_trusted_but_a_version_1_intermediate_is_no_ca);
    tcase_add_test(tc, a_purpose_that_cannot_be_read_grants_nothing);
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
