#include "common/tls_upper.h"

#include "common/tls_chain.h"
#include "common/tls_trust.h"
#include "tests/support/forge.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define BIT(reason) SP_REASON_BIT(SP_REASON_##reason)

static const struct forge_form acme_root = {.dn = "CN=Acme Root,O=Acme", .ca = true};

enum { CONSTRAINED, CLIENT_ONLY, SERVER_ONLY, UNKNOWN_CRITICAL, NAMED_GOOD, NAMED_EVIL, EXTS };
#define DER(bytes) bytes, sizeof bytes - 1
static const struct forge_ext exts[EXTS] = {
    [CONSTRAINED] = {"2.5.29.30", DER("\x30\x12\xa0\x10\x30\x0e\x82\x0cgood.example"), true},
    [CLIENT_ONLY] = {"2.5.29.37", DER("\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02"), false},
    [SERVER_ONLY] = {"2.5.29.37", DER("\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01"), false},
    [UNKNOWN_CRITICAL] = {"1.2.3.4", DER("\x05\x00"), true},
    [NAMED_GOOD] = {"2.5.29.17", DER("\x30\x0e\x82\x0cgood.example"), false},
    [NAMED_EVIL] = {"2.5.29.17",
                    DER("\x30\x0e\x82\x0c"
                        "evil.example"),
                    false},
};

/* What was sent (ends with -1), with what is remembered of issuers, for `asked`, where purpose and
 * min_key_bits are. Returns what is observed. */
static sp_reason_set examine_asked(struct sp_tls_uppers *uppers, const struct forge *f,
                                   const int *sent, int root, struct sp_chain_query asked)
{
    struct sp_chain_query query = asked;
    struct sp_chain chain;
    struct sp_tls_trust *trust = forge_trust(f, &root, 1);
    struct sp_facts facts;

    forge_chain(f, sent, &chain);
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
    static const struct forge_form mid_form = {.dn = "CN=Mid,O=Acme", .ca = true, .no_ids = true};
    static const struct forge_form leaf_form = {.dn = "CN=leaf", .no_ids = true};
    struct sp_tls_uppers *uppers = sp_tls_uppers_new();
    struct forge f = {.count = 0};
    int root = forge_cert(&f, -1, acme_root);
    int other_root = forge_cert(&f, -1, acme_root);
    int mid = forge_cert(&f, root, mid_form);
    int stranger = forge_cert(&f, -1, mid_form); /* the same name, another key */
    int first = forge_cert(&f, mid, leaf_form);
    int second = forge_cert(&f, mid, leaf_form);
    int forged = forge_cert(&f, stranger, leaf_form);
    int server =
        forge_cert(&f, mid, (struct forge_form){.dn = "CN=ca", .ca = true, .no_ids = true});

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
    int root = forge_cert(&f, -1, acme_root);
    int mid = forge_cert(
        &f, root,
        (struct forge_form){.dn = "CN=Mid", .ca = true, .rsa = true, .ext = &exts[CLIENT_ONLY]});
    int leaf = forge_cert(&f, mid, (struct forge_form){.dn = "CN=leaf"});

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
    int root = forge_cert(&f, -1, acme_root);
    int mid = forge_cert(&f, root, (struct forge_form){.dn = "CN=Mid", .ca = true});
    int strong = forge_cert(&f, mid, (struct forge_form){.dn = "CN=strong"});
    int weak = forge_cert(&f, mid, (struct forge_form){.dn = "CN=weak", .rsa = true});

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
    int root = forge_cert(&f, -1, acme_root);
    int mid =
        forge_cert(&f, root, (struct forge_form){.dn = "CN=Mid", .ca = true, .end = FORGE_DAY / 2});
    int late = forge_cert(&f, mid, (struct forge_form){.dn = "CN=late", .end = -1});
    int leaf = forge_cert(&f, mid, (struct forge_form){.dn = "CN=leaf"});

    ck_assert_uint_eq(examine_with(uppers, &f, late, mid, root), BIT(EXPIRED));
    ck_assert(!is_known(uppers, &f, mid, root));
    ck_assert_uint_eq(examine_with(uppers, &f, leaf, mid, root), 0);
    ck_assert(is_known(uppers, &f, mid, root));
    ck_assert_uint_eq(examine_with(uppers, &f, late, mid, root), BIT(EXPIRED));
    f.now += FORGE_DAY / 2 + 1;
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
    int root = forge_cert(&f, -1, acme_root);
    int mid = forge_cert(&f, root, (struct forge_form){.dn = "CN=Mid", .ca = true});
    int stranger = forge_cert(&f, root, (struct forge_form){.dn = "CN=Stranger", .ca = true});
    int leaf = forge_cert(&f, mid, (struct forge_form){.dn = "CN=leaf"});

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
    int root = forge_cert(&f, -1, acme_root);
    int upper = forge_cert(&f, root, (struct forge_form){.dn = "CN=Upper", .ca = true});
    int first = forge_cert(&f, upper, (struct forge_form){.dn = "CN=first"});
    int tries = 0;

    do {
        int lower = forge_cert(&f, upper, (struct forge_form){.dn = "CN=Lower", .ca = true});
        int leaf = forge_cert(&f, lower, (struct forge_form){.dn = "CN=leaf"});

        ck_assert_int_lt(tries++, 2000); /* one in 64 has the same place */
        ck_assert_uint_eq(examine_with(uppers, &f, first, upper, root), 0);
        ck_assert(is_parsed(uppers, &f, upper));
        ck_assert_uint_eq(examine_sent(uppers, &f, INTS(leaf, lower, upper), root), 0);
        ck_assert(is_parsed(uppers, &f, lower));
        forge_undo(&f);
        forge_undo(&f);
    } while (is_parsed(uppers, &f, upper));
    sp_tls_uppers_free(uppers);
    forge_free(&f);
}
END_TEST

/* What is known of the issuers must not lose what they, or the root, say about the leaf. */
START_TEST(issuers_with_name_constraints_are_judged_each_time)
{
    struct sp_tls_uppers *uppers = sp_tls_uppers_new();
    struct forge f = {.count = 0};
    bool by_root = _i;
    int root =
        forge_cert(&f, -1,
                   (struct forge_form){
                       .dn = "CN=Root", .ca = true, .ext = by_root ? &exts[CONSTRAINED] : NULL});
    int mid =
        forge_cert(&f, root,
                   (struct forge_form){
                       .dn = "CN=Mid", .ca = true, .ext = by_root ? NULL : &exts[CONSTRAINED]});
    int inside = forge_cert(&f, mid, (struct forge_form){.dn = "CN=in", .ext = &exts[NAMED_GOOD]});
    int outside =
        forge_cert(&f, mid, (struct forge_form){.dn = "CN=out", .ext = &exts[NAMED_EVIL]});

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
    int narrow = forge_cert(
        &f, -1, (struct forge_form){.dn = "CN=Narrow", .ca = true, .path_len_plus_1 = 1});
    int mid = forge_cert(&f, narrow, (struct forge_form){.dn = "CN=Mid", .ca = true});
    int leaf = forge_cert(&f, mid, (struct forge_form){.dn = "CN=leaf"});

    for (int i = 0; i < 2; i++) {
        ck_assert(examine_with(uppers, &f, leaf, mid, narrow) & BIT(CONSTRAINT_VIOLATION));
        ck_assert(!is_known(uppers, &f, mid, narrow));
    }
    sp_tls_uppers_free(uppers);
    forge_free(&f);
}
END_TEST

/* ---- at random ---- */

#define POOL  20 /* certificates of one round */
#define TRIES 60 /* chains made of them */

static uint64_t dice;

static unsigned draw(unsigned n) /* 0..n-1; the same for the same seed everywhere */
{
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return (unsigned)(dice >> 11) % n;
}

/* Few names and keys, so that what is taken for something else meets it; each fault is rare enough
 * that good chains are frequent. */
static struct forge_form random_form(bool ca, int so_far)
{
    static const char *const dns[] = {"CN=A,O=Acme", "CN=B,O=Acme", "CN=C,O=Acme", "CN=D,O=Acme"};
    struct forge_form form = {.dn = dns[draw(4)], .ca = ca, .no_ids = draw(2)};

    if (!draw(ca ? 10 : 3))
        form.ext = &exts[draw(EXTS)];
    if (!draw(20))
        form.ca = !ca;
    if (!draw(20))
        form.usage = draw(2) ? GNUTLS_KEY_CRL_SIGN : GNUTLS_KEY_KEY_AGREEMENT;
    if (!draw(6))
        form.path_len_plus_1 = 1 + (int)draw(2);
    if (!draw(20))
        form.end = -FORGE_DAY / 2;
    if (so_far && !draw(6))
        form.same_key_as = 1 + (int)draw((unsigned)so_far);
    form.v1 = !draw(20);
    form.rsa = !form.same_key_as && !draw(40);
    return form;
}

static void forge_at_random(struct forge *f)
{
    struct forge_form form = random_form(f->count < POOL / 2, f->count);
    unsigned issuers = (unsigned)f->count;

    if (issuers > POOL / 2 && draw(10))
        issuers = POOL / 2; /* CAs, most of them */
    forge_cert(f, issuers && draw(8) ? (int)draw(issuers) : -1, form);
}

static int draw_ca(const struct forge *f)
{
    int i;

    do
        i = (int)draw(POOL / 2);
    while (gnutls_x509_crt_get_ca_status(f->crt[i], NULL) <= 0);
    return i;
}

static bool same(const struct sp_facts *a, const struct sp_facts *b)
{
    return a->observed == b->observed && a->noted == b->noted && !strcmp(a->detail, b->detail) &&
           !strcmp(a->subject, b->subject) && !strcmp(a->issuer, b->issuer) &&
           !strcmp(a->path, b->path) && a->path_is_trusted == b->path_is_trusted &&
           a->paths_tried == b->paths_tried && a->not_before == b->not_before &&
           a->not_after == b->not_after && a->all_times_off == b->all_times_off &&
           a->holds_until == b->holds_until && a->steady == b->steady;
}

/* From some leaf upwards by who signed whom, now and then a stranger in a link's place. */
static void chain_at_random(const struct forge *f, struct sp_chain *ret_chain)
{
    int at = POOL - 1 - (int)draw(POOL / 2);

    *ret_chain = (struct sp_chain){.count = 0};
    while (ret_chain->count < 5) {
        int one = draw(12) ? at : (int)draw(POOL);

        ret_chain->certs[ret_chain->count++] =
            (struct sp_bytes){f->der[one].data, f->der[one].size};
        if (f->issuer[at] == at || !draw(8))
            break;
        at = f->issuer[at];
    }
}

START_TEST(what_is_known_of_issuers_changes_nothing_of_random_chains)
{
    const char *more = getenv("SALLYPORT_TEST_CHAINS");
    struct sp_tls_uppers *uppers = sp_tls_uppers_new();
    unsigned rounds = more ? (unsigned)atoi(more) : 20, good = 0;

    for (unsigned round = 0; round < rounds; round++) {
        struct forge f = {.count = 0};
        int trusted[5];
        struct sp_tls_trust *trust;

        dice = UINT64_C(0x9e3779b97f4a7c15) * (round + 1);
        while (f.count < POOL)
            forge_at_random(&f);
        for (size_t i = 0; i < 5; i++)
            trusted[i] = draw_ca(&f);
        trust = forge_trust(&f, trusted, 5);
        for (unsigned i = 0; i < TRIES; i++) {
            struct sp_chain_query query = {.trust = trust,
                                           .purpose =
                                               draw(3) ? SP_PURPOSE_CLIENT : SP_PURPOSE_SERVER,
                                           .min_key_bits = draw(4) ? 0 : 3072,
                                           .require_eku = draw(2),
                                           .now = f.now - (draw(10) ? 0 : FORGE_DAY / 2 + 60)};
            struct sp_chain chain;
            struct sp_facts without, with;

            chain_at_random(&f, &chain);
            sp_chain_examine(&chain, &query, &without);
            query.uppers = uppers;
            sp_chain_examine(&chain, &query, &with);
            ck_assert_msg(same(&without, &with),
                          "round %u, chain %u: %#x %s; with what is remembered %#x %s", round, i,
                          without.observed, without.detail, with.observed, with.detail);
            good += !without.observed;
        }
        sp_tls_trust_unref(trust);
        forge_free(&f);
    }
    ck_assert_uint_gt(good, 10 * rounds); /* else it would show nothing */
    sp_tls_uppers_free(uppers);
}
END_TEST

static Suite *upper_suite(void)
{
    Suite *suite = suite_create("tls_upper");
    TCase *tc = tcase_create("known issuers");

    tcase_add_test(tc, issuers_that_held_above_one_leaf_are_known_and_vouch_for_no_forgery);
    tcase_add_test(tc, issuers_are_known_for_what_was_asked_of_them);
    tcase_add_test(tc, a_weak_leaf_below_known_issuers_is_weak);
    tcase_add_test(tc, issuers_are_known_from_paths_without_fault_and_judged_by_the_time_again);
    tcase_add_test(tc, names_are_kept_by_their_bytes);
    tcase_add_test(tc, what_was_sent_beside_the_path_is_not_kept_parsed);
    tcase_add_test(tc, a_kept_issuer_gives_way_to_another_of_the_same_chain);
    tcase_add_loop_test(tc, issuers_with_name_constraints_are_judged_each_time, 0, 2);
    tcase_add_test(tc, issuers_that_exceed_a_path_length_are_never_known);
    tcase_add_test(tc, what_is_known_of_issuers_changes_nothing_of_random_chains);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(upper_suite());
    int failed;

    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
