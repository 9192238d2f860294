/*
 * identity_watch: the files that the agent's identity is made of: when they were renewed on the
 * disk, the new credential is taken up.
 *
 * The folders are watched (common/dir_watch), and each minute the files are looked at, for file
 * systems that tell nothing. What is read while it is being written is read again; what cannot be
 * used, or is not valid while the present certificate is, changes nothing, and is told in the log
 * when it stays so for some seconds. A key in a token is not watched. Loop thread only.
 */
#ifndef SALLYPORT_AGENT_IDENTITY_WATCH_H
#define SALLYPORT_AGENT_IDENTITY_WATCH_H

struct agent_config;
struct agent_identity_watch; /* opaque */
struct agent_own;
struct sp_log;
struct sp_loop;

/* on_renewed takes the credential over. It ends with agent_identity_watch_follow of a configuration
 * that has it. */
struct agent_identity_watch *
agent_identity_watch_new(struct sp_loop *loop, struct sp_log *log,
                         void (*on_renewed)(void *ctx, struct agent_own *own), void *ctx);
void agent_identity_watch_free(struct agent_identity_watch *watch); /* NULL is fine */
/* This configuration's identity from now on; takes a reference. */
void agent_identity_watch_follow(struct agent_identity_watch *watch, struct agent_config *config);
/* For tests: how often the files are looked at, in place of each minute. */
void agent_identity_watch_set_pace(struct agent_identity_watch *watch, unsigned look_ms);
#endif
