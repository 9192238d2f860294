#include "common/fetch_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_BODY 4096

/* An option that is not set would be a protection that is not there. */
#define SET(easy, option, value) SP_REQUIRE(curl_easy_setopt(easy, option, value) == CURLE_OK)

/* ---- where a URL may lead ---- */

static bool may_reach(enum sp_fetch_reach reach, const struct sp_ip *ip)
{
    enum sp_ip_class cls = sp_ip_classify(ip);

    switch (reach) {
    case SP_FETCH_ANYWHERE:
        return true;
    case SP_FETCH_NOT_LOCAL:
        return cls == SP_IP_GLOBAL || cls == SP_IP_PRIVATE;
    case SP_FETCH_PUBLIC:
        return cls == SP_IP_GLOBAL;
    }
    return false;
}

static bool was_judged(const struct sp_fetch *f, const struct sp_addr *addr)
{
    for (size_t i = 0; i < f->addr_count; i++)
        if (f->addrs[i].port == addr->port && sp_ip_equal(&f->addrs[i].ip, &addr->ip))
            return true;
    return false;
}

/* The last word: whatever libcurl makes of host and URL, this is the address it connects to. */
static curl_socket_t on_open(void *ctx, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct sp_fetch *f = ctx;
    struct sp_addr addr;

    (void)purpose;
    if (!sp_addr_from_sockaddr(&address->addr, &addr))
        return CURL_SOCKET_BAD;
    if (!was_judged(f, &addr) || !may_reach(f->reach, &addr.ip)) {
        f->refused = addr.ip;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* A name that libcurl was not given would be looked up in a thread, and be judged by nobody. An
 * address is only read. */
static int on_resolver_start(void *resolver_state, void *reserved, void *ctx)
{
    struct sp_fetch *f = ctx;

    (void)resolver_state;
    (void)reserved;
    return !f->url.target.is_ip;
}

/* "name:port:address,address" */
static void tell_curl(struct sp_fetch *f)
{
    char text[SP_HOST_MAX + 8 + SP_RESOLVE_MAX * (SP_IP_TEXT + 3)], ip[SP_IP_TEXT];
    size_t used = (size_t)snprintf(text, sizeof text, "%s:%u:", f->url.target.host,
                                   (unsigned)f->url.target.port);

    for (size_t i = 0; i < f->addr_count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s[%s]", i ? "," : "",
                                 sp_ip_format(&f->addrs[i].ip, ip));
    f->resolved = curl_slist_append(NULL, text);
    SP_REQUIRE(f->resolved);
    SET(f->easy, CURLOPT_RESOLVE, f->resolved);
}

bool sp_fetch_transfer_reach(struct sp_fetch *f, const struct sp_addr *addrs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (may_reach(f->reach, &addrs[i].ip))
            f->addrs[f->addr_count++] = addrs[i];
    if (f->addr_count && !f->url.target.is_ip)
        tell_curl(f);
    else if (!f->addr_count)
        sp_fetch_error_reach(f, &addrs[0].ip);
    return f->addr_count > 0;
}

/* ---- an answer comes in ---- */

/* A header's value that can be sent again. */
static bool is_value(const char *text)
{
    for (; *text; text++)
        if ((uint8_t)*text < 0x20 || *text == 0x7f)
            return false;
    return true;
}

bool sp_fetch_transfer_is_wanted(const struct sp_fetch *f, long status)
{
    return status == 200 || (status == 304 && f->has_etag) || (f->any_status && status >= 200);
}

/* The head is whole: is it worth going on? */
static bool judge_head(struct sp_fetch *f)
{
    long status = 0;

    curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 200 && !sp_fetch_transfer_is_wanted(f, status))
        f->stop = SP_FETCH_STOP_STATUS;
    return f->stop == SP_FETCH_STOP_NONE;
}

static size_t on_header(char *data, size_t size, size_t count, void *ctx)
{
    struct sp_fetch *f = ctx;
    size_t len = size * count;
    bool last = len && (data[0] == '\r' || data[0] == '\n');

    f->header_bytes += len;
    if (f->header_bytes > SP_FETCH_HEADERS_MAX)
        f->stop = SP_FETCH_STOP_HEADERS;
    return f->stop == SP_FETCH_STOP_NONE && (!last || judge_head(f)) ? len : 0;
}

static bool make_room(struct sp_fetch *f, size_t more)
{
    size_t cap = f->cap ? f->cap : FIRST_BODY;
    uint8_t *body;

    while (cap - f->len < more)
        cap *= 2;
    if (cap == f->cap)
        return true;
    body = realloc(f->body, cap);
    if (!body)
        return false;
    f->body = body;
    f->cap = cap;
    return true;
}

static size_t on_body(char *data, size_t size, size_t count, void *ctx)
{
    struct sp_fetch *f = ctx;
    size_t len = size * count, room = f->max_bytes - f->len;
    size_t taken = len <= room ? len : room;

    if (len > room)
        f->stop = f->any_status ? SP_FETCH_STOP_ENOUGH : SP_FETCH_STOP_BODY;
    if (f->stop != SP_FETCH_STOP_BODY && !make_room(f, taken))
        f->stop = SP_FETCH_STOP_MEMORY;
    if (f->stop == SP_FETCH_STOP_NONE || f->stop == SP_FETCH_STOP_ENOUGH) {
        memcpy(f->body + f->len, data, taken);
        f->len += taken;
    }
    /* Anything but len is an error, and len may be 0. */
    return f->stop == SP_FETCH_STOP_NONE ? len : len + 1;
}

/* One that does not fit or cannot be sent back is as good as none. */
static void take_value(const char *value, char *buf, size_t buf_len)
{
    if (value && is_value(value) && strlen(value) < buf_len)
        memcpy(buf, value, strlen(value) + 1);
}

static void take_header(struct sp_fetch *f, const char *name, char *buf, size_t buf_len)
{
    struct curl_header *header;

    if (curl_easy_header(f->easy, name, 0, CURLH_HEADER, -1, &header) == CURLHE_OK)
        take_value(header->value, buf, buf_len);
}

void sp_fetch_transfer_done(struct sp_fetch *f, CURLcode code)
{
    long status = 0;
    char date[64] = "";
    time_t when;
    const char *content_type = NULL;

    curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status);
    f->status = (int)status;
    if (f->stop == SP_FETCH_STOP_ENOUGH)
        code = CURLE_OK;
    if (code != CURLE_OK || !sp_fetch_transfer_is_wanted(f, status)) {
        sp_fetch_error_explain(f, code);
    } else {
        curl_easy_getinfo(f->easy, CURLINFO_CONTENT_TYPE, &content_type);
        take_value(content_type, f->content_type, sizeof f->content_type);
        take_header(f, "ETag", f->etag, sizeof f->etag);
        take_header(f, "Location", f->location, sizeof f->location);
        take_header(f, "Date", date, sizeof date);
        when = curl_getdate(date, NULL);
        f->date = when > 0 ? (int64_t)when : 0;
    }
}

/* ---- a request ---- */

static bool is_same_host(const char *host, const struct sp_target *target)
{
    size_t len = strlen(host);
    bool brackets = len > 2 && host[0] == '[' && host[len - 1] == ']';
    char folded[SP_HOST_MAX + 1];
    struct sp_ip ip;

    if (target->is_ip)
        return sp_ip_parse(host + brackets, len - 2 * brackets, &ip) &&
               sp_ip_equal(&ip, &target->ip);
    return sp_host_fold(host, len, folded) && strcmp(folded, target->host) == 0;
}

/* libcurl reads URLs with its own eyes. It must see the host and port that we see, and then the
 * name in the one spelling that it is given addresses for. */
static bool read_again(struct sp_fetch *f, const char *text)
{
    const struct sp_target *target = &f->url.target;
    char *host = NULL, *port = NULL;
    bool same =
        curl_url_set(f->curl_url, CURLUPART_URL, text, CURLU_PATH_AS_IS) == CURLUE_OK &&
        curl_url_get(f->curl_url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl_url_get(f->curl_url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
        is_same_host(host, target) && strtoul(port, NULL, 10) == target->port &&
        (target->is_ip || curl_url_set(f->curl_url, CURLUPART_HOST, target->host, 0) == CURLUE_OK);

    curl_free(host);
    curl_free(port);
    return same;
}

static void add_header(struct sp_fetch *f, const char *name, const char *value)
{
    char line[512];
    struct curl_slist *longer;

    /* Without a value libcurl leaves out the header it would have sent. */
    snprintf(line, sizeof line, value ? "%s: %s" : "%s:", name, value);
    longer = curl_slist_append(f->headers, line);
    SP_REQUIRE(longer);
    f->headers = longer;
}

static void set_request(struct sp_fetch *f, const struct sp_fetch_request *request)
{
    const char *type = request->content_type, *accept = request->accept;

    SP_REQUIRE((!type || is_value(type)) && (!accept || is_value(accept)));
    add_header(f, "Accept", accept);
    add_header(f, "Expect", NULL);
    if (request->body) {
        add_header(f, "Content-Type", type);
        SET(f->easy, CURLOPT_POST, 1L);
        SET(f->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_len);
        SET(f->easy, CURLOPT_COPYPOSTFIELDS, request->body);
    }
    /* One from a cache file that somebody tampered with: asked without, the answer is whole. */
    f->has_etag =
        request->etag && is_value(request->etag) && strlen(request->etag) < sizeof f->etag;
    if (f->has_etag)
        add_header(f, "If-None-Match", request->etag);
    SET(f->easy, CURLOPT_HTTPHEADER, f->headers);
}

static void set_options(struct sp_fetch *f)
{
    SET(f->easy, CURLOPT_CURLU, f->curl_url);
    SET(f->easy, CURLOPT_PRIVATE, f);
    SET(f->easy, CURLOPT_SHARE, f->share);
    SET(f->easy, CURLOPT_ERRORBUFFER, f->detail);
    SET(f->easy, CURLOPT_NOSIGNAL, 1L);
    SET(f->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    SET(f->easy, CURLOPT_FOLLOWLOCATION, 0L);
    SET(f->easy, CURLOPT_PROXY, ""); /* also none from the environment */
    SET(f->easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(f->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(f->easy, CURLOPT_HTTP09_ALLOWED, 0L);
    SET(f->easy, CURLOPT_ACCEPT_ENCODING, NULL); /* max_bytes counts what comes */
    SET(f->easy, CURLOPT_USERAGENT, "sallyport/" SALLYPORT_VERSION);
    SET(f->easy, CURLOPT_FRESH_CONNECT, 1L);
    SET(f->easy, CURLOPT_FORBID_REUSE, 1L);
    SET(f->easy, CURLOPT_SSL_VERIFYPEER, 1L);
    SET(f->easy, CURLOPT_SSL_VERIFYHOST, 2L);
    SET(f->easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(f->easy, CURLOPT_SSL_SESSIONID_CACHE, 0L);
    if (!f->any_status)
        SET(f->easy, CURLOPT_MAXFILESIZE_LARGE,
            (curl_off_t)(f->max_bytes < INT64_MAX ? f->max_bytes : INT64_MAX));
    /* Ours ends it; libcurl divides its own among the addresses. */
    SET(f->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)f->timeout_ms);
    SET(f->easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
    SET(f->easy, CURLOPT_OPENSOCKETDATA, f);
    SET(f->easy, CURLOPT_RESOLVER_START_FUNCTION, on_resolver_start);
    SET(f->easy, CURLOPT_RESOLVER_START_DATA, f);
    SET(f->easy, CURLOPT_HEADERFUNCTION, on_header);
    SET(f->easy, CURLOPT_HEADERDATA, f);
    SET(f->easy, CURLOPT_WRITEFUNCTION, on_body);
    SET(f->easy, CURLOPT_WRITEDATA, f);
}

bool sp_fetch_transfer_prepare(struct sp_fetch *f, const struct sp_fetch_request *request)
{
    if (sp_url_parse(request->url, &f->url, &f->error) != SP_OK)
        return false;
    f->curl_url = curl_url();
    f->easy = curl_easy_init();
    f->share = curl_share_init();
    SP_REQUIRE(f->curl_url && f->easy && f->share);
    if (!read_again(f, request->url)) {
        sp_fetch_error_set(f, SP_ERR_CONFIG, "libcurl does not read this URL as we do");
        return false;
    }
    SP_REQUIRE(curl_share_setopt(f->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS) == CURLSHE_OK);
    set_options(f);
    set_request(f, request);
    return true;
}

void sp_fetch_transfer_drop(struct sp_fetch *f)
{
    curl_easy_cleanup(f->easy);
    curl_share_cleanup(f->share);
    curl_url_cleanup(f->curl_url);
    curl_slist_free_all(f->headers);
    curl_slist_free_all(f->resolved);
    f->easy = NULL;
    f->share = NULL;
    f->curl_url = NULL;
    f->headers = f->resolved = NULL;
}
