#include "common/fetch_impl.h"
#include "common/text.h"

#include <errno.h>
#include <string.h>

/* sp_text_quote without its quotes. */
const char *sp_fetch_error_show(const char *text, char buf[SP_FETCH_TEXT])
{
    sp_text_quote(text, strlen(text), buf, SP_FETCH_TEXT);
    memmove(buf, buf + 1, strlen(buf));
    buf[strlen(buf) - 1] = '\0';
    return buf;
}

void sp_fetch_error_set(struct sp_fetch *f, enum sp_err kind, const char *text)
{
    sp_error_set(&f->error, kind, "%s: %s", f->shown, text);
}

void sp_fetch_error_timeout(struct sp_fetch *f)
{
    curl_off_t connected_us = 0;
    const char *what = "the answer was not complete";

    if (f->in_multi)
        curl_easy_getinfo(f->easy, CURLINFO_CONNECT_TIME_T, &connected_us);
    if (f->query)
        what = "its name was not found";
    else if (!connected_us)
        what = "no connection";
    else if (!f->header_bytes)
        what = "no answer";
    sp_error_set(&f->error, SP_ERR_TIMEOUT, "%s: %s within %u ms", f->shown, what, f->timeout_ms);
}

void sp_fetch_error_reach(struct sp_fetch *f, const struct sp_ip *ip)
{
    char text[SP_IP_TEXT];

    sp_error_set(&f->error, SP_ERR_DENIED, "%s: %s is a %s address, which %s may not lead to",
                 f->shown, sp_ip_format(ip, text), sp_ip_class_name(sp_ip_classify(ip)),
                 f->reach == SP_FETCH_PUBLIC ? "a URL from a certificate" : "this URL");
}

static void fail_status(struct sp_fetch *f)
{
    struct curl_header *location;
    char to[SP_FETCH_TEXT];

    if (f->status / 100 == 3 &&
        curl_easy_header(f->easy, "Location", 0, CURLH_HEADER, -1, &location) == CURLHE_OK)
        sp_error_code(&f->error, SP_ERR_HTTP, f->status,
                      "%s: redirects to %s (%d), which is not followed", f->shown,
                      sp_fetch_error_show(location->value, to), f->status);
    else
        sp_error_code(&f->error, SP_ERR_HTTP, f->status, "%s: answered %d", f->shown, f->status);
}

static void fail_connect(struct sp_fetch *f)
{
    long errno_value = 0;

    curl_easy_getinfo(f->easy, CURLINFO_OS_ERRNO, &errno_value);
    if (f->refused.family)
        sp_fetch_error_reach(f, &f->refused);
    else if (errno_value == ECONNREFUSED)
        sp_error_code(&f->error, SP_ERR_SYS, ECONNREFUSED, "%s: connection refused", f->shown);
    else if (errno_value)
        sp_error_sys(&f->error, (int)errno_value, "%s", f->shown);
    else
        sp_fetch_error_set(f, SP_ERR_CLOSED, "no connection");
}

/* libcurl's own words, which may hold the server's. */
static void fail_detail(struct sp_fetch *f, enum sp_err kind, const char *text, CURLcode code)
{
    char detail[SP_FETCH_TEXT];

    sp_error_set(&f->error, kind, "%s: %s (%s)", f->shown, text,
                 sp_fetch_error_show(f->detail[0] ? f->detail : curl_easy_strerror(code), detail));
}

static void fail_code(struct sp_fetch *f, CURLcode code)
{
    /* libcurl has a hundred codes; those not named here are failures of its own. */
    if (code == CURLE_COULDNT_CONNECT)
        fail_connect(f);
    else if (code == CURLE_OPERATION_TIMEDOUT)
        sp_fetch_error_timeout(f);
    else if (code == CURLE_PARTIAL_FILE)
        sp_fetch_error_set(f, SP_ERR_CLOSED,
                           "the connection was closed before the answer was complete");
    else if (code == CURLE_GOT_NOTHING)
        sp_fetch_error_set(f, SP_ERR_CLOSED, "the connection was closed without an answer");
    else if (code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR)
        fail_detail(f, SP_ERR_CLOSED, "the exchange broke off", code);
    else if (code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_WEIRD_SERVER_REPLY)
        fail_detail(f, SP_ERR_HTTP, "what answered does not speak HTTP", code);
    else if (code == CURLE_PEER_FAILED_VERIFICATION)
        fail_detail(f, SP_ERR_PEER_CERT, "the server's certificate is not good", code);
    else if (code == CURLE_SSL_CONNECT_ERROR)
        fail_detail(f, SP_ERR_TLS, "no TLS", code);
    else
        fail_detail(f, SP_ERR_HTTP, "failed", code);
}

void sp_fetch_error_explain(struct sp_fetch *f, CURLcode code)
{
    if (f->status >= 200 && !sp_fetch_transfer_is_wanted(f, f->status))
        fail_status(f);
    else if (f->stop == SP_FETCH_STOP_BODY || code == CURLE_FILESIZE_EXCEEDED)
        sp_error_set(&f->error, SP_ERR_LIMIT, "%s: more than %zu bytes", f->shown, f->max_bytes);
    else if (f->stop == SP_FETCH_STOP_HEADERS)
        sp_error_set(&f->error, SP_ERR_LIMIT, "%s: more than %d bytes of headers", f->shown,
                     SP_FETCH_HEADERS_MAX);
    else if (f->stop == SP_FETCH_STOP_MEMORY || code == CURLE_OUT_OF_MEMORY)
        sp_fetch_error_set(f, SP_ERR_MEMORY, "out of memory");
    else
        fail_code(f, code);
}
