/* tunnel: how its owner's verdict may wait. What tunnels carry is shown by tests/integration. */
#include "common/tunnel.h"

#include "common/loop.h"
#include "common/tls_cred.h"
#include "tests/support/tls_pair.h"

#include <check.h>
#include <string.h>
#include <sys/socket.h>

struct side {
    struct sp_tunnel *tunnel;
    bool claims;             /* on_claim waits, too */
    int waits;               /* so often */
    bool refuse, close_amid; /* when it has waited */
    int asked, claimed, ups, closes;
    size_t staple_len;
    struct sp_error why;
};

static struct sp_loop *loop;
static struct side server, client;
static struct sp_timer *word; /* the awaited */
static const struct sp_error done = {.kind = SP_ERR_DENIED, .text = "done"};

static bool on_hello(void *ctx, const char *name, struct sp_tls_choice *ret_choice)
{
    (void)ctx;
    (void)name;
    ret_choice->cred = tls_world.server;
    return true;
}

static void on_bad_name(void *ctx)
{
    (void)ctx;
}

static enum sp_tls_judgement on_peer(void *ctx, const struct sp_tls_peer *peer, int *ret_alert)
{
    struct side *s = ctx;

    *ret_alert = GNUTLS_A_CERTIFICATE_REVOKED;
    s->staple_len = peer->staple.len;
    if (s->asked++ < s->waits) {
        sp_timer_start(word, 50);
        return SP_TLS_WAIT;
    }
    return s->refuse ? SP_TLS_REFUSE : SP_TLS_ACCEPT;
}

static bool on_claim(void *ctx, const struct sp_chain *chain)
{
    struct side *s = ctx;

    ck_assert_uint_eq(chain->count, 1);
    if (s->claimed++ < s->waits) {
        sp_timer_start(word, 50);
        return false;
    }
    return true;
}

static void on_word(void *ctx)
{
    struct side *s = ctx;

    ck_assert_int_eq(s->ups + s->closes, 0);
    if (s->close_amid)
        sp_tunnel_close(s->tunnel, &done);
    sp_tunnel_continue(s->tunnel);
}

static void on_up(void *ctx)
{
    struct side *s = ctx;

    s->ups++;
    if (s == &client) /* the gateway has accepted it */
        sp_tunnel_close(s->tunnel, &done);
}

static void on_closed(void *ctx, const struct sp_error *why)
{
    struct side *s = ctx;

    s->closes++;
    s->why = *why;
    sp_tunnel_continue(s->tunnel); /* an answer that comes at the very end */
}

static const struct sp_tunnel_callbacks hears_claims = {
    .tls = {on_hello, on_bad_name, on_peer, on_claim}, .on_up = on_up, .on_closed = on_closed};
static const struct sp_tunnel_callbacks hears_none = {
    .tls = {on_hello, on_bad_name, on_peer, NULL}, .on_up = on_up, .on_closed = on_closed};

static void start(struct side *s, int fd, const struct sp_tls_client_options *client_options)
{
    const struct sp_tunnel_options options = {
        .params = tls_world.params[SP_TLS_1_2], .client = client_options, .max_channels = 10};
    struct sp_error err;

    ck_assert_int_eq(sp_tunnel_new(loop, fd, &options, s->claims ? &hears_claims : &hears_none, s,
                                   &s->tunnel, &err),
                     SP_OK);
}

/* Runs until both are closed; `waiter` is the one that may wait. */
static void run(struct side *waiter, bool tls12)
{
    static const struct sp_tls_client_options as_alice = {.server_name = TLS_NAME_A,
                                                          .offer_h2 = true};
    struct sp_tls_client_options options = as_alice;
    int fds[2];

    options.cred = tls_world.alice;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    word = sp_timer_new(loop, on_word, waiter);
    start(&client, fds[0], &options);
    if (tls12)
        tls_only_tls12(sp_tunnel_tls(client.tunnel));
    start(&server, fds[1], NULL);
    sp_loop_run(loop);
    sp_timer_free(word);
    sp_loop_run(loop);
    ck_assert_int_eq(server.closes, 1);
    ck_assert_int_eq(client.closes, 1);
}

static void setup(void)
{
    memset(&server, 0, sizeof server);
    memset(&client, 0, sizeof client);
    ck_assert_int_eq(sp_loop_new(&loop, NULL), SP_OK);
}

static void teardown(void)
{
    sp_loop_free(loop);
}

/* _i: 0: the client, 1: the server, 2: the server under TLS 1.2. */
START_TEST(a_tunnel_that_waits_comes_up_when_it_may)
{
    struct side *s = _i ? &server : &client;

    s->waits = 2;
    s->claims = _i == 2;
    if (_i == 2)
        s->asked = 2; /* the verdict itself does not wait */
    run(s, _i == 2);
    ck_assert_int_eq(s->asked, 3);
    ck_assert_int_eq(s->claimed, _i == 2 ? 3 : 0);
    ck_assert_int_eq(server.ups, 1);
    ck_assert_int_eq(client.ups, 1);
    ck_assert_int_eq(client.why.kind, SP_ERR_DENIED);
}
END_TEST

START_TEST(an_owner_that_hears_no_claims_is_asked_for_the_verdict_alone)
{
    run(&server, true);
    ck_assert_int_eq(server.asked, 1);
    ck_assert_int_eq(server.ups, 1);
}
END_TEST

START_TEST(a_tunnel_that_waited_may_be_refused)
{
    server.waits = 1;
    server.refuse = true;
    run(&server, false);
    ck_assert_int_eq(server.ups + client.ups, 0);
    ck_assert_int_eq(server.why.kind, SP_ERR_PEER_CERT);
    ck_assert_int_eq(client.why.kind, SP_ERR_PEER_ALERT);
    ck_assert_int_eq(client.why.code, GNUTLS_A_CERTIFICATE_REVOKED);
}
END_TEST

START_TEST(a_tunnel_that_is_closed_while_it_waits_is_not_asked_again)
{
    struct side *s = _i ? &server : &client;

    s->waits = 1;
    s->close_amid = true;
    run(s, false);
    ck_assert_int_eq(s->asked, 1);
    ck_assert_int_eq(server.ups + client.ups, 0);
    ck_assert_int_eq(s->why.kind, SP_ERR_DENIED);
}
END_TEST

START_TEST(staples_reach_the_owners)
{
    sp_tls_cred_set_staple(tls_world.server, "server's", 8);
    sp_tls_cred_set_staple(tls_world.alice, "alice's", 7);
    run(&server, false);
    ck_assert_uint_eq(client.staple_len, 8);
    ck_assert_uint_eq(server.staple_len, 7);
    sp_tls_cred_set_staple(tls_world.server, NULL, 0);
    sp_tls_cred_set_staple(tls_world.alice, NULL, 0);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("tunnel");
    TCase *t = tcase_create("tunnel");

    tcase_set_timeout(t, 30);
    tcase_add_unchecked_fixture(t, tls_world_enter, tls_world_leave);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, a_tunnel_that_waits_comes_up_when_it_may, 0, 3);
    tcase_add_test(t, an_owner_that_hears_no_claims_is_asked_for_the_verdict_alone);
    tcase_add_test(t, a_tunnel_that_waited_may_be_refused);
    tcase_add_loop_test(t, a_tunnel_that_is_closed_while_it_waits_is_not_asked_again, 0, 2);
    tcase_add_test(t, staples_reach_the_owners);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *runner = srunner_create(suite());
    int failed;

    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
