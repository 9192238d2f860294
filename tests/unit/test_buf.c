#include "common/buf.h"

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

START_TEST(bytes_come_out_in_the_order_they_went_in)
{
    struct sp_buf b;

    sp_buf_init(&b, 100);
    ck_assert_int_eq(sp_buf_append(&b, "hello ", 6), SP_OK);
    ck_assert_int_eq(sp_buf_append(&b, "world", 5), SP_OK);
    ck_assert_uint_eq(b.len, 11);
    ck_assert_mem_eq(sp_buf_data(&b), "hello world", 11);
    sp_buf_consume(&b, 6);
    ck_assert_mem_eq(sp_buf_data(&b), "world", 5);
    ck_assert_uint_eq(b.len, 5);
    sp_buf_done(&b);
}
END_TEST

START_TEST(an_empty_queue_holds_no_memory)
{
    struct sp_buf b;

    sp_buf_init(&b, 100);
    ck_assert_ptr_null(sp_buf_data(&b));
    ck_assert_ptr_null(b.base);
    ck_assert_int_eq(sp_buf_append(&b, NULL, 0), SP_OK);
    ck_assert_ptr_null(b.base);
    ck_assert_int_eq(sp_buf_append(&b, "x", 1), SP_OK);
    ck_assert_ptr_nonnull(b.base);
    sp_buf_consume(&b, 1);
    ck_assert_ptr_null(b.base);
    ck_assert_uint_eq(b.cap, 0);
    ck_assert_uint_eq(b.max, 100);
    ck_assert_int_eq(sp_buf_append(&b, "y", 1), SP_OK); /* still usable */
    sp_buf_done(&b);
    sp_buf_done(&b);
}
END_TEST

START_TEST(nothing_passes_the_maximum_and_a_refused_append_changes_nothing)
{
    struct sp_buf b;

    sp_buf_init(&b, 10);
    ck_assert_int_eq(sp_buf_append(&b, "0123456", 7), SP_OK);
    ck_assert_int_eq(sp_buf_append(&b, "789X", 4), SP_ERR_LIMIT);
    ck_assert_uint_eq(b.len, 7);
    ck_assert_ptr_null(sp_buf_reserve(&b, 4));
    ck_assert_int_eq(sp_buf_append(&b, "789", SIZE_MAX), SP_ERR_LIMIT);
    ck_assert_int_eq(sp_buf_append(&b, "789", 3), SP_OK);
    ck_assert_int_eq(sp_buf_append(&b, "X", 1), SP_ERR_LIMIT);
    ck_assert_mem_eq(sp_buf_data(&b), "0123456789", 10);
    sp_buf_consume(&b, 1);
    ck_assert_int_eq(sp_buf_append(&b, "A", 1), SP_OK); /* what was consumed makes room */
    ck_assert_mem_eq(sp_buf_data(&b), "123456789A", 10);
    sp_buf_done(&b);
}
END_TEST

START_TEST(a_reserve_counts_only_what_is_committed)
{
    struct sp_buf b;
    uint8_t *room;

    sp_buf_init(&b, 1000);
    room = sp_buf_reserve(&b, 600);
    ck_assert_ptr_nonnull(room);
    ck_assert_uint_eq(b.len, 0);
    ck_assert_ptr_null(sp_buf_data(&b));
    memset(room, 'a', 600);
    sp_buf_commit(&b, 3);
    ck_assert_uint_eq(b.len, 3);
    ck_assert_mem_eq(sp_buf_data(&b), "aaa", 3);
    sp_buf_done(&b);
}
END_TEST

START_TEST(a_long_stream_through_a_small_queue_stays_whole_and_small)
{
    struct sp_buf b;
    uint8_t in = 0, out = 0;
    unsigned seed = 1, wrong = 0;

    sp_buf_init(&b, 4096);
    for (int round = 0; round < 20000; round++) {
        uint8_t chunk[700];
        size_t put = (seed = seed * 1103515245 + 12345) >> 16 & 511;
        size_t take;

        for (size_t i = 0; i < put; i++)
            chunk[i] = (uint8_t)(in + i);
        if (round % 3) {
            if (sp_buf_append(&b, chunk, put) == SP_OK)
                in = (uint8_t)(in + put);
        } else {
            uint8_t *room = sp_buf_reserve(&b, sizeof chunk);

            if (room) {
                memcpy(room, chunk, put);
                sp_buf_commit(&b, put);
                in = (uint8_t)(in + put);
            }
        }
        take = (seed = seed * 1103515245 + 12345) >> 16 & 511;
        take = take < b.len ? take : b.len;
        for (size_t i = 0; i < take; i++)
            wrong += sp_buf_data(&b)[i] != out++;
        sp_buf_consume(&b, take);
        ck_assert_uint_le(b.len, b.max);
        ck_assert_uint_le(b.cap, 16384);
    }
    ck_assert_uint_eq(wrong, 0);
    sp_buf_done(&b);
}
END_TEST

START_TEST(a_wiped_queue_is_empty_and_usable)
{
    struct sp_buf b;

    sp_buf_init(&b, 100);
    ck_assert_int_eq(sp_buf_append(&b, "secret", 6), SP_OK);
    sp_buf_wipe(&b);
    ck_assert_ptr_null(b.base);
    ck_assert_uint_eq(b.len, 0);
    sp_buf_wipe(&b);
    ck_assert_int_eq(sp_buf_append(&b, "x", 1), SP_OK);
    sp_buf_done(&b);
}
END_TEST

START_TEST(consuming_more_than_there_is_is_a_bug)
{
    struct sp_buf b;

    sp_buf_init(&b, 100);
    ck_assert_int_eq(sp_buf_append(&b, "x", 1), SP_OK);
    sp_buf_consume(&b, 2);
}
END_TEST

START_TEST(committing_more_than_was_reserved_is_a_bug)
{
    struct sp_buf b;

    sp_buf_init(&b, 100000);
    ck_assert_ptr_nonnull(sp_buf_reserve(&b, 10));
    sp_buf_commit(&b, 5000);
}
END_TEST

/* _i: bytes consumed before it is given back. */
START_TEST(lent_memory_is_used_and_given_back_with_what_is_left_copied)
{
    struct sp_buf b;
    char memory[8];

    sp_buf_init(&b, 100);
    sp_buf_lend(&b, memory, sizeof memory);
    ck_assert_int_eq(sp_buf_append(&b, "abcd", 4), SP_OK);
    ck_assert_ptr_eq(sp_buf_data(&b), memory);
    sp_buf_consume(&b, (size_t)_i);
    ck_assert_int_eq(sp_buf_keep(&b), SP_OK);
    memset(memory, 'x', sizeof memory);
    ck_assert_uint_eq(b.len, 4 - (size_t)_i);
    if (_i == 4)
        ck_assert_ptr_null(b.base);
    else
        ck_assert_mem_eq(sp_buf_data(&b), &"abcd"[_i], 4 - (size_t)_i);
    ck_assert_int_eq(sp_buf_keep(&b), SP_OK); /* nothing is lent any more */
    sp_buf_done(&b);
}
END_TEST

START_TEST(what_outgrows_lent_memory_moves_away_and_what_empties_it_stays)
{
    struct sp_buf b;
    char memory[8];

    sp_buf_init(&b, 100);
    sp_buf_lend(&b, memory, sizeof memory);
    ck_assert_int_eq(sp_buf_append(&b, "12345678", 8), SP_OK);
    sp_buf_consume(&b, 8);
    ck_assert_int_eq(sp_buf_append(&b, "abcdefgh", 8), SP_OK);
    ck_assert_ptr_eq(sp_buf_data(&b), memory);
    ck_assert_int_eq(sp_buf_append(&b, "ijkl", 4), SP_OK);
    memset(memory, 'x', sizeof memory);
    ck_assert_mem_eq(sp_buf_data(&b), "abcdefghijkl", 12);
    sp_buf_consume(&b, 12);
    ck_assert_ptr_null(b.base);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("buf");
    TCase *tc = tcase_create("buf");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tc);
    tcase_add_test(tc, bytes_come_out_in_the_order_they_went_in);
    tcase_add_test(tc, an_empty_queue_holds_no_memory);
    tcase_add_test(tc, nothing_passes_the_maximum_and_a_refused_append_changes_nothing);
    tcase_add_test(tc, a_reserve_counts_only_what_is_committed);
    tcase_add_test(tc, a_long_stream_through_a_small_queue_stays_whole_and_small);
    tcase_add_loop_test(tc, lent_memory_is_used_and_given_back_with_what_is_left_copied, 0, 5);
    tcase_add_test(tc, what_outgrows_lent_memory_moves_away_and_what_empties_it_stays);
    tcase_add_test(tc, a_wiped_queue_is_empty_and_usable);
    if (srunner_fork_status(runner) == CK_FORK) { /* these abort */
        tcase_add_test_raise_signal(tc, consuming_more_than_there_is_is_a_bug, SIGABRT);
        tcase_add_test_raise_signal(tc, committing_more_than_was_reserved_is_a_bug, SIGABRT);
    }
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
