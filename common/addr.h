/*
 * addr: addresses, ports and destinations as text and as values. Pure functions; no I/O, no names
 * are resolved. Everything from a peer is parsed strictly: what is not exactly one of the forms
 * named here is refused, never guessed.
 */
#ifndef SALLYPORT_COMMON_ADDR_H
#define SALLYPORT_COMMON_ADDR_H
#include "common/error.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define SP_HOST_MAX  253 /* RFC 1035: a name in text form */
#define SP_IP_TEXT   46
#define SP_ADDR_TEXT 64 /* "[ipv6]:port" */

struct sp_ip {
    uint8_t family;    /* 4 or 6 */
    uint8_t bytes[16]; /* network order; IPv4 in the first four */
};

struct sp_addr { /* an IP address with a port */
    struct sp_ip ip;
    uint16_t port; /* host order */
};

struct sp_cidr {
    struct sp_ip base; /* host bits are zero */
    uint8_t prefix;
};

/* Where a channel goes: a name or an address, and a port. */
struct sp_target {
    char host[SP_HOST_MAX + 1]; /* lower case, no trailing dot, no brackets; address: canonical */
    bool is_ip;
    struct sp_ip ip; /* if is_ip */
    uint16_t port;   /* 1..65535 */
};

/* Strict textual forms: "192.0.2.1" (four decimal octets, no leading zeros), RFC 4291 for IPv6,
 * no zone. False: not an address. len is the length of text (no NUL needed). */
bool sp_ip_parse(const char *text, size_t len, struct sp_ip *ret_ip);
const char *sp_ip_format(const struct sp_ip *ip, char buf[SP_IP_TEXT]); /* RFC 5952 */
bool sp_ip_equal(const struct sp_ip *a, const struct sp_ip *b);
/* A v4-mapped address (::ffff:192.0.2.1) as the IPv4 it carries; any other as it is. */
struct sp_ip sp_ip_unmap(const struct sp_ip *ip);

/* "192.0.2.1:443", "[2001:db8::1]:443"; port 0 is allowed (bind to any). */
SP_MUST_USE enum sp_err sp_addr_parse(const char *text, struct sp_addr *ret_addr,
                                      struct sp_error *err);
const char *sp_addr_format(const struct sp_addr *addr, char buf[SP_ADDR_TEXT]);
socklen_t sp_addr_to_sockaddr(const struct sp_addr *addr, struct sockaddr_storage *ret_sa);
bool sp_addr_from_sockaddr(const struct sockaddr *sa, struct sp_addr *ret_addr);

/* "10.1.0.0/16", "2001:db8::/32", or a single address (prefix 32/128). Host bits set: error. */
SP_MUST_USE enum sp_err sp_cidr_parse(const char *text, size_t len, struct sp_cidr *ret_cidr,
                                      struct sp_error *err);
/* An IPv4-mapped IPv6 address is compared as the IPv4 address it stands for. */
bool sp_cidr_contains(const struct sp_cidr *cidr, const struct sp_ip *ip);

/* A host name as a client may write it: letters, digits, '-', '_', dots between labels of 1..63,
 * whole at most 253, one trailing dot folded away, upper case folded. Refused: empty, an address in
 * any form, a last label that is all digits or starts with 0x (inet_aton spellings: "127.1",
 * "0x7f.1", "2130706433"). Writes the folded form. */
bool sp_host_fold(const char *text, size_t len, char ret_host[SP_HOST_MAX + 1]);

/* RFC 9110 authority-form of CONNECT: "host:port", "192.0.2.1:port", "[v6]:port". Refused: user
 * info, zone id, no port, port 0 or above 65535, signs, spaces, NUL. len: no NUL needed.
 * SP_ERR_HTTP. */
SP_MUST_USE enum sp_err sp_target_parse(const char *text, size_t len, struct sp_target *ret_target,
                                        struct sp_error *err);
/* The same, where the port may be left out, as in Host and in URLs: then it is that one. */
bool sp_target_parse_default(const char *text, size_t len, uint16_t default_port,
                             struct sp_target *ret_target);
/* "host:port" or "[v6]:port"; buf of SP_HOST_MAX + 10. Returns buf. */
#define SP_TARGET_TEXT (SP_HOST_MAX + 10)
const char *sp_target_format(const struct sp_target *target, char buf[SP_TARGET_TEXT]);

/* What an address is for, so that egress can tell ordinary destinations from those that need an
 * address rule of their own. Addresses that carry an IPv4 address (v4-mapped, v4-compatible,
 * NAT64 64:ff9b::/96 and 64:ff9b:1::/48, 6to4 2002::/16, Teredo) are judged by that one, and are
 * never better than it. */
enum sp_ip_class {
    SP_IP_GLOBAL, /* ordinary unicast */
    SP_IP_LOOPBACK,
    SP_IP_LINK_LOCAL, /* 169.254/16, fe80::/10 */
    SP_IP_PRIVATE,    /* RFC 1918, 100.64/10, fc00::/7, fec0::/10 */
    SP_IP_MULTICAST,  /* with broadcast */
    SP_IP_METADATA,   /* 169.254.169.254, fd00:ec2::254, 168.63.129.16, 100.100.100.200, ... */
    SP_IP_RESERVED,   /* 0/8, 192.0.0/24, 192.0.2/24, 198.18/15, 240/4, ::, 2001:db8::/32, ... */
};
enum sp_ip_class sp_ip_classify(const struct sp_ip *ip);
const char *sp_ip_class_name(enum sp_ip_class c); /* "loopback", "link-local", ... */
#endif
