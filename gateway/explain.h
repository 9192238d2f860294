/*
 * explain: `sallyport-gateway explain`: the decision that the gateway would take about a client,
 * and each step to it, without a tunnel and without the network: by the very functions that tunnels
 * are decided with (gateway/decision.h).
 *
 * Reads files and, where it is asked to, standard input; prints nothing. Main thread (options).
 */
#ifndef SALLYPORT_GATEWAY_EXPLAIN_H
#define SALLYPORT_GATEWAY_EXPLAIN_H
#include "common/error.h"

struct gw_explain_answer {
    char *text;      /* for standard output; malloc'd */
    int exit_status; /* 0: allowed (or nobody is cut), 1: blocked (or somebody is) */
};

/* argv[0] is "explain". Every error is one of usage or configuration (exit status 2), but
 * SP_ERR_MEMORY. */
SP_MUST_USE enum sp_err gw_explain(int argc, char **argv, struct gw_explain_answer *ret_answer,
                                   struct sp_error *err);
#endif
