/*
 * config: the agent's configuration, agent.json, with the credential and the trust it names: loaded
 * whole or not at all (invariant 6).
 *
 * Immutable once loaded and reference counted, so that what runs under it outlives a reload. Any
 * thread.
 */
#ifndef SALLYPORT_AGENT_CONFIG_H
#define SALLYPORT_AGENT_CONFIG_H
#include "agent/identity.h"
#include "agent/routes.h"
#include "common/addr.h"
#include "common/error.h"
#include "common/settings.h"
#include "common/verdict.h"

struct agent_proxy;
struct agent_users;
struct sp_crl_source;
struct sp_json_out;
struct sp_tls_cred;
struct sp_tls_crl_set;
struct sp_tls_trust;

#define AGENT_GATEWAYS_MAX 16
#define AGENT_TUNNELS_MAX  64
#define AGENT_CONTACT_MAX  500

enum agent_validation_mode { AGENT_PINNED, AGENT_TRUST_STORE };

/* What the OCSP response is worth that a gateway staples for its certificate. */
enum agent_staple {
    AGENT_STAPLE_USE,     /* one that is valid counts; none, nothing is held against it */
    AGENT_STAPLE_REQUIRE, /* none that is valid: revocation_unknown */
    AGENT_STAPLE_IGNORE,
};

struct agent_server_validation {
    int mode;   /* enum agent_validation_mode */
    int staple; /* enum agent_staple */
    struct sp_json_strings ca_files;
    struct sp_json_strings crls;        /* paths, URLs */
    struct sp_policy policy;            /* .source is "FILE: $.server_validation" */
    uint64_t max_chain, min_key_bits;   /* see struct sp_chain_query */
    struct sp_json_strings pinned_keys; /* the same; folded */
};

enum agent_selection { AGENT_ORDERED, AGENT_FASTEST };

enum agent_door_type {
    AGENT_DOOR_HTTP,
    AGENT_DOOR_SOCKS5,
    AGENT_DOOR_MIXED,
    AGENT_DOOR_FORWARD,
    AGENT_DOOR_TRANSPARENT,
};

struct agent_door {
    int type;   /* enum agent_door_type */
    char *name; /* NULL: none */
    char *listen_text, *to_text, *users_file, *mode_text;
    struct sp_addr listen; /* unless unix_path */
    char *unix_path;       /* a UNIX socket; NULL: TCP, at `listen` */
    unsigned unix_mode;    /* permission bits of its file */
    struct sp_target to;   /* AGENT_DOOR_FORWARD */
    int intercept;         /* AGENT_DOOR_TRANSPARENT: enum agent_intercept */
    bool has_intercept;
    struct agent_users *users; /* AGENT_DOOR_SOCKS5; NULL: everybody may use it */
    struct sp_json_strings allow_texts;
    uint32_t *allow_uids; /* allow_texts.count: who may connect; none: everybody */
};

/* Whether this user may connect (agent/owner.h). */
bool agent_door_allows(const struct agent_door *door, uint32_t uid);

struct agent_limits {
    uint64_t handshake_ms; /* of a tunnel, from connect to the gateway's answer */
    uint64_t wait_ms;      /* how long an application waits for a tunnel */
    uint64_t connections;  /* of applications, all doors together */
};

/* What a network that wants people to sign in first would answer in another's place. */
struct agent_portal_settings {
    char *probe_url; /* NULL: nothing is asked, no portal is ever seen */
    uint64_t expect_status;
    char *expect_body; /* NULL: any */
    uint64_t minutes;  /* that the portal's own hosts may go direct */
};

enum agent_unreachable { AGENT_UNREACHABLE_BLOCK, AGENT_UNREACHABLE_DIRECT };

struct agent_config {
    _Atomic size_t refs;
    char *path; /* as given */
    char *policy_source;
    struct sp_json_strings gateway_texts;
    struct sp_target gateways[AGENT_GATEWAYS_MAX]; /* gateway_texts.count of them */
    int selection;                                 /* enum agent_selection */
    uint64_t failback_s, probe_s;                  /* see struct agent_gateways_options */
    char *upstream_text;
    char *server_name; /* folded; or an address */
    struct agent_identity identity;
    struct agent_server_validation server_validation;
    struct sp_json_array door_rows;
    struct agent_door *doors; /* door_rows.items */
    size_t door_count;
    struct sp_json_array route_rows;
    struct agent_route *routes; /* route_rows.items */
    size_t route_count;
    uint64_t tunnels;
    char *contact; /* whom a person may ask, as pages show it; NULL: none */
    struct sp_tls_settings tls;
    struct sp_log_settings log;
    struct sp_keepalive_settings keepalive;
    struct agent_limits limits;
    int when_unreachable; /* enum agent_unreachable */
    struct agent_portal_settings captive_portal;
    struct sp_stapling_settings stapling; /* of our own certificate */

    struct agent_proxy *upstream; /* NULL: gateways are reached directly */
    struct agent_own own;         /* what `identity` came to */
    struct sp_tls_cred *cred;     /* own.cred */
    struct sp_tls_trust *trust;
    struct sp_tls_crl_set *crls; /* NULL: none */
    struct sp_warnings warnings; /* for the caller to log */
    char *cache_dir;             /* folder of what was fetched; NULL: kept in memory only */
    struct agent_config *origin; /* not NULL: it owns all here but `crls` and `own` */
};

SP_MUST_USE enum sp_err agent_config_load(const char *path, struct agent_config **ret_config,
                                          struct sp_error *err);
/* Only what the file itself says: no key, certificate or password is read, so anybody may who may
 * read the file. cred, trust, crls, users are not there. */
SP_MUST_USE enum sp_err agent_config_read(const char *path, struct agent_config **ret_config,
                                          struct sp_error *err);
/* The same, where a failure has warnings too: *ret_told (the caller's, freed with sp_warnings_done)
 * are those of what could not be loaded, else untouched. */
SP_MUST_USE enum sp_err agent_config_load_told(const char *path, struct agent_config **ret_config,
                                               struct sp_warnings *ret_told, struct sp_error *err);
/* The same configuration with another credential, which is taken over. */
struct agent_config *agent_config_with_own(struct agent_config *config, struct agent_own *own);
/* Whether one is the other, but for CRLs and credential. */
bool agent_config_is_same(const struct agent_config *a, const struct agent_config *b);
/* The same with the CRLs as they are now: files read again, URLs as `fetched` has them. */
SP_MUST_USE enum sp_err agent_config_renew_crls(struct agent_config *config,
                                                const struct sp_crl_source *fetched,
                                                struct agent_config **ret_config,
                                                struct sp_error *err);
/* What the file says, defaults included, as members of the object that was begun; see json_out.h.
 */
typedef const char *(*agent_config_show_cb)(void *ctx, const struct sp_json_field *field,
                                            const char *value);
void agent_config_write(const struct agent_config *config, struct sp_json_out *json,
                        agent_config_show_cb show, void *ctx);
/* The first door of that name; NULL: none. */
const struct agent_door *agent_config_find_door(const struct agent_config *config,
                                                const char *name);
struct agent_config *agent_config_ref(struct agent_config *config);
void agent_config_unref(struct agent_config *config); /* NULL is fine */
#endif
