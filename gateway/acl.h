/*
 * acl: a tenant's egress rules: which destinations its channels may reach.
 *
 * A rule is "what:port", port 1..65535 or "*":
 *     db.acme.example:5432     that name
 *     *.acme.example:443       every name below acme.example, at any depth, not itself
 *     *:443                    every name
 *     10.1.0.0/16:*            addresses; 127.0.0.1:8080 one address
 *     [2001:db8::/32]:443      IPv6 in brackets, with the prefix inside
 * Nothing is allowed that no rule names. Name rules reach ordinary (global unicast) addresses only:
 * a loopback, link-local, private, multicast, metadata or reserved address needs a rule that names
 * the address, whatever name led to it, so that DNS cannot turn a name rule against the gateway's
 * own network (invariant 8). An address asked for literally is matched by address rules only.
 *
 * Immutable once parsed; pure functions; thread-safe.
 */
#ifndef SALLYPORT_GATEWAY_ACL_H
#define SALLYPORT_GATEWAY_ACL_H
#include "common/addr.h"
#include "common/error.h"

struct gw_acl; /* opaque; one owner: its tenant */

/* On failure *ret_bad is the index of the rule that is wrong and err says what is wanted (the
 * caller adds the place). */
SP_MUST_USE enum sp_err gw_acl_parse(const char *const *rules, size_t count,
                                     struct gw_acl **ret_acl, size_t *ret_bad,
                                     struct sp_error *err);
void gw_acl_free(struct gw_acl *acl); /* NULL is fine */

enum gw_acl_request {
    GW_ACL_DENY,  /* no rule can ever allow it: refuse before resolving */
    GW_ACL_MAYBE, /* resolve it and ask gw_acl_check_address for every address */
};
enum gw_acl_request gw_acl_check_request(const struct gw_acl *acl, const struct sp_target *target);

struct gw_acl_answer {
    bool allowed;
    enum sp_ip_class ip_class; /* of the address that was judged */
    const char *rule;          /* the rule that allowed it, as written; borrowed; else NULL */
    char text[192];            /* why not, for the log and the refusal: one fragment; else "" */
};

/* May a channel that asked for `target` be carried to `ip`, one of its addresses? */
void gw_acl_check_address(const struct gw_acl *acl, const struct sp_target *target,
                          const struct sp_ip *ip, struct gw_acl_answer *ret_answer);

/* True for an address rule so wide that it opens loopback, private and metadata addresses along
 * with the internet ("0.0.0.0/0:443"): worth a warning, since "*:443" was probably meant. */
bool gw_acl_rule_is_wide(const struct gw_acl *acl, size_t index);
#endif
