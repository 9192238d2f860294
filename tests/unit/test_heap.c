#include "common/heap.h"

#include <check.h>
#include <stdlib.h>

#define ITEMS 500

static struct sp_heap heap;
static struct sp_heap_item items[ITEMS];

static void setup(void)
{
    for (int i = 0; i < ITEMS; i++)
        items[i] = (struct sp_heap_item){.place = 0};
}

static void teardown(void)
{
    sp_heap_done(&heap);
}

static struct sp_heap_item *take(void)
{
    struct sp_heap_item *first = sp_heap_first(&heap);

    if (first)
        sp_heap_remove(&heap, first);
    return first;
}

START_TEST(an_empty_heap_has_nothing_due)
{
    ck_assert_ptr_null(sp_heap_first(&heap));
    sp_heap_remove(&heap, &items[0]);
    sp_heap_put(&heap, &items[0], 7);
    ck_assert_ptr_eq(take(), &items[0]);
    ck_assert_ptr_null(sp_heap_first(&heap));
    ck_assert_uint_eq(items[0].place, 0);
}
END_TEST

/* Put, moved and removed at random: it comes out in order, whole, and nothing else. */
START_TEST(what_is_in_it_comes_out_in_order)
{
    int64_t last = INT64_MIN;
    size_t in = 0, out = 0;

    srandom((unsigned)_i);
    for (int step = 0; step < 5000; step++) {
        struct sp_heap_item *item = &items[random() % ITEMS];

        if (random() % 3)
            sp_heap_put(&heap, item, random() % 100 - 50);
        else
            sp_heap_remove(&heap, item);
    }
    for (int i = 0; i < ITEMS; i++)
        in += items[i].place != 0;
    ck_assert_uint_eq(heap.count, in);
    for (struct sp_heap_item *item; (item = take()) != NULL; out++) {
        ck_assert_int_ge(item->due, last);
        last = item->due;
    }
    ck_assert_uint_eq(out, in);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("heap");
    TCase *tc = tcase_create("heap");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, an_empty_heap_has_nothing_due);
    tcase_add_loop_test(tc, what_is_in_it_comes_out_in_order, 0, 20);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
