/* The cache file: what is kept comes back and is verified; what is damaged is not believed. */
#include "tests/support/ocsp_table.h"

static uint8_t *whole;
static size_t whole_len;

static void write_cache(const void *data, size_t len)
{
    char path[300];
    FILE *file;

    snprintf(path, sizeof path, "%s/ocsp.cache", folder->path);
    file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(data, 1, len, file), len);
    fclose(file);
}

static void read_cache(void)
{
    char path[300];
    FILE *file;

    snprintf(path, sizeof path, "%s/ocsp.cache", folder->path);
    file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    whole = malloc(65536);
    whole_len = fread(whole, 1, 65536, file);
    fclose(file);
}

/* Two good answers and a revoked one, asked for and kept. */
static void keep(void)
{
    const struct certs_pair *const leaves[] = {ocsp_world.leaf, ocsp_world.leaf2,
                                               ocsp_world.leaf_with_url};

    for (size_t i = 0; i < 3; i++) {
        look_at(leaves[i]);
        RUN_UNTIL(fetch_count == i + 1);
        answer_with(i, leaves[i], i == 2 ? OCSP_SAYS_REVOKED : OCSP_SAYS_GOOD, -10, 3600);
    }
    table_close();
    read_cache();
}

static void enter(void)
{
    table_enter();
    keep();
}

static void leave(void)
{
    free(whole);
    table_leave();
}

START_TEST(what_was_known_is_known_after_a_restart_and_nobody_is_asked)
{
    struct look look;

    table_open();
    ck_assert_uint_eq(sp_hash_count(ocsp->entries), 3);
    look = look_at(ocsp_world.leaf);
    ck_assert_int_eq(known(&look), SP_OCSP_GOOD);
    ck_assert_str_eq(look.status.from, "cache");
    look = look_at(ocsp_world.leaf_with_url);
    ck_assert_int_eq(known(&look), SP_OCSP_REVOKED);
    run_ms(20);
    ck_assert_uint_eq(fetch_count, 3);
    table_close();
    table_open(); /* and kept once more: those that were used and those that were not */
    ck_assert_uint_eq(sp_hash_count(ocsp->entries), 3);
    /* Nor is there a word about the file: not when there was none, nor when it was written. */
    ck_assert_ptr_null(strstr(read_log(), "\"event\":\"cache\""));
}
END_TEST

/* Whatever is missing: what comes before it counts, and nothing of it is made up. */
START_TEST(a_file_that_ends_too_early_gives_what_is_whole)
{
    size_t last = 0;

    for (size_t len = 0; len < whole_len; len += len < 200 ? 1 : 37) {
        size_t count;

        write_cache(whole, len);
        table_open();
        count = sp_hash_count(ocsp->entries);
        ck_assert_uint_lt(count, 3);
        ck_assert_uint_ge(count, last);
        last = count;
        table_close();
    }
    ck_assert_uint_eq(last, 2);
    ck_assert_ptr_nonnull(strstr(read_log(), "damaged: the rest of it is left out"));
}
END_TEST

START_TEST(garbage_is_said_in_the_log_and_gives_nothing)
{
    static const char *const texts[] = {"", "x", "sallyport ocsp 2\n", "sallyport ocsp 1",
                                        "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"};

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        write_cache(texts[i], strlen(texts[i]));
        table_open();
        ck_assert_uint_eq(sp_hash_count(ocsp->entries), 0);
        table_close();
        ck_assert_ptr_nonnull(strstr(read_log(), "no file of ours"));
    }
}
END_TEST

#define HEAD 17 /* then the time, the key, the length of the id, the id, the length */

/* Every byte of the first record turned over, one after the other: no crash, and no other answer
 * than "good" for the certificate whose response it holds. */
START_TEST(no_byte_that_is_another_makes_a_file_believed)
{
    for (size_t at = 0; at < 900 && at < whole_len; at += at < 100 ? 1 : 23) {
        struct look look;

        whole[at] ^= 0xff;
        write_cache(whole, whole_len);
        table_open();
        look = look_at(ocsp_world.leaf_with_url);
        if (look.reply == GW_OCSP_KNOWN)
            ck_assert_int_eq(look.status.answer.status, SP_OCSP_REVOKED);
        table_close();
        whole[at] ^= 0xff;
    }
}
END_TEST

START_TEST(lengths_that_cannot_be_are_not_followed)
{
    static const struct {
        size_t at, len;
        uint8_t byte;
        size_t count;                        /* of what is believed to be there */
    } rows[] = {{HEAD + 40, 1, 0xff, 0},     /* of the tenant's id */
                {HEAD + 41 + 4, 4, 0xff, 0}, /* of the response: 4 GB */
                {HEAD + 41 + 4, 4, 0x00, 0}, /* none */
                {HEAD, 8, 0xff, 0},          /* the time: before 1970 */
                {HEAD, 8, 0x7f, 2}};         /* ... the end of time: the others are whole */

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t kept[8];

        memcpy(kept, whole + rows[i].at, rows[i].len);
        memset(whole + rows[i].at, rows[i].byte, rows[i].len);
        write_cache(whole, whole_len);
        table_open();
        ck_assert_uint_eq(sp_hash_count(ocsp->entries), rows[i].count);
        table_close();
        memcpy(whole + rows[i].at, kept, rows[i].len);
    }
}
END_TEST

START_TEST(an_id_that_no_tenant_can_have_is_none)
{
    uint8_t record[HEAD + 41 + 255 + 4 + 1];

    for (size_t len = GW_TENANT_ID_MAX; len <= 255; len += len < 70 ? 1 : 37) {
        uint8_t *at = record + HEAD + 41;

        memcpy(record, whole, HEAD + 40);
        record[HEAD + 40] = (uint8_t)len;
        memset(at, 'a', len);
        memcpy(at + len, "\0\0\0\1x", 5);
        write_cache(record, HEAD + 41 + len + 5);
        table_open();
        ck_assert_uint_eq(sp_hash_count(ocsp->entries), len == GW_TENANT_ID_MAX);
        table_close();
    }
}
END_TEST

/* A good answer about one certificate under the key of another, which is revoked. */
START_TEST(an_answer_under_anothers_key_is_thrown_away_and_said)
{
    struct sp_bytes good = ocsp_world_say(ocsp_world.leaf, OCSP_SAYS_GOOD, -10, 3600);
    struct gw_ocsp_entry *e;
    struct look look;

    table_open();
    gw_live_key_of("acme", "x", &look.key);
    look.key = (struct gw_live_key){.bytes = {0}};
    for (size_t cursor = 0, len; ocsp;) {
        const char *key;
        void *value;

        if (!sp_hash_next(ocsp->entries, &cursor, &key, &len, &value))
            break;
        gw_ocsp_entry_set_response(value, good.data, good.len);
    }
    look = look_at(ocsp_world.leaf_with_url);
    ck_assert_int_eq(look.reply, GW_OCSP_LATER);
    e = entry_of(&look);
    ck_assert_ptr_null(e->response);
    ck_assert_ptr_nonnull(strstr(read_log(), "\"responder\":\"cache\""));
    RUN_UNTIL(fetch_count == 4);
    answer_with(3, ocsp_world.leaf_with_url, OCSP_SAYS_REVOKED, -10, 3600);
    look = look_at(ocsp_world.leaf_with_url);
    ck_assert_int_eq(known(&look), SP_OCSP_REVOKED);
    look = look_at(ocsp_world.leaf);
    ck_assert_int_eq(known(&look), SP_OCSP_GOOD);
    free((void *)(uintptr_t)good.data);
}
END_TEST

START_TEST(whose_it_is_the_file_does_not_decide)
{
    struct look look;

    ck_assert_mem_eq(whole + HEAD + 41, "acme", 4);
    for (size_t at = HEAD; at + 4 < whole_len; at++)
        if (!memcmp(whole + at, "acme", 4))
            memcpy(whole + at, "evil", 4);
    write_cache(whole, whole_len);
    table_open();
    look = look_at(ocsp_world.leaf);
    ck_assert_int_eq(known(&look), SP_OCSP_GOOD);
    ck_assert_str_eq(entry_of(&look)->tenant->id, "acme");
}
END_TEST

START_TEST(a_folder_that_cannot_be_written_is_said_and_the_rest_goes_on)
{
    struct look look;

    ck_assert_int_eq(scratch_run(folder, "rm ocsp.cache && mkdir ocsp.cache && touch ocsp.cache/x"),
                     0);
    table_open();
    ck_assert_ptr_nonnull(strstr(read_log(), "\"event\":\"cache\""));
    look_at(ocsp_world.leaf);
    RUN_UNTIL(fetch_count == 4);
    answer_with(3, ocsp_world.leaf, OCSP_SAYS_GOOD, -10, 3600);
    look = look_at(ocsp_world.leaf);
    ck_assert_int_eq(known(&look), SP_OCSP_GOOD);
    table_close();
    ck_assert_ptr_nonnull(strstr(read_log(), "OCSP answers are not kept over a restart"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ocsp_file");
    TCase *tcase = tcase_create("ocsp_file");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 30);
    tcase_add_checked_fixture(tcase, enter, leave);
    tcase_add_test(tcase, what_was_known_is_known_after_a_restart_and_nobody_is_asked);
    tcase_add_test(tcase, a_file_that_ends_too_early_gives_what_is_whole);
    tcase_add_test(tcase, garbage_is_said_in_the_log_and_gives_nothing);
    tcase_add_test(tcase, no_byte_that_is_another_makes_a_file_believed);
    tcase_add_test(tcase, lengths_that_cannot_be_are_not_followed);
    tcase_add_test(tcase, an_id_that_no_tenant_can_have_is_none);
    tcase_add_test(tcase, an_answer_under_anothers_key_is_thrown_away_and_said);
    tcase_add_test(tcase, whose_it_is_the_file_does_not_decide);
    tcase_add_test(tcase, a_folder_that_cannot_be_written_is_said_and_the_rest_goes_on);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
