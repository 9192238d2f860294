#include "common/addr.h"

#include "common/text.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static size_t ip_len(const struct sp_ip *ip)
{
    return ip->family == 4 ? 4 : 16;
}

bool sp_ip_parse(const char *text, size_t len, struct sp_ip *ret_ip)
{
    char copy[SP_IP_TEXT];
    struct sp_ip ip = {0};

    /* inet_pton is as strict as we are (no leading zeros, no short forms, no zone), but it stops at
     * a NUL and wants one. */
    if (!len || len >= sizeof copy || memchr(text, '\0', len))
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    ip.family = memchr(text, ':', len) ? 6 : 4;
    if (inet_pton(ip.family == 4 ? AF_INET : AF_INET6, copy, ip.bytes) != 1)
        return false;
    *ret_ip = ip;
    return true;
}

static void format_v4(const uint8_t bytes[4], char *buf)
{
    for (int i = 0; i < 4; i++) {
        buf += sp_text_decimal(bytes[i], buf);
        *buf++ = '.';
    }
    buf[-1] = '\0';
}

const char *sp_ip_format(const struct sp_ip *ip, char buf[SP_IP_TEXT])
{
    if (ip->family == 4) {
        format_v4(ip->bytes, buf);
        return buf;
    }
    if (!inet_ntop(AF_INET6, ip->bytes, buf, SP_IP_TEXT))
        buf[0] = '\0';
    return buf;
}

bool sp_ip_equal(const struct sp_ip *a, const struct sp_ip *b)
{
    return a->family == b->family && !memcmp(a->bytes, b->bytes, ip_len(a));
}

/* Decimal digits only, no leading zero, min..max. */
static bool parse_number(const char *text, size_t len, unsigned min, unsigned max,
                         unsigned *ret_value)
{
    unsigned value = 0;

    if (!len || len > 5 || (len > 1 && text[0] == '0'))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (unsigned)(text[i] - '0');
    }
    if (value < min || value > max)
        return false;
    *ret_value = value;
    return true;
}

/* Splits "host:port" and "[v6]:port" without judging the parts. *ret_bracketed tells which; what
 * stands between brackets is handed out without them. */
static bool split_host_port(const char *text, size_t len, size_t *ret_host_len, bool *ret_bracketed,
                            const char **ret_port)
{
    const char *end = text + len;
    const char *colon;

    *ret_bracketed = len && text[0] == '[';
    if (*ret_bracketed) {
        const char *close = memchr(text, ']', len);

        if (!close || close + 1 == end || close[1] != ':')
            return false;
        *ret_host_len = (size_t)(close - text) - 1;
        *ret_port = close + 2;
        return true;
    }
    colon = memchr(text, ':', len);
    if (!colon || memchr(colon + 1, ':', (size_t)(end - colon) - 1))
        return false;
    *ret_host_len = (size_t)(colon - text);
    *ret_port = colon + 1;
    return true;
}

enum sp_err sp_addr_parse(const char *text, struct sp_addr *ret_addr, struct sp_error *err)
{
    char quoted[SP_TEXT_QUOTE];
    size_t len = strlen(text);
    struct sp_addr addr;
    const char *port_text;
    size_t host_len;
    bool bracketed;
    unsigned port;

    sp_text_quote(text, len, quoted, sizeof quoted);
    if (!split_host_port(text, len, &host_len, &bracketed, &port_text))
        return sp_error_set(err, SP_ERR_CONFIG,
                            "%s is not an address with a port, such as 192.0.2.1:443 or "
                            "[2001:db8::1]:443",
                            quoted);
    if (!sp_ip_parse(text + bracketed, host_len, &addr.ip) || (addr.ip.family == 6) != bracketed)
        return sp_error_set(err, SP_ERR_CONFIG,
                            "%s does not begin with an IP address; wanted is one such as "
                            "192.0.2.1:443 or [2001:db8::1]:443",
                            quoted);
    if (!parse_number(port_text, (size_t)(text + len - port_text), 0, 65535, &port))
        return sp_error_set(err, SP_ERR_CONFIG, "the port of %s is not a number from 0 to 65535",
                            quoted);
    addr.port = (uint16_t)port;
    *ret_addr = addr;
    return SP_OK;
}

static void put_port(char *end, uint16_t port)
{
    *end = ':';
    sp_text_decimal(port, end + 1);
}

const char *sp_addr_format(const struct sp_addr *addr, char buf[SP_ADDR_TEXT])
{
    bool brackets = addr->ip.family != 4;
    size_t len;

    buf[0] = '[';
    sp_ip_format(&addr->ip, buf + brackets);
    len = strlen(buf);
    if (brackets)
        buf[len++] = ']';
    put_port(buf + len, addr->port);
    return buf;
}

socklen_t sp_addr_to_sockaddr(const struct sp_addr *addr, struct sockaddr_storage *ret_sa)
{
    struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(addr->port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(addr->port)};

    memset(ret_sa, 0, sizeof *ret_sa);
    if (addr->ip.family == 4) {
        memcpy(&in4.sin_addr, addr->ip.bytes, 4);
        memcpy(ret_sa, &in4, sizeof in4);
        return sizeof in4;
    }
    memcpy(&in6.sin6_addr, addr->ip.bytes, 16);
    memcpy(ret_sa, &in6, sizeof in6);
    return sizeof in6;
}

bool sp_addr_from_sockaddr(const struct sockaddr *sa, struct sp_addr *ret_addr)
{
    struct sp_addr addr = {0};
    struct sockaddr_in in4;
    struct sockaddr_in6 in6;

    /* Copied out: a struct sockaddr promises no alignment for the larger forms. */
    if (sa->sa_family == AF_INET) {
        memcpy(&in4, sa, sizeof in4);
        addr.ip.family = 4;
        memcpy(addr.ip.bytes, &in4.sin_addr, 4);
        addr.port = ntohs(in4.sin_port);
    } else if (sa->sa_family == AF_INET6) {
        memcpy(&in6, sa, sizeof in6);
        addr.ip.family = 6;
        memcpy(addr.ip.bytes, &in6.sin6_addr, 16);
        addr.port = ntohs(in6.sin6_port);
    } else {
        return false;
    }
    *ret_addr = addr;
    return true;
}

static bool is_v4_mapped(const struct sp_ip *ip)
{
    static const uint8_t prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

    return ip->family == 6 && !memcmp(ip->bytes, prefix, sizeof prefix);
}

/* The IPv4 address at an offset inside an IPv6 one. */
static struct sp_ip embedded_v4(const struct sp_ip *ip, size_t offset)
{
    struct sp_ip v4 = {.family = 4};

    memcpy(v4.bytes, ip->bytes + offset, 4);
    return v4;
}

struct sp_ip sp_ip_unmap(const struct sp_ip *ip)
{
    return is_v4_mapped(ip) ? embedded_v4(ip, 12) : *ip;
}

/* Clears all bits behind the prefix; true when there were any. */
static bool clear_host_bits(struct sp_ip *ip, unsigned prefix)
{
    bool found = false;

    for (size_t i = 0; i < ip_len(ip); i++) {
        unsigned kept = prefix > i * 8 ? prefix - (unsigned)i * 8 : 0;
        uint8_t mask = kept >= 8 ? 0xff : (uint8_t)(0xff00U >> kept);

        found = found || (ip->bytes[i] & ~mask & 0xff);
        ip->bytes[i] &= mask;
    }
    return found;
}

enum sp_err sp_cidr_parse(const char *text, size_t len, struct sp_cidr *ret_cidr,
                          struct sp_error *err)
{
    const char *slash = memchr(text, '/', len);
    size_t ip_text_len = slash ? (size_t)(slash - text) : len;
    char quoted[SP_TEXT_QUOTE], base[SP_IP_TEXT];
    struct sp_cidr cidr;
    unsigned max, prefix;

    sp_text_quote(text, len, quoted, sizeof quoted);
    if (!sp_ip_parse(text, ip_text_len, &cidr.base))
        return sp_error_set(err, SP_ERR_CONFIG,
                            "%s is neither an address nor a network such as 10.1.0.0/16 or "
                            "2001:db8::/32",
                            quoted);
    max = cidr.base.family == 4 ? 32 : 128;
    prefix = max;
    if (slash && !parse_number(slash + 1, len - ip_text_len - 1, 0, max, &prefix))
        return sp_error_set(err, SP_ERR_CONFIG,
                            "the prefix length of %s is not a number from 0 to %u", quoted, max);
    if (clear_host_bits(&cidr.base, prefix))
        return sp_error_set(err, SP_ERR_CONFIG,
                            "%s has bits set behind its prefix; the network is %s/%u", quoted,
                            sp_ip_format(&cidr.base, base), prefix);
    if (is_v4_mapped(&cidr.base) && prefix >= 96) { /* sp_cidr_contains compares as IPv4 */
        cidr.base = embedded_v4(&cidr.base, 12);
        prefix -= 96;
    }
    cidr.prefix = (uint8_t)prefix;
    *ret_cidr = cidr;
    return SP_OK;
}

static bool in_prefix(const struct sp_ip *ip, const uint8_t *base, unsigned prefix)
{
    unsigned whole = prefix / 8;
    unsigned rest = prefix % 8;

    return !memcmp(ip->bytes, base, whole) &&
           (!rest || !((ip->bytes[whole] ^ base[whole]) >> (8 - rest)));
}

bool sp_cidr_contains(const struct sp_cidr *cidr, const struct sp_ip *ip)
{
    struct sp_ip plain = sp_ip_unmap(ip);

    return plain.family == cidr->base.family && in_prefix(&plain, cidr->base.bytes, cidr->prefix);
}

/* The resolvers of many systems read "127.1", "0x7f.1" or "2130706433" as addresses, so no name may
 * end in a label that can be a number. */
static bool is_number_like(const char *label, size_t len)
{
    if (len >= 2 && label[0] == '0' && label[1] == 'x')
        return true;
    for (size_t i = 0; i < len; i++)
        if (label[i] < '0' || label[i] > '9')
            return false;
    return true;
}

bool sp_host_fold(const char *text, size_t len, char ret_host[SP_HOST_MAX + 1])
{
    char host[SP_HOST_MAX + 1];
    size_t label = 0; /* where the current label begins */

    if (len && text[len - 1] == '.')
        len--;
    if (!len || len > SP_HOST_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (c == '.') {
            if (i == label)
                return false;
            label = i + 1;
        } else if (c >= 'A' && c <= 'Z') {
            c = (char)(c - 'A' + 'a');
        } else if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_') {
            return false;
        }
        if (i >= label + 63)
            return false;
        host[i] = c;
    }
    if (label == len || is_number_like(host + label, len - label))
        return false;
    host[len] = '\0';
    memcpy(ret_host, host, len + 1);
    return true;
}

/* What stands between brackets comes without them. */
static bool parse_host(const char *text, size_t len, bool bracketed, struct sp_target *target)
{
    target->is_ip = sp_ip_parse(text, len, &target->ip);
    if (!target->is_ip)
        return !bracketed && sp_host_fold(text, len, target->host);
    sp_ip_format(&target->ip, target->host);
    return (target->ip.family == 6) == bracketed;
}

enum sp_err sp_target_parse(const char *text, size_t len, struct sp_target *ret_target,
                            struct sp_error *err)
{
    struct sp_target target = {0};
    char quoted[SP_TEXT_QUOTE];
    const char *port_text;
    size_t host_len;
    bool bracketed;
    unsigned port;

    sp_text_quote(text, len, quoted, sizeof quoted);
    if (!split_host_port(text, len, &host_len, &bracketed, &port_text))
        return sp_error_set(err, SP_ERR_HTTP,
                            "%s is not a destination such as host:443, 192.0.2.1:443 or "
                            "[2001:db8::1]:443",
                            quoted);
    if (!parse_number(port_text, (size_t)(text + len - port_text), 1, 65535, &port))
        return sp_error_set(err, SP_ERR_HTTP, "the port of %s is not a number from 1 to 65535",
                            quoted);
    target.port = (uint16_t)port;
    if (!parse_host(text + bracketed, host_len, bracketed, &target))
        return sp_error_set(err, SP_ERR_HTTP,
                            "the host of %s is neither a name nor an address as RFC 3986 writes it",
                            quoted);
    *ret_target = target;
    return SP_OK;
}

bool sp_target_parse_default(const char *text, size_t len, uint16_t default_port,
                             struct sp_target *ret_target)
{
    struct sp_target target = {.port = default_port};
    const char *close, *rest;
    bool bracketed;

    if (!len)
        return false;
    bracketed = text[0] == '[';
    close = bracketed ? memchr(text, ']', len) : NULL;
    rest = close ? close : text;
    if (memchr(rest, ':', len - (size_t)(rest - text)))
        return sp_target_parse(text, len, ret_target, NULL) == SP_OK;
    if (bracketed && (!close || close + 1 != text + len))
        return false;
    if (!parse_host(text + bracketed, len - 2 * (size_t)bracketed, bracketed, &target))
        return false;
    *ret_target = target;
    return true;
}

const char *sp_target_format(const struct sp_target *target, char buf[SP_TARGET_TEXT])
{
    bool brackets = target->is_ip && target->ip.family == 6;
    size_t len = strlen(target->host);

    buf[0] = '[';
    memcpy(buf + brackets, target->host, len);
    len += brackets;
    if (brackets)
        buf[len++] = ']';
    put_port(buf + len, target->port);
    return buf;
}
