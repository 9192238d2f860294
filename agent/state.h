/*
 * state: what the agent says about itself, by name: in `status`, on the status page, in the log's
 * `state` lines. Plain data; any thread.
 */
#ifndef SALLYPORT_AGENT_STATE_H
#define SALLYPORT_AGENT_STATE_H
#include <stdbool.h>
#include <stdint.h>

#define AGENT_STATE_MAP(XX)                                                                        \
    XX(STARTING, "starting") /* or its tunnels have just gone: not known yet */                    \
    XX(UP, "up")                                                                                   \
    XX(UP_UNVALIDATED, "up_unvalidated") /* the gateway failed validation, and policy allows it */ \
    XX(CLIENT_CERTIFICATE_EXPIRING, "client_certificate_expiring") /* up, but not for long */      \
    XX(NO_NETWORK, "no_network")                                                                   \
    XX(DNS_FAILURE, "dns_failure")                                                                 \
    XX(CAPTIVE_PORTAL, "captive_portal")                                                           \
    XX(PORT_BLOCKED, "port_blocked")                                                               \
    XX(GATEWAY_DOWN, "gateway_down")                                                               \
    XX(TLS_INSPECTION, "tls_inspection")                                                           \
    XX(CLOCK_SKEW, "clock_skew")                                                                   \
    XX(GATEWAY_REFUSED, "gateway_refused") /* what none of the others explains */                  \
    XX(PROXY_REFUSED, "proxy_refused")     /* the upstream proxy did not let us through */         \
    XX(CLIENT_CERTIFICATE_REFUSED, "client_certificate_refused")
enum agent_state {
#define XX(id, name) AGENT_STATE_##id,
    AGENT_STATE_MAP(XX)
#undef XX
        AGENT_STATE_COUNT
};
const char *agent_state_name(enum agent_state state);

/* The present state, for people. */
struct agent_state_view {
    enum agent_state state;
    int64_t since;      /* unix seconds */
    char detail[800];   /* what was found, a sentence: names, addresses, times */
    const char *advice; /* what to do about it, a sentence; "" for none. Static. */
};
#endif
