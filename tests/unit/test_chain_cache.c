/* The gateway's memory of good chains: never another answer than an examination's. */
#include "gateway/chain_cache.h"

#include "certs/mint.h"
#include "common/clock.h"
#include "common/tls_trust.h"
#include "gateway/tenant.h"

#include <check.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOUR 3600
#define DAY  (24 * HOUR)

/* A root, an intermediate, a leaf that is valid for a day around now; a stranger's root. */
static struct certs_pair *root, *mid, *leaf, *strange_root;
static int64_t now;
static uint8_t *copies[2]; /* of exact size: the sanitizer sees any step beyond */
static struct sp_chain chain;
static struct gw_tenant_config config, strict_config, other_config;
static struct gw_tenant tenant;
static struct gw_chain_cache *cache;
static enum sp_purpose purpose;

static struct certs_pair *mint(const struct certs_spec *spec, const struct certs_pair *issuer)
{
    struct certs_pair *pair = NULL;
    struct sp_error err = {0};

    ck_assert_msg(certs_mint(spec, issuer, &pair, &err) == SP_OK, "%s", err.text);
    return pair;
}

static struct certs_pair *mint_ca(const char *dn, const struct certs_pair *issuer)
{
    const struct certs_spec spec = {
        .dn = dn, .ca = true, .path_len = -1, .not_before = now - DAY, .not_after = now + DAY};

    return mint(&spec, issuer);
}

static struct sp_tls_trust *trust_of(const struct certs_pair *ca)
{
    char path[] = "/tmp/sp-cache-XXXXXX";
    const char *paths[] = {path};
    int fd = mkstemp(path);
    char *pem = certs_pair_certificate_pem(ca);
    struct sp_tls_trust *trust = NULL;
    struct sp_error err = {0};

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, pem, strlen(pem)), (ssize_t)strlen(pem));
    close(fd);
    free(pem);
    ck_assert_msg(sp_tls_trust_load(paths, 1, false, &trust, &err) == SP_OK, "%s", err.text);
    unlink(path);
    return trust;
}

static void send_one(size_t at, const struct certs_pair *pair)
{
    size_t len;
    const uint8_t *der = certs_pair_der(pair, &len);

    free(copies[at]);
    copies[at] = malloc(len);
    memcpy(copies[at], der, len);
    chain.certs[at] = (struct sp_bytes){copies[at], len};
}

static void send_all(struct certs_pair *first)
{
    send_one(0, first);
    send_one(1, mid);
    chain.count = 2;
}

static struct certs_pair *mint_leaf(const char *dn, int64_t not_before, int64_t not_after)
{
    const struct certs_spec spec = {.dn = dn,
                                    .eku = CERTS_EKU_CLIENT,
                                    .path_len = -1,
                                    .not_before = not_before,
                                    .not_after = not_after};

    return mint(&spec, mid);
}

static void setup(void)
{
    now = sp_clock_wall_s();
    root = mint_ca("CN=Acme Root CA,O=Acme", NULL);
    strange_root = mint_ca("CN=Globex Root CA,O=Globex", NULL);
    mid = mint_ca("CN=Acme Issuing CA,O=Acme", root);
    leaf = mint_leaf("CN=alice,O=Acme", now - HOUR, now + HOUR);
    send_all(leaf);
    memset(&config, 0, sizeof config);
    strict_config = config;
    strict_config.client_validation.require_eku = true;
    other_config = config;
    tenant = (struct gw_tenant){.config = &config, .id = "acme", .trust = trust_of(root)};
    memset(tenant.ticket_epoch, 7, sizeof tenant.ticket_epoch);
    cache = gw_chain_cache_new(GW_CHAIN_CACHE_ENTRIES);
    purpose = SP_PURPOSE_CLIENT;
}

static void teardown(void)
{
    gw_chain_cache_free(cache);
    sp_tls_trust_unref(tenant.trust);
    for (size_t i = 0; i < 2; i++) {
        free(copies[i]);
        copies[i] = NULL;
    }
    certs_pair_free(leaf);
    certs_pair_free(mid);
    certs_pair_free(strange_root);
    certs_pair_free(root);
}

static struct sp_chain_query query_of(const struct gw_tenant *t, int64_t at)
{
    return (struct sp_chain_query){
        .trust = t ? t->trust : NULL,
        .purpose = purpose,
        .require_eku = t && t->config->client_validation.require_eku,
        .now = at,
    };
}

static bool ask(const struct gw_tenant *t, int64_t at, struct sp_facts *ret_facts)
{
    struct sp_chain_query query = query_of(t, at);

    return gw_chain_cache_examine(cache, t, &chain, &query, ret_facts);
}

/* Asks the cache and examines afresh: the facts must be the same to the last byte. */
static bool is_remembered(const struct gw_tenant *t, int64_t at)
{
    const struct sp_chain_query query = query_of(t, at);
    struct sp_facts facts, fresh;
    bool remembered;

    memset(&facts, 0xa5, sizeof facts);
    memset(&fresh, 0x5a, sizeof fresh);
    remembered = ask(t, at, &facts);
    sp_chain_examine(&chain, &query, &fresh);
    ck_assert_uint_eq(facts.observed, fresh.observed);
    ck_assert(facts.has_certificate == fresh.has_certificate && facts.steady == fresh.steady);
    ck_assert_mem_eq(facts.subject, fresh.subject, sizeof facts.subject);
    ck_assert_mem_eq(facts.issuer, fresh.issuer, sizeof facts.issuer);
    ck_assert_mem_eq(facts.serial, fresh.serial, sizeof facts.serial);
    ck_assert_mem_eq(facts.fingerprint, fresh.fingerprint, sizeof facts.fingerprint);
    ck_assert_mem_eq(facts.detail, fresh.detail, sizeof facts.detail);
    ck_assert_uint_eq(facts.chain_len, fresh.chain_len);
    ck_assert_int_eq(facts.not_before, fresh.not_before);
    ck_assert_int_eq(facts.not_after, fresh.not_after);
    ck_assert(!remembered || facts.observed == 0);
    return remembered;
}

static sp_reason_set observed(const struct gw_tenant *t, int64_t at)
{
    struct sp_facts facts;

    ask(t, at, &facts);
    return facts.observed;
}

START_TEST(a_good_chain_is_remembered_with_the_very_same_facts)
{
    ck_assert(!is_remembered(&tenant, now));
    ck_assert_uint_eq(gw_chain_cache_count(cache), 1);
    for (int i = 0; i < 3; i++)
        ck_assert(is_remembered(&tenant, now + i));
    ck_assert_uint_eq(gw_chain_cache_count(cache), 1);
}
END_TEST

START_TEST(the_time_is_looked_at_on_every_hit)
{
    ck_assert(!is_remembered(&tenant, now));
    ck_assert(is_remembered(&tenant, now + HOUR)); /* the last second */
    ck_assert(!is_remembered(&tenant, now + HOUR + 1));
    ck_assert_uint_eq(observed(&tenant, now + HOUR + 1), SP_REASON_BIT(SP_REASON_EXPIRED));
    ck_assert_uint_eq(gw_chain_cache_count(cache), 0);
    ck_assert(!is_remembered(&tenant, now));
    ck_assert(is_remembered(&tenant, now - HOUR)); /* the first one */
    ck_assert(!is_remembered(&tenant, now - HOUR - 1));
    ck_assert_uint_eq(observed(&tenant, now - HOUR - 1), SP_REASON_BIT(SP_REASON_NOT_YET_VALID));
    ck_assert_uint_eq(gw_chain_cache_count(cache), 0);
}
END_TEST

/* The leaf outlives its issuers: theirs is the end that counts. */
START_TEST(the_time_is_that_of_the_whole_path)
{
    struct certs_pair *lasting = mint_leaf("CN=alice,O=Acme", now - 2 * DAY, now + 2 * DAY);

    send_all(lasting);
    ck_assert(!is_remembered(&tenant, now));
    ck_assert(is_remembered(&tenant, now + DAY));
    ck_assert(!is_remembered(&tenant, now + DAY + 1));
    ck_assert(!is_remembered(&tenant, now));
    ck_assert(!is_remembered(&tenant, now - DAY - 1));
    certs_pair_free(lasting);
}
END_TEST

START_TEST(no_other_tenant_and_no_other_epoch_shares_it)
{
    struct gw_tenant other = tenant;

    ck_assert(!is_remembered(&tenant, now));
    other.config = &other_config;
    other.id = "globex";
    ck_assert(!is_remembered(&other, now)); /* even with the same CAs and epoch */
    other = tenant;
    for (size_t i = 0; i < sizeof other.ticket_epoch; i++) {
        other.ticket_epoch[i] ^= 0x80;
        ck_assert(!is_remembered(&other, now));
        other.ticket_epoch[i] ^= 0x80;
    }
    ck_assert(is_remembered(&other, now));
    other = tenant; /* the same customer after the CA was taken out */
    other.trust = trust_of(strange_root);
    other.ticket_epoch[0] ^= 1;
    ck_assert(!is_remembered(&other, now));
    ck_assert_uint_ne(observed(&other, now), 0);
    sp_tls_trust_unref(other.trust);
    ck_assert(is_remembered(&tenant, now));
}
END_TEST

/* Whatever the epoch says: what was asked is in the key itself. */
START_TEST(what_is_asked_of_the_chain_is_a_part_of_the_key)
{
    ck_assert(!is_remembered(&tenant, now));
    tenant.config = &strict_config;
    ck_assert(!is_remembered(&tenant, now));
    ck_assert(is_remembered(&tenant, now));
    purpose = SP_PURPOSE_SERVER;
    ck_assert(!is_remembered(&tenant, now));
    ck_assert_uint_eq(observed(&tenant, now), SP_REASON_BIT(SP_REASON_WRONG_PURPOSE));
    ck_assert_uint_eq(gw_chain_cache_count(cache), 2);
}
END_TEST

START_TEST(a_name_to_match_is_never_answered_from_memory)
{
    struct sp_chain_query query = query_of(&tenant, now);
    struct sp_facts facts;

    ck_assert(!is_remembered(&tenant, now));
    query.name = "a.example.net";
    for (int i = 0; i < 2; i++) {
        ck_assert(!gw_chain_cache_examine(cache, &tenant, &chain, &query, &facts));
        ck_assert_uint_eq(facts.observed, SP_REASON_BIT(SP_REASON_NAME_MISMATCH));
    }
}
END_TEST

static const struct {
    unsigned max_chain, min_key_bits;
    size_t pin_count;
} askings[] = {{1, 0, 0}, {9, 0, 0}, {0, 3072, 0}, {0, 0, 1}};

START_TEST(other_rules_for_chains_are_never_answered_from_memory)
{
    static const char *const pins[] = {"sha256:00"};
    struct sp_chain_query query = query_of(&tenant, now);
    struct sp_facts facts, fresh;

    ck_assert(!is_remembered(&tenant, now));
    ck_assert(is_remembered(&tenant, now));
    query.max_chain = askings[_i].max_chain;
    query.min_key_bits = askings[_i].min_key_bits;
    query.pins = pins;
    query.pin_count = askings[_i].pin_count;
    ck_assert(!gw_chain_cache_examine(cache, &tenant, &chain, &query, &facts));
    sp_chain_examine(&chain, &query, &fresh);
    ck_assert_uint_eq(facts.observed, fresh.observed);
    ck_assert_uint_eq(facts.observed == 0, askings[_i].max_chain != 1 && !askings[_i].pin_count);
}
END_TEST

START_TEST(no_bit_of_any_certificate_can_differ)
{
    ck_assert(!is_remembered(&tenant, now));
    for (size_t i = 0; i < chain.count; i++) {
        for (size_t bit = 0; bit < 8 * chain.certs[i].len; bit += bit < 8 * 16 ? 1 : 61) {
            struct sp_facts facts;

            copies[i][bit / 8] ^= (uint8_t)(1U << bit % 8);
            ck_assert_msg(!ask(&tenant, now, &facts), "certificate %zu, bit %zu", i, bit);
            copies[i][bit / 8] ^= (uint8_t)(1U << bit % 8);
        }
    }
    ck_assert(is_remembered(&tenant, now));
}
END_TEST

START_TEST(another_order_number_or_border_of_certificates_is_another_chain)
{
    struct sp_chain good = chain;
    uint8_t all[8192];

    ck_assert(!is_remembered(&tenant, now));
    chain.count = 1;
    ck_assert(!is_remembered(&tenant, now));
    chain.certs[0] = good.certs[1];
    chain.certs[1] = good.certs[0];
    chain.count = 2;
    ck_assert(!is_remembered(&tenant, now));
    chain = good;
    chain.certs[2] = good.certs[1];
    chain.count = 3;
    ck_assert(!is_remembered(&tenant, now));
    memcpy(all, good.certs[0].data, good.certs[0].len); /* the same bytes, cut elsewhere */
    memcpy(all + good.certs[0].len, good.certs[1].data, good.certs[1].len);
    chain.certs[0] = (struct sp_bytes){all, good.certs[0].len + 1};
    chain.certs[1] = (struct sp_bytes){all + good.certs[0].len + 1, good.certs[1].len - 1};
    chain.count = 2;
    ck_assert(!is_remembered(&tenant, now));
    chain = good;
    ck_assert(is_remembered(&tenant, now));
}
END_TEST

static void spoil_expired(void)
{
    struct certs_pair *old = mint_leaf("CN=alice,O=Acme", now - 2 * HOUR, now - HOUR);

    send_all(old);
    certs_pair_free(old);
}

static void spoil_signature(void)
{
    copies[0][chain.certs[0].len - 1] ^= 1;
}

static void spoil_missing(void)
{
    chain.count = 1;
}

static void spoil_all(void)
{
    chain.count = 0;
}

static void spoil_too_many(void)
{
    for (chain.count = 2; chain.count <= SP_CHAIN_MAX_CERTS; chain.count++)
        chain.certs[chain.count] = chain.certs[1];
}

static void spoil_trust(void)
{
    sp_tls_trust_unref(tenant.trust);
    tenant.trust = trust_of(strange_root);
}

/* No extended key usage, where one is wanted. */
static void spoil_purpose(void)
{
    const struct certs_spec spec = {.dn = "CN=alice,O=Acme", .path_len = -1};
    struct certs_pair *plain = mint(&spec, mid);

    send_all(plain);
    certs_pair_free(plain);
    tenant.config = &strict_config;
}

static const struct {
    void (*spoil)(void);
    enum sp_reason reason;
} failures[] = {
    {spoil_expired, SP_REASON_EXPIRED},          {spoil_signature, SP_REASON_BAD_SIGNATURE},
    {spoil_all, SP_REASON_NO_CERTIFICATE},       {spoil_missing, SP_REASON_MISSING_INTERMEDIATE},
    {spoil_too_many, SP_REASON_CHAIN_TOO_LARGE}, {spoil_trust, SP_REASON_UNTRUSTED_ISSUER},
    {spoil_purpose, SP_REASON_WRONG_PURPOSE},
};

START_TEST(a_chain_that_failed_is_never_kept)
{
    failures[_i].spoil();
    for (int i = 0; i < 3; i++)
        ck_assert(!is_remembered(&tenant, now));
    ck_assert(observed(&tenant, now) & SP_REASON_BIT(failures[_i].reason));
    ck_assert_uint_eq(gw_chain_cache_count(cache), 0);
}
END_TEST

START_TEST(without_a_tenant_or_a_cache_nothing_is_kept)
{
    const struct sp_chain_query query = query_of(&tenant, now);
    struct sp_facts facts;

    ck_assert(!ask(NULL, now, &facts));
    ck_assert(!ask(NULL, now, &facts));
    ck_assert_uint_eq(facts.observed, 0); /* nobody was asked: no trust */
    ck_assert_uint_eq(gw_chain_cache_count(cache), 0);
    ck_assert(!gw_chain_cache_examine(NULL, &tenant, &chain, &query, &facts));
    ck_assert_uint_eq(facts.observed, 0);
    gw_chain_cache_free(NULL);
}
END_TEST

#define OK(call) ck_assert_msg((call) >= 0, #call)

/* The intermediate once more, with the same name and key and another time. */
static gnutls_datum_t renew_mid(int64_t not_before, int64_t not_after)
{
    char *key_pem = certs_pair_key_pem(root), *crt_pem = certs_pair_certificate_pem(root);
    gnutls_datum_t key_text = {(unsigned char *)key_pem, (unsigned)strlen(key_pem)};
    gnutls_datum_t crt_text = {(unsigned char *)crt_pem, (unsigned)strlen(crt_pem)};
    gnutls_datum_t der = {copies[1], (unsigned)chain.certs[1].len};
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t ca, crt;

    OK(gnutls_x509_privkey_init(&key));
    OK(gnutls_x509_privkey_import2(key, &key_text, GNUTLS_X509_FMT_PEM, NULL, 0));
    OK(gnutls_x509_crt_init(&ca));
    OK(gnutls_x509_crt_import(ca, &crt_text, GNUTLS_X509_FMT_PEM));
    OK(gnutls_x509_crt_init(&crt));
    OK(gnutls_x509_crt_import(crt, &der, GNUTLS_X509_FMT_DER));
    OK(gnutls_x509_crt_set_activation_time(crt, (time_t)not_before));
    OK(gnutls_x509_crt_set_expiration_time(crt, (time_t)not_after));
    OK(gnutls_x509_crt_sign2(crt, ca, key, GNUTLS_DIG_SHA256, 0));
    OK(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_DER, &der));
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_crt_deinit(ca);
    gnutls_x509_privkey_deinit(key);
    certs_secret_free(key_pem);
    free(crt_pem);
    return der;
}

/* The first intermediate that was sent is not valid yet, so the path of the second counts. In half
 * an hour it will be the first one's, which has other times: what is found now would not hold. */
START_TEST(what_another_path_may_replace_is_not_kept)
{
    gnutls_datum_t early = renew_mid(now + HOUR / 2, now + 2 * DAY);

    chain.certs[2] = chain.certs[1];
    chain.certs[1] = (struct sp_bytes){early.data, early.size};
    chain.count = 3;
    for (int i = 0; i < 2; i++) {
        ck_assert(!is_remembered(&tenant, now));
        ck_assert_uint_eq(observed(&tenant, now), 0);
    }
    ck_assert_uint_eq(gw_chain_cache_count(cache), 0);
    for (int i = 0; i < 2; i++)
        ck_assert(is_remembered(&tenant, now + HOUR / 2) == (i > 0));
    gnutls_free(early.data);
}
END_TEST

static void send_number(int number)
{
    char dn[64];
    struct certs_pair *one;

    snprintf(dn, sizeof dn, "CN=client %d,O=Acme", number);
    one = mint_leaf(dn, now - HOUR, now + HOUR);
    send_all(one);
    certs_pair_free(one);
}

START_TEST(the_bound_holds_and_who_was_not_seen_for_longest_goes)
{
    uint8_t *kept = NULL;
    struct sp_bytes first;

    gw_chain_cache_free(cache);
    cache = gw_chain_cache_new(4);
    send_number(0);
    kept = malloc(chain.certs[0].len);
    memcpy(kept, chain.certs[0].data, chain.certs[0].len);
    first = (struct sp_bytes){kept, chain.certs[0].len};
    ck_assert(!is_remembered(&tenant, now));
    for (int i = 1; i < 12; i++) {
        struct sp_bytes present;

        send_number(i);
        ck_assert(!is_remembered(&tenant, now));
        ck_assert_uint_eq(gw_chain_cache_count(cache), i < 3 ? (unsigned)i + 1 : 4);
        present = chain.certs[0];
        chain.certs[0] = first; /* comes again and again, so it stays */
        ck_assert(is_remembered(&tenant, now));
        chain.certs[0] = present;
    }
    ck_assert(is_remembered(&tenant, now)); /* the last one */
    for (int i = 0; i < 4; i++) {
        send_number(20 + i);
        ck_assert(!is_remembered(&tenant, now));
    }
    chain.certs[0] = first;
    ck_assert(!is_remembered(&tenant, now)); /* four others came since */
    free(kept);
}
END_TEST

START_TEST(cleared_it_knows_nobody_and_goes_on)
{
    for (int i = 0; i < 3; i++) {
        ck_assert(!is_remembered(&tenant, now));
        ck_assert(is_remembered(&tenant, now));
        gw_chain_cache_clear(cache);
        ck_assert_uint_eq(gw_chain_cache_count(cache), 0);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("chain_cache");
    TCase *tests = tcase_create("chain_cache");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, a_good_chain_is_remembered_with_the_very_same_facts);
    tcase_add_test(tests, the_time_is_looked_at_on_every_hit);
    tcase_add_test(tests, the_time_is_that_of_the_whole_path);
    tcase_add_test(tests, no_other_tenant_and_no_other_epoch_shares_it);
    tcase_add_test(tests, what_is_asked_of_the_chain_is_a_part_of_the_key);
    tcase_add_test(tests, a_name_to_match_is_never_answered_from_memory);
    tcase_add_loop_test(tests, other_rules_for_chains_are_never_answered_from_memory, 0,
                        sizeof askings / sizeof askings[0]);
    tcase_add_test(tests, no_bit_of_any_certificate_can_differ);
    tcase_add_test(tests, another_order_number_or_border_of_certificates_is_another_chain);
    tcase_add_loop_test(tests, a_chain_that_failed_is_never_kept, 0,
                        (int)(sizeof failures / sizeof failures[0]));
    tcase_add_test(tests, without_a_tenant_or_a_cache_nothing_is_kept);
    tcase_add_test(tests, what_another_path_may_replace_is_not_kept);
    tcase_add_test(tests, the_bound_holds_and_who_was_not_seen_for_longest_goes);
    tcase_add_test(tests, cleared_it_knows_nobody_and_goes_on);
    suite_add_tcase(suite, tests);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
