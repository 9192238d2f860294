#include "common/http1_message.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define SCHEME "http://"
#define VIA    "sallyport-agent"
#define CL     "Content-Length"
#define TE     "Transfer-Encoding"
#define DIGITS 18 /* of a length */

static enum sp_err refuse(int *ret_status, int status, struct sp_error *err, const char *text)
{
    *ret_status = status;
    return sp_error_code(err, SP_ERR_HTTP, status, "%s", text);
}

static bool is_word(struct sp_http1_span span, const char *word)
{
    return span.len == strlen(word) && strncasecmp(span.text, word, span.len) == 0;
}

static bool same_word(struct sp_http1_span a, struct sp_http1_span b)
{
    return a.len == b.len && strncasecmp(a.text, b.text, a.len) == 0;
}

/* ---- lists: "close, X-Hop" ---- */

/* The next member of a comma-separated list, without the blanks around it; false: no more. */
static bool next_member(struct sp_http1_span *rest, struct sp_http1_span *ret_member)
{
    const char *comma;

    if (!rest->text)
        return false;
    comma = rest->len ? memchr(rest->text, ',', rest->len) : NULL;
    *ret_member = *rest;
    if (comma) {
        ret_member->len = (size_t)(comma - rest->text);
        rest->len -= ret_member->len + 1;
        rest->text = comma + 1;
    } else {
        rest->text = NULL;
    }
    while (ret_member->len && strchr(" \t", ret_member->text[0])) {
        ret_member->text++;
        ret_member->len--;
    }
    while (ret_member->len && strchr(" \t", ret_member->text[ret_member->len - 1]))
        ret_member->len--;
    return true;
}

/* Whether a field of that name, one of several perhaps, has this member. */
static bool list_has(const struct sp_http1_head *head, const char *name,
                     struct sp_http1_span wanted)
{
    for (size_t i = 0; i < head->field_count; i++) {
        struct sp_http1_span rest = head->fields[i].value, member;

        if (!is_word(head->fields[i].name, name))
            continue;
        while (next_member(&rest, &member)) {
            if (member.len && same_word(member, wanted))
                return true;
        }
    }
    return false;
}

static bool list_has_word(const struct sp_http1_head *head, const char *name, const char *word)
{
    return list_has(head, name, (struct sp_http1_span){word, strlen(word)});
}

/* ---- framing ---- */

static bool parse_length(struct sp_http1_span text, uint64_t *ret_length)
{
    uint64_t value = 0;

    if (!text.len || text.len > DIGITS)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.text[i] < '0' || text.text[i] > '9')
            return false;
        value = value * 10 + (unsigned)(text.text[i] - '0');
    }
    *ret_length = value;
    return true;
}

/* What the fields say. What is wrong with them; NULL: nothing. */
static const char *read_framing(const struct sp_http1_head *head, enum sp_http1_framing otherwise,
                                enum sp_http1_framing *ret_framing, uint64_t *ret_length)
{
    unsigned encodings, lengths;
    const struct sp_http1_field *encoding = sp_http1_find(head, TE, &encodings);
    const struct sp_http1_field *length = sp_http1_find(head, CL, &lengths);

    *ret_framing = otherwise;
    *ret_length = 0;
    if (encodings && lengths)
        return "both Content-Length and Transfer-Encoding";
    if (lengths > 1)
        return "more than one Content-Length";
    if (encodings > 1 || (encoding && !is_word(encoding->value, "chunked")))
        return "a Transfer-Encoding other than chunked";
    if (encoding && !head->minor)
        return "a Transfer-Encoding in HTTP/1.0";
    if (encoding)
        *ret_framing = SP_HTTP1_CHUNKED;
    if (length) {
        *ret_framing = SP_HTTP1_LENGTH;
        if (!parse_length(length->value, ret_length))
            return "a Content-Length that is no number";
    }
    return NULL;
}

/* ---- where a request goes ---- */

/* Behind "http://": up to the path, a query or the end. */
static struct sp_http1_span authority_of(const struct sp_http1_head *head)
{
    struct sp_http1_span rest = head->target;
    size_t at;

    rest.text += sizeof SCHEME - 1;
    rest.len -= sizeof SCHEME - 1;
    for (at = 0; at < rest.len; at++) {
        if (strchr("/?#", rest.text[at]))
            break;
    }
    rest.len = at;
    return rest;
}

static enum sp_err read_url(const struct sp_http1_head *head, struct sp_target *ret_target,
                            int *ret_status, struct sp_error *err)
{
    const struct sp_http1_span url = head->target;
    struct sp_http1_span authority;

    if (url.text[0] == '/' || is_word(url, "*"))
        return refuse(ret_status, 405, err,
                      "this is a proxy: it serves CONNECT and requests for http:// URLs");
    if (url.len < sizeof SCHEME - 1 || strncasecmp(url.text, SCHEME, sizeof SCHEME - 1) != 0) {
        if (memmem(url.text, url.len, "://", 3))
            return refuse(ret_status, 501, err,
                          "only http:// URLs are served so; others by way of CONNECT");
        return refuse(ret_status, 400, err, "the target is neither a URL nor a path");
    }
    if (memchr(url.text, '#', url.len))
        return refuse(ret_status, 400, err, "the URL has a fragment, which is never sent");
    if (memchr(url.text, '\\', url.len))
        return refuse(ret_status, 400, err, "the URL has a backslash in it");
    authority = authority_of(head);
    if (authority.len && memchr(authority.text, '@', authority.len))
        return refuse(ret_status, 400, err, "the URL has user info in it");
    if (!sp_target_parse_default(authority.text, authority.len, 80, ret_target))
        return refuse(ret_status, 400, err,
                      "the URL has no host (a name, or an address as RFC 3986 writes it) with a "
                      "port from 1 to 65535 or none");
    return SP_OK;
}

/* Methods know upper from lower case. */
static bool method_is(struct sp_http1_span method, const char *name)
{
    return method.len == strlen(name) && memcmp(method.text, name, method.len) == 0;
}

static bool is_repeatable(struct sp_http1_span method)
{
    static const char *const safe[] = {"GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND"};

    for (size_t i = 0; i < sizeof safe / sizeof safe[0]; i++) {
        if (method_is(method, safe[i]))
            return true;
    }
    return false;
}

/* HTTP/2 in the clear would be a protocol of which the origin alone knows where it ends. */
static bool is_upgrade(const struct sp_http1_head *head)
{
    return head->minor > 0 && list_has_word(head, "Connection", "upgrade") &&
           sp_http1_find(head, "Upgrade", NULL) && !list_has_word(head, "Upgrade", "h2c");
}

enum sp_err sp_http1_plan(const struct sp_http1_head *head, struct sp_http1_plan *ret_plan,
                          int *ret_status, struct sp_error *err)
{
    static const char *const never_hops[] = {"Host", CL, TE};
    struct sp_http1_plan plan = {.minor = head->minor};
    enum sp_err rc = read_url(head, &plan.target, ret_status, err);
    const char *wrong;

    if (rc != SP_OK)
        return rc;
    wrong = read_framing(head, SP_HTTP1_NO_BODY, &plan.framing, &plan.length);
    if (wrong)
        return refuse(ret_status, 400, err, wrong);
    for (size_t i = 0; i < sizeof never_hops / sizeof never_hops[0]; i++) {
        if (list_has_word(head, "Connection", never_hops[i]))
            return refuse(ret_status, 400, err,
                          "Connection names a header that frames the request");
    }
    plan.is_head = method_is(head->method, "HEAD");
    plan.keeps_alive = head->minor > 0 && !list_has_word(head, "Connection", "close") &&
                       !list_has_word(head, "Proxy-Connection", "close");
    plan.wants_upgrade = is_upgrade(head) && (plan.framing == SP_HTTP1_NO_BODY || !plan.length) &&
                         plan.framing != SP_HTTP1_CHUNKED;
    plan.may_repeat =
        is_repeatable(head->method) && plan.framing == SP_HTTP1_NO_BODY && !plan.wants_upgrade;
    *ret_plan = plan;
    return SP_OK;
}

/* ---- heads ---- */

/* What concerns one connection, or only the proxy, and is not sent on. */
static bool is_hop(const struct sp_http1_head *head, struct sp_http1_span name)
{
    static const char *const hops[] = {
        "Connection", "Proxy-Connection",    "Keep-Alive",         "TE",
        "Upgrade",    "Proxy-Authorization", "Proxy-Authenticate", "HTTP2-Settings"};

    for (size_t i = 0; i < sizeof hops / sizeof hops[0]; i++) {
        if (is_word(name, hops[i]))
            return true;
    }
    return list_has(head, "Connection", name);
}

/* Appends to a buffer until it is full. */
struct out {
    struct sp_buf *buf;
    enum sp_err rc;
};

static void put(struct out *out, const char *text, size_t len)
{
    if (out->rc == SP_OK && len)
        out->rc = sp_buf_append(out->buf, text, len);
}

static void put_text(struct out *out, const char *text)
{
    put(out, text, strlen(text));
}

static void put_field(struct out *out, const struct sp_http1_field *field)
{
    put(out, field->name.text, field->name.len);
    put_text(out, ": ");
    put(out, field->value.text, field->value.len);
    put_text(out, "\r\n");
}

static void put_upgrade(struct out *out, const struct sp_http1_head *head)
{
    put_text(out, "Connection: Upgrade\r\n");
    for (size_t i = 0; i < head->field_count; i++) {
        if (is_word(head->fields[i].name, "Upgrade"))
            put_field(out, &head->fields[i]);
    }
}

static void put_via(struct out *out, int minor)
{
    put_text(out, minor ? "Via: 1.1 " VIA "\r\n" : "Via: 1.0 " VIA "\r\n");
}

/* The URL without scheme and authority: origin-form; "*" for OPTIONS of the server itself. */
static void put_path(struct out *out, const struct sp_http1_head *head)
{
    struct sp_http1_span authority = authority_of(head);
    const char *path = authority.text + authority.len;
    size_t len = (size_t)(head->target.text + head->target.len - path);

    if (!len && method_is(head->method, "OPTIONS"))
        put_text(out, "*");
    else if (!len || path[0] != '/')
        put_text(out, "/");
    put(out, path, len);
}

enum sp_err sp_http1_write_request(const struct sp_http1_head *head,
                                   const struct sp_http1_plan *plan, struct sp_buf *buf)
{
    struct out out = {buf, SP_OK};
    char host[SP_TARGET_TEXT];

    sp_target_format(&plan->target, host);
    if (plan->target.port == 80)
        *strrchr(host, ':') = '\0';
    put(&out, head->method.text, head->method.len);
    put_text(&out, " ");
    put_path(&out, head);
    put_text(&out, plan->minor ? " HTTP/1.1\r\nHost: " : " HTTP/1.0\r\nHost: ");
    put_text(&out, host);
    put_text(&out, "\r\n");
    for (size_t i = 0; i < head->field_count; i++) {
        if (!is_hop(head, head->fields[i].name) && !is_word(head->fields[i].name, "Host"))
            put_field(&out, &head->fields[i]);
    }
    if (plan->wants_upgrade)
        put_upgrade(&out, head);
    put_via(&out, plan->minor);
    put_text(&out, "\r\n");
    return out.rc;
}

enum sp_err sp_http1_judge_answer(const struct sp_http1_head *head,
                                  const struct sp_http1_plan *plan,
                                  struct sp_http1_answer *ret_answer, struct sp_error *err)
{
    struct sp_http1_answer answer = {.status = head->status};
    const char *wrong = read_framing(head, SP_HTTP1_UNTIL_CLOSE, &answer.framing, &answer.length);

    if (!wrong && answer.framing == SP_HTTP1_CHUNKED && !plan->minor)
        wrong = "chunks, which HTTP/1.0 does not know";
    if (wrong)
        return sp_error_code(err, SP_ERR_HTTP, 502, "the origin answers with %s", wrong);
    if (head->status == 101) {
        if (!plan->wants_upgrade || !sp_http1_find(head, "Upgrade", NULL))
            return sp_error_code(err, SP_ERR_HTTP, 502,
                                 "the origin changes to a protocol that nobody asked for");
        answer.is_upgrade = true;
    }
    if (plan->is_head || head->status < 200 || head->status == 204 || head->status == 304)
        answer.framing = SP_HTTP1_NO_BODY;
    answer.keeps_alive = head->minor > 0 && answer.framing != SP_HTTP1_UNTIL_CLOSE &&
                         !list_has_word(head, "Connection", "close");
    *ret_answer = answer;
    return SP_OK;
}

enum sp_err sp_http1_write_answer(const struct sp_http1_head *head,
                                  const struct sp_http1_answer *answer, bool closes,
                                  struct sp_buf *buf)
{
    struct out out = {buf, SP_OK};
    char status[32];

    snprintf(status, sizeof status, "HTTP/1.1 %03d ", head->status);
    put_text(&out, status);
    put(&out, head->reason.text, head->reason.len);
    put_text(&out, "\r\n");
    for (size_t i = 0; i < head->field_count; i++) {
        const struct sp_http1_span name = head->fields[i].name;

        if (!is_hop(head, name) || is_word(name, CL) || is_word(name, TE))
            put_field(&out, &head->fields[i]);
    }
    if (answer->is_upgrade)
        put_upgrade(&out, head);
    else if (closes)
        put_text(&out, "Connection: close\r\n");
    put_via(&out, head->minor);
    put_text(&out, "\r\n");
    return out.rc;
}
