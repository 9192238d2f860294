#include "agent/doors.h"

#include "agent/client.h"
#include "agent/config.h"
#include "agent/owner.h"
#include "agent/routes.h"
#include "agent/transparent.h"
#include "agent/unix_listen.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/sock.h"
#include "common/token_bucket.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define USER_TEXT   12 /* a uid */
#define LIMIT_LINES 5  /* at once; then one a second */

/* A listening door. Survives a reload whose configuration has one at the same address. */
struct agent_open_door {
    struct agent_doors *doors;
    const struct agent_door *door; /* in doors->config */
    struct sp_listener *listener;
    int fd;               /* the listener's */
    struct sp_addr bound; /* unless unix_path */
    char *unix_path;      /* its file is `file` */
    struct agent_unix_file file;
    unsigned unix_mode;
};

/* A user whom the configuration names. */
struct known_user {
    uint32_t uid;
    const char *name; /* in doors->config */
};

struct agent_doors {
    struct agent_clients *clients;
    struct agent_config *config;
    struct agent_open_door **open; /* config->door_count of them; NULL before and after */
    struct agent_owner *owner;     /* NULL: nothing has been asked yet */
    struct known_user *users;
    size_t user_count;
    size_t turned_away; /* since the last line that said so */
    size_t strangers;   /* the same: those who were not even told */
    struct sp_token_bucket limit_lines;
};

static const struct agent_door_kind *const kinds[] = {
    [AGENT_DOOR_HTTP] = &agent_door_http,
    [AGENT_DOOR_SOCKS5] = &agent_door_socks5,
    [AGENT_DOOR_MIXED] = &agent_door_mixed,
    [AGENT_DOOR_FORWARD] = &agent_door_forward,
    [AGENT_DOOR_TRANSPARENT] = &agent_door_transparent,
};

static size_t open_count(const struct agent_doors *doors)
{
    return doors->open ? doors->config->door_count : 0;
}

/* ---- who comes in ---- */

/* A flood of connections must not be a flood of lines. */
static void log_turned_away(struct agent_doors *doors, const struct sp_addr *peer)
{
    char text[SP_ADDR_TEXT] = "at a UNIX socket";

    doors->turned_away++;
    if (!sp_token_bucket_take(&doors->limit_lines, sp_loop_now_ms(doors->clients->loop)))
        return;
    sp_log_message(doors->clients->log, SP_LOG_WARNING, "limit",
                   "%zu turned away, the last one %s: limits.connections (%zu) is reached",
                   doors->turned_away, peer->ip.family ? sp_addr_format(peer, text) : text,
                   (size_t)doors->config->limits.connections);
    doors->turned_away = 0;
}

/* The same, of those who may not come in. */
static void log_stranger(struct agent_doors *doors, const struct agent_open_door *open,
                         const struct agent_refusal *why)
{
    doors->strangers++;
    if (!sp_token_bucket_take(&doors->limit_lines, sp_loop_now_ms(doors->clients->loop)))
        return;
    sp_log_message(doors->clients->log, SP_LOG_WARNING, "limit",
                   "%zu turned away unheard, while %d others wait to be told why; the last one at "
                   "%s: %s",
                   doors->strangers, AGENT_CLIENT_SURPLUS, open->door->listen_text, why->text);
    doors->strangers = 0;
}

/* Routes for users, or users of this door. Elsewhere nobody is asked for. */
static bool wants_owner(const struct agent_config *config, const struct agent_door *door)
{
    bool wants = door->allow_texts.count > 0;

    if (!door->unix_path && sp_ip_classify(&door->listen.ip) != SP_IP_LOOPBACK)
        return false;
    for (size_t i = 0; i < config->route_count; i++)
        wants = wants || config->routes[i].users.count;
    return wants;
}

/* Sets .uid and .user; `text` is room for it. */
static void find_user(const struct agent_open_door *open, int fd, struct agent_visitor *visitor,
                      char text[USER_TEXT])
{
    const struct agent_doors *doors = open->doors;
    const struct sp_addr *to =
        visitor->destination.ip.family ? &visitor->destination : &open->bound;

    visitor->uid = AGENT_NO_UID;
    if (open->unix_path)
        visitor->uid = agent_owner_of_unix(fd);
    else if (wants_owner(doors->config, open->door))
        visitor->uid = agent_owner_of_tcp(doors->owner, &visitor->addr, to);
    if (visitor->uid == AGENT_NO_UID)
        return;
    snprintf(text, USER_TEXT, "%" PRIu32, visitor->uid);
    visitor->user = text;
    for (size_t i = doors->user_count; i-- > 0;) {
        if (doors->users[i].uid == visitor->uid)
            visitor->user = doors->users[i].name;
    }
}

static bool is_forbidden(const struct agent_open_door *open, uint32_t uid,
                         struct agent_refusal *ret_refusal)
{
    char *text = ret_refusal->text;

    if (agent_door_allows(open->door, uid))
        return false;
    *ret_refusal = (struct agent_refusal){.status = 403, .error = "http_request_denied"};
    if (uid == AGENT_NO_UID)
        snprintf(text, sizeof ret_refusal->text,
                 "this door is for certain users only (allow_users), and whose this connection is "
                 "cannot be told");
    else
        snprintf(text, sizeof ret_refusal->text,
                 "this door is not for the user with uid %" PRIu32 " (allow_users)", uid);
    return true;
}

static bool is_gateway(const struct agent_config *config, const struct sp_addr *addr)
{
    for (size_t i = 0; i < config->gateway_texts.count; i++) {
        const struct sp_target *gateway = &config->gateways[i];

        if (gateway->is_ip && gateway->port == addr->port && sp_ip_equal(&gateway->ip, &addr->ip))
            return true;
    }
    return false;
}

/* Of a transparent door: sets .destination; whether the connection would lead back to here. */
static bool goes_in_a_circle(const struct agent_open_door *open, int fd,
                             struct agent_visitor *visitor, struct agent_refusal *ret_refusal)
{
    const char *why = NULL;

    if (open->door->type != AGENT_DOOR_TRANSPARENT)
        return false;
    if (!agent_transparent_destination(fd, (enum agent_intercept)open->door->intercept,
                                       &open->bound, &visitor->destination))
        why = "made to the door itself: no firewall rule has brought it here (see "
              "sallyport-agent rules)";
    else if (is_gateway(open->doors->config, &visitor->destination))
        why = "its destination is the gateway: the firewall rules must leave the agent's own "
              "connections alone (see sallyport-agent rules)";
    if (!why)
        return false;
    *ret_refusal = (struct agent_refusal){.status = 502, .error = "proxy_loop_detected"};
    snprintf(ret_refusal->text, sizeof ret_refusal->text, "%s", why);
    return true;
}

static void on_accept(void *ctx, int fd, const struct sp_addr *peer)
{
    struct agent_open_door *open = ctx;
    struct agent_doors *doors = open->doors;
    const struct agent_clients *clients = doors->clients;
    size_t welcome = clients->count - clients->inner_count - clients->unwelcome_count;
    bool unheard = clients->unwelcome_count >= AGENT_CLIENT_SURPLUS;
    struct agent_visitor visitor = {.addr = *peer};
    struct agent_refusal refusal;
    char user[USER_TEXT];
    bool circles = goes_in_a_circle(open, fd, &visitor, &refusal);

    find_user(open, fd, &visitor, user);
    if (circles || is_forbidden(open, visitor.uid, &refusal)) {
        visitor.unwelcome = &refusal;
        if (unheard)
            log_stranger(doors, open, &refusal);
    } else if (welcome >= doors->config->limits.connections) {
        visitor.unwelcome = &agent_client_too_many;
        log_turned_away(doors, peer);
    }
    if (visitor.unwelcome && unheard)
        sp_turn_away(fd);
    else
        agent_client_start(doors->clients, fd, &visitor, kinds[open->door->type], open->door,
                           doors->config);
}

static void on_trouble(void *ctx, int errno_value)
{
    struct agent_open_door *open = ctx;

    sp_log_message(open->doors->clients->log, SP_LOG_ERROR, "trouble", "accept at %s: %s",
                   open->door->listen_text, strerrordesc_np(errno_value));
}

static const struct sp_listener_callbacks listener_callbacks = {on_accept, on_trouble};

/* ---- one door ---- */

static void door_free(struct agent_open_door *open)
{
    if (!open)
        return;
    if (open->unix_path)
        agent_unix_remove(open->unix_path, &open->file);
    sp_listener_free(open->listener);
    free(open->unix_path);
    free(open);
}

static enum sp_err listen_at(struct agent_open_door *open, const struct agent_door *door,
                             int *ret_fd, struct sp_error *err)
{
    enum sp_err rc;

    if (door->unix_path) {
        rc = agent_unix_listen(door->unix_path, door->unix_mode, ret_fd, &open->file, err);
        if (rc == SP_OK)
            open->unix_path = sp_strdup(door->unix_path);
        open->unix_mode = door->unix_mode;
        return rc;
    }
    open->bound = door->listen;
    rc = sp_listen_fd(&open->bound, false, ret_fd, err);
    /* An agent that dies has cut its channels, not ended them. */
    if (rc == SP_OK && !sp_listen_guard(*ret_fd)) {
        rc = sp_error_sys(err, errno, "cannot set up a door");
        close(*ret_fd);
    }
    return rc;
}

static enum sp_err door_open(struct agent_doors *doors, const struct agent_door *door,
                             struct agent_open_door **ret_open, struct sp_error *err)
{
    struct agent_open_door *open = sp_calloc(1, sizeof *open);
    int fd = -1;
    enum sp_err rc;

    open->doors = doors;
    rc = listen_at(open, door, &fd, err);
    open->fd = fd;
    if (rc == SP_OK) {
        rc = sp_listener_new(doors->clients->loop, fd, &listener_callbacks, open, &open->listener,
                             err);
        if (rc != SP_OK)
            close(fd);
    }
    if (rc != SP_OK) {
        door_free(open);
        return rc;
    }
    *ret_open = open;
    return SP_OK;
}

static bool same_place(const struct agent_door *a, const struct agent_door *b)
{
    if (a->unix_path || b->unix_path)
        return a->unix_path && b->unix_path && strcmp(a->unix_path, b->unix_path) == 0;
    return a->listen.port == b->listen.port && sp_ip_equal(&a->listen.ip, &b->listen.ip);
}

/* The open door at the same address that no other row of the new configuration has taken. Port 0
 * may stand in several rows, hence the looking. */
static struct agent_open_door *find_door(const struct agent_doors *doors,
                                         const struct agent_door *door,
                                         struct agent_open_door *const *taken, size_t taken_count)
{
    for (size_t i = 0; i < open_count(doors); i++) {
        bool is_taken = false;

        for (size_t k = 0; k < taken_count; k++)
            is_taken = is_taken || taken[k] == doors->open[i];
        if (!is_taken && same_place(doors->open[i]->door, door))
            return doors->open[i];
    }
    return NULL;
}

static bool was_open(const struct agent_doors *doors, const struct agent_open_door *open)
{
    for (size_t i = 0; i < open_count(doors); i++) {
        if (doors->open[i] == open)
            return true;
    }
    return false;
}

/* ---- all of them ---- */

void agent_doors_forget(struct agent_doors *doors, struct agent_open_door **opened, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!was_open(doors, opened[i]))
            door_free(opened[i]);
    }
    free(opened);
}

/* What a door needs beside its socket, be that new or not. */
static enum sp_err equip(struct agent_doors *doors, const struct agent_config *config,
                         const struct agent_open_door *open, const struct agent_door *door,
                         const char **ret_key, struct sp_error *err)
{
    enum sp_err rc;

    *ret_key = "intercept";
    if (door->type == AGENT_DOOR_TRANSPARENT) {
        rc = agent_transparent_prepare(open->fd, (enum agent_intercept)door->intercept,
                                       &open->bound, err);
        if (rc != SP_OK)
            return rc;
    }
    *ret_key = door->allow_texts.count ? "allow_users" : "listen";
    if (doors->owner || open->unix_path || !wants_owner(config, door))
        return SP_OK;
    return agent_owner_new(&open->bound, &doors->owner, err);
}

enum sp_err agent_doors_prepare(struct agent_doors *doors, const struct agent_config *config,
                                struct agent_open_door ***ret_opened, struct sp_error *err)
{
    struct agent_open_door **opened =
        sp_calloc(config->door_count, sizeof(struct agent_open_door *));

    for (size_t i = 0; i < config->door_count; i++) {
        const struct agent_door *door = &config->doors[i];
        const char *key = "listen";
        enum sp_err rc = SP_OK;

        opened[i] = find_door(doors, door, opened, i);
        if (!opened[i])
            rc = door_open(doors, door, &opened[i], err);
        if (rc == SP_OK)
            rc = equip(doors, config, opened[i], door, &key, err);
        if (rc != SP_OK) {
            if (door->unix_path)
                sp_error_prefix(err, "%s", door->unix_path);
            sp_error_where(err, "%s: $.doors[%zu].%s", config->path, i, key);
            agent_doors_forget(doors, opened, i + 1);
            return rc;
        }
    }
    *ret_opened = opened;
    return SP_OK;
}

/* Of a file that stays: what else the configuration says of it. */
static void take_mode(struct agent_open_door *open)
{
    struct sp_error err;

    if (!open->unix_path || open->unix_mode == open->door->unix_mode)
        return;
    open->unix_mode = open->door->unix_mode;
    if (agent_unix_chmod(open->unix_path, &open->file, open->unix_mode, &err) != SP_OK)
        sp_log_message(open->doors->clients->log, SP_LOG_ERROR, "trouble", "%s", err.text);
}

static void add_users(struct agent_doors *doors, const struct sp_json_strings *names)
{
    for (size_t i = 0; i < names->count; i++) {
        struct known_user *user = &doors->users[doors->user_count];

        user->name = names->items[i];
        if (agent_owner_find(user->name, &user->uid)) /* else it is a login, or nobody's */
            doors->user_count++;
    }
}

/* So that no connection waits for the machine's user database. */
static void learn_users(struct agent_doors *doors)
{
    const struct agent_config *config = doors->config;
    size_t most = 1;

    for (size_t i = 0; i < config->route_count; i++)
        most += config->routes[i].users.count;
    for (size_t i = 0; i < config->door_count; i++)
        most += config->doors[i].allow_texts.count;
    free(doors->users);
    doors->users = sp_calloc(most, sizeof *doors->users);
    doors->user_count = 0;
    for (size_t i = 0; i < config->route_count; i++)
        add_users(doors, &config->routes[i].users);
    for (size_t i = 0; i < config->door_count; i++)
        add_users(doors, &config->doors[i].allow_texts);
}

void agent_doors_commit(struct agent_doors *doors, struct agent_config *config,
                        struct agent_open_door **opened)
{
    for (size_t i = 0; i < open_count(doors); i++) {
        bool stays = false;

        for (size_t k = 0; k < config->door_count; k++)
            stays = stays || opened[k] == doors->open[i];
        if (!stays)
            door_free(doors->open[i]);
    }
    free(doors->open);
    for (size_t i = 0; i < config->door_count; i++) {
        opened[i]->door = &config->doors[i];
        take_mode(opened[i]);
    }
    doors->open = opened;
    agent_config_unref(doors->config);
    doors->config = agent_config_ref(config);
    learn_users(doors);
}

void agent_doors_close(struct agent_doors *doors)
{
    for (size_t i = 0; i < open_count(doors); i++)
        door_free(doors->open[i]);
    free(doors->open);
    doors->open = NULL;
}

void agent_doors_visit(const struct agent_doors *doors, void (*visit)(void *ctx, const char *door),
                       void *ctx)
{
    char text[SP_ADDR_TEXT], item[AGENT_UNIX_PATH_MAX + 32];

    for (size_t i = 0; i < open_count(doors); i++) {
        const struct agent_open_door *open = doors->open[i];

        snprintf(item, sizeof item, "%s=%s%s", kinds[open->door->type]->name,
                 open->unix_path ? "unix:" : "",
                 open->unix_path ? open->unix_path : sp_addr_format(&open->bound, text));
        visit(ctx, item);
    }
}

static void log_door(void *ctx, const char *door)
{
    sp_log_item(ctx, door);
}

void agent_doors_log(const struct agent_doors *doors, struct sp_log_line *line)
{
    sp_log_array_begin(line, "doors");
    agent_doors_visit(doors, log_door, line);
    sp_log_array_end(line);
}

struct agent_doors *agent_doors_new(struct agent_clients *clients)
{
    struct agent_doors *doors = sp_calloc(1, sizeof *doors);

    doors->clients = clients;
    sp_token_bucket_init(&doors->limit_lines, LIMIT_LINES, 1, sp_loop_now_ms(clients->loop));
    return doors;
}

void agent_doors_free(struct agent_doors *doors)
{
    if (!doors)
        return;
    agent_doors_close(doors);
    agent_owner_free(doors->owner);
    free(doors->users);
    agent_config_unref(doors->config);
    free(doors);
}
