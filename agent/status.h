/*
 * status: how the agent is at one moment: collected on its loop, then written as JSON, as a page or
 * as text. It has no keys and no secrets in it, so whoever may use the door may read it.
 *
 * A snapshot belongs to who began it and borrows the configuration, so it does not outlive the
 * callback it is made in. Loop thread only.
 */
#ifndef SALLYPORT_AGENT_STATUS_H
#define SALLYPORT_AGENT_STATUS_H
#include "agent/answer.h"
#include "agent/state.h"
#include "agent/tally.h"

struct agent_clients;
struct agent_config;

struct agent_status_tunnel {
    char gateway[SP_TARGET_TEXT], address[SP_ADDR_TEXT];
    char tls[16], cipher[48];
    int64_t since; /* unix seconds */
    uint64_t channels;
    uint64_t bytes_up, bytes_down; /* on the wire, TLS included */
    uint64_t round_trip_us;        /* 0: not known */
    bool is_draining;
};

struct agent_status {
    const struct agent_config *config;
    int64_t now, started;
    uint64_t now_ms; /* the loop's clock */
    struct agent_state_view state;
    struct agent_tally tally;
    struct agent_status_tunnel *tunnels;
    size_t tunnel_count;
    char (*doors)[160]; /* "http=127.0.0.1:3128" */
    size_t door_count;
};

/* What the clients know of; the rest is added. Without agent_clients.state the tunnels say whether
 * it is up. started: unix seconds. */
void agent_status_begin(struct agent_status *status, const struct agent_config *config,
                        const struct agent_clients *clients, int64_t started);
/* An agent_uplink_visit_cb. */
void agent_status_add_tunnel(void *status, struct agent_link *link, bool is_draining);
/* For agent_doors_visit. */
void agent_status_add_door(void *status, const char *door);
void agent_status_end(struct agent_status *status); /* after the last was added */
void agent_status_done(struct agent_status *status);

/* Pages of the door's own (local.h): by Accept, and always as JSON. */
struct agent_local_request;
void agent_status_page(const struct agent_local_request *request, FILE *out);
void agent_status_page_json(const struct agent_local_request *request, FILE *out);

/* status_write.c */
void agent_status_write(const struct agent_status *status, enum agent_form form, FILE *out);
#endif
