#include "common/resolve.h"
#include "common/loop.h"

#include <ares.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>
#include <uv.h>

#define RESOLV_CONF        "/etc/resolv.conf"
#define DEFAULT_TIMEOUT_MS 5000
/* c-ares asks each server at 0, 1/5 and 3/5 of the whole time; then our own timer ends it. */
#define TRIES      3
#define TRY_PART   5
#define MIN_TRY_MS 20

/* A socket of c-ares, which opens and closes it itself. */
struct ares_poll {
    uv_poll_t uv;
    struct sp_resolver *resolver;
    struct ares_poll *next;
    ares_socket_t fd;
    int events;
    bool closed;
};

struct sp_resolver {
    struct sp_loop *loop;
    ares_channel channel;
    unsigned timeout_ms;
    char *resolv_conf;      /* NULL: the servers are fixed */
    struct stat conf_stat;  /* of resolv_conf when it was read; zero: there was none */
    struct sp_timer *retry; /* when c-ares wants to look at its time-outs */
    struct ares_poll *polls;
    struct sp_query *queries;
    bool moving;    /* queries from an old channel to a new one */
    uint64_t heard; /* messages from name servers, of whatever kind */
};

/* Belongs to the resolver's list until both are true: c-ares has let go of it (it cannot drop one
 * query alone), and its owner was told or has cancelled. */
struct sp_query {
    struct sp_resolver *resolver;
    struct sp_query *next, **prev;
    sp_resolve_cb on_done; /* NULL: told or cancelled */
    void *ctx;
    struct sp_timer *deadline;
    struct sp_task tell; /* never from inside sp_resolve */
    bool in_ares;
    uint16_t port;
    size_t count;
    struct sp_addr addrs[SP_RESOLVE_MAX];
    struct sp_error error;
    uint64_t heard; /* the resolver's, when it was asked */
    char host[SP_HOST_MAX + 1];
};

/* ---- queries ---- */

static void query_free(struct sp_query *query)
{
    *query->prev = query->next;
    if (query->next)
        query->next->prev = query->prev;
    sp_task_cancel(&query->tell);
    sp_timer_free(query->deadline);
    free(query);
}

/* The owner knows, or does not want to. */
static void query_let_go(struct sp_query *query)
{
    query->on_done = NULL;
    sp_task_cancel(&query->tell);
    sp_timer_free(query->deadline);
    query->deadline = NULL;
    if (!query->in_ares)
        query_free(query);
}

static void on_tell(void *ctx)
{
    struct sp_query *query = ctx;
    struct sp_error error = query->error;
    struct sp_addr addrs[SP_RESOLVE_MAX];
    size_t count = query->count;
    sp_resolve_cb on_done = query->on_done;
    void *owner = query->ctx;

    memcpy(addrs, query->addrs, sizeof addrs);
    query_let_go(query); /* the callback may free the resolver */
    on_done(owner, addrs, count, &error);
}

static void query_done(struct sp_query *query)
{
    if (query->on_done)
        sp_task_soon(query->resolver->loop, &query->tell);
}

static void on_deadline(void *ctx)
{
    struct sp_query *query = ctx;

    if (query->tell.prev)
        return; /* the answer came in the same tick */
    sp_error_set(&query->error, SP_ERR_TIMEOUT, "%s: no answer from a name server within %u ms",
                 query->host, query->resolver->timeout_ms);
    query->count = 0;
    query_done(query);
}

static void query_fail(struct sp_query *query, int status)
{
    const char *text;

    /* Of servers that all answer SERVFAIL c-ares says no more than that none is left. */
    if (status == ARES_ECONNREFUSED && query->heard != query->resolver->heard)
        status = ARES_ESERVFAIL;
    switch (status) {
    case ARES_ENOTFOUND:
        text = "no such name";
        break;
    case ARES_ENODATA:
        text = "the name has no address";
        break;
    case ARES_ESERVFAIL:
        text = "the name servers answer that they failed (SERVFAIL)";
        break;
    case ARES_EREFUSED:
        text = "the name servers refused to answer";
        break;
    case ARES_ECONNREFUSED:
        text = "no name server could be reached";
        break;
    case ARES_EBADNAME:
        text = "not a name that can be looked up";
        break;
    case ARES_ETIMEOUT:
        sp_error_code(&query->error, SP_ERR_TIMEOUT, status, "%s: no answer from a name server",
                      query->host);
        return;
    default:
        text = ares_strerror(status);
    }
    sp_error_code(&query->error, SP_ERR_DNS, status, "%s: %s", query->host, text);
}

/* ---- answers ---- */

static bool already_has(const struct sp_query *query, const struct sp_addr *addr)
{
    for (size_t i = 0; i < query->count; i++) {
        if (sp_ip_equal(&query->addrs[i].ip, &addr->ip))
            return true;
    }
    return false;
}

/* The next address of this family at or after node that is not in the answer yet. */
static const struct ares_addrinfo_node *
take_family(struct sp_query *query, const struct ares_addrinfo_node *node, int family)
{
    struct sp_addr addr;

    for (; node && query->count < SP_RESOLVE_MAX; node = node->ai_next) {
        if (node->ai_family != family || !sp_addr_from_sockaddr(node->ai_addr, &addr) ||
            already_has(query, &addr))
            continue;
        addr.port = query->port;
        query->addrs[query->count++] = addr;
        return node->ai_next;
    }
    return NULL;
}

/* c-ares sorts by RFC 6724, so an address this host cannot reach comes late. The families take
 * turns, the better one first (RFC 8305 section 4). */
static void query_fill(struct sp_query *query, const struct ares_addrinfo_node *nodes)
{
    int family = nodes->ai_family;
    int other = family == AF_INET6 ? AF_INET : AF_INET6;
    const struct ares_addrinfo_node *first = nodes, *second = nodes;

    while (first || second) {
        first = take_family(query, first, family);
        second = take_family(query, second, other);
    }
}

static void on_addrinfo(void *ctx, int status, int timeouts, struct ares_addrinfo *answer);

static void query_ask(struct sp_query *query)
{
    struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};

    query->in_ares = true;
    query->heard = query->resolver->heard;
    ares_getaddrinfo(query->resolver->channel, query->host, NULL, &hints, on_addrinfo, query);
}

static void on_addrinfo(void *ctx, int status, int timeouts, struct ares_addrinfo *answer)
{
    struct sp_query *query = ctx;

    (void)timeouts;
    query->in_ares = false;
    if (!query->on_done) {
        query_free(query);
    } else if (status == ARES_EDESTRUCTION && query->resolver->moving) {
        query_ask(query);
    } else if (!query->tell.prev) { /* else its time was over already */
        if (status == ARES_SUCCESS && answer && answer->nodes)
            query_fill(query, answer->nodes);
        if (!query->count)
            query_fail(query, status == ARES_SUCCESS ? ARES_ENODATA : status);
        query_done(query);
    }
    if (answer)
        ares_freeaddrinfo(answer);
}

/* ---- c-ares on the loop ---- */

static void resolver_rearm(struct sp_resolver *resolver)
{
    struct timeval left;

    if (ares_timeout(resolver->channel, NULL, &left))
        sp_timer_start(resolver->retry,
                       (uint64_t)left.tv_sec * 1000 + (uint64_t)left.tv_usec / 1000 + 1);
    else
        sp_timer_stop(resolver->retry);
}

static void on_retry(void *ctx)
{
    struct sp_resolver *resolver = ctx;

    ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    resolver_rearm(resolver);
}

static void on_poll_event(uv_poll_t *uv, int status, int events)
{
    struct ares_poll *poll = uv->data;
    struct sp_resolver *resolver = poll->resolver;

    if (status < 0)
        events = UV_READABLE | UV_WRITABLE; /* c-ares meets the error itself */
    ares_process_fd(resolver->channel, events & UV_READABLE ? poll->fd : ARES_SOCKET_BAD,
                    events & UV_WRITABLE ? poll->fd : ARES_SOCKET_BAD);
    if (status < 0 && !poll->closed) /* libuv has stopped it */
        SP_REQUIRE(uv_poll_start(&poll->uv, poll->events, on_poll_event) == 0);
    resolver_rearm(resolver);
}

static void on_poll_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static struct ares_poll *poll_new(struct sp_resolver *resolver, ares_socket_t fd)
{
    struct ares_poll *poll = sp_calloc(1, sizeof *poll);

    if (uv_poll_init(sp_loop_uv(resolver->loop), &poll->uv, fd) < 0) {
        free(poll); /* out of some resource: the query runs into its deadline */
        return NULL;
    }
    poll->uv.data = poll;
    poll->resolver = resolver;
    poll->fd = fd;
    poll->next = resolver->polls;
    resolver->polls = poll;
    return poll;
}

static void on_socket_state(void *ctx, ares_socket_t fd, int readable, int writable)
{
    struct sp_resolver *resolver = ctx;
    struct ares_poll **link = &resolver->polls;
    struct ares_poll *poll;

    while (*link && (*link)->fd != fd)
        link = &(*link)->next;
    poll = *link;
    if (!readable && !writable) { /* c-ares closes it right after this */
        if (!poll)
            return;
        *link = poll->next;
        poll->closed = true;
        uv_close((uv_handle_t *)&poll->uv, on_poll_closed);
        return;
    }
    if (!poll && !(poll = poll_new(resolver, fd)))
        return;
    poll->events = (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0);
    SP_REQUIRE(uv_poll_start(&poll->uv, poll->events, on_poll_event) == 0);
}

/* ---- its sockets: as c-ares makes them itself, but what comes in is counted ---- */

static ares_socket_t open_socket(int family, int type, int protocol, void *ctx)
{
    (void)ctx;
    return socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
}

static int close_socket(ares_socket_t fd, void *ctx)
{
    (void)ctx;
    return close(fd);
}

static int connect_socket(ares_socket_t fd, const struct sockaddr *addr, ares_socklen_t len,
                          void *ctx)
{
    (void)ctx;
    return connect(fd, addr, len);
}

static ares_ssize_t receive(ares_socket_t fd, void *buf, size_t len, int flags,
                            struct sockaddr *from, ares_socklen_t *from_len, void *ctx)
{
    struct sp_resolver *resolver = ctx;
    ssize_t n = recvfrom(fd, buf, len, flags, from, from_len);

    resolver->heard += n > 0;
    return n;
}

static ares_ssize_t send_all(ares_socket_t fd, const struct iovec *parts, int count, void *ctx)
{
    (void)ctx;
    return writev(fd, parts, count);
}

/* ---- the resolver ---- */

static enum sp_err channel_open(struct sp_resolver *resolver, const char *servers,
                                struct sp_error *err)
{
    unsigned try_ms = resolver->timeout_ms / TRY_PART;
    char lookups[] = "fb"; /* the hosts file, then DNS */
    struct ares_options options = {
        .timeout = (int)(try_ms > MIN_TRY_MS ? try_ms : MIN_TRY_MS),
        .tries = TRIES,
        .lookups = lookups,
        /* No search list: the name that was checked against the rules is the one looked up. */
        .ndomains = 0,
        .sock_state_cb = on_socket_state,
        .sock_state_cb_data = resolver,
        .resolvconf_path = resolver->resolv_conf,
    };
    static const struct ares_socket_functions functions = {
        .asocket = open_socket,
        .aclose = close_socket,
        .aconnect = connect_socket,
        .arecvfrom = receive,
        .asendv = send_all,
    };
    ares_channel channel;
    int rc = ares_init_options(&channel, &options,
                               ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS |
                                   ARES_OPT_DOMAINS | ARES_OPT_SOCK_STATE_CB |
                                   (resolver->resolv_conf ? ARES_OPT_RESOLVCONF : 0));

    if (rc != ARES_SUCCESS)
        return sp_error_code(err, SP_ERR_DNS, rc, "cannot start the resolver: %s",
                             ares_strerror(rc));
    rc = servers ? ares_set_servers_ports_csv(channel, servers) : ARES_SUCCESS;
    if (rc != ARES_SUCCESS) {
        ares_destroy(channel);
        return sp_error_code(err, SP_ERR_CONFIG, rc,
                             "\"%s\" is not a list of name servers (address or address:port)",
                             servers);
    }
    ares_set_socket_functions(channel, &functions, resolver);
    resolver->channel = channel;
    return SP_OK;
}

static void stat_conf(const struct sp_resolver *resolver, struct stat *ret_stat)
{
    if (!resolver->resolv_conf || stat(resolver->resolv_conf, ret_stat) < 0)
        memset(ret_stat, 0, sizeof *ret_stat);
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* A workstation changes networks, and its name servers with them. c-ares reads the file once, so a
 * new channel takes over what the old one was asked. */
static void follow_conf(struct sp_resolver *resolver)
{
    ares_channel old = resolver->channel;
    struct stat now;

    stat_conf(resolver, &now);
    if (is_same_file(&now, &resolver->conf_stat) || channel_open(resolver, NULL, NULL) != SP_OK)
        return;
    resolver->conf_stat = now;
    resolver->moving = true;
    ares_destroy(old);
    resolver->moving = false;
}

enum sp_err sp_resolver_new(struct sp_loop *loop, const struct sp_resolver_options *options,
                            struct sp_resolver **ret_resolver, struct sp_error *err)
{
    static const struct sp_resolver_options defaults;
    struct sp_resolver *resolver = sp_calloc(1, sizeof *resolver);
    enum sp_err rc;

    if (!options)
        options = &defaults;
    resolver->loop = loop;
    resolver->timeout_ms = options->timeout_ms ? options->timeout_ms : DEFAULT_TIMEOUT_MS;
    if (!options->servers)
        resolver->resolv_conf =
            sp_strdup(options->resolv_conf ? options->resolv_conf : RESOLV_CONF);
    stat_conf(resolver, &resolver->conf_stat);
    rc = channel_open(resolver, options->servers, err);
    if (rc != SP_OK) {
        free(resolver->resolv_conf);
        free(resolver);
        return rc;
    }
    resolver->retry = sp_timer_new(loop, on_retry, resolver);
    *ret_resolver = resolver;
    return SP_OK;
}

void sp_resolver_free(struct sp_resolver *resolver)
{
    struct sp_query *query, *next;

    if (!resolver)
        return;
    for (query = resolver->queries; query; query = next) {
        next = query->next;
        query_let_go(query);
    }
    ares_destroy(resolver->channel); /* ends what is running: on_addrinfo, on_socket_state */
    SP_REQUIRE(!resolver->queries && !resolver->polls);
    sp_timer_free(resolver->retry);
    free(resolver->resolv_conf);
    free(resolver);
}

/* True: nothing to ask; the answer is in the query. */
static bool answer_without_asking(struct sp_query *query, const char *host)
{
    size_t len = strlen(host);
    struct sp_addr addr = {.port = query->port};

    if (len > SP_HOST_MAX) {
        sp_error_code(&query->error, SP_ERR_DNS, ARES_EBADNAME,
                      "a name of %zu bytes (a name has at most %d)", len, SP_HOST_MAX);
        return true;
    }
    memcpy(query->host, host, len + 1);
    if (sp_ip_parse(host, len, &addr.ip)) {
        query->addrs[0] = addr;
        query->count = 1;
        return true;
    }
    if (!len)
        query_fail(query, ARES_EBADNAME);
    return !len;
}

struct sp_query *sp_resolve(struct sp_resolver *resolver, const char *host, uint16_t port,
                            sp_resolve_cb on_done, void *ctx)
{
    struct sp_query *query = sp_calloc(1, sizeof *query);

    query->resolver = resolver;
    query->on_done = on_done;
    query->ctx = ctx;
    query->port = port;
    sp_task_init(&query->tell, on_tell, query);
    query->next = resolver->queries;
    if (query->next)
        query->next->prev = &query->next;
    query->prev = &resolver->queries;
    resolver->queries = query;
    if (answer_without_asking(query, host)) {
        query_done(query);
        return query;
    }
    query->deadline = sp_timer_new(resolver->loop, on_deadline, query);
    sp_timer_start(query->deadline, resolver->timeout_ms);
    if (resolver->resolv_conf)
        follow_conf(resolver);
    query_ask(query);
    resolver_rearm(resolver);
    return query;
}

void sp_resolve_cancel(struct sp_query *query)
{
    if (query)
        query_let_go(query);
}

bool sp_resolve_was_answered(const struct sp_error *error)
{
    if (error->kind != SP_ERR_DNS)
        return false;
    return error->code == ARES_ENOTFOUND || error->code == ARES_ENODATA ||
           error->code == ARES_ESERVFAIL || error->code == ARES_EREFUSED ||
           error->code == ARES_EFORMERR || error->code == ARES_ENOTIMP;
}
