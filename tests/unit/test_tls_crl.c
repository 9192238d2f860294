/* Revocation lists: which are taken, which are refused, and what they say. */
#include "common/tls_chain.h"
#include "common/tls_crl.h"
#include "common/tls_trust.h"

#include <check.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "certs/mint.h"
#include "common/clock.h"
#include "tests/support/scene.h"

#define BIT(reason) SP_REASON_BIT(SP_REASON_##reason)
#define DAY         INT64_C(86400)
#define MANY        100000

static int64_t now;
static struct certs_pair *root, *other, *twin, *middle, *leaf, *leaf2, *below;
static struct sp_tls_trust *trust;

static struct certs_pair *mint_as(const char *dn, bool ca, const struct certs_pair *issuer,
                                  enum certs_key key)
{
    const struct certs_spec spec = {
        .dn = dn, .ca = ca, .path_len = -1, .key = key, .eku = ca ? 0 : CERTS_EKU_CLIENT};
    struct certs_pair *pair = NULL;

    ck_assert_int_eq(certs_mint(&spec, issuer, &pair, NULL), SP_OK);
    return pair;
}

static void write_bytes(const char *path, const void *data, size_t len)
{
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(data, 1, len, file), len);
    ck_assert_int_eq(fclose(file), 0);
}

static struct sp_tls_trust *trust_of(const struct certs_pair *ca)
{
    static const char *const paths[] = {"root.pem"};
    struct sp_tls_trust *made = NULL;
    char *pem = certs_pair_certificate_pem(ca);

    scene_write("root.pem", pem);
    free(pem);
    ck_assert_int_eq(sp_tls_trust_load(paths, 1, false, &made, NULL), SP_OK);
    return made;
}

static void setup(void)
{
    scene_enter();
    now = sp_clock_wall_s();
    root = mint_as("CN=Root", true, NULL, CERTS_P256);
    other = mint_as("CN=Other", true, NULL, CERTS_P256);
    twin = mint_as("CN=Root", true, NULL, CERTS_P256);
    middle = mint_as("CN=Middle", true, root, CERTS_P256);
    leaf = mint_as("CN=leaf", false, root, CERTS_P256);
    leaf2 = mint_as("CN=leaf2", false, root, CERTS_P256);
    below = mint_as("CN=below", false, middle, CERTS_P256);
    trust = trust_of(root);
}

static void teardown(void)
{
    sp_tls_trust_unref(trust);
    certs_pair_free(root);
    certs_pair_free(other);
    certs_pair_free(twin);
    certs_pair_free(middle);
    certs_pair_free(leaf);
    certs_pair_free(leaf2);
    certs_pair_free(below);
    scene_leave();
}

/* ---- loading and asking ---- */

static enum sp_err load_with(struct sp_tls_crl_pool *pool, const char *path,
                             struct sp_tls_trust *with, struct sp_tls_crl_set **ret,
                             struct sp_error *err)
{
    struct sp_tls_crl_pool *own = pool ? pool : sp_tls_crl_pool_new();
    enum sp_err rc = sp_tls_crl_set_load(own, &path, 1, with, ret, err);

    if (!pool)
        sp_tls_crl_pool_free(own);
    return rc;
}

static struct sp_tls_crl_set *load(const char *path)
{
    struct sp_tls_crl_set *set = NULL;
    struct sp_error err = {.text = ""};

    ck_assert_msg(load_with(NULL, path, trust, &set, &err) == SP_OK, "%s", err.text);
    return set;
}

static const char *refusal(const char *path)
{
    static struct sp_error err;
    struct sp_tls_crl_set *set = NULL;

    err = (struct sp_error){.text = ""};
    ck_assert_msg(load_with(NULL, path, trust, &set, &err) != SP_OK, "%s was taken", path);
    ck_assert_str_eq(err.where, path);
    return err.text;
}

static void examine(const struct sp_tls_crl_set *set, const struct certs_pair *who,
                    const struct certs_pair *above, struct sp_facts *ret)
{
    struct sp_chain chain = {.count = above ? 2 : 1};
    const struct sp_chain_query query = {
        .trust = trust, .crls = set, .purpose = SP_PURPOSE_CLIENT, .now = now};

    chain.certs[0].data = certs_pair_der(who, &chain.certs[0].len);
    if (above)
        chain.certs[1].data = certs_pair_der(above, &chain.certs[1].len);
    sp_chain_examine(&chain, &query, ret);
}

static void write_crl(const char *path, const struct certs_pair *ca,
                      const struct certs_pair *revoked, int64_t begin, int64_t end)
{
    const struct certs_pair *const list[] = {revoked};
    char *pem = certs_mint_crl_pem(ca, list, revoked ? 1 : 0, now + begin, now + end);

    ck_assert_ptr_nonnull(pem);
    scene_write(path, pem);
    free(pem);
}

START_TEST(each_state_of_a_list_is_its_reason)
{
    static const struct {
        int64_t begin, end;
        bool revoked;
        sp_reason_set wanted;
        const char *says;
    } rows[] = {
        {-DAY, DAY, false, 0, ""},
        {-DAY, DAY, true, BIT(REVOKED), "revoked on "},
        {-9 * DAY, -3 * DAY - 60, false, BIT(CRL_STALE), "the CRL in a.crl is stale since "},
        {-9 * DAY, -3 * DAY - 60, true, BIT(CRL_STALE) | BIT(REVOKED), "revoked on "},
        {2 * DAY + 60, 9 * DAY, false, BIT(CRL_STALE), "the CRL in a.crl is from the future ("},
        {2 * DAY + 60, 9 * DAY, true, BIT(CRL_STALE) | BIT(REVOKED), "revoked on "},
        {-DAY, 0, false, 0, ""}, /* the last second */
        {-DAY, -1, false, BIT(CRL_STALE), "the CRL in a.crl is stale since "},
        {0, DAY, false, 0, ""},
        {1, DAY, false, BIT(CRL_STALE), "the CRL in a.crl is from the future ("},
    };
    struct sp_tls_crl_answer named;
    struct sp_tls_crl_set *set;
    struct sp_facts facts;
    char remark[600];

    write_crl("a.crl", root, rows[_i].revoked ? leaf : NULL, rows[_i].begin, rows[_i].end);
    set = load("a.crl");
    examine(set, leaf, NULL, &facts);
    ck_assert_msg(facts.observed == rows[_i].wanted, "row %d: observed %x, %s", _i, facts.observed,
                  facts.detail);
    ck_assert_msg(!strncmp(facts.detail, rows[_i].says, strlen(rows[_i].says)), "%s", facts.detail);
    ck_assert_str_eq(facts.crl.from, "a.crl");
    ck_assert_int_eq(facts.crl.this_update, now + rows[_i].begin);
    ck_assert_int_eq(facts.crl.next_update, now + rows[_i].end);
    if (rows[_i].end >= 0 && rows[_i].begin <= 0) /* the list ends before the certificates do */
        ck_assert_int_eq(facts.holds_until, now + rows[_i].end + 1);
    else if (rows[_i].begin > 0)
        ck_assert_int_eq(facts.holds_until, now + rows[_i].begin);
    else
        ck_assert_int_eq(facts.holds_until, facts.not_after + 1);
    ck_assert_int_eq(sp_tls_crl_set_remark(set, 0, now, remark, sizeof remark),
                     (rows[_i].wanted & BIT(CRL_STALE)) != 0);
    /* What is left of the certificate in the log is enough to ask the list of a trusted CA. */
    sp_tls_crl_set_ask_named(set, facts.issuer, facts.serial, now, &named);
    ck_assert_int_eq(named.is_revoked, rows[_i].revoked);
    ck_assert_int_eq(named.state == SP_TLS_CRL_CURRENT, !(rows[_i].wanted & BIT(CRL_STALE)));
    ck_assert_str_eq(named.path, "a.crl");
    sp_tls_crl_set_ask_named(set, "CN=Other", facts.serial, now, &named);
    ck_assert_int_eq(named.state, SP_TLS_CRL_NONE);
    sp_tls_crl_set_ask_named(set, facts.issuer, "no number", now, &named);
    ck_assert_int_eq(named.state, SP_TLS_CRL_NONE);
    examine(set, leaf2, NULL, &facts); /* a neighbour is never revoked with it */
    ck_assert_uint_eq(facts.observed, rows[_i].wanted & ~BIT(REVOKED));
    sp_tls_crl_set_unref(set);
}
END_TEST

START_TEST(without_lists_or_with_those_of_others_nothing_is_said)
{
    struct sp_tls_crl_set *set;
    struct sp_facts facts;
    char remark[600];

    sp_tls_crl_pool_free(NULL);
    examine(NULL, leaf, NULL, &facts);
    ck_assert_uint_eq(facts.observed, 0);
    ck_assert_str_eq(facts.crl.from, "");
    write_crl("a.crl", other, leaf, -DAY, DAY);
    set = load("a.crl");
    examine(set, leaf, NULL, &facts);
    ck_assert_uint_eq(facts.observed, 0);
    ck_assert_str_eq(facts.crl.from, "");
    ck_assert(sp_tls_crl_set_remark(set, 0, now, remark, sizeof remark));
    ck_assert_ptr_nonnull(strstr(remark, "from none of the trusted CAs"));
    sp_tls_crl_set_unref(set);
}
END_TEST

START_TEST(an_intermediates_list_counts_when_it_signed_it_and_is_on_the_path)
{
    struct certs_pair *fake = mint_as("CN=Middle", true, NULL, CERTS_P256);
    struct sp_tls_crl_set *set;
    struct sp_facts facts;

    write_crl("a.crl", middle, below, -DAY, DAY);
    set = load("a.crl");
    examine(set, below, middle, &facts);
    ck_assert_uint_eq(facts.observed, BIT(REVOKED));
    sp_tls_crl_set_unref(set);

    write_crl("a.crl", root, middle, -DAY, DAY); /* the intermediate itself */
    set = load("a.crl");
    examine(set, below, middle, &facts);
    ck_assert_uint_eq(facts.observed, BIT(REVOKED));
    ck_assert_msg(!strncmp(facts.detail, "'CN=Middle': revoked on ", 24), "%s", facts.detail);
    sp_tls_crl_set_unref(set);

    write_crl("a.crl", fake, below, -DAY, DAY);
    set = load("a.crl");
    examine(set, below, middle, &facts);
    ck_assert_uint_eq(facts.observed, BIT(CRL_STALE));
    ck_assert_ptr_nonnull(strstr(facts.detail, "has the name of 'CN=Middle', who did not sign"));
    sp_tls_crl_set_unref(set);
    certs_pair_free(fake);
}
END_TEST

/* One list is told of: that which revokes, then that which cannot be relied on, then the leaf's. */
START_TEST(of_the_lists_of_a_path_the_one_that_weighs_most_is_told)
{
    static const struct {
        bool middle_revoked, below_revoked;
        int64_t root_end, middle_end;
        const char *from;
        sp_reason_set wanted;
    } rows[] = {
        {false, false, DAY, DAY, "middle.crl", 0},
        {true, false, DAY, DAY, "root.crl", BIT(REVOKED)},
        {true, false, DAY, -60, "root.crl", BIT(REVOKED) | BIT(CRL_STALE)},
        {false, true, DAY, DAY, "middle.crl", BIT(REVOKED)},
        {false, true, -60, DAY, "middle.crl", BIT(REVOKED) | BIT(CRL_STALE)},
        {true, true, DAY, DAY, "middle.crl", BIT(REVOKED)},
        {false, false, -60, DAY, "root.crl", BIT(CRL_STALE)},
        {false, false, DAY, -60, "middle.crl", BIT(CRL_STALE)},
    };
    const char *const paths[] = {"root.crl", "middle.crl"};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sp_tls_crl_pool *pool = sp_tls_crl_pool_new();
        struct sp_tls_crl_set *set = NULL;
        struct sp_facts facts;

        write_crl(paths[0], root, rows[i].middle_revoked ? middle : NULL, -DAY, rows[i].root_end);
        write_crl(paths[1], middle, rows[i].below_revoked ? below : NULL, -DAY, rows[i].middle_end);
        ck_assert_int_eq(sp_tls_crl_set_load(pool, paths, 2, trust, &set, NULL), SP_OK);
        sp_tls_crl_pool_free(pool);
        examine(set, below, middle, &facts);
        ck_assert_msg(facts.observed == rows[i].wanted, "row %zu: %s", i, facts.detail);
        ck_assert_msg(!strcmp(facts.crl.from, rows[i].from), "row %zu: %s", i, facts.crl.from);
        sp_tls_crl_set_unref(set);
    }
}
END_TEST

/* Nor is anything said of a certificate that the issuer did not sign, whatever number it bears. */
START_TEST(a_list_says_nothing_of_what_its_issuer_did_not_sign)
{
    static uint8_t forged[4096];
    struct sp_chain chain = {.count = 1};
    struct sp_chain_query query = {.trust = trust, .purpose = SP_PURPOSE_CLIENT, .now = now};
    const uint8_t *der = certs_pair_der(leaf, &chain.certs[0].len);
    struct sp_tls_crl_set *set;
    struct sp_facts facts;

    ck_assert_uint_lt(chain.certs[0].len, sizeof forged);
    memcpy(forged, der, chain.certs[0].len);
    forged[chain.certs[0].len - 1] ^= 1;
    chain.certs[0].data = forged;
    write_crl("a.crl", root, leaf, -DAY, DAY);
    query.crls = set = load("a.crl");
    sp_chain_examine(&chain, &query, &facts);
    ck_assert_uint_eq(facts.observed, BIT(BAD_SIGNATURE));
    ck_assert_str_eq(facts.crl.from, "");
    sp_tls_crl_set_unref(set);
}
END_TEST

/* Nothing else that is wrong with a chain may hide that it is revoked. */
START_TEST(a_revocation_is_seen_whatever_else_is_wrong)
{
    static const uint8_t junk[] = {1, 2, 3};
    const struct certs_spec spec = {.dn = "CN=old",
                                    .path_len = -1,
                                    .eku = CERTS_EKU_SERVER,
                                    .not_before = now - 9 * DAY,
                                    .not_after = now - DAY};
    struct sp_chain chain = {.count = 2};
    struct sp_chain_query query = {.trust = trust, .purpose = SP_PURPOSE_CLIENT, .now = now};
    struct certs_pair *old = NULL;
    struct sp_tls_crl_set *set;
    struct sp_facts facts;

    ck_assert_int_eq(certs_mint(&spec, root, &old, NULL), SP_OK);
    write_crl("a.crl", root, old, -DAY, DAY);
    set = load("a.crl");
    query.crls = set;
    chain.certs[0].data = certs_pair_der(old, &chain.certs[0].len);
    chain.certs[1] = (struct sp_bytes){junk, sizeof junk};
    sp_chain_examine(&chain, &query, &facts);
    ck_assert_uint_eq(facts.observed,
                      BIT(REVOKED) | BIT(EXPIRED) | BIT(WRONG_PURPOSE) | BIT(BAD_SIGNATURE));
    sp_tls_crl_set_unref(set);
    certs_pair_free(old);
}
END_TEST

START_TEST(of_several_lists_of_one_issuer_the_newest_that_began_speaks)
{
    const char *const paths[] = {"new.crl", "old.crl", "future.crl"};
    struct sp_tls_crl_pool *pool = sp_tls_crl_pool_new();
    struct sp_tls_crl_set *set = NULL;
    struct sp_facts facts;

    write_crl("old.crl", root, leaf, -5 * DAY, -DAY);
    write_crl("new.crl", root, leaf2, -DAY, DAY);
    write_crl("future.crl", root, NULL, DAY, 2 * DAY);
    ck_assert_int_eq(sp_tls_crl_set_load(pool, paths, 3, trust, &set, NULL), SP_OK);
    sp_tls_crl_pool_free(pool);
    examine(set, leaf, NULL, &facts);
    ck_assert_uint_eq(facts.observed, 0);
    examine(set, leaf2, NULL, &facts);
    ck_assert_uint_eq(facts.observed, BIT(REVOKED));
    ck_assert_str_eq(facts.crl.from, "new.crl");
    sp_tls_crl_set_unref(set);
}
END_TEST

START_TEST(a_list_that_a_trusted_ca_of_that_name_did_not_sign_is_an_error)
{
    write_crl("a.crl", twin, leaf, -DAY, DAY);
    ck_assert_ptr_nonnull(strstr(refusal("a.crl"), "the trusted CA of that name did not sign it"));
}
END_TEST

START_TEST(of_two_trusted_cas_of_one_name_each_has_its_own_list)
{
    static const char *const paths[] = {"root.pem", "twin.pem"};
    struct certs_pair *others = mint_as("CN=leaf", false, twin, CERTS_P256);
    char *pem = certs_pair_certificate_pem(twin);
    struct sp_tls_crl_set *set;
    struct sp_facts facts;

    scene_write("twin.pem", pem);
    free(pem);
    sp_tls_trust_unref(trust);
    ck_assert_int_eq(sp_tls_trust_load(paths, 2, false, &trust, NULL), SP_OK);
    write_crl("a.crl", root, leaf, -DAY, DAY);
    set = load("a.crl");
    examine(set, leaf, NULL, &facts);
    ck_assert_uint_eq(facts.observed, BIT(REVOKED));
    ck_assert_str_eq(facts.crl.from, "a.crl");
    examine(set, others, NULL, &facts);
    ck_assert_uint_eq(facts.observed, 0);
    ck_assert_str_eq(facts.crl.from, ""); /* it says nothing of these */
    sp_tls_crl_set_unref(set);
    certs_pair_free(others);
}
END_TEST

START_TEST(every_kind_of_key_signs_lists)
{
    static const enum certs_key keys[] = {CERTS_P256, CERTS_P384, CERTS_ED25519, CERTS_ED448,
                                          CERTS_RSA2048};
    struct certs_pair *ca = mint_as("CN=Keys", true, NULL, keys[_i]);
    struct certs_pair *client = mint_as("CN=client", false, ca, CERTS_P256);
    struct sp_tls_crl_set *set;
    struct sp_facts facts;

    sp_tls_trust_unref(trust);
    trust = trust_of(ca);
    write_crl("a.crl", ca, client, -DAY, DAY);
    set = load("a.crl");
    examine(set, client, NULL, &facts);
    ck_assert_uint_eq(facts.observed, BIT(REVOKED));
    sp_tls_crl_set_unref(set);
    certs_pair_free(client);
    certs_pair_free(ca);
}
END_TEST

/* ---- lists by hand ---- */

struct bytes {
    uint8_t *data;
    size_t len, room;
};

static void put(struct bytes *b, const void *data, size_t len)
{
    if (b->len + len + 1 > b->room) {
        b->room = 2 * (b->len + len + 1);
        b->data = realloc(b->data, b->room);
        ck_assert_ptr_nonnull(b->data);
    }
    if (len)
        memcpy(b->data + b->len, data, len);
    b->len += len;
}

/* Makes an element of what is in b. */
static void wrap(struct bytes *b, uint8_t tag)
{
    const uint8_t header[] = {tag, 0x83, (uint8_t)(b->len >> 16), (uint8_t)(b->len >> 8),
                              (uint8_t)b->len};
    const uint8_t small[] = {tag, (uint8_t)b->len};
    struct bytes all = {.data = NULL};

    if (b->len < 0x80)
        put(&all, small, sizeof small);
    else
        put(&all, header, sizeof header);
    put(&all, b->data, b->len);
    free(b->data);
    *b = all;
}

/* ecdsa-with-SHA256 */
static const uint8_t algorithm[] = {0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};

struct form {
    const char *extensions; /* hex of Extension SEQUENCEs */
    const char *entry_extensions;
    bool no_next_update, v1;
    size_t entries;  /* serial numbers 0x800000, 0x10002, ... */
    int serial_len;  /* of the first entry; 0: 4 */
    bool lists_leaf; /* the first entry is the leaf */
};

static void put_hex(struct bytes *b, const char *hex)
{
    uint8_t byte;

    for (; hex && *hex; hex += 2) {
        ck_assert_int_eq(sscanf(hex, "%2hhx", &byte), 1);
        put(b, &byte, 1);
    }
}

static void put_serial(struct bytes *b, const struct certs_pair *of)
{
    uint8_t serial[2 + 20] = {2, 20};
    gnutls_datum_t der = {NULL, 0};
    gnutls_x509_crt_t crt;
    size_t len = 20, der_len;
    const uint8_t *bytes = certs_pair_der(of, &der_len);

    memcpy(&der.data, &bytes, sizeof bytes); /* it is not const; GnuTLS only reads it */
    der.size = (unsigned)der_len;
    ck_assert_int_ge(gnutls_x509_crt_init(&crt), 0);
    ck_assert_int_ge(gnutls_x509_crt_import(crt, &der, GNUTLS_X509_FMT_DER), 0);
    ck_assert_int_ge(gnutls_x509_crt_get_serial(crt, serial + 2, &len), 0);
    serial[1] = (uint8_t)len;
    put(b, serial, 2 + len);
    gnutls_x509_crt_deinit(crt);
}

static void put_entries(struct bytes *tbs, const struct form *form)
{
    struct bytes all = {.data = NULL};

    for (size_t i = 0; i < form->entries; i++) {
        size_t serial = 0x800000 + 2 * (form->entries - 1 - i);
        const uint8_t head[] = {
            2, 4, 0, (uint8_t)(serial >> 16), (uint8_t)(serial >> 8), (uint8_t)serial};
        struct bytes one = {.data = NULL}, ext = {.data = NULL};

        if (form->lists_leaf && !i) {
            put_serial(&one, leaf);
        } else if (form->serial_len && !i) {
            uint8_t longer[40] = {2, (uint8_t)form->serial_len, 1};

            put(&one, longer, 2 + (size_t)form->serial_len);
        } else {
            put(&one, head, sizeof head);
        }
        put(&one,
            "\x17\x0d"
            "250102030405Z",
            15);
        if (form->entry_extensions) {
            put_hex(&ext, form->entry_extensions);
            wrap(&ext, 0x30);
            put(&one, ext.data, ext.len);
        }
        wrap(&one, 0x30);
        put(&all, one.data, one.len);
        free(one.data);
        free(ext.data);
    }
    if (form->entries) {
        wrap(&all, 0x30);
        put(tbs, all.data, all.len);
    }
    free(all.data);
}

static void sign_as(const struct certs_pair *ca, struct bytes *tbs)
{
    char *pem = certs_pair_key_pem(ca);
    gnutls_datum_t text = {(unsigned char *)pem, (unsigned)strlen(pem)}, signature;
    gnutls_datum_t data = {tbs->data, (unsigned)tbs->len};
    struct bytes bits = {.data = NULL};
    gnutls_privkey_t key;

    ck_assert_int_ge(gnutls_privkey_init(&key), 0);
    ck_assert_int_ge(gnutls_privkey_import_x509_raw(key, &text, GNUTLS_X509_FMT_PEM, NULL, 0), 0);
    ck_assert_int_ge(gnutls_privkey_sign_data(key, GNUTLS_DIG_SHA256, 0, &data, &signature), 0);
    put(&bits, "", 1);
    put(&bits, signature.data, signature.size);
    wrap(&bits, 3);
    put(tbs, algorithm, sizeof algorithm);
    put(tbs, bits.data, bits.len);
    wrap(tbs, 0x30);
    free(bits.data);
    gnutls_free(signature.data);
    gnutls_privkey_deinit(key);
    certs_secret_free(pem);
}

static void put_name(struct bytes *b, const struct certs_pair *ca)
{
    gnutls_datum_t pem, dn;
    gnutls_x509_crt_t crt;

    pem.data = (unsigned char *)certs_pair_certificate_pem(ca);
    pem.size = (unsigned)strlen((char *)pem.data);
    ck_assert_int_ge(gnutls_x509_crt_init(&crt), 0);
    ck_assert_int_ge(gnutls_x509_crt_import(crt, &pem, GNUTLS_X509_FMT_PEM), 0);
    ck_assert_int_ge(gnutls_x509_crt_get_raw_dn(crt, &dn), 0);
    put(b, dn.data, dn.size);
    gnutls_free(dn.data);
    gnutls_x509_crt_deinit(crt);
    free(pem.data);
}

static struct bytes forge(const struct form *form)
{
    struct bytes tbs = {.data = NULL}, ext = {.data = NULL};

    if (!form->v1)
        put(&tbs, "\x02\x01\x01", 3);
    put(&tbs, algorithm, sizeof algorithm);
    put_name(&tbs, root);
    put(&tbs,
        "\x17\x0d"
        "250102030405Z",
        15);
    if (!form->no_next_update)
        put(&tbs,
            "\x18\x0f"
            "20990102030405Z",
            17);
    put_entries(&tbs, form);
    if (form->extensions) {
        put_hex(&ext, form->extensions);
        wrap(&ext, 0x30);
        wrap(&ext, 0xa0);
        put(&tbs, ext.data, ext.len);
    }
    wrap(&tbs, 0x30);
    sign_as(root, &tbs);
    free(ext.data);
    return tbs;
}

static const struct {
    struct form form;
    const char *refusal; /* NULL: it is taken */
} forms[] = {
    {{.entries = 3}, NULL},
    {{.entries = 0}, NULL},
    {{.v1 = true, .entries = 1}, NULL},
    {{.extensions = "300a0603551d140403020105", .entries = 1}, NULL}, /* CRL number */
    {{.entries = 1, .entry_extensions = "300a0603551d1504030a0101"}, NULL},
    {{.extensions = "300d0603551d1b0101ff0403020101"}, "is a delta CRL"},
    {{.extensions = "300a0603551d1b0403020101"}, "is a delta CRL"},
    {{.extensions = "300f0603551d1c0101ff040530038401ff"}, "is an indirect one"},
    {{.extensions = "300f0603551d1c0101ff040530038101ff"}, "one kind of certificate only"},
    {{.extensions = "300c0603551d1c0101ff04023000"}, "for one distribution point"},
    {{.extensions = "300b06022a030101ff04020500"}, "the critical extension 1.2.3, which is not"},
    {{.extensions = "300806022a0304020500"}, NULL}, /* the same, not critical */
    {{.extensions = "300b06022a0301010004020500"}, NULL},
    {{.extensions = "300a06022a03010004020500"},
     "an extension is malformed"}, /* critical: nothing */
    {{.extensions = "300b06022a0301010104020500"}, "an extension is malformed"},
    {{.extensions = "300c06022a030102000004020500"}, "an extension is malformed"},
    {{.extensions = "300c06022a030102ffff04020500"}, "an extension is malformed"},
    {{.entries = 1, .entry_extensions = "300a06022a03010004020500"},
     "entry's extension is malformed"},
    {{.entries = 1, .entry_extensions = "300b06022a0301010104020500"},
     "entry's extension is malformed"},
    {{.entries = 1, .entry_extensions = "300c06022a030102000004020500"},
     "entry's extension is malformed"},
    {{.entries = 1, .entry_extensions = "300c0603551d1d0101ff04023000"}, "is an indirect one"},
    {{.entries = 1, .entry_extensions = "300b06022a030101ff04020500"}, "entry with the critical"},
    {{.no_next_update = true}, "no nextUpdate"},
    {{.entries = 2, .serial_len = 20}, NULL},
    {{.entries = 2, .serial_len = 21}, "a serial number of 21 bytes; 20 are the most"},
    {{.entries = 1, .entry_extensions = "3003060155"}, "malformed"},
    {{.extensions = "3003060155"}, "malformed"},
};

START_TEST(a_list_of_a_kind_that_could_mislead_is_refused_and_named)
{
    struct bytes der = forge(&forms[_i].form);
    struct sp_tls_crl_set *set;
    struct sp_facts facts;

    write_bytes("a.crl", der.data, der.len);
    free(der.data);
    if (forms[_i].refusal) {
        const char *said = refusal("a.crl");

        ck_assert_msg(strstr(said, forms[_i].refusal), "form %d: %s", _i, said);
        return;
    }
    set = load("a.crl");
    examine(set, leaf, NULL, &facts);
    ck_assert_uint_eq(facts.observed, 0);
    ck_assert_str_eq(facts.crl.from, "a.crl");
    sp_tls_crl_set_unref(set);
}
END_TEST

START_TEST(a_list_that_is_signed_with_less_than_sha_256_is_refused)
{
    static const struct {
        uint8_t last; /* byte of the algorithm's OID */
        const char *refusal;
    } rows[] = {{1, "signed with ECDSA-SHA224, which is too weak"},
                {0x7f, "signed with an algorithm that is not known, which is too weak"}};
    static const struct form form = {.entries = 1};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bytes der = forge(&form);
        uint8_t *at = der.data;
        int count = 0;

        for (; (at = memmem(at, der.len - (size_t)(at - der.data), algorithm, sizeof algorithm));
             count++)
            at[sizeof algorithm - 1] = rows[i].last;
        ck_assert_int_eq(count, 2); /* inside and outside */
        write_bytes("a.crl", der.data, der.len);
        free(der.data);
        ck_assert_ptr_nonnull(strstr(refusal("a.crl"), rows[i].refusal));
    }
}
END_TEST

START_TEST(the_cause_of_a_revocation_is_told_where_there_is_one)
{
    static const struct {
        struct form form;
        const char *says;
    } rows[] = {
        {{.entries = 1, .lists_leaf = true, .entry_extensions = "300a0603551d1504030a0101"},
         "revoked on 2025-01-02T03:04:05Z: keyCompromise, says the CRL in a.crl"},
        {{.entries = 1, .lists_leaf = true},
         "revoked on 2025-01-02T03:04:05Z, says the CRL in a.crl"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bytes der = forge(&rows[i].form);
        struct sp_tls_crl_set *set;
        struct sp_facts facts;

        write_bytes("a.crl", der.data, der.len);
        free(der.data);
        set = load("a.crl");
        examine(set, leaf, NULL, &facts);
        ck_assert_uint_eq(facts.observed, BIT(REVOKED));
        ck_assert_str_eq(facts.detail, rows[i].says);
        sp_tls_crl_set_unref(set);
    }
}
END_TEST

static void turn_pem(const char *from, const char *to)
{
    char *pem = scene_read(from);
    gnutls_datum_t text = {(unsigned char *)pem, (unsigned)strlen(pem)}, der;

    ck_assert_int_ge(gnutls_pem_base64_decode2("X509 CRL", &text, &der), 0);
    write_bytes(to, der.data, der.size);
    gnutls_free(der.data);
    free(pem);
}

START_TEST(pem_and_der_several_a_file)
{
    struct sp_tls_crl_set *set;
    struct sp_facts facts;
    char *one, *two, *both, *text;

    write_crl("one.crl", middle, below, -DAY, DAY);
    write_crl("two.crl", root, leaf, -DAY, DAY);
    if (_i) { /* DER */
        turn_pem("one.crl", "one.der");
        turn_pem("two.crl", "two.der");
        ck_assert_int_eq(system("cat one.der two.der > a.crl"), 0);
    } else {
        one = scene_read("one.crl");
        two = scene_read("two.crl");
        text = scene_read("root.pem");
        ck_assert_int_ge(asprintf(&both, "a comment\n%s\n%s%s", one, text, two), 0);
        scene_write("a.crl", both);
        free(one);
        free(two);
        free(both);
        free(text);
    }
    set = load("a.crl");
    examine(set, leaf, NULL, &facts);
    ck_assert_uint_eq(facts.observed, BIT(REVOKED));
    examine(set, below, middle, &facts);
    ck_assert_uint_eq(facts.observed, BIT(REVOKED));
    examine(set, leaf2, NULL, &facts);
    ck_assert_uint_eq(facts.observed, 0);
    sp_tls_crl_set_unref(set);
}
END_TEST

/* Cut anywhere, or with a bit turned over anywhere, it is refused, or it is another's or the very
 * same list: never one that passes with fewer entries. */
START_TEST(a_damaged_list_never_passes)
{
    static const struct form form = {.entries = 4, .extensions = "300a0603551d140403020105"};
    struct bytes der = forge(&form);
    struct sp_tls_crl_set *set = NULL;
    struct sp_tls_crl_answer answer;

    for (size_t i = 1; i < der.len; i++) {
        write_bytes("a.crl", der.data, i);
        ck_assert_msg(load_with(NULL, "a.crl", trust, &set, NULL) != SP_OK, "cut at %zu", i);
    }
    for (size_t i = 0; i < der.len * 8; i += 3) {
        char remark[600];

        der.data[i / 8] ^= (uint8_t)(1 << i % 8);
        write_bytes("a.crl", der.data, der.len);
        if (load_with(NULL, "a.crl", trust, &set, NULL) == SP_OK) {
            ck_assert_msg(sp_tls_crl_set_remark(set, 0, now, remark, sizeof remark),
                          "bit %zu: taken for the CA's", i);
            sp_tls_crl_set_ask(set, sp_tls_trust_ca(trust, 0), sp_tls_trust_ca(trust, 0), now,
                               &answer);
            ck_assert_msg(answer.state == SP_TLS_CRL_NONE || answer.state == SP_TLS_CRL_UNSIGNED,
                          "bit %zu", i);
            sp_tls_crl_set_unref(set);
        }
        der.data[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    free(der.data);
}
END_TEST

START_TEST(a_file_without_a_list_is_refused)
{
    scene_write("a.crl", "half a file");
    ck_assert_str_eq(refusal("a.crl"), "no CRL in it: neither PEM (X509 CRL) nor DER");
    scene_write("a.crl", "");
    ck_assert_str_eq(refusal("a.crl"), "no CRL in it: neither PEM (X509 CRL) nor DER");
    scene_write("a.crl", "-----BEGIN X509 CRL-----\nMIIB\n");
    ck_assert_ptr_nonnull(strstr(refusal("a.crl"), "has no \"-----END X509 CRL-----\""));
    ck_assert_ptr_nonnull(strstr(refusal("nowhere.crl"), "cannot be opened"));
    ck_assert_ptr_nonnull(strstr(refusal("client.pem"), "no CRL in it"));
}
END_TEST

static gnutls_x509_crt_t with_serial(size_t serial)
{
    const uint8_t bytes[] = {0, (uint8_t)(serial >> 16), (uint8_t)(serial >> 8), (uint8_t)serial};
    gnutls_x509_crt_t crt;

    ck_assert_int_ge(gnutls_x509_crt_init(&crt), 0);
    ck_assert_int_ge(gnutls_x509_crt_set_serial(crt, bytes, sizeof bytes), 0);
    return crt;
}

START_TEST(what_a_file_said_before_goes_on_when_it_cannot_be_used_any_more)
{
    static const char *const names[] = {"a.crl", "b.crl"};
    struct sp_tls_crl_pool *pool;
    struct sp_tls_crl_set *before = NULL, *next = NULL;
    struct sp_tls_trust *others = trust_of(other), *of_root = trust_of(root);
    struct sp_facts facts;

    write_crl("a.crl", root, leaf, -DAY, DAY);
    write_crl("b.crl", middle, NULL, -DAY, DAY);
    pool = sp_tls_crl_pool_new();
    ck_assert_int_eq(sp_tls_crl_set_load(pool, names, 2, trust, &before, NULL), SP_OK);
    sp_tls_crl_pool_free(pool);
    for (int broken = 0; broken < 2; broken++) {
        if (broken == 0) /* nobody's, or forged: signed by another CA of that name */
            scene_write("a.crl", "half a file");
        else
            write_crl("a.crl", twin, NULL, -DAY, DAY);
        write_crl("b.crl", middle, below, -DAY, DAY);
        pool = sp_tls_crl_pool_new();
        ck_assert_int_ne(sp_tls_crl_set_load(pool, names, 2, trust, &next, NULL), SP_OK);
        sp_tls_crl_pool_fall_back(pool, before);
        ck_assert_int_eq(sp_tls_crl_set_load(pool, names, 2, trust, &next, NULL), SP_OK);
        examine(next, leaf, NULL, &facts);
        ck_assert_uint_eq(facts.observed, BIT(REVOKED));
        examine(next, below, middle, &facts);
        ck_assert_uint_eq(facts.observed, BIT(REVOKED));
        ck_assert(sp_tls_crl_set_is_outdated(next, NULL)); /* a.crl is still to be read */
        sp_tls_crl_set_unref(next);
        /* Nothing is made of what another file, or for other CAs, was. */
        ck_assert_int_ne(load_with(pool, "c.crl", trust, &next, NULL), SP_OK);
        ck_assert_int_ne(load_with(pool, "a.crl", broken ? of_root : others, &next, NULL), SP_OK);
        sp_tls_crl_pool_fall_back(pool, NULL);
        ck_assert_int_ne(sp_tls_crl_set_load(pool, names, 2, trust, &next, NULL), SP_OK);
        sp_tls_crl_pool_free(pool);
    }
    sp_tls_crl_set_unref(before);
    sp_tls_trust_unref(others);
    sp_tls_trust_unref(of_root);
}
END_TEST

START_TEST(each_of_many_entries_is_found_and_none_between_them)
{
    static const struct form form = {.entries = MANY,
                                     .entry_extensions = "300a0603551d1504030a0101"};
    struct bytes der = forge(&form);
    struct gnutls_x509_crt_int *ca = sp_tls_trust_ca(trust, 0);
    struct sp_tls_crl_answer answer;
    struct sp_tls_crl_set *set;

    write_bytes("a.crl", der.data, der.len);
    free(der.data);
    set = load("a.crl");
    for (size_t serial = 0x800000; serial < 0x800000 + 2 * MANY; serial += serial % 2 ? 36 : 1) {
        gnutls_x509_crt_t crt = with_serial(serial);

        sp_tls_crl_set_ask(set, crt, ca, now, &answer);
        ck_assert_int_eq(answer.state, SP_TLS_CRL_CURRENT);
        ck_assert_msg(answer.is_revoked == (serial % 2 == 0), "serial %zx", serial);
        if (answer.is_revoked) {
            ck_assert_str_eq(answer.cause, "keyCompromise");
            ck_assert_int_eq(answer.revoked_at, INT64_C(1735787045)); /* 2025-01-02T03:04:05Z */
        }
        gnutls_x509_crt_deinit(crt);
    }
    sp_tls_crl_set_unref(set);
}
END_TEST

START_TEST(the_digest_follows_the_content_and_a_change_is_noticed)
{
    struct sp_tls_crl_pool *pool = sp_tls_crl_pool_new();
    struct sp_tls_crl_set *first, *again = NULL;
    uint8_t a[32], b[32];

    write_crl("a.crl", root, leaf, -DAY, DAY);
    first = load("a.crl");
    ck_assert(!sp_tls_crl_set_is_outdated(first, NULL));
    sp_tls_crl_pool_add(pool, first);
    ck_assert_int_eq(load_with(pool, "a.crl", trust, &again, NULL), SP_OK);
    sp_tls_crl_set_digest(first, a);
    sp_tls_crl_set_digest(again, b);
    ck_assert_mem_eq(a, b, sizeof a);
    sp_tls_crl_set_unref(again);
    sp_tls_crl_pool_free(pool);

    write_crl("b.crl", root, leaf2, -DAY, DAY);
    ck_assert_int_eq(rename("b.crl", "a.crl"), 0);
    ck_assert(sp_tls_crl_set_is_outdated(first, NULL));
    again = load("a.crl");
    sp_tls_crl_set_digest(again, b);
    ck_assert_mem_ne(a, b, sizeof a);
    sp_tls_crl_set_unref(first);
    first = sp_tls_crl_set_ref(again);
    sp_tls_crl_set_unref(again);
    scene_remove("a.crl");
    ck_assert(sp_tls_crl_set_is_outdated(first, NULL));
    sp_tls_crl_set_unref(first);
    sp_tls_crl_set_digest(NULL, a);
    for (size_t i = 0; i < sizeof a; i++)
        ck_assert_int_eq(a[i], 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tls_crl");
    TCase *tcase = tcase_create("tls_crl");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 50);
    tcase_add_loop_test(tcase, each_state_of_a_list_is_its_reason, 0, 10);
    tcase_add_test(tcase, without_lists_or_with_those_of_others_nothing_is_said);
    tcase_add_test(tcase, an_intermediates_list_counts_when_it_signed_it_and_is_on_the_path);
    tcase_add_test(tcase, of_the_lists_of_a_path_the_one_that_weighs_most_is_told);
    tcase_add_test(tcase, a_list_says_nothing_of_what_its_issuer_did_not_sign);
    tcase_add_test(tcase, a_revocation_is_seen_whatever_else_is_wrong);
    tcase_add_test(tcase, of_several_lists_of_one_issuer_the_newest_that_began_speaks);
    tcase_add_test(tcase, a_list_that_a_trusted_ca_of_that_name_did_not_sign_is_an_error);
    tcase_add_test(tcase, of_two_trusted_cas_of_one_name_each_has_its_own_list);
    tcase_add_loop_test(tcase, every_kind_of_key_signs_lists, 0, 5);
    tcase_add_loop_test(tcase, a_list_of_a_kind_that_could_mislead_is_refused_and_named, 0,
                        (int)(sizeof forms / sizeof forms[0]));
    tcase_add_test(tcase, a_list_that_is_signed_with_less_than_sha_256_is_refused);
    tcase_add_test(tcase, the_cause_of_a_revocation_is_told_where_there_is_one);
    tcase_add_loop_test(tcase, pem_and_der_several_a_file, 0, 2);
    tcase_add_test(tcase, a_damaged_list_never_passes);
    tcase_add_test(tcase, a_file_without_a_list_is_refused);
    tcase_add_test(tcase, what_a_file_said_before_goes_on_when_it_cannot_be_used_any_more);
    tcase_add_test(tcase, each_of_many_entries_is_found_and_none_between_them);
    tcase_add_test(tcase, the_digest_follows_the_content_and_a_change_is_noticed);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
