#include "agent/crls.h"

#include <stdlib.h>

#include "agent/config.h"
#include "common/crl_source.h"

#define FIRST_MS 2000 /* how long a start waits */

struct agent_crls {
    struct sp_crl_source *source;
};

struct agent_crls *agent_crls_new(struct sp_loop *loop, struct sp_fetcher *fetcher,
                                  struct sp_log *log, void (*on_change)(void *ctx), void *ctx)
{
    const struct sp_crl_source_options options = {
        .loop = loop, .fetcher = fetcher, .log = log, .on_change = on_change, .ctx = ctx};
    struct agent_crls *crls = sp_calloc(1, sizeof *crls);

    crls->source = sp_crl_source_new(&options);
    return crls;
}

void agent_crls_free(struct agent_crls *crls)
{
    if (!crls)
        return;
    sp_crl_source_free(crls->source);
    free(crls);
}

void agent_crls_follow(struct agent_crls *crls, const struct agent_config *config)
{
    sp_crl_source_begin(crls->source, config->cache_dir);
    sp_crl_source_add(crls->source, config->crls);
    sp_crl_source_end(crls->source);
}

enum sp_err agent_crls_take(struct agent_crls *crls, struct agent_config **config,
                            struct sp_error *err)
{
    struct agent_config *next;
    enum sp_err rc;

    if (!(*config)->crls)
        return SP_OK;
    rc = agent_config_renew_crls(*config, crls->source, &next, err);
    if (rc != SP_OK)
        return rc;
    agent_config_unref(*config);
    *config = next;
    return SP_OK;
}

enum sp_err agent_crls_begin(struct agent_crls *crls, struct agent_config **config,
                             struct sp_error *err)
{
    agent_crls_follow(crls, *config);
    sp_crl_source_wait(crls->source, FIRST_MS);
    return agent_crls_take(crls, config, err);
}
