#include "common/h2_impl.h"
#include "tests/unit/h2_pair.h"

#include <sys/mman.h>

static size_t resident(const struct sp_h2_pages *pages)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), count = (pages->len + page - 1) / page, there = 0;
    unsigned char states[32] = {0};

    ck_assert_ptr_nonnull(pages->at);
    ck_assert_uint_le(count, sizeof states);
    ck_assert_int_eq(mincore(pages->at, pages->len, states), 0);
    for (size_t i = 0; i < count; i++)
        there += states[i] & 1;
    return there;
}

START_TEST(a_session_without_streams_holds_no_page_and_works_when_it_has_some)
{
    struct end client, server;
    struct flow *flow;

    pair_start(&client, &server, 10);
    pair_pump(&client, &server, 0);
    ck_assert_uint_eq(resident(&server.h2->frame_pages), 0);
    server.echo = true;
    flow = pair_connect(&client, "h:1");
    flow_send(flow, 1 << 20, true);
    pair_pump(&client, &server, 0);
    ck_assert_uint_eq(flow->got, 1 << 20);
    ck_assert_uint_eq(flow->got_sum, flow->sent_sum);
    ck_assert_uint_eq(resident(&server.h2->frame_pages), 1);
    /* Asked whether it lives, it says so and rests again. */
    sp_h2_ping(server.h2);
    pair_pump(&client, &server, 0);
    ck_assert_uint_eq(server.pongs, 1);
    ck_assert_uint_eq(resident(&server.h2->frame_pages), 0);
    end_close(&client);
    end_close(&server);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("h2_memory");
    TCase *tc = tcase_create("h2_memory");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tc);
    tcase_add_test(tc, a_session_without_streams_holds_no_page_and_works_when_it_has_some);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
