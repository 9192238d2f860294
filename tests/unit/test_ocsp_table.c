/* OCSP at the gateway without a network: who asks, how often, what is believed and for how long. */
#include "common/tls_crl.h"
#include "tests/support/ocsp_table.h"

#define GOOD    OCSP_SAYS_GOOD
#define IS_GOOD SP_OCSP_GOOD

static void ask_and_answer(const struct certs_pair *leaf, enum ocsp_said said, int64_t end)
{
    size_t before = fetch_count;

    ck_assert_int_eq(look_at(leaf).reply, GW_OCSP_LATER);
    RUN_UNTIL(fetch_count == before + 1);
    answer_with(before, leaf, said, -10, end);
}

START_TEST(a_thousand_looks_of_one_certificate_are_one_question)
{
    struct look look;

    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(look_at(ocsp_world.leaf).reply, GW_OCSP_LATER);
    RUN_UNTIL(fetch_count);
    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(look_at(ocsp_world.leaf).reply, GW_OCSP_LATER);
    run_ms(20);
    ck_assert_uint_eq(fetch_count, 1);
    ck_assert_str_eq(fetches[0].url, OCSP_WORLD_URL);
    ck_assert_int_eq(fetches[0].reach, SP_FETCH_ANYWHERE);
    answer_with(0, ocsp_world.leaf, GOOD, -10, 3600);
    ck_assert_uint_eq(status_count, 1);
    look = look_at(ocsp_world.leaf);
    ck_assert_int_eq(known(&look), IS_GOOD);
    ck_assert_str_eq(look.status.from, OCSP_WORLD_URL);
    run_ms(20);
    ck_assert_uint_eq(fetch_count, 1);
}
END_TEST

START_TEST(each_tenant_asks_for_itself)
{
    struct look look;

    ask_and_answer(ocsp_world.leaf_with_url, GOOD, 3600);
    look = look_as(ocsp_world.tenant2, ocsp_world.leaf_with_url, NULL, true);
    ck_assert_int_eq(look.reply, GW_OCSP_LATER);
    RUN_UNTIL(fetch_count == 2);
    ck_assert_int_eq(fetches[1].reach, SP_FETCH_PUBLIC); /* the certificate's own URL */
}
END_TEST

START_TEST(a_tenant_asks_eight_at_a_time_and_in_the_end_about_all)
{
    struct certs_pair *leaves[30];
    size_t done = 0;

    for (size_t i = 0; i < 30; i++) {
        leaves[i] = ocsp_world_mint("CN=one of many", NULL);
        ck_assert_int_eq(look_at(leaves[i]).reply, GW_OCSP_LATER);
    }
    RUN_UNTIL(fetch_count == 8);
    run_ms(20);
    ck_assert_uint_eq(fetch_count, 8);
    ck_assert_int_eq(look_as(ocsp_world.tenant2, ocsp_world.leaf_with_url, NULL, true).reply,
                     GW_OCSP_LATER);
    RUN_UNTIL(fetch_count == 9); /* another tenant does not stand behind them */
    for (size_t i = 0; i < fetch_count; i++, done++)
        answer(i, NULL);
    ck_assert_uint_eq(done, 31);
    ck_assert_uint_eq(status_count, 31);
    for (size_t i = 0; i < 30; i++)
        certs_pair_free(leaves[i]);
}
END_TEST

START_TEST(who_stands_in_line_for_too_long_is_told_so)
{
    struct certs_pair *leaves[9];
    size_t failed = 0, busy = 0;
    uint64_t until_us;
    struct look look;

    ocsp_world.config.client_validation.ocsp.timeout_ms = 1000;
    for (size_t i = 0; i < 9; i++)
        leaves[i] = ocsp_world_mint("CN=one of many", NULL);
    for (size_t i = 0; i < 9; i++)
        look_at(leaves[i]);
    until_us = sp_loop_clock_us() + 1000 * 1000;
    RUN_UNTIL(fetch_count == 8 && sp_loop_clock_us() >= until_us);
    answer(0, NULL);
    ck_assert_uint_eq(fetch_count, 8);
    ck_assert_uint_eq(status_count, 2);
    for (size_t i = 0; i < 9; i++) {
        look = look_as(ocsp_world.tenant, leaves[i], NULL, false);
        if (look.reply == GW_OCSP_KNOWN) {
            failed += strstr(look.status.answer.detail, "answered 503") != NULL;
            busy += strstr(look.status.answer.detail, "still busy") != NULL;
        }
        certs_pair_free(leaves[i]);
    }
    ck_assert_uint_eq(failed, 1);
    ck_assert_uint_eq(busy, 1);
}
END_TEST

START_TEST(a_tenants_share_of_the_table_ends_and_the_others_is_untouched)
{
    struct look look = look_at(ocsp_world.leaf);

    entry_of(&look)->tenant->entries = GW_OCSP_TENANT_MAX;
    look = look_at(ocsp_world.leaf2);
    ck_assert_int_eq(known(&look), SP_OCSP_INVALID);
    ck_assert_str_eq(look.status.answer.detail, "too many certificates are being asked about");
    look = look_as(ocsp_world.tenant2, ocsp_world.leaf_with_url, NULL, true);
    ck_assert_int_eq(look.reply, GW_OCSP_LATER);
    look = look_at(ocsp_world.leaf);
    entry_of(&look)->tenant->entries = 1;
}
END_TEST

START_TEST(who_names_no_responder_is_not_asked_about_and_leaves_nothing)
{
    struct look look = look_as(ocsp_world.tenant2, ocsp_world.leaf, NULL, true);

    ck_assert_int_eq(known(&look), SP_OCSP_INVALID);
    ck_assert_str_eq(look.status.answer.detail, GW_OCSP_NOBODY);
    ck_assert_uint_eq(sp_hash_count(ocsp->entries), 0);
}
END_TEST

START_TEST(a_strangers_certificate_is_not_asked_about_and_leaves_nothing)
{
    const struct certs_spec spec = {
        .dn = "CN=x", .path_len = -1, .eku = CERTS_EKU_CLIENT, .ocsp_uri = OCSP_WORLD_URL};
    struct certs_pair *stranger = NULL;
    struct look look;

    ck_assert_int_eq(certs_mint(&spec, ocsp_world.other_ca, &stranger, NULL), SP_OK);
    look = look_at(stranger);
    ck_assert_int_eq(known(&look), SP_OCSP_INVALID);
    ck_assert_str_eq(look.status.answer.detail, "its issuer is not one that can be believed");
    ck_assert_uint_eq(sp_hash_count(ocsp->entries), 0);
    certs_pair_free(stranger);
}
END_TEST

/* Nor when the cache file has an entry that is said to be about it. */
START_TEST(an_entry_of_a_strangers_certificate_is_no_reason_to_ask)
{
    const struct certs_spec spec = {
        .dn = "CN=x", .path_len = -1, .eku = CERTS_EKU_CLIENT, .ocsp_uri = OCSP_WORLD_URL};
    struct certs_pair *stranger = NULL;
    struct look look;

    ck_assert_int_eq(certs_mint(&spec, ocsp_world.other_ca, &stranger, NULL), SP_OK);
    look = look_at(stranger);
    ck_assert_ptr_nonnull(gw_ocsp_entry_new(ocsp, &look.key, "acme"));
    gw_ocsp_entry_set_response(entry_of(&look), (const uint8_t *)"x", 1);
    look = look_at(stranger);
    ck_assert_int_eq(known(&look), SP_OCSP_INVALID);
    ck_assert_str_eq(look.status.answer.detail, "its issuer is not one that can be believed");
    run_ms(20);
    ck_assert_uint_eq(fetch_count, 0);
    ck_assert_ptr_nonnull(entry_of(&look)->response); /* it was not even looked at */
    ck_assert_ptr_null(strstr(read_log(), "\"responder\":\"cache\""));
    certs_pair_free(stranger);
}
END_TEST

START_TEST(an_open_tunnel_waits_only_where_nothing_was_ever_known)
{
    struct look look = look_as(ocsp_world.tenant, ocsp_world.leaf, NULL, false);

    ck_assert_int_eq(look.reply, GW_OCSP_LATER);
    RUN_UNTIL(fetch_count);
    answer(0, NULL);
    look = look_as(ocsp_world.tenant, ocsp_world.leaf, NULL, false);
    ck_assert_int_eq(known(&look), SP_OCSP_INVALID);
    ck_assert_int_gt(look.status.holds_until, ocsp_world.now);
    RUN_UNTIL(sp_clock_wall_s() >= look.status.holds_until);
    look = look_as(ocsp_world.tenant, ocsp_world.leaf, NULL, false); /* asks again meanwhile */
    ck_assert_int_eq(known(&look), SP_OCSP_INVALID);
    RUN_UNTIL(fetch_count == 2);
    answer_with(1, ocsp_world.leaf, GOOD, -10, 3600);
    look = look_as(ocsp_world.tenant, ocsp_world.leaf, NULL, false);
    ck_assert_int_eq(known(&look), IS_GOOD);
}
END_TEST

START_TEST(an_answer_is_stale_at_its_end_and_by_the_tenants_age)
{
    struct look look;

    ask_and_answer(ocsp_world.leaf, GOOD, 3600);
    look = look_at(ocsp_world.leaf);
    ck_assert_int_eq(look.status.holds_until, look.status.answer.next_update);
    ocsp_world.config2 = ocsp_world.config; /* as after a reload: another configuration */
    ocsp_world.config2.refs = 1;
    ocsp_world.config2.client_validation.ocsp.max_age_s = 5;
    ocsp_world.tenant->config = &ocsp_world.config2;
    ck_assert_int_eq(look_at(ocsp_world.leaf).reply, GW_OCSP_LATER);
    look = look_as(ocsp_world.tenant, ocsp_world.leaf, NULL, false);
    ck_assert_int_eq(known(&look), SP_OCSP_INVALID);
    ck_assert_str_eq(look.status.answer.detail, "the last answer is stale");
}
END_TEST

START_TEST(a_reload_that_changes_the_responder_asks_again_at_once)
{
    static char url[] = "http://127.0.0.1:10/";
    struct look look = look_at(ocsp_world.leaf);

    RUN_UNTIL(fetch_count);
    answer(0, NULL);
    entry_of(&look)->retry_at = sp_clock_wall_s() + 60;
    ck_assert_int_eq(look_at(ocsp_world.leaf).reply, GW_OCSP_KNOWN);
    ocsp_world.config2 = ocsp_world.config;
    ocsp_world.config2.refs = 1;
    ocsp_world.tenant->config = &ocsp_world.config2;
    ck_assert_int_eq(look_at(ocsp_world.leaf).reply, GW_OCSP_KNOWN); /* nothing changed */
    ocsp_world.tenant->config = &ocsp_world.config;
    look_at(ocsp_world.leaf);
    ocsp_world.config2.client_validation.ocsp.responder = url;
    ocsp_world.tenant->config = &ocsp_world.config2;
    ck_assert_int_eq(look_at(ocsp_world.leaf).reply, GW_OCSP_LATER);
    RUN_UNTIL(fetch_count == 2);
    ck_assert_str_eq(fetches[1].url, url);
}
END_TEST

START_TEST(a_revoked_one_stays_revoked_when_nobody_answers_any_more)
{
    struct gw_ocsp_entry *e;
    struct look look;

    ask_and_answer(ocsp_world.leaf, OCSP_SAYS_REVOKED, 3600);
    look = look_at(ocsp_world.leaf);
    ck_assert_int_eq(known(&look), SP_OCSP_REVOKED);
    ck_assert_int_eq(look.status.holds_until, look.status.answer.next_update);
    e = entry_of(&look);
    e->status->holds_until = sp_clock_wall_s() - 1;
    ck_assert_int_eq(look_at(ocsp_world.leaf).reply, GW_OCSP_LATER);
    RUN_UNTIL(fetch_count == 2);
    answer(1, NULL);
    look = look_as(ocsp_world.tenant, ocsp_world.leaf, NULL, false);
    ck_assert_int_eq(known(&look), SP_OCSP_REVOKED);
    ck_assert_int_gt(look.status.holds_until, sp_clock_wall_s() - 1);
}
END_TEST

/* Replayed by somebody on the way, or by the client itself. */
START_TEST(an_older_good_does_not_undo_a_revoked)
{
    struct sp_bytes older = ocsp_world_say(ocsp_world.leaf, GOOD, -100, 3600);
    struct sp_bytes newer = ocsp_world_say(ocsp_world.leaf, GOOD, 0, 3600);
    struct look look;

    ask_and_answer(ocsp_world.leaf, OCSP_SAYS_REVOKED, 3600);
    look = look_at(ocsp_world.leaf);
    entry_of(&look)->status->holds_until = sp_clock_wall_s() - 1;
    look = look_as(ocsp_world.tenant, ocsp_world.leaf, &older, true);
    ck_assert_int_eq(look.reply, GW_OCSP_LATER);
    RUN_UNTIL(fetch_count == 2);
    answer(1, &older);
    look = look_as(ocsp_world.tenant, ocsp_world.leaf, NULL, false);
    ck_assert_int_eq(known(&look), SP_OCSP_REVOKED);
    ck_assert_ptr_nonnull(strstr(read_log(), "an older answer than the one that said"));
    look = look_as(ocsp_world.tenant, ocsp_world.leaf, &older, false);
    ck_assert_int_eq(known(&look), SP_OCSP_REVOKED);
    look = look_as(ocsp_world.tenant, ocsp_world.leaf, &newer, true);
    ck_assert_int_eq(known(&look), IS_GOOD);
    free((void *)(uintptr_t)older.data);
    free((void *)(uintptr_t)newer.data);
}
END_TEST

/* The newer statement counts, and `unknown` is never good: not until the good one would have ended.
 */
START_TEST(an_unknown_takes_the_place_of_an_older_good_until_there_is_a_newer_one)
{
    struct sp_bytes older = ocsp_world_say(ocsp_world.leaf, GOOD, -100, 3600);
    struct sp_bytes newer = ocsp_world_say(ocsp_world.leaf, GOOD, 0, 3600);
    struct gw_ocsp_entry *e;
    struct look look;

    ask_and_answer(ocsp_world.leaf, GOOD, 3600);
    look = look_at(ocsp_world.leaf);
    e = entry_of(&look);
    sp_heap_put(&ocsp->schedule, &e->due, sp_clock_wall_s()); /* a refresh */
    RUN_UNTIL(fetch_count == 2);
    answer_with(1, ocsp_world.leaf, OCSP_SAYS_UNKNOWN, -5, 3600);
    ck_assert_uint_eq(status_count, 2); /* open tunnels are decided again ... */
    look = look_as(ocsp_world.tenant, ocsp_world.leaf, NULL, false);
    ck_assert_int_eq(known(&look), SP_OCSP_UNKNOWN); /* ... by this */
    ck_assert_ptr_nonnull(strstr(look.status.answer.detail, "does not know the certificate"));
    ck_assert_int_le(e->retry_at, sp_clock_wall_s() + 1);
    look = look_as(ocsp_world.tenant, ocsp_world.leaf, &older, false); /* does not undo it */
    ck_assert_int_eq(known(&look), SP_OCSP_UNKNOWN);
    RUN_UNTIL(look_at(ocsp_world.leaf).reply == GW_OCSP_LATER); /* soon asked again */
    RUN_UNTIL(fetch_count == 3);
    answer(2, &older); /* nor from the responder */
    look = look_as(ocsp_world.tenant, ocsp_world.leaf, NULL, false);
    ck_assert_int_eq(known(&look), SP_OCSP_INVALID);
    look = look_as(ocsp_world.tenant, ocsp_world.leaf, &newer, true);
    ck_assert_int_eq(known(&look), IS_GOOD);
    free((void *)(uintptr_t)older.data);
    free((void *)(uintptr_t)newer.data);
}
END_TEST

START_TEST(an_unknown_that_is_older_changes_nothing_and_none_undoes_a_revoked)
{
    static const enum ocsp_said before[] = {GOOD, OCSP_SAYS_REVOKED};
    static const int64_t begins[] = {-20, -5};
    struct look look;

    ask_and_answer(ocsp_world.leaf, before[_i], 3600);
    look = look_at(ocsp_world.leaf);
    sp_heap_put(&ocsp->schedule, &entry_of(&look)->due, sp_clock_wall_s());
    RUN_UNTIL(fetch_count == 2);
    answer_with(1, ocsp_world.leaf, OCSP_SAYS_UNKNOWN, begins[_i], 3600);
    look = look_at(ocsp_world.leaf);
    ck_assert_int_eq(known(&look), _i ? SP_OCSP_REVOKED : IS_GOOD);
}
END_TEST

/* A certificate that was issued a moment ago: its responder hears of it a little later. */
START_TEST(an_unknown_is_no_answer_to_be_kept_and_is_forgotten_over_a_restart)
{
    struct sp_bytes good = ocsp_world_say(ocsp_world.leaf, GOOD, -10, 3600);
    struct look look = look_as(ocsp_world.tenant, ocsp_world.leaf, &good, true);

    ck_assert_int_eq(known(&look), IS_GOOD);
    run_ms(10);
    sp_heap_put(&ocsp->schedule, &entry_of(&look)->due, sp_clock_wall_s());
    RUN_UNTIL(fetch_count == 1);
    answer_with(0, ocsp_world.leaf, OCSP_SAYS_UNKNOWN, -5, 3600);
    table_close();
    table_open();
    ck_assert_int_eq(look_at(ocsp_world.leaf).reply, GW_OCSP_LATER);
    free((void *)(uintptr_t)good.data);
}
END_TEST

START_TEST(a_staple_answers_in_place_of_the_responder_if_it_is_about_this_certificate)
{
    struct sp_bytes wrong = ocsp_world_say(ocsp_world.leaf2, GOOD, -10, 3600);
    struct sp_bytes stale = ocsp_world_say(ocsp_world.leaf, GOOD, -7200, -3600);
    struct sp_bytes unknown = ocsp_world_say(ocsp_world.leaf, OCSP_SAYS_UNKNOWN, -10, 3600);
    struct sp_bytes good = ocsp_world_say(ocsp_world.leaf, GOOD, -10, 3600);
    const struct sp_bytes *const bad[] = {&wrong, &stale, &unknown};
    struct look look;

    for (size_t i = 0; i < 3; i++) {
        look = look_as(ocsp_world.tenant, ocsp_world.leaf, bad[i], true);
        ck_assert_int_eq(look.reply, GW_OCSP_LATER);
        free((void *)(uintptr_t)bad[i]->data);
    }
    look = look_as(ocsp_world.tenant, ocsp_world.leaf, &good, true);
    ck_assert_int_eq(known(&look), IS_GOOD);
    ck_assert(look.status.stapled);
    look = look_at(ocsp_world.leaf); /* and for those who staple nothing */
    ck_assert_int_eq(known(&look), IS_GOOD);
    free((void *)(uintptr_t)good.data);
}
END_TEST

/* What the CA's delegate says. */
static struct sp_bytes delegate_says(const struct certs_pair *delegate, enum ocsp_said said)
{
    const int64_t begin = sp_clock_wall_s() - 10;
    const struct ocsp_entry entry = {.cert = ocsp_world.leaf,
                                     .issuer = ocsp_world.ca,
                                     .said = said,
                                     .revoked_at = begin,
                                     .this_update = begin,
                                     .next_update = begin + 3600};
    const struct sp_bytes cert = ocsp_der(delegate);
    const struct ocsp_spec spec = {.entries = &entry,
                                   .count = 1,
                                   .produced_at = begin,
                                   .signer = delegate,
                                   .certs = &cert,
                                   .cert_count = 1};
    struct sp_bytes response;

    response.data = ocsp_make(&spec, &response.len);
    return response;
}

static struct sp_tls_crl_set *list_of(const struct certs_pair *revoked)
{
    struct sp_tls_crl_pool *pool = sp_tls_crl_pool_new();
    struct sp_tls_crl_set *set = NULL;
    char path[300], *pem = certs_mint_crl_pem(ocsp_world.ca, &revoked, 1, ocsp_world.now - 10,
                                              ocsp_world.now + 3600);
    const char *const names[] = {path};

    scratch_write(folder, "ca.crl", pem);
    free(pem);
    snprintf(path, sizeof path, "%s/ca.crl", folder->path);
    ck_assert_int_eq(sp_tls_crl_set_load(pool, names, 1, ocsp_world.tenant->trust, &set, NULL),
                     SP_OK);
    sp_tls_crl_pool_free(pool);
    return set;
}

/* RFC 6960 4.2.2.2.1: known from the lists of the tenant, whenever those come. */
START_TEST(what_a_delegate_says_who_is_revoked_himself_is_no_good_answer)
{
    const struct certs_spec spec = {
        .dn = "CN=Responder", .path_len = -1, .eku = CERTS_EKU_OCSP_SIGNING};
    struct certs_pair *delegate = NULL;
    struct sp_bytes good, bad;
    struct look look;
    struct gw_ocsp_entry *e;

    ck_assert_int_eq(certs_mint(&spec, ocsp_world.ca, &delegate, NULL), SP_OK);
    good = delegate_says(delegate, GOOD);
    bad = delegate_says(delegate, OCSP_SAYS_REVOKED);
    look_at(ocsp_world.leaf);
    RUN_UNTIL(fetch_count);
    answer(0, &good);
    ocsp_world.tenant->crls = list_of(ocsp_world.leaf2);
    look = look_at(ocsp_world.leaf);
    ck_assert_int_eq(known(&look), IS_GOOD); /* the list is about others */
    sp_tls_crl_set_unref(ocsp_world.tenant->crls);
    ocsp_world.tenant->crls = list_of(delegate);
    for (int i = 0; i < 2; i++) {
        look = look_at(ocsp_world.leaf);
        ck_assert_int_eq(known(&look), SP_OCSP_INVALID);
        ck_assert_ptr_nonnull(strstr(look.status.answer.detail,
                                     "the certificate of its signer 'CN=Responder' was revoked"));
        ck_assert_ptr_nonnull(strstr(look.status.answer.detail, "Z, says ")); /* no cause given */
        ck_assert_int_gt(look.status.holds_until, ocsp_world.now);
        ck_assert_int_le(look.status.holds_until, sp_clock_wall_s() + 64); /* asked again then */
    }
    e = entry_of(&look);
    ck_assert_int_eq(e->status->holds_until, look.status.holds_until);
    e->status->holds_until = sp_clock_wall_s() - 1;
    look = look_as(ocsp_world.tenant, ocsp_world.leaf, &good, true); /* as little as a staple */
    ck_assert_int_eq(look.reply, GW_OCSP_LATER);
    RUN_UNTIL(fetch_count == 2);
    answer(1, &bad); /* but nobody is let in because of it */
    look = look_at(ocsp_world.leaf);
    ck_assert_int_eq(known(&look), SP_OCSP_REVOKED);
    sp_tls_crl_set_unref(ocsp_world.tenant->crls);
    ocsp_world.tenant->crls = NULL;
    free((void *)(uintptr_t)good.data);
    free((void *)(uintptr_t)bad.data);
    certs_pair_free(delegate);
}
END_TEST

START_TEST(an_answer_is_refreshed_while_somebody_uses_it_and_forgotten_after)
{
    struct gw_ocsp_entry *e;
    struct look look;

    ask_and_answer(ocsp_world.leaf, GOOD, 3600);
    look = look_at(ocsp_world.leaf);
    e = entry_of(&look);
    ck_assert_int_ge(e->due.due, look.status.answer.next_update - 361);
    ck_assert_int_le(e->due.due, look.status.answer.next_update - 359); /* a tenth before */
    sp_heap_put(&ocsp->schedule, &e->due, sp_clock_wall_s());
    RUN_UNTIL(fetch_count == 2);
    look = look_at(ocsp_world.leaf); /* the one before goes on meanwhile */
    ck_assert_int_eq(known(&look), IS_GOOD);
    answer_with(1, ocsp_world.leaf, GOOD, -10, 3600);
    sp_heap_put(&ocsp->schedule, &e->due, sp_clock_wall_s()); /* nobody has looked since */
    RUN_UNTIL(e->due.due > sp_clock_wall_s());
    ck_assert_uint_eq(fetch_count, 2);
    ck_assert_int_eq(e->due.due, e->status->holds_until);
    e->status->holds_until = sp_clock_wall_s() - 1;
    sp_heap_put(&ocsp->schedule, &e->due, sp_clock_wall_s());
    RUN_UNTIL(sp_hash_count(ocsp->entries) == 0);
    ck_assert_uint_eq(sp_hash_count(ocsp->tenants), 0);
}
END_TEST

START_TEST(a_refresh_that_fails_is_tried_again_before_the_end)
{
    struct gw_ocsp_entry *e;
    struct look look;

    ask_and_answer(ocsp_world.leaf, GOOD, 3600);
    look = look_at(ocsp_world.leaf);
    e = entry_of(&look);
    for (unsigned i = 0; i < 8; i++) {
        int64_t now = sp_clock_wall_s(), wait = i < 6 ? 1 << i : 64;

        look_at(ocsp_world.leaf);
        sp_heap_put(&ocsp->schedule, &e->due, now);
        RUN_UNTIL(fetch_count == 2 + i);
        now = sp_clock_wall_s();
        answer(1 + i, NULL);
        ck_assert_int_ge(e->due.due, now + wait);
        ck_assert_int_le(e->due.due, sp_clock_wall_s() + wait);
        look = look_at(ocsp_world.leaf);
        ck_assert_int_eq(known(&look), IS_GOOD);
    }
}
END_TEST

START_TEST(a_failure_is_remembered_for_five_minutes_and_then_forgotten)
{
    struct look look = look_at(ocsp_world.leaf);
    struct gw_ocsp_entry *e;
    int64_t now;

    RUN_UNTIL(fetch_count);
    now = sp_clock_wall_s();
    answer(0, NULL);
    e = entry_of(&look);
    ck_assert_int_ge(e->due.due, now + 300);
    ck_assert_int_le(e->due.due, sp_clock_wall_s() + 300);
    sp_heap_put(&ocsp->schedule, &e->due, now);
    RUN_UNTIL(sp_hash_count(ocsp->entries) == 0);
}
END_TEST

START_TEST(the_log_has_what_was_answered_and_what_was_not)
{
    ask_and_answer(ocsp_world.leaf, GOOD, 3600);
    ck_assert_ptr_nonnull(strstr(read_log(), "\"level\":\"debug\",\"event\":\"ocsp\",\"ok\":true"));
    ck_assert_ptr_nonnull(strstr(read_log(), "\"status\":\"good\",\"expires\":\"2"));
    ck_assert_ptr_null(strstr(read_log(), "\"revoked\""));
    ask_and_answer(ocsp_world.leaf2, OCSP_SAYS_REVOKED, 3600);
    ck_assert_ptr_nonnull(strstr(read_log(), "\"status\":\"revoked\""));
    ck_assert_ptr_null(strstr(read_log(), "\"warning\""));
    look_at(ocsp_world.leaf_with_url);
    RUN_UNTIL(fetch_count == 3);
    answer(2, NULL);
    ck_assert_ptr_nonnull(
        strstr(read_log(), "\"level\":\"warning\",\"event\":\"ocsp\",\"ok\":false"));
    ck_assert_ptr_nonnull(strstr(read_log(), "answered 503"));
}
END_TEST

START_TEST(a_clock_that_is_set_back_does_not_keep_a_failure_for_long)
{
    struct look look = look_at(ocsp_world.leaf);

    RUN_UNTIL(fetch_count);
    answer(0, NULL);
    entry_of(&look)->retry_at = sp_clock_wall_s() + 86400;
    ck_assert_int_eq(look_at(ocsp_world.leaf).reply, GW_OCSP_LATER);
}
END_TEST

START_TEST(what_is_due_while_it_is_asked_is_not_asked_twice)
{
    struct look look = look_at(ocsp_world.leaf);

    RUN_UNTIL(fetch_count);
    sp_heap_put(&ocsp->schedule, &entry_of(&look)->due, sp_clock_wall_s());
    sp_timer_start(ocsp->tick, 1);
    RUN_UNTIL(!sp_heap_first(&ocsp->schedule));
    ck_assert_uint_eq(fetch_count, 1);
    answer_with(0, ocsp_world.leaf, GOOD, -10, 3600);
    look = look_at(ocsp_world.leaf);
    ck_assert_int_eq(known(&look), IS_GOOD);
}
END_TEST

static bool is_kept(void)
{
    return scratch_run(folder, "rm ocsp.cache") == 0; /* and no longer */
}

START_TEST(what_is_new_is_kept_every_few_seconds_while_it_runs)
{
    ask_and_answer(ocsp_world.leaf, GOOD, 3600);
    ck_assert(ocsp->dirty);
    ocsp->saved_at = 0;
    RUN_UNTIL(!ocsp->dirty);
    ck_assert(is_kept());
    ocsp->saved_at = 0;
    run_ms(1100); /* two ticks: nothing is new */
    ck_assert(!is_kept());
    ocsp->dirty = true;
    ocsp->saved_at = sp_clock_wall_s() + 3600; /* the clock was set back since */
    RUN_UNTIL(!ocsp->dirty);
    ck_assert(is_kept());
    ocsp->dirty = true;
    ocsp->saved_at = sp_clock_wall_s() - 1; /* a moment ago */
    run_ms(1100);
    if (sp_clock_wall_s() < ocsp->saved_at + 8)
        ck_assert(!is_kept());
}
END_TEST

START_TEST(what_is_asked_at_the_end_is_given_up)
{
    for (int i = 0; i < 10; i++) {
        struct certs_pair *leaf = ocsp_world_mint("CN=one of many", NULL);

        look_at(leaf);
        certs_pair_free(leaf);
    }
    RUN_UNTIL(fetch_count == 8);
    look_at(ocsp_world.leaf); /* and this one has not been heard of yet */
    table_close();
    for (size_t i = 0; i < fetch_count; i++)
        ck_assert(!fetches[i].live);
}
END_TEST

START_TEST(a_flood_of_failures_is_no_flood_of_lines)
{
    struct look look = look_at(ocsp_world.leaf);
    size_t lines = 0;

    for (size_t i = 0; i < 60; i++) {
        RUN_UNTIL(fetch_count == i + 1);
        answer(i, NULL);
        entry_of(&look)->retry_at = 0;
        look_at(ocsp_world.leaf);
    }
    for (const char *at = read_log(); (at = strstr(at, "answered 503")) != NULL; at++)
        lines++;
    ck_assert_uint_ge(lines, 20);
    ck_assert_uint_le(lines, 25);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ocsp_table");
    TCase *tcase = tcase_create("ocsp_table");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 30);
    tcase_add_checked_fixture(tcase, table_enter, table_leave);
    tcase_add_test(tcase, a_thousand_looks_of_one_certificate_are_one_question);
    tcase_add_test(tcase, each_tenant_asks_for_itself);
    tcase_add_test(tcase, a_tenant_asks_eight_at_a_time_and_in_the_end_about_all);
    tcase_add_test(tcase, who_stands_in_line_for_too_long_is_told_so);
    tcase_add_test(tcase, a_tenants_share_of_the_table_ends_and_the_others_is_untouched);
    tcase_add_test(tcase, who_names_no_responder_is_not_asked_about_and_leaves_nothing);
    tcase_add_test(tcase, a_strangers_certificate_is_not_asked_about_and_leaves_nothing);
    tcase_add_test(tcase, an_entry_of_a_strangers_certificate_is_no_reason_to_ask);
    tcase_add_test(tcase, an_open_tunnel_waits_only_where_nothing_was_ever_known);
    tcase_add_test(tcase, an_answer_is_stale_at_its_end_and_by_the_tenants_age);
    tcase_add_test(tcase, a_reload_that_changes_the_responder_asks_again_at_once);
    tcase_add_test(tcase, a_revoked_one_stays_revoked_when_nobody_answers_any_more);
    tcase_add_test(tcase, an_older_good_does_not_undo_a_revoked);
    tcase_add_test(tcase, an_unknown_takes_the_place_of_an_older_good_until_there_is_a_newer_one);
    tcase_add_loop_test(tcase, an_unknown_that_is_older_changes_nothing_and_none_undoes_a_revoked,
                        0, 2);
    tcase_add_test(tcase, an_unknown_is_no_answer_to_be_kept_and_is_forgotten_over_a_restart);
    tcase_add_test(tcase,
                   a_staple_answers_in_place_of_the_responder_if_it_is_about_this_certificate);
    tcase_add_test(tcase, what_a_delegate_says_who_is_revoked_himself_is_no_good_answer);
    tcase_add_test(tcase, an_answer_is_refreshed_while_somebody_uses_it_and_forgotten_after);
    tcase_add_test(tcase, a_refresh_that_fails_is_tried_again_before_the_end);
    tcase_add_test(tcase, a_failure_is_remembered_for_five_minutes_and_then_forgotten);
    tcase_add_test(tcase, the_log_has_what_was_answered_and_what_was_not);
    tcase_add_test(tcase, a_clock_that_is_set_back_does_not_keep_a_failure_for_long);
    tcase_add_test(tcase, what_is_due_while_it_is_asked_is_not_asked_twice);
    tcase_add_test(tcase, what_is_new_is_kept_every_few_seconds_while_it_runs);
    tcase_add_test(tcase, what_is_asked_at_the_end_is_given_up);
    tcase_add_test(tcase, a_flood_of_failures_is_no_flood_of_lines);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
