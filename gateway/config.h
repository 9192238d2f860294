/*
 * config: the gateway's own configuration, gateway.json (one tenant's file: tenant_config.h).
 *
 * Only text and values: no key, certificate or tenant is read here (tenant.h does). Paths are
 * resolved against the folder of the file, names are folded. Immutable once loaded and reference
 * counted; may be read from all threads.
 */
#ifndef SALLYPORT_GATEWAY_CONFIG_H
#define SALLYPORT_GATEWAY_CONFIG_H
#include "common/addr.h"
#include "common/error.h"
#include "common/settings.h"

struct gw_config_common {
    struct sp_json_strings server_names; /* folded; may hold wildcards */
    char *certificate, *private_key;
};

/* The object `limits`; milliseconds where the name says so. */
struct gw_config_limits {
    uint64_t handshake_ms;     /* from accept to the verdict */
    uint64_t request_ms;       /* HTTP/1.1: for the request head */
    uint64_t dial_ms;          /* for all addresses of a destination */
    uint64_t drain_ms;         /* SIGTERM: what is open may go on for so long */
    uint64_t connections;      /* tunnels of the whole gateway, handshakes included */
    uint64_t handshakes_per_s; /* of one source address; 0: no limit */
};

struct gw_config_resolver {
    struct sp_json_strings servers; /* "ip" or "ip:port"; none: the system's */
    uint64_t timeout_ms;
};

enum gw_unknown_name { GW_UNKNOWN_NAME_REJECT, GW_UNKNOWN_NAME_COMMON };

struct gw_config {
    _Atomic size_t refs;
    char *path; /* of gateway.json, as given */
    struct sp_json_strings listen_texts;
    struct sp_addr *listen; /* parsed; listen_texts.count of them */
    uint64_t workers;       /* 0: one a core */
    bool has_common;
    struct gw_config_common common; /* if has_common */
    int unknown_server_name;        /* enum gw_unknown_name */
    char *tenants;                  /* folder */
    bool watch_tenants;             /* a file of it that changes is loaded without SIGHUP */
    char *cache_dir;                /* folder of what was fetched; NULL: kept in memory only */
    struct sp_tls_settings tls;
    struct sp_log_settings log;
    struct gw_config_limits limits;
    struct sp_keepalive_settings keepalive;
    struct sp_stapling_settings stapling;
    struct gw_config_resolver resolver;
    char *resolver_servers; /* joined by commas, for sp_resolver_options; NULL: the system's */
};

SP_MUST_USE enum sp_err gw_config_load(const char *path, struct gw_config **ret_config,
                                       struct sp_error *err);
struct gw_config *gw_config_ref(struct gw_config *config);
void gw_config_unref(struct gw_config *config); /* drops one reference; NULL is fine */
#endif
