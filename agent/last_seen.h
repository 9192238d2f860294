/*
 * last_seen: the gateway's certificate as it was when it last passed, so that a stranger's can be
 * compared with it. For people to read, decides nothing. Kept in `cache_dir` over a restart.
 * Blocking I/O (a small file, rarely). Any thread.
 */
#ifndef SALLYPORT_AGENT_LAST_SEEN_H
#define SALLYPORT_AGENT_LAST_SEEN_H
#include "common/verdict.h"

struct agent_last_seen {
    char server_name[256];
    char subject[SP_DN_MAX], issuer[SP_DN_MAX], fingerprint[72];
    int64_t seen;    /* unix seconds; 0: none was */
    int64_t written; /* the same, of what is in the file */
};

/* From the folder (NULL: none), if there is one of that name. A file that cannot be used is as good
 * as none. */
void agent_last_seen_load(const char *cache_dir, const char *server_name,
                          struct agent_last_seen *ret_last);
/* One that has passed now. Written when the issuer is another one, or when the file is an hour old;
 * cache_dir NULL: in memory only. */
SP_MUST_USE enum sp_err agent_last_seen_note(struct agent_last_seen *last, const char *cache_dir,
                                             const char *server_name, const struct sp_facts *facts,
                                             int64_t now, struct sp_error *err);
#endif
