#include "gateway/issuer_index.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/hash.h"
#include "common/tls_names.h"
#include "gateway/match_index.h"
#include "gateway/tenant.h"

/* More groups than these under one CA name, or one name and key, are searched all at once. */
#define CROWD 8
/* What one certificate leads to, one by one: CAs without and with the key that it names; and the
 * leaf to itself. */
#define VISITS ((2 * SP_CHAIN_MAX_CERTS + 1) * CROWD)
/* Sets of CAs that verify the chain: two are found by then, the rest would only change which. */
#define HITS 8

struct group {
    const struct sp_tls_trust *trust; /* borrowed from its tenants */
    struct gw_match_index members;
};

struct ref {
    uint64_t key; /* digest of the CA's key identifier; 0: none */
    uint32_t group;
};

/* The members of all groups of a part of the refs, where these are more than CROWD. */
struct crowd {
    uint32_t begin, end;
    struct gw_match_index members;
};

/* All CAs of one name. */
struct authority {
    struct ref *refs;     /* sorted by key and group */
    struct crowd *crowds; /* all refs first; then parts of one key, in their order */
    uint32_t ref_count, crowd_count;
};

struct gw_issuer_index {
    _Atomic size_t refs;
    struct sp_hash *by_name; /* DER subject to struct authority, ours */
    struct group *groups;
    size_t group_count;
};

/* ---- making it ---- */

struct making {
    struct gw_issuer_index *index;
    struct gw_tenant *const *tenants;
    size_t tenant_count;
    uint32_t *group_of;     /* by place */
    uint32_t *places;       /* ascending within a group, groups one after the other */
    uint32_t *first_places; /* by group, and one more: where its places begin */
};

static void make_groups(struct making *m)
{
    struct gw_issuer_index *index = m->index;
    struct sp_hash *by_trust = sp_hash_new();
    size_t room = 0;

    for (size_t i = 0; i < m->tenant_count; i++) {
        const struct sp_tls_trust *trust = m->tenants[i]->trust;
        uintptr_t number = (uintptr_t)sp_hash_get(by_trust, &trust, sizeof(void *));

        if (!number) {
            number = index->group_count + 1;
            if (index->group_count == room) {
                room = room ? 2 * room : 16;
                index->groups = reallocarray(index->groups, room, sizeof *index->groups);
                SP_REQUIRE(index->groups);
            }
            index->groups[index->group_count++] = (struct group){.trust = trust};
            sp_hash_put(by_trust, &trust, sizeof(void *), (void *)number);
        }
        m->group_of[i] = (uint32_t)(number - 1);
    }
    sp_hash_free(by_trust);
}

static void sort_into_groups(struct making *m)
{
    size_t group_count = m->index->group_count;
    SP_AUTO_FREE uint32_t *next = sp_calloc(group_count + 1, sizeof *next);

    m->first_places = sp_calloc(group_count + 1, sizeof *m->first_places);
    for (size_t i = 0; i < m->tenant_count; i++)
        m->first_places[m->group_of[i] + 1]++;
    for (size_t g = 0; g < group_count; g++)
        m->first_places[g + 1] += m->first_places[g];
    memcpy(next, m->first_places, (group_count + 1) * sizeof *next);
    for (size_t i = 0; i < m->tenant_count; i++)
        m->places[next[m->group_of[i]]++] = (uint32_t)i;
    for (size_t g = 0; g < group_count; g++)
        gw_match_index_init(&m->index->groups[g].members, m->tenants,
                            m->places + m->first_places[g],
                            m->first_places[g + 1] - m->first_places[g]);
}

static void add_ref(struct gw_issuer_index *index, const struct sp_tls_link *link, uint32_t group)
{
    struct authority *a = sp_hash_get(index->by_name, link->subject, link->subject_len);

    if (!a) {
        a = sp_calloc(1, sizeof *a);
        sp_hash_put(index->by_name, link->subject, link->subject_len, a);
    }
    if (!(a->ref_count & (a->ref_count - 1))) { /* 0 or a power of two: full */
        a->refs = reallocarray(a->refs, a->ref_count ? 2 * a->ref_count : 1, sizeof *a->refs);
        SP_REQUIRE(a->refs);
    }
    a->refs[a->ref_count++] = (struct ref){.key = link->subject_key, .group = group};
}

static void name_authorities(struct gw_issuer_index *index)
{
    struct sp_tls_link link;

    for (size_t g = 0; g < index->group_count; g++)
        for (size_t i = 0; sp_tls_link_read_trusted(index->groups[g].trust, i, &link); i++) {
            add_ref(index, &link, (uint32_t)g);
            sp_tls_link_done(&link);
        }
}

static int ref_order(const void *a, const void *b)
{
    const struct ref *x = a;
    const struct ref *y = b;

    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->group > y->group) - (x->group < y->group);
}

/* A set may have several CAs of one name and key: a renewed one. */
static void sort_refs(struct authority *a)
{
    uint32_t kept = 0;

    qsort(a->refs, a->ref_count, sizeof *a->refs, ref_order);
    for (uint32_t i = 0; i < a->ref_count; i++)
        if (!kept || ref_order(&a->refs[kept - 1], &a->refs[i]) != 0)
            a->refs[kept++] = a->refs[i];
    a->ref_count = kept;
}

static uint32_t run_end(const struct authority *a, uint32_t begin)
{
    uint32_t end = begin + 1;

    while (end < a->ref_count && a->refs[end].key == a->refs[begin].key)
        end++;
    return end;
}

static int place_order(const void *a, const void *b)
{
    const uint32_t *x = a;
    const uint32_t *y = b;

    return (*x > *y) - (*x < *y);
}

static void make_crowd(const struct making *m, struct authority *a, uint32_t begin, uint32_t end)
{
    SP_AUTO_FREE uint32_t *places = NULL;
    size_t count = 0;

    for (uint32_t i = begin; i < end; i++) {
        uint32_t first = m->first_places[a->refs[i].group];

        count += m->first_places[a->refs[i].group + 1] - first;
    }
    places = sp_calloc(count + 1, sizeof *places);
    count = 0;
    for (uint32_t i = begin; i < end; i++) {
        const uint32_t *bounds = &m->first_places[a->refs[i].group];

        memcpy(places + count, m->places + bounds[0], (bounds[1] - bounds[0]) * sizeof *places);
        count += bounds[1] - bounds[0];
    }
    qsort(places, count, sizeof *places, place_order);
    a->crowds = reallocarray(a->crowds, a->crowd_count + 1, sizeof *a->crowds);
    SP_REQUIRE(a->crowds);
    a->crowds[a->crowd_count].begin = begin;
    a->crowds[a->crowd_count].end = end;
    gw_match_index_init(&a->crowds[a->crowd_count++].members, m->tenants, places, count);
}

static void finish_authorities(const struct making *m)
{
    size_t cursor = 0, name_len;
    const char *name;
    void *value;

    while (sp_hash_next(m->index->by_name, &cursor, &name, &name_len, &value)) {
        struct authority *a = value;
        uint32_t end;

        sort_refs(a);
        if (a->ref_count > CROWD)
            make_crowd(m, a, 0, a->ref_count);
        for (uint32_t begin = 0; begin < a->ref_count; begin = end) {
            end = run_end(a, begin);
            if (end - begin > CROWD && end - begin < a->ref_count)
                make_crowd(m, a, begin, end);
        }
    }
}

struct gw_issuer_index *gw_issuer_index_new(struct gw_tenant *const *tenants, size_t count)
{
    struct gw_issuer_index *index = sp_calloc(1, sizeof *index);
    struct making m = {.index = index,
                       .tenants = tenants,
                       .tenant_count = count,
                       .group_of = sp_calloc(count + 1, sizeof(uint32_t)),
                       .places = sp_calloc(count + 1, sizeof(uint32_t))};

    atomic_init(&index->refs, 1);
    index->by_name = sp_hash_new();
    make_groups(&m);
    sort_into_groups(&m);
    name_authorities(index);
    finish_authorities(&m);
    free(m.group_of);
    free(m.places);
    free(m.first_places);
    return index;
}

struct gw_issuer_index *gw_issuer_index_ref(struct gw_issuer_index *index)
{
    atomic_fetch_add_explicit(&index->refs, 1, memory_order_relaxed);
    return index;
}

static void authority_free(struct authority *a)
{
    for (uint32_t i = 0; i < a->crowd_count; i++)
        gw_match_index_done(&a->crowds[i].members);
    free(a->crowds);
    free(a->refs);
    free(a);
}

void gw_issuer_index_unref(struct gw_issuer_index *index)
{
    size_t cursor = 0, name_len;
    const char *name;
    void *value;

    if (!index || atomic_fetch_sub_explicit(&index->refs, 1, memory_order_acq_rel) != 1)
        return;
    while (sp_hash_next(index->by_name, &cursor, &name, &name_len, &value))
        authority_free(value);
    sp_hash_free(index->by_name);
    for (size_t i = 0; i < index->group_count; i++)
        gw_match_index_done(&index->groups[i].members);
    free(index->groups);
    free(index);
}

/* ---- searching it ---- */

/* What an examination with a set of CAs has said. */
struct examined {
    const struct sp_tls_trust *trust;
    bool verifies;
};

struct search {
    const struct gw_issuer_index *index;
    struct gw_tenant *const *tenants;
    const struct sp_chain *chain;
    int64_t now;
    struct sp_tls_names names;
    struct gw_finding *ret;
    struct examined examined[GW_ISSUER_INDEX_MISSES + 1 + HITS];
    uint32_t found[2]; /* places, ascending */
    unsigned found_count, misses;
    uint32_t visited[VISITS]; /* groups */
    unsigned visited_count;
    bool met_any;      /* there are CAs of a name that the chain gives */
    bool of_one_group; /* the list that is walked now: what fails for one fails for all */
    const char *given_up;
    char why_not[SP_DN_MAX]; /* the last set of CAs did not verify the chain */
};

static bool verifies(struct search *s, const struct sp_tls_trust *trust)
{
    const sp_reason_set hiding =
        SP_REASON_BIT(SP_REASON_UNTRUSTED_ISSUER) | SP_REASON_BIT(SP_REASON_MISSING_INTERMEDIATE) |
        SP_REASON_BIT(SP_REASON_BAD_SIGNATURE) | SP_REASON_BIT(SP_REASON_CHAIN_TOO_LARGE) |
        SP_REASON_BIT(SP_REASON_NO_CERTIFICATE);
    const struct sp_chain_query query = {
        .trust = trust, .purpose = SP_PURPOSE_CLIENT, .now = s->now};
    struct sp_facts facts;
    bool good;

    for (unsigned i = 0; i < s->ret->examined; i++)
        if (s->examined[i].trust == trust)
            return s->examined[i].verifies;
    if (s->ret->examined - s->misses == HITS)
        return false; /* more than two were found */
    sp_chain_examine(s->chain, &query, &facts);
    good = !(facts.observed & hiding);
    s->examined[s->ret->examined++] = (struct examined){trust, good};
    if (!good) {
        if (s->misses++ == GW_ISSUER_INDEX_MISSES)
            s->given_up = "too many tenants have a CA of that name, with other keys";
        memcpy(s->why_not, facts.detail, sizeof s->why_not);
    }
    return good;
}

static void add_found(struct search *s, uint32_t place)
{
    if (s->found_count && s->found[0] == place)
        return;
    if (!s->found_count || place > s->found[0]) {
        s->found[s->found_count ? 1 : 0] = place;
    } else {
        s->found[1] = s->found[0];
        s->found[0] = place;
    }
    s->found_count += s->found_count < 2;
}

static bool on_candidate(void *ctx, uint32_t place)
{
    struct search *s = ctx;
    const struct gw_tenant *tenant = s->tenants[place];

    if (s->given_up || (s->found_count == 2 && place >= s->found[1]))
        return false; /* the first two are wanted, and places ascend */
    s->ret->tried++;
    if (!gw_cert_match_fits(&tenant->config->client_validation.match, &s->names, NULL, 0))
        return true;
    if (!verifies(s, tenant->trust))
        return !s->of_one_group;
    add_found(s, place);
    return true;
}

static void visit_group(struct search *s, uint32_t group)
{
    for (unsigned i = 0; i < s->visited_count; i++)
        if (s->visited[i] == group)
            return;
    SP_REQUIRE(s->visited_count < VISITS);
    s->visited[s->visited_count++] = group;
    s->of_one_group = true;
    gw_match_index_walk(&s->index->groups[group].members, &s->names, on_candidate, s);
}

static void visit_crowd(struct search *s, const struct authority *a, uint32_t begin, uint32_t end)
{
    bool is_all = begin == 0 && end == a->ref_count;
    uint32_t low = !is_all, high = a->crowd_count;

    while (low < high) { /* the first that begins there: that of all is before its parts */
        uint32_t middle = low + (high - low) / 2;

        if (a->crowds[middle].begin < begin)
            low = middle + 1;
        else
            high = middle;
    }
    SP_REQUIRE(a->crowds[low].begin == begin && a->crowds[low].end == end);
    s->of_one_group = false;
    gw_match_index_walk(&a->crowds[low].members, &s->names, on_candidate, s);
}

static void visit_refs(struct search *s, const struct authority *a, uint32_t begin, uint32_t end)
{
    s->met_any |= begin < end;
    if (end - begin > CROWD)
        visit_crowd(s, a, begin, end);
    else
        for (uint32_t i = begin; i < end; i++)
            visit_group(s, a->refs[i].group);
}

static uint32_t first_ref(const struct authority *a, uint64_t key)
{
    uint32_t low = 0, high = a->ref_count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (a->refs[middle].key < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The CAs of this name and key, or, where `key` is 0, without one. */
static void visit_key(struct search *s, const struct authority *a, uint64_t key)
{
    visit_refs(s, a, first_ref(a, key), key == UINT64_MAX ? a->ref_count : first_ref(a, key + 1));
}

/* Who may have issued what names this issuer. A key identifier, where both sides have one, tells
 * CAs of one name apart: so does sp_chain_examine. */
static void visit_issuers(struct search *s, const struct sp_tls_link *link)
{
    const struct authority *a = sp_hash_get(s->index->by_name, link->issuer, link->issuer_len);

    if (a && link->authority_key) {
        visit_key(s, a, 0);
        visit_key(s, a, link->authority_key);
    } else if (a) {
        visit_refs(s, a, 0, a->ref_count);
    }
}

/* A path ends at the issuer of one of the certificates, or at the leaf itself where that is
 * trusted. */
static void visit_chain(struct search *s)
{
    const struct authority *a;
    struct sp_tls_link link;

    for (size_t i = 0; i < s->chain->count; i++) {
        if (!sp_tls_link_read(&s->chain->certs[i], &link))
            continue;
        visit_issuers(s, &link);
        a = i == 0 ? sp_hash_get(s->index->by_name, link.subject, link.subject_len) : NULL;
        if (a)
            visit_key(s, a, link.subject_key);
        sp_tls_link_done(&link);
    }
}

static const char *issuer_text(const struct search *s)
{
    for (size_t i = 0; i < s->names.count; i++)
        if (s->names.items[i].kind == SP_TLS_NAME_ISSUER && s->names.items[i].text)
            return s->names.items[i].text;
    return "?";
}

static void conclude(struct search *s)
{
    struct gw_finding *ret = s->ret;
    size_t room = sizeof ret->detail;

    for (unsigned i = 0; i < s->found_count; i++)
        ret->tenants[i] = s->tenants[s->found[i]];
    if (s->found_count == 2) {
        ret->kind = GW_FOUND_SEVERAL;
        snprintf(ret->detail, room, "tenants %s and %s trust its CA, and it fits both",
                 ret->tenants[0]->id, ret->tenants[1]->id);
    } else if (s->given_up) {
        ret->tenants[0] = NULL; /* there might be another one */
        snprintf(ret->detail, room, "the search for its tenant was given up: %s", s->given_up);
    } else if (s->found_count) {
        ret->kind = GW_FOUND_ONE;
    } else if (ret->examined) {
        snprintf(ret->detail, room,
                 "the CAs of no tenant verify the chain, though a name fits: %.400s", s->why_not);
    } else if (s->met_any) {
        snprintf(
            ret->detail, room,
            "there are tenants with a CA '%.400s', but their client_validation.match does not fit",
            issuer_text(s));
    } else {
        snprintf(ret->detail, room, "no tenant has a CA '%.400s'", issuer_text(s));
    }
}

void gw_issuer_index_find(const struct gw_issuer_index *index, struct gw_tenant *const *tenants,
                          const struct sp_chain *chain, int64_t now, struct gw_finding *ret)
{
    struct search s = {.index = index, .tenants = tenants, .chain = chain, .now = now, .ret = ret};

    *ret = (struct gw_finding){.kind = GW_FOUND_NONE};
    if (!chain->count) {
        snprintf(ret->detail, sizeof ret->detail, "no certificate was presented");
    } else if (chain->count > SP_CHAIN_MAX_CERTS) {
        snprintf(ret->detail, sizeof ret->detail, "more than %d certificates were presented",
                 SP_CHAIN_MAX_CERTS);
    } else if (!sp_tls_names_read(&chain->certs[0], &s.names)) {
        snprintf(ret->detail, sizeof ret->detail, "the certificate cannot be parsed");
    } else {
        visit_chain(&s);
        conclude(&s);
        sp_tls_names_done(&s.names);
    }
}
