/*
 * conn: a TLS session on a socket: the state machine between the network and tls_session.
 *
 *     handshaking --> open --> closing --> (gone)
 *          \___________________/
 *
 * It moves bytes, keeps the handshake's deadline and ends in exactly one on_closed. Writing is
 * pulled: sp_conn_want_write asks for on_flush at the end of the tick, and again whenever the
 * socket has taken what was there; the owner writes while sp_conn_has_room. Loop thread only.
 */
#ifndef SALLYPORT_COMMON_CONN_H
#define SALLYPORT_COMMON_CONN_H
#include "common/tls_session.h"

struct sp_conn; /* opaque */
struct sp_sock;
struct sp_loop;

/* .code of an SP_ERR_TLS why: the first byte could not begin a TLS record. */
#define SP_CONN_NOT_TLS 1

struct sp_conn_callbacks {
    void (*on_open)(void *ctx); /* handshake done, peer accepted; bytes may flow from now on */
    /* data stays valid until on_taken returns, which follows when a few more have come, or no more
     * is there: so that several can be passed on at once. */
    void (*on_data)(void *ctx, const uint8_t *data, size_t len);
    void (*on_taken)(void *ctx); /* NULL: no need of it */
    void (*on_eof)(void *ctx);   /* close_notify: the peer sends no more */
    void (*on_flush)(void *ctx);
    /* Exactly once, from the loop or from sp_conn_close's deadline, never from inside a call of the
     * owner's. why->kind SP_OK: an orderly end. The conn is gone after it. */
    void (*on_closed)(void *ctx, const struct sp_error *why);
    /* Handshaking, and there is something to do: it stands still, unread, until sp_conn_step, so
     * that the owner decides whose turn it is. The handshake's deadline goes on. NULL: at once. */
    void (*on_step)(void *ctx);
};

struct sp_conn_options {
    unsigned handshake_ms; /* deadline from now to on_open */
    const struct sp_tls_params *params;
    const struct sp_tls_client_options *client; /* NULL: server */
    const struct sp_tls_callbacks *tls;         /* ctx is the same */
};

/* Takes over fd. on_closed comes for every failure after a success here. */
SP_MUST_USE enum sp_err sp_conn_new(struct sp_loop *loop, int fd,
                                    const struct sp_conn_options *options,
                                    const struct sp_conn_callbacks *callbacks, void *ctx,
                                    struct sp_conn **ret_conn, struct sp_error *err);
/* After on_step: goes on with the handshake, here and now; without effect when it is over. */
void sp_conn_step(struct sp_conn *conn);
void sp_conn_want_write(struct sp_conn *conn);
bool sp_conn_has_room(const struct sp_conn *conn);
/* In on_flush, while there is room. A failure arrives as on_closed. */
void sp_conn_write(struct sp_conn *conn, const void *data, size_t len);
void sp_conn_pause(struct sp_conn *conn, bool pause); /* stops handing out data */
/* sp_tls_continue at the end of the tick, and on with the handshake. While it waits nothing is read
 * (so a peer that goes away is noticed late) and the deadline goes on. Safe inside callbacks;
 * no effect when at the end of the tick it does not wait. */
void sp_conn_continue(struct sp_conn *conn);
void sp_conn_finish(struct sp_conn *conn); /* close_notify after what was written */
/* Orderly end: sends what is there, close_notify, FIN; reads on for at most a second so that the
 * peer sees our last words; then on_closed(why). why NULL: SP_OK. */
void sp_conn_close(struct sp_conn *conn, const struct sp_error *why);
/* The same with a fatal alert instead of close_notify. */
void sp_conn_refuse(struct sp_conn *conn, int alert, const struct sp_error *why);
void sp_conn_abort(struct sp_conn *conn, const struct sp_error *why); /* RST */
struct sp_tls_session *sp_conn_tls(struct sp_conn *conn);
struct sp_sock *sp_conn_sock(struct sp_conn *conn); /* borrowed; NULL: it is gone */
uint64_t sp_conn_last_read_ms(const struct sp_conn *conn);
#endif
