/* conn: TLS on real sockets and a real loop: opening, talking, and every way to end. The loop ends
 * by itself when nothing is left on it, so what is not closed hangs the test. */
#include "common/conn.h"

#include "common/loop.h"
#include "common/tls_cred.h"
#include "common/tls_impl.h"
#include "tests/support/tls_pair.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MUCH    (3 * 1024 * 1024)
#define WAIT_MS 100

/* One end's owner: what it does when, and what happened to it. */
struct side {
    struct sp_conn *conn;
    const char *name; /* of a client */
    size_t to_send;   /* a pattern of so many bytes, then close_notify when finish is set */
    size_t answer;    /* so many, from the first data that came */
    size_t record;    /* of so many bytes each; 0: 10,000 */
    bool finish;
    bool refuse_peer;
    int waits, asked;         /* so many times on_peer waits; it was called */
    struct sp_timer *on_wait; /* started when it waits */
    struct sp_timer *amid;    /* the same, once, and earlier */
    bool continue_inside;
    char close_at, abort_at; /* 'o'pen, 'd'ata, 'e'of, 'f'lush; 'p'eer */
    bool pause_at_data, close_at_both_ends;
    size_t close_at_got; /* not 0: closes when it has so much */
    size_t sent, got, roomiest;
    int opens, eofs, closes, pauses, takes;
    struct sp_error why;
};

static struct sp_loop *loop;
static struct side server, client;
static int plain = -1; /* our own descriptor, instead of a client */

static uint8_t pattern(size_t at)
{
    return (uint8_t)(at * 7 + at / 251);
}

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

static void end_at(struct side *s, char where)
{
    static const struct sp_error why = {.kind = SP_ERR_DENIED, .text = "test"};

    if (s->close_at == where)
        sp_conn_close(s->conn, &why);
    if (s->abort_at == where)
        sp_conn_abort(s->conn, &why);
}

static enum sp_tls_judgement on_peer(void *ctx, const struct sp_tls_peer *peer, int *ret_alert)
{
    struct side *s = ctx;

    ck_assert_int_eq(s->opens, 0);
    end_at(s, 'p');
    *ret_alert = GNUTLS_A_UNKNOWN_CA;
    if (s->asked++ < s->waits) {
        if (s->continue_inside)
            sp_conn_continue(s->conn);
        if (s->on_wait)
            sp_timer_start(s->on_wait, WAIT_MS);
        if (s->amid && s->asked == 1)
            sp_timer_start(s->amid, WAIT_MS / 2);
        return SP_TLS_WAIT;
    }
    return peer->chain->count && !s->refuse_peer ? SP_TLS_ACCEPT : SP_TLS_REFUSE;
}

static const struct sp_tls_callbacks tls_callbacks = {on_hello, on_bad_name, on_peer, NULL};

static void on_open(void *ctx)
{
    struct side *s = ctx;

    s->opens++;
    end_at(s, 'o');
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
    struct side *s = ctx;
    bool right = true;

    ck_assert_int_eq(s->opens, 1);
    ck_assert_int_eq(s->closes, 0);
    ck_assert_int_le(s->pauses, 1); /* nothing comes while it is paused */
    for (size_t i = 0; i < len; i++)
        right &= data[i] == pattern(s->got + i);
    ck_assert(right); /* one for all: each costs a write to check's pipe */
    s->got += len;
    if (s->answer) {
        s->to_send = s->answer;
        s->answer = 0;
        sp_conn_want_write(s->conn);
    }
    if (s->pause_at_data) {
        s->pauses++;
        sp_conn_pause(s->conn, true);
    }
    end_at(s, 'd');
    if (s->got == s->close_at_got)
        sp_conn_close(s->conn, NULL);
}

static void on_taken(void *ctx)
{
    ((struct side *)ctx)->takes++;
}

static void end_if_both_ended(struct side *s)
{
    if (s->close_at_both_ends && s->eofs && s->sent == s->to_send)
        sp_conn_close(s->conn, NULL);
}

static void on_eof(void *ctx)
{
    struct side *s = ctx;

    s->eofs++;
    end_at(s, 'e');
    end_if_both_ended(s);
}

static void on_flush(void *ctx)
{
    struct side *s = ctx;
    uint8_t piece[16384];
    size_t record = s->record ? s->record : 10000;

    while (s->sent < s->to_send && sp_conn_has_room(s->conn)) {
        size_t n = s->to_send - s->sent < record ? s->to_send - s->sent : record;
        size_t waiting;

        for (size_t i = 0; i < n; i++)
            piece[i] = pattern(s->sent + i);
        sp_conn_write(s->conn, piece, n);
        s->sent += n;
        waiting = sp_tls_output(sp_conn_tls(s->conn))->len;
        s->roomiest = waiting > s->roomiest ? waiting : s->roomiest;
        if (s->sent == s->to_send && s->finish)
            sp_conn_finish(s->conn);
    }
    end_at(s, 'f');
    end_if_both_ended(s);
}

static void on_closed(void *ctx, const struct sp_error *why)
{
    struct side *s = ctx;

    s->closes++;
    s->why = *why;
}

static const struct sp_conn_callbacks callbacks = {.on_open = on_open,
                                                   .on_data = on_data,
                                                   .on_taken = on_taken,
                                                   .on_eof = on_eof,
                                                   .on_flush = on_flush,
                                                   .on_closed = on_closed};

/* Two ends of a TCP connection. */
static void tcp_pair(int *ret_a, int *ret_b)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(bind(listener, (struct sockaddr *)&addr, sizeof addr), 0);
    ck_assert_int_eq(listen(listener, 1), 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
    *ret_a = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(*ret_a, (struct sockaddr *)&addr, sizeof addr), 0);
    *ret_b = accept(listener, NULL, NULL);
    ck_assert_int_ge(*ret_b, 0);
    close(listener);
}

static void start(struct side *s, int fd, bool is_client, unsigned handshake_ms)
{
    const struct sp_tls_client_options client_options = {TLS_NAME_A, tls_world.alice, true};
    const struct sp_conn_options options = {.handshake_ms = handshake_ms,
                                            .params = tls_world.params[SP_TLS_1_3],
                                            .client = is_client ? &client_options : NULL,
                                            .tls = &tls_callbacks};
    struct sp_error err = {.text = ""};

    ck_assert_msg(sp_conn_new(loop, fd, &options, &callbacks, s, &s->conn, &err) == SP_OK, "%s",
                  err.text);
}

static void start_both_within(unsigned handshake_ms)
{
    int a, b;

    tcp_pair(&a, &b);
    start(&client, a, true, handshake_ms);
    start(&server, b, false, handshake_ms);
}

static void start_both(void)
{
    start_both_within(5000);
}

/* The server, and our own descriptor at the other end. */
static void start_server(unsigned handshake_ms)
{
    int b;

    tcp_pair(&plain, &b);
    start(&server, b, false, handshake_ms);
}

static void setup(void)
{
    memset(&server, 0, sizeof server);
    memset(&client, 0, sizeof client);
    ck_assert_int_eq(sp_loop_new(&loop, NULL), SP_OK);
}

static void teardown(void)
{
    sp_loop_free(loop); /* aborts on a handle left open */
    if (plain >= 0)
        close(plain);
    plain = -1;
}

static void assert_closed(const struct side *s, enum sp_err kind)
{
    ck_assert_int_eq(s->closes, 1);
    ck_assert_msg(s->why.kind == kind, "kind %d: %s", (int)s->why.kind, s->why.text);
}

/* ---- talking ---- */

START_TEST(megabytes_go_both_ways_and_both_ends_close_in_order)
{
    client.to_send = server.to_send = MUCH;
    client.finish = server.finish = true;
    client.close_at_both_ends = server.close_at_both_ends = true;
    start_both();
    sp_loop_run(loop);
    ck_assert_uint_eq(server.got, MUCH);
    ck_assert_uint_eq(client.got, MUCH);
    ck_assert_int_eq(server.eofs + client.eofs, 2);
    assert_closed(&server, SP_OK);
    assert_closed(&client, SP_OK);
    ck_assert_uint_le(server.roomiest, 160 * 1024);
    ck_assert_uint_le(client.roomiest, 160 * 1024);
}
END_TEST

START_TEST(one_end_may_finish_long_before_the_other)
{
    client.to_send = 10;
    server.to_send = MUCH;
    client.finish = server.finish = true;
    client.close_at_both_ends = server.close_at_both_ends = true;
    start_both();
    sp_loop_run(loop);
    ck_assert_uint_eq(server.got, 10);
    ck_assert_uint_eq(client.got, MUCH);
    assert_closed(&server, SP_OK);
    assert_closed(&client, SP_OK);
}
END_TEST

/* What a busy tunnel is read by, and the short end that a program's 128 KiB leave behind it. */
START_TEST(a_short_end_behind_a_whole_read_is_passed_on_with_it)
{
    int fds[2], room = 4 * SP_LOOP_SCRATCH;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0); /* it takes all at once */
    ck_assert_int_eq(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room), 0);
    server.to_send = 1;
    client.record = 16320;
    client.answer = 8 * client.record + 539;
    client.finish = true;
    client.close_at = server.close_at = 'e';
    start(&client, fds[0], true, 5000);
    start(&server, fds[1], false, 5000);
    sp_loop_run(loop);
    ck_assert_uint_eq(server.got, 8 * client.record + 539);
    ck_assert_int_eq(server.takes, 1);
    assert_closed(&server, SP_ERR_DENIED); /* by its own word */
}
END_TEST

static void on_resume(void *ctx)
{
    struct side *s = ctx;

    ck_assert_int_eq(s->pauses, 1);
    ck_assert_uint_le(s->got, 16384);
    /* Its peer is stuck, with no more than its room. */
    ck_assert_uint_lt(client.sent, client.to_send);
    ck_assert_uint_le(client.roomiest, 160 * 1024);
    s->pause_at_data = false;
    s->pauses = 0;
    sp_conn_pause(s->conn, false);
}

START_TEST(a_paused_end_is_given_nothing_and_then_everything)
{
    struct sp_timer *timer = sp_timer_new(loop, on_resume, &server);

    client.to_send = MUCH * 8; /* more than sockets hold */
    client.finish = true;
    server.pause_at_data = true;
    client.close_at_both_ends = server.close_at_both_ends = true;
    server.finish = true;
    server.close_at = 'e';
    client.close_at = 'e';
    start_both();
    sp_timer_start(timer, 300);
    sp_loop_run(loop);
    ck_assert_uint_eq(server.got, MUCH * 8);
    assert_closed(&server, SP_ERR_DENIED); /* by its own word */
    sp_timer_free(timer);
    sp_loop_run(loop);
}
END_TEST

static struct sp_timer *again;

static void on_resume_once_more(void *ctx)
{
    struct side *s = ctx;

    if (s->closes || s->got == client.to_send) /* the end comes by itself */
        s->pause_at_data = false;
    else
        sp_timer_start(again, 1);
    if (s->closes || !s->pauses)
        return;
    s->pauses = 0;
    sp_conn_pause(s->conn, false);
}

/* Resuming gives what is parked first: what is read meanwhile would be parked on top, until it is
 * more than may be. */
START_TEST(an_end_that_pauses_at_every_record_is_given_everything)
{
    again = sp_timer_new(loop, on_resume_once_more, &server);
    client.to_send = MUCH;
    client.finish = true;
    server.pause_at_data = true;
    server.close_at = 'e';
    client.close_at = 'e';
    start_both();
    sp_timer_start(again, 1);
    sp_loop_run(loop);
    ck_assert_uint_eq(server.got, MUCH);
    assert_closed(&server, SP_ERR_DENIED); /* by its own word */
    sp_timer_free(again);
    sp_loop_run(loop);
}
END_TEST

static void on_resume_parked(void *ctx)
{
    struct side *s = ctx;

    ck_assert_uint_eq(s->got, 10000);
    s->pause_at_data = false;
    s->pauses = 0;
    sp_conn_pause(s->conn, false);
}

/* Everything is in when it resumes: no byte from the network will wake it. */
START_TEST(what_came_before_the_pause_is_given_after_it)
{
    struct sp_timer *timer = sp_timer_new(loop, on_resume_parked, &server);

    client.to_send = 30000;
    client.close_at = 'e';
    server.pause_at_data = true;
    server.to_send = 1;
    start_both();
    sp_timer_start(timer, 300);
    server.close_at_got = client.to_send;
    sp_loop_run(loop);
    ck_assert_uint_eq(server.got, 30000);
    assert_closed(&server, SP_OK);
    sp_timer_free(timer);
    sp_loop_run(loop);
}
END_TEST

static void on_enough(void *ctx)
{
    struct side *s = ctx;

    sp_conn_close(s->conn, NULL);
}

START_TEST(an_end_whose_peer_has_left_waits_quietly)
{
    struct sp_timer *timer = sp_timer_new(loop, on_enough, &server);
    clock_t before = clock();

    client.close_at = 'o';
    start_both();
    sp_timer_start(timer, 3000);
    sp_loop_run(loop);
    ck_assert_int_eq(server.eofs, 1);
    assert_closed(&server, SP_OK);
    ck_assert_int_lt((clock() - before) * 1000 / CLOCKS_PER_SEC, 1000);
    sp_timer_free(timer);
    sp_loop_run(loop);
}
END_TEST

/* ---- ending ---- */

START_TEST(a_refused_client_is_told_the_alert)
{
    server.refuse_peer = true;
    start_both();
    sp_loop_run(loop);
    assert_closed(&server, SP_ERR_PEER_CERT);
    ck_assert_int_eq(server.opens, 0);
    assert_closed(&client, SP_ERR_PEER_ALERT);
    ck_assert_int_eq(client.why.code, GNUTLS_A_UNKNOWN_CA);
}
END_TEST

START_TEST(a_client_that_writes_at_once_still_learns_why_it_was_refused)
{
    server.refuse_peer = true;
    client.to_send = MUCH;
    start_both();
    sp_loop_run(loop);
    assert_closed(&client, SP_ERR_PEER_ALERT);
    ck_assert_int_eq(client.why.code, GNUTLS_A_UNKNOWN_CA);
}
END_TEST

START_TEST(a_server_that_is_refused_is_told_the_alert)
{
    client.refuse_peer = true;
    start_both();
    sp_loop_run(loop);
    assert_closed(&client, SP_ERR_PEER_CERT);
    assert_closed(&server, SP_ERR_PEER_ALERT);
    ck_assert_int_eq(server.opens, 0);
}
END_TEST

static const char moments[] = "odef";

/* _i: the moment; from 4: the same by abort. */
START_TEST(closing_inside_any_callback_ends_in_one_on_closed)
{
    client.to_send = server.to_send = 1000;
    client.finish = true;
    client.close_at = 'e';
    if (_i < 4)
        server.close_at = moments[_i];
    else
        server.abort_at = moments[_i - 4];
    start_both();
    sp_loop_run(loop);
    assert_closed(&server, SP_ERR_DENIED);
    assert_closed(&client, _i < 4 ? SP_ERR_DENIED : SP_ERR_SYS); /* its own word; a reset */
    ck_assert_int_eq(client.eofs, _i < 4);
}
END_TEST

static void on_refuse(void *ctx)
{
    static const struct sp_error why = {.kind = SP_ERR_DENIED, .text = "later"};
    struct side *s = ctx;

    ck_assert_int_eq(s->opens, 1);
    sp_conn_refuse(s->conn, GNUTLS_A_CERTIFICATE_REVOKED, &why);
    sp_conn_refuse(s->conn, GNUTLS_A_ACCESS_DENIED, &why); /* once is enough */
    sp_conn_close(s->conn, NULL);
}

START_TEST(an_open_end_outlives_the_handshakes_deadline_and_may_be_refused_later)
{
    struct sp_timer *timer = sp_timer_new(loop, on_refuse, &server);

    start_both_within(1500);
    sp_timer_start(timer, 2000);
    sp_loop_run(loop);
    assert_closed(&server, SP_ERR_DENIED);
    assert_closed(&client, SP_ERR_PEER_ALERT);
    ck_assert_int_eq(client.why.code, GNUTLS_A_CERTIFICATE_REVOKED);
    sp_timer_free(timer);
    sp_loop_run(loop);
}
END_TEST

/* ---- peers that are none ---- */

static void reply_is(const char *begin)
{
    char reply[2048] = "";
    ssize_t n = recv(plain, reply, sizeof reply - 1, MSG_WAITALL);

    if (begin[0])
        ck_assert_msg(n > 0 && !strncmp(reply, begin, strlen(begin)), "got: %s", reply);
    else
        ck_assert_int_le(n, 0);
}

START_TEST(plain_http_is_answered_in_plain_words)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    start_server(5000);
    ck_assert_int_gt(write(plain, request, sizeof request - 1), 0);
    shutdown(plain, SHUT_WR);
    sp_loop_run(loop);
    assert_closed(&server, SP_ERR_TLS);
    ck_assert_int_eq(server.why.code, SP_CONN_NOT_TLS);
    reply_is("HTTP/1.1 400 ");
}
END_TEST

START_TEST(other_bytes_are_answered_with_nothing)
{
    start_server(5000);
    ck_assert_int_eq(write(plain, "\x80\x2e\x01\x03\x01", 5), 5);
    shutdown(plain, SHUT_WR);
    sp_loop_run(loop);
    assert_closed(&server, SP_ERR_TLS);
    ck_assert_int_eq(server.why.code, SP_CONN_NOT_TLS);
    reply_is("");
}
END_TEST

START_TEST(a_silent_peer_meets_the_deadline)
{
    uint64_t began = sp_loop_clock_us();

    start_server(150);
    sp_loop_run(loop);
    assert_closed(&server, SP_ERR_TIMEOUT);
    ck_assert_uint_ge(sp_loop_clock_us() - began, 140 * 1000);
    ck_assert_uint_lt(sp_loop_clock_us() - began, 6 * 1000 * 1000);
}
END_TEST

static struct sp_timer *drip_timer;
static int dripped;

static void on_drip(void *ctx)
{
    static const uint8_t start_of_hello[] = {0x16, 3, 1, 0x10, 0, 1, 0, 0x0f, 0xfc, 3, 3};

    (void)ctx;
    if (server.closes || dripped > 1000)
        return;
    ck_assert_int_eq(write(plain, &start_of_hello[dripped < 10 ? dripped : 10], 1), 1);
    dripped++;
    sp_timer_start(drip_timer, 10);
}

START_TEST(a_peer_that_drips_meets_the_deadline_all_the_same)
{
    dripped = 0;
    drip_timer = sp_timer_new(loop, on_drip, NULL);
    start_server(200);
    sp_timer_start(drip_timer, 1);
    sp_loop_run(loop);
    assert_closed(&server, SP_ERR_TIMEOUT);
    ck_assert_int_gt(dripped, 3);
    sp_timer_free(drip_timer);
    sp_loop_run(loop);
}
END_TEST

START_TEST(a_peer_that_goes_away_in_the_handshake_is_told_as_closed)
{
    start_server(5000);
    ck_assert_int_eq(write(plain, "\x16\x03\x01\x01", 4), 4);
    close(plain);
    plain = -1;
    sp_loop_run(loop);
    assert_closed(&server, SP_ERR_CLOSED);
    ck_assert_int_eq(server.opens, 0);
}
END_TEST

START_TEST(a_reset_is_told_as_the_systems_error)
{
    const struct linger at_once = {.l_onoff = 1};

    start_server(5000);
    ck_assert_int_eq(setsockopt(plain, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    close(plain);
    plain = -1;
    sp_loop_run(loop);
    assert_closed(&server, SP_ERR_SYS);
    ck_assert_int_eq(server.why.code, ECONNRESET);
}
END_TEST

/* ---- verdicts that wait ---- */

/* What `server` or `client` does WAIT_MS after it began to wait: 'g'o on, 'c'lose, 'r'efuse,
 * 'a'bort, or nothing. */
static char word;
static struct sp_timer *word_timer;

static void on_word(void *ctx)
{
    static const struct sp_error why = {.kind = SP_ERR_DENIED, .text = "word"};
    struct side *s = ctx;

    ck_assert_int_eq(s->opens + s->closes, 0);
    ck_assert_uint_eq(s->got, 0);
    ck_assert(sp_tls_is_waiting(sp_conn_tls(s->conn)));
    if (word == 'c')
        sp_conn_close(s->conn, &why);
    if (word == 'r')
        sp_conn_refuse(s->conn, GNUTLS_A_USER_CANCELED, &why);
    if (word == 'a')
        sp_conn_abort(s->conn, &why);
    if (word != '-') { /* to one that is closing it means nothing */
        sp_conn_continue(s->conn);
        sp_conn_continue(s->conn);
    }
}

/* Runs until both are closed. */
static void wait_and(struct side *s, int waits, char what, unsigned handshake_ms)
{
    word = what;
    word_timer = sp_timer_new(loop, on_word, s);
    s->waits = waits;
    s->on_wait = word_timer;
    start_both_within(handshake_ms);
    sp_loop_run(loop);
    sp_timer_free(word_timer);
    sp_loop_run(loop);
}

/* _i & 1: by abort; & 2: and it waits; & 4: the client. */
START_TEST(an_end_may_be_ended_while_it_is_asked)
{
    struct side *s = _i & 4 ? &client : &server;

    *(_i & 1 ? &s->abort_at : &s->close_at) = 'p';
    s->waits = _i & 2 ? 1 : 0;
    start_both();
    sp_loop_run(loop);
    assert_closed(s, SP_ERR_DENIED);
    ck_assert_int_eq(s->asked, 1);
    ck_assert_int_eq(s->opens, 0);
    ck_assert_int_eq(server.closes + client.closes, 2);
}
END_TEST

/* _i: who waits. */
START_TEST(an_end_that_waits_goes_on_where_it_stood)
{
    client.to_send = server.to_send = MUCH * 8; /* more than sockets hold */
    client.finish = server.finish = true;
    client.close_at_both_ends = server.close_at_both_ends = true;
    wait_and(_i ? &client : &server, 3, 'g', 5000);
    ck_assert_int_eq((_i ? &client : &server)->asked, 4);
    ck_assert_uint_eq(server.got, MUCH * 8);
    ck_assert_uint_eq(client.got, MUCH * 8);
    assert_closed(&server, SP_OK);
    assert_closed(&client, SP_OK);
}
END_TEST

static void on_measure(void *ctx)
{
    (void)ctx;
    ck_assert(sp_tls_is_waiting(sp_conn_tls(server.conn)));
    ck_assert_int_eq(client.opens, 1); /* a TLS 1.3 client believes to be through */
    ck_assert_uint_lt(client.sent, client.to_send);
    ck_assert_uint_le(sp_conn_tls(server.conn)->carry.cap, SP_LOOP_SCRATCH + 20 * 1024);
}

START_TEST(an_eager_client_is_held_back_by_tcp_and_not_by_memory)
{
    struct sp_timer *timer = sp_timer_new(loop, on_measure, NULL);

    client.to_send = MUCH * 8;
    client.finish = true;
    server.close_at = 'e';
    client.close_at = 'e';
    server.amid = timer;
    wait_and(&server, 2, 'g', 5000);
    ck_assert_uint_eq(server.got, MUCH * 8);
    assert_closed(&server, SP_ERR_DENIED); /* by its own word */
    sp_timer_free(timer);
    sp_loop_run(loop);
}
END_TEST

START_TEST(the_word_may_come_before_the_wait_has_begun)
{
    server.continue_inside = true;
    server.waits = 3;
    server.close_at = 'o';
    client.close_at = 'e';
    start_both();
    sp_loop_run(loop);
    ck_assert_int_eq(server.asked, 4);
    ck_assert_int_eq(server.opens, 1);
    assert_closed(&server, SP_ERR_DENIED);
}
END_TEST

START_TEST(a_client_refused_after_a_wait_is_told_the_alert)
{
    server.refuse_peer = true;
    client.to_send = _i ? MUCH * 8 : 0;
    wait_and(&server, 1, 'g', 5000);
    assert_closed(&server, SP_ERR_PEER_CERT);
    ck_assert_int_eq(server.opens, 0);
    ck_assert_uint_eq(server.got, 0);
    assert_closed(&client, SP_ERR_PEER_ALERT);
    ck_assert_int_eq(client.why.code, GNUTLS_A_UNKNOWN_CA);
}
END_TEST

/* _i % 3: how; from 3: with a client that has much to say. */
START_TEST(a_waiting_end_may_be_ended_and_is_not_asked_again)
{
    const char how = "cra"[_i % 3];

    client.to_send = _i / 3 ? MUCH * 8 : 0;
    wait_and(&server, 1, how, 5000);
    assert_closed(&server, SP_ERR_DENIED);
    ck_assert_int_eq(server.asked, 1);
    ck_assert_int_eq(server.opens, 0);
    ck_assert_int_eq(client.closes, 1);
    if (how == 'r') {
        ck_assert_int_eq(client.why.kind, SP_ERR_PEER_ALERT);
        ck_assert_int_eq(client.why.code, GNUTLS_A_USER_CANCELED);
    }
}
END_TEST

START_TEST(the_deadline_of_the_handshake_goes_on_during_a_wait)
{
    uint64_t began = sp_loop_clock_us();

    client.to_send = MUCH * 8;
    wait_and(&server, 1, '-', 400);
    assert_closed(&server, SP_ERR_TIMEOUT);
    ck_assert_int_eq(server.asked, 1);
    ck_assert_int_eq(server.opens, 0);
    ck_assert_uint_ge(sp_loop_clock_us() - began, 390 * 1000);
    ck_assert_uint_lt(sp_loop_clock_us() - began, 10 * 1000 * 1000);
}
END_TEST

static void on_leave(void *ctx)
{
    static const struct sp_error why = {.kind = SP_ERR_DENIED, .text = "leave"};

    ck_assert(sp_tls_is_waiting(sp_conn_tls(server.conn)));
    if (ctx)
        sp_conn_abort(client.conn, &why);
    else
        sp_conn_close(client.conn, &why);
}

/* _i & 1: by reset; & 2: the word comes, else the deadline. */
START_TEST(a_client_that_leaves_during_a_wait_is_waited_for_quietly)
{
    clock_t before = clock();
    struct sp_timer *timer = sp_timer_new(loop, on_leave, _i & 1 ? &client : NULL);

    server.close_at = 'e';
    server.amid = timer;
    wait_and(&server, 8, _i & 2 ? 'g' : '-', 1500);
    ck_assert_int_lt((clock() - before) * 1000 / CLOCKS_PER_SEC, 700);
    ck_assert_int_eq(server.asked, _i & 2 ? 9 : 1);
    ck_assert_int_eq(server.opens, _i & 2 ? 1 : 0);
    ck_assert_int_eq(server.eofs, _i == 2);
    assert_closed(&server, !(_i & 2) ? SP_ERR_TIMEOUT : _i & 1 ? SP_ERR_SYS : SP_ERR_DENIED);
    sp_timer_free(timer);
    sp_loop_run(loop);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("conn");
    TCase *t = tcase_create("conn");

    tcase_set_timeout(t, 30);
    tcase_add_unchecked_fixture(t, tls_world_enter, tls_world_leave);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, megabytes_go_both_ways_and_both_ends_close_in_order);
    tcase_add_test(t, one_end_may_finish_long_before_the_other);
    tcase_add_test(t, a_short_end_behind_a_whole_read_is_passed_on_with_it);
    tcase_add_test(t, a_paused_end_is_given_nothing_and_then_everything);
    tcase_add_test(t, an_end_that_pauses_at_every_record_is_given_everything);
    tcase_add_test(t, what_came_before_the_pause_is_given_after_it);
    tcase_add_test(t, an_end_whose_peer_has_left_waits_quietly);
    tcase_add_test(t, a_refused_client_is_told_the_alert);
    tcase_add_test(t, a_client_that_writes_at_once_still_learns_why_it_was_refused);
    tcase_add_test(t, a_server_that_is_refused_is_told_the_alert);
    tcase_add_loop_test(t, closing_inside_any_callback_ends_in_one_on_closed, 0, 8);
    tcase_add_test(t, an_open_end_outlives_the_handshakes_deadline_and_may_be_refused_later);
    tcase_add_loop_test(t, an_end_may_be_ended_while_it_is_asked, 0, 8);
    tcase_add_loop_test(t, an_end_that_waits_goes_on_where_it_stood, 0, 2);
    tcase_add_test(t, an_eager_client_is_held_back_by_tcp_and_not_by_memory);
    tcase_add_test(t, the_word_may_come_before_the_wait_has_begun);
    tcase_add_loop_test(t, a_client_refused_after_a_wait_is_told_the_alert, 0, 2);
    tcase_add_loop_test(t, a_waiting_end_may_be_ended_and_is_not_asked_again, 0, 6);
    tcase_add_test(t, the_deadline_of_the_handshake_goes_on_during_a_wait);
    tcase_add_loop_test(t, a_client_that_leaves_during_a_wait_is_waited_for_quietly, 0, 4);
    tcase_add_test(t, plain_http_is_answered_in_plain_words);
    tcase_add_test(t, other_bytes_are_answered_with_nothing);
    tcase_add_test(t, a_silent_peer_meets_the_deadline);
    tcase_add_test(t, a_peer_that_drips_meets_the_deadline_all_the_same);
    tcase_add_test(t, a_peer_that_goes_away_in_the_handshake_is_told_as_closed);
    tcase_add_test(t, a_reset_is_told_as_the_systems_error);
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
