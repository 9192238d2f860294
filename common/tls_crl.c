#include "common/tls_crl.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/tls_crl_parse.h"
#include "common/tls_trust.h"
#include "common/tls_x509.h"

#include <gnutls/abstract.h>
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
};

struct sp_tls_crl_pool *sp_tls_crl_pool_new(void)
{
    struct sp_tls_crl_pool *pool = sp_calloc(1, sizeof *pool);

    pool->by_path = sp_hash_new();
    pool->by_digest = sp_hash_new();
    return pool;
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
    while (sp_hash_next(pool->by_digest, &cursor, &key, &key_len, &value))
        sp_tls_crl_file_unref(value);
    sp_hash_free(pool->by_path);
    sp_hash_free(pool->by_digest);
    free(pool);
}

static void pool_put(struct sp_tls_crl_pool *pool, struct sp_tls_crl_file *file)
{
    if (!sp_hash_put(pool->by_digest, file->digest, sizeof file->digest, file))
        sp_tls_crl_file_ref(file);
}

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

/* ---- signatures ---- */

/* Where there is a key usage at all, cRLSign must be in it (RFC 5280 6.3.3 f). */
static bool may_sign_crls(gnutls_x509_crt_t issuer)
{
    unsigned usage, critical;

    return gnutls_x509_crt_get_key_usage(issuer, &usage, &critical) < 0 ||
           (usage & GNUTLS_KEY_CRL_SIGN);
}

static bool is_signed_by(const struct sp_tls_crl *crl, gnutls_x509_crt_t issuer)
{
    gnutls_pubkey_t key;
    int rc = gnutls_pubkey_init(&key);

    SP_REQUIRE(rc == 0);
    rc = gnutls_pubkey_import_x509(key, issuer, 0);
    if (rc >= 0 && crl->is_digest)
        rc = gnutls_pubkey_verify_hash2(key, crl->sign, 0, &crl->signed_part, &crl->signature);
    else if (rc >= 0)
        rc = gnutls_pubkey_verify_data2(key, crl->sign, 0, &crl->signed_part, &crl->signature);
    gnutls_pubkey_deinit(key);
    return rc >= 0 && may_sign_crls(issuer);
}

/* ---- sets ---- */

struct crl_item {
    char *path;
    struct sp_tls_crl_stamp stamp;
    struct sp_tls_crl_file *file;
    gnutls_x509_crt_t *signers; /* of each list: the trusted CA that signed it; NULL: not one of
                                   them, so perhaps an intermediate */
};

struct sp_tls_crl_set {
    _Atomic size_t refs;
    struct sp_tls_trust *trust; /* owns the signers */
    struct crl_item *items;
    size_t count;
    uint8_t digest[DIGEST_LEN];
};

/* Finds the trusted CA that signed it. One that has a trusted CA's name and not its signature is
 * forged, damaged or made with another key: nothing to go on with. */
static enum sp_err find_signer(const struct sp_tls_crl *crl, const struct sp_tls_trust *trust,
                               gnutls_x509_crt_t *ret_signer, struct sp_error *err)
{
    gnutls_x509_crt_t ca = NULL;
    bool lacks_usage = false;
    size_t i;

    *ret_signer = NULL;
    for (i = 0; (ca = sp_tls_trust_named(trust, crl->issuer.data, crl->issuer.size, i)); i++) {
        if (is_signed_by(crl, ca)) {
            *ret_signer = ca;
            return SP_OK;
        }
        lacks_usage |= !may_sign_crls(ca);
    }
    if (!i)
        return SP_OK;
    return sp_error_set(err, SP_ERR_CONFIG,
                        lacks_usage
                            ? "a CRL in it is from '%s', a trusted CA that must not sign CRLs (its "
                              "key usage has no cRLSign)"
                            : "a CRL in it says it is from '%s', but the trusted CA of that name "
                              "did not sign it: it is damaged, forged or made with another key",
                        crl->issuer_text);
}

static enum sp_err load_item(struct sp_tls_crl_set *set, struct sp_tls_crl_pool *pool,
                             const char *path, struct sp_error *err)
{
    struct crl_item *item = &set->items[set->count];
    struct read_file *read;
    enum sp_err rc = pool_read(pool, path, &read, err);

    if (rc != SP_OK)
        return rc;
    set->count++;
    item->path = sp_strdup(path);
    item->stamp = read->stamp;
    item->file = sp_tls_crl_file_ref(read->file);
    item->signers = sp_calloc(item->file->count, sizeof item->signers[0]);
    for (size_t i = 0; rc == SP_OK && i < item->file->count; i++)
        rc = find_signer(&item->file->crls[i], set->trust, &item->signers[i], err);
    if (rc != SP_OK)
        sp_error_where(err, "%s", path);
    return rc;
}

static void make_digest(struct sp_tls_crl_set *set)
{
    SP_AUTO_FREE uint8_t *all = sp_calloc(set->count, DIGEST_LEN);

    for (size_t i = 0; i < set->count; i++)
        memcpy(all + i * DIGEST_LEN, set->items[i].file->digest, DIGEST_LEN);
    SP_REQUIRE(gnutls_hash_fast(GNUTLS_DIG_SHA256, all, set->count * DIGEST_LEN, set->digest) == 0);
}

enum sp_err sp_tls_crl_set_load(struct sp_tls_crl_pool *pool, const char *const *paths,
                                size_t count, struct sp_tls_trust *trust,
                                struct sp_tls_crl_set **ret_set, struct sp_error *err)
{
    struct sp_tls_crl_set *set = sp_calloc(1, sizeof *set);
    enum sp_err rc = SP_OK;

    atomic_init(&set->refs, 1);
    set->trust = sp_tls_trust_ref(trust);
    set->items = sp_calloc(count, sizeof set->items[0]);
    for (size_t i = 0; rc == SP_OK && i < count; i++)
        rc = load_item(set, pool, paths[i], err);
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
        free(set->items[i].path);
        free(set->items[i].signers);
        sp_tls_crl_file_unref(set->items[i].file);
    }
    sp_tls_trust_unref(set->trust);
    free(set->items);
    free(set);
}

void sp_tls_crl_pool_add(struct sp_tls_crl_pool *pool, const struct sp_tls_crl_set *set)
{
    for (size_t i = 0; set && i < set->count; i++)
        pool_put(pool, set->items[i].file);
}

void sp_tls_crl_set_digest(const struct sp_tls_crl_set *set, uint8_t ret_digest[32])
{
    if (set)
        memcpy(ret_digest, set->digest, DIGEST_LEN);
    else
        memset(ret_digest, 0, DIGEST_LEN);
}

const char *sp_tls_crl_set_path(const struct sp_tls_crl_set *set, size_t index)
{
    return set && index < set->count ? set->items[index].path : NULL;
}

const struct sp_tls_crl_stamp *sp_tls_crl_set_stamp(const struct sp_tls_crl_set *set, size_t index)
{
    return &set->items[index].stamp;
}

bool sp_tls_crl_set_is_outdated(const struct sp_tls_crl_set *set)
{
    struct sp_tls_crl_stamp now;

    for (size_t i = 0; set && i < set->count; i++) {
        sp_tls_crl_stamp_of(set->items[i].path, &now);
        if (!sp_tls_crl_stamp_equal(&now, &set->items[i].stamp))
            return true;
    }
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
    char span[SP_TIME_LEN], when[SP_TIME_LEN];

    for (size_t i = 0; i < item->file->count; i++) {
        const struct sp_tls_crl *crl = &item->file->crls[i];
        enum sp_tls_crl_state state = state_at(crl, now);

        if (state == SP_TLS_CRL_STALE)
            snprintf(buf, buf_len,
                     "the CRL of '%s' in %s is stale since %s (%s): whom it is about is crl_stale",
                     crl->issuer_text, item->path, sp_time_span(now - crl->next_update, span),
                     sp_time_format(crl->next_update, when));
        else if (state == SP_TLS_CRL_EARLY)
            snprintf(buf, buf_len,
                     "the CRL of '%s' in %s is from the future, in %s (%s): whom it is about is "
                     "crl_stale; is the clock right",
                     crl->issuer_text, item->path, sp_time_span(crl->this_update - now, span),
                     sp_time_format(crl->this_update, when));
        else if (!item->signers[i])
            snprintf(buf, buf_len,
                     "the CRL of '%s' in %s is from none of the trusted CAs: it counts only where "
                     "the peer sends an intermediate certificate of that name",
                     crl->issuer_text, item->path);
        else
            continue;
        return true;
    }
    return false;
}

/* ---- the question ---- */

static const char *cause_text(unsigned cause)
{
    static const char *const names[] = {
        "",           "keyCompromise",        "cACompromise",    "affiliationChanged",
        "superseded", "cessationOfOperation", "certificateHold", "",
        "",           "privilegeWithdrawn",   "aACompromise",
    };

    return cause < sizeof names / sizeof names[0] ? names[cause] : "";
}

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
                        enum sp_tls_crl_state state, gnutls_x509_crt_t crt,
                        struct sp_tls_crl_answer *ret)
{
    const struct sp_tls_crl_entry *entry = NULL;
    uint8_t serial[SERIAL_MAX];
    size_t len = sizeof serial;

    if (state != SP_TLS_CRL_UNSIGNED && gnutls_x509_crt_get_serial(crt, serial, &len) >= 0)
        entry = sp_tls_crl_find(crl, serial, len);
    *ret = (struct sp_tls_crl_answer){
        .holds_until = ret->holds_until,
        .state = state,
        .is_revoked = entry != NULL,
        .revoked_at = entry ? entry->revoked_at : 0,
        .cause = entry ? cause_text(entry->cause) : "",
        .path = item->path,
        .this_update = crl->this_update,
        .next_update = crl->next_update,
    };
}

void sp_tls_crl_set_ask(const struct sp_tls_crl_set *set, struct gnutls_x509_crt_int *crt,
                        struct gnutls_x509_crt_int *issuer, int64_t now,
                        struct sp_tls_crl_answer *ret_answer)
{
    gnutls_datum_t dn = {NULL, 0};

    *ret_answer =
        (struct sp_tls_crl_answer){.state = SP_TLS_CRL_NONE, .cause = "", .holds_until = INT64_MAX};
    if (!set || gnutls_x509_crt_get_raw_dn(issuer, &dn) < 0)
        return;
    for (size_t i = 0; i < set->count; i++) {
        const struct crl_item *item = &set->items[i];

        for (size_t k = 0; k < item->file->count; k++) {
            const struct sp_tls_crl *crl = &item->file->crls[k];
            enum sp_tls_crl_state state = state_at(crl, now);

            if (crl->issuer.size != dn.size || memcmp(crl->issuer.data, dn.data, dn.size) != 0)
                continue;
            if (item->signers[k] != issuer && !is_signed_by(crl, issuer)) {
                if (item->signers[k]) /* that of another CA, with another key and this name */
                    continue;
                state = SP_TLS_CRL_UNSIGNED;
            } else if (changes_at(crl, now) < ret_answer->holds_until) {
                ret_answer->holds_until = changes_at(crl, now);
            }
            if (is_better(crl, state, ret_answer))
                answer_from(item, crl, state, crt, ret_answer);
        }
    }
    gnutls_free(dn.data);
}
