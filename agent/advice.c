#include "agent/advice.h"

#include "agent/uplink.h"

#include <string.h>

#define ASK "Ask your administrator."

const char *agent_advice_state(enum agent_state state)
{
    static const char *const sentences[AGENT_STATE_COUNT] = {
        [AGENT_STATE_STARTING] = "Wait a few seconds.",
        [AGENT_STATE_UP] = "",
        [AGENT_STATE_UP_UNVALIDATED] =
            "Tell your administrator: the gateway's certificate did not pass its checks, and the "
            "configuration lets it be used all the same.",
        [AGENT_STATE_CLIENT_CERTIFICATE_EXPIRING] =
            "Have this device's certificate renewed before it expires.",
        [AGENT_STATE_NO_NETWORK] = "Connect this device to a network: cable, Wi-Fi or mobile.",
        [AGENT_STATE_DNS_FAILURE] =
            "Check that other names can be resolved on this network; if none can, join the network "
            "again.",
        [AGENT_STATE_CAPTIVE_PORTAL] =
            "Open a browser, log in to this network's own page, and try again.",
        [AGENT_STATE_PORT_BLOCKED] =
            "This network lets nothing through to the gateway: use another network, or ask whoever "
            "runs it to allow the gateway's address and port.",
        [AGENT_STATE_GATEWAY_DOWN] =
            "Wait a minute and try again; if it lasts, tell your administrator.",
        [AGENT_STATE_TLS_INSPECTION] =
            "Something on this network opens encrypted connections, so nothing is sent: use "
            "another network, or ask whoever runs this one to exempt the gateway.",
        [AGENT_STATE_CLOCK_SKEW] = "Set this device's clock: date, time and time zone.",
        [AGENT_STATE_GATEWAY_REFUSED] =
            "Tell your administrator: what answered is not the gateway that is trusted, so nothing "
            "is sent to it.",
        [AGENT_STATE_PROXY_REFUSED] =
            "Ask whoever runs this network's proxy to let the gateway's address and port through.",
        [AGENT_STATE_CLIENT_CERTIFICATE_REFUSED] =
            "Ask your administrator for a new certificate for this device.",
    };

    return state < AGENT_STATE_COUNT && sentences[state] ? sentences[state] : "";
}

struct row {
    const char *error;
    const char *sentence;
};

static const char *find(const struct row *rows, const char *error)
{
    while (rows->error && strcmp(rows->error, error) != 0)
        rows++;
    return rows->sentence;
}

/* The way to the gateway is missing. */
static const struct row no_tunnel_rows[] = {
    {"tls_certificate_error",
     "Do not go on: what answered is not the gateway that is trusted. Try another network; if it "
     "lasts, tell your administrator."},
    {"tls_alert_received", "The gateway did not accept this device. Ask your administrator."},
    {"tls_protocol_error",
     "Something between this device and the gateway is in the way: try another network, or log in "
     "to this one's own page in a browser."},
    {"dns_error", "Check this device's network connection, then try again."},
    {"dns_timeout", "Check this device's network connection, then try again."},
    {"connection_limit_reached", "Close what you do not need, or try again in a moment."},
    {NULL, "Check this device's network connection and try again in a minute; if it lasts, tell "
           "your administrator."},
};

static const struct row rows[] = {
    {"http_request_denied",
     "Your organisation does not allow this destination. If you need it, ask your "
     "administrator."},
    {"destination_ip_prohibited",
     "The name leads to an address that is not allowed. Check the name; if it is right, ask your "
     "administrator."},
    {"dns_error", "Check the spelling of the name."},
    {"dns_timeout", "Try again in a moment: the name could not be looked up in time."},
    {"destination_unavailable", "Try again in a moment; if it lasts, the destination is down."},
    {"destination_not_found", "Check the spelling of the name."},
    {"destination_ip_unroutable", "The destination cannot be reached from the gateway. " ASK},
    {"connection_refused",
     "Nothing serves that port at the destination: check the port, or ask whoever runs it."},
    {"connection_timeout", "Try again in a moment; if it lasts, the destination is down."},
    {"connection_terminated", "Try again."},
    {"connection_limit_reached", "Close what you do not need, or try again in a moment."},
    {"http_protocol_error",
     "The server's answer is malformed. Try again; if it lasts, tell whoever runs the server."},
    {"http_request_error",
     "The program that asked did so in a way that cannot be passed on: check its proxy settings."},
    {"socks_login_refused", "Check the user name and the password in the program's settings."},
    {"proxy_configuration_error", ASK},
    {"proxy_internal_error", ASK},
    {NULL, ASK},
};

const char *agent_advice_refusal(const struct agent_refusal *refusal)
{
    if (refusal->status == 404 || refusal->status == 421) /* of the door's own pages */
        return "The agent's own pages are served at the address of its door, as in "
               "http://127.0.0.1:3128/ for its status.";
    return find(refusal->no_tunnel ? no_tunnel_rows : rows, refusal->error);
}
