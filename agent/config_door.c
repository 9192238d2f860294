/* config_door: $.doors of agent.json. */
#include "agent/config_impl.h"

#include "agent/users.h"

#include <stdio.h>
#include <string.h>

static const char *const door_type_names[] = {
    [AGENT_DOOR_HTTP] = "http",
    [AGENT_DOOR_SOCKS5] = "socks5",
    [AGENT_DOOR_MIXED] = "mixed",
    [AGENT_DOOR_FORWARD] = "forward",
    NULL,
};

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
     .check = sp_settings_check_addr},
    {.key = "to",
     .type = SP_JSON_STRING,
     .offset = offsetof(struct agent_door, to_text),
     .check = sp_settings_check_target},
    {.key = "users_file", .type = SP_JSON_PATH, .offset = offsetof(struct agent_door, users_file)},
    {.key = NULL},
};

static bool same_listen(const struct sp_addr *a, const struct sp_addr *b)
{
    return a->port && a->port == b->port && sp_ip_equal(&a->ip, &b->ip);
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
    size_t k;

    SP_REQUIRE(sp_addr_parse(door->listen_text, &door->listen, NULL) == SP_OK);
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
    snprintf(path, sizeof path, "$.doors[%zu].listen", index);
    for (k = 0; k < index; k++)
        if (same_listen(&door->listen, &config->doors[k].listen))
            return sp_json_error(err, file, path, "\"%s\" is already that of $.doors[%zu]",
                                 door->listen_text, k);
    if (sp_ip_classify(&door->listen.ip) != SP_IP_LOOPBACK)
        sp_warnings_add(&config->warnings, file, path,
                        "%s is not a loopback address: whoever can reach it can use the tunnel "
                        "under this agent's identity",
                        door->listen_text);
    return load_users(config, index, err);
}

void agent_config_done_door(struct agent_door *door)
{
    agent_users_free(door->users);
}
