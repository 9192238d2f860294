/*
 * tunnel: one mutual-TLS connection that carries channels: HTTP/2 CONNECT streams or, for a client
 * without h2, one HTTP/1.1 CONNECT. Joins conn (TLS on a socket), h2_session and channel; the same
 * object at both ends.
 *
 * Loop thread only. A tunnel ends in exactly one on_closed, from the loop, and is gone when that
 * returns. Its channels are cut from it then; their own on_closed follow.
 */
#ifndef SALLYPORT_COMMON_TUNNEL_H
#define SALLYPORT_COMMON_TUNNEL_H
#include "common/channel.h"
#include "common/tls_session.h"

struct sp_tunnel; /* opaque */
struct sp_loop;
struct sp_traffic; /* common/traffic.h */

struct sp_tunnel_callbacks {
    struct sp_tls_callbacks tls; /* on_hello, on_bad_name, on_claim (server); on_peer: verdict */
    void (*on_step)(void *ctx);  /* see sp_conn_callbacks; NULL: the handshake goes on at once */
    /* Server: the verdict was good. Client: the gateway has accepted us, its SETTINGS are in. */
    void (*on_up)(void *ctx);
    /* Server: a CONNECT. Set the channel's owner, then attach or refuse it, now or later. */
    void (*on_channel)(void *ctx, struct sp_channel *channel);
    /* Server: a request that was refused as malformed before it was a channel. */
    void (*on_bad_request)(void *ctx, int status, const char *text);
    void (*on_draining)(void *ctx); /* the other end takes no new channels; NULL: not told */
    void (*on_closed)(void *ctx, const struct sp_error *why);
};

struct sp_tunnel_options {
    const struct sp_tls_params *params;
    const struct sp_tls_client_options *client; /* NULL: server */
    unsigned handshake_ms;                      /* 0: 5000 */
    unsigned request_ms;      /* server, HTTP/1.1: for the request head; 0: 10000 */
    unsigned ping_idle_ms;    /* nothing heard for so long: PING; 0: 30000 */
    unsigned ping_timeout_ms; /* no answer for so long: the tunnel is dead; 0: 10000 */
    uint32_t max_channels;    /* server: SETTINGS_MAX_CONCURRENT_STREAMS */
};

/* Takes over the connected fd (on success). */
SP_MUST_USE enum sp_err sp_tunnel_new(struct sp_loop *loop, int fd,
                                      const struct sp_tunnel_options *options,
                                      const struct sp_tunnel_callbacks *callbacks, void *ctx,
                                      struct sp_tunnel **ret_tunnel, struct sp_error *err);
void sp_tunnel_step(struct sp_tunnel *tunnel); /* after on_step: see sp_conn_step */
/* Client. SP_ERR_LIMIT: not now (stream limit, draining). */
SP_MUST_USE enum sp_err sp_tunnel_open_channel(struct sp_tunnel *tunnel,
                                               const struct sp_target *target,
                                               const struct sp_channel_callbacks *callbacks,
                                               void *ctx, struct sp_channel **ret_channel,
                                               struct sp_error *err);
bool sp_tunnel_can_open(const struct sp_tunnel *tunnel);
size_t sp_tunnel_channel_count(const struct sp_tunnel *tunnel);
/* GOAWAY with this text; channels finish; closes when the last one has. */
void sp_tunnel_drain(struct sp_tunnel *tunnel, const char *text);
/* GOAWAY, channels reset, orderly TLS end; on_closed(why) follows from the loop. HTTP/1.1 has no
 * other way to tell of a reset than a fatal alert: why->code if its kind is SP_ERR_PEER_CERT. */
void sp_tunnel_close(struct sp_tunnel *tunnel, const struct sp_error *why);
/* At once: RST. on_closed(why) follows from the loop. */
void sp_tunnel_abort(struct sp_tunnel *tunnel, const struct sp_error *why);
/* on_peer or on_claim waited: asks again at the end of the tick. Safe inside callbacks; no effect
 * when it does not wait, or is closing. */
void sp_tunnel_continue(struct sp_tunnel *tunnel);
struct sp_tls_session *sp_tunnel_tls(struct sp_tunnel *tunnel);
/* The text of the other end's GOAWAY, cut to fit; "" when there was none. It is the peer's: data.
 */
const char *sp_tunnel_goaway_text(const struct sp_tunnel *tunnel);
/* On the wire, TLS included. False: not known. */
bool sp_tunnel_traffic(const struct sp_tunnel *tunnel, struct sp_traffic *ret_traffic);
uint64_t sp_tunnel_opened_ms(const struct sp_tunnel *tunnel); /* loop time of sp_tunnel_new */
/* HTTP/2, up: does the other end live? PING now, whether it is idle or not; nothing heard within
 * ping_timeout_ms ends the tunnel as always. */
void sp_tunnel_check(struct sp_tunnel *tunnel);
uint64_t sp_tunnel_heard_ms(const struct sp_tunnel *tunnel); /* loop time of the last bytes read */
#endif
