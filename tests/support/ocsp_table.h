/*
 * ocsp_table: gateway/ocsp on a loop without a network: fetches go to the test. Header only, since
 * its sp_fetch_start and sp_fetch_cancel stand in for common/fetch.c's in this one program.
 */
#ifndef SALLYPORT_TESTS_SUPPORT_OCSP_TABLE_H
#define SALLYPORT_TESTS_SUPPORT_OCSP_TABLE_H
#include "common/clock.h"
#include "common/error.h"
#include "common/fetch.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/loop.h"
#include "gateway/ocsp_impl.h"
#include "tests/support/ocsp_world.h"
#include "tests/support/scratch.h"

#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FETCHES_MAX 64

struct sp_fetch {
    sp_fetch_cb on_done;
    void *ctx;
    char url[256];
    unsigned timeout_ms;
    enum sp_fetch_reach reach;
    bool live;
};
static struct sp_fetch fetches[FETCHES_MAX];
static size_t fetch_count;  /* ever */
static size_t status_count; /* times that on_status came */
static struct sp_loop *loop;
static struct sp_log *log_;
static struct scratch *folder;
static struct gw_ocsp *ocsp;

struct sp_fetch *sp_fetch_start(struct sp_fetcher *fetcher, const struct sp_fetch_request *request,
                                sp_fetch_cb on_done, void *ctx)
{
    struct sp_fetch *f = &fetches[fetch_count++];

    (void)fetcher;
    ck_assert_uint_le(fetch_count, FETCHES_MAX);
    ck_assert_uint_gt(request->body_len, 0);
    *f = (struct sp_fetch){.on_done = on_done,
                           .ctx = ctx,
                           .timeout_ms = request->timeout_ms,
                           .reach = request->reach,
                           .live = true};
    snprintf(f->url, sizeof f->url, "%s", request->url);
    return f;
}

void sp_fetch_cancel(struct sp_fetch *fetch)
{
    if (fetch)
        fetch->live = false;
}

static inline void on_status(void *ctx, const struct gw_live_key *key)
{
    (void)ctx;
    (void)key;
    status_count++;
}

static inline void table_open(void)
{
    const struct gw_ocsp_options options = {
        .loop = loop, .log = log_, .cache_dir = folder->path, .on_status = on_status};

    ocsp = gw_ocsp_new(&options);
}

static inline void table_close(void)
{
    gw_ocsp_free(ocsp);
    ocsp = NULL;
}

static inline void table_enter(void)
{
    char path[300];

    ocsp_world_enter();
    fetch_count = status_count = 0;
    folder = scratch_new();
    snprintf(path, sizeof path, "%s/log", folder->path);
    ck_assert_int_eq(sp_log_open(path, SP_LOG_JSON, SP_LOG_DEBUG, &log_, NULL), SP_OK);
    ck_assert_int_eq(sp_loop_new(&loop, NULL), SP_OK);
    table_open();
}

static inline void table_leave(void)
{
    gw_ocsp_free(ocsp);
    sp_loop_free(loop);
    sp_log_close(log_);
    scratch_free(folder);
    ocsp_world_leave(); /* aborts when somebody still refers to a configuration */
}

static inline void on_enough(void *ctx)
{
    (void)ctx;
    sp_loop_stop(loop);
}

static inline void run_ms(uint64_t ms)
{
    struct sp_timer *timer = sp_timer_new(loop, on_enough, NULL);

    sp_timer_start(timer, ms);
    sp_loop_run(loop);
    sp_timer_free(timer);
}

/* Runs the loop until a condition about the test's own variables holds. */
#define RUN_UNTIL(condition)                                                                       \
    do {                                                                                           \
        for (int turn_ = 0; turn_ < 500 && !(condition); turn_++)                                  \
            run_ms(10);                                                                            \
        ck_assert(condition);                                                                      \
    } while (0)

/* response NULL: fails. */
static inline void answer(size_t i, const struct sp_bytes *response)
{
    struct sp_fetch_result result = {.status = 200};
    struct sp_error err;

    ck_assert(i < fetch_count && fetches[i].live);
    fetches[i].live = false;
    sp_error_set(&err, SP_ERR_HTTP, "%s: answered 503", fetches[i].url);
    if (response) {
        result.body = response->data;
        result.len = response->len;
    }
    fetches[i].on_done(fetches[i].ctx, response ? &result : NULL, &err);
}

static inline void answer_with(size_t i, const struct certs_pair *leaf, enum ocsp_said said,
                               int64_t begin, int64_t end)
{
    struct sp_bytes response = ocsp_world_say(leaf, said, begin, end);

    answer(i, &response);
    free((void *)(uintptr_t)response.data);
}

struct look {
    enum gw_ocsp_reply reply;
    struct gw_live_key key;
    struct sp_status status;
};

static inline struct look look_as(const struct gw_tenant *tenant, const struct certs_pair *leaf,
                                  const struct sp_bytes *staple, bool may_wait)
{
    static const struct sp_bytes none = {NULL, 0};
    struct sp_chain chain = {.certs = {ocsp_der(leaf)}, .count = 1};
    struct look look;
    struct gw_decision d;

    memset(&look, 0, sizeof look);
    gw_decision_examine(&d, tenant, NULL, &chain, sp_clock_wall_s(), NULL);
    look.reply = gw_ocsp_look(ocsp, &d, staple ? staple : &none, may_wait, &look.key, &look.status);
    return look;
}

static inline struct look look_at(const struct certs_pair *leaf)
{
    return look_as(ocsp_world.tenant, leaf, NULL, true);
}

static inline enum sp_ocsp_status known(const struct look *look)
{
    ck_assert_int_eq(look->reply, GW_OCSP_KNOWN);
    return look->status.answer.status;
}

static inline struct gw_ocsp_entry *entry_of(const struct look *look)
{
    return sp_hash_get(ocsp->entries, look->key.bytes, sizeof look->key.bytes);
}

static inline const char *read_log(void)
{
    sp_log_flush(log_);
    scratch_run(folder, "cat log");
    return folder->output;
}
#endif
