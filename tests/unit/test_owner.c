/* owner: whose a connection is, asked of the kernel, of connections of our own. */
#include "agent/owner.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pair {
    int listening, client, server;
    struct sp_addr listen_addr, client_addr, server_addr;
};

static void name_of(int fd, struct sp_addr *ret_addr)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;

    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    ck_assert(sp_addr_from_sockaddr((const struct sockaddr *)&sa, ret_addr));
}

/* as: how the client writes the address; NULL: as the server does. */
static void connect_pair(struct pair *pair, const char *listen_at, const char *as)
{
    struct sockaddr_storage sa;
    struct sp_addr addr;
    socklen_t len;

    ck_assert_int_eq(sp_addr_parse(listen_at, &addr, NULL), SP_OK);
    len = sp_addr_to_sockaddr(&addr, &sa);
    pair->listening = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(pair->listening, (const struct sockaddr *)&sa, len), 0);
    ck_assert_int_eq(listen(pair->listening, 5), 0);
    name_of(pair->listening, &pair->listen_addr);
    if (as)
        ck_assert_int_eq(sp_addr_parse(as, &addr, NULL), SP_OK);
    addr.port = pair->listen_addr.port;
    len = sp_addr_to_sockaddr(&addr, &sa);
    pair->client = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(pair->client, (const struct sockaddr *)&sa, len), 0);
    pair->server = accept(pair->listening, (struct sockaddr *)&sa, (len = sizeof sa, &len));
    ck_assert_int_ge(pair->server, 0);
    ck_assert(sp_addr_from_sockaddr((const struct sockaddr *)&sa, &pair->client_addr));
    name_of(pair->server, &pair->server_addr);
}

static void close_pair(struct pair *pair)
{
    close(pair->server);
    if (pair->client >= 0)
        close(pair->client);
    close(pair->listening);
}

static struct agent_owner *owner_for(const struct sp_addr *listening)
{
    struct agent_owner *owner = NULL;
    struct sp_error err = {.text = ""};

    ck_assert_msg(agent_owner_new(listening, &owner, &err) == SP_OK, "%s", err.text);
    return owner;
}

static const char *const ways[][2] = {
    {"127.0.0.1:0", NULL},
    {"127.0.0.5:0", NULL},
    {"[::1]:0", NULL},
    {"127.0.0.1:0", "[::ffff:127.0.0.1]:0"},
};

START_TEST(the_owner_of_a_connection_is_found_by_either_family)
{
    struct agent_owner *owner;
    struct pair pair;

    connect_pair(&pair, ways[_i][0], ways[_i][1]);
    owner = owner_for(&pair.listen_addr);
    for (int i = 0; i < 3; i++)
        ck_assert_uint_eq(agent_owner_of_tcp(owner, &pair.client_addr, &pair.server_addr),
                          geteuid());
    agent_owner_free(owner);
    close_pair(&pair);
}
END_TEST

START_TEST(a_connection_that_is_closed_or_never_was_is_nobodys)
{
    struct agent_owner *owner;
    struct sp_addr other;
    struct pair pair;

    connect_pair(&pair, ways[_i][0], ways[_i][1]);
    owner = owner_for(&pair.listen_addr);
    other = pair.server_addr;
    other.port ^= 1;
    ck_assert_uint_eq(agent_owner_of_tcp(owner, &pair.client_addr, &other), AGENT_NO_UID);
    other = pair.client_addr;
    other.port ^= 1;
    ck_assert_uint_eq(agent_owner_of_tcp(owner, &other, &pair.server_addr), AGENT_NO_UID);
    /* Half of it fits: who listens at the address that a connection is said to come from. */
    ck_assert_uint_eq(agent_owner_of_tcp(owner, &pair.listen_addr, &pair.listen_addr),
                      AGENT_NO_UID);
    close(pair.client); /* FIN_WAIT2: there, and no process's */
    pair.client = -1;
    ck_assert_uint_eq(agent_owner_of_tcp(owner, &pair.client_addr, &pair.server_addr),
                      AGENT_NO_UID);
    agent_owner_free(owner);
    close_pair(&pair);
}
END_TEST

START_TEST(who_cannot_be_asked_is_an_error_and_not_a_guess)
{
    struct sp_addr nobody = {.ip = {.family = 4, .bytes = {127, 0, 0, 1}}, .port = 1};
    struct agent_owner *owner;
    struct sp_error err;

    ck_assert_int_eq(agent_owner_new(&nobody, &owner, &err), SP_ERR_SYS);
    ck_assert_ptr_nonnull(strstr(err.text, "does not tell"));
}
END_TEST

START_TEST(the_peer_of_a_unix_socket_has_a_user)
{
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    ck_assert_uint_eq(agent_owner_of_unix(fds[0]), geteuid());
    close(fds[0]);
    close(fds[1]);
    ck_assert_uint_eq(agent_owner_of_unix(-1), AGENT_NO_UID);
}
END_TEST

static const struct {
    const char *text;
    uint32_t uid;
    bool found;
} users[] = {
    {"root", 0, true},         {"0", 0, true},   {"4294967294", 4294967294u, true},
    {"4294967295", 0, false},  {"", 0, false},   {"-1", 0, false},
    {"00000000000", 0, false}, {"1 ", 0, false}, {"no such user", 0, false},
    {"99999999999", 0, false},
};

START_TEST(users_are_named_or_numbered)
{
    uint32_t uid = 77;

    ck_assert_int_eq(agent_owner_find(users[_i].text, &uid), users[_i].found);
    if (users[_i].found)
        ck_assert_uint_eq(uid, users[_i].uid);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("owner");
    TCase *tcase = tcase_create("owner");
    SRunner *runner = srunner_create(suite);
    int failures, way_count = (int)(sizeof ways / sizeof *ways);

    tcase_add_loop_test(tcase, the_owner_of_a_connection_is_found_by_either_family, 0, way_count);
    tcase_add_loop_test(tcase, a_connection_that_is_closed_or_never_was_is_nobodys, 0, way_count);
    tcase_add_test(tcase, who_cannot_be_asked_is_an_error_and_not_a_guess);
    tcase_add_test(tcase, the_peer_of_a_unix_socket_has_a_user);
    tcase_add_loop_test(tcase, users_are_named_or_numbered, 0, (int)(sizeof users / sizeof *users));
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_ENV);
    failures = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failures != 0;
}
