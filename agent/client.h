/*
 * client: one application's connection at a door, until its channel is open: then the channel owns
 * the socket, and the client stays only for its line in the log.
 *
 *     accepted -> door speaks -> waits for a channel -> relayed -> gone
 *                     \ refused, with an answer in the door's protocol
 *
 * A kind of door is a table of functions (struct agent_door_kind): SOCKS5 and the rest are added as
 * one file and one row each. Loop thread only.
 */
#ifndef SALLYPORT_AGENT_CLIENT_H
#define SALLYPORT_AGENT_CLIENT_H
#include "agent/uplink.h"
#include "common/buf.h"

struct agent_client;
struct agent_config;
struct agent_door;
struct sp_log;
struct sp_loop;
struct sp_sock;

struct agent_door_kind {
    const char *name;
    /* The connection was just accepted: read from it, or ask for the channel at once. */
    void (*start)(struct agent_client *client);
    /* Bytes have been appended to agent_client_input. */
    void (*on_input)(struct agent_client *client);
    /* The channel is open: what the application is told before its bytes flow (may be empty). */
    void (*on_open)(struct agent_client *client);
    /* What it is told instead. NULL: the connection is reset, since this door has no words. */
    void (*on_refused)(struct agent_client *client, const struct agent_refusal *refusal);
};
extern const struct agent_door_kind agent_door_http, agent_door_forward;

/* All clients of the agent, whatever door they came in by. Embedded in its owner. */
struct agent_clients {
    struct sp_loop *loop;
    struct sp_log *log;
    struct agent_uplink *uplink; /* for channels from now on; NULL: none any more */
    struct agent_client *first;
    size_t count;
    void (*on_empty)(void *ctx); /* count has come down to 0 */
    void *ctx;
};

/* fd is taken over, as accepted by a guarded listener (common/sock.h); config keeps `door` alive (a
 * reference is taken). */
void agent_client_start(struct agent_clients *clients, int fd, const struct sp_addr *peer,
                        const struct agent_door_kind *kind, const struct agent_door *door,
                        struct agent_config *config);
/* Those that have not asked for anything yet, now: on_empty may follow. */
void agent_clients_dismiss_idle(struct agent_clients *clients);
void agent_clients_close(struct agent_clients *clients); /* all, now; on_empty follows */

/* ---- for doors ---- */
#define AGENT_CLIENT_INPUT_MAX 32768 /* what may be read before the channel is asked for */
#define AGENT_CLIENT_ASK_MS    10000 /* for the application to say what it wants */
const struct agent_door *agent_client_door(const struct agent_client *client);
/* What was read and not used; what is left in it when the channel opens goes first. */
struct sp_buf *agent_client_input(struct agent_client *client);
void agent_client_read(struct agent_client *client); /* calls on_input from now on */
/* Asks for the channel; reading stops until it is open. */
void agent_client_connect(struct agent_client *client, const struct sp_target *target);
/* A short answer, written at once. */
void agent_client_say(struct agent_client *client, const void *text, size_t len);
/* The door itself refuses: on_refused follows, from inside this call. */
void agent_client_refuse(struct agent_client *client, const struct agent_refusal *refusal);
/* Ends it after what was said: FIN, and a moment for the application to read it. */
void agent_client_hang_up(struct agent_client *client);
#endif
