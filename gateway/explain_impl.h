/*
 * explain_impl: what the files of gateway/explain share. Private to explain*.c.
 */
#ifndef SALLYPORT_GATEWAY_EXPLAIN_IMPL_H
#define SALLYPORT_GATEWAY_EXPLAIN_IMPL_H
#include "common/addr.h"
#include "common/tls_show.h"
#include "gateway/decision.h"
#include "gateway/explain.h"
#include "gateway/registry.h"

#include <stdio.h>

/* ---- the command line (explain_options.c) ---- */

enum gw_explain_mode {
    GW_EXPLAIN_HELP,
    GW_EXPLAIN_TENANT,   /* a chain, under a tenant of a configuration */
    GW_EXPLAIN_ANY,      /* a chain, under CAs that are given */
    GW_EXPLAIN_FROM_LOG, /* a line of the log, again */
    GW_EXPLAIN_AGAINST,  /* all devices of a log, again */
};

#define GW_EXPLAIN_FILES 64 /* --trusted-ca, --crl */

/* Texts are borrowed from argv; NULL: not given. */
struct gw_explain_options {
    enum gw_explain_mode mode;
    const char *config, *tenant, *sni, *chain, *ocsp_response, *from_log, *against, *name;
    const char *cas[GW_EXPLAIN_FILES], *crls[GW_EXPLAIN_FILES];
    size_t ca_count, crl_count;
    enum sp_purpose purpose;
    bool has_at, json;
    int64_t at;
};

SP_MUST_USE enum sp_err gw_explain_options_parse(int argc, char **argv,
                                                 struct gw_explain_options *ret_options,
                                                 struct sp_error *err);
extern const char gw_explain_help[];

/* ---- what is read (explain_input.c) ---- */

/* A file, or "-": standard input. .data is malloc'd; freed (and wiped) by gw_explain_input_done. */
struct gw_explain_input {
    uint8_t *data; /* len bytes, then a NUL */
    size_t len;
};
SP_MUST_USE enum sp_err gw_explain_input_read(const char *path, size_t max,
                                              struct gw_explain_input *ret, struct sp_error *err);
void gw_explain_input_done(struct gw_explain_input *input);

/* The configuration as a gateway would have it that has just started and reaches nobody: lists of
 * URLs and OCSP answers are those of cache_dir. */
struct gw_explain_state {
    struct gw_registry *registry;
    struct sp_loop *loop; /* never runs */
    struct gw_ocsp *ocsp;
};
SP_MUST_USE enum sp_err gw_explain_load(const char *config, struct gw_explain_state *ret,
                                        struct sp_error *err);
void gw_explain_unload(struct gw_explain_state *state);
/* An error that names the tenants there are, or the one that was meant. */
SP_MUST_USE enum sp_err gw_explain_tenant(const struct gw_registry *registry, const char *id,
                                          struct gw_tenant **ret_tenant, struct sp_error *err);

/* ---- steps: what was found, in order (explain_text.c) ---- */

/* Texts are as found; they are escaped where they are printed. */
struct gw_explain_step {
    const char *name; /* a literal; NULL: one more line of the step before */
    char *text;
};
struct gw_explain_steps {
    struct gw_explain_step *items;
    size_t count;
};
void gw_explain_step(struct gw_explain_steps *steps, const char *name, const char *fmt, ...)
    SP_PRINTF(3, 4);
void gw_explain_more(struct gw_explain_steps *steps, const char *fmt, ...) SP_PRINTF(2, 3);
void gw_explain_steps_done(struct gw_explain_steps *steps);

/* One decision with all that led to it. */
struct gw_explained {
    int64_t now;
    const char *tenant; /* id; NULL: none */
    const char *policy_file;
    const char *sni;
    const struct sp_policy *policy;
    const struct sp_facts *facts;
    const struct sp_verdict *verdict;
    const struct gw_shadow_verdict *shadow; /* NULL: was not asked */
    int64_t holds_until;
    struct gw_explain_steps steps;
    const char *const *unknown; /* what could not be found out, ends with NULL; NULL: nothing */
    /* Whether the leaf is revoked could not be asked: what it would be in either case. */
    bool is_open;
    struct sp_verdict if_good;
    /* from-log: the decision in the line; NULL: there is none. */
    const char *was_action, *was_reason;
    bool any_chain; /* no tenant: what is not allowed blocks */
};

/* The steps from the single reasons to the verdict, the same for all kinds of questions. */
void gw_explain_conclude(struct gw_explained *e);
/* The whole answer, text or JSON. */
void gw_explain_print(const struct gw_explained *e, bool json, FILE *out);
/* A string of JSON, quotes and all. */
void gw_explain_json_string(FILE *out, const char *text);
void gw_explain_escaped(FILE *out, const char *text);

/* What to do about a reason, for who administers the gateway: a sentence. (explain_advice.c) */
const char *gw_explain_advice(enum sp_reason reason, bool any_chain);

/* ---- the kinds of questions ---- */

SP_MUST_USE enum sp_err gw_explain_chain(const struct gw_explain_options *options,
                                         struct gw_explain_answer *ret_answer,
                                         struct sp_error *err);
SP_MUST_USE enum sp_err gw_explain_from_log(const struct gw_explain_options *options,
                                            struct gw_explain_answer *ret_answer,
                                            struct sp_error *err);
SP_MUST_USE enum sp_err gw_explain_against(const struct gw_explain_options *options,
                                           struct gw_explain_answer *ret_answer,
                                           struct sp_error *err);
/* One answer from what was found; ends the steps. */
void gw_explain_answer(struct gw_explained *e, bool json, struct gw_explain_answer *ret_answer);

/* ---- a decision that is only left as a line of the log (explain_log.c) ---- */

#define GW_LINE_MAX (64 * 1024) /* bytes; the log's own are shorter */
/* False: there is none. *ret_len is that of the line without its end, also where it is not wholly
 * in buf. */
bool gw_explain_next_line(FILE *in, char buf[GW_LINE_MAX], size_t *ret_len, bool *ret_whole);

/* A `tunnel` event. Texts belong to it. */
struct gw_logged {
    char *event, *ts, *tenant, *sni, *action, *reason, *subject, *issuer, *serial, *fingerprint;
    char *not_before, *not_after, *detail;
    uint64_t chain;
    struct sp_json_strings observed_errors, path;
    bool has_chain, has_ocsp, has_crl, has_observed;
    /* From these texts, by gw_logged_read: */
    sp_reason_set observed;
    int64_t at, begin, end; /* begin, end 0: not known */
    bool was_blocked;
};
/* Errors say what is wrong with the line. *ret_other: a good line about something else; nothing is
 * left to free then. */
SP_MUST_USE enum sp_err gw_logged_read(const char *line, size_t len, struct gw_logged *ret,
                                       bool *ret_other, struct sp_error *err);
void gw_logged_done(struct gw_logged *logged);

/* What the line does not tell, so that it is taken to be as it was. Bits. */
enum gw_unsure {
    GW_UNSURE_TENANT = 1,
    GW_UNSURE_TRUST = 2,
    GW_UNSURE_PATH = 4,
    GW_UNSURE_RULES = 8,
    GW_UNSURE_NAMES = 16,
    GW_UNSURE_LISTS = 32,
    GW_UNSURE_OCSP = 64,
};
#define GW_UNSURE_KINDS 7
extern const char *const gw_unsure_texts[GW_UNSURE_KINDS]; /* by the number of the bit */

struct gw_recomputed {
    const struct gw_tenant *tenant; /* of today; NULL: none */
    struct sp_facts facts;
    struct sp_verdict verdict;
    unsigned unsure;
    char name[300], trust[400],
        list[700]; /* what was found, for people; "": nothing was looked for */
};
void gw_recompute(const struct gw_registry *registry, const struct gw_logged *logged, int64_t now,
                  struct gw_recomputed *ret);
#endif
