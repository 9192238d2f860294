/*
 * client: one application's connection at a door, until its channel is open: then the channel owns
 * the socket, and the client stays only for its line in the log.
 *
 *     accepted -> door speaks -> waits for a channel -> relayed -> gone
 *                     \ refused, with an answer in the door's protocol
 *
 * A kind of door is a table of functions (struct agent_door_kind), one file and one row each. Loop
 * thread only.
 */
#ifndef SALLYPORT_AGENT_CLIENT_H
#define SALLYPORT_AGENT_CLIENT_H
#include "agent/answer.h"
#include "agent/routes.h"
#include "agent/tally.h"
#include "agent/uplink.h"
#include "common/buf.h"

struct agent_client;
struct agent_config;
struct agent_door;
struct agent_hosts;
struct agent_state_view;
struct agent_status;
struct sp_log;
struct sp_loop;
struct sp_resolver;
struct sp_sock;
struct sp_sock_callbacks;

struct agent_door_kind {
    const char *name;
    /* The connection was just accepted: read from it, or ask for the channel at once. */
    void (*start)(struct agent_client *client);
    /* Bytes have been appended to agent_client_input. */
    void (*on_input)(struct agent_client *client);
    /* It sends no more, before the channel was asked for: goes on without. NULL: it is let go. */
    void (*on_end)(struct agent_client *client);
    /* The channel is open: what the application is told before its bytes flow (may be empty). */
    void (*on_open)(struct agent_client *client);
    /* What it is told instead. NULL: the connection is reset, since this door has no words. */
    void (*on_refused)(struct agent_client *client, const struct agent_refusal *refusal);
    /* The client goes: frees agent_client_state. NULL: there is none. */
    void (*done)(struct agent_client *client);
};
extern const struct agent_door_kind agent_door_http, agent_door_socks5, agent_door_mixed,
    agent_door_forward, agent_door_transparent;

/* All clients of the agent, whatever door they came in by. Embedded in its owner. */
struct agent_clients {
    struct sp_loop *loop;
    struct sp_log *log;
    struct agent_uplink *uplink;        /* for channels from now on; NULL: none any more */
    struct agent_config *const *config; /* the present one: its routes count */
    struct sp_resolver *resolver;       /* for what goes directly, like the next */
    struct agent_hosts *hosts;
    struct agent_client *first;
    size_t count;                /* all */
    size_t inner_count;          /* those of them that a door opened for itself */
    size_t unwelcome_count;      /* those who only wait for an answer that says so */
    bool ending;                 /* nobody gets to ask for another thing */
    void (*on_empty)(void *ctx); /* count has come down to 0 */
    struct agent_tally tally;    /* of those who have ended */
    /* For the pages: how the agent is; NULL: not known. */
    void (*state)(void *ctx, struct agent_state_view *ret_view);
    void (*collect)(void *ctx, struct agent_status *ret_status);
    /* What may overrule the routes; NULL: nothing. *ret_rule says what it was
     * ("$.when_unreachable"), and is static. True: the channel, which the routes send through the
     * tunnel for the reason `way`, goes directly. Neither is asked about a fixed destination (see
     * struct agent_route_question): it means a name of the far side's network. */
    bool (*direct_instead)(void *ctx, const struct sp_target *target, const struct agent_way *way,
                           const char **ret_rule);
    /* The same, after it was refused for want of a tunnel (refusal->no_tunnel). */
    bool (*fall_back)(void *ctx, const struct sp_target *target,
                      const struct agent_refusal *refusal, const char **ret_rule);
    void *ctx; /* of all of them */
};

/* Who has come in at a door. */
struct agent_visitor {
    struct sp_addr addr; /* family 0: by a UNIX socket */
    uint32_t uid;        /* the user (agent/owner.h); AGENT_NO_UID: nobody has looked, or none */
    const char *user;    /* his name; NULL: unknown. Copied, see agent_client_user */
    struct sp_addr destination; /* of a transparent door */
    /* Not NULL: no more than a proper answer that says so, if it asks within a second; at once from
     * a door that has no words. Copied. */
    const struct agent_refusal *unwelcome;
};
extern const struct agent_refusal agent_client_too_many; /* `unwelcome`, and no line in the log */
/* fd is taken over, as accepted by a guarded listener (common/sock.h); config keeps `door` alive (a
 * reference is taken). */
void agent_client_start(struct agent_clients *clients, int fd, const struct agent_visitor *visitor,
                        const struct agent_door_kind *kind, const struct agent_door *door,
                        struct agent_config *config);
/* Those that have not asked for anything yet, now: on_empty may follow. */
void agent_clients_dismiss_idle(struct agent_clients *clients);
void agent_clients_close(struct agent_clients *clients); /* all, now; on_empty follows */
/* What has been counted, with what is open now. */
void agent_clients_tally(const struct agent_clients *clients, struct agent_tally *ret_tally);

/* ---- for doors ---- */
#define AGENT_CLIENT_INPUT_MAX 32768 /* what may be read before the channel is asked for */
#define AGENT_CLIENT_ASK_MS    10000 /* for the application to say what it wants */
#define AGENT_CLIENT_SURPLUS   64    /* so many unwelcome may have their answer at a time */
const struct agent_door *agent_client_door(const struct agent_client *client);
/* Without .user and .unwelcome. */
const struct agent_visitor *agent_client_visitor(const struct agent_client *client);
/* What the door keeps about it; NULL until set. */
void *agent_client_state(const struct agent_client *client);
void agent_client_set_state(struct agent_client *client, void *state);
/* Another door speaks from now on, beginning with what is in the input. No state may be set. */
void agent_client_become(struct agent_client *client, const struct agent_door_kind *kind);
/* What was read and not used; what is left in it when the channel opens goes first. */
struct sp_buf *agent_client_input(struct agent_client *client);
void agent_client_read(struct agent_client *client); /* calls on_input from now on */
/* Who uses it, by name: the owner of the connecting process, or a login at the door. Copied; NULL:
 * unknown. */
const char *agent_client_user(const struct agent_client *client);
void agent_client_set_user(struct agent_client *client, const char *user);
/* A name that the target goes by which is an address (folded, sp_host_fold; copied): routes may
 * name it. NULL: none. */
void agent_client_set_alt_name(struct agent_client *client, const char *name);
/* Asks for the channel, by the way that the routes say; reading stops until it is open. */
void agent_client_connect(struct agent_client *client, const struct sp_target *target);
/* A short answer, written at once. */
void agent_client_say(struct agent_client *client, const void *text, size_t len);
/* An answer of any length, from malloc and taken over: the application takes it at its own pace;
 * then the client hangs up. No line in the log. The client may be gone when this returns. */
void agent_client_answer(struct agent_client *client, char *text, size_t len);
/* The address that the application has connected to; false: none, or it cannot be said. */
bool agent_client_local(const struct agent_client *client, struct sp_addr *ret_addr);
/* The form in which the present request likes an answer; text until it is set. */
enum agent_form agent_client_form(const struct agent_client *client);
void agent_client_set_form(struct agent_client *client, enum agent_form form);
/* What the channel was asked for; NULL: nothing yet, or requests of its own (plain.h). */
const struct sp_target *agent_client_target(const struct agent_client *client);
const struct agent_config *agent_client_config(const struct agent_client *client);
/* The door itself refuses: on_refused follows, from inside this call, with a support id. */
void agent_client_refuse(struct agent_client *client, const struct agent_refusal *refusal);
/* Ends it after what was said: FIN, and a moment for the application to read it. */
void agent_client_hang_up(struct agent_client *client);

/* ---- for doors that relay by themselves ---- */
/* The socket is the door's from now on: it reads and writes as its callbacks say, until it gives it
 * back; the client still owns it. NULL: it was refused (too many). */
struct sp_sock *agent_client_take(struct agent_client *client,
                                  const struct sp_sock_callbacks *callbacks, void *ctx);
/* The client may ask for another thing: what is in the input now, or what comes within
 * AGENT_CLIENT_IDLE_MS. It may be gone when this returns. */
void agent_client_give_back(struct agent_client *client);
#define AGENT_CLIENT_IDLE_MS 60000
/* While taken: ends it, in order (FIN, what was written is read in peace) or by a reset. It is gone
 * after a reset. Nothing is logged: its channels were. */
void agent_client_finish(struct agent_client *client);
void agent_client_cut(struct agent_client *client);
/* A channel of the door's own, on behalf of `outer`: a client of its own kind (no start, no input),
 * with its own line in the log; *ret_fd is the application's end of it. What is written there waits
 * for the channel. NULL: no descriptors, or the end is near. */
struct agent_client *agent_client_inner(struct agent_client *outer,
                                        const struct agent_door_kind *kind, void *state,
                                        const struct sp_target *target, int *ret_fd);
/* For `done` of that kind: both sides had sent everything. */
bool agent_client_ended_well(const struct agent_client *client);
struct agent_clients *agent_client_all(const struct agent_client *client);
#endif
