/* What is kept of a URL's lists, and what sets of lists say where a URL has given nothing. */
#include "common/tls_crl_kept.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "certs/mint.h"
#include "common/clock.h"
#include "common/tls_chain.h"
#include "common/tls_crl.h"
#include "common/tls_crl_file.h"
#include "common/tls_trust.h"
#include "tests/support/scene.h"

#define BIT(reason) SP_REASON_BIT(SP_REASON_##reason)
#define DAY         INT64_C(86400)
#define URL         "http://crl.example/a.crl"

static int64_t now;
static struct certs_pair *root, *other, *twin, *middle, *leaf, *below, *other_leaf;
static struct sp_tls_trust *trust, *trust_other, *trust_both;
static struct sp_tls_crl_kept kept;

static struct certs_pair *mint_as(const char *dn, bool ca, const struct certs_pair *issuer)
{
    const struct certs_spec spec = {
        .dn = dn, .ca = ca, .path_len = -1, .key = CERTS_P256, .eku = ca ? 0 : CERTS_EKU_CLIENT};
    struct certs_pair *pair = NULL;

    ck_assert_int_eq(certs_mint(&spec, issuer, &pair, NULL), SP_OK);
    return pair;
}

static struct sp_tls_trust *trust_of(const struct certs_pair *first,
                                     const struct certs_pair *second)
{
    static const char *const paths[] = {"first.pem", "second.pem"};
    const struct certs_pair *const cas[] = {first, second};
    struct sp_tls_trust *made = NULL;

    for (size_t i = 0; i < 2 && cas[i]; i++) {
        char *pem = certs_pair_certificate_pem(cas[i]);

        scene_write(paths[i], pem);
        free(pem);
    }
    ck_assert_int_eq(sp_tls_trust_load(paths, second ? 2 : 1, false, &made, NULL), SP_OK);
    return made;
}

static void setup(void)
{
    scene_enter();
    now = sp_clock_wall_s();
    root = mint_as("CN=Root", true, NULL);
    other = mint_as("CN=Other", true, NULL);
    twin = mint_as("CN=Root", true, NULL);
    middle = mint_as("CN=Middle", true, root);
    leaf = mint_as("CN=leaf", false, root);
    below = mint_as("CN=below", false, middle);
    other_leaf = mint_as("CN=leaf", false, other);
    trust = trust_of(root, NULL);
    trust_other = trust_of(other, NULL);
    trust_both = trust_of(root, other);
    kept = (struct sp_tls_crl_kept){.good = NULL};
}

static void teardown(void)
{
    sp_tls_crl_kept_done(&kept);
    sp_tls_trust_unref(trust);
    sp_tls_trust_unref(trust_other);
    sp_tls_trust_unref(trust_both);
    certs_pair_free(root);
    certs_pair_free(other);
    certs_pair_free(twin);
    certs_pair_free(middle);
    certs_pair_free(leaf);
    certs_pair_free(below);
    certs_pair_free(other_leaf);
    scene_leave();
}

/* ---- what a URL gives ---- */

static char *list_pem(const struct certs_pair *ca, const struct certs_pair *revoked, int64_t begin,
                      int64_t end)
{
    const struct certs_pair *const list[] = {revoked};

    return certs_mint_crl_pem(ca, list, revoked ? 1 : 0, now + begin, now + end);
}

/* NULL: taken; else the refusal. */
static const char *offer_text(const char *pem, struct sp_tls_trust *to, bool *ret_changed)
{
    static struct sp_error err;
    struct sp_tls_crl_file *file = NULL;
    bool changed;
    enum sp_err rc;

    err = (struct sp_error){.text = ""};
    ck_assert_int_eq(sp_tls_crl_parse((const uint8_t *)pem, strlen(pem), &file, NULL), SP_OK);
    rc = sp_tls_crl_kept_offer(&kept, file, to, now, &changed, &err);
    sp_tls_crl_file_unref(file);
    if (ret_changed)
        *ret_changed = changed;
    return rc == SP_OK ? NULL : err.text;
}

static const char *offer(const struct certs_pair *ca, const struct certs_pair *revoked,
                         int64_t begin, int64_t end, bool *ret_changed)
{
    char *pem = list_pem(ca, revoked, begin, end);
    const char *said = offer_text(pem, trust, ret_changed);

    free(pem);
    return said;
}

static struct sp_tls_crl_set *load(const char *file, struct sp_tls_trust *to)
{
    const char *const names[] = {URL, file};
    struct sp_tls_crl_pool *pool = sp_tls_crl_pool_new();
    struct sp_tls_crl_set *set = NULL;

    sp_tls_crl_pool_keep(pool, URL, trust, &kept);
    ck_assert_int_eq(sp_tls_crl_set_load(pool, names, file ? 2 : 1, to, &set, NULL), SP_OK);
    sp_tls_crl_pool_free(pool);
    return set;
}

static sp_reason_set examine(const struct sp_tls_crl_set *set, const struct certs_pair *who,
                             const struct certs_pair *above, char *detail)
{
    struct sp_chain chain = {.count = above ? 2 : 1};
    const struct sp_chain_query query = {
        .trust = trust_both, .crls = set, .purpose = SP_PURPOSE_CLIENT, .now = now};
    struct sp_facts facts;

    chain.certs[0].data = certs_pair_der(who, &chain.certs[0].len);
    if (above)
        chain.certs[1].data = certs_pair_der(above, &chain.certs[1].len);
    sp_chain_examine(&chain, &query, &facts);
    if (detail)
        strcpy(detail, facts.detail);
    return facts.observed;
}

/* The same with the lists as they are kept now. */
static sp_reason_set seen(const struct certs_pair *who, const struct certs_pair *above)
{
    struct sp_tls_crl_set *set = load(NULL, trust);
    sp_reason_set observed = examine(set, who, above, NULL);

    sp_tls_crl_set_unref(set);
    return observed;
}

START_TEST(only_a_list_that_is_not_older_takes_the_place_of_one)
{
    bool changed;

    ck_assert_ptr_null(offer(root, NULL, -DAY, DAY, &changed));
    ck_assert(changed && sp_tls_crl_kept_is_known(&kept));
    ck_assert_int_eq(sp_tls_crl_kept_next_update(&kept), now + DAY);
    ck_assert_ptr_nonnull(strstr(offer(root, leaf, -DAY - 1, DAY, &changed), "older than the one"));
    ck_assert(!changed);
    ck_assert_uint_eq(seen(leaf, NULL), 0);
    ck_assert_ptr_null(offer(root, leaf, -DAY, DAY, &changed)); /* of the same second */
    ck_assert(changed);
    ck_assert_uint_eq(seen(leaf, NULL), BIT(REVOKED));
    ck_assert_ptr_null(offer(root, NULL, -1, 2 * DAY, &changed));
    ck_assert_uint_eq(seen(leaf, NULL), 0);
}
END_TEST

START_TEST(the_same_content_again_is_no_change)
{
    char *pem = list_pem(root, NULL, -DAY, DAY);
    bool changed;

    ck_assert_ptr_null(offer_text(pem, trust, &changed));
    ck_assert(changed);
    ck_assert_ptr_null(offer_text(pem, trust, &changed));
    ck_assert(!changed);
    free(pem);
}
END_TEST

START_TEST(what_is_forged_foreign_or_of_the_future_is_refused)
{
    ck_assert_ptr_nonnull(strstr(offer(root, NULL, 1, DAY, NULL), "from the future"));
    ck_assert_ptr_nonnull(strstr(offer(twin, NULL, -1, DAY, NULL), "did not sign it"));
    ck_assert_ptr_null(kept.good);
    ck_assert_ptr_null(offer(root, NULL, 0, DAY, NULL));
    ck_assert_ptr_nonnull(strstr(offer(twin, leaf, 0, DAY, NULL), "did not sign it"));
    ck_assert_ptr_nonnull(
        strstr(offer(other, leaf, 0, DAY, NULL), "there is no CRL of 'CN=Root' in it, as there"));
    ck_assert_ptr_nonnull(strstr(offer(root, leaf, 1, DAY, NULL), "from the future"));
    ck_assert_uint_eq(seen(leaf, NULL), 0);
}
END_TEST

START_TEST(a_stale_list_is_taken_where_there_is_none_and_says_so)
{
    ck_assert_ptr_null(offer(root, leaf, -9 * DAY, -DAY, NULL));
    ck_assert_uint_eq(seen(leaf, NULL), BIT(REVOKED) | BIT(CRL_STALE));
}
END_TEST

START_TEST(an_intermediates_list_is_proved_by_a_handshake_and_then_kept_from_forgers)
{
    struct certs_pair *fake = mint_as("CN=Middle", true, NULL);

    ck_assert_ptr_null(offer(fake, NULL, -9, DAY, NULL));
    ck_assert_ptr_null(offer(fake, NULL, -8, DAY, NULL));
    ck_assert_ptr_null(kept.good);
    ck_assert_ptr_null(offer(middle, below, -3, DAY, NULL));
    ck_assert(!sp_tls_crl_kept_is_known(&kept));
    ck_assert_uint_eq(seen(leaf, NULL), BIT(CRL_STALE)); /* whose list it is, nobody knows */
    ck_assert_uint_eq(seen(below, middle), BIT(REVOKED));
    ck_assert(sp_tls_crl_kept_is_known(&kept));
    ck_assert_uint_eq(seen(leaf, NULL), 0); /* it is known not to be Root's */
    for (int i = 0; i < 3; i++) {           /* however many */
        ck_assert_ptr_null(offer(fake, NULL, -2, (3 + i) * DAY, NULL));
        ck_assert_uint_eq(seen(below, middle), BIT(REVOKED));
    }
    ck_assert_ptr_null(offer(fake, NULL, 0, DAY, NULL));
    ck_assert_ptr_nonnull(strstr(offer(middle, NULL, -4, DAY, NULL), "older than the one"));
    ck_assert_ptr_null(offer(middle, NULL, -1, DAY, NULL)); /* a forger sets no mark */
    ck_assert_uint_eq(seen(below, middle), 0);
    ck_assert_ptr_nonnull(strstr(offer(middle, below, -2, DAY, NULL), "older than the one"));
    ck_assert_ptr_null(kept.pending);
    certs_pair_free(fake);
}
END_TEST

START_TEST(a_bundle_with_a_forged_list_displaces_no_genuine_one)
{
    struct certs_pair *fake = mint_as("CN=Middle", true, NULL);
    char *root_list = list_pem(root, NULL, -3, DAY), *own = list_pem(middle, below, -3, DAY);
    char *forged = list_pem(fake, NULL, -2, DAY), *newer = list_pem(root, leaf, -2, DAY);
    char *both = NULL, *bad = NULL;

    ck_assert(asprintf(&both, "%s%s", root_list, own) > 0);
    ck_assert(asprintf(&bad, "%s%s", newer, forged) > 0);
    ck_assert_ptr_null(offer_text(both, trust, NULL));
    ck_assert_uint_eq(seen(below, middle), BIT(REVOKED));
    ck_assert_ptr_null(offer_text(bad, trust, NULL));
    ck_assert_uint_eq(seen(below, middle), BIT(REVOKED));
    ck_assert_uint_eq(seen(leaf, NULL), BIT(REVOKED)); /* Root's part of it is proved */
    ck_assert_ptr_nonnull(strstr(offer_text(both, trust, NULL), "older than the one"));
    ck_assert_uint_eq(seen(below, middle), BIT(REVOKED)); /* not for another offer either */
    free(root_list);
    free(own);
    free(forged);
    free(newer);
    free(both);
    free(bad);
    certs_pair_free(fake);
}
END_TEST

/* A content may have several lists of one issuer, and several issuers. */
START_TEST(of_a_content_the_newest_list_of_an_issuer_and_the_earliest_end_count)
{
    char *older = list_pem(root, NULL, -9, DAY), *newer = list_pem(root, leaf, -2, 3 * DAY);
    char *others = list_pem(other, NULL, -2, 2 * DAY);
    const char *const orders[][3] = {{older, newer, others}, {others, newer, older}};
    char *stale = NULL;

    ck_assert(asprintf(&stale, "%s%s", older, others) > 0);
    for (int i = 0; i < 2; i++) {
        const struct sp_tls_crl_kept none = {.good = NULL};
        char *all = NULL;

        ck_assert(asprintf(&all, "%s%s%s", orders[i][0], orders[i][1], orders[i][2]) > 0);
        ck_assert_ptr_null(offer(root, NULL, -3, DAY, NULL));
        ck_assert_ptr_null(
            offer_text(all, trust_both, NULL)); /* not older, for all that is in it */
        ck_assert_int_eq(sp_tls_crl_kept_next_update(&kept), now + DAY);
        ck_assert_ptr_null(offer_text(all, trust_both, NULL));
        ck_assert_ptr_nonnull(strstr(offer_text(stale, trust_both, NULL), "older than the one"));
        sp_tls_crl_kept_done(&kept);
        ck_assert_int_eq(sp_tls_crl_kept_next_update(&none), INT64_MIN);
        free(all);
    }
    free(stale);
    free(older);
    free(newer);
    free(others);
}
END_TEST

/* ---- sets ---- */

START_TEST(a_url_that_was_never_fetched_is_stale_for_every_issuer_without_a_current_list)
{
    struct sp_tls_crl_set *set;
    char detail[SP_DN_MAX], *pem;

    set = load(NULL, trust_both);
    ck_assert_uint_eq(examine(set, leaf, NULL, detail), BIT(CRL_STALE));
    ck_assert_str_eq(detail, "the CRL of " URL " was never fetched yet");
    sp_tls_crl_set_unref(set);
    sp_tls_crl_kept_why(&kept, "answered 503");

    set = load(NULL, trust);
    ck_assert_uint_eq(examine(set, below, middle, detail), BIT(CRL_STALE));
    ck_assert_str_eq(detail, "the CRL of " URL " was never fetched: answered 503");
    sp_tls_crl_set_unref(set);

    pem = list_pem(root, NULL, -DAY, DAY);
    scene_write("a.crl", pem);
    free(pem);
    set = load("a.crl", trust_both);
    ck_assert_uint_eq(examine(set, leaf, NULL, NULL), 0);
    ck_assert_uint_eq(examine(set, other_leaf, NULL, NULL), BIT(CRL_STALE));
    ck_assert_uint_eq(examine(set, below, middle, NULL), BIT(CRL_STALE)); /* Middle has none */
    sp_tls_crl_set_unref(set);
}
END_TEST

START_TEST(what_was_not_fetched_does_not_change_the_digest)
{
    static const char *const names[] = {"a.crl"};
    struct sp_tls_crl_pool *pool = sp_tls_crl_pool_new();
    struct sp_tls_crl_set *with, *without;
    uint8_t a[32], b[32], none[32] = {0};
    char *pem = list_pem(root, NULL, -DAY, DAY);

    scene_write("a.crl", pem);
    with = load("a.crl", trust);
    ck_assert_int_eq(sp_tls_crl_set_load(pool, names, 1, trust, &without, NULL), SP_OK);
    sp_tls_crl_set_digest(with, a);
    sp_tls_crl_set_digest(without, b);
    ck_assert_mem_eq(a, b, sizeof a);
    sp_tls_crl_set_unref(with);
    with = load(NULL, trust);
    sp_tls_crl_set_digest(with, a);
    ck_assert_mem_eq(a, none, sizeof a);
    sp_tls_crl_set_unref(with);
    ck_assert_ptr_null(offer_text(pem, trust, NULL));
    with = load(NULL, trust);
    sp_tls_crl_set_digest(with, a);
    ck_assert_mem_ne(a, none, sizeof a);
    sp_tls_crl_set_unref(with);
    sp_tls_crl_set_unref(without);
    sp_tls_crl_pool_free(pool);
    free(pem);
}
END_TEST

START_TEST(another_trust_begins_with_what_was_fetched_if_it_can_use_it)
{
    struct sp_tls_trust *trust_twin = trust_of(twin, NULL);
    struct sp_tls_crl_set *set;
    char detail[SP_DN_MAX];

    ck_assert_ptr_null(offer(root, leaf, -DAY, DAY, NULL));
    set = load(NULL, trust_both); /* a CA was added */
    ck_assert_uint_eq(examine(set, leaf, NULL, NULL), BIT(REVOKED));
    ck_assert_ptr_null(sp_tls_crl_set_kept(set, 0)->why);
    sp_tls_crl_set_unref(set);
    set = load(NULL, trust_twin); /* to whom it is forged */
    ck_assert_uint_eq(examine(set, leaf, NULL, detail), BIT(CRL_STALE));
    ck_assert_ptr_nonnull(strstr(detail, "the trusted CA of that name did not sign it"));
    sp_tls_crl_set_unref(set);
    sp_tls_trust_unref(trust_twin);
    set = load(NULL, trust_other); /* to whom it is nobody's */
    ck_assert_uint_eq(examine(set, other_leaf, NULL, detail), BIT(CRL_STALE));
    ck_assert_ptr_nonnull(strstr(detail, "neither from a trusted CA nor from one that the peer"));
    sp_tls_crl_set_unref(set);
}
END_TEST

START_TEST(a_set_is_outdated_when_its_url_has_given_something_else)
{
    struct sp_tls_crl_set *set = load(NULL, trust);
    struct sp_tls_crl_pool *pool = sp_tls_crl_pool_new(), *newer = sp_tls_crl_pool_new();

    sp_tls_crl_pool_keep(pool, URL, trust, &kept);
    ck_assert(!sp_tls_crl_set_is_outdated(set, pool));
    ck_assert_ptr_null(offer(root, NULL, -DAY, DAY, NULL));
    sp_tls_crl_pool_keep(newer, URL, trust, &kept);
    sp_tls_crl_pool_add(newer, set); /* what is older does not count */
    ck_assert(sp_tls_crl_set_is_outdated(set, newer));
    sp_tls_crl_pool_free(pool);
    sp_tls_crl_pool_free(newer);
    sp_tls_crl_set_unref(set);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tls_crl_kept");
    TCase *tcase = tcase_create("tls_crl_kept");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, only_a_list_that_is_not_older_takes_the_place_of_one);
    tcase_add_test(tcase, the_same_content_again_is_no_change);
    tcase_add_test(tcase, what_is_forged_foreign_or_of_the_future_is_refused);
    tcase_add_test(tcase, a_stale_list_is_taken_where_there_is_none_and_says_so);
    tcase_add_test(tcase,
                   an_intermediates_list_is_proved_by_a_handshake_and_then_kept_from_forgers);
    tcase_add_test(tcase, a_bundle_with_a_forged_list_displaces_no_genuine_one);
    tcase_add_test(tcase, of_a_content_the_newest_list_of_an_issuer_and_the_earliest_end_count);
    tcase_add_test(tcase,
                   a_url_that_was_never_fetched_is_stale_for_every_issuer_without_a_current_list);
    tcase_add_test(tcase, what_was_not_fetched_does_not_change_the_digest);
    tcase_add_test(tcase, another_trust_begins_with_what_was_fetched_if_it_can_use_it);
    tcase_add_test(tcase, a_set_is_outdated_when_its_url_has_given_something_else);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
