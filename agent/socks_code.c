#include "agent/socks_code.h"

#include "agent/uplink.h"

#include <string.h>

enum sp_socks5_code agent_socks_code(const struct agent_refusal *refusal)
{
    static const struct {
        const char *error;
        enum sp_socks5_code code;
    } rows[] = {
        {"http_request_denied", SP_SOCKS5_NOT_ALLOWED},
        {"destination_ip_prohibited", SP_SOCKS5_NOT_ALLOWED},
        {"dns_error", SP_SOCKS5_HOST_UNREACHABLE},
        {"dns_timeout", SP_SOCKS5_HOST_UNREACHABLE},
        {"destination_not_found", SP_SOCKS5_HOST_UNREACHABLE},
        {"destination_unavailable", SP_SOCKS5_HOST_UNREACHABLE},
        {"destination_ip_unroutable", SP_SOCKS5_NETWORK_UNREACHABLE},
        {"connection_refused", SP_SOCKS5_REFUSED},
        {"connection_timeout", SP_SOCKS5_TTL_EXPIRED},
        {"connection_read_timeout", SP_SOCKS5_TTL_EXPIRED},
        {"socks_no_such_command", SP_SOCKS5_NO_SUCH_COMMAND},
        {"socks_no_such_address_type", SP_SOCKS5_NO_SUCH_ADDRESS_TYPE},
    };

    if (refusal->no_tunnel)
        return SP_SOCKS5_NETWORK_UNREACHABLE;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(refusal->error, rows[i].error) == 0)
            return rows[i].code;
    }
    return SP_SOCKS5_FAILED;
}
