#include "gateway/match_index.h"

#include <stdlib.h>
#include <string.h>

#include "gateway/tenant.h"

/* Where in a name the letters are: at its front, at its end, or somewhere. */
enum side { HEAD, TAIL, INNER, SIDES };

/* The letters by which a tenant is found. Sorted by tag, letters in the order in which they are
 * read (from the end, for a tail), and place; the shorter of two that begin alike comes first. */
struct gw_match_literal {
    const char *text; /* borrowed from the pattern; no NUL at its end */
    uint32_t place;
    uint16_t len;
    uint8_t tag; /* SIDES * kind + side */
    bool whole;  /* there is no wildcard: it is the whole name or nothing */
};

static uint8_t letter(const struct gw_match_literal *literal, size_t pos)
{
    return (uint8_t)literal->text[literal->tag % SIDES == TAIL ? literal->len - 1 - pos : pos];
}

static int compare_letters(const struct gw_match_literal *a, const struct gw_match_literal *b)
{
    size_t len = a->len < b->len ? a->len : b->len;

    if (a->tag != b->tag)
        return a->tag < b->tag ? -1 : 1;
    for (size_t pos = 0; pos < len; pos++)
        if (letter(a, pos) != letter(b, pos))
            return letter(a, pos) < letter(b, pos) ? -1 : 1;
    return (a->len > b->len) - (a->len < b->len);
}

/* ---- making it ---- */

/* One way to find a pattern. Those of a tenant stand together, in the order of its patterns. */
struct way {
    struct gw_match_literal literal;
    const char *pattern;
    uint32_t sharers; /* tenants' patterns with the same letters */
    bool chosen;
};

struct making {
    struct gw_tenant *const *tenants;
    struct way *ways;
    size_t count, room;
};

static const struct gw_cert_match *match_of(struct gw_tenant *const *tenants, uint32_t place)
{
    return &tenants[place]->config->client_validation.match;
}

static void add_way(struct making *m, uint32_t place, int tag, const char *pattern,
                    const char *text, size_t len)
{
    if (!len)
        return;
    if (m->count == m->room) {
        m->room = m->room ? 2 * m->room : 16;
        m->ways = reallocarray(m->ways, m->room, sizeof *m->ways);
        SP_REQUIRE(m->ways);
    }
    m->ways[m->count++] = (struct way){.literal = {.text = text,
                                                   .place = place,
                                                   .len = (uint16_t)len,
                                                   .tag = (uint8_t)tag,
                                                   .whole = !pattern[strcspn(pattern, "*?")]},
                                       .pattern = pattern};
}

static void add_pattern(struct making *m, uint32_t place, int kind, const char *pattern)
{
    const char *at = pattern;

    for (;;) {
        size_t len = strcspn(at, "*?");
        enum side side = at == pattern ? HEAD : at[len] ? INNER : TAIL;

        add_way(m, place, SIDES * kind + (int)side, pattern, at, len);
        if (!at[len])
            return;
        at += len + 1;
    }
}

static void add_ways(struct making *m, const uint32_t *places, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct gw_cert_match *match = match_of(m->tenants, places[i]);

        for (int kind = 0; kind < SP_TLS_NAME_KINDS; kind++)
            for (size_t k = 0; k < match->patterns[kind].count; k++)
                add_pattern(m, places[i], kind, match->patterns[kind].items[k]);
    }
}

static int way_order(const void *a, const void *b)
{
    const struct gw_match_literal *x = &(*(struct way *const *)a)->literal;
    const struct gw_match_literal *y = &(*(struct way *const *)b)->literal;
    int order = compare_letters(x, y);

    if (!order)
        order = (x->place > y->place) - (x->place < y->place);
    return order ? order : x->whole - y->whole;
}

/* The caller frees. */
static struct way **sort_ways(struct making *m)
{
    struct way **sorted = sp_calloc(m->count + 1, sizeof(struct way *));
    size_t end;

    for (size_t i = 0; i < m->count; i++)
        sorted[i] = &m->ways[i];
    qsort(sorted, m->count, sizeof(struct way *), way_order);
    for (size_t begin = 0; begin < m->count; begin = end) {
        for (end = begin + 1; end < m->count; end++)
            if (compare_letters(&sorted[begin]->literal, &sorted[end]->literal) != 0)
                break;
        for (size_t i = begin; i < end; i++)
            sorted[i]->sharers = (uint32_t)(end - begin);
    }
    return sorted;
}

static bool is_better(const struct way *a, const struct way *b)
{
    if (a->sharers != b->sharers)
        return a->sharers < b->sharers;
    return a->literal.len > b->literal.len;
}

/* The best way to the pattern, of those at *ways (moved past them); NULL: there is none. */
static struct way *best_way(const char *pattern, struct way **ways, const struct way *end)
{
    struct way *best = NULL;

    for (; *ways < end && (*ways)->pattern == pattern; (*ways)++)
        if (!best || is_better(*ways, best))
            best = *ways;
    return best;
}

/* What finding the tenant by the patterns of this key would cost: all of them must be found, since
 * one that fits is enough. SIZE_MAX: not to be had. */
static size_t cost_of(const struct sp_json_strings *patterns, struct way **ways,
                      const struct way *end, bool choose)
{
    size_t cost = 0;

    for (size_t i = 0; i < patterns->count; i++) {
        struct way *best = best_way(patterns->items[i], ways, end);

        if (!best)
            cost = SIZE_MAX;
        else if (cost != SIZE_MAX)
            cost += best->sharers;
        if (best && choose)
            best->chosen = true;
    }
    return patterns->count ? cost : SIZE_MAX;
}

/* Chooses the key under which the tenant is entered; false: none will do. *ways: the first one of
 * the tenant; moved past his last. */
static bool choose_key(const struct gw_cert_match *match, struct way **ways, const struct way *end)
{
    struct way *at = *ways, *chosen_at = NULL;
    size_t least = SIZE_MAX;
    int chosen = -1;

    for (int kind = 0; kind < SP_TLS_NAME_KINDS; kind++) {
        struct way *begin = at;
        size_t cost = cost_of(&match->patterns[kind], &at, end, false);

        if (cost < least) {
            least = cost;
            chosen = kind;
            chosen_at = begin;
        }
    }
    *ways = at;
    if (chosen >= 0)
        cost_of(&match->patterns[chosen], &chosen_at, end, true);
    return chosen >= 0;
}

static void keep_chosen(struct gw_match_index *index, struct way *const *sorted, size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++)
        kept += sorted[i]->chosen;
    index->literals = kept ? sp_calloc(kept, sizeof *index->literals) : NULL;
    kept = 0;
    for (size_t i = 0; i < count; i++) {
        const struct gw_match_literal *literal = &sorted[i]->literal;
        const struct gw_match_literal *last = kept ? &index->literals[kept - 1] : NULL;

        if (sorted[i]->chosen &&
            !(last && last->place == literal->place && compare_letters(last, literal) == 0))
            index->literals[kept++] = *literal;
    }
    index->literal_count = (uint32_t)kept;
}

void gw_match_index_init(struct gw_match_index *ret, struct gw_tenant *const *tenants,
                         const uint32_t *places, size_t count)
{
    struct making m = {.tenants = tenants};
    SP_AUTO_FREE uint32_t *one_by_one = sp_calloc(count + 1, sizeof *one_by_one);
    struct way **sorted;
    struct way *ways;

    *ret = (struct gw_match_index){.unindexed = sp_calloc(count + 1, sizeof *ret->unindexed)};
    add_ways(&m, places, count);
    sorted = sort_ways(&m);
    ways = m.ways;
    for (size_t i = 0; i < count; i++) {
        const struct gw_cert_match *match = match_of(tenants, places[i]);

        if (!match->is_set)
            ret->unindexed[ret->open_count++] = places[i];
        else if (!choose_key(match, &ways, m.ways + m.count))
            one_by_one[ret->one_by_one_count++] = places[i];
    }
    memcpy(ret->unindexed + ret->open_count, one_by_one,
           ret->one_by_one_count * sizeof *one_by_one);
    ret->unindexed = reallocarray(ret->unindexed, ret->open_count + ret->one_by_one_count + 1,
                                  sizeof *ret->unindexed);
    SP_REQUIRE(ret->unindexed);
    keep_chosen(ret, sorted, m.count);
    free(sorted);
    free(m.ways);
}

void gw_match_index_done(struct gw_match_index *index)
{
    free(index->unindexed);
    free(index->literals);
    *index = (struct gw_match_index){.unindexed = NULL};
}

/* ---- reading it ---- */

/* A part of the table whose literals have one tag and begin with the same `pos` letters. */
struct range {
    const struct gw_match_literal *begin, *end;
};

/* The first one of a range that is not before: by its tag (pos -1), or by its letter at pos, where
 * those without one come first as -1. */
static const struct gw_match_literal *first_from(struct range range, int pos, int wanted)
{
    while (range.begin < range.end) {
        const struct gw_match_literal *middle = range.begin + (range.end - range.begin) / 2;
        int has = pos < 0 ? middle->tag : pos < middle->len ? letter(middle, (size_t)pos) : -1;

        if (has < wanted)
            range.begin = middle + 1;
        else
            range.end = middle;
    }
    return range.begin;
}

static struct range narrow(struct range range, int pos, int wanted)
{
    return (struct range){first_from(range, pos, wanted), first_from(range, pos, wanted + 1)};
}

static void walk_list(const uint32_t *places, size_t count, gw_match_index_cb candidate, void *ctx)
{
    for (size_t i = 0; i < count; i++)
        if (!candidate(ctx, places[i]))
            return;
}

/* Follows the letters at `text`, or those that end there, through the part of one tag. */
static void walk_text(struct range range, const char *text, size_t len, int step,
                      gw_match_index_cb candidate, void *ctx)
{
    for (size_t pos = 0; range.begin < range.end; pos++) {
        const struct gw_match_literal *whole_end = first_from(range, (int)pos, 0);

        for (const struct gw_match_literal *at = range.begin; at < whole_end; at++)
            if ((!at->whole || pos == len) && !candidate(ctx, at->place))
                break;
        if (pos == len)
            return;
        range = narrow(range, (int)pos, (unsigned char)text[step * (ptrdiff_t)pos]);
    }
}

static void walk_name(const struct range all, const struct sp_tls_name *name,
                      gw_match_index_cb candidate, void *ctx)
{
    int tag = SIDES * (int)name->kind;
    struct range inner = narrow(all, -1, tag + INNER);

    walk_text(narrow(all, -1, tag + HEAD), name->text, name->len, 1, candidate, ctx);
    if (name->len)
        walk_text(narrow(all, -1, tag + TAIL), name->text + name->len - 1, name->len, -1, candidate,
                  ctx);
    for (size_t i = 0; i < name->len && inner.begin < inner.end; i++)
        walk_text(inner, name->text + i, name->len - i, 1, candidate, ctx);
}

void gw_match_index_walk(const struct gw_match_index *index, const struct sp_tls_names *names,
                         gw_match_index_cb candidate, void *ctx)
{
    const struct range all = {index->literals, index->literals + index->literal_count};

    walk_list(index->unindexed, index->open_count, candidate, ctx);
    walk_list(index->unindexed + index->open_count, index->one_by_one_count, candidate, ctx);
    for (size_t i = 0; index->literals && i < names->count; i++)
        if (names->items[i].text)
            walk_name(all, &names->items[i], candidate, ctx);
}
