#include "gateway/acl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum rule_kind { RULE_ANY_NAME, RULE_NAME, RULE_BELOW, RULE_ADDRESS };

struct rule {
    enum rule_kind kind;
    uint16_t port;       /* 0: any */
    char *name;          /* NAME, BELOW: folded, without the "*." */
    struct sp_cidr cidr; /* ADDRESS */
    char *text;          /* as written */
};

struct gw_acl {
    size_t count;
    struct rule rules[];
};

/* ---- parsing ---- */

static enum sp_err parse_port(const char *text, uint16_t *ret_port, struct sp_error *err)
{
    unsigned long value = 0;
    size_t len = strlen(text);

    *ret_port = 0;
    if (!strcmp(text, "*"))
        return SP_OK;
    if (len >= 1 && len <= 5 && strspn(text, "0123456789") == len && text[0] != '0')
        value = strtoul(text, NULL, 10);
    if (value < 1 || value > 65535)
        return sp_error_set(err, SP_ERR_CONFIG, "port \"%.20s\" is neither 1..65535 nor \"*\"",
                            text);
    *ret_port = (uint16_t)value;
    return SP_OK;
}

static enum sp_err parse_address(const char *text, size_t len, struct rule *rule,
                                 struct sp_error *err)
{
    rule->kind = RULE_ADDRESS;
    return sp_cidr_parse(text, len, &rule->cidr, err);
}

static enum sp_err parse_bracketed(const char *text, size_t len, struct rule *rule,
                                   struct sp_error *err)
{
    if (len < 3 || text[len - 1] != ']')
        return sp_error_set(err, SP_ERR_CONFIG,
                            "\"[\" needs its \"]\" right before \":port\", and a prefix inside: "
                            "[2001:db8::/32]:443");
    if (!memchr(text, ':', len - 1))
        return sp_error_set(err, SP_ERR_CONFIG,
                            "brackets are for IPv6: write 10.1.0.0/16:443 or db.example:443");
    return parse_address(text + 1, len - 2, rule, err);
}

/* Text of digits, dots and a slash was meant as an address: its errors should speak of one. */
static bool looks_like_ipv4(const char *text, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++)
        if (!strchr("0123456789./", text[i]))
            return false;
    return len > 0;
}

static enum sp_err parse_name(const char *text, size_t len, struct rule *rule, struct sp_error *err)
{
    bool below = len > 2 && text[0] == '*' && text[1] == '.';
    char folded[SP_HOST_MAX + 1];

    if (len == 1 && text[0] == '*') {
        rule->kind = RULE_ANY_NAME;
        return SP_OK;
    }
    rule->kind = below ? RULE_BELOW : RULE_NAME;
    if (below) {
        text += 2;
        len -= 2;
    }
    if (memchr(text, '*', len))
        return sp_error_set(err, SP_ERR_CONFIG,
                            "\"*\" stands alone or as the whole first label: *.acme.example:443");
    if (memchr(text, '/', len))
        return sp_error_set(err, SP_ERR_CONFIG,
                            "a prefix needs an address before it, as in 10.1.0.0/16:443");
    if (!sp_host_fold(text, len, folded))
        return sp_error_set(err, SP_ERR_CONFIG, "\"%.*s\" is not a host name", (int)len, text);
    rule->name = sp_strdup(folded);
    return SP_OK;
}

static enum sp_err parse_rule(const char *text, struct rule *rule, struct sp_error *err)
{
    const char *colon = strrchr(text, ':');
    const char *close = strrchr(text, ']');
    enum sp_err rc;
    size_t len;

    if (!colon || (close && colon < close))
        return sp_error_set(err, SP_ERR_CONFIG,
                            "no port in it: wanted host:port, or host:* for every port");
    len = (size_t)(colon - text);
    if (!len)
        return sp_error_set(err, SP_ERR_CONFIG, "no host in it: wanted host:port");
    rc = parse_port(colon + 1, &rule->port, err);
    if (rc != SP_OK)
        return rc;
    if (text[0] == '[')
        rc = parse_bracketed(text, len, rule, err);
    else if (memchr(text, ':', len))
        return sp_error_set(err, SP_ERR_CONFIG,
                            "an IPv6 address goes in brackets, as in [::1]:443");
    else if (looks_like_ipv4(text, len))
        rc = parse_address(text, len, rule, err);
    else
        rc = parse_name(text, len, rule, err);
    if (rc == SP_OK)
        rule->text = sp_strdup(text);
    return rc;
}

enum sp_err gw_acl_parse(const char *const *rules, size_t count, struct gw_acl **ret_acl,
                         size_t *ret_bad, struct sp_error *err)
{
    struct gw_acl *acl = sp_calloc(1, sizeof *acl + count * sizeof acl->rules[0]);
    enum sp_err rc;

    for (; acl->count < count; acl->count++) {
        rc = parse_rule(rules[acl->count], &acl->rules[acl->count], err);
        if (rc != SP_OK) {
            *ret_bad = acl->count;
            gw_acl_free(acl);
            return rc;
        }
    }
    *ret_acl = acl;
    return SP_OK;
}

void gw_acl_free(struct gw_acl *acl)
{
    size_t i;

    if (!acl)
        return;
    for (i = 0; i < acl->count; i++) {
        free(acl->rules[i].name);
        free(acl->rules[i].text);
    }
    free(acl);
}

/* ---- judging ---- */

static bool port_matches(const struct rule *rule, uint16_t port)
{
    return !rule->port || rule->port == port;
}

static bool name_matches(const struct rule *rule, const struct sp_target *target)
{
    size_t host_len, name_len;

    if (target->is_ip || !port_matches(rule, target->port))
        return false;
    switch (rule->kind) {
    case RULE_ANY_NAME:
        return true;
    case RULE_NAME:
        return !strcmp(rule->name, target->host);
    case RULE_BELOW:
        host_len = strlen(target->host);
        name_len = strlen(rule->name);
        /* At least one byte and the dot must stand before it. */
        return host_len > name_len + 1 && target->host[host_len - name_len - 1] == '.' &&
               !strcmp(target->host + host_len - name_len, rule->name);
    case RULE_ADDRESS:
        break;
    }
    return false;
}

static bool address_matches(const struct rule *rule, const struct sp_ip *ip, uint16_t port)
{
    return rule->kind == RULE_ADDRESS && port_matches(rule, port) &&
           sp_cidr_contains(&rule->cidr, ip);
}

enum gw_acl_request gw_acl_check_request(const struct gw_acl *acl, const struct sp_target *target)
{
    const struct rule *rule;
    size_t i;

    for (i = 0; i < acl->count; i++) {
        rule = &acl->rules[i];
        if (target->is_ip ? address_matches(rule, &target->ip, target->port)
                          : name_matches(rule, target))
            return GW_ACL_MAYBE;
        /* A name may turn out to have an address that this rule names. */
        if (!target->is_ip && rule->kind == RULE_ADDRESS && port_matches(rule, target->port))
            return GW_ACL_MAYBE;
    }
    return GW_ACL_DENY;
}

static const struct rule *deciding_rule(const struct gw_acl *acl, const struct sp_target *target,
                                        const struct sp_ip *ip, bool names_count)
{
    size_t i;

    for (i = 0; i < acl->count; i++)
        if (address_matches(&acl->rules[i], ip, target->port) ||
            (names_count && name_matches(&acl->rules[i], target)))
            return &acl->rules[i];
    return NULL;
}

void gw_acl_check_address(const struct gw_acl *acl, const struct sp_target *target,
                          const struct sp_ip *ip, struct gw_acl_answer *ret_answer)
{
    struct gw_acl_answer *answer = ret_answer;
    const struct rule *rule = NULL;
    char ip_text[SP_IP_TEXT];
    char target_text[SP_TARGET_TEXT];

    *answer = (struct gw_acl_answer){.ip_class = sp_ip_classify(ip)};
    /* A literal address resolves to itself; another one here would be dialled unasked. */
    if (target->is_ip && !sp_ip_equal(&target->ip, ip)) {
        snprintf(answer->text, sizeof answer->text, "%s is not the address asked for",
                 sp_ip_format(ip, ip_text));
        return;
    }
    rule = deciding_rule(acl, target, ip, answer->ip_class == SP_IP_GLOBAL);
    if (rule) {
        answer->allowed = true;
        answer->rule = rule->text;
    } else if (answer->ip_class == SP_IP_GLOBAL) {
        snprintf(answer->text, sizeof answer->text, "no egress rule allows %.150s",
                 sp_target_format(target, target_text));
    } else {
        snprintf(answer->text, sizeof answer->text,
                 "%s is a %s address and no egress rule names it with port %u",
                 sp_ip_format(ip, ip_text), sp_ip_class_name(answer->ip_class), target->port);
    }
}

bool gw_acl_rule_is_wide(const struct gw_acl *acl, size_t index)
{
    const struct rule *rule = &acl->rules[index];

    /* Global unicast IPv6 is one /3; IPv4's special blocks are strewn, the first one a /8. */
    return rule->kind == RULE_ADDRESS && rule->cidr.prefix < (rule->cidr.base.family == 4 ? 8 : 3);
}
