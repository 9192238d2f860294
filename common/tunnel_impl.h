/*
 * tunnel_impl: what the files behind tunnel.h share: tunnel.c (the connection), tunnel_h2.c and
 * tunnel_http1.c (what is spoken on it). Nobody else includes it.
 */
#ifndef SALLYPORT_COMMON_TUNNEL_IMPL_H
#define SALLYPORT_COMMON_TUNNEL_IMPL_H
#include "common/buf.h"
#include "common/conn.h"
#include "common/tunnel.h"

struct sp_h2_session;
struct sp_timer;

#define SP_TUNNEL_RUN 12 /* pieces */

enum sp_tunnel_mode {
    SP_TUNNEL_NONE,        /* handshake */
    SP_TUNNEL_H2,          /*                                          */
    SP_TUNNEL_HTTP1_HEAD,  /* reading the CONNECT                      */
    SP_TUNNEL_HTTP1_WAIT,  /* the channel is asked for; nothing is read */
    SP_TUNNEL_HTTP1_RELAY, /* 200 was sent                             */
    SP_TUNNEL_HTTP1_OVER,  /* refused, or the channel has ended        */
};

struct sp_tunnel {
    struct sp_loop *loop;
    struct sp_conn *conn;
    const struct sp_tunnel_callbacks *callbacks;
    void *ctx;
    struct sp_tunnel_options options;
    uint64_t opened_ms;
    struct sp_timer *timer; /* HTTP/2: PING; HTTP/1.1: the request head's deadline */
    enum sp_tunnel_mode mode;
    struct sp_h2_session *h2;
    /* DATA that came in one run of records for one stream, to be written at once. */
    struct sp_h2_stream *run_stream;
    struct iovec run[SP_TUNNEL_RUN];
    size_t run_count;
    bool up, draining;
    bool pinged;
    uint64_t pinged_ms;
    char goaway_text[256];
    /* HTTP/1.1: */
    struct sp_buf head;         /* the head, then what came after it before the 200 */
    struct sp_channel *channel; /* NULL: none (yet, any more) */
    size_t ahead;               /* received, not yet taken by the destination */
    bool pull_wanted, sent_end, seen_end;
};

/* The handshake is through: begins to speak HTTP/2, PING included. */
void sp_tunnel_h2_start(struct sp_tunnel *tunnel);
/* The data must live until sp_tunnel_h2_taken. */
void sp_tunnel_h2_data(struct sp_tunnel *tunnel, const uint8_t *data, size_t len);
void sp_tunnel_h2_taken(struct sp_tunnel *tunnel);
void sp_tunnel_h2_send(struct sp_tunnel *tunnel);  /* what there is, while there is room */
void sp_tunnel_h2_flush(struct sp_tunnel *tunnel); /* the same, and closes when all is over */
void sp_tunnel_h2_free(struct sp_tunnel *tunnel);
extern const struct sp_carrier sp_tunnel_h2_carrier;

/* The handshake is through: waits for one CONNECT. */
void sp_tunnel_http1_start(struct sp_tunnel *tunnel);
void sp_tunnel_http1_data(struct sp_tunnel *tunnel, const uint8_t *data, size_t len);
bool sp_tunnel_http1_eof(struct sp_tunnel *tunnel); /* false: there is no channel to end */
void sp_tunnel_http1_flush(struct sp_tunnel *tunnel);
void sp_tunnel_http1_over(struct sp_tunnel *tunnel, enum sp_stream_end how);
#endif
