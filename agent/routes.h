/*
 * routes: which way a channel takes: through the tunnel, directly, or not at all.
 *
 * $.routes of agent.json, the first match wins; what none of them matches goes by rules that are
 * built in: what belongs to this machine or its link (names of the hosts file, localhost, loopback
 * and link-local addresses) directly, everything else through the tunnel. Pure: no name is
 * resolved, so a `cidr` matches only a destination that is an address already. Thread-safe.
 */
#ifndef SALLYPORT_AGENT_ROUTES_H
#define SALLYPORT_AGENT_ROUTES_H
#include "common/addr.h"
#include "common/json_bind.h"

struct agent_config;
struct agent_hosts;

enum agent_via { AGENT_VIA_TUNNEL, AGENT_VIA_DIRECT, AGENT_VIA_BLOCK };
const char *agent_via_name(enum agent_via via);

struct agent_port_range {
    uint16_t first, last;
};

/* A row of $.routes. Every condition that is given must hold; of a condition, one of its items. */
struct agent_route {
    struct sp_json_strings hosts;      /* folded: "db.example", "*.example" (below it), "*" */
    struct sp_json_strings cidr_texts; /* each with an item in cidrs */
    struct sp_json_strings port_texts; /* each with an item in ports */
    struct sp_json_strings doors, users;
    int via; /* enum agent_via */
    struct sp_cidr *cidrs;
    struct agent_port_range *ports;
};

#define AGENT_ROUTES_MAX 1000
extern const struct sp_json_field agent_route_fields[];
/* For config.c: after binding (what the table has left as text is parsed, the doors that are named
 * are looked for), and at the end. */
SP_MUST_USE enum sp_err agent_routes_finish(struct agent_config *config, struct sp_error *err);
void agent_routes_done(struct agent_config *config);

struct agent_route_question {
    const struct sp_target *target;
    const char *alt_name; /* folded: a name that the target, an address, goes by; or NULL */
    const char *door;     /* name of the door; NULL: it has none */
    const char *user;     /* NULL: unknown */
    const struct agent_hosts *hosts; /* NULL: no names */
    bool fixed; /* the destination is the configuration's (a `forward` door): nothing built in says
                   "direct", since it means the far side's network */
};

struct agent_way {
    enum agent_via via;
    int route;         /* index in $.routes; -1: none */
    const char *words; /* what decided if none did: "built in: loopback"; static */
};

/* What belongs to this machine or its link by its address. */
struct agent_near_network {
    struct sp_cidr cidr;
    const char *words; /* of struct agent_way */
};
#define AGENT_NEAR_NETWORKS 4
extern const struct agent_near_network agent_near_networks[AGENT_NEAR_NETWORKS];

struct agent_way agent_route_decide(const struct agent_config *config,
                                    const struct agent_route_question *question);
/* Whether a name for the target, an address, could lead to another decision than none. */
bool agent_route_wants_name(const struct agent_config *config,
                            const struct agent_route_question *question);
/* What decided, for people: "agent.json: $.routes[2]", "built in: loopback". Returns buf. */
#define AGENT_RULE_TEXT 320
const char *agent_route_rule(const struct agent_config *config, const struct agent_way *way,
                             char buf[AGENT_RULE_TEXT]);

/* One condition each, for who knows less than a whole question. */
/* It is about certain destinations: says more of hosts than "*", or has a cidr. */
bool agent_route_is_particular(const struct agent_route *route);
bool agent_route_is_localhost(const char *name); /* folded; with what is below it */
bool agent_route_has_door(const struct agent_route *route, const char *door);
#endif
