#include "gateway/explain_impl.h"

#include "common/clock.h"
#include "common/crl_source.h"
#include "common/file.h"
#include "common/loop.h"
#include "common/spelling.h"
#include "gateway/config.h"
#include "gateway/ocsp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- files ---- */

static enum sp_err read_stdin(size_t max, struct gw_explain_input *ret, struct sp_error *err)
{
    struct gw_explain_input in = {.data = sp_calloc(1, max + 2)};
    ssize_t n;

    while ((n = read(STDIN_FILENO, in.data + in.len, max + 1 - in.len)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n > 0)
            in.len += (size_t)n;
        if (n > 0 && in.len <= max)
            continue;
        if (n < 0)
            sp_error_sys(err, errno, "cannot be read");
        else
            sp_error_set(err, SP_ERR_CONFIG, "is too large: %zu bytes are the most", max);
        sp_error_where(err, "standard input");
        gw_explain_input_done(&in);
        return n < 0 ? SP_ERR_SYS : SP_ERR_CONFIG;
    }
    *ret = in;
    return SP_OK;
}

enum sp_err gw_explain_input_read(const char *path, size_t max, struct gw_explain_input *ret,
                                  struct sp_error *err)
{
    struct sp_file file;
    enum sp_err rc;

    if (!strcmp(path, "-"))
        return read_stdin(max, ret, err);
    rc = sp_file_read(path, max, &file, err);
    if (rc == SP_OK)
        *ret = (struct gw_explain_input){.data = file.data, .len = file.len};
    return rc;
}

void gw_explain_input_done(struct gw_explain_input *input)
{
    if (input->data)
        explicit_bzero(input->data, input->len);
    free(input->data);
    *input = (struct gw_explain_input){.data = NULL};
}

/* ---- the configuration ---- */

static void ignore(void *ctx)
{
    (void)ctx;
}

static void ignore_key(void *ctx, const struct gw_live_key *key)
{
    (void)ctx;
    (void)key;
}

/* What cache_dir keeps of the lists that tenants name by URL. */
static void take_kept_lists(struct gw_explain_state *state)
{
    const struct sp_crl_source_options options = {.loop = state->loop, .on_change = ignore};
    struct sp_crl_source *source = sp_crl_source_new(&options);
    struct sp_warnings failures = {.items = NULL};
    struct gw_registry *next;

    sp_crl_source_begin(source, state->registry->config->cache_dir);
    for (size_t i = 0; i < state->registry->tenant_count; i++)
        sp_crl_source_add(source, state->registry->tenants[i]->crls);
    sp_crl_source_end(source);
    next = gw_registry_reload_crls(state->registry, source, &failures);
    if (next) {
        gw_registry_unref(state->registry);
        state->registry = next;
    }
    sp_warnings_done(&failures);
    sp_crl_source_free(source);
}

enum sp_err gw_explain_load(const char *config, struct gw_explain_state *ret, struct sp_error *err)
{
    static const uint8_t master[GW_TICKET_MASTER_LEN]; /* no ticket is ever made with it */
    struct gw_explain_state state = {.registry = NULL};
    struct gw_ocsp_options options = {.on_status = ignore_key};
    enum sp_err rc = gw_registry_load(config, master, NULL, &state.registry, err);

    if (rc != SP_OK)
        return sp_error_as_config(err);
    rc = sp_loop_new(&state.loop, err);
    if (rc != SP_OK) {
        gw_registry_unref(state.registry);
        return rc;
    }
    take_kept_lists(&state);
    options.loop = state.loop;
    options.cache_dir = state.registry->config->cache_dir;
    state.ocsp = gw_ocsp_new(&options);
    *ret = state;
    return SP_OK;
}

void gw_explain_unload(struct gw_explain_state *state)
{
    if (!state->registry)
        return;
    gw_ocsp_free(state->ocsp);
    gw_registry_unref(state->registry);
    sp_loop_free(state->loop);
    *state = (struct gw_explain_state){.registry = NULL};
}

enum sp_err gw_explain_tenant(const struct gw_registry *registry, const char *id,
                              struct gw_tenant **ret_tenant, struct sp_error *err)
{
    struct sp_spelling s;

    *ret_tenant = gw_registry_tenant(registry, id);
    if (*ret_tenant)
        return SP_OK;
    sp_spelling_init(&s, id);
    for (size_t i = 0; i < registry->tenant_count; i++)
        sp_spelling_offer(&s, registry->tenants[i]->id);
    if (s.nearest)
        return sp_error_set(err, SP_ERR_CONFIG,
                            "--tenant %.64s: there is no such tenant, did you mean %s?", id,
                            s.nearest);
    return sp_error_set(err, SP_ERR_CONFIG,
                        "--tenant %.64s: there is no such tenant; there are: %s", id,
                        s.known[0] ? s.known : "none");
}
