/*
 * sock: non-blocking stream sockets on the loop: readiness, not buffers. The owner reads and writes
 * when it can, so bytes are taken from an application only when there is room for them.
 *
 * Loop thread only. After sp_sock_close no callback comes.
 */
#ifndef SALLYPORT_COMMON_SOCK_H
#define SALLYPORT_COMMON_SOCK_H
#include "common/addr.h"
#include "common/error.h"
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct sp_loop;
struct sp_sock;     /* opaque */
struct sp_listener; /* opaque */

/* on_readable: data, EOF or an error is there to be read. on_writable: only while asked for. Either
 * may close the sock. */
struct sp_sock_callbacks {
    void (*on_readable)(void *ctx);
    void (*on_writable)(void *ctx);
};

/* Takes over fd (made non-blocking, close-on-exec; TCP_NODELAY where it applies). Neither direction
 * is watched until asked for. On failure the fd stays the caller's. */
SP_MUST_USE enum sp_err sp_sock_new(struct sp_loop *loop, int fd,
                                    const struct sp_sock_callbacks *callbacks, void *ctx,
                                    struct sp_sock **ret_sock, struct sp_error *err);
/* The same for an fd as it came from a listener made by sp_listen_fd, from which it has inherited
 * everything, sp_sock_keep_alive included; guarded: and sp_listen_guard. */
SP_MUST_USE enum sp_err sp_sock_accepted(struct sp_loop *loop, int fd, bool guarded,
                                         const struct sp_sock_callbacks *callbacks, void *ctx,
                                         struct sp_sock **ret_sock, struct sp_error *err);
/* A socket that connects to addr: writable when it has, or has failed (sp_sock_error). A failure at
 * once is an SP_ERR_SYS that begins with the address. */
SP_MUST_USE enum sp_err sp_sock_connect(struct sp_loop *loop, const struct sp_addr *addr,
                                        const struct sp_sock_callbacks *callbacks, void *ctx,
                                        struct sp_sock **ret_sock, struct sp_error *err);
/* Changes the owner: for a socket handed from one module to another. */
void sp_sock_set_owner(struct sp_sock *sock, const struct sp_sock_callbacks *callbacks, void *ctx);
void sp_sock_watch_read(struct sp_sock *sock, bool on);
void sp_sock_watch_write(struct sp_sock *sock, bool on);
/* Asks a silent TCP peer whether it still lives: one that is gone is an error in two minutes.
 * Begins when the connection has lasted two to four seconds, which most do not. */
void sp_sock_keep_alive(struct sp_sock *sock);
size_t sp_sock_waiting(const struct sp_sock *sock); /* bytes that could be read now */
/* All bytes are read and written by these two, since what they find is how readiness is known.
 * Bytes, 0 at EOF, or -errno (-EAGAIN: nothing now). */
ssize_t sp_sock_read(struct sp_sock *sock, void *buf, size_t cap);
/* Bytes taken, or -errno (-EAGAIN: no room now). Never SIGPIPE. */
ssize_t sp_sock_write(struct sp_sock *sock, const void *data, size_t len);
ssize_t sp_sock_write_pieces(struct sp_sock *sock, struct iovec *pieces, size_t count);
void sp_sock_shutdown_write(struct sp_sock *sock); /* FIN */
int sp_sock_error(struct sp_sock *sock);           /* SO_ERROR: positive errno or 0 */
/* The kernel has told of an error, which sp_sock_error or a read will name. */
bool sp_sock_has_failed(const struct sp_sock *sock);
bool sp_sock_local(const struct sp_sock *sock, struct sp_addr *ret_addr);
int sp_sock_fd(const struct sp_sock *sock); /* borrowed */
/* Gives the descriptor back to the caller; the rest of the sock is gone. */
SP_MUST_USE int sp_sock_release(struct sp_sock *sock);
/* From now on the peer sees a RST, not a FIN, also when this process dies; sp_sock_close undoes it.
 */
void sp_sock_guard(struct sp_sock *sock);
void sp_sock_close(struct sp_sock *sock); /* orderly: FIN if nothing unread; NULL is fine */
void sp_sock_reset(struct sp_sock *sock); /* RST: the peer sees that this was no clean end */

/* Each channel is a descriptor: takes as many as the administrator grants (the hard limit). The
 * kernel's table has room for `at_once` of them (or the limit) from now on: where it must grow
 * later, every thread that opens one waits for 10 ms and more. Before there is a second thread. */
void sp_descriptors_raise(unsigned at_once);

/* A bound, listening TCP socket, not yet on a loop (so that a reload can open it before it
 * commits). reuse_port: several workers share one address. Port 0 is replaced by the port given, in
 * *addr. */
SP_MUST_USE enum sp_err sp_listen_fd(struct sp_addr *addr, bool reuse_port, int *ret_fd,
                                     struct sp_error *err);
/* Everything accepted from now on is guarded (sp_sock_guard) from its first moment, at no cost. */
bool sp_listen_guard(int fd);
/* Closes what was accepted and is not wanted; no RST, whether it was guarded or not. */
void sp_turn_away(int fd);
/* Accepts on fd (taken over). on_accept owns the new descriptor. Out of descriptors: on_trouble is
 * told once (errno) and accepting pauses 100 ms at a time. At most 32 a tick. */
struct sp_listener_callbacks {
    void (*on_accept)(void *ctx, int fd, const struct sp_addr *peer);
    void (*on_trouble)(void *ctx, int errno_value);
};
SP_MUST_USE enum sp_err sp_listener_new(struct sp_loop *loop, int fd,
                                        const struct sp_listener_callbacks *callbacks, void *ctx,
                                        struct sp_listener **ret_listener, struct sp_error *err);
void sp_listener_free(struct sp_listener *listener); /* closes the socket; NULL is fine */
#endif
