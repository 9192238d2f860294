/*
 * explain_question: one question about a chain while it is answered, for explain_chain.c, which
 * finds and decides, and explain_describe.c, which says what was found.
 */
#ifndef SALLYPORT_GATEWAY_EXPLAIN_QUESTION_H
#define SALLYPORT_GATEWAY_EXPLAIN_QUESTION_H
#include "gateway/explain_impl.h"
#include "gateway/tenant.h"

#define GW_CHAIN_FILE_MAX (1024 * 1024)

struct gw_question {
    const struct gw_explain_options *options;
    struct gw_explain_state state;
    struct sp_tls_trust *trust; /* any chain */
    struct sp_tls_crl_set *crls;
    struct sp_tls_certs certs;
    struct sp_chain chain;
    struct gw_explain_input response;
    struct gw_finding finding;
    struct gw_decision d;
    struct gw_explained e;
    struct gw_policy_view policy; /* what e.policy points to */
    char name[SP_HOST_MAX + 1];
    bool is_decided; /* without the chain */
};

/* Each adds its steps: what was sent; the path; the times; what a path and its leaf are asked
 * besides; the lists. All but the first after the chain was examined. */
void gw_question_describe_sent(struct gw_question *q);
void gw_question_describe_path(struct gw_question *q);
void gw_question_describe_times(struct gw_question *q);
void gw_question_describe_checks(struct gw_question *q);
void gw_question_describe_lists(struct gw_question *q);
#endif
