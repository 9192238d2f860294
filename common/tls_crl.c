#include "common/tls_crl.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/json_bind.h"
#include "common/tls_crl_judged.h"
#include "common/tls_crl_kept.h"
#include "common/tls_crl_parse.h"
#include "common/tls_der.h"
#include "common/tls_trust.h"
#include "common/tls_x509.h"

#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CRL_FILE_MAX (256 * 1024 * 1024)
#define DIGEST_LEN   32
#define SERIAL_MAX   64
#define DN_TEXT      200

/* ---- files, and what is known of them ---- */

/* A path as read in this load. */
struct read_file {
    struct sp_tls_crl_stamp stamp;
    struct sp_tls_crl_file *file; /* one reference */
};

struct sp_tls_crl_pool {
    struct sp_hash *by_path;   /* struct read_file */
    struct sp_hash *by_digest; /* struct sp_tls_crl_file, one reference each */
    struct sp_hash *kept;      /* struct sp_tls_crl_kept, by URL and trust (struct kept_key) */
    struct sp_hash *fetched;   /* struct sp_tls_crl_file: what that URL gave to any trust */
    const struct sp_tls_crl_set *before; /* NULL: a file that cannot be used is an error */
};

struct sp_tls_crl_pool *sp_tls_crl_pool_new(void)
{
    struct sp_tls_crl_pool *pool = sp_calloc(1, sizeof *pool);

    pool->by_path = sp_hash_new();
    pool->by_digest = sp_hash_new();
    pool->kept = sp_hash_new();
    pool->fetched = sp_hash_new();
    return pool;
}

static void unref_files(struct sp_hash *table)
{
    const char *key;
    size_t cursor = 0, key_len;
    void *value;

    while (sp_hash_next(table, &cursor, &key, &key_len, &value))
        sp_tls_crl_file_unref(value);
    sp_hash_free(table);
}

void sp_tls_crl_pool_free(struct sp_tls_crl_pool *pool)
{
    const char *key;
    size_t cursor = 0, key_len;
    void *value;

    if (!pool)
        return;
    while (sp_hash_next(pool->by_path, &cursor, &key, &key_len, &value)) {
        struct read_file *read = value;

        sp_tls_crl_file_unref(read->file);
        free(read);
    }
    cursor = 0;
    while (sp_hash_next(pool->kept, &cursor, &key, &key_len, &value)) {
        sp_tls_crl_kept_done(value);
        free(value);
    }
    sp_hash_free(pool->by_path);
    sp_hash_free(pool->kept);
    unref_files(pool->by_digest);
    unref_files(pool->fetched);
    free(pool);
}

static void pool_put(struct sp_tls_crl_pool *pool, struct sp_tls_crl_file *file)
{
    if (!sp_hash_put(pool->by_digest, file->digest, sizeof file->digest, file))
        sp_tls_crl_file_ref(file);
}

/* ---- URLs ---- */

struct kept_key {
    uint8_t trust[DIGEST_LEN], url[DIGEST_LEN];
};

static struct kept_key key_of(const char *url, const struct sp_tls_trust *trust)
{
    struct kept_key key;

    sp_tls_trust_digest(trust, key.trust);
    SP_REQUIRE(gnutls_hash_fast(GNUTLS_DIG_SHA256, url, strlen(url), key.url) == 0);
    return key;
}

void sp_tls_crl_pool_keep(struct sp_tls_crl_pool *pool, const char *url,
                          const struct sp_tls_trust *trust, const struct sp_tls_crl_kept *kept)
{
    const struct kept_key key = key_of(url, trust);
    const struct sp_tls_crl_judged *newest = kept->pending ? kept->pending : kept->good;
    struct sp_tls_crl_kept *copy;

    if (!sp_hash_get(pool->kept, &key, sizeof key)) {
        copy = sp_calloc(1, sizeof *copy);
        sp_tls_crl_kept_copy(copy, kept);
        sp_hash_put(pool->kept, &key, sizeof key, copy);
    }
    if (newest && !sp_hash_put(pool->fetched, url, strlen(url), newest->file))
        sp_tls_crl_file_ref(newest->file);
}

/* A trust that is new here begins with what others were given, if it can use it: a reload that adds
 * a CA must not forget the lists. */
static void find_kept(struct sp_tls_crl_pool *pool, const char *url, struct sp_tls_trust *trust,
                      struct sp_tls_crl_kept *ret)
{
    const struct kept_key key = key_of(url, trust);
    const struct sp_tls_crl_kept *known = sp_hash_get(pool->kept, &key, sizeof key);
    struct sp_tls_crl_file *file = sp_hash_get(pool->fetched, url, strlen(url));
    struct sp_error err;
    bool changed;

    *ret = (struct sp_tls_crl_kept){.good = NULL};
    if (known)
        sp_tls_crl_kept_copy(ret, known);
    else if (file && sp_tls_crl_kept_offer(ret, file, trust, INT64_MAX, &changed, &err) != SP_OK)
        sp_tls_crl_kept_why(ret, err.text);
}

/* ---- files ---- */

void sp_tls_crl_stamp_of(const char *path, struct sp_tls_crl_stamp *ret_stamp)
{
    struct stat st;

    *ret_stamp = (struct sp_tls_crl_stamp){0};
    if (stat(path, &st) == 0)
        *ret_stamp = (struct sp_tls_crl_stamp){
            .mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec,
            .size = st.st_size,
            .inode = st.st_ino,
        };
}

bool sp_tls_crl_stamp_equal(const struct sp_tls_crl_stamp *a, const struct sp_tls_crl_stamp *b)
{
    return a->mtime_ns == b->mtime_ns && a->size == b->size && a->inode == b->inode;
}

/* The stamp is taken first: what changes while the file is read is seen to have changed. */
static enum sp_err pool_read(struct sp_tls_crl_pool *pool, const char *path,
                             struct read_file **ret_read, struct sp_error *err)
{
    struct read_file *read = sp_hash_get(pool->by_path, path, strlen(path));
    struct sp_tls_crl_file *file;
    struct sp_tls_crl_stamp stamp;
    struct sp_file content;
    uint8_t digest[DIGEST_LEN];
    enum sp_err rc = SP_OK;

    *ret_read = read;
    if (read)
        return SP_OK;
    sp_tls_crl_stamp_of(path, &stamp);
    rc = sp_file_read(path, CRL_FILE_MAX, &content, err);
    if (rc != SP_OK)
        return rc;
    SP_REQUIRE(gnutls_hash_fast(GNUTLS_DIG_SHA256, content.data, content.len, digest) == 0);
    file = sp_hash_get(pool->by_digest, digest, sizeof digest);
    if (file)
        sp_tls_crl_file_ref(file);
    else
        rc = sp_tls_crl_parse(content.data, content.len, &file, err);
    sp_file_done(&content);
    if (rc != SP_OK) {
        sp_error_where(err, "%s", path);
        return rc;
    }
    pool_put(pool, file);
    read = sp_calloc(1, sizeof *read);
    *read = (struct read_file){.stamp = stamp, .file = file};
    sp_hash_put(pool->by_path, path, strlen(path), read);
    *ret_read = read;
    return SP_OK;
}

/* ---- sets ---- */

/* Of a file, or of a URL the content that is good, or else the one that is pending, or neither. */
struct crl_item {
    char *name;
    struct sp_tls_crl_stamp stamp;
    struct sp_tls_crl_judged *judged;
    struct sp_tls_crl_kept *kept; /* NULL: a file */
};

struct sp_tls_crl_set {
    _Atomic size_t refs;
    struct sp_tls_trust *trust;
    struct crl_item *items;
    size_t count;
    uint8_t digest[DIGEST_LEN];
};

static void load_url(struct crl_item *item, struct sp_tls_crl_pool *pool, const char *url,
                     struct sp_tls_trust *trust)
{
    item->name = sp_strdup(url);
    item->kept = sp_calloc(1, sizeof *item->kept);
    find_kept(pool, url, trust, item->kept);
}

static bool take_before(struct crl_item *item, const struct sp_tls_crl_set *before,
                        const char *name, const struct sp_tls_trust *trust)
{
    for (size_t i = 0; before && before->trust == trust && i < before->count; i++) {
        const struct crl_item *other = &before->items[i];

        if (other->kept || strcmp(other->name, name) != 0)
            continue;
        item->judged = sp_tls_crl_judged_ref(other->judged);
        item->stamp = other->stamp;
        return true;
    }
    return false;
}

static enum sp_err load_item(struct sp_tls_crl_set *set, struct sp_tls_crl_pool *pool,
                             const char *name, struct sp_error *err)
{
    struct crl_item *item = &set->items[set->count];
    struct read_file *read;
    enum sp_err rc;

    if (sp_json_is_url(name)) {
        load_url(item, pool, name, set->trust);
        set->count++;
        return SP_OK;
    }
    rc = pool_read(pool, name, &read, err);
    if (rc == SP_OK) {
        item->stamp = read->stamp;
        rc = sp_tls_crl_judge(read->file, set->trust, &item->judged, err);
        if (rc != SP_OK)
            sp_error_where(err, "%s", name);
    }
    if (rc != SP_OK && !take_before(item, pool->before, name, set->trust))
        return rc;
    item->name = sp_strdup(name);
    set->count++;
    return SP_OK;
}

/* The contents of an item, the good one first; NULL past the last. */
static const struct sp_tls_crl_judged *content(const struct crl_item *item, size_t index)
{
    const struct sp_tls_crl_judged *all[3] = {NULL};
    size_t count = 0;

    if (!item->kept)
        return index ? NULL : item->judged;
    if (item->kept->good)
        all[count++] = item->kept->good;
    if (item->kept->pending)
        all[count++] = item->kept->pending;
    return all[index];
}

/* What was not fetched yet is not there: a URL that is added changes nothing until it has given a
 * list, so that open tunnels are not decided on a list that is only on its way. */
static void make_digest(struct sp_tls_crl_set *set)
{
    SP_AUTO_FREE uint8_t *all = sp_calloc(2 * set->count + 1, DIGEST_LEN);
    const struct sp_tls_crl_judged *judged;
    size_t count = 0;

    for (size_t i = 0; i < set->count; i++)
        for (size_t k = 0; (judged = content(&set->items[i], k)); k++)
            memcpy(all + count++ * DIGEST_LEN, judged->file->digest, DIGEST_LEN);
    if (count)
        SP_REQUIRE(gnutls_hash_fast(GNUTLS_DIG_SHA256, all, count * DIGEST_LEN, set->digest) == 0);
}

enum sp_err sp_tls_crl_set_load(struct sp_tls_crl_pool *pool, const char *const *names,
                                size_t count, struct sp_tls_trust *trust,
                                struct sp_tls_crl_set **ret_set, struct sp_error *err)
{
    struct sp_tls_crl_set *set = sp_calloc(1, sizeof *set);
    enum sp_err rc = SP_OK;

    atomic_init(&set->refs, 1);
    set->trust = sp_tls_trust_ref(trust);
    set->items = sp_calloc(count, sizeof set->items[0]);
    for (size_t i = 0; rc == SP_OK && i < count; i++)
        rc = load_item(set, pool, names[i], err);
    if (rc != SP_OK) {
        sp_tls_crl_set_unref(set);
        return rc;
    }
    make_digest(set);
    *ret_set = set;
    return SP_OK;
}

struct sp_tls_crl_set *sp_tls_crl_set_ref(struct sp_tls_crl_set *set)
{
    if (set)
        atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
    return set;
}

void sp_tls_crl_set_unref(struct sp_tls_crl_set *set)
{
    if (!set || atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < set->count; i++) {
        free(set->items[i].name);
        sp_tls_crl_judged_unref(set->items[i].judged);
        if (set->items[i].kept)
            sp_tls_crl_kept_done(set->items[i].kept);
        free(set->items[i].kept);
    }
    sp_tls_trust_unref(set->trust);
    free(set->items);
    free(set);
}

void sp_tls_crl_pool_fall_back(struct sp_tls_crl_pool *pool, const struct sp_tls_crl_set *set)
{
    pool->before = set;
}

void sp_tls_crl_pool_add(struct sp_tls_crl_pool *pool, const struct sp_tls_crl_set *set)
{
    for (size_t i = 0; set && i < set->count; i++) {
        const struct crl_item *item = &set->items[i];

        if (item->kept)
            sp_tls_crl_pool_keep(pool, item->name, set->trust, item->kept);
        else
            pool_put(pool, item->judged->file);
    }
}

void sp_tls_crl_set_digest(const struct sp_tls_crl_set *set, uint8_t ret_digest[32])
{
    if (set)
        memcpy(ret_digest, set->digest, DIGEST_LEN);
    else
        memset(ret_digest, 0, DIGEST_LEN);
}

const char *sp_tls_crl_set_name(const struct sp_tls_crl_set *set, size_t index)
{
    return set && index < set->count ? set->items[index].name : NULL;
}

const struct sp_tls_crl_kept *sp_tls_crl_set_kept(const struct sp_tls_crl_set *set, size_t index)
{
    return set->items[index].kept;
}

struct sp_tls_trust *sp_tls_crl_set_trust(const struct sp_tls_crl_set *set)
{
    return set->trust;
}

const struct sp_tls_crl_stamp *sp_tls_crl_set_stamp(const struct sp_tls_crl_set *set, size_t index)
{
    return &set->items[index].stamp;
}

static bool is_outdated(const struct crl_item *item, const struct sp_tls_trust *trust,
                        const struct sp_tls_crl_pool *pool)
{
    struct sp_tls_crl_stamp now;

    if (item->kept) {
        const struct kept_key key = key_of(item->name, trust);
        const struct sp_tls_crl_kept *kept =
            pool ? sp_hash_get(pool->kept, &key, sizeof key) : NULL;

        return kept && !sp_tls_crl_kept_equal(kept, item->kept);
    }
    sp_tls_crl_stamp_of(item->name, &now);
    return !sp_tls_crl_stamp_equal(&now, &item->stamp);
}

bool sp_tls_crl_set_is_outdated(const struct sp_tls_crl_set *set,
                                const struct sp_tls_crl_pool *pool)
{
    for (size_t i = 0; set && i < set->count; i++)
        if (is_outdated(&set->items[i], set->trust, pool))
            return true;
    return false;
}

static enum sp_tls_crl_state state_at(const struct sp_tls_crl *crl, int64_t now)
{
    if (now < crl->this_update)
        return SP_TLS_CRL_EARLY;
    return now > crl->next_update ? SP_TLS_CRL_STALE : SP_TLS_CRL_CURRENT;
}

bool sp_tls_crl_set_remark(const struct sp_tls_crl_set *set, size_t index, int64_t now, char *buf,
                           size_t buf_len)
{
    const struct crl_item *item = &set->items[index];
    const struct sp_tls_crl_judged *judged = content(item, 0);
    char span[SP_TIME_LEN], when[SP_TIME_LEN];

    for (size_t i = 0; judged && i < judged->file->count; i++) {
        const struct sp_tls_crl *crl = &judged->file->crls[i];
        enum sp_tls_crl_state state = state_at(crl, now);

        if (state == SP_TLS_CRL_STALE)
            snprintf(buf, buf_len,
                     "the CRL of '%s' in %s is stale since %s (%s): whom it is about is crl_stale",
                     crl->issuer_text, item->name, sp_time_span(now - crl->next_update, span),
                     sp_time_format(crl->next_update, when));
        else if (state == SP_TLS_CRL_EARLY)
            snprintf(buf, buf_len,
                     "the CRL of '%s' in %s is from the future, in %s (%s): whom it is about is "
                     "crl_stale; is the clock right",
                     crl->issuer_text, item->name, sp_time_span(crl->this_update - now, span),
                     sp_time_format(crl->this_update, when));
        else if (!judged->signers[i])
            snprintf(buf, buf_len,
                     "the CRL of '%s' in %s is from none of the trusted CAs: it counts only where "
                     "the peer sends an intermediate certificate of that name",
                     crl->issuer_text, item->name);
        else
            continue;
        return true;
    }
    return false;
}

/* ---- the question ---- */

/* Which of two lists speaks: a signed one before one that is not, one of today or the past before
 * one of the future, then the newest. */
static bool is_better(const struct sp_tls_crl *crl, enum sp_tls_crl_state state,
                      const struct sp_tls_crl_answer *best)
{
    static const int rank[] = {
        [SP_TLS_CRL_NONE] = 0,  [SP_TLS_CRL_UNSIGNED] = 1, [SP_TLS_CRL_EARLY] = 2,
        [SP_TLS_CRL_STALE] = 3, [SP_TLS_CRL_CURRENT] = 3,
    };

    if (rank[state] != rank[best->state])
        return rank[state] > rank[best->state];
    return crl->this_update > best->this_update;
}

/* When the word of this list begins or ends to count, after now. */
static int64_t changes_at(const struct sp_tls_crl *crl, int64_t now)
{
    if (now < crl->this_update)
        return crl->this_update;
    return now <= crl->next_update ? crl->next_update + 1 : INT64_MAX;
}

static void answer_from(const struct crl_item *item, const struct sp_tls_crl *crl,
                        enum sp_tls_crl_state state, const struct sp_tls_crl_entry *entry,
                        struct sp_tls_crl_answer *ret)
{
    *ret = (struct sp_tls_crl_answer){
        .holds_until = ret->holds_until,
        .state = state,
        .is_revoked = entry != NULL,
        .revoked_at = entry ? entry->revoked_at : 0,
        .cause = entry ? sp_tls_der_cause_text(entry->cause) : "",
        .path = item->name,
        .this_update = crl->this_update,
        .next_update = crl->next_update,
    };
}

static const struct sp_tls_crl_entry *find_crt(const struct sp_tls_crl *crl,
                                               enum sp_tls_crl_state state, gnutls_x509_crt_t crt)
{
    uint8_t serial[SERIAL_MAX];
    size_t len = sizeof serial;

    if (state == SP_TLS_CRL_UNSIGNED || gnutls_x509_crt_get_serial(crt, serial, &len) < 0)
        return NULL;
    return sp_tls_crl_find(crl, serial, len);
}

struct asked {
    gnutls_x509_crt_t crt, issuer;
    gnutls_datum_t dn; /* the issuer's */
    int64_t now;
};

static bool is_same_crt(gnutls_x509_crt_t a, gnutls_x509_crt_t b)
{
    return a == b || (a && gnutls_x509_crt_equals(a, b));
}

static void ask_list(const struct crl_item *item, const struct sp_tls_crl_judged *judged, size_t k,
                     const struct asked *asked, struct sp_tls_crl_answer *ret)
{
    const struct sp_tls_crl *crl = &judged->file->crls[k];
    enum sp_tls_crl_state state = state_at(crl, asked->now);

    if (crl->issuer.size != asked->dn.size ||
        memcmp(crl->issuer.data, asked->dn.data, asked->dn.size) != 0)
        return;
    if (!is_same_crt(judged->signers[k], asked->issuer) &&
        !sp_tls_crl_judged_is_by(crl, asked->issuer)) {
        if (judged->signers[k]) /* that of another CA, with another key and this name */
            return;
        state = SP_TLS_CRL_UNSIGNED;
    } else {
        atomic_store_explicit(&judged->proven[k], true, memory_order_relaxed);
        if (changes_at(crl, asked->now) < ret->holds_until)
            ret->holds_until = changes_at(crl, asked->now);
    }
    if (is_better(crl, state, ret))
        answer_from(item, crl, state, find_crt(crl, state, asked->crt), ret);
}

void sp_tls_crl_set_ask(const struct sp_tls_crl_set *set, struct gnutls_x509_crt_int *crt,
                        struct gnutls_x509_crt_int *issuer, int64_t now,
                        struct sp_tls_crl_answer *ret_answer)
{
    struct asked asked = {.crt = crt, .issuer = issuer, .now = now};
    const struct sp_tls_crl_judged *judged;

    *ret_answer =
        (struct sp_tls_crl_answer){.state = SP_TLS_CRL_NONE, .cause = "", .holds_until = INT64_MAX};
    if (!set || gnutls_x509_crt_get_raw_dn(issuer, &asked.dn) < 0)
        return;
    for (size_t i = 0; i < set->count; i++)
        for (size_t n = 0; (judged = content(&set->items[i], n)); n++)
            for (size_t k = 0; k < judged->file->count; k++)
                ask_list(&set->items[i], judged, k, &asked, ret_answer);
    gnutls_free(asked.dn.data);
}

void sp_tls_crl_set_ask_named(const struct sp_tls_crl_set *set, const char *issuer,
                              const char *serial, int64_t now, struct sp_tls_crl_answer *ret_answer)
{
    const struct sp_tls_crl_judged *judged;
    uint8_t number[SERIAL_MAX];
    size_t len = sizeof number, digits = strlen(serial);
    char even[2 * SERIAL_MAX + 2];

    *ret_answer =
        (struct sp_tls_crl_answer){.state = SP_TLS_CRL_NONE, .cause = "", .holds_until = INT64_MAX};
    if (!digits || digits > 2 * sizeof number ||
        strspn(serial, "0123456789abcdefABCDEF") != digits) /* GnuTLS passes over other letters */
        return;
    snprintf(even, sizeof even, "%s%s", digits % 2 ? "0" : "", serial);
    if (gnutls_hex2bin(even, strlen(even), number, &len) < 0)
        return;
    for (size_t i = 0; set && i < set->count; i++)
        for (size_t n = 0; (judged = content(&set->items[i], n)); n++)
            for (size_t k = 0; k < judged->file->count; k++) {
                const struct sp_tls_crl *crl = &judged->file->crls[k];
                enum sp_tls_crl_state state = state_at(crl, now);

                if (sp_tls_crl_judged_is_known(judged, k) && !strcmp(crl->issuer_text, issuer) &&
                    is_better(crl, state, ret_answer))
                    answer_from(&set->items[i], crl, state, sp_tls_crl_find(crl, number, len),
                                ret_answer);
            }
}

bool sp_tls_crl_set_gap(const struct sp_tls_crl_set *set, const char **ret_url,
                        const char **ret_why)
{
    for (size_t i = 0; set && i < set->count; i++) {
        const struct crl_item *item = &set->items[i];

        if (!item->kept || sp_tls_crl_kept_is_known(item->kept))
            continue;
        *ret_url = item->name;
        *ret_why = item->kept->pending ? NULL : item->kept->why ? item->kept->why : "";
        return true;
    }
    return false;
}
