#include "gateway/tenant.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/tls_cred.h"
#include "common/tls_crl.h"
#include "common/tls_kdf.h"
#include "common/tls_trust.h"
#include "gateway/acl.h"
#include "gateway/cred_store.h"
#include "gateway/keyring.h"

/* ---- counters ---- */

static void counters_unref(struct gw_tenant_counters *counters)
{
    if (counters && atomic_fetch_sub_explicit(&counters->refs, 1, memory_order_acq_rel) == 1)
        free(counters);
}

void gw_tenant_share_counters(struct gw_tenant *tenant, const struct gw_tenant *older)
{
    atomic_fetch_add_explicit(&older->counters->refs, 1, memory_order_relaxed);
    counters_unref(tenant->counters);
    tenant->counters = older->counters;
}

/* Adding first and looking then keeps the limit exact without a lock: whoever sees it passed takes
 * its own one back. */
static bool take(_Atomic uint64_t *counter, uint64_t limit)
{
    if (atomic_fetch_add_explicit(counter, 1, memory_order_relaxed) < limit)
        return true;
    atomic_fetch_sub_explicit(counter, 1, memory_order_relaxed);
    return false;
}

static void drop(_Atomic uint64_t *counter)
{
    SP_REQUIRE(atomic_fetch_sub_explicit(counter, 1, memory_order_relaxed) > 0);
}

bool gw_tenant_take_tunnel(struct gw_tenant *tenant)
{
    return take(&tenant->counters->tunnels, tenant->config->limits.tunnels);
}

void gw_tenant_move_tunnel(struct gw_tenant *from, struct gw_tenant *to)
{
    atomic_fetch_add_explicit(&to->counters->tunnels, 1, memory_order_relaxed);
    drop(&from->counters->tunnels);
}

void gw_tenant_drop_tunnel(struct gw_tenant *tenant)
{
    drop(&tenant->counters->tunnels);
}

bool gw_tenant_take_channel(struct gw_tenant *tenant)
{
    return take(&tenant->counters->channels, tenant->config->limits.channels);
}

void gw_tenant_drop_channel(struct gw_tenant *tenant)
{
    drop(&tenant->counters->channels);
}

bool gw_tenant_take_handshake(struct gw_tenant *tenant, uint64_t now_us)
{
    uint64_t per_s = tenant->config->limits.handshakes_per_s;

    return !per_s || sp_rate_take(&tenant->counters->handshakes, per_s, now_us);
}

const struct gw_acl *gw_tenant_acl(const struct gw_tenant *tenant, bool unvalidated)
{
    const struct gw_tenant_config *config = tenant->config;

    return unvalidated && config->unvalidated_acl ? config->unvalidated_acl : config->acl;
}

/* ---- loading ---- */

enum sp_err gw_tenant_check_coverage(const struct sp_tls_cred *cred, const char *whose,
                                     const struct sp_json_strings *names, const char *file,
                                     const char *json_path, struct sp_error *err)
{
    const char *has = sp_tls_cred_names(cred);
    char path[80];
    size_t i;

    for (i = 0; i < names->count; i++) {
        if (sp_tls_cred_covers(cred, names->items[i]))
            continue;
        snprintf(path, sizeof path, "%s.server_names[%zu]", json_path, i);
        return sp_json_error(err, file, path, "\"%s\" is not covered by the %s, which is for %s",
                             names->items[i], whose, has && has[0] ? has : "no DNS name");
    }
    return SP_OK;
}

enum sp_err gw_tenant_check_common(const char *path, const struct sp_json_strings *names,
                                   const struct gw_tenant_sources *sources, struct sp_error *err)
{
    char whose[320];

    if (!sources->common_cred)
        return sp_json_error(err, path, "$.certificate",
                             "required, but missing: %s has no common certificate to show instead",
                             sources->gateway_file);
    snprintf(whose, sizeof whose, "common certificate %s", sources->common_certificate);
    return gw_tenant_check_coverage(sources->common_cred, whose, names, path, "$", err);
}

enum sp_err gw_tenant_take_cred(struct gw_tenant *tenant, struct sp_tls_cred *common,
                                struct sp_tls_cred **ret_cred, struct sp_error *err)
{
    struct sp_tls_cred *cred;
    uint64_t serial;
    char whose[320];
    enum sp_err rc;

    if (!tenant->own) {
        *ret_cred = sp_tls_cred_ref(common);
        return SP_OK;
    }
    rc = gw_cred_take(tenant->own, tenant->path, "$", &cred, &serial, err);
    if (rc != SP_OK)
        return rc;
    /* Not once for all: the files may be others than those that were seen first. */
    if (atomic_load_explicit(&tenant->covered, memory_order_relaxed) != serial) {
        snprintf(whose, sizeof whose, "certificate %s", gw_cred_certificate(tenant->own));
        rc = gw_tenant_check_coverage(cred, whose, &tenant->server_names, tenant->path, "$", err);
        if (rc != SP_OK) {
            sp_tls_cred_unref(cred);
            return rc;
        }
        atomic_store_explicit(&tenant->covered, serial, memory_order_relaxed);
    }
    *ret_cred = cred;
    return SP_OK;
}

/* Everything that changes whom this tenant lets in, or how it is decided. */
static void make_epoch(struct gw_tenant *tenant)
{
    struct {
        char id[GW_TENANT_ID_MAX + 1];
        uint8_t trust_digest[32], crl_digest[32], rules[32];
    } state; /* bytes only: no padding */

    memset(&state, 0, sizeof state);
    strncpy(state.id, tenant->id, sizeof state.id - 1);
    sp_tls_trust_digest(tenant->trust, state.trust_digest);
    sp_tls_crl_set_digest(tenant->crls, state.crl_digest);
    memcpy(state.rules, tenant->config->rules, sizeof state.rules);
    sp_sha256(&state, sizeof state, tenant->ticket_epoch);
}

void gw_tenant_ticket_key(const struct gw_tenant *tenant,
                          const uint8_t master[GW_TICKET_MASTER_LEN],
                          uint8_t ret_key[SP_TICKET_KEY_LEN])
{
    struct {
        char label[sizeof "sallyport ticket"];
        char id[GW_TENANT_ID_MAX + 1];
        uint8_t epoch[GW_TICKET_EPOCH_LEN];
    } info = {.label = "sallyport ticket"}; /* bytes only: no padding */

    strncpy(info.id, tenant->id, sizeof info.id - 1);
    memcpy(info.epoch, tenant->ticket_epoch, sizeof info.epoch);
    sp_kdf(master, GW_TICKET_MASTER_LEN, &info, sizeof info, ret_key, SP_TICKET_KEY_LEN);
}

const struct sp_policy *gw_tenant_policy(const struct gw_tenant *tenant, bool shadow,
                                         struct gw_policy_view *view)
{
    const struct gw_client_validation *validation = &tenant->config->client_validation;

    size_t len = strlen(tenant->path), most = sizeof view->source - 64;

    /* Of a long one the end tells most. */
    snprintf(view->source, sizeof view->source, "%s: $.client_validation%s",
             tenant->path + (len > most ? len - most : 0), shadow ? ".shadow" : "");
    view->policy = shadow ? validation->shadow.policy : validation->policy;
    view->policy.source = view->source;
    return &view->policy;
}

static bool lets_no_certificate_pass(const struct sp_policy *policy)
{
    int own = policy->on[SP_REASON_NO_CERTIFICATE];

    return own == SP_DECIDE_ALLOW ||
           (own == SP_DECIDE_UNSET && policy->on_failure == SP_DECIDE_ALLOW);
}

static void warn_wide_rules(const struct gw_tenant *tenant, const char *key,
                            const struct sp_json_strings *rules, const struct gw_acl *acl,
                            struct sp_warnings *warnings)
{
    char path[48];
    size_t i;

    for (i = 0; i < rules->count; i++) {
        if (!gw_acl_rule_is_wide(acl, i))
            continue;
        snprintf(path, sizeof path, "$.egress.%s[%zu]", key, i);
        sp_warnings_add(warnings, tenant->path, path,
                        "rule \"%s\" opens loopback, private and metadata addresses too; \"*:443\" "
                        "names every public host",
                        rules->items[i]);
    }
}

static enum sp_err load_crls(struct gw_tenant *tenant, const struct gw_tenant_sources *sources,
                             struct sp_warnings *warnings, struct sp_error *err)
{
    const struct sp_json_strings *names = &tenant->config->client_validation.crls;

    if (!names->count)
        return SP_OK;
    return sp_settings_load_crls(gw_keyring_crl_pool(sources->keyring), tenant->path,
                                 "$.client_validation.crls", names, tenant->trust, sources->now,
                                 warnings, &tenant->crls, err);
}

void gw_tenant_warn(const struct gw_tenant *tenant, int64_t now, struct sp_warnings *warnings)
{
    const struct gw_tenant_config *config = tenant->config;
    const struct gw_client_validation *validation = &config->client_validation;
    const struct gw_egress *egress = &config->egress;

    sp_settings_warn_exceptions(warnings, tenant->path, "$.client_validation", &validation->policy,
                                now);
    sp_settings_warn_exceptions(warnings, tenant->path, "$.client_validation.shadow",
                                &validation->shadow.policy, now);
    warn_wide_rules(tenant, "allow", &egress->allow, config->acl, warnings);
    warn_wide_rules(tenant, "unvalidated", &egress->unvalidated, config->unvalidated_acl, warnings);
}

/* The texts stand behind the struct: one block, a hundred thousand times. */
static struct gw_tenant *tenant_new(const char *id, const char *path)
{
    size_t id_size = strlen(id) + 1, path_size = strlen(path) + 1;
    struct gw_tenant *tenant = sp_calloc(1, sizeof *tenant + id_size + path_size);

    atomic_init(&tenant->refs, 1);
    tenant->id = memcpy(tenant->text, id, id_size);
    tenant->path = memcpy(tenant->text + id_size, path, path_size);
    return tenant;
}

static void copy_names(struct sp_json_strings *to, const struct sp_json_strings *from)
{
    to->items = sp_calloc(from->count, sizeof *to->items);
    for (; to->count < from->count; to->count++)
        to->items[to->count] = sp_strdup(from->items[to->count]);
}

/* What follows from the configuration and the files. */
static enum sp_err derive(struct gw_tenant *tenant, const struct gw_tenant_sources *sources,
                          struct sp_warnings *warnings, struct sp_error *err)
{
    enum sp_err rc = load_crls(tenant, sources, warnings, err);

    if (rc != SP_OK)
        return rc;
    tenant->certificate_optional =
        lets_no_certificate_pass(&tenant->config->client_validation.policy);
    make_epoch(tenant);
    return SP_OK;
}

enum sp_err gw_tenant_new(const char *path, uint64_t stamp, struct gw_tenant_file *file,
                          struct gw_cred *own, const struct gw_tenant_sources *sources,
                          struct sp_warnings *warnings, struct gw_tenant **ret_tenant,
                          struct sp_error *err)
{
    struct gw_tenant *tenant = tenant_new(file->id, path);
    enum sp_err rc;

    tenant->stamp = stamp;
    tenant->config = file->config;
    tenant->server_names = file->server_names;
    file->config = NULL;
    file->server_names = (struct sp_json_strings){.items = NULL};
    tenant->own = own ? gw_cred_ref(own) : NULL;
    rc = gw_keyring_trust(sources->keyring, path, "$.client_validation.trusted_cas",
                          &tenant->config->client_validation.trusted_cas, &tenant->trust, err);
    if (rc == SP_OK)
        rc = derive(tenant, sources, warnings, err);
    if (rc != SP_OK) {
        gw_tenant_unref(tenant);
        return rc;
    }
    tenant->counters = sp_calloc(1, sizeof *tenant->counters);
    atomic_init(&tenant->counters->refs, 1);
    *ret_tenant = tenant;
    return SP_OK;
}

/* The file is the same, what it names may be another. */
enum sp_err gw_tenant_renew(const struct gw_tenant *older, struct gw_cred *own,
                            struct sp_tls_trust *trust, const struct gw_tenant_sources *sources,
                            struct sp_warnings *warnings, struct gw_tenant **ret_tenant,
                            struct sp_error *err)
{
    struct gw_tenant *tenant = tenant_new(older->id, older->path);
    enum sp_err rc;

    tenant->stamp = older->stamp;
    tenant->config = gw_tenant_config_ref(older->config);
    copy_names(&tenant->server_names, &older->server_names);
    tenant->own = own ? gw_cred_ref(own) : NULL;
    tenant->trust = sp_tls_trust_ref(trust);
    rc = derive(tenant, sources, warnings, err);
    if (rc != SP_OK) {
        gw_tenant_unref(tenant);
        return rc;
    }
    gw_tenant_share_counters(tenant, older);
    *ret_tenant = tenant;
    return SP_OK;
}

struct gw_tenant *gw_tenant_ref(struct gw_tenant *tenant)
{
    atomic_fetch_add_explicit(&tenant->refs, 1, memory_order_relaxed);
    return tenant;
}

void gw_tenant_unref(struct gw_tenant *tenant)
{
    if (!tenant || atomic_fetch_sub_explicit(&tenant->refs, 1, memory_order_acq_rel) != 1)
        return;
    gw_tenant_config_unref(tenant->config);
    for (size_t i = 0; i < tenant->server_names.count; i++)
        free(tenant->server_names.items[i]);
    free(tenant->server_names.items);
    sp_tls_crl_set_unref(tenant->crls);
    sp_tls_trust_unref(tenant->trust);
    gw_cred_unref(tenant->own);
    counters_unref(tenant->counters);
    free(tenant);
}
