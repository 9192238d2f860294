/*
 * verdict: facts and policies of any kind, good ones and such as loading would refuse. The rules of
 * doc/POLICY.md stand here a second time, as plainly as they can be said, and both must agree.
 */
#include "common/verdict.h"

#include "tests/fuzz/mutate.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define EXCEPTIONS 4
#define NOW        1000

static char fingerprints[3][72] = {"sha256:aa", "sha256:bb", ""};

struct given {
    struct sp_facts facts;
    struct sp_policy policy;
    struct sp_exception exceptions[EXCEPTIONS];
    char source[600];
    bool no_policy;
};

/* Mostly what the configuration knows, sometimes what it does not. */
static int decision(unsigned byte)
{
    return byte < 0xe0 ? (int)(byte % 3) : (int)byte - 0xf0;
}

static void read_given(struct script *script, struct given *g)
{
    unsigned flags = script_next(script);

    memset(g, 0, sizeof *g);
    g->facts.observed = (sp_reason_set)(script_next2(script) << 8 | script_next(script)) &
                        (SP_REASON_BIT(SP_REASON_COUNT) - 1);
    if (flags & 0x10) /* few reasons at once are the ordinary case */
        g->facts.observed &= SP_REASON_BIT(script_next(script) % SP_REASON_COUNT) |
                             SP_REASON_BIT(script_next(script) % SP_REASON_COUNT);
    g->facts.has_certificate = flags & 1;
    g->facts.noted = flags & 0x40 ? SP_REASON_BIT(SP_REASON_REVOCATION_UNKNOWN) : 0;
    strcpy(g->facts.fingerprint, fingerprints[script_next(script) % 3]);
    g->no_policy = (flags & 0x0e) == 0x0e;
    g->policy.on_failure = decision(script_next(script));
    memset(g->source, 's', sizeof g->source);
    g->source[script_next2(script) % sizeof g->source] = '\0';
    g->policy.source = flags & 0x20 ? g->source : NULL;
    for (int r = 0; r < SP_REASON_COUNT; r++)
        g->policy.on[r] = decision(script_next(script));
    g->policy.exceptions.items = g->exceptions;
    g->policy.exceptions.count = script_next(script) % (EXCEPTIONS + 1);
    for (int i = 0; i < EXCEPTIONS; i++) {
        g->exceptions[i].fingerprint = fingerprints[script_next(script) % 3];
        g->exceptions[i].reason = (int)(script_next(script) % (SP_REASON_COUNT + 2)) - 1;
        g->exceptions[i].until = NOW - 1 + (int64_t)(script_next(script) % 5);
    }
}

/* ---- doc/POLICY.md once more ---- */

static bool name_is_one_of(enum sp_reason r, const char *const *names)
{
    for (; *names; names++)
        if (!strcmp(*names, sp_reason_name(r)))
            return true;
    return false;
}

static bool may_be_excused(enum sp_reason r)
{
    static const char *const never[] = {"not_tls",
                                        "unknown_server_name",
                                        "tenant_disabled",
                                        "tenant_unknown",
                                        "tenant_ambiguous",
                                        "no_certificate",
                                        NULL};

    return !name_is_one_of(r, never);
}

static bool may_be_blanketed(enum sp_reason r)
{
    static const char *const never[] = {"not_tls",
                                        "unknown_server_name",
                                        "tenant_disabled",
                                        "tenant_unknown",
                                        "tenant_ambiguous",
                                        "revoked",
                                        NULL};

    return !name_is_one_of(r, never);
}

static bool passes(const struct given *g, enum sp_reason r)
{
    if (g->no_policy)
        return false;
    for (size_t i = 0; i < g->policy.exceptions.count; i++)
        if (g->exceptions[i].reason == (int)r && g->exceptions[i].until > NOW &&
            may_be_excused(r) && g->facts.has_certificate && *g->facts.fingerprint &&
            !strcmp(g->exceptions[i].fingerprint, g->facts.fingerprint))
            return true;
    if (g->policy.on[r] != SP_DECIDE_UNSET)
        return g->policy.on[r] == SP_DECIDE_ALLOW;
    return may_be_blanketed(r) && g->policy.on_failure == SP_DECIDE_ALLOW;
}

static void judge(const struct given *g, struct sp_verdict *wanted)
{
    sp_reason_set observed = g->facts.observed;

    if (!observed && !g->facts.has_certificate)
        observed = SP_REASON_BIT(SP_REASON_NO_CERTIFICATE);
    else if (!observed && g->no_policy)
        observed = SP_REASON_BIT(SP_REASON_TENANT_UNKNOWN);
    *wanted = (struct sp_verdict){
        .observed = observed, .action = SP_ACTION_ALLOW, .reason = SP_REASON_COUNT, .alert = -1};
    for (int r = SP_REASON_COUNT - 1; r >= 0; r--) { /* so that the weightiest is the last */
        bool blocks = !passes(g, (enum sp_reason)r);

        if (!(observed & SP_REASON_BIT(r)) || (!blocks && wanted->action == SP_ACTION_BLOCK))
            continue;
        wanted->action = blocks ? SP_ACTION_BLOCK : SP_ACTION_ALLOW_UNVALIDATED;
        wanted->reason = (enum sp_reason)r;
    }
    if (!observed && g->facts.noted)
        wanted->reason = SP_REASON_REVOCATION_UNKNOWN;
    if (wanted->action == SP_ACTION_BLOCK)
        wanted->alert = sp_reason_alert(wanted->reason);
}

/* The rule names what decided, however long its source is. */
static void check_rule(const struct given *g, const struct sp_verdict *v)
{
    char key[64];

    SP_REQUIRE(memchr(v->rule, '\0', sizeof v->rule));
    SP_REQUIRE(!*v->rule == !(v->observed | v->noted));
    if (!*v->rule || !strncmp(v->rule, "built-in: ", 10))
        return;
    SP_REQUIRE(!g->no_policy);
    snprintf(key, sizeof key, ".on.%s", sp_reason_name(v->reason));
    if (!v->observed) {
        SP_REQUIRE(strstr(v->rule, SP_RULE_OCSP_SOFT));
        return;
    }
    SP_REQUIRE(strstr(v->rule, key) || strstr(v->rule, ".on_failure") ||
               (strstr(v->rule, ".exceptions[") && v->action == SP_ACTION_ALLOW_UNVALIDATED));
}

static void check_one(const struct given *g, struct sp_verdict *ret)
{
    const struct sp_policy *policy = g->no_policy ? NULL : &g->policy;
    struct sp_verdict wanted;

    judge(g, &wanted);
    memset(ret, 0xff, sizeof *ret);
    sp_verdict_decide(&g->facts, policy, NOW, ret);
    SP_REQUIRE(ret->observed == wanted.observed && ret->action == wanted.action);
    SP_REQUIRE(ret->reason == wanted.reason && ret->alert == wanted.alert);
    SP_REQUIRE(ret->noted == g->facts.noted);
    check_rule(g, ret);
    for (int64_t t = NOW + 1; t < NOW + 5 && t < ret->holds_until; t++) {
        sp_verdict_decide(&g->facts, policy, t, &wanted);
        SP_REQUIRE(wanted.action == ret->action && wanted.reason == ret->reason);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct script script = {data, len};
    struct given g;
    struct sp_verdict all, v;
    bool any_blocks = false;

    read_given(&script, &g);
    check_one(&g, &all);
    /* One that blocks is enough; and none blocks that does not by itself. */
    for (unsigned r = 0; r < SP_REASON_COUNT; r++) {
        struct given one = g;

        if (!(all.observed & SP_REASON_BIT(r)))
            continue;
        one.policy.exceptions.items = one.exceptions;
        one.facts.observed = SP_REASON_BIT(r);
        check_one(&one, &v);
        any_blocks |= v.action == SP_ACTION_BLOCK;
    }
    SP_REQUIRE((all.action == SP_ACTION_BLOCK) == any_blocks);
    SP_REQUIRE((all.action == SP_ACTION_ALLOW) == !all.observed);
    return 0;
}
