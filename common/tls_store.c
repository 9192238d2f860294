#include "common/tls_store.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/text.h"
#include "common/tls_cred.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define FILE_MAX_LEN  (1024 * 1024)
#define CANDIDATE_MAX 700 /* bytes of its description */

struct candidate {
    char *path;
    struct sp_tls_cred *cred;
};

struct store {
    const struct sp_tls_store_query *query;
    struct candidate *items;
    size_t count, broken;
};

/* ---- what is in the folder ---- */

static bool ends_with(const char *name, const char *ending)
{
    size_t len = strlen(name), end = strlen(ending);

    return len > end && !strcasecmp(name + len - end, ending);
}

static void report_broken(struct store *store, const char *path, const struct sp_error *why)
{
    char text[sizeof why->where + sizeof why->text + 8];

    store->broken++;
    snprintf(text, sizeof text, "%s", why->text);
    if (why->where[0] && strcmp(why->where, path) != 0)
        snprintf(text, sizeof text, "%s: %s", why->where, why->text);
    if (store->query->on_broken)
        store->query->on_broken(store->query->ctx, path, text);
}

static void load(struct store *store, const char *path, const struct sp_tls_cred_source *source)
{
    struct sp_tls_cred *cred;
    struct sp_error why = {.kind = SP_OK};

    if (sp_tls_cred_load_source(source, &cred, NULL, &why) != SP_OK) {
        report_broken(store, path, &why);
        return;
    }
    store->items[store->count].path = sp_strdup(path);
    store->items[store->count++].cred = cred;
}

/* NAME.key for NAME.pem. */
static char *key_beside(const char *path)
{
    char *key;

    SP_REQUIRE(asprintf(&key, "%.*s.key", (int)(strrchr(path, '.') - path), path) >= 0);
    return key;
}

static bool has_text(const struct sp_file *file, const char *text)
{
    return memmem(file->data, file->len, text, strlen(text)) != NULL;
}

static void look_at_pem(struct store *store, const char *path)
{
    SP_AUTO_FREE char *beside = key_beside(path);
    struct sp_tls_cred_source source = {.certificate = path,
                                        .password_file = store->query->password_file};
    struct sp_file file = {0};
    struct sp_error why = {.kind = SP_OK};
    bool has_certificate;

    if (sp_file_read(path, FILE_MAX_LEN, &file, &why) != SP_OK) {
        report_broken(store, path, &why);
        return;
    }
    has_certificate =
        has_text(&file, "-----BEGIN CERTIFICATE") || has_text(&file, "-----BEGIN X509 CERT");
    if (has_text(&file, "PRIVATE KEY-----"))
        source.private_key = path;
    else if (access(beside, F_OK) == 0)
        source.private_key = beside;
    sp_file_done(&file); /* wiped: there may have been a key in it */
    if (has_certificate && source.private_key) {
        load(store, path, &source);
    } else if (!has_certificate && source.private_key != path) {
        sp_error_set(&why, SP_ERR_CONFIG, "no certificate in it; wanted is PEM");
        report_broken(store, path, &why);
    }
}

static void look_at(struct store *store, const char *name)
{
    struct sp_tls_cred_source source = {.password_file = store->query->password_file};
    SP_AUTO_FREE char *path = NULL;

    SP_REQUIRE(asprintf(&path, "%s/%s", store->query->folder, name) >= 0);
    if (ends_with(name, ".p12") || ends_with(name, ".pfx")) {
        source.pkcs12 = path;
        load(store, path, &source);
    } else {
        look_at_pem(store, path);
    }
}

/* Not hidden ones: those are of an editor, or of a file that is being put there. */
static int is_wanted(const struct dirent *entry)
{
    static const char *const endings[] = {".pem", ".crt", ".cer", ".p12", ".pfx", NULL};

    for (size_t i = 0; entry->d_name[0] != '.' && endings[i]; i++)
        if (ends_with(entry->d_name, endings[i]))
            return 1;
    return 0;
}

static enum sp_err look_around(struct store *store, struct sp_error *err)
{
    const char *folder = store->query->folder;
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, is_wanted, alphasort);
    bool too_many = count > SP_TLS_STORE_MAX;

    if (count < 0)
        return sp_error_sys(err, errno, "cannot be read");
    if (!too_many)
        store->items = sp_calloc((size_t)count + 1, sizeof *store->items);
    for (int i = 0; i < count; i++) {
        if (!too_many)
            look_at(store, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    if (too_many)
        return sp_error_set(err, SP_ERR_CONFIG, "%d certificate files are in it, %d at most", count,
                            SP_TLS_STORE_MAX);
    return SP_OK;
}

/* ---- which one ---- */

static bool fits(const struct candidate *c, const struct sp_tls_store_query *query)
{
    return (!query->subject_contains ||
            strcasestr(sp_tls_cred_subject(c->cred), query->subject_contains)) &&
           (!query->issuer_contains ||
            strcasestr(sp_tls_cred_issuer(c->cred), query->issuer_contains));
}

static bool is_valid(const struct candidate *c, int64_t now)
{
    return sp_tls_cred_not_before(c->cred) <= now && now <= sp_tls_cred_not_after(c->cred);
}

/* > 0: a was issued later. */
static int compare(const struct candidate *a, const struct candidate *b)
{
    int64_t by = sp_tls_cred_not_before(a->cred) - sp_tls_cred_not_before(b->cred);

    if (!by)
        by = sp_tls_cred_not_after(a->cred) - sp_tls_cred_not_after(b->cred);
    return (by > 0) - (by < 0);
}

/* The same certificate in two files is no question. */
static bool is_other(const struct candidate *a, const struct candidate *b)
{
    return strcmp(sp_tls_cred_fingerprint(a->cred), sp_tls_cred_fingerprint(b->cred)) != 0;
}

/* NULL: none, or two of which neither is newer. */
static struct candidate *find_newest(const struct store *store)
{
    struct candidate *best = NULL;
    bool is_tie = false;

    for (size_t i = 0; i < store->count; i++) {
        struct candidate *c = &store->items[i];
        int by;

        if (!fits(c, store->query) || !is_valid(c, store->query->now))
            continue;
        by = best ? compare(c, best) : 1;
        if (by > 0) {
            best = c;
            is_tie = false;
        } else if (by == 0 && is_other(c, best)) {
            is_tie = true;
        }
    }
    return is_tie ? NULL : best;
}

/* The only one that fits is meant, valid or not. */
static struct candidate *find_only(const struct store *store)
{
    struct candidate *only = NULL;

    for (size_t i = 0; i < store->count; i++) {
        struct candidate *c = &store->items[i];

        if (!fits(c, store->query))
            continue;
        if (only && is_other(c, only))
            return NULL;
        if (!only)
            only = c;
    }
    return only;
}

/* When another one becomes valid, or the chosen one ends. */
static int64_t next_choice(const struct store *store, const struct candidate *chosen)
{
    int64_t now = store->query->now, next = INT64_MAX;

    for (size_t i = 0; i < store->count; i++) {
        struct candidate *c = &store->items[i];
        int64_t from = sp_tls_cred_not_before(c->cred);

        if (fits(c, store->query) && from > now && from < next)
            next = from;
    }
    if (is_valid(chosen, now) && sp_tls_cred_not_after(chosen->cred) < next - 1)
        next = sp_tls_cred_not_after(chosen->cred) + 1;
    return next;
}

/* ---- none ---- */

static void say_why_not(const struct store *store, const struct candidate *c, char *buf,
                        size_t size)
{
    const struct sp_tls_store_query *query = store->query;
    char quoted[SP_TEXT_QUOTE];
    int64_t now = query->now;

    if (query->subject_contains &&
        !strcasestr(sp_tls_cred_subject(c->cred), query->subject_contains))
        snprintf(buf, size, "its subject does not contain %s",
                 sp_text_quote(query->subject_contains, strlen(query->subject_contains), quoted,
                               sizeof quoted));
    else if (query->issuer_contains &&
             !strcasestr(sp_tls_cred_issuer(c->cred), query->issuer_contains))
        snprintf(buf, size, "its issuer does not contain %s",
                 sp_text_quote(query->issuer_contains, strlen(query->issuer_contains), quoted,
                               sizeof quoted));
    else if (now > sp_tls_cred_not_after(c->cred))
        snprintf(buf, size, "expired");
    else if (now < sp_tls_cred_not_before(c->cred))
        snprintf(buf, size, "not valid yet");
    else
        snprintf(buf, size, "as new as another one");
}

static void describe(const struct store *store, const struct candidate *c, char *buf, size_t size)
{
    const char *subject = sp_tls_cred_subject(c->cred), *issuer = sp_tls_cred_issuer(c->cred);
    char from[SP_TIME_LEN], until[SP_TIME_LEN], why[SP_TEXT_QUOTE + 64];
    char quoted[2][SP_TEXT_QUOTE * 2];

    say_why_not(store, c, why, sizeof why);
    snprintf(buf, size, "%s, issued by %s, %s to %s: %s",
             sp_text_quote(subject, strlen(subject), quoted[0], sizeof quoted[0]),
             sp_text_quote(issuer, strlen(issuer), quoted[1], sizeof quoted[1]),
             sp_time_format(sp_tls_cred_not_before(c->cred), from),
             sp_time_format(sp_tls_cred_not_after(c->cred), until), why);
}

/* As many as there is room for: each comes whole or not at all. */
static void list_candidates(const struct store *store, char *buf, size_t size)
{
    const size_t reserve = sizeof "; and 1000 more (--check lists all)";
    char text[CANDIDATE_MAX];
    size_t used = 0, told = 0;

    for (size_t i = 0; i < store->count; i++) {
        const struct candidate *c = &store->items[i];
        const char *name = strrchr(c->path, '/') + 1;
        size_t len;

        describe(store, c, text, sizeof text);
        if (store->query->on_candidate)
            store->query->on_candidate(store->query->ctx, c->path, text);
        len = strlen(name) + strlen(text) + sizeof "; : ";
        if (told < i || used + len + reserve > size)
            continue;
        used += (size_t)snprintf(buf + used, size - used, "%s%s: %s", i ? "; " : ": ", name, text);
        told++;
    }
    if (told < store->count)
        snprintf(buf + used, size - used, "%s%zu more (--check lists all)", told ? "; and " : ": ",
                 store->count - told);
}

static enum sp_err refuse(const struct store *store, struct sp_error *err)
{
    size_t fitting = 0, valid = 0;
    char list[sizeof err->text - 100];

    for (size_t i = 0; i < store->count; i++)
        if (fits(&store->items[i], store->query)) {
            fitting++;
            valid += is_valid(&store->items[i], store->query->now);
        }
    if (!store->count)
        return sp_error_set(err, SP_ERR_CONFIG,
                            "no certificate with its private key is in it (wanted: NAME.pem or "
                            ".crt with NAME.key or the key in the same file, NAME.p12)%s",
                            store->broken ? "; what is there cannot be used" : "");
    list[0] = '\0';
    list_candidates(store, list, sizeof list);
    if (!fitting)
        return sp_error_set(err, SP_ERR_CONFIG, "no certificate in it fits%s", list);
    if (!valid)
        return sp_error_set(err, SP_ERR_CONFIG, "%zu certificates in it fit, none is valid now%s",
                            fitting, list);
    return sp_error_set(err, SP_ERR_CONFIG,
                        "%zu certificates in it fit, and none is the newest of them%s", fitting,
                        list);
}

enum sp_err sp_tls_store_choose(const struct sp_tls_store_query *query,
                                struct sp_tls_store_choice *ret_choice, struct sp_error *err)
{
    struct store store = {.query = query};
    enum sp_err rc = look_around(&store, err);
    struct candidate *chosen = NULL;

    if (rc == SP_OK) {
        chosen = find_only(&store);
        if (!chosen)
            chosen = find_newest(&store);
        if (!chosen)
            rc = refuse(&store, err);
    }
    if (chosen) {
        ret_choice->again_at = next_choice(&store, chosen);
        ret_choice->cred = sp_tls_cred_ref(chosen->cred);
        ret_choice->path = sp_strdup(chosen->path);
    }
    for (size_t i = 0; i < store.count; i++) {
        sp_tls_cred_unref(store.items[i].cred);
        free(store.items[i].path);
    }
    free(store.items);
    if (rc != SP_OK)
        sp_error_where(err, "%s", query->folder);
    return rc;
}
