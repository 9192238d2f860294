/*
 * channel: one application's byte stream: couples a stream of a tunnel with a local socket, both
 * ways, each direction at the pace of its reader. Half-close and reset cross it unchanged.
 *
 * It holds no bytes but those the socket would not take at once, which are bounded by the stream's
 * flow-control window. Loop thread only. A channel is made by its tunnel, is borrowed by everybody
 * else, and is gone when on_closed returns, which comes exactly once, from the loop: never from
 * inside a call of the owner's. It may outlive its tunnel while the socket takes the last bytes.
 */
#ifndef SALLYPORT_COMMON_CHANNEL_H
#define SALLYPORT_COMMON_CHANNEL_H
#include "common/addr.h"
#include "common/error.h"
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct sp_channel; /* opaque */
struct sp_loop;
struct sp_sock;

#define SP_CHANNEL_END_MAP(XX)                                                                     \
    XX(DONE, "done")                 /* both sides sent everything and closed */                   \
    XX(REFUSED, "refused")           /* never opened: policy or network */                         \
    XX(LOCAL_RESET, "local_reset")   /* the local socket failed or was reset */                    \
    XX(REMOTE_RESET, "remote_reset") /* the tunnel's other end reset the stream */                 \
    XX(TUNNEL_LOST, "tunnel_lost")   /* the tunnel went away under it */                           \
    XX(CANCELLED, "cancelled")       /* the owner reset it */
enum sp_channel_how {
#define XX(id, name) SP_CHANNEL_##id,
    SP_CHANNEL_END_MAP(XX)
#undef XX
};
const char *sp_channel_how_name(enum sp_channel_how how);

struct sp_channel_end {
    enum sp_channel_how how;
    uint64_t bytes_in;  /* stream -> local socket */
    uint64_t bytes_out; /* local socket -> stream */
    uint64_t duration_ms;
};

struct sp_channel_callbacks {
    /* Channels we opened: the other end's answer. 2xx: attach a socket. Others: on_closed follows.
     */
    void (*on_reply)(void *ctx, struct sp_channel *channel, int status, const char *proxy_status);
    void (*on_closed)(void *ctx, struct sp_channel *channel, const struct sp_channel_end *end);
};

/* For channels that came to us: the owner must be set in the tunnel's on_channel. */
void sp_channel_set_owner(struct sp_channel *channel, const struct sp_channel_callbacks *callbacks,
                          void *ctx);
const struct sp_target *sp_channel_target(const struct sp_channel *channel);
/* The bytes of one that is open; `how` says nothing. */
void sp_channel_so_far(const struct sp_channel *channel, struct sp_channel_end *ret_end);
/* Takes over sock and relays from now on; `first` bytes were read from it before and go first. On a
 * channel that came to us this also answers 200. */
void sp_channel_attach(struct sp_channel *channel, struct sp_sock *sock, const void *first,
                       size_t first_len);
/* Channels that came to us: answers with status and Proxy-Status; on_closed (REFUSED) follows. */
void sp_channel_refuse(struct sp_channel *channel, int status, const char *proxy_status);
/* Both ends are reset; on_closed (CANCELLED) follows, not from inside this call. */
void sp_channel_cancel(struct sp_channel *channel);

/* ---- for tunnel.c: the other end of a channel ---- */
struct sp_carrier {
    void (*respond)(void *tunnel, void *stream, int status, const char *proxy_status);
    void (*resume)(void *tunnel, void *stream); /* there is something to pull again */
    void (*consumed)(void *tunnel, void *stream, size_t len);
    void (*reset)(void *tunnel, void *stream); /* sp_channel_stream_closed follows, later */
};
/* inbound: it came to us (the gateway's side). */
struct sp_channel *sp_channel_new(struct sp_loop *loop, const struct sp_carrier *carrier,
                                  void *tunnel, void *stream, const struct sp_target *target,
                                  bool inbound);
void sp_channel_stream_reply(struct sp_channel *channel, int status, const char *proxy_status);
/* Pieces that follow one another, valid for the call; they may be changed by it. */
void sp_channel_stream_data(struct sp_channel *channel, struct iovec *pieces, size_t count);
void sp_channel_stream_end(struct sp_channel *channel);
/* SP_H2_PULL_* results (common/h2_session.h). */
ssize_t sp_channel_stream_pull(struct sp_channel *channel, uint8_t *buf, size_t cap, bool *ret_end);
/* The stream is gone and with it the channel's tie to the tunnel. After a clean end the channel
 * lives on until its socket has taken what is left. */
enum sp_stream_end { SP_STREAM_CLEAN, SP_STREAM_RESET, SP_STREAM_TUNNEL_LOST };
void sp_channel_stream_closed(struct sp_channel *channel, enum sp_stream_end how);
#endif
