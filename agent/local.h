/*
 * local: what an HTTP door answers by itself: pages of the agent's own (/proxy.pac), for requests
 * in origin form.
 *
 * Only a request that names the door by its own address is served: "localhost", a loopback address,
 * or the address it came in at. Any other Host is a name that somebody made lead here (DNS
 * rebinding), whose scripts must not read these pages. Loop thread only.
 *
 * A page is one row of the table in local.c: a path and the function that writes it.
 */
#ifndef SALLYPORT_AGENT_LOCAL_H
#define SALLYPORT_AGENT_LOCAL_H
#include "common/addr.h"
#include <stdio.h>

struct agent_client;
struct sp_http1_head;

struct agent_local_request {
    struct agent_client *client;
    const struct sp_http1_head *head;
    struct sp_target self; /* the door as the browser reached it: an address or "localhost" */
};

struct agent_local_page {
    const char *path; /* without a query */
    const char
        *content_type; /* NULL: by the request's Accept (answer.h), so write looks at it too */

    void (*write)(const struct agent_local_request *request, FILE *out);
    unsigned refresh_s; /* a browser asks again after so long; 0: it does not */
};

/* GET or HEAD in origin form: answers it, or refuses it (400, 404, 421), and the client may be gone
 * when this returns. False: it is none of these, and nothing was done. */
bool agent_local_serve(struct agent_client *client, const struct sp_http1_head *head);
#endif
