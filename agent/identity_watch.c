#include "agent/identity_watch.h"

#include "agent/config.h"
#include "common/clock.h"
#include "common/dir_watch.h"
#include "common/file.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/tls_cred.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_MS      60000 /* without being told of anything */
#define SETTLE_MS    100   /* more than a stamp needs to tell the next change from this one */
#define SETTLE_TRIES 20    /* files that never come to rest are read as they are */
#define BAD_MS       3000  /* what is bad for so long is told */
#define FOLDERS_MAX  4     /* of the paths below */
#define PATHS_MAX    4
#define TEXT_MAX_LEN 1024

struct agent_identity_watch {
    struct sp_loop *loop;
    struct sp_log *log;
    void (*on_renewed)(void *ctx, struct agent_own *own);
    void *ctx;
    struct agent_config *config; /* NULL: nothing is followed */
    struct sp_dir_watch *folders[FOLDERS_MAX];
    char *folder_names[FOLDERS_MAX];
    size_t folder_count;
    struct sp_timer *look, *settle;
    uint64_t settle_at_ms; /* 0: not awaited */
    unsigned look_ms, tries;
    uint64_t seen;           /* the stamp of what was read last; 0: unknown */
    int64_t again_at;        /* what did not change may count from then on */
    uint64_t bad_since_ms;   /* 0: what was read last was fine */
    char told[TEXT_MAX_LEN]; /* the last complaint, so that it comes once */
};

/* ---- has anything changed? ---- */

static uint64_t mix(uint64_t sum, uint64_t more)
{
    return (sum ^ more) * 0x100000001b3; /* spreads; nobody gains from a collision */
}

static uint64_t mix_text(uint64_t sum, const char *text)
{
    for (; *text; text++)
        sum = mix(sum, (unsigned char)*text);
    return sum;
}

/* The paths that the identity is read from, but a store's. */
static size_t list_paths(const struct agent_identity *identity, const char *paths[PATHS_MAX])
{
    size_t count = 0;

    if (identity->certificate)
        paths[count++] = identity->certificate;
    if (identity->private_key)
        paths[count++] = identity->private_key;
    if (identity->pkcs12)
        paths[count++] = identity->pkcs12;
    if (identity->password_file)
        paths[count++] = identity->password_file;
    return count;
}

static int is_no_dot(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static uint64_t stamp_store(const char *folder, uint64_t sum)
{
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, is_no_dot, alphasort);
    bool unsettled = count < 0;

    for (int i = 0; i < count; i++) {
        SP_AUTO_FREE char *path = NULL;
        uint64_t one;

        SP_REQUIRE(asprintf(&path, "%s/%s", folder, entries[i]->d_name) >= 0);
        one = sp_file_stamp(path);
        unsettled = unsettled || !one;
        sum = mix(mix_text(sum, entries[i]->d_name), one);
        free(entries[i]);
    }
    free(entries);
    return unsettled ? 0 : sum;
}

/* Of all that is read. 0: something is missing, or was written a moment ago. */
static uint64_t stamp(const struct agent_identity *identity)
{
    const char *paths[PATHS_MAX];
    size_t count = list_paths(identity, paths);
    uint64_t sum = 0xcbf29ce484222325;

    for (size_t i = 0; i < count; i++) {
        uint64_t one = sp_file_stamp(paths[i]);

        if (!one)
            return 0;
        sum = mix(sum, one);
    }
    return identity->store ? stamp_store(identity->store, sum) : sum;
}

/* ---- the log ---- */

static void complain(struct agent_identity_watch *w, const char *text)
{
    struct sp_log_line line;

    if (!strcmp(w->told, text))
        return;
    snprintf(w->told, sizeof w->told, "%s", text);
    if (!sp_log_begin(&line, w->log, SP_LOG_WARNING, "identity"))
        return;
    sp_log_bool(&line, "ok", false);
    sp_log_str(&line, "error", text);
    sp_log_str(&line, "our_subject", sp_tls_cred_subject(w->config->cred));
    sp_log_str(&line, "our_fingerprint", sp_tls_cred_fingerprint(w->config->cred));
    sp_log_end(&line);
}

/* What of a store cannot be used; "": nothing. */
static void list_broken(const struct sp_warnings *warnings, char *buf, size_t size)
{
    size_t used = 0;

    buf[0] = '\0';
    for (size_t i = 0; i < warnings->count && used < size; i++)
        if (strstr(warnings->items[i].where, "$.identity.store"))
            used += (size_t)snprintf(buf + used, size - used, "%s%s", used ? "; " : "",
                                     warnings->items[i].text);
}

/* ---- reading ---- */

/* Only ever earlier: a folder in which something always happens must not put it off for good. */
static void read_in(struct agent_identity_watch *w, uint64_t in_ms)
{
    uint64_t at = sp_loop_now_ms(w->loop) + in_ms;

    if (w->settle_at_ms && w->settle_at_ms <= at)
        return;
    w->settle_at_ms = at;
    sp_timer_start(w->settle, in_ms);
}

/* Bad at first sight is most often a file that is still being written. */
static void is_bad(struct agent_identity_watch *w, const char *text)
{
    uint64_t now = sp_loop_now_ms(w->loop);

    if (!w->bad_since_ms)
        w->bad_since_ms = now;
    if (now - w->bad_since_ms >= BAD_MS)
        complain(w, text);
    else if (strcmp(w->told, text) != 0)
        read_in(w, BAD_MS - (now - w->bad_since_ms));
}

static void is_fine(struct agent_identity_watch *w)
{
    w->bad_since_ms = 0;
    w->told[0] = '\0';
}

/* Not taken: a certificate that is not valid, in the place of one that is. Says why, or "". */
static void find_objection(const struct agent_identity_watch *w, const struct agent_own *own,
                           int64_t now, char *buf, size_t size)
{
    const struct sp_tls_cred *present = w->config->cred;
    int64_t from = sp_tls_cred_not_before(own->cred), until = sp_tls_cred_not_after(own->cred);
    char time[SP_TIME_LEN];

    buf[0] = '\0';
    if (now < sp_tls_cred_not_before(present) || now > sp_tls_cred_not_after(present))
        return;
    if (now < from)
        snprintf(buf, size,
                 "%s: the certificate in it is not valid before %s; until then the present one "
                 "goes on",
                 own->path, sp_time_format(from, time));
    else if (now > until)
        snprintf(buf, size, "%s: the certificate in it expired at %s; the present one goes on",
                 own->path, sp_time_format(until, time));
}

static void take(struct agent_identity_watch *w, struct agent_own *own,
                 const struct sp_warnings *warnings)
{
    int64_t now = sp_clock_wall_s();
    char text[TEXT_MAX_LEN];

    w->again_at = own->again_at;
    if (sp_tls_cred_same(own->cred, w->config->cred)) {
        list_broken(warnings, text, sizeof text);
        agent_own_done(own);
        if (text[0])
            is_bad(w, text);
        else
            is_fine(w);
        return;
    }
    find_objection(w, own, now, text, sizeof text);
    if (text[0]) {
        if (now < sp_tls_cred_not_before(own->cred))
            w->again_at = sp_tls_cred_not_before(own->cred);
        agent_own_done(own);
        is_bad(w, text);
        return;
    }
    is_fine(w);
    agent_own_log(own, w->log, "renewed");
    w->on_renewed(w->ctx, own);
}

static bool needs_reading(const struct agent_identity_watch *w, uint64_t now_stamp)
{
    return !now_stamp || now_stamp != w->seen || w->bad_since_ms ||
           sp_clock_wall_s() >= w->again_at;
}

static void read_again(struct agent_identity_watch *w)
{
    const struct agent_identity *identity = &w->config->identity;
    struct sp_warnings warnings = {.items = NULL};
    uint64_t before = stamp(identity);
    struct agent_own own = {.cred = NULL};
    struct sp_error err;
    char message[sizeof err.where + sizeof err.text + 32];
    enum sp_err rc;
    bool torn;

    if (!before && w->tries++ < SETTLE_TRIES) {
        read_in(w, SETTLE_MS);
        return;
    }
    w->tries = 0;
    if (!needs_reading(w, before))
        return;
    rc = agent_identity_load(identity, w->config->path, sp_clock_wall_s(), &warnings, &own, &err);
    torn = before && stamp(identity) != before;
    w->seen = torn ? 0 : before;
    if (torn) {
        agent_own_done(&own);
        read_in(w, SETTLE_MS);
    } else if (rc != SP_OK) {
        is_bad(w, sp_error_message(&err, message, sizeof message));
    } else {
        take(w, &own, &warnings);
    }
    sp_warnings_done(&warnings);
}

static void on_settled(void *ctx)
{
    struct agent_identity_watch *w = ctx;

    w->settle_at_ms = 0;
    read_again(w);
}

/* ---- folders ---- */

static void on_change(void *ctx, const char *const *names, size_t count)
{
    struct agent_identity_watch *w = ctx;

    /* Which file it was does not matter: a link may lead here from another name, and the stamps
     * say whether it concerns us. */
    (void)names;
    (void)count;
    read_in(w, SETTLE_MS);
}

static void watch_folders(struct agent_identity_watch *w)
{
    struct sp_error err;

    for (size_t i = 0; i < w->folder_count; i++)
        if (!w->folders[i] && sp_dir_watch_new(w->loop, w->folder_names[i], on_change, w,
                                               &w->folders[i], &err) != SP_OK)
            w->folders[i] = NULL; /* tried again with the next look */
}

static void forget_folders(struct agent_identity_watch *w)
{
    for (size_t i = 0; i < w->folder_count; i++) {
        sp_dir_watch_free(w->folders[i]);
        free(w->folder_names[i]);
        w->folders[i] = NULL;
    }
    w->folder_count = 0;
}

/* Takes `folder` over. */
static void add_folder(struct agent_identity_watch *w, char *folder)
{
    for (size_t i = 0; i < w->folder_count; i++)
        if (!strcmp(w->folder_names[i], folder)) {
            free(folder);
            return;
        }
    SP_REQUIRE(w->folder_count < FOLDERS_MAX);
    w->folder_names[w->folder_count++] = folder;
}

static void list_folders(struct agent_identity_watch *w, const struct agent_identity *identity)
{
    const char *paths[PATHS_MAX];
    size_t count = list_paths(identity, paths);

    for (size_t i = 0; i < count; i++) {
        const char *slash = strrchr(paths[i], '/');
        size_t len = slash ? (size_t)(slash - paths[i]) : 0;

        add_folder(w, slash ? strndup(paths[i], len ? len : 1) : sp_strdup("."));
    }
    if (identity->store)
        add_folder(w, sp_strdup(identity->store));
}

/* A folder that went and came again, or came late, has no watch that hears of it: all are made
 * anew. */
static void on_look(void *ctx)
{
    struct agent_identity_watch *w = ctx;

    for (size_t i = 0; i < w->folder_count; i++) {
        sp_dir_watch_free(w->folders[i]);
        w->folders[i] = NULL;
    }
    watch_folders(w);
    sp_timer_start(w->look, w->look_ms);
    read_in(w, SETTLE_MS);
}

/* ---- life ---- */

struct agent_identity_watch *
agent_identity_watch_new(struct sp_loop *loop, struct sp_log *log,
                         void (*on_renewed)(void *ctx, struct agent_own *own), void *ctx)
{
    struct agent_identity_watch *w = sp_calloc(1, sizeof *w);

    w->loop = loop;
    w->log = log;
    w->on_renewed = on_renewed;
    w->ctx = ctx;
    w->look_ms = LOOK_MS;
    w->look = sp_timer_new(loop, on_look, w);
    w->settle = sp_timer_new(loop, on_settled, w);
    return w;
}

void agent_identity_watch_free(struct agent_identity_watch *w)
{
    if (!w)
        return;
    forget_folders(w);
    sp_timer_free(w->look);
    sp_timer_free(w->settle);
    agent_config_unref(w->config);
    free(w);
}

void agent_identity_watch_set_pace(struct agent_identity_watch *w, unsigned look_ms)
{
    w->look_ms = look_ms;
    sp_timer_start(w->look, look_ms);
}

static bool has_token(const struct agent_identity *identity)
{
    return (identity->certificate && sp_tls_cred_is_uri(identity->certificate)) ||
           (identity->private_key && sp_tls_cred_is_uri(identity->private_key));
}

void agent_identity_watch_follow(struct agent_identity_watch *w, struct agent_config *config)
{
    agent_config_ref(config);
    agent_config_unref(w->config);
    w->config = config;
    forget_folders(w);
    sp_timer_stop(w->settle);
    sp_timer_stop(w->look);
    w->settle_at_ms = 0;
    w->tries = 0;
    is_fine(w);
    if (has_token(&config->identity))
        return;
    /* What was broken when it was loaded has been told. */
    list_broken(&config->warnings, w->told, sizeof w->told);
    list_folders(w, &config->identity);
    watch_folders(w);
    w->seen = 0; /* and read once more: it may have changed before it was watched */
    w->again_at = config->own.again_at;
    sp_timer_start(w->look, w->look_ms);
    read_in(w, SETTLE_MS);
}
