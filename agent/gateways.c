#include "agent/gateways.h"

#include "agent/backoff.h"

#include <string.h>

#define NONE  AGENT_GATEWAY_NONE
#define NEVER AGENT_GATEWAY_NEVER

/* Quicker is who takes less than 4/5 of the other's time and at least 2 ms less: what the noise of
 * a network does not do for long. */
#define MARGIN_PART 5
#define MARGIN_US   2000
/* A new measurement counts a quarter, so that one slow handshake is no change of mind. */
#define SMOOTH_PART 4

#define STAGGER_MIN_MS  250
#define STAGGER_MAX_MS  500
#define PATIENCE_MIN_MS 400
#define PATIENCE_MAX_MS 2000

void agent_gateways_init(struct agent_gateways *g, const struct agent_gateways_options *options)
{
    SP_REQUIRE(options->count >= 1 && options->count <= AGENT_GATEWAYS_MAX);
    memset(g, 0, sizeof *g);
    g->fastest = options->fastest;
    g->failback_ms = options->failback_ms;
    g->probe_ms = options->probe_ms;
    g->count = options->count;
    g->favourite = g->rival = NONE;
}

/* ---- order ---- */

static bool in_good_standing(const struct agent_gateway *one)
{
    return one->state != AGENT_GATEWAY_FAILED && !one->on_trial;
}

/* Clearly, so that two that are much alike do not take turns. */
static bool is_quicker(const struct agent_gateway *a, const struct agent_gateway *b)
{
    return a->handshake_us && b->handshake_us &&
           (uint64_t)a->handshake_us * MARGIN_PART <
               (uint64_t)b->handshake_us * (MARGIN_PART - 1) &&
           a->handshake_us + MARGIN_US <= b->handshake_us;
}

/* Of two of equal standing. Unmeasured ones come last, in their order. */
static bool comes_first(const struct agent_gateways *g, size_t a, size_t b)
{
    uint32_t a_us = g->of[a].handshake_us, b_us = g->of[b].handshake_us;

    if (!g->fastest)
        return a < b;
    if (a == g->favourite || b == g->favourite)
        return a == g->favourite;
    if (!a_us || !b_us)
        return a_us ? true : b_us ? false : a < b;
    return a_us != b_us ? a_us < b_us : a < b;
}

/* ---- what came of an attempt ---- */

static void contest(struct agent_gateways *g, uint64_t now)
{
    size_t best = NONE;

    for (size_t i = 0; i < g->count; i++) {
        const struct agent_gateway *one = &g->of[i];

        if (i == g->favourite || !in_good_standing(one) || !one->handshake_us)
            continue;
        if (best == NONE || one->handshake_us < g->of[best].handshake_us)
            best = i;
    }
    if (g->favourite == NONE) {
        g->favourite = best;
        return;
    }
    if (best == NONE || !is_quicker(&g->of[best], &g->of[g->favourite])) {
        g->rival = NONE;
        return;
    }
    if (g->rival == NONE) /* another rival takes the time over: it is quicker still */
        g->rival_since_ms = now;
    g->rival = best;
}

bool agent_gateways_succeeded(struct agent_gateways *g, size_t index, uint64_t took_us,
                              uint64_t now)
{
    struct agent_gateway *one = &g->of[index];
    bool had_failed = one->state == AGENT_GATEWAY_FAILED;
    bool is_first = g->fastest && !one->handshake_us;
    uint32_t us = took_us > UINT32_MAX ? UINT32_MAX : (uint32_t)took_us;

    if (us && one->handshake_us)
        one->handshake_us += (us > one->handshake_us) ? (us - one->handshake_us) / SMOOTH_PART
                                                      : -((one->handshake_us - us) / SMOOTH_PART);
    else if (us)
        one->handshake_us = us;
    if (one->state != AGENT_GATEWAY_HEALTHY) {
        one->state = AGENT_GATEWAY_HEALTHY;
        one->since_ms = now;
        one->on_trial = had_failed && g->count > 1;
    } else if (now - one->since_ms >= AGENT_GATEWAY_STEADY) {
        one->failures = 0;
    }
    if (g->fastest)
        contest(g, now);
    /* At the start everybody is measured once, and no favourite has a claim to its place. */
    if (is_first && g->rival == index && !had_failed) {
        g->favourite = index;
        g->rival = NONE;
    }
    return had_failed;
}

bool agent_gateways_failed(struct agent_gateways *g, size_t index, uint64_t now, uint32_t random)
{
    struct agent_gateway *one = &g->of[index];
    bool had_failed = one->state == AGENT_GATEWAY_FAILED;

    if (!had_failed || now >= one->retry_at_ms) {
        one->failures++;
        one->retry_at_ms = now + agent_backoff_ms(one->failures, random);
    }
    if (!had_failed)
        one->since_ms = now;
    one->state = AGENT_GATEWAY_FAILED;
    one->on_trial = false;
    if (g->favourite == index)
        g->favourite = g->rival = NONE;
    if (g->fastest)
        contest(g, now);
    return !had_failed;
}

bool agent_gateways_ended(struct agent_gateways *g, size_t index, uint64_t lived, uint64_t now,
                          uint32_t random)
{
    if (lived < AGENT_GATEWAY_STEADY)
        return agent_gateways_failed(g, index, now, random);
    g->of[index].failures = 0;
    return false;
}

void agent_gateways_hurry(struct agent_gateways *g, uint64_t at)
{
    for (size_t i = 0; i < g->count; i++) {
        if (g->of[i].retry_at_ms > at)
            g->of[i].retry_at_ms = at;
    }
}

void agent_gateways_forgive(struct agent_gateways *g, uint64_t now)
{
    for (size_t i = 0; i < g->count; i++) {
        struct agent_gateway *one = &g->of[i];

        one->failures = 0;
        one->on_trial = false;
        if (one->state == AGENT_GATEWAY_FAILED) {
            one->state = AGENT_GATEWAY_UNKNOWN;
            one->since_ms = now;
        }
        if (one->probe_at_ms > now)
            one->probe_at_ms = now;
    }
}

/* ---- decisions ---- */

/* 0 is best; NONE: not now. */
static size_t standing(const struct agent_gateway *one, uint64_t now)
{
    if (in_good_standing(one))
        return 0;
    if (one->state == AGENT_GATEWAY_HEALTHY)
        return 1;
    return now >= one->retry_at_ms ? 2 : NONE;
}

size_t agent_gateways_pick(const struct agent_gateways *g, uint32_t tried, uint64_t now,
                           uint64_t *ret_at)
{
    size_t best = NONE, best_standing = NONE;

    *ret_at = NEVER;
    for (size_t i = 0; i < g->count; i++) {
        size_t rank = standing(&g->of[i], now);

        if (tried >> i & 1)
            continue;
        if (rank == NONE) {
            if (g->of[i].retry_at_ms < *ret_at)
                *ret_at = g->of[i].retry_at_ms;
        } else if (best == NONE || rank < best_standing ||
                   (rank == best_standing && comes_first(g, i, best))) {
            best = i;
            best_standing = rank;
        }
    }
    return best;
}

static uint64_t trial_ends(const struct agent_gateways *g, const struct agent_gateway *one)
{
    return one->since_ms + g->failback_ms;
}

void agent_gateways_settle(struct agent_gateways *g, uint64_t now)
{
    size_t settled = NONE;

    for (size_t i = 0; i < g->count; i++) {
        struct agent_gateway *one = &g->of[i];

        if (one->on_trial && now >= trial_ends(g, one)) {
            one->on_trial = false;
            one->failures = 0;
            settled = i;
        }
    }
    if (!g->fastest)
        return;
    contest(g, now);
    if (settled != NONE && g->rival == settled) /* it has waited already */
        g->rival_since_ms = g->of[settled].since_ms;
    if (g->rival != NONE && now - g->rival_since_ms >= g->failback_ms) {
        g->favourite = g->rival;
        g->rival = NONE;
    }
}

size_t agent_gateways_better(const struct agent_gateways *g, size_t from)
{
    if (g->fastest)
        return g->favourite == from ? NONE : g->favourite;
    for (size_t i = 0; i < from; i++) {
        if (in_good_standing(&g->of[i]))
            return i;
    }
    return NONE;
}

/* Ordered: those before the one that serves are watched while they are not what they should be;
 * fastest: everybody's time is of interest. */
static bool wants_probe(const struct agent_gateways *g, size_t index, size_t serving)
{
    if (serving == NONE || g->count == 1)
        return false;
    return g->fastest || (index < serving && !in_good_standing(&g->of[index]));
}

size_t agent_gateways_probe(const struct agent_gateways *g, size_t serving, uint64_t now)
{
    for (size_t i = 0; i < g->count; i++) {
        if (wants_probe(g, i, serving) && now >= g->of[i].probe_at_ms)
            return i;
    }
    return NONE;
}

/* A quarter of the time is chance, so that a thousand agents do not probe at once. */
void agent_gateways_probing(struct agent_gateways *g, size_t index, uint64_t now, uint32_t random)
{
    uint64_t quarter = g->probe_ms / 4;

    g->of[index].probe_at_ms = now + g->probe_ms - quarter / 2 + random % (quarter + 1);
}

uint64_t agent_gateways_next_ms(const struct agent_gateways *g, size_t serving, uint64_t now)
{
    uint64_t next = NEVER;

    for (size_t i = 0; i < g->count; i++) {
        const struct agent_gateway *one = &g->of[i];

        if (wants_probe(g, i, serving) && one->probe_at_ms < next)
            next = one->probe_at_ms;
        if (one->on_trial && trial_ends(g, one) < next)
            next = trial_ends(g, one);
    }
    if (g->rival != NONE && g->rival_since_ms + g->failback_ms < next)
        next = g->rival_since_ms + g->failback_ms;
    return next < now ? now : next;
}

static uint32_t between(uint64_t value, uint32_t least, uint32_t most)
{
    return value < least ? least : value > most ? most : (uint32_t)value;
}

uint32_t agent_gateways_stagger_ms(const struct agent_gateways *g, size_t index)
{
    return between((uint64_t)g->of[index].handshake_us * 2 / 1000, STAGGER_MIN_MS, STAGGER_MAX_MS);
}

uint32_t agent_gateways_patience_ms(const struct agent_gateways *g, size_t index)
{
    return between((uint64_t)g->of[index].handshake_us * 4 / 1000, PATIENCE_MIN_MS,
                   PATIENCE_MAX_MS);
}
