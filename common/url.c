#include "common/url.h"

#include "common/text.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static enum sp_err refuse(struct sp_error *err, const char *text, const char *why)
{
    char quoted[SP_TEXT_QUOTE];

    return sp_error_set(err, SP_ERR_CONFIG, "%s %s; wanted is a URL such as http://ca.example/acme",
                        sp_text_quote(text, strlen(text), quoted, sizeof quoted), why);
}

/* What does not belong in any URL. A parser that is lenient about one of these (a backslash taken
 * for a slash, a line feed dropped) finds another host than the one we judged. NULL: nothing. */
static const char *find_stray(const char *text)
{
    for (const char *at = text; *at; at++) {
        uint8_t byte = (uint8_t)*at;

        if (byte == ' ')
            return "has a space in it";
        if (byte < 0x20 || byte == 0x7f)
            return "has a control character in it";
        if (byte >= 0x80)
            return "has a character in it that is not ASCII";
        if (byte == '\\')
            return "has a backslash in it";
        if (byte == '#')
            return "has a fragment, which is never sent";
    }
    return NULL;
}

static enum sp_err parse_authority(const char *text, const char *authority, struct sp_url *url,
                                   struct sp_error *err)
{
    size_t len = strcspn(authority, "/?");

    if (!len)
        return refuse(err, text, "has no host");
    if (memchr(authority, '@', len))
        return refuse(err, text, "has user info in it");
    if (!sp_target_parse_default(authority, len, url->https ? 443 : 80, &url->target))
        return refuse(
            err, text,
            "has no host (a name, or an address as RFC 3986 writes it) with a port from 1 "
            "to 65535 or none");
    return SP_OK;
}

enum sp_err sp_url_parse(const char *text, struct sp_url *ret_url, struct sp_error *err)
{
    static const char http[] = "http://", https[] = "https://";
    struct sp_url url = {.https = strncasecmp(text, https, sizeof https - 1) == 0};
    const char *stray;
    enum sp_err rc;

    if (strnlen(text, SP_URL_MAX + 1) > SP_URL_MAX)
        return refuse(err, text, "has more than 2000 bytes");
    if (!url.https && strncasecmp(text, http, sizeof http - 1) != 0)
        return refuse(err, text, "does not begin with http:// or https://");
    stray = find_stray(text);
    if (stray)
        return refuse(err, text, stray);
    rc = parse_authority(text, text + (url.https ? sizeof https : sizeof http) - 1, &url, err);
    if (rc == SP_OK)
        *ret_url = url;
    return rc;
}

enum sp_err sp_url_check(const char *text, struct sp_error *err)
{
    struct sp_url url;

    return sp_url_parse(text, &url, err);
}

static bool has_scheme(const char *text)
{
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");

    return len > 0 && text[len] == ':';
}

bool sp_url_join(const char *base, const char *reference, char ret_url[SP_URL_MAX + 1])
{
    const char *authority = strstr(base, "//") + 2;
    size_t scheme = (size_t)(authority - 2 - base);
    size_t origin = scheme + 2 + strcspn(authority, "/?");
    size_t path = strcspn(base + origin, "?");
    int len;

    while (path && base[origin + path - 1] != '/')
        path--;
    if (has_scheme(reference))
        len = snprintf(ret_url, SP_URL_MAX + 1, "%s", reference);
    else if (strncmp(reference, "//", 2) == 0)
        len = snprintf(ret_url, SP_URL_MAX + 1, "%.*s%s", (int)scheme, base, reference);
    else if (reference[0] == '/')
        len = snprintf(ret_url, SP_URL_MAX + 1, "%.*s%s", (int)origin, base, reference);
    else
        len = snprintf(ret_url, SP_URL_MAX + 1, "%.*s%s%s", (int)(origin + path), base,
                       path ? "" : "/", reference);
    if (len < 0 || len > SP_URL_MAX)
        return false;
    ret_url[strcspn(ret_url, "#")] = '\0';
    return true;
}
