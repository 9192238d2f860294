/*
 * doors: the agent's open doors: listening sockets, and what becomes of what they accept.
 *
 * A reload is two steps: agent_doors_prepare opens what is new and can fail, agent_doors_commit
 * cannot. A door whose address is in both configurations is never closed in between. Loop thread
 * only.
 */
#ifndef SALLYPORT_AGENT_DOORS_H
#define SALLYPORT_AGENT_DOORS_H
#include "common/error.h"

struct agent_clients;
struct agent_config;
struct agent_doors; /* opaque */
struct agent_open_door;
struct sp_log_line;

/* Nothing is open yet. `clients`, with its loop and log set, outlives the doors. */
struct agent_doors *agent_doors_new(struct agent_clients *clients);
/* One for each row of `config`: what is open already, or new. */
SP_MUST_USE enum sp_err agent_doors_prepare(struct agent_doors *doors,
                                            const struct agent_config *config,
                                            struct agent_open_door ***ret_opened,
                                            struct sp_error *err);
/* Undoes agent_doors_prepare, `opened` itself too; count is that of the config's doors. */
void agent_doors_forget(struct agent_doors *doors, struct agent_open_door **opened, size_t count);
/* Takes over `opened` and closes what is not in it. A reference to `config` is taken. */
void agent_doors_commit(struct agent_doors *doors, struct agent_config *config,
                        struct agent_open_door **opened);
void agent_doors_close(struct agent_doors *doors); /* all; those who came in stay */
/* Each open door, as "type=address". */
void agent_doors_visit(const struct agent_doors *doors, void (*visit)(void *ctx, const char *door),
                       void *ctx);
/* "doors": one "type=address" each. */
void agent_doors_log(const struct agent_doors *doors, struct sp_log_line *line);
void agent_doors_free(struct agent_doors *doors); /* closes them; NULL is fine */
#endif
