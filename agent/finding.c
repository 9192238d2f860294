#include "agent/finding.h"

#include "common/clock.h"
#include "common/resolve.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SKEW_S 120 /* that an HTTP Date may differ by: it is cut to seconds, and cached by some */

static void set(struct agent_state_view *view, enum agent_state state, const char *advice)
{
    view->state = state;
    view->advice = advice;
    view->detail[0] = '\0';
}

/* Too long names are cut at the end. */
static void SP_PRINTF(2, 3) say(struct agent_state_view *view, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(view->detail, sizeof view->detail, fmt, args);
    va_end(args);
}

/* The address, or where there is none the name. */
static const char *place(const struct agent_failure *f, char buf[SP_TARGET_TEXT])
{
    return f->addr ? sp_addr_format(f->addr, buf) : sp_target_format(f->gateway, buf);
}

/* ---- the network ---- */

static bool is_unreachable(int errno_value)
{
    return errno_value == ENETUNREACH || errno_value == EHOSTUNREACH || errno_value == ENETDOWN ||
           errno_value == EADDRNOTAVAIL;
}

static bool is_loopback(const struct agent_failure *f)
{
    return f->addr && sp_ip_classify(&f->addr->ip) == SP_IP_LOOPBACK;
}

static bool is_no_network(const struct agent_failure *f, const struct agent_evidence *e)
{
    if (is_loopback(f))
        return false;
    if (f->stage == AGENT_STAGE_CONNECT)
        return !e->network.has_address || is_unreachable(e->route_errno);
    if (f->stage == AGENT_STAGE_PROXY)
        return !e->network.has_address && f->why->kind != SP_ERR_DENIED;
    /* A name server on this very machine answers SERVFAIL when it has no network. */
    return f->stage == AGENT_STAGE_RESOLVE &&
           (!e->network.has_address || (!e->network.has_route && !sp_resolve_was_answered(f->why)));
}

static void say_no_network(const struct agent_failure *f, const struct agent_evidence *e,
                           struct agent_state_view *ret)
{
    char text[SP_TARGET_TEXT];

    set(ret, AGENT_STATE_NO_NETWORK, "Connect this machine to a network.");
    if (!e->network.has_address)
        say(ret, "this machine has no network: %s", e->network.found);
    else if (f->stage == AGENT_STAGE_CONNECT)
        say(ret, "this machine has no route to the gateway %s%s", place(f, text),
            e->network.has_route ? "" : ", and no default route");
    else
        say(ret, "this machine has no default route, and no name server answers (%s)",
            f->why->text);
}

static void say_dns(const struct agent_failure *f, struct agent_state_view *ret)
{
    bool answered = sp_resolve_was_answered(f->why);

    set(ret, AGENT_STATE_DNS_FAILURE,
        answered ? "If other names work here, ask your administrator whether the gateway's name is "
                   "right."
                 : "See to the name servers of this network, or try another network.");
    say(ret, "the name of the gateway cannot be looked up: %s", f->why->text);
}

void agent_finding_portal(const struct agent_evidence *e, struct agent_state_view *ret)
{
    set(ret, AGENT_STATE_CAPTIVE_PORTAL,
        "Open the portal's page in a browser and do what it asks for; the tunnel comes up by "
        "itself then.");
    if (e->portal_url[0])
        say(ret, "this network lets nobody out before its sign-in page was seen: %s",
            e->portal_url);
    else
        say(ret, "this network answers in the place of %s: it has a sign-in page of its own",
            e->probe_url);
}

/* ---- TCP ---- */

bool agent_finding_is_tcp(const struct agent_failure *f)
{
    return f->stage == AGENT_STAGE_CONNECT;
}

static bool was_refused(const struct agent_failure *f)
{
    return f->why->kind == SP_ERR_SYS && f->why->code == ECONNREFUSED;
}

bool agent_finding_wants_ports(const struct agent_failure *f)
{
    return f->stage == AGENT_STAGE_CONNECT && f->addr && !was_refused(f);
}

/* What is known of the network apart from the gateway, as the end of a sentence. */
static const char *rest_of_network(const struct agent_evidence *e, char *buf, size_t buf_len)
{
    switch (e->probe) {
    case AGENT_PROBE_GOOD:
        snprintf(buf, buf_len, "; the network itself works (%.120s answers)", e->probe_url);
        break;
    case AGENT_PROBE_FAILED:
        snprintf(buf, buf_len,
                 "; nor does the probe succeed (%.160s), so it may be this "
                 "network's fault",
                 e->probe_text);
        break;
    case AGENT_PROBE_NONE:
    case AGENT_PROBE_PORTAL:
        snprintf(buf, buf_len, "; whether the network itself works is not known");
    }
    return buf;
}

static void say_tcp(const struct agent_failure *f, const struct agent_evidence *e,
                    struct agent_state_view *ret)
{
    char text[SP_TARGET_TEXT], rest[300];

    if (was_refused(f)) {
        set(ret, AGENT_STATE_GATEWAY_DOWN,
            "Nothing can be done here if it is so everywhere; tell your administrator.");
        say(ret,
            "%s refuses connections: its host is there, but no gateway listens at this port (or a "
            "firewall answers in its place)",
            place(f, text));
    } else if (e->other_ports == AGENT_PORTS_ANSWERED) {
        set(ret, AGENT_STATE_PORT_BLOCKED,
            "Try another network, or ask whoever runs this one to let the port through.");
        say(ret,
            "%s cannot be reached (%.160s), but the same host answers at port %u: a firewall on "
            "the "
            "way seems to block port %u",
            place(f, text), f->why->text, (unsigned)e->answered_port, (unsigned)f->addr->port);
    } else {
        set(ret, AGENT_STATE_GATEWAY_DOWN,
            "If other things work here, the gateway's host is down or cannot be reached from this "
            "network: try another one, then tell your administrator.");
        say(ret, "the gateway cannot be reached: %.160s%s%s", f->why->text,
            e->other_ports == AGENT_PORTS_SILENT ? "; other ports of its host do not answer either"
                                                 : "",
            rest_of_network(e, rest, sizeof rest));
    }
}

/* ---- TLS ---- */

static bool is_about_our_certificate(int alert)
{
    return (alert >= 41 && alert <= 46) || alert == 48 || alert == 49 || alert == 51 ||
           alert == 116;
}

static const char *advice_for_alert(int alert, bool has_ended)
{
    if (alert == 45 && has_ended)
        return "Our client certificate has to be renewed: ask your administrator.";
    if (alert == 45)
        return "See to the clock of this machine first; then ask your administrator for a new "
               "client certificate.";
    if (alert == 44)
        return "A revoked certificate does not come back: ask your administrator for a new one.";
    if (alert == 48)
        return "Ask your administrator which CA the client certificate should come from.";
    return "Ask your administrator about the client certificate.";
}

static void say_refused(const struct agent_failure *f, const struct agent_evidence *e,
                        struct agent_state_view *ret)
{
    char until[SP_TIME_LEN], span[SP_TIME_LEN];
    bool has_ended = e->now > e->own_not_after;

    set(ret, AGENT_STATE_CLIENT_CERTIFICATE_REFUSED, advice_for_alert(f->why->code, has_ended));
    say(ret,
        "the gateway refused our client certificate: %.180s (alert %s). Ours is '%.80s', issued by "
        "'%.80s', %s %s (%s%s)",
        sp_alert_sentence(f->why->code, true), sp_alert_name(f->why->code), e->own_subject,
        e->own_issuer, has_ended ? "expired" : "valid until",
        sp_time_format(e->own_not_after, until), sp_time_span(e->now - e->own_not_after, span),
        has_ended ? " ago" : "");
}

static bool has(const struct agent_failure *f, enum sp_reason reason)
{
    return f->verdict && (f->verdict->observed & SP_REASON_BIT(reason));
}

/* Another certificate than ours may have good reasons; but one that nobody we trust has issued,
 * from an address where ours should be, is what an inspecting middlebox shows. */
static bool is_inspection(const struct agent_failure *f, const struct agent_evidence *e)
{
    if (has(f, SP_REASON_UNTRUSTED_ISSUER))
        return true;
    /* A gateway may forget its intermediate, but then the issuer is who it was. */
    return has(f, SP_REASON_MISSING_INTERMEDIATE) && e->last->seen &&
           strcmp(e->last->issuer, f->facts->issuer) != 0;
}

static void say_inspection(const struct agent_failure *f, const struct agent_evidence *e,
                           struct agent_state_view *ret)
{
    char text[SP_TARGET_TEXT], at[SP_TIME_LEN], last[240];

    set(ret, AGENT_STATE_TLS_INSPECTION,
        "Nothing was sent. Something on the way opens TLS connections: use another network, or "
        "have "
        "the gateway exempted from inspection. If the gateway has a new CA, the administrator has "
        "to add it to server_validation.ca_files.");
    if (e->last->seen)
        snprintf(last, sizeof last, "It last passed at %s, issued by '%.110s' (%.23s...)",
                 sp_time_format(e->last->seen, at), e->last->issuer, e->last->fingerprint);
    else
        snprintf(last, sizeof last, "No good one has been seen by this agent yet");
    say(ret, "what answers at %s shows a certificate for %s that %s: '%.110s'. %s", place(f, text),
        has(f, SP_REASON_NAME_MISMATCH) ? "another name" : "the gateway's name",
        f->facts->path_is_trusted ? "a CA we trust, but none of the pinned keys, stands behind"
                                  : "was issued by somebody whom we do not trust",
        f->facts->issuer, last);
}

/* By how much our clock is known to be off (positive: ahead); 0: not known, or not at all. */
static int64_t known_skew(const struct agent_evidence *e)
{
    int64_t skew = e->probe_date ? e->probe_date_at - e->probe_date : 0;

    return skew > SKEW_S || skew < -SKEW_S ? skew : 0;
}

static bool is_early(const struct agent_failure *f)
{
    return has(f, SP_REASON_NOT_YET_VALID);
}

/* Times are all that is wrong, and the clock rather than the certificate is to blame for it. */
static bool is_clock(const struct agent_failure *f, const struct agent_evidence *e)
{
    int64_t skew = known_skew(e);

    if (!is_early(f) && !has(f, SP_REASON_EXPIRED))
        return false;
    if (skew) /* by that other clock it would be in its time */
        return is_early(f) ? skew < 0 : skew > 0;
    if (e->probe_date)
        return false; /* the clock is right */
    if (is_early(f))  /* certificates are not used before they are made */
        return true;
    return f->facts->all_times_off || e->now > e->own_not_after;
}

/* Our own certificate, seen by the same clock. */
static const char *own_times(const struct agent_failure *f, const struct agent_evidence *e)
{
    if (is_early(f) && e->now < e->own_not_before)
        return "; our own certificate is not valid yet either";
    return !is_early(f) && e->now > e->own_not_after ? "; our own certificate has expired too" : "";
}

static void say_clock(const struct agent_failure *f, const struct agent_evidence *e,
                      struct agent_state_view *ret)
{
    char now[SP_TIME_LEN], bound[SP_TIME_LEN], span[SP_TIME_LEN], by[SP_TIME_LEN];
    int64_t edge = is_early(f) ? f->facts->not_before : f->facts->not_after;
    int64_t skew = known_skew(e);
    char why[200];

    set(ret, AGENT_STATE_CLOCK_SKEW, "Set the clock of this machine; the tunnel comes up then.");
    if (skew)
        snprintf(why, sizeof why, "by the clock of %.80s ours is %s %s", e->probe_url,
                 sp_time_span(skew, by), skew > 0 ? "ahead" : "behind");
    else
        snprintf(why, sizeof why, "our clock seems to be %s by %s or more%s",
                 is_early(f) ? "behind" : "ahead", sp_time_span(e->now - edge, by),
                 own_times(f, e));
    say(ret,
        "by the clock of this machine it is %s, and the gateway's certificate %s %s (%s%s): %s",
        sp_time_format(e->now, now), is_early(f) ? "is not valid before" : "expired at",
        sp_time_format(edge, bound), sp_time_span(e->now - edge, span),
        is_early(f) ? " from now" : " ago", why);
}

/* A handshake that was never ended by either side's judgement. */
static void say_stuck(const struct agent_failure *f, struct agent_state_view *ret)
{
    char text[SP_TARGET_TEXT];

    set(ret, AGENT_STATE_GATEWAY_DOWN,
        "If it stays so, tell your administrator; on another network it may work.");
    say(ret, "%s takes connections, but no tunnel comes of them: %.300s", place(f, text),
        f->why->text);
}

static void say_other(const struct agent_failure *f, struct agent_state_view *ret)
{
    char text[SP_TARGET_TEXT];

    set(ret, AGENT_STATE_GATEWAY_REFUSED, "Tell your administrator; the log has all of it.");
    say(ret, "no tunnel to %s: %.380s", place(f, text), f->why->text);
}

static bool is_blocked(const struct agent_failure *f)
{
    return f->verdict && f->verdict->action == SP_ACTION_BLOCK;
}

/* Whatever came after TCP. */
static void say_tls(const struct agent_failure *f, const struct agent_evidence *e,
                    struct agent_state_view *ret)
{
    enum sp_err kind = f->why->kind;

    if (kind == SP_ERR_PEER_ALERT && is_about_our_certificate(f->why->code))
        say_refused(f, e, ret);
    else if (is_blocked(f) && is_inspection(f, e))
        say_inspection(f, e, ret);
    else if (is_blocked(f) && is_clock(f, e))
        say_clock(f, e, ret);
    else if (!is_blocked(f) &&
             (kind == SP_ERR_TIMEOUT || kind == SP_ERR_CLOSED || kind == SP_ERR_SYS))
        say_stuck(f, ret);
    else
        say_other(f, ret);
}

void agent_finding_make(const struct agent_failure *f, const struct agent_evidence *e,
                        struct agent_state_view *ret)
{
    if (is_no_network(f, e)) {
        say_no_network(f, e, ret);
        return;
    }
    if (e->probe == AGENT_PROBE_PORTAL) {
        agent_finding_portal(e, ret);
        return;
    }
    switch (f->stage) {
    case AGENT_STAGE_RESOLVE:
        say_dns(f, ret);
        break;
    case AGENT_STAGE_CONNECT:
        say_tcp(f, e, ret);
        break;
    case AGENT_STAGE_PROXY:
        set(ret, AGENT_STATE_PROXY_REFUSED,
            "See to upstream_proxy in the configuration, and to the login it needs.");
        say(ret, "the upstream proxy %s: %.380s",
            f->why->kind == SP_ERR_DENIED ? "did not let us through" : "is no way to the gateway",
            f->why->text);
        break;
    case AGENT_STAGE_TLS:
    case AGENT_STAGE_ANSWER:
    case AGENT_STAGE_UP:
        say_tls(f, e, ret);
    }
}

/* ---- up ---- */

void agent_finding_up(const struct agent_success *success, const struct agent_evidence *e,
                      int64_t warn_s, struct agent_state_view *ret)
{
    char gateway[SP_TARGET_TEXT], until[SP_TIME_LEN], span[SP_TIME_LEN], own[160] = "";
    bool is_ending = e->now > e->own_not_after - warn_s;
    const struct sp_verdict *verdict = success->verdict;

    sp_target_format(success->gateway, gateway);
    if (is_ending)
        snprintf(own, sizeof own, "our client certificate '%.60s' %s %s (%s%s)", e->own_subject,
                 e->now > e->own_not_after ? "expired" : "expires",
                 sp_time_format(e->own_not_after, until),
                 sp_time_span(e->now - e->own_not_after, span),
                 e->now > e->own_not_after ? " ago" : " from now");
    if (verdict->action != SP_ACTION_ALLOW) {
        set(ret, AGENT_STATE_UP_UNVALIDATED,
            "The configuration allows this; whoever it is at the other end reads what is sent.");
        say(ret, "connected to %s, which failed validation: %s%s%.200s%s%s", gateway,
            sp_reason_name(verdict->reason), success->facts->detail[0] ? ": " : "",
            success->facts->detail, own[0] ? ". And " : "", own);
    } else if (is_ending) {
        set(ret, AGENT_STATE_CLIENT_CERTIFICATE_EXPIRING,
            "Renew the client certificate before its end, or ask your administrator to.");
        say(ret, "connected to %s, but %s", gateway, own);
    } else {
        set(ret, AGENT_STATE_UP, "");
        say(ret, "connected to %s", gateway);
    }
}

/* The more a state says of what can be done here and now, the further to the front. */
bool agent_finding_outweighs(enum agent_state a, enum agent_state b)
{
    static const int rank[AGENT_STATE_COUNT] = {
        [AGENT_STATE_CAPTIVE_PORTAL] = 10,
        [AGENT_STATE_CLIENT_CERTIFICATE_REFUSED] = 9,
        [AGENT_STATE_TLS_INSPECTION] = 8,
        [AGENT_STATE_CLOCK_SKEW] = 7,
        [AGENT_STATE_GATEWAY_REFUSED] = 6,
        [AGENT_STATE_PROXY_REFUSED] = 5,
        [AGENT_STATE_PORT_BLOCKED] = 4,
        [AGENT_STATE_GATEWAY_DOWN] = 3,
        [AGENT_STATE_DNS_FAILURE] = 2,
        [AGENT_STATE_NO_NETWORK] = 1, /* of one family, perhaps */
    };

    return rank[a] > rank[b];
}
