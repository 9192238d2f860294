#include "common/loop.h"
#include "common/resolve.h"
#include "common/sock.h"
#include "tests/support/own_network.h"

#include <check.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* ---- a small name server on loopback ---- */

enum { TYPE_A = 1, TYPE_AAAA = 28 };
enum { NO_ERROR = 0, SERVFAIL = 2, NXDOMAIN = 3, REFUSED = 5, SILENT = -1 };

struct zone_entry {
    const char *name;
    int rcode;
    const char *addrs[24]; /* as text; both families mixed */
};

static const struct zone_entry zone[] = {
    {"one.example", NO_ERROR, {"192.0.2.1"}},
    {"six.example", NO_ERROR, {"2001:db8::6"}},
    {"two.example", NO_ERROR, {"192.0.2.1", "192.0.2.2"}},
    {"both.example",
     NO_ERROR,
     {"192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2"}},
    {"twice.example", NO_ERROR, {"192.0.2.1", "192.0.2.1", "192.0.2.1"}},
    {"many.example",
     NO_ERROR,
     {"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6", "192.0.2.7",
      "192.0.2.8", "192.0.2.9", "192.0.2.10", "192.0.2.11", "192.0.2.12", "192.0.2.13",
      "192.0.2.14", "192.0.2.15", "192.0.2.16", "192.0.2.17", "192.0.2.18"}},
    {"empty.example", NO_ERROR, {NULL}},
    {"none.example", NXDOMAIN, {NULL}},
    {"broken.example", SERVFAIL, {NULL}},
    {"refused.example", REFUSED, {NULL}},
    {"silent.example", SILENT, {NULL}},
    {"bare", NO_ERROR, {"192.0.2.99"}},
};

static struct sp_loop *loop;
static struct sp_timer *deadline;
static struct sp_sock *server;
static struct sp_resolver *resolver;
static int asked;            /* questions that reached the server */
static char last_asked[256]; /* the name in the last one */

static const struct zone_entry *zone_find(const char *name)
{
    for (size_t i = 0; i < sizeof zone / sizeof zone[0]; i++) {
        if (strcasecmp(zone[i].name, name) == 0)
            return &zone[i];
    }
    return NULL;
}

/* The labels of the question at packet[12] as text. Returns where its type is, 0: malformed. */
static size_t read_name(const uint8_t *packet, size_t len, char name[256])
{
    size_t at = 12, used = 0;

    while (at < len && packet[at]) {
        size_t label = packet[at++];

        if (at + label >= len || used + label + 2 > 256)
            return 0;
        if (used)
            name[used++] = '.';
        memcpy(name + used, packet + at, label);
        used += label;
        at += label;
    }
    name[used] = '\0';
    return at + 5 <= len ? at + 1 : 0;
}

static size_t add_record(uint8_t *out, const struct sp_ip *ip)
{
    uint8_t size = ip->family == 6 ? 16 : 4;
    uint8_t record[12] = {0xc0, 12, 0, size == 16 ? TYPE_AAAA : TYPE_A, 0, 1, 0, 0, 0, 60, 0, size};

    memcpy(out, record, sizeof record);
    memcpy(out + sizeof record, ip->bytes, size);
    return sizeof record + size;
}

/* Turns the question in packet into its answer. Returns its length, 0: none. */
static size_t answer(uint8_t packet[1024], size_t len)
{
    size_t type_at = len > 12 ? read_name(packet, len, last_asked) : 0;
    const struct zone_entry *entry = zone_find(last_asked);
    int rcode = entry ? entry->rcode : NXDOMAIN;
    struct sp_ip ip;
    uint8_t count = 0;

    if (!type_at || rcode == SILENT)
        return 0;
    len = type_at + 4;
    for (int i = 0; entry && entry->addrs[i]; i++) {
        ck_assert(sp_ip_parse(entry->addrs[i], strlen(entry->addrs[i]), &ip));
        if ((ip.family == 6 ? TYPE_AAAA : TYPE_A) != packet[type_at + 1])
            continue;
        len += add_record(packet + len, &ip);
        count++;
    }
    packet[2] = 0x84; /* an authoritative answer */
    packet[3] = (uint8_t)(0x80 | rcode);
    memset(packet + 4, 0, 8);
    packet[5] = 1;
    packet[7] = count;
    return len;
}

static void on_question(void *ctx)
{
    uint8_t packet[1024];
    struct sockaddr_storage from;
    socklen_t from_len = sizeof from;
    ssize_t len = recvfrom(sp_sock_fd(server), packet, 512, 0, (struct sockaddr *)&from, &from_len);
    size_t answer_len;

    (void)ctx;
    if (len < 0) {
        (void)sp_sock_read(server, packet, sizeof packet); /* tells it that there is no more */
        return;
    }
    asked++;
    answer_len = answer(packet, (size_t)len);
    if (answer_len)
        (void)sendto(sp_sock_fd(server), packet, answer_len, 0, (struct sockaddr *)&from, from_len);
}

static const struct sp_sock_callbacks server_callbacks = {on_question, NULL};

static void on_deadline(void *ctx)
{
    (void)ctx;
    ck_abort_msg("nothing happened for ten seconds");
}

static struct sp_resolver *make_resolver(unsigned timeout_ms)
{
    struct sp_resolver *made;
    struct sp_addr addr;
    char text[SP_ADDR_TEXT];
    struct sp_resolver_options options = {.timeout_ms = timeout_ms};

    ck_assert(sp_sock_local(server, &addr));
    options.servers = sp_addr_format(&addr, text);
    ck_assert_int_eq(sp_resolver_new(loop, &options, &made, NULL), SP_OK);
    return made;
}

static void start_server(uint16_t port)
{
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    ck_assert_int_eq(sp_sock_new(loop, fd, &server_callbacks, NULL, &server, NULL), SP_OK);
    sp_sock_watch_read(server, true);
}

static void make_world(void)
{
    ck_assert_int_eq(sp_loop_new(&loop, NULL), SP_OK);
    start_server(0);
    deadline = sp_timer_new(loop, on_deadline, NULL);
    sp_timer_start(deadline, 10000);
    resolver = make_resolver(3000);
}

static void drop_world(void)
{
    sp_resolver_free(resolver);
    sp_sock_close(server);
    sp_timer_free(deadline);
    sp_loop_free(loop);
}

/* ---- what came back ---- */

struct result {
    int calls;
    size_t count;
    struct sp_addr addrs[SP_RESOLVE_MAX];
    struct sp_error error;
    struct sp_query *to_cancel;
    struct sp_resolver **to_free;
};

static void on_done(void *ctx, const struct sp_addr *addrs, size_t count,
                    const struct sp_error *error)
{
    struct result *result = ctx;

    result->calls++;
    result->count = count;
    result->error = *error;
    ck_assert_uint_le(count, SP_RESOLVE_MAX);
    memcpy(result->addrs, addrs, count * sizeof *addrs);
    sp_resolve_cancel(result->to_cancel);
    if (result->to_free) {
        sp_resolver_free(*result->to_free);
        *result->to_free = NULL;
    }
    sp_loop_stop(loop);
}

static void look_up(const char *host, struct result *result)
{
    memset(result, 0, sizeof *result);
    ck_assert_ptr_nonnull(sp_resolve(resolver, host, 443, on_done, result));
    ck_assert_int_eq(result->calls, 0);
    sp_loop_run(loop);
    ck_assert_int_eq(result->calls, 1);
}

/* The addresses as one text, in their order. */
static const char *addresses(const struct result *result)
{
    static char text[SP_RESOLVE_MAX * SP_ADDR_TEXT];
    char one[SP_ADDR_TEXT];

    text[0] = '\0';
    for (size_t i = 0; i < result->count; i++) {
        strcat(text, i ? " " : "");
        strcat(text, sp_addr_format(&result->addrs[i], one));
    }
    return text;
}

START_TEST(a_name_gives_its_addresses_with_the_port)
{
    static const struct {
        const char *name, *addrs;
    } rows[] = {
        {"one.example", "192.0.2.1:443"},   {"six.example", "[2001:db8::6]:443"},
        {"twice.example", "192.0.2.1:443"}, {"bare", "192.0.2.99:443"},
        {"192.0.2.7", "192.0.2.7:443"},     {"2001:db8::7", "[2001:db8::7]:443"},
    };
    struct result result;

    look_up(rows[_i].name, &result);
    ck_assert_int_eq(result.error.kind, SP_OK);
    ck_assert_str_eq(addresses(&result), rows[_i].addrs);
}
END_TEST

START_TEST(all_addresses_of_a_name_are_handed_out)
{
    struct result result;

    look_up("two.example", &result);
    ck_assert_uint_eq(result.count, 2);
    ck_assert(strstr(addresses(&result), "192.0.2.1:443"));
    ck_assert(strstr(addresses(&result), "192.0.2.2:443"));
}
END_TEST

START_TEST(the_families_take_turns)
{
    struct result result;

    look_up("both.example", &result);
    ck_assert_uint_eq(result.count, 5);
    for (int i = 1; i < 4; i++)
        ck_assert_uint_ne(result.addrs[i].ip.family, result.addrs[i - 1].ip.family);
}
END_TEST

START_TEST(at_most_sixteen_addresses_are_handed_out)
{
    struct result result;

    look_up("many.example", &result);
    ck_assert_uint_eq(result.count, SP_RESOLVE_MAX);
}
END_TEST

START_TEST(a_failure_names_the_host_and_the_reason)
{
    static const struct {
        const char *name, *text;
    } rows[] = {
        {"none.example", "none.example: no such name"},
        {"empty.example", "empty.example: the name has no address"},
        {"", ": not a name that can be looked up"},
    };
    struct result result;

    look_up(rows[_i].name, &result);
    ck_assert_uint_eq(result.count, 0);
    ck_assert_int_eq(result.error.kind, SP_ERR_DNS);
    ck_assert_int_ne(result.error.code, 0);
    ck_assert_str_eq(result.error.text, rows[_i].text);
}
END_TEST

START_TEST(a_server_that_fails_is_a_failure_in_time)
{
    static const char *const names[] = {"broken.example", "refused.example"};
    struct result result;

    look_up(names[_i], &result);
    ck_assert_uint_eq(result.count, 0);
    ck_assert_int_eq(result.error.kind, SP_ERR_DNS);
    ck_assert_mem_eq(result.error.text, names[_i], strlen(names[_i]));
}
END_TEST

START_TEST(a_name_of_more_than_253_bytes_is_refused_unasked)
{
    char name[400];
    struct result result;

    memset(name, 'a', sizeof name);
    for (int i = 60; i < 400; i += 60)
        name[i] = '.';
    name[254] = '\0';
    look_up(name, &result);
    ck_assert_int_eq(result.error.kind, SP_ERR_DNS);
    ck_assert_str_eq(result.error.text, "a name of 254 bytes (a name has at most 253)");
    ck_assert_int_eq(asked, 0);
    name[253] = '\0';
    look_up(name, &result);
    ck_assert_int_eq(result.error.kind, SP_ERR_DNS);
    ck_assert_int_gt(asked, 0);
}
END_TEST

START_TEST(the_hosts_file_comes_first)
{
    struct result result;

    look_up("localhost", &result);
    ck_assert_int_eq(result.error.kind, SP_OK);
    ck_assert_uint_ge(result.count, 1);
    for (size_t i = 0; i < result.count; i++)
        ck_assert_int_eq(sp_ip_classify(&result.addrs[i].ip), SP_IP_LOOPBACK);
    ck_assert_int_eq(asked, 0);
}
END_TEST

START_TEST(no_answer_is_a_timeout_of_the_whole_query)
{
    struct result result;
    uint64_t start = sp_loop_clock_us();

    sp_resolver_free(resolver);
    resolver = make_resolver(200);
    look_up("silent.example", &result);
    ck_assert_int_eq(result.error.kind, SP_ERR_TIMEOUT);
    ck_assert_str_eq(result.error.text,
                     "silent.example: no answer from a name server within 200 ms");
    ck_assert_uint_ge(sp_loop_clock_us() - start, 190 * 1000);
    ck_assert_int_ge(asked, 4); /* asked again in between */
    look_up("one.example", &result);
    ck_assert_int_eq(result.error.kind, SP_OK);
}
END_TEST

START_TEST(no_server_at_all_is_a_failure)
{
    struct sp_addr addr;
    char text[SP_ADDR_TEXT];
    struct sp_resolver_options options = {.timeout_ms = 1000};
    struct result result;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sp_sock *gone;

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    ck_assert_int_eq(sp_sock_new(loop, fd, &server_callbacks, NULL, &gone, NULL), SP_OK);
    ck_assert(sp_sock_local(gone, &addr));
    sp_sock_close(gone);
    options.servers = sp_addr_format(&addr, text);
    sp_resolver_free(resolver);
    ck_assert_int_eq(sp_resolver_new(loop, &options, &resolver, NULL), SP_OK);
    look_up("one.example", &result);
    ck_assert_uint_eq(result.count, 0);
    /* c-ares names the last failure of A or AAAA, and that may be a try that timed out. */
    ck_assert(result.error.kind == SP_ERR_DNS || result.error.kind == SP_ERR_TIMEOUT);
    ck_assert_mem_eq(result.error.text, "one.example: no ", 16);
}
END_TEST

/* ---- cancelling ---- */

static void run_until_asked_is_answered(void)
{
    struct result result;

    look_up("one.example", &result);
    ck_assert_int_eq(result.error.kind, SP_OK);
}

START_TEST(a_cancelled_query_is_not_told)
{
    static const char *const names[] = {"two.example", "192.0.2.1", "localhost", "silent.example",
                                        ""};
    struct result result = {.calls = 0};
    struct sp_query *query = sp_resolve(resolver, names[_i], 1, on_done, &result);

    sp_resolve_cancel(query);
    run_until_asked_is_answered();
    run_until_asked_is_answered();
    ck_assert_int_eq(result.calls, 0);
    sp_resolve_cancel(NULL);
}
END_TEST

/* Both are answered in one round: the second is waiting to be told when it is cancelled. */
START_TEST(a_query_may_be_cancelled_in_the_callback_of_another)
{
    static const char *const names[] = {"192.0.2.1", "localhost", "two.example", "silent.example"};
    struct result first = {.calls = 0}, second = {.calls = 0};

    sp_resolve(resolver, "192.0.2.9", 1, on_done, &first);
    first.to_cancel = sp_resolve(resolver, names[_i], 1, on_done, &second);
    sp_loop_run(loop);
    ck_assert_int_eq(first.calls, 1);
    run_until_asked_is_answered();
    ck_assert_int_eq(second.calls, 0);
}
END_TEST

/* Both run out of time in one tick; c-ares still holds the second when it is cancelled. */
START_TEST(a_query_out_of_time_may_be_cancelled_before_it_is_told)
{
    struct result first = {.calls = 0}, second = {.calls = 0};

    sp_resolver_free(resolver);
    resolver = make_resolver(50);
    sp_resolve(resolver, "silent.example", 1, on_done, &first);
    first.to_cancel = sp_resolve(resolver, "silent.example", 1, on_done, &second);
    sp_loop_run(loop);
    ck_assert_int_eq(first.error.kind, SP_ERR_TIMEOUT);
    run_until_asked_is_answered();
    ck_assert_int_eq(second.calls, 0);
}
END_TEST

START_TEST(a_resolver_freed_with_queries_drops_them_silently)
{
    struct result result = {.calls = 0};

    sp_resolve(resolver, "silent.example", 1, on_done, &result);
    sp_resolve(resolver, "192.0.2.1", 1, on_done, &result);
    sp_resolve(resolver, "localhost", 1, on_done, &result);
    sp_resolve_cancel(sp_resolve(resolver, "two.example", 1, on_done, &result));
    sp_resolver_free(resolver);
    resolver = make_resolver(1000);
    run_until_asked_is_answered();
    ck_assert_int_eq(result.calls, 0);
}
END_TEST

START_TEST(a_resolver_may_be_freed_in_a_callback)
{
    struct result first = {.to_free = &resolver}, second = {.calls = 0};

    sp_resolve(resolver, "192.0.2.1", 1, on_done, &first);
    sp_resolve(resolver, "192.0.2.2", 1, on_done, &second);
    sp_resolve(resolver, "silent.example", 1, on_done, &second);
    sp_loop_run(loop);
    ck_assert_int_eq(first.calls, 1);
    ck_assert_int_eq(second.calls, 0);
    ck_assert_ptr_null(resolver);
}
END_TEST

START_TEST(a_list_of_servers_that_is_none_is_refused)
{
    struct sp_resolver_options options = {.servers = "not a server"};
    struct sp_resolver *none = NULL;
    struct sp_error err;

    ck_assert_int_eq(sp_resolver_new(loop, &options, &none, &err), SP_ERR_CONFIG);
    ck_assert_str_eq(err.text, "\"not a server\" is not a list of name servers (address or "
                               "address:port)");
    ck_assert_ptr_null(none);
}
END_TEST

START_TEST(the_systems_servers_are_used_when_none_are_named)
{
    struct sp_resolver *system_resolver;

    ck_assert_int_eq(sp_resolver_new(loop, NULL, &system_resolver, NULL), SP_OK);
    sp_resolver_free(system_resolver);
    sp_resolver_free(NULL);
}
END_TEST

static void write_conf(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

/* Also for a query that is running: it is asked again. */
START_TEST(new_name_servers_of_the_system_are_noticed_but_no_search_list)
{
    char path[] = "/tmp/resolv.conf.XXXXXX";
    struct sp_resolver_options options = {.resolv_conf = path};
    struct result running = {.calls = 0}, cancelled = {.calls = 0}, result = {.calls = 0};
    int fd;

    if (!own_network()) /* in which port 53 is free and ours to take */
        return;
    sp_sock_close(server);
    start_server(53);
    fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    write_conf(path, "nameserver 127.255.0.1 # where nobody answers\n");
    sp_resolver_free(resolver);
    ck_assert_int_eq(sp_resolver_new(loop, &options, &resolver, NULL), SP_OK);
    sp_resolve(resolver, "two.example", 1, on_done, &running);
    sp_resolve_cancel(sp_resolve(resolver, "six.example", 1, on_done, &cancelled));
    write_conf(path, "search corp.example\nnameserver 127.0.0.1\n");
    sp_resolve(resolver, "one.example", 443, on_done, &result);
    while (!running.calls || !result.calls)
        sp_loop_run(loop);
    ck_assert_str_eq(addresses(&result), "192.0.2.1:443");
    ck_assert_uint_eq(running.count, 2);
    ck_assert_int_eq(cancelled.calls, 0);
    ck_assert_int_eq(asked, 4);
    look_up("unknown", &result);
    ck_assert_str_eq(last_asked, "unknown"); /* the search list is not ours to use */
    ck_assert_int_eq(asked, 6);
    unlink(path);
}
END_TEST

/* With no query running nothing keeps the loop from ending. */
START_TEST(an_idle_resolver_does_not_hold_the_loop)
{
    run_until_asked_is_answered();
    sp_sock_watch_read(server, false);
    sp_timer_stop(deadline);
    sp_loop_run(loop);
}
END_TEST

static TCase *make_cases(void)
{
    TCase *tc = tcase_create("resolve");

    tcase_add_checked_fixture(tc, make_world, drop_world);
    tcase_set_timeout(tc, 20);
    tcase_add_loop_test(tc, a_name_gives_its_addresses_with_the_port, 0, 6);
    tcase_add_test(tc, all_addresses_of_a_name_are_handed_out);
    tcase_add_test(tc, the_families_take_turns);
    tcase_add_test(tc, at_most_sixteen_addresses_are_handed_out);
    tcase_add_loop_test(tc, a_failure_names_the_host_and_the_reason, 0, 3);
    tcase_add_loop_test(tc, a_server_that_fails_is_a_failure_in_time, 0, 2);
    tcase_add_test(tc, a_name_of_more_than_253_bytes_is_refused_unasked);
    tcase_add_test(tc, the_hosts_file_comes_first);
    tcase_add_test(tc, no_answer_is_a_timeout_of_the_whole_query);
    tcase_add_test(tc, no_server_at_all_is_a_failure);
    tcase_add_loop_test(tc, a_cancelled_query_is_not_told, 0, 5);
    tcase_add_loop_test(tc, a_query_may_be_cancelled_in_the_callback_of_another, 0, 4);
    tcase_add_test(tc, a_query_out_of_time_may_be_cancelled_before_it_is_told);
    tcase_add_test(tc, a_resolver_freed_with_queries_drops_them_silently);
    tcase_add_test(tc, a_resolver_may_be_freed_in_a_callback);
    tcase_add_test(tc, a_list_of_servers_that_is_none_is_refused);
    tcase_add_test(tc, the_systems_servers_are_used_when_none_are_named);
    tcase_add_test(tc, new_name_servers_of_the_system_are_noticed_but_no_search_list);
    tcase_add_test(tc, an_idle_resolver_does_not_hold_the_loop);
    return tc;
}

int main(void)
{
    Suite *suite = suite_create("resolve");
    SRunner *runner;
    int failed;

    suite_add_tcase(suite, make_cases());
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
