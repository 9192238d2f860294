#include "tests/support/fetch_world.h"

#include "certs/mint.h"
#include "tests/support/tls_raw.h"

#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BODY_MAX (1 << 20)

struct fetch_world fetch_world;
struct fetch_server fetch_server;

static void on_deadline(void *ctx)
{
    (void)ctx;
    ck_abort_msg("nothing happened for ten seconds");
}

/* ---- an HTTP server that says what it is told to ---- */

static void conn_close(struct fetch_conn *conn)
{
    if (fetch_server.reset)
        sp_sock_reset(conn->sock);
    else
        sp_sock_close(conn->sock);
    sp_timer_free(conn->drip);
    if (conn->tls)
        tls_raw_done(conn->tls);
    free(conn->tls);
    sp_buf_done(&conn->request);
    memset(conn, 0, sizeof *conn);
}

static void conn_flush(struct fetch_conn *conn)
{
    while (conn->left_len) {
        ssize_t n = sp_sock_write(conn->sock, conn->left, conn->left_len);

        if (n == -EAGAIN) {
            sp_sock_watch_write(conn->sock, true);
            return;
        }
        if (n < 0) {
            conn_close(conn);
            return;
        }
        conn->left += n;
        conn->left_len -= (size_t)n;
    }
    sp_sock_watch_write(conn->sock, false);
    if (fetch_server.close)
        conn_close(conn);
    else if (fetch_server.drip)
        sp_timer_start(conn->drip, 5);
}

static void on_drip(void *ctx)
{
    struct fetch_conn *conn = ctx;

    conn->left = fetch_server.drip;
    conn->left_len = strlen(fetch_server.drip);
    conn_flush(conn);
}

static void conn_answer(struct fetch_conn *conn)
{
    if (!fetch_server.answer && !fetch_server.close)
        return;
    conn->answered = true;
    conn->left = fetch_server.answer;
    conn->left_len = fetch_server.answer && !fetch_server.answer_len ? strlen(fetch_server.answer)
                                                                     : fetch_server.answer_len;
    if (conn->tls) {
        tls_raw_write(conn->tls, fetch_server.answer);
        conn->left = (const char *)sp_buf_data(&conn->tls->out);
        conn->left_len = conn->tls->out.len;
    }
    conn_flush(conn);
}

/* True: a head, and as much of a body as its Content-Length says. */
static bool is_whole(const struct sp_buf *request)
{
    SP_AUTO_FREE char *text = strndup((const char *)sp_buf_data(request), request->len);
    const char *end = strstr(text, "\r\n\r\n");
    const char *length = strcasestr(text, "\r\nContent-Length: ");
    size_t body = length && length < end ? strtoul(length + 18, NULL, 10) : 0;

    return end && request->len >= (size_t)(end + 4 - text) + body;
}

static void conn_take(struct fetch_conn *conn, const void *data, size_t len)
{
    ck_assert_int_eq(sp_buf_append(&conn->request, data, len), SP_OK);
    if (conn->answered || !is_whole(&conn->request))
        return;
    fetch_server.asked++;
    fetch_server.last_len = conn->request.len;
    ck_assert_uint_lt(fetch_server.last_len, sizeof fetch_server.last);
    memcpy(fetch_server.last, sp_buf_data(&conn->request), fetch_server.last_len);
    fetch_server.last[fetch_server.last_len] = '\0';
    conn_answer(conn);
}

static void on_readable(void *ctx)
{
    struct fetch_conn *conn = ctx;
    uint8_t data[65536];
    ssize_t n = sp_sock_read(conn->sock, data, sizeof data);

    if (n == -EAGAIN)
        return;
    if (n <= 0) {
        conn_close(conn);
        return;
    }
    if (!conn->tls) {
        conn_take(conn, data, (size_t)n);
        return;
    }
    tls_raw_feed(conn->tls, data, (size_t)n);
    if (conn->tls->out.len)
        ck_assert_int_ge(
            sp_sock_write(conn->sock, sp_buf_data(&conn->tls->out), conn->tls->out.len), 0);
    sp_buf_consume(&conn->tls->out, conn->tls->out.len);
    if (conn->tls->got.len)
        conn_take(conn, sp_buf_data(&conn->tls->got), conn->tls->got.len);
}

static void on_writable(void *ctx)
{
    conn_flush(ctx);
}

static const struct sp_sock_callbacks conn_callbacks = {on_readable, on_writable};

static void on_accept(void *ctx, int fd, const struct sp_addr *peer)
{
    struct fetch_conn *conn = fetch_server.conns;

    (void)ctx;
    (void)peer;
    fetch_server.accepted++;
    while (conn->sock)
        conn++;
    ck_assert_int_eq(sp_sock_new(fetch_world.loop, fd, &conn_callbacks, conn, &conn->sock, NULL),
                     SP_OK);
    conn->drip = sp_timer_new(fetch_world.loop, on_drip, conn);
    sp_buf_init(&conn->request, BODY_MAX);
    if (fetch_server.cred) {
        conn->tls = calloc(1, sizeof *conn->tls);
        ck_assert_ptr_nonnull(conn->tls);
        tls_raw_init(conn->tls,
                     &(struct tls_raw_options){.server = true, .cred = fetch_server.cred});
    }
    ck_assert(sp_sock_local(conn->sock, &fetch_server.dialled));
    sp_sock_watch_read(conn->sock, true);
    if (fetch_server.at_once)
        conn_answer(conn);
}

static void on_trouble(void *ctx, int errno_value)
{
    (void)ctx;
    ck_abort_msg("accept: %s", strerror(errno_value));
}

static const struct sp_listener_callbacks listener_callbacks = {on_accept, on_trouble};

struct sp_addr fetch_server_listen(const char *text, uint16_t port,
                                   struct sp_listener **ret_listener)
{
    struct sp_addr addr = {.port = port};
    int fd;

    ck_assert(sp_ip_parse(text, strlen(text), &addr.ip));
    ck_assert_int_eq(sp_listen_fd(&addr, false, &fd, NULL), SP_OK);
    ck_assert_int_eq(
        sp_listener_new(fetch_world.loop, fd, &listener_callbacks, NULL, ret_listener, NULL),
        SP_OK);
    return addr;
}

static void start_server(const char *address)
{
    fetch_server.port = fetch_server_listen(address, 0, &fetch_server.listener).port;
}

void fetch_server_stop(void)
{
    sp_listener_free(fetch_server.listener);
    sp_listener_free(fetch_server.listener6);
    fetch_server.listener = fetch_server.listener6 = NULL;
    for (int i = 0; i < FETCH_CONNS; i++)
        if (fetch_server.conns[i].sock)
            conn_close(&fetch_server.conns[i]);
}

/* ---- a name server for the names below ---- */

static const struct {
    const char *name;
    uint8_t addrs[3][4]; /* 0: none */
} zone[] = {
    {"loop.example", {{127, 0, 0, 1}}},
    {"both.example", {{127, 0, 0, 1}, {8, 8, 8, 8}, {169, 254, 169, 254}}},
    {"public.example", {{8, 8, 8, 8}}},
    {"private.example", {{10, 0, 0, 1}}},
};

/* The question's name as text; returns where its type is. */
static size_t read_name(const uint8_t *packet, char name[256])
{
    size_t at = 12, used = 0;

    while (packet[at]) {
        size_t label = packet[at++];

        if (used)
            name[used++] = '.';
        memcpy(name + used, packet + at, label);
        used += label;
        at += label;
    }
    name[used] = '\0';
    return at + 1;
}

static size_t add_answers(uint8_t packet[1024], size_t len, const char *name)
{
    static const uint8_t head[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4};

    for (size_t i = 0; i < sizeof zone / sizeof zone[0]; i++) {
        for (int j = 0; j < 3 && strcasecmp(zone[i].name, name) == 0 && zone[i].addrs[j][0]; j++) {
            memcpy(packet + len, head, sizeof head);
            memcpy(packet + len + sizeof head, zone[i].addrs[j], 4);
            len += sizeof head + 4;
            packet[7]++;
        }
    }
    return len;
}

static void on_question(void *ctx)
{
    uint8_t packet[1024] = {0};
    struct sockaddr_storage from;
    socklen_t from_len = sizeof from;
    char name[256];
    ssize_t n = recvfrom(sp_sock_fd(fetch_world.names), packet, 512, 0, (struct sockaddr *)&from,
                         &from_len);
    size_t type_at, len;

    (void)ctx;
    if (n < 0)
        (void)sp_sock_read(fetch_world.names, packet,
                           sizeof packet); /* tells it that there is no more */
    if (n < 17 || fetch_world.names_silent)
        return;
    type_at = read_name(packet, name);
    len = type_at + 4;
    packet[2] = 0x84;
    packet[3] = 0x80;
    memset(packet + 6, 0, 6);
    if (packet[type_at + 1] == 1)
        len = add_answers(packet, len, name);
    (void)sendto(sp_sock_fd(fetch_world.names), packet, len, 0, (struct sockaddr *)&from, from_len);
}

static const struct sp_sock_callbacks names_callbacks = {on_question, NULL};

static void names_start(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sp_resolver_options options = {.timeout_ms = 3000};
    struct sp_addr addr;
    char text[SP_ADDR_TEXT];

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    ck_assert_int_eq(
        sp_sock_new(fetch_world.loop, fd, &names_callbacks, NULL, &fetch_world.names, NULL), SP_OK);
    sp_sock_watch_read(fetch_world.names, true);
    ck_assert(sp_sock_local(fetch_world.names, &addr));
    options.servers = sp_addr_format(&addr, text);
    ck_assert_int_eq(sp_resolver_new(fetch_world.loop, &options, &fetch_world.resolver, NULL),
                     SP_OK);
}

void fetch_world_enter_at(const char *address)
{
    ck_assert_int_eq(sp_loop_new(&fetch_world.loop, NULL), SP_OK);
    fetch_world.deadline = sp_timer_new(fetch_world.loop, on_deadline, NULL);
    sp_timer_start(fetch_world.deadline, 10000);
    memset(&fetch_server, 0, sizeof fetch_server);
    start_server(address);
    names_start();
    ck_assert_int_eq(
        sp_fetcher_new(fetch_world.loop, fetch_world.resolver, &fetch_world.fetcher, NULL), SP_OK);
}

void fetch_world_enter(void)
{
    fetch_world_enter_at("127.0.0.1");
}

void fetch_world_leave(void)
{
    sp_fetcher_free(fetch_world.fetcher);
    sp_resolver_free(fetch_world.resolver);
    sp_sock_close(fetch_world.names);
    fetch_server_stop();
    sp_timer_free(fetch_world.deadline);
    sp_loop_free(fetch_world.loop);
}
static struct certs_pair *mint(const char *dn, const struct certs_pair *issuer, const char *dns)
{
    const char *dns_names[] = {dns, NULL};
    struct certs_spec spec = {.dn = dn, .path_len = -1, .key = CERTS_P256};
    struct certs_pair *pair;

    spec.ca = !issuer;
    spec.dns = issuer ? dns_names : NULL;
    spec.eku = issuer ? CERTS_EKU_SERVER : CERTS_EKU_NONE;
    ck_assert_int_eq(certs_mint(&spec, issuer, &pair, NULL), SP_OK);
    return pair;
}

struct certs_pair *fetch_server_tls(const char *dns)
{
    struct certs_pair *ca = mint("CN=Test CA", NULL, NULL), *leaf = mint("CN=server", ca, dns);
    char *chain = certs_pair_chain_pem(leaf), *key = certs_pair_key_pem(leaf);
    gnutls_datum_t chain_datum = {(unsigned char *)chain, (unsigned)strlen(chain)};
    gnutls_datum_t key_datum = {(unsigned char *)key, (unsigned)strlen(key)};

    ck_assert_int_eq(gnutls_certificate_allocate_credentials(&fetch_server.cred), 0);
    ck_assert_int_eq(gnutls_certificate_set_x509_key_mem(fetch_server.cred, &chain_datum,
                                                         &key_datum, GNUTLS_X509_FMT_PEM),
                     0);
    free(chain);
    certs_secret_free(key);
    certs_pair_free(leaf);
    fetch_server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    return ca;
}

void fetch_server_tls_done(struct certs_pair *ca)
{
    gnutls_certificate_free_credentials(fetch_server.cred);
    certs_pair_free(ca);
}
