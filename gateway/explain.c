#include "gateway/explain_impl.h"

#include <stdlib.h>

void gw_explain_answer(struct gw_explained *e, bool json, struct gw_explain_answer *ret_answer)
{
    size_t len;
    FILE *out = open_memstream(&ret_answer->text, &len);

    SP_REQUIRE(out);
    gw_explain_conclude(e);
    gw_explain_print(e, json, out);
    fclose(out);
    gw_explain_steps_done(&e->steps);
    ret_answer->exit_status = e->verdict->action == SP_ACTION_BLOCK;
}

static enum sp_err run(const struct gw_explain_options *options,
                       struct gw_explain_answer *ret_answer, struct sp_error *err)
{
    switch (options->mode) {
    case GW_EXPLAIN_HELP:
        ret_answer->text = sp_strdup(gw_explain_help);
        return SP_OK;
    case GW_EXPLAIN_TENANT:
    case GW_EXPLAIN_ANY:
        return gw_explain_chain(options, ret_answer, err);
    case GW_EXPLAIN_FROM_LOG:
        return gw_explain_from_log(options, ret_answer, err);
    case GW_EXPLAIN_AGAINST:
        return gw_explain_against(options, ret_answer, err);
    }
    return SP_ERR_CONFIG;
}

enum sp_err gw_explain(int argc, char **argv, struct gw_explain_answer *ret_answer,
                       struct sp_error *err)
{
    struct gw_explain_options options;
    enum sp_err rc = gw_explain_options_parse(argc, argv, &options, err);

    *ret_answer = (struct gw_explain_answer){.text = NULL};
    return rc == SP_OK ? run(&options, ret_answer, err) : rc;
}
