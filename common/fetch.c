#include "common/fetch_impl.h"

#include <pthread.h>
#include <stdlib.h>
#include <uv.h>

/* A socket of libcurl, which opens and closes it itself. */
struct fetch_poll {
    uv_poll_t uv;
    struct sp_fetcher *fetcher;
    curl_socket_t fd;
    int events;
    bool closed;
};

struct sp_fetcher {
    struct sp_loop *loop;
    struct sp_resolver *resolver;
    CURLM *multi;
    struct sp_timer *timer; /* when libcurl wants to look at its time-outs */
    struct sp_fetch *fetches;
};

/* ---- a fetch ---- */

/* Nothing of it runs any more. */
static void fetch_stop(struct sp_fetch *f)
{
    sp_resolve_cancel(f->query);
    f->query = NULL;
    sp_timer_free(f->deadline);
    f->deadline = NULL;
    if (f->in_multi)
        curl_multi_remove_handle(f->fetcher->multi, f->easy);
    f->in_multi = false;
    sp_fetch_transfer_drop(f);
}

static void fetch_unlink(struct sp_fetch *f)
{
    *f->prev = f->next;
    if (f->next)
        f->next->prev = f->prev;
    sp_task_cancel(&f->tell);
}

static void fetch_free(struct sp_fetch *f)
{
    fetch_stop(f);
    fetch_unlink(f);
    free(f->body);
    free(f);
}

static void on_tell(void *ctx)
{
    struct sp_fetch *f = ctx;
    const struct sp_fetch_result result = {
        .status = f->status,
        .body = f->len ? f->body : (const uint8_t *)"",
        .len = f->len,
        .content_type = f->content_type,
        .etag = f->etag,
        .location = f->location,
        .date = f->date,
    };

    fetch_unlink(f); /* the callback may free the fetcher */
    f->on_done(f->ctx, f->error.kind == SP_OK ? &result : NULL, &f->error);
    free(f->body);
    free(f);
}

static void fetch_end(struct sp_fetch *f)
{
    fetch_stop(f);
    sp_task_soon(f->fetcher->loop, &f->tell);
}

static void on_deadline(void *ctx)
{
    struct sp_fetch *f = ctx;

    sp_fetch_error_timeout(f);
    fetch_end(f);
}

static void on_resolved(void *ctx, const struct sp_addr *addrs, size_t count,
                        const struct sp_error *error)
{
    struct sp_fetch *f = ctx;

    f->query = NULL;
    if (error->kind != SP_OK) {
        f->error = *error;
        sp_error_prefix(&f->error, "%s", f->shown);
        fetch_end(f);
    } else if (!sp_fetch_transfer_reach(f, addrs, count)) {
        fetch_end(f);
    } else {
        SP_REQUIRE(curl_multi_add_handle(f->fetcher->multi, f->easy) == CURLM_OK);
        f->in_multi = true;
    }
}

struct sp_fetch *sp_fetch_start(struct sp_fetcher *fetcher, const struct sp_fetch_request *request,
                                sp_fetch_cb on_done, void *ctx)
{
    struct sp_fetch *f = sp_calloc(1, sizeof *f);

    f->fetcher = fetcher;
    f->on_done = on_done;
    f->ctx = ctx;
    f->timeout_ms = request->timeout_ms;
    f->max_bytes = request->max_bytes;
    f->reach = request->reach;
    f->any_status = request->any_status;
    sp_task_init(&f->tell, on_tell, f);
    f->next = fetcher->fetches;
    if (f->next)
        f->next->prev = &f->next;
    f->prev = &fetcher->fetches;
    fetcher->fetches = f;
    sp_fetch_error_show(request->url, f->shown);
    if (!sp_fetch_transfer_prepare(f, request)) {
        fetch_end(f);
        return f;
    }
    f->deadline = sp_timer_new(fetcher->loop, on_deadline, f);
    sp_timer_start(f->deadline, f->timeout_ms);
    f->query =
        sp_resolve(fetcher->resolver, f->url.target.host, f->url.target.port, on_resolved, f);
    return f;
}

void sp_fetch_cancel(struct sp_fetch *fetch)
{
    if (fetch)
        fetch_free(fetch);
}

/* ---- libcurl on the loop ---- */

static void collect(struct sp_fetcher *fetcher)
{
    struct CURLMsg *message;
    struct sp_fetch *f;
    int left;

    while ((message = curl_multi_info_read(fetcher->multi, &left))) {
        CURLcode code = message->data.result; /* the message goes with the handle */

        if (message->msg != CURLMSG_DONE)
            continue;
        SP_REQUIRE(curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &f) == CURLE_OK);
        sp_fetch_transfer_done(f, code);
        fetch_end(f);
    }
}

static void act(struct sp_fetcher *fetcher, curl_socket_t fd, int flags)
{
    int running;

    SP_REQUIRE(curl_multi_socket_action(fetcher->multi, fd, flags, &running) == CURLM_OK);
    collect(fetcher);
}

static void on_time(void *ctx)
{
    act(ctx, CURL_SOCKET_TIMEOUT, 0);
}

static int on_timer_wanted(CURLM *multi, long in_ms, void *ctx)
{
    struct sp_fetcher *fetcher = ctx;

    (void)multi;
    if (in_ms < 0)
        sp_timer_stop(fetcher->timer);
    else
        sp_timer_start(fetcher->timer, (uint64_t)in_ms);
    return 0;
}

static void on_poll_event(uv_poll_t *uv, int status, int events)
{
    struct fetch_poll *poll = uv->data;
    int flags = (events & UV_READABLE ? CURL_CSELECT_IN : 0) |
                (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0);

    if (status < 0) /* libcurl meets the error itself, after what came before it */
        flags = CURL_CSELECT_IN | CURL_CSELECT_OUT;
    act(poll->fetcher, poll->fd, flags);
    if (status < 0 && !poll->closed) /* libuv has stopped it */
        SP_REQUIRE(uv_poll_start(&poll->uv, poll->events, on_poll_event) == 0);
}

static void on_poll_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static struct fetch_poll *poll_new(struct sp_fetcher *fetcher, curl_socket_t fd)
{
    struct fetch_poll *poll = sp_calloc(1, sizeof *poll);

    if (uv_poll_init(sp_loop_uv(fetcher->loop), &poll->uv, fd) < 0) {
        free(poll); /* out of some resource: the fetch runs into its deadline */
        return NULL;
    }
    poll->uv.data = poll;
    poll->fetcher = fetcher;
    poll->fd = fd;
    curl_multi_assign(fetcher->multi, fd, poll);
    return poll;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *of_socket)
{
    struct fetch_poll *poll = of_socket;

    (void)easy;
    if (what == CURL_POLL_REMOVE) { /* libcurl closes it after this */
        if (poll) {
            poll->closed = true;
            uv_close((uv_handle_t *)&poll->uv, on_poll_closed);
        }
        return 0;
    }
    if (!poll && !(poll = poll_new(ctx, fd)))
        return 0;
    poll->events =
        (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    SP_REQUIRE(uv_poll_start(&poll->uv, poll->events, on_poll_event) == 0);
    return 0;
}

/* ---- the fetcher ---- */

static void init_library(void)
{
    SP_REQUIRE(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

enum sp_err sp_fetcher_new(struct sp_loop *loop, struct sp_resolver *resolver,
                           struct sp_fetcher **ret_fetcher, struct sp_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT; /* libcurl's state, not ours; never undone */
    struct sp_fetcher *fetcher;
    CURLM *multi;

    pthread_once(&once, init_library);
    multi = curl_multi_init();
    if (!multi)
        return sp_error_set(err, SP_ERR_MEMORY, "cannot start libcurl");
    fetcher = sp_calloc(1, sizeof *fetcher);
    fetcher->loop = loop;
    fetcher->resolver = resolver;
    fetcher->multi = multi;
    fetcher->timer = sp_timer_new(loop, on_time, fetcher);
    SP_REQUIRE(curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket) == CURLM_OK);
    SP_REQUIRE(curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, fetcher) == CURLM_OK);
    SP_REQUIRE(curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer_wanted) == CURLM_OK);
    SP_REQUIRE(curl_multi_setopt(multi, CURLMOPT_TIMERDATA, fetcher) == CURLM_OK);
    *ret_fetcher = fetcher;
    return SP_OK;
}

void sp_fetcher_free(struct sp_fetcher *fetcher)
{
    struct sp_fetch *f, *next;

    if (!fetcher)
        return;
    for (f = fetcher->fetches; f; f = next) {
        next = f->next;
        fetch_free(f);
    }
    curl_multi_cleanup(fetcher->multi);
    sp_timer_free(fetcher->timer);
    free(fetcher);
}
