#include "agent/proxy.h"

#include <stdlib.h>
#include <string.h>

#define WANTED                                                                                     \
    "wanted: \"http://[user:password@]host:port\", \"socks5://[user:password@]host:port\" or "     \
    "\"environment\""

/* ---- one URL; nothing of it is quoted in an error, for it may hold a password ---- */

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A word of the login, percent-decoded. NULL: malformed, too long, or a NUL or a line end in it. */
static char *decode(const char *text, size_t len)
{
    char *word = sp_calloc(1, len + 1);
    size_t used = 0;
    bool ok = true;

    for (size_t i = 0; i < len && ok; i++) {
        int c = (unsigned char)text[i];

        if (c == '%') {
            ok = len - i > 2 && hex(text[i + 1]) >= 0 && hex(text[i + 2]) >= 0;
            if (ok)
                c = hex(text[i + 1]) * 16 + hex(text[i + 2]);
            i += 2;
        }
        ok = ok && c >= 0x20 && c != 0x7f;
        word[used++] = (char)c;
    }
    if (ok && used <= AGENT_PROXY_WORD_MAX)
        return word;
    explicit_bzero(word, len);
    free(word);
    return NULL;
}

static enum sp_err parse_login(struct agent_proxy *proxy, const char *text, size_t len,
                               struct sp_error *err)
{
    const char *colon = memchr(text, ':', len);
    size_t user_len = colon ? (size_t)(colon - text) : len;

    proxy->user = decode(text, user_len);
    proxy->password = colon ? decode(colon + 1, len - user_len - 1) : sp_strdup("");
    if (!proxy->user || !proxy->password)
        return sp_error_set(err, SP_ERR_CONFIG,
                            "the proxy's user or password is longer than %d bytes, or has a "
                            "control character or a broken %%-escape in it",
                            AGENT_PROXY_WORD_MAX);
    if (!proxy->user[0] || (proxy->kind == AGENT_PROXY_SOCKS5 && !proxy->password[0]))
        return sp_error_set(err, SP_ERR_CONFIG, "the proxy's login has an empty user%s",
                            proxy->kind == AGENT_PROXY_SOCKS5 ? " or password" : "");
    if (proxy->kind == AGENT_PROXY_HTTP && strchr(proxy->user, ':'))
        return sp_error_set(err, SP_ERR_CONFIG,
                            "a user with a colon in its name cannot log in by Basic");
    return SP_OK;
}

static enum sp_err parse_url(struct agent_proxy *proxy, const char *text, struct sp_error *err)
{
    static const struct {
        const char *scheme;
        enum agent_proxy_kind kind;
    } schemes[] = {
        {"http://", AGENT_PROXY_HTTP},
        {"socks5://", AGENT_PROXY_SOCKS5},
        {"socks5h://", AGENT_PROXY_SOCKS5},
    };
    const char *at, *host = NULL;
    struct sp_error why;
    size_t len;

    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0] && !host; i++) {
        if (strncasecmp(text, schemes[i].scheme, strlen(schemes[i].scheme)) == 0) {
            host = text + strlen(schemes[i].scheme);
            proxy->kind = schemes[i].kind;
        }
    }
    if (!host)
        return sp_error_set(err, SP_ERR_CONFIG, "not a proxy's URL; %s", WANTED);
    at = strrchr(host, '@');
    if (at && parse_login(proxy, host, (size_t)(at - host), err) != SP_OK)
        return SP_ERR_CONFIG;
    host = at ? at + 1 : host;
    len = strlen(host);
    if (len && host[len - 1] == '/') /* "http://proxy:3128/" is what people write */
        len--;
    if (sp_target_parse(host, len, &proxy->at, &why) == SP_OK)
        return SP_OK;
    return sp_error_set(err, SP_ERR_CONFIG, "no host and port of a proxy behind the scheme; %s",
                        WANTED);
}

/* ---- the environment ---- */

static const char *first_set(const char *const *names, const char **ret_name)
{
    for (; *names; names++) {
        const char *value = getenv(*names);

        *ret_name = *names;
        if (value && value[0])
            return value;
    }
    return NULL;
}

static enum sp_err read_environment(struct agent_proxy *proxy, bool *ret_there,
                                    struct sp_error *err)
{
    static const char *const names[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY",
                                        NULL};
    static const char *const except_names[] = {"no_proxy", "NO_PROXY", NULL};
    const char *name, *value = first_set(names, &name), *except;
    char *whole = NULL;
    enum sp_err rc;

    *ret_there = value != NULL;
    if (!value)
        return SP_OK;
    if (!strstr(value, "://")) { /* "proxy.corp:3128", as curl reads it */
        SP_REQUIRE((whole = sp_calloc(1, strlen(value) + sizeof "http://")));
        strcpy(whole, "http://");
        strcat(whole, value);
    }
    rc = parse_url(proxy, whole ? whole : value, err);
    if (whole)
        explicit_bzero(whole, strlen(whole));
    free(whole);
    if (rc != SP_OK) {
        sp_error_prefix(err, "the environment's %s", name);
        return rc;
    }
    except = first_set(except_names, &name);
    proxy->except = except ? sp_strdup(except) : NULL;
    return SP_OK;
}

enum sp_err agent_proxy_new(const char *value, struct agent_proxy **ret_proxy, struct sp_error *err)
{
    struct agent_proxy *proxy = sp_calloc(1, sizeof *proxy);
    struct sp_error why;
    bool is_there = true;
    enum sp_err rc;

    if (strcmp(value, "environment") == 0)
        rc = read_environment(proxy, &is_there, &why);
    else
        rc = parse_url(proxy, value, &why);
    if (rc != SP_OK || !is_there) {
        agent_proxy_free(proxy);
        proxy = NULL;
    }
    if (rc != SP_OK) {
        if (err)
            *err = why;
        return rc;
    }
    *ret_proxy = proxy;
    return SP_OK;
}

enum sp_err agent_proxy_check(const char *value, struct sp_error *err)
{
    struct agent_proxy *proxy = NULL;
    enum sp_err rc;

    if (strcmp(value, "environment") == 0)
        return SP_OK;
    rc = agent_proxy_new(value, &proxy, err);
    if (rc == SP_OK)
        agent_proxy_free(proxy);
    return rc;
}

static void wipe(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

void agent_proxy_free(struct agent_proxy *proxy)
{
    if (!proxy)
        return;
    wipe(proxy->user);
    wipe(proxy->password);
    free(proxy->except);
    free(proxy);
}

/* ---- exceptions ---- */

/* "corp.example" and ".corp.example" are the name and all below it; also "*.corp.example". */
static bool names_host(const char *item, size_t len, const char *host)
{
    size_t host_len = strlen(host);

    if (len && item[0] == '*')
        item++, len--;
    if (len && item[0] == '.')
        item++, len--;
    if (!len || host_len < len || strncasecmp(host + host_len - len, item, len) != 0)
        return false;
    return host_len == len || host[host_len - len - 1] == '.';
}

static bool is_excepted(const char *item, size_t len, const struct sp_target *gateway)
{
    const char *colon = memchr(item, ':', len);
    struct sp_cidr cidr;
    bool is_bracketed = len && item[0] == '[';

    if (len == 1 && item[0] == '*')
        return true;
    if (is_bracketed && item[len - 1] == ']') {
        item++;
        len -= 2;
    } else if (colon && !memchr(colon + 1, ':', len - (size_t)(colon - item) - 1)) {
        if ((unsigned long)atoi(colon + 1) != gateway->port) /* "host:port" */
            return false;
        len = (size_t)(colon - item);
    }
    if (gateway->is_ip)
        return sp_cidr_parse(item, len, &cidr, NULL) == SP_OK &&
               sp_cidr_contains(&cidr, &gateway->ip);
    return names_host(item, len, gateway->host);
}

bool agent_proxy_serves(const struct agent_proxy *proxy, const struct sp_target *gateway)
{
    const char *item = proxy ? proxy->except : NULL;

    while (item && *item) {
        size_t len = strcspn(item, ", \t");

        if (len && is_excepted(item, len, gateway))
            return false;
        item += len + (item[len] != '\0');
    }
    return proxy != NULL;
}
