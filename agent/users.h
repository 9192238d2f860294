/*
 * users: who may use a door, by name and password: a file with one `user:password` a line.
 *
 * Immutable once loaded. Thread-safe.
 */
#ifndef SALLYPORT_AGENT_USERS_H
#define SALLYPORT_AGENT_USERS_H
#include "common/error.h"
#include <stddef.h>
#include <stdint.h>

struct agent_users; /* opaque */

/* Blank lines and those that begin with '#' are no users. The file must not be readable by others,
 * like a key. Errors have the path in .where. */
SP_MUST_USE enum sp_err agent_users_load(const char *path, struct agent_users **ret_users,
                                         struct sp_error *err);
void agent_users_free(struct agent_users *users); /* wipes it; NULL is fine */
/* Takes the same time whatever is wrong. */
bool agent_users_know(const struct agent_users *users, const uint8_t *user, size_t user_len,
                      const uint8_t *password, size_t password_len);
#endif
