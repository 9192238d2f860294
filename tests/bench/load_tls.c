/* Mutual-TLS clients: new handshakes with one request each, and idle HTTP/2 tunnels. */
#include "tests/bench/load.h"
#include "tests/bench/load_mint.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum state { FREE, HANDSHAKE, CONNECT, REQUEST, TUNNEL };

/* One connection after the other in the same place; a place keeps its ticket. */
struct visit {
    SSL *ssl;
    SSL_SESSION *ticket;
    int fd;
    enum state state;
    uint64_t begun;
    struct load_response response;
    unsigned char frame[17]; /* HTTP/2: head and what of the payload is wanted */
    size_t frame_len, frame_skip;
    bool open; /* tunnel: the gateway's SETTINGS are in */
};

struct crowd {
    const struct load_options *options;
    SSL_CTX *ctx;
    struct load_identity *identities;
    unsigned identity_count, identity_next;
    struct visit *visits;
    unsigned busy, open;
    int epoll;
    bool tunnels, warming;
    char request[256], connect[320];
    size_t request_len, connect_len;
    struct load_result result;
};

static int visit_index;

static int on_ticket(SSL *ssl, SSL_SESSION *session)
{
    struct visit *v = SSL_get_ex_data(ssl, visit_index);

    SSL_SESSION_free(v->ticket);
    v->ticket = session;
    return 1; /* the reference is ours now */
}

static SSL_CTX *context(const struct crowd *crowd)
{
    static const unsigned char h2[] = {2, 'h', '2'};
    char groups[] = "X25519"; /* the macro below casts a const away */
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    if (!ctx || !SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") ||
        !SSL_CTX_set1_groups_list(ctx, groups) ||
        !SSL_CTX_load_verify_locations(ctx, crowd->options->ca, NULL))
        load_die("TLS: %s", ERR_reason_error_string(ERR_get_error()));
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    if (crowd->tunnels)
        SSL_CTX_set_alpn_protos(ctx, h2, sizeof h2);
    if (crowd->options->resume) {
        SSL_CTX_set_session_cache_mode(ctx,
                                       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
        SSL_CTX_sess_set_new_cb(ctx, on_ticket);
    }
    return ctx;
}

static void load_identities(struct crowd *crowd)
{
    const struct load_options *o = crowd->options;
    unsigned count = o->tenants ? o->count : o->fresh ? o->fresh : 1;
    struct load_identity issuer;

    crowd->identities = calloc(count, sizeof *crowd->identities);
    if (!crowd->identities || !count)
        load_die("no clients: --count, --fresh");
    if (o->fresh)
        load_identity_read(&issuer, o->cert, o->key);
    for (unsigned i = 0; i < count; i++) {
        struct load_identity *identity = &crowd->identities[i];

        if (o->tenants) {
            char path[4096];

            snprintf(path, sizeof path, "%s/clients/%06u.pem", o->tenants, o->first + i);
            load_identity_read(identity, path, path);
            snprintf(identity->name, sizeof identity->name, "t%06u.secure.example.net",
                     o->first + i);
            continue;
        }
        if (o->fresh)
            load_identity_fresh(identity, &issuer, i);
        else
            load_identity_read(identity, o->cert, o->key);
        snprintf(identity->name, sizeof identity->name, "%s", o->name);
    }
    crowd->identity_count = count;
}

static void crowd_init(struct crowd *crowd, const struct load_options *options, unsigned places)
{
    if (!options->ca || (!options->tenants && (!options->cert || !options->key || !options->name)))
        load_die("--ca, and --tenants or --cert --key --name, are wanted");
    crowd->options = options;
    crowd->ctx = context(crowd);
    visit_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    load_identities(crowd);
    crowd->visits = calloc(places, sizeof *crowd->visits);
    crowd->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!crowd->visits || crowd->epoll < 0)
        load_die("out of memory or descriptors");
    crowd->request_len = load_request(options, crowd->request, sizeof crowd->request);
    if (options->connect)
        crowd->connect_len = (size_t)snprintf(crowd->connect, sizeof crowd->connect,
                                              "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n",
                                              options->connect, options->connect);
}

/* False when every identity has had its turn. */
static bool begin(struct crowd *crowd, struct visit *v)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = v};
    bool again = crowd->options->cycle || (!crowd->options->fresh && !crowd->options->tenants);
    struct load_identity *identity;

    if (crowd->identity_next == crowd->identity_count) {
        if (!again)
            return false;
        crowd->identity_next = 0;
    }
    identity = &crowd->identities[crowd->identity_next++];
    v->begun = load_now_us();
    crowd->result.offered++;
    v->fd = load_dial(crowd->options->port);
    if (v->fd < 0) {
        load_failed(&crowd->result, strerror(errno));
        return true;
    }
    v->ssl = SSL_new(crowd->ctx);
    if (!v->ssl || !SSL_set_tlsext_host_name(v->ssl, identity->name) ||
        !SSL_set1_host(v->ssl, identity->name) || !SSL_set_fd(v->ssl, v->fd) ||
        !SSL_use_cert_and_key(v->ssl, identity->cert, identity->key, identity->chain, 1))
        load_die("TLS: %s", ERR_reason_error_string(ERR_get_error()));
    SSL_set_ex_data(v->ssl, visit_index, v);
    if (crowd->options->resume && v->ticket)
        SSL_set_session(v->ssl, v->ticket);
    SSL_set_connect_state(v->ssl);
    memset(&v->response, 0, sizeof v->response);
    v->state = HANDSHAKE;
    crowd->busy++;
    epoll_ctl(crowd->epoll, EPOLL_CTL_ADD, v->fd, &event);
    return true;
}

static void end(struct crowd *crowd, struct visit *v)
{
    if (v->open)
        crowd->open--;
    SSL_free(v->ssl);
    close(v->fd);
    v->ssl = NULL;
    v->state = FREE;
    v->open = false;
    crowd->busy--;
}

static void end_badly(struct crowd *crowd, struct visit *v, const char *why)
{
    if (crowd->tunnels)
        load_die("a tunnel ended: %s", why);
    load_failed(&crowd->result, why);
    /* A ticket of an attempt that failed is not tried again. */
    SSL_SESSION_free(v->ticket);
    v->ticket = NULL;
    end(crowd, v);
}

static void say(struct crowd *crowd, struct visit *v, const void *data, size_t len)
{
    /* Some hundred bytes into an empty socket: all or an error. */
    if (SSL_write(v->ssl, data, (int)len) != (int)len)
        load_failed(&crowd->result, "write");
}

static void shaken(struct crowd *crowd, struct visit *v)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";

    if (crowd->tunnels) {
        v->state = TUNNEL;
        say(crowd, v, preface, sizeof preface); /* its last zero ends the SETTINGS frame */
    } else if (crowd->connect_len) {
        v->state = CONNECT;
        v->response.no_body = true;
        say(crowd, v, crowd->connect, crowd->connect_len);
    } else {
        v->state = REQUEST;
        say(crowd, v, crowd->request, crowd->request_len);
    }
}

/* A frame's head, and eight bytes of a PING, are in. */
static void frame_complete(struct crowd *crowd, struct visit *v)
{
    static const unsigned char settings_ack[9] = {0, 0, 0, 4, 1};
    const unsigned char type = v->frame[3], flags = v->frame[4];

    if (type == 4 && !(flags & 1)) {
        say(crowd, v, settings_ack, sizeof settings_ack);
        if (!v->open) {
            v->open = true;
            crowd->open++;
        }
    } else if (type == 6 && !(flags & 1)) {
        v->frame[4] = 1;
        say(crowd, v, v->frame, sizeof v->frame);
    }
    v->frame_len = 0;
}

static void hear_frames(struct crowd *crowd, struct visit *v, const unsigned char *data, size_t len)
{
    while (len) {
        size_t payload, want;

        if (v->frame_skip) {
            size_t n = v->frame_skip < len ? v->frame_skip : len;

            v->frame_skip -= n;
            data += n;
            len -= n;
            continue;
        }
        v->frame[v->frame_len++] = *data++;
        len--;
        if (v->frame_len < 9)
            continue;
        payload = (size_t)v->frame[0] << 16 | (size_t)v->frame[1] << 8 | v->frame[2];
        want = v->frame[3] == 6 ? 9 + 8 : 9;
        if (v->frame_len < want)
            continue;
        v->frame_skip = want == 9 ? payload : 0;
        frame_complete(crowd, v);
    }
}

static void hear_response(struct crowd *crowd, struct visit *v, const char *data, size_t len)
{
    switch (load_response_feed(&v->response, data, len)) {
    case LOAD_MORE:
        return;
    case LOAD_BAD:
        end_badly(crowd, v, "not the answer that was wanted");
        return;
    case LOAD_DONE:
        break;
    }
    if (v->state == CONNECT) {
        memset(&v->response, 0, sizeof v->response);
        v->state = REQUEST;
        say(crowd, v, crowd->request, crowd->request_len);
        return;
    }
    crowd->result.done++;
    if (SSL_session_reused(v->ssl))
        crowd->result.resumed++;
    load_sample(&crowd->result, load_now_us() - v->begun);
    SSL_shutdown(v->ssl); /* in order, and without waiting for the other's */
    end(crowd, v);
}

static void tls_failed(struct crowd *crowd, struct visit *v, int rc)
{
    unsigned long error;

    switch (SSL_get_error(v->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return;
    case SSL_ERROR_ZERO_RETURN:
        end_badly(crowd, v, "closed by the server");
        break;
    default:
        error = ERR_get_error();
        end_badly(crowd, v, error ? ERR_reason_error_string(error) : "reset by the server");
    }
    ERR_clear_error();
}

static void step(struct crowd *crowd, struct visit *v)
{
    char data[4096];
    int n;

    if (v->state == HANDSHAKE) {
        n = SSL_do_handshake(v->ssl);
        if (n != 1) {
            tls_failed(crowd, v, n);
            return;
        }
        shaken(crowd, v);
    }
    while (v->state != FREE) {
        n = SSL_read(v->ssl, data, sizeof data);
        if (n <= 0) {
            tls_failed(crowd, v, n);
            return;
        }
        if (v->state == TUNNEL)
            hear_frames(crowd, v, (const unsigned char *)data, (size_t)n);
        else
            hear_response(crowd, v, data, (size_t)n);
    }
}

static void turn(struct crowd *crowd, int wait_ms)
{
    struct epoll_event events[256];
    int n = epoll_wait(crowd->epoll, events, 256, wait_ms);

    for (int i = 0; i < n; i++) {
        struct visit *v = events[i].data.ptr;

        if (v->state != FREE)
            step(crowd, v);
    }
}

static void give_up_late(struct crowd *crowd, unsigned places)
{
    uint64_t limit = (uint64_t)crowd->options->timeout_ms * 1000, now = load_now_us();

    for (unsigned i = 0; i < places; i++)
        if (crowd->visits[i].state != FREE && now - crowd->visits[i].begun > limit) {
            crowd->result.timed_out++;
            end_badly(crowd, &crowd->visits[i], "no answer in time");
        }
}

/* Offers handshakes for so long: each place again as soon as it is free or, with a rate, as many as
 * are due; a rate that finds no free place offers fewer, which `offered` tells. */
static void offer(struct crowd *crowd, double seconds)
{
    const struct load_options *o = crowd->options;
    const uint64_t begun = load_now_us(), until = begun + (uint64_t)(seconds * 1e6);
    const uint64_t offered_before = crowd->result.offered;
    uint64_t now, late_check = begun;
    unsigned place = 0;
    bool more = true;

    while ((now = load_now_us()) < until && (more || crowd->busy)) {
        uint64_t due = UINT64_MAX, offered = 0;

        if (o->rate > 0)
            due = (uint64_t)((double)(now - begun) / 1e6 * o->rate);
        /* A bounded number at a go, so that answers are read in between. */
        while (more && crowd->busy < o->at_once && offered < 32 &&
               crowd->result.offered - offered_before < due) {
            while (crowd->visits[place].state != FREE)
                place = (place + 1) % o->at_once;
            more = begin(crowd, &crowd->visits[place]);
            place = (place + 1) % o->at_once;
            offered++;
        }
        turn(crowd, o->rate > 0 ? 1 : 100);
        if (now - late_check > 100000) {
            give_up_late(crowd, o->at_once);
            late_check = now;
        }
    }
    crowd->result.seconds = (double)(load_now_us() - begun) / 1e6;
}

/* Lets everything end that has begun; no new ones. */
static void settle(struct crowd *crowd)
{
    while (crowd->busy) {
        turn(crowd, 100);
        give_up_late(crowd, crowd->options->at_once);
    }
}

/* Each place once: tickets are there, chains have been seen, connections to origins are warm. */
static void warm(struct crowd *crowd)
{
    for (unsigned i = 0; i < crowd->options->at_once; i++)
        if (!begin(crowd, &crowd->visits[i]))
            break;
    settle(crowd);
    if (crowd->result.failed && !crowd->result.done)
        load_die("no handshake succeeds: %s", crowd->result.error);
    free(crowd->result.latency);
    memset(&crowd->result, 0, sizeof crowd->result);
}

void load_handshakes(const struct load_options *options)
{
    struct crowd crowd = {0};

    crowd_init(&crowd, options, options->at_once);
    /* Those that are to be a first time must not have one before. */
    if (!options->fresh && !options->tenants && options->rate <= 0)
        warm(&crowd);
    load_ready();
    offer(&crowd, options->seconds);
    /* In the time's last moments begun, done a little after: they count, their time too. */
    if (options->rate <= 0) {
        uint64_t begun = load_now_us();

        settle(&crowd);
        crowd.result.seconds += (double)(load_now_us() - begun) / 1e6;
    }
    load_print(&crowd.result);
}

void load_tunnels(const struct load_options *options)
{
    struct crowd crowd = {.tunnels = true};
    uint64_t deadline = load_now_us() + 240000000;

    crowd_init(&crowd, options, options->count);
    while (crowd.open < options->count) {
        while (crowd.busy < options->count && crowd.busy - crowd.open < options->at_once)
            if (!begin(&crowd, &crowd.visits[crowd.busy]))
                load_die("more tunnels than identities");
        turn(&crowd, 1000);
        if (load_now_us() > deadline)
            load_die("%u of %u tunnels were open after four minutes", crowd.open, options->count);
    }
    puts("ready");
    fflush(stdout);
    /* PINGs are answered until the driver has seen enough. */
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

    epoll_ctl(crowd.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event);
    for (bool enough = false; !enough;) {
        struct epoll_event events[256];
        int n = epoll_wait(crowd.epoll, events, 256, -1);

        for (int i = 0; i < n; i++) {
            struct visit *v = events[i].data.ptr;

            if (!v)
                enough = true;
            else if (v->state != FREE)
                step(&crowd, v);
        }
    }
    crowd.result.done = crowd.open;
    load_print(&crowd.result);
}
