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

static enum sp_err take_common_cred(struct gw_tenant *tenant,
                                    const struct gw_tenant_sources *sources, struct sp_error *err)
{
    const struct gw_tenant_config *config = tenant->config;
    char whose[320];

    if (!sources->common_cred)
        return sp_json_error(err, config->path, "$.certificate",
                             "required, but missing: %s has no common certificate to show instead",
                             sources->gateway_file);
    tenant->cred = sp_tls_cred_ref(sources->common_cred);
    snprintf(whose, sizeof whose, "common certificate %s", sources->common_certificate);
    return gw_tenant_check_coverage(tenant->cred, whose, &config->server_names, config->path, "$",
                                    err);
}

static enum sp_err load_own_cred(struct gw_tenant *tenant, const struct gw_tenant_sources *sources,
                                 struct sp_warnings *warnings, struct sp_error *err)
{
    const struct gw_tenant_config *config = tenant->config;
    char whose[320];
    bool is_new;
    enum sp_err rc;

    rc = gw_keyring_cred(sources->keyring, config->path, "$", config->certificate,
                         config->private_key, &tenant->cred, &is_new, err);
    if (rc != SP_OK)
        return rc;
    if (is_new)
        sp_settings_warn_validity(warnings, config->path, "$.certificate", config->certificate,
                                  tenant->cred, sources->now);
    snprintf(whose, sizeof whose, "certificate %s", config->certificate);
    return gw_tenant_check_coverage(tenant->cred, whose, &config->server_names, config->path, "$",
                                    err);
}

/* What the exceptions say, without their notes; bytes only, like the state below. */
static void digest_exceptions(const struct sp_policy *policy, uint8_t ret_digest[SP_SHA256_LEN])
{
    struct record {
        char fingerprint[72];
        uint8_t reason, until[8];
    };
    const struct sp_exception *exceptions = policy->exceptions.items;
    size_t count = policy->exceptions.count;
    struct record *records = sp_calloc(count + 1, sizeof *records);

    for (size_t i = 0; i < count; i++) {
        strncpy(records[i].fingerprint, exceptions[i].fingerprint,
                sizeof records[i].fingerprint - 1);
        records[i].reason = (uint8_t)exceptions[i].reason;
        memcpy(records[i].until, &exceptions[i].until, sizeof records[i].until);
    }
    sp_sha256(records, count * sizeof *records, ret_digest);
    free(records);
}

static void digest_ocsp(const struct gw_ocsp_settings *ocsp, uint8_t ret_digest[SP_SHA256_LEN])
{
    const struct sp_sha256_part parts[] = {
        {&ocsp->mode, sizeof ocsp->mode},
        {&ocsp->max_age_s, sizeof ocsp->max_age_s},
        {&ocsp->nonce, sizeof ocsp->nonce},
        {ocsp->responder, ocsp->responder ? strlen(ocsp->responder) : 0},
    };

    sp_sha256_parts(parts, sizeof parts / sizeof parts[0], ret_digest);
}

/* Everything that changes whom this tenant lets in, or how it is decided. */
static void make_epoch(struct gw_tenant *tenant)
{
    const struct gw_tenant_config *config = tenant->config;
    const struct sp_policy *policy = tenant->policy;
    struct {
        char id[GW_TENANT_ID_MAX + 1];
        uint8_t trust_digest[32], crl_digest[32];
        uint8_t exceptions[SP_SHA256_LEN], ocsp[SP_SHA256_LEN], match[GW_CERT_MATCH_DIGEST];
        uint8_t enabled, require_eku, on_failure, on[SP_REASON_COUNT];
        uint8_t max_chain, min_key_bits[2];
    } state; /* bytes only: no padding */
    size_t i;

    memset(&state, 0, sizeof state);
    memcpy(state.id, config->id, sizeof state.id);
    sp_tls_trust_digest(tenant->trust, state.trust_digest);
    sp_tls_crl_set_digest(tenant->crls, state.crl_digest);
    digest_exceptions(policy, state.exceptions);
    digest_ocsp(&config->client_validation.ocsp, state.ocsp);
    gw_cert_match_digest(&config->client_validation.match, state.match);
    state.enabled = config->enabled;
    state.require_eku = config->client_validation.require_eku;
    state.max_chain = (uint8_t)config->client_validation.max_chain;
    state.min_key_bits[0] = (uint8_t)(config->client_validation.min_key_bits >> 8);
    state.min_key_bits[1] = (uint8_t)config->client_validation.min_key_bits;
    state.on_failure = (uint8_t)policy->on_failure;
    for (i = 0; i < SP_REASON_COUNT; i++)
        state.on[i] = (uint8_t)policy->on[i];
    sp_sha256(&state, sizeof state, tenant->ticket_epoch);
}

static void make_ticket_key(struct gw_tenant *tenant, const uint8_t *master)
{
    struct {
        char label[sizeof "sallyport ticket"];
        char id[GW_TENANT_ID_MAX + 1];
        uint8_t epoch[GW_TICKET_EPOCH_LEN];
    } info = {.label = "sallyport ticket"}; /* bytes only: no padding */

    memcpy(info.id, tenant->config->id, sizeof info.id);
    memcpy(info.epoch, tenant->ticket_epoch, sizeof info.epoch);
    sp_kdf(master, GW_TICKET_MASTER_LEN, &info, sizeof info, tenant->ticket_key,
           sizeof tenant->ticket_key);
}

static bool lets_no_certificate_pass(const struct sp_policy *policy)
{
    int own = policy->on[SP_REASON_NO_CERTIFICATE];

    return own == SP_DECIDE_ALLOW ||
           (own == SP_DECIDE_UNSET && policy->on_failure == SP_DECIDE_ALLOW);
}

static void warn_wide_rules(const struct gw_tenant_config *config, const char *key,
                            const struct sp_json_strings *rules, const struct gw_acl *acl,
                            struct sp_warnings *warnings)
{
    char path[48];
    size_t i;

    for (i = 0; i < rules->count; i++) {
        if (!gw_acl_rule_is_wide(acl, i))
            continue;
        snprintf(path, sizeof path, "$.egress.%s[%zu]", key, i);
        sp_warnings_add(warnings, config->path, path,
                        "rule \"%s\" opens loopback, private and metadata addresses too; \"*:443\" "
                        "names every public host",
                        rules->items[i]);
    }
}

static enum sp_err load_crls(struct gw_tenant *tenant, const struct gw_tenant_sources *sources,
                             struct sp_warnings *warnings, struct sp_error *err)
{
    const struct gw_tenant_config *config = tenant->config;

    return sp_settings_load_crls(gw_keyring_crl_pool(sources->keyring), config->path,
                                 "$.client_validation.crls", &config->client_validation.crls,
                                 tenant->trust, sources->now, warnings, &tenant->crls, err);
}

static void warn(const struct gw_tenant *tenant, int64_t now, struct sp_warnings *warnings)
{
    const struct gw_tenant_config *config = tenant->config;
    const struct gw_egress *egress = &config->egress;

    sp_settings_warn_exceptions(warnings, config->path, "$.client_validation", tenant->policy, now);
    sp_settings_warn_exceptions(warnings, config->path, "$.client_validation.shadow",
                                &config->client_validation.shadow.policy, now);
    warn_wide_rules(config, "allow", &egress->allow, config->acl, warnings);
    warn_wide_rules(config, "unvalidated", &egress->unvalidated, config->unvalidated_acl, warnings);
}

static enum sp_err load_files(struct gw_tenant *tenant, const struct gw_tenant_sources *sources,
                              struct sp_warnings *warnings, struct sp_error *err)
{
    struct gw_tenant_config *config = tenant->config;
    enum sp_err rc;

    if (config->certificate)
        rc = load_own_cred(tenant, sources, warnings, err);
    else
        rc = take_common_cred(tenant, sources, err);
    if (rc != SP_OK)
        return rc;
    rc = gw_keyring_trust(sources->keyring, config->path, "$.client_validation.trusted_cas",
                          &config->client_validation.trusted_cas, &tenant->trust, err);
    return rc == SP_OK ? load_crls(tenant, sources, warnings, err) : rc;
}

/* What follows from the configuration and the files. */
static void derive(struct gw_tenant *tenant, const struct gw_tenant_sources *sources)
{
    tenant->id = tenant->config->id;
    tenant->policy = &tenant->config->client_validation.policy;
    tenant->certificate_optional = lets_no_certificate_pass(tenant->policy);
    make_epoch(tenant);
    make_ticket_key(tenant, sources->ticket_master);
}

enum sp_err gw_tenant_load(const char *path, const struct gw_tenant_sources *sources,
                           struct sp_warnings *warnings, struct gw_tenant **ret_tenant,
                           struct sp_error *err)
{
    struct gw_tenant *tenant = sp_calloc(1, sizeof *tenant);
    enum sp_err rc;

    atomic_init(&tenant->refs, 1);
    rc = gw_tenant_config_load(path, &tenant->config, err);
    if (rc == SP_OK)
        rc = load_files(tenant, sources, warnings, err);
    if (rc != SP_OK) {
        gw_tenant_unref(tenant);
        return rc;
    }
    derive(tenant, sources);
    warn(tenant, sources->now, warnings);
    tenant->counters = sp_calloc(1, sizeof *tenant->counters);
    atomic_init(&tenant->counters->refs, 1);
    *ret_tenant = tenant;
    return SP_OK;
}

enum sp_err gw_tenant_reload_crls(const struct gw_tenant *older,
                                  const struct gw_tenant_sources *sources,
                                  struct sp_warnings *warnings, struct gw_tenant **ret_tenant,
                                  struct sp_error *err)
{
    struct gw_tenant *tenant = sp_calloc(1, sizeof *tenant);
    enum sp_err rc;

    atomic_init(&tenant->refs, 1);
    tenant->config = gw_tenant_config_ref(older->config);
    tenant->trust = sp_tls_trust_ref(older->trust);
    tenant->cred = sp_tls_cred_ref(older->cred);
    rc = load_crls(tenant, sources, warnings, err);
    if (rc != SP_OK) {
        gw_tenant_unref(tenant);
        return rc;
    }
    derive(tenant, sources);
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
    sp_tls_crl_set_unref(tenant->crls);
    sp_tls_trust_unref(tenant->trust);
    sp_tls_cred_unref(tenant->cred);
    counters_unref(tenant->counters);
    explicit_bzero(tenant->ticket_key, sizeof tenant->ticket_key);
    free(tenant);
}
