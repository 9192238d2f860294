#include "agent/doors.h"

#include "agent/client.h"
#include "agent/config.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/sock.h"
#include "common/token_bucket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIMIT_LINES 5 /* at once; then one a second */

/* A listening door. Survives a reload whose configuration has one at the same address. */
struct agent_open_door {
    struct agent_doors *doors;
    const struct agent_door *door; /* in doors->config */
    struct sp_listener *listener;
    struct sp_addr bound;
};

struct agent_doors {
    struct agent_clients *clients;
    struct agent_config *config;
    struct agent_open_door **open; /* config->door_count of them; NULL before and after */
    size_t turned_away;            /* since the last line that said so */
    struct sp_token_bucket limit_lines;
};

static const struct agent_door_kind *const kinds[] = {
    [AGENT_DOOR_HTTP] = &agent_door_http,
    [AGENT_DOOR_SOCKS5] = &agent_door_socks5,
    [AGENT_DOOR_MIXED] = &agent_door_mixed,
    [AGENT_DOOR_FORWARD] = &agent_door_forward,
};

static size_t open_count(const struct agent_doors *doors)
{
    return doors->open ? doors->config->door_count : 0;
}

/* ---- who comes in ---- */

/* A flood of connections must not be a flood of lines. */
static void log_turned_away(struct agent_doors *doors, const struct sp_addr *peer)
{
    char text[SP_ADDR_TEXT];

    doors->turned_away++;
    if (!sp_token_bucket_take(&doors->limit_lines, sp_loop_now_ms(doors->clients->loop)))
        return;
    sp_log_message(doors->clients->log, SP_LOG_WARNING, "limit",
                   "%zu turned away, the last one %s: limits.connections (%zu) is reached",
                   doors->turned_away, sp_addr_format(peer, text),
                   (size_t)doors->config->limits.connections);
    doors->turned_away = 0;
}

static void on_accept(void *ctx, int fd, const struct sp_addr *peer)
{
    struct agent_open_door *open = ctx;
    struct agent_doors *doors = open->doors;

    size_t count = doors->clients->count - doors->clients->inner_count;
    bool surplus = count >= doors->config->limits.connections;

    if (surplus)
        log_turned_away(doors, peer);
    if (count >= doors->config->limits.connections + AGENT_CLIENT_SURPLUS) {
        sp_turn_away(fd);
        return;
    }
    agent_client_start(doors->clients, fd, peer, kinds[open->door->type], open->door, doors->config,
                       surplus);
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
    sp_listener_free(open->listener);
    free(open);
}

static enum sp_err door_open(struct agent_doors *doors, const struct agent_door *door,
                             struct agent_open_door **ret_open, struct sp_error *err)
{
    struct agent_open_door *open = sp_calloc(1, sizeof *open);
    int fd = -1;
    enum sp_err rc;

    open->doors = doors;
    open->bound = door->listen;
    rc = sp_listen_fd(&open->bound, false, &fd, err);
    /* An agent that dies has cut its channels, not ended them. */
    if (rc == SP_OK && !sp_listen_guard(fd)) {
        rc = sp_error_sys(err, errno, "cannot set up a door");
        close(fd);
    }
    if (rc == SP_OK) {
        rc = sp_listener_new(doors->clients->loop, fd, &listener_callbacks, open, &open->listener,
                             err);
        if (rc != SP_OK)
            close(fd);
    }
    if (rc != SP_OK) {
        free(open);
        return rc;
    }
    *ret_open = open;
    return SP_OK;
}

/* The open door at the same address that no other row of the new configuration has taken. Port 0
 * may stand in several rows, hence the looking. */
static struct agent_open_door *find_door(const struct agent_doors *doors,
                                         const struct sp_addr *listen,
                                         struct agent_open_door *const *taken, size_t taken_count)
{
    for (size_t i = 0; i < open_count(doors); i++) {
        const struct sp_addr *other = &doors->open[i]->door->listen;
        bool is_taken = false;

        for (size_t k = 0; k < taken_count; k++)
            is_taken = is_taken || taken[k] == doors->open[i];
        if (!is_taken && other->port == listen->port && sp_ip_equal(&other->ip, &listen->ip))
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

enum sp_err agent_doors_prepare(struct agent_doors *doors, const struct agent_config *config,
                                struct agent_open_door ***ret_opened, struct sp_error *err)
{
    struct agent_open_door **opened =
        sp_calloc(config->door_count, sizeof(struct agent_open_door *));

    for (size_t i = 0; i < config->door_count; i++) {
        opened[i] = find_door(doors, &config->doors[i].listen, opened, i);
        if (!opened[i] && door_open(doors, &config->doors[i], &opened[i], err) != SP_OK) {
            sp_error_where(err, "%s: $.doors[%zu].listen", config->path, i);
            agent_doors_forget(doors, opened, i);
            return err->kind;
        }
    }
    *ret_opened = opened;
    return SP_OK;
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
    for (size_t i = 0; i < config->door_count; i++)
        opened[i]->door = &config->doors[i];
    doors->open = opened;
    agent_config_unref(doors->config);
    doors->config = agent_config_ref(config);
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
    char text[SP_ADDR_TEXT], item[SP_ADDR_TEXT + 16];

    for (size_t i = 0; i < open_count(doors); i++) {
        snprintf(item, sizeof item, "%s=%s", kinds[doors->open[i]->door->type]->name,
                 sp_addr_format(&doors->open[i]->bound, text));
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
    agent_config_unref(doors->config);
    free(doors);
}
