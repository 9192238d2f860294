#include "common/hash.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

START_TEST(the_hash_is_siphash_2_4)
{
    /* The example worked out in the appendix of the SipHash paper (Aumasson, Bernstein 2012), and
     * values from an independent implementation for the lengths around a word. */
    static const struct {
        size_t len;
        uint64_t hash;
    } vectors[] = {
        {15, 0xa129ca6149be45e5}, {0, 0x726fdb47dd0e0e31}, {7, 0xab0200f58b01d137},
        {8, 0x93f5f5799a932462},  {9, 0x9e0082df0ba9e4b0}, {63, 0x958a324ceb064572},
    };
    uint8_t key[16], data[64];

    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)i;
    memcpy(key, data, sizeof key);
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++)
        ck_assert_uint_eq(sp_hash_siphash(key, data, vectors[i].len), vectors[i].hash);
}
END_TEST

START_TEST(a_key_is_found_by_all_its_bytes)
{
    struct sp_hash *h = sp_hash_new();
    int a = 1, b = 2, c = 3;

    ck_assert_ptr_null(sp_hash_get(h, "a", 1));
    ck_assert_ptr_null(sp_hash_put(h, "a", 1, &a));
    ck_assert_ptr_null(sp_hash_put(h, "a\0b", 3, &b));
    ck_assert_ptr_null(sp_hash_put(h, "", 0, &c));
    ck_assert_ptr_eq(sp_hash_get(h, "a", 1), &a);
    ck_assert_ptr_eq(sp_hash_get(h, "a\0b", 3), &b);
    ck_assert_ptr_eq(sp_hash_get(h, NULL, 0), &c);
    ck_assert_ptr_null(sp_hash_get(h, "a\0c", 3));
    ck_assert_ptr_null(sp_hash_get(h, "a\0", 2));
    ck_assert_uint_eq(sp_hash_count(h), 3);
    sp_hash_free(h);
    sp_hash_free(NULL);
}
END_TEST

START_TEST(a_second_value_for_a_key_is_refused_with_the_first)
{
    struct sp_hash *h = sp_hash_new();
    int first = 1, second = 2;

    ck_assert_ptr_null(sp_hash_put(h, "name", 4, &first));
    ck_assert_ptr_eq(sp_hash_put(h, "name", 4, &second), &first);
    ck_assert_ptr_eq(sp_hash_get(h, "name", 4), &first);
    ck_assert_uint_eq(sp_hash_count(h), 1);
    sp_hash_free(h);
}
END_TEST

START_TEST(keys_are_copied)
{
    struct sp_hash *h = sp_hash_new();
    char key[] = "name";
    int value = 1;

    ck_assert_ptr_null(sp_hash_put(h, key, 4, &value));
    memset(key, 'x', 4);
    ck_assert_ptr_eq(sp_hash_get(h, "name", 4), &value);
    sp_hash_free(h);
}
END_TEST

#define MANY 20000

static size_t key_of(size_t i, char buf[32])
{
    return (size_t)snprintf(buf, 32, "c%06zu.example", i);
}

START_TEST(many_keys_come_and_go_and_the_others_stay)
{
    static int values[MANY];
    struct sp_hash *h = sp_hash_new();
    char key[32];

    for (size_t i = 0; i < MANY; i++)
        ck_assert_ptr_null(sp_hash_put(h, key, key_of(i, key), &values[i]));
    ck_assert_uint_eq(sp_hash_count(h), MANY);
    for (size_t i = 0; i < MANY; i += 3) {
        ck_assert_ptr_eq(sp_hash_remove(h, key, key_of(i, key)), &values[i]);
        ck_assert_ptr_null(sp_hash_remove(h, key, key_of(i, key)));
    }
    for (size_t i = 0; i < MANY; i++) {
        void *expected = i % 3 ? &values[i] : NULL;

        ck_assert_ptr_eq(sp_hash_get(h, key, key_of(i, key)), expected);
    }
    for (size_t i = 0; i < MANY; i += 3)
        ck_assert_ptr_null(sp_hash_put(h, key, key_of(i, key), &values[i]));
    for (size_t i = 0; i < MANY; i++)
        ck_assert_ptr_eq(sp_hash_get(h, key, key_of(i, key)), &values[i]);
    ck_assert_uint_eq(sp_hash_count(h), MANY);
    sp_hash_free(h);
}
END_TEST

START_TEST(removal_keeps_every_search_path_whole)
{
    /* Small tables under many random keys of their own, so that clusters of every shape, also those
     * that wrap around the end, lose an entry. */
    static int values[11];
    char key[32];

    for (size_t round = 0; round < 500; round++) {
        struct sp_hash *h = sp_hash_new();

        for (size_t i = 0; i < 11; i++)
            ck_assert_ptr_null(sp_hash_put(h, key, key_of(i, key), &values[i]));
        for (size_t gone = 0; gone < 11; gone++) {
            ck_assert_ptr_eq(sp_hash_remove(h, key, key_of(gone, key)), &values[gone]);
            for (size_t i = 0; i < 11; i++) {
                void *expected = i > gone ? &values[i] : NULL;

                ck_assert_ptr_eq(sp_hash_get(h, key, key_of(i, key)), expected);
            }
        }
        ck_assert_uint_eq(sp_hash_count(h), 0);
        sp_hash_free(h);
    }
}
END_TEST

START_TEST(a_walk_meets_every_entry_once)
{
    static int values[MANY], seen[MANY];
    struct sp_hash *h = sp_hash_new();
    const char *found_key;
    size_t cursor = 0, found_len, met = 0;
    void *found;
    char key[32];

    ck_assert(!sp_hash_next(h, &cursor, &found_key, &found_len, &found));
    for (size_t i = 0; i < MANY; i++)
        ck_assert_ptr_null(sp_hash_put(h, key, key_of(i, key), &values[i]));
    cursor = 0;
    while (sp_hash_next(h, &cursor, &found_key, &found_len, &found)) {
        size_t i = (size_t)((int *)found - values);

        ck_assert_uint_eq(found_len, key_of(i, key));
        ck_assert_mem_eq(found_key, key, found_len);
        ck_assert_int_eq(seen[i]++, 0);
        met++;
    }
    ck_assert_uint_eq(met, MANY);
    sp_hash_free(h);
}
END_TEST

START_TEST(no_two_tables_share_a_hash_key)
{
    /* Seen from outside: the same names are walked in another order. */
    char order[2][64 * 8] = {{0}};
    int value = 1;

    for (size_t t = 0; t < 2; t++) {
        struct sp_hash *h = sp_hash_new();
        size_t cursor = 0, len;
        const char *found_key;
        void *found;
        char key[32];

        for (size_t i = 0; i < 64; i++)
            ck_assert_ptr_null(sp_hash_put(h, key, key_of(i, key), &value));
        while (sp_hash_next(h, &cursor, &found_key, &len, &found))
            strncat(order[t], found_key, 7);
        sp_hash_free(h);
    }
    ck_assert_str_ne(order[0], order[1]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hash");
    TCase *tc = tcase_create("hash");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tc);
    tcase_add_test(tc, the_hash_is_siphash_2_4);
    tcase_add_test(tc, a_key_is_found_by_all_its_bytes);
    tcase_add_test(tc, a_second_value_for_a_key_is_refused_with_the_first);
    tcase_add_test(tc, keys_are_copied);
    tcase_add_test(tc, many_keys_come_and_go_and_the_others_stay);
    tcase_add_test(tc, removal_keeps_every_search_path_whole);
    tcase_add_test(tc, a_walk_meets_every_entry_once);
    tcase_add_test(tc, no_two_tables_share_a_hash_key);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
