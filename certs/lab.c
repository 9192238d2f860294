#include "certs/lab.h"

#include "certs/mint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_LEN 64

/* Every issuer stands before what it issues. */
enum entity_id {
    SERVICE_ROOT,
    SERVICE_ISSUING,
    COMMON,
    C123456,
    ACME_ROOT,
    ACME_ISSUING,
    ACME_ALICE,
    ACME_BOB,
    GLOBEX_ROOT,
    GLOBEX_ISSUING,
    GLOBEX_CAROL,
    GLOBEX_DAVE,
    ENTITY_COUNT
};

enum entity_kind { ROOT, ISSUING, SERVER, CLIENT };

struct entity {
    const char *path; /* without .pem, .key */
    const char *dn;
    enum entity_kind kind;
    enum entity_id issuer;    /* of a root: itself */
    const char *const *names; /* server: dNSName; client: URI; NULL-terminated */
};

/* The common certificate serves the tenants that have none of their own, hence the wildcard. */
static const char *const common_names[] = {"secure.example.net", "*.secure.example.net", NULL};
static const char *const c123456_names[] = {"c123456.secure.example.net", NULL};
static const char *const alice_names[] = {"spiffe://acme.example/workstation/alice", NULL};
static const char *const bob_names[] = {"spiffe://acme.example/workstation/bob", NULL};
static const char *const carol_names[] = {"spiffe://globex.example/workstation/carol", NULL};
static const char *const dave_names[] = {"spiffe://globex.example/workstation/dave", NULL};

static const struct entity entities[ENTITY_COUNT] = {
    [SERVICE_ROOT] = {"ca/service-root", "CN=Service Root CA,O=Example Service", ROOT, SERVICE_ROOT,
                      NULL},
    [SERVICE_ISSUING] = {"ca/service-issuing", "CN=Service Issuing CA,O=Example Service", ISSUING,
                         SERVICE_ROOT, NULL},
    [COMMON] = {"server/common", "CN=secure.example.net", SERVER, SERVICE_ISSUING, common_names},
    [C123456] = {"server/c123456", "CN=c123456.secure.example.net", SERVER, SERVICE_ISSUING,
                 c123456_names},
    [ACME_ROOT] = {"ca/acme-root", "CN=Acme Root CA,O=Acme", ROOT, ACME_ROOT, NULL},
    [ACME_ISSUING] = {"ca/acme-issuing", "CN=Acme Issuing CA,O=Acme", ISSUING, ACME_ROOT, NULL},
    [ACME_ALICE] = {"clients/acme-alice", "CN=alice,O=Acme", CLIENT, ACME_ISSUING, alice_names},
    [ACME_BOB] = {"clients/acme-bob", "CN=bob,O=Acme", CLIENT, ACME_ISSUING, bob_names},
    [GLOBEX_ROOT] = {"ca/globex-root", "CN=Globex Root CA,O=Globex", ROOT, GLOBEX_ROOT, NULL},
    [GLOBEX_ISSUING] = {"ca/globex-issuing", "CN=Globex Issuing CA,O=Globex", ISSUING, GLOBEX_ROOT,
                        NULL},
    [GLOBEX_CAROL] = {"clients/globex-carol", "CN=carol,O=Globex", CLIENT, GLOBEX_ISSUING,
                      carol_names},
    [GLOBEX_DAVE] = {"clients/globex-dave", "CN=dave,O=Globex", CLIENT, GLOBEX_ISSUING, dave_names},
};

#define CONFIG_COUNT 5
#define FILE_COUNT   (2 * ENTITY_COUNT + CONFIG_COUNT)

struct certs_lab {
    struct certs_store_file files[FILE_COUNT];
    char *texts[FILE_COUNT];
    char paths[FILE_COUNT][PATH_LEN];
    size_t count;
};

/* Takes `text` over; NULL is what failed to be made. */
static enum sp_err add_file(struct certs_lab *lab, const char *path, const char *suffix, char *text,
                            bool secret, struct sp_error *err)
{
    size_t i = lab->count;

    if (!text)
        return sp_error_set(err, SP_ERR_MEMORY, "make %s%s", path, suffix);
    SP_REQUIRE(i < FILE_COUNT);
    snprintf(lab->paths[i], sizeof lab->paths[i], "%s%s", path, suffix);
    lab->texts[i] = text;
    lab->files[i] = (struct certs_store_file){lab->paths[i], text, secret};
    lab->count++;
    return SP_OK;
}

static struct certs_spec spec_of(const struct entity *e)
{
    struct certs_spec spec = {.dn = e->dn, .key = CERTS_P256};

    switch (e->kind) {
    case ROOT:
        spec.ca = true;
        spec.path_len = 1;
        break;
    case ISSUING:
        spec.ca = true;
        spec.path_len = 0;
        break;
    case SERVER:
        spec.eku = CERTS_EKU_SERVER;
        spec.dns = e->names;
        break;
    case CLIENT:
        spec.eku = CERTS_EKU_CLIENT;
        spec.uris = e->names;
        break;
    }
    return spec;
}

static enum sp_err add_entity(struct certs_lab *lab, enum entity_id id, struct certs_pair **pairs,
                              struct sp_error *err)
{
    const struct entity *e = &entities[id];
    struct certs_spec spec = spec_of(e);
    enum sp_err rc = certs_mint(&spec, e->kind == ROOT ? NULL : pairs[e->issuer], &pairs[id], err);

    if (rc == SP_OK)
        rc = add_file(lab, e->path, ".pem",
                      spec.ca ? certs_pair_certificate_pem(pairs[id])
                              : certs_pair_chain_pem(pairs[id]),
                      false, err);
    if (rc == SP_OK)
        rc = add_file(lab, e->path, ".key", certs_pair_key_pem(pairs[id]), true, err);
    return rc;
}

static enum sp_err add_entities(struct certs_lab *lab, struct sp_error *err)
{
    struct certs_pair *pairs[ENTITY_COUNT] = {NULL};
    enum sp_err rc = SP_OK;

    for (int id = 0; rc == SP_OK && id < ENTITY_COUNT; id++)
        rc = add_entity(lab, (enum entity_id)id, pairs, err);
    for (int id = 0; id < ENTITY_COUNT; id++)
        certs_pair_free(pairs[id]);
    return rc;
}

/* RFC 8259: quotes, backslashes and control characters escaped. */
static void put_string(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', out);
        if ((unsigned char)*text < 0x20)
            fprintf(out, "\\u%04x", (unsigned)*text);
        else
            fputc(*text, out);
    }
    fputc('"', out);
}

static void put_address(FILE *out, const struct sp_addr *addr)
{
    char text[SP_ADDR_TEXT];

    put_string(out, sp_addr_format(addr, text));
}

static void put_gateway(FILE *out, const struct certs_lab_plan *plan)
{
    fputs("{\n  \"listen\": [", out);
    put_address(out, &plan->gateway);
    fputs("],\n"
          "  \"workers\": \"auto\",\n"
          "  \"common\": {\n"
          "    \"server_names\": [\"secure.example.net\"],\n"
          "    \"certificate\": \"server/common.pem\",\n"
          "    \"private_key\": \"server/common.key\"\n"
          "  },\n"
          "  \"unknown_server_name\": \"reject\",\n"
          "  \"tenants\": \"tenants.d\",\n"
          "  \"tls\": { \"min_version\": \"1.3\" },\n"
          "  \"log\": { \"level\": \"info\" }\n"
          "}\n",
          out);
}

static void put_tenant(FILE *out, const struct certs_lab_plan *plan, const char *server_name,
                       const char *certificate_lines, const char *ca)
{
    fprintf(out,
            "{\n"
            "  \"enabled\": true,\n"
            "  \"server_names\": [\"%s\"],\n"
            "%s"
            "  \"client_validation\": {\n"
            "    \"trusted_cas\": [\"../ca/%s\"],\n"
            "    \"on_failure\": \"block\"\n"
            "  },\n"
            "  \"egress\": {\n"
            "    \"mode\": \"direct\",\n"
            "    \"allow\": [",
            server_name, certificate_lines, ca);
    for (size_t i = 0; i < plan->allow_count; i++) {
        fputs(i ? ", " : "", out);
        put_string(out, plan->allow[i]);
    }
    fputs("]\n"
          "  },\n"
          "  \"limits\": { \"tunnels\": 1000, \"channels\": 20000 }\n"
          "}\n",
          out);
}

static void put_acme(FILE *out, const struct certs_lab_plan *plan)
{
    put_tenant(out, plan, "c123456.secure.example.net",
               "  \"certificate\": \"../server/c123456.pem\",\n"
               "  \"private_key\": \"../server/c123456.key\",\n",
               "acme-root.pem");
}

static void put_globex(FILE *out, const struct certs_lab_plan *plan)
{
    put_tenant(out, plan, "c234567.secure.example.net", "", "globex-root.pem");
}

/* Where agents find a gateway that listens there: one that listens everywhere, on loopback. */
static struct sp_addr reachable(const struct sp_addr *listen)
{
    static const struct sp_ip any4 = {.family = 4}, any6 = {.family = 6};
    struct sp_addr addr = *listen;

    if (sp_ip_equal(&addr.ip, &any4)) {
        addr.ip.bytes[0] = 127;
        addr.ip.bytes[3] = 1;
    } else if (sp_ip_equal(&addr.ip, &any6)) {
        addr.ip.bytes[15] = 1;
    }
    return addr;
}

static void put_forward(FILE *out, const struct certs_lab_forward *forward)
{
    char to[SP_TARGET_TEXT];

    fputs(",\n    { \"type\": \"forward\", \"listen\": ", out);
    put_address(out, &forward->listen);
    fputs(", \"to\": ", out);
    put_string(out, sp_target_format(&forward->to, to));
    fputs(" }", out);
}

static void put_agent(FILE *out, const struct certs_lab_plan *plan, const char *server_name,
                      const char *client, const struct sp_addr *door, size_t forward_count)
{
    struct sp_addr gateway = reachable(&plan->gateway);

    fputs("{\n  \"gateways\": [", out);
    put_address(out, &gateway);
    fprintf(out,
            "],\n"
            "  \"server_name\": \"%s\",\n"
            "  \"identity\": {\n"
            "    \"certificate\": \"clients/%s.pem\",\n"
            "    \"private_key\": \"clients/%s.key\"\n"
            "  },\n"
            "  \"server_validation\": {\n"
            "    \"mode\": \"pinned\",\n"
            "    \"ca_files\": [\"ca/service-root.pem\"],\n"
            "    \"on_failure\": \"block\"\n"
            "  },\n"
            "  \"doors\": [\n"
            "    { \"type\": \"http\", \"listen\": ",
            server_name, client, client);
    put_address(out, door);
    fputs(" }", out);
    for (size_t i = 0; i < forward_count; i++)
        put_forward(out, &plan->forwards[i]);
    /* A laboratory is one machine: what is on loopback is the gateway's to reach, too. */
    fputs("\n  ],\n"
          "  \"routes\": [{ \"via\": \"tunnel\" }],\n"
          "  \"tunnels\": 2,\n"
          "  \"log\": { \"level\": \"info\" }\n"
          "}\n",
          out);
}

static void put_acme_agent(FILE *out, const struct certs_lab_plan *plan)
{
    put_agent(out, plan, "c123456.secure.example.net", "acme-alice", &plan->door,
              plan->forward_count);
}

static void put_globex_agent(FILE *out, const struct certs_lab_plan *plan)
{
    put_agent(out, plan, "c234567.secure.example.net", "globex-carol", &plan->globex_door, 0);
}

static enum sp_err add_configs(struct certs_lab *lab, const struct certs_lab_plan *plan,
                               struct sp_error *err)
{
    static const struct {
        const char *path;
        void (*put)(FILE *out, const struct certs_lab_plan *plan);
    } configs[CONFIG_COUNT] = {
        {"gateway.json", put_gateway},           {"tenants.d/c123456.json", put_acme},
        {"tenants.d/c234567.json", put_globex},  {"agent.json", put_acme_agent},
        {"agent-globex.json", put_globex_agent},
    };
    enum sp_err rc = SP_OK;

    for (size_t i = 0; rc == SP_OK && i < CONFIG_COUNT; i++) {
        char *text = NULL;
        size_t len = 0;
        FILE *out = open_memstream(&text, &len);

        SP_REQUIRE(out);
        configs[i].put(out, plan);
        SP_REQUIRE(fclose(out) == 0);
        rc = add_file(lab, configs[i].path, "", text, false, err);
    }
    return rc;
}

enum sp_err certs_lab_new(const struct certs_lab_plan *plan, struct certs_lab **ret_lab,
                          struct sp_error *err)
{
    struct certs_lab *lab = sp_calloc(1, sizeof *lab);
    enum sp_err rc = add_configs(lab, plan, err);

    if (rc == SP_OK)
        rc = add_entities(lab, err);
    if (rc == SP_OK)
        *ret_lab = lab;
    else
        certs_lab_free(lab);
    return rc;
}

void certs_lab_free(struct certs_lab *lab)
{
    if (!lab)
        return;
    for (size_t i = 0; i < lab->count; i++)
        certs_secret_free(lab->texts[i]);
    free(lab);
}

const struct certs_store_file *certs_lab_files(const struct certs_lab *lab, size_t *ret_count)
{
    *ret_count = lab->count;
    return lab->files;
}
