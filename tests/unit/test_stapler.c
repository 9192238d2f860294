/* stapler: when to ask again, whose turn it is, who has the staple. What becomes of answers:
 * tests/integration/test_stapling.py. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/loop.h"
#include "common/stapler_impl.h"
#include "common/tls_cred.h"
#include "common/tls_impl.h"
#include "tests/support/tls_pair.h"

#define NOW_S  INT64_C(1800000000)
#define NOW_MS (NOW_S * 1000)
#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define DAY    (24 * 60 * MINUTE)

#define LEAST UINT32_C(0)    /* of chance: all of the wait */
#define MOST  UINT32_C(1023) /* three quarters of it */

START_TEST(a_good_response_is_asked_for_again_at_half_of_what_is_left)
{
    static const struct {
        int64_t left_s, wait_ms;
    } rows[] = {
        {10, 5 * SECOND},  {3, 1500},
        {2, SECOND},       {1, SECOND},
        {0, SECOND},       {-100, SECOND},
        {600, 5 * MINUTE}, {2 * 86400, DAY},
        {7 * 86400, DAY},  {INT64_MAX - NOW_S, DAY},
    };
    int64_t full = sp_stapler_wait_good(NOW_MS, NOW_S + rows[_i].left_s, LEAST);
    int64_t part = sp_stapler_wait_good(NOW_MS, NOW_S + rows[_i].left_s, MOST);

    ck_assert_int_eq(full, rows[_i].wait_ms);
    ck_assert_int_ge(part, SECOND);
    ck_assert_int_ge(part, full * 3 / 4);
    ck_assert_int_le(part, full);
    if (full >= 2 * SECOND)
        ck_assert_int_lt(part, full * 4 / 5);
}
END_TEST

START_TEST(failures_wait_longer_each_time_up_to_five_minutes)
{
    static const int64_t seconds[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300};

    for (unsigned i = 0; i < sizeof seconds / sizeof seconds[0]; i++)
        ck_assert_int_eq(sp_stapler_wait_bad(NOW_MS, 0, i + 1, LEAST), seconds[i] * SECOND);
    ck_assert_int_eq(sp_stapler_wait_bad(NOW_MS, 0, UINT32_MAX, LEAST), 300 * SECOND);
    ck_assert_int_le(sp_stapler_wait_bad(NOW_MS, 0, 8, MOST), 97 * SECOND);
    ck_assert_int_eq(sp_stapler_wait_bad(NOW_MS, 0, 1, MOST), SECOND);
}
END_TEST

START_TEST(failures_do_not_wait_until_what_is_stapled_has_ended)
{
    static const struct {
        int64_t left_s, wait_ms;
    } rows[] = {
        {4000, 300 * SECOND}, {500, 250 * SECOND}, {100, 50 * SECOND},
        {4, 2 * SECOND},      {1, SECOND},         {-5, 300 * SECOND},
    };

    ck_assert_int_eq(sp_stapler_wait_bad(NOW_MS, NOW_S + rows[_i].left_s, 50, LEAST),
                     rows[_i].wait_ms);
}
END_TEST

START_TEST(several_attempts_lie_between_half_of_a_life_and_its_end)
{
    int64_t now_ms = NOW_MS, end_s = NOW_S + 600;
    int attempts = 0;

    now_ms += sp_stapler_wait_good(now_ms, end_s, LEAST);
    while (now_ms < end_s * 1000) {
        attempts++;
        now_ms += sp_stapler_wait_bad(now_ms, end_s, (unsigned)attempts, LEAST);
    }
    ck_assert_int_ge(attempts, 10);
    ck_assert_int_le(attempts, 30);
}
END_TEST

/* ---- whose turn it is ---- */

static struct sp_stapler_entry *new_entry(struct sp_stapler *s, const char *url)
{
    struct sp_stapler_entry *e = sp_calloc(1, sizeof *e);

    e->stapler = s;
    e->responder = sp_stapler_responder_of(s, url);
    e->next = s->entries;
    s->entries = e;
    sp_stapler_stand_in_line(e);
    return e;
}

/* The first that may be asked; it counts as running from now on. NULL: nobody. */
static struct sp_stapler_entry *next_entry(struct sp_stapler *s)
{
    struct sp_stapler_responder *r = sp_stapler_next_responder(s);

    if (!r)
        return NULL;
    r->running++;
    return sp_stapler_take_first(r);
}

static void drop_entries(struct sp_stapler *s)
{
    while (s->entries) {
        struct sp_stapler_entry *e = s->entries;

        s->entries = e->next;
        sp_stapler_part(e);
        free(e);
    }
    ck_assert_ptr_null(s->responders);
    sp_heap_done(&s->asks);
}

START_TEST(responders_take_turns_each_with_four_questions_at_most)
{
    struct sp_stapler s = {.running = 0};
    int of_a = 0, of_b = 0;
    struct sp_stapler_entry *e;

    for (int i = 0; i < 10; i++)
        new_entry(&s, "http://a/");
    for (int i = 0; i < 3; i++)
        new_entry(&s, "http://b/");
    for (int i = 0; i < 4; i++)
        of_b += !strcmp(next_entry(&s)->responder->url, "http://b/");
    ck_assert_int_eq(of_b, 2);
    of_a = 4 - of_b;
    while ((e = next_entry(&s)))
        *(strcmp(e->responder->url, "http://b/") ? &of_a : &of_b) += 1;
    ck_assert_int_eq(of_a, 4);
    ck_assert_int_eq(of_b, 3);
    drop_entries(&s);
}
END_TEST

START_TEST(a_responder_that_is_silent_is_asked_one_question_at_a_time)
{
    struct sp_stapler s = {.running = 0};

    for (int i = 0; i < 5; i++)
        new_entry(&s, "http://a/");
    s.responders->is_silent = true;
    ck_assert_ptr_nonnull(next_entry(&s));
    ck_assert_ptr_null(next_entry(&s));
    s.responders->is_silent = false;
    ck_assert_ptr_nonnull(next_entry(&s));
    drop_entries(&s);
}
END_TEST

START_TEST(a_line_is_left_from_any_place_and_keeps_its_order)
{
    struct sp_stapler s = {.running = 0};
    struct sp_stapler_entry *e[4];

    for (int i = 0; i < 4; i++)
        e[i] = new_entry(&s, "http://a/");
    sp_stapler_part(e[_i]);
    ck_assert(!e[_i]->in_line);
    e[_i]->responder = sp_stapler_responder_of(&s, "http://a/");
    sp_stapler_stand_in_line(e[_i]); /* at its end */
    for (int i = 0; i < 4; i++)
        if (i != _i)
            ck_assert_ptr_eq(next_entry(&s), e[i]);
    s.responders->running = 0;
    ck_assert_ptr_eq(next_entry(&s), e[_i]);
    ck_assert_ptr_null(next_entry(&s));
    drop_entries(&s);
}
END_TEST

/* ---- who has the staple ---- */

static bool has_staple(struct sp_tls_cred *cred)
{
    struct sp_tls_identity identity;
    bool has;

    sp_tls_cred_identity(cred, &identity);
    has = identity.staple != NULL;
    sp_tls_staple_unref(identity.staple);
    return has;
}

START_TEST(each_credential_of_a_certificate_has_its_staple_while_it_is_followed)
{
    struct sp_stapler_options options = {.reach = SP_FETCH_PUBLIC};
    struct sp_tls_cred *first, *second, *other = tls_world.server, *list[3];
    struct sp_stapler *s;
    struct sp_loop *loop;

    ck_assert(sp_loop_new(&loop, NULL) == SP_OK);
    options.loop = loop;
    s = sp_stapler_new(&options);
    tls_load(tls_world.alice_pair, &first, NULL);
    tls_load(tls_world.alice_pair, &second, NULL);
    list[0] = list[1] = first; /* twice is once */
    sp_stapler_follow(s, list, 2, NULL);
    s->entries->response = (uint8_t *)sp_strdup("a response");
    s->entries->response_len = 10;
    list[0] = second;
    list[1] = first;
    list[2] = other;
    sp_stapler_follow(s, list, 3, NULL);
    ck_assert(has_staple(second));
    ck_assert(!has_staple(other));
    sp_stapler_follow(s, list + 1, 2, NULL);
    ck_assert(!has_staple(second));
    sp_stapler_follow(s, list, 1, NULL); /* taken over from first */
    ck_assert(has_staple(second));
    sp_stapler_free(s);
    ck_assert(!has_staple(second));
    sp_tls_cred_unref(first);
    sp_tls_cred_unref(second);
    sp_loop_free(loop);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stapler");
    TCase *schedule = tcase_create("schedule"), *line = tcase_create("line");
    TCase *staples = tcase_create("staples");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(schedule, a_good_response_is_asked_for_again_at_half_of_what_is_left, 0,
                        10);
    tcase_add_test(schedule, failures_wait_longer_each_time_up_to_five_minutes);
    tcase_add_loop_test(schedule, failures_do_not_wait_until_what_is_stapled_has_ended, 0, 6);
    tcase_add_test(schedule, several_attempts_lie_between_half_of_a_life_and_its_end);
    suite_add_tcase(suite, schedule);
    tcase_add_test(line, responders_take_turns_each_with_four_questions_at_most);
    tcase_add_test(line, a_responder_that_is_silent_is_asked_one_question_at_a_time);
    tcase_add_loop_test(line, a_line_is_left_from_any_place_and_keeps_its_order, 0, 4);
    suite_add_tcase(suite, line);
    tcase_add_unchecked_fixture(staples, tls_world_enter, tls_world_leave);
    tcase_add_test(staples, each_credential_of_a_certificate_has_its_staple_while_it_is_followed);
    suite_add_tcase(suite, staples);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
