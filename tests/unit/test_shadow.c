/* The second policy of a tenant: told and counted where it would have decided otherwise. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "gateway/registry.h"
#include "gateway/shadow.h"
#include "tests/support/scene.h"

#define NOW         INT64_C(1800000000) /* 2027-01-15 */
#define FINGERPRINT "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define BIT(reason) SP_REASON_BIT(SP_REASON_##reason)

static const uint8_t master[GW_TICKET_MASTER_LEN] = {1, 2, 3};

static struct gw_registry *load(const char *validation)
{
    struct gw_registry *registry = NULL;
    struct sp_error err = {.text = ""};
    char text[1024], message[1024];

    scene_clear();
    scene_write_gateway("common", "");
    snprintf(text, sizeof text,
             "{ \"server_names\": [\"t.secure.example.net\"],"
             "  \"client_validation\": { \"trusted_cas\": [\"../client-ca.pem\"] %s } }",
             validation);
    scene_write("tenants.d/t.json", text);
    ck_assert_msg(gw_registry_load("gateway.json", master, NULL, &registry, &err) == SP_OK, "%s",
                  sp_error_message(&err, message, sizeof message));
    return registry;
}

#define SOURCE "tenants.d/t.json: $.client_validation.shadow"

static const struct {
    const char *validation;
    sp_reason_set observed;
    const char *rule; /* the shadow's, where it differs; NULL: it does not */
    bool would_block;
} rows[] = {
    {"", BIT(EXPIRED), NULL, false},
    {", \"on_failure\": \"allow\"", BIT(EXPIRED), NULL, false},
    {", \"shadow\": {}", 0, NULL, false},
    {", \"shadow\": {}", BIT(EXPIRED), NULL, false},
    {", \"on_failure\": \"allow\", \"shadow\": {}", BIT(EXPIRED), SOURCE ".on_failure", true},
    {", \"on_failure\": \"allow\", \"shadow\": {\"on_failure\": \"allow\"}", BIT(EXPIRED), NULL,
     false},
    {", \"shadow\": {\"on_failure\": \"allow\"}", BIT(EXPIRED), SOURCE ".on_failure", false},
    {", \"shadow\": {\"on_failure\": \"allow\"}", BIT(TENANT_DISABLED) | BIT(EXPIRED), NULL, false},
    {", \"shadow\": {\"on\": {\"expired\": \"allow\"}}", BIT(EXPIRED), SOURCE ".on.expired", false},
    {", \"shadow\": {\"on\": {\"expired\": \"allow\"}}", BIT(EXPIRED) | BIT(REVOKED), NULL, false},
    {", \"on\": {\"expired\": \"allow\"}, \"shadow\": {\"on\": {\"expired\": \"block\"}}",
     BIT(EXPIRED), SOURCE ".on.expired", true},
    {", \"shadow\": {\"exceptions\": [{\"fingerprint\": \"" FINGERPRINT
     "\", \"reason\": \"expired\", \"until\": \"2027-01-31T00:00:00Z\"}]}",
     BIT(EXPIRED), SOURCE ".exceptions[0]", false},
    {", \"shadow\": {\"exceptions\": [{\"fingerprint\": \"" FINGERPRINT
     "\", \"reason\": \"expired\", \"until\": \"2027-01-01T00:00:00Z\"}]}",
     BIT(EXPIRED), NULL, false},
};

START_TEST(a_shadow_is_told_and_counted_where_it_would_decide_otherwise)
{
    struct gw_registry *registry = load(rows[_i].validation);
    struct gw_tenant *tenant = gw_registry_tenant(registry, "t");
    const struct gw_client_validation *live = &tenant->config->client_validation;
    const struct sp_chain_query query = {.trust = tenant->trust,
                                         .require_eku = live->require_eku,
                                         .max_chain = (unsigned)live->max_chain,
                                         .min_key_bits = (unsigned)live->min_key_bits,
                                         .now = NOW};
    const struct sp_chain chain = {.count = 0};
    struct sp_facts facts = {
        .observed = rows[_i].observed, .has_certificate = true, .fingerprint = FINGERPRINT};
    struct gw_shadow_verdict shadow;
    struct gw_policy_view view;
    struct sp_verdict verdict;

    sp_verdict_decide(&facts, gw_tenant_policy(tenant, false, &view), NOW, &verdict);
    gw_shadow_decide(tenant, &chain, &query, &facts, &verdict, &shadow);
    ck_assert_int_eq(shadow.differs, rows[_i].rule != NULL);
    if (shadow.differs) {
        ck_assert_str_eq(shadow.verdict.rule, rows[_i].rule);
        ck_assert_int_eq(shadow.verdict.action == SP_ACTION_BLOCK, rows[_i].would_block);
        ck_assert_int_ne(verdict.action == SP_ACTION_BLOCK, rows[_i].would_block);
    }
    gw_shadow_count(tenant, &shadow);
    ck_assert_uint_eq(tenant->counters->shadow_would_block, shadow.differs && rows[_i].would_block);
    ck_assert_uint_eq(tenant->counters->shadow_would_allow,
                      shadow.differs && !rows[_i].would_block);
    gw_registry_unref(registry);
}
END_TEST

/* Other rules for chains: the chain is looked at again, and what was found elsewhere stays. */
START_TEST(a_shadow_with_other_rules_for_chains_looks_at_the_chain_itself)
{
    static const char *const rules[] = {"\"require_eku\": false", "\"max_chain\": 3",
                                        "\"min_key_bits\": 3072"};
    char text[200];
    struct gw_registry *registry;
    struct gw_tenant *tenant;
    struct sp_chain_query query = {.require_eku = true, .max_chain = 10, .min_key_bits = 2048};
    const struct sp_chain chain = {.count = 0};
    struct sp_facts facts = {.observed = BIT(REVOKED), .has_certificate = true};
    struct sp_verdict live = {.action = SP_ACTION_ALLOW_UNVALIDATED};
    struct gw_shadow_verdict shadow;

    snprintf(text, sizeof text, ", \"shadow\": { %s }", rules[_i]);
    registry = load(text);
    tenant = gw_registry_tenant(registry, "t");
    query.trust = tenant->trust;
    gw_shadow_decide(tenant, &chain, &query, &facts, &live, &shadow);
    ck_assert(shadow.differs);
    ck_assert_uint_eq(shadow.verdict.observed, BIT(REVOKED) | BIT(NO_CERTIFICATE));
    gw_registry_unref(registry);
}
END_TEST

START_TEST(where_no_tenant_is_known_there_is_no_shadow)
{
    const struct sp_chain chain = {.count = 0};
    const struct sp_chain_query query = {.now = NOW};
    struct sp_facts facts = {.observed = BIT(TENANT_UNKNOWN)};
    struct sp_verdict live = {.action = SP_ACTION_BLOCK};
    struct gw_shadow_verdict shadow = {.differs = true};

    gw_shadow_decide(NULL, &chain, &query, &facts, &live, &shadow);
    ck_assert(!shadow.differs);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("shadow");
    TCase *tcase = tcase_create("shadow");
    SRunner *runner;
    int failed;

    tcase_add_unchecked_fixture(tcase, scene_enter, scene_leave);
    tcase_add_loop_test(tcase, a_shadow_is_told_and_counted_where_it_would_decide_otherwise, 0,
                        sizeof rows / sizeof rows[0]);
    tcase_add_loop_test(tcase, a_shadow_with_other_rules_for_chains_looks_at_the_chain_itself, 0,
                        3);
    tcase_add_test(tcase, where_no_tenant_is_known_there_is_no_shadow);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
