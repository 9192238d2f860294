/*
 * tls_pair: both ends of TLS in memory. An "end" is the product's own sp_tls_session with an owner
 * that notes what it was asked; tls_raw.h has the other kind.
 *
 * One world (PKI, credentials) a process, between tls_world_enter and tls_world_leave. Checks abort
 * the test. Everything else is owned by the test and freed with its *_done.
 */
#ifndef SALLYPORT_TESTS_SUPPORT_TLS_PAIR_H
#define SALLYPORT_TESTS_SUPPORT_TLS_PAIR_H
#include "common/buf.h"
#include "common/tls_session.h"
#include "tests/support/tls_raw.h"

#define TLS_NAME_A  "a.example" /* tenant A; its second name, with A's ticket key: */
#define TLS_NAME_A2 "a2.example"
#define TLS_NAME_B  "b.example"        /* tenant B */
#define TLS_NAME_O  "optional.example" /* tenant A's key, but no certificate is insisted on */

#define TLS_STAPLE_MAX (64 * 1024)

struct certs_pair;

struct tls_world {
    struct sp_tls_params *params[2];       /* by enum sp_tls_version */
    struct sp_tls_cred *server, *server_b; /* for all names; for B alone */
    struct sp_tls_cred *alice;             /* as our client sends it */
    gnutls_certificate_credentials_t raw_alice, raw_bob, raw_server;
    struct certs_pair *alice_pair, *bob_pair;
};
void tls_world_enter(void);
void tls_world_leave(void);
/* A pair as ours (from files, the only way there is) and as bare GnuTLS credentials; either may be
 * NULL. */
void tls_load(const struct certs_pair *pair, struct sp_tls_cred **ret_cred,
              gnutls_certificate_credentials_t *ret_raw);
extern struct tls_world tls_world;

/* ---- our session, with its owner ---- */

struct tls_owner {
    /* What it is told to do: */
    bool one_certificate;     /* every name is served the same one */
    struct sp_tls_cred *cred; /* this one; NULL: tls_world's */
    bool refuse;              /* on_peer says no, with `alert` */
    bool accept_nobody;       /* on_peer says yes even to count 0 */
    bool no_tickets;
    int alert;
    int waits;       /* so many times on_peer waits before it decides */
    int claim_waits; /* the same for on_claim */
    /* What it saw: */
    int hellos, bad_names;
    int peers, asked; /* times that on_peer decided, and was called */
    int claims;       /* times that on_claim was called */
    bool claim_is_alice;
    uint8_t staple[TLS_STAPLE_MAX];
    size_t staple_len;
    char name[256]; /* of on_hello; "(none)" */
    size_t chain_count;
    bool resumed, is_alice, is_bob;
    size_t output_at_peer; /* what had been written when on_peer was asked */
};

struct tls_end {
    struct sp_tls_session *tls;
    struct tls_owner owner;
    int opens, eofs, failures;
    struct sp_error err;
    struct sp_buf got;  /* what the peer's application sent */
    unsigned chop;      /* 0: feeds whole; 1: byte by byte; else a seed for random pieces */
    unsigned park_seed; /* not 0: parks now and then between steps */
};
void tls_server(struct tls_end *end, enum sp_tls_version min_version);
void tls_client(struct tls_end *end, enum sp_tls_version min_version, const char *name,
                struct sp_tls_cred *cred);
void tls_end_done(struct tls_end *end);
/* Gives it bytes and steps until it wants more or has failed. */
void tls_end_feed(struct tls_end *end, const void *data, size_t len);
void tls_end_fin(struct tls_end *end);
/* sp_tls_continue, and steps. */
void tls_end_continue(struct tls_end *end);
void tls_end_write(struct tls_end *end, const char *text);
/* The fatal alert that is the last record of its output, when that is still in the clear; -1. */
int tls_end_clear_alert(struct tls_end *end);

/* The key that tenant A's or B's tickets are made with. */
const uint8_t *tls_ticket_key(const char *name);

/* Moves bytes both ways until both are silent. */
void tls_meet(struct tls_end *a, struct tls_end *b);
void tls_meet_raw(struct tls_raw *client, struct tls_end *server);
void tls_meet_raws(struct tls_raw *client, struct tls_raw *server);

/* Of a client that has not begun: TLS 1.3 is not offered. */
void tls_only_tls12(struct sp_tls_session *client);

uint32_t tls_random(unsigned *seed); /* not random at all: the same for the same seed */
#endif
