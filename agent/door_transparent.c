/*
 * door_transparent: connections that a firewall rule has brought here: bytes to where they were
 * meant to go; nothing is said to the application but what the destination says.
 *
 *     start -> asks for the channel at once, unless a route could depend on a name, then:
 *     listens -> a name, or no name, or SNIFF_MS of silence -> asks for the channel
 */
#include "agent/transparent.h"

#include "agent/client.h"
#include "agent/config.h"
#include "agent/routes.h"
#include "common/http1.h"
#include "common/loop.h"
#include "common/tls_sniff.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#define ORIGINAL_DST 80  /* SO_ORIGINAL_DST of <linux/netfilter_ipv4.h>, IP6T_SO_... of IPv6 */
#define SNIFF_MS     300 /* a server that speaks first must not wait for its client */

/* ---- the kernel's side ---- */

enum sp_err agent_transparent_prepare(int fd, enum agent_intercept intercept,
                                      const struct sp_addr *bound, struct sp_error *err)
{
    bool v6 = bound->ip.family == 6;
    int on = 1;

    if (intercept != AGENT_INTERCEPT_TPROXY ||
        setsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_TRANSPARENT : IP_TRANSPARENT, &on,
                   sizeof on) == 0)
        return SP_OK;
    return sp_error_sys(err, errno, "\"intercept\": \"tproxy\" takes the capability CAP_NET_ADMIN");
}

static bool same_addr(const struct sp_addr *a, const struct sp_addr *b)
{
    return a->port == b->port && sp_ip_equal(&a->ip, &b->ip);
}

bool agent_transparent_destination(int fd, enum agent_intercept intercept,
                                   const struct sp_addr *bound, struct sp_addr *ret_destination)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    int rc;

    if (intercept == AGENT_INTERCEPT_TPROXY)
        rc = getsockname(fd, (struct sockaddr *)&sa, &len);
    else
        rc = getsockopt(fd, bound->ip.family == 6 ? IPPROTO_IPV6 : IPPROTO_IP, ORIGINAL_DST, &sa,
                        &len);
    return rc == 0 && sp_addr_from_sockaddr((const struct sockaddr *)&sa, ret_destination) &&
           ret_destination->port && !same_addr(ret_destination, bound);
}

/* ---- the name ---- */

enum finding { FOUND_NOTHING_YET, FOUND_NAME, FOUND_NONE };

/* "example.org", "example.org:8080"; an address is no name. What stands for a port is not judged:
 * the connection's own counts. */
static bool name_of_host(const struct sp_http1_field *host, char ret_name[SP_HOST_MAX + 1])
{
    const char *colon = memchr(host->value.text, ':', host->value.len);

    return sp_host_fold(host->value.text,
                        colon ? (size_t)(colon - host->value.text) : host->value.len, ret_name);
}

static enum finding find_in_http(const struct sp_buf *input, char ret_name[SP_HOST_MAX + 1])
{
    struct sp_http1_head head;
    const struct sp_http1_field *host;
    int status;
    enum sp_err rc = sp_http1_request_head(sp_buf_data(input), input->len, &head, &status, NULL);

    if (rc == SP_AGAIN)
        return FOUND_NOTHING_YET;
    host = rc == SP_OK ? sp_http1_find(&head, "Host", NULL) : NULL;
    return host && name_of_host(host, ret_name) ? FOUND_NAME : FOUND_NONE;
}

static enum finding find_name(const struct sp_buf *input, char ret_name[SP_HOST_MAX + 1])
{
    const uint8_t *first = sp_buf_data(input);

    if (!first)
        return FOUND_NOTHING_YET;
    if (*first >= 'A' && *first <= 'Z')
        return find_in_http(input, ret_name);
    switch (sp_tls_sniff(first, input->len, ret_name)) {
    case SP_TLS_SNIFF_MORE:
        return FOUND_NOTHING_YET;
    case SP_TLS_SNIFF_NAME:
        return FOUND_NAME;
    case SP_TLS_SNIFF_NONE:
        break;
    }
    return FOUND_NONE;
}

/* ---- the way ---- */

static struct sp_target target_of(const struct agent_client *client)
{
    const struct sp_addr *addr = &agent_client_visitor(client)->destination;
    struct sp_target target = {.is_ip = true, .ip = addr->ip, .port = addr->port};

    sp_ip_format(&addr->ip, target.host);
    return target;
}

static struct agent_route_question question_of(const struct agent_client *client,
                                               const struct sp_target *target, const char *name)
{
    return (struct agent_route_question){
        .target = target,
        .alt_name = name,
        .door = agent_client_door(client)->name,
        .user = agent_client_user(client),
        .hosts = agent_client_all(client)->hosts,
    };
}

/*
 * The application has resolved the name by itself, to an address of this side's network. Where the
 * name is what sends the channel through the tunnel, it is the name that is asked for there, as of
 * every other door: it is resolved at the far side, and judged there by rules for names. In all
 * other cases the address is.
 */
static void prefer_name(const struct agent_client *client, const char *name,
                        struct sp_target *target)
{
    const struct agent_config *config = *agent_client_all(client)->config;
    struct agent_route_question question = question_of(client, target, name);
    struct agent_way way = agent_route_decide(config, &question), by_name;
    struct sp_target named = {.port = target->port};

    if (way.via != AGENT_VIA_TUNNEL || way.route < 0 || !config->routes[way.route].hosts.count)
        return;
    strcpy(named.host, name);
    question.target = &named;
    by_name = agent_route_decide(config, &question);
    if (by_name.route == way.route) /* a condition may need the address */
        *target = named;
}

static void go(struct agent_client *client, const char *name)
{
    struct sp_timer *patience = agent_client_state(client);
    struct sp_target target = target_of(client);

    if (patience)
        sp_timer_stop(patience);
    if (name) {
        prefer_name(client, name, &target);
        agent_client_set_alt_name(client, name);
    }
    agent_client_connect(client, &target);
}

static void on_input(struct agent_client *client)
{
    char name[SP_HOST_MAX + 1];

    switch (find_name(agent_client_input(client), name)) {
    case FOUND_NOTHING_YET:
        if (agent_client_input(client)->len < SP_TLS_SNIFF_MAX)
            break;
        go(client, NULL);
        break;
    case FOUND_NAME:
        go(client, name);
        break;
    case FOUND_NONE:
        go(client, NULL);
        break;
    }
}

static void on_silence(void *client)
{
    go(client, NULL);
}

/* It only listens from now on. */
static void on_end(struct agent_client *client)
{
    go(client, NULL);
}

static void start(struct agent_client *client)
{
    struct agent_clients *all = agent_client_all(client);
    struct sp_target target = target_of(client);
    struct agent_route_question question = question_of(client, &target, NULL);
    struct sp_timer *patience;

    if (!agent_route_wants_name(*all->config, &question)) {
        go(client, NULL);
        return;
    }
    patience = sp_timer_new(all->loop, on_silence, client);
    agent_client_set_state(client, patience);
    agent_client_read(client);
    sp_timer_start(patience, SNIFF_MS);
}

static void on_open(struct agent_client *client)
{
    (void)client;
}

static void done(struct agent_client *client)
{
    sp_timer_free(agent_client_state(client));
}

const struct agent_door_kind agent_door_transparent = {
    .name = "transparent",
    .start = start,
    .on_input = on_input,
    .on_end = on_end,
    .on_open = on_open,
    .done = done,
};
