/*
 * refusal_page: what an application is told, in HTTP, in place of what it asked for: why, what to
 * do, whom to ask. As a page, as JSON or as text (answer.h); Proxy-Status (RFC 9209) always.
 *
 * JSON: {"status", "error", "reason", "what_to_do", "support_id", "contact", "destination",
 * "time"}; what is not known is left out. Pure but for agent_support_id; any thread.
 */
#ifndef SALLYPORT_AGENT_REFUSAL_PAGE_H
#define SALLYPORT_AGENT_REFUSAL_PAGE_H
#include "agent/answer.h"

struct agent_refusal;

/* "7KQF-3M2P": 40 random bits, by which the line in the log is found again. Letters and digits that
 * nobody takes for others when they are read aloud. */
#define AGENT_SUPPORT_ID_LEN 10
void agent_refusal_page_id(char ret_id[AGENT_SUPPORT_ID_LEN]);

struct agent_refusal_page {
    const struct agent_refusal *refusal;
    const char *advice;      /* NULL: by the refusal */
    const char *contact;     /* the administrator's, from the configuration; NULL: none */
    const char *destination; /* "host:port"; NULL: not known */
    int64_t time;            /* unix seconds */
    enum agent_form form;
    bool head_only;
};
/* The whole response. The caller frees it. */
char *agent_refusal_page_format(const struct agent_refusal_page *page, size_t *ret_len);
#endif
