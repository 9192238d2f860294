/*
 * config_impl: the parts of config among themselves: a file for each part of agent.json that is
 * large. Tables, and what no table row can say.
 */
#ifndef SALLYPORT_AGENT_CONFIG_IMPL_H
#define SALLYPORT_AGENT_CONFIG_IMPL_H
#include "agent/config.h"
#include "common/json_bind.h"

/* One of $.doors: struct agent_door. */
extern const struct sp_json_field agent_config_door_fields[];
/* Where it listens: the part of agent_config_finish_door that reads no other file. */
enum sp_err agent_config_finish_listen(struct agent_config *config, size_t index,
                                       struct sp_error *err);
/* After binding; the doors before it are finished. */
enum sp_err agent_config_finish_door(struct agent_config *config, size_t index,
                                     struct sp_error *err);
/* What agent_config_finish_door has made. */
void agent_config_done_door(struct agent_door *door);
#endif
