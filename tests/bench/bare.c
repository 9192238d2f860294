/*
 * bare: the least that a gateway on this library can do, for the bench to tell what a handshake
 * costs that no gateway on it can do without. TLS 1.3 with a client certificate, one ticket, one
 * CONNECT (whatever it asks for, it goes to ORIGIN), and its bytes, on epoll and two threads.
 *
 *   bare PORT ORIGIN-PORT CERTIFICATE KEY
 *
 * It is no gateway: it verifies no chain and no CONNECT, has no tenants, verdict, log, limits,
 * deadlines or flow control, and drops what a socket does not take at once.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define THREADS 2

enum state { HANDSHAKING, OPEN, CONNECTING, RELAYING, ENDING };

struct connection;

struct end {
    struct connection *of;
    int fd;
};

struct connection {
    struct end client, origin;
    gnutls_session_t session;
    enum state state;
    bool dead;
    struct connection *next_dead;
    uint8_t in[4096], out[8192];
    size_t in_len, in_used, out_len;
};

struct worker {
    pthread_t thread;
    int epoll, listener;
    struct connection *dead;
    uint8_t data[16384];
};

static struct sockaddr_in listen_at, origin_at;
static gnutls_certificate_credentials_t credentials;
static gnutls_priority_t priority;
static gnutls_datum_t ticket_key;

static ssize_t on_pull(gnutls_transport_ptr_t ptr, void *data, size_t len)
{
    struct connection *c = ptr;
    size_t have = c->in_len - c->in_used;

    if (!have) {
        gnutls_transport_set_errno(c->session, EAGAIN);
        return -1;
    }
    len = len < have ? len : have;
    memcpy(data, c->in + c->in_used, len);
    c->in_used += len;
    if (c->in_used == c->in_len)
        c->in_used = c->in_len = 0;
    return (ssize_t)len;
}

static ssize_t on_push(gnutls_transport_ptr_t ptr, const giovec_t *pieces, int count)
{
    struct connection *c = ptr;
    size_t before = c->out_len;

    for (int i = 0; i < count; i++) {
        if (c->out_len + pieces[i].iov_len > sizeof c->out)
            return -1;
        memcpy(c->out + c->out_len, pieces[i].iov_base, pieces[i].iov_len);
        c->out_len += pieces[i].iov_len;
    }
    return (ssize_t)(c->out_len - before);
}

static void flush(struct connection *c)
{
    if (c->out_len)
        (void)!send(c->client.fd, c->out, c->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    c->out_len = 0;
}

static void watch(const struct worker *w, int fd, void *ptr)
{
    struct epoll_event event = {EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, {.ptr = ptr}};

    epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &event);
}

static void drop(struct worker *w, struct connection *c)
{
    if (c->dead)
        return;
    c->dead = true;
    if (c->origin.fd >= 0)
        close(c->origin.fd);
    flush(c);
    close(c->client.fd);
    gnutls_deinit(c->session);
    c->next_dead = w->dead;
    w->dead = c;
}

static void begin(struct worker *w, int fd)
{
    static unsigned char name[] = "http/1.1";
    const gnutls_datum_t protocol = {name, sizeof name - 1};
    struct connection *c = calloc(1, sizeof *c);

    if (!c)
        abort();
    c->client = (struct end){c, fd};
    c->origin = (struct end){c, -1};
    gnutls_init(&c->session,
                GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | GNUTLS_NO_AUTO_SEND_TICKET);
    gnutls_priority_set(c->session, priority);
    gnutls_credentials_set(c->session, GNUTLS_CRD_CERTIFICATE, credentials);
    gnutls_certificate_server_set_request(c->session, GNUTLS_CERT_REQUIRE);
    gnutls_session_ticket_enable_server(c->session, &ticket_key);
    gnutls_alpn_set_protocols(c->session, &protocol, 1, 0);
    gnutls_transport_set_ptr(c->session, c);
    gnutls_transport_set_pull_function(c->session, on_pull);
    gnutls_transport_set_vec_push_function(c->session, on_push);
    watch(w, fd, &c->client);
}

static void dial(struct worker *w, struct connection *c)
{
    static const int on = 1;

    c->origin.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    (void)!connect(c->origin.fd, (const struct sockaddr *)&origin_at, sizeof origin_at);
    setsockopt(c->origin.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    watch(w, c->origin.fd, &c->origin);
    c->state = CONNECTING;
}

/* One record's worth of the client's words; false: there are no more now. */
static bool hear(struct worker *w, struct connection *c)
{
    ssize_t n = gnutls_record_recv(c->session, w->data, sizeof w->data);

    if (n == GNUTLS_E_AGAIN)
        return false;
    if (n < 0) {
        drop(w, c);
        return false;
    }
    if (n == 0) {
        if (c->origin.fd >= 0)
            shutdown(c->origin.fd, SHUT_WR);
        gnutls_bye(c->session, GNUTLS_SHUT_WR);
        c->state = ENDING;
        return false;
    }
    if (c->state == OPEN)
        dial(w, c);
    else if (c->state == RELAYING)
        (void)!send(c->origin.fd, w->data, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
    return true;
}

static void on_client(struct worker *w, struct connection *c)
{
    ssize_t n = recv(c->client.fd, c->in + c->in_len, sizeof c->in - c->in_len, MSG_DONTWAIT);
    int rc;

    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            drop(w, c);
        return;
    }
    c->in_len += (size_t)n;
    if (c->state == HANDSHAKING) {
        rc = gnutls_handshake(c->session);
        if (rc == GNUTLS_E_AGAIN) {
            flush(c);
            return;
        }
        if (rc < 0) {
            drop(w, c);
            return;
        }
        gnutls_session_ticket_send(c->session, 1, 0); /* goes with the answer to CONNECT */
        c->state = OPEN;
    }
    while (hear(w, c))
        continue;
}

static void on_origin(struct worker *w, struct connection *c, uint32_t events)
{
    static const char yes[] = "HTTP/1.1 200 OK\r\n\r\n";
    ssize_t n;

    if (c->state == CONNECTING && events & EPOLLOUT) {
        c->state = RELAYING;
        gnutls_record_send(c->session, yes, sizeof yes - 1);
        flush(c);
    }
    if (!(events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)))
        return;
    n = recv(c->origin.fd, w->data, sizeof w->data, MSG_DONTWAIT);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            drop(w, c);
        return;
    }
    if (c->state == RELAYING)
        gnutls_record_send(c->session, w->data, (size_t)n);
    flush(c);
}

static void on_event(struct worker *w, const struct epoll_event *event)
{
    struct end *end = event->data.ptr;
    int fd;

    if (!end) {
        while ((fd = accept4(w->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
            begin(w, fd);
        return;
    }
    if (end->of->dead)
        return;
    if (end == &end->of->origin)
        on_origin(w, end->of, event->events);
    else if (event->events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP))
        on_client(w, end->of);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct epoll_event events[256];

    for (;;) {
        int count = epoll_wait(w->epoll, events, 256, -1);

        for (int i = 0; i < count; i++)
            on_event(w, &events[i]);
        while (w->dead) {
            struct connection *c = w->dead;

            w->dead = c->next_dead;
            free(c);
        }
    }
    return NULL;
}

/* An error's name, or NULL. */
static const char *listen_for(struct worker *w)
{
    static const int on = 1;
    struct epoll_event event = {EPOLLIN, {.ptr = NULL}};

    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    w->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(w->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(w->listener, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    setsockopt(w->listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(w->listener, (const struct sockaddr *)&listen_at, sizeof listen_at) ||
        listen(w->listener, SOMAXCONN) || epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->listener, &event))
        return strerror(errno);
    return NULL;
}

static const char *set_up(const char *certificate, const char *key)
{
    int rc = gnutls_certificate_allocate_credentials(&credentials);

    if (rc >= 0)
        rc = gnutls_certificate_set_x509_key_file(credentials, certificate, key,
                                                  GNUTLS_X509_FMT_PEM);
    if (rc >= 0)
        rc = gnutls_priority_init(&priority,
                                  "SECURE128:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-X25519:"
                                  "-CIPHER-ALL:+AES-128-GCM",
                                  NULL);
    if (rc >= 0)
        rc = gnutls_session_ticket_key_generate(&ticket_key);
    return rc < 0 ? gnutls_strerror(rc) : NULL;
}

int main(int argc, char **argv)
{
    struct worker *workers = calloc(THREADS, sizeof *workers);
    const char *error =
        argc == 5 ? set_up(argv[3], argv[4]) : "wanted: PORT ORIGIN-PORT CERTIFICATE KEY";

    signal(SIGPIPE, SIG_IGN);
    if (!error) {
        listen_at = origin_at =
            (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        listen_at.sin_port = htons((uint16_t)atoi(argv[1]));
        origin_at.sin_port = htons((uint16_t)atoi(argv[2]));
    }
    for (int i = 0; i < THREADS && workers && !error; i++)
        error = listen_for(&workers[i]);
    if (!workers || error) {
        fprintf(stderr, "bare: %s\n", error ? error : "no memory");
        return 1;
    }
    for (int i = 1; i < THREADS; i++)
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
            return 1;
    work(&workers[0]);
}
