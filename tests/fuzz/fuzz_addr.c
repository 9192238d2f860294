/* addr: any text as an address, a network, a host and a destination. */
#include "common/addr.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* The C library's opinion about what an address is. */
static bool libc_ip(const char *text, size_t len, struct sp_ip *ret_ip)
{
    char copy[64];

    *ret_ip = (struct sp_ip){.family = 4};
    if (len >= sizeof copy || memchr(text, '\0', len))
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (inet_pton(AF_INET, copy, ret_ip->bytes) == 1)
        return true;
    ret_ip->family = 6;
    return inet_pton(AF_INET6, copy, ret_ip->bytes) == 1;
}

static void check_ip(const char *text, size_t len)
{
    struct sp_ip ip, other;
    struct sp_addr addr, back;
    struct sockaddr_storage sa;
    char formatted[SP_IP_TEXT];
    bool ok = sp_ip_parse(text, len, &ip);

    SP_REQUIRE(ok == libc_ip(text, len, &other));
    if (!ok)
        return;
    SP_REQUIRE(sp_ip_equal(&ip, &other));
    sp_ip_format(&ip, formatted);
    SP_REQUIRE(sp_ip_parse(formatted, strlen(formatted), &other) && sp_ip_equal(&ip, &other));
    SP_REQUIRE(sp_ip_class_name(sp_ip_classify(&ip))[0]);
    addr = (struct sp_addr){.ip = ip, .port = 443};
    SP_REQUIRE(sp_addr_to_sockaddr(&addr, &sa) > 0);
    SP_REQUIRE(sp_addr_from_sockaddr((const struct sockaddr *)&sa, &back));
    SP_REQUIRE(sp_ip_equal(&back.ip, &ip) && back.port == 443);
    SP_REQUIRE(!sp_host_fold(text, len, (char[SP_HOST_MAX + 1]){0}));
}

static void check_addr(const char *text)
{
    struct sp_addr addr, again;
    struct sp_error err;
    char formatted[SP_ADDR_TEXT];

    if (sp_addr_parse(text, &addr, &err) != SP_OK)
        return;
    sp_addr_format(&addr, formatted);
    SP_REQUIRE(sp_addr_parse(formatted, &again, &err) == SP_OK);
    SP_REQUIRE(sp_ip_equal(&addr.ip, &again.ip) && addr.port == again.port);
}

static void check_cidr(const char *text, size_t len)
{
    struct sp_cidr cidr;
    struct sp_error err;

    if (sp_cidr_parse(text, len, &cidr, &err) != SP_OK)
        return;
    SP_REQUIRE(cidr.prefix <= (cidr.base.family == 4 ? 32 : 128));
    SP_REQUIRE(sp_cidr_contains(&cidr, &cidr.base));
}

static void check_host(const char *text, size_t len)
{
    char host[SP_HOST_MAX + 1], again[SP_HOST_MAX + 1];

    if (!sp_host_fold(text, len, host))
        return;
    SP_REQUIRE(strlen(host) >= 1 && strlen(host) <= len);
    SP_REQUIRE(sp_host_fold(host, strlen(host), again) && strcmp(host, again) == 0);
    /* No resolver may take a name for an address. */
    SP_REQUIRE(inet_addr(host) == INADDR_NONE);
}

static void check_target(const char *text, size_t len)
{
    struct sp_target target, again;
    struct sp_error err;
    char formatted[SP_TARGET_TEXT], host[SP_HOST_MAX + 1];

    if (sp_target_parse(text, len, &target, &err) != SP_OK) {
        SP_REQUIRE(err.text[0]);
        for (const char *c = err.text; *c; c++)
            SP_REQUIRE((unsigned char)*c >= ' ' && *c != 0x7f);
        return;
    }
    SP_REQUIRE(target.port > 0 && target.host[0]);
    SP_REQUIRE(target.is_ip != sp_host_fold(target.host, strlen(target.host), host));
    sp_target_format(&target, formatted);
    SP_REQUIRE(sp_target_parse(formatted, strlen(formatted), &again, &err) == SP_OK);
    SP_REQUIRE(strcmp(target.host, again.host) == 0 && target.port == again.port &&
               target.is_ip == again.is_ip);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const char *bytes = (const char *)data;
    char *text = malloc(len + 1);

    if (len)
        memcpy(text, data, len);
    text[len] = '\0';
    check_ip(bytes, len);
    check_addr(text);
    check_cidr(bytes, len);
    check_host(bytes, len);
    check_target(bytes, len);
    free(text);
    return 0;
}
