/* The second half of addr.h: what an address is for. */
#include "common/addr.h"

#include <string.h>

struct class_row {
    struct sp_cidr net;
    enum sp_ip_class cls;
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* IANA's special-purpose registry, and what clouds answer metadata requests on. The first match
 * wins, so single addresses stand before the networks around them. */
static const struct class_row v4_rows[] = {
    {{{4, {169, 254, 169, 254}}, 32}, SP_IP_METADATA}, /* AWS, Azure, GCP, OCI, OpenStack, ... */
    {{{4, {169, 254, 170, 2}}, 32}, SP_IP_METADATA},   /* AWS ECS task credentials */
    {{{4, {169, 254, 170, 23}}, 32}, SP_IP_METADATA},  /* AWS EKS pod identity */
    {{{4, {169, 254, 42, 42}}, 32}, SP_IP_METADATA},   /* Scaleway */
    {{{4, {169, 254, 0, 23}}, 32}, SP_IP_METADATA},    /* Tencent */
    {{{4, {168, 63, 129, 16}}, 32}, SP_IP_METADATA},   /* Azure's host agent, in public space */
    {{{4, {100, 100, 100, 200}}, 32}, SP_IP_METADATA}, /* Alibaba */
    {{{4, {192, 0, 0, 192}}, 32}, SP_IP_METADATA},     /* Oracle Cloud Classic */
    {{{4, {0}}, 8}, SP_IP_RESERVED},                   /* Linux connects 0.0.0.0 to loopback */
    {{{4, {10}}, 8}, SP_IP_PRIVATE},
    {{{4, {100, 64}}, 10}, SP_IP_PRIVATE}, /* RFC 6598, shared by carriers */
    {{{4, {127}}, 8}, SP_IP_LOOPBACK},
    {{{4, {169, 254}}, 16}, SP_IP_LINK_LOCAL},
    {{{4, {172, 16}}, 12}, SP_IP_PRIVATE},
    {{{4, {192, 0, 0}}, 24}, SP_IP_RESERVED},
    {{{4, {192, 0, 2}}, 24}, SP_IP_RESERVED},   /* documentation, with the two below */
    {{{4, {192, 88, 99}}, 24}, SP_IP_RESERVED}, /* RFC 7526: former 6to4 relays */
    {{{4, {192, 168}}, 16}, SP_IP_PRIVATE},
    {{{4, {198, 18}}, 15}, SP_IP_RESERVED}, /* benchmarks */
    {{{4, {198, 51, 100}}, 24}, SP_IP_RESERVED},
    {{{4, {203, 0, 113}}, 24}, SP_IP_RESERVED},
    {{{4, {224}}, 4}, SP_IP_MULTICAST},
    {{{4, {255, 255, 255, 255}}, 32}, SP_IP_MULTICAST},
    {{{4, {240}}, 4}, SP_IP_RESERVED},
};

static const struct class_row v6_rows[] = {
    {{{6, {0xfd, 0, 0x0e, 0xc2, [14] = 2, 0x54}}, 128}, SP_IP_METADATA},         /* AWS */
    {{{6, {0xfd, 0, 0x0e, 0xc2, [15] = 0x23}}, 128}, SP_IP_METADATA},            /* AWS EKS */
    {{{6, {0xfd, 0x20, 0, 0xce, [14] = 2, 0x54}}, 128}, SP_IP_METADATA},         /* GCP */
    {{{6, {0xfd, 0, 0, 0x42, [15] = 0x42}}, 128}, SP_IP_METADATA},               /* Scaleway */
    {{{6, {0xfd, 0, 0, 0xc1, [12] = 169, 254, 169, 254}}, 128}, SP_IP_METADATA}, /* OCI */
    {{{6, {0xfe, 0x80, [12] = 169, 254, 169, 254}}, 128}, SP_IP_METADATA},       /* OpenStack */
    {{{6, {0}}, 128}, SP_IP_RESERVED}, /* Linux connects :: to loopback */
    {{{6, {[15] = 1}}, 128}, SP_IP_LOOPBACK},
    {{{6, {0xfc}}, 7}, SP_IP_PRIVATE},
    {{{6, {0xfe, 0x80}}, 10}, SP_IP_LINK_LOCAL},
    {{{6, {0xfe, 0xc0}}, 10}, SP_IP_PRIVATE}, /* RFC 3879: site-local, retired but routable */
    {{{6, {0xff}}, 8}, SP_IP_MULTICAST},
    {{{6, {0x20, 1}}, 32}, SP_IP_GLOBAL},               /* Teredo: judged by what it carries */
    {{{6, {0x20, 1}}, 23}, SP_IP_RESERVED},             /* IETF protocol assignments */
    {{{6, {0x20, 1, 0x0d, 0xb8}}, 32}, SP_IP_RESERVED}, /* documentation */
    {{{6, {0x3f, 0xff}}, 20}, SP_IP_RESERVED},          /* RFC 9637: documentation */
    {{{6, {0x20}}, 3}, SP_IP_GLOBAL},                   /* all that IANA has given out so far */
};

/* IPv6 networks whose addresses do nothing but carry an IPv4 one, and where in them it stands.
 * v4-mapped is not here: sp_cidr_contains sees through it. */
static const struct {
    struct sp_cidr net;
    uint8_t offset;
} carriers[] = {
    {{{6, {[8] = 0xff, 0xff}}, 96}, 12},    /* ::ffff:0:a.b.c.d, RFC 2765 translation */
    {{{6, {0}}, 96}, 12},                   /* ::a.b.c.d, v4-compatible */
    {{{6, {0, 0x64, 0xff, 0x9b}}, 96}, 12}, /* NAT64 */
    {{{6, {0x20, 2}}, 16}, 2},              /* 6to4 */
};

static const struct sp_cidr any_v4 = {{4, {0}}, 0};
static const struct sp_cidr unspecified_and_loopback = {{6, {0}}, 127};
static const struct sp_cidr local_nat64 = {{6, {0, 0x64, 0xff, 0x9b, 0, 1}}, 48};
static const struct sp_cidr teredo = {{6, {0x20, 1}}, 32};

/* The one of two that is worse to reach by mistake. */
static enum sp_ip_class worse(enum sp_ip_class a, enum sp_ip_class b)
{
    static const uint8_t ranks[] = {
        [SP_IP_GLOBAL] = 0,     [SP_IP_RESERVED] = 1, [SP_IP_MULTICAST] = 2, [SP_IP_PRIVATE] = 3,
        [SP_IP_LINK_LOCAL] = 4, [SP_IP_LOOPBACK] = 5, [SP_IP_METADATA] = 6,
    };

    return ranks[a] >= ranks[b] ? a : b;
}

static enum sp_ip_class look_up(const struct sp_ip *ip, const struct class_row *rows, size_t count,
                                enum sp_ip_class otherwise)
{
    for (size_t i = 0; i < count; i++)
        if (sp_cidr_contains(&rows[i].net, ip))
            return rows[i].cls;
    return otherwise;
}

static enum sp_ip_class classify_v4(const struct sp_ip *ip)
{
    return look_up(ip, v4_rows, COUNT(v4_rows), SP_IP_GLOBAL);
}

/* The class of the IPv4 address at an offset inside an IPv6 one. */
static enum sp_ip_class classify_embedded(const struct sp_ip *ip, size_t offset)
{
    struct sp_ip v4 = {.family = 4};

    memcpy(v4.bytes, ip->bytes + offset, 4);
    return classify_v4(&v4);
}

/* RFC 8215 leaves the length of the NAT64 prefix inside 64:ff9b:1::/48 to the operator, and RFC
 * 6052 puts the IPv4 address elsewhere for each length. All places are judged and the worst counts.
 * A place that begins with 0 holds no address: no translator delivers to 0.0.0.0/8. */
static enum sp_ip_class classify_local_nat64(const struct sp_ip *ip)
{
    const uint8_t *b = ip->bytes;
    const struct sp_ip places[] = {
        {4, {b[6], b[7], b[9], b[10]}},    /* /48 */
        {4, {b[7], b[9], b[10], b[11]}},   /* /56 */
        {4, {b[9], b[10], b[11], b[12]}},  /* /64 */
        {4, {b[12], b[13], b[14], b[15]}}, /* /96 */
    };
    enum sp_ip_class result = SP_IP_GLOBAL;
    bool found = false;

    for (size_t i = 0; i < COUNT(places); i++) {
        if (!places[i].bytes[0])
            continue;
        found = true;
        result = worse(result, classify_v4(&places[i]));
    }
    return found ? result : SP_IP_RESERVED;
}

/* RFC 4380: the server's address, then the client's with all bits inverted. */
static enum sp_ip_class classify_teredo(const struct sp_ip *ip)
{
    struct sp_ip client = {.family = 4};

    for (size_t i = 0; i < 4; i++)
        client.bytes[i] = ip->bytes[12 + i] ^ 0xff;
    return worse(classify_embedded(ip, 4), classify_v4(&client));
}

static bool is_isatap(const struct sp_ip *ip)
{
    /* RFC 5214: the interface identifier is [02]00:5efe and the IPv4 address, under any prefix. */
    return !(ip->bytes[8] & ~2) && !ip->bytes[9] && ip->bytes[10] == 0x5e && ip->bytes[11] == 0xfe;
}

enum sp_ip_class sp_ip_classify(const struct sp_ip *ip)
{
    enum sp_ip_class result;

    if (sp_cidr_contains(&any_v4, ip)) /* v4-mapped too */
        return classify_v4(ip);
    if (!sp_cidr_contains(&unspecified_and_loopback, ip)) /* lie in, but are not v4-compatible */
        for (size_t i = 0; i < COUNT(carriers); i++)
            if (sp_cidr_contains(&carriers[i].net, ip))
                return classify_embedded(ip, carriers[i].offset);
    if (sp_cidr_contains(&local_nat64, ip))
        return classify_local_nat64(ip);
    result = look_up(ip, v6_rows, COUNT(v6_rows), SP_IP_RESERVED);
    if (sp_cidr_contains(&teredo, ip))
        return worse(result, classify_teredo(ip));
    return is_isatap(ip) ? worse(result, classify_embedded(ip, 12)) : result;
}

const char *sp_ip_class_name(enum sp_ip_class c)
{
    switch (c) {
    case SP_IP_GLOBAL:
        return "global";
    case SP_IP_LOOPBACK:
        return "loopback";
    case SP_IP_LINK_LOCAL:
        return "link-local";
    case SP_IP_PRIVATE:
        return "private";
    case SP_IP_MULTICAST:
        return "multicast";
    case SP_IP_METADATA:
        return "metadata";
    case SP_IP_RESERVED:
        return "reserved";
    }
    return "unknown";
}
