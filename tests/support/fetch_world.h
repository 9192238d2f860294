/*
 * fetch_world: what common/fetch is tried on: an HTTP server that says what it is told to, in plain
 * text or over TLS, and a name server that knows a few names; all on one loop, on loopback.
 *
 * One a process, between enter and leave; `fetch_server` is set by the test as it goes. Checks
 * abort the test, and so does a loop on which nothing happens for ten seconds.
 */
#ifndef SALLYPORT_TESTS_SUPPORT_FETCH_WORLD_H
#define SALLYPORT_TESTS_SUPPORT_FETCH_WORLD_H
#include "common/buf.h"
#include "common/fetch.h"
#include "common/loop.h"
#include "common/resolve.h"
#include "common/sock.h"

#include <gnutls/gnutls.h>

#define FETCH_CONNS 64

struct certs_pair;
struct tls_raw;

struct fetch_world {
    struct sp_loop *loop;
    struct sp_timer *deadline;
    struct sp_resolver *resolver;
    struct sp_fetcher *fetcher;
    struct sp_sock *names; /* the name server: loop, both, public, private.example */
    bool names_silent;
};
extern struct fetch_world fetch_world;

struct fetch_conn {
    struct sp_sock *sock;
    struct sp_timer *drip;
    struct tls_raw *tls;
    struct sp_buf request; /* the plain bytes */
    bool answered;
    const char *left; /* of the answer */
    size_t left_len;
};

struct fetch_server {
    struct sp_listener *listener, *listener6;
    uint16_t port;
    const char *answer;                    /* NULL: none, ever */
    size_t answer_len;                     /* 0: strlen */
    const char *drip;                      /* after the answer: again and again */
    bool close;                            /* after the answer */
    bool reset;                            /* likewise, with a RST */
    bool at_once;                          /* answers before it was asked */
    gnutls_certificate_credentials_t cred; /* https */
    int accepted, asked;
    struct sp_addr dialled; /* our side of the last connection */
    char last[70000];       /* the last request */
    size_t last_len;
    struct fetch_conn conns[FETCH_CONNS];
};
extern struct fetch_server fetch_server;

void fetch_world_enter(void); /* the server at 127.0.0.1 */
void fetch_world_enter_at(const char *address);
void fetch_world_leave(void);

/* One more listener of the server's, port 0: any. Returns where it is. */
struct sp_addr fetch_server_listen(const char *text, uint16_t port,
                                   struct sp_listener **ret_listener);
void fetch_server_stop(void);
/* The server speaks TLS as `dns`; returns its CA. */
struct certs_pair *fetch_server_tls(const char *dns);
void fetch_server_tls_done(struct certs_pair *ca);
#endif
