/* config_door: $.doors of agent.json. */
#include "agent/config_impl.h"

#include "agent/owner.h"
#include "agent/transparent.h"
#include "agent/unix_listen.h"
#include "agent/users.h"
#include "common/json_fields.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define UNIX_MODE 0600 /* unless the configuration says otherwise */

static const char *const door_type_names[] = {
    [AGENT_DOOR_HTTP] = "http",
    [AGENT_DOOR_SOCKS5] = "socks5",
    [AGENT_DOOR_MIXED] = "mixed",
    [AGENT_DOOR_FORWARD] = "forward",
    [AGENT_DOOR_TRANSPARENT] = "transparent",
    NULL,
};

static const char *const intercept_names[] = {
    [AGENT_INTERCEPT_REDIRECT] = "redirect",
    [AGENT_INTERCEPT_TPROXY] = "tproxy",
    NULL,
};

#define UNIX_PREFIX "unix:"
#define ALLOW_MAX   1000

const struct agent_door *agent_config_find_door(const struct agent_config *config, const char *name)
{
    for (size_t i = 0; i < config->door_count; i++) {
        const struct agent_door *door = &config->doors[i];

        if (door->name && strcmp(door->name, name) == 0)
            return door;
    }
    return NULL;
}

static bool is_unix(const char *listen)
{
    return strncmp(listen, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0;
}

static enum sp_err check_listen(const char *value, struct sp_error *err)
{
    if (!is_unix(value))
        return sp_settings_check_addr(value, err);
    if (value[strlen(UNIX_PREFIX)] && value[strlen(value) - 1] != '/')
        return SP_OK;
    return sp_error_set(err, SP_ERR_CONFIG,
                        "\"%.260s\" names no file; wanted: \"unix:\" and the path of a socket, as "
                        "in unix:/run/sallyport/proxy.sock",
                        value);
}

static bool parse_mode(const char *text, unsigned *ret_mode)
{
    unsigned mode = 0;

    if (strlen(text) < 3 || strlen(text) > 4 || strspn(text, "01234567") != strlen(text))
        return false;
    for (; *text; text++)
        mode = mode << 3 | (unsigned)(*text - '0');
    *ret_mode = mode;
    return mode <= 0777;
}

static enum sp_err check_mode(const char *value, struct sp_error *err)
{
    unsigned mode;

    if (parse_mode(value, &mode))
        return SP_OK;
    return sp_error_set(err, SP_ERR_CONFIG,
                        "\"%.40s\" is not the mode of a file; wanted: octal digits, as in 0660",
                        value);
}

const struct sp_json_field agent_config_door_fields[] = {
    {.key = "type",
     .type = SP_JSON_ENUM,
     .offset = offsetof(struct agent_door, type),
     .required = true,
     .names = door_type_names},
    {.key = "listen",
     .type = SP_JSON_STRING,
     .offset = offsetof(struct agent_door, listen_text),
     .required = true,
     .check = check_listen},
    {.key = "to",
     .type = SP_JSON_STRING,
     .offset = offsetof(struct agent_door, to_text),
     .check = sp_settings_check_target},
    {.key = "name", .type = SP_JSON_STRING, .offset = offsetof(struct agent_door, name)},
    {.key = "mode",
     .type = SP_JSON_STRING,
     .offset = offsetof(struct agent_door, mode_text),
     .check = check_mode},
    {.key = "allow_users",
     .type = SP_JSON_STRINGS,
     .offset = offsetof(struct agent_door, allow_texts),
     .or_number = true,
     .min = 1,
     .max = ALLOW_MAX},
    {.key = "intercept",
     .type = SP_JSON_ENUM,
     .offset = offsetof(struct agent_door, intercept),
     .default_uint = AGENT_INTERCEPT_REDIRECT,
     .names = intercept_names,
     .present_offset = SP_JSON_PRESENT(struct agent_door, has_intercept)},
    {.key = "users_file", .type = SP_JSON_PATH, .offset = offsetof(struct agent_door, users_file)},
    {.key = NULL},
};

static bool same_listen(const struct agent_door *a, const struct agent_door *b)
{
    if (a->unix_path || b->unix_path)
        return a->unix_path && b->unix_path && strcmp(a->unix_path, b->unix_path) == 0;
    return a->listen.port && a->listen.port == b->listen.port &&
           sp_ip_equal(&a->listen.ip, &b->listen.ip);
}

/* Where it listens; a path is relative to the file. */
enum sp_err agent_config_finish_listen(struct agent_config *config, size_t index,
                                       struct sp_error *err)
{
    struct agent_door *door = &config->doors[index];
    char path[48];

    snprintf(path, sizeof path, "$.doors[%zu].mode", index);
    if (door->mode_text && !is_unix(door->listen_text))
        return sp_json_error(err, config->path, path,
                             "the mode of a file is for doors that listen at \"unix:...\"");
    door->unix_mode = UNIX_MODE;
    if (door->mode_text)
        SP_REQUIRE(parse_mode(door->mode_text, &door->unix_mode));
    snprintf(path, sizeof path, "$.doors[%zu].listen", index);
    if (is_unix(door->listen_text) && door->type == AGENT_DOOR_TRANSPARENT)
        return sp_json_error(err, config->path, path,
                             "firewall rules bring TCP connections; wanted: an address, as in "
                             "127.0.0.1:4000");
    if (is_unix(door->listen_text)) {
        door->unix_path =
            sp_json_fields_path(config->path, door->listen_text + strlen(UNIX_PREFIX));
        if (strlen(door->unix_path) > AGENT_UNIX_PATH_MAX)
            return sp_json_error(err, config->path, path,
                                 "\"%.120s...\" is longer than the %d bytes that the path of a "
                                 "socket may have",
                                 door->unix_path, AGENT_UNIX_PATH_MAX);
    } else {
        SP_REQUIRE(sp_addr_parse(door->listen_text, &door->listen, NULL) == SP_OK);
    }
    for (size_t k = 0; k < index; k++) {
        if (same_listen(door, &config->doors[k]))
            return sp_json_error(err, config->path, path, "\"%s\" is already that of $.doors[%zu]",
                                 door->listen_text, k);
    }
    return SP_OK;
}

static enum sp_err finish_allowed(struct agent_config *config, size_t index, struct sp_error *err)
{
    struct agent_door *door = &config->doors[index];
    char path[64];

    snprintf(path, sizeof path, "$.doors[%zu].allow_users", index);
    if (!door->allow_texts.count)
        return SP_OK;
    if (!door->unix_path && sp_ip_classify(&door->listen.ip) != SP_IP_LOOPBACK)
        return sp_json_error(
            err, config->path, path,
            "whose a connection is can be told of this machine's own only; wanted: "
            "a loopback address or \"unix:...\" in \"listen\", which is \"%s\"",
            door->listen_text);
    door->allow_uids = sp_calloc(door->allow_texts.count, sizeof *door->allow_uids);
    for (size_t i = 0; i < door->allow_texts.count; i++) {
        if (agent_owner_find(door->allow_texts.items[i], &door->allow_uids[i]))
            continue;
        snprintf(path, sizeof path, "$.doors[%zu].allow_users[%zu]", index, i);
        return sp_json_error(err, config->path, path,
                             "\"%.100s\" is no user of this machine; wanted: a name or a uid",
                             door->allow_texts.items[i]);
    }
    return SP_OK;
}

bool agent_door_allows(const struct agent_door *door, uint32_t uid)
{
    for (size_t i = 0; i < door->allow_texts.count; i++) {
        if (door->allow_uids[i] == uid && uid != AGENT_NO_UID)
            return true;
    }
    return !door->allow_texts.count;
}

static void warn_of_strangers(struct agent_config *config, size_t index)
{
    const struct agent_door *door = &config->doors[index];
    char path[48];

    snprintf(path, sizeof path, "$.doors[%zu].listen", index);
    if (!door->unix_path && sp_ip_classify(&door->listen.ip) != SP_IP_LOOPBACK)
        sp_warnings_add(&config->warnings, config->path, path,
                        "%s is not a loopback address: whoever can reach it can use the tunnel "
                        "under this agent's identity",
                        door->listen_text);
    snprintf(path, sizeof path, "$.doors[%zu].mode", index);
    if (door->unix_path && door->unix_mode & S_IWOTH && !door->allow_texts.count)
        sp_warnings_add(&config->warnings, config->path, path,
                        "every user of this machine can use the tunnel under this agent's "
                        "identity; \"allow_users\" would name those who may");
}

/* A door with users has them as they are now. */
static enum sp_err load_users(struct agent_config *config, size_t index, struct sp_error *err)
{
    struct agent_door *door = &config->doors[index];
    struct sp_error why;
    enum sp_err rc;
    char path[48];

    if (!door->users_file)
        return SP_OK;
    snprintf(path, sizeof path, "$.doors[%zu].users_file", index);
    if (door->type != AGENT_DOOR_SOCKS5)
        return sp_json_error(err, config->path, path,
                             "a door of type \"%s\" knows no logins; \"users_file\" is for type "
                             "\"socks5\"",
                             door_type_names[door->type]);
    rc = agent_users_load(door->users_file, &door->users, &why);
    if (rc == SP_OK)
        return SP_OK;
    if (why.where[0])
        sp_error_prefix(&why, "%s", why.where);
    sp_error_where(&why, "%s: %s", config->path, path);
    if (err)
        *err = why;
    return rc;
}

enum sp_err agent_config_finish_door(struct agent_config *config, size_t index,
                                     struct sp_error *err)
{
    struct agent_door *door = &config->doors[index];
    const char *file = config->path;
    char path[48];
    enum sp_err rc;

    if (door->to_text)
        SP_REQUIRE(sp_target_parse(door->to_text, strlen(door->to_text), &door->to, NULL) == SP_OK);
    snprintf(path, sizeof path, "$.doors[%zu].to", index);
    if (door->type == AGENT_DOOR_FORWARD && !door->to_text)
        return sp_json_error(err, file, path,
                             "required for a door of type \"forward\", but missing; wanted: "
                             "\"host:port\"");
    if (door->type != AGENT_DOOR_FORWARD && door->to_text)
        return sp_json_error(err, file, path,
                             "a door of type \"%s\" takes the destination from each request; "
                             "\"to\" is for type \"forward\"",
                             door_type_names[door->type]);
    snprintf(path, sizeof path, "$.doors[%zu].intercept", index);
    if (door->type != AGENT_DOOR_TRANSPARENT && door->has_intercept)
        return sp_json_error(err, file, path, "is for doors of type \"transparent\"");
    rc = agent_config_finish_listen(config, index, err);
    if (rc == SP_OK)
        rc = finish_allowed(config, index, err);
    if (rc != SP_OK)
        return rc;
    warn_of_strangers(config, index);
    return load_users(config, index, err);
}

void agent_config_done_door(struct agent_door *door)
{
    agent_users_free(door->users);
    free(door->unix_path);
    free(door->allow_uids);
}
